// SPDX-License-Identifier: GPL-2.0

//! Frames in a stream of octets: the walk that cuts them, and what can be seen of one.
//!
//! Every conforming receiver must cut the stream at the same places, or a filter can be walked
//! around. So a walk accepts a frame only when all of these hold: the start octets, LEN in 5..255,
//! a right header CRC; a control octet that the standard defines; user data if and only if the
//! control octet is that of user data; right CRCs of all blocks; and a first segment (FIR=1) that
//! has its function code in this very frame.

use crate::crc::Crc;
use crate::link::{self, offset, Control};

/// What decides which function a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The application function code of a first segment (FIR=1).
    Function(u8),
    /// A continuation segment (FIR=0), which carries no function code.
    Continuation,
    /// A frame without user data: keep-alives, acknowledgements.
    Link,
}

/// What can be seen of a frame; `None` for what has not come yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The control octet.
    pub control: Option<Control>,
    /// The destination address, both octets.
    pub destination: Option<u16>,
    /// The source address, both octets.
    pub source: Option<u16>,
    /// The class.
    pub class: Option<Class>,
}

impl Seen {
    /// What can be seen of a frame of which `octets` have come, first octet first. Octets behind
    /// the function code are of no interest; so is whether the frame is right.
    pub fn of(octets: &[u8]) -> Seen {
        Seen {
            control: octets.get(offset::CONTROL).copied().map(Control),
            destination: number(octets, offset::DESTINATION),
            source: number(octets, offset::SOURCE),
            class: class(octets),
        }
    }
}

/// The number of two octets, low octet first. One octet alone says nothing.
fn number(octets: &[u8], at: usize) -> Option<u16> {
    let (number, _) = octets.get(at..)?.split_first_chunk::<2>()?;
    Some(u16::from_le_bytes(*number))
}

/// The class, or `None` where it cannot be told: the octet that tells has not come, or lies
/// behind the frame's end.
fn class(octets: &[u8]) -> Option<Class> {
    let len = *octets.get(offset::LEN)?;
    if len == link::LEN_MIN {
        return Some(Class::Link);
    }
    if octets.get(offset::TRANSPORT)? & link::TRANSPORT_FIR == 0 {
        return Some(Class::Continuation);
    }
    if len < link::LEN_MIN_FIRST {
        return None;
    }
    octets.get(offset::FUNCTION).copied().map(Class::Function)
}

/// Why a walk stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// All octets were taken, and nothing else happened.
    Taken,
    /// The addresses of a frame have been seen; its CRCs have not been looked at yet.
    Addressed,
    /// A valid frame ends here.
    Frame,
    /// What began at the last boundary is no valid frame, whatever comes. The walk is over, and no
    /// octet is left.
    Wrong,
}

/// Octets at a frame's start that say all that a rule asks for: up to the function code.
pub const START: usize = offset::FUNCTION + 1;

/// [`link::BLOCK`], as a number to count with.
const BLOCK: u32 = link::BLOCK as u32;

/// Odd, so that no CRC that was mixed in is lost.
const DIGEST_FACTOR: u32 = 0x9E37_79B1;

/// A frame walk, which can be stopped and resumed at any octet.
///
/// A walk begins on a frame boundary. A frame is to it a row of blocks, each with a CRC behind it:
/// the header's fields, then the user data.
#[derive(Clone, Copy, Debug, Default)]
pub struct Walk {
    /// The frame's first octets: header, transport octet, application control, function code. The
    /// header's CRC is not kept, but has its place.
    start: [u8; START],
    /// Octets in `start`; 0 before the first frame, [`link::HEADER`] and more once the header is
    /// known to be right.
    kept: u8,
    /// Octets still to come in the current block, without its CRC.
    block: u8,
    /// Octets of the current block's CRC still to come, once the block is complete.
    check: u8,
    /// Octets of user data in the blocks behind the current one.
    left: u8,
    /// The CRC of what has come of a block of user data.
    crc: Crc,
    /// What tells the frame's user data from another's: the CRCs of its blocks, mixed.
    digest: u32,
}

impl Walk {
    /// A walk that stands on a frame boundary.
    pub const fn new() -> Walk {
        Walk {
            start: [0; START],
            kept: 0,
            block: 0,
            check: 0,
            left: 0,
            crc: Crc::new(),
            digest: 0,
        }
    }

    /// Whether the walk stands between two frames.
    pub fn at_boundary(&self) -> bool {
        self.block == 0 && self.check == 0
    }

    /// What can be seen of the frame that the walk is in, or that [`Event::Frame`] has just
    /// reported.
    pub fn seen(&self) -> Seen {
        Seen::of(self.start())
    }

    /// The first octets of the frame that the walk is in, or that [`Event::Frame`] has just reported:
    /// up to [`START`]. The header's CRC has its place, and may not be in it.
    pub(crate) fn start(&self) -> &[u8] {
        self.start.get(..usize::from(self.kept)).unwrap_or(&[])
    }

    /// Octets of the frame that the walk is in which have come; 0 on a boundary.
    pub(crate) fn octets_come(&self) -> u32 {
        if self.at_boundary() {
            return 0;
        }
        if !self.has_header() {
            let fields = (link::HEADER_FIELDS as u32).saturating_sub(u32::from(self.block));
            let crc = if self.block == 0 {
                2u32.saturating_sub(u32::from(self.check))
            } else {
                0
            };
            return fields.saturating_add(crc);
        }
        let data = u32::from(self.start[offset::LEN].saturating_sub(link::LEN_MIN));
        let with_crcs = |data: u32| data.saturating_add(data.div_ceil(BLOCK).saturating_mul(2));
        // What is left: of this block, of its CRC, and of the blocks behind it.
        let crc = if self.block == 0 { self.check } else { 2 };
        let left = u32::from(self.block)
            .saturating_add(u32::from(crc))
            .saturating_add(with_crcs(u32::from(self.left)));
        (link::HEADER as u32)
            .saturating_add(with_crcs(data))
            .saturating_sub(left)
    }

    /// What the user data of the frame that [`Event::Frame`] has just reported comes to: two frames
    /// of one length with the same blocks have the same.
    pub(crate) fn digest(&self) -> u32 {
        self.digest
    }

    /// Takes octets up to the next event. Returns it with the octets that are left.
    #[inline(always)]
    pub fn step<'a>(&mut self, octets: &'a [u8]) -> (Event, &'a [u8]) {
        let (event, left) = self.advance(octets);
        let taken = octets.len().saturating_sub(left);
        (event, octets.get(taken..).unwrap_or(&[]))
    }

    /// The same, with how many octets are left: both are returned in registers.
    #[inline(never)]
    fn advance(&mut self, octets: &[u8]) -> (Event, usize) {
        let mut rest = octets;
        if self.at_boundary() && !rest.is_empty() {
            if let Some((fields, rest)) = rest.split_first_chunk() {
                return match self.take_fields(fields) {
                    Event::Wrong => (Event::Wrong, 0),
                    event => (event, rest.len()),
                };
            }
            self.kept = 0;
            self.block = link::HEADER_FIELDS as u8;
        }
        let mut event = Event::Taken;
        while !rest.is_empty() && event == Event::Taken {
            (event, rest) = if self.block != 0 {
                self.take_block(rest)
            } else {
                self.take_crc(rest)
            };
        }
        (event, rest.len())
    }

    /// Takes a header's fields at a boundary: what [`Walk::take_block`] does with them as they
    /// come, for the header that is there whole, as nearly all are.
    fn take_fields(&mut self, fields: &[u8; link::HEADER_FIELDS]) -> Event {
        if let Some(place) = self.start.first_chunk_mut() {
            *place = *fields;
        }
        self.kept = link::HEADER_FIELDS as u8;
        self.check = 2;
        if may_begin_frame(fields) {
            Event::Addressed
        } else {
            Event::Wrong
        }
    }

    fn has_header(&self) -> bool {
        usize::from(self.kept) >= link::HEADER
    }

    /// Takes as much of the current block as there is.
    fn take_block<'a>(&mut self, octets: &'a [u8]) -> (Event, &'a [u8]) {
        let (data, rest) = octets
            .split_at_checked(usize::from(self.block))
            .unwrap_or((octets, &[]));
        // Not more than `block`, which is at most 16.
        self.block = self.block.saturating_sub((data.len() & 0x1F) as u8);
        if self.block == 0 {
            self.check = 2;
        }
        let in_header = !self.has_header();
        if usize::from(self.kept) < START {
            self.keep(data);
            if !may_begin_frame(self.start.get(..usize::from(self.kept)).unwrap_or(&[])) {
                return (Event::Wrong, &[]);
            }
        }
        if !in_header {
            self.crc = self.crc.over(data);
        } else if self.block == 0 {
            return (Event::Addressed, rest);
        }
        (Event::Taken, rest)
    }

    /// Takes as much as there is of the CRC behind the current block, and begins the next one.
    fn take_crc<'a>(&mut self, octets: &'a [u8]) -> (Event, &'a [u8]) {
        if !self.has_header() && self.check == 2 {
            let fields = self.start.first_chunk::<{ link::HEADER_FIELDS }>();
            self.crc = fields.map_or(self.crc, |fields| Crc::new().over(fields));
        }
        let wanted = self.crc.octets();
        let rest = match (self.check, octets) {
            (2, [low, high, rest @ ..]) if [*low, *high] == wanted => {
                self.check = 0;
                rest
            }
            (2, [low]) if *low == wanted[0] => {
                self.check = 1;
                return (Event::Taken, &[]);
            }
            (1, [high, rest @ ..]) if *high == wanted[1] => {
                self.check = 0;
                rest
            }
            _ => return (Event::Wrong, &[]),
        };
        if !self.has_header() {
            self.kept = link::HEADER as u8;
            self.left = self.start[offset::LEN].saturating_sub(link::LEN_MIN);
            self.digest = 0;
        } else {
            let crc = u32::from(u16::from_le_bytes(wanted));
            self.digest = self.digest.rotate_left(5).wrapping_mul(DIGEST_FACTOR) ^ crc;
        }
        if self.left == 0 {
            return (Event::Frame, rest);
        }
        self.block = self.left.min(link::BLOCK);
        self.left = self.left.saturating_sub(self.block);
        self.crc = Crc::new();
        (Event::Taken, rest)
    }

    /// Keeps the octets that say what a rule asks for.
    fn keep(&mut self, data: &[u8]) {
        let room = self.start.iter_mut().skip(usize::from(self.kept));
        for (place, octet) in room.zip(data) {
            *place = *octet;
            self.kept = self.kept.saturating_add(1);
        }
    }
}

/// Whether a valid frame can begin with these octets, its CRCs aside.
#[inline(always)]
fn may_begin_frame(start: &[u8]) -> bool {
    let begins = start
        .iter()
        .zip(&link::START)
        .all(|(octet, wanted)| octet == wanted);
    let Some(len) = start.get(offset::LEN).copied() else {
        return begins;
    };
    begins
        && link::len_is_possible(len)
        && start
            .get(offset::CONTROL)
            .is_none_or(|control| link::agree(len, Control(*control)))
        // A first segment needs room for its function code: else the receiver would find it in the
        // next frame.
        && (len >= link::LEN_MIN_FIRST
            || start
                .get(offset::TRANSPORT)
                .is_none_or(|transport| transport & link::TRANSPORT_FIR == 0))
}

/// Why octets that a walk found [`Event::Wrong`] are no valid frame.
#[cfg(feature = "text")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They do not begin with the start octets.
    Start,
    /// LEN is one that no frame has.
    Len(u8),
    /// The header's CRC is wrong.
    HeaderCrc,
    /// The standard does not define the control octet.
    Control(Control),
    /// LEN says that there is no user data, and the control octet that there is.
    WithoutData(Control),
    /// LEN says that there is user data, and the control octet that there is none.
    WithData(Control),
    /// A first segment (FIR=1) without the function code that it is for.
    NoFunction,
    /// The CRC of this block of user data is wrong; the first is 0.
    BlockCrc(u8),
}

/// Why no valid frame begins with these octets, or `None` where one may. It is for people: a
/// [`Walk`] judges. A wrong header CRC comes before what the header says.
#[cfg(feature = "text")]
pub fn fault(octets: &[u8]) -> Option<Fault> {
    if octets.iter().zip(&link::START).any(|(a, b)| a != b) {
        return Some(Fault::Start);
    }
    let len = *octets.get(offset::LEN)?;
    if !link::len_is_possible(len) {
        return Some(Fault::Len(len));
    }
    let crc_is_right = |block: &[u8], crc: &[u8]| {
        let wanted = Crc::new().over(block).octets();
        crc.iter().zip(&wanted).all(|(a, b)| a == b)
    };
    if let Some((fields, crc)) = octets.split_at_checked(link::HEADER_FIELDS) {
        if !crc_is_right(fields, crc.get(..2).unwrap_or(crc)) {
            return Some(Fault::HeaderCrc);
        }
    }
    let control = Control(*octets.get(offset::CONTROL)?);
    if !control.is_defined() {
        return Some(Fault::Control(control));
    }
    if !link::agree(len, control) {
        return Some(if control.is_user_data() {
            Fault::WithoutData(control)
        } else {
            Fault::WithData(control)
        });
    }
    let transport = octets.get(offset::TRANSPORT);
    if len != link::LEN_MIN
        && len < link::LEN_MIN_FIRST
        && transport.is_some_and(|transport| transport & link::TRANSPORT_FIR != 0)
    {
        return Some(Fault::NoFunction);
    }
    let mut left = usize::from(len.saturating_sub(link::LEN_MIN));
    let mut rest = octets.get(link::HEADER..)?;
    let mut number = 0u8;
    while left != 0 {
        let size = left.min(usize::from(link::BLOCK));
        let (block, behind) = rest.split_at_checked(size)?;
        if !crc_is_right(block, behind.get(..2).unwrap_or(behind)) {
            return Some(Fault::BlockCrc(number));
        }
        rest = behind.get(2..)?;
        left = left.saturating_sub(size);
        number = number.saturating_add(1);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A confirmed READ of dnp3.md.
    const READ: [u8; 27] = [
        0x05, 0x64, 0x14, 0xF3, 0x01, 0x00, 0x00, 0x04, 0x0A, 0x3B, 0xC0, 0xC3, 0x01, 0x3C, 0x02,
        0x06, 0x3C, 0x03, 0x06, 0x3C, 0x04, 0x06, 0x3C, 0x01, 0x06, 0x9A, 0x12,
    ];
    const REQUEST_LINK_STATUS: [u8; 10] =
        [0x05, 0x64, 0x05, 0xC9, 0x01, 0x00, 0x00, 0x04, 0xA6, 0x57];

    /// The events of a walk over octets that come in pieces of `size`, without [`Event::Taken`].
    fn events(octets: &[u8], size: usize, mut tell: impl FnMut(Event, Seen)) -> Walk {
        let mut walk = Walk::new();
        for piece in octets.chunks(size) {
            let mut rest = piece;
            while !rest.is_empty() {
                let (event, behind) = walk.step(rest);
                rest = behind;
                match event {
                    Event::Taken => assert!(rest.is_empty()),
                    _ => tell(event, walk.seen()),
                }
            }
        }
        walk
    }

    #[test]
    fn a_frame_is_cut_alike_in_pieces_of_any_size() {
        for size in 1..=READ.len() {
            let mut count = 0;
            let walk = events(&READ, size, |event, seen| {
                count += 1;
                if count == 1 {
                    assert_eq!((event, seen.class), (Event::Addressed, None));
                    return;
                }
                assert_eq!(event, Event::Frame);
                assert_eq!(
                    seen,
                    Seen {
                        control: Some(Control(0xF3)),
                        destination: Some(1),
                        source: Some(1024),
                        class: Some(Class::Function(1)),
                    }
                );
            });
            assert_eq!(count, 2);
            assert!(walk.at_boundary());
        }
    }

    #[test]
    fn frames_follow_each_other() {
        let mut classes = [None; 3];
        let mut count = 0;
        let mut stream = [0u8; 47];
        stream[..10].copy_from_slice(&REQUEST_LINK_STATUS);
        stream[10..37].copy_from_slice(&READ);
        stream[37..].copy_from_slice(&REQUEST_LINK_STATUS);
        let walk = events(&stream, 7, |event, seen| {
            if event == Event::Frame {
                classes[count] = seen.class;
                count += 1;
            }
        });
        assert_eq!(
            classes,
            [
                Some(Class::Link),
                Some(Class::Function(1)),
                Some(Class::Link)
            ]
        );
        assert!(walk.at_boundary());
    }

    #[test]
    fn every_truncation_ends_inside_the_frame() {
        for end in 1..READ.len() {
            let walk = events(&READ[..end], READ.len(), |event, _| {
                assert_eq!(event, Event::Addressed)
            });
            assert!(!walk.at_boundary(), "{end} octets");
            assert_eq!(walk.octets_come(), end as u32);
        }
    }

    #[test]
    fn every_wrong_octet_is_found() {
        for at in 0..READ.len() {
            let mut octets = READ;
            octets[at] ^= 0x10;
            // In pieces too, so that a CRC may come in two of them.
            for size in 1..=READ.len() {
                let mut wrong = false;
                events(&octets, size, |event, _| {
                    wrong |= event == Event::Wrong;
                    assert!(wrong || event != Event::Frame, "octet {at}");
                });
                assert!(wrong, "octet {at}, {size} at a time");
            }
            #[cfg(feature = "text")]
            assert!(fault(&octets).is_some(), "octet {at}");
        }
    }

    #[test]
    fn frames_that_differ_in_a_block_have_different_digests() {
        // Two blocks of user data.
        let header = [0x05, 0x64, 0x19, 0xC4, 0x01, 0x00, 0x00, 0x04];
        let data = [0x40; 20];
        for at in 0..data.len() {
            let mut digests: [u32; 256] = core::array::from_fn(|octet| {
                let mut data = data;
                data[at] = octet as u8;
                let mut walk = Walk::new();
                let mut last = Event::Taken;
                for block in [&header[..], &data[..16], &data[16..]] {
                    for part in [block, &Crc::new().over(block).octets()] {
                        let mut rest = part;
                        while !rest.is_empty() {
                            (last, rest) = walk.step(rest);
                        }
                    }
                }
                assert_eq!(last, Event::Frame, "octet {at} is {octet:#04X}");
                walk.digest()
            });
            digests.sort_unstable();
            assert!(
                digests.windows(2).all(|two| two[0] != two[1]),
                "octet {at} of the user data"
            );
        }
    }

    #[test]
    fn a_first_segment_without_a_function_code_is_wrong() {
        // Attack 7 of dnp3.md: the function code comes in the next frame.
        let short = [
            0x05, 0x64, 0x07, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x46, 0x8B, 0x40, 0xC0, 0x36, 0xA1,
        ];
        let mut last = Event::Taken;
        events(&short[..11], 11, |event, _| last = event);
        assert_eq!(last, Event::Wrong);
    }

    /// The reason agrees with the walk, whatever is changed and wherever the octets end.
    #[cfg(feature = "text")]
    #[test]
    fn there_is_a_reason_where_a_walk_finds_a_frame_wrong_and_nowhere_else() {
        // The shortest first segment, and the shortest of all.
        const RESTART: [u8; 15] = [
            0x05, 0x64, 0x08, 0xC4, 0x01, 0x00, 0x00, 0x04, 0xA4, 0xCF, 0xC0, 0xC0, 0x0D, 0x9C,
            0x86,
        ];
        const CONTINUATION: [u8; 14] = [
            0x05, 0x64, 0x07, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x46, 0x8B, 0x81, 0x00, 0x9E, 0x4F,
        ];
        for (frame, at) in [&READ[..], &RESTART, &CONTINUATION]
            .into_iter()
            .flat_map(|frame| (0..frame.len()).map(move |at| (frame, at)))
        {
            for octet in 0..=255 {
                let mut octets = [0; READ.len()];
                let octets = &mut octets[..frame.len()];
                octets.copy_from_slice(frame);
                octets[at] = octet;
                for end in 1..=frame.len() {
                    let octets = &octets[..end];
                    let mut walk = Walk::new();
                    let mut rest = octets;
                    let mut wrong = false;
                    let mut frame = false;
                    while !rest.is_empty() && !wrong && !frame {
                        let (event, behind) = walk.step(rest);
                        rest = behind;
                        wrong = event == Event::Wrong;
                        frame = event == Event::Frame;
                    }
                    assert_eq!(fault(octets).is_some(), wrong, "{octets:02X?}");
                }
            }
        }
        for (octets, reason) in [
            (&[0x05, 0x65][..], Fault::Start),
            (&[0x05, 0x64, 0x04], Fault::Len(4)),
            (&[0x05, 0x64, 0x06], Fault::Len(6)),
            (&[0x05, 0x64, 0x05, 0xC1], Fault::Control(Control(0xC1))),
            (&[0x05, 0x64, 0x05, 0xC4], Fault::WithoutData(Control(0xC4))),
            (&[0x05, 0x64, 0x08, 0xC9], Fault::WithData(Control(0xC9))),
            (
                &[
                    0x05, 0x64, 0x07, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x46, 0x8B, 0x40,
                ],
                Fault::NoFunction,
            ),
        ] {
            assert_eq!(fault(octets), Some(reason), "{octets:02X?}");
        }
        let mut header = READ;
        header[8] ^= 1;
        assert_eq!(fault(&header), Some(Fault::HeaderCrc));
        let mut block = READ;
        block[20] ^= 1;
        assert_eq!(fault(&block), Some(Fault::BlockCrc(0)));
    }
}
