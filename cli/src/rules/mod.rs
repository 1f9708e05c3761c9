// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw rules`: from a baseline to the rules that let through what is in it, and nothing else.
//!
//! ```text
//! baseline --flows--> who may send what to whom: sets of addresses and functions, as few as are exact
//!          --tree---> chains that part by IP address, so that a packet meets few of the rules
//!          --write--> an iptables-restore file of IPv4 or of IPv6
//!          --proof--> read again, as `dnp3fw check` reads rules: what it accepts is the baseline
//! ```
//!
//! The policy is that of the project's README: default drop, handshake and bare ACKs, requests and
//! responses by pairs of hosts, what is behind a hole dropped, the rest reset. The chains:
//!
//! ```text
//! FORWARD or another -> DNP3 -> DNP3-REQ  -> ... by the outstation's IP address, then by the master's
//!                               DNP3-RSP  -> ... the same, of the packets that go back
//!                               what comes back from these: log, refuse
//! ```

mod flows;
mod proof;
mod tree;
mod write;

use crate::baseline::Baseline;
use crate::ruleset::Family;

pub use write::names;

/// How many pairs of hosts and of stations, in each direction, one file can be for: with them all its making takes
/// less than 200 MiB.
const MOST: usize = 80_000;

/// What is asked for beside the baseline.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which packets come to the rules.
    pub entry: Entry,
    /// Whether FORWARD's policy is left as it is, in place of DROP.
    pub keep_policy: bool,
    /// Whether connections are followed: `--track`.
    pub track: bool,
    /// What is written down of what is refused.
    pub log: Log,
    /// Whether datagrams are refused by an ICMP error, in place of silence.
    pub udp_reject: bool,
}

/// The chain in which the rules begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// What a gateway forwards.
    Forward,
    /// What a host sends and receives itself.
    Host,
    /// A chain that others jump to.
    Own(String),
}

/// What becomes of a refused packet before it is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// Nothing.
    None,
    /// A line of the kernel's log.
    Kernel {
        /// What it begins with.
        prefix: String,
        /// How many there can be, as iptables-save prints it: `6/min`.
        limit: String,
    },
    /// All of it, for a program that listens to a group of NFLOG.
    Nflog {
        /// The group.
        group: u16,
        /// What it is marked with.
        prefix: String,
        /// How many there can be.
        limit: String,
    },
}

impl Options {
    /// Whether what no rule is for is dropped by the file itself, as FORWARD's policy.
    pub fn is_closed(&self) -> bool {
        self.entry == Entry::Forward && !self.keep_policy
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            entry: Entry::Forward,
            keep_policy: false,
            track: true,
            log: Log::Kernel {
                prefix: "dnp3 refused ".into(),
                limit: "6/min".into(),
            },
            udp_reject: false,
        }
    }
}

/// The rules of a family.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The file.
    pub text: String,
    /// How many rules there are.
    pub rules: usize,
    /// In how many chains of their own.
    pub chains: usize,
    /// The most rules that a packet of the baseline meets.
    pub met: u64,
    /// A number of rules that no packet meets more than.
    pub most: u64,
    /// What is to be known about them, a line each.
    pub notes: Vec<String>,
}

/// Makes the rules for what a baseline has of a family. `name` is how the baseline is called in them.
///
/// # Errors
///
/// One line: why there can be no rules.
pub fn make(
    baseline: &Baseline,
    name: &str,
    family: Family,
    options: &Options,
) -> Result<Rules, String> {
    let mut communications = baseline.communications.iter();
    if communications.all(|one| one.links.is_empty()) {
        return Err(format!(
            "{name}: has no communications with links, and rules for none would forward nothing; \
             one at least is wanted"
        ));
    }
    let flows = flows::Flows::of(baseline, family, options);
    let size: usize = flows
        .all
        .values()
        .map(|flow| 1 + flow.functions.len())
        .sum();
    if size > MOST {
        return Err(format!(
            "{name}: is too large for one file of rules, which is for some {} pairs of hosts; make baselines of parts of \
             it, and a chain of its own for each (--chain), to which only packets of its hosts are sent",
            MOST / 4
        ));
    }
    let rules = write::write(baseline, name, family, &flows, options);
    proof::prove(rules, family, &flows, options)
}
