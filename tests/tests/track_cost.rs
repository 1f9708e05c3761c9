// SPDX-License-Identifier: GPL-2.0

//! What it costs to follow a connection: a packet of it, in the VM, with instructions counted; a packet of another
//! connection; and the memory of a connection at rest.
//!
//! `scripts/long following` puts the table into tests/RELIABILITY.md.

use std::fs;
use std::path::Path;

use dnp3_tests::commands::script;
use dnp3_tests::frames::{self, control};
use dnp3_tests::vectors;
use dnp3_tests::vm::{self, FIXED, PER_OCTET_FOLLOWED};
use serde_json::json;

/// A packet of a connection that is followed may cost so many times what it costs the same rules without
/// `--track`, the commit behind all rules included; in percent. Not so one that a rule refuses by its first frame:
/// without `--track` the others are not looked at.
const TRACKED: u64 = 200;
/// And so many instructions more a packet of a connection that is not followed, where others are.
const OTHER: u64 = 400;
/// Of millions of instructions the timer's are some as well: two measurements of the same differ by one in so many.
const NOISE: i64 = 1000;
/// Octets that a connection at rest may take.
const AT_REST: u64 = 4096;
/// And so many octets the kernel may hold besides, whatever the number of connections: what it holds goes up and down.
const BESIDES: i64 = 256 << 10;
/// Segments in each direction before it is, of more than 4 KiB in all.
const SEGMENTS: u64 = 3;

/// What a packet is judged by: the rules without a target, and with --track or not. The policy of the README has three
/// for a packet of the master's with payload.
const TRACKED_RULES: [(&str, &[&str]); 5] = [
    ("policy", &[NO_PAYLOAD, LOG, ACCEPT]),
    ("accept", &[ACCEPT]),
    ("log", &[LOG]),
    ("all", &["-m dnp3 --frames only"]),
    ("worst", &[WORST]),
];
const NO_PAYLOAD: &str = "-m dnp3 --status none";
const LOG: &str = "-m dnp3 --status valid --frames any --fc restart";
const ACCEPT: &str = "-m dnp3 --saddr 1024 --daddr 1 --fc 0,1,2,20,21,23,24,link";
/// Walks and searches, and looks at every header for as long as can be.
const WORST: &str = "-m dnp3 --frames any --dir outstation --fc 0:255,link,cont \
     --saddr 2,4,6,8,10,12,14,1024 --daddr 3,5,7,9,11,13,15,1";

/// The packets, by what is in them; all of them in order. The last is what costs most for an octet; in a long run there
/// are those behind it too, as large as GRO makes them.
fn tracked_payloads(long: bool) -> Vec<(&'static str, Vec<u8>)> {
    // A WRITE whose data say nothing.
    let write = |size: usize| frames::request(&[&[0xC0, 0xC0, 2][..], &vec![0; size - 3]].concat());
    let largest = write(frames::MAX_USER_DATA);
    let segment = [largest.repeat(4), write(240)].concat();
    // READs, full of what may begin a header.
    let pairs = frames::request(&[&[0xC0, 0xC0, 1][..], &[0x05, 0x64].repeat(123)].concat());
    let link = vectors::REQUEST_LINK_STATUS;
    let mut payloads = vec![
        ("no-payload", vec![]),
        ("frame-of-10", link.to_vec()),
        ("READ-of-27", vectors::READ.to_vec()),
        ("frame-of-292", largest),
        ("53-READs", vectors::READ.repeat(53)),
        ("frames-of-292-and-less", segment),
        ("frames-of-292,-data-all-`05-64`", pairs.repeat(4)),
        ("1,024-frames-of-10", link.repeat(1024)),
    ];
    if long {
        payloads.push(("219-frames-of-292,-data-all-`05-64`", pairs.repeat(219)));
        payloads.push(("6,400-frames-of-10", link.repeat(6400)));
    }
    assert_eq!(payloads[3].1.len(), 292);
    assert_eq!(payloads[SEGMENT].1.len(), 1448);
    payloads
}

/// Of the payloads, what connections have had before they are at rest.
const SEGMENT: usize = 5;

#[test]
fn to_follow_a_connection_costs_so_much_and_no_more() {
    let long = std::env::var_os("DNP3_TESTS_LONG").is_some();
    let connections: u64 = if long { 10_000 } else { 300 };
    let payloads = tracked_payloads(long);
    let reply = frames::frame(control::OUTSTATION_DATA, 1024, 1, &[0x5A; 250]);
    let by_name: serde_json::Map<_, _> = payloads
        .iter()
        .map(|(name, octets)| ((*name).into(), vm::hex(octets).into()))
        .collect();
    let rules: serde_json::Map<_, _> = TRACKED_RULES
        .iter()
        .map(|(name, rules)| ((*name).into(), rules.to_vec().into()))
        .collect();
    let plan = json!({
        "rules": rules,
        "payloads": by_name,
        "segment": vm::hex(&payloads[SEGMENT].1),
        "reply": vm::hex(&reply.repeat(5)),
        "connections": connections,
        "segments": SEGMENTS,
    });
    let file = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("track-cost-{}.json", std::process::id()));
    fs::write(&file, plan.to_string()).expect("the plan is written");
    let mut command = script("vm");
    command.args(["--icount", "--timeout", "900"]);
    let output = vm::put_guest(vm::put(&mut command, &file, "plan"))
        .args(["--", "python3", "guest/track_load/costs.py", "plan"])
        .output()
        .expect("scripts/vm runs");
    fs::remove_file(&file).expect("the plan was there");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");

    let mut wrong = Vec::new();
    let mut rows = Vec::new();
    let mut memory = None;
    for line in said.lines() {
        let (kind, rest) = line.split_once(' ').expect("words");
        let words: Vec<_> = rest.split(' ').collect();
        let numbers: Vec<i64> = words.iter().filter_map(|word| word.parse().ok()).collect();
        match (kind, &words[..], &numbers[..]) {
            ("cost", &[rule, payload, ..], &[stateless, tracked, other, judged]) => {
                let octets = payloads.iter().find(|(name, _)| *name == payload);
                let octets = octets.expect("a payload of ours").1.len();
                let times = tracked as f64 / stateless as f64;
                let place = TRACKED_RULES.iter().position(|(name, _)| *name == rule);
                let row = format!(
                    "| {} | {octets} | {rule} | {stateless} | {tracked} | {times:.2} | {other} | {} |\n",
                    payload.replace('-', " "),
                    judged - stateless
                );
                rows.push((place, octets, row));
                let most = FIXED + PER_OCTET_FOLLOWED * octets as u64;
                if TRACKED_RULES
                    .iter()
                    .any(|(name, rules)| *name == rule && rules.len() == 1)
                    && tracked > most as i64
                {
                    wrong.push(format!(
                        "{payload}, {rule}: {tracked} instructions, and not {most}"
                    ));
                }
                if tracked * 100 > stateless * TRACKED as i64 {
                    wrong.push(format!("{payload}, {rule}: {times:.2} times as much"));
                }
                for (more, rules) in [(other, 1), (judged - stateless, 3)] {
                    if more > rules * OTHER as i64 + stateless / NOISE {
                        wrong.push(format!("{payload}, {rule}: {more} where nobody follows it"));
                    }
                }
            }
            ("memory", _, &[slabs, all, in_use, others]) => {
                memory = Some([slabs, all, in_use, others]);
            }
            _ => panic!("unexpected: {line}"),
        }
    }
    assert_eq!(rows.len(), payloads.len() * TRACKED_RULES.len(), "{said}");
    rows.sort();
    let table: String = rows.into_iter().map(|(_, _, row)| row).collect();
    let [slabs, all, in_use, others] = memory.expect("memory was measured");
    let each = |octets: i64| octets / connections as i64;
    if each(slabs) > AT_REST as i64 || all > slabs + BESIDES {
        wrong.push(format!(
            "{connections} connections at rest take {slabs} octets of slabs, and {all} in all"
        ));
    }
    let [slabs, all, in_use, others] = [slabs, all, in_use, others].map(each);
    let rules: Vec<_> = TRACKED_RULES
        .iter()
        .map(|(name, rules)| format!("*{name}* is `{}`", rules.join("`, `")))
        .collect();
    let text = format!(
        "A packet in order, of a connection that is followed, by rules with `--track` and by the same without: what the rules take, \
         and with `--track` the commit behind all rules. {}. Beside it what a packet of another connection takes for being in a network \
         namespace where connections are followed, with no dnp3 rule on its way and with these.\n\n\
         | payload | octets | rules | stateless | tracked | times | of another | judged besides |\n|---|---|---|---|---|---|---|---|\n{table}\n\
         Memory of a connection, of {connections} that have had {SEGMENTS} segments of about 1,450 octets in each direction: at rest {slabs} octets, \
         by the pages of its slabs, and {all} by what the kernel holds; {in_use} right behind its last packet. Conntrack's own entry, \
         not in these: {others}.\n\n\
         Asserted: at most {PER_OCTET_FOLLOWED} instructions an octet and {FIXED} for the packet, by one rule; {}.{:02} times as much with `--track`; {OTHER} instructions for a packet of another connection; \
         {AT_REST} octets at rest.",
        rules.join("; "),
        TRACKED / 100,
        TRACKED % 100
    );
    for line in text.lines() {
        println!("following: {line}");
    }
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
}
