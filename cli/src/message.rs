// SPDX-License-Identifier: GPL-2.0

//! Puts application fragments together from transport segments, as a conforming receiver does: FIR
//! begins one and discards what was in progress between the same stations; a segment that is not
//! the next one is discarded.

use crate::cut::{user_data, Mark};
use crate::event::{Assembly, Fragment};
use crate::stream::Budget;
use dnp3_core::frame::{Class, Seen};
use dnp3_core::link::{self, offset};

/// Fragments that one direction can have in progress.
const MAX_OPEN: usize = 16;
/// The most octets that a fragment is let grow to; stations send 2,048 at most.
const MAX_OCTETS: usize = 64 << 10;
/// What a fragment in progress costs beside its octets.
const COST: usize = 512;

/// A fragment in progress.
#[derive(Debug)]
struct Open {
    seen: Key,
    transport: u8,
    octets: Vec<u8>,
    frames: u32,
    first: Mark,
    cost: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    destination: u16,
    source: u16,
    from_master: bool,
}

/// The fragments of one direction.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    open: Vec<Open>,
}

impl Messages {
    /// Gives back what it holds.
    pub(crate) fn clear(&mut self, budget: &mut Budget) {
        for open in std::mem::take(&mut self.open) {
            budget.give(open.cost);
        }
    }

    /// Takes a valid frame.
    pub(crate) fn frame<'a>(
        &mut self,
        octets: &[u8],
        seen: &Seen,
        mark: Mark,
        budget: &'a mut Budget,
    ) -> Assembly<'a> {
        let (Some(destination), Some(source), Some(control), Some(transport)) = (
            seen.destination,
            seen.source,
            seen.control,
            octets.get(offset::TRANSPORT).copied(),
        ) else {
            return Assembly::None;
        };
        if seen.class == Some(Class::Link) {
            return Assembly::None;
        }
        let key = Key {
            destination,
            source,
            from_master: control.from_master(),
        };
        let at = self.open.iter().position(|open| open.seen == key);
        let ends = transport & link::TRANSPORT_FIN != 0;
        if transport & link::TRANSPORT_FIR != 0 {
            if let Some(at) = at {
                self.discard(at, budget);
            }
            if ends {
                budget.scratch.clear();
                user_data(octets, &mut budget.scratch);
                return Assembly::Complete {
                    transport,
                    fragment: Fragment {
                        octets: &budget.scratch,
                        frames: 1,
                        first_packet: mark.packet,
                    },
                };
            }
            return self.begin(key, octets, transport, mark, budget);
        }
        let stray = |reason| Assembly::Stray { transport, reason };
        let Some(at) = at else {
            return stray("no segment with FIR comes before it");
        };
        let open = &mut self.open[at];
        let sequence = transport & link::TRANSPORT_SEQUENCE;
        if sequence != open.transport.wrapping_add(1) & link::TRANSPORT_SEQUENCE {
            budget.scratch.clear();
            user_data(octets, &mut budget.scratch);
            if transport == open.transport && open.octets.ends_with(&budget.scratch) {
                return Assembly::Repeated { transport };
            }
            self.discard(at, budget);
            return stray("its sequence number is not the next one");
        }
        user_data(octets, &mut open.octets);
        open.transport = transport;
        open.frames = open.frames.saturating_add(1);
        let cost = COST + open.octets.capacity();
        let more = cost.saturating_sub(open.cost);
        if ends {
            let open = self.open.remove(at);
            self.tidy();
            budget.give(open.cost);
            budget.scratch = open.octets;
            return Assembly::Complete {
                transport,
                fragment: Fragment {
                    octets: &budget.scratch,
                    frames: open.frames,
                    first_packet: open.first.packet,
                },
            };
        }
        if open.octets.len() > MAX_OCTETS {
            self.discard(at, budget);
            return stray("the fragment is longer than 64 KiB");
        }
        if !budget.take(more) {
            self.discard(at, budget);
            return stray("too many fragments are in progress");
        }
        open.cost = cost;
        Assembly::Open {
            transport,
            octets: open.octets.len(),
        }
    }

    fn discard(&mut self, at: usize, budget: &mut Budget) {
        budget.give(self.open.remove(at).cost);
        self.tidy();
    }

    /// Many streams had their fragments at some time.
    fn tidy(&mut self) {
        if self.open.is_empty() {
            self.open = Vec::new();
        }
    }

    fn begin(
        &mut self,
        seen: Key,
        octets: &[u8],
        transport: u8,
        first: Mark,
        budget: &mut Budget,
    ) -> Assembly<'static> {
        if self.open.len() >= MAX_OPEN {
            // The oldest.
            self.discard(0, budget);
        }
        let mut data = Vec::new();
        user_data(octets, &mut data);
        let cost = COST + data.capacity();
        if !budget.take(cost) {
            return Assembly::Stray {
                transport,
                reason: "too many fragments are in progress",
            };
        }
        let octets = data.len();
        self.open.push(Open {
            seen,
            transport,
            octets: data,
            frames: 1,
            first,
            cost,
        });
        Assembly::Open { transport, octets }
    }
}
