// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw decode`: shows events, as text for people or as lines of JSON for programs.

use crate::event::{
    is_response, Assembly, Bad, Ends, Event, Fragment, Frame, Gap, Origin, Protocol, Unfinished,
};
use crate::names::{self, application};
use crate::objects::{self, Headers, Prefix, Problem, Range};
use dnp3_core::link;
use dnp3_core::text::names::{function as function_name, ADDRESSES};
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Octets that are gathered before they are written.
const CHUNK: usize = 64 << 10;
const NANOSECONDS: u64 = 1_000_000_000;

/// How events are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Shows events.
#[derive(Debug)]
pub struct Shower<W: Write> {
    output: W,
    form: Form,
    text: Text,
    /// Of which packet the lines above are.
    above: Option<Origin>,
    found: bool,
    error: Option<io::Error>,
    /// Whether each event is to be seen at once.
    is_live: bool,
}

impl<W: Write> Shower<W> {
    /// Shows on `output`; with `is_live` each event as soon as it is there.
    pub fn new(output: W, form: Form, is_live: bool) -> Shower<W> {
        Shower {
            output,
            form,
            text: Text::default(),
            above: None,
            found: false,
            error: None,
            is_live,
        }
    }

    /// Shows an event; returns whether there can be more. What is said of damage is no event of
    /// the traffic, and not shown in text.
    pub fn show(&mut self, event: &Event<'_>) -> bool {
        match event {
            Event::Bad(_) => self.found = true,
            Event::Frame(frame) => {
                if let Assembly::Complete { fragment, .. } = &frame.assembly {
                    self.found |= has_fault(fragment);
                }
            }
            _ => {}
        }
        match self.form {
            Form::Text => self.show_text(event),
            Form::Json => self.show_json(event),
        }
        if self.text.buffer.len() >= CHUNK || self.is_live {
            self.flush();
        }
        self.error.is_none()
    }

    /// Another file begins, of which packets with the same numbers may follow.
    pub fn next_file(&mut self) {
        self.above = None;
    }

    /// Whether something was found that is not right.
    pub fn has_found(&self) -> bool {
        self.found
    }

    fn flush(&mut self) {
        if self.error.is_none() {
            let written = self.output.write_all(&self.text.buffer);
            self.error = written.and_then(|()| self.output.flush()).err();
        }
        self.text.buffer.clear();
    }

    /// Writes what is left.
    ///
    /// # Errors
    ///
    /// The first that writing met.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush();
        self.error.map_or(Ok(()), Err)
    }

    fn show_text(&mut self, event: &Event<'_>) {
        match event {
            Event::Packet(_) | Event::Damage(_) | Event::Note(_) => {}
            Event::Frame(frame) => {
                self.heading(frame.origin, frame.offset);
                self.text.frame(frame);
            }
            Event::Bad(bad) => {
                self.heading(bad.origin, bad.offset);
                self.text.bad(bad);
            }
            Event::Unfinished(unfinished) => {
                self.heading(unfinished.origin, unfinished.offset);
                self.text.unfinished(unfinished);
            }
            Event::Gap(gap) => {
                self.heading(gap.origin, 0);
                self.text.put("  ").number(gap.missing.into());
                self.text.put(" octets before it are not in the capture\n");
            }
        }
    }

    /// The line above all that a packet brings.
    fn heading(&mut self, origin: Origin, offset: u64) {
        let Some(ends) = origin.ends else {
            self.text.put("octet ").number(offset).put("\n");
            return;
        };
        if self.above == Some(origin) {
            return;
        }
        self.above = Some(origin);
        self.text.number(origin.packet).put("  ");
        if let Some(time) = origin.time {
            self.text.time(time);
            self.text.put("  ");
        }
        self.text.ends(&ends);
        self.text.put("\n");
    }

    fn show_json(&mut self, event: &Event<'_>) {
        let written = match event {
            Event::Packet(_) => return,
            Event::Frame(frame) => self.text.json(&json::Line::frame(frame)),
            Event::Bad(bad) => self.text.json(&json::Line::bad(bad)),
            Event::Unfinished(unfinished) => self.text.json(&json::Line::unfinished(unfinished)),
            Event::Gap(gap) => self.text.json(&json::Line::gap(gap)),
            Event::Damage(text) => self.text.json(&json::Line::said("damage", text)),
            Event::Note(text) => self.text.json(&json::Line::said("note", text)),
        };
        if let Err(error) = written {
            self.error.get_or_insert(error);
        }
    }
}

/// Whether the objects of a fragment contradict the standard.
fn has_fault(fragment: &Fragment<'_>) -> bool {
    is_cut(fragment)
        || Headers::new(fragment.function(), fragment.objects())
            .any(|header| header.is_err_and(|problem| problem.is_fault()))
}

/// Whether a response ends before its internal indications do.
fn is_cut(fragment: &Fragment<'_>) -> bool {
    is_response(fragment.function()) && fragment.indications().is_none()
}

const RESPONSE_CUT: &str = "the response ends before its internal indications do";

fn address_name(address: u16) -> Option<&'static str> {
    ADDRESSES
        .iter()
        .find(|(_, min, max)| (*min..=*max).contains(&address))
        .map(|(name, ..)| *name)
}

/// Text that is being put together, octet by octet: millions of lines go through here, and the
/// standard library's formatting takes several times as long.
#[derive(Debug, Default)]
struct Text {
    buffer: Vec<u8>,
    /// The last second that was written, and how.
    second: Option<(u64, String)>,
    /// Ends as they were written, by a hash of theirs.
    ends: Vec<Option<(Ends, String)>>,
}

/// Ends that are kept as text.
const KEPT_ENDS: usize = 1024;

impl Text {
    fn put(&mut self, text: &str) -> &mut Text {
        self.buffer.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: u64) -> &mut Text {
        self.put(itoa::Buffer::new().format(number))
    }

    fn hex(&mut self, octet: u8) -> &mut Text {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.buffer.push(DIGITS[usize::from(octet >> 4)]);
        self.buffer.push(DIGITS[usize::from(octet & 0x0F)]);
        self
    }

    fn octets(&mut self, octets: &[u8], length: u64) {
        for octet in octets {
            self.put(" ").hex(*octet);
        }
        if length > octets.len() as u64 {
            self.put(" …");
        }
    }

    /// RFC 3339, in microseconds.
    fn time(&mut self, time: u64) {
        let second = time / NANOSECONDS;
        if self.second.as_ref().is_none_or(|(last, _)| *last != second) {
            self.second = Some((second, seconds(second)));
        }
        if let Some((_, text)) = &self.second {
            self.buffer.extend_from_slice(text.as_bytes());
        }
        let mut digits = [b'0'; 7];
        let mut left = time % NANOSECONDS / 1000;
        for digit in digits.iter_mut().skip(1).rev() {
            *digit = b'0' + (left % 10) as u8;
            left /= 10;
        }
        digits[0] = b'.';
        self.buffer.extend_from_slice(&digits);
        self.buffer.push(b'Z');
    }

    fn ends(&mut self, ends: &Ends) {
        if self.ends.is_empty() {
            self.ends.resize(KEPT_ENDS, None);
        }
        let ports = u32::from(ends.source.port()) * 31 + u32::from(ends.destination.port());
        let last = match ends.source.ip() {
            std::net::IpAddr::V4(ip) => ip.octets()[3],
            std::net::IpAddr::V6(ip) => ip.octets()[15],
        };
        let at = (ports.wrapping_add(u32::from(last) * 127)) as usize % KEPT_ENDS;
        let place = &mut self.ends[at];
        if place.as_ref().is_none_or(|(kept, _)| kept != ends) {
            let protocol = protocol(ends.protocol);
            let mut text = String::new();
            // Writing to a string does not fail.
            let _ = write!(text, "{protocol} {} > {}", ends.source, ends.destination);
            *place = Some((*ends, text));
        }
        if let Some((_, text)) = place {
            self.buffer.extend_from_slice(text.as_bytes());
        }
    }

    fn address(&mut self, address: u16) -> &mut Text {
        self.number(address.into());
        if let Some(name) = address_name(address) {
            self.put(" (").put(name).put(")");
        }
        self
    }

    fn begun_in(&mut self, first: u64, origin: &Origin) {
        if first != origin.packet {
            self.put(", begun in packet ").number(first);
        }
    }

    fn bad(&mut self, bad: &Bad<'_>) {
        let mut why = String::new();
        let _ = write!(why, "{}", bad.fault);
        self.put("  no valid frame: ").put(&why);
        self.begun_in(bad.first_packet, &bad.origin);
        self.put("; ").number(bad.length).put(" octets:");
        self.octets(bad.octets, bad.length);
        self.put("\n");
    }

    fn unfinished(&mut self, unfinished: &Unfinished<'_>) {
        self.put("  the rest of a frame is missing");
        self.begun_in(unfinished.first_packet, &unfinished.origin);
        self.put("; ").number(unfinished.octets.len() as u64);
        self.put(" octets are there:");
        self.octets(unfinished.octets, unfinished.octets.len() as u64);
        self.put("\n");
    }

    fn frame(&mut self, frame: &Frame<'_>) {
        let who = direction(frame);
        self.put("  link ").address(frame.source).put(" > ");
        self.address(frame.destination).put(" ").put(who).put(" ");
        self.put(names::link_function(frame.control)).put(", ");
        self.number(frame.octets.len() as u64).put(" octets");
        self.begun_in(frame.first_packet, &frame.origin);
        self.put("\n");
        match &frame.assembly {
            Assembly::None => {}
            Assembly::Open { transport, octets } => {
                self.transport(*transport).put(", ");
                self.number(*octets as u64).put(" octets so far\n");
            }
            Assembly::Repeated { transport } => {
                self.transport(*transport).put(", repeated\n");
            }
            Assembly::Stray { transport, reason } => {
                self.transport(*transport);
                self.put(", discarded: ").put(reason).put("\n");
            }
            Assembly::Complete {
                transport,
                fragment,
            } => {
                self.transport(*transport);
                if fragment.frames > 1 {
                    self.put(", ").number(fragment.frames.into());
                    self.put(" frames");
                }
                self.put("\n");
                self.fragment(fragment);
            }
        }
    }

    fn transport(&mut self, transport: u8) -> &mut Text {
        self.put("  transport");
        self.flag(transport, link::TRANSPORT_FIR, " FIR");
        self.flag(transport, link::TRANSPORT_FIN, " FIN");
        self.put(" ")
            .number((transport & link::TRANSPORT_SEQUENCE).into())
    }

    fn flag(&mut self, octet: u8, flag: u8, name: &str) {
        if octet & flag != 0 {
            self.put(name);
        }
    }

    fn fragment(&mut self, fragment: &Fragment<'_>) {
        let (control, function) = (fragment.control(), fragment.function());
        self.put("  application");
        self.flag(control, application::FIR, " FIR");
        self.flag(control, application::FIN, " FIN");
        self.flag(control, application::CON, " CON");
        self.flag(control, application::UNS, " UNS");
        self.put(" ")
            .number((control & application::SEQUENCE).into());
        self.put(" ");
        match function_name(function) {
            Some(name) => self.put(name),
            None => self.put("function ").number(function.into()),
        };
        if let Some(octets) = fragment.indications() {
            let mut before = ", IIN ";
            for name in names::indications(octets) {
                self.put(before).put(name);
                before = " ";
            }
        }
        self.put("\n");
        if is_cut(fragment) {
            self.put("    ").put(RESPONSE_CUT).put("\n");
        }
        for header in Headers::new(function, fragment.objects()) {
            self.put("    ");
            match header {
                Ok(header) => self.header(&header),
                Err(problem) => {
                    let _ = write!(self.buffer, "{problem}");
                }
            }
            self.put("\n");
        }
    }

    fn header(&mut self, header: &objects::Header<'_>) {
        self.put("g").number(header.group.into());
        self.put("v").number(header.variation.into()).put(" ");
        self.put(objects::name(header.group, header.variation).unwrap_or("unknown object"));
        let pair = |text: &mut Text, from: u32, to: u32| {
            text.number(from.into());
            if from != to {
                text.put("..").number(to.into());
            }
        };
        match header.range {
            Range::All => {
                self.put(", all");
            }
            Range::Points(from, to) => {
                self.put(", points ");
                pair(self, from, to);
            }
            Range::Addresses(from, to) => {
                self.put(", addresses ");
                pair(self, from, to);
            }
            Range::Count(count) => {
                self.put(", count ").number(count.into());
            }
        }
        match header.prefix {
            Prefix::None => {}
            Prefix::Index(_) => {
                self.put(" with index");
            }
            Prefix::Size(_) => {
                self.put(" with size");
            }
        }
        self.put(" (").hex(header.qualifier).put(")");
    }

    fn json(&mut self, line: &json::Line) -> io::Result<()> {
        serde_json::to_writer(&mut self.buffer, line)?;
        self.buffer.push(b'\n');
        Ok(())
    }
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

fn direction(frame: &Frame<'_>) -> &'static str {
    match frame.control.from_master() {
        true => "master",
        false => "outstation",
    }
}

/// A second in RFC 3339, without its zone.
fn seconds(second: u64) -> String {
    let time = std::time::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(second));
    let mut text = String::new();
    let written = time.map(|time| write!(text, "{}", humantime::format_rfc3339_seconds(time)));
    match written {
        Some(Ok(())) if text.ends_with('Z') => {
            text.pop();
            text
        }
        // Behind the year 9999.
        _ => second.to_string(),
    }
}

/// The lines of JSON. Members are only ever added.
mod json {
    use super::*;

    #[derive(Debug, Serialize)]
    pub(super) struct Line {
        event: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        packet: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        first_packet: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        ip: Option<Ip>,
        #[serde(skip_serializing_if = "Option::is_none")]
        offset: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        link: Option<Link>,
        #[serde(skip_serializing_if = "Option::is_none")]
        transport: Option<Transport>,
        #[serde(skip_serializing_if = "Option::is_none")]
        application: Option<Application>,
        /// Why, or what is said.
        #[serde(skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// In hexadecimal digits.
        #[serde(skip_serializing_if = "Option::is_none")]
        octets: Option<String>,
    }

    #[derive(Debug, Serialize)]
    struct Ip {
        protocol: &'static str,
        source: std::net::IpAddr,
        source_port: u16,
        destination: std::net::IpAddr,
        destination_port: u16,
    }

    #[derive(Debug, Serialize)]
    struct Link {
        source: u16,
        destination: u16,
        direction: &'static str,
        control: u8,
        function: &'static str,
    }

    #[derive(Debug, Serialize)]
    struct Transport {
        fir: bool,
        fin: bool,
        sequence: u8,
        /// Where it belongs.
        segment: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        discarded: Option<&'static str>,
    }

    #[derive(Debug, Serialize)]
    struct Application {
        fir: bool,
        fin: bool,
        con: bool,
        uns: bool,
        sequence: u8,
        function: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        indications: Option<Vec<&'static str>>,
        frames: u32,
        octets: usize,
        objects: Vec<Object>,
        /// Why the objects end here, and whether that is a fault of the fragment.
        #[serde(skip_serializing_if = "Option::is_none")]
        problem: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fault: Option<bool>,
    }

    #[derive(Debug, Serialize)]
    struct Object {
        group: u8,
        variation: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<&'static str>,
        qualifier: u8,
        #[serde(skip_serializing_if = "Option::is_none")]
        start: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        stop: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
    }

    fn hex(octets: &[u8]) -> String {
        let mut text = Text::default();
        for octet in octets {
            text.hex(*octet);
        }
        text.buffer.iter().map(|digit| char::from(*digit)).collect()
    }

    impl Line {
        fn new(event: &'static str) -> Self {
            Line {
                event,
                packet: None,
                first_packet: None,
                time: None,
                ip: None,
                offset: None,
                length: None,
                link: None,
                transport: None,
                application: None,
                text: None,
                octets: None,
            }
        }

        fn from(event: &'static str, origin: &Origin) -> Self {
            let time = origin.time.map(|time| {
                let mut text = Text::default();
                text.time(time);
                text.buffer.iter().map(|digit| char::from(*digit)).collect()
            });
            Line {
                packet: origin.ends.map(|_| origin.packet),
                time,
                ip: origin.ends.map(|ends| Ip {
                    protocol: protocol(ends.protocol),
                    source: ends.source.ip(),
                    source_port: ends.source.port(),
                    destination: ends.destination.ip(),
                    destination_port: ends.destination.port(),
                }),
                ..Line::new(event)
            }
        }

        fn placed(event: &'static str, origin: &Origin, first: u64, offset: u64) -> Self {
            Line {
                first_packet: origin.ends.map(|_| first),
                offset: Some(offset),
                ..Line::from(event, origin)
            }
        }

        pub(super) fn said(event: &'static str, text: &str) -> Self {
            Line {
                text: Some(text.to_owned()),
                ..Line::new(event)
            }
        }

        pub(super) fn gap(gap: &Gap) -> Self {
            Line {
                length: Some(gap.missing.into()),
                ..Line::from("gap", &gap.origin)
            }
        }

        pub(super) fn bad(bad: &Bad<'_>) -> Self {
            Line {
                length: Some(bad.length),
                text: Some(bad.fault.to_string()),
                octets: Some(hex(bad.octets)),
                ..Line::placed("bad", &bad.origin, bad.first_packet, bad.offset)
            }
        }

        pub(super) fn unfinished(part: &Unfinished<'_>) -> Self {
            Line {
                length: Some(part.octets.len() as u64),
                octets: Some(hex(part.octets)),
                ..Line::placed("unfinished", &part.origin, part.first_packet, part.offset)
            }
        }

        pub(super) fn frame(frame: &Frame<'_>) -> Self {
            Line {
                length: Some(frame.octets.len() as u64),
                link: Some(Link {
                    source: frame.source,
                    destination: frame.destination,
                    direction: direction(frame),
                    control: frame.control.0,
                    function: names::link_function(frame.control),
                }),
                transport: transport(&frame.assembly),
                application: match &frame.assembly {
                    Assembly::Complete { fragment, .. } => Some(application(fragment)),
                    _ => None,
                },
                ..Line::placed("frame", &frame.origin, frame.first_packet, frame.offset)
            }
        }
    }

    fn transport(assembly: &Assembly<'_>) -> Option<Transport> {
        let (octet, segment, discarded) = match assembly {
            Assembly::None => return None,
            Assembly::Open { transport, .. } => (transport, "open", None),
            Assembly::Complete { transport, .. } => (transport, "complete", None),
            Assembly::Repeated { transport } => (transport, "repeated", None),
            Assembly::Stray { transport, reason } => (transport, "stray", Some(*reason)),
        };
        Some(Transport {
            fir: octet & link::TRANSPORT_FIR != 0,
            fin: octet & link::TRANSPORT_FIN != 0,
            sequence: octet & link::TRANSPORT_SEQUENCE,
            segment,
            discarded,
        })
    }

    fn application(fragment: &Fragment<'_>) -> Application {
        let (control, function) = (fragment.control(), fragment.function());
        let mut objects = Vec::new();
        let mut problem = None;
        for header in Headers::new(function, fragment.objects()) {
            match header {
                Ok(header) => objects.push(object(&header)),
                Err(found) => problem = Some(found),
            }
        }
        let (text, fault) = match problem {
            _ if is_cut(fragment) => (Some(RESPONSE_CUT.to_owned()), Some(true)),
            Some(problem) => (Some(Problem::to_string(&problem)), Some(problem.is_fault())),
            None => (None, None),
        };
        Application {
            fir: control & application::FIR != 0,
            fin: control & application::FIN != 0,
            con: control & application::CON != 0,
            uns: control & application::UNS != 0,
            sequence: control & application::SEQUENCE,
            function,
            name: function_name(function),
            indications: fragment
                .indications()
                .map(|octets| names::indications(octets).collect()),
            frames: fragment.frames,
            octets: fragment.octets.len(),
            objects,
            problem: text,
            fault,
        }
    }

    fn object(header: &objects::Header<'_>) -> Object {
        let (start, stop) = match header.range {
            Range::Points(from, to) | Range::Addresses(from, to) => (Some(from), Some(to)),
            Range::All | Range::Count(_) => (None, None),
        };
        Object {
            group: header.group,
            variation: header.variation,
            name: objects::name(header.group, header.variation),
            qualifier: header.qualifier,
            start,
            stop,
            count: header.range.count(),
        }
    }
}
