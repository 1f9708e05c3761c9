// SPDX-License-Identifier: GPL-2.0

//! The named vectors, and what is made of them: judged by hand, and cut short at every octet.

use dnp3_core::rule::{class, dir, option, status, Range};
use dnp3_core::{judge, Fragment, Headers, Octets, Rule, Verdict};
use dnp3_tests::frames::{frame, request};
use dnp3_tests::generate::{with_reading, Segment, Shape, Transport};
use dnp3_tests::naive;
use dnp3_tests::odd::Odd;
use dnp3_tests::vectors::{
    ACK, ALL, CARRIER_B, COLD_RESTART, CONT_RESTART, FRAME_IN_FRAME, LINK_STATUS, READ,
    REQUEST_LINK_STATUS, RESET_LINK, SHORT_FIR_1, SHORT_FIR_2, WRITE,
};

/// A class of frames as a rule can name it: a function code, or one of these.
const CONT: u16 = 256;
const LINK: u16 = 257;
const EVERY: std::ops::Range<u16> = 0..258;

fn of_class(class: u16) -> Rule {
    let mut rule = Rule {
        set: option::FC,
        ..Rule::default()
    };
    match class {
        CONT => rule.classes = class::CONT,
        LINK => rule.classes = class::LINK,
        code => rule.fc[usize::from(code) / 32] = 1 << (code % 32),
    }
    rule
}

fn of_status(status: u8) -> Rule {
    Rule {
        set: option::STATUS,
        status,
        ..Rule::default()
    }
}

fn to_address(address: u16) -> Rule {
    let mut rule = Rule {
        set: option::DADDR,
        daddr_count: 1,
        ..Rule::default()
    };
    rule.daddr[0] = Range {
        min: address,
        max: address,
    };
    rule
}

fn from_address(address: u16) -> Rule {
    let to = to_address(address);
    Rule {
        set: option::SADDR,
        saddr_count: 1,
        saddr: to.daddr,
        ..Rule::default()
    }
}

fn from_side(dir: u8) -> Rule {
    Rule {
        set: option::DIR,
        dir,
        ..Rule::default()
    }
}

fn not(rule: Rule) -> Rule {
    Rule {
        invert: rule.set,
        ..rule
    }
}

const TCP: Transport = Transport::PLAIN_TCP;
const TCP_URG: Transport = Transport::tcp_with(0x38);
const UDP: Transport = Transport::PLAIN_UDP;

type Sent = (Vec<u8>, Headers);

fn sent(transport: Transport, payload: &[&[u8]]) -> Sent {
    Shape::plain(transport).packet(&payload.concat())
}

/// Both judges are held to what was worked out by hand.
#[track_caller]
fn matches(rule: &Rule, (octets, headers): &Sent) -> bool {
    let verdict = judge(rule, &Octets(octets), headers);
    assert_eq!(naive::judge(rule, &Octets(octets), headers), verdict);
    verdict == Verdict::Match
}

fn only(rule: Rule) -> Rule {
    with_reading(&rule, false)
}

fn any(rule: Rule) -> Rule {
    with_reading(&rule, true)
}

/// Holds a packet to its status, to the classes that all its frames are of, and to those that
/// `any` cannot rule out.
#[track_caller]
fn expect(packet: &Sent, status: u8, every: &[u16], some: &[u16]) {
    for bit in [
        status::NONE,
        status::VALID,
        status::PARTIAL,
        status::MALFORMED,
    ] {
        assert_eq!(
            matches(&of_status(bit), packet),
            bit == status,
            "status {bit}"
        );
    }
    for class in EVERY {
        assert_eq!(
            matches(&only(of_class(class)), packet),
            every.contains(&class),
            "only --fc {class}"
        );
        assert_eq!(
            matches(&any(of_class(class)), packet),
            some.contains(&class),
            "any --fc {class}"
        );
    }
    assert_eq!(matches(&Rule::default(), packet), status == status::VALID);
}

#[track_caller]
fn expect_both(payload: &[&[u8]], status: u8, every: &[u16], some: &[u16]) {
    expect(&sent(TCP, payload), status, every, some);
    expect(&sent(UDP, payload), status, every, some);
}

#[track_caller]
fn expect_cut(payload: &[&[u8]], some: &[u16]) {
    expect(&sent(TCP, payload), status::PARTIAL, &[], some);
    expect(&sent(UDP, payload), status::MALFORMED, &[], some);
}

fn every_class() -> Vec<u16> {
    EVERY.collect()
}

#[test]
fn frames_alone() {
    for link in [RESET_LINK, ACK, REQUEST_LINK_STATUS, LINK_STATUS] {
        expect_both(&[link], status::VALID, &[LINK], &[LINK]);
    }
    expect_both(&[READ], status::VALID, &[1], &[1]);
    expect_both(&[WRITE], status::VALID, &[2], &[2]);
    expect_both(&[COLD_RESTART], status::VALID, &[13], &[13]);
    expect_both(&[CONT_RESTART], status::VALID, &[CONT], &[CONT]);
    expect_both(&[], status::NONE, &[], &[]);
}

#[test]
fn frames_behind_each_other() {
    expect_both(&[READ, READ], status::VALID, &[1], &[1]);
    expect_both(&[READ, COLD_RESTART], status::VALID, &[], &[1, 13]);
    // Ten octets are a whole frame, and hide nothing of the next.
    expect_both(
        &[REQUEST_LINK_STATUS, COLD_RESTART],
        status::VALID,
        &[],
        &[LINK, 13],
    );
    // Octet 12 of a link frame's packet is no function code.
    expect_both(
        &[LINK_STATUS, &request(&[0xC0, 0xC0, 0x02])],
        status::VALID,
        &[],
        &[LINK, 2],
    );
}

#[test]
fn junk_around_a_frame() {
    for junk in [&[0x00][..], &[0x64], &[0x05, 0x00], &[0x05, 0x64, 0x04]] {
        expect_both(&[junk, READ], status::MALFORMED, &[], &[1]);
        expect_both(&[READ, junk], status::MALFORMED, &[], &[1]);
        expect_both(&[READ, junk, WRITE], status::MALFORMED, &[], &[1, 2]);
    }
    expect_both(&[b"GET / HTTP/1.1"], status::MALFORMED, &[], &[]);
    // What a lone 05 begins, nobody can say.
    expect_cut(&[READ, &[0x05]], &every_class());
    expect_cut(&[READ, &[0x05, 0x64]], &every_class());
}

#[test]
fn wrong_crcs() {
    let mut block = READ.to_vec();
    *block.last_mut().unwrap() ^= 1;
    expect_both(&[&block], status::MALFORMED, &[], &[1]);
    for at in [8, 9] {
        let mut header = READ.to_vec();
        header[at] ^= 1;
        expect_both(&[&header], status::MALFORMED, &[], &[]);
        // As far as it is seen, a wrong CRC is wrong.
        expect_both(&[&header[..=at]], status::MALFORMED, &[], &[]);
    }
}

#[test]
fn a_frame_cut_short() {
    for end in 1..13 {
        expect_cut(&[READ, &COLD_RESTART[..end]], &every_class());
    }
    expect_cut(&[READ, &COLD_RESTART[..13]], &[1, 13]);
    expect_cut(&[READ, &COLD_RESTART[..14]], &[1, 13]);
    // The 05 that is LEN may begin a frame as well.
    expect_cut(&[READ, &RESET_LINK[..3]], &every_class());
    for end in 4..10 {
        // LEN 5 makes it a link frame, whatever follows.
        expect_cut(&[READ, &RESET_LINK[..end]], &[1, LINK]);
    }
    expect_cut(&[&CONT_RESTART[..11]], &[CONT]);
}

#[test]
fn a_frame_in_a_frame() {
    // The outer control octet is no station's: it may be taken for a link frame as well.
    expect_both(&[FRAME_IN_FRAME], status::MALFORMED, &[], &[1, 13, LINK]);
    expect_both(&[CARRIER_B], status::VALID, &[1], &[1]);
    // Without its first octet, as a receiver sees it that takes the urgent octet out.
    expect_both(&[&CARRIER_B[1..]], status::MALFORMED, &[], &[13]);
    expect_both(&[&[0], CARRIER_B], status::MALFORMED, &[], &[1, 13]);
}

#[test]
fn urgent_data() {
    expect(&sent(TCP_URG, &[]), status::MALFORMED, &[], &every_class());
    expect(
        &sent(TCP_URG, &[CARRIER_B]),
        status::MALFORMED,
        &[],
        &every_class(),
    );
}

#[test]
fn a_function_code_in_the_next_frame() {
    expect_both(&[SHORT_FIR_1], status::MALFORMED, &[], &every_class());
    expect_both(
        &[SHORT_FIR_1, SHORT_FIR_2],
        status::MALFORMED,
        &[],
        &every_class(),
    );
    expect_both(&[SHORT_FIR_2], status::VALID, &[CONT], &[CONT]);
    // So far it might still be a continuation; with its transport octet it is not.
    expect_cut(&[&SHORT_FIR_1[..10]], &every_class());
    expect_both(
        &[&SHORT_FIR_1[..11]],
        status::MALFORMED,
        &[],
        &every_class(),
    );
    // A transport octet alone is no segment.
    expect_both(&[&request(&[0x80])], status::MALFORMED, &[], &[CONT]);
}

#[test]
fn coalesced_datagrams() {
    let carrier = |segment| {
        sent(
            Transport::Udp {
                length_error: 0,
                segment: Segment::Octets(segment),
            },
            &[CARRIER_B],
        )
    };
    expect(&carrier(0), status::VALID, &[1], &[1]);
    expect(&carrier(45), status::VALID, &[1], &[1]);
    expect(&carrier(28), status::MALFORMED, &[], &[1, 13]);
}

#[test]
fn first_fragments() {
    for transport in [TCP, UDP] {
        let mut packet = sent(transport.clone(), &[READ]);
        packet.1.fragment = Fragment::First;
        expect(&packet, status::MALFORMED, &[], &[1]);
        let mut packet = sent(transport, &[]);
        packet.1.fragment = Fragment::First;
        expect(&packet, status::MALFORMED, &[], &[]);
        packet.1.fragment = Fragment::Later;
        assert!(!matches(&not(of_status(status::VALID)), &packet));
    }
}

#[test]
fn control_octets() {
    // Every octet that no station sends makes a frame malformed, and its class one of two.
    for control in 0..=255u8 {
        let user_data = matches!(control & 0x5F, 0x53 | 0x44);
        let link = matches!(control & 0x5F, 0x40 | 0x52 | 0x49)
            || (control & 0x60 == 0 && matches!(control & 0x0F, 0 | 1 | 11 | 15));
        let read = frame(control, 1, 1024, &[0xC0, 0xC0, 0x01]);
        let bare = frame(control, 1, 1024, &[]);
        if user_data {
            expect_both(&[&read], status::VALID, &[1], &[1]);
        } else {
            expect_both(&[&read], status::MALFORMED, &[], &[1, LINK]);
        }
        if link {
            expect_both(&[&bare], status::VALID, &[LINK], &[LINK]);
        } else {
            expect_both(&[&bare], status::MALFORMED, &[], &[LINK]);
        }
    }
}

#[test]
fn broadcast() {
    for transport in [TCP, UDP] {
        for address in 65532..=65535 {
            let octets = frame(0xC4, address, 1024, &[0xC0, 0xC0, 0x0D]);
            let packet = sent(transport.clone(), &[&octets]);
            for rule in [to_address(1), not(to_address(1))] {
                assert!(!matches(&only(rule), &packet), "{address}");
                assert!(matches(&any(rule), &packet), "{address}");
            }
            let named = to_address(address);
            assert!(matches(&only(named), &packet) && matches(&any(named), &packet));
            let other = not(named);
            assert!(!matches(&only(other), &packet) && !matches(&any(other), &packet));
        }
        // 65531 is an address as others are.
        let octets = frame(0xC4, 65531, 1024, &[0xC0, 0xC0, 0x0D]);
        let packet = sent(transport, &[&octets]);
        assert!(!matches(&any(to_address(1)), &packet));
        assert!(matches(&only(not(to_address(1))), &packet));
    }
}

#[test]
fn addresses_and_direction() {
    let packet = sent(TCP, &[READ]);
    for (rule, expected) in [
        (from_address(1024), true),
        (from_address(1), false),
        (to_address(1), true),
        (to_address(1024), false),
        (from_side(dir::MASTER), true),
        (from_side(dir::OUTSTATION), false),
    ] {
        for reading in [only, any] {
            assert_eq!(matches(&reading(rule), &packet), expected, "{rule:?}");
            assert_eq!(matches(&reading(not(rule)), &packet), !expected, "{rule:?}");
        }
    }
    // Half an address is none.
    let half = sent(TCP, &[&READ[..7]]);
    assert!(matches(&any(from_address(1)), &half));
    assert!(!matches(&any(to_address(1024)), &half));
    let whole = sent(TCP, &[&READ[..8]]);
    assert!(!matches(&any(from_address(1)), &whole));
}

/// Rules of every option, plain and inverted, of which the vectors satisfy some.
fn rules() -> Vec<Rule> {
    let plain = [
        Rule::default(),
        from_address(1024),
        from_address(1),
        to_address(1),
        to_address(1024),
        of_class(1),
        of_class(13),
        of_class(CONT),
        of_class(LINK),
        from_side(dir::MASTER),
        of_status(status::VALID),
        of_status(status::PARTIAL | status::NONE),
    ];
    let mut rules = Vec::new();
    for rule in plain {
        for rule in [rule, not(rule)] {
            rules.extend([rule, with_reading(&rule, false), with_reading(&rule, true)]);
        }
    }
    rules
}

#[test]
fn every_truncation_of_every_vector_at_every_end_of_the_linear_part() {
    let rules = rules();
    let mut judged = 0u32;
    for (name, vector) in ALL {
        for (before, behind) in [(&[][..], &[][..]), (READ, &[]), (&[], LINK_STATUS)] {
            let payload = [before, vector, behind].concat();
            for end in 0..=payload.len() {
                for transport in [TCP, TCP_URG, UDP] {
                    let (octets, headers) = sent(transport, &[&payload[..end]]);
                    let anatomy = naive::take_apart(&Octets(&octets), &headers);
                    for rule in &rules {
                        let expected = naive::judge_apart(rule, &anatomy);
                        // Each end in its turn, so that all are met and the test stays short.
                        let linear = (judged / 2) as usize % (octets.len() + 1);
                        for linear in [linear, octets.len()] {
                            let odd = Odd::new(&octets, linear);
                            assert_eq!(
                                judge(rule, &odd, &headers),
                                expected,
                                "{name} cut to {end}, {linear} linear: {rule:?}"
                            );
                            assert_eq!(odd.fetched_twice(), None);
                            judged += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(judged > 300_000, "{judged}");
}
