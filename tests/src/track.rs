// SPDX-License-Identifier: GPL-2.0

//! TCP segments, and the naive model of a connection that is followed: the same questions as
//! `dnp3_core::track`, answered the slow and obvious way.
//!
//! Written from the description of `--track` alone. A stream is all of its octets from the first on,
//! which are cut into frames anew for each answer by [`crate::naive`]; messages are a map; what is
//! kept of the octets is a number, for the octets themselves are all there. Where the description
//! left a choice, the comment says `Choice`.

use crate::naive::{self, Anatomy, Class};
use dnp3_core::rule::{frames as reading, option, status};
use dnp3_core::track::{Commit, Direction};
use dnp3_core::{Fragment, Headers, Octets, Rule, Verdict};
use std::collections::HashMap;

/// Flags of a TCP header.
pub mod flag {
    /// The sender has no more octets.
    pub const FIN: u8 = 0x01;
    /// A connection begins.
    pub const SYN: u8 = 0x02;
    /// The connection is at its end.
    pub const RST: u8 = 0x04;
    /// Of no meaning here.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number means something.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer means something.
    pub const URG: u8 = 0x20;
}

/// A segment under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// From whom.
    pub direction: Direction,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Words of options, 0..=10.
    pub options: u8,
    /// The payload.
    pub payload: Vec<u8>,
    /// The interface by which it comes in.
    pub came_in: u32,
    /// Which piece of an IP datagram it is.
    pub fragment: Fragment,
}

impl Sent {
    /// A segment with nothing out of the ordinary.
    pub fn new(direction: Direction, sequence: u32, flags: u8, payload: &[u8]) -> Sent {
        Sent {
            direction,
            sequence,
            acknowledgement: 0,
            flags,
            options: 0,
            payload: payload.to_vec(),
            came_in: match direction {
                Direction::Original => INSIDE,
                Direction::Reply => OUTSIDE,
            },
            fragment: Fragment::Whole,
        }
    }

    /// The packet, and where things are in it.
    pub fn packet(&self) -> (Vec<u8>, Headers) {
        let before = 20;
        let mut packet = vec![0xA5; before];
        let mut header = vec![0; 20 + 4 * usize::from(self.options.min(10))];
        header[4..8].copy_from_slice(&self.sequence.to_be_bytes());
        header[8..12].copy_from_slice(&self.acknowledgement.to_be_bytes());
        header[12] = (header.len() / 4) as u8 * 16;
        header[13] = self.flags;
        packet.extend(header);
        packet.extend(&self.payload);
        let headers = Headers {
            transport: before as u32,
            end: packet.len() as u32,
            protocol: 6,
            fragment: self.fragment,
            udp_segment: 0,
        };
        // Behind the end lies padding, which is nobody's.
        packet.extend([0x05, 0x64, 0x05]);
        (packet, headers)
    }

    fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// The interface of the side that opens the connection.
pub const INSIDE: u32 = 1;
/// The interface of the other side.
pub const OUTSIDE: u32 = 2;

/// How far a connection is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opening,
    Followed,
    /// A frame grew too old: judged no more, and held to its octets all the same.
    Aged,
    /// Another handshake came: there are no octets to be held to.
    Void,
    /// Octets were let through unjudged.
    Ended,
}

/// What bounds a connection.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Seconds for which a frame may be unfinished.
    pub frame_age: u32,
    /// Messages in progress in a direction.
    pub messages: usize,
}

/// A connection, as the naive model knows it.
#[derive(Clone, Debug)]
pub struct Connection {
    state: State,
    isn: u32,
    reply_isn: u32,
    /// Where its SYN went out.
    interface: u32,
    /// A SYN with another initial sequence number, and when it came.
    again: Option<(u32, u32)>,
    /// The streams, original and reply.
    pub streams: [Stream; 2],
}

/// One direction, from its first octet on.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The first octet's sequence number.
    first: u32,
    /// All that was committed.
    pub octets: Vec<u8>,
    /// The second in which each of them was committed.
    when: Vec<u32>,
    /// Where the sender said that they end: so many octets behind the first.
    fin: Option<i64>,
    /// How many of the last octets are kept, and for how many there is room.
    kept: usize,
    room: usize,
}

/// A message, by its last segment.
#[derive(Clone, Debug)]
struct Message {
    function: u8,
    transport: u8,
    /// LEN and the CRCs of the blocks: by these a repetition is known.
    identity: (u8, Vec<u8>),
}

/// Source, destination, DIR.
type Key = (u16, u16, bool);

/// Where a segment stands.
enum Place {
    /// It has no payload, or all of it was there before.
    None,
    /// Wrong, wherever it stands.
    Nowhere,
    Ahead,
    BelowKept,
    /// It begins so many octets behind the first, and not behind the next.
    At(usize),
}

/// What is seen of a frame.
struct Seen {
    control: Option<u8>,
    destination: Option<u16>,
    source: Option<u16>,
    class: Option<Class>,
}

fn is_in_progress(message: &Message) -> bool {
    message.transport & 0x80 == 0
}

fn address(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

impl Seen {
    fn of(octets: &[u8]) -> Seen {
        let octet = |at: usize| octets.get(at).copied();
        let class = match (octet(2), octet(10)) {
            (Some(5), _) => Some(Class::Link),
            (Some(_), Some(transport)) if transport & 0x40 == 0 => Some(Class::Cont),
            (Some(_), Some(_)) => octet(12).map(Class::Function),
            _ => None,
        };
        Seen {
            control: octet(3),
            destination: address(octets, 4),
            source: address(octets, 6),
            class,
        }
    }

    fn key(&self) -> Option<Key> {
        Some((self.source?, self.destination?, self.control? & 0x80 != 0))
    }

    /// What is not seen satisfies every option, inverted or not.
    fn satisfies(&self, rule: &Rule, any: bool) -> bool {
        let part = |option: u16| Rule {
            set: rule.set & option,
            ..*rule
        };
        let (link, none) = (Class::Link, 0);
        self.control
            .is_none_or(|control| naive::admits(&part(option::DIR), control, none, none, link, any))
            && self.destination.is_none_or(|address| {
                naive::admits(&part(option::DADDR), 0, address, none, link, any)
            })
            && self.source.is_none_or(|address| {
                naive::admits(&part(option::SADDR), 0, none, address, link, any)
            })
            && self
                .class
                .is_none_or(|class| naive::admits(&part(option::FC), 0, none, none, class, any))
    }
}

/// What some octets from the start of a stream come to.
struct Course {
    /// Where each frame ends, and what it is.
    frames: Vec<(usize, Seen)>,
    /// Where the last one ends.
    boundary: usize,
    /// What is seen of the one that is not finished.
    unfinished: Option<Seen>,
    /// Where the octets behind the last are no beginning of a frame.
    wrong: bool,
    /// Ends of the frames whose message found no room.
    crowded: Vec<usize>,
}

fn course(octets: &[u8], most: usize) -> Course {
    let (cut, rest) = naive::cut(octets);
    let mut messages: HashMap<Key, Message> = HashMap::new();
    let mut frames = Vec::new();
    let mut crowded = Vec::new();
    let mut end = 0;
    for frame in &cut {
        end += frame.len();
        let mut seen = Seen::of(frame);
        let key = seen.key().expect("a frame is seen whole");
        if seen.class != Some(Class::Link) {
            let transport = frame[10];
            let crcs = frame[10..]
                .chunks(18)
                .flat_map(|block| block[block.len() - 2..].to_vec());
            let mut latest = Message {
                function: 0,
                transport,
                identity: (frame[2], crcs.collect()),
            };
            if let Some(Class::Function(function)) = seen.class {
                // FIR: what was in progress is over.
                messages.remove(&key);
                latest.function = function;
                if is_in_progress(&latest) {
                    if messages.values().filter(|one| is_in_progress(one)).count() < most {
                        messages.insert(key, latest);
                    } else {
                        crowded.push(end);
                    }
                }
            } else if let Some(message) = messages.get_mut(&key) {
                let is_next =
                    is_in_progress(message) && transport & 0x3F == (message.transport + 1) & 0x3F;
                let is_repeated =
                    transport == message.transport && latest.identity == message.identity;
                if is_next || is_repeated {
                    seen.class = Some(Class::Function(message.function));
                    latest.function = message.function;
                    *message = latest;
                } else {
                    messages.remove(&key);
                }
            }
        }
        frames.push((end, seen));
    }
    let unfinished = (!rest.is_empty()).then(|| {
        let mut seen = Seen::of(rest);
        let message = seen.key().and_then(|key| messages.get(&key));
        if let (Some(Class::Cont), Some(message)) = (seen.class, message) {
            let transport = rest[10];
            if is_in_progress(message) && transport & 0x3F == (message.transport + 1) & 0x3F {
                seen.class = Some(Class::Function(message.function));
            } else if transport == message.transport {
                // It may be a repetition: nobody knows before its end.
                seen.class = None;
            }
        }
        seen
    });
    Course {
        frames,
        boundary: end,
        unfinished,
        wrong: !rest.is_empty() && !naive::begins_a_valid_frame(rest),
        crowded,
    }
}

impl Stream {
    fn starting(first: u32, room: usize) -> Stream {
        Stream {
            first,
            room,
            ..Stream::default()
        }
    }

    /// The next octet's sequence number.
    pub fn next(&self) -> u32 {
        self.first.wrapping_add(self.octets.len() as u32)
    }

    /// So many octets behind the first; the nearest to the next one that has this number.
    fn offset(&self, sequence: u32) -> i64 {
        self.octets.len() as i64 + i64::from(sequence.wrapping_sub(self.next()) as i32)
    }

    fn place(&self, sent: &Sent) -> Place {
        if sent.has(flag::URG) {
            return Place::Nowhere;
        }
        if sent.payload.is_empty() {
            return Place::None;
        }
        let from = self.offset(sent.sequence);
        let to = from + sent.payload.len() as i64;
        if sent.has(flag::SYN) || self.fin.is_some_and(|fin| to > fin) {
            return Place::Nowhere;
        }
        match self.octets.len() as i64 - from {
            back if back < 0 => Place::Ahead,
            back if back as usize > self.kept => Place::BelowKept,
            _ => Place::At(from as usize),
        }
    }

    /// All the octets with those of a segment that begins here, or nothing if they are not those that were
    /// there before.
    fn with(&self, from: usize, payload: &[u8]) -> Option<Vec<u8>> {
        let old = &self.octets[from..];
        let shared = old.len().min(payload.len());
        (old[..shared] == payload[..shared])
            .then(|| [&self.octets[..], &payload[shared..]].concat())
    }

    /// Status, and whether `only` is true of every frame or `any` of some frame.
    fn judge(&self, rule: &Rule, sent: &Sent, most: usize) -> (u8, bool) {
        let any = rule.frames == reading::ANY;
        let from = match self.place(sent) {
            Place::None => return (status::NONE, false),
            // Choice: of what has no place in the stream nothing can be ruled out.
            Place::Nowhere | Place::BelowKept => return (status::MALFORMED, any),
            Place::Ahead => return (status::AHEAD, any),
            Place::At(from) => from,
        };
        let Some(octets) = self.with(from, &sent.payload) else {
            return (
                status::MALFORMED,
                any && self.search(rule, from, sent, most),
            );
        };
        let old = self.octets.len();
        if octets.len() == old {
            return (status::NONE, false);
        }
        let course = course(&octets, most);
        if course.wrong {
            return (
                status::MALFORMED,
                any && self.search(rule, from, sent, most),
            );
        }
        let mut new = course
            .frames
            .iter()
            .filter(|(end, _)| *end > old)
            .map(|(_, seen)| seen)
            .chain(&course.unfinished);
        let frames = if any {
            new.any(|seen| seen.satisfies(rule, true))
        } else {
            new.all(|seen| seen.satisfies(rule, false))
        };
        if course.unfinished.is_some() {
            (status::PARTIAL, frames)
        } else {
            (status::VALID, frames)
        }
    }

    /// Whether P cannot be ruled out of a malformed segment: it is searched, and what was committed of the
    /// frame that it stands in.
    ///
    /// Choice: where octets come again, that is as much as the longest frame has.
    fn search(&self, rule: &Rule, from: usize, sent: &Sent, most: usize) -> bool {
        let begin = if from == self.octets.len() {
            course(&self.octets, most).boundary
        } else {
            from.saturating_sub(292)
        };
        let kept_from = self.octets.len() - self.kept;
        if begin < kept_from {
            return true;
        }
        let octets = [&self.octets[begin..from], &sent.payload].concat();
        let candidates = naive::candidates(&octets);
        candidates.len() > naive::MAX_HEADERS
            || candidates
                .iter()
                .any(|seen| naive::not_contradicted(rule, seen))
    }

    fn is_stale(&self, now: u32, bounds: &Bounds) -> bool {
        let begun = course(&self.octets, bounds.messages).boundary;
        self.when
            .get(begun)
            .is_some_and(|when| now.wrapping_sub(*when) > bounds.frame_age)
    }

    fn commit(&mut self, sent: &Sent, now: u32, most: usize) -> Commit {
        let commit = match self.place(sent) {
            Place::None => Commit::Pass,
            Place::Ahead => return Commit::Ahead,
            Place::BelowKept => return Commit::Overlap,
            Place::Nowhere if sent.flags & (flag::URG | flag::SYN) == 0 => return Commit::Overlap,
            Place::Nowhere => return Commit::Ended,
            Place::At(from) => {
                let Some(octets) = self.with(from, &sent.payload) else {
                    return Commit::Overlap;
                };
                let (old, new) = (self.octets.len(), octets.len());
                let course = course(&octets, most);
                if course.wrong {
                    return Commit::Ended;
                }
                self.octets = octets;
                self.when.resize(new, now);
                self.kept = (self.kept + new - old).min(self.room);
                if course.crowded.iter().any(|end| *end > old) {
                    Commit::Crowded
                } else {
                    Commit::Pass
                }
            }
        };
        if sent.has(flag::FIN) {
            let end = self.offset(sent.sequence) + sent.payload.len() as i64;
            if end >= self.octets.len() as i64 && self.fin.is_none_or(|fin| end < fin) {
                self.fin = Some(end);
            }
        }
        commit
    }
}

/// Whether this is what a connection begins with.
pub fn begins(sent: &Sent) -> bool {
    let odd = flag::ACK | flag::FIN | flag::RST | flag::URG;
    sent.fragment == Fragment::Whole
        && sent.has(flag::SYN)
        && !sent.has(odd)
        && sent.payload.is_empty()
}

impl Connection {
    /// Begins with a SYN that went out by an interface; with so much room for octets.
    pub fn begin(sent: &Sent, interface: u32, room: [usize; 2]) -> Option<Connection> {
        begins(sent).then(|| Connection {
            state: State::Opening,
            isn: sent.sequence,
            reply_isn: 0,
            interface,
            again: None,
            streams: room.map(|room| Stream::starting(0, room)),
        })
    }

    /// Another room for the octets of a direction.
    pub fn move_to(&mut self, direction: Direction, room: usize) {
        let stream = &mut self.streams[direction as usize];
        stream.room = room;
        stream.kept = stream.kept.min(room);
    }

    /// Whether a segment reaches below what is kept, or a search before it may.
    pub fn is_beyond_kept(&self, sent: &Sent) -> bool {
        let stream = &self.streams[sent.direction as usize];
        let all = stream.octets.len() as i64;
        let back = all - stream.offset(sent.sequence);
        (back + 292).min(all.max(back)) > stream.kept as i64
    }

    /// Whether packets are judged as pieces of its streams.
    pub fn is_followed(&self, now: u32, bounds: &Bounds) -> bool {
        self.state == State::Followed
            && !self
                .streams
                .iter()
                .any(|stream| stream.is_stale(now, bounds))
    }

    /// Does this rule match this segment?
    pub fn judge(&self, rule: &Rule, sent: &Sent, now: u32, bounds: &Bounds) -> Verdict {
        let (octets, headers) = sent.packet();
        let anatomy = naive::take_apart(&Octets(&octets), &headers);
        let has_payload = !sent.payload.is_empty() || sent.has(flag::URG);
        let is_open =
            self.state == State::Opening && (has_payload || sent.fragment == Fragment::First);
        if sent.fragment == Fragment::Later || !(is_open || self.is_followed(now, bounds)) {
            return judge_alone(rule, &anatomy);
        }
        let (status, frames) = match sent.fragment {
            // Choice: nothing can be ruled out of a fragment, nor of payload before the SYN-ACK.
            _ if is_open => (status::MALFORMED, rule.frames == reading::ANY),
            Fragment::First => (status::MALFORMED, rule.frames == reading::ANY),
            _ => self.streams[sent.direction as usize].judge(rule, sent, bounds.messages),
        };
        let listed = rule.set & option::STATUS == 0
            || (rule.status & status != 0) != (rule.invert & option::STATUS != 0);
        if listed && (frames || !naive::has_frame_test(rule)) {
            Verdict::Match
        } else {
            Verdict::NoMatch
        }
    }

    /// Takes a segment that has passed all rules.
    pub fn commit(&mut self, sent: &Sent, now: u32, bounds: &Bounds) -> Commit {
        if sent.fragment != Fragment::Whole {
            return self.end(Commit::Ended);
        }
        if sent.has(flag::SYN) {
            return self.shake(sent, now);
        }
        match self.state {
            State::Ended => Commit::Pass,
            State::Opening if sent.payload.is_empty() && !sent.has(flag::URG) => Commit::Pass,
            State::Opening => self.end(Commit::Ended),
            State::Void if sent.payload.is_empty() => Commit::Pass,
            State::Void => Commit::Overlap,
            State::Followed | State::Aged => {
                let grows_old = self.state == State::Followed && !self.is_followed(now, bounds);
                let stream = &mut self.streams[sent.direction as usize];
                let commit = stream.commit(sent, now, bounds.messages);
                let goes_on = matches!(commit, Commit::Pass | Commit::Crowded);
                if goes_on && sent.direction == Direction::Original && !sent.payload.is_empty() {
                    self.again = None;
                }
                match commit {
                    Commit::Ended => self.end(Commit::Ended),
                    Commit::Pass | Commit::Crowded if grows_old => {
                        self.state = State::Aged;
                        Commit::Ended
                    }
                    commit => commit,
                }
            }
        }
    }

    fn shake(&mut self, sent: &Sent, now: u32) -> Commit {
        let is_bare = sent.payload.is_empty() && !sent.has(flag::FIN | flag::RST | flag::URG);
        let is_ended = matches!(self.state, State::Void | State::Ended);
        match (sent.direction, sent.has(flag::ACK)) {
            // Choice: on a connection that may be in use it has to come twice, in two seconds, with no
            // payload of its sender between.
            (Direction::Original, false) if sent.sequence != self.isn => match self.again {
                Some((before, since))
                    if self.state == State::Followed && before == sent.sequence && since == now =>
                {
                    Commit::Doubted
                }
                Some((before, _)) if self.state == State::Followed && before != sent.sequence => {
                    self.again = Some((sent.sequence, now));
                    Commit::Doubted
                }
                None if self.state == State::Followed => {
                    self.again = Some((sent.sequence, now));
                    Commit::Doubted
                }
                _ => self.end(Commit::Renewed),
            },
            (Direction::Original, false) if is_bare || is_ended => Commit::Pass,
            (Direction::Reply, true)
                if sent.came_in != self.interface
                    && matches!(self.state, State::Opening | State::Followed) =>
            {
                Commit::Strayed
            }
            (Direction::Reply, true) if is_bare && self.state == State::Opening => {
                if sent.acknowledgement != self.isn.wrapping_add(1) {
                    return Commit::Pass;
                }
                self.reply_isn = sent.sequence;
                self.state = State::Followed;
                let [original, reply] = &mut self.streams;
                original.first = self.isn.wrapping_add(1);
                reply.first = sent.sequence.wrapping_add(1);
                Commit::Followed
            }
            (Direction::Reply, true)
                if is_bare
                    && sent.sequence == self.reply_isn
                    && sent.acknowledgement == self.isn.wrapping_add(1) =>
            {
                Commit::Pass
            }
            _ if is_ended => Commit::Pass,
            _ => {
                self.state = match self.state {
                    State::Opening => State::Ended,
                    _ => State::Void,
                };
                Commit::Voided
            }
        }
    }

    fn end(&mut self, commit: Commit) -> Commit {
        self.state = State::Ended;
        commit
    }
}

/// Does this rule match this segment of no connection that is followed?
pub fn judge_untracked(rule: &Rule, sent: &Sent) -> Verdict {
    let (octets, headers) = sent.packet();
    judge_alone(rule, &naive::take_apart(&Octets(&octets), &headers))
}

fn judge_alone(rule: &Rule, anatomy: &Anatomy) -> Verdict {
    let verdict = naive::judge_apart(rule, anatomy);
    match anatomy {
        // A tracking rule never matches payload there.
        Anatomy::Pieces(pieces)
            if rule.set & option::TRACK != 0
                && pieces.iter().any(|piece| !piece.payload.is_empty()) =>
        {
            Verdict::NoMatch
        }
        _ => verdict,
    }
}
