// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw check` held to the kernel: captures are replayed through the module in the VM (tests/guest/replay.py)
//! and judged by `check`, by the same rules, and every rule has counted the same packets and octets. Captures
//! are made for it (`traffic.rs`), and there are the project's own and other people's; rules are the README's policy,
//! recipes, and rules that ask each thing one by one. One boot serves all; its clock counts instructions, so that
//! hours of a capture pass at once.

mod traffic;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use dnp3_tests::{captures, commands, vm};
use dnp3fw::check::{Checker, Counter, Options};
use dnp3fw::ruleset::{Family, Ruleset};
use dnp3fw::Progress;
use libtest_mimic::{Arguments, Trial};
use serde_json::{json, Value};

/// How much chance there is, how many packets at a time, and the seconds for it all. `scripts/long check` sets the variable.
fn amounts() -> (u64, usize, &'static str) {
    match std::env::var_os("DNP3_TESTS_LONG") {
        None => (2, 900, "240"),
        Some(_) => (12, 2000, "900"),
    }
}

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "4"), (Family::V6, "6")];
const HOSTS: [[&str; 2]; 2] = [
    ["192.0.2.10", "198.51.100.20"],
    ["2001:db8:1::10", "2001:db8:2::20"],
];

/// Questions that each packet is asked, one rule for each; nothing is decided.
const QUESTIONS: &str = "
:STATES - [0:0]
:TCP - [0:0]
:UDP - [0:0]
:ICMP - [0:0]
:AWAY - [0:0]
:HERE - [0:0]
-A FORWARD -j STATES
-A FORWARD -p tcp -j TCP
-A FORWARD -p udp -j UDP
-A FORWARD -p {icmp} -j ICMP
-A FORWARD -i r0
-A FORWARD ! -o r0 -p tcp
-A FORWARD -i r+ ! -s {master}
-A FORWARD -s {wide}
-A FORWARD -p 89 -m conntrack --ctstate NEW
-A FORWARD -m comment --comment \"not \\\"TCP\\\"\" ! -p tcp
-A FORWARD -j HERE
-A HERE -p udp -j RETURN
-A HERE -p tcp -m tcp --dport 20000 -g AWAY
-A HERE -m limit --limit 5/min -j LOG --log-prefix \"sometimes \"
-A HERE
-A AWAY -p tcp -m conntrack --ctstate ESTABLISHED -j RETURN
-A AWAY
-A STATES -m conntrack --ctstate INVALID
-A STATES -m conntrack --ctstate NEW
-A STATES -m conntrack --ctstate ESTABLISHED
-A STATES -m conntrack --ctstate RELATED
-A STATES -m conntrack --ctstate UNTRACKED
-A STATES -m conntrack ! --ctstate NEW,RELATED
-A STATES -m state --state NEW,INVALID
-A STATES -m conntrack --ctdir ORIGINAL
-A STATES -m conntrack --ctdir REPLY
-A STATES -p tcp -m conntrack --ctstate SNAT,DNAT
-A TCP -p tcp --syn
-A TCP -p tcp -m tcp ! --tcp-flags SYN,ACK,FIN,RST ACK
-A TCP -p tcp -m tcp --tcp-flags ALL NONE
-A TCP -p tcp -m tcp --sport 1025:1100
-A TCP -p tcp -m multiport --dports 1025,1110:1120,20000
-A TCP -p tcp -m multiport ! --ports 1200:1299,2000
-A TCP -p tcp -m dnp3 --status none
-A TCP -p tcp -m dnp3 --status valid
-A TCP -p tcp -m dnp3 --status partial
-A TCP -p tcp -m dnp3 --status malformed
-A TCP -p tcp -m dnp3 --status none --track
-A TCP -p tcp -m dnp3 --status valid --track
-A TCP -p tcp -m dnp3 --status partial --track
-A TCP -p tcp -m dnp3 --status malformed --track
-A TCP -p tcp -m dnp3 --status ahead --track
-A TCP -p tcp -m dnp3 --fc 1,129,link --track
-A TCP -p tcp -m dnp3 --frames any --fc 13 --track
-A TCP -p tcp -m dnp3 ! --saddr 1 ! --fc restart --dir outstation
-A UDP -p udp -m dnp3 --status valid
-A UDP -p udp -m dnp3 --status malformed
-A UDP -p udp -m dnp3 --status none
-A UDP -p udp -m dnp3 --frames any --fc 13
-A UDP -p udp -m udp ! --dport 20000
-A ICMP -p {icmp} -m {icmp_match} {icmp_option} {echo}
-A ICMP -p {icmp} -m {icmp_match} {icmp_option} {unreachable}
";

/// And decisions, after which less comes through.
const DECISIONS: &str = "
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -p tcp -m dnp3 --frames any --fc restart --track -j REJECT --reject-with tcp-reset
-A FORWARD -p tcp -m dnp3 --status ahead --track -j DROP
-A FORWARD -p tcp -m dnp3 --status malformed -j REJECT --reject-with tcp-reset
-A FORWARD -p tcp -s {outstation} --syn -j DROP
-A FORWARD -p tcp -d {outstation} -m dnp3 --status partial --track -j DROP
-A FORWARD -p udp -m dnp3 --status malformed -j DROP
-A FORWARD -p udp -s {outstation} -m conntrack --ctstate NEW -j REJECT
";

/// One set of rules: a script or a file, for a family.
type Rules = fn(Family) -> String;

fn filled(template: &str, family: Family) -> String {
    let [master, outstation] = HOSTS[family as usize];
    let words = match family {
        Family::V4 => [
            "icmp",
            "icmp",
            "--icmp-type",
            "8",
            "3/1",
            "192.0.2.0/255.255.255.0",
        ],
        Family::V6 => [
            "ipv6-icmp",
            "icmp6",
            "--icmpv6-type",
            "128",
            "1/4",
            "2001:db8:1::/48",
        ],
    };
    let names = [
        "{icmp}",
        "{icmp_match}",
        "{icmp_option}",
        "{echo}",
        "{unreachable}",
        "{wide}",
    ];
    let text = names
        .iter()
        .zip(words)
        .fold(template.to_owned(), |text, (name, word)| {
            text.replace(name, word)
        });
    text.replace("{master}", master)
        .replace("{outstation}", outstation)
}

fn file(lines: &str, family: Family) -> String {
    let (chains, rules): (Vec<&str>, Vec<&str>) = lines
        .lines()
        .filter(|line| !line.is_empty())
        .partition(|line| line.starts_with(':'));
    let text = format!(
        "*filter\n:FORWARD ACCEPT [0:0]\n{}\n{}\nCOMMIT\n",
        chains.join("\n"),
        rules.join("\n")
    );
    filled(&text, family)
}

fn questions(family: Family) -> String {
    file(QUESTIONS, family)
}

fn decisions(family: Family) -> String {
    // What is decided comes behind the questions.
    file(&format!("{QUESTIONS}{DECISIONS}"), family)
}

/// What a script that calls `$iptables` would load, as a file.
fn script(body: &str, family: Family) -> String {
    let [master, outstation] = HOSTS[family as usize];
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-check-scripts");
    fs::create_dir_all(&folder).expect("a folder");
    // Scripts tell the family by this name.
    let iptables = folder.join(["iptables", "ip6tables"][family as usize]);
    // A word a line, and a line that no word is behind the last.
    fs::write(&iptables, "#!/bin/sh\nprintf '%s\\n' \"$@\" \u{1e}\n").expect("a program");
    fs::set_permissions(&iptables, fs::Permissions::from_mode(0o755)).expect("a program");
    let said = commands::succeed(
        Command::new("sh")
            .args(["-euc", body])
            .env("iptables", &iptables)
            .env("MASTER", master)
            .env("RTU", outstation)
            .env("OPERATOR", format!("{master}1"))
            .env("MAY", "read,confirm,link"),
    )
    .expect("the script runs");
    let (mut chains, mut rules) = (String::new(), String::new());
    for call in said.split_terminator("\u{1e}\n") {
        let words: Vec<_> = call.lines().collect();
        match *words.as_slice() {
            ["-P", chain, policy] => chains += &format!(":{chain} {policy} [0:0]\n"),
            ["-N", chain] => chains += &format!(":{chain} - [0:0]\n"),
            _ => {
                let words = words.iter().map(|word| match word.contains(' ') {
                    true => format!("\"{word}\""),
                    false => (*word).to_owned(),
                });
                rules += &(words.collect::<Vec<_>>().join(" ") + "\n");
            }
        }
    }
    format!("*filter\n{chains}{rules}COMMIT\n")
}

fn recipe(name: &str, family: Family) -> String {
    let path = vm::project().join("xtables-ext/recipes").join(name);
    script(&fs::read_to_string(path).expect("a recipe"), family)
}

fn readme(family: Family) -> String {
    let text = fs::read_to_string(vm::project().join("README.md")).expect("the README");
    let policy = text
        .split_once("<!-- the demo runs this block as it stands -->\n```sh\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("the README has the policy")
        .0
        .replace("\niptables ", "\n$iptables ");
    script(
        &match family {
            Family::V4 => policy,
            Family::V6 => policy.replace("-p icmp ", "-p ipv6-icmp "),
        },
        family,
    )
}

const RULES: [(&str, Rules); 7] = [
    ("questions", questions),
    ("decisions", decisions),
    ("readme", readme),
    ("stateless", |family| recipe("stateless.sh", family)),
    ("operator", |family| recipe("operator.sh", family)),
    ("udp", |family| recipe("udp.sh", family)),
    // Sets, limits and lists of hosts, which check does not know: here it has bounds.
    ("rate-limit", |family| recipe("rate-limit.sh", family)),
];

/// A capture and how it is replayed.
struct Run {
    name: String,
    variant: &'static str,
    rules: Rules,
    capture: String,
}

/// A capture without silence of more than so many seconds, after which nothing is remembered that is not for
/// good: some have years of it.
fn paced(mut octets: Vec<u8>) -> Vec<u8> {
    const LONGEST: u32 = 400;
    let field = |octets: &[u8], at: usize| -> Option<u32> {
        let field = octets.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*field))
    };
    let (mut at, mut before, mut less) = (24, None, 0u32);
    while let (Some(second), Some(length)) = (field(&octets, at), field(&octets, at + 8)) {
        let gap = second.saturating_sub(before.unwrap_or(second));
        less += gap.saturating_sub(LONGEST);
        before = Some(second);
        octets[at..at + 4].copy_from_slice(&(second - less).to_le_bytes());
        at += 16 + length as usize;
    }
    octets
}

/// All runs, with the captures put into the plan's directory.
fn runs(plan: &Path) -> Result<Vec<Run>, String> {
    let mut captures: Vec<(String, Vec<u8>, &[&str])> = Vec::new();
    let all: &[&str] = &[
        "questions",
        "decisions",
        "readme",
        "stateless",
        "udp",
        "rate-limit",
    ];
    captures.push(("scenes".into(), traffic::scenes().finish(), all));
    let (seeds, packets, _) = amounts();
    for seed in 1..=seeds {
        let tape = traffic::chance(seed, packets).finish();
        captures.push((format!("chance-{seed}"), tape, &["questions", "decisions"]));
    }
    let mut recorded = captures::files(&captures::own(), "pcap");
    recorded.retain(|(name, _)| name.ends_with("-outside.pcap"));
    if let Ok(folder) = captures::folder() {
        recorded.extend(captures::files(&folder, "pcap"));
    }
    for (name, path) in recorded {
        let octets = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let rules: &[&str] = if name.contains("outside") {
            &["decisions", "operator"]
        } else {
            &["decisions"]
        };
        captures.push((name.replace(".pcap", ""), paced(octets), rules));
    }
    let mut runs = Vec::new();
    for (number, (name, octets, rules)) in captures.into_iter().enumerate() {
        let capture = format!("{number}.pcap");
        fs::write(plan.join(&capture), octets).map_err(|error| format!("{capture}: {error}"))?;
        for (of, rules) in RULES.iter().filter(|(of, _)| rules.contains(of)) {
            let is_ours = name == "scenes";
            for variant in ["legacy", "nft"] {
                if variant == "legacy" || is_ours && matches!(*of, "decisions" | "readme") {
                    runs.push(Run {
                        name: format!("{name}::{of}::{variant}"),
                        variant,
                        rules: *rules,
                        capture: capture.clone(),
                    });
                }
            }
        }
    }
    Ok(runs)
}

/// What the guest says of each run.
fn replayed(plan: &Path, runs: &[Run]) -> Result<BTreeMap<String, Value>, String> {
    let jobs: Vec<_> = runs
        .iter()
        .map(|run| {
            let rules: BTreeMap<_, _> = FAMILIES
                .iter()
                .map(|(family, name)| (*name, (run.rules)(*family)))
                .collect();
            json!({"name": run.name, "variant": run.variant, "rules": rules, "capture": run.capture})
        })
        .collect();
    let text = Value::Array(jobs).to_string();
    fs::write(plan.join("plan.json"), text).map_err(|error| format!("plan.json: {error}"))?;
    let said = commands::succeed(
        Command::new(vm::project().join("scripts/vm"))
            .args(["--icount", "--timeout", amounts().2])
            .arg("--add")
            .arg(format!("{}:plan", plan.display()))
            .arg("--add")
            .arg(format!(
                "{}:guest",
                vm::project().join("tests/guest").display()
            ))
            .args(["--", "python3", "guest/replay.py", "plan/plan.json"]),
    )?;
    // For whoever looks into what differs.
    fs::write(plan.join("said"), &said).map_err(|error| format!("said: {error}"))?;
    said.lines()
        .map(|line| {
            let value: Value =
                serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
            let name = value["name"].as_str().unwrap_or_default().to_owned();
            Ok((name, value))
        })
        .collect()
}

/// What check has counted, beside what the kernel has.
struct Compared {
    /// Packets that were judged, and counters that were held to each other.
    figures: [u64; 2],
    /// What differs.
    wrong: Vec<String>,
    /// Rules that no packet came to, by both.
    idle: Vec<String>,
    uncertain: u64,
}

fn compare(run: &Run, said: &Value, capture: &[u8]) -> Result<Compared, String> {
    if let Some(fault) = said["fault"].as_str() {
        return Err(fault.into());
    }
    // The lower of two hosts is behind r0.
    let interfaces = HOSTS
        .iter()
        .flat_map(|[master, outstation]| [("r0", master), ("r1", outstation)])
        .map(|(name, host)| Ok((name.to_owned(), host.parse()?)))
        .collect::<Result<Vec<_>, String>>()?;
    let options = Options {
        interfaces,
        ..Options::default()
    };
    let mut checker = Checker::new(options, Vec::new());
    let mut saved = Vec::new();
    for (family, name) in FAMILIES {
        let text = said["saved"][name].as_str().ok_or("nothing was saved")?;
        let rules =
            Ruleset::parse(text, Some(family)).map_err(|error| format!("{error} in\n{text}"))?;
        checker.rules(name, rules.clone())?;
        saved.push((family, rules));
    }
    let (damaged, lines) = checker.capture(&run.capture, capture, &Progress::none());
    if damaged {
        return Err(lines.join("\n"));
    }
    let mut compared = Compared {
        figures: [checker.counts().packets, 0],
        wrong: Vec::new(),
        idle: Vec::new(),
        uncertain: checker.counts().uncertain,
    };
    for (family, rules) in &saved {
        let (counters, policy) = checker.counters(*family).ok_or("nothing was judged")?;
        let mut hold = |what: String, counter: &Counter, counted: Option<(u64, u64)>| {
            compared.figures[1] += 1;
            let Some((packets, octets)) = counted else {
                compared
                    .wrong
                    .push(format!("{what}: the kernel does not say"));
                return;
            };
            let (sure, maybe) = (counter.sure, counter.maybe);
            let is_right = (sure.packets..=sure.packets + maybe.packets).contains(&packets)
                && (sure.octets..=sure.octets + maybe.octets).contains(&octets);
            if !is_right {
                compared.wrong.push(format!(
                    "{packets} packets, {octets} octets, and check has {}, {} (and perhaps {}, {}): {family} {what}",
                    sure.packets, sure.octets, maybe.packets, maybe.octets
                ));
            }
            if packets == 0 && sure.packets == 0 {
                compared.idle.push(format!("{family} {what}"));
            }
        };
        for (number, chain) in rules.chains.iter().enumerate() {
            // Nothing but answers of REJECT comes to these.
            if matches!(&*chain.name, "INPUT" | "OUTPUT") {
                continue;
            }
            for rule in &chain.rules {
                let (rule, counter) = (&rules.rules[*rule], &counters[*rule]);
                hold(rule.text.to_string(), counter, rule.counter);
            }
            if Some(number) == rules.chain("FORWARD") {
                hold("policy of FORWARD".into(), policy, chain.counter);
            }
        }
    }
    Ok(compared)
}

/// Rules of the questions to which no packet of these captures can come: there is no NAT, and in IPv4 nothing goes
/// untracked by itself.
fn may_be_idle(rule: &str) -> bool {
    rule.contains("SNAT,DNAT") || rule.starts_with("IPv4") && rule.contains("UNTRACKED")
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli-check");
    let runs = match commands::empty(&plan).and_then(|plan| runs(&plan)) {
        Ok(runs) => Arc::new(runs),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let said: Arc<OnceLock<Result<BTreeMap<String, Value>, String>>> = Arc::default();
    // Runs that agree, packets, counters.
    let figures: Arc<[AtomicU64; 3]> = Arc::default();
    let mut trials = Vec::new();
    for number in 0..runs.len() {
        let (runs, said, plan) = (runs.clone(), said.clone(), plan.clone());
        let figures = figures.clone();
        trials.push(Trial::test(runs[number].name.clone(), move || {
            let run = &runs[number];
            let said = said.get_or_init(|| replayed(&plan, &runs)).as_ref()?;
            let said = said.get(&run.name).ok_or("the guest did not come to it")?;
            let capture = fs::read(plan.join(&run.capture)).map_err(|error| error.to_string())?;
            let compared = compare(run, said, &capture)?;
            if !compared.wrong.is_empty() {
                return Err(compared.wrong.join("\n").into());
            }
            // Of a header that is cut short the variants think differently.
            let most = if run.variant == "nft" { 8 } else { 0 };
            if compared.uncertain > most && !run.name.contains("rate-limit") {
                return Err(format!("{} packets are uncertain", compared.uncertain).into());
            }
            // Where all is asked, all is answered too.
            if run.name.starts_with("scenes::questions") {
                let idle: Vec<_> = compared
                    .idle
                    .iter()
                    .filter(|rule| !may_be_idle(rule))
                    .cloned()
                    .collect();
                if !idle.is_empty() {
                    return Err(format!("nothing came to\n{}", idle.join("\n")).into());
                }
            }
            let [packets, counters] = compared.figures;
            for (figure, more) in figures.iter().zip([1, packets, counters]) {
                figure.fetch_add(more, Ordering::Relaxed);
            }
            Ok(())
        }));
    }
    if let Err(none) = captures::folder() {
        trials.push(
            Trial::test(format!("other people's captures: {none}"), || Ok(()))
                .with_ignored_flag(true),
        );
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    let [agree, packets, counters] = [0, 1, 2].map(|at| figures[at].load(Ordering::Relaxed));
    if agree != 0 {
        println!(
        "check: {agree} runs of {}, {packets} packets in all, {counters} counters of rules and policies: the kernel's \
         and check's are equal in packets and octets.",
        runs.len()
    );
    }
    conclusion.exit_code()
}
