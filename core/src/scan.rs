// SPDX-License-Identifier: GPL-2.0

//! The search for whatever may be a frame's header, at any octet of a packet.
//!
//! A receiver that meets an octet it does not like may go on anywhere behind it. So of a packet
//! that is not made of whole valid frames, a rule that drops must suspect every place, inside
//! frames too, where a header may stand: `05 64`, LEN in 5..255, a right header CRC, each as far
//! as the packet goes.

use crate::crc::Crc;
use crate::frame::{Class, Seen, START};
use crate::link::{self, offset};
use crate::rule::{Reading, Rule};

/// Headers in one packet after which the search gives up and takes P for satisfied.
pub const MAX_HEADERS: u16 = 1024;

/// Octets that must be kept of one piece for the next: a header may begin in each of them whose
/// function code has not come yet.
const KEPT: usize = START - 1;

/// A search under way, which can be stopped and resumed at any octet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scan {
    found: Found,
    /// The last octets that were taken, `kept` of them; a header may begin in each. Behind them is
    /// room for as much of the next piece as the last of them may need.
    joint: [u8; 2 * KEPT],
    kept: u8,
}

/// What a search has found so far.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Headers.
    headers: u16,
    /// Whether one did not contradict P.
    satisfied: bool,
}

impl Scan {
    /// A search for a header that does not contradict a rule's P. The rule must always be the same.
    pub const fn new() -> Scan {
        Scan {
            found: Found {
                headers: 0,
                satisfied: false,
            },
            joint: [0; 2 * KEPT],
            kept: 0,
        }
    }

    /// Whether P could not be ruled out so far.
    pub fn is_satisfied(&self) -> bool {
        self.found.satisfied
    }

    /// Takes P for satisfied: octets that may have had a header are not there any more.
    pub fn give_up(&mut self) {
        self.found.satisfied = true;
    }

    /// Whether P cannot be ruled out, when no octet follows.
    pub fn end(&mut self, rule: &Rule) -> bool {
        let last = self.joint.get(..usize::from(self.kept)).unwrap_or(&[]);
        self.found.search(rule, last, last.len());
        self.found.satisfied
    }

    /// Takes the next octets.
    #[inline(always)] // a frame less on the stack
    pub fn take(&mut self, rule: &Rule, octets: &[u8]) {
        let fresh = octets.get(..KEPT).unwrap_or(octets);
        let room = self.joint.iter_mut().skip(usize::from(self.kept));
        for (place, octet) in room.zip(fresh) {
            *place = *octet;
        }
        let end = usize::from(self.kept).saturating_add(fresh.len());
        let judged = end.saturating_sub(KEPT);
        let joint = self.joint.get(..end).unwrap_or(&[]);
        self.found.search(rule, joint, judged);
        if let Some(starts) = octets.len().checked_sub(KEPT) {
            self.found.search(rule, octets, starts);
            let last = octets.get(starts..).unwrap_or(&[]);
            for (place, octet) in self.joint.iter_mut().zip(last) {
                *place = *octet;
            }
        } else {
            // A short piece: all of it is in the joint.
            for at in 0..KEPT {
                let octet = self.joint.get(judged.saturating_add(at)).copied();
                if let (Some(octet), Some(place)) = (octet, self.joint.get_mut(at)) {
                    *place = octet;
                }
            }
        }
        // At most 12.
        self.kept = end.min(KEPT) as u8;
    }
}

impl Found {
    /// Judges what may be headers in the first `starts` of the octets.
    #[inline(never)] // one for all who call it
    fn search(&mut self, rule: &Rule, octets: &[u8], starts: usize) {
        let mut at = 0usize;
        let [start, _] = link::START;
        while let (Some(ahead), false) = (octets.get(at..starts), self.satisfied) {
            let Some(skip) = ahead.iter().position(|octet| *octet == start) else {
                return;
            };
            at = at.saturating_add(skip);
            self.judge(rule, octets.get(at..).unwrap_or(&[]));
            at = at.saturating_add(1);
        }
    }

    /// Judges one place. `octets` begin there and go as far as can be seen.
    #[inline(always)]
    fn judge(&mut self, rule: &Rule, octets: &[u8]) {
        if !may_be_header(octets) {
            return;
        }
        self.headers = self.headers.saturating_add(1);
        self.satisfied |= self.headers > MAX_HEADERS;
        let mut seen = Seen::of(octets);
        // A receiver that does not look whether LEN and control octet agree may take it either way.
        let mut or_link = seen.control.is_some_and(|control| !control.is_user_data());
        loop {
            self.satisfied |= rule.admits(&seen, Reading::Any);
            if !or_link {
                return;
            }
            or_link = false;
            seen.class = Some(Class::Link);
        }
    }
}

/// Whether a header may stand here, as far as the octets go.
fn may_be_header(octets: &[u8]) -> bool {
    fn agree(octets: &[u8], wanted: &[u8]) -> bool {
        octets
            .iter()
            .zip(wanted)
            .all(|(octet, wanted)| octet == wanted)
    }
    let len = octets.get(offset::LEN).unwrap_or(&link::LEN_MIN);
    if octets.is_empty() || !agree(octets, &link::START) || *len < link::LEN_MIN {
        return false;
    }
    match octets.split_first_chunk::<{ link::HEADER_FIELDS }>() {
        Some((fields, behind)) => agree(behind, &Crc::new().over(fields).octets()),
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{frames, option};

    /// Carrier B of dnp3.md: a valid READ with a COLD_RESTART inside, from octet 28 on.
    const CARRIER: [u8; 45] = [
        0x05, 0x64, 0x24, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x94, 0xE9, 0xC1, 0xC1, 0x01, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xD5, 0xDE, 0x05, 0x64,
        0x08, 0xC4, 0x01, 0x00, 0x00, 0x04, 0xA4, 0xCF, 0xC0, 0xC0, 0x0D, 0x9C, 0x86, 0x31, 0x76,
    ];

    fn function(code: u8) -> Rule {
        let mut rule = Rule {
            set: option::FC | option::FRAMES,
            frames: frames::ANY,
            ..Rule::default()
        };
        rule.fc[usize::from(code / 32)] = 1 << (code % 32);
        rule
    }

    fn scan(rule: &Rule, octets: &[u8], size: usize) -> bool {
        let mut scan = Scan::new();
        for piece in octets.chunks(size) {
            scan.take(rule, piece);
        }
        scan.end(rule)
    }

    #[test]
    fn pieces_of_any_size_give_the_same_answer() {
        for size in 1..=CARRIER.len() {
            assert!(scan(&function(1), &CARRIER, size), "{size}");
            assert!(scan(&function(13), &CARRIER, size), "{size}");
            assert!(!scan(&function(2), &CARRIER, size), "{size}");
        }
    }

    #[test]
    fn what_is_cut_off_is_any_function() {
        let restart = &CARRIER[28..];
        for end in 1..=15 {
            let seen = scan(&function(2), &restart[..end], 100);
            assert_eq!(seen, end < 13, "{end} octets");
            assert!(scan(&function(13), &restart[..end], 100), "{end} octets");
        }
        assert!(!scan(&function(13), &[], 1));
    }

    #[test]
    fn what_was_found_is_not_forgotten() {
        // The restart, then headers that contradict the rule, among the last octets and before.
        const LINK: [u8; 10] = [0x05, 0x64, 0x05, 0xC9, 0x01, 0x00, 0x00, 0x04, 0xA6, 0x57];
        let mut octets = [0u8; 45];
        octets[..15].copy_from_slice(&CARRIER[28..43]);
        for place in octets[15..].chunks_mut(10) {
            place.copy_from_slice(&LINK);
        }
        for end in [15, 25, 35, 45] {
            for size in 1..=end {
                assert!(scan(&function(13), &octets[..end], size), "{size} of {end}");
                assert!(!scan(&function(1), &octets[..end], size), "{size} of {end}");
            }
        }
    }

    #[test]
    fn after_so_many_headers_it_gives_up() {
        const LINK: [u8; 10] = [0x05, 0x64, 0x05, 0xC9, 0x01, 0x00, 0x00, 0x04, 0xA6, 0x57];
        let mut octets = [0u8; 10 * 1025];
        for place in octets.chunks_mut(10) {
            place.copy_from_slice(&LINK);
        }
        for size in [7, 128, octets.len()] {
            assert!(!scan(&function(1), &octets[..10 * 1024], size), "{size}");
            assert!(scan(&function(1), &octets, size), "{size}");
        }
    }
}
