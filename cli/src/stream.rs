// SPDX-License-Identifier: GPL-2.0

//! TCP streams and UDP exchanges, and the frames in them.
//!
//! A TCP stream is put together as its receiver would: octets that have come are not taken twice,
//! those behind a hole wait for it to be filled. A hole is given up when the receiver acknowledges
//! what lies behind it (then only the capture lacks it), when too much waits, and at the end.

use crate::cut::{Cutter, Mark, Piece, Placed};
use crate::event::{Bad, Ends, Event, Fault, Frame, Gap, Origin, Protocol, Sink, Unfinished};
use crate::message::Messages;
use etherparse::TcpSlice;
use lru::LruCache;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

/// Connections and UDP exchanges that are kept at a time; the one longest without a packet goes.
pub(crate) const MAX_FLOWS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();
/// Octets that all of them together may keep waiting: behind holes, and in fragments in progress.
const MAX_WAITING: usize = 32 << 20;
/// What one direction may keep waiting behind a hole.
const MAX_AHEAD: usize = 1 << 20;
/// And in how many segments.
const MAX_SEGMENTS: usize = 1024;
/// What a waiting segment costs beside its octets.
const COST: usize = 160;
/// A segment this far behind or ahead is of another stream on the same ports.
const WINDOW: i32 = 16 << 20;

/// The memory that all streams share.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Octets that may still be kept.
    left: usize,
    /// Where a fragment that is complete is shown from, so that no stream keeps it.
    pub(crate) scratch: Vec<u8>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget {
            left: MAX_WAITING,
            scratch: Vec::new(),
        }
    }
}

impl Budget {
    /// Whether there is room for this much, which is then taken.
    pub(crate) fn take(&mut self, octets: usize) -> bool {
        match self.left.checked_sub(octets) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }

    /// Gives back what was taken.
    pub(crate) fn give(&mut self, octets: usize) {
        self.left += octets;
    }
}

/// The two ends in an order of their own, so that both directions have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    low: SocketAddr,
    high: SocketAddr,
    protocol: Protocol,
}

/// A segment behind a hole.
#[derive(Debug)]
struct Ahead {
    sequence: u32,
    octets: Box<[u8]>,
    mark: Mark,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    /// The sequence number of the next octet, once it is known.
    next: Option<u32>,
    /// The sequence number of the first octet, where SYN has said so.
    begun: Option<u32>,
    /// What the receiver has acknowledged.
    acknowledged: Option<u32>,
    /// The sequence number behind the last octet, once FIN has said so.
    end: Option<u32>,
    ahead: VecDeque<Ahead>,
    waiting: usize,
    cutter: Cutter,
    messages: Messages,
    last: Mark,
}

#[derive(Debug, Default)]
struct Flow([Half; 2]);

/// All of them.
pub(crate) struct Streams {
    flows: LruCache<Key, Flow>,
    budget: Budget,
    /// Connections that were given up because there were too many.
    pub(crate) evicted: u64,
    stopped: bool,
}

/// How many octets `to` is ahead of `from`.
fn distance(from: u32, to: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

/// Where a half's events go.
struct Told<'a, 'b> {
    ends: Option<Ends>,
    budget: &'a mut Budget,
    sink: &'a mut Sink<'b>,
    stopped: &'a mut bool,
}

impl Told<'_, '_> {
    fn origin(&self, mark: Mark) -> Origin {
        Origin {
            packet: mark.packet,
            time: mark.time,
            ends: self.ends,
        }
    }

    fn tell(&mut self, event: &Event<'_>) {
        if !*self.stopped {
            *self.stopped = !(self.sink)(event);
        }
    }

    /// Does something for the other direction.
    fn turned(&mut self, act: impl FnOnce(&mut Self)) {
        let ends = self.ends;
        self.ends = ends.map(|ends| Ends {
            source: ends.destination,
            destination: ends.source,
            ..ends
        });
        act(self);
        self.ends = ends;
    }

    /// Passes on a piece of the stream that ends at `mark`.
    fn piece(
        &mut self,
        placed: &Placed<'_>,
        mark: Mark,
        messages: &mut Messages,
        cut_by: Option<Fault>,
    ) {
        let origin = self.origin(mark);
        let (first_packet, offset) = (placed.first.packet, placed.offset);
        match placed.piece {
            Piece::Frame { octets, seen } => {
                let (Some(control), Some(source), Some(destination)) =
                    (seen.control, seen.source, seen.destination)
                else {
                    return;
                };
                let assembly = messages.frame(octets, &seen, mark, self.budget);
                let frame = Frame {
                    origin,
                    first_packet,
                    offset,
                    octets,
                    control,
                    source,
                    destination,
                    assembly,
                };
                if !*self.stopped {
                    *self.stopped = !(self.sink)(&Event::Frame(&frame));
                }
            }
            Piece::Bad {
                fault,
                octets,
                length,
            } => self.tell(&Event::Bad(&Bad {
                origin,
                first_packet,
                offset,
                fault: Fault::Frame(fault),
                octets,
                length,
            })),
            Piece::Unfinished(octets) => match cut_by {
                Some(fault) => self.tell(&Event::Bad(&Bad {
                    origin,
                    first_packet,
                    offset,
                    fault,
                    octets,
                    length: octets.len() as u64,
                })),
                None => self.tell(&Event::Unfinished(&Unfinished {
                    origin,
                    first_packet,
                    offset,
                    octets,
                })),
            },
        }
    }
}

impl Half {
    /// Takes the next octets.
    fn deliver(&mut self, octets: &[u8], mark: Mark, told: &mut Told<'_, '_>) {
        self.last = mark;
        let Half {
            cutter, messages, ..
        } = self;
        cutter.push(octets, mark, &mut |placed| {
            told.piece(&placed, mark, messages, None);
        });
    }

    /// The stream ends or breaks off here.
    fn end(&mut self, cut_by: Option<Fault>, told: &mut Told<'_, '_>) {
        let mark = self.last;
        let Half {
            cutter, messages, ..
        } = self;
        cutter.end(&mut |placed| told.piece(&placed, mark, messages, cut_by));
    }

    /// Gives everything up, as if nothing had come yet.
    fn reset(&mut self, cut_by: Option<Fault>, told: &mut Told<'_, '_>) {
        while !self.ahead.is_empty() {
            self.give_hole_up(told);
        }
        self.end(cut_by, told);
        self.messages.clear(told.budget);
        *self = Half::default();
    }

    /// Takes a segment of TCP.
    fn segment(&mut self, sequence: u32, mut octets: &[u8], mark: Mark, told: &mut Told<'_, '_>) {
        let next = *self.next.get_or_insert(sequence);
        let ahead = distance(next, sequence);
        if ahead.checked_abs().is_none_or(|far| far > WINDOW) {
            self.reset(None, told);
            self.next = Some(sequence);
        } else if ahead > 0 {
            self.wait(sequence, octets, mark, told);
            if self
                .acknowledged
                .is_some_and(|to| distance(sequence, to) > 0)
            {
                self.give_hole_up(told);
            }
            return;
        } else {
            let old = ahead.unsigned_abs() as usize;
            octets = octets.get(old..).unwrap_or_default();
        }
        if octets.is_empty() {
            return;
        }
        let next = self.next.unwrap_or(sequence);
        self.next = Some(next.wrapping_add(octets.len() as u32));
        self.deliver(octets, mark, told);
        self.drain(told);
    }

    /// Keeps a segment that is behind a hole.
    fn wait(&mut self, sequence: u32, octets: &[u8], mark: Mark, told: &mut Told<'_, '_>) {
        let cost = COST + octets.len();
        while self.waiting + cost > MAX_AHEAD || self.ahead.len() >= MAX_SEGMENTS {
            if self.ahead.is_empty() {
                break;
            }
            self.give_hole_up(told);
        }
        let Some(next) = self.next else { return };
        let ahead = distance(next, sequence);
        if ahead <= 0 {
            return self.segment(sequence, octets, mark, told);
        }
        let at = self
            .ahead
            .iter()
            .rposition(|other| distance(next, other.sequence) <= ahead)
            .map_or(0, |at| at + 1);
        // Of two that say the same the first counts.
        if let Some(other) = at.checked_sub(1).and_then(|at| self.ahead.get(at)) {
            let end = distance(next, other.sequence) as usize + other.octets.len();
            if end >= ahead as usize + octets.len() {
                return;
            }
        }
        if !told.budget.take(cost) {
            self.give_holes_up_to(sequence, mark, told);
            return self.segment(sequence, octets, mark, told);
        }
        self.waiting += cost;
        let segment = Ahead {
            sequence,
            octets: octets.into(),
            mark,
        };
        self.ahead.insert(at, segment);
    }

    /// The receiver has all octets before this sequence number.
    fn acknowledge(&mut self, to: u32, told: &mut Told<'_, '_>) {
        let is_new = |before| distance(before, to) > 0;
        if self.acknowledged.is_none_or(is_new) {
            self.acknowledged = Some(to);
        }
        while let Some(front) = self.ahead.front() {
            if distance(front.sequence, to) <= 0 {
                return;
            }
            self.give_hole_up(told);
        }
    }

    /// Gives up all holes before this segment.
    fn give_holes_up_to(&mut self, sequence: u32, mark: Mark, told: &mut Told<'_, '_>) {
        while self
            .ahead
            .front()
            .is_some_and(|front| distance(front.sequence, sequence) >= 0)
        {
            self.give_hole_up(told);
        }
        self.jump(sequence, mark, told);
    }

    /// Goes on behind the first hole.
    fn give_hole_up(&mut self, told: &mut Told<'_, '_>) {
        if let Some(front) = self.ahead.front() {
            let (sequence, mark) = (front.sequence, front.mark);
            self.jump(sequence, mark, told);
            self.drain(told);
        }
    }

    /// Goes on at this sequence number, where it is ahead.
    fn jump(&mut self, sequence: u32, mark: Mark, told: &mut Told<'_, '_>) {
        let Some(next) = self.next else { return };
        let missing = distance(next, sequence);
        if missing <= 0 {
            return;
        }
        self.end(None, told);
        self.cutter.skip(missing.unsigned_abs());
        let gap = Gap {
            origin: told.origin(mark),
            missing: missing.unsigned_abs(),
        };
        told.tell(&Event::Gap(&gap));
        self.next = Some(sequence);
    }

    /// Takes what no longer waits.
    fn drain(&mut self, told: &mut Told<'_, '_>) {
        while let (Some(next), Some(front)) = (self.next, self.ahead.front()) {
            let ahead = distance(next, front.sequence);
            if ahead > 0 {
                break;
            }
            let Some(front) = self.ahead.pop_front() else {
                break;
            };
            let cost = COST + front.octets.len();
            self.waiting = self.waiting.saturating_sub(cost);
            told.budget.give(cost);
            let old = ahead.unsigned_abs() as usize;
            let octets = front.octets.get(old..).unwrap_or_default();
            if !octets.is_empty() {
                self.next = Some(next.wrapping_add(octets.len() as u32));
                self.deliver(octets, front.mark, told);
            }
        }
        // What a long queue has taken is not in the budget once it is short.
        if self.ahead.capacity() > 4 * self.ahead.len() {
            self.ahead.shrink_to(2 * self.ahead.len());
        }
    }

    /// Whether all has come, up to FIN.
    fn is_at_end(&self) -> bool {
        self.end.is_some() && self.end == self.next
    }
}

impl Streams {
    pub(crate) fn new() -> Streams {
        Streams {
            flows: LruCache::new(MAX_FLOWS),
            budget: Budget::default(),
            evicted: 0,
            stopped: false,
        }
    }

    /// Whether the sink wants no more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped
    }

    pub(crate) fn tell(&mut self, event: &Event<'_>, sink: &mut Sink<'_>) {
        if !self.stopped {
            self.stopped = !sink(event);
        }
    }

    fn flow<'a>(
        &'a mut self,
        ends: &Ends,
        sink: &mut Sink<'_>,
    ) -> (&'a mut Flow, usize, &'a mut Budget, &'a mut bool) {
        let (source, destination) = (ends.source, ends.destination);
        let side = usize::from(source > destination);
        let key = Key {
            low: source.min(destination),
            high: source.max(destination),
            protocol: ends.protocol,
        };
        if self.flows.len() == MAX_FLOWS.get() && !self.flows.contains(&key) {
            if let Some((key, flow)) = self.flows.pop_lru() {
                self.evicted += 1;
                finish(&key, flow, &mut self.budget, sink, &mut self.stopped);
            }
        }
        let flow = self.flows.get_or_insert_mut(key, Flow::default);
        (flow, side, &mut self.budget, &mut self.stopped)
    }

    /// Takes a segment of TCP.
    pub(crate) fn tcp(&mut self, ends: Ends, tcp: &TcpSlice<'_>, mark: Mark, sink: &mut Sink<'_>) {
        let (flow, side, budget, stopped) = self.flow(&ends, sink);
        let mut told = Told {
            ends: Some(ends),
            budget,
            sink,
            stopped,
        };
        let [low, high] = &mut flow.0;
        let (half, other) = if side == 0 { (low, high) } else { (high, low) };
        let mut sequence = tcp.sequence_number();
        if tcp.syn() {
            sequence = sequence.wrapping_add(1);
            // A SYN sent again begins nothing new.
            let new = half.begun != Some(sequence) && half.next.is_some();
            if new && !tcp.ack() {
                told.turned(|told| other.reset(None, told));
            }
            if new {
                half.reset(None, &mut told);
            }
            half.begun = Some(sequence);
            half.next.get_or_insert(sequence);
        }
        if tcp.ack() {
            told.turned(|told| other.acknowledge(tcp.acknowledgment_number(), told));
        }
        let payload = tcp.payload();
        if !payload.is_empty() {
            // Nothing follows FIN: what comes is sent again, or is of another connection on the same
            // ports, whose SYN is not in the capture.
            let behind = sequence.wrapping_add(payload.len() as u32);
            match half.end.filter(|_| half.is_at_end()) {
                Some(end) if (-WINDOW..=1).contains(&distance(end, behind)) => {}
                Some(_) => {
                    half.reset(None, &mut told);
                    half.segment(sequence, payload, mark, &mut told);
                }
                None => half.segment(sequence, payload, mark, &mut told),
            }
        }
        if tcp.fin() {
            half.end = Some(sequence.wrapping_add(payload.len() as u32));
            half.next.get_or_insert(sequence);
        }
        let ended = Some(Fault::Connection);
        if half.is_at_end() {
            half.end(ended, &mut told);
            half.messages.clear(told.budget);
        }
        if tcp.rst() {
            half.end(ended, &mut told);
            told.turned(|told| other.end(ended, told));
        }
    }

    /// Takes a datagram of UDP.
    pub(crate) fn udp(&mut self, ends: Ends, payload: &[u8], mark: Mark, sink: &mut Sink<'_>) {
        let (flow, side, budget, stopped) = self.flow(&ends, sink);
        let mut told = Told {
            ends: Some(ends),
            budget,
            sink,
            stopped,
        };
        let [low, high] = &mut flow.0;
        let half = if side == 0 { low } else { high };
        half.cutter = Cutter::default();
        half.deliver(payload, mark, &mut told);
        half.end(Some(Fault::Datagram), &mut told);
    }

    /// The capture ends.
    pub(crate) fn finish(&mut self, sink: &mut Sink<'_>) {
        while let Some((key, flow)) = self.flows.pop_lru() {
            finish(&key, flow, &mut self.budget, sink, &mut self.stopped);
        }
    }
}

/// Tells what a flow that comes to its end still holds.
fn finish(key: &Key, flow: Flow, budget: &mut Budget, sink: &mut Sink<'_>, stopped: &mut bool) {
    let ways = [(key.low, key.high), (key.high, key.low)];
    for (mut half, (source, destination)) in flow.0.into_iter().zip(ways) {
        half.reset(
            None,
            &mut Told {
                ends: Some(Ends {
                    protocol: key.protocol,
                    source,
                    destination,
                }),
                budget: &mut *budget,
                sink: &mut *sink,
                stopped: &mut *stopped,
            },
        );
    }
}

/// The octets of a serial line, in one stream.
#[derive(Debug, Default)]
pub(crate) struct Line(Half);

impl Line {
    /// Takes the next octets; returns whether more are wanted.
    pub(crate) fn push(&mut self, octets: &[u8], budget: &mut Budget, sink: &mut Sink<'_>) -> bool {
        let mut stopped = false;
        self.0.deliver(
            octets,
            Mark::default(),
            &mut Told {
                ends: None,
                budget,
                sink,
                stopped: &mut stopped,
            },
        );
        !stopped
    }

    /// The octets end.
    pub(crate) fn finish(mut self, budget: &mut Budget, sink: &mut Sink<'_>) {
        self.0.reset(
            None,
            &mut Told {
                ends: None,
                budget,
                sink,
                stopped: &mut false,
            },
        );
    }
}
