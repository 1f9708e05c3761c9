// SPDX-License-Identifier: GPL-2.0

//! A bar that shows how far reading has come, where somebody is there to see it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::cell::Cell;
use std::io::IsTerminal;

/// Octets between two looks at the clock.
const STEP: u64 = 1 << 20;

/// How far reading has come.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    shown: Cell<u64>,
}

impl Progress {
    /// Shows nothing.
    pub fn none() -> Progress {
        Progress {
            bar: None,
            shown: Cell::new(0),
        }
    }

    /// Shows a bar on standard error if that is a terminal and standard output is none, on which the
    /// bar would stand between the lines, or `is_output_idle` meanwhile. `length` is that of the
    /// input, where it is known.
    pub fn new(name: &str, length: Option<u64>, is_output_idle: bool) -> Progress {
        let is_in_the_way = !is_output_idle && std::io::stdout().is_terminal();
        if !std::io::stderr().is_terminal() || is_in_the_way {
            return Progress::none();
        }
        let template = match length {
            Some(_) => "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
            None => "{msg} {spinner} {bytes} {bytes_per_sec}",
        };
        let target = ProgressDrawTarget::stderr();
        let bar = ProgressBar::with_draw_target(length, target).with_message(name.to_owned());
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress {
            bar: Some(bar),
            shown: Cell::new(0),
        }
    }

    /// This many octets have been read.
    pub(crate) fn at(&self, octets: u64) {
        if let Some(bar) = &self.bar {
            if octets >= self.shown.get().saturating_add(STEP) {
                self.shown.set(octets);
                bar.set_position(octets);
            }
        }
    }

    /// Runs something that writes to standard error, without the bar in its way.
    pub fn aside(&self, write: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
