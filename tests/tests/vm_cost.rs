// SPDX-License-Identifier: GPL-2.0

//! That the work is linear in a packet, however many fragments it came in. Instructions are
//! counted, so that it does not matter how busy the machine is.

use std::process::Command;

/// How much more than in one piece a datagram of 4,063 fragments may cost. When each read went
/// through the list of fragments from its head, it was about 20.
const FACTOR: u64 = 3;

#[test]
fn a_datagram_in_thousands_of_fragments_costs_as_one_in_one_piece() {
    let project = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let output = Command::new(format!("{project}/scripts/vm"))
        .args(["--icount", "--add"])
        .arg(format!("{project}/tests/guest/fragments.py"))
        .args(["--", "python3", "fragments.py"])
        .output()
        .expect("scripts/vm runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");

    let costs: Vec<(u64, u64)> = said
        .lines()
        .map(|line| {
            let (size, cost) = line.split_once(' ').expect("two numbers a line");
            (size.parse().expect("octets"), cost.parse().expect("ns"))
        })
        .collect();
    let [(64960, whole), (1480, ordinary), (16, smallest)] = costs[..] else {
        panic!("unexpected output: {said}");
    };
    println!("8 rules: {whole} ns in 2 fragments, {ordinary} in 44, {smallest} in 4063");
    assert!(ordinary < FACTOR * whole, "{said}");
    assert!(smallest < FACTOR * whole, "{said}");
}
