// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw rules`: what the rules let through is what the baseline has, packet by packet; how many of them a
//! packet meets; files, options and errors. tests/rules_vm.rs has the kernel's word on it.

#[path = "support/policy.rs"]
mod policy;
#[path = "support/run.rs"]
mod run;

use dnp3_tests::captures;
use dnp3fw::baseline::{self, Baseline};
use dnp3fw::rules::{self, names, Entry, Log, Options, Rules};
use dnp3fw::ruleset::Family;
use policy::{ask, communication, compare, link, Judge, Kind, Sent};
use proptest::prelude::*;
use run::{expect, Scratch};
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

fn read(text: &Value) -> Baseline {
    baseline::read("test", text.to_string().as_bytes()).expect("a baseline")
}

fn of(communications: &[Value]) -> Value {
    json!({ "version": 1, "communications": communications })
}

fn make(text: &Value, family: Family, options: &Options) -> Rules {
    rules::make(&read(text), "test", family, options).expect("rules")
}

/// One of everything: two masters that share an outstation, stations with gaps, a broadcast, a master
/// that is connected to, UDP with and without a port of the master's own, another port, a concentrator that
/// is master and outstation, a link without addresses.
fn one_of_everything(v6: bool) -> Value {
    let ip = |host: u8| match v6 {
        false => format!("192.0.2.{host}"),
        true => format!("2001:db8::{host:x}"),
    };
    let tcp = ("tcp", 20000, "master");
    let gaps = [10, 12, 16].map(|station| link(1, station, &[1], &[129]));
    of(&[
        communication(
            &ip(8),
            &ip(16),
            tcp,
            &[
                link(1, 10, &[0, 1, 2], &[129, 130]),
                link(1, 11, &[0, 1, 2], &[129, 130]),
                link(2, 10, &[0, 1, 2], &[129]),
                link(1, 65535, &[2], &[]),
            ],
        ),
        communication(&ip(9), &ip(16), tcp, &[link(3, 10, &[1], &[129])]),
        communication(&ip(8), &ip(18), tcp, &gaps),
        communication(
            &ip(8),
            &ip(24),
            ("tcp", 20001, "outstation"),
            &[link(1, 10, &[1], &[129])],
        ),
        communication(
            &ip(8),
            &ip(24),
            ("udp", 20000, "master"),
            &[link(1, 10, &[1], &[129])],
        ),
        communication(
            &ip(16),
            &ip(24),
            ("udp", 20000, ""),
            &[link(1, 10, &[1], &[])],
        ),
        communication(&ip(24), &ip(8), tcp, &[link(7, 1, &[1], &[129])]),
        json!({ "master_ip": ip(9), "outstation_ip": ip(24), "protocol": "tcp", "port": 20000, "opened_by": "master",
                "links": [{ "master": null, "outstation": null, "requests": [{ "function": 1 }],
                            "responses": [{ "function": 129 }] }] }),
    ])
}

#[test]
fn what_passes_is_what_was_learned() {
    for v6 in [false, true] {
        let text = one_of_everything(v6);
        let family = if v6 { Family::V6 } else { Family::V4 };
        for options in [
            Options::default(),
            Options {
                track: false,
                log: Log::None,
                udp_reject: true,
                ..Options::default()
            },
            Options {
                entry: Entry::Host,
                ..Options::default()
            },
            Options {
                entry: Entry::Own("PLANT".into()),
                ..Options::default()
            },
        ] {
            if v6 && options.entry != Entry::Forward {
                continue;
            }
            let rules = make(&text, family, &options);
            let hooks: &[&str] = match &options.entry {
                Entry::Forward => &["FORWARD"],
                // OUTPUT has the same jumps, and another test looks at them.
                Entry::Host => &["INPUT"],
                Entry::Own(_) => &["PLANT"],
            };
            for hook in hooks {
                let accepted = compare(&text, &rules.text, hook, family, options.track)
                    .unwrap_or_else(|wrong| panic!("{options:?}: {wrong}"));
                assert!(accepted > 100, "{accepted} packets were accepted");
            }
        }
    }
}

#[test]
fn a_comparison_can_fail() {
    // Each a mistake that a maker of rules can make; the comparison must see it.
    let text = one_of_everything(false);
    let rules = make(&text, Family::V4, &Options::default()).text;
    for (from, to) in [
        ("--saddr 1 --daddr 10:11 ", "--saddr 1:2 --daddr 10:11 "),
        ("--fc 0:2,link", "--fc 0:3,link"),
        ("--fc 0:2,link", "--fc 0:2"),
        ("--daddr 65535 ", "--daddr 65534:65535 "),
        (" --dir outstation", ""),
        ("-s 192.0.2.9/32 ", ""),
        ("-s 192.0.2.9/32 ", "-s 192.0.2.8/31 "),
        ("--dport 20000 -m dnp3 --saddr 1", "-m dnp3 --saddr 1"),
        (
            "-m conntrack --ctstate ESTABLISHED -m dnp3 --saddr",
            "-m dnp3 --saddr",
        ),
        (" -g DNP3-REQ-1\n", " -j ACCEPT\n"),
        (
            " -p tcp -m comment --comment \"a reset",
            " -p tcp -s 192.0.2.8/32 -m comment --comment \"a reset",
        ),
    ] {
        // What is not refused by a rule is so by the policy.
        let changed = rules.replace(from, to);
        let changed = match from.contains("a reset") {
            true => changed.replace(":FORWARD DROP", ":FORWARD ACCEPT"),
            false => changed,
        };
        assert_ne!(changed, rules, "there is no {from:?}");
        let seen = compare(&text, &changed, "FORWARD", Family::V4, true);
        let wrong = seen.expect_err("nothing was seen");
        println!("{from:?} became {to:?}: {wrong}");
    }
}

/// As many pairs of hosts, each of which differs a little from its neighbour.
fn many(pairs: usize, shape: &str) -> Value {
    let functions: [&[u8]; 4] = [
        &[0, 1],
        &[0, 1, 2],
        &[0, 1, 2, 20, 21, 23],
        &[0, 1, 3, 4, 5],
    ];
    let ip = |number: u32| Ipv4Addr::from(number).to_string();
    let side = pairs.isqrt();
    let mut seed = 1_u32;
    let mut taken = BTreeSet::new();
    let mut scattered = || loop {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if taken.insert(seed) {
            return seed;
        }
    };
    let one = |at: usize, master: u32, outstation: u32| {
        let station = 10 + at as u16;
        communication(
            &ip(master),
            &ip(outstation),
            ("tcp", 20000, "master"),
            &[link(1, station, functions[at % 4], &[129, 130])],
        )
    };
    let (masters, outstations) = (0x0A01_0000, 0x0A02_0000);
    let pair = |at: usize| match shape {
        "one master" => one(at, masters, outstations + at as u32),
        "one outstation" => one(at, masters + at as u32 * 3, outstations),
        "mesh" => one(
            at,
            masters + (at / side) as u32 * 3,
            outstations + (at % side) as u32 * 5,
        ),
        _ => unreachable!("{shape}"),
    };
    let all: Vec<_> = match shape {
        "scattered" => (0..pairs).map(|at| one(at, masters, scattered())).collect(),
        // Each prefix splits off a single host.
        "comb" => {
            let mut hosts = BTreeSet::new();
            (0..31 * 31)
                .map(|at| 1_u32 << (at % 31) | 1_u32.checked_shl(at / 31).unwrap_or(0))
                .filter(|host| hosts.insert(*host))
                .enumerate()
                .map(|(at, host)| one(at, masters, host))
                .collect()
        }
        _ => (0..pairs).map(pair).collect(),
    };
    of(&all)
}

#[test]
fn a_packet_meets_tens_of_rules() {
    for (shape, sizes) in [
        ("one master", &[10, 1_000, 10_000][..]),
        ("scattered", &[10, 1_000, 10_000]),
        ("mesh", &[1_000]),
        ("one outstation", &[1_000]),
        ("comb", &[500]),
    ] {
        for &pairs in sizes {
            let text = many(pairs, shape);
            let rules = make(&text, Family::V4, &Options::default());
            let judge = Judge::new(&rules.text, Family::V4, "FORWARD");
            let mut most = 0;
            for one in text["communications"].as_array().expect("a list") {
                let address = |name: &str| -> IpAddr {
                    one[name]
                        .as_str()
                        .expect("text")
                        .parse()
                        .expect("an address")
                };
                let (master, outstation) = (address("master_ip"), address("outstation_ip"));
                let station = &one["links"][0]["outstation"];
                let station = station.as_u64().expect("a station") as u16;
                let read = Sent::request(master, outstation, 1, station, Kind::Function(1));
                let answer = Sent::response(outstation, master, station, 1, Kind::Function(129));
                for (sent, passes) in [
                    (read, true),
                    (answer, true),
                    (read.with(Kind::Function(13)), false),
                    (answer.with(Kind::Function(1)), false),
                    // Who is not in the baseline, as close to it as can be.
                    (read.from(next(master)), false),
                    (answer.to(next(master)), false),
                    (
                        Sent::request(next(outstation), next(master), 1, 1, Kind::Link),
                        false,
                    ),
                ] {
                    let (found, met) = judge.judge(&sent);
                    assert_eq!(found, passes, "{shape} {pairs}: {sent:?}");
                    most = most.max(met);
                }
            }
            println!(
                "{pairs} pairs, {shape}: {} rules in {} chains, {} octets; at most {most} are met, {} by what passes; \
                 no packet meets more than {}",
                rules.rules, rules.chains, rules.text.len(), rules.met, rules.most
            );
            assert!(most <= 40, "{shape} {pairs}: {most} rules are met");
            assert!(rules.met <= most && most <= rules.most, "{rules:?}");
            assert!(
                rules.most <= 80,
                "{shape} {pairs}: {} may be met",
                rules.most
            );
            assert!(rules.rules <= 4 * pairs + 40, "{} rules", rules.rules);
        }
    }
}

fn next(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from(u32::from(address) ^ 0x8000_0000)),
        IpAddr::V6(_) => address,
    }
}

#[test]
fn what_is_alike_is_one_rule() {
    // A row of outstations with the same stations: as many rules as there are rows of addresses.
    let communications: Vec<_> = (0..256)
        .map(|host| {
            communication(
                "10.0.0.1",
                &format!("10.1.0.{host}"),
                ("tcp", 20000, "master"),
                &[link(1, 10, &[1], &[129])],
            )
        })
        .collect();
    let rules = make(&of(&communications), Family::V4, &Options::default());
    assert!(rules.rules < 20, "{}", rules.text);
    assert!(
        rules.text.contains("-s 10.0.0.1/32 -d 10.1.0.0/24 "),
        "{}",
        rules.text
    );
    // One of them less, and no rule holds it.
    let rules = make(&of(&communications[1..]), Family::V4, &Options::default());
    assert!(!rules.text.contains("10.1.0.0/24 -p"), "{}", rules.text);
    let judge = Judge::new(&rules.text, Family::V4, "FORWARD");
    let address = |text: &str| text.parse().expect("an address");
    for (host, passes) in [
        ("10.1.0.0", false),
        ("10.1.0.1", true),
        ("10.1.0.255", true),
        ("10.1.1.0", false),
    ] {
        let read = Sent::request(address("10.0.0.1"), address(host), 1, 10, Kind::Function(1));
        assert_eq!(judge.judge(&read).0, passes, "{host}");
    }
}

#[test]
fn the_order_of_a_baseline_is_no_matter() {
    let text = one_of_everything(false);
    let rules = make(&text, Family::V4, &Options::default()).text;
    assert_eq!(make(&text, Family::V4, &Options::default()).text, rules);
    let mut turned = text.clone();
    let list = turned["communications"].as_array_mut().expect("a list");
    list.reverse();
    for one in list {
        one["links"].as_array_mut().expect("a list").reverse();
    }
    assert_ne!(turned, text);
    assert_eq!(make(&turned, Family::V4, &Options::default()).text, rules);
}

/// The rules without what is for people.
fn bare(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn the_readme_policy_comes_out() {
    let text = of(&[communication(
        "192.0.2.10",
        "198.51.100.20",
        ("tcp", 20000, "master"),
        &[
            link(1, 10, &[0, 1, 2], &[129, 130]),
            link(1, 11, &[0, 1, 2], &[129, 130]),
        ],
    )]);
    let rules = make(&text, Family::V4, &Options::default());
    let without: Vec<String> = bare(&rules.text)
        .into_iter()
        .map(|line| match line.split_once(" -m comment --comment \"") {
            None => line.to_string(),
            Some((start, rest)) => {
                let (why, end) = rest.split_once('"').expect("its end");
                assert!(why.len() > 10, "{line}");
                format!("{start}{end}")
            }
        })
        .collect();
    let wanted = "\
*filter
:FORWARD DROP [0:0]
:DNP3 - [0:0]
:DNP3-REQ - [0:0]
:DNP3-RSP - [0:0]
-A FORWARD -p tcp -m tcp --dport 20000 -j DNP3
-A FORWARD -p tcp -m tcp --sport 20000 -j DNP3
-A FORWARD -p icmp -m conntrack --ctstate RELATED -j ACCEPT
-A DNP3 -p tcp -m conntrack --ctstate INVALID -j DROP
-A DNP3 -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate ESTABLISHED -m dnp3 --status none --track -j ACCEPT
-A DNP3 -p tcp -m tcp --dport 20000 -j DNP3-REQ
-A DNP3 -p tcp -m tcp --sport 20000 -j DNP3-RSP
-A DNP3 -p tcp -m dnp3 --status ahead --track -j DROP
-A DNP3 -m limit --limit 6/min -j LOG --log-prefix \"dnp3 refused \"
-A DNP3 -p tcp -j REJECT --reject-with tcp-reset
-A DNP3-REQ -s 192.0.2.10/32 -d 198.51.100.20/32 -p tcp -m tcp --dport 20000 --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW,ESTABLISHED -m dnp3 --status none --track -j ACCEPT
-A DNP3-REQ -s 192.0.2.10/32 -d 198.51.100.20/32 -p tcp -m tcp --dport 20000 -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 1 --daddr 10:11 --fc 0:2,link --dir master --track -j ACCEPT
-A DNP3-RSP -s 198.51.100.20/32 -d 192.0.2.10/32 -p tcp -m tcp --sport 20000 -m conntrack --ctstate ESTABLISHED -m dnp3 --saddr 10:11 --daddr 1 --fc 129:130,link --dir outstation --track -j ACCEPT
COMMIT";
    assert_eq!(without, wanted.lines().collect::<Vec<_>>());
    for said in ["objects", "no authentication", "iptables-restore"] {
        assert!(rules.text.contains(said), "{said:?}");
    }
}

#[test]
fn options_change_what_they_say() {
    let text = one_of_everything(false);
    let rules = |options: Options| make(&text, Family::V4, &options).text;
    let usual = rules(Options::default());

    let kept = rules(Options {
        keep_policy: true,
        ..Options::default()
    });
    assert!(usual.contains("\n:FORWARD DROP [0:0]\n"));
    assert!(!kept.contains(":FORWARD"));
    // What the policy does not drop then, a rule refuses.
    let jump = "-A FORWARD -p udp -m udp --dport 20000";
    assert_eq!(
        usual
            .replace(":FORWARD DROP [0:0]\n", "")
            .replace(jump, &format!("{jump}:20001"))
            .replace("--sport 20000 -m comment", "--sport 20000:20001 -m comment"),
        kept
    );

    let own = rules(Options {
        entry: Entry::Own("PLANT".into()),
        ..Options::default()
    });
    for line in bare(&own) {
        let chain = line.split_once("-A ").map_or("PLANT", |(_, rest)| rest);
        assert!(chain.starts_with("PLANT"), "{line}");
        assert!(!line.contains("FORWARD"), "{line}");
    }
    assert!(own.contains("--noflush") && own.contains(":PLANT - [0:0]"));

    let host = rules(Options {
        entry: Entry::Host,
        ..Options::default()
    });
    for hook in ["INPUT", "OUTPUT"] {
        let jump = format!("-A {hook} -p tcp -m tcp --dport 20000:20001 ");
        assert!(host.contains(&jump), "{host}");
    }
    assert!(!host.contains("FORWARD") && !host.contains(":INPUT"));

    let stateless = rules(Options {
        track: false,
        ..Options::default()
    });
    let all = bare(&stateless).join("\n");
    assert!(!all.contains("--track") && !all.contains("ahead"), "{all}");
    assert!(
        all.contains("--fc 129:130,link,cont --dir outstation"),
        "{all}"
    );
    assert!(!all.contains("cont --dir master"), "{all}");

    let nflog = rules(Options {
        log: Log::Nflog {
            group: 7,
            prefix: "mine".into(),
            limit: "1/sec".into(),
        },
        ..Options::default()
    });
    let log = "-A DNP3 -m limit --limit 1/sec -m comment --comment \"what is refused, and no flood of it\" \
               -j NFLOG --nflog-prefix \"mine\" --nflog-group 7\n";
    assert!(nflog.contains(log), "{nflog}");
    let none = rules(Options {
        log: Log::None,
        ..Options::default()
    });
    assert!(!none.contains("-j LOG") && !none.contains("-j NFLOG"));

    assert!(usual.contains("-A DNP3 -p udp ") && !usual.contains("icmp-port"));
    let told = Options {
        udp_reject: true,
        ..Options::default()
    };
    assert!(rules(told.clone()).contains("--reject-with icmp-port-unreachable\n"));
    let v6 = make(&one_of_everything(true), Family::V6, &told).text;
    assert!(v6.contains("--reject-with icmp6-port-unreachable\n"));
    assert!(v6.contains("-p ipv6-icmp "));
}

#[test]
fn names_of_chains() {
    assert_eq!(names::entry("FORWARD"), Ok(Entry::Forward));
    assert_eq!(names::entry("INPUT"), Ok(Entry::Host));
    let longest = "A23456789-123456_8";
    assert_eq!(names::entry(longest), Ok(Entry::Own(longest.into())));
    for wrong in [
        "",
        "OUTPUT",
        "PREROUTING",
        "ACCEPT",
        "DNP3",
        "DNP3-REQ",
        "-x",
        "!x",
        "a b",
        "a\nb",
        "a\"b",
        "é",
        "A23456789-123456_89",
    ] {
        assert!(names::entry(wrong).is_err(), "{wrong:?}");
    }
    // Such a name, and ten thousand hosts: the kernel's limit is 28 characters.
    let text = many(10_000, "scattered");
    let options = Options {
        entry: Entry::Own(longest.into()),
        ..Options::default()
    };
    for line in make(&text, Family::V4, &options).text.lines() {
        if let Some((name, _)) = line.strip_prefix(':').and_then(|line| line.split_once(' ')) {
            assert!(name.len() <= 28, "{name}");
        }
    }
}

#[test]
fn addresses_are_cut_to_what_a_rule_takes() {
    // Nine stations apart from each other are one range more than a rule has.
    let links: Vec<_> = (0..9)
        .map(|at| link(1, 10 + 2 * at, &[1], &[129]))
        .collect();
    let text = of(&[communication(
        "10.0.0.1",
        "10.0.0.2",
        ("tcp", 20000, "master"),
        &links,
    )]);
    let rules = make(&text, Family::V4, &Options::default()).text;
    assert!(
        rules.contains("--daddr 10,12,14,16,18,20,22,24 ") && rules.contains("--daddr 26 "),
        "{rules}"
    );
    assert_eq!(
        compare(&text, &rules, "FORWARD", Family::V4, true).map(|accepted| accepted > 9),
        Ok(true)
    );
}

#[test]
fn two_hosts_can_be_master_of_each_other() {
    // Both connect to port 20000 of the same one, and each is the master there in its own right.
    let stations = [link(1, 10, &[1], &[129])];
    let text = of(&[
        communication(
            "192.0.2.2",
            "192.0.2.4",
            ("tcp", 20000, "master"),
            &stations,
        ),
        communication(
            "192.0.2.4",
            "192.0.2.2",
            ("tcp", 20000, "outstation"),
            &stations,
        ),
    ]);
    let rules = make(&text, Family::V4, &Options::default()).text;
    let compared = compare(&text, &rules, "FORWARD", Family::V4, true);
    assert!(compared.is_ok(), "{compared:?}");
}

#[test]
fn a_packet_may_hold_frames_of_several_stations() {
    // Stations of one host whose functions differ, and one master too many for a product: TCP may put their
    // frames into one segment. What holds a frame that is nobody's is refused, wherever it stands.
    let text = of(&[communication(
        "192.0.2.2",
        "192.0.2.4",
        ("tcp", 20000, "master"),
        &[
            link(1, 10, &[0, 1], &[129]),
            link(1, 11, &[0, 1, 2], &[129, 130]),
            link(2, 10, &[1], &[129]),
            link(1, 65535, &[2], &[]),
        ],
    )]);
    let rules = make(&text, Family::V4, &Options::default()).text;
    assert!(rules.contains(" -j RETURN\n"), "{rules}");
    let judge = Judge::new(&rules, Family::V4, "FORWARD");
    let address = |text: &str| -> IpAddr { text.parse().expect("an address") };
    let (master, outstation) = (address("192.0.2.2"), address("192.0.2.4"));
    let mut kinds: Vec<_> = [0, 1, 2, 3, 129, 130, 131].map(Kind::Function).into();
    kinds.extend([Kind::Link, Kind::Continuation]);
    let stations = [1, 2, 3, 10, 11, 12, 65535];
    let mut together = 0;
    for from_master in [true, false] {
        let one = |saddr, daddr, kind| match from_master {
            true => Sent::request(master, outstation, saddr, daddr, kind),
            false => Sent::response(outstation, master, saddr, daddr, kind),
        };
        let mut all = Vec::new();
        for saddr in stations {
            for daddr in stations {
                all.extend(kinds.iter().map(|kind| one(saddr, daddr, *kind)));
            }
        }
        let passes: Vec<bool> = all.iter().map(|sent| judge.judge(sent).0).collect();
        for (first, first_passes) in all.iter().zip(&passes) {
            for (second, second_passes) in all.iter().zip(&passes) {
                let behind = Some((second.saddr, second.daddr, second.kind));
                let sent = Sent { behind, ..*first };
                let both = *first_passes && *second_passes;
                let has_broadcast = first.daddr == 65535 || second.daddr == 65535;
                let is_alike = first.daddr == second.daddr;
                // With a frame to all stations in it, it may be refused all the same.
                let (found, _) = judge.judge(&sent);
                match has_broadcast && !is_alike {
                    true => assert!(!found || both, "{sent:?}"),
                    false => assert_eq!(found, both, "{sent:?}"),
                }
                together += usize::from(found && !is_alike);
            }
        }
    }
    assert!(
        together > 50,
        "{together} packets with frames of two stations"
    );
}

#[test]
fn a_way_may_be_empty() {
    // To all stations, from where nothing comes back.
    let all = [link(1, 65535, &[2], &[])];
    for opened_by in ["master", "outstation", ""] {
        let text = of(&[communication(
            "192.0.2.2",
            "192.0.2.4",
            ("tcp", 20000, opened_by),
            &all,
        )]);
        let rules = make(&text, Family::V4, &Options::default()).text;
        let compared = compare(&text, &rules, "FORWARD", Family::V4, true);
        assert!(compared.is_ok(), "{compared:?}");
    }
}

/// Where no policy of ours is at the end, what has a port of the baseline is refused all the same: over the other
/// protocol, and in the other version of IP.
#[test]
fn what_no_policy_drops_is_refused() {
    let text = of(&[communication(
        "192.0.2.2",
        "192.0.2.4",
        ("tcp", 20000, "master"),
        &[link(1, 10, &[1], &[129])],
    )]);
    for options in [
        Options {
            keep_policy: true,
            ..Options::default()
        },
        Options {
            entry: Entry::Host,
            ..Options::default()
        },
        Options {
            entry: Entry::Own("PLANT".into()),
            ..Options::default()
        },
    ] {
        let hooks: &[&str] = match &options.entry {
            Entry::Forward => &["FORWARD"],
            Entry::Host => &["INPUT", "OUTPUT"],
            Entry::Own(_) => &["PLANT"],
        };
        for (family, master, outstation) in [
            (Family::V4, "192.0.2.2", "192.0.2.4"),
            (Family::V6, "2001:db8::2", "2001:db8::4"),
        ] {
            let rules = make(&text, family, &options).text;
            let [master, outstation] =
                [master, outstation].map(|host| host.parse().expect("an address"));
            let request = Sent::request(master, outstation, 1, 10, Kind::Function(1));
            let response = Sent::response(outstation, master, 10, 1, Kind::Function(129));
            for hook in hooks {
                let judge = Judge::new(&rules, family, hook);
                for sent in [request, response] {
                    let learned = family == Family::V4;
                    assert_eq!(judge.judge(&sent).0, learned, "{hook}: {sent:?}\n{rules}");
                    let other = Sent { udp: true, ..sent };
                    assert!(!judge.judge(&other).0, "{hook}: {other:?}\n{rules}");
                }
                // What has nothing to do with it is for other rules.
                let none = Sent {
                    destination_port: 80,
                    ..request
                };
                assert!(judge.judge(&none).0, "{hook}: {none:?}\n{rules}");
            }
        }
    }
}

#[test]
fn too_many_hosts_are_refused() {
    let text = many(20_001, "one master");
    let made = rules::make(&read(&text), "test", Family::V4, &Options::default());
    let wrong = made.expect_err("too many");
    assert!(
        wrong.starts_with("test: is too large for one file of rules"),
        "{wrong}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any baseline of a few hosts and stations, with whatever overlaps.
    #[test]
    fn any_baseline_is_what_passes(
        talks in prop::collection::vec(
            (
                (0_u8..4, 0_u8..4, 0_usize..6),
                prop::collection::vec(
                    (0_usize..5, 0_usize..6, prop::collection::vec(0_usize..4, 0..3), prop::bool::ANY),
                    1..5,
                ),
            ),
            1..6,
        ),
        track in prop::bool::ANY,
    ) {
        let ways = [
            ("tcp", 20000, "master"), ("tcp", 20000, "outstation"), ("tcp", 20000, ""), ("tcp", 20001, "master"),
            ("udp", 20000, "master"), ("udp", 20000, ""),
        ];
        let mut known = BTreeSet::new();
        let mut communications = Vec::new();
        for ((master, outstation, way), its) in talks {
            if !known.insert((master, outstation, way)) {
                continue;
            }
            let mut stations = BTreeSet::new();
            let mut links = Vec::new();
            for (master, outstation, codes, answers) in its {
                let master = [Some(1), Some(2), Some(3), Some(9), None][master];
                let outstation = [Some(10), Some(11), Some(12), Some(20), Some(65535), None][outstation];
                if stations.insert((master, outstation)) {
                    let codes: BTreeSet<_> = codes.into_iter().map(|code| [0_u8, 1, 2, 5][code]).collect();
                    let codes: Vec<_> = codes.into_iter().collect();
                    let answers: &[u8] = if answers && outstation != Some(65535) { &[129, 130] } else { &[] };
                    let mut one = link(0, 0, &codes, answers);
                    one["master"] = json!(master);
                    one["outstation"] = json!(outstation);
                    links.push(one);
                }
            }
            let ip = |host: u8| format!("192.0.2.{}", host * 2);
            communications.push(communication(&ip(master), &ip(outstation + 2), ways[way], &links));
        }
        let text = of(&communications);
        let options = Options { track, ..Options::default() };
        let rules = make(&text, Family::V4, &options).text;
        let compared = compare(&text, &rules, "FORWARD", Family::V4, track);
        prop_assert!(compared.is_ok(), "{compared:?}\n{text}\n{rules}");
    }
}

#[test]
fn the_program_writes_files() {
    let scratch = Scratch::new("rules-files");
    let [one, other] = [false, true].map(one_of_everything);
    let mut both = one["communications"].as_array().expect("a list").clone();
    both.extend(other["communications"].as_array().expect("a list").clone());
    let both = scratch.file("both.json", of(&both).to_string().as_bytes());
    let (v4, v6) = (scratch.0.join("rules.v4"), scratch.0.join("rules.v6"));
    let (v4, v6) = (v4.display().to_string(), v6.display().to_string());
    let (stdout, stderr) = expect(
        0,
        &["rules", "--baseline", &both, "--ipv4", &v4, "--ipv6", &v6],
        &[],
    );
    assert_eq!(stdout, "");
    assert!(
        stderr.lines().all(|line| line.starts_with("dnp3fw: ")),
        "{stderr}"
    );
    assert!(
        stderr.contains("rules.v4: ") && stderr.contains("rules.v6: "),
        "{stderr}"
    );
    // What no rule can say, and what the baseline leaves open.
    assert!(
        stderr.contains("no link addresses") && stderr.contains("no responses"),
        "{stderr}"
    );
    let texts = [&v4, &v6].map(|file| std::fs::read_to_string(file).expect("a file"));
    assert!(texts[0].contains("-d 192.0.2.") && !texts[0].contains("2001:db8"));
    assert!(texts[1].contains("-d 2001:db8::") && !texts[1].contains("192.0.2"));

    // One family goes to standard output; of two it must be said which.
    let four = scratch.file("four.json", one.to_string().as_bytes());
    let six = other.to_string();
    let (stdout, _) = expect(0, &["rules", "--baseline", &four], &[]);
    assert!(stdout.contains("\n*filter\n") && stdout.ends_with("\nCOMMIT\n"));
    let (stdout, _) = expect(0, &["rules", "--baseline", "-"], six.as_bytes());
    assert!(stdout.contains("2001:db8::"), "{stdout}");
    let (stdout, stderr) = expect(0, &["rules", "--baseline", &both, "--ipv4", "-"], &[]);
    assert!(
        stdout.contains("192.0.2.") && stderr.contains("IPv6 of the baseline is in no file"),
        "{stderr}"
    );

    // A family that the baseline does not have: a file that lets none of it through.
    let (_, stderr) = expect(
        0,
        &["rules", "--baseline", &four, "--ipv6", &v6, "--ipv4", &v4],
        &[],
    );
    assert!(stderr.contains("no IPv6 passes"), "{stderr}");
    let closed = std::fs::read_to_string(&v6).expect("a file");
    assert_eq!(bare(&closed), ["*filter", ":FORWARD DROP [0:0]", "COMMIT"]);
}

#[test]
fn check_accepts_what_was_learned() {
    // The three commands one after the other, as an admin has them: each capture by its own rules, and what was only
    // outside of the gateway, which refused it, by the rules of what was inside.
    let scratch = Scratch::new("rules-check");
    for (name, capture) in captures::files(&captures::own(), "pcap") {
        let capture = capture.display().to_string();
        let baseline = scratch.0.join("baseline.json").display().to_string();
        let rules = scratch.0.join("rules").display().to_string();
        expect(0, &["learn", &capture, "-o", &baseline], &[]);
        let option = if name.contains("ipv6") {
            "--ipv6"
        } else {
            "--ipv4"
        };
        expect(0, &["rules", "--baseline", &baseline, option, &rules], &[]);
        let (stdout, _) = expect(0, &["check", "--rules", &rules, "--summary", &capture], &[]);
        assert!(
            stdout.contains(" 0 dropped, 0 rejected, 0 uncertain"),
            "{name}: {stdout}"
        );
        let outside = capture.replace("-inside", "-outside");
        if outside != capture {
            expect(1, &["check", "--rules", &rules, "--quiet", &outside], &[]);
        }
    }
}

#[test]
fn the_simple_form_will_do() {
    let simple = json!({ "authorized_communications": [
        { "master_ip": "192.0.2.1", "outstation_ip": "192.0.2.2", "expected_function_codes": [1, "write", 129] } ] });
    let (stdout, stderr) = expect(
        0,
        &["rules", "--baseline", "-"],
        simple.to_string().as_bytes(),
    );
    assert!(
        stdout.contains("-m dnp3 --fc 1:2,link --dir master --track "),
        "{stdout}"
    );
    assert!(
        stdout.contains("-m dnp3 --fc 129,link --dir outstation --track "),
        "{stdout}"
    );
    assert!(stderr.contains("no link addresses"), "{stderr}");
    // Who forgets that outstations answer is told so.
    let deaf = simple.to_string().replace(",129", "");
    let (_, stderr) = expect(0, &["rules", "--baseline", "-"], deaf.as_bytes());
    assert!(
        stderr.contains("1 link in the baseline has no responses"),
        "{stderr}"
    );
}

#[test]
fn what_is_wrong_is_said_in_a_line() {
    let scratch = Scratch::new("rules-wrong");
    let good = scratch.file("good.json", one_of_everything(false).to_string().as_bytes());
    let mut both = one_of_everything(false);
    let six = one_of_everything(true);
    let list = both["communications"].as_array_mut().expect("a list");
    list.extend(six["communications"].as_array().expect("a list").clone());
    let both = scratch.file("both.json", both.to_string().as_bytes());
    let empty = scratch.file("empty.json", of(&[]).to_string().as_bytes());
    let silent = communication("192.0.2.2", "192.0.2.4", ("tcp", 20000, "master"), &[]);
    let silent = scratch.file("silent.json", of(&[silent]).to_string().as_bytes());
    let broken = scratch.file("broken.json", b"{\"version\": 1, \"communications\": [{}]}");
    let missing = scratch.0.join("missing").display().to_string();
    let folder = scratch.0.display().to_string();
    let nowhere = scratch.0.join("missing/v6").display().to_string();
    let v4 = scratch.0.join("v4").display().to_string();
    let also_v4 = scratch.0.join("../rules-wrong/v4").display().to_string();
    for (arguments, said) in [
        (&["--baseline", &missing][..], "No such file"),
        (&["--baseline", &folder], "directory"),
        (&["--baseline", &empty], "has no communications"),
        (&["--baseline", &silent], "has no communications with links"),
        (&["--baseline", &broken], "communications[0]: missing field"),
        (
            &["--baseline", &both],
            "--ipv4 FILE, --ipv6 FILE or both are wanted",
        ),
        (
            &["--baseline", &good, "--ipv4", "x", "--ipv6", "x"],
            "both x",
        ),
        (&["--baseline", &good, "--ipv4", &folder], "directory"),
        // Nothing is written where not all can be, nor over what was read or written.
        (
            &["--baseline", &good, "--ipv4", &v4, "--ipv6", &nowhere],
            "No such file",
        ),
        (
            &["--baseline", &good, "--ipv4", &good],
            "good.json: is the same file as",
        ),
        (
            &["--baseline", &good, "--ipv4", &v4, "--ipv6", &also_v4],
            "v4: is the same file as",
        ),
    ] {
        let arguments = [&["rules"], arguments].concat();
        let (stdout, stderr) = expect(2, &arguments, &[]);
        assert_eq!(stdout, "", "{arguments:?}");
        assert_eq!(stderr.lines().count(), 1, "{arguments:?}: {stderr}");
        assert!(
            stderr.starts_with("dnp3fw: ") && stderr.contains(said),
            "{stderr}"
        );
        assert!(!Path::new(&v4).exists(), "{arguments:?}");
    }
    baseline::read("good", std::fs::File::open(&good).expect("a file")).expect("a baseline");
    for (arguments, said) in [
        (&["--chain", "DNP3"][..], "DNP3 is taken"),
        (&["--chain", "OUTPUT"], "OUTPUT is taken"),
        (&["--chain", "a b"], "1 to 18 letters"),
        (&["--log", "syslog"], "kernel, nflog, none"),
        (&["--log-prefix", ""], "1 to 29 characters"),
        (&["--log-prefix", "a\"b"], "1 to 29 characters"),
        (&["--log-prefix", "a\nb"], "1 to 29 characters"),
        (&["--log-limit", "0/sec"], "6/minute"),
        (&["--log-limit", "6/week"], "6/minute"),
        (&["--log-limit", "6"], "6/minute"),
        (&["--nflog-group", "70000"], "70000"),
    ] {
        let arguments = [&["rules", "--baseline", &good], arguments].concat();
        let (_, stderr) = expect(2, &arguments, &[]);
        assert!(stderr.contains(said), "{arguments:?}: {stderr}");
    }
    // A file that was there stays as it was when there can be no rules.
    let kept = scratch.file("kept.v4", b"kept");
    expect(2, &["rules", "--baseline", &empty, "--ipv4", &kept], &[]);
    assert_eq!(std::fs::read(&kept).expect("a file"), b"kept");
}

/// Of addresses for which rules on a gateway are of no use there is a note, and rules all the same.
#[test]
fn addresses_that_no_router_forwards() {
    let note = "no router forwards packets of 1 address, the first is ";
    for (master, outstation, which) in [
        ("192.0.2.2", "192.0.2.4", None),
        ("192.0.2.2", "127.0.0.1", Some("127.0.0.1")),
        ("192.0.2.2", "224.0.0.7", Some("224.0.0.7")),
        ("192.0.2.2", "255.255.255.255", Some("255.255.255.255")),
        ("0.0.0.0", "192.0.2.4", Some("0.0.0.0")),
        ("169.254.3.4", "192.0.2.4", Some("169.254.3.4")),
        ("2001:db8::2", "2001:db8::4", None),
        ("2001:db8::2", "fe80::4", Some("fe80::4")),
        ("2001:db8::2", "ff02::4", Some("ff02::4")),
        ("::1", "2001:db8::4", Some("::1")),
        ("::", "2001:db8::4", Some("::")),
    ] {
        let simple = json!({"authorized_communications": [
            {"master_ip": master, "outstation_ip": outstation, "expected_function_codes": [1, 129]}
        ]})
        .to_string();
        let arguments = ["rules", "--baseline", "-"];
        let (text, stderr) = expect(0, &arguments, simple.as_bytes());
        assert_eq!(stderr.contains("no router"), which.is_some(), "{stderr}");
        if let Some(which) = which {
            let said = format!("{note}{which}: ");
            assert!(stderr.contains(&said) && text.contains(&said), "{stderr}");
        }
        // A host may well talk to itself.
        let arguments = ["rules", "--baseline", "-", "--chain", "INPUT"];
        let (_, stderr) = expect(0, &arguments, simple.as_bytes());
        assert!(!stderr.contains("no router"), "{stderr}");
    }
    // IPv4 in the clothes of IPv6, of one end or both.
    for master in ["::ffff:192.0.2.2", "192.0.2.2", "0:0:0:0:0:FFFF:c000:202"] {
        let simple = |master, outstation| {
            json!({"authorized_communications": [
                {"master_ip": master, "outstation_ip": outstation, "expected_function_codes": [1, 129]}
            ]})
            .to_string()
        };
        let arguments = ["rules", "--baseline", "-"];
        let given = simple(master, "::ffff:192.0.2.4");
        let (text, stderr) = expect(0, &arguments, given.as_bytes());
        let (wanted, other) = expect(0, &arguments, simple("192.0.2.2", "192.0.2.4").as_bytes());
        assert_eq!(text, wanted);
        assert!(!other.contains("note: IPv4 addresses"), "{other}");
        let first = match master {
            "192.0.2.2" => "(1, the first is ::ffff:192.0.2.4) are read as IPv4, as 192.0.2.4",
            _ => "(2, the first is ::ffff:192.0.2.2) are read as IPv4, as 192.0.2.2",
        };
        assert!(
            stderr.starts_with("dnp3fw: standard input: note: IPv4 addresses written as IPv6 ")
                && stderr.contains(first),
            "{stderr}"
        );
    }
    // Two that are one then.
    let mut twice = of(&[
        communication("192.0.2.2", "192.0.2.4", ("tcp", 20000, "master"), &[]),
        communication("192.0.2.2", "192.0.2.4", ("tcp", 20000, "master"), &[]),
    ]);
    twice["communications"][1]["master_ip"] = json!("::ffff:192.0.2.2");
    let arguments = ["rules", "--baseline", "-"];
    let (_, stderr) = expect(2, &arguments, twice.to_string().as_bytes());
    assert!(stderr.contains("is between the same hosts as"), "{stderr}");
}

#[test]
fn the_help_says_why_not_nft() {
    let (help, _) = expect(0, &["rules", "--help"], &[]);
    for said in [
        "nft_compat",
        "no expression for DNP3",
        "inside the head of the next",
        "Examples:",
        "Exit status:",
    ] {
        assert!(help.contains(said), "{said:?} in {help}");
    }
    let scratch = Scratch::new("rules-man");
    expect(0, &["man", &scratch.0.display().to_string()], &[]);
    let page = std::fs::read_to_string(scratch.0.join("dnp3fw-rules.8")).expect("a page");
    assert!(page.contains("nft_compat"), "{page}");
}

#[test]
fn a_limit_is_written_as_it_is_saved() {
    let text = one_of_everything(false).to_string();
    for (given, saved) in [
        ("6/minute", "6/min"),
        ("10/s", "10/sec"),
        ("1/hour", "1/hour"),
        ("2/DAY", "2/day"),
    ] {
        let arguments = ["rules", "--baseline", "-", "--log-limit", given];
        let (stdout, _) = expect(0, &arguments, text.as_bytes());
        assert!(stdout.contains(&format!(" --limit {saved} ")), "{given}");
    }
}

#[test]
fn a_judge_asks_what_the_kernel_asks() {
    // The judge of these tests by itself: the kinds of frames that it sends are what it takes them for.
    let rule = |words: &str| dnp3_core::text::parse(words.split(' '), 6).expect("a rule");
    let (one, other) = (Ipv4Addr::LOCALHOST.into(), Ipv4Addr::BROADCAST.into());
    let sent = Sent::request(one, other, 1, 10, Kind::Function(1));
    for (words, kind, fits) in [
        ("--fc 1", Kind::Function(1), true),
        ("--fc 1", Kind::Function(2), false),
        ("--fc link", Kind::Link, true),
        ("--fc cont", Kind::Continuation, true),
        ("--fc link", Kind::Continuation, false),
        ("--saddr 1 --daddr 10 --dir master", Kind::Link, true),
        ("--dir outstation", Kind::Link, false),
        ("--status none", Kind::Nothing, true),
        ("--status none", Kind::Link, false),
        ("--status malformed", Kind::Malformed, true),
    ] {
        assert_eq!(
            ask(&rule(words), &sent.with(kind)),
            fits,
            "{words} {kind:?}"
        );
    }
}
