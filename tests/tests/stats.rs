// SPDX-License-Identifier: GPL-2.0

//! The counters of connections that are followed have one order and one set of names: in the UAPI header, in
//! the specification for netlink's tools, and in the reader that the tests have in the guest.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `enum xt_dnp3_stats` behind PAD: the names in small letters.
fn of_header() -> Vec<String> {
    let header = read("include/linux/netfilter/xt_dnp3.h");
    let names: Vec<_> = header
        .split_once("enum xt_dnp3_stats {")
        .and_then(|(_, rest)| rest.split_once("__XT_DNP3_STATS_MAX"))
        .expect("the header has the enum")
        .0
        .lines()
        .filter_map(|line| line.trim().strip_prefix("XT_DNP3_STATS_"))
        .filter_map(|rest| rest.split_once(','))
        .map(|(name, _)| name.to_lowercase())
        .collect();
    assert_eq!(names[..2], ["unspec", "pad"]);
    names[2..].to_vec()
}

#[test]
fn the_specification_has_the_headers_counters() {
    let specification = read("include/netlink/xt_dnp3.yaml");
    let attributes: Vec<_> = specification
        .lines()
        .filter_map(|line| line.strip_prefix("        name: "))
        .filter(|name| *name != "pad")
        .map(|name| name.replace('-', "_"))
        .collect();
    assert_eq!(attributes, of_header());
    let answered: Vec<_> = specification
        .lines()
        .filter_map(|line| line.strip_prefix("            - "))
        .map(|name| name.replace('-', "_"))
        .collect();
    assert_eq!(answered, of_header());
}

#[test]
fn the_reader_in_the_guest_has_the_headers_counters() {
    let reader = read("tests/guest/stats.py");
    let names: Vec<_> = reader
        .split_once("NAMES = [")
        .and_then(|(_, rest)| rest.split_once(']'))
        .expect("the reader has the names")
        .0
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"'))
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, of_header());
}
