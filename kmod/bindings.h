/* SPDX-License-Identifier: GPL-2.0 */
/* What bindgen reads: the C that the module's Rust calls and is called by. */
#include <linux/skbuff.h>
#include <linux/netfilter.h>
#include <linux/netfilter/x_tables.h>
#include <linux/netfilter/xt_dnp3.h>

#include "helpers.h"
#include "track.h"
