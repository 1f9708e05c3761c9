// SPDX-License-Identifier: GPL-2.0

//! A thousand random rules through a real kernel: one iptables-restore loads them with their counters, and what
//! iptables-save then says is the same rules, in their order, with their counters; it is restored to the
//! same bytes; and a file with one bad line in the middle loads nothing. tests/guest/restore.sh is the other side.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use dnp3_core::rule::protocol;
use dnp3_core::text::{list, parse, save, Builder, Opt};
use dnp3_core::Rule;
use dnp3_tests::generate;
use libtest_mimic::Failed;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::Installation;

const RULES: usize = 1_000;
const SECONDS: u32 = 300;
const VARIANTS: [&str; 2] = ["legacy", "nft"];
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];

/// A rule as it is to be in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counted {
    packets: u64,
    octets: u64,
    protocol: u8,
    rule: Rule,
}

fn name(protocol: u8) -> &'static str {
    if protocol == protocol::TCP {
        "tcp"
    } else {
        "udp"
    }
}

/// Random rules that can match something.
fn rules(runner: &mut TestRunner) -> Vec<Counted> {
    // No packet is without octets; iptables-nft takes such counters for none at all.
    let counters = prop_oneof![
        4 => (1..=u64::MAX, 1..=u64::MAX),
        1 => Just((0, 0)),
        1 => Just((u64::MAX, u64::MAX)),
    ];
    // Of those of TCP some have --track.
    let rule = prop_oneof![
        (generate::tcp_rule(), Just(protocol::TCP)),
        (generate::rule(), Just(protocol::UDP)),
    ];
    let counted = (rule, counters)
        .prop_map(|((rule, protocol), (packets, octets))| Counted {
            packets,
            octets,
            protocol,
            rule,
        })
        .prop_filter("it can never match", |it| {
            Builder::resume(it.rule).finish(it.protocol, false).is_ok()
        });
    (0..RULES)
        .map(|_| counted.new_tree(runner).expect("a rule").current())
        .collect()
}

/// The options by names, and where an option has two names by the longer one.
fn spoken(rule: &Rule) -> String {
    let listed = list(rule, false).to_string();
    let word = |word| match Opt::from_name(word) {
        Some(opt) => format!("--{}", opt.alias().unwrap_or(opt.name())),
        None => word.to_string(),
    };
    let words: Vec<String> = listed.split(' ').skip(1).map(word).collect();
    words.join(" ")
}

/// For iptables-restore: the rules in as many ways as there are to write them.
fn file(policy: &str, rules: &[Counted]) -> String {
    let mut text = format!("*filter\n:FORWARD {policy} [0:0]\n");
    for (number, it) in rules.iter().enumerate() {
        let options = match number % 2 {
            0 => save(&it.rule).to_string(),
            _ => spoken(&it.rule),
        };
        let protocol = format!("-p {}", name(it.protocol));
        let matched = format!("-m dnp3 {options}");
        let (first, second) = match number % 3 {
            0 => (matched, protocol),
            _ => (protocol, matched),
        };
        let (packets, octets) = (it.packets, it.octets);
        writeln!(
            text,
            "[{packets}:{octets}] -A FORWARD {first} {second} -j ACCEPT"
        )
        .expect("a string takes everything");
    }
    text + "COMMIT\n"
}

/// A line of iptables-save -c.
fn counted(line: &str) -> Option<Counted> {
    let (counters, words) = line.strip_prefix('[')?.split_once("] -A FORWARD -p ")?;
    let (packets, octets) = counters.split_once(':')?;
    let (protocol, words) = words.split_once(" -m dnp3 ")?;
    let protocol = [protocol::TCP, protocol::UDP]
        .into_iter()
        .find(|it| name(*it) == protocol)?;
    let options = words.strip_suffix("-j ACCEPT")?;
    Some(Counted {
        packets: packets.parse().ok()?,
        octets: octets.parse().ok()?,
        protocol,
        rule: parse(options.split_whitespace(), protocol).ok()?,
    })
}

/// What the guest said, by job and topic.
fn topics(said: &str) -> HashMap<&str, Vec<&str>> {
    let mut topics: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in said.lines() {
        if let Some((topic, rest)) = line.split_once(": ") {
            topics.entry(topic).or_default().push(rest);
        }
    }
    topics
}

/// Through iptables of both variants, for both versions of IP.
pub(super) fn thousand(installation: &Installation) -> Result<(), Failed> {
    let mut runner = TestRunner::deterministic();
    let name = format!("restore-{}", installation.version);
    let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut expected = HashMap::new();
    for family in FAMILIES {
        let directory = plan.join(family);
        fs::create_dir_all(&directory).expect("a directory");
        let rules = rules(&mut runner);
        let write = |name: &str, text: String| {
            fs::write(directory.join(name), text).expect("a file in the plan");
        };
        write("rules", file("ACCEPT", &rules));
        // Other rules, another policy, and in the middle a line that iptables or the kernel refuses.
        let others: Vec<Counted> = rules.iter().rev().copied().collect();
        let other = file("DROP", &others);
        let lines = |bad: &str| {
            let mut lines: Vec<&str> = other.lines().collect();
            lines.insert(lines.len() / 2, bad);
            lines.join("\n") + "\n"
        };
        write(
            "refused-option",
            lines("-A FORWARD -p tcp -m dnp3 --fc 256"),
        );
        write(
            "refused-never",
            lines("-A FORWARD -p udp -m dnp3 --status partial"),
        );
        write("refused-kernel", lines("-A FORWARD -p icmp -m dnp3"));
        expected.insert(family, rules);
    }

    let said = installation.run(&plan, "bash guest/restore.sh", SECONDS)?;
    let topics = topics(&said);
    for variant in VARIANTS {
        for family in FAMILIES {
            let rules = &expected[family];
            let get = |what: &str| {
                let topic = format!("{variant} {family} {what}");
                topics.get(topic.as_str()).cloned().unwrap_or_default()
            };
            let job = format!("{variant} {family}");

            assert_eq!(get("loaded-said"), [""; 0], "{job}");
            assert!(get("loaded").concat().starts_with("0 "), "{job}: {said}");
            let saved = get("saved");
            let saved: Vec<&str> = (saved.into_iter())
                .filter(|line| line.contains("-A "))
                .collect();
            assert_eq!(saved.len(), RULES, "{job}");
            for (line, rule) in saved.iter().zip(rules) {
                let mut rule = *rule;
                if installation.is_old() && job == "nft ipv6" {
                    // Debian 12's ip6tables-nft-restore loses all counters, whatever the match.
                    (rule.packets, rule.octets) = (0, 0);
                }
                assert_eq!(counted(line), Some(rule), "{job}: {line}");
                assert!(
                    line.contains(&save(&rule.rule).to_string()),
                    "{job}: {line}"
                );
            }

            for (what, is_numeric) in [("listed", false), ("numeric", true)] {
                let lines = get(what);
                let lines: Vec<&str> = (lines.into_iter())
                    .filter(|line| line.starts_with("ACCEPT"))
                    .collect();
                assert_eq!(lines.len(), RULES, "{job} {what}");
                for (line, rule) in lines.iter().zip(rules) {
                    let listed = list(&rule.rule, is_numeric).to_string();
                    let found = line.find("dnp3").and_then(|at| line.get(at..));
                    assert_eq!(found.map(str::trim_end), Some(&*listed), "{job} {what}");
                }
            }

            assert_eq!(get("again-said"), [""; 0], "{job}");
            assert_eq!(get("again"), ["0 same"], "{job}");
            for (what, status, words) in [
                ("refused-option", "2", "--fc: '256' is not a function code"),
                ("refused-never", "2", "the rule can never match"),
                // legacy has 1 for what the kernel refuses, nft 4.
                (
                    "refused-kernel",
                    if variant == "nft" { "4" } else { "1" },
                    "",
                ),
            ] {
                assert_eq!(get(what), [format!("{status} same")], "{job} {what}");
                let said = get(&format!("{what}-said")).join("\n");
                assert!(!said.is_empty() && said.contains(words), "{job}: {said}");
            }
            assert_eq!(get("plain"), ["same"], "{job}");
            assert_eq!(get("without-counters"), [RULES.to_string()], "{job}");
        }
    }
    Ok(())
}
