#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# iptables' own tests on libxt_dnp3.t and libxt_dnp3.txlate, for one variant, in the guest; in the
# directory lies the plan of tests/tests/suites/upstream.rs:
#
#   plan/upstream/    iptables-test.py, xlate-test.py
#   plan/extensions/  what they read: all rows, some, a few of each kind, and wrong ones
#
#   suites.sh legacy|nft all|once
#
# What each run says stands between the lines `begin NAME` and `end NAME STATUS`. With "once" the rows are
# run in one way only, and the scripts' own failing is left to others.
set -u
variant=$1 much=$2
cd plan || exit
log=/tmp/iptables-test.log
container=____iptables-container-test
option=legacy
[ "$variant" = legacy ] || option=nftables

run() {
	local name=$1 status=0
	shift
	echo "begin $name"
	rm -f "$log"
	"$@" 2>&1 || status=$?
	# Why its fast way failed, the script says nowhere else.
	if [ "$status" != 0 ] && [ -e "$log" ]; then
		tail -n 20 "$log"
	fi
	echo "end $name $status"
}

rows() {
	python3 upstream/iptables-test.py -H "--$option" "$@"
}

translations() {
	python3 upstream/xlate-test.py -H "$@"
}

# -N is for a namespace that the script makes, and deletes with the rules in it. It looks for it before it
# has made it, and so falls back from its fast way to one rule after the other: that is for some of
# the rows. For all of them the namespace is made beforehand.
namespace() {
	run some-rows-in-a-namespace rows -N extensions/some/lib*_dnp3.t
	ip netns add "$container"
	run rows-in-a-namespace rows -N extensions/lib*_dnp3.t
	ip netns del "$container"
}

# The script has to see what is wrong.
failing() {
	run wrong-rows rows extensions/wrong/libxt_dnp3.t
	mkdir /tmp/lacking
	ln -s /usr/lib/*/xtables/* /tmp/lacking
	rm /tmp/lacking/libxt_dnp3.so
	XTABLES_LIBDIR=/tmp/lacking run rows-without-the-extension rows extensions/few/libxt_dnp3.t
	[ "$variant" = legacy ] || run wrong-translation translations extensions/wrong/libxt_dnp3.txlate
}

# What nft shows of such rules, and that it does not take it back.
listing() {
	iptables-nft -A INPUT -p tcp -m dnp3 --fc 1 -j ACCEPT
	iptables-nft -A INPUT -p udp --dport 20000 -m dnp3 --saddr 1 ! --fc restart -m dnp3 --status valid -j DROP
	# Its warning, on the other output, can come in the middle of a line.
	nft list ruleset >/tmp/ruleset 2>/tmp/warnings
	run listed cat /tmp/ruleset
	nft flush ruleset
	run taken-back nft -f /tmp/ruleset
	run left nft list ruleset
}

run version "xtables-$variant-multi" iptables --version
# In a namespace of the script's own, where it loads and compares all rules at once.
run rows rows extensions/lib*_dnp3.t
if [ "$much" = all ]; then
	namespace
	failing
fi
if [ "$variant" = nft ]; then
	run translations translations extensions/libxt_dnp3.txlate
	listing
fi
