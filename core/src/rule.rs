// SPDX-License-Identifier: GPL-2.0

//! The rule: `struct xt_dnp3_mtinfo` of `include/linux/netfilter/xt_dnp3.h`, the check of its
//! form, and the predicate P that it asks of a frame.

use crate::frame::{Class, Seen};

/// Ranges in one list of addresses.
pub const MAX_RANGES: usize = 8;
/// Words in the set of function codes.
pub const FC_WORDS: usize = 8;

/// The first of the link addresses that reach stations which a rule does not name:
/// self-address 65532 and the broadcast addresses 65533 to 65535.
pub const FIRST_SHARED_ADDRESS: u16 = 0xFFFC;

/// Bits of [`Rule::set`] and [`Rule::invert`].
pub mod option {
    /// `--saddr`
    pub const SADDR: u16 = 1 << 0;
    /// `--daddr`
    pub const DADDR: u16 = 1 << 1;
    /// `--fc`
    pub const FC: u16 = 1 << 2;
    /// `--status`
    pub const STATUS: u16 = 1 << 3;
    /// `--dir`
    pub const DIR: u16 = 1 << 4;
    /// `--frames` was given.
    pub const FRAMES: u16 = 1 << 5;
    /// `--track`, which has no value and no inverse.
    pub const TRACK: u16 = 1 << 6;

    /// Options that this version knows.
    pub const KNOWN: u16 = SADDR | DADDR | FC | STATUS | DIR | FRAMES | TRACK;
    /// Options that `!` may stand before.
    pub const INVERTIBLE: u16 = SADDR | DADDR | FC | STATUS | DIR;
    /// Options that make a frame test.
    pub const FRAME_TEST: u16 = SADDR | DADDR | FC | DIR | FRAMES;
}

/// Values of [`Rule::frames`].
pub mod frames {
    /// Surely every frame satisfies P.
    pub const ONLY: u8 = 0;
    /// Some frame may satisfy P.
    pub const ANY: u8 = 1;
}

/// Values of [`Rule::dir`].
pub mod dir {
    /// No `--dir`.
    pub const UNSET: u8 = 0;
    /// DIR=1.
    pub const MASTER: u8 = 1;
    /// DIR=0.
    pub const OUTSTATION: u8 = 2;
}

/// Bits of [`Rule::status`].
pub mod status {
    /// No payload and no URG.
    pub const NONE: u8 = 1 << 0;
    /// Valid frames and nothing else.
    pub const VALID: u8 = 1 << 1;
    /// TCP: ends inside a frame that is right so far.
    pub const PARTIAL: u8 = 1 << 2;
    /// Everything else.
    pub const MALFORMED: u8 = 1 << 3;
    /// Payload behind a hole, on a connection that is followed; named only in a rule with `--track`.
    pub const AHEAD: u8 = 1 << 4;

    /// Every status that a packet has without regard to its stream.
    pub const STATELESS: u8 = NONE | VALID | PARTIAL | MALFORMED;
    /// Every status.
    pub const ALL: u8 = STATELESS | AHEAD;
}

/// Bits of [`Rule::classes`].
pub mod class {
    /// A frame without user data.
    pub const LINK: u8 = 1 << 0;
    /// A continuation segment.
    pub const CONT: u8 = 1 << 1;
}

/// `struct xt_dnp3_range`: addresses from `min` to `max`, both included.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// The lowest address.
    pub min: u16,
    /// The highest address.
    pub max: u16,
}

/// `struct xt_dnp3_mtinfo`: one dnp3 match of a rule, in the layout of the UAPI header, which
/// says what each member holds.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // the header is the one place
pub struct Rule {
    pub set: u16,
    pub invert: u16,
    pub frames: u8,
    pub dir: u8,
    pub status: u8,
    pub classes: u8,
    pub saddr_count: u8,
    pub daddr_count: u8,
    pub reserved: [u8; 6],
    pub saddr: [Range; MAX_RANGES],
    pub daddr: [Range; MAX_RANGES],
    pub fc: [u32; FC_WORDS],
}

/// Why the kernel refuses a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Invalid {
    /// The rule names no protocol, inverts it, or names another than TCP and UDP.
    Protocol,
    /// A bit in `set` that this version does not know.
    UnknownOption,
    /// A bit in `invert` that is not in `set`, or whose option cannot be inverted.
    Invert,
    /// `frames` is unknown, or not zero without its option.
    Frames,
    /// `dir` is unknown, or does not go with its option.
    Dir,
    /// `status` is unknown or empty, does not go with its option, or names `ahead` without `--track`.
    Status,
    /// `fc` and `classes` are unknown or empty, or do not go with their option.
    Functions,
    /// A source list that is empty, too long, reversed, not ascending, or not zero behind its end.
    SourceRanges,
    /// A destination list of that kind.
    DestinationRanges,
    /// `--track` where there is no stream to follow.
    Track,
    /// A reserved member that is not zero.
    Reserved,
}

impl Invalid {
    /// One line for the kernel log.
    pub fn reason(self) -> &'static str {
        match self {
            Invalid::Protocol => "needs -p tcp or -p udp, not inverted",
            Invalid::UnknownOption => "unknown option bits",
            Invalid::Invert => "inverts an option that is not set or has no inverse",
            Invalid::Frames => "bad --frames value",
            Invalid::Dir => "bad --dir value",
            Invalid::Status => "bad --status set",
            Invalid::Functions => "bad --fc set",
            Invalid::SourceRanges => "bad --saddr ranges",
            Invalid::DestinationRanges => "bad --daddr ranges",
            Invalid::Track => "--track needs -p tcp",
            Invalid::Reserved => "reserved octets are not zero",
        }
    }
}

/// IP protocol numbers that a rule may name.
pub mod protocol {
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
}

/// Which reading of the frame test is asked for: design, "the quantifier".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Surely satisfied: under-approximates.
    Only,
    /// Possibly satisfied: over-approximates.
    Any,
}

impl Rule {
    /// Whether the rule is in the form that the header describes, in a rule of iptables that
    /// names `protocol` (0 for none), `inverted` or not.
    pub fn check(&self, protocol: u8, inverted: bool) -> Result<(), Invalid> {
        use Invalid::{
            Dir, Frames, Functions, Invert, Protocol, Reserved, Status, Track, UnknownOption,
        };
        let given = |bit: u16| self.set & bit != 0;
        let require = |holds: bool, invalid: Invalid| if holds { Ok(()) } else { Err(invalid) };

        require(
            !inverted && (protocol == protocol::TCP || protocol == protocol::UDP),
            Protocol,
        )?;
        require(self.set & !option::KNOWN == 0, UnknownOption)?;
        require(self.invert & !(self.set & option::INVERTIBLE) == 0, Invert)?;
        require(!self.tracks() || protocol == protocol::TCP, Track)?;
        require(
            match self.frames {
                frames::ONLY => true,
                frames::ANY => given(option::FRAMES),
                _ => false,
            },
            Frames,
        )?;
        require(
            match self.dir {
                dir::UNSET => !given(option::DIR),
                dir::MASTER | dir::OUTSTATION => given(option::DIR),
                _ => false,
            },
            Dir,
        )?;
        let named = if self.tracks() {
            status::ALL
        } else {
            status::STATELESS
        };
        require(
            self.status & !named == 0 && (self.status != 0) == given(option::STATUS),
            Status,
        )?;
        let functions = self.classes != 0 || self.fc.iter().any(|word| *word != 0);
        require(
            self.classes & !(class::LINK | class::CONT) == 0 && functions == given(option::FC),
            Functions,
        )?;
        require(
            well_formed(&self.saddr, self.saddr_count, given(option::SADDR)),
            Invalid::SourceRanges,
        )?;
        require(
            well_formed(&self.daddr, self.daddr_count, given(option::DADDR)),
            Invalid::DestinationRanges,
        )?;
        require(self.reserved.iter().all(|octet| *octet == 0), Reserved)
    }

    /// Whether the rule asks anything of the frames; else only of the packet's status.
    pub fn has_frame_test(&self) -> bool {
        self.set & option::FRAME_TEST != 0 || self.set & option::STATUS == 0
    }

    /// Whether the rule has its connections followed.
    pub fn tracks(&self) -> bool {
        self.set & option::TRACK != 0
    }

    /// The reading that the rule's frame test has.
    pub fn reading(&self) -> Reading {
        if self.frames == frames::ANY {
            Reading::Any
        } else {
            Reading::Only
        }
    }

    /// The packet statuses that the rule allows, the inversion applied: bits of [`status`].
    ///
    /// A rule without `--track` meets [`status::AHEAD`] too, on a connection that other rules have
    /// followed; on any other no packet has it.
    pub fn statuses(&self) -> u8 {
        match (
            self.set & option::STATUS != 0,
            self.invert & option::STATUS != 0,
        ) {
            (false, _) => status::ALL,
            (true, false) => self.status,
            (true, true) => !self.status & status::ALL,
        }
    }

    /// P: whether what is seen of a frame satisfies the rule's address, function and direction
    /// options. What is not seen satisfies every option, inverted or not.
    pub fn admits(&self, seen: &Seen, reading: Reading) -> bool {
        self.admits_source(seen)
            && self.admits_destination(seen, reading)
            && self.admits_class(seen)
            && self.admits_direction(seen)
    }

    fn admits_source(&self, seen: &Seen) -> bool {
        match seen.source {
            Some(source) if self.set & option::SADDR != 0 => {
                holds(&self.saddr, self.saddr_count, source) != self.inverts(option::SADDR)
            }
            _ => true,
        }
    }

    fn admits_destination(&self, seen: &Seen, reading: Reading) -> bool {
        match seen.destination {
            Some(destination) if self.set & option::DADDR != 0 => {
                let listed = holds(&self.daddr, self.daddr_count, destination);
                if destination >= FIRST_SHARED_ADDRESS && !listed {
                    // It reaches stations that the rule does not name: neither surely inside the
                    // list nor surely outside.
                    reading == Reading::Any
                } else {
                    listed != self.inverts(option::DADDR)
                }
            }
            _ => true,
        }
    }

    fn admits_class(&self, seen: &Seen) -> bool {
        match seen.class {
            Some(class) if self.set & option::FC != 0 => {
                let listed = match class {
                    Class::Function(code) => {
                        let word = self.fc.get(usize::from(code >> 5)).copied().unwrap_or(0);
                        word >> (code & 31) & 1 != 0
                    }
                    Class::Continuation => self.classes & class::CONT != 0,
                    Class::Link => self.classes & class::LINK != 0,
                };
                listed != self.inverts(option::FC)
            }
            _ => true,
        }
    }

    fn admits_direction(&self, seen: &Seen) -> bool {
        match seen.control {
            Some(control) if self.set & option::DIR != 0 => {
                (control.from_master() == (self.dir == dir::MASTER)) != self.inverts(option::DIR)
            }
            _ => true,
        }
    }

    fn inverts(&self, bit: u16) -> bool {
        self.invert & bit != 0
    }
}

/// The first `count` of the ranges.
fn used(ranges: &[Range; MAX_RANGES], count: u8) -> &[Range] {
    ranges.get(..usize::from(count)).unwrap_or(ranges)
}

fn holds(ranges: &[Range; MAX_RANGES], count: u8, address: u16) -> bool {
    used(ranges, count)
        .iter()
        .any(|range| range.min <= address && address <= range.max)
}

/// Whether a list is there if and only if its option is, ascends with a gap between one range and
/// the next, and is zero behind its end.
fn well_formed(ranges: &[Range; MAX_RANGES], count: u8, given: bool) -> bool {
    let count = usize::from(count);
    let Some((used, unused)) = ranges.split_at_checked(count) else {
        return false;
    };
    let mut below: Option<u16> = None;
    let ascends = used.iter().all(|range| {
        let apart = below.is_none_or(|max| range.min > max.saturating_add(1));
        below = Some(range.max);
        range.min <= range.max && apart
    });
    (count != 0) == given && ascends && unused.iter().all(|range| *range == Range::default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::Control;
    use core::mem::{offset_of, size_of};

    const ONE: Range = Range { min: 1, max: 1 };

    fn one() -> [Range; MAX_RANGES] {
        let mut ranges = [Range::default(); MAX_RANGES];
        ranges[0] = ONE;
        ranges
    }

    fn with(change: impl FnOnce(&mut Rule)) -> Rule {
        let mut rule = Rule::default();
        change(&mut rule);
        rule
    }

    #[test]
    fn layout_leaves_no_padding() {
        assert_eq!(size_of::<Rule>(), 112);
        assert_eq!(offset_of!(Rule, saddr), 16);
        assert_eq!(offset_of!(Rule, daddr), 48);
        assert_eq!(offset_of!(Rule, fc), 80);
    }

    #[test]
    fn the_form_is_checked_again() {
        let tcp = |change: fn(&mut Rule)| with(change).check(protocol::TCP, false);
        assert_eq!(tcp(|_| ()), Ok(()));
        assert_eq!(Rule::default().check(protocol::UDP, false), Ok(()));
        for (protocol, inverted) in [(0, false), (6, true), (17, true), (132, false), (1, false)] {
            assert_eq!(
                Rule::default().check(protocol, inverted),
                Err(Invalid::Protocol)
            );
        }
        assert_eq!(tcp(|r| r.set = 1 << 7), Err(Invalid::UnknownOption));
        assert_eq!(tcp(|r| r.set = option::TRACK), Ok(()));
        assert_eq!(
            with(|r| r.set = option::TRACK).check(protocol::UDP, false),
            Err(Invalid::Track)
        );
        assert_eq!(
            tcp(|r| {
                r.set = option::TRACK;
                r.invert = option::TRACK;
            }),
            Err(Invalid::Invert)
        );
        assert_eq!(tcp(|r| r.invert = option::FC), Err(Invalid::Invert));
        assert_eq!(
            tcp(|r| {
                r.set = option::FRAMES;
                r.invert = option::FRAMES;
            }),
            Err(Invalid::Invert)
        );
        assert_eq!(tcp(|r| r.frames = frames::ANY), Err(Invalid::Frames));
        assert_eq!(
            tcp(|r| {
                r.set = option::FRAMES;
                r.frames = 2;
            }),
            Err(Invalid::Frames)
        );
        assert_eq!(tcp(|r| r.dir = dir::MASTER), Err(Invalid::Dir));
        assert_eq!(tcp(|r| r.set = option::DIR), Err(Invalid::Dir));
        assert_eq!(
            tcp(|r| {
                r.set = option::DIR;
                r.dir = 3;
            }),
            Err(Invalid::Dir)
        );
        assert_eq!(tcp(|r| r.status = status::NONE), Err(Invalid::Status));
        assert_eq!(tcp(|r| r.set = option::STATUS), Err(Invalid::Status));
        assert_eq!(
            tcp(|r| {
                r.set = option::STATUS;
                r.status = status::AHEAD;
            }),
            Err(Invalid::Status)
        );
        for (named, is_right) in [
            (status::AHEAD, true),
            (status::ALL, true),
            (1 << 5, false),
            (0, false),
        ] {
            let rule = Rule {
                set: option::STATUS | option::TRACK,
                status: named,
                ..Rule::default()
            };
            let expected = if is_right {
                Ok(())
            } else {
                Err(Invalid::Status)
            };
            assert_eq!(rule.check(protocol::TCP, false), expected);
        }
        assert_eq!(tcp(|r| r.set = option::FC), Err(Invalid::Functions));
        assert_eq!(tcp(|r| r.fc[7] = 1), Err(Invalid::Functions));
        assert_eq!(tcp(|r| r.classes = class::LINK), Err(Invalid::Functions));
        assert_eq!(
            tcp(|r| {
                r.set = option::FC;
                r.classes = 4;
            }),
            Err(Invalid::Functions)
        );
        assert_eq!(tcp(|r| r.reserved[5] = 1), Err(Invalid::Reserved));
    }

    #[test]
    fn a_rule_meets_ahead_unless_its_statuses_leave_it_out() {
        for track in [0, option::TRACK] {
            let statuses = |set, invert, status| {
                let rule = Rule {
                    set: set | track,
                    invert,
                    status,
                    ..Rule::default()
                };
                assert_eq!(rule.tracks(), track != 0);
                rule.statuses()
            };
            let given = option::STATUS;
            assert_eq!(statuses(0, 0, 0), status::ALL);
            assert_eq!(statuses(given, 0, status::VALID), status::VALID);
            assert_eq!(
                statuses(given, given, status::NONE | status::VALID),
                status::PARTIAL | status::MALFORMED | status::AHEAD
            );
            assert_eq!(
                statuses(given, given, status::AHEAD),
                status::STATELESS,
                "all of them but one"
            );
        }
    }

    #[test]
    fn ranges_ascend_with_gaps() {
        let list = |count: u8, ranges: &[(u16, u16)]| {
            let mut rule = Rule {
                set: option::SADDR | option::DADDR,
                saddr_count: 1,
                saddr: one(),
                daddr_count: count,
                ..Rule::default()
            };
            for (place, (min, max)) in rule.daddr.iter_mut().zip(ranges) {
                *place = Range {
                    min: *min,
                    max: *max,
                };
            }
            rule.check(protocol::TCP, false)
        };
        let bad = Err(Invalid::DestinationRanges);
        assert_eq!(list(1, &[(0, 0xFFFF)]), Ok(()));
        assert_eq!(list(2, &[(0, 0), (2, 3)]), Ok(()));
        assert_eq!(
            list(8, &[0, 2, 4, 6, 8, 10, 12, 14].map(|a| (a, a))),
            Ok(())
        );
        assert_eq!(list(0, &[]), bad);
        assert_eq!(list(9, &[]), bad);
        assert_eq!(list(1, &[(2, 1)]), bad, "reversed");
        assert_eq!(list(2, &[(0, 1), (2, 3)]), bad, "neighbours");
        assert_eq!(list(2, &[(0, 5), (4, 8)]), bad, "overlap");
        assert_eq!(list(2, &[(8, 9), (1, 2)]), bad, "descending");
        assert_eq!(list(2, &[(1, 0xFFFF), (0xFFFF, 0xFFFF)]), bad, "at the end");
        assert_eq!(list(1, &[(1, 1), (3, 3)]), bad, "behind the end");
    }

    #[test]
    fn a_shared_address_is_neither_inside_nor_outside() {
        let mut rule = with(|r| {
            r.set = option::DADDR;
            r.daddr_count = 1;
            r.daddr[0] = ONE;
        });
        let to = |destination| Seen {
            destination: Some(destination),
            ..Seen::default()
        };
        for address in [0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF] {
            for invert in [0, option::DADDR] {
                rule.invert = invert;
                assert!(!rule.admits(&to(address), Reading::Only));
                assert!(rule.admits(&to(address), Reading::Any));
            }
        }
        assert!(
            rule.admits(&to(0xFFFB), Reading::Only),
            "inverted, reserved"
        );
        assert!(!rule.admits(&to(1), Reading::Any), "inverted, listed");
        rule.daddr[0].max = 0xFFFF;
        assert!(!rule.admits(&to(0xFFFF), Reading::Any), "inverted, listed");
        rule.invert = 0;
        assert!(rule.admits(&to(0xFFFF), Reading::Only), "listed");
    }

    #[test]
    fn the_unseen_satisfies_everything() {
        let rule = with(|r| {
            r.set = option::SADDR | option::DADDR | option::FC | option::DIR;
            r.dir = dir::MASTER;
            r.saddr_count = 1;
            r.daddr_count = 1;
            r.fc[0] = 2;
        });
        let inverted = Rule {
            invert: rule.set,
            ..rule
        };
        for rule in [rule, inverted] {
            assert!(rule.admits(&Seen::default(), Reading::Only));
        }
        let seen = Seen {
            control: Some(Control(0x44)),
            ..Seen::default()
        };
        assert!(!rule.admits(&seen, Reading::Any));
        assert!(inverted.admits(&seen, Reading::Any));
    }

    #[test]
    fn an_inverted_function_list_holds_what_has_no_function() {
        let rule = with(|r| {
            r.set = option::FC;
            r.invert = option::FC;
            r.fc[0] = 1 << 13 | 1 << 14;
        });
        let admits = |class| {
            rule.admits(
                &Seen {
                    class: Some(class),
                    ..Seen::default()
                },
                Reading::Only,
            )
        };
        assert!(admits(Class::Link) && admits(Class::Continuation));
        assert!(admits(Class::Function(129)) && admits(Class::Function(255)));
        assert!(!admits(Class::Function(13)) && !admits(Class::Function(14)));
    }
}
