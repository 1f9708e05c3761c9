// SPDX-License-Identifier: GPL-2.0

//! What decides in xt_dnp3: DNP3 link frames (IEEE 1815), the rule, and the judgement.
//!
//! The same code runs in the kernel's packet path and in every tool and test. It has no
//! allocation, no `unsafe`, no dependency and no way to panic: arithmetic is checked, wrapping or
//! saturating, and memory is reached by `get`, `first_chunk` and iterators alone. The kernel's
//! build shows it: this crate's object may not refer to anything of libcore's panics.
//!
//! A packet takes this way: [`judge()`] finds the payload behind the transport header, hands it in
//! pieces to a [`frame::Walk`], which cuts it into frames, and asks the [`Rule`] about each frame
//! that it sees. A packet of a TCP connection that is followed takes another: [`track::judge`]
//! walks on from where the connection's stream stands.

#![no_std]
#![forbid(unsafe_code)]

pub mod crc;
pub mod frame;
pub mod judge;
pub mod link;
pub mod packet;
pub mod rule;
pub mod scan;
pub mod segment;
#[cfg(feature = "text")]
pub mod text;
pub mod track;

pub use judge::judge;
pub use packet::{Fragment, Headers, Octets, Packet, Verdict};
pub use rule::Rule;
