// SPDX-License-Identifier: GPL-2.0

//! The demo, run as `make demo` runs it: with the README's policy every line of its table is as
//! promised, and with a weaker one it says so.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn demo(arguments: &[&Path]) -> (Output, String) {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/demo"))
        .args(arguments)
        .output()
        .expect("tests/demo runs");
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    (output, text)
}

/// Lines of the table that begin with a word.
fn lines(text: &str, word: &str) -> usize {
    text.lines()
        .filter(|line| line.split_whitespace().next() == Some(word))
        .count()
}

#[test]
fn the_readme_keeps_its_promises() {
    let (output, text) = demo(&[]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert_eq!((lines(&text, "ok"), lines(&text, "BAD")), (29, 0), "{text}");
}

#[test]
fn a_weaker_policy_is_found_out() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = fs::read_to_string(readme).expect("README.md");
    let rule = "-m dnp3 --saddr 1 --daddr 10:20 --fc 0,1,2,20,21,23,24,link --track -j ACCEPT";
    let weaker = readme.replace(rule, &rule.replace("-m dnp3", "-m dnp3 --frames any"));
    assert_ne!(weaker, readme, "the README has the rule");
    let page = Path::new(env!("CARGO_TARGET_TMPDIR")).join("weaker.md");
    fs::write(&page, weaker).expect("a page in the target directory");
    let (output, text) = demo(&[&page]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    // The restart behind a READ, the one inside a frame, the wrong bit and the broadcast pass; and of the wrong bit's
    // connection, which nobody follows any more, both halves of the READ do not.
    assert_eq!((lines(&text, "ok"), lines(&text, "BAD")), (23, 6), "{text}");
}
