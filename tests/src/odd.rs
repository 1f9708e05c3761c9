// SPDX-License-Identifier: GPL-2.0

//! A packet in odd pieces: the first octets are linear, the rest lie in memory that changes as
//! soon as it was read, as page fragments may.

use core::cell::Cell;
use dnp3_core::Packet;

/// A packet whose linear part ends anywhere, and which tells whether an octet behind it was
/// fetched twice. The second fetch gives other octets than the first.
#[derive(Debug)]
pub struct Odd<'a> {
    octets: &'a [u8],
    linear: usize,
    fetched: Vec<Cell<bool>>,
    twice: Cell<Option<usize>>,
}

impl<'a> Odd<'a> {
    /// The packet whose first `linear` octets (or all, if it has fewer) are linear.
    pub fn new(octets: &'a [u8], linear: usize) -> Self {
        let linear = linear.min(octets.len());
        Odd {
            octets,
            linear,
            fetched: vec![Cell::new(false); octets.len() - linear],
            twice: Cell::new(None),
        }
    }

    /// The first octet that was fetched again, if one was.
    pub fn fetched_twice(&self) -> Option<usize> {
        self.twice.get()
    }

    /// How many octets behind the linear part were fetched.
    pub fn fetched(&self) -> usize {
        self.fetched.iter().filter(|cell| cell.get()).count()
    }
}

impl Packet for Odd<'_> {
    fn len(&self) -> u32 {
        u32::try_from(self.octets.len()).expect("a packet is shorter than 4 GiB")
    }

    fn linear(&self) -> &[u8] {
        &self.octets[..self.linear]
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let from = offset as usize;
        let Some(octets) = self
            .octets
            .get(from..)
            .and_then(|rest| rest.get(..to.len()))
        else {
            // What a copy that failed leaves behind must not be used.
            to.fill(0x5A);
            return false;
        };
        to.copy_from_slice(octets);
        for (at, octet) in (from..).zip(to) {
            let Some(behind) = at.checked_sub(self.linear) else {
                continue;
            };
            if self.fetched[behind].replace(true) {
                *octet = !*octet;
                if self.twice.get().is_none() {
                    self.twice.set(Some(at));
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_fetch_is_told_and_gives_other_octets() {
        let packet = Odd::new(&[1, 2, 3, 4], 2);
        let mut to = [0; 3];
        assert!(packet.copy(0, &mut to));
        assert_eq!((to, packet.fetched_twice()), ([1, 2, 3], None));
        assert!(packet.copy(0, &mut to[..2]));
        assert_eq!(
            packet.fetched_twice(),
            None,
            "the linear part may be read again"
        );
        assert!(packet.copy(2, &mut to[..2]));
        assert_eq!((&to[..2], packet.fetched_twice()), (&[!3, 4][..], Some(2)));
        assert_eq!(packet.fetched(), 2);
    }

    #[test]
    fn a_copy_past_the_end_fails() {
        let packet = Odd::new(&[1, 2, 3, 4], 2);
        assert!(!packet.copy(2, &mut [0; 3]));
        assert!(!packet.copy(u32::MAX, &mut [0; 1]));
        assert!(packet.copy(4, &mut []));
    }
}
