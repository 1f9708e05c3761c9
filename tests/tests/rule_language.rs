// SPDX-License-Identifier: GPL-2.0

//! The rule language on random rules: what is saved is restored to the same octets, and what is
//! refused as never matching is exactly what never matches.

use dnp3_core::frame::{Class, Seen};
use dnp3_core::link::Control;
use dnp3_core::rule::{frames, protocol, Range, MAX_RANGES};
use dnp3_core::text::{list, parse, save, Builder, Error, Never, Opt};
use dnp3_core::{judge, Fragment, Headers, Octets, Rule, Verdict};
use dnp3_tests::frames::frame;
use dnp3_tests::generate::rule;
use proptest::prelude::*;

/// An address, often one at which something changes.
fn address() -> impl Strategy<Value = u16> {
    prop_oneof![
        0..20u16,
        any::<u16>(),
        prop::sample::select(vec![0, 1, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF]),
    ]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![protocol::TCP, protocol::UDP])
}

fn read(text: &str, protocol: u8) -> Result<Rule, Error<'_>> {
    parse(text.split_ascii_whitespace(), protocol)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    /// The generated rules are what the kernel takes, else the other properties say little.
    #[test]
    fn rules_are_well_formed(rule in rule(), protocol in protocol()) {
        prop_assert_eq!(rule.check(protocol, false), Ok(()));
    }

    /// Saved, and read again: the same octets and the same text. Only what can never match is
    /// refused.
    #[test]
    fn saved_is_restored(rule in rule(), protocol in protocol()) {
        let text = save(&rule).to_string();
        match (Builder::resume(rule).finish(protocol, false), read(&text, protocol)) {
            (Ok(finished), read) => {
                prop_assert_eq!(finished, rule);
                prop_assert_eq!(read, Ok(rule), "{}", text);
            }
            (Err(refused), read) => {
                prop_assert!(matches!(refused, Error::Never(_)));
                prop_assert_eq!(read, Err(refused), "{}", text);
            }
        }
    }

    /// The listing says all that the saved form says: made into options, it is the same rule,
    /// with names or without.
    #[test]
    fn listed_is_the_same_rule(rule in rule(), numeric in prop::bool::ANY) {
        let listed = list(&rule, numeric).to_string();
        let mut builder = Builder::new();
        let mut words = listed.split_ascii_whitespace();
        prop_assert_eq!(words.next(), Some("dnp3"));
        let mut inverted = false;
        while let Some(word) = words.next() {
            if word == "!" {
                inverted = true;
                continue;
            }
            let opt = Opt::from_name(word);
            let opt = opt.ok_or_else(|| TestCaseError::fail(listed.clone()))?;
            prop_assert_eq!(builder.option(opt, inverted, words.next()), Ok(()), "{}", listed);
            inverted = false;
        }
        prop_assert_eq!(*builder.rule(), rule, "{}", listed);
    }

    /// Lists of any items in any order are the union of the items, its ranges as few as can be.
    #[test]
    fn lists_are_unions(items in prop::collection::vec((address(), address()), 1..40)) {
        let mut text = String::new();
        let mut sorted = Vec::new();
        for (a, b) in items {
            let (min, max) = (a.min(b), a.max(b));
            sorted.push((min, max));
            let item = match (min, max) {
                (0, max) if max % 2 == 0 => format!(":{max}"),
                (min, u16::MAX) => format!("{min}:"),
                (min, max) if min == max => format!("{min:#x}"),
                (min, max) => format!("{min}:{max}"),
            };
            text += if text.is_empty() { "" } else { "," };
            text += &item;
        }
        sorted.sort_unstable();
        let mut union: Vec<(u16, u16)> = Vec::new();
        for (min, max) in sorted {
            match union.last_mut() {
                Some(last) if u32::from(min) <= u32::from(last.1) + 1 => last.1 = last.1.max(max),
                _ => union.push((min, max)),
            }
        }
        match parse(["--saddr", &text], protocol::TCP) {
            Ok(rule) => {
                let used = &rule.saddr[..usize::from(rule.saddr_count)];
                let used: Vec<_> = used.iter().map(|range| (range.min, range.max)).collect();
                prop_assert_eq!(used, union, "{}", text);
            }
            Err(error) => {
                let count = format!(" has {} ranges after merging; 8 are allowed", union.len());
                prop_assert!(union.len() > MAX_RANGES);
                prop_assert!(error.to_string().ends_with(&count), "{}", error);
            }
        }
    }

    /// No words at all make the parser panic or loop, and its errors are one line.
    #[test]
    fn any_words(words in prop::collection::vec(
        prop_oneof![
            "--(frames|saddr|daddr|fc|status|dir|track|source-addr|function-code)",
            Just("!".to_string()),
            "[0-9a-fx:,!_ -]{0,12}",
            "(read|link|cont|self|valid|none|any|only|master|restart)(,[0-9a-z:]{0,6}){0,3}",
            ".{0,8}",
        ],
        0..10,
    ), protocol in any::<u8>()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match parse(words, protocol) {
            Ok(rule) => prop_assert_eq!(rule.check(protocol, false), Ok(())),
            Err(error) => {
                let line = error.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            }
        }
    }
}

/// The addresses at which a list's answer changes, and the shared ones.
fn borders(ranges: &[Range]) -> Vec<u16> {
    let mut borders = vec![0, 0xFFFB, 0xFFFC, 0xFFFF];
    for range in ranges {
        borders.extend([
            range.min,
            range.min.wrapping_sub(1),
            range.max,
            range.max.wrapping_add(1),
        ]);
    }
    borders
}

/// Whether one of these packets with one frame, or without any, matches the rule: with each
/// address, class, direction and status that can make a difference.
fn some_packet_matches(rule: &Rule, protocol: u8) -> bool {
    let reading = rule.reading();
    // P is an AND of what is asked of each field, so that each can be chosen by itself.
    let pick = |seen: Vec<Seen>| seen.into_iter().find(|seen| rule.admits(seen, reading));
    let source = pick(Vec::from_iter(borders(&rule.saddr).into_iter().map(
        |source| Seen {
            source: Some(source),
            ..Seen::default()
        },
    )));
    let destination = pick(Vec::from_iter(borders(&rule.daddr).into_iter().map(
        |address| Seen {
            destination: Some(address),
            ..Seen::default()
        },
    )));
    let classes = (0..=255)
        .map(Class::Function)
        .chain([Class::Continuation, Class::Link]);
    let class = pick(Vec::from_iter(classes.map(|class| Seen {
        class: Some(class),
        ..Seen::default()
    })));
    let control = pick(Vec::from([0x80, 0x00].map(|control| Seen {
        control: Some(Control(control)),
        ..Seen::default()
    })));
    // Where P has no solution, any frame is as good as another.
    let dir = control
        .and_then(|seen| seen.control)
        .map_or(0, |control| control.0);
    let (control, user) = match class.and_then(|seen| seen.class) {
        Some(Class::Link) => (dir | 0x49, vec![]),
        Some(Class::Continuation) => (dir | 0x44, vec![0x80, 0xC0, 1]),
        Some(Class::Function(code)) => (dir | 0x44, vec![0xC0, 0xC0, code]),
        None => (dir | 0x44, vec![0xC0, 0xC0, 1]),
    };
    let valid = frame(
        control,
        destination.and_then(|seen| seen.destination).unwrap_or(1),
        source.and_then(|seen| seen.source).unwrap_or(1),
        &user,
    );
    let cut = valid[..valid.len() - 1].to_vec();
    let malformed = [&[0xAA][..], &valid].concat();
    [vec![], valid, cut, malformed].iter().any(|payload| {
        let mut packet = vec![0; if protocol == protocol::TCP { 20 } else { 8 }];
        if protocol == protocol::TCP {
            packet[12] = 5 << 4;
        } else {
            packet[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        }
        packet.extend(payload);
        let headers = Headers {
            transport: 0,
            end: packet.len() as u32,
            protocol,
            fragment: Fragment::Whole,
            udp_segment: 0,
        };
        judge(rule, &Octets(&packet), &headers) == Verdict::Match
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What is accepted can match, and what is refused for never matching does not: of the first
    /// there is a witness, of the second there is none among the packets that could be one.
    #[test]
    fn never_is_exact(rule in rule(), protocol in protocol()) {
        let matches = some_packet_matches(&rule, protocol);
        match Builder::resume(rule).finish(protocol, false) {
            Ok(_) => prop_assert!(matches, "{}", save(&rule)),
            // Under `any`, what is not seen of a frame satisfies even a list that is nothing. Such
            // a rule is refused all the same: nobody means it.
            Err(Error::Never(Never::Nothing(_))) if rule.frames == frames::ANY => {}
            Err(_) => prop_assert!(!matches, "{}", save(&rule)),
        }
    }
}
