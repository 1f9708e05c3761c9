// SPDX-License-Identifier: GPL-2.0

//! The options of the match: their names, values and bits.

use crate::rule::option;

/// An option of the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opt {
    /// `--frames`
    Frames,
    /// `--saddr`
    Source,
    /// `--daddr`
    Destination,
    /// `--fc`
    Function,
    /// `--status`
    Status,
    /// `--dir`
    Direction,
    /// `--track`
    Track,
}

impl Opt {
    /// All of them, in the order in which they are printed.
    pub const ALL: [Opt; 7] = [
        Opt::Frames,
        Opt::Source,
        Opt::Destination,
        Opt::Function,
        Opt::Status,
        Opt::Direction,
        Opt::Track,
    ];

    /// The name, without dashes.
    pub const fn name(self) -> &'static str {
        match self {
            Opt::Frames => "frames",
            Opt::Source => "saddr",
            Opt::Destination => "daddr",
            Opt::Function => "fc",
            Opt::Status => "status",
            Opt::Direction => "dir",
            Opt::Track => "track",
        }
    }

    /// Another name for the same, without dashes.
    pub const fn alias(self) -> Option<&'static str> {
        match self {
            Opt::Source => Some("source-addr"),
            Opt::Destination => Some("destination-addr"),
            Opt::Function => Some("function-code"),
            _ => None,
        }
    }

    /// What its value is called where it is explained; nothing for an option without one.
    pub const fn value(self) -> Option<&'static str> {
        match self {
            Opt::Frames => Some("only|any"),
            Opt::Source | Opt::Destination => Some("ADDRS"),
            Opt::Function => Some("FUNCTIONS"),
            Opt::Status => Some("STATUSES"),
            Opt::Direction => Some("master|outstation"),
            Opt::Track => None,
        }
    }

    /// The bit in [`Rule::set`](crate::Rule) and [`Rule::invert`](crate::Rule).
    pub const fn bit(self) -> u16 {
        match self {
            Opt::Frames => option::FRAMES,
            Opt::Source => option::SADDR,
            Opt::Destination => option::DADDR,
            Opt::Function => option::FC,
            Opt::Status => option::STATUS,
            Opt::Direction => option::DIR,
            Opt::Track => option::TRACK,
        }
    }

    /// Whether `!` may stand before it.
    pub const fn is_invertible(self) -> bool {
        option::INVERTIBLE & self.bit() != 0
    }

    /// The option that has this name or alias, without dashes.
    pub fn from_name(name: &str) -> Option<Opt> {
        Opt::ALL
            .into_iter()
            .find(|opt| opt.name() == name || opt.alias() == Some(name))
    }

    /// What its value is one of, for errors.
    pub(super) const fn kind(self) -> &'static str {
        match self {
            Opt::Frames => "a reading",
            Opt::Source | Opt::Destination => "an address",
            Opt::Function => "a function code",
            Opt::Status => "a status",
            Opt::Direction => "a direction",
            Opt::Track => "a value",
        }
    }

    /// What a name of its value names.
    pub(super) const fn noun(self) -> &'static str {
        match self {
            Opt::Frames => "reading",
            Opt::Source | Opt::Destination => "address",
            Opt::Function => "function",
            Opt::Status => "status",
            Opt::Direction => "direction",
            Opt::Track => "value",
        }
    }

    /// What it takes, for errors.
    pub(super) const fn allowed(self) -> &'static str {
        match self {
            Opt::Frames => "only or any",
            Opt::Source | Opt::Destination => "0..65535, a range as 10:20, self or broadcast",
            Opt::Function => "0..255, a name, a group, link or cont",
            Opt::Status => "none, valid, partial, malformed or ahead",
            Opt::Direction => "master or outstation",
            Opt::Track => "no value",
        }
    }
}
