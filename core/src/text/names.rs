// SPDX-License-Identifier: GPL-2.0

//! The one table of names: function codes as IEEE 1815 calls them, groups of them, and the values
//! of the other options. Parser, listing, help, manual and tools all take names from here.
//!
//! Names are written in lower case with `_`; they are read in any case, with `-` for `_` as well.

use crate::rule::{class, dir, frames, status};

/// A value of one option, and what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The function code, the bit in a set, or the value.
    pub value: u8,
    /// Its name.
    pub name: &'static str,
}

/// A name for several function codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The name.
    pub name: &'static str,
    /// Its function codes, as ranges with both ends included.
    pub ranges: &'static [(u8, u8)],
}

const fn named(value: u8, name: &'static str) -> Named {
    Named { value, name }
}

const fn group(name: &'static str, ranges: &'static [(u8, u8)]) -> Group {
    Group { name, ranges }
}

/// Application function codes (IEEE 1815).
pub static FUNCTIONS: [Named; 37] = [
    named(0, "confirm"),
    named(1, "read"),
    named(2, "write"),
    named(3, "select"),
    named(4, "operate"),
    named(5, "direct_operate"),
    named(6, "direct_operate_nr"),
    named(7, "immed_freeze"),
    named(8, "immed_freeze_nr"),
    named(9, "freeze_clear"),
    named(10, "freeze_clear_nr"),
    named(11, "freeze_at_time"),
    named(12, "freeze_at_time_nr"),
    named(13, "cold_restart"),
    named(14, "warm_restart"),
    named(15, "initialize_data"),
    named(16, "initialize_appl"),
    named(17, "start_appl"),
    named(18, "stop_appl"),
    named(19, "save_config"),
    named(20, "enable_unsolicited"),
    named(21, "disable_unsolicited"),
    named(22, "assign_class"),
    named(23, "delay_measure"),
    named(24, "record_current_time"),
    named(25, "open_file"),
    named(26, "close_file"),
    named(27, "delete_file"),
    named(28, "get_file_info"),
    named(29, "authenticate_file"),
    named(30, "abort_file"),
    named(31, "activate_config"),
    named(32, "authenticate_req"),
    named(33, "authenticate_req_nr"),
    named(129, "response"),
    named(130, "unsolicited_response"),
    named(131, "authenticate_resp"),
];

/// Groups of function codes, each a name that `--fc` takes for all of them.
pub static GROUPS: [Group; 10] = [
    group("requests", &[(0, 33)]),
    group("responses", &[(129, 131)]),
    group("control", &[(3, 6)]),
    group("freeze", &[(7, 12)]),
    group("restart", &[(13, 14)]),
    group("application", &[(15, 18)]),
    group("config", &[(19, 19), (31, 31)]),
    group("unsolicited", &[(20, 21)]),
    group("file", &[(25, 30)]),
    group("auth", &[(32, 33), (131, 131)]),
];

/// Frames without a function code, which `--fc` takes as well.
pub static CLASSES: [Named; 2] = [named(class::LINK, "link"), named(class::CONT, "cont")];

/// Values of `--status`.
pub static STATUSES: [Named; 5] = [
    named(status::NONE, "none"),
    named(status::VALID, "valid"),
    named(status::PARTIAL, "partial"),
    named(status::MALFORMED, "malformed"),
    named(status::AHEAD, "ahead"),
];

/// Values of `--dir`.
pub static DIRECTIONS: [Named; 2] = [
    named(dir::MASTER, "master"),
    named(dir::OUTSTATION, "outstation"),
];

/// Values of `--frames`.
pub static FRAMES: [Named; 2] = [named(frames::ONLY, "only"), named(frames::ANY, "any")];

/// Link addresses with a name, as ranges with both ends included.
pub static ADDRESSES: [(&str, u16, u16); 2] =
    [("self", 0xFFFC, 0xFFFC), ("broadcast", 0xFFFD, 0xFFFF)];

/// The name of a function code, where the standard gives it one.
pub fn function(code: u8) -> Option<&'static str> {
    name_of(&FUNCTIONS, code)
}

/// The name of a value in one of the tables.
pub(super) fn name_of(table: &[Named], value: u8) -> Option<&'static str> {
    table
        .iter()
        .find(|named| named.value == value)
        .map(|named| named.name)
}

/// The value that a word names in one of the tables.
pub(super) fn value_of(table: &[Named], word: &str) -> Option<u8> {
    table
        .iter()
        .find(|named| is(word, named.name))
        .map(|named| named.value)
}

/// Whether `word` is this name, in any case and with `-` or `_`.
pub(super) fn is(word: &str, name: &str) -> bool {
    word.bytes().map(fold).eq(name.bytes())
}

fn fold(octet: u8) -> u8 {
    match octet {
        b'-' => b'_',
        _ => octet.to_ascii_lowercase(),
    }
}

/// Words longer than this have no nearest name: none of the names is.
const LONGEST: usize = 32;
/// A beginning of a name that is worth completing.
const SHORTEST_BEGINNING: usize = 3;

/// The name that was probably meant: the one that `word` begins, where there is no other, or else
/// the one with the fewest slips of the hand between them, where they are few for its length.
pub(super) fn nearest(
    word: &str,
    names: impl Iterator<Item = &'static str> + Clone,
) -> Option<&'static str> {
    if word.len() >= SHORTEST_BEGINNING {
        let mut begun = names.clone().filter(|name| begins(word, name));
        if let (Some(name), None) = (begun.next(), begun.next()) {
            return Some(name);
        }
    }
    names
        .filter_map(|name| {
            let slips = distance(word, name)?;
            let few = match name.len() {
                0..=3 => 1,
                4..=7 => 2,
                _ => 3,
            };
            (slips <= few && slips < name.len().min(word.len())).then_some((slips, name))
        })
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, name)| name)
}

fn begins(word: &str, name: &str) -> bool {
    name.get(..word.len())
        .is_some_and(|beginning| is(word, beginning))
}

/// Characters left out, put in, taken for another or swapped with their neighbour (the distance of
/// Damerau and Levenshtein, no character moved twice).
fn distance(word: &str, name: &str) -> Option<usize> {
    if word.len() > LONGEST || name.len() > LONGEST {
        return None;
    }
    // cell[j] of a row: the distance of the word so far from the first j characters of the name.
    type Row = [usize; LONGEST + 1];
    let cell =
        |row: &Row, j: Option<usize>| j.and_then(|j| row.get(j).copied()).unwrap_or(usize::MAX);

    let mut before: Row = [usize::MAX; LONGEST + 1];
    let mut above: Row = core::array::from_fn(|j| j);
    let mut last_octet = None;
    for (i, octet) in word.bytes().map(fold).enumerate() {
        let mut row: Row = [usize::MAX; LONGEST + 1];
        let mut left = i.saturating_add(1);
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        let mut last_letter = None;
        for ((j, letter), to) in name.bytes().enumerate().zip(row.iter_mut().skip(1)) {
            let other = usize::from(octet != letter);
            let mut least = left.saturating_add(1);
            least = least.min(cell(&above, j.checked_add(1)).saturating_add(1));
            least = least.min(cell(&above, Some(j)).saturating_add(other));
            if last_octet == Some(letter) && last_letter == Some(octet) {
                least = least.min(cell(&before, j.checked_sub(1)).saturating_add(1));
            }
            *to = least;
            left = least;
            last_letter = Some(letter);
        }
        before = above;
        above = row;
        last_octet = Some(octet);
    }
    above.get(name.len()).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of IEEE 1815, independently of the table above.
    const STANDARD: &str = "0 CONFIRM 1 READ 2 WRITE 3 SELECT 4 OPERATE 5 DIRECT_OPERATE \
        6 DIRECT_OPERATE_NR 7 IMMED_FREEZE 8 IMMED_FREEZE_NR 9 FREEZE_CLEAR 10 FREEZE_CLEAR_NR \
        11 FREEZE_AT_TIME 12 FREEZE_AT_TIME_NR 13 COLD_RESTART 14 WARM_RESTART 15 INITIALIZE_DATA \
        16 INITIALIZE_APPL 17 START_APPL 18 STOP_APPL 19 SAVE_CONFIG 20 ENABLE_UNSOLICITED \
        21 DISABLE_UNSOLICITED 22 ASSIGN_CLASS 23 DELAY_MEASURE 24 RECORD_CURRENT_TIME \
        25 OPEN_FILE 26 CLOSE_FILE 27 DELETE_FILE 28 GET_FILE_INFO 29 AUTHENTICATE_FILE \
        30 ABORT_FILE 31 ACTIVATE_CONFIG 32 AUTHENTICATE_REQ 33 AUTHENTICATE_REQ_NR \
        129 RESPONSE 130 UNSOLICITED_RESPONSE 131 AUTHENTICATE_RESP";

    #[test]
    fn functions_are_the_standard_s() {
        let mut words = STANDARD.split_whitespace();
        for Named { value, name } in FUNCTIONS {
            assert_eq!(words.next().and_then(|code| code.parse().ok()), Some(value));
            let standard = words.next().unwrap_or("");
            assert!(is(standard, name), "{standard} {name}");
            assert_eq!(function(value), Some(name));
        }
        assert_eq!(words.next(), None);
        assert_eq!(function(34), None);
    }

    /// Else a word could mean two things, or what is written could not be read back.
    #[test]
    fn names_are_canonical_and_unique() {
        let functions = || {
            (FUNCTIONS.iter().chain(&CLASSES).map(|named| named.name))
                .chain(GROUPS.iter().map(|group| group.name))
        };
        for name in functions() {
            assert!(name.len() <= LONGEST);
            assert!(name.bytes().all(|o| o.is_ascii_lowercase() || o == b'_'));
            assert_eq!(functions().filter(|other| is(name, other)).count(), 1);
        }
    }

    #[test]
    fn groups_name_standard_functions_ascending() {
        for group in GROUPS {
            let mut above = None;
            for (min, max) in group.ranges {
                assert!(min <= max && above.is_none_or(|above| above < *min));
                assert!((*min..=*max).all(|code| function(code).is_some()));
                above = Some(*max);
            }
        }
    }

    #[test]
    fn any_case_and_both_dashes() {
        for word in [
            "cold_restart",
            "COLD-RESTART",
            "Cold_Restart",
            "cold-restart",
        ] {
            assert_eq!(value_of(&FUNCTIONS, word), Some(13), "{word}");
        }
        for word in ["coldrestart", "cold restart", "cold__restart", ""] {
            assert_eq!(value_of(&FUNCTIONS, word), None, "{word}");
        }
    }

    #[test]
    fn distances() {
        for (word, name, slips) in [
            ("read", "read", 0),
            ("READ", "read", 0),
            ("raed", "read", 1),
            ("rea", "read", 1),
            ("rread", "read", 1),
            ("reed", "read", 1),
            ("", "read", 4),
            ("read", "", 4),
            ("ca", "abc", 3),
            ("warm_retsart", "cold_restart", 5),
        ] {
            assert_eq!(distance(word, name), Some(slips), "{word} {name}");
        }
        assert_eq!(distance(&"123456789"[..0], "a"), Some(1));
        assert_eq!(distance("a23456789012345678901234567890123", "a"), None);
    }

    #[test]
    fn the_name_that_was_meant() {
        let names = || FUNCTIONS.iter().map(|named| named.name);
        for (word, meant) in [
            ("raed", Some("read")),
            ("wirte", Some("write")),
            ("cold", Some("cold_restart")),
            ("coldrestart", Some("cold_restart")),
            ("unsolicited-respons", Some("unsolicited_response")),
            ("oprate", Some("operate")),
            ("x", None),
            ("re", None),
            ("banana", None),
            ("\u{1F600}\u{1F600}", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, names()), meant, "{word}");
        }
    }
}
