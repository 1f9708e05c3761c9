// SPDX-License-Identifier: GPL-2.0

//! The rule language on random rules and on random ways to write them: what is written is what is meant,
//! what is saved is restored to the same octets, and what is refused as never matching is exactly what
//! never matches.

use dnp3_core::frame::{Class, Seen};
use dnp3_core::link::Control;
use dnp3_core::rule::{frames, protocol, Range, MAX_RANGES};
use dnp3_core::segment::flag;
use dnp3_core::text::{list, names, parse, save, Builder, Error, Never, Opt};
use dnp3_core::track::{self, Commit, Connection, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{judge, Headers, Octets, Rule, Verdict};
use dnp3_tests::frames::frame;
use dnp3_tests::generate::{rule, tcp_rule};
use proptest::prelude::*;

/// An address, often one at which something changes.
fn address() -> impl Strategy<Value = u16> {
    prop_oneof![
        0..20u16,
        any::<u16>(),
        prop::sample::select(vec![0, 1, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF]),
    ]
}

fn protocol() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![protocol::TCP, protocol::UDP])
}

fn read(text: &str, protocol: u8) -> Result<Rule, Error<'_>> {
    parse(text.split_ascii_whitespace(), protocol)
}

/// A rule in the form that the kernel takes, and its protocol.
fn formed() -> impl Strategy<Value = (Rule, u8)> {
    prop_oneof![
        (tcp_rule(), Just(protocol::TCP)),
        (rule(), Just(protocol::UDP)),
    ]
}

/// One that something can match.
fn valid() -> impl Strategy<Value = (Rule, u8)> {
    formed().prop_filter("it can never match", |(rule, protocol)| {
        Builder::resume(*rule).finish(*protocol, false).is_ok()
    })
}

/// A name as people write it: some letters large, some `_` as `-`.
fn spelled(name: &str, letters: u64) -> String {
    let spell = |(at, letter): (usize, char)| match letter {
        _ if letters >> at & 1 == 0 => letter,
        '_' => '-',
        letter => letter.to_ascii_uppercase(),
    };
    name.chars().enumerate().map(spell).collect()
}

fn number(number: u16, letters: u64) -> String {
    match letters % 3 {
        0 => format!("{number:#x}"),
        1 => format!("0x{number:X}"),
        _ => number.to_string(),
    }
}

fn range(min: u16, max: u16, letters: u64) -> String {
    if min == max && letters & 64 == 0 {
        return number(min, letters);
    }
    format!("{}:{}", number(min, letters), number(max, letters >> 8))
}

/// An item of `ADDRS`, and the addresses that it means.
fn address_item() -> impl Strategy<Value = (String, (u16, u16))> {
    let ranges = (address(), address(), any::<u64>()).prop_map(|(a, b, letters)| {
        let (min, max) = (a.min(b), a.max(b));
        let text = match (min, max) {
            (0, max) if letters & 32 != 0 => format!(":{}", number(max, letters)),
            (min, u16::MAX) if letters & 32 != 0 => format!("{}:", number(min, letters)),
            _ => range(min, max, letters),
        };
        (text, (min, max))
    });
    let named = (prop::sample::select(&names::ADDRESSES[..]), any::<u64>())
        .prop_map(|((name, min, max), letters)| (spelled(name, letters), (min, max)));
    let one = (address(), any::<u64>())
        .prop_map(|(address, letters)| (number(address, letters), (address, address)));
    prop_oneof![3 => one, 2 => ranges, 1 => named]
}

/// A list of `ADDRS`, and its ranges.
fn address_list() -> impl Strategy<Value = (String, Vec<Range>)> {
    let items = prop::collection::vec(address_item(), 1..12);
    items.prop_filter_map("too many ranges", |items| {
        let (texts, mut sorted): (Vec<String>, Vec<(u16, u16)>) = items.into_iter().unzip();
        sorted.sort_unstable();
        let union = union(&sorted);
        let ranges = union.iter().map(|&(min, max)| Range { min, max });
        (union.len() <= MAX_RANGES).then(|| (texts.join(","), ranges.collect()))
    })
}

/// What ascending ranges are together, in as few as can be.
fn union(sorted: &[(u16, u16)]) -> Vec<(u16, u16)> {
    let mut union: Vec<(u16, u16)> = Vec::new();
    for &(min, max) in sorted {
        match union.last_mut() {
            Some(last) if u32::from(min) <= u32::from(last.1) + 1 => last.1 = last.1.max(max),
            _ => union.push((min, max)),
        }
    }
    union
}

/// An item of `FUNCTIONS`, the codes that it means, and the classes.
fn function_item() -> impl Strategy<Value = (String, Vec<(u8, u8)>, u8)> {
    let codes = (any::<u8>(), any::<u8>(), any::<u64>()).prop_map(|(a, b, letters)| {
        // Most often one code.
        let b = if letters & 128 == 0 { a } else { b };
        let (min, max) = (a.min(b), a.max(b));
        (range(min.into(), max.into(), letters), vec![(min, max)], 0)
    });
    let functions = (prop::sample::select(&names::FUNCTIONS[..]), any::<u64>());
    let functions = functions.prop_map(|(named, letters)| {
        let codes = vec![(named.value, named.value)];
        (spelled(named.name, letters), codes, 0)
    });
    let groups = (prop::sample::select(&names::GROUPS[..]), any::<u64>())
        .prop_map(|(group, letters)| (spelled(group.name, letters), group.ranges.to_vec(), 0));
    let classes = (prop::sample::select(&names::CLASSES[..]), any::<u64>())
        .prop_map(|(named, letters)| (spelled(named.name, letters), vec![], named.value));
    prop_oneof![2 => codes, 3 => functions, 1 => groups, 1 => classes]
}

/// One name of a table, and its value.
fn choice(table: &'static [names::Named]) -> impl Strategy<Value = (String, u8)> {
    (prop::sample::select(table), any::<u64>())
        .prop_map(|(named, letters)| (spelled(named.name, letters), named.value))
}

/// An option that was written: its value, and what it makes of the rule.
type Written = (Opt, String, Rule);

fn written_option() -> impl Strategy<Value = Written> {
    let addresses = (any::<bool>(), address_list()).prop_map(|(is_source, (text, ranges))| {
        let mut list = [Range::default(); MAX_RANGES];
        list[..ranges.len()].copy_from_slice(&ranges);
        let mut rule = Rule::default();
        let count = ranges.len() as u8;
        if is_source {
            (rule.saddr, rule.saddr_count) = (list, count);
            (Opt::Source, text, rule)
        } else {
            (rule.daddr, rule.daddr_count) = (list, count);
            (Opt::Destination, text, rule)
        }
    });
    let functions = prop::collection::vec(function_item(), 1..8).prop_map(|items| {
        let mut rule = Rule::default();
        let mut texts = Vec::new();
        for (text, codes, classes) in items {
            texts.push(text);
            rule.classes |= classes;
            for code in codes.into_iter().flat_map(|(min, max)| min..=max) {
                rule.fc[usize::from(code / 32)] |= 1 << (code % 32);
            }
        }
        (Opt::Function, texts.join(","), rule)
    });
    let statuses = prop::collection::vec(choice(&names::STATUSES), 1..6).prop_map(|items| {
        let mut rule = Rule::default();
        let (texts, bits): (Vec<String>, Vec<u8>) = items.into_iter().unzip();
        rule.status = bits.into_iter().fold(0, |set, bit| set | bit);
        (Opt::Status, texts.join(","), rule)
    });
    let direction = choice(&names::DIRECTIONS).prop_map(|(text, dir)| {
        let rule = Rule {
            dir,
            ..Rule::default()
        };
        (Opt::Direction, text, rule)
    });
    let reading = choice(&names::FRAMES).prop_map(|(text, frames)| {
        let rule = Rule {
            frames,
            ..Rule::default()
        };
        (Opt::Frames, text, rule)
    });
    let track = Just((Opt::Track, String::new(), Rule::default()));
    prop_oneof![
        3 => addresses, 2 => functions, 1 => statuses, 1 => direction, 1 => reading, 1 => track
    ]
}

/// Options in any order and form, none of them twice, and the rule that they mean, put together without the
/// parser.
fn written() -> impl Strategy<Value = (Vec<String>, Rule, u8)> {
    let options = prop::collection::vec((written_option(), any::<u8>()), 0..8);
    (options, protocol()).prop_map(|(options, protocol)| {
        let mut rule = Rule::default();
        let mut words = Vec::new();
        for ((opt, value, part), form) in options {
            if rule.set & opt.bit() != 0 {
                continue;
            }
            rule.set |= opt.bit();
            if form & 1 != 0 && opt.is_invertible() {
                rule.invert |= opt.bit();
                words.push("!".to_string());
            }
            let name = match opt.alias() {
                Some(alias) if form & 2 != 0 => alias,
                _ => opt.name(),
            };
            if opt.value().is_none() {
                words.push(format!("--{name}"));
            } else if form & 4 != 0 {
                words.push(format!("--{name}={value}"));
            } else {
                words.extend([format!("--{name}"), value]);
            }
            match opt {
                Opt::Source => (rule.saddr, rule.saddr_count) = (part.saddr, part.saddr_count),
                Opt::Destination => (rule.daddr, rule.daddr_count) = (part.daddr, part.daddr_count),
                Opt::Function => (rule.fc, rule.classes) = (part.fc, part.classes),
                Opt::Status => rule.status = part.status,
                Opt::Direction => rule.dir = part.dir,
                Opt::Frames => rule.frames = part.frames,
                Opt::Track => {}
            }
        }
        (words, rule, protocol)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        // Cases that can never match are not counted.
        max_local_rejects: 1_000_000,
        ..ProptestConfig::with_cases(100_000)
    })]

    /// The generated rules are what the kernel takes, else the other properties say little.
    #[test]
    fn rules_are_well_formed((rule, protocol) in formed()) {
        prop_assert_eq!(rule.check(protocol, false), Ok(()));
    }

    /// Parsed, saved, and parsed again: the same octets and the same text.
    #[test]
    fn saved_is_restored((rule, protocol) in valid()) {
        let text = save(&rule).to_string();
        let restored = read(&text, protocol);
        prop_assert_eq!(restored, Ok(rule), "{}", text);
        prop_assert_eq!(restored.map(|rule| save(&rule).to_string()), Ok(text.clone()));
    }

    /// However a rule is written, it is what is meant; and that saved is the same rule again.
    #[test]
    fn written_is_meant((words, rule, protocol) in written()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let meant = Builder::resume(rule).finish(protocol, false);
        prop_assert_eq!(parse(words.iter().copied(), protocol), meant, "{:?}", words);
        if meant.is_ok() {
            let text = save(&rule).to_string();
            prop_assert_eq!(read(&text, protocol), Ok(rule), "{:?}: {}", words, text);
        }
    }

    /// What can never match is refused, however it came about, for the same reason.
    #[test]
    fn refused_is_refused_again(rule in tcp_rule(), protocol in protocol()) {
        if let Err(refused) = Builder::resume(rule).finish(protocol, false) {
            if rule.check(protocol, false).is_ok() {
                prop_assert!(matches!(refused, Error::Never(_)));
            } else {
                prop_assert_eq!(refused, Error::TrackNeedsTcp);
            }
            let text = save(&rule).to_string();
            prop_assert_eq!(read(&text, protocol), Err(refused), "{}", text);
        }
    }

    /// The listing says all that the saved form says: made into options, it is the same rule,
    /// with names or without.
    #[test]
    fn listed_is_the_same_rule(rule in tcp_rule(), numeric in prop::bool::ANY) {
        let listed = list(&rule, numeric).to_string();
        let mut builder = Builder::new();
        let mut words = listed.split_ascii_whitespace();
        prop_assert_eq!(words.next(), Some("dnp3"));
        let mut inverted = false;
        while let Some(word) = words.next() {
            if word == "!" {
                inverted = true;
                continue;
            }
            let opt = Opt::from_name(word);
            let opt = opt.ok_or_else(|| TestCaseError::fail(listed.clone()))?;
            let value = opt.value().and_then(|_| words.next());
            prop_assert_eq!(builder.option(opt, inverted, value), Ok(()), "{}", listed);
            inverted = false;
        }
        prop_assert_eq!(*builder.rule(), rule, "{}", listed);
    }

    /// Lists of any items in any order are the union of the items, its ranges as few as can be.
    #[test]
    fn lists_are_unions(items in prop::collection::vec((address(), address()), 1..40)) {
        let mut text = String::new();
        let mut sorted = Vec::new();
        for (a, b) in items {
            let (min, max) = (a.min(b), a.max(b));
            sorted.push((min, max));
            let item = match (min, max) {
                (0, max) if max % 2 == 0 => format!(":{max}"),
                (min, u16::MAX) => format!("{min}:"),
                (min, max) if min == max => format!("{min:#x}"),
                (min, max) => format!("{min}:{max}"),
            };
            text += if text.is_empty() { "" } else { "," };
            text += &item;
        }
        sorted.sort_unstable();
        let union = union(&sorted);
        match parse(["--saddr", &text], protocol::TCP) {
            Ok(rule) => {
                let used = &rule.saddr[..usize::from(rule.saddr_count)];
                let used: Vec<_> = used.iter().map(|range| (range.min, range.max)).collect();
                prop_assert_eq!(used, union, "{}", text);
            }
            Err(error) => {
                let count = format!(" has {} ranges after merging; 8 are allowed", union.len());
                prop_assert!(union.len() > MAX_RANGES);
                prop_assert!(error.to_string().ends_with(&count), "{}", error);
            }
        }
    }

    /// No words at all make the parser panic or loop, and its errors are one line.
    #[test]
    fn any_words(words in prop::collection::vec(
        prop_oneof![
            "--(frames|saddr|daddr|fc|status|dir|track|source-addr|function-code)",
            Just("!".to_string()),
            "[0-9a-fx:,!_ -]{0,12}",
            "(read|link|cont|self|valid|none|ahead|any|only|master|restart)(,[0-9a-z:]{0,6}){0,3}",
            ".{0,8}",
        ],
        0..10,
    ), protocol in any::<u8>()) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match parse(words, protocol) {
            Ok(rule) => prop_assert_eq!(rule.check(protocol, false), Ok(())),
            Err(error) => {
                let line = error.to_string();
                prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            }
        }
    }
}

/// The addresses at which a list's answer changes, and the shared ones.
fn borders(ranges: &[Range]) -> Vec<u16> {
    let mut borders = vec![0, 0xFFFB, 0xFFFC, 0xFFFF];
    for range in ranges {
        borders.extend([
            range.min,
            range.min.wrapping_sub(1),
            range.max,
            range.max.wrapping_add(1),
        ]);
    }
    borders
}

/// A packet, from its transport header on.
struct Sent {
    octets: Vec<u8>,
    headers: Headers,
}

impl Sent {
    fn new(protocol: u8, header: Vec<u8>, payload: &[u8]) -> Sent {
        let octets = [&header[..], payload].concat();
        let headers = Headers {
            end: octets.len() as u32,
            protocol,
            ..Headers::default()
        };
        Sent { octets, headers }
    }

    fn tcp(sequence: u32, acknowledgement: u32, flags: u8, payload: &[u8]) -> Sent {
        let mut header = vec![0; 20];
        header[4..8].copy_from_slice(&sequence.to_be_bytes());
        header[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        header[12] = 5 << 4;
        header[13] = flags;
        Sent::new(protocol::TCP, header, payload)
    }

    fn udp(payload: &[u8]) -> Sent {
        let mut header = vec![0; 8];
        header[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
        Sent::new(protocol::UDP, header, payload)
    }
}

/// A connection of which the handshake has passed, and how it judges its first octets.
struct Followed {
    connection: Connection,
    scratch: Scratch,
}

impl Followed {
    const FIRST: u32 = 1000;

    fn new() -> Followed {
        let syn = Sent::tcp(Self::FIRST - 1, 0, flag::SYN, &[]);
        let answer = Sent::tcp(77, Self::FIRST, flag::SYN | flag::ACK, &[]);
        let mut connection = Connection::begin(1, &Octets(&syn.octets), &syn.headers, 0)
            .expect("a SYN begins a connection");
        let mut scratch = Scratch::new();
        let passing = Passing {
            direction: Direction::Reply,
            headers: &answer.headers,
            now: 0,
            came_in: Some(0),
            goes_out: 0,
        };
        let packet = Octets(&answer.octets);
        let commit =
            connection.commit(&packet, &passing, &mut [], &Limits::default(), &mut scratch);
        assert_eq!(commit, Commit::Followed);
        Followed {
            connection,
            scratch,
        }
    }

    fn judge(&mut self, rule: &Rule, sent: &Sent) -> Verdict {
        let mut tracked = Tracked {
            connection: &self.connection,
            direction: Direction::Original,
            memory: &[],
            scratch: &mut self.scratch,
            now: 0,
            limits: Limits::default(),
        };
        track::judge(rule, &Octets(&sent.octets), &sent.headers, &mut tracked)
            .expect("the connection is followed")
    }
}

/// Whether one of these packets with one frame, or without any, matches the rule: with each
/// address, class, direction and status that can make a difference; and where the rule tracks, on a
/// connection that is followed.
fn some_packet_matches(rule: &Rule, protocol: u8) -> bool {
    let reading = rule.reading();
    // P is an AND of what is asked of each field, so that each can be chosen by itself.
    let pick = |seen: Vec<Seen>| seen.into_iter().find(|seen| rule.admits(seen, reading));
    let source = pick(Vec::from_iter(borders(&rule.saddr).into_iter().map(
        |source| Seen {
            source: Some(source),
            ..Seen::default()
        },
    )));
    let destination = pick(Vec::from_iter(borders(&rule.daddr).into_iter().map(
        |address| Seen {
            destination: Some(address),
            ..Seen::default()
        },
    )));
    let classes = (0..=255)
        .map(Class::Function)
        .chain([Class::Continuation, Class::Link]);
    let class = pick(Vec::from_iter(classes.map(|class| Seen {
        class: Some(class),
        ..Seen::default()
    })));
    let control = pick(Vec::from([0x80, 0x00].map(|control| Seen {
        control: Some(Control(control)),
        ..Seen::default()
    })));
    // Where P has no solution, any frame is as good as another.
    let dir = control
        .and_then(|seen| seen.control)
        .map_or(0, |control| control.0);
    let (control, user) = match class.and_then(|seen| seen.class) {
        Some(Class::Link) => (dir | 0x49, vec![]),
        Some(Class::Continuation) => (dir | 0x44, vec![0x80, 0xC0, 1]),
        Some(Class::Function(code)) => (dir | 0x44, vec![0xC0, 0xC0, code]),
        None => (dir | 0x44, vec![0xC0, 0xC0, 1]),
    };
    let valid = frame(
        control,
        destination.and_then(|seen| seen.destination).unwrap_or(1),
        source.and_then(|seen| seen.source).unwrap_or(1),
        &user,
    );
    let cut = valid[..valid.len() - 1].to_vec();
    let malformed = [&[0xAA][..], &valid].concat();
    let mut followed = Followed::new();
    [vec![], valid, cut, malformed].iter().any(|payload| {
        let sent = |sequence| match protocol {
            protocol::TCP => Sent::tcp(sequence, 78, flag::ACK, payload),
            _ => Sent::udp(payload),
        };
        if !rule.tracks() {
            let sent = sent(Followed::FIRST);
            return judge(rule, &Octets(&sent.octets), &sent.headers) == Verdict::Match;
        }
        // The second is ahead, where it has a payload.
        [Followed::FIRST, Followed::FIRST + 1]
            .into_iter()
            .any(|sequence| followed.judge(rule, &sent(sequence)) == Verdict::Match)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// What is accepted can match, and what is refused for never matching does not: of the first
    /// there is a witness, of the second there is none among the packets that could be one.
    #[test]
    fn never_is_exact((rule, protocol) in formed()) {
        let matches = some_packet_matches(&rule, protocol);
        match Builder::resume(rule).finish(protocol, false) {
            Ok(_) => prop_assert!(matches, "{}", save(&rule)),
            // Under `any`, what is not seen of a frame satisfies even a list that is nothing. Such
            // a rule is refused all the same: nobody means it.
            Err(Error::Never(Never::Nothing(_))) if rule.frames == frames::ANY => {}
            Err(_) => prop_assert!(!matches, "{}", save(&rule)),
        }
    }
}
