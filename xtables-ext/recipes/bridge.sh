#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The read-and-write policy on a transparent bridge, for frames with and without a VLAN tag.
#
# On a bridge iptables sees what br_netfilter shows it, and by itself that is nothing: this recipe
# switches it on, for IPv4, IPv6 and what is tagged, and refuses to go on where that fails. What it never shows
# is not IP: other protocols, two tags, 802.1ad. A chain of nftables' bridge family drops those. The same chain
# keeps the bridge closed until all else is done: without br_netfilter iptables' policies mean nothing here.
# Needs `nft` beside iptables.
#
# iptables-save saves neither the chain nor the switches. For the next boot save them too: the chain
# (`nft list table bridge dnp3`) in /etc/dnp3-firewall/bridge.nft, BRIDGE=yes in /etc/dnp3-firewall/config for
# the switches, and the rules of both families.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER_PORT=${MASTER_PORT:-eth0}        # the bridge's port to the master
RTU_PORT=${RTU_PORT:-eth1}              # and the one to the outstations
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-192.0.2.20}                  # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
RTU_ADDRS=${RTU_ADDRS:-10:20}
case $iptables in
*ip6tables*) icmp=ipv6-icmp other=iptables${iptables##*ip6tables} ;;
*) icmp=icmp other=ip6tables${iptables##*iptables} ;;
esac

# The bridge's own chain, with this policy and these rules. In one step: it is never half of the one and half
# of the other.
bridge_chain() {
	nft -f - <<RULES
table bridge dnp3
delete table bridge dnp3
table bridge dnp3 {
	chain forward {
		type filter hook forward priority -300; policy $1;
		$2
	}
}
RULES
}

# Closed first, whatever the frame: what fails below leaves it closed. iptables cannot do that, for it may see
# nothing yet.
if ! bridge_chain drop ""; then
	echo "${0##*/}: cannot close the bridge by nft: nothing is changed, and it forwards what it did before" >&2
	exit 1
fi
# Both families, since the bridge carries both.
$iptables -P FORWARD DROP
$other -P FORWARD DROP

[ -d /proc/sys/net/bridge ] || modprobe -q br_netfilter || true
for switch in call-iptables call-ip6tables filter-vlan-tagged; do
	file=/proc/sys/net/bridge/bridge-nf-$switch
	if ! { echo 1 >"$file"; } 2>/dev/null || [ "$(cat "$file")" != 1 ]; then
		echo "${0##*/}: cannot set $file to 1: without it the bridge forwards DNP3 past the rules" >&2
		exit 1
	fi
done

$iptables -N DNP3
$iptables -N DNP3-REPLY
# --physdev tells the ports apart, so that nobody behind the one can speak for the other.
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 \
	-m physdev --physdev-is-bridged --physdev-in "$MASTER_PORT" --physdev-out "$RTU_PORT" -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 \
	-m physdev --physdev-is-bridged --physdev-in "$RTU_PORT" --physdev-out "$MASTER_PORT" -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT
if [ "$icmp" = ipv6-icmp ]; then
	# How hosts find each other in IPv6. (In IPv4 it is ARP, which iptables does not see.)
	$iptables -A FORWARD -p ipv6-icmp --icmpv6-type neighbour-solicitation -j ACCEPT
	$iptables -A FORWARD -p ipv6-icmp --icmpv6-type neighbour-advertisement -j ACCEPT
fi

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
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset

# All is in place. Open to what iptables sees; between the two ports nothing else passes.
bridge_chain accept "
		ether type { ip, ip6, arp } accept
		ether type vlan vlan type { ip, ip6, arp } accept
		iifname { \"$MASTER_PORT\", \"$RTU_PORT\" } drop
		oifname { \"$MASTER_PORT\", \"$RTU_PORT\" } drop"
