// SPDX-License-Identifier: GPL-2.0

//! Holds `core`'s judge to the naive one on millions of generated packets, and to laws of the rule
//! language that need no second judge. Each test counts what its packets reached and fails where a
//! cell of the language was not reached, so that none of them can pass on nothing.

use dnp3_core::rule::{frames as reading, option};
use dnp3_core::{judge, Fragment, Headers, Octets, Rule, Verdict};
use dnp3_tests::generate::{self, Case, Chunk, Segment, Shape, Transport};
use dnp3_tests::naive::{self, Anatomy, Candidate, Class, Piece, Status};
use dnp3_tests::odd::Odd;
use proptest::prelude::*;
use proptest::sample::{select, Index};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestError, TestRunner};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Something that the packets of a test must reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    /// A rule with this option alone, under a reading, met a status and gave an answer.
    Frame {
        option: u16,
        inverted: bool,
        any: bool,
        status: Status,
        matched: bool,
    },
    /// A rule with `--status` and no frame test.
    Status {
        inverted: bool,
        status: Status,
        matched: bool,
    },
    /// A verdict, whatever the rule.
    Verdict(u8),
    /// A packet of some kind.
    Packet(&'static str),
}

#[derive(Default)]
struct Tally {
    cells: BTreeMap<Cell, u64>,
    packets: u64,
    judgements: u64,
}

impl Tally {
    fn count(&mut self, cell: Cell) {
        *self.cells.entry(cell).or_default() += 1;
    }

    /// Fails when a cell was reached less often than `least` times.
    fn require(&self, name: &str, least: u64, cells: impl IntoIterator<Item = Cell>) {
        println!(
            "{name}: {} packets, {} judgements",
            self.packets, self.judgements
        );
        for (cell, count) in &self.cells {
            println!("{count:>10}  {cell:?}");
        }
        let missed: Vec<Cell> = cells
            .into_iter()
            .filter(|cell| self.cells.get(cell).copied().unwrap_or(0) < least)
            .collect();
        assert!(
            missed.is_empty(),
            "{name}: reached less than {least} times: {missed:#?}"
        );
    }
}

const OPTIONS: [u16; 4] = [option::SADDR, option::DADDR, option::FC, option::DIR];

/// Every cell of the table of readings that exists for these statuses: under `only` nothing but
/// `valid` matches, under `any` all but `none` does.
fn table(statuses: &[Status]) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &status in statuses {
        for any in [false, true] {
            let can_match = match status {
                Status::None => false,
                Status::Valid => true,
                Status::Partial | Status::Malformed => any,
            };
            for matched in [false, true] {
                for option in OPTIONS {
                    for inverted in [false, true] {
                        if can_match || !matched {
                            cells.push(Cell::Frame {
                                option,
                                inverted,
                                any,
                                status,
                                matched,
                            });
                        }
                    }
                }
            }
        }
        for inverted in [false, true] {
            for matched in [false, true] {
                cells.push(Cell::Status {
                    inverted,
                    status,
                    matched,
                });
            }
        }
    }
    cells
}

fn runner(cases: u32) -> TestRunner {
    // More of the same, for a longer run: DNP3_TESTS_TIMES=20 cargo test --release
    let times = std::env::var("DNP3_TESTS_TIMES").ok().map_or(1, |times| {
        times.parse().expect("DNP3_TESTS_TIMES is a number")
    });
    TestRunner::new(Config {
        cases: cases * times,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/agree.regressions",
        ))),
        ..Config::default()
    })
}

fn run<S: Strategy>(
    cases: u32,
    strategy: &S,
    test: impl Fn(S::Value) -> Result<(), TestCaseError>,
) {
    match runner(cases).run(strategy, test) {
        Ok(()) => {}
        // The reason holds the packet and the rule; the case would fill screens.
        Err(TestError::Fail(reason, _)) => panic!("{reason}"),
        Err(error) => panic!("{error}"),
    }
}

/// What the real judge says of a packet in odd pieces; that it fetched no octet twice.
fn real(
    rule: &Rule,
    octets: &[u8],
    linear: usize,
    headers: &Headers,
) -> Result<Verdict, TestCaseError> {
    let odd = Odd::new(octets, linear);
    let verdict = judge(rule, &odd, headers);
    prop_assert_eq!(
        odd.fetched_twice(),
        None,
        "an octet was fetched twice; {} linear, {:?}, {:?}, {:02X?}",
        linear,
        rule,
        headers,
        octets
    );
    Ok(verdict)
}

/// Judges a packet by both judges, by each of the rules in both readings.
fn compare(
    rules: &[Rule],
    octets: &[u8],
    linear: usize,
    headers: &Headers,
    tally: &mut Tally,
) -> Result<(), TestCaseError> {
    let anatomy = naive::take_apart(&Octets(octets), headers);
    tally.packets += 1;
    for kind in kinds(&anatomy, octets, linear, headers) {
        tally.count(Cell::Packet(kind));
    }
    for rule in rules {
        let mut verdicts = [Verdict::NoMatch; 2];
        for any in [false, true] {
            let read = generate::with_reading(rule, any);
            verdicts[usize::from(any)] = agreed(&read, &anatomy, octets, linear, headers, tally)?;
        }
        // The law of the two readings: what is surely P may be P.
        prop_assert!(
            verdicts[0] != Verdict::Match || verdicts[1] == Verdict::Match,
            "`only` matches and `any` does not: {:?} {:?} {:02X?}",
            rule,
            headers,
            octets
        );
        agreed(rule, &anatomy, octets, linear, headers, tally)?;
    }
    Ok(())
}

fn agreed(
    rule: &Rule,
    anatomy: &Anatomy,
    octets: &[u8],
    linear: usize,
    headers: &Headers,
    tally: &mut Tally,
) -> Result<Verdict, TestCaseError> {
    let naive = naive::judge_apart(rule, anatomy);
    let real = real(rule, octets, linear, headers)?;
    prop_assert_eq!(
        real,
        naive,
        "real (left) and naive (right) differ; {} linear, {:?}, {:?}, {:02X?}, {:?}",
        linear,
        rule,
        headers,
        octets,
        anatomy
    );
    tally.judgements += 1;
    tally.count(Cell::Verdict(match naive {
        Verdict::NoMatch => 0,
        Verdict::Match => 1,
        Verdict::HotDrop => 2,
    }));
    if let Anatomy::Pieces(pieces) = anatomy {
        if let [piece] = &pieces[..] {
            count_rule(rule, piece, naive == Verdict::Match, tally);
        }
    }
    Ok(naive)
}

fn count_rule(rule: &Rule, piece: &Piece, matched: bool, tally: &mut Tally) {
    let frame = rule.set & !option::FRAMES;
    if OPTIONS.contains(&frame) {
        tally.count(Cell::Frame {
            option: frame,
            inverted: rule.invert & frame != 0,
            any: rule.frames == reading::ANY,
            status: piece.status,
            matched,
        });
    } else if rule.set == option::STATUS {
        tally.count(Cell::Status {
            inverted: rule.invert & option::STATUS != 0,
            status: piece.status,
            matched,
        });
    }
}

/// Kinds that a packet is of, for the count.
fn kinds(anatomy: &Anatomy, octets: &[u8], linear: usize, headers: &Headers) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    let mut say = |holds: bool, kind: &'static str| {
        if holds {
            kinds.push(kind);
        }
    };
    let (transport, end) = (headers.transport as usize, headers.end as usize);
    say(linear >= octets.len(), "all linear");
    say(linear == 0, "nothing linear");
    say(
        linear < transport,
        "linear part ends before the transport header",
    );
    say(
        linear > transport + 20 && linear < end,
        "linear part ends in the payload",
    );
    say(octets.len() > end, "padding behind the end");
    say(octets.len() < end, "the end lies beyond the packet");
    say(
        transport > octets.len(),
        "the transport header lies beyond the packet",
    );
    match anatomy {
        Anatomy::Never => say(true, "never a match"),
        Anatomy::HotDrop => say(true, "hot drop"),
        Anatomy::Pieces(pieces) => {
            for piece in pieces {
                kinds_of_piece(piece, &mut say);
            }
            let statuses: Vec<Status> = pieces.iter().map(|piece| piece.status).collect();
            let some = |status| statuses.contains(&status);
            let size = |at: usize| pieces[at].payload.len();
            say(pieces.len() > 1, "several datagrams");
            say(
                pieces.len() > 1 && size(pieces.len() - 1) < size(0),
                "several datagrams, the last of them shorter",
            );
            say(
                pieces.len() > 1 && statuses.iter().all(|&status| status == Status::Valid),
                "several datagrams, all valid",
            );
            say(
                some(Status::Valid) && some(Status::Malformed),
                "several datagrams, valid and malformed ones",
            );
            let first = headers.fragment == Fragment::First;
            say(first && size(0) > 0, "first fragment");
            say(first && size(0) == 0, "first fragment without payload");
            say(pieces[0].urgent && size(0) > 0, "URG");
            say(pieces[0].urgent && size(0) == 0, "URG without payload");
        }
    }
    kinds
}

fn kinds_of_piece(piece: &Piece, say: &mut impl FnMut(bool, &'static str)) {
    let cut = naive::cut(&piece.payload).0;
    let candidates = naive::candidates(&piece.payload);
    let valid = piece.status == Status::Valid;
    say(valid && cut.len() > 1, "valid: several frames");
    say(
        valid && cut.iter().any(|frame| frame.len() == 292),
        "valid: the longest frame",
    );
    say(
        valid && candidates.len() > cut.len(),
        "valid: a frame inside a frame",
    );
    say(
        valid && cut.iter().any(|frame| frame[4..6] >= [0xFC, 0xFF][..]),
        "valid: broadcast",
    );
    if piece.status == Status::Partial {
        say(!cut.is_empty(), "partial: behind frames");
        let seen = piece.payload.len() - cut.iter().map(Vec::len).sum::<usize>();
        say(seen < 10, "partial: inside a header");
        say(seen >= 10, "partial: inside user data");
    }
    if piece.status != Status::Malformed || piece.urgent {
        return;
    }
    say(!cut.is_empty(), "malformed: behind frames");
    say(candidates.is_empty(), "malformed: no header");
    let neighbours = candidates.windows(2);
    say(
        neighbours
            .into_iter()
            .any(|two| two[1].offset < two[0].offset + 10),
        "malformed: headers that share octets",
    );
    for candidate in &candidates {
        say(true, kind_of_candidate(candidate, piece.payload.len()));
    }
}

fn kind_of_candidate(candidate: &Candidate, len: usize) -> &'static str {
    match len - candidate.offset {
        1 => return "header: lone 05",
        2 => return "header: lone 05 64",
        3 => return "header: LEN is the last that is seen",
        4 => return "header: control octet is the last that is seen",
        5 => return "header: half a destination is seen",
        6 => return "header: destination is the last that is seen",
        7 => return "header: half a source is seen",
        8 => return "header: source is the last that is seen",
        9 => return "header: half a CRC is seen",
        _ => {}
    }
    let user_data = naive::is_user_data(candidate.control.unwrap_or(0));
    match (candidate.classes(), candidate.len) {
        (Some(classes), Some(5)) => {
            assert_eq!(classes, [Class::Link]);
            if user_data {
                "header: LEN 5, control octet of user data"
            } else {
                "header: LEN 5"
            }
        }
        (Some(classes), _) => match (classes[0], user_data) {
            (Class::Function(_), true) => "header: function code",
            (Class::Function(_), false) => "header: function code or link",
            (Class::Cont, true) => "header: cont",
            (Class::Cont, false) => "header: cont or link",
            (Class::Link, _) => unreachable!("link alone is LEN 5"),
        },
        (None, Some(6 | 7)) if candidate.transport.is_some() => "header: FIR, LEN 6 or 7",
        (None, _) if candidate.transport.is_some() => "header: function code not seen",
        (None, _) => "header: transport octet not seen",
    }
}

const HEADERS: [&str; 18] = [
    "header: lone 05",
    "header: lone 05 64",
    "header: LEN is the last that is seen",
    "header: control octet is the last that is seen",
    "header: half a destination is seen",
    "header: destination is the last that is seen",
    "header: half a source is seen",
    "header: source is the last that is seen",
    "header: half a CRC is seen",
    "header: LEN 5",
    "header: LEN 5, control octet of user data",
    "header: function code",
    "header: function code or link",
    "header: cont",
    "header: cont or link",
    "header: FIR, LEN 6 or 7",
    "header: function code not seen",
    "header: transport octet not seen",
];

const SHAPES: [&str; 17] = [
    "all linear",
    "nothing linear",
    "linear part ends before the transport header",
    "linear part ends in the payload",
    "padding behind the end",
    "the end lies beyond the packet",
    "the transport header lies beyond the packet",
    "never a match",
    "valid: several frames",
    "valid: the longest frame",
    "valid: a frame inside a frame",
    "valid: broadcast",
    "malformed: behind frames",
    "malformed: no header",
    "malformed: headers that share octets",
    "first fragment",
    "first fragment without payload",
];

const TCP_ONLY: [&str; 6] = [
    "hot drop",
    "URG",
    "URG without payload",
    "partial: behind frames",
    "partial: inside a header",
    "partial: inside user data",
];

const UDP_ONLY: [&str; 4] = [
    "several datagrams",
    "several datagrams, the last of them shorter",
    "several datagrams, all valid",
    "several datagrams, valid and malformed ones",
];

/// Judges every packet that a case makes.
fn packets_of(case: &Case, tally: &mut Tally) -> Result<(), TestCaseError> {
    let protocol = match case.shape.transport {
        Transport::Udp { .. } => 17,
        _ => 6,
    };
    for rule in &case.rules {
        prop_assert_eq!(rule.check(protocol, false), Ok(()), "{:?}", rule);
    }
    let payload = case.payload();
    for (turn, len) in case.lengths(payload.len()).into_iter().enumerate() {
        let (octets, headers) = case.shape.packet(&payload[..len]);
        // The whole packet in its turn, then cut at the places of the case.
        let linear = match turn % (case.linear.len() + 2) {
            0 => octets.len(),
            1 => 0,
            place => case.linear[place - 2].index(octets.len() + 1),
        };
        compare(&case.rules, &octets, linear, &headers, tally)?;
    }
    Ok(())
}

fn agreement(name: &str, cases: u32, strategy: &impl Strategy<Value = Case>, cells: Vec<Cell>) {
    let tally = RefCell::new(Tally::default());
    run(cases, strategy, |case| {
        packets_of(&case, &mut tally.borrow_mut())
    });
    tally.borrow().require(name, 20, cells);
}

#[test]
fn both_judges_agree_on_tcp() {
    let mut cells = table(&[
        Status::None,
        Status::Valid,
        Status::Partial,
        Status::Malformed,
    ]);
    cells.extend((0..3).map(Cell::Verdict));
    cells.extend(HEADERS.map(Cell::Packet));
    cells.extend(SHAPES.map(Cell::Packet));
    cells.extend(TCP_ONLY.map(Cell::Packet));
    agreement("tcp", 80_000, &generate::case(generate::tcp()), cells);
}

#[test]
fn both_judges_agree_on_udp() {
    let mut cells = table(&[Status::None, Status::Valid, Status::Malformed]);
    cells.extend((0..2).map(Cell::Verdict));
    cells.extend(HEADERS.map(Cell::Packet));
    cells.extend(SHAPES.map(Cell::Packet));
    cells.extend(UDP_ONLY.map(Cell::Packet));
    agreement("udp", 80_000, &generate::case(generate::udp()), cells);
}

#[test]
fn other_protocols_never_match() {
    let other = (0u8..=255)
        .prop_filter("another protocol", |protocol| !matches!(protocol, 6 | 17))
        .prop_map(Transport::Other);
    let strategy = generate::case(other);
    let tally = RefCell::new(Tally::default());
    run(500, &strategy, |case| {
        packets_of(&case, &mut tally.borrow_mut())
    });
    let tally = tally.into_inner();
    assert_eq!(
        tally.cells.get(&Cell::Packet("never a match")),
        Some(&tally.packets)
    );
    tally.require("other", 1, [Cell::Verdict(0)]);
}

/// Many headers, one after another, that most rules contradict.
#[derive(Clone, Debug)]
struct Crowd {
    /// How many, in each datagram.
    counts: Vec<usize>,
    header: Chunk,
    tail: Vec<u8>,
    tcp: bool,
}

fn crowd() -> impl Strategy<Value = Crowd> {
    let near = || prop_oneof![3 => 1021usize..1028, 1 => 1usize..20];
    (
        proptest::collection::vec(near(), 1..4),
        select(&[(5u8, 0xC9u8), (5, 0xC4), (20, 0xC4), (200, 0x00)][..]),
        select(&generate::ADDRESSES[..]),
        select(&generate::ADDRESSES[..]),
        generate::junk(0..14),
        any::<bool>(),
    )
        .prop_map(
            |(counts, (len, control), destination, source, tail, tcp)| Crowd {
                counts,
                header: Chunk::Header {
                    len,
                    control,
                    destination,
                    source,
                },
                tail,
                tcp,
            },
        )
}

#[test]
fn both_judges_agree_on_thousands_of_headers() {
    let strategy = (
        crowd(),
        any::<Index>(),
        proptest::collection::vec(generate::rule(), 4),
    );
    let tally = RefCell::new(Tally::default());
    run(1200, &strategy, |(crowd, linear, rules)| {
        let mut tally = tally.borrow_mut();
        let header = crowd.header.octets(None);
        // A datagram is as long as the first, which has the tail behind it; so have the others,
        // with zeros for the headers that they lack.
        let longest = crowd.counts[0] * header.len() + crowd.tail.len();
        let mut payload = Vec::new();
        for &count in &crowd.counts {
            let mut datagram = header.repeat(count.min(crowd.counts[0]));
            datagram.resize(longest - crowd.tail.len(), 0);
            datagram.extend(&crowd.tail);
            payload.extend(datagram);
        }
        let transport = if crowd.tcp {
            Transport::Tcp {
                options: 0,
                data_offset: None,
                flags: 0x18,
            }
        } else {
            Transport::Udp {
                length_error: 0,
                segment: Segment::Octets(longest as u16),
            }
        };
        let (octets, headers) = Shape::plain(transport).packet(&payload);
        let linear = linear.index(octets.len() + 1);
        if let Anatomy::Pieces(pieces) = naive::take_apart(&Octets(&octets), &headers) {
            for rule in &rules {
                count_limit(&generate::with_reading(rule, true), &pieces, &mut tally);
            }
        }
        compare(&rules, &octets, linear, &headers, &mut tally)
    });
    tally.borrow().require(
        "thousands of headers",
        20,
        [LIMIT_REACHED, LIMIT_NOT_REACHED, LIMIT_BY_DATAGRAM].map(Cell::Packet),
    );
}

const LIMIT_REACHED: &str = "more headers than the limit, and all of them contradict the rule";
const LIMIT_NOT_REACHED: &str = "as many headers as the limit, and all of them contradict the rule";
const LIMIT_BY_DATAGRAM: &str = "more headers than the limit, but in no datagram of several";

fn count_limit(rule: &Rule, pieces: &[Piece], tally: &mut Tally) {
    let mut counts = Vec::new();
    for piece in pieces {
        let candidates = naive::candidates(&piece.payload);
        if candidates
            .iter()
            .any(|seen| naive::not_contradicted(rule, seen))
        {
            return;
        }
        counts.push(candidates.len());
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    if most > naive::MAX_HEADERS {
        tally.count(Cell::Packet(LIMIT_REACHED));
    } else if most == naive::MAX_HEADERS {
        tally.count(Cell::Packet(LIMIT_NOT_REACHED));
    }
    if most <= naive::MAX_HEADERS && counts.iter().sum::<usize>() > naive::MAX_HEADERS {
        tally.count(Cell::Packet(LIMIT_BY_DATAGRAM));
    }
}

#[test]
fn both_judges_agree_on_packets_past_64_kib() {
    let many = proptest::collection::vec(generate::valid_frame(), 500..600);
    let behind = proptest::option::of(generate::chunk());
    let strategy = (
        many,
        behind,
        proptest::option::of(any::<Index>()),
        any::<Index>(),
        proptest::collection::vec(generate::rule(), 3),
    );
    let tally = RefCell::new(Tally::default());
    run(120, &strategy, |(frames, behind, wrong, linear, rules)| {
        let mut payload: Vec<u8> = frames.iter().flat_map(|frame| frame.octets(None)).collect();
        let once = payload.clone();
        while payload.len() <= 1 << 16 {
            payload.extend(&once);
        }
        payload.extend(behind.map_or(Vec::new(), |chunk| chunk.octets(None)));
        if let Some(wrong) = wrong {
            let at = wrong.index(payload.len());
            payload[at] ^= 0x20;
        }
        let shape = Shape::plain(Transport::Tcp {
            options: 3,
            data_offset: None,
            flags: 0x18,
        });
        let (octets, headers) = shape.packet(&payload);
        let linear = linear.index(octets.len() + 1);
        compare(&rules, &octets, linear, &headers, &mut tally.borrow_mut())
    });
    let packet = "valid: several frames";
    tally
        .borrow()
        .require("past 64 KiB", 10, [Cell::Packet(packet)]);
}
