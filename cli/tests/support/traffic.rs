// SPDX-License-Identifier: GPL-2.0

//! Makes captures of any length, always the same ones; `cli/examples/traffic.rs` says of what.

use dnp3_tests::frames;
use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder, UdpHeader};
use std::io::{self, Write};

/// Stations that are polled, each by its own connection.
const STATIONS: u32 = 200;
/// Between two packets, in microseconds.
const PACE: u64 = 700;

struct Capture<W> {
    output: W,
    written: u64,
    packets: u64,
    random: u64,
}

impl<W: Write> Capture<W> {
    /// Writes the header of a pcap file of Ethernet.
    fn new(mut output: W) -> io::Result<Capture<W>> {
        let mut header = Vec::new();
        header.extend(0xA1B2_C3D4u32.to_le_bytes());
        header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.extend(262_144u32.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        output.write_all(&header)?;
        Ok(Capture {
            output,
            written: header.len() as u64,
            packets: 0,
            random: 0x9E37_79B9_7F4A_7C15,
        })
    }

    fn packet(&mut self, octets: &[u8]) -> io::Result<()> {
        let time = 1_700_000_000_000_000 + self.packets * PACE;
        let mut header = [0; 16];
        header[..4].copy_from_slice(&((time / 1_000_000) as u32).to_le_bytes());
        header[4..8].copy_from_slice(&((time % 1_000_000) as u32).to_le_bytes());
        header[8..12].copy_from_slice(&(octets.len() as u32).to_le_bytes());
        header[12..].copy_from_slice(&(octets.len() as u32).to_le_bytes());
        self.output.write_all(&header)?;
        self.output.write_all(octets)?;
        self.written += (header.len() + octets.len()) as u64;
        self.packets += 1;
        Ok(())
    }

    /// The next of a row of numbers that looks like chance (xorshift).
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// The kinds of traffic.
pub(crate) const KINDS: [&str; 6] = ["polls", "frames", "holes", "messages", "datagrams", "all"];

/// Writes a capture of at least this many octets.
///
/// # Panics
///
/// When the kind is none of [`KINDS`].
pub(crate) fn write(kind: &str, octets: u64, output: impl Write) -> io::Result<()> {
    match kind {
        "polls" => polls(output, octets),
        "frames" => hostile(output, octets, &[Part::Frame]),
        "holes" => hostile(output, octets, &[Part::Hole]),
        "messages" => hostile(output, octets, &[Part::Message]),
        "datagrams" => hostile(output, octets, &[Part::Datagram]),
        "all" => hostile(output, octets, &Part::ALL),
        other => panic!("{other} is no kind of traffic"),
    }
}

/// A connection between a master and an outstation.
struct Connection {
    station: u32,
    /// The next sequence numbers, the master's first.
    next: [u32; 2],
    transport: [u8; 2],
    application: u8,
}

impl Connection {
    fn segment<W: Write>(
        &mut self,
        capture: &mut Capture<W>,
        from_master: bool,
        payload: &[u8],
        syn: bool,
    ) -> io::Result<()> {
        let [high, low] = ((self.station + 2) as u16).to_be_bytes();
        let (master, outstation) = ([10, 0, 0, 1], [10, 1, high, low]);
        let port = 30_000 + self.station as u16;
        let side = usize::from(!from_master);
        let (source, destination) = match from_master {
            true => (master, outstation),
            false => (outstation, master),
        };
        let ports = match from_master {
            true => (port, 20_000),
            false => (20_000, port),
        };
        let (sequence, acknowledged) = (self.next[side], self.next[1 - side]);
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source, destination, 64)
            .tcp(ports.0, ports.1, sequence, 8192);
        let builder = match (syn, from_master) {
            (true, true) => builder.syn(),
            (true, false) => builder.syn().ack(acknowledged),
            (false, _) => builder.ack(acknowledged).psh(),
        };
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        builder
            .write(&mut packet, payload)
            .map_err(io::Error::other)?;
        capture.packet(&packet)?;
        self.next[side] = sequence.wrapping_add(payload.len() as u32 + u32::from(syn));
        Ok(())
    }

    /// Sends a fragment in as many frames and segments as it takes, and has it acknowledged.
    fn send<W: Write>(
        &mut self,
        capture: &mut Capture<W>,
        from_master: bool,
        fragment: &[u8],
    ) -> io::Result<()> {
        let side = usize::from(!from_master);
        let station = self.station as u16 + 10;
        let (control, destination, source) = match from_master {
            true => (frames::control::MASTER_DATA, station, 1),
            false => (frames::control::OUTSTATION_DATA, 1, station),
        };
        let mut stream = Vec::new();
        let mut pieces = fragment.chunks(249).peekable();
        let mut fir = 0x40;
        while let Some(piece) = pieces.next() {
            let fin = if pieces.peek().is_none() { 0x80 } else { 0 };
            let mut data = vec![fir | fin | self.transport[side]];
            data.extend(piece);
            stream.extend(frames::frame(control, destination, source, &data));
            self.transport[side] = (self.transport[side] + 1) & 0x3F;
            fir = 0;
        }
        for segment in stream.chunks(1460) {
            self.segment(capture, from_master, segment, false)?;
        }
        self.segment(capture, !from_master, &[], false)
    }
}

/// A READ of all classes, an answer of some length, its confirmation.
fn polls(output: impl Write, octets: u64) -> io::Result<()> {
    let mut capture = Capture::new(output)?;
    let mut connections: Vec<Connection> = (0..STATIONS)
        .map(|station| Connection {
            station,
            next: [station << 16, station << 8],
            transport: [0; 2],
            application: 0,
        })
        .collect();
    for connection in &mut connections {
        connection.segment(&mut capture, true, &[], true)?;
        connection.segment(&mut capture, false, &[], true)?;
        connection.segment(&mut capture, true, &[], false)?;
    }
    while capture.written < octets {
        let at = capture.below(u64::from(STATIONS)) as usize;
        let connection = &mut connections[at];
        connection.application = (connection.application + 1) & 0x0F;
        let sequence = connection.application;
        let read = [0xC0 | sequence, 1, 60, 2, 6, 60, 3, 6, 60, 4, 6, 60, 1, 6];
        connection.send(&mut capture, true, &read)?;
        // Half of the answers have little to say, and one in eight says all.
        let (events, points) = match capture.below(8) {
            0..=3 => (capture.below(4), 0),
            4..=6 => (capture.below(24), 0),
            _ => (capture.below(24), 250 + capture.below(130)),
        };
        let control = if events == 0 { 0xC0 } else { 0xE0 };
        let mut response = vec![control | sequence, 129, 0, 0];
        if events != 0 {
            response.extend([32, 4, 0x28, events as u8, 0]);
            for _ in 0..events {
                let number = capture.next().to_le_bytes();
                response.extend([number[0], 0, 1, number[1], number[2]]);
                response.extend([number[3], number[4], number[5], 0x8B, 0x8B, 1]);
            }
        }
        if points != 0 {
            let last = (points - 1) as u16;
            response.extend([30, 1, 0x01, 0, 0]);
            response.extend(last.to_le_bytes());
            for _ in 0..points {
                response.push(1);
                response.extend((capture.next() as u32).to_le_bytes());
            }
        }
        connection.send(&mut capture, false, &response)?;
        if events != 0 {
            connection.send(&mut capture, true, &[0xC0 | sequence, 0])?;
        }
    }
    capture.output.flush()
}

/// What a reader is given one part of.
#[derive(Clone, Copy, Debug)]
enum Part {
    Frame,
    Hole,
    Message,
    Datagram,
}

impl Part {
    const ALL: [Part; 4] = [Part::Frame, Part::Hole, Part::Message, Part::Datagram];
}

/// Parts of which the rest never comes.
fn hostile(output: impl Write, octets: u64, parts: &[Part]) -> io::Result<()> {
    let mut capture = Capture::new(output)?;
    let filler = [0xA5; 1400];
    let mut turn = 0;
    // The next sequence numbers.
    let mut next = vec![0u32; 1 << 14];
    while capture.written < octets {
        let part = parts[turn % parts.len()];
        turn += 1;
        // As many connections as can be, or fewer than a reader keeps, so that it keeps them all.
        let connection = match part {
            Part::Frame | Part::Datagram => capture.below(1 << 24) as usize,
            Part::Hole | Part::Message => capture.below(next.len() as u64) as usize,
        };
        let [_, a, b, c] = (connection as u32).to_be_bytes();
        let (source, destination) = ([10, a, b, c], [192, 0, 2, 1]);
        let mut sequence = 1000;
        let payload = match part {
            Part::Frame => {
                let mut frame = frames::request(&[0xC0; 240]);
                frame.pop();
                frame
            }
            Part::Message => {
                let mut data = [0x55; 250];
                data[0] = 0x40;
                let station = capture.below(64) as u16;
                let frame = frames::frame(0xC4, station, 1, &data);
                sequence = next[connection];
                next[connection] += frame.len() as u32;
                frame
            }
            Part::Hole => {
                // The first octets are at 0, and the next ones do not come.
                if next[connection] != 0 {
                    sequence += 2000 + capture.below(15 << 20) as u32;
                }
                next[connection] = 1;
                filler.to_vec()
            }
            Part::Datagram => {
                let offset = capture.below(8100) as u16;
                ip_fragment(&mut capture, source, offset, &filler[..512])?;
                continue;
            }
        };
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2])
            .ipv4(source, destination, 64)
            .tcp(20_000, 20_000, sequence, 8192);
        let mut packet = Vec::with_capacity(builder.size(payload.len()));
        builder
            .write(&mut packet, &payload)
            .map_err(io::Error::other)?;
        capture.packet(&packet)?;
    }
    capture.output.flush()
}

fn ip_fragment<W: Write>(
    capture: &mut Capture<W>,
    source: [u8; 4],
    offset: u16,
    data: &[u8],
) -> io::Result<()> {
    let protocol = etherparse::IpNumber::UDP;
    let mut ip = Ipv4Header::new(data.len() as u16, 64, protocol, source, [192, 0, 2, 1])
        .map_err(io::Error::other)?;
    ip.identification = capture.below(1 << 16) as u16;
    ip.more_fragments = true;
    ip.dont_fragment = false;
    ip.fragment_offset = IpFragOffset::try_new(offset.min(8100)).map_err(io::Error::other)?;
    let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
    ip.write(&mut packet).map_err(io::Error::other)?;
    let udp = UdpHeader::without_ipv4_checksum(20_000, 20_000, 8).map_err(io::Error::other)?;
    packet.extend(udp.to_bytes());
    packet.extend(&data[8..]);
    capture.packet(&packet)
}
