// SPDX-License-Identifier: GPL-2.0

//! The extension in the hands of real iptables, and of real libxtables: Debian's own, and a newer
//! Debian's beside it. What the kernel has to say is for the tests in the VM; here no module is
//! loaded, and what runs as root runs in a network namespace of its own.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;

use dnp3_core::rule::protocol;
use dnp3_core::text::{self, Builder};
use dnp3_core::Rule;
use dnp3_tests::generate;
use libtest_mimic::{Arguments, Failed, Trial};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

const VARIANTS: [&str; 2] = ["nft", "legacy"];
const FAMILIES: [(&str, &str); 2] = [("iptables", "4"), ("ip6tables", "6")];

/// How many programs were started.
static STARTED: AtomicUsize = AtomicUsize::new(0);

/// One version of iptables.
struct Installation {
    name: String,
    /// What programs of this installation are started by, so that they find their own libraries.
    loader: Vec<OsString>,
    /// Where the two programs are that do everything.
    programs: PathBuf,
    /// Where extensions are looked for: ours first.
    extensions: OsString,
    /// `callbacks.c`, compiled.
    callbacks: PathBuf,
}

/// A directory that goes when it is no longer needed.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Scratch {
    /// With the extension as this build made it, beside nothing else, and `callbacks`.
    fn new() -> Result<Scratch, String> {
        let dir = std::env::temp_dir().join(format!("xt_dnp3-iptables-{}", std::process::id()));
        let scratch = Scratch(dir.clone());
        let extensions = dir.join("extensions");
        fs::create_dir_all(&extensions).map_err(|error| format!("{extensions:?}: {error}"))?;

        let test = std::env::current_exe().map_err(|error| error.to_string())?;
        let library = test.with_file_name("libxt_dnp3.so");
        fs::copy(&library, extensions.join("libxt_dnp3.so"))
            .map_err(|error| format!("{library:?}: {error}"))?;

        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/callbacks.c");
        let flags = stdout(Command::new("pkg-config").args(["--cflags", "--libs", "xtables"]))?;
        let warnings = ["-Wall", "-Wextra", "-Werror"];
        let mut compile = Command::new("cc");
        compile
            .args(warnings)
            .arg("-o")
            .arg(dir.join("callbacks"))
            .arg(source);
        stdout(compile.args(flags.split_whitespace()))?;
        Ok(scratch)
    }
}

/// What a command prints, if it succeeds.
fn stdout(command: &mut Command) -> Result<String, String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    } else {
        let stderr = String::from_utf8_lossy(&output.stderr);
        Err(stderr
            .lines()
            .last()
            .unwrap_or("no reason given")
            .to_string())
    }
}

impl Installation {
    /// What is installed here.
    fn own(scratch: &Scratch) -> Result<Installation, String> {
        let own = stdout(Command::new("pkg-config").args(["--variable=xtlibdir", "xtables"]))?;
        let programs = PathBuf::from("/usr/sbin");
        if !programs.join("xtables-nft-multi").exists() {
            return Err("there is no iptables: install Debian's package iptables".to_string());
        }
        Installation::new(vec![], programs, Path::new(&own), scratch)
    }

    /// A newer one, fetched by a script.
    fn newer(scratch: &Scratch) -> Result<Installation, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/newer-iptables");
        let root = PathBuf::from(stdout(&mut Command::new(script))?);
        // usr/lib/TRIPLET/ld-linux*.so*
        let libraries = fs::read_dir(root.join("usr/lib"))
            .into_iter()
            .flatten()
            .flatten();
        let loader = libraries
            .filter_map(|dir| fs::read_dir(dir.path()).ok())
            .flat_map(|files| files.flatten().map(|file| file.path()))
            .find(|file| {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with("ld-linux") || name.starts_with("ld64")
            })
            .ok_or("the newer iptables has no loader")?;
        let libraries = loader.parent().unwrap_or(&root).to_path_buf();
        let extensions = libraries.join("xtables");
        let loader = vec![loader.into(), "--library-path".into(), libraries.into()];
        Installation::new(loader, root.join("usr/sbin"), &extensions, scratch)
    }

    fn new(
        loader: Vec<OsString>,
        programs: PathBuf,
        others: &Path,
        scratch: &Scratch,
    ) -> Result<Installation, String> {
        let mut extensions = scratch.0.join("extensions").into_os_string();
        extensions.push(":");
        extensions.push(others);
        let mut installation = Installation {
            name: String::new(),
            loader,
            programs,
            extensions,
            callbacks: scratch.0.join("callbacks"),
        };
        // "iptables v1.8.9 (nf_tables)"
        let version = stdout(installation.iptables("nft", "iptables").arg("--version"))?;
        installation.name = version
            .split_whitespace()
            .nth(1)
            .unwrap_or("v?")
            .to_string();
        Ok(installation)
    }

    /// A program of this installation, which finds our extension, in a network of its own.
    fn start(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
        command.args(if is_root {
            &["-n", "--"][..]
        } else {
            &["-rn", "--"]
        });
        command.args(&self.loader).arg(program);
        command
            .env("XTABLES_LIBDIR", &self.extensions)
            .env("LC_ALL", "C");
        // iptables-legacy gives up when another holds its lock. These share nothing that needs one.
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let lock = self.callbacks.with_file_name(format!("lock-{number}"));
        command.env("XTABLES_LOCKFILE", lock);
        command
    }

    fn iptables(&self, variant: &str, applet: &str) -> Command {
        let program = self.programs.join(format!("xtables-{variant}-multi"));
        let mut command = self.start(&program);
        command.arg(applet);
        command
    }

    /// The answers of `callbacks` to these lines, a vector of lines each.
    fn callbacks(&self, family: &str, lines: &[String]) -> Result<Vec<Vec<String>>, Failed> {
        let mut child = self
            .start(&self.callbacks)
            .arg(family)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().ok_or("no standard input")?;
        let input = lines.join("\n") + "\n";
        let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
        let output = child.wait_with_output()?;
        writer.join().map_err(|_| "the writer panicked")??;
        let text = String::from_utf8(output.stdout)?;
        let answers: Vec<Vec<String>> = text
            .split_terminator("\n\n")
            .map(|answer| answer.lines().map(str::to_string).collect())
            .collect();
        if !output.status.success() || answers.len() != lines.len() {
            let of = lines.len();
            return Err(format!("{}; {} answers of {of}", output.status, answers.len()).into());
        }
        Ok(answers)
    }
}

/// Every row that differs, not only the first.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    fn expect<T: PartialEq + std::fmt::Debug>(&mut self, row: impl Display, is: T, wanted: T) {
        if is != wanted {
            self.0
                .push(format!("{row}\n    is     {is:?}\n    wanted {wanted:?}"));
        }
    }

    fn result(self) -> Result<(), Failed> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(self.0.join("\n").into())
        }
    }
}

/// What stands on standard error but for iptables' own warning that there is no module.
fn complaints(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stderr)
        .lines()
        .filter(|line| !line.starts_with("Warning: Extension dnp3"))
        .map(str::to_string)
        .collect()
}

fn help(installation: &Installation, variant: &str, family: &str) -> Result<(), Failed> {
    let output = installation
        .iptables(variant, family)
        .args(["-m", "dnp3", "--help"])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !text.ends_with(&text::help().to_string()) {
        return Err(format!("{}: {text}", output.status).into());
    }
    Ok(())
}

/// Options that iptables must refuse for what they say. The line is core's, which core's tests
/// hold word by word.
const REFUSED: &[&str] = &[
    "--saddr 65536",
    "--saddr 20:10",
    "--saddr 1,,2",
    "--saddr 1,",
    "--saddr 01",
    "--saddr 1,3,5,7,9,11,13,15,17",
    "--source-addr brodcast",
    "! --daddr self:broadcast",
    "--destination-addr 70000",
    "--fc 256",
    "--fc raed",
    "--function-code read,",
    "--fc 2:1",
    "--fc :2",
    "--fc !1",
    "--status ahead",
    "--status valid,vaild",
    "--dir both",
    "--frames all",
    "! --frames only",
    "! --status none,ahead",
    "! --track",
    "--fc 1 ! --track",
    "--track --fc 1 --track",
    "--fc 1 --status none,ahead --track",
    "--frames any --status none --track",
    "--saddr 1 --saddr 2",
    "--saddr 1 --source-addr 1",
    "--daddr 1 --destination-addr 1",
    "--fc 1 ! --function-code 1",
    "--status valid --status none",
    "--dir master --dir master",
    "--frames any --frames any",
    "! --saddr 0:65535",
    "! --daddr 0:65531",
    "! --fc 0:255,link,cont",
    "! --status none,valid,partial,malformed",
    "--fc 1 --status none",
    "--frames only ! --status valid",
    "--frames any --status none",
];

fn refused(installation: &Installation, variant: &str, family: &str) -> Result<(), Failed> {
    let mut differences = Differences::default();
    let mut row = |arguments: &str, line: &str| -> Result<(), Failed> {
        let output = installation
            .iptables(variant, family)
            .args(["-A", "INPUT"])
            .args(arguments.split_whitespace())
            .args(["-j", "ACCEPT"])
            .output()?;
        differences.expect(arguments, output.status.code(), Some(2));
        differences.expect(arguments, output.stdout.len(), 0);
        // "iptables v1.8.9 (nf_tables): dnp3: ..." and iptables' "Try `iptables -h' ..."
        let complaints = complaints(&output);
        let said = complaints.first().and_then(|line| line.split_once("): "));
        differences.expect(
            arguments,
            said.map(|(_, line)| line),
            Some(&format!("dnp3: {line}")),
        );
        let tries = |line: &String| line.starts_with("Try `");
        differences.expect(arguments, complaints.iter().position(tries), Some(1));
        differences.expect(arguments, complaints.len(), 2);
        Ok(())
    };
    let refusal = |options: &str, protocol| match text::parse(options.split_whitespace(), protocol)
    {
        Err(error) => Ok(error.to_string()),
        Ok(_) => Err(format!("{options} is right")),
    };

    for options in REFUSED {
        let line = refusal(options, protocol::TCP)?;
        row(&format!("-p tcp -m dnp3 {options}"), &line)?;
    }
    // The value that follows is no part of the message: iptables hands over the "!" alone.
    row(
        "-p tcp -m dnp3 --fc ! 1",
        "--fc: '!' goes before the option: ! --fc FUNCTIONS",
    )?;
    row(
        "-p tcp -m dnp3 --frames ! any",
        "--frames: '!' is not allowed here (only or any)",
    )?;

    let partial = "--status partial";
    row(
        &format!("-p udp -m dnp3 {partial}"),
        &refusal(partial, protocol::UDP)?,
    )?;
    // -p is known at the rule's end alone.
    let track = "--fc 1 --track";
    let line = refusal(track, protocol::UDP)?;
    row(&format!("-p udp -m dnp3 {track}"), &line)?;
    row(&format!("-m dnp3 {track} -p udp"), &line)?;
    row(&format!("-m dnp3 {track} -m dnp3 --fc 1 -p udp"), &line)?;
    let either = "needs -p tcp or -p udp (not inverted) in the same rule";
    for protocol in [
        "",
        "! -p tcp",
        "! -p udp",
        "-p icmp",
        "-p sctp",
        "-p udplite",
        "-p all",
    ] {
        row(&format!("{protocol} -m dnp3 --fc 1"), either)?;
        row(&format!("-m dnp3 --fc 1 {protocol}"), either)?;
        row(&format!("-m dnp3 --track {protocol}"), either)?;
    }
    // What is wrong with an option is said before what is wrong with the rule, which can only be
    // known at its end; and each match is judged by itself.
    row("-m dnp3 --fc 256", &refusal("--fc 256", protocol::TCP)?)?;
    row(
        "-p tcp -m dnp3 --fc 1 -m dnp3 --fc 256",
        &refusal("--fc 256", protocol::TCP)?,
    )?;
    row(
        "-p tcp -m dnp3 ! --saddr 0: -m dnp3 --fc 1",
        &refusal("! --saddr 0:", protocol::TCP)?,
    )?;
    row(
        "-p udp -m dnp3 --fc 1 -m dnp3 --status partial",
        &refusal(partial, protocol::UDP)?,
    )?;
    row(
        "-p tcp -m dnp3 --fc 1 -m dnp3 --fc 2 --fc 3",
        &refusal("--fc 1 --fc 1", protocol::TCP)?,
    )?;
    differences.result()
}

/// An argument that is no UTF-8.
fn not_text(installation: &Installation, variant: &str, family: &str) -> Result<(), Failed> {
    use std::os::unix::ffi::OsStringExt;
    let output = installation
        .iptables(variant, family)
        .args(["-A", "INPUT", "-p", "tcp", "-m", "dnp3", "--fc"])
        .arg(OsString::from_vec(b"read\xFF".to_vec()))
        .output()?;
    let line =
        ": dnp3: --fc: the value is not text in UTF-8 (0..255, a name, a group, link or cont)";
    let complaints = complaints(&output);
    if output.status.code() != Some(2) || !complaints.first().is_some_and(|it| it.ends_with(line)) {
        return Err(format!("{}: {complaints:?}", output.status).into());
    }
    Ok(())
}

/// Runs a command with this on its standard input.
fn feed(command: &mut Command, input: &str) -> Result<Output, Failed> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    Ok(child.wait_with_output()?)
}

/// The line of a file at which iptables-restore stops.
fn restore(installation: &Installation, variant: &str, family: &str) -> Result<(), Failed> {
    let rules = "*filter\n\
        :INPUT ACCEPT [0:0]\n\
        -A INPUT -p tcp -m dnp3 --fc 1 -j ACCEPT\n\
        -A INPUT -p udp -m dnp3 --status valid --frames any ! --dir master -j DROP\n\
        -A INPUT -p tcp -m dnp3 --fc 1,,2 -j ACCEPT\n\
        COMMIT\n";
    let mut restore = installation.iptables(variant, &format!("{family}-restore"));
    let output = feed(restore.arg("--test"), rules)?;
    let complaints = complaints(&output);
    let line = ": dnp3: --fc: empty item in '1,,2' (0..255, a name, a group, link or cont)";
    let said = complaints.first().is_some_and(|it| it.ends_with(line));
    let place = complaints
        .get(1)
        .is_some_and(|it| it == "Error occurred at line: 5");
    if output.status.code() != Some(2) || !said || !place {
        return Err(format!("{}: {complaints:?}", output.status).into());
    }
    Ok(())
}

/// nft has nothing that says the same: the rule stays a comment, and is never made a weaker one.
fn untranslated(installation: &Installation, family: &str) -> Result<(), Failed> {
    for options in ["--fc 1", "", "--track", "--saddr 1 ! --dir master"] {
        let arguments = format!("-A INPUT -p tcp --dport 20000 -m dnp3 {options} -j ACCEPT");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        let mut translate = installation.iptables("nft", &format!("{family}-translate"));
        let text = stdout(translate.args(&arguments))?;
        // It repeats its arguments behind the sign of a comment, but for the "!" that it has read.
        let comment = arguments.join(" ").replace('!', "");
        if text != format!("nft # {comment}") {
            return Err(format!("{options}: {text}").into());
        }

        // So does what translates whole files, which goes on with the other rules.
        let other = "-A INPUT -p tcp -j ACCEPT";
        let file = format!("*filter\n{}\n{other}\nCOMMIT\n", arguments.join(" "));
        let mut translate = installation.iptables("nft", &format!("{family}-restore-translate"));
        let output = feed(translate.args(["-f", "/dev/stdin"]), &file)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rules = || text.lines().filter(|line| line.contains("INPUT"));
        let wanted = format!("# -t filter {}", comment.trim_end());
        let translated = rules().filter(|line| line.starts_with("add rule ")).count();
        if !rules().any(|line| line.trim_end() == wanted) || translated != 1 {
            return Err(format!("{options}: {text}").into());
        }
    }
    Ok(())
}

/// `-v` prints the rule before it asks the kernel for the match.
fn listed(installation: &Installation, variant: &str, family: &str) -> Result<(), Failed> {
    let mut differences = Differences::default();
    for (arguments, listed) in [
        ("-p tcp -m dnp3", "dnp3"),
        ("-p tcp -m dnp3 --fc restart,read", "dnp3 fc 1,13:14"),
        (
            "-m dnp3 --dir master ! --source-addr 1:1,2 --frames any -p udp",
            "dnp3 frames any ! saddr 1:2 dir master",
        ),
        (
            "-p tcp -m dnp3 --fc read -m dnp3 ! --fc write,cont",
            "dnp3 fc 1 dnp3 ! fc 2,cont",
        ),
        (
            "-m dnp3 --track --status ahead,none -m dnp3 --fc read -p tcp",
            "dnp3 status none,ahead track dnp3 fc 1",
        ),
    ] {
        let output = installation
            .iptables(variant, family)
            .args(["-v", "-A", "INPUT"])
            .args(arguments.split_whitespace())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let matches = text
            .find("dnp3")
            .and_then(|at| text.get(at..))
            .map(str::trim_end);
        differences.expect(arguments, matches, Some(listed));
    }
    differences.result()
}

/// Whether this kernel has what this variant keeps its rules in.
fn kernel_has(installation: &Installation, variant: &str, family: &str) -> bool {
    let mut list = installation.iptables(variant, family);
    list.arg("-S")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn octets(rule: &Rule) -> String {
    // The layout is the header's: see the tests of the ABI.
    let mut octets = Vec::new();
    octets.extend(rule.set.to_ne_bytes());
    octets.extend(rule.invert.to_ne_bytes());
    octets.extend([rule.frames, rule.dir, rule.status, rule.classes]);
    octets.extend([rule.saddr_count, rule.daddr_count]);
    octets.extend(rule.reserved);
    for range in rule.saddr.iter().chain(&rule.daddr) {
        octets.extend(range.min.to_ne_bytes());
        octets.extend(range.max.to_ne_bytes());
    }
    octets.extend(rule.fc.iter().flat_map(|word| word.to_ne_bytes()));
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Random rules through libxtables: what comes out is core's octets and core's text, and what
/// was saved gives the same once more.
fn random_rules(installation: &Installation, family: &str) -> Result<(), Failed> {
    const RULES: usize = 5_000;
    let mut runner = TestRunner::deterministic();
    // In rules of UDP too: those that track are refused there.
    let strategy = generate::tcp_rule();
    let mut next = || -> Result<Rule, Failed> {
        let tree = strategy
            .new_tree(&mut runner)
            .map_err(|reason| reason.to_string())?;
        Ok(tree.current())
    };
    let mut lines = Vec::new();
    let mut wanted = Vec::new();
    for number in 0..RULES {
        let (name, protocol) = [("tcp", protocol::TCP), ("udp", protocol::UDP)][number % 2];
        // One match or two in a rule, the protocol before, behind or between them.
        let rules = if number % 3 == 0 {
            vec![next()?, next()?]
        } else {
            vec![next()?]
        };
        let mut parts: Vec<String> = rules
            .iter()
            .map(|rule| format!("-m dnp3 {}", text::save(rule)))
            .collect();
        parts.insert(number / 2 % (parts.len() + 1), format!("-p {name}"));
        lines.push(parts.join(" "));

        let mut answer = Vec::new();
        for rule in &rules {
            // A match without options is not judged: it is always right but for the protocol.
            match Builder::resume(*rule).finish(protocol, false) {
                Ok(rule) => {
                    answer.push(format!("data {}", octets(&rule)));
                    answer.push(format!("names: {}", text::list(&rule, false)));
                    answer.push(format!("numbers: {}", text::list(&rule, true)));
                    answer.push(
                        format!("save: {}", text::save(&rule))
                            .trim_end()
                            .to_string(),
                    );
                }
                Err(error) => {
                    answer = vec![format!("refused 2: dnp3: {error}")];
                    break;
                }
            }
        }
        wanted.push(answer);
    }
    let answers = installation.callbacks(family, &lines)?;
    let mut differences = Differences::default();
    for ((line, answer), wanted) in lines.iter().zip(answers).zip(wanted) {
        differences.expect(line, answer, wanted);
    }
    differences.result()
}

fn trials(installation: &Arc<Installation>) -> Vec<Trial> {
    type Test = fn(&Installation, &str, &str) -> Result<(), Failed>;
    const TESTS: [(&str, Test); 5] = [
        ("help", help),
        ("refused", refused),
        ("not text", not_text),
        ("restore", restore),
        ("listed", listed),
    ];
    let mut trials = Vec::new();
    for (family, number) in FAMILIES {
        for variant in VARIANTS {
            let kernel_lacks_it = !kernel_has(installation, variant, family);
            if kernel_lacks_it {
                println!("skipped: {family}-{variant} -v: this kernel has no such tables");
            }
            for (name, test) in TESTS {
                // All but these end before they ask the kernel for anything but a name.
                let ignored = kernel_lacks_it && matches!(name, "listed" | "restore" | "refused");
                let name = format!("{}::{family}-{variant}::{name}", installation.name);
                let installation = installation.clone();
                let trial = Trial::test(name, move || test(&installation, variant, family));
                trials.push(trial.with_ignored_flag(ignored));
            }
        }
        let name = format!("{}::{family}", installation.name);
        let (one, another) = (installation.clone(), installation.clone());
        trials.push(Trial::test(format!("{name}-translate"), move || {
            untranslated(&one, family)
        }));
        trials.push(Trial::test(format!("{name}::random rules"), move || {
            random_rules(&another, number)
        }));
    }
    trials
}

fn main() {
    let arguments = Arguments::from_args();
    let scratch = Scratch::new();
    let mut all = Vec::new();
    match scratch
        .as_ref()
        .map_err(String::clone)
        .and_then(Installation::own)
    {
        Ok(own) => all.extend(trials(&Arc::new(own))),
        Err(reason) => all.push(Trial::test("iptables", move || Err(reason.into()))),
    }
    match scratch
        .as_ref()
        .map_err(String::clone)
        .and_then(Installation::newer)
    {
        Ok(newer) => all.extend(trials(&Arc::new(newer))),
        Err(reason) => {
            println!("skipped: a newer iptables: {reason}");
            all.push(Trial::test("newer iptables", || Ok(())).with_ignored_flag(true));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, all);
    drop(scratch);
    conclusion.exit();
}
