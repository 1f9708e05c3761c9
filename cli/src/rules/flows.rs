// SPDX-License-Identifier: GPL-2.0

//! Who may send what to whom, and as few sets as say exactly that.
//!
//! A rule of `-m dnp3` is a product: every address of one list may send every function of a set to
//! every address of the other. Links with the same functions become one rule where all of their
//! addresses make a product, and several where they do not. Nothing is added so that a rule is saved.

use super::{Entry, Options};
use crate::baseline::{Baseline, Communication, Function, Side, Transport, SELF_ADDRESS};
use crate::datagram::is_unicast;
use crate::ruleset::Family;
use dnp3_core::rule::{class, Range, FC_WORDS, MAX_RANGES};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The octets of a message that one frame can hold: user data but for the transport octet.
const IN_A_FRAME: u64 = 249;

/// The pairs of stations that [`mixed()`] looks at.
const MOST_MIXED: usize = 65_536;
/// The rules that it may take.
const MOST_NOT: usize = 16;

/// From the master, or to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Request,
    Response,
}

impl Way {
    pub(super) const BOTH: [Way; 2] = [Way::Request, Way::Response];
}

/// The protocol and the ports of packets: of the sender's and the receiver's, those that are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ports {
    pub(super) transport: Transport,
    pub(super) source: Option<u16>,
    pub(super) destination: Option<u16>,
}

/// Functions, `link` and `cont`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Set {
    pub(super) codes: [u32; FC_WORDS],
    pub(super) classes: u8,
}

impl Set {
    pub(super) fn insert(&mut self, code: u8) {
        if let Some(word) = self.codes.get_mut(usize::from(code / 32)) {
            *word |= 1 << (code % 32);
        }
    }

    pub(super) fn contains(&self, code: u8) -> bool {
        let word = self.codes.get(usize::from(code / 32));
        word.is_some_and(|word| word >> (code % 32) & 1 != 0)
    }

    pub(super) fn unite(&mut self, other: &Set) {
        for (word, more) in self.codes.iter_mut().zip(other.codes) {
            *word |= more;
        }
        self.classes |= other.classes;
    }

    pub(super) fn narrow(&mut self, other: &Set) {
        for (word, only) in self.codes.iter_mut().zip(other.codes) {
            *word &= only;
        }
        self.classes &= other.classes;
    }

    pub(super) fn codes(&self) -> impl Iterator<Item = u8> + '_ {
        (0..=u8::MAX).filter(|code| self.contains(*code))
    }
}

/// Link addresses, the sender's and the receiver's; `None` is any.
pub(super) type Pair = (Option<u16>, Option<u16>);

/// What the packets of one protocol between two hosts may hold, one way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// Whether the sender may open the connection.
    pub(super) opens: bool,
    pub(super) functions: BTreeMap<Pair, Set>,
}

/// The outstation's IP address, and the master's.
pub(super) type Hosts = (IpAddr, IpAddr);

/// All flows of a family, by direction, hosts and ports.
#[derive(Clone, Debug, Default)]
pub(super) struct Flows {
    pub(super) all: BTreeMap<(Way, Hosts, Ports), Flow>,
    /// What people should know of them.
    pub(super) notes: Vec<String>,
    /// Messages that take several frames where no frame but the first has their function.
    pub(super) continued: bool,
    /// The ports of the baseline, of any family and protocol, where no policy of ours drops what no rule
    /// is for: what has them is refused, be it of TCP or UDP, IPv4 or IPv6.
    pub(super) refused: BTreeSet<u16>,
}

/// Whether routers are to forward packets of an address. Linux forwards those link-local of IPv4, which
/// others do not.
fn is_routable(address: IpAddr) -> bool {
    let is_link_local = matches!(address, IpAddr::V4(address) if address.is_link_local());
    is_unicast(address) && !is_link_local
}

impl Flows {
    pub(super) fn of(baseline: &Baseline, family: Family, options: &Options) -> Flows {
        let mut flows = Flows::default();
        if !options.is_closed() {
            flows.refused = baseline.communications.iter().map(|one| one.port).collect();
        }
        let mut silent = Vec::new();
        let mut unroutable = BTreeSet::new();
        let mut any = 0;
        let mut unknown_opener = 0;
        let ours = |one: &&Communication| Family::of(one.outstation_ip) == family;
        for one in baseline.communications.iter().filter(ours) {
            let ends = [one.master_ip, one.outstation_ip];
            unroutable.extend(ends.into_iter().filter(|end| !is_routable(*end)));
            let is_judged_alone = one.protocol == Transport::Udp || !options.track;
            if one.protocol == Transport::Tcp && one.opened_by.is_none() {
                unknown_opener += 1;
            }
            for link in &one.links {
                any += usize::from(link.master.is_none() || link.outstation.is_none());
                if link.responses.is_empty() && !link.requests.is_empty() && !link.is_broadcast() {
                    silent.push((one.outstation_ip, link.outstation));
                }
                let seen = link.link_functions.unwrap_or_default();
                let addresses = (link.master, link.outstation);
                for way in Way::BOTH {
                    let (functions, frames, pair) = match way {
                        Way::Request => (&link.requests, seen.requests, addresses),
                        Way::Response => {
                            (&link.responses, seen.responses, (addresses.1, addresses.0))
                        }
                    };
                    let mut set = Set::default();
                    functions.iter().for_each(|one| set.insert(one.function));
                    // Keep-alives are due sooner or later, in the capture or behind its end. They go
                    // to single stations.
                    if frames > 0 || !link.is_broadcast() {
                        set.classes |= class::LINK;
                    }
                    if is_judged_alone && is_continued(way, functions) {
                        set.classes |= class::CONT;
                        flows.continued = true;
                    }
                    if set == Set::default() {
                        continue;
                    }
                    let flow = flows
                        .all
                        .entry((way, (one.outstation_ip, one.master_ip), ports(one, way)))
                        .or_default();
                    flow.functions.entry(pair).or_default().unite(&set);
                }
            }
            if one.links.is_empty() {
                continue;
            }
            // A connection of which only one direction was learned wants both all the same.
            for way in Way::BOTH {
                let key = (way, (one.outstation_ip, one.master_ip), ports(one, way));
                let flow = flows.all.entry(key).or_default();
                flow.opens |= one.protocol == Transport::Tcp
                    && match one.opened_by {
                        Some(Side::Master) => way == Way::Request,
                        Some(Side::Outstation) => way == Way::Response,
                        None => true,
                    };
            }
        }
        if let Some((host, link)) = silent.first() {
            let station = link.map_or(String::new(), |link| format!(", station {link}"));
            flows.notes.push(format!(
                "{} in the baseline {} no responses, which the rules refuse then; the first is {host}{station}",
                counted(silent.len(), "link", "links"),
                if silent.len() == 1 { "has" } else { "have" },
            ));
        }
        if any > 0 {
            flows.notes.push(format!(
                "{} in the baseline {} no link addresses: any address passes there, those of broadcast too",
                counted(any, "link", "links"),
                if any == 1 { "has" } else { "have" },
            ));
        }
        if let Some(first) = unroutable.first().filter(|_| options.entry != Entry::Host) {
            flows.notes.push(format!(
                "no router forwards packets of {}, the first is {first}: loopback, link-local, multicast, broadcast or \
                 unspecified; a gateway has no use for rules with {}",
                counted(unroutable.len(), "address", "addresses"),
                if unroutable.len() == 1 { "it" } else { "them" },
            ));
        }
        if unknown_opener > 0 {
            flows.notes.push(format!(
                "of {} it is not known who opens {}; either end may",
                counted(unknown_opener, "communication", "communications"),
                if unknown_opener == 1 { "it" } else { "them" },
            ));
        }
        flows
    }

    /// The ports of one end of a protocol's packets, as ascending ranges.
    pub(super) fn ports(
        &self,
        transport: Transport,
        way: Option<Way>,
        of: impl Fn(&Ports) -> Option<u16>,
    ) -> Vec<(u16, u16)> {
        ranges(self.ports_of(transport, way, of)).collect()
    }

    /// Those of the packets that are judged, which are more than those that can pass.
    pub(super) fn judged(
        &self,
        transport: Transport,
        of: impl Fn(&Ports) -> Option<u16>,
    ) -> Vec<(u16, u16)> {
        let mut ports = self.ports_of(transport, None, of);
        ports.extend(&self.refused);
        ranges(ports).collect()
    }

    fn ports_of(
        &self,
        transport: Transport,
        way: Option<Way>,
        of: impl Fn(&Ports) -> Option<u16>,
    ) -> BTreeSet<u16> {
        self.all
            .keys()
            .filter(|(its, _, ports)| {
                ports.transport == transport && way.is_none_or(|way| way == *its)
            })
            .filter_map(|(_, _, ports)| of(ports))
            .collect()
    }
}

/// A number with its noun.
pub(super) fn counted(number: usize, one: &str, several: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {several}"),
    }
}

/// Which ports the packets have that go one way.
fn ports(one: &Communication, way: Way) -> Ports {
    // From the end that opens to the other.
    let (mut source, mut destination) = match one.opened_by {
        Some(_) => (None, Some(one.port)),
        None => (Some(one.port), Some(one.port)),
    };
    let opener = match one.opened_by {
        Some(Side::Outstation) => Way::Response,
        Some(Side::Master) | None => Way::Request,
    };
    if way != opener {
        (source, destination) = (destination, source);
    }
    Ports {
        transport: one.protocol,
        source,
        destination,
    }
}

/// Whether messages go on in frames that carry no function code. What responses hold grows with the
/// events of a day; of requests only those that were longer than all frames together show it.
fn is_continued(way: Way, functions: &[Function]) -> bool {
    match way {
        Way::Response => !functions.is_empty(),
        Way::Request => functions
            .iter()
            .any(|one| one.octets > one.messages.saturating_mul(IN_A_FRAME)),
    }
}

/// The addresses of one rule; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) source: Option<Vec<Range>>,
    pub(super) destination: Option<Vec<Range>>,
    pub(super) functions: Set,
}

/// What a flow's rules say: products that together are exactly its functions.
pub(super) fn products(flow: &Flow) -> Vec<Product> {
    let mut by_functions: BTreeMap<(Set, bool, bool), BTreeSet<(u16, u16)>> = BTreeMap::new();
    for ((source, destination), functions) in &flow.functions {
        by_functions
            .entry((*functions, source.is_none(), destination.is_none()))
            .or_default()
            // Where an address is any, the number is never used.
            .insert((source.unwrap_or_default(), destination.unwrap_or_default()));
    }
    let mut products = Vec::new();
    for ((functions, any_source, any_destination), pairs) in by_functions {
        let swapped: BTreeSet<_> = pairs.iter().map(|(one, other)| (*other, *one)).collect();
        let by_source = rectangles(&pairs);
        let by_destination = rectangles(&swapped);
        let rectangles = if by_source.len() <= by_destination.len() {
            by_source
        } else {
            let turn = |(one, other)| (other, one);
            by_destination.into_iter().map(turn).collect()
        };
        products.extend(rectangles.into_iter().map(|(source, destination)| Product {
            source: (!any_source).then_some(source),
            destination: (!any_destination).then_some(destination),
            functions,
        }));
    }
    products
}

/// What a packet may hold whose frames belong to several of a flow's products.
#[derive(Clone, Debug)]
pub(super) struct Mixed {
    /// Every frame of it is one of these,
    pub(super) all: Product,
    /// and none has these addresses with another function; with `None`, none has these addresses.
    pub(super) not: Vec<(Vec<Range>, Vec<Range>, Option<Set>)>,
}

/// What lets such packets through; `None` where there are none, or where no few rules can say it.
pub(super) fn mixed(products: &[Product]) -> Option<Mixed> {
    // Not with frames to all stations: a match of any takes them for frames to each of these.
    let products: Vec<_> = products
        .iter()
        .filter_map(|product| {
            let (source, destination) = (product.source.as_ref()?, product.destination.as_ref()?);
            (!is_broadcast(destination)).then_some((source, destination, product.functions))
        })
        .collect();
    if products.len() < 2 {
        return None;
    }
    let mut not = Vec::new();
    let (mut sources, mut destinations) = (BTreeSet::new(), BTreeSet::new());
    let mut pairs = BTreeSet::new();
    let mut functions = Set::default();
    let each = |ranges: &[Range]| -> Vec<u16> {
        ranges
            .iter()
            .flat_map(|range| range.min..=range.max)
            .collect()
    };
    for (source, destination, its) in products {
        not.push((source.clone(), destination.clone(), Some(its)));
        functions.unite(&its);
        for one in each(source) {
            sources.insert(one);
            for other in each(destination) {
                destinations.insert(other);
                pairs.insert((one, other));
            }
        }
    }
    let list = |numbers: &BTreeSet<u16>| -> Option<Vec<Range>> {
        let ranges: Vec<_> = ranges(numbers.iter().copied())
            .map(|(min, max)| Range { min, max })
            .collect();
        (ranges.len() <= MAX_RANGES).then_some(ranges)
    };
    let all = Product {
        source: Some(list(&sources)?),
        destination: Some(list(&destinations)?),
        functions,
    };
    if sources.len() * destinations.len() > MOST_MIXED {
        return None;
    }
    // Two of these addresses that do not belong together.
    let strange = sources
        .iter()
        .flat_map(|one| destinations.iter().map(move |other| (*one, *other)))
        .filter(|pair| !pairs.contains(pair))
        .collect();
    let strange = rectangles(&strange).into_iter();
    not.extend(strange.map(|(one, other)| (one, other, None)));
    (not.len() <= MOST_NOT).then_some(Mixed { all, not })
}

/// Rectangles that together are just these pairs, each of no more ranges than a rule can have.
fn rectangles(pairs: &BTreeSet<(u16, u16)>) -> Vec<(Vec<Range>, Vec<Range>)> {
    let mut rows: BTreeMap<u16, Vec<u16>> = BTreeMap::new();
    for (row, column) in pairs {
        rows.entry(*row).or_default().push(*column);
    }
    let mut alike: BTreeMap<Vec<u16>, Vec<u16>> = BTreeMap::new();
    for (row, columns) in rows {
        alike.entry(columns).or_default().push(row);
    }
    let lists = |numbers: Vec<u16>| -> Vec<Vec<Range>> {
        let ranges: Vec<_> = ranges(numbers)
            .map(|(min, max)| Range { min, max })
            .collect();
        ranges.chunks(MAX_RANGES).map(<[_]>::to_vec).collect()
    };
    let mut found = Vec::new();
    for (columns, rows) in alike {
        let columns = lists(columns);
        for rows in lists(rows) {
            found.extend(
                columns
                    .iter()
                    .map(|columns| (rows.clone(), columns.clone())),
            );
        }
    }
    found.sort_by_key(|(rows, columns)| {
        let first = |ranges: &[Range]| ranges.first().map(|range| range.min);
        (first(rows), first(columns))
    });
    found
}

/// Ascending numbers as ranges.
fn ranges(numbers: impl IntoIterator<Item = u16>) -> impl Iterator<Item = (u16, u16)> {
    let mut numbers = numbers.into_iter().peekable();
    std::iter::from_fn(move || {
        let first = numbers.next()?;
        let mut last = first;
        while let Some(next) = numbers.next_if(|next| last.checked_add(1) == Some(*next)) {
            last = next;
        }
        Some((first, last))
    })
}

/// Whether a list of addresses has one that reaches more than one station.
pub(super) fn is_broadcast(ranges: &[Range]) -> bool {
    ranges.iter().any(|range| range.max >= SELF_ADDRESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(pairs: &[(u16, u16, u8)]) -> Flow {
        let mut flow = Flow::default();
        for (source, destination, code) in pairs {
            let pair = (Some(*source), Some(*destination));
            flow.functions.entry(pair).or_default().insert(*code);
        }
        flow
    }

    /// What products say, address by address.
    fn spread(products: &[Product]) -> BTreeMap<Pair, Set> {
        let each = |ranges: &Option<Vec<Range>>| -> Vec<Option<u16>> {
            match ranges {
                None => vec![None],
                Some(ranges) => {
                    assert!((1..=MAX_RANGES).contains(&ranges.len()));
                    let all = ranges.iter().flat_map(|range| range.min..=range.max);
                    all.map(Some).collect()
                }
            }
        };
        let mut all = BTreeMap::new();
        for product in products {
            for source in each(&product.source) {
                for destination in each(&product.destination) {
                    let before = all.insert((source, destination), product.functions);
                    assert_eq!(before, None, "two rules for {source:?} to {destination:?}");
                }
            }
        }
        all
    }

    #[test]
    fn products_are_exact() {
        // A cross is no product, though its rows and columns would fill a square.
        let cross = flow(&[(1, 10, 1), (1, 11, 1), (2, 10, 1)]);
        assert_eq!(products(&cross).len(), 2);
        assert_eq!(spread(&products(&cross)), cross.functions);
        let square = flow(&[(1, 10, 1), (1, 11, 1), (2, 10, 1), (2, 11, 1)]);
        assert_eq!(products(&square).len(), 1);
        // Addresses with gaps, more than a rule has ranges for.
        let many: Vec<_> = (0..100).map(|at| (1, at * 3, 1)).collect();
        let many = flow(&many);
        assert_eq!(products(&many).len(), 100_usize.div_ceil(MAX_RANGES));
        assert_eq!(spread(&products(&many)), many.functions);
        // Any sets: a generator that needs no more than a multiplication.
        let mut seed = 1_u32;
        for _ in 0..200 {
            let mut pairs = Vec::new();
            for _ in 0..60 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let [.., a, b] = seed.to_be_bytes().map(u16::from);
                let [c, ..] = seed.to_be_bytes();
                let _ = b;
                pairs.push((a % 7, u16::from(c) % 23, c % 3));
            }
            let some = flow(&pairs);
            assert_eq!(spread(&products(&some)), some.functions);
        }
    }

    #[test]
    fn any_address_stays_apart() {
        let mut some = flow(&[(1, 10, 1)]);
        let mut set = Set::default();
        set.insert(1);
        some.functions.insert((None, Some(10)), set);
        some.functions.insert((None, None), set);
        assert_eq!(spread(&products(&some)), some.functions);
    }

    #[test]
    fn ranges_merge_neighbours() {
        let all: Vec<_> = ranges([1, 2, 3, 5, 65534, 65535]).collect();
        assert_eq!(all, [(1, 3), (5, 5), (65534, 65535)]);
    }
}
