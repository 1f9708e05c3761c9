/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What plain.c and xt_dnp3_plain.rs have of each other. Rust has its twins of what
 * is declared here and in helpers.h, without bindgen: plain.c holds both to the
 * same numbers.
 */
#ifndef _XT_DNP3_PLAIN_H
#define _XT_DNP3_PLAIN_H

#include <linux/types.h>

struct sk_buff;
struct xt_action_param;
struct xt_dnp3_mtinfo;

/* The core, as C calls it. */
size_t xt_dnp3_core_check(const struct xt_dnp3_mtinfo *rule, u8 protocol, bool inverted,
			  const u8 **reason);
bool xt_dnp3_core_tracks(const struct xt_dnp3_mtinfo *rule);
bool xt_dnp3_core_match(const struct xt_dnp3_mtinfo *rule, const struct sk_buff *skb,
			struct xt_action_param *par);

/* For it. */
void xt_dnp3_hotdrop(struct xt_action_param *par);

#endif /* _XT_DNP3_PLAIN_H */
