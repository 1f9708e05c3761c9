// SPDX-License-Identifier: GPL-2.0

//! What nf_conntrack says of a packet, as far as a capture shows it: the state of its connection, and
//! how packets change that.
//!
//! It is written after the behaviour of Linux 6.12 with the settings that it comes with: connections that
//! are met in mid-stream are picked up (`nf_conntrack_tcp_loose`), TCP's windows are kept, and time is
//! that of the capture. Checksums are taken for right, for a capture of a host that leaves them to its
//! network card has wrong ones. There is no NAT, and nobody expects connections (helpers).
//!
//! As in the kernel a packet goes by twice: [`Table::seen`] before the rules judge it, which may change a
//! connection that is known, and [`Table::passed`] when it has survived them, without which a connection
//! that it begins is forgotten.

use crate::track::Followed;
use lru::LruCache;
use std::net::IpAddr;
use std::num::NonZeroUsize;

/// Connections that are kept at a time; the one longest without a packet goes.
pub(crate) const MAX_ENTRIES: NonZeroUsize = NonZeroUsize::new(65_536).unwrap();

/// A second, in the unit of times.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Protocol numbers.
pub(crate) mod protocol {
    pub(crate) const ICMP: u8 = 1;
    pub(crate) const TCP: u8 = 6;
    pub(crate) const UDP: u8 = 17;
    pub(crate) const DCCP: u8 = 33;
    pub(crate) const GRE: u8 = 47;
    pub(crate) const AH: u8 = 51;
    pub(crate) const ICMPV6: u8 = 58;
    pub(crate) const SCTP: u8 = 132;
    pub(crate) const UDPLITE: u8 = 136;
}

/// What conntrack knows a connection by: of its first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tuple {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// The ports; of ICMP the identifier, and the type with the code.
    ports: [u16; 2],
}

impl Tuple {
    /// That of the packets in the other direction. `None` for a message of ICMP that has no answer.
    fn inverted(&self) -> Option<Tuple> {
        let [first, second] = self.ports;
        let ports = match self.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                let [kind, code] = second.to_be_bytes();
                let answer = match (self.protocol, kind) {
                    (protocol::ICMP, 0) => 8,
                    (protocol::ICMP, 8) => 0,
                    // Timestamps, information, address masks.
                    (protocol::ICMP, 13 | 15 | 17) => kind + 1,
                    (protocol::ICMP, 14 | 16 | 18) => kind - 1,
                    // Echo, node information.
                    (protocol::ICMPV6, 128 | 139) => kind + 1,
                    (protocol::ICMPV6, 129 | 140) => kind - 1,
                    _ => return None,
                };
                [first, u16::from_be_bytes([answer, code])]
            }
            _ => [second, first],
        };
        Some(Tuple {
            source: self.destination,
            destination: self.source,
            ports,
            ..*self
        })
    }

    /// That of a packet, from what follows the IP header. `None` where that is too short.
    fn of(datagram: &Datagram<'_>) -> Option<Tuple> {
        let octets = datagram.octets;
        let pair = |at: usize| -> Option<u16> {
            let octets = octets.get(at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*octets))
        };
        let ports = match datagram.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                octets.get(..8)?;
                [pair(4)?, pair(0)?]
            }
            protocol::TCP | protocol::UDP | protocol::UDPLITE | protocol::SCTP | protocol::DCCP => {
                [pair(0)?, pair(2)?]
            }
            _ => [0, 0],
        };
        Some(Tuple {
            source: datagram.source,
            destination: datagram.destination,
            protocol: datagram.protocol,
            ports,
        })
    }
}

/// An IP packet: defragmented, and without its header.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// That of the first header which is no extension of IPv6.
    pub(crate) protocol: u8,
    /// From there to the end of the IP packet.
    pub(crate) octets: &'a [u8],
}

/// The direction of a packet, as the connection's first packet had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Original,
    Reply,
}

impl Way {
    fn other(self) -> Way {
        match self {
            Way::Original => Way::Reply,
            Way::Reply => Way::Original,
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What conntrack says of a packet, as `--ctstate` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Invalid,
    New,
    Established,
    Related,
    Untracked,
    /// Protocols that conntrack knows more of than is known here.
    Unknown,
}

/// What conntrack knows of a packet.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) state: State,
    pub(crate) way: Way,
    /// The connection, by its key in the table; not for ICMP errors about one.
    pub(crate) key: Option<Tuple>,
    /// The connection, where it is not in the table: when this packet begins it, or has just ended it.
    pub(crate) own: Option<Box<Entry>>,
    /// Whether this packet has ended it.
    pub(crate) dying: bool,
}

impl Seen {
    fn of(state: State) -> Seen {
        Seen {
            state,
            way: Way::Original,
            key: None,
            own: None,
            dying: false,
        }
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Entry {
    kind: Kind,
    /// When it is over; for one that is not confirmed, how long it lasts.
    timeout: u64,
    seen_reply: bool,
    assured: bool,
    /// Whether something that decides about it is not certain.
    pub(crate) doubtful: bool,
    /// What the dnp3 match knows of it.
    pub(crate) followed: Option<Box<Followed>>,
    /// Whether a tracking rule has matched a SYN of it that is not committed.
    pub(crate) matched: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(Box<Tcp>),
    Udp { stream_from: u64 },
    Other,
}

/// All connections.
pub(crate) struct Table {
    entries: LruCache<Tuple, Entry>,
    /// Connections that were forgotten since there were too many.
    pub(crate) evicted: u64,
}

/// What becomes of a packet of a connection.
enum Handled {
    Valid,
    Invalid,
    /// It ends the connection.
    Ends,
    /// The connection is over, and this packet begins another.
    Again,
}

impl Table {
    pub(crate) fn new() -> Table {
        Table {
            entries: LruCache::new(MAX_ENTRIES),
            evicted: 0,
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(crate) fn get_mut(&mut self, key: &Tuple) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    /// Ends a connection.
    pub(crate) fn kill(&mut self, key: &Tuple) -> Option<Entry> {
        self.entries.pop(key)
    }

    /// The connection that a packet of this tuple belongs to, by its key, and the direction.
    fn find(&mut self, tuple: &Tuple, now: u64) -> Option<(Tuple, Way)> {
        let ways = [
            (Some(*tuple), Way::Original),
            (tuple.inverted(), Way::Reply),
        ];
        for (key, way) in ways {
            let Some(key) = key else { continue };
            match self.entries.peek(&key) {
                Some(entry) if entry.timeout <= now => {
                    self.entries.pop(&key);
                }
                Some(_) => return Some((key, way)),
                None => {}
            }
        }
        None
    }

    /// A packet comes, before any rule of the table filter has seen it.
    pub(crate) fn seen(&mut self, datagram: &Datagram<'_>, now: u64) -> Seen {
        match datagram.protocol {
            protocol::ICMP if datagram.source.is_ipv4() => {
                match datagram.octets.get(..8).and_then(<[u8]>::first) {
                    // The highest that is known.
                    None | Some(19..) => return Seen::of(State::Invalid),
                    Some(3 | 4 | 5 | 11 | 12) => return self.error(datagram, now),
                    Some(_) => {}
                }
            }
            protocol::ICMPV6 if datagram.source.is_ipv6() => {
                match datagram.octets.get(..8).and_then(<[u8]>::first) {
                    None => return Seen::of(State::Invalid),
                    // Multicast listeners, routers, neighbours.
                    Some(130..=136 | 143 | 151 | 152) => return Seen::of(State::Untracked),
                    // A redirect is right from a neighbour alone.
                    Some(137) => return Seen::of(State::Invalid),
                    Some(0..=127) => return self.error(datagram, now),
                    Some(_) => {}
                }
            }
            protocol::SCTP | protocol::DCCP | protocol::GRE => return Seen::of(State::Unknown),
            _ => {}
        }
        let Some(tuple) = Tuple::of(datagram) else {
            return Seen::of(State::Invalid);
        };
        let Some((key, way)) = self.find(&tuple, now) else {
            return begun(&tuple, datagram, now);
        };
        let Some(entry) = self.entries.get_mut(&key) else {
            return Seen::of(State::Invalid);
        };
        let state = match way {
            Way::Original if !entry.seen_reply => State::New,
            _ => State::Established,
        };
        let mut seen = Seen {
            state,
            way,
            key: Some(key),
            own: None,
            dying: false,
        };
        match entry.packet(datagram, way, now) {
            Handled::Valid => entry.seen_reply |= way == Way::Reply,
            Handled::Invalid => return Seen::of(State::Invalid),
            Handled::Ends => {
                seen.own = self.entries.pop(&key).map(Box::new);
                seen.dying = true;
            }
            Handled::Again => {
                self.entries.pop(&key);
                return begun(&tuple, datagram, now);
            }
        }
        seen
    }

    /// An error of ICMP, which has the beginning of the packet that it is about in it.
    fn error(&mut self, datagram: &Datagram<'_>, now: u64) -> Seen {
        let inner = datagram.octets.get(8..).unwrap_or_default();
        let about = match datagram.source {
            IpAddr::V4(_) => inner_v4(inner),
            IpAddr::V6(_) => inner_v6(inner),
        };
        // The packet that it is about went the other way.
        let found = about
            .as_ref()
            .and_then(Tuple::of)
            .and_then(|tuple| tuple.inverted())
            .and_then(|tuple| {
                let (key, way) = self.find(&tuple, now)?;
                // It must be for who sent that one.
                (tuple.destination == datagram.destination).then_some((key, way))
            });
        match found {
            None => Seen::of(State::Invalid),
            Some((key, way)) => {
                // Not a packet of the connection's own.
                let doubtful = self.entries.peek(&key).is_some_and(|entry| entry.doubtful);
                Seen {
                    way,
                    state: if doubtful {
                        State::Unknown
                    } else {
                        State::Related
                    },
                    ..Seen::of(State::Related)
                }
            }
        }
    }

    /// The packet has survived all rules: what it begins is kept.
    pub(crate) fn passed(&mut self, seen: Seen, now: u64) {
        let (Some(key), Some(mut entry), false) = (seen.key, seen.own, seen.dying) else {
            return;
        };
        entry.timeout = entry.timeout.saturating_add(now);
        let is_full = self.entries.len() == MAX_ENTRIES.get();
        if is_full {
            // What is over for long needs no place.
            let is_over = self
                .entries
                .peek_lru()
                .is_some_and(|(_, oldest)| oldest.timeout <= now);
            self.evicted += u64::from(!is_over);
        }
        self.entries.push(key, *entry);
    }

    /// The packet has been answered with a reset in place of its receiver.
    pub(crate) fn reset(&mut self, seen: &Seen, now: u64) {
        let Some(entry) = seen.key.as_ref().and_then(|key| self.entries.get_mut(key)) else {
            return;
        };
        if let Kind::Tcp(tcp) = &mut entry.kind {
            if tcp.state != Tcpstate::Close {
                tcp.state = Tcpstate::Close;
                entry.timeout = now + timeout(Tcpstate::Close);
            }
        }
    }
}

/// What a packet of no connection begins.
fn begun(tuple: &Tuple, datagram: &Datagram<'_>, now: u64) -> Seen {
    if tuple.inverted().is_none() {
        return Seen::of(State::Invalid);
    }
    let kind = match tuple.protocol {
        protocol::TCP => {
            match Segment::of(datagram.octets).and_then(|segment| Tcp::begun(&segment)) {
                Some(tcp) => Kind::Tcp(Box::new(tcp)),
                None => return Seen::of(State::Invalid),
            }
        }
        protocol::UDP | protocol::UDPLITE => Kind::Udp { stream_from: 0 },
        protocol::ICMP | protocol::ICMPV6 => {
            let [kind, _] = tuple.ports[1].to_be_bytes();
            let asks = match tuple.protocol {
                protocol::ICMP => matches!(kind, 8 | 13 | 15 | 17),
                _ => matches!(kind, 128 | 139),
            };
            if !asks {
                return Seen::of(State::Invalid);
            }
            Kind::Other
        }
        _ => Kind::Other,
    };
    let mut entry = Entry {
        kind,
        timeout: 0,
        seen_reply: false,
        assured: false,
        doubtful: false,
        followed: None,
        matched: false,
    };
    match entry.packet(datagram, Way::Original, now) {
        Handled::Valid => {
            // Not before it is confirmed does its time begin.
            entry.timeout = entry.timeout.saturating_sub(now);
            Seen {
                state: State::New,
                way: Way::Original,
                key: Some(*tuple),
                own: Some(Box::new(entry)),
                dying: false,
            }
        }
        Handled::Invalid | Handled::Ends | Handled::Again => Seen::of(State::Invalid),
    }
}

/// The packet of IPv4 in an error.
fn inner_v4(octets: &[u8]) -> Option<Datagram<'_>> {
    let header: &[u8; 20] = octets.first_chunk()?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 4] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(octets))
    };
    let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1FFF != 0;
    let length = usize::from(header[0] & 0x0F) * 4;
    if is_later {
        return None;
    }
    Some(Datagram {
        source: address(12)?,
        destination: address(16)?,
        protocol: header[9],
        octets: octets.get(length..)?,
    })
}

/// The packet of IPv6 in an error, behind its extension headers.
fn inner_v6(octets: &[u8]) -> Option<Datagram<'_>> {
    let header: &[u8; 40] = octets.first_chunk()?;
    let address = |at: usize| -> Option<IpAddr> {
        let octets: [u8; 16] = *header.get(at..)?.first_chunk()?;
        Some(IpAddr::from(octets))
    };
    let mut next = header[6];
    let mut rest = octets.get(40..)?;
    // Hop by hop, routing, fragment, authentication, destination; eight octets at least.
    while let 0 | 43 | 44 | 51 | 60 = next {
        let extension: &[u8; 8] = rest.first_chunk()?;
        let length = usize::from(extension[1]);
        let length = match next {
            44 => {
                if u16::from_be_bytes([extension[2], extension[3]]) & 0xFFF8 != 0 {
                    return None;
                }
                8
            }
            51 => (length + 2) * 4,
            _ => (length + 1) * 8,
        };
        next = extension[0];
        rest = rest.get(length..)?;
    }
    Some(Datagram {
        source: address(8)?,
        destination: address(24)?,
        protocol: next,
        octets: rest,
    })
}

impl Entry {
    fn packet(&mut self, datagram: &Datagram<'_>, way: Way, now: u64) -> Handled {
        match &mut self.kind {
            Kind::Tcp(_) => return self.segment(datagram.octets, way, now),
            Kind::Udp { stream_from } => {
                let octets = datagram.octets;
                let Some(&[_, _, _, _, l0, l1, _, _]) = octets.first_chunk() else {
                    return Handled::Invalid;
                };
                let length = usize::from(u16::from_be_bytes([l0, l1]));
                // UDP-Lite says there how much its checksum covers, and 0 is all.
                let covers_all = datagram.protocol == protocol::UDPLITE && length == 0;
                if !covers_all && (length > octets.len() || length < 8) {
                    return Handled::Invalid;
                }
                if *stream_from == 0 {
                    *stream_from = now + 2 * SECOND;
                }
                let is_stream = self.seen_reply && now > *stream_from;
                self.assured |= is_stream;
                self.timeout = now + if is_stream { 120 } else { 30 } * SECOND;
            }
            Kind::Other => {
                let is_icmp = matches!(datagram.protocol, protocol::ICMP | protocol::ICMPV6);
                self.timeout = now + if is_icmp { 30 } else { 600 } * SECOND;
            }
        }
        Handled::Valid
    }
}

/// The states that conntrack gives to a connection of TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tcpstate {
    None,
    SynSent,
    /// A SYN from the other end too.
    SynSent2,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
}

/// How long a connection in a state lasts without a packet.
fn timeout(state: Tcpstate) -> u64 {
    let seconds = match state {
        Tcpstate::None => 0,
        Tcpstate::SynSent | Tcpstate::SynSent2 | Tcpstate::FinWait | Tcpstate::TimeWait => 120,
        Tcpstate::SynReceived | Tcpstate::CloseWait => 60,
        Tcpstate::Established => 5 * 24 * 3600,
        Tcpstate::LastAck => 30,
        Tcpstate::Close => 10,
    };
    seconds * SECOND
}

/// How long it lasts at most when something is not acknowledged, or is sent again and again.
const UNACKNOWLEDGED: u64 = 300 * SECOND;
/// How often the same may come, before that counts.
const MAX_REPEATS: u8 = 3;

/// What a segment is to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    Nothing,
}

/// What a segment does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    To(Tcpstate),
    /// It may be right, and the other end will say so.
    Ignored,
    Invalid,
}

impl Tcpstate {
    fn next(self, sort: Sort, way: Way) -> Next {
        use Tcpstate::{
            Close, CloseWait, Established, FinWait, LastAck, None, SynReceived, SynSent, SynSent2,
            TimeWait,
        };
        let to = match (sort, way, self) {
            (Sort::Syn, Way::Original, None | SynSent | TimeWait | Close) => SynSent,
            (Sort::Syn, Way::Original, SynSent2) => SynSent2,
            (Sort::Syn, Way::Original, _) => return Next::Ignored,
            (Sort::Syn, Way::Reply, SynSent | SynSent2) => SynSent2,
            (Sort::Syn, Way::Reply, TimeWait) => SynSent,
            (Sort::SynAck, Way::Original, SynReceived | SynSent2) => SynReceived,
            (Sort::SynAck, Way::Reply, SynSent | SynSent2) => SynReceived,
            (Sort::SynAck, Way::Reply, None) => return Next::Invalid,
            (Sort::SynAck, Way::Reply, _) => return Next::Ignored,
            (Sort::Fin, _, SynReceived | Established) => FinWait,
            (Sort::Fin, _, FinWait | CloseWait | LastAck) => LastAck,
            (Sort::Fin | Sort::Ack, _, TimeWait) => TimeWait,
            (Sort::Fin | Sort::Ack, _, Close) => Close,
            (Sort::Ack, Way::Original, None | SynReceived) => Established,
            (Sort::Ack, Way::Reply, SynSent | SynSent2) => return Next::Ignored,
            (Sort::Ack, Way::Reply, SynReceived) => SynReceived,
            (Sort::Ack, _, Established) => Established,
            (Sort::Ack, _, FinWait | CloseWait) => CloseWait,
            (Sort::Ack, _, LastAck) => TimeWait,
            (Sort::Rst, _, None) => return Next::Invalid,
            (Sort::Rst, _, _) => Close,
            _ => return Next::Invalid,
        };
        Next::To(to)
    }

    /// Whether the connection is on its way out.
    fn is_closing(self) -> bool {
        matches!(
            self,
            Tcpstate::FinWait
                | Tcpstate::CloseWait
                | Tcpstate::LastAck
                | Tcpstate::TimeWait
                | Tcpstate::Close
        )
    }
}

/// A segment of TCP, as far as it matters here.
#[derive(Clone, Copy, Debug)]
struct Segment<'a> {
    sequence: u32,
    acknowledgement: u32,
    /// The sequence number behind it; SYN and FIN have one each.
    end: u32,
    window: u16,
    syn: bool,
    ack: bool,
    rst: bool,
    sort: Sort,
    options: &'a [u8],
}

impl Segment<'_> {
    /// `None` where it is cut short, or has flags that nobody sends together.
    fn of(octets: &[u8]) -> Option<Segment<'_>> {
        let header: &[u8; 20] = octets.first_chunk()?;
        let number = |at: usize| -> Option<u32> {
            Some(u32::from_be_bytes(*header.get(at..)?.first_chunk()?))
        };
        let length = usize::from(header[12] >> 4) * 4;
        let options = octets.get(20..length)?;
        let flags = header[13];
        let [fin, syn, rst, ack] = [0x01, 0x02, 0x04, 0x10].map(|bit| flags & bit != 0);
        let urgent = flags & 0x20 != 0;
        let is_right = match (syn, rst, fin) {
            (true, false, false) => !(ack && urgent),
            (false, true, false) => !urgent,
            (false, false, _) => ack,
            _ => false,
        };
        if !is_right {
            return None;
        }
        let sequence = number(4)?;
        let octets = (octets.len() - length) as u32;
        Some(Segment {
            sequence,
            acknowledgement: number(8)?,
            end: sequence
                .wrapping_add(octets)
                .wrapping_add(u32::from(syn) + u32::from(fin)),
            window: u16::from_be_bytes([header[14], header[15]]),
            syn,
            ack,
            rst,
            sort: match () {
                () if rst => Sort::Rst,
                () if syn && ack => Sort::SynAck,
                () if syn => Sort::Syn,
                () if fin => Sort::Fin,
                () if ack => Sort::Ack,
                () => Sort::Nothing,
            },
            options,
        })
    }

    /// Each option with what is in it, as far as they are right.
    fn options(&self) -> impl Iterator<Item = (u8, &[u8])> {
        let mut rest = self.options;
        std::iter::from_fn(move || loop {
            let (kind, behind) = rest.split_first()?;
            match kind {
                0 => return None,
                1 => rest = behind,
                _ => {
                    let length = usize::from(*behind.first()?);
                    let (option, behind) = rest.split_at_checked(length)?;
                    rest = behind;
                    return Some((*kind, option.get(2..)?));
                }
            }
        })
    }

    /// The highest octet that is acknowledged, in whatever way.
    fn selective(&self) -> u32 {
        const SACK: u8 = 5;
        let mut highest = self.acknowledgement;
        if let Some((_, blocks)) = self
            .options()
            .find(|(kind, blocks)| *kind == SACK && !blocks.is_empty() && blocks.len() % 8 == 0)
        {
            for block in blocks.chunks_exact(8) {
                let right = block.last_chunk().copied().map(u32::from_be_bytes);
                if let Some(right) = right.filter(|right| is_after(*right, highest)) {
                    highest = right;
                }
            }
        }
        highest
    }
}

/// Whether the first of two sequence numbers comes behind the second.
fn is_after(first: u32, second: u32) -> bool {
    (second.wrapping_sub(first) as i32) < 0
}

/// What is known of an end of a connection.
#[derive(Clone, Copy, Debug, Default)]
struct End {
    /// Behind the last octet that it has sent.
    end: u32,
    /// Behind the last that it may send.
    limit: u32,
    /// The largest window that it has offered; 0 where it has sent nothing.
    window: u32,
    /// The highest octet that it has acknowledged, once it has.
    acknowledged: Option<u32>,
    scale: u8,
    may_scale: bool,
    may_sack: bool,
    /// It has begun to close the connection.
    closes: bool,
    /// Its window is not known, and so not judged by.
    is_picked_up: bool,
    /// It has sent what is not acknowledged.
    unacknowledged: bool,
}

impl End {
    /// Learns from the options of a SYN.
    fn learn(&mut self, segment: &Segment<'_>) {
        const WINDOW_SCALE: u8 = 3;
        const SACK_PERMITTED: u8 = 4;
        if segment.options.is_empty() {
            return;
        }
        *self = End {
            end: self.end,
            limit: self.limit,
            window: self.window,
            acknowledged: None,
            is_picked_up: self.is_picked_up,
            ..End::default()
        };
        for (kind, value) in segment.options() {
            match (kind, value) {
                (SACK_PERMITTED, []) => self.may_sack = true,
                (WINDOW_SCALE, [scale]) => {
                    self.scale = (*scale).min(14);
                    self.may_scale = true;
                }
                _ => {}
            }
        }
    }
}

/// What the last segment said.
#[derive(Clone, Copy, Debug)]
struct Last {
    sort: Sort,
    way: Way,
    sequence: u32,
    acknowledgement: u32,
    end: u32,
    window: u16,
    scale: u8,
    may_scale: bool,
    may_sack: bool,
    /// The answer to a SYN may be an ACK that belongs to the connection before.
    may_be_challenged: bool,
    /// Both ends have sent a SYN.
    both_open: bool,
    /// How often it came.
    repeats: u8,
}

/// A connection of TCP.
#[derive(Debug)]
struct Tcp {
    state: Tcpstate,
    ends: [End; 2],
    last: Last,
}

/// How the window takes a segment.
enum Window {
    Within,
    /// Outside, and yet no reason to call it invalid.
    Ignored,
    Outside,
}

impl Tcp {
    /// A connection that this segment begins, or that it is met in. `None` where it cannot.
    fn begun(segment: &Segment<'_>) -> Option<Tcp> {
        let Next::To(state) = Tcpstate::None.next(segment.sort, Way::Original) else {
            return None;
        };
        let mut tcp = Tcp {
            state: Tcpstate::None,
            ends: [End::default(); 2],
            last: Last {
                sort: Sort::Nothing,
                way: Way::Original,
                sequence: 0,
                acknowledgement: 0,
                end: 0,
                window: 0,
                scale: 0,
                may_scale: false,
                may_sack: false,
                may_be_challenged: false,
                both_open: false,
                repeats: 0,
            },
        };
        let [sender, receiver] = &mut tcp.ends;
        sender.end = segment.end;
        sender.window = u32::from(segment.window).max(1);
        if state == Tcpstate::SynSent {
            sender.limit = segment.end;
            sender.learn(segment);
        } else {
            sender.limit = segment.end.wrapping_add(sender.window);
            for end in [sender, receiver] {
                end.may_sack = true;
                end.is_picked_up = true;
            }
        }
        Some(tcp)
    }

    /// Holds a segment to the windows, and learns from it.
    fn window(&mut self, segment: &Segment<'_>, way: Way) -> Window {
        /// The least that acknowledgements may be late.
        const LATE: u32 = 66_000;
        let state = self.state;
        let [original, reply] = &mut self.ends;
        let (sender, receiver) = match way {
            Way::Original => (original, reply),
            Way::Reply => (reply, original),
        };
        let mut sequence = segment.sequence;
        let mut end = segment.end;
        let mut acknowledgement = segment.acknowledgement;
        let mut selective = acknowledgement;
        if receiver.may_sack {
            selective = segment.selective();
        }
        let mut window = u32::from(segment.window);

        let is_renewed = segment.syn
            && is_after(end, sender.end)
            && matches!(state, Tcpstate::SynSent | Tcpstate::SynReceived);
        if segment.syn && (sender.window == 0 || is_renewed) {
            let is_first = sender.window == 0;
            sender.end = end;
            sender.limit = end;
            sender.window = window.max(1);
            sender.learn(segment);
            // Both or none.
            if way == Way::Reply && !(sender.may_scale && receiver.may_scale) {
                sender.scale = 0;
                receiver.scale = 0;
            }
            if !segment.ack && (is_first || way == Way::Reply) {
                return Window::Within;
            }
        } else if sender.window == 0 {
            // Met in mid-stream.
            sender.end = end;
            sender.window = (window << sender.scale).max(1);
            sender.limit = end.wrapping_add(sender.window);
            if receiver.window == 0 {
                receiver.end = selective;
                receiver.limit = selective;
            } else if selective == receiver.end.wrapping_add(1) {
                receiver.end = selective;
            }
        }
        if !segment.ack || segment.rst && acknowledgement == 0 {
            acknowledgement = receiver.end;
            selective = receiver.end;
        }
        if segment.rst && sequence == 0 && state == Tcpstate::SynSent {
            sequence = sender.end;
            end = sender.end;
        }

        let late = sender.window.max(LATE);
        let is_early = is_after(selective, receiver.end);
        let is_late = !is_after(selective, receiver.end.wrapping_sub(late).wrapping_sub(1));
        let in_window = is_after(
            end,
            sender.end.wrapping_sub(receiver.window).wrapping_sub(1),
        );
        let outside = |sender: &End, found: Window| match sender.is_picked_up {
            true => Window::Within,
            false => found,
        };
        if is_after(sequence, sender.limit) {
            let over = end.wrapping_sub(sender.limit).wrapping_add(1);
            if receiver.window != 0 && in_window && !is_late && over <= receiver.window && !is_early
            {
                sender.end = end;
                sender.unacknowledged = true;
                return outside(sender, Window::Ignored);
            }
            return outside(sender, Window::Outside);
        }
        if is_early {
            return outside(sender, Window::Outside);
        }
        if receiver.window != 0 && !in_window || is_late {
            return outside(sender, Window::Ignored);
        }

        if !segment.syn {
            window <<= sender.scale;
        }
        let offered = window.wrapping_add(selective.wrapping_sub(acknowledgement));
        sender.window = sender.window.max(offered);
        if is_after(end, sender.end) {
            sender.end = end;
            sender.unacknowledged = true;
        }
        if segment.ack {
            let is_newer = |before| is_after(acknowledgement, before);
            if sender.acknowledged.is_none_or(is_newer) {
                sender.acknowledged = Some(acknowledgement);
            }
        }
        if receiver.window != 0 && is_after(end, sender.limit) {
            let over = end.wrapping_sub(sender.limit);
            receiver.window = receiver.window.wrapping_add(over);
        }
        let limit = selective.wrapping_add(window);
        if is_after(limit, receiver.limit.wrapping_sub(1)) {
            receiver.limit = limit.wrapping_add(u32::from(window == 0));
        }
        if acknowledgement == receiver.end {
            receiver.unacknowledged = false;
        }
        if segment.sort == Sort::Ack {
            let last = &mut self.last;
            let is_same = last.way == way
                && last.sequence == sequence
                && last.acknowledgement == acknowledgement
                && last.end == end
                && last.window == segment.window;
            last.repeats = if is_same {
                last.repeats.saturating_add(1)
            } else {
                0
            };
            last.way = way;
            last.sequence = sequence;
            last.acknowledgement = acknowledgement;
            last.end = end;
            last.window = segment.window;
        }
        Window::Within
    }
}

impl Entry {
    /// Takes a segment of TCP.
    fn segment(&mut self, octets: &[u8], way: Way, now: u64) -> Handled {
        let Some(segment) = Segment::of(octets) else {
            return Handled::Invalid;
        };
        let Kind::Tcp(tcp) = &mut self.kind else {
            return Handled::Invalid;
        };
        let is_established = tcp.state == Tcpstate::Established && self.assured;
        let mut old = tcp.state;
        let next = old.next(segment.sort, way);
        let mut is_judged = false;
        let mut new = match next {
            Next::Invalid => return Handled::Invalid,
            Next::To(Tcpstate::SynSent) if matches!(old, Tcpstate::TimeWait | Tcpstate::Close) => {
                let has_closed = tcp.ends.iter().any(|end| end.closes);
                let was_reset = tcp.last.way == way && tcp.last.sort == Sort::Rst;
                if has_closed || was_reset {
                    return Handled::Again;
                }
                match tcp.ignored(&segment, way) {
                    Some(state) => state,
                    None => return Handled::Valid,
                }
            }
            Next::Ignored => match tcp.ignored(&segment, way) {
                Some(state) => state,
                None => return Handled::Valid,
            },
            Next::To(state) => state,
        };
        if next != Next::To(new) {
            // It is in step again with a handshake that it did not believe.
            old = Tcpstate::SynSent;
        }
        let last = &mut tcp.last;
        match new {
            Tcpstate::TimeWait
                if old == Tcpstate::LastAck
                    && segment.sort == Sort::Ack
                    && last.way != way
                    && last.sort == Sort::Syn
                    && last.may_be_challenged =>
            {
                last.may_be_challenged = false;
                return Handled::Valid;
            }
            Tcpstate::SynSent2 => last.both_open = true,
            Tcpstate::SynReceived
                if way == Way::Reply && segment.sort == Sort::Ack && last.both_open =>
            {
                new = Tcpstate::Established;
            }
            Tcpstate::Close if segment.sort == Sort::Rst => {
                match tcp.reset(&segment, way, is_established, self.seen_reply, self.assured) {
                    Reset::Invalid => return Handled::Invalid,
                    Reset::Believed => is_judged = true,
                    Reset::Judged => {}
                    Reset::Doubted => new = old,
                    Reset::DoubtedBelieved => {
                        new = old;
                        is_judged = true;
                    }
                }
            }
            _ => {}
        }
        if !is_judged {
            match tcp.window(&segment, way) {
                Window::Within => {}
                Window::Ignored => return Handled::Valid,
                Window::Outside => {
                    self.outside(segment.sort, way, now);
                    return Handled::Invalid;
                }
            }
        }
        tcp.last.sort = segment.sort;
        tcp.last.way = way;
        tcp.state = new;
        if old != new && new == Tcpstate::FinWait {
            if let Some(end) = tcp.ends.get_mut(way.index()) {
                end.closes = true;
            }
        }
        let most = timeout(new);
        let is_short = tcp.last.repeats >= MAX_REPEATS
            || segment.sort == Sort::Rst && new == Tcpstate::Established
            || tcp.ends.iter().any(|end| end.unacknowledged)
            || tcp.last.window == 0;
        let mut lasts = if is_short {
            most.min(UNACKNOWLEDGED)
        } else {
            most
        };
        if !self.seen_reply {
            if segment.rst {
                return Handled::Ends;
            }
            // A SYN that comes again does not make it last.
            if segment.sort == Sort::Syn && old == Tcpstate::SynSent {
                return Handled::Valid;
            }
            if new == Tcpstate::Established {
                lasts = lasts.min(UNACKNOWLEDGED);
            }
        } else if matches!(old, Tcpstate::SynReceived | Tcpstate::Established)
            && new == Tcpstate::Established
        {
            self.assured = true;
        }
        self.timeout = now + lasts;
        Handled::Valid
    }

    /// A segment was outside its window: one that would end the connection may have been right.
    fn outside(&mut self, sort: Sort, way: Way, now: u64) {
        let Kind::Tcp(tcp) = &mut self.kind else {
            return;
        };
        if !self.assured || !matches!(sort, Sort::Rst | Sort::Fin) {
            return;
        }
        if tcp.last.way != way && matches!(tcp.last.sort, Sort::Rst | Sort::Fin) {
            if self.timeout > now + UNACKNOWLEDGED {
                self.timeout = now + UNACKNOWLEDGED;
            }
        } else {
            tcp.last.sort = sort;
            tcp.last.way = way;
        }
    }
}

/// What is thought of a reset.
enum Reset {
    Invalid,
    /// The window is not asked.
    Believed,
    /// The window is asked.
    Judged,
    /// The same, but the state stays: its receiver may not believe it.
    Doubted,
    DoubtedBelieved,
}

impl Tcp {
    /// Takes a segment that does not fit, and may be right all the same. Where it shows that a SYN was right
    /// which was not believed, the state that follows.
    fn ignored(&mut self, segment: &Segment<'_>, way: Way) -> Option<Tcpstate> {
        let last = &mut self.last;
        if segment.sort == Sort::SynAck
            && last.sort == Sort::Syn
            && last.way != way
            && segment.acknowledgement == last.end
        {
            last.may_be_challenged = false;
            let [original, reply] = &mut self.ends;
            let (own, other) = match way {
                Way::Original => (original, reply),
                Way::Reply => (reply, original),
            };
            *other = End {
                end: last.end,
                limit: last.end,
                window: u32::from(last.window).max(1),
                acknowledged: None,
                scale: last.scale,
                may_scale: last.may_scale,
                may_sack: last.may_sack,
                ..End::default()
            };
            *own = End {
                is_picked_up: own.is_picked_up,
                ..End::default()
            };
            return Some(Tcpstate::SynReceived);
        }
        last.sort = segment.sort;
        last.way = way;
        last.sequence = segment.sequence;
        last.end = segment.end;
        last.window = segment.window;
        if segment.sort == Sort::Syn && way == Way::Original {
            let mut end = End::default();
            end.learn(segment);
            last.may_scale = end.may_scale;
            last.scale = end.scale;
            last.may_sack = end.may_sack;
            last.both_open = false;
            last.may_be_challenged = self.state == Tcpstate::LastAck;
        }
        if self.state == Tcpstate::SynSent && segment.sort == Sort::Ack && way == Way::Reply {
            last.acknowledgement = segment.acknowledgement;
        }
        None
    }

    /// Takes a reset.
    fn reset(
        &self,
        segment: &Segment<'_>,
        way: Way,
        is_established: bool,
        seen_reply: bool,
        assured: bool,
    ) -> Reset {
        if self.state.is_closing() {
            return Reset::Believed;
        }
        let last = &self.last;
        let acknowledged = self
            .ends
            .get(way.other().index())
            .and_then(|end| end.acknowledged);
        let mut is_doubted = false;
        if let Some(acknowledged) = acknowledged.filter(|_| last.sort != Sort::Syn) {
            if segment.sequence == 0 && !is_established {
                return Reset::Judged;
            }
            if is_after(acknowledged, segment.sequence) {
                return Reset::Invalid;
            }
            if !is_established || segment.sequence == acknowledged {
                return Reset::Judged;
            }
            if last.sort == Sort::Ack && last.way == way && segment.sequence == last.end {
                return Reset::Judged;
            }
            is_doubted = true;
        }
        let answers_syn = seen_reply && last.sort == Sort::Syn && last.way != way;
        let answers_ack = !assured && last.sort == Sort::Ack;
        let answers_challenge = self.state == Tcpstate::SynSent
            && last.sort == Sort::Ack
            && last.way == Way::Reply
            && segment.sequence == last.acknowledgement;
        let is_believed = (answers_syn || answers_ack) && segment.acknowledgement == last.end
            || answers_challenge;
        match (is_doubted, is_believed) {
            (false, false) => Reset::Judged,
            (false, true) => Reset::Believed,
            (true, false) => Reset::Doubted,
            (true, true) => Reset::DoubtedBelieved,
        }
    }
}
