// SPDX-License-Identifier: GPL-2.0

//! The mutator of the packet targets. libFuzzer's own changes hardly ever leave a CRC right, and
//! behind a wrong header CRC there is nothing to find. So most often, after a change, what looks
//! like a frame is mended: at the places where a frame walk looks, or wherever `05 64` stands.

use dnp3_core::rule::{option, protocol};
use dnp3_tests::{frames, vectors};

use crate::input::{Input, HEAD, RULE};

/// Pseudo-random numbers (xorshift), from the seed that libFuzzer gives.
struct Random(u32);

impl Random {
    fn new(seed: u32) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9) | 1)
    }

    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    /// Below `bound`, which is not 0.
    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Control octets that the standard defines, of user data and of none, and some that it does not.
const CONTROLS: [u8; 16] = [
    0xC4, 0x44, 0xF3, 0xD3, 0x53, 0x73, 0xC0, 0xC9, 0xD2, 0x00, 0x0B, 0x9B, 0x0F, 0x81, 0xD4, 0x23,
];

/// Changes `data[..size]` in place and returns its new size, at most `max_size`. `plain` is
/// libFuzzer's own mutator, with the same arguments.
pub fn packet(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    plain: fn(&mut [u8], usize, usize) -> usize,
) -> usize {
    let mut random = Random::new(seed);
    if size <= HEAD || max_size <= HEAD || random.one_in(16) {
        return plain(data, size, max_size);
    }
    // Octets that a change adds need room from the start.
    let limit = max_size.min(data.len());
    let mut size = size.min(limit);
    match random.below(8) {
        // The rule; its size stays.
        0 | 1 => {
            plain(&mut data[..RULE], RULE, RULE);
            if random.one_in(4) {
                // Few bits, for rules with all options at once match little.
                let bit = 1u16 << random.below(6);
                data[..2].copy_from_slice(&(bit | option::FRAMES).to_le_bytes());
            }
        }
        // Where things are in the packet.
        2 => {
            plain(&mut data[RULE..HEAD], HEAD - RULE, HEAD - RULE);
        }
        // The packet.
        3..=5 => size = HEAD + plain(&mut data[HEAD..limit], size - HEAD, limit - HEAD),
        // A frame more, somewhere, or one in place of what is there.
        _ => {
            let frame = frame(&mut random);
            let at = place(&data[..size], &mut random);
            if random.one_in(3) {
                let end = (at + frame.len()).min(size);
                data[at..end].copy_from_slice(&frame[..end - at]);
            } else if size + frame.len() <= limit {
                data.copy_within(at..size, at + frame.len());
                data[at..at + frame.len()].copy_from_slice(&frame);
                size += frame.len();
            }
        }
    }
    if random.one_in(3) {
        // Nothing behind the last frame that is whole.
        size = whole_frames(&data[..size]);
    }
    mend(&mut data[..size], &mut random);
    size
}

/// How many octets of the input are left when the payload ends with its last whole frame.
fn whole_frames(octets: &[u8]) -> usize {
    let Some(payload) = Input::of(octets).payload() else {
        return octets.len();
    };
    let (mut at, end) = (HEAD + payload.start, HEAD + payload.end);
    while let Some(len) = octets[at..end].get(2) {
        let behind = at + frames::wire_len((*len).max(5));
        if behind > end {
            break;
        }
        at = behind;
    }
    at
}

/// Where a frame may be put: most often at a boundary, behind all frames or between two.
fn place(octets: &[u8], random: &mut Random) -> usize {
    let Some(payload) = Input::of(octets).payload() else {
        return HEAD + random.below(octets.len() - HEAD);
    };
    let (from, to) = (HEAD + payload.start, HEAD + payload.end);
    if random.one_in(4) {
        return from + random.below(to - from + 1);
    }
    let mut at = from;
    while !random.one_in(3) {
        match octets[at..to].get(2).filter(|len| **len >= 5) {
            Some(len) if at + frames::wire_len(*len) <= to => at += frames::wire_len(*len),
            _ => break,
        }
    }
    at
}

/// A vector, or a frame of any control octet and length.
fn frame(random: &mut Random) -> Vec<u8> {
    if random.one_in(2) {
        return random.of(vectors::ALL).1.to_vec();
    }
    let control = random.of(&CONTROLS);
    let address = |random: &mut Random| match random.below(3) {
        0 => random.next() as u16,
        1 => 65530 + random.below(6) as u16,
        _ => random.of(&[0, 1, 2, 10, 1024]),
    };
    let (destination, source) = (address(random), address(random));
    let len = match random.below(4) {
        0 => 0,
        1 => random.below(5),
        2 => random.of(&[15, 16, 17, 31, 32, 33, 250]),
        _ => random.below(40),
    };
    let mut user_data = vec![0; len];
    let start = [random.of(&[0xC0, 0x40, 0x80, 0x01]), 0xC0];
    for (octet, value) in user_data.iter_mut().zip(start) {
        *octet = value;
    }
    if let Some(function) = user_data.get_mut(2) {
        *function = random.next() as u8;
    }
    if len > 28 && random.one_in(2) {
        // A frame inside: it lies whole in the packet where it begins behind a CRC.
        let inner = vectors::COLD_RESTART;
        user_data[14..14 + inner.len().min(len - 14)]
            .copy_from_slice(&inner[..inner.len().min(len - 14)]);
    }
    frames::frame(control, destination, source, &user_data)
}

/// Mends what the change has broken, or not.
fn mend(octets: &mut [u8], random: &mut Random) {
    if random.one_in(6) {
        return;
    }
    if !random.one_in(8) {
        mend_head(octets, random);
    }
    let Some(payload) = Input::of(octets).payload() else {
        return;
    };
    let payload = &mut octets[HEAD..][payload];
    match random.below(6) {
        0 => mend_everywhere(payload),
        1 => {
            mend_everywhere(payload);
            mend_walk(payload, random);
        }
        _ => mend_walk(payload, random),
    }
}

/// The headers say what is true, and UDP's length too.
fn mend_head(octets: &mut [u8], random: &mut Random) {
    let (head, packet) = octets.split_at_mut(HEAD);
    let whole = packet.len();
    let field = &mut head[RULE..];
    if !matches!(field[0], protocol::TCP | protocol::UDP) {
        field[0] = if random.one_in(3) {
            protocol::UDP
        } else {
            protocol::TCP
        };
    }
    field[1] = 0;
    let transport = usize::from(u16::from_le_bytes([field[4], field[5]]));
    let transport = if transport + 20 > packet.len() {
        field[4..6].copy_from_slice(&[0, 0]);
        0
    } else {
        transport
    };
    field[6..10].fill(0);
    if field[0] == protocol::UDP {
        let length = (packet.len() - transport) as u16;
        if let Some(place) = packet.get_mut(transport + 4..transport + 6) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    } else if let Some(fields) = packet.get_mut(transport + 12..transport + 14) {
        if fields[0] < 0x50 || transport + usize::from(fields[0] >> 4) * 4 > whole {
            fields[0] = 0x50;
        }
        if !random.one_in(8) {
            fields[1] &= !0x20;
        }
    }
}

/// The header CRC behind every `05 64`, whatever is in between.
fn mend_everywhere(payload: &mut [u8]) {
    for at in 0..payload.len() {
        if payload[at..].starts_with(&[0x05, 0x64]) {
            mend_header(&mut payload[at..]);
        }
    }
}

/// Every frame of a walk from the payload's start: its start, a LEN and a control octet that agree,
/// and all CRCs, as far as the payload goes.
fn mend_walk(payload: &mut [u8], random: &mut Random) {
    let mut rest = payload;
    while rest.len() >= 3 && !random.one_in(24) {
        rest[..2].copy_from_slice(&[0x05, 0x64]);
        rest[2] = rest[2].max(5);
        if let Some(&control) = rest.get(3) {
            let user_data = rest[2] > 5;
            if !dnp3_core::link::agree(rest[2], dnp3_core::link::Control(control))
                && !random.one_in(6)
            {
                rest[3] = control & 0x80 | if user_data { 0x44 } else { 0x49 };
                rest[2] = if user_data { rest[2].max(7) } else { 5 };
            }
        }
        if rest[2] < 8 && !random.one_in(6) {
            // A first segment has its function code in the same frame.
            if let Some(transport) = rest.get_mut(frames::HEADER) {
                *transport &= !0x40;
            }
        }
        mend_header(rest);
        let size = frames::wire_len(rest[2]).min(rest.len());
        let mut left = usize::from(rest[2]) - 5;
        let (frame, behind) = rest.split_at_mut(size);
        let blocks = frame.get_mut(frames::HEADER..).unwrap_or_default();
        for block in blocks.chunks_mut(frames::BLOCK + 2) {
            let len = left.min(frames::BLOCK);
            left -= len;
            // The last may be cut short, and with it its CRC.
            if let Some((data, check)) = block.split_at_mut_checked(len) {
                let crc = frames::crc(data).to_le_bytes();
                for (place, octet) in check.iter_mut().zip(crc) {
                    *place = octet;
                }
            }
        }
        rest = behind;
    }
}

fn mend_header(header: &mut [u8]) {
    if let Some((fields, behind)) = header.split_first_chunk_mut::<8>() {
        let crc = frames::crc(fields).to_le_bytes();
        for (place, octet) in behind.iter_mut().zip(crc) {
            *place = octet;
        }
    }
}
