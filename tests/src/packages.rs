// SPDX-License-Identifier: GPL-2.0

//! For the tests of what is installed: running commands, the project's version, the packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::vm::project;

/// The project's version, as Cargo.toml has it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Runs a command that must succeed; what it printed.
pub fn succeed(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(said);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    Err(format!("{command:?}: {status}\n{said}\n{errors}"))
}

/// A file's text.
pub fn read(path: impl AsRef<Path>) -> Result<String, String> {
    let path = path.as_ref();
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A directory that is there and empty.
pub fn empty(directory: &Path) -> Result<(), String> {
    let made = match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => fs::create_dir_all(directory),
    };
    made.map_err(|error| format!("{}: {error}", directory.display()))
}

/// The two packages, as scripts/deb made them.
#[derive(Clone, Debug)]
pub struct Packages {
    /// iptables-dnp3
    pub extension: PathBuf,
    /// xt-dnp3-dkms
    pub module: PathBuf,
}

impl Packages {
    /// Builds them in `out`, which has lintian's approval then; as another version when one is given.
    pub fn build(out: &Path, version: Option<&str>) -> Result<Packages, String> {
        let mut command = Command::new(project().join("scripts/deb"));
        if let Some(version) = version {
            command.args(["--version", version]);
        }
        let said = succeed(command.arg(out))?;
        let find = |name: &str| {
            let found = said.lines().map(Path::new).find(|path| {
                let file = path.file_name().unwrap_or_default().to_string_lossy();
                file.split('_').next() == Some(name)
            });
            found
                .map(Path::to_path_buf)
                .ok_or_else(|| format!("scripts/deb names no {name}, but: {said}"))
        };
        Ok(Packages {
            extension: find("iptables-dnp3")?,
            module: find("xt-dnp3-dkms")?,
        })
    }
}
