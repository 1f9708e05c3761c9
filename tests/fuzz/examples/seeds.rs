// SPDX-License-Identifier: GPL-2.0

//! Writes the inputs that fuzzing begins with, and a dictionary of the rule language:
//!
//!     seeds DIR      DIR/packets/..., DIR/exchanges/..., DIR/words/..., DIR/words.dict, DIR/captures/...,
//!                    DIR/baselines/..., DIR/baselines.dict, DIR/policies/..., DIR/policies.dict
//!
//! They are the vectors, the cases of tests/cases, packets of the project's captures, of other people's where
//! there are any, and what the property tests generate; the same for every run on the same captures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use dnp3_core::text::{self, Opt};
use dnp3_core::{Headers, Rule};
use dnp3_fuzz::input::Input;
use dnp3_tests::cases::{self, Family, Path as Way};
use dnp3_tests::frames::{self, control};
use dnp3_tests::generate::{self, Shape, Transport};
use dnp3_tests::sequences::Dice;
use dnp3_tests::{captures, vectors};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRng, TestRunner};

/// Cases that are generated for TCP, and as many for UDP.
const GENERATED: usize = 150;
/// Packets of the captures: each of another shape.
const CAPTURED: usize = 300;
/// Exchanges on a connection.
const EXCHANGES: usize = 200;

const TCP: Transport = Transport::PLAIN_TCP;
const UDP: Transport = Transport::PLAIN_UDP;

type Octets = BTreeSet<Vec<u8>>;

fn main() -> ExitCode {
    let Some(dir) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("seeds: which directory?");
        return ExitCode::FAILURE;
    };
    let files = files();
    let result = seeds().and_then(|(packets, words, captured)| {
        let numbers = [
            write(&dir.join("packets"), &packets)?,
            write(&dir.join("words"), &words)?,
            write(&dir.join("exchanges"), &exchanges())?,
            write(&dir.join("captures"), &files)?,
            write(&dir.join("baselines"), &baselines(&files))?,
            write(&dir.join("policies"), &policies(&files))?,
        ];
        fs::write(dir.join("policies.dict"), options()).map_err(|error| error.to_string())?;
        fs::write(dir.join("baselines.dict"), members()).map_err(|error| error.to_string())?;
        fs::write(dir.join("words.dict"), dictionary()).map_err(|error| error.to_string())?;
        println!(
            "seeds: {} packets with rules ({captured}), {} lines of words, {} exchanges, {} captures, {} baselines, {} policies",
            numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
        );
        Ok(())
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seeds: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(dir: &Path, seeds: &Octets) -> Result<usize, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", dir.display());
    fs::create_dir_all(dir).map_err(fail)?;
    for (number, octets) in seeds.iter().enumerate() {
        fs::write(dir.join(format!("seed-{number:04}")), octets).map_err(fail)?;
    }
    Ok(seeds.len())
}

/// Octets to choose exchanges by: any are as good as others, so that these are numbers.
fn exchanges() -> Octets {
    let mut dice = Dice(1);
    (0..EXCHANGES)
        .map(|number| {
            let length = 100 << (number % 5);
            let mut octets = vec![(number % 4) as u8];
            octets.extend((0..length).map(|_| dice.octet()));
            octets
        })
        .collect()
}

/// Packets and words, and what of the packets is from captures.
fn seeds() -> Result<(Octets, Octets, String), String> {
    let mut packets = Octets::new();
    let mut words = Octets::new();
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        TestRng::deterministic_rng(Config::default().rng_algorithm),
    );
    let mut rules = Vec::new();
    for _ in 0..40 {
        rules.push(sample(&mut runner, &generate::rule()));
    }
    let mut next_rule = rules.iter().cycle();
    let mut next_rule = || *next_rule.next().expect("rules");

    let mut add = |rule: Rule, packet: Vec<u8>, headers: Headers, linear: usize| {
        let input = Input {
            raw: rule,
            headers,
            linear,
            packet,
        };
        packets.insert(input.octets());
    };
    for (_, vector) in vectors::ALL {
        for transport in [TCP, UDP] {
            let (octets, headers) = Shape::plain(transport).packet(vector);
            add(next_rule(), octets, headers, 28);
        }
    }
    // Where the search gives up: as many headers, and one more.
    for count in [1024, 1025] {
        let payload = vectors::REQUEST_LINK_STATUS.repeat(count);
        let (mut octets, headers) = Shape::plain(TCP).packet(&payload);
        if let Some(last) = octets.last_mut() {
            *last ^= 1;
        }
        let words = "--frames any --fc 13".split(' ');
        let rule = text::parse(words, 6).map_err(|error| error.to_string())?;
        add(rule, octets, headers, 20);
    }
    for transport in [generate::tcp().boxed(), generate::udp().boxed()] {
        let strategy = generate::case(transport);
        for _ in 0..GENERATED {
            let case = sample(&mut runner, &strategy);
            let payload = case.payload();
            let (octets, headers) = case.shape.packet(&payload);
            let linear = case.linear[0].index(octets.len() + 1);
            add(case.rules[0], octets, headers, linear);
        }
    }
    for case in cases::load()? {
        for &protocol in &case.protocols {
            let lines: Vec<&str> = case
                .rules_for(protocol)
                .map(|line| line.text.as_str())
                .collect();
            let number = protocol.number();
            for line in &lines {
                words.insert([&[number, 0], line.as_bytes()].concat());
            }
            let mut rules = lines
                .iter()
                .filter_map(|line| text::parse(line.split_whitespace(), number).ok());
            let Some(rule) = rules.next_back() else {
                continue;
            };
            for (packet, (_, content)) in case.packets.iter().enumerate() {
                for family in Family::ALL {
                    let built = content.build(Way {
                        family,
                        protocol,
                        route: case.routes[0],
                        chain: 1,
                        packet,
                    });
                    for seen in built.iter().flat_map(|built| &built.seen) {
                        if seen.octets.len() < 4096 {
                            add(rule, seen.octets.clone(), seen.headers, 40);
                        }
                    }
                }
            }
        }
    }
    let mut of_captures = |folder: &Path| {
        let captured = captured(folder);
        let count = captured.len();
        for packet in captured {
            add(next_rule(), packet.octets, packet.headers, 52);
        }
        count
    };
    let own = of_captures(&captures::own());
    let captured = match captures::folder() {
        Ok(folder) => format!("{own} of our captures, {} of others", of_captures(&folder)),
        Err(why) => format!("{own} of our captures, {why}"),
    };

    for rule in &rules {
        // As the kernel gives it back, and as an admin writes it.
        let blob = &Input {
            raw: *rule,
            ..Input::of(&[])
        }
        .octets()[..dnp3_fuzz::input::RULE];
        words.insert([&[0, 1], blob].concat());
        words.insert([&[6, 0], text::save(rule).to_string().as_bytes()].concat());
        words.insert([&[17, 0], text::save(rule).to_string().as_bytes()].concat());
        let tracking = format!("{} --track", text::save(rule));
        words.insert([&[6, 0], tracking.trim().as_bytes()].concat());
    }
    for line in MISTAKES {
        for protocol in [6, 17, 0] {
            words.insert([&[protocol, 0], line.as_bytes()].concat());
        }
    }
    // Every name, and a slip in it.
    for name in named() {
        let slip = name.replacen(['e', 'a'], "", 1);
        for name in [name, slip] {
            for option in ["--fc", "--status", "--daddr", "--frames", "--dir"] {
                words.insert([&[6, 0], format!("{option} {name}").as_bytes()].concat());
            }
        }
    }
    Ok((packets, words, captured))
}

/// Pieces of the project's own captures, in every format and with every link layer that is read.
fn files() -> Octets {
    const PACKETS: usize = 12;
    let mut all = Octets::new();
    for (_, path) in captures::files(&captures::own(), "pcap") {
        let packets: Vec<Vec<u8>> = captures::packets(&path)
            .into_iter()
            .map(|packet| packet.octets)
            .collect();
        for (number, packets) in packets.chunks(PACKETS).enumerate() {
            // A link type, and what stands before the IP packet: Ethernet with and without tags, the raw
            // ones, Linux's.
            let (link_type, header): (u32, &[u8]) = match number % 6 {
                0 => (1, &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]),
                1 => (
                    1,
                    &[
                        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xA8, 0, 5, 0x81, 0, 0, 6,
                    ],
                ),
                2 => (101, &[]),
                3 => (113, &[0, 0, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0]),
                4 => (0, &[2, 0, 0, 0]),
                _ => (276, &[]),
            };
            let framed: Vec<Vec<u8>> = packets
                .iter()
                .map(|packet| {
                    let is_v6 = packet.first().is_some_and(|octet| octet >> 4 == 6);
                    let ether_type: [u8; 2] = if is_v6 { [0x86, 0xDD] } else { [8, 0] };
                    let ether_type = if link_type == 101 || link_type == 0 {
                        &[][..]
                    } else {
                        &ether_type
                    };
                    let behind: &[u8] = if link_type == 276 { &[0; 18] } else { &[] };
                    [header, ether_type, behind, packet].concat()
                })
                .collect();
            all.insert(match number % 3 {
                0 => pcap(u32::to_le_bytes, 0xA1B2_C3D4, link_type, &framed),
                1 => pcap(u32::to_be_bytes, 0xA1B2_3C4D, link_type, &framed),
                _ => pcapng(link_type, &framed),
            });
        }
    }
    all.insert(
        vectors::ALL
            .iter()
            .flat_map(|(_, octets)| *octets)
            .copied()
            .collect(),
    );
    // Headers whose CRC is right and whose LEN is not for their control octet.
    let controls = [control::MASTER_DATA, control::DIR | control::PRM];
    let wrong = controls.map(|control| [5, 6, 8].map(|len| frames::header(len, control, 1, 1024)));
    all.insert(wrong.as_flattened().concat());
    all
}

fn pcap(four: fn(u32) -> [u8; 4], magic: u32, link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let version = if four(1)[0] == 1 {
        [2, 0, 4, 0]
    } else {
        [0, 2, 0, 4]
    };
    let mut file = [
        four(magic),
        version,
        [0; 4],
        [0; 4],
        four(65_535),
        four(link_type),
    ]
    .concat();
    for (number, packet) in packets.iter().enumerate() {
        for field in [
            1_700_000_000 + number as u32,
            7,
            packet.len() as u32,
            packet.len() as u32,
        ] {
            file.extend(four(field));
        }
        file.extend(packet);
    }
    file
}

fn pcapng(link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = (padded as u32 + 12).to_le_bytes();
        file.extend([kind.to_le_bytes(), length].concat());
        file.extend(body);
        file.resize(file.len() + padded - body.len(), 0);
        file.extend(length);
    };
    block(
        0x0A0D_0D0A,
        &[
            0x4D, 0x3C, 0x2B, 0x1A, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255,
        ],
    );
    block(
        1,
        &[
            link_type as u8,
            (link_type >> 8) as u8,
            0,
            0,
            0,
            0,
            0,
            0,
            9,
            0,
            1,
            0,
            9,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ],
    );
    for packet in packets {
        let length = (packet.len() as u32).to_le_bytes();
        block(
            6,
            &[&[0; 12], &length[..], &length[..], &packet[..]].concat(),
        );
    }
    file
}

/// What is learned of captures, and what people write.
fn baselines(captures: &Octets) -> Octets {
    let mut all: Octets = [
        &br#"{"authorized_communications": [{"master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2",
            "expected_function_codes": [0, "read", "control", 129]}]}"#[..],
        br#"{"version": 1, "communications": []}"#,
        b"{}",
        b"[",
    ]
    .map(<[u8]>::to_vec)
    .into();
    for (number, capture) in captures
        .iter()
        .enumerate()
        .filter(|(number, _)| number % 8 == 0)
    {
        let options = dnp3fw::Options::default();
        let mut learner = dnp3fw::learn::Learner::new(&options.ports);
        learner.begin("a.pcap");
        dnp3fw::Input::new(options).capture(
            "a.pcap",
            capture.as_slice(),
            &dnp3fw::Progress::none(),
            &mut |event| learner.event(event),
        );
        learner.end();
        let (mut baseline, _) = learner.finish();
        if number % 16 == 0 {
            baseline.captured = None;
        }
        let mut text = Vec::new();
        if dnp3fw::baseline::write(&baseline, &mut text).is_ok() {
            all.insert(text);
        }
    }
    all
}

/// The members of a baseline, as its schema names them.
fn members() -> String {
    let words = dnp3fw::baseline::SCHEMA_TEXT.split('"').filter(|word| {
        let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        !word.is_empty() && word.chars().all(is_name)
    });
    let words: BTreeSet<&str> = words.collect();
    let quoted = words.iter().map(|word| format!("\"\\\"{word}\\\"\"\n"));
    quoted.collect()
}

/// Rules with captures behind them, and rules that are wrong.
fn policies(captures: &Octets) -> Octets {
    let first = dnp3_fuzz::check::RULES;
    let mut all: Octets = captures
        .iter()
        .step_by(8)
        .map(|capture| [first.as_bytes(), b"\0", capture].concat())
        .collect();
    for lines in RULES {
        let file = format!("*filter\n:FORWARD DROP [0:0]\n:C - [0:0]\n{lines}\nCOMMIT\n");
        let capture = captures.first().map_or(&[][..], Vec::as_slice);
        all.insert([file.as_bytes(), b"\0", capture].concat());
    }
    all
}

/// Of each thing that a file of rules can have one, right and wrong.
const RULES: &[&str] = &[
    "-A FORWARD ! -s 10.0.0.0/8 -d 192.0.2.1/255.255.255.0 -i eth+ ! -o eth1 ! -f -j C",
    "-A FORWARD -s 2001:db8::/32,fe80::1 -d ::/0 -g C",
    "[1:2] -A C -p tcp -m tcp --sport 1:2 --dport :9 --tcp-flags SYN,ACK SYN -c 3 4 -j RETURN",
    "-I C 1 -p udp -m udp ! --dport 53 -m multiport --sports 1,2:3 -j NFLOG --nflog-group 1 --nflog-prefix \"a \\\" b\"",
    "-A C -p icmp -m icmp --icmp-type 3/4 -m comment --comment x -j LOG --log-prefix y --log-level 4 --log-uid",
    "-A C -m state --state NEW,ESTABLISHED -m conntrack ! --ctstate SNAT --ctdir REPLY --ctproto 6",
    "-A C -p tcp -m dnp3 --frames any ! --saddr 1,2:3 --daddr self --fc 0:2,link,cont --status valid,ahead --dir master --track",
    "-A C -p tcp -m set ! --match-set a src,dst -m recent --name b --rcheck -j NFQUEUE --queue-bypass",
    "-N D\n-P FORWARD ACCEPT\n-A D -j REJECT\n-A C -p 89 -j D\n*nat\nCOMMIT",
    "-A C -j C",
    "-A C -j D",
    "-A FORWARD --fc=1",
];

/// The words of those, as a dictionary.
fn options() -> String {
    let words: BTreeSet<&str> = RULES
        .iter()
        .flat_map(|lines| lines.split([' ', '\n', '"', '\\']))
        .filter(|word| word.len() > 1)
        .collect();
    words.iter().map(|word| format!("\"{word}\"\n")).collect()
}

/// A line for each thing that can be wrong.
const MISTAKES: &[&str] = &[
    "",
    "!",
    "! !",
    "--saddr",
    "--saddr ",
    "--saddr 1 --source-addr 2",
    "--frames only --frames any",
    "! --frames any",
    "! --track",
    "--track --track",
    "--track=1",
    "--track --fc 1 --status none,ahead",
    "--fc !1",
    "--frames !any",
    "--fc 1,,2",
    "--fc 1,",
    "--fc 256",
    "--fc 0x",
    "--fc 007",
    "--fc 0x007",
    "--fc 00",
    "--fc 5:1",
    "--fc 5:",
    "--fc read:write",
    "--fc raed",
    "--sadr 1",
    "--saddr 1,3,5,7,9,11,13,15,17",
    "--saddr 99999999999999999999",
    "--status ahead",
    "--status none --fc 1",
    "--frames any --status none",
    "! --daddr :65531",
    "! --fc 0:255,link,cont",
    "--status partial",
];

/// Real packets, no two with the same frames but for their addresses and sequence numbers.
fn captured(folder: &Path) -> Vec<captures::Captured> {
    let mut shapes = BTreeMap::new();
    for (_, path) in captures::files(folder, "pcap") {
        for packet in captures::packets(&path) {
            let payload = packet.payload();
            let start: Vec<u8> = [2, 3, 12]
                .iter()
                .filter_map(|at| payload.get(*at).copied())
                .collect();
            let shape = (packet.headers.protocol, payload.len() / 16, start);
            shapes.entry(shape).or_insert(packet);
        }
    }
    // Evenly over all the shapes.
    let step = shapes.len().div_ceil(CAPTURED).max(1);
    shapes.into_values().step_by(step).collect()
}

fn sample<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy
        .new_tree(runner)
        .expect("nothing is filtered out")
        .current()
}

/// Every name of the rule language.
fn named() -> Vec<String> {
    use dnp3_core::text::names;
    let tables = [
        &names::FRAMES[..],
        &names::DIRECTIONS[..],
        &names::STATUSES[..],
        &names::FUNCTIONS[..],
        &names::CLASSES[..],
    ];
    let mut all: Vec<String> = tables
        .iter()
        .flat_map(|table| table.iter())
        .map(|named| named.name.to_owned())
        .collect();
    all.extend(names::GROUPS.iter().map(|group| group.name.to_owned()));
    all.extend(names::ADDRESSES.iter().map(|(name, ..)| (*name).to_owned()));
    all
}

/// What libFuzzer may put into words.
fn dictionary() -> String {
    let mut words = named();
    for opt in Opt::ALL {
        for name in [Some(opt.name()), opt.alias()].into_iter().flatten() {
            words.push(format!(" --{name} "));
        }
    }
    words.extend([" ! ", ":", ",", "0x", "65535", "65532", "255", "="].map(str::to_owned));
    words.iter().map(|word| format!("\"{word}\"\n")).collect()
}
