// SPDX-License-Identifier: GPL-2.0

//! The last octets of a stream, kept so that a packet which overlaps them can be held to them.
//!
//! The memory is the caller's, of any size; here is where in it the octets lie, as in a ring.

/// Where the kept octets of a stream lie in its memory, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Kept {
    /// Where the stream's next octet will be put.
    head: u32,
    /// Octets that are kept, at most as many as the memory has.
    count: u32,
    /// Whether the stream had others before them.
    gave_way: bool,
}

impl Kept {
    /// Octets that are kept.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Whether so many are kept, or all that the stream has had.
    pub(super) fn has(&self, last: u32) -> bool {
        last <= self.count || !self.gave_way
    }

    /// The octets from `back` octets before the stream's next one on, at most `most` of them, in two
    /// parts. Empty where that is more than there are.
    pub(super) fn before<'a>(&self, memory: &'a [u8], back: u32, most: usize) -> [&'a [u8]; 2] {
        if back > self.count {
            return [&[], &[]];
        }
        let (head, back) = (index(self.head), index(back));
        let most = most.min(back);
        let start = match head.checked_sub(back) {
            Some(start) => start,
            None => head.saturating_add(memory.len()).saturating_sub(back),
        };
        let first = memory.get(start..).unwrap_or(&[]);
        let first = first.get(..most).unwrap_or(first);
        let rest = most.saturating_sub(first.len());
        [first, memory.get(..rest).unwrap_or(&[])]
    }

    /// Whether `octets`, the first of which stands `back` octets before the stream's next one, are
    /// those that are kept. False where some of them are not kept any more.
    pub(super) fn are(&self, memory: &[u8], back: u32, octets: &[u8]) -> bool {
        if octets.is_empty() {
            return true;
        }
        let [first, rest] = self.before(memory, back, octets.len());
        octets.get(..first.len()) == Some(first) && octets.get(first.len()..) == Some(rest)
    }

    /// Puts octets behind the last; the oldest give way.
    pub(super) fn push(&mut self, memory: &mut [u8], octets: &[u8]) {
        let size = memory.len();
        // Of more than there is room for only the last will be seen.
        let skipped = octets.len().saturating_sub(size);
        let mut rest = octets.get(skipped..).unwrap_or(&[]);
        let mut head = index(self.head);
        while !rest.is_empty() {
            if head >= size {
                head = 0;
            }
            let room = memory.get_mut(head..).unwrap_or(&mut []);
            if room.is_empty() {
                break;
            }
            let count = room.len().min(rest.len());
            if let (Some(room), Some(octets)) = (room.get_mut(..count), rest.get(..count)) {
                copy(room, octets);
            }
            head = head.saturating_add(count);
            rest = rest.get(count..).unwrap_or(&[]);
        }
        self.head = number(head);
        let count = index(self.count).saturating_add(octets.len());
        self.count = number(count.min(size));
        self.gave_way |= count > size;
    }

    /// Moves to other memory: as many of the last octets as that has room for.
    pub(super) fn move_to(&mut self, from: &[u8], to: &mut [u8]) {
        let stay = self.count.min(number(to.len()));
        let [first, rest] = self.before(from, stay, index(stay));
        let mut moved = Kept::default();
        moved.push(to, first);
        moved.push(to, rest);
        moved.gave_way = self.gave_way || stay < self.count;
        *self = moved;
    }
}

/// Copies as far as there is room; not `copy_from_slice()`, which panics on another length.
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    for (place, octet) in to.iter_mut().zip(from) {
        *place = *octet;
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_octets_are_kept_in_memory_of_any_size() {
        let stream: [u8; 100] = core::array::from_fn(|at| at as u8);
        for size in 0..40usize {
            for step in 1..50 {
                let mut memory = [0u8; 40];
                let memory = memory.get_mut(..size).unwrap();
                let mut kept = Kept::default();
                let mut end = 0;
                for octets in stream.chunks(step) {
                    kept.push(memory, octets);
                    end += octets.len();
                    assert_eq!(kept.count() as usize, end.min(size));
                    assert!(kept.has(size as u32));
                    assert_eq!(kept.has(size as u32 + 1), end <= size);
                    for back in 0..=end {
                        let last = &stream[end - back..end];
                        assert_eq!(kept.are(memory, back as u32, last), back <= size);
                        if let Some((first, _)) = last.split_first() {
                            assert_eq!(kept.are(memory, back as u32, &[*first]), back <= size);
                            assert!(!kept.are(memory, back as u32, &[first ^ 1]));
                        }
                    }
                    assert!(!kept.are(memory, 1, &[0, 0]), "more than there is");
                }
            }
        }
    }

    #[test]
    fn octets_move_to_other_memory() {
        let stream: [u8; 60] = core::array::from_fn(|at| at as u8);
        for (from, to) in [(0, 8), (7, 16), (16, 7), (16, 0), (16, 16)] {
            let (mut old, mut new) = ([0u8; 16], [0u8; 16]);
            let (old, new) = (&mut old[..from], &mut new[..to]);
            let mut kept = Kept::default();
            for octets in stream[..30].chunks(4) {
                kept.push(old, octets);
            }
            kept.move_to(old, new);
            let stay = from.min(to);
            assert_eq!(kept.count() as usize, stay);
            assert!(kept.has(stay as u32) && !kept.has(stay as u32 + 1));
            assert!(kept.are(new, stay as u32, &stream[30 - stay..30]));
            kept.push(new, &stream[30..31]);
            assert_eq!(kept.are(new, 1, &stream[30..31]), to > 0);
        }
    }
}
