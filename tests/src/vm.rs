// SPDX-License-Identifier: GPL-2.0

//! From chains of rules and packets to a plan for the guest, and from what the guest says back to
//! counters.
//!
//! Every chain of a plan has an address of its own, from which its packets come, so that one set
//! of rules and one run of packets serve all of them:
//!
//! ```text
//! INPUT, OUTPUT, FORWARD -> cases: -s 10.77.0.16/28 -j g1 ...   a group of sixteen chains
//!                           g1:    -s 10.77.0.17 -p tcp -j c17
//!                           c17:   everything; the rules one by one, without a target; everything
//! ```
//!
//! tests/guest/inject.py is the other side.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::process::Command;

use crate::blobs::Blob;
use crate::cases::expected::{arrivals, counters, Counter};
use crate::cases::{Case, Family, Path, Protocol, Route, Variant, Wire};
use crate::changing;
use crate::commands;

/// Chains in a group.
const GROUP: usize = 16;

/// Some rules, and packets that only they see.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The case's title.
    pub title: String,
    /// What `-p` says.
    pub protocol: Protocol,
    /// What stands behind `-m dnp3` in each rule.
    pub rules: Vec<String>,
    /// Whether fragments are to be left as they are.
    pub untracked: bool,
    /// Variants of iptables that see it.
    pub variants: Vec<Variant>,
    /// What is sent, and what is then counted, on each route.
    pub runs: BTreeMap<Route, Run>,
}

/// A chain's packets on one route.
#[derive(Clone, Debug)]
pub struct Run {
    /// What is sent.
    pub wire: Vec<Wire>,
    /// The counters: everything, the rules one by one, everything that is left.
    pub expected: Vec<Counter>,
    /// The names of the packets that match each rule, for people.
    pub names: Vec<String>,
}

/// All chains of one family.
#[derive(Clone, Debug)]
pub struct Table {
    /// The family.
    pub family: Family,
    /// The chains; a chain's number is its place here.
    pub chains: Vec<Chain>,
}

impl Table {
    /// The chains of some cases.
    pub fn of_cases(family: Family, cases: &[Case]) -> Table {
        let mut table = Table {
            family,
            chains: Vec::new(),
        };
        for case in cases.iter().filter(|case| case.families.contains(&family)) {
            for &protocol in &case.protocols {
                table.push_case(case, protocol);
            }
        }
        table
    }

    fn push_case(&mut self, case: &Case, protocol: Protocol) {
        let runs = case.routes.iter().filter_map(|&route| {
            let arrivals = arrivals(
                case,
                Path {
                    family: self.family,
                    protocol,
                    route,
                    chain: self.chains.len(),
                    packet: 0,
                },
            );
            let rules = arrivals.first()?.matches.len();
            let names = (0..rules)
                .map(|rule| {
                    let mut names: Vec<_> = arrivals
                        .iter()
                        .filter(|arrival| arrival.matches[rule])
                        .map(|arrival| arrival.name)
                        .collect();
                    names.dedup();
                    names.join(" ")
                })
                .collect();
            let run = Run {
                expected: counters(&arrivals),
                names,
                wire: arrivals
                    .into_iter()
                    .flat_map(|arrival| arrival.wire)
                    .collect(),
            };
            Some((route, run))
        });
        let runs = runs.collect();
        self.chains.push(Chain {
            title: case.title(),
            protocol,
            rules: case
                .rules_for(protocol)
                .map(|rule| rule.text.clone())
                .collect(),
            untracked: case.untracked(),
            variants: case.variants.clone(),
            runs,
        });
    }

    /// The rules, for iptables-restore.
    fn rules(&self) -> String {
        let address = |chain: usize| match self.family {
            Family::V4 => Path::source_v4(chain).to_string(),
            Family::V6 => Path::source_v6(chain).to_string(),
        };
        let (single, group, all) = match self.family {
            Family::V4 => (32, 28, "10.77.0.0/16"),
            Family::V6 => (128, 124, "fd77::/64"),
        };
        let mut text = String::from("*filter\n");
        let mut line = |words: String| {
            text.push_str(&words);
            text.push('\n');
        };
        for hook in ["INPUT", "FORWARD", "OUTPUT"] {
            line(format!(":{hook} ACCEPT [0:0]"));
        }
        line(":cases - [0:0]".into());
        for number in 0..self.chains.len().div_ceil(GROUP) {
            line(format!(":g{number} - [0:0]"));
        }
        for number in 0..self.chains.len() {
            line(format!(":c{number} - [0:0]"));
        }
        for hook in ["INPUT", "FORWARD", "OUTPUT"] {
            line(format!("-A {hook} -s {all} -j cases"));
        }
        for number in 0..self.chains.len().div_ceil(GROUP) {
            let first = address(number * GROUP);
            line(format!("-A cases -s {first}/{group} -j g{number}"));
        }
        line("-A cases -j DROP".into());
        for (number, chain) in self.chains.iter().enumerate() {
            let protocol = chain.protocol.name();
            let (group, source) = (number / GROUP, address(number));
            line(format!(
                "-A g{group} -s {source}/{single} -p {protocol} -j c{number}"
            ));
            line(format!("-A c{number}"));
            for rule in &chain.rules {
                line(format!("-A c{number} -p {protocol} -m dnp3 {rule}"));
            }
            line(format!("-A c{number}"));
        }
        line("COMMIT".into());
        text
    }

    /// Source addresses whose fragments stay as they are.
    fn untracked(&self) -> String {
        let mut text = String::new();
        for (number, _) in self
            .chains
            .iter()
            .enumerate()
            .filter(|(_, chain)| chain.untracked)
        {
            match self.family {
                Family::V4 => writeln!(text, "{}", Path::source_v4(number)),
                Family::V6 => writeln!(text, "{}", Path::source_v6(number)),
            }
            .expect("a string takes everything");
        }
        text
    }

    fn packets(&self, route: Route) -> String {
        let mut text = String::new();
        for (number, chain) in self.chains.iter().enumerate() {
            for wire in chain.runs.get(&route).iter().flat_map(|run| &run.wire) {
                self.packet(&mut text, number, route, wire);
            }
        }
        text
    }

    /// A line of the guest's packets file.
    fn packet(&self, text: &mut String, chain: usize, route: Route, wire: &Wire) {
        let words = match wire {
            Wire::Tun(octets) => format!("tun {}", hex(octets)),
            Wire::Gso {
                kind,
                header,
                size,
                checksum_start,
                checksum_offset,
                octets,
            } => format!(
                "gso {kind} {header} {size} {checksum_start} {checksum_offset} {}",
                hex(octets)
            ),
            Wire::Pages(pages) => format!("pages {}", hex_of_all(pages)),
            Wire::Merge(frames) => format!("merge {}", hex_of_all(frames)),
            Wire::Raw(octets) => format!("raw {}", hex(octets)),
            Wire::Socket {
                protocol,
                source_port,
                segment,
                payload,
            } => {
                let path = Path {
                    family: self.family,
                    protocol: *protocol,
                    route,
                    chain,
                    packet: 0,
                };
                format!(
                    "{} {} {source_port} {segment} {} {} {}",
                    protocol.name(),
                    path.source(),
                    path.destination(),
                    Path::PORT,
                    hex(payload)
                )
            }
        };
        text.push_str(&words);
        text.push('\n');
    }
}

/// Octets as the guest's programs read them.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        write!(text, "{octet:02x}").expect("a string takes everything");
        text
    })
}

/// The same of octets in several parts.
fn hex_of_all(parts: &[Vec<u8>]) -> String {
    let parts: Vec<_> = parts.iter().map(|part| hex(part)).collect();
    parts.join(",")
}

/// Whether the guest is to find the reason in the kernel's log: once for each is enough, because such
/// lines are rate-limited.
pub fn is_logged(blobs: &[Blob], number: usize) -> bool {
    let reason = &blobs[number].refused;
    let is_first = blobs[..number].iter().all(|blob| blob.refused != *reason);
    reason.is_some() && is_first
}

/// A line of tests/guest/blobs.py's file.
fn blob_line(blobs: &[Blob], number: usize) -> String {
    let blob = &blobs[number];
    let reason = blob.refused.as_deref();
    format!(
        "{number} {} {} {} {} {}\n",
        blob.protocol,
        u8::from(blob.inverted),
        u8::from(!blob.unflagged),
        hex(&blob.octets),
        reason
            .filter(|_| is_logged(blobs, number))
            .unwrap_or_default()
    )
}

/// Writes the plan's files into a directory.
pub fn write_plan(directory: &FilePath, tables: &[Table], blobs: &[Blob]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let lines: String = (0..blobs.len())
        .map(|number| blob_line(blobs, number))
        .collect();
    fs::write(directory.join("blobs"), lines)?;
    fs::write(directory.join("changing"), changing::plan())?;
    for table in tables {
        let directory = directory.join(table.family.name());
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("rules"), table.rules())?;
        fs::write(directory.join("untracked"), table.untracked())?;
        for route in Route::ALL {
            fs::write(directory.join(route.name()), table.packets(route))?;
        }
    }
    Ok(())
}

/// Which of the guest's jobs: most often a variant and a family.
type Job = (String, String);

/// What the guest counted, and what went wrong in it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    counted: HashMap<(Job, String, String), Vec<Counter>>,
    blobs: HashMap<(Job, String), String>,
    checks: HashMap<String, String>,
    faults: Vec<(Job, String)>,
    ended: HashSet<Job>,
    /// Everything else that it said.
    pub notes: Vec<String>,
}

impl Outcome {
    /// Reads what the guest said.
    pub fn parse(text: &str) -> Outcome {
        let mut outcome = Outcome::default();
        for line in text.lines() {
            let mut words = line.split(' ');
            let mut word = || words.next().unwrap_or_default().to_string();
            match word().as_str() {
                "count" => {
                    let key = ((word(), word()), word(), word());
                    let counters = words.map(counter).collect::<Option<Vec<_>>>();
                    outcome.counted.insert(key, counters.unwrap_or_default());
                }
                "blob" => {
                    let key = ((word(), word()), word());
                    outcome.blobs.insert(key, rest(words));
                }
                "check" => {
                    let key = word();
                    outcome.checks.insert(key, rest(words));
                }
                "fault" => {
                    let job = (word(), word());
                    outcome.faults.push((job, rest(words)));
                }
                "end" => {
                    outcome.ended.insert((word(), word()));
                }
                _ => outcome.notes.push(line.into()),
            }
        }
        outcome
    }

    /// What went wrong in a job, whose name is two words.
    pub fn faults(&self, job: (&str, &str)) -> Vec<&str> {
        let is = |other: &Job| (other.0.as_str(), other.1.as_str()) == job;
        let faults = self.faults.iter().filter(|(other, _)| is(other));
        let mut faults: Vec<_> = faults.map(|(_, words)| words.as_str()).collect();
        if !self.ended.iter().any(is) {
            faults.push("it did not come to its end");
        }
        faults
    }

    /// A chain's counters; empty where the guest said nothing of it.
    pub fn counters(
        &self,
        variant: Variant,
        family: Family,
        route: Route,
        chain: usize,
    ) -> &[Counter] {
        let key = (
            job(variant, family),
            route.name().to_string(),
            format!("c{chain}"),
        );
        self.counted.get(&key).map_or(&[], Vec::as_slice)
    }

    /// What became of a blob: `taken` or an error's name, then `logged` or `silent`.
    pub fn blob(&self, variant: Variant, family: Family, number: usize) -> Option<&str> {
        let key = (job(variant, family), number.to_string());
        self.blobs.get(&key).map(String::as_str)
    }

    /// What came of one of the guest's own checks: `ok`, or what is wrong.
    pub fn check(&self, name: &str) -> Option<&str> {
        self.checks.get(name).map(String::as_str)
    }
}

fn job(variant: Variant, family: Family) -> Job {
    (variant.name().to_string(), family.name().to_string())
}

fn rest<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

fn counter(word: &str) -> Option<Counter> {
    let (packets, octets) = word.split_once(':')?;
    Some(Counter {
        packets: packets.parse().ok()?,
        octets: octets.parse().ok()?,
    })
}

/// What a kernel's version says of the packets that can be made on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kernel(pub u32, pub u32);

impl Kernel {
    /// The kernel that scripts/vm boots.
    pub fn of_the_vm() -> Result<Kernel, String> {
        let output = Command::new(project().join("scripts/vm"))
            .arg("--release")
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|error| format!("scripts/vm: {error}"))?;
        if !output.status.success() {
            return Err(format!("scripts/vm --release: {}", output.status));
        }
        let release = String::from_utf8_lossy(&output.stdout);
        Kernel::parse(&release).ok_or_else(|| format!("no kernel's release: {release:?}"))
    }

    fn parse(release: &str) -> Option<Kernel> {
        let mut numbers = release.split(['.', '-', '+']);
        Some(Kernel(
            numbers.next()?.parse().ok()?,
            numbers.next()?.parse().ok()?,
        ))
    }

    /// Whether ip6_tables itself sets the flag that a rule names a protocol: 5.10 leaves a rule
    /// without it as it is, 6.1 does not.
    pub fn flags_protocol(self) -> bool {
        self >= Kernel(6, 1)
    }

    /// Whether defragmentation ends when nobody asks for it any more: before 5.13 there is
    /// no nf_defrag_ipv4_disable().
    pub fn ends_defrag(self) -> bool {
        self >= Kernel(5, 13)
    }

    /// Whether sendfile() may copy what it hands to a UDP socket. From 6.5 on it never does. Before, it always
    /// did over IPv6, and over IPv4 in the later stable releases of 6.1, which have that change by half.
    pub fn may_copy_datagrams(self) -> bool {
        self < Kernel(6, 5)
    }

    /// Counts what this kernel makes: from 7.0 on it puts no jumbo option (RFC 2675) of eight octets
    /// into the IPv6 packets that are too large for their header's length.
    pub fn adapt(self, family: Family, run: &mut Run) {
        let big = |wire: &Wire| {
            matches!(wire, Wire::Merge(_) | Wire::Socket { .. }) && octets_of(wire) > LARGEST
        };
        if self >= Kernel(7, 0) && family == Family::V6 && run.wire.iter().any(big) {
            assert!(run.wire.iter().all(big), "a run of large and small packets");
            for counter in &mut run.expected {
                counter.octets -= 8 * counter.packets;
            }
        }
    }

    /// Why a packet of this shape cannot be made here, if so.
    pub fn lacks(self, family: Family, wire: &Wire) -> Option<&'static str> {
        let octets = octets_of(wire);
        let big = match family {
            Family::V4 => Kernel(6, 3),
            Family::V6 => Kernel(5, 19),
        };
        match wire {
            Wire::Gso { kind: 5, .. } if self < Kernel(6, 2) => {
                Some("a tun device takes no UDP GSO before 6.2")
            }
            Wire::Gso { .. } if octets > LARGEST && self < Kernel(6, 6) => {
                Some("a tun device takes no BIG TCP before 6.6")
            }
            _ if octets > LARGEST && self < big => Some("there is no BIG TCP yet"),
            Wire::Merge(_) if self < Kernel(5, 12) => {
                Some("GRO cannot be made to wait for a flow before 5.12, which has NAPI threads")
            }
            _ => None,
        }
    }
}

/// Above this, a packet's length does not fit into the IP header.
const LARGEST: usize = 65535;

fn octets_of(wire: &Wire) -> usize {
    match wire {
        Wire::Tun(octets) | Wire::Raw(octets) | Wire::Gso { octets, .. } => octets.len(),
        Wire::Pages(parts) | Wire::Merge(parts) => parts.iter().map(Vec::len).sum(),
        Wire::Socket { payload, .. } => payload.len(),
    }
}

/// No packet may take more instructions of the guest's CPU than this for each octet of its payload, by one rule. What is
/// measured is three quarters of it; compilers differ.
pub const PER_OCTET: u64 = 160;
/// The same where the connection is followed, with the commit behind all rules.
pub const PER_OCTET_FOLLOWED: u64 = 180;
/// What every packet costs, however short.
pub const FIXED: u64 = 5000;

/// Where the project's files are.
pub fn project() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `scripts/vm` with the pinned packages of PyPI in the guest, for programs of tests/guest that use them.
pub fn with_packages() -> Result<Command, String> {
    let packages = commands::succeed(&mut commands::script("site-packages"))?;
    let mut command = commands::script("vm");
    put(
        &mut command,
        FilePath::new(packages.trim_end()),
        "/usr/lib/python3/dist-packages",
    );
    Ok(command)
}

/// Has `scripts/vm` put a file or a directory into the guest.
pub fn put<'a>(command: &'a mut Command, host: &FilePath, guest: &str) -> &'a mut Command {
    command.args(["--add", &format!("{}:{guest}", host.display())])
}

/// Has it put tests/guest there.
pub fn put_guest(command: &mut Command) -> &mut Command {
    put(command, &project().join("tests/guest"), "guest")
}

/// Runs a command in the VM with `plan` and tests/guest beside it; what it printed, or why not.
pub fn run(plan: &FilePath, command: &str, cpus: u32, seconds: u32) -> Result<String, String> {
    let mut vm = commands::script("vm");
    vm.args(["--cpus", &cpus.to_string()])
        .args(["--timeout", &seconds.to_string()]);
    let output = put_guest(put(&mut vm, plan, "plan"))
        .args(["--", command])
        .output()
        .map_err(|error| format!("scripts/vm: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let cut = |line: &str| line.chars().take(200).collect::<String>();
    let last: Vec<_> = said.lines().rev().take(5).map(cut).collect();
    Err(format!(
        "scripts/vm: {}\n{errors}\nits last lines were: {last:?}",
        output.status
    ))
}
