#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Say how rustc makes objects for a kernel that has no Rust of its own.
#
#   plain-flags.sh CONFIG RUSTC TARGET
#
# CONFIG is the kernel's include/config/auto.conf. Writes the target specification TARGET and prints
# rustc's flags, one a line. A kernel or a rustc that it cannot serve gets one line that names what is
# in the way. That the flags have their effect is not believed: check-codegen.sh looks.
set -eu

# make's job server is not for us; rustc would look for it, and warn.
unset MAKEFLAGS MFLAGS

config=$1 rustc=$2 target=$3

die() {
	printf 'error: xt_dnp3: plain entry: %s\n' "$*" >&2
	exit 1
}

# Whether one of these options is y.
has() {
	for option_; do
		if grep -q "^CONFIG_$option_=y\$" "$config"; then
			return 0
		fi
	done
	return 1
}

# The value of an option that is a number.
value() {
	sed -n "s/^CONFIG_$1=\\([0-9]*\\)\$/\\1/p" "$config"
}

refuse() {
	if has "$1"; then
		die "not for a kernel with CONFIG_$1: $2"
	fi
}

# The compiler.
text=$("$rustc" --version 2>/dev/null) || die "$rustc does not run; RUSTC= names another rustc"
version=${text#rustc }
version=${version%%[ -]*}
minor=${version#*.}
minor=${minor%%.*}
case $version in
[0-9]*.[0-9]*.[0-9]*) ;;
*) die "$rustc is no rustc: it says \"$text\"" ;;
esac
if [ "${version%%.*}" = 1 ] && [ "$minor" -lt 85 ]; then
	die "$rustc is $version, and 1.85.0 is the oldest that will do; RUSTC= names another rustc"
fi

# The kernel. What is compiled must be as the rest of it, or it must not be compiled.
has X86_64 || die 'for x86-64 kernels only, and this one has no CONFIG_X86_64'
refuse LTO_CLANG 'the linker would want LLVM bitcode of the very same LLVM'
for option in CFI_CLANG CFI; do
	refuse $option 'calls between its C and its Rust have not been tried under kCFI'
done
for option in KASAN KCSAN KMSAN; do
	refuse $option 'its Rust is not instrumented, and what it did wrong would not be seen'
done

# What is always so on x86-64: see KBUILD_RUSTFLAGS in the kernel's Makefile and arch/x86/Makefile.
cat <<EOF
--target=$target
-Zunstable-options
-Cpanic=abort
-Cforce-unwind-tables=n
-Cembed-bitcode=n
-Clto=n
-Ccodegen-units=1
-Csymbol-mangling-version=v0
-Copt-level=2
-Cdebug-assertions=n
-Coverflow-checks=y
-Crelocation-model=static
-Ccode-model=kernel
-Zplt=y
-Cno-redzone=y
EOF

# Jumps through tables are indirect jumps. (-C since 1.93)
if [ "$minor" -ge 93 ]; then
	echo -Cjump-tables=n
else
	echo -Zno-jump-tables
fi
if has FRAME_POINTER; then
	echo -Cforce-frame-pointers=y
else
	echo -Cforce-frame-pointers=n
fi
if has RETHUNK MITIGATION_RETHUNK; then
	echo -Zfunction-return=thunk-extern
fi
if has X86_KERNEL_IBT; then
	echo -Zcf-protection=branch
fi
if has CALL_PADDING; then
	padding=$(value FUNCTION_PADDING_BYTES)
	echo "-Zpatchable-function-entry=$padding,$padding"
fi

# What rustc has no flag for is a feature of LLVM's, which only a target can ask for without a
# warning: rustc's own bare target, soft-float without SSE and in the form that this very rustc
# reads, with more features.
features=
if has RETPOLINE MITIGATION_RETPOLINE; then
	features=$features,+retpoline-external-thunk
	features=$features,+retpoline-indirect-branches,+retpoline-indirect-calls
fi
if has SLS MITIGATION_SLS; then
	features=$features,+harden-sls-ijmp,+harden-sls-ret
fi
specification=$(RUSTC_BOOTSTRAP=1 "$rustc" -Zunstable-options --target=x86_64-unknown-none \
	--print target-spec-json) || die "$rustc says nothing of its target x86_64-unknown-none"
case $specification in
*'"features": "'*'+soft-float"'*) ;;
*) die "$rustc has a target x86_64-unknown-none without the feature soft-float" ;;
esac
printf '%s\n' "$specification" | sed "s/+soft-float\"/+soft-float$features\"/" >"$target"
