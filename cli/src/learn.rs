// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw learn`: makes a baseline of what is in captures.
//!
//! Who is master says the DIR bit of a frame, and never who opened the connection. Learned is what
//! is valid, says who it comes from, and has a function code of the standard; all else is counted,
//! said, and left out, for a rule would let it through from then on. That goes for a valid frame as
//! well that shares a packet with octets that are none: it may lie inside of what another receiver
//! reads as one frame.
//!
//! Every table has a bound. Past it nothing new is learned, which is said; what is known already goes
//! on being counted.

use crate::baseline::{
    Baseline, Captured, Communication, Function, Interval, Link, LinkFunctions, Object, Side,
    Transport, RESERVED, SCHEMA, SELF_ADDRESS, VERSION,
};
use crate::capture::Capture;
use crate::event::{
    is_response, Assembly, Bad, Ends, Event, Fault, Fragment, Frame, Origin, Packet, Protocol,
};
use crate::objects::{Headers, Problem};
use dnp3_core::frame::{Event as Step, Walk};
use dnp3_core::link::TRANSPORT_FIR;
use dnp3_core::text::names::function as function_name;
use lru::LruCache;
use std::collections::hash_map::Entry;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::{Duration, UNIX_EPOCH};

/// Pairs of hosts, with protocol, port and who opens.
pub const MAX_COMMUNICATIONS: usize = 32_768;
/// Pairs of stations on them.
pub const MAX_LINKS: usize = 32_768;
/// Functions of all links.
pub const MAX_FUNCTIONS: usize = 131_072;
/// Objects of all functions.
pub const MAX_OBJECTS: usize = 262_144;
/// And of one.
const MAX_OBJECTS_EACH: usize = 1_024;
/// Intervals of all functions that are kept for their medians, and of one.
const MAX_SAMPLES: usize = 2_097_152;
const MAX_SAMPLES_EACH: usize = 1_024;
/// What each has in any case.
const MIN_SAMPLES_EACH: usize = 4;
/// Connections that are known at a time; the one longest without a packet goes.
const MAX_FLOWS: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();
/// The longest frame, in octets.
const MAX_FRAME: usize = 292;
/// Facts and objects that there is always room for.
const KEPT: usize = 4_096;

const SECOND: u64 = 1_000_000_000;
const FIRST_RESPONSE: u8 = 129;

/// When the first packet of a capture was captured, where the capture says so.
pub fn first_time(source: impl Read) -> Option<u64> {
    let mut capture = Capture::new(source).ok()?;
    capture.next().ok()??.time
}

/// Two hosts, as a communication has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Hosts {
    master: IpAddr,
    outstation: IpAddr,
    transport: Transport,
    port: u16,
    opened_by: Option<Side>,
}

/// Two ends in an order of their own, so that both directions have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Pair {
    low: SocketAddr,
    high: SocketAddr,
    protocol: Protocol,
}

impl Pair {
    /// The pair, and which of the two sends: 0 is the lower.
    fn of(ends: &Ends) -> (Pair, usize) {
        let (source, destination) = (ends.source, ends.destination);
        let pair = Pair {
            low: source.min(destination),
            high: source.max(destination),
            protocol: ends.protocol,
        };
        (pair, usize::from(source > destination))
    }
}

/// What is known of a connection, or of two UDP ports.
#[derive(Debug, Default)]
struct Flow {
    /// Which of the two opened it.
    opened_by: Option<usize>,
    /// The sequence number of its SYN.
    begun: Option<u32>,
    /// Whether it had URG, behind which receivers differ.
    urgent: bool,
    /// Which connection it is, of all that there were.
    number: u64,
    /// For each that sends, up to which packet its frames share one with what is no frame.
    spoiled: [Option<u64>; 2],
    /// For each as the master, whether its communication has counted this connection.
    counted: [bool; 2],
}

/// What was not learned, or is worth a line for another reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Bad,
    Beside,
    Urgent,
    Length,
    Stray,
    Undefined,
    WrongWay,
    Objects,
    Address,
    Communications,
    Links,
    Functions,
    ObjectsRoom,
    // These are no fault of the traffic.
    Gap,
    Unfinished,
    Open,
    Repeated,
}

impl Why {
    const ALL: [Why; 17] = [
        Why::Bad,
        Why::Beside,
        Why::Urgent,
        Why::Length,
        Why::Stray,
        Why::Undefined,
        Why::WrongWay,
        Why::Objects,
        Why::Address,
        Why::Communications,
        Why::Links,
        Why::Functions,
        Why::ObjectsRoom,
        Why::Gap,
        Why::Unfinished,
        Why::Open,
        Why::Repeated,
    ];

    fn is_found(self) -> bool {
        !matches!(self, Why::Gap | Why::Unfinished | Why::Open | Why::Repeated)
    }

    /// Of one of them.
    fn text(self) -> String {
        match self {
            Why::Bad => "octets that are no valid frame".into(),
            Why::Beside => "a valid frame in a packet with octets that are none".into(),
            Why::Urgent => "a frame on a connection with URG".into(),
            Why::Length => {
                "a frame in a datagram whose UDP length is not that of the IP packet".into()
            }
            Why::Stray => "a transport segment that continues nothing".into(),
            Why::Undefined => "a message whose function code is not defined".into(),
            Why::WrongWay => "a message whose DIR bit does not go with its function code".into(),
            Why::Objects => "a message whose objects contradict the standard".into(),
            Why::Address => "a frame with a link address that no station has there".into(),
            Why::Communications => {
                format!("a frame between another pair of hosts than the first {MAX_COMMUNICATIONS}")
            }
            Why::Links => {
                format!("a frame between another pair of stations than the first {MAX_LINKS}")
            }
            Why::Functions => {
                format!("a message of another function of a link than the first {MAX_FUNCTIONS}")
            }
            Why::ObjectsRoom => format!(
                "an object of another kind than the first {MAX_OBJECTS_EACH} of a function, or \
                 {MAX_OBJECTS} of all"
            ),
            Why::Gap => "a hole in a TCP stream".into(),
            Why::Unfinished => {
                "a frame that goes on behind the end of the capture, or in a hole of it".into()
            }
            Why::Open => "a message of which not all segments came".into(),
            Why::Repeated => "a message that was sent again, and counts once".into(),
        }
    }
}

/// How often, and where first.
#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    first: String,
}

/// What a frame says, until it is sure that its packet has nothing bad in it.
#[derive(Clone, Copy, Debug)]
struct Fact {
    origin: Origin,
    ends: Ends,
    /// Whether its packet has octets that are no frame.
    is_beside: bool,
    from_master: bool,
    source: u16,
    destination: u16,
    message: Option<Message>,
}

/// An application fragment.
#[derive(Clone, Copy, Debug)]
struct Message {
    function: u8,
    octets: u64,
    /// Of its octets.
    hash: u64,
    /// How many of [`Learner::objects`] are its.
    objects: usize,
}

#[derive(Debug, Default)]
struct LinkState {
    functions: Vec<FunctionState>,
    /// Frames without user data: from the master, from the outstation.
    frames: [u64; 2],
    /// What was sent last of each kind of message, until there is an answer: that it comes again,
    /// octet by octet, is a repeat.
    unanswered: [Option<u64>; 4],
    /// On which connection.
    flow: u64,
}

impl LinkState {
    /// Whether a message repeats the one before of its kind, on the same connection.
    fn repeats(&mut self, flow: u64, function: u8, hash: u64) -> bool {
        const REQUEST: usize = 0;
        const CONFIRM: usize = 1;
        const RESPONSE: usize = 2;
        const UNSOLICITED: usize = 3;
        let (kind, answered): (usize, &[usize]) = match function {
            0 => (CONFIRM, &[RESPONSE, UNSOLICITED]),
            130 => (UNSOLICITED, &[CONFIRM]),
            _ if is_response(function) => (RESPONSE, &[REQUEST, CONFIRM]),
            _ => (REQUEST, &[RESPONSE]),
        };
        if std::mem::replace(&mut self.flow, flow) != flow {
            self.unanswered = [None; 4];
        }
        if self.unanswered[kind] == Some(hash) {
            return true;
        }
        self.unanswered[kind] = Some(hash);
        for kind in answered {
            self.unanswered[*kind] = None;
        }
        false
    }
}

#[derive(Debug)]
struct FunctionState {
    function: u8,
    messages: u64,
    octets: u64,
    /// Group and variation, in ascending order.
    objects: Vec<u16>,
    /// When the last was sent, in which row of captures.
    last: Option<(u32, u64)>,
    intervals: u64,
    least: u64,
    most: u64,
    samples: Vec<u64>,
}

impl FunctionState {
    fn new(function: u8) -> FunctionState {
        FunctionState {
            function,
            messages: 0,
            octets: 0,
            objects: Vec::new(),
            last: None,
            intervals: 0,
            least: u64::MAX,
            most: 0,
            samples: Vec::new(),
        }
    }

    /// Takes the time to the one before. `room` is what all have left for samples.
    fn interval(&mut self, interval: u64, room: &mut usize) {
        self.intervals += 1;
        self.least = self.least.min(interval);
        self.most = self.most.max(interval);
        let have = self.samples.len();
        if have == self.samples.capacity() && have < MAX_SAMPLES_EACH {
            let more = have.max(MIN_SAMPLES_EACH);
            let cost = if have == 0 { 0 } else { more };
            match room.checked_sub(cost) {
                Some(left) => {
                    *room = left;
                    self.samples.reserve_exact(more);
                }
                None => *room = 0,
            }
        }
        if have < self.samples.capacity() {
            self.samples.push(interval);
            return;
        }
        // Each interval is as likely to be in the sample as any other, and the same in each run.
        let at = (spread(self.intervals) % self.intervals) as usize;
        if let Some(sample) = self.samples.get_mut(at) {
            *sample = interval;
        }
    }

    /// What a baseline has of it.
    fn function(&self) -> Function {
        let mut samples = self.samples.clone();
        samples.sort_unstable();
        let half = samples.len() / 2;
        let high = samples.get(half).copied().unwrap_or_default();
        let low = match samples.len() % 2 {
            0 => half.checked_sub(1).and_then(|at| samples.get(at).copied()),
            _ => None,
        };
        let median = low.map_or(high, |low| low + (high - low) / 2);
        Function {
            messages: self.messages,
            octets: self.octets,
            objects: self
                .objects
                .iter()
                .map(|object| {
                    let [group, variation] = object.to_be_bytes();
                    Object { group, variation }
                })
                .collect(),
            interval_seconds: (self.intervals != 0).then(|| Interval {
                least: seconds(self.least),
                median: seconds(median),
                most: seconds(self.most),
            }),
            ..Function::new(self.function)
        }
    }
}

/// Whether a TCP packet goes on behind its last frame with what cannot become one. That it is bad is
/// told when the next packet comes, which is too late.
fn ends_wrong(payload: &[u8], last_frame: &[u8]) -> bool {
    if payload.is_empty() || last_frame.is_empty() {
        return false;
    }
    for behind in 0..payload.len().min(MAX_FRAME) {
        let (before, tail) = payload.split_at(payload.len() - behind);
        // The frame may have begun in another packet, whose octets are not in this one.
        let wanted = last_frame.len().min(before.len());
        if before.ends_with(&last_frame[last_frame.len() - wanted..]) {
            let mut walk = Walk::new();
            let mut rest = tail;
            loop {
                let (step, left) = walk.step(rest);
                rest = left;
                if step != Step::Addressed {
                    return step == Step::Wrong;
                }
            }
        }
    }
    // So much is a frame, or never becomes one.
    true
}

/// Numbers that look like chance, of a row of numbers (splitmix64).
fn spread(number: u64) -> u64 {
    let mut number = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    number = (number ^ number >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    number = (number ^ number >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ number >> 31
}

/// To the microsecond, which is what most captures have.
fn seconds(nanoseconds: u64) -> f64 {
    (nanoseconds.saturating_add(500) / 1000) as f64 / 1e6
}

/// Learns from the events of captures, one capture after the other.
pub struct Learner {
    ports: Vec<u16>,
    /// The capture that is read, and those before it.
    files: Vec<String>,
    flows: LruCache<Pair, Flow>,
    /// How many there were, and how many were forgotten.
    begun_flows: u64,
    forgotten: u64,
    hosts: HashMap<Hosts, u32>,
    /// How many connections each had.
    connections: Vec<u64>,
    links: HashMap<(u32, u16, u16), LinkState>,
    functions: usize,
    /// What is left for objects and samples.
    object_room: usize,
    sample_room: usize,
    /// What the packet that is read has brought so far, and the objects of its messages.
    facts: Vec<Fact>,
    objects: Vec<u16>,
    /// Its TCP payload, and the last frame in it.
    payload: Vec<u8>,
    last_frame: Vec<u8>,
    /// The packet that is read, where it is a datagram with a wrong length.
    wrong_length: Option<u64>,
    /// Messages that have begun, and have not ended yet.
    open: u64,
    tallies: [Tally; Why::ALL.len()],
    found: bool,
    /// Of all captures.
    packets: u64,
    from: Option<u64>,
    to: Option<u64>,
    /// Of the row of captures that follow each other without a break: when its last packet was, and
    /// the longest time between two packets. A break is more than twice that time.
    row: u32,
    row_end: Option<u64>,
    silence: u64,
    /// Whether a packet of this capture has come.
    begun: bool,
    /// The number of the last packet of the captures before.
    base: u64,
    last_packet: u64,
    notes: Vec<String>,
}

impl Learner {
    /// Has learned nothing yet. `ports` are those that were asked for.
    pub fn new(ports: &[u16]) -> Learner {
        Learner {
            ports: ports.to_vec(),
            files: Vec::new(),
            flows: LruCache::new(MAX_FLOWS),
            begun_flows: 0,
            forgotten: 0,
            hosts: HashMap::new(),
            connections: Vec::new(),
            links: HashMap::new(),
            functions: 0,
            object_room: MAX_OBJECTS,
            sample_room: MAX_SAMPLES,
            facts: Vec::new(),
            objects: Vec::new(),
            payload: Vec::new(),
            last_frame: Vec::new(),
            wrong_length: None,
            open: 0,
            tallies: Default::default(),
            found: false,
            packets: 0,
            from: None,
            to: None,
            row: 0,
            row_end: None,
            silence: SECOND,
            begun: false,
            base: 0,
            last_packet: 0,
            notes: Vec::new(),
        }
    }

    /// Whether there was something that could not be learned.
    pub fn has_found(&self) -> bool {
        self.found
    }

    /// A capture begins. In the order of their time is what is best for intervals.
    pub fn begin(&mut self, name: &str) {
        self.files.push(name.to_owned());
        self.begun = false;
    }

    /// The capture ends. Returns what there is to say of it.
    pub fn end(&mut self) -> Vec<String> {
        self.flush();
        self.base += self.last_packet;
        self.last_packet = 0;
        // Which of them they are is not known.
        self.tallies[Why::Open as usize].count = std::mem::take(&mut self.open);
        let name = self.files.last().cloned().unwrap_or_default();
        let mut lines: Vec<String> = std::mem::take(&mut self.notes);
        for (why, tally) in Why::ALL.iter().zip(&mut self.tallies) {
            let Tally { count, first } = std::mem::take(tally);
            if count == 0 {
                continue;
            }
            let what = match why {
                Why::Repeated => "",
                _ => "not learned, ",
            };
            let times = match count {
                1 => "once".to_owned(),
                _ => format!("{count} times"),
            };
            let text = why.text();
            lines.push(format!("{name}: {what}{times}: {text}{first}"));
            self.found |= why.is_found();
        }
        lines
    }

    /// Takes an event of the capture; returns whether there can be more.
    pub fn event(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Packet(packet) => self.packet(packet),
            Event::Frame(frame) => self.frame(frame),
            Event::Bad(bad) => self.bad(bad),
            Event::Unfinished(part) => self.tally(Why::Unfinished, &part.origin, ""),
            Event::Gap(gap) => self.tally(Why::Gap, &gap.origin, ""),
            Event::Damage(_) | Event::Note(_) => {}
        }
        true
    }

    /// Counts one of these; `more` is said of the first.
    fn tally(&mut self, why: Why, origin: &Origin, more: &str) {
        let tally = &mut self.tallies[why as usize];
        tally.count += 1;
        if tally.count == 1 {
            let mut text = format!("; first in packet {}", origin.packet);
            if let Some(ends) = origin.ends {
                // Writing to a string does not fail.
                let _ = write!(text, ", {} > {}", ends.source, ends.destination);
            }
            if !more.is_empty() {
                let _ = write!(text, ": {more}");
            }
            tally.first = text;
        }
    }

    fn packet(&mut self, packet: &Packet<'_>) {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        const URG: u8 = 0x20;
        self.flush();
        self.packets += 1;
        self.last_packet = packet.origin.packet;
        if let Some(time) = packet.origin.time {
            self.time(time);
        }
        let Some(ends) = packet.origin.ends else {
            return;
        };
        let (pair, side) = Pair::of(&ends);
        if !self.flows.contains(&pair) {
            self.begun_flows += 1;
            self.forgotten += u64::from(self.flows.len() == MAX_FLOWS.get());
        }
        let number = self.begun_flows;
        let flow = self.flows.get_or_insert_mut(pair, || Flow {
            number,
            ..Flow::default()
        });
        self.wrong_length = None;
        self.payload.clear();
        self.last_frame.clear();
        match ends.protocol {
            Protocol::Udp => {
                let length = packet.octets.get(4..6).and_then(<[u8]>::first_chunk);
                let length = length.map(|octets| usize::from(u16::from_be_bytes(*octets)));
                let is_right = length == Some(packet.octets.len()) || packet.cut;
                self.wrong_length = (!is_right).then_some(packet.origin.packet);
            }
            Protocol::Tcp => {
                let flags = packet.octets.get(13).copied().unwrap_or_default();
                if flags & SYN != 0 {
                    if flags & ACK != 0 {
                        flow.opened_by.get_or_insert(1 - side);
                    } else {
                        let sequence = packet.octets.get(4..8).and_then(<[u8]>::first_chunk);
                        let sequence = sequence.map(|octets| u32::from_be_bytes(*octets));
                        // Sent again it begins nothing new.
                        if flow.begun != sequence {
                            self.begun_flows += 1;
                            *flow = Flow {
                                number: self.begun_flows,
                                opened_by: Some(side),
                                begun: sequence,
                                ..Flow::default()
                            };
                        }
                    }
                }
                flow.urgent |= flags & URG != 0;
                let header = packet
                    .octets
                    .get(12)
                    .map_or(0, |octet| usize::from(octet >> 4) * 4);
                let payload = packet.octets.get(header..).unwrap_or_default();
                self.payload.extend_from_slice(payload);
            }
        }
    }

    /// A packet was captured now.
    fn time(&mut self, time: u64) {
        self.from = Some(self.from.map_or(time, |from| from.min(time)));
        self.to = Some(self.to.map_or(time, |to| to.max(time)));
        if !std::mem::replace(&mut self.begun, true) {
            let goes_on = self
                .row_end
                .is_some_and(|end| end <= time && time - end <= self.silence.saturating_mul(2));
            if !goes_on {
                if self.row_end.is_some_and(|end| end > time) {
                    let name = self.files.last().cloned().unwrap_or_default();
                    self.notes.push(format!(
                        "{name}: begins before another capture ends; what both have counts twice"
                    ));
                }
                self.row += 1;
                self.row_end = self.row_end.filter(|end| *end > time);
                self.silence = SECOND;
            }
        }
        if let Some(end) = self.row_end {
            self.silence = self.silence.max(time.saturating_sub(end));
        }
        self.row_end = Some(self.row_end.map_or(time, |end| end.max(time)));
    }

    fn bad(&mut self, bad: &Bad<'_>) {
        self.tally(Why::Bad, &bad.origin, &bad.fault.to_string());
        let Some(ends) = bad.origin.ends else { return };
        // What came before a connection's end was no less valid.
        if bad.fault == Fault::Connection {
            return;
        }
        let (pair, side) = Pair::of(&ends);
        if let Some(flow) = self.flows.peek_mut(&pair) {
            flow.spoiled[side] = Some(self.base + bad.origin.packet);
        }
        for at in 0..self.facts.len() {
            let fact = &mut self.facts[at];
            if fact.ends == ends && fact.origin.packet >= bad.first_packet && !fact.is_beside {
                fact.is_beside = true;
                let origin = fact.origin;
                self.tally(Why::Beside, &origin, "");
            }
        }
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        let Some(ends) = frame.origin.ends else {
            return;
        };
        match &frame.assembly {
            Assembly::Open { transport, .. } if transport & TRANSPORT_FIR != 0 => self.open += 1,
            Assembly::Complete { fragment, .. } if fragment.frames > 1 => {
                self.open = self.open.saturating_sub(1);
            }
            _ => {}
        }
        if self.wrong_length == Some(frame.origin.packet) {
            return self.tally(Why::Length, &frame.origin, "");
        }
        if frame.origin.packet == self.last_packet {
            self.last_frame.clear();
            self.last_frame.extend_from_slice(frame.octets);
        }
        let (pair, side) = Pair::of(&ends);
        let mut first_packet = frame.first_packet;
        if let Assembly::Complete { fragment, .. } = &frame.assembly {
            first_packet = first_packet.min(fragment.first_packet);
        }
        if let Some(flow) = self.flows.peek(&pair) {
            if flow.urgent {
                return self.tally(Why::Urgent, &frame.origin, "");
            }
            if flow.spoiled[side].is_some_and(|until| self.base + first_packet <= until) {
                return self.tally(Why::Beside, &frame.origin, "");
            }
        }
        let from_master = frame.control.from_master();
        let is_link = matches!(frame.assembly, Assembly::None);
        let is_possible = frame.source < RESERVED
            && match frame.destination {
                to if to < RESERVED => true,
                SELF_ADDRESS => from_master,
                // Broadcast is for user data only.
                to => to > SELF_ADDRESS && from_master && !is_link,
            };
        if !is_possible {
            let more = format!("from {} to {}", frame.source, frame.destination);
            return self.tally(Why::Address, &frame.origin, &more);
        }
        let message = match &frame.assembly {
            Assembly::None => None,
            Assembly::Open { .. } | Assembly::Repeated { .. } => return,
            Assembly::Stray { reason, .. } => {
                return self.tally(Why::Stray, &frame.origin, reason);
            }
            Assembly::Complete { fragment, .. } => {
                match self.message(fragment, from_master, &frame.origin) {
                    Some(message) => Some(message),
                    None => return,
                }
            }
        };
        self.facts.push(Fact {
            origin: frame.origin,
            ends,
            is_beside: false,
            from_master,
            source: frame.source,
            destination: frame.destination,
            message,
        });
    }

    /// What can be learned of a fragment.
    fn message(
        &mut self,
        fragment: &Fragment<'_>,
        from_master: bool,
        origin: &Origin,
    ) -> Option<Message> {
        let function = fragment.function();
        if function_name(function).is_none() {
            self.tally(Why::Undefined, origin, &format!("code {function}"));
            return None;
        }
        if is_response(function) == from_master {
            let text = match from_master {
                true => format!("a response, {function}, from a master"),
                false => format!("a request, {function}, from an outstation"),
            };
            self.tally(Why::WrongWay, origin, &text);
            return None;
        }
        if is_response(function) && fragment.indications().is_none() {
            self.tally(Why::Objects, origin, "no internal indications");
            return None;
        }
        let from = self.objects.len();
        for header in Headers::new(function, fragment.objects()) {
            let (group, variation) = match header {
                Ok(header) => (header.group, header.variation),
                Err(Problem::UnknownSize {
                    group, variation, ..
                }) => (group, variation),
                Err(problem) => {
                    self.objects.truncate(from);
                    self.tally(Why::Objects, origin, &problem.to_string());
                    return None;
                }
            };
            self.objects.push(u16::from_be_bytes([group, variation]));
        }
        let mut hasher = DefaultHasher::new();
        fragment.octets.hash(&mut hasher);
        Some(Message {
            function,
            octets: fragment.octets.len() as u64,
            hash: hasher.finish(),
            objects: self.objects.len() - from,
        })
    }

    /// Learns what the packet has brought.
    fn flush(&mut self) {
        if self.facts.is_empty() {
            return;
        }
        if ends_wrong(&self.payload, &self.last_frame) {
            for at in 0..self.facts.len() {
                let fact = &mut self.facts[at];
                if fact.origin.packet == self.last_packet && !fact.is_beside {
                    fact.is_beside = true;
                    let origin = fact.origin;
                    self.tally(Why::Beside, &origin, "");
                }
            }
        }
        let facts = std::mem::take(&mut self.facts);
        let objects = std::mem::take(&mut self.objects);
        let mut rest = objects.as_slice();
        for fact in &facts {
            let count = fact.message.map_or(0, |message| message.objects);
            let (own, others) = rest.split_at(count.min(rest.len()));
            rest = others;
            if !fact.is_beside {
                self.learn(fact, own);
            }
        }
        // What a packet with very much in it took is not kept.
        if facts.capacity() <= KEPT && objects.capacity() <= KEPT {
            self.facts = facts;
            self.facts.clear();
            self.objects = objects;
            self.objects.clear();
        }
    }

    /// The communication that a fact is of, where there is room for it, and which connection.
    fn communication(&mut self, fact: &Fact) -> Option<(u32, u64)> {
        let (pair, sender) = Pair::of(&fact.ends);
        let master_side = if fact.from_master { sender } else { 1 - sender };
        let (master, outstation) = match master_side {
            0 => (pair.low, pair.high),
            _ => (pair.high, pair.low),
        };
        let flow = self.flows.get_or_insert_mut(pair, Flow::default);
        let has_port = |end: SocketAddr| self.ports.contains(&end.port());
        let opened_by = match flow.opened_by {
            Some(side) if side == master_side => Some(Side::Master),
            Some(_) => Some(Side::Outstation),
            None if master.port() == outstation.port() => None,
            // The end with the port of DNP3 waits for the other.
            None if has_port(outstation) => Some(Side::Master),
            None => Some(Side::Outstation),
        };
        let hosts = Hosts {
            master: master.ip(),
            outstation: outstation.ip(),
            transport: match fact.ends.protocol {
                Protocol::Tcp => Transport::Tcp,
                Protocol::Udp => Transport::Udp,
            },
            port: match opened_by {
                Some(Side::Outstation) => master.port(),
                _ => outstation.port(),
            },
            opened_by,
        };
        let room = self.connections.len() < MAX_COMMUNICATIONS;
        let at = match self.hosts.entry(hosts) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(_) if !room => return None,
            Entry::Vacant(entry) => {
                let at = self.connections.len() as u32;
                self.connections.push(0);
                *entry.insert(at)
            }
        };
        if !std::mem::replace(&mut flow.counted[master_side], true) {
            if let Some(connections) = self.connections.get_mut(at as usize) {
                *connections += 1;
            }
        }
        Some((at, flow.number))
    }

    fn learn(&mut self, fact: &Fact, objects: &[u16]) {
        let Some((communication, flow)) = self.communication(fact) else {
            return self.tally(Why::Communications, &fact.origin, "");
        };
        let (master, outstation) = match fact.from_master {
            true => (fact.source, fact.destination),
            false => (fact.destination, fact.source),
        };
        let room = self.links.len() < MAX_LINKS;
        let link = match self.links.entry((communication, master, outstation)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) if room => entry.insert(LinkState::default()),
            Entry::Vacant(_) => return self.tally(Why::Links, &fact.origin, ""),
        };
        let Some(message) = &fact.message else {
            link.frames[usize::from(!fact.from_master)] += 1;
            return;
        };
        if link.repeats(flow, message.function, message.hash) {
            return self.tally(Why::Repeated, &fact.origin, "");
        }
        let is_it = |state: &FunctionState| state.function == message.function;
        let at = match link.functions.iter().position(is_it) {
            Some(at) => at,
            None if self.functions == MAX_FUNCTIONS => {
                return self.tally(Why::Functions, &fact.origin, "");
            }
            None => {
                self.functions += 1;
                link.functions.push(FunctionState::new(message.function));
                link.functions.len() - 1
            }
        };
        let state = &mut link.functions[at];
        state.messages += 1;
        state.octets += message.octets;
        let mut left_out = 0;
        for object in objects {
            let Err(at) = state.objects.binary_search(object) else {
                continue;
            };
            if self.object_room == 0 || state.objects.len() >= MAX_OBJECTS_EACH {
                left_out += 1;
                continue;
            }
            self.object_room -= 1;
            state.objects.insert(at, *object);
        }
        if let Some(time) = fact.origin.time {
            // A clock that was set back says nothing.
            let before = state.last.filter(|(row, _)| *row == self.row);
            if let Some(interval) = before.and_then(|(_, last)| time.checked_sub(last)) {
                state.interval(interval, &mut self.sample_room);
            }
            state.last = Some((self.row, time));
        }
        for _ in 0..left_out {
            self.tally(Why::ObjectsRoom, &fact.origin, "");
        }
    }

    /// What was learned, and what there is to say of all of it.
    pub fn finish(mut self) -> (Baseline, Vec<String>) {
        self.flush();
        let mut lines = Vec::new();
        if self.forgotten != 0 {
            lines.push(format!(
                "{} times a connection was forgotten, since more than {MAX_FLOWS} were open at a time; \
                 it may count twice",
                self.forgotten
            ));
        }
        if self.sample_room == 0 {
            lines.push(format!(
                "the medians of some intervals are those of fewer than {MAX_SAMPLES_EACH}, since there \
                 is room for {MAX_SAMPLES} intervals of all functions"
            ));
        }
        if self.links.is_empty() {
            lines.push("nothing was learned; dnp3fw rules makes none of this baseline".into());
        }
        let mut links: Vec<_> = self.links.into_iter().collect();
        links.sort_unstable_by_key(|(key, _)| *key);
        let mut hosts: Vec<_> = self.hosts.into_iter().collect();
        hosts.sort_unstable();
        let communications = hosts.into_iter().map(|(hosts, at)| {
            let from = links.partition_point(|((communication, ..), _)| *communication < at);
            let to = links.partition_point(|((communication, ..), _)| *communication <= at);
            Communication {
                master_ip: hosts.master,
                outstation_ip: hosts.outstation,
                protocol: hosts.transport,
                port: hosts.port,
                opened_by: hosts.opened_by,
                connections: self.connections.get(at as usize).copied().unwrap_or(0),
                links: links[from..to].iter().map(link).collect(),
                comment: None,
            }
        });
        let baseline = Baseline {
            version: VERSION,
            schema: SCHEMA.into(),
            generator: concat!("dnp3fw ", env!("CARGO_PKG_VERSION")).into(),
            captured: Some(Captured {
                files: self.files,
                from: self.from.map(rfc3339),
                to: self.to.map(rfc3339),
                packets: self.packets,
            }),
            // A pair of hosts whose stations found no room has nothing to allow.
            communications: communications
                .filter(|communication| !communication.links.is_empty())
                .collect(),
        };
        (baseline, lines)
    }
}

/// What a baseline has of a link.
fn link(((_, master, outstation), state): &((u32, u16, u16), LinkState)) -> Link {
    let mut functions: Vec<Function> = state
        .functions
        .iter()
        .map(FunctionState::function)
        .collect();
    functions.sort_unstable_by_key(|function| function.function);
    let at = functions.partition_point(|function| function.function < FIRST_RESPONSE);
    let responses = functions.split_off(at);
    Link {
        master: Some(*master),
        outstation: Some(*outstation),
        requests: functions,
        responses,
        link_functions: Some(LinkFunctions {
            requests: state.frames[0],
            responses: state.frames[1],
        }),
        comment: None,
    }
}

/// To the microsecond; 64 bits of nanoseconds end in the year 2554.
fn rfc3339(nanoseconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_nanos(nanoseconds);
    humantime::format_rfc3339_micros(time).to_string()
}
