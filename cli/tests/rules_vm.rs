// SPDX-License-Identifier: GPL-2.0

//! Rules of `dnp3fw rules` in the kernel: loaded by iptables-restore and ip6tables-restore, legacy and nft, and
//! sent the packets of the very capture that the baseline was learned from. All of them pass. Before each that holds
//! a frame come others in its place, which differ in one thing that was not learned, and none of them does.
//! tests/guest/cli_rules.py is the other side. One boot serves them all.

#[path = "support/policy.rs"]
mod policy;
#[path = "support/run.rs"]
mod run;

use dnp3_tests::captures::{self, Captured};
use dnp3_tests::frames::{control, crc, frame};
use dnp3_tests::vm::{self, hex, Outcome};
use policy::{communication, link};
use run::{expect, Scratch};
use serde_json::{json, Value};
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One: what a gateway does with a packet is done when it is written.
const CPUS: u32 = 1;
/// A run takes a fifth of this.
const SECONDS: u32 = 300;

/// A capture, and with which options its rules are made.
struct Session {
    capture: &'static str,
    options: &'static [&'static str],
    /// How many packets have a frame that others come in the place of; for fewer there is no test.
    at_least: usize,
}

const SESSIONS: [Session; 6] = [
    Session {
        capture: "dnp3py/readme-ipv4-outside",
        options: &[],
        at_least: 20,
    },
    Session {
        capture: "dnp3py/operator-ipv6-inside",
        options: &["--log", "nflog"],
        at_least: 20,
    },
    Session {
        capture: "yadnp3/operator-tcp-inside",
        options: &["--keep-policy", "--log", "none"],
        at_least: 20,
    },
    Session {
        capture: "yadnp3/operator-tcp-outside",
        options: &["--no-track"],
        at_least: 20,
    },
    Session {
        capture: "yadnp3/operator-udp-inside",
        options: &[],
        at_least: 20,
    },
    Session {
        capture: "dnp3py/readme-ipv6-inside",
        options: &["--chain", "PLANT"],
        at_least: 20,
    },
];

/// Functions that none of these captures has.
const NOT_LEARNED: [u8; 3] = [14, 19, 131];

/// Where a packet's parts are.
struct Parts<'a> {
    packet: &'a Captured,
    payload: usize,
}

impl Parts<'_> {
    /// The packet with other octets where its payload begins, which are as many as before.
    fn with_frame(&self, octets: &[u8]) -> Vec<u8> {
        let mut changed = self.packet.octets.clone();
        changed[self.payload..][..octets.len()].copy_from_slice(octets);
        changed
    }

    fn with(&self, at: usize, octets: &[u8]) -> Vec<u8> {
        let mut changed = self.packet.octets.clone();
        changed[at..][..octets.len()].copy_from_slice(octets);
        changed
    }
}

/// Packets in the place of one: each differs from it in one thing that was not learned.
fn others(packet: &Captured) -> Vec<(&'static str, Vec<u8>)> {
    let payload = packet.payload();
    let is_tcp = packet.headers.protocol == 6;
    let refused = if is_tcp { "reset" } else { "dropped" };
    // Where a frame begins and as much of it is there as decides.
    let Some([0x05, 0x64, len, ctrl, d0, d1, s0, s1]) = payload.first_chunk() else {
        return Vec::new();
    };
    let transport = packet.headers.transport as usize;
    let parts = Parts {
        packet,
        payload: packet.headers.end as usize - payload.len(),
    };
    let destination = u16::from_le_bytes([*d0, *d1]);
    let source = u16::from_le_bytes([*s0, *s1]);
    let header = |ctrl: u8, destination: u16, source: u16| {
        dnp3_tests::frames::header(*len, ctrl, destination, source)
    };
    let mut all = vec![
        (
            refused,
            parts.with_frame(&header(*ctrl, destination ^ 0x40, source)),
        ),
        (
            refused,
            parts.with_frame(&header(*ctrl, destination, source ^ 0x40)),
        ),
        (refused, parts.with_frame(&header(*ctrl, 0xFFFF, source))),
        (
            refused,
            parts.with_frame(&header(*ctrl ^ control::DIR, destination, source)),
        ),
    ];
    // A wrong bit: in the start octets, the address and the CRC of the header.
    for at in [0, 4, 8] {
        let octet = payload.get(at).map(|octet| octet ^ 1);
        all.extend(octet.map(|octet| {
            (
                refused,
                parts.with_frame(&[&payload[..at], &[octet]].concat()),
            )
        }));
    }
    // Another function, where the first data block is all there.
    let data = usize::from(*len).saturating_sub(5).min(16);
    if data > 2 && payload.len() >= 10 + data + 2 && payload[10] & 0x40 != 0 {
        for function in NOT_LEARNED {
            let mut block = payload[10..10 + data].to_vec();
            block[2] = function;
            let sum = crc(&block).to_le_bytes();
            all.push((
                refused,
                parts.with_frame(&[&payload[..10], &block, &sum].concat()),
            ));
        }
    }
    // Other hosts, as near as can be: the last octet of each address. And a port that was not learned.
    let (from, to) = match packet.octets[0] >> 4 {
        4 => (15, 19),
        _ => (23, 39),
    };
    for at in [from, to] {
        all.push((refused, parts.with(at, &[packet.octets[at] ^ 1])));
    }
    let ports = [transport, transport + 2];
    let learned = ports.map(|at| packet.octets[at..][..2] == 20_000_u16.to_be_bytes());
    for (at, is_learned) in ports.into_iter().zip(learned) {
        let is_only = learned.iter().filter(|learned| **learned).count() == 1;
        if is_learned && is_only {
            // That is nobody's: the policy drops it.
            all.push(("policy", parts.with(at, &20_002_u16.to_be_bytes())));
        }
    }
    all
}

/// The packets to send, a line each, and how many of them stand for another.
fn packets(session: &Session) -> (String, usize) {
    let capture = captures::own().join(format!("{}.pcap", session.capture));
    let mut text = String::new();
    let mut number = 0;
    let keeps_policy = session
        .options
        .iter()
        .any(|option| ["--keep-policy", "--chain"].contains(option));
    for packet in captures::packets(&capture) {
        let mut others = others(&packet);
        number += usize::from(!others.is_empty());
        for (fate, _) in &mut others {
            if *fate == "policy" {
                *fate = if keeps_policy { "passes" } else { "dropped" };
            }
        }
        let octets = packet.octets[..packet.headers.end as usize].to_vec();
        for (fate, octets) in others.iter().chain([&("passes", octets)]) {
            let end = packet.headers.end as usize;
            writeln!(text, "{fate} {}", hex(&octets[..end])).expect("a string takes everything");
        }
    }
    (text, number)
}

/// A baseline of many pairs.
fn many(pairs: u32, v6: bool) -> Value {
    let communications: Vec<_> = (0..pairs)
        .map(|at| {
            let (master, outstation) = match v6 {
                false => (
                    Ipv4Addr::from(0x0A01_0000 + at % 7).to_string(),
                    Ipv4Addr::from(0x0A02_0000 + at * 3).to_string(),
                ),
                true => (
                    Ipv6Addr::from((0x2001_0DB8 << 96) + u128::from(at % 7)).to_string(),
                    Ipv6Addr::from((0x2001_0DB8 << 96) + (u128::from(at) << 64)).to_string(),
                ),
            };
            let functions: &[u8] = if at % 2 == 0 { &[0, 1] } else { &[0, 1, 2] };
            let links = [link(1, 10 + at as u16, functions, &[129, 130])];
            communication(&master, &outstation, ("tcp", 20000, "master"), &links)
        })
        .collect();
    json!({ "version": 1, "communications": communications })
}

#[test]
fn the_kernel_lets_through_what_was_learned() {
    let scratch = Scratch::new("rules-vm");
    let mut runs = Vec::new();
    // So many rules take iptables-legacy half as long as iptables-nft, which has a limit on how deep chains lie too.
    let is_long = |name: &str, variant| name == "ten-thousand" && variant == "legacy";
    let mut add = |name: &str, family: &str, packets: Option<String>, own: Option<&str>| {
        for variant in ["legacy", "nft"] {
            if is_long(name, variant) {
                continue;
            }
            runs.push(
                json!({ "name": format!("{name}::{variant}"), "variant": variant,
                              "rules": { family: format!("{name}.rules") }, "packets": packets, "own": own }),
            );
        }
    };
    for session in &SESSIONS {
        let capture = captures::own().join(format!("{}.pcap", session.capture));
        let name = session.capture.replace('/', "-");
        let baseline = scratch.0.join(format!("{name}.json")).display().to_string();
        let rules = scratch
            .0
            .join(format!("{name}.rules"))
            .display()
            .to_string();
        let capture = capture.display().to_string();
        expect(0, &["learn", &capture, "-o", &baseline], &[]);
        let learned = fs::read_to_string(&baseline).expect("a baseline");
        for function in NOT_LEARNED {
            let words = format!("\"function\": {function},");
            assert!(!learned.contains(&words), "{name} has function {function}");
        }
        assert!(learned.contains("\"function\": 1,"), "{learned}");
        let v6 = session.capture.contains("ipv6");
        let option = if v6 { "--ipv6" } else { "--ipv4" };
        let mut arguments = vec!["rules", "--baseline", &baseline, option, &rules];
        arguments.extend(session.options);
        expect(0, &arguments, &[]);
        let (text, number) = packets(session);
        assert!(
            number >= session.at_least,
            "{name}: {number} packets have frames"
        );
        scratch.file(&format!("{name}.packets"), text.as_bytes());
        add(
            &name,
            if v6 { "6" } else { "4" },
            Some(format!("{name}.packets")),
            session.options.contains(&"--chain").then_some("PLANT"),
        );
    }
    for (name, pairs, v6) in [
        ("ten-thousand", 10_000, false),
        ("a-thousand", 1_000, false),
        ("a-thousand-of-ipv6", 1_000, true),
    ] {
        let baseline = scratch.file(
            &format!("{name}.json"),
            many(pairs, v6).to_string().as_bytes(),
        );
        let rules = scratch
            .0
            .join(format!("{name}.rules"))
            .display()
            .to_string();
        let option = if v6 { "--ipv6" } else { "--ipv4" };
        expect(0, &["rules", "--baseline", &baseline, option, &rules], &[]);
        add(name, if v6 { "6" } else { "4" }, None, None);
    }
    // Stations whose functions differ, in packets together.
    let stations = [
        link(1, 10, &[0, 1], &[129]),
        link(1, 11, &[0, 1, 2], &[129, 130]),
        link(2, 10, &[1], &[129]),
    ];
    let stations = communication(
        "192.0.2.1",
        "192.0.2.2",
        ("tcp", 20000, "master"),
        &stations,
    );
    let stations = json!({ "version": 1, "communications": [stations] }).to_string();
    let (text, _) = expect(0, &["rules", "--baseline", "-"], stations.as_bytes());
    assert!(text.contains(" -j RETURN\n"), "{text}");
    scratch.file("stations.rules", text.as_bytes());
    add("stations", "4", None, None);
    // On a host itself: that they are taken.
    let baseline = scratch
        .0
        .join("yadnp3-operator-udp-inside.json")
        .display()
        .to_string();
    let rules = scratch.0.join("host.rules").display().to_string();
    expect(
        0,
        &[
            "rules",
            "--baseline",
            &baseline,
            "--ipv4",
            &rules,
            "--chain",
            "INPUT",
            "--udp-reject",
        ],
        &[],
    );
    add("host", "4", None, None);
    // That such a test can fail: rules that let through too much, that tell nobody, that refuse too much.
    let mut changed = Vec::new();
    for (name, from, to, word) in [
        (
            "too-wide",
            " --dir master",
            "",
            "was to be reset, and came to ['passes']",
        ),
        (
            "silent",
            "-j REJECT --reject-with tcp-reset",
            "-j DROP",
            "was to be reset, and came to []",
        ),
        (
            "too-narrow",
            "--fc 0:",
            "--fc 1:",
            "was to be passes, and came to ['reset']",
        ),
    ] {
        let rules = scratch.0.join("yadnp3-operator-tcp-inside.rules");
        let rules = fs::read_to_string(rules).expect("rules");
        let text = rules.replace(from, to);
        assert_ne!(text, rules, "there is no {from:?}");
        scratch.file(&format!("{name}.rules"), text.as_bytes());
        runs.push(
            json!({ "name": name, "variant": "legacy", "rules": { "4": format!("{name}.rules") },
                          "packets": "yadnp3-operator-tcp-inside.packets", "own": null }),
        );
        changed.push((name, word));
    }
    scratch.file(
        "plan.json",
        Value::from(runs.clone()).to_string().as_bytes(),
    );

    let said = vm::run(
        &scratch.0,
        "python3 guest/cli_rules.py plan/plan.json",
        CPUS,
        SECONDS,
    )
    .unwrap_or_else(|error| panic!("{error}"));
    let outcome = Outcome::parse(&said);
    let mut wrong = String::new();
    for note in &outcome.notes {
        println!("{note}");
    }
    for one in &runs {
        let name = one["name"].as_str().expect("text");
        let found = outcome.check(name);
        let wanted = changed.iter().find(|(changed, _)| *changed == name);
        match (wanted, found) {
            (None, Some("ok")) => {}
            (Some((_, word)), Some(said)) if said.contains(word) => {}
            (_, other) => writeln!(wrong, "{name}: {other:?}").expect("a string takes everything"),
        }
    }
    assert_eq!(wrong, "");
}

#[test]
fn others_are_others() {
    // Of a packet's frame: what stands in its place is a frame again, or wrong in just one bit.
    let read = frame(control::MASTER_DATA, 10, 1, &[0xC0, 0xC1, 1, 60, 2, 6]);
    let mut octets = Vec::new();
    etherparse::PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(50_000, 20_000, 1, 1000)
        .write(&mut octets, &read)
        .expect("a packet");
    let packet = Captured {
        number: 1,
        headers: dnp3_core::Headers {
            transport: 20,
            end: octets.len() as u32,
            protocol: 6,
            fragment: dnp3_core::Fragment::Whole,
            udp_segment: 0,
        },
        octets,
    };
    let restart = frame(control::MASTER_DATA, 10, 1, &[0xC0, 0xC1, 14, 60, 2, 6]);
    let to_all = frame(control::MASTER_DATA, 0xFFFF, 1, &[0xC0, 0xC1, 1, 60, 2, 6]);
    let others = others(&packet);
    assert_eq!(others.len(), 13);
    for wanted in [restart, to_all] {
        assert!(others.iter().any(|(_, octets)| octets[40..] == wanted));
    }
    for (_, octets) in &others {
        assert_eq!(octets.len(), packet.octets.len());
        assert_ne!(*octets, packet.octets);
    }
}
