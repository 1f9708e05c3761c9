// SPDX-License-Identifier: GPL-2.0

//! What the input layer tells of: packets, frames, what is no frame, and holes.

use dnp3_core::link::Control;
use std::fmt;
use std::net::SocketAddr;

/// The protocol that carries the frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The sender's IP address and port.
    pub source: SocketAddr,
    /// The receiver's.
    pub destination: SocketAddr,
}

/// Where octets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The packet's number in its file, from 1 on, as tshark counts; 0 where there are no packets.
    pub packet: u64,
    /// When it was captured, in nanoseconds since 1970 (UTC), where the capture says so.
    pub time: Option<u64>,
    /// Who sends to whom; `None` where there are no packets.
    pub ends: Option<Ends>,
}

/// An IP packet of TCP or UDP with one of the ports asked for, defragmented.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Where it stands, and who sends it.
    pub origin: Origin,
    /// The IP payload: the TCP or UDP header and what follows, up to the end of the IP packet, without
    /// padding. For [`dnp3_core::judge()`] it is the packet, with its transport header at 0.
    pub octets: &'a [u8],
    /// Whether the capture has less of it than was on the wire.
    pub cut: bool,
    /// Whether it was put together from IP fragments, of which this is the last.
    pub defragmented: bool,
}

/// A valid link frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Where its last octet comes from.
    pub origin: Origin,
    /// The packet that its first octet comes from.
    pub first_packet: u64,
    /// Where it begins in its stream: a datagram, a direction of a connection as far as it is in the
    /// capture, or a file of octets.
    pub offset: u64,
    /// All of it, with CRCs.
    pub octets: &'a [u8],
    /// The control octet.
    pub control: Control,
    /// The link address of the sender.
    pub source: u16,
    /// The link address of the receiver.
    pub destination: u16,
    /// What its user data is to a message.
    pub assembly: Assembly<'a>,
}

/// What a frame's transport segment is to the application fragment that it is part of.
#[derive(Clone, Copy, Debug)]
pub enum Assembly<'a> {
    /// A frame without user data.
    None,
    /// The fragment goes on in another frame.
    Open {
        /// The transport octet.
        transport: u8,
        /// Octets of the fragment so far.
        octets: usize,
    },
    /// It is complete.
    Complete {
        /// The transport octet.
        transport: u8,
        /// The fragment.
        fragment: Fragment<'a>,
    },
    /// The segment before, once more.
    Repeated {
        /// The transport octet.
        transport: u8,
    },
    /// It continues nothing, and receivers discard it.
    Stray {
        /// The transport octet.
        transport: u8,
        /// Why, for people.
        reason: &'static str,
    },
}

/// An application fragment, put together.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    /// From the application control octet on.
    pub octets: &'a [u8],
    /// How many frames it took.
    pub frames: u32,
    /// The packet that its first frame ends in.
    pub first_packet: u64,
}

impl Fragment<'_> {
    /// The application control octet.
    pub fn control(&self) -> u8 {
        self.octets.first().copied().unwrap_or_default()
    }

    /// The function code; a frame is only valid with one.
    pub fn function(&self) -> u8 {
        self.octets.get(1).copied().unwrap_or_default()
    }

    /// Internal indications, both octets, where this is a response that has them.
    pub fn indications(&self) -> Option<[u8; 2]> {
        let octets = self.octets.get(2..)?.first_chunk()?;
        is_response(self.function()).then_some(*octets)
    }

    /// What follows the function code, or in a response the internal indications.
    pub fn objects(&self) -> &[u8] {
        let from = if is_response(self.function()) { 4 } else { 2 };
        self.octets.get(from..).unwrap_or_default()
    }
}

/// Whether a function code is one of a response.
pub(crate) fn is_response(function: u8) -> bool {
    (129..=131).contains(&function)
}

/// Why octets are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What they are makes it impossible.
    Frame(dnp3_core::frame::Fault),
    /// The datagram ends inside the frame.
    Datagram,
    /// The connection ends inside the frame.
    Connection,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use dnp3_core::frame::Fault as Frame;
        match self {
            Fault::Datagram => write!(f, "the datagram ends inside the frame"),
            Fault::Connection => write!(f, "the connection ends inside the frame"),
            Fault::Frame(fault) => match fault {
                Frame::Start => write!(f, "a frame begins with 05 64"),
                Frame::Len(len) => write!(f, "LEN {len}; 5 and 7..255 are possible"),
                Frame::HeaderCrc => write!(f, "the header's CRC is wrong"),
                Frame::Control(control) => {
                    write!(f, "control octet {:02X} is not defined", control.0)
                }
                Frame::WithoutData(control) => write!(
                    f,
                    "control octet {:02X} is that of user data, and LEN 5 leaves none",
                    control.0
                ),
                Frame::WithData(control) => write!(
                    f,
                    "control octet {:02X} is not that of user data, and LEN says that there is some",
                    control.0
                ),
                Frame::NoFunction => {
                    write!(f, "the first segment ends before its function code")
                }
                Frame::BlockCrc(block) => {
                    write!(f, "the CRC of data block {} is wrong", u16::from(*block) + 1)
                }
            },
        }
    }
}

/// Octets that are no valid frame, up to where the next header with a right CRC begins.
#[derive(Clone, Copy, Debug)]
pub struct Bad<'a> {
    /// Where its last octet comes from.
    pub origin: Origin,
    /// The packet that its first octet comes from.
    pub first_packet: u64,
    /// Where it begins in its stream; see [`Frame::offset`].
    pub offset: u64,
    /// Why the first of them begins no frame.
    pub fault: Fault,
    /// The first of them, 32 at most.
    pub octets: &'a [u8],
    /// How many there are.
    pub length: u64,
}

/// A frame that is right as far as it goes, and goes on behind the end of the input or in a hole.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// Where its last octet comes from.
    pub origin: Origin,
    /// The packet that its first octet comes from.
    pub first_packet: u64,
    /// Where it begins in its stream; see [`Frame::offset`].
    pub offset: u64,
    /// What is there of it.
    pub octets: &'a [u8],
}

/// Octets of a TCP stream that are not in the capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first packet behind the hole.
    pub origin: Origin,
    /// How many octets are missing.
    pub missing: u32,
}

/// Something that the input layer found.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A packet; what its payload completes follows.
    Packet(&'a Packet<'a>),
    /// A valid frame.
    Frame(&'a Frame<'a>),
    /// Octets that are no frame.
    Bad(&'a Bad<'a>),
    /// A frame of which the rest is not there.
    Unfinished(&'a Unfinished<'a>),
    /// A hole in a stream.
    Gap(&'a Gap),
    /// The input is damaged: one line for people.
    Damage(&'a str),
    /// Something of the input that these events do not show: one line for people.
    Note(&'a str),
}

/// Takes events. Returns whether there shall be more.
pub(crate) type Sink<'a> = dyn FnMut(&Event<'_>) -> bool + 'a;
