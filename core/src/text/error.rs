// SPDX-License-Identifier: GPL-2.0

//! What can be wrong with a rule, each said in one line: which option, which value, what is
//! allowed. An error holds the value itself, so that nothing is allocated.

use core::fmt::{self, Display, Formatter, Write};

use super::options::Opt;
use crate::rule::MAX_RANGES;

/// Why options are refused. Its [`Display`] is one line, without the name of the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// Something is wrong with one option.
    Option(Opt, Problem<'a>),
    /// A word is no option of this match; the one that was probably meant.
    UnknownOption(&'a str, Option<Opt>),
    /// `!` with no option behind it.
    DanglingInversion,
    /// The rule does not name TCP or UDP.
    Protocol,
    /// `--track` in a rule of UDP.
    TrackNeedsTcp,
    /// `--status ahead` without `--track`.
    AheadNeedsTrack,
    /// The options are right one by one, but no packet can ever match them all.
    Never(Never),
}

/// What is wrong with one option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// It was given before.
    Twice,
    /// `!` before an option that has no inverse.
    NotInvertible,
    /// `!` at the beginning of the value.
    InversionInValue,
    /// There is no value.
    Missing,
    /// There is a value where none belongs.
    NeedsNone,
    /// The value is empty.
    Empty,
    /// The value is not UTF-8.
    NotText,
    /// Two commas in this list with nothing between them, or one before it.
    EmptyItem(&'a str),
    /// A comma behind this list.
    TrailingComma(&'a str),
    /// This is nothing that the option takes.
    Value(&'a str),
    /// A name that is not known; the one that was probably meant.
    UnknownName(&'a str, Option<&'static str>),
    /// A number with leading zeros.
    LeadingZeros(&'a str),
    /// A range whose first number is the greater.
    Reversed(&'a str),
    /// A range with a name in it.
    RangeOfNames(&'a str),
    /// A range of functions that lacks an end.
    OpenRange(&'a str),
    /// So many ranges are left of this list after merging.
    TooManyRanges(&'a str, usize),
}

/// Why a rule can never match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Never {
    /// The option is inverted and its list is everything.
    Nothing(Opt),
    /// An inverted list of destinations leaves but those that never surely lie outside a list.
    SharedAddresses,
    /// `--frames only` with statuses that lack `valid`, and with `--track` lack `partial` too.
    OnlyWithoutValid {
        /// Whether the rule has `--track`.
        track: bool,
    },
    /// `--frames any` with packets that have no payload.
    AnyWithoutPayload,
    /// UDP with statuses of TCP alone.
    PartialDatagram,
}

impl Display for Error<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Option(option, problem) => problem.describe(option, f),
            Error::UnknownOption(word, meant) => {
                write!(f, "unknown option {}", Quoted(word))?;
                match meant {
                    Some(meant) => write!(f, ": did you mean '--{}'? (", meant.name())?,
                    None => f.write_str(" (")?,
                }
                for (position, option) in Opt::ALL.iter().enumerate() {
                    let comma = if position == 0 { "" } else { ", " };
                    write!(f, "{comma}--{}", option.name())?;
                }
                f.write_char(')')
            }
            Error::DanglingInversion => {
                f.write_str("'!' goes before an option, once: ! --fc FUNCTIONS")
            }
            Error::Protocol => {
                f.write_str("needs -p tcp or -p udp (not inverted) in the same rule")
            }
            Error::TrackNeedsTcp => {
                f.write_str("--track: needs -p tcp in the same rule; UDP has no stream to follow")
            }
            Error::AheadNeedsTrack => {
                f.write_str("--status: 'ahead' needs --track in the same rule")
            }
            Error::Never(never) => write!(f, "the rule can never match: {never}"),
        }
    }
}

impl core::error::Error for Error<'_> {}

impl Problem<'_> {
    fn describe(self, option: Opt, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "--{}: ", option.name())?;
        let allowed = option.allowed();
        let kind = option.kind();
        match self {
            Problem::Twice => {
                f.write_str("given twice")?;
                if let Some(alias) = option.alias() {
                    write!(f, " (--{alias} is the same option)")?;
                }
                f.write_str("; once is allowed")
            }
            Problem::NotInvertible => {
                f.write_str("'!' is not allowed here")?;
                match option.value() {
                    Some(value) => write!(f, " (--{} {value})", option.name()),
                    None => write!(f, " (--{})", option.name()),
                }
            }
            Problem::InversionInValue if option.is_invertible() => write!(
                f,
                "'!' goes before the option: ! --{} {}",
                option.name(),
                option.value().unwrap_or_default()
            ),
            Problem::InversionInValue => write!(f, "'!' is not allowed here ({allowed})"),
            Problem::Missing => write!(f, "needs a value ({allowed})"),
            Problem::NeedsNone => f.write_str("takes no value"),
            Problem::Empty => write!(f, "the value is empty ({allowed})"),
            Problem::NotText => write!(f, "the value is not text in UTF-8 ({allowed})"),
            Problem::EmptyItem(list) => write!(f, "empty item in {} ({allowed})", Quoted(list)),
            Problem::TrailingComma(list) => {
                write!(f, "{} ends with a comma ({allowed})", Quoted(list))
            }
            Problem::Value(word) => write!(f, "{} is not {kind} ({allowed})", Quoted(word)),
            Problem::UnknownName(word, nearest) => {
                write!(f, "unknown {} {}", option.noun(), Quoted(word))?;
                match nearest {
                    Some(name) => write!(f, ": did you mean '{name}'? ({allowed})"),
                    None => write!(f, " ({allowed})"),
                }
            }
            Problem::LeadingZeros(word) => {
                let (prefix, digits) = match word.strip_prefix("0x") {
                    Some(digits) => ("0x", digits),
                    None => ("", word),
                };
                let digits = digits.trim_start_matches('0');
                let digits = if digits.is_empty() { "0" } else { digits };
                write!(
                    f,
                    "{} has leading zeros; write {prefix}{}",
                    Quoted(word),
                    Plain(digits)
                )
            }
            Problem::Reversed(range) => {
                let (first, last) = range.split_once(':').unwrap_or((range, range));
                let (first, last) = (Plain(first), Plain(last));
                write!(f, "{} is reversed; write {last}:{first}", Quoted(range))
            }
            Problem::RangeOfNames(range) => write!(
                f,
                "{} is a range with a name in it; ranges are of numbers ({allowed})",
                Quoted(range)
            ),
            Problem::OpenRange(range) => write!(
                f,
                "{} lacks an end; a range of function codes has both, as 0:2",
                Quoted(range)
            ),
            Problem::TooManyRanges(list, count) => write!(
                f,
                "{} has {count} ranges after merging; {MAX_RANGES} are allowed",
                Quoted(list)
            ),
        }
    }
}

impl Display for Never {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Never::Nothing(option) => write!(
                f,
                "! --{} with a list of everything leaves no {}",
                option.name(),
                match option {
                    Opt::Function => "function, link or cont",
                    option => option.noun(),
                }
            ),
            Never::SharedAddresses => f.write_str(
                "! --daddr leaves only self and broadcast, which reach stations inside the list \
                 too, and so satisfy it under --frames any alone",
            ),
            Never::OnlyWithoutValid { track } => write!(
                f,
                "--status allows no valid{} packet, and --frames only (the default), \
                 which --saddr, --daddr, --fc and --dir ask under, matches no other",
                if *track { " or partial" } else { "" }
            ),
            Never::AnyWithoutPayload => f.write_str(
                "--status allows none alone, a packet without payload, \
                 in which --frames any finds no frame",
            ),
            Never::PartialDatagram => {
                f.write_str("a UDP datagram is never partial, and --status allows it no other")
            }
        }
    }
}

/// A piece of what the user wrote: on one line and not too long, whatever it is.
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", Plain(self.0))
    }
}

struct Plain<'a>(&'a str);

/// Characters of a value that an error repeats.
const SHOWN: usize = 48;

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.chars();
        for character in rest.by_ref().take(SHOWN) {
            write!(f, "{}", character.escape_debug())?;
        }
        if rest.next().is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}
