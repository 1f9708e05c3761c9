// SPDX-License-Identifier: GPL-2.0

//! xt_dnp3: the iptables match for DNP3 (IEEE 1815), as a kernel module.
//!
//! What decides is in the crate `dnp3_core`; what a rule holds is in
//! `include/linux/netfilter/xt_dnp3.h`. Here both meet x_tables:
//!
//! - `dnp3` is the match, without `unsafe`;
//! - `xt` are the abstractions of x_tables and sk_buff that it stands on, with all of it.

mod dnp3;
mod xt;

use kernel::prelude::*;

module! {
    type: Module,
    name: "xt_dnp3",
    description: "Xtables: DNP3 (IEEE 1815) match",
    license: "GPL",
    alias: ["ipt_dnp3", "ip6t_dnp3"],
}

struct Module {
    // In this order: no rule, then no connection.
    _matches: xt::Registration<2>,
    _following: xt::Following,
}

impl kernel::Module for Module {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let following = xt::Following::new()?;
        Ok(Self {
            // One by one: ebtables would take a match of no family for its own, and leaves unset
            // what this one needs.
            _matches: xt::Registration::new::<dnp3::Dnp3>(
                module,
                [xt::Family::Ipv4, xt::Family::Ipv6],
            )?,
            _following: following,
        })
    }
}
