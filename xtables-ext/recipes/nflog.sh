#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Hand what is refused, and every control, to a program that keeps it with all its octets: ulogd2, or
# `tcpdump -i nflog:20 -w FILE`, on the gateway. The prefix says why. The policy lets reads, writes and
# controls pass.
#
# NFLOG goes on to the next rule, so it stands before the verdict; nobody need listen. Each of its rules has a
# limit of its own, behind all else, which keeps a flood from filling the disk; what is over it has no record.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
RTU_ADDRS=${RTU_ADDRS:-10:20}
GROUP=${GROUP:-20}                      # the number in nflog:20
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-REFUSE
$iptables -N DNP3-REPLY
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# From the master. What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# A connection begins with a SYN that carries no data.
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Before the ACCEPT, because this may well pass. Of the master's own connection: what others send is refused, and
# must not use up this limit.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --status valid --frames any --fc control --track \
	-m limit --limit 10/second --limit-burst 100 -j NFLOG --nflog-group "$GROUP" --nflog-prefix "dnp3 control"
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,write,control,link --track -j ACCEPT
$iptables -A DNP3 -p tcp -j DNP3-REFUSE

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -j DNP3-REFUSE

# What is no DNP3, and the rest: one record for each packet. Without --track, which would match nothing on a
# connection that is not followed; on one that is, these two are asked of its stream all the same.
$iptables -A DNP3-REFUSE -p tcp -m dnp3 --status malformed \
	-m limit --limit 10/second --limit-burst 100 -j NFLOG --nflog-group "$GROUP" --nflog-prefix "dnp3 malformed"
$iptables -A DNP3-REFUSE -p tcp -m dnp3 --status none,valid,partial \
	-m limit --limit 10/second --limit-burst 100 -j NFLOG --nflog-group "$GROUP" --nflog-prefix "dnp3 refused"
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REFUSE -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and each time it would be logged.
$iptables -A DNP3-REFUSE -p tcp -j REJECT --reject-with tcp-reset
