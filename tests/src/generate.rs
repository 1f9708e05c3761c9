// SPDX-License-Identifier: GPL-2.0

//! Generates packets and rules that are worth judging: frames with right CRCs, and what an
//! attacker or a bad line makes of them. Uniform octets would be malformed and nothing else.

use crate::frames::{self, control};
use crate::vectors;
use dnp3_core::rule::{class, dir, frames as frames_of, option, status, Range, MAX_RANGES};
use dnp3_core::{Fragment, Headers, Rule};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, Index};

/// One after another, these make a payload.
#[derive(Clone, Debug)]
pub enum Chunk {
    /// A frame with right CRCs; LEN is that of the user data.
    Frame {
        /// Control octet.
        control: u8,
        /// Destination.
        destination: u16,
        /// Source.
        source: u16,
        /// At most 250 octets.
        user_data: Vec<u8>,
    },
    /// A header with a right CRC, whatever follows.
    Header {
        /// Any LEN.
        len: u8,
        /// Control octet.
        control: u8,
        /// Destination.
        destination: u16,
        /// Source.
        source: u16,
    },
    /// Octets.
    Junk(Vec<u8>),
}

impl Chunk {
    /// Its octets. With `user_data_len`, frames have user data of that length.
    pub fn octets(&self, user_data_len: Option<usize>) -> Vec<u8> {
        match self {
            Chunk::Frame {
                control,
                destination,
                source,
                user_data,
            } => {
                let mut user_data = user_data.clone();
                if let Some(len) = user_data_len {
                    user_data.resize(len, 0);
                }
                frames::frame(*control, *destination, *source, &user_data)
            }
            Chunk::Header {
                len,
                control,
                destination,
                source,
            } => frames::header(*len, *control, *destination, *source),
            Chunk::Junk(octets) => octets.clone(),
        }
    }
}

/// What is done to a payload afterwards.
#[derive(Clone, Debug)]
pub enum Edit {
    /// One bit.
    Flip(Index, u8),
    /// One octet.
    Set(Index, u8),
    /// Octets put in.
    Insert(Index, Vec<u8>),
    /// Octets taken out.
    Remove(Index, u8),
    /// A header is made of what stands there: its start, LEN and the right CRC.
    Header(Index, u8),
    /// Two headers that share octets, the second `delta` octets behind the first.
    Overlap {
        /// Where the first begins.
        at: Index,
        /// 2..=7.
        delta: u8,
        /// LEN of both, but for the first where the second begins on its LEN.
        len: u8,
    },
    /// An octet (2..=7) of the header at some `05 64`, and its CRC made right again.
    Field(Index, u8, u8),
    /// An octet of the CRC of the header at some `05 64` made wrong.
    BreakCrc(Index, bool),
}

fn put(payload: &mut [u8], at: usize, octets: &[u8]) {
    for (to, octet) in payload.iter_mut().skip(at).zip(octets) {
        *to = *octet;
    }
}

fn repair(payload: &mut [u8], at: usize) {
    if let Some(header) = payload.get(at..at + 8) {
        let crc = frames::crc(header).to_le_bytes();
        put(payload, at + 8, &crc);
    }
}

fn starts(payload: &[u8]) -> Vec<usize> {
    (0..payload.len())
        .filter(|&at| payload[at..].starts_with(&[0x05, 0x64]))
        .collect()
}

impl Edit {
    /// Does it.
    pub fn apply(&self, payload: &mut Vec<u8>) {
        let len = payload.len();
        match self {
            Edit::Insert(at, octets) => {
                let at = at.index(len + 1);
                payload.splice(at..at, octets.iter().copied());
            }
            _ if len == 0 => {}
            Edit::Flip(at, bit) => payload[at.index(len)] ^= 1 << (bit % 8),
            Edit::Set(at, octet) => payload[at.index(len)] = *octet,
            Edit::Remove(at, count) => {
                let at = at.index(len);
                payload.drain(at..(at + usize::from(*count)).min(len));
            }
            Edit::Header(at, header_len) => {
                let at = at.index(len);
                put(payload, at, &[0x05, 0x64, *header_len]);
                repair(payload, at);
            }
            Edit::Overlap { at, delta, len } => {
                let first = at.index(payload.len());
                let second = first + usize::from(*delta);
                put(payload, first, &[0x05, 0x64, *len]);
                put(payload, second, &[0x05, 0x64, *len]);
                repair(payload, first);
                repair(payload, second);
            }
            Edit::Field(which, field, octet) => {
                let starts = starts(payload);
                if !starts.is_empty() {
                    let at = *which.get(&starts);
                    put(payload, at + usize::from(*field), &[*octet]);
                    repair(payload, at);
                }
            }
            Edit::BreakCrc(which, second) => {
                let starts = starts(payload);
                if !starts.is_empty() {
                    let at = *which.get(&starts) + 8 + usize::from(*second);
                    if let Some(octet) = payload.get_mut(at) {
                        *octet ^= 0x10;
                    }
                }
            }
        }
    }
}

/// The transport header, and what may be wrong with it.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP.
    Tcp {
        /// Words of options, 0..=10.
        options: u8,
        /// Another data offset than the right one.
        data_offset: Option<u8>,
        /// Flags.
        flags: u8,
    },
    /// UDP.
    Udp {
        /// Added to the right length.
        length_error: u16,
        /// Payload octets of each datagram of several in one packet.
        segment: Segment,
    },
    /// Some other protocol.
    Other(u8),
}

impl Transport {
    /// TCP with nothing out of the ordinary: no options, PSH and ACK.
    pub const PLAIN_TCP: Transport = Transport::tcp_with(0x18);
    /// UDP with nothing out of the ordinary: one datagram.
    pub const PLAIN_UDP: Transport = Transport::Udp {
        length_error: 0,
        segment: Segment::One,
    };

    /// TCP without options, with these flags.
    pub const fn tcp_with(flags: u8) -> Transport {
        Transport::Tcp {
            options: 0,
            data_offset: None,
            flags,
        }
    }
}

/// How a UDP packet is cut into datagrams.
#[derive(Clone, Copy, Debug)]
pub enum Segment {
    /// It is one datagram.
    One,
    /// Of so many octets.
    Octets(u16),
    /// As long as a frame with so much user data, which all frames of the payload then have.
    Frame(u8),
}

/// Where a packet says that it ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    /// Where it does.
    Right,
    /// So many octets sooner.
    Sooner(u8),
    /// Behind the last octet that there is.
    Beyond(u32),
    /// Anywhere.
    Wild(u32),
}

/// Everything of a packet but its payload.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The transport header.
    pub transport: Transport,
    /// Octets in front of it.
    pub network: u8,
    /// Octets behind the IP packet.
    pub padding: Vec<u8>,
    /// Which piece of the IP datagram it is.
    pub fragment: Fragment,
    /// Where the IP packet ends.
    pub end: End,
    /// The transport header's place, where it is not right.
    pub wild_transport: Option<u32>,
}

impl Shape {
    /// A packet with nothing wrong.
    pub fn plain(transport: Transport) -> Shape {
        Shape {
            transport,
            network: 20,
            padding: Vec::new(),
            fragment: Fragment::Whole,
            end: End::Right,
            wild_transport: None,
        }
    }

    /// The packet with this payload, and where things are in it.
    pub fn packet(&self, payload: &[u8]) -> (Vec<u8>, Headers) {
        let mut packet = vec![0xA5; usize::from(self.network)];
        let mut udp_segment = 0;
        let protocol = match self.transport {
            Transport::Tcp {
                options,
                data_offset,
                flags,
            } => {
                let right = 5 + options.min(10);
                let mut header = vec![0; usize::from(right) * 4];
                header[12] = data_offset.unwrap_or(right) << 4;
                header[13] = flags;
                // Options that look like the beginning of a frame are none of the payload's.
                for (octet, option) in header[20..].iter_mut().zip([0x05, 0x64].iter().cycle()) {
                    *octet = *option;
                }
                packet.extend(header);
                6
            }
            Transport::Udp {
                length_error,
                segment,
            } => {
                let length = (payload.len() + 8) as u16;
                let [high, low] = length.wrapping_add(length_error).to_be_bytes();
                packet.extend([0x4E, 0x20, 0x4E, 0x20, high, low, 0, 0]);
                udp_segment = match segment {
                    Segment::One => 0,
                    Segment::Octets(octets) => octets,
                    Segment::Frame(user_data) => {
                        frames::wire_len(user_data.saturating_add(5)) as u16
                    }
                };
                17
            }
            Transport::Other(protocol) => {
                packet.extend([0x50; 20]);
                protocol
            }
        };
        packet.extend(payload);
        let right_end = packet.len() as u32;
        packet.extend(&self.padding);
        let headers = Headers {
            transport: self.wild_transport.unwrap_or(u32::from(self.network)),
            end: match self.end {
                End::Right => right_end,
                End::Sooner(octets) => right_end.saturating_sub(u32::from(octets)),
                End::Beyond(octets) => (packet.len() as u32).saturating_add(octets),
                End::Wild(end) => end,
            },
            protocol,
            fragment: self.fragment,
            udp_segment,
        };
        (packet, headers)
    }

    fn user_data_len(&self) -> Option<usize> {
        match self.transport {
            Transport::Udp {
                segment: Segment::Frame(user_data),
                ..
            } => Some(usize::from(user_data.min(250))),
            _ => None,
        }
    }
}

/// What one generated case holds. It makes many packets: the payload whole and cut short.
#[derive(Clone, Debug)]
pub struct Case {
    /// The payload, before the edits.
    pub chunks: Vec<Chunk>,
    /// The edits.
    pub edits: Vec<Edit>,
    /// The rest of the packet.
    pub shape: Shape,
    /// Where the payload is cut short, apart from the places that are always tried.
    pub cuts: Vec<Index>,
    /// Where the linear part ends.
    pub linear: Vec<Index>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A payload up to this length is cut at every octet.
const CUT_EVERYWHERE: usize = 40;
/// A longer one at as many octets from its end, where most often the last header is.
const CUT_BEHIND: usize = 12;

impl Case {
    /// The whole payload.
    pub fn payload(&self) -> Vec<u8> {
        let len = self.shape.user_data_len();
        let mut payload: Vec<u8> = self
            .chunks
            .iter()
            .flat_map(|chunk| chunk.octets(len))
            .collect();
        for edit in &self.edits {
            edit.apply(&mut payload);
        }
        payload
    }

    /// How long the payloads are that this case makes of its own: the whole one and shorter ones,
    /// among them those that end where a chunk does.
    pub fn lengths(&self, whole: usize) -> Vec<usize> {
        let mut lengths: Vec<usize> = if whole <= CUT_EVERYWHERE {
            (0..=whole).collect()
        } else {
            let user_data_len = self.shape.user_data_len();
            let boundaries = self.chunks.iter().scan(0, |end, chunk| {
                *end += chunk.octets(user_data_len).len();
                Some(*end)
            });
            self.cuts
                .iter()
                .map(|cut| cut.index(whole))
                .chain(boundaries.filter(|&end| end <= whole))
                .chain(whole - CUT_BEHIND..=whole)
                .collect()
        };
        lengths.sort_unstable();
        lengths.dedup();
        lengths
    }
}

/// Addresses around every border that a rule or the standard has, and some that look like a
/// frame's start.
pub const ADDRESSES: [u16; 24] = [
    0, 1, 2, 3, 9, 10, 20, 21, 255, 256, 1024, 1025, 0x0564, 0x6405, 65519, 65520, 65530, 65531,
    65532, 65532, 65533, 65534, 65535, 65535,
];

/// Function codes that matter, around the borders of the words of the set.
const FUNCTIONS: [u8; 18] = [
    0, 1, 1, 1, 2, 3, 5, 13, 13, 14, 31, 32, 33, 0x64, 129, 130, 131, 255,
];

fn address() -> impl Strategy<Value = u16> {
    prop_oneof![12 => select(&ADDRESSES[..]), 1 => any::<u16>()]
}

/// Control octets of frames with user data.
const DATA_CONTROLS: [u8; 6] = [
    control::MASTER_DATA,
    control::OUTSTATION_DATA,
    0xE4,
    0xD3,
    0xF3,
    0x53,
];
/// Control octets of frames without.
const LINK_CONTROLS: [u8; 12] = [
    0xC0, 0x40, 0xC9, 0x49, 0xD2, 0xF2, 0x00, 0x80, 0x0B, 0x9B, 0x01, 0x0F,
];

fn control() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => select(&DATA_CONTROLS[..]),
        3 => select(&LINK_CONTROLS[..]),
        2 => any::<u8>(),
    ]
}

/// Octets of which a part looks like the beginning of a frame.
pub fn junk(len: core::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![
        4 => Just(0x05u8),
        4 => Just(0x64),
        2 => Just(0),
        1 => Just(0xC4),
        2 => any::<u8>(),
    ];
    vec(octet, len)
}

/// A whole frame, or a header, to be put into another frame's user data.
fn inner() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => select(vectors::ALL).prop_map(|(_, octets)| octets.to_vec()),
        2 => (any::<u8>(), control(), address(), address())
            .prop_map(|(len, control, to, from)| frames::header(len, control, to, from)),
    ]
}

fn user_data() -> impl Strategy<Value = Vec<u8>> {
    let transport = prop_oneof![
        6 => Just(0xC0u8),
        2 => Just(0x40),
        2 => Just(0x80),
        1 => Just(0x01),
        1 => any::<u8>(),
    ];
    let start = (transport, any::<u8>(), select(&FUNCTIONS[..]))
        .prop_map(|(transport, application, function)| vec![transport, application, function]);
    let lengths = prop_oneof![
        5 => 3usize..12,
        3 => 1usize..4,
        3 => 14usize..19,
        2 => 30usize..36,
        1 => 36usize..251,
        1 => 249usize..251,
    ];
    let body = prop_oneof![
        4 => Just(Vec::new()),
        2 => junk(0..30),
        // A frame that fits into a block lies whole in the packet when it begins where a block does.
        3 => (0usize..20, inner()).prop_map(|(lead, inner)| {
            let mut body = vec![0; lead];
            body.extend(inner);
            body
        }),
        2 => inner().prop_map(|inner| {
            let mut body = vec![0; 13];
            body.extend(inner);
            body
        }),
    ];
    (start, body, lengths).prop_map(|(mut user_data, body, len)| {
        let inside = body.len();
        user_data.extend(body);
        // Keep what lies inside, mostly.
        let len = if inside > 0 && len > 3 {
            len.max(inside + 3)
        } else {
            len
        };
        user_data.resize(len.min(frames::MAX_USER_DATA), 0);
        user_data
    })
}

fn frame(
    control: impl Strategy<Value = u8>,
    user_data: impl Strategy<Value = Vec<u8>>,
) -> impl Strategy<Value = Chunk> {
    (control, address(), address(), user_data).prop_map(
        |(control, destination, source, user_data)| Chunk::Frame {
            control,
            destination,
            source,
            user_data,
        },
    )
}

fn valid_user_data() -> impl Strategy<Value = Vec<u8>> {
    user_data().prop_map(|mut user_data| {
        if user_data.len() < 3 {
            user_data.resize(2, 0xC0);
            user_data[0] &= !0x40;
        }
        user_data
    })
}

/// Valid frames.
pub fn valid_frame() -> impl Strategy<Value = Chunk> {
    prop_oneof![
        3 => frame(select(&DATA_CONTROLS[..]), valid_user_data()),
        1 => frame(select(&LINK_CONTROLS[..]), Just(Vec::new())),
    ]
}

fn any_len() -> impl Strategy<Value = u8> {
    prop_oneof![3 => 3u8..10, 1 => select(&[16u8, 20, 21, 22, 37, 254, 255][..]), 1 => any::<u8>()]
}

/// Frames, right and wrong, and what else a payload is made of.
pub fn chunk() -> impl Strategy<Value = Chunk> {
    let header = (any_len(), control(), address(), address()).prop_map(
        |(len, control, destination, source)| Chunk::Header {
            len,
            control,
            destination,
            source,
        },
    );
    let cut = (valid_frame(), any::<Index>()).prop_map(|(frame, at)| {
        let mut octets = frame.octets(None);
        octets.truncate(at.index(octets.len()));
        Chunk::Junk(octets)
    });
    prop_oneof![
        8 => valid_frame(),
        2 => frame(control(), user_data()),
        2 => select(vectors::ALL).prop_map(|(_, octets)| Chunk::Junk(octets.to_vec())),
        2 => header,
        2 => cut,
        2 => junk(1..20).prop_map(Chunk::Junk),
        1 => vec(any::<u8>(), 1..90).prop_map(Chunk::Junk),
    ]
}

/// A payload's chunks: a third of them valid as they stand.
fn chunks() -> impl Strategy<Value = Vec<Chunk>> {
    prop_oneof![
        3 => vec(valid_frame(), 1..4),
        1 => vec(valid_frame(), 4..12),
        6 => vec(chunk(), 0..4),
    ]
}

/// What may be done to a payload.
pub fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => (any::<Index>(), any::<u8>()).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, octet)| Edit::Set(at, octet)),
        1 => (any::<Index>(), junk(1..6)).prop_map(|(at, octets)| Edit::Insert(at, octets)),
        1 => (any::<Index>(), 1u8..20).prop_map(|(at, count)| Edit::Remove(at, count)),
        2 => (any::<Index>(), any_len()).prop_map(|(at, len)| Edit::Header(at, len)),
        1 => (any::<Index>(), 2u8..8, any_len())
            .prop_map(|(at, delta, len)| Edit::Overlap { at, delta, len }),
        2 => (any::<Index>(), control()).prop_map(|(at, octet)| Edit::Field(at, 3, octet)),
        2 => (any::<Index>(), any_len()).prop_map(|(at, octet)| Edit::Field(at, 2, octet)),
        1 => (any::<Index>(), 4u8..8, any::<u8>())
            .prop_map(|(at, field, octet)| Edit::Field(at, field, octet)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(at, second)| Edit::BreakCrc(at, second)),
    ]
}

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop_oneof![3 => Just(Vec::new()), 2 => vec(edit(), 1..2), 1 => vec(edit(), 2..5)]
}

/// TCP headers: most of them right.
pub fn tcp() -> impl Strategy<Value = Transport> {
    let options = prop_oneof![3 => Just(0u8), 2 => Just(3), 1 => 0u8..11];
    let data_offset = prop_oneof![14 => Just(None), 1 => (0u8..16).prop_map(Some)];
    let flags = prop_oneof![8 => Just(0x18u8), 2 => Just(0x10), 1 => Just(0x38), 1 => any::<u8>()];
    (options, data_offset, flags).prop_map(|(options, data_offset, flags)| Transport::Tcp {
        options,
        data_offset,
        flags,
    })
}

/// UDP headers: most of them right, a third of several datagrams.
pub fn udp() -> impl Strategy<Value = Transport> {
    let length_error = prop_oneof![
        14 => Just(0u16),
        1 => select(&[1u16, 2, 8, 0xFFFF, 0xFFF8, 0xFFFE][..]),
        1 => any::<u16>(),
    ];
    let segment = prop_oneof![
        6 => Just(Segment::One),
        1 => (1u16..80).prop_map(Segment::Octets),
        1 => any::<u16>().prop_map(Segment::Octets),
        3 => (0u8..20).prop_map(Segment::Frame),
    ];
    (length_error, segment).prop_map(|(length_error, segment)| Transport::Udp {
        length_error,
        segment,
    })
}

/// The rest of a packet round a transport header: most of it right.
pub fn shape(transport: impl Strategy<Value = Transport>) -> impl Strategy<Value = Shape> {
    let network = prop_oneof![3 => Just(20u8), 2 => Just(40), 1 => Just(0), 1 => any::<u8>()];
    let padding = prop_oneof![4 => Just(Vec::new()), 1 => junk(1..30)];
    let fragment = prop_oneof![
        20 => Just(Fragment::Whole),
        2 => Just(Fragment::First),
        1 => Just(Fragment::Later),
    ];
    let end = prop_oneof![
        24 => Just(End::Right),
        2 => any::<u8>().prop_map(End::Sooner),
        1 => any::<u32>().prop_map(End::Beyond),
        1 => (0u32..200).prop_map(End::Wild),
        1 => any::<u32>().prop_map(End::Wild),
    ];
    let wild = prop_oneof![
        30 => Just(None),
        1 => prop_oneof![0u32..200, Just(u32::MAX), (u32::MAX - 30)..u32::MAX, any::<u32>()]
            .prop_map(Some),
    ];
    (transport, network, padding, fragment, end, wild).prop_map(
        |(transport, network, padding, fragment, end, wild_transport)| Shape {
            transport,
            network,
            padding,
            fragment,
            end,
            wild_transport,
        },
    )
}

/// Lists of addresses in the form that the kernel takes: ascending, merged, at most eight.
fn ranges() -> impl Strategy<Value = Vec<Range>> {
    let range = (address(), address(), any::<bool>()).prop_map(|(a, b, one)| {
        if one {
            Range { min: a, max: a }
        } else {
            Range {
                min: a.min(b),
                max: a.max(b),
            }
        }
    });
    let few = vec(range, 1..4);
    let many = vec(
        prop_oneof![select(&ADDRESSES[..]), any::<u16>()].prop_map(|address| Range {
            min: address,
            max: address,
        }),
        8..14,
    );
    prop_oneof![4 => few, 1 => many].prop_map(|mut ranges| {
        ranges.sort_by_key(|range| range.min);
        let mut merged: Vec<Range> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(range.min) <= u32::from(last.max) + 1 => {
                    last.max = last.max.max(range.max);
                }
                _ => merged.push(range),
            }
        }
        merged.truncate(MAX_RANGES);
        merged
    })
}

/// Sets of classes, at least one of them.
fn functions() -> impl Strategy<Value = ([u32; 8], u8)> {
    let codes = prop_oneof![
        4 => vec(select(&FUNCTIONS[..]), 0..5).prop_map(|codes| {
            let mut words = [0u32; 8];
            for code in codes {
                words[usize::from(code) / 32] |= 1 << (code % 32);
            }
            words
        }),
        1 => any::<[u32; 8]>(),
        1 => Just([u32::MAX; 8]),
    ];
    (codes, 0u8..4).prop_map(|(codes, classes)| {
        let classes = if codes == [0; 8] && classes == 0 {
            class::CONT
        } else {
            classes
        };
        (codes, classes)
    })
}

/// Rules in the form that the kernel takes, none of which tracks. The reading is that of
/// [`Rule::frames`] and is varied by the tests.
pub fn rule() -> impl Strategy<Value = Rule> {
    let options = prop_oneof![
        5 => select(&[option::SADDR, option::DADDR, option::FC, option::DIR][..]),
        1 => Just(0),
        1 => Just(option::STATUS),
        4 => any::<u16>(),
    ];
    let invert = prop_oneof![1 => Just(0u16), 1 => any::<u16>()];
    (
        (options, invert),
        select(&[None, None, Some(frames_of::ONLY), Some(frames_of::ANY)][..]),
        ranges(),
        ranges(),
        functions(),
        1u8..16,
        select(&[dir::MASTER, dir::OUTSTATION][..]),
    )
        .prop_map(
            |((options, invert), reading, saddr, daddr, functions, statuses, direction)| {
                let mut set = options & option::INVERTIBLE;
                if reading.is_some() {
                    set |= option::FRAMES;
                }
                let mut rule = Rule {
                    set,
                    invert: invert & set & option::INVERTIBLE,
                    frames: reading.unwrap_or(frames_of::ONLY),
                    ..Rule::default()
                };
                if set & option::SADDR != 0 {
                    rule.saddr_count = saddr.len() as u8;
                    rule.saddr[..saddr.len()].copy_from_slice(&saddr);
                }
                if set & option::DADDR != 0 {
                    rule.daddr_count = daddr.len() as u8;
                    rule.daddr[..daddr.len()].copy_from_slice(&daddr);
                }
                if set & option::FC != 0 {
                    (rule.fc, rule.classes) = functions;
                }
                if set & option::STATUS != 0 {
                    rule.status = statuses & status::STATELESS;
                }
                if set & option::DIR != 0 {
                    rule.dir = direction;
                }
                rule
            },
        )
}

/// The same for a rule of TCP, of which some track and may then name `ahead`.
pub fn tcp_rule() -> impl Strategy<Value = Rule> {
    let more = select(&[None, Some(0), Some(0), Some(status::AHEAD)][..]);
    (rule(), more, any::<bool>()).prop_map(|(mut rule, more, alone)| {
        if let Some(ahead) = more {
            rule.set |= option::TRACK;
            if rule.set & option::STATUS != 0 && ahead != 0 {
                rule.status = if alone { ahead } else { rule.status | ahead };
            }
        }
        rule
    })
}

/// The options that ask something of a frame.
pub const FRAME_OPTIONS: [u16; 4] = [option::SADDR, option::DADDR, option::FC, option::DIR];

/// The rule with one option less: one of [`FRAME_OPTIONS`], or `--status`.
pub fn without(rule: &Rule, option: u16) -> Rule {
    let mut rule = Rule {
        set: rule.set & !option,
        invert: rule.invert & !option,
        ..*rule
    };
    match option {
        option::SADDR => (rule.saddr, rule.saddr_count) = Default::default(),
        option::DADDR => (rule.daddr, rule.daddr_count) = Default::default(),
        option::FC => (rule.fc, rule.classes) = Default::default(),
        option::DIR => rule.dir = dir::UNSET,
        _ => rule.status = 0,
    }
    rule
}

/// The rule with another `--status` than its own, if it has one.
pub fn with_status(rule: &Rule, set: u8) -> Rule {
    Rule {
        set: rule.set | option::STATUS,
        invert: rule.invert & !option::STATUS,
        status: set,
        ..*rule
    }
}

/// The rule under the other reading, and where it had no `--frames`, with one.
pub fn with_reading(rule: &Rule, any: bool) -> Rule {
    Rule {
        set: rule.set | option::FRAMES,
        frames: if any { frames_of::ANY } else { frames_of::ONLY },
        ..*rule
    }
}

/// Cases.
pub fn case(transport: impl Strategy<Value = Transport>) -> impl Strategy<Value = Case> {
    (
        chunks(),
        edits(),
        shape(transport),
        vec(any::<Index>(), 12),
        vec(any::<Index>(), 8),
        vec(rule(), 3),
    )
        .prop_map(|(chunks, edits, shape, cuts, linear, rules)| Case {
            chunks,
            edits,
            shape,
            cuts,
            linear,
            rules,
        })
}
