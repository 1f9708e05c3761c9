// SPDX-License-Identifier: GPL-2.0

//! Writes a capture of any length to standard output, always the same one: what `scripts/bench-decode`
//! measures with, and the tests of memory.
//!
//!     traffic polls OCTETS        masters that poll outstations over TCP, as they do
//!
//! and what makes a reader keep something for later, of which the rest never comes:
//!
//!     traffic frames OCTETS       frames, each on a connection of its own
//!     traffic holes OCTETS        TCP segments behind holes
//!     traffic messages OCTETS     application fragments, between many stations
//!     traffic datagrams OCTETS    IP fragments
//!     traffic all OCTETS          all of these at a time
//!
//! OCTETS is what the capture has at least.

#[path = "../tests/support/traffic.rs"]
mod traffic;

use std::io::{self, BufWriter};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let octets = arguments.get(1).and_then(|octets| octets.parse().ok());
    let kind = arguments
        .first()
        .filter(|kind| traffic::KINDS.contains(&kind.as_str()));
    let (Some(kind), Some(octets)) = (kind, octets) else {
        eprintln!("usage: traffic {} OCTETS", traffic::KINDS.join("|"));
        return ExitCode::from(2);
    };
    let output = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    match traffic::write(kind, octets, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("traffic: {error}");
            ExitCode::FAILURE
        }
    }
}
