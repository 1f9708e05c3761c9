#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Count what is sent, function by function, before a read-and-write policy judges it. A rule without a
# target counts and goes on; read it with `iptables -vxL DNP3-COUNT` and set it to zero with -Z.
#
# `--status valid --frames any` is exact: a packet counts for each function that one of its frames has.
# So it is packets that are counted, not frames, and one with two functions counts twice. A frame that is cut
# counts where a packet ends with it. These rules do without --track, which would not count what comes on a
# connection that is not followed.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
RTU_ADDRS=${RTU_ADDRS:-10:20}
COUNT=${COUNT:-confirm read write select operate direct_operate direct_operate_nr freeze restart application
	config unsolicited assign_class delay_measure record_current_time file auth response unsolicited_response
	link cont}
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-COUNT
$iptables -N DNP3-REPLY
# Before any verdict, so that what is refused counts too.
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3-COUNT
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-COUNT
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

for function in $COUNT; do
	$iptables -A DNP3-COUNT -p tcp -m dnp3 --status valid --frames any --fc "$function"
done
# What is no DNP3, or not whole: the first is for stations that cut their frames; the second should stay at zero.
$iptables -A DNP3-COUNT -p tcp -m dnp3 --status partial
$iptables -A DNP3-COUNT -p tcp -m dnp3 --status malformed

# From the master. What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# A connection begins with a SYN that carries no data.
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,write,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and each time it would count.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
