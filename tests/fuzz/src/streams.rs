// SPDX-License-Identifier: GPL-2.0

//! The target that has connections followed. The input's octets are what an exchange is chosen by: its first
//! says whether `core` is compared with the naive model, and in which way, or attacked behind a gateway.

use std::sync::OnceLock;

use dnp3_core::Rule;
use dnp3_tests::generate;
use dnp3_tests::track_attack::{attack, policies, Guarded};
use dnp3_tests::track_exchanges::{Comparison, Input, WAYS};
use dnp3_tests::track_tcp::Kind;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, TestRng, TestRunner};

/// Rules to choose from.
fn rules() -> &'static [Rule] {
    static RULES: OnceLock<Vec<Rule>> = OnceLock::new();
    RULES.get_or_init(|| {
        let algorithm = Config::default().rng_algorithm;
        let rng = TestRng::deterministic_rng(algorithm);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let strategy = generate::rule();
        let mut one = || {
            let tree = strategy.new_tree(&mut runner);
            tree.expect("nothing is filtered out").current()
        };
        (0..256).map(|_| one()).collect()
    })
}

fn guarded() -> &'static [Guarded] {
    static GUARDED: OnceLock<Vec<Guarded>> = OnceLock::new();
    GUARDED.get_or_init(policies)
}

/// `core` answers as the naive model; nothing is executed behind a gateway but what its policy allows.
pub fn streams_are_followed(octets: &[u8]) {
    let Some((first, rest)) = octets.split_first() else {
        return;
    };
    let mut chance = Input(rest);
    match WAYS.get(usize::from(*first) % (WAYS.len() + 1)) {
        Some(way) => {
            let mut comparison = Comparison::default();
            // Some connections, in the same room.
            for _ in 0..4 {
                if let Err(why) = comparison.compare(&mut chance, rules(), *way) {
                    panic!("{why}");
                }
                if chance.is_empty() {
                    break;
                }
            }
        }
        None => {
            let mut log = Vec::new();
            if let Err(why) = attack(&mut chance, guarded(), &Kind::all(), &mut log) {
                panic!("{why}\n{}", log.join("\n"));
            }
        }
    }
}
