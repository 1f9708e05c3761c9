/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads for ffi.rs. */

#include <getopt.h>
#include <xtables.h>
#include <linux/netfilter_ipv4/ip_tables.h>
#include <linux/netfilter_ipv6/ip6_tables.h>
#include <linux/netfilter/xt_dnp3.h>

_Noreturn void xt_dnp3_refuse(const char *line);
