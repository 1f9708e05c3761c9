// SPDX-License-Identifier: GPL-2.0
/*
 * Drives the extension through libxtables as iptables does, without a kernel:
 * for each line of options on the standard input, parse, check, list and save.
 *
 *   callbacks 4|6
 *
 * A line holds what stands in a rule behind the chain: -p PROTOCOL, ! and
 * options, each -m dnp3 beginning a match. The answer to it is, for each match,
 *
 *   data HEXADECIMAL
 *   names: ... (iptables -L)
 *   numbers: ... (iptables -L -n)
 *   save: ...
 *
 * or "refused STATUS: LINE"; and an empty line.
 */
#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xtables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>

static jmp_buf refused;

__attribute__((noreturn, format(printf, 2, 3)))
static void exit_err(enum xtables_exittype status, const char *format, ...)
{
	va_list arguments;

	printf("refused %d: ", status);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	longjmp(refused, 1);
}

/* What iptables asks the kernel. */
static int compatible(const char *name, uint8_t revision, int option)
{
	(void)name, (void)option;
	return revision == 0;
}

static struct option own[] = {
	{"protocol", required_argument, NULL, 'p'},
	{"match", required_argument, NULL, 'm'},
	XT_GETOPT_TABLEEND,
};

static struct xtables_globals globals = {
	.program_name = "callbacks",
	.program_version = "0",
	.orig_opts = own,
	.exit_err = exit_err,
	.compat_rev = compatible,
};

static struct xtables_rule_match *matches;
static union {
	struct ipt_entry v4;
	struct ip6t_entry v6;
} entry;
static bool v6;

static void begin_match(const char *name)
{
	struct xtables_match *match = xtables_find_match(name, XTF_LOAD_MUST_SUCCEED, &matches);
	size_t size = XT_ALIGN(sizeof(struct xt_entry_match)) + match->size;

	match->m = xtables_calloc(1, size);
	match->m->u.match_size = size;
	strcpy(match->m->u.user.name, match->name);
	if (match != match->next)
		globals.opts = xtables_merge_options(own, globals.opts, match->extra_opts,
						     &match->option_offset);
}

static void set_protocol(const char *name, bool inverted)
{
	if (v6) {
		entry.v6.ipv6.proto = xtables_parse_protocol(name);
		entry.v6.ipv6.flags |= IP6T_F_PROTO;
		entry.v6.ipv6.invflags = inverted ? XT_INV_PROTO : 0;
	} else {
		entry.v4.ip.proto = xtables_parse_protocol(name);
		entry.v4.ip.invflags = inverted ? XT_INV_PROTO : 0;
	}
}

static void take(int option, char **argv, bool inverted)
{
	for (struct xtables_rule_match *i = matches; i; i = i->next) {
		struct xtables_match *match = i->match;

		if (!i->completed && option >= (int)match->option_offset &&
		    option < (int)match->option_offset + 256) {
			xtables_option_mpcall(option, argv, inverted, match, &entry);
			return;
		}
	}
	exit_err(PARAMETER_PROBLEM, "unknown option");
}

static void parse(int argc, char **argv)
{
	bool inverted = false;
	int option;

	for (struct xtables_match *match = xtables_matches; match; match = match->next)
		match->mflags = 0;
	optind = 0;
	opterr = 0;
	while ((option = getopt_long(argc, argv, "-:p:m:", globals.opts, NULL)) != -1) {
		if (option == 1 && !strcmp(optarg, "!")) {
			inverted = true;
			continue;
		}
		if (option == 'p')
			set_protocol(optarg, inverted);
		else if (option == 'm')
			begin_match(optarg);
		else
			take(option, argv, inverted);
		inverted = false;
	}
	for (struct xtables_rule_match *i = matches; i; i = i->next)
		xtables_option_mfcall(i->match);
}

static void print(void)
{
	for (struct xtables_rule_match *i = matches; i; i = i->next) {
		struct xtables_match *match = i->match;

		printf("data ");
		for (size_t at = 0; at < match->size; at++)
			printf("%02x", match->m->data[at]);
		printf("\nnames:");
		match->print(&entry, match->m, 0);
		printf("\nnumbers:");
		match->print(&entry, match->m, 1);
		printf("\nsave:");
		match->save(&entry, match->m);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	static char line[1 << 16];

	if (argc != 2 || (strcmp(argv[1], "4") && strcmp(argv[1], "6")))
		return 1;
	v6 = argv[1][0] == '6';
	if (xtables_init_all(&globals, v6 ? NFPROTO_IPV6 : NFPROTO_IPV4))
		return 1;

	while (fgets(line, sizeof(line), stdin)) {
		char *words[256] = {"callbacks"};
		int count = 1;

		for (char *word = strtok(line, " \n"); word && count < 255; word = strtok(NULL, " \n"))
			words[count++] = word;
		memset(&entry, 0, sizeof(entry));
		globals.opts = xtables_merge_options(own, NULL, own + 2, &globals.option_offset);
		if (!setjmp(refused)) {
			parse(count, words);
			print();
		}
		xtables_rule_matches_free(&matches);
		xtables_free_opts(1);
		globals.opts = NULL;
		printf("\n");
	}
	return 0;
}
