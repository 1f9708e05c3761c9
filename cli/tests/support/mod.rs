// SPDX-License-Identifier: GPL-2.0

//! What the tests share: captures that are made octet by octet, without the reader's libraries, and
//! what was told of them.

#![allow(dead_code, reason = "not every test needs all of it")]

use dnp3fw::{Assembly, Counts, Event, Input, Options, Progress};
use etherparse::PacketBuilder;

/// The order of a file's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Little,
    Big,
}

impl Order {
    pub(crate) fn two(self, number: u16) -> [u8; 2] {
        match self {
            Order::Little => number.to_le_bytes(),
            Order::Big => number.to_be_bytes(),
        }
    }

    pub(crate) fn four(self, number: u32) -> [u8; 4] {
        match self {
            Order::Little => number.to_le_bytes(),
            Order::Big => number.to_be_bytes(),
        }
    }
}

/// The time of the packet with this number, from 0 on, in microseconds.
pub(crate) fn time_of(number: usize) -> u64 {
    1_700_000_000_123_456 + number as u64 * 1_000
}

/// A pcap file; in nanoseconds if `fine`.
pub(crate) fn pcap(order: Order, fine: bool, link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let magic = if fine { 0xA1B2_3C4D } else { 0xA1B2_C3D4 };
    let mut file = Vec::new();
    file.extend(order.four(magic));
    file.extend(order.two(2));
    file.extend(order.two(4));
    file.extend([0; 8]);
    file.extend(order.four(262_144));
    file.extend(order.four(link_type));
    for (number, packet) in packets.iter().enumerate() {
        let time = time_of(number);
        let fraction = time % 1_000_000 * if fine { 1000 } else { 1 };
        file.extend(order.four((time / 1_000_000) as u32));
        file.extend(order.four(fraction as u32));
        file.extend(order.four(packet.len() as u32));
        file.extend(order.four(packet.len() as u32));
        file.extend(packet);
    }
    file
}

/// A pcap file as tcpdump writes it.
pub(crate) fn ethernet(packets: &[Vec<u8>]) -> Vec<u8> {
    pcap(Order::Little, false, 1, packets)
}

/// A block of pcapng.
pub(crate) fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let padded = body.len().next_multiple_of(4);
    let length = order.four(padded as u32 + 12);
    block.extend(order.four(kind));
    block.extend(length);
    block.extend(body);
    block.resize(8 + padded, 0);
    block.extend(length);
    block
}

/// A pcapng file, with a time resolution (the option's octet) and blocks that a reader passes over.
pub(crate) fn pcapng(order: Order, resolution: u8, link_type: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut section = order.four(0x1A2B_3C4D).to_vec();
    section.extend(order.two(1));
    section.extend(order.two(0));
    section.extend([0xFF; 8]);
    file.extend(block(order, 0x0A0D_0D0A, &section));
    let mut interface = order.two(link_type as u16).to_vec();
    interface.extend([0, 0]);
    interface.extend(order.four(0));
    interface.extend(order.two(9));
    interface.extend(order.two(1));
    interface.extend([resolution, 0, 0, 0]);
    interface.extend([0; 4]);
    file.extend(block(order, 1, &interface));
    let per_second = match resolution {
        0..=0x7F => 10u128.pow(resolution.into()),
        _ => 1 << (resolution & 0x7F),
    };
    for (number, packet) in packets.iter().enumerate() {
        // Statistics, and a block that nobody knows.
        file.extend(block(order, 5, &[0; 12]));
        file.extend(block(order, 0x0BAD, &[7; 21]));
        // Rounded up, so that what is read is not a microsecond less.
        let units = (u128::from(time_of(number)) * per_second).div_ceil(1_000_000) as u64;
        let mut body = order.four(0).to_vec();
        body.extend(order.four((units >> 32) as u32));
        body.extend(order.four(units as u32));
        body.extend(order.four(packet.len() as u32));
        body.extend(order.four(packet.len() as u32));
        body.extend(packet);
        file.extend(block(order, 6, &body));
    }
    file
}

/// From whom a segment comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Master,
    Outstation,
}

/// A TCP segment.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) side: Side,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: Option<u32>,
    pub(crate) flags: &'static str,
    pub(crate) payload: Vec<u8>,
}

impl Segment {
    pub(crate) fn of(sequence: u32, payload: &[u8]) -> Segment {
        Segment {
            side: Side::Master,
            sequence,
            acknowledged: None,
            flags: "",
            payload: payload.to_vec(),
        }
    }

    /// The IP packet.
    pub(crate) fn ip(&self, is_v6: bool) -> Vec<u8> {
        let (ports, last) = match self.side {
            Side::Master => ((40_000, 20_000), [1u8, 2]),
            Side::Outstation => ((20_000, 40_000), [2, 1]),
        };
        let builder = match is_v6 {
            false => PacketBuilder::ipv4([192, 0, 2, last[0]], [192, 0, 2, last[1]], 64),
            true => PacketBuilder::ipv6(v6(last[0]), v6(last[1]), 64),
        };
        let mut builder = builder.tcp(ports.0, ports.1, self.sequence, 1000);
        if let Some(acknowledged) = self.acknowledged {
            builder = builder.ack(acknowledged);
        }
        for flag in self.flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'F' => builder.fin(),
                'R' => builder.rst(),
                other => panic!("flag {other}"),
            };
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, &self.payload).expect("a packet");
        packet
    }
}

pub(crate) fn v6(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    address[..4].copy_from_slice(&[0x20, 0x01, 0x0D, 0xB8]);
    address[15] = last;
    address
}

/// A UDP datagram from the master, as an IPv4 packet.
pub(crate) fn datagram(payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(40_000, 20_000);
    let mut packet = Vec::new();
    builder.write(&mut packet, payload).expect("a packet");
    packet
}

/// An Ethernet frame with these tags (TPID and VLAN) around an IP packet.
pub(crate) fn tagged(tags: &[(u16, u16)], ip: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (tpid, vlan) in tags {
        frame.extend(tpid.to_be_bytes());
        frame.extend(vlan.to_be_bytes());
    }
    frame.extend(ether_type(ip).to_be_bytes());
    frame.extend(ip);
    // Padding, which is no payload.
    frame.resize(frame.len().max(60), 0);
    frame
}

pub(crate) fn ether_type(ip: &[u8]) -> u16 {
    match ip[0] >> 4 {
        4 => 0x0800,
        _ => 0x86DD,
    }
}

/// What was told of an input, a line for each event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) lines: Vec<String>,
    pub(crate) frames: Vec<Vec<u8>>,
    pub(crate) fragments: Vec<Vec<u8>>,
    pub(crate) times: Vec<Option<u64>>,
    pub(crate) packets: Vec<u64>,
    pub(crate) counts: Counts,
}

impl Told {
    pub(crate) fn event(&mut self, event: &Event<'_>) {
        self.lines.push(match event {
            Event::Packet(packet) => {
                self.times.push(packet.origin.time);
                return;
            }
            Event::Frame(frame) => {
                self.frames.push(frame.octets.to_vec());
                self.packets.push(frame.origin.packet);
                let assembly = match &frame.assembly {
                    Assembly::None => "link".into(),
                    Assembly::Open { octets, .. } => format!("open {octets}"),
                    Assembly::Repeated { .. } => "repeated".into(),
                    Assembly::Stray { reason, .. } => format!("stray: {reason}"),
                    Assembly::Complete { fragment, .. } => {
                        self.fragments.push(fragment.octets.to_vec());
                        format!(
                            "function {} in {} frames",
                            fragment.function(),
                            fragment.frames
                        )
                    }
                };
                format!("frame at {}: {assembly}", frame.offset)
            }
            Event::Bad(bad) => format!("bad at {}: {}, {}", bad.offset, bad.fault, bad.length),
            Event::Unfinished(part) => {
                format!("unfinished at {}: {}", part.offset, part.octets.len())
            }
            Event::Gap(gap) => format!("gap of {}", gap.missing),
            Event::Damage(line) => format!("damage: {line}"),
            Event::Note(line) => format!("note: {line}"),
        });
    }
}

/// Reads a capture.
pub(crate) fn read(file: &[u8]) -> Told {
    let mut told = Told::default();
    let mut input = Input::new(Options::default());
    told.counts = input.capture("test", file, &Progress::none(), &mut |event| {
        told.event(event);
        true
    });
    told
}

/// Reads octets of a line.
pub(crate) fn read_raw(octets: &[u8]) -> Told {
    let mut told = Told::default();
    let mut input = Input::new(Options::default());
    told.counts = input.octets("test", octets, &mut |event| {
        told.event(event);
        true
    });
    told
}
