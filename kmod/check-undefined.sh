#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fail when an object refers to a symbol that is not on its list.
#
#   check-undefined.sh NM OBJECT LIST
#
# LIST holds a shell pattern a line; `#` begins a comment. Whatever can panic refers to libcore's
# panics, so that an object whose undefined symbols are all known ones cannot.
set -eu

nm=$1 object=$2 list=$3

# $nm may be a command with arguments, as in Kbuild.
# shellcheck disable=SC2086
undefined=$($nm -u "$object")
undefined=$(printf '%s\n' "$undefined" | awk '{ print $NF }')
patterns=$(sed -e 's/[[:space:]]*#.*//' -e '/^$/d' "$list")

set -f
fail=0
for symbol in $undefined; do
	known=0
	for pattern in $patterns; do
		# shellcheck disable=SC2254 # a pattern is what it is
		case $symbol in
		$pattern)
			known=1
			break
			;;
		esac
	done
	[ $known = 1 ] && continue
	fail=1
	printf 'error: %s refers to %s, which %s does not list\n' \
		"${object##*/}" "$symbol" "${list##*/}" >&2
done
[ $fail = 0 ] || {
	printf 'error: that is a way to panic, or new: see the head of %s\n' "${list##*/}" >&2
	exit 1
}
