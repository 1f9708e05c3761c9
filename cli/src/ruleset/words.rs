// SPDX-License-Identifier: GPL-2.0

//! The words of a line, as iptables-restore cuts them, and the values that options have: addresses,
//! ports, protocols, flags.

use super::{Family, Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why a value is refused: what is wrong with it, and what is allowed.
pub(super) type Refused = String;

/// Characters of what stands in the file that a message repeats.
const SHOWN: usize = 48;

/// A piece of the file, for a message: on one line and not too long.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(SHOWN)
        .flat_map(char::escape_debug)
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("'{shown}'")
}

/// The words of a line. In double quotes blanks belong to the word, and `\` takes the next character as it is.
pub(super) fn split(line: &str) -> Result<Vec<String>, Refused> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                word.get_or_insert_with(String::new);
            }
            '\\' if is_quoted => match letters.next() {
                Some(letter) => word.get_or_insert_with(String::new).push(letter),
                None => break,
            },
            ' ' | '\t' if !is_quoted => words.extend(word.take()),
            letter => word.get_or_insert_with(String::new).push(letter),
        }
    }
    if is_quoted {
        return Err("a quotation mark is open at the end; \"…\" has two".into());
    }
    words.extend(word);
    Ok(words)
}

/// A number, decimal or with 0x.
pub(super) fn number(word: &str) -> Option<u64> {
    let (digits, radix) = match word.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (word, 10),
    };
    let is_digit = |letter: char| letter.is_digit(radix);
    (!digits.is_empty() && digits.chars().all(is_digit))
        .then(|| u64::from_str_radix(digits, radix).ok())
        .flatten()
}

/// `[12:3456]`, the counters before a rule or behind a chain.
pub(super) fn counter(word: &str) -> Option<(u64, u64)> {
    let (packets, octets) = word.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some((packets.parse().ok()?, octets.parse().ok()?))
}

/// One address with its mask. `Ok(None)` for the name of a host or a network: what it stands for is not
/// known here.
pub(super) fn net(word: &str, family: Family) -> Result<Option<Net>, Refused> {
    let bits: u32 = match family {
        Family::V4 => 32,
        Family::V6 => 128,
    };
    let (address, mask) = match word.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (word, None),
    };
    let address = match address.parse::<IpAddr>() {
        Ok(address) if Family::of(address) == family => bits_of(address),
        Ok(address) => {
            return Err(format!(
                "{} is an address of {}, and the rules are of {family}",
                quoted(word),
                Family::of(address)
            ))
        }
        Err(_) => {
            let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
            let begins = address.starts_with(|letter: char| letter.is_ascii_alphabetic());
            if begins && address.chars().all(is_name) {
                return Ok(None);
            }
            return Err(format!(
                "{} is no address; 192.0.2.1, 192.0.2.0/24, 192.0.2.0/255.255.255.0 and 2001:db8::/32 are",
                quoted(word)
            ));
        }
    };
    let wrong_mask = || {
        format!(
            "{} has no right mask; /0 to /{bits} are, or one as an address",
            quoted(word)
        )
    };
    let mask = match mask {
        None => u128::MAX,
        Some(mask) => match mask.parse::<IpAddr>() {
            Ok(mask) if Family::of(mask) == family => match family {
                Family::V4 => bits_of(mask) | !u128::from(u32::MAX),
                Family::V6 => bits_of(mask),
            },
            Ok(_) => return Err(wrong_mask()),
            Err(_) => {
                let length = number(mask)
                    .filter(|length| *length <= u64::from(bits))
                    .ok_or_else(wrong_mask)?;
                let rest = bits.saturating_sub(length as u32);
                u128::MAX.checked_shl(rest).unwrap_or(0)
            }
        },
    };
    Ok(Some(Net {
        address: address & mask,
        mask: match family {
            Family::V4 => mask & u128::from(u32::MAX),
            Family::V6 => mask,
        },
        family,
    }))
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// Whether a word is an address of IPv6, perhaps with a mask: only such a rule has one.
pub(super) fn is_v6(word: &str) -> bool {
    let address = word.split('/').next().unwrap_or_default();
    address.parse::<Ipv6Addr>().is_ok() && address.parse::<Ipv4Addr>().is_err()
}

/// Ports: `80`, `80:90`, `:90`, `80:`. `Ok(None)` where one is the name of a service.
pub(super) fn ports(word: &str) -> Result<Option<(u16, u16)>, Refused> {
    let one = |word: &str| -> Result<Option<u16>, Refused> {
        if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
            return Ok(None);
        }
        number(word)
            .and_then(|number| u16::try_from(number).ok())
            .map(Some)
            .ok_or_else(|| {
                format!(
                    "{} is no port; 0 to 65535 and ranges as 20000:20010 are",
                    quoted(word)
                )
            })
    };
    let (first, last) = match word.split_once(':') {
        None => (one(word)?, one(word)?),
        Some((first, last)) => (
            if first.is_empty() {
                Some(0)
            } else {
                one(first)?
            },
            if last.is_empty() {
                Some(u16::MAX)
            } else {
                one(last)?
            },
        ),
    };
    let (Some(first), Some(last)) = (first, last) else {
        return Ok(None);
    };
    if first > last {
        return Err(format!(
            "{} is reversed; write {last}:{first}",
            quoted(word)
        ));
    }
    Ok(Some((first, last)))
}

/// The protocols that `-p` can be given by name, as far as one is likely to be in such rules.
const PROTOCOLS: [(&str, u8); 17] = [
    ("all", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("ospf", 89),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// A protocol; `Ok(None)` where its name is none of ours.
pub(super) fn protocol(word: &str) -> Result<Option<u8>, Refused> {
    if let Some((_, number)) = PROTOCOLS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word))
    {
        return Ok(Some(*number));
    }
    if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return Ok(None);
    }
    number(word)
        .and_then(|number| u8::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| {
            format!(
                "{} is no protocol; tcp, udp, icmp and 0 to 255 are",
                quoted(word)
            )
        })
}

/// Flags of TCP: `SYN,ACK`, `ALL`, `NONE`.
pub(super) fn flags(word: &str) -> Result<u8, Refused> {
    const FLAGS: [(&str, u8); 8] = [
        ("FIN", 0x01),
        ("SYN", 0x02),
        ("RST", 0x04),
        ("PSH", 0x08),
        ("ACK", 0x10),
        ("URG", 0x20),
        ("ALL", 0x3F),
        ("NONE", 0),
    ];
    word.split(',').try_fold(0, |flags, name| {
        FLAGS
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, bit)| flags | bit)
            .ok_or_else(|| {
                format!(
                    "{} is no flag of TCP; FIN, SYN, RST, PSH, ACK, URG, ALL and NONE are",
                    quoted(name)
                )
            })
    })
}

/// States of `--ctstate`, and the bits that they are.
pub(super) const STATES: [(&str, u8); 7] = [
    ("INVALID", super::state::INVALID),
    ("NEW", super::state::NEW),
    ("ESTABLISHED", super::state::ESTABLISHED),
    ("RELATED", super::state::RELATED),
    ("UNTRACKED", super::state::UNTRACKED),
    ("SNAT", super::state::SNAT),
    ("DNAT", super::state::DNAT),
];

/// States, as many as `names` begins with.
pub(super) fn states(word: &str, names: &[(&str, u8)]) -> Result<u8, Refused> {
    word.split(',').try_fold(0, |states, name| {
        names
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, bit)| states | bit)
            .ok_or_else(|| {
                let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
                format!("{} is no state; {} are", quoted(name), names.join(", "))
            })
    })
}

/// A type of ICMP: `8`, `3/4`, `any`. `Ok(None)` for one by name.
pub(super) fn icmp(word: &str, family: Family) -> Result<Option<(u8, u8, u8)>, Refused> {
    if word.eq_ignore_ascii_case("any") && family == Family::V4 {
        return Ok(Some((super::ANY_ICMP, 0, 255)));
    }
    if word.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return Ok(None);
    }
    let wrong = || format!("{} is no type of ICMP; 8, 3/4 and any are", quoted(word));
    let octet = |word: &str| {
        number(word)
            .and_then(|number| u8::try_from(number).ok())
            .ok_or_else(wrong)
    };
    Ok(Some(match word.split_once('/') {
        None => (octet(word)?, 0, 255),
        Some((kind, code)) => {
            let code = octet(code)?;
            (octet(kind)?, code, code)
        }
    }))
}
