// SPDX-License-Identifier: GPL-2.0

//! Captures of real traffic: where they lie, their packets, what tshark made of them, and what
//! `core` says of each, which is what the kernel's counters must say when they are replayed.

use crate::cases::Family;
use dnp3_core::rule::{class, dir, option, status};
use dnp3_core::{judge, Fragment, Headers, Octets, Rule, Verdict};
use etherparse::{LaxNetSlice, LaxSlicedPacket};
use pcap_file::pcap::PcapReader;
use pcap_file::DataLink;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The folder with the project's own captures, which `tests/record` makes.
pub fn own() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures")
}

/// The folder with other people's captures: `XT_DNP3_CAPTURES`, else `../shared/captures` beside
/// the project. `Err` says where nothing was found.
pub fn folder() -> Result<PathBuf, String> {
    let folder = match std::env::var_os("XT_DNP3_CAPTURES") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/captures"),
    };
    if folder.is_dir() {
        Ok(folder)
    } else {
        Err(format!(
            "none in {}; XT_DNP3_CAPTURES can name another folder",
            folder.display()
        ))
    }
}

/// Every file below the folder whose name ends so, with its name relative to the folder, in
/// order of the names.
///
/// # Panics
///
/// When the folder cannot be read.
pub fn files(folder: &Path, extension: &str) -> Vec<(String, PathBuf)> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry of the folder").path())
            .collect()
    };
    let mut files: Vec<(String, PathBuf)> = list(folder)
        .into_iter()
        .filter(|path| path.is_dir())
        .flat_map(|below| list(&below))
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .map(|path| {
            let name = path.strip_prefix(folder).expect("it lies below");
            (name.display().to_string(), path)
        })
        .collect();
    files.sort();
    files
}

/// A packet of a capture.
#[derive(Clone, Debug)]
pub struct Captured {
    /// Its number in the capture, from 1 on, as tshark counts.
    pub number: usize,
    /// From the first octet of the IP header on, with what lies behind the IP packet.
    pub octets: Vec<u8>,
    /// Where things are in it.
    pub headers: Headers,
}

impl Captured {
    /// Of which family it is; the octets begin with an IP header.
    pub fn family(&self) -> Family {
        match self.octets.first().map(|octet| octet >> 4) {
            Some(6) => Family::V6,
            _ => Family::V4,
        }
    }

    /// What follows the transport header up to the end of the IP packet; empty where there is no
    /// whole TCP or UDP header.
    pub fn payload(&self) -> &[u8] {
        let transport = self.headers.transport as usize;
        let header = match self.headers.protocol {
            6 => self
                .octets
                .get(transport + 12)
                .map(|octet| usize::from(octet >> 4) * 4),
            17 => Some(8),
            _ => None,
        };
        let end = self.octets.len().min(self.headers.end as usize);
        header
            .and_then(|header| self.octets.get(transport + header..end))
            .unwrap_or_default()
    }
}

/// The IP packets of a capture.
///
/// # Panics
///
/// When the file is no capture, or one that this reader does not know.
pub fn packets(path: &Path) -> Vec<Captured> {
    let fail = |what: &dyn std::fmt::Display| -> ! { panic!("{}: {what}", path.display()) };
    let file = File::open(path).unwrap_or_else(|error| fail(&error));
    let mut reader = PcapReader::new(file).unwrap_or_else(|error| fail(&error));
    let link = reader.header().datalink;
    let mut packets = Vec::new();
    let mut number = 0;
    while let Some(packet) = reader.next_packet() {
        let packet = packet.unwrap_or_else(|error| fail(&error));
        number += 1;
        let octets = &packet.data[..];
        let sliced = match link {
            DataLink::ETHERNET => LaxSlicedPacket::from_ethernet(octets).ok(),
            DataLink::IPV4 | DataLink::RAW => LaxSlicedPacket::from_ip(octets).ok(),
            other => fail(&format!("link type {other:?} is not known")),
        };
        let Some((fragment, ip, payload)) = sliced.as_ref().and_then(network) else {
            continue;
        };
        let ip = offset_in(octets, ip);
        let transport = offset_in(octets, payload.payload) - ip;
        packets.push(Captured {
            number,
            octets: octets[ip..].to_vec(),
            headers: Headers {
                transport: transport as u32,
                end: (transport + payload.payload.len()) as u32,
                protocol: payload.ip_number.0,
                fragment,
                udp_segment: 0,
            },
        });
    }
    packets
}

type IpPayload<'a> = etherparse::LaxIpPayloadSlice<'a>;

/// Which piece it is, the IP header and the IP payload.
fn network<'a>(packet: &'a LaxSlicedPacket<'a>) -> Option<(Fragment, &'a [u8], &'a IpPayload<'a>)> {
    match packet.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let fragment = if header.fragments_offset().value() != 0 {
                Fragment::Later
            } else if header.more_fragments() {
                Fragment::First
            } else {
                Fragment::Whole
            };
            Some((fragment, header.slice(), ip.payload()))
        }
        LaxNetSlice::Ipv6(ip) => {
            assert!(!ip.is_payload_fragmented(), "no capture has IPv6 fragments");
            Some((Fragment::Whole, ip.header().slice(), ip.payload()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

/// Where a part of some octets begins in them.
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    assert!(offset + part.len() <= whole.len(), "a part of the packet");
    offset
}

/// A link frame as tshark lists it: whole, or as far as the packet goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// LEN.
    pub len: u8,
    /// The control octet.
    pub control: u8,
    /// Destination.
    pub destination: u16,
    /// Source.
    pub source: u16,
    /// Whether the header's CRC is right.
    pub header_crc: bool,
    /// Data blocks that are there with their CRC, and whether it is right.
    pub block_crcs: Vec<bool>,
    /// The transport octet, where there is user data.
    pub transport: Option<u8>,
    /// The function code, where the transport octet has FIR.
    pub function: Option<u8>,
}

/// What tshark made of a capture: frames by packet number.
///
/// # Panics
///
/// When the list is not of the form that `tests/record` writes.
pub fn tshark(path: &Path) -> BTreeMap<usize, Vec<Frame>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut lines = text.lines();
    let columns: Vec<&str> = lines.next().expect("a line of names").split('\t').collect();
    lines
        .map(|line| {
            let values: Vec<&str> = line.split('\t').collect();
            let values = |name: &str| -> Vec<&str> {
                let at = columns.iter().position(|column| *column == name);
                let value = values[at.unwrap_or_else(|| panic!("{path:?}: no column {name}"))];
                value.split(',').filter(|value| !value.is_empty()).collect()
            };
            let number = values("frame.number")[0];
            (
                number.parse().expect("a packet's number"),
                frames_of_line(&values),
            )
        })
        .collect()
}

fn number(text: &str) -> u16 {
    match text.strip_prefix("0x") {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text:?} in tshark's list: {error}"))
}

/// Puts the values of a line together, which tshark gives field by field for all frames.
fn frames_of_line<'a>(values: &dyn Fn(&str) -> Vec<&'a str>) -> Vec<Frame> {
    let [controls, destinations, sources, header_crcs] =
        ["dnp3.ctl", "dnp3.dst", "dnp3.src", "dnp.hdr.CRC.status"].map(values);
    let mut block_crcs = values("dnp.data_chunk.CRC.status").into_iter();
    let mut chunks = values("dnp.data_chunk").into_iter();
    let mut transports = values("dnp3.tr.ctl").into_iter();
    values("dnp3.len")
        .into_iter()
        .enumerate()
        .map(|(at, len)| {
            let len = number(len) as u8;
            let blocks = usize::from(len.saturating_sub(5)).div_ceil(16);
            let crcs: Vec<bool> = block_crcs
                .by_ref()
                .take(blocks)
                .map(|crc| crc == "1")
                .collect();
            let first = chunks
                .by_ref()
                .take(blocks)
                .collect::<Vec<_>>()
                .first()
                .copied();
            let transport = (len > 5).then(|| transports.next()).flatten();
            let transport = transport.map(|octet| number(octet) as u8);
            // `dnp3.al.func` comes with FIN alone; the octet stands in the first data chunk.
            let function = first
                .filter(|_| transport.is_some_and(|octet| octet & 0x40 != 0))
                .and_then(|chunk| chunk.get(4..6))
                .map(|digits| u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
            Frame {
                len,
                control: number(controls[at]) as u8,
                destination: number(destinations[at]),
                source: number(sources[at]),
                header_crc: header_crcs[at] == "1",
                block_crcs: crcs,
                transport,
                function,
            }
        })
        .collect()
}

/// A rule with the words that say it to iptables, behind `-p tcp -m dnp3` or `-p udp -m dnp3`.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The words.
    pub arguments: String,
    /// The rule.
    pub rule: Rule,
}

/// The rules that a replayed capture is counted by: one that takes every valid packet, one for each
/// status and direction, and for each function code and class one that accepts, one that drops
/// and one that counts.
pub fn replayed_rules() -> Vec<Asked> {
    let ask = |arguments: String, rule: Rule| Asked { arguments, rule };
    let mut asked = vec![ask(
        "--frames only".into(),
        Rule {
            set: option::FRAMES,
            ..Rule::default()
        },
    )];
    for (name, bit) in [
        ("none", status::NONE),
        ("valid", status::VALID),
        ("partial", status::PARTIAL),
        ("malformed", status::MALFORMED),
    ] {
        asked.push(ask(
            format!("--status {name}"),
            Rule {
                set: option::STATUS,
                status: bit,
                ..Rule::default()
            },
        ));
    }
    for (name, dir) in [("master", dir::MASTER), ("outstation", dir::OUTSTATION)] {
        asked.push(ask(
            format!("--dir {name}"),
            Rule {
                set: option::DIR,
                dir,
                ..Rule::default()
            },
        ));
    }
    let mut classes: Vec<(String, [u32; 8], u8)> = (0..=255u8)
        .map(|code| {
            let mut words = [0; 8];
            words[usize::from(code) / 32] = 1 << (code % 32);
            (code.to_string(), words, 0)
        })
        .collect();
    classes.push(("link".into(), [0; 8], class::LINK));
    classes.push(("cont".into(), [0; 8], class::CONT));
    for (name, fc, classes) in classes {
        let only = Rule {
            set: option::FC,
            fc,
            classes,
            ..Rule::default()
        };
        let any = Rule {
            set: option::FC | option::FRAMES,
            frames: dnp3_core::rule::frames::ANY,
            ..only
        };
        let exact = Rule {
            set: any.set | option::STATUS,
            status: status::VALID,
            ..any
        };
        asked.push(ask(format!("--fc {name}"), only));
        asked.push(ask(format!("--frames any --fc {name}"), any));
        asked.push(ask(
            format!("--frames any --fc {name} --status valid"),
            exact,
        ));
    }
    asked
}

/// How many packets a rule takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// With `-p tcp`.
    pub tcp: u64,
    /// With `-p udp`.
    pub udp: u64,
}

/// What the counters of a rule must show after these packets were replayed. Packets that are
/// dropped on the spot, by whatever rule comes first, are counted by none.
pub fn counts(packets: &[Captured], rule: &Rule) -> Counts {
    let mut counts = Counts::default();
    for packet in packets {
        if judge(rule, &Octets(&packet.octets), &packet.headers) == Verdict::Match {
            match packet.headers.protocol {
                6 => counts.tcp += 1,
                _ => counts.udp += 1,
            }
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_rule_say_the_rule() {
        for asked in replayed_rules() {
            let words = asked.arguments.split_whitespace();
            assert_eq!(
                dnp3_core::text::parse(words, 6).ok(),
                Some(asked.rule),
                "{}",
                asked.arguments
            );
        }
    }
}
