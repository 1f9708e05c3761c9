// SPDX-License-Identifier: GPL-2.0

//! Abstractions of x_tables: a match is a type that implements [`Match`], and it is there as long
//! as its [`Registration`] is.
//!
//! C headers: `include/linux/netfilter/x_tables.h`, `include/linux/skbuff.h`.

mod abi;
mod bindings;
mod matches;
mod param;
mod registration;
mod skbuff;
pub(crate) mod track;

pub(crate) use matches::{Answer, Info, Match};
pub(crate) use param::{ActionParam, CheckParam, DestroyParam};
pub(crate) use registration::{Family, Following, Registration};
pub(crate) use skbuff::SkBuff;

use bindings::xt_dnp3_headers as RawHeaders;
use param::headers_from;
