// SPDX-License-Identifier: GPL-2.0

//! The targets that judge a packet by a rule.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use dnp3_core::frame::{Event, Seen, Walk};
use dnp3_core::rule::{option, status};
use dnp3_core::scan::Scan;
use dnp3_core::{judge, Fragment, Headers, Octets, Packet, Rule, Verdict};
use dnp3_tests::generate::{with_reading, with_status, without, FRAME_OPTIONS};
use dnp3_tests::naive;
use dnp3_tests::odd::Odd;

use crate::input::Input;

/// The judge answers the same however the packet lies in memory, fetches no octet twice, and
/// bears rules that the kernel would refuse. A walk and a search can be stopped at any octet.
pub fn judge_in_pieces(octets: &[u8]) {
    let input = Input::of(octets);
    let (packet, headers) = (&input.packet[..], &input.headers);
    // A copy gives what is there, or fails.
    let (from, size) = (input.linear, usize::from(input.raw.reserved[1]));
    let mut copy = vec![0; size];
    let copied = Octets(packet).copy(from as u32, &mut copy);
    assert_eq!(copied.then_some(&copy[..]), packet.get(from..from + size));
    assert_eq!(Octets(packet).is_empty(), packet.is_empty());
    for rule in [input.raw, input.rule()] {
        let whole = judge(&rule, &Octets(packet), headers);
        for linear in [0, input.linear, headers.transport as usize] {
            let odd = Odd::new(packet, linear);
            let verdict = judge(&rule, &odd, headers);
            assert_eq!(verdict, whole, "{linear} octets are linear");
            assert_eq!(odd.fetched_twice(), None, "{linear} octets are linear");
        }
        let short = Failing {
            octets: packet,
            linear: input.linear / 2,
            copies: Cell::new(input.raw.reserved[0] % 8),
        };
        // Memory that cannot be read is nothing to accept.
        let verdict = judge(&with_reading(&rule, false), &short, headers);
        let readable = judge(&with_reading(&rule, false), &Octets(packet), headers);
        assert!(verdict != Verdict::Match || readable == Verdict::Match);
    }
    let rule = with_reading(&input.rule(), true);
    let payload = input.payload().map_or(&[][..], |range| &packet[range]);
    let sizes = input.raw.reserved;
    assert_eq!(events(payload, &[]), events(payload, &sizes));
    assert_eq!(search(&rule, payload, &[]), search(&rule, payload, &sizes));
}

/// A packet of which copies fail after some.
struct Failing<'a> {
    octets: &'a [u8],
    linear: usize,
    copies: Cell<u8>,
}

impl Packet for Failing<'_> {
    fn len(&self) -> u32 {
        self.octets.len() as u32
    }

    fn linear(&self) -> &[u8] {
        &self.octets[..self.linear]
    }

    fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
        let left = self.copies.get();
        self.copies.set(left.saturating_sub(1));
        left > 0 && Octets(self.octets).copy(offset, to)
    }
}

/// The octets in pieces of these sizes, over and over; whole where there are none.
fn pieces<'a>(octets: &'a [u8], sizes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
    let mut sizes = sizes.iter().cycle();
    let mut rest = octets;
    std::iter::from_fn(move || {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| usize::from(*size) % 41 + 1);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

/// What a walk reports, where, and whether it ends at a boundary.
fn events(octets: &[u8], sizes: &[u8]) -> (Vec<(Event, usize, Seen)>, bool) {
    let mut walk = Walk::new();
    let mut events = Vec::new();
    let mut at = 0;
    'all: for piece in pieces(octets, sizes) {
        let mut rest = piece;
        while !rest.is_empty() {
            let (event, behind) = walk.step(rest);
            at += rest.len() - behind.len();
            rest = behind;
            match event {
                Event::Taken => assert!(rest.is_empty(), "octets were taken"),
                // How much of it had to be taken depends on the pieces.
                Event::Wrong => {
                    events.push((event, 0, Seen::default()));
                    break 'all;
                }
                _ => events.push((event, at, walk.seen())),
            }
        }
    }
    // A walk that is wrong is over.
    let over = matches!(events.last(), Some((Event::Wrong, ..)));
    (events, !over && walk.at_boundary())
}

fn search(rule: &Rule, octets: &[u8], sizes: &[u8]) -> bool {
    let mut scan = Scan::new();
    for piece in pieces(octets, sizes) {
        scan.take(rule, piece);
    }
    scan.end(rule)
}

/// The judge and the naive judge agree.
pub fn judges_agree(octets: &[u8]) {
    let input = Input::of(octets);
    let rule = input.rule();
    assert_eq!(rule.check(6, false), Ok(()), "{rule:?}");
    let anatomy = naive::take_apart(&Octets(&input.packet), &input.headers);
    let asked = [rule, with_reading(&rule, false), with_reading(&rule, true)];
    for rule in asked {
        let packet = Odd::new(&input.packet, input.linear);
        assert_eq!(
            judge(&rule, &packet, &input.headers),
            naive::judge_apart(&rule, &anatomy),
            "real (left) and naive (right): {rule:?} {:?} {anatomy:?}",
            input.headers
        );
        assert_eq!(packet.fetched_twice(), None);
    }
}

/// Packets of each status that [`laws_hold`] has met, and of none: the last.
static TALLY: [AtomicU64; 5] = [const { AtomicU64::new(0) }; 5];

/// Counts a packet, and says now and then what they were: how deep the mutator gets.
fn count(status: u8) {
    let at = (status.trailing_zeros() as usize).min(TALLY.len() - 1);
    TALLY[at].fetch_add(1, Ordering::Relaxed);
    let counts = TALLY.each_ref().map(|count| count.load(Ordering::Relaxed));
    let sum: u64 = counts.iter().sum();
    if sum >= 1 << 13 && sum % (1 << 11) == 0 {
        let [none, valid, partial, malformed, never] = counts;
        eprintln!(
            "of {sum} packets: {none} none, {valid} valid, {partial} partial, \
             {malformed} malformed, {never} never judged"
        );
    }
}

/// What holds between the answers to two questions, whatever the answers are.
pub fn laws_hold(octets: &[u8]) {
    let input = Input::of(octets);
    let rule = input.rule();
    let packet = &input.packet[..];
    let answer = |rule: &Rule| judge(rule, &Octets(packet), &input.headers);
    let matches = |rule: &Rule| answer(rule) == Verdict::Match;
    let (only, any) = (with_reading(&rule, false), with_reading(&rule, true));

    // `only` implies `any`, and that the packet is valid.
    if matches(&only) {
        assert!(matches(&any), "{only:?}");
        assert!(matches(&with_status(&only, status::VALID)), "{only:?}");
    }

    // Exactly one status, under every set and its inverse; none where there is nothing to judge.
    let status = the_status(&matches);
    for set in 1..16 {
        let is = with_status(&Rule::default(), set);
        let is_not = Rule {
            invert: option::STATUS,
            ..is
        };
        assert_eq!(matches(&is), status & set != 0, "{status} {set}");
        assert_eq!(matches(&is_not), status & !set != 0, "{status} {set}");
    }
    count(status);

    // Another rule never makes a hot drop of it.
    assert_eq!(
        answer(&rule) == Verdict::HotDrop,
        answer(&Rule::default()) == Verdict::HotDrop
    );
    if status == 0 {
        assert!(!matches(&rule));
    }

    // An option more never matches more; a bare rule is `only` with P true.
    for rule in [only, any] {
        for bit in FRAME_OPTIONS.into_iter().chain([option::STATUS]) {
            if rule.set & bit != 0 && matches(&rule) {
                assert!(matches(&without(&rule, bit)), "without {bit}: {rule:?}");
            }
        }
    }
    let bare = Rule::default();
    assert_eq!(matches(&bare), matches(&with_reading(&bare, false)));

    let alone = Input {
        raw: rule,
        ..input.clone()
    };
    inversion(&alone, status, &matches);
    what_is_around(&input, &rule, &answer);
    nothing_is_missed(&input, &any, status);
}

/// The bit of the packet's status; 0 where no rule matches.
fn the_status(matches: &dyn Fn(&Rule) -> bool) -> u8 {
    let mut statuses = [1u8, 2, 4, 8]
        .into_iter()
        .filter(|bit| matches(&with_status(&Rule::default(), *bit)));
    let status = statuses.next();
    assert_eq!(statuses.next(), None, "a packet has one status");
    status.unwrap_or(0)
}

/// On a valid packet, every frame satisfies an option unless some frame satisfies its inverse.
fn inversion(input: &Input, status: u8, matches: &dyn Fn(&Rule) -> bool) {
    // Of several datagrams the answers are taken together: one may be empty.
    if status != status::VALID || input.headers.udp_segment != 0 {
        return;
    }
    for option in FRAME_OPTIONS {
        let mut one = without(&input.raw, option::STATUS);
        for other in FRAME_OPTIONS {
            if other != option {
                one = without(&one, other);
            }
        }
        if one.set & option == 0 {
            continue;
        }
        let not = Rule {
            invert: one.invert ^ option,
            ..one
        };
        assert_eq!(
            matches(&with_reading(&one, false)),
            !matches(&with_reading(&not, true)),
            "{one:?}"
        );
    }
}

/// Padding behind the packet's end, and octets in front of the transport header, are no payload.
fn what_is_around(input: &Input, rule: &Rule, answer: &dyn Fn(&Rule) -> Verdict) {
    const BEFORE: [u8; 3] = [0x05, 0x64, 0x05];
    let (Some(transport), Some(end)) = (
        input.headers.transport.checked_add(BEFORE.len() as u32),
        (input.headers.end.min(input.packet.len() as u32)).checked_add(BEFORE.len() as u32),
    ) else {
        return;
    };
    let padded = [&BEFORE, &input.packet[..], &[0x05, 0x64, 0x05, 0xC9]].concat();
    let headers = Headers {
        transport,
        end,
        ..input.headers
    };
    assert_eq!(
        judge(rule, &Octets(&padded), &headers),
        answer(rule),
        "{rule:?}"
    );
}

/// In a packet that is not valid, a receiver may find a frame anywhere: `any` matches when it does
/// for one of them alone.
fn nothing_is_missed(input: &Input, any: &Rule, status: u8) {
    if !matches!(status, status::PARTIAL | status::MALFORMED) || input.headers.udp_segment != 0 {
        return;
    }
    let Some(payload) = input.payload() else {
        return;
    };
    let payload = &input.packet[payload];
    let any = &without(any, option::STATUS);
    let whole = judge(any, &Octets(&input.packet), &input.headers);
    if whole == Verdict::Match {
        return;
    }
    for at in 0..payload.len() {
        let Some(size) = frame_at(&payload[at..]) else {
            continue;
        };
        let (packet, headers) = datagram(&payload[at..at + size]);
        assert_eq!(
            judge(any, &Octets(&packet), &headers),
            Verdict::NoMatch,
            "the frame at {at} of the payload alone is a match: {any:?}"
        );
    }
}

/// The size of the valid frame that begins here.
fn frame_at(octets: &[u8]) -> Option<usize> {
    if !octets.starts_with(&[0x05, 0x64]) {
        return None;
    }
    let size = dnp3_tests::frames::wire_len(*octets.get(2)?);
    let frame = octets.get(..size)?;
    naive::is_valid_frame(frame).then_some(size)
}

/// A UDP datagram of this payload.
fn datagram(payload: &[u8]) -> (Vec<u8>, Headers) {
    let length = (payload.len() + 8) as u16;
    let [high, low] = length.to_be_bytes();
    let mut packet = vec![0, 0, 0, 0, high, low, 0, 0];
    packet.extend(payload);
    let headers = Headers {
        end: packet.len() as u32,
        protocol: 17,
        fragment: Fragment::Whole,
        ..Headers::default()
    };
    (packet, headers)
}
