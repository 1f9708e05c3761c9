// SPDX-License-Identifier: GPL-2.0

//! The command `dnp3fw check`: its files and what it exits with.

use crate::args::Check;
use crate::{in_order_of_time, open, refuse, written, Source};
use dnp3fw::check::{Checker, Options};
use dnp3fw::ruleset::{Family, Ruleset, MAX_OCTETS};
use dnp3fw::{exit, Progress};
use std::fs::File;
use std::io::{self, BufWriter, Read};
use std::path::Path;

pub(crate) fn run(check: &Check) -> u8 {
    let options = Options {
        chain: check.chain.clone(),
        interfaces: check.interfaces.clone(),
        json: check.json,
        all: check.all,
        summary: check.summary,
        quiet: check.quiet,
    };
    let is_input = |path: &&std::path::PathBuf| path.as_os_str() == "-";
    if check
        .rules
        .iter()
        .chain(&check.rules6)
        .chain(&check.files)
        .filter(is_input)
        .count()
        > 1
    {
        return refuse("- is given more than once, and standard input can be read but once");
    }
    let mut checker = Checker::new(options, BufWriter::new(io::stdout().lock()));
    let rules = check.rules.iter().map(|path| (path, None));
    let rules6 = check.rules6.iter().map(|path| (path, Some(Family::V6)));
    for (path, family) in rules.chain(rules6) {
        let said = read_rules(path, family).and_then(|(name, rules)| checker.rules(&name, rules));
        match said {
            Ok(lines) => say(lines),
            Err(line) => return refuse(&line),
        }
    }
    let sources = match open(&check.files, &[], &[]).and_then(in_order_of_time) {
        Ok(sources) => sources,
        Err(line) => return refuse(&line),
    };
    let is_output_idle = check.summary || check.quiet;
    let mut is_damaged = false;
    for (name, source) in sources {
        let (damaged, lines) = match source {
            Source::Capture(file, length) => {
                let length = Some(length).filter(|length| *length != 0);
                let progress = Progress::new(&name, length, is_output_idle);
                checker.capture(&name, file, &progress)
            }
            Source::StandardInput { .. } => {
                let progress = Progress::new(&name, None, is_output_idle);
                checker.capture(&name, io::stdin().lock(), &progress)
            }
            Source::Octets(_) | Source::Raw(..) => continue,
        };
        is_damaged |= damaged;
        say(lines);
    }
    let has_found = checker.has_found();
    let status = match checker.finish() {
        Ok(lines) => {
            say(lines);
            exit::OK
        }
        Err(error) => written(Err(error)),
    };
    match status {
        exit::OK if is_damaged => exit::DAMAGED,
        exit::OK if has_found => exit::FOUND,
        status => status,
    }
}

fn say(lines: Vec<String>) {
    for line in lines {
        eprintln!("dnp3fw: {line}");
    }
}

fn read_rules(path: &Path, family: Option<Family>) -> Result<(String, Ruleset), String> {
    // One more than is allowed, so that it is seen.
    let most = MAX_OCTETS as u64 + 1;
    let mut octets = Vec::new();
    let (name, read) = if path.as_os_str() == "-" {
        let read = io::stdin().lock().take(most).read_to_end(&mut octets);
        (String::from("standard input"), read)
    } else {
        let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut octets));
        (path.display().to_string(), read)
    };
    read.map_err(|error| format!("{name}: {error}"))?;
    match Ruleset::read(&octets, family) {
        Ok(rules) => Ok((name, rules)),
        Err(error) => Err(format!("{name}:{}: {}", error.line, error.what)),
    }
}
