// SPDX-License-Identifier: GPL-2.0

//! Every recipe of xtables-ext/recipes, loaded as it stands in the VM, with iptables-legacy and iptables-nft
//! and where it makes sense in IPv6 too, and held to what it promises: real TCP and UDP that must pass,
//! and that must not. tests/guest/recipes.py is the other side. One boot serves them all.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use dnp3_tests::commands;
use dnp3_tests::frames::{control, frame};
use dnp3_tests::vm::{self, hex, Outcome};
use libtest_mimic::{Arguments, Failed, Trial};
use serde_json::{json, Map, Value};

const CPUS: u32 = 2;
/// A run takes a tenth of this.
const SECONDS: u32 = 600;

// Who there is: link addresses as the recipes have them, hosts as tests/guest/recipes.py has them.
const MASTER: u16 = 1;
const SECOND: u16 = 2;
const ENGINEER: u16 = 3;
const STATION: u16 = 10;
const ALL_STATIONS: u16 = 0xFFFF;

/// What comes of a step, and words of the rule that takes it.
#[derive(Clone, Copy)]
enum Fate {
    Passes(&'static [&'static str]),
    Reset(&'static [&'static str]),
    Dropped(&'static [&'static str]),
}

use Fate::{Dropped, Passes, Reset};

impl Fate {
    fn parts(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Passes(rule) => ("passes", rule),
            Reset(rule) => ("reset", rule),
            Dropped(rule) => ("dropped", rule),
        }
    }
}

const ACCEPT: Fate = Passes(&["-A DNP3", "-m dnp3", "-j ACCEPT"]);
const REPLY: Fate = Passes(&["-A DNP3-REPLY", "-m dnp3", "-j ACCEPT"]);
const REJECT: Fate = Reset(&["-A DNP3", "-j REJECT"]);
const NEW: Fate = Passes(&[
    "-A DNP3",
    "--ctstate NEW,ESTABLISHED",
    "--status none",
    "-j ACCEPT",
]);

/// A request with a function code and a few objects.
fn request(from: u16, to: u16, function: u8) -> Vec<u8> {
    let user_data = [0xC0, 0xC0, function, 0x3C, 0x02, 0x06];
    frame(control::MASTER_DATA, to, from, &user_data)
}

fn response(from: u16, to: u16, function: u8) -> Vec<u8> {
    frame(
        control::OUTSTATION_DATA,
        to,
        from,
        &[0xC0, 0xC0, function, 0, 0],
    )
}

/// The same where a message is longer than a frame: its first, with FIR and without FIN.
fn begun(control: u8, from: u16, to: u16, function: u8) -> Vec<u8> {
    frame(control, to, from, &[0x40, 0xC0, function, 0, 0])
}

/// A segment that goes on where another ended.
fn continuation(control: u8, from: u16, to: u16) -> Vec<u8> {
    frame(control, to, from, &[0x81, 0x01, 0x02])
}

fn keep_alive(from: u16, to: u16) -> Vec<u8> {
    frame(0xC9, to, from, &[])
}

fn read() -> Vec<u8> {
    request(MASTER, STATION, 1)
}

fn restart() -> Vec<u8> {
    request(MASTER, STATION, 13)
}

/// A connection from `who` to the outstations' host.
fn open(who: &str, fate: Fate) -> Value {
    let (fate, rule) = fate.parts();
    let what = format!("{who} connects");
    json!({ "do": "open", "what": what, "from": who, "to": "rtu", "fate": fate, "rule": rule })
}

/// Octets from `who` to the outstations' host, or from there to `who` when `who` begins with `>`.
fn send(what: &str, who: &str, octets: &[u8], fate: Fate) -> Value {
    let (from, to) = match who.strip_prefix('>') {
        Some(who) => ("rtu", who),
        None => (who, "rtu"),
    };
    let (fate, rule) = fate.parts();
    json!({ "do": "send", "what": format!("{what} from {from}"), "from": from, "to": to,
            "octets": hex(octets), "fate": fate, "rule": rule })
}

/// The same as a datagram.
fn datagram(what: &str, who: &str, octets: &[u8], fate: Fate) -> Value {
    let mut step = send(what, who, octets, fate);
    step["do"] = "datagram".into();
    step
}

/// Another host to connect to.
fn to(mut step: Value, rtu: &str) -> Value {
    for end in ["from", "to"] {
        if step[end] == "rtu" {
            step[end] = rtu.into();
        }
    }
    step
}

fn load() -> Value {
    json!({ "do": "load" })
}

/// As the next boot has it, where all was saved that is to be saved.
fn boot() -> Value {
    json!({ "do": "boot" })
}

fn counted(rule: &[&str], packets: u32) -> Value {
    json!({ "do": "counted", "what": format!("a count of {rule:?}"), "rule": rule, "packets": packets })
}

fn clock(at: &str) -> Value {
    json!({ "do": "clock", "at": at })
}

fn switch(name: &str, value: u8) -> Value {
    json!({ "do": "switch", "name": name, "value": value })
}

/// A recipe and what is to come of it.
struct Run {
    name: &'static str,
    /// The recipe.
    file: &'static str,
    /// What the guest makes of its text before it is loaded: nothing, but in tests of the tests.
    change: Option<(&'static str, &'static str)>,
    place: &'static str,
    tagged: bool,
    families: &'static [&'static str],
    /// The recipe's hosts, in words of tests/guest/recipes.py, for IPv6 in place of its own.
    hosts: &'static [(&'static str, &'static str)],
    /// Whether TCP sends again as soon as ever.
    resend: bool,
    /// Words of what goes wrong, where it must.
    wrong: Option<&'static str>,
    steps: Vec<Value>,
}

const BOTH: &[&str] = &["ipv4", "ipv6"];
const V4: &[&str] = &["ipv4"];
const V6: &[&str] = &["ipv6"];
const TWO_HOSTS: &[(&str, &str)] = &[("MASTER", "{master}"), ("RTU", "{rtu}")];

impl Run {
    fn new(name: &'static str, steps: Vec<Value>) -> Run {
        Run {
            name,
            file: name,
            change: None,
            place: "gateway",
            tagged: false,
            families: BOTH,
            hosts: TWO_HOSTS,
            resend: false,
            wrong: None,
            steps,
        }
    }

    fn file(&self) -> String {
        format!("{}.sh", self.file)
    }

    fn json(&self) -> Value {
        let hosts: Map<_, _> = self
            .hosts
            .iter()
            .map(|(name, host)| (name.to_string(), Value::from(*host)))
            .collect();
        let file = match self.change {
            None => self.file(),
            Some(_) => format!("{}.changed", self.name),
        };
        json!({ "name": self.name, "file": file, "place": self.place, "tagged": self.tagged,
                "families": self.families, "hosts": hosts, "resend": self.resend, "steps": self.steps })
    }

    fn trials(&self) -> impl Iterator<Item = String> + '_ {
        ["legacy", "nft"].into_iter().flat_map(move |variant| {
            let name = move |family| format!("{}::{variant}::{family}", self.name);
            self.families.iter().map(name)
        })
    }
}

/// What every policy refuses, whatever else it lets `who` do: the answers of `who`'s session pass, and a
/// packet that is not all frames, or speaks to all stations or by another's address, does not.
fn common(who: &str, address: u16, refuse: Fate) -> Vec<Value> {
    session_of(who, address, refuse, ACCEPT)
}

/// The same, and what becomes of a frame that is cut.
fn session_of(who: &str, address: u16, refuse: Fate, cut: Fate) -> Vec<Value> {
    let read = request(address, STATION, 1);
    let reply = format!(">{who}");
    let mut wrong = read.clone();
    wrong[13] ^= 1;
    let (half, rest) = read.split_at(9);
    let mut halves = vec![send("half a READ", who, half, cut)];
    if let Passes(_) = cut {
        halves.push(send("the other half", who, rest, cut));
    }
    let before = vec![
        open(who, NEW),
        send("READ", who, &read, ACCEPT),
        send(
            "the first frame of a RESPONSE",
            &reply,
            &begun(control::OUTSTATION_DATA, STATION, address, 129),
            REPLY,
        ),
        send(
            "the rest of a RESPONSE",
            &reply,
            &continuation(control::OUTSTATION_DATA, STATION, address),
            REPLY,
        ),
        send(
            "UNSOLICITED_RESPONSE",
            &reply,
            &response(STATION, address, 130),
            REPLY,
        ),
        send(
            "CONFIRM and READ in one segment",
            who,
            &[request(address, STATION, 0), read.clone()].concat(),
            ACCEPT,
        ),
        send("keep-alive", who, &keep_alive(address, STATION), ACCEPT),
        send(
            "LINK_STATUS",
            &reply,
            &frame(0x0B, address, STATION, &[]),
            REPLY,
        ),
        send(
            "COLD_RESTART behind a READ",
            who,
            &[read.clone(), request(address, STATION, 13)].concat(),
            refuse,
        ),
        send("a READ with a wrong bit", who, &wrong, refuse),
    ];
    let behind = vec![
        send(
            "READ to all stations",
            who,
            &request(address, ALL_STATIONS, 1),
            refuse,
        ),
        send(
            "READ to another station",
            who,
            &request(address, 99, 1),
            refuse,
        ),
        send(
            "READ by another's address",
            who,
            &request(77, STATION, 1),
            refuse,
        ),
    ];
    [before, halves, behind].concat()
}

fn reply_refused(who: &'static str) -> Vec<Value> {
    const REJECT_REPLY: Fate = Reset(&["-A DNP3-REPLY", "-j REJECT"]);
    let reply = format!(">{who}");
    vec![
        send(
            "COLD_RESTART, backwards",
            &reply,
            &request(STATION, MASTER, 13),
            REJECT_REPLY,
        ),
        send(
            "RESPONSE of another station",
            &reply,
            &response(99, MASTER, 129),
            REJECT_REPLY,
        ),
    ]
}

fn read_only() -> Vec<Value> {
    let mut steps = vec![load()];
    steps.extend(common("master", MASTER, REJECT));
    steps.extend(reply_refused("master"));
    for (what, function) in [
        ("WRITE", 2),
        ("SELECT", 3),
        ("DIRECT_OPERATE_NR", 6),
        ("COLD_RESTART", 13),
        ("WARM_RESTART", 14),
        ("OPEN_FILE", 25),
    ] {
        steps.push(send(
            what,
            "master",
            &request(MASTER, STATION, function),
            REJECT,
        ));
    }
    steps.extend([
        send(
            "a continuation",
            "master",
            &continuation(control::MASTER_DATA, MASTER, STATION),
            REJECT,
        ),
        send(
            "a continuation of nothing",
            ">master",
            &continuation(control::OUTSTATION_DATA, STATION, MASTER),
            Reset(&["-A DNP3-REPLY", "-j REJECT"]),
        ),
        // Its function code, and then the rest.
        send("a cut COLD_RESTART", "master", &restart()[..12], ACCEPT),
        send("the rest of it", "master", &restart()[12..], REJECT),
        open("stranger", REJECT),
        send("READ, and the session goes on", "master", &read(), ACCEPT),
    ]);
    steps
}

/// The README's policy packet by packet: what the others accept of a stream is refused here.
fn stateless() -> Vec<Value> {
    let mut steps = vec![load()];
    steps.extend(session_of("master", MASTER, REJECT, REJECT));
    steps.extend(reply_refused("master"));
    for function in [2, 20, 21, 23, 24] {
        let octets = request(MASTER, STATION, function);
        steps.push(send("what masters send", "master", &octets, ACCEPT));
    }
    let rest = continuation(control::OUTSTATION_DATA, STATION, MASTER);
    steps.extend([
        send("a continuation of nothing", ">master", &rest, REPLY),
        send("COLD_RESTART", "master", &restart(), REJECT),
        // One behind a READ, of `session_of`, and this one.
        counted(&["-A DNP3", "-j LOG"], 2),
        send("OPERATE", "master", &request(MASTER, STATION, 4), REJECT),
        open("stranger", REJECT),
        send("READ, and the session goes on", "master", &read(), ACCEPT),
    ]);
    steps
}

fn operator() -> Vec<Value> {
    let mut steps = vec![load()];
    steps.extend(common("master", MASTER, REJECT));
    steps.extend(common("operator", SECOND, REJECT));
    for (what, function) in [
        ("SELECT", 3),
        ("OPERATE", 4),
        ("DIRECT_OPERATE", 5),
        ("DIRECT_OPERATE_NR", 6),
    ] {
        let octets = |from| request(from, STATION, function);
        steps.push(send(what, "operator", &octets(SECOND), ACCEPT));
        steps.push(send(what, "master", &octets(MASTER), REJECT));
    }
    steps.extend([
        send(
            "OPERATE by the operator's address",
            "master",
            &request(SECOND, STATION, 4),
            REJECT,
        ),
        send(
            "OPERATE to all stations",
            "operator",
            &request(SECOND, ALL_STATIONS, 5),
            REJECT,
        ),
        send("WRITE", "operator", &request(SECOND, STATION, 2), REJECT),
        send(
            "COLD_RESTART",
            "operator",
            &request(SECOND, STATION, 13),
            REJECT,
        ),
        send(
            "a RESPONSE to the operator",
            ">master",
            &response(STATION, SECOND, 129),
            Reset(&["-A DNP3-REPLY", "-j REJECT"]),
        ),
        open("engineer", REJECT),
    ]);
    steps
}

fn engineering() -> Vec<Value> {
    let in_time: Fate = Passes(&["-A DNP3-ENGINEER", "-m dnp3", "-j ACCEPT"]);
    let new: Fate = Passes(&["-A DNP3-ENGINEER", "--ctstate NEW,ESTABLISHED", "-j ACCEPT"]);
    let cold = request(ENGINEER, STATION, 13);
    let cold = |fate| send("COLD_RESTART", "engineer", &cold, fate);
    let mut steps = vec![
        load(),
        // A Monday.
        clock("2026-11-23 07:30:00"),
        open("engineer", REJECT),
    ];
    steps.extend(common("master", MASTER, REJECT));
    steps.extend([
        send("COLD_RESTART", "master", &restart(), REJECT),
        send(
            "COLD_RESTART by the engineer's address",
            "master",
            &request(ENGINEER, STATION, 13),
            REJECT,
        ),
        clock("2026-11-23 08:00:01"),
        open("engineer", new),
        cold(in_time),
        send(
            "WARM_RESTART",
            "engineer",
            &request(ENGINEER, STATION, 14),
            in_time,
        ),
        send(
            "OPEN_FILE",
            "engineer",
            &request(ENGINEER, STATION, 25),
            in_time,
        ),
        send(
            "a block of a file, and the rest of it",
            "engineer",
            &[
                begun(control::MASTER_DATA, ENGINEER, STATION, 2),
                continuation(control::MASTER_DATA, ENGINEER, STATION),
            ]
            .concat(),
            in_time,
        ),
        send(
            "RESPONSE",
            ">engineer",
            &response(STATION, ENGINEER, 129),
            REPLY,
        ),
        send(
            "CLOSE_FILE",
            "engineer",
            &request(ENGINEER, STATION, 26),
            in_time,
        ),
        send(
            "COLD_RESTART by the master's address",
            "engineer",
            &restart(),
            REJECT,
        ),
        send(
            "OPERATE",
            "engineer",
            &request(ENGINEER, STATION, 4),
            REJECT,
        ),
        send(
            "COLD_RESTART to all stations",
            "engineer",
            &request(ENGINEER, ALL_STATIONS, 13),
            REJECT,
        ),
        send("COLD_RESTART", "master", &restart(), REJECT),
        open("stranger", REJECT),
        clock("2026-11-23 15:30:00"),
        cold(in_time),
        // The connection is older than the end of the hours.
        clock("2026-11-23 16:00:01"),
        cold(REJECT),
        open("engineer", REJECT),
        send("READ", "master", &read(), ACCEPT),
        // A Saturday.
        clock("2026-11-28 12:00:00"),
        open("engineer", REJECT),
        clock("2026-11-30 12:00:00"),
        open("engineer", new),
        cold(in_time),
        // Five that were in time, one of them beside another function, and the one to all.
        counted(&["-A DNP3-ENGINEER", "-j LOG"], 6),
    ]);
    steps
}

fn broadcast() -> Vec<Value> {
    let all: Fate = Passes(&["-A DNP3", "--daddr 65533:65535", "-j ACCEPT"]);
    let mut steps = vec![load()];
    steps.extend(common("master", MASTER, REJECT));
    steps.extend(common("operator", SECOND, REJECT));
    for address in [0xFFFD, 0xFFFE, 0xFFFF] {
        for (what, function) in [
            ("WRITE", 2),
            ("IMMED_FREEZE_NR", 8),
            ("RECORD_CURRENT_TIME", 24),
        ] {
            let what = format!("{what} to {address}");
            steps.push(send(
                &what,
                "master",
                &request(MASTER, address, function),
                all,
            ));
        }
        steps.push(send(
            "WRITE to all stations",
            "operator",
            &request(SECOND, address, 2),
            REJECT,
        ));
    }
    steps.extend([
        send(
            "COLD_RESTART to all",
            "master",
            &request(MASTER, ALL_STATIONS, 13),
            REJECT,
        ),
        send(
            "DIRECT_OPERATE_NR to all",
            "master",
            &request(MASTER, ALL_STATIONS, 6),
            REJECT,
        ),
        send(
            "WRITE to whoever hears it (65532)",
            "master",
            &request(MASTER, 0xFFFC, 2),
            REJECT,
        ),
        send(
            "READ, and a WRITE to all in one segment",
            "master",
            &[read(), request(MASTER, ALL_STATIONS, 2)].concat(),
            REJECT,
        ),
        send(
            "WRITE to all stations by the centre's address",
            "operator",
            &request(MASTER, ALL_STATIONS, 2),
            REJECT,
        ),
        send(
            "IMMED_FREEZE of one station",
            "master",
            &request(MASTER, STATION, 7),
            ACCEPT,
        ),
        // Three WRITEs to all, the READ to all of `common`, and one by the other's address.
        counted(&["-A DNP3", "-j LOG"], 5),
    ]);
    steps
}

fn count() -> Vec<Value> {
    let mut steps = vec![load()];
    steps.extend(common("master", MASTER, REJECT));
    steps.extend([
        send("WRITE", "master", &request(MASTER, STATION, 2), ACCEPT),
        send("SELECT", "master", &request(MASTER, STATION, 3), REJECT),
        send("OPERATE", "master", &request(MASTER, STATION, 4), REJECT),
        send(
            "WARM_RESTART",
            "master",
            &request(MASTER, STATION, 14),
            REJECT,
        ),
        send(
            "GET_FILE_INFO",
            "master",
            &request(MASTER, STATION, 28),
            REJECT,
        ),
        send(
            "COLD_RESTART twice",
            "master",
            &[restart(), restart()].concat(),
            REJECT,
        ),
    ]);
    // Of `common`: seven READs, one of them beside a CONFIRM, one beside a restart and one cut in two.
    for (function, packets) in [
        ("0", 1),
        ("1", 7),
        ("2", 1),
        ("3", 1),
        ("4", 1),
        ("5", 0),
        ("6", 0),
        ("7:12", 0),
        ("13:14", 3),
        ("25:30", 1),
        // The second is the rest of the first.
        ("129", 2),
        ("130", 1),
        ("link", 2),
        ("cont", 0),
    ] {
        let fc = format!("--fc {function}");
        steps.push(counted(&["-A DNP3-COUNT", &fc], packets));
    }
    steps.push(counted(&["-A DNP3-COUNT", "--status partial"], 1));
    steps.push(counted(&["-A DNP3-COUNT", "--status malformed"], 1));
    steps
}

fn rate_limit() -> Vec<Value> {
    let limited: Fate = Passes(&["-A DNP3", "-m hashlimit", "-j ACCEPT"]);
    let once: Fate = Passes(&["-A DNP3", "-m recent", "-j ACCEPT"]);
    let mut steps = vec![load()];
    steps.extend(common("master", MASTER, REJECT));
    for (what, function) in [("SELECT", 3), ("OPERATE", 4)] {
        steps.push(send(
            what,
            "master",
            &request(MASTER, STATION, function),
            limited,
        ));
    }
    // What has no limit does not use it up, nor does what is refused for another reason.
    for _ in 0..6 {
        steps.push(send("READ", "master", &read(), ACCEPT));
        steps.push(send(
            "OPERATE of another station",
            "master",
            &request(MASTER, 99, 4),
            REJECT,
        ));
    }
    for (what, function) in [("SELECT", 3), ("OPERATE", 4)] {
        steps.push(send(
            what,
            "master",
            &request(MASTER, STATION, function),
            limited,
        ));
    }
    for _ in 0..2 {
        steps.push(send(
            "OPERATE past the limit",
            "master",
            &request(MASTER, STATION, 4),
            REJECT,
        ));
    }
    steps.extend([
        send("READ", "master", &read(), ACCEPT),
        send("COLD_RESTART", "master", &restart(), once),
        send("COLD_RESTART again", "master", &restart(), REJECT),
        send(
            "WARM_RESTART",
            "master",
            &request(MASTER, STATION, 14),
            REJECT,
        ),
        send("READ", "master", &read(), ACCEPT),
    ]);
    steps
}

fn nflog() -> Vec<Value> {
    let refuse: Fate = Reset(&["-A DNP3-REFUSE", "-j REJECT"]);
    let mut steps = vec![
        load(),
        json!({ "do": "listen", "group": 20 }),
        open("master", NEW),
    ];
    let mut logged = |what: &str, who: &str, octets: &[u8], fate, prefix: &str| {
        steps.push(send(what, who, octets, fate));
        steps.push(
            json!({ "do": "logged", "what": format!("the record of {what}"),
                           "prefix": prefix, "octets": hex(octets) }),
        );
    };
    let operate = request(MASTER, STATION, 4);
    let elsewhere = request(MASTER, 99, 4);
    let junk = [&[0][..], &restart()].concat();
    logged("OPERATE", "master", &operate, ACCEPT, "dnp3 control");
    logged("COLD_RESTART", "master", &restart(), refuse, "dnp3 refused");
    logged(
        "junk",
        "master",
        b"GET / HTTP/1.0\r\n\r\n",
        refuse,
        "dnp3 malformed",
    );
    logged(
        "OPEN_FILE",
        "master",
        &request(MASTER, STATION, 25),
        refuse,
        "dnp3 refused",
    );
    logged(
        "the beginning of a COLD_RESTART",
        "master",
        &restart()[..14],
        refuse,
        "dnp3 refused",
    );
    steps.extend([
        send(
            "READ, of which there is no record",
            "master",
            &read(),
            ACCEPT,
        ),
        send(
            "RESPONSE, of which there is none either",
            ">master",
            &response(STATION, MASTER, 129),
            REPLY,
        ),
        send("COLD_RESTART behind junk", "master", &junk, refuse),
        json!({ "do": "logged", "prefix": "dnp3 malformed", "octets": hex(&junk) }),
        send("OPERATE of another station", "master", &elsewhere, refuse),
        json!({ "do": "logged", "prefix": "dnp3 control", "octets": hex(&elsewhere) }),
        json!({ "do": "logged", "prefix": "dnp3 refused", "octets": hex(&elsewhere) }),
        open("stranger", refuse),
        json!({ "do": "logged", "prefix": "dnp3 refused", "octets": "" }),
        // One that nobody has seen begin may be anybody's: it is refused, and uses up no limit of controls.
        send("READ", "master", &read(), ACCEPT),
        json!({ "do": "forget" }),
        send(
            "OPERATE in a forgotten connection",
            "master",
            &operate,
            refuse,
        ),
        json!({ "do": "logged", "prefix": "dnp3 refused", "octets": hex(&operate) }),
    ]);
    steps.extend(
        [
            ("-A DNP3", "\"dnp3 control\"", 2),
            ("-A DNP3-REFUSE", "\"dnp3 malformed\"", 2),
            ("-A DNP3-REFUSE", "\"dnp3 refused\"", 6),
        ]
        .map(|(chain, prefix, packets)| counted(&[chain, "-m limit", prefix], packets)),
    );
    steps
}

fn udp() -> Vec<Value> {
    let accept: Fate = Passes(&["-A DNP3", "-m dnp3", "-j ACCEPT"]);
    let reply: Fate = Passes(&["-A DNP3-REPLY", "-m dnp3", "-j ACCEPT"]);
    let drop: Fate = Dropped(&["-A DNP3", "-j DROP"]);
    let mut wrong = read();
    wrong[13] ^= 1;
    vec![
        load(),
        // The outstation begins.
        datagram(
            "UNSOLICITED_RESPONSE",
            ">master",
            &response(STATION, MASTER, 130),
            reply,
        ),
        datagram("CONFIRM", "master", &request(MASTER, STATION, 0), accept),
        datagram("READ", "master", &read(), accept),
        datagram(
            "RESPONSE and the rest of it",
            ">master",
            &[
                response(STATION, MASTER, 129),
                continuation(control::OUTSTATION_DATA, STATION, MASTER),
            ]
            .concat(),
            reply,
        ),
        datagram("WRITE", "master", &request(MASTER, STATION, 2), accept),
        datagram("keep-alive", "master", &keep_alive(MASTER, STATION), accept),
        datagram("COLD_RESTART", "master", &restart(), drop),
        datagram(
            "COLD_RESTART behind a READ",
            "master",
            &[read(), restart()].concat(),
            drop,
        ),
        datagram("OPERATE", "master", &request(MASTER, STATION, 4), drop),
        datagram("half a READ", "master", &read()[..12], drop),
        datagram("a READ with a wrong bit", "master", &wrong, drop),
        datagram("an empty datagram", "master", &[], drop),
        datagram(
            "READ to all stations",
            "master",
            &request(MASTER, ALL_STATIONS, 1),
            drop,
        ),
        datagram("READ", "stranger", &read(), drop),
        datagram(
            "COLD_RESTART, backwards",
            ">master",
            &request(STATION, MASTER, 13),
            Dropped(&["-A DNP3-REPLY", "-j DROP"]),
        ),
        datagram(
            "RESPONSE",
            ">stranger",
            &response(STATION, MASTER, 129),
            Dropped(&["-A DNP3-REPLY", "-j DROP"]),
        ),
    ]
}

fn several() -> Vec<Value> {
    let accept: Fate = Passes(&["-A DNP3-TO", "-m dnp3", "-j ACCEPT"]);
    let reply: Fate = Passes(&["-A DNP3-REPLY-TO", "-m dnp3", "-j ACCEPT"]);
    let far =
        |what: &str, who: &str, octets: &[u8], fate| to(send(what, who, octets, fate), "rtu2");
    vec![
        load(),
        boot(),
        open("master", NEW),
        send("READ", "master", &read(), accept),
        send(
            "RESPONSE",
            ">master",
            &response(STATION, MASTER, 129),
            reply,
        ),
        far("READ", "master", &request(MASTER, 30, 1), accept),
        far("RESPONSE", ">master", &response(30, MASTER, 129), reply),
        send("OPERATE", "operator", &request(SECOND, STATION, 4), accept),
        send(
            "RESPONSE",
            ">operator",
            &response(STATION, SECOND, 129),
            reply,
        ),
        far("OPERATE", "operator", &request(SECOND, 30, 4), accept),
        send("OPERATE", "master", &request(MASTER, STATION, 4), REJECT),
        send(
            "OPERATE by the operator's address",
            "master",
            &request(SECOND, STATION, 4),
            REJECT,
        ),
        send(
            "READ of the other host's station",
            "master",
            &request(MASTER, 30, 1),
            REJECT,
        ),
        far(
            "READ of the other host's station",
            "master",
            &read(),
            REJECT,
        ),
        send(
            "READs of both hosts' stations in one segment",
            "master",
            &[read(), request(MASTER, 30, 1)].concat(),
            REJECT,
        ),
        send(
            "READ to all stations",
            "master",
            &request(MASTER, ALL_STATIONS, 1),
            REJECT,
        ),
        far(
            "RESPONSE of the other host's station",
            ">master",
            &response(STATION, MASTER, 129),
            Reset(&["-A DNP3-REPLY", "-j REJECT"]),
        ),
        send(
            "RESPONSE to the operator",
            ">master",
            &response(STATION, SECOND, 129),
            Reset(&["-A DNP3-REPLY", "-j REJECT"]),
        ),
        open("stranger", REJECT),
        to(open("stranger", REJECT), "rtu2"),
    ]
}

/// The bridge has no address, so that a REJECT finds no way back: nobody hears of it.
fn bridge(tagged: bool) -> Vec<Value> {
    let refuse: Fate = Dropped(&["-A DNP3", "-j REJECT"]);
    let mut steps = vec![load(), boot()];
    steps.extend(common("master", MASTER, refuse));
    steps.extend([
        send("WRITE", "master", &request(MASTER, STATION, 2), ACCEPT),
        send("COLD_RESTART", "master", &restart(), refuse),
        open("stranger", refuse),
    ]);
    if tagged {
        steps.extend([
            // The control: nothing that is tagged is shown to any rule.
            switch("net/bridge/bridge-nf-filter-vlan-tagged", 0),
            send(
                "COLD_RESTART past the rules",
                "master",
                &restart(),
                Passes(&[]),
            ),
        ]);
    }
    steps
}

/// With an address in the hosts' subnet it has one.
fn bridge_with_address() -> Vec<Value> {
    vec![
        json!({ "do": "gateway", "ip": "addr add 192.0.2.1/24 dev br0" }),
        load(),
        open("master", NEW),
        send("READ", "master", &read(), ACCEPT),
        send("COLD_RESTART", "master", &restart(), REJECT),
        open("stranger", REJECT),
    ]
}

/// A bridge whose packets iptables does not see, and cannot be made to see: `hide` names the switch that stays
/// as it is. A policy of iptables' alone would stop nothing there.
fn bridge_refuses(hide: &str) -> Vec<Value> {
    let fails = format!("cannot set /proc/sys/net/bridge/{hide} to 1");
    let hidden = format!("/proc/sys/net/bridge/{hide}");
    let cross = |what| datagram(what, "master", &restart(), Passes(&[]));
    let mut closed = cross("COLD_RESTART over a bridge that cannot be filtered");
    closed["do"] = "closed".into();
    vec![
        switch("net/bridge/bridge-nf-call-iptables", 0),
        switch("net/bridge/bridge-nf-call-ip6tables", 0),
        cross("COLD_RESTART over a bridge without rules"),
        json!({ "do": "load", "hide": hidden, "fails": fails }),
        closed,
    ]
}

const OLD_POLICY: Fate = Dropped(&["-A INPUT policy", "-j DROP"]);
const OLD_ACCEPT: Fate = Passes(&["--fc 0:2", "-j ACCEPT"]);

/// Requests to station 1, which the old example is about.
fn old(function: u8) -> Vec<u8> {
    request(STATION, 1, function)
}

/// A step of a session, which has no rules for what goes out.
fn session(fate: &str, what: &str) -> Value {
    json!({ "do": what, "from": "master", "to": "rtu", "fate": fate, "rule": ["-A INPUT policy"] })
}

fn old_dnp3fw() -> Vec<Value> {
    let answer = send(
        "RESPONSE",
        ">master",
        &response(1, STATION, 129),
        Passes(&[]),
    );
    let state = Passes(&["-A INPUT", "--state NEW", "-j ACCEPT"]);
    vec![
        load(),
        open("master", state),
        send("READ", "master", &old(1), OLD_ACCEPT),
        answer.clone(),
        session_acknowledged("passes"),
        send("CONFIRM", "master", &old(0), OLD_ACCEPT),
        send("WRITE", "master", &old(2), OLD_ACCEPT),
        answer,
        session_acknowledged("passes"),
        session("passes", "close"),
        counted(&["-A INPUT policy"], 0),
        // What it refuses.
        send(
            "COLD_RESTART",
            "master",
            &old(13),
            Dropped(&["--fc 13:14", "-j DROP"]),
        ),
        send("AUTHENTICATE_REQ", "master", &old(32), OLD_POLICY),
        counted(&["-A INPUT", "--fc 32:33", "-j LOG"], 1),
        // What does not reach the rule that is about it.
        send(
            "COLD_RESTART behind a READ",
            "master",
            &[old(1), old(13)].concat(),
            OLD_POLICY,
        ),
        send("keep-alive", "master", &keep_alive(STATION, 1), OLD_POLICY),
        // And what it lets through that it should not.
        send("READ", "master", &old(1), OLD_ACCEPT),
        json!({ "do": "forget" }),
        send(
            "COLD_RESTART in a forgotten connection",
            "master",
            &old(13),
            state,
        ),
    ]
}

fn session_acknowledged(fate: &str) -> Value {
    session(fate, "acknowledged")
}

/// The same without the line that is added.
fn old_without() -> Vec<Value> {
    let mut half = open("master", Passes(&["-A INPUT", "--state NEW", "-j ACCEPT"]));
    half["half"] = true.into();
    vec![
        load(),
        half,
        send("READ", "master", &old(1), OLD_ACCEPT),
        send(
            "RESPONSE",
            ">master",
            &response(1, STATION, 129),
            Passes(&[]),
        ),
        session_acknowledged("dropped"),
        session("dropped", "close"),
    ]
}

fn old_ours() -> Vec<Value> {
    let restart: Fate = Reset(&["-A DNP3", "--fc 13:14", "-j REJECT"]);
    let answer = send(
        "RESPONSE",
        ">master",
        &response(1, STATION, 129),
        Passes(&[]),
    );
    vec![
        load(),
        open("master", NEW),
        send("READ", "master", &old(1), ACCEPT),
        answer.clone(),
        session_acknowledged("passes"),
        send("CONFIRM", "master", &old(0), ACCEPT),
        send("WRITE", "master", &old(2), ACCEPT),
        answer,
        session_acknowledged("passes"),
        send("keep-alive", "master", &keep_alive(STATION, 1), ACCEPT),
        session("passes", "close"),
        send("COLD_RESTART", "master", &old(13), restart),
        send(
            "COLD_RESTART behind a READ",
            "master",
            &[old(1), old(13)].concat(),
            restart,
        ),
        send(
            "COLD_RESTART behind junk",
            "master",
            &[vec![0], old(13)].concat(),
            restart,
        ),
        send(
            "AUTHENTICATE_REQ behind a READ",
            "master",
            &[old(1), old(32)].concat(),
            REJECT,
        ),
        counted(&["-A DNP3", "-j LOG"], 1),
        send(
            "READ to all stations",
            "master",
            &request(STATION, ALL_STATIONS, 1),
            REJECT,
        ),
        send("READ", "master", &old(1), ACCEPT),
        json!({ "do": "forget" }),
        send(
            "COLD_RESTART in a forgotten connection",
            "master",
            &old(13),
            restart,
        ),
    ]
}

/// What a policy does, in few steps: for IPv6, where each rule has been tried in IPv4.
fn in_short(refuse: Fate, more: Vec<Value>) -> Vec<Value> {
    let mut steps = vec![
        load(),
        open("master", NEW),
        send("READ", "master", &read(), ACCEPT),
        send(
            "RESPONSE",
            ">master",
            &response(STATION, MASTER, 129),
            REPLY,
        ),
        send(
            "COLD_RESTART behind a READ",
            "master",
            &[read(), restart()].concat(),
            refuse,
        ),
    ];
    steps.extend(more);
    steps
}

/// Recipes whose steps are many: all of them in IPv4, a few in IPv6.
fn long_ones() -> impl Iterator<Item = Run> {
    let refuse_all = Reset(&["-A DNP3-REFUSE", "-j REJECT"]);
    let engineer = Passes(&["-A DNP3-ENGINEER", "-j ACCEPT"]);
    let limited = Passes(&["-A DNP3", "-m hashlimit", "-j ACCEPT"]);
    let once = Passes(&["-A DNP3", "-m recent", "-j ACCEPT"]);
    let centre = &[
        ("CENTRE", "{master}"),
        ("MASTER", "{operator}"),
        ("RTU", "{rtu}"),
    ][..];
    let operators = &[
        ("MASTER", "{master}"),
        ("OPERATOR", "{operator}"),
        ("RTU", "{rtu}"),
    ][..];
    let engineers = &[
        ("MASTER", "{master}"),
        ("ENGINEER", "{engineer}"),
        ("RTU", "{rtu}"),
    ][..];
    let operate = |who, address, fate| send("OPERATE", who, &request(address, STATION, 4), fate);
    let all = |who, address, fate| {
        send(
            "WRITE to all",
            who,
            &request(address, ALL_STATIONS, 2),
            fate,
        )
    };
    let cold = |fate| {
        send(
            "COLD_RESTART",
            "engineer",
            &request(ENGINEER, STATION, 13),
            fate,
        )
    };
    [
        (
            "operator",
            operators,
            operator(),
            in_short(
                REJECT,
                vec![
                    operate("operator", SECOND, ACCEPT),
                    operate("master", MASTER, REJECT),
                ],
            ),
        ),
        (
            "engineering",
            engineers,
            engineering(),
            in_short(
                REJECT,
                vec![
                    clock("2026-11-23 12:00:00"),
                    cold(engineer),
                    clock("2026-11-28 12:00:00"),
                    cold(REJECT),
                ],
            ),
        ),
        (
            "broadcast",
            centre,
            broadcast(),
            in_short(
                REJECT,
                vec![
                    all("master", MASTER, ACCEPT),
                    all("operator", SECOND, REJECT),
                ],
            ),
        ),
        (
            "count",
            TWO_HOSTS,
            count(),
            in_short(
                REJECT,
                vec![
                    counted(&["-A DNP3-COUNT", "--fc 1"], 2),
                    counted(&["-A DNP3-COUNT", "--fc 13:14"], 1),
                ],
            ),
        ),
        (
            "rate-limit",
            TWO_HOSTS,
            rate_limit(),
            in_short(
                REJECT,
                vec![
                    operate("master", MASTER, limited),
                    send("COLD_RESTART", "master", &restart(), once),
                    send("COLD_RESTART again", "master", &restart(), REJECT),
                ],
            ),
        ),
        (
            "nflog",
            TWO_HOSTS,
            nflog(),
            in_short(
                refuse_all,
                vec![
                    json!({ "do": "listen", "group": 20 }),
                    send("COLD_RESTART", "master", &restart(), refuse_all),
                    json!({ "do": "logged", "prefix": "dnp3 refused", "octets": hex(&restart()) }),
                ],
            ),
        ),
    ]
    .into_iter()
    .flat_map(|(name, hosts, all, few)| {
        [(V4, all), (V6, few)].map(|(families, steps)| Run {
            families,
            hosts,
            ..Run::new(name, steps)
        })
    })
}

fn runs() -> Vec<Run> {
    let many = &[
        (
            "MASTERS",
            "{master}=1=confirm,read,link {operator}=2=confirm,read,write,control,link",
        ),
        ("RTUS", "{rtu}=10:20 {rtu2}=30"),
    ];
    let on_bridge = |name, families, steps| Run {
        file: "bridge",
        place: "bridge",
        families,
        ..Run::new(name, steps)
    };
    let on_host = |name, file, steps| Run {
        file,
        place: "rtu",
        hosts: &[],
        ..Run::new(name, steps)
    };
    let mut runs: Vec<_> = long_ones().collect();
    runs.extend([
        Run::new("read-only", read_only()),
        Run::new("stateless", stateless()),
        Run::new("udp", udp()),
        Run {
            hosts: many,
            ..Run::new("several", several())
        },
        on_bridge("bridge", BOTH, bridge(false)),
        Run {
            tagged: true,
            ..on_bridge("bridge-tagged", BOTH, bridge(true))
        },
        on_bridge("bridge-with-address", V4, bridge_with_address()),
        Run {
            tagged: true,
            ..on_bridge("bridge-tagged-with-address", V4, bridge_with_address())
        },
        on_bridge(
            "bridge-refuses",
            BOTH,
            bridge_refuses("bridge-nf-call-iptables"),
        ),
        Run {
            tagged: true,
            ..on_bridge(
                "bridge-refuses-tagged",
                BOTH,
                bridge_refuses("bridge-nf-filter-vlan-tagged"),
            )
        },
        // That it can fail: a bridge that is not closed first.
        Run {
            change: Some(("bridge_chain drop", "bridge_chain accept")),
            wrong: Some("bridge that cannot be filtered from master: it crossed the bridge"),
            ..on_bridge(
                "bridge-refuses-open",
                V4,
                bridge_refuses("bridge-nf-call-iptables"),
            )
        },
        Run {
            families: V4,
            ..on_host("old-dnp3fw", "old-dnp3fw", old_dnp3fw())
        },
        Run {
            families: V4,
            resend: true,
            change: Some(("--status none -j ACCEPT", "--status malformed -j DROP")),
            ..on_host("old-dnp3fw-without-the-line", "old-dnp3fw", old_without())
        },
        Run {
            families: V4,
            ..on_host("old-dnp3fw-ours", "old-dnp3fw-ours", old_ours())
        },
        // That such a test can fail: a policy that asks for some frame, and not for all.
        Run {
            file: "read-only",
            families: V4,
            change: Some(("-m dnp3 --dir master", "-m dnp3 --frames any --dir master")),
            wrong: Some("COLD_RESTART behind a READ from master: it arrived"),
            ..Run::new("read-only-weakened", read_only())
        },
    ]);
    runs
}

fn folder() -> PathBuf {
    vm::project().join("xtables-ext/recipes")
}

/// Makes the plan and runs it in the VM.
fn outcome(runs: &[Run]) -> Result<Outcome, String> {
    let plan =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("recipes-{}", std::process::id()));
    let wrong = |error| format!("{}: {error}", plan.display());
    commands::empty(&plan)?;
    for run in runs {
        let text = commands::read(folder().join(run.file()))?;
        let (name, text) = match run.change {
            None => (run.file(), text),
            Some((from, to)) => {
                let changed = text.replace(from, to);
                if changed == text {
                    return Err(format!("{} has no {from:?}", run.file()));
                }
                (format!("{}.changed", run.name), changed)
            }
        };
        fs::write(plan.join(name), text).map_err(wrong)?;
    }
    let all: Vec<_> = runs.iter().map(Run::json).collect();
    fs::write(plan.join("plan.json"), Value::from(all).to_string()).map_err(wrong)?;
    let said = vm::run(&plan, "python3 guest/recipes.py plan", CPUS, SECONDS);
    fs::remove_dir_all(&plan).map_err(wrong)?;
    let outcome = Outcome::parse(&said?);
    for note in &outcome.notes {
        eprintln!("{note}");
    }
    Ok(outcome)
}

/// That each file of the folder is tried, and has its line in the folder's README.
fn all_are_tried(runs: &[Run]) -> Result<(), Failed> {
    let page = fs::read_to_string(folder().join("README.md"))?;
    let tried: BTreeSet<_> = runs
        .iter()
        .filter(|run| run.change.is_none())
        .map(Run::file)
        .collect();
    let mut wrong = String::new();
    for entry in fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name == "README.md" {
            continue;
        }
        if !tried.contains(&name) {
            writeln!(wrong, "{name} is not tried here")?;
        }
        if !page.contains(&format!("| [{name}]({name}) |")) {
            writeln!(wrong, "{name} is not in the README's table")?;
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.into())
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let all = Arc::new(runs());
    // The guest is given nothing that was not asked for.
    let names: BTreeMap<_, _> = all
        .iter()
        .enumerate()
        .flat_map(|(number, run)| run.trials().map(move |name| (name, number)))
        .collect();
    let wanted: BTreeSet<_> = names
        .iter()
        .filter(|(name, _)| !arguments.is_filtered_out(&Trial::test(name.as_str(), || Ok(()))))
        .map(|(_, &number)| number)
        .collect();
    let guest: Arc<OnceLock<Result<Outcome, String>>> = Arc::default();
    let mut trials: Vec<_> = names
        .into_iter()
        .map(|(name, number)| {
            let (guest, all, wanted) = (guest.clone(), all.clone(), wanted.clone());
            Trial::test(name.clone(), move || {
                let outcome = guest.get_or_init(|| {
                    let runs = runs().into_iter().enumerate();
                    let runs: Vec<_> = runs
                        .filter(|(number, _)| wanted.contains(number))
                        .map(|(_, run)| run)
                        .collect();
                    outcome(&runs)
                });
                let said = outcome.as_ref()?.check(&name).unwrap_or("it was not run");
                match all[number].wrong {
                    None if said == "ok" => Ok(()),
                    Some(wrong) if said.contains(wrong) => Ok(()),
                    None => Err(said.into()),
                    Some(wrong) => Err(format!("expected {wrong:?}, got {said:?}").into()),
                }
            })
        })
        .collect();
    trials.push(Trial::test("every-recipe-is-tried", move || {
        all_are_tried(&all)
    }));
    libtest_mimic::run(&arguments, trials).exit_code()
}
