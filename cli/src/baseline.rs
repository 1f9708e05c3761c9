// SPDX-License-Identifier: GPL-2.0

//! The baseline: who talks to whom, as `dnp3fw learn` writes it down and people may change it, and as
//! the other commands read it. `cli/baseline.schema.json` is its schema.
//!
//! [`read()`] takes two forms. The one with a version is that of [`Baseline`]. The simple one,
//! `{"authorized_communications": [{"master_ip", "outstation_ip", "expected_function_codes"}]}`, says
//! nothing of link addresses, and becomes communications over TCP that the master opens, with one link
//! whose addresses are `None`: any. Whatever else a file is, it is refused in one line.

use dnp3_core::rule::{class, protocol};
use dnp3_core::text::names::function as function_name;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::Formatter;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::{self, Display};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The version of the form that is written, and the only one that is read.
pub const VERSION: u32 = 1;
/// How the schema is called in a baseline.
pub const SCHEMA: &str = "baseline.schema.json";
/// The schema itself.
pub const SCHEMA_TEXT: &str = include_str!("../baseline.schema.json");
/// The most octets of a file that are read: some 100,000 links.
pub const MAX_OCTETS: u64 = 64 << 20;
/// The first link address that no single station has.
pub const RESERVED: u16 = 0xFFF0;
/// The link address of whichever station hears it; behind it come the three of broadcast.
pub const SELF_ADDRESS: u16 = 0xFFFC;
/// The function codes of requests.
const REQUESTS: (u8, u8) = (0, 128);
/// Those of responses.
const RESPONSES: (u8, u8) = (129, 131);

/// Who talks to whom.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// [`VERSION`].
    pub version: u32,
    /// [`SCHEMA`], for editors.
    #[serde(rename = "$schema")]
    pub schema: String,
    /// What wrote it.
    pub generator: String,
    /// What it was learned from; `None` where it was written by hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub captured: Option<Captured>,
    /// In the order of their addresses.
    pub communications: Vec<Communication>,
}

/// What a baseline was learned from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Captured {
    /// As they were given.
    pub files: Vec<String>,
    /// When the first packet was captured, in RFC 3339; `None` where there was none.
    pub from: Option<String>,
    /// And the last.
    pub to: Option<String>,
    /// Packets with one of the ports, in all files.
    pub packets: u64,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP
    Tcp,
    /// UDP
    Udp,
}

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The end whose frames have DIR set.
    Master,
    /// The other.
    Outstation,
}

/// Two hosts that talk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Communication {
    /// The master's IP address.
    #[serde(deserialize_with = "ip")]
    pub master_ip: IpAddr,
    /// The outstation's, of the same version of IP.
    #[serde(deserialize_with = "ip")]
    pub outstation_ip: IpAddr,
    /// What carries the frames.
    pub protocol: Transport,
    /// The port of the end that did not open the connection; with `opened_by` `None`, of both ends.
    #[serde(deserialize_with = "port")]
    pub port: u16,
    /// Who opened the connection, or sends from another port than `port`. `None` where both ends have
    /// that port, and no capture has the connection's beginning.
    #[serde(default)]
    pub opened_by: Option<Side>,
    /// How many connections there were; with UDP, how many pairs of ports.
    #[serde(default)]
    pub connections: u64,
    /// Which stations talk over them.
    #[serde(deserialize_with = "list")]
    pub links: Vec<Link>,
    /// For people.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub comment: Option<String>,
}

/// Two stations that talk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The master's link address; `None` is any.
    #[serde(deserialize_with = "master")]
    pub master: Option<u16>,
    /// The outstation's, or the self-address or one of broadcast, from where nothing comes back;
    /// `None` is any.
    #[serde(deserialize_with = "outstation")]
    pub outstation: Option<u16>,
    /// What the master sends, in the order of the codes.
    #[serde(deserialize_with = "list")]
    pub requests: Vec<Function>,
    /// What the outstation sends.
    #[serde(deserialize_with = "list")]
    pub responses: Vec<Function>,
    /// Frames without user data, such as keep-alives; `None` where nothing is known of them.
    #[serde(
        default,
        deserialize_with = "some",
        serialize_with = "one_line",
        skip_serializing_if = "Option::is_none"
    )]
    pub link_functions: Option<LinkFunctions>,
    /// For people.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub comment: Option<String>,
}

/// A function that is used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// Its code.
    #[serde(deserialize_with = "function")]
    pub function: u8,
    /// Its name, where the standard gives it one.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    pub name: Option<String>,
    /// How many messages there were, each an application fragment.
    #[serde(default)]
    pub messages: u64,
    /// Octets of them, from the application control octet on.
    #[serde(default)]
    pub octets: u64,
    /// Groups and variations of their object headers, `g60v1`.
    #[serde(default, serialize_with = "one_line")]
    pub objects: Vec<Object>,
    /// The time from one to the next; `None` where there were not two.
    #[serde(
        default,
        deserialize_with = "some",
        serialize_with = "one_line",
        skip_serializing_if = "Option::is_none"
    )]
    pub interval_seconds: Option<Interval>,
}

/// The group and the variation of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The group.
    pub group: u8,
    /// The variation.
    pub variation: u8,
}

/// Seconds from one message to the next with the same function.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The shortest.
    #[serde(deserialize_with = "seconds")]
    pub least: f64,
    /// As many were shorter as longer.
    #[serde(deserialize_with = "seconds")]
    pub median: f64,
    /// The longest.
    #[serde(deserialize_with = "seconds")]
    pub most: f64,
}

/// How many frames without user data there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkFunctions {
    /// From the master.
    #[serde(default)]
    pub requests: u64,
    /// From the outstation.
    #[serde(default)]
    pub responses: u64,
}

impl Link {
    /// Whether its outstation is the self-address or one of broadcast.
    pub fn is_broadcast(&self) -> bool {
        self.outstation.is_some_and(|to| to >= SELF_ADDRESS)
    }
}

impl Function {
    /// A function of which nothing is known but its code.
    pub fn new(function: u8) -> Function {
        Function {
            function,
            name: function_name(function).map(str::to_owned),
            messages: 0,
            octets: 0,
            objects: Vec::new(),
            interval_seconds: None,
        }
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "g{}v{}", self.group, self.variation)
    }
}

impl FromStr for Object {
    type Err = ();

    fn from_str(text: &str) -> Result<Object, ()> {
        let (group, variation) = text
            .strip_prefix('g')
            .ok_or(())?
            .split_once('v')
            .ok_or(())?;
        let object = Object {
            group: group.parse().map_err(|_| ())?,
            variation: variation.parse().map_err(|_| ())?,
        };
        // No signs, no leading zeros.
        (object.to_string() == text).then_some(object).ok_or(())
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object, D::Error> {
        word(deserializer, "an object's group and variation, as g60v1")
    }
}

/// Reads a string that becomes a `T`; `what` says what is allowed.
fn word<'de, T: FromStr, D: Deserializer<'de>>(
    deserializer: D,
    what: &'static str,
) -> Result<T, D::Error> {
    struct Word<T>(&'static str, PhantomData<T>);
    impl<T: FromStr> Visitor<'_> for Word<T> {
        type Value = T;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
            text.parse()
                .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_str(Word(what, PhantomData))
}

/// A whole number that `is_allowed`, or where `null_is_any` null; `what` says what is allowed.
struct Number {
    is_allowed: fn(u64) -> bool,
    null_is_any: bool,
    what: &'static str,
}

impl<'de> Visitor<'de> for Number {
    type Value = Option<u16>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<u16>, E> {
        match u16::try_from(number) {
            Ok(small) if (self.is_allowed)(number) => Ok(Some(small)),
            _ => Err(E::invalid_value(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<u16>, E> {
        match self.null_is_any {
            true => Ok(None),
            false => Err(E::invalid_type(Unexpected::Unit, &self)),
        }
    }
}

fn ip<'de, D: Deserializer<'de>>(deserializer: D) -> Result<IpAddr, D::Error> {
    let address: IpAddr = word(deserializer, "an IP address, as 192.0.2.1 or 2001:db8::1")?;
    // ::ffff:192.0.2.1 is how programs write an address of IPv4; no packet has it.
    Ok(address.to_canonical())
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let number = Number {
        is_allowed: |port| port != 0,
        null_is_any: false,
        what: "a port, 1 to 65535",
    };
    let port = deserializer.deserialize_any(number)?;
    Ok(port.unwrap_or_default())
}

fn master<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    deserializer.deserialize_any(Number {
        is_allowed: |address| address < RESERVED.into(),
        null_is_any: true,
        what: "a master's link address, 0 to 65519, or null for any",
    })
}

fn outstation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    deserializer.deserialize_any(Number {
        is_allowed: |address| address < RESERVED.into() || address >= SELF_ADDRESS.into(),
        null_is_any: true,
        what:
            "an outstation's link address, 0 to 65519, 65532 (self) or 65533 to 65535 (broadcast), \
               or null for any",
    })
}

fn function<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let number = Number {
        is_allowed: |code| code <= RESPONSES.1.into(),
        null_is_any: false,
        what: "a function code, 0 to 128 in requests, 129 to 131 in responses",
    };
    let code = deserializer.deserialize_any(number)?;
    Ok(code.unwrap_or_default() as u8)
}

fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    match seconds >= 0.0 {
        true => Ok(seconds),
        false => Err(de::Error::invalid_value(
            Unexpected::Float(seconds),
            &"seconds, 0 or more",
        )),
    }
}

/// What stands in the file as an object. By itself serde takes an array of the members as well.
struct Members<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<T>, D::Error> {
        struct Map<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Map<T> {
            type Value = Members<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, {...}")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Members<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Members)
            }
        }
        deserializer.deserialize_map(Map(PhantomData))
    }
}

fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let list: Vec<Members<T>> = Vec::deserialize(deserializer)?;
    Ok(list.into_iter().map(|one| one.0).collect())
}

fn some_list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<T>>, D::Error> {
    list(deserializer).map(Some)
}

/// A member that may not be there, but is not null.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

fn some<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Members::deserialize(deserializer).map(|one| Some(one.0))
}

/// A communication of the simple form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Authorized {
    #[serde(deserialize_with = "ip")]
    master_ip: IpAddr,
    #[serde(deserialize_with = "ip")]
    outstation_ip: IpAddr,
    expected_function_codes: Vec<Codes>,
}

/// A code of the simple form, or a name as `--fc` takes it, which may be that of a group.
#[derive(Debug)]
struct Codes(BTreeSet<u8>);

impl<'de> Deserialize<'de> for Codes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Codes, D::Error> {
        struct Code;
        impl Visitor<'_> for Code {
            type Value = Codes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a function code, 0 to 131, or a name that --fc takes")
            }
            fn visit_u64<E: de::Error>(self, code: u64) -> Result<Codes, E> {
                match u8::try_from(code) {
                    Ok(code) if code <= RESPONSES.1 => Ok(Codes([code].into())),
                    _ => Err(E::invalid_value(Unexpected::Unsigned(code), &self)),
                }
            }
            fn visit_str<E: de::Error>(self, name: &str) -> Result<Codes, E> {
                let rule = dnp3_core::text::parse(["--fc", name], protocol::TCP)
                    .map_err(|error| E::custom(format_args!("{error}")))?;
                let has = |code: &u8| {
                    let word = rule.fc.get(usize::from(*code) / 32);
                    word.is_some_and(|word| word >> (code % 32) & 1 != 0)
                };
                let codes: BTreeSet<u8> = (0..=u8::MAX).filter(has).collect();
                // Frames without user data are not asked for here, and may not be forbidden.
                let is_known = codes.last().is_none_or(|code| *code <= RESPONSES.1);
                match is_known && rule.classes & class::CONT == 0 {
                    true => Ok(Codes(codes)),
                    false => Err(E::invalid_value(Unexpected::Str(name), &self)),
                }
            }
        }
        deserializer.deserialize_any(Code)
    }
}

/// A file of either form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, deserialize_with = "given")]
    version: Option<u64>,
    #[serde(default, rename = "$schema", deserialize_with = "given")]
    schema: Option<String>,
    #[serde(default, deserialize_with = "given")]
    generator: Option<String>,
    #[serde(default, deserialize_with = "some")]
    captured: Option<Captured>,
    #[serde(default, deserialize_with = "some_list")]
    communications: Option<Vec<Communication>>,
    #[serde(default, deserialize_with = "some_list")]
    authorized_communications: Option<Vec<Authorized>>,
}

/// Reads a baseline of either form. `name` is how the file is called in what is said of it.
///
/// # Errors
///
/// One line: what is wrong, where, and what is allowed.
pub fn read(name: &str, source: impl Read) -> Result<Baseline, String> {
    read_noting(name, source).map(|(baseline, _)| baseline)
}

/// The same, with lines on what was read as something else than it says.
///
/// # Errors
///
/// The same.
pub fn read_noting(name: &str, source: impl Read) -> Result<(Baseline, Vec<String>), String> {
    let mut octets = Vec::new();
    source
        .take(MAX_OCTETS + 1)
        .read_to_end(&mut octets)
        .map_err(|error| format!("{name}: {error}"))?;
    if octets.len() as u64 > MAX_OCTETS {
        let most = MAX_OCTETS >> 20;
        return Err(format!(
            "{name}: is longer than {most} MiB, which no baseline is"
        ));
    }
    let baseline = parse(&octets).map_err(|error| format!("{name}: {}", on_a_line(&error)))?;
    Ok((baseline, mapped(&octets).into_iter().collect()))
}

fn parse(octets: &[u8]) -> Result<Baseline, String> {
    if octets.iter().all(u8::is_ascii_whitespace) {
        return Err("is empty; a baseline is wanted, as dnp3fw learn writes it".into());
    }
    let mut json = serde_json::Deserializer::from_slice(octets);
    let Members(document): Members<Document> =
        serde_path_to_error::deserialize(&mut json).map_err(|error| said(&error))?;
    json.end().map_err(|error| no_json(&error.to_string()))?;
    match (&document.communications, document.authorized_communications) {
        (None, Some(authorized)) if document.version.is_none() => Ok(Baseline {
            version: VERSION,
            schema: SCHEMA.into(),
            generator: document.generator.unwrap_or_default(),
            captured: None,
            communications: simple(authorized)?,
        }),
        (None, Some(_)) => Err(format!(
            "authorized_communications is of the form without a version; with \"version\": {VERSION} \
             it is communications"
        )),
        (Some(_), Some(_)) => {
            Err("has communications and authorized_communications; one of them is allowed".into())
        }
        (None, None) => Err(
            "has neither communications nor authorized_communications; a baseline is wanted, as \
             dnp3fw learn writes it"
                .into(),
        ),
        (Some(_), None) => match document.version {
            Some(version) if version == u64::from(VERSION) => {
                let communications = document.communications.unwrap_or_default();
                check(&communications)?;
                check_times(document.captured.as_ref())?;
                Ok(Baseline {
                    version: VERSION,
                    schema: document.schema.unwrap_or_else(|| SCHEMA.into()),
                    generator: document.generator.unwrap_or_default(),
                    captured: document.captured,
                    communications,
                })
            }
            Some(version) => Err(format!(
                "version {version} is not known to this dnp3fw; {VERSION} is allowed"
            )),
            None => Err(format!("has no version; \"version\": {VERSION} is allowed")),
        },
    }
}

/// What serde says, with where it is.
fn said(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let path = error.path().to_string();
    let text = error.inner().to_string();
    let text = match path.as_str() {
        "." | "?" => text,
        _ => format!("{path}: {text}"),
    };
    match error.inner().is_data() {
        true => text,
        false => no_json(&text),
    }
}

fn no_json(what: &str) -> String {
    format!("is no JSON: {what}; a baseline is wanted, as dnp3fw learn writes it")
}

/// IPv4 addresses that are written as those of IPv6: how many, and the first.
fn mapped(octets: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Ends {
        master_ip: IpAddr,
        outstation_ip: IpAddr,
    }
    #[derive(Deserialize)]
    struct Addresses {
        communications: Option<Vec<Ends>>,
        authorized_communications: Option<Vec<Ends>>,
    }
    let both: Addresses = serde_json::from_slice(octets).ok()?;
    let lists = [both.communications, both.authorized_communications];
    let all: BTreeSet<IpAddr> = lists
        .into_iter()
        .flatten()
        .flatten()
        .flat_map(|ends| [ends.master_ip, ends.outstation_ip])
        .filter(|address| address.to_canonical() != *address)
        .collect();
    let first = all.first()?;
    Some(format!(
        "IPv4 addresses written as IPv6 ({}, the first is {first}) are read as IPv4, as {}: on the wire they are that",
        all.len(),
        first.to_canonical()
    ))
}

/// Text of a file may hold line ends, and must not be longer than a person reads.
pub(crate) fn on_a_line(text: &str) -> String {
    const LONGEST: usize = 400;
    let mut line = String::new();
    for character in text.chars().take(LONGEST) {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// The communications of the simple form. Of two between the same hosts one is made.
fn simple(authorized: Vec<Authorized>) -> Result<Vec<Communication>, String> {
    let mut hosts: BTreeMap<(IpAddr, IpAddr), BTreeSet<u8>> = BTreeMap::new();
    for (at, one) in authorized.into_iter().enumerate() {
        let path = format!("authorized_communications[{at}]");
        same_version(&path, one.master_ip, one.outstation_ip)?;
        let codes = hosts.entry((one.master_ip, one.outstation_ip)).or_default();
        codes.extend(
            one.expected_function_codes
                .iter()
                .flat_map(|codes| &codes.0),
        );
    }
    let functions = |codes: &BTreeSet<u8>, (from, to): (u8, u8)| {
        codes.range(from..=to).copied().map(Function::new).collect()
    };
    let communications = hosts
        .into_iter()
        .map(|((master_ip, outstation_ip), codes)| {
            let link = Link {
                master: None,
                outstation: None,
                requests: functions(&codes, REQUESTS),
                responses: functions(&codes, RESPONSES),
                link_functions: None,
                comment: None,
            };
            Communication {
                master_ip,
                outstation_ip,
                protocol: Transport::Tcp,
                port: crate::input::PORT,
                opened_by: Some(Side::Master),
                connections: 0,
                links: vec![link],
                comment: None,
            }
        });
    Ok(communications.collect())
}

fn same_version(path: &str, master: IpAddr, outstation: IpAddr) -> Result<(), String> {
    match master.is_ipv4() == outstation.is_ipv4() {
        true => Ok(()),
        false => Err(format!(
            "{path}: {master} and {outstation} are of two versions of IP; one is allowed"
        )),
    }
}

/// What one member by itself does not show.
fn check(communications: &[Communication]) -> Result<(), String> {
    let mut hosts = BTreeMap::new();
    for (at, one) in communications.iter().enumerate() {
        let path = format!("communications[{at}]");
        same_version(&path, one.master_ip, one.outstation_ip)?;
        let key = (
            one.master_ip,
            one.outstation_ip,
            one.protocol,
            one.port,
            one.opened_by,
        );
        if let Some(other) = hosts.insert(key, at) {
            return Err(format!(
                "{path}: is between the same hosts as communications[{other}]; their links belong into one"
            ));
        }
        let mut stations = BTreeMap::new();
        for (at, link) in one.links.iter().enumerate() {
            let path = format!("{path}.links[{at}]");
            if let Some(other) = stations.insert((link.master, link.outstation), at) {
                return Err(format!(
                    "{path}: is between the same stations as links[{other}]; their functions belong into one"
                ));
            }
            check_functions(&format!("{path}.requests"), &link.requests, REQUESTS)?;
            check_functions(&format!("{path}.responses"), &link.responses, RESPONSES)?;
            if link.is_broadcast() && !link.responses.is_empty() {
                return Err(format!(
                    "{path}.responses: nothing can come from a self-address or one of broadcast; [] is allowed"
                ));
            }
        }
    }
    Ok(())
}

fn check_functions(path: &str, functions: &[Function], (from, to): (u8, u8)) -> Result<(), String> {
    let mut codes = BTreeMap::new();
    for (at, one) in functions.iter().enumerate() {
        let (path, code) = (format!("{path}[{at}]"), one.function);
        if !(from..=to).contains(&code) {
            return Err(format!(
                "{path}.function: {code} does not belong here; {from} to {to} are allowed"
            ));
        }
        if let Some(other) = codes.insert(code, at) {
            return Err(format!(
                "{path}.function: {code} is in [{other}] as well; once is allowed"
            ));
        }
        // Who changes a code may not see that its name still says another.
        if let (Some(given), Some(name)) = (&one.name, function_name(code)) {
            if !given.eq_ignore_ascii_case(name) {
                return Err(format!(
                    "{path}.name: {given:?} is not the name of function {code}, which is {name:?}"
                ));
            }
        }
        if let Some(interval) = &one.interval_seconds {
            if !(interval.least <= interval.median && interval.median <= interval.most) {
                return Err(format!(
                    "{path}.interval_seconds: least, median and most are allowed in this order"
                ));
            }
        }
    }
    Ok(())
}

fn check_times(captured: Option<&Captured>) -> Result<(), String> {
    let Some(captured) = captured else {
        return Ok(());
    };
    for (name, time) in [("from", &captured.from), ("to", &captured.to)] {
        if let Some(time) = time {
            humantime::parse_rfc3339(time).map_err(|_| {
                format!("captured.{name}: {time:?} is no time of RFC 3339, as 2026-01-31T12:00:00Z")
            })?;
        }
    }
    Ok(())
}

/// Writes a baseline, readable: a line for each member, and what is short on one line.
///
/// # Errors
///
/// Those of `output`.
pub fn write(baseline: &Baseline, mut output: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut output, baseline)?;
    writeln!(output)
}

/// Writes a file all at once: `write` fills another one beside it, which then takes its place, so
/// that at no time there is half a file of this name. What is no file, such as a pipe, is written to.
///
/// # Errors
///
/// One line that names the file.
pub fn replace(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), String> {
    let said = |error: io::Error| format!("{}: {error}", path.display());
    let Some((path, temporary)) = beside(path).map_err(said)? else {
        let mut output = BufWriter::new(File::create(path).map_err(said)?);
        return write(&mut output)
            .and_then(|()| output.flush())
            .map_err(said);
    };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(said)?;
    let mut output = BufWriter::new(file);
    let replaced = write(&mut output)
        .and_then(|()| output.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| {
            if let Ok(about) = path.metadata() {
                file.set_permissions(about.permissions())?;
            }
            file.sync_all()
        })
        .and_then(|()| fs::rename(&temporary, &path));
    if replaced.is_err() {
        // What was wrong is said; that the rest cannot go either is no news.
        let _ = fs::remove_file(&temporary);
    }
    replaced.map_err(said)
}

/// Whether [`replace()`] will find what it needs, to be asked before long work.
///
/// # Errors
///
/// One line that names the file.
pub fn can_replace(path: &Path) -> Result<(), String> {
    let said = |error: io::Error| format!("{}: {error}", path.display());
    let Some((_, temporary)) = beside(path).map_err(said)? else {
        return Ok(());
    };
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)
        .and_then(|_| fs::remove_file(&temporary))
        .map_err(said)
}

/// The file that is meant, behind symbolic links, and another name in its folder; `None` where it is
/// no file that could be replaced.
fn beside(path: &Path) -> io::Result<Option<(PathBuf, PathBuf)>> {
    let path = match path.metadata() {
        Ok(about) if about.is_dir() => {
            return Err(io::Error::other("is a directory; a file is wanted"));
        }
        Ok(about) if !about.is_file() => return Ok(None),
        Ok(_) => path.canonicalize()?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    let temporary = path.with_file_name(name);
    Ok(Some((path, temporary)))
}

/// Puts a value on one line, wherever it stands.
fn one_line<T: Serialize, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    let mut text = Vec::new();
    let mut line = serde_json::Serializer::with_formatter(&mut text, Line);
    value.serialize(&mut line).map_err(S::Error::custom)?;
    let text = String::from_utf8(text).map_err(S::Error::custom)?;
    let raw = RawValue::from_string(text).map_err(S::Error::custom)?;
    raw.serialize(serializer)
}

/// JSON on one line, with spaces for people.
struct Line;

/// What separates two of anything.
fn comma<W: ?Sized + Write>(writer: &mut W, is_first: bool) -> io::Result<()> {
    match is_first {
        true => Ok(()),
        false => writer.write_all(b", "),
    }
}

impl Formatter for Line {
    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        comma(to, first)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> io::Result<()> {
        comma(to, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> io::Result<()> {
        to.write_all(b": ")
    }
}
