// SPDX-License-Identifier: GPL-2.0
/*
 * What the match needs of the kernel and only C can give: see helpers.h.
 *
 * Offsets that reach the skb_* functions are unsigned and held against skb->len
 * first: __skb_header_pointer() reads out of bounds when it is given a negative
 * one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/build_bug.h>
#include <linux/ipv6.h>
#include <linux/module.h>
#include <linux/printk.h>
#include <linux/ratelimit.h>
#include <linux/skbuff.h>
#include <linux/version.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_dnp3.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/netfilter/ipv4/nf_defrag_ipv4.h>
#include <net/netfilter/ipv6/nf_defrag_ipv6.h>

#include "headers.h"
#include "helpers.h"
#include "track.h"

/* The ABI: what a C compiler makes of the header is what its Rust twin holds. */
#define AT(offset, member) \
	static_assert(offsetof(struct xt_dnp3_mtinfo, member) == (offset))
AT(0, set);
AT(2, invert);
AT(4, frames);
AT(5, dir);
AT(6, status);
AT(7, classes);
AT(8, saddr_count);
AT(9, daddr_count);
AT(10, reserved);
AT(16, saddr);
AT(48, daddr);
AT(80, fc);
#undef AT
static_assert(sizeof(struct xt_dnp3_mtinfo) == 112);
static_assert(XT_ALIGN(sizeof(struct xt_dnp3_mtinfo)) == sizeof(struct xt_dnp3_mtinfo));
static_assert(offsetof(struct xt_dnp3_range, min) == 0);
static_assert(offsetof(struct xt_dnp3_range, max) == 2);
static_assert(sizeof(struct xt_dnp3_range) == 4);

u32 xt_dnp3_skb_len(const struct sk_buff *skb)
{
	return skb->len;
}

const u8 *xt_dnp3_skb_linear(const struct sk_buff *skb, u32 *len)
{
	*len = skb_headlen(skb);
	return skb->data;
}

/**
 * xt_dnp3_skb_copy - copy octets out of a packet
 * @skb: the packet
 * @place: all zero before the first call for a packet, then as the last one left it
 * @offset: the first octet that is wanted, from skb->data on
 * @to: where to write
 * @len: how many
 *
 * skb_copy_bits() goes through the frag list from its head each time, and a
 * datagram can come in thousands of fragments: whoever reads one piece after the
 * other would walk that list for each. @place is where to go on.
 *
 * Return: false, with @to in any state, when the packet does not have the octets.
 */
bool xt_dnp3_skb_copy(const struct sk_buff *skb, struct xt_dnp3_place *place,
		      u32 offset, u8 *to, u32 len)
{
	u32 own, n;

	if (offset > skb->len || len > skb->len - offset)
		return false;

	/* Nearly always all of it is in the linear part. */
	if (offset <= skb_headlen(skb) && len <= skb_headlen(skb) - offset) {
		memcpy(to, skb->data + offset, len);
		return true;
	}
	own = skb_pagelen(skb);

	/* The linear part and the pages of the packet itself. */
	if (len && offset < own) {
		n = min(len, own - offset);
		if (skb_copy_bits(skb, offset, to, n))
			return false;
		offset += n;
		to += n;
		len -= n;
	}
	if (!place->part || offset < place->from) {
		place->part = skb_shinfo(skb)->frag_list;
		place->from = own;
	}
	while (len) {
		while (place->part && offset - place->from >= place->part->len) {
			place->from += place->part->len;
			place->part = place->part->next;
		}
		if (!place->part)
			return false;
		n = min(len, place->part->len - (offset - place->from));
		if (skb_copy_bits(place->part, offset - place->from, to, n))
			return false;
		offset += n;
		to += n;
		len -= n;
	}
	return true;
}

static bool headers_ipv4(const struct sk_buff *skb, u32 network,
			 struct xt_dnp3_headers *headers)
{
	const struct iphdr *ip;
	struct iphdr buf;

	ip = skb_header_pointer(skb, network, sizeof(buf), &buf);
	return ip && xt_dnp3_headers_ipv4(skb, network, ip, headers);
}

static u16 udp_segment(const struct sk_buff *skb)
{
	if (skb_is_gso(skb) &&
	    skb_shinfo(skb)->gso_type & (SKB_GSO_UDP_L4 | SKB_GSO_FRAGLIST))
		return skb_shinfo(skb)->gso_size;
	return 0;
}

/*
 * Whether a fragment header before @transport says that more fragments follow.
 * There may be several, the outer ones whole in themselves ("atomic").
 */
static bool more_fragments(const struct sk_buff *skb, u32 start, u8 nexthdr,
			   u32 transport)
{
	while (start < transport) {
		struct frag_hdr buf;
		const struct frag_hdr *fh;

		/* The longest of the headers that are looked into, the least that any has. */
		BUILD_BUG_ON(sizeof(buf) != 8);
		fh = skb_header_pointer(skb, start, sizeof(buf), &buf);
		if (!fh)
			return true;

		if (nexthdr == NEXTHDR_FRAGMENT) {
			if (fh->frag_off & htons(IP6_MF))
				return true;
			start += sizeof(*fh);
		} else if (nexthdr == NEXTHDR_AUTH) {
			start += ipv6_authlen((const struct ipv6_opt_hdr *)fh);
		} else {
			start += ipv6_optlen((const struct ipv6_opt_hdr *)fh);
		}
		nexthdr = fh->nexthdr;
	}
	return false;
}

static bool headers_ipv6(const struct sk_buff *skb, u32 network,
			 struct xt_dnp3_headers *headers)
{
	const struct ipv6hdr *ip6;
	unsigned int transport = 0;
	unsigned short offset = 0;
	struct ipv6hdr buf;
	int flags = 0;
	int protocol;
	u32 length;

	ip6 = skb_header_pointer(skb, network, sizeof(buf), &buf);
	if (!ip6 || ip6->version != 6)
		return false;

	/* As ip6_tables does, so that both find the same header. */
	protocol = ipv6_find_hdr(skb, &transport, -1, &offset, &flags);
	if (protocol < 0)
		return false;

	/* Zero: a jumbogram, or BIG TCP. */
	length = ntohs(ip6->payload_len);
	if (!length)
		length = skb->len - network - sizeof(*ip6);

	headers->transport = transport;
	headers->end = min_t(u32, network + sizeof(*ip6) + length, skb->len);
	headers->protocol = protocol;
	if (offset)
		headers->fragment = XT_DNP3_FRAGMENT_LATER;
	else if (flags & IP6_FH_F_FRAG &&
		 more_fragments(skb, network + sizeof(*ip6), ip6->nexthdr, transport))
		headers->fragment = XT_DNP3_FRAGMENT_FIRST;
	return true;
}

/**
 * xt_dnp3_find_headers - find the transport header and the end of an IP packet
 * @skb: the packet
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 * @headers: where to write what was found
 *
 * Return: false, with @headers in any state, when the packet has no transport
 * header.
 */
bool xt_dnp3_find_headers(const struct sk_buff *skb, u8 family,
			  struct xt_dnp3_headers *headers)
{
	int network = skb_network_offset(skb);
	bool found;

	*headers = (struct xt_dnp3_headers){};
	if (network < 0 || network > skb->len)
		return false;

	switch (family) {
	case NFPROTO_IPV4:
		found = headers_ipv4(skb, network, headers);
		break;
	case NFPROTO_IPV6:
		found = headers_ipv6(skb, network, headers);
		break;
	default:
		found = false;
	}
	if (!found || headers->transport > skb->len)
		return false;

	headers->udp_segment = udp_segment(skb);
	return true;
}

/**
 * xt_dnp3_headers - the same for a match, which is told where that header is
 * @skb: the packet
 * @par: what the match was called with
 * @headers: where to write what was found
 *
 * Return: false, with @headers in any state, when the packet has no transport
 * header where the IP layer says it is. (ip6_tables leaves par->thoff at 0 for
 * rules without a protocol, nf_tables for packets that it takes for broken.)
 */
bool xt_dnp3_headers(const struct sk_buff *skb, const struct xt_action_param *par,
		     struct xt_dnp3_headers *headers)
{
	if (par->fragoff) {
		*headers = (struct xt_dnp3_headers){
			.fragment = XT_DNP3_FRAGMENT_LATER,
		};
		return true;
	}
	return xt_dnp3_find_headers(skb, par->match->family, headers) &&
	       headers->transport == par->thoff;
}

/**
 * xt_dnp3_rule_protocol - find the protocol that a rule names
 * @par: what checkentry was called with, for a match of IPv4 or IPv6
 * @inverted: where to write whether the rule names all but that one
 *
 * Return: IPPROTO_*; 0 when the rule names none, or one that is none.
 */
u8 xt_dnp3_rule_protocol(const struct xt_mtchk_param *par, bool *inverted)
{
	u16 protocol;

	if (par->family == NFPROTO_IPV4) {
		const struct ipt_ip *ip = par->entryinfo;

		protocol = ip->proto;
		*inverted = ip->invflags & IPT_INV_PROTO;
	} else {
		const struct ip6t_ip6 *ip6 = par->entryinfo;

		/* Without the flag ip6_tables does not look for the transport header. */
		protocol = ip6->flags & IP6T_F_PROTO ? ip6->proto : 0;
		*inverted = protocol && ip6->invflags & IP6T_INV_PROTO;
	}
	/* Rules have 16 bits for it. */
	return protocol <= U8_MAX ? protocol : 0;
}

/* Counted, like the kernel's own; without effect where the kernel has none. */
static int defrag_enable(struct net *net, u8 family)
{
	switch (family) {
#if IS_ENABLED(CONFIG_NF_DEFRAG_IPV4)
	case NFPROTO_IPV4:
		return nf_defrag_ipv4_enable(net);
#endif
#if IS_ENABLED(CONFIG_NF_DEFRAG_IPV6)
	case NFPROTO_IPV6:
		return nf_defrag_ipv6_enable(net);
#endif
	default:
		return 0;
	}
}

static void defrag_disable(struct net *net, u8 family)
{
/* Before, what was enabled stayed so for the life of the namespace. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(5, 13, 0)
	switch (family) {
#if IS_ENABLED(CONFIG_NF_DEFRAG_IPV4)
	case NFPROTO_IPV4:
		nf_defrag_ipv4_disable(net);
		break;
#endif
#if IS_ENABLED(CONFIG_NF_DEFRAG_IPV6)
	case NFPROTO_IPV6:
		nf_defrag_ipv6_disable(net);
		break;
#endif
	}
#endif
}

/**
 * xt_dnp3_rule_enable - have the kernel do what a rule needs
 * @net: the network namespace of the rule
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 * @tracks: whether the rule follows connections
 *
 * Fragments, which hide the transport header, are put together before the rules see
 * them.
 *
 * Return: 0 or a negative error.
 */
int xt_dnp3_rule_enable(struct net *net, u8 family, bool tracks)
{
	int err = defrag_enable(net, family);

	if (err || !tracks)
		return err;
	err = xt_dnp3_track_enable(net, family);
	if (err) {
		pr_info_ratelimited("cannot follow connections (--track): error %d\n", err);
		defrag_disable(net, family);
	}
	return err;
}

/**
 * xt_dnp3_rule_disable - undo one xt_dnp3_rule_enable()
 * @net: the network namespace of the rule
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 * @tracks: whether the rule follows connections
 */
void xt_dnp3_rule_disable(struct net *net, u8 family, bool tracks)
{
	if (tracks)
		xt_dnp3_track_disable(net, family);
	defrag_disable(net, family);
}

/* Rules come from user namespaces too: they must not be able to flood the log. */
void xt_dnp3_log_refused(const u8 *reason, size_t len)
{
	pr_info_ratelimited("%.*s\n", (int)len, reason);
}

/*
 * Here for both entries: the kernel crate's module! knows no version. It is that of
 * Cargo.toml, to which the tests hold it.
 */
MODULE_VERSION("0.1.0");
