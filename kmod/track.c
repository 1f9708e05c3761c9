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
 * Lookups are under RCU. The connection's lock holds its state and its memory;
 * table_lock holds the table. Both are taken with bottom halves off, table_lock
 * first.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/build_bug.h>
#include <linux/hash.h>
#include <linux/hashtable.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/netdevice.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/tcp.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/flow.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>

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
AT(44, direction);
#undef AT
static_assert(sizeof(struct xt_dnp3_tracked) == 48);

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
/* Seconds without a packet after which a connection is at rest. */
#define REST		60
/* Seconds in which conntrack has confirmed an entry, if it ever does. */
#define CONFIRMED_IN	5
#define GC_INTERVAL	HZ

/**
 * struct dnp3_conn - a connection
 * @node: in the table; under table_lock, read under RCU
 * @ct: its conntrack entry; a reference is held until @dead
 * @net: of @ct; not to be followed: it may be gone
 * @lock: for all that is below
 * @last: when a packet was committed last, in seconds
 * @dead: not in the table any more
 * @memory: the octets kept of each direction; NULL where there are none
 * @size: octets in each
 * @tracked: for whoever has taken the lock
 * @connection: the core's
 */
struct dnp3_conn {
	struct hlist_node node;
	struct nf_conn *ct;
	struct net *net;
	spinlock_t lock;
	u32 last;
	bool dead;
	u8 *memory[IP_CT_DIR_MAX];
	u32 size[IP_CT_DIR_MAX];
	struct xt_dnp3_tracked tracked;
	struct rcu_head rcu;
	u64 connection[XT_DNP3_CONNECTION_SIZE / 8];
};

/**
 * struct dnp3_net - what a network namespace has
 * @rules: tracking rules; under net_mutex
 * @exiting: rules that go from here on have nothing to undo
 * @connections: in the table
 * @counters: enum xt_dnp3_stats
 */
struct dnp3_net {
	unsigned int rules;
	bool exiting;
	atomic_t connections;
	atomic64_t counters[__XT_DNP3_STATS_MAX];
};

#define TABLE_BITS	12
static DEFINE_HASHTABLE(table, TABLE_BITS);
static DEFINE_SPINLOCK(table_lock);
static atomic_t in_table = ATOMIC_INIT(0);

/*
 * Conntrack entries whose SYN a tracking rule has matched, until that survives or
 * not. A place may be taken by another: then a connection is not followed, and the
 * sender tries again.
 */
#define MATCHED_BITS	10
static unsigned long matched[1 << MATCHED_BITS];

static DEFINE_MUTEX(net_mutex);
static unsigned int dnp3_net_id __read_mostly;
static DEFINE_STATIC_KEY_FALSE(tracks);

static struct kmem_cache *conn_cache __read_mostly;
static struct kmem_cache *first_cache __read_mostly;
static atomic64_t last_id = ATOMIC64_INIT(0);

struct dnp3_scratch {
	u64 room[XT_DNP3_SCRATCH_SIZE / 8];
};

static struct dnp3_scratch __percpu *scratch;

static void gc(struct work_struct *work);
static DECLARE_DELAYED_WORK(gc_work, gc);

static u32 seconds(void)
{
	return (u32)ktime_get_seconds();
}

static struct dnp3_net *dnp3_pernet(struct net *net)
{
	return net_generic(net, dnp3_net_id);
}

static void count(struct net *net, enum xt_dnp3_stats counter)
{
	atomic64_inc(&dnp3_pernet(net)->counters[counter]);
}

u64 xt_dnp3_track_stat(struct net *net, enum xt_dnp3_stats which)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	if (which == XT_DNP3_STATS_CONNECTIONS)
		return atomic_read(&dn->connections);
	return atomic64_read(&dn->counters[which]);
}

/* Memory for octets. */

static void octets_free(u8 *octets, u32 size)
{
	if (size == FIRST_SIZE)
		kmem_cache_free(first_cache, octets);
	else
		kfree(octets);
}

static u8 *octets_alloc(u32 size, gfp_t flags)
{
	flags |= __GFP_NOWARN;
	if (size == FIRST_SIZE)
		return kmem_cache_alloc(first_cache, flags);
	return kmalloc(size, flags);
}

/* The caller holds conn->lock. False when there was no memory. */
static bool resize(struct dnp3_conn *conn, u8 direction, u32 size)
{
	u8 *octets = octets_alloc(size, GFP_ATOMIC);

	if (!octets)
		return false;
	xt_dnp3_core_move(conn->connection, direction, conn->memory[direction],
			  conn->size[direction], octets, size);
	if (conn->memory[direction])
		octets_free(conn->memory[direction], conn->size[direction]);
	conn->memory[direction] = octets;
	conn->size[direction] = size;
	return true;
}

/*
 * Make room for what a packet brings, as far as there may be more and there is
 * memory. Where there is none the oldest octets give way: a packet that repeats
 * those is then refused.
 */
static void grow(struct net *net, struct dnp3_conn *conn, u8 direction, u32 more)
{
	u32 most = clamp(READ_ONCE(track_octets), FIRST_SIZE, 1U << 20);
	u32 wanted = xt_dnp3_core_wanted(conn->connection, direction, more);
	u32 size = FIRST_SIZE;

	if (wanted <= conn->size[direction])
		return;
	if (wanted > size)
		size = roundup_pow_of_two(min(wanted, most));
	size = min(size, most);
	if (size > conn->size[direction] && !resize(conn, direction, size))
		count(net, XT_DNP3_STATS_NO_MEMORY);
	if (conn->size[direction] < wanted)
		count(net, XT_DNP3_STATS_SHORT);
}

/* The table. */

static struct hlist_head *bucket(const struct nf_conn *ct)
{
	return &table[hash_ptr(ct, TABLE_BITS)];
}

/* Under RCU or table_lock. */
static struct dnp3_conn *find(const struct nf_conn *ct)
{
	struct dnp3_conn *conn;

	hlist_for_each_entry_rcu(conn, bucket(ct), node, lockdep_is_held(&table_lock))
		if (conn->ct == ct)
			return conn;
	return NULL;
}

static void conn_free(struct rcu_head *rcu)
{
	struct dnp3_conn *conn = container_of(rcu, struct dnp3_conn, rcu);
	int direction;

	for (direction = 0; direction < IP_CT_DIR_MAX; direction++)
		if (conn->memory[direction])
			octets_free(conn->memory[direction], conn->size[direction]);
	kmem_cache_free(conn_cache, conn);
}

/* The caller holds table_lock, and has read in @net that the namespace is there. */
static void conn_remove(struct dnp3_conn *conn)
{
	hlist_del_rcu(&conn->node);
	spin_lock(&conn->lock);
	conn->dead = true;
	spin_unlock(&conn->lock);
	/* The reference keeps the namespace's pernet memory as well. */
	atomic_dec(&dnp3_pernet(conn->net)->connections);
	atomic_dec(&in_table);
	nf_ct_put(conn->ct);
	call_rcu(&conn->rcu, conn_free);
}

/* Whether conntrack knows the entry no more, or never will. */
static bool is_over(const struct dnp3_conn *conn, u32 now)
{
	struct nf_conn *ct = conn->ct;

	if (nf_ct_is_dying(ct))
		return true;
	if (!nf_ct_is_confirmed(ct))
		return now - conn->last > CONFIRMED_IN;
	if (!nf_ct_should_gc(ct))
		return false;
	/* Over for conntrack as well, so that no packet can come that still has it. */
	nf_ct_kill(ct);
	return true;
}

/* Have a connection that is at rest keep no more than it must. */
static void shrink(struct dnp3_conn *conn, u32 now)
{
	u8 direction;

	spin_lock(&conn->lock);
	for (direction = 0; direction < IP_CT_DIR_MAX; direction++)
		if (now - conn->last > REST && conn->size[direction] > FIRST_SIZE &&
		    !xt_dnp3_core_unacknowledged(conn->connection, direction))
			resize(conn, direction, FIRST_SIZE);
	spin_unlock(&conn->lock);
}

/* Remove what is over, or all of @net. */
static void sweep(const struct net *net)
{
	struct dnp3_conn *conn;
	struct hlist_node *next;
	u32 now = seconds();
	unsigned int i;

	for (i = 0; i < HASH_SIZE(table); i++) {
		if (!hlist_empty(&table[i])) {
			spin_lock_bh(&table_lock);
			hlist_for_each_entry_safe(conn, next, &table[i], node) {
				if (net ? conn->net == net : is_over(conn, now))
					conn_remove(conn);
				else if (!net)
					shrink(conn, now);
			}
			spin_unlock_bh(&table_lock);
		}
		cond_resched();
	}
}

static void gc(struct work_struct *work)
{
	sweep(NULL);
	if (atomic_read(&in_table))
		queue_delayed_work(system_power_efficient_wq, &gc_work, GC_INTERVAL);
}

/* The match. */

static u32 came_in(const struct sk_buff *skb)
{
	/* What a host sends to itself comes in nowhere. */
	return skb->skb_iif == LOOPBACK_IFINDEX ? 0 : skb->skb_iif;
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
		out = state->out->ifindex;
	return out;
}

/* Takes the lock, and has all that the core needs in one place. */
static struct xt_dnp3_tracked *take(struct dnp3_conn *conn, const struct sk_buff *skb,
				    u8 direction)
{
	spin_lock_bh(&conn->lock);
	if (conn->dead) {
		spin_unlock_bh(&conn->lock);
		return NULL;
	}
	conn->tracked = (struct xt_dnp3_tracked) {
		.connection	= conn->connection,
		.scratch	= this_cpu_ptr(scratch),
		.memory		= conn->memory[direction],
		.size		= conn->size[direction],
		.now		= seconds(),
		.frame_age	= READ_ONCE(track_frame_age),
		.messages	= READ_ONCE(track_messages),
		.came_in	= came_in(skb),
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
	struct nf_conn *ct;

	if (!static_branch_unlikely(&tracks))
		return NULL;
	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || nf_ct_is_dying(ct))
		return NULL;
	conn = find(ct);
	return conn ? take(conn, skb, CTINFO2DIR(ctinfo)) : NULL;
}

void xt_dnp3_track_put(struct xt_dnp3_tracked *tracked)
{
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
	const struct tcphdr *tcp;
	struct nf_conn *ct;
	struct tcphdr buf;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || CTINFO2DIR(ctinfo) != IP_CT_DIR_ORIGINAL)
		return;
	tcp = skb_header_pointer(skb, transport, sizeof(buf), &buf);
	if (tcp && tcp->syn)
		WRITE_ONCE(matched[hash_ptr(ct, MATCHED_BITS)], (unsigned long)ct);
}

/* The hooks. */

static void conn_begin(struct net *net, struct nf_conn *ct, const struct sk_buff *skb,
		       const struct xt_dnp3_headers *headers, u32 interface)
{
	struct dnp3_net *dn = dnp3_pernet(net);
	struct dnp3_conn *conn;

	if (atomic_inc_return(&dn->connections) > READ_ONCE(track_connections)) {
		count(net, XT_DNP3_STATS_FULL);
		goto not;
	}
	conn = kmem_cache_zalloc(conn_cache, GFP_ATOMIC | __GFP_NOWARN);
	if (!conn) {
		count(net, XT_DNP3_STATS_NO_MEMORY);
		goto not;
	}
	if (!xt_dnp3_core_begin(conn->connection, atomic64_inc_return(&last_id), interface,
				skb, headers)) {
		kmem_cache_free(conn_cache, conn);
		goto not;
	}
	spin_lock_init(&conn->lock);
	conn->ct = ct;
	conn->net = net;
	conn->last = seconds();

	spin_lock_bh(&table_lock);
	if (find(ct)) {
		spin_unlock_bh(&table_lock);
		kmem_cache_free(conn_cache, conn);
		goto not;
	}
	nf_conntrack_get(&ct->ct_general);
	hlist_add_head_rcu(&conn->node, bucket(ct));
	if (atomic_inc_return(&in_table) == 1)
		queue_delayed_work(system_power_efficient_wq, &gc_work, GC_INTERVAL);
	spin_unlock_bh(&table_lock);
	return;
not:
	atomic_dec(&dn->connections);
}

static unsigned int conn_commit(struct net *net, struct dnp3_conn *conn, struct nf_conn *ct,
				enum ip_conntrack_info ctinfo, const struct sk_buff *skb,
				const struct xt_dnp3_headers *headers)
{
	u8 direction = CTINFO2DIR(ctinfo);
	struct xt_dnp3_tracked *tracked;
	u8 commit;

	tracked = take(conn, skb, direction);
	if (!tracked)
		return NF_DROP;
	if (!READ_ONCE(track_symmetric))
		tracked->came_in = XT_DNP3_ANYWHERE;
	grow(net, conn, direction, headers->end - headers->transport);
	tracked->memory = conn->memory[direction];
	tracked->size = conn->size[direction];
	conn->last = tracked->now;
	commit = xt_dnp3_core_commit(tracked, skb, headers);
	xt_dnp3_track_put(tracked);

	switch (commit) {
	case XT_DNP3_COMMIT_PASS:
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_FOLLOWED:
		count(net, XT_DNP3_STATS_FOLLOWED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_CROWDED:
		count(net, XT_DNP3_STATS_CROWDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_ENDED:
		count(net, XT_DNP3_STATS_ENDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_VOIDED:
		count(net, XT_DNP3_STATS_VOIDED);
		return NF_ACCEPT;
	case XT_DNP3_COMMIT_AHEAD:
		count(net, XT_DNP3_STATS_AHEAD);
		return NF_DROP;
	case XT_DNP3_COMMIT_OVERLAP:
		count(net, XT_DNP3_STATS_OVERLAP);
		return NF_DROP;
	case XT_DNP3_COMMIT_STRAYED:
		count(net, XT_DNP3_STATS_STRAYED);
		return NF_DROP;
	case XT_DNP3_COMMIT_RENEWED:
		count(net, XT_DNP3_STATS_RENEWED);
		/* The next SYN finds no conntrack entry, and begins another connection. */
		nf_ct_kill(ct);
		return NF_DROP;
	default:
		return NF_DROP;
	}
}

static unsigned int dnp3_commit(void *priv, struct sk_buff *skb,
				const struct nf_hook_state *state)
{
	struct xt_dnp3_headers headers;
	enum ip_conntrack_info ctinfo;
	struct dnp3_conn *conn;
	struct nf_conn *ct;

	/* It comes in again, and rules are still to judge it: LOCAL_IN commits it. */
	if (state->hook == NF_INET_POST_ROUTING && state->out &&
	    state->out->flags & IFF_LOOPBACK)
		return NF_ACCEPT;

	ct = nf_ct_get(skb, &ctinfo);
	if (!ct || nf_ct_is_template(ct) || nf_ct_protonum(ct) != IPPROTO_TCP ||
	    ctinfo == IP_CT_RELATED || ctinfo == IP_CT_RELATED_REPLY)
		return NF_ACCEPT;
	/*
	 * It was judged as a piece of a connection that is over; one which begins now on
	 * the same ports has another entry.
	 */
	if (nf_ct_is_dying(ct))
		return NF_DROP;

	conn = find(ct);
	if (!conn && READ_ONCE(matched[hash_ptr(ct, MATCHED_BITS)]) != (unsigned long)ct)
		return NF_ACCEPT;
	if (!xt_dnp3_find_headers(skb, state->pf, &headers) || headers.protocol != IPPROTO_TCP)
		return NF_DROP;
	if (conn)
		return conn_commit(state->net, conn, ct, ctinfo, skb, &headers);

	WRITE_ONCE(matched[hash_ptr(ct, MATCHED_BITS)], 0);
	if (CTINFO2DIR(ctinfo) == IP_CT_DIR_ORIGINAL)
		conn_begin(state->net, ct, skb, &headers, goes_out(skb, state));
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
	mutex_lock(&net_mutex);
	if (!dn->rules)
		err = nf_register_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
	if (!err)
		dn->rules++;
	mutex_unlock(&net_mutex);
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

	mutex_lock(&net_mutex);
	if (!--dn->rules && !dn->exiting) {
		nf_unregister_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
		/* No hook is under way that could add one. */
		synchronize_net();
		sweep(net);
	}
	mutex_unlock(&net_mutex);
	nf_ct_netns_put(net, family);
	static_branch_dec(&tracks);
}

/* Rules may go before or after this: that depends on when the modules of their tables were loaded. */
static void __net_exit dnp3_net_pre_exit(struct net *net)
{
	struct dnp3_net *dn = dnp3_pernet(net);

	mutex_lock(&net_mutex);
	dn->exiting = true;
	if (dn->rules)
		nf_unregister_net_hooks(net, dnp3_hooks, ARRAY_SIZE(dnp3_hooks));
	mutex_unlock(&net_mutex);
}

/* A grace period later: no hook is under way that could add one. */
static void __net_exit dnp3_net_exit(struct net *net)
{
	sweep(net);
}

static struct pernet_operations dnp3_net_ops = {
	.pre_exit = dnp3_net_pre_exit,
	.exit	= dnp3_net_exit,
	.id	= &dnp3_net_id,
	.size	= sizeof(struct dnp3_net),
};

int xt_dnp3_track_init(void)
{
	int err = -ENOMEM;

	conn_cache = kmem_cache_create("xt_dnp3_conn", sizeof(struct dnp3_conn), 0, 0, NULL);
	if (!conn_cache)
		return err;
	first_cache = kmem_cache_create("xt_dnp3_octets", FIRST_SIZE, 0, 0, NULL);
	if (!first_cache)
		goto free_conn;
	scratch = alloc_percpu(struct dnp3_scratch);
	if (!scratch)
		goto free_first;
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
	cancel_delayed_work_sync(&gc_work);
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
