// SPDX-License-Identifier: GPL-2.0

//! Following a TCP connection: each packet judged as the next piece of its stream.
//!
//! What is known of a connection is its [`Connection`]: for each direction where the committed
//! octets end, where in a frame that is, and the last of the octets themselves. [`judge`] is a pure
//! function of that and of a packet; any number of rules may ask. [`Connection::commit`] takes a
//! packet that has passed all of them, once, and says whether it may still go on.
//!
//! Nothing is believed that a forger could say: an octet that was committed is that octet for good,
//! whatever is acknowledged, and a packet which overlaps it must repeat it. So it does not matter
//! which of several packets a receiver takes, drops, or never sees.
//!
//! Numbers of sequence are modulo 2^32, times are in seconds of any clock that only goes on, modulo
//! 2^32 as well. The memory for octets is the caller's: a ring for each direction, of any size.

mod kept;
mod message;
mod stream;

use crate::judge::Judgement;
use crate::packet::{Fragment, Headers, Packet, Verdict};
use crate::rule::Rule;
use crate::segment::{self, flag, Segment};
use stream::{Advanced, Passed, Stream};

pub use message::MAX_MESSAGES;
pub use stream::Scratch;

/// Octets of a direction that are kept at least while it is in use, where the memory allows. A fragment of
/// 2,048 octets, some 2,400 in frames, may come again whole when its acknowledgement was lost behind the
/// gateway.
pub const KEPT_AT_LEAST: u32 = 4096;

/// Octets of options that a TCP header has at most.
const MAX_OPTIONS: usize = 40;
/// The options of one octet.
const END: u8 = 0;
const NO_OPERATION: u8 = 1;

/// The direction of a packet, as the connection's first packet had it.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From who sent the first packet.
    Original = 0,
    /// The other.
    Reply = 1,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub fn other(self) -> Direction {
        match self {
            Direction::Original => Direction::Reply,
            Direction::Reply => Direction::Original,
        }
    }
}

/// What bounds the following of a connection.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Seconds for which a frame may be unfinished; past it the connection is not followed.
    pub frame_age: u32,
    /// Messages in progress in a direction, at most [`MAX_MESSAGES`]; segments of further ones are
    /// continuations of nothing.
    pub messages: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            frame_age: 15,
            messages: MAX_MESSAGES as u32,
        }
    }
}

/// How far a connection is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// A SYN has passed, and no SYN-ACK that agrees with it.
    #[default]
    Opening,
    /// Both streams are known, from their first octet on.
    Followed,
    /// A frame was unfinished for too long: no packet is judged by the streams any more. One that was
    /// before may still be under way to be committed, so that they are gone on with.
    Aged,
    /// Another handshake has made the streams void. Payload that comes to be committed was judged by
    /// them.
    Void,
    /// Not any more, and never again: octets were let through unjudged.
    Ended,
}

/// What is known of a connection.
///
/// It is followed once at most: who begins anew begins with another `Connection`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Connection {
    /// What tells it from every other, of all times.
    id: u64,
    /// The initial sequence number of the original direction.
    sequence: u32,
    /// That of the other, once followed.
    reply_sequence: u32,
    /// Where the SYN went out: no SYN-ACK is believed that comes in elsewhere.
    interface: u32,
    /// A SYN with another initial sequence number, and when it came: believed when it comes again and
    /// the connection was not used meanwhile.
    again: Option<(u32, u32)>,
    state: State,
    streams: [Stream; 2],
}

/// What a committed packet has done to a connection, and whether it may go on.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It goes on.
    Pass,
    /// It goes on, and the connection is followed from here.
    Followed,
    /// It goes on; a message in it found no room among those in progress.
    Crowded,
    /// It goes on, and the connection is not followed any more: it was let through unjudged and is not
    /// valid, or its octets have no place.
    Ended,
    /// It goes on, and the connection is not followed any more: it is a SYN or SYN-ACK with another
    /// initial sequence number, or one that has no place in a handshake of two.
    Voided,
    /// To be dropped: payload behind a hole.
    Ahead,
    /// To be dropped: payload that is not what was committed, or that lies before what is kept, behind
    /// the end that the sender named, or in streams that are void.
    Overlap,
    /// To be dropped, and the connection to be forgotten by all who know it: a SYN with another initial
    /// sequence number. The sender's next SYN finds nothing in its way.
    Renewed,
    /// To be dropped: a SYN-ACK that came in where the SYN did not go out, so that somebody else
    /// sent it.
    Strayed,
    /// To be dropped: a SYN with another initial sequence number, on a connection that may be in use.
    /// Anybody can send one; a sender that has begun anew sends it again.
    Doubted,
}

/// A packet that is committed, beside its octets.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The direction that it has.
    pub direction: Direction,
    /// What the IP layer says of it.
    pub headers: &'a Headers,
    /// The time.
    pub now: u32,
    /// Where it came in, by the interface's number; 0 for this host. `None` where that does not
    /// matter.
    pub came_in: Option<u32>,
    /// Where it goes out, in the same way.
    pub goes_out: u32,
}

/// A connection that a packet belongs to, to judge by.
pub struct Tracked<'a> {
    /// The connection.
    pub connection: &'a Connection,
    /// The packet's direction.
    pub direction: Direction,
    /// The memory of that direction.
    pub memory: &'a [u8],
    /// Room to judge in.
    pub scratch: &'a mut Scratch,
    /// The time.
    pub now: u32,
    /// What bounds it.
    pub limits: Limits,
}

/// Judges a TCP packet as the next piece of its connection's stream, by whatever rule.
///
/// `None` where the connection is not followed: then the packet is to be judged by itself, by
/// [`crate::judge()`].
pub fn judge(
    rule: &Rule,
    packet: &dyn Packet,
    headers: &Headers,
    tracked: &mut Tracked<'_>,
) -> Option<Verdict> {
    let connection = tracked.connection;
    // It may be followed by the time that the next rule asks: what this one says of payload has to
    // hold for it as well.
    let opens = connection.state == State::Opening;
    let followed = connection.is_followed(tracked.now, &tracked.limits);
    if headers.fragment == Fragment::Later || !(opens || followed) {
        return None;
    }
    let linear = packet.linear();
    if !tracked.scratch.read(packet, linear, headers) {
        return Some(Verdict::HotDrop);
    }
    let may_be_payload = !tracked.scratch.is_empty();
    if headers.fragment == Fragment::First || opens && may_be_payload {
        return Some(Verdict::of(Judgement::beyond(rule).matches(rule)));
    }
    Some(stream::judge(rule, packet, linear, tracked))
}

impl Connection {
    /// Begins with a SYN that has passed all rules, and went out by `interface`. `id` must be another
    /// each time. `None` when it is no SYN to begin with: it has payload, or other flags.
    #[inline] // into the kernel side, which has it made where it will stay and not on the stack
    pub fn begin(
        id: u64,
        packet: &dyn Packet,
        headers: &Headers,
        interface: u32,
    ) -> Option<Connection> {
        let segment = whole(packet, headers)?;
        let odd = flag::ACK | flag::FIN | flag::RST | flag::URG;
        let begins = segment.has(flag::SYN) && !segment.has(odd) && segment.length() == 0;
        begins.then(|| Connection {
            id,
            sequence: segment.sequence,
            interface,
            ..Connection::default()
        })
    }

    /// Whether packets are judged as pieces of its streams.
    pub fn is_followed(&self, now: u32, limits: &Limits) -> bool {
        self.state == State::Followed
            && !self
                .streams
                .iter()
                .any(|stream| stream.is_stale(now, limits))
    }

    /// Whether no octet of it will be looked at again.
    pub fn needs_no_octets(&self) -> bool {
        matches!(self.state, State::Void | State::Ended)
    }

    /// Octets of a direction that should be kept when so many more are committed.
    #[inline] // into the kernel side, for each packet
    pub fn wanted(&self, direction: Direction, more: u32) -> u32 {
        let stream = self.stream(direction);
        if self.state != State::Followed {
            return 0;
        }
        let last = stream.kept().saturating_add(more).min(KEPT_AT_LEAST);
        stream.unacknowledged().saturating_add(more).max(last)
    }

    /// Octets of a direction that have not been acknowledged.
    pub fn unacknowledged(&self, direction: Direction) -> u32 {
        self.stream(direction).unacknowledged()
    }

    /// Moves the octets of a direction to other memory: as many of the last as that has room for.
    pub fn move_to(&mut self, direction: Direction, from: &[u8], to: &mut [u8]) {
        self.stream_mut(direction).move_to(from, to);
    }

    /// Takes a packet that has passed all rules. `memory` is that of the packet's direction.
    ///
    /// The same packet may come twice, at two hooks: the second time changes nothing.
    pub fn commit(
        &mut self,
        packet: &dyn Packet,
        passing: &Passing<'_>,
        memory: &mut [u8],
        limits: &Limits,
        scratch: &mut Scratch,
    ) -> Commit {
        let is_whole = passing.headers.fragment == Fragment::Whole;
        let linear = packet.linear();
        let read = scratch.header(packet, linear, passing.headers);
        let Some(segment) = read.filter(|_| is_whole) else {
            // A fragment: nobody knows what its octets come to.
            return self.end(Commit::Ended);
        };
        if segment.has(flag::SYN) {
            return self.shake(packet, &segment, passing);
        }
        match self.state {
            State::Opening if segment.length() == 0 && !segment.has(flag::URG) => {
                return Commit::Pass
            }
            State::Ended => return Commit::Pass,
            State::Opening => return self.end(Commit::Ended),
            State::Void if segment.length() == 0 => return Commit::Pass,
            State::Void => return Commit::Overlap,
            State::Followed | State::Aged => {}
        }
        let ages = self.state == State::Followed && !self.is_followed(passing.now, limits);
        let mut commit = Commit::Pass;
        if !segment.is_bare() {
            let of = self.of(passing.direction);
            let passed = Passed {
                packet,
                linear,
                segment: &segment,
                messages: limits.messages,
                now: passing.now,
            };
            let stream = self.stream_mut(passing.direction);
            commit = match stream.advance(&passed, memory, of, scratch) {
                Advanced::On => Commit::Pass,
                Advanced::Crowded => Commit::Crowded,
                Advanced::Ahead => return Commit::Ahead,
                Advanced::Overlap => return Commit::Overlap,
                Advanced::Lost => return self.end(Commit::Ended),
            };
            if passing.direction == Direction::Original && segment.length() != 0 {
                self.again = None;
            }
        }
        if segment.has(flag::ACK) {
            self.stream_mut(passing.direction.other())
                .acknowledge(segment.acknowledgement);
        }
        if ages {
            self.state = State::Aged;
            return Commit::Ended;
        }
        commit
    }

    /// Takes a SYN with another initial sequence number.
    fn renew(&mut self, sequence: u32, now: u32) -> Commit {
        let has_waited = |(before, since): (u32, u32)| before == sequence && since != now;
        if self.state != State::Followed || self.again.is_some_and(has_waited) {
            return self.end(Commit::Renewed);
        }
        if self.again.is_none_or(|(before, _)| before != sequence) {
            self.again = Some((sequence, now));
        }
        Commit::Doubted
    }

    /// Takes a SYN or SYN-ACK.
    #[inline(never)] // others need none of its stack
    fn shake(&mut self, packet: &dyn Packet, segment: &Segment, passing: &Passing<'_>) -> Commit {
        let is_plain = has_plain_options(packet, passing.headers, segment);
        let is_bare = segment.length() == 0 && !segment.has(flag::FIN | flag::RST | flag::URG);
        let is_open = matches!(self.state, State::Opening | State::Followed);
        match (passing.direction, segment.has(flag::ACK)) {
            (Direction::Original, false) if segment.sequence != self.sequence => {
                self.renew(segment.sequence, passing.now)
            }
            (Direction::Original, false) if is_bare => {
                // It may take another way than the first.
                if self.state == State::Opening {
                    self.interface = passing.goes_out;
                }
                Commit::Pass
            }
            (Direction::Reply, true)
                if is_open && passing.came_in.is_some_and(|from| from != self.interface) =>
            {
                Commit::Strayed
            }
            (Direction::Reply, true) if self.state == State::Opening && is_bare && is_plain => {
                if segment.acknowledgement != self.sequence.wrapping_add(1) {
                    return Commit::Pass;
                }
                self.reply_sequence = segment.sequence;
                self.state = State::Followed;
                // One after the other: both at once would be made on the stack.
                let [original, reply] = &mut self.streams;
                *original = Stream::starting(self.sequence.wrapping_add(1));
                *reply = Stream::starting(segment.sequence.wrapping_add(1));
                Commit::Followed
            }
            (Direction::Reply, true)
                if is_bare
                    && segment.sequence == self.reply_sequence
                    && segment.acknowledgement == self.sequence.wrapping_add(1) =>
            {
                Commit::Pass
            }
            _ if matches!(self.state, State::Void | State::Ended) => Commit::Pass,
            _ if self.state == State::Opening => self.end(Commit::Voided),
            _ => {
                self.state = State::Void;
                Commit::Voided
            }
        }
    }

    fn end(&mut self, commit: Commit) -> Commit {
        self.state = State::Ended;
        commit
    }

    #[inline]
    fn stream(&self, direction: Direction) -> &Stream {
        let [original, reply] = &self.streams;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    fn stream_mut(&mut self, direction: Direction) -> &mut Stream {
        let [original, reply] = &mut self.streams;
        match direction {
            Direction::Original => original,
            Direction::Reply => reply,
        }
    }

    /// What tells a stream from every other, of all times.
    fn of(&self, direction: Direction) -> u64 {
        self.id.wrapping_mul(2).wrapping_add(direction as u64)
    }
}

/// Options of a SYN-ACK that leave the octets of a stream where they stand and what they are: end, no
/// operation, MSS, window scale, SACK and its permission, timestamps, MD5, user timeout, TCP-AO, fast
/// open. Others do not, or are not known: with MPTCP (30) octets have other numbers than TCP's, with
/// TCP-ENO (69) they are encrypted.
const PLAIN_OPTIONS: [u8; 11] = [0, 1, 2, 3, 4, 5, 8, 19, 28, 29, 34];

/// Whether a segment's options are among [`PLAIN_OPTIONS`].
fn has_plain_options(packet: &dyn Packet, headers: &Headers, segment: &Segment) -> bool {
    let mut options = [0u8; MAX_OPTIONS];
    let from = headers.transport.saturating_add(segment::HEADER);
    let length = usize::try_from(segment.from.saturating_sub(from)).unwrap_or(MAX_OPTIONS);
    let Some(mut rest) = options.get_mut(..length) else {
        return false;
    };
    if !packet.copy(from, rest) {
        return false;
    }
    while let Some(kind) = rest.first().copied() {
        let length = match kind {
            END => return true,
            NO_OPERATION => 1,
            _ => rest.get(1).copied().unwrap_or(0).max(2),
        };
        if !PLAIN_OPTIONS.contains(&kind) {
            return false;
        }
        rest = match rest.get_mut(usize::from(length)..) {
            Some(rest) => rest,
            None => return false,
        };
    }
    true
}

/// The segment of a packet that is not a fragment.
fn whole(packet: &dyn Packet, headers: &Headers) -> Option<Segment> {
    match headers.fragment {
        Fragment::Whole => Segment::read(packet, headers),
        Fragment::First | Fragment::Later => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Octets;
    use crate::rule::{option, protocol, status};
    use core::cell::Cell;
    use core::mem::size_of;

    const READ: [u8; 27] = [
        0x05, 0x64, 0x14, 0xF3, 0x01, 0x00, 0x00, 0x04, 0x0A, 0x3B, 0xC0, 0xC3, 0x01, 0x3C, 0x02,
        0x06, 0x3C, 0x03, 0x06, 0x3C, 0x04, 0x06, 0x3C, 0x01, 0x06, 0x9A, 0x12,
    ];
    const RESTART: [u8; 15] = [
        0x05, 0x64, 0x08, 0xC4, 0x01, 0x00, 0x00, 0x04, 0xA4, 0xCF, 0xC0, 0xC0, 0x0D, 0x9C, 0x86,
    ];

    const ISN: u32 = u32::MAX - 5;
    const REPLY_ISN: u32 = 77;

    /// A TCP segment: 20 octets of header, then a payload.
    struct Sent {
        octets: [u8; 320],
        headers: Headers,
    }

    fn sent(sequence: u32, acknowledgement: u32, flags: u8, payload: &[u8]) -> Sent {
        let mut octets = [0u8; 320];
        octets[4..8].copy_from_slice(&sequence.to_be_bytes());
        octets[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        octets[12] = 5 << 4;
        octets[13] = flags;
        octets[20..][..payload.len()].copy_from_slice(payload);
        Sent {
            octets,
            headers: Headers {
                end: 20 + payload.len() as u32,
                protocol: protocol::TCP,
                ..Headers::default()
            },
        }
    }

    /// A connection and what belongs to it.
    struct World {
        connection: Connection,
        memory: [[u8; 600]; 2],
        scratch: Scratch,
        now: u32,
    }

    impl World {
        fn followed() -> World {
            let syn = sent(ISN, 0, flag::SYN, &[]);
            let connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 2).unwrap();
            let mut world = World {
                connection,
                memory: [[0; 600]; 2],
                scratch: Scratch::new(),
                now: 1000,
            };
            let answer = sent(REPLY_ISN, ISN.wrapping_add(1), flag::SYN | flag::ACK, &[]);
            assert_eq!(world.commit(Direction::Reply, &answer, 2), Commit::Followed);
            world
        }

        fn commit(&mut self, direction: Direction, sent: &Sent, came_in: u32) -> Commit {
            let passing = Passing {
                direction,
                headers: &sent.headers,
                now: self.now,
                came_in: Some(came_in),
                goes_out: 2,
            };
            let memory = &mut self.memory[direction as usize];
            self.connection.commit(
                &Octets(&sent.octets),
                &passing,
                memory,
                &Limits::default(),
                &mut self.scratch,
            )
        }

        fn matches(&mut self, rule: &Rule, sent: &Sent) -> bool {
            let mut tracked = Tracked {
                connection: &self.connection,
                direction: Direction::Original,
                memory: &self.memory[0],
                scratch: &mut self.scratch,
                now: self.now,
                limits: Limits::default(),
            };
            let (packet, headers) = (Octets(&sent.octets), &sent.headers);
            let verdict = judge(rule, &packet, headers, &mut tracked);
            verdict.unwrap_or_else(|| crate::judge(rule, &packet, headers)) == Verdict::Match
        }

        fn status_of(&mut self, sent: &Sent) -> u8 {
            let mut found = 0;
            for bit in 0..5 {
                let rule = Rule {
                    set: option::STATUS | option::TRACK,
                    status: 1 << bit,
                    ..Rule::default()
                };
                if self.matches(&rule, sent) {
                    assert_eq!(found, 0, "a packet has one status");
                    found = rule.status;
                }
            }
            found
        }
    }

    /// A segment of the client that begins so many octets behind its first.
    fn data(at: u32, payload: &[u8]) -> Sent {
        let first = ISN.wrapping_add(1);
        sent(first.wrapping_add(at), REPLY_ISN + 1, flag::ACK, payload)
    }

    fn only(code: u8) -> Rule {
        let mut rule = Rule {
            set: option::FC | option::TRACK,
            ..Rule::default()
        };
        rule.fc[usize::from(code / 32)] = 1 << (code % 32);
        rule
    }

    #[test]
    fn a_direction_takes_at_most_512_octets_beside_what_is_kept() {
        assert!(size_of::<Stream>() <= 512);
        assert!(size_of::<Connection>() <= 1024);
    }

    #[test]
    fn frames_may_be_cut_anywhere() {
        for size in 1..=READ.len() {
            let mut world = World::followed();
            for round in 0..40u32 {
                let mut at = round * READ.len() as u32;
                for piece in READ.chunks(size) {
                    let sent = data(at, piece);
                    at += piece.len() as u32;
                    assert!(world.matches(&only(1), &sent), "{size} at {at}");
                    let whole = at as usize % READ.len() == 0;
                    let wanted = if whole {
                        status::VALID
                    } else {
                        status::PARTIAL
                    };
                    assert_eq!(world.status_of(&sent), wanted);
                    assert_eq!(world.commit(Direction::Original, &sent, 0), Commit::Pass);
                    // Again, as when it is lost behind the gateway.
                    assert_eq!(world.status_of(&sent), status::NONE);
                    assert_eq!(world.commit(Direction::Original, &sent, 0), Commit::Pass);
                }
            }
        }
    }

    #[test]
    fn nothing_changes_unless_it_is_committed() {
        let mut world = World::followed();
        assert!(!world.matches(&only(1), &data(0, &RESTART)));
        assert!(world.matches(&only(13), &data(0, &RESTART)));
        assert!(world.matches(&only(1), &data(0, &READ)));
        assert_eq!(world.status_of(&data(1, &READ)), status::AHEAD);
        assert_eq!(
            world.commit(Direction::Original, &data(1, &READ), 0),
            Commit::Ahead
        );
        assert_eq!(world.status_of(&data(0, &READ)), status::VALID);
    }

    #[test]
    fn what_was_committed_cannot_be_replaced() {
        let mut world = World::followed();
        let first = data(0, &READ);
        assert_eq!(world.commit(Direction::Original, &first, 0), Commit::Pass);
        let mut other = data(0, &RESTART);
        assert_eq!(world.status_of(&other), status::MALFORMED);
        assert!(!world.matches(&only(13), &other));
        assert_eq!(
            world.commit(Direction::Original, &other, 0),
            Commit::Overlap
        );
        // Before the first octet, so that a receiver would trim it.
        other = data(u32::MAX, &READ);
        assert_eq!(world.status_of(&other), status::MALFORMED);
        // An overlap that repeats, and goes on.
        let mut more = [0u8; 42];
        more[..27].copy_from_slice(&READ);
        more[27..].copy_from_slice(&RESTART);
        assert!(world.matches(&only(13), &data(0, &more)));
        assert!(!world.matches(&only(1), &data(0, &more)));
        assert_eq!(
            world.commit(Direction::Original, &data(0, &more), 0),
            Commit::Pass
        );
        assert_eq!(world.status_of(&data(27, &RESTART)), status::NONE);
    }

    #[test]
    fn a_frame_has_an_age() {
        let mut world = World::followed();
        let (begin, rest) = READ.split_at(12);
        let (begin, rest) = (data(0, begin), data(12, rest));
        assert_eq!(world.commit(Direction::Original, &begin, 0), Commit::Pass);
        world.now += Limits::default().frame_age;
        assert!(world.matches(&only(1), &rest));
        world.now += 1;
        assert!(!world.matches(&only(1), &rest));
        assert_eq!(world.status_of(&rest), 0);
        assert_eq!(world.commit(Direction::Original, &rest, 0), Commit::Ended);
    }

    #[test]
    fn what_was_judged_before_the_following_ended_is_not_let_through_unlooked_at() {
        // Two packets are judged by one state, and one of them is committed; then the following ends,
        // and the other comes.
        let (begin, rest) = READ.split_at(12);
        let begun = || {
            let mut world = World::followed();
            assert!(world.matches(&only(1), &data(0, &READ)));
            let pass = world.commit(Direction::Original, &data(0, begin), 0);
            assert_eq!(pass, Commit::Pass);
            world
        };
        let refused = |world: &mut World| {
            for other in [data(0, &RESTART), data(5, &RESTART)] {
                let commit = world.commit(Direction::Original, &other, 0);
                assert_eq!(commit, Commit::Overlap);
            }
        };
        // By age: what fits still goes on.
        let mut world = begun();
        world.now += Limits::default().frame_age + 1;
        refused(&mut world);
        let last = data(12, rest);
        assert_eq!(world.commit(Direction::Original, &last, 0), Commit::Ended);
        assert!(!world.connection.needs_no_octets(), "they may come again");
        refused(&mut world);
        assert!(!world.matches(&only(1), &data(27, &READ)), "never again");
        let next = data(27, &READ);
        assert_eq!(world.commit(Direction::Original, &next, 0), Commit::Pass);
        // By another handshake: nothing does.
        let mut world = begun();
        let other = sent(9, ISN.wrapping_add(1), flag::SYN | flag::ACK, &[]);
        assert_eq!(world.commit(Direction::Reply, &other, 2), Commit::Voided);
        refused(&mut world);
        assert_eq!(world.commit(Direction::Original, &last, 0), Commit::Overlap);
        let bare = data(12, &[]);
        assert_eq!(world.commit(Direction::Original, &bare, 0), Commit::Pass);
        // By a FIN that may not reach the receiver: what is behind it does not go on.
        let mut world = begun();
        let mut fin = data(12, &[]);
        fin.octets[13] |= flag::FIN;
        assert_eq!(world.commit(Direction::Original, &fin, 0), Commit::Pass);
        assert_eq!(world.commit(Direction::Original, &last, 0), Commit::Overlap);
        refused(&mut world);
    }

    #[test]
    fn a_commit_believes_no_judgement_of_other_octets() {
        let mut world = World::followed();
        assert!(world.matches(&only(1), &data(0, &READ)));
        // Not those that were judged, though as many and in their place: no frame.
        let mut other = READ;
        other[26] ^= 1;
        let other = data(0, &other);
        assert_eq!(world.commit(Direction::Original, &other, 0), Commit::Ended);
        // Without payload there is something to see as well.
        let mut world = World::followed();
        let mut urgent = data(0, &[]);
        urgent.octets[13] |= flag::URG;
        assert_eq!(world.commit(Direction::Original, &urgent, 0), Commit::Ended);
    }

    #[test]
    fn a_search_whose_octets_are_gone_rules_nothing_out() {
        // The header of a restart, and behind it octets that make the frame wrong.
        let any = |code| Rule {
            frames: crate::rule::frames::ANY,
            set: option::FC | option::TRACK | option::FRAMES,
            ..only(code)
        };
        for room in [0, 5, 600] {
            let mut world = World::followed();
            let head = data(0, &RESTART[..13]);
            let passing = Passing {
                direction: Direction::Original,
                headers: &head.headers,
                now: world.now,
                came_in: None,
                goes_out: 2,
            };
            let commit = world.connection.commit(
                &Octets(&head.octets),
                &passing,
                &mut world.memory[0][..room],
                &Limits::default(),
                &mut world.scratch,
            );
            assert_eq!(commit, Commit::Pass);
            let mut matches = |code| {
                let mut tracked = Tracked {
                    connection: &world.connection,
                    direction: Direction::Original,
                    memory: &world.memory[0][..room],
                    scratch: &mut world.scratch,
                    now: world.now,
                    limits: Limits::default(),
                };
                let wrong = data(13, &[0, 0]);
                let packet = Octets(&wrong.octets);
                judge(&any(code), &packet, &wrong.headers, &mut tracked) == Some(Verdict::Match)
            };
            assert!(matches(13), "{room}");
            assert_eq!(matches(2), room < 13, "{room}");
        }
    }

    #[test]
    fn handshakes_that_do_not_agree_are_not_followed() {
        let limits = Limits::default();
        let syn = sent(ISN, 0, flag::SYN, &[]);
        let begin = |sent: &Sent| Connection::begin(1, &Octets(&sent.octets), &sent.headers, 2);
        for flags in [flag::FIN, flag::RST, flag::ACK, flag::URG] {
            assert!(begin(&sent(ISN, 0, flag::SYN | flags, &[])).is_none());
        }
        assert!(begin(&sent(ISN, 0, flag::SYN, &[5])).is_none());
        let mut world = World::followed();
        world.connection = begin(&syn).unwrap();
        let answer = |number, ack| sent(number, ack, flag::SYN | flag::ACK, &[]);
        let right = answer(REPLY_ISN, ISN.wrapping_add(1));
        assert_eq!(world.commit(Direction::Reply, &right, 1), Commit::Strayed);
        let wrong = answer(REPLY_ISN, ISN);
        assert_eq!(world.commit(Direction::Reply, &wrong, 2), Commit::Pass);
        assert!(!world.connection.is_followed(0, &limits));
        assert_eq!(world.commit(Direction::Reply, &right, 2), Commit::Followed);
        // The same again, then another.
        assert_eq!(world.commit(Direction::Reply, &right, 2), Commit::Pass);
        assert_eq!(world.commit(Direction::Original, &syn, 0), Commit::Pass);
        assert!(world.connection.is_followed(world.now, &limits));
        let other = sent(ISN.wrapping_add(9), 0, flag::SYN, &[]);
        // Anybody may send one; who has begun anew sends it again.
        assert_eq!(
            world.commit(Direction::Original, &other, 0),
            Commit::Doubted
        );
        assert!(world.connection.is_followed(world.now, &limits));
        assert_eq!(
            world.commit(Direction::Original, &other, 0),
            Commit::Doubted
        );
        let read = data(0, &READ);
        assert_eq!(world.commit(Direction::Original, &read, 0), Commit::Pass);
        world.now += 1;
        assert_eq!(
            world.commit(Direction::Original, &other, 0),
            Commit::Doubted
        );
        world.now += 1;
        assert_eq!(
            world.commit(Direction::Original, &other, 0),
            Commit::Renewed
        );
        assert!(!world.connection.is_followed(world.now, &limits));
        let mut world = World::followed();
        let other = answer(REPLY_ISN + 1, ISN.wrapping_add(1));
        assert_eq!(world.commit(Direction::Reply, &other, 2), Commit::Voided);
        assert!(world.connection.needs_no_octets());
    }

    #[test]
    fn a_handshake_has_no_other_flags() {
        for odd in [flag::FIN, flag::RST, flag::URG] {
            let syn = sent(ISN, 0, flag::SYN, &[]);
            let mut world = World::followed();
            world.connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 2).unwrap();
            let flags = flag::SYN | flag::ACK | odd;
            let answer = sent(REPLY_ISN, ISN.wrapping_add(1), flags, &[]);
            let commit = world.commit(Direction::Reply, &answer, 2);
            assert_eq!(commit, Commit::Voided, "{flags:#04X}");
        }
    }

    #[test]
    fn the_answer_comes_from_where_the_last_syn_went() {
        let syn = sent(ISN, 0, flag::SYN, &[]);
        let answer = sent(REPLY_ISN, ISN.wrapping_add(1), flag::SYN | flag::ACK, &[]);
        let mut world = World::followed();
        let again = |world: &mut World, goes_out| {
            let passing = Passing {
                direction: Direction::Original,
                headers: &syn.headers,
                now: world.now,
                came_in: Some(1),
                goes_out,
            };
            world.connection.commit(
                &Octets(&syn.octets),
                &passing,
                &mut world.memory[0],
                &Limits::default(),
                &mut world.scratch,
            )
        };
        world.connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 2).unwrap();
        assert_eq!(again(&mut world, 3), Commit::Pass);
        assert_eq!(world.commit(Direction::Reply, &answer, 2), Commit::Strayed);
        assert_eq!(world.commit(Direction::Reply, &answer, 3), Commit::Followed);
        // Then no more.
        assert_eq!(again(&mut world, 4), Commit::Pass);
        assert_eq!(world.commit(Direction::Reply, &answer, 4), Commit::Strayed);
        assert_eq!(world.commit(Direction::Reply, &answer, 3), Commit::Pass);
    }

    #[test]
    fn who_begins_anew_sends_it_again_and_nothing_between() {
        let other = |number| sent(ISN.wrapping_add(number), 0, flag::SYN, &[]);
        let mut world = World::followed();
        let syn = |world: &mut World, number, wait| {
            world.now += wait;
            world.commit(Direction::Original, &other(number), 0)
        };
        // The last of several is the one that has to come again.
        assert_eq!(syn(&mut world, 8, 0), Commit::Doubted);
        assert_eq!(syn(&mut world, 9, 1), Commit::Doubted);
        assert_eq!(syn(&mut world, 8, 1), Commit::Doubted);
        assert_eq!(syn(&mut world, 9, 1), Commit::Doubted);
        // What the sender sends with payload says that it has not begun anew.
        let read = data(0, &READ);
        assert_eq!(world.commit(Direction::Original, &read, 0), Commit::Pass);
        assert_eq!(syn(&mut world, 9, 1), Commit::Doubted);
        // What it sends without any, and what the other side sends, does not.
        let bare = data(READ.len() as u32, &[]);
        assert_eq!(world.commit(Direction::Original, &bare, 0), Commit::Pass);
        let mut fin = data(READ.len() as u32, &[]);
        fin.octets[13] |= flag::FIN;
        assert_eq!(world.commit(Direction::Original, &fin, 0), Commit::Pass);
        let reply = sent(REPLY_ISN + 1, ISN.wrapping_add(1), flag::ACK, &READ);
        assert_eq!(world.commit(Direction::Reply, &reply, 2), Commit::Pass);
        assert_eq!(syn(&mut world, 9, 1), Commit::Renewed);
    }

    #[test]
    fn the_nearest_end_that_the_sender_named_counts() {
        let mut world = World::followed();
        let fin = |at| {
            let mut fin = data(at, &[]);
            fin.octets[13] |= flag::FIN;
            fin
        };
        let ends = |world: &mut World, at, end: u32| {
            assert_eq!(world.commit(Direction::Original, &fin(at), 0), Commit::Pass);
            for length in 1..=READ.len() {
                let fits = length as u32 <= end;
                let status = world.status_of(&data(0, &READ[..length]));
                assert_eq!(status != status::MALFORMED, fits, "{at}: {length} of {end}");
            }
        };
        ends(&mut world, 20, 20);
        ends(&mut world, 25, 20);
        ends(&mut world, 10, 10);
        // Before what was committed there is no end.
        let begin = data(0, &READ[..5]);
        assert_eq!(world.commit(Direction::Original, &begin, 0), Commit::Pass);
        ends(&mut world, 4, 10);
        ends(&mut world, 5, 5);
    }

    #[test]
    fn octets_that_were_not_acknowledged_may_be_sent_again() {
        let mut world = World::followed();
        let first = ISN.wrapping_add(1);
        let left = |world: &World| {
            let connection = &world.connection;
            assert_eq!(connection.unacknowledged(Direction::Reply), 0);
            connection.unacknowledged(Direction::Original)
        };
        let acknowledge = |world: &mut World, upto: u32| {
            let ack = sent(REPLY_ISN + 1, first.wrapping_add(upto), flag::ACK, &[]);
            assert_eq!(world.commit(Direction::Reply, &ack, 2), Commit::Pass);
        };
        assert_eq!(left(&world), 0);
        assert_eq!(
            world.commit(Direction::Original, &data(0, &READ), 0),
            Commit::Pass
        );
        assert_eq!(left(&world), 27);
        // None is taken back, and of what has not been sent nothing is acknowledged.
        for (upto, unacknowledged) in [(0, 27), (10, 17), (9, 17), (26, 1), (28, 0), (27, 0)] {
            acknowledge(&mut world, upto);
            assert_eq!(left(&world), unacknowledged, "{upto}");
        }
        // What is acknowledged may come again all the same: nobody knows whether that arrives.
        let wanted = |more| world.connection.wanted(Direction::Original, more);
        assert_eq!([0, 5, 5000].map(wanted), [27, 32, 5000]);
        assert_eq!(
            world.commit(Direction::Original, &data(27, &READ), 0),
            Commit::Pass
        );
        assert_eq!(left(&world), 27);
    }

    /// A segment of the client, of which the linear part has so much, and how often it is copied from.
    struct Copied<'a> {
        octets: &'a [u8],
        linear: usize,
        times: Cell<u32>,
    }

    impl Packet for Copied<'_> {
        fn len(&self) -> u32 {
            self.octets.len() as u32
        }
        fn linear(&self) -> &[u8] {
            &self.octets[..self.linear]
        }
        fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
            self.times.set(self.times.get() + 1);
            Octets(self.octets).copy(offset, to)
        }
    }

    /// What the packet is to a rule, and then its commit.
    fn carried(
        world: &mut World,
        rule: &Rule,
        memory: &mut [u8],
        packet: &Copied<'_>,
    ) -> (Option<Verdict>, Commit) {
        let headers = Headers {
            end: packet.len(),
            protocol: protocol::TCP,
            ..Headers::default()
        };
        let mut tracked = Tracked {
            connection: &world.connection,
            direction: Direction::Original,
            memory,
            scratch: &mut world.scratch,
            now: world.now,
            limits: Limits::default(),
        };
        let verdict = judge(rule, packet, &headers, &mut tracked);
        let passing = Passing {
            direction: Direction::Original,
            headers: &headers,
            now: world.now,
            came_in: None,
            goes_out: 2,
        };
        let limits = Limits::default();
        let commit = world
            .connection
            .commit(packet, &passing, memory, &limits, &mut world.scratch);
        (verdict, commit)
    }

    #[test]
    fn a_linear_packet_is_copied_by_nobody() {
        let mut world = World::followed();
        let memory = &mut [0; 600];
        for at in [0, 27, 54] {
            let sent = data(at, &READ);
            let packet = Copied {
                octets: &sent.octets[..47],
                linear: 47,
                times: Cell::new(0),
            };
            let carried = carried(&mut world, &only(1), memory, &packet);
            assert_eq!(carried, (Some(Verdict::Match), Commit::Pass));
            assert_eq!(packet.times.get(), 0, "the commit knows what was judged");
        }
    }

    #[test]
    fn what_a_rule_did_not_look_at_is_not_committed_unread() {
        let mut both = [0; 39];
        both[..27].copy_from_slice(&READ);
        both[27..].copy_from_slice(&RESTART[..12]);
        for linear in [0, 59] {
            let mut world = World::followed();
            let memory = &mut [0; 600];
            let mut carry = |at, payload: &[u8]| {
                let sent = data(at, payload);
                let octets = &sent.octets[..20 + payload.len()];
                let packet = Copied {
                    octets,
                    linear: linear.min(octets.len()),
                    times: Cell::new(0),
                };
                carried(&mut world, &only(13), memory, &packet)
            };
            // The READ says it all.
            let no_match = (Some(Verdict::NoMatch), Commit::Pass);
            assert_eq!(carry(0, &both), no_match);
            let restart = (Some(Verdict::Match), Commit::Pass);
            assert_eq!(carry(39, &RESTART[12..]), restart);
        }
    }

    #[test]
    fn a_packet_longer_than_what_is_held_of_it() {
        // Frames of 32 octets, so that each 2,048 octets are like those before.
        const FRAME: [u8; 32] = [
            0x05, 0x64, 0x17, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x87, 0xF3, 0xC0, 0xC0, 0x02, 0x07,
            0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0x07, 0xB1, 0x59,
            0x07, 0x07, 0x04, 0xFB,
        ];
        const LENGTH: usize = 4096;
        let mut octets = [0; 20 + LENGTH];
        octets[..20].copy_from_slice(&data(0, &[]).octets[..20]);
        for frame in octets[20..].chunks_mut(FRAME.len()) {
            frame.copy_from_slice(&FRAME);
        }
        for linear in [0, octets.len()] {
            let mut world = World::followed();
            let packet = Copied {
                octets: &octets,
                linear,
                times: Cell::new(0),
            };
            let carried = carried(&mut world, &only(2), &mut [0; 5000], &packet);
            assert_eq!(carried, (Some(Verdict::Match), Commit::Pass));
            let direction = Direction::Original;
            assert_eq!(world.connection.unacknowledged(direction), LENGTH as u32);
        }
    }

    #[test]
    fn octets_that_tcp_alone_does_not_place_are_not_followed() {
        let plain: &[&[u8]] = &[
            &[],
            &[
                2, 4, 5, 0xB4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
            &[1, 1, 1, 0],
            // What stands behind the end is none.
            &[0, 30, 4, 0],
        ];
        let others: &[&[u8]] = &[
            &[30, 4, 0, 0], // MPTCP
            &[1, 1, 1, 1, 30, 4, 0, 0],
            &[69, 2, 1, 1], // TCP-ENO
            &[2, 0, 30, 4], // no length
            &[1, 1, 1, 2],  // cut off
            &[2, 9, 1, 1],
        ];
        for (options, is_followed) in plain
            .iter()
            .map(|options| (options, true))
            .chain(others.iter().map(|options| (options, false)))
        {
            let syn = sent(ISN, 0, flag::SYN, &[]);
            let mut world = World::followed();
            world.connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 2).unwrap();
            let flags = flag::SYN | flag::ACK;
            let mut answer = sent(REPLY_ISN, ISN.wrapping_add(1), flags, options);
            answer.octets[12] = (5 + options.len() as u8 / 4) << 4;
            let wanted = if is_followed {
                Commit::Followed
            } else {
                Commit::Voided
            };
            assert_eq!(
                world.commit(Direction::Reply, &answer, 2),
                wanted,
                "{options:?}"
            );
        }
    }

    #[test]
    fn before_the_answer_nothing_is_ruled_out_of_payload() {
        let syn = sent(ISN, 0, flag::SYN, &[]);
        let mut world = World::followed();
        world.connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 2).unwrap();
        let read = data(0, &READ);
        assert!(!world.matches(&only(1), &read));
        let mut any = only(13);
        any.set |= option::FRAMES;
        any.frames = crate::rule::frames::ANY;
        assert!(world.matches(&any, &read));
        assert_eq!(world.status_of(&read), status::MALFORMED);
        assert_eq!(world.status_of(&data(0, &[])), status::NONE);
    }
}
