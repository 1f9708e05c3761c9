// SPDX-License-Identifier: GPL-2.0

//! Values of options: lists of addresses, of functions and of statuses.
//!
//! Numbers are decimal, or hexadecimal behind `0x`, without leading zeros.

use super::error::Problem;
use super::names::{self, Named};
use super::runs;
use crate::rule::{class, Range, Rule, FC_WORDS, MAX_RANGES};

/// A list of addresses as the rule holds it: merged, ascending, zero behind its end.
pub(super) type Ranges = ([Range; MAX_RANGES], u8);

/// Reads `ADDRS`: numbers, `min:max`, `:max`, `min:`, `self` and `broadcast`.
pub(super) fn addresses(list: &str) -> Result<Ranges, Problem<'_>> {
    // However many ranges there are on the way, only what is left after merging has to fit.
    let mut set = [0; 1 << 10];
    for item in items(list) {
        let (min, max) = address_range(item?)?;
        runs::insert(&mut set, min, max);
    }

    let mut ranges = [Range::default(); MAX_RANGES];
    let mut count = 0u8;
    let mut merged = runs::runs(&set);
    for (to, (min, max)) in ranges.iter_mut().zip(&mut merged) {
        *to = Range { min, max };
        count = count.saturating_add(1);
    }
    match merged.count() {
        0 => Ok((ranges, count)),
        more => Err(Problem::TooManyRanges(
            list,
            more.saturating_add(MAX_RANGES),
        )),
    }
}

fn address_range(item: &str) -> Result<(u16, u16), Problem<'_>> {
    let number =
        |word| number(word).and_then(|n| u16::try_from(n).map_err(|_| Problem::Value(word)));
    let Some((min, max)) = item.split_once(':') else {
        if is_number(item) {
            return number(item).map(|address| (address, address));
        }
        return names::ADDRESSES
            .iter()
            .find(|(name, ..)| names::is(item, name))
            .map(|(_, min, max)| (*min, *max))
            .ok_or_else(|| unknown(item, names::ADDRESSES.iter().map(|(name, ..)| *name)));
    };
    if min.is_empty() && max.is_empty() {
        return Err(Problem::Value(item));
    }
    no_names_in_range(item, [min, max])?;
    let min = if min.is_empty() { 0 } else { number(min)? };
    let max = if max.is_empty() {
        u16::MAX
    } else {
        number(max)?
    };
    ascending(item, min, max)
}

/// What `--fc` takes: function codes, and frames without one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Functions {
    /// One bit for each code.
    codes: [u64; FC_WORDS / 2],
    /// As in the rule.
    pub(super) classes: u8,
}

impl Functions {
    pub(super) fn of(rule: &Rule) -> Functions {
        let mut codes = [0; FC_WORDS / 2];
        for (to, pair) in codes.iter_mut().zip(rule.fc.chunks_exact(2)) {
            *to = (pair.iter().rev()).fold(0, |word, half| word << 32 | u64::from(*half));
        }
        Functions {
            codes,
            classes: rule.classes,
        }
    }

    pub(super) fn put(&self, rule: &mut Rule) {
        for (pair, word) in rule.fc.chunks_exact_mut(2).zip(self.codes) {
            for (to, half) in pair.iter_mut().zip([word, word >> 32]) {
                *to = (half & u64::from(u32::MAX)) as u32;
            }
        }
        rule.classes = self.classes;
    }

    fn insert(&mut self, min: u8, max: u8) {
        runs::insert(&mut self.codes, min.into(), max.into());
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = (u16, u16)> + '_ {
        runs::runs(&self.codes)
    }

    pub(super) fn is_everything(&self) -> bool {
        self.classes == class::LINK | class::CONT && self.codes == [u64::MAX; FC_WORDS / 2]
    }
}

/// Reads `FUNCTIONS`: codes, `min:max`, names of functions and groups, `link` and `cont`.
pub(super) fn functions(list: &str) -> Result<Functions, Problem<'_>> {
    let mut set = Functions::default();
    for item in items(list) {
        let item = item?;
        if let Some((min, max)) = item.split_once(':') {
            no_names_in_range(item, [min, max])?;
            if min.is_empty() || max.is_empty() {
                return Err(Problem::OpenRange(item));
            }
            let (min, max) = ascending(item, code(min)?, code(max)?)?;
            set.insert(min, max);
        } else if is_number(item) {
            let code = code(item)?;
            set.insert(code, code);
        } else if let Some(code) = names::value_of(&names::FUNCTIONS, item) {
            set.insert(code, code);
        } else if let Some(bit) = names::value_of(&names::CLASSES, item) {
            set.classes |= bit;
        } else if let Some(group) = names::GROUPS
            .iter()
            .find(|group| names::is(item, group.name))
        {
            for (min, max) in group.ranges {
                set.insert(*min, *max);
            }
        } else {
            let named = names::FUNCTIONS.iter().chain(&names::CLASSES);
            let groups = names::GROUPS.iter().map(|group| group.name);
            return Err(unknown(item, named.map(|named| named.name).chain(groups)));
        }
    }
    Ok(set)
}

fn code(word: &str) -> Result<u8, Problem<'_>> {
    u8::try_from(number(word)?).map_err(|_| Problem::Value(word))
}

/// Reads a list of statuses.
pub(super) fn statuses(list: &str) -> Result<u8, Problem<'_>> {
    let mut set = 0;
    for item in items(list) {
        set |= choice(&names::STATUSES, item?)?;
    }
    Ok(set)
}

/// Reads one of the names in a table.
pub(super) fn choice<'a>(table: &'static [Named], word: &'a str) -> Result<u8, Problem<'a>> {
    names::value_of(table, word).ok_or_else(|| unknown(word, table.iter().map(|named| named.name)))
}

/// The items between the commas of a list.
fn items(list: &str) -> impl Iterator<Item = Result<&str, Problem<'_>>> {
    let trailing = list.ends_with(',');
    list.split(',').map(move |item| match item {
        "" if trailing => Err(Problem::TrailingComma(list)),
        "" => Err(Problem::EmptyItem(list)),
        _ => Ok(item),
    })
}

/// Whether a word is meant as a number: no name begins like one.
fn is_number(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_digit())
}

/// Reads a number; one that is too large for any option comes out as `u32::MAX`.
fn number(word: &str) -> Result<u32, Problem<'_>> {
    let (radix, digits) = match word.strip_prefix("0x") {
        Some(digits) => (16, digits),
        None => (10, word),
    };
    if digits.is_empty() {
        return Err(Problem::Value(word));
    }
    let mut number = 0u32;
    for digit in digits.chars() {
        let digit = digit.to_digit(radix).ok_or(Problem::Value(word))?;
        number = number.saturating_mul(radix).saturating_add(digit);
    }
    if digits.len() > 1 && digits.starts_with('0') {
        return Err(Problem::LeadingZeros(word));
    }
    Ok(number)
}

fn no_names_in_range<'a>(item: &'a str, ends: [&str; 2]) -> Result<(), Problem<'a>> {
    let is_name = |end: &str| end.starts_with(|first: char| first.is_ascii_alphabetic());
    if ends.into_iter().any(is_name) {
        return Err(Problem::RangeOfNames(item));
    }
    Ok(())
}

fn ascending<T: Ord>(item: &str, min: T, max: T) -> Result<(T, T), Problem<'_>> {
    if min > max {
        return Err(Problem::Reversed(item));
    }
    Ok((min, max))
}

fn unknown<'a>(word: &'a str, names: impl Iterator<Item = &'static str> + Clone) -> Problem<'a> {
    // What does not look like a name is no slip in one.
    if word.starts_with(|first: char| first.is_ascii_alphabetic()) {
        Problem::UnknownName(word, names::nearest(word, names))
    } else {
        Problem::Value(word)
    }
}
