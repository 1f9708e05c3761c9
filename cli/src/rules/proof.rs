// SPDX-License-Identifier: GPL-2.0

//! The rules, read again: that they let through what they were made of, and nothing else.
//!
//! They are read as `dnp3fw check` reads anybody's rules, from their text. Then two things are looked at
//! that know nothing of how they were made. All chains are gone through once, and what their ACCEPT
//! rules let through between which hosts is put together: it must be the baseline's, no more. And a
//! packet of each kind that the baseline has goes through them, and must be accepted.

use super::flows::{Flows, Pair, Ports, Set, Way};
use super::{write, Entry, Options, Rules};
use crate::baseline::Transport;
use crate::ruleset::{
    state, Answer, Condition, Family, Net, Port, Rule, Ruleset, Target, Test, MAX_OCTETS, MAX_RULES,
};
use dnp3_core::frame::{Class, Seen};
use dnp3_core::link::Control;
use dnp3_core::rule::{class, dir, frames, option, protocol, status, Range};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How deep the kernel's nf_tables lets chains be nested.
const DEEPEST: usize = 16;
/// A port that nothing is known of.
const SOME_PORT: u16 = 49_152;
/// SYN, of the flags that `--syn` looks at: FIN, SYN, RST and ACK.
const SYN: (u8, u8) = (0x17, 0x02);

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Between whom, and by which ports.
type Between = (IpAddr, IpAddr, Ports);

/// What rules let through.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passes {
    opens: BTreeSet<Between>,
    frames: BTreeMap<(Way, Between), BTreeMap<Pair, Set>>,
}

/// The rules of `text`, when they are those of `flows`.
pub(super) fn prove(
    text: String,
    family: Family,
    flows: &Flows,
    options: &Options,
) -> Result<Rules, String> {
    let fault = |what: String| {
        format!("{what}; this is a mistake of dnp3fw's, and nothing is written. Please report it")
    };
    if text.len() > MAX_OCTETS || text.matches("\n-A ").count() > MAX_RULES {
        return Err(format!(
            "the rules would be more than {MAX_RULES}, or {} MiB, which is more than dnp3fw reads again; make baselines \
             of parts, and a chain of its own for each (--chain), to which only packets of its hosts are sent",
            MAX_OCTETS >> 20
        ));
    }
    let rules = Ruleset::parse(&text, Some(family))
        .map_err(|error| fault(format!("the rules made cannot be read again: {error}")))?;
    if let Some(why) = rules.rules.iter().flat_map(Rule::unknown).next() {
        return Err(fault(format!("the rules made cannot be judged: {why}")));
    }
    let hooks = match &options.entry {
        Entry::Forward => vec!["FORWARD"],
        Entry::Host => vec!["INPUT", "OUTPUT"],
        Entry::Own(name) => vec![name.as_str()],
    };
    let (all, ..) = write::names::of(&options.entry);
    let mut most = 0;
    let mut met = 0;
    for hook in hooks {
        let hook = rules
            .chain(hook)
            .ok_or_else(|| fault(format!("the rules made have no chain {hook}")))?;
        let all = rules.chain(&all);
        let (longest, _) = rules_to_meet(&rules, hook, all, &mut BTreeMap::new(), DEEPEST)
            .ok_or_else(|| {
                format!(
                    "these are so many addresses that chains would lie more than {DEEPEST} deep, which nf_tables \
                     does not take; make baselines of parts of them"
                )
            })?;
        most = most.max(longest);
        met = met.max(walk(&rules, hook, flows).map_err(fault)?);
        let passes = passes(&rules, hook, family, flows.all.len()).map_err(fault)?;
        compare(&passes, flows).map_err(fault)?;
    }
    Ok(Rules {
        rules: rules.rules.len(),
        chains: rules
            .chains
            .iter()
            .filter(|chain| chain.policy.is_none())
            .count(),
        most,
        met,
        notes: flows.notes.clone(),
        text,
    })
}

/// The most rules that a packet can meet in a chain, and how deep the chains lie. `None` when deeper
/// than `left`. From `all` no packet comes back.
fn rules_to_meet(
    rules: &Ruleset,
    chain: usize,
    all: Option<usize>,
    known: &mut BTreeMap<usize, (u64, usize)>,
    left: usize,
) -> Option<(u64, usize)> {
    let mut depth = 1;
    if let Some((most, below)) = known.get(&chain) {
        return (*below <= left).then_some((*most, *below));
    }
    let left = left.checked_sub(1)?;
    let mut most = 0;
    let mut so_far = 0;
    let mut been = BTreeSet::new();
    for rule in rules_of(rules, chain) {
        so_far += 1;
        if let Target::Jump(to) | Target::Goto(to) = rule.target {
            let (there, below) = rules_to_meet(rules, to, all, known, left)?;
            depth = depth.max(below + 1);
            most = most.max(so_far + there);
            // Two jumps to the same chain that ask for the same port ask for other numbers of it, or another
            // protocol: a packet takes one of them.
            let asks_for = |port| {
                let mut conditions = rule.conditions.iter();
                conditions.any(|one| matches!(one.test, Test::Ports(its, ..) if its == port))
            };
            let by = (asks_for(Port::Source), asks_for(Port::Destination));
            let comes_back = matches!(rule.target, Target::Jump(_)) && Some(to) != all;
            if comes_back && been.insert((by, to)) {
                so_far += there;
            }
        }
    }
    let found = (most.max(so_far), depth);
    known.insert(chain, found);
    Some(found)
}

fn rules_of(rules: &Ruleset, chain: usize) -> impl Iterator<Item = &Rule> {
    let places = rules.chains.get(chain).map(|chain| &chain.rules[..]);
    places
        .unwrap_or_default()
        .iter()
        .filter_map(|place| rules.rules.get(*place))
}

/// A packet with one frame, or none.
#[derive(Clone, Copy, Debug)]
struct Packet {
    source: IpAddr,
    destination: IpAddr,
    transport: Transport,
    source_port: u16,
    destination_port: u16,
    syn: bool,
    state: u8,
    frame: Option<Seen>,
}

fn is_satisfied(condition: &Condition, packet: &Packet) -> Option<bool> {
    let holds = match &condition.test {
        Test::Source(net) => net.contains(packet.source),
        Test::Destination(net) => net.contains(packet.destination),
        Test::Protocol(number) => *number == number_of(packet.transport),
        Test::Ports(Port::Source, first, last) => (*first..=*last).contains(&packet.source_port),
        Test::Ports(Port::Destination, first, last) => {
            (*first..=*last).contains(&packet.destination_port)
        }
        Test::TcpFlags(mask, set) if (*mask, *set) == SYN => packet.syn,
        Test::State(states) => states & packet.state != 0,
        Test::Dnp3(rule) => match &packet.frame {
            None => rule.statuses() & status::NONE != 0 && !rule.has_frame_test(),
            Some(seen) => {
                rule.statuses() & status::VALID != 0
                    && (!rule.has_frame_test() || rule.admits(seen, rule.reading()))
            }
        },
        Test::Limit => true,
        // Nothing else is in these rules.
        _ => return None,
    };
    Some(holds != condition.inverted)
}

fn number_of(transport: Transport) -> u8 {
    match transport {
        Transport::Tcp => protocol::TCP,
        Transport::Udp => protocol::UDP,
    }
}

/// Whether a packet is accepted, and how many rules it met.
fn goes_through(rules: &Ruleset, hook: usize, packet: &Packet) -> (bool, u64) {
    let mut ask = |_: usize, rule: &Rule| {
        for condition in &rule.conditions {
            match is_satisfied(condition, packet) {
                Some(true) => {}
                Some(false) => return Answer::No,
                None => return Answer::Maybe,
            }
        }
        Answer::Yes
    };
    let outcome = rules.walk(hook, &mut ask, &mut |_| {});
    (outcome.accept && outcome.is_certain(), outcome.asked)
}

/// Sends a packet of each kind that is allowed; returns the most rules that one of them met.
fn walk(rules: &Ruleset, hook: usize, flows: &Flows) -> Result<u64, String> {
    let mut most = 0;
    for ((way, hosts, ports), flow) in &flows.all {
        let (source, destination) = ends(*way, *hosts);
        let packet = Packet {
            source,
            destination,
            transport: ports.transport,
            source_port: ports.source.unwrap_or(SOME_PORT),
            destination_port: ports.destination.unwrap_or(SOME_PORT),
            syn: false,
            state: state::ESTABLISHED,
            frame: None,
        };
        let mut send = |packet: &Packet| {
            let (passes, met) = goes_through(rules, hook, packet);
            most = most.max(met);
            match passes {
                true => Ok(()),
                false => Err(format!(
                    "the rules made do not accept what is in the baseline: {packet:?}"
                )),
            }
        };
        if ports.transport == Transport::Tcp {
            send(&packet)?;
            if flow.opens {
                let state = state::NEW;
                let syn = true;
                send(&Packet {
                    syn,
                    state,
                    ..packet
                })?;
            }
        }
        for ((from, to), functions) in &flow.functions {
            let cont = (functions.classes & class::CONT != 0).then_some(Class::Continuation);
            let link = (functions.classes & class::LINK != 0).then_some(Class::Link);
            let classes = functions.codes().map(Class::Function);
            for class in classes.chain(cont).chain(link) {
                let seen = Seen {
                    control: Some(Control(match way {
                        Way::Request => DIR,
                        Way::Response => 0,
                    })),
                    source: Some(from.unwrap_or_default()),
                    destination: Some(to.unwrap_or_default()),
                    class: Some(class),
                };
                send(&Packet {
                    frame: Some(seen),
                    ..packet
                })?;
            }
        }
    }
    Ok(most)
}

/// The bit of the control octet that says that the master sends.
const DIR: u8 = 0x80;

/// Sender and receiver of what goes one way.
fn ends(way: Way, (outstation, master): (IpAddr, IpAddr)) -> (IpAddr, IpAddr) {
    match way {
        Way::Request => (master, outstation),
        Way::Response => (outstation, master),
    }
}

/// The way to a rule: which hosts' packets can come by it.
#[derive(Clone, Copy, Debug)]
struct Path {
    source: Net,
    destination: Net,
}

/// What the rules let through from this chain on: by their ACCEPT rules alone, as if no rule before them
/// took anything.
fn passes(rules: &Ruleset, chain: usize, family: Family, most: usize) -> Result<Passes, String> {
    let everybody = Net {
        address: 0,
        mask: 0,
        family,
    };
    let from_everybody = Path {
        source: everybody,
        destination: everybody,
    };
    let mut passes = Passes::default();
    let mut left = vec![(chain, from_everybody)];
    while let Some((chain, before)) = left.pop() {
        let mut returns: Vec<&Rule> = Vec::new();
        for rule in rules_of(rules, chain) {
            let mut path = before;
            let mut is_possible = true;
            for condition in &rule.conditions {
                let place = match &condition.test {
                    Test::Source(_) => &mut path.source,
                    Test::Destination(_) => &mut path.destination,
                    _ => continue,
                };
                if let Test::Source(net) | Test::Destination(net) = &condition.test {
                    match narrowed(*place, **net) {
                        Some(net) if !condition.inverted => *place = net,
                        None if !condition.inverted => is_possible = false,
                        _ => return Err(format!("a rule made is none of ours: {}", rule.text)),
                    }
                }
            }
            match &rule.target {
                _ if !is_possible => {}
                Target::Jump(to) | Target::Goto(to) => left.push((*to, path)),
                Target::Accept => accept(rule, path, &returns, most, &mut passes)?,
                Target::Return => returns.push(rule),
                _ => {}
            }
        }
    }
    Ok(passes)
}

/// The addresses that are in both; of two prefixes that is the longer one, or none.
fn narrowed(one: Net, other: Net) -> Option<Net> {
    let (wide, narrow) = match one.mask.count_ones() <= other.mask.count_ones() {
        true => (one, other),
        false => (other, one),
    };
    (narrow.address & wide.mask == wide.address).then_some(narrow)
}

/// Every address of a network, where there are no more than `most`.
fn addresses(net: Net, most: usize) -> Result<Vec<IpAddr>, String> {
    let (bits, address): (u32, fn(u128) -> IpAddr) = match net.family {
        Family::V4 => (32, |bits| IpAddr::V4(Ipv4Addr::from(bits as u32))),
        Family::V6 => (128, |bits| IpAddr::V6(Ipv6Addr::from(bits))),
    };
    let free = bits.saturating_sub(net.mask.count_ones());
    match 1_u128.checked_shl(free) {
        Some(count) if free < 64 && count <= most as u128 => Ok((0..count)
            .map(|number| address(net.address | number))
            .collect()),
        _ => Err(format!(
            "a rule made lets more addresses pass than the baseline has, those that begin as {}",
            address(net.address)
        )),
    }
}

/// Which functions a frame may have in a packet that has come by a rule whose target is RETURN: one that
/// matches packets with any frame of some addresses, or of some addresses and not some functions.
/// `None` where it says nothing of the packets of another rule.
fn left_by(returns: &Rule, accepts: &Rule, from: Option<u16>, to: Option<u16>) -> Option<Set> {
    let mut rest = returns.conditions.iter();
    let mut others = accepts.conditions.iter();
    let mut asks = None;
    // But for its frames it asks for the same.
    loop {
        match (rest.next(), others.next()) {
            (None, None) => break,
            (Some(one), Some(other)) => match (&one.test, &other.test) {
                (Test::Dnp3(rule), Test::Dnp3(_)) if !one.inverted => asks = Some(rule),
                _ if one == other => {}
                _ => return None,
            },
            _ => return None,
        }
    }
    let asks = asks?;
    let is = |bit: u16| asks.set & bit != 0;
    let lists = |ranges: &[Range], count: u8, address: Option<u16>| {
        let mut ranges = ranges.iter().take(count.into());
        address
            .is_some_and(|address| ranges.any(|range| (range.min..=range.max).contains(&address)))
    };
    let asked = option::SADDR | option::DADDR | option::FRAMES | option::TRACK | option::FC;
    let all = asks.frames == frames::ANY
        && is(option::SADDR)
        && is(option::DADDR)
        && asks.set & !asked == 0
        && asks.invert == asks.set & option::FC
        && lists(&asks.saddr, asks.saddr_count, from)
        && lists(&asks.daddr, asks.daddr_count, to);
    // Without functions, all of them are matched by it, and none is left.
    all.then_some(Set {
        codes: asks.fc,
        classes: asks.classes,
    })
}

/// Takes down what an ACCEPT rule lets through, behind rules that send some of it back.
fn accept(
    rule: &Rule,
    path: Path,
    returns: &[&Rule],
    most: usize,
    passes: &mut Passes,
) -> Result<(), String> {
    let strange = || format!("a rule made is none of ours: {}", rule.text);
    let mut ports = (None, None);
    let mut transport = None;
    let mut states = None;
    let mut syn = None;
    let mut dnp3 = None;
    let mut is_icmp = false;
    for Condition { inverted, test } in &rule.conditions {
        match test {
            Test::Source(_) | Test::Destination(_) => {}
            Test::TcpFlags(mask, set) if (*mask, *set) == SYN => syn = Some(!inverted),
            _ if *inverted => return Err(strange()),
            Test::Protocol(protocol::TCP) => transport = Some(Transport::Tcp),
            Test::Protocol(protocol::UDP) => transport = Some(Transport::Udp),
            Test::Ports(Port::Source, first, last) if first == last => ports.0 = Some(*first),
            Test::Ports(Port::Destination, first, last) if first == last => ports.1 = Some(*first),
            Test::State(bits) => states = Some(*bits),
            Test::Dnp3(rule) => dnp3 = Some(rule),
            Test::Protocol(ICMP | ICMPV6) => is_icmp = true,
            _ => return Err(strange()),
        }
    }
    if is_icmp && states == Some(state::RELATED) {
        return Ok(());
    }
    let (Some(transport), Some(dnp3)) = (transport, dnp3) else {
        return Err(strange());
    };
    if !dnp3.has_frame_test() && dnp3.statuses() & status::ALL == status::NONE {
        return match (syn, states) {
            // What opens nothing.
            (Some(false), Some(state::ESTABLISHED)) => Ok(()),
            (Some(true), Some(_)) => {
                for source in addresses(path.source, most)? {
                    for destination in addresses(path.destination, most)? {
                        let ports = Ports {
                            transport,
                            source: ports.0,
                            destination: ports.1,
                        };
                        passes.opens.insert((source, destination, ports));
                    }
                }
                Ok(())
            }
            _ => Err(strange()),
        };
    }
    let is_in_a_connection = states == Some(state::ESTABLISHED);
    let allowed = option::SADDR | option::DADDR | option::FC | option::DIR | option::TRACK;
    if dnp3.invert != 0
        || dnp3.set & !allowed != 0
        || dnp3.set & option::FC == 0
        || (transport == Transport::Tcp) != is_in_a_connection
        || syn.is_some()
    {
        return Err(strange());
    }
    let way = match dnp3.dir {
        dir::MASTER => Way::Request,
        dir::OUTSTATION => Way::Response,
        _ => return Err(strange()),
    };
    let list = |bit: u16, ranges: &[Range], count: u8| -> Vec<Option<u16>> {
        match dnp3.set & bit {
            0 => vec![None],
            _ => ranges
                .iter()
                .take(count.into())
                .flat_map(|range| range.min..=range.max)
                .map(Some)
                .collect(),
        }
    };
    let from = list(option::SADDR, &dnp3.saddr, dnp3.saddr_count);
    let to = list(option::DADDR, &dnp3.daddr, dnp3.daddr_count);
    let functions = Set {
        codes: dnp3.fc,
        classes: dnp3.classes,
    };
    for source in addresses(path.source, most)? {
        for destination in addresses(path.destination, most)? {
            let ports = Ports {
                transport,
                source: ports.0,
                destination: ports.1,
            };
            let between = (source, destination, ports);
            let pairs = passes.frames.entry((way, between)).or_default();
            for from in &from {
                for to in &to {
                    let mut functions = functions;
                    for one in returns {
                        if let Some(left) = left_by(one, rule, *from, *to) {
                            functions.narrow(&left);
                        }
                    }
                    if functions != Set::default() {
                        pairs.entry((*from, *to)).or_default().unite(&functions);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Whether the rules let through what is in the flows, and nothing else.
fn compare(passes: &Passes, flows: &Flows) -> Result<(), String> {
    // Two hosts can be master and outstation of each other, and connect to the same port for both.
    let mut opens = BTreeSet::new();
    let mut frames = 0;
    for ((way, hosts, ports), flow) in &flows.all {
        let (source, destination) = ends(*way, *hosts);
        let between = (source, destination, *ports);
        if flow.opens {
            opens.insert(between);
        }
        let none = BTreeMap::new();
        let found = passes.frames.get(&(*way, between)).unwrap_or(&none);
        if *found != flow.functions {
            return Err(format!(
                "the rules made and the baseline differ in what passes: {way:?} {between:?}"
            ));
        }
        frames += usize::from(!flow.functions.is_empty());
    }
    if let Some(between) = passes.opens.symmetric_difference(&opens).next() {
        return Err(format!(
            "the rules made and the baseline differ in who may connect: {between:?}"
        ));
    }
    // All of the baseline is there; with as many, there is nothing else.
    match frames == passes.frames.len() {
        true => Ok(()),
        false => Err("the rules made let through more hosts than the baseline has".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline;
    use crate::rules::write::write;

    const BASELINE: &str = r#"{ "version": 1, "communications": [
        { "master_ip": "192.0.2.10", "outstation_ip": "198.51.100.20", "protocol": "tcp", "port": 20000,
          "opened_by": "master", "links": [
            { "master": 1, "outstation": 10, "requests": [{ "function": 1 }], "responses": [{ "function": 129 }] },
            { "master": 1, "outstation": 12, "requests": [{ "function": 2 }], "responses": [{ "function": 129 }] } ] },
        { "master_ip": "192.0.2.11", "outstation_ip": "198.51.100.20", "protocol": "udp", "port": 20000,
          "opened_by": "master", "links": [
            { "master": 1, "outstation": 10, "requests": [{ "function": 1 }], "responses": [{ "function": 129 }] } ] }
    ] }"#;

    fn made() -> (Flows, String) {
        let baseline = baseline::read("test", BASELINE.as_bytes()).expect("a baseline");
        let flows = Flows::of(&baseline, Family::V4, &Options::default());
        let text = write(&baseline, "test", Family::V4, &flows, &Options::default());
        (flows, text)
    }

    fn proved(flows: &Flows, text: String) -> Result<Rules, String> {
        prove(text, Family::V4, flows, &Options::default())
    }

    #[test]
    fn what_is_made_is_proved() {
        let (flows, text) = made();
        let rules = proved(&flows, text.clone()).expect("rules");
        assert_eq!(rules.text, text);
        assert!(rules.met > 5 && rules.met <= rules.most);
    }

    #[test]
    fn every_change_is_found() {
        let (flows, text) = made();
        for (from, to) in [
            // Too much.
            ("--fc 1,link", "--fc 1:2,link"),
            ("--fc 1,link", "--fc 1,link,cont"),
            ("--daddr 12 ", "--daddr 11:12 "),
            ("--saddr 1 ", ""),
            (" --dir master", ""),
            ("-s 192.0.2.10/32 ", ""),
            ("-s 192.0.2.10/32 ", "-s 192.0.2.10/31 "),
            ("-s 198.51.100.20/32 ", "-s 198.51.100.0/24 "),
            ("NEW,ESTABLISHED", "NEW,RELATED,ESTABLISHED -m dnp3 --fc 1"),
            (
                "ESTABLISHED -m dnp3 --saddr",
                "ESTABLISHED,NEW -m dnp3 --saddr",
            ),
            ("--fc 1,link", "! --fc 1,link"),
            ("--dport 20000 -m conntrack", "-m conntrack"),
            ("--status none", "--status none,valid"),
            ("-j REJECT --reject-with tcp-reset", "-j ACCEPT"),
            ("--ctstate RELATED", "--ctstate RELATED,ESTABLISHED"),
            (" -j DNP3-REQ\n", " -j ACCEPT\n"),
            ("--daddr 12 ! --fc 2,link", "--daddr 12 ! --fc 1:2,link"),
            (
                "--frames any --saddr 1 --daddr 12 ",
                "--frames any --saddr 1 --daddr 13 ",
            ),
            ("--frames any", "--frames only"),
            (" -j RETURN", " -j LOG"),
            // Too little.
            ("--fc 1,link", "--fc 1"),
            ("--daddr 12 ", "--daddr 13 "),
            ("-s 192.0.2.10/32 ", "-s 192.0.2.12/32 "),
            ("--ctstate INVALID", "--ctstate INVALID,ESTABLISHED"),
            ("-A DNP3 -p tcp -m tcp --dport 20000 -j DNP3-REQ\n", ""),
            // What cannot be read.
            ("-m conntrack", "-m helper --helper ftp -m conntrack"),
            ("COMMIT", ""),
        ] {
            let changed = text.replace(from, to);
            assert_ne!(changed, text, "there is no {from:?}\n{text}");
            let found = proved(&flows, changed);
            assert!(found.is_err(), "{from:?} became {to:?}, and was not found");
        }
    }

    #[test]
    fn chains_lie_no_deeper_than_nf_tables_takes() {
        let (flows, text) = made();
        // FORWARD, the chains between, DNP3, and three below it.
        for (between, is_taken) in [(DEEPEST - 5, true), (DEEPEST - 4, false)] {
            let names: Vec<_> = (0..between).map(|number| format!("X{number}")).collect();
            let mut changed = text.replace("-j DNP3\n", "-j X0\n");
            for (name, next) in names
                .iter()
                .zip(names.iter().skip(1).map(String::as_str).chain(["DNP3"]))
            {
                changed = changed
                    .replace("*filter\n", &format!("*filter\n:{name} - [0:0]\n"))
                    .replace("COMMIT", &format!("-A {name} -j {next}\nCOMMIT"));
            }
            let found = proved(&flows, changed);
            assert_eq!(found.is_ok(), is_taken, "{between} chains: {found:?}");
        }
    }
}
