// SPDX-License-Identifier: GPL-2.0

//! Real traffic: what `core` cuts out of every packet of the captures, against what tshark makes
//! of it, frame by frame; and both judges' verdicts on every packet. The project's own captures are
//! always there; where others are not, their tests are listed as ignored, and a line says why.

use dnp3_core::frame::{Class, Event, Walk};
use dnp3_core::rule::{option, Range};
use dnp3_core::{judge, Headers, Octets, Rule};
use dnp3_tests::captures::{self, Captured, Counts, Frame};
use dnp3_tests::frames::wire_len;
use dnp3_tests::generate::{with_reading, Shape, Transport};
use dnp3_tests::naive;
use dnp3_tests::odd::Odd;
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Differences between core and tshark: capture, packet, and why it is right that they differ.
const EXPLAINED: &[(&str, usize, &str)] = &[(
    "arkime/dnp3_synthetic.pcap",
    8,
    "LEN 38 makes a frame of 49 octets, of which the segment has 24: tshark lists the header, core \
     calls it partial and cuts no frame",
)];

/// The frames that core cuts off a payload.
fn frames_by_core(payload: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut walk = Walk::new();
    let mut rest = payload;
    let mut start = 0;
    loop {
        let (event, behind) = walk.step(rest);
        rest = behind;
        match event {
            Event::Addressed => {}
            Event::Taken | Event::Wrong => return frames,
            Event::Frame => {
                let end = payload.len() - rest.len();
                let octets = &payload[start..end];
                let seen = walk.seen();
                frames.push(Frame {
                    len: octets[2],
                    control: seen.control.expect("a control octet").0,
                    destination: seen.destination.expect("a destination"),
                    source: seen.source.expect("a source"),
                    header_crc: true,
                    block_crcs: vec![true; octets[10..].chunks(18).count()],
                    transport: octets.get(10).copied(),
                    function: match seen.class.expect("a class") {
                        Class::Function(code) => Some(code),
                        Class::Continuation | Class::Link => None,
                    },
                });
                start = end;
            }
        }
    }
}

/// Packets of a capture, and the frames that tshark lists for each.
fn side_by_side(path: &Path) -> Vec<(Captured, Vec<Frame>)> {
    let mut tshark = captures::tshark(&path.with_extension("tsv"));
    let pairs: Vec<(Captured, Vec<Frame>)> = captures::packets(path)
        .into_iter()
        .map(|packet| {
            let frames = tshark.remove(&packet.number).unwrap_or_default();
            (packet, frames)
        })
        .collect();
    assert!(tshark.is_empty(), "not in the capture: {tshark:?}");
    assert!(pairs.iter().any(|(_, frames)| !frames.is_empty()));
    pairs
}

fn explained(name: &str) -> BTreeSet<usize> {
    EXPLAINED
        .iter()
        .filter(|(capture, ..)| *capture == name)
        .map(|(_, packet, _)| *packet)
        .collect()
}

/// Every frame of every packet, as core cuts it and as tshark lists it.
fn frame_by_frame(name: &str, path: &Path) -> Result<(), Failed> {
    let mut failures = Vec::new();
    let mut explained = explained(name);
    for (packet, tshark) in side_by_side(path) {
        let core = frames_by_core(packet.payload());
        if core != tshark && !explained.remove(&packet.number) {
            failures.push(format!(
                "packet {}: core {core:?}, tshark {tshark:?}, payload {:02X?}",
                packet.number,
                packet.payload()
            ));
        }
    }
    failures.extend(
        explained
            .iter()
            .map(|number| format!("packet {number}: explained, but there is no difference")),
    );
    answer(failures)
}

/// The counters that core promises, against those that follow from tshark's list alone.
fn counters(name: &str, path: &Path) -> Result<(), Failed> {
    let pairs = side_by_side(path);
    let explained = explained(name);
    let mut expected: BTreeMap<String, Counts> = BTreeMap::new();
    let mut count = |packet: &Captured, words: String| {
        let counts = expected.entry(words).or_default();
        match packet.headers.protocol {
            6 => counts.tcp += 1,
            _ => counts.udp += 1,
        }
    };
    for (packet, frames) in &pairs {
        if !matches!(packet.headers.protocol, 6 | 17) {
            continue;
        }
        let octets: usize = frames.iter().map(|frame| wire_len(frame.len)).sum();
        let whole = octets == packet.payload().len() && !explained.contains(&packet.number);
        if packet.payload().is_empty() {
            count(packet, "--status none".into());
        }
        if frames.is_empty() || !whole {
            continue;
        }
        count(packet, "--frames only".into());
        count(packet, "--status valid".into());
        let classes: BTreeSet<String> = frames.iter().map(class_of).collect();
        if let (1, Some(class)) = (classes.len(), classes.first()) {
            count(packet, format!("--fc {class}"));
        }
        for class in classes {
            count(packet, format!("--frames any --fc {class} --status valid"));
        }
        for (dir, bit) in [("master", 0x80), ("outstation", 0)] {
            if frames.iter().all(|frame| frame.control & 0x80 == bit) {
                count(packet, format!("--dir {dir}"));
            }
        }
    }
    let packets: Vec<Captured> = pairs.into_iter().map(|(packet, _)| packet).collect();
    let mut failures = Vec::new();
    let mut statuses = 0;
    for asked in captures::replayed_rules() {
        let found = captures::counts(&packets, &asked.rule);
        let words = &asked.arguments[..];
        if words.starts_with("--status") {
            statuses += found.tcp + found.udp;
        }
        // What tshark cannot tell: the kinds of what is not valid.
        let possible = words.starts_with("--frames any") && !words.ends_with("--status valid");
        if possible || matches!(words, "--status partial" | "--status malformed") {
            continue;
        }
        let expected = expected.remove(words).unwrap_or_default();
        if found != expected {
            failures.push(format!("{words:?}: core {found:?}, tshark {expected:?}"));
        }
    }
    failures.extend(
        expected
            .keys()
            .map(|words| format!("{words:?} is not asked")),
    );
    let all = packets.iter().map(|packet| packet.headers.protocol);
    let all = all.filter(|protocol| matches!(protocol, 6 | 17)).count();
    if statuses != all as u64 {
        failures.push(format!("{all} packets, and {statuses} by status"));
    }
    answer(failures)
}

fn class_of(frame: &Frame) -> String {
    match (frame.transport, frame.function) {
        (None, _) => "link".into(),
        (Some(_), None) => "cont".into(),
        (Some(_), Some(code)) => code.to_string(),
    }
}

fn answer(failures: Vec<String>) -> Result<(), Failed> {
    if failures.is_empty() {
        Ok(())
    } else {
        Err(failures.join("\n").into())
    }
}

/// The rules that both judges are asked, in both readings, plain and inverted.
fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    let addresses = (0..=10).chain([100, 1024, 0xFFFC, 0xFFFF]);
    let by_address = addresses.flat_map(|address| {
        let range = Range {
            min: address,
            max: address,
        };
        let mut source = Rule {
            set: option::SADDR,
            saddr_count: 1,
            ..Rule::default()
        };
        source.saddr[0] = range;
        let mut destination = Rule {
            set: option::DADDR,
            daddr_count: 1,
            ..Rule::default()
        };
        destination.daddr[0] = range;
        [source, destination]
    });
    let asked = captures::replayed_rules().into_iter();
    for rule in asked.map(|asked| asked.rule).chain(by_address) {
        let inverted = Rule {
            invert: rule.set & option::INVERTIBLE,
            ..rule
        };
        rules.extend([rule, inverted]);
        rules.extend([rule, inverted].map(|rule| with_reading(&rule, rule.frames == 0)));
    }
    rules
}

/// Both judges on one packet, in a piece and in odd pieces.
fn both_judges(rules: &[Rule], octets: &[u8], headers: &Headers) -> Result<(), Failed> {
    let anatomy = naive::take_apart(&Octets(octets), headers);
    for (turn, rule) in rules.iter().enumerate() {
        let expected = naive::judge_apart(rule, &anatomy);
        let whole = judge(rule, &Octets(octets), headers);
        let linear = turn % (octets.len() + 1);
        let odd = judge(rule, &Odd::new(octets, linear), headers);
        if whole != expected || odd != expected {
            return Err(format!(
                "naive {expected:?}, real {whole:?}, with {linear} linear {odd:?}: {rule:?}, \
                 {headers:?}, {octets:02X?}"
            )
            .into());
        }
    }
    Ok(())
}

fn both_judges_on_capture(path: &Path) -> Result<(), Failed> {
    let rules = rules();
    captures::packets(path)
        .iter()
        .try_for_each(|packet| both_judges(&rules, &packet.octets, &packet.headers))
}

/// The chunks of a file of Zeek's corpus: each alone, cut short, and all behind each other.
fn both_judges_on_seed(path: &Path) -> Result<(), Failed> {
    let octets = fs::read(path)?;
    let starts: Vec<usize> = (0..octets.len())
        .filter(|&at| octets[at..].starts_with(b"\x01PKT"))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([octets.len()]);
    // Behind the mark stands an octet for the direction.
    let mut payloads: Vec<&[u8]> = starts
        .iter()
        .zip(ends)
        .filter_map(|(start, end)| octets.get(start + 5..end))
        .collect();
    if payloads.is_empty() {
        return Err("no chunk in it".into());
    }
    payloads.push(&octets);
    let rules: Vec<Rule> = rules().into_iter().step_by(7).collect();
    for payload in payloads {
        for end in (0..=payload.len()).rev().take(300) {
            for transport in [Transport::PLAIN_TCP, Transport::PLAIN_UDP] {
                let (octets, headers) = Shape::plain(transport).packet(&payload[..end]);
                both_judges(&rules, &octets, &headers)?;
            }
        }
    }
    Ok(())
}

/// The names in the table of differences are those of captures.
fn no_stale_names(names: &BTreeSet<String>) -> Result<(), Failed> {
    answer(
        EXPLAINED
            .iter()
            .filter(|(capture, ..)| !names.contains(*capture))
            .map(|(capture, packet, _)| format!("{capture} {packet}: no such capture"))
            .collect(),
    )
}

/// What the project's own captures are recorded for, as far as it is not in them.
fn lacking(folder: &Path) -> Vec<String> {
    const CONTINUATION: &str = "cont";
    let mut seen: BTreeSet<(u8, u8, String)> = BTreeSet::new();
    for (_, path) in captures::files(folder, "pcap") {
        for (packet, frames) in side_by_side(&path) {
            let version = packet.octets[0] >> 4;
            let of = frames.iter().map(class_of);
            seen.extend(of.map(|class| (version, packet.headers.protocol, class)));
        }
    }
    let wanted = [(4, 6), (4, 17), (6, 6)]
        .into_iter()
        .flat_map(|(ip, protocol)| {
            // Confirm, read, write, select, operate, direct operate, cold restart, response.
            [
                "0",
                "1",
                "2",
                "3",
                "4",
                "5",
                "13",
                "129",
                "link",
                CONTINUATION,
            ]
            .map(|class| (ip, protocol, class.to_string()))
        });
    let unsolicited = [(4, 6), (4, 17)].map(|(ip, protocol)| (ip, protocol, "130".to_string()));
    wanted
        .chain(unsolicited)
        .filter(|wanted| !seen.contains(wanted))
        .map(|(ip, protocol, class)| format!("IPv{ip}, protocol {protocol}: no frame of {class}"))
        .collect()
}

fn trials(folder: &Path) -> Vec<Trial> {
    let mut trials = Vec::new();
    for (name, path) in captures::files(folder, "pcap") {
        let (capture, at) = (name.clone(), path.clone());
        trials.push(Trial::test(format!("frame by frame: {name}"), move || {
            frame_by_frame(&capture, &at)
        }));
        let (capture, at) = (name.clone(), path.clone());
        trials.push(Trial::test(format!("counters: {name}"), move || {
            counters(&capture, &at)
        }));
        trials.push(Trial::test(format!("both judges: {name}"), move || {
            both_judges_on_capture(&path)
        }));
    }
    for (name, path) in captures::files(folder, "pkt") {
        trials.push(Trial::test(format!("both judges: {name}"), move || {
            both_judges_on_seed(&path)
        }));
    }
    trials
}

fn main() {
    let arguments = Arguments::from_args();
    let mut all = trials(&captures::own());
    match captures::folder() {
        Ok(folder) => {
            let names = captures::files(&folder, "pcap").into_iter();
            let names = names.map(|(name, _)| name).collect();
            all.extend(trials(&folder));
            all.push(Trial::test("differences are of captures", move || {
                no_stale_names(&names)
            }));
        }
        Err(reason) => {
            println!("all captures but our own are skipped: {reason}");
            all.extend(
                ["frame by frame", "counters", "both judges", "seeds"]
                    .map(|name| Trial::test(name, || Ok(())).with_ignored_flag(true)),
            );
        }
    }
    all.push(Trial::test(
        "our own captures have what others lack",
        || answer(lacking(&captures::own())),
    ));
    libtest_mimic::run(&arguments, all).exit();
}
