/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The IPv4 header: inline, because the hook of track.c looks at it for each packet
 * of a connection, and the match for each packet.
 */
#ifndef _XT_DNP3_HEADERS_H
#define _XT_DNP3_HEADERS_H

#include <linux/ip.h>
#include <linux/skbuff.h>
#include <net/ip.h>

#include "helpers.h"

/* A length of zero in an IP header stands for "too long for the field" here. */
static inline bool xt_dnp3_is_big_tcp(const struct sk_buff *skb)
{
	return skb_is_gso(skb) &&
	       skb_shinfo(skb)->gso_type & (SKB_GSO_TCPV4 | SKB_GSO_TCPV6);
}

/*
 * Find the transport header and the end of a packet by its IPv4 header @ip, which begins at
 * @network. @headers is all zero before; the caller holds what is found to the packet's length.
 */
static __always_inline bool xt_dnp3_headers_ipv4(const struct sk_buff *skb, u32 network,
						 const struct iphdr *ip,
						 struct xt_dnp3_headers *headers)
{
	u32 length = ntohs(ip->tot_len);

	if (ip->version != 4 || ip->ihl < 5)
		return false;
	if (!length && xt_dnp3_is_big_tcp(skb))
		length = skb->len - network;

	headers->transport = network + ip->ihl * 4;
	headers->end = min(network + length, skb->len);
	headers->protocol = ip->protocol;
	if (ip->frag_off & htons(IP_OFFSET))
		headers->fragment = XT_DNP3_FRAGMENT_LATER;
	else if (ip->frag_off & htons(IP_MF))
		headers->fragment = XT_DNP3_FRAGMENT_FIRST;
	return true;
}

#endif /* _XT_DNP3_HEADERS_H */
