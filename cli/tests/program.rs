// SPDX-License-Identifier: GPL-2.0

//! The program as a user has it: arguments, output, exit status, memory.

#[path = "support/run.rs"]
mod run;
mod support;
#[path = "support/traffic.rs"]
mod traffic;

use dnp3_core::text::names::{FUNCTIONS, GROUPS};
use dnp3_tests::vectors;
use run::{expect, run, text, Scratch, DNP3FW};
use serde_json::Value;
use std::fs;
use std::io::BufWriter;
use std::process::{Command, Stdio};
use support::{datagram, ethernet, tagged, Segment};

fn capture() -> Vec<u8> {
    ethernet(&[
        tagged(&[], &Segment::of(1, vectors::READ).ip(false)),
        tagged(&[], &Segment::of(1, vectors::WRITE).ip(true)),
    ])
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[test]
fn a_capture_as_text() {
    let scratch = Scratch::new("text");
    let file = scratch.file("two.pcap", &capture());
    let (stdout, stderr) = expect(0, &["decode", &file], &[]);
    assert_eq!(stderr, "");
    assert_eq!(
        stdout,
        "\
1  2023-11-14T22:13:20.123456Z  tcp 192.0.2.1:40000 > 192.0.2.2:20000
  link 1024 > 1 master confirmed_user_data, 27 octets
  transport FIR FIN 0
  application FIR FIN 3 read
    g60v2 class 1 data, all (06)
    g60v3 class 2 data, all (06)
    g60v4 class 3 data, all (06)
    g60v1 class 0 data, all (06)
2  2023-11-14T22:13:20.124456Z  tcp [2001:db8::1]:40000 > [2001:db8::2]:20000
  link 1024 > 1 master unconfirmed_user_data, 25 octets
  transport FIR FIN 0
  application FIR FIN 5 write
    g50v1 time and date, absolute, count 1 (07)
"
    );
    // From standard input it is the same; a file given twice is shown twice.
    let (piped, _) = expect(0, &["decode", "-"], &capture());
    assert_eq!(piped, stdout);
    let (twice, _) = expect(0, &["decode", &file, &file], &[]);
    assert_eq!(twice, stdout.repeat(2));
}

#[test]
fn octets_of_a_line() {
    let scratch = Scratch::new("raw");
    let noise = [&[0xFF, 0x05][..], vectors::COLD_RESTART, &[0x00]].concat();
    let file = scratch.file("line.bin", &noise);
    let wanted = "\
octet 0
  no valid frame: a frame begins with 05 64; 2 octets: FF 05
octet 2
  link 1024 > 1 master unconfirmed_user_data, 15 octets
  transport FIR FIN 0
  application FIR FIN 0 cold_restart
octet 17
  no valid frame: a frame begins with 05 64; 1 octets: 00
";
    assert_eq!(expect(1, &["decode", "--raw", &file], &[]).0, wanted);
    assert_eq!(expect(1, &["decode", "--raw", "-"], &noise).0, wanted);
    let digits = hex(&noise);
    assert_eq!(expect(1, &["decode", "--hex", &digits], &[]).0, wanted);
    for separator in [" ", ":", " 0x", ", "] {
        let words: Vec<String> = noise.iter().map(|octet| format!("{octet:02X}")).collect();
        let words = words.join(separator);
        let words = match separator {
            " 0x" => format!("0x{words}"),
            _ => words,
        };
        assert_eq!(expect(1, &["decode", "--hex", &words], &[]).0, wanted);
    }
}

#[test]
fn every_vector_says_its_function_or_its_fault() {
    for (name, octets) in vectors::ALL {
        let wanted = match *name {
            "RESET_LINK" => "reset_link_states",
            "ACK" => " ack",
            "REQUEST_LINK_STATUS" => "request_link_status",
            "LINK_STATUS" => "link_status",
            "READ" | "CARRIER_B" => " read",
            "WRITE" => " write",
            "COLD_RESTART" => " cold_restart",
            "FRAME_IN_FRAME" => "control octet D4 is not defined",
            "SHORT_FIR_1" => "the first segment ends before its function code",
            _ => "discarded: no segment with FIR comes before it",
        };
        let status = match *name {
            "FRAME_IN_FRAME" | "SHORT_FIR_1" => 1,
            // What follows the READ are no object headers.
            "CARRIER_B" => {
                i32::from(run(&["decode", "--hex", &hex(octets)]).status.code() == Some(1))
            }
            _ => 0,
        };
        let (stdout, _) = expect(status, &["decode", "--hex", &hex(octets)], &[]);
        assert!(stdout.contains(wanted), "{name}: {stdout}");
    }
}

#[test]
fn lines_of_json() {
    let (stdout, _) = expect(0, &["decode", "--json", "-"], &capture());
    let lines: Vec<Value> = stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    let read = &lines[0];
    assert_eq!(read["event"], "frame");
    assert_eq!(read["packet"], 1);
    assert_eq!(read["time"], "2023-11-14T22:13:20.123456Z");
    assert_eq!(read["ip"]["source"], "192.0.2.1");
    assert_eq!(read["ip"]["destination_port"], 20_000);
    assert_eq!(read["link"]["source"], 1024);
    assert_eq!(read["application"]["name"], "read");
    assert_eq!(read["application"]["objects"][0]["group"], 60);
    assert_eq!(lines[1]["application"]["objects"][0]["count"], 1);
    let (stdout, _) = expect(1, &["decode", "--json", "--hex", "0565"], &[]);
    let bad: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(bad["event"], "bad");
    assert_eq!(bad["octets"], "0565");
    assert_eq!(bad["text"], "a frame begins with 05 64");
}

#[test]
fn exit_statuses() {
    let scratch = Scratch::new("status");
    let good = scratch.file("good.pcap", &capture());
    let whole = capture();
    let cut = scratch.file("cut.pcap", &whole[..whole.len() - 5]);
    let bad = ethernet(&[tagged(&[], &datagram(&vectors::READ[..20]))]);
    let bad = scratch.file("bad.pcap", &bad);
    let missing = scratch.0.join("missing").display().to_string();
    let folder = scratch.0.display().to_string();

    expect(0, &["decode", &good], &[]);
    let (stdout, _) = expect(1, &["decode", &bad], &[]);
    assert!(stdout.contains("the datagram ends inside the frame"));

    // What could be read is there, and what could not is said.
    let (stdout, stderr) = expect(3, &["decode", &cut], &[]);
    assert!(stdout.contains(" read\n") && !stdout.contains(" write\n"));
    assert_eq!(
        stderr,
        format!(
            "dnp3fw: {cut}: ends inside packet 2, which begins at octet 121: 110 of 115 octets \
             are there; 1 packets before that were read\n"
        )
    );
    // Damage comes before what was found, and does not end the reading of other files.
    let (stdout, _) = expect(3, &["decode", &cut, &bad, &good], &[]);
    assert!(stdout.contains(" write\n"));
    for (input, why) in [
        (&b""[..], "is empty"),
        (
            b"hello",
            "is neither pcap nor pcapng: it begins with 68 65 6C 6C",
        ),
        (&[0x1F, 0x8B, 8, 0], "as gzip does"),
        (&whole[..10], "ends inside the file's header"),
    ] {
        let (_, stderr) = expect(3, &["decode", "-"], input);
        assert!(stderr.contains(why), "{stderr}");
        assert_eq!(stderr.lines().count(), 1);
    }

    for arguments in [
        &["decode"][..],
        &["decode", &missing],
        &["decode", &folder],
        &["decode", "-", "-"],
        &["decode", "--port", "0", &good],
        &["decode", "--port", "65536", &good],
        &["decode", "--hex", "056"],
        &["decode", "--hex", "05 6x"],
        &["decode", "--hex", ""],
        &["decode", "--nonsense", &good],
        &["nonsense"],
        &[],
    ] {
        let (stdout, stderr) = expect(2, arguments, &[]);
        assert_eq!(stdout, "", "{arguments:?}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
    // A name that is wrong is said before the first file is read.
    let (stdout, stderr) = expect(2, &["decode", &good, &missing], &[]);
    assert_eq!(stdout, "");
    assert!(stderr.contains(&missing) && stderr.lines().count() == 1);
}

#[test]
fn another_port() {
    let mut packet = Segment::of(1, vectors::READ).ip(false);
    packet[22..24].copy_from_slice(&20_001u16.to_be_bytes());
    let file = ethernet(&[tagged(&[], &packet), capture()[24 + 16..][..81].to_vec()]);
    let (stdout, _) = expect(0, &["decode", "-"], &file);
    assert_eq!(stdout.matches(" read\n").count(), 1);
    let arguments = ["decode", "-", "--port", "20001"];
    assert_eq!(expect(0, &arguments, &file).0.matches(" read\n").count(), 1);
    let arguments = ["decode", "-", "--port", "20001", "--port", "20000"];
    assert_eq!(expect(0, &arguments, &file).0.matches(" read\n").count(), 2);
    let (stdout, stderr) = expect(0, &["decode", "-", "--port", "1"], &file);
    assert_eq!(stdout, "");
    assert!(stderr.contains("none of the 2 packets is of TCP or UDP port 1;"));
}

#[test]
fn functions_are_the_table_s() {
    let (stdout, _) = expect(0, &["functions"], &[]);
    let (json, _) = expect(0, &["functions", "--json"], &[]);
    let rows: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(rows.len(), FUNCTIONS.len());
    for (row, named) in rows.iter().zip(FUNCTIONS) {
        assert_eq!(row["code"], named.value);
        assert_eq!(row["name"], named.name);
        let line = stdout
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some(named.name))
            .expect("a line");
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], named.value.to_string());
        let groups: Vec<&str> = words[3..].to_vec();
        for group in GROUPS {
            let has = group
                .ranges
                .iter()
                .any(|(min, max)| (min..=max).contains(&&named.value));
            assert_eq!(groups.contains(&group.name), has, "{line}");
        }
        // The names are those that --fc takes.
        let rule = format!("--fc {}", named.name);
        assert!(dnp3_core::text::parse(rule.split(' '), 6).is_ok());
    }
}

#[test]
fn help_completions_and_manual_pages() {
    let (help, _) = expect(0, &["--help"], &[]);
    for command in ["functions", "decode", "learn", "completions"] {
        assert!(help.contains(command), "{help}");
        let (help, _) = expect(0, &[command, "--help"], &[]);
        assert!(help.contains("Examples:\n  "), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (script, _) = expect(0, &["completions", shell], &[]);
        assert!(script.contains("decode") && script.contains("functions"));
    }
    let scratch = Scratch::new("man");
    let folder = scratch.0.display().to_string();
    expect(0, &["man", &folder], &[]);
    let page = |name: &str| fs::read_to_string(scratch.0.join(name)).expect("a page");
    assert!(page("dnp3fw.8").contains(".TH dnp3fw 8"));
    assert!(page("dnp3fw.8").contains(".SH \"EXIT STATUS\""));
    assert!(page("dnp3fw-decode.8").contains("\\-\\-port"));
    assert!(page("dnp3fw-learn.8").contains("\\-\\-output"));
    assert!(page("dnp3fw-learn.8").contains(".SH \"LIMITS\"\n.nf\n\\&32768 pairs of hosts"));
    assert!(page("dnp3fw-functions.8").contains(".SH \"EXAMPLES\"\n.nf\n\\&dnp3fw functions\n"));
    // What --help shows as examples of decode without files to name works as it stands.
    let (help, _) = expect(0, &["decode", "--help"], &[]);
    let example = help
        .lines()
        .find_map(|line| line.trim().strip_prefix("dnp3fw decode --hex "))
        .expect("the example");
    let octets = example.trim_matches('\'');
    let (stdout, _) = expect(0, &["decode", "--hex", octets], &[]);
    assert!(stdout.contains("cold_restart"));
}

/// Whatever comes through a pipe, 200 MiB of address space do for code, stack and data.
#[test]
fn memory_is_bounded() {
    for kind in traffic::KINDS {
        // More than there is room for, were it all kept.
        let size = match kind {
            "polls" | "all" => 100_000_000,
            "holes" => 300_000_000,
            _ => 150_000_000,
        };
        let mut child = Command::new("/bin/bash")
            .args(["-c", "ulimit -v 204800 && exec \"$0\" decode -", DNP3FW])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program");
        let input = BufWriter::with_capacity(1 << 20, child.stdin.take().expect("its input"));
        let written = traffic::write(kind, size, input);
        let output = child.wait_with_output().expect("its output");
        let (status, stderr) = (output.status.code(), text(&output.stderr));
        assert!(matches!(status, Some(0 | 1)), "{kind}: {status:?} {stderr}");
        assert!(written.is_ok(), "{kind}: {written:?}");
    }
}

/// Who reads the lines may have enough of them.
#[test]
fn a_reader_that_ends_early_is_no_error() {
    let mut packets = Vec::new();
    for at in 0..20_000u32 {
        let segment = Segment::of(1 + at * 27, vectors::READ);
        packets.push(tagged(&[], &segment.ip(false)));
    }
    let scratch = Scratch::new("pipe");
    let file = scratch.file("many.pcap", &ethernet(&packets));
    let output = Command::new("/bin/bash")
        .args([
            "-c",
            "\"$0\" decode \"$1\" | head -n 1; echo ${PIPESTATUS[0]}",
        ])
        .args([DNP3FW, &file])
        .output()
        .expect("the program");
    assert_eq!(text(&output.stderr), "");
    assert!(text(&output.stdout).ends_with("\n0\n"));
}
