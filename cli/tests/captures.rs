// SPDX-License-Identifier: GPL-2.0

//! Real traffic, read to the application layer, against what tshark makes of it. The project's own
//! captures are always there; where others are not, a line says so and their test is ignored.

use dnp3_tests::captures::{self, Frame};
use dnp3fw::{Assembly, Event, Input, Options, Progress};
use libtest_mimic::{Arguments, Failed, Trial};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

/// A frame: the packet that it ends in, and what tshark's list has of it.
type Found = BTreeMap<usize, Vec<Frame>>;

/// What cannot be as in tshark's list, which looks at each packet by itself: capture, packet, and why.
const EXPLAINED: &[(&str, usize, &str)] = &[(
    "arkime/dnp3_synthetic.pcap",
    8,
    "the segment has 24 of 49 octets: tshark lists the header, and the frame ends in another packet",
)];

/// The same for fragments.
const EXPLAINED_FRAGMENTS: &[(&str, u64, &str)] = &[(
    "arkime/dnp3_synthetic.pcap",
    9,
    "here the frame ends that tshark lists, without a fragment, in packet 8",
)];

/// The port of a capture.
fn port(name: &str) -> u16 {
    match name.contains("p20001") {
        true => 20_001,
        false => 20_000,
    }
}

/// The frames of a capture that lie in one packet each.
fn frames(name: &str, path: &Path) -> Found {
    let mut found = Found::new();
    let options = Options {
        ports: vec![port(name)],
    };
    let file = File::open(path).expect("the capture");
    let counts = Input::new(options).capture(name, file, &Progress::none(), &mut |event| {
        let Event::Frame(frame) = event else {
            return true;
        };
        if frame.first_packet != frame.origin.packet {
            return true;
        }
        let packet = frame.origin.packet as usize;
        let transport = frame.octets.get(10).copied();
        found.entry(packet).or_default().push(Frame {
            len: frame.octets[2],
            control: frame.control.0,
            destination: frame.destination,
            source: frame.source,
            header_crc: true,
            block_crcs: vec![true; frame.octets[10..].chunks(18).count()],
            transport,
            function: transport
                .filter(|octet| octet & 0x40 != 0)
                .and_then(|_| frame.octets.get(12).copied()),
        });
        true
    });
    assert!(!counts.damaged);
    found
}

/// Every frame that lies in one packet is in tshark's list for that packet, and the other way round.
fn frame_by_frame(name: &str, path: &Path) -> Result<(), Failed> {
    let found = frames(name, path);
    let tshark = captures::tshark(&path.with_extension("tsv"));
    let mut failures = Vec::new();
    let packets: BTreeSet<usize> = found.keys().chain(tshark.keys()).copied().collect();
    for packet in packets {
        let ours = found.get(&packet).cloned().unwrap_or_default();
        let theirs = tshark.get(&packet).cloned().unwrap_or_default();
        let is_explained = EXPLAINED
            .iter()
            .any(|(capture, explained, _)| *capture == name && *explained == packet);
        if (ours == theirs) == is_explained {
            failures.push(format!(
                "packet {packet}: dnp3fw {ours:?}, tshark {theirs:?}, explained: {is_explained}"
            ));
        }
    }
    answer(failures)
}

/// The function code and control octet of every fragment, against the columns that tshark gives in the
/// packet that completes it.
fn fragment_by_fragment(name: &str, path: &Path) -> Result<(), Failed> {
    let list = fs::read_to_string(path.with_extension("tsv")).expect("tshark's list");
    let mut lines = list.lines().map(|line| line.split('\t'));
    let columns: Vec<&str> = lines.next().expect("names").collect();
    let column = |name| columns.iter().position(|column| *column == name);
    let (number, function) = (column("frame.number"), column("dnp3.al.func"));
    let mut tshark: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for line in lines {
        let values: Vec<&str> = line.collect();
        let value = |at: Option<usize>| values[at.expect("the column")];
        let functions: Vec<u8> = value(function)
            .split(',')
            .filter(|code| !code.is_empty())
            .map(|code| match code.strip_prefix("0x") {
                Some(digits) => u8::from_str_radix(digits, 16).expect("a code"),
                None => code.parse().expect("a code"),
            })
            .collect();
        if !functions.is_empty() {
            tshark.insert(value(number).parse().expect("a number"), functions);
        }
    }
    let mut ours: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let options = Options {
        ports: vec![port(name)],
    };
    let file = File::open(path).expect("the capture");
    Input::new(options).capture(name, file, &Progress::none(), &mut |event| {
        if let Event::Frame(frame) = event {
            if let Assembly::Complete { fragment, .. } = &frame.assembly {
                let functions = ours.entry(frame.origin.packet).or_default();
                functions.push(fragment.function());
            }
        }
        true
    });
    let mut failures = Vec::new();
    let packets: BTreeSet<u64> = ours.keys().chain(tshark.keys()).copied().collect();
    for packet in packets {
        let (ours, tshark) = (ours.get(&packet), tshark.get(&packet));
        let is_explained = EXPLAINED_FRAGMENTS
            .iter()
            .any(|(capture, explained, _)| *capture == name && *explained == packet);
        if (ours == tshark) == is_explained {
            failures.push(format!(
                "packet {packet}: dnp3fw {ours:?}, tshark {tshark:?}"
            ));
        }
    }
    answer(failures)
}

fn answer(failures: Vec<String>) -> Result<(), Failed> {
    match failures.is_empty() {
        true => Ok(()),
        false => Err(failures.join("\n").into()),
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let mut add = |folder: &Path, has_functions: bool| {
        for (name, path) in captures::files(folder, "pcap") {
            let (n, p) = (name.clone(), path.clone());
            trials.push(Trial::test(format!("frames::{name}"), move || {
                frame_by_frame(&n, &p)
            }));
            if has_functions {
                trials.push(Trial::test(format!("fragments::{name}"), move || {
                    fragment_by_fragment(&name, &path)
                }));
            }
        }
    };
    // The project's own lists have no column for it.
    add(&captures::own(), false);
    match captures::folder() {
        Ok(folder) => add(&folder, true),
        Err(why) => {
            eprintln!("other people's captures: {why}");
            trials.push(Trial::test("others", || Ok(())).with_ignored_flag(true));
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
