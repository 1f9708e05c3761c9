#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What old-dnp3fw.sh means, in the words of this match: on the outstation's own host, reads, writes and
# confirmations to station 1, restarts dropped, authentication logged.
set -eu
iptables=${iptables:-iptables}
STATION=${STATION:-1}                   # the outstation's DNP3 address

$iptables -P INPUT DROP
$iptables -N DNP3
$iptables -A INPUT -p tcp --dport 20000 -j DNP3
# What conntrack finds in no connection's window must not reach an ACCEPT.
$iptables -A DNP3 -m conntrack --ctstate INVALID -j DROP
# NEW alone also takes data in a SYN, and data in the midst of a connection that conntrack does not know
# (nf_conntrack_tcp_loose): a restart, if need be.
$iptables -A DNP3 -p tcp --syn -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
$iptables -A DNP3 -p tcp ! --syn -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
# To log is a question of any frame, and before the verdicts: else a READ in the same segment hides it.
$iptables -A DNP3 -p tcp -m dnp3 --status valid --frames any --fc 32,33 --track -m limit --limit 1/second -j LOG --log-prefix "dnp3 auth "
# `link`: keep-alives have no function code, and a master hangs up when they are not answered.
$iptables -A DNP3 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --dir master --daddr "$STATION" --fc 0,1,2,link --track -j ACCEPT
# Behind a hole: dropped, so that the sender repeats the hole first. Before what asks for any frame:
# who knows what such a packet holds?
$iptables -A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
# The restart beside a READ, the one behind a junk octet: all that may be one.
$iptables -A DNP3 -p tcp -m dnp3 --frames any --fc 13,14 -j REJECT --reject-with tcp-reset
# DROP leaves the sender to repeat the segment until the connection dies of it.
$iptables -A DNP3 -p tcp -j REJECT --reject-with tcp-reset
