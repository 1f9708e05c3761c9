// SPDX-License-Identifier: GPL-2.0

//! A rule as `iptables -L` lists it and as iptables-save saves it.

use core::fmt::{self, Display, Formatter, Write};

use super::names::{self, Named};
use super::options::Opt;
use super::parse::Functions;
use crate::rule::{Range, Rule};

/// A rule as options, to be parsed into the same rule again: `--saddr 1 ! --fc 13`.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a>(&'a Rule);

/// The rule as options, numbers for names; nothing for a rule without options.
pub fn save(rule: &Rule) -> Saved<'_> {
    Saved(rule)
}

impl Display for Saved<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let style = Style {
            dashes: "--",
            numeric: true,
        };
        style.options(self.0, "", f)
    }
}

/// A rule for a person to read: `dnp3 saddr 1 ! fc cold_restart`.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a> {
    rule: &'a Rule,
    numeric: bool,
}

/// The rule as `iptables -L` lists it, or `iptables -L -n` where it is `numeric`.
pub fn list(rule: &Rule, numeric: bool) -> Listed<'_> {
    Listed { rule, numeric }
}

impl Display for Listed<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("dnp3")?;
        let style = Style {
            dashes: "",
            numeric: self.numeric,
        };
        style.options(self.rule, " ", f)
    }
}

struct Style {
    dashes: &'static str,
    numeric: bool,
}

impl Style {
    /// The options that were given, `before` the first and a space before each of the others.
    fn options(&self, rule: &Rule, before: &str, f: &mut Formatter<'_>) -> fmt::Result {
        let mut before = before;
        for opt in Opt::ALL {
            if rule.set & opt.bit() == 0 {
                continue;
            }
            f.write_str(before)?;
            before = " ";
            if rule.invert & opt.bit() != 0 {
                f.write_str("! ")?;
            }
            write!(f, "{}{}", self.dashes, opt.name())?;
            if opt.value().is_some() {
                f.write_char(' ')?;
                self.value(rule, opt, &mut List::new(f))?;
            }
        }
        Ok(())
    }

    fn value(&self, rule: &Rule, opt: Opt, list: &mut List<'_, '_>) -> fmt::Result {
        match opt {
            Opt::Frames => self.choice(&names::FRAMES, rule.frames, list),
            Opt::Source => self.addresses(&rule.saddr, rule.saddr_count, list),
            Opt::Destination => self.addresses(&rule.daddr, rule.daddr_count, list),
            Opt::Function => self.functions(&Functions::of(rule), list),
            Opt::Status => self.flags(&names::STATUSES, rule.status, list),
            Opt::Direction => self.choice(&names::DIRECTIONS, rule.dir, list),
            Opt::Track => Ok(()),
        }
    }

    fn choice(&self, table: &[Named], value: u8, list: &mut List<'_, '_>) -> fmt::Result {
        match names::name_of(table, value) {
            Some(name) => list.item(format_args!("{name}")),
            None => list.item(format_args!("{value}")),
        }
    }

    fn flags(&self, table: &[Named], set: u8, list: &mut List<'_, '_>) -> fmt::Result {
        table
            .iter()
            .filter(|named| set & named.value != 0)
            .try_for_each(|named| list.item(format_args!("{}", named.name)))
    }

    fn addresses(&self, ranges: &[Range], count: u8, list: &mut List<'_, '_>) -> fmt::Result {
        for range in ranges.iter().take(count.into()) {
            // The named addresses are neighbours: a range is made of nothing else where it begins
            // with the first address of a name and ends with the last of one.
            let inside = |(_, min, max): &&(&str, u16, u16)| range.min <= *min && *max <= range.max;
            let named = || names::ADDRESSES.iter().filter(inside);
            let is_named = named().any(|(_, min, _)| *min == range.min)
                && named().any(|(.., max)| *max == range.max);
            if is_named && !self.numeric {
                named().try_for_each(|(name, ..)| list.item(format_args!("{name}")))?;
            } else {
                list.range(range.min, range.max)?;
            }
        }
        Ok(())
    }

    fn functions(&self, functions: &Functions, list: &mut List<'_, '_>) -> fmt::Result {
        for (min, max) in functions.ranges() {
            if self.numeric {
                list.range(min, max)?;
                continue;
            }
            // Named functions one by one; between them codes without a name, as ranges.
            let name = |code: u16| u8::try_from(code).ok().and_then(names::function);
            let mut unnamed = None;
            for code in min..=max {
                match name(code) {
                    Some(name) => list.item(format_args!("{name}"))?,
                    None if code < max && name(code.saturating_add(1)).is_none() => {
                        unnamed.get_or_insert(code);
                    }
                    None => list.range(unnamed.take().unwrap_or(code), code)?,
                }
            }
        }
        self.flags(&names::CLASSES, functions.classes, list)
    }
}

/// Items with commas between them.
struct List<'a, 'f> {
    f: &'a mut Formatter<'f>,
    comma: bool,
}

impl<'a, 'f> List<'a, 'f> {
    fn new(f: &'a mut Formatter<'f>) -> Self {
        List { f, comma: false }
    }

    fn item(&mut self, item: fmt::Arguments<'_>) -> fmt::Result {
        if self.comma {
            self.f.write_char(',')?;
        }
        self.comma = true;
        self.f.write_fmt(item)
    }

    fn range(&mut self, min: u16, max: u16) -> fmt::Result {
        if min == max {
            self.item(format_args!("{min}"))
        } else {
            self.item(format_args!("{min}:{max}"))
        }
    }
}
