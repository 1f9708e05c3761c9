// SPDX-License-Identifier: GPL-2.0

//! Real DNP3 stacks through the gateway in the VM: yadnp3 (opendnp3) and dnp3py, by the README's policy and
//! others, TCP and UDP, IPv4 and IPv6, iptables-legacy and iptables-nft; and, without a policy, that the
//! same stacks do what the policies refuse. One boot serves all sessions of
//! tests/guest/clients/sessions.json.

use std::process::{Command, ExitCode};
use std::sync::{Arc, OnceLock};

use dnp3_tests::vm::{self, Outcome};
use libtest_mimic::{Arguments, Trial};
use serde::Deserialize;

/// A session, as far as it matters here.
#[derive(Deserialize)]
struct Session {
    name: String,
    checks: Vec<String>,
}

/// What each session ends with.
const LAST: &str = "wire-and-counters-agree";

/// The names of all checks.
fn checks() -> Result<Vec<String>, String> {
    let path = vm::project().join("tests/guest/clients/sessions.json");
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|error| wrong(&error))?;
    let sessions: Vec<Session> = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
    Ok(sessions
        .iter()
        .flat_map(|session| {
            let checks = session.checks.iter().map(String::as_str).chain([LAST]);
            checks.map(|check| format!("{}/{check}", session.name))
        })
        .collect())
}

/// Runs all sessions; what they found, and what a user should know of it.
fn run() -> Result<Outcome, String> {
    let output = Command::new(vm::project().join("tests/clients"))
        .output()
        .map_err(|error| format!("tests/clients: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let outcome = Outcome::parse(&said);
    for note in &outcome.notes {
        eprintln!("{note}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(outcome)
    } else {
        Err(format!("tests/clients: {}\n{errors}{said}", output.status))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let names = match checks() {
        Ok(names) => names,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome: Arc<OnceLock<Result<Outcome, String>>> = Arc::default();
    let trials = names.into_iter().map(|name| {
        let outcome = outcome.clone();
        Trial::test(name.clone(), move || {
            match outcome.get_or_init(run).as_ref()?.check(&name) {
                Some("ok") => Ok(()),
                Some(wrong) => Err(wrong.into()),
                None => Err("it was not made: one before it failed".into()),
            }
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}
