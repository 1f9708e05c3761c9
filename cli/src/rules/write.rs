// SPDX-License-Identifier: GPL-2.0

//! The text: an iptables-restore file, as iptables-save would print its rules, with the reasons.

use super::flows::{counted, is_broadcast, mixed, products, Flow, Flows, Ports, Product, Way};
use super::tree::{joined, Branch, Chain, Chains, Prefix};
use super::{Entry, Log, Options};
use crate::baseline::{on_a_line, Baseline, Transport};
use crate::ruleset::Family;
use dnp3_core::rule::{class, dir, frames, option, status, Range, Rule, MAX_RANGES};
use dnp3_core::text::names::function;
use dnp3_core::text::save;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::rc::Rc;

/// Rules for one address that stand in the chain that asks for it; more have a chain of their own.
const IN_PLACE: usize = 2;
/// The longest comment that iptables takes, in octets.
const COMMENT: usize = 255;

/// The chains that the rules have, but for the one in which they begin.
pub mod names {
    use super::Entry;

    /// The longest name that a chain of one's own may have, so that the others can begin with it.
    pub const LONGEST: usize = 18;

    /// Names that are none of a chain of one's own.
    const TAKEN: [&str; 12] = [
        "PREROUTING",
        "OUTPUT",
        "POSTROUTING",
        "ACCEPT",
        "DROP",
        "REJECT",
        "RETURN",
        "QUEUE",
        "LOG",
        "NFLOG",
        "NFQUEUE",
        "DNP3",
    ];

    /// The chain that judges, and those of requests and of responses.
    pub(in crate::rules) fn of(entry: &Entry) -> (String, String, String) {
        match entry {
            Entry::Own(name) => (
                format!("{name}-ALL"),
                format!("{name}-REQ"),
                format!("{name}-RSP"),
            ),
            Entry::Forward | Entry::Host => ("DNP3".into(), "DNP3-REQ".into(), "DNP3-RSP".into()),
        }
    }

    /// Reads the name of the chain in which the rules begin.
    ///
    /// # Errors
    ///
    /// What is allowed.
    pub fn entry(name: &str) -> Result<Entry, String> {
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
        match name {
            "FORWARD" => Ok(Entry::Forward),
            "INPUT" => Ok(Entry::Host),
            _ if TAKEN.contains(&name) || name.starts_with("DNP3-") => Err(format!(
                "FORWARD, INPUT or a chain of your own is allowed, and {name} is taken"
            )),
            _ if (1..=LONGEST).contains(&name.len())
                && name.chars().all(allowed)
                && !name.starts_with('-') =>
            {
                Ok(Entry::Own(name.into()))
            }
            _ => Err(format!(
                "FORWARD, INPUT or the name of a chain of your own is allowed, 1 to {LONGEST} letters, digits, \
                 _ . and -"
            )),
        }
    }
}

/// The whole file.
pub(super) fn write(
    baseline: &Baseline,
    name: &str,
    family: Family,
    flows: &Flows,
    options: &Options,
) -> String {
    let (all, request, response) = names::of(&options.entry);
    let requests = way(Way::Request, &request, family, flows, options);
    let responses = way(Way::Response, &response, family, flows, options);
    let mut chains = Vec::new();
    if !flows.all.is_empty() || !flows.refused.is_empty() {
        chains.push(judges(all, &requests, &responses, flows, options));
    }
    // The first of a way's chains is there even where nothing goes that way: it is jumped to.
    if !flows.all.is_empty() {
        chains.extend(requests.chains);
        chains.extend(responses.chains);
    }
    let rules = entry(family, flows, options);

    let mut text = head(baseline, name, family, flows, options);
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line("*filter");
    match &options.entry {
        // The policy that stands there is the kernel's affair where it is not named.
        Entry::Forward if options.keep_policy => {}
        Entry::Forward => line(":FORWARD DROP [0:0]"),
        Entry::Host => {}
        Entry::Own(name) => line(&format!(":{name} - [0:0]")),
    }
    for chain in &chains {
        line(&format!(":{} - [0:0]", chain.name));
    }
    for rule in &rules {
        line(rule);
    }
    for chain in &chains {
        line(&format!("# {}: {}", chain.name, chain.why));
        for rule in &chain.rules {
            line(rule);
        }
    }
    line("COMMIT");
    text
}

/// What stands before the rules, for people.
fn head(
    baseline: &Baseline,
    name: &str,
    family: Family,
    flows: &Flows,
    options: &Options,
) -> String {
    let ours = |one: &&crate::baseline::Communication| Family::of(one.outstation_ip) == family;
    let communications = baseline.communications.iter().filter(ours).count();
    let program = match family {
        Family::V4 => "iptables-restore",
        Family::V6 => "ip6tables-restore",
    };
    let mut text = String::new();
    let mut line = |line: &str| {
        let _ = writeln!(text, "# {line}");
    };
    line(&format!(
        "{family} rules for {} of the baseline {}, by dnp3fw {}",
        counted(communications, "communication", "communications"),
        on_a_line(name),
        env!("CARGO_PKG_VERSION")
    ));
    if let Some(captured) = &baseline.captured {
        let packets = usize::try_from(captured.packets).unwrap_or(usize::MAX);
        let time = |time: &Option<String>| match time {
            Some(time) => on_a_line(time),
            None => "an unknown time".into(),
        };
        line(&format!(
            "Learned from {} between {} and {}",
            counted(packets, "packet", "packets"),
            time(&captured.from),
            time(&captured.to)
        ));
    }
    match &options.entry {
        Entry::Own(own) => {
            line(&format!(
                "Load with {program} --noflush; other chains stay as they are. Then, once, in front of every rule that"
            ));
            line(&format!(
                "accepts ESTABLISHED: iptables -I FORWARD -j {own} (ip6tables for IPv6). ICMP errors are for other rules"
            ));
        }
        Entry::Forward | Entry::Host => line(&format!(
            "Load with {program}: what else is in the table filter goes"
        )),
    }
    line("What it does not say, because no rule can:");
    line("- objects and points: a WRITE is a WRITE, of whatever it was learned");
    line("- how often and how much: intervals and volumes are in the baseline alone");
    line("- who really sent it: DNP3 addresses are no authentication, nor are IP addresses");
    line("A segment with frames of two links passes where one rule allows both, unless it ends inside the head of a");
    line("frame: where several stations with different functions share a connection it may be refused then.");
    line("All that goes to or from the ports of the baseline is taken for DNP3, whoever sends it, and refused where it is");
    line("not in the baseline");
    if !options.track {
        line("Without --track each packet is judged by itself: a frame that is cut across segments is refused, and");
        line("a host that forges TCP segments is not bound");
    }
    if flows.continued {
        line("cont in a list: a message longer than a frame goes on in frames that carry no function");
    }
    for note in &flows.notes {
        line(&format!("Note: {note}"));
    }
    text
}

/// From where packets come to the chain that judges them.
fn entry(family: Family, flows: &Flows, options: &Options) -> Vec<String> {
    let (all, ..) = names::of(&options.entry);
    let hooks: &[&str] = match &options.entry {
        Entry::Forward => &["FORWARD"],
        Entry::Host => &["INPUT", "OUTPUT"],
        Entry::Own(name) => &[name.as_str()],
    };
    let mut rules = Vec::new();
    for hook in hooks {
        for transport in [Transport::Tcp, Transport::Udp] {
            let name = protocol(transport);
            for (ends, option) in [(Way::Request, "--dport"), (Way::Response, "--sport")] {
                // A listener's port is the receiver's of what goes to it and the sender's of what comes back.
                let ports = flows.judged(transport, |ports| match ends {
                    Way::Request => ports.destination,
                    Way::Response => ports.source,
                });
                for ports in ports {
                    let why = match ends {
                        Way::Request => "DNP3, to where the connection is listened for",
                        Way::Response => "DNP3, and what comes back from there",
                    };
                    rules.push(format!(
                        "-A {hook} -p {name} -m {name} {option} {}{} -j {all}",
                        range(ports),
                        comment(why)
                    ));
                }
            }
        }
        if !matches!(options.entry, Entry::Own(_)) && *hook != "OUTPUT" && !flows.all.is_empty() {
            let icmp = match family {
                Family::V4 => "icmp",
                Family::V6 => "ipv6-icmp",
            };
            rules.push(format!(
                "-A {hook} -p {icmp} -m conntrack --ctstate RELATED{} -j ACCEPT",
                comment("routers say so which packets were too big for them")
            ));
        }
    }
    rules
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
    }
}

fn range((first, last): (u16, u16)) -> String {
    match first == last {
        true => first.to_string(),
        false => format!("{first}:{last}"),
    }
}

/// The match that holds a comment, behind all that decides.
fn comment(why: &str) -> String {
    format!(" -m comment --comment \"{why}\"")
}

/// `-m dnp3` with these options.
fn dnp3(rule: &Rule) -> String {
    format!(" -m dnp3 {}", save(rule))
}

fn of_status(status: u8, track: bool) -> Rule {
    Rule {
        set: option::STATUS | if track { option::TRACK } else { 0 },
        status,
        ..Rule::default()
    }
}

/// The chain that all of DNP3 goes through, and leaves only accepted or refused.
fn judges(
    name: String,
    requests: &Chains,
    responses: &Chains,
    flows: &Flows,
    options: &Options,
) -> Chain {
    let has = |transport| {
        flows
            .all
            .keys()
            .any(|(_, _, ports)| ports.transport == transport)
    };
    let (tcp, udp) = (has(Transport::Tcp), has(Transport::Udp));
    let mut rules = Vec::new();
    let mut rule = |words: &str, why: &str, target: &str| {
        let why = match why {
            "" => String::new(),
            why => comment(why),
        };
        rules.push(format!("-A {name}{words}{why} -j {target}"));
    };
    if tcp {
        rule(
            " -p tcp -m conntrack --ctstate INVALID",
            "in no connection, or outside of its window",
            "DROP",
        );
        let none = dnp3(&of_status(status::NONE, options.track));
        rule(
            &format!(" -p tcp -m tcp ! {SYN} -m conntrack --ctstate ESTABLISHED{none}"),
            "SYN-ACK, bare ACKs, FIN and RST hold no frame",
            "ACCEPT",
        );
    }
    for (way, chains) in [(Way::Request, requests), (Way::Response, responses)] {
        let to = chains.name(0);
        for transport in [Transport::Tcp, Transport::Udp] {
            let name = protocol(transport);
            for (option, of) in [
                ("--dport", (|ports| ports.destination) as fn(&Ports) -> _),
                ("--sport", |ports| match ports.destination {
                    // The first of these has it.
                    Some(_) => None,
                    None => ports.source,
                }),
            ] {
                for ports in flows.ports(transport, Some(way), of) {
                    let ports = range(ports);
                    rule(&format!(" -p {name} -m {name} {option} {ports}"), "", to);
                }
            }
        }
    }
    if tcp && options.track {
        rule(
            &format!(" -p tcp{}", dnp3(&of_status(status::AHEAD, true))),
            "behind a hole: dropped, so that the sender repeats the hole first",
            "DROP",
        );
    }
    // The prefix was looked at when it was taken; see args.
    match &options.log {
        Log::None => {}
        Log::Kernel { prefix, limit } => rule(
            &format!(" -m limit --limit {limit}"),
            "what is refused, and no flood of it",
            &format!("LOG --log-prefix \"{prefix}\""),
        ),
        Log::Nflog {
            group,
            prefix,
            limit,
        } => rule(
            &format!(" -m limit --limit {limit}"),
            "what is refused, and no flood of it",
            &format!("NFLOG --nflog-prefix \"{prefix}\" --nflog-group {group}"),
        ),
    }
    // What has a port of the baseline and is of a protocol that the baseline does not have is refused as well.
    let (tcp, udp) = match flows.refused.is_empty() {
        true => (tcp, udp),
        false => (true, true),
    };
    if tcp {
        rule(
            " -p tcp",
            "a reset ends the connection at once; after DROP its sender would try again for minutes",
            "REJECT --reject-with tcp-reset",
        );
    }
    if udp && options.udp_reject {
        let with = match requests.family() {
            Family::V4 => "icmp-port-unreachable",
            Family::V6 => "icmp6-port-unreachable",
        };
        rule(
            " -p udp",
            "the sender is told",
            &format!("REJECT --reject-with {with}"),
        );
    } else if udp {
        rule(
            " -p udp",
            "nobody sends it again, and an error would tell a scanner what is here",
            "DROP",
        );
    }
    let why = "all of DNP3; it leaves only accepted or refused".into();
    Chain { name, why, rules }
}

/// `--syn`, as iptables-save prints it.
const SYN: &str = "--tcp-flags FIN,SYN,RST,ACK SYN";

/// All chains of one way.
fn way(way: Way, name: &str, family: Family, flows: &Flows, options: &Options) -> Chains {
    let mut chains = Chains::new(name, family);
    let root = chains.add(match way {
        Way::Request => "what masters send: by the outstation, then by the master".into(),
        Way::Response => "what outstations send: by the outstation, then by the master".into(),
    });
    // Of each pair of hosts the rules, without the hosts; and of each outstation the masters. Whatever
    // is there twice has one chain.
    let mut policies: Vec<Rc<Vec<String>>> = Vec::new();
    let mut known = BTreeMap::new();
    let mut outstations: BTreeMap<IpAddr, BTreeMap<IpAddr, Policy>> = BTreeMap::new();
    for ((its, (outstation, master), ports), flow) in &flows.all {
        if *its == way {
            let masters = outstations.entry(*outstation).or_default();
            let (first, last) = policy(way, *ports, flow, options);
            let (rules, at_the_end) = masters.entry(*master).or_default();
            rules.extend(first);
            at_the_end.extend(last);
        }
    }
    let mut masters_of: Vec<Vec<(IpAddr, usize)>> = Vec::new();
    let mut groups = BTreeMap::new();
    let mut items = Vec::new();
    for (outstation, masters) in outstations {
        let masters: Vec<_> = masters
            .into_iter()
            .map(|(master, (mut rules, last))| {
                rules.extend(last);
                (master, rules)
            })
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(master, rules)| {
                let place = *known.entry(Rc::new(rules)).or_insert_with_key(|rules| {
                    policies.push(Rc::clone(rules));
                    policies.len() - 1
                });
                (master, place)
            })
            .collect();
        if masters.is_empty() {
            continue;
        }
        let place = *groups.entry(masters).or_insert_with_key(|masters| {
            masters_of.push(masters.clone());
            masters_of.len() - 1
        });
        items.push((Prefix::of(outstation), place));
    }
    let (outstation_is, master_is) = match way {
        Way::Request => ("-d", "-s"),
        Way::Response => ("-s", "-d"),
    };
    drop(known);
    let mut made = BTreeMap::new();
    let mut group_chains = BTreeMap::new();
    let branches = joined(items).into_iter().map(|(prefix, group)| {
        let masters = masters_of.get(group).map_or(&[][..], Vec::as_slice);
        let outstation = prefix.text(family);
        let rules = match masters {
            [(master, place)]
                if policies
                    .get(*place)
                    .is_some_and(|all| all.len() <= IN_PLACE) =>
            {
                let master = Prefix::of(*master).text(family);
                let (source, destination) = match way {
                    Way::Request => (master, outstation),
                    Way::Response => (outstation, master),
                };
                policies[*place]
                    .iter()
                    .map(|rule| format!("-s {source} -d {destination} {rule}"))
                    .collect()
            }
            _ => {
                let at = *group_chains.entry(group).or_insert_with(|| {
                    let why = format!(
                        "{} of {outstation}{}",
                        counted(masters.len(), "master", "masters"),
                        match way {
                            Way::Request => ", what each may send",
                            Way::Response => ", what each may be sent",
                        }
                    );
                    let at = chains.add(why);
                    let items = masters
                        .iter()
                        .map(|(master, place)| (Prefix::of(*master), *place));
                    let items = joined(items)
                        .into_iter()
                        .map(|(prefix, place)| {
                            let master = prefix.text(family);
                            let rules = &policies[place];
                            if rules.len() <= IN_PLACE {
                                let rules = rules
                                    .iter()
                                    .map(|rule| format!("{master_is} {master} {rule}"));
                                return (prefix, rules.collect());
                            }
                            let below = *made.entry(place).or_insert_with(|| {
                                let below = chains.add(match way {
                                    Way::Request => format!("what {master} may send there"),
                                    Way::Response => {
                                        format!("what {master} may be sent from there")
                                    }
                                });
                                rules.iter().for_each(|rule| chains.rule(below, rule));
                                below
                            });
                            let words = format!("{master_is} {master} -g {}", chains.name(below));
                            (prefix, vec![words])
                        })
                        .collect();
                    chains.part(
                        at,
                        Branch {
                            option: master_is,
                            what: "masters",
                            items,
                        },
                    );
                    at
                });
                vec![format!(
                    "{outstation_is} {outstation} -g {}",
                    chains.name(at)
                )]
            }
        };
        (prefix, rules)
    });
    let items = branches.collect();
    chains.part(
        root,
        Branch {
            option: outstation_is,
            what: "outstations",
            items,
        },
    );
    chains
}

/// Rules between two hosts, without the hosts, and those that belong behind all of these.
type Policy = (Vec<String>, Vec<String>);

/// The rules of one flow, without the hosts; and those that belong behind the rules of all flows between these
/// hosts, because they send packets back.
fn policy(way: Way, ports: Ports, flow: &Flow, options: &Options) -> Policy {
    let name = protocol(ports.transport);
    let mut start = format!("-p {name} -m {name}");
    for (option, port) in [("--sport", ports.source), ("--dport", ports.destination)] {
        if let Some(port) = port {
            let _ = write!(start, " {option} {port}");
        }
    }
    let is_tcp = ports.transport == Transport::Tcp;
    let track = is_tcp && options.track;
    let mut rules = Vec::new();
    if flow.opens {
        // One that comes again, because its answer was lost behind the gateway, is ESTABLISHED.
        rules.push(format!(
            "{start} {SYN} -m conntrack --ctstate NEW,ESTABLISHED{}{} -j ACCEPT",
            dnp3(&of_status(status::NONE, track)),
            comment("may connect, by a SYN without data")
        ));
    }
    if is_tcp {
        start.push_str(" -m conntrack --ctstate ESTABLISHED");
    }
    let products = products(flow);
    for product in &products {
        rules.push(format!(
            "{start}{}{} -j ACCEPT",
            dnp3(&match_of(way, product, track)),
            comment(&meaning(way, product))
        ));
    }
    let mut last = Vec::new();
    if let Some(mixed) = mixed(&products) {
        for (source, destination, functions) in mixed.not {
            let product = Product {
                source: Some(source),
                destination: Some(destination),
                functions: functions.unwrap_or_default(),
            };
            let mut rule = match_of(way, &product, track);
            // A match of any: wherever the frame stands in the packet.
            rule.frames = frames::ANY;
            rule.set = rule.set & !option::DIR | option::FRAMES;
            rule.dir = dir::UNSET;
            match functions {
                Some(_) => rule.invert = option::FC,
                None => rule.set &= !option::FC,
            }
            last.push(format!(
                "{start}{}{} -j RETURN",
                dnp3(&rule),
                comment("not in the packets that the next ACCEPT is for")
            ));
        }
        last.push(format!(
            "{start}{}{} -j ACCEPT",
            dnp3(&match_of(way, &mixed.all, track)),
            comment(
                "packets with frames of several stations, each as one of the rules above has it"
            )
        ));
    }
    (rules, last)
}

/// The match of a product.
fn match_of(way: Way, product: &Product, track: bool) -> Rule {
    let mut rule = Rule {
        set: option::FC | option::DIR | if track { option::TRACK } else { 0 },
        dir: match way {
            Way::Request => dir::MASTER,
            Way::Response => dir::OUTSTATION,
        },
        classes: product.functions.classes,
        fc: product.functions.codes,
        ..Rule::default()
    };
    let list = |ranges: &[Range], places: &mut [Range; MAX_RANGES]| -> u8 {
        let mut count = 0;
        for (place, range) in places.iter_mut().zip(ranges) {
            *place = *range;
            count += 1;
        }
        count
    };
    if let Some(ranges) = &product.source {
        rule.set |= option::SADDR;
        rule.saddr_count = list(ranges, &mut rule.saddr);
    }
    if let Some(ranges) = &product.destination {
        rule.set |= option::DADDR;
        rule.daddr_count = list(ranges, &mut rule.daddr);
    }
    rule
}

/// What a rule lets through, in words.
fn meaning(way: Way, product: &Product) -> String {
    let mut words: Vec<String> = product
        .functions
        .codes()
        .map(|code| function(code).map_or_else(|| format!("function {code}"), str::to_owned))
        .collect();
    if product.functions.classes & class::LINK != 0 {
        words.push("keep-alives".into());
    }
    if product.functions.classes & class::CONT != 0 {
        words.push("what is longer than a frame".into());
    }
    let to_all = way == Way::Request && product.destination.as_deref().is_some_and(is_broadcast);
    let who = match (way, to_all) {
        (Way::Request, false) => "learned of the master: ",
        (Way::Request, true) => "learned of the master, to all stations too: ",
        (Way::Response, _) => "learned of the outstation: ",
    };
    let text = format!("{who}{}", words.join(" "));
    match text.len() <= COMMENT {
        true => text,
        false => format!("{who}{} kinds of frames", words.len()),
    }
}
