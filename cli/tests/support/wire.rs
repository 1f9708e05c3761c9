// SPDX-License-Identifier: GPL-2.0

//! Captures of which is known who said what and when.

#![allow(dead_code, reason = "not every test needs all of it")]

use dnp3_tests::frames::{self, control};
use etherparse::PacketBuilder;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// When the first packet is captured, in microseconds: 2023-11-14T22:13:20Z.
pub(crate) const START: u64 = 1_700_000_000_000_000;
pub(crate) const SECOND: u64 = 1_000_000;

/// The header of a pcap file of IP packets.
pub(crate) fn head() -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(0xA1B2_C3D4u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(262_144u32.to_le_bytes());
    file.extend(101u32.to_le_bytes());
    file
}

/// A packet of such a file.
pub(crate) fn record(time: u64, packet: &[u8]) -> Vec<u8> {
    let mut record = Vec::with_capacity(16 + packet.len());
    record.extend(((time / SECOND) as u32).to_le_bytes());
    record.extend(((time % SECOND) as u32).to_le_bytes());
    record.extend((packet.len() as u32).to_le_bytes());
    record.extend((packet.len() as u32).to_le_bytes());
    record.extend(packet);
    record
}

/// A datagram, as an IP packet.
pub(crate) fn datagram(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    ip(from, to)
        .udp(from.port(), to.port())
        .write(&mut packet, payload)
        .expect("a packet");
    packet
}

fn ip(from: SocketAddr, to: SocketAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        other => panic!("{other:?}"),
    }
}

/// Packets, each with its time in microseconds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire {
    pub(crate) packets: Vec<(u64, Vec<u8>)>,
}

impl Wire {
    pub(crate) fn udp(&mut self, time: u64, from: &str, to: &str, payload: &[u8]) {
        let packet = datagram(address(from), address(to), payload);
        self.packets.push((time, packet));
    }

    pub(crate) fn tcp(
        &mut self,
        time: u64,
        (from, to): (&str, &str),
        (sequence, acknowledged): (u32, u32),
        flags: &str,
        payload: &[u8],
    ) {
        let (from, to) = (address(from), address(to));
        let mut builder = ip(from, to).tcp(from.port(), to.port(), sequence, 8192);
        for flag in flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'A' => builder.ack(acknowledged),
                'F' => builder.fin(),
                'R' => builder.rst(),
                'U' => builder.urg(1),
                other => panic!("flag {other}"),
            };
        }
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).expect("a packet");
        self.packets.push((time, packet));
    }

    /// The pcap file.
    pub(crate) fn file(&self) -> Vec<u8> {
        self.part(0..self.packets.len())
    }

    /// A pcap file of these packets.
    pub(crate) fn part(&self, range: Range<usize>) -> Vec<u8> {
        let mut file = head();
        for (time, packet) in &self.packets[range] {
            file.extend(record(*time, packet));
        }
        file
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// A connection: who opens it, who waits, and their next sequence numbers.
#[derive(Clone, Debug)]
pub(crate) struct Tcp {
    ends: [&'static str; 2],
    next: [u32; 2],
}

impl Tcp {
    /// Opens it with a handshake.
    pub(crate) fn open(wire: &mut Wire, time: u64, from: &'static str, to: &'static str) -> Tcp {
        let mut tcp = Tcp {
            ends: [from, to],
            next: [1_000, u32::MAX - 100],
        };
        tcp.put(wire, time, 0, "S", &[]);
        tcp.put(wire, time + 1_000, 1, "SA", &[]);
        tcp.put(wire, time + 2_000, 0, "A", &[]);
        tcp
    }

    fn put(&mut self, wire: &mut Wire, time: u64, side: usize, flags: &str, payload: &[u8]) {
        let ends = (self.ends[side], self.ends[1 - side]);
        let numbers = (self.next[side], self.next[1 - side]);
        wire.tcp(time, ends, numbers, flags, payload);
        let more = payload.len() as u32 + u32::from(flags.contains(['S', 'F']));
        self.next[side] = numbers.0.wrapping_add(more);
    }

    /// Who opened it sends.
    pub(crate) fn send(&mut self, wire: &mut Wire, time: u64, payload: &[u8]) {
        self.put(wire, time, 0, "A", payload);
    }

    /// Who waited sends.
    pub(crate) fn answer(&mut self, wire: &mut Wire, time: u64, payload: &[u8]) {
        self.put(wire, time, 1, "A", payload);
    }

    /// Who opened it sends the octets before once more.
    pub(crate) fn again(&mut self, wire: &mut Wire, time: u64, payload: &[u8]) {
        self.next[0] = self.next[0].wrapping_sub(payload.len() as u32);
        self.send(wire, time, payload);
    }
}

/// A fragment from a master in as many frames as it takes, the first of which has this transport
/// sequence number.
pub(crate) fn request(source: u16, destination: u16, transport: u8, fragment: &[u8]) -> Vec<u8> {
    message(
        control::MASTER_DATA,
        source,
        destination,
        transport,
        fragment,
    )
}

/// The same from an outstation.
pub(crate) fn response(source: u16, destination: u16, transport: u8, fragment: &[u8]) -> Vec<u8> {
    message(
        control::OUTSTATION_DATA,
        source,
        destination,
        transport,
        fragment,
    )
}

fn message(control: u8, source: u16, destination: u16, transport: u8, fragment: &[u8]) -> Vec<u8> {
    const FIN: u8 = 0x80;
    const FIR: u8 = 0x40;
    let pieces: Vec<&[u8]> = fragment.chunks(249).collect();
    let mut octets = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        let fir = if at == 0 { FIR } else { 0 };
        let fin = if at + 1 == pieces.len() { FIN } else { 0 };
        let mut data = vec![fir | fin | transport.wrapping_add(at as u8) & 0x3F];
        data.extend(*piece);
        octets.extend(frames::frame(control, destination, source, &data));
    }
    octets
}
