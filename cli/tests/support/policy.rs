// SPDX-License-Identifier: GPL-2.0

//! What a baseline allows, told from its JSON alone; what rules allow, told by packets that `dnp3_core`
//! judges; and that the two are the same.

#![allow(dead_code, reason = "not every test needs all of it")]

use dnp3_core::rule::option;
use dnp3_core::{judge, Fragment, Headers, Octets, Rule, Verdict};
use dnp3_tests::frames::{control, frame};
use dnp3fw::ruleset::{state, Answer, Family, Port, Ruleset, Test};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// A link of a baseline.
pub(crate) fn link(master: u16, outstation: u16, requests: &[u8], responses: &[u8]) -> Value {
    let list = |codes: &[u8]| -> Vec<Value> {
        codes
            .iter()
            .map(|code| json!({ "function": code }))
            .collect()
    };
    json!({ "master": master, "outstation": outstation, "requests": list(requests), "responses": list(responses) })
}

/// A communication: protocol, port and who opens it, which is nobody when it is empty.
pub(crate) fn communication(
    master: &str,
    outstation: &str,
    (protocol, port, opened_by): (&str, u16, &str),
    links: &[Value],
) -> Value {
    let opened_by = (!opened_by.is_empty()).then_some(opened_by);
    json!({ "master_ip": master, "outstation_ip": outstation, "protocol": protocol, "port": port,
            "opened_by": opened_by, "links": links })
}

/// What is in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Function(u8),
    Link,
    Continuation,
    Malformed,
    Nothing,
    /// The same with SYN.
    Syn,
}

/// A packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) udp: bool,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) is_established: bool,
    pub(crate) from_master: bool,
    pub(crate) saddr: u16,
    pub(crate) daddr: u16,
    pub(crate) kind: Kind,
    /// Another frame behind it: from, to, what.
    pub(crate) behind: Option<(u16, u16, Kind)>,
}

impl Sent {
    pub(crate) fn request(
        source: IpAddr,
        destination: IpAddr,
        saddr: u16,
        daddr: u16,
        kind: Kind,
    ) -> Sent {
        Sent {
            source,
            destination,
            udp: false,
            source_port: 50_000,
            destination_port: 20_000,
            is_established: true,
            from_master: true,
            saddr,
            daddr,
            kind,
            behind: None,
        }
    }

    pub(crate) fn response(
        source: IpAddr,
        destination: IpAddr,
        saddr: u16,
        daddr: u16,
        kind: Kind,
    ) -> Sent {
        Sent {
            source_port: 20_000,
            destination_port: 50_000,
            from_master: false,
            ..Sent::request(source, destination, saddr, daddr, kind)
        }
    }

    pub(crate) fn with(self, kind: Kind) -> Sent {
        Sent { kind, ..self }
    }

    pub(crate) fn from(self, source: IpAddr) -> Sent {
        Sent { source, ..self }
    }

    pub(crate) fn to(self, destination: IpAddr) -> Sent {
        Sent {
            destination,
            ..self
        }
    }

    fn payload(&self) -> Vec<u8> {
        let mut octets = self.frame();
        if let Some((saddr, daddr, kind)) = self.behind {
            let frame = Sent {
                saddr,
                daddr,
                kind,
                ..*self
            }
            .frame();
            octets.extend(frame);
        }
        octets
    }

    fn frame(&self) -> Vec<u8> {
        let data = match self.from_master {
            true => control::MASTER_DATA,
            false => control::OUTSTATION_DATA,
        };
        let frame = |control, user_data: &[u8]| frame(control, self.daddr, self.saddr, user_data);
        match self.kind {
            Kind::Function(code) => frame(data, &[0xC0, 0xC0, code, 0, 0]),
            Kind::Continuation => frame(data, &[0x81, 0, 0]),
            // REQUEST_LINK_STATUS
            Kind::Link => frame(data & control::DIR | control::PRM | 9, &[]),
            Kind::Malformed => {
                let mut octets = frame(data, &[0xC0, 0xC0, 1, 0, 0]);
                octets.push(0);
                octets
            }
            Kind::Nothing | Kind::Syn => Vec::new(),
        }
    }

    /// The transport header and what is behind it.
    fn octets(&self) -> Vec<u8> {
        let payload = self.payload();
        let mut octets = [self.source_port, self.destination_port]
            .map(u16::to_be_bytes)
            .concat();
        match self.udp {
            true => {
                octets.extend((8 + payload.len() as u16).to_be_bytes());
                octets.extend([0, 0]);
            }
            false => {
                octets.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0x20, 0, 0, 0, 0, 0]);
                if self.kind == Kind::Syn {
                    octets[13] = 0x02;
                }
            }
        }
        octets.extend(payload);
        octets
    }
}

/// Whether a rule of `-m dnp3` matches a packet by itself.
pub(crate) fn ask(rule: &Rule, sent: &Sent) -> bool {
    // What a rule asks of a connection that is followed, it asks of its whole packets too.
    let mut alone = *rule;
    alone.set &= !option::TRACK;
    let octets = sent.octets();
    let headers = Headers {
        transport: 0,
        end: octets.len() as u32,
        protocol: if sent.udp { 17 } else { 6 },
        fragment: Fragment::Whole,
        udp_segment: 0,
    };
    judge(&alone, &Octets(&octets), &headers) == Verdict::Match
}

/// Sends packets through rules.
pub(crate) struct Judge {
    rules: Ruleset,
    hook: usize,
}

impl Judge {
    pub(crate) fn new(text: &str, family: Family, hook: &str) -> Judge {
        let rules = Ruleset::parse(text, Some(family)).unwrap_or_else(|error| panic!("{error}"));
        let hook = rules.chain(hook).expect("the chain");
        Judge { rules, hook }
    }

    /// Whether a packet is accepted, and how many rules it meets.
    pub(crate) fn judge(&self, sent: &Sent) -> (bool, u64) {
        let its_state = match sent.is_established {
            true => state::ESTABLISHED,
            false => state::NEW,
        };
        let mut ask = |_: usize, rule: &dnp3fw::ruleset::Rule| {
            let all = rule.conditions.iter().all(|condition| {
                let holds = match &condition.test {
                    Test::Source(net) => net.contains(sent.source),
                    Test::Destination(net) => net.contains(sent.destination),
                    Test::Protocol(6) => !sent.udp,
                    Test::Protocol(17) => sent.udp,
                    Test::Protocol(_) => false,
                    Test::Ports(Port::Source, first, last) => {
                        (first..=last).contains(&&sent.source_port)
                    }
                    Test::Ports(Port::Destination, first, last) => {
                        (first..=last).contains(&&sent.destination_port)
                    }
                    Test::TcpFlags(0x17, 0x02) => sent.kind == Kind::Syn,
                    Test::State(states) => states & its_state != 0,
                    Test::Dnp3(rule) => ask(rule, sent),
                    Test::Limit => true,
                    other => panic!("{other:?} in the rules"),
                };
                holds != condition.inverted
            });
            match all {
                true => Answer::Yes,
                false => Answer::No,
            }
        };
        let outcome = self.rules.walk(self.hook, &mut ask, &mut |_| {});
        assert!(outcome.is_certain(), "{sent:?}");
        (outcome.accept, outcome.asked)
    }
}

/// Whether a packet is one of the baseline's, by no more than reading it.
fn is_allowed(text: &Value, sent: &Sent, track: bool) -> bool {
    let communications = text["communications"].as_array().expect("a list");
    // Who is connected, or connects, is another question than what is said.
    let between = |one: &&Value| {
        let is = |name: &str, address: IpAddr| one[name].as_str() == Some(&address.to_string());
        let (master, outstation) = match sent.from_master {
            true => (sent.source, sent.destination),
            false => (sent.destination, sent.source),
        };
        let port = one["port"].as_u64().expect("a port") as u16;
        let (to_master, to_outstation) = match sent.from_master {
            true => (sent.source_port, sent.destination_port),
            false => (sent.destination_port, sent.source_port),
        };
        let ports = match one["opened_by"].as_str() {
            Some("master") => to_outstation == port,
            Some(_) => to_master == port,
            None => to_master == port && to_outstation == port,
        };
        is("master_ip", master)
            && is("outstation_ip", outstation)
            && (one["protocol"] == "udp") == sent.udp
            && ports
    };
    let opens = |one: &Value| match one["opened_by"].as_str() {
        Some(who) => (who == "master") == sent.from_master,
        None => true,
    };
    communications
        .iter()
        .filter(between)
        .any(|one| match sent.kind {
            Kind::Malformed => false,
            Kind::Nothing => !sent.udp && sent.is_established,
            Kind::Syn => !sent.udp && opens(one),
            Kind::Function(_) | Kind::Link | Kind::Continuation => {
                let (master, outstation, list) = match sent.from_master {
                    true => (sent.saddr, sent.daddr, "requests"),
                    false => (sent.daddr, sent.saddr, "responses"),
                };
                let links = one["links"].as_array().expect("a list");
                (sent.udp || sent.is_established)
                    && links.iter().any(|link| {
                        let is = |name: &str, address: u16| {
                            link[name].is_null() || link[name] == address
                        };
                        let codes = link[list].as_array().expect("a list");
                        let is_broadcast =
                            link["outstation"].as_u64().is_some_and(|to| to >= 65532);
                        is("master", master)
                            && is("outstation", outstation)
                            && match sent.kind {
                                Kind::Function(code) => {
                                    codes.iter().any(|one| one["function"] == code)
                                }
                                Kind::Link => !is_broadcast,
                                _ => !sent.from_master && (sent.udp || !track) && !codes.is_empty(),
                            }
                    })
            }
        })
}

/// Sends every packet that the baseline can mean, and its neighbours: hosts, ports, stations and functions that
/// are in it somewhere, or next to one that is. Returns how many were accepted, or the first that is judged otherwise
/// than the baseline has it.
///
/// Bare ACKs of a connection that is there pass between any hosts: they hold no frame, and no connection
/// comes about without its SYN.
pub(crate) fn compare(
    text: &Value,
    rules: &str,
    hook: &str,
    family: Family,
    track: bool,
) -> Result<usize, String> {
    let judge = Judge::new(rules, family, hook);
    let communications = text["communications"].as_array().expect("a list");
    let mut hosts = BTreeSet::new();
    let mut functions = BTreeSet::from([0, 13, 132, 255]);
    for one in communications {
        for name in ["master_ip", "outstation_ip"] {
            let address: IpAddr = one[name]
                .as_str()
                .expect("text")
                .parse()
                .expect("an address");
            hosts.insert(address);
            hosts.insert(neighbour(address));
        }
        for link in one["links"].as_array().expect("a list") {
            for list in ["requests", "responses"] {
                for function in link[list].as_array().expect("a list") {
                    let code = function["function"].as_u64().expect("a code") as u8;
                    functions.extend([code, code.wrapping_add(1)]);
                }
            }
        }
    }
    let kinds = functions.into_iter().map(Kind::Function);
    let kinds: Vec<_> = kinds.chain([Kind::Link, Kind::Continuation]).collect();
    let whole = [Kind::Malformed, Kind::Nothing, Kind::Syn];
    let mut accepted = 0;
    let mut check = |sent: Sent| {
        let is_bare_ack = sent.kind == Kind::Nothing && !sent.udp && sent.is_established;
        // A port of which nothing is known in the baseline is another's affair.
        let is_ours = communications.iter().any(|one| {
            let port = one["port"].as_u64().expect("a port") as u16;
            (one["protocol"] == "udp") == sent.udp
                && [sent.source_port, sent.destination_port].contains(&port)
        });
        let allowed = is_allowed(text, &sent, track) || is_bare_ack && is_ours;
        let (found, _) = judge.judge(&sent);
        if is_ours && found != allowed {
            let found = if found { "passes" } else { "is refused" };
            return Err(format!("this {found}: {sent:?}"));
        }
        accepted += usize::from(is_ours && found);
        Ok(())
    };
    for &source in &hosts {
        for &destination in &hosts {
            for (source_port, destination_port) in [
                (50_000, 20_000),
                (20_000, 50_000),
                (20_000, 20_000),
                (50_000, 20_001),
                (20_001, 50_000),
            ] {
                for udp in [false, true] {
                    let sent = |from_master, is_established, kind| Sent {
                        source,
                        destination,
                        udp,
                        source_port,
                        destination_port,
                        is_established,
                        from_master,
                        saddr: 1,
                        daddr: 10,
                        kind,
                        behind: None,
                    };
                    for kind in whole {
                        for is_established in [false, true] {
                            // With nothing in it, a packet is the master's as it is the outstation's.
                            let [one, other] = [false, true]
                                .map(|from_master| sent(from_master, is_established, kind));
                            let either =
                                is_allowed(text, &one, track) || is_allowed(text, &other, track);
                            match either && !is_allowed(text, &one, track) {
                                true => check(other)?,
                                false => check(one)?,
                            }
                        }
                    }
                    let stations = stations(communications, source, destination);
                    for from_master in [false, true] {
                        check(sent(from_master, false, Kind::Function(1)))?;
                        for &kind in &kinds {
                            for &saddr in &stations {
                                for &daddr in &stations {
                                    check(Sent {
                                        saddr,
                                        daddr,
                                        ..sent(from_master, true, kind)
                                    })?;
                                }
                            }
                        }
                    }
                }
            }
        }
    }
    Ok(accepted)
}

/// The stations that two hosts have, what is next to them, and those that nobody is; of strangers, any two.
fn stations(communications: &[Value], one: IpAddr, other: IpAddr) -> BTreeSet<u16> {
    let mut stations = BTreeSet::new();
    for its in communications {
        let is = |name: &str, address: IpAddr| its[name].as_str() == Some(&address.to_string());
        if is("master_ip", one) && is("outstation_ip", other)
            || is("master_ip", other) && is("outstation_ip", one)
        {
            for link in its["links"].as_array().expect("a list") {
                for name in ["master", "outstation"] {
                    let station = link[name].as_u64().unwrap_or(5) as u16;
                    stations.extend([station, station ^ 1]);
                }
            }
            stations.extend([0, 65532, 65534, 65535]);
        }
    }
    match stations.is_empty() {
        true => BTreeSet::from([1, 10]),
        false => stations,
    }
}

/// The address that differs in the last bit.
fn neighbour(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4((u32::from(address) ^ 1).into()),
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) ^ 1).into()),
    }
}
