// SPDX-License-Identifier: GPL-2.0

//! The arguments, from which clap makes the help, the manual pages and the completions as well.

use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use std::path::PathBuf;

const STATUS: &str = "\
Exit status:
  0  all is well
  1  something was found that is not right
  2  the arguments are wrong, or a file cannot be opened
  3  the input is damaged: what could be read was, and what could not is said";

/// See what DNP3 is on the wire, and prove a policy before it is loaded
///
/// It reads captures, puts TCP streams, transport segments and application fragments together, and
/// judges frames as the kernel's dnp3 match does. It does not need that module to run.
#[derive(Debug, Parser)]
#[command(name = "dnp3fw", version, after_help = STATUS, arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the function codes, with their names and groups
    ///
    /// The names are those of IEEE 1815, as `--fc` of the dnp3 match takes them.
    #[command(after_help = FUNCTIONS_EXAMPLES)]
    Functions {
        /// A JSON object a line, for programs
        #[arg(long)]
        json: bool,
    },
    /// Show every frame of captures, from the link layer to the object headers
    ///
    /// Where octets are no valid frame it says why, and goes on at the next header with a right CRC.
    /// A frame stands below the packet in which it ends.
    #[command(after_help = DECODE_EXAMPLES)]
    Decode(Decode),
    /// Learn from captures who talks to whom: a baseline
    ///
    /// Masters, outstations, their IP and link addresses, functions, objects, intervals and volumes. Who
    /// is master is told by the DIR bit of the frames, not by who opens the connection. What is not valid
    /// is not learned; standard error has a line for each kind of it. Captures may be given in any
    /// order: they are read in that of their time, standard input last. Intervals go on from one
    /// to the next where no more time lies between them than between two packets of the first. A median
    /// is that of 1024 intervals at most.
    #[command(after_help = LEARN_EXAMPLES)]
    Learn(Learn),
    /// Write the completions for a shell to standard output
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// The folder
        folder: PathBuf,
    },
}

const FUNCTIONS_EXAMPLES: &str = "\
Examples:
  dnp3fw functions
  dnp3fw functions --json | jq -r 'select(.groups | index(\"restart\")).code'";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  dnp3fw completions bash >/usr/share/bash-completion/completions/dnp3fw";

const DECODE_EXAMPLES: &str = "\
Examples:
  dnp3fw decode station.pcap
  dnp3fw decode --port 20000 --port 20001 monday.pcapng tuesday.pcapng
  tcpdump -i eth0 -U -w - port 20000 | dnp3fw decode -
  dnp3fw decode --json station.pcap | jq 'select(.application.name == \"write\")'
  dnp3fw decode --raw serial.bin
  dnp3fw decode --hex '05 64 08 C4 01 00 00 04 A4 CF C0 C0 0D 9C 86'

Exit status:
  0  all that was read is valid
  1  octets that are no valid frame were found, or objects that contradict the standard
  2  the arguments are wrong, or a file cannot be opened
  3  the input is damaged: what could be read was, and what could not is said";

#[derive(Args, Debug)]
#[group(skip)]
#[command(group(ArgGroup::new("inputs").required(true).multiple(true).args(["files", "raw", "hex"])))]
pub(crate) struct Decode {
    /// Captures, pcap or pcapng; - is standard input
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Octets as they were on a serial line; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) raw: Vec<PathBuf>,
    /// Octets in hexadecimal digits, with or without spaces, colons or 0x between them
    #[arg(long, value_name = "OCTETS", value_parser = hex)]
    pub(crate) hex: Vec<Octets>,
    /// A TCP or UDP port that carries DNP3; can be given several times
    #[arg(long = "port", value_name = "PORT", default_value = "20000")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
    /// A JSON object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

const LEARN_EXAMPLES: &str = "\
Examples:
  dnp3fw learn monday.pcap tuesday.pcap -o baseline.json
  tcpdump -i eth0 -G 86400 -W 1 -w - port 20000 | dnp3fw learn - -o baseline.json
  dnp3fw learn station.pcap | jq -r '.communications[] | .master_ip + \" \" + .outstation_ip'

Exit status:
  0  everything was learned
  1  not everything could be learned: standard error says what was left out; the baseline is written
  2  the arguments are wrong, or a file cannot be opened or written
  3  the input is damaged: what could be read was learned, and what could not is said

Limits:
  32768 pairs of hosts, 32768 pairs of stations, 131072 functions of them all, 262144 objects of these.
  What is beyond is not learned, which is said, and is status 1.";

#[derive(Args, Debug)]
pub(crate) struct Learn {
    /// Captures, pcap or pcapng; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write the baseline; it appears there all at once, when it is complete. - is standard
    /// output
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    pub(crate) output: PathBuf,
    /// A TCP or UDP port that carries DNP3; can be given several times
    #[arg(long = "port", value_name = "PORT", default_value = "20000")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) ports: Vec<u16>,
}

/// Octets of an argument.
#[derive(Clone, Debug)]
pub(crate) struct Octets(pub(crate) Vec<u8>);

fn hex(text: &str) -> Result<Octets, String> {
    let mut octets = Vec::new();
    for word in text.split([' ', '\t', '\n', ':', ',', '-']) {
        let digits = word
            .strip_prefix("0x")
            .or_else(|| word.strip_prefix("0X"))
            .unwrap_or(word);
        let mut left = digits.chars();
        while let Some(high) = left.next() {
            let value = |digit: char| {
                digit
                    .to_digit(16)
                    .ok_or_else(|| format!("{digit:?} is no hexadecimal digit"))
            };
            let high_value = value(high)?;
            let low = left
                .next()
                .ok_or_else(|| format!("{word:?} has an odd number of digits; an octet has two"))?;
            octets.push((high_value << 4 | value(low)?) as u8);
        }
    }
    if octets.is_empty() {
        return Err("at least one octet is wanted".into());
    }
    Ok(Octets(octets))
}
