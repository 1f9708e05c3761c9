// SPDX-License-Identifier: GPL-2.0

//! For the tests that run the project's scripts and other programs on the host: commands and what they
//! say, files, directories, and the module built from a copy of the sources with a change in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::vm::project;

/// What a program printed.
pub fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// One of the project's scripts.
pub fn script(name: &str) -> Command {
    Command::new(project().join("scripts").join(name))
}

/// Runs a command, however it ends.
pub fn run(command: &mut Command) -> Result<Output, String> {
    command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))
}

/// Runs a command that must succeed; what it printed.
pub fn succeed(command: &mut Command) -> Result<String, String> {
    let output = run(command)?;
    let said = text(&output.stdout);
    if output.status.success() {
        return Ok(said);
    }
    let (errors, status) = (text(&output.stderr), output.status);
    Err(format!("{command:?}: {status}\n{said}\n{errors}"))
}

/// A file's text.
pub fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(wrong(path))
}

/// A directory that is there and empty.
pub fn empty(directory: impl AsRef<Path>) -> Result<PathBuf, String> {
    let directory = directory.as_ref();
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    }
    .map_err(wrong(directory))?;
    Ok(directory.to_owned())
}

/// Builds the module for a kernel from a copy of the sources with changes to one file, each of which is
/// to replace what stands there once. The module, if there is one, is `out/kmod/xt_dnp3.ko` in the
/// directory, and what the build said is `out/build.log`.
pub fn build_changed(
    directory: &Path,
    kernel: &str,
    entry: &str,
    file: &str,
    changes: &[(&str, &str)],
) -> Result<Output, String> {
    let tree = succeed(script("kernel").arg(kernel))?;
    succeed(
        Command::new("rsync")
            .args(["-a", "--exclude=*.o", "--exclude=.*.cmd", "--exclude=*.ko"])
            .args(["core", "include", "kmod", "scripts"].map(|part| project().join(part)))
            .arg(directory),
    )?;
    let path = directory.join(file);
    let mut text = read(&path)?;
    for (from, to) in changes {
        if text.matches(from).count() != 1 {
            return Err(format!("{file} has not once {from:?}"));
        }
        text = text.replace(from, to);
    }
    fs::write(&path, text).map_err(wrong(&path))?;
    run(Command::new(directory.join("scripts/kmod"))
        .args([tree.trim(), "out"])
        .current_dir(directory)
        .env("ENTRY", entry))
}

fn wrong(path: &Path) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{}: {error}", path.display())
}
