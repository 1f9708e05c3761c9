// SPDX-License-Identifier: GPL-2.0

//! The plain entry's Rust: the core as C calls it, without the kernel crate.
//!
//! plain.h declares it, and plain.c holds the layouts and values that are written twice to the same
//! numbers. All of the plain entry's `unsafe` is here.

#![no_std]
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

use core::ffi::{c_int, c_void};
use core::mem::{align_of, offset_of, size_of};
use dnp3_core::{Fragment, Headers, Packet, Rule, Verdict};

/// The kernel's `struct sk_buff`, of which nothing is known here.
#[repr(C)]
pub struct SkBuff {
    _opaque: [u8; 0],
}

/// `struct xt_dnp3_headers` of helpers.h.
#[repr(C)]
pub struct RawHeaders {
    transport: u32,
    end: u32,
    udp_segment: u16,
    protocol: u8,
    fragment: u8,
}

const _: () = {
    assert!(offset_of!(RawHeaders, transport) == 0);
    assert!(offset_of!(RawHeaders, end) == 4);
    assert!(offset_of!(RawHeaders, udp_segment) == 8);
    assert!(offset_of!(RawHeaders, protocol) == 10);
    assert!(offset_of!(RawHeaders, fragment) == 11);
    assert!(size_of::<RawHeaders>() == 12);
};

// The rule, as helpers.c holds the UAPI header to it.
const _: () = {
    assert!(offset_of!(Rule, set) == 0);
    assert!(offset_of!(Rule, invert) == 2);
    assert!(offset_of!(Rule, frames) == 4);
    assert!(offset_of!(Rule, dir) == 5);
    assert!(offset_of!(Rule, status) == 6);
    assert!(offset_of!(Rule, classes) == 7);
    assert!(offset_of!(Rule, saddr_count) == 8);
    assert!(offset_of!(Rule, daddr_count) == 9);
    assert!(offset_of!(Rule, reserved) == 10);
    assert!(offset_of!(Rule, saddr) == 16);
    assert!(offset_of!(Rule, daddr) == 48);
    assert!(offset_of!(Rule, fc) == 80);
    assert!(size_of::<Rule>() == 112);
    assert!(align_of::<Rule>() <= 8);
};

/// `XT_DNP3_FRAGMENT_*` of helpers.h.
mod fragment {
    pub(super) const WHOLE: u8 = 0;
    pub(super) const FIRST: u8 = 1;
}

/// `XT_DNP3_*` of `enum xt_dnp3_verdict` in plain.h.
mod verdict {
    pub(super) const NO_MATCH: u32 = 0;
    pub(super) const MATCH: u32 = 1;
    pub(super) const HOTDROP: u32 = 2;
}

extern "C" {
    fn xt_dnp3_skb_len(skb: *const SkBuff) -> u32;
    fn xt_dnp3_skb_linear(skb: *const SkBuff, len: *mut u32) -> *const u8;
    fn skb_copy_bits(skb: *const SkBuff, offset: c_int, to: *mut c_void, len: c_int) -> c_int;
}

/// A packet.
///
/// # Invariants
///
/// The pointer is valid for as long as the value lives, and nobody changes the length or the linear
/// part in that time: that is what a netfilter hook is called with.
struct Skb(*const SkBuff);

impl Packet for Skb {
    fn len(&self) -> u32 {
        // SAFETY: The pointer is valid by the type's invariants.
        unsafe { xt_dnp3_skb_len(self.0) }
    }

    fn linear(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: The pointer is valid by the type's invariants, and `len` is for writes.
        let data = unsafe { xt_dnp3_skb_linear(self.0, &mut len) };
        // SAFETY: The linear part is initialised memory of `len` octets from `data` on, which is
        // never null, and by the type's invariants nobody writes to it while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(data, len as usize) }
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let (Ok(offset), Ok(len)) = (c_int::try_from(offset), c_int::try_from(to.len())) else {
            return false;
        };
        // SAFETY: The pointer is valid by the type's invariants, `to` is valid for writes of `len`
        // octets, and `offset` is not negative. What lies behind the packet's end is refused.
        unsafe { skb_copy_bits(self.0, offset, to.as_mut_ptr().cast(), len) == 0 }
    }
}

/// Checks a rule that is about to be loaded, in a rule of iptables that names `protocol`, `inverted`
/// or not. Returns 0 when it is in order, or else the length of `*reason`, which is not zero.
///
/// # Safety
///
/// `rule` must be what x_tables passes to checkentry, and `reason` valid for a write.
#[no_mangle]
pub unsafe extern "C" fn xt_dnp3_core_check(
    rule: *const Rule,
    protocol: u8,
    inverted: bool,
    reason: *mut *const u8,
) -> usize {
    // SAFETY: Valid and aligned by the function's contract; the rule is not in use yet, and x_tables
    // keeps its hands off while it is checked. `Rule` is `repr(C)` and holds integers only, so that
    // whatever user space sent is a value.
    let rule = unsafe { &*rule };
    match rule.check(protocol, inverted) {
        Ok(()) => 0,
        Err(invalid) => {
            let text = invalid.reason();
            // SAFETY: Valid for a write by the function's contract.
            unsafe { reason.write(text.as_ptr()) };
            text.len()
        }
    }
}

/// Judges a packet by a rule: `enum xt_dnp3_verdict`.
///
/// # Safety
///
/// `rule` and `skb` must be what x_tables passes to a match, and `headers` what `xt_dnp3_headers()`
/// found in that packet. None of them may be changed before the function returns.
#[no_mangle]
pub unsafe extern "C" fn xt_dnp3_core_judge(
    rule: *const Rule,
    skb: *const SkBuff,
    headers: *const RawHeaders,
) -> u32 {
    // SAFETY: Valid and aligned by the function's contract; a rule is not changed while packets are
    // judged by it, and whatever user space sent is a value of `Rule`.
    let (rule, found) = unsafe { (&*rule, &*headers) };
    let headers = Headers {
        transport: found.transport,
        end: found.end,
        protocol: found.protocol,
        fragment: match found.fragment {
            fragment::WHOLE => Fragment::Whole,
            fragment::FIRST => Fragment::First,
            _ => Fragment::Later,
        },
        udp_segment: found.udp_segment,
    };
    // INVARIANT: By the function's contract.
    match dnp3_core::judge(rule, &Skb(skb), &headers) {
        Verdict::NoMatch => verdict::NO_MATCH,
        Verdict::Match => verdict::MATCH,
        Verdict::HotDrop => verdict::HOTDROP,
    }
}
