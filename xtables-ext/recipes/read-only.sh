#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A master that reads and does nothing else: it polls, confirms what it got, and keeps the link alive.
# It cannot set the time or clear the restart bit (both are a WRITE): configure it to not try, since
# what is refused ends its connection. Outstations that report by themselves want `unsolicited` in
# the list as well.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # the master's DNP3 address
RTU_ADDRS=${RTU_ADDRS:-10:20}           # the outstations' DNP3 addresses
MAY=${MAY:-confirm,read,link}           # what the master may send
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
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Every frame of the packet must be one of these.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc "$MAY" --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and all behind it would wait.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
