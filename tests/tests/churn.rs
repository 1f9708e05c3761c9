// SPDX-License-Identifier: GPL-2.0

//! Rule sets that are replaced, network namespaces that come and go, a module that is loaded and unloaded, on
//! two CPUs with packets flowing: no packet goes uncounted or is judged otherwise, no report by the kernel, nothing
//! that it does not give back; and the module can be unloaded when no rule refers to it, and not before.
//!
//! `DNP3_TESTS_LONG` is set by `scripts/long churn`; with `XT_DNP3_KERNEL=debug` kmemleak looks for leaks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use dnp3_core::packet::Octets;
use dnp3_core::rule::{frames, option, protocol, status};
use dnp3_core::{Headers, Rule, Verdict};
use dnp3_tests::vm::{self, hex};
use dnp3_tests::{blobs, generate, vectors};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Rules that come and go.
const RULES: usize = 64;
const PAYLOADS: usize = 32;
const KINDS: [&str; 4] = ["legacy-ipv4", "legacy-ipv6", "nft-ipv4", "nft-ipv6"];

/// In so many runs, so that what the kernel loses each time can be told from what it takes once.
const RUNS: u64 = 2;
/// Octets that it may hold more after the last run than before that. What it holds goes up and down by
/// some hundreds of thousands; the more is done, the smaller a leak is seen.
const KEPT: u64 = 1 << 20;

/// How often each is done, in all runs.
struct Counts {
    replacements: u64,
    namespaces: u64,
    loads: u64,
    packets: u64,
    seconds: u32,
}

fn counts() -> Counts {
    let is_debug = std::env::var("XT_DNP3_KERNEL").is_ok_and(|kernel| kernel == "debug");
    let is_long = std::env::var_os("DNP3_TESTS_LONG").is_some();
    let (share, seconds) = match (is_long, is_debug) {
        (true, false) => (100, 3600),
        (true, true) => (5, 3600),
        (false, _) => (1, 300),
    };
    Counts {
        replacements: 200 * share,
        namespaces: 10 * share,
        loads: 2 * share,
        packets: 10_000 * share,
        seconds,
    }
}

/// Takes valid packets.
fn valid() -> Rule {
    Rule {
        set: option::STATUS | option::FRAMES,
        frames: frames::ANY,
        status: status::VALID,
        ..Rule::default()
    }
}

/// Has a connection followed from its SYN on.
fn opening() -> Rule {
    Rule {
        set: option::STATUS | option::TRACK,
        status: status::NONE,
        ..Rule::default()
    }
}

/// Whether `core` says that a payload, as a UDP datagram, is valid.
fn is_valid(payload: &[u8]) -> bool {
    let length = u16::try_from(8 + payload.len()).expect("a UDP datagram");
    let mut octets = vec![0; 8];
    octets[4..6].copy_from_slice(&length.to_be_bytes());
    octets.extend(payload);
    let headers = Headers {
        end: octets.len() as u32,
        protocol: protocol::UDP,
        ..Headers::default()
    };
    dnp3_core::judge(&valid(), &Octets(&octets), &headers) == Verdict::Match
}

fn write_plan(plan: &Path, counts: &Counts) {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[5; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let rules: String = (0..RULES)
        .map(|number| {
            let protocol = [protocol::TCP, protocol::UDP][number % 2];
            let strategy = match protocol {
                protocol::TCP => generate::tcp_rule().boxed(),
                _ => generate::rule().boxed(),
            };
            let rule = strategy.new_tree(&mut runner).expect("a rule").current();
            rule.check(protocol, false)
                .expect("a rule that the kernel takes");
            format!("{protocol} {}\n", hex(&blobs::octets(&rule)))
        })
        .collect();
    let mut payloads: Vec<Vec<u8>> = vectors::ALL
        .iter()
        .map(|(_, frame)| frame.to_vec())
        .collect();
    // In fragments, and more than a page.
    payloads.push(vectors::READ.repeat(200));
    payloads.push([vectors::READ.repeat(200), vec![0]].concat());
    let case = generate::case(generate::udp());
    while payloads.len() < PAYLOADS {
        let payload = case
            .new_tree(&mut runner)
            .expect("a case")
            .current()
            .payload();
        if !payload.is_empty() {
            payloads.push(payload);
        }
    }
    let payloads: String = payloads
        .iter()
        .map(|payload| format!("{} {}\n", u8::from(is_valid(payload)), hex(payload)))
        .collect();
    let Counts {
        replacements,
        namespaces,
        loads,
        packets,
        ..
    } = counts;
    // The first run is small.
    let run = [replacements, namespaces, loads, packets].map(|count| (count / RUNS).to_string());
    let run = run.join(" ") + "\n";
    let numbers = format!("100 5 2 5000\n{}", run.repeat(RUNS as usize));
    fs::create_dir_all(plan).expect("a directory for the plan");
    for (file, text) in [
        ("rules", rules),
        ("valid", hex(&blobs::octets(&valid())) + "\n"),
        ("opening", hex(&blobs::octets(&opening())) + "\n"),
        ("payloads", payloads),
        ("numbers", numbers),
    ] {
        fs::write(plan.join(file), text).expect("the plan is written");
    }
}

/// Datagrams and valid ones, by the kind of rules and the hook, or by where they were sent.
type Counted<'a> = BTreeMap<(&'a str, &'a str), (u64, u64)>;

#[test]
fn rules_namespaces_and_the_module_come_and_go_while_packets_flow() {
    let counts = counts();
    let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("churn-{}", std::process::id()));
    write_plan(&plan, &counts);
    let output = vm::run(&plan, "python3 guest/churn.py plan", 2, counts.seconds);
    fs::remove_dir_all(&plan).expect("the plan was there");
    let said = output.unwrap_or_else(|error| panic!("{error}"));

    let mut runs: Vec<Counted<'_>> = Vec::new();
    let mut times: BTreeMap<&str, (u64, f64)> = BTreeMap::new();
    let mut kept = Vec::new();
    let mut leaks = None;
    let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
    let mut followed = Vec::new();
    for line in said.lines() {
        let words: Vec<_> = line.split(' ').collect();
        let number = |word: &str| word.parse::<u64>().unwrap_or_else(|_| panic!("{line}"));
        match words[..] {
            ["run"] => runs.push(BTreeMap::new()),
            ["count", kind, place, all, valid] => {
                let run = runs.last_mut().expect("a run before what it counted");
                run.insert((kind, place), (number(all), number(valid)));
            }
            ["life", what, count, seconds] => {
                let (done, taken) = times.entry(what).or_default();
                *done += number(count);
                *taken += seconds.parse::<f64>().expect("seconds");
            }
            ["kept", ref octets @ ..] => kept = octets.iter().copied().map(number).collect(),
            ["leaks", count] => leaks = Some(number(count)),
            ["followed", count] => followed.push(number(count)),
            [what @ ("tcp" | "datagrams"), count] => {
                *sent.entry(what).or_default() += number(count)
            }
            _ => panic!("unexpected: {line}"),
        }
    }
    let done: Vec<_> = ["replacements", "namespaces", "loads"]
        .map(|what| format!("{} {what} in {:.0} s", times[what].0, times[what].1))
        .into();
    let held: Vec<_> = kept
        .iter()
        .map(|octets| (octets / 1024).to_string())
        .collect();
    println!(
        "churn: - kernel {}: {}, with {} datagrams through OUTPUT and INPUT and {} pieces of TCP streams, {} of them followed, \
         each judged by up to 36 rules; memory that the kernel held before and after each run: {} KiB{}",
        std::env::var("XT_DNP3_KERNEL").unwrap_or_else(|_| "rust".into()),
        done.join(", "),
        sent["datagrams"],
        sent["tcp"],
        followed.iter().sum::<u64>(),
        held.join(", "),
        leaks.map_or_else(String::new, |leaks| format!("; kmemleak found {leaks} objects")),
    );
    assert_eq!(runs.len() as u64, RUNS, "{said}");
    for counted in &runs {
        for kind in KINDS {
            let (all, valid) = counted[&(kind, "sent")];
            assert!(0 < valid && valid < all, "{said}");
            for hook in ["output", "input"] {
                assert_eq!(
                    counted[&(kind, hook)],
                    (all, valid),
                    "{kind}, {hook}:\n{said}"
                );
            }
        }
    }
    assert!(
        sent["datagrams"] >= counts.packets && sent["tcp"] > 0,
        "{said}"
    );
    assert!(
        followed.len() as u64 == RUNS && followed.iter().all(|count| *count > 0),
        "{said}"
    );
    let [.., before, after] = kept[..] else {
        panic!("{said}");
    };
    assert!(after < before + KEPT, "{said}");
    assert_eq!(leaks.unwrap_or(0), 0, "{said}");
}
