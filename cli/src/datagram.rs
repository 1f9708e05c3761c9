// SPDX-License-Identifier: GPL-2.0

//! From a captured packet to the IP packet that a gateway's rules would see: link layers are taken off,
//! and fragments put together as conntrack does it, before any rule.

use crate::conntrack::{Datagram, SECOND};
use crate::packet::{is_known, Start, UnknownLinkTypes, MAX_DATAGRAMS};
use etherparse::defrag::IpDefragPool;
use etherparse::{
    IpNumber, Ipv6ExtensionSlice, Ipv6ExtensionsSlice, LaxNetSlice, NetSlice, SlicedPacket,
};
use std::collections::BTreeMap;
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
    /// Whether an authentication header of IPv6 stands before the transport header.
    pub(crate) authenticated: bool,
    /// Why it is not certain that a gateway makes the same of its fragments.
    pub(crate) doubt: Option<&'static str>,
}

/// What was seen and is no IP packet that a gateway could forward.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    pub(crate) unknown: UnknownLinkTypes,
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

/// The addresses and the identification of a datagram in fragments; of IPv4 its protocol too.
type Key = (IpAddr, IpAddr, u32, u8);

/// The fragments of a datagram, as far as the kernel compares them.
#[derive(Debug, Default)]
struct Pieces {
    came: Came,
    /// By its beginning where each ends, and whether more follow. None overlaps another.
    places: BTreeMap<u16, (u16, bool)>,
    authenticated: bool,
    doubt: Option<&'static str>,
}

/// What the header of a fragment says.
struct Piece {
    key: Key,
    begin: u16,
    end: u16,
    more: bool,
    authenticated: bool,
    doubt: Option<&'static str>,
}

const OVERLAP: &str = "its fragments overlap, for which a gateway may drop it";
const CONTRADICT: &str = "fragments of it contradict others, for which a gateway may drop it";
const EMPTY: &str = "a fragment of it is empty, for which a gateway may drop it";
const EXTENSIONS: &str = "extension headers in its fragments are not looked into";
const SHORT: &str =
    "its first fragment has not the whole transport header, for which a gateway may drop it";

impl Pieces {
    /// Whether the fragment is one more: the kernel takes no notice of one that it has.
    fn take(&mut self, piece: &Piece) -> bool {
        self.authenticated |= piece.authenticated;
        self.doubt = self.doubt.or(piece.doubt);
        let before = self.places.range(..piece.end).next_back();
        let before = before.map(|(begin, (end, more))| (*begin, *end, *more));
        match before {
            Some(before) if before == (piece.begin, piece.end, piece.more) => return false,
            Some((_, end, _)) if end > piece.begin => {
                self.doubt = self.doubt.or(Some(OVERLAP));
            }
            _ => _ = self.places.insert(piece.begin, (piece.end, piece.more)),
        }
        true
    }
}

impl Piece {
    fn of(packet: &SlicedPacket<'_>, source: IpAddr, destination: IpAddr) -> Option<Piece> {
        let (id, protocol, place, more, payload, first, authenticated) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => {
                let header = ip.header();
                (
                    u32::from(header.identification()),
                    header.protocol().0,
                    header.fragments_offset(),
                    header.more_fragments(),
                    ip.payload(),
                    header.protocol(),
                    false,
                )
            }
            Some(NetSlice::Ipv6(ip)) => {
                let header =
                    ip.extensions()
                        .clone()
                        .into_iter()
                        .find_map(|extension| match extension {
                            Ipv6ExtensionSlice::Fragment(header) => Some(header.to_header()),
                            _ => None,
                        })?;
                (
                    header.identification,
                    0,
                    header.fragment_offset,
                    header.more_fragments,
                    ip.payload(),
                    header.next_header,
                    is_authenticated(ip.extensions()),
                )
            }
            _ => return None,
        };
        let begin = place.byte_offset();
        let length = payload.payload.len();
        let end = begin.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
        // What the kernel wants in the first fragment of IPv6.
        let header = match first {
            IpNumber::TCP => 20,
            IpNumber::UDP | IpNumber::IPV6_ICMP => 8,
            _ => 1,
        };
        let doubt = if first != payload.ip_number {
            Some(EXTENSIONS)
        } else if length == 0 {
            Some(EMPTY)
        } else if source.is_ipv6() && begin == 0 && length < header {
            Some(SHORT)
        } else {
            None
        };
        Some(Piece {
            key: (source, destination, id, protocol),
            begin,
            end,
            more,
            authenticated,
            doubt,
        })
    }
}

fn is_authenticated(extensions: &Ipv6ExtensionsSlice<'_>) -> bool {
    // Not by the iterator that they have: it takes for granted that there is what a header announces, and what a
    // capture has cut off, or another fragment has, there is not.
    let mut next = extensions.first_header();
    let mut octets = extensions.slice();
    while let (Some(header), Some(&[behind, length])) = (next, octets.first_chunk()) {
        let size = match header {
            IpNumber::AUTHENTICATION_HEADER => return true,
            IpNumber::IPV6_FRAGMENTATION_HEADER => 8,
            _ => 8 * (usize::from(length) + 1),
        };
        next = Some(IpNumber(behind));
        octets = octets.get(size..).unwrap_or_default();
    }
    false
}

/// The packets of captures.
pub(crate) struct Datagrams {
    v4: IpDefragPool<Came>,
    v6: IpDefragPool<Came>,
    pieces: u64,
    waiting: BTreeMap<Key, Pieces>,
    /// Datagrams that never became whole.
    pub(crate) given_up: u64,
    pub(crate) left: Left,
}

impl Datagrams {
    pub(crate) fn new() -> Datagrams {
        Datagrams {
            v4: IpDefragPool::new(),
            v6: IpDefragPool::new(),
            pieces: 0,
            waiting: BTreeMap::new(),
            given_up: 0,
            left: Left::default(),
        }
    }

    /// Forgets the fragments that wait.
    pub(crate) fn clear(&mut self) {
        self.give_up(|_, _| false);
        for pool in [&mut self.v4, &mut self.v6] {
            pool.retain(|_| false);
        }
    }

    /// Forgets datagrams, and counts those of which something is there.
    fn give_up(&mut self, stays: impl Fn(&Key, &Pieces) -> bool) {
        let given_up = &mut self.given_up;
        self.waiting.retain(|key, waiting| {
            let stays = stays(key, waiting);
            *given_up += u64::from(!stays && !waiting.places.is_empty());
            stays
        });
    }

    /// Whether there are fragments that did not become whole, or have not yet.
    pub(crate) fn has_fragments(&self) -> bool {
        let mut waiting = self.waiting.values();
        self.given_up != 0 || waiting.any(|waiting| !waiting.places.is_empty())
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
                self.left.unknown.count(link_type);
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
            authenticated: matches!(&packet.net, Some(LaxNetSlice::Ipv6(ip)) if is_authenticated(ip.extensions())),
            doubt: None,
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
        let (number, lasts) = match &packet.net {
            Some(NetSlice::Ipv4(ip)) => (ip.payload().ip_number, FRAGMENTS_V4),
            Some(NetSlice::Ipv6(ip)) => (ip.payload().ip_number, FRAGMENTS_V6),
            _ => return,
        };
        let Some(piece) = Piece::of(&packet, source, destination) else {
            return;
        };
        self.pieces += 1;
        let pieces = self.pieces;
        let is_full = pieces % MAX_DATAGRAMS == 0;
        let stays = |(came, number): Came| {
            now.saturating_sub(came) < lasts && !(is_full && pieces - number >= MAX_DATAGRAMS)
        };
        let is_v6 = source.is_ipv6();
        self.give_up(|key, waiting| key.0.is_ipv6() != is_v6 || stays(waiting.came));
        let pool = if is_v6 { &mut self.v6 } else { &mut self.v4 };
        pool.retain(|came| stays(*came));
        let waiting = self.waiting.entry(piece.key).or_default();
        if !waiting.take(&piece) {
            return;
        }
        waiting.came = (now, pieces);
        match pool.process_sliced_packet(&packet, waiting.came, ()) {
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
                    authenticated: waiting.authenticated,
                    doubt: waiting.doubt,
                });
                // The kernel may have thrown away less than this, and make another of the rest.
                match waiting.doubt {
                    Some(_) => waiting.places.clear(),
                    None => _ = self.waiting.remove(&piece.key),
                }
            }
            Ok(None) => {}
            Err(_) => {
                waiting.doubt = waiting.doubt.or(Some(CONTRADICT));
                self.left.fragments += 1;
            }
        }
    }
}

/// Whether a router forwards packets with these addresses.
pub(crate) fn is_forwarded(source: IpAddr, destination: IpAddr) -> bool {
    is_unicast(source) && is_unicast(destination)
}

/// Whether it forwards packets with this address.
pub(crate) fn is_unicast(address: IpAddr) -> bool {
    match address {
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authentication_header_is_found_in_a_chain_that_is_cut_anywhere() {
        const DESTINATION: u8 = 60;
        const FRAGMENT: u8 = 44;
        const AUTHENTICATION: u8 = 51;
        let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        // The second of three.
        let fragment = |next| [next, 0, 0, 9, 0, 0, 0, 7];
        let authentication = [6, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1];
        let chains = [
            (&[options(AUTHENTICATION), options(6)][..], Some(8)),
            (&[options(DESTINATION), options(AUTHENTICATION)], Some(16)),
            (&[options(FRAGMENT), fragment(AUTHENTICATION)], None),
            (&[options(FRAGMENT), fragment(DESTINATION)], None),
            (&[options(DESTINATION), options(6)], None),
        ];
        for (headers, at) in chains {
            let mut chain = headers.concat();
            if let Some(at) = at {
                chain.truncate(at);
                chain.extend(authentication);
            }
            for length in 0..=chain.len() {
                let (extensions, ..) =
                    Ipv6ExtensionsSlice::from_slice_lax(IpNumber(DESTINATION), &chain[..length]);
                let is_whole = length == chain.len();
                assert_eq!(
                    is_authenticated(&extensions),
                    at.is_some() && is_whole,
                    "{length} of {chain:?}"
                );
            }
        }
    }
}
