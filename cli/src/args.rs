// SPDX-License-Identifier: GPL-2.0

//! The arguments, from which clap makes the help, the manual pages and the completions as well.

use clap::{ArgGroup, Args, Parser, Subcommand};
use clap_complete::Shell;
use dnp3fw::learn::{MAX_COMMUNICATIONS, MAX_FUNCTIONS, MAX_LINKS, MAX_OBJECTS};
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
    /// to the next where not much more time lies between them than between two packets of the first; a
    /// message of which each has a part is not learned. A median is that of 1024 intervals at most.
    #[command(after_help = learn_examples())]
    Learn(Learn),
    /// Write the rules that let through what is in a baseline, and nothing else
    ///
    /// It writes files for iptables-restore and ip6tables-restore: default drop, handshake and bare ACKs,
    /// keep-alives, requests and responses between the hosts and stations of the baseline, and a reset for the rest.
    /// What it has written it reads again, and holds it to the baseline, before there is a file.
    #[command(after_help = RULES_EXAMPLES)]
    Rules(Rules),
    /// Say what rules would do to the packets of captures, before anyone loads them
    ///
    /// The rules are a file of iptables-save or ip6tables-save, or of dnp3fw rules. Each packet takes the way
    /// that it takes in the kernel: fragments are put together, conntrack sees it (as in Linux 6.12, with the time
    /// of the capture), the chain FORWARD judges it, and --track follows its connection; what is
    /// dropped changes nothing behind the rules. Listed are the packets that would not be accepted, then
    /// what each rule counts, as iptables -vL does. Rules that cannot be judged are named, and packets
    /// whose fate hangs on one are uncertain. Checksums are taken for right. Captures are read in the order
    /// of their time, and connections go on from one to the next. Capture on one interface: of a
    /// packet that is seen twice each is judged. What follows a packet that is dropped is judged as it was
    /// captured, though with these rules it would have been another story.
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Check),
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

const CHECK_EXAMPLES: &str = "\
Examples:
  iptables-save | dnp3fw check --rules - station.pcap
  dnp3fw check --rules rules.v4 --rules rules.v6 monday.pcapng tuesday.pcapng
  dnp3fw check --rules plant.v4 --chain PLANT --summary station.pcap
  dnp3fw check --rules rules.v4 --interface eth0=10.1.0.0/16 --interface eth1=0.0.0.0/0 a.pcap
  dnp3fw check --json --rules rules.v4 station.pcap | jq 'select(.type == \"packet\")'

What is understood:
  Of the table filter: chains and policies, -A -I -N -P, -s -d -p -i -o -f -j -g, the matches
  tcp, udp, icmp, multiport, conntrack (--ctstate, --ctdir), state, dnp3, comment and limit
  (which may match), and the targets ACCEPT, DROP, REJECT, LOG, NFLOG, RETURN and chains.
  Everything else is named: it could not be judged.
  The tables raw, mangle, nat and security are not judged either. Where one has rules, or the policy
  DROP, in chains that the packets pass before or behind, the status is 1 whatever filter does.

Exit status:
  0  all packets are accepted, and pass no rules but those that were judged
  1  some are not, or it is not certain, or there are none
  2  the arguments or the rules are wrong, or a file cannot be opened
  3  a capture is damaged: what could be read was, and what could not is said";

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Check {
    /// The rules, one file for IPv4 and one for IPv6 at most; - is standard input
    ///
    /// Which of them it is the file tells: by ip6tables in its comments, or by what only IPv6 has.
    #[arg(long, value_name = "FILE", required_unless_present = "rules6")]
    pub(crate) rules: Vec<PathBuf>,
    /// The rules for IPv6, where the file does not tell
    #[arg(long, value_name = "FILE")]
    pub(crate) rules6: Option<PathBuf>,
    /// Captures, pcap or pcapng; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// The chain that the packets come to
    #[arg(long, value_name = "CHAIN", default_value = "FORWARD")]
    pub(crate) chain: String,
    /// An interface and the hosts behind it, for rules with -i and -o; can be given several times
    #[arg(long = "interface", value_name = "NAME=ADDRESS/MASK", value_parser = interface)]
    pub(crate) interfaces: Vec<(String, dnp3fw::ruleset::Net)>,
    /// List accepted packets too
    #[arg(long, conflicts_with_all = ["summary", "quiet"])]
    pub(crate) all: bool,
    /// List no packets, only what the rules count
    #[arg(long)]
    pub(crate) summary: bool,
    /// Write nothing to standard output; the exit status says it
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// A JSON object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

fn interface(text: &str) -> Result<(String, dnp3fw::ruleset::Net), String> {
    let (name, net) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or("as eth0=192.0.2.0/24 one is given")?;
    Ok((name.to_owned(), net.parse()?))
}

const RULES_EXAMPLES: &str = "\
Examples:
  dnp3fw rules --baseline baseline.json --ipv4 rules.v4 --ipv6 rules.v6
  dnp3fw rules --baseline baseline.json | iptables-restore --test
  dnp3fw rules --baseline plant.json --chain PLANT --ipv4 plant.v4
  iptables-restore --noflush plant.v4 && iptables -I FORWARD -j PLANT
  dnp3fw rules --baseline baseline.json --log nflog --nflog-group 20 --ipv4 rules.v4

Why there is no output for nft:
  nftables compares fields at fixed places. It has no expression for DNP3, and none can be loaded.
  iptables-nft calls the match dnp3 through the kernel's nft_compat, and nft can neither write nor
  take back such a rule. So the files are for iptables-restore, of either variant.

Several stations in one connection:
  A segment with frames of several passes where one rule allows all of them. Where their functions
  differ there may be no such rule, and it is refused. One that ends inside the head of the next
  station's frame may be refused too, even where one rule would have allowed both frames.

Exit status:
  0  the rules are written
  2  the arguments or the baseline are wrong, or a file cannot be opened or written";

#[derive(Args, Debug)]
#[group(skip)]
pub(crate) struct Rules {
    /// The baseline, as dnp3fw learn writes it or in the simple form; - is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: PathBuf,
    /// Where the rules for IPv4 go; - is standard output, as for a baseline of one version of IP without these two
    #[arg(long, value_name = "FILE")]
    pub(crate) ipv4: Option<PathBuf>,
    /// Where those for IPv6 go; where the baseline has no IPv6 they let no DNP3 through
    #[arg(long, value_name = "FILE")]
    pub(crate) ipv6: Option<PathBuf>,
    /// The chain: FORWARD on a gateway; INPUT, with OUTPUT, on a host itself; or one of your own, loaded by --noflush
    #[arg(long, value_name = "CHAIN", default_value = "FORWARD", value_parser = dnp3fw::rules::names::entry)]
    pub(crate) chain: dnp3fw::rules::Entry,
    /// Leave FORWARD's policy as it is; without this it is DROP (those of INPUT and OUTPUT are left in any case)
    #[arg(long)]
    pub(crate) keep_policy: bool,
    /// Judge each packet by itself, where connections cannot be followed: behind SYNPROXY or an offload
    #[arg(long)]
    pub(crate) no_track: bool,
    /// What becomes of a refused packet before it is refused
    #[arg(long, value_name = "HOW", default_value = "kernel")]
    pub(crate) log: Log,
    /// How such a line or record begins
    #[arg(long, value_name = "TEXT", default_value = "dnp3 refused ", value_parser = log_prefix)]
    pub(crate) log_prefix: String,
    /// How many of them there may be
    #[arg(long, value_name = "N/UNIT", default_value = "6/min", value_parser = log_limit)]
    pub(crate) log_limit: String,
    /// The group for --log nflog
    #[arg(long, value_name = "GROUP", default_value = "20")]
    pub(crate) nflog_group: u16,
    /// Answer refused datagrams with an ICMP error, which tells scanners what is here; without this they are dropped
    #[arg(long)]
    pub(crate) udp_reject: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Log {
    /// A line in the kernel's log
    Kernel,
    /// All of it to a group of NFLOG, for ulogd2 or tcpdump
    Nflog,
    /// Nothing
    None,
}

/// What LOG takes, and iptables-save prints in one form.
fn log_prefix(text: &str) -> Result<String, String> {
    const LONGEST: usize = 29;
    let allowed = |character: char| matches!(character, ' '..='~') && !"\"\\".contains(character);
    match (1..=LONGEST).contains(&text.len()) && text.chars().all(allowed) {
        true => Ok(text.into()),
        false => Err(format!(
            "1 to {LONGEST} characters of ASCII are allowed, but for \" and \\"
        )),
    }
}

/// What `-m limit` takes, as iptables-save prints it.
fn log_limit(text: &str) -> Result<String, String> {
    let allowed =
        || "a number from 1 to 10000 and second, minute, hour or day: 6/minute".to_string();
    let (number, unit) = text.split_once('/').ok_or_else(allowed)?;
    let unit = ["second", "minute", "hour", "day"]
        .into_iter()
        .find(|name| !unit.is_empty() && name.starts_with(&unit.to_ascii_lowercase()));
    let digits = number.chars().all(|digit| digit.is_ascii_digit()) && !number.starts_with('0');
    match (number.parse::<u32>(), unit) {
        (Ok(number @ 1..=10_000), Some(unit)) if digits => {
            let short = match unit {
                "second" => "sec",
                "minute" => "min",
                whole => whole,
            };
            Ok(format!("{number}/{short}"))
        }
        _ => Err(allowed()),
    }
}

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
  3  the input is damaged: what could be read was learned, and what could not is said";

/// The examples, and what there is room for.
fn learn_examples() -> String {
    format!(
        "{LEARN_EXAMPLES}\n\nLimits:\n  {MAX_COMMUNICATIONS} pairs of hosts, {MAX_LINKS} pairs of stations, \
         {MAX_FUNCTIONS} functions of them all, {MAX_OBJECTS} objects of these.\n  What is beyond is not \
         learned, which is said, and is status 1."
    )
}

#[derive(Args, Debug)]
pub(crate) struct Learn {
    /// Captures, pcap or pcapng; - is standard input
    #[arg(value_name = "FILE", required = true)]
    pub(crate) files: Vec<PathBuf>,
    /// Where to write the baseline; it appears there all at once, when it is complete. - is standard
    /// output. Where nothing was learned, a FILE that is there stays as it was
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
