#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Choose the way into a kernel, and say why: "rust" or "plain", then the reason.
#
#   entry.sh KDIR [ENTRY]
#
# rust   on the kernel's own kernel crate: needs CONFIG_RUST and what the build of the kernel leaves
#        of its Rust, the metadata; a distribution's headers may lack that
# plain  registered by C; needs neither
#
# ENTRY is the user's wish.
set -eu

kdir=$1 wish=${2-}
metadata=rust/libkernel.rmeta

if ! grep -q '^CONFIG_RUST=y$' "$kdir/include/config/auto.conf"; then
	lacks='the kernel has no CONFIG_RUST'
elif ! [ -e "$kdir/$metadata" ]; then
	lacks="the kernel has CONFIG_RUST, but its build tree has no Rust metadata ($metadata)"
else
	lacks=
fi

case $wish in
'')
	if [ -n "$lacks" ]; then
		echo "plain $lacks"
	else
		echo 'rust the kernel has CONFIG_RUST and its Rust metadata'
	fi
	;;
rust)
	if [ -n "$lacks" ]; then
		echo "error: xt_dnp3: ENTRY=rust cannot be: $lacks" >&2
		exit 1
	fi
	echo 'rust ENTRY=rust'
	;;
plain)
	echo 'plain ENTRY=plain'
	;;
*)
	echo "error: xt_dnp3: ENTRY=$wish: there are rust and plain" >&2
	exit 1
	;;
esac
