// SPDX-License-Identifier: GPL-2.0

//! Reads a file of iptables-save, line by line, as iptables-restore does.

use super::words::{self, quoted, Refused};
use super::{
    Chain, Condition, Family, Policy, Port, Rule, Ruleset, Skipped, Target, Test, MAX_DEPTH,
    MAX_OCTETS, MAX_RULES,
};
use dnp3_core::text::{Builder, Opt};
use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// Why a file holds no rules that iptables-restore would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Error {}

/// Names that are longer iptables refuses.
const MAX_CHAIN: usize = 28;
const MAX_INTERFACE: usize = 15;
const BUILT_IN: [&str; 3] = ["INPUT", "FORWARD", "OUTPUT"];

/// Targets that are known to do something, and that cannot be judged here; those of xtables-addons
/// as well. Any other name is a slip, of a chain that is not there.
const TARGETS: [&str; 47] = [
    "ACCOUNT",
    "AUDIT",
    "CHAOS",
    "CHECKSUM",
    "CLASSIFY",
    "CLUSTERIP",
    "CONNMARK",
    "CONNSECMARK",
    "CT",
    "DELUDE",
    "DHCPMAC",
    "DNAT",
    "DNETMAP",
    "DNPT",
    "DSCP",
    "ECHO",
    "ECN",
    "FLOWOFFLOAD",
    "HL",
    "HMARK",
    "IDLETIMER",
    "IPMARK",
    "LED",
    "LOGMARK",
    "MARK",
    "MASQUERADE",
    "NETMAP",
    "NFQUEUE",
    "NOTRACK",
    "PROTO",
    "QUEUE",
    "RATEEST",
    "REDIRECT",
    "SECMARK",
    "SET",
    "SNAT",
    "SNPT",
    "SYNPROXY",
    "TARPIT",
    "TCPMSS",
    "TCPOPTSTRIP",
    "TEE",
    "TOS",
    "TPROXY",
    "TRACE",
    "TTL",
    "ULOG",
];

/// What `--reject-with` takes.
const REJECT_V4: [&str; 16] = [
    "icmp-net-unreachable",
    "net-unreach",
    "icmp-host-unreachable",
    "host-unreach",
    "icmp-proto-unreachable",
    "proto-unreach",
    "icmp-port-unreachable",
    "port-unreach",
    "icmp-net-prohibited",
    "net-prohib",
    "icmp-host-prohibited",
    "host-prohib",
    "icmp-admin-prohibited",
    "admin-prohib",
    "tcp-reset",
    "tcp-rst",
];
const REJECT_V6: [&str; 12] = [
    "icmp6-no-route",
    "no-route",
    "icmp6-adm-prohibited",
    "adm-prohibited",
    "icmp6-addr-unreachable",
    "addr-unreach",
    "icmp6-port-unreachable",
    "port-unreach",
    "icmp6-policy-fail",
    "policy-fail",
    "tcp-reset",
    "reject-route",
];

/// Protocol numbers.
mod number {
    pub(super) const ICMP: u8 = 1;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const DCCP: u8 = 33;
    pub(super) const ICMPV6: u8 = 58;
    pub(super) const SCTP: u8 = 132;
    pub(super) const UDPLITE: u8 = 136;
}

impl Ruleset {
    /// Reads a file. `family` is that of its rules; `None` where it is to be told by the file: one of
    /// ip6tables-save says so, and one that has an address of IPv6 or says `ipv6-icmp` is of IPv6 as well.
    ///
    /// # Errors
    ///
    /// The first line that iptables-restore would not take.
    pub fn parse(text: &str, family: Option<Family>) -> Result<Ruleset, Error> {
        if text.len() > MAX_OCTETS {
            return Err(Error {
                line: 1,
                what: format!(
                    "the file is larger than {} MiB, which is allowed",
                    MAX_OCTETS >> 20
                ),
            });
        }
        let family = family.unwrap_or_else(|| family_of(text));
        let mut file = File::new(family);
        let mut line = 0;
        for text in text.split_inclusive('\n') {
            line += 1;
            file.line = line;
            // A command, a table or a target of another name, to iptables-restore.
            if text.ends_with("\r\n") {
                return Err(Error {
                    line,
                    what: "ends in CR LF, which iptables-restore does not take; LF is wanted"
                        .into(),
                });
            }
            let text = text.strip_suffix('\n').unwrap_or(text);
            file.take(text).map_err(|what| Error { line, what })?;
        }
        file.finish().map_err(|(at, what)| Error {
            line: at.unwrap_or(line.max(1)),
            what,
        })
    }

    /// The same of what is in a file.
    ///
    /// # Errors
    ///
    /// Those of [`parse`](Ruleset::parse), and octets that are no text in UTF-8.
    pub fn read(octets: &[u8], family: Option<Family>) -> Result<Ruleset, Error> {
        match std::str::from_utf8(octets) {
            Ok(text) => Ruleset::parse(text, family),
            Err(error) => {
                let before = octets.get(..error.valid_up_to()).unwrap_or_default();
                let line = 1 + before.iter().filter(|octet| **octet == b'\n').count();
                Err(Error {
                    line,
                    what: "is not text in UTF-8; what iptables-save prints is wanted".into(),
                })
            }
        }
    }
}

fn family_of(text: &str) -> Family {
    let is_v6 = text.lines().any(|line| {
        if line.starts_with('#') {
            return line.contains("ip6tables-");
        }
        line.split([' ', ','])
            .any(|word| words::is_v6(word) || word == "ipv6-icmp" || word == "icmpv6")
    });
    if is_v6 {
        Family::V6
    } else {
        Family::V4
    }
}

/// Which table the lines are of.
enum Table {
    None,
    Filter,
    Other,
}

/// A file that is being read.
struct File {
    set: Ruleset,
    names: HashMap<Box<str>, usize>,
    table: Table,
    has_filter: bool,
    line: usize,
}

impl File {
    fn new(family: Family) -> File {
        let chains: Vec<_> = BUILT_IN
            .iter()
            .map(|name| Chain {
                name: (*name).into(),
                line: 0,
                policy: Some(Policy::Accept),
                counter: None,
                rules: Vec::new(),
            })
            .collect();
        File {
            names: chains
                .iter()
                .enumerate()
                .map(|(number, chain)| (chain.name.clone(), number))
                .collect(),
            set: Ruleset {
                family,
                is_legacy: false,
                rules: Vec::new(),
                chains,
                skipped: Vec::new(),
            },
            table: Table::None,
            has_filter: false,
            line: 0,
        }
    }

    fn take(&mut self, text: &str) -> Result<(), Refused> {
        let text = text.trim_matches([' ', '\t']);
        if let Some(comment) = text.strip_prefix('#') {
            let is_saved = [
                " Generated by iptables-save ",
                " Generated by ip6tables-save ",
            ]
            .iter()
            .any(|words| comment.starts_with(words));
            self.set.is_legacy |= is_saved && !comment.contains("(nf_tables)");
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        if let Some(name) = text.strip_prefix('*') {
            return self.begin(name);
        }
        match self.table {
            Table::None => Err(format!(
                "{} is in no table; *filter begins one",
                quoted(text)
            )),
            _ if text == "COMMIT" => {
                self.table = Table::None;
                Ok(())
            }
            Table::Other => {
                if let Some(skipped) = self.set.skipped.last_mut() {
                    skipped.line_of(text);
                }
                Ok(())
            }
            Table::Filter => match text.strip_prefix(':') {
                Some(chain) => self.chain_line(chain),
                None => self.command(text),
            },
        }
    }

    fn begin(&mut self, name: &str) -> Result<(), Refused> {
        if !matches!(self.table, Table::None) {
            return Err(format!(
                "the table before *{} has not ended; COMMIT ends one",
                name.escape_debug()
            ));
        }
        self.table = match name {
            "filter" if self.has_filter => {
                return Err("the table filter comes twice; once is allowed".into())
            }
            "filter" => {
                self.has_filter = true;
                Table::Filter
            }
            "nat" | "mangle" | "raw" | "security" => {
                self.set.skipped.push(Skipped {
                    table: name.into(),
                    line: self.line,
                    rules: 0,
                    chains: BTreeSet::new(),
                });
                Table::Other
            }
            _ => {
                return Err(format!(
                    "{} is no table; filter, nat, mangle, raw and security are",
                    quoted(name)
                ))
            }
        };
        Ok(())
    }

    /// `:FORWARD DROP [0:0]`
    fn chain_line(&mut self, text: &str) -> Result<(), Refused> {
        let words: Vec<_> = text.split_ascii_whitespace().collect();
        let (name, policy, counter) = match *words.as_slice() {
            [name, policy] => (name, policy, None),
            [name, policy, counter] if words::counter(counter).is_some() => {
                (name, policy, words::counter(counter))
            }
            _ => {
                return Err(format!(
                    "{} is no chain; as :FORWARD DROP [0:0] or :NAME - [0:0] one is",
                    quoted(text)
                ))
            }
        };
        if BUILT_IN.contains(&name) {
            return self.policy(name, policy, counter);
        }
        if policy != "-" {
            return Err(format!(
                "{} is no built-in chain, and so its policy can only be -; {} are",
                quoted(name),
                BUILT_IN.join(", ")
            ));
        }
        self.new_chain(name)
    }

    fn policy(
        &mut self,
        name: &str,
        policy: &str,
        counter: Option<(u64, u64)>,
    ) -> Result<(), Refused> {
        let number = self.known(name)?;
        let line = self.line;
        let policy = match policy {
            "ACCEPT" => Policy::Accept,
            "DROP" => Policy::Drop,
            // Of a chain of nftables that has none.
            "-" => return Ok(()),
            _ => {
                return Err(format!(
                    "{} is no policy; ACCEPT and DROP are",
                    quoted(policy)
                ))
            }
        };
        match self.set.chains.get_mut(number) {
            Some(chain) if chain.policy.is_some() => {
                chain.policy = Some(policy);
                chain.counter = counter;
                chain.line = line;
                Ok(())
            }
            _ => Err(format!(
                "{} has no policy; {} have one",
                quoted(name),
                BUILT_IN.join(", ")
            )),
        }
    }

    fn new_chain(&mut self, name: &str) -> Result<(), Refused> {
        let is_target = matches!(
            name,
            "ACCEPT" | "DROP" | "RETURN" | "REJECT" | "LOG" | "NFLOG"
        );
        if name.is_empty()
            || name.len() > MAX_CHAIN
            || name.starts_with(['-', '!'])
            || name.contains(char::is_whitespace)
            || is_target
            || TARGETS.contains(&name)
        {
            return Err(format!(
                "{} cannot name a chain; what can has 1 to {MAX_CHAIN} octets, no blank, no - or ! at its \
                 beginning, and is no target's name",
                quoted(name)
            ));
        }
        if self.names.contains_key(name) {
            return Err(format!("the chain {} is there already", quoted(name)));
        }
        self.names.insert(name.into(), self.set.chains.len());
        self.set.chains.push(Chain {
            name: name.into(),
            line: self.line,
            policy: None,
            counter: None,
            rules: Vec::new(),
        });
        Ok(())
    }

    fn known(&self, name: &str) -> Result<usize, Refused> {
        self.names.get(name).copied().ok_or_else(|| {
            format!(
                "there is no chain {}; :{} - or -N makes one, before it is used",
                quoted(name),
                name.escape_debug()
            )
        })
    }

    /// A line that begins with a command.
    fn command(&mut self, text: &str) -> Result<(), Refused> {
        let mut text = text;
        let mut counter = None;
        if text.starts_with('[') {
            let (word, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
            counter =
                Some(words::counter(word).ok_or_else(|| {
                    format!("{} is no counter; as [12:3456] one is", quoted(word))
                })?);
            text = rest.trim_start();
        }
        let words = words::split(text)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match *words.as_slice() {
            ["-N" | "--new-chain", name] => self.new_chain(name),
            ["-P" | "--policy", name, policy] => self.policy(name, policy, None),
            ["-A" | "--append", name, ref options @ ..] => {
                let chain = self.known(name)?;
                self.rule(chain, None, options, text, counter)
            }
            ["-I" | "--insert", name, place, ref options @ ..]
                if place.starts_with(|letter: char| letter.is_ascii_digit()) =>
            {
                let chain = self.known(name)?;
                let length = self
                    .set
                    .chains
                    .get(chain)
                    .map_or(0, |chain| chain.rules.len());
                let place = words::number(place)
                    .and_then(|place| usize::try_from(place).ok()?.checked_sub(1))
                    .filter(|place| *place <= length)
                    .ok_or_else(|| {
                        format!(
                            "{} has {length} rules; -I takes a place from 1 to {}",
                            quoted(name),
                            length + 1
                        )
                    })?;
                self.rule(chain, Some(place), options, text, counter)
            }
            ["-I" | "--insert", name, ref options @ ..] => {
                let chain = self.known(name)?;
                self.rule(chain, Some(0), options, text, counter)
            }
            _ => Err(format!(
                "{} is not understood; :CHAIN POLICY, -A, -I, -N, -P and COMMIT are",
                quoted(text)
            )),
        }
    }

    fn rule(
        &mut self,
        chain: usize,
        place: Option<usize>,
        words: &[&str],
        text: &str,
        counter: Option<(u64, u64)>,
    ) -> Result<(), Refused> {
        let mut parser = Parser::new(self.set.family, &self.names);
        parser.take(words)?;
        let counter = counter.or(parser.counter);
        if parser.is_of_other {
            return Ok(());
        }
        // Those of an option with several addresses are rules of their own.
        for (target, comment, conditions) in parser.finish()? {
            if self.set.rules.len() >= MAX_RULES {
                return Err(format!(
                    "there are more than {MAX_RULES} rules, which are allowed"
                ));
            }
            let rule = self.set.rules.len();
            self.set.rules.push(Rule {
                line: self.line,
                text: text.into(),
                counter,
                comment,
                conditions,
                target,
            });
            if let Some(chain) = self.set.chains.get_mut(chain) {
                match place {
                    // As iptables does: of several the last comes first.
                    Some(place) => chain.rules.insert(place, rule),
                    None => chain.rules.push(rule),
                }
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Ruleset, (Option<usize>, Refused)> {
        if !matches!(self.table, Table::None) {
            return Err((
                None,
                "the file ends without COMMIT, and iptables-restore takes nothing of the table then".into(),
            ));
        }
        if !self.has_filter {
            return Err((
                None,
                "there is no table filter, which is the one that is judged; *filter begins it"
                    .into(),
            ));
        }
        self.set.depth()?;
        Ok(self.set)
    }
}

impl Skipped {
    /// A line of the table, of which is only asked whether it does something, and in which chain.
    fn line_of(&mut self, text: &str) {
        let mut words = text.split_ascii_whitespace().peekable();
        words.next_if(|word| word.starts_with('['));
        let chain = match (words.next().unwrap_or_default(), words.next()) {
            ("-N" | "--new-chain", _) => return,
            ("-P" | "--policy", chain) => match words.next() {
                Some("ACCEPT") => return,
                _ => chain,
            },
            (word, policy) => match word.strip_prefix(':') {
                Some(_) if policy != Some("DROP") => return,
                Some(chain) => Some(chain),
                None => {
                    self.rules += 1;
                    policy
                }
            },
        };
        self.chains.insert(chain.unwrap_or_default().into());
    }

    /// Whether packets that come to a chain of the table filter pass a rule here, or a policy that drops.
    /// To one that is not built in all may come.
    pub fn is_passed(&self, filter: &str) -> bool {
        let on_the_way: &[&str] = match filter {
            "INPUT" => &["PREROUTING", "INPUT"],
            "FORWARD" => &["PREROUTING", "FORWARD", "POSTROUTING"],
            "OUTPUT" => &["OUTPUT", "POSTROUTING"],
            _ => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        };
        on_the_way.iter().any(|name| self.chains.contains(*name))
    }
}

impl Ruleset {
    /// Sees to it that no chain leads to itself, and none too deep.
    fn depth(&self) -> Result<(), (Option<usize>, Refused)> {
        #[derive(Clone, Copy)]
        enum Seen {
            Not,
            Within,
            /// So many chains deep.
            Done(usize),
        }
        let mut seen = vec![Seen::Not; self.chains.len()];
        // Chains on the way, with the place of the rule that comes next, and how deep what lies below is.
        let mut way: Vec<(usize, usize, usize)> = Vec::new();
        for start in 0..self.chains.len() {
            if !matches!(seen.get(start), Some(Seen::Not)) {
                continue;
            }
            way.push((start, 0, 0));
            if let Some(seen) = seen.get_mut(start) {
                *seen = Seen::Within;
            }
            while let Some((chain, next, below)) = way.last_mut() {
                let rule = self
                    .chains
                    .get(*chain)
                    .and_then(|chain| chain.rules.get(*next));
                let Some(rule) = rule.and_then(|rule| self.rules.get(*rule)) else {
                    let (chain, deep) = (*chain, *below + 1);
                    way.pop();
                    if let Some(seen) = seen.get_mut(chain) {
                        *seen = Seen::Done(deep);
                    }
                    if let Some((.., below)) = way.last_mut() {
                        *below = deep.max(*below);
                    }
                    continue;
                };
                *next += 1;
                let (Target::Jump(to) | Target::Goto(to)) = rule.target else {
                    continue;
                };
                let name = self.chains.get(to).map_or("", |chain| &chain.name);
                match seen.get(to) {
                    Some(Seen::Within) => {
                        return Err((
                            Some(rule.line),
                            format!("the chain {} leads to itself by this rule", quoted(name)),
                        ))
                    }
                    Some(Seen::Done(deep)) => *below = (*deep).max(*below),
                    _ => {
                        if let Some(seen) = seen.get_mut(to) {
                            *seen = Seen::Within;
                        }
                        way.push((to, 0, 0));
                    }
                }
                let deep = way.len() + way.last().map_or(0, |(.., below)| *below);
                if deep > MAX_DEPTH {
                    return Err((
                        Some(rule.line),
                        format!("chains are nested deeper than {MAX_DEPTH}, which is allowed, by this rule"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// A match or target whose options are known.
enum Loaded {
    Tcp,
    Udp,
    Icmp,
    Multiport,
    Conntrack,
    /// The older match with fewer states.
    State,
    Dnp3(Box<Builder>),
    Comment,
    Limit,
    /// Whatever its options are.
    Other,
    RejectTarget,
    LogTarget,
    NflogTarget,
}

/// A rule's parts: what it does, its comment, what it asks.
type Parts = (Target, Option<Box<str>>, Box<[Condition]>);

/// The options of a rule, one after the other.
struct Parser<'a> {
    family: Family,
    chains: &'a HashMap<Box<str>, usize>,
    loaded: Vec<Loaded>,
    /// By the match that they are of; 0 for what is none.
    conditions: Vec<(usize, Condition)>,
    sources: Vec<Condition>,
    destinations: Vec<Condition>,
    protocol: Option<(Option<u8>, bool)>,
    target: Option<Target>,
    comment: Option<Box<str>>,
    counter: Option<(u64, u64)>,
    /// What was given: an option that may not be again.
    given: Vec<char>,
    /// For the other family alone.
    is_of_other: bool,
}

/// The words that are left.
struct Rest<'a, 'w> {
    words: std::slice::Iter<'w, &'a str>,
}

impl<'a> Rest<'a, '_> {
    fn value(&mut self, option: &str) -> Result<&'a str, Refused> {
        self.words
            .next()
            .copied()
            .ok_or_else(|| format!("{option} needs a value"))
    }
}

fn condition(inverted: bool, test: Test) -> Condition {
    Condition { inverted, test }
}

fn unknown(why: String) -> Test {
    Test::Unknown(why.into())
}

impl<'a> Parser<'a> {
    fn new(family: Family, chains: &'a HashMap<Box<str>, usize>) -> Parser<'a> {
        Parser {
            family,
            chains,
            loaded: Vec::new(),
            conditions: Vec::new(),
            sources: Vec::new(),
            destinations: Vec::new(),
            protocol: None,
            target: None,
            comment: None,
            counter: None,
            given: Vec::new(),
            is_of_other: false,
        }
    }

    fn take(&mut self, words: &[&str]) -> Result<(), Refused> {
        let mut rest = Rest {
            words: words.iter(),
        };
        let mut inverted = false;
        while let Some(word) = rest.words.next().copied() {
            if word == "!" {
                if inverted {
                    return Err("! stands twice; once, before an option, is allowed".into());
                }
                inverted = true;
                continue;
            }
            // As getopt_long does: --dport 80 and --dport=80.
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value)),
                _ => (word, None),
            };
            if !name.starts_with('-') {
                // The value of an option that is not known.
                if self.has_other() {
                    inverted = false;
                    continue;
                }
                return Err(format!(
                    "{} is no option, and no option's value",
                    quoted(word)
                ));
            }
            match joined {
                Some(value) => {
                    let words = [value];
                    let mut values = Rest {
                        words: words.iter(),
                    };
                    self.option(name, inverted, &mut values)?;
                    if values.words.next().is_some() {
                        return Err(format!("{} takes no value", quoted(name)));
                    }
                }
                None => self.option(name, inverted, &mut rest)?,
            }
            inverted = false;
        }
        if inverted {
            return Err("! goes before an option, and nothing follows it".into());
        }
        Ok(())
    }

    fn has_other(&self) -> bool {
        let is_other = |loaded: &Loaded| matches!(loaded, Loaded::Other);
        self.loaded.iter().any(is_other) || matches!(self.target, Some(Target::Unknown(_)))
    }

    /// Notes an option that may be given once.
    fn once(&mut self, name: &str, letter: char) -> Result<(), Refused> {
        if self.given.contains(&letter) {
            return Err(format!("{name} is given twice; once is allowed"));
        }
        self.given.push(letter);
        Ok(())
    }

    fn push(&mut self, inverted: bool, test: Test) {
        self.conditions.push((0, condition(inverted, test)));
    }

    fn option(
        &mut self,
        name: &str,
        inverted: bool,
        rest: &mut Rest<'_, '_>,
    ) -> Result<(), Refused> {
        match name {
            "-p" | "--protocol" | "--proto" => {
                self.once(name, 'p')?;
                let value = rest.value(name)?;
                let protocol = words::protocol(value)?;
                match protocol {
                    Some(0) if inverted => {
                        return Err(
                            "! -p all matches nothing; -p all, or no -p, matches everything".into(),
                        )
                    }
                    Some(0) => return Ok(()),
                    Some(number) => self.push(inverted, Test::Protocol(number)),
                    None => self.push(
                        inverted,
                        unknown(format!(
                            "-p {}: a protocol by a name that is not known here",
                            quoted(value)
                        )),
                    ),
                }
                self.protocol = Some((protocol, inverted));
            }
            "-s" | "--source" | "--src" => {
                self.once(name, 's')?;
                self.sources = self.addresses(name, inverted, rest.value(name)?, Test::Source)?;
            }
            "-d" | "--destination" | "--dst" => {
                self.once(name, 'd')?;
                self.destinations =
                    self.addresses(name, inverted, rest.value(name)?, Test::Destination)?;
            }
            "-i" | "--in-interface" => {
                self.once(name, 'i')?;
                let interface = self.interface(name, rest)?;
                self.push(inverted, Test::In(interface));
            }
            "-o" | "--out-interface" => {
                self.once(name, 'o')?;
                let interface = self.interface(name, rest)?;
                self.push(inverted, Test::Out(interface));
            }
            "-f" | "--fragment" if self.family == Family::V4 => {
                self.once(name, 'f')?;
                self.push(inverted, Test::Fragment);
            }
            _ if inverted && !name.starts_with("--") => {
                return Err(format!("! is not allowed before {name}"));
            }
            "-4" | "--ipv4" => self.is_of_other |= self.family != Family::V4,
            "-6" | "--ipv6" => self.is_of_other |= self.family != Family::V6,
            "-c" | "--set-counters" => {
                let mut count = || {
                    let value = rest.value(name)?;
                    value.parse().map_err(|_| {
                        format!(
                            "{} is no counter; -c takes packets and octets",
                            quoted(value)
                        )
                    })
                };
                self.counter = Some((count()?, count()?));
            }
            "-t" | "--table" => {
                let value = rest.value(name)?;
                if value != "filter" {
                    return Err(format!(
                        "-t {} stands in the table filter; it can be left out",
                        quoted(value)
                    ));
                }
            }
            "-m" | "--match" => {
                let value = rest.value(name)?;
                self.load(value);
            }
            "-j" | "--jump" => {
                self.once(name, 'j')?;
                let value = rest.value(name)?;
                self.jump(value)?;
            }
            "-g" | "--goto" => {
                self.once(name, 'j')?;
                let value = rest.value(name)?;
                match self.chains.get(value) {
                    Some(_) if BUILT_IN.contains(&value) => return Err(built_in(value)),
                    Some(chain) => self.target = Some(Target::Goto(*chain)),
                    None => {
                        return Err(format!(
                            "there is no chain {}; :{} - or -N makes one, before it is used",
                            quoted(value),
                            value.escape_debug()
                        ))
                    }
                }
            }
            _ => return self.extension(name, inverted, rest),
        }
        Ok(())
    }

    fn addresses(
        &self,
        name: &str,
        inverted: bool,
        value: &str,
        test: fn(Box<super::Net>) -> Test,
    ) -> Result<Vec<Condition>, Refused> {
        let found: Vec<_> = value
            .split(',')
            .map(|word| {
                Ok(condition(
                    inverted,
                    match words::net(word, self.family)? {
                        Some(net) => test(Box::new(net)),
                        None => unknown(format!(
                            "{name} {}: what a name stands for is not known here",
                            quoted(word)
                        )),
                    },
                ))
            })
            .collect::<Result<_, Refused>>()?;
        if inverted && found.len() > 1 {
            return Err(format!("! {name} takes one address, not several"));
        }
        Ok(found)
    }

    fn interface(&self, name: &str, rest: &mut Rest<'_, '_>) -> Result<Box<str>, Refused> {
        let value = rest.value(name)?;
        if value.is_empty() || value.len() > MAX_INTERFACE || value.contains(['/', ' ']) {
            return Err(format!(
                "{} is no interface's name; 1 to {MAX_INTERFACE} octets without blank and / are one",
                quoted(value)
            ));
        }
        Ok(value.into())
    }

    fn load(&mut self, name: &str) {
        let loaded = match name {
            "tcp" => Loaded::Tcp,
            "udp" => Loaded::Udp,
            "icmp" | "icmp6" | "ipv6-icmp" | "icmpv6" => Loaded::Icmp,
            "multiport" => Loaded::Multiport,
            "conntrack" => Loaded::Conntrack,
            "state" => Loaded::State,
            "dnp3" => Loaded::Dnp3(Box::default()),
            "comment" => Loaded::Comment,
            "limit" => Loaded::Limit,
            _ => Loaded::Other,
        };
        let is_limit = matches!(loaded, Loaded::Limit);
        let is_other = matches!(loaded, Loaded::Other);
        self.loaded.push(loaded);
        let place = self.loaded.len();
        if is_limit {
            self.conditions.push((place, condition(false, Test::Limit)));
        }
        if is_other {
            let why = unknown(format!("-m {} is not known here", quoted(name)));
            self.conditions.push((place, condition(false, why)));
        }
    }

    fn jump(&mut self, name: &str) -> Result<(), Refused> {
        let target = match name {
            "ACCEPT" => Target::Accept,
            "DROP" => Target::Drop,
            "RETURN" => Target::Return,
            "REJECT" => {
                self.loaded.push(Loaded::RejectTarget);
                Target::Reject(match self.family {
                    Family::V4 => "icmp-port-unreachable".into(),
                    Family::V6 => "icmp6-port-unreachable".into(),
                })
            }
            "LOG" => {
                self.loaded.push(Loaded::LogTarget);
                Target::Log
            }
            "NFLOG" => {
                self.loaded.push(Loaded::NflogTarget);
                Target::Nflog
            }
            _ if BUILT_IN.contains(&name) => return Err(built_in(name)),
            _ => match self.chains.get(name) {
                Some(chain) => Target::Jump(*chain),
                None if TARGETS.contains(&name) => {
                    Target::Unknown(format!("-j {name} is not known here").into())
                }
                None => {
                    return Err(format!(
                        "{} is neither a target nor a chain; :{} - or -N makes a chain, before it is used",
                        quoted(name),
                        name.escape_debug()
                    ))
                }
            },
        };
        self.target = Some(target);
        Ok(())
    }

    /// An option of a match or a target: that of the last which has one of this name.
    fn extension(
        &mut self,
        name: &str,
        inverted: bool,
        rest: &mut Rest<'_, '_>,
    ) -> Result<(), Refused> {
        let protocol = match self.protocol {
            Some((Some(number), false)) => match number {
                number::TCP => Some("tcp"),
                number::UDP => Some("udp"),
                number::ICMP if self.family == Family::V4 => Some("icmp"),
                number::ICMPV6 if self.family == Family::V6 => Some("icmp6"),
                _ => None,
            },
            _ => None,
        };
        for place in (0..self.loaded.len()).rev() {
            if self.option_of(place, name, inverted, rest)? {
                return Ok(());
            }
        }
        // -p tcp brings the options of -m tcp with it.
        if let Some(protocol) = protocol {
            self.load(protocol);
            let place = self.loaded.len() - 1;
            if self.option_of(place, name, inverted, rest)? {
                return Ok(());
            }
            self.loaded.pop();
        }
        if self.has_other() {
            return Ok(());
        }
        Err(format!(
            "{} is an option of nothing that the rule names; -m or -p comes before the options that it brings",
            quoted(name)
        ))
    }

    /// Takes an option of what was loaded at a place, if it is one.
    fn option_of(
        &mut self,
        place: usize,
        name: &str,
        inverted: bool,
        rest: &mut Rest<'_, '_>,
    ) -> Result<bool, Refused> {
        let not_inverted = |wanted: Result<Test, Refused>| {
            if inverted {
                return Err(format!("! is not allowed before {name}"));
            }
            wanted
        };
        let by_name = |value: &str| {
            unknown(format!(
                "{name} {}: what the name stands for is not known here",
                quoted(value)
            ))
        };
        let Some(loaded) = self.loaded.get_mut(place) else {
            return Ok(false);
        };
        let tests = match (loaded, name) {
            (
                Loaded::Tcp | Loaded::Udp,
                "--sport" | "--source-port" | "--dport" | "--destination-port",
            ) => {
                let port = match name.starts_with("--s") {
                    true => Port::Source,
                    false => Port::Destination,
                };
                let value = rest.value(name)?;
                match words::ports(value)? {
                    Some((first, last)) => Test::Ports(port, first, last),
                    None => by_name(value),
                }
            }
            (Loaded::Tcp, "--syn") => {
                let (mask, set) = (words::flags("FIN,SYN,RST,ACK")?, words::flags("SYN")?);
                Test::TcpFlags(mask, set)
            }
            (Loaded::Tcp, "--tcp-flags") => {
                let mask = words::flags(rest.value(name)?)?;
                Test::TcpFlags(mask, words::flags(rest.value(name)?)?)
            }
            (Loaded::Tcp, "--tcp-option") => {
                let value = rest.value(name)?;
                unknown(format!("--tcp-option {} is not known here", quoted(value)))
            }
            (Loaded::Icmp, "--icmp-type" | "--icmpv6-type") => {
                let value = rest.value(name)?;
                match words::icmp(value, self.family)? {
                    Some((kind, first, last)) => Test::Icmp(kind, first, last),
                    None => by_name(value),
                }
            }
            (
                Loaded::Multiport,
                "--sports" | "--source-ports" | "--dports" | "--destination-ports" | "--ports",
            ) => {
                let port = match name {
                    "--ports" => Port::Either,
                    "--sports" | "--source-ports" => Port::Source,
                    _ => Port::Destination,
                };
                let value = rest.value(name)?;
                let ranges: Option<Vec<_>> = value
                    .split(',')
                    .map(words::ports)
                    .collect::<Result<_, _>>()?;
                match ranges {
                    // A range takes two of the fifteen places.
                    Some(ranges)
                        if ranges
                            .iter()
                            .map(|(first, last)| if first == last { 1 } else { 2 })
                            .sum::<usize>()
                            > 15 =>
                    {
                        return Err(format!(
                            "{name} takes 15 ports, a range counting as two, and not more"
                        ))
                    }
                    Some(ranges) => Test::Multiport(port, ranges.into()),
                    None => by_name(value),
                }
            }
            (Loaded::Conntrack, "--ctstate") => {
                Test::State(words::states(rest.value(name)?, &words::STATES)?)
            }
            (Loaded::State, "--state") => {
                let (names, _) = words::STATES.split_at(5);
                Test::State(words::states(rest.value(name)?, names)?)
            }
            (Loaded::Conntrack, "--ctdir") => match rest.value(name)? {
                "ORIGINAL" => not_inverted(Ok(Test::OfOriginal(true)))?,
                "REPLY" => not_inverted(Ok(Test::OfOriginal(false)))?,
                value => {
                    return Err(format!(
                        "{} is no direction; ORIGINAL and REPLY are",
                        quoted(value)
                    ))
                }
            },
            (
                Loaded::Conntrack,
                "--ctproto" | "--ctorigsrc" | "--ctorigdst" | "--ctreplsrc" | "--ctrepldst"
                | "--ctorigsrcport" | "--ctorigdstport" | "--ctreplsrcport" | "--ctrepldstport"
                | "--ctstatus" | "--ctexpire",
            ) => {
                rest.value(name)?;
                unknown(format!("{name} is not known here"))
            }
            (Loaded::Dnp3(builder), _) => {
                let Some(opt) = name.strip_prefix("--").and_then(Opt::from_name) else {
                    return Ok(false);
                };
                let value = match opt.value() {
                    Some(_) => Some(rest.value(name)?),
                    None => None,
                };
                builder
                    .option(opt, inverted, value)
                    .map_err(|error| format!("dnp3: {error}"))?;
                return Ok(true);
            }
            (Loaded::Comment, "--comment") => {
                let value = rest.value(name)?;
                if inverted {
                    return Err("! is not allowed before --comment".into());
                }
                self.comment = Some(value.into());
                return Ok(true);
            }
            (Loaded::Limit, "--limit" | "--limit-burst") => {
                not_inverted(Ok(Test::Limit))?;
                rest.value(name)?;
                return Ok(true);
            }
            (Loaded::RejectTarget, "--reject-with") => {
                let value = rest.value(name)?;
                let allowed: &[&str] = match self.family {
                    Family::V4 => &REJECT_V4,
                    Family::V6 => &REJECT_V6,
                };
                if !allowed.contains(&value) {
                    return Err(format!(
                        "--reject-with {}: {} are allowed",
                        quoted(value),
                        allowed.join(", ")
                    ));
                }
                if value.starts_with("tcp-r") {
                    self.given.push('T');
                }
                self.target = Some(Target::Reject(value.into()));
                return Ok(true);
            }
            (Loaded::LogTarget, "--log-level" | "--log-prefix")
            | (
                Loaded::NflogTarget,
                "--nflog-group" | "--nflog-prefix" | "--nflog-range" | "--nflog-size"
                | "--nflog-threshold",
            ) => {
                rest.value(name)?;
                return Ok(true);
            }
            (
                Loaded::LogTarget,
                "--log-tcp-sequence" | "--log-tcp-options" | "--log-ip-options" | "--log-uid"
                | "--log-macdecode",
            ) => return Ok(true),
            _ => return Ok(false),
        };
        self.conditions
            .push((place + 1, condition(inverted, tests)));
        Ok(true)
    }

    /// A conntrack match that asks for a state and a direction takes any direction where there is no
    /// connection, which two tests would not.
    fn join_ctdir(&mut self) {
        let of_both: Vec<usize> = self
            .conditions
            .iter()
            .filter(|(_, condition)| matches!(condition.test, Test::OfOriginal(_)))
            .map(|(place, _)| *place)
            .filter(|place| {
                self.conditions
                    .iter()
                    .any(|(of, condition)| of == place && matches!(condition.test, Test::State(_)))
            })
            .collect();
        for (place, condition) in &mut self.conditions {
            if of_both.contains(place) && matches!(condition.test, Test::OfOriginal(_)) {
                condition.test = unknown("--ctdir beside --ctstate is not known here".into());
            }
        }
    }

    /// The rule, or several where an option has several addresses.
    fn finish(mut self) -> Result<Vec<Parts>, Refused> {
        let protocol = match self.protocol {
            Some((Some(number), false)) => Some(number),
            _ => None,
        };
        // What is not known may be the right one.
        let may_be_any = matches!(self.protocol, Some((None, _)));
        let need = |wanted: &[u8], what: &str, words: &str| {
            if may_be_any || protocol.is_some_and(|protocol| wanted.contains(&protocol)) {
                Ok(())
            } else {
                Err(format!(
                    "{what} needs {words}, not inverted, in the same rule"
                ))
            }
        };
        for (place, loaded) in self.loaded.iter().enumerate() {
            match loaded {
                Loaded::Tcp => need(&[number::TCP], "-m tcp", "-p tcp")?,
                Loaded::Udp => need(&[number::UDP], "-m udp", "-p udp")?,
                Loaded::Icmp => match self.family {
                    Family::V4 => need(&[number::ICMP], "-m icmp", "-p icmp")?,
                    Family::V6 => need(&[number::ICMPV6], "-m icmp6", "-p ipv6-icmp")?,
                },
                Loaded::Multiport => need(
                    &[
                        number::TCP,
                        number::UDP,
                        number::UDPLITE,
                        number::SCTP,
                        number::DCCP,
                    ],
                    "-m multiport",
                    "-p tcp, -p udp, -p udplite, -p sctp or -p dccp",
                )?,
                Loaded::Dnp3(builder) => {
                    // A name that is not known here is neither of them.
                    let rule = builder
                        .finish(protocol.unwrap_or(0), false)
                        .map_err(|error| format!("dnp3: {error}"))?;
                    self.conditions
                        .push((place + 1, condition(false, Test::Dnp3(Box::new(rule)))));
                }
                _ => {}
            }
            let is_empty = matches!(
                loaded,
                Loaded::Multiport | Loaded::Conntrack | Loaded::State | Loaded::Comment
            );
            let has_some = self.comment.is_some() && matches!(loaded, Loaded::Comment)
                || self.conditions.iter().any(|(of, _)| *of == place + 1);
            if is_empty && !has_some {
                return Err(match loaded {
                    Loaded::Multiport => "-m multiport needs --sports, --dports or --ports",
                    Loaded::State => "-m state needs --state",
                    Loaded::Comment => "-m comment needs --comment",
                    _ => "-m conntrack needs an option, as --ctstate ESTABLISHED",
                }
                .into());
            }
        }
        if self.given.contains(&'T') {
            need(&[number::TCP], "--reject-with tcp-reset", "-p tcp")?;
        }
        self.join_ctdir();
        self.conditions.sort_by_key(|(place, _)| *place);
        let target = self.target.unwrap_or(Target::None);
        let either = |conditions: Vec<Condition>| {
            let conditions: Vec<_> = conditions.into_iter().map(Some).collect();
            if conditions.is_empty() {
                vec![None]
            } else {
                conditions
            }
        };
        let (sources, destinations) = (either(self.sources), either(self.destinations));
        if sources.len() * destinations.len() > MAX_RULES {
            return Err(format!(
                "the addresses make more than {MAX_RULES} rules, which are allowed"
            ));
        }
        let mut rules = Vec::new();
        for source in &sources {
            for destination in &destinations {
                let first = [source, destination].into_iter().flatten().cloned();
                let rest = self
                    .conditions
                    .iter()
                    .map(|(_, condition)| condition.clone());
                rules.push((
                    target.clone(),
                    self.comment.clone(),
                    first.chain(rest).collect(),
                ));
            }
        }
        Ok(rules)
    }
}

fn built_in(name: &str) -> Refused {
    format!(
        "{} is a built-in chain, to which no rule leads",
        quoted(name)
    )
}
