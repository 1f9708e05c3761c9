#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Only the control centre may speak to all stations at once (65533 to 65535): to set the time and
# to freeze counters. A second master reads single stations.
#
# A list of addresses that does not name a broadcast never lets one through, not even inverted:
# `! --daddr 99` matches none. So broadcasts want a rule of their own.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
CENTRE=${CENTRE:-192.0.2.10}            # the control centre's host
MASTER=${MASTER:-192.0.2.11}            # another master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
CENTRE_ADDR=${CENTRE_ADDR:-1}           # their DNP3 addresses
MASTER_ADDR=${MASTER_ADDR:-2}
RTU_ADDRS=${RTU_ADDRS:-10:20}
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-REPLY
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# From the two. What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# A connection begins with a SYN that carries no data.
$iptables -A DNP3 -p tcp --syn -s "$CENTRE" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# A broadcast from anywhere else is worth a line. It is refused below.
$iptables -A DNP3 -p tcp ! -s "$CENTRE" -m dnp3 --status valid --frames any --daddr self,broadcast --track \
	-m limit --limit 1/second -j LOG --log-prefix "dnp3 broadcast "
# To all stations: what has no answer and no risk. A rule of its own, so that not every function is open to
# broadcasts; a segment with a READ and a broadcast in it satisfies neither rule and is refused.
$iptables -A DNP3 -p tcp -s "$CENTRE" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$CENTRE_ADDR" --daddr broadcast --fc write,immed_freeze_nr,record_current_time --track -j ACCEPT
# To single stations.
$iptables -A DNP3 -p tcp -s "$CENTRE" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$CENTRE_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,write,freeze,link --track -j ACCEPT
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and all behind it would wait.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations: to each its own answers.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$CENTRE" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$CENTRE_ADDR" --fc responses,link --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
