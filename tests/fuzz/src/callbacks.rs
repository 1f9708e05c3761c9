// SPDX-License-Identifier: GPL-2.0

//! The target that calls libxt_dnp3's callbacks as libxtables does. Its inputs are those of the
//! language: what the callbacks make of an input must be what `core` makes of it.

use std::ffi::{c_char, c_int, c_uchar, CStr, CString};

use dnp3_core::text::{self, Error, Opt, Problem};
use dnp3_core::Rule;
// The extension registers itself at `callbacks.c`.
use xt_dnp3 as _;

use crate::input::{self, Input, RULE};
use crate::language::{asked, one_line, parsed, Asked};

extern "C" {
    fn fuzz_begin(v6: c_int, protocol: c_int, inverted: c_int, rule: *const c_uchar);
    fn fuzz_code(name: *const c_char, has_value: *mut c_int) -> c_int;
    fn fuzz_option(code: c_int, inverted: c_int, value: *mut c_char) -> *const c_char;
    fn fuzz_check() -> *const c_char;
    fn fuzz_foreign_code(code: c_int);
    fn fuzz_rule(rule: *mut c_uchar);
    fn fuzz_print(what: c_int) -> *mut c_char;
    fn free(text: *mut c_char);
}

/// The extension as iptables (false) or ip6tables sees it.
struct Extension;

impl Extension {
    fn begin(v6: bool, protocol: u8, inverted: bool, rule: &Rule) -> Extension {
        let octets = octets_of(rule);
        // SAFETY: The callee copies the 112 octets that there are.
        unsafe { fuzz_begin(v6.into(), protocol.into(), inverted.into(), octets.as_ptr()) };
        Extension
    }

    /// The code of an option, and whether it has a value.
    fn code(&self, name: &CStr) -> Option<(c_int, bool)> {
        let mut has_value = 0;
        // SAFETY: A string of C and a place for a number.
        let code = unsafe { fuzz_code(name.as_ptr(), &mut has_value) };
        (code >= 0).then_some((code, has_value != 0))
    }

    fn option(&self, code: c_int, inverted: bool, value: Option<&CStr>) -> Result<(), String> {
        let value = value.map_or(std::ptr::null_mut(), |value| value.as_ptr().cast_mut());
        // SAFETY: Null or a string of C, which the extension only reads.
        answer(unsafe { fuzz_option(code, inverted.into(), value) })
    }

    fn check(&self) -> Result<(), String> {
        // SAFETY: `begin` was called.
        answer(unsafe { fuzz_check() })
    }

    fn rule(&self) -> Rule {
        let mut octets = [0; RULE];
        // SAFETY: There is room for the 112 octets that the callee writes.
        unsafe { fuzz_rule(octets.as_mut_ptr()) };
        input::rule_of(&octets)
    }

    fn print(&self, what: c_int) -> String {
        // SAFETY: `begin` was called; what comes back is a string of C, ours to free.
        unsafe {
            let text = fuzz_print(what);
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            free(text);
            copy
        }
    }
}

fn answer(line: *const c_char) -> Result<(), String> {
    if line.is_null() {
        return Ok(());
    }
    // SAFETY: The driver's line is a string of C, and stays until the next call.
    Err(unsafe { CStr::from_ptr(line) }
        .to_string_lossy()
        .into_owned())
}

/// A rule in the layout of the UAPI header.
fn octets_of(rule: &Rule) -> Vec<u8> {
    let whole = Input {
        raw: *rule,
        ..Input::of(&[])
    };
    whole.octets()[..RULE].to_vec()
}

/// The callbacks say what `core` says.
pub fn callbacks(octets: &[u8]) {
    for v6 in [false, true] {
        match asked(octets) {
            Asked::Print(rule) => {
                let extension = Extension::begin(v6, 6, false, &rule);
                printed(&extension, &rule);
                // What the kernel gives back may be judged as well.
                let _ = extension.check();
                extension.option_codes_of_others(octets);
            }
            Asked::Words(protocol, words) => read(v6, protocol, &words),
        }
    }
}

impl Extension {
    fn option_codes_of_others(&self, octets: &[u8]) {
        let code = octets
            .iter()
            .fold(0i32, |code, octet| code << 8 ^ i32::from(*octet));
        if usize::try_from(code).map_or(true, |code| code >= Opt::ALL.len()) {
            // SAFETY: `begin` was called, and libxtables may ask about any code.
            unsafe { fuzz_foreign_code(code) };
        }
    }
}

fn printed(extension: &Extension, rule: &Rule) {
    for (what, numeric) in [(0, false), (1, true)] {
        let listed = extension.print(what);
        assert_eq!(listed, format!(" {}", text::list(rule, numeric)));
    }
    let saved = match rule.set {
        0 => String::new(),
        _ => format!(" {}", text::save(rule)),
    };
    assert_eq!(extension.print(2), saved);
}

/// Words as getopt_long parts them, up to the first that is no option.
fn read(v6: bool, protocol: u8, words: &[&[u8]]) {
    let extension = Extension::begin(v6, protocol, false, &Rule::default());
    let mut seen = Vec::new();
    let mut inverted = false;
    let mut given = false;
    let mut words = words.iter();
    let mut refused = None;
    while let Some(word) = words.next() {
        // No argument has a NUL in it.
        if word.contains(&0) {
            break;
        }
        if *word == b"!" {
            if inverted {
                break;
            }
            inverted = true;
            continue;
        }
        let (name, joined) = match word.iter().position(|octet| *octet == b'=') {
            Some(at) => (&word[..at], Some(&word[at + 1..])),
            None => (&word[..], None),
        };
        let Some(name) = name
            .strip_prefix(b"--")
            .and_then(|name| CString::new(name).ok())
        else {
            break;
        };
        let Some((code, has_value)) = extension.code(&name) else {
            let name = name.to_str().ok();
            assert_eq!(name.and_then(Opt::from_name), None, "{name:?} is an option");
            break;
        };
        let value = match (has_value, joined) {
            (true, None) => words.next().copied(),
            (true, joined) => joined,
            (false, _) => None,
        };
        // getopt_long itself says that a value is missing, or one too many.
        if (has_value && value.is_none()) || (!has_value && joined.is_some()) {
            break;
        }
        let Ok(value) = value.map(CString::new).transpose() else {
            break;
        };
        let text = value.as_ref().map(|value| value.to_str());
        let opt = name
            .to_str()
            .ok()
            .and_then(Opt::from_name)
            .expect("an option");
        if let Some(Err(_)) = text {
            let line = extension.option(code, inverted, value.as_deref());
            let wanted = Error::Option(opt, Problem::NotText);
            assert_eq!(line, Err(format!("dnp3: {wanted}")));
            return;
        }
        if inverted {
            seen.push("!".to_owned());
        }
        seen.push(format!("--{}", opt.name()));
        seen.extend(text.and_then(Result::ok).map(str::to_owned));
        given = true;
        if let Err(line) = extension.option(code, inverted, value.as_deref()) {
            refused = Some(line);
            break;
        }
        inverted = false;
    }
    let wanted = parsed(&seen, protocol);
    let got = match refused {
        Some(line) => Err(line),
        None => extension.check(),
    };
    match (got, wanted) {
        (Ok(()), Ok(rule)) => {
            assert_eq!(extension.rule(), rule);
            printed(&extension, &rule);
        }
        (Err(line), Err(error)) => {
            one_line(&line);
            assert_eq!(line, format!("dnp3: {error}"));
        }
        // Without an option the extension is not asked: the kernel refuses the rule.
        (Ok(()), Err(Error::Protocol)) if !given => {}
        (got, wanted) => panic!("callbacks {got:?}, core {wanted:?}: {seen:?}"),
    }
}
