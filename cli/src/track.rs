// SPDX-License-Identifier: GPL-2.0

//! Following connections (`--track`) as the kernel module does: `dnp3_core::track` judges and commits,
//! and here is what `kmod/track.c` has around it, with the module's default bounds. Time is that of the
//! capture. Where a SYN-ACK comes in is not in a capture, and it is believed wherever that is.

use crate::conntrack::Way;
use dnp3_core::packet::Octets;
use dnp3_core::track::{self, Commit, Connection, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{Headers, Rule, Verdict};
use std::cell::Cell;
use std::rc::Rc;

/// `track_connections`: connections that are followed, at most.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;
/// `track_octets`: octets that are kept of a direction, at most.
const MAX_OCTETS: u32 = 65_536;
/// `track_memory`: octets of all connections beyond what each keeps at rest.
const MAX_MEMORY: usize = 64 << 20;
/// What is kept at rest.
const FIRST_SIZE: u32 = 1632;
/// Seconds without a packet after which a connection is at rest: acknowledged, or not.
const REST: i32 = 60;
const REST_UNACKED: i32 = 300;

/// What all connections share.
#[derive(Debug, Default)]
struct Shared {
    connections: Cell<usize>,
    /// Octets beyond those at rest.
    held: Cell<usize>,
}

/// A connection that is followed, or was.
#[derive(Debug)]
pub(crate) struct Followed {
    connection: Connection,
    memory: [Vec<u8>; 2],
    /// When a packet was committed last, in seconds.
    last: u32,
    shared: Rc<Shared>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        for memory in &self.memory {
            self.shared.give(memory.len());
        }
        let connections = self.shared.connections.get();
        self.shared.connections.set(connections.saturating_sub(1));
    }
}

impl Shared {
    fn give(&self, size: usize) {
        if size > FIRST_SIZE as usize {
            self.held.set(self.held.get().saturating_sub(size));
        }
    }

    fn take(&self, size: usize) -> bool {
        if size <= FIRST_SIZE as usize {
            return true;
        }
        let held = self.held.get() + size;
        let has_room = held <= MAX_MEMORY;
        if has_room {
            self.held.set(held);
        }
        has_room
    }
}

fn direction(way: Way) -> Direction {
    match way {
        Way::Original => Direction::Original,
        Way::Reply => Direction::Reply,
    }
}

impl Followed {
    /// False when there is no memory.
    fn resize(&mut self, way: Way, size: u32) -> bool {
        if !self.shared.take(size as usize) {
            return false;
        }
        let Some(memory) = self.memory.get_mut(way as usize) else {
            return false;
        };
        let mut new = vec![0; size as usize];
        self.connection.move_to(direction(way), memory, &mut new);
        self.shared.give(memory.len());
        *memory = new;
        true
    }

    fn size(&self, way: Way) -> u32 {
        self.memory.get(way as usize).map_or(0, Vec::len) as u32
    }

    /// Keeps no more than a connection at rest does, where it is.
    fn rest(&mut self, now: u32) {
        let idle = now.wrapping_sub(self.last) as i32;
        for way in [Way::Original, Way::Reply] {
            if self.connection.needs_no_octets() {
                if let Some(memory) = self.memory.get_mut(way as usize) {
                    self.shared.give(memory.len());
                    *memory = Vec::new();
                }
            } else if self.size(way) > FIRST_SIZE
                && idle > REST
                && (self.connection.unacknowledged(direction(way)) == 0 || idle > REST_UNACKED)
            {
                self.resize(way, FIRST_SIZE);
            }
        }
    }
}

/// A packet of TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    /// From the TCP header on.
    pub(crate) octets: &'a [u8],
    pub(crate) headers: &'a Headers,
    pub(crate) way: Way,
    /// The time, in seconds.
    pub(crate) now: u32,
}

/// What follows connections.
pub(crate) struct Tracker {
    scratch: Box<Scratch>,
    shared: Rc<Shared>,
    last_id: u64,
    /// Connections that were not followed since there were too many.
    pub(crate) full: u64,
    /// Octets that gave way for want of memory.
    pub(crate) short: u64,
}

impl Tracker {
    pub(crate) fn new() -> Tracker {
        Tracker {
            scratch: Box::new(Scratch::new()),
            shared: Rc::default(),
            last_id: 0,
            full: 0,
            short: 0,
        }
    }

    /// Whether no more can be followed.
    pub(crate) fn is_full(&self) -> bool {
        self.shared.connections.get() >= MAX_CONNECTIONS
    }

    /// Judges a packet as a piece of its connection. `None` where that is not followed.
    pub(crate) fn judge(
        &mut self,
        rule: &Rule,
        followed: &mut Followed,
        packet: &Packet<'_>,
    ) -> Option<Verdict> {
        followed.rest(packet.now);
        let memory = followed.memory.get(packet.way as usize);
        let mut tracked = Tracked {
            connection: &followed.connection,
            direction: direction(packet.way),
            memory: memory.map_or(&[], Vec::as_slice),
            scratch: &mut self.scratch,
            now: packet.now,
            limits: Limits::default(),
        };
        track::judge(rule, &Octets(packet.octets), packet.headers, &mut tracked)
    }

    /// Begins with a packet that has survived all rules, if it is a SYN to begin with.
    pub(crate) fn begin(&mut self, packet: &Packet<'_>) -> Option<Box<Followed>> {
        self.last_id += 1;
        let octets = Octets(packet.octets);
        let connection = Connection::begin(self.last_id, &octets, packet.headers, 0)?;
        if self.is_full() {
            self.full += 1;
            return None;
        }
        self.shared
            .connections
            .set(self.shared.connections.get() + 1);
        Some(Box::new(Followed {
            connection,
            memory: [Vec::new(), Vec::new()],
            last: packet.now,
            shared: self.shared.clone(),
        }))
    }

    /// Commits a packet that has survived all rules.
    pub(crate) fn commit(&mut self, followed: &mut Followed, packet: &Packet<'_>) -> Commit {
        followed.rest(packet.now);
        self.grow(followed, packet.way, packet.octets.len() as u32);
        followed.last = packet.now;
        let passing = Passing {
            direction: direction(packet.way),
            headers: packet.headers,
            now: packet.now,
            came_in: None,
            goes_out: 0,
        };
        let Followed {
            connection, memory, ..
        } = followed;
        let memory = memory.get_mut(packet.way as usize);
        connection.commit(
            &Octets(packet.octets),
            &passing,
            memory.map_or(&mut [], Vec::as_mut_slice),
            &Limits::default(),
            &mut self.scratch,
        )
    }

    /// Makes room for what a packet brings, as far as there may be more and there is memory.
    fn grow(&mut self, followed: &mut Followed, way: Way, more: u32) {
        let wanted = followed.connection.wanted(direction(way), more);
        if wanted <= followed.size(way) {
            return;
        }
        let mut size = FIRST_SIZE;
        if wanted > size {
            size = wanted.min(MAX_OCTETS).next_power_of_two();
        }
        size = size.min(MAX_OCTETS);
        if size > followed.size(way) && !followed.resize(way, size) {
            self.short += 1;
            if followed.size(way) == 0 {
                followed.resize(way, FIRST_SIZE);
            }
        }
    }
}
