// SPDX-License-Identifier: GPL-2.0

//! The whole way from an input to its events.

use crate::capture::Capture;
use crate::cut::Mark;
use crate::event::{Event, Sink};
use crate::packet::{Packets, Unread};
use crate::progress::Progress;
use crate::stream::{Budget, Line, Streams, MAX_FLOWS};
use std::io::{ErrorKind, Read};

/// The port of DNP3 over TCP and UDP.
pub(crate) const PORT: u16 = 20_000;

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ports, of which a packet must have one.
    pub ports: Vec<u16>,
}

impl Default for Options {
    fn default() -> Options {
        Options { ports: vec![PORT] }
    }
}

/// What an input came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets in the capture.
    pub packets: u64,
    /// Of them, those with a port that was asked for.
    pub taken: u64,
    /// Octets of the input.
    pub octets: u64,
    /// Whether reading ended before the input did, since it is damaged.
    pub damaged: bool,
    /// Whether the sink wanted no more.
    pub stopped: bool,
}

/// Reads captures and octets, one after the other, and tells what is in them.
#[derive(Clone, Debug, Default)]
pub struct Input {
    options: Options,
}

impl Input {
    /// An input with these options.
    pub fn new(options: Options) -> Input {
        Input { options }
    }

    /// Reads a capture, pcap or pcapng, to its end or to where it is damaged. `name` is how it is called
    /// in what is said of damage. `tell` takes each event, and returns whether it wants more.
    pub fn capture(
        &mut self,
        name: &str,
        source: impl Read,
        progress: &Progress,
        tell: &mut Sink<'_>,
    ) -> Counts {
        let mut counts = Counts::default();
        let mut streams = Streams::new();
        let mut packets = Packets::new(&self.options.ports);
        let damage = match Capture::new(source) {
            Err(damage) => Some(damage),
            Ok(mut capture) => loop {
                counts.octets = capture.position();
                progress.at(counts.octets);
                match capture.next() {
                    Err(damage) => break Some(damage),
                    Ok(None) => break None,
                    Ok(Some(record)) => {
                        counts.packets = record.number;
                        let mark = Mark {
                            packet: record.number,
                            time: record.time,
                        };
                        let (link_type, octets) = (record.link_type, record.octets);
                        packets.packet(link_type, octets, record.cut, mark, &mut streams, tell);
                        if streams.is_stopped() {
                            break None;
                        }
                    }
                }
            },
        };
        streams.finish(tell);
        counts.taken = packets.taken;
        counts.stopped = streams.is_stopped();
        counts.damaged = damage.is_some();
        if let Some(damage) = damage {
            let read = match counts.packets {
                0 => String::from("nothing could be read"),
                packets => format!("{packets} packets before that were read"),
            };
            streams.tell(&Event::Damage(&format!("{name}: {damage}; {read}")), tell);
        }
        for line in self.not_shown(&packets.unread, streams.evicted, &counts) {
            streams.tell(&Event::Note(&format!("{name}: {line}")), tell);
        }
        counts
    }

    /// What was in the capture and is not in the events, a line for each kind.
    fn not_shown(&self, unread: &Unread, evicted: u64, counts: &Counts) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(unread.unknown.line());
        if unread.fragments != 0 {
            lines.push(format!(
                "{} IP fragments do not fit together, or are not whole",
                unread.fragments
            ));
        }
        if unread.cut != 0 {
            lines.push(format!(
                "{} packets were not captured whole (tcpdump -s 0 does)",
                unread.cut
            ));
        }
        if unread.headers != 0 {
            lines.push(format!(
                "{} packets have a TCP or UDP header that is cut short or wrong",
                unread.headers
            ));
        }
        if unread.urgent != 0 {
            lines.push(format!(
                "{} TCP segments have URG, which the dnp3 match calls malformed: receivers may take \
                 an octet out of the stream",
                unread.urgent
            ));
        }
        if unread.lengths != 0 {
            lines.push(format!(
                "{} datagrams have a UDP length that is not that of the IP packet, which the dnp3 \
                 match calls malformed",
                unread.lengths
            ));
        }
        if evicted != 0 {
            lines.push(format!(
                "{evicted} connections were forgotten, since more than {MAX_FLOWS} were open at a time"
            ));
        }
        if counts.taken == 0 && counts.packets != 0 && !counts.stopped {
            let ports: Vec<String> = self.options.ports.iter().map(u16::to_string).collect();
            lines.push(format!(
                "none of the {} packets is of TCP or UDP port {}; --port names others",
                counts.packets,
                ports.join(", ")
            ));
        }
        lines
    }

    /// Reads the octets of a serial line, as they were on it.
    pub fn raw(
        &mut self,
        name: &str,
        mut source: impl Read,
        progress: &Progress,
        tell: &mut Sink<'_>,
    ) -> Counts {
        let mut counts = Counts::default();
        let mut budget = Budget::default();
        let mut line = Line::default();
        let mut buffer = vec![0; 64 << 10];
        let mut damage = None;
        while !counts.stopped {
            progress.at(counts.octets);
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => {
                    counts.octets += read as u64;
                    counts.stopped = !line.push(&buffer[..read], &mut budget, tell);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    damage = Some(error);
                    break;
                }
            }
        }
        if !counts.stopped {
            line.finish(&mut budget, tell);
            if let Some(error) = &damage {
                let at = counts.octets;
                let line = format!("{name}: cannot be read from octet {at} on: {error}");
                counts.stopped = !tell(&Event::Damage(&line));
            }
        }
        counts.damaged = damage.is_some();
        counts
    }

    /// The same for octets that are at hand.
    pub fn octets(&mut self, name: &str, octets: &[u8], tell: &mut Sink<'_>) -> Counts {
        self.raw(name, octets, &Progress::none(), tell)
    }
}
