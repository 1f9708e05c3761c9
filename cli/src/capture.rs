// SPDX-License-Identifier: GPL-2.0

//! Reads pcap and pcapng, from files and pipes of any length, with one buffer. The layout of the
//! records is `pcap_parser`'s business; the buffer and what to do with damage are here.

use pcap_parser::pcapng::{parse_block_be, parse_block_le, Block};
use pcap_parser::{
    parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified, parse_pcap_header,
    LegacyPcapBlock, PcapError, PcapHeader,
};
use std::fmt;
use std::io::{self, Read};

/// What is read at a time.
const CHUNK: usize = 256 << 10;
/// The most octets that a packet is let have, its record's header included. Network cards give
/// 512 KiB at most.
const MAX_RECORD: usize = 8 << 20;
/// Interfaces of a section of pcapng that are kept in mind.
const MAX_INTERFACES: usize = 65_536;

const SECTION_HEADER: u32 = 0x0A0D_0D0A;
const INTERFACE_DESCRIPTION: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;
/// The byte order's mark in a section header, where the order is big-endian.
const BYTE_ORDER_MARK: [u8; 4] = [0x1A, 0x2B, 0x3C, 0x4D];
const NANOSECONDS: u64 = 1_000_000_000;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    /// From 1 on.
    pub(crate) number: u64,
    /// Nanoseconds since 1970.
    pub(crate) time: Option<u64>,
    pub(crate) link_type: u32,
    pub(crate) octets: &'a [u8],
    /// Whether there was more on the wire.
    pub(crate) cut: bool,
}

/// Why reading ends before the input does.
#[derive(Debug)]
pub(crate) enum Damage {
    /// Neither pcap nor pcapng.
    Unknown(Vec<u8>),
    /// The input ends inside something.
    Ends {
        what: What,
        at: u64,
        have: usize,
        wanted: usize,
    },
    /// Something is not as the format has it.
    Wrong { what: What, at: u64, why: String },
    /// The system could not read.
    Read { at: u64, error: io::Error },
}

/// What is damaged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Header,
    /// The record of this packet.
    Packet(u64),
    /// A block of this type.
    Block(u32),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Header => write!(f, "the file's header"),
            What::Packet(number) => write!(f, "packet {number}"),
            What::Block(kind) => write!(f, "the block of type {kind}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Damage::Unknown(octets) if octets.is_empty() => {
                write!(f, "is empty; a pcap or pcapng file is wanted")
            }
            Damage::Unknown(octets) => {
                write!(f, "is neither pcap nor pcapng: it begins with")?;
                octets.iter().try_for_each(|octet| write!(f, " {octet:02X}"))?;
                if octets.starts_with(&[0x1F, 0x8B]) {
                    write!(f, ", as gzip does: zcat FILE | dnp3fw … - reads it")?;
                }
                Ok(())
            }
            Damage::Ends {
                what,
                at,
                have,
                wanted,
            } => write!(
                f,
                "ends inside {what}, which begins at octet {at}: {have} of {wanted} octets are there"
            ),
            Damage::Wrong { what, at, why } => write!(f, "{what}, at octet {at}: {why}"),
            Damage::Read { at, error } => write!(f, "cannot be read from octet {at} on: {error}"),
        }
    }
}

/// An interface of a section of pcapng.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u32,
    snap_length: u32,
    /// Units per second.
    resolution: u128,
    /// Seconds to add.
    offset: i64,
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> Option<u64> {
        let units = u128::from(high) << 32 | u128::from(low);
        let nanoseconds = units * u128::from(NANOSECONDS) / self.resolution;
        let offset = i128::from(self.offset) * i128::from(NANOSECONDS);
        u64::try_from(i128::try_from(nanoseconds).ok()? + offset).ok()
    }
}

type ParseRecord = for<'a> fn(
    &'a [u8],
) -> Result<
    (&'a [u8], LegacyPcapBlock<'a>),
    pcap_parser::nom::Err<PcapError<&'a [u8]>>,
>;

enum Format {
    Pcap {
        header: PcapHeader,
        parse: ParseRecord,
        record_header: usize,
    },
    PcapNg {
        big_endian: bool,
        interfaces: Vec<Interface>,
    },
}

/// The octets of the input, as many at a time as are needed.
struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
    /// Octets of the input before `from`.
    at: u64,
    is_at_end: bool,
}

impl<R: Read> Window<R> {
    fn octets(&self) -> &[u8] {
        &self.buffer[self.from..self.to]
    }

    /// Sees to it that this many octets are there, unless the input ends before.
    fn want(&mut self, wanted: usize) -> Result<bool, Damage> {
        if self.to - self.from >= wanted {
            return Ok(true);
        }
        self.buffer.copy_within(self.from..self.to, 0);
        self.to -= self.from;
        self.from = 0;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > CHUNK && wanted <= CHUNK && self.to <= CHUNK {
            self.buffer.truncate(CHUNK);
            self.buffer.shrink_to_fit();
        }
        while self.to < wanted && !self.is_at_end {
            match self.input.read(&mut self.buffer[self.to..]) {
                Ok(0) => self.is_at_end = true,
                Ok(read) => self.to += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_at_end = true;
                    let at = self.at + self.to as u64;
                    return Err(Damage::Read { at, error });
                }
            }
        }
        Ok(self.to >= wanted)
    }

    fn skip(&mut self, octets: usize) {
        let octets = octets.min(self.to - self.from);
        self.from += octets;
        self.at += octets as u64;
    }
}

/// A capture that is being read.
pub(crate) struct Capture<R> {
    window: Window<R>,
    format: Format,
    packets: u64,
}

impl<R: Read> Capture<R> {
    /// Reads the file's header.
    pub(crate) fn new(input: R) -> Result<Capture<R>, Damage> {
        let mut window = Window {
            input,
            buffer: vec![0; CHUNK],
            from: 0,
            to: 0,
            at: 0,
            is_at_end: false,
        };
        window.want(4)?;
        let octets = window.octets();
        if octets.starts_with(&SECTION_HEADER.to_le_bytes()) {
            return Ok(Capture {
                window,
                format: Format::PcapNg {
                    big_endian: false,
                    interfaces: Vec::new(),
                },
                packets: 0,
            });
        }
        let unknown = |window: &Window<R>| {
            let octets = window.octets();
            Damage::Unknown(octets[..octets.len().min(4)].to_vec())
        };
        let magic = octets
            .first_chunk()
            .map(|octets| u32::from_le_bytes(*octets));
        if !matches!(
            magic,
            Some(0xA1B2_C3D4 | 0xA1B2_3C4D | 0xA1B2_CD34 | 0xD4C3_B2A1 | 0x4D3C_B2A1)
        ) {
            return Err(unknown(&window));
        }
        const HEADER: usize = 24;
        if !window.want(HEADER)? {
            return Err(Damage::Ends {
                what: What::Header,
                at: 0,
                have: window.octets().len(),
                wanted: HEADER,
            });
        }
        let Ok((_, header)) = parse_pcap_header(window.octets()) else {
            return Err(unknown(&window));
        };
        window.skip(HEADER);
        let (parse, record_header): (ParseRecord, usize) = if header.is_modified_format() {
            (parse_pcap_frame_modified, 24)
        } else if header.is_bigendian() {
            (parse_pcap_frame_be, 16)
        } else {
            (parse_pcap_frame, 16)
        };
        Ok(Capture {
            window,
            format: Format::Pcap {
                header,
                parse,
                record_header,
            },
            packets: 0,
        })
    }

    /// Octets of the input that have been read.
    pub(crate) fn position(&self) -> u64 {
        self.window.at
    }

    /// The next packet; `None` at the end. After damage there is nothing more.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'_>>, Damage> {
        match &mut self.format {
            Format::Pcap {
                header,
                parse,
                record_header,
            } => {
                // The octets above the link type say how long the frame check sequence is.
                let link_type = header.network.0 as u32 & 0xFFFF;
                let is_fine = header.is_nanosecond_precision();
                pcap_record(
                    &mut self.window,
                    *parse,
                    *record_header,
                    &mut self.packets,
                    link_type,
                    is_fine,
                )
            }
            Format::PcapNg {
                big_endian,
                interfaces,
            } => {
                let packet =
                    pcapng_packet(&mut self.window, big_endian, interfaces, &mut self.packets)?;
                Ok(packet.map(|packet| Record {
                    number: self.packets,
                    time: packet.time,
                    link_type: packet.link_type,
                    octets: self.window.buffer.get(packet.place).unwrap_or_default(),
                    cut: packet.cut,
                }))
            }
        }
    }
}

fn pcap_record<'a, R: Read>(
    window: &'a mut Window<R>,
    parse: ParseRecord,
    record_header: usize,
    packets: &mut u64,
    link_type: u32,
    is_fine: bool,
) -> Result<Option<Record<'a>>, Damage> {
    let what = What::Packet(*packets + 1);
    let at = window.at;
    let ends = |window: &Window<R>, wanted| Damage::Ends {
        what,
        at,
        have: window.octets().len(),
        wanted,
    };
    if !window.want(record_header)? {
        if window.octets().is_empty() {
            return Ok(None);
        }
        return Err(ends(window, record_header));
    }
    // The octets behind the header are not there yet; nom says how many they are.
    let wanted = match parse(&window.octets()[..record_header]) {
        Ok(_) => record_header,
        Err(pcap_parser::nom::Err::Incomplete(pcap_parser::nom::Needed::Size(more))) => {
            record_header.saturating_add(more.get())
        }
        Err(_) => usize::MAX,
    };
    if wanted > MAX_RECORD {
        return Err(Damage::Wrong {
            what,
            at,
            why: format!(
                "its length of {} octets cannot be right; nothing behind it can be read",
                wanted - record_header
            ),
        });
    }
    if !window.want(wanted)? {
        return Err(ends(window, wanted));
    }
    window.skip(wanted);
    *packets += 1;
    let octets = &window.buffer[window.from - wanted..window.from];
    let Ok((_, record)) = parse(octets) else {
        return Err(Damage::Wrong {
            what,
            at,
            why: "its header is wrong".into(),
        });
    };
    let unit = if is_fine { 1 } else { 1000 };
    Ok(Some(Record {
        number: *packets,
        time: Some(u64::from(record.ts_sec) * NANOSECONDS + u64::from(record.ts_usec) * unit),
        link_type,
        octets: record.data,
        cut: record.caplen < record.origlen,
    }))
}

/// A packet of pcapng, with its octets' place in the window's buffer.
struct Found {
    time: Option<u64>,
    link_type: u32,
    place: std::ops::Range<usize>,
    cut: bool,
}

fn pcapng_packet<R: Read>(
    window: &mut Window<R>,
    big_endian: &mut bool,
    interfaces: &mut Vec<Interface>,
    packets: &mut u64,
) -> Result<Option<Found>, Damage> {
    const BLOCK_HEADER: usize = 12;
    /// Where the packet's octets begin in a block.
    const ENHANCED: usize = 28;
    const SIMPLE: usize = 12;
    loop {
        let at = window.at;
        if !window.want(BLOCK_HEADER)? {
            let have = window.octets().len();
            return if have == 0 {
                Ok(None)
            } else {
                Err(Damage::Ends {
                    what: What::Packet(*packets + 1),
                    at,
                    have,
                    wanted: BLOCK_HEADER,
                })
            };
        }
        let header: [u8; BLOCK_HEADER] =
            *window.octets().first_chunk().unwrap_or(&[0; BLOCK_HEADER]);
        let field = |at: usize, big_endian: bool| {
            let octets = header[at..].first_chunk().copied().unwrap_or_default();
            if big_endian {
                u32::from_be_bytes(octets)
            } else {
                u32::from_le_bytes(octets)
            }
        };
        let kind = field(0, *big_endian);
        if kind == SECTION_HEADER {
            *big_endian = header[8..] == BYTE_ORDER_MARK;
            interfaces.clear();
        }
        let length = field(4, *big_endian);
        let what = match kind {
            SIMPLE_PACKET | ENHANCED_PACKET => What::Packet(*packets + 1),
            _ => What::Block(kind),
        };
        let wrong = |why: String| Damage::Wrong { what, at, why };
        let size = length as usize;
        if size < BLOCK_HEADER || size % 4 != 0 {
            return Err(wrong(format!(
                "its length of {length} octets is none that a block has; nothing behind it can be read"
            )));
        }
        let is_wanted = matches!(
            kind,
            SECTION_HEADER | INTERFACE_DESCRIPTION | SIMPLE_PACKET | ENHANCED_PACKET
        );
        if !is_wanted {
            skip_block(window, length, what, at)?;
            continue;
        }
        if size > MAX_RECORD {
            return Err(wrong(format!(
                "its length of {length} octets cannot be right; nothing behind it can be read"
            )));
        }
        if !window.want(size)? {
            return Err(Damage::Ends {
                what,
                at,
                have: window.octets().len(),
                wanted: size,
            });
        }
        window.skip(size);
        let octets = &window.buffer[window.from - size..window.from];
        let parse = if *big_endian {
            parse_block_be
        } else {
            parse_block_le
        };
        let Ok((_, block)) = parse(octets) else {
            return Err(wrong("it is not as pcapng has it".into()));
        };
        let cannot = |id: u32| wrong(format!("no interface {id} was described before it"));
        match block {
            Block::InterfaceDescription(block) => {
                if interfaces.len() >= MAX_INTERFACES {
                    return Err(wrong(format!("more than {MAX_INTERFACES} interfaces")));
                }
                let resolution = match block.if_tsresol {
                    power @ 0..=19 => 10u128.pow(u32::from(power)),
                    power @ 0x80..=0xBF => 1u128 << (power & 0x3F),
                    other => {
                        return Err(wrong(format!("a time resolution of {other} is none")));
                    }
                };
                interfaces.push(Interface {
                    link_type: block.linktype.0 as u32,
                    snap_length: block.snaplen,
                    resolution,
                    offset: block.if_tsoffset,
                });
            }
            Block::EnhancedPacket(block) => {
                let interface = interfaces
                    .get(block.if_id as usize)
                    .ok_or_else(|| cannot(block.if_id))?;
                *packets += 1;
                let time = interface.time(block.ts_high, block.ts_low);
                let cut = block.caplen < block.origlen;
                let length = block.data.len().min(block.caplen as usize);
                let from = window.from - size + ENHANCED;
                return Ok(Some(Found {
                    time,
                    link_type: interface.link_type,
                    place: from..from + length,
                    cut,
                }));
            }
            Block::SimplePacket(block) => {
                let interface = interfaces.first().ok_or_else(|| cannot(0))?;
                *packets += 1;
                let most = match interface.snap_length {
                    0 => u32::MAX,
                    length => length,
                };
                let length = block.origlen.min(most) as usize;
                let cut = block.origlen > most;
                let from = window.from - size + SIMPLE;
                return Ok(Some(Found {
                    time: None,
                    link_type: interface.link_type,
                    place: from..from + length.min(block.data.len()),
                    cut,
                }));
            }
            _ => {}
        }
    }
}

/// Passes over a block that nothing here needs, whatever its length.
fn skip_block<R: Read>(
    window: &mut Window<R>,
    length: u32,
    what: What,
    at: u64,
) -> Result<(), Damage> {
    let mut left = length as usize;
    while left != 0 {
        let piece = left.min(CHUNK);
        if !window.want(piece)? {
            return Err(Damage::Ends {
                what,
                at,
                have: length as usize - left + window.octets().len(),
                wanted: length as usize,
            });
        }
        window.skip(piece);
        left -= piece;
    }
    Ok(())
}
