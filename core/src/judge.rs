// SPDX-License-Identifier: GPL-2.0

//! The judgement: does this rule match this packet?

use core::borrow::BorrowMut;

use crate::frame::{Event, Seen, Walk};
use crate::packet::{Fragment, Headers, Packet, Verdict};
use crate::rule::{protocol, status, Reading, Rule};
use crate::scan::Scan;
use crate::segment::{flag, read, Segment};

/// Octets that are copied at a time out of memory that may change. They lie on the stack, of which
/// a packet's path in the kernel has little: 512 octets for all that is here and calls it, as
/// scripts/stack counts them.
const COPIED: usize = 80;

/// A UDP header.
mod udp {
    pub(super) const HEADER: u32 = 8;
}

/// What is known of a payload before its first octet is read.
#[derive(Clone, Copy)]
struct Payload {
    /// Offset of its first octet in the packet.
    from: u32,
    /// Offset of the octet behind its last.
    to: u32,
    /// Octets in each but the last of its datagrams, or 0 when there is one alone.
    segment: u16,
    /// Whether a frame may go on in the next packet (TCP).
    is_stream: bool,
    /// Whether the packet is malformed whatever the octets are.
    malformed: bool,
    /// Whether what the receiver makes of the octets cannot be told (URG).
    unknown: bool,
}

/// Judges `packet`, whose IP layer says `headers`, by `rule`.
///
/// The packet is judged by itself. A TCP packet of a connection that is followed is
/// [`track::judge`](crate::track::judge)'s to judge, by whatever rule.
///
/// The work is linear in the packet. Each octet of a packet that is not linear is copied at most
/// once.
pub fn judge(rule: &Rule, packet: &dyn Packet, headers: &Headers) -> Verdict {
    if headers.fragment == Fragment::Later {
        return Verdict::NoMatch;
    }
    let end = packet.len().min(headers.end);
    let payload = match headers.protocol {
        protocol::TCP => match tcp_payload(packet, headers) {
            Some(payload) => payload,
            None => return Verdict::HotDrop,
        },
        protocol::UDP => match udp_payload(packet, headers, end) {
            Some(payload) => payload,
            None => return Verdict::NoMatch,
        },
        _ => return Verdict::NoMatch,
    };
    // A tracking rule wants to know where in its stream a payload stands, and nobody does.
    if rule.tracks() && payload.from < payload.to {
        return Verdict::NoMatch;
    }
    if payload.unknown {
        return Verdict::of(Judgement::beyond(rule).matches(rule));
    }
    // The last word, so that what it took to come here is off the stack by then.
    judge_payloads(rule, packet, payload)
}

/// Finds the payload of a TCP segment; `None` when its header cannot be right.
fn tcp_payload(packet: &dyn Packet, headers: &Headers) -> Option<Payload> {
    let segment = Segment::read(packet, headers)?;
    let urgent = segment.has(flag::URG);
    Some(Payload {
        from: segment.from,
        to: segment.to,
        segment: 0,
        is_stream: true,
        malformed: urgent || headers.fragment == Fragment::First,
        unknown: urgent,
    })
}

/// Finds the payload of a UDP datagram; `None` when its header is cut short.
fn udp_payload(packet: &dyn Packet, headers: &Headers, end: u32) -> Option<Payload> {
    let mut header = [0u8; udp::HEADER as usize];
    read(packet, headers.transport, end, &mut header)?;
    let [_, _, _, _, high, low, _, _] = header;
    let length = u32::from(u16::from_be_bytes([high, low]));
    let from = headers.transport.checked_add(udp::HEADER)?;
    Some(Payload {
        from,
        to: end,
        segment: headers.udp_segment,
        is_stream: false,
        malformed: length != end.wrapping_sub(headers.transport)
            || headers.fragment == Fragment::First,
        unknown: false,
    })
}

/// What a payload is, and how it stands with the rule's frame test.
#[derive(Clone, Copy)]
pub(crate) struct Judgement {
    /// One bit of [`status`].
    pub(crate) status: u8,
    /// Whether the frame test, in the rule's reading, is satisfied. Without meaning where the rule
    /// has none.
    pub(crate) frames: bool,
}

impl Judgement {
    /// That of octets of which nothing can be said.
    pub(crate) fn beyond(rule: &Rule) -> Judgement {
        Judgement {
            status: status::MALFORMED,
            frames: rule.reading() == Reading::Any,
        }
    }

    pub(crate) fn matches(self, rule: &Rule) -> bool {
        self.status & rule.statuses() != 0 && (self.frames || !rule.has_frame_test())
    }
}

/// Judges a packet's payload. Where it is several UDP datagrams, each is judged by itself.
///
/// For a frame test, `only` wants every datagram to match, and `any` one of them. The status of
/// the packet is that of its worst datagram.
fn judge_payloads(rule: &Rule, packet: &dyn Packet, payload: Payload) -> Verdict {
    let mut from = payload.from;
    let mut worst = status::NONE;
    loop {
        let to = match payload.segment {
            0 => payload.to,
            segment => from.saturating_add(u32::from(segment)).min(payload.to),
        };
        let datagram = judge_payload(
            rule,
            packet,
            Payload {
                from,
                to,
                ..payload
            },
        );
        // The bits of `status` ascend from the best to the worst.
        worst = worst.max(datagram.status);
        let is_last = to >= payload.to;
        if rule.has_frame_test() {
            let matches = datagram.matches(rule);
            if is_last || matches == (rule.reading() == Reading::Any) {
                return Verdict::of(matches);
            }
        } else if is_last {
            return Verdict::of(worst & rule.statuses() != 0);
        }
        from = to;
    }
}

/// Judges one payload: that of a TCP segment, or one UDP datagram.
fn judge_payload(rule: &Rule, packet: &dyn Packet, payload: Payload) -> Judgement {
    if payload.from >= payload.to && !payload.malformed {
        return Judgement {
            status: status::NONE,
            frames: false,
        };
    }
    let mut course = Course::new(rule, payload.malformed);
    if course.is_decided() || each_piece(packet, payload.from, payload.to, &mut course) {
        return course.end(payload.is_stream);
    }
    // The packet did not give what its length promised.
    Judgement::beyond(rule)
}

/// Hands the octets from `from` to `to` to a course, until it is decided. False when the packet does not
/// have them all.
fn each_piece(packet: &dyn Packet, from: u32, to: u32, course: &mut Course<'_>) -> bool {
    let mut at = from;
    let mut linear = in_place(packet, from, to);
    while at < to && !course.is_decided() {
        let mut copied;
        let mut piece = core::mem::take(&mut linear);
        if piece.is_empty() {
            copied = [0u8; COPIED];
            let wanted = usize::try_from(to.saturating_sub(at)).unwrap_or(COPIED);
            let copy = match copied.get_mut(..wanted) {
                Some(copy) => copy,
                None => &mut copied,
            };
            if !packet.copy(at, copy) {
                return false;
            }
            piece = copy;
        }
        course.take(piece);
        at = at.saturating_add(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    }
    true
}

/// Those of the octets from `from` to `to` that lie in the linear part.
fn in_place(packet: &dyn Packet, from: u32, to: u32) -> &[u8] {
    let linear = packet.linear();
    let ends = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    ends.and_then(|(from, to)| linear.get(from..to.min(linear.len())))
        .unwrap_or(&[])
}

/// One pass over a payload: the frame walk, and beside it what the rule asks.
struct Course<'r> {
    walk: Walk,
    question: Question<'r, Scan>,
}

impl<'r> Course<'r> {
    fn new(rule: &'r Rule, malformed: bool) -> Course<'r> {
        let mut question = Question::new(rule, Scan::new());
        question.wrong = malformed;
        Course {
            walk: Walk::new(),
            question,
        }
    }

    fn is_decided(&self) -> bool {
        self.question.is_decided()
    }

    fn take(&mut self, octets: &[u8]) {
        self.question.search(octets);
        let mut rest = octets;
        while !rest.is_empty() && !self.question.wrong && !self.is_decided() {
            let (event, behind) = self.walk.step(rest);
            rest = behind;
            match event {
                Event::Wrong => self.question.wrong = true,
                Event::Addressed => self.question.addressed(&self.walk),
                Event::Frame => self.question.frame(&self.walk.seen()),
                Event::Taken => {}
            }
        }
    }

    fn end(&mut self, is_stream: bool) -> Judgement {
        if self.question.wrong {
            self.question.end(status::MALFORMED)
        } else if self.walk.at_boundary() {
            self.question.end(status::VALID)
        } else if is_stream {
            self.question.end(status::PARTIAL)
        } else {
            self.question.end(status::MALFORMED)
        }
    }
}

/// What a rule asks of a payload, and how it stands with it so far.
pub(crate) struct Question<'r, S: BorrowMut<Scan>> {
    rule: &'r Rule,
    reading: Option<Reading>,
    /// The search for headers, for `any` on a payload that may turn out not to be valid.
    scan: S,
    /// Whether it is wanted.
    scans: bool,
    /// Whether a frame has been seen of which `only` is not true, or of which `any` is.
    pub(crate) found: bool,
    /// Whether this is no sequence of valid frames, whatever comes.
    pub(crate) wrong: bool,
}

impl<'r, S: BorrowMut<Scan>> Question<'r, S> {
    /// `scan` is room for a search; unless none was there, [`Question::begin_search`] has to come
    /// before the first octet.
    pub(crate) fn new(rule: &'r Rule, scan: S) -> Question<'r, S> {
        let reading = rule.has_frame_test().then(|| rule.reading());
        let may_be_bad = rule.statuses() & (status::PARTIAL | status::MALFORMED) != 0;
        Question {
            rule,
            reading,
            scan,
            scans: reading == Some(Reading::Any) && may_be_bad,
            found: false,
            wrong: false,
        }
    }

    /// Whether what is still to come cannot change the answer.
    pub(crate) fn is_decided(&self) -> bool {
        match self.reading {
            Some(Reading::Only) => self.found || self.wrong,
            Some(Reading::Any) => self.wrong && (!self.scans || self.scan.borrow().is_satisfied()),
            None => self.wrong,
        }
    }

    /// Whether octets are to be searched for headers.
    pub(crate) fn searches(&self) -> bool {
        self.scans
    }

    /// Searches octets for headers, where that is wanted.
    #[inline(always)] // a frame less on the stack
    pub(crate) fn search(&mut self, octets: &[u8]) {
        if self.scans {
            self.scan.borrow_mut().take(self.rule, octets);
        }
    }

    /// Begins to search, in room where another search may have been.
    pub(crate) fn begin_search(&mut self) {
        *self.scan.borrow_mut() = Scan::new();
    }

    /// Octets that were to be searched are not there any more.
    pub(crate) fn cannot_search(&mut self) {
        self.scan.borrow_mut().give_up();
    }

    /// The addresses of a frame have been seen.
    pub(crate) fn addressed(&mut self, walk: &Walk) {
        // Cheap first: a frame for others ends the question before a CRC is looked at.
        if self.reading == Some(Reading::Only) {
            self.frame(&walk.seen());
        }
    }

    /// This can be seen of a frame, and counts.
    pub(crate) fn frame(&mut self, seen: &Seen) {
        match self.reading {
            Some(Reading::Only) => self.found |= !self.rule.admits(seen, Reading::Only),
            Some(Reading::Any) => self.found |= self.rule.admits(seen, Reading::Any),
            None => {}
        }
    }

    /// The answer, for a packet that is by itself.
    pub(crate) fn end(&mut self, status: u8) -> Judgement {
        if status == status::VALID {
            return self.end_exactly(status);
        }
        Judgement {
            status,
            frames: self.reading == Some(Reading::Any)
                && self.scans
                && self.scan.borrow_mut().end(self.rule),
        }
    }

    /// The answer where each frame has been seen where a receiver sees it.
    pub(crate) fn end_exactly(&self, status: u8) -> Judgement {
        Judgement {
            status,
            frames: match self.reading {
                Some(Reading::Only) => !self.found,
                Some(Reading::Any) => self.found,
                None => false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc::Crc;
    use crate::packet::Octets;
    use crate::rule::{frames, option, Range, MAX_RANGES};
    use crate::segment::offset;
    use core::cell::Cell;

    const READ: [u8; 27] = [
        0x05, 0x64, 0x14, 0xF3, 0x01, 0x00, 0x00, 0x04, 0x0A, 0x3B, 0xC0, 0xC3, 0x01, 0x3C, 0x02,
        0x06, 0x3C, 0x03, 0x06, 0x3C, 0x04, 0x06, 0x3C, 0x01, 0x06, 0x9A, 0x12,
    ];
    const RESTART: [u8; 15] = [
        0x05, 0x64, 0x08, 0xC4, 0x01, 0x00, 0x00, 0x04, 0xA4, 0xCF, 0xC0, 0xC0, 0x0D, 0x9C, 0x86,
    ];

    /// A transport header of `header` octets behind 4 others, then a payload.
    struct Sent {
        octets: [u8; 128],
        headers: Headers,
    }

    const BEFORE: usize = 4;

    fn tcp(payload: &[&[u8]], data_offset: u8, flags: u8) -> Sent {
        let header = usize::from(data_offset) * 4;
        let mut sent = send(payload, header, protocol::TCP);
        sent.octets[BEFORE + offset::DATA_OFFSET] = data_offset << 4;
        sent.octets[BEFORE + offset::FLAGS] = flags;
        sent
    }

    fn udp(payload: &[&[u8]]) -> Sent {
        let mut sent = send(payload, 8, protocol::UDP);
        let length = (sent.headers.end as usize - BEFORE) as u8;
        sent.octets[BEFORE + 5] = length;
        sent
    }

    fn send(payload: &[&[u8]], header: usize, protocol: u8) -> Sent {
        let mut octets = [0xFF; 128];
        octets[..BEFORE + header].fill(0);
        let mut end = BEFORE + header;
        for part in payload {
            octets[end..][..part.len()].copy_from_slice(part);
            end += part.len();
        }
        Sent {
            octets,
            headers: Headers {
                transport: BEFORE as u32,
                end: end as u32,
                protocol,
                ..Headers::default()
            },
        }
    }

    fn verdict(rule: &Rule, sent: &Sent) -> Verdict {
        judge(rule, &Octets(&sent.octets), &sent.headers)
    }

    fn status_of(sent: &Sent) -> Option<u8> {
        let mut statuses = (0..4).map(|bit| 1u8 << bit).filter(|status| {
            let rule = Rule {
                set: option::STATUS,
                status: *status,
                ..Rule::default()
            };
            verdict(&rule, sent) == Verdict::Match
        });
        let status = statuses.next();
        assert_eq!(statuses.next(), None, "a packet has one status");
        status
    }

    fn function(code: u8, frames: u8) -> Rule {
        let mut rule = Rule {
            set: option::FC | option::FRAMES,
            frames,
            ..Rule::default()
        };
        rule.fc[usize::from(code / 32)] = 1 << (code % 32);
        rule
    }

    #[test]
    fn the_payload_lies_between_the_header_and_the_end_of_the_ip_packet() {
        // What lies behind the end of the IP packet, all 0xFF, is padding.
        for data_offset in 5..=15 {
            assert_eq!(
                status_of(&tcp(&[&READ], data_offset, 0)),
                Some(status::VALID)
            );
        }
        assert_eq!(status_of(&udp(&[&READ])), Some(status::VALID));
        assert_eq!(status_of(&tcp(&[], 5, 0)), Some(status::NONE));
        assert_eq!(status_of(&udp(&[])), Some(status::NONE));
    }

    #[test]
    fn a_tcp_header_that_cannot_be_right_is_dropped() {
        let rule = Rule::default();
        for data_offset in 0..5 {
            let mut sent = tcp(&[&READ], 5, 0);
            sent.octets[BEFORE + offset::DATA_OFFSET] = data_offset << 4;
            assert_eq!(verdict(&rule, &sent), Verdict::HotDrop);
        }
        let mut sent = tcp(&[], 5, 0);
        sent.octets[BEFORE + offset::DATA_OFFSET] = 6 << 4;
        assert_eq!(verdict(&rule, &sent), Verdict::HotDrop, "past the packet");
        sent.headers.end -= 1;
        assert_eq!(verdict(&rule, &sent), Verdict::HotDrop, "cut short");
        sent.headers.transport = u32::MAX - 3;
        assert_eq!(verdict(&rule, &sent), Verdict::HotDrop, "far away");
    }

    #[test]
    fn what_is_never_a_match() {
        let inverted = Rule {
            set: option::FC,
            invert: option::FC,
            classes: 1,
            ..Rule::default()
        };
        let mut sent = udp(&[&READ]);
        sent.headers.end = BEFORE as u32 + 7;
        assert_eq!(verdict(&inverted, &sent), Verdict::NoMatch, "UDP cut short");
        let mut sent = tcp(&[&READ], 5, 0);
        sent.headers.fragment = Fragment::Later;
        sent.octets[BEFORE + offset::DATA_OFFSET] = 0;
        assert_eq!(
            verdict(&inverted, &sent),
            Verdict::NoMatch,
            "a later fragment"
        );
        sent.headers.fragment = Fragment::Whole;
        sent.headers.protocol = 132;
        assert_eq!(verdict(&inverted, &sent), Verdict::NoMatch, "SCTP");
    }

    #[test]
    fn what_is_malformed_whatever_the_octets_are() {
        for payload in [&[][..], &[&READ[..]][..]] {
            let urgent = tcp(payload, 5, flag::URG);
            assert_eq!(status_of(&urgent), Some(status::MALFORMED));
            assert_eq!(verdict(&function(2, frames::ANY), &urgent), Verdict::Match);
            let mut first = tcp(payload, 5, 0);
            first.headers.fragment = Fragment::First;
            assert_eq!(status_of(&first), Some(status::MALFORMED));
            let mut udp = udp(payload);
            udp.octets[BEFORE + 5] ^= 1;
            assert_eq!(status_of(&udp), Some(status::MALFORMED));
        }
    }

    #[test]
    fn a_frame_cut_short_is_partial_on_tcp_alone() {
        for end in 1..RESTART.len() {
            let cut = &RESTART[..end];
            assert_eq!(status_of(&tcp(&[&READ, cut], 5, 0)), Some(status::PARTIAL));
            assert_eq!(status_of(&udp(&[&READ, cut])), Some(status::MALFORMED));
        }
    }

    #[test]
    fn a_second_frame_does_not_hide_behind_the_first() {
        let both = tcp(&[&READ, &RESTART], 5, 0);
        assert_eq!(verdict(&function(1, frames::ONLY), &both), Verdict::NoMatch);
        assert_eq!(
            verdict(&function(13, frames::ONLY), &both),
            Verdict::NoMatch
        );
        assert_eq!(verdict(&function(1, frames::ANY), &both), Verdict::Match);
        assert_eq!(verdict(&function(13, frames::ANY), &both), Verdict::Match);
        assert_eq!(verdict(&function(2, frames::ANY), &both), Verdict::NoMatch);
    }

    #[test]
    fn datagrams_in_one_packet_are_judged_one_by_one() {
        // A READ of 27 octets, then a restart of 15: a cut at 27 makes two datagrams, both valid.
        let mut sent = udp(&[&READ, &RESTART]);
        sent.headers.udp_segment = READ.len() as u16;
        assert_eq!(status_of(&sent), Some(status::VALID));
        assert_eq!(verdict(&Rule::default(), &sent), Verdict::Match);
        assert_eq!(verdict(&function(1, frames::ONLY), &sent), Verdict::NoMatch);
        assert_eq!(verdict(&function(13, frames::ANY), &sent), Verdict::Match);
        assert_eq!(verdict(&function(2, frames::ANY), &sent), Verdict::NoMatch);
        // Cut elsewhere, no datagram is whole.
        sent.headers.udp_segment = 26;
        assert_eq!(status_of(&sent), Some(status::MALFORMED));
        assert_eq!(verdict(&Rule::default(), &sent), Verdict::NoMatch);
        // A segment size larger than the payload is one datagram.
        sent.headers.udp_segment = 1000;
        assert_eq!(status_of(&sent), Some(status::VALID));
    }

    #[test]
    fn a_tracking_rule_matches_no_payload_of_an_unknown_stream() {
        for bit in 0..5 {
            let rule = Rule {
                set: option::STATUS | option::TRACK,
                status: 1 << bit,
                ..Rule::default()
            };
            for payload in [&READ[..], &[0], &READ[..12]] {
                assert_eq!(verdict(&rule, &tcp(&[payload], 5, 0)), Verdict::NoMatch);
            }
            // Where there is none, nothing needs to be known.
            let wanted = Verdict::of(rule.status == status::NONE);
            assert_eq!(verdict(&rule, &tcp(&[], 5, 0)), wanted);
            let wanted = Verdict::of(rule.status == status::MALFORMED);
            assert_eq!(verdict(&rule, &tcp(&[], 5, flag::URG)), wanted);
        }
    }

    /// A packet that does not lie in one piece, and counts the octets that are copied of it.
    struct Counting<'a> {
        octets: &'a [u8],
        copied: Cell<usize>,
    }

    impl Packet for Counting<'_> {
        fn len(&self) -> u32 {
            self.octets.len() as u32
        }
        fn linear(&self) -> &[u8] {
            &[]
        }
        fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
            self.copied.set(self.copied.get() + to.len());
            Octets(self.octets).copy(offset, to)
        }
    }

    #[test]
    fn what_is_decided_is_not_read_further() {
        const LINK: [u8; 10] = [0x05, 0x64, 0x05, 0xC9, 0x01, 0x00, 0x00, 0x04, 0xA6, 0x57];
        const DATAGRAM: usize = 8 + 40 * LINK.len();
        let valid = {
            let mut octets = [0u8; DATAGRAM];
            octets[4..6].copy_from_slice(&(DATAGRAM as u16).to_be_bytes());
            for place in octets[8..].chunks_mut(LINK.len()) {
                place.copy_from_slice(&LINK);
            }
            octets
        };
        let with = |at: usize, octet: u8| {
            let mut octets = valid;
            octets[at] = octet;
            octets
        };
        // A long frame.
        let long = {
            let mut octets = valid;
            octets[8..18].copy_from_slice(&LONG);
            for block in octets[18..].chunks_exact_mut(18) {
                let crc = Crc::new().over(&block[..16]).octets();
                block[16..].copy_from_slice(&crc);
            }
            octets
        };
        const LONG: [u8; 10] = [0x05, 0x64, 0xFF, 0xC4, 0x01, 0x00, 0x00, 0x04, 0x27, 0x27];
        let (wrong, length) = (with(8, 0), with(5, 0));
        let address = |address, frames| Rule {
            set: option::DADDR | option::FRAMES,
            daddr_count: 1,
            daddr: [Range {
                min: address,
                max: address,
            }; MAX_RANGES],
            frames,
            ..Rule::default()
        };
        let status = |status| Rule {
            set: option::STATUS,
            status,
            ..Rule::default()
        };
        let of_valid = |rule: Rule| Rule {
            set: rule.set | option::STATUS,
            status: status::VALID,
            ..rule
        };
        let (one, all) = (COPIED, DATAGRAM - 8);
        let (here, other) = (1, 2);
        use Verdict::{Match, NoMatch};
        for (octets, rule, verdict, read) in [
            // `only`: the first frame that is not P says it, by its addresses.
            (&valid, address(here, frames::ONLY), Match, all),
            (&valid, address(other, frames::ONLY), NoMatch, one),
            (&long, address(other, frames::ONLY), NoMatch, one),
            (&wrong, address(here, frames::ONLY), NoMatch, one),
            (&length, address(here, frames::ONLY), NoMatch, 0),
            // `any`: all of a valid packet, lest it is not; of a wrong one as far as a header that may be P.
            (&valid, address(here, frames::ANY), Match, all),
            (&wrong, address(here, frames::ANY), Match, one),
            (&wrong, address(other, frames::ANY), NoMatch, all),
            (&length, address(here, frames::ANY), Match, one),
            (&wrong, of_valid(address(here, frames::ANY)), NoMatch, one),
            (&length, of_valid(address(here, frames::ANY)), NoMatch, 0),
            // No question about frames.
            (&valid, status(status::VALID), Match, all),
            (&wrong, status(status::VALID), NoMatch, one),
            (&length, status(status::MALFORMED), Match, 0),
        ] {
            let packet = Counting {
                octets,
                copied: Cell::new(0),
            };
            let headers = Headers {
                end: DATAGRAM as u32,
                protocol: protocol::UDP,
                ..Headers::default()
            };
            let what = (&octets[..18], &rule);
            assert_eq!(judge(&rule, &packet, &headers), verdict, "{what:02X?}");
            assert_eq!(packet.copied.get(), 8 + read, "{what:02X?}");
        }
    }

    /// A packet that says it is longer than what it gives.
    struct Short;

    impl Packet for Short {
        fn len(&self) -> u32 {
            100
        }
        fn linear(&self) -> &[u8] {
            &[]
        }
        fn copy(&self, offset: u32, to: &mut [u8]) -> bool {
            let length = to.len();
            to.fill(0);
            if let Some(octet) = to.get_mut(5) {
                *octet = 100;
            }
            offset == 0 && length == 8
        }
    }

    #[test]
    fn what_cannot_be_read_is_malformed() {
        let headers = Headers {
            end: 100,
            protocol: protocol::UDP,
            ..Headers::default()
        };
        let rule = |set, status, frames| Rule {
            set,
            status,
            frames,
            ..Rule::default()
        };
        let verdict = |rule: &Rule| judge(rule, &Short, &headers);
        assert_eq!(verdict(&rule(0, 0, 0)), Verdict::NoMatch);
        assert_eq!(
            verdict(&rule(option::FRAMES, 0, frames::ANY)),
            Verdict::Match
        );
        assert_eq!(
            verdict(&rule(option::STATUS, status::MALFORMED, 0)),
            Verdict::Match
        );
    }
}
