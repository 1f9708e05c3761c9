#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# DNP3 over UDP: the master reads and writes. Each datagram is judged by itself, and must be whole frames.
#
# A source address is easily forged in UDP: keep strangers off the master's network, and have
# rp_filter (or `-m rpfilter`) on the gateway. Both ends use port 20000; where the master has another
# port, take --dport out of the last rule but one.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
RTU_ADDRS=${RTU_ADDRS:-10:20}
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-REPLY
$iptables -A FORWARD -p udp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p udp -s "$RTU" --sport 20000 -j DNP3-REPLY
# "Port unreachable" and the like, for what went out before.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# From the master. There are no ACKs, and an empty datagram says nothing in DNP3: no rule for --status none.
# There is no handshake either: NEW and ESTABLISHED are the same to a datagram, so conntrack is not asked.
$iptables -A DNP3 -p udp -s "$MASTER" \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,write,link -j ACCEPT
# DROP: nobody sends it again behind the application's back. REJECT would tell a scanner what is here.
$iptables -A DNP3 -p udp -j DROP

# From the outstations, which may begin by themselves (unsolicited responses).
$iptables -A DNP3-REPLY -p udp -d "$MASTER" --dport 20000 \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link,cont -j ACCEPT
$iptables -A DNP3-REPLY -p udp -j DROP
