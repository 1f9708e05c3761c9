// SPDX-License-Identifier: GPL-2.0

//! A TCP segment: what its header says of the payload behind it.

use crate::packet::{Headers, Packet};

/// A TCP header without options.
pub(crate) const HEADER: u32 = 20;

/// Where the fields of a TCP header stand.
pub(crate) mod offset {
    pub(crate) const SEQUENCE: usize = 4;
    pub(crate) const ACKNOWLEDGEMENT: usize = 8;
    pub(crate) const DATA_OFFSET: usize = 12;
    pub(crate) const FLAGS: usize = 13;
}

/// Bits of [`Segment::flags`].
pub mod flag {
    /// The sender has no more octets.
    pub const FIN: u8 = 0x01;
    /// A connection begins; its initial sequence number is this segment's.
    pub const SYN: u8 = 0x02;
    /// The connection is at its end.
    pub const RST: u8 = 0x04;
    /// The acknowledgement number means something.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer means something.
    pub const URG: u8 = 0x20;
}

/// A TCP segment of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Offset of the payload's first octet in the packet.
    pub from: u32,
    /// Offset of the octet behind its last; not below `from`.
    pub to: u32,
    /// Sequence number of the first octet, or of the SYN.
    pub sequence: u32,
    /// Sequence number of the next octet that the sender expects, where ACK is set.
    pub acknowledgement: u32,
    /// Bits of [`flag`].
    pub flags: u8,
}

impl Segment {
    /// A segment of nothing.
    pub const fn new() -> Segment {
        Segment {
            from: 0,
            to: 0,
            sequence: 0,
            acknowledgement: 0,
            flags: 0,
        }
    }

    /// Reads the header; `None` when it is cut short or cannot be right.
    pub fn read(packet: &dyn Packet, headers: &Headers) -> Option<Segment> {
        Segment::read_by(packet, packet.linear(), headers, &mut [0; HEADER as usize])
    }

    /// The same. Where the header is not in the linear part it is copied to `room`.
    #[inline(always)]
    pub(crate) fn read_by(
        packet: &dyn Packet,
        linear: &[u8],
        headers: &Headers,
        room: &mut [u8; HEADER as usize],
    ) -> Option<Segment> {
        let end = packet.len().min(headers.end);
        let behind = headers.transport.checked_add(HEADER)?;
        if behind > end {
            return None;
        }
        let header = match in_place(linear, headers.transport, behind).and_then(<[u8]>::first_chunk)
        {
            Some(header) => header,
            None if packet.copy(headers.transport, room) => &*room,
            None => return None,
        };
        let data_offset = u32::from(header[offset::DATA_OFFSET] >> 4).wrapping_mul(4);
        let from = headers.transport.checked_add(data_offset)?;
        (data_offset >= HEADER && from <= end).then_some(Segment {
            from,
            to: end,
            sequence: number(header, offset::SEQUENCE),
            acknowledgement: number(header, offset::ACKNOWLEDGEMENT),
            flags: header[offset::FLAGS],
        })
    }

    /// Whether one of these flags is set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// Whether it has nothing that has a place in a stream: neither octets nor its end, nor what makes
    /// their places doubtful.
    pub(crate) fn is_bare(&self) -> bool {
        self.length() == 0 && !self.has(flag::SYN | flag::FIN | flag::URG)
    }

    /// Octets of payload.
    pub fn length(&self) -> u32 {
        self.to.saturating_sub(self.from)
    }
}

fn number(header: &[u8; HEADER as usize], at: usize) -> u32 {
    let octets = header.get(at..).and_then(|rest| rest.first_chunk());
    u32::from_be_bytes(octets.copied().unwrap_or_default())
}

/// A packet's octets from `from` to `to`, where all of them lie in its linear part.
pub(crate) fn in_place(linear: &[u8], from: u32, to: u32) -> Option<&[u8]> {
    linear.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

/// Copies a header that must end at or before `end`.
pub(crate) fn read(packet: &dyn Packet, offset: u32, end: u32, to: &mut [u8]) -> Option<()> {
    let length = u32::try_from(to.len()).ok()?;
    let behind = offset.checked_add(length)?;
    (behind <= end && packet.copy(offset, to)).then_some(())
}
