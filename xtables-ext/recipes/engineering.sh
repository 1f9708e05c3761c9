#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A master that reads, and an engineering station that may restart outstations, change their
# configuration and transfer files, from its own host and during working hours only.
#
# The hours are those of the gateway's clock in UTC: keep the clock right (NTP), and take the offset into
# account. `-m time --kerneltz` would add the kernel's own time zone, which is set once at boot, knows
# no summer time, and is often not set at all. Hours that cross midnight want --contiguous.
#
# Every packet is judged by the hour it comes at: at the end of the hours a session that is open is refused
# its next request, in the midst of a file if need be.
set -eu
iptables=${iptables:-iptables}          # or ip6tables
MASTER=${MASTER:-192.0.2.10}            # the master's host
ENGINEER=${ENGINEER:-192.0.2.12}        # the engineering station
RTU=${RTU:-198.51.100.20}               # the outstations' host
MASTER_ADDR=${MASTER_ADDR:-1}           # their DNP3 addresses
ENGINEER_ADDR=${ENGINEER_ADDR:-3}
RTU_ADDRS=${RTU_ADDRS:-10:20}
FROM=${FROM:-08:00}                     # UTC
TO=${TO:-16:00}
DAYS=${DAYS:-Mon,Tue,Wed,Thu,Fri}
case $iptables in *ip6tables*) icmp=ipv6-icmp ;; *) icmp=icmp ;; esac

# Closed first: whatever fails below leaves it closed.
$iptables -P FORWARD DROP
$iptables -N DNP3
$iptables -N DNP3-ENGINEER
$iptables -N DNP3-REPLY
$iptables -A FORWARD -p tcp -d "$RTU" --dport 20000 -j DNP3
$iptables -A FORWARD -p tcp -s "$RTU" --sport 20000 -j DNP3-REPLY
# Routers on the way say by ICMP which packets were too big for them.
$iptables -A FORWARD -p "$icmp" -m conntrack --ctstate RELATED -j ACCEPT

# From the two. What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# Bare ACKs, FIN and RST hold no frame, so that no test of frames matches them.
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# The master: a SYN without data, then reads.
$iptables -A DNP3 -p tcp --syn -s "$MASTER" -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3 -p tcp -s "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$MASTER_ADDR" --daddr "$RTU_ADDRS" --fc confirm,read,link --track -j ACCEPT
# The engineer has rules while it is time.
$iptables -A DNP3 -p tcp -s "$ENGINEER" -m time --timestart "$FROM" --timestop "$TO" --weekdays "$DAYS" -j DNP3-ENGINEER
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# Not DROP: TCP would repeat a restart until it is let through when the hours begin.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset

$iptables -A DNP3-ENGINEER -p tcp --syn -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# A restart leaves a trace, whoever was allowed to do it.
$iptables -A DNP3-ENGINEER -p tcp -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --status valid --frames any --fc restart --track -j LOG --log-prefix "dnp3 restart "
# File data travel in WRITE. Where a block is longer than a frame, the frames that go on have the WRITE's code.
$iptables -A DNP3-ENGINEER -p tcp -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir master --saddr "$ENGINEER_ADDR" --daddr "$RTU_ADDRS" \
	--fc confirm,read,write,restart,application,config,file,link --track -j ACCEPT

# From the outstations: to each its own answers.
$iptables -A DNP3-REPLY -m conntrack --ctstate INVALID -j DROP
$iptables -A DNP3-REPLY -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$MASTER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$MASTER_ADDR" --fc responses,link --track -j ACCEPT
$iptables -A DNP3-REPLY -p tcp -d "$ENGINEER" -m conntrack --ctstate ESTABLISHED \
	-m dnp3 --dir outstation --saddr "$RTU_ADDRS" --daddr "$ENGINEER_ADDR" --fc responses,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first.
$iptables -A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP
$iptables -A DNP3-REPLY -p tcp -j REJECT --reject-with tcp-reset
