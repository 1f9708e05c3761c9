// SPDX-License-Identifier: GPL-2.0

//! Makes a match known to x_tables.
//!
//! C header: `include/linux/netfilter/x_tables.h`.

use super::{
    abi::XT_ALIGN, bindings, ActionParam, Answer, CheckParam, DestroyParam, Match, SkBuff,
};
use core::{
    marker::PhantomData,
    mem::{align_of, size_of},
};
use kernel::{
    error::to_result,
    ffi::{c_char, c_int, c_uint},
    prelude::*,
    types::Opaque,
};

/// The families that a match can be registered for.
#[derive(Clone, Copy)]
pub(crate) enum Family {
    /// iptables.
    Ipv4,
    /// ip6tables.
    Ipv6,
}

/// An adapter for the registration of a match: its callbacks, as C calls them.
struct Adapter<T: Match>(PhantomData<T>);

impl<T: Match> Adapter<T> {
    /// # Safety
    ///
    /// `skb` and `par` must be passed by the corresponding callback in `xt_match`.
    unsafe extern "C" fn match_callback(
        skb: *const bindings::sk_buff,
        par: *mut bindings::xt_action_param,
    ) -> bool {
        // SAFETY: x_tables passes the packet and the rule of this match; neither reference is kept.
        let (skb, par) = unsafe { (SkBuff::from_raw(skb), ActionParam::<T>::from_raw(par)) };
        match T::judge(skb, par) {
            Answer::NoMatch => false,
            Answer::Match => true,
            Answer::HotDrop => {
                par.set_hotdrop();
                false
            }
        }
    }

    /// # Safety
    ///
    /// `par` must be passed by the corresponding callback in `xt_match`.
    unsafe extern "C" fn checkentry_callback(par: *const bindings::xt_mtchk_param) -> c_int {
        // SAFETY: x_tables passes the rule of this match, which `descriptor` registers for IPv4 and
        // IPv6 alone; the reference is not kept.
        match T::check(unsafe { CheckParam::<T>::from_raw(par) }) {
            Ok(()) => 0,
            Err(error) => error.to_errno(),
        }
    }

    /// # Safety
    ///
    /// `par` must be passed by the corresponding callback in `xt_match`.
    unsafe extern "C" fn destroy_callback(par: *const bindings::xt_mtdtor_param) {
        // SAFETY: x_tables passes the rule of this match; the reference is not kept.
        T::destroy(unsafe { DestroyParam::<T>::from_raw(par) });
    }

    const NAME: [c_char; bindings::XT_EXTENSION_MAXNAMELEN as usize] = {
        let name = T::NAME.as_bytes();
        let mut to = [0; bindings::XT_EXTENSION_MAXNAMELEN as usize];
        assert!(name.len() < to.len(), "the name of the match is too long");
        let mut at = 0;
        while at < name.len() {
            to[at] = name[at] as c_char;
            at += 1;
        }
        to
    };

    const INFO_SIZE: c_uint = {
        // User space pads to this, and the padding would be nobody's to check.
        assert!(size_of::<T::Info>() % XT_ALIGN == 0);
        assert!(align_of::<T::Info>() <= XT_ALIGN);
        size_of::<T::Info>() as c_uint
    };

    fn descriptor(module: &'static ThisModule, family: Family) -> Opaque<bindings::xt_match> {
        Opaque::new(bindings::xt_match {
            name: Self::NAME,
            revision: T::REVISION,
            match_: Some(Self::match_callback),
            checkentry: Some(Self::checkentry_callback),
            destroy: Some(Self::destroy_callback),
            me: module.as_ptr().cast(),
            matchsize: Self::INFO_SIZE,
            usersize: Self::INFO_SIZE,
            family: match family {
                Family::Ipv4 => bindings::NFPROTO_IPV4,
                Family::Ipv6 => bindings::NFPROTO_IPV6,
            } as _,
            // All tables, all hooks, and protocols are for `Match::check` to judge.
            ..Default::default()
        })
    }
}

/// Registration of a match for `N` families. The match is unregistered when it is dropped.
///
/// # Invariants
///
/// `matches` is registered with x_tables, and stays where it is.
pub(crate) struct Registration<const N: usize> {
    matches: KBox<[Opaque<bindings::xt_match>; N]>,
}

// SAFETY: The only thing to do with a `Registration` is to drop it, and `xt_unregister_matches` can
// be called from any thread.
unsafe impl<const N: usize> Send for Registration<N> {}

// SAFETY: There is nothing to do with a `&Registration`.
unsafe impl<const N: usize> Sync for Registration<N> {}

impl<const N: usize> Registration<N> {
    /// Registers the match `T`. Rules hold a reference to `module` each.
    pub(crate) fn new<T: Match>(
        module: &'static ThisModule,
        families: [Family; N],
    ) -> Result<Self> {
        let matches = KBox::new(
            families.map(|family| Adapter::<T>::descriptor(module, family)),
            GFP_KERNEL,
        )?;
        // INVARIANT: From here on x_tables has them, if it succeeds; the box is never moved out of.
        // SAFETY: `matches` are `N` descriptors that are complete and live until they are
        // unregistered; the callbacks fit the type of their `matchinfo`.
        to_result(unsafe { bindings::xt_register_matches(first(&matches), N as c_uint) })?;
        Ok(Self { matches })
    }
}

impl<const N: usize> Drop for Registration<N> {
    fn drop(&mut self) {
        // SAFETY: They are registered by the type's invariants.
        unsafe { bindings::xt_unregister_matches(first(&self.matches), N as c_uint) };
    }
}

/// That TCP connections can be followed: what track.c needs for it. Goes after all rules.
///
/// # Invariants
///
/// `xt_dnp3_track_init` has succeeded.
pub(crate) struct Following(());

impl Following {
    /// Makes ready.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: Called once for the module, which has no other instance.
        to_result(unsafe { bindings::xt_dnp3_track_init() })?;
        // INVARIANT: It has succeeded.
        Ok(Self(()))
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        // SAFETY: It was made ready by the type's invariants, and the matches are gone.
        unsafe { bindings::xt_dnp3_track_exit() };
    }
}

fn first<const N: usize>(matches: &[Opaque<bindings::xt_match>; N]) -> *mut bindings::xt_match {
    matches.as_ptr().cast_mut().cast()
}
