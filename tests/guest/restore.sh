#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# A thousand rules through iptables-restore, iptables-save and back, for both variants and both versions of
# IP; in the directory lies the plan of tests/tests/suites/restore.rs, for ipv4 and for ipv6:
#
#   plan/FAMILY/rules      to be loaded
#   plan/FAMILY/refused-*  to be refused, for a line in the middle
#
# What there is to say of VARIANT and FAMILY stands behind "VARIANT FAMILY WHAT:" in each line.
set -u

# The rules without the comments, which tell the time.
saved() {
	"$iptables-save" "$@" | grep -v '^#'
}

say() {
	sed "s/^/$job $1: /"
}

# Restores by $@ from the standard input, and then what is there must be what the file $before holds.
unchanged() {
	local what=$1 status=0
	shift
	"$iptables-restore" "$@" 2>/tmp/said || status=$?
	say "$what-said" </tmp/said
	saved -c >/tmp/after
	echo "$status $(cmp -s "$before" /tmp/after && echo same || echo other)" | say "$what"
}

thousand() {
	local iptables=$1 plan=$2 job=$3 before=/tmp/before file
	unchanged loaded -c <"$plan/rules"
	saved -c >"$before"
	say saved <"$before"
	"$iptables" -L FORWARD | say listed
	"$iptables" -nL FORWARD | say numeric

	# What is saved is restored to the same bytes, with counters; and without, but for the counters.
	unchanged again -c <"$before"
	for file in "$plan"/refused-*; do
		unchanged "${file##*/}" -c <"$file"
	done
	saved >/tmp/plain
	"$iptables-restore" </tmp/plain
	saved | cmp -s /tmp/plain && echo same | say plain
	saved -c | grep -c '^\[0:0\] -A ' | say without-counters
}

if [ $# = 3 ]; then
	thousand "$@"
	exit
fi
for variant in legacy nft; do
	for family in ipv4:iptables ipv6:ip6tables; do
		unshare -n -- bash "$0" "${family#*:}-$variant" "plan/${family%:*}" "$variant ${family%:*}"
	done
done
