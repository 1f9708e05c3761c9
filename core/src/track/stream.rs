// SPDX-License-Identifier: GPL-2.0

//! One direction of a connection: where its octets stand, and the judgement of the next ones.

use super::kept::{copy, Kept};
use super::message::Messages;
use super::{Limits, Tracked};
use crate::frame::{Event, Seen, Walk};
use crate::judge::{Judgement, Question};
use crate::packet::{Headers, Packet, Verdict};
use crate::rule::{status, Rule};
use crate::scan::Scan;
use crate::segment::{flag, in_place, Segment};

/// Octets of a payload that are held at a time.
pub(super) const HELD: usize = 2048;

/// The longest that a frame can be.
const LONGEST_FRAME: u32 = 292;

/// What has been committed of one direction of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stream {
    /// Sequence number of the next octet that is expected.
    next: u32,
    /// The highest that the other side acknowledged, or says it did.
    acknowledged: u32,
    /// Where the sender said that its octets end.
    fin: Option<u32>,
    /// The second in which the frame that is not finished began.
    since: u32,
    kept: Kept,
    course: Course,
}

/// What a stream's octets come to: the same octets, from its start on, always come to the same.
#[derive(Clone, Copy, Debug, Default)]
struct Course {
    walk: Walk,
    messages: Messages,
}

/// Where a payload stands in a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// There is none.
    Nothing,
    /// Nowhere: URG, SYN.
    Nowhere,
    /// Behind the end that the sender named.
    BehindEnd,
    /// Behind a hole.
    Ahead,
    /// Before what is kept.
    Forgotten,
    /// So many octets before the next one; it fits if those are the same.
    Before(u32),
}

/// A course under way.
#[derive(Clone, Copy, Debug)]
struct Progress {
    course: Course,
    /// Whether a frame ended.
    ended: bool,
    /// Whether a message found no room.
    crowded: bool,
}

impl Progress {
    /// Goes on by octets, until a question is decided.
    #[inline(always)]
    fn walk(&mut self, question: &mut Question<'_, &mut Scan>, octets: &[u8], messages: u32) {
        let mut rest = octets;
        while !rest.is_empty() && !question.wrong && !question.is_decided() {
            let event;
            (event, rest) = self.course.walk.step(rest);
            match event {
                Event::Wrong => question.wrong = true,
                Event::Addressed => question.addressed(&self.course.walk),
                Event::Frame => question.frame(&self.frame(messages)),
                Event::Taken => {}
            }
        }
    }

    /// What a packet is that fits, and brings a stream here.
    #[inline(always)]
    fn judgement(&self, question: &mut Question<'_, &mut Scan>) -> Judgement {
        let Course { walk, messages } = &self.course;
        if walk.at_boundary() {
            return question.end_exactly(status::VALID);
        }
        question.frame(&messages.unfinished(walk));
        question.end_exactly(status::PARTIAL)
    }

    /// A frame has ended: what can be seen of it.
    fn frame(&mut self, messages: u32) -> Seen {
        let limit = usize::try_from(messages).unwrap_or(usize::MAX);
        let course = &mut self.course;
        let (seen, found_room) = course.messages.finished(&course.walk, limit);
        self.ended = true;
        self.crowded |= !found_room;
        seen
    }
}

/// Room to judge in. What was judged there last a commit of the same octets need not judge again.
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// What tells the stream from all others.
    of: u64,
    /// Where that stream stood.
    next: u32,
    /// Sequence number of the first of the octets.
    sequence: u32,
    /// How many octets there are; 0 where nothing is held.
    length: u32,
    /// What they came to.
    behind: Progress,
    segment: Segment,
    scan: Scan,
    octets: [u8; HELD],
    /// For what does not lie in a packet's linear part: a TCP header, the octets of the packet that
    /// is committed.
    again: [u8; HELD],
}

impl Scratch {
    /// Room in which nothing is.
    pub const fn new() -> Scratch {
        Scratch {
            of: 0,
            next: 0,
            sequence: 0,
            length: 0,
            behind: Progress {
                course: Course {
                    walk: Walk::new(),
                    messages: Messages::new(),
                },
                ended: false,
                crowded: false,
            },
            segment: Segment::new(),
            scan: Scan::new(),
            octets: [0; HELD],
            again: [0; HELD],
        }
    }

    /// Begins at a stream's end.
    fn begin(&mut self, course: &Course) {
        self.length = 0;
        self.behind.course.walk = course.walk;
        self.behind.course.messages.follow(&course.messages);
        self.behind.ended = false;
        self.behind.crowded = false;
    }

    /// Whether the segment that was read has neither payload nor URG.
    pub(super) fn is_empty(&self) -> bool {
        self.segment.length() == 0 && !self.segment.has(flag::URG)
    }

    /// Holds that the octets came to what is behind them.
    fn remember(&mut self, stream: &Stream, of: u64) {
        self.of = of;
        self.next = stream.next;
        self.sequence = self.segment.sequence;
        self.length = self.segment.length();
    }

    /// Whether this is what a segment of a stream came to, if the octets are the same.
    fn holds(&self, stream: &Stream, segment: &Segment, of: u64) -> bool {
        self.length != 0
            && self.of == of
            && self.next == stream.next
            && self.sequence == segment.sequence
            && self.length == segment.length()
    }
}

impl Scratch {
    /// Reads the TCP header of a packet that will be judged. Returns false when it cannot be right.
    pub(super) fn read(&mut self, packet: &dyn Packet, linear: &[u8], headers: &Headers) -> bool {
        match self.header(packet, linear, headers) {
            Some(segment) => {
                self.segment = segment;
                true
            }
            None => false,
        }
    }

    /// The TCP header of a packet. `None` when it cannot be right.
    #[inline(always)]
    pub(super) fn header(
        &mut self,
        packet: &dyn Packet,
        linear: &[u8],
        headers: &Headers,
    ) -> Option<Segment> {
        Segment::read_by(packet, linear, headers, self.again.first_chunk_mut()?)
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// What became of a segment that was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advanced {
    /// It goes on; the stream may have.
    On,
    /// The same, but a message found no room.
    Crowded,
    /// It must not go on: it stands behind a hole.
    Ahead,
    /// It must not go on: it is not what was committed before.
    Overlap,
    /// It goes on, and nobody knows the stream from here.
    Lost,
}

/// How far `a` is behind `b` in sequence space; negative where it is before.
fn behind(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Stream {
    /// A stream whose first octet has this sequence number.
    pub(super) fn starting(first: u32) -> Stream {
        Stream {
            next: first,
            acknowledged: first,
            ..Stream::default()
        }
    }

    /// Whether a frame has been unfinished for longer than it may.
    pub(super) fn is_stale(&self, now: u32, limits: &Limits) -> bool {
        !self.course.walk.at_boundary() && now.wrapping_sub(self.since) > limits.frame_age
    }

    /// Octets that were committed and, as far as is known, have not arrived.
    #[inline]
    pub(super) fn unacknowledged(&self) -> u32 {
        self.next.wrapping_sub(self.acknowledged)
    }

    /// Takes note of what the other side says that it has received.
    pub(super) fn acknowledge(&mut self, number: u32) {
        if behind(number, self.acknowledged) > 0 {
            // Its FIN has a number too.
            self.acknowledged = if behind(number, self.next) > 0 {
                self.next
            } else {
                number
            };
        }
    }

    #[inline]
    pub(super) fn kept(&self) -> u32 {
        self.kept.count()
    }

    pub(super) fn move_to(&mut self, from: &[u8], to: &mut [u8]) {
        self.kept.move_to(from, to);
    }

    fn place(&self, segment: &Segment) -> Place {
        let length = segment.length();
        if segment.has(flag::URG) {
            return Place::Nowhere;
        }
        if length == 0 {
            return Place::Nothing;
        }
        let end = segment.sequence.wrapping_add(length);
        let is_behind_fin = self.fin.is_some_and(|fin| behind(end, fin) > 0);
        if segment.has(flag::SYN) {
            return Place::Nowhere;
        }
        if is_behind_fin {
            return Place::BehindEnd;
        }
        if behind(segment.sequence, self.next) > 0 {
            return Place::Ahead;
        }
        match self.next.wrapping_sub(segment.sequence) {
            back if back > self.kept.count() => Place::Forgotten,
            back => Place::Before(back),
        }
    }

    /// Searches, where it is wanted, what a receiver that finds a packet wrong will search as well: the
    /// frame that the packet stands in, as far as it was committed.
    #[inline(always)] // a frame less on the stack
    fn search_before(&self, question: &mut Question<'_, &mut Scan>, memory: &[u8], back: u32) {
        if !question.searches() {
            return;
        }
        question.begin_search();
        // Where octets come again, nobody knows which of them the receiver has.
        let begun = match back {
            0 => self.course.walk.octets_come(),
            _ => LONGEST_FRAME,
        };
        let start = back.saturating_add(begun);
        if !self.kept.has(start) {
            question.cannot_search();
        }
        let start = start.min(self.kept.count());
        let count = usize::try_from(start.saturating_sub(back)).unwrap_or(0);
        for part in self.kept.before(memory, start, count) {
            question.search(part);
        }
    }

    /// Goes on by a segment that has passed all rules.
    pub(super) fn advance(
        &mut self,
        asked: &Passed<'_>,
        memory: &mut [u8],
        of: u64,
        scratch: &mut Scratch,
    ) -> Advanced {
        let advanced = match self.place(asked.segment) {
            Place::Nothing => Advanced::On,
            Place::Ahead => Advanced::Ahead,
            Place::Nowhere => Advanced::Lost,
            // The end may have come since the rules were asked.
            Place::BehindEnd | Place::Forgotten => Advanced::Overlap,
            Place::Before(back) if scratch.holds(self, asked.segment, of) => {
                self.take_judged(asked, memory, back, scratch)
            }
            Place::Before(back) => self.take(asked, memory, back, scratch),
        };
        if asked.segment.has(flag::FIN) && matches!(advanced, Advanced::On | Advanced::Crowded) {
            let end = asked.segment.sequence.wrapping_add(asked.segment.length());
            let is_first = self.fin.is_none_or(|fin| behind(end, fin) < 0);
            if is_first && behind(end, self.next) >= 0 {
                self.fin = Some(end);
            }
        }
        advanced
    }

    /// Takes octets that were judged just now, if they still are those.
    fn take_judged(
        &mut self,
        asked: &Passed<'_>,
        memory: &mut [u8],
        back: u32,
        scratch: &mut Scratch,
    ) -> Advanced {
        let (packet, segment) = (asked.packet, asked.segment);
        let again = &mut scratch.again;
        let whole = in_place(asked.linear, segment.from, segment.to);
        let Some(octets) = whole.or_else(|| fetch(packet, segment, 0, again)) else {
            return Advanced::Lost;
        };
        if scratch.octets.get(..octets.len()) != Some(octets) {
            return self.take(asked, memory, back, scratch);
        }
        let (_, fresh) = split(octets, back);
        self.kept.push(memory, fresh);
        self.course_is(asked, number(fresh.len()), scratch)
    }

    /// Takes octets.
    fn take(
        &mut self,
        asked: &Passed<'_>,
        memory: &mut [u8],
        back: u32,
        scratch: &mut Scratch,
    ) -> Advanced {
        scratch.begin(&self.course);
        let length = asked.segment.length();
        let mut done = 0u32;
        while done < length {
            let Some(piece) = fetch(asked.packet, asked.segment, done, &mut scratch.octets) else {
                return Advanced::Lost;
            };
            let old_left = back.saturating_sub(done);
            let (old, fresh) = split(piece, old_left);
            if !self.kept.are(memory, old_left, old) {
                return Advanced::Overlap;
            }
            self.kept.push(memory, fresh);
            let mut rest = fresh;
            while !rest.is_empty() {
                let event;
                (event, rest) = scratch.behind.course.walk.step(rest);
                match event {
                    Event::Wrong => return Advanced::Lost,
                    Event::Frame => _ = scratch.behind.frame(asked.messages),
                    Event::Addressed | Event::Taken => {}
                }
            }
            done = done.saturating_add(number(piece.len()));
        }
        self.course_is(asked, length.saturating_sub(back), scratch)
    }

    /// Has gone on by so many octets, to what is in the scratch.
    fn course_is(&mut self, asked: &Passed<'_>, fresh: u32, scratch: &mut Scratch) -> Advanced {
        // The scratch is of this stream where it stood before, no more.
        scratch.length = 0;
        if fresh == 0 {
            return Advanced::On;
        }
        if self.course.walk.at_boundary() || scratch.behind.ended {
            self.since = asked.now;
        }
        self.course.walk = scratch.behind.course.walk;
        self.course.messages.follow(&scratch.behind.course.messages);
        self.next = self.next.wrapping_add(fresh);
        if scratch.behind.crowded {
            Advanced::Crowded
        } else {
            Advanced::On
        }
    }
}

/// Judges the segment in the scratch as the next of its stream.
pub(super) fn judge(
    rule: &Rule,
    packet: &dyn Packet,
    linear: &[u8],
    tracked: &mut Tracked<'_>,
) -> Verdict {
    let stream = tracked.connection.stream(tracked.direction);
    let judgement = match stream.place(&tracked.scratch.segment) {
        Place::Nothing => Judgement {
            status: status::NONE,
            frames: false,
        },
        Place::Ahead => Judgement {
            status: status::AHEAD,
            ..Judgement::beyond(rule)
        },
        Place::Nowhere | Place::BehindEnd | Place::Forgotten => Judgement::beyond(rule),
        // The last word, so that what it took to come here is off the stack by then.
        Place::Before(back) => {
            let Segment { from, to, .. } = tracked.scratch.segment;
            return match in_place(linear, from, to) {
                Some(octets) if back == 0 => judge_next(rule, octets, tracked),
                _ => judge_octets(rule, packet, tracked, back),
            };
        }
    };
    Verdict::of(judgement.matches(rule))
}

/// Judges octets that begin with the stream's next one, and lie in the packet's linear part: what nearly
/// every packet brings, by [`judge_octets`] with less to do.
#[inline(never)]
fn judge_next(rule: &Rule, octets: &[u8], tracked: &mut Tracked<'_>) -> Verdict {
    let stream = tracked.connection.stream(tracked.direction);
    let scratch = &mut *tracked.scratch;
    scratch.begin(&stream.course);
    let mut question = Question::new(rule, &mut scratch.scan);
    stream.search_before(&mut question, tracked.memory, 0);
    question.search(octets);
    let behind = &mut scratch.behind;
    behind.walk(&mut question, octets, tracked.limits.messages);
    let judgement = if question.wrong {
        question.end(status::MALFORMED)
    } else {
        let judgement = behind.judgement(&mut question);
        let room = scratch.octets.get_mut(..octets.len());
        if let (Some(room), false) = (room, question.is_decided()) {
            copy(room, octets);
            scratch.remember(stream, tracked.connection.of(tracked.direction));
        }
        judgement
    };
    Verdict::of(judgement.matches(rule))
}

/// Judges octets that begin so many before the stream's next one. There is at least one.
#[inline(never)]
fn judge_octets(rule: &Rule, packet: &dyn Packet, tracked: &mut Tracked<'_>, back: u32) -> Verdict {
    let stream = tracked.connection.stream(tracked.direction);
    let memory = tracked.memory;
    let scratch = &mut *tracked.scratch;
    scratch.begin(&stream.course);
    let behind = &mut scratch.behind;
    let mut question = Question::new(rule, &mut scratch.scan);
    stream.search_before(&mut question, memory, back);
    let length = scratch.segment.length();
    let mut done = 0u32;
    while done < length && !question.is_decided() {
        let octets = &mut scratch.octets;
        let Some(piece) = fetch(packet, &scratch.segment, done, octets) else {
            return Verdict::of(Judgement::beyond(rule).matches(rule));
        };
        question.search(piece);
        let old_left = back.saturating_sub(done);
        let (old, fresh) = split(piece, old_left);
        question.wrong |= !stream.kept.are(memory, old_left, old);
        behind.walk(&mut question, fresh, tracked.limits.messages);
        done = done.saturating_add(number(piece.len()));
    }
    let judgement = if question.wrong || done < length {
        question.end(status::MALFORMED)
    } else if back >= length {
        Judgement {
            status: status::NONE,
            frames: false,
        }
    } else {
        let judgement = behind.judgement(&mut question);
        if length <= number(HELD) && !question.is_decided() {
            scratch.remember(stream, tracked.connection.of(tracked.direction));
        }
        judgement
    };
    Verdict::of(judgement.matches(rule))
}

/// A segment that has passed all rules.
pub(super) struct Passed<'a> {
    pub(super) packet: &'a dyn Packet,
    /// The packet's linear part.
    pub(super) linear: &'a [u8],
    pub(super) segment: &'a Segment,
    /// Messages in progress, at most.
    pub(super) messages: u32,
    /// The time, in seconds.
    pub(super) now: u32,
}

/// Copies payload, from the octet `done` on, as much of it as there is room for. `None` when the
/// packet does not have what its length promises.
fn fetch<'s>(
    packet: &dyn Packet,
    segment: &Segment,
    done: u32,
    to: &'s mut [u8; HELD],
) -> Option<&'s [u8]> {
    let left = usize::try_from(segment.length().saturating_sub(done)).unwrap_or(HELD);
    let octets = to.get_mut(..left.min(HELD))?;
    packet
        .copy(segment.from.saturating_add(done), octets)
        .then_some(octets)
}

/// The first `at` octets, and the others.
fn split(octets: &[u8], at: u32) -> (&[u8], &[u8]) {
    usize::try_from(at)
        .ok()
        .and_then(|at| octets.split_at_checked(at))
        .unwrap_or((octets, &[]))
}

fn number(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
