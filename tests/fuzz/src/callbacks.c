// SPDX-License-Identifier: GPL-2.0
/*
 * Calls the extension as libxtables does. The extension is linked to the fuzzer, and registers
 * itself here instead of at libxtables: what libxtables does around the callbacks (searching
 * extensions, getopt_long) would be fuzzed along, and has state that no input may leave behind.
 */
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xtables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

#define MATCHES 2
#define RULE 112

static struct xtables_match *registered[MATCHES];

void xtables_register_matches(struct xtables_match *match, unsigned int count)
{
	if (count != MATCHES)
		abort();
	for (unsigned int i = 0; i < count; i++)
		registered[i] = &match[i];
}

static jmp_buf refused;
static char line[1 << 17];

/* Ends iptables; the extension hands over one string that it allocated, and never comes back. */
__attribute__((noreturn, format(printf, 2, 3)))
static void exit_err(enum xtables_exittype status, const char *format, ...)
{
	va_list arguments;
	char *text;

	if (status != PARAMETER_PROBLEM || strcmp(format, "%s"))
		abort();
	va_start(arguments, format);
	text = va_arg(arguments, char *);
	va_end(arguments);
	snprintf(line, sizeof(line), "%s", text);
	free(text);
	longjmp(refused, 1);
}

static struct xtables_globals globals = {
	.program_name = "fuzz",
	.program_version = "0",
	.exit_err = exit_err,
};

/* A rule of iptables that is being read: what -p says, and one match with its data. */
static union {
	struct ipt_entry v4;
	struct ip6t_entry v6;
} entry;
static union {
	struct xt_entry_match match;
	unsigned char room[XT_ALIGN(sizeof(struct xt_entry_match)) + XT_ALIGN(RULE)];
} data;
static struct xtables_match *match;
static unsigned int flags;

void fuzz_begin(int v6, int protocol, int inverted, const unsigned char *rule)
{
	xt_params = &globals;
	match = registered[v6];
	if (match->size != XT_ALIGN(RULE) || match->family != (v6 ? NFPROTO_IPV6 : NFPROTO_IPV4))
		abort();
	memset(&entry, 0, sizeof(entry));
	if (v6) {
		entry.v6.ipv6.proto = protocol;
		entry.v6.ipv6.flags = protocol ? IP6T_F_PROTO : 0;
		entry.v6.ipv6.invflags = inverted ? XT_INV_PROTO : 0;
	} else {
		entry.v4.ip.proto = protocol;
		entry.v4.ip.invflags = inverted ? XT_INV_PROTO : 0;
	}
	memset(&data, 0, sizeof(data));
	data.match.u.match_size = sizeof(data);
	memcpy(data.match.data, rule, RULE);
	flags = 0;
}

/* The option's value, its code; -1 when there is none of this name. */
int fuzz_code(const char *name, int *has_value)
{
	for (const struct option *option = match->extra_opts; option->name; option++)
		if (!strcmp(option->name, name)) {
			*has_value = option->has_arg;
			return option->val;
		}
	return -1;
}

/* One option. NULL when it was taken, else the line that iptables would say. */
const char *fuzz_option(int code, int inverted, char *value)
{
	struct xt_entry_match *handed = &data.match;

	optarg = value;
	if (setjmp(refused))
		return line;
	if (match->parse(code, NULL, inverted, &flags, &entry, &handed) != 1)
		abort();
	return NULL;
}

/* All options were taken. The same. */
const char *fuzz_check(void)
{
	struct xt_fcheck_call call = {
		.ext_name = "dnp3",
		.data = data.match.data,
		.xflags = flags,
	};

	if (setjmp(refused))
		return line;
	match->x6_fcheck(&call);
	return NULL;
}

/* A code that is none of the extension's is none of its business. */
void fuzz_foreign_code(int code)
{
	struct xt_entry_match *handed = &data.match;

	optarg = NULL;
	if (match->parse(code, NULL, 0, &flags, &entry, &handed) != 0)
		abort();
}

void fuzz_rule(unsigned char *rule)
{
	memcpy(rule, data.match.data, RULE);
}

/* What iptables prints: 0 with names, 1 with numbers, 2 as iptables-save. To be freed. */
char *fuzz_print(int what)
{
	FILE *out = stdout;
	char *text = NULL;
	size_t size;

	/* The extension writes to C's standard output, which glibc lets us choose. */
	stdout = open_memstream(&text, &size);
	if (!stdout)
		abort();
	if (what == 2)
		match->save(&entry, &data.match);
	else
		match->print(&entry, &data.match, what);
	fclose(stdout);
	stdout = out;
	return text;
}
