// SPDX-License-Identifier: GPL-2.0

//! The plain entry's Rust: the core as C calls it, without the kernel crate.
//!
//! `plain.h` declares it, and `plain.c` holds the layouts and values that are written twice to the same
//! numbers. All of the plain entry's `unsafe` is here.

#![no_std]
#![warn(missing_docs)]
#![deny(unsafe_op_in_unsafe_fn)]

#[path = "xt/track.rs"]
mod track;

use core::cell::{Cell, UnsafeCell};
use core::mem::{align_of, offset_of, size_of};
use dnp3_core::rule::protocol;
use dnp3_core::{Fragment, Headers, Packet, Rule, Verdict};

/// The kernel's `struct sk_buff`, of which nothing is known here.
///
/// # Invariants
///
/// A reference is to what a netfilter hook is called with: it is valid for as long as it lives, and
/// nobody changes the length or the linear part in that time.
#[repr(C)]
pub struct SkBuff {
    _opaque: UnsafeCell<[u8; 0]>,
}

/// `struct xt_dnp3_headers` of helpers.h.
#[repr(C)]
#[derive(Default)]
struct RawHeaders {
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

/// `struct xt_dnp3_place` of helpers.h.
#[repr(C)]
struct Place {
    part: *const SkBuff,
    from: u32,
}

const _: () = {
    assert!(offset_of!(Place, part) == 0);
    assert!(offset_of!(Place, from) == 8);
    assert!(size_of::<Place>() == 16);
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

/// The kernel's `struct xt_action_param`, of which nothing is known here.
#[repr(C)]
pub struct ActionParam {
    _opaque: [u8; 0],
}

extern "C" {
    fn xt_dnp3_headers(skb: *const SkBuff, par: *const ActionParam, found: *mut RawHeaders)
        -> bool;
    fn xt_dnp3_hotdrop(par: *mut ActionParam);
    fn xt_dnp3_skb_len(skb: *const SkBuff) -> u32;
    fn xt_dnp3_skb_linear(skb: *const SkBuff, len: *mut u32) -> *const u8;
    fn xt_dnp3_skb_copy(
        skb: *const SkBuff,
        place: *mut Place,
        offset: u32,
        to: *mut u8,
        len: u32,
    ) -> bool;
}

impl SkBuff {
    /// Begins to read.
    fn reader(&self) -> Reader<'_> {
        Reader {
            skb: self,
            place: Cell::new(Place {
                part: core::ptr::null(),
                from: 0,
            }),
        }
    }
}

/// What C found, as the core has it.
fn headers_from(found: &RawHeaders) -> Headers {
    Headers {
        transport: found.transport,
        end: found.end,
        protocol: found.protocol,
        fragment: match found.fragment {
            fragment::WHOLE => Fragment::Whole,
            fragment::FIRST => Fragment::First,
            _ => Fragment::Later,
        },
        udp_segment: found.udp_segment,
    }
}

/// A packet that is read from its first octet to its last.
///
/// Reading goes on where it stopped: a frag list is gone through once, however many pieces the
/// packet is read in.
struct Reader<'a> {
    skb: &'a SkBuff,
    place: Cell<Place>,
}

impl Packet for Reader<'_> {
    fn len(&self) -> u32 {
        // SAFETY: The reference is valid by the type's invariants.
        unsafe { xt_dnp3_skb_len(self.skb) }
    }

    fn linear(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: The reference is valid by the type's invariants, and `len` is for writes.
        let data = unsafe { xt_dnp3_skb_linear(self.skb, &mut len) };
        // SAFETY: The linear part is initialised memory of `len` octets from `data` on, which is
        // never null, and by the type's invariants nobody writes to it while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(data, len as usize) }
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let Ok(len) = u32::try_from(to.len()) else {
            return false;
        };
        // SAFETY: The reference is valid by the type's invariants, `to` is valid for writes of `len`
        // octets, and the place is this packet's own, which nobody else has. What lies behind the
        // packet's end is refused.
        unsafe { xt_dnp3_skb_copy(self.skb, self.place.as_ptr(), offset, to.as_mut_ptr(), len) }
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

/// Whether a rule follows connections.
///
/// # Safety
///
/// `rule` must be what x_tables passes to checkentry or destroy, after it was found in order.
#[no_mangle]
pub unsafe extern "C" fn xt_dnp3_core_tracks(rule: *const Rule) -> bool {
    // SAFETY: Valid and aligned by the function's contract; whatever user space sent is a value.
    unsafe { &*rule }.tracks()
}

/// Writes what the IP layer knows of a packet. False where it has no transport header.
///
/// # Safety
///
/// `par` must be what x_tables passes to a match together with the packet.
#[inline(never)] // its stack is free again before the packet is judged
unsafe fn find(packet: &Reader<'_>, par: *const ActionParam, headers: &mut Headers) -> bool {
    let mut found = RawHeaders::default();
    // SAFETY: Valid by the function's contract, and `found` is for writes.
    if !unsafe { xt_dnp3_headers(packet.skb, par, &mut found) } {
        return false;
    }
    *headers = headers_from(&found);
    true
}

/// Judges a packet by a rule.
///
/// # Safety
///
/// `rule`, `skb` and `par` must be what x_tables passes to a match.
#[no_mangle]
pub unsafe extern "C" fn xt_dnp3_core_match(
    rule: *const Rule,
    skb: *const SkBuff,
    par: *mut ActionParam,
) -> bool {
    // SAFETY: Valid and aligned by the function's contract; a rule is not changed while packets are
    // judged by it, and whatever user space sent is a value of `Rule`.
    // INVARIANT: A packet is not changed while rules are looked up for it.
    let (rule, skb) = unsafe { (&*rule, &*skb) };
    let packet = skb.reader();
    let mut headers = Headers::default();
    // SAFETY: By the function's contract.
    if !unsafe { find(&packet, par, &mut headers) } {
        return false;
    }
    let tracked = match headers.protocol {
        protocol::TCP => track::judge(rule, skb, &packet, &headers),
        _ => None,
    };
    let verdict = match tracked {
        Some(verdict) => verdict,
        None => dnp3_core::judge(rule, &packet, &headers),
    };
    match verdict {
        Verdict::NoMatch => false,
        Verdict::Match => {
            if tracked.is_none() {
                track::matched(rule, skb, &headers);
            }
            true
        }
        Verdict::HotDrop => {
            // SAFETY: By the function's contract; `hotdrop` is there for matches to write.
            unsafe { xt_dnp3_hotdrop(par) };
            false
        }
    }
}
