// SPDX-License-Identifier: GPL-2.0

//! TCP endpoints that differ: which octets one keeps where segments overlap, whether it holds what
//! comes ahead, and what it does with a SYN in the middle. Each takes more than a real one would: it
//! looks at no acknowledgement number, and takes data that came with a SYN.

use crate::track::{flag, Sent};
use dnp3_core::track::Direction;
use std::collections::BTreeMap;

/// Which octet stays where two segments that wait bring one for the same place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlap {
    /// The one that came first.
    First,
    /// The one that came last.
    Last,
    /// That of the segment which begins before the other, else the first: BSD.
    Before,
    /// The same, but of two that begin at the same place the last: Linux.
    BeforeOrLast,
}

/// A kind of endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Of what waits.
    pub overlap: Overlap,
    /// Whether it holds what comes ahead of the next octet.
    pub holds_ahead: bool,
    /// Whether a SYN in the middle of a connection is the end of it, and maybe the beginning of the next; else
    /// it is ignored.
    pub syn_ends: bool,
    /// Octets behind the next one that it takes.
    pub window: u32,
}

impl Kind {
    /// All of them.
    pub fn all() -> Vec<Kind> {
        let mut all = Vec::new();
        for overlap in [
            Overlap::First,
            Overlap::Last,
            Overlap::Before,
            Overlap::BeforeOrLast,
        ] {
            for (holds_ahead, syn_ends) in [(true, false), (true, true), (false, true)] {
                all.push(Kind {
                    overlap,
                    holds_ahead,
                    syn_ends,
                    window: if syn_ends { 65535 } else { 2920 },
                });
            }
        }
        all
    }
}

/// What has become of a segment.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Whether a connection began.
    pub began: bool,
    /// What the application can read now.
    pub octets: Vec<u8>,
    /// What is sent back.
    pub answer: Option<Sent>,
}

/// An endpoint that waits for connections, one at a time.
#[derive(Clone, Debug)]
pub struct Endpoint {
    kind: Kind,
    connection: Option<Connection>,
}

#[derive(Clone, Debug)]
struct Connection {
    /// Its own next octet.
    own: u32,
    /// The other's initial sequence number.
    isn: u32,
    /// Whether more came than a SYN.
    established: bool,
    next: u32,
    /// What waits: octets by how far they are behind `next`'s first value, and where their segment began.
    waiting: BTreeMap<i64, (u8, i64)>,
    /// How far `next` is behind its first value.
    delivered: i64,
    urgent: Vec<i64>,
    fin: Option<i64>,
}

impl Endpoint {
    /// One that has no connection.
    pub fn new(kind: Kind) -> Endpoint {
        Endpoint {
            kind,
            connection: None,
        }
    }

    /// One that has a connection already.
    pub fn connected(kind: Kind, next: u32, own: u32) -> Endpoint {
        let isn = next.wrapping_sub(1);
        Endpoint {
            kind,
            connection: Some(Connection::new(isn, own)),
        }
    }

    /// The next octet that it expects, if it has a connection.
    pub fn next(&self) -> Option<u32> {
        self.connection.as_ref().map(|one| one.next)
    }

    /// Its own next octet.
    pub fn own(&self) -> Option<u32> {
        self.connection.as_ref().map(|one| one.own)
    }

    /// It has forgotten all.
    pub fn reboot(&mut self) {
        self.connection = None;
    }

    /// A segment comes. `isn` is what it begins with, should a connection begin.
    pub fn take(&mut self, sent: &Sent, isn: u32) -> Taken {
        let is_syn = sent.flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN;
        if is_syn {
            match &self.connection {
                Some(one) if one.isn == sent.sequence && !one.established => {
                    // Said again. Behind the first segment that follows a SYN, of which octets may
                    // wait, no TCP answers so any more.
                    return Taken {
                        answer: Some(one.answer(flag::SYN)),
                        ..Taken::default()
                    };
                }
                Some(one) if !self.kind.syn_ends => {
                    return Taken {
                        answer: Some(one.answer(0)),
                        ..Taken::default()
                    };
                }
                _ => {}
            }
            let mut one = Connection::new(sent.sequence, isn.wrapping_add(1));
            let first = sent.sequence.wrapping_add(1);
            let octets = one.take(self.kind, first, sent);
            one.established = !sent.payload.is_empty();
            let answer = Some(one.answer(flag::SYN));
            self.connection = Some(one);
            return Taken {
                began: true,
                octets,
                answer,
            };
        }
        let Some(one) = &mut self.connection else {
            return Taken::default();
        };
        let ahead = sent.sequence.wrapping_sub(one.next) as i32;
        if sent.flags & flag::RST != 0 {
            if ahead >= 0 && ahead as u32 <= self.kind.window {
                self.connection = None;
            }
            return Taken::default();
        }
        if sent.flags & flag::SYN != 0 {
            return Taken::default();
        }
        one.established = true;
        Taken {
            began: false,
            octets: one.take(self.kind, sent.sequence, sent),
            answer: (!sent.payload.is_empty()).then(|| one.answer(0)),
        }
    }
}

impl Connection {
    fn new(isn: u32, own: u32) -> Connection {
        Connection {
            own,
            isn,
            established: false,
            next: isn.wrapping_add(1),
            waiting: BTreeMap::new(),
            delivered: 0,
            urgent: Vec::new(),
            fin: None,
        }
    }

    fn answer(&self, flags: u8) -> Sent {
        let back = u32::from(flags & flag::SYN != 0);
        let sequence = self.own.wrapping_sub(back);
        Sent {
            acknowledgement: self.next,
            ..Sent::new(Direction::Reply, sequence, flags | flag::ACK, &[])
        }
    }

    /// Octets, and where they end, if the segment says so.
    fn take(&mut self, kind: Kind, sequence: u32, sent: &Sent) -> Vec<u8> {
        let from = self.delivered + i64::from(sequence.wrapping_sub(self.next) as i32);
        let to = from + sent.payload.len() as i64;
        if sent.flags & flag::URG != 0 {
            // The pointer is the one that does most: behind the first octet.
            self.urgent.push(from);
        }
        if from > self.delivered && !kind.holds_ahead {
            return Vec::new();
        }
        for (at, octet) in (from..).zip(&sent.payload) {
            let is_taken = at >= self.delivered
                && at < self.delivered + i64::from(kind.window)
                && self.fin.is_none_or(|fin| at < fin);
            if !is_taken {
                continue;
            }
            let waiting = self.waiting.entry(at).or_insert((*octet, from));
            let gives_way = match kind.overlap {
                Overlap::First => false,
                Overlap::Last => true,
                Overlap::Before => from < waiting.1,
                Overlap::BeforeOrLast => from <= waiting.1,
            };
            if gives_way {
                *waiting = (*octet, from);
            }
        }
        let in_window = to >= self.delivered && to <= self.delivered + i64::from(kind.window);
        if sent.flags & flag::FIN != 0 && in_window && self.fin.is_none() {
            self.fin = Some(to);
        }
        let mut octets = Vec::new();
        while let Some((octet, _)) = self.waiting.remove(&self.delivered) {
            if self.fin.is_some_and(|fin| self.delivered >= fin) {
                break;
            }
            if !self.urgent.contains(&self.delivered) {
                octets.push(octet);
            }
            self.delivered += 1;
            self.next = self.next.wrapping_add(1);
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(overlap: Overlap, holds_ahead: bool) -> Endpoint {
        let kind = Kind {
            overlap,
            holds_ahead,
            syn_ends: true,
            window: 100,
        };
        Endpoint::connected(kind, u32::MAX, 500)
    }

    fn take(endpoint: &mut Endpoint, at: i32, flags: u8, payload: &[u8]) -> Vec<u8> {
        let sequence = u32::MAX.wrapping_add_signed(at);
        let sent = Sent::new(Direction::Original, sequence, flags, payload);
        endpoint.take(&sent, 7).octets
    }

    #[test]
    fn they_part_where_segments_overlap() {
        for (overlap, got) in [
            (Overlap::First, b"xabcdEf"),
            (Overlap::Last, b"xabCDEf"),
            (Overlap::Before, b"xabcdEf"),
            (Overlap::BeforeOrLast, b"xabcdEf"),
        ] {
            let mut endpoint = endpoint(overlap, true);
            assert_eq!(take(&mut endpoint, 1, 0, b"abcd"), b"");
            assert_eq!(take(&mut endpoint, 3, 0, b"CDE"), b"");
            assert_eq!(take(&mut endpoint, 0, 0, b"x"), got[..6], "{overlap:?}");
            assert_eq!(take(&mut endpoint, 2, 0, b"----f"), b"f");
        }
        for (overlap, got) in [
            (Overlap::First, b"xab"),
            (Overlap::Before, b"xab"),
            (Overlap::Last, b"xAB"),
            (Overlap::BeforeOrLast, b"xAB"),
        ] {
            let mut endpoint = endpoint(overlap, true);
            assert_eq!(take(&mut endpoint, 1, 0, b"ab"), b"");
            assert_eq!(take(&mut endpoint, 1, 0, b"AB"), b"");
            assert_eq!(take(&mut endpoint, 0, 0, b"x"), got, "{overlap:?}");
        }
    }

    #[test]
    fn what_is_ahead_waits_or_not() {
        let mut endpoint = endpoint(Overlap::First, false);
        assert_eq!(take(&mut endpoint, 1, 0, b"b"), b"");
        assert_eq!(take(&mut endpoint, 0, 0, b"a"), b"a");
        assert_eq!(take(&mut endpoint, 101, 0, b"z"), b"", "not in the window");
        assert_eq!(take(&mut endpoint, -1, 0, b"xyb"), b"b");
    }

    #[test]
    fn a_fin_is_the_end_and_urgent_octets_are_lost() {
        let mut endpoint = endpoint(Overlap::First, true);
        assert_eq!(take(&mut endpoint, 0, flag::URG, b"ab"), b"b");
        assert_eq!(take(&mut endpoint, 3, flag::FIN, b"d"), b"");
        assert_eq!(take(&mut endpoint, 2, 0, b"cdefg"), b"cd");
        assert_eq!(take(&mut endpoint, 4, 0, b"efg"), b"");
    }

    #[test]
    fn connections_begin_and_end() {
        let mut endpoint = endpoint(Overlap::First, true);
        take(&mut endpoint, 200, flag::RST, b"");
        assert!(endpoint.next().is_some(), "not in the window");
        take(&mut endpoint, 0, flag::RST, b"");
        assert_eq!(endpoint.next(), None);
        assert_eq!(take(&mut endpoint, 0, 0, b"a"), b"");
        let syn = Sent::new(Direction::Original, 9, flag::SYN, b"ab");
        let taken = endpoint.take(&syn, 70);
        assert!(taken.began);
        assert_eq!(taken.octets, b"ab");
        let answer = taken.answer.expect("a SYN-ACK");
        assert_eq!((answer.sequence, answer.acknowledgement), (70, 12));
        assert_eq!(answer.flags, flag::SYN | flag::ACK);
        assert_eq!(endpoint.own(), Some(71));
        let mut data = Sent::new(Direction::Original, 12, flag::ACK, b"c");
        let answer = endpoint.take(&data, 0).answer.expect("an ACK");
        assert_eq!((answer.sequence, answer.acknowledgement), (71, 13));
        data.flags = flag::SYN | flag::ACK;
        assert!(endpoint.take(&data, 0).octets.is_empty());
        // A SYN again: before anything else came it is answered as it was; later it ends what there is.
        let syn = Sent::new(Direction::Original, 9, flag::SYN, &[]);
        assert!(endpoint.take(&syn, 80).began);
        let again = endpoint.take(&syn, 90);
        assert!(!again.began);
        assert_eq!(again.answer.map(|answer| answer.sequence), Some(80));
        take(&mut endpoint, 12, flag::ACK, b"z");
        assert!(endpoint.take(&syn, 90).began);
    }
}
