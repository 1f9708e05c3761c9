#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The example policy of the older C filter, dnp3fw (2016), on the outstation's own host, as it was published but
# for two lines: its README leaves INPUT out of the first, which iptables refuses, and the one marked
# NEW is added. So it gives a working session; what it lets through that it should not is in README.md
# here, and old-dnp3fw-ours.sh is the same intent in the words of this match.
set -eu
iptables=${iptables:-iptables}

$iptables -P INPUT DROP
$iptables -A INPUT -p tcp --dport 20000 -m state --state NEW -j ACCEPT
$iptables -A INPUT -p tcp --dport 20000 -m dnp3 --daddr 1 --fc 0,1,2 -j ACCEPT
$iptables -A INPUT -p tcp --dport 20000 -m dnp3 --fc 13,14 -j DROP
$iptables -A INPUT -p tcp --dport 20000 -m dnp3 --fc 32,33 -j LOG
# NEW: the old match took a packet without payload for a match of every rule, so bare ACKs, FIN and RST
# passed by the second ACCEPT. Here they hold no frame, and no test of frames matches them.
$iptables -A INPUT -p tcp --dport 20000 -m state --state ESTABLISHED -m dnp3 --status none -j ACCEPT
