// SPDX-License-Identifier: GPL-2.0

//! How a rule is made of its options.

use super::error::{Error, Never, Problem};
use super::names;
use super::options::Opt;
use super::parse::{self, Functions};
use crate::rule::{frames, protocol, status, Range, Reading, Rule, FIRST_SHARED_ADDRESS};

/// A rule in the making: takes options one by one, and then judges the whole.
///
/// All that it knows is in the [`Rule`], so that it can be put down and taken up again between
/// one option and the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Builder {
    rule: Rule,
}

impl Builder {
    /// A rule without options.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Goes on with what [`rule`](Builder::rule) gave.
    pub fn resume(rule: Rule) -> Builder {
        Builder { rule }
    }

    /// What the options so far make.
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Takes an option, with `!` before it or not, and its value: none for an option that has
    /// none. An option that is refused changes nothing.
    pub fn option<'a>(
        &mut self,
        opt: Opt,
        inverted: bool,
        value: Option<&'a str>,
    ) -> Result<(), Error<'a>> {
        self.take(opt, inverted, value)
            .map_err(|problem| Error::Option(opt, problem))
    }

    fn take<'a>(
        &mut self,
        opt: Opt,
        inverted: bool,
        value: Option<&'a str>,
    ) -> Result<(), Problem<'a>> {
        if self.rule.set & opt.bit() != 0 {
            return Err(Problem::Twice);
        }
        if inverted && !opt.is_invertible() {
            return Err(Problem::NotInvertible);
        }
        let value = match (value, opt.value()) {
            (None, None) => "",
            (Some(_), None) => return Err(Problem::NeedsNone),
            (None, _) => return Err(Problem::Missing),
            (Some(""), _) => return Err(Problem::Empty),
            (Some(value), _) if value.starts_with('!') => return Err(Problem::InversionInValue),
            (Some(value), _) => value,
        };
        let rule = &mut self.rule;
        match opt {
            Opt::Frames => rule.frames = parse::choice(&names::FRAMES, value)?,
            Opt::Source => (rule.saddr, rule.saddr_count) = parse::addresses(value)?,
            Opt::Destination => (rule.daddr, rule.daddr_count) = parse::addresses(value)?,
            Opt::Function => parse::functions(value)?.put(rule),
            Opt::Status => rule.status = parse::statuses(value)?,
            Opt::Direction => rule.dir = parse::choice(&names::DIRECTIONS, value)?,
            Opt::Track => {}
        }
        rule.set |= opt.bit();
        if inverted {
            rule.invert |= opt.bit();
        }
        Ok(())
    }

    /// The whole rule, in a rule of iptables that names `protocol` (0 for none), `inverted` or
    /// not. What it gives passes [`Rule::check`], and some packet can match it.
    pub fn finish(self, protocol: u8, inverted: bool) -> Result<Rule, Error<'static>> {
        let rule = self.rule;
        if inverted || (protocol != protocol::TCP && protocol != protocol::UDP) {
            return Err(Error::Protocol);
        }
        if rule.tracks() && protocol != protocol::TCP {
            return Err(Error::TrackNeedsTcp);
        }
        if rule.status & status::AHEAD != 0 && !rule.tracks() {
            return Err(Error::AheadNeedsTrack);
        }
        match never(&rule, protocol) {
            Some(never) => Err(Error::Never(never)),
            None => Ok(rule),
        }
    }
}

/// Why no packet of this protocol can match the rule.
fn never(rule: &Rule, protocol: u8) -> Option<Never> {
    let inverted = |opt: Opt| rule.invert & opt.bit() != 0;

    const ALL: Range = Range {
        min: 0,
        max: u16::MAX,
    };
    if inverted(Opt::Source) && rule.saddr.contains(&ALL) {
        return Some(Never::Nothing(Opt::Source));
    }
    if inverted(Opt::Destination) {
        if rule.daddr.contains(&ALL) {
            return Some(Never::Nothing(Opt::Destination));
        }
        // Of what such a list leaves, only shared addresses remain, which `only` takes as neither
        // inside the list nor outside.
        let all_stations = |range: &Range| range.min == 0 && range.max >= FIRST_SHARED_ADDRESS - 1;
        if rule.reading() == Reading::Only && rule.daddr.iter().any(all_stations) {
            return Some(Never::SharedAddresses);
        }
    }
    if inverted(Opt::Function) && Functions::of(rule).is_everything() {
        return Some(Never::Nothing(Opt::Function));
    }

    // What a rule without --track meets on a connection that others have followed is no reason to write it.
    let (all, fitting) = if rule.tracks() {
        (status::ALL, status::VALID | status::PARTIAL)
    } else {
        (status::STATELESS, status::VALID)
    };
    let statuses = rule.statuses() & all;
    if statuses == 0 {
        return Some(Never::Nothing(Opt::Status));
    }
    if rule.has_frame_test() {
        if rule.frames == frames::ONLY && statuses & fitting == 0 {
            return Some(Never::OnlyWithoutValid {
                track: rule.tracks(),
            });
        }
        if statuses == status::NONE {
            return Some(Never::AnyWithoutPayload);
        }
    }
    // `none` is no help where frames are asked for.
    let useful = if rule.has_frame_test() {
        statuses & !status::NONE
    } else {
        statuses
    };
    (protocol == protocol::UDP && useful == status::PARTIAL).then_some(Never::PartialDatagram)
}

/// Reads the options of a match as they stand in a rule of iptables that names `protocol`:
/// `--saddr 1 ! --fc 13`.
pub fn parse<'a>(
    words: impl IntoIterator<Item = &'a str>,
    protocol: u8,
) -> Result<Rule, Error<'a>> {
    let mut builder = Builder::new();
    let mut words = words.into_iter();
    let mut inverted = false;
    while let Some(word) = words.next() {
        if word == "!" {
            if inverted {
                return Err(Error::DanglingInversion);
            }
            inverted = true;
            continue;
        }
        // As getopt_long does: --fc 13 and --fc=13.
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let Some(opt) = name.strip_prefix("--").and_then(Opt::from_name) else {
            let all = Opt::ALL.into_iter();
            let all = all
                .flat_map(|opt| [Some(opt.name()), opt.alias()])
                .flatten();
            let meant = names::nearest(name.trim_start_matches('-'), all);
            return Err(Error::UnknownOption(word, meant.and_then(Opt::from_name)));
        };
        let value = match (opt.value(), joined) {
            (Some(_), None) => words.next(),
            (Some(_), joined) => joined,
            (None, Some(_)) => return Err(Error::Option(opt, Problem::NeedsNone)),
            (None, None) => None,
        };
        builder.option(opt, inverted, value)?;
        inverted = false;
    }
    if inverted {
        return Err(Error::DanglingInversion);
    }
    builder.finish(protocol, false)
}
