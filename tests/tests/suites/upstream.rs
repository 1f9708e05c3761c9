// SPDX-License-Identifier: GPL-2.0

//! iptables' own tests, iptables-test.py and xlate-test.py, on the extension's rows, with upstream's scripts of
//! the version in use. Where the newest comes without upstream's sources, the scripts are those of the
//! newest that has them, and that version is run too. tests/guest/suites.sh is the other side.
//!
//! The scripts have their limits: a row that is to fail passes for whatever reason it fails, and libxt_*.t is run
//! for IPv4 alone before 1.8.10. So rows are counted, wrong ones have to be found out, and the older
//! scripts get the rows for ip6tables under a name that they take.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use dnp3_core::text::{names, Opt};
use dnp3_tests::vm::project;
use libtest_mimic::Failed;

use super::Installation;

/// A row in this many is also run one after the other, in a namespace that is deleted under its rules.
const SOME: usize = 10;

/// A row in this many is also run without the extension.
const FEW: usize = 20;

/// Seconds for all runs of one variant.
const SECONDS: u32 = 600;

/// The extension's rows.
struct Rows {
    /// Up to the first row.
    head: String,
    rows: Vec<String>,
    translations: String,
}

impl Rows {
    fn read() -> Result<Rows, Failed> {
        let extension = project().join("xtables-ext");
        let text = fs::read_to_string(extension.join("libxt_dnp3.t"))?;
        let is_row = |line: &&str| !line.starts_with(['#', ':']) && !line.trim().is_empty();
        let head = text.lines().find(|line| line.starts_with(':'));
        Ok(Rows {
            head: format!("{}\n", head.ok_or("no chain in libxt_dnp3.t")?),
            rows: text.lines().filter(is_row).map(String::from).collect(),
            translations: fs::read_to_string(extension.join("libxt_dnp3.txlate"))?,
        })
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(String::as_str)
    }

    fn some(&self) -> impl Iterator<Item = &str> {
        self.all().step_by(SOME)
    }

    fn few(&self) -> impl Iterator<Item = &str> {
        self.all().step_by(FEW)
    }

    /// A file of these rows.
    fn file<'a>(&self, rows: impl Iterator<Item = &'a str>) -> String {
        let mut text = self.head.clone();
        for row in rows {
            text += row;
            text += "\n";
        }
        text
    }

    /// Rows that are turned around, of each kind one, and one that is right.
    fn wrong(&self) -> Result<Vec<String>, Failed> {
        let find = |end: &str| {
            let row = self.all().find_map(|row| row.strip_suffix(end));
            row.ok_or_else(|| Failed::from(format!("no row that ends in {end}")))
        };
        let another = self.all().find(|row| saved_otherwise(row));
        let another = another.and_then(|row| row.split_once(';'));
        let (another, _) = another.ok_or("no row that is saved in another form")?;
        Ok(vec![
            format!("{};=;FAIL", find(";=;OK")?),
            format!("{};=;OK", find(";;FAIL")?),
            format!("{another};=;OK"),
            format!("{};=;OK", find(";=;OK")?),
        ])
    }

    fn translations(&self) -> usize {
        let is_row = |line: &&str| line.starts_with("iptables-") || line.starts_with("ip6tables-");
        self.translations.lines().filter(is_row).count()
    }
}

fn saved_otherwise(row: &str) -> bool {
    row.ends_with(";OK") && !row.ends_with(";=;OK")
}

/// The guest's plan.
fn write_plan(plan: &Path, installation: &Installation, rows: &Rows) -> Result<(), Failed> {
    let _ = fs::remove_dir_all(plan);
    let extensions = plan.join("extensions");
    fs::create_dir_all(plan.join("upstream"))?;
    for name in ["iptables-test.py", "xlate-test.py"] {
        let to = plan.join("upstream").join(name);
        fs::copy(installation.upstream.join(name), to)?;
    }
    let wrong = rows.wrong()?;
    for (directory, text) in [
        ("", rows.file(rows.all())),
        ("some", rows.file(rows.some())),
        ("few", rows.file(rows.few())),
        ("wrong", rows.file(wrong.iter().map(String::as_str))),
    ] {
        let directory = extensions.join(directory);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("libxt_dnp3.t"), &text)?;
        if installation.is_old() {
            fs::write(directory.join("libip6t_dnp3.t"), &text)?;
        }
    }
    fs::write(extensions.join("libxt_dnp3.txlate"), &rows.translations)?;
    let weaker = rows
        .translations
        .replacen("nft # -A", "nft 'add rule ip filter", 1);
    fs::write(extensions.join("wrong/libxt_dnp3.txlate"), weaker)?;
    Ok(())
}

/// The guest's runs: what each printed, and its status.
fn runs(said: &str) -> HashMap<&str, (String, i32)> {
    let mut runs = HashMap::new();
    let mut run = None;
    for line in said.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words[..].as_ref(), &mut run) {
            (["begin", name], None) => run = Some((*name, String::new())),
            (["end", name, status], Some((begun, text))) if name == begun => {
                let status = status.parse().unwrap_or(-1);
                runs.insert(*begun, (std::mem::take(text), status));
                run = None;
            }
            (_, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (_, None) => {}
        }
    }
    runs
}

/// What nft shows of the rules in tests/guest/suites.sh. The manual has it from here.
fn listing(installation: &Installation) -> String {
    let (protocol, matched) = if installation.is_old() {
        ("meta l4proto tcp", "xt match dnp3")
    } else {
        ("ip protocol tcp", "xt match \"dnp3\"")
    };
    format!(
        "table ip filter {{\n\
         \tchain INPUT {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\t{protocol} {matched} counter packets 0 bytes 0 accept\n\
         \t\tudp dport 20000 {matched} {matched} counter packets 0 bytes 0 drop\n\
         \t}}\n\
         }}\n"
    )
}

/// Upstream's scripts in the VM.
pub(super) fn scripts(installation: &Installation, variant: &str) -> Result<(), Failed> {
    let rows = Rows::read()?;
    let name = format!("suites-{}-{variant}", installation.version);
    let plan = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    write_plan(&plan, installation, &rows)?;

    let much = if installation.is_whole { "all" } else { "once" };
    let command = format!("bash guest/suites.sh {variant} {much}");
    let said = installation.run(&plan, &command, SECONDS)?;
    let runs = runs(&said);
    let mut wrong = Vec::new();
    let mut expect = |name: &str, holds: &dyn Fn(&str, i32) -> bool| match runs.get(name) {
        Some((text, status)) if holds(text, *status) => {}
        Some((text, status)) => wrong.push(format!("{name}: exit status {status}: {text}")),
        None => wrong.push(format!("{name}: it was not run: {said}")),
    };

    let backend = if variant == "nft" {
        "nf_tables"
    } else {
        variant
    };
    let version = format!("iptables v{} ({backend})\n", installation.version);
    expect("version", &|text, status| status == 0 && text == version);

    // Each row counts twice, for iptables and for ip6tables; the older script has a file for each.
    let (files, times) = if installation.is_old() {
        (2, 1)
    } else {
        (1, 2)
    };
    let counts = |files: usize, tests: usize, passed: usize| {
        format!("{variant}: {files} test files, {tests} unit tests, {passed} passed\n")
    };
    let twice = |rows: usize| counts(files, 2 * rows, 2 * rows);
    let all = twice(rows.rows.len());
    let fast = |text: &str, status: i32| {
        status == 0 && text.ends_with(&all) && !text.contains("fast mode failed")
    };
    expect("rows", &fast);
    if installation.is_whole {
        expect("rows-in-a-namespace", &fast);
        let some = twice(rows.some().count());
        expect("some-rows-in-a-namespace", &|text, status| {
            status == 0 && text.ends_with(&some)
        });
        let found = |text: &str, status: i32, rows: usize, passed: usize| {
            status != 0 && text.contains(&counts(1, times * rows, times * passed))
        };
        expect("wrong-rows", &|text, status| {
            let lines = (2..5).all(|number| text.contains(&format!("ERROR: line {number} ")));
            found(text, status, 4, 1) && lines
        });
        let few = rows.few().count();
        let failing = rows.few().filter(|row| row.ends_with(";FAIL")).count();
        expect("rows-without-the-extension", &|text, status| {
            failing > 0 && found(text, status, few, failing)
        });
    }

    if variant == "nft" {
        let tests = rows.translations();
        let counts = |passed: usize| {
            let errors = tests - passed;
            format!(
                "1 test file, {tests} tests, {passed} tests passed, 0 tests failed, {errors} errors\n"
            )
        };
        expect("translations", &|text, status| {
            status == 0 && text.ends_with(&counts(tests))
        });
        if installation.is_whole {
            expect("wrong-translation", &|text, status| {
                status != 0 && text.contains(&counts(tests - 1))
            });
        }
        let listing = listing(installation);
        expect("listed", &|text, _| text == listing);
        expect("taken-back", &|text, status| {
            status != 0 && text.contains("unsupported xtables compat expression")
        });
        expect("left", &|text, status| status == 0 && text.is_empty());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Whether the rows say something of everything that there is to say something of.
pub(super) fn complete() -> Result<(), Failed> {
    let rows = Rows::read()?;
    let has = |what: &dyn Fn(&str) -> bool, end: &str| {
        rows.all()
            .any(|row| row.ends_with(end) && row.split(' ').any(what))
    };
    let mut lacking = Vec::new();
    let mut want = |is_there: bool, what: String| {
        if !is_there {
            lacking.push(what);
        }
    };
    want(rows.rows.len() >= 120, "120 rows".into());
    for opt in Opt::ALL {
        for name in [Some(opt.name()), opt.alias()].into_iter().flatten() {
            let word = format!("--{name}");
            // An option without a value may be the last word.
            let is_it = |it: &str| it.split(';').next() == Some(&word);
            want(has(&is_it, ";OK"), format!("{word}, OK"));
            want(has(&is_it, ";FAIL"), format!("{word}, FAIL"));
            let inverted = format!("! {word} ");
            let end = if opt.is_invertible() { ";OK" } else { ";FAIL" };
            let is_inverted =
                |row: &str| row.replace(';', " ;").contains(&inverted) && row.ends_with(end);
            want(rows.all().any(is_inverted), format!("! {word}"));
        }
    }
    let listed = |name: &str| {
        // One of the items of a list, which is the value of an option.
        let is_item = |word: &str| {
            let list = word.split(';').next().unwrap_or_default();
            list.split(',').any(|item| item.eq_ignore_ascii_case(name))
        };
        has(&is_item, ";OK")
    };
    let names = (names::FUNCTIONS.iter().map(|named| named.name))
        .chain(names::GROUPS.iter().map(|group| group.name))
        .chain(names::CLASSES.iter().map(|named| named.name))
        .chain(names::DIRECTIONS.iter().map(|named| named.name))
        .chain(names::FRAMES.iter().map(|named| named.name))
        .chain(names::STATUSES.iter().map(|named| named.name))
        .chain(names::ADDRESSES.iter().map(|(name, ..)| *name));
    for name in names {
        want(listed(name), name.into());
    }
    if lacking.is_empty() {
        Ok(())
    } else {
        Err(format!("libxt_dnp3.t lacks {}", lacking.join("; ")).into())
    }
}
