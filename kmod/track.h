/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Following TCP connections: the table of them, the hooks that commit packets, and
 * their life. See track.c. What a packet does to a connection is the core's to
 * say, which both entries call through xt/track.rs.
 */
#ifndef _XT_DNP3_TRACK_H
#define _XT_DNP3_TRACK_H

#include <linux/types.h>
#include <linux/netfilter/xt_dnp3.h>

#include "helpers.h"

struct net;
struct sk_buff;

/* Octets that core's Connection and Scratch take, at most; both are aligned to 8. */
#define XT_DNP3_CONNECTION_SIZE	544
#define XT_DNP3_SCRATCH_SIZE	4480

#define XT_DNP3_ANYWHERE	U32_MAX

/* What the core says of a committed packet: dnp3_core::track::Commit. */
enum xt_dnp3_commit {
	XT_DNP3_COMMIT_PASS,
	XT_DNP3_COMMIT_FOLLOWED,
	XT_DNP3_COMMIT_CROWDED,
	XT_DNP3_COMMIT_ENDED,
	XT_DNP3_COMMIT_VOIDED,
	/* These are dropped. */
	XT_DNP3_COMMIT_AHEAD,
	XT_DNP3_COMMIT_OVERLAP,
	XT_DNP3_COMMIT_RENEWED,
	XT_DNP3_COMMIT_STRAYED,
	XT_DNP3_COMMIT_DOUBTED,
};

/**
 * struct xt_dnp3_tracked - a connection in use, its lock held
 * @connection: the core's Connection
 * @scratch: the core's Scratch of this CPU
 * @memory: the octets that are kept of the packet's direction
 * @size: octets in @memory
 * @now: the time in seconds
 * @frame_age: seconds for which a frame may be unfinished
 * @messages: messages in progress in a direction, at most
 * @came_in: where the packet came in, an interface's index; 0 for this host,
 *	XT_DNP3_ANYWHERE where that does not matter
 * @goes_out: where it goes out, in the same way
 * @direction: enum ip_conntrack_dir
 */
struct xt_dnp3_tracked {
	void *connection;
	void *scratch;
	u8 *memory;
	u32 size;
	u32 now;
	u32 frame_age;
	u32 messages;
	u32 came_in;
	u32 goes_out;
	u8 direction;
};

/* For the match. */
struct xt_dnp3_tracked *xt_dnp3_track_find(const struct sk_buff *skb);
void xt_dnp3_track_put(struct xt_dnp3_tracked *tracked);
void xt_dnp3_track_matched(const struct sk_buff *skb, u32 transport);

/* For a commit. */
void xt_dnp3_track_grow(struct xt_dnp3_tracked *tracked, u32 wanted);

/* For rules and the module. */
int xt_dnp3_track_enable(struct net *net, u8 family);
void xt_dnp3_track_disable(struct net *net, u8 family);
int xt_dnp3_track_init(void);
void xt_dnp3_track_exit(void);

/* The core, in xt/track.rs. */
bool xt_dnp3_core_begin(void *connection, u64 id, u32 interface, const struct sk_buff *skb,
			const struct xt_dnp3_headers *headers);
u8 xt_dnp3_core_commit(const struct xt_dnp3_tracked *tracked, const struct sk_buff *skb,
		       const struct xt_dnp3_headers *headers);
void xt_dnp3_core_make_room(struct xt_dnp3_tracked *tracked, u32 more);
u32 xt_dnp3_core_unacknowledged(const void *connection, u8 direction);
bool xt_dnp3_core_needs_no_octets(const void *connection);
void xt_dnp3_core_move(void *connection, u8 direction, const u8 *from, u32 from_size,
		       u8 *to, u32 to_size);

/* Counters of a network namespace: see enum xt_dnp3_stats. */
u64 xt_dnp3_track_stat(struct net *net, enum xt_dnp3_stats which);
int xt_dnp3_stats_init(void);
void xt_dnp3_stats_exit(void);

#endif /* _XT_DNP3_TRACK_H */
