#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A master that reads, and an operator station that may also control (select, operate, direct operate).
# Each DNP3 address is pinned to its host: by the address alone anybody could be the operator.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
OPERATOR=${OPERATOR:-192.0.2.11}        # the operator station
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
OPERATOR_ADDR=${OPERATOR_ADDR:-2}
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
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3 -p tcp --syn -s "$OPERATOR" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Who tried to control is worth a line, whether it was allowed or not. `any`: one frame of it is enough.
$iptables -A DNP3 -p tcp -m dnp3 --status valid --frames any --fc control --track \
	-m limit --limit 1/second -j LOG --log-prefix "dnp3 control "
# No link address but its own for each host.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,link --track -j ACCEPT
$iptables -A DNP3 -p tcp -s "$OPERATOR" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$OPERATOR_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,control,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and a control that is let through late is worse
# than one that is refused.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations: to each its own answers.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$OPERATOR" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$OPERATOR_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
