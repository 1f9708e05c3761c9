// SPDX-License-Identifier: GPL-2.0
/*
 * The counters of connections that are followed, by generic netlink. include/netlink
 * says the same to tools that read specifications of netlink.
 */
#include <linux/build_bug.h>
#include <linux/module.h>
#include <linux/netfilter/xt_dnp3.h>
#include <net/genetlink.h>

#include "track.h"

#if IS_ENABLED(CONFIG_NF_CONNTRACK)

static struct genl_family stats_family;

static int stats_get(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	struct sk_buff *answer;
	void *header;
	int which;

	answer = genlmsg_new(__XT_DNP3_STATS_MAX * nla_total_size_64bit(sizeof(u64)), GFP_KERNEL);
	if (!answer)
		return -ENOMEM;
	header = genlmsg_put_reply(answer, info, &stats_family, 0, XT_DNP3_CMD_STATS_GET);
	if (!header)
		goto no_room;
	for (which = XT_DNP3_STATS_CONNECTIONS; which <= XT_DNP3_STATS_MAX; which++)
		if (nla_put_u64_64bit(answer, which, xt_dnp3_track_stat(net, which),
				      XT_DNP3_STATS_PAD))
			goto no_room;
	genlmsg_end(answer, header);
	return genlmsg_reply(answer, info);

no_room:
	nlmsg_free(answer);
	return -EMSGSIZE;
}

static const struct genl_small_ops stats_ops[] = {
	{
		.cmd	= XT_DNP3_CMD_STATS_GET,
		.flags	= GENL_UNS_ADMIN_PERM,
		.doit	= stats_get,
	},
};

static struct genl_family stats_family __ro_after_init = {
	.name		= XT_DNP3_GENL_NAME,
	.version	= XT_DNP3_GENL_VERSION,
	.module		= THIS_MODULE,
	.netnsok	= true,
	.small_ops	= stats_ops,
	.n_small_ops	= ARRAY_SIZE(stats_ops),
};

int xt_dnp3_stats_init(void)
{
	return genl_register_family(&stats_family);
}

void xt_dnp3_stats_exit(void)
{
	genl_unregister_family(&stats_family);
}

#endif
