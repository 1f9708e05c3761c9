// SPDX-License-Identifier: GPL-2.0

//! For the tests of what is installed: the project's version, the packages.

use std::path::{Path, PathBuf};

use crate::commands::{script, succeed};

/// The project's version, as Cargo.toml has it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The packages, as scripts/deb made them.
#[derive(Clone, Debug)]
pub struct Packages {
    /// iptables-dnp3
    pub extension: PathBuf,
    /// xt-dnp3-dkms
    pub module: PathBuf,
    /// dnp3fw
    pub tool: PathBuf,
}

impl Packages {
    /// Builds them in `out`, which has lintian's approval then; as another version when one is given.
    pub fn build(out: &Path, version: Option<&str>) -> Result<Packages, String> {
        let mut command = script("deb");
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
            tool: find("dnp3fw")?,
        })
    }

    /// All of them.
    pub fn all(&self) -> [&PathBuf; 3] {
        [&self.extension, &self.module, &self.tool]
    }
}
