// SPDX-License-Identifier: GPL-2.0

//! Cuts a stream of octets into link frames. `dnp3_core` judges what is one; here is how to go on
//! behind what is none: at the next header with a right CRC, wherever it begins, as receivers do.

use dnp3_core::crc::Crc;
use dnp3_core::frame::{self, Event as Step, Fault, Seen, Walk};
use dnp3_core::link::{self, offset};

/// Octets of what is no frame that are kept to be shown.
const SHOWN: usize = 32;

/// Where an octet comes from, as far as the stream must remember it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) packet: u64,
    pub(crate) time: Option<u64>,
}

/// A piece of the stream.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    Frame {
        octets: &'a [u8],
        seen: Seen,
    },
    Bad {
        fault: Fault,
        octets: &'a [u8],
        length: u64,
    },
    Unfinished(&'a [u8]),
}

/// A piece with the packet of its first octet and its place in the stream.
#[derive(Debug)]
pub(crate) struct Placed<'a> {
    pub(crate) piece: Piece<'a>,
    pub(crate) first: Mark,
    pub(crate) offset: u64,
}

/// What is no frame, so far.
#[derive(Debug)]
struct Run {
    fault: Fault,
    shown: Vec<u8>,
    length: u64,
    first: Mark,
    offset: u64,
}

impl Run {
    fn add(&mut self, octets: &[u8]) {
        let room = SHOWN.saturating_sub(self.shown.len());
        self.shown.extend(octets.iter().take(room));
        self.length += octets.len() as u64;
    }
}

/// Where a stream stands.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    /// The beginning of a frame, or of what may be a header; less than a frame.
    pending: Vec<u8>,
    first: Mark,
    /// Octets of the stream before `pending`.
    offset: u64,
    run: Option<Box<Run>>,
}

impl Cutter {
    /// Takes the next octets of the stream, which come from `mark`.
    pub(crate) fn push(&mut self, octets: &[u8], mark: Mark, tell: &mut dyn FnMut(Placed<'_>)) {
        let old = self.pending.len();
        let joined;
        let data = if old == 0 {
            octets
        } else {
            self.pending.extend_from_slice(octets);
            joined = std::mem::take(&mut self.pending);
            &joined
        };
        let first = self.first;
        let first_of = |at: usize| if at < old { first } else { mark };
        let mut at = 0;
        while let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            if let Some(run) = &mut self.run {
                let (skip, found) = next_header(rest);
                run.add(&rest[..skip]);
                at += skip;
                if !found {
                    break;
                }
                self.end_run(tell);
                continue;
            }
            let mut walk = Walk::new();
            let mut left = rest;
            let step = loop {
                let (step, behind) = walk.step(left);
                left = behind;
                if step != Step::Addressed {
                    break step;
                }
            };
            match step {
                Step::Frame => {
                    let size = rest.len() - left.len();
                    tell(Placed {
                        piece: Piece::Frame {
                            octets: &rest[..size],
                            seen: walk.seen(),
                        },
                        first: first_of(at),
                        offset: self.offset + at as u64,
                    });
                    at += size;
                }
                Step::Wrong => {
                    let mut run = Run {
                        // A walk that found it wrong has a reason.
                        fault: frame::fault(rest).unwrap_or(Fault::Start),
                        shown: Vec::new(),
                        length: 0,
                        first: first_of(at),
                        offset: self.offset + at as u64,
                    };
                    run.add(&rest[..1]);
                    at += 1;
                    self.run = Some(Box::new(run));
                }
                Step::Taken | Step::Addressed => break,
            }
        }
        self.first = first_of(at);
        self.offset += at as u64;
        if let Some(rest) = data.get(at..).filter(|rest| !rest.is_empty()) {
            self.pending = rest.to_vec();
        }
    }

    /// The stream ends here, or goes on elsewhere.
    pub(crate) fn end(&mut self, tell: &mut dyn FnMut(Placed<'_>)) {
        let pending = std::mem::take(&mut self.pending);
        if let Some(run) = &mut self.run {
            run.add(&pending);
            self.end_run(tell);
        } else if !pending.is_empty() {
            tell(Placed {
                piece: Piece::Unfinished(&pending),
                first: self.first,
                offset: self.offset,
            });
        }
        self.offset += pending.len() as u64;
    }

    /// Octets of the stream that are lost.
    pub(crate) fn skip(&mut self, octets: u32) {
        self.offset += u64::from(octets);
    }

    fn end_run(&mut self, tell: &mut dyn FnMut(Placed<'_>)) {
        if let Some(run) = self.run.take() {
            tell(Placed {
                piece: Piece::Bad {
                    fault: run.fault,
                    octets: &run.shown,
                    length: run.length,
                },
                first: run.first,
                offset: run.offset,
            });
        }
    }
}

/// How many octets come before the next right header, and whether it is there whole; else before
/// what may be the beginning of one.
fn next_header(octets: &[u8]) -> (usize, bool) {
    let mut at = 0;
    while let Some(found) = octets
        .get(at..)
        .and_then(|rest| rest.iter().position(|octet| *octet == link::START[0]))
    {
        at += found;
        let rest = &octets[at..];
        let begins = rest.iter().zip(&link::START).all(|(a, b)| a == b)
            && rest
                .get(offset::LEN)
                .is_none_or(|len| *len >= link::LEN_MIN);
        if begins {
            let Some((header, _)) = rest.split_at_checked(link::HEADER) else {
                return (at, false);
            };
            let (fields, crc) = header.split_at(link::HEADER_FIELDS);
            if Crc::new().over(fields).octets() == crc {
                return (at, true);
            }
        }
        at += 1;
    }
    (octets.len(), false)
}

/// Appends the user data of a valid frame, without CRCs and without the transport octet.
pub(crate) fn user_data(frame: &[u8], to: &mut Vec<u8>) {
    let from = to.len();
    for block in frame
        .get(link::HEADER..)
        .unwrap_or_default()
        .chunks(usize::from(link::BLOCK) + 2)
    {
        let data = block.get(..block.len().saturating_sub(2));
        to.extend_from_slice(data.unwrap_or_default());
    }
    if to.len() > from {
        to.remove(from);
    }
}
