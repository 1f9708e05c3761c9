// SPDX-License-Identifier: GPL-2.0

//! The object headers of an application fragment: group, variation, qualifier and range.
//!
//! ```text
//! +-------+-----------+-----------+-------+--------------------------------+
//! | group | variation | qualifier | range | objects, each with its prefix  | ...
//! +-------+-----------+-----------+-------+--------------------------------+
//! ```
//! The next header begins where the objects end, so their size must be known. It is for what the
//! table here has; where it has nothing, reading ends with [`Problem::UnknownSize`], and nothing
//! is guessed.

use std::fmt;

/// How much room an object takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    /// Octets.
    Octets(u8),
    /// This many bits, packed over all points of the range.
    Bits(u8),
    /// As many octets as the variation's number says.
    Variation,
    /// A type, a length, and so many octets (device attributes).
    Attribute,
    /// The object stands in requests without any data.
    None,
    /// Only ever with a size prefix, which says it.
    Prefixed,
}

/// A row of the table: group, variation, size, name.
type Row = (u8, u8, Size, &'static str);

use Size::{Attribute, Bits, None as Nothing, Octets, Prefixed, Variation};

/// The variation that stands for all of a group that are not in the table by themselves.
const ANY: u8 = 0xFF;

/// Objects of IEEE 1815, by group and variation.
#[rustfmt::skip]
static OBJECTS: &[Row] = &[
    (0, ANY, Attribute, "device attribute"),
    (1, 1, Bits(1), "binary input, packed"),
    (1, 2, Octets(1), "binary input, with flags"),
    (2, 1, Octets(1), "binary input event, without time"),
    (2, 2, Octets(7), "binary input event, with absolute time"),
    (2, 3, Octets(3), "binary input event, with relative time"),
    (3, 1, Bits(2), "double-bit binary input, packed"),
    (3, 2, Octets(1), "double-bit binary input, with flags"),
    (4, 1, Octets(1), "double-bit binary input event, without time"),
    (4, 2, Octets(7), "double-bit binary input event, with absolute time"),
    (4, 3, Octets(3), "double-bit binary input event, with relative time"),
    (10, 1, Bits(1), "binary output, packed"),
    (10, 2, Octets(1), "binary output, status with flags"),
    (11, 1, Octets(1), "binary output event, status without time"),
    (11, 2, Octets(7), "binary output event, status with time"),
    (12, 1, Octets(11), "binary command, control relay output block"),
    (12, 2, Octets(11), "binary command, pattern control block"),
    (12, 3, Bits(1), "binary command, pattern mask"),
    (13, 1, Octets(1), "binary command event, without time"),
    (13, 2, Octets(7), "binary command event, with time"),
    (20, 1, Octets(5), "counter, 32-bit with flag"),
    (20, 2, Octets(3), "counter, 16-bit with flag"),
    (20, 3, Octets(5), "counter, 32-bit with flag, delta"),
    (20, 4, Octets(3), "counter, 16-bit with flag, delta"),
    (20, 5, Octets(4), "counter, 32-bit without flag"),
    (20, 6, Octets(2), "counter, 16-bit without flag"),
    (20, 7, Octets(4), "counter, 32-bit without flag, delta"),
    (20, 8, Octets(2), "counter, 16-bit without flag, delta"),
    (21, 1, Octets(5), "frozen counter, 32-bit with flag"),
    (21, 2, Octets(3), "frozen counter, 16-bit with flag"),
    (21, 3, Octets(5), "frozen counter, 32-bit with flag, delta"),
    (21, 4, Octets(3), "frozen counter, 16-bit with flag, delta"),
    (21, 5, Octets(11), "frozen counter, 32-bit with flag and time"),
    (21, 6, Octets(9), "frozen counter, 16-bit with flag and time"),
    (21, 7, Octets(11), "frozen counter, 32-bit with flag and time, delta"),
    (21, 8, Octets(9), "frozen counter, 16-bit with flag and time, delta"),
    (21, 9, Octets(4), "frozen counter, 32-bit without flag"),
    (21, 10, Octets(2), "frozen counter, 16-bit without flag"),
    (21, 11, Octets(4), "frozen counter, 32-bit without flag, delta"),
    (21, 12, Octets(2), "frozen counter, 16-bit without flag, delta"),
    (22, 1, Octets(5), "counter event, 32-bit with flag"),
    (22, 2, Octets(3), "counter event, 16-bit with flag"),
    (22, 3, Octets(5), "counter event, 32-bit with flag, delta"),
    (22, 4, Octets(3), "counter event, 16-bit with flag, delta"),
    (22, 5, Octets(11), "counter event, 32-bit with flag and time"),
    (22, 6, Octets(9), "counter event, 16-bit with flag and time"),
    (22, 7, Octets(11), "counter event, 32-bit with flag and time, delta"),
    (22, 8, Octets(9), "counter event, 16-bit with flag and time, delta"),
    (23, 1, Octets(5), "frozen counter event, 32-bit with flag"),
    (23, 2, Octets(3), "frozen counter event, 16-bit with flag"),
    (23, 3, Octets(5), "frozen counter event, 32-bit with flag, delta"),
    (23, 4, Octets(3), "frozen counter event, 16-bit with flag, delta"),
    (23, 5, Octets(11), "frozen counter event, 32-bit with flag and time"),
    (23, 6, Octets(9), "frozen counter event, 16-bit with flag and time"),
    (23, 7, Octets(11), "frozen counter event, 32-bit with flag and time, delta"),
    (23, 8, Octets(9), "frozen counter event, 16-bit with flag and time, delta"),
    (30, 1, Octets(5), "analog input, 32-bit with flag"),
    (30, 2, Octets(3), "analog input, 16-bit with flag"),
    (30, 3, Octets(4), "analog input, 32-bit without flag"),
    (30, 4, Octets(2), "analog input, 16-bit without flag"),
    (30, 5, Octets(5), "analog input, single-precision with flag"),
    (30, 6, Octets(9), "analog input, double-precision with flag"),
    (31, 1, Octets(5), "frozen analog input, 32-bit with flag"),
    (31, 2, Octets(3), "frozen analog input, 16-bit with flag"),
    (31, 3, Octets(11), "frozen analog input, 32-bit with time of freeze"),
    (31, 4, Octets(9), "frozen analog input, 16-bit with time of freeze"),
    (31, 5, Octets(4), "frozen analog input, 32-bit without flag"),
    (31, 6, Octets(2), "frozen analog input, 16-bit without flag"),
    (31, 7, Octets(5), "frozen analog input, single-precision with flag"),
    (31, 8, Octets(9), "frozen analog input, double-precision with flag"),
    (32, 1, Octets(5), "analog input event, 32-bit without time"),
    (32, 2, Octets(3), "analog input event, 16-bit without time"),
    (32, 3, Octets(11), "analog input event, 32-bit with time"),
    (32, 4, Octets(9), "analog input event, 16-bit with time"),
    (32, 5, Octets(5), "analog input event, single-precision without time"),
    (32, 6, Octets(9), "analog input event, double-precision without time"),
    (32, 7, Octets(11), "analog input event, single-precision with time"),
    (32, 8, Octets(15), "analog input event, double-precision with time"),
    (33, 1, Octets(5), "frozen analog input event, 32-bit without time"),
    (33, 2, Octets(3), "frozen analog input event, 16-bit without time"),
    (33, 3, Octets(11), "frozen analog input event, 32-bit with time"),
    (33, 4, Octets(9), "frozen analog input event, 16-bit with time"),
    (33, 5, Octets(5), "frozen analog input event, single-precision without time"),
    (33, 6, Octets(9), "frozen analog input event, double-precision without time"),
    (33, 7, Octets(11), "frozen analog input event, single-precision with time"),
    (33, 8, Octets(15), "frozen analog input event, double-precision with time"),
    (34, 1, Octets(2), "analog input deadband, 16-bit"),
    (34, 2, Octets(4), "analog input deadband, 32-bit"),
    (34, 3, Octets(4), "analog input deadband, single-precision"),
    (40, 1, Octets(5), "analog output status, 32-bit with flag"),
    (40, 2, Octets(3), "analog output status, 16-bit with flag"),
    (40, 3, Octets(5), "analog output status, single-precision with flag"),
    (40, 4, Octets(9), "analog output status, double-precision with flag"),
    (41, 1, Octets(5), "analog output, 32-bit"),
    (41, 2, Octets(3), "analog output, 16-bit"),
    (41, 3, Octets(5), "analog output, single-precision"),
    (41, 4, Octets(9), "analog output, double-precision"),
    (42, 1, Octets(5), "analog output event, 32-bit without time"),
    (42, 2, Octets(3), "analog output event, 16-bit without time"),
    (42, 3, Octets(11), "analog output event, 32-bit with time"),
    (42, 4, Octets(9), "analog output event, 16-bit with time"),
    (42, 5, Octets(5), "analog output event, single-precision without time"),
    (42, 6, Octets(9), "analog output event, double-precision without time"),
    (42, 7, Octets(11), "analog output event, single-precision with time"),
    (42, 8, Octets(15), "analog output event, double-precision with time"),
    (43, 1, Octets(5), "analog output command event, 32-bit without time"),
    (43, 2, Octets(3), "analog output command event, 16-bit without time"),
    (43, 3, Octets(11), "analog output command event, 32-bit with time"),
    (43, 4, Octets(9), "analog output command event, 16-bit with time"),
    (43, 5, Octets(5), "analog output command event, single-precision without time"),
    (43, 6, Octets(9), "analog output command event, double-precision without time"),
    (43, 7, Octets(11), "analog output command event, single-precision with time"),
    (43, 8, Octets(15), "analog output command event, double-precision with time"),
    (50, 1, Octets(6), "time and date, absolute"),
    (50, 2, Octets(10), "time and date, absolute time and interval"),
    (50, 3, Octets(6), "time and date, absolute time at last recorded time"),
    (50, 4, Octets(11), "time and date, indexed absolute time and long interval"),
    (51, 1, Octets(6), "common time of occurrence, synchronized"),
    (51, 2, Octets(6), "common time of occurrence, unsynchronized"),
    (52, 1, Octets(2), "time delay, coarse"),
    (52, 2, Octets(2), "time delay, fine"),
    (60, 1, Nothing, "class 0 data"),
    (60, 2, Nothing, "class 1 data"),
    (60, 3, Nothing, "class 2 data"),
    (60, 4, Nothing, "class 3 data"),
    (70, 1, Prefixed, "file control, identifier"),
    (70, 2, Prefixed, "file control, authentication"),
    (70, 3, Prefixed, "file control, command"),
    (70, 4, Prefixed, "file control, command status"),
    (70, 5, Prefixed, "file control, transport"),
    (70, 6, Prefixed, "file control, transport status"),
    (70, 7, Prefixed, "file control, descriptor"),
    (70, 8, Prefixed, "file control, specification string"),
    (80, 1, Bits(1), "internal indications"),
    (81, 1, Octets(3), "device storage, buffer fill status"),
    (82, 1, Prefixed, "device profile, functions and indexes"),
    (83, 1, Prefixed, "data set, private registration object"),
    (83, 2, Prefixed, "data set, private registration object descriptor"),
    (85, 1, Prefixed, "data set prototype"),
    (86, 1, Prefixed, "data set descriptor, contents"),
    (86, 2, Octets(1), "data set descriptor, characteristics"),
    (86, 3, Prefixed, "data set descriptor, point index attributes"),
    (87, 1, Prefixed, "data set, present value"),
    (88, 1, Prefixed, "data set event, snapshot"),
    (90, 1, Prefixed, "application, identifier"),
    (91, 1, Prefixed, "status of requested operation"),
    (101, 1, Octets(2), "binary-coded decimal integer, small"),
    (101, 2, Octets(4), "binary-coded decimal integer, medium"),
    (101, 3, Octets(8), "binary-coded decimal integer, large"),
    (102, 1, Octets(1), "unsigned integer, 8-bit"),
    (110, ANY, Variation, "octet string"),
    (111, ANY, Variation, "octet string event"),
    (112, ANY, Variation, "virtual terminal, output block"),
    (113, ANY, Variation, "virtual terminal, event data"),
    (120, 1, Prefixed, "authentication, challenge"),
    (120, 2, Prefixed, "authentication, reply"),
    (120, 3, Octets(6), "authentication, aggressive mode request"),
    (120, 4, Octets(2), "authentication, session key status request"),
    (120, 5, Prefixed, "authentication, session key status"),
    (120, 6, Prefixed, "authentication, session key change"),
    (120, 7, Prefixed, "authentication, error"),
    (120, 8, Prefixed, "authentication, user certificate"),
    (120, 9, Prefixed, "authentication, message authentication code"),
    (120, 10, Prefixed, "authentication, user status change"),
    (120, 11, Prefixed, "authentication, update key change request"),
    (120, 12, Prefixed, "authentication, update key change reply"),
    (120, 13, Prefixed, "authentication, update key change"),
    (120, 14, Prefixed, "authentication, update key change signature"),
    (120, 15, Prefixed, "authentication, update key change confirmation"),
    (121, 1, Octets(7), "security statistic, 32-bit with flag"),
    (122, 1, Octets(7), "security statistic event, 32-bit with flag"),
    (122, 2, Octets(13), "security statistic event, 32-bit with flag and time"),
];

/// Where each group's rows begin, so that finding one is no search over all.
static FIRST_ROW: [u8; 256] = {
    let mut first = [u8::MAX; 256];
    let mut row = OBJECTS.len();
    assert!(row < u8::MAX as usize);
    while row > 0 {
        row -= 1;
        first[OBJECTS[row].0 as usize] = row as u8;
    }
    first
};

fn find(group: u8, variation: u8) -> Option<&'static Row> {
    OBJECTS
        .get(usize::from(FIRST_ROW[usize::from(group)])..)?
        .iter()
        .take_while(|row| row.0 == group)
        .find(|row| row.1 == variation || row.1 == ANY)
}

/// The name of an object, where it is known. Variation 0 is whichever the outstation likes best.
pub fn name(group: u8, variation: u8) -> Option<&'static str> {
    match find(group, variation) {
        Some(row) => Some(row.3),
        None if variation == 0 => {
            let row = OBJECTS.get(usize::from(FIRST_ROW[usize::from(group)]))?;
            row.3.split(',').next()
        }
        None => None,
    }
}

/// Which points or objects a header speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// All points, of which no number follows.
    All,
    /// The points from one to another, both included.
    Points(u32, u32),
    /// From one virtual address to another, both included.
    Addresses(u32, u32),
    /// So many objects, each with a prefix or none.
    Count(u32),
}

impl Range {
    /// How many objects follow; `None` where the header does not say.
    pub fn count(self) -> Option<u64> {
        match self {
            Range::All => None,
            Range::Points(from, to) | Range::Addresses(from, to) => {
                Some(u64::from(to).saturating_sub(u64::from(from)) + 1)
            }
            Range::Count(count) => Some(u64::from(count)),
        }
    }
}

/// What stands before each object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prefix {
    /// Nothing.
    None,
    /// The point's index, in so many octets.
    Index(u8),
    /// The object's size, in so many octets.
    Size(u8),
}

/// An object header, and where its objects are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// The group.
    pub group: u8,
    /// The variation.
    pub variation: u8,
    /// The qualifier octet, as it stands there.
    pub qualifier: u8,
    /// What the qualifier and the range field say.
    pub range: Range,
    /// What the qualifier says of prefixes.
    pub prefix: Prefix,
    /// The objects with their prefixes.
    pub data: &'a [u8],
}

/// Why reading object headers ends before the fragment does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The header goes on behind the end of the fragment.
    Cut {
        /// How many octets there are.
        have: usize,
    },
    /// The standard does not define this qualifier.
    Qualifier {
        /// The group.
        group: u8,
        /// The variation.
        variation: u8,
        /// The qualifier.
        qualifier: u8,
    },
    /// A range that ends before it begins.
    Reversed {
        /// The group.
        group: u8,
        /// The variation.
        variation: u8,
        /// The first point.
        from: u32,
        /// The last.
        to: u32,
    },
    /// The objects go on behind the end of the fragment.
    Short {
        /// The group.
        group: u8,
        /// The variation.
        variation: u8,
        /// What the objects take, as far as it can be told.
        wanted: u64,
        /// What is there.
        have: usize,
    },
    /// How long these objects are is not known here, so that what follows is not read. Nothing
    /// need be wrong.
    UnknownSize {
        /// The group.
        group: u8,
        /// The variation.
        variation: u8,
        /// The qualifier.
        qualifier: u8,
        /// Octets that are not read.
        left: usize,
    },
}

impl Problem {
    /// Whether the fragment is wrong, rather than this reader ignorant.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Problem::UnknownSize { .. })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Cut { have } => {
                write!(f, "the fragment ends inside an object header, of which it has {have} octets")
            }
            Problem::Qualifier {
                group,
                variation,
                qualifier,
            } => write!(f, "g{group}v{variation}: qualifier {qualifier:02X} is not defined"),
            Problem::Reversed {
                group,
                variation,
                from,
                to,
            } => write!(f, "g{group}v{variation}: the range {from}..{to} ends before it begins"),
            Problem::Short {
                group,
                variation,
                wanted,
                have,
            } => write!(
                f,
                "g{group}v{variation}: its objects take {wanted} octets, and the fragment has {have}"
            ),
            Problem::UnknownSize {
                group,
                variation,
                qualifier,
                left,
            } => write!(
                f,
                "g{group}v{variation}, qualifier {qualifier:02X}: the size of its objects is not \
                 known here; {left} octets are not read"
            ),
        }
    }
}

/// The object headers of a fragment, one after the other; after a problem there are no more.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    function: u8,
}

impl<'a> Headers<'a> {
    /// Reads what follows the function code, or the internal indications; see
    /// [`Fragment::objects`](crate::Fragment::objects).
    pub fn new(function: u8, objects: &'a [u8]) -> Headers<'a> {
        Headers {
            rest: objects,
            function,
        }
    }

    fn read(&mut self) -> Result<Header<'a>, Problem> {
        let all = self.rest;
        let cut = Problem::Cut { have: all.len() };
        let (&[group, variation, qualifier], mut rest) = all.split_first_chunk().ok_or(cut)?;
        let undefined = Problem::Qualifier {
            group,
            variation,
            qualifier,
        };
        let (prefix, range) = (qualifier >> 4, qualifier & 0x0F);
        let mut number = |octets: usize| -> Result<u32, Problem> {
            let (field, behind) = rest.split_at_checked(octets).ok_or(cut)?;
            rest = behind;
            Ok(little_endian(field))
        };
        let range = match (prefix, range) {
            (0, 0..=2) => Range::Points(number(1 << range)?, number(1 << range)?),
            (0, 3..=5) => Range::Addresses(number(1 << (range - 3))?, number(1 << (range - 3))?),
            (0, 6) => Range::All,
            (0..=3, 7..=9) => Range::Count(number(1 << (range - 7))?),
            (4..=6, 11) => Range::Count(number(1)?),
            _ => return Err(undefined),
        };
        if let Range::Points(from, to) | Range::Addresses(from, to) = range {
            if to < from {
                return Err(Problem::Reversed {
                    group,
                    variation,
                    from,
                    to,
                });
            }
        }
        let prefix = match prefix {
            0 => Prefix::None,
            1..=3 => Prefix::Index(1 << (prefix - 1)),
            _ => Prefix::Size(1 << (prefix - 4)),
        };
        let mut header = Header {
            group,
            variation,
            qualifier,
            range,
            prefix,
            data: &[],
        };
        let size = self.size(&header, rest)?;
        let (data, behind) = usize::try_from(size)
            .ok()
            .and_then(|size| rest.split_at_checked(size))
            .ok_or(Problem::Short {
                group,
                variation,
                wanted: size,
                have: rest.len(),
            })?;
        header.data = data;
        self.rest = behind;
        Ok(header)
    }

    /// Octets that the objects of a header take, with their prefixes.
    fn size(&self, header: &Header<'_>, rest: &[u8]) -> Result<u64, Problem> {
        let (group, variation) = (header.group, header.variation);
        let Some(count) = header.range.count() else {
            return Ok(0);
        };
        let short = |wanted| Problem::Short {
            group,
            variation,
            wanted,
            have: rest.len(),
        };
        let index = match header.prefix {
            Prefix::None => 0,
            Prefix::Index(octets) => octets,
            Prefix::Size(octets) => {
                let mut taken = 0usize;
                for _ in 0..count {
                    let field = rest
                        .get(taken..)
                        .and_then(|rest| rest.get(..usize::from(octets)))
                        .ok_or(short(taken as u64 + u64::from(octets)))?;
                    taken = taken
                        .saturating_add(field.len())
                        .saturating_add(little_endian(field) as usize);
                }
                return Ok(taken as u64);
            }
        };
        let index = u64::from(index);
        if self.has_no_data(group) {
            return Ok(count * index);
        }
        let unknown = Problem::UnknownSize {
            group,
            variation,
            qualifier: header.qualifier,
            left: rest.len(),
        };
        match find(group, variation).ok_or(unknown)?.2 {
            Size::Octets(octets) => Ok(count * (index + u64::from(octets))),
            Size::Bits(bits) if index == 0 => Ok((count * u64::from(bits)).div_ceil(8)),
            Size::Variation if variation != 0 => Ok(count * (index + u64::from(variation))),
            Size::None => Ok(count * index),
            Size::Attribute => {
                // Type and length stand before the value.
                let mut taken = 0u64;
                for _ in 0..count {
                    taken += index + 2;
                    let length = usize::try_from(taken - 1)
                        .ok()
                        .and_then(|at| rest.get(at))
                        .ok_or(short(taken))?;
                    taken += u64::from(*length);
                }
                Ok(taken)
            }
            Size::Bits(_) | Size::Variation | Size::Prefixed => Err(unknown),
        }
    }

    /// Whether the function only names objects, and does not bring any.
    fn has_no_data(&self, group: u8) -> bool {
        match self.function {
            // Read; freezes; initialize data; unsolicited on and off, assign class.
            1 | 7..=10 | 15 | 20..=22 => true,
            // The freezes at a time bring that time, and name what is to be frozen.
            11 | 12 => group != 50,
            _ => false,
        }
    }
}

fn little_endian(octets: &[u8]) -> u32 {
    octets
        .iter()
        .rev()
        .fold(0, |number, octet| number << 8 | u32::from(*octet))
}

impl<'a> Iterator for Headers<'a> {
    type Item = Result<Header<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let header = self.read();
        if header.is_err() {
            self.rest = &[];
        }
        Some(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(function: u8, octets: &[u8]) -> Vec<Result<Header<'_>, Problem>> {
        Headers::new(function, octets).collect()
    }

    #[test]
    fn the_table_is_ascending_and_has_nothing_twice() {
        for pair in OBJECTS.windows(2) {
            let [a, b] = pair else { continue };
            assert!((a.0, a.1) < (b.0, b.1), "{a:?} {b:?}");
            assert!(a.0 != b.0 || a.1 != ANY);
        }
        for (group, variation, _, row_name) in OBJECTS {
            assert_eq!(name(*group, *variation), Some(*row_name));
        }
        assert_eq!(name(30, 0), Some("analog input"));
        assert_eq!(name(30, 99), None);
        assert_eq!(name(5, 0), None);
    }

    /// What each qualifier means, written from the standard's tables by hand.
    #[test]
    fn qualifiers() {
        let read = |qualifier: u8, field: &[u8]| {
            let mut octets = vec![30, 1, qualifier];
            octets.extend(field);
            Headers::new(1, &octets)
                .next()
                .map(|header| header.map(|header| (header.range, header.prefix)))
        };
        let points = Range::Points(1, 3);
        let ok = |range, prefix| Some(Ok((range, prefix)));
        assert_eq!(read(0x00, &[1, 3]), ok(points, Prefix::None));
        assert_eq!(read(0x01, &[1, 0, 3, 0]), ok(points, Prefix::None));
        assert_eq!(
            read(0x02, &[1, 0, 0, 0, 3, 0, 0, 0]),
            ok(points, Prefix::None)
        );
        assert_eq!(read(0x06, &[]), ok(Range::All, Prefix::None));
        assert_eq!(read(0x07, &[2]), ok(Range::Count(2), Prefix::None));
        assert_eq!(read(0x08, &[2, 1]), ok(Range::Count(258), Prefix::None));
        assert_eq!(read(0x17, &[1, 9]), ok(Range::Count(1), Prefix::Index(1)));
        assert_eq!(
            read(0x28, &[1, 0, 9, 0]),
            ok(Range::Count(1), Prefix::Index(2))
        );
        assert_eq!(
            read(0x5B, &[1, 2, 0, 7, 7]),
            ok(Range::Count(1), Prefix::Size(2))
        );
        for qualifier in 0..=255u8 {
            let defined = matches!(qualifier, 0x00..=0x09 | 0x17..=0x19 | 0x27..=0x29 | 0x37..=0x39)
                || matches!(qualifier, 0x4B | 0x5B | 0x6B);
            let found = read(qualifier, &[0; 32]);
            let refused = matches!(found, Some(Err(Problem::Qualifier { .. })));
            assert_eq!(refused, !defined, "{qualifier:02X}");
        }
    }

    #[test]
    fn objects_are_passed_over_by_their_size() {
        // g12v1 with one index, then g1v1 of ten packed points, then g60v2.
        let mut octets = vec![12, 1, 0x17, 1, 5];
        octets.extend([0; 11]);
        octets.extend([1, 1, 0x00, 0, 9, 0xFF, 0x03]);
        octets.extend([60, 2, 0x06]);
        let found: Vec<_> = headers(2, &octets)
            .into_iter()
            .map(|header| header.map(|h| (h.group, h.variation, h.data.len())))
            .collect();
        assert_eq!(found, [Ok((12, 1, 12)), Ok((1, 1, 2)), Ok((60, 2, 0))]);
    }

    #[test]
    fn what_is_not_known_is_said_and_what_is_wrong_as_well() {
        fn last(function: u8, octets: &[u8]) -> Option<Result<Header<'_>, Problem>> {
            headers(function, octets).last().copied()
        }
        assert!(matches!(
            last(129, &[99, 1, 0x07, 1, 0, 0]),
            Some(Err(Problem::UnknownSize { left: 2, .. }))
        ));
        // A READ brings no objects, known or not.
        assert!(matches!(last(1, &[99, 1, 0x07, 1]), Some(Ok(_))));
        assert!(matches!(
            last(129, &[30, 1, 0x07, 2, 0, 0]),
            Some(Err(Problem::Short {
                wanted: 10,
                have: 2,
                ..
            }))
        ));
        assert!(matches!(
            last(1, &[30, 1, 0x00, 3, 1]),
            Some(Err(Problem::Reversed { from: 3, to: 1, .. }))
        ));
        assert_eq!(last(1, &[30, 1]), Some(Err(Problem::Cut { have: 2 })));
        assert!(matches!(
            last(129, &[30, 1, 0x02, 0, 0, 0, 0, 255, 255, 255, 255]),
            Some(Err(Problem::Short {
                wanted: 21_474_836_480,
                ..
            }))
        ));
    }
}
