// SPDX-License-Identifier: GPL-2.0

//! Cases as data: rules, packets, and which rule matches which packet.
//!
//! The folder `tests/cases` holds them, and its README.md explains the format. The same file is
//! judged by `core`, by the naive judge, and by the module in the VM.

pub mod expected;
pub mod notation;
pub mod packet;

use std::collections::HashSet;
use std::fs;
use std::path::{Path as FilePath, PathBuf};

use serde::Deserialize;

pub use packet::{Built, Content, Details, Family, Path, Protocol, Route, Seen, Wire};

/// A variant of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variant {
    /// iptables-legacy.
    Legacy,
    /// iptables-nft.
    Nft,
}

impl Variant {
    /// Both.
    pub const ALL: [Variant; 2] = [Variant::Legacy, Variant::Nft];

    /// As the case files and the commands have it.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Legacy => "legacy",
            Variant::Nft => "nft",
        }
    }
}

/// A case, checked.
#[derive(Clone, Debug)]
pub struct Case {
    /// The file's name without its ending.
    pub file: String,
    /// The name, which is the test's too.
    pub name: String,
    /// What would be wrong if the case failed.
    pub why: String,
    /// Families to run it for.
    pub families: Vec<Family>,
    /// Protocols to run it for.
    pub protocols: Vec<Protocol>,
    /// Routes to run it on.
    pub routes: Vec<Route>,
    /// Variants of iptables to run it with.
    pub variants: Vec<Variant>,
    /// Packets by name.
    pub packets: Vec<(String, Content)>,
    /// Rules, in their order in the chain.
    pub rules: Vec<RuleLine>,
    /// Packets that the first rule drops on the spot.
    pub dropped: Vec<Named>,
}

/// A rule of a case, and the packets that it matches.
#[derive(Clone, Debug)]
pub struct RuleLine {
    /// The only protocol that the rule is for.
    pub protocol: Option<Protocol>,
    /// What stands behind `-m dnp3`.
    pub text: String,
    /// The packets that match.
    pub matches: Vec<Named>,
}

/// A packet's name, or `*` for all, perhaps for one protocol or one family only.
#[derive(Clone, Debug)]
pub struct Named {
    name: String,
    protocol: Option<Protocol>,
    family: Option<Family>,
}

impl Named {
    fn is(&self, name: &str, family: Family, protocol: Protocol) -> bool {
        (self.name == "*" || self.name == name)
            && self.protocol.is_none_or(|only| only == protocol)
            && self.family.is_none_or(|only| only == family)
    }
}

/// Whether one of `list` is this packet.
pub fn holds(list: &[Named], name: &str, family: Family, protocol: Protocol) -> bool {
    list.iter().any(|named| named.is(name, family, protocol))
}

impl Case {
    /// The rules that are for this protocol.
    pub fn rules_for(&self, protocol: Protocol) -> impl Iterator<Item = &RuleLine> {
        self.rules
            .iter()
            .filter(move |rule| rule.protocol.is_none_or(|only| only == protocol))
    }

    /// Whether its fragments are not to be put together.
    pub fn untracked(&self) -> bool {
        self.packets
            .iter()
            .any(|(_, content)| content.untracked() == Some(true))
    }

    /// `file::name`
    pub fn title(&self) -> String {
        format!("{}::{}", self.file, self.name)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCase {
    name: String,
    why: String,
    #[serde(default = "both_families")]
    families: Vec<String>,
    #[serde(default = "both_protocols")]
    protocols: Vec<String>,
    #[serde(default = "all_routes")]
    routes: Vec<String>,
    #[serde(default = "both_variants")]
    variants: Vec<String>,
    packets: toml::Table,
    rules: Vec<String>,
    #[serde(default)]
    dropped: String,
}

fn both_families() -> Vec<String> {
    Family::ALL.map(|family| family.name().into()).into()
}

fn both_protocols() -> Vec<String> {
    Protocol::ALL.map(|protocol| protocol.name().into()).into()
}

fn all_routes() -> Vec<String> {
    Route::ALL.map(|route| route.name().into()).into()
}

fn both_variants() -> Vec<String> {
    Variant::ALL.map(|variant| variant.name().into()).into()
}

/// The folder with the case files.
pub fn folder() -> PathBuf {
    FilePath::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// The file in the folder that holds no cases: see [`crate::blobs`].
pub const BLOBS: &str = "blobs.toml";

/// Every case, sorted by file, or one line for the first thing that is wrong.
pub fn load() -> Result<Vec<Case>, String> {
    let folder = folder();
    let wrong = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut files = fs::read_dir(&folder)
        .map_err(wrong)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(wrong)?;
    files.retain(|file| {
        file.extension().is_some_and(|ending| ending == "toml") && !file.ends_with(BLOBS)
    });
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).map_err(wrong)?;
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        cases.extend(parse(&name, &text)?);
    }
    Ok(cases)
}

/// The cases of one file; an error names the file, and the case where it can.
pub fn parse(file: &str, text: &str) -> Result<Vec<Case>, String> {
    let in_file = |error: String| format!("{file}.toml: {}", error.trim_end());
    let mut table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| in_file(error.to_string()))?;
    let list = match table.remove("case") {
        Some(toml::Value::Array(list)) => list,
        _ => return Err(in_file("no [[case]]".into())),
    };
    if let Some(key) = table.keys().next() {
        return Err(in_file(format!("unknown `{key}` (allowed: [[case]])")));
    }
    let mut names = HashSet::new();
    list.into_iter()
        .enumerate()
        .map(|(number, value)| {
            let name = value.get("name").and_then(toml::Value::as_str);
            let label = name.map_or(format!("case {}", number + 1), |name| {
                format!("case \"{name}\"")
            });
            let case = case(file, value)
                .map_err(|error| in_file(format!("{label}: {}", error.trim_end())))?;
            if names.insert(case.name.clone()) {
                Ok(case)
            } else {
                Err(in_file(format!("{label}: the name is taken")))
            }
        })
        .collect()
}

fn case(file: &str, value: toml::Value) -> Result<Case, String> {
    let raw: RawCase = value
        .try_into()
        .map_err(|error: toml::de::Error| error.message().to_string())?;
    let families = pick("families", &raw.families, &Family::ALL, Family::name)?;
    let protocols = pick("protocols", &raw.protocols, &Protocol::ALL, Protocol::name)?;
    let routes = pick("routes", &raw.routes, &Route::ALL, Route::name)?;
    let variants = pick("variants", &raw.variants, &Variant::ALL, Variant::name)?;
    let mut packets = Vec::new();
    for (name, value) in raw.packets {
        let in_packet = |error: String| format!("packet `{name}`: {error}");
        if name.contains([' ', '@', '*']) {
            return Err(in_packet("no space, `@` or `*` in a name".into()));
        }
        let details = match value {
            toml::Value::String(payload) => Details {
                payload,
                ..Details::default()
            },
            value => value
                .try_into()
                .map_err(|error: toml::de::Error| in_packet(error.message().into()))?,
        };
        let content = details.check().map_err(in_packet)?;
        for &family in &families {
            for &protocol in &protocols {
                content.suits(family, protocol).map_err(|key| {
                    in_packet(format!(
                        "`{key}` is not for {} over {}: limit the case's protocols or families",
                        protocol.name(),
                        family.name()
                    ))
                })?;
            }
        }
        packets.extend(
            content
                .each_split()
                .into_iter()
                .map(|content| (name.clone(), content)),
        );
    }
    let known = |named: Vec<Named>| match named
        .iter()
        .find(|named| named.name != "*" && !packets.iter().any(|(name, _)| *name == named.name))
    {
        Some(named) => Err(format!("no packet `{}`", named.name)),
        None => Ok(named),
    };
    let rules = raw
        .rules
        .iter()
        .map(|line| {
            let in_rule = |error: String| format!("rule `{line}`: {error}");
            let (rule, matches) = line.split_once("=>").ok_or_else(|| {
                in_rule("expected `RULE => PACKET...`, or `=> -` for none".into())
            })?;
            let (protocol, text) = match Protocol::ALL
                .into_iter()
                .find_map(|protocol| Some((protocol, rule.strip_prefix(protocol.name())?)))
            {
                Some((protocol, rest)) => (
                    Some(protocol),
                    rest.strip_prefix(':')
                        .ok_or_else(|| in_rule("expected `:` behind the protocol".into()))?,
                ),
                None => (None, rule),
            };
            Ok(RuleLine {
                protocol,
                text: text.trim().to_string(),
                matches: names(matches).and_then(known).map_err(in_rule)?,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    let dropped = match raw.dropped.as_str() {
        "" => Vec::new(),
        text => names(text)
            .and_then(known)
            .map_err(|error| format!("dropped: {error}"))?,
    };
    if raw.why.trim().is_empty() || packets.is_empty() || rules.is_empty() {
        return Err("needs a reason, a packet and a rule".into());
    }
    let case = Case {
        file: file.into(),
        name: raw.name,
        why: raw.why,
        families,
        protocols,
        routes,
        variants,
        packets,
        rules,
        dropped,
    };
    let put_together = |(_, content): &(String, Content)| content.untracked() == Some(false);
    if case.untracked() && case.packets.iter().any(put_together) {
        return Err("unreassembled: all fragments of a case, or none".into());
    }
    Ok(case)
}

/// The members of `all` that are named.
fn pick<T: Copy>(
    key: &str,
    wanted: &[String],
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let one = |word: &String| {
        all.iter()
            .copied()
            .find(|item| name(*item) == word)
            .ok_or_else(|| {
                let allowed: Vec<_> = all.iter().map(|item| name(*item)).collect();
                format!("{key}: `{word}` (allowed: {})", allowed.join(", "))
            })
    };
    let picked = wanted.iter().map(one).collect::<Result<Vec<_>, _>>()?;
    if picked.is_empty() {
        return Err(format!("{key}: empty"));
    }
    Ok(picked)
}

/// `-`, or names with `@tcp`, `@udp`, `@ipv4` or `@ipv6` behind them where they are for one only.
fn names(text: &str) -> Result<Vec<Named>, String> {
    let words: Vec<_> = text.split_whitespace().collect();
    if words == ["-"] {
        return Ok(Vec::new());
    }
    if words.is_empty() {
        return Err("name packets, or `-` for none".into());
    }
    words
        .into_iter()
        .map(|word| {
            let (name, only) = match word.split_once('@') {
                Some((name, only)) => (name, Some(only)),
                None => (word, None),
            };
            let protocol = Protocol::ALL.into_iter().find(|p| Some(p.name()) == only);
            let family = Family::ALL.into_iter().find(|f| Some(f.name()) == only);
            if only.is_some() && protocol.is_none() && family.is_none() {
                return Err(format!("`{word}` (allowed behind @: tcp, udp, ipv4, ipv6)"));
            }
            Ok(Named {
                name: name.into(),
                protocol,
                family,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        [[case]]
        name = "one"
        why = "because"
        packets.read = "read"
        packets.cut = { payload = "cut(5, read)" }
        rules = ["--fc 1 => read", "tcp: --status partial => cut@tcp", " => -"]
    "#;

    #[test]
    fn a_case_is_what_it_says() {
        let cases = parse("file", GOOD).unwrap();
        let [case] = cases.as_slice() else { panic!() };
        assert_eq!(case.title(), "file::one");
        assert_eq!(case.rules_for(Protocol::Tcp).count(), 3);
        assert_eq!(case.rules_for(Protocol::Udp).count(), 2);
        let partial = &case.rules[1];
        assert_eq!(partial.text, "--status partial");
        assert!(holds(&partial.matches, "cut", Family::V6, Protocol::Tcp));
        assert!(!holds(&partial.matches, "cut", Family::V6, Protocol::Udp));
        assert!(!holds(&partial.matches, "read", Family::V6, Protocol::Tcp));
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_case() {
        for (from, to, parts) in [
            ("why =", "wy =", ["case \"one\": ", "unknown field `wy`"]),
            ("[[case]]", "[[cases]]", ["", "no [[case]]"]),
            (
                "payload =",
                "payloud =",
                ["packet `cut`: ", "unknown field `payloud`"],
            ),
            (
                "cut(5, read)",
                "cut(5, reed)",
                ["packet `cut`: ", "unknown `reed`"],
            ),
            (
                "=> read",
                "=> reed",
                ["rule `--fc 1 => reed`", "no packet `reed`"],
            ),
            ("=> read", "=>", ["rule `--fc 1 =>`", "or `-` for none"]),
            (
                "=> read",
                "read",
                ["rule `--fc 1 read`", "expected `RULE => PACKET"],
            ),
            ("@tcp", "@tpc", ["`cut@tpc`", "allowed behind @"]),
            ("\"because\"", "\"\"", ["case \"one\": ", "needs a reason"]),
            (
                "why",
                "routes = ['inputt']\nwhy",
                ["routes: `inputt`", "input, output, forward"],
            ),
            (
                "cut = {",
                "cut = { flags = \"S\",",
                ["packet `cut`: ", "`flags` is not for udp"],
            ),
            (
                "cut = {",
                "cut = { flags = \"X\",",
                ["packet `cut`: ", "`X` (allowed: FSRPAUEC)"],
            ),
            (
                "cut = {",
                "cut = { split = 3,",
                ["packet `cut`: ", "allowed are 1 and 2"],
            ),
            (
                "cut = {",
                "cut = { fragments = [9],",
                ["packet `cut`: ", "multiples of 8"],
            ),
        ] {
            let text = GOOD.replacen(from, to, 1);
            let error = parse("file", &text).unwrap_err();
            assert!(error.starts_with("file.toml: "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{from} -> {to}: {error}");
            }
        }
        let twice = parse("file", &GOOD.repeat(2)).unwrap_err();
        assert!(twice.contains("the name is taken"), "{twice}");
    }
}
