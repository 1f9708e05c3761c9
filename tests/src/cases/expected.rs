// SPDX-License-Identifier: GPL-2.0

//! What a case promises on one of its routes: the packets that arrive there, and what each rule's
//! counter is to say.

use super::{holds, Case, Path, Seen, Wire};

/// A rule's counter: packets and the octets in them, from the IP header on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Octets.
    pub octets: u64,
}

impl Counter {
    /// Counts an sk_buff.
    pub fn add(&mut self, seen: &Seen) {
        self.packets += 1;
        self.octets += seen.octets.len() as u64;
    }
}

/// One packet of a case, on its way.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// The packet's name.
    pub name: &'a str,
    /// What goes into the kernel.
    pub wire: Vec<Wire>,
    /// What the hook sees: one sk_buff, or several fragments.
    pub seen: Vec<Seen>,
    /// For each rule of the protocol, whether it matches the first that is seen. The others are
    /// fragments without a transport header, which nothing matches.
    pub matches: Vec<bool>,
    /// Whether the first rule drops the first that is seen.
    pub dropped: bool,
}

/// The packets of `case` that `path.route` can carry; `path.packet` is of no meaning.
pub fn arrivals(case: &Case, path: Path) -> Vec<Arrival<'_>> {
    case.packets
        .iter()
        .enumerate()
        .filter_map(|(packet, (name, content))| {
            let built = content.build(Path { packet, ..path })?;
            let is = |list| holds(list, name, path.family, path.protocol);
            let dropped = is(&case.dropped);
            Some(Arrival {
                name,
                wire: built.wire,
                seen: built.seen,
                matches: case
                    .rules_for(path.protocol)
                    .map(|rule| !dropped && is(&rule.matches))
                    .collect(),
                dropped,
            })
        })
        .collect()
}

/// The counters of a chain that holds a rule for everything, then the case's rules, then a rule
/// for everything that is left.
pub fn counters(arrivals: &[Arrival<'_>]) -> Vec<Counter> {
    let rules = arrivals.first().map_or(0, |arrival| arrival.matches.len());
    let mut counters = vec![Counter::default(); rules + 2];
    for arrival in arrivals {
        for (number, seen) in arrival.seen.iter().enumerate() {
            counters[0].add(seen);
            for (counter, matches) in counters[1..].iter_mut().zip(&arrival.matches) {
                if *matches && number == 0 {
                    counter.add(seen);
                }
            }
            if !(arrival.dropped && number == 0) {
                counters[rules + 1].add(seen);
            }
        }
    }
    counters
}
