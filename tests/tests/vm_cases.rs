// SPDX-License-Identifier: GPL-2.0

//! Every case, judged by the module in the VM: iptables-legacy and iptables-nft, IPv4 and IPv6,
//! TCP and UDP, by each route into the kernel. One boot serves them all.

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use dnp3_tests::cases::expected::Counter;
use dnp3_tests::cases::{self, Family, Route, Variant};
use dnp3_tests::vm::{self, Outcome, Table};
use libtest_mimic::{Arguments, Failed, Trial};

/// As many as the machine that the tests are made for has.
const CPUS: u32 = 2;
/// A run takes a tenth of this.
const SECONDS: u32 = 900;

/// The one run of the VM, which the first test that needs it starts.
struct Guest {
    tables: Vec<Table>,
    outcome: OnceLock<Result<Outcome, String>>,
}

impl Guest {
    fn outcome(&self) -> &Result<Outcome, String> {
        self.outcome.get_or_init(|| {
            let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vm-cases");
            let wrong = |error| format!("{}: {error}", plan.display());
            if plan.exists() {
                fs::remove_dir_all(&plan).map_err(wrong)?;
            }
            vm::write_plan(&plan, &self.tables).map_err(wrong)?;
            let said = vm::run(&plan, "python3 guest/main.py plan", CPUS, SECONDS)?;
            let outcome = Outcome::parse(&said);
            for note in &outcome.notes {
                eprintln!("{note}");
            }
            Ok(outcome)
        })
    }

    /// Whether a variant and family went through without a fault.
    fn clean(&self, variant: Variant, family: Family) -> Result<(), Failed> {
        let outcome = self.outcome().as_ref()?;
        let mut wrong: Vec<_> = outcome
            .faults
            .iter()
            .filter(|(v, f, _)| v == variant.name() && f == family.name())
            .map(|(_, _, words)| words.as_str())
            .collect();
        if !outcome.has_ended(variant, family) {
            wrong.push("it did not come to its end");
        }
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n").into())
        }
    }

    /// Whether a chain's counters are as the case says.
    fn compare(&self, at: &Place) -> Result<(), Failed> {
        let table = &self.tables[at.table];
        let chain = &table.chains[at.chain];
        let run = &chain.runs[&at.route];
        let got = self
            .outcome()
            .as_ref()
            .map_err(|_| "the VM's run failed: the tests called guest:: say why")?
            .counters(at.variant, table.family, at.route, at.chain);
        if got.is_empty() {
            return Err(format!("{}: not a packet was counted", chain.title).into());
        }
        if got.len() != run.expected.len() {
            let (got, expected) = (got.len(), run.expected.len());
            return Err(format!("{got} rules in the chain, and not {expected}").into());
        }
        let last = got.len() - 1;
        let wrong: Vec<_> = run
            .expected
            .iter()
            .zip(got)
            .enumerate()
            .filter(|(_, (expected, got))| expected != got)
            .map(|(number, (expected, got))| {
                let what = match number {
                    0 => "in front of the rules".to_string(),
                    _ if number == last => "behind the rules".to_string(),
                    _ => format!(
                        "rule {number} `{}` (matches {})",
                        chain.rules[number - 1],
                        match run.names[number - 1].as_str() {
                            "" => "nothing",
                            names => names,
                        }
                    ),
                };
                format!("{what}: expected {}, got {}", said(expected), said(got))
            })
            .collect();
        if wrong.is_empty() {
            Ok(())
        } else {
            let (file, name) = chain.title.split_once("::").unwrap_or(("", &chain.title));
            Err(format!("{file}.toml: case \"{name}\"\n{}", wrong.join("\n")).into())
        }
    }
}

fn said(counter: &Counter) -> String {
    format!("{} packets of {} octets", counter.packets, counter.octets)
}

/// A test: a chain in one variant, by one route.
struct Place {
    table: usize,
    chain: usize,
    variant: Variant,
    route: Route,
}

/// Each test's name, its place, and its case's title.
fn places(tables: &[Table]) -> Vec<(String, Place, String)> {
    let mut places = Vec::new();
    for (number, table) in tables.iter().enumerate() {
        for variant in Variant::ALL {
            for (chain, what) in table.chains.iter().enumerate() {
                if !what.variants.contains(&variant) {
                    continue;
                }
                for &route in what.runs.keys() {
                    let name = format!(
                        "{}::{}::{}::{}::{}",
                        what.title,
                        variant.name(),
                        table.family.name(),
                        what.protocol.name(),
                        route.name()
                    );
                    let place = Place {
                        table: number,
                        chain,
                        variant,
                        route,
                    };
                    places.push((name, place, what.title.clone()));
                }
            }
        }
    }
    places
}

/// Whether the command line asks for this test.
fn wanted(arguments: &Arguments, name: &str) -> bool {
    let fits = |filter: &String| {
        if arguments.exact {
            name == filter
        } else {
            name.contains(filter.as_str())
        }
    };
    arguments.filter.as_ref().is_none_or(fits) && !arguments.skip.iter().any(fits)
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut cases = match cases::load() {
        Ok(cases) => cases,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let tables = |cases: &[_]| {
        Family::ALL
            .map(|family| Table::of_cases(family, cases))
            .to_vec()
    };
    // The guest is given nothing that was not asked for.
    let titles: HashSet<_> = places(&tables(&cases))
        .into_iter()
        .filter(|(name, _, _)| wanted(&arguments, name))
        .map(|(_, _, title)| title)
        .collect();
    cases.retain(|case| titles.contains(&case.title()));

    let guest = Arc::new(Guest {
        tables: tables(&cases),
        outcome: OnceLock::new(),
    });
    let mut trials = Vec::new();
    for variant in Variant::ALL {
        for family in Family::ALL {
            let guest = guest.clone();
            let name = format!("guest::{}::{}", variant.name(), family.name());
            trials.push(Trial::test(name, move || guest.clean(variant, family)));
        }
    }
    for (name, place, _) in places(&guest.tables) {
        let guest = guest.clone();
        trials.push(Trial::test(name, move || guest.compare(&place)));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}
