// SPDX-License-Identifier: GPL-2.0

//! From a captured packet to TCP segments and UDP datagrams: link layers, VLAN tags, IP, fragments.

use crate::cut::Mark;
use crate::event::{Ends, Event, Origin, Packet, Protocol, Sink};
use crate::stream::Streams;
use etherparse::defrag::IpDefragPool;
use etherparse::{
    EtherType, IpNumber, LaxNetSlice, LaxSlicedPacket, NetSlice, SlicedPacket, TcpSlice, UdpSlice,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// Link types, by the numbers of <https://www.tcpdump.org/linktypes.html>.
mod link_type {
    pub(super) const NULL: u32 = 0;
    pub(super) const ETHERNET: u32 = 1;
    pub(super) const RAW_BSD: u32 = 12;
    pub(super) const RAW_OPENBSD: u32 = 14;
    pub(super) const RAW: u32 = 101;
    pub(super) const LOOP: u32 = 108;
    pub(super) const LINUX_SLL: u32 = 113;
    pub(super) const IPV4: u32 = 228;
    pub(super) const IPV6: u32 = 229;
    pub(super) const LINUX_SLL2: u32 = 276;
}

/// Octets of a Linux cooked header, where the EtherType comes last.
const SLL: usize = 16;
/// And of its version 2, where the EtherType comes first.
const SLL2: usize = 20;
/// Datagrams that are in pieces; older ones are given up, this many at a time.
pub(crate) const MAX_DATAGRAMS: u64 = 128;

/// Where a packet's first header begins.
pub(crate) enum Start<'a> {
    Ethernet(&'a [u8]),
    Typed(EtherType, &'a [u8]),
    Ip(&'a [u8]),
}

impl<'a> Start<'a> {
    /// `None` where the link type is not known, or there is no packet in it.
    pub(crate) fn of(link_type: u32, octets: &'a [u8]) -> Option<Start<'a>> {
        match link_type {
            link_type::ETHERNET => Some(Start::Ethernet(octets)),
            link_type::RAW
            | link_type::RAW_BSD
            | link_type::RAW_OPENBSD
            | link_type::IPV4
            | link_type::IPV6 => Some(Start::Ip(octets)),
            // The address family, in the order of the machine or of the net: IP says its version itself.
            link_type::NULL | link_type::LOOP => octets.get(4..).map(Start::Ip),
            link_type::LINUX_SLL => {
                let (header, rest) = octets.split_at_checked(SLL)?;
                Some(Start::Typed(ether_type(header.get(14..)?)?, rest))
            }
            link_type::LINUX_SLL2 => {
                let (header, rest) = octets.split_at_checked(SLL2)?;
                Some(Start::Typed(ether_type(header)?, rest))
            }
            _ => None,
        }
    }

    pub(crate) fn lax(&self) -> Option<LaxSlicedPacket<'a>> {
        match self {
            Start::Ethernet(octets) => LaxSlicedPacket::from_ethernet(octets).ok(),
            Start::Typed(ether_type, octets) => {
                Some(LaxSlicedPacket::from_ether_type(*ether_type, octets))
            }
            Start::Ip(octets) => LaxSlicedPacket::from_ip(octets).ok(),
        }
    }

    pub(crate) fn strict(&self) -> Option<SlicedPacket<'a>> {
        match self {
            Start::Ethernet(octets) => SlicedPacket::from_ethernet(octets).ok(),
            Start::Typed(ether_type, octets) => {
                SlicedPacket::from_ether_type(*ether_type, octets).ok()
            }
            Start::Ip(octets) => SlicedPacket::from_ip(octets).ok(),
        }
    }
}

fn ether_type(octets: &[u8]) -> Option<EtherType> {
    let octets = octets.first_chunk()?;
    Some(EtherType(u16::from_be_bytes(*octets)))
}

pub(crate) fn is_known(link_type: u32) -> bool {
    Start::of(link_type, &[0; SLL2]).is_some()
}

/// Packets of link types that are not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct UnknownLinkTypes {
    packets: u64,
    /// The first of the types.
    types: BTreeSet<u32>,
}

impl UnknownLinkTypes {
    /// Types that are named.
    const NAMED: usize = 8;

    /// Counts a packet.
    pub(crate) fn count(&mut self, link_type: u32) {
        self.packets += 1;
        if self.types.len() < Self::NAMED {
            self.types.insert(link_type);
        }
    }

    /// What to say of them, if there were any.
    pub(crate) fn line(&self) -> Option<String> {
        let types: Vec<String> = self.types.iter().map(u32::to_string).collect();
        (self.packets != 0).then(|| {
            format!(
                "{} packets have a link type that is not known: {}",
                self.packets,
                types.join(", ")
            )
        })
    }
}

/// What was seen and cannot be shown by events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unread {
    pub(crate) unknown: UnknownLinkTypes,
    /// IP fragments without the others of their datagram, or that contradict them.
    pub(crate) fragments: u64,
    /// Packets of the ports asked for with less than was on the wire.
    pub(crate) cut: u64,
    /// And those whose TCP or UDP header is cut short or wrong.
    pub(crate) headers: u64,
    /// TCP segments with URG.
    pub(crate) urgent: u64,
    /// Datagrams whose UDP length is not that of the IP payload.
    pub(crate) lengths: u64,
}

/// Packets of a capture.
pub(crate) struct Packets {
    ports: Vec<u16>,
    fragments: IpDefragPool<u64>,
    /// Fragments that did not complete a datagram, and those that were part of one that is complete.
    pieces: u64,
    pub(crate) unread: Unread,
    /// Packets of the ports asked for.
    pub(crate) taken: u64,
}

impl Packets {
    pub(crate) fn new(ports: &[u16]) -> Packets {
        Packets {
            ports: ports.to_vec(),
            fragments: IpDefragPool::new(),
            pieces: 0,
            unread: Unread::default(),
            taken: 0,
        }
    }

    /// Takes a packet of the capture.
    pub(crate) fn packet(
        &mut self,
        link_type: u32,
        octets: &[u8],
        cut: bool,
        mark: Mark,
        streams: &mut Streams,
        sink: &mut Sink<'_>,
    ) {
        let Some(start) = Start::of(link_type, octets) else {
            if !is_known(link_type) {
                self.unread.unknown.count(link_type);
            }
            return;
        };
        let Some(packet) = start.lax() else { return };
        let (source, destination, payload) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => (
                IpAddr::V4(ip.header().source_addr()),
                IpAddr::V4(ip.header().destination_addr()),
                ip.payload(),
            ),
            Some(LaxNetSlice::Ipv6(ip)) => (
                IpAddr::V6(ip.header().source_addr()),
                IpAddr::V6(ip.header().destination_addr()),
                ip.payload(),
            ),
            Some(LaxNetSlice::Arp(_)) | None => return,
        };
        if payload.fragmented {
            if let Some((protocol, octets)) = self.fragment(&start) {
                let whole = Whole {
                    source,
                    destination,
                    protocol,
                    octets: &octets,
                    cut: false,
                    defragmented: true,
                };
                self.whole(&whole, mark, streams, sink);
            }
            return;
        }
        let whole = Whole {
            source,
            destination,
            protocol: payload.ip_number,
            octets: payload.payload,
            cut: cut && payload.incomplete,
            defragmented: false,
        };
        self.whole(&whole, mark, streams, sink);
    }

    /// Takes a fragment; returns the datagram that it completes.
    fn fragment(&mut self, start: &Start<'_>) -> Option<(IpNumber, Vec<u8>)> {
        let Some(packet) = start.strict() else {
            self.unread.fragments += 1;
            return None;
        };
        let number = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => ip.payload().ip_number,
            Some(NetSlice::Ipv6(ip)) => ip.payload().ip_number,
            _ => return None,
        };
        if !matches!(number, IpNumber::TCP | IpNumber::UDP) {
            return None;
        }
        self.pieces += 1;
        let pieces = self.pieces;
        if pieces % MAX_DATAGRAMS == 0 {
            let young = |last: &u64| pieces - last < MAX_DATAGRAMS;
            self.fragments.retain(young);
        }
        match self.fragments.process_sliced_packet(&packet, pieces, ()) {
            Ok(Some(whole)) => Some((number, whole.payload)),
            Ok(None) => None,
            Err(_) => {
                self.unread.fragments += 1;
                None
            }
        }
    }

    fn whole(&mut self, whole: &Whole<'_>, mark: Mark, streams: &mut Streams, sink: &mut Sink<'_>) {
        let protocol = match whole.protocol {
            IpNumber::TCP => Protocol::Tcp,
            IpNumber::UDP => Protocol::Udp,
            _ => return,
        };
        // Both headers begin with the ports.
        let Some([s0, s1, d0, d1]) = whole.octets.first_chunk().copied() else {
            return;
        };
        let ports = [u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])];
        if !ports.iter().any(|port| self.ports.contains(port)) {
            return;
        }
        self.taken += 1;
        self.unread.cut += u64::from(whole.cut);
        let ends = Ends {
            protocol,
            source: SocketAddr::new(whole.source, ports[0]),
            destination: SocketAddr::new(whole.destination, ports[1]),
        };
        let packet = Packet {
            origin: Origin {
                packet: mark.packet,
                time: mark.time,
                ends: Some(ends),
            },
            octets: whole.octets,
            cut: whole.cut,
            defragmented: whole.defragmented,
        };
        streams.tell(&Event::Packet(&packet), sink);
        match protocol {
            Protocol::Tcp => match TcpSlice::from_slice(whole.octets) {
                Ok(tcp) => {
                    self.unread.urgent += u64::from(tcp.urg());
                    streams.tcp(ends, &tcp, mark, sink);
                }
                Err(_) => self.unread.headers += 1,
            },
            Protocol::Udp => match UdpSlice::from_slice_lax(whole.octets) {
                Ok(udp) => {
                    let is_right = usize::from(udp.length()) == whole.octets.len() || whole.cut;
                    self.unread.lengths += u64::from(!is_right);
                    streams.udp(ends, udp.payload(), mark, sink);
                }
                Err(_) => self.unread.headers += 1,
            },
        }
    }
}

/// An IP packet that is no fragment, or no longer.
struct Whole<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    octets: &'a [u8],
    cut: bool,
    defragmented: bool,
}
