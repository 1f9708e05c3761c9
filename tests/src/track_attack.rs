// SPDX-License-Identifier: GPL-2.0

//! An attacker who may send any TCP segment, a gateway that follows the stream, and a station behind
//! it: whatever the station's receivers execute has to be what the policy allows.
//!
//! ```text
//! attacker --[ Gateway ]--( may be lost )--[ Endpoint ]--> octets --[ Receiver ]--[ Station ]--> executed
//!              ^ held back, let go in any order
//! ```

use crate::frames::frame;
use crate::generate::with_reading;
use crate::naive::Class;
use crate::receivers::{Receiver, Station};
use crate::sequences::{not, of_functions, to_stations};
use crate::track::{flag, Sent, INSIDE};
use crate::track_exchanges::Chance;
use crate::track_gateway::{
    goes_on, of_status, tracking, Counts, Gateway, Judged, Memory, Policy, Target,
};
use crate::track_tcp::{Endpoint, Kind};
use crate::vectors::{
    COLD_RESTART, CONT_RESTART, READ, REQUEST_LINK_STATUS, SHORT_FIR_1, SHORT_FIR_2, WRITE,
};
use dnp3_core::rule::{class, dir, option, status, Range};
use dnp3_core::track::Direction;
use dnp3_core::Rule;

/// A policy, and a frame of 15 octets that it does not allow.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The rules.
    pub policy: Policy,
    /// The frame.
    pub forbidden: Vec<u8>,
}

fn from_station(rule: &Rule, source: u16) -> Rule {
    let mut rule = Rule {
        set: rule.set | option::SADDR,
        saddr_count: 1,
        ..*rule
    };
    rule.saddr[0] = Range {
        min: source,
        max: source,
    };
    rule
}

fn accept(rule: &Rule) -> (Rule, Target) {
    (tracking(rule), Target::Accept)
}

fn refuse(rule: &Rule) -> (Rule, Target) {
    (tracking(&with_reading(rule, true)), Target::Drop)
}

/// What the README lets an outstation send.
fn responses() -> Rule {
    Rule {
        set: option::FC | option::DIR,
        dir: dir::OUTSTATION,
        ..of_functions(&[129, 130], class::LINK)
    }
}

/// Policies of each kind: what is allowed is listed, or what is not.
pub fn policies() -> Vec<Guarded> {
    let bare = Rule::default();
    let reads = of_functions(&[0, 1, 2], class::LINK);
    let restart = of_functions(&[13, 14], 0);
    let own = [(1, 1), (10, 10)];
    let to_1 = from_station(
        &to_stations(&of_functions(&[1], class::LINK), &[(1, 1)]),
        1024,
    );
    let to_10 = to_stations(&of_functions(&[2], 0), &[(10, 10)]);
    let read_of_10 = frame(0xC4, 10, 1024, &[0xC0, 0xC0, 1]);
    let write_to_1 = frame(0xC4, 1, 1024, &[0xC0, 0xC0, 2]);
    let guarded = |original: Vec<(Rule, Target)>, forbidden: &[u8]| Guarded {
        policy: Policy {
            original,
            reply: vec![accept(&responses())],
        },
        forbidden: forbidden.to_vec(),
    };
    vec![
        // The README's.
        guarded(
            vec![accept(&from_station(&to_stations(&reads, &own), 1024))],
            COLD_RESTART,
        ),
        guarded(vec![refuse(&restart), accept(&bare)], COLD_RESTART),
        guarded(vec![accept(&not(&restart))], COLD_RESTART),
        guarded(vec![accept(&to_1), accept(&to_10)], &write_to_1),
        guarded(
            vec![
                refuse(&not(&of_functions(&[0, 1], class::LINK | class::CONT))),
                (of_status(status::VALID | status::PARTIAL), Target::Accept),
            ],
            COLD_RESTART,
        ),
        guarded(
            vec![
                refuse(&to_stations(&bare, &[(10, 10)])),
                refuse(&restart),
                accept(&bare),
            ],
            &read_of_10,
        ),
    ]
}

/// A frame that all policies allow, with another whole inside, from its 29th octet on.
pub fn carrier(inner: &[u8]) -> Vec<u8> {
    let start = [&[0xC1, 0xC1, 1][..], &[0; 13], inner].concat();
    frame(0xC4, 1, 1024, &start)
}

/// What attacks have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attacked {
    /// Exchanges.
    pub exchanges: u64,
    /// Packets of the attacker that came to the gateway.
    pub packets: u64,
    /// Those with payload that went on.
    pub went_on: u64,
    /// Those that the endpoint never got.
    pub lost: u64,
    /// Those that were let go after others were committed.
    pub late: u64,
    /// Octets that applications read.
    pub octets: u64,
    /// Frames that receivers delivered.
    pub frames: u64,
    /// Functions that stations executed.
    pub executed: u64,
    /// Connections that began at the endpoint.
    pub connections: u64,
    /// What the gateways counted.
    pub counts: Counts,
}

/// A gateway between an attacker and a station, of which receivers of each kind read the same octets.
pub struct World<'p> {
    guarded: &'p Guarded,
    /// The gateway.
    pub gateway: Gateway<'p>,
    /// The station's TCP.
    pub endpoint: Endpoint,
    receivers: Vec<(Receiver, [Station; 2])>,
    held: Vec<Judged>,
    /// What the endpoint begins its next connection with.
    isn: u32,
    /// What has been counted.
    pub attacked: Attacked,
    /// Functions that the first of the receivers has had executed.
    pub functions: Vec<u8>,
}

fn stations() -> [Station; 2] {
    [Station::new(1), Station::new(10)]
}

fn receivers() -> Vec<(Receiver, [Station; 2])> {
    let all = Receiver::all().into_iter();
    all.map(|receiver| (receiver, stations())).collect()
}

/// Whether rules let this through, one by one: `only` is what an accepting rule has to be true of, `any` what a
/// dropping one must not be.
fn permits(
    rules: &[(Rule, Target)],
    only: &dyn Fn(&Rule) -> bool,
    any: &dyn Fn(&Rule) -> bool,
) -> bool {
    for (rule, target) in rules {
        match target {
            Target::Drop if any(rule) => return false,
            Target::Accept if only(rule) => return true,
            _ => {}
        }
    }
    false
}

impl<'p> World<'p> {
    /// One in which nothing has been sent.
    pub fn new(guarded: &'p Guarded, kind: Kind, memory: Memory, strict: bool) -> World<'p> {
        World {
            guarded,
            gateway: Gateway::new(&guarded.policy, memory, strict),
            endpoint: Endpoint::new(kind),
            receivers: receivers(),
            held: Vec::new(),
            isn: 0xFFFF_FFF0,
            attacked: Attacked::default(),
            functions: Vec::new(),
        }
    }

    /// A packet comes to the gateway. With `reaches`, the endpoint gets it if it goes on.
    pub fn send(&mut self, sent: &Sent, reaches: bool) -> Result<bool, String> {
        self.attacked.packets += 1;
        match self.gateway.judge(sent) {
            Some(judged) => self.let_go(&judged, reaches),
            None => Ok(false),
        }
    }

    /// The same, but it is held back behind the rules.
    pub fn hold(&mut self, sent: &Sent) -> bool {
        self.attacked.packets += 1;
        match self.gateway.judge(sent) {
            Some(judged) => self.held.push(judged),
            None => return false,
        }
        true
    }

    /// One that was held back comes to the hook.
    pub fn release(&mut self, at: usize, reaches: bool) -> Result<bool, String> {
        let judged = self.held.remove(at);
        self.attacked.late += 1;
        self.let_go(&judged, reaches)
    }

    fn let_go(&mut self, judged: &Judged, reaches: bool) -> Result<bool, String> {
        if !goes_on(self.gateway.commit(judged)) {
            return Ok(false);
        }
        let sent = &judged.sent;
        self.attacked.went_on += u64::from(!sent.payload.is_empty());
        if sent.direction == Direction::Reply {
            return Ok(true);
        }
        if !reaches {
            self.attacked.lost += 1;
            return Ok(true);
        }
        let taken = self.endpoint.take(sent, self.isn);
        if taken.began {
            self.isn = self.isn.wrapping_add(0x1_0007);
            self.attacked.connections += 1;
            for ((receiver, _), new) in self.receivers.iter_mut().zip(Receiver::all()) {
                *receiver = new;
            }
        }
        self.read(&taken.octets)?;
        if let Some(answer) = taken.answer {
            self.gateway.pass(&answer);
        }
        Ok(true)
    }

    /// The application has octets.
    fn read(&mut self, octets: &[u8]) -> Result<(), String> {
        self.attacked.octets += octets.len() as u64;
        let rules = &self.guarded.policy.original;
        for (number, (receiver, stations)) in self.receivers.iter_mut().enumerate() {
            for frame in receiver.take(octets) {
                self.attacked.frames += 1;
                // Of which message a continuation is, the station will know.
                let is_cont = frame.classes() == [Class::Cont];
                let part = |rule: &Rule| Rule {
                    set: rule.set & if is_cont { !option::FC } else { !0 },
                    ..*rule
                };
                let is_permitted = permits(
                    rules,
                    &|rule| frame.satisfies(&part(rule), false),
                    &|rule| !is_cont && frame.satisfies(rule, true),
                );
                if !is_permitted {
                    return Err(format!("{receiver:?}\ndelivers {frame:x?}"));
                }
                for executed in stations.iter_mut().filter_map(|one| one.take(&frame)) {
                    self.attacked.executed += 1;
                    if number == 0 {
                        self.functions.push(executed.function);
                    }
                    let is_permitted =
                        permits(rules, &|rule| executed.satisfies(rule, false), &|rule| {
                            executed.satisfies(rule, true)
                        });
                    if !is_permitted {
                        return Err(format!("{receiver:?}\nexecutes {executed:x?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// A handshake: the SYN, and the answer of the endpoint. Whether both came through.
    pub fn open(&mut self, isn: u32) -> Result<bool, String> {
        let syn = Sent::new(Direction::Original, isn, flag::SYN, &[]);
        if !self.send(&syn, true)? || self.endpoint.next() != Some(isn.wrapping_add(1)) {
            return Ok(false);
        }
        Ok(self.gateway.is_followed())
    }
}

/// What an attacker has prepared: streams of which each is right by itself, to be mixed.
struct Plan {
    isn: u32,
    streams: Vec<Vec<u8>>,
    /// Places where something ends or begins.
    places: Vec<usize>,
}

impl Plan {
    fn new(chance: &mut dyn Chance, guarded: &Guarded) -> Plan {
        let isn = if chance.one_in(3) {
            u32::MAX.wrapping_sub(chance.below(120) as u32)
        } else {
            chance.word()
        };
        let start = pieces(chance, guarded);
        let streams: Vec<Vec<Vec<u8>>> = (0..1 + chance.below(3))
            .map(|_| {
                let mut stream = start.clone();
                stream.truncate(chance.below(start.len() + 1));
                stream.extend(pieces(chance, guarded));
                stream
            })
            .collect();
        let mut places = vec![0];
        for stream in &streams {
            let mut at = 0;
            for piece in stream {
                if piece.len() > 28 {
                    places.push(at + 28);
                }
                at += piece.len();
                places.push(at);
            }
        }
        Plan {
            isn,
            streams: streams.iter().map(|stream| stream.concat()).collect(),
            places,
        }
    }
}

/// Some frames, as they follow one another.
fn pieces(chance: &mut dyn Chance, guarded: &Guarded) -> Vec<Vec<u8>> {
    let read = |more: usize| {
        let user_data = [&[0xC0, 0xC0, 1][..], &vec![0; more]].concat();
        frame(0xC4, 1, 1024, &user_data)
    };
    let mut all = Vec::new();
    for _ in 0..1 + chance.below(3) {
        match chance.below(20) {
            0..=3 => all.push(carrier(&guarded.forbidden)),
            4 => all.push(REQUEST_LINK_STATUS.to_vec()),
            5 => all.extend([REQUEST_LINK_STATUS.to_vec(), read(3)]),
            6..=8 => all.push(read(13)),
            9 => all.push(read(*chance.pick(&[0, 5, 29, 200]))),
            10 => all.push(READ.to_vec()),
            11 | 12 => {
                // A message in segments, with whatever in the last.
                let octet = *chance.pick(&[0, 13, 2]);
                all.push(frame(0xC4, 1, 1024, &[0x40, 0xC0, 1, 0, 0, 0]));
                all.push(frame(0xC4, 1, 1024, &[0x01, 0xC0, octet]));
                all.push(frame(0xC4, 1, 1024, &[0x82, 0xC0, octet, 0]));
            }
            13 => {
                // The next header is taken for its last block.
                let mut outer = read(13 + 8);
                outer.truncate(28);
                all.extend([outer, carrier(&guarded.forbidden)]);
            }
            14 => all.push(guarded.forbidden.clone()),
            15 => all.push(carrier(&guarded.forbidden)[28..].to_vec()),
            16 => all.extend([SHORT_FIR_1, SHORT_FIR_2].map(<[u8]>::to_vec)),
            17 => all.push(CONT_RESTART.to_vec()),
            18 => all.push(WRITE.to_vec()),
            _ => {
                let to = *chance.pick(&[1, 10, 65533]);
                all.push(frame(
                    0xC4,
                    to,
                    1024,
                    &[0xC0, 0xC0, *chance.pick(&[1, 2, 13])],
                ));
            }
        }
    }
    all
}

/// One exchange. `log` tells what was sent, for when it breaks the law.
pub fn attack(
    chance: &mut dyn Chance,
    policies: &[Guarded],
    kinds: &[Kind],
    log: &mut Vec<String>,
) -> Result<Attacked, String> {
    let guarded = chance.pick(policies);
    let kind = *chance.pick(kinds);
    let memory = *chance.pick(&[
        Memory::Grows,
        Memory::Grows,
        Memory::Fixed(2048),
        Memory::Fixed(40),
        Memory::Fixed(0),
    ]);
    let strict = chance.one_in(2);
    let mut world = World::new(guarded, kind, memory, strict);
    log.push(format!("{kind:?} {memory:?} strict {strict} {guarded:x?}"));
    let mut plan = Plan::new(chance, guarded);
    match chance.below(16) {
        0 => {
            // A connection that is older than the rules.
            world.endpoint = Endpoint::connected(kind, plan.isn.wrapping_add(1), 77);
            log.push("it was there before".into());
        }
        1 => {}
        _ => {
            world.open(plan.isn)?;
            log.push(format!("handshake, {:#x}", plan.isn));
        }
    }
    let steps = 2 + chance.below(24);
    for _ in 0..steps {
        step(chance, &mut world, &mut plan, log)?;
    }
    while !world.held.is_empty() {
        let at = chance.below(world.held.len());
        log.push(format!("let go: {:x?}", world.held[at].sent));
        world.release(at, true)?;
    }
    world.attacked.exchanges = 1;
    world.attacked.counts = world.gateway.counts;
    Ok(world.attacked)
}

fn step(
    chance: &mut dyn Chance,
    world: &mut World<'_>,
    plan: &mut Plan,
    log: &mut Vec<String>,
) -> Result<(), String> {
    let sent = match chance.below(40) {
        0..=27 => data(chance, world, plan),
        28 => {
            let seconds = *chance.pick(&[1, 14, 15, 16]);
            world.gateway.now = world.gateway.now.wrapping_add(seconds);
            log.push(format!("{seconds} s pass"));
            return Ok(());
        }
        29 => {
            log.push("the endpoint forgets all".into());
            world.endpoint.reboot();
            return Ok(());
        }
        30 if chance.one_in(2) => {
            log.push("conntrack forgets it".into());
            world.gateway.forget();
            return Ok(());
        }
        30 | 31 => {
            // Again, with another number or the same.
            if !chance.one_in(3) {
                plan.isn = match chance.below(4) {
                    0 => plan.isn.wrapping_add(28),
                    1 => plan.isn.wrapping_sub(28),
                    _ => chance.word(),
                };
            }
            log.push(format!("handshake, {:#x}", plan.isn));
            world.open(plan.isn)?;
            return Ok(());
        }
        32..=34 if !world.held.is_empty() => {
            let at = chance.below(world.held.len());
            log.push(format!("let go: {:x?}", world.held[at].sent));
            let reaches = !chance.one_in(4);
            return world.release(at, reaches).map(|_| ());
        }
        _ => control(chance, world, plan),
    };
    if chance.one_in(5) {
        let is_held = world.hold(&sent);
        log.push(format!("held back {is_held}: {sent:x?}"));
        return Ok(());
    }
    let reaches = !chance.one_in(4);
    log.push(format!("reaches {reaches}: {sent:x?}"));
    let went_on = world.send(&sent, reaches)?;
    log.push(format!("  went on {went_on}"));
    Ok(())
}

/// Payload: of one of the streams, at a place where it may do something.
fn data(chance: &mut dyn Chance, world: &World<'_>, plan: &Plan) -> Sent {
    let first = plan.isn.wrapping_add(1);
    // Most of what goes through is the first one's, and the others are to be mixed with it.
    let stream = match chance.below(3) {
        0 => chance.pick(&plan.streams),
        _ => &plan.streams[0],
    };
    let expected = world.endpoint.next().unwrap_or(first).wrapping_sub(first);
    let near = match chance.below(8) {
        0..=2 => *chance.pick(&plan.places),
        3 => expected as usize,
        4 => (expected as usize).saturating_sub(*chance.pick(&[28, 10, 1])),
        5 => chance.below(stream.len() + 2),
        _ => world.gateway_next(first) as usize,
    };
    let from = near.min(stream.len());
    let to = match chance.below(6) {
        0 => from + 1,
        1 => from + chance.below(60),
        2 | 3 => {
            let behind: Vec<usize> = plan
                .places
                .iter()
                .copied()
                .filter(|at| *at > from)
                .collect();
            if behind.is_empty() {
                stream.len()
            } else {
                *chance.pick(&behind)
            }
        }
        _ => stream.len(),
    }
    .min(stream.len());
    let mut sent = Sent::new(
        Direction::Original,
        first.wrapping_add(from as u32),
        flag::ACK | flag::PSH,
        &stream[from..to],
    );
    sent.acknowledgement = world.endpoint.own().unwrap_or(0);
    match chance.below(50) {
        0 => sent.flags |= flag::URG,
        1 => sent.flags |= flag::FIN,
        2 => sent.flags |= flag::RST,
        3 => sent.flags |= flag::SYN,
        4 => sent.flags = chance.octet(),
        5 => {
            // From before the first octet, or before what it stands behind.
            let before = *chance.pick(&[28, 10, 1]);
            let carrier = carrier(&world.guarded.forbidden);
            sent.sequence = sent.sequence.wrapping_sub(before as u32);
            sent.payload.splice(0..0, carrier[..before].to_vec());
        }
        6 => {
            let whole = carrier(&world.guarded.forbidden);
            sent.sequence = sent.sequence.wrapping_sub(28);
            sent.payload = whole;
        }
        7 => {
            sent.sequence = sent
                .sequence
                .wrapping_add(*chance.pick(&[1, 28, 5000, 1 << 31]))
        }
        8 => sent.options = chance.below(11) as u8,
        9 => sent.payload = world.guarded.forbidden.clone(),
        _ => {}
    }
    sent
}

/// Segments without payload, or in a handshake, or forged.
fn control(chance: &mut dyn Chance, world: &World<'_>, plan: &Plan) -> Sent {
    let first = plan.isn.wrapping_add(1);
    let next = world.endpoint.next().unwrap_or(first);
    let own = world.endpoint.own().unwrap_or(0);
    let near = next.wrapping_add(*chance.pick(&[0, 0, 1, 28, 3000]));
    let before = next.wrapping_sub(*chance.pick(&[1, 10, 28]));
    let original = |sequence, flags, payload: &[u8]| Sent {
        acknowledgement: own,
        ..Sent::new(Direction::Original, sequence, flags, payload)
    };
    // As if it were the station's.
    let forged = |sequence, flags, acknowledgement| Sent {
        acknowledgement,
        came_in: INSIDE,
        ..Sent::new(Direction::Reply, sequence, flags, &[])
    };
    match chance.below(14) {
        0 => original(next, flag::ACK, &[]),
        1 => original(near, flag::FIN | flag::ACK, &[]),
        2 => original(before, flag::FIN | flag::ACK, &[]),
        3 => original(near, flag::RST, &[]),
        4 => original(plan.isn, flag::SYN, &[]),
        5 => original(chance.word(), flag::SYN, &[]),
        6 => {
            let whole = carrier(&world.guarded.forbidden);
            original(plan.isn, flag::SYN, &whole[28 * chance.below(2)..])
        }
        7 => original(plan.isn, flag::SYN | flag::ACK, &[]),
        8 => original(next, flag::URG | flag::ACK, &[]),
        9 => forged(own, flag::ACK, near),
        10 => forged(own, flag::ACK, next.wrapping_add(chance.below(3000) as u32)),
        11 => forged(chance.word(), flag::SYN | flag::ACK, first),
        12 => forged(own.wrapping_sub(1), flag::SYN | flag::ACK, first),
        _ => forged(
            own,
            *chance.pick(&[flag::SYN, flag::RST, flag::FIN | flag::ACK]),
            next,
        ),
    }
}

impl World<'_> {
    /// Where the gateway expects the next octet, so many behind the first.
    fn gateway_next(&self, first: u32) -> u32 {
        self.gateway.next().unwrap_or(first).wrapping_sub(first)
    }
}
