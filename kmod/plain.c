// SPDX-License-Identifier: GPL-2.0
/*
 * The plain entry: the match, registered with x_tables in C, for kernels that take
 * no Rust module. It hands over what x_tables passes; what decides is the core,
 * called through xt_dnp3_plain.rs.
 *
 * xt_dnp3_main.rs, dnp3.rs and xt/ are the same on the kernel crate. Both must do
 * the same, in the same order.
 */
#include <linux/build_bug.h>
#include <linux/module.h>
#include <linux/stddef.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_dnp3.h>

#include "helpers.h"
#include "plain.h"
#include "track.h"

/* The layouts and values that xt_dnp3_plain.rs has too. */
static_assert(offsetof(struct xt_dnp3_headers, transport) == 0);
static_assert(offsetof(struct xt_dnp3_headers, end) == 4);
static_assert(offsetof(struct xt_dnp3_headers, udp_segment) == 8);
static_assert(offsetof(struct xt_dnp3_headers, protocol) == 10);
static_assert(offsetof(struct xt_dnp3_headers, fragment) == 11);
static_assert(sizeof(struct xt_dnp3_headers) == 12);
static_assert(offsetof(struct xt_dnp3_place, part) == 0);
static_assert(offsetof(struct xt_dnp3_place, from) == 8);
static_assert(sizeof(struct xt_dnp3_place) == 16);
static_assert(XT_DNP3_FRAGMENT_WHOLE == 0);
static_assert(XT_DNP3_FRAGMENT_FIRST == 1);

/* No more than a jump: what is left of the stack in a packet's path is for the core. */
static bool dnp3_mt(const struct sk_buff *skb, struct xt_action_param *par)
{
	return xt_dnp3_core_match(par->matchinfo, skb, par);
}

void xt_dnp3_hotdrop(struct xt_action_param *par)
{
	par->hotdrop = true;
}

static int dnp3_mt_check(const struct xt_mtchk_param *par)
{
	const u8 *reason;
	bool inverted;
	u8 protocol;
	size_t len;

	protocol = xt_dnp3_rule_protocol(par, &inverted);
	len = xt_dnp3_core_check(par->matchinfo, protocol, inverted, &reason);
	if (len) {
		xt_dnp3_log_refused(reason, len);
		return -EINVAL;
	}
	/* Last, so that no error has to take it back. */
	return xt_dnp3_rule_enable(par->net, par->family, xt_dnp3_core_tracks(par->matchinfo));
}

static void dnp3_mt_destroy(const struct xt_mtdtor_param *par)
{
	xt_dnp3_rule_disable(par->net, par->family, xt_dnp3_core_tracks(par->matchinfo));
}

/*
 * One by one: ebtables would take a match of no family for its own, and leaves
 * unset what this one needs. All tables, all hooks, and protocols are for
 * checkentry to judge.
 */
static struct xt_match dnp3_mt_reg[] __read_mostly = {
	{
		.name		= "dnp3",
		.revision	= 0,
		.family		= NFPROTO_IPV4,
		.match		= dnp3_mt,
		.checkentry	= dnp3_mt_check,
		.destroy	= dnp3_mt_destroy,
		.matchsize	= sizeof(struct xt_dnp3_mtinfo),
		.usersize	= sizeof(struct xt_dnp3_mtinfo),
		.me		= THIS_MODULE,
	},
	{
		.name		= "dnp3",
		.revision	= 0,
		.family		= NFPROTO_IPV6,
		.match		= dnp3_mt,
		.checkentry	= dnp3_mt_check,
		.destroy	= dnp3_mt_destroy,
		.matchsize	= sizeof(struct xt_dnp3_mtinfo),
		.usersize	= sizeof(struct xt_dnp3_mtinfo),
		.me		= THIS_MODULE,
	},
};

static int __init dnp3_mt_init(void)
{
	int err;

	err = xt_dnp3_track_init();
	if (err)
		return err;
	err = xt_register_matches(dnp3_mt_reg, ARRAY_SIZE(dnp3_mt_reg));
	if (err)
		xt_dnp3_track_exit();
	return err;
}

static void __exit dnp3_mt_exit(void)
{
	xt_unregister_matches(dnp3_mt_reg, ARRAY_SIZE(dnp3_mt_reg));
	xt_dnp3_track_exit();
}

module_init(dnp3_mt_init);
module_exit(dnp3_mt_exit);

MODULE_DESCRIPTION("Xtables: DNP3 (IEEE 1815) match");
MODULE_LICENSE("GPL");
MODULE_ALIAS("ipt_dnp3");
MODULE_ALIAS("ip6t_dnp3");
