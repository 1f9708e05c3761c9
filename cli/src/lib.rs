// SPDX-License-Identifier: GPL-2.0

//! What `dnp3fw` is made of: everything between a capture file and the objects of a DNP3 message.
//!
//! ```text
//! file, standard input        octets of a serial line
//!        | capture                      |
//!   link layer, IP, fragments           |
//!        | packet                       |
//!   TCP streams, UDP datagrams          |
//!        | stream                       |
//!        +------> link frames <---------+   cut: dnp3_core judges
//!                      |
//!             transport segments            message
//!                      |
//!           application fragments           objects
//! ```
//!
//! [`Input`] does all of that: it is given files, octets or standard input one after the other, and
//! calls back with an [`Event`] for every packet, frame and hole that it finds, in the order of the
//! input. Whatever the input is, the memory that it takes is bounded, and nothing panics.
//!
//! ```
//! use dnp3fw::{Event, Input, Options};
//!
//! let mut input = Input::new(Options::default());
//! let mut frames = 0;
//! input.octets("example", &[0x05, 0x64, 0x05, 0xC0, 1, 0, 0, 4, 0xE9, 0x21], &mut |event| {
//!     if let Event::Frame(frame) = event {
//!         assert_eq!((frame.source, frame.destination), (1024, 1));
//!         frames += 1;
//!     }
//!     true
//! });
//! assert_eq!(frames, 1);
//! ```

#![forbid(unsafe_code)]

pub mod baseline;
mod capture;
pub mod check;
mod conntrack;
mod cut;
mod datagram;
pub mod decode;
mod event;
pub mod functions;
mod input;
pub mod learn;
mod message;
mod names;
pub mod objects;
mod packet;
mod progress;
pub mod rules;
pub mod ruleset;
mod stream;
mod track;

pub use event::{
    Assembly, Bad, Ends, Event, Fault, Fragment, Frame, Gap, Origin, Packet, Protocol, Unfinished,
};
pub use input::{Counts, Input, Options};
pub use progress::Progress;

/// What the program exits with.
pub mod exit {
    /// All is well.
    pub const OK: u8 = 0;
    /// Something was found that is not right.
    pub const FOUND: u8 = 1;
    /// The arguments are wrong, or a file cannot be opened.
    pub const USAGE: u8 = 2;
    /// The input is damaged: what could be read was, and what could not is said.
    pub const DAMAGED: u8 = 3;
}
