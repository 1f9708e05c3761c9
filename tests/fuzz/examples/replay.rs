// SPDX-License-Identifier: GPL-2.0

//! Runs targets on inputs from files, without libFuzzer: to count the lines of `core` that a corpus
//! reaches, or to look at a finding with a debugger.
//!
//!     replay TARGET DIR|FILE...

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let target = dnp3_fuzz::TARGETS.iter().find(|(known, _)| *known == name);
    let Some((name, run)) = target else {
        eprintln!("replay: no target {name:?}");
        return ExitCode::FAILURE;
    };
    let mut count = 0;
    for path in arguments.map(PathBuf::from) {
        match files(&path) {
            Ok(files) => {
                for octets in files {
                    run(&octets);
                    count += 1;
                }
            }
            Err(error) => {
                eprintln!("replay: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{name}: {count} inputs");
    if count == 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn files(path: &Path) -> std::io::Result<Vec<Vec<u8>>> {
    if !path.is_dir() {
        return Ok(vec![fs::read(path)?]);
    }
    let mut all = Vec::new();
    for entry in fs::read_dir(path)? {
        all.push(fs::read(entry?.path())?);
    }
    Ok(all)
}
