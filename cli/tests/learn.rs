// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw learn` on captures of which is known what is in them: the baseline says it to the last
//! number, and nothing that is not sure is in it.

#[path = "support/run.rs"]
mod run;
#[path = "support/wire.rs"]
mod wire;

use dnp3_tests::{frames, vectors};
use run::{expect, text, Scratch, DNP3FW};
use serde_json::{json, Value};
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use wire::{datagram, head, record, request, response, Tcp, Wire, SECOND, START};

const MASTER: &str = "10.0.0.1:40000";
const OUTSTATION: &str = "10.0.0.2:20000";
const CALLER: &str = "10.0.0.3:50000";
const CALLED: &str = "10.0.0.1:20000";
const MASTER_V6: &str = "[2001:db8::1]:20000";
const OUTSTATION_V6: &str = "[2001:db8::2]:20000";

/// Microseconds from START on.
fn at(milliseconds: u64) -> u64 {
    START + milliseconds * SECOND / 1000
}

/// Three pairs of hosts: one polls by TCP, one speaks by UDP, and one outstation calls its master.
fn plant() -> Wire {
    let mut wire = Wire::default();
    let mut polled = Tcp::open(&mut wire, at(0), MASTER, OUTSTATION);
    // Class 1 of station 10, with 10, 10.5, 9.5 and 20 seconds between.
    for (number, time) in [1_000, 11_000, 21_500, 31_000, 51_000]
        .into_iter()
        .enumerate()
    {
        let sequence = number as u8;
        let read = request(1, 10, sequence, &[0xC0 | sequence, 1, 60, 2, 6]);
        polled.send(&mut wire, at(time), &read);
        let mut answer = vec![0xC0 | sequence, 129, 0, 0];
        if number == 2 {
            // The segment was lost for the outstation, and comes again.
            polled.again(&mut wire, at(time + 50), &read);
            // A counter, of which it wants to be sure that it came.
            answer[0] |= 0x20;
            answer.extend([20, 1, 0, 7, 7, 1, 42, 0, 0, 0]);
        }
        let answer = response(10, 1, sequence, &answer);
        polled.answer(&mut wire, at(time + 100), &answer);
        if number == 2 {
            let confirm = request(1, 10, 40, &[0xC0 | sequence, 0]);
            polled.send(&mut wire, at(time + 200), &confirm);
        }
    }
    // Keep-alives.
    polled.send(&mut wire, at(60_000), &frames::frame(0xC9, 10, 1, &[]));
    polled.answer(&mut wire, at(60_100), &frames::frame(0x0B, 1, 10, &[]));
    // The time, to all.
    let write = [0xC5, 2, 50, 1, 7, 1, 0, 0, 0, 0, 0, 0];
    polled.send(&mut wire, at(70_000), &request(1, 65_535, 5, &write));
    // Station 11 has so much to say that it takes three frames, cut where it pleases TCP.
    polled.send(
        &mut wire,
        at(71_000),
        &request(1, 11, 6, &[0xC6, 1, 30, 0, 6]),
    );
    let mut long = vec![0xC6, 129, 0, 0, 30, 2, 1, 0, 0, 199, 0];
    long.extend([9; 600]);
    let long = response(11, 1, 62, &long);
    let (first, second) = long.split_at(333);
    polled.answer(&mut wire, at(71_100), first);
    polled.answer(&mut wire, at(71_200), second);

    // A control point, by UDP; the datagram is in the capture twice.
    let mut operate = vec![0xC1, 6, 12, 1, 0x28, 1, 0, 3, 0];
    operate.extend([3, 1, 100, 0, 0, 0, 0, 0, 0, 0, 0]);
    let operate = request(3, 4, 0, &operate);
    wire.udp(at(72_000), MASTER_V6, OUTSTATION_V6, &operate);
    wire.udp(at(72_001), MASTER_V6, OUTSTATION_V6, &operate);

    // An outstation that calls, reports, and is confirmed; once its report is not answered in time.
    let mut calling = Tcp::open(&mut wire, at(73_000), CALLER, CALLED);
    for (number, time) in [74_000u64, 75_000, 79_000].into_iter().enumerate() {
        let sequence = number as u8;
        let report = response(20, 1, sequence, &[0xF0 | sequence, 130, 0, 0]);
        calling.send(&mut wire, at(time), &report);
        if number == 2 {
            let again = response(20, 1, 3, &[0xF0 | sequence, 130, 0, 0]);
            calling.send(&mut wire, at(time + 500), &again);
        }
        let confirm = request(1, 20, sequence, &[0xD0 | sequence, 0]);
        calling.answer(&mut wire, at(time + 600), &confirm);
    }
    wire
}

/// What is known of it.
fn known() -> Value {
    let nothing = json!({"requests": 0, "responses": 0});
    json!([
        {
            "master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2", "protocol": "tcp", "port": 20000,
            "opened_by": "master", "connections": 1,
            "links": [
                {
                    "master": 1, "outstation": 10,
                    "requests": [
                        {"function": 0, "name": "confirm", "messages": 1, "octets": 2, "objects": []},
                        {
                            "function": 1, "name": "read", "messages": 5, "octets": 25,
                            "objects": ["g60v2"],
                            "interval_seconds": {"least": 9.5, "median": 10.25, "most": 20.0},
                        },
                    ],
                    "responses": [{
                        "function": 129, "name": "response", "messages": 5, "octets": 30,
                        "objects": ["g20v1"],
                        "interval_seconds": {"least": 9.5, "median": 10.25, "most": 20.0},
                    }],
                    "link_functions": {"requests": 1, "responses": 1},
                },
                {
                    "master": 1, "outstation": 11,
                    "requests": [{
                        "function": 1, "name": "read", "messages": 1, "octets": 5, "objects": ["g30v0"],
                    }],
                    "responses": [{
                        "function": 129, "name": "response", "messages": 1, "octets": 611,
                        "objects": ["g30v2"],
                    }],
                    "link_functions": nothing,
                },
                {
                    "master": 1, "outstation": 65535,
                    "requests": [{
                        "function": 2, "name": "write", "messages": 1, "octets": 12, "objects": ["g50v1"],
                    }],
                    "responses": [],
                    "link_functions": nothing,
                },
            ],
        },
        {
            "master_ip": "10.0.0.1", "outstation_ip": "10.0.0.3", "protocol": "tcp", "port": 20000,
            "opened_by": "outstation", "connections": 1,
            "links": [{
                "master": 1, "outstation": 20,
                "requests": [{
                    "function": 0, "name": "confirm", "messages": 3, "octets": 6, "objects": [],
                    "interval_seconds": {"least": 1.0, "median": 2.5, "most": 4.0},
                }],
                "responses": [{
                    "function": 130, "name": "unsolicited_response", "messages": 3, "octets": 12,
                    "objects": [],
                    "interval_seconds": {"least": 1.0, "median": 2.5, "most": 4.0},
                }],
                "link_functions": nothing,
            }],
        },
        {
            "master_ip": "2001:db8::1", "outstation_ip": "2001:db8::2", "protocol": "udp", "port": 20000,
            "opened_by": null, "connections": 1,
            "links": [{
                "master": 3, "outstation": 4,
                "requests": [{
                    "function": 6, "name": "direct_operate_nr", "messages": 1, "octets": 20,
                    "objects": ["g12v1"],
                }],
                "responses": [],
                "link_functions": nothing,
            }],
        },
    ])
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What is learned of a capture, with this status, and what is said.
fn learned(status: i32, capture: &[u8]) -> (Value, String) {
    let (stdout, stderr) = expect(status, &["learn", "-"], capture);
    (parse(&stdout), stderr)
}

/// Every function of every link.
fn functions(baseline: &Value) -> Vec<u64> {
    let mut found = Vec::new();
    for communication in baseline["communications"].as_array().expect("a list") {
        for link in communication["links"].as_array().expect("a list") {
            for way in ["requests", "responses"] {
                let list = link[way].as_array().expect("a list");
                found.extend(list.iter().filter_map(|one| one["function"].as_u64()));
            }
        }
    }
    found
}

#[test]
fn who_talks_to_whom() {
    let scratch = Scratch::new("learn-plant");
    let file = scratch.file("plant.pcap", &plant().file());
    let (stdout, stderr) = expect(0, &["learn", &file], &[]);
    let baseline = parse(&stdout);
    assert_eq!(baseline["communications"], known(), "{stdout}");
    assert_eq!(baseline["version"], 1);
    assert_eq!(
        baseline["captured"],
        json!({
            "files": [file],
            "from": "2023-11-14T22:13:20.000000Z",
            "to": "2023-11-14T22:14:39.600000Z",
            "packets": plant().packets.len(),
        })
    );
    // The datagram and the report.
    assert_eq!(
        stderr,
        format!(
            "dnp3fw: {file}: 2 times: a message that was sent again, and counts once; first in packet \
             23, [2001:db8::1]:20000 > [2001:db8::2]:20000\n"
        )
    );
    // People read it: what is short stands on one line.
    assert!(
        stdout.contains("\n              \"objects\": [\"g60v2\"],\n"),
        "{stdout}"
    );
    assert!(stdout.contains("{\"least\": 9.5, \"median\": 10.25, \"most\": 20.0}\n"));
    // And again it is the same.
    assert_eq!(expect(0, &["learn", &file], &[]).0, stdout);
}

/// All orders of these.
fn orders(files: &[String]) -> Vec<Vec<String>> {
    if files.len() < 2 {
        return vec![files.to_vec()];
    }
    let mut all = Vec::new();
    for at in 0..files.len() {
        let mut rest = files.to_vec();
        let first = rest.remove(at);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            all.push(order);
        }
    }
    all
}

#[test]
fn pieces_of_a_capture_in_any_order() {
    let scratch = Scratch::new("learn-pieces");
    let wire = plant();
    let cuts = [0, 7, 12, 19, wire.packets.len()];
    let files: Vec<String> = cuts
        .windows(2)
        .enumerate()
        .map(|(at, cut)| {
            // Their names are not in the order of their time.
            let name = format!("{}.pcap", ["c", "a", "d", "b"][at]);
            scratch.file(&name, &wire.part(cut[0]..cut[1]))
        })
        .collect();
    let mut outputs = Vec::new();
    for order in orders(&files) {
        let mut arguments = vec!["learn"];
        arguments.extend(order.iter().map(String::as_str));
        let (stdout, _) = expect(0, &arguments, &[]);
        outputs.push(stdout);
    }
    assert_eq!(outputs.len(), 24);
    let baseline = parse(&outputs[0]);
    assert_eq!(baseline["captured"]["files"], json!(files));
    assert_eq!(baseline["captured"]["packets"], wire.packets.len());
    assert_eq!(baseline["communications"], known());
    for output in &outputs {
        assert_eq!(output, &outputs[0]);
    }
    // Of a message that two captures share, neither has enough.
    let half = scratch.file("half.pcap", &wire.part(0..20));
    let rest = scratch.file("rest.pcap", &wire.part(20..wire.packets.len()));
    let (stdout, stderr) = expect(1, &["learn", &rest, &half], &[]);
    let link = &parse(&stdout)["communications"][0]["links"][1];
    assert_eq!(link["requests"][0]["function"], 1);
    assert_eq!(link["responses"], json!([]));
    assert!(stderr.contains(&format!(
        "{half}: not learned, once: a message of which not all"
    )));
    assert!(stderr.contains(&format!(
        "{rest}: not learned, once: octets that are no valid"
    )));
}

#[test]
fn captures_of_other_days() {
    let scratch = Scratch::new("learn-days");
    let poll = |days: u64| {
        let mut wire = Wire::default();
        for number in 0..4u8 {
            let time = at(days * 86_400_000 + u64::from(number) * 5_000);
            let read = request(1, 10, number, &[0xC0 | number, 1, 60, 2, 6]);
            wire.udp(time, MASTER, OUTSTATION, &read);
        }
        wire.file()
    };
    let monday = scratch.file("monday.pcap", &poll(0));
    let friday = scratch.file("friday.pcap", &poll(4));
    let (stdout, stderr) = expect(0, &["learn", &friday, &monday], &[]);
    assert_eq!(stderr, "");
    let baseline = parse(&stdout);
    let read = &baseline["communications"][0]["links"][0]["requests"][0];
    assert_eq!(read["messages"], 8);
    // The days between are no interval.
    let interval = json!({"least": 5.0, "median": 5.0, "most": 5.0});
    assert_eq!(read["interval_seconds"], interval);
    // That the same packets are there twice is said.
    let (_, stderr) = expect(0, &["learn", &monday, &monday], &[]);
    assert_eq!(
        stderr,
        format!(
            "dnp3fw: {monday}: begins before another capture ends; what both have counts twice\n"
        )
    );
}

/// Some masters never change their sequence numbers. What is answered is no repeat.
#[test]
fn the_same_octets_again() {
    let read = request(1, 10, 0, &[0xC0, 1, 60, 2, 6]);
    let answer = response(10, 1, 0, &[0xC0, 129, 0, 0]);
    let mut wire = Wire::default();
    for number in 0..3 {
        wire.udp(at(number * 5_000), MASTER, OUTSTATION, &read);
        wire.udp(at(number * 5_000 + 1), OUTSTATION, MASTER, &answer);
    }
    let (baseline, stderr) = learned(0, &wire.file());
    assert_eq!(stderr, "");
    let link = &baseline["communications"][0]["links"][0];
    let interval = json!({"least": 5.0, "median": 5.0, "most": 5.0});
    for way in ["requests", "responses"] {
        assert_eq!(link[way][0]["messages"], 3, "{way}");
        assert_eq!(link[way][0]["interval_seconds"], interval, "{way}");
    }
}

/// Sends by UDP, from the master.
fn by_udp(octets: &[u8]) -> Wire {
    let mut wire = Wire::default();
    wire.udp(at(0), MASTER, OUTSTATION, octets);
    wire
}

/// Sends by TCP, in these segments.
fn by_tcp(segments: &[&[u8]]) -> Wire {
    let mut wire = Wire::default();
    let mut tcp = Tcp::open(&mut wire, at(0), MASTER, OUTSTATION);
    for (number, segment) in segments.iter().enumerate() {
        tcp.send(&mut wire, at(1_000 + number as u64), segment);
    }
    wire
}

#[test]
fn what_is_not_sure_is_not_learned() {
    const BAD: &str = "octets that are no valid frame";
    const BESIDE: &str = "a valid frame in a packet with octets that are none";
    let read = vectors::READ;
    let both = |first: &[u8], second: &[u8]| [first, second].concat();
    let mut wrong = read.to_vec();
    wrong[15] ^= 1;
    let sent =
        |source, destination, fragment: &[u8]| by_udp(&request(source, destination, 0, fragment));
    let answered =
        |source, destination, fragment: &[u8]| by_udp(&response(source, destination, 0, fragment));
    let mut wrong_length = by_udp(read);
    wrong_length.packets[0].1[25] += 2;
    let mut urgent = by_tcp(&[]);
    urgent.tcp(at(2_000), (MASTER, OUTSTATION), (1_001, 0), "AU", &[]);
    urgent.tcp(
        at(2_001),
        (MASTER, OUTSTATION),
        (1_001, 0),
        "A",
        vectors::COLD_RESTART,
    );
    // Another connection on the same ports.
    urgent.tcp(at(3_000), (MASTER, OUTSTATION), (90_000, 0), "S", &[]);
    urgent.tcp(at(3_001), (MASTER, OUTSTATION), (90_001, 0), "A", read);
    let mut gap = by_tcp(&[read]);
    gap.tcp(
        at(2_000),
        (MASTER, OUTSTATION),
        (2_000, 0),
        "A",
        vectors::WRITE,
    );
    let mut reset = by_tcp(&[read, &vectors::WRITE[..12]]);
    reset.tcp(
        at(2_000),
        (MASTER, OUTSTATION),
        (1_001 + 27 + 12, 0),
        "R",
        &[],
    );

    // Packets, status, what is said beside "nothing was learned", which functions are learned.
    type Case<'a> = (&'a str, Wire, i32, &'a [&'a str], &'a [u64]);
    let cases: Vec<Case<'_>> = vec![
        ("a valid frame", by_udp(read), 0, &[], &[1]),
        ("a wrong CRC", by_udp(&wrong), 1, &[BAD, BESIDE][..1], &[]),
        (
            "frame in frame",
            by_udp(vectors::FRAME_IN_FRAME),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "frame in frame by TCP",
            by_tcp(&[vectors::FRAME_IN_FRAME]),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "junk behind",
            by_udp(&both(read, &[0xFF])),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "junk before",
            by_udp(&both(&[5], read)),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "junk between",
            by_tcp(&[&both(&both(read, &[0]), read)]),
            1,
            &[BAD, "2 times: a valid frame"],
            &[],
        ),
        (
            "junk behind by TCP",
            by_tcp(&[&both(read, &[0xFF])]),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "junk behind a frame of two segments",
            by_tcp(&[&read[..14], &both(&read[14..], &[5, 65])]),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "junk behind, known by the next packet",
            by_tcp(&[&both(read, &[0xFF]), vectors::WRITE]),
            1,
            &[BAD, "2 times: a valid frame in a packet"],
            &[],
        ),
        (
            "much junk behind, known by the next packet",
            by_tcp(&[&both(read, &[7; 400]), vectors::WRITE]),
            1,
            &[BAD, "2 times: a valid frame in a packet"],
            &[],
        ),
        (
            "much junk behind",
            by_tcp(&[&both(read, &[5; 400])]),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "half a frame behind",
            by_tcp(&[&both(read, &read[..14]), &read[14..]]),
            0,
            &["sent again"],
            &[1],
        ),
        (
            "junk, and what follows",
            by_tcp(&[&both(&[0], read), vectors::WRITE]),
            1,
            &[BAD, BESIDE],
            &[2],
        ),
        (
            "half behind junk",
            by_tcp(&[&both(&[0], &read[..14]), &read[14..], read]),
            1,
            &[BAD, BESIDE],
            &[1],
        ),
        (
            "short FIR",
            by_tcp(&[vectors::SHORT_FIR_1, vectors::SHORT_FIR_2]),
            1,
            &[BAD, BESIDE],
            &[],
        ),
        (
            "no FIR",
            by_udp(vectors::CONT_RESTART),
            1,
            &["a transport segment that continues nothing"],
            &[],
        ),
        (
            "URG",
            urgent,
            1,
            &["a frame on a connection with URG; first in packet 5"],
            &[1],
        ),
        (
            "UDP length",
            wrong_length,
            1,
            &["UDP length is not that of the IP packet"],
            &[],
        ),
        (
            "function 70",
            sent(1, 10, &[0xC0, 70]),
            1,
            &["function code is not defined; ", ": code 70"],
            &[],
        ),
        (
            "function 200",
            answered(10, 1, &[0xC0, 200, 0, 0]),
            1,
            &[": code 200"],
            &[],
        ),
        (
            "a request without DIR",
            answered(10, 1, &[0xC0, 13]),
            1,
            &["DIR bit", "a request, 13, from an outstation"],
            &[],
        ),
        (
            "a response with DIR",
            sent(1, 10, &[0xC0, 129, 0, 0]),
            1,
            &["a response, 129, from a master"],
            &[],
        ),
        (
            "no indications",
            answered(10, 1, &[0xC0, 129, 0]),
            1,
            &["no internal indications"],
            &[],
        ),
        (
            "objects",
            by_udp(vectors::CARRIER_B),
            1,
            &["a message whose objects contradict the standard"],
            &[],
        ),
        (
            "half a header",
            sent(1, 10, &[0xC0, 1, 60]),
            1,
            &["ends inside an object header"],
            &[],
        ),
        (
            "from a reserved address",
            sent(65_520, 10, &[0xC0, 1]),
            1,
            &["no station has there", "from 65520 to 10"],
            &[],
        ),
        (
            "from broadcast",
            sent(65_535, 10, &[0xC0, 1]),
            1,
            &["from 65535 to 10"],
            &[],
        ),
        (
            "to a reserved address",
            sent(1, 65_531, &[0xC0, 1]),
            1,
            &["from 1 to 65531"],
            &[],
        ),
        (
            "an outstation to all",
            answered(10, 65_535, &[0xC0, 129, 0, 0]),
            1,
            &["from 10 to 65535"],
            &[],
        ),
        (
            "an outstation to self",
            answered(10, 65_532, &[0xC0, 129, 0, 0]),
            1,
            &["from 10 to 65532"],
            &[],
        ),
        (
            "a link frame to all",
            by_udp(&frames::frame(0xC9, 65_533, 1, &[])),
            1,
            &["from 1 to 65533"],
            &[],
        ),
        ("to self", sent(1, 65_532, &[0xC0, 1]), 0, &[], &[1]),
        ("to all", sent(1, 65_533, &[0xC0, 1]), 0, &[], &[1]),
        (
            "a hole",
            gap,
            0,
            &["not learned, once: a hole in a TCP stream; first in packet 5"],
            &[1, 2],
        ),
        (
            "half a frame",
            by_tcp(&[read, &vectors::WRITE[..12]]),
            0,
            &["goes on behind the end"],
            &[1],
        ),
        (
            "half a frame, reset",
            reset,
            1,
            &[BAD, "the connection ends inside the frame"],
            &[1],
        ),
        (
            "half a message",
            by_tcp(&[read, &request(1024, 1, 9, &[0; 300])[..292]]),
            0,
            &["not all segments came"],
            &[1],
        ),
    ];
    for (name, wire, status, said, wanted) in cases {
        let (baseline, stderr) = learned(status, &wire.file());
        assert_eq!(functions(&baseline), wanted, "{name}\n{stderr}");
        let mut lines: Vec<&str> = stderr.lines().collect();
        if wanted.is_empty() {
            let last = lines.pop();
            let nothing = "dnp3fw: nothing was learned; dnp3fw rules makes none of this baseline";
            assert_eq!(last, Some(nothing), "{name}");
            assert_eq!(baseline["communications"], json!([]), "{name}");
        }
        // What Input says of the packets is not in question here.
        lines.retain(|line| !line.contains("the dnp3 match calls malformed"));
        for text in said {
            assert!(
                lines.iter().any(|line| line.contains(text)),
                "{name}: no {text:?} in\n{stderr}"
            );
        }
        assert_eq!(lines.is_empty(), said.is_empty(), "{name}\n{stderr}");
    }
}

/// Hosts of which there are very many.
fn host(first: u8, number: u32, port: u16) -> SocketAddr {
    let [_, b, c, d] = number.to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(first, b, c, d), port))
}

/// However much there is, 200 MiB of address space do for code, stack and data; and what found no room is said.
#[test]
fn memory_is_bounded() {
    const PAIRS: u32 = 1_000_000;
    const FULL: u32 = 32_768;
    let mut child = Command::new("/bin/bash")
        .args(["-c", "ulimit -v 204800 && exec \"$0\" learn -", DNP3FW])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program");
    let input = child.stdin.take().expect("its input");
    let writer = std::thread::spawn(move || -> std::io::Result<()> {
        let mut input = BufWriter::with_capacity(1 << 20, input);
        input.write_all(&head())?;
        let mut time = START;
        let mut put = |pair: u32, payload: &[u8]| {
            time += 10;
            let packet = datagram(host(10, pair, 20_000), host(11, pair, 20_000), payload);
            input.write_all(&record(time, &packet))
        };
        // Functions, objects and intervals for all the room there is, in as many links.
        for pair in 0..FULL {
            let mut frames = Vec::new();
            for number in 0..72u8 {
                let function = [1, 7, 20, 22][usize::from(number % 4)];
                let [high, low] = (pair as u16).to_be_bytes();
                let sequence = (number / 4) & 0x0F;
                let objects = [0xC0 | sequence, function, 60, high, 6, 61, low, 6];
                frames.extend(request(1, 10, number, &objects));
            }
            put(pair, &frames)?;
        }
        for pair in FULL..PAIRS {
            put(pair, vectors::READ)?;
        }
        // More functions and objects of a link that is known.
        put(0, &request(1, 10, 0, &[0xC0, 1, 1, 0, 6]))?;
        put(0, &request(1, 10, 0, &[0xC0, 13]))?;
        put(0, &request(1, 11, 0, &[0xC0, 13]))?;
        input.flush()
    });
    let output = child.wait_with_output().expect("its output");
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    writer.join().expect("the writer").expect("all is read");
    let wanted = [
        format!(
            "not learned, {} times: a frame between another pair of hosts",
            PAIRS - FULL
        ),
        "not learned, once: a frame between another pair of stations".into(),
        "not learned, once: a message of another function of a link".into(),
        "not learned, once: an object of another kind".into(),
        "the medians of some intervals are those of fewer than 1024".into(),
        format!("{} times a connection was forgotten", PAIRS - FULL + 1),
    ];
    for text in &wanted {
        assert!(stderr.contains(text), "no {text:?} in\n{stderr}");
    }
    let baseline: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let communications = baseline["communications"].as_array().expect("a list");
    assert_eq!(communications.len(), FULL as usize);
    for communication in communications {
        assert_eq!(
            communication["links"][0]["requests"]
                .as_array()
                .map(Vec::len),
            Some(4)
        );
    }
}
