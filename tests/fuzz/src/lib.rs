// SPDX-License-Identifier: GPL-2.0

//! What the fuzz targets do with an input: each function here panics when it finds something. The
//! targets in `fuzz_targets/` are nothing but these and the mutator, so that the same can be run
//! without libFuzzer, to see which lines of `core` a corpus reaches.

pub mod callbacks;
pub mod check;
pub mod files;
pub mod input;
pub mod language;
pub mod mutate;
pub mod packets;
pub mod received;
pub mod streams;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("judge", packets::judge_in_pieces),
    ("agree", packets::judges_agree),
    ("laws", packets::laws_hold),
    ("receivers", received::receivers_are_bound),
    ("track", streams::streams_are_followed),
    ("language", language::language),
    ("callbacks", callbacks::callbacks),
    ("files", files::captures),
    ("baselines", files::baselines),
    ("check", check::check),
];
