// SPDX-License-Identifier: GPL-2.0

//! Following the stream (`dnp3_core::track`), held to a naive model, to attackers and to honest peers:
//!
//! 1. *The same answers.* For any packets in any order, on connections that are followed and on those that
//!    are not, `core` answers each rule as the naive model does (`dnp3_tests::track`), and commits as it
//!    does; whatever room it judges in, and however the packet is handed out.
//! 2. *Nothing else is executed.* Whatever an attacker sends, in whatever order packets come from the
//!    rules to the hook, whatever is lost behind the gateway, and however the receiver's TCP and link layer
//!    resolve what is not clear: what the stations execute is what the policy allows.
//! 3. *All of it arrives.* Honest peers on bad lines get everything through, and each segment is counted as
//!    what it is.
//!
//! `DNP3_TESTS_TIMES=20` runs so many times as many.

use dnp3_core::rule::{frames, option};
use dnp3_core::track::{self, Commit, Direction, Limits, Passing, Scratch, Tracked};
use dnp3_core::{Octets, Rule, Verdict};
use dnp3_tests::frames::frame;
use dnp3_tests::generate;
use dnp3_tests::sequences::Dice;
use dnp3_tests::track::{flag, Bounds, Connection, Sent, INSIDE, OUTSIDE};
use dnp3_tests::track_attack::{attack, carrier, policies, Attacked, Guarded, World};
use dnp3_tests::track_exchanges::{Comparison, WAYS};
use dnp3_tests::track_gateway::{tracking, Memory};
use dnp3_tests::track_honest::{carry, Carried, Cut, Line};
use dnp3_tests::track_tcp::Kind;
use dnp3_tests::vectors::{CARRIER_B, COLD_RESTART, CONT_RESTART, READ, REQUEST_LINK_STATUS};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn times() -> u64 {
    std::env::var("DNP3_TESTS_TIMES").ok().map_or(1, |times| {
        times.parse().expect("DNP3_TESTS_TIMES is a number")
    })
}

fn some_rules(round: u64) -> Vec<Rule> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&round.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = generate::rule();
    (0..400)
        .map(|_| {
            strategy
                .new_tree(&mut runner)
                .expect("nothing is filtered out")
                .current()
        })
        .collect()
}

// ---- 1: the same answers

const COMPARED: u64 = 8_000;

#[test]
fn core_answers_as_the_naive_model() {
    let mut comparison = Comparison::default();
    for round in 0..times() {
        let rules = some_rules(round);
        for seed in round * COMPARED..(round + 1) * COMPARED {
            for way in WAYS {
                let result = comparison.compare(&mut Dice(seed), &rules, way);
                if let Err(why) = result {
                    panic!("exchange {seed}: {why}");
                }
            }
        }
    }
    let one = comparison.compared;
    let [none, valid, partial, malformed, ahead] = one.statuses;
    println!(
        "track, the same answers: {} exchanges, {} packets, {} answers compared, {} that match, \
         {} commits, {} of them refused, {} messages without room; of packets judged as pieces of a \
         stream {none} none, {valid} valid, {partial} partial, {malformed} malformed, {ahead} ahead",
        one.exchanges, one.packets, one.verdicts, one.matches, one.commits, one.dropped, one.crowded,
    );
    // Of what was generated, so much has to be more than nothing.
    let least = one.exchanges / 20;
    assert!(one.statuses.iter().all(|count| *count > least), "{one:?}");
    assert!(one.matches > one.verdicts / 20, "{one:?}");
    assert!(one.dropped > least, "{one:?}");
    assert!(one.crowded > one.exchanges / 100, "{one:?}");
}

/// A connection of the naive model, followed, with so much room.
fn naive(room: usize) -> Connection {
    let syn = Sent::new(Direction::Original, ISN, flag::SYN, &[]);
    let mut connection = Connection::begin(&syn, OUTSIDE, [room; 2]).expect("a SYN begins");
    let answer = Sent {
        acknowledgement: ISN.wrapping_add(1),
        ..Sent::new(Direction::Reply, 7, flag::SYN | flag::ACK, &[])
    };
    assert_eq!(connection.commit(&answer, 0, &BOUNDS), Commit::Followed);
    connection
}

const BOUNDS: Bounds = Bounds {
    frame_age: 15,
    messages: 16,
};

#[test]
fn room_changes_nothing_but_what_lies_below_it() {
    // `core` was compared with the model in rooms of every size. Here the model is compared with itself: a small
    // room, and one for all there is.
    let rules = some_rules(0);
    let mut below = 0;
    let mut same = 0;
    for seed in 0..3_000 {
        let mut dice = Dice(seed);
        let sizes = [0, 1, 300, 2048];
        let mut small = naive(*dice.pick(&sizes));
        let mut large = naive(usize::MAX >> 1);
        let stream: Vec<u8> = (0..2 + dice.below(5))
            .flat_map(|_| dice.pick(&[READ, CARRIER_B, REQUEST_LINK_STATUS]).to_vec())
            .collect();
        for _ in 0..20 {
            let committed = large.streams[0].octets.len();
            let from = match dice.below(3) {
                0 => dice.below(committed + 3),
                _ => committed,
            }
            .min(stream.len());
            let to = (from + dice.below(60)).min(stream.len());
            let mut sent = data(from, &stream[from..to]);
            if dice.one_in(8) && !sent.payload.is_empty() {
                let at = dice.below(sent.payload.len());
                sent.payload[at] ^= 1;
            }
            let rule = tracking(dice.pick(&rules));
            let answers = [&small, &large].map(|one| one.judge(&rule, &sent, 0, &BOUNDS));
            if small.is_beyond_kept(&sent) {
                below += 1;
                if answers[0] != answers[1] {
                    // It is taken for malformed, and nothing is ruled out.
                    let any = rule.frames == frames::ANY;
                    let has_status = rule.set & option::STATUS != 0;
                    assert!(any || has_status || answers[0] == Verdict::NoMatch);
                }
            } else {
                same += 1;
                assert_eq!(answers[0], answers[1], "{sent:x?} {rule:x?}");
            }
            let commits = [&mut small, &mut large].map(|one| one.commit(&sent, 0, &BOUNDS));
            if commits[0] != commits[1] {
                assert_eq!(commits[0], Commit::Overlap);
                break;
            }
            if dice.one_in(6) {
                small.move_to(Direction::Original, *dice.pick(&sizes));
            }
        }
    }
    assert!(below > 1_000 && same > 1_000, "{below} {same}");
}

// ---- 2: attackers

const ATTACKS: u64 = 20_000;

fn add(all: &mut Attacked, one: &Attacked) {
    all.exchanges += one.exchanges;
    all.packets += one.packets;
    all.went_on += one.went_on;
    all.lost += one.lost;
    all.late += one.late;
    all.octets += one.octets;
    all.frames += one.frames;
    all.executed += one.executed;
    all.connections += one.connections;
    let (sum, counts) = (&mut all.counts, &one.counts);
    for (sum, count) in [
        (&mut sum.none, counts.none),
        (&mut sum.accepted, counts.accepted),
        (&mut sum.refused, counts.refused),
        (&mut sum.ahead, counts.ahead),
        (&mut sum.late_ahead, counts.late_ahead),
        (&mut sum.overlaps, counts.overlaps),
        (&mut sum.followed, counts.followed),
        (&mut sum.ended, counts.ended),
        (&mut sum.voided, counts.voided),
        (&mut sum.renewed, counts.renewed),
        (&mut sum.strayed, counts.strayed),
        (&mut sum.crowded, counts.crowded),
    ] {
        *sum += count;
    }
}

#[test]
fn nothing_is_executed_but_what_the_policy_allows() {
    let (policies, kinds) = (policies(), Kind::all());
    let mut all = Attacked::default();
    for seed in 0..ATTACKS * times() {
        let mut log = Vec::new();
        match attack(&mut Dice(seed), &policies, &kinds, &mut log) {
            Ok(one) => add(&mut all, &one),
            Err(why) => panic!("exchange {seed}: {why}\n{}", log.join("\n")),
        }
    }
    let counts = &all.counts;
    println!(
        "track, attackers: {} exchanges, {} packets, {} with payload went on, {} of all lost behind the \
         gateway, {} committed late; {} connections began, {} were followed; {} octets read, {} frames \
         delivered, {} functions executed; refused by rules {}, ahead {}, by the hook {} ahead and {} that \
         overlap; {} ended, {} voided, {} renewed, {} SYN-ACKs from the wrong side",
        all.exchanges,
        all.packets,
        all.went_on,
        all.lost,
        all.late,
        all.connections,
        counts.followed,
        all.octets,
        all.frames,
        all.executed,
        counts.refused,
        counts.ahead,
        counts.late_ahead,
        counts.overlaps,
        counts.ended,
        counts.voided,
        counts.renewed,
        counts.strayed,
    );
    // Of what was generated, so much has to be more than nothing: about half of what it was.
    assert!(all.went_on > all.exchanges, "{all:?}");
    assert!(all.executed > all.exchanges, "{all:?}");
    assert!(all.connections > all.exchanges / 2, "{all:?}");
    assert!(all.late > all.exchanges / 2, "{all:?}");
    for count in [
        counts.overlaps,
        counts.voided,
        counts.renewed,
        counts.strayed,
        counts.ended,
    ] {
        assert!(count > all.exchanges / 500, "{all:?}");
    }
}

const ISN: u32 = u32::MAX - 20;

fn data(at: usize, payload: &[u8]) -> Sent {
    let sequence = ISN.wrapping_add(1).wrapping_add(at as u32);
    Sent::new(Direction::Original, sequence, flag::ACK, payload)
}

/// What an attacker sends, and which of it the station gets: each of the ways that a TCP may resolve it.
type Attack = fn(&mut World<'_>) -> Result<(), String>;

/// Runs an attack against every kind of receiver, behind the README's policy; nothing but `functions` is
/// executed, which is what the attack has of its own that is allowed.
fn fails(functions: &[u8], attack: Attack) {
    let policies = policies();
    let guarded: &Guarded = &policies[0];
    for kind in Kind::all() {
        for (memory, strict) in [(Memory::Grows, true), (Memory::Fixed(0), false)] {
            let mut world = World::new(guarded, kind, memory, strict);
            if let Err(why) = attack(&mut world) {
                panic!("{kind:?} {memory:?}: {why}");
            }
            assert_eq!(world.functions, functions, "{kind:?} {memory:?}");
        }
    }
}

fn opened(world: &mut World<'_>) -> Result<(), String> {
    assert!(world.open(ISN)?, "a handshake goes through");
    Ok(())
}

#[test]
fn attack_1_urgent_data() {
    fails(&[1], |world| {
        opened(world)?;
        let mut urgent = data(0, &[]);
        urgent.flags |= flag::URG;
        assert!(!world.send(&urgent, true)?);
        urgent.payload = CARRIER_B.to_vec();
        assert!(!world.send(&urgent, true)?);
        assert!(world.send(&data(0, CARRIER_B), true)?, "as it is");
        Ok(())
    });
}

#[test]
fn attack_2_overlap() {
    fails(&[], |world| {
        opened(world)?;
        assert!(world.send(&data(0, REQUEST_LINK_STATUS), true)?);
        let carrier = data(10usize.wrapping_sub(28), CARRIER_B);
        assert!(!world.send(&carrier, true)?);
        Ok(())
    });
}

#[test]
fn attack_2_overlap_that_the_receiver_resolves_by_its_queue() {
    // The first octets are lost behind the gateway, so that what is behind them waits; then other octets for
    // the same places.
    fails(&[1, 1], |world| {
        opened(world)?;
        let stream = [REQUEST_LINK_STATUS, CARRIER_B, READ].concat();
        assert!(world.send(&data(0, &stream[..10]), false)?);
        assert!(world.send(&data(10, &stream[10..38]), true)?);
        let other = [REQUEST_LINK_STATUS; 3].concat();
        for at in [0, 10, 20] {
            assert!(!world.send(&data(at, &other[..20]), true)?, "{at}");
        }
        assert!(!world.send(&data(38, READ), true)?);
        let grows = world.gateway.judge(&data(0, &stream[..38])).is_some();
        if grows {
            assert!(world.send(&data(0, &stream[..38]), true)?);
            assert!(world.send(&data(10, &stream[10..]), true)?);
        } else {
            // Nothing is kept, and so nothing is repeated: that is all that comes of it.
            world.functions.extend([1, 1]);
        }
        Ok(())
    });
}

#[test]
fn attack_3_a_start_before_the_first_octet() {
    fails(&[], |world| {
        opened(world)?;
        let carrier = data(0usize.wrapping_sub(28), CARRIER_B);
        assert!(!world.send(&carrier, true)?);
        assert!(!world.send(&data(0, &CARRIER_B[28..]), true)?);
        Ok(())
    });
}

#[test]
fn attack_4_port_reuse() {
    fails(&[], |world| {
        opened(world)?;
        assert!(world.send(&data(0, &CARRIER_B[..28]), true)?);
        // The station's connection dies, and conntrack keeps its entry.
        world.endpoint.reboot();
        let syn = Sent::new(Direction::Original, ISN.wrapping_add(28), flag::SYN, &[]);
        assert!(!world.send(&syn, true)?, "dropped by the hook or before");
        world.send(&syn, true)?;
        // Where the SYN was kept out the old stream goes on, to a station that has no connection.
        world.send(&data(28, &CARRIER_B[28..]), true)?;
        // By the same number: all of it would have to be said again.
        world.open(ISN)?;
        assert!(!world.send(&data(0, &CARRIER_B[28..]), true)?);
        Ok(())
    });
}

#[test]
fn attack_5_mixing() {
    // A beginning whose last block takes the next header; then a frame that is valid by itself. As pieces of
    // one stream it is what it is: a frame, and octets that are none.
    fails(&[], |world| {
        opened(world)?;
        let user_data = [&[0xC0, 0xC0, 1][..], &[0; 21]].concat();
        let beginning = &frame(0xC4, 1, 1024, &user_data)[..28];
        assert!(world.send(&data(0, beginning), true)?);
        assert!(!world.send(&data(28, CARRIER_B), true)?);
        assert!(!world.send(&data(28, COLD_RESTART), true)?);
        Ok(())
    });
}

#[test]
fn attack_6_a_forged_ack() {
    fails(&[], |world| {
        opened(world)?;
        // The station discards it: a stale time stamp, a wrong checksum, a low TTL.
        assert!(world.send(&data(0, READ), false)?);
        let own = world.endpoint.own().expect("a connection");
        let ack = Sent {
            acknowledgement: ISN.wrapping_add(1 + READ.len() as u32),
            came_in: INSIDE,
            ..Sent::new(Direction::Reply, own, flag::ACK, &[])
        };
        world.send(&ack, true)?;
        let hidden = carrier(COLD_RESTART);
        for payload in [COLD_RESTART, REQUEST_LINK_STATUS, &hidden] {
            assert!(!world.send(&data(0, payload), true)?);
        }
        Ok(())
    });
}

#[test]
fn attack_7_short_fir() {
    fails(&[], |world| {
        opened(world)?;
        let first = dnp3_tests::vectors::SHORT_FIR_1;
        let second = dnp3_tests::vectors::SHORT_FIR_2;
        let both = [first, second].concat();
        assert!(!world.send(&data(0, &both), true)?);
        assert!(!world.send(&data(0, first), true)?);
        assert!(!world.send(&data(0, second), true)?);
        for at in 0..10 {
            // Octet by octet, up to the transport octet that makes it one.
            assert!(world.send(&data(at, &first[at..=at]), true)?, "{at}");
        }
        assert!(!world.send(&data(10, &first[10..11]), true)?);
        Ok(())
    });
}

#[test]
fn attack_8_broadcast() {
    fails(&[], |world| {
        opened(world)?;
        for destination in 65532..=65535 {
            let user_data = [0xC0, 0xC0, 13];
            let restart = frame(0xC4, destination, 1024, &user_data);
            assert!(!world.send(&data(0, &restart), true)?);
            let read = frame(0xC4, destination, 1024, &[0xC0, 0xC0, 1]);
            assert!(!world.send(&data(0, &read), true)?);
        }
        // Half the address is not the address.
        let read = frame(0xC4, 65533, 1024, &[0xC0, 0xC0, 1]);
        assert!(world.send(&data(0, &read[..5]), true)?);
        assert!(!world.send(&data(5, &read[5..6]), true)?);
        Ok(())
    });
}

#[test]
fn attack_9_coalesced_segments() {
    // What GRO makes of TCP segments is one packet of a stream; so are the segments, one by one, in
    // whatever order.
    fails(&[1], |world| {
        opened(world)?;
        assert!(!world.send(&data(28, &CARRIER_B[28..]), true)?);
        assert!(world.send(&data(0, &CARRIER_B[..28]), true)?);
        let both = [&CARRIER_B[28..], COLD_RESTART].concat();
        assert!(!world.send(&data(28, &both), true)?);
        assert!(world.send(&data(28, &CARRIER_B[28..]), true)?);
        Ok(())
    });
}

#[test]
fn attack_10_a_restart_in_a_continuation() {
    fails(&[], |world| {
        opened(world)?;
        assert!(!world.send(&data(0, CONT_RESTART), true)?);
        for at in 0..10 {
            assert!(world.send(&data(at, &CONT_RESTART[at..=at]), true)?);
        }
        assert!(!world.send(&data(10, &CONT_RESTART[10..11]), true)?);
        Ok(())
    });
}

#[test]
fn two_packets_judged_by_the_same_state() {
    // Each is right where the stream stands; the first is committed, and the second is not what it was
    // judged as any more: whatever came of the connection in between.
    let between: [(&str, Attack); 4] = [
        ("nothing", |_| Ok(())),
        ("a FIN that is lost", |world| {
            let mut fin = data(0, &[]);
            fin.flags |= flag::FIN;
            world.send(&fin, false).map(drop)
        }),
        ("another handshake", |world| {
            world.endpoint.reboot();
            let syn = Sent::new(Direction::Original, ISN, flag::SYN, &[]);
            world.send(&syn, true).map(drop)
        }),
        ("a SYN with payload, unless a rule keeps it out", |world| {
            world
                .send(
                    &Sent {
                        flags: flag::SYN,
                        ..data(0, READ)
                    },
                    false,
                )
                .map(drop)
        }),
    ];
    for (name, between) in between {
        let policies = policies();
        for kind in Kind::all() {
            for strict in [true, false] {
                let mut world = World::new(&policies[0], kind, Memory::Grows, strict);
                let result = (|| {
                    opened(&mut world)?;
                    let first = [
                        REQUEST_LINK_STATUS,
                        &frame(0xC4, 1, 1024, &[0xC0, 0xC0, 1, 0, 0, 0]),
                    ];
                    assert!(world.hold(&data(0, &first.concat())));
                    assert!(world.hold(&data(0, CARRIER_B)));
                    assert!(world.hold(&data(0, CARRIER_B)));
                    between(&mut world)?;
                    world.release(0, true)?;
                    world.release(0, true)?;
                    world.release(0, true).map(drop)
                })();
                if let Err(why) = result {
                    panic!("{name}, {kind:?}, strict {strict}: {why}");
                }
            }
        }
    }
}

#[test]
fn two_processors_judge_by_the_same_state() {
    // Each in its own room: what one of them finds there is of a stream that has gone on since.
    let (first, second) = (
        data(0, &[REQUEST_LINK_STATUS, REQUEST_LINK_STATUS].concat()),
        data(0, CARRIER_B),
    );
    let syn = Sent::new(Direction::Original, ISN, flag::SYN, &[]);
    let answer = Sent {
        acknowledgement: ISN.wrapping_add(1),
        ..Sent::new(Direction::Reply, 7, flag::SYN | flag::ACK, &[])
    };
    let (octets, headers) = syn.packet();
    let mut connection = track::Connection::begin(1, &Octets(&octets), &headers, OUTSIDE)
        .expect("a SYN begins a connection");
    let mut rooms = [(); 2].map(|()| Box::new(Scratch::new()));
    let mut memory = vec![0; 2048];
    let limits = Limits::default();
    let mut commit = |connection: &mut track::Connection, sent: &Sent, room: &mut Scratch| {
        let (octets, headers) = sent.packet();
        let passing = Passing {
            direction: sent.direction,
            headers: &headers,
            now: 0,
            came_in: Some(sent.came_in),
            goes_out: OUTSIDE,
        };
        // The other direction has no octets.
        connection.commit(&Octets(&octets), &passing, &mut memory, &limits, room)
    };
    let followed = commit(&mut connection, &answer, &mut rooms[0]);
    assert_eq!(followed, Commit::Followed);
    let empty = vec![0; 2048];
    for (sent, room) in [&first, &second].into_iter().zip(&mut rooms) {
        let (octets, headers) = sent.packet();
        let mut tracked = Tracked {
            connection: &connection,
            direction: Direction::Original,
            memory: &empty,
            scratch: room,
            now: 0,
            limits,
        };
        let verdict = track::judge(
            &tracking(&Rule::default()),
            &Octets(&octets),
            &headers,
            &mut tracked,
        );
        assert_eq!(verdict, Some(Verdict::Match));
    }
    assert_eq!(commit(&mut connection, &first, &mut rooms[0]), Commit::Pass);
    let late = commit(&mut connection, &second, &mut rooms[1]);
    assert_eq!(late, Commit::Overlap);
}

#[test]
fn packets_judged_before_a_frame_grew_too_old() {
    // Half a carrier, and then two ways to go on, judged in the frame's last second and committed behind
    // it: the hidden frame and a CRC that the other way's octets break.
    let policies = policies();
    for kind in Kind::all() {
        let mut world = World::new(&policies[0], kind, Memory::Grows, true);
        let result = (|| {
            opened(&mut world)?;
            assert!(world.send(&data(0, &CARRIER_B[..28]), true)?);
            world.gateway.now += 15;
            let user_data = [&[0xC1, 0xC1, 1][..], &[0; 28]].concat();
            let other = frame(0xC4, 1, 1024, &user_data);
            let mut last = other[28..].to_vec();
            assert_eq!(last.len(), CARRIER_B.len() - 28);
            last.extend(READ);
            assert!(world.hold(&data(28, &CARRIER_B[28..43])));
            assert!(world.hold(&data(28, &last)));
            assert!(world.hold(&data(28, &last)));
            world.gateway.now += 1;
            world.release(0, true)?;
            world.release(0, true)?;
            world.release(0, true).map(drop)
        })();
        if let Err(why) = result {
            panic!("{kind:?}: {why}");
        }
    }
}

#[test]
fn a_receiver_that_ignores_fir_is_not_bound_by_a_message_under_way() {
    // A continuation of a READ is a READ to every conforming receiver. Of those that take each segment for a
    // first one no gateway knows what they make; a rule for them needs `--fc` without any function that
    // goes on in further segments, which no rule can say.
    use dnp3_tests::receivers::{Receiver, Recovery, Station};
    let first = frame(0xC4, 1, 1024, &[0x40, 0xC0, 1]);
    let stream = [&first, &frame(0xC4, 1, 1024, &[0x81, 0xC0, 13])[..]].concat();
    let policies = policies();
    let mut world = World::new(&policies[0], Kind::all()[0], Memory::Grows, true);
    opened(&mut world).expect("a handshake");
    assert_eq!(world.send(&data(0, &stream), true), Ok(true));
    assert_eq!(world.functions, [1]);
    let mut simulator = Station::that_ignores_fir(1);
    let frames = Receiver::new(Recovery::NextOctet, true).take(&stream);
    let executed: Vec<_> = frames
        .iter()
        .filter_map(|frame| simulator.take(frame))
        .map(|executed| executed.function)
        .collect();
    assert_eq!(executed, [13]);
}

// ---- 3: honest peers

fn sum(all: &mut Carried, one: &Carried) {
    all.connections += one.connections;
    all.octets += one.octets;
    all.frames += one.frames;
    all.segments += one.segments;
    all.repeated += one.repeated;
    all.ahead += one.ahead;
}

#[test]
fn the_longest_fragment_may_come_again_when_its_acknowledgements_are_lost() {
    // Of 2,048 octets, which are some 2,400 in frames; what the station acknowledged the gateway has seen, and
    // the sender has not.
    let fragment = [&[0xC0, 1][..], &[0; 2046]].concat();
    let count = fragment.len().div_ceil(249);
    let segments = fragment.chunks(249).enumerate().flat_map(|(at, part)| {
        let first = if at == 0 { 0x40 } else { 0 };
        let last = if at + 1 == count { 0x80 } else { 0 };
        frame(0xC4, 1, 1024, &[&[first | last | at as u8], part].concat())
    });
    let stream: Vec<u8> = segments.collect();
    let policies = policies();
    let mut world = World::new(&policies[0], Kind::all()[0], Memory::Grows, true);
    opened(&mut world).expect("a handshake");
    for round in 0..20 {
        let at = round * stream.len();
        for again in [false, true, true] {
            for (part, octets) in stream.chunks(536).enumerate() {
                let sent = data(at + part * 536, octets);
                assert_eq!(world.send(&sent, true), Ok(true), "{round} {part} {again}");
            }
        }
    }
    assert_eq!(world.functions, [1; 20]);
}

#[test]
fn honest_peers_always_get_through() {
    let mut all = Carried::default();
    let mut carry = |seed: u64, about: usize, cut: Cut, line: Line| match carry(
        &mut Dice(seed),
        about,
        cut,
        line,
    ) {
        Ok(one) => {
            if line.lost == 0 {
                assert_eq!((one.repeated, one.ahead), (0, 0), "on a good line");
            }
            sum(&mut all, &one);
        }
        Err(why) => panic!("{cut:?} {line:?}, {seed}: {why}"),
    };
    for seed in 0..times() {
        for size in 1..=300 {
            carry(seed, 900, Cut::Every(size), Line::GOOD);
            carry(seed, 900, Cut::Every(size), Line::BAD);
            carry(seed, 1500, Cut::UpTo(size), Line::BAD);
        }
        for size in [536, 1460, 4000] {
            carry(seed, 20_000, Cut::Every(size), Line::GOOD);
            carry(seed, 20_000, Cut::UpTo(size), Line::BAD);
        }
    }
    println!(
        "track, honest peers: {} connections, {} octets, {} frames in {} segments, all of which arrived; \
         {} repeated, {} ahead",
        all.connections, all.octets, all.frames, all.segments, all.repeated, all.ahead,
    );
    assert!(all.repeated > all.segments / 50, "{all:?}");
    assert!(all.ahead > all.segments / 50, "{all:?}");
}
