#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The policy of the project's README without --track: each packet is judged by itself, and must be whole
# frames. For a gateway that sees one direction only (leave out what asks conntrack for ESTABLISHED then), or
# whose connections come by SYNPROXY or an offload that shows some of their packets.
#
# The price: frames that are cut across segments are refused, and so are responses longer than a segment;
# `cont`, a continuation that nobody knows the beginning of, passes in responses; and a host that forges TCP
# segments can have two valid packets overlap into something that no rule saw. xt_dnp3(7) has more of it.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # the master's DNP3 address
RTU_ADDRS=${RTU_ADDRS:-10:20}           # the outstations' DNP3 addresses
MAY=${MAY:-0,1,2,20,21,23,24,link}      # what the master may send
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-REPLY
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# From the master. What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# A connection begins with a SYN that carries no data.
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none -j ACCEPT
# Every frame of the packet must be one of these, and every frame whole.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc "$MAY" -j ACCEPT
$iptables -A DNP3 -p tcp -m dnp3 --status valid --frames any --fc restart \
	-m limit --limit 6/min -j LOG --log-prefix "dnp3 restart "
# Not DROP: TCP would send the segment again and again, and all behind it would wait.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none -j ACCEPT
# A long response goes on in frames without a function code: cont.
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc 129,130,link,cont -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
