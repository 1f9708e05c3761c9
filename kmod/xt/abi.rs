// SPDX-License-Identifier: GPL-2.0

//! The rule of `dnp3_core` is the one of the UAPI header: proved here at compile time, member by
//! member and value by value, against what bindgen reads in `include/linux/netfilter/xt_dnp3.h`.

use super::{bindings, Info};
use core::mem::{align_of, offset_of, size_of};
use dnp3_core::rule::{class, dir, frames, option, status, Range, FC_WORDS, MAX_RANGES};
use dnp3_core::track::Commit;
use dnp3_core::Rule;

/// What iptables and the kernel align a rule's entries to: `XT_ALIGN()`.
pub(super) const XT_ALIGN: usize = align_of::<bindings::_xt_align>();

/// The size of a member, by a function that reaches it.
// rustc 1.85 counts no use in a `const _`; nor below.
#[allow(dead_code)]
const fn size_of_member<S, M>(_: fn(&S) -> &M) -> usize {
    size_of::<M>()
}

macro_rules! same_layout {
    ($ours:ident, $theirs:ident, $($member:ident)*) => {
        const _: () = {
            assert!(size_of::<$ours>() == size_of::<$theirs>());
            assert!(align_of::<$ours>() == align_of::<$theirs>());
            let mut sum = 0;
            $({
                let size = size_of_member(|it: &$ours| &it.$member);
                assert!(size == size_of_member(|it: &$theirs| &it.$member));
                assert!(offset_of!($ours, $member) == offset_of!($theirs, $member));
                sum += size;
            })*
            // All members are named above, and there is no padding.
            assert!(sum == size_of::<$ours>());
        };
    };
}

#[allow(dead_code)]
type MtInfo = bindings::xt_dnp3_mtinfo;
#[allow(dead_code)]
type MtRange = bindings::xt_dnp3_range;

same_layout!(Range, MtRange, min max);
same_layout!(
    Rule, MtInfo,
    set invert frames dir status classes saddr_count daddr_count reserved saddr daddr fc
);

macro_rules! same_value {
    ($($ours:expr, $theirs:ident;)*) => {
        const _: () = { $(assert!($ours as u64 == bindings::$theirs as u64);)* };
    };
}

same_value! {
    MAX_RANGES, XT_DNP3_MAX_RANGES;
    FC_WORDS, XT_DNP3_FC_WORDS;
    option::SADDR, xt_dnp3_option_XT_DNP3_SADDR;
    option::DADDR, xt_dnp3_option_XT_DNP3_DADDR;
    option::FC, xt_dnp3_option_XT_DNP3_FC;
    option::STATUS, xt_dnp3_option_XT_DNP3_STATUS;
    option::DIR, xt_dnp3_option_XT_DNP3_DIR;
    option::FRAMES, xt_dnp3_option_XT_DNP3_FRAMES;
    option::TRACK, xt_dnp3_option_XT_DNP3_TRACK;
    frames::ONLY, xt_dnp3_frames_XT_DNP3_FRAMES_ONLY;
    frames::ANY, xt_dnp3_frames_XT_DNP3_FRAMES_ANY;
    dir::UNSET, xt_dnp3_dir_XT_DNP3_DIR_UNSET;
    dir::MASTER, xt_dnp3_dir_XT_DNP3_DIR_MASTER;
    dir::OUTSTATION, xt_dnp3_dir_XT_DNP3_DIR_OUTSTATION;
    status::NONE, xt_dnp3_status_XT_DNP3_STATUS_NONE;
    status::VALID, xt_dnp3_status_XT_DNP3_STATUS_VALID;
    status::PARTIAL, xt_dnp3_status_XT_DNP3_STATUS_PARTIAL;
    status::MALFORMED, xt_dnp3_status_XT_DNP3_STATUS_MALFORMED;
    status::AHEAD, xt_dnp3_status_XT_DNP3_STATUS_AHEAD;
    class::LINK, xt_dnp3_class_XT_DNP3_CLASS_LINK;
    class::CONT, xt_dnp3_class_XT_DNP3_CLASS_CONT;
    Commit::Pass, xt_dnp3_commit_XT_DNP3_COMMIT_PASS;
    Commit::Followed, xt_dnp3_commit_XT_DNP3_COMMIT_FOLLOWED;
    Commit::Crowded, xt_dnp3_commit_XT_DNP3_COMMIT_CROWDED;
    Commit::Ended, xt_dnp3_commit_XT_DNP3_COMMIT_ENDED;
    Commit::Voided, xt_dnp3_commit_XT_DNP3_COMMIT_VOIDED;
    Commit::Ahead, xt_dnp3_commit_XT_DNP3_COMMIT_AHEAD;
    Commit::Overlap, xt_dnp3_commit_XT_DNP3_COMMIT_OVERLAP;
    Commit::Renewed, xt_dnp3_commit_XT_DNP3_COMMIT_RENEWED;
    Commit::Strayed, xt_dnp3_commit_XT_DNP3_COMMIT_STRAYED;
    Commit::Doubted, xt_dnp3_commit_XT_DNP3_COMMIT_DOUBTED;
}

// SAFETY: `Rule` is `repr(C)` and holds integers only, so that every bit pattern is valid; that its
// members leave no padding is asserted above, and its alignment is held against `XT_ALIGN` where
// the match is registered.
unsafe impl Info for Rule {}
