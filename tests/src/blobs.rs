// SPDX-License-Identifier: GPL-2.0

//! Rules as raw octets, put together past the extension: tests/cases/blobs.toml.
//!
//! The layout is restated here from the UAPI header; a test elsewhere holds `core` to the same.

use std::collections::HashSet;
use std::fs;

use dnp3_core::rule::{Invalid, Range};
use dnp3_core::Rule;
use serde::Deserialize;

use crate::cases;

/// Octets in `struct xt_dnp3_mtinfo`.
pub const SIZE: usize = 112;

/// A rule for the kernel to take or refuse.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The name, which is the test's too.
    pub name: String,
    /// The protocol that the rule of iptables names.
    pub protocol: u8,
    /// Whether it is inverted.
    pub inverted: bool,
    /// Whether IPv6's flag that there is a protocol is missing. The kernel sets it.
    pub unflagged: bool,
    /// The match's own octets.
    pub octets: [u8; SIZE],
    /// Why the kernel refuses it; `None` where it does not.
    pub refused: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    blob: Vec<RawBlob>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBlob {
    name: String,
    why: String,
    rule: String,
    #[serde(default = "tcp")]
    protocol: u8,
    #[serde(default)]
    inverted: bool,
    #[serde(default)]
    unflagged: bool,
    #[serde(default)]
    members: toml::Table,
    refused: Option<String>,
}

fn tcp() -> u8 {
    6
}

/// Every blob, or one line for the first thing that is wrong.
pub fn load() -> Result<Vec<Blob>, String> {
    let file = cases::folder().join(cases::BLOBS);
    let text = fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    parse(&text).map_err(|error| format!("{}: {}", cases::BLOBS, error.trim_end()))
}

fn parse(text: &str) -> Result<Vec<Blob>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut names = HashSet::new();
    file.blob
        .into_iter()
        .map(|raw| {
            let name = raw.name.clone();
            let wrong = |error| format!("blob \"{name}\": {error}");
            if !names.insert(name.clone()) {
                return Err(wrong("the name is taken".into()));
            }
            blob(raw).map_err(wrong)
        })
        .collect()
}

fn blob(raw: RawBlob) -> Result<Blob, String> {
    if raw.why.trim().is_empty() {
        return Err("needs a reason".into());
    }
    // Any protocol that can have such a rule will do for its words.
    let rule = dnp3_core::text::parse(raw.rule.split_whitespace(), tcp())
        .map_err(|error| format!("rule `{}`: {error}", raw.rule))?;
    let mut octets = octets(&rule);
    for (member, value) in &raw.members {
        let (at, size) = place(member).ok_or_else(|| {
            format!("no member `{member}` (allowed: set, saddr[0].min, fc[7], reserved[5] and the like)")
        })?;
        let value = value
            .as_integer()
            .and_then(|value| u32::try_from(value).ok())
            .filter(|value| size == 4 || value >> (8 * size) == 0)
            .ok_or_else(|| format!("member `{member}`: expected a number of {size} octets"))?;
        octets[at..at + size].copy_from_slice(&value.to_ne_bytes()[..size]);
    }
    Ok(Blob {
        name: raw.name,
        protocol: raw.protocol,
        inverted: raw.inverted,
        unflagged: raw.unflagged,
        octets,
        refused: raw.refused,
    })
}

/// Offset and size of a member. The kernel's byte order is the machine's, which is little-endian
/// where these tests run: `to_ne_bytes` puts the low octets first.
fn place(member: &str) -> Option<(usize, usize)> {
    let simple = match member {
        "set" => Some((0, 2)),
        "invert" => Some((2, 2)),
        "frames" => Some((4, 1)),
        "dir" => Some((5, 1)),
        "status" => Some((6, 1)),
        "classes" => Some((7, 1)),
        "saddr_count" => Some((8, 1)),
        "daddr_count" => Some((9, 1)),
        _ => None,
    };
    if simple.is_some() {
        return simple;
    }
    let (name, rest) = member.split_once('[')?;
    let (index, rest) = rest.split_once(']')?;
    let index: usize = index.parse().ok()?;
    let (start, count, step, size) = match name {
        "reserved" => (10, 6, 1, 1),
        "saddr" => (16, 8, 4, 2),
        "daddr" => (48, 8, 4, 2),
        "fc" => (80, 8, 4, 4),
        _ => return None,
    };
    let inner = match (name, rest) {
        ("saddr" | "daddr", ".min") => 0,
        ("saddr" | "daddr", ".max") => 2,
        ("reserved" | "fc", "") => 0,
        _ => return None,
    };
    (index < count).then_some((start + index * step + inner, size))
}

/// The octets of a rule, as the header has them.
pub fn octets(rule: &Rule) -> [u8; SIZE] {
    let ranges = |list: &[Range]| -> Vec<u8> {
        list.iter()
            .flat_map(|range| [range.min, range.max])
            .flat_map(u16::to_ne_bytes)
            .collect()
    };
    let whole = [
        rule.set.to_ne_bytes().to_vec(),
        rule.invert.to_ne_bytes().to_vec(),
        vec![
            rule.frames,
            rule.dir,
            rule.status,
            rule.classes,
            rule.saddr_count,
            rule.daddr_count,
        ],
        rule.reserved.to_vec(),
        ranges(&rule.saddr),
        ranges(&rule.daddr),
        rule.fc.iter().copied().flat_map(u32::to_ne_bytes).collect(),
    ]
    .concat();
    whole.try_into().expect("the members fill the struct")
}

impl Blob {
    /// What the kernel would make of the octets.
    pub fn rule(&self) -> Rule {
        let half = |at: usize| u16::from_ne_bytes([self.octets[at], self.octets[at + 1]]);
        let range = |at: usize| Range {
            min: half(at),
            max: half(at + 2),
        };
        let word = |at: usize| {
            let mut octets = [0; 4];
            octets.copy_from_slice(&self.octets[at..at + 4]);
            u32::from_ne_bytes(octets)
        };
        let mut reserved = [0; 6];
        reserved.copy_from_slice(&self.octets[10..16]);
        Rule {
            set: half(0),
            invert: half(2),
            frames: self.octets[4],
            dir: self.octets[5],
            status: self.octets[6],
            classes: self.octets[7],
            saddr_count: self.octets[8],
            daddr_count: self.octets[9],
            reserved,
            saddr: std::array::from_fn(|n| range(16 + 4 * n)),
            daddr: std::array::from_fn(|n| range(48 + 4 * n)),
            fc: std::array::from_fn(|n| word(80 + 4 * n)),
        }
    }

    /// Whether `core`, told what the kernel would tell it, says the same.
    pub fn judged_by_core(&self) -> Result<(), String> {
        let said = self.rule().check(self.protocol, self.inverted).err();
        if said.map(Invalid::reason) == self.refused.as_deref() {
            Ok(())
        } else {
            Err(format!("expected {:?}, got {said:?}", self.refused))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_changed_where_they_lie() {
        let blobs = parse(
            r#"[[blob]]
            name = "x"
            why = "y"
            rule = "--fc 1"
            members = { "saddr[1].max" = 0x0102, "fc[7]" = 0x80000000, "reserved[5]" = 7 }"#,
        )
        .unwrap();
        let rule = blobs[0].rule();
        assert_eq!(rule.saddr[1].max, 0x0102);
        assert_eq!(rule.fc, [2, 0, 0, 0, 0, 0, 0, 0x8000_0000]);
        assert_eq!(rule.reserved, [0, 0, 0, 0, 0, 7]);
        assert_eq!(octets(&rule), blobs[0].octets);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_blob() {
        for (members, part) in [
            ("sett = 1", "no member `sett`"),
            ("'saddr[8].min' = 1", "no member `saddr[8].min`"),
            ("dir = 256", "expected a number of 1 octets"),
            ("set = -1", "expected a number of 2 octets"),
        ] {
            let text =
                format!("[[blob]]\nname = 'x'\nwhy = 'y'\nrule = ''\nmembers = {{ {members} }}");
            let error = parse(&text).unwrap_err();
            assert!(
                error.starts_with("blob \"x\": ") && error.contains(part),
                "{error}"
            );
        }
    }
}
