// SPDX-License-Identifier: GPL-2.0

//! The target that reads and prints rules in the rule language.
//!
//! ```text
//! protocol | what | words, each ended by a line feed or a space
//! ```
//! With an odd `what` the octets behind are no words but a rule as the kernel gives it back.

use dnp3_core::rule::protocol;
use dnp3_core::text::{self, Builder, Error, Opt, Problem};
use dnp3_core::Rule;

use crate::input::rule_of;

/// What an input of the language asks for.
pub enum Asked<'a> {
    /// Read these words, in a rule of this protocol.
    Words(u8, Vec<&'a [u8]>),
    /// Print this rule.
    Print(Rule),
}

/// What the octets mean.
pub fn asked(octets: &[u8]) -> Asked<'_> {
    let [protocol, what, rest @ ..] = octets else {
        return Asked::Words(0, Vec::new());
    };
    if what & 1 != 0 {
        return Asked::Print(rule_of(rest));
    }
    // A space parts words; two are an empty word, which an argument may well be.
    let words = rest.split(|octet| *octet == b' ');
    Asked::Words(*protocol, words.collect())
}

/// What `core` makes of words, octets that may be no text among them.
pub fn parsed<'a>(words: &'a [String], protocol: u8) -> Result<Rule, Error<'a>> {
    text::parse(words.iter().map(String::as_str), protocol)
}

/// Parser and printer mirror each other, agree with the kernel's check, say what is wrong in one
/// line, and bear everything.
pub fn language(octets: &[u8]) {
    match asked(octets) {
        Asked::Print(rule) => {
            one_line(&text::save(&rule).to_string());
            for numeric in [false, true] {
                one_line(&text::list(&rule, numeric).to_string());
            }
            // The kernel's check bears it too, and has a reason.
            for protocol in [protocol::TCP, protocol::UDP, 0] {
                for inverted in [false, true] {
                    if let Err(invalid) = rule.check(protocol, inverted) {
                        one_line(invalid.reason());
                    }
                }
            }
            let _ = Builder::resume(rule).finish(protocol::UDP, false);
            // What the kernel takes and a rule can say is saved so that it is read as the same.
            let saved = text::save(&rule).to_string();
            if let Ok(again) = text::parse(saved.split_whitespace(), protocol::TCP) {
                if rule.check(protocol::TCP, false) == Ok(()) {
                    assert_eq!(again, rule, "{saved}");
                }
            }
        }
        Asked::Words(protocol, words) => {
            let words: Vec<String> = words
                .into_iter()
                .map(|word| String::from_utf8_lossy(word).into_owned())
                .collect();
            let parsed = parsed(&words, protocol);
            match &parsed {
                Ok(rule) => accepted(rule, protocol),
                Err(error) => {
                    let line = error.to_string();
                    one_line(&line);
                    assert!(!line.is_empty() && line.len() < 2_000, "{line:?}");
                }
            }
            assert_eq!(option_by_option(&words, protocol), parsed, "{words:?}");
            one_line_each(&text::help().to_string());
        }
    }
}

fn accepted(rule: &Rule, protocol: u8) {
    assert_eq!(rule.check(protocol, false), Ok(()), "{rule:?}");
    let saved = text::save(rule).to_string();
    one_line(&saved);
    let again = text::parse(saved.split_whitespace(), protocol);
    assert_eq!(again.as_ref(), Ok(rule), "{saved}");
    for numeric in [false, true] {
        one_line(&text::list(rule, numeric).to_string());
    }
}

/// The same by the other entry: options one after the other, each put down and taken up again, as
/// libxtables hands them over. Words that are no options are left to the first entry.
fn option_by_option(words: &[String], protocol: u8) -> Result<Rule, Error<'_>> {
    let parsed = parsed(words, protocol);
    let mut rule = Rule::default();
    let mut inverted = false;
    let mut words = words.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "!" {
            if inverted {
                return Err(Error::DanglingInversion);
            }
            inverted = true;
            continue;
        }
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let Some(opt) = name.strip_prefix("--").and_then(Opt::from_name) else {
            // What is no option is getopt's to refuse.
            return match parsed {
                Err(Error::UnknownOption(..)) => parsed,
                other => panic!("{word:?} is no option, and {other:?}"),
            };
        };
        let value = match (opt.value().is_some(), joined) {
            (true, None) => words.next(),
            (true, joined) => joined,
            (false, Some(_)) => return Err(Error::Option(opt, Problem::NeedsNone)),
            (false, None) => None,
        };
        let mut builder = Builder::resume(rule);
        let before = rule;
        let taken = builder.option(opt, inverted, value);
        rule = *builder.rule();
        if let Err(error) = taken {
            assert_eq!(rule, before, "what is refused changes nothing");
            return Err(error);
        }
        inverted = false;
    }
    if inverted {
        return Err(Error::DanglingInversion);
    }
    Builder::resume(rule).finish(protocol, false)
}

/// Whatever an admin wrote, no line feed and no escape sequence of a terminal comes back.
pub fn one_line(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}

fn one_line_each(text: &str) {
    text.lines().for_each(one_line);
}
