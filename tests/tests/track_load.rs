// SPDX-License-Identifier: GPL-2.0

//! Following very many connections, and all that can go wrong with them: bounds that are hit, conntrack that
//! is flushed, rules, network namespaces and the module that come and go with frames unfinished. Honest packets
//! pass, hostile ones never do, and in the end nothing is left: no connection, no octet, no conntrack entry, no
//! namespace. On the debug kernel memory runs out as well, and kmemleak has a look.
//!
//! Packets are sent and seen here one by one, so that it is also told what each counter counts, which connections are
//! followed and which are not, and that the gateway can itself be a station.
//!
//! `DNP3_TESTS_LONG` is set by `scripts/long load`; `XT_DNP3_KERNEL=debug` by that and by `make test-debug`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dnp3_core::rule::option;
use dnp3_core::Rule;
use dnp3_tests::vm::{self, hex};
use dnp3_tests::{blobs, frames, vectors};
use serde_json::json;

/// How much of everything.
struct Amounts {
    /// Connections that are held at a time.
    connections: u64,
    /// How often all of them are reset and come back.
    times: u64,
    /// Connections of each worker where faults happen.
    few: u64,
    /// How often.
    rounds: u64,
    namespaces: u64,
    /// Of the allocations of the module's loading, each of so many fails: the kernel's own are many.
    stride: u64,
    /// For it all.
    seconds: u32,
}

fn amounts(is_debug: bool) -> Amounts {
    let is_long = std::env::var_os("DNP3_TESTS_LONG").is_some();
    let (connections, times, few, rounds, namespaces, stride, seconds) = match (is_long, is_debug) {
        (true, false) => (10_000, 10, 200, 20, 100, 1, 1800),
        (true, true) => (2000, 2, 40, 3, 10, 5, 3400),
        (false, false) => (1000, 1, 20, 1, 4, 1, 280),
        (false, true) => (100, 1, 8, 1, 4, 40, 580),
    };
    Amounts {
        connections,
        times,
        few,
        rounds,
        namespaces,
        stride,
        seconds,
    }
}

/// What the guest does, in its order; and what only the debug kernel can.
const CHECKS: [&str; 13] = [
    "held",
    "flushed",
    "bounded",
    "short",
    "counted",
    "beside",
    "chosen",
    "local",
    "replaced",
    "reloaded",
    "torn-down",
    "shared",
    "gone",
];
const DEBUG_CHECKS: [&str; 3] = ["failing", "no-leaks", "failing-loads"];

/// What tests/guest/track_load/load.py needs to know.
fn plan(amounts: &Amounts) -> String {
    let data = [&[0xC0, 0xC3, 129, 0, 0][..], &[0x5A; 60]].concat();
    let response = frames::frame(frames::control::OUTSTATION_DATA, 1024, 1, &data);
    // One message more than are followed at a time, each to another station.
    let begun: Vec<u8> = (1..=17)
        .flat_map(|to| frames::frame(frames::control::MASTER_DATA, to, 1024, &[0x40, 0xC0, 1]))
        .collect();
    let follow = Rule {
        set: option::TRACK,
        ..Rule::default()
    };
    json!({
        "read": hex(vectors::READ),
        "restart": hex(vectors::COLD_RESTART),
        "response": hex(&response),
        "begun": hex(&begun),
        "follow": hex(&blobs::octets(&follow)),
        "plain": hex(&blobs::octets(&Rule::default())),
        "connections": amounts.connections,
        "times": amounts.times,
        "hostile": amounts.connections / 20,
        "few": amounts.few,
        "rounds": amounts.rounds,
        "namespaces": amounts.namespaces,
        "stride": amounts.stride,
    })
    .to_string()
}

#[test]
fn many_connections_are_followed_whatever_happens_around_them() {
    let kernel = std::env::var("XT_DNP3_KERNEL").unwrap_or_else(|_| "rust".into());
    let is_debug = kernel == "debug";
    let amounts = amounts(is_debug);
    let file =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("track-load-{}", std::process::id()));
    fs::write(&file, plan(&amounts)).expect("the plan is written");
    let command = "python3 guest/track_load/load.py plan";
    let output = vm::run(&file, command, 2, amounts.seconds);
    fs::remove_file(&file).expect("the plan was there");
    let said = output.unwrap_or_else(|error| panic!("{error}"));

    let mut checks: BTreeMap<&str, String> = BTreeMap::new();
    let mut figures: BTreeMap<&str, &str> = BTreeMap::new();
    for line in said.lines() {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["check", name, ref words @ ..] => _ = checks.insert(name, words.join(" ")),
            ["figure", name, number] => _ = figures.insert(name, number),
            _ => panic!("unexpected: {line}"),
        }
    }
    let mut wanted = CHECKS.to_vec();
    if is_debug {
        wanted.extend(DEBUG_CHECKS);
    }
    for name in wanted {
        assert_eq!(checks.remove(name).as_deref(), Some("ok"), "{name}: {said}");
    }
    assert!(checks.is_empty(), "{said}");

    let figure = |name: &str| {
        figures
            .get(name)
            .copied()
            .unwrap_or_else(|| panic!("no {name}: {said}"))
    };
    println!(
        "load: - kernel {kernel}: {} connections held at a time, opened in {} s, each with a request and a response cut \
         anywhere in {} s; {} reset and opened anew on the same ports in {} s; {} namespaces that ended, and the module \
         unloaded and loaded {} times, with frames unfinished; left of it all: nothing",
        figure("held"),
        figure("seconds-to-open"),
        figure("seconds-to-talk"),
        figure("churned"),
        figure("seconds-to-churn"),
        figure("namespaces"),
        figure("loads"),
    );
    if is_debug {
        println!(
            "load: - kernel {kernel}: allocations failed one at a time, all {} of a packet's way, all {} of a rule's, and {} of the \
             module's loading, each {}th; reports of the kernel: none; kmemleak found 0 objects",
            figure("failed-of-packets"),
            figure("failed-of-rules"),
            figure("failed-of-loads"),
            amounts.stride,
        );
    }
}
