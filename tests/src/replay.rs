// SPDX-License-Identifier: GPL-2.0

//! Captures as chains of a plan for the guest: their packets are sent through it again, and its
//! counters must be what `core` says of the very same packets.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path as FilePath;

use dnp3_core::{judge, Octets, Rule, Verdict};
use etherparse::{Ipv4Header, Ipv6Header};

use crate::captures::{self, Captured};
use crate::cases::expected::Counter;
use crate::cases::packet::{self, Details, TTL};
use crate::cases::{Built, Family, Path, Protocol, Route, Seen, Variant, Wire};
use crate::vm::{Chain, Run, Table};

/// Ways in: as they were, and in page fragments.
const ROUTES: [Route; 2] = [Route::Forward, Route::Paged];
/// Function codes that have a name.
const NAMED: [std::ops::RangeInclusive<u8>; 2] = [0..=33, 129..=131];

/// Adds the captures whose test somebody wants: a chain for each and each of its protocols.
pub fn push_captures(
    table: &mut Table,
    folder: &FilePath,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, path) in captures::files(folder, "pcap") {
        let title = format!("captures::{name}");
        if wanted(&title) {
            let mut packets = captures::packets(&path);
            packets.retain(|packet| packet.family() == table.family);
            for protocol in Protocol::ALL {
                push(table, &title, protocol, &|path| replay(&packets, path))
                    .map_err(|error| format!("{name}: {error}"))?;
            }
        }
    }
    if table.family != Family::V4 {
        // Once is enough for payloads without headers.
        return Ok(());
    }
    for (name, path) in captures::files(folder, "pkt") {
        let title = format!("captures::{name}");
        if wanted(&title) {
            let seed = fs::read(&path).map_err(|error| format!("{name}: {error}"))?;
            for protocol in Protocol::ALL {
                push(table, &title, protocol, &|path| as_payloads(&seed, path))
                    .map_err(|error| format!("{name}: {error}"))?;
            }
        }
    }
    Ok(())
}

fn push(
    table: &mut Table,
    title: &str,
    protocol: Protocol,
    build: &dyn Fn(Path) -> Result<Vec<Built>, String>,
) -> Result<(), String> {
    let rules = rules(protocol)?;
    let mut runs = BTreeMap::new();
    for route in ROUTES {
        let built = build(Path {
            family: table.family,
            protocol,
            route,
            chain: table.chains.len(),
            packet: 0,
        })?;
        if !built.is_empty() {
            runs.insert(route, run(&rules, built));
        }
    }
    if !runs.is_empty() {
        table.chains.push(Chain {
            title: title.into(),
            protocol,
            rules: rules.into_iter().map(|(words, _)| words).collect(),
            untracked: false,
            variants: Variant::ALL.to_vec(),
            runs,
        });
    }
    Ok(())
}

/// The counters of some packets, by what `core` says.
fn run(rules: &[(String, Rule)], built: Vec<Built>) -> Run {
    let mut expected = vec![Counter::default(); rules.len() + 2];
    let mut wire = Vec::new();
    for packet in built {
        for seen in &packet.seen {
            let verdict = |rule| judge(rule, &Octets(&seen.octets), &seen.headers);
            expected[0].add(seen);
            for (counter, (_, rule)) in expected[1..].iter_mut().zip(rules) {
                if verdict(rule) == Verdict::Match {
                    counter.add(seen);
                }
            }
            if rules
                .iter()
                .all(|(_, rule)| verdict(rule) != Verdict::HotDrop)
            {
                expected[rules.len() + 1].add(seen);
            }
        }
        wire.extend(packet.wire);
    }
    Run {
        wire,
        expected,
        names: vec!["what core says".into(); rules.len()],
    }
}

/// The packets of a capture, sent again from and to our own addresses.
fn replay(packets: &[Captured], path: Path) -> Result<Vec<Built>, String> {
    packets
        .iter()
        .filter(|packet| packet.headers.protocol == path.protocol.number())
        .map(|packet| {
            again(packet, path).ok_or_else(|| {
                let number = packet.number;
                format!("packet {number} is not whole, or too long, and cannot be sent again")
            })
        })
        .collect()
}

fn again(packet: &Captured, path: Path) -> Option<Built> {
    let end = packet.headers.end as usize;
    let octets = match packet.family() {
        Family::V4 => {
            let (mut header, behind) = Ipv4Header::from_slice(&packet.octets).ok()?;
            if usize::from(header.total_len) != end {
                return None;
            }
            header.source = Path::source_v4(path.chain).octets();
            header.destination = path.destination_v4().octets();
            header.time_to_live = TTL;
            header.header_checksum = header.calc_header_checksum();
            [&header.to_bytes(), behind].concat()
        }
        Family::V6 => {
            let (mut header, behind) = Ipv6Header::from_slice(&packet.octets).ok()?;
            if Ipv6Header::LEN + usize::from(header.payload_length) != end {
                return None;
            }
            header.source = Path::source_v6(path.chain).octets();
            header.destination = path.destination_v6().octets();
            header.hop_limit = TTL;
            [&header.to_bytes(), behind].concat()
        }
    };
    // Behind the end lies what Ethernet added.
    let seen = Seen {
        octets: octets[..end].to_vec(),
        headers: packet.headers,
    };
    let payload = end - packet.payload().len();
    let wire = match path.route {
        Route::Paged => Wire::Pages(packet::paged(path, &octets, payload, &[])?),
        _ => Wire::Tun(octets),
    };
    Some(Built {
        wire: vec![wire],
        seen: vec![seen],
    })
}

/// The chunks of a corpus for fuzzers, each as the payload of a packet.
fn as_payloads(seed: &[u8], path: Path) -> Result<Vec<Built>, String> {
    chunks(seed)
        .iter()
        .enumerate()
        .map(|(packet, chunk)| {
            let payload = chunk.iter().map(|octet| format!("{octet:02x}")).collect();
            let details = Details {
                payload,
                ..Details::default()
            };
            let built = details.check()?.build(Path { packet, ..path });
            built.ok_or_else(|| format!("chunk {packet} is too long"))
        })
        .collect()
}

/// What stands between one mark and the next, without the octet for the direction.
fn chunks(seed: &[u8]) -> Vec<&[u8]> {
    const MARK: &[u8] = b"\x01PKT";
    let mut chunks = Vec::new();
    let mut rest = seed;
    while let Some(start) = find(rest, MARK) {
        let behind = &rest[start + MARK.len()..];
        let end = find(behind, MARK).unwrap_or(behind.len());
        chunks.extend(behind.get(1..end));
        rest = &behind[end..];
    }
    chunks
}

fn find(octets: &[u8], mark: &[u8]) -> Option<usize> {
    octets.windows(mark.len()).position(|window| window == mark)
}

/// The rules that captures are counted by, but for function codes that nobody uses.
fn rules(protocol: Protocol) -> Result<Vec<(String, Rule)>, String> {
    let mut rules = Vec::new();
    for asked in captures::replayed_rules() {
        let words = asked.arguments.split_whitespace();
        match dnp3_core::text::parse(words, protocol.number()) {
            Ok(rule) if is_named(&asked.arguments) => rules.push((asked.arguments, rule)),
            Ok(_) => {}
            // No datagram is `partial`.
            Err(_) if protocol == Protocol::Udp => {}
            Err(error) => return Err(format!("rule `{}`: {error}", asked.arguments)),
        }
    }
    Ok(rules)
}

/// Whether a rule's function code, if it has one, has a name.
fn is_named(words: &str) -> bool {
    let mut words = words.split_whitespace();
    match words.find(|word| *word == "--fc").and(words.next()) {
        Some(code) => code
            .parse()
            .map_or(true, |code| NAMED.iter().any(|range| range.contains(&code))),
        None => true,
    }
}
