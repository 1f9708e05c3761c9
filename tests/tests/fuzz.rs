// SPDX-License-Identifier: GPL-2.0

//! The short runs of the fuzz targets (`tests/fuzz`): so many executions of each, from the same seeds
//! and with the same numbers each time. `make fuzz` is the long run.

use std::path::Path;
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// scripts/fuzz, and what it says.
fn fuzz(arguments: &[&str]) -> Result<String, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/fuzz");
    let output = Command::new(&script)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", script.display()))?;
    let say = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    if output.status.success() {
        Ok(say(&output.stdout))
    } else {
        Err(say(&output.stdout) + &say(&output.stderr))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let targets = match fuzz(&["--list"]) {
        Ok(targets) => targets,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let trials = targets
        .lines()
        .map(|target| {
            let target = target.to_owned();
            Trial::test(target.clone(), move || {
                let said = fuzz(&["--short", &target]).map_err(Failed::from)?;
                print!("{said}");
                Ok(())
            })
        })
        .collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}
