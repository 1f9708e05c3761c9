// SPDX-License-Identifier: GPL-2.0

//! Prints what `tests/demo` sends through its gateway and what the README's policy promises of
//! it, as JSON for `tests/guest/demo.py`, which says what the members mean.

use dnp3_tests::frames::{control, frame};
use dnp3_tests::vm::hex;
use serde_json::{json, Value};

/// The link addresses of the README's policy.
const MASTER: u16 = 1;
const STATION: u16 = 10;

fn request(user_data: &[u8]) -> Vec<u8> {
    frame(control::MASTER_DATA, STATION, MASTER, user_data)
}

fn answer(user_data: &[u8]) -> Vec<u8> {
    frame(control::OUTSTATION_DATA, MASTER, STATION, user_data)
}

/// A step that sends octets.
fn send(what: &str, from: &str, octets: &[u8], promise: Promise) -> Value {
    let (arrives, rule, logged) = match promise {
        Promise::Passes if from == "outstation" => (true, ["DNP3-REPLY", "-j ACCEPT"], false),
        Promise::Passes => (true, ["DNP3 ", "-j ACCEPT"], false),
        Promise::Rejected if from == "outstation" => (false, ["DNP3-REPLY", "-j REJECT"], false),
        Promise::Rejected => (false, ["DNP3 ", "-j REJECT"], false),
        Promise::LoggedAndRejected => (false, ["DNP3 ", "-j REJECT"], true),
    };
    json!({ "what": what, "from": from, "octets": hex(octets), "arrives": arrives, "rule": rule, "logged": logged })
}

#[derive(Clone, Copy)]
enum Promise {
    Passes,
    Rejected,
    LoggedAndRejected,
}

fn main() {
    use Promise::{LoggedAndRejected, Passes, Rejected};

    let read = request(&[0xC0, 0xC0, 0x01, 0x3C, 0x02, 0x06, 0x3C, 0x01, 0x06]);
    let restart = request(&[0xC1, 0xC1, 0x0D]);
    let confirm = request(&[0xC2, 0xC0, 0x00]);
    let time = request(&[
        0xC3, 0xC2, 0x02, 0x32, 0x01, 0x07, 0x01, 0xF8, 0xB8, 0x6C, 0xAA, 0xF0, 0x00,
    ]);
    let response = answer(&[0xC0, 0xC0, 0x81, 0x00, 0x00]);
    // One response in two transport segments, the first with FIR, the second with FIN.
    let long = [
        answer(&[0x40, 0xC0, 0x81, 0x00, 0x00]),
        answer(&[0x81, 0x01, 0x02, 0x03]),
    ];
    // The inner frame begins with the outer one's second block. FCV is set, which does not go with
    // UNCONFIRMED_USER_DATA: receivers refuse the outer frame and go on one octet behind its start.
    let mut inside = vec![0xC1, 0xC1, 0x01];
    inside.resize(16, 0);
    inside.extend(&restart);
    let inside = frame(
        control::MASTER_DATA | control::FCV,
        STATION,
        MASTER,
        &inside,
    );

    let steps = [
        json!({ "what": "open a connection", "from": "master", "arrives": true,
                "rule": ["DNP3 ", "--ctstate NEW", "--status none", "-j ACCEPT"] }),
        send("READ", "master", &read, Passes),
        send("RESPONSE", "outstation", &response, Passes),
        send(
            "keep-alive (REQUEST_LINK_STATUS)",
            "master",
            &frame(0xC9, STATION, MASTER, &[]),
            Passes,
        ),
        send(
            "LINK_STATUS",
            "outstation",
            &frame(0x0B, MASTER, STATION, &[]),
            Passes,
        ),
        send("WRITE of the time", "master", &time, Passes),
        send(
            "UNSOLICITED_RESPONSE",
            "outstation",
            &answer(&[0xC1, 0xF0, 0x82, 0x00, 0x00]),
            Passes,
        ),
        send(
            "CONFIRM and READ in one segment",
            "master",
            &[confirm, read.clone()].concat(),
            Passes,
        ),
        send("COLD_RESTART", "master", &restart, LoggedAndRejected),
        send(
            "COLD_RESTART behind a READ in one segment",
            "master",
            &[read.clone(), restart.clone()].concat(),
            LoggedAndRejected,
        ),
        send("COLD_RESTART inside a frame", "master", &inside, Rejected),
        send(
            "one octet of junk, then a READ",
            "master",
            &[&[0][..], &read].concat(),
            Rejected,
        ),
        send(
            "a READ with one wrong bit",
            "master",
            &{
                let mut wrong = read.clone();
                wrong[13] ^= 1;
                wrong
            },
            Rejected,
        ),
        send("half a READ", "master", &read[..read.len() / 2], Passes),
        send("the other half", "master", &read[read.len() / 2..], Passes),
        send(
            "RESPONSE, its first segment",
            "outstation",
            &long[0],
            Passes,
        ),
        send("RESPONSE, its last segment", "outstation", &long[1], Passes),
        send(
            "a segment that continues nothing",
            "outstation",
            &answer(&[0x85, 0x01, 0x02, 0x03]),
            Rejected,
        ),
        send("COLD_RESTART, its header", "master", &restart[..10], Passes),
        send(
            "COLD_RESTART, the rest of the frame",
            "master",
            &restart[10..],
            LoggedAndRejected,
        ),
        send("junk", "master", b"GET / HTTP/1.0\r\n\r\n", Rejected),
        send("OPERATE", "master", &request(&[0xC4, 0xC4, 0x04]), Rejected),
        send(
            "READ to all stations (65535)",
            "master",
            &frame(control::MASTER_DATA, 0xFFFF, MASTER, &[0xC0, 0xC0, 0x01]),
            Rejected,
        ),
        send(
            "READ by another master address (2)",
            "master",
            &frame(control::MASTER_DATA, STATION, 2, &[0xC0, 0xC0, 0x01]),
            Rejected,
        ),
        send(
            "RESPONSE of a station that is not there (99)",
            "outstation",
            &frame(
                control::OUTSTATION_DATA,
                MASTER,
                99,
                &[0xC0, 0xC0, 0x81, 0, 0],
            ),
            Rejected,
        ),
        send(
            "COLD_RESTART, back through the open connection",
            "outstation",
            &frame(control::MASTER_DATA, MASTER, STATION, &[0xC0, 0xC0, 0x0D]),
            Rejected,
        ),
        json!({ "what": "open a connection", "from": "stranger", "arrives": false,
                "rule": ["DNP3 ", "-j REJECT"] }),
        send("READ, and the session goes on", "master", &read, Passes),
        send("RESPONSE", "outstation", &response, Passes),
    ];
    println!("{:#}", Value::from(steps.to_vec()));
}
