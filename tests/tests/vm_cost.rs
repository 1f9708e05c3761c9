// SPDX-License-Identifier: GPL-2.0

//! What a rule costs at most: the packets that make the judge work hardest, in the VM, with
//! instructions counted, so that it does not matter how busy the machine is. The work is to be linear
//! in a packet, whatever it holds and however many pieces it came in.
//!
//! `scripts/long cost` puts the table into tests/RELIABILITY.md.

use std::fs;
use std::path::Path;
use std::process::Command;

use dnp3_core::packet::Octets;
use dnp3_core::rule::protocol;
use dnp3_core::{Headers, Verdict};
use dnp3_tests::frames::{self, control};
use dnp3_tests::vm::{self, FIXED, PER_OCTET, PER_OCTET_FOLLOWED};
use serde_json::json;

/// And where one packet is several datagrams, this for each.
const PER_DATAGRAM: u64 = 650;
/// Twice the octets may cost so much more, in percent.
const TWICE: u64 = 220;
/// How much more than in one piece a datagram of 8,000 fragments may cost. When each read went through
/// the list of fragments from its head, it was about 20.
const PIECES: u64 = 3;

/// The sizes of payload, each twice the one before.
const SIZES: [usize; 3] = [16_000, 32_000, 64_000];
/// BIG TCP. The kernel makes no packet of more than 524,280 octets, and a small guest not always those.
const BIG: [usize; 1] = [256_000];
/// A search for headers ends behind so many.
const HEADERS: usize = 1024;
/// So many, with nothing between them: the most for an octet.
const DENSE: [usize; 1] = [HEADERS * frames::HEADER];

/// Walks all frames, and all of them satisfy it.
const ONLY: &str = "--frames only";
/// Walks and searches, and every header is looked at for as long as can be: the addresses are the last
/// of eight ranges, and all but the direction fits.
const ANY: &str = "--frames any --dir outstation --fc 0:255,link,cont \
     --saddr 2,4,6,8,10,12,14,1024 --daddr 3,5,7,9,11,13,15,1";

/// A kind of payload, of any size.
struct Payload {
    name: &'static str,
    of: fn(usize) -> Vec<u8>,
}

fn repeated(piece: &[u8], size: usize) -> Vec<u8> {
    piece.iter().copied().cycle().take(size).collect()
}

/// Whole frames as far as there is room.
fn whole(frame: &[u8], size: usize) -> Vec<u8> {
    frame.repeat(size / frame.len())
}

fn link() -> Vec<u8> {
    // RESET_LINK_STATES
    frames::header(5, control::DIR | control::PRM, 1, 1024)
}

/// The smallest frame with a function code.
fn read() -> Vec<u8> {
    frames::request(&[0xC0, 0xC0, 1])
}

/// The largest frame, its data full of what may begin a header.
fn pairs_inside() -> Vec<u8> {
    let mut data = vec![0xC0, 0xC0];
    data.extend(repeated(&[0x05, 0x64], frames::MAX_USER_DATA - 2));
    frames::request(&data)
}

const SMALLEST: Payload = Payload {
    name: "frames of 10 octets",
    of: |size| whole(&link(), size),
};
const REQUESTS: Payload = Payload {
    name: "frames of 15 octets, a READ each",
    of: |size| whole(&read(), size),
};
const LARGEST: Payload = Payload {
    name: "frames of 292 octets, data all `05 64`",
    of: |size| whole(&pairs_inside(), size),
};
/// As many headers as a search looks at, and everywhere else the beginning of one.
const WORST: Payload = Payload {
    name: "frames of 292 octets, data all `05 64`, then of 10, with 1,024 headers in all",
    of: |size| {
        let (large, small) = (pairs_inside(), link());
        // In a smaller payload, as many headers for each octet.
        let headers = HEADERS * size / SIZES[2];
        let headers = headers.min(HEADERS);
        let larges = (size - small.len() * headers) / (large.len() - small.len());
        let mut octets = large.repeat(larges);
        octets.extend(small.repeat(headers.saturating_sub(larges)));
        octets
    },
};
const PAIRS: Payload = Payload {
    name: "`05 64` and nothing else",
    of: |size| repeated(&[0x05, 0x64], size),
};
const SUSPECTS: Payload = Payload {
    name: "an octet of junk, then 1,024 right headers spread over `05 64`",
    of: |size| {
        let mut octets = vec![0];
        let headers = HEADERS * size / SIZES[2];
        let room = (size - 1) / headers - frames::HEADER;
        for _ in 0..headers {
            octets.extend(link());
            octets.extend(repeated(&[0x05, 0x64], room));
        }
        octets
    },
};
const ZEROS: Payload = Payload {
    name: "zeros",
    of: |size| vec![0; size],
};

/// A line of the table.
struct Row {
    payload: Payload,
    shape: &'static str,
    /// Octets in a fragment or a datagram.
    piece: usize,
    rule: &'static str,
    sizes: &'static [usize],
}

/// How a payload comes, for people.
fn shape(row: &Row) -> String {
    match row.shape {
        "linear" => "TCP, in one piece".into(),
        "pages" => "TCP, in pages".into(),
        "datagrams" => format!("UDP GSO, datagrams of {}", row.piece),
        _ => format!("UDP, in fragments of {}", row.piece),
    }
}

fn rows() -> Vec<Row> {
    let row = |payload, shape, piece, rule| Row {
        payload,
        shape,
        piece,
        rule,
        sizes: &SIZES,
    };
    let sized = |payload, shape, piece, rule, sizes| Row {
        payload,
        shape,
        piece,
        rule,
        sizes,
    };
    vec![
        row(SMALLEST, "linear", 0, ONLY),
        row(SMALLEST, "pages", 1460, ONLY),
        row(REQUESTS, "pages", 1460, ONLY),
        row(LARGEST, "pages", 1460, ONLY),
        row(LARGEST, "linear", 0, ANY),
        row(WORST, "linear", 0, ANY),
        row(WORST, "pages", 1460, ANY),
        row(PAIRS, "pages", 1460, ANY),
        row(SUSPECTS, "pages", 1460, ANY),
        // 128 datagrams are the most that the kernel takes in one packet.
        sized(SMALLEST, "datagrams", 10, ONLY, &[320, 640, 1280]),
        sized(SMALLEST, "datagrams", 10, ANY, &[320, 640, 1280]),
        sized(LARGEST, "datagrams", 292, ANY, &[9344, 18_688, 37_376]),
        sized(ZEROS, "datagrams", 1, ANY, &[32, 64, 128]),
        sized(WORST, "fragments", 64_960, ANY, &SIZES[2..]),
        sized(WORST, "fragments", 1480, ANY, &SIZES[2..]),
        sized(WORST, "fragments", 8, ANY, &SIZES),
        sized(SMALLEST, "linear", 0, ANY, &DENSE),
        sized(SMALLEST, "pages", 1460, ANY, &DENSE),
        sized(SMALLEST, "fragments", 1480, ANY, &DENSE),
        sized(SMALLEST, "fragments", 8, ANY, &DENSE),
        sized(REQUESTS, "fragments", 8, ANY, &[15_360]),
        sized(SMALLEST, "pages", 1460, ONLY, &BIG),
        sized(WORST, "pages", 1460, ANY, &BIG),
    ]
}

/// One measurement.
#[derive(Clone, Copy)]
struct Cost {
    octets: u64,
    instructions: u64,
}

impl Cost {
    fn per_octet(self) -> f64 {
        self.instructions as f64 / self.octets as f64
    }
}

/// Whether `core` says that the rule matches: the guest is to have measured just that.
fn matches(row: &Row, payload: &[u8]) -> bool {
    let (protocol, mut octets) = if row.shape == "linear" || row.shape == "pages" {
        (protocol::TCP, vec![0; 20])
    } else {
        (protocol::UDP, vec![0; 8])
    };
    match protocol {
        protocol::TCP => octets[12] = 5 << 4,
        _ => {
            let length = u16::try_from(8 + payload.len()).expect("a UDP datagram");
            octets[4..6].copy_from_slice(&length.to_be_bytes());
        }
    }
    octets.extend(payload);
    let rule = dnp3_core::text::parse(row.rule.split_whitespace(), protocol)
        .unwrap_or_else(|error| panic!("{}: {error}", row.rule));
    let headers = Headers {
        end: octets.len() as u32,
        protocol,
        udp_segment: match row.shape {
            "datagrams" => row.piece as u16,
            _ => 0,
        },
        ..Headers::default()
    };
    dnp3_core::judge(&rule, &Octets(&octets), &headers) == Verdict::Match
}

/// Has the guest measure every row at each of its sizes.
fn measure(rows: &[Row]) -> Vec<Vec<Cost>> {
    let project = vm::project();
    let plan =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-cost-{}.json", std::process::id()));
    let mut lines = String::new();
    let mut wanted = Vec::new();
    for row in rows {
        let protocol = if row.shape == "linear" || row.shape == "pages" {
            "tcp"
        } else {
            "udp"
        };
        for &size in row.sizes {
            let payload = (row.payload.of)(size);
            let digits: String = payload.iter().map(|octet| format!("{octet:02x}")).collect();
            let line = json!({
                "shape": row.shape,
                "size": row.piece,
                "rule": format!("-p {protocol} -m dnp3 {}", row.rule),
                "payload": digits,
            });
            lines += &format!("{line}\n");
            wanted.push((payload.len() as u64, matches(row, &payload)));
        }
    }
    fs::write(&plan, lines).expect("the plan is written");
    let output = Command::new(project.join("scripts/vm"))
        .args(["--icount", "--add"])
        .arg(format!("{}:plan", plan.display()))
        .arg("--add")
        .arg(project.join("tests/guest/cost.py"))
        .args(["--", "python3", "cost.py", "plan"])
        .output()
        .expect("scripts/vm runs");
    fs::remove_file(&plan).expect("the plan was there");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");

    let mut costs =
        wanted
            .iter()
            .zip(said.lines())
            .enumerate()
            .map(|(number, (&(octets, is_match), line))| {
                let numbers: Vec<u64> = line
                    .split(' ')
                    .map(|word| word.parse().expect("a number"))
                    .collect();
                let [place, instructions, packets] = numbers[..] else {
                    panic!("unexpected line: {line}");
                };
                assert_eq!(place, number as u64);
                assert_eq!(packets != 0, is_match, "{}", lines_of(rows, number));
                Cost {
                    octets,
                    instructions,
                }
            });
    let measured = rows
        .iter()
        .map(|row| row.sizes.iter().filter_map(|_| costs.next()).collect())
        .collect();
    assert_eq!(said.lines().count(), wanted.len(), "{said}");
    measured
}

/// The name of a measurement.
fn lines_of(rows: &[Row], number: usize) -> String {
    let mut names = rows
        .iter()
        .flat_map(|row| row.sizes.iter().map(move |_| row));
    let row = names.nth(number).expect("as many as were asked for");
    format!("{}, {}, {}", row.payload.name, shape(row), row.rule)
}

#[test]
fn the_worst_packets_cost_so_much_and_no_more() {
    let rows = rows();
    let costs = measure(&rows);
    let mut table = String::new();
    let mut wrong = Vec::new();
    for (row, costs) in rows.iter().zip(&costs) {
        let largest = costs[costs.len() - 1];
        let name = format!("{}, {}, `{}`", row.payload.name, shape(row), row.rule);
        table += &format!(
            "| {} | {} | {} | {} | {} | {:.1} |\n",
            row.payload.name,
            shape(row),
            if row.rule == ONLY { "only" } else { "any" },
            largest.octets,
            largest.instructions,
            largest.per_octet()
        );
        for cost in costs {
            let datagrams = match row.shape {
                "datagrams" => cost.octets.div_ceil(row.piece as u64),
                _ => 0,
            };
            let most = FIXED + PER_OCTET * cost.octets + PER_DATAGRAM * datagrams;
            if cost.instructions > most {
                wrong.push(format!(
                    "{name}: {} instructions for {} octets, and not {most}",
                    cost.instructions, cost.octets
                ));
            }
        }
        for pair in costs.windows(2) {
            let [one, two] = [pair[0], pair[1]];
            if two.instructions * 100 > one.instructions * TWICE {
                wrong.push(format!(
                    "{name}: {} instructions for {} octets, and {} for {}",
                    one.instructions, one.octets, two.instructions, two.octets
                ));
            }
        }
    }
    let in_pieces = |piece| {
        let row = rows
            .iter()
            .position(|row| row.shape == "fragments" && row.piece == piece);
        let costs = &costs[row.expect("a row with such fragments")];
        costs[costs.len() - 1].instructions
    };
    for piece in [1480, 8] {
        if in_pieces(piece) > PIECES * in_pieces(64_960) {
            wrong.push(format!("fragments of {piece} octets cost too much"));
        }
    }
    let text = format!(
        "`only` is `{ONLY}`; `any` is `{ANY}`, which no header satisfies.\n\n\
         | payload | comes as | rule | octets | instructions | an octet |\n|---|---|---|---|---|---|\n{table}\n\
         Asserted: at most {PER_OCTET} instructions an octet, {PER_DATAGRAM} a datagram where there are several, \
         {FIXED} for the packet, and {}.{:02} times as much for twice the octets.",
        TWICE / 100,
        TWICE % 100
    );
    for line in text.lines() {
        println!("cost: {line}");
    }
    assert!(wrong.is_empty(), "{table}{}", wrong.join("\n"));
}

#[test]
fn the_manual_states_the_bound() {
    let page = vm::project().join("xtables-ext/xt_dnp3.7");
    let text = fs::read_to_string(&page).expect("the page is there");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for bound in [
        format!("at most {PER_OCTET} instructions of an x86-64 CPU for each octet"),
        format!("at most {PER_DATAGRAM} for each datagram"),
        format!(
            "at most {PER_OCTET_FOLLOWED} for each octet, the commit behind all rules included"
        ),
    ] {
        assert!(words.contains(&bound), "no \"{bound}\"");
    }
}
