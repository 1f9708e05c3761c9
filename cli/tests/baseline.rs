// SPDX-License-Identifier: GPL-2.0

//! The baseline: what is written is read again, what people write by hand is taken or refused in one
//! line, and the published schema says the same of both.

#[path = "support/run.rs"]
mod run;
#[path = "support/wire.rs"]
mod wire;

use dnp3_tests::{captures, vectors};
use dnp3fw::baseline::{self, Baseline, Side, Transport};
use run::{expect, Scratch};
use serde_json::Value;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{symlink, FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use wire::{Tcp, Wire, START};

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.schema.json");

/// All that a baseline can say.
const EXAMPLE: &str = r#"{
  "version": 1,
  "$schema": "baseline.schema.json",
  "generator": "a person",
  "captured": {"files": ["a.pcap"], "from": "2026-01-31T12:00:00Z", "to": null, "packets": 7},
  "communications": [
    {
      "master_ip": "192.0.2.1",
      "outstation_ip": "198.51.100.7",
      "protocol": "tcp",
      "port": 20000,
      "opened_by": "outstation",
      "connections": 1,
      "comment": "the pumps",
      "links": [
        {
          "master": 1,
          "outstation": 10,
          "comment": "well 3",
          "requests": [
            {"function": 1, "name": "READ", "messages": 3, "octets": 15, "objects": ["g60v2", "g255v0"],
             "interval_seconds": {"least": 1, "median": 2.5, "most": 4}},
            {"function": 128}
          ],
          "responses": [{"function": 129}],
          "link_functions": {"requests": 1}
        },
        {"master": null, "outstation": 65535, "requests": [{"function": 2}], "responses": []}
      ]
    },
    {
      "master_ip": "2001:db8::1", "outstation_ip": "2001:db8::2", "protocol": "udp", "port": 65535,
      "links": [{"master": 65519, "outstation": null, "requests": [], "responses": []}]
    }
  ]
}"#;

fn read(text: &str) -> Result<Baseline, String> {
    baseline::read("b.json", text.as_bytes())
}

fn written(baseline: &Baseline) -> String {
    let mut octets = Vec::new();
    baseline::write(baseline, &mut octets).expect("no error");
    String::from_utf8(octets).expect("UTF-8")
}

#[test]
fn what_people_write() {
    let baseline = read(EXAMPLE).expect("it is right");
    let [first, second] = baseline.communications.as_slice() else {
        panic!("two communications");
    };
    assert_eq!(first.opened_by, Some(Side::Outstation));
    assert_eq!(first.links[0].requests[0].objects[1].to_string(), "g255v0");
    assert_eq!(
        first.links[0].link_functions.map(|frames| frames.requests),
        Some(1)
    );
    assert!(first.links[1].is_broadcast());
    assert_eq!(first.links[1].master, None);
    assert_eq!((second.protocol, second.opened_by), (Transport::Udp, None));
    assert_eq!(second.links[0].outstation, None);
    // What is written of it is the same, and stays it.
    let text = written(&baseline);
    assert_eq!(read(&text).as_ref(), Ok(&baseline), "{text}");
    assert_eq!(written(&read(&text).expect("the same")), text);
}

#[test]
fn the_simple_form() {
    let text = r#"{"authorized_communications": [
        {"master_ip": "10.0.0.9", "outstation_ip": "10.0.0.2", "expected_function_codes": [129, 1, 128]},
        {"master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2", "expected_function_codes": [1, "restart", "2,Direct-Operate"]},
        {"master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2", "expected_function_codes": ["responses", "link", 1]},
        {"master_ip": "::1", "outstation_ip": "::2", "expected_function_codes": []}
    ]}"#;
    let baseline = read(text).expect("it is right");
    let codes =
        |list: &[baseline::Function]| -> Vec<u8> { list.iter().map(|one| one.function).collect() };
    let found: Vec<_> = baseline
        .communications
        .iter()
        .map(|one| {
            assert_eq!((one.protocol, one.port), (Transport::Tcp, 20_000));
            assert_eq!(one.opened_by, Some(Side::Master));
            let [link] = one.links.as_slice() else {
                panic!("one link");
            };
            assert_eq!((link.master, link.outstation), (None, None));
            assert_eq!(link.link_functions, None);
            (
                one.master_ip.to_string(),
                codes(&link.requests),
                codes(&link.responses),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            (
                "10.0.0.1".into(),
                vec![1, 2, 5, 13, 14],
                vec![129, 130, 131]
            ),
            ("10.0.0.9".into(), vec![1, 128], vec![129]),
            ("::1".into(), vec![], vec![]),
        ]
    );
    // In the other form it says the same.
    assert_eq!(read(&written(&baseline)), Ok(baseline));
}

/// The example with one thing changed.
fn changed(from: &str, to: &str) -> String {
    assert_eq!(EXAMPLE.matches(from).count(), 1, "{from:?}");
    EXAMPLE.replacen(from, to, 1)
}

fn simple(members: &str) -> String {
    format!(r#"{{"authorized_communications": [{{{members}}}]}}"#)
}

/// What is wrong with a file, whether the schema says so as well, and what is said.
#[rustfmt::skip]
fn wrong() -> Vec<(String, bool, &'static str)> {
    let hosts = r#""master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2""#;
    let codes = |codes: &str| simple(&format!(r#"{hosts}, "expected_function_codes": {codes}"#));
    let c = changed;
    vec![
        ("".into(), true, "is empty; a baseline is wanted, as dnp3fw learn writes it"),
        (" \n".into(), true, "is empty; a baseline is wanted"),
        ("{".into(), true, "is no JSON: EOF while parsing an object at line 1 column 1; a baseline is wanted, as dnp3fw learn writes it"),
        ("\u{d4}\u{c3}".into(), true, "is no JSON: expected value at line 1 column 1; a baseline is wanted, as dnp3fw learn writes it"),
        ("{} {}".into(), true, "is no JSON: "),
        ("[]".into(), true, "invalid type: sequence, expected an object, {...} at line 1 column 0"),
        ("{}".into(), true, "has neither communications nor authorized_communications"),
        ("{\"version\": 1}".into(), true, "has neither communications"),
        (format!("{EXAMPLE}x"), true, "trailing characters at line 36 column 2"),
        (c("\"version\": 1,", ""), true, "has no version; \"version\": 1 is allowed"),
        (c("\"version\": 1,", "\"version\": null,"), true, "version: invalid type: null, expected u64"),
        (c("\"the pumps\"", "null"), true, "communications[0].comment: invalid type: null, expected a string"),
        (c("\"version\": 1,", "\"version\": 2,"), true, "version 2 is not known to this dnp3fw; 1 is allowed"),
        (c("\"version\": 1,", "\"version\": \"1\","), true, "version: invalid type: string \"1\", expected u64 at line 2 column 16"),
        (c("\"version\": 1,", "\"version\": 1, \"version\": 1,"), false, "duplicate field `version`"),
        (c("\"version\": 1,", "\"version\": 1, \"authorized_communications\": [],"), true, "has communications and authorized_communications; one of them is allowed"),
        ("{\"version\": 1, \"authorized_communications\": []}".into(), true, "authorized_communications is of the form without a version"),
        (c("\"generator\": \"a person\"", "\"generated\\n\": 1"), true, "unknown field `generated\\n`, expected one of `version`"),
        (c("2026-01-31T12:00:00Z", "yesterday"), false, "captured.from: \"yesterday\" is no time of RFC 3339, as 2026-01-31T12:00:00Z"),
        (c("\"packets\": 7", "\"packets\": -7"), true, "captured.packets: invalid value: integer `-7`, expected u64 at line 5"),
        (c("192.0.2.1", "192.0.2.256"), true, "communications[0].master_ip: invalid value: string \"192.0.2.256\", expected an IP address, as 192.0.2.1 or 2001:db8::1 at line 8 column 32"),
        (c("192.0.2.1", "2001:db8::9"), false, "communications[0]: 2001:db8::9 and 198.51.100.7 are of two versions of IP; one is allowed"),
        (c("\"protocol\": \"tcp\"", "\"protocol\": \"sctp\""), true, "communications[0].protocol: unknown variant `sctp`, expected `tcp` or `udp`"),
        (c("\"port\": 20000", "\"port\": 0"), true, "communications[0].port: invalid value: integer `0`, expected a port, 1 to 65535"),
        (c("\"port\": 20000", "\"port\": 65536"), true, "integer `65536`, expected a port, 1 to 65535"),
        (c("\"port\": 20000", "\"port\": null"), true, "expected a port, 1 to 65535"),
        (c("\"opened_by\": \"outstation\"", "\"opened_by\": \"me\""), true, "communications[0].opened_by: unknown variant `me`, expected `master` or `outstation`"),
        (c("\"master\": 1,", ""), true, "communications[0].links[0]: missing field `master`"),
        (c("\"master\": 1,", "\"master\": 65520,"), true, "communications[0].links[0].master: invalid value: integer `65520`, expected a master's link address, 0 to 65519, or null for any"),
        (c("\"master\": 1,", "\"master\": 1.5,"), true, "invalid type: floating point `1.5`, expected a master's link address"),
        (c("\"outstation\": 10,", "\"outstation\": 65531,"), true, "communications[0].links[0].outstation: invalid value: integer `65531`, expected an outstation's link address, 0 to 65519, 65532 (self) or 65533 to 65535 (broadcast), or null for any"),
        (c("\"outstation\": 10,", "\"oustation\": 10,"), true, "communications[0].links[0].oustation: unknown field `oustation`"),
        (c("\"requests\": [{\"function\": 2}]", "\"requests\": [{\"function\": 129}]"), true, "communications[0].links[1].requests[0].function: 129 does not belong here; 0 to 128 are allowed"),
        (c("[{\"function\": 129}]", "[{\"function\": 128}]"), true, "communications[0].links[0].responses[0].function: 128 does not belong here; 129 to 131 are allowed"),
        (c("[{\"function\": 129}]", "[{\"function\": 132}]"), true, "communications[0].links[0].responses[0].function: invalid value: integer `132`, expected a function code, 0 to 128 in requests, 129 to 131 in responses"),
        (c("[{\"function\": 129}]", "[{\"function\": 129}, {\"function\": 129}]"), false, "communications[0].links[0].responses[1].function: 129 is in [0] as well; once is allowed"),
        (
            c("[{\"function\": 2}], \"responses\": []", "[], \"responses\": [{\"function\": 129}]"),
            true,
            "communications[0].links[1].responses: nothing can come from a self-address or one of broadcast; [] is allowed",
        ),
        (c("\"name\": \"READ\"", "\"name\": \"write\""), false, "communications[0].links[0].requests[0].name: \"write\" is not the name of function 1, which is \"read\""),
        (c("g255v0", "g256v0"), true, "communications[0].links[0].requests[0].objects[1]: invalid value: string \"g256v0\", expected an object's group and variation, as g60v1"),
        (c("g255v0", "g60"), true, "string \"g60\", expected an object's group"),
        (c("g255v0", "g060v1"), true, "string \"g060v1\", expected an object's group"),
        (c("g255v0", "g60v+1"), true, "string \"g60v+1\", expected an object's group"),
        (c("\"least\": 1,", "\"least\": -1,"), true, "interval_seconds.least: invalid value: floating point `-1.0`, expected seconds, 0 or more"),
        (c("\"least\": 1,", "\"least\": 3,"), false, "communications[0].links[0].requests[0].interval_seconds: least, median and most are allowed in this order"),
        (c("\"least\": 1,", ""), true, "interval_seconds: missing field `least`"),
        (c("{\"requests\": 1}", "{\"request\": 1}"), true, "link_functions.request: unknown field `request`"),
        (c("\"master\": null, \"outstation\": 65535", "\"master\": 1, \"outstation\": 10"), false, "communications[0].links[1]: is between the same stations as links[0]; their functions belong into one"),
        (c("{\"function\": 128}", "[128]"), true, "communications[0].links[0].requests[1]: invalid type: sequence, expected an object, {...}"),
        (c("{\"requests\": 1}", "[1, 2]"), true, "communications[0].links[0].link_functions: invalid type: sequence, expected an object, {...}"),
        (c("{\"requests\": 1}", "null"), true, "communications[0].links[0].link_functions: invalid type: null, expected an object, {...}"),
        (simple(""), true, "authorized_communications[0]: missing field `master_ip`"),
        (codes("1"), true, "authorized_communications[0].expected_function_codes: invalid type: integer `1`, expected a sequence"),
        (codes("[132]"), true, "authorized_communications[0].expected_function_codes[0]: invalid value: integer `132`, expected a function code, 0 to 131, or a name that --fc takes"),
        (codes("[1, -1]"), true, "expected_function_codes[1]: invalid type: integer `-1`, expected a function code, 0 to 131"),
        (codes("[\"reed\"]"), false, "expected_function_codes[0]: --fc: unknown function 'reed': did you mean 'read'?"),
        (codes("[\"cont\"]"), false, "invalid value: string \"cont\", expected a function code, 0 to 131, or a name that --fc takes"),
        (codes("[\"0:255\"]"), false, "invalid value: string \"0:255\", expected a function code, 0 to 131"),
        (codes("[]").replace("10.0.0.2", "::2"), false, "authorized_communications[0]: 10.0.0.1 and ::2 are of two versions of IP; one is allowed"),
        (codes("[]").replace("10.0.0.2", "10.0.0.0/24"), true, "authorized_communications[0].outstation_ip: invalid value: string \"10.0.0.0/24\", expected an IP address"),
        (codes("[], \"port\": 20000"), true, "authorized_communications[0].port: unknown field `port`"),
        (format!("{}{}", "[".repeat(300), "]".repeat(300)), true, "invalid type: sequence, expected an object, {...} at line 1 column 0"),
        (format!("{{\"communications\": {}", "[".repeat(300)), true, "communications[0]: invalid type: sequence, expected an object, {...}"),
    ]
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    for (text, _, wanted) in wrong() {
        let said = read(&text).expect_err(&text);
        let said = said.strip_prefix("b.json: ").expect("the file");
        assert!(
            said.starts_with(wanted) || said.contains(wanted),
            "{said:?}, not {wanted:?}"
        );
        assert!(
            !said.contains(char::is_control) && said.len() < 600,
            "{said:?}"
        );
    }
    // Two communications between the same hosts.
    let mut twice: Value = serde_json::from_str(EXAMPLE).expect("JSON");
    let list = twice["communications"].as_array_mut().expect("a list");
    list.push(list[0].clone());
    let said = read(&twice.to_string()).expect_err("twice");
    assert_eq!(
        said,
        "b.json: communications[2]: is between the same hosts as communications[0]; their links belong into one"
    );
    // A file of any length is no reason to read it all.
    let said = baseline::read("zero", std::io::repeat(b' ')).expect_err("too long");
    assert_eq!(said, "zero: is longer than 64 MiB, which no baseline is");
}

/// Says of each of these whether the schema takes it, by Debian's validator.
fn by_schema(texts: &[String]) -> Vec<bool> {
    const JUDGE: &str = "
import json, sys
from jsonschema import Draft202012Validator, FormatChecker
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
judge = Draft202012Validator(schema, format_checker=FormatChecker(['ipv4', 'ipv6']))
for text in json.load(sys.stdin):
    try:
        print(judge.is_valid(json.loads(text)))
    except ValueError:
        print(False)
";
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", JUDGE, SCHEMA])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 runs; scripts/setup test installs python3-jsonschema");
    let mut stdin = child.stdin.take().expect("its input");
    let texts = serde_json::to_vec(texts).expect("JSON");
    let writer = std::thread::spawn(move || stdin.write_all(&texts));
    let output = child.wait_with_output().expect("its output");
    assert!(output.status.success(), "the validator failed");
    writer.join().expect("the writer").expect("all is read");
    let lines = String::from_utf8(output.stdout).expect("UTF-8");
    lines.lines().map(|line| line == "True").collect()
}

#[test]
fn the_schema_says_the_same() {
    // What is right: examples, and all that is learned.
    let mut right = vec![
        EXAMPLE.to_owned(),
        simple(
            r#""master_ip": "10.0.0.1", "outstation_ip": "10.0.0.2", "expected_function_codes": [0, 131, "read"]"#,
        ),
    ];
    let mut learn = |folder: &Path| {
        for (_, path) in captures::files(folder, "pcap") {
            let path = path.display().to_string();
            let output = run::run(&["learn", "--port", "20000", "--port", "20001", &path]);
            right.push(run::text(&output.stdout));
        }
    };
    learn(&captures::own());
    match captures::folder() {
        Ok(folder) => learn(&folder),
        Err(why) => eprintln!("other people's captures: {why}"),
    }
    assert!(right.len() > 10);
    for text in &right {
        read(text).expect("what learn writes");
    }
    let wrong = wrong();
    let mut all = right.clone();
    all.extend(wrong.iter().map(|(text, ..)| text.clone()));
    let found = by_schema(&all);
    assert_eq!(found.len(), all.len());
    let (taken, refused) = found.split_at(right.len());
    for (text, is_taken) in right.iter().zip(taken) {
        assert!(is_taken, "{text}");
    }
    for ((text, is_refused, why), is_taken) in wrong.iter().zip(refused) {
        assert_eq!(is_taken, &!is_refused, "{why}: {text}");
    }
    // The program has the schema that is published.
    assert_eq!(
        baseline::SCHEMA_TEXT,
        fs::read_to_string(SCHEMA).expect("the schema")
    );
}

fn capture() -> Vec<u8> {
    let mut wire = Wire::default();
    let mut tcp = Tcp::open(&mut wire, START, "10.0.0.1:40000", "10.0.0.2:20000");
    tcp.send(&mut wire, START + 1, vectors::READ);
    tcp.send(&mut wire, START + 2, vectors::WRITE);
    wire.file()
}

/// The names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    names
}

#[test]
fn where_it_is_written() {
    let scratch = Scratch::new("baseline-output");
    let file = scratch.file("a.pcap", &capture());
    let path = |name: &str| scratch.0.join(name);
    let (stdout, _) = expect(0, &["learn", &file], &[]);

    // A new file, one that is there, and one behind a symbolic link.
    let output = path("b.json").display().to_string();
    for _ in 0..2 {
        assert_eq!(
            expect(0, &["learn", &file, "-o", &output], &[]),
            Default::default()
        );
        assert_eq!(fs::read_to_string(&output).expect("it is there"), stdout);
        fs::set_permissions(&output, fs::Permissions::from_mode(0o640)).expect("it is ours");
    }
    symlink("b.json", path("link.json")).expect("a link");
    fs::write(&output, "old").expect("a file");
    let link = path("link.json").display().to_string();
    expect(0, &["learn", &file, "-o", &link], &[]);
    assert!(path("link.json").is_symlink());
    assert_eq!(fs::read_to_string(&output).expect("it is there"), stdout);
    let mode = fs::metadata(&output)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o640);
    assert_eq!(names(&scratch.0), ["a.pcap", "b.json", "link.json"]);
    // What is no file stays what it is.
    expect(0, &["learn", &file, "-o", "/dev/null"], &[]);
    let null = fs::metadata("/dev/null").expect("it is there");
    assert!(null.file_type().is_char_device());
    let said = expect(0, &["learn", &file, "-o", "/dev/stdout"], &[]);
    assert_eq!(said.0, stdout);

    // What cannot be written is said before anything is read.
    let folder = scratch.0.display().to_string();
    for (output, wanted) in [
        (
            file.clone(),
            format!("dnp3fw: {file}: is the input {file}; another file is wanted\n"),
        ),
        (
            folder.clone(),
            format!("dnp3fw: {folder}: is a directory; a file is wanted\n"),
        ),
        (
            format!("{folder}/missing/b.json"),
            format!("dnp3fw: {folder}/missing/b.json: No such file or directory (os error 2)\n"),
        ),
    ] {
        let (stdout, stderr) = expect(2, &["learn", &file, "-o", &output], &[]);
        assert_eq!((stdout.as_str(), stderr), ("", wanted));
    }
    assert_eq!(fs::read(&file).expect("it is there"), capture());
    assert_eq!(names(&scratch.0), ["a.pcap", "b.json", "link.json"]);
    let (_, stderr) = expect(2, &["learn", &file, "-o", "/dev/full"], &[]);
    assert_eq!(
        stderr,
        "dnp3fw: /dev/full: No space left on device (os error 28)\n"
    );
}

#[test]
fn a_damaged_capture_gives_what_could_be_read() {
    let scratch = Scratch::new("baseline-damaged");
    let whole = capture();
    let cut = scratch.file("cut.pcap", &whole[..whole.len() - 1]);
    let output = scratch.0.join("b.json").display().to_string();
    let (_, stderr) = expect(3, &["learn", &cut, "-o", &output], &[]);
    assert!(stderr.contains("ends inside packet 5"), "{stderr}");
    let text = fs::read_to_string(&output).expect("it is there");
    let baseline = read(&text).expect("it is right");
    let requests = &baseline.communications[0].links[0].requests;
    assert_eq!(
        requests.iter().map(|one| one.function).collect::<Vec<_>>(),
        [1]
    );
    // A baseline is not lost to a capture of which nothing could be learned.
    let whole_file = whole.get(..24).expect("a header of pcap");
    for (status, capture) in [(3, &b"nonsense"[..]), (3, b""), (1, whole_file)] {
        let (_, stderr) = expect(status, &["learn", "-", "-o", &output], capture);
        let said = format!("dnp3fw: {output}: stays as it was, since nothing was learned\n");
        assert!(stderr.ends_with(&said), "{stderr}");
        assert_eq!(fs::read_to_string(&output).expect("it is there"), text);
    }
    // Where there is none, an empty one is written.
    let other = scratch.0.join("other.json").display().to_string();
    let (_, stderr) = expect(1, &["learn", "-", "-o", &other], whole_file);
    assert!(!stderr.contains("stays as it was"), "{stderr}");
    let empty = read(&fs::read_to_string(&other).expect("it is there")).expect("it is right");
    assert!(empty.communications.is_empty());
    // Damage comes before what was not learned, and arguments before both.
    expect(3, &["learn", "-"], b"nonsense");
    expect(2, &["learn"], &[]);
    expect(2, &["learn", "-", "-"], &[]);
    expect(2, &["learn", "missing.pcap"], &[]);
    expect(2, &["learn", "--port", "0", "-"], &[]);
}
