// SPDX-License-Identifier: GPL-2.0

//! Sequences of packets, hostile in each way that is known, and rules for them to meet: what models of
//! receivers and a real one are given, to be compared with what the rules judged. The same in each run.

use crate::frames::{self, frame, with_crc};
use crate::generate::{self, Edit};
use dnp3_core::rule::{class, option, Range};
use dnp3_core::Rule;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::fmt;

/// Numbers that look random and are the same in each run (splitmix64).
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// Whether it is the one time in so many.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Any octet.
    pub fn octet(&mut self) -> u8 {
        self.number() as u8
    }

    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

/// What sequences are made of. Making it takes longer than using it, so it is used many times.
#[derive(Debug)]
pub struct Pool {
    valid: Vec<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    straddling: Vec<[Vec<u8>; 2]>,
    edits: Vec<Edit>,
    rules: Vec<Rule>,
}

fn sample<S: Strategy>(strategy: S, runner: &mut TestRunner, count: usize) -> Vec<S::Value> {
    let mut one = || strategy.new_tree(runner).expect("a value").current();
    (0..count).map(|_| one()).collect()
}

impl Pool {
    /// Each round's is another.
    ///
    /// # Panics
    ///
    /// When a strategy has no value, which none of ours is without.
    pub fn new(round: u64) -> Pool {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&round.to_le_bytes());
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let octets = |chunks: Vec<generate::Chunk>| -> Vec<Vec<u8>> {
            chunks.iter().map(|chunk| chunk.octets(None)).collect()
        };
        let valid = octets(sample(generate::valid_frame(), &mut runner, 2_000));
        let chunks = octets(sample(generate::chunk(), &mut runner, 3_000));
        let edits = sample(generate::edit(), &mut runner, 1_000);
        let mut rules = sample(generate::rule(), &mut runner, 1_500);
        // As many that let much through, or no frame would ever follow another.
        rules.extend(usual_rules().into_iter().cycle().take(1_500));
        Pool {
            valid,
            chunks,
            straddling: (0..4).map(straddling).collect(),
            edits,
            rules,
        }
    }
}

/// Two frames of which the first ends in `05 64`, so that a header with a right CRC stands where they
/// meet: seen by whoever lost the first.
fn straddling(kind: u8) -> [Vec<u8>; 2] {
    let first = (0..=u16::MAX)
        .map(|number| {
            let [low, high] = number.to_le_bytes();
            frame(0xC4, 1, 1024, &[0xC0, 0xC0, 1, low, high])
        })
        .find(|frame| frame.ends_with(&[0x05, 0x64]))
        .expect("a CRC of every value");
    let user_data = [0xC0, 0xC0, 1, kind, 0];
    let user_data = &user_data[..3 + usize::from(kind / 2)];
    let control = if kind % 2 == 0 { 0xC4 } else { 0xF3 };
    let second = frame(control, 10, 0, user_data);
    // The header at the first one's CRC has the source of the second in its own CRC's place.
    let header = with_crc(&[&[0x05, 0x64], &second[..6]].concat());
    let source = u16::from_le_bytes([header[8], header[9]]);
    [first, frame(control, 10, source, user_data)]
}

/// The rule whose `--fc` lists these functions and classes.
pub fn of_functions(functions: &[u8], classes: u8) -> Rule {
    let mut rule = Rule {
        set: option::FC,
        classes,
        ..Rule::default()
    };
    for code in functions {
        rule.fc[usize::from(code / 32)] |= 1 << (code % 32);
    }
    rule
}

/// The rule with `--daddr`, of these ranges.
pub fn to_stations(rule: &Rule, ranges: &[(u16, u16)]) -> Rule {
    let mut rule = Rule {
        set: rule.set | option::DADDR,
        daddr_count: ranges.len() as u8,
        ..*rule
    };
    for (place, (min, max)) in rule.daddr.iter_mut().zip(ranges) {
        *place = Range {
            min: *min,
            max: *max,
        };
    }
    rule
}

/// The rule with each of its options inverted.
pub fn not(rule: &Rule) -> Rule {
    Rule {
        invert: rule.set & option::INVERTIBLE,
        ..*rule
    }
}

/// Rules like those that people write.
fn usual_rules() -> Vec<Rule> {
    let bare = Rule::default();
    let requests = of_functions(&[0, 1, 2], class::LINK);
    let with_cont = of_functions(&[0, 1, 2, 129, 130], class::LINK | class::CONT);
    let no_restart = not(&of_functions(&[13, 14], 0));
    vec![
        bare,
        requests,
        with_cont,
        no_restart,
        to_stations(&bare, &[(1, 20)]),
        to_stations(&with_cont, &[(1, 1), (10, 20), (65533, 65535)]),
        to_stations(&bare, &[(0, 65531)]),
        not(&to_stations(&bare, &[(1, 1)])),
        not(&to_stations(&bare, &[(1, 1), (65533, 65535)])),
        to_stations(&no_restart, &[(1, 1), (1024, 1024), (65532, 65532)]),
    ]
}

/// A sequence of packets, and the rules that they meet.
#[derive(Clone)]
pub struct Sequence {
    /// TCP, and else UDP.
    pub tcp: bool,
    /// Octets that a receiver had before, for which no rule was asked.
    pub before: Vec<u8>,
    /// Each packet's payload, in pieces that are left out one by one when a law is broken.
    pub packets: Vec<Vec<Vec<u8>>>,
    /// The rules.
    pub rules: Vec<Rule>,
    /// For whatever else has to be chosen.
    pub seed: u64,
}

impl fmt::Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tcp: {}, seed: {:#x}", self.tcp, self.seed)?;
        writeln!(f, "before: {:02x?}", self.before)?;
        for packet in &self.packets {
            writeln!(f, "packet: {:02x?}", packet.concat())?;
        }
        self.rules.iter().try_for_each(|rule| {
            writeln!(
                f,
                "rule: set {:#x} invert {:#x} dir {} status {} classes {} fc {:x?} saddr {:?} daddr {:?}",
                rule.set,
                rule.invert,
                rule.dir,
                rule.status,
                rule.classes,
                rule.fc,
                &rule.saddr[..usize::from(rule.saddr_count)],
                &rule.daddr[..usize::from(rule.daddr_count)],
            )
        })
    }
}

/// Stations that are there. 65531 is reserved, and some device has it all the same.
pub const STATIONS: [u16; 4] = [1, 10, 1024, 65531];
const DESTINATIONS: [u16; 8] = [1, 10, 1024, 65531, 65532, 65533, 65534, 65535];
const SOURCES: [u16; 3] = [1024, 3, 1];
const FUNCTIONS: [u8; 8] = [0, 1, 1, 2, 13, 14, 129, 130];

/// Segments of a message, in order or nearly so.
fn message(dice: &mut Dice) -> Vec<Vec<u8>> {
    let own = dice.one_in(2);
    let destination = *dice.pick(if own { &STATIONS[..] } else { &DESTINATIONS });
    let source = *dice.pick(&SOURCES);
    let mut sequence = dice.octet();
    let count = 1 + dice.below(4);
    (0..count)
        .map(|at| {
            let odd = dice.one_in(12);
            let mut transport = sequence & 0x3F;
            if at == 0 {
                transport |= 0x40;
            }
            if at + 1 == count {
                transport |= 0x80;
            }
            if odd {
                transport ^= *dice.pick(&[0x40, 0x80, 0xC0, 0x01]);
            }
            sequence = sequence.wrapping_add(u8::from(!dice.one_in(10)));
            let mut user_data = vec![transport, 0xC0 | dice.octet(), *dice.pick(&FUNCTIONS)];
            if dice.one_in(6) {
                user_data.truncate(2);
            } else {
                user_data.resize(3 + dice.below(20), dice.octet());
            }
            let control = *dice.pick(&[0xC4, 0xC4, 0xC4, 0x44, 0xF3, 0xD3]);
            let source = if dice.one_in(15) {
                *dice.pick(&SOURCES)
            } else {
                source
            };
            frame(control, destination, source, &user_data)
        })
        .collect()
}

/// A frame with any control octet, mostly with another frame inside, and mostly at the beginning of a
/// block, where it is whole.
fn odd_frame(dice: &mut Dice, pool: &Pool) -> Vec<u8> {
    let control = if dice.one_in(2) { 0xC4 } else { dice.octet() };
    let mut user_data = vec![*dice.pick(&[0xC0, 0x40, 0x80, 0x00]), 0xC0, 1];
    match dice.below(4) {
        0 => user_data.truncate(dice.below(4)),
        1 => user_data.extend(dice.pick(&pool.chunks)),
        _ => {
            user_data.resize(16, 0);
            let destination = *dice.pick(&DESTINATIONS);
            let function = *dice.pick(&FUNCTIONS);
            user_data.extend(frame(0xC4, destination, 1024, &[0xC0, 0xC0, function]));
            user_data.resize(user_data.len() + dice.below(6), dice.octet());
        }
    }
    user_data.truncate(frames::MAX_USER_DATA);
    frame(control, *dice.pick(&STATIONS), 1024, &user_data)
}

/// Some chunks that go together. The higher `hostility`, from 0 to 5, the less is valid.
pub fn chunks(dice: &mut Dice, pool: &Pool, hostility: usize) -> Vec<Vec<u8>> {
    if dice.below(8) < hostility {
        match dice.below(3) {
            0 => vec![dice.pick(&pool.chunks).clone()],
            1 => dice.pick(&pool.straddling).to_vec(),
            _ => vec![odd_frame(dice, pool)],
        }
    } else if dice.one_in(2) {
        message(dice)
    } else {
        vec![dice.pick(&pool.valid).clone()]
    }
}

/// Chunks as packets: some to each, or a stream that is cut anywhere; and some of them edited.
pub fn packets(
    dice: &mut Dice,
    pool: &Pool,
    hostility: usize,
    mut all: Vec<Vec<u8>>,
) -> Vec<Vec<Vec<u8>>> {
    let mut packets = Vec::new();
    if dice.below(12) < hostility {
        // A stream that is cut anywhere.
        let stream = all.concat();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let size = 1 + dice.below(rest.len().min(80));
            packets.push(vec![rest[..size].to_vec()]);
            rest = &rest[size..];
        }
    } else {
        while !all.is_empty() {
            let count = 1 + dice.below(all.len().min(3));
            packets.push(all.drain(..count).collect());
        }
    }
    for packet in &mut packets {
        if dice.below(24) < hostility {
            let mut payload = packet.concat();
            dice.pick(&pool.edits).apply(&mut payload);
            *packet = vec![payload];
        }
        if dice.below(60) < hostility {
            // The last block's CRC.
            if let Some(last) = packet.last_mut().and_then(|chunk| chunk.last_mut()) {
                *last ^= 1 << dice.below(8);
            }
        }
    }
    packets
}

/// A sequence, and rules for it.
pub fn sequence(dice: &mut Dice, pool: &Pool) -> Sequence {
    let hostility = dice.below(6);
    let mut all: Vec<Vec<u8>> = Vec::new();
    let wanted = 1 + dice.below(6);
    while all.len() < wanted {
        all.extend(chunks(dice, pool, hostility));
    }
    let packets = packets(dice, pool, hostility, all);
    let mut before: Vec<u8> = if dice.one_in(2) {
        chunks(dice, pool, 6).concat()
    } else {
        Vec::new()
    };
    before.truncate(dice.below(before.len() + 1));
    Sequence {
        tcp: !dice.one_in(4),
        before,
        packets,
        rules: (0..1 + dice.below(3))
            .map(|_| *dice.pick(&pool.rules))
            .collect(),
        seed: dice.number(),
    }
}
