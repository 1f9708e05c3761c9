// SPDX-License-Identifier: GPL-2.0

//! A gateway: conntrack entries, a policy of rules with `--track`, and the hook that commits what
//! they let through, as the kernel module puts them together around `dnp3_core::track`.
//!
//! Where conntrack would refuse something it says nothing, so that more comes through than in a real
//! one; `strict` has it keep SYNs of connections that it knows from being NEW.

use crate::track::{flag, Sent, INSIDE, OUTSIDE};
use dnp3_core::rule::{option, status};
use dnp3_core::track::{self, Commit, Connection, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{Headers, Octets, Packet, Rule, Verdict};

/// `core`'s answer to a packet of a connection, or of none.
pub fn judge(
    rule: &Rule,
    packet: &dyn Packet,
    headers: &Headers,
    tracked: Option<&mut Tracked<'_>>,
) -> Verdict {
    tracked
        .and_then(|tracked| track::judge(rule, packet, headers, tracked))
        .unwrap_or_else(|| dnp3_core::judge(rule, packet, headers))
}

/// What a rule does with what it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// ACCEPT.
    Accept,
    /// DROP.
    Drop,
}

/// Rules in order, each with `--track`, in front of a last one that drops. Before them stand those that
/// accept what has status `none`.
#[derive(Clone, Debug)]
pub struct Policy {
    /// From the side that opens connections.
    pub original: Vec<(Rule, Target)>,
    /// From the other.
    pub reply: Vec<(Rule, Target)>,
}

impl Policy {
    /// The rules for one side.
    pub fn of(&self, direction: Direction) -> &[(Rule, Target)] {
        match direction {
            Direction::Original => &self.original,
            Direction::Reply => &self.reply,
        }
    }
}

/// The rule with `--track`.
pub fn tracking(rule: &Rule) -> Rule {
    Rule {
        set: rule.set | option::TRACK,
        ..*rule
    }
}

/// `--track --status` with one status or more.
pub fn of_status(statuses: u8) -> Rule {
    Rule {
        set: option::STATUS | option::TRACK,
        status: statuses,
        ..Rule::default()
    }
}

/// What the octets of each direction are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// As much as is wanted.
    Grows,
    /// Always the same.
    Fixed(usize),
}

#[derive(Debug)]
struct Entry {
    connection: Option<Connection>,
    memory: [Vec<u8>; 2],
    /// Whether its original direction is that of replies.
    flipped: bool,
    /// Whether both sides have been seen.
    established: bool,
    alive: bool,
    /// Behind the octets that went on from the side that opens connections.
    next: Option<u32>,
}

/// The answer of the rules to a packet; what they accepted may be committed later.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The packet.
    pub sent: Sent,
    /// The rule that accepted it: its place among those of the direction, behind the one of `none`.
    pub rule: usize,
    entry: usize,
}

/// What has been counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Packets that the rule of `none` accepted.
    pub none: u64,
    /// Packets that another rule accepted.
    pub accepted: u64,
    /// Packets that no rule accepted, but for those ahead.
    pub refused: u64,
    /// Packets that are ahead.
    pub ahead: u64,
    /// Dropped by the hook: ahead.
    pub late_ahead: u64,
    /// Dropped by the hook: not what was committed.
    pub overlaps: u64,
    /// Connections that are followed.
    pub followed: u64,
    /// Those that are not any more.
    pub ended: u64,
    /// Those that another handshake made void.
    pub voided: u64,
    /// Those that a SYN replaced.
    pub renewed: u64,
    /// SYN-ACKs from the wrong side.
    pub strayed: u64,
    /// SYNs with another initial sequence number that were not believed.
    pub doubted: u64,
    /// Messages without room.
    pub crowded: u64,
}

/// The gateway.
pub struct Gateway<'p> {
    policy: &'p Policy,
    memory: Memory,
    strict: bool,
    scratch: Box<Scratch>,
    /// The time, in seconds.
    pub now: u32,
    entries: Vec<Entry>,
    /// What it counts.
    pub counts: Counts,
}

impl<'p> Gateway<'p> {
    /// One that knows no connection.
    pub fn new(policy: &'p Policy, memory: Memory, strict: bool) -> Gateway<'p> {
        Gateway {
            policy,
            memory,
            strict,
            scratch: Box::new(Scratch::new()),
            now: 1000,
            entries: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Conntrack's entry is gone.
    pub fn forget(&mut self) {
        if let Some(entry) = self.entries.last_mut() {
            entry.alive = false;
        }
    }

    /// Whether the connection is followed.
    pub fn is_followed(&self) -> bool {
        self.entries.last().is_some_and(|entry| {
            let connection = entry.connection.as_ref();
            entry.alive
                && connection.is_some_and(|one| one.is_followed(self.now, &Limits::default()))
        })
    }

    /// Behind the last octet that went on from the side that opens connections, as far as it can be
    /// told from outside.
    pub fn next(&self) -> Option<u32> {
        self.entries.last().and_then(|entry| entry.next)
    }

    fn entry_for(&mut self, sent: &Sent) -> usize {
        if !self.entries.last().is_some_and(|entry| entry.alive) {
            self.entries.push(Entry {
                connection: None,
                memory: [Vec::new(), Vec::new()],
                flipped: sent.direction == Direction::Reply,
                established: false,
                alive: true,
                next: None,
            });
        }
        let entry = self.entries.len() - 1;
        let of = &mut self.entries[entry];
        let is_original = (sent.direction == Direction::Original) != of.flipped;
        of.established |= !is_original || sent.flags & flag::SYN == 0;
        entry
    }

    /// Asks the rules.
    pub fn judge(&mut self, sent: &Sent) -> Option<Judged> {
        let at = self.entry_for(sent);
        let entry = &self.entries[at];
        let direction = direction(entry, sent);
        let (octets, headers) = sent.packet();
        let (now, scratch) = (self.now, &mut self.scratch);
        let mut matches = |rule: &Rule| {
            let mut tracked = entry.connection.as_ref().map(|connection| Tracked {
                connection,
                direction,
                memory: &entry.memory[direction as usize],
                scratch,
                now,
                limits: Limits::default(),
            });
            judge(rule, &Octets(&octets), &headers, tracked.as_mut()) == Verdict::Match
        };
        let is_syn = sent.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) == flag::SYN;
        let is_barred = is_syn && self.strict && entry.established;
        let accepted = |rule| Judged {
            sent: sent.clone(),
            rule,
            entry: at,
        };
        if !is_barred && matches(&of_status(status::NONE)) {
            self.counts.none += 1;
            return Some(accepted(0));
        }
        for (number, (rule, target)) in (1..).zip(self.policy.of(sent.direction)) {
            if matches(rule) {
                if *target == Target::Drop {
                    break;
                }
                self.counts.accepted += 1;
                return Some(accepted(number));
            }
        }
        if matches(&of_status(status::AHEAD)) {
            self.counts.ahead += 1;
        } else {
            self.counts.refused += 1;
        }
        None
    }

    /// Takes what the rules accepted. `None` where it belongs to an entry that is gone.
    pub fn commit(&mut self, judged: &Judged) -> Option<Commit> {
        let sent = &judged.sent;
        let id = judged.entry as u64 + 1;
        let entry = &mut self.entries[judged.entry];
        if !entry.alive {
            return None;
        }
        let direction = direction(entry, sent);
        let (octets, headers) = sent.packet();
        let packet = Octets(&octets);
        let Some(connection) = &mut entry.connection else {
            if direction == Direction::Original {
                let out = if entry.flipped { INSIDE } else { OUTSIDE };
                entry.connection = Connection::begin(id, &packet, &headers, out);
            }
            return Some(Commit::Pass);
        };
        let memory = &mut entry.memory[direction as usize];
        let wanted = match self.memory {
            Memory::Grows => {
                let wanted = connection.wanted(direction, sent.payload.len() as u32);
                memory.len().max(wanted as usize)
            }
            Memory::Fixed(size) => size,
        };
        if wanted != memory.len() {
            let mut moved = vec![0; wanted];
            connection.move_to(direction, memory, &mut moved);
            *memory = moved;
        }
        let passing = Passing {
            direction,
            headers: &headers,
            now: self.now,
            came_in: Some(sent.came_in),
            goes_out: if entry.flipped { INSIDE } else { OUTSIDE },
        };
        let commit = connection.commit(
            &packet,
            &passing,
            memory,
            &Limits::default(),
            &mut self.scratch,
        );
        if goes_on(Some(commit)) && sent.direction == Direction::Original {
            let end = sent.sequence.wrapping_add(sent.payload.len() as u32);
            let is_behind = entry
                .next
                .is_none_or(|next| (end.wrapping_sub(next) as i32) > 0);
            if is_behind && !sent.payload.is_empty() {
                entry.next = Some(end);
            }
        }
        let counts = &mut self.counts;
        match commit {
            Commit::Pass => {}
            Commit::Followed => counts.followed += 1,
            Commit::Crowded => counts.crowded += 1,
            Commit::Ended => counts.ended += 1,
            Commit::Voided => counts.voided += 1,
            Commit::Ahead => counts.late_ahead += 1,
            Commit::Overlap => counts.overlaps += 1,
            Commit::Strayed => counts.strayed += 1,
            Commit::Doubted => counts.doubted += 1,
            Commit::Renewed => {
                counts.renewed += 1;
                entry.alive = false;
            }
        }
        Some(commit)
    }

    /// Asks the rules, and takes what they accept. Whether it goes on.
    pub fn pass(&mut self, sent: &Sent) -> bool {
        match self.judge(sent) {
            Some(judged) => goes_on(self.commit(&judged)),
            None => false,
        }
    }
}

/// Whether a packet with which this was done goes on.
pub fn goes_on(commit: Option<Commit>) -> bool {
    match commit {
        Some(
            Commit::Pass | Commit::Followed | Commit::Crowded | Commit::Ended | Commit::Voided,
        ) => true,
        Some(
            Commit::Ahead | Commit::Overlap | Commit::Renewed | Commit::Strayed | Commit::Doubted,
        )
        | None => false,
    }
}

fn direction(entry: &Entry, sent: &Sent) -> Direction {
    if entry.flipped {
        sent.direction.other()
    } else {
        sent.direction
    }
}
