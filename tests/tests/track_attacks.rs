// SPDX-License-Identifier: GPL-2.0

//! A host that forges TCP segments, against the real module, a real TCP receiver and a real outstation: in the VM, behind a
//! gateway whose rules follow the stream, nothing comes to be executed that they do not allow.
//!
//! `tests/guest/track_attacks` sends the packets; the octets that Linux's TCP delivered come back, and the models of
//! receivers (`dnp3_tests::receivers`) say what stations make of them. opendnp3 says so itself.
//!
//! - Each known attack is a test here by its name. It also meets a policy without `--track`, or none, where it must
//!   succeed: so it is known to bite.
//! - Exchanges are generated of all that attacks are made of, and the law is held to each.
//!
//! `DNP3_TESTS_LONG` is set by `scripts/long attacks`: then each attack meets every variant of iptables, both families and
//! every policy, and there are more exchanges.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::OnceLock;

use dnp3_tests::commands;
use dnp3_tests::frames::{control, frame};
use dnp3_tests::receivers::{Executed, Frame, Receiver, Recovery, Station};
use dnp3_tests::sequences::Dice;
use dnp3_tests::vectors::{
    CARRIER_B, COLD_RESTART, CONT_RESTART, READ, REQUEST_LINK_STATUS, SHORT_FIR_1, SHORT_FIR_2,
    WRITE,
};
use dnp3_tests::vm::{self, hex};

const STATION: u16 = 1;
const MASTER: u16 = 1024;
/// Policies whose rules follow the stream; what they allow is in [`permits`].
const FOLLOWING: [&str; 3] = ["tracked", "lax", "deny"];
const VARIANTS: [&str; 2] = ["legacy", "nft"];
const FAMILIES: [&str; 2] = ["ipv4", "ipv6"];
/// Exchanges of the sample, and in the long form so many times as many.
const EXCHANGES: usize = 1_000;
const TIMES: usize = 10;
/// How often two CPUs send at a time.
const ROUNDS: usize = 60;
const SEED: u64 = 6_000;

fn is_long() -> bool {
    std::env::var_os("DNP3_TESTS_LONG").is_some()
}

fn times() -> usize {
    let is_debug = std::env::var("XT_DNP3_KERNEL").is_ok_and(|kernel| kernel == "debug");
    match (is_long(), is_debug) {
        (true, false) => TIMES,
        // Slower by far.
        (true, true) => 2,
        (false, _) => 1,
    }
}

/// What came of an attack, with one policy.
#[derive(Clone, Debug)]
struct Run {
    policy: String,
    variant: String,
    family: String,
    came: Came,
}

/// What an outstation was given, or did.
#[derive(Clone, Debug)]
enum Came {
    /// TCP delivered this on each of the connections.
    Streams(Vec<Vec<u8>>),
    /// opendnp3 delivered these frames, was handed requests with these functions, and called these.
    Did {
        frames: Vec<Frame>,
        requested: Vec<u8>,
        called: Vec<String>,
    },
}

/// What the guest printed.
#[derive(Debug, Default)]
struct Outcome {
    /// The attacks that it has, and the policy with which each succeeds.
    controls: BTreeMap<String, String>,
    runs: BTreeMap<String, Vec<Run>>,
    exchanges: HashMap<usize, Came>,
    faults: Vec<String>,
    times: Vec<String>,
}

fn octets(text: &str) -> Result<Vec<u8>, String> {
    let octet = |at: usize| {
        let two = text.get(at..at + 2)?;
        u8::from_str_radix(two, 16).ok()
    };
    (0..text.len())
        .step_by(2)
        .map(octet)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("no octets: {text:?}"))
}

fn came(host: &str, words: &[&str]) -> Result<Came, String> {
    if host != "opendnp3" {
        let stream = |word: &&str| octets(word.trim_start_matches('-'));
        return Ok(Came::Streams(
            words.iter().map(stream).collect::<Result<_, _>>()?,
        ));
    }
    let (mut frames, mut requested, mut called) = (Vec::new(), Vec::new(), Vec::new());
    for word in words {
        match word.split_once(':') {
            Some(("f", text)) => {
                frames.extend(Receiver::new(Recovery::Close, false).take(&octets(text)?));
            }
            Some(("a", code)) => {
                requested.push(code.parse().map_err(|_| format!("opendnp3 did {word:?}"))?);
            }
            Some(("c", name)) => called.push(name.into()),
            Some(("w", _)) => {}
            None if *word == "t" => {}
            _ => return Err(format!("opendnp3 did {word:?}")),
        }
    }
    Ok(Came::Did {
        frames,
        requested,
        called,
    })
}

impl Outcome {
    fn parse(said: &str) -> Result<Outcome, String> {
        let mut outcome = Outcome::default();
        let mut ended = false;
        for line in said.lines() {
            let wrong = || format!("the guest said {line:?}");
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["attack", name, control] => {
                    outcome.controls.insert(name.into(), control.into());
                }
                ["run", name, policy, variant, family, host, ref words @ ..] => {
                    let run = Run {
                        policy: policy.into(),
                        variant: variant.into(),
                        family: family.into(),
                        came: came(host, words)?,
                    };
                    outcome.runs.entry(name.into()).or_default().push(run);
                }
                ["exchange", number, host, ref words @ ..] => {
                    let number = number.parse().map_err(|_| wrong())?;
                    outcome.exchanges.insert(number, came(host, words)?);
                }
                ["fault", ..] => outcome.faults.push(line.into()),
                ["time", ..] => outcome.times.push(line.into()),
                ["end"] => ended = true,
                _ => return Err(wrong()),
            }
        }
        if ended {
            Ok(outcome)
        } else {
            Err("the guest did not come to its end".into())
        }
    }
}

/// Whether a policy allows that a station of this address executes this.
fn permits(policy: &str, executed: &Executed) -> bool {
    let (function, source) = (executed.function, executed.source);
    match policy {
        "tracked" | "lax" => function <= 1 && source == MASTER && executed.destination == STATION,
        "deny" => function <= 1,
        // Whatever it is, not this station.
        "others" => executed.station != STATION,
        _ => true,
    }
}

/// What stations of all kinds made of a stream that a policy does not allow. `ignores_fir` is for the stations
/// that do not conform.
fn forbidden(policy: &str, stream: &[u8], ignores_fir: bool) -> Vec<String> {
    let mut found = Vec::new();
    for mut receiver in Receiver::all() {
        let mut stations = vec![Station::new(STATION), Station::new(10)];
        if ignores_fir {
            stations.push(Station::that_ignores_fir(STATION));
        }
        for frame in receiver.take(stream) {
            let all = stations.iter_mut().filter_map(|one| one.take(&frame));
            found.extend(
                all.filter(|executed| !permits(policy, executed))
                    .map(|executed| format!("{:?}: {executed:?}", receiver.recovery())),
            );
        }
    }
    found
}

/// The same of whatever came.
fn forbidden_of(policy: &str, came: &Came, ignores_fir: bool) -> Vec<String> {
    match came {
        Came::Streams(streams) => streams
            .iter()
            .flat_map(|stream| forbidden(policy, stream, ignores_fir))
            .collect(),
        Came::Did {
            frames,
            requested,
            called,
        } => {
            let of_frames = frames
                .iter()
                .filter(|frame| frame.function().is_some_and(|code| code > 1))
                .map(|frame| format!("delivered {frame:x?}"));
            let of_requests = requested
                .iter()
                .filter(|code| **code > 1)
                .map(|code| format!("function {code} was requested"));
            let of_calls = called.iter().map(|name| format!("{name} was called"));
            of_frames.chain(of_requests).chain(of_calls).collect()
        }
    }
}

/// What attacks are after: a WRITE or a COLD_RESTART.
fn is_sought(function: u8) -> bool {
    matches!(function, 2 | 13)
}

/// Whether an attack had its end: a COLD_RESTART or a WRITE was executed, by a receiver that searches on from the next
/// octet, as opendnp3 does, or by opendnp3.
fn succeeded(came: &Came, ignores_fir: bool) -> bool {
    let streams = match came {
        Came::Streams(streams) => streams,
        // It may still be busy with the request before.
        Came::Did { requested, .. } => return requested.iter().any(|code| is_sought(*code)),
    };
    streams.iter().any(|stream| {
        let mut receiver = Receiver::new(Recovery::NextOctet, true);
        let mut station = if ignores_fir {
            Station::that_ignores_fir(STATION)
        } else {
            Station::new(STATION)
        };
        receiver
            .take(stream)
            .iter()
            .filter_map(|frame| station.take(frame))
            .any(|executed| is_sought(executed.function))
    })
}

/// An exchange that was generated.
#[derive(Clone, Debug)]
struct Exchange {
    variant: &'static str,
    family: &'static str,
    policy: &'static str,
    host: &'static str,
    line: String,
}

/// Streams of which each is right by itself, to be mixed; and places where something ends or begins.
struct Streams {
    streams: Vec<Vec<u8>>,
    places: Vec<usize>,
}

/// As long as what stands before the frame inside CARRIER_B, and whole frames.
fn other() -> Vec<u8> {
    let read = frame(
        control::MASTER_DATA,
        STATION,
        MASTER,
        &[0xC0, 0xC3, 1, 0x3C, 2, 6],
    );
    [REQUEST_LINK_STATUS, &read].concat()
}

/// As long, and the beginning of a frame that goes on with a header.
fn beginning() -> Vec<u8> {
    let user_data = [&[0xC0, 0xC0, 1][..], &[0; 13 + 8]].concat();
    let mut outer = frame(control::MASTER_DATA, STATION, MASTER, &user_data);
    outer.truncate(28);
    outer
}

fn piece(dice: &mut Dice) -> Vec<u8> {
    match dice.below(24) {
        0..=5 => CARRIER_B.to_vec(),
        6..=10 => other(),
        11..=13 => [beginning(), CARRIER_B.to_vec()].concat(),
        14..=16 => REQUEST_LINK_STATUS.to_vec(),
        17 => READ.to_vec(),
        18 => COLD_RESTART.to_vec(),
        19 => WRITE.to_vec(),
        20 => [SHORT_FIR_1, SHORT_FIR_2].concat(),
        21 => CONT_RESTART.to_vec(),
        22 => CARRIER_B[28..].to_vec(),
        _ => {
            // A message in segments, whose second octet would be a function code.
            let segment =
                |user_data: &[u8]| frame(control::MASTER_DATA, STATION, MASTER, user_data);
            [
                segment(&[0x40, 0xC0, 1, 0, 0, 0]),
                segment(&[0x01, 0xC0, 13]),
                segment(&[0x82, 0xC0, 2, 0]),
            ]
            .concat()
        }
    }
}

impl Streams {
    fn new(dice: &mut Dice) -> Streams {
        let start: Vec<Vec<u8>> = (0..dice.below(3)).map(|_| piece(dice)).collect();
        let mut places = vec![0];
        let streams = (0..1 + dice.below(3))
            .map(|_| {
                let mut stream = Vec::new();
                let own: Vec<Vec<u8>> = (0..1 + dice.below(3)).map(|_| piece(dice)).collect();
                for piece in start.iter().chain(&own) {
                    if piece.len() > 28 {
                        places.push(stream.len() + 28);
                    }
                    stream.extend(piece);
                    places.push(stream.len());
                }
                stream
            })
            .collect();
        Streams { streams, places }
    }
}

/// The guest's steps of an exchange.
fn steps(dice: &mut Dice, is_opendnp3: bool) -> String {
    const ACK: u8 = 0x10;
    const PSH: u8 = 0x08;
    let all = Streams::new(dice);
    let mut steps = String::from("open");
    // What goes on where the last segment ended.
    let (mut next, mut stream) = (0, dice.pick(&all.streams));
    let mut step = |words: &str| {
        steps.push(' ');
        steps.push_str(words);
    };
    for _ in 0..3 + dice.below(12) {
        match dice.below(40) {
            0 | 1 => step(&format!("ack:{}", dice.pick(&all.places))),
            2 => {
                let more = *dice.pick(&[28, -28, 0, 100_000]);
                let how = *dice.pick(&["", "ttl"]);
                step(&format!("syn:{more}:{how}"));
                if more != 0 {
                    next = 0;
                }
            }
            3 => step("synack"),
            4 => step(&format!("rst:{next}:{}", dice.pick(&["", "ttl"]))),
            5 if !is_opendnp3 => step("forget"),
            6 if dice.one_in(4) => step("flush"),
            7 | 8 => step(&format!("go:{}", dice.below(4))),
            9 => step("settle"),
            _ => {
                if dice.one_in(4) {
                    stream = dice.pick(&all.streams);
                }
                let from = match dice.below(8) {
                    0..=3 => next,
                    // Again, which fills what was lost.
                    4 | 5 => 0,
                    _ => *dice.pick(&all.places),
                }
                .min(stream.len());
                let behind: Vec<usize> =
                    all.places.iter().copied().filter(|at| *at > from).collect();
                let to = match dice.below(6) {
                    0 => from + 1,
                    1 => from + dice.below(60),
                    2 | 3 if !behind.is_empty() => *dice.pick(&behind),
                    _ => stream.len(),
                }
                .clamp(from, stream.len());
                let payload = &stream[from..to];
                let mut at = i64::try_from(from).expect("a short stream");
                let mut flags = ACK | PSH;
                match dice.below(40) {
                    0 => flags |= 0x20,
                    1 => flags |= 0x01,
                    2 => flags |= 0x04,
                    3 => flags |= 0x02,
                    4 => flags = dice.octet(),
                    5 | 6 => at -= *dice.pick(&[28, 10, 1]),
                    7 => at += *dice.pick(&[1, 28, 5000, 1 << 31]),
                    _ => {}
                }
                let how = match dice.below(20) {
                    0..=3 => "ttl",
                    4 => "sum",
                    5 => "md5",
                    6 => "stale",
                    _ => "",
                };
                let urgent = if flags & 0x20 == 0 {
                    0
                } else {
                    1 + dice.below(30)
                };
                step(&format!(
                    "data:{at}:{flags}:{how}:{urgent}:{}",
                    hex(payload)
                ));
                next = to;
            }
        }
    }
    steps
}

/// All that is generated, the same in each run. One in six meets no rule, to see what the others are spared.
fn exchanges() -> Vec<Exchange> {
    let mut dice = Dice(SEED);
    (0..EXCHANGES * times())
        .map(|number| {
            let variant = *dice.pick(&VARIANTS);
            let mut family = *dice.pick(&FAMILIES);
            let host = if dice.one_in(8) {
                family = "ipv4";
                "opendnp3"
            } else {
                "recorder"
            };
            let policy = if dice.one_in(6) {
                "none"
            } else {
                *dice.pick(&FOLLOWING)
            };
            let waits = if dice.one_in(6) { "waits" } else { "goes" };
            let isn = if dice.one_in(3) {
                u32::MAX.wrapping_sub(dice.below(120) as u32)
            } else {
                dice.number() as u32
            };
            let steps = steps(&mut dice, host == "opendnp3");
            Exchange {
                variant,
                family,
                policy,
                host,
                line: format!(
                    "exchange {number} {variant} {family} {policy} {waits} {host} {isn} {steps}"
                ),
            }
        })
        .collect()
}

/// Has the guest do it all.
fn run() -> Result<(Vec<Exchange>, Outcome), String> {
    let mut command = vm::with_packages()?;
    let exchanges = exchanges();
    let mut plan = format!("attack\nrounds {}\n", ROUNDS * times());
    if is_long() {
        plan.push_str("all\n");
    }
    for exchange in &exchanges {
        writeln!(plan, "{}", exchange.line).expect("a string takes everything");
    }
    let file = std::env::temp_dir().join(format!("track-attacks-{}", std::process::id()));
    std::fs::write(&file, plan).map_err(|error| format!("{}: {error}", file.display()))?;
    let seconds = if is_long() { 3600 } else { 300 };
    command.args(["--cpus", "2", "--timeout", &seconds.to_string()]);
    vm::put_guest(vm::put(&mut command, &file, "plan"))
        .args(["--", "python3 guest/track_attacks/main.py plan"]);
    let said = commands::succeed(&mut command);
    std::fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((exchanges, Outcome::parse(&said?)?))
}

/// What came of it all: one run of the VM for all tests.
fn all() -> &'static (Vec<Exchange>, Outcome) {
    static ALL: OnceLock<Result<(Vec<Exchange>, Outcome), String>> = OnceLock::new();
    match ALL.get_or_init(run) {
        Ok(all) => all,
        Err(error) => panic!("{error}"),
    }
}

/// Whether stations that do not look at FIR count, too.
fn ignores_fir(attack: &str) -> bool {
    attack == "a_continuation_of_nothing"
}

/// Holds an attack to what must come of it: nothing where the stream is followed, and its end where it is not.
fn hold(attack: &str) {
    let (_, outcome) = all();
    let is_of_it = |fault: &&String| fault.split(' ').nth(1) == Some(attack);
    let faults: Vec<_> = outcome.faults.iter().filter(is_of_it).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let control = &outcome.controls[attack];
    let (mut followed, mut controlled) = (0, 0);
    for run in &outcome.runs[attack] {
        let Run { policy, came, .. } = run;
        if policy == "believing" {
            assert!(succeeded(came, false), "it is no attack:\n{run:02x?}");
        } else if policy == control {
            assert!(
                succeeded(came, ignores_fir(attack)),
                "it is no attack:\n{run:02x?}"
            );
            controlled += 1;
        } else {
            let found = forbidden_of(policy, came, ignores_fir(attack));
            assert!(found.is_empty(), "{found:#?}\n{run:02x?}");
            followed += 1;
        }
    }
    assert!(followed > 0 && controlled > 0, "it did not take place");
}

macro_rules! attacks {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            #[test]
            fn $name() {
                hold(stringify!($name));
            }
        )*
    };
}

attacks! {
    plain_restart
    plain_write
    behind_a_read
    segments_of_one_octet
    cut_in_two
    the_second_half_first
    short_fir
    broadcast
    a_continuation_of_nothing
    in_a_frame_with_a_wrong_crc
    a_frame_takes_the_next_header
    urgent_without_payload
    urgent_first_octet
    urgent_in_the_header
    urgent_in_what_comes_later
    overlap_of_28_octets
    overlap_at_the_wrap
    overlap_on_the_wrap
    overlap_behind_the_wrap
    begins_before_the_first_octet
    begins_before_the_first_octet_at_the_wrap
    begins_before_the_first_octet_below_the_wrap
    overlap_after_the_ack
    overlap_before_the_ack
    overlap_far_behind
    retransmission_in_other_cuts
    replaced_when_lost_by_low_ttl
    replaced_when_lost_by_stale_timestamp
    replaced_when_lost_by_md5_option
    replaced_when_lost_by_wrong_checksum
    replaced_when_lost_by_ack_of_what_was_not_sent
    replaced_when_lost_by_no_ack_flag
    replaced_when_lost_by_fin
    replaced_when_lost_by_rst
    replaced_when_lost_by_odd_flags
    replaced_after_a_forged_ack
    replaced_after_a_forged_ack_in_other_cuts
    replaced_after_a_forged_ack_octet_by_octet
    replaced_after_forged_acks_of_more_than_is_kept
    the_stale_read_and_the_forged_ack
    forged_acks_from_both_sides
    replaced_behind_a_closed_window
    syn_with_data
    syn_with_data_that_is_taken
    fin_with_data
    data_behind_a_lost_fin
    data_behind_a_fin_that_is_replaced
    data_behind_a_lost_rst
    data_behind_an_rst_that_is_not_taken
    another_syn_in_the_middle
    ports_again_while_established
    the_old_octets_when_the_host_has_forgotten
    ports_again_a_second_later
    ports_again_after_rst
    ports_again_after_fin
    ports_again_after_fin_of_both
    the_old_octets_in_a_new_connection
    simultaneous_open
    a_forged_syn_ack_after_rst
    a_forged_syn_ack_after_a_flush
    a_forged_syn_ack_first
    older_than_the_rules
    rules_replaced_in_mid_frame
    rules_gone_and_back_in_mid_frame
    conntrack_flushed_in_mid_frame
    conntrack_flushed_before_the_replacement
    a_copy_by_tee
    through_nat_overlap
    through_nat_lost
    ports_again_through_nat
    two_packets_judged_on_the_same_state_in_order
    two_packets_judged_on_the_same_state_in_the_other_order
    two_beginnings_judged_on_the_same_state_in_order
    two_beginnings_judged_on_the_same_state_in_the_other_order
    a_queued_packet_across_port_reuse_after_rst
    a_queued_packet_across_port_reuse_after_fin
    in_a_packet_of_several_segments
    overlap_by_a_packet_of_several_segments
    in_fragments
    behind_an_extension_header
}

#[test]
fn each_attack_that_the_guest_has_is_a_test() {
    let has: Vec<_> = all().1.controls.keys().map(String::as_str).collect();
    let mut named = NAMES.to_vec();
    named.sort_unstable();
    assert_eq!(has, named);
}

#[test]
fn both_variants_and_both_families_were_attacked() {
    for variant in VARIANTS {
        for family in FAMILIES {
            let runs = all().1.runs.values().flatten();
            let count = |policy: &str| {
                let is_it = |run: &&Run| {
                    run.policy == policy && run.variant == variant && run.family == family
                };
                runs.clone().filter(is_it).count()
            };
            let is_own = [("legacy", "ipv4"), ("nft", "ipv6")].contains(&(variant, family));
            for policy in ["tracked", "lax"] {
                assert!(
                    count(policy) > NAMES.len() * 3 / 4 || !is_own && !is_long(),
                    "{policy} by {variant} for {family}: {}",
                    count(policy)
                );
            }
        }
    }
}

/// Two packets at the same place, each valid, that two CPUs send at the same moment.
#[test]
fn two_cpus() {
    let outcome = &all().1;
    let faults: Vec<_> = outcome
        .faults
        .iter()
        .filter(|fault| fault.starts_with("fault two_cpus"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    for run in &outcome.runs["two_cpus"] {
        if run.policy == "stateless" {
            assert!(succeeded(&run.came, false), "it is no attack:\n{run:02x?}");
        } else {
            let found = forbidden_of(&run.policy, &run.came, false);
            assert!(found.is_empty(), "{found:#?}\n{run:02x?}");
        }
    }
}

/// The law, and that it bites: of the exchanges that meet no rule, many break it.
#[test]
fn what_stations_execute_is_a_subset_of_what_the_policy_allows() {
    let (exchanges, outcome) = all();
    let faults: Vec<_> = outcome
        .faults
        .iter()
        .filter(|fault| fault.starts_with("fault exchange"))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let (mut octets, mut frames, mut broken, mut free) = (0, 0, 0, 0);
    for (number, exchange) in exchanges.iter().enumerate() {
        let came = &outcome.exchanges[&number];
        if exchange.policy == "none" {
            free += 1;
            broken += usize::from(!forbidden_of("tracked", came, false).is_empty());
            continue;
        }
        match came {
            Came::Streams(streams) => octets += streams.iter().map(Vec::len).sum::<usize>(),
            Came::Did { frames: all, .. } => frames += all.len(),
        }
        let found = forbidden_of(exchange.policy, came, false);
        assert!(
            found.is_empty(),
            "{found:#?}\n{}\n{came:02x?}",
            exchange.line
        );
    }
    let followed = exchanges.len() - free;
    let of = |variant: &str, family: &str| {
        let is = |one: &&Exchange| one.variant == variant && one.family == family;
        exchanges.iter().filter(is).count()
    };
    for (variant, family) in VARIANTS
        .iter()
        .flat_map(|one| FAMILIES.map(|other| (one, other)))
    {
        assert!(of(variant, family) > 0, "none by {variant} for {family}");
    }
    assert!(exchanges.iter().any(|one| one.host == "opendnp3"));
    // Some of what is sent is right, and must come.
    assert!(
        octets > 10 * followed,
        "{octets} octets in {followed} exchanges"
    );
    assert!(frames > 0, "opendnp3 was given no frame");
    assert!(
        4 * broken > free,
        "only {broken} of {free} that met no rule break it"
    );
    let runs: usize = outcome.runs.values().map(Vec::len).sum();
    let kernel = std::env::var("XT_DNP3_KERNEL").unwrap_or_else(|_| "rust".into());
    println!(
        "attacks: - kernel {kernel}: {} attacks in {runs} runs: none came to its end where the stream is followed, \
         and each where it is not",
        NAMES.len()
    );
    println!(
        "attacks: - {followed} exchanges: {octets} octets came to the receiver and {frames} frames to opendnp3's link \
         layer, all of them allowed; of {free} that met no rule {broken} had something executed that no policy allows"
    );
    let times = &outcome.times;
    println!("attacks: - {}", times.join("; "));
}
