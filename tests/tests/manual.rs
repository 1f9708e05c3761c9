// SPDX-License-Identifier: GPL-2.0

//! The README and the manual pages: that they are well formed, that they say what the tables in
//! `core` say, and that every example in them works as it stands.
//!
//! An example is a code block: in the README ``` or four spaces of indentation, in a manual page
//! what stands between `.EX` and `.EE`. Nothing is picked out: a line that the test does not know
//! how to run fails it.
//!
//! - A block of `iptables` commands is a script, run by both variants of iptables in the VM. Each
//!   of its dnp3 rules must be found in what is saved, and [`EFFECTS`] says which packets each
//!   takes: a rule with no such line fails the test as well.
//! - A block with the prompt `gw# ` is commands and what they print.
//! - Commands that build and install are run or accounted for one by one: [`accounts`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dnp3_core::rule::{protocol, MAX_RANGES};
use dnp3_core::text::{self, names, Opt};
use dnp3_tests::frames::{control, frame};
use dnp3_tests::vm;
use etherparse::PacketBuilder;
use serde_json::{json, Value};

const README: &str = "README.md";
const MATCH: &str = "xtables-ext/libxt_dnp3.8";
const POLICY: &str = "xtables-ext/xt_dnp3.7";
/// A page of its own, whose examples are tested with what it describes.
const PAGES: [&str; 2] = [MATCH, POLICY];
/// The prompt of a console.
const PROMPT: &str = "gw# ";

fn read(file: &str) -> String {
    fs::read_to_string(vm::project().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

// The documents' blocks.

/// A code block of a document.
#[derive(Clone, Debug)]
struct Block {
    /// The document, the last heading above it, and the line where it begins.
    place: String,
    /// That heading.
    section: String,
    /// As a reader sees them, continued lines joined.
    lines: Vec<String>,
}

/// Lines that end with a backslash, joined with the ones behind them.
fn joined(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut whole: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let (text, more) = match line.strip_suffix('\\') {
            Some(text) => (text.trim_end(), true),
            None => (line.trim_end(), false),
        };
        match whole.last_mut().filter(|_| goes_on) {
            Some(last) => *last = format!("{last} {}", text.trim_start()),
            None => whole.push(text.to_string()),
        }
        goes_on = more;
    }
    whole.retain(|line| !line.is_empty());
    whole
}

fn readme_blocks(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, bool, Vec<String>)> = None;
    let mut section = String::new();
    let mut close = |open: &mut Option<(usize, bool, Vec<String>)>, section: &str| {
        if let Some((number, _, lines)) = open.take() {
            blocks.push(Block {
                place: format!("{file}: {section}, line {number}"),
                section: section.to_string(),
                lines: joined(lines),
            });
        }
    };
    for (number, line) in (1..).zip(text.lines()) {
        match &mut open {
            Some((_, true, lines)) if line != "```" => lines.push(line.to_string()),
            Some((_, true, _)) => close(&mut open, &section),
            Some((_, false, lines)) if line.starts_with("    ") => {
                lines.push(line[4..].to_string())
            }
            Some((_, false, lines)) if line.is_empty() => lines.push(String::new()),
            _ => {
                close(&mut open, &section);
                if line.starts_with("```") {
                    open = Some((number, true, Vec::new()));
                } else if let Some(code) = line.strip_prefix("    ") {
                    open = Some((number, false, vec![code.to_string()]));
                } else if let Some(heading) = line.strip_prefix('#') {
                    section = heading.trim_start_matches('#').trim().to_string();
                }
            }
        }
    }
    assert!(
        open.as_ref().is_none_or(|(_, fenced, _)| !fenced),
        "{file}: a code block without an end"
    );
    close(&mut open, &section);
    blocks
}

/// What a reader sees of a line of troff. Escapes that examples do not need are not known.
fn seen(line: &str) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, escape)) = rest.split_once('\\') {
        text.push_str(before);
        let known = [("-", "-"), ("e", "\\"), ("(dq", "\""), ("&", "")];
        let found = known
            .iter()
            .find_map(|(name, is)| escape.strip_prefix(name).map(|rest| (is, rest)));
        let Some((is, behind)) = found else {
            return Err(format!("no escape that this test knows: {line}"));
        };
        text.push_str(is);
        rest = behind;
    }
    text.push_str(rest);
    Ok(text)
}

fn page_blocks(file: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<String>)> = None;
    let mut section = String::new();
    for (number, line) in (1..).zip(text.lines()) {
        let place = || format!("{file}:{number}");
        match (line, &mut open) {
            (".EX", None) => open = Some((number, Vec::new())),
            (".EX", Some(_)) => panic!("{}: .EX inside .EX", place()),
            (".EE", None) => panic!("{}: .EE without .EX", place()),
            (".EE", Some(_)) => {
                let (number, lines) = open.take().expect("it is there");
                blocks.push(Block {
                    place: format!("{file}: {section}, line {number}"),
                    section: section.clone(),
                    lines: joined(lines),
                });
            }
            (line, Some((_, lines))) => {
                lines.push(seen(line).unwrap_or_else(|error| panic!("{}: {error}", place())));
            }
            (line, None) => {
                if let Some(heading) = line.strip_prefix(".SH ") {
                    section = heading.to_string();
                }
            }
        }
    }
    assert!(open.is_none(), "{file}: .EX without .EE");
    blocks
}

// What is run in the VM.

/// The words that the commands of a gateway begin with.
const ON_THE_GATEWAY: [&str; 4] = ["iptables", "ip6tables", "sysctl", "#"];

fn is_of_the_gateway(line: &str) -> bool {
    let first = line.split(' ').next().unwrap_or_default();
    ON_THE_GATEWAY.contains(&first) || is_assignment(first)
}

/// `NAME=value`
fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_uppercase())
}

/// An example, to be run in the VM.
#[derive(Clone, Debug)]
struct Example {
    name: String,
    before: String,
    body: Body,
    /// Whether packets are sent through its rules.
    effects: bool,
}

#[derive(Clone, Debug)]
enum Body {
    Script(Vec<String>),
    /// Commands, and the lines that each must print.
    Console(Vec<(String, Vec<String>)>),
}

/// A console's commands and what they print; a script's lines otherwise.
fn body(block: &Block) -> Result<Body, String> {
    let place = &block.place;
    if block.lines.iter().any(|line| line.starts_with(PROMPT)) {
        let mut commands: Vec<(String, Vec<String>)> = Vec::new();
        for line in &block.lines {
            match (line.strip_prefix(PROMPT), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_string(), Vec::new())),
                (None, Some((_, printed))) => printed.push(line.clone()),
                (None, None) => return Err(format!("{place}: output before a command: {line}")),
            }
        }
        return Ok(Body::Console(commands));
    }
    match block.lines.iter().find(|line| !is_of_the_gateway(line)) {
        Some(line) => Err(format!("{place}: no way to run this: {line}")),
        None => Ok(Body::Script(block.lines.clone())),
    }
}

fn is_policy(block: &Block) -> bool {
    let is_it = |line: &String| line.starts_with("iptables -P FORWARD DROP");
    block.lines.iter().any(is_it)
}

/// Whether it is a script whose effect packets can show.
fn asks_for_packets(block: &Block) -> bool {
    let shows = |line: &String| {
        let words = ["-m dnp3", "ESTABLISHED", "tcp_loose"];
        words.iter().any(|word| line.contains(word))
    };
    !block.lines.iter().any(|line| line.starts_with(PROMPT)) && block.lines.iter().any(shows)
}

/// The examples of all documents.
fn examples() -> Result<Vec<Example>, String> {
    let mut examples = Vec::new();
    let example = |block: &Block, before: &str| {
        let is_of = |file: &str| block.place.starts_with(file);
        Ok::<_, String>(Example {
            name: block.place.clone(),
            before: before.to_string(),
            body: body(block)?,
            // The README's policy has the same rules as the manual page's, by another test.
            effects: asks_for_packets(block) && !(is_policy(block) && is_of(README)),
        })
    };

    for block in readme_blocks(README, &read(README)) {
        if !block.lines.iter().all(|line| is_of_the_gateway(line)) {
            continue; // of the other kinds, which kind() and its tests are for
        }
        examples.push(example(&block, "")?);
    }
    for block in page_blocks(MATCH, &read(MATCH)) {
        examples.push(example(&block, "")?);
    }
    // The policy is told piece by piece, and the other examples stand on it.
    let blocks = page_blocks(POLICY, &read(POLICY));
    let (policy, others): (Vec<_>, Vec<_>) = blocks
        .into_iter()
        .partition(|block| block.section == "THE POLICY");
    let policy = Block {
        place: THE_POLICY.to_string(),
        section: String::new(),
        lines: policy.into_iter().flat_map(|block| block.lines).collect(),
    };
    examples.push(example(&policy, "")?);
    for block in &others {
        examples.push(example(block, &policy.lines.join("\n"))?);
    }
    // Somebody who types in all of them, from the first to the last.
    let every = Block {
        place: IN_PAGE_ORDER.to_string(),
        section: String::new(),
        lines: (policy.lines.iter())
            .chain(others.iter().flat_map(|block| &block.lines))
            .cloned()
            .collect(),
    };
    examples.push(example(&every, "")?);
    for (claim, script) in CLAIMS {
        let block = Block {
            place: claim.to_string(),
            section: String::new(),
            lines: vec![script.to_string()],
        };
        let before = if script.contains("ESTABLISHED") {
            policy.lines.join("\n")
        } else {
            String::new()
        };
        examples.push(example(&block, &before)?);
    }
    Ok(examples)
}

/// What xt_dnp3(7) says of rules that should not be written like this.
const CLAIMS: [(&str, &str); 3] = [
    (
        "claim: ESTABLISHED in front makes the dnp3 rules blind",
        "iptables -I FORWARD 1 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT",
    ),
    (
        "claim: a restart is not dropped without any",
        "iptables -A FORWARD -p tcp --dport 20000 -m dnp3 --fc restart -j DROP",
    ),
    (
        "claim: what is not for a station lets no broadcast through",
        "iptables -A FORWARD -p tcp --dport 20000 -m dnp3 ! --daddr 10 -j ACCEPT",
    ),
];

const THE_POLICY: &str = "xtables-ext/xt_dnp3.7: THE POLICY";
const IN_PAGE_ORDER: &str = "xtables-ext/xt_dnp3.7: all in page order";

/// The dnp3 rules of a script, as iptables-save must show them: chain, and the match.
fn saved_matches(line: &str) -> Result<Option<(String, String)>, String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let Some(at) = words.iter().position(|word| *word == "dnp3") else {
        return Ok(None);
    };
    let behind = |word: &str| {
        let at = words.iter().position(|other| *other == word)?;
        words.get(at + 1).copied()
    };
    let protocol = match behind("-p") {
        Some("tcp") => protocol::TCP,
        Some("udp") => protocol::UDP,
        other => return Err(format!("-p {other:?}: {line}")),
    };
    // Up to the next match or the target.
    let options: Vec<_> = words[at + 1..]
        .iter()
        .take_while(|word| !["-m", "-j", "-p", "-s", "-d"].contains(word))
        .copied()
        .collect();
    let rule = text::parse(options, protocol).map_err(|error| format!("{error}: {line}"))?;
    let chain = behind("-A").or(behind("-I")).unwrap_or_default();
    let saved = text::save(&rule).to_string();
    Ok(Some((
        format!("-A {chain} "),
        format!("-m dnp3 {saved}").trim_end().to_string(),
    )))
}

// Packets, and what becomes of them.

const MASTER: [u8; 4] = [192, 0, 2, 10];
const STRANGER: [u8; 4] = [192, 0, 2, 66];
const RTU: [u8; 4] = [198, 51, 100, 20];
const MASTER_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10];
const RTU_V6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20];
const PORT: u16 = 20000;
/// The first sequence numbers of both ends.
const ISN: [u32; 2] = [1000, 7000];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    West,
    East,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Payload of an open connection.
    Tcp,
    /// The first segment of a connection.
    Syn,
    /// Payload of a connection that nobody opened.
    Loose,
    Udp,
    TcpV6,
    /// The same where a READ and its RESPONSE have passed, so that conntrack has seen both ways.
    TcpLater,
    UdpLater,
}

/// A packet that is sent through an example's rules, in a connection of its own.
struct Shot {
    name: &'static str,
    kind: Kind,
    from: Side,
    west: [u8; 4],
    /// How far its sequence number is behind the next one: 1 in a keep-alive probe, less than 0 behind a hole.
    behind: i32,
    payload: Vec<u8>,
}

fn request(to: u16, user_data: &[u8]) -> Vec<u8> {
    frame(control::MASTER_DATA, to, 1, user_data)
}

fn answer(user_data: &[u8]) -> Vec<u8> {
    frame(control::OUTSTATION_DATA, 1, 10, user_data)
}

fn read_request() -> Vec<u8> {
    request(10, &[0xC0, 0xC0, 1, 60, 2, 6])
}

/// The first frame of it: more are to come.
fn read_response() -> Vec<u8> {
    answer(&[0x40, 0xC0, 129, 0, 0])
}

/// How many octets back.
fn all_of(octets: &[u8]) -> i32 {
    i32::try_from(octets.len()).expect("a short frame")
}

fn shots() -> Vec<Shot> {
    use Kind::{Loose, Syn, Tcp, TcpLater, TcpV6, Udp, UdpLater};
    use Side::{East, West};
    let read = read_request();
    let write = request(10, &[0xC0, 0xC0, 2, 80, 1, 0, 7, 7, 0]);
    let restart = request(10, &[0xC0, 0xC0, 13]);
    let response = read_response();
    let mut shots = Vec::new();
    let mut shot = |name, kind, from, west, behind, payload| {
        shots.push(Shot {
            name,
            kind,
            from,
            west,
            behind,
            payload,
        });
    };

    shot("syn", Syn, West, MASTER, 0, vec![]);
    shot("stranger-syn", Syn, West, STRANGER, 0, vec![]);
    shot("midstream", Loose, West, MASTER, 0, read.clone());
    shot("ack", Tcp, West, MASTER, 0, vec![]);
    shot("read", Tcp, West, MASTER, 0, read.clone());
    shot("write", Tcp, West, MASTER, 0, write.clone());
    let confirm = request(10, &[0xC0, 0xC0, 0]);
    shot("confirm", Tcp, West, MASTER, 0, confirm);
    shot("link", Tcp, West, MASTER, 0, frame(0xC9, 10, 1, &[]));
    let operate = request(10, &[0xC0, 0xC0, 4]);
    shot("operate", Tcp, West, MASTER, 0, operate);
    shot("restart", Tcp, West, MASTER, 0, restart.clone());
    let both = [read.clone(), restart.clone()].concat();
    shot("read+restart", Tcp, West, MASTER, 0, both);
    let open_file = request(10, &[0xC0, 0xC0, 25]);
    shot("open_file", Tcp, West, MASTER, 0, open_file);
    let rest = request(10, &[0x80, 0xC0, 1]);
    shot("cont", Tcp, West, MASTER, 0, rest);
    let junk = [&[0][..], &read].concat();
    shot("junk+read", Tcp, West, MASTER, 0, junk);
    let hidden = [&[0][..], &restart].concat();
    shot("junk+restart", Tcp, West, MASTER, 0, hidden);
    // All of its header, and its function code.
    shot("half-read", Tcp, West, MASTER, 0, read[..14].to_vec());
    // Not yet its function code.
    shot("tenth-read", Tcp, West, MASTER, 0, read[..10].to_vec());
    let other_master = frame(control::MASTER_DATA, 10, 2, &[0xC0, 0xC0, 1]);
    shot("read-by-2", Tcp, West, MASTER, 0, other_master);
    let other_station = request(9, &[0xC0, 0xC0, 1]);
    shot("read-of-9", Tcp, West, MASTER, 0, other_station);
    let to_all = request(65535, &[0xC0, 0xC0, 2, 80, 1, 0, 7, 7, 0]);
    shot("write-to-all", Tcp, West, MASTER, 0, to_all.clone());
    let restart_all = request(65535, &[0xC0, 0xC0, 13]);
    shot("restart-all", Tcp, West, MASTER, 0, restart_all.clone());
    shot("stranger", Tcp, West, STRANGER, 0, read.clone());
    shot("probe-00", Tcp, West, MASTER, 1, vec![0]);
    shot("probe-05", Tcp, West, MASTER, 1, vec![5]);
    shot("probe-ff", Tcp, West, MASTER, 1, vec![0xFF]);
    shot("ahead", Tcp, West, MASTER, -8, read.clone());

    shot("ack-back", Tcp, East, MASTER, 0, vec![]);
    shot("response", Tcp, East, MASTER, 0, response.clone());
    let long = answer(&[0x81, 0x55, 0x55]);
    shot("response-cont", Tcp, East, MASTER, 0, long.clone());
    shot("ahead-back", Tcp, East, MASTER, -8, response.clone());
    let unsolicited = answer(&[0xC0, 0xF0, 130, 0, 0]);
    shot("unsolicited", Tcp, East, MASTER, 0, unsolicited);
    shot("link-back", Tcp, East, MASTER, 0, frame(0x0B, 1, 10, &[]));
    let wrong_way = frame(control::MASTER_DATA, 1, 10, &[0xC0, 0xC0, 13]);
    shot("restart-back", Tcp, East, MASTER, 0, wrong_way);

    shot("udp-read", Udp, West, MASTER, 0, read.clone());
    shot("udp-restart", Udp, West, MASTER, 0, restart.clone());
    shot("udp-write-to-all", Udp, West, MASTER, 0, to_all);
    shot("udp-restart-all", Udp, West, MASTER, 0, restart_all);
    shot("udp-half-read", Udp, West, MASTER, 0, read[..14].to_vec());
    shot("udp-stranger", Udp, West, STRANGER, 0, read.clone());
    shot("udp-response", Udp, East, MASTER, 0, response);

    // Behind a READ, and behind a RESPONSE's first frame.
    shot("response-rest", TcpLater, East, MASTER, 0, long);
    shot("again", TcpLater, West, MASTER, all_of(&read), read.clone());
    let other = [&restart[..], &read[restart.len()..]].concat();
    shot("other-again", TcpLater, West, MASTER, all_of(&read), other);
    let last = read[read.len() - 1];
    shot("probe-again", TcpLater, West, MASTER, 1, vec![last]);
    shot("probe-other", TcpLater, West, MASTER, 1, vec![!last]);
    shot("read-later", TcpLater, West, MASTER, 0, read.clone());
    shot("restart-later", TcpLater, West, MASTER, 0, restart.clone());
    shot("udp-read-later", UdpLater, West, MASTER, 0, read.clone());
    let again = restart.clone();
    shot("udp-restart-later", UdpLater, West, MASTER, 0, again);

    shot("v6-read", TcpV6, West, MASTER, 0, read);
    shot("v6-restart", TcpV6, West, MASTER, 0, restart);
    shots
}

impl Shot {
    /// One packet of this connection, and where it comes from.
    fn packet(&self, number: usize, from: Side, flags: &str, seq: u32, payload: &[u8]) -> Value {
        let port = 40000 + u16::try_from(number).expect("a few packets");
        let (ends, ports) = match from {
            Side::West => ([self.west, RTU], [port, PORT]),
            Side::East => ([RTU, self.west], [PORT, port]),
        };
        let ends_v6 = match from {
            Side::West => [MASTER_V6, RTU_V6],
            Side::East => [RTU_V6, MASTER_V6],
        };
        let acknowledged = match from {
            Side::West => ISN[1] + 1,
            Side::East => ISN[0] + 1,
        };
        let ip = match self.kind {
            Kind::TcpV6 => PacketBuilder::ipv6(ends_v6[0], ends_v6[1], 64),
            _ => PacketBuilder::ipv4(ends[0], ends[1], 64),
        };
        let mut octets = Vec::new();
        match self.kind {
            Kind::Udp | Kind::UdpLater => ip.udp(ports[0], ports[1]).write(&mut octets, payload),
            _ => {
                let mut tcp = ip.tcp(ports[0], ports[1], seq, 64000);
                for flag in flags.chars() {
                    tcp = match flag {
                        'S' => tcp.syn(),
                        'A' => tcp.ack(acknowledged),
                        'P' => tcp.psh(),
                        _ => unreachable!("no such flag"),
                    };
                }
                tcp.write(&mut octets, payload)
            }
        }
        .expect("a vector takes everything");
        let side = if from == Side::West { "west" } else { "east" };
        json!([side, vm::hex(&octets)])
    }

    /// Whether an example's rules are about packets like this.
    fn is_for(&self, example: &Example) -> bool {
        let Body::Script(lines) = &example.body else {
            return false;
        };
        let any = |words: &str| lines.iter().any(|line| line.contains(words));
        if example.name == IN_PAGE_ORDER {
            return self.kind != Kind::TcpV6;
        }
        match self.kind {
            Kind::TcpLater => example.name == THE_POLICY,
            Kind::UdpLater => false,
            Kind::Udp => any("-p udp"),
            Kind::TcpV6 => any("ip6tables") && any("-p tcp"),
            _ => !any("-p udp") && !any("ip6tables"),
        }
    }

    fn plan(&self, number: usize) -> Value {
        let mut opening = match self.kind {
            Kind::Tcp | Kind::TcpLater | Kind::TcpV6 => vec![
                self.packet(number, Side::West, "S", ISN[0], &[]),
                self.packet(number, Side::East, "SA", ISN[1], &[]),
                self.packet(number, Side::West, "A", ISN[0] + 1, &[]),
            ],
            Kind::Syn | Kind::Loose | Kind::Udp | Kind::UdpLater => vec![],
        };
        let mut isn = ISN[usize::from(self.from == Side::East)];
        if let Kind::TcpLater | Kind::UdpLater = self.kind {
            let (read, response) = (read_request(), read_response());
            opening.push(self.packet(number, Side::West, "PA", ISN[0] + 1, &read));
            opening.push(self.packet(number, Side::East, "PA", ISN[1] + 1, &response));
            let sent = if self.from == Side::East {
                response
            } else {
                read
            };
            isn += u32::try_from(sent.len()).expect("a short frame");
        }
        let (flags, seq) = match self.kind {
            Kind::Syn => ("S", isn),
            _ if self.payload.is_empty() => ("A", isn + 1),
            _ => ("PA", (isn + 1).wrapping_add_signed(-self.behind)),
        };
        json!({
            "name": self.name,
            "family": if self.kind == Kind::TcpV6 { 6 } else { 4 },
            "opening": opening,
            "packet": self.packet(number, self.from, flags, seq, &self.payload),
        })
    }
}

/// Which packets a rule must count, of those that are sent through the example. The rule is named by
/// a part of its line as it is saved, which must be of one rule in the example.
struct Effect {
    /// How the example's name begins. Of several for a rule, the first holds.
    example: &'static str,
    rule: &'static str,
    packets: &'static str,
}

/// What the policy refuses of what comes from the master's side, apart from what single examples change.
macro_rules! refused {
    ($($more:literal)?) => {
        concat!(
            "stranger-syn operate restart read+restart open_file cont junk+read ",
            "junk+restart read-by-2 read-of-9 restart-all probe-00 probe-05 probe-ff ",
            "restart-later other-again probe-other ",
            $($more)?
        )
    };
}

const fn effect(example: &'static str, rule: &'static str, packets: &'static str) -> Effect {
    Effect {
        example,
        rule,
        packets,
    }
}

#[rustfmt::skip]
const EFFECTS: &[Effect] = &[
    effect(README, "-A FORWARD -p tcp -m tcp --dport 20000 -m dnp3 --saddr 1 --daddr 10:20 --fc 0:2,link -j ACCEPT",
        "confirm read write link ahead stranger midstream"),

    effect(MATCH, "-s 192.0.2.10/32 -p tcp -m tcp --dport 20000 -m dnp3 --saddr 1 --daddr 10:20 --fc 0:1,link -j ACCEPT",
        "confirm read link ahead midstream"),
    effect(MATCH, "-m dnp3 --saddr 10:20 --daddr 1 --fc 129:131,link,cont --dir outstation -j ACCEPT",
        "response response-cont unsolicited link-back ahead-back"),
    effect(MATCH, "--dport 20000 -m dnp3 --status none -j ACCEPT", "syn stranger-syn ack"),
    effect(MATCH, "--sport 20000 -m dnp3 --status none -j ACCEPT", "ack-back"),
    effect(MATCH, "--dport 20000 -m dnp3 --status none --track -j ACCEPT", "syn stranger-syn ack"),
    effect(MATCH, "--saddr 1 --daddr 10:20 --fc 0:1,link --track -j ACCEPT", "confirm read link half-read tenth-read"),
    effect(MATCH, "--dport 20000 -m dnp3 --status ahead --track -j DROP", "ahead"),
    effect(MATCH, "--frames any --fc 13:14 --status valid -m limit", "restart read+restart restart-all"),
    effect(MATCH, "--frames any --fc 3:6 --status valid", "operate"),
    effect(MATCH, "--frames any --fc 13:14,19,25:31 -j REJECT",
        "restart read+restart restart-all open_file junk+restart tenth-read probe-05"),
    effect(MATCH, "--status partial,malformed -j REJECT", "junk+read half-read probe-00 probe-ff"),
    effect(MATCH, "--saddr 1 --daddr 65533:65535 --fc 2 -j ACCEPT", "udp-write-to-all"),
    effect(MATCH, "--frames any --daddr 65532:65535 -j DROP", "udp-restart-all"),
    effect(MATCH, "-s 2001:db8:1::10/128 -p tcp -m tcp --dport 20000 -m dnp3 --saddr 1 --daddr 10:20 --fc 0:1,link", "v6-read"),

    effect("xtables-ext/xt_dnp3.7: ADDRESSES", "--daddr 65533:65535 --fc 2 --track -j ACCEPT", "write-to-all"),
    effect("xtables-ext/xt_dnp3.7: ADDRESSES", "-A DNP3 -p tcp -j REJECT", refused!("midstream stranger")),
    effect("xtables-ext/xt_dnp3.7: CONNECTION TRACKING", "-A DNP3 -m conntrack --ctstate INVALID -j DROP", "midstream stranger"),
    effect("xtables-ext/xt_dnp3.7: CONNECTION TRACKING", "-A DNP3 -p tcp -j REJECT", refused!("write-to-all")),
    // No DNP3 packet comes back from the chains.
    effect("xtables-ext/xt_dnp3.7: WHAT MUST NOT", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", ""),
    effect(IN_PAGE_ORDER, "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", ""),
    effect(IN_PAGE_ORDER, "-A DNP3 -m conntrack --ctstate INVALID -j DROP", "midstream stranger"),
    effect(IN_PAGE_ORDER, "-A DNP3 -s 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 1 --daddr 10:20",
        "confirm read write link half-read tenth-read read-later"),
    effect(IN_PAGE_ORDER, "--daddr 65533:65535 --fc 2 --track -j ACCEPT", "write-to-all"),
    effect(IN_PAGE_ORDER, "-A DNP3 -p tcp -j REJECT", refused!()),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-UDP -s 192.0.2.10/32 -p udp -m dnp3 --saddr 1 --daddr 10:20 --fc 0:2,20:21,23:24,link -j ACCEPT",
        "udp-read udp-read-later"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-UDP-REPLY -d 192.0.2.10/32 -p udp -m dnp3", "udp-response"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-UDP -p udp -j DROP",
        "udp-restart udp-write-to-all udp-restart-all udp-half-read udp-stranger udp-restart-later"),
    effect("xtables-ext/xt_dnp3.7", "--ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT", "syn"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3 -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", "ack again probe-again"),
    effect("xtables-ext/xt_dnp3.7", "--track -m limit --limit 6/min -j LOG", "restart read+restart restart-all restart-later"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP", "ahead"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-REPLY -p tcp -m dnp3 --status ahead --track -j DROP", "ahead-back"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3 -s 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 1 --daddr 10:20",
        "confirm read write link half-read tenth-read read-later"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3 -p tcp -j REJECT", refused!("midstream stranger write-to-all")),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-REPLY -d 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none", "ack-back"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-REPLY -d 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 10:20",
        "response response-rest unsolicited link-back"),
    effect("xtables-ext/xt_dnp3.7", "-A DNP3-REPLY -p tcp -j REJECT", "restart-back response-cont"),

    effect("claim: ESTABLISHED", "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "ack read write confirm link operate restart read+restart open_file cont junk+read junk+restart half-read \
         tenth-read read-by-2 read-of-9 write-to-all restart-all probe-00 probe-05 probe-ff \
         ahead ack-back response response-cont unsolicited link-back restart-back ahead-back"),
    effect("claim: ESTABLISHED", "--ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT", "syn"),
    effect("claim: ESTABLISHED", "-A DNP3 -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN", ""),
    effect("claim: ESTABLISHED", "--track -m limit --limit 6/min -j LOG", ""),
    effect("claim: ESTABLISHED", "-m dnp3 --saddr 1 --daddr 10:20 --fc 0:2,20:21,23:24,link --track -j ACCEPT", ""),
    effect("claim: ESTABLISHED", "-A DNP3 -p tcp -m dnp3 --status ahead", ""),
    effect("claim: ESTABLISHED", "-A DNP3-REPLY -p tcp -m dnp3 --status ahead", ""),
    effect("claim: ESTABLISHED", "-A DNP3-REPLY -d 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --status none", ""),
    effect("claim: ESTABLISHED", "-A DNP3-REPLY -d 192.0.2.10/32 -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 10:20", ""),
    effect("claim: a restart", "--fc 13:14 -j DROP", "restart restart-all"),
    effect("claim: what is not for", "! --daddr 10 -j ACCEPT", "read-of-9"),
];

// The guest.

/// What the guest said of an example.
#[derive(Clone, Debug)]
struct Ran {
    failed: Option<String>,
    output: Vec<Vec<String>>,
    saved: Vec<String>,
    counted: BTreeMap<String, Vec<String>>,
}

struct Guest {
    examples: Vec<Example>,
    /// By variant and the example's name.
    ran: BTreeMap<(String, String), Ran>,
}

const VARIANTS: [&str; 2] = ["legacy", "nft"];

fn lines_of(value: &Value) -> Vec<String> {
    let lines = value.as_array().into_iter().flatten();
    lines
        .filter_map(|line| line.as_str())
        .map(String::from)
        .collect()
}

fn ran(value: &Value) -> Ran {
    let counted = value["counted"].as_object().into_iter().flatten();
    Ran {
        failed: value["failed"].as_str().map(String::from),
        output: value["output"]
            .as_array()
            .into_iter()
            .flatten()
            .map(lines_of)
            .collect(),
        saved: lines_of(&value["saved"]),
        counted: counted
            .map(|(name, rules)| (name.clone(), lines_of(rules)))
            .collect(),
    }
}

/// Boots the VM once for all tests of this file.
fn guest() -> &'static Guest {
    static GUEST: OnceLock<Guest> = OnceLock::new();
    GUEST.get_or_init(|| {
        let examples = examples().unwrap_or_else(|error| panic!("{error}"));
        let shots = shots();
        let packets = |example: &Example| -> Vec<_> {
            let numbered = shots.iter().enumerate();
            let mine = numbered.filter(|(_, shot)| example.effects && shot.is_for(example));
            mine.map(|(number, shot)| shot.plan(number)).collect()
        };
        // What a rule takes does not depend on the variant, as the cases in the VM show: one example
        // sends its packets in this one, the next in the other.
        let mut variants = VARIANTS.into_iter().cycle();
        let list: Vec<_> = examples
            .iter()
            .map(|example| {
                let packets = packets(example);
                let variant = if packets.is_empty() {
                    None
                } else {
                    variants.next()
                };
                let mut plan = json!({
                    "name": example.name,
                    "before": example.before,
                    "packets": packets,
                    "sent_in": variant,
                });
                match &example.body {
                    Body::Script(lines) => plan["script"] = json!(lines.join("\n")),
                    Body::Console(commands) => plan["console"] = json!(commands),
                }
                plan
            })
            .collect();
        let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manual");
        fs::create_dir_all(&plan).expect("a directory in the target directory");
        let text = json!({ "examples": list }).to_string();
        fs::write(plan.join("plan.json"), text).expect("the plan is written");
        // The variants at the same time, each on a CPU of its own.
        let command = VARIANTS.map(|variant| {
            format!("python3 guest/manual.py plan/plan.json {variant} >{variant} 2>&1 & ")
        });
        let command = format!("{}wait; cat {}", command.concat(), VARIANTS.join(" "));
        let said = vm::run(&plan, &command, 2, 600).unwrap_or_else(|error| panic!("{error}"));
        let ran = said
            .lines()
            .filter_map(|line| {
                let (variant, json) = line.split_once(' ')?;
                let value: Value = serde_json::from_str(json).ok()?;
                let name = value["name"].as_str()?.to_string();
                Some(((variant.to_string(), name), ran(&value)))
            })
            .collect::<BTreeMap<_, _>>();
        for variant in VARIANTS {
            for example in &examples {
                let key = (variant.to_string(), example.name.clone());
                assert!(ran.contains_key(&key), "{key:?} was not run:\n{said}");
            }
        }
        Guest { examples, ran }
    })
}

/// Each example as each variant ran it.
fn each_run() -> impl Iterator<Item = (&'static str, &'static Example, &'static Ran)> {
    let guest = guest();
    VARIANTS.into_iter().flat_map(move |variant| {
        guest.examples.iter().map(move |example| {
            let key = (variant.to_string(), example.name.clone());
            (variant, example, &guest.ran[&key])
        })
    })
}

#[test]
fn every_example_works() {
    let mut wrong = Vec::new();
    for (variant, example, ran) in each_run() {
        let at = format!("{}, {variant}", example.name);
        if let Some(failed) = &ran.failed {
            wrong.push(format!("{at}: {failed}"));
        }
        if let Body::Script(lines) = &example.body {
            // Rules are silent, and sysctl repeats what it did.
            let settings = lines
                .iter()
                .filter_map(|line| line.strip_prefix("sysctl -w "));
            let promised: Vec<_> = settings
                .map(|setting| setting.replace('=', " = "))
                .collect();
            let printed = ran.output.concat();
            if printed != promised {
                wrong.push(format!("{at} printed {printed:#?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What iptables itself says before and behind an extension's line, and what it says of other
/// tables.
fn without_frame(line: &str) -> Option<&str> {
    if line.starts_with("Try `ip") || line.starts_with("# Warning: ") {
        return None;
    }
    let line = line.trim();
    match line.split_once("): ") {
        Some((program, message)) if program.starts_with("iptables v") => Some(message),
        _ => Some(line),
    }
}

#[test]
fn what_examples_show_is_what_is_printed() {
    let mut wrong = Vec::new();
    let mut shown = 0;
    for (variant, example, ran) in each_run() {
        let Body::Console(commands) = &example.body else {
            continue;
        };
        for ((command, promised), printed) in commands.iter().zip(&ran.output) {
            if variant == "legacy" && command.ends_with("# iptables-nft only") {
                continue;
            }
            let printed: Vec<_> = printed
                .iter()
                .filter_map(|line| without_frame(line))
                .collect();
            shown += promised.len();
            if printed != *promised {
                wrong.push(format!(
                    "{}, {variant}: {command}\npromised: {promised:#?}\nprinted: {printed:#?}",
                    example.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(shown > 0, "no example shows what is printed");
}

#[test]
fn every_rule_is_saved() {
    let mut wrong = Vec::new();
    let mut rules = 0;
    for (variant, example, ran) in each_run() {
        let Body::Script(lines) = &example.body else {
            continue;
        };
        for line in lines.iter().filter(|line| line.starts_with("ip")) {
            match saved_matches(line) {
                Err(error) => wrong.push(format!("{}: {error}", example.name)),
                Ok(None) => {}
                Ok(Some((chain, matched))) => {
                    rules += 1;
                    let is_it = |saved: &String| {
                        saved.starts_with(&chain)
                            && (saved.contains(&format!("{matched} -"))
                                || saved.ends_with(&matched))
                    };
                    if !ran.saved.iter().any(is_it) {
                        wrong.push(format!(
                            "{}, {variant}: not saved as '{chain}... {matched}': {line}\n{:#?}",
                            example.name, ran.saved
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(rules > 0, "no example has a dnp3 rule");
}

/// The rules of the filter table that look at DNP3.
fn dnp3_rules(saved: &[String]) -> BTreeSet<&str> {
    let rules = saved.iter().map(String::as_str);
    rules.filter(|rule| rule.contains("-m dnp3")).collect()
}

#[test]
fn every_rule_takes_what_it_is_said_to() {
    let names: BTreeSet<_> = shots().iter().map(|shot| shot.name).collect();
    let mut wrong = Vec::new();
    let (mut used, mut tested) = (BTreeSet::new(), BTreeSet::new());
    for (variant, example, ran) in each_run() {
        if ran.counted.is_empty() {
            continue;
        }
        tested.insert(&example.name);
        let sent: BTreeSet<_> = ran.counted.keys().map(String::as_str).collect();
        let at = format!("{}, {variant}", example.name);
        let mut told = BTreeSet::new();
        for (number, effect) in EFFECTS.iter().enumerate() {
            if !example.name.starts_with(effect.example) {
                continue;
            }
            let promised: BTreeSet<_> = effect.packets.split_whitespace().collect();
            assert!(promised.is_subset(&names), "{promised:?}");
            let promised = &promised & &sent;
            let rules: Vec<_> = ran
                .saved
                .iter()
                .filter(|saved| saved.contains(effect.rule))
                .collect();
            let [rule] = rules[..] else {
                if !rules.is_empty() {
                    wrong.push(format!(
                        "{at}: '{}' is not one rule: {rules:#?}",
                        effect.rule
                    ));
                }
                continue;
            };
            used.insert(number);
            if !told.insert(rule.as_str()) {
                continue;
            }
            let counted = ran.counted.iter().filter(|(_, rules)| rules.contains(rule));
            let counted: BTreeSet<_> = counted.map(|(name, _)| name.as_str()).collect();
            if counted != promised {
                let [less, more] = [&promised - &counted, &counted - &promised];
                wrong.push(format!(
                    "{at}: {rule}\nshould count {less:?} and not {more:?}"
                ));
            }
        }
        for rule in &dnp3_rules(&ran.saved) - &told {
            let counted = ran
                .counted
                .iter()
                .filter(|(_, rules)| rules.iter().any(|r| r == rule));
            let counted: Vec<_> = counted.map(|(name, _)| name.as_str()).collect();
            wrong.push(format!(
                "{at}: EFFECTS does not say what this rule takes: {rule}\nit counted {}",
                counted.join(" ")
            ));
        }
    }
    for example in guest().examples.iter().filter(|example| example.effects) {
        if !tested.contains(&example.name) {
            wrong.push(format!("{}: no packet was sent", example.name));
        }
    }
    for (number, effect) in EFFECTS.iter().enumerate() {
        if !used.contains(&number) {
            wrong.push(format!(
                "EFFECTS: {}: no example has the rule '{}'",
                effect.example, effect.rule
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The policy of the README, and the same piece by piece in the manual page.
#[test]
fn both_policies_are_one() {
    for variant in VARIANTS {
        let saved = |begins: &str, what: &str| {
            let mut found = each_run().filter(|(one, example, _)| {
                let Body::Script(lines) = &example.body else {
                    return false;
                };
                *one == variant
                    && example.name.starts_with(begins)
                    && example.name != IN_PAGE_ORDER
                    && lines.iter().any(|line| line == "iptables -P FORWARD DROP")
            });
            match (found.next(), found.next()) {
                (Some((_, _, ran)), None) => ran.saved.clone(),
                _ => panic!("{what} has not one policy"),
            }
        };
        let readme = saved(README, README);
        assert_eq!(readme, saved(POLICY, POLICY), "{variant}");
        assert!(dnp3_rules(&readme).len() > 3, "{readme:#?}");
    }
}

// What the pages say, held to the tables in `core`.

/// What stands between the lines `.TS` and `.TE`, as cells, for each table of a page.
fn tables(page: &str) -> Vec<Vec<Vec<String>>> {
    let mut tables = Vec::new();
    let mut rest = page;
    while let Some((_, behind)) = rest.split_once("\n.TS\n") {
        let (table, behind) = behind.split_once("\n.TE\n").expect(".TE behind .TS");
        // The format ends with a period.
        let (_, rows) = table.split_once(".\n").expect("a table's format");
        let cells = |row: &str| {
            row.split('\t')
                .map(|cell| seen(cell).expect("a cell"))
                .collect()
        };
        tables.push(rows.lines().map(cells).collect());
        rest = behind;
    }
    tables
}

/// Numbers as the rule language writes them.
fn ranges<T: std::fmt::Display + PartialEq>(ranges: impl IntoIterator<Item = (T, T)>) -> String {
    let one = |(min, max): (T, T)| {
        if min == max {
            format!("{min}")
        } else {
            format!("{min}:{max}")
        }
    };
    ranges.into_iter().map(one).collect::<Vec<_>>().join(",")
}

#[test]
fn the_page_has_the_names_of_the_table() {
    let page = read(MATCH);
    let tables = tables(&page);
    let [addresses, functions, groups, quantifier] = &tables[..] else {
        panic!("{MATCH}: {} tables", tables.len());
    };
    let expected: Vec<_> = names::ADDRESSES
        .iter()
        .map(|(name, min, max)| vec![name.to_string(), ranges([(*min, *max)])])
        .collect();
    assert_eq!(*addresses, expected);

    // Two columns, to be read one after the other.
    let column = |at: usize| {
        let cells = functions.iter().filter_map(move |row| row.get(at..at + 2));
        cells.map(|pair| (pair[0].clone(), pair[1].clone()))
    };
    let found: Vec<_> = column(0).chain(column(2)).collect();
    let expected: Vec<_> = names::FUNCTIONS
        .iter()
        .map(|named| (named.value.to_string(), named.name.to_string()))
        .collect();
    assert_eq!(found, expected);

    let expected: Vec<_> = names::GROUPS
        .iter()
        .map(|group| vec![group.name.to_string(), ranges(group.ranges.iter().copied())])
        .collect();
    assert_eq!(*groups, expected);

    let statuses: Vec<_> = names::STATUSES.iter().map(|named| named.name).collect();
    let found: Vec<_> = quantifier[1..].iter().map(|row| row[0].as_str()).collect();
    assert_eq!(found, statuses);
    assert_eq!(tagged(&page, "STATUS"), statuses);
    let classes: Vec<_> = names::CLASSES.iter().map(|named| named.name).collect();
    assert_eq!(tagged(&page, "OPTIONS")[Opt::ALL.len()..], classes);

    let limit = format!("{MAX_RANGES} ranges are allowed.");
    assert!(page.contains(&limit), "{MATCH}: {limit}");
}

/// The module's parameters, as its source declares them and in that order.
#[test]
fn the_page_has_every_parameter() {
    let source = read("kmod/track.c");
    let behind = |line: &str| {
        Some(
            line.strip_prefix("module_param(")?
                .split_once(',')?
                .0
                .into(),
        )
    };
    let parameters: Vec<String> = source.lines().filter_map(behind).collect();
    assert!(!parameters.is_empty(), "no parameter in kmod/track.c");
    assert_eq!(tagged(&read(POLICY), "THE MODULE"), parameters);
}

/// What is counted, as the header has it and in that order.
#[test]
fn the_page_has_every_counter() {
    let header = read("include/linux/netfilter/xt_dnp3.h");
    let counter = |line: &str| {
        let name = line.trim().strip_prefix("XT_DNP3_STATS_")?;
        Some(name.split_once(',')?.0.to_lowercase())
    };
    let counters: Vec<_> = header.lines().filter_map(counter).collect();
    assert_eq!(counters[..2], ["unspec", "pad"], "what is no counter");
    assert_eq!(tagged(&read(POLICY), "COUNTERS"), counters[2..]);
}

/// The terms that a section explains (`.TP`), without their fonts.
fn tagged(page: &str, section: &str) -> Vec<String> {
    let (_, section) = page
        .split_once(&format!("\n.SH {section}\n"))
        .unwrap_or_else(|| panic!("no section {section}"));
    let section = section.split("\n.SH ").next().unwrap_or_default();
    let mut lines = section.lines();
    let mut terms = Vec::new();
    while let Some(line) = lines.next() {
        if line == ".TP" {
            let term = lines.next().expect("a term behind .TP");
            let mut plain = term.strip_prefix(".B ").unwrap_or(term).to_string();
            for font in ["\\fB", "\\fI", "\\fP"] {
                plain = plain.replace(font, "");
            }
            terms.push(seen(&plain).expect("a term"));
        }
    }
    terms
}

#[test]
fn the_page_has_every_option() {
    let page = read(MATCH);
    let expected: Vec<_> = Opt::ALL
        .into_iter()
        .map(|opt| {
            let not = if opt.is_invertible() { "[!] " } else { "" };
            let alias = opt
                .alias()
                .map(|alias| format!(", --{alias}"))
                .unwrap_or_default();
            // What is a list has a name, which the page explains.
            let value = match opt {
                Opt::Source | Opt::Destination => " addresses".into(),
                Opt::Function => " functions".into(),
                Opt::Status => " statuses".into(),
                opt => opt.value().map(|it| format!(" {it}")).unwrap_or_default(),
            };
            format!("{not}--{}{alias}{value}", opt.name())
        })
        .collect();
    assert_eq!(tagged(&page, "OPTIONS")[..expected.len()], expected);

    let synopsis = page
        .split("\n.SH ")
        .find(|section| section.starts_with("SYNOPSIS"));
    let synopsis = synopsis.expect("a synopsis").replace('\\', "");
    for opt in Opt::ALL {
        assert!(synopsis.contains(&format!("--{}", opt.name())), "{opt:?}");
    }
}

#[test]
fn the_readme_s_language_is_the_table_s() {
    let blocks = readme_blocks(README, &read(README));
    let mut found = blocks
        .iter()
        .filter(|block| kind(block) == Ok(Kinds::Language));
    let (Some(block), None) = (found.next(), found.next()) else {
        panic!("{README}: the language is not in one block");
    };
    // A line is an option: its names, and then what it takes.
    let lines = block.lines.iter().map(|line| {
        let line = line.trim().trim_start_matches("-m dnp3 ");
        let words: Vec<_> = line
            .split([' ', ',', '[', ']'])
            .filter(|word| !word.is_empty())
            .collect();
        let not = words.first() == Some(&"!");
        let names = words.iter().filter_map(|word| word.strip_prefix("--"));
        (
            not,
            names.map(String::from).collect::<Vec<_>>(),
            line.to_string(),
        )
    });
    let lines: Vec<_> = lines.collect();
    assert_eq!(lines.len(), Opt::ALL.len());
    for (opt, (not, names, line)) in Opt::ALL.into_iter().zip(lines) {
        assert_eq!(not, opt.is_invertible(), "{line}");
        let expected: Vec<_> = [Some(opt.name()), opt.alias()]
            .into_iter()
            .flatten()
            .collect();
        assert_eq!(names, expected, "{line}");
        if let Opt::Frames | Opt::Direction = opt {
            assert!(line.contains(opt.value().unwrap_or_default()), "{line}");
        }
    }
    let (_, statuses) = block.lines.join("\n").split_once("--status  ").map_or_else(
        || panic!("no --status"),
        |(before, behind)| (before.to_string(), behind.to_string()),
    );
    let names = names::STATUSES.map(|named| named.name).join("|");
    assert!(
        statuses.starts_with(&format!("{names}[,...]")),
        "{statuses}"
    );
}

// Form.

fn checked(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/setup test installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{command:?}: {said}"
    );
    assert!(!output.stdout.is_empty(), "{command:?} printed nothing");
}

/// All manual pages of the project.
fn all_pages() -> Vec<PathBuf> {
    let directories = ["xtables-ext", "xtables-ext/boot"].map(|name| vm::project().join(name));
    let mut pages: Vec<_> = directories
        .iter()
        .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension
                .is_some_and(|extension| extension.len() == 1 && extension.parse::<u8>().is_ok())
        })
        .collect();
    pages.sort();
    assert!(pages.len() >= PAGES.len(), "{pages:?}");
    pages
}

#[test]
fn pages_have_no_warning() {
    for page in all_pages() {
        for width in ["60", "80", "100", "200"] {
            let man = ["--warnings", "-E", "UTF-8", "-l"];
            checked(
                Command::new("man")
                    .args(man)
                    .arg(&page)
                    .env("MANWIDTH", width),
            );
        }
        for device in ["utf8", "ascii", "ps"] {
            let groff = ["-t", "-man", "-ww", "-T", device];
            checked(Command::new("groff").args(groff).arg(&page));
        }
    }
}

#[test]
fn pages_pass_mandoc_s_lint() {
    for file in PAGES {
        let page = vm::project().join(file);
        let output = Command::new("mandoc").arg("-Tlint").arg(&page).output();
        let output = output.expect("mandoc runs; scripts/setup test installs it");
        let said = String::from_utf8_lossy(&output.stdout);
        // Of no interest here: whether this system has the other pages.
        let wrong: Vec<_> = said
            .lines()
            .filter(|line| !line.contains("referenced manual not found"))
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let title = file
            .rsplit('/')
            .next()
            .and_then(|name| name.rsplit_once('.'));
        let (name, section) = title.expect("a page is NAME.SECTION");
        let line = format!("\n.TH {} {section} ", name.to_uppercase());
        assert!(read(file).contains(&line), "{file}: no line {line:?}");
    }
}

/// Pages refer to pages that are there, the README to files.
#[test]
fn references_lead_somewhere() {
    let ours: Vec<_> = all_pages()
        .iter()
        .filter_map(|page| page.file_name()?.to_str().map(String::from))
        .collect();
    for file in PAGES {
        let text = read(file);
        for word in text.split_whitespace().collect::<Vec<_>>().windows(2) {
            let [name, number] = word else { continue };
            let Some(section) = number
                .strip_prefix('(')
                .and_then(|rest| rest.split(')').next())
            else {
                continue;
            };
            if name.contains("dnp3") && section.len() == 1 {
                let page = format!("{}.{section}", name.replace('\\', ""));
                assert!(ours.contains(&page), "{file}: there is no {page}");
            }
        }
    }
    let readme = read(README);
    let headings: Vec<_> = (readme.lines())
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| format!("#{}", heading.to_lowercase().replace(' ', "-")))
        .collect();
    let mut links = 0;
    for link in readme
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
    {
        // A manual page's name in the link's text ends with a parenthesis as well.
        if link.starts_with("https://") {
            continue;
        }
        links += 1;
        let is_there =
            headings.iter().any(|heading| heading == link) || vm::project().join(link).exists();
        assert!(is_there, "{README}: {link} leads nowhere");
    }
    assert!(links > 0, "{README} has no links");
}

// Commands that build and install.

/// What a block of the README holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinds {
    /// Commands of a gateway, run in the VM.
    Gateway,
    /// Options, held to the table.
    Language,
    /// Commands of who builds and installs, each of which is in `ACCOUNTS`.
    Builder,
}

/// Each block is of one kind, and each of a builder's lines is accounted for.
fn kind(block: &Block) -> Result<Kinds, String> {
    if block.lines.iter().all(|line| is_of_the_gateway(line)) {
        return Ok(Kinds::Gateway);
    }
    if block
        .lines
        .first()
        .is_some_and(|line| line.starts_with("-m dnp3 ["))
    {
        return Ok(Kinds::Language);
    }
    builder_lines(block).map(|_| Kinds::Builder)
}

/// A builder's commands, without what is said of them behind two spaces.
fn builder_lines(block: &Block) -> Result<Vec<String>, String> {
    let mut commands: Vec<String> = Vec::new();
    let mut is_explained = false;
    for line in &block.lines {
        if line.starts_with(' ') && is_explained {
            continue;
        }
        let (command, explained) = match line.split_once("  ") {
            Some((command, _)) => (command, true),
            None => (line.as_str(), false),
        };
        is_explained = explained;
        if !ACCOUNTS.iter().any(|(account, _)| *account == command) {
            return Err(format!("{}: nothing runs this: {command}", block.place));
        }
        commands.push(command.to_string());
    }
    Ok(commands)
}

/// What becomes of a builder's command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Account {
    /// It is run by the tests below.
    Here,
    /// A file of the project runs it, or all that it does, by these words.
    By(&'static str, &'static str),
    /// Packages are installed, each of which these files name.
    Packages(&'static [&'static str]),
}

const ACCOUNTS: &[(&str, Account)] = &[
    ("make demo", Account::By("tests/tests/demo.rs", "\"/demo\"")),
    // This is what it runs.
    ("make test", Account::By("scripts/test", "cargo test --workspace")),
    ("make kmod KDIR=/lib/modules/$(uname -r)/build", Account::Here),
    ("make ext", Account::Here),
    ("make cli", Account::By("debian/rules", "$(MAKE) cli ")),
    ("make install", Account::Here),
    ("modprobe xt_dnp3", Account::Here),
    ("iptables -m dnp3 --help", Account::Here),
    ("make deb", Account::By("Makefile", "--test packages_installed")),
    ("apt-get install ./target/deb/*.deb", Account::By("Makefile", "--test packages_installed")),
    // Debian 13 with its backports' kernel is debian-7 of scripts/kernels.
    (
        "apt-get install --no-install-recommends -t trixie-backports linux-headers-amd64 linux-source libelf-dev",
        Account::Packages(&["scripts/kernel", "scripts/within"]),
    ),
    (
        "apt-get install --no-install-recommends make bindgen rustc/trixie rust-src/trixie",
        Account::Packages(&["scripts/within"]),
    ),
    (
        "scripts/rust-metadata /lib/modules/$(uname -r)/build",
        Account::By("scripts/vm", "scripts/rust-metadata"),
    ),
    ("make kmod", Account::By("scripts/vm", "scripts/kmod")),
];

#[test]
fn every_command_of_the_readme_is_run_by_something() {
    let blocks = readme_blocks(README, &read(README));
    let mut commands = BTreeSet::new();
    for block in &blocks {
        if kind(block).unwrap_or_else(|error| panic!("{error}")) == Kinds::Builder {
            commands.extend(builder_lines(block).expect("its kind is known"));
        }
    }
    for (command, account) in ACCOUNTS {
        assert!(
            commands.contains(*command),
            "ACCOUNTS: {README} has no {command}"
        );
        match account {
            Account::Here => {}
            Account::By(file, words) => {
                assert!(
                    read(file).contains(words),
                    "{file} does not run {command}: no {words}"
                );
            }
            Account::Packages(files) => {
                let text: String = files.iter().map(|file| read(file)).collect();
                let packages = command
                    .split(' ')
                    .skip(2)
                    .filter(|word| !word.starts_with('-') && !word.starts_with("trixie"));
                for package in packages {
                    let name = package.split('/').next().unwrap_or_default();
                    let name = name.trim_end_matches("-amd64");
                    assert!(text.contains(name), "{files:?} know no {name}");
                }
            }
        }
    }
}

/// What a shell prints of a command in the project's directory, which must succeed.
fn shell(command: &str, environment: &[(&str, &Path)]) -> String {
    let mut shell = Command::new("sh");
    shell.args(["-ec", command]).current_dir(vm::project());
    let output = shell.envs(environment.iter().copied()).output();
    let output = output.unwrap_or_else(|error| panic!("sh: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command}: {}\n{errors}",
        output.status
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_string()
}

fn files_below(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{directory:?}: {error}"));
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files_below(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

/// The README's way from the checkout to `iptables -m dnp3 --help`, for the test kernel.
#[test]
fn what_the_readme_builds_is_installed_and_found() {
    let command = |begins: &str| {
        let is_it = |(command, account): &&(&'static str, Account)| {
            *account == Account::Here && command.starts_with(begins)
        };
        let mut found = ACCOUNTS.iter().filter(is_it);
        match (found.next(), found.next()) {
            (Some((command, _)), None) => *command,
            _ => panic!("not one command begins with {begins}"),
        }
    };
    // A module for the kernel that runs here cannot be built everywhere. What the command does is
    // seen, and then done for the test kernel: scripts/vm calls the same script.
    let done = shell(
        &format!(
            "make --no-print-directory -n {}",
            &command("make kmod")["make ".len()..]
        ),
        &[],
    );
    let release = shell("uname -r", &[]);
    let last = done.lines().last().unwrap_or_default();
    assert_eq!(last, format!("scripts/kmod /lib/modules/{release}/build"));
    assert!(read("scripts/vm").contains("\"$top/scripts/kmod\" \"$tree\" \"$built\""));
    shell("scripts/vm --kernel rust --entry rust --prepare", &[]);
    shell(command("make ext"), &[]);

    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("installed");
    if root.exists() {
        fs::remove_dir_all(&root).expect("what an earlier run left");
    }
    let tree = PathBuf::from(shell("scripts/kernel rust", &[]));
    let module = Path::new("target/kmod/rust-rust/kmod/xt_dnp3.ko");
    let environment = [("DESTDIR", &*root), ("KDIR", &*tree), ("MODULE", module)];
    shell(command("make install"), &environment);
    for page in all_pages() {
        let name = page
            .file_name()
            .and_then(|name| name.to_str())
            .expect("a name");
        let section = name.rsplit('.').next().expect("a section");
        let place = root.join(format!("usr/local/share/man/man{section}/{name}"));
        assert!(place.exists(), "{place:?} was not installed");
    }

    // Where there is no DESTDIR, `make install` calls depmod.
    let last = format!(
        "depmod && {} && {}",
        command("modprobe"),
        command("iptables")
    );
    let mut guest = Command::new(vm::project().join("scripts/vm"));
    guest.args(["--kernel", "rust", "--entry", "rust"]);
    guest.args([
        "--no-module",
        "--without",
        "module",
        "--without",
        "extension",
    ]);
    for file in files_below(&root) {
        let inside = Path::new("/").join(file.strip_prefix(&root).expect("it is below"));
        guest
            .arg("--add")
            .arg(format!("{}:{}", file.display(), inside.display()));
    }
    let output = guest.args(["--", &last]).output().expect("scripts/vm runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{said}{errors}", output.status);
    assert!(said.ends_with(&text::help().to_string()), "{said}");
}
