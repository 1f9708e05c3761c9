#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Make libcore for the plain entry, from the rust-src that belongs to rustc.
#
#   plain-core.sh RUSTC FLAGS DIR
#
# FLAGS and its target are of plain-flags.sh. Makes libcore.rmeta and libcompiler_builtins.rmeta: what
# can be inlined, and no object, so that nothing of it can be linked. Making it takes half a minute;
# it is kept in the cache, under a name that stands for all that goes into it, or in DIR where there
# can be no cache. Prints the flag that says where it is.
set -eu

# make's job server is not for us; rustc would look for it, and warn.
unset MAKEFLAGS MFLAGS

rustc=$1 flags=$2 dir=$3
cache=${XT_DNP3_CACHE:-${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}/xt_dnp3}/libcore

die() {
	printf 'error: xt_dnp3: plain entry: %s\n' "$*" >&2
	exit 1
}

source=${RUST_LIB_SRC:-$("$rustc" --print sysroot)/lib/rustlib/src/rust/library}
manifest=$source/core/Cargo.toml
if ! [ -e "$source/core/src/lib.rs" ] || ! [ -e "$manifest" ]; then
	die "$("$rustc" --version | cut -d' ' -f1,2) has no source of its library in $source;" \
		"install Debian's rust-src or rust-web-src, whichever is of this rustc," \
		"or with rustup: rustup component add rust-src"
fi
edition=$(sed -n 's/^edition *= *"\(.*\)"/\1/p' "$manifest")
target=$(sed -n 's/^--target=//p' "$flags")

make_into() {
	# The crate is not ours to lint.
	RUSTC_BOOTSTRAP=1 "$rustc" "@$flags" --sysroot=/nonexistent --cap-lints=allow \
		--edition="$edition" --crate-type=rlib --crate-name=core -Zalways-encode-mir \
		--out-dir "$1" --emit=metadata="$1/libcore.rmeta" "$source/core/src/lib.rs"
	# rustc wants one, to link to what the kernel has instead: memcpy and the like.
	printf '%s\n' '#![feature(compiler_builtins)]' '#![allow(internal_features)]' \
		'#![compiler_builtins]' '#![no_builtins]' '#![no_std]' |
		RUSTC_BOOTSTRAP=1 "$rustc" "@$flags" --sysroot=/nonexistent --edition=2021 \
			--crate-type=rlib --crate-name=compiler_builtins -L "$1" \
			--out-dir "$1" --emit=metadata="$1/libcompiler_builtins.rmeta" -
}

# The flags without the target's place, the target and its name, and the source as far as a look can
# tell.
key=$({
	"$rustc" -vV
	grep -v '^--target=' "$flags"
	cat "$target" "$0"
	echo "${target##*/}"
	ls -lL --time-style=full-iso "$source/core/src/lib.rs" "$manifest"
} | sha256sum | cut -c1-16)

if ! mkdir -p "$cache" 2>/dev/null || ! [ -w "$cache" ]; then
	if [ "$(cat "$dir/plain.libcore.key" 2>/dev/null)" != "$key" ]; then
		make_into "$dir"
		echo "$key" >"$dir/plain.libcore.key"
	fi
	# The place is always the same; what depends on it must know that the contents are not.
	printf '%s\n' "-L$dir" "--cfg=libcore_$key"
	exit
fi
if ! [ -e "$cache/$key" ]; then
	part=$(mktemp -d "$cache/part.XXXXXX")
	trap 'rm -rf "$part"' EXIT
	make_into "$part"
	# Somebody may have been quicker: what is there is the same.
	mv -T "$part" "$cache/$key" 2>/dev/null || [ -e "$cache/$key" ]
fi
echo "-L$cache/$key"
