// SPDX-License-Identifier: GPL-2.0

//! What the octets of a fuzzer's input mean to the targets that judge packets: a rule, where things
//! are in the packet, and the packet. Any octets mean something, so that no mutation is lost.
//!
//! ```text
//! rule (112) | protocol | fragment | segment (2) | transport (2) | end (4) | linear (2) | packet
//! ```
//! Numbers are low octet first, and the rule is laid out as in the UAPI header.

use dnp3_core::rule::{class, dir, frames, option, protocol, status, Range, MAX_RANGES};
use dnp3_core::{Fragment, Headers, Rule};

/// Octets of the rule.
pub const RULE: usize = 112;
/// Octets in front of the packet.
pub const HEAD: usize = RULE + 12;

/// A transport offset that stands for one far behind any packet.
const FAR: u16 = u16::MAX;

/// A rule and a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// As it comes: the kernel would refuse most.
    pub raw: Rule,
    /// Where things are in the packet.
    pub headers: Headers,
    /// Octets of the packet that are linear.
    pub linear: usize,
    /// From the first octet of the IP header on.
    pub packet: Vec<u8>,
}

impl Input {
    /// What the octets mean; those that are missing are zero.
    pub fn of(octets: &[u8]) -> Input {
        let mut head = [0u8; HEAD];
        let len = octets.len().min(HEAD);
        head[..len].copy_from_slice(&octets[..len]);
        let packet = octets.get(HEAD..).unwrap_or_default().to_vec();
        let mut reader = Reader(&head);
        let raw = reader.rule();
        let [protocol, fragment] = reader.octets();
        let udp_segment = reader.u16();
        let transport = match reader.u16() {
            FAR => u32::MAX - 3,
            offset => offset.into(),
        };
        // Relative to the packet's last octet, so that it stays right when the packet grows.
        let end = i64::from(reader.u32() as i32) + packet.len() as i64;
        let linear = usize::from(reader.u16()) % (packet.len() + 1);
        Input {
            raw,
            headers: Headers {
                transport,
                end: end.clamp(0, u32::MAX.into()) as u32,
                protocol,
                fragment: match fragment {
                    1 => Fragment::First,
                    2 => Fragment::Later,
                    _ => Fragment::Whole,
                },
                udp_segment,
            },
            linear,
            packet,
        }
    }

    /// The octets that mean this.
    pub fn octets(&self) -> Vec<u8> {
        let rule = &self.raw;
        let headers = &self.headers;
        let mut octets = Vec::with_capacity(HEAD + self.packet.len());
        octets.extend(rule.set.to_le_bytes());
        octets.extend(rule.invert.to_le_bytes());
        octets.extend([rule.frames, rule.dir, rule.status, rule.classes]);
        octets.extend([rule.saddr_count, rule.daddr_count]);
        octets.extend(rule.reserved);
        for range in rule.saddr.iter().chain(&rule.daddr) {
            octets.extend(range.min.to_le_bytes());
            octets.extend(range.max.to_le_bytes());
        }
        octets.extend(rule.fc.iter().flat_map(|word| word.to_le_bytes()));
        octets.push(headers.protocol);
        octets.push(match headers.fragment {
            Fragment::Whole => 0,
            Fragment::First => 1,
            Fragment::Later => 2,
        });
        octets.extend(headers.udp_segment.to_le_bytes());
        let transport = u16::try_from(headers.transport).unwrap_or(FAR);
        octets.extend(transport.to_le_bytes());
        let end = i64::from(headers.end) - self.packet.len() as i64;
        let end = end.clamp(i32::MIN.into(), i32::MAX.into()) as i32;
        octets.extend(end.to_le_bytes());
        octets.extend((self.linear as u16).to_le_bytes());
        octets.extend(&self.packet);
        octets
    }

    /// The rule as the kernel would take it: the nearest that passes its check.
    pub fn rule(&self) -> Rule {
        formed(&self.raw)
    }

    /// Where the payload is in the packet, where its headers say so and are not cut short.
    pub fn payload(&self) -> Option<std::ops::Range<usize>> {
        let transport = self.headers.transport as usize;
        let header = match self.headers.protocol {
            protocol::TCP => usize::from(self.packet.get(transport.checked_add(12)?)? >> 4) * 4,
            protocol::UDP => 8,
            _ => return None,
        };
        let end = self.packet.len().min(self.headers.end as usize);
        let from = transport.checked_add(header)?;
        (from <= end).then_some(from..end)
    }
}

/// A rule out of any 112 octets; those that are missing are zero.
pub fn rule_of(octets: &[u8]) -> Rule {
    let mut whole = [0u8; RULE];
    let len = octets.len().min(RULE);
    whole[..len].copy_from_slice(&octets[..len]);
    Reader(&whole).rule()
}

/// Reads what is known to be there.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn octets<const N: usize>(&mut self) -> [u8; N] {
        let (octets, rest) = self.0.split_first_chunk().expect("the head has them all");
        self.0 = rest;
        *octets
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.octets())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.octets())
    }

    fn ranges(&mut self) -> [Range; MAX_RANGES] {
        std::array::from_fn(|_| Range {
            min: self.u16(),
            max: self.u16(),
        })
    }

    fn rule(&mut self) -> Rule {
        let (set, invert) = (self.u16(), self.u16());
        let [frames, dir, status, classes] = self.octets();
        let [saddr_count, daddr_count] = self.octets();
        Rule {
            set,
            invert,
            frames,
            dir,
            status,
            classes,
            saddr_count,
            daddr_count,
            reserved: self.octets(),
            saddr: self.ranges(),
            daddr: self.ranges(),
            fc: std::array::from_fn(|_| self.u32()),
        }
    }
}

/// The rule made such that the kernel takes it, without `--track`: a packet is judged by itself
/// here. One that it takes stays as it is.
fn formed(raw: &Rule) -> Rule {
    let set = raw.set & option::KNOWN & !option::TRACK;
    let given = |bit: u16| set & bit != 0;
    let mut rule = Rule {
        set,
        invert: raw.invert & set & option::INVERTIBLE,
        ..Rule::default()
    };
    if given(option::FRAMES) && raw.frames & 1 != 0 {
        rule.frames = frames::ANY;
    }
    if given(option::DIR) {
        rule.dir = if raw.dir == dir::OUTSTATION {
            dir::OUTSTATION
        } else {
            dir::MASTER
        };
    }
    if given(option::STATUS) {
        rule.status = match raw.status & status::STATELESS {
            0 => status::VALID,
            set => set,
        };
    }
    if given(option::FC) {
        rule.fc = raw.fc;
        rule.classes = raw.classes & (class::LINK | class::CONT);
        if rule.classes == 0 && rule.fc == [0; 8] {
            rule.classes = class::LINK;
        }
    }
    if given(option::SADDR) {
        (rule.saddr, rule.saddr_count) = merged(&raw.saddr, raw.saddr_count);
    }
    if given(option::DADDR) {
        (rule.daddr, rule.daddr_count) = merged(&raw.daddr, raw.daddr_count);
    }
    rule
}

fn merged(raw: &[Range; MAX_RANGES], count: u8) -> ([Range; MAX_RANGES], u8) {
    let mut ranges = raw[..usize::from(count).clamp(1, MAX_RANGES)].to_vec();
    for range in &mut ranges {
        *range = Range {
            min: range.min.min(range.max),
            max: range.min.max(range.max),
        };
    }
    ranges.sort_by_key(|range| range.min);
    let mut out = [Range::default(); MAX_RANGES];
    let mut used = 0;
    for range in ranges {
        if used > 0 && u32::from(range.min) <= u32::from(out[used - 1].max) + 1 {
            out[used - 1].max = out[used - 1].max.max(range.max);
        } else {
            out[used] = range;
            used += 1;
        }
    }
    (out, used as u8)
}
