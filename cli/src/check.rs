// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw check`: what rules would do to the packets of a capture, before anyone loads them.
//!
//! A packet takes the way that it takes in the kernel: fragments are put together, conntrack sees it, the
//! rules of a chain judge it, and if it survives them the connections that `--track` follows go on by it,
//! and conntrack keeps what it begins. What is dropped changes nothing behind the rules.
//!
//! What cannot be known is never guessed at: such a packet is uncertain, and so are those after it
//! on its connection.

use crate::capture::Capture;
use crate::conntrack::{protocol, Entry, Seen, State, Table, Way, MAX_ENTRIES, SECOND};
use crate::cut::{Cutter, Mark, Piece};
use crate::datagram::{is_forwarded, Arrived, Datagrams};
use crate::progress::Progress;
use crate::ruleset::{
    state, Answer, Chain, Family, Net, Policy, Port, Rule, Ruleset, Step, Target, Test, Verdict,
    ANY_ICMP,
};
use crate::track::{Packet, Tracker, MAX_CONNECTIONS};
use dnp3_core::frame::Class;
use dnp3_core::packet::Octets;
use dnp3_core::text::names::function as function_name;
use dnp3_core::track::Commit;
use dnp3_core::{Fragment, Headers};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::IpAddr;

/// Frames of a packet that are shown.
const SHOWN: usize = 4;

/// What is judged, and what is said of it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The chain that packets come to; empty for FORWARD.
    pub chain: String,
    /// Interfaces by name, and the addresses of the hosts behind them.
    pub interfaces: Vec<(String, Net)>,
    /// A JSON object a line, for programs.
    pub json: bool,
    /// Say something of accepted packets too.
    pub all: bool,
    /// Say nothing of single packets.
    pub summary: bool,
    /// Say nothing at all: the exit status does.
    pub quiet: bool,
}

/// Packets and their octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Octets of IP.
    pub octets: u64,
}

impl Count {
    fn add(&mut self, octets: u64) {
        self.packets += 1;
        self.octets += octets;
    }
}

/// What a rule or a policy has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// For certain.
    pub sure: Count,
    /// What it may have counted beside that.
    pub maybe: Count,
}

/// A file of rules, and what has come to them.
struct Loaded {
    name: String,
    rules: Ruleset,
    chain: usize,
    counters: Vec<Counter>,
    policy: Counter,
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// IP packets that were judged; fragments as the one that they make.
    pub packets: u64,
    /// Of these, those that are accepted.
    pub accepted: u64,
    /// Those that are dropped.
    pub dropped: u64,
    /// Those that are rejected.
    pub rejected: u64,
    /// Those of which that is not certain.
    pub uncertain: u64,
    /// Packets of a version of IP for which there are no rules.
    pub without_rules: u64,
    /// Packets that no router forwards: multicast, broadcast, link-local, loopback.
    pub not_forwarded: u64,
}

/// Why a packet is not simply accepted.
#[derive(Clone, Debug)]
enum Why {
    Rule(usize),
    Policy,
    /// By the module, behind all rules.
    Behind(&'static str),
}

/// Judges captures by rules.
pub struct Checker<W> {
    options: Options,
    rules: [Option<Loaded>; 2],
    tracks: bool,
    /// Whether the rules have fragments put together: those that ask conntrack or for DNP3 do.
    joins: bool,
    table: Table,
    tracker: Tracker,
    datagrams: Datagrams,
    now: u64,
    counts: Counts,
    /// Packets that are not accepted, of TCP connections of which no beginning was seen.
    midway: u64,
    /// Packets that are earlier than one before them.
    early: u64,
    no_time: u64,
    output: W,
    error: Option<io::Error>,
    has_unknown: bool,
    /// Whether packets pass rules of a table that is not judged.
    passes_skipped: bool,
    /// Whether there were fragments that do not fit together.
    has_wrong_fragments: bool,
}

fn index(family: Family) -> usize {
    family as usize
}

impl<W: Write> Checker<W> {
    /// Judges by nothing yet.
    pub fn new(options: Options, output: W) -> Checker<W> {
        Checker {
            options,
            rules: [None, None],
            tracks: false,
            joins: false,
            table: Table::new(),
            tracker: Tracker::new(),
            datagrams: Datagrams::new(),
            now: 0,
            counts: Counts::default(),
            midway: 0,
            early: 0,
            no_time: 0,
            output,
            error: None,
            has_unknown: false,
            passes_skipped: false,
            has_wrong_fragments: false,
        }
    }

    /// Takes the rules of a family. Returns lines for people on what in them is not judged.
    ///
    /// # Errors
    ///
    /// Why they cannot be judged by, in a line.
    pub fn rules(&mut self, name: &str, rules: Ruleset) -> Result<Vec<String>, String> {
        let wanted = match self.options.chain.as_str() {
            "" => "FORWARD",
            chain => chain,
        };
        let Some(chain) = rules.chain(wanted) else {
            let names: Vec<_> = rules.chains.iter().map(|chain| &*chain.name).collect();
            return Err(format!(
                "{name}: there is no chain '{}'; there are {}",
                wanted.escape_debug(),
                names.join(", ")
            ));
        };
        let family = rules.family;
        if let Some(before) = self.rules.get(index(family)).and_then(Option::as_ref) {
            return Err(format!(
                "{name} has rules for {family}, and so has {}; one file for each is allowed (--rules6 names \
                 that for IPv6 where it does not tell)",
                before.name
            ));
        }
        let mut lines = Vec::new();
        for skipped in &rules.skipped {
            let is_passed = skipped.is_passed(wanted);
            self.passes_skipped |= is_passed;
            if is_passed || skipped.rules != 0 {
                let whether = match is_passed {
                    true => "; the packets pass it, so that nothing is proved for them (status 1)",
                    false => ", in no chain that the packets pass",
                };
                lines.push(format!(
                    "{name}:{}: the table {} is not judged, and its {} rules and policies are taken to change \
                     nothing{whether}",
                    skipped.line, skipped.table, skipped.rules
                ));
            }
        }
        for rule in &rules.rules {
            let unknown: Vec<_> = rule.unknown().collect();
            if !unknown.is_empty() {
                self.has_unknown = true;
                lines.push(format!(
                    "{name}:{}: the rule could not be judged: {}; packets that come to it may be uncertain",
                    rule.line,
                    unknown.join("; ")
                ));
            }
        }
        if rules
            .chains
            .get(chain)
            .is_some_and(|chain| chain.policy.is_none())
        {
            lines.push(format!(
                "{name}: {wanted} has no policy: what comes to its end goes on where it was called, and counts as \
                 accepted"
            ));
        }
        let is_unsaid = |chain: &Chain| chain.policy.is_some() && chain.line == 0;
        if rules.chains.get(chain).is_some_and(is_unsaid) {
            lines.push(format!(
                "{name}: says no policy of {wanted}, which is taken for ACCEPT; where it is loaded that stays as it is"
            ));
        }
        self.tracks |= rules
            .rules
            .iter()
            .any(|rule| rule.dnp3().any(dnp3_core::Rule::tracks));
        self.joins |= rules.rules.iter().any(|rule| {
            let asks =
                |test: &Test| matches!(test, Test::Dnp3(_) | Test::State(_) | Test::OfOriginal(_));
            rule.conditions
                .iter()
                .any(|condition| asks(&condition.test))
        });
        if let Some(place) = self.rules.get_mut(index(family)) {
            *place = Some(Loaded {
                name: name.to_owned(),
                counters: vec![Counter::default(); rules.rules.len()],
                policy: Counter::default(),
                chain,
                rules,
            });
        }
        Ok(lines)
    }

    /// Judges the packets of a capture; connections go on from the one before. Returns whether it is
    /// damaged, and what is to be said of it, line by line.
    pub fn capture(
        &mut self,
        name: &str,
        source: impl Read,
        progress: &Progress,
    ) -> (bool, Vec<String>) {
        let mut lines = Vec::new();
        let mut read = 0;
        let mut begun = false;
        let damage = match Capture::new(source) {
            Err(damage) => Some(damage),
            Ok(mut capture) => loop {
                progress.at(capture.position());
                match capture.next() {
                    Err(damage) => break Some(damage),
                    Ok(None) => break None,
                    Ok(Some(record)) => {
                        read = record.number;
                        self.time(record.time, &mut begun);
                        let (link_type, octets, cut) =
                            (record.link_type, record.octets, record.cut);
                        let mark = Mark {
                            packet: record.number,
                            time: record.time,
                        };
                        self.packet(name, link_type, octets, cut, mark);
                        if self.error.is_some() {
                            break None;
                        }
                    }
                }
            },
        };
        let is_damaged = damage.is_some();
        if let Some(damage) = damage {
            let read = match read {
                0 => String::from("nothing could be read"),
                packets => format!("{packets} packets before that were judged"),
            };
            lines.push(format!("{name}: {damage}; {read}"));
        }
        lines.extend(self.left(name));
        (is_damaged, lines)
    }

    /// Time goes on as in the capture, and never back.
    fn time(&mut self, time: Option<u64>, begun: &mut bool) {
        /// The year 2116: no clock says more, and timeouts can be added to it.
        const LAST: u64 = 1 << 62;
        match time.map(|time| time.min(LAST)) {
            None => self.no_time += 1,
            // A capture that is older than the one before is of another time.
            Some(time) if !*begun && time + SECOND < self.now => {
                self.table.clear();
                self.datagrams.clear();
                self.now = time;
            }
            Some(time) => {
                self.early += u64::from(time + SECOND < self.now);
                self.now = self.now.max(time);
            }
        }
        *begun = true;
    }

    /// What was in a capture and was not judged.
    fn left(&mut self, name: &str) -> Vec<String> {
        let mut lines = Vec::new();
        let left = std::mem::take(&mut self.datagrams.left);
        lines.extend(left.unknown.line().map(|line| format!("{name}: {line}")));
        if left.not_ip != 0 {
            lines.push(format!(
                "{name}: {} packets are neither IPv4 nor IPv6, and are not judged",
                left.not_ip
            ));
        }
        if left.wrong != 0 {
            lines.push(format!(
                "{name}: {} packets have an IP header that no host takes, and are not judged",
                left.wrong
            ));
        }
        self.has_wrong_fragments |= left.fragments != 0;
        if left.fragments != 0 {
            lines.push(format!(
                "{name}: {} IP fragments do not fit together; a gateway drops them",
                left.fragments
            ));
        }
        if left.joined != 0 && !self.joins {
            lines.push(format!(
                "{name}: {} packets came in fragments and were judged as the whole, which a gateway does only for \
                 rules that ask conntrack or for DNP3",
                left.joined
            ));
        }
        let early = std::mem::take(&mut self.early);
        if early != 0 {
            lines.push(format!(
                "{name}: {early} packets are earlier than those before them, by more than a second; they are judged as \
                 if time stood still"
            ));
        }
        let no_time = std::mem::take(&mut self.no_time);
        if no_time != 0 {
            lines.push(format!(
                "{name}: {no_time} packets have no time, so that nothing grows old meanwhile"
            ));
        }
        lines
    }

    fn packet(&mut self, name: &str, link_type: u32, octets: &[u8], cut: bool, mark: Mark) {
        // Taken out for as long as it hands on what belongs to the others.
        let mut datagrams = std::mem::replace(&mut self.datagrams, Datagrams::new());
        datagrams.take(link_type, octets, cut, self.now, &mut |arrived| {
            self.judge(name, arrived, mark);
        });
        self.datagrams = datagrams;
    }

    fn judge(&mut self, name: &str, arrived: &Arrived<'_>, mark: Mark) {
        let datagram = &arrived.datagram;
        let family = Family::of(datagram.source);
        let Some(Some(loaded)) = self.rules.get_mut(index(family)) else {
            self.counts.without_rules += 1;
            return;
        };
        let start = loaded.rules.chains.get(loaded.chain);
        let is_forward = start.is_some_and(|chain| &*chain.name == "FORWARD");
        if is_forward && !is_forwarded(datagram.source, datagram.destination) {
            self.counts.not_forwarded += 1;
            return;
        }
        self.counts.packets += 1;
        let now = self.now;
        let mut seen = self.table.seen(datagram, now);
        let is_midway = datagram.protocol == protocol::TCP
            && matches!(seen.state, State::New)
            && !has_flag(datagram.octets, SYN);
        let mut reason = entry(&mut self.table, &mut seen)
            .filter(|entry| entry.doubtful)
            .map(|_| String::from("an earlier packet of its connection is uncertain"));
        if arrived.cut {
            reason.get_or_insert("the capture does not have all of it".into());
        }
        if let Some(doubt) = arrived.doubt {
            reason.get_or_insert(doubt.into());
        }
        // Authentication is an extension of IPv6, and the last header only where it is not as it should be.
        let is_extension = match family {
            Family::V4 => matches!(datagram.protocol, 0 | 43 | 44 | 60),
            Family::V6 => matches!(datagram.protocol, 0 | 43 | 44 | 51 | 60),
        };
        if is_extension {
            reason.get_or_insert("its extension headers are not looked into".into());
        }
        let headers = Headers {
            transport: 0,
            end: u32::try_from(datagram.octets.len()).unwrap_or(u32::MAX),
            protocol: datagram.protocol,
            fragment: Fragment::Whole,
            udp_segment: 0,
        };
        let packet = Packet {
            octets: datagram.octets,
            headers: &headers,
            way: seen.way,
            now: (now / SECOND) as u32,
        };
        let mut question = Question {
            arrived,
            family,
            is_legacy: loaded.rules.is_legacy,
            packet,
            seen: &mut seen,
            table: &mut self.table,
            tracker: &mut self.tracker,
            interfaces: &self.options.interfaces,
            doubts: false,
            maybe: None,
        };
        let mut why = Why::Policy;
        let mut verdict = Verdict::Accept;
        let (counters, policy) = (&mut loaded.counters, &mut loaded.policy);
        let outcome = loaded.rules.walk_knowing(
            loaded.chain,
            &mut |number, rule, surely| question.ask(number, rule, surely),
            &mut |step| match step {
                Step::Matches { rule, surely } => {
                    if let Some(counter) = counters.get_mut(rule) {
                        let count = if surely {
                            &mut counter.sure
                        } else {
                            &mut counter.maybe
                        };
                        count.add(arrived.length);
                    }
                }
                Step::Ends {
                    rule,
                    verdict: found,
                    surely,
                } => {
                    if rule.is_none() {
                        let count = if surely {
                            &mut policy.sure
                        } else {
                            &mut policy.maybe
                        };
                        count.add(arrived.length);
                    }
                    // Where nothing is certain, what is worse is told.
                    let is_worse = found != Verdict::Accept && verdict == Verdict::Accept;
                    if surely || is_worse {
                        verdict = found;
                        why = rule.map_or(Why::Policy, Why::Rule);
                    }
                }
            },
        );
        let doubts = question.doubts;
        if !outcome.is_certain() {
            let maybe = question.maybe.and_then(|(rule, why)| {
                let rule = loaded.rules.rules.get(rule)?;
                Some(format!("line {}: {why}", rule.line))
            });
            reason.get_or_insert(
                maybe.unwrap_or("there are too many ways through the chains".into()),
            );
        }
        let survives = outcome.accept;
        let is_reset = matches!(&why, Why::Rule(rule)
            if matches!(loaded.rules.rules.get(*rule).map(|rule| &rule.target),
                Some(Target::Reject(with)) if with.starts_with("tcp-r")));
        if reason.is_some() || doubts {
            if let Some(entry) = entry(&mut self.table, &mut seen) {
                entry.doubtful = true;
            }
        }
        if survives {
            if let Some(behind) = self.commit(&mut seen, &packet, datagram.protocol) {
                verdict = Verdict::Drop;
                why = Why::Behind(behind);
            } else {
                self.table.passed(seen, now);
            }
        } else if is_reset && verdict == Verdict::Reject && !has_flag(datagram.octets, RST) {
            self.table.reset(&seen, now);
        }
        match (&reason, verdict) {
            (Some(_), _) => self.counts.uncertain += 1,
            (None, Verdict::Accept) => self.counts.accepted += 1,
            (None, Verdict::Drop) => self.counts.dropped += 1,
            (None, Verdict::Reject) => self.counts.rejected += 1,
        }
        self.midway += u64::from(is_midway && reason.is_none() && verdict != Verdict::Accept);
        let is_fine = reason.is_none() && verdict == Verdict::Accept;
        let is_quiet = self.options.quiet || self.options.summary;
        if is_quiet || is_fine && !self.options.all {
            return;
        }
        let line = Line::of(family, arrived, mark, name, verdict, reason.as_deref());
        self.say(&line, family, &why);
    }

    /// Hands a packet that has survived all rules to what follows connections. Returns why that drops it,
    /// if it does.
    fn commit(
        &mut self,
        seen: &mut Seen,
        packet: &Packet<'_>,
        protocol_number: u8,
    ) -> Option<&'static str> {
        let is_of_connection = matches!(seen.state, State::New | State::Established);
        if !self.tracks || protocol_number != protocol::TCP || !is_of_connection {
            return None;
        }
        if seen.dying {
            let segment = dnp3_core::segment::Segment::read(&Octets(packet.octets), packet.headers);
            let is_bare_reset = segment
                .is_some_and(|segment| has_flag(packet.octets, RST) && segment.length() == 0);
            return (!is_bare_reset).then_some("conntrack has ended its connection");
        }
        let tracker = &mut self.tracker;
        let entry = entry(&mut self.table, seen)?;
        let Some(followed) = entry.followed.as_deref_mut() else {
            if std::mem::take(&mut entry.matched) && packet.way == Way::Original {
                let was_full = tracker.full;
                entry.followed = tracker.begin(packet);
                entry.doubtful |= tracker.full != was_full;
            }
            return None;
        };
        let short = tracker.short;
        let commit = tracker.commit(followed, packet);
        entry.doubtful |= tracker.short != short;
        match commit {
            Commit::Pass | Commit::Followed | Commit::Crowded | Commit::Ended | Commit::Voided => {
                None
            }
            Commit::Ahead => Some("--track: its payload is behind a hole in the stream"),
            Commit::Overlap => Some(
                "--track: its payload is not what was let through there before, or has no place",
            ),
            Commit::Strayed => Some("--track: the SYN-ACK came in elsewhere"),
            Commit::Doubted => Some("--track: a SYN on a connection that may be in use"),
            Commit::Renewed => {
                if let Some(key) = &seen.key {
                    self.table.kill(key);
                }
                Some("--track: a SYN that begins anew, and has the old connection forgotten")
            }
        }
    }
}

/// The connection of a packet.
fn entry<'a>(table: &'a mut Table, seen: &'a mut Seen) -> Option<&'a mut Entry> {
    if let Some(own) = &mut seen.own {
        return Some(own);
    }
    table.get_mut(seen.key.as_ref()?)
}

const SYN: u8 = 0x02;
const RST: u8 = 0x04;

/// Whether a segment of TCP has a flag.
fn has_flag(octets: &[u8], flag: u8) -> bool {
    octets.get(13).is_some_and(|flags| flags & flag != 0)
}

/// What is asked of a packet, rule by rule.
struct Question<'a> {
    arrived: &'a Arrived<'a>,
    family: Family,
    is_legacy: bool,
    packet: Packet<'a>,
    seen: &'a mut Seen,
    table: &'a mut Table,
    tracker: &'a mut Tracker,
    interfaces: &'a [(String, Net)],
    /// Whether it is not certain that a rule would have the connection followed.
    doubts: bool,
    /// The first rule of which it is not certain whether it matches, and why.
    maybe: Option<(usize, String)>,
}

/// What comes of a test.
enum Is {
    Yes,
    No,
    /// Why that is not known.
    Maybe(String),
    HotDrop,
    /// Why all of these may be.
    Any(String),
}

impl From<bool> for Is {
    fn from(is: bool) -> Is {
        if is {
            Is::Yes
        } else {
            Is::No
        }
    }
}

impl Question<'_> {
    fn ask(&mut self, number: usize, rule: &Rule, surely: bool) -> Answer {
        let mut maybe = None;
        for condition in &rule.conditions {
            match self.test(&condition.test, surely && maybe.is_none()) {
                Is::Yes if condition.inverted => return Answer::No,
                Is::No if !condition.inverted => return Answer::No,
                Is::Yes | Is::No => {}
                Is::Maybe(why) => _ = maybe.get_or_insert(why),
                Is::Any(why) => {
                    self.maybe.get_or_insert((number, why));
                    return Answer::Any;
                }
                Is::HotDrop if maybe.is_none() => return Answer::HotDrop,
                Is::HotDrop => {
                    self.maybe = self.maybe.take().or(maybe.map(|why| (number, why)));
                    return Answer::MaybeHotDrop;
                }
            }
        }
        match maybe {
            None => {
                if let Target::Unknown(why) = &rule.target {
                    self.maybe.get_or_insert_with(|| (number, why.to_string()));
                }
                Answer::Yes
            }
            Some(why) => {
                // Where it leads nowhere nothing hangs on it.
                if !matches!(rule.target, Target::None | Target::Log | Target::Nflog) {
                    self.maybe.get_or_insert((number, why));
                }
                Answer::Maybe
            }
        }
    }

    fn test(&mut self, test: &Test, surely: bool) -> Is {
        let datagram = &self.arrived.datagram;
        let octets = datagram.octets;
        let pair = |at: usize| -> Option<u16> {
            let octets = octets.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*octets))
        };
        match test {
            Test::Source(net) => net.contains(datagram.source).into(),
            Test::Destination(net) => net.contains(datagram.destination).into(),
            Test::In(name) => self.interface("-i", name, datagram.source),
            Test::Out(name) => self.interface("-o", name, datagram.destination),
            Test::Protocol(number) => {
                let is_behind = datagram.protocol == *number;
                let is_not_behind = protocol::AH == *number;
                // Only a file that iptables-legacy has saved tells by which of them it is judged.
                if self.arrived.authenticated && !self.is_legacy && is_behind != is_not_behind {
                    return Is::Maybe(
                        "an authentication header, behind which iptables-legacy looks for the protocol, and \
                         iptables-nft does not"
                            .into(),
                    );
                }
                is_behind.into()
            }
            // They are put together before.
            Test::Fragment => Is::No,
            Test::Ports(port, first, last) => {
                let length = match datagram.protocol {
                    protocol::TCP => 20,
                    _ => 8,
                };
                if octets.len() < length {
                    return self.short();
                }
                let found = match port {
                    Port::Source => pair(0),
                    _ => pair(2),
                };
                found
                    .is_some_and(|port| (*first..=*last).contains(&port))
                    .into()
            }
            Test::Multiport(port, ranges) => {
                let (Some(source), Some(destination)) = (pair(0), pair(2)) else {
                    return self.short();
                };
                let is_in = |port: u16| {
                    ranges
                        .iter()
                        .any(|(first, last)| (*first..=*last).contains(&port))
                };
                match port {
                    Port::Source => is_in(source),
                    Port::Destination => is_in(destination),
                    Port::Either => is_in(source) || is_in(destination),
                }
                .into()
            }
            Test::TcpFlags(mask, set) => match octets.get(..20).and_then(|octets| octets.get(13)) {
                Some(flags) => (flags & mask == *set).into(),
                None => self.short(),
            },
            Test::Icmp(kind, first, last) => match octets.get(..4) {
                Some(&[found, code, ..]) => {
                    let is_any = *kind == ANY_ICMP && self.family == Family::V4;
                    (is_any || found == *kind && (*first..=*last).contains(&code)).into()
                }
                _ => self.short(),
            },
            Test::State(states) => {
                let found = match self.seen.state {
                    State::Invalid => state::INVALID,
                    State::New => state::NEW,
                    State::Established => state::ESTABLISHED,
                    State::Related => state::RELATED,
                    State::Untracked => state::UNTRACKED,
                    State::Unknown => {
                        return Is::Maybe(format!(
                            "what conntrack says of protocol {} is not known here",
                            datagram.protocol
                        ))
                    }
                };
                (states & found != 0).into()
            }
            Test::OfOriginal(original) => match self.seen.state {
                State::Invalid | State::Untracked => Is::No,
                State::Unknown => Is::Maybe("what conntrack says is not known here".into()),
                _ => ((self.seen.way == Way::Original) == *original).into(),
            },
            Test::Dnp3(rule) => self.dnp3(rule, surely),
            Test::Limit => Is::Maybe("-m limit is a matter of time".into()),
            Test::Unknown(why) => Is::Maybe(why.to_string()),
        }
    }

    /// Of a header that is cut short.
    fn short(&self) -> Is {
        if self.is_legacy {
            return Is::HotDrop;
        }
        Is::Any(
            "the transport header is cut short, of which iptables-legacy and iptables-nft think differently".into(),
        )
    }

    fn interface(&self, option: &str, wanted: &str, host: IpAddr) -> Is {
        let known = self
            .interfaces
            .iter()
            .filter(|(_, net)| net.contains(host))
            .max_by_key(|(_, net)| net.mask.count_ones());
        match known {
            None => Is::Maybe(format!(
                "{option} {wanted}: which interface leads to {host} is not in a capture; --interface says it"
            )),
            Some((name, _)) => match wanted.strip_suffix('+') {
                Some(beginning) => name.starts_with(beginning),
                None => name == wanted,
            }
            .into(),
        }
    }

    fn dnp3(&mut self, rule: &dnp3_core::Rule, surely: bool) -> Is {
        let is_tcp = self.packet.headers.protocol == protocol::TCP;
        let is_of_connection = matches!(self.seen.state, State::New | State::Established);
        let mut tracked = None;
        if is_tcp && is_of_connection && !self.seen.dying {
            if let Some(followed) =
                entry(self.table, self.seen).and_then(|entry| entry.followed.as_deref_mut())
            {
                tracked = self.tracker.judge(rule, followed, &self.packet);
            }
        }
        let verdict = tracked.unwrap_or_else(|| {
            dnp3_core::judge(rule, &Octets(self.packet.octets), self.packet.headers)
        });
        match verdict {
            dnp3_core::Verdict::NoMatch => Is::No,
            dnp3_core::Verdict::HotDrop => Is::HotDrop,
            dnp3_core::Verdict::Match => {
                let may_begin = tracked.is_none()
                    && rule.tracks()
                    && is_of_connection
                    && self.seen.way == Way::Original
                    && has_flag(self.packet.octets, SYN);
                if may_begin {
                    if let Some(entry) = entry(self.table, self.seen) {
                        self.doubts |= !surely && !entry.matched;
                        entry.matched = true;
                    }
                }
                Is::Yes
            }
        }
    }
}

/// A packet of which something is said.
#[derive(Debug, Serialize)]
struct Line<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    file: &'a str,
    packet: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    protocol: String,
    source: String,
    destination: String,
    octets: u64,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    uncertain: Option<&'a str>,
    frames: Vec<String>,
}

/// Who has decided about it.
#[derive(Debug, Serialize)]
struct By<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    line: &'a Line<'a>,
    by: By<'a>,
}

impl<'a> Line<'a> {
    fn of(
        family: Family,
        arrived: &Arrived<'_>,
        mark: Mark,
        file: &'a str,
        verdict: Verdict,
        uncertain: Option<&'a str>,
    ) -> Line<'a> {
        let datagram = &arrived.datagram;
        let octets = datagram.octets;
        let port = |at: usize| -> Option<u16> {
            let octets = octets.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*octets))
        };
        let (name, has_ports) = match datagram.protocol {
            protocol::TCP => ("tcp".to_owned(), true),
            protocol::UDP => ("udp".to_owned(), true),
            protocol::ICMP => ("icmp".to_owned(), false),
            protocol::ICMPV6 => ("icmpv6".to_owned(), false),
            number => (number.to_string(), false),
        };
        let end = |address: IpAddr, at: usize| match port(at).filter(|_| has_ports) {
            Some(port) if family == Family::V6 => format!("[{address}]:{port}"),
            Some(port) => format!("{address}:{port}"),
            None => address.to_string(),
        };
        Line {
            kind: "packet",
            file,
            packet: mark.packet,
            time: mark.time.map(|time| {
                let time = std::time::UNIX_EPOCH
                    .checked_add(std::time::Duration::from_nanos(time))
                    .unwrap_or(std::time::UNIX_EPOCH);
                humantime::format_rfc3339_nanos(time).to_string()
            }),
            source: end(datagram.source, 0),
            destination: end(datagram.destination, 2),
            octets: arrived.length,
            verdict: match verdict {
                _ if uncertain.is_some() => "uncertain",
                Verdict::Accept => "accept",
                Verdict::Drop => "drop",
                Verdict::Reject => "reject",
            },
            uncertain,
            frames: frames(&name, octets),
            protocol: name,
        }
    }
}

/// What DNP3 is in a packet, by itself.
fn frames(protocol: &str, octets: &[u8]) -> Vec<String> {
    let from = match protocol {
        "tcp" => octets
            .get(12)
            .map_or(0, |offset| usize::from(offset >> 4) * 4),
        "udp" => 8,
        _ => octets.len(),
    };
    let payload = octets.get(from..).unwrap_or_default();
    let mut found = Vec::new();
    let mut more = 0;
    let mut cutter = Cutter::default();
    let mut tell = |piece: Piece<'_>| {
        let text = match piece {
            Piece::Frame { seen, .. } => {
                let mut text = match seen.class {
                    Some(Class::Function(code)) => match function_name(code) {
                        Some(name) => name.to_owned(),
                        None => format!("function {code}"),
                    },
                    Some(Class::Continuation) => "cont".to_owned(),
                    Some(Class::Link) | None => "link".to_owned(),
                };
                if let (Some(source), Some(destination)) = (seen.source, seen.destination) {
                    // Writing to a string does not fail.
                    let _ = write!(text, " {source} > {destination}");
                }
                text
            }
            Piece::Bad { length, .. } => format!("{length} octets that are no frame"),
            Piece::Unfinished(octets) => format!("{} octets of a frame", octets.len()),
        };
        if found.len() < SHOWN {
            found.push(text);
        } else {
            more += 1;
        }
    };
    cutter.push(payload, Mark::default(), &mut |placed| tell(placed.piece));
    cutter.end(&mut |placed| tell(placed.piece));
    if more != 0 {
        found.push(format!("{more} more"));
    }
    found
}

/// A rule or a policy with what it has counted, for programs.
#[derive(Debug, Serialize)]
struct Counted<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    rules: &'a str,
    chain: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'static str>,
    packets: u64,
    octets: u64,
    maybe_packets: u64,
    maybe_octets: u64,
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    counts: &'a Counts,
}

impl<W: Write> Checker<W> {
    fn put(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.error.get_or_insert(error);
        }
    }

    /// Says what becomes of a packet, and by what.
    fn say(&mut self, line: &Line<'_>, family: Family, why: &Why) {
        let Some(Some(loaded)) = self.rules.get(index(family)) else {
            return;
        };
        let rule = match why {
            Why::Rule(rule) => loaded.rules.rules.get(*rule),
            _ => None,
        };
        let chain = loaded.rules.chains.get(loaded.chain);
        let by = By {
            rules: rule.map(|_| loaded.name.as_str()),
            line: rule.map(|rule| rule.line),
            rule: rule.map(|rule| &*rule.text),
            policy: match why {
                Why::Policy => chain.map(|chain| &*chain.name),
                _ => None,
            },
            behind: match why {
                Why::Behind(why) => Some(why),
                _ => None,
            },
        };
        let output = &mut self.output;
        let written = if self.options.json {
            serde_json::to_writer(&mut *output, &Said { line, by })
                .map_err(io::Error::from)
                .and_then(|()| writeln!(output))
        } else {
            text(output, line, &by)
        };
        self.put(written);
    }

    /// Whether something is not accepted for certain.
    pub fn has_found(&self) -> bool {
        let counts = &self.counts;
        counts.dropped + counts.rejected + counts.uncertain + counts.without_rules != 0
            || self.table.evicted != 0
            || self.passes_skipped
            || self.has_wrong_fragments
            || self.datagrams.has_fragments()
            // Nothing is proved by nothing.
            || counts.packets == 0
    }

    /// What was judged so far.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What the rules of a family have counted: each rule in the order of the file, and the policy of the
    /// chain that packets came to.
    pub fn counters(&self, family: Family) -> Option<(&[Counter], &Counter)> {
        let loaded = self.rules.get(index(family))?.as_ref()?;
        Some((&loaded.counters, &loaded.policy))
    }

    /// Writes what the rules have counted and the sum of it; returns what else is to be said.
    ///
    /// # Errors
    ///
    /// The first that writing had.
    pub fn finish(mut self) -> io::Result<Vec<String>> {
        let mut lines = Vec::new();
        self.datagrams.clear();
        let given_up = self.datagrams.given_up;
        if given_up != 0 {
            lines.push(format!(
                "{given_up} IP packets in fragments are not whole; a gateway forwards nothing of them"
            ));
        }
        let counts = self.counts;
        if counts.without_rules != 0 {
            let family = match &self.rules {
                [None, _] => Family::V4,
                _ => Family::V6,
            };
            lines.push(format!(
                "{} packets are of {family}, for which there are no rules: they are not judged",
                counts.without_rules
            ));
        }
        if counts.not_forwarded != 0 {
            lines.push(format!(
                "{} packets are not judged, since no router forwards them: multicast, broadcast, link-local, loopback",
                counts.not_forwarded
            ));
        }
        if self.midway != 0 {
            lines.push(format!(
                "{} packets that are not accepted are of TCP connections that no SYN of the captures begins; on a gateway \
                 such a connection ends when the rules are loaded, and comes back by its SYN",
                self.midway
            ));
        }
        if counts.packets == 0 {
            lines.push("no packet was judged".into());
        }
        if self.table.evicted != 0 {
            lines.push(format!(
                "{} connections were forgotten, since more than {MAX_ENTRIES} were open at a time; what is said of \
                 packets after that may be wrong",
                self.table.evicted
            ));
        }
        if self.tracker.full != 0 {
            lines.push(format!(
                "{} connections could not be followed, since {MAX_CONNECTIONS} are at most, as in the kernel; their \
                 packets are uncertain",
                self.tracker.full
            ));
        }
        if self.tracker.short != 0 {
            lines.push(format!(
                "for {} packets there was no memory to keep them for comparison; what follows on their connections \
                 is uncertain",
                self.tracker.short
            ));
        }
        if !self.options.quiet {
            let written = self.tables();
            self.put(written);
        }
        let flushed = self.output.flush();
        self.put(flushed);
        match self.error {
            Some(error) => Err(error),
            None => Ok(lines),
        }
    }

    fn tables(&mut self) -> io::Result<()> {
        let output = &mut self.output;
        for loaded in self.rules.iter().flatten() {
            let rules = &loaded.rules;
            for (number, chain) in rules.chains.iter().enumerate() {
                let policy = match chain.policy {
                    Some(Policy::Accept) => Some("ACCEPT"),
                    Some(Policy::Drop) => Some("DROP"),
                    None => None,
                };
                let own = Counter::default();
                let counted = if number == loaded.chain {
                    &loaded.policy
                } else {
                    &own
                };
                // Built-in chains that nothing is in, and nothing comes to.
                if number != loaded.chain && chain.rules.is_empty() {
                    continue;
                }
                if self.options.json {
                    if policy.is_some() || number == loaded.chain {
                        let line = Counted {
                            kind: "policy",
                            rules: &loaded.name,
                            chain: &chain.name,
                            line: None,
                            rule: None,
                            policy: Some(policy.unwrap_or("RETURN")),
                            packets: counted.sure.packets,
                            octets: counted.sure.octets,
                            maybe_packets: counted.maybe.packets,
                            maybe_octets: counted.maybe.octets,
                        };
                        serde_json::to_writer(&mut *output, &line)?;
                        writeln!(output)?;
                    }
                } else {
                    writeln!(output, "Chain {} of {}", chain.name, loaded.name)?;
                    writeln!(output, "{:>10} {:>12}  line  rule", "packets", "octets")?;
                }
                for number in &chain.rules {
                    let (Some(rule), Some(counter)) =
                        (rules.rules.get(*number), loaded.counters.get(*number))
                    else {
                        continue;
                    };
                    if self.options.json {
                        let line = Counted {
                            kind: "rule",
                            rules: &loaded.name,
                            chain: &chain.name,
                            line: Some(rule.line),
                            rule: Some(&rule.text),
                            policy: None,
                            packets: counter.sure.packets,
                            octets: counter.sure.octets,
                            maybe_packets: counter.maybe.packets,
                            maybe_octets: counter.maybe.octets,
                        };
                        serde_json::to_writer(&mut *output, &line)?;
                        writeln!(output)?;
                    } else {
                        row(output, counter, &format!("{:>5}  {}", rule.line, rule.text))?;
                    }
                }
                if !self.options.json {
                    if number == loaded.chain || policy.is_some() {
                        let policy = policy.unwrap_or("back to where it was called");
                        row(output, counted, &format!("       policy: {policy}"))?;
                    }
                    writeln!(output)?;
                }
            }
        }
        let counts = &self.counts;
        if self.options.json {
            let line = Summary {
                kind: "summary",
                counts,
            };
            serde_json::to_writer(&mut *output, &line)?;
            return writeln!(output);
        }
        writeln!(
            output,
            "{} packets: {} accepted, {} dropped, {} rejected, {} uncertain",
            counts.packets, counts.accepted, counts.dropped, counts.rejected, counts.uncertain
        )
    }
}

/// A line of what rules have counted.
fn row(output: &mut impl Write, counter: &Counter, what: &str) -> io::Result<()> {
    write!(
        output,
        "{:>10} {:>12} {what}",
        counter.sure.packets, counter.sure.octets
    )?;
    if counter.maybe.packets != 0 {
        write!(
            output,
            "   (and perhaps {} more, of {} octets)",
            counter.maybe.packets, counter.maybe.octets
        )?;
    }
    writeln!(output)
}

/// What becomes of a packet, for people.
fn text(output: &mut impl Write, line: &Line<'_>, by: &By<'_>) -> io::Result<()> {
    write!(
        output,
        "{}:{}: {} {} {} > {}",
        line.file,
        line.packet,
        line.verdict.to_uppercase(),
        line.protocol,
        line.source,
        line.destination
    )?;
    if !line.frames.is_empty() {
        write!(output, " [{}]", line.frames.join(", "))?;
    }
    if let Some(why) = line.uncertain {
        return writeln!(output, ": {why}");
    }
    match by {
        By {
            rules: Some(rules),
            line: Some(number),
            rule: Some(rule),
            ..
        } => writeln!(output, " by {rules}:{number}: {rule}"),
        By {
            policy: Some(chain),
            ..
        } => writeln!(output, " by the policy of {chain}"),
        By {
            behind: Some(why), ..
        } => writeln!(output, " behind all rules: {why}"),
        _ => writeln!(output),
    }
}
