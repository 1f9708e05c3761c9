// SPDX-License-Identifier: GPL-2.0

//! Rules of iptables as data: what iptables-save prints and iptables-restore takes, as far as it
//! concerns DNP3, and the way of a packet through them.
//!
//! [`Ruleset::parse`] reads a file. What is no rule at all is an [`Error`]. What is one, and cannot be
//! judged here, is kept as [`Test::Unknown`] or [`Target::Unknown`] with the reason, so that nobody takes
//! it for something else: [`Ruleset::walk`] goes on with both answers, and says of a packet every
//! verdict that it can come to.
//!
//! The options of `-m dnp3` are `dnp3_core`'s to read, as they are the extension's.

mod parse;
mod words;

pub use parse::Error;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// Octets that a file of rules can have.
pub const MAX_OCTETS: usize = 16 << 20;
/// Rules that it can have, in all chains.
pub const MAX_RULES: usize = 100_000;
/// How deep chains can be nested.
pub const MAX_DEPTH: usize = 128;
/// Rules that a packet is walked through; chains can lead to each other in very many ways.
const MAX_STEPS: u64 = 4_000_000;

/// The type of ICMP that stands for all of them, in rules of IPv4.
pub const ANY_ICMP: u8 = 255;

/// IPv4, of which iptables is the program, or IPv6, of which ip6tables is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Family {
    /// That of an address.
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Addresses whose first bits are these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Net {
    /// The bits; those that do not count are zero. IPv4's are the last 32.
    pub address: u128,
    /// The bits that count.
    pub mask: u128,
    /// The family.
    pub family: Family,
}

impl Net {
    /// Whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = match address {
            IpAddr::V4(address) => u128::from(u32::from(address)),
            IpAddr::V6(address) => u128::from(address),
        };
        Family::of(address) == self.family && bits & self.mask == self.address
    }
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Net, String> {
        let family = if words::is_v6(text) {
            Family::V6
        } else {
            Family::V4
        };
        words::net(text, family)?
            .ok_or_else(|| format!("{} is a name; an address is wanted", words::quoted(text)))
    }
}

/// A test of `-m tcp`, `-m udp` or `-m multiport`: which ports are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// The sender's.
    Source,
    /// The receiver's.
    Destination,
    /// One of them.
    Either,
}

/// Bits of [`Test::State`], as `--ctstate` names them.
pub mod state {
    /// No connection that conntrack knows, and none that could begin so.
    pub const INVALID: u8 = 1 << 0;
    /// Begins a connection, or belongs to one of which only one direction was seen.
    pub const NEW: u8 = 1 << 1;
    /// Belongs to one of which both directions were seen.
    pub const ESTABLISHED: u8 = 1 << 2;
    /// Begins one that another expects, or is an ICMP error about one.
    pub const RELATED: u8 = 1 << 3;
    /// Is not tracked, by a rule of the table raw.
    pub const UNTRACKED: u8 = 1 << 4;
    /// Has a source address that is translated.
    pub const SNAT: u8 = 1 << 5;
    /// Has a destination address that is translated.
    pub const DNAT: u8 = 1 << 6;
}

/// What a rule asks of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// `-s`
    Source(Box<Net>),
    /// `-d`
    Destination(Box<Net>),
    /// `-i`: which interface it came in by, a name or with `+` the beginning of one.
    In(Box<str>),
    /// `-o`: which it goes out by.
    Out(Box<str>),
    /// `-p`
    Protocol(u8),
    /// `-f`: a fragment behind the first.
    Fragment,
    /// `--sport` and the like of `-m tcp` and `-m udp`: any port from the first to the last.
    Ports(Port, u16, u16),
    /// `-m multiport`: any of these ranges.
    Multiport(Port, Box<[(u16, u16)]>),
    /// `--tcp-flags`: of those in the first, just those in the second are set.
    TcpFlags(u8, u8),
    /// `--icmp-type`, `--icmpv6-type`: a type, and codes from the first to the last.
    Icmp(u8, u8, u8),
    /// `--ctstate`, or `--state`: bits of [`state`].
    State(u8),
    /// `--ctdir`: whether it is ORIGINAL that is wanted.
    OfOriginal(bool),
    /// `-m dnp3`
    Dnp3(Box<dnp3_core::Rule>),
    /// `-m limit`: matches as long as not too many did, which is a matter of time.
    Limit,
    /// What cannot be judged here, and why.
    Unknown(Box<str>),
}

/// A test, with `!` before it or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Whether `!` stands before it.
    pub inverted: bool,
    /// The test.
    pub test: Test,
}

/// What happens to a packet that satisfies a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nothing; it is counted.
    None,
    /// `-j ACCEPT`
    Accept,
    /// `-j DROP`
    Drop,
    /// `-j REJECT`, and with what it is answered.
    Reject(Box<str>),
    /// `-j RETURN`
    Return,
    /// `-j LOG`
    Log,
    /// `-j NFLOG`
    Nflog,
    /// `-j CHAIN`: that chain, and then what follows here.
    Jump(usize),
    /// `-g CHAIN`: that chain, and then what follows where this one was called.
    Goto(usize),
    /// What cannot be judged here, and why.
    Unknown(Box<str>),
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its line in the file, from 1 on.
    pub line: usize,
    /// As it stands there, without the counters.
    pub text: Box<str>,
    /// Packets and octets that the file says it has counted.
    pub counter: Option<(u64, u64)>,
    /// What `-m comment` says.
    pub comment: Option<Box<str>>,
    /// What it asks, in the order in which the kernel does.
    pub conditions: Box<[Condition]>,
    /// What it does.
    pub target: Target,
}

impl Rule {
    /// Why it cannot be judged, where that is so: a reason for each of its parts.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        let target = match &self.target {
            Target::Unknown(why) => Some(&**why),
            _ => None,
        };
        self.conditions
            .iter()
            .filter_map(|condition| match &condition.test {
                Test::Unknown(why) => Some(&**why),
                _ => None,
            })
            .chain(target)
    }

    /// Its dnp3 matches.
    pub fn dnp3(&self) -> impl Iterator<Item = &dnp3_core::Rule> {
        self.conditions
            .iter()
            .filter_map(|condition| match &condition.test {
                Test::Dnp3(rule) => Some(&**rule),
                _ => None,
            })
    }
}

/// What a built-in chain does with what comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// `ACCEPT`
    Accept,
    /// `DROP`
    Drop,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: Box<str>,
    /// Where it is first named in the file, from 1 on; 0 for a built-in chain that is not.
    pub line: usize,
    /// That of a built-in chain.
    pub policy: Option<Policy>,
    /// Packets and octets that the file says its policy has counted.
    pub counter: Option<(u64, u64)>,
    /// The rules, by their places in [`Ruleset::rules`].
    pub rules: Vec<usize>,
}

/// A table that is not judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Its name.
    pub table: Box<str>,
    /// Its line in the file.
    pub line: usize,
    /// Rules in it.
    pub rules: usize,
    /// Chains that have rules, or a policy that drops.
    pub chains: BTreeSet<Box<str>>,
}

/// The table `filter` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// IPv4 or IPv6.
    pub family: Family,
    /// Whether iptables-legacy has saved them: it drops packets whose TCP or UDP header is cut short
    /// on the spot, where iptables-nft may go on.
    pub is_legacy: bool,
    /// All rules, in the order of the file.
    pub rules: Vec<Rule>,
    /// The chains, the built-in ones first: INPUT, FORWARD, OUTPUT.
    pub chains: Vec<Chain>,
    /// Other tables.
    pub skipped: Vec<Skipped>,
}

/// Whether a packet satisfies a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does not.
    No,
    /// It may: something of the rule cannot be judged.
    Maybe,
    /// It does.
    Yes,
    /// It is dropped on the spot, since its header cannot be right.
    HotDrop,
    /// Either it is dropped on the spot, or it does not satisfy the rule.
    MaybeHotDrop,
    /// Any of these.
    Any,
}

/// What a walk comes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The packet satisfies this rule; `surely`, or perhaps.
    Matches {
        /// The rule's place in [`Ruleset::rules`].
        rule: usize,
        /// Whether that is certain, and that it comes here at all.
        surely: bool,
    },
    /// The packet's way ends here, with this verdict; `surely`, or perhaps.
    Ends {
        /// The rule; `None` for the chain's policy.
        rule: Option<usize>,
        /// What becomes of the packet.
        verdict: Verdict,
        /// Whether that is certain.
        surely: bool,
    },
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verdict {
    /// It goes on.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped, and its sender is told.
    Reject,
}

/// All that can become of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// It may be accepted.
    pub accept: bool,
    /// It may be dropped, or rejected.
    pub drop: bool,
    /// Rules that were asked.
    pub asked: u64,
}

impl Outcome {
    /// Whether it is one of them for certain.
    pub fn is_certain(&self) -> bool {
        self.accept != self.drop
    }
}

/// What a chain can come to.
#[derive(Clone, Copy, Default)]
struct Ways {
    accept: bool,
    drop: bool,
    /// The packet comes back to where the chain was called.
    back: bool,
}

/// A walk under way.
struct Walk<'a> {
    rules: &'a Ruleset,
    ask: &'a mut dyn FnMut(usize, &Rule, bool) -> Answer,
    tell: &'a mut dyn FnMut(Step),
    asked: u64,
}

impl Ruleset {
    /// A chain's place in [`Ruleset::chains`].
    pub fn chain(&self, name: &str) -> Option<usize> {
        self.chains.iter().position(|chain| &*chain.name == name)
    }

    /// Goes through a built-in chain as a packet does. `ask` says whether the packet satisfies a rule,
    /// which is asked by its place; `tell` hears which rules it satisfies, in their order, and where its way
    /// ends. Where `ask` has no certain answer both ways are gone.
    pub fn walk(
        &self,
        chain: usize,
        ask: &mut dyn FnMut(usize, &Rule) -> Answer,
        tell: &mut dyn FnMut(Step),
    ) -> Outcome {
        self.walk_knowing(chain, &mut |number, rule, _| ask(number, rule), tell)
    }

    /// The same; `ask` hears as well whether it is certain that the packet comes to the rule.
    pub fn walk_knowing(
        &self,
        chain: usize,
        ask: &mut dyn FnMut(usize, &Rule, bool) -> Answer,
        tell: &mut dyn FnMut(Step),
    ) -> Outcome {
        let mut walk = Walk {
            rules: self,
            ask,
            tell,
            asked: 0,
        };
        let mut surely = true;
        let ways = walk.chain(chain, &mut surely, MAX_DEPTH);
        let mut outcome = Outcome {
            accept: ways.accept,
            drop: ways.drop,
            asked: walk.asked,
        };
        if ways.back {
            let policy = self.chains.get(chain).and_then(|chain| chain.policy);
            let verdict = match policy {
                Some(Policy::Drop) => Verdict::Drop,
                Some(Policy::Accept) | None => Verdict::Accept,
            };
            outcome.accept |= verdict == Verdict::Accept;
            outcome.drop |= verdict == Verdict::Drop;
            tell(Step::Ends {
                rule: None,
                verdict,
                surely,
            });
        }
        outcome
    }
}

impl Walk<'_> {
    /// `surely`: whether the packet certainly comes here; and, afterwards, whether it certainly comes
    /// back, if it may.
    fn chain(&mut self, chain: usize, surely: &mut bool, depth: usize) -> Ways {
        let mut ways = Ways::default();
        let rules = self.rules;
        let Some(chain) = rules.chains.get(chain).filter(|_| depth != 0) else {
            return Ways {
                accept: true,
                drop: true,
                back: true,
            };
        };
        for &number in &chain.rules {
            let Some(rule) = rules.rules.get(number) else {
                continue;
            };
            self.asked += 1;
            if self.asked > MAX_STEPS {
                *surely = false;
                return Ways {
                    accept: true,
                    drop: true,
                    back: false,
                };
            }
            let answer = (self.ask)(number, rule, *surely);
            let is_certain = match answer {
                Answer::No => continue,
                Answer::HotDrop | Answer::MaybeHotDrop => {
                    ways.drop = true;
                    let is_certain = *surely && answer == Answer::HotDrop;
                    self.ends(number, Verdict::Drop, is_certain);
                    if answer == Answer::HotDrop {
                        return ways;
                    }
                    *surely = false;
                    continue;
                }
                Answer::Yes => *surely,
                Answer::Maybe => false,
                Answer::Any => {
                    ways.drop = true;
                    self.ends(number, Verdict::Drop, false);
                    *surely = false;
                    false
                }
            };
            (self.tell)(Step::Matches {
                rule: number,
                surely: is_certain,
            });
            let mut comes_on = false;
            // Whether it is certain that it comes on, if it does.
            let mut comes_surely = *surely;
            match &rule.target {
                Target::None | Target::Log | Target::Nflog => comes_on = true,
                Target::Accept => {
                    ways.accept = true;
                    self.ends(number, Verdict::Accept, is_certain);
                }
                Target::Drop => {
                    ways.drop = true;
                    self.ends(number, Verdict::Drop, is_certain);
                }
                Target::Reject(_) => {
                    ways.drop = true;
                    self.ends(number, Verdict::Reject, is_certain);
                }
                Target::Return => ways.back = true,
                Target::Jump(to) | Target::Goto(to) => {
                    let mut inner = is_certain;
                    let found = self.chain(*to, &mut inner, depth - 1);
                    ways.accept |= found.accept;
                    ways.drop |= found.drop;
                    match rule.target {
                        Target::Jump(_) => comes_on = found.back,
                        _ => ways.back |= found.back,
                    }
                    comes_surely &= !(found.accept || found.drop);
                    if matches!(rule.target, Target::Goto(_)) && answer == Answer::Yes {
                        *surely = inner;
                        return ways;
                    }
                }
                Target::Unknown(_) => {
                    ways.accept = true;
                    ways.drop = true;
                    self.ends(number, Verdict::Accept, false);
                    self.ends(number, Verdict::Drop, false);
                    comes_on = true;
                    comes_surely = false;
                }
            }
            if answer == Answer::Yes {
                if !comes_on {
                    return ways;
                }
                *surely &= comes_surely;
            } else if !matches!(rule.target, Target::None | Target::Log | Target::Nflog) {
                // It comes on for certain only where the target leads nowhere else.
                let leads_back = matches!(rule.target, Target::Jump(_)) && comes_on && comes_surely;
                *surely &= leads_back;
            }
        }
        ways.back = true;
        ways
    }

    fn ends(&mut self, rule: usize, verdict: Verdict, surely: bool) {
        (self.tell)(Step::Ends {
            rule: Some(rule),
            verdict,
            surely,
        });
    }
}
