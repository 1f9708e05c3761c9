// SPDX-License-Identifier: GPL-2.0

//! Two frames for a page whose contents change while the kernel judges them, and rules that match
//! neither of them, nor any mixture of their octets.
//!
//! Each octet of a page fragment is fetched at most once in the evaluation of a rule. So what a rule
//! answers is the answer for some mixture of what the page has held, octet by octet: whoever looks at
//! the source address in one fetch and at the destination address in another can be made to see a frame
//! that never was. [`tests/guest/changing.py`](../../guest/changing.py) is the other side. What a
//! receiver is handed later may be another mixture: that no packet filter can promise.

use std::fmt::Write as _;

use crate::cases::Protocol;
use crate::frames::{control, frame};
use crate::vm::hex;

/// A READ from station 1 to station 10.
pub fn first() -> Vec<u8> {
    frame(control::MASTER_DATA, 10, 1, &[0xC0, 0xC0, 0x01])
}

/// A restart from station 2 to station 20.
pub fn second() -> Vec<u8> {
    frame(control::MASTER_DATA, 20, 2, &[0xC0, 0xC0, 0x0D])
}

/// Rules that match each of the two.
pub const MATCH: [&str; 2] = ["--saddr 1", "--saddr 2"];

/// Rules that match no packet of such frames, as long as each octet is fetched once: both addresses are under
/// one CRC.
pub const NEVER: &[&str] = &[
    "--saddr 1 --daddr 20",
    "--saddr 2 --daddr 10",
    "--status valid --frames any --saddr 1 --daddr 20",
    "--status valid --frames any --saddr 2 --daddr 10",
    "--status valid --frames any --fc 14",
];

/// The same where each packet is one whole frame, as TCP's need not be.
pub const NEVER_WHOLE: &[&str] = &[
    "--frames any --saddr 1 --daddr 20",
    "--frames any --saddr 2 --daddr 10",
    "--frames any --fc 14",
    "--frames any ! --saddr 1,2",
];

/// The rules of the last two for a protocol.
pub fn never(protocol: Protocol) -> impl Iterator<Item = &'static str> {
    let whole: &[_] = match protocol {
        Protocol::Tcp => &[],
        Protocol::Udp => NEVER_WHOLE,
    };
    NEVER.iter().chain(whole).copied()
}

/// What the guest reads: a word, and what it stands for.
pub fn plan() -> String {
    let mut text = String::new();
    for (frame, rule) in [first(), second()].into_iter().zip(MATCH) {
        let hex = hex(&frame);
        writeln!(text, "frame {hex}\nmatch {rule}").expect("a string takes everything");
    }
    for protocol in Protocol::ALL {
        for rule in never(protocol) {
            writeln!(text, "{} {rule}", protocol.name()).expect("a string takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naive;
    use dnp3_core::{text, Headers, Octets, Rule, Verdict};

    fn rule(text: &str) -> Rule {
        text::parse(text.split_whitespace(), Protocol::Udp.number()).expect("a rule")
    }

    /// The verdicts of both judges, which must agree.
    fn matches(rule: &Rule, payload: &[u8]) -> bool {
        let length = 8 + u16::try_from(payload.len()).expect("short");
        let mut octets = vec![0; 4];
        octets.extend(length.to_be_bytes());
        octets.extend([0; 2]);
        octets.extend(payload);
        let headers = Headers {
            end: length.into(),
            protocol: Protocol::Udp.number(),
            ..Headers::default()
        };
        let packet = Octets(&octets);
        let verdict = naive::judge(rule, &packet, &headers);
        assert_eq!(dnp3_core::judge(rule, &packet, &headers), verdict);
        verdict == Verdict::Match
    }

    #[test]
    fn each_frame_satisfies_one_rule() {
        for (at, frame) in [first(), second()].iter().enumerate() {
            for (number, text) in MATCH.iter().enumerate() {
                assert_eq!(matches(&rule(text), frame), at == number, "{text}");
            }
        }
    }

    #[test]
    fn no_mixture_of_octets_satisfies_the_others() {
        let (first, second) = (first(), second());
        assert_eq!(first.len(), second.len());
        let differ: Vec<_> = (0..first.len())
            .filter(|&at| first[at] != second[at])
            .collect();
        let rules: Vec<_> = never(Protocol::Udp)
            .map(|text| (text, rule(text)))
            .collect();
        for choice in 0..1_u32 << differ.len() {
            let mut mixture = first.clone();
            for (bit, &at) in differ.iter().enumerate() {
                if choice >> bit & 1 == 1 {
                    mixture[at] = second[at];
                }
            }
            for (text, rule) in &rules {
                assert!(!matches(rule, &mixture), "{text}: {mixture:02x?}");
            }
        }
        // A frame that has both is what they would match.
        let both = frame(control::MASTER_DATA, 20, 1, &[0xC0, 0xC0, 0x0E]);
        assert!(matches(&rules[0].1, &both));
    }
}
