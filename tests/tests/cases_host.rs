// SPDX-License-Identifier: GPL-2.0

//! Every case, judged on the host: by `core`, from an sk_buff that is linear, paged or nearly
//! empty in its linear part, and by the naive judge; and every rule that is put together by hand.

use std::process::ExitCode;

use dnp3_core::{Headers, Packet, Rule, Verdict};
use dnp3_tests::cases::expected::{arrivals, Arrival};
use dnp3_tests::cases::{self, Case, Family, Path, Protocol};
use dnp3_tests::{blobs, naive, odd::Odd};
use libtest_mimic::{Arguments, Failed, Trial};

type Judge = fn(&Rule, &dyn Packet, &Headers) -> Verdict;

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let (cases, blobs) = match (cases::load(), blobs::load()) {
        (Ok(cases), Ok(blobs)) => (cases, blobs),
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials = Vec::new();
    for blob in blobs {
        let title = format!("blobs::{}::core", blob.name);
        trials.push(Trial::test(title, move || Ok(blob.judged_by_core()?)));
    }
    for case in cases {
        for &family in &case.families {
            for &protocol in &case.protocols {
                for (name, judge) in [("core", dnp3_core::judge as Judge), ("naive", naive::judge)]
                {
                    let title = format!(
                        "{}::{}::{}::{name}",
                        case.title(),
                        family.name(),
                        protocol.name()
                    );
                    let case = case.clone();
                    trials.push(Trial::test(title, move || {
                        run(&case, family, protocol, judge)
                    }));
                }
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(case: &Case, family: Family, protocol: Protocol, judge: Judge) -> Result<(), Failed> {
    let rules = case
        .rules_for(protocol)
        .map(|line| {
            dnp3_core::text::parse(line.text.split_whitespace(), protocol.number())
                .map(|rule| (line.text.as_str(), rule))
                .map_err(|error| format!("rule `{}`: {error}", line.text))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let mut wrong = Vec::new();
    let mut arrived = 0;
    for &route in &case.routes {
        let path = Path {
            family,
            protocol,
            route,
            chain: 1,
            packet: 0,
        };
        for arrival in arrivals(case, path) {
            arrived += 1;
            for line in check(&rules, &arrival, judge) {
                // Once is enough: other routes and shapes most often say the same.
                let line = format!("packet `{}`: {line}", arrival.name);
                if !wrong.iter().any(|(said, _)| *said == line) {
                    wrong.push((line, route));
                }
            }
        }
    }
    if arrived == 0 {
        return Err("no route of the case carries any of its packets".into());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    let lines: Vec<_> = wrong
        .iter()
        .map(|(line, route)| format!("{line} (first by {})", route.name()))
        .collect();
    Err(format!(
        "{}.toml: case \"{}\"\n{}",
        case.file,
        case.name,
        lines.join("\n")
    )
    .into())
}

/// The rules that judge otherwise than the case says, a line each.
fn check(rules: &[(&str, Rule)], arrival: &Arrival<'_>, judge: Judge) -> Vec<String> {
    let mut wrong = Vec::new();
    for (piece, seen) in arrival.seen.iter().enumerate() {
        let transport = seen.headers.transport as usize;
        for linear in [seen.octets.len(), transport, transport + 33] {
            for ((text, rule), matches) in rules.iter().zip(&arrival.matches) {
                let packet = Odd::new(&seen.octets, linear);
                let expected = if arrival.dropped && piece == 0 {
                    Verdict::HotDrop
                } else if *matches && piece == 0 {
                    Verdict::Match
                } else {
                    Verdict::NoMatch
                };
                let got = judge(rule, &packet, &seen.headers);
                if got != expected {
                    wrong.push(format!("rule `{text}`: expected {expected:?}, got {got:?}"));
                }
            }
        }
    }
    wrong
}
