// SPDX-License-Identifier: GPL-2.0

//! What `iptables -m dnp3 --help` prints: the options, and every name there is.

use core::fmt::{self, Display, Formatter, Write};

use super::names::{self, Named};
use super::options::Opt;

/// The text of `iptables -m dnp3 --help`.
#[derive(Clone, Copy, Debug)]
pub struct Help(());

/// The help, several lines, each with its end.
pub fn help() -> Help {
    Help(())
}

impl Display for Help {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("dnp3 match options, behind -p tcp or -p udp:\n")?;
        for opt in Opt::ALL {
            option(opt, f)?;
        }
        f.write_str(
            "Names are read in any case, with - for _. Numbers are decimal, or 0x and hexadecimal.\n\
             ADDRS: up to 8 addresses or ranges, 0..65535 or 0x0..0xffff:\n\
             \x20 1  10:20  :9  65520:  1,5,10:20",
        )?;
        for (name, min, max) in names::ADDRESSES {
            write!(f, "  {name} ({min}")?;
            if min != max {
                write!(f, ":{max}")?;
            }
            f.write_char(')')?;
        }
        f.write_str("\nFUNCTIONS: codes 0..255, ranges as 0:2, and names, in any list:\n")?;
        for line in names::FUNCTIONS.chunks(3) {
            let mut gap = 0;
            for Named { value, name } in line {
                write!(f, "{:gap$} {value:>4} {name}", "")?;
                gap = COLUMN.saturating_sub(name.len());
            }
            f.write_char('\n')?;
        }
        f.write_str("     link (a frame without user data), cont (a continuation segment)\n")?;
        f.write_str("groups of FUNCTIONS:\n")?;
        for group in names::GROUPS {
            self::group(&group, f)?;
        }
        Ok(())
    }
}

fn option(opt: Opt, f: &mut Formatter<'_>) -> fmt::Result {
    let meaning = match opt {
        Opt::Frames => {
            "only: surely every frame satisfies the rule (the default; to accept)\n\
             any: some frame may satisfy it (to drop; with --status valid, to log)"
        }
        Opt::Source => "link source address",
        Opt::Destination => "link destination address",
        Opt::Function => "application function code, or the kind of a frame that has none",
        Opt::Status => {
            "none: no payload; valid: whole frames, nothing else;\n\
             partial: ends inside a frame (TCP); malformed: everything else;\n\
             ahead: behind a hole in the stream (with --track)"
        }
        Opt::Direction => "who sent the frame, by its DIR bit",
        Opt::Track => {
            "follow the connection, and judge what a packet adds to its stream (TCP,\n\
             with conntrack): frames may be cut across packets"
        }
    };
    let not = if opt.is_invertible() { "[!]" } else { "   " };
    write!(f, "{not} --{}", opt.name())?;
    if let Some(alias) = opt.alias() {
        write!(f, ", --{alias}")?;
    }
    match opt {
        Opt::Status => f.write_str(" none|valid|partial|malformed|ahead[,...]")?,
        opt => {
            if let Some(value) = opt.value() {
                write!(f, " {value}")?;
            }
        }
    }
    f.write_char('\n')?;
    meaning
        .lines()
        .try_for_each(|line| writeln!(f, "        {line}"))
}

/// The width of a column of names.
const COLUMN: usize = 21;

/// Groups of more functions than this are shown by their first and last.
const SHOWN: usize = 8;

fn group(group: &names::Group, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, "     {:<12}", group.name)?;
    let mut comma = "";
    for (min, max) in group.ranges {
        write!(f, "{comma}{min}")?;
        if min != max {
            write!(f, ":{max}")?;
        }
        comma = ",";
    }
    let members = || {
        group
            .ranges
            .iter()
            .flat_map(|(min, max)| *min..=*max)
            .filter_map(names::function)
    };
    let mut before = "  ";
    if members().count() > SHOWN {
        let ends = members().next().into_iter().chain(members().next_back());
        for name in ends {
            write!(f, "{before}{name}")?;
            before = " to ";
        }
    } else {
        for name in members() {
            write!(f, "{before}{name}")?;
            before = ",";
        }
    }
    f.write_char('\n')
}
