// SPDX-License-Identifier: GPL-2.0

//! Exchanges on a TCP connection, generated: any packets at all in any order, by which `core` and the
//! naive model are compared.
//!
//! Whatever is chosen is chosen by a [`Chance`]: numbers from a seed, or the octets of a fuzzer's input.

use crate::frames::{self, control, frame};
use crate::generate;
use crate::odd::Odd;
use crate::sequences::{of_functions, Dice};
use crate::track::{self, flag, Bounds, Sent, INSIDE, OUTSIDE};
use crate::track_gateway::{goes_on, judge, of_status, tracking};
use crate::vectors::{CARRIER_B, COLD_RESTART, READ};
use dnp3_core::rule::{class, option};
use dnp3_core::track::{Commit, Connection, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{Fragment, Headers, Octets, Packet, Rule, Verdict};

/// What choices are made by.
pub trait Chance {
    /// A number below `end`, which is not zero.
    fn below(&mut self, end: usize) -> usize;

    /// Whether it is the one time in so many.
    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// Any octet.
    fn octet(&mut self) -> u8 {
        self.below(256) as u8
    }

    /// Any number.
    fn word(&mut self) -> u32 {
        u32::from_be_bytes([self.octet(), self.octet(), self.octet(), self.octet()])
    }
}

impl dyn Chance + '_ {
    /// One of these, of which there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

impl Chance for Dice {
    fn below(&mut self, end: usize) -> usize {
        Dice::below(self, end)
    }
}

/// The octets of an input; behind them all choices are the first.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl Chance for Input<'_> {
    fn below(&mut self, end: usize) -> usize {
        let count = if end > 256 { 2 } else { usize::from(end > 1) };
        let (octets, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        octets
            .iter()
            .fold(0, |number, octet| number << 8 | usize::from(*octet))
            % end
    }
}

impl Input<'_> {
    /// Whether there is nothing left to choose by.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What a comparison has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Connections.
    pub exchanges: u64,
    /// Packets that were judged.
    pub packets: u64,
    /// Answers that were compared.
    pub verdicts: u64,
    /// Answers that a rule matches.
    pub matches: u64,
    /// By status: none, valid, partial, malformed, ahead, of packets of followed connections.
    pub statuses: [u64; 5],
    /// Packets that were committed.
    pub commits: u64,
    /// Those that were dropped then.
    pub dropped: u64,
    /// Messages that found no room.
    pub crowded: u64,
}

/// What differs from run to run and must make no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Room that was never used before, for each question.
    Fresh,
    /// Two rooms for all connections and rules; between two questions one by another connection, or by a
    /// packet that differs in its octets alone.
    Shared,
    /// The same, with the packets handed out in odd pieces.
    Pieces,
}

/// All of them.
pub const WAYS: [Way; 3] = [Way::Fresh, Way::Shared, Way::Pieces];

/// A connection known to both judges.
struct Both {
    id: u64,
    core: Option<Connection>,
    naive: Option<track::Connection>,
    memory: [Vec<u8>; 2],
    /// Judged and not committed.
    held: Option<Sent>,
}

/// What stays as it is within a comparison.
pub struct Comparison {
    /// Of two processors.
    scratch: [Box<Scratch>; 2],
    next_id: u64,
    /// What has been counted.
    pub compared: Compared,
}

impl Default for Comparison {
    fn default() -> Comparison {
        Comparison {
            scratch: Default::default(),
            next_id: 1,
            compared: Compared::default(),
        }
    }
}

const ADDRESSES: [u16; 4] = [1, 10, 1024, 65533];

/// Octets of a frame, most of them valid, of few pairs of addresses; long messages come in segments.
fn some_frame(chance: &mut dyn Chance) -> Vec<u8> {
    let any = *chance.pick(&ADDRESSES);
    let (to, from) = *chance.pick(&[(1, 1024), (1, 1024), (10, 1024), (1024, 1), (any, 3)]);
    let from_master = !chance.one_in(4);
    let bit = if from_master { control::DIR } else { 0 };
    if chance.one_in(6) {
        return frame(bit | *chance.pick(&[0x40, 0x49, 0x0B]), to, from, &[]);
    }
    let transport = match chance.below(8) {
        0..=2 => 0xC0,
        3 | 4 => 0x40,
        5 => 0x80,
        6 => 0,
        _ => chance.octet() & 0xC0,
    };
    let sequence = *chance.pick(&[0, 0, 1, 1, 2, 63]);
    let function = *chance.pick(&[1, 1, 2, 13, 129]);
    let mut user_data = vec![transport | sequence, 0xC0, function];
    match chance.below(12) {
        0 => user_data.truncate(2),
        1..=3 => user_data.resize(3 + chance.below(40), *chance.pick(&[0, 0x64])),
        4 => user_data.resize(250 - chance.below(3), 5),
        5 => {
            user_data.resize(16, 0);
            user_data.extend(*chance.pick(&[COLD_RESTART, READ, CARRIER_B]));
        }
        _ => {}
    }
    frame(
        bit | *chance.pick(&[0x44, 0x44, 0x73, 0x53]),
        to,
        from,
        &user_data,
    )
}

/// The frame with an octet of user data that is another, and right CRCs.
fn varied(chance: &mut dyn Chance, whole: &[u8]) -> Vec<u8> {
    let blocks = whole[frames::HEADER..].chunks(frames::BLOCK + 2);
    let mut user_data: Vec<u8> = blocks
        .flat_map(|block| &block[..block.len() - 2])
        .copied()
        .collect();
    if let Some(octet) = user_data.last_mut() {
        *octet ^= 1 << chance.below(8);
    }
    let address = |at: usize| u16::from_le_bytes([whole[at], whole[at + 1]]);
    frame(whole[3], address(4), address(6), &user_data)
}

/// A valid frame of so many octets, if there is one; else other octets.
fn of_size(chance: &mut dyn Chance, size: usize) -> Vec<u8> {
    let transport = *chance.pick(&[0xC0, 0x40]);
    (0..=frames::MAX_USER_DATA - 3)
        .map(|more| [&[transport, 0xC0, 2][..], &vec![0; more]].concat())
        .map(|user_data| frame(0xC4, 1, 1024, &user_data))
        .find(|frame| frame.len() >= size)
        .map_or(vec![5; size], |frame| frame[..size].to_vec())
}

/// A stream that a sender may have, mostly valid.
fn some_stream(chance: &mut dyn Chance, frames: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut last = Vec::new();
    for _ in 0..frames {
        match chance.below(10) {
            0 | 1 if !last.is_empty() => {}
            2 if last.len() > 15 => last = varied(chance, &last),
            3 | 4 => {
                // A message of two segments, or the first of them.
                let pair = *chance.pick(&[(1, 1024), (10, 1024), (1024, 1)]);
                let sequence = *chance.pick(&[0, 63]);
                let next = (sequence + 1) & 0x3F;
                let first = [0x40 | sequence, 0xC0, *chance.pick(&[1, 13]), 0];
                stream.extend(frame(0xC4, pair.0, pair.1, &first));
                if chance.one_in(2) {
                    continue;
                }
                last = frame(
                    0xC4,
                    pair.0,
                    pair.1,
                    &[0x80 | next, 1, 2, chance.octet(), 3],
                );
            }
            _ => last = some_frame(chance),
        }
        stream.extend(&last);
        if chance.one_in(24) {
            stream.extend(*chance.pick(&[&[5][..], &[5, 0x64], &[0], COLD_RESTART]));
        }
    }
    if chance.one_in(6) && !stream.is_empty() {
        let at = chance.below(stream.len());
        stream[at] ^= 1 << chance.below(8);
    }
    stream
}

/// Any rule that the generator of the state-free judge has, with more of `--status`, with or without
/// `--track`, under either reading.
fn some_rule(chance: &mut dyn Chance, rules: &[Rule]) -> Rule {
    let mut rule = if chance.one_in(3) {
        let listed = [*chance.pick(&[1, 2, 13, 129])];
        of_functions(&listed, chance.below(4) as u8)
    } else {
        *chance.pick(rules)
    };
    if chance.one_in(2) {
        rule = generate::with_reading(&rule, chance.one_in(2));
    }
    if chance.one_in(2) {
        rule.set |= option::TRACK;
    }
    if chance.one_in(3) {
        rule.set |= option::STATUS;
        rule.status = 1 + chance.below(31) as u8;
        if rule.set & option::TRACK == 0 {
            rule.status = 1 + rule.status % 15;
        }
    }
    rule
}

impl Comparison {
    /// Compares `core` with the naive model on one exchange. `rules` are some to choose from.
    pub fn compare(
        &mut self,
        chance: &mut dyn Chance,
        rules: &[Rule],
        way: Way,
    ) -> Result<(), String> {
        self.compared.exchanges += 1;
        let mut log = String::new();
        self.exchange(chance, rules, way, &mut log)
            .map_err(|why| format!("{why}\n{way:?}\n{log}"))
    }

    fn exchange(
        &mut self,
        chance: &mut dyn Chance,
        rules: &[Rule],
        way: Way,
        log: &mut String,
    ) -> Result<(), String> {
        const SIZES: [usize; 5] = [0, 1, 300, 2048, 9000];
        let bounds = Bounds {
            frame_age: 15,
            messages: *chance.pick(&[16, 16, 16, 3, 1, 0]),
        };
        let limits = Limits {
            frame_age: bounds.frame_age,
            messages: bounds.messages as u32,
        };
        let mut now = if chance.one_in(4) { u32::MAX - 20 } else { 100 };
        let isn = if chance.one_in(3) {
            u32::MAX.wrapping_sub(chance.below(300) as u32)
        } else {
            chance.word()
        };
        let reply_isn = u32::MAX.wrapping_sub(chance.below(40) as u32);
        let small = chance.one_in(3);
        let room = [(); 2].map(|()| if small { *chance.pick(&SIZES) } else { 9000 });
        let mut both = Both {
            id: self.next_id,
            core: None,
            naive: None,
            memory: room.map(|room| vec![0; room]),
            held: None,
        };
        self.next_id += 1;

        // A handshake, most often a right one.
        let syn = Sent::new(Direction::Original, isn, flag::SYN, &[]);
        let mut begin = syn.clone();
        if chance.one_in(30) {
            begin.flags |= 1 << chance.below(8);
        }
        if chance.one_in(40) {
            begin.payload = READ.to_vec();
        }
        let (octets, headers) = begin.packet();
        both.core = Connection::begin(both.id, &Octets(&octets), &headers, OUTSIDE);
        both.naive = track::Connection::begin(&begin, OUTSIDE, room);
        if both.core.is_some() != both.naive.is_some() {
            return Err(format!("begins with {begin:x?}"));
        }
        let mut script = vec![Sent {
            acknowledgement: isn.wrapping_add(1),
            ..Sent::new(Direction::Reply, reply_isn, flag::SYN | flag::ACK, &[])
        }];
        if chance.one_in(12) {
            script.clear();
        }

        // What each side has to say, and what it may say in its place.
        let count = 1 + chance.below(6);
        let long = chance.one_in(if small { 3 } else { 20 });
        let mut streams: Vec<[Vec<u8>; 2]> = Vec::new();
        for _ in 0..2 {
            let stream = some_stream(chance, if long { 30 } else { count });
            let mut other = stream.clone();
            other.truncate(chance.below(other.len() + 1));
            other.extend(some_stream(chance, count));
            streams.push([stream, other]);
        }
        let mut at = [0usize; 2];
        let steps = 2 + chance.below(3 * count + 8);
        for _ in 0..steps {
            let sent = match script.pop() {
                Some(sent) => sent,
                None => self.any_segment(chance, &mut at, &streams, isn, reply_isn, &both),
            };
            if chance.one_in(20) {
                now = now.wrapping_add(*chance.pick(&[1, 7, 15, 16, 100]));
            }
            if chance.one_in(6) && small {
                let size = *chance.pick(&SIZES);
                self.move_some(chance, &mut both, size);
            }
            log.push_str(&format!("at {now}: {sent:x?}\n"));
            self.step(chance, rules, way, &mut both, &sent, now, bounds, limits)?;
        }
        Ok(())
    }

    fn move_some(&mut self, chance: &mut dyn Chance, both: &mut Both, size: usize) {
        let direction = *chance.pick(&[Direction::Original, Direction::Reply]);
        let mut moved = vec![0xEE; size];
        let memory = &mut both.memory[direction as usize];
        if let (Some(core), Some(naive)) = (&mut both.core, &mut both.naive) {
            core.move_to(direction, memory, &mut moved);
            naive.move_to(direction, size);
            *memory = moved;
        }
    }

    fn any_segment(
        &mut self,
        chance: &mut dyn Chance,
        at: &mut [usize; 2],
        streams: &[[Vec<u8>; 2]],
        isn: u32,
        reply_isn: u32,
        both: &Both,
    ) -> Sent {
        let side = usize::from(chance.one_in(3));
        let direction = [Direction::Original, Direction::Reply][side];
        let first = [isn, reply_isn][side].wrapping_add(1);
        let stream = &streams[side][usize::from(chance.one_in(10))];
        // Where the judges stand: most go on from there.
        let committed = both
            .naive
            .as_ref()
            .map_or(0, |one| one.streams[side].octets.len());
        let here = match chance.below(10) {
            0 => committed.saturating_sub(chance.below(40)),
            1 if chance.one_in(2) => committed.saturating_sub(chance.below(330)),
            1 => committed + chance.below(4),
            2 => chance.below(stream.len() + 1),
            3 => at[side],
            _ => committed,
        };
        let from = here.min(stream.len());
        let most = stream.len() - from;
        let size = match chance.below(6) {
            0 => 1,
            1 | 2 => chance.below(60),
            3 => chance.below(400),
            4 => frame_size(&stream[from..]),
            _ => most,
        };
        let to = from + size.min(most);
        at[side] = to;
        let mut sent = Sent::new(
            direction,
            first.wrapping_add(here as u32),
            flag::ACK | flag::PSH,
            &stream[from..to],
        );
        sent.acknowledgement = [reply_isn, isn][side]
            .wrapping_add(1)
            .wrapping_add(chance.below(600) as u32);
        match chance.below(60) {
            0 => sent.flags = chance.octet(),
            1 => sent.flags |= flag::FIN,
            2 => sent.flags |= flag::URG,
            3 => sent.sequence = chance.word(),
            4 => sent.payload.clear(),
            5 => sent.fragment = *chance.pick(&[Fragment::First, Fragment::Later]),
            6 => {
                // A handshake again, right or not.
                sent.payload.truncate(chance.below(2));
                sent.sequence = first.wrapping_sub(1);
                sent.flags =
                    [flag::SYN, flag::SYN | flag::ACK][usize::from(!chance.one_in(3)) & side];
                sent.acknowledgement = isn.wrapping_add(1);
            }
            7 => {
                sent.came_in = *chance.pick(&[0, INSIDE, OUTSIDE]);
                sent.flags |= flag::SYN;
            }
            8 if !sent.payload.is_empty() => {
                // One octet that is another.
                let at = chance.below(sent.payload.len());
                sent.payload[at] ^= 1 << chance.below(8);
            }
            9 => sent.acknowledgement = chance.word(),
            10 => sent.options = chance.below(11) as u8,
            11 => {
                // From before the first octet.
                let before = 1 + chance.below(30);
                sent.sequence = sent.sequence.wrapping_sub(before as u32);
                sent.payload.splice(0..0, CARRIER_B[..before].to_vec());
            }
            _ => {}
        }
        sent
    }

    #[allow(clippy::too_many_arguments)] // all of it changes from step to step
    fn step(
        &mut self,
        chance: &mut dyn Chance,
        rules: &[Rule],
        way: Way,
        both: &mut Both,
        sent: &Sent,
        now: u32,
        bounds: Bounds,
        limits: Limits,
    ) -> Result<(), String> {
        let (octets, headers) = sent.packet();
        self.compared.packets += 1;
        let linear = chance.below(octets.len() + 1);
        let direction = sent.direction;
        let mut asked: Vec<Rule> = (0..1 + chance.below(3))
            .map(|_| some_rule(chance, rules))
            .collect();
        asked.push(tracking(&of_functions(&[1, 2, 129], class::LINK)));
        // Its status, one of five.
        asked.extend((0..5).map(|bit| of_status(1 << bit)));
        let is_followed = both
            .naive
            .as_ref()
            .is_some_and(|one| one.is_followed(now, &bounds));
        let mut statuses = 0;
        for (number, rule) in asked.iter().enumerate() {
            let odd = Odd::new(&octets, linear);
            let whole = Octets(&octets);
            let packet: &dyn Packet = if way == Way::Pieces { &odd } else { &whole };
            let mut fresh;
            if way == Way::Shared && chance.one_in(4) {
                self.disturb(rule, packet, &headers, now, limits);
            }
            let room = usize::from(way == Way::Shared && chance.one_in(4));
            let scratch = if way == Way::Fresh {
                fresh = Box::new(Scratch::new());
                &mut fresh
            } else {
                &mut self.scratch[room]
            };
            let mut tracked = both.core.as_ref().map(|connection| Tracked {
                connection,
                direction,
                memory: &both.memory[direction as usize],
                scratch,
                now,
                limits,
            });
            let core = judge(rule, packet, &headers, tracked.as_mut());
            let naive = match &both.naive {
                Some(one) => one.judge(rule, sent, now, &bounds),
                None => track::judge_untracked(rule, sent),
            };
            if core != naive {
                return Err(format!("core {core:?}, naive {naive:?}: {rule:x?}"));
            }
            if let Some(at) = odd.fetched_twice().filter(|_| way == Way::Pieces) {
                // A header is read by whoever asks; each octet of the payload once.
                let transport = headers.transport as usize;
                if at >= transport + 20 + 4 * usize::from(sent.options.min(10)) {
                    return Err(format!("octet {at} was fetched twice"));
                }
            }
            self.compared.verdicts += 1;
            self.compared.matches += u64::from(core == Verdict::Match);
            if number + 5 >= asked.len() && core == Verdict::Match {
                statuses += 1;
                let bit = number + 5 - asked.len();
                self.compared.statuses[bit] += u64::from(is_followed);
            }
        }
        if is_followed && statuses != 1 && sent.fragment != Fragment::Later {
            return Err(format!("{statuses} statuses"));
        }
        // A packet that was not committed has changed nothing.
        if chance.one_in(6) {
            both.held = Some(sent.clone());
            return Ok(());
        }
        if way == Way::Shared && chance.one_in(4) {
            // Another for the same place, of the same length, has the last word in the room.
            let twin = Sent {
                payload: of_size(chance, sent.payload.len()),
                ..sent.clone()
            };
            let (octets, headers) = twin.packet();
            let mut tracked = both.core.as_ref().map(|connection| Tracked {
                connection,
                direction,
                memory: &both.memory[direction as usize],
                scratch: &mut self.scratch[0],
                now,
                limits,
            });
            let rule = of_status(31);
            judge(&rule, &Octets(&octets), &headers, tracked.as_mut());
        }
        self.commit(chance, way, both, sent, linear, now, bounds, limits)?;
        let late = both.held.take().filter(|_| way != Way::Pieces);
        match late {
            // On another processor, which has judged it by what was before.
            Some(late) => self.commit(chance, way, both, &late, 0, now, bounds, limits),
            None => Ok(()),
        }
    }

    #[allow(clippy::too_many_arguments)] // as above
    fn commit(
        &mut self,
        chance: &mut dyn Chance,
        way: Way,
        both: &mut Both,
        sent: &Sent,
        linear: usize,
        now: u32,
        bounds: Bounds,
        limits: Limits,
    ) -> Result<(), String> {
        let (octets, headers) = sent.packet();
        let direction = sent.direction;
        if let (Some(core), Some(naive)) = (&mut both.core, &mut both.naive) {
            let odd = Odd::new(&octets, linear);
            let whole = Octets(&octets);
            let packet: &dyn Packet = if way == Way::Pieces { &odd } else { &whole };
            let passing = Passing {
                direction,
                headers: &headers,
                now,
                came_in: Some(sent.came_in),
                goes_out: OUTSIDE,
            };
            let mut fresh;
            let scratch = if way == Way::Fresh {
                fresh = Box::new(Scratch::new());
                &mut fresh
            } else {
                &mut self.scratch[usize::from(way == Way::Shared && chance.one_in(4))]
            };
            let memory = &mut both.memory[direction as usize];
            // Twice, as at two hooks: the second time changes nothing.
            let times = 1 + usize::from(chance.one_in(8) && way != Way::Pieces);
            for _ in 0..times {
                let one = core.commit(packet, &passing, memory, &limits, scratch);
                let other = naive.commit(sent, now, &bounds);
                if one != other {
                    return Err(format!("core commits {one:?}, naive {other:?}"));
                }
                self.compared.commits += 1;
                self.compared.dropped += u64::from(!goes_on(Some(one)));
                self.compared.crowded += u64::from(one == Commit::Crowded);
            }
            if core.is_followed(now, &limits) != naive.is_followed(now, &bounds) {
                return Err("one follows it, the other does not".into());
            }
            let (wanted, left) = (core.wanted(direction, 0), core.unacknowledged(direction));
            if core.is_followed(now, &limits) && wanted < left {
                return Err(format!(
                    "{left} octets may be sent again, {wanted} are kept"
                ));
            }
        }
        Ok(())
    }

    /// Another connection has the packet judged in the same room.
    fn disturb(
        &mut self,
        rule: &Rule,
        packet: &dyn Packet,
        headers: &Headers,
        now: u32,
        limits: Limits,
    ) {
        let mut whole = vec![0; packet.len() as usize];
        packet.copy(0, &mut whole);
        let transport = headers.transport as usize;
        let sequence: [u8; 4] = whole[transport + 4..transport + 8]
            .try_into()
            .expect("four octets");
        // One that stands where this packet begins.
        let isn = u32::from_be_bytes(sequence).wrapping_sub(1);
        let syn = Sent::new(Direction::Original, isn, flag::SYN, &[]);
        let (octets, its) = syn.packet();
        self.next_id += 1;
        let mut other = Connection::begin(self.next_id, &Octets(&octets), &its, OUTSIDE)
            .expect("a SYN begins a connection");
        let answer = Sent {
            acknowledgement: isn.wrapping_add(1),
            ..Sent::new(Direction::Reply, 0, flag::SYN | flag::ACK, &[])
        };
        let (octets, its) = answer.packet();
        let passing = Passing {
            direction: Direction::Reply,
            headers: &its,
            now,
            came_in: Some(OUTSIDE),
            goes_out: OUTSIDE,
        };
        other.commit(
            &Octets(&octets),
            &passing,
            &mut [],
            &limits,
            &mut self.scratch[0],
        );
        let mut tracked = Tracked {
            connection: &other,
            direction: Direction::Original,
            memory: &[],
            scratch: &mut self.scratch[0],
            now,
            limits,
        };
        let _ = judge(rule, packet, headers, Some(&mut tracked));
    }
}

/// Octets up to the end of the frame that begins here, if one does.
fn frame_size(octets: &[u8]) -> usize {
    match octets {
        [0x05, 0x64, len, ..] => frames::wire_len(*len),
        _ => 10,
    }
}
