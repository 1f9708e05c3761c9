// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw functions`: the one table of names, as the rules take them.

use dnp3_core::rule::class;
use dnp3_core::text::names::{CLASSES, FUNCTIONS, GROUPS};
use serde::Serialize;
use std::io::{self, Write};

#[derive(Debug, Serialize)]
struct Function {
    code: u8,
    name: &'static str,
    direction: &'static str,
    groups: Vec<&'static str>,
}

fn functions() -> impl Iterator<Item = Function> {
    FUNCTIONS.iter().map(|named| Function {
        code: named.value,
        name: named.name,
        direction: match named.value {
            0..=33 => "master",
            _ => "outstation",
        },
        groups: GROUPS
            .iter()
            .filter(|group| {
                group
                    .ranges
                    .iter()
                    .any(|(min, max)| (*min..=*max).contains(&named.value))
            })
            .map(|group| group.name)
            .collect(),
    })
}

/// Writes the table for people.
///
/// # Errors
///
/// Those of `output`.
pub fn text(output: &mut impl Write) -> io::Result<()> {
    writeln!(output, "{:>4}  {:22}{:12}groups", "code", "name", "from")?;
    for function in functions() {
        writeln!(
            output,
            "{:4}  {:22}{:12}{}",
            function.code,
            function.name,
            function.direction,
            function.groups.join(" ")
        )?;
    }
    writeln!(output, "\nFrames without a function code:")?;
    for named in CLASSES {
        let meaning = match named.value {
            class::LINK => "frames without user data: keep-alives, acknowledgements",
            _ => "continuation segments, which carry no function code",
        };
        writeln!(output, "      {:22}{meaning}", named.name)?;
    }
    Ok(())
}

/// Writes it as a JSON object a line.
///
/// # Errors
///
/// Those of `output`.
pub fn json(output: &mut impl Write) -> io::Result<()> {
    for function in functions() {
        serde_json::to_writer(&mut *output, &function)?;
        writeln!(output)?;
    }
    Ok(())
}
