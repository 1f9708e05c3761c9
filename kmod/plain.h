/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What plain.rs gives to plain.c: the core, as C calls it. plain.rs has the Rust
 * twins of what is declared here and in helpers.h, without bindgen: plain.c holds
 * both to the same numbers.
 */
#ifndef _XT_DNP3_PLAIN_H
#define _XT_DNP3_PLAIN_H

#include <linux/types.h>

struct sk_buff;
struct xt_dnp3_headers;
struct xt_dnp3_mtinfo;

enum xt_dnp3_verdict {
	XT_DNP3_NO_MATCH,
	XT_DNP3_MATCH,
	XT_DNP3_HOTDROP,
};

size_t xt_dnp3_core_check(const struct xt_dnp3_mtinfo *rule, u8 protocol, bool inverted,
			  const u8 **reason);
u32 xt_dnp3_core_judge(const struct xt_dnp3_mtinfo *rule, const struct sk_buff *skb,
		       const struct xt_dnp3_headers *headers);

#endif /* _XT_DNP3_PLAIN_H */
