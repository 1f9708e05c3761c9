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
		gcc=$(compiler "$text" "gcc-$major" "x86_64-linux-gnu-gcc-$major" "gcc-$major" gcc)
		arguments=(CC="$gcc")
	fi
}
