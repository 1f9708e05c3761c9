// SPDX-License-Identifier: GPL-2.0

//! From a packet in a case file to what goes into the guest, and to what its netfilter hooks see.
//!
//! One packet of a case takes several routes into the kernel, because the match must answer the
//! same whatever an sk_buff looks like:
//!
//! ```text
//! route     hook     what carries it             the sk_buff
//! input     INPUT    tun                         linear; a GSO packet where there is `segment`
//! output    OUTPUT   raw socket                  linear; with `segment` a TCP or UDP socket's own
//! forward   FORWARD  tun, a packet socket reads  cloned
//! paged     FORWARD  tap, NAPI, one iovec a page payload in page fragments, cut where one likes
//! copied    OUTPUT   the same, sent on by TEE     a copy that shares its page fragments with another
//! bridged   FORWARD  the same, over a bridge     payload in page fragments
//! tagged    FORWARD  the same, with a VLAN tag   payload in page fragments
//! user      INPUT    tun in a user namespace     as by `input`
//! merged    FORWARD  tap, NAPI, GRO              `segment` only: merged by the kernel
//! listed    FORWARD  tap, NAPI, GRO by list      `segment` only: a list of sk_buffs
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dnp3_core::{Fragment, Headers};
use etherparse::{
    IpFragOffset, IpNumber, Ipv4Header, Ipv6FlowLabel, Ipv6Header, TcpHeader, UdpHeader,
};
use serde::Deserialize;

/// The IP version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Family; 2] = [Family::V4, Family::V6];

    /// As the case files have it.
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        }
    }
}

/// The transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Both.
    pub const ALL: [Protocol; 2] = [Protocol::Tcp, Protocol::Udp];

    /// As the case files and iptables have it.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    /// Its number in the IP header.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => IpNumber::TCP.0,
            Protocol::Udp => IpNumber::UDP.0,
        }
    }
}

/// The way into the kernel: see the table above.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the table above says it
pub enum Route {
    Input,
    Output,
    Forward,
    Paged,
    Copied,
    Bridged,
    Tagged,
    User,
    Merged,
    Listed,
}

impl Route {
    /// All.
    pub const ALL: [Route; 10] = [
        Route::Input,
        Route::Output,
        Route::Forward,
        Route::Paged,
        Route::Copied,
        Route::Bridged,
        Route::Tagged,
        Route::User,
        Route::Merged,
        Route::Listed,
    ];

    /// As the case files have it.
    pub fn name(self) -> &'static str {
        match self {
            Route::Input => "input",
            Route::Output => "output",
            Route::Forward => "forward",
            Route::Paged => "paged",
            Route::Copied => "copied",
            Route::Bridged => "bridged",
            Route::Tagged => "tagged",
            Route::User => "user",
            Route::Merged => "merged",
            Route::Listed => "listed",
        }
    }

    /// Whether the packets end at the guest itself.
    fn is_local(self) -> bool {
        matches!(self, Route::Input | Route::User)
    }

    /// Whether packets are written as a linear part and page fragments.
    pub(crate) fn is_paged(self) -> bool {
        matches!(
            self,
            Route::Paged | Route::Copied | Route::Bridged | Route::Tagged
        )
    }
}

/// An IPv6 extension header, in the order in which they stand in the packet.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Extension {
    /// Hop-by-hop options.
    Hop,
    /// Routing, with no segment left.
    Routing,
    /// Destination options.
    Destination,
    /// Authentication.
    Auth,
    /// A fragment header that says that there is one fragment: an atomic fragment.
    Atomic,
    /// A fragment header that says that others follow, which never do.
    First,
}

/// What a case file says of a packet. README.md in the folder of the cases explains each key.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)] // the README is the one place
pub struct Details {
    pub payload: String,
    pub flags: Option<String>,
    pub urgent: Option<u16>,
    pub options: Option<String>,
    pub data_offset: Option<u8>,
    pub udp_length: Option<String>,
    pub truncate: Option<usize>,
    pub ip_options: Option<String>,
    pub extensions: Vec<Extension>,
    pub fragments: Vec<usize>,
    pub reversed: bool,
    pub unreassembled: bool,
    pub padding: Option<String>,
    pub pages: Vec<i64>,
    pub split: Option<usize>,
    pub segment: Option<u16>,
}

/// The checked form of [`Details`].
#[derive(Clone, Debug)]
pub struct Content {
    payload: Vec<u8>,
    flags: Option<u8>,
    urgent: u16,
    options: Vec<u8>,
    data_offset: Option<u8>,
    udp_length: Option<UdpLength>,
    truncate: Option<usize>,
    ip_options: Vec<u8>,
    extensions: Vec<Extension>,
    fragments: Vec<usize>,
    reversed: bool,
    unreassembled: bool,
    padding: Vec<u8>,
    pages: Vec<i64>,
    split: Option<usize>,
    segment: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
enum UdpLength {
    Is(u16),
    OffBy(i32),
}

/// A sk_buff as a netfilter hook sees it: its octets, and what IP says of them.
#[derive(Clone, Debug)]
pub struct Seen {
    /// From the IP header on.
    pub octets: Vec<u8>,
    /// What the judge is told.
    pub headers: Headers,
}

/// How the guest hands octets to the kernel: a line of its packets file.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the members are those of the kernel's interfaces
pub enum Wire {
    /// An IP packet written to the tun device.
    Tun(Vec<u8>),
    /// The same, as a GSO packet.
    Gso {
        kind: u8,
        header: u16,
        size: u16,
        checksum_start: u16,
        checksum_offset: u16,
        octets: Vec<u8>,
    },
    /// An Ethernet frame in pieces, one for the linear part and one for each page fragment.
    Pages(Vec<Vec<u8>>),
    /// Ethernet frames that the kernel merges into one packet.
    Merge(Vec<Vec<u8>>),
    /// An IP packet sent by a raw socket.
    Raw(Vec<u8>),
    /// What a socket is given, whose segments or datagrams are to be of this size.
    Socket {
        protocol: Protocol,
        source_port: u16,
        segment: u16,
        payload: Vec<u8>,
    },
}

/// A packet on one of its routes.
#[derive(Clone, Debug)]
pub struct Built {
    /// What goes in.
    pub wire: Vec<Wire>,
    /// What the hook sees of it.
    pub seen: Vec<Seen>,
}

/// Where a packet goes, and by which flow it can be told from others.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Family.
    pub family: Family,
    /// Protocol.
    pub protocol: Protocol,
    /// Route.
    pub route: Route,
    /// Number of the chain: the source address.
    pub chain: usize,
    /// Number of the packet in its chain: the source port and the IP identification.
    pub packet: usize,
}

/// The source port of a chain's first packet.
const FIRST_SOURCE_PORT: u16 = 30000;
/// The least octets in a TCP header.
const TCP_HEADER: usize = 20;
/// The octets in a UDP header.
const UDP_HEADER: usize = 8;
/// Ethernet addresses of the guest's tap devices, which tests/guest/inject.py gives them, and of
/// nobody.
const TAP: [u8; 6] = [2, 0, 0, 0, 0, 1];
const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The kernel takes at most a linear part and 17 page fragments of a page each.
const PAGE: usize = 4096;
const MAX_PAGES: usize = 17;
/// The most octets in an Ethernet frame that a tap device with page fragments takes.
const MAX_PAGED: usize = 65_400;
/// What the kernel takes for TCP_MAXSEG.
const TCP_MAXSEG: std::ops::RangeInclusive<u16> = 88..=32767;
/// The kernel's own limit on a list of sk_buffs made by GRO.
const MAX_LISTED: usize = 65_535;

impl Path {
    /// DNP3's port.
    pub const PORT: u16 = 20000;

    /// Where the packet comes from.
    pub fn source(self) -> IpAddr {
        match self.family {
            Family::V4 => Path::source_v4(self.chain).into(),
            Family::V6 => Path::source_v6(self.chain).into(),
        }
    }

    /// Where it goes.
    pub fn destination(self) -> IpAddr {
        match self.family {
            Family::V4 => self.destination_v4().into(),
            Family::V6 => self.destination_v6().into(),
        }
    }

    /// The chain's source address.
    pub fn source_v4(chain: usize) -> Ipv4Addr {
        let [_, _, high, low] = u32::try_from(chain).unwrap_or(u32::MAX).to_be_bytes();
        Ipv4Addr::new(10, 77, high, low)
    }

    /// The chain's source address.
    pub fn source_v6(chain: usize) -> Ipv6Addr {
        let low = u16::try_from(chain).unwrap_or(u16::MAX);
        Ipv6Addr::new(0xFD77, 0, 0, 0, 0, 0, 0, low)
    }

    pub(crate) fn destination_v4(self) -> Ipv4Addr {
        match self.route {
            route if route.is_local() => Ipv4Addr::new(10, 0, 0, 1),
            _ => Ipv4Addr::new(10, 1, 0, 1),
        }
    }

    pub(crate) fn destination_v6(self) -> Ipv6Addr {
        match self.route {
            route if route.is_local() => Ipv6Addr::new(0xFD00, 0, 0, 0, 0, 0, 0, 1),
            _ => Ipv6Addr::new(0xFD01, 0, 0, 0, 0, 0, 0, 1),
        }
    }

    fn source_port(self) -> u16 {
        u16::try_from(self.packet).map_or(u16::MAX, |n| FIRST_SOURCE_PORT.saturating_add(n))
    }
}

impl Details {
    /// Checks what a case file says; one line for what is wrong.
    pub fn check(&self) -> Result<Content, String> {
        let octets = |key: &str, text: &str| {
            super::notation::octets(text).map_err(|error| format!("{key}: {error}"))
        };
        let optional = |key: &str, text: &Option<String>| {
            text.as_deref()
                .map_or(Ok(Vec::new()), |text| octets(key, text))
        };
        let content = Content {
            payload: octets("payload", &self.payload)?,
            flags: self.flags.as_deref().map(flags).transpose()?,
            urgent: self.urgent.unwrap_or(0),
            options: optional("options", &self.options)?,
            data_offset: self.data_offset,
            udp_length: self.udp_length.as_deref().map(udp_length).transpose()?,
            truncate: self.truncate,
            ip_options: optional("ip_options", &self.ip_options)?,
            extensions: self.extensions.clone(),
            fragments: self.fragments.clone(),
            reversed: self.reversed,
            unreassembled: self.unreassembled,
            padding: optional("padding", &self.padding)?,
            pages: self.pages.clone(),
            split: self.split,
            segment: self.segment,
        };
        for (key, value) in [
            ("options", &content.options),
            ("ip_options", &content.ip_options),
        ] {
            if value.len() % 4 != 0 || value.len() > 40 {
                return Err(format!(
                    "{key}: {} octets (allowed: 4, 8 and so on to 40)",
                    value.len()
                ));
            }
        }
        if content.data_offset.is_some_and(|words| words > 15) {
            return Err("data_offset: allowed are 0 to 15".into());
        }
        if content.fragments.iter().any(|at| at % 8 != 0 || *at == 0)
            || !content.fragments.is_sorted_by(|a, b| a < b)
        {
            return Err("fragments: allowed are ascending multiples of 8".into());
        }
        if content.reversed && content.fragments.is_empty()
            || content.unreassembled && content.untracked().is_none()
        {
            return Err("reversed and unreassembled need fragments".into());
        }
        if content.split.is_some_and(|cuts| !(1..=2).contains(&cuts))
            || content.split.is_some() && !content.pages.is_empty()
        {
            return Err("split: allowed are 1 and 2, and no pages beside it".into());
        }
        if content.segment == Some(0) {
            return Err("segment: allowed are 1 to 65535".into());
        }
        let odd = content.truncate.is_some()
            || content.data_offset.is_some()
            || content.udp_length.is_some()
            || !content.fragments.is_empty()
            || !content.padding.is_empty()
            || !content.extensions.is_empty();
        if content.segment.is_some() && odd {
            return Err(
                "segment: goes with payload, flags, urgent, options and ip_options only".into(),
            );
        }
        Ok(content)
    }
}

impl Content {
    /// Whether the packet can only be what `protocol` carries over `family`; the key that says no.
    pub fn suits(&self, family: Family, protocol: Protocol) -> Result<(), &'static str> {
        let tcp_only = [
            ("flags", self.flags.is_some()),
            ("urgent", self.urgent != 0),
            ("options", !self.options.is_empty()),
            ("data_offset", self.data_offset.is_some()),
        ];
        let udp_only = [("udp_length", self.udp_length.is_some())];
        let v4_only = [("ip_options", !self.ip_options.is_empty())];
        let v6_only = [("extensions", !self.extensions.is_empty())];
        let (protocol_keys, family_keys): (&[_], &[_]) = (
            match protocol {
                Protocol::Tcp => &udp_only,
                Protocol::Udp => &tcp_only,
            },
            match family {
                Family::V4 => &v6_only,
                Family::V6 => &v4_only,
            },
        );
        match protocol_keys.iter().chain(family_keys).find(|(_, is)| *is) {
            Some((key, _)) => Err(key),
            None => Ok(()),
        }
    }

    /// The packet itself, or where there is `split` one for each way to cut its payload into page fragments.
    pub fn each_split(&self) -> Vec<Content> {
        let ends = 0..self.payload.len();
        let cuts: Vec<Vec<usize>> = match self.split {
            None => return vec![self.clone()],
            Some(1) => ends.map(|at| vec![at]).collect(),
            Some(_) => ends
                .clone()
                .flat_map(|first| (first + 1..ends.end).map(move |second| vec![first, second]))
                .collect(),
        };
        cuts.into_iter()
            .map(|cuts| Content {
                pages: cuts
                    .iter()
                    .filter_map(|at| i64::try_from(*at).ok())
                    .collect(),
                ..self.clone()
            })
            .collect()
    }

    /// Whether its fragments are not to be put together, if it comes in fragments.
    pub fn untracked(&self) -> Option<bool> {
        let atomic = self.extensions.contains(&Extension::Atomic);
        (atomic || !self.fragments.is_empty()).then_some(self.unreassembled)
    }

    /// The packet on a route; `None` when that route cannot carry it.
    pub fn build(&self, path: Path) -> Option<Built> {
        if self.unreassembled && path.route.is_local() && path.family == Family::V4 {
            // The kernel puts IPv4 fragments together in front of INPUT, with or without us.
            return None;
        }
        match (path.route, self.segment) {
            (Route::Merged | Route::Listed, Some(segment)) => self.build_merged(path, segment),
            (Route::Merged | Route::Listed, None) => None,
            (_, None) => self.build_plain(path),
            (Route::Output, Some(segment)) => self.build_socket(path, segment),
            (route, Some(_)) if route.is_paged() => None,
            (_, Some(segment)) => Some(self.build_gso(path, segment)),
        }
    }

    fn build_plain(&self, path: Path) -> Option<Built> {
        let transport = self.transport(path, &self.payload, 0, true);
        let header_len = transport.len() - self.payload.len();
        let mut body = transport;
        if let Some(octets) = self.truncate {
            body.truncate(octets);
        }
        let ip = Ip {
            path,
            identification: 0,
            options: &self.ip_options,
        };
        let last = path.protocol.number();
        let whole = |extensions: &[Extension]| {
            let (mut all, behind) = self.extension_headers(path, extensions);
            all.extend(behind);
            let (first, headers) = chain(&all, last);
            ip.packet(first, &[&headers, &body])
        };
        let (front, behind) = self.extension_headers(path, &self.extensions);
        let unfragmented = whole(&self.extensions);
        let start = unfragmented.len() - body.len();
        let piece = if self.extensions.contains(&Extension::First) {
            Fragment::First
        } else {
            Fragment::Whole
        };
        // What is put together loses its fragment headers, an atomic fragment too.
        let mut left = self.extensions.clone();
        left.retain(|extension| self.unreassembled || *extension != Extension::Atomic);
        let octets = whole(&left);
        let whole_seen = Seen {
            headers: headers(path, octets.len() - body.len(), octets.len(), piece, 0),
            octets,
        };

        // What is sent, and where in each of it the octets begin that may lie in pages.
        let mut sent = Vec::new();
        let mut seen = Vec::new();
        if self.fragments.is_empty() {
            sent.push((unfragmented, start + header_len));
            seen.push(whole_seen);
        } else {
            let (first, headers_behind) = chain(&behind, last);
            let fragmentable = [headers_behind, body].concat();
            let mut cuts = vec![0];
            cuts.extend(self.fragments.iter().filter(|at| **at < fragmentable.len()));
            cuts.push(fragmentable.len());
            for pair in cuts.windows(2) {
                let (from, to) = (pair[0], pair[1]);
                let more = to < fragmentable.len();
                let octets = ip.fragment(&front, first, &fragmentable[from..to], from, more);
                let start = octets.len() - (to - from);
                if self.unreassembled {
                    let piece = if from == 0 {
                        Fragment::First
                    } else {
                        Fragment::Later
                    };
                    seen.push(Seen {
                        headers: headers(path, start, octets.len(), piece, 0),
                        octets: octets.clone(),
                    });
                }
                sent.push((octets, start));
            }
            if !self.unreassembled {
                seen.push(whole_seen);
            }
            if self.reversed {
                sent.reverse();
            }
        }

        if path.route == Route::Output && !self.padding.is_empty() {
            if path.family == Family::V4 {
                // The kernel writes the length into the header that a raw socket sends.
                return None;
            }
            // Nothing on this way trims a packet.
            for seen in &mut seen {
                seen.octets.extend(&self.padding);
            }
        }
        let wire = sent
            .into_iter()
            .map(|(mut octets, payload)| {
                octets.extend(&self.padding);
                Some(match path.route {
                    Route::Output => Wire::Raw(octets),
                    route if route.is_paged() => {
                        Wire::Pages(paged(path, &octets, payload, &self.pages)?)
                    }
                    _ => Wire::Tun(octets),
                })
            })
            .collect::<Option<Vec<_>>>()?;
        Some(Built { wire, seen })
    }

    /// Several segments or datagrams in one packet, as hardware hands them over.
    fn build_gso(&self, path: Path, segment: u16) -> Built {
        let seen = self.super_packet(path, segment);
        let transport = seen.headers.transport;
        let payload = seen.octets.len() - self.payload.len();
        Built {
            wire: vec![Wire::Gso {
                kind: match (path.protocol, path.family) {
                    (Protocol::Tcp, Family::V4) => 1, // VIRTIO_NET_HDR_GSO_TCPV4
                    (Protocol::Tcp, Family::V6) => 4, // VIRTIO_NET_HDR_GSO_TCPV6
                    (Protocol::Udp, _) => 5,          // VIRTIO_NET_HDR_GSO_UDP_L4
                },
                header: u16::try_from(payload).unwrap_or(u16::MAX),
                size: segment,
                checksum_start: u16::try_from(transport).unwrap_or(u16::MAX),
                checksum_offset: match path.protocol {
                    Protocol::Tcp => 16,
                    Protocol::Udp => 6,
                },
                octets: seen.octets.clone(),
            }],
            seen: vec![seen],
        }
    }

    /// The same, made by the kernel's own TCP or UDP.
    fn build_socket(&self, path: Path, segment: u16) -> Option<Built> {
        let possible = match path.protocol {
            Protocol::Tcp => TCP_MAXSEG.contains(&segment),
            Protocol::Udp => true,
        };
        if !possible
            || self.flags.is_some()
            || !self.options.is_empty()
            || !self.ip_options.is_empty()
        {
            return None;
        }
        Some(Built {
            wire: vec![Wire::Socket {
                protocol: path.protocol,
                source_port: path.source_port(),
                segment,
                payload: self.payload.clone(),
            }],
            seen: vec![self.super_packet(path, segment)],
        })
    }

    /// The same, one by one, for the kernel to merge.
    fn build_merged(&self, path: Path, segment: u16) -> Option<Built> {
        let seen = self.super_packet(path, segment);
        // GRO refuses IP options and whatever flag it does not know how to merge.
        if self.flags.is_some()
            || !self.ip_options.is_empty()
            || path.route == Route::Listed && seen.octets.len() > MAX_LISTED
        {
            return None;
        }
        let segments = self.payload.chunks(usize::from(segment));
        let count = segments.len();
        let frames = segments
            .enumerate()
            .map(|(number, payload)| {
                let sequence = number * usize::from(segment);
                let ip = Ip {
                    path,
                    identification: number,
                    options: &[],
                };
                // PSH ends a merge; where segments are listed, their flags must be the same.
                let push = number + 1 == count && path.route == Route::Merged;
                let transport = self.transport(path, payload, sequence, push);
                let octets = ip.packet(path.protocol.number(), &[&transport]);
                ethernet(path, &octets)
            })
            .collect();
        Some(Built {
            wire: vec![Wire::Merge(frames)],
            seen: vec![seen],
        })
    }

    fn super_packet(&self, path: Path, segment: u16) -> Seen {
        let transport = self.transport(path, &self.payload, 0, true);
        let ip = Ip {
            path,
            identification: 0,
            options: &self.ip_options,
        };
        let octets = ip.packet(path.protocol.number(), &[&transport]);
        let start = octets.len() - transport.len();
        let udp_segment = match path.protocol {
            Protocol::Tcp => 0,
            Protocol::Udp => segment,
        };
        Seen {
            headers: headers(path, start, octets.len(), Fragment::Whole, udp_segment),
            octets,
        }
    }

    /// The transport header and the payload.
    fn transport(&self, path: Path, payload: &[u8], sequence: usize, push: bool) -> Vec<u8> {
        let mut octets = Vec::new();
        match path.protocol {
            Protocol::Tcp => {
                let sequence = u32::try_from(sequence).unwrap_or(u32::MAX);
                let mut header =
                    TcpHeader::new(path.source_port(), Path::PORT, 1 + sequence, 65535);
                let default = if push && !payload.is_empty() {
                    flag::PSH | flag::ACK
                } else {
                    flag::ACK
                };
                set_flags(&mut header, self.flags.unwrap_or(default));
                header.acknowledgment_number = 1;
                header.urgent_pointer = self.urgent;
                header
                    .set_options_raw(&self.options)
                    .expect("checked: at most 40 octets, in fours");
                // Too long for a checksum in one header: nobody looks at that of a GSO packet.
                header.checksum = match path.family {
                    Family::V4 => header.calc_checksum_ipv4_raw(
                        Path::source_v4(path.chain).octets(),
                        path.destination_v4().octets(),
                        payload,
                    ),
                    Family::V6 => header.calc_checksum_ipv6_raw(
                        Path::source_v6(path.chain).octets(),
                        path.destination_v6().octets(),
                        payload,
                    ),
                }
                .unwrap_or(0);
                octets.extend(header.to_bytes());
                debug_assert_eq!(octets.len(), TCP_HEADER + self.options.len());
                if let Some(words) = self.data_offset {
                    octets[12] = words << 4 | octets[12] & 0x0F;
                }
            }
            Protocol::Udp => {
                let right = u16::try_from(UDP_HEADER + payload.len()).unwrap_or(u16::MAX);
                let mut header = UdpHeader {
                    source_port: path.source_port(),
                    destination_port: Path::PORT,
                    length: right,
                    checksum: 0,
                };
                header.checksum = match path.family {
                    Family::V4 => header.calc_checksum_ipv4_raw(
                        Path::source_v4(path.chain).octets(),
                        path.destination_v4().octets(),
                        payload,
                    ),
                    Family::V6 => header.calc_checksum_ipv6_raw(
                        Path::source_v6(path.chain).octets(),
                        path.destination_v6().octets(),
                        payload,
                    ),
                }
                .unwrap_or(0);
                header.length = match self.udp_length {
                    None => right,
                    Some(UdpLength::Is(length)) => length,
                    Some(UdpLength::OffBy(by)) => {
                        u16::try_from(i32::from(right) + by).unwrap_or(u16::MAX)
                    }
                };
                octets.extend(header.to_bytes());
            }
        }
        octets.extend(payload);
        octets
    }

    /// The extension headers that every fragment has, and those behind them.
    fn extension_headers(
        &self,
        path: Path,
        extensions: &[Extension],
    ) -> (Vec<Header>, Vec<Header>) {
        let header = |extension: &Extension| match extension {
            // Padding to eight octets: PadN of six.
            Extension::Hop => (
                IpNumber::IPV6_HEADER_HOP_BY_HOP.0,
                vec![0, 0, 1, 4, 0, 0, 0, 0],
            ),
            Extension::Destination => (
                IpNumber::IPV6_DESTINATION_OPTIONS.0,
                vec![0, 0, 1, 4, 0, 0, 0, 0],
            ),
            Extension::Routing => (IpNumber::IPV6_ROUTE_HEADER.0, vec![0; 8]),
            Extension::Auth => {
                // Its length is in words of four octets, less two.
                let mut octets = vec![0; 24];
                octets[1] = 4;
                octets[7] = 1;
                (IpNumber::AUTHENTICATION_HEADER.0, octets)
            }
            Extension::Atomic | Extension::First => (
                IpNumber::IPV6_FRAGMENTATION_HEADER.0,
                fragment_header(path, 0, *extension == Extension::First),
            ),
        };
        let split = extensions
            .iter()
            .position(|extension| !matches!(extension, Extension::Hop | Extension::Routing))
            .unwrap_or(extensions.len());
        let (front, behind) = extensions.split_at(split);
        (
            front.iter().map(header).collect(),
            behind.iter().map(header).collect(),
        )
    }
}

/// An IP packet as an Ethernet frame in a linear part and page fragments, cut at these offsets from
/// its payload on; without any, in front of the payload and inside it. `None` if it is too long.
pub(crate) fn paged(
    path: Path,
    packet: &[u8],
    payload: usize,
    pages: &[i64],
) -> Option<Vec<Vec<u8>>> {
    let frame = ethernet(path, packet);
    let payload = (payload + frame.len() - packet.len()).min(frame.len());
    let length = frame.len() - payload;
    let mut cuts: Vec<usize> = if !pages.is_empty() {
        let at =
            |offset: &i64| payload.saturating_add_signed(isize::try_from(*offset).unwrap_or(0));
        pages.iter().map(at).collect()
    } else if length <= 2 * PAGE {
        vec![payload, payload + length / 3, payload + length / 3 * 2]
    } else {
        (payload..frame.len()).step_by(PAGE).collect()
    };
    cuts.retain(|at| (ETHERNET_HEADER..frame.len()).contains(at));
    cuts.push(frame.len());
    cuts.dedup();
    if frame.len() > MAX_PAGED || cuts.len() > MAX_PAGES + 1 {
        return None;
    }
    let mut from = 0;
    let piece = |to| {
        let piece = frame[from..to].to_vec();
        from = to;
        piece
    };
    Some(cuts.into_iter().map(piece).collect())
}

const ETHERNET_HEADER: usize = 14;
/// IEEE 802.1Q: VLAN 20.
const VLAN_TAG: [u8; 4] = [0x81, 0x00, 0, 20];

fn ethernet(path: Path, packet: &[u8]) -> Vec<u8> {
    let tag: &[u8] = match path.route {
        Route::Tagged => &VLAN_TAG,
        _ => &[],
    };
    let ether_type: [u8; 2] = match path.family {
        Family::V4 => [0x08, 0x00],
        Family::V6 => [0x86, 0xDD],
    };
    [&TAP[..], &PEER, tag, &ether_type, packet].concat()
}

fn headers(path: Path, transport: usize, end: usize, fragment: Fragment, segment: u16) -> Headers {
    let offset = |at: usize| u32::try_from(at).expect("a packet is shorter than 4 GiB");
    Headers {
        transport: offset(transport),
        end: offset(end),
        protocol: path.protocol.number(),
        fragment,
        udp_segment: segment,
    }
}

/// An IPv6 extension header: its number, and its octets but for the next header's number.
type Header = (u8, Vec<u8>);

/// Puts extension headers one behind the other; the first one's number, and the octets.
fn chain(extensions: &[Header], last: u8) -> (u8, Vec<u8>) {
    let mut octets = Vec::new();
    for (at, (_, header)) in extensions.iter().enumerate() {
        let mut header = header.clone();
        header[0] = extensions.get(at + 1).map_or(last, |(number, _)| *number);
        octets.extend(header);
    }
    (
        extensions.first().map_or(last, |(number, _)| *number),
        octets,
    )
}

fn fragment_header(path: Path, offset: usize, more: bool) -> Vec<u8> {
    let offset = u16::try_from(offset).unwrap_or(u16::MAX) & !7 | u16::from(more);
    let identification = u32::from(path.source_port());
    [
        [0, 0].as_slice(),
        &offset.to_be_bytes(),
        &identification.to_be_bytes(),
    ]
    .concat()
}

/// The IP header.
#[derive(Clone, Copy)]
struct Ip<'a> {
    path: Path,
    /// Counts up from one packet of a flow to the next.
    identification: usize,
    options: &'a [u8],
}

/// What every packet has left of its way.
pub(crate) const TTL: u8 = 64;

impl Ip<'_> {
    fn packet(self, next: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        match self.path.family {
            Family::V4 => self.v4(next, &body, 0, false),
            Family::V6 => self.v6(next, &body),
        }
    }

    fn fragment(
        self,
        front: &[Header],
        next: u8,
        body: &[u8],
        offset: usize,
        more: bool,
    ) -> Vec<u8> {
        match self.path.family {
            Family::V4 => self.v4(next, body, offset, more),
            Family::V6 => {
                let mut all = front.to_vec();
                all.push((
                    IpNumber::IPV6_FRAGMENTATION_HEADER.0,
                    fragment_header(self.path, offset, more),
                ));
                let (first, headers) = chain(&all, next);
                self.v6(first, &[&headers, body].concat())
            }
        }
    }

    fn v4(self, next: u8, body: &[u8], offset: usize, more: bool) -> Vec<u8> {
        let is_fragment = more || offset > 0;
        let mut header = Ipv4Header {
            // A raw socket replaces the identification 0.
            identification: self
                .path
                .source_port()
                .wrapping_add(u16::try_from(self.identification).unwrap_or(u16::MAX)),
            dont_fragment: !is_fragment,
            more_fragments: more,
            fragment_offset: IpFragOffset::try_new(u16::try_from(offset / 8).unwrap_or(u16::MAX))
                .expect("a fragment lies inside 64 KiB"),
            time_to_live: TTL,
            protocol: IpNumber(next),
            source: Path::source_v4(self.path.chain).octets(),
            destination: self.path.destination_v4().octets(),
            options: self
                .options
                .try_into()
                .expect("checked: at most 40 octets, in fours"),
            ..Ipv4Header::default()
        };
        // BIG TCP: a length that does not fit is zero.
        header.total_len = u16::try_from(header.header_len() + body.len()).unwrap_or(0);
        header.header_checksum = header.calc_header_checksum();
        let mut octets = header.to_bytes().to_vec();
        octets.extend(body);
        octets
    }

    fn v6(self, next: u8, body: &[u8]) -> Vec<u8> {
        let mut jumbo = Vec::new();
        let mut header = Ipv6Header {
            traffic_class: 0,
            flow_label: Ipv6FlowLabel::ZERO,
            payload_length: 0,
            next_header: IpNumber(next),
            hop_limit: TTL,
            source: Path::source_v6(self.path.chain).octets(),
            destination: self.path.destination_v6().octets(),
        };
        match u16::try_from(body.len()) {
            Ok(length) => header.payload_length = length,
            Err(_) => {
                // BIG TCP: the length is in a hop-by-hop option, RFC 2675.
                header.next_header = IpNumber::IPV6_HEADER_HOP_BY_HOP;
                let length = u32::try_from(8 + body.len()).expect("shorter than 4 GiB");
                jumbo = [[next, 0, 0xC2, 4].as_slice(), &length.to_be_bytes()].concat();
            }
        }
        [header.to_bytes().as_slice(), &jumbo, body].concat()
    }
}

mod flag {
    pub(super) const FIN: u8 = 0x01;
    pub(super) const SYN: u8 = 0x02;
    pub(super) const RST: u8 = 0x04;
    pub(super) const PSH: u8 = 0x08;
    pub(super) const ACK: u8 = 0x10;
    pub(super) const URG: u8 = 0x20;
    pub(super) const ECE: u8 = 0x40;
    pub(super) const CWR: u8 = 0x80;
}

fn set_flags(header: &mut TcpHeader, flags: u8) {
    header.fin = flags & flag::FIN != 0;
    header.syn = flags & flag::SYN != 0;
    header.rst = flags & flag::RST != 0;
    header.psh = flags & flag::PSH != 0;
    header.ack = flags & flag::ACK != 0;
    header.urg = flags & flag::URG != 0;
    header.ece = flags & flag::ECE != 0;
    header.cwr = flags & flag::CWR != 0;
}

fn flags(text: &str) -> Result<u8, String> {
    text.chars().try_fold(0, |flags, letter| {
        Ok(flags
            | match letter {
                'F' => flag::FIN,
                'S' => flag::SYN,
                'R' => flag::RST,
                'P' => flag::PSH,
                'A' => flag::ACK,
                'U' => flag::URG,
                'E' => flag::ECE,
                'C' => flag::CWR,
                _ => return Err(format!("flags: `{letter}` (allowed: FSRPAUEC)")),
            })
    })
}

fn udp_length(text: &str) -> Result<UdpLength, String> {
    let wrong =
        |_| format!("udp_length: `{text}` (allowed: a number, or +N or -N off the right one)");
    if text.starts_with(['+', '-']) {
        text.parse().map(UdpLength::OffBy).map_err(wrong)
    } else {
        text.parse().map(UdpLength::Is).map_err(wrong)
    }
}
