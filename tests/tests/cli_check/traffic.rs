// SPDX-License-Identifier: GPL-2.0

//! Captures made for `dnp3fw check`: handshakes that go well and ill, streams that are cut, repeated, forged and
//! given up, silence as long as each of conntrack's timeouts, datagrams, fragments, errors of ICMP; and packets of
//! chance around all of that, always the same ones.
//!
//! Both hosts are of both families. Checksums are left out: the replay puts them right.

use etherparse::UdpHeader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dnp3_tests::frames::{control, frame};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const PSH: u8 = 0x08;
pub(crate) const ACK: u8 = 0x10;
pub(crate) const URG: u8 = 0x20;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;
const ICMPV6: u8 = 58;
const PORT: u16 = 20_000;
const SECOND: u64 = 1_000_000_000;
/// Raw IP.
const LINK_TYPE: u32 = 101;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Master,
    Outstation,
}

use Side::{Master, Outstation};

impl Side {
    fn other(self) -> Side {
        match self {
            Master => Outstation,
            Outstation => Master,
        }
    }

    fn address(self, v6: bool) -> IpAddr {
        match (self, v6) {
            (Master, false) => Ipv4Addr::new(192, 0, 2, 10).into(),
            (Outstation, false) => Ipv4Addr::new(198, 51, 100, 20).into(),
            (Master, true) => Ipv6Addr::new(0x2001, 0xDB8, 1, 0, 0, 0, 0, 0x10).into(),
            (Outstation, true) => Ipv6Addr::new(0x2001, 0xDB8, 2, 0, 0, 0, 0, 0x20).into(),
        }
    }
}

/// A capture that is being made.
pub(crate) struct Tape {
    octets: Vec<u8>,
    time: u64,
    pub(crate) packets: usize,
    random: u64,
    v6: bool,
}

impl Tape {
    pub(crate) fn new(seed: u64) -> Tape {
        let mut octets = Vec::new();
        octets.extend(0xA1B2_3C4Du32.to_le_bytes());
        octets.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        octets.extend(262_144u32.to_le_bytes());
        octets.extend(LINK_TYPE.to_le_bytes());
        Tape {
            octets,
            time: 1_700_000_000 * SECOND + 300_000_000,
            packets: 0,
            random: 0x9E37_79B9_7F4A_7C15 ^ seed,
            v6: false,
        }
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.octets
    }

    /// Nobody says anything for so long.
    fn wait(&mut self, milliseconds: u64) {
        self.time += milliseconds * 1_000_000;
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn put(&mut self, packet: &[u8]) {
        self.time += 2_000_000;
        let length = (packet.len() as u32).to_le_bytes();
        self.octets
            .extend(((self.time / SECOND) as u32).to_le_bytes());
        self.octets
            .extend(((self.time % SECOND) as u32).to_le_bytes());
        self.octets.extend(length);
        self.octets.extend(length);
        self.octets.extend(packet);
        self.packets += 1;
    }

    /// An IP packet. `fragment`: the offset in octets, and whether more follow.
    fn ip_of(
        &self,
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        payload: &[u8],
        fragment: Option<(u16, bool)>,
    ) -> Vec<u8> {
        let mut packet = Vec::new();
        let id = 0x4242u16;
        match (from, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (offset, more) = fragment.unwrap_or((0, false));
                let field = (offset / 8) | if more { 0x2000 } else { 0 };
                packet.extend([0x45, 0]);
                packet.extend((20 + payload.len() as u16).to_be_bytes());
                packet.extend(id.to_be_bytes());
                packet.extend(field.to_be_bytes());
                packet.extend([64, protocol, 0, 0]);
                packet.extend(from.octets());
                packet.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let extension = if fragment.is_some() { 8 } else { 0 };
                packet.extend([0x60, 0, 0, 0]);
                packet.extend((extension + payload.len() as u16).to_be_bytes());
                packet.push(if extension != 0 { FRAGMENT } else { protocol });
                packet.push(64);
                packet.extend(from.octets());
                packet.extend(to.octets());
                if let Some((offset, more)) = fragment {
                    packet.extend([protocol, 0]);
                    packet.extend((offset | u16::from(more)).to_be_bytes());
                    packet.extend([0, 0]);
                    packet.extend(id.to_be_bytes());
                }
            }
            _ => unreachable!("both are of one family"),
        }
        packet.extend(payload);
        packet
    }

    fn ip(&mut self, side: Side, protocol: u8, payload: &[u8]) {
        let (from, to) = (side.address(self.v6), side.other().address(self.v6));
        let packet = self.ip_of(from, to, protocol, payload, None);
        self.put(&packet);
    }

    fn udp(&mut self, side: Side, ports: [u16; 2], payload: &[u8]) {
        let datagram = datagram(ports, payload);
        self.ip(side, UDP, &datagram);
    }

    /// An error about a packet, from its receiver's side.
    fn error(&mut self, side: Side, kind: u8, code: u8, about: &[u8]) {
        let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
        message.extend(about);
        let protocol = if self.v6 { ICMPV6 } else { ICMP };
        self.ip(side, protocol, &message);
    }

    fn echo(&mut self, side: Side, answer: bool, id: u16) {
        let (protocol, kind) = match (self.v6, answer) {
            (false, false) => (ICMP, 8),
            (false, true) => (ICMP, 0),
            (true, false) => (ICMPV6, 128),
            (true, true) => (ICMPV6, 129),
        };
        let [high, low] = id.to_be_bytes();
        self.ip(side, protocol, &[kind, 0, 0, 0, high, low, 0, 1, b'x']);
    }

    fn segment(&mut self, segment: &Segment<'_>) {
        let octets = segment.octets();
        self.ip(segment.side, TCP, &octets);
    }
}

fn datagram(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(ports[0].to_be_bytes());
    datagram.extend(ports[1].to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0x12, 0x34]);
    datagram.extend(payload);
    datagram
}

/// A segment of TCP.
#[derive(Clone, Debug)]
struct Segment<'a> {
    side: Side,
    /// The master's port.
    port: u16,
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    window: u16,
    options: Vec<u8>,
    payload: &'a [u8],
}

impl Segment<'_> {
    fn octets(&self) -> Vec<u8> {
        let ports = match self.side {
            Master => [self.port, PORT],
            Outstation => [PORT, self.port],
        };
        let mut options = self.options.clone();
        while options.len() % 4 != 0 {
            options.push(1);
        }
        let mut octets = Vec::new();
        octets.extend(ports[0].to_be_bytes());
        octets.extend(ports[1].to_be_bytes());
        octets.extend(self.sequence.to_be_bytes());
        octets.extend(self.acknowledgement.to_be_bytes());
        octets.push((((20 + options.len()) / 4) << 4) as u8);
        octets.push(self.flags);
        octets.extend(self.window.to_be_bytes());
        let urgent = u16::from(self.flags & URG != 0);
        octets.extend([0, 0]);
        octets.extend(urgent.to_be_bytes());
        octets.extend(options);
        octets.extend(self.payload);
        octets
    }
}

fn request(function: u8) -> Vec<u8> {
    frame(
        control::MASTER_DATA,
        10,
        1,
        &[0xC0, 0xC3, function, 60, 2, 6],
    )
}

fn response(length: usize) -> Vec<u8> {
    let mut data = vec![0xC0, 0xC3, 129, 0, 0];
    data.resize(5 + length, 0x5A);
    frame(control::OUTSTATION_DATA, 1, 10, &data)
}

fn keep_alive(side: Side) -> Vec<u8> {
    match side {
        Master => frame(control::DIR | control::PRM | 9, 10, 1, &[]),
        Outstation => frame(11, 1, 10, &[]),
    }
}

/// MSS, permitted SACK, a scale of 7.
const SYN_OPTIONS: [u8; 9] = [2, 4, 5, 180, 4, 2, 3, 3, 7];

/// A connection as its honest ends see it.
struct Flow {
    port: u16,
    next: [u32; 2],
}

impl Flow {
    fn new(tape: &mut Tape, port: u16) -> Flow {
        Flow {
            port,
            next: [tape.next() as u32, tape.next() as u32],
        }
    }

    fn next_of(&self, side: Side) -> u32 {
        self.next[side as usize]
    }

    /// What a side would send now.
    fn plain<'a>(&self, side: Side, flags: u8, payload: &'a [u8]) -> Segment<'a> {
        Segment {
            side,
            port: self.port,
            sequence: self.next_of(side),
            acknowledgement: if flags & ACK != 0 {
                self.next_of(side.other())
            } else {
                0
            },
            flags,
            window: 8192,
            options: if flags & SYN != 0 {
                SYN_OPTIONS.to_vec()
            } else {
                Vec::new()
            },
            payload,
        }
    }

    /// Sends it, and the stream goes on by it.
    fn send(&mut self, tape: &mut Tape, side: Side, flags: u8, payload: &[u8]) {
        tape.segment(&self.plain(side, flags, payload));
        let more = payload.len() as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
        let next = &mut self.next[side as usize];
        *next = next.wrapping_add(more);
    }

    /// Sends something else, by which nothing goes on.
    fn odd(
        &self,
        tape: &mut Tape,
        side: Side,
        flags: u8,
        payload: &[u8],
        change: impl FnOnce(&mut Segment<'_>),
    ) {
        let mut segment = self.plain(side, flags, payload);
        change(&mut segment);
        tape.segment(&segment);
    }

    fn open(&mut self, tape: &mut Tape) {
        self.send(tape, Master, SYN, &[]);
        self.send(tape, Outstation, SYN | ACK, &[]);
        self.send(tape, Master, ACK, &[]);
    }

    fn poll(&mut self, tape: &mut Tape, function: u8, length: usize) {
        self.send(tape, Master, ACK | PSH, &request(function));
        self.send(tape, Outstation, ACK | PSH, &response(length));
        self.send(tape, Master, ACK, &[]);
    }

    fn close(&mut self, tape: &mut Tape, first: Side) {
        self.send(tape, first, FIN | ACK, &[]);
        self.send(tape, first.other(), ACK, &[]);
        self.send(tape, first.other(), FIN | ACK, &[]);
        self.send(tape, first, ACK, &[]);
    }
}

/// Everything that has a name, in both families.
pub(crate) fn scenes() -> Tape {
    let mut tape = Tape::new(1);
    for v6 in [false, true] {
        tape.v6 = v6;
        streams(&mut tape);
        handshakes(&mut tape);
        silence(&mut tape);
        datagrams(&mut tape);
        errors(&mut tape);
    }
    tape
}

fn streams(tape: &mut Tape) {
    let mut flow = Flow::new(tape, 1025);
    flow.open(tape);
    flow.poll(tape, 1, 100);
    // Cut anywhere.
    let read = request(1);
    let (first, rest) = read.split_at(7);
    flow.send(tape, Master, ACK, first);
    flow.send(tape, Master, ACK | PSH, rest);
    let long = response(200);
    for piece in long.chunks(40) {
        flow.send(tape, Outstation, ACK, piece);
    }
    // Again; other octets in their place; a hole, and what fills it.
    let back = long.len() as u32;
    flow.odd(tape, Outstation, ACK | PSH, &long, |s| {
        s.sequence = s.sequence.wrapping_sub(back)
    });
    let forged = response(199);
    flow.odd(tape, Outstation, ACK | PSH, &forged, |s| {
        s.sequence = s.sequence.wrapping_sub(back)
    });
    flow.odd(tape, Master, ACK | PSH, &read, |s| {
        s.sequence = s.sequence.wrapping_add(27)
    });
    flow.send(tape, Master, ACK | PSH, &read);
    for side in [Master, Outstation] {
        flow.send(tape, side, ACK | PSH, &keep_alive(side));
    }
    // A probe that repeats an octet, one with an octet of garbage, URG, garbage, a restart, two frames.
    flow.odd(tape, Master, ACK, &keep_alive(Master)[9..], |s| {
        s.sequence = s.sequence.wrapping_sub(1)
    });
    flow.odd(tape, Master, ACK, &[0], |s| {
        s.sequence = s.sequence.wrapping_sub(1)
    });
    flow.odd(tape, Master, ACK | URG, &[], |_| ());
    flow.odd(tape, Master, ACK | PSH, b"GET / HTTP/1.0", |_| ());
    flow.send(tape, Master, ACK | PSH, &[request(2), request(13)].concat());
    flow.send(tape, Master, ACK | PSH, &read);
    flow.send(tape, Outstation, ACK, &[]);
    flow.poll(tape, 1, 10);
    flow.close(tape, Master);
    // The same ports again, and other octets to begin with; then a connection that the outstation closes, and one that is reset.
    let mut flow = Flow::new(tape, 1025);
    flow.open(tape);
    flow.poll(tape, 2, 20);
    flow.close(tape, Outstation);
    let mut flow = Flow::new(tape, 1025);
    flow.open(tape);
    flow.poll(tape, 1, 20);
    flow.odd(tape, Master, RST | ACK, &[], |s| {
        s.sequence = s.sequence.wrapping_add(5)
    });
    flow.odd(tape, Outstation, RST, &[], |s| {
        s.sequence = s.sequence.wrapping_sub(5)
    });
    flow.send(tape, Master, RST | ACK, &[]);
    flow.poll(tape, 1, 20);
    // Anew without an end of the one before.
    let mut flow = Flow::new(tape, 1025);
    flow.open(tape);
    flow.poll(tape, 1, 20);
    let mut again = Flow::new(tape, 1025);
    again.odd(tape, Master, SYN, &[], |_| ());
    tape.wait(1500);
    again.open(tape);
    again.poll(tape, 1, 20);
    // Met in mid-stream, from either side.
    for (port, side) in [(1026, Master), (1027, Outstation)] {
        let mut flow = Flow::new(tape, port);
        flow.send(
            tape,
            side,
            ACK | PSH,
            &match side {
                Master => request(1),
                Outstation => response(9),
            },
        );
        flow.poll(tape, 1, 30);
        flow.close(tape, side);
    }
    // Outside the window on all sides, and windows that close.
    let mut flow = Flow::new(tape, 1028);
    flow.open(tape);
    flow.poll(tape, 1, 50);
    for by in [70_000u32, 1 << 20, u32::MAX - 70_000, u32::MAX - (1 << 20)] {
        flow.odd(tape, Master, ACK | PSH, &read, |s| {
            s.sequence = s.sequence.wrapping_add(by)
        });
        flow.odd(tape, Master, ACK, &[], |s| {
            s.acknowledgement = s.acknowledgement.wrapping_add(by)
        });
        flow.odd(tape, Outstation, FIN | ACK, &[], |s| {
            s.sequence = s.sequence.wrapping_add(by)
        });
        flow.odd(tape, Outstation, RST | ACK, &[], |s| {
            s.sequence = s.sequence.wrapping_add(by)
        });
    }
    flow.odd(tape, Outstation, ACK, &[], |s| s.window = 0);
    flow.poll(tape, 1, 50);
    flow.odd(tape, Master, ACK, &[], |s| {
        let right = s.acknowledgement;
        s.options = [
            &[1, 1, 5, 10][..],
            &right.wrapping_add(10).to_be_bytes(),
            &right.wrapping_add(60).to_be_bytes(),
        ]
        .concat();
    });
}

fn handshakes(tape: &mut Tape) {
    // Flags that nobody sends, without a connection and with one.
    for flags in [
        0,
        SYN | FIN,
        SYN | RST,
        FIN,
        URG,
        FIN | PSH | URG,
        SYN | ACK,
        RST,
        RST | ACK,
        FIN | ACK,
    ] {
        let flow = Flow::new(tape, 1040 + u16::from(flags));
        flow.odd(tape, Master, flags, &[], |_| ());
        flow.odd(tape, Outstation, flags, &[], |_| ());
    }
    let mut flow = Flow::new(tape, 1110);
    flow.open(tape);
    for flags in [0, SYN | FIN, FIN, SYN | URG, SYN, SYN | ACK] {
        for side in [Master, Outstation] {
            flow.odd(tape, side, flags, &[], |_| ());
        }
    }
    flow.poll(tape, 1, 10);
    // Data in a SYN; no answer; a closed port; both at once; an answer to another SYN; SYN again and again.
    let flow = Flow::new(tape, 1111);
    flow.odd(tape, Master, SYN, &request(1), |_| ());
    flow.odd(tape, Outstation, RST | ACK, &[], |s| {
        s.sequence = 0;
        s.acknowledgement = s.acknowledgement.wrapping_add(1);
    });
    let mut flow = Flow::new(tape, 1112);
    flow.send(tape, Master, SYN, &[]);
    flow.odd(tape, Outstation, RST | ACK, &[], |s| s.sequence = 0);
    flow.odd(tape, Master, ACK, &[], |_| ());
    let mut flow = Flow::new(tape, 1113);
    flow.send(tape, Master, SYN, &[]);
    flow.send(tape, Outstation, SYN, &[]);
    flow.odd(tape, Master, SYN | ACK, &[], |s| {
        s.sequence = s.sequence.wrapping_sub(1)
    });
    flow.odd(tape, Outstation, SYN | ACK, &[], |s| {
        s.sequence = s.sequence.wrapping_sub(1)
    });
    flow.send(tape, Master, ACK, &[]);
    flow.poll(tape, 1, 10);
    let mut flow = Flow::new(tape, 1114);
    flow.odd(tape, Master, SYN, &[], |_| ());
    flow.odd(tape, Master, SYN, &[], |_| ());
    flow.odd(tape, Outstation, SYN | ACK, &[], |s| {
        s.acknowledgement = s.acknowledgement.wrapping_add(77)
    });
    flow.odd(tape, Outstation, ACK, &[], |_| ());
    flow.open(tape);
    flow.odd(tape, Outstation, SYN | ACK, &[], |s| {
        s.sequence = s.sequence.wrapping_sub(1);
    });
    flow.poll(tape, 1, 10);
    // Options that make another protocol of it.
    let mut flow = Flow::new(tape, 1115);
    flow.send(tape, Master, SYN, &[]);
    flow.odd(tape, Outstation, SYN | ACK, &[], |s| {
        s.options = vec![30, 4, 0, 0]
    });
    flow.next[1] = flow.next[1].wrapping_add(1);
    flow.send(tape, Master, ACK, &[]);
    flow.poll(tape, 1, 10);
    // No options at all.
    let mut flow = Flow::new(tape, 1116);
    flow.odd(tape, Master, SYN, &[], |s| s.options.clear());
    flow.odd(tape, Outstation, SYN | ACK, &[], |s| {
        s.options.clear();
        s.acknowledgement = s.acknowledgement.wrapping_add(1);
    });
    flow.next = flow.next.map(|next| next.wrapping_add(1));
    flow.send(tape, Master, ACK, &[]);
    flow.poll(tape, 1, 10);
    flow.odd(tape, Master, SYN, &[], |_| ());
    flow.odd(tape, Outstation, ACK, &[], |_| ());
    flow.odd(tape, Master, RST, &[], |s| s.acknowledgement = 0);
    // A SYN while the last ACK is due: the answer to it is not that ACK, and so the next SYN begins nothing.
    let mut flow = Flow::new(tape, 1117);
    flow.open(tape);
    flow.send(tape, Master, FIN | ACK, &[]);
    flow.send(tape, Outstation, FIN | ACK, &[]);
    let mut again = Flow::new(tape, 1117);
    again.odd(tape, Master, SYN, &[], |_| ());
    flow.odd(tape, Outstation, ACK, &[], |_| ());
    again.open(tape);
    // Both at once, and the other end's ACK ends it: it lasts longer than a handshake.
    let mut flow = Flow::new(tape, 1118);
    flow.send(tape, Master, SYN, &[]);
    flow.send(tape, Outstation, SYN, &[]);
    flow.odd(tape, Master, SYN | ACK, &[], |s| {
        s.sequence = s.sequence.wrapping_sub(1);
    });
    flow.odd(tape, Outstation, ACK, &[], |_| ());
    tape.wait(70_000);
    flow.odd(tape, Master, ACK, &[], |_| ());
}

/// Silence below and above what conntrack and the module wait for.
fn silence(tape: &mut Tape) {
    let mut port = 1200;
    let mut flow = |tape: &mut Tape| {
        port += 1;
        Flow::new(tape, port)
    };
    for seconds in [100, 130] {
        let mut flow = flow(tape);
        flow.send(tape, Master, SYN, &[]);
        tape.wait(seconds * 1000);
        flow.send(tape, Outstation, SYN | ACK, &[]);
        flow.send(tape, Master, ACK, &[]);
        flow.poll(tape, 1, 10);
    }
    for seconds in [50, 70] {
        let mut flow = flow(tape);
        flow.send(tape, Master, SYN, &[]);
        flow.send(tape, Outstation, SYN | ACK, &[]);
        tape.wait(seconds * 1000);
        flow.send(tape, Master, ACK, &[]);
        flow.poll(tape, 1, 10);
    }
    for seconds in [8, 12] {
        let mut flow = flow(tape);
        flow.open(tape);
        flow.send(tape, Outstation, RST | ACK, &[]);
        tape.wait(seconds * 1000);
        flow.odd(tape, Master, ACK, &[], |_| ());
    }
    for seconds in [25, 35, 115, 125] {
        let mut flow = flow(tape);
        flow.open(tape);
        flow.send(tape, Master, FIN | ACK, &[]);
        flow.send(tape, Outstation, FIN | ACK, &[]);
        if seconds > 100 {
            flow.send(tape, Master, ACK, &[]);
        }
        tape.wait(seconds * 1000);
        flow.odd(tape, Master, ACK, &[], |_| ());
        flow.odd(tape, Outstation, ACK, &[], |_| ());
    }
    // Not acknowledged.
    for seconds in [290, 310] {
        let mut flow = flow(tape);
        flow.open(tape);
        flow.send(tape, Master, ACK | PSH, &request(1));
        tape.wait(seconds * 1000);
        flow.send(tape, Outstation, ACK | PSH, &response(10));
        flow.send(tape, Master, ACK, &[]);
    }
    // A frame that is not finished, and one that is at rest for long.
    for seconds in [13, 18] {
        let mut flow = flow(tape);
        flow.open(tape);
        let read = request(1);
        flow.send(tape, Master, ACK, &read[..9]);
        flow.send(tape, Outstation, ACK, &[]);
        tape.wait(seconds * 1000);
        flow.send(tape, Master, ACK, &read[9..]);
        flow.poll(tape, 1, 10);
    }
    let mut flow = flow(tape);
    flow.open(tape);
    for _ in 0..12 {
        flow.poll(tape, 1, 240);
    }
    let long = response(240);
    tape.wait(70_000);
    for back in [1u32, 6] {
        let by = back * long.len() as u32;
        flow.odd(tape, Outstation, ACK | PSH, &long, |s| {
            s.sequence = s.sequence.wrapping_sub(by)
        });
    }
    flow.odd(tape, Outstation, ACK | PSH, &long, |s| {
        s.sequence = s.sequence.wrapping_sub(11 * long.len() as u32)
    });
    flow.poll(tape, 1, 240);
}

fn datagrams(tape: &mut Tape) {
    let ports = [PORT, PORT];
    tape.udp(Master, ports, &request(1));
    tape.udp(Outstation, ports, &response(100));
    for seconds in [1, 25, 31, 3, 40, 110, 125] {
        tape.wait(seconds * 1000);
        tape.udp(Master, ports, &request(1));
        tape.udp(Outstation, ports, &response(10));
    }
    tape.udp(Master, ports, &[request(1), request(13)].concat());
    tape.udp(Master, ports, &request(1)[..11]);
    tape.udp(Master, ports, &[]);
    tape.udp(Master, ports, b"nothing");
    tape.udp(Outstation, [PORT, 999], &response(9));
    // A UDP length that is not that of the packet; no room for a header.
    for length in [0u16, 7, 9, 5000] {
        let mut odd = datagram(ports, &request(1));
        odd[4..6].copy_from_slice(&length.to_be_bytes());
        tape.ip(Master, UDP, &odd);
    }
    // In fragments: in order, the last first, one of them lost.
    let mut whole = datagram(ports, &[response(100), response(90), response(80)].concat());
    let (from, to) = (Outstation.address(tape.v6), Master.address(tape.v6));
    let sum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            UdpHeader::from_slice(&whole).map(|(header, payload)| {
                header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
            })
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            UdpHeader::from_slice(&whole).map(|(header, payload)| {
                header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
            })
        }
        _ => unreachable!("both are of one family"),
    };
    let sum = sum.expect("a header").expect("a short payload");
    whole[6..8].copy_from_slice(&sum.to_be_bytes());
    let pieces: Vec<_> = (0..whole.len())
        .step_by(128)
        .map(|at| {
            let end = whole.len().min(at + 128);
            let more = end != whole.len();
            tape.ip_of(from, to, UDP, &whole[at..end], Some((at as u16, more)))
        })
        .collect();
    for piece in &pieces {
        tape.put(piece);
    }
    for piece in pieces.iter().rev() {
        tape.put(piece);
    }
    tape.put(&pieces[0]);
    tape.wait(61_000);
    // Other protocols, which conntrack knows by their hosts.
    for side in [Master, Outstation, Master] {
        tape.ip(side, 89, &[2, 1, 0, 44, 0, 0, 0, 0]);
    }
}

fn errors(tape: &mut Tape) {
    let mut flow = Flow::new(tape, 1300);
    flow.open(tape);
    let read = request(1);
    let sent = flow.plain(Master, ACK | PSH, &read).octets();
    flow.send(tape, Master, ACK | PSH, &read);
    let (master, outstation) = (Master.address(tape.v6), Outstation.address(tape.v6));
    let about = tape.ip_of(master, outstation, TCP, &sent[..8], None);
    let of_nothing = tape.ip_of(master, outstation, UDP, &datagram([1, 2], b"x"), None);
    let backwards = tape.ip_of(outstation, master, TCP, &sent, None);
    let kinds: &[(u8, u8)] = match tape.v6 {
        false => &[
            (3, 4),
            (3, 1),
            (11, 0),
            (12, 0),
            (4, 0),
            (5, 1),
            (19, 0),
            (42, 0),
        ],
        true => &[(2, 0), (1, 4), (3, 0), (4, 1), (137, 0), (100, 0)],
    };
    for (kind, code) in kinds {
        for about in [
            &about[..],
            &of_nothing,
            &backwards,
            &about[..18],
            &about[..about.len() - 6],
            &[],
        ] {
            tape.error(Outstation, *kind, *code, about);
        }
        tape.error(Master, *kind, *code, &about);
    }
    tape.echo(Master, false, 7);
    tape.echo(Outstation, true, 7);
    tape.echo(Outstation, true, 8);
    tape.wait(31_000);
    tape.echo(Outstation, true, 7);
    tape.echo(Outstation, false, 9);
    tape.echo(Master, true, 9);
    let protocol = if tape.v6 { ICMPV6 } else { ICMP };
    for kind in [9, 13, 14, 130, 135, 139, 140, 141] {
        tape.ip(Master, protocol, &[kind, 0, 0, 0, 0, 1, 0, 1]);
    }
    tape.ip(Master, protocol, &[8, 0, 0]);
    tape.ip(Master, TCP, &[4, 1, 78]);
    tape.ip(Master, TCP, &sent[..12]);
    let mut short = sent.clone();
    short[12] = 4 << 4;
    tape.ip(Master, TCP, &short);
}

/// What chance makes of a few connections.
pub(crate) fn chance(seed: u64, packets: usize) -> Tape {
    let mut tape = Tape::new(seed);
    let mut flows: Vec<(bool, Flow)> = (0..6)
        .map(|number| (number % 2 == 1, Flow::new(&mut tape, 2000 + number)))
        .collect();
    while tape.packets < packets {
        let at = tape.below(flows.len());
        let (v6, mut flow) = flows.swap_remove(at);
        tape.v6 = v6;
        step(&mut tape, &mut flow);
        flows.push((v6, flow));
    }
    tape
}

fn step(tape: &mut Tape, flow: &mut Flow) {
    match tape.below(60) {
        0 => *flow = Flow::new(tape, flow.port),
        1 => {
            let wait = tape.one(&[900, 4000, 11_000, 16_000, 31_000, 61_000, 121_000, 301_000]);
            tape.wait(wait);
        }
        2..=6 => flow.open(tape),
        7..=16 => {
            let (function, length) = (tape.one(&[1, 1, 2, 3, 13]), tape.below(200));
            flow.poll(tape, function, length);
        }
        17..=18 => {
            let side = tape.one(&[Master, Outstation]);
            flow.close(tape, side);
        }
        19 => {
            let side = tape.one(&[Master, Outstation]);
            flow.send(tape, side, RST | ACK, &[]);
        }
        20..=25 => {
            let side = tape.one(&[Master, Outstation]);
            let payload = keep_alive(side);
            let cut = tape.below(payload.len());
            flow.send(tape, side, ACK, &payload[..cut]);
            flow.send(tape, side, ACK, &payload[cut..]);
        }
        _ => {
            let side = tape.one(&[Master, Outstation]);
            let flags = tape.one(&[
                ACK,
                ACK,
                ACK | PSH,
                ACK | PSH,
                SYN,
                SYN | ACK,
                FIN | ACK,
                RST,
                RST | ACK,
                FIN,
                0,
                URG | ACK,
                SYN | FIN,
            ]);
            let whole = match side {
                Master => request(1),
                Outstation => response(30),
            };
            let payload = match tape.below(6) {
                0 | 1 => whole.clone(),
                2 => whole[..whole.len() / 2].to_vec(),
                3 => request(13),
                _ => Vec::new(),
            };
            let shifts = [
                0,
                0,
                0,
                0,
                1,
                u32::MAX,
                24,
                0u32.wrapping_sub(24),
                5000,
                70_000,
                1 << 22,
                1 << 31,
            ];
            let (by, acknowledged) = (tape.one(&shifts), tape.one(&shifts));
            let window = tape.one(&[0, 1, 100, 8192, 65_535]);
            let right = tape.next() as u32 % 200;
            let options = match tape.below(8) {
                0 => vec![3, 3, 14, 4, 2],
                1 => vec![2, 4, 5, 180],
                2 => vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                3 => {
                    let from = flow.next_of(side.other());
                    let to = from.wrapping_add(right);
                    [&[5, 10][..], &from.to_be_bytes(), &to.to_be_bytes()].concat()
                }
                4 => vec![0, 9, 9, 9],
                5 => vec![3, 0, 0, 0],
                _ => Vec::new(),
            };
            let is_on = tape.below(3) == 0 && by == 0;
            flow.odd(tape, side, flags, &payload, |segment| {
                segment.sequence = segment.sequence.wrapping_add(by);
                segment.acknowledgement = segment.acknowledgement.wrapping_add(acknowledged);
                segment.window = window;
                segment.options = options;
            });
            if is_on {
                let next = &mut flow.next[side as usize];
                *next = next.wrapping_add(payload.len() as u32);
            }
        }
    }
}
