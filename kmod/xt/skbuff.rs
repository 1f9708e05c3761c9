// SPDX-License-Identifier: GPL-2.0

//! A packet.
//!
//! C header: `include/linux/skbuff.h`.

use super::bindings;
use core::cell::Cell;
use dnp3_core::Packet;
use kernel::types::Opaque;

/// Wraps the kernel's `struct sk_buff`, to read from.
///
/// # Invariants
///
/// The pointer is valid for as long as the reference lives, and nobody changes the length or the
/// linear part in that time: that is what a netfilter hook is called with.
#[repr(transparent)]
pub(crate) struct SkBuff(Opaque<bindings::sk_buff>);

impl SkBuff {
    /// # Safety
    ///
    /// `ptr` must be what a match was called with, and the reference must not outlive the call.
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::sk_buff) -> &'a Self {
        // INVARIANT: A packet is not changed while rules are looked up for it.
        // SAFETY: `ptr` is valid by the function's contract; `SkBuff` has the layout of `sk_buff`.
        unsafe { &*ptr.cast() }
    }

    pub(super) fn as_ptr(&self) -> *const bindings::sk_buff {
        self.0.get()
    }

    /// Begins to read.
    pub(crate) fn reader(&self) -> Reader<'_> {
        Reader {
            skb: self,
            place: Cell::default(),
        }
    }
}

/// A packet that is read from its first octet to its last.
///
/// Reading goes on where it stopped: a frag list is gone through once, however many pieces the
/// packet is read in.
pub(crate) struct Reader<'a> {
    skb: &'a SkBuff,
    place: Cell<bindings::xt_dnp3_place>,
}

impl Packet for Reader<'_> {
    fn len(&self) -> u32 {
        // SAFETY: The pointer is valid by the type's invariants.
        unsafe { bindings::xt_dnp3_skb_len(self.skb.as_ptr()) }
    }

    fn linear(&self) -> &[u8] {
        let mut len = 0;
        // SAFETY: The pointer is valid by the type's invariants.
        let data = unsafe { bindings::xt_dnp3_skb_linear(self.skb.as_ptr(), &mut len) };
        // SAFETY: The linear part is initialised memory of `len` octets from `data` on, which is
        // never null, and by the type's invariants nobody writes to it while `self` is borrowed.
        unsafe { core::slice::from_raw_parts(data, len as usize) }
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let Ok(len) = u32::try_from(to.len()) else {
            return false;
        };
        let place = self.place.as_ptr();
        // SAFETY: The packet is valid by the type's invariants, `to` is valid for writes of `len`
        // octets, and `place` is this packet's own, which nobody else has. What lies behind the
        // packet's end is refused.
        unsafe {
            bindings::xt_dnp3_skb_copy(self.skb.as_ptr(), place, offset, to.as_mut_ptr(), len)
        }
    }
}
