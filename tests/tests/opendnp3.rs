// SPDX-License-Identifier: GPL-2.0

//! What a real outstation executes is what the rules accepted: yadnp3 (opendnp3) in the VM, behind the module,
//! is given sequences of packets, hostile and honest, each on a TCP connection of its own and each packet in a
//! segment of its own. tests/guest/opendnp3/main.py says how.
//!
//! opendnp3 tells of each frame that its link layer delivers, of each segment that its transport function takes,
//! of each request that its application layer is handed, and it calls the application for what has an
//! effect. All of that is compared with what `core` says of the very same packets, and with the model
//! of a station (`dnp3_tests::receivers`). Some sequences meet no rule, and there the attacks work.
//!
//! `DNP3_TESTS_TIMES=20` sends so many times as many; scripts/opendnp3 does, and reports.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

use dnp3_core::frame::{Event, Walk};
use dnp3_core::text::{self, names};
use dnp3_core::{judge, Octets, Rule, Verdict};
use dnp3_tests::frames::{self, frame};
use dnp3_tests::generate::{Shape, Transport};
use dnp3_tests::receivers::{Frame, Receiver, Recovery, Station, Tcp};
use dnp3_tests::sequences::{self, Dice, Pool};
use dnp3_tests::vectors::{
    CARRIER_B, COLD_RESTART, FRAME_IN_FRAME, READ, REQUEST_LINK_STATUS, SHORT_FIR_1, SHORT_FIR_2,
};
use dnp3_tests::vm;

/// The outstation and its master, as in the vectors.
const STATION: u16 = 1;
const MASTER: u16 = 1024;
const BROADCAST: RangeInclusive<u16> = 65533..=65535;
const MASTER_DATA: u8 = frames::control::MASTER_DATA;
/// More would not be one segment.
const MSS: usize = 1460;
/// So many in `make test`.
const SEQUENCES: usize = 480;
const SEED: u64 = 5_000;

/// Rules before an outstation: the first that matches decides, and what no rule matches is reset.
struct Policy {
    name: &'static str,
    /// ACCEPT or REJECT, and the options of `-m dnp3`, if it is asked at all.
    rules: &'static [(bool, &'static str)],
    /// Functions that can be executed.
    permits: fn(u8) -> bool,
}

const ACCEPT: bool = true;
const REJECT: bool = false;

fn is_restart(function: u8) -> bool {
    matches!(function, 13 | 14)
}

/// The last one is none, to see what the others are for.
const POLICIES: [Policy; 5] = [
    Policy {
        name: "operator",
        rules: &[(ACCEPT, "--saddr 1024 --daddr 1 --fc 0:6,link")],
        permits: |function| function <= 6,
    },
    Policy {
        name: "master",
        rules: &[(
            ACCEPT,
            "--dir master --saddr 1024 --daddr 1,broadcast ! --fc restart",
        )],
        permits: |function| !is_restart(function),
    },
    Policy {
        name: "no restart",
        rules: &[(ACCEPT, "! --fc restart")],
        permits: |function| !is_restart(function),
    },
    Policy {
        name: "drop restarts",
        rules: &[
            (REJECT, "--frames any --fc restart"),
            (REJECT, "--status partial,malformed"),
            (ACCEPT, ""),
        ],
        permits: |function| !is_restart(function),
    },
    Policy {
        name: "none",
        rules: &[(ACCEPT, "")],
        permits: |_| true,
    },
];
const NONE: usize = POLICIES.len() - 1;

impl Policy {
    /// The rules, for `core`, as iptables takes them behind `-p tcp`.
    fn parsed(&self) -> Vec<(bool, Option<Rule>)> {
        let rule = |options: &str| {
            text::parse(options.split_whitespace(), 6)
                .map_err(|error| format!("{options}: {error}"))
                .expect("a rule")
        };
        let asked = |options: &'static str| (!options.is_empty()).then(|| rule(options));
        self.rules
            .iter()
            .map(|(target, options)| (*target, asked(options)))
            .collect()
    }
}

/// A segment to be sent.
#[derive(Clone, Debug, Default)]
struct Packet {
    payload: Vec<u8>,
    urgent: bool,
    /// Whether the sender waits for an answer before it goes on.
    awaited: bool,
    /// Whether it will be refused: it is not sent until the outstation has read all before it.
    last: bool,
}

impl Packet {
    fn of(payload: &[u8]) -> Packet {
        Packet {
            payload: payload.to_vec(),
            ..Packet::default()
        }
    }
}

/// A well-formed request: function, objects, what the application is called for, whether it is answered.
struct Request {
    function: u8,
    objects: &'static [u8],
    called: &'static [&'static str],
    answered: bool,
}

const fn request(
    function: u8,
    objects: &'static [u8],
    called: &'static [&'static str],
    answered: bool,
) -> Request {
    Request {
        function,
        objects,
        called,
        answered,
    }
}

const CLASS_1: &[u8] = &[60, 2, 6];
const COUNTERS: &[u8] = &[20, 0, 6];
const TIME: &[u8] = &[50, 1, 7, 1, 1, 2, 3, 4, 5, 6];
/// LATCH_ON at index 3.
const CROB: &[u8] = &[12, 1, 0x28, 1, 0, 3, 0, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const SELECT: Request = request(3, CROB, &["Select"], true);
const OPERATE: Request = request(4, CROB, &["SelectBeforeOperate"], true);
const REQUESTS: &[Request] = &[
    request(1, CLASS_1, &[], true),
    request(2, TIME, &["WriteAbsoluteTime"], true),
    request(5, CROB, &["DirectOperate"], true),
    request(6, CROB, &["DirectOperateNoAck"], false),
    request(7, COUNTERS, &[], true),
    request(10, COUNTERS, &[], false),
    request(13, &[], &["ColdRestart"], true),
    request(14, &[], &["WarmRestart"], true),
    request(21, CLASS_1, &[], true),
    request(23, &[], &[], true),
    request(24, &[], &[], true),
];

/// The functions that call the application by this name.
fn function_of(called: &str) -> Option<u8> {
    let all = REQUESTS.iter().chain([&SELECT, &OPERATE]);
    let mut calling = all.filter(|request| request.called.contains(&called));
    match called {
        "RecordClassAssignment" => Some(22),
        _ => calling.next().map(|request| request.function),
    }
}

impl Request {
    fn frame(&self, sequence: u8) -> Vec<u8> {
        let head = [
            0xC0 | sequence & 0x3F,
            0xC0 | sequence & 0x0F,
            self.function,
        ];
        frame(
            MASTER_DATA,
            STATION,
            MASTER,
            &[&head, self.objects].concat(),
        )
    }
}

/// What an honest sequence must come to, packet by packet.
#[derive(Clone, Debug, Default)]
struct Honest {
    function: Option<u8>,
    called: Vec<&'static str>,
    /// The application sequence number of the response.
    response: Option<u8>,
}

/// What is sent on a connection.
#[derive(Clone, Debug, Default)]
struct Sequence {
    policy: usize,
    packets: Vec<Packet>,
    /// For the requests of an honest master, one for each packet.
    honest: Vec<Honest>,
    /// For an attack that is known to work where no rule is.
    attack: Option<&'static str>,
}

impl Sequence {
    fn name(&self) -> String {
        let mut name = format!("policy {:?}", POLICIES[self.policy].name);
        if let Some(attack) = self.attack {
            write!(name, ", attack {attack:?}").expect("a string takes everything");
        }
        for Packet {
            payload, urgent, ..
        } in &self.packets
        {
            let urgent = if *urgent { " urgent" } else { "" };
            write!(name, "\n packet{urgent}: {payload:02x?}").expect("a string takes everything");
        }
        name
    }
}

/// An honest master: one request after the other, each answered before the next.
fn honest(dice: &mut Dice) -> Sequence {
    let mut sequence = Sequence::default();
    let mut number = dice.octet();
    let mut say = |request: &Request| {
        number = number.wrapping_add(1);
        sequence.packets.push(Packet {
            awaited: request.answered,
            ..Packet::of(&request.frame(number))
        });
        sequence.honest.push(Honest {
            function: Some(request.function),
            called: request.called.to_vec(),
            response: request.answered.then_some(number & 0x0F),
        });
    };
    for _ in 0..1 + dice.below(4) {
        if dice.one_in(5) {
            // OPERATE wants the next number.
            say(&SELECT);
            say(&OPERATE);
        } else {
            say(dice.pick(REQUESTS));
        }
    }
    if dice.one_in(3) {
        sequence.packets.push(Packet {
            awaited: true,
            ..Packet::of(REQUEST_LINK_STATUS)
        });
        sequence.honest.push(Honest::default());
    }
    sequence
}

/// A request with another frame whole inside it, and mostly nothing wrong with it but, perhaps, the
/// control octet.
fn carrier(dice: &mut Dice) -> Vec<u8> {
    let inner = dice.pick(REQUESTS).frame(dice.octet());
    let control = *dice.pick(&[MASTER_DATA, MASTER_DATA, 0xD4, 0xE4, 0xC5, 0xC0]);
    let mut user_data = vec![0xC0, 0xC0, 1];
    user_data.resize(frames::BLOCK, 0);
    user_data.extend(inner);
    user_data.resize(user_data.len() + dice.below(6), 0);
    frame(control, STATION, MASTER, &user_data)
}

/// A long request in several segments, nearly always in their order.
fn segments(dice: &mut Dice) -> Vec<Vec<u8>> {
    let mut fragment = vec![0xC0 | dice.octet() & 0x0F, *dice.pick(&[1, 1, 1, 20, 13])];
    for _ in 0..1 + dice.below(30) {
        fragment.extend(CLASS_1);
    }
    let mut number = dice.octet();
    let mut segments = Vec::new();
    while !fragment.is_empty() {
        let least = 1 + usize::from(!dice.one_in(10));
        let size = (least + dice.below(24)).min(fragment.len());
        let fir = if segments.is_empty() { 0x40 } else { 0 };
        let fin = if size == fragment.len() { 0x80 } else { 0 };
        let transport = [fin | fir | number & 0x3F];
        let user_data: Vec<u8> = transport
            .into_iter()
            .chain(fragment.drain(..size))
            .collect();
        segments.push(frame(MASTER_DATA, STATION, MASTER, &user_data));
        number = number.wrapping_add(u8::from(!dice.one_in(20)));
    }
    segments
}

/// What hostile and broken peers send.
fn hostile(dice: &mut Dice, pool: &Pool, policy: usize) -> Sequence {
    // Where much is refused, little comes behind it.
    let hostility = dice.below(6).min(dice.below(6));
    let wanted = 1 + dice.below(9);
    let mut all: Vec<Vec<u8>> = Vec::new();
    while all.len() < wanted {
        match dice.below(10) {
            0 => all.extend(sequences::chunks(dice, pool, hostility)),
            1 => all.push(carrier(dice)),
            2 => all.extend(segments(dice)),
            3 => all.push(REQUEST_LINK_STATUS.to_vec()),
            _ => {
                let request = dice.pick(REQUESTS);
                if (POLICIES[policy].permits)(request.function) || dice.one_in(5) {
                    all.push(request.frame(dice.octet()));
                }
            }
        }
    }
    let packets = sequences::packets(dice, pool, hostility, all);
    let payloads = packets.iter().map(|packet| packet.concat());
    let mut packets: Vec<Packet> = payloads
        .filter(|payload| (1..=MSS).contains(&payload.len()))
        .map(|payload| Packet::of(&payload))
        .collect();
    // One at most: of several, it depends on when the receiver reads which octets are urgent.
    let urgent = dice.below(10);
    if let Some(packet) = packets.get_mut(urgent) {
        packet.urgent = dice.below(12) < hostility;
    }
    if policy == NONE {
        // opendnp3 waits for all octets that a frame claims, which are 292 at most, before it finds it wrong.
        packets.push(Packet::of(&[0; 300]));
    }
    Sequence {
        packets,
        ..Sequence::default()
    }
}

/// Each makes the outstation restart, where nobody is in the way.
fn attacks() -> Vec<(&'static str, Vec<Packet>)> {
    let packets = |payloads: &[&[u8]]| payloads.iter().map(|one| Packet::of(one)).collect();
    let (start, end) = COLD_RESTART.split_at(5);
    let mut broken = CARRIER_B.to_vec();
    broken[12] ^= 1;
    let urgent = Packet {
        urgent: true,
        ..Packet::of(CARRIER_B)
    };
    // 28 octets of a READ, whose last block is the header of the frame behind them.
    let user_data = [&[0xC0, 0xC0, 1][..], &[0; 13]].concat();
    let header = frames::header(5 + 16 + 8, MASTER_DATA, STATION, MASTER);
    let beginning = [header, frames::blocks(&user_data)].concat();
    vec![
        ("a restart", packets(&[COLD_RESTART])),
        ("behind a READ", packets(&[&[READ, COLD_RESTART].concat()])),
        ("behind junk", packets(&[&[&[0xAA], COLD_RESTART].concat()])),
        ("in a frame that is refused", packets(&[FRAME_IN_FRAME])),
        ("in a frame with a wrong CRC", packets(&[&broken])),
        ("cut in two", packets(&[start, end])),
        (
            "its function code in a second frame",
            packets(&[SHORT_FIR_1, SHORT_FIR_2]),
        ),
        (
            "in a frame that takes the header before it",
            packets(&[&beginning, CARRIER_B]),
        ),
        (
            "in a frame with an urgent octet",
            vec![urgent, Packet::of(REQUEST_LINK_STATUS)],
        ),
    ]
}

fn times() -> usize {
    std::env::var("DNP3_TESTS_TIMES").ok().map_or(1, |times| {
        times.parse().expect("DNP3_TESTS_TIMES is a number")
    })
}

/// All that is sent, the same in each run.
fn sequences() -> Vec<Sequence> {
    let mut all = Vec::new();
    for (name, packets) in attacks() {
        all.extend((0..POLICIES.len()).map(|policy| Sequence {
            policy,
            packets: packets.clone(),
            attack: Some(name),
            ..Sequence::default()
        }));
    }
    let pool = Pool::new(SEED);
    let mut dice = Dice(SEED);
    for _ in 0..SEQUENCES * times() {
        let policy = dice.below(POLICIES.len());
        let sequence = if dice.one_in(4) {
            honest(&mut dice)
        } else {
            hostile(&mut dice, &pool, policy)
        };
        all.push(Sequence { policy, ..sequence });
    }
    for sequence in &mut all {
        let accepted = accepted(sequence);
        if let Some(packet) = sequence.packets.get_mut(accepted) {
            packet.last = true;
        }
    }
    all
}

/// What the outstation did.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    /// Its link layer delivered this frame.
    Delivered(Vec<u8>),
    /// Its link layer found something wrong.
    Wrong(String),
    /// Its transport function was given a segment, which was in the frame before.
    Segment,
    /// Its application layer was handed a request with this function code.
    Requested(u8),
    /// Its application was called.
    Called(String),
}

/// What came of a sequence.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// Packets that were acknowledged; the next one, if there is one, was reset.
    accepted: usize,
    did: Vec<Did>,
    answers: Vec<u8>,
}

impl Heard {
    fn each<'a, T>(&'a self, what: fn(&'a Did) -> Option<T>) -> Vec<T> {
        self.did.iter().filter_map(what).collect()
    }

    fn requested(&self) -> Vec<u8> {
        self.each(|did| match did {
            Did::Requested(code) => Some(*code),
            _ => None,
        })
    }

    fn called(&self) -> Vec<&str> {
        self.each(|did| match did {
            Did::Called(name) => Some(name.as_str()),
            _ => None,
        })
    }

    fn delivered(&self) -> Vec<&[u8]> {
        self.each(|did| match did {
            Did::Delivered(octets) => Some(octets.as_slice()),
            _ => None,
        })
    }

    /// The frames that its link layer delivered, and whether their segment was taken.
    fn segments(&self) -> Vec<(Frame, bool)> {
        let mut segments = Vec::new();
        for did in &self.did {
            match did {
                Did::Delivered(octets) => {
                    let delivered = Receiver::new(Recovery::Close, false).take(octets);
                    segments.extend(delivered.into_iter().map(|frame| (frame, false)));
                }
                Did::Segment => {
                    if let Some((_, taken)) = segments.last_mut() {
                        *taken = true;
                    }
                }
                _ => {}
            }
        }
        segments
    }
}

fn octets(text: &str) -> Result<Vec<u8>, String> {
    let octet = |at: usize| {
        text.get(at..at + 2)
            .and_then(|two| u8::from_str_radix(two, 16).ok())
    };
    (0..text.len())
        .step_by(2)
        .map(octet)
        .collect::<Option<_>>()
        .ok_or_else(|| format!("no octets: {text:?}"))
}

/// Reads what the guest printed.
fn heard(said: &str, count: usize) -> Result<Vec<Heard>, String> {
    let mut all: Vec<Option<Heard>> = vec![None; count];
    let mut ended = false;
    for line in said.lines() {
        let wrong = || format!("the guest said {line:?}");
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["heard", number, accepted, ref events @ ..] => {
                let number: usize = number.parse().map_err(|_| wrong())?;
                let mut heard = Heard {
                    accepted: accepted.parse().map_err(|_| wrong())?,
                    ..Heard::default()
                };
                for event in events {
                    let did = match event.split_once(':').unwrap_or((event, "")) {
                        ("f", frame) => Did::Delivered(octets(frame)?),
                        ("w", words) => Did::Wrong(words.into()),
                        ("t", "") => Did::Segment,
                        ("a", code) => Did::Requested(code.parse().map_err(|_| wrong())?),
                        ("c", name) => Did::Called(name.into()),
                        ("r", answers) => {
                            heard.answers = octets(answers)?;
                            continue;
                        }
                        _ => return Err(wrong()),
                    };
                    heard.did.push(did);
                }
                *all.get_mut(number).ok_or_else(wrong)? = Some(heard);
            }
            ["end"] => ended = true,
            _ => return Err(wrong()),
        }
    }
    if !ended {
        return Err("the guest did not come to its end".into());
    }
    all.into_iter()
        .enumerate()
        .map(|(number, heard)| heard.ok_or_else(|| format!("nothing heard of sequence {number}")))
        .collect()
}

/// What the guest is to do.
fn plan(all: &[Sequence]) -> String {
    let mut plan = String::new();
    let mut line = |words: String| {
        plan.push_str(&words);
        plan.push('\n');
    };
    for (number, policy) in POLICIES.iter().enumerate() {
        for (target, options) in policy.rules {
            let target = if *target { "ACCEPT" } else { "REJECT" };
            line(format!("rule {number} {target} {options}"));
        }
    }
    for (number, sequence) in all.iter().enumerate() {
        let mut words = format!("sequence {number} {}", sequence.policy);
        for packet in &sequence.packets {
            words.push(' ');
            for octet in &packet.payload {
                write!(words, "{octet:02x}").expect("a string takes everything");
            }
            for (is_so, how) in [
                (packet.urgent, "/urgent"),
                (packet.awaited, "/awaited"),
                (packet.last, "/last"),
            ] {
                words.push_str(if is_so { how } else { "" });
            }
        }
        line(words);
    }
    plan
}

/// Sends everything to the outstation in the VM.
fn run(all: &[Sequence]) -> Result<Vec<Heard>, String> {
    let mut command = vm::with_packages()?;
    let file = std::env::temp_dir().join(format!("opendnp3-{}", std::process::id()));
    fs::write(&file, plan(all)).map_err(|error| format!("{}: {error}", file.display()))?;
    // It takes 25 in a second, or fewer where the machine is busy.
    let seconds = 120 + all.len() / 4;
    command.args(["--cpus", "2", "--timeout", &seconds.to_string()]);
    let output = vm::put_guest(vm::put(&mut command, &file, "plan"))
        .args(["--", "python3 guest/opendnp3/main.py plan"])
        .output();
    fs::remove_file(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let output = output.map_err(|error| format!("scripts/vm: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        return heard(&said, all.len());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let faults: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("fault"))
        .collect();
    Err(format!("scripts/vm: {}\n{errors}{faults:?}", output.status))
}

/// Sequences and what came of them: one run for all tests.
fn all() -> &'static [(Sequence, Heard)] {
    static ALL: OnceLock<Result<Vec<(Sequence, Heard)>, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let sequences = sequences();
        let heard = run(&sequences)?;
        let all: Vec<_> = sequences.into_iter().zip(heard).collect();
        print!("{}", figures(&all));
        Ok(all)
    });
    match all {
        Ok(all) => all,
        Err(error) => panic!("{error}"),
    }
}

/// Holds something to all sequences of some policies.
fn hold(
    wanted: impl Fn(&Sequence) -> bool,
    law: impl Fn(&Sequence, &Heard) -> Result<(), String>,
) -> usize {
    let wanted = all().iter().filter(|(sequence, _)| wanted(sequence));
    let mut held = 0;
    for (sequence, heard) in wanted {
        if let Err(wrong) = law(sequence, heard) {
            panic!("{wrong}\n{}\n{heard:02x?}", sequence.name());
        }
        held += 1;
    }
    held
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, should: &T) -> Result<(), String> {
    if is == should {
        return Ok(());
    }
    Err(format!("{what}: {is:02x?}\nand not: {should:02x?}"))
}

fn is_judged(sequence: &Sequence) -> bool {
    sequence.policy != NONE
}

/// Whether the first rule that matches is one that accepts.
fn accepts(rules: &[(bool, Option<Rule>)], packet: &Packet) -> bool {
    let flags = if packet.urgent { 0x38 } else { 0x18 };
    let shape = Shape::plain(Transport::tcp_with(flags));
    let (octets, headers) = shape.packet(&packet.payload);
    let matches = |rule: &Rule| judge(rule, &Octets(&octets), &headers) == Verdict::Match;
    rules
        .iter()
        .find(|(_, rule)| rule.as_ref().is_none_or(matches))
        .is_some_and(|(target, _)| *target)
}

/// How many packets `core` accepts before it refuses one.
fn accepted(sequence: &Sequence) -> usize {
    let rules = POLICIES[sequence.policy].parsed();
    let accepted = |packet: &&Packet| accepts(&rules, packet);
    sequence.packets.iter().take_while(accepted).count()
}

/// The frames that `core` cuts a payload into.
fn judged(payload: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut walk = Walk::new();
    let mut frames = Vec::new();
    let (mut from, mut rest) = (0, payload);
    while !rest.is_empty() {
        let event;
        (event, rest) = walk.step(rest);
        let end = payload.len() - rest.len();
        match event {
            Event::Wrong => return Err(format!("accepted, and no row of frames: {payload:02x?}")),
            Event::Frame => {
                frames.push(&payload[from..end]);
                from = end;
            }
            Event::Taken | Event::Addressed => {}
        }
    }
    if walk.at_boundary() {
        Ok(frames)
    } else {
        Err(format!("accepted, and a frame is cut: {payload:02x?}"))
    }
}

#[test]
fn the_module_accepts_what_core_accepts() {
    hold(
        |_| true,
        |sequence, heard| equal("packets accepted", &heard.accepted, &accepted(sequence)),
    );
}

#[test]
fn the_outstation_delivers_the_judged_frames_and_no_others() {
    hold(is_judged, |sequence, heard| {
        let mut should: Vec<&[u8]> = Vec::new();
        for packet in &sequence.packets[..heard.accepted] {
            should.extend(judged(&packet.payload)?);
        }
        equal("frames delivered", &heard.delivered(), &should)?;
        match heard.did.iter().find(|did| matches!(did, Did::Wrong(_))) {
            Some(wrong) => Err(format!("the outstation's parser: {wrong:?}")),
            None => Ok(()),
        }
    });
}

#[test]
fn the_outstation_executes_what_the_rules_permit_and_nothing_else() {
    hold(is_judged, |sequence, heard| {
        let permits = POLICIES[sequence.policy].permits;
        if let Some(function) = heard.requested().into_iter().find(|code| !permits(*code)) {
            return Err(format!("function {function} was requested"));
        }
        for called in heard.called() {
            let function = function_of(called).ok_or_else(|| format!("{called} was called"))?;
            if !permits(function) {
                return Err(format!("{called} was called"));
            }
        }
        Ok(())
    });
}

/// Rules or not: what reaches the application is what the model of a station makes of the segments,
/// and the segments are those that are for it.
#[test]
fn the_outstation_is_the_model_of_a_station() {
    hold(
        |_| true,
        |_, heard| {
            let mut station = Station::new(STATION);
            let mut should = Vec::new();
            for (frame, taken) in heard.segments() {
                let is_data = matches!(frame.control & !0x30, MASTER_DATA | 0xC3);
                let is_for_it = frame.source == MASTER
                    && (frame.destination == STATION || BROADCAST.contains(&frame.destination));
                if taken && !(is_data && is_for_it) {
                    return Err(format!("not for this station: {frame:02x?}"));
                }
                // Confirmed data is taken in some states of the link only.
                if !taken && frame.control == MASTER_DATA && is_for_it {
                    return Err(format!("not taken: {frame:02x?}"));
                }
                if taken {
                    should.extend(station.take(&frame).map(|executed| executed.function));
                }
            }
            equal("functions requested", &heard.requested(), &should)?;
            // What was called was requested, as often at least.
            let mut requested = heard.requested();
            for called in heard.called() {
                let function = function_of(called).ok_or_else(|| format!("{called} was called"))?;
                let at = requested.iter().position(|code| *code == function);
                let at = at.ok_or_else(|| format!("{called} was called, and nobody asked"))?;
                requested.swap_remove(at);
            }
            Ok(())
        },
    );
}

#[test]
fn an_honest_master_gets_all_that_it_may_ask_for() {
    let held = hold(
        |sequence| !sequence.honest.is_empty(),
        |sequence, heard| {
            let permits = POLICIES[sequence.policy].permits;
            let is_permitted = |one: &&Honest| one.function.is_none_or(permits);
            let permitted = sequence.honest.iter().take_while(is_permitted).count();
            equal("requests accepted", &heard.accepted, &permitted)?;
            let accepted = &sequence.honest[..permitted];
            let functions: Vec<u8> = accepted.iter().filter_map(|one| one.function).collect();
            equal("functions requested", &heard.requested(), &functions)?;
            let called: Vec<&str> = accepted.iter().flat_map(|one| one.called.clone()).collect();
            equal("application called", &heard.called(), &called)?;
            let responses: Vec<Option<u8>> = accepted
                .iter()
                .filter(|one| one.response.is_some() || one.function.is_none())
                .map(|one| one.response)
                .collect();
            let answers = Receiver::new(Recovery::Close, true).take(&heard.answers);
            let answers: Vec<Option<u8>> = answers
                .iter()
                .map(|frame| match (frame.function(), frame.user_data.get(1)) {
                    (Some(129), Some(control)) => Some(control & 0x0F),
                    _ => None,
                })
                .collect();
            equal("answers", &answers, &responses)
        },
    );
    assert!(held > SEQUENCES / 6, "{held}");
}

#[test]
fn attacks_work_where_there_are_no_rules_and_nowhere_else() {
    let held = hold(
        |sequence| sequence.attack.is_some(),
        |sequence, heard| {
            let restarts = heard.called().contains(&"ColdRestart");
            equal(
                "the outstation restarts",
                &restarts,
                &(sequence.policy == NONE),
            )
        },
    );
    assert_eq!(held, attacks().len() * POLICIES.len());
}

/// Where nothing is refused, its link layer delivers what the model delivers that searches octet by octet: so the
/// model is as hostile as this receiver, and more than what `core` would judge is delivered.
#[test]
fn without_rules_the_outstation_is_the_model_of_a_receiver_that_searches() {
    hold(
        |sequence| !is_judged(sequence),
        |sequence, heard| {
            let mut tcp = Tcp::new(1);
            let mut stream = Vec::new();
            for Packet {
                payload, urgent, ..
            } in &sequence.packets
            {
                let pointer = urgent.then_some(payload.len() as u16);
                stream.extend(tcp.segment(tcp.next(), payload, pointer));
            }
            let delivered = Receiver::new(Recovery::NextOctet, true).take(&stream);
            let should: Vec<&[u8]> = delivered
                .iter()
                .map(|frame| &stream[frame.from as usize..][..frame.size])
                .collect();
            equal("frames delivered", &heard.delivered(), &should)
        },
    );
    // So there was something to find that rules would not have let through.
    let unjudged: usize = all()
        .iter()
        .map(|(sequence, heard)| unjudged(sequence, heard))
        .sum();
    assert!(unjudged > SEQUENCES / 20, "{unjudged}");
}

/// Frames that were delivered and are none of those that `core` finds in packets of whole frames.
fn unjudged(sequence: &Sequence, heard: &Heard) -> usize {
    let accepted = &sequence.packets[..heard.accepted];
    let mut judged: Vec<&[u8]> = accepted
        .iter()
        .filter_map(|packet| judged(&packet.payload).ok())
        .flatten()
        .collect();
    let mut unjudged = 0;
    for frame in heard.delivered() {
        match judged.iter().position(|one| *one == frame) {
            Some(at) => drop(judged.remove(at)),
            None => unjudged += 1,
        }
    }
    unjudged
}

/// What was sent, and what came of it.
fn figures(all: &[(Sequence, Heard)]) -> String {
    let mut text = String::new();
    for judged in [true, false] {
        let some = || {
            all.iter()
                .filter(|(sequence, _)| is_judged(sequence) == judged)
        };
        let sum = |of: fn(&Sequence, &Heard) -> usize| -> usize {
            some().map(|(sequence, heard)| of(sequence, heard)).sum()
        };
        let mut functions: BTreeMap<u8, usize> = BTreeMap::new();
        let mut called: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, heard) in some() {
            for code in heard.requested() {
                *functions.entry(code).or_default() += 1;
            }
            for name in heard.called() {
                *called.entry(name).or_default() += 1;
            }
        }
        let functions: Vec<String> = functions
            .iter()
            .map(|(code, count)| match names::function(*code) {
                Some(name) => format!("{name} {count}"),
                None => format!("{code} {count}"),
            })
            .collect();
        let called: Vec<String> = called
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        writeln!(
            text,
            "opendnp3, {}: {} sequences ({} of an honest master), {} packets accepted ({} of them behind another), \
             {} refused, {} frames delivered ({} that nobody judged); requests handed to the application: {}; calls of the application: {}",
            if judged { "behind rules" } else { "without rules" },
            some().count(),
            sum(|sequence, _| usize::from(!sequence.honest.is_empty())),
            sum(|_, heard| heard.accepted),
            sum(|_, heard| heard.accepted.saturating_sub(1)),
            sum(|sequence, heard| usize::from(heard.accepted < sequence.packets.len())),
            sum(|_, heard| heard.delivered().len()),
            sum(unjudged),
            functions.join(", "),
            called.join(", "),
        )
        .expect("a string takes everything");
    }
    text
}
