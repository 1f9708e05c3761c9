// SPDX-License-Identifier: GPL-2.0

//! Rules from the enemy: whoever may make a user namespace can hand the kernel any octets for a rule.
//! Thousands of them, most of them valid rules with something changed, go through setsockopt and through
//! netlink, as root and as a user who is root only in a namespace of his own; and the kernel must take
//! just those that `core` takes. Then messages that are wrong anywhere, families that have no such match,
//! and rules that name another protocol than their packets have.
//!
//! `XT_DNP3_KERNEL=debug` has KASAN and the like look on. `DNP3_TESTS_LONG` is set by `scripts/long hostile`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use dnp3_core::rule::{option, status};
use dnp3_core::Rule;
use dnp3_tests::blobs::{self, Blob, SIZE};
use dnp3_tests::sequences::Dice;
use dnp3_tests::{generate, vectors, vm};
use proptest::prop_oneof;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// What all of it is made from.
const SEED: u64 = 0x0564;
/// The users that the guest tries it as, and how they reach the kernel.
const USERS: [&str; 2] = ["root", "user"];
const WAYS: [[&str; 2]; 4] = [
    ["legacy", "ipv4"],
    ["legacy", "ipv6"],
    ["nft", "ipv4"],
    ["nft", "ipv6"],
];

/// How many rules, and how many messages that are wrong anywhere, for each user, way and family.
fn counts() -> (usize, usize) {
    let is_debug = std::env::var("XT_DNP3_KERNEL").is_ok_and(|kernel| kernel == "debug");
    match (std::env::var_os("DNP3_TESTS_LONG").is_some(), is_debug) {
        (false, _) => (2_000, 500),
        (true, false) => (30_000, 20_000),
        (true, true) => (5_000, 2_000),
    }
}

/// What the kernel is to make of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Taken,
    /// By the match's own check, or by x_tables for its size.
    Invalid,
    /// By x_tables, for whatever reason.
    Refused,
    /// nf_tables rounds the size up and takes what lies behind for the rest.
    Unknown,
}

impl Fate {
    fn is(self, said: &str) -> bool {
        match self {
            Fate::Taken => said == "taken",
            Fate::Invalid => said == "EINVAL",
            Fate::Refused => said != "taken",
            Fate::Unknown => said == "taken" || said == "EINVAL",
        }
    }
}

/// A rule as it is handed over.
#[derive(Debug)]
struct Hostile {
    revision: u8,
    name: &'static str,
    protocol: u16,
    inverted: bool,
    octets: Vec<u8>,
}

impl Hostile {
    /// One of the rules, changed by chance.
    fn new(dice: &mut Dice, rules: &[Rule]) -> Hostile {
        let mut octets = blobs::octets(dice.pick(rules)).to_vec();
        match dice.below(12) {
            0 => {}
            1..=4 => {
                for _ in 0..=dice.below(3) {
                    octets[dice.below(SIZE)] ^= 1 << dice.below(8);
                }
            }
            // The members that say what the others mean.
            5..=7 => octets[dice.below(16)] = *dice.pick(&[0, 1, 2, 3, 8, 9, 15, 16, 64, 128, 255]),
            8 | 9 => {
                for _ in 0..=dice.below(8) {
                    octets[dice.below(SIZE)] = dice.octet();
                }
            }
            10 => {
                let other = blobs::octets(dice.pick(rules));
                let cut = dice.below(SIZE);
                octets[cut..].copy_from_slice(&other[cut..]);
            }
            _ => octets.fill_with(|| dice.octet()),
        }
        let mut hostile = Hostile {
            revision: 0,
            name: "dnp3",
            protocol: *dice.pick(&[6, 17]),
            inverted: false,
            octets,
        };
        match dice.below(40) {
            0 => {
                hostile.protocol =
                    *dice.pick(&[0, 1, 4, 58, 132, 136, 255, 256 + 6, 512 + 17, 65_535])
            }
            1 => hostile.inverted = true,
            2 => hostile.octets.resize(
                *dice.pick(&[0, 1, 8, 104, 108, 111, 113, 116, 120, 128, 224, 4096]),
                0,
            ),
            _ => {}
        }
        hostile
    }

    /// Whether it has an option.
    fn option(&self, bit: u16) -> bool {
        let set = self.octets.first_chunk().copied().unwrap_or_default();
        u16::from_ne_bytes(set) & bit != 0
    }

    /// What the kernel is to make of it; `core` is asked what it makes of the octets.
    fn fate(&self, way: [&str; 2]) -> Fate {
        let [variant, _] = way;
        if (self.revision, self.name) != (0, "dnp3") {
            return Fate::Refused;
        }
        let Ok(octets) = <[u8; SIZE]>::try_from(self.octets.as_slice()) else {
            let is_rounded = self.octets.len().next_multiple_of(8) == SIZE;
            return match variant {
                "nft" if is_rounded => Fate::Unknown,
                // One without octets is no attribute at all to nf_tables.
                _ => Fate::Refused,
            };
        };
        let blob = Blob {
            name: String::new(),
            protocol: 0,
            inverted: self.inverted,
            unflagged: false,
            octets,
            refused: None,
        };
        // No protocol of IP's is so large.
        let protocol = u8::try_from(self.protocol).unwrap_or(0);
        match blob.rule().check(protocol, self.inverted) {
            Ok(()) => Fate::Taken,
            Err(_) => Fate::Invalid,
        }
    }

    /// A line for the guest.
    fn line(&self) -> String {
        let mut digits: String = self
            .octets
            .iter()
            .map(|octet| format!("{octet:02x}"))
            .collect();
        if digits.is_empty() {
            digits.push('-');
        }
        let inverted = u8::from(self.inverted);
        format!(
            "{} {} {} {inverted} {digits}\n",
            self.revision, self.name, self.protocol
        )
    }
}

fn hostile_rules(count: usize) -> Vec<Hostile> {
    let mut dice = Dice(SEED);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&SEED.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = prop_oneof![generate::rule(), generate::tcp_rule()];
    let mut rule = || strategy.new_tree(&mut runner).expect("a rule").current();
    let rules: Vec<Rule> = (0..1000).map(|_| rule()).collect();
    let mut hostile: Vec<_> = (0..count)
        .map(|_| Hostile::new(&mut dice, &rules))
        .collect();
    // Few: for a match that is not there, modprobe is called. A valid rule first.
    hostile[0] = Hostile {
        revision: 0,
        name: "dnp3",
        protocol: 6,
        inverted: false,
        octets: blobs::octets(&Rule::default()).to_vec(),
    };
    for (place, (revision, name)) in [
        (1, "dnp3"),
        (255, "dnp3"),
        (0, "DNP3"),
        (0, "dnp"),
        (0, "dnp3_dnp3_dnp3_dnp3_dnp3"),
    ]
    .into_iter()
    .enumerate()
    {
        let one = &mut hostile[place + 1];
        (one.revision, one.name) = (revision, name);
    }
    hostile
}

/// What the guest said.
#[derive(Default)]
struct Said {
    rules: Vec<Hostile>,
    fates: BTreeMap<[String; 3], Vec<String>>,
    noise: Vec<String>,
    checks: BTreeMap<String, String>,
}

/// The one run of the VM.
fn said() -> &'static Said {
    static SAID: OnceLock<Result<Said, String>> = OnceLock::new();
    let said = SAID.get_or_init(|| {
        let (count, mutants) = counts();
        let rules = hostile_rules(count);
        let lines: String = rules.iter().map(Hostile::line).collect();
        // Takes every packet of TCP or UDP.
        let all = Rule {
            set: option::STATUS,
            status: status::STATELESS,
            ..Rule::default()
        };
        // The same of connections that are followed: here none is.
        let followed = Rule {
            set: option::STATUS | option::TRACK,
            status: status::STATELESS | status::AHEAD,
            ..Rule::default()
        };
        let hex = |octets: &[u8]| vm::hex(octets) + "\n";
        let plan = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("hostile-rules-{}", std::process::id()));
        fs::create_dir_all(&plan).expect("a directory for the plan");
        for (file, text) in [
            ("rules", lines),
            ("all", hex(&blobs::octets(&all))),
            ("followed", hex(&blobs::octets(&followed))),
            ("payload", hex(vectors::READ)),
            ("seed", format!("{SEED}\n")),
            ("mutants", format!("{mutants}\n")),
        ] {
            fs::write(plan.join(file), text).expect("the plan is written");
        }
        let output = vm::run(&plan, "python3 guest/hostile_rules.py plan", 2, 3600);
        fs::remove_dir_all(&plan).expect("the plan was there");
        let text = output?;
        let mut said = Said {
            rules,
            ..Said::default()
        };
        for line in text.lines() {
            let words: Vec<_> = line.split(' ').map(String::from).collect();
            match line.split(' ').next() {
                Some("said") => {
                    let [_, user, variant, family, fates @ ..] = &words[..] else {
                        return Err(format!("unexpected: {line}"));
                    };
                    let key = [user, variant, family].map(String::clone);
                    said.fates.insert(key, fates.to_vec());
                }
                Some("noise") => said.noise.push(words[1..].join(" ")),
                Some("check") => {
                    said.checks.insert(words[1].clone(), words[2..].join(" "));
                }
                _ => return Err(format!("unexpected: {line}")),
            }
        }
        Ok(said)
    });
    said.as_ref().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn the_kernel_takes_just_what_core_takes() {
    let said = said();
    let mut taken = 0;
    let mut refused = 0;
    let mut wrong = Vec::new();
    for user in USERS {
        for way in WAYS {
            let [variant, family] = way;
            let key = [user, variant, family].map(String::from);
            let fates = said.fates.get(&key).map_or(&[][..], Vec::as_slice);
            assert_eq!(fates.len(), said.rules.len(), "{key:?}");
            for (rule, got) in said.rules.iter().zip(fates) {
                let expected = rule.fate(way);
                if !expected.is(got) {
                    wrong.push(format!("{key:?}: {expected:?}, and not {got}: {rule:?}"));
                }
                if got == "taken" {
                    taken += 1;
                } else {
                    refused += 1;
                }
            }
        }
    }
    println!(
        "hostile: - kernel {}: {} rules by setsockopt and by netlink, for IPv4 and IPv6, as root and as a user: \
         {taken} taken, {refused} refused, as core says each time",
        std::env::var("XT_DNP3_KERNEL").unwrap_or_else(|_| "rust".into()),
        said.rules.len()
    );
    for number in 0..16 {
        let bit = 1 << number & option::KNOWN;
        let of_it = |rule: &&Hostile| rule.fate(WAYS[0]) == Fate::Taken && rule.option(bit);
        let taken = said.rules.iter().filter(of_it).count();
        assert!(
            bit == 0 || taken > said.rules.len() / 50,
            "option {bit:#x} is in {taken} rules that are taken"
        );
    }
    wrong.truncate(10);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Both happen often, or the rules are no good.
    assert!(taken * 10 > refused && refused * 10 > taken);
}

#[test]
fn messages_that_are_wrong_anywhere_do_no_harm() {
    let said = said();
    let (_, mutants) = counts();
    assert_eq!(said.noise.len(), USERS.len() * WAYS.len());
    let taken: usize = said
        .noise
        .iter()
        .map(|line| {
            let (taken, all) = line
                .split(' ')
                .nth(2)
                .and_then(|word| word.split_once('/'))
                .expect("a fraction");
            assert_eq!(all.parse(), Ok(mutants), "{line}");
            taken.parse::<usize>().expect("a number")
        })
        .sum();
    println!(
        "hostile: - {} messages with octets changed anywhere: {taken} of them taken, no report by the kernel",
        mutants * said.noise.len()
    );
    assert!(taken > 0, "what is changed must be right at the start");
}

#[test]
fn a_rule_that_names_another_protocol_than_its_packets_have_is_safe() {
    for user in USERS {
        for family in ["ipv4", "ipv6"] {
            check(&format!("{user}-lies-{family}"));
        }
    }
}

#[test]
fn no_other_family_has_the_match() {
    for user in USERS {
        check(&format!("{user}-other-families"));
        check(&format!("{user}-bridge-tables"));
    }
}

#[test]
fn the_module_can_be_unloaded_when_the_enemies_are_gone() {
    check("unload");
}

fn check(name: &str) {
    assert_eq!(
        said().checks.get(name).map(String::as_str),
        Some("ok"),
        "{name}"
    );
}
