// SPDX-License-Identifier: GPL-2.0

//! The extension with real iptables and a real kernel, in the VM: `upstream` is iptables' own tests,
//! `restore` a thousand rules there and back. Each is run with the guest's own iptables, and with the newest
//! of Debian's suites.

mod restore;
mod upstream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dnp3_tests::vm::project;
use libtest_mimic::{Arguments, Failed, Trial};

/// One version of iptables, and the scripts to test it with.
struct Installation {
    /// Of the programs.
    version: String,
    /// What is laid over the guest's own /usr; nothing for the guest's own iptables.
    usr: Option<PathBuf>,
    /// Where upstream's scripts are.
    upstream: PathBuf,
    /// Whether the scripts are of that version.
    is_whole: bool,
}

/// What a script in xtables-ext/tests prints, or why it does not.
fn script(name: &str, arguments: &[&str]) -> Result<PathBuf, String> {
    let output = Command::new(project().join("xtables-ext/tests").join(name))
        .args(arguments)
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    if output.status.success() {
        let path = String::from_utf8_lossy(&output.stdout);
        return Ok(PathBuf::from(path.trim_end()));
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let last = errors.lines().last().unwrap_or("no reason given");
    Err(last.to_string())
}

fn line(file: &Path) -> Result<String, String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text.trim_end().to_string()),
        Err(error) => Err(format!("{}: {error}", file.display())),
    }
}

impl Installation {
    /// The guest's.
    fn own() -> Result<Installation, String> {
        let upstream = script("upstream-iptables", &["bookworm"])?;
        Ok(Installation {
            version: line(&upstream.join("version"))?,
            usr: None,
            upstream,
            is_whole: true,
        })
    }

    /// That of a newer Debian.
    fn newer(tree: &Path, upstream: PathBuf) -> Result<Installation, String> {
        Ok(Installation {
            version: line(&tree.join("version"))?,
            usr: Some(tree.join("usr")),
            is_whole: line(&upstream.join("version"))? == line(&tree.join("version"))?,
            upstream,
        })
    }

    /// The newest, and the newest that has upstream's sources where these are two.
    fn newest() -> Result<Vec<Installation>, String> {
        let tree = script("newer-iptables", &[])?;
        if let Ok(lacking) = line(&tree.join("no-upstream")) {
            let trixie = script("newer-iptables", &["trixie"])?;
            let upstream = script("upstream-iptables", &["trixie"])?;
            let newest = Installation::newer(&tree, upstream.clone())?;
            println!(
                "{lacking}: it is run with the scripts of {}, and so is that version",
                line(&upstream.join("version"))?
            );
            return Ok(vec![newest, Installation::newer(&trixie, upstream)?]);
        }
        let upstream = script("upstream-iptables", &[&line(&tree.join("suite"))?])?;
        Ok(vec![Installation::newer(&tree, upstream)?])
    }

    /// Runs a command in the VM with this iptables, a plan and tests/guest; what it prints.
    fn run(&self, plan: &Path, command: &str, seconds: u32) -> Result<String, Failed> {
        let mut vm = Command::new(project().join("scripts/vm"));
        let mut add = |host: &Path, guest: &str| {
            vm.arg("--add").arg(format!("{}:{guest}", host.display()));
        };
        add(plan, "plan");
        add(&project().join("tests/guest"), "guest");
        if let Some(usr) = &self.usr {
            add(usr, "/usr");
        }
        vm.args(["--timeout", &seconds.to_string(), "--", command]);
        let output = vm.output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            return Ok(said.into_owned());
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        Err(format!("{}: {said}{errors}", output.status).into())
    }

    /// Whether this is Debian 12's, which has some limits.
    fn is_old(&self) -> bool {
        self.version == "1.8.9"
    }
}

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = vec![Trial::test("the rows are complete", upstream::complete)];
    let newest = Installation::newest();
    for found in [newest, Installation::own().map(|own| vec![own])] {
        let found = found.unwrap_or_else(|reason| {
            println!("skipped: iptables' own tests, and a thousand rules: {reason}");
            let skipped = Trial::test(reason, || Ok(()));
            trials.push(skipped.with_ignored_flag(true));
            vec![]
        });
        for (number, installation) in found.into_iter().map(Arc::new).enumerate() {
            for variant in ["nft", "legacy"] {
                let name = format!("v{}::{variant}", installation.version);
                let installation = installation.clone();
                let test = move || upstream::scripts(&installation, variant);
                trials.push(Trial::test(name, test));
            }
            if number == 0 {
                let name = format!("v{}::a thousand rules", installation.version);
                let test = move || restore::thousand(&installation);
                trials.push(Trial::test(name, test));
            }
        }
    }
    libtest_mimic::run(&arguments, trials).exit();
}
