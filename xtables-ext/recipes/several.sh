#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Several masters and several outstations. Sets of addresses (ipset) say which hosts may connect at all: to add
# one to a set needs no new rule. Two chains pin each DNP3 address to its host: one rule for a master
# and one for an outstation, instead of one for each pair. That is right because of what `only` means: when every
# frame satisfies a first rule, and every frame a second, every frame satisfies both.
#
# iptables-save does not save the sets, and without them none of the rules can be loaded. For the next boot save
# them too (`ipset save`), in /etc/dnp3-firewall/ipset, where they are loaded before the rules.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
# HOST=DNP3-ADDRESSES=FUNCTIONS for each master, HOST=DNP3-ADDRESSES for each outstation's host.
MASTERS=${MASTERS:-192.0.2.10=1=confirm,read,link 192.0.2.11=2=confirm,read,write,control,link}
RTUS=${RTUS:-198.51.100.20=10:20 198.51.100.21=30}
case $iptables in *ip6tables*) icmp=ipv6-icmp inet=inet6 ;; *) icmp=icmp inet=inet ;; esac
masters=dnp3-masters-$inet
rtus=dnp3-rtus-$inet

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-TO                    # from a master that may: to which outstation?
$iptables -N DNP3-REPLY
$iptables -N DNP3-REPLY-TO
ipset create "$masters" hash:ip family "$inet"
ipset create "$rtus" hash:ip family "$inet"
$iptables -A FORWARD -p tcp --dport 20000 -m set --match-set "$rtus" dst -j DNP3
$iptables -A FORWARD -p tcp --sport 20000 -m set --match-set "$rtus" src -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
# A connection begins with a SYN that carries no data.
$iptables -A DNP3 -p tcp --syn -m set --match-set "$masters" src -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT

for master in $MASTERS; do
	host=${master%%=*} rest=${master#*=}
	addrs=${rest%%=*} functions=${rest#*=}
	ipset add "$masters" "$host"
	$iptables -A DNP3 -p tcp -s "$host" -m conntrack --ctstate ESTABLISHED \
		-m dnp3 --dir master --saddr "$addrs" --fc "$functions" --track -j DNP3-TO
	$iptables -A DNP3-REPLY-TO -p tcp -d "$host" -m dnp3 --daddr "$addrs" --track -j ACCEPT
done
for rtu in $RTUS; do
	host=${rtu%%=*} addrs=${rtu#*=}
	ipset add "$rtus" "$host"
	$iptables -A DNP3-TO -p tcp -d "$host" -m dnp3 --daddr "$addrs" --track -j ACCEPT
	$iptables -A DNP3-REPLY -p tcp -s "$host" -m conntrack --ctstate ESTABLISHED \
		-m dnp3 --dir outstation --saddr "$addrs" --fc responses,link --track -j DNP3-REPLY-TO
done

# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would send the segment again and again, and all behind it would wait.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
