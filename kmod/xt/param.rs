// SPDX-License-Identifier: GPL-2.0

//! What x_tables calls a match with: the parameters of its callbacks.
//!
//! C header: `include/linux/netfilter/x_tables.h`.

use super::{bindings, Match, SkBuff};
use core::{marker::PhantomData, ptr};
use dnp3_core::{Fragment, Headers};
use kernel::{error::to_result, prelude::*, types::Opaque};

/// Parameters of [`Match::judge`]: wraps the kernel's `struct xt_action_param`.
///
/// # Invariants
///
/// Valid for as long as the reference lives, with `matchinfo` that of a rule of `T`.
#[repr(transparent)]
pub(crate) struct ActionParam<T: Match>(Opaque<bindings::xt_action_param>, PhantomData<T>);

impl<T: Match> ActionParam<T> {
    /// # Safety
    ///
    /// `ptr` must be what the match `T` was called with, and the reference must not outlive the
    /// call.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::xt_action_param) -> &'a Self {
        // INVARIANT: x_tables calls a match with the `matchinfo` of one of its rules.
        // SAFETY: `ptr` is valid by the function's contract; the layouts are the same.
        unsafe { &*ptr.cast() }
    }

    /// What the rule holds.
    pub(crate) fn info(&self) -> &T::Info {
        // SAFETY: Valid by the type's invariants. A rule is not changed while packets are judged by
        // it, and `Info` says that what user space sent is a value.
        unsafe { &*(*self.0.get()).__bindgen_anon_2.matchinfo.cast() }
    }

    /// Writes what the IP layer knows of the packet. False where it has no transport header.
    #[inline(never)] // its stack is free again before the packet is judged
    pub(crate) fn find_headers(&self, skb: &SkBuff, headers: &mut Headers) -> bool {
        let mut found = bindings::xt_dnp3_headers::default();
        // SAFETY: Both pointers are valid by their types' invariants, and `found` is for writes.
        if !unsafe { bindings::xt_dnp3_headers(skb.as_ptr(), self.0.get(), &mut found) } {
            return false;
        }
        *headers = headers_from(&found);
        true
    }

    /// Has the packet dropped on the spot.
    pub(super) fn set_hotdrop(&self) {
        // SAFETY: Valid by the type's invariants; `hotdrop` is there for matches to write.
        unsafe { ptr::addr_of_mut!((*self.0.get()).hotdrop).write(true) };
    }
}

/// What C found, as the core has it.
pub(super) fn headers_from(found: &bindings::xt_dnp3_headers) -> Headers {
    Headers {
        transport: found.transport,
        end: found.end,
        protocol: found.protocol,
        fragment: match u32::from(found.fragment) {
            bindings::xt_dnp3_fragment_XT_DNP3_FRAGMENT_WHOLE => Fragment::Whole,
            bindings::xt_dnp3_fragment_XT_DNP3_FRAGMENT_FIRST => Fragment::First,
            _ => Fragment::Later,
        },
        udp_segment: found.udp_segment,
    }
}

/// Parameters of [`Match::check`]: wraps the kernel's `struct xt_mtchk_param`.
///
/// # Invariants
///
/// Valid for as long as the reference lives, with `matchinfo` that of a rule of `T`, and with
/// `entryinfo` as `family` has it: `struct ipt_ip` or `struct ip6t_ip6`.
#[repr(transparent)]
pub(crate) struct CheckParam<T: Match>(Opaque<bindings::xt_mtchk_param>, PhantomData<T>);

impl<T: Match> CheckParam<T> {
    /// # Safety
    ///
    /// `ptr` must be what the match `T`, registered for IPv4 and IPv6 alone, was called with, and
    /// the reference must not outlive the call.
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::xt_mtchk_param) -> &'a Self {
        // INVARIANT: x_tables checks rules of the families that a match is registered for, with
        // their own `entryinfo`; nft_compat fills it in the same way.
        // SAFETY: `ptr` is valid by the function's contract; the layouts are the same.
        unsafe { &*ptr.cast() }
    }

    /// What the rule holds.
    pub(crate) fn info(&self) -> &T::Info {
        // SAFETY: Valid by the type's invariants. The rule is not in use yet, and x_tables keeps its
        // hands off while it is checked. `Info` says that what user space sent is a value.
        unsafe { &*(*self.0.get()).matchinfo.cast() }
    }

    /// The protocol that the rule names, 0 for none, and whether that is inverted.
    pub(crate) fn protocol(&self) -> (u8, bool) {
        let mut inverted = false;
        // SAFETY: Valid by the type's invariants, with the `entryinfo` of its family; `inverted` is
        // for writes.
        let protocol = unsafe { bindings::xt_dnp3_rule_protocol(self.0.get(), &mut inverted) };
        (protocol, inverted)
    }

    /// Has fragments put together before rules see them, and connections followed where the rule
    /// `tracks`, until [`DestroyParam::disable`].
    pub(crate) fn enable(&self, tracks: bool) -> Result {
        // SAFETY: Valid by the type's invariants; `net` is the namespace that the rule belongs to.
        to_result(unsafe {
            let par = &*self.0.get();
            bindings::xt_dnp3_rule_enable(par.net, par.family, tracks)
        })
    }

    /// The error to refuse the rule with, after a line in the log that says why.
    pub(crate) fn refuse(&self, reason: &str) -> Error {
        // SAFETY: The text is valid for reads of its length.
        unsafe { bindings::xt_dnp3_log_refused(reason.as_ptr(), reason.len()) };
        EINVAL
    }
}

/// Parameters of [`Match::destroy`]: wraps the kernel's `struct xt_mtdtor_param`.
///
/// # Invariants
///
/// Valid for as long as the reference lives, with `matchinfo` that of a rule of `T`.
#[repr(transparent)]
pub(crate) struct DestroyParam<T: Match>(Opaque<bindings::xt_mtdtor_param>, PhantomData<T>);

impl<T: Match> DestroyParam<T> {
    /// # Safety
    ///
    /// `ptr` must be what the match `T` was called with, and the reference must not outlive the
    /// call.
    pub(super) unsafe fn from_raw<'a>(ptr: *const bindings::xt_mtdtor_param) -> &'a Self {
        // INVARIANT: x_tables destroys a rule that it checked before, with what it holds.
        // SAFETY: `ptr` is valid by the function's contract; the layouts are the same.
        unsafe { &*ptr.cast() }
    }

    /// What the rule holds.
    pub(crate) fn info(&self) -> &T::Info {
        // SAFETY: Valid by the type's invariants; nobody uses the rule any more. `Info` says that
        // what user space sent is a value.
        unsafe { &*(*self.0.get()).matchinfo.cast() }
    }

    /// Undoes the [`CheckParam::enable`] of the same rule.
    pub(crate) fn disable(&self, tracks: bool) {
        // SAFETY: Valid by the type's invariants; `net` is the namespace that the rule belongs to.
        unsafe {
            let par = &*self.0.get();
            bindings::xt_dnp3_rule_disable(par.net, par.family, tracks);
        }
    }
}
