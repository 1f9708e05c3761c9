#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Controls no faster than a hand gives them, restarts no oftener than a station needs: each master a few
# controls at a time (hashlimit), each outstation's host one restart in a while (recent), and one line a
# second at most in the log (limit).
#
# Matches are asked in the order of the rule: a limit must stand behind -m dnp3 (and behind all else), or
# every packet that passes by uses it up. What is over the limit must be refused, not dropped:
# TCP would repeat a dropped control until the limit lets it through, and it would be done late.
# It is packets that are limited: one with two controls in it counts as one.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
RTU_ADDRS=${RTU_ADDRS:-10:20}
CONTROLS=${CONTROLS:-10/hour}           # in the long run, for each master
BURST=${BURST:-4}                       # at once; a select and its operate are two
QUIET=${QUIET:-600}                     # seconds between restarts
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
# Reads have no limit, and no control may be in the same packet.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,link --track -j ACCEPT
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc control,confirm,read,link --track \
	-m hashlimit --hashlimit-name dnp3-control --hashlimit-mode srcip \
	--hashlimit-upto "$CONTROLS" --hashlimit-burst "$BURST" -j ACCEPT
# The first restart is put on the list; while it is there, no other passes.
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc restart --track \
	-m recent --name dnp3-restart --rdest ! --rcheck --seconds "$QUIET" \
	-m recent --name dnp3-restart --rdest --set -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3 -p tcp -m limit --limit 1/second -j LOG --log-prefix "dnp3 refused "
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

# From the outstations.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
