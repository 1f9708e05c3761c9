// SPDX-License-Identifier: GPL-2.0

//! Honest peers on bad lines: streams of valid frames, cut at any size, that are lost, doubled, put out of
//! order, and sent again in other cuts, on either side of a gateway that follows them.
//!
//! What the gateway must make of each segment is plain: where it stands to the octets that went on
//! before is all that matters. That is counted here, apart from the gateway.

use crate::frames::{control, frame};
use crate::receivers::{Receiver, Recovery};
use crate::sequences::{of_functions, to_stations};
use crate::track::{flag, Sent};
use crate::track_exchanges::Chance;
use crate::track_gateway::{goes_on, tracking, Counts, Gateway, Memory, Policy, Target};
use crate::track_tcp::{Endpoint, Kind, Overlap};
use dnp3_core::rule::class;
use dnp3_core::track::{Commit, Direction, KEPT_AT_LEAST};

/// What a run has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    /// Connections.
    pub connections: u64,
    /// Octets, all of which arrived.
    pub octets: u64,
    /// Frames, all of which arrived.
    pub frames: u64,
    /// Segments that came to the gateway.
    pub segments: u64,
    /// Those that had been lost behind it, or whose acknowledgement had.
    pub repeated: u64,
    /// Those behind a hole.
    pub ahead: u64,
}

/// How bad the lines are: one in so many is lost, doubled or put elsewhere; 0 for none.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Before the gateway and behind it.
    pub lost: usize,
    /// Before the gateway.
    pub doubled: usize,
    /// Before the gateway.
    pub moved: usize,
    /// Of acknowledgements, before the gateway and behind it.
    pub acks_lost: usize,
}

impl Line {
    /// One on which nothing happens.
    pub const GOOD: Line = Line {
        lost: 0,
        doubled: 0,
        moved: 0,
        acks_lost: 0,
    };
    /// One on which all does.
    pub const BAD: Line = Line {
        lost: 6,
        doubled: 8,
        moved: 5,
        acks_lost: 4,
    };
}

/// What is allowed: requests one way, responses the other, neither with `cont`.
pub fn policy() -> Policy {
    let stations = [(1, 1), (10, 20), (1024, 1024)];
    let requests = to_stations(&of_functions(&[0, 1, 2, 13], class::LINK), &stations);
    let responses = to_stations(&of_functions(&[129, 130], class::LINK), &stations);
    let accept = |rule| vec![(tracking(rule), Target::Accept)];
    Policy {
        original: accept(&requests),
        reply: accept(&responses),
    }
}

/// The segments of one message: so many octets in frames of the longest.
fn message(control: u8, pair: (u16, u16), function: u8, octets: usize, number: u8) -> Vec<Vec<u8>> {
    let mut fragment = vec![0xC0, function];
    fragment.extend((0..octets).map(|at| at as u8));
    let count = fragment.len().div_ceil(249);
    let segments = fragment.chunks(249).enumerate();
    segments
        .map(|(at, part)| {
            let mut transport = number.wrapping_add(at as u8) & 0x3F;
            transport |= if at == 0 { 0x40 } else { 0 };
            transport |= if at + 1 == count { 0x80 } else { 0 };
            frame(control, pair.0, pair.1, &[&[transport], part].concat())
        })
        .collect()
}

/// What a side has to say: short messages and long ones, of several stations, interleaved, some
/// segments repeated as on a link that wants confirmation.
pub fn frames(chance: &mut dyn Chance, direction: Direction, about: usize) -> Vec<Vec<u8>> {
    let (bit, functions): (u8, &[u8]) = match direction {
        Direction::Original => (control::DIR, &[0, 1, 2, 13]),
        Direction::Reply => (0, &[129, 130]),
    };
    let mut under_way: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut octets = 0;
    while octets < about || !under_way.is_empty() {
        // One message at a time for each pair of addresses.
        while octets < about && under_way.len() < 4 {
            let station = 10 + under_way.len() as u16;
            let pair = match direction {
                Direction::Original => (station, 1024),
                Direction::Reply => (1024, station),
            };
            let is_taken = |one: &Vec<Vec<u8>>| {
                one.first().is_some_and(|frame| {
                    let address = |at: usize| u16::from_le_bytes([frame[at], frame[at + 1]]);
                    (address(4), address(6)) == pair
                })
            };
            if under_way.iter().any(is_taken) {
                break;
            }
            if chance.one_in(5) {
                let link = frame(bit | 0x49, pair.0, pair.1, &[]);
                octets += link.len();
                under_way.push(vec![link]);
                continue;
            }
            let control = bit | *chance.pick(&[0x44, 0x53, 0x73]);
            let length = *chance.pick(&[1, 8, 40, 240, 700, 2048]);
            let length = length.min(about);
            let number = *chance.pick(&[0, 7, 62]);
            let mut segments = message(control, pair, *chance.pick(functions), length, number);
            octets += segments.iter().map(Vec::len).sum::<usize>();
            if chance.one_in(3) {
                // Its confirmation was lost: the last one again.
                segments.push(segments[segments.len() - 1].clone());
            }
            segments.reverse();
            under_way.push(segments);
        }
        let at = chance.below(under_way.len());
        // Reversed, so that the next one is the last; single frames are in order anyway.
        all.extend(under_way[at].pop());
        under_way.retain(|one| !one.is_empty());
    }
    all
}

/// How a sender cuts what it sends.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// Always so many octets.
    Every(usize),
    /// Each time another size, up to so many.
    UpTo(usize),
}

impl Cut {
    fn size(self, chance: &mut dyn Chance) -> usize {
        match self {
            Cut::Every(size) => size,
            Cut::UpTo(most) => 1 + chance.below(most),
        }
    }
}

/// One side of a connection, sending.
struct Side {
    direction: Direction,
    first: u32,
    stream: Vec<u8>,
    /// Where its frames end.
    ends: Vec<usize>,
    /// What it knows that the other has.
    acknowledged: usize,
    /// What went on at the gateway.
    front: usize,
    /// The other's end, and what it reads.
    endpoint: Endpoint,
    receiver: Receiver,
    read: Vec<u8>,
    frames: usize,
}

/// Octets that are under way at a time at most. An acknowledgement that the gateway saw may be lost behind it:
/// then as much comes again, and has to be there still to be compared.
const WINDOW: usize = KEPT_AT_LEAST as usize;
/// Segments that are.
const SEGMENTS: usize = 16;

/// A connection in which both sides send all that they have. Fails when something does not arrive, or
/// is counted as something else than what it is.
pub fn carry(
    chance: &mut dyn Chance,
    about: usize,
    cut: Cut,
    line: Line,
) -> Result<Carried, String> {
    let policy = policy();
    let mut gateway = Gateway::new(&policy, Memory::Grows, true);
    let isn = u32::MAX.wrapping_sub(chance.below(about.max(1)) as u32);
    let reply_isn = chance.word();
    let syn = Sent::new(Direction::Original, isn, flag::SYN, &[]);
    let answer = Sent {
        acknowledgement: isn.wrapping_add(1),
        ..Sent::new(Direction::Reply, reply_isn, flag::SYN | flag::ACK, &[])
    };
    if !gateway.pass(&syn) || !gateway.pass(&answer) || !gateway.is_followed() {
        return Err("a handshake is not let through".into());
    }
    let mut expected = Counts {
        none: 2,
        followed: 1,
        ..Counts::default()
    };
    let mut carried = Carried {
        connections: 1,
        ..Carried::default()
    };
    let kind = Kind {
        overlap: Overlap::First,
        holds_ahead: !chance.one_in(3),
        syn_ends: false,
        window: 65535,
    };
    let mut sides = [Direction::Original, Direction::Reply].map(|direction| {
        let frames = frames(chance, direction, about);
        let first = [isn, reply_isn][direction as usize].wrapping_add(1);
        let ends = frames.iter().scan(0, |end, frame| {
            *end += frame.len();
            Some(*end)
        });
        Side {
            direction,
            first,
            ends: ends.collect(),
            stream: frames.concat(),
            acknowledged: 0,
            front: 0,
            endpoint: Endpoint::connected(kind, first, 0),
            receiver: Receiver::new(Recovery::Close, true),
            read: Vec::new(),
            frames: 0,
        }
    });
    let most =
        200 + 40 * (sides[0].stream.len() + sides[1].stream.len()) / cut.size(chance).min(20);
    let mut rounds = 0;
    while sides
        .iter()
        .any(|side| side.acknowledged < side.stream.len())
    {
        rounds += 1;
        if rounds > most {
            return Err(format!(
                "not all arrived in {most} rounds: {:?}",
                gateway.counts
            ));
        }
        for at in 0..2 {
            let own_next = sides[1 - at].first.wrapping_add(sides[1 - at].front as u32);
            let side = &mut sides[at];
            side.round(
                chance,
                &mut gateway,
                cut,
                line,
                own_next,
                &mut expected,
                &mut carried,
            )?;
        }
    }
    for side in &sides {
        if side.read != side.stream || side.frames != side.ends.len() {
            return Err(format!("{:?}: something else arrived", side.direction));
        }
        carried.octets += side.stream.len() as u64;
        carried.frames += side.frames as u64;
    }
    if gateway.counts != expected {
        return Err(format!(
            "counted {:?}\nnot     {expected:?}",
            gateway.counts
        ));
    }
    Ok(carried)
}

impl Side {
    /// Sends what is not acknowledged, as much as may be under way; and gets acknowledgements.
    #[allow(clippy::too_many_arguments)] // all of it belongs to the one connection
    fn round(
        &mut self,
        chance: &mut dyn Chance,
        gateway: &mut Gateway<'_>,
        cut: Cut,
        line: Line,
        own_next: u32,
        expected: &mut Counts,
        carried: &mut Carried,
    ) -> Result<(), String> {
        let one_in = |times: usize, chance: &mut dyn Chance| times > 0 && chance.one_in(times);
        let mut segments = Vec::new();
        let mut from = self.acknowledged;
        let end = self.stream.len().min(self.acknowledged + WINDOW);
        while from < end && segments.len() < SEGMENTS {
            let to = (from + cut.size(chance)).min(end);
            segments.push((from, to));
            if one_in(line.doubled, chance) {
                segments.push((from, to));
            }
            from = to;
        }
        for at in 1..segments.len() {
            if one_in(line.moved, chance) {
                let with = at.saturating_sub(1 + chance.below(3));
                segments.swap(at, with);
            }
        }
        for (from, to) in segments {
            if one_in(line.lost, chance) {
                continue;
            }
            let sequence = self.first.wrapping_add(from as u32);
            let mut flags = flag::ACK;
            if to == self.stream.len() {
                flags |= flag::FIN | flag::PSH;
            }
            let sent = Sent {
                acknowledgement: own_next,
                ..Sent::new(self.direction, sequence, flags, &self.stream[from..to])
            };
            carried.segments += 1;
            let judged = gateway.judge(&sent);
            let commit = judged.as_ref().and_then(|judged| gateway.commit(judged));
            if from > self.front {
                expected.ahead += 1;
                carried.ahead += 1;
                if judged.is_some() {
                    return Err(format!("ahead, and accepted: {sent:x?}"));
                }
                continue;
            }
            if to <= self.front {
                expected.none += 1;
                carried.repeated += 1;
            } else {
                expected.accepted += 1;
                self.front = to;
            }
            if commit != Some(Commit::Pass) || !goes_on(commit) {
                return Err(format!(
                    "{commit:?}, accepted {}: {sent:x?}",
                    judged.is_some()
                ));
            }
            if one_in(line.lost, chance) {
                continue;
            }
            let taken = self.endpoint.take(&sent, 0);
            self.frames += self.receiver.take(&taken.octets).len();
            self.read.extend(taken.octets);
            if one_in(line.acks_lost, chance) {
                continue;
            }
            // Its acknowledgement, by the other way.
            let ack = Sent {
                acknowledgement: self.endpoint.next().unwrap_or(0),
                ..Sent::new(self.direction.other(), own_next, flag::ACK, &[])
            };
            if !gateway.pass(&ack) {
                return Err(format!("an acknowledgement is refused: {ack:x?}"));
            }
            expected.none += 1;
            if !one_in(line.acks_lost, chance) {
                let arrived = ack.acknowledgement.wrapping_sub(self.first) as usize;
                self.acknowledged = self.acknowledged.max(arrived);
            }
        }
        Ok(())
    }
}
