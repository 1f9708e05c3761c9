// SPDX-License-Identifier: GPL-2.0

//! The target that holds the two readings of a rule to models of receivers. The input's payload is
//! cut into packets, as the rule's reserved octets say.

use dnp3_core::rule::option;
use dnp3_core::{judge, Octets, Rule, Verdict};
use dnp3_tests::frames::wire_len;
use dnp3_tests::generate::{with_reading, Shape, Transport};
use dnp3_tests::naive::{self, Status};
use dnp3_tests::receivers::{Receiver, Station};

use crate::input::Input;

/// Stations that are there.
const STATIONS: [u16; 4] = [1, 10, 65520, 65531];

/// `only` lets nothing through but the frames that it judged; `any` misses nothing that a receiver
/// delivers or executes.
pub fn receivers_are_bound(octets: &[u8]) {
    let input = Input::of(octets);
    let payload = input
        .payload()
        .map_or(&[][..], |range| &input.packet[range]);
    let packets = packets(payload, &input.raw.reserved);
    let rule = input.rule();
    let rule = Rule {
        set: rule.set & !option::STATUS,
        invert: rule.invert & !option::STATUS,
        status: 0,
        ..rule
    };
    nothing_else(&packets, &with_reading(&rule, false));
    nothing_missed(&packets, &with_reading(&rule, true));
}

/// Each of the cuts takes either some frames, as long as there are any, or some octets; the last
/// packet is what is left.
fn packets<'a>(payload: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut packets = Vec::new();
    let mut rest = payload;
    for cut in cuts.iter().filter(|cut| **cut > 0) {
        let mut size = 0;
        if cut & 1 != 0 {
            for _ in 0..cut >> 6 {
                match rest.get(size + 2) {
                    Some(len) if size + wire_len(*len) <= rest.len() => size += wire_len(*len),
                    _ => break,
                }
            }
        } else {
            size = usize::from(cut >> 1).min(rest.len());
        }
        let (packet, behind) = rest.split_at(size);
        packets.push(packet);
        rest = behind;
    }
    packets.push(rest);
    packets.retain(|packet| !packet.is_empty());
    packets
}

fn matches(rule: &Rule, payload: &[u8]) -> bool {
    let transport = Transport::Tcp {
        options: 0,
        data_offset: None,
        flags: 0x18,
    };
    let (octets, headers) = Shape::plain(transport).packet(payload);
    judge(rule, &Octets(&octets), &headers) == Verdict::Match
}

fn stations() -> Vec<Station> {
    STATIONS.into_iter().map(Station::new).collect()
}

/// Of the packets that `only` accepts, every receiver delivers the frames that they are made of, each of
/// them allowed, and holds nothing back.
fn nothing_else(packets: &[&[u8]], only: &Rule) {
    let mut receivers = Receiver::all();
    let mut stations = stations();
    for packet in packets.iter().filter(|packet| matches(only, packet)) {
        let (judged, rest) = naive::cut(packet);
        assert!(rest.is_empty(), "octets that are no frame were accepted");
        let mut frames = Vec::new();
        for receiver in &mut receivers {
            let mut from = receiver.taken();
            frames = receiver.take(packet);
            assert_eq!(frames.len(), judged.len(), "{receiver:?}");
            for (frame, judged) in frames.iter().zip(&judged) {
                assert_eq!(
                    (frame.from, frame.size),
                    (from, judged.len()),
                    "{receiver:?}"
                );
                assert!(frame.satisfies(only, false), "{frame:x?} {only:?}");
                from += frame.size as u64;
            }
            assert!(receiver.at_boundary(), "{receiver:?}");
        }
        for frame in &frames {
            for executed in stations.iter_mut().filter_map(|one| one.take(frame)) {
                assert!(executed.satisfies(only, false), "{executed:x?} {only:?}");
            }
        }
    }
}

/// What a receiver delivers or executes, and may be what the rule means, begins in a packet that
/// `any` matches. A packet of valid frames is judged as these, for receivers that stand at a boundary.
fn nothing_missed(packets: &[&[u8]], any: &Rule) {
    let matched: Vec<bool> = packets.iter().map(|packet| matches(any, packet)).collect();
    let mut begin = 0;
    let begins: Vec<u64> = packets
        .iter()
        .map(|packet| {
            let from = begin;
            begin += packet.len() as u64;
            from
        })
        .collect();
    for mut receiver in Receiver::all() {
        let mut stations = stations();
        let mut excepted = Vec::new();
        for packet in packets {
            let is_valid = naive::tcp_status(packet) == Status::Valid;
            excepted.push(is_valid && !receiver.at_boundary());
            for frame in receiver.take(packet) {
                let is_missed = |octet: u64| {
                    let at = begins.partition_point(|from| *from <= octet) - 1;
                    !matched[at] && !excepted[at]
                };
                assert!(
                    !is_missed(frame.from) || !frame.satisfies(any, true),
                    "missed: {frame:x?} {any:?} {receiver:?}"
                );
                for station in &mut stations {
                    if let Some(executed) = station.take(&frame) {
                        assert!(
                            !is_missed(executed.from) || !executed.satisfies(any, true),
                            "missed: {executed:x?} {any:?} {receiver:?}"
                        );
                    }
                }
            }
        }
    }
}
