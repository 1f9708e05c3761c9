// SPDX-License-Identifier: GPL-2.0
/*
 * Following TCP connections (--track): the table of them, the hooks that commit
 * packets, and their life.
 *
 * A connection is known by its conntrack entry, of which it holds a reference, and
 * it is followed once at most: who begins anew gets another entry. It begins with
 * a SYN that a tracking rule has matched and that survived all rules, which is when
 * the hooks at POST_ROUTING and LOCAL_IN see it: behind every chain, and before
 * conntrack confirms. They commit each packet of a connection; the match only
 * looks. It goes when the conntrack entry dies, when the last tracking rule of the
 * network namespace goes, or with that.
 *
 * Each network namespace has a table of its own. Lookups are under RCU; the
 * namespace's lock is for changes of the table, the connection's for its state and
 * its memory. Both are taken with bottom halves off, the namespace's first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/build_bug.h>
#include <linux/cache.h>
#include <linux/hash.h>
#include <linux/jump_label.h>
#include <linux/local_lock.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/tcp.h>
#include <linux/timekeeping.h>
#include <linux/user_namespace.h>
#include <linux/workqueue.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/flow.h>	/* LOOPBACK_IFINDEX */
#include <net/l3mdev.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

#include "headers.h"
#include "helpers.h"
#include "track.h"

/* The layouts that xt/track.rs has too. */
#define AT(offset, member) static_assert(offsetof(struct xt_dnp3_tracked, member) == (offset))
AT(0, connection);
AT(8, scratch);
AT(16, memory);
AT(24, size);
AT(28, now);
AT(32, frame_age);
AT(36, messages);
AT(40, came_in);
AT(44, goes_out);
AT(48, direction);
#undef AT
static_assert(sizeof(struct xt_dnp3_tracked) == 56);

#if IS_ENABLED(CONFIG_NF_CONNTRACK)
#include <net/netfilter/nf_conntrack.h>
#include <net/netfilter/nf_conntrack_core.h>

static_assert(IP_CT_DIR_ORIGINAL == 0 && IP_CT_DIR_REPLY == 1);

static unsigned int track_connections __read_mostly = 16384;
module_param(track_connections, uint, 0644);
MODULE_PARM_DESC(track_connections,
		 "connections followed in a network namespace, at most (default 16384)");

static unsigned int track_messages __read_mostly = 16;
module_param(track_messages, uint, 0644);
MODULE_PARM_DESC(track_messages,
		 "messages in progress in a direction of a connection, at most (default and most 16)");

static unsigned int track_octets __read_mostly = 65536;
module_param(track_octets, uint, 0644);
MODULE_PARM_DESC(track_octets,
		 "octets kept of a direction of a connection, at most (default 65536)");

static unsigned long track_memory __read_mostly = 64UL << 20;
module_param(track_memory, ulong, 0644);
MODULE_PARM_DESC(track_memory,
		 "octets of memory, of all connections, beyond what each keeps at rest, at most; half of it in user namespaces (default 64 MiB)");

static unsigned int track_frame_age __read_mostly = 15;
module_param(track_frame_age, uint, 0644);
MODULE_PARM_DESC(track_frame_age,
		 "seconds for which a frame may be unfinished (default 15)");

static bool track_symmetric __read_mostly = true;
module_param(track_symmetric, bool, 0644);
MODULE_PARM_DESC(track_symmetric,
		 "believe a SYN-ACK only where it comes in by the interface that the SYN went out (default Y)");

/*
 * What is kept at rest: five to two pages, and with that a connection at rest takes
 * less than 4 KiB.
 */
#define FIRST_SIZE	1632U
/* Seconds without a packet after which a connection is at rest: acknowledged, or not. */
#define REST		60
#define REST_UNACKED	300
/* Seconds for which a SYN may wait for its answer where others want its place. */
#define OPENING		3
/* Connections that are looked at for one that can give way. */
#define LOOKED_AT	64
/* Of which so many at most go for one that comes. */
#define EVICTED_AT_ONCE	8
/* Seconds in which conntrack has confirmed an entry, if it ever does. */
#define CONFIRMED_IN	5
#define GC_INTERVAL	HZ

/**
 * struct dnp3_conn - a connection
 * @node: in the table; under the namespace's lock, read under RCU
 * @ct: its conntrack entry; a reference is held until @dead
 * @lock: for all that is below
 * @last: when a packet was committed last, in seconds; also read without @lock
 * @opening: no SYN-ACK has come; also read without @lock
 * @dead: not in the table any more
 * @of_user: its network namespace is_of_user(); does not change
 * @memory: the octets kept of each direction; NULL where there are none
 * @size: octets in each
 * @tracked: for whoever has taken the lock
 * @connection: the core's
 */
struct dnp3_conn {
	struct hlist_node node;
	struct nf_conn *ct;
	spinlock_t lock;
	u32 last;
	bool opening;
	bool dead;
	bool of_user;
	u8 *memory[IP_CT_DIR_MAX];
	u32 size[IP_CT_DIR_MAX];
	struct xt_dnp3_tracked tracked;
	struct rcu_head rcu;
	u64 connection[XT_DNP3_CONNECTION_SIZE / 8];
};

/**
 * struct dnp3_net - what a network namespace has
 * @mutex: for rules that come and go, and for its end; not one for all, since who waits
 *	for a grace period under it would have every other wait as well
 * @rules: tracking rules; under @mutex
 * @exiting: rules that go from here on have nothing to undo; the same
 * @lock: for changes of @table
 * @table: its connections, from the first tracking rule on; read under RCU
 * @connections: in @table, or about to be
 * @opening: those of them whose SYN-ACK has not come
 * @gc: removes what is over, as long as there are any
 * @counters: enum xt_dnp3_stats
 */
struct dnp3_net {
	struct mutex mutex;
	unsigned int rules;
	bool exiting;
	spinlock_t lock;
	struct hlist_head *table;
	atomic_t connections;
	atomic_t opening;
	struct delayed_work gc;
	atomic64_t counters[__XT_DNP3_STATS_MAX];
};

#define TABLE_BITS	12
#define TABLE_SIZE	(1U << TABLE_BITS)

/*
 * Conntrack entries whose SYN a tracking rule has matched, until that survives or
 * not. Each CPU has a place of its own in each bucket, as far as there are; one that
 * was not needed is taken by the next. Where somebody waits for long (NFQUEUE) it may
 * be taken before: then the connection is not followed, and the sender tries again.
 */
#define MATCHED_BITS	8
#define MATCHED_CPUS	8
static u64 matched[1 << MATCHED_BITS][MATCHED_CPUS] ____cacheline_aligned;

/* Of all network namespaces, and of those of users: see octets_take(). */
static atomic_long_t octets_held = ATOMIC_LONG_INIT(0);
static atomic_long_t octets_held_by_users = ATOMIC_LONG_INIT(0);

static unsigned int dnp3_net_id __read_mostly;
static DEFINE_STATIC_KEY_FALSE(tracks);

static struct kmem_cache *conn_cache __read_mostly;
static struct kmem_cache *first_cache __read_mostly;
static atomic64_t last_id = ATOMIC64_INIT(0);

/*
 * Bottom halves that are off hold the CPU, and with it its scratch; but on a real-time
 * kernel, where they may not, a lock does.
 */
struct dnp3_scratch {
	u64 room[XT_DNP3_SCRATCH_SIZE / 8];
#ifdef local_lock_nested_bh
	local_lock_t bh_lock;
#endif
};

static struct dnp3_scratch __percpu *scratch;

static u32 seconds(void)
{
	return (u32)ktime_get_seconds();
}

static struct dnp3_net *dnp3_pernet(struct net *net)
{
	return net_generic(net, dnp3_net_id);
}

static void count(struct dnp3_net *dn, enum xt_dnp3_stats counter)
{
	atomic64_inc(&dn->counters[counter]);
}

u64 xt_dnp3_track_stat(struct net *net, enum xt_dnp3_stats which)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	if (which == XT_DNP3_STATS_CONNECTIONS)
		return atomic_read(&dn->connections);
	return atomic64_read(&dn->counters[which]);
}

/* Memory for octets. */

static bool is_of_user(const struct net *net)
{
	return net->user_ns != &init_user_ns;
}

static void octets_give_back(u32 size, bool of_user)
{
	atomic_long_sub(size, &octets_held);
	if (of_user)
		atomic_long_sub(size, &octets_held_by_users);
}

/*
 * Whoever may make a user namespace can have connections followed in it. Those have half
 * of the memory, together, so that the others are not left without.
 */
static bool octets_take(u32 size, bool of_user)
{
	unsigned long most = READ_ONCE(track_memory);
	bool is_enough = atomic_long_add_return(size, &octets_held) <= most;

	if (of_user && atomic_long_add_return(size, &octets_held_by_users) > most / 2)
		is_enough = false;
	if (!is_enough)
		octets_give_back(size, of_user);
	return is_enough;
}

static void octets_free(u8 *octets, u32 size, bool of_user)
{
	if (!octets)
		return;
	if (size == FIRST_SIZE) {
		kmem_cache_free(first_cache, octets);
	} else {
		kfree(octets);
		octets_give_back(size, of_user);
	}
}

static u8 *octets_alloc(u32 size, bool of_user)
{
	u8 *octets;

	if (size == FIRST_SIZE)
		return kmem_cache_alloc(first_cache, GFP_ATOMIC | __GFP_NOWARN);
	if (!octets_take(size, of_user))
		return NULL;
	octets = kmalloc(size, GFP_ATOMIC | __GFP_NOWARN);
	if (!octets)
		octets_give_back(size, of_user);
	return octets;
}

/* The caller holds conn->lock. False when there was no memory. */
static bool resize(struct dnp3_conn *conn, u8 direction, u32 size)
{
	u8 *octets = octets_alloc(size, conn->of_user);

	if (!octets)
		return false;
	xt_dnp3_core_move(conn->connection, direction, conn->memory[direction],
			  conn->size[direction], octets, size);
	octets_free(conn->memory[direction], conn->size[direction], conn->of_user);
	conn->memory[direction] = octets;
	conn->size[direction] = size;
	return true;
}

/* The table. */

static struct hlist_head *bucket(const struct dnp3_net *dn, const struct nf_conn *ct)
{
	return &dn->table[hash_ptr(ct, TABLE_BITS)];
}

/* Under RCU or the namespace's lock. */
static struct dnp3_conn *find(const struct dnp3_net *dn, const struct nf_conn *ct)
{
	struct dnp3_conn *conn;

	hlist_for_each_entry_rcu(conn, bucket(dn, ct), node, lockdep_is_held(&dn->lock))
		if (conn->ct == ct)
			return conn;
	return NULL;
}

static void conn_free(struct rcu_head *rcu)
{
	struct dnp3_conn *conn = container_of(rcu, struct dnp3_conn, rcu);
	int direction;

	for (direction = 0; direction < IP_CT_DIR_MAX; direction++)
		octets_free(conn->memory[direction], conn->size[direction], conn->of_user);
	kmem_cache_free(conn_cache, conn);
}

/* The caller holds the namespace's lock. */
static void conn_remove(struct dnp3_net *dn, struct dnp3_conn *conn)
{
	hlist_del_rcu(&conn->node);
	spin_lock(&conn->lock);
	conn->dead = true;
	if (conn->opening)
		atomic_dec(&dn->opening);
	spin_unlock(&conn->lock);
	atomic_dec(&dn->connections);
	nf_ct_put(conn->ct);
	call_rcu(&conn->rcu, conn_free);
}

/* Seconds since the last packet; one may have come after @now was read. */
static s32 idle(const struct dnp3_conn *conn, u32 now)
{
	return (s32)(now - READ_ONCE(conn->last));
}

/* Whether conntrack knows the entry no more, or never will. */
static bool is_over(const struct dnp3_conn *conn, u32 now)
{
	struct nf_conn *ct = conn->ct;

	if (nf_ct_is_dying(ct))
		return true;
	if (!nf_ct_is_confirmed(ct))
		return idle(conn, now) > CONFIRMED_IN;
	if (!nf_ct_should_gc(ct))
		return false;
	/* Over for conntrack as well, so that no packet can come that still has it. */
	nf_ct_kill(ct);
	return true;
}

/* Have a connection that is at rest, or not followed any more, keep no more than it must. */
static void shrink(struct dnp3_conn *conn, u32 now)
{
	u8 direction;

	spin_lock(&conn->lock);
	for (direction = 0; direction < IP_CT_DIR_MAX; direction++) {
		if (xt_dnp3_core_needs_no_octets(conn->connection)) {
			octets_free(conn->memory[direction], conn->size[direction], conn->of_user);
			conn->memory[direction] = NULL;
			conn->size[direction] = 0;
		} else if (conn->size[direction] > FIRST_SIZE && idle(conn, now) > REST &&
			   (!xt_dnp3_core_unacknowledged(conn->connection, direction) ||
			    idle(conn, now) > REST_UNACKED)) {
			resize(conn, direction, FIRST_SIZE);
		}
	}
	spin_unlock(&conn->lock);
}

/* Remove what is over, or everything. */
static void sweep(struct dnp3_net *dn, bool all)
{
	struct dnp3_conn *conn;
	struct hlist_node *next;
	u32 now = seconds();
	unsigned int i;

	for (i = 0; dn->table && i < TABLE_SIZE; i++) {
		if (!hlist_empty(&dn->table[i])) {
			spin_lock_bh(&dn->lock);
			hlist_for_each_entry_safe(conn, next, &dn->table[i], node) {
				if (all || is_over(conn, now))
					conn_remove(dn, conn);
				else
					shrink(conn, now);
			}
			spin_unlock_bh(&dn->lock);
		}
		cond_resched();
	}
}

static void dnp3_gc(struct work_struct *work)
{
	struct dnp3_net *dn = container_of(to_delayed_work(work), struct dnp3_net, gc);

	sweep(dn, false);
	if (atomic_read(&dn->connections))
		queue_delayed_work(system_power_efficient_wq, &dn->gc, GC_INTERVAL);
}

/*
 * Make room: what conntrack has ended and the collector not found yet goes, and where
 * SYNs take the room, one that has waited for its answer. A sender that is still there
 * tries again. Where the bound is low they may lie anywhere in the table.
 */
static bool evict(struct dnp3_net *dn, const struct nf_conn *ct)
{
	unsigned int i, first = hash_ptr(ct, TABLE_BITS), left = LOOKED_AT;
	struct dnp3_conn *conn;
	u32 now = seconds();
	bool evicted = false;

	spin_lock_bh(&dn->lock);
	for (i = 0; i < TABLE_SIZE && left && !evicted; i++) {
		hlist_for_each_entry(conn, &dn->table[(first + i) % TABLE_SIZE], node) {
			if (nf_ct_is_dying(conn->ct) ||
			    (READ_ONCE(conn->opening) && idle(conn, now) > OPENING)) {
				conn_remove(dn, conn);
				evicted = true;
				break;
			}
			if (!--left)
				break;
		}
	}
	spin_unlock_bh(&dn->lock);
	return evicted;
}

/* The match. */

/*
 * What tells a conntrack entry from others, of before too: its memory is used again.
 */
static u64 key_of(const struct nf_conn *ct)
{
	return (u64)(unsigned long)ct ^ (u64)nf_ct_get_id(ct) << 32;
}

/* Apart, so that the others need no room for a copy. */
static noinline __be32 copy_flag_word(const struct sk_buff *skb, u32 transport)
{
	struct tcphdr tcp;

	return skb_copy_bits(skb, transport, &tcp, sizeof(tcp)) ? 0 : tcp_flag_word(&tcp);
}

/* Data offset and flags of a TCP header, TCP_FLAG_*; 0, which none has, where it is cut short. */
static __be32 flag_word(const struct sk_buff *skb, u32 transport)
{
	if (unlikely(transport + sizeof(struct tcphdr) > skb_headlen(skb)))
		return copy_flag_word(skb, transport);
	return tcp_flag_word(skb->data + transport);
}

/* Octets of a TCP header, by that word. */
static u32 header_length(__be32 word)
{
	return (be32_to_cpu(word) >> 28) * 4;
}

/* Takes the lock, and has all that the core needs in one place. */
static __always_inline struct xt_dnp3_tracked *take(struct dnp3_conn *conn, u8 direction)
{
	spin_lock_bh(&conn->lock);
	if (conn->dead) {
		spin_unlock_bh(&conn->lock);
		return NULL;
	}
#ifdef local_lock_nested_bh
	local_lock_nested_bh(&scratch->bh_lock);
#endif
	conn->tracked = (struct xt_dnp3_tracked) {
		.connection	= conn->connection,
		.scratch	= this_cpu_ptr(scratch),
		.memory		= conn->memory[direction],
		.size		= conn->size[direction],
		.now		= seconds(),
		.frame_age	= READ_ONCE(track_frame_age),
		.messages	= READ_ONCE(track_messages),
		.came_in	= XT_DNP3_ANYWHERE,
		.direction	= direction,
	};
	return &conn->tracked;
}

/**
 * xt_dnp3_track_find - find the connection that a TCP packet belongs to
 * @skb: the packet
 *
 * Return: NULL where there is none; else xt_dnp3_track_put() must follow.
 */
struct xt_dnp3_tracked *xt_dnp3_track_find(const struct sk_buff *skb)
{
	enum ip_conntrack_info ctinfo;
	struct dnp3_conn *conn;
	struct dnp3_net *dn;
	struct nf_conn *ct;

	if (!static_branch_unlikely(&tracks))
		return NULL;
	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || nf_ct_is_dying(ct))
		return NULL;
	dn = dnp3_pernet(nf_ct_net(ct));
	if (!READ_ONCE(dn->table))
		return NULL;
	conn = find(dn, ct);
	return conn ? take(conn, CTINFO2DIR(ctinfo)) : NULL;
}

void xt_dnp3_track_put(struct xt_dnp3_tracked *tracked)
{
#ifdef local_lock_nested_bh
	local_unlock_nested_bh(&scratch->bh_lock);
#endif
	spin_unlock_bh(&container_of(tracked, struct dnp3_conn, tracked)->lock);
}

/**
 * xt_dnp3_track_matched - a tracking rule has matched a packet of no connection
 * @skb: the packet
 * @transport: where its TCP header begins, from skb->data on
 *
 * When it is a SYN and survives, it will be followed.
 */
void xt_dnp3_track_matched(const struct sk_buff *skb, u32 transport)
{
	enum ip_conntrack_info ctinfo;
	struct nf_conn *ct;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || CTINFO2DIR(ctinfo) != IP_CT_DIR_ORIGINAL)
		return;
	if (flag_word(skb, transport) & TCP_FLAG_SYN)
		WRITE_ONCE(matched[hash_ptr(ct, MATCHED_BITS)]
				  [raw_smp_processor_id() % MATCHED_CPUS], key_of(ct));
}

/* Where a matched SYN of this entry stands; NULL where none does. */
static u64 *matched_place(const struct nf_conn *ct)
{
	u64 *places = matched[hash_ptr(ct, MATCHED_BITS)];
	u64 key = 0;
	int i;

	for (i = 0; i < MATCHED_CPUS; i++) {
		u64 place = READ_ONCE(places[i]);

		if (!place)
			continue;
		/* Not before: it is much work for what nearly never is. */
		if (!key)
			key = key_of(ct);
		if (place == key)
			return &places[i];
	}
	return NULL;
}

/* A commit. */

/**
 * xt_dnp3_track_grow - make room for what a packet brings
 * @tracked: its connection, whose lock is held
 * @wanted: octets of the packet's direction that should be kept: more than there is room for
 *
 * As far as there may be more and there is memory. Where there is none the oldest
 * octets give way: a packet that repeats those is then refused.
 */
void xt_dnp3_track_grow(struct xt_dnp3_tracked *tracked, u32 wanted)
{
	struct dnp3_conn *conn = container_of(tracked, struct dnp3_conn, tracked);
	u32 most = clamp(READ_ONCE(track_octets), FIRST_SIZE, 1U << 20);
	struct dnp3_net *dn = dnp3_pernet(nf_ct_net(conn->ct));
	u8 direction = tracked->direction;
	u32 size = FIRST_SIZE;

	if (wanted > size)
		size = roundup_pow_of_two(min(wanted, most));
	size = min(size, most);
	if (size > conn->size[direction] && !resize(conn, direction, size)) {
		count(dn, XT_DNP3_STATS_NO_MEMORY);
		if (!conn->size[direction])
			resize(conn, direction, FIRST_SIZE);
	}
	tracked->memory = conn->memory[direction];
	tracked->size = conn->size[direction];
	if (tracked->size < wanted)
		count(dn, XT_DNP3_STATS_SHORT);
}

/* The hooks. */

/*
 * Interfaces of a VRF count as one, and what a host sends to itself comes in nowhere.
 */
static u32 came_in(struct net *net, const struct sk_buff *skb)
{
	u32 in = skb->skb_iif;

	if (in == LOOPBACK_IFINDEX)
		return 0;
	return in ? l3mdev_master_ifindex_by_index(net, in) ?: in : 0;
}

static u32 goes_out(const struct sk_buff *skb, const struct nf_hook_state *state)
{
	u32 out = 0;

	if (state->hook != NF_INET_POST_ROUTING)
		return 0;
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	out = nf_bridge_get_physoutif(skb);
#endif
	if (!out && state->out)
		out = l3mdev_master_ifindex_rcu(state->out) ?: state->out->ifindex;
	return out;
}

static bool is_within_bounds(const struct dnp3_net *dn)
{
	unsigned int most = READ_ONCE(track_connections);

	/* SYNs alone cannot take all of it. */
	return atomic_read(&dn->connections) <= most &&
	       atomic_read(&dn->opening) <= most - most / 2;
}

static bool has_room(struct dnp3_net *dn, const struct nf_conn *ct)
{
	unsigned int evicted;

	/* More than one may have to go: other CPUs count theirs, and the bound may be a lower one. */
	for (evicted = 0; evicted < EVICTED_AT_ONCE; evicted++) {
		if (is_within_bounds(dn))
			return true;
		if (!evict(dn, ct))
			return false;
	}
	return is_within_bounds(dn);
}

static void conn_begin(struct dnp3_net *dn, struct nf_conn *ct, const struct sk_buff *skb,
		       const struct xt_dnp3_headers *headers, u32 interface)
{
	struct dnp3_conn *conn;

	/* Counted first, so that several at a time cannot exceed the bound. */
	atomic_inc(&dn->connections);
	atomic_inc(&dn->opening);
	if (!has_room(dn, ct)) {
		count(dn, XT_DNP3_STATS_FULL);
		goto not;
	}
	conn = kmem_cache_zalloc(conn_cache, GFP_ATOMIC | __GFP_NOWARN);
	if (!conn) {
		count(dn, XT_DNP3_STATS_NO_MEMORY);
		goto not;
	}
	if (!xt_dnp3_core_begin(conn->connection, atomic64_inc_return(&last_id), interface,
				skb, headers)) {
		kmem_cache_free(conn_cache, conn);
		goto not;
	}
	spin_lock_init(&conn->lock);
	conn->ct = ct;
	conn->last = seconds();
	conn->opening = true;
	conn->of_user = is_of_user(nf_ct_net(ct));

	spin_lock_bh(&dn->lock);
	if (find(dn, ct)) {
		spin_unlock_bh(&dn->lock);
		kmem_cache_free(conn_cache, conn);
		goto not;
	}
	nf_conntrack_get(&ct->ct_general);
	hlist_add_head_rcu(&conn->node, bucket(dn, ct));
	/* Nothing happens where it is queued already. */
	queue_delayed_work(system_power_efficient_wq, &dn->gc, GC_INTERVAL);
	spin_unlock_bh(&dn->lock);
	return;
not:
	atomic_dec(&dn->opening);
	atomic_dec(&dn->connections);
}

/* What becomes of a packet that has not just gone on. */
static noinline unsigned int committed(struct dnp3_net *dn, struct nf_conn *ct, u8 commit)
{
	switch (commit) {
	case XT_DNP3_COMMIT_FOLLOWED:
		count(dn, XT_DNP3_STATS_FOLLOWED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_CROWDED:
		count(dn, XT_DNP3_STATS_CROWDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_ENDED:
		count(dn, XT_DNP3_STATS_ENDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_VOIDED:
		count(dn, XT_DNP3_STATS_VOIDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_AHEAD:
		count(dn, XT_DNP3_STATS_AHEAD);
		return NF_DROP;
	case XT_DNP3_COMMIT_OVERLAP:
		count(dn, XT_DNP3_STATS_OVERLAP);
		return NF_DROP;
	case XT_DNP3_COMMIT_STRAYED:
		count(dn, XT_DNP3_STATS_STRAYED);
		return NF_DROP;
	case XT_DNP3_COMMIT_RENEWED:
		count(dn, XT_DNP3_STATS_RENEWED);
		/* The next SYN finds no conntrack entry, and begins another connection. */
		nf_ct_kill(ct);
		return NF_DROP;
	default:
		return NF_DROP;
	}
}

static __always_inline unsigned int conn_commit(struct dnp3_net *dn, struct dnp3_conn *conn,
				struct nf_conn *ct, enum ip_conntrack_info ctinfo,
				const struct sk_buff *skb,
				const struct xt_dnp3_headers *headers,
				const struct nf_hook_state *state)
{
	__be32 word = flag_word(skb, headers->transport);
	u32 length = headers->end - headers->transport;
	struct xt_dnp3_tracked *tracked;
	u8 commit;

	tracked = take(conn, CTINFO2DIR(ctinfo));
	if (!tracked)
		return NF_DROP;
	/* Handshakes alone want to know. */
	if (word & TCP_FLAG_SYN) {
		if (READ_ONCE(track_symmetric))
			tracked->came_in = came_in(state->net, skb);
		tracked->goes_out = goes_out(skb, state);
	}
	if (length > header_length(word))
		xt_dnp3_core_make_room(tracked, length - header_length(word));
	WRITE_ONCE(conn->last, tracked->now);
	commit = xt_dnp3_core_commit(tracked, skb, headers);
	if (commit == XT_DNP3_COMMIT_FOLLOWED && conn->opening) {
		WRITE_ONCE(conn->opening, false);
		atomic_dec(&dn->opening);
	}
	xt_dnp3_track_put(tracked);

	if (likely(commit == XT_DNP3_COMMIT_PASS))
		return NF_ACCEPT;
	return committed(dn, ct, commit);
}

/*
 * Find the TCP header of a packet: xt_dnp3_find_headers(), with less to do where an
 * IPv4 header is in the linear part.
 */
static __always_inline bool find_tcp(const struct sk_buff *skb, u8 family,
				     struct xt_dnp3_headers *headers)
{
	u32 network = skb_network_offset(skb);
	bool found;

	if (family == NFPROTO_IPV4 && network + sizeof(struct iphdr) <= skb_headlen(skb)) {
		const void *ip = skb->data + network;

		found = xt_dnp3_headers_ipv4(skb, network, ip, headers) &&
			headers->transport <= skb->len;
	} else {
		found = xt_dnp3_find_headers(skb, family, headers);
	}
	return found && headers->protocol == IPPROTO_TCP;
}

/*
 * Whether a packet is a reset and nothing else. One that is the only answer to a SYN
 * (the port is closed) has conntrack end the entry while it is still under way.
 */
static noinline bool is_bare_reset(const struct sk_buff *skb, u8 family)
{
	struct xt_dnp3_headers headers = {};
	__be32 word;

	if (!find_tcp(skb, family, &headers))
		return false;
	word = flag_word(skb, headers.transport);
	return word & TCP_FLAG_RST && !(word & TCP_FLAG_SYN) &&
	       headers.end - headers.transport == header_length(word);
}

static unsigned int dnp3_commit(void *priv, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	const struct net_device *out = state->out;
	struct xt_dnp3_headers headers = {};
	enum ip_conntrack_info ctinfo;
	struct dnp3_conn *conn;
	struct dnp3_net *dn;
	struct nf_conn *ct;
	u64 *place;

	/* It comes by again, and rules are still to judge it: then it is committed. */
	if (state->hook == NF_INET_POST_ROUTING && out &&
	    (out->flags & IFF_LOOPBACK || netif_is_l3_master(out)))
		return NF_ACCEPT;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || nf_ct_is_template(ct) || nf_ct_protonum(ct) != IPPROTO_TCP ||
	    ctinfo == IP_CT_RELATED || ctinfo == IP_CT_RELATED_REPLY)
		return NF_ACCEPT;
	/*
	 * It may have been judged as a piece of a connection that is over and not in the
	 * table any more; one which begins now on the same ports has another entry. What
	 * never was in the table is not told from it: conntrack gives its next packet a
	 * new entry.
	 */
	if (nf_ct_is_dying(ct))
		return is_bare_reset(skb, state->pf) ? NF_ACCEPT : NF_DROP;

	dn = dnp3_pernet(state->net);
	conn = find(dn, ct);
	place = conn ? NULL : matched_place(ct);
	if (!conn && !place)
		return NF_ACCEPT;
	if (!find_tcp(skb, state->pf, &headers))
		return NF_DROP;
	if (conn)
		return conn_commit(dn, conn, ct, ctinfo, skb, &headers, state);

	WRITE_ONCE(*place, 0);
	if (CTINFO2DIR(ctinfo) == IP_CT_DIR_ORIGINAL)
		conn_begin(dn, ct, skb, &headers, goes_out(skb, state));
	return NF_ACCEPT;
}

/* Behind all that may change or drop a packet, before conntrack confirms it. */
#define COMMIT_PRIORITY	(NF_IP_PRI_CONNTRACK_CONFIRM - 1)
static_assert((int)NF_IP6_PRI_LAST == (int)NF_IP_PRI_CONNTRACK_CONFIRM);

#define COMMIT_HOOK(family, where) {		\
	.hook		= dnp3_commit,		\
	.pf		= (family),		\
	.hooknum	= (where),		\
	.priority	= COMMIT_PRIORITY,	\
}

static const struct nf_hook_ops dnp3_hooks[] = {
	COMMIT_HOOK(NFPROTO_IPV4, NF_INET_LOCAL_IN),
	COMMIT_HOOK(NFPROTO_IPV4, NF_INET_POST_ROUTING),
#if IS_ENABLED(CONFIG_IPV6)
	COMMIT_HOOK(NFPROTO_IPV6, NF_INET_LOCAL_IN),
	COMMIT_HOOK(NFPROTO_IPV6, NF_INET_POST_ROUTING),
#endif
};

/* Rules, namespaces, the module. */

/**
 * xt_dnp3_track_enable - a tracking rule comes
 * @net: its network namespace
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 *
 * Return: 0 or a negative error.
 */
int xt_dnp3_track_enable(struct net *net, u8 family)
{
	struct dnp3_net *dn = dnp3_pernet(net);
	int err;

	err = nf_ct_netns_get(net, family);
	if (err)
		return err;
	mutex_lock(&dn->mutex);
	if (!dn->table) {
		struct hlist_head *table = kvcalloc(TABLE_SIZE, sizeof(*table), GFP_KERNEL_ACCOUNT);

		if (table)
			/* Zeroes, which are empty lists, before a reader sees them. */
			smp_store_release(&dn->table, table);
		else
			err = -ENOMEM;
	}
	if (!err && !dn->rules)
		err = nf_register_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
	if (!err)
		dn->rules++;
	mutex_unlock(&dn->mutex);
	if (err) {
		nf_ct_netns_put(net, family);
		return err;
	}
	static_branch_inc(&tracks);
	return 0;
}

/**
 * xt_dnp3_track_disable - a tracking rule goes
 * @net: its network namespace
 * @family: NFPROTO_IPV4 or NFPROTO_IPV6
 */
void xt_dnp3_track_disable(struct net *net, u8 family)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	mutex_lock(&dn->mutex);
	if (!--dn->rules && !dn->exiting) {
		nf_unregister_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
		/* No hook is under way that could add one. */
		synchronize_net();
		sweep(dn, true);
		cancel_delayed_work_sync(&dn->gc);
	}
	mutex_unlock(&dn->mutex);
	nf_ct_netns_put(net, family);
	static_branch_dec(&tracks);
}

static int __net_init dnp3_net_init(struct net *net)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	mutex_init(&dn->mutex);
	spin_lock_init(&dn->lock);
	INIT_DELAYED_WORK(&dn->gc, dnp3_gc);
	return 0;
}

/* Rules may go before or after this: that depends on when the modules of their tables were loaded. */
static void __net_exit dnp3_net_pre_exit(struct net *net)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	mutex_lock(&dn->mutex);
	dn->exiting = true;
	if (dn->rules)
		nf_unregister_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
	mutex_unlock(&dn->mutex);
}

/* A grace period later: no hook is under way that could add one. */
static void __net_exit dnp3_net_exit(struct net *net)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	sweep(dn, true);
	cancel_delayed_work_sync(&dn->gc);
	kvfree(dn->table);
	dn->table = NULL;
}

static struct pernet_operations dnp3_net_ops = {
	.init	= dnp3_net_init,
	.pre_exit = dnp3_net_pre_exit,
	.exit	= dnp3_net_exit,
	.id	= &dnp3_net_id,
	.size	= sizeof(struct dnp3_net),
};

int xt_dnp3_track_init(void)
{
	int err = -ENOMEM;
	int __maybe_unused cpu;

	conn_cache = kmem_cache_create("xt_dnp3_conn", sizeof(struct dnp3_conn), 0, 0, NULL);
	if (!conn_cache)
		return err;
	first_cache = kmem_cache_create("xt_dnp3_octets", FIRST_SIZE, 0, 0, NULL);
	if (!first_cache)
		goto free_conn;
	scratch = alloc_percpu(struct dnp3_scratch);
	if (!scratch)
		goto free_first;
#ifdef local_lock_nested_bh
	for_each_possible_cpu(cpu)
		local_lock_init(&per_cpu_ptr(scratch, cpu)->bh_lock);
#endif
	err = register_pernet_subsys(&dnp3_net_ops);
	if (err)
		goto free_scratch;
	err = xt_dnp3_stats_init();
	if (err)
		goto unregister;
	return 0;

unregister:
	unregister_pernet_subsys(&dnp3_net_ops);
free_scratch:
	free_percpu(scratch);
free_first:
	kmem_cache_destroy(first_cache);
free_conn:
	kmem_cache_destroy(conn_cache);
	return err;
}

/* There is no rule any more, and so no connection. */
void xt_dnp3_track_exit(void)
{
	xt_dnp3_stats_exit();
	unregister_pernet_subsys(&dnp3_net_ops);
	rcu_barrier();
	free_percpu(scratch);
	kmem_cache_destroy(first_cache);
	kmem_cache_destroy(conn_cache);
}

#else /* no conntrack */

struct xt_dnp3_tracked *xt_dnp3_track_find(const struct sk_buff *skb)
{
	return NULL;
}

void xt_dnp3_track_put(struct xt_dnp3_tracked *tracked)
{
}

void xt_dnp3_track_matched(const struct sk_buff *skb, u32 transport)
{
}

void xt_dnp3_track_grow(struct xt_dnp3_tracked *tracked, u32 wanted)
{
}

int xt_dnp3_track_enable(struct net *net, u8 family)
{
	return -EOPNOTSUPP;
}

void xt_dnp3_track_disable(struct net *net, u8 family)
{
}

int xt_dnp3_track_init(void)
{
	return 0;
}

void xt_dnp3_track_exit(void)
{
}

#endif
