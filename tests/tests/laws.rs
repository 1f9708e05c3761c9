// SPDX-License-Identifier: GPL-2.0

//! Laws of the rule language that need no second judge: what holds between the answers to two
//! questions, whatever the answers are. `core` alone is asked.

use dnp3_core::rule::{frames, option, status};
use dnp3_core::{judge, Headers, Octets, Rule, Verdict};
use dnp3_tests::generate::{
    self, with_status, without, Case, Chunk, End, Shape, Transport, FRAME_OPTIONS,
};
use dnp3_tests::odd::Odd;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, Index};
use std::cell::Cell;

const TCP: Transport = Transport::PLAIN_TCP;
const UDP: Transport = Transport::PLAIN_UDP;

fn any_transport() -> impl Strategy<Value = Transport> {
    prop_oneof![generate::tcp(), generate::udp()]
}

fn right_transport() -> impl Strategy<Value = Transport> {
    select(vec![TCP, UDP])
}

fn sent(transport: Transport, payload: &[u8]) -> (Vec<u8>, Headers) {
    Shape::plain(transport).packet(payload)
}

fn matches(rule: &Rule, (octets, headers): &(Vec<u8>, Headers)) -> bool {
    judge(rule, &Octets(octets), headers) == Verdict::Match
}

fn is_status(status: u8, packet: &(Vec<u8>, Headers)) -> bool {
    let rule = Rule {
        set: option::STATUS,
        status,
        ..Rule::default()
    };
    matches(&rule, packet)
}

fn read_only(rule: &Rule) -> Rule {
    generate::with_reading(rule, false)
}

fn read_any(rule: &Rule) -> Rule {
    generate::with_reading(rule, true)
}

/// The rule without `--status`.
fn of_frames(rule: &Rule) -> Rule {
    without(rule, option::STATUS)
}

/// The rule with `--status valid`.
fn and_valid(rule: &Rule) -> Rule {
    with_status(rule, status::VALID)
}

fn octets(chunks: &[Chunk]) -> Vec<u8> {
    chunks.iter().flat_map(|chunk| chunk.octets(None)).collect()
}

/// Runs a law on generated values, and fails where its condition was met too rarely to say
/// anything.
fn law<S: Strategy>(
    least: u32,
    strategy: S,
    test: impl Fn(S::Value, &Cell<u32>) -> Result<(), TestCaseError>,
) {
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig {
        cases: 6_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let met = Cell::new(0);
    if let Err(error) = runner.run(&strategy, |value| test(value, &met)) {
        panic!("{error}");
    }
    assert!(met.get() >= least, "met {} times only", met.get());
}

fn meet(met: &Cell<u32>) {
    met.set(met.get() + 1);
}

fn packets(case: &Case) -> Vec<(Vec<u8>, Headers)> {
    let payload = case.payload();
    let lengths = case.lengths(payload.len());
    lengths
        .into_iter()
        .map(|len| case.shape.packet(&payload[..len]))
        .collect()
}

#[test]
fn what_is_surely_p_may_be_p_and_is_valid() {
    law(2_000, generate::case(any_transport()), |case, met| {
        for packet in packets(&case) {
            for rule in &case.rules {
                if matches(&read_only(rule), &packet) {
                    meet(met);
                    prop_assert!(matches(&read_any(rule), &packet), "{:?} {:?}", rule, packet);
                    prop_assert!(
                        matches(&and_valid(&read_only(rule)), &packet),
                        "{:?} {:?}",
                        rule,
                        packet
                    );
                }
            }
        }
        Ok(())
    });
}

#[test]
fn an_option_more_never_matches_more() {
    law(6_000, generate::case(any_transport()), |case, met| {
        for packet in packets(&case) {
            for rule in &case.rules {
                // With one that stays, so that it is a frame test before and after.
                for rule in [read_only(rule), read_any(rule)] {
                    if !matches(&rule, &packet) {
                        continue;
                    }
                    for option in FRAME_OPTIONS.into_iter().chain([option::STATUS]) {
                        if rule.set & option != 0 {
                            meet(met);
                            let wider = without(&rule, option);
                            prop_assert!(
                                matches(&wider, &packet),
                                "without {}: {:?} {:?}",
                                option,
                                rule,
                                packet
                            );
                        }
                    }
                }
            }
        }
        Ok(())
    });
}

#[test]
fn on_valid_packets_every_frame_is_p_unless_some_frame_is_not() {
    let strategy = (
        vec(generate::valid_frame(), 1..5),
        right_transport(),
        generate::rule(),
    );
    law(1_000, strategy, |(chunks, transport, rule), met| {
        let packet = sent(transport, &octets(&chunks));
        prop_assert!(is_status(status::VALID, &packet), "{:?}", packet);
        let rule = of_frames(&rule);
        let given = rule.set & !option::FRAMES;
        if !FRAME_OPTIONS.contains(&given) {
            return Ok(());
        }
        meet(met);
        let not = Rule {
            invert: rule.invert ^ given,
            ..rule
        };
        prop_assert_eq!(
            matches(&read_only(&rule), &packet),
            !matches(&read_any(&not), &packet),
            "{:?} {:?}",
            rule,
            packet
        );
        Ok(())
    });
}

#[test]
fn a_packet_has_one_status_and_an_inverted_set_is_the_rest() {
    law(6_000, generate::case(any_transport()), |case, met| {
        for packet in packets(&case) {
            let matched: Vec<u8> = (1..16).filter(|&set| is_status(set, &packet)).collect();
            if matched.is_empty() {
                // Never a match, or dropped on the spot: so it is under every set.
                continue;
            }
            meet(met);
            let single: Vec<u8> = [1, 2, 4, 8]
                .into_iter()
                .filter(|bit| matched.contains(bit))
                .collect();
            prop_assert_eq!(single.len(), 1, "{:?} {:?}", single, packet);
            for set in 1..16 {
                prop_assert_eq!(matched.contains(&set), set & single[0] != 0);
                let rule = Rule {
                    set: option::STATUS,
                    invert: option::STATUS,
                    status: set,
                    ..Rule::default()
                };
                prop_assert_eq!(matches(&rule, &packet), set & single[0] == 0);
            }
        }
        Ok(())
    });
}

#[test]
fn nothing_around_a_frame_hides_it_from_any() {
    let strategy = (
        generate::valid_frame(),
        vec(generate::chunk(), 0..4),
        vec(generate::chunk(), 0..3),
        right_transport(),
        vec(generate::rule(), 3),
        any::<Index>(),
        generate::junk(1..2),
    );
    law(
        6_000,
        strategy,
        |(frame, before, behind, transport, rules, cut, last), met| {
            let frame = octets(&[frame]);
            let before = octets(&before);
            let mut payload = [&before[..], &frame, &octets(&behind)].concat();
            payload.extend(last);
            // Cut anywhere behind the frame's first octet.
            let len = before.len() + 1 + cut.index(payload.len() - before.len());
            let packet = sent(transport.clone(), &payload[..len]);
            if is_status(status::VALID, &packet) {
                // Cut where all is made of frames: what lies inside them is not looked at.
                return Ok(());
            }
            let alone = sent(transport, &frame);
            for rule in rules {
                let rule = read_any(&of_frames(&rule));
                if matches(&rule, &alone) {
                    meet(met);
                    prop_assert!(matches(&rule, &packet), "{:?} {:?}", rule, packet);
                }
            }
            Ok(())
        },
    );
}

#[test]
fn the_beginning_of_a_valid_payload_is_valid_partial_or_nothing() {
    let strategy = vec(generate::valid_frame(), 1..6);
    law(6_000, strategy, |chunks, met| {
        let payload = octets(&chunks);
        let mut boundaries = vec![0];
        for end in 1..=chunks.len() {
            boundaries.push(octets(&chunks[..end]).len());
        }
        for len in 0..=payload.len() {
            meet(met);
            let boundary = boundaries.contains(&len);
            let (tcp, udp) = match (len, boundary) {
                (0, _) => (status::NONE, status::NONE),
                (_, true) => (status::VALID, status::VALID),
                (_, false) => (status::PARTIAL, status::MALFORMED),
            };
            let payload = &payload[..len];
            prop_assert!(is_status(tcp, &sent(TCP, payload)), "{} {:?}", len, chunks);
            prop_assert!(is_status(udp, &sent(UDP, payload)), "{} {:?}", len, chunks);
        }
        Ok(())
    });
}

#[test]
fn memory_in_odd_pieces_changes_nothing() {
    law(6_000, generate::case(any_transport()), |case, met| {
        for (octets, headers) in packets(&case) {
            for rule in &case.rules {
                let whole = judge(rule, &Octets(&octets), &headers);
                for linear in &case.linear {
                    meet(met);
                    let odd = Odd::new(&octets, linear.index(octets.len() + 1));
                    prop_assert_eq!(judge(rule, &odd, &headers), whole);
                    prop_assert_eq!(odd.fetched_twice(), None);
                }
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_no_payload_changes_nothing() {
    let strategy = (
        generate::case(right_transport()),
        any::<u8>(),
        any::<bool>(),
        generate::junk(0..40),
    );
    law(
        6_000,
        strategy,
        |(case, network, with_options, padding), met| {
            let plain = Shape::plain(case.shape.transport.clone());
            let dressed = Shape {
                transport: match &plain.transport {
                    Transport::Tcp { flags, .. } if with_options => Transport::Tcp {
                        options: 10,
                        data_offset: None,
                        flags: *flags,
                    },
                    transport => transport.clone(),
                },
                network,
                padding,
                end: End::Right,
                ..plain.clone()
            };
            let payload = case.payload();
            for len in case.lengths(payload.len()) {
                for rule in &case.rules {
                    meet(met);
                    prop_assert_eq!(
                        matches(rule, &plain.packet(&payload[..len])),
                        matches(rule, &dressed.packet(&payload[..len]))
                    );
                }
            }
            Ok(())
        },
    );
}

#[test]
fn a_bare_rule_is_only_with_p_true() {
    law(6_000, generate::case(any_transport()), |case, met| {
        let only = read_only(&Rule::default());
        assert_eq!(only.frames, frames::ONLY);
        for packet in packets(&case) {
            meet(met);
            prop_assert_eq!(matches(&Rule::default(), &packet), matches(&only, &packet));
        }
        Ok(())
    });
}
