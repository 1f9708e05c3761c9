// SPDX-License-Identifier: GPL-2.0

//! The notation for octets in the case files: words and calls, one behind the other.
//!
//! ```text
//! read cold_restart               two named vectors
//! 00 0564                         octets in hexadecimal
//! frame(C4, 1, 1024, C0C00D)      CTRL, destination, source, user data: all CRCs right
//! header(5, C0, 1, 1024)          LEN, CTRL, destination, source: ten octets with the right CRC
//! request(13)  request(13, 10, 1) a request of one octet of user data: function code [, to, from]
//! response(129)                   the same from the outstation
//! crc(C0C00D)                     octets and their CRC
//! cut(12, read)                   the first twelve octets
//! skip(12, read)                  all but the first twelve
//! xor(8, 01, read)                the ninth octet, and those behind it, changed by these bits
//! times(3, read)                  three times
//! ```
//!
//! `CTRL` and octets are hexadecimal, other numbers are decimal or `0x`. Wherever octets are
//! wanted, the whole notation may be used. A word of an even number of hexadecimal digits is
//! octets, so no vector has such a name.

use crate::{frames, vectors};

/// Station addresses of the vectors.
const OUTSTATION: u16 = 1;
const MASTER: u16 = 1024;

const CALLS: &str =
    "frame, header, request, response, crc, cut, skip, xor, times, or a vector's name, or octets in hexadecimal";

/// The octets that `text` stands for, or one line that says what is wrong with it.
pub fn octets(text: &str) -> Result<Vec<u8>, String> {
    let mut parser = Parser { text, at: 0 };
    let octets = parser.items()?;
    if parser.at < text.len() {
        return Err(parser.wrong("expected the end"));
    }
    Ok(octets)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn wrong(&self, what: &str) -> String {
        format!("{what} at column {} of `{}`", self.at + 1, self.text)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn word(&mut self) -> Result<&'a str, String> {
        self.spaces();
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong("expected a word"));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn take(&mut self, mark: char) -> bool {
        self.spaces();
        let found = self.rest().starts_with(mark);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, mark: char) -> Result<(), String> {
        if self.take(mark) {
            Ok(())
        } else {
            Err(self.wrong(&format!("expected `{mark}`")))
        }
    }

    fn items(&mut self) -> Result<Vec<u8>, String> {
        let mut octets = Vec::new();
        loop {
            self.spaces();
            if self.rest().is_empty() || self.rest().starts_with([',', ')']) {
                return Ok(octets);
            }
            octets.extend(self.item()?);
        }
    }

    fn item(&mut self) -> Result<Vec<u8>, String> {
        self.spaces();
        let start = self.at;
        let word = self.word()?;
        if self.take('(') {
            let octets = self.call(word)?;
            self.expect(')')?;
            return Ok(octets);
        }
        let wrong = |what: String| {
            let at = start;
            Parser {
                text: self.text,
                at,
            }
            .wrong(&what)
        };
        if let Some(octets) = hexadecimal(word) {
            return Ok(octets);
        }
        vectors::ALL
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(word))
            .map(|(_, octets)| octets.to_vec())
            .ok_or_else(|| wrong(format!("unknown `{word}` (allowed: {CALLS})")))
    }

    fn call(&mut self, name: &str) -> Result<Vec<u8>, String> {
        match name {
            "frame" => {
                let control = self.octet()?;
                self.expect(',')?;
                let destination = self.number()?;
                self.expect(',')?;
                let source = self.number()?;
                let user_data = if self.take(',') {
                    self.items()?
                } else {
                    Vec::new()
                };
                if user_data.len() > frames::MAX_USER_DATA {
                    return Err(self.wrong(&format!(
                        "{} octets of user data, at most {} go into a frame,",
                        user_data.len(),
                        frames::MAX_USER_DATA
                    )));
                }
                Ok(frames::frame(control, destination, source, &user_data))
            }
            "header" => {
                let len = self.number()?;
                self.expect(',')?;
                let control = self.octet()?;
                self.expect(',')?;
                let destination = self.number()?;
                self.expect(',')?;
                let source = self.number()?;
                Ok(frames::header(len, control, destination, source))
            }
            "request" | "response" => {
                let function: u8 = self.number()?;
                let is_request = name == "request";
                let (mut to, mut from) = if is_request {
                    (OUTSTATION, MASTER)
                } else {
                    (MASTER, OUTSTATION)
                };
                if self.take(',') {
                    to = self.number()?;
                    self.expect(',')?;
                    from = self.number()?;
                }
                Ok(if is_request {
                    let user_data = [0xC0, 0xC0, function];
                    frames::frame(frames::control::MASTER_DATA, to, from, &user_data)
                } else {
                    // The two octets behind the function code are the internal indications.
                    let user_data = [0xC0, 0xC0, function, 0, 0];
                    frames::frame(frames::control::OUTSTATION_DATA, to, from, &user_data)
                })
            }
            "crc" => Ok(frames::with_crc(&self.items()?)),
            "cut" | "skip" | "times" => {
                let count: usize = self.number()?;
                self.expect(',')?;
                let octets = self.items()?;
                if name == "times" {
                    return Ok(octets.repeat(count));
                }
                if count > octets.len() {
                    return Err(self.wrong(&format!("{name}({count}) of {} octets", octets.len())));
                }
                let (front, behind) = octets.split_at(count);
                Ok(if name == "cut" { front } else { behind }.to_vec())
            }
            "xor" => {
                let at: usize = self.number()?;
                self.expect(',')?;
                let bits = self.items()?;
                self.expect(',')?;
                let mut octets = self.items()?;
                if at + bits.len() > octets.len() {
                    return Err(self.wrong(&format!("xor at {at} of {} octets", octets.len())));
                }
                for (octet, bits) in octets[at..].iter_mut().zip(bits) {
                    *octet ^= bits;
                }
                Ok(octets)
            }
            _ => Err(self.wrong(&format!("unknown `{name}(` (allowed: {CALLS})"))),
        }
    }

    fn octet(&mut self) -> Result<u8, String> {
        let word = self.word()?;
        match hexadecimal(word).as_deref() {
            Some([octet]) => Ok(*octet),
            _ => Err(self.wrong(&format!(
                "expected an octet of two hexadecimal digits, not `{word}`,"
            ))),
        }
    }

    fn number<T: TryFrom<u64>>(&mut self) -> Result<T, String> {
        let word = self.word()?;
        let number = match word.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => word.parse(),
        };
        number
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| self.wrong(&format!("`{word}` is no number, or out of range,")))
    }
}

/// A word of an even number of hexadecimal digits.
fn hexadecimal(word: &str) -> Option<Vec<u8>> {
    if word.is_empty() || word.len() % 2 != 0 || !word.bytes().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    (0..word.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&word[at..at + 2], 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_stand_one_behind_the_other() {
        let both = [vectors::READ, &[0, 0xFF], vectors::COLD_RESTART].concat();
        assert_eq!(octets("read 00FF cold_restart"), Ok(both));
        assert_eq!(octets(""), Ok(vec![]));
    }

    #[test]
    fn frames_are_those_of_the_vectors() {
        let same = [
            ("frame(C0, 1, 1024)", vectors::RESET_LINK),
            ("frame(C4,1,0x400,C0 C00D)", vectors::COLD_RESTART),
            ("request(13)", vectors::COLD_RESTART),
            ("header(5,C9,1,1024)", vectors::REQUEST_LINK_STATUS),
            ("cut(15, cold_restart read)", vectors::COLD_RESTART),
            ("skip(15, cold_restart read)", vectors::READ),
            ("cut(10, cold_restart) crc(C0C00D)", vectors::COLD_RESTART),
            ("skip(28, cut(43, carrier_b))", vectors::COLD_RESTART),
            (
                "xor(1, 6401, 05 00 05 C00100000404E921)",
                &[5, 0x64, 4, 0xC0, 1, 0, 0, 4, 4, 0xE9, 0x21],
            ),
        ];
        for (text, vector) in same {
            assert_eq!(octets(text).as_deref(), Ok(vector), "{text}");
        }
        assert_eq!(octets("times(3, 0102)"), Ok([1, 2].repeat(3)));
    }

    #[test]
    fn no_name_looks_like_octets() {
        for (name, _) in vectors::ALL {
            assert_eq!(hexadecimal(name), None, "{name}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, part) in [
            ("reed", "unknown `reed` (allowed: frame, "),
            ("read foo(1)", "unknown `foo(`"),
            ("read)", "expected the end at column 5"),
            ("frame(C4,1)", "expected `,` at column 11"),
            (
                "frame(C4,65536,1)",
                "`65536` is no number, or out of range, at column 15",
            ),
            ("frame(4,1,1)", "expected an octet"),
            ("frame(C4,1,1,times(251,00))", "at most 250"),
            ("cut(16, cold_restart)", "cut(16) of 15 octets"),
            ("xor(15,01,cold_restart)", "xor at 15 of 15 octets"),
            ("request(256)", "out of range"),
            ("read;", "expected a word at column 5"),
        ] {
            let error = octets(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
