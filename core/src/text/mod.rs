// SPDX-License-Identifier: GPL-2.0

//! The rule language of `iptables -m dnp3`: what an admin writes, and what iptables prints.
//!
//! One table of [`names`] feeds the parser, the listing and the help. A [`Builder`] takes one
//! option after the other, as libxtables hands them over, and [`parse()`] takes them as words; both
//! give the same [`Rule`](crate::Rule) or the same [`Error`], which says in one line what was
//! wrong and what is allowed. What [`save()`] writes is parsed into the same rule again.
//!
//! Like the rest of the crate this allocates nothing and cannot panic, whatever the arguments are.

#![deny(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod builder;
mod error;
mod help;
pub mod names;
mod options;
mod parse;
mod print;
mod runs;

pub use builder::{parse, Builder};
pub use error::{Error, Never, Problem};
pub use help::{help, Help};
pub use options::Opt;
pub use print::{list, save, Listed, Saved};
