# shellcheck shell=bash disable=SC2034,SC2154 # the variables are shared with the script
# Which compilers built a kernel, told by its configuration, and where they are on this machine.
# Sourced after lib.sh, not run; `kdir` is the kernel's build tree.

# The value of the kernel's CONFIG_$1, empty where it has none.
config() {
	sed -n "s/^CONFIG_$1=\"\\?\\([^\"]*\\)\"\\?\$/\\1/p" "$kdir/include/config/auto.conf"
}

# Compiled Rust can be linked to that of the very same rustc only.
rustc() {
	local text candidate
	text=$(config RUSTC_VERSION_TEXT)
	for candidate in /usr/bin/rustc rustc; do
		if [ "$(command "$candidate" --version 2>/dev/null)" = "$text" ]; then
			printf '%s' "$candidate"
			return
		fi
	done
	die "no rustc here is the one that built the kernel in $kdir, \"$text\"" \
		"(tried /usr/bin/rustc and rustc in PATH)"
}

# For the plain entry any will do that is new enough (kmod/plain-flags.sh has the limit) and whose
# source of libcore is here; RUSTC names one.
plain_rustc() {
	local candidate text minor tried=''
	for candidate in ${RUSTC:+"$RUSTC"} /usr/bin/rustc rustc; do
		text=$(command "$candidate" --version 2>/dev/null) || continue
		if [ "$candidate" = "${RUSTC-}" ]; then
			printf '%s' "$candidate"
			return
		fi
		tried="$tried${tried:+, }$candidate is ${text#rustc }"
		minor=${text#rustc 1.}
		minor=${minor%%.*}
		if [ "$minor" -lt 85 ]; then
			continue
		fi
		if [ -e "$(command "$candidate" --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ]; then
			printf '%s' "$candidate"
			return
		fi
		tried="$tried, without the source of its library"
	done
	die "the plain entry needs rustc 1.85 or newer with the source of its library; ${tried:-there is no rustc}." \
		"Debian: rustc-web and rust-web-src, or rustc and rust-src; rustup: rustup component add rust-src"
}

# C is less strict: the very same compiler, or at least the same major version.
compiler() {
	local text=$1 same=$2 candidate
	shift 2
	for candidate; do
		if [ "$("$candidate" --version 2>/dev/null | sed 's/^[^ ]* //;q')" = "${text#* }" ]; then
			printf '%s' "$candidate"
			return
		fi
	done
	command -v "$same" || die "no compiler here is that of the kernel in $kdir, \"$text\"" \
		"(tried $*; $same would do)"
}

# The gcc of this major version, or where there is none, the next one: a newer gcc knows the flags of
# an older one.
least_gcc() {
	local major=$1 newer
	for ((newer = major; newer < major + 8; newer++)); do
		if command -v "gcc-$newer" >/dev/null; then
			[ "$newer" = "$major" ] ||
				step "the kernel in $kdir was built by gcc $major; gcc-$newer is taken"
			printf 'gcc-%s' "$newer"
			return
		fi
	done
	printf 'gcc-%s' "$major"
}

# Set `arguments` to make's for the kernel's C compiler.
c_arguments() {
	local text major gcc clang
	text=$(config CC_VERSION_TEXT)
	if [ "$(config CC_IS_CLANG)" = y ]; then
		major=$(($(config CLANG_VERSION) / 10000))
		clang=$(compiler "$text" "clang-$major" "clang-$major" clang)
		clang=$(readlink -f "$(command -v "$clang")")
		arguments=(LLVM="${clang%/*}/")
		export LIBCLANG_PATH=${clang%/bin/*}/lib
	else
		major=$(($(config GCC_VERSION) / 10000))
		gcc=$(compiler "$text" "$(least_gcc "$major")" "x86_64-linux-gnu-gcc-$major" "gcc-$major" gcc)
		arguments=(CC="$gcc")
	fi
}
