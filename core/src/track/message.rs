// SPDX-License-Identifier: GPL-2.0

//! Messages: application fragments that come in several segments, of which only the first says the
//! function.

use crate::frame::{Class, Seen, Walk};
use crate::link::{self, offset};

/// Messages that one direction of a connection can have in progress.
pub const MAX_MESSAGES: usize = 16;

/// A message, by the last of its segments.
#[derive(Clone, Copy, Debug, Default)]
struct Message {
    destination: u16,
    source: u16,
    /// The function code of its first segment.
    function: u8,
    /// The last segment's transport octet.
    transport: u8,
    /// The last segment's LEN; 0 where there is no message.
    len: u8,
    /// DIR of its segments: an outstation's and a master's are two, whatever the addresses.
    from_master: bool,
    /// The last segment's [`Walk::digest`].
    digest: u32,
}

/// The messages of one direction. They may be interleaved, one for each pair of addresses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    places: [Message; MAX_MESSAGES],
    /// Whether there ever was one: most streams have none, for their fragments are one segment each.
    ever: bool,
}

/// What a segment without FIR is to the message of its addresses.
enum Place {
    /// The one that follows the last.
    Next,
    /// One that has the last one's sequence number: its repetition, if it is identical.
    Same,
    /// Neither.
    Elsewhere,
}

impl Message {
    fn is_used(&self) -> bool {
        self.len != 0
    }

    /// Whether segments may follow.
    fn is_in_progress(&self) -> bool {
        self.is_used() && self.transport & link::TRANSPORT_FIN == 0
    }

    fn is_of(&self, seen: &Seen) -> bool {
        self.is_used()
            && seen.destination == Some(self.destination)
            && seen.source == Some(self.source)
            && seen.control.map(|control| control.from_master()) == Some(self.from_master)
    }

    fn place(&self, transport: u8) -> Place {
        let sequence = transport & link::TRANSPORT_SEQUENCE;
        let last = self.transport & link::TRANSPORT_SEQUENCE;
        if self.is_in_progress() && sequence == last.wrapping_add(1) & link::TRANSPORT_SEQUENCE {
            Place::Next
        } else if transport == self.transport {
            Place::Same
        } else {
            Place::Elsewhere
        }
    }
}

impl Messages {
    /// None.
    pub(super) const fn new() -> Messages {
        Messages {
            places: [Message {
                destination: 0,
                source: 0,
                function: 0,
                transport: 0,
                len: 0,
                from_master: false,
                digest: 0,
            }; MAX_MESSAGES],
            ever: false,
        }
    }

    /// Becomes what another is. Nothing is copied where neither has any, as nearly always.
    #[inline(always)]
    pub(super) fn follow(&mut self, other: &Messages) {
        if self.ever || other.ever {
            *self = *other;
        }
    }

    /// What can be seen of the frame that a walk is in: a segment without FIR has the function code
    /// of the message that it goes on with. Nothing is said of one that may be a repetition.
    pub(super) fn unfinished(&self, walk: &Walk) -> Seen {
        let mut seen = walk.seen();
        if seen.class == Some(Class::Continuation) {
            let transport = octet(walk, offset::TRANSPORT);
            if let Some(message) = self.places.iter().find(|message| message.is_of(&seen)) {
                seen.class = match message.place(transport) {
                    Place::Next => Some(Class::Function(message.function)),
                    Place::Same => None,
                    Place::Elsewhere => Some(Class::Continuation),
                };
            }
        }
        seen
    }

    /// What can be seen of the frame that has just ended, in full; the messages are then as it
    /// leaves them. At most `limit` are in progress: past it a first segment opens none, and false is
    /// returned beside.
    pub(super) fn finished(&mut self, walk: &Walk, limit: usize) -> (Seen, bool) {
        let mut seen = walk.seen();
        if seen.class == Some(Class::Link) {
            // Of no message.
            return (seen, true);
        }
        let transport = octet(walk, offset::TRANSPORT);
        let latest = Message {
            destination: seen.destination.unwrap_or(0),
            source: seen.source.unwrap_or(0),
            function: 0,
            transport,
            len: octet(walk, offset::LEN),
            from_master: seen.control.is_some_and(|control| control.from_master()),
            digest: walk.digest(),
        };
        let places = if self.ever {
            &mut self.places[..]
        } else {
            &mut []
        };
        let own = places.iter_mut().find(|message| message.is_of(&seen));
        match (seen.class, own) {
            (Some(Class::Function(function)), own) => {
                let first = Message { function, ..latest };
                // What was in progress is over.
                if let Some(own) = own {
                    *own = Message::default();
                }
                // Nothing can follow a message of one segment.
                if first.is_in_progress() {
                    return (seen, self.open(first, limit));
                }
            }
            (Some(Class::Continuation), Some(own)) => match own.place(transport) {
                Place::Next => {
                    let function = own.function;
                    *own = Message { function, ..latest };
                    seen.class = Some(Class::Function(function));
                }
                Place::Same if own.len == latest.len && own.digest == latest.digest => {
                    seen.class = Some(Class::Function(own.function));
                }
                // A receiver throws the message away.
                Place::Same | Place::Elsewhere => *own = Message::default(),
            },
            _ => {}
        }
        (seen, true)
    }

    /// Opens a message in an unused place, or in that of one which is over. False when there are as
    /// many in progress as there may be.
    fn open(&mut self, first: Message, limit: usize) -> bool {
        let mut in_progress = 0usize;
        let mut place = None;
        for message in &mut self.places {
            if message.is_in_progress() {
                in_progress = in_progress.saturating_add(1);
            } else if place
                .as_ref()
                .is_none_or(|place: &&mut Message| place.is_used())
            {
                place = Some(message);
            }
        }
        match place {
            Some(place) if in_progress < limit => {
                *place = first;
                self.ever = true;
                true
            }
            _ => false,
        }
    }
}

/// An octet of the frame's start, which has come.
fn octet(walk: &Walk, at: usize) -> u8 {
    walk.start().get(at).copied().unwrap_or(0)
}
