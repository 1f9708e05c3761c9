// SPDX-License-Identifier: GPL-2.0

//! The callbacks of `struct xtables_match`, and their registration.
//!
//! One library serves libxtables 1.8.9 and newer ones: `struct xt_option_entry` changed its size
//! in between while the library's version stayed the same, so this uses `.extra_opts` and `.parse`
//! with `.x6_fcheck`, and no `.x6_options`.
//!
//! Between the options of a match nothing is kept but the rule itself, which lies in the match's
//! data: what was given is in [`Rule::set`]. Only the place where iptables keeps the protocol is
//! remembered ([`Family::entry`]), because `-p` may come after the options and the last callback
//! is not told.
//!
//! No panic can cross into C: an `extern "C"` function that panics ends the process. None is
//! reachable from arguments or from what the kernel gives back.

use std::ffi::{CStr, CString};
use std::fmt::Display;
use std::mem::{align_of, offset_of, size_of};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use dnp3_core::rule::{class, dir, frames, option, status, Range, FC_WORDS, MAX_RANGES};
use dnp3_core::text::{self, Builder, Error, Opt, Problem};
use dnp3_core::Rule;
use libc::{c_char, c_int, c_uint, c_void};

#[allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
pub(crate) mod bindings {
    use libc::option;
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}
use bindings::{ip6t_entry, ipt_entry, xt_dnp3_mtinfo, xt_dnp3_range, xt_fcheck_call};
use bindings::{xt_entry_match, xtables_match};

// The rule is handed over as octets: core's struct must be the header's, member by member.
macro_rules! same_layout {
    ($ours:ty, $theirs:ty, $($member:ident),+) => {
        const _: () = {
            assert!(size_of::<$ours>() == size_of::<$theirs>());
            assert!(align_of::<$ours>() == align_of::<$theirs>());
            $(assert!(offset_of!($ours, $member) == offset_of!($theirs, $member));)+
        };
    };
}
same_layout!(Range, xt_dnp3_range, min, max);
same_layout!(
    Rule,
    xt_dnp3_mtinfo,
    set,
    invert,
    frames,
    dir,
    status,
    classes,
    saddr_count,
    daddr_count,
    reserved,
    saddr,
    daddr,
    fc
);

// And so must the values.
macro_rules! same_values {
    ($($ours:expr => $theirs:ident),+ $(,)?) => {
        const _: () = { $(assert!($ours as u32 == bindings::$theirs as u32);)+ };
    };
}
same_values! {
    MAX_RANGES => XT_DNP3_MAX_RANGES,
    FC_WORDS => XT_DNP3_FC_WORDS,
    option::SADDR => XT_DNP3_SADDR,
    option::DADDR => XT_DNP3_DADDR,
    option::FC => XT_DNP3_FC,
    option::STATUS => XT_DNP3_STATUS,
    option::DIR => XT_DNP3_DIR,
    option::FRAMES => XT_DNP3_FRAMES,
    option::TRACK => XT_DNP3_TRACK,
    frames::ONLY => XT_DNP3_FRAMES_ONLY,
    frames::ANY => XT_DNP3_FRAMES_ANY,
    dir::UNSET => XT_DNP3_DIR_UNSET,
    dir::MASTER => XT_DNP3_DIR_MASTER,
    dir::OUTSTATION => XT_DNP3_DIR_OUTSTATION,
    status::NONE => XT_DNP3_STATUS_NONE,
    status::VALID => XT_DNP3_STATUS_VALID,
    status::PARTIAL => XT_DNP3_STATUS_PARTIAL,
    status::MALFORMED => XT_DNP3_STATUS_MALFORMED,
    status::AHEAD => XT_DNP3_STATUS_AHEAD,
    class::LINK => XT_DNP3_CLASS_LINK,
    class::CONT => XT_DNP3_CLASS_CONT,
}

/// An address family of iptables: where it keeps the protocol of a rule.
trait Family {
    const NFPROTO: u32;

    /// What iptables knows of the rule that is being parsed; null before the first option.
    fn entry() -> &'static AtomicPtr<c_void>;

    /// The protocol that the rule names, 0 for none, and whether it is inverted.
    ///
    /// # Safety
    ///
    /// `entry` is the entry that iptables gave to a `parse` of this family, in the same rule.
    unsafe fn protocol(entry: *const c_void) -> (u16, bool);
}

struct Ipv4;
struct Ipv6;

impl Family for Ipv4 {
    const NFPROTO: u32 = bindings::NFPROTO_IPV4;

    fn entry() -> &'static AtomicPtr<c_void> {
        static ENTRY: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        &ENTRY
    }

    unsafe fn protocol(entry: *const c_void) -> (u16, bool) {
        // SAFETY: The entry of an IPv4 rule is a `struct ipt_entry`, by the caller's promise.
        let ip = unsafe { &(*entry.cast::<ipt_entry>()).ip };
        (
            ip.proto,
            u32::from(ip.invflags) & bindings::XT_INV_PROTO != 0,
        )
    }
}

impl Family for Ipv6 {
    const NFPROTO: u32 = bindings::NFPROTO_IPV6;

    fn entry() -> &'static AtomicPtr<c_void> {
        static ENTRY: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
        &ENTRY
    }

    unsafe fn protocol(entry: *const c_void) -> (u16, bool) {
        // SAFETY: The entry of an IPv6 rule is a `struct ip6t_entry`, by the caller's promise.
        let ip = unsafe { &(*entry.cast::<ip6t_entry>()).ipv6 };
        (
            ip.proto,
            u32::from(ip.invflags) & bindings::XT_INV_PROTO != 0,
        )
    }
}

/// Reads the rule that lies in a match's data.
///
/// # Safety
///
/// `data` points to at least as many octets as a [`Rule`] has.
unsafe fn rule(data: *const c_void) -> Rule {
    // SAFETY: By the caller's promise; a `Rule` is made of integers, so that any octets are one,
    // and nothing is asked of their alignment.
    unsafe { data.cast::<Rule>().read_unaligned() }
}

/// Where the rule lies in a match.
///
/// # Safety
///
/// `matched` points to a match of this extension, whose data has the size that was registered.
unsafe fn data(matched: *const xt_entry_match) -> *const c_void {
    // SAFETY: By the caller's promise; the data follows the header.
    unsafe { (*matched).data.as_ptr().cast() }
}

/// Ends iptables with exit status 2 and one line.
fn refuse(error: &dyn Display) -> ! {
    let line = c_string(&format!("dnp3: {error}"));
    // SAFETY: The line is a string of C and lives until the process ends, which is now.
    unsafe { bindings::xt_dnp3_refuse(line.as_ptr()) }
}

/// Writes to C's standard output, which iptables buffers by itself.
fn print(text: &dyn Display) {
    let text = c_string(&text.to_string());
    // SAFETY: Both are strings of C, and the second is what the first asks for.
    unsafe { libc::printf(c"%s".as_ptr(), text.as_ptr()) };
}

/// A string of C. What comes from arguments and from rules has no NUL in it; the text would end
/// there.
fn c_string(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default();
    CString::new(text).unwrap_or_default()
}

/// Takes one option. `code` is what the table of options holds for it: its place in [`Opt::ALL`].
unsafe extern "C" fn parse<F: Family>(
    code: c_int,
    _argv: *mut *mut c_char,
    inverted: c_int,
    flags: *mut c_uint,
    entry: *const c_void,
    matched: *mut *mut xt_entry_match,
) -> c_int {
    let Some(opt) = usize::try_from(code)
        .ok()
        .and_then(|code| Opt::ALL.get(code).copied())
    else {
        return 0;
    };
    F::entry().store(entry.cast_mut(), Ordering::Relaxed);

    // SAFETY: getopt_long has just set `optarg`: null for an option without a value, else a string
    // of C in the arguments, which stay as they are during this call.
    let value = unsafe {
        let value = bindings::optarg;
        (!value.is_null()).then(|| CStr::from_ptr(value))
    };
    let value = match value.map(CStr::to_str).transpose() {
        Ok(value) => value,
        Err(_) => refuse(&Error::Option(opt, Problem::NotText)),
    };

    // SAFETY: libxtables hands over the match that it allocated with the size registered below.
    let data = unsafe { data(*matched) }.cast_mut();
    // SAFETY: That size is at least a rule's.
    let mut builder = Builder::resume(unsafe { rule(data) });
    if let Err(error) = builder.option(opt, inverted != 0, value) {
        refuse(&error);
    }
    let rule = *builder.rule();
    // SAFETY: As above; the data is libxtables' own, to be written by this callback.
    unsafe { data.cast::<Rule>().write_unaligned(rule) };
    // SAFETY: `flags` points to the match's own flags. `check` reads there that this was called.
    unsafe { *flags |= c_uint::from(rule.set) };
    1
}

/// Judges the rule as a whole, all of its options and `-p` being known.
unsafe extern "C" fn check<F: Family>(call: *mut xt_fcheck_call) {
    // SAFETY: libxtables hands over a call that lives as long as this one.
    let call = unsafe { &*call };
    if call.xflags == 0 {
        // No option came, so that this was not told of the rule. What could be wrong with it is
        // the protocol, which the kernel checks too.
        return;
    }
    let entry = F::entry().load(Ordering::Relaxed);
    // SAFETY: The flags say that `parse` was called for this match. iptables clears them before
    // each rule, and judges a rule right after its options, so that `parse` left this rule's entry.
    let (protocol, inverted) = unsafe { F::protocol(entry) };
    // SAFETY: The data is that of the match, of the size registered below.
    let builder = Builder::resume(unsafe { rule(call.data) });
    // No protocol above 255 is one that a rule may name.
    let protocol = u8::try_from(protocol).unwrap_or_default();
    if let Err(error) = builder.finish(protocol, inverted) {
        refuse(&error);
    }
}

unsafe extern "C" fn help() {
    print(&text::help());
}

/// `iptables -L`
unsafe extern "C" fn list(_ip: *const c_void, matched: *const xt_entry_match, numeric: c_int) {
    // SAFETY: libxtables hands over a match of this extension, of the size registered below.
    let rule = unsafe { rule(data(matched)) };
    print(&format_args!(" {}", text::list(&rule, numeric != 0)));
}

/// iptables-save, `iptables -S`
unsafe extern "C" fn save(_ip: *const c_void, matched: *const xt_entry_match) {
    // SAFETY: libxtables hands over a match of this extension, of the size registered below.
    let rule = unsafe { rule(data(matched)) };
    if rule.set != 0 {
        print(&format_args!(" {}", text::save(&rule)));
    }
}

/// The names of the options for getopt_long, aliases included, and the end of the table.
fn options() -> Vec<libc::option> {
    let option = |name: *const c_char, has_value: bool, code: c_int| libc::option {
        name,
        has_arg: c_int::from(has_value),
        flag: ptr::null_mut(),
        val: code,
    };
    let mut options = Vec::new();
    for (code, opt) in (0..).zip(Opt::ALL) {
        for name in [Some(opt.name()), opt.alias()].into_iter().flatten() {
            // The names are needed until the process ends.
            let name = c_string(name).into_raw();
            options.push(option(name, opt.value().is_some(), code));
        }
    }
    options.push(option(ptr::null(), false, 0));
    options
}

fn matching<F: Family>(options: *const libc::option) -> xtables_match {
    // XT_ALIGN
    const SIZE: usize = size_of::<Rule>().next_multiple_of(align_of::<bindings::_xt_align>());
    xtables_match {
        version: bindings::XTABLES_VERSION.as_ptr().cast(),
        name: c"dnp3".as_ptr(),
        family: F::NFPROTO as u16,
        size: SIZE,
        userspacesize: SIZE,
        help: Some(help),
        parse: Some(parse::<F>),
        print: Some(list),
        save: Some(save),
        extra_opts: options,
        x6_fcheck: Some(check::<F>),
        // And no `xlate`: nft has nothing that says the same, and must not be given less.
        ..xtables_match::default()
    }
}

extern "C" fn register() {
    // libxtables keeps both until the process ends.
    let options = options().leak().as_ptr();
    let matches = vec![matching::<Ipv4>(options), matching::<Ipv6>(options)].leak();
    // SAFETY: The array lives from here on, and libxtables alone has it.
    unsafe { bindings::xtables_register_matches(matches.as_mut_ptr(), matches.len() as c_uint) };
}

/// libxtables knows an extension by what it does when it is loaded.
#[used]
#[link_section = ".init_array"]
static INIT: extern "C" fn() = register;
