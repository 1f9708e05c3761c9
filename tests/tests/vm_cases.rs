// SPDX-License-Identifier: GPL-2.0

//! Every case, judged by the module in the VM: iptables-legacy and iptables-nft, IPv4 and IPv6,
//! TCP and UDP, by each route into the kernel; captures of real traffic; rules that are handed to the
//! kernel past iptables; and the module's life. One boot serves them all.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use dnp3_tests::blobs::{self, Blob};
use dnp3_tests::cases::expected::Counter;
use dnp3_tests::cases::{self, Family, Protocol, Route, Variant};
use dnp3_tests::vm::{self, Outcome, Table};
use dnp3_tests::{captures, replay};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

/// As many as the machine that the tests are made for has.
const CPUS: u32 = 2;
/// A run takes a tenth of this.
const SECONDS: u32 = 900;

/// The one run of the VM, which the first test that needs it starts.
struct Guest {
    tables: Vec<Table>,
    blobs: Vec<Blob>,
    kernel: vm::Kernel,
    /// What the guest does: no more than what was asked for.
    command: &'static str,
    outcome: OnceLock<Result<Outcome, String>>,
}

impl Guest {
    fn outcome(&self) -> &Result<Outcome, String> {
        self.outcome.get_or_init(|| {
            let plan = Path::new(env!("CARGO_TARGET_TMPDIR"))
                .join(format!("vm-cases-{}", std::process::id()));
            let wrong = |error| format!("{}: {error}", plan.display());
            if plan.exists() {
                fs::remove_dir_all(&plan).map_err(wrong)?;
            }
            vm::write_plan(&plan, &self.tables, &self.blobs).map_err(wrong)?;
            let said = vm::run(&plan, self.command, CPUS, SECONDS);
            fs::remove_dir_all(&plan).map_err(wrong)?;
            let said = said?;
            let outcome = Outcome::parse(&said);
            for note in &outcome.notes {
                eprintln!("{note}");
            }
            Ok(outcome)
        })
    }

    /// The same for tests that need no more than a word of what went wrong with it.
    fn outcome_or_word(&self) -> Result<&Outcome, &'static str> {
        self.outcome()
            .as_ref()
            .map_err(|_| "the VM's run failed: the tests called guest:: say why")
    }

    /// Whether a job went through without a fault.
    fn clean(&self, job: (&str, &str)) -> Result<(), Failed> {
        let faults = self.outcome().as_ref()?.faults(job);
        if faults.is_empty() {
            Ok(())
        } else {
            Err(faults.join("\n").into())
        }
    }

    /// Whether the kernel took a blob, or refused it and said why.
    fn blob(&self, variant: Variant, family: Family, number: usize) -> Result<(), Failed> {
        let looks = (variant, family) == (Variant::Legacy, Family::V4);
        let blob = &self.blobs[number];
        let expected = match &blob.refused {
            None if blob.unflagged && !self.kernel.flags_protocol() => "EINVAL silent",
            None => "taken silent",
            Some(_) if looks && vm::is_logged(&self.blobs, number) => "EINVAL logged",
            Some(_) => "EINVAL silent",
        };
        match self.outcome_or_word()?.blob(variant, family, number) {
            Some(got) if got == expected => Ok(()),
            got => Err(format!("expected {expected}, got {got:?}").into()),
        }
    }

    /// Whether one of the guest's own checks went well.
    fn check(&self, name: &str) -> Result<(), Failed> {
        match self.outcome_or_word()?.check(name) {
            Some("ok") => Ok(()),
            got => Err(got.unwrap_or("it was not made").into()),
        }
    }

    /// Whether a chain's counters are as the case says.
    fn compare(&self, at: &Place) -> Result<(), Failed> {
        let table = &self.tables[at.table];
        let chain = &table.chains[at.chain];
        let run = &chain.runs[&at.route];
        let got = self
            .outcome_or_word()?
            .counters(at.variant, table.family, at.route, at.chain);
        if got.is_empty() {
            let faults = self
                .outcome_or_word()?
                .faults((at.variant.name(), table.family.name()));
            return Err(format!("not a packet was counted\n{}", faults.join("\n")).into());
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
    run().unwrap_or_else(|error| {
        eprintln!("{error}");
        ExitCode::FAILURE
    })
}

fn run() -> Result<ExitCode, String> {
    let arguments = Arguments::from_args();
    let mut cases = cases::load()?;
    let blobs = blobs::load()?;
    let captures = captures::folder();
    let tables = |cases: &[_], wanted: &dyn Fn(&str) -> bool| {
        let mut tables = Family::ALL.map(|family| Table::of_cases(family, cases));
        let own = captures::own();
        for folder in [Some(&own), captures.as_ref().ok()].into_iter().flatten() {
            for table in &mut tables {
                replay::push_captures(table, folder, wanted)?;
            }
        }
        Ok::<_, String>(tables.to_vec())
    };
    // The guest is given nothing that was not asked for.
    let all = tables(&cases, &|_| true)?;
    let titles: HashSet<_> = places(&all)
        .into_iter()
        .filter(|(name, _, _)| wanted(&arguments, name))
        .map(|(_, _, title)| title)
        .collect();
    cases.retain(|case| titles.contains(&case.title()));

    let mut tables = tables(&cases, &|title| titles.contains(title))?;
    let kernel = vm::Kernel::of_the_vm()?;
    let lacking = take_what_lacks(&mut tables, kernel);
    for table in &mut tables {
        for chain in &mut table.chains {
            for run in chain.runs.values_mut() {
                kernel.adapt(table.family, run);
            }
        }
    }
    let command = if besides(&blobs).any(|name| wanted(&arguments, &name)) {
        "python3 guest/main.py plan"
    } else {
        "python3 guest/main.py plan --cases"
    };
    let guest = Arc::new(Guest {
        tables,
        kernel,
        blobs,
        command,
        outcome: OnceLock::new(),
    });
    let mut trials = Vec::new();
    for job in jobs() {
        let guest = guest.clone();
        trials.push(Trial::test(job_name(job), move || guest.clean(job)));
    }
    for (variant, family) in variants_and_families() {
        for (number, blob) in guest.blobs.iter().enumerate() {
            if blob.unflagged && (variant, family) != (Variant::Legacy, Family::V6) {
                // Only there is such a flag.
                continue;
            }
            let guest = guest.clone();
            let name = blob_name(blob, variant, family);
            trials.push(Trial::test(name, move || {
                guest.blob(variant, family, number)
            }));
        }
    }
    for name in checks() {
        let guest = guest.clone();
        trials.push(Trial::ignorable_test(check_name(&name), move || {
            if name.starts_with("defragmentation-is-given-back") && !guest.kernel.ends_defrag() {
                let reason = "this kernel has no end to defragmentation but the namespace's";
                return Ok(Completion::ignored_with(reason));
            }
            if guest.kernel.may_copy_datagrams()
                && name.starts_with("contents-change-udp-")
                && guest.outcome_or_word()?.check(&name) == Some("copied")
            {
                let reason = "sendfile() copies datagrams here, as it may before 6.5";
                return Ok(Completion::ignored_with(reason));
            }
            guest.check(&name).map(|()| Completion::Completed)
        }));
    }
    for (name, place, _) in places(&guest.tables) {
        let guest = guest.clone();
        trials.push(Trial::test(name, move || guest.compare(&place)));
    }
    if let Err(reason) = captures {
        println!("no captures but our own are replayed: {reason}");
        trials.push(Trial::test("captures", || Ok(())).with_ignored_flag(true));
    }
    for (name, reason) in lacking {
        trials.push(Trial::ignorable_test(name, move || {
            Ok(Completion::ignored_with(reason))
        }));
    }
    Ok(libtest_mimic::run(&arguments, trials).exit_code())
}

/// Takes the runs out whose packets an old kernel cannot make; their names, and why.
fn take_what_lacks(tables: &mut [Table], kernel: vm::Kernel) -> Vec<(String, &'static str)> {
    let mut lacking = Vec::new();
    for (name, place, _) in places(tables) {
        let table = &tables[place.table];
        let run = &table.chains[place.chain].runs[&place.route];
        let lacks = |wire| kernel.lacks(table.family, wire);
        if let Some(reason) = run.wire.iter().find_map(lacks) {
            lacking.push((name, place, reason));
        }
    }
    for (_, place, _) in &lacking {
        tables[place.table].chains[place.chain]
            .runs
            .remove(&place.route);
    }
    lacking
        .into_iter()
        .map(|(name, _, reason)| (name, reason))
        .collect()
}

fn variants_and_families() -> impl Iterator<Item = (Variant, Family)> {
    Variant::ALL
        .into_iter()
        .flat_map(|variant| Family::ALL.map(|family| (variant, family)))
}

/// The names of all tests that are not of the plan's packets.
fn besides(blobs: &[Blob]) -> impl Iterator<Item = String> + '_ {
    let of_blobs = blobs.iter().flat_map(|blob| {
        variants_and_families().map(|(variant, family)| blob_name(blob, variant, family))
    });
    let of_checks = checks().into_iter().map(|check| check_name(&check));
    let of_jobs = jobs().into_iter().map(job_name);
    of_blobs.chain(of_checks).chain(of_jobs)
}

fn job_name(job: (&str, &str)) -> String {
    format!("guest::{}::{}", job.0, job.1)
}

fn blob_name(blob: &Blob, variant: Variant, family: Family) -> String {
    let (variant, family) = (variant.name(), family.name());
    format!("blobs::{}::{variant}::{family}", blob.name)
}

fn check_name(check: &str) -> String {
    format!("module::{check}")
}

/// The guest's jobs.
fn jobs() -> Vec<(&'static str, &'static str)> {
    let mut jobs = vec![
        ("rules", "blobs"),
        ("pages", "changing"),
        ("module", "life"),
        ("memory", "leaks"),
    ];
    jobs.extend(variants_and_families().map(|(variant, family)| (variant.name(), family.name())));
    jobs
}

/// The checks of tests/guest/blobs.py, changing.py, module.py, and leaks.py where it finds a kmemleak.
fn checks() -> Vec<String> {
    let mut checks = vec!["log-is-rate-limited".into(), "namespaces-let-go".into()];
    if env::var("XT_DNP3_KERNEL").as_deref() == Ok("debug") {
        checks.push("no-leaks".into());
    }
    for protocol in Protocol::ALL {
        for family in Family::ALL {
            let (protocol, family) = (protocol.name(), family.name());
            checks.push(format!("contents-change-{protocol}-{family}"));
        }
    }
    for (variant, family) in variants_and_families() {
        for check in [
            "a-rule-loads-it",
            "a-rule-holds-it",
            "a-namespace-holds-it",
            "replaced-and-flushed",
            "every-table-takes-it",
            "defragmentation-is-given-back",
        ] {
            checks.push(format!("{check}-{}-{}", variant.name(), family.name()));
        }
    }
    checks
}
