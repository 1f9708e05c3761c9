// SPDX-License-Identifier: GPL-2.0

//! From a captured packet to the IP packet that a gateway's rules would see: link layers are taken off,
//! and fragments put together as conntrack does it, before any rule.

use crate::conntrack::{Datagram, SECOND};
use crate::packet::{is_known, Start, MAX_DATAGRAMS};
use etherparse::defrag::IpDefragPool;
use etherparse::{IpNumber, LaxNetSlice, NetSlice};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How long fragments wait for each other.
const FRAGMENTS_V4: u64 = 30 * SECOND;
const FRAGMENTS_V6: u64 = 60 * SECOND;
/// Octets of a header of IPv6.
const HEADER_V6: usize = 40;

/// An IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a> {
    pub(crate) datagram: Datagram<'a>,
    /// Octets of the IP packet with its header, as iptables counts them.
    pub(crate) length: u64,
    /// Whether the capture has less of it than was on the wire.
    pub(crate) cut: bool,
}

/// What was seen and is no IP packet that a gateway could forward.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// Link types that are not known, the first of them.
    pub(crate) link_types: BTreeSet<u32>,
    pub(crate) of_link_types: u64,
    /// Neither IPv4 nor IPv6: ARP and the like.
    pub(crate) not_ip: u64,
    /// IP headers that no host takes.
    pub(crate) wrong: u64,
    /// Fragments that contradict others.
    pub(crate) fragments: u64,
    /// Packets that were in fragments, and judged as the whole.
    pub(crate) joined: u64,
}

/// When a fragment came, and its number.
type Came = (u64, u64);

/// The packets of captures.
pub(crate) struct Datagrams {
    v4: IpDefragPool<Came>,
    v6: IpDefragPool<Came>,
    pieces: u64,
    pub(crate) left: Left,
}

impl Datagrams {
    pub(crate) fn new() -> Datagrams {
        Datagrams {
            v4: IpDefragPool::new(),
            v6: IpDefragPool::new(),
            pieces: 0,
            left: Left::default(),
        }
    }

    /// Forgets the fragments that wait; of how many datagrams they are.
    pub(crate) fn clear(&mut self) -> u64 {
        let waiting = Cell::new(0);
        for pool in [&mut self.v4, &mut self.v6] {
            pool.retain(|_| {
                waiting.set(waiting.get() + 1);
                false
            });
        }
        waiting.get()
    }

    /// Takes a packet of a capture, and hands on what it is or completes.
    pub(crate) fn take(
        &mut self,
        link_type: u32,
        octets: &[u8],
        cut: bool,
        now: u64,
        tell: &mut dyn FnMut(&Arrived<'_>),
    ) {
        let Some(start) = Start::of(link_type, octets) else {
            if is_known(link_type) {
                self.left.not_ip += 1;
            } else {
                self.left.of_link_types += 1;
                if self.left.link_types.len() < 8 {
                    self.left.link_types.insert(link_type);
                }
            }
            return;
        };
        let Some(packet) = start.lax() else {
            self.left.not_ip += 1;
            return;
        };
        let (source, destination, protocol, payload, header, length) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let length = usize::from(header.total_len());
                // Authentication is no extension there, but a protocol.
                let protocol = match header.protocol() {
                    IpNumber::AUTHENTICATION_HEADER => IpNumber::AUTHENTICATION_HEADER,
                    _ => ip.payload().ip_number,
                };
                (
                    IpAddr::V4(header.source_addr()),
                    IpAddr::V4(header.destination_addr()),
                    protocol,
                    ip.payload(),
                    header.slice().len(),
                    length,
                )
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let length = match usize::from(ip.header().payload_length()) {
                    0 => 0,
                    length => HEADER_V6 + length,
                };
                (
                    IpAddr::V6(ip.header().source_addr()),
                    IpAddr::V6(ip.header().destination_addr()),
                    ip.payload().ip_number,
                    ip.payload(),
                    HEADER_V6,
                    length,
                )
            }
            Some(LaxNetSlice::Arp(_)) | None => {
                self.left.not_ip += 1;
                return;
            }
        };
        if payload.fragmented {
            self.fragment(&start, now, source, destination, header, tell);
            return;
        }
        // No length: the packet is larger than the field, or was captured before it was cut.
        let is_large = length == 0;
        if !is_large && length < header || payload.incomplete && !cut && !is_large {
            self.left.wrong += 1;
            return;
        }
        let length = if is_large {
            header + payload.payload.len()
        } else {
            length
        };
        let is_cut = cut && payload.incomplete;
        let mut octets = payload.payload;
        let whole: Vec<u8>;
        if is_cut {
            // Conntrack goes by the length: what is not there is nothing, and the packet is uncertain.
            let extensions = match &packet.net {
                Some(LaxNetSlice::Ipv6(ip)) => ip.extensions().slice().len(),
                _ => 0,
            };
            let mut padded = octets.to_vec();
            padded.resize(
                length.saturating_sub(header + extensions).max(octets.len()),
                0,
            );
            whole = padded;
            octets = &whole;
        }
        tell(&Arrived {
            datagram: Datagram {
                source,
                destination,
                protocol: protocol.0,
                octets,
            },
            length: length as u64,
            cut: is_cut,
        });
    }

    /// Takes a fragment.
    fn fragment(
        &mut self,
        start: &Start<'_>,
        now: u64,
        source: IpAddr,
        destination: IpAddr,
        header: usize,
        tell: &mut dyn FnMut(&Arrived<'_>),
    ) {
        let Some(packet) = start.strict() else {
            self.left.fragments += 1;
            return;
        };
        let (number, pool, lasts) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => (ip.payload().ip_number, &mut self.v4, FRAGMENTS_V4),
            Some(NetSlice::Ipv6(ip)) => (ip.payload().ip_number, &mut self.v6, FRAGMENTS_V6),
            _ => return,
        };
        self.pieces += 1;
        let pieces = self.pieces;
        pool.retain(|(came, _)| now.saturating_sub(*came) < lasts);
        if pieces % MAX_DATAGRAMS == 0 {
            pool.retain(|(_, number)| pieces - number < MAX_DATAGRAMS);
        }
        match pool.process_sliced_packet(&packet, (now, pieces), ()) {
            Ok(Some(whole)) => {
                self.left.joined += 1;
                tell(&Arrived {
                    datagram: Datagram {
                        source,
                        destination,
                        protocol: number.0,
                        octets: &whole.payload,
                    },
                    length: (header + whole.payload.len()) as u64,
                    cut: false,
                });
            }
            Ok(None) => {}
            Err(_) => self.left.fragments += 1,
        }
    }
}

/// Whether a router forwards packets with these addresses.
pub(crate) fn is_forwarded(source: IpAddr, destination: IpAddr) -> bool {
    let is_unicast = |address: IpAddr| match address {
        IpAddr::V4(address) => {
            let [first, ..] = address.octets();
            !matches!(first, 0 | 127 | 224..)
        }
        IpAddr::V6(address) => {
            let is_local = address.segments()[0] & 0xFFC0 == 0xFE80;
            !(address.is_multicast()
                || address.is_loopback()
                || address.is_unspecified()
                || is_local)
        }
    };
    is_unicast(source) && is_unicast(destination)
}
