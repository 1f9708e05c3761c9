// SPDX-License-Identifier: GPL-2.0

//! Models of receivers: what stations make of the octets that a filter let through. Written from
//! the standard and from what implementations do, without `core`.
//!
//! ```text
//! segments --[ Tcp ]--> octets --[ Receiver ]--> frames --[ Station ]--> executed functions
//! ```
//!
//! All conforming receivers cut a stream of valid frames alike. Where a frame is wrong they part:
//! [`Recovery`] says how each goes on. What they deliver is compared with what a rule judged.

use crate::frames;
use crate::naive::{self, Class};
use dnp3_core::rule::option;
use dnp3_core::Rule;

const START: [u8; 2] = [0x05, 0x64];
const LEN_MIN: u8 = 5;
const FIN: u8 = 0x80;
const FIR: u8 = 0x40;
const SEQUENCE: u8 = 0x3F;
/// Self-address, and behind it the broadcast addresses.
const SELF: u16 = 65532;
/// Most octets of a fragment: the standard's least, and what most stations take.
const FRAGMENT: usize = 2048;

/// A link frame as a receiver delivers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its first octet's place in all that the receiver was given.
    pub from: u64,
    /// Its octets, CRCs included.
    pub size: usize,
    /// The control octet.
    pub control: u8,
    /// The destination.
    pub destination: u16,
    /// The source.
    pub source: u16,
    /// The user data, without CRCs.
    pub user_data: Vec<u8>,
}

impl Frame {
    /// The frame that these octets are, which are as many as its LEN says.
    fn of(from: u64, octets: &[u8]) -> Frame {
        let (header, blocks) = octets.split_at(frames::HEADER);
        Frame {
            from,
            size: octets.len(),
            control: header[3],
            destination: u16::from_le_bytes([header[4], header[5]]),
            source: u16::from_le_bytes([header[6], header[7]]),
            user_data: blocks
                .chunks(frames::BLOCK + 2)
                .flat_map(|block| &block[..block.len() - 2])
                .copied()
                .collect(),
        }
    }

    /// The transport octet, if there is user data.
    pub fn transport(&self) -> Option<u8> {
        self.user_data.first().copied()
    }

    /// Whether it is the first segment of a fragment.
    pub fn is_first(&self) -> bool {
        self.transport().is_some_and(|octet| octet & FIR != 0)
    }

    /// The function code, if it is a first segment that has one.
    pub fn function(&self) -> Option<u8> {
        if self.is_first() {
            self.user_data.get(2).copied()
        } else {
            None
        }
    }

    /// What a receiver may take it for. More than one where the control octet is not that of user data,
    /// and there is some all the same; every function where the code comes in the next segment.
    pub fn classes(&self) -> Vec<Class> {
        let mut classes = match (self.transport(), self.function()) {
            (None, _) => return vec![Class::Link],
            (Some(_), Some(code)) => vec![Class::Function(code)],
            (Some(_), None) if self.is_first() => (0..=255).map(Class::Function).collect(),
            (Some(_), None) => vec![Class::Cont],
        };
        if !naive::is_user_data(self.control) {
            classes.push(Class::Link);
        }
        classes
    }

    /// P of this frame, as a receiver may take it. With `any`: whether there is a way that
    /// satisfies P; else whether there is none that does not.
    pub fn satisfies(&self, rule: &Rule, any: bool) -> bool {
        let satisfies = |class| {
            naive::admits(
                rule,
                self.control,
                self.destination,
                self.source,
                class,
                any,
            )
        };
        if any {
            self.classes().into_iter().any(satisfies)
        } else {
            self.classes().into_iter().all(satisfies)
        }
    }
}

/// How a receiver goes on when what stands at a start is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// It holds the frame, goes back to the octet behind the frame's first, and searches again from
    /// there, so that it finds frames inside: opendnp3 and others.
    NextOctet,
    /// It holds nothing back, and searches from the octet behind the wrong one: a state machine
    /// that is fed octet by octet.
    NextStart,
    /// It passes over all that LEN claims, where the header is right, and else over the header; then it
    /// searches.
    PastFrame,
    /// It closes the connection at the first wrong octet, one before a start too.
    Close,
}

impl Recovery {
    /// All of them.
    pub const ALL: [Recovery; 4] = [
        Recovery::NextOctet,
        Recovery::NextStart,
        Recovery::PastFrame,
        Recovery::Close,
    ];
}

/// The link layer of a station: octets in, frames out.
///
/// It wants the start octets, LEN of 5 and more, and right CRCs. A strict one also refuses, as opendnp3
/// does, control octets that the standard does not define, and user data where the control octet
/// says otherwise; one that is not strict delivers those too.
///
/// ```
/// use dnp3_tests::receivers::{Receiver, Recovery};
/// use dnp3_tests::vectors::{FRAME_IN_FRAME, INNER};
///
/// let mut receiver = Receiver::new(Recovery::NextOctet, true);
/// let frames = receiver.take(FRAME_IN_FRAME);
/// assert_eq!(frames.len(), 1);
/// assert_eq!((frames[0].from, frames[0].function()), (INNER.start as u64, Some(13)));
/// ```
#[derive(Clone, Debug)]
pub struct Receiver {
    recovery: Recovery,
    strict: bool,
    /// Octets that were taken and may yet belong to a frame. They begin at a start, as far as it goes.
    held: Vec<u8>,
    /// Octets before those.
    passed: u64,
    /// Octets still to pass over.
    skip: usize,
    closed: bool,
}

/// What stands at a start.
enum Look {
    /// It cannot be told yet.
    More,
    /// A frame of this size.
    Frame(usize),
    /// None.
    Wrong {
        /// Octets up to the wrong one, and this one too.
        seen: usize,
        /// Octets that it claims to have.
        claimed: usize,
    },
}

impl Receiver {
    /// One that has been given nothing.
    pub fn new(recovery: Recovery, strict: bool) -> Receiver {
        Receiver {
            recovery,
            strict,
            held: Vec::new(),
            passed: 0,
            skip: 0,
            closed: false,
        }
    }

    /// Every kind of them: each recovery, strict and not.
    pub fn all() -> Vec<Receiver> {
        Recovery::ALL
            .into_iter()
            .flat_map(|recovery| [true, false].map(|strict| Receiver::new(recovery, strict)))
            .collect()
    }

    /// How it goes on behind a wrong frame.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Whether nothing that it was given bears on what comes: it holds no beginning of a frame, and
    /// has nothing to pass over.
    pub fn at_boundary(&self) -> bool {
        self.held.is_empty() && self.skip == 0 && !self.closed
    }

    /// Whether it closed the connection.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// How many octets it was given.
    pub fn taken(&self) -> u64 {
        self.passed + self.held.len() as u64
    }

    /// The next octets; the frames that are complete by their end.
    ///
    /// A wrong block counts as soon as it is there. A receiver that waits for the whole frame delivers
    /// the same frames, some of them later.
    pub fn take(&mut self, octets: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        self.held.extend_from_slice(octets);
        let mut at = 0;
        while at < self.held.len() {
            let rest = &self.held[at..];
            let search = before_start(rest);
            if self.closed {
                at = self.held.len();
            } else if self.skip > 0 {
                let passed = self.skip.min(rest.len());
                self.skip -= passed;
                at += passed;
            } else if search > 0 {
                self.closed = self.recovery == Recovery::Close;
                at += search;
            } else {
                match (self.look(rest), self.recovery) {
                    (Look::More, _) => break,
                    (Look::Frame(size), _) => {
                        frames.push(Frame::of(self.passed + at as u64, &rest[..size]));
                        at += size;
                    }
                    (Look::Wrong { .. }, Recovery::NextOctet) => at += 1,
                    (Look::Wrong { seen, .. }, Recovery::NextStart) => at += seen,
                    (Look::Wrong { claimed, .. }, Recovery::PastFrame) => self.skip = claimed,
                    (Look::Wrong { .. }, Recovery::Close) => self.closed = true,
                }
            }
        }
        self.held.drain(..at);
        self.passed += at as u64;
        frames
    }

    /// Looks at octets that begin at a start.
    fn look(&self, octets: &[u8]) -> Look {
        let Some(&len) = octets.get(2) else {
            return Look::More;
        };
        if len < LEN_MIN {
            return Look::Wrong {
                seen: 3,
                claimed: frames::HEADER,
            };
        }
        let Some((header, blocks)) = octets.split_at_checked(frames::HEADER) else {
            return Look::More;
        };
        if !ends_in_its_crc(header) {
            return Look::Wrong {
                seen: frames::HEADER,
                claimed: frames::HEADER,
            };
        }
        let size = frames::wire_len(len);
        let wrong = |seen| Look::Wrong {
            seen,
            claimed: size,
        };
        let control = header[3];
        if self.strict
            && (!naive::is_defined(control) || naive::is_user_data(control) != (len > LEN_MIN))
        {
            return wrong(frames::HEADER);
        }
        let mut seen = frames::HEADER;
        for block in blocks[..blocks.len().min(size - seen)].chunks(frames::BLOCK + 2) {
            seen += block.len();
            if seen < size && block.len() < frames::BLOCK + 2 {
                return Look::More;
            }
            if !ends_in_its_crc(block) {
                return wrong(seen);
            }
        }
        if seen < size {
            return Look::More;
        }
        Look::Frame(size)
    }
}

/// Octets before the first that may be a start: `05 64`, or a lone last `05`.
fn before_start(octets: &[u8]) -> usize {
    (0..octets.len())
        .find(|&at| {
            octets[at] == START[0] && octets.get(at + 1).is_none_or(|next| *next == START[1])
        })
        .unwrap_or(octets.len())
}

fn ends_in_its_crc(octets: &[u8]) -> bool {
    octets
        .split_last_chunk::<2>()
        .is_some_and(|(block, crc)| frames::crc(block).to_le_bytes() == *crc)
}

/// What a station executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The station.
    pub station: u16,
    /// The control octet of the message's first segment.
    pub control: u8,
    /// The destination: the station's address, self-address, or broadcast.
    pub destination: u16,
    /// The source.
    pub source: u16,
    /// The function code.
    pub function: u8,
    /// [`Frame::from`] of the message's first segment.
    pub from: u64,
}

impl Executed {
    /// Whether a rule allows it. With `any`: whether it may be what the rule means.
    ///
    /// What reaches a station by an address that it shares with others is allowed where the rule's
    /// list holds that address.
    pub fn satisfies(&self, rule: &Rule, any: bool) -> bool {
        let admits = |destination| {
            naive::admits(
                rule,
                self.control,
                destination,
                self.source,
                Class::Function(self.function),
                any,
            )
        };
        let shared_is_listed = rule.set & option::DADDR != 0
            && self.destination >= SELF
            && rule.daddr[..usize::from(rule.daddr_count)]
                .iter()
                .any(|range| (range.min..=range.max).contains(&self.destination));
        admits(self.destination) && (any || shared_is_listed || admits(self.station))
    }
}

/// A station: frames in, executed functions out.
///
/// It takes what goes to its own address, to self-address and to broadcast, from either side and
/// whatever the link's control octet wants by way of an answer: more than a real one, which
/// executes some of it. Segments are put together as the standard has it: FIR begins a
/// message and discards the one in progress; what is out of sequence, comes from another address or
/// follows no FIR is discarded; FIN ends it.
#[derive(Clone, Debug)]
pub struct Station {
    address: u16,
    /// Whether every segment begins a message, with FIR or without: what small simulators do.
    ignores_fir: bool,
    messages: Vec<Message>,
}

/// A message in progress.
#[derive(Clone, Debug)]
struct Message {
    source: u16,
    destination: u16,
    control: u8,
    from: u64,
    next: u8,
    fragment: Vec<u8>,
}

impl Station {
    /// The station of this address.
    pub fn new(address: u16) -> Station {
        Station {
            address,
            ignores_fir: false,
            messages: Vec::new(),
        }
    }

    /// The same, which does not look at FIR: no conforming receiver.
    pub fn that_ignores_fir(address: u16) -> Station {
        Station {
            ignores_fir: true,
            ..Station::new(address)
        }
    }

    /// A frame from the link layer; what it makes the station execute.
    pub fn take(&mut self, frame: &Frame) -> Option<Executed> {
        let (&transport, data) = frame.user_data.split_first()?;
        if frame.destination != self.address && frame.destination < SELF {
            return None;
        }
        // One message from each peer, as a station has one session with each of its masters.
        let at = self
            .messages
            .iter()
            .position(|message| message.source == frame.source);
        let begun = at.map(|at| self.messages.swap_remove(at));
        let mut message = match begun {
            _ if transport & FIR != 0 || self.ignores_fir => Message {
                source: frame.source,
                destination: frame.destination,
                control: frame.control,
                from: frame.from,
                next: transport & SEQUENCE,
                fragment: Vec::new(),
            },
            Some(message)
                if message.next == transport & SEQUENCE
                    && message.destination == frame.destination =>
            {
                message
            }
            // Out of sequence, or to another address: it waits for the right one.
            Some(message) => {
                self.messages.push(message);
                return None;
            }
            None => return None,
        };
        message.fragment.extend_from_slice(data);
        message.next = message.next.wrapping_add(1) & SEQUENCE;
        if message.fragment.len() > FRAGMENT {
            return None;
        }
        if transport & FIN == 0 {
            self.messages.push(message);
            return None;
        }
        // Behind the application control octet.
        let function = *message.fragment.get(1)?;
        Some(Executed {
            station: self.address,
            control: message.control,
            destination: message.destination,
            source: message.source,
            function,
            from: message.from,
        })
    }
}

/// The receiving end of a TCP connection: segments in, the octets of the stream out, in order.
///
/// It does what TCP says, whoever sends: what was received before is cut off, what is ahead
/// waits, and an urgent octet is taken out of the stream.
#[derive(Clone, Debug)]
pub struct Tcp {
    next: u32,
    waiting: Vec<(u32, Vec<u8>)>,
    urgent: Vec<u32>,
}

impl Tcp {
    /// A connection whose next octet has this sequence number.
    pub fn new(next: u32) -> Tcp {
        Tcp {
            next,
            waiting: Vec::new(),
            urgent: Vec::new(),
        }
    }

    /// The sequence number of the next octet.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// A segment, with the urgent pointer if URG is set. What the application can read now.
    pub fn segment(&mut self, sequence: u32, payload: &[u8], urgent: Option<u16>) -> Vec<u8> {
        if let Some(pointer) = urgent {
            // It points behind the urgent octet.
            let octet = sequence.wrapping_add(u32::from(pointer)).wrapping_sub(1);
            self.urgent.push(octet);
        }
        self.waiting.push((sequence, payload.to_vec()));
        let mut stream = Vec::new();
        let is_due = |next: u32, (sequence, payload): &(u32, Vec<u8>)| {
            let behind = next.wrapping_sub(*sequence) as usize;
            behind < payload.len() && behind < 1 << 31
        };
        while let Some(at) = self.waiting.iter().position(|one| is_due(self.next, one)) {
            let (sequence, payload) = self.waiting.swap_remove(at);
            for octet in &payload[self.next.wrapping_sub(sequence) as usize..] {
                if !self.urgent.contains(&self.next) {
                    stream.push(*octet);
                }
                self.next = self.next.wrapping_add(1);
            }
        }
        let next = self.next;
        self.waiting.retain(|(sequence, payload)| {
            // What lies behind `next` in full has no use any more.
            let end = sequence.wrapping_add(payload.len() as u32);
            (end.wrapping_sub(next) as i32) > 0
        });
        stream
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{frame, request};
    use crate::vectors::{
        CARRIER_B, COLD_RESTART, FRAME_IN_FRAME, INNER, READ, REQUEST_LINK_STATUS, SHORT_FIR_1,
        SHORT_FIR_2,
    };

    /// Where frames are found, and their functions.
    fn found(recovery: Recovery, strict: bool, octets: &[u8]) -> Vec<(u64, Option<u8>)> {
        let whole = Receiver::new(recovery, strict).take(octets);
        // However it is cut.
        for size in 1..octets.len() {
            let mut receiver = Receiver::new(recovery, strict);
            let pieces = octets.chunks(size);
            let frames: Vec<Frame> = pieces.flat_map(|piece| receiver.take(piece)).collect();
            assert_eq!(frames, whole, "{recovery:?} in pieces of {size}");
        }
        whole
            .into_iter()
            .map(|frame| (frame.from, frame.function()))
            .collect()
    }

    #[test]
    fn all_agree_on_valid_frames() {
        let stream = [READ, REQUEST_LINK_STATUS, CARRIER_B, COLD_RESTART].concat();
        for mut receiver in Receiver::all() {
            let frames = receiver.take(&stream);
            let functions: Vec<_> = frames.iter().map(Frame::function).collect();
            assert_eq!(functions, [Some(1), None, Some(1), Some(13)]);
            assert!(receiver.at_boundary());
            assert_eq!(receiver.taken(), stream.len() as u64);
        }
    }

    #[test]
    fn they_part_where_a_control_octet_is_not_defined() {
        let inner = INNER.start as u64;
        for (recovery, functions) in [
            (Recovery::NextOctet, &[(inner, Some(13))][..]),
            (Recovery::NextStart, &[(inner, Some(13))]),
            (Recovery::PastFrame, &[]),
            (Recovery::Close, &[]),
        ] {
            assert_eq!(found(recovery, true, FRAME_IN_FRAME), functions);
            assert_eq!(found(recovery, false, FRAME_IN_FRAME), [(0, Some(1))]);
        }
    }

    #[test]
    fn they_part_where_a_crc_is_wrong() {
        // A wrong octet in the carrier's first block, in its second, in its last; and another
        // frame behind.
        let stream = |at: usize| {
            let mut stream = [CARRIER_B, READ].concat();
            stream[at] ^= 1;
            stream
        };
        let (inner, read) = ((28, Some(13)), (45, Some(1)));
        for at in [14, 43] {
            let stream = stream(at);
            assert_eq!(found(Recovery::NextOctet, true, &stream), [inner, read]);
            assert_eq!(found(Recovery::PastFrame, true, &stream), [read]);
            assert_eq!(found(Recovery::Close, true, &stream), []);
        }
        assert_eq!(found(Recovery::NextStart, true, &stream(14)), [inner, read]);
        assert_eq!(found(Recovery::NextStart, true, &stream(43)), [read]);
        // A header whose LEN nobody can trust.
        for recovery in [
            Recovery::NextOctet,
            Recovery::NextStart,
            Recovery::PastFrame,
        ] {
            assert_eq!(found(recovery, true, &stream(2)), [inner, read]);
        }
    }

    #[test]
    fn a_start_may_begin_anywhere() {
        let stream = [&[0x05, 0x05, 0x64, 0x04, 0x05][..], COLD_RESTART].concat();
        for recovery in [Recovery::NextOctet, Recovery::NextStart] {
            assert_eq!(found(recovery, true, &stream), [(5, Some(13))]);
        }
        assert_eq!(found(Recovery::Close, true, &stream), []);
    }

    #[test]
    fn a_closed_connection_delivers_nothing() {
        let mut receiver = Receiver::new(Recovery::Close, true);
        assert_eq!(receiver.take(COLD_RESTART).len(), 1);
        assert_eq!(receiver.take(&[0]), []);
        assert!(receiver.is_closed() && !receiver.at_boundary());
        assert_eq!(receiver.take(COLD_RESTART), []);
        assert_eq!(receiver.taken(), 2 * COLD_RESTART.len() as u64 + 1);
    }

    fn functions(station: &mut Station, octets: &[u8]) -> Vec<u8> {
        let frames = Receiver::new(Recovery::NextOctet, true).take(octets);
        frames
            .iter()
            .filter_map(|frame| station.take(frame))
            .map(|executed| executed.function)
            .collect()
    }

    #[test]
    fn segments_become_messages() {
        let station = || Station::new(1);
        let executed = |segments: &[&[u8]]| {
            let stream: Vec<u8> = segments.iter().flat_map(|data| request(data)).collect();
            functions(&mut station(), &stream)
        };
        let (first, next, last) = (&[0x7F, 0xC0, 2][..], &[0x00, 13][..], &[0x81, 14][..]);
        assert_eq!(executed(&[first, next, last]), [2]);
        assert_eq!(executed(&[first, last, next, last]), [2], "out of sequence");
        assert_eq!(executed(&[first, next, next, last]), [2], "repeated");
        assert_eq!(executed(&[next, last]), [], "without FIR");
        assert_eq!(executed(&[first, first, next, last]), [2], "FIR again");
        assert_eq!(executed(&[first, &[0xC0, 0xC0, 1], next, last]), [1]);
        assert_eq!(executed(&[&[0xC0, 0xC0]]), [], "no function code");
        assert_eq!(
            functions(&mut station(), &[SHORT_FIR_1, SHORT_FIR_2].concat()),
            [13]
        );
        let from_another = frame(0xC4, 1, 1025, next);
        let stream = [request(first), from_another, request(last)].concat();
        assert_eq!(functions(&mut station(), &stream), []);
        let to_another = frame(0xC4, 65533, 1024, next);
        let stream = [request(first), to_another, request(last)].concat();
        assert_eq!(functions(&mut station(), &stream), []);
    }

    #[test]
    fn a_station_takes_what_reaches_it() {
        let restart = |destination| frame(0xC4, destination, 1024, &[0xC0, 0xC0, 13]);
        for (destination, executed) in [(1, 1), (2, 0), (65531, 0), (65532, 1), (65535, 1)] {
            let functions = functions(&mut Station::new(1), &restart(destination));
            assert_eq!(functions.len(), executed, "{destination}");
        }
        let cont = frame(0xC4, 1, 1024, &[0x80, 0xC0, 13]);
        assert_eq!(functions(&mut Station::new(1), &cont), []);
        assert_eq!(functions(&mut Station::that_ignores_fir(1), &cont), [13]);
    }

    #[test]
    fn tcp_puts_segments_in_order() {
        let mut tcp = Tcp::new(u32::MAX);
        assert_eq!(tcp.segment(u32::MAX, b"abc", None), b"abc");
        assert_eq!(tcp.next(), 2);
        assert_eq!(tcp.segment(u32::MAX, b"abc", None), b"", "repeated");
        assert_eq!(tcp.segment(4, b"fg", None), b"", "ahead");
        assert_eq!(tcp.segment(1, b"Cdef", None), b"defg", "overlap");
        assert_eq!(tcp.segment(6, b"", Some(2)), b"");
        assert_eq!(tcp.segment(6, b"hij", None), b"hj", "urgent");
        assert_eq!((tcp.next(), tcp.waiting.len()), (9, 0));
    }
}
