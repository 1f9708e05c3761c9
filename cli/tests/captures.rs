// SPDX-License-Identifier: GPL-2.0

//! Real traffic, read to the application layer, against what tshark makes of it. The project's own
//! captures are always there; where others are not, a line says so and their test is ignored.

use dnp3_tests::captures::{self, Frame};
use dnp3fw::learn::Learner;
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

/// A link, and a function on it.
type Use = (u16, u16, u8);

/// What is not learned of what tshark lists: capture, use, how often of it, and why.
const NOT_LEARNED: &[(&str, Use, u64, &str)] = &[
    ("arkime/dnp3_synthetic.pcap", (20, 10, 129), 1, OBJECTS),
    ("arkime/dnp3_synthetic.pcap", (20_000, 10, 1), 1, DIR),
    (
        "suricata-verify/dnp3-max-points.pcap",
        (4, 3, 2),
        2,
        "one without DIR, and one without its last segment",
    ),
    (
        "suricata-verify/dnp3-too-long-reassembly-request.pcap",
        (3, 2, 1),
        1,
        OPEN,
    ),
    (
        "suricata-verify/dnp3-too-long-reassembly-response.pcap",
        (3, 2, 129),
        1,
        OPEN,
    ),
    (
        "zeek/dnp3-flowbuffer-overflow-assert.pcap",
        (1, 1024, 0),
        1,
        OPEN,
    ),
    ("zeek/dnp3.pcap", (3, 4, 18), 2, OBJECTS),
    ("zeek/dnp3.pcap", (3, 65_535, 18), 2, OBJECTS),
    ("zeek/dnp3.pcap", (3, 65_535, 21), 2, OBJECTS),
];
const OBJECTS: &str = "what follows the function code are no objects";
const DIR: &str = "a request without DIR";
const OPEN: &str = "its last segment is not in the capture";

/// Who sends which function to whom, and how often: what is learned, against tshark's list of first
/// segments. It lists what was sent again as often as it was.
fn learned(name: &str, path: &Path) -> Result<(), Failed> {
    let ports = [port(name)];
    let mut learner = Learner::new(&ports);
    learner.begin(name);
    let mut input = Input::new(Options {
        ports: ports.to_vec(),
    });
    let file = File::open(path).expect("the capture");
    input.capture(name, file, &Progress::none(), &mut |event| {
        learner.event(event)
    });
    learner.end();
    let (baseline, _) = learner.finish();
    let mut ours: BTreeMap<Use, u64> = BTreeMap::new();
    for link in baseline.communications.iter().flat_map(|one| &one.links) {
        let (Some(master), Some(outstation)) = (link.master, link.outstation) else {
            return Err("a link of any stations was learned".into());
        };
        for one in link.requests.iter().chain(&link.responses) {
            *ours.entry((master, outstation, one.function)).or_default() += one.messages;
        }
    }
    let mut tshark: BTreeMap<Use, u64> = BTreeMap::new();
    for frame in captures::tshark(&path.with_extension("tsv"))
        .into_values()
        .flatten()
    {
        let Some(function) = frame.function else {
            continue;
        };
        let (master, outstation) = match frame.control & 0x80 != 0 {
            true => (frame.source, frame.destination),
            false => (frame.destination, frame.source),
        };
        *tshark.entry((master, outstation, function)).or_default() += 1;
    }
    let mut failures = Vec::new();
    let keys: BTreeSet<_> = ours.keys().chain(tshark.keys()).copied().collect();
    for key in keys {
        let left_out = NOT_LEARNED
            .iter()
            .filter(|(capture, left_out, ..)| *capture == name && *left_out == key)
            .map(|(_, _, count, _)| count)
            .sum::<u64>();
        let count = |of: &BTreeMap<Use, u64>| of.get(&key).copied().unwrap_or(0);
        let (learned, listed) = (count(&ours), count(&tshark));
        if learned + left_out != listed {
            failures.push(format!(
                "{key:?}: learned {learned}, left out {left_out}, listed by tshark {listed}"
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
            let (n, p) = (name.clone(), path.clone());
            trials.push(Trial::test(format!("learned::{name}"), move || {
                learned(&n, &p)
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
