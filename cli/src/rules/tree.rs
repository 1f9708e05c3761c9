// SPDX-License-Identifier: GPL-2.0

//! Chains that part by IP address.
//!
//! A chain holds a few rules of the form "-d 10.1.0.0/18, go there", each for about a third of the
//! addresses that are left to it, and one for the rest. Which prefixes these are follows from the
//! addresses and not from how networks are usually made: below any prefix with more than n addresses lies one
//! that has between n/2 and n of them.

use crate::ruleset::Family;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rules that the last chain of a way may have.
const IN_A_LEAF: usize = 8;
/// Into how many parts a chain parts its addresses, at least.
const PARTS: usize = 3;

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    /// The bits, from the top of the number down; those behind the prefix are zero.
    bits: u128,
    /// How many there are.
    length: u32,
}

impl Prefix {
    pub(super) fn of(address: IpAddr) -> Prefix {
        match address {
            IpAddr::V4(address) => Prefix {
                bits: u128::from(u32::from(address)) << 96,
                length: 32,
            },
            IpAddr::V6(address) => Prefix {
                bits: address.into(),
                length: 128,
            },
        }
    }

    /// As iptables-save prints it.
    pub(super) fn text(&self, family: Family) -> String {
        let address = match family {
            Family::V4 => IpAddr::V4(Ipv4Addr::from((self.bits >> 96) as u32)),
            Family::V6 => IpAddr::V6(Ipv6Addr::from(self.bits)),
        };
        format!("{address}/{}", self.length)
    }

    fn mask(length: u32) -> u128 {
        match length {
            0 => 0,
            _ => u128::MAX << (128 - length.min(128)),
        }
    }

    /// The longest prefix of both.
    fn common(self, other: Prefix) -> Prefix {
        let alike = (self.bits ^ other.bits).leading_zeros();
        let length = alike.min(self.length).min(other.length);
        Prefix {
            bits: self.bits & Prefix::mask(length),
            length,
        }
    }

    /// The bit behind the prefix `of`.
    fn bit_behind(self, of: Prefix) -> bool {
        self.bits << of.length.min(127) >> 127 != 0
    }

    /// The prefix that both are the halves of.
    fn joined(self, other: Prefix) -> Option<Prefix> {
        let whole = self.common(other);
        (self.length == other.length && whole.length + 1 == self.length).then_some(whole)
    }
}

/// Joins prefixes that lead to the same and together are a longer row of addresses. They are in the order of
/// their addresses, and none holds another.
pub(super) fn joined<T: PartialEq>(
    items: impl IntoIterator<Item = (Prefix, T)>,
) -> Vec<(Prefix, T)> {
    let mut done: Vec<(Prefix, T)> = Vec::new();
    for (mut prefix, to) in items {
        while let Some(whole) = done
            .last()
            .filter(|(_, other)| *other == to)
            .and_then(|(before, _)| before.joined(prefix))
        {
            done.pop();
            prefix = whole;
        }
        done.push((prefix, to));
    }
    done
}

/// A chain, and why it is there.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    pub(super) name: String,
    pub(super) why: String,
    pub(super) rules: Vec<String>,
}

/// Chains in the making, all of one way.
#[derive(Clone, Debug)]
pub(super) struct Chains {
    family: Family,
    name: String,
    pub(super) chains: Vec<Chain>,
}

/// What is parted: prefixes in their order, none in another, each with the rules it comes to.
pub(super) struct Branch<'a> {
    /// `-s` or `-d`.
    pub(super) option: &'a str,
    /// What the addresses are, for people.
    pub(super) what: &'a str,
    pub(super) items: Vec<(Prefix, Vec<String>)>,
}

impl Chains {
    /// The first chain has this name, the others begin with it.
    pub(super) fn new(name: &str, family: Family) -> Chains {
        Chains {
            family,
            name: name.into(),
            chains: Vec::new(),
        }
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// A new chain's place.
    pub(super) fn add(&mut self, why: String) -> usize {
        let at = self.chains.len();
        let name = match at {
            0 => self.name.clone(),
            _ => format!("{}-{at}", self.name),
        };
        let rules = Vec::new();
        self.chains.push(Chain { name, why, rules });
        at
    }

    pub(super) fn name(&self, at: usize) -> &str {
        self.chains.get(at).map_or("", |chain| &chain.name)
    }

    pub(super) fn rule(&mut self, at: usize, words: &str) {
        if let Some(chain) = self.chains.get_mut(at) {
            let rule = format!("-A {} {words}", chain.name);
            chain.rules.push(rule);
        }
    }

    /// Fills a chain: what parts the addresses, and at the end of each way their rules.
    pub(super) fn part(&mut self, at: usize, branch: Branch<'_>) {
        // Chains to fill, rather than a call in a call: how deep they lie is the baseline's matter.
        let Branch {
            option,
            what,
            items,
        } = branch;
        let mut left = vec![(at, items)];
        while let Some((at, mut items)) = left.pop() {
            let most = items.len().div_ceil(PARTS);
            while rules_of(&items) > IN_A_LEAF && items.len() > most && items.len() > 1 {
                let (prefix, piece) = cut(&mut items, most);
                // One address: its rules can stand here. So can those that no prefix parts, were there any.
                if piece.len() == 1 || items.is_empty() {
                    let rules = piece.iter().flat_map(|(_, rules)| rules);
                    rules.for_each(|rule| self.rule(at, rule));
                    continue;
                }
                let below = self.below(what, &piece);
                let words = format!(
                    "{option} {} -g {}",
                    prefix.text(self.family),
                    self.name(below)
                );
                self.rule(at, &words);
                left.push((below, piece));
            }
            if rules_of(&items) > IN_A_LEAF && items.len() > 1 {
                let below = self.below(what, &items);
                let words = format!("-g {}", self.name(below));
                self.rule(at, &words);
                left.push((below, items));
                continue;
            }
            for (_, rules) in &items {
                rules.iter().for_each(|rule| self.rule(at, rule));
            }
        }
    }

    fn below(&mut self, what: &str, items: &[(Prefix, Vec<String>)]) -> usize {
        let text = |item: Option<&(Prefix, Vec<String>)>| {
            item.map_or_else(String::new, |(prefix, _)| prefix.text(self.family))
        };
        let why = format!(
            "{what} from {} to {}, {} in all",
            text(items.first()),
            text(items.last()),
            items.len()
        );
        self.add(why)
    }
}

fn rules_of(items: &[(Prefix, Vec<String>)]) -> usize {
    items.iter().map(|(_, rules)| rules.len()).sum()
}

/// Takes the items below some prefix out of these: `most` at most, and more than half as many where there are
/// so many.
fn cut<T>(items: &mut Vec<(Prefix, T)>, most: usize) -> (Prefix, Vec<(Prefix, T)>) {
    let whole = |items: &[(Prefix, T)], from: usize, to: usize| -> Prefix {
        let first = items[from].0;
        items[to - 1].0.common(first)
    };
    let (mut from, mut to) = (0, items.len());
    let mut prefix = whole(items, from, to);
    while to - from > most.max(1) {
        let zeros = items[from..to].partition_point(|(item, _)| !item.bit_behind(prefix));
        let middle = from + zeros;
        // Each bit more parts prefixes of which none holds another.
        if middle == from || middle == to {
            break;
        }
        match middle - from >= to - middle {
            true => to = middle,
            false => from = middle,
        }
        prefix = whole(items, from, to);
    }
    (prefix, items.drain(from..to).collect())
}
