#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Fail when an object of rustc's is not compiled as the kernel's configuration wants it.
#
#   check-codegen.sh CONFIG OBJDUMP OBJECT [probe]
#
# CONFIG is the kernel's include/config/auto.conf. What the compiler was told is not asked: the
# instructions and relocations are read. `probe` says that OBJECT is plain_probe.rs's, which must have
# what other objects need not have.
set -eu

config=$1 objdump=$2 object=$3 probe=${4-}

# The first of some options that is y, without its CONFIG_.
first() {
	for option_; do
		if grep -q "^CONFIG_$option_=y\$" "$config"; then
			printf '%s' "$option_"
			return
		fi
	done
}

padding=
if [ -n "$(first CALL_PADDING)" ]; then
	padding=$(sed -n 's/^CONFIG_FUNCTION_PADDING_BYTES=//p' "$config")
fi

# With the instructions objdump shows the relocations of code alone, so both.
# $objdump may be a command with arguments, as in Kbuild.
# shellcheck disable=SC2086
{
	$objdump -t -d -r --no-show-raw-insn "$object"
	$objdump -r "$object"
} | awk \
	-v object="${object##*/}" -v probe="$probe" \
	-v rethunk="$(first RETHUNK MITIGATION_RETHUNK)" \
	-v retpoline="$(first RETPOLINE MITIGATION_RETPOLINE)" \
	-v sls="$(first SLS MITIGATION_SLS)" \
	-v ibt="$(first X86_KERNEL_IBT)" \
	-v frames="$(first FRAME_POINTER)" \
	-v padding="$padding" '

function wrong(text) {
	if (!(text in said))
		printf "error: %s: %s\n", object, text | "cat >&2"
	said[text] = 1
	failed = 1
}

# At the end of what could have been an int3.
function no_int3() {
	if (unguarded != "")
		wrong("no int3 behind " unguarded ", which CONFIG_" sls " wants")
	unguarded = ""
}

function number(hex,    i, n) {
	sub(/^0x/, "", hex)
	for (i = 1; i <= length(hex); i++)
		n = n * 16 + index("0123456789abcdef", substr(hex, i, 1)) - 1
	return n + 0
}

# Section and offset of what a relocation refers to, "" where it is not code of this object.
function place(value, back,    at, name, sign) {
	at = 0
	if (match(value, /[+-]0x[0-9a-f]+$/)) {
		name = substr(value, 1, RSTART - 1)
		sign = substr(value, RSTART, 1)
		at = number(substr(value, RSTART + 1))
		if (sign == "-")
			at = -at
	} else
		name = value
	at += back
	if (name in start)
		return section_of[name] " " (start[name] + at)
	return name ~ /^\.text/ ? name " " at : ""
}

# What objdump says of an instruction, without comments.
function instruction(text) {
	sub(/^ *[0-9a-f]+:[ \t]*/, "", text)
	sub(/[ \t]*[#<].*$/, "", text)
	gsub(/[ \t]+/, " ", text)
	return text
}

# The symbol table: address, flags, F, section, size, name.
/^[0-9a-f]+ [lgw].* F / {
	line = $0
	flags = substr($0, index($0, " ") + 1, 7)
	sub(/^.* F /, "", line)
	split(line, part, /[ \t]+/)
	name = $NF
	start[name] = number($1)
	section_of[name] = part[1]
	function_at[part[1] " " number($1)] = name
	if (flags ~ /[gw]/)
		global[name] = 1
	next
}

/ \*UND\*[ \t]/ {
	if ($NF ~ /panic|begin_unwind/)
		panics = 1
	if ($NF == "__adddf3")
		soft_float = 1
	next
}

/^Disassembly of section / {
	no_int3()
	section = $NF
	sub(/:$/, "", section)
	in_code = 1
	nops = 0
	current = ""
	next
}

# A table of relocations. Those of code have been seen, and what is for tools only does not matter.
/^RELOCATION RECORDS FOR / {
	no_int3()
	section = $NF
	gsub(/[\[:]|\]/, "", section)
	in_code = 0
	no_data = section ~ /^\.(text|eh_frame|debug|note)|^__patchable_function_entries/
	next
}

# In data.
!in_code && $2 ~ /^R_X86_64_/ {
	if (no_data)
		next
	if ($2 != "R_X86_64_64")
		wrong("relocation " $2 " in " section ": not for a static object of the kernel code model")
	if ((to = place($3, 0)) != "")
		taken[to] = section
	next
}

# In code.
in_code && $2 ~ /^R_X86_64_/ {
	if ($2 !~ /^R_X86_64_(PC32|PLT32|32S|NONE)$/)
		wrong("relocation " $2 " in " current ": not for a static object of the kernel code model")
	if (opcode !~ /^(call|j)/ && (to = place($3, $2 ~ /PC32|PLT32/ ? 4 : 0)) != "")
		taken[to] = current
	next
}

in_code && /^[0-9a-f]+ <.*>:$/ {
	no_int3()
	key = section " " number($1)
	if (key in function_at) {
		current = function_at[key]
		count = calls = framed = 0
		seen[current] = 1
		if (padding && nops < padding)
			wrong(current " has " nops " octets of padding before it, and CONFIG_CALL_PADDING wants " padding)
	}
	next
}

in_code && /^ *[0-9a-f]+:/ {
	text = instruction($0)
	opcode = text
	sub(/ .*/, "", opcode)
	if (opcode == "int3")
		unguarded = ""
	no_int3()
	nops = opcode == "nop" && text ~ /^nop ?$/ ? nops + 1 : 0
	count++
	if (count == 1 && opcode == "endbr64")
		has_endbr[current] = 1
	if (text ~ /%[xyz]?mm[0-9]/ || text ~ /%st/ || opcode ~ /^f(ld|st|ild|ist|add|mul|div|sub)/)
		wrong("floating-point or vector registers in " current ": " text)
	if (text ~ /(^|[ ,])-0x[0-9a-f]+\(%rsp/)
		wrong("red zone in " current ": " text)
	if (rethunk && opcode ~ /^ret/)
		wrong("a plain ret in " current ", which CONFIG_" rethunk " forbids")
	if (retpoline && text ~ /^(notrack )?(call|jmp)q? \*/)
		wrong("an indirect branch in " current " that is no retpoline, which CONFIG_" retpoline " forbids: " text)
	if (text ~ /^notrack/)
		wrong("a branch without CET in " current ": " text)
	if (sls && (opcode ~ /^ret/ || text ~ /^jmpq? \*/))
		unguarded = opcode " in " current
	if (opcode ~ /^pushq?$/ && text ~ / %rbp$/)
		pushed = count
	if (text ~ /^movq? %rsp, ?%rbp$/ && pushed == count - 1)
		framed = 1
	if (frames && opcode ~ /^call/ && !framed)
		wrong("a call without a frame pointer in " current ", which CONFIG_" frames " wants")
}

END {
	no_int3()
	for (name in start) {
		total++
		if (!(name in seen))
			wrong(name " was not disassembled")
		if (ibt && name in global && !(name in has_endbr))
			wrong(name " is global and has no endbr64, which CONFIG_" ibt " wants")
	}
	for (to in taken) {
		name = function_at[to]
		if (name == "")
			wrong("a jump table, or an address inside a function, in " taken[to])
		else if (ibt && !(name in has_endbr))
			wrong(name " is called by its address and has no endbr64, which CONFIG_" ibt " wants")
	}
	if (probe && !panics)
		wrong("an addition that overflows goes on: overflow checks are off")
	if (probe && !soft_float)
		wrong("an addition of floats does not call __adddf3: no soft float")
	if (!total)
		wrong("no function in it")
	close("cat >&2")
	exit failed
}'
