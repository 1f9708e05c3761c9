// SPDX-License-Identifier: GPL-2.0

//! A set of numbers as the runs of neighbours in it: how lists are merged and printed.

/// Adds the numbers from `min` to `max`, both included, to the set: as far as it has bits for them.
pub(super) fn insert(set: &mut [u64], min: u16, max: u16) {
    let (first, last) = (usize::from(min >> 6), usize::from(max >> 6));
    let words = set.iter_mut().enumerate();
    for (at, word) in words.take(last.saturating_add(1)).skip(first) {
        let from = if at == first { min & 63 } else { 0 };
        let to = if at == last { max & 63 } else { 63 };
        *word |= (u64::MAX << from) & (u64::MAX >> (to ^ 63));
    }
}

/// The runs in the set, ascending: the first number and the last of each.
pub(super) fn runs(set: &[u64]) -> Runs<'_> {
    Runs { set, from: 0 }
}

#[derive(Clone)]
pub(super) struct Runs<'a> {
    set: &'a [u64],
    from: usize,
}

impl Runs<'_> {
    /// The first number, from `from` on, that is in the set, or with `gap` the first that is not.
    fn first(&self, from: usize, gap: bool) -> Option<usize> {
        let words = self.set.iter().enumerate().skip(from >> 6);
        words
            .map(|(at, word)| {
                let word = if gap { !word } else { *word };
                let seen = if at == from >> 6 { from & 63 } else { 0 };
                (at << 6, word & (u64::MAX << seen))
            })
            .find(|(_, word)| *word != 0)
            .map(|(base, word)| base | word.trailing_zeros() as usize)
    }
}

impl Iterator for Runs<'_> {
    type Item = (u16, u16);

    fn next(&mut self) -> Option<(u16, u16)> {
        let min = self.first(self.from, false)?;
        let end = self.first(min, true).unwrap_or(self.set.len() << 6);
        self.from = end;
        let max = end.saturating_sub(1);
        Some((u16::try_from(min).ok()?, u16::try_from(max).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_words_and_gaps() {
        let mut set = [0; 1024];
        assert!(runs(&set).eq([]));
        for (min, max) in [(0, 0), (2, 4), (63, 64), (127, 191), (300, 700), (702, 702)] {
            insert(&mut set, min, max);
        }
        insert(&mut set, u16::MAX, u16::MAX);
        assert!(runs(&set).eq([
            (0, 0),
            (2, 4),
            (63, 64),
            (127, 191),
            (300, 700),
            (702, 702),
            (65535, 65535)
        ]));
        insert(&mut set, 1, 65534);
        assert!(runs(&set).eq([(0, 65535)]));
    }

    #[test]
    fn what_has_no_bit_is_left_out() {
        let mut set = [0; 4];
        insert(&mut set, 250, 300);
        assert_eq!(set, [0, 0, 0, 0x3F << 58]);
        assert!(runs(&set).eq([(250, 255)]));
    }

    /// Against one number after the other.
    #[test]
    fn every_range_of_a_short_set() {
        for min in 0..130 {
            for max in min..130 {
                let mut set = [0; 1024];
                insert(&mut set, min, max);
                assert!(runs(&set).eq([(min, max)]), "{min}:{max}");
            }
        }
    }
}
