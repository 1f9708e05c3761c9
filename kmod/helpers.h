/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the match needs of the kernel and only C can give, because it is inline,
 * a macro, or depends on the configuration. Nothing here knows DNP3, and nothing
 * here depends on what calls it.
 */
#ifndef _XT_DNP3_HELPERS_H
#define _XT_DNP3_HELPERS_H

#include <linux/types.h>

struct net;
struct sk_buff;
struct xt_action_param;
struct xt_mtchk_param;

enum xt_dnp3_fragment {
	XT_DNP3_FRAGMENT_WHOLE,	/* not a fragment */
	XT_DNP3_FRAGMENT_FIRST,	/* offset zero, more to come */
	XT_DNP3_FRAGMENT_LATER,	/* an offset that is not zero */
};

/**
 * struct xt_dnp3_headers - what the IP layer knows of a packet
 * @transport: where the transport header begins, from skb->data on
 * @end: where the IP packet ends, from skb->data on; at most skb->len
 * @udp_segment: payload octets in each UDP datagram but the last, where the
 *	packet is several of them (GSO, GRO); else 0
 * @protocol: IPPROTO_* of the transport header
 * @fragment: enum xt_dnp3_fragment; for LATER no other member means anything
 */
struct xt_dnp3_headers {
	u32 transport;
	u32 end;
	u16 udp_segment;
	u8 protocol;
	u8 fragment;
};

bool xt_dnp3_headers(const struct sk_buff *skb, const struct xt_action_param *par,
		     struct xt_dnp3_headers *headers);
bool xt_dnp3_find_headers(const struct sk_buff *skb, u8 family,
			  struct xt_dnp3_headers *headers);

u8 xt_dnp3_rule_protocol(const struct xt_mtchk_param *par, bool *inverted);

/**
 * struct xt_dnp3_place - where reading of a packet has come to
 * @part: the member of its frag list that was read last; NULL before
 * @from: the offset in the packet of that member's first octet
 */
struct xt_dnp3_place {
	const struct sk_buff *part;
	u32 from;
};

u32 xt_dnp3_skb_len(const struct sk_buff *skb);
const u8 *xt_dnp3_skb_linear(const struct sk_buff *skb, u32 *len);
bool xt_dnp3_skb_copy(const struct sk_buff *skb, struct xt_dnp3_place *place,
		      u32 offset, u8 *to, u32 len);

int xt_dnp3_rule_enable(struct net *net, u8 family, bool tracks);
void xt_dnp3_rule_disable(struct net *net, u8 family, bool tracks);

void xt_dnp3_log_refused(const u8 *reason, size_t len);

#endif /* _XT_DNP3_HELPERS_H */
