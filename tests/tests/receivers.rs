// SPDX-License-Identifier: GPL-2.0

//! What rules let through, and what receivers make of it: `core`'s judgement held to models of
//! receivers (`dnp3_tests::receivers`), on millions of generated sequences of packets.
//!
//! The laws:
//!
//! 1. *`only` lets nothing else through.* Of the packets that rules with `--frames only` accept, in
//!    order, every receiver delivers exactly the frames that were judged, holds nothing back at a
//!    packet's end, and executes nothing that the rule which accepted it does not allow. So it is
//!    whatever becomes of packets that are not accepted: UDP goes on without them, and an honest TCP,
//!    which can only say the same again, goes no further.
//! 2. *`any` misses nothing.* Of each frame that a receiver delivers, whatever state it was in before:
//!    the packet that holds the frame's first octet is matched by `--frames any` when the frame
//!    satisfies the options. So it is with each function that is executed and the first octet of its
//!    first segment. There is one exception: a packet of valid frames is taken for just these
//!    frames, which is what a receiver makes of it that stands on a frame boundary. One that is inside a
//!    frame may find others.
//!
//! `DNP3_TESTS_TIMES=20` runs so many times as many.

use dnp3_core::frame::{Class, Event, Walk};
use dnp3_core::rule::{class, option};
use dnp3_core::{judge, Headers, Octets, Rule, Verdict};
use dnp3_tests::frames::{self, frame};
use dnp3_tests::generate::{with_reading, Segment, Shape, Transport};
use dnp3_tests::naive::{self, Status};
use dnp3_tests::receivers::{Frame, Receiver, Recovery, Station, Tcp};
use dnp3_tests::sequences::{
    not, of_functions, sequence, to_stations, Dice, Pool, Sequence, STATIONS,
};
use dnp3_tests::vectors::{
    CARRIER_B, COLD_RESTART, CONT_RESTART, FRAME_IN_FRAME, INNER, READ, REQUEST_LINK_STATUS,
    SHORT_FIR_1, SHORT_FIR_2,
};
use std::fmt;

/// What a test has counted.
#[derive(Default)]
struct Tally {
    sequences: u64,
    packets: u64,
    verdicts: u64,
    /// Verdicts that a rule matches: under `only`, accepted packets.
    matched: u64,
    /// Those behind another in the same sequence.
    behind: u64,
    frames: u64,
    executed: u64,
    /// What it takes for the law to say something; each test has its own.
    special: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sequences, {} packets, {} verdicts, {} that match, {} of them behind another, \
             {} frames delivered, {} functions executed",
            self.sequences,
            self.packets,
            self.verdicts,
            self.matched,
            self.behind,
            self.frames,
            self.executed,
        )
    }
}

type Law = fn(&Sequence, &mut Tally) -> Result<(), String>;

const SEQUENCES_OF_A_POOL: u64 = 100_000;

/// Holds a law to generated sequences. A sequence that breaks it is made smaller before it is shown.
fn hold(name: &str, special: &str, first_seed: u64, pools: u64, law: Law) -> Tally {
    let times = std::env::var("DNP3_TESTS_TIMES").ok().map_or(1, |times| {
        times.parse().expect("DNP3_TESTS_TIMES is a number")
    });
    let mut tally = Tally::default();
    for round in 0..pools * times {
        let pool = Pool::new(first_seed + round);
        let mut dice = Dice(first_seed + round);
        for _ in 0..SEQUENCES_OF_A_POOL {
            let sequence = sequence(&mut dice, &pool);
            if law(&sequence, &mut tally).is_err() {
                let (least, why) = smallest(sequence, law);
                panic!("{name}: {why}\n{least:?}");
            }
            tally.sequences += 1;
        }
    }
    println!("receivers, {name}: {tally}, {} {special}", tally.special);
    tally
}

/// Leaves out of a sequence what it does not need to break a law.
fn smallest(sequence: Sequence, law: Law) -> (Sequence, String) {
    let broken = |sequence: &Sequence| law(sequence, &mut Tally::default()).err();
    let mut least = sequence;
    let mut why = broken(&least).expect("a law is a pure function");
    loop {
        let smaller = smaller(&least);
        let next = smaller
            .into_iter()
            .find_map(|one| broken(&one).map(|why| (one, why)));
        match next {
            Some(next) => (least, why) = next,
            None => return (least, why),
        }
    }
}

/// The sequence with something left out, in each way.
fn smaller(sequence: &Sequence) -> Vec<Sequence> {
    let mut all = Vec::new();
    let mut with = |change: &dyn Fn(&mut Sequence)| {
        let mut one = sequence.clone();
        change(&mut one);
        all.push(one);
    };
    if !sequence.before.is_empty() {
        with(&|one| one.before.clear());
        with(&|one| one.before.truncate(one.before.len() - 1));
    }
    for at in 0..sequence.rules.len() {
        with(&|one| one.rules.retain(|rule| *rule != sequence.rules[at]));
    }
    for at in 0..sequence.packets.len() {
        with(&|one| drop(one.packets.remove(at)));
        for chunk in 0..sequence.packets[at].len() {
            with(&|one| drop(one.packets[at].remove(chunk)));
        }
    }
    all
}

const TCP: Transport = Transport::PLAIN_TCP;
const UDP: Transport = Transport::PLAIN_UDP;

fn is_match(rule: &Rule, transport: Transport, payload: &[u8]) -> bool {
    let (octets, headers): (Vec<u8>, Headers) = Shape::plain(transport).packet(payload);
    judge(rule, &Octets(&octets), &headers) == Verdict::Match
}

fn matches(rule: &Rule, tcp: bool, payload: &[u8]) -> bool {
    is_match(rule, if tcp { TCP } else { UDP }, payload)
}

/// A policy: the first rule that accepts a payload, all of them read as `only`.
fn accepting<'a>(sequence: &'a Sequence, payload: &[u8], tally: &mut Tally) -> Option<&'a Rule> {
    tally.packets += 1;
    sequence.rules.iter().find(|rule| {
        tally.verdicts += 1;
        matches(&with_reading(rule, false), sequence.tcp, payload)
    })
}

/// A frame as `core` cut it: where, how long, and what it took it for.
type Judged = (u64, usize, u8, u16, u16, naive::Class);

/// The frames that `core` cuts a payload into, or why it does not.
fn judged(payload: &[u8], base: u64) -> Result<Vec<Judged>, String> {
    let mut walk = Walk::new();
    let mut frames = Vec::new();
    let (mut from, mut rest) = (0, payload);
    while !rest.is_empty() {
        let event;
        (event, rest) = walk.step(rest);
        match event {
            Event::Wrong => return Err("accepted what is no row of valid frames".into()),
            Event::Frame => {
                let end = payload.len() - rest.len();
                let seen = walk.seen();
                let class = match seen.class {
                    Some(Class::Function(code)) => naive::Class::Function(code),
                    Some(Class::Continuation) => naive::Class::Cont,
                    Some(Class::Link) => naive::Class::Link,
                    None => return Err("accepted a frame of which it knows no class".into()),
                };
                let (Some(control), Some(destination), Some(source)) =
                    (seen.control, seen.destination, seen.source)
                else {
                    return Err("accepted a frame of which it has not seen all".into());
                };
                let from_here = base + from as u64;
                frames.push((from_here, end - from, control.0, destination, source, class));
                from = end;
            }
            Event::Taken | Event::Addressed => {}
        }
    }
    if walk.at_boundary() {
        Ok(frames)
    } else {
        Err("accepted what ends inside a frame".into())
    }
}

/// A delivered frame in the same terms.
fn delivered(frame: &Frame) -> Option<Judged> {
    let classes = frame.classes();
    let [class] = classes[..] else {
        return None;
    };
    Some((
        frame.from,
        frame.size,
        frame.control,
        frame.destination,
        frame.source,
        class,
    ))
}

/// Gives a payload that `core` took for these frames to receivers; fails unless each of them delivers
/// just these, and has nothing left.
fn deliver(
    receivers: &mut [Receiver],
    payload: &[u8],
    judged: &[Judged],
) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    for receiver in receivers {
        frames = receiver.take(payload);
        if !frames
            .iter()
            .map(delivered)
            .eq(judged.iter().copied().map(Some))
        {
            return Err(format!("{receiver:?}\nmade {frames:x?}\nof {judged:x?}"));
        }
        if !receiver.at_boundary() {
            return Err(format!("{receiver:?}\nis not at a frame's end"));
        }
    }
    Ok(frames)
}

/// Gives the frames of an accepted packet to stations; fails when one executes what the rule that
/// accepted it does not allow. `allowed` has the rule for each packet, by its first octet's place.
fn execute(
    stations: &mut [Station],
    frames: &[Frame],
    allowed: &[(u64, Rule)],
    tally: &mut Tally,
) -> Result<(), String> {
    for frame in frames {
        tally.frames += 1;
        let (_, rule) = &allowed[packet_of(allowed, frame.from).ok_or("no packet has it")?];
        if !frame.satisfies(rule, false) {
            return Err(format!("the rule does not allow {frame:x?}"));
        }
        for executed in stations.iter_mut().filter_map(|one| one.take(frame)) {
            tally.executed += 1;
            let (_, rule) =
                &allowed[packet_of(allowed, executed.from).ok_or("no packet has it")?];
            if !executed.satisfies(rule, false) {
                return Err(format!("the rule does not allow {executed:x?}"));
            }
            tally.special += u64::from(executed.destination != executed.station);
        }
    }
    Ok(())
}

/// The packet that an octet is in, of packets that begin at these places.
fn packet_of<T>(begin: &[(u64, T)], octet: u64) -> Option<usize> {
    begin.iter().rposition(|(from, _)| *from <= octet)
}

fn stations() -> Vec<Station> {
    STATIONS.into_iter().map(Station::new).collect()
}

/// Law 1, for packets that come one after the other: UDP, or TCP connections of which each ends at
/// the first packet that is not accepted, and another is opened.
fn only_lets_nothing_else_through(sequence: &Sequence, tally: &mut Tally) -> Result<(), String> {
    let mut receivers = Receiver::all();
    let mut stations = stations();
    let mut allowed: Vec<(u64, Rule)> = Vec::new();
    let mut base = 0;
    for packet in &sequence.packets {
        let payload = packet.concat();
        // Asked again, as often as a sender repeats it, the answer is the same: it is a pure function.
        let Some(rule) = accepting(sequence, &payload, tally) else {
            // A new connection finds the link layer as the old one left it, for nothing is held; the
            // transport function may keep what it has.
            continue;
        };
        tally.matched += 1;
        tally.behind += u64::from(base > 0);
        let judged = judged(&payload, base)?;
        allowed.push((base, *rule));
        let frames = deliver(&mut receivers, &payload, &judged)?;
        execute(&mut stations, &frames, &allowed, tally)?;
        base += payload.len() as u64;
    }
    Ok(())
}

/// Law 1, for a TCP that loses, repeats, joins what it repeats, and sends ahead; honest in that
/// the octets at a place are always the same, and that a segment begins and ends where one did before.
fn only_binds_a_tcp_that_repeats(sequence: &Sequence, tally: &mut Tally) -> Result<(), String> {
    if !sequence.tcp {
        return Ok(());
    }
    let mut dice = Dice(sequence.seed);
    let initial = (dice.number() as u32) | 0xFFFF_FF00;
    // A segment that no rule accepts ends the stream: of those, just a few.
    let segments: Vec<Vec<u8>> = sequence
        .packets
        .iter()
        .map(|one| one.concat())
        .filter(|one| accepting(sequence, one, tally).is_some() || dice.one_in(8))
        .collect();
    let stream = segments.concat();
    let mut begins = vec![0];
    for segment in &segments {
        begins.push(begins[begins.len() - 1] + segment.len());
    }
    let mut tcp = Tcp::new(initial);
    let mut receivers = Receiver::all();
    let mut stations = stations();
    let mut allowed: Vec<Vec<&Rule>> = vec![Vec::new(); segments.len()];
    let mut base = 0usize;
    for _ in 0..4 * segments.len() {
        let due = begins.iter().position(|begin| *begin == base);
        let first = match due {
            Some(due) if due < segments.len() && !dice.one_in(3) => due,
            _ => dice.below(segments.len()),
        };
        let count = 1 + dice.below((segments.len() - first).min(3));
        let payload = &stream[begins[first]..begins[first + count]];
        let Some(rule) = accepting(sequence, payload, tally) else {
            continue;
        };
        tally.matched += 1;
        for rules in &mut allowed[first..first + count] {
            rules.push(rule);
        }
        let at = initial.wrapping_add(begins[first] as u32);
        let fresh = tcp.segment(at, payload, None);
        tally.special += u64::from(!fresh.is_empty() && fresh.len() != payload.len());
        if fresh.is_empty() {
            continue;
        }
        let judged = judged(&fresh, base as u64)?;
        let frames = deliver(&mut receivers, &fresh, &judged)?;
        tally.behind += u64::from(base > 0);
        base += fresh.len();
        if stream[..base] != *[&stream[..base - fresh.len()], &fresh].concat() {
            return Err("the model of TCP delivers another stream".into());
        }
        for frame in &frames {
            tally.frames += 1;
            let rules_of = |octet: u64| {
                let segment = begins.iter().rposition(|begin| *begin as u64 <= octet);
                &allowed[segment.unwrap_or(0).min(segments.len() - 1)]
            };
            let by_one = |rules: &[&Rule]| rules.iter().any(|rule| frame.satisfies(rule, false));
            if !by_one(rules_of(frame.from)) {
                return Err(format!("no rule allows {frame:x?}"));
            }
            for executed in stations.iter_mut().filter_map(|one| one.take(frame)) {
                tally.executed += 1;
                let rules = rules_of(executed.from);
                if !rules.iter().any(|rule| executed.satisfies(rule, false)) {
                    return Err(format!("no rule allows {executed:x?}"));
                }
            }
        }
    }
    Ok(())
}

/// Law 2.
fn any_misses_nothing(sequence: &Sequence, tally: &mut Tally) -> Result<(), String> {
    let rules: Vec<Rule> = sequence
        .rules
        .iter()
        .map(|rule| {
            let rule = Rule {
                set: rule.set & !option::STATUS,
                invert: rule.invert & !option::STATUS,
                status: 0,
                ..*rule
            };
            with_reading(&rule, true)
        })
        .collect();
    // Where each packet begins; whether it is valid, and which rules match it.
    let mut packets: Vec<(u64, (bool, Vec<bool>))> = Vec::new();
    let payloads: Vec<Vec<u8>> = sequence.packets.iter().map(|one| one.concat()).collect();
    let mut base = sequence.before.len() as u64;
    for payload in &payloads {
        tally.packets += 1;
        let is_valid = naive::tcp_status(payload) == Status::Valid;
        let matched: Vec<bool> = rules
            .iter()
            .map(|rule| matches(rule, sequence.tcp, payload))
            .collect();
        tally.verdicts += rules.len() as u64;
        tally.matched += matched.iter().filter(|matched| **matched).count() as u64;
        packets.push((base, (is_valid, matched)));
        base += payload.len() as u64;
    }
    for mut receiver in Receiver::all() {
        let mut stations = stations();
        let mut excepted = Vec::new();
        for frame in receiver.take(&sequence.before) {
            for station in &mut stations {
                station.take(&frame);
            }
        }
        for (payload, (_, (is_valid, _))) in payloads.iter().zip(&packets) {
            // A packet of valid frames is one for a receiver that stands where they begin.
            excepted.push(*is_valid && !receiver.at_boundary());
            for frame in receiver.take(payload) {
                tally.frames += 1;
                let mut missed =
                    |what: &dyn fmt::Debug, octet, satisfies: &dyn Fn(&Rule) -> bool| {
                        let Some(at) = packet_of(&packets, octet) else {
                            return Ok(());
                        };
                        let (_, (_, matched)) = &packets[at];
                        for (rule, matched) in rules.iter().zip(matched) {
                            if *matched || !satisfies(rule) {
                                continue;
                            }
                            if !excepted[at] {
                                return Err(format!(
                                    "{receiver:?}\n{what:x?} of packet {at} is missed"
                                ));
                            }
                            tally.special += 1;
                        }
                        Ok(())
                    };
                missed(&frame, frame.from, &|rule| frame.satisfies(rule, true))?;
                for station in &mut stations {
                    let Some(executed) = station.take(&frame) else {
                        continue;
                    };
                    tally.executed += 1;
                    let satisfies = |rule: &Rule| executed.satisfies(rule, true);
                    missed(&executed, executed.from, &satisfies)?;
                }
            }
        }
    }
    Ok(())
}

#[test]
fn only_lets_nothing_else_through_to_any_receiver() {
    let special = "by an address that others share";
    let law = only_lets_nothing_else_through;
    let tally = hold("only", special, 1, 12, law);
    // Of what was generated, so much has to be more than nothing: about half of what it was.
    assert!(tally.matched > tally.sequences / 2, "{tally}");
    assert!(tally.behind > tally.sequences / 4, "{tally}");
    assert!(tally.executed > tally.sequences / 3, "{tally}");
    assert!(tally.special > tally.sequences / 10, "{tally}");
}

#[test]
fn only_binds_every_tcp_that_repeats_itself() {
    let special = "segments trimmed or joined by the receiver";
    let law = only_binds_a_tcp_that_repeats;
    let tally = hold("only, repeated", special, 1000, 5, law);
    assert!(tally.frames > tally.sequences / 2, "{tally}");
    assert!(tally.behind > tally.sequences / 15, "{tally}");
    assert!(tally.special > tally.sequences / 50, "{tally}");
}

#[test]
fn any_misses_nothing_that_any_receiver_finds() {
    let special = "found inside a valid packet by a receiver that was inside a frame";
    let tally = hold("any", special, 2000, 6, any_misses_nothing);
    assert!(tally.matched > tally.sequences, "{tally}");
    assert!(tally.frames > 10 * tally.sequences, "{tally}");
    assert!(tally.executed > 5 * tally.sequences, "{tally}");
    assert!(tally.special > tally.sequences / 100, "{tally}");
}

#[test]
fn every_control_octet_with_every_short_len() {
    let mut accepted = 0;
    let inner = [&[0; 13][..], COLD_RESTART].concat();
    for control in 0..=255 {
        for transport in [0xC0, 0x40, 0x80, 0x00] {
            let long = [&[transport, 0xC0, 1][..], &inner].concat();
            for len in [0, 1, 2, 3, 4, long.len()] {
                let payload = frame(control, 1, 1024, &long[..len]);
                let bare = Rule::default();
                if matches(&bare, true, &payload) {
                    accepted += 1;
                    let judged = judged(&payload, 0).expect("valid frames");
                    deliver(&mut Receiver::all(), &payload, &judged).expect("the same frames");
                    continue;
                }
                // What is refused here makes a strict receiver search inside: so `any` has to.
                let restart = with_reading(&of_functions(&[13], 0), true);
                let found = executed_of(true, &payload).contains(&13);
                assert!(
                    !found || matches(&restart, true, &payload),
                    "{control:#x} {len}"
                );
            }
        }
    }
    // With user data: 8 control octets, 3 lengths in the 2 transport octets with FIR and 4 in the
    // others. Without: 12 with PRM=1 and 16 with PRM=0, each 4 times.
    let with_user_data = 8 * (2 * 3 + 2 * 4);
    let without = 4 * (12 + 16);
    assert_eq!(accepted, with_user_data + without);
}

/// What station 1 executes of octets, where the receiver searches inside wrong frames.
fn executed_of(strict: bool, octets: &[u8]) -> Vec<u8> {
    executed_by(&mut Station::new(1), strict, octets)
}

fn executed_by(station: &mut Station, strict: bool, octets: &[u8]) -> Vec<u8> {
    let frames = Receiver::new(Recovery::NextOctet, strict).take(octets);
    frames
        .iter()
        .filter_map(|frame| station.take(frame))
        .map(|executed| executed.function)
        .collect()
}

const RESTART: u8 = 13;

/// What the gateway of the README accepts from a master.
fn reads() -> Rule {
    of_functions(&[0, 1, 2], class::LINK)
}

fn reads_and_cont() -> Rule {
    of_functions(&[0, 1, 2], class::LINK | class::CONT)
}

/// What a rule against restarts drops.
fn restarts() -> Rule {
    with_reading(&of_functions(&[RESTART], 0), true)
}

#[test]
fn attack_0_a_frame_inside_a_refused_frame_is_refused() {
    assert_eq!(executed_of(true, FRAME_IN_FRAME), [RESTART]);
    assert!(!matches(&Rule::default(), true, FRAME_IN_FRAME));
    assert!(matches(&restarts(), true, FRAME_IN_FRAME));
}

#[test]
fn attack_1_urgent_data_is_refused() {
    let mut tcp = Tcp::new(1);
    tcp.segment(1, &[], Some(1));
    let stream = tcp.segment(1, CARRIER_B, None);
    assert_eq!(executed_of(true, &stream), [RESTART]);
    assert_eq!(
        executed_of(true, CARRIER_B),
        [1],
        "without the urgent segment"
    );
    let urgent = |rule: &Rule, payload: &[u8]| {
        let transport = Transport::Tcp {
            options: 0,
            data_offset: None,
            flags: 0x38,
        };
        is_match(rule, transport, payload)
    };
    for payload in [&[][..], CARRIER_B, READ] {
        assert!(!urgent(&Rule::default(), payload));
        assert!(urgent(&restarts(), payload));
    }
}

/// Segments of which each is accepted by itself, and which a receiver puts together to something else.
fn accepted_and_executed(next: u32, segments: &[(u32, &[u8])], rule: &Rule) -> Vec<u8> {
    let mut tcp = Tcp::new(next);
    let mut stream = Vec::new();
    for (sequence, payload) in segments {
        assert!(matches(rule, true, payload), "{payload:02x?}");
        assert!(!matches(&restarts(), true, payload), "{payload:02x?}");
        stream.extend(tcp.segment(*sequence, payload, None));
    }
    executed_of(true, &stream)
}

#[test]
fn attack_2_overlap_is_not_bound_without_state() {
    let segments = [(100, REQUEST_LINK_STATUS), (100 + 10 - 28, CARRIER_B)];
    assert_eq!(accepted_and_executed(100, &segments, &reads()), [RESTART]);
}

#[test]
fn attack_3_a_start_before_the_first_octet_is_not_bound_without_state() {
    let isn: u32 = 5;
    let segments = [(isn.wrapping_add(1).wrapping_sub(28), CARRIER_B)];
    assert_eq!(
        accepted_and_executed(isn + 1, &segments, &reads()),
        [RESTART]
    );
}

#[test]
fn attack_4_port_reuse_is_refused() {
    let (before, rest) = CARRIER_B.split_at(INNER.start);
    assert_eq!(executed_of(true, rest), [RESTART]);
    assert!(!matches(&reads(), true, before));
    assert!(!matches(&reads(), true, rest));
    assert!(matches(&restarts(), true, rest));
}

/// A frame's beginning, 28 octets of a READ, behind which a packet's first header stands for its last
/// block: it has a right CRC, as each block has.
fn beginning_that_takes_a_header() -> Vec<u8> {
    let user_data = [&[0xC0, 0xC0, 1][..], &[0; 13]].concat();
    [
        frames::header(5 + 16 + 8, 0xC4, 1, 1024),
        frames::blocks(&user_data),
    ]
    .concat()
}

#[test]
fn attack_5_mixing_is_refused_by_only() {
    let beginning = beginning_that_takes_a_header();
    let mixed = [&beginning[..], CARRIER_B].concat();
    assert_eq!(executed_of(true, &mixed), [1, RESTART]);
    for end in 1..=beginning.len() {
        assert!(!matches(&Rule::default(), true, &beginning[..end]), "{end}");
    }
}

#[test]
fn attack_5_mixing_is_not_bound_by_any_where_all_else_is_accepted() {
    // What `any` says of each packet is right, and a policy made of nothing else lets both through:
    // who drops by `any` must not accept what is partial.
    let beginning = beginning_that_takes_a_header();
    assert!(!matches(&restarts(), true, &beginning));
    assert!(!matches(&restarts(), true, CARRIER_B));
    let partial = Rule {
        set: option::STATUS,
        status: dnp3_core::rule::status::PARTIAL,
        ..Rule::default()
    };
    assert!(matches(&partial, true, &beginning));
}

#[test]
fn attack_6_a_restart_behind_a_forged_ack_is_refused() {
    // Whatever came before at its sequence number, it is judged by itself.
    assert!(!matches(&reads(), true, COLD_RESTART));
    assert!(matches(&restarts(), true, COLD_RESTART));
}

#[test]
fn attack_7_a_function_code_in_the_next_frame_is_refused() {
    let both = [SHORT_FIR_1, SHORT_FIR_2].concat();
    assert_eq!(executed_of(true, &both), [RESTART]);
    for payload in [SHORT_FIR_1, &both] {
        assert!(!matches(&Rule::default(), true, payload));
        assert!(matches(&restarts(), true, payload));
    }
    assert!(!matches(&reads(), true, SHORT_FIR_2));
    assert!(matches(&reads_and_cont(), true, SHORT_FIR_2));
    assert_eq!(executed_of(true, SHORT_FIR_2), [], "it follows no FIR");
}

#[test]
fn attack_8_broadcast_is_refused() {
    let for_others = not(&to_stations(&Rule::default(), &[(1, 1)]));
    for destination in 65532..=65535 {
        let payload = frame(0xC4, destination, 1024, &[0xC0, 0xC0, RESTART]);
        assert_eq!(executed_of(true, &payload), [RESTART]);
        assert!(!matches(&for_others, true, &payload));
        let to_1 = with_reading(&to_stations(&restarts(), &[(1, 1)]), true);
        assert!(matches(&to_1, true, &payload));
    }
}

#[test]
fn attack_9_coalesced_datagrams_are_refused() {
    let coalesced = Transport::Udp {
        length_error: 0,
        segment: Segment::Octets(INNER.start as u16),
    };
    let (_, second) = CARRIER_B.split_at(INNER.start);
    assert_eq!(executed_of(true, second), [RESTART]);
    assert!(matches(&reads(), false, CARRIER_B), "as one datagram");
    assert!(!is_match(&Rule::default(), coalesced.clone(), CARRIER_B));
    assert!(is_match(&restarts(), coalesced, CARRIER_B));
}

#[test]
fn attack_10_a_restart_in_a_continuation_is_refused_where_cont_is_not_listed() {
    assert!(!matches(&reads(), true, CONT_RESTART));
    // Where it is, conforming stations discard it, and those that do not look at FIR are not bound.
    assert!(matches(&reads_and_cont(), true, CONT_RESTART));
    assert_eq!(executed_of(true, CONT_RESTART), []);
    let mut simulator = Station::that_ignores_fir(1);
    assert_eq!(executed_by(&mut simulator, true, CONT_RESTART), [RESTART]);
}

#[test]
fn a_tcp_that_cuts_its_octets_anew_is_not_bound_without_state() {
    // The octets at each place are always the same, but a segment begins inside another: what a TCP
    // does that repeats in other pieces than before. Three READs go through, of two of which the
    // receiver makes another function.
    //
    //   0        28          43        53 56          73
    //   | outer: READ        | whatever           |     as the receiver cuts it
    //            | inner: READ            |
    //                                     | last: READ |
    let header = frames::header(5 + 16, 0xC4, 1, 1024);
    let start = [0xC0, 0xC0, 1];
    let outer = [&start[..], &[0; 13], &header, &start].concat();
    let outer = frame(0xC4, 1, 1024, &outer);
    // The inner one's block goes on with the outer one's CRC and the next header, and ends in the
    // transport octet behind it; its CRC are application control and function code.
    let (hidden, function) = (0xC0..=0xFF)
        .find_map(|transport| {
            let block = [&start[..], &outer[41..], &header, &[transport]].concat();
            let [application, function] = frames::crc(&block).to_le_bytes();
            (function > 2).then_some(([transport, application, function], function))
        })
        .expect("other functions than three");
    // The last one's user data has the CRC of the block that the receiver takes it for.
    let last = frame(0xC4, 1, 1024, &[0xC0, 0xC0, 1, 0, 0]);
    let [low, high] = frames::crc(&[&hidden[..], &last[..13]].concat()).to_le_bytes();
    let last = frame(0xC4, 1, 1024, &[0xC0, 0xC0, 1, low, high]);
    let stream = [&outer[..], &header, &hidden, &last].concat();
    let segments = [
        (28, &stream[28..56]),
        (0, &stream[..43]),
        (56, &stream[56..]),
    ];
    let executed = accepted_and_executed(0, &segments, &reads());
    assert_eq!(executed, [1, function]);
    // In the order of the stream nothing of it comes through but the first.
    assert!(matches(&reads(), true, &stream[..43]));
    for end in 44..=stream.len() {
        assert!(!matches(&reads(), true, &stream[43..end]), "{end}");
    }
}
