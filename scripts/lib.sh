# shellcheck shell=bash disable=SC2034 # the variables are for the scripts
# What the scripts share: where the cache is, how they speak, how a thing is made once.
# Sourced, not run.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XT_DNP3_CACHE:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/xt_dnp3}
me=${0##*/}

# Called from make or not, the makes that we call begin afresh.
unset MAKEFLAGS MFLAGS MAKELEVEL

# What the scripts' own failures exit with; a script may set another.
failure=1

die() {
	printf '%s: %s\n' "$me" "$*" >&2
	exit "$failure"
}

step() {
	printf '%s: %s\n' "$me" "$*" >&2
}

# Run a command with all its output in the log $1; upon failure show the end of it.
logged() {
	local log=$1
	shift
	printf '+ %s\n' "$*" >>"$log"
	"$@" >>"$log" 2>&1 </dev/null || {
		tail -n 40 "$log" >&2
		die "failed: ${1##*/} (the whole log: $log)"
	}
}

# A short name for all that is on the standard input.
key() {
	local sum
	sum=$(sha256sum)
	printf '%.16s' "$sum"
}

# The exact versions of installed packages, for keys.
versions() {
	# shellcheck disable=SC2016 # the format is dpkg's
	dpkg-query -W -f '${Package} ${Version}\n' "$@"
}

# Make $cache/$1 with `$2 DIR LOG`, unless it is there. The maker works in a directory of its
# own, which takes the right name only when it is whole, and under a lock, so that neither a
# broken run nor a second one at the same time does harm.
made() {
	local thing_=$cache/$1 log_=$cache/log/${1//\//-} lock_
	[ -e "$thing_" ] && return
	mkdir -p "${thing_%/*}" "$cache/log"
	exec {lock_}>"$log_.lock"
	flock "$lock_"
	if ! [ -e "$thing_" ]; then
		rm -rf "$thing_.part"
		mkdir "$thing_.part"
		: >"$log_.log"
		(
			# shellcheck disable=SC2064 # expanded now
			trap "rm -rf '$thing_.part'" EXIT
			"$2" "$thing_.part" "$log_.log"
			mv -T "$thing_.part" "$thing_"
		)
	fi
	exec {lock_}>&-
}

# Where the host's apt has Debian from, or Debian's security updates ($1 is "security"). What it has
# not fetched yet has no origin.
mirror() {
	# shellcheck disable=SC2016 # the $(…) are apt's
	apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(ORIGIN)' 'Created-By: Packages' |
		awk -v security="${1-}" '$2 == "main" && ($3 == "Debian" || $3 ~ /^\$/) &&
			($1 ~ /security/) == (security != "") { print $1; exit }'
}

# The lines of a sources.list for suites of Debian, whichever the host's is.
suites() {
	local suite uri main
	main=$(mirror)
	[ -n "$main" ] || die "apt's sources on this machine have no Debian main"
	for suite; do
		uri=$main
		[[ $suite != *-security ]] || uri=$(mirror security)
		# Not every machine takes security updates from a mirror of its own.
		[ -z "$uri" ] ||
			echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
	done
}

# How the host's apt reaches its mirror.
transport() {
	apt-config dump --no-empty --format '%F "%v";%n' Acquire |
		grep -E '^Acquire::(https?|ftp|socks|Check|Retries|Force)' || true
}

# Set `apt` to options that have apt-get and apt-cache read other suites and write below $1 only: the
# machine's own sources and lists stay as they are, and so do its proxies.
#
#   other_suites DIR SUITE... && apt-get "${apt[@]}" update
other_suites() {
	local dir=$1
	shift
	mkdir -p "$dir"/lists/partial "$dir"/cache/archives/partial
	suites "$@" >"$dir/sources.list"
	apt=(-qq -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::Lists="$dir/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$dir/cache"
		-o Acquire::Languages=none -o APT::Sandbox::User=)
}

# Keep of a kernel's tree what a module's build needs, as Debian's headers do.
prune() {
	local tree=$1
	find "$tree" -mindepth 1 -maxdepth 1 \
		! -name arch ! -name include ! -name scripts ! -name rust ! -name tools \
		! -name Makefile ! -name Kbuild ! -name Kconfig ! -name .config \
		! -name Module.symvers ! -name System.map -exec rm -rf {} +
	find "$tree/arch" -mindepth 1 -maxdepth 1 ! -name x86 ! -name Kconfig -exec rm -rf {} +
	find "$tree/tools" -type f ! -path "$tree/tools/objtool/objtool" -delete
	find "$tree/arch/x86" -type f \( -name '*.[cSo]' -o -name '*.a' -o -name '.*.cmd' \
		-o -path '*/boot/*' \) -delete
	find "$tree/rust" -type f \( -name '*.o' -o -name '.*.cmd' \) -delete
	find "$tree" -depth -type d -empty -delete
}

# What Kbuild leaves among the sources; .gitignore has the same.
products=('*.o' '*.ko' '*.mod' '*.mod.c' '.*.cmd' '*.rmeta' '*_generated.rs' Module.symvers modules.order
	plain.flags plain.libcore plain.libcore.key plain.target.json)
