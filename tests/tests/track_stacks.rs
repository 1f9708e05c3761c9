// SPDX-License-Identifier: GPL-2.0

//! Real DNP3 stacks through a gateway that follows the streams, in the VM: yadnp3 (opendnp3), dnp3py, and a pair of
//! plain sockets, whose segments are cut at every size from 1 to 300 octets, lost, doubled and put out of
//! order. One boot serves all sessions of tests/guest/track/sessions.json. Each completes, each piece is judged once
//! for what it is, and nothing is refused; by rules that do not follow the stream the same is.
//!
//! `DNP3_TESTS_LONG` is set by `scripts/long stacks`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use dnp3_tests::commands::{empty, read, succeed};
use dnp3_tests::frames::{control, frame};
use dnp3_tests::vm::{self, Outcome};
use libtest_mimic::{Arguments, Trial};
use serde::Deserialize;

/// The master's link address.
const MASTER: u16 = 1;
/// Stations that the policy names.
const STATIONS: [u16; 6] = [10, 11, 13, 16, 19, 20];
/// FIR and FIN of the transport octet.
const FIRST: u8 = 0x40;
const LAST: u8 = 0x80;

/// A session, as far as it matters here.
#[derive(Deserialize)]
struct Session {
    name: String,
}

/// The frames of a message: an application fragment of so many octets, of which each frame has `each`.
fn message(control: u8, to: u16, from: u16, code: u8, octets: usize, each: usize) -> Vec<Vec<u8>> {
    let mut fragment = vec![0xC0, code];
    // Octets that look like the start of a frame, among others.
    fragment.extend([0x05, 0x64, 0x08, 0xC4, 0x0D].iter().cycle().take(octets));
    let segments: Vec<_> = fragment.chunks(each).collect();
    let count = segments.len();
    segments
        .into_iter()
        .enumerate()
        .map(|(number, segment)| {
            let first = if number == 0 { FIRST } else { 0 };
            let last = if number + 1 == count { LAST } else { 0 };
            let sequence = u8::try_from((number + usize::from(from)) % 64).expect("under 64");
            let mut data = vec![first | last | sequence];
            data.extend(segment);
            frame(control, to, from, &data)
        })
        .collect()
}

/// What the master says: requests of one frame and of several, confirmations, keep-alives.
fn requests() -> Vec<u8> {
    let mut stream = Vec::new();
    for (number, station) in STATIONS.into_iter().enumerate() {
        stream.extend(frame(0xC9, station, MASTER, &[]));
        for (code, octets, each) in [(1, 12 + number, 249), (2, 300, 150 + number), (0, 0, 249)] {
            let message = message(control::MASTER_DATA, station, MASTER, code, octets, each);
            stream.extend(message.concat());
        }
    }
    stream
}

/// What the outstations say: answers of more than 2,048 octets and short ones, in frames of all sorts of lengths, those of
/// several stations interleaved.
fn answers() -> Vec<u8> {
    let mut messages: Vec<_> = STATIONS
        .into_iter()
        .zip([
            (129, 2046, 249),
            (130, 20, 249),
            (129, 90, 17),
            (130, 400, 100),
            (129, 250, 249),
            (129, 2, 249),
        ])
        .map(|(station, (code, octets, each))| {
            message(
                control::OUTSTATION_DATA,
                MASTER,
                station,
                code,
                octets,
                each,
            )
            .into_iter()
        })
        .collect();
    let mut stream = frame(0x0B, MASTER, STATIONS[0], &[]);
    loop {
        let frames: Vec<_> = messages.iter_mut().filter_map(Iterator::next).collect();
        if frames.is_empty() {
            return stream;
        }
        stream.extend(frames.concat());
    }
}

/// Where the guest's side is.
fn guest() -> PathBuf {
    vm::project().join("tests/guest")
}

fn sessions() -> Result<Vec<Session>, String> {
    let path = guest().join("track/sessions.json");
    let wrong = |error| format!("{}: {error}", path.display());
    serde_json::from_str(&read(&path)?).map_err(wrong)
}

/// Runs all sessions; what they found.
fn run() -> Result<Outcome, String> {
    let is_long = std::env::var_os("DNP3_TESTS_LONG").is_some();
    let mut command = vm::with_packages()?;
    let plan =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stacks-{}", std::process::id()));
    empty(&plan)?;
    for (name, stream) in [("requests", requests()), ("answers", answers())] {
        fs::write(plan.join(name), stream).map_err(|error| format!("{name}: {error}"))?;
    }
    let seconds = if is_long { "14400" } else { "400" };
    let readme = vm::project().join("README.md");
    command.args(["--timeout", seconds]);
    for (host, to) in [
        (&plan, "plan"),
        (&guest().join("clients"), "clients"),
        (&guest().join("track"), "track"),
        (&readme, "README.md"),
    ] {
        vm::put(&mut command, host, to);
    }
    command.args(["--", "python3", "track/stacks.py", "plan", "README.md"]);
    command.args(is_long.then_some("--long"));
    let said = succeed(&mut command);
    fs::remove_dir_all(&plan).map_err(|error| format!("the plan: {error}"))?;
    let outcome = Outcome::parse(&said?);
    print(&outcome.notes)?;
    Ok(outcome)
}

/// Prints what went through, summed up by who spoke and on what lines, and what else the guest said.
fn print(notes: &[String]) -> Result<(), String> {
    let mut sums: BTreeMap<(&str, &str), BTreeMap<&str, u64>> = BTreeMap::new();
    for note in notes {
        let words: Vec<_> = note.split(' ').collect();
        match words[..] {
            ["figures", _, stack, line, ref figures @ ..] => {
                let sum = sums.entry((stack, line)).or_default();
                *sum.entry("sessions").or_default() += 1;
                for figure in figures {
                    let (name, number) = figure.split_once('=').ok_or(note)?;
                    let number: u64 = number.parse().map_err(|_| note.clone())?;
                    *sum.entry(name).or_default() += number;
                }
            }
            ["note", ..] => println!("stacks: - {}", words[1..].join(" ")),
            _ => {}
        }
    }
    for ((stack, line), sum) in &sums {
        let words: Vec<_> = sum
            .iter()
            .map(|(name, sum)| format!("{name} {sum}"))
            .collect();
        println!("stacks: - {stack}, line {line}: {}", words.join(", "));
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sessions = match sessions() {
        Ok(sessions) => sessions,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome: Arc<OnceLock<Result<Outcome, String>>> = Arc::default();
    let trials = sessions.into_iter().map(|session| {
        let (name, outcome) = (session.name, outcome.clone());
        Trial::test(name.clone(), move || {
            match outcome.get_or_init(run).as_ref()?.check(&name) {
                Some("ok") => Ok(()),
                Some(wrong) => Err(wrong.into()),
                None => Err("the guest did not come to it".into()),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
