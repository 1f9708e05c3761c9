// SPDX-License-Identifier: GPL-2.0

//! The naive judge: the same question as `dnp3_core::judge`, answered the slow and obvious way.
//!
//! Written from the description of the rule language alone, not from `core`, with which it shares
//! the data types of the interface and nothing that decides. It holds whole payloads, builds whole
//! frames, looks at every offset, and can be read beside the description sentence by sentence.
//! Where the description left a choice, the comment says `Choice`.

use crate::frames;
use dnp3_core::rule::{class, dir, frames as reading, option, status, Range};
use dnp3_core::{Fragment, Headers, Packet, Rule, Verdict};

const TCP: u8 = 6;
const UDP: u8 = 17;
const TCP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const TCP_URG: u8 = 0x20;

/// Headers in one piece after which P cannot be ruled out.
pub const MAX_HEADERS: usize = 1024;

/// What a piece is, from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// No payload.
    None,
    /// Valid frames and nothing else.
    Valid,
    /// Valid frames and then the beginning of one (TCP).
    Partial,
    /// Everything else.
    Malformed,
}

impl Status {
    /// Its bit in [`Rule::status`].
    pub fn bit(self) -> u8 {
        match self {
            Status::None => status::NONE,
            Status::Valid => status::VALID,
            Status::Partial => status::PARTIAL,
            Status::Malformed => status::MALFORMED,
        }
    }
}

/// What is judged as one: a TCP payload, or that of one UDP datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The octets.
    pub payload: Vec<u8>,
    /// What they are.
    pub status: Status,
    /// URG is set: nothing can be ruled out.
    pub urgent: bool,
}

/// A packet, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Anatomy {
    /// Never a match.
    Never,
    /// Dropped on the spot.
    HotDrop,
    /// At least one piece to judge; several only for UDP datagrams in one packet.
    Pieces(Vec<Piece>),
}

/// One possible class of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Its function code.
    Function(u8),
    /// A continuation segment.
    Cont,
    /// No user data.
    Link,
}

/// What is seen of what may be a header. `None` is what is not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The first octet's place in the payload.
    pub offset: usize,
    /// LEN.
    pub len: Option<u8>,
    /// The control octet.
    pub control: Option<u8>,
    /// The destination, both octets of it.
    pub destination: Option<u16>,
    /// The source, both octets of it.
    pub source: Option<u16>,
    /// The transport octet.
    pub transport: Option<u8>,
    /// What stands where a FIR segment has its function code.
    pub function: Option<u8>,
}

/// Does this rule match this packet?
pub fn judge(rule: &Rule, packet: &dyn Packet, headers: &Headers) -> Verdict {
    judge_apart(rule, &take_apart(packet, headers))
}

/// Does this rule match the packet that was taken apart?
pub fn judge_apart(rule: &Rule, anatomy: &Anatomy) -> Verdict {
    let pieces = match anatomy {
        Anatomy::Never => return Verdict::NoMatch,
        Anatomy::HotDrop => return Verdict::HotDrop,
        Anatomy::Pieces(pieces) => pieces,
    };
    let matches = if !has_frame_test(rule) {
        // The status of several datagrams together is the worst of theirs.
        pieces
            .iter()
            .map(|piece| piece.status)
            .max()
            .is_some_and(|worst| status_admits(rule, worst))
    } else if rule.frames == reading::ANY {
        pieces.iter().any(|piece| piece_matches(rule, piece))
    } else {
        pieces.iter().all(|piece| piece_matches(rule, piece))
    };
    if matches {
        Verdict::Match
    } else {
        Verdict::NoMatch
    }
}

/// Finds the payload, cuts it into pieces, and gives each its status.
pub fn take_apart(packet: &dyn Packet, headers: &Headers) -> Anatomy {
    let is_tcp = headers.protocol == TCP;
    if !is_tcp && headers.protocol != UDP {
        return Anatomy::Never;
    }
    if headers.fragment == Fragment::Later {
        return Anatomy::Never;
    }
    let mut octets = vec![0; packet.len() as usize];
    assert!(packet.copy(0, &mut octets), "a packet has what it says");
    octets.truncate(headers.end as usize);
    // What lies beyond the end is a header without a single octet.
    let transport = octets
        .get(headers.transport as usize..)
        .unwrap_or_default()
        .to_vec();

    if is_tcp {
        if transport.len() < TCP_HEADER {
            return Anatomy::HotDrop;
        }
        let header = usize::from(transport[12] >> 4) * 4;
        if header < TCP_HEADER || header > transport.len() {
            return Anatomy::HotDrop;
        }
        let urgent = transport[13] & TCP_URG != 0;
        let payload = transport[header..].to_vec();
        let status = if urgent || headers.fragment == Fragment::First {
            Status::Malformed
        } else {
            tcp_status(&payload)
        };
        return Anatomy::Pieces(vec![Piece {
            payload,
            status,
            urgent,
        }]);
    }

    if transport.len() < UDP_HEADER {
        return Anatomy::Never;
    }
    let length = usize::from(u16::from_be_bytes([transport[4], transport[5]]));
    // Choice: a wrong length is malformed without payload as well, like URG and a first fragment.
    // Choice: several datagrams in one packet have one header, whose length is that of them all.
    let wrong = length != transport.len() || headers.fragment == Fragment::First;
    let payload = &transport[UDP_HEADER..];
    let datagrams: Vec<Vec<u8>> = if headers.udp_segment == 0 || payload.is_empty() {
        vec![payload.to_vec()]
    } else {
        payload
            .chunks(usize::from(headers.udp_segment))
            .map(<[u8]>::to_vec)
            .collect()
    };
    Anatomy::Pieces(
        datagrams
            .into_iter()
            .map(|payload| Piece {
                status: if wrong {
                    Status::Malformed
                } else {
                    udp_status(&payload)
                },
                payload,
                urgent: false,
            })
            .collect(),
    )
}

/// The status of a TCP payload without URG.
pub fn tcp_status(payload: &[u8]) -> Status {
    let (frames, rest) = cut(payload);
    if payload.is_empty() {
        Status::None
    } else if rest.is_empty() && !frames.is_empty() {
        Status::Valid
    } else if begins_a_valid_frame(rest) {
        Status::Partial
    } else {
        Status::Malformed
    }
}

/// The status of a UDP datagram of the right length.
pub fn udp_status(payload: &[u8]) -> Status {
    match tcp_status(payload) {
        Status::Partial => Status::Malformed,
        other => other,
    }
}

/// Cuts valid frames off the front, as many as there are; and what is left.
pub fn cut(payload: &[u8]) -> (Vec<Vec<u8>>, &[u8]) {
    let mut frames = Vec::new();
    let mut rest = payload;
    // A frame is valid at exactly one length.
    while let Some(size) = size_of_frame(rest).filter(|&size| is_valid_frame(&rest[..size])) {
        frames.push(rest[..size].to_vec());
        rest = &rest[size..];
    }
    (frames, rest)
}

/// The octets of the frame that LEN announces, if they are all there.
fn size_of_frame(octets: &[u8]) -> Option<usize> {
    let size = frames::wire_len(*octets.get(2)?);
    (octets.len() >= size).then_some(size)
}

/// The five conditions; `frame` is as long as its LEN says.
pub fn is_valid_frame(frame: &[u8]) -> bool {
    let Some(header) = frame.get(..10) else {
        return false;
    };
    let (len, control) = (header[2], header[3]);
    // 1. The start, LEN and the header's CRC.
    if header[0] != 0x05 || header[1] != 0x64 || len < 5 || !ends_in_its_crc(header) {
        return false;
    }
    // 2. The control octet.
    if !is_defined(control) {
        return false;
    }
    // 3. User data, if and only if the control octet says so.
    let user_data_len = usize::from(len) - 5;
    if (user_data_len > 0) != is_user_data(control) {
        return false;
    }
    // 4. The CRC of every data block.
    let mut blocks = frame[10..].chunks(16 + 2);
    if !blocks.all(ends_in_its_crc) {
        return false;
    }
    // 5. The transport octet and one octet more, with FIR two more.
    if user_data_len > 0 {
        let fir = frame[10] & 0x40 != 0;
        let least = if fir { 3 } else { 2 };
        if user_data_len < least {
            return false;
        }
    }
    true
}

fn ends_in_its_crc(octets: &[u8]) -> bool {
    octets.len() > 2 && frames::with_crc(&octets[..octets.len() - 2]) == octets
}

/// Whether the standard defines this control octet.
pub fn is_defined(control: u8) -> bool {
    let prm = control & 0x40 != 0;
    let fcb = control & 0x20 != 0;
    let fcv = control & 0x10 != 0;
    match (prm, control & 0x0F) {
        (true, 2 | 3) => fcv,
        (true, 0 | 4 | 9) => !fcv,
        (false, 0 | 1 | 11 | 15) => !fcb,
        _ => false,
    }
}

/// Whether this is a defined control octet of a frame with user data.
pub fn is_user_data(control: u8) -> bool {
    is_defined(control) && control & 0x40 != 0 && matches!(control & 0x0F, 3 | 4)
}

/// Whether a valid frame exists that begins with these octets, which are not all of it.
///
/// It is enough to try one completion for each way to go on: what is not seen can be chosen, a CRC
/// that is not seen can be made right, and nothing that is not seen makes what is seen wrong but
/// the control octet (whether there is user data) and the transport octet (FIR needs more of it).
pub fn begins_a_valid_frame(rest: &[u8]) -> bool {
    let len = rest.get(2).copied();
    let control = rest.get(3).copied();
    let octet = |at: usize| rest.get(at).copied().unwrap_or(0);
    for len in len.map_or(vec![5, 8], |len| vec![len]) {
        if len < 5 {
            continue;
        }
        // The user data that is seen, without CRCs; zero (and so no FIR) where it is not seen.
        let user_data: Vec<u8> = (0..usize::from(len) - 5)
            .map(|at| octet(10 + at / 16 * 18 + at % 16))
            .collect();
        for control in control.map_or(vec![0xC0, 0xC4], |control| vec![control]) {
            let destination = u16::from_le_bytes([octet(4), octet(5)]);
            let source = u16::from_le_bytes([octet(6), octet(7)]);
            let whole = frames::frame(control, destination, source, &user_data);
            if is_valid_frame(&whole) && whole.len() > rest.len() && whole.starts_with(rest) {
                return true;
            }
        }
    }
    false
}

/// Everything in a payload that may be a header, by octet offset.
pub fn candidates(payload: &[u8]) -> Vec<Candidate> {
    (0..payload.len())
        .filter_map(|offset| candidate(payload, offset))
        .collect()
}

/// What may be a header at this offset: `05`, `64`, LEN, CRC, each as far as the payload goes.
fn candidate(payload: &[u8], offset: usize) -> Option<Candidate> {
    let octet = |at: usize| payload.get(offset + at).copied();
    if octet(0) != Some(0x05) {
        return None;
    }
    if octet(1).is_some_and(|octet| octet != 0x64) {
        return None;
    }
    if octet(2).is_some_and(|len| len < 5) {
        return None;
    }
    if payload.len() > offset + 8 {
        let right = frames::crc(&payload[offset..offset + 8]).to_le_bytes();
        if octet(8).is_some_and(|octet| octet != right[0]) {
            return None;
        }
        if octet(9).is_some_and(|octet| octet != right[1]) {
            return None;
        }
    }
    // Half an address counts as not seen.
    let address = |at: usize| Some(u16::from_le_bytes([octet(at)?, octet(at + 1)?]));
    Some(Candidate {
        offset,
        len: octet(2),
        control: octet(3),
        destination: address(4),
        source: address(6),
        transport: octet(10),
        function: octet(12),
    })
}

impl Candidate {
    /// The classes that this may be of; `None` for any class at all.
    pub fn classes(&self) -> Option<Vec<Class>> {
        let len = self.len?;
        if len == 5 {
            return Some(vec![Class::Link]);
        }
        let by_fir = if self.transport? & 0x40 == 0 {
            Class::Cont
        } else if len < 8 {
            return None;
        } else {
            Class::Function(self.function?)
        };
        if is_user_data(self.control?) {
            Some(vec![by_fir])
        } else {
            Some(vec![by_fir, Class::Link])
        }
    }
}

/// Whether any of `--saddr --daddr --fc --dir --frames` is given, or no `--status` is.
pub fn has_frame_test(rule: &Rule) -> bool {
    let given = |option| rule.set & option != 0;
    given(option::SADDR)
        || given(option::DADDR)
        || given(option::FC)
        || given(option::DIR)
        || given(option::FRAMES)
        || !given(option::STATUS)
}

/// `--status` and the frame test, of one piece.
fn piece_matches(rule: &Rule, piece: &Piece) -> bool {
    status_admits(rule, piece.status)
        && match rule.frames {
            reading::ANY => some_frame_may_be_p(rule, piece),
            _ => surely_every_frame_is_p(rule, piece),
        }
}

fn status_admits(rule: &Rule, status: Status) -> bool {
    rule.set & option::STATUS == 0
        || (rule.status & status.bit() != 0) != (rule.invert & option::STATUS != 0)
}

fn surely_every_frame_is_p(rule: &Rule, piece: &Piece) -> bool {
    piece.status == Status::Valid
        && cut(&piece.payload)
            .0
            .iter()
            .all(|frame| p(rule, frame, false))
}

fn some_frame_may_be_p(rule: &Rule, piece: &Piece) -> bool {
    match piece.status {
        Status::None => false,
        Status::Valid => cut(&piece.payload)
            .0
            .iter()
            .any(|frame| p(rule, frame, true)),
        Status::Partial | Status::Malformed => {
            let candidates = candidates(&piece.payload);
            piece.urgent
                || candidates.len() > MAX_HEADERS
                || candidates.iter().any(|seen| not_contradicted(rule, seen))
        }
    }
}

/// P of a valid frame.
fn p(rule: &Rule, frame: &[u8], any: bool) -> bool {
    let class = if frame.len() == 10 {
        Class::Link
    } else if frame[10] & 0x40 == 0 {
        Class::Cont
    } else {
        Class::Function(frame[12])
    };
    let destination = u16::from_le_bytes([frame[4], frame[5]]);
    let source = u16::from_le_bytes([frame[6], frame[7]]);
    admits(rule, frame[3], destination, source, class, any)
}

/// P of a frame of which all is known, in the reading of `any` or of `only`.
pub fn admits(
    rule: &Rule,
    control: u8,
    destination: u16,
    source: u16,
    class: Class,
    any: bool,
) -> bool {
    dir_admits(rule, control)
        && daddr_admits(rule, destination, any)
        && saddr_admits(rule, source)
        && fc_admits(rule, class)
}

/// Whether what is seen of a header leaves P possible.
pub fn not_contradicted(rule: &Rule, seen: &Candidate) -> bool {
    seen.control.is_none_or(|control| dir_admits(rule, control))
        && seen
            .destination
            .is_none_or(|address| daddr_admits(rule, address, true))
        && seen
            .source
            .is_none_or(|address| saddr_admits(rule, address))
        && seen
            .classes()
            .is_none_or(|classes| classes.iter().any(|&class| fc_admits(rule, class)))
}

/// An option that is not given admits everything; `!` inverts its whole list.
fn option_admits(rule: &Rule, option: u16, in_list: bool) -> bool {
    rule.set & option == 0 || in_list != (rule.invert & option != 0)
}

fn in_ranges(count: u8, ranges: &[Range], address: u16) -> bool {
    ranges[..usize::from(count)]
        .iter()
        .any(|range| range.min <= address && address <= range.max)
}

fn saddr_admits(rule: &Rule, source: u16) -> bool {
    let in_list = in_ranges(rule.saddr_count, &rule.saddr, source);
    option_admits(rule, option::SADDR, in_list)
}

fn daddr_admits(rule: &Rule, destination: u16, any: bool) -> bool {
    let in_list = in_ranges(rule.daddr_count, &rule.daddr, destination);
    if rule.set & option::DADDR != 0 && destination >= 65532 && !in_list {
        // Self-address and broadcast reach stations that the rule does not name.
        return any;
    }
    option_admits(rule, option::DADDR, in_list)
}

fn dir_admits(rule: &Rule, control: u8) -> bool {
    let from_master = control & 0x80 != 0;
    option_admits(rule, option::DIR, from_master == (rule.dir == dir::MASTER))
}

fn fc_admits(rule: &Rule, class: Class) -> bool {
    let in_list = match class {
        Class::Function(code) => rule.fc[usize::from(code) / 32] >> (code % 32) & 1 != 0,
        Class::Cont => rule.classes & class::CONT != 0,
        Class::Link => rule.classes & class::LINK != 0,
    };
    option_admits(rule, option::FC, in_list)
}
