// SPDX-License-Identifier: GPL-2.0

//! What a match is.
//!
//! C header: `include/linux/netfilter/x_tables.h`.

use super::{ActionParam, CheckParam, DestroyParam, SkBuff};
use kernel::prelude::*;

/// The answer of a match to "does this rule take this packet?".
pub(crate) enum Answer {
    /// It does not.
    NoMatch,
    /// It does.
    Match,
    /// The packet is to be dropped on the spot, whatever the rules say.
    HotDrop,
}

/// A match of x_tables.
///
/// Corresponds to the callbacks of the kernel's `struct xt_match`.
pub(crate) trait Match: Sized + 'static {
    /// The name behind `-m`.
    const NAME: &'static str;

    /// The revision of [`Match::Info`].
    const REVISION: u8;

    /// What a rule holds for the match, in the layout that iptables sends.
    type Info: Info;

    /// Checks a rule that is about to be loaded. Whoever may make a user namespace can send one.
    fn check(par: &CheckParam<Self>) -> Result;

    /// Judges a packet.
    fn judge(skb: &SkBuff, par: &ActionParam<Self>) -> Answer;

    /// Undoes what [`Match::check`] did, when the rule goes. May come late: a rule that takes its
    /// place can have been checked before.
    fn destroy(_par: &DestroyParam<Self>) {}
}

/// What a rule can hold for a match: it comes from user space as it is.
///
/// # Safety
///
/// Every bit pattern must be a valid value, it must not have padding, and its alignment must not be
/// above that of a rule's entries (8).
// rustc 1.85 counts no use as a bound.
#[allow(dead_code)]
pub(crate) unsafe trait Info: Sync + 'static {}
