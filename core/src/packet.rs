// SPDX-License-Identifier: GPL-2.0

//! What the judge needs of a packet: its octets, and where the network layer put things.

/// A packet to read from.
///
/// The kernel gives an sk_buff, everything else a slice. Octets outside the linear part lie in
/// memory that may change at any time, so that they are only ever copied, and each only once.
pub trait Packet {
    /// Octets in the packet, padding behind the IP packet included.
    fn len(&self) -> u32;

    /// The first octets of the packet, as many as lie in memory that stays as it is.
    fn linear(&self) -> &[u8];

    /// Copies the octets from `offset` on to `to`. False, with `to` in any state, when the packet
    /// does not have them all.
    fn copy(&self, offset: u32, to: &mut [u8]) -> bool;

    /// Whether the packet has no octet at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A packet that lies whole in memory that stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Octets<'a>(pub &'a [u8]);

impl Packet for Octets<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn linear(&self) -> &[u8] {
        self.0
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let from = usize::try_from(offset).ok().and_then(|at| self.0.get(at..));
        match from.and_then(|from| from.get(..to.len())) {
            Some(from) => {
                // Not copy_from_slice(), which panics on another length.
                for (place, octet) in to.iter_mut().zip(from) {
                    *place = *octet;
                }
                true
            }
            None => false,
        }
    }
}

/// Which piece of an IP datagram a packet is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// The whole of it.
    #[default]
    Whole,
    /// A first fragment (offset zero, more to come) that was not reassembled.
    First,
    /// A fragment with a non-zero offset: no transport header.
    Later,
}

/// What the IP layer knows of a packet. Offsets are in octets from the packet's first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Where the transport header begins.
    pub transport: u32,
    /// Where the IP packet ends, by the length in its own header; padding lies behind. For a jumbo
    /// packet (BIG TCP), which has no length there, the packet's whole length.
    pub end: u32,
    /// The protocol of the transport header.
    pub protocol: u8,
    /// Which piece of the datagram this is.
    pub fragment: Fragment,
    /// For several UDP datagrams in one packet (GSO, GRO), the payload octets in each but the last,
    /// which may be shorter; else 0. Of no meaning for TCP.
    pub udp_segment: u16,
}

/// The answer to "does this rule match this packet?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The rule does not match.
    NoMatch,
    /// The rule matches.
    Match,
    /// The packet is to be dropped on the spot: its TCP header cannot be right.
    HotDrop,
}

impl Verdict {
    /// Whether the rule matches, where nothing speaks for a hot drop.
    pub(crate) fn of(matches: bool) -> Verdict {
        if matches {
            Verdict::Match
        } else {
            Verdict::NoMatch
        }
    }
}
