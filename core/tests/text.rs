// SPDX-License-Identifier: GPL-2.0

//! The rule language, item by item: what is accepted and what it means, what is refused and the
//! line that says so, what is listed.

use dnp3_core::rule::{class, dir, frames, option, protocol, status, Range};
use dnp3_core::text::{help, list, names, parse, save, Builder, Error, Opt};
use dnp3_core::Rule;

fn tcp(options: &str) -> Result<Rule, String> {
    let words: Vec<&str> = options.split_whitespace().collect();
    parse(words, protocol::TCP).map_err(|error| error.to_string())
}

fn rule(options: &str) -> Rule {
    tcp(options).unwrap_or_else(|error| panic!("{options}: {error}"))
}

/// Options, and the same as they are saved.
#[track_caller]
fn saves(options: &str, saved: &str) {
    assert_eq!(save(&rule(options)).to_string(), saved, "{options}");
    assert_eq!(rule(saved), rule(options), "{options}");
}

/// Options, and the line that refuses them.
#[track_caller]
fn refuses(options: &str, line: &str) {
    assert_eq!(tcp(options), Err(line.to_string()), "{options}");
}

fn ranges(list: &[(u16, u16)]) -> Vec<Range> {
    list.iter()
        .map(|(min, max)| Range {
            min: *min,
            max: *max,
        })
        .collect()
}

#[test]
fn every_member_of_the_rule() {
    let rule = rule(
        "--frames any ! --saddr 1,10:20 --daddr 0xfff0: ! --fc 31:33,cont --status valid,partial \
         ! --dir outstation",
    );
    assert_eq!(
        rule.set,
        option::FRAMES | option::SADDR | option::DADDR | option::FC | option::STATUS | option::DIR
    );
    assert_eq!(rule.invert, option::SADDR | option::FC | option::DIR);
    assert_eq!(rule.frames, frames::ANY);
    assert_eq!(rule.dir, dir::OUTSTATION);
    assert_eq!(rule.status, status::VALID | status::PARTIAL);
    assert_eq!(rule.classes, class::CONT);
    assert_eq!((rule.saddr_count, rule.daddr_count), (2, 1));
    assert_eq!(rule.saddr[..2], ranges(&[(1, 1), (10, 20)]));
    assert_eq!(rule.saddr[2..], [Range::default(); 6]);
    assert_eq!(
        rule.daddr[0],
        Range {
            min: 0xFFF0,
            max: 0xFFFF
        }
    );
    assert_eq!(rule.daddr[1..], [Range::default(); 7]);
    assert_eq!(rule.fc, [1 << 31, 3, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rule.reserved, [0; 6]);
}

#[test]
fn track_and_ahead() {
    let rule = rule("--track --status ahead,partial");
    assert_eq!(rule.set, option::TRACK | option::STATUS);
    assert_eq!(rule.invert, 0);
    assert_eq!(rule.status, status::PARTIAL | status::AHEAD);
    saves("--track", "--track");
    // It is saved behind all others, wherever it stood.
    saves(
        "--track --fc 1 --dir master --status valid",
        "--fc 1 --status valid --dir master --track",
    );
    saves("--status AHEAD,none --track", "--status none,ahead --track");
    saves("--track ! --status ahead", "! --status ahead --track");
    saves("--frames any --fc 1 --track", "--frames any --fc 1 --track");

    let ahead = "--status: 'ahead' needs --track in the same rule";
    refuses("--status ahead", ahead);
    refuses("--status valid,ahead", ahead);
    refuses("! --status ahead", ahead);
    refuses("--frames any --fc 1 --status Ahead", ahead);

    let twice = "--track: given twice; once is allowed";
    refuses("--track --track", twice);
    refuses("--track --fc 1 --track", twice);
    let inverted = "--track: '!' is not allowed here (--track)";
    refuses("! --track", inverted);
    refuses("--fc 1 ! --track", inverted);
    refuses("--track ! --track", twice);
    refuses("--track=yes", "--track: takes no value");
    refuses("--track= --fc 1", "--track: takes no value");
    // The entry that libxtables has is no other.
    let given = Builder::new().option(Opt::Track, false, Some("yes"));
    assert_eq!(
        given.map_err(|error| error.to_string()),
        Err("--track: takes no value".to_string())
    );
}

/// Of whatever else is wrong with such a rule of UDP, this is said.
#[test]
fn udp_has_no_stream() {
    let line = "--track: needs -p tcp in the same rule; UDP has no stream to follow";
    for options in [
        "--track",
        "--fc 1 --track",
        "--track --status ahead",
        "--track --fc 1 --status none",
    ] {
        let udp = parse(options.split_whitespace(), protocol::UDP);
        assert_eq!(
            udp.map_err(|e| e.to_string()),
            Err(line.into()),
            "{options}"
        );
    }
    // And no datagram is ahead of one.
    let udp = parse(["--status", "ahead"], protocol::UDP);
    assert_eq!(udp, Err(Error::AheadNeedsTrack));
}

#[test]
fn no_option_at_all() {
    saves("", "");
    assert_eq!(rule(""), Rule::default());
}

#[test]
fn addresses() {
    for (list, saved) in [
        ("1", "1"),
        ("10:20", "10:20"),
        ("1,5,10:20", "1,5,10:20"),
        (":9", "0:9"),
        ("65520:", "65520:65535"),
        ("0:65535", "0:65535"),
        ("0", "0"),
        ("65535", "65535"),
        ("broadcast", "65533:65535"),
        ("self", "65532"),
        ("Self,BROADCAST", "65532:65535"),
        ("1,broadcast,2", "1:2,65533:65535"),
        ("0x10,0xfFfF,0x0", "0,16,65535"),
        ("0xa:0x14", "10:20"),
        // Duplicates, overlaps and neighbours are merged, in any order.
        ("1:1", "1"),
        ("1,1,1", "1"),
        ("2,1", "1:2"),
        ("20:30,10:19", "10:30"),
        ("10:30,15:20", "10:30"),
        ("10:20,15:30,5", "5,10:30"),
        ("65535,65534", "65534:65535"),
        ("63,64,127:128", "63:64,127:128"),
        ("1,3,5,7,9,11,13,15", "1,3,5,7,9,11,13,15"),
        // More on the way than there is room for, and few in the end.
        ("1,3,5,7,9,11,13,15,17,19,21,0:30", "0:30"),
        ("1,3,5,7,9,11,13,15,17,16,14,12", "1,3,5,7,9,11:17"),
    ] {
        saves(&format!("--saddr {list}"), &format!("--saddr {saved}"));
        // `any`, because an inverted list of all stations cannot match under `only`.
        if saved != "0:65535" {
            saves(
                &format!("--frames any ! --destination-addr {list}"),
                &format!("--frames any ! --daddr {saved}"),
            );
        }
    }
}

#[test]
fn addresses_refused() {
    let allowed = "(0..65535, a range as 10:20, self or broadcast)";
    for value in [
        "65536",
        "70000",
        "4294967297",
        "18446744073709551617",
        "0x10000",
        "0x",
        "0xg",
        "0X1",
        "-1",
        "+1",
        "1-5",
        "1a",
        ":",
        "1;2",
        "1.5",
        "\u{661}",
    ] {
        for (option, name) in [("--saddr", "saddr"), ("! --destination-addr", "daddr")] {
            refuses(
                &format!("{option} {value}"),
                &format!("--{name}: '{value}' is not an address {allowed}"),
            );
        }
    }
    for (value, line) in [
        ("1:70000", "'70000' is not an address"),
        ("1,70000,2", "'70000' is not an address"),
        ("1:2:3", "'2:3' is not an address"),
        ("1:-2", "'-2' is not an address"),
        ("1,", "'1,' ends with a comma"),
        (",", "',' ends with a comma"),
        (",1", "empty item in ',1'"),
        ("1,,2", "empty item in '1,,2'"),
        ("everyone", "unknown address 'everyone'"),
        (
            "brodcast",
            "unknown address 'brodcast': did you mean 'broadcast'?",
        ),
        (
            "self:broadcast",
            "'self:broadcast' is a range with a name in it; ranges are of numbers",
        ),
        (
            "1:self",
            "'1:self' is a range with a name in it; ranges are of numbers",
        ),
    ] {
        refuses(
            &format!("--saddr {value}"),
            &format!("--saddr: {line} {allowed}"),
        );
    }
    for (value, line) in [
        ("20:10", "'20:10' is reversed; write 10:20"),
        ("0x20:10", "'0x20:10' is reversed; write 10:0x20"),
        ("01", "'01' has leading zeros; write 1"),
        ("1:0020", "'0020' has leading zeros; write 20"),
        ("00", "'00' has leading zeros; write 0"),
        ("0x0a", "'0x0a' has leading zeros; write 0xa"),
        ("0x00", "'0x00' has leading zeros; write 0x0"),
        (
            "1,3,5,7,9,11,13,15,17",
            "'1,3,5,7,9,11,13,15,17' has 9 ranges after merging; 8 are allowed",
        ),
        (
            "1,3,5,7,9,11,13,15,17,19,21,23,25,27,29",
            "'1,3,5,7,9,11,13,15,17,19,21,23,25,27,29' has 15 ranges after merging; 8 are allowed",
        ),
    ] {
        refuses(&format!("--saddr {value}"), &format!("--saddr: {line}"));
    }
}

#[test]
fn functions() {
    for (value, saved) in [
        ("0", "0"),
        ("255", "255"),
        ("0,1,2", "0:2"),
        ("2,0,1,1", "0:2"),
        ("0:2,link,cont", "0:2,link,cont"),
        ("cont", "cont"),
        ("LINK", "link"),
        ("0xd", "13"),
        ("0x81:0x83", "129:131"),
        ("31,32", "31:32"),
        ("63:64,127:128,200", "63:64,127:128,200"),
        ("0:255", "0:255"),
        ("read,write", "1:2"),
        ("COLD_RESTART", "13"),
        ("cold-restart,Warm-Restart", "13:14"),
        ("requests", "0:33"),
        ("responses", "129:131"),
        ("control", "3:6"),
        ("freeze", "7:12"),
        ("restart", "13:14"),
        ("application", "15:18"),
        ("config", "19,31"),
        ("unsolicited", "20:21"),
        ("file", "25:30"),
        ("auth", "32:33,131"),
        ("Restart,control,link", "3:6,13:14,link"),
    ] {
        saves(&format!("--fc {value}"), &format!("--fc {saved}"));
        saves(
            &format!("! --function-code {value}"),
            &format!("! --fc {saved}"),
        );
    }
    for named in &names::FUNCTIONS {
        let upper = named.name.to_uppercase();
        for name in [named.name, &upper, &named.name.replace('_', "-")] {
            saves(&format!("--fc {name}"), &format!("--fc {}", named.value));
        }
    }
}

#[test]
fn functions_refused() {
    let allowed = "(0..255, a name, a group, link or cont)";
    for (value, line) in [
        ("256", "'256' is not a function code"),
        ("0x100", "'0x100' is not a function code"),
        ("0XD", "'0XD' is not a function code"),
        ("0X0:0xd", "'0X0' is not a function code"),
        ("0:256", "'256' is not a function code"),
        ("-1", "'-1' is not a function code"),
        ("1,", "'1,' ends with a comma"),
        ("1,,2", "empty item in '1,,2'"),
        ("raed", "unknown function 'raed': did you mean 'read'?"),
        ("READD", "unknown function 'READD': did you mean 'read'?"),
        (
            "restarts",
            "unknown function 'restarts': did you mean 'restart'?",
        ),
        ("lnk", "unknown function 'lnk': did you mean 'link'?"),
        (
            "cold",
            "unknown function 'cold': did you mean 'cold_restart'?",
        ),
        ("frobnicate", "unknown function 'frobnicate'"),
        // Three slips of seven letters are another word.
        (
            "coxxirm",
            "unknown function 'coxxirm': did you mean 'confirm'?",
        ),
        ("coxxxrm", "unknown function 'coxxxrm'"),
        (
            "read:write",
            "'read:write' is a range with a name in it; ranges are of numbers",
        ),
    ] {
        refuses(&format!("--fc {value}"), &format!("--fc: {line} {allowed}"));
    }
    for (value, line) in [
        ("2:1", "'2:1' is reversed; write 1:2"),
        ("013", "'013' has leading zeros; write 13"),
        (
            ":5",
            "':5' lacks an end; a range of function codes has both, as 0:2",
        ),
        (
            "5:",
            "'5:' lacks an end; a range of function codes has both, as 0:2",
        ),
        (
            ":",
            "':' lacks an end; a range of function codes has both, as 0:2",
        ),
    ] {
        refuses(&format!("--fc {value}"), &format!("--fc: {line}"));
    }
}

#[test]
fn statuses_directions_and_readings() {
    saves("--status malformed,none", "--status none,malformed");
    saves("--status VALID,valid", "--status valid");
    saves(
        "--status partial,none,valid,malformed",
        "--status none,valid,partial,malformed",
    );
    saves("! --status valid", "! --status valid");
    saves("--dir master", "--dir master");
    saves("! --dir Outstation", "! --dir outstation");
    saves("--frames only", "--frames only");
    saves("--frames any", "--frames any");

    let allowed = "(none, valid, partial, malformed or ahead)";
    for (value, line) in [
        ("vald", "unknown status 'vald': did you mean 'valid'?"),
        ("all", "unknown status 'all'"),
        ("valid,", "'valid,' ends with a comma"),
        ("valid,,none", "empty item in 'valid,,none'"),
        ("1", "'1' is not a status"),
        ("ahed", "unknown status 'ahed': did you mean 'ahead'?"),
    ] {
        refuses(
            &format!("--status {value}"),
            &format!("--status: {line} {allowed}"),
        );
    }
    refuses(
        "--dir both",
        "--dir: unknown direction 'both' (master or outstation)",
    );
    refuses(
        "--dir 1",
        "--dir: '1' is not a direction (master or outstation)",
    );
    refuses(
        "--dir master,outstation",
        "--dir: unknown direction 'master,outstation' (master or outstation)",
    );
    refuses(
        "--frames all",
        "--frames: unknown reading 'all' (only or any)",
    );
    refuses(
        "--frames anny",
        "--frames: unknown reading 'anny': did you mean 'any'? (only or any)",
    );
}

#[test]
fn options_are_saved_in_one_order() {
    saves(
        "--dir master --status valid ! --fc 13 --daddr 2 --saddr 1 --frames only",
        "--frames only --saddr 1 --daddr 2 ! --fc 13 --status valid --dir master",
    );
    saves("--fc=13 ! --saddr=1", "! --saddr 1 --fc 13");
}

#[test]
fn options_refused() {
    for (option, alias, value) in [
        ("saddr", "source-addr", "1"),
        ("daddr", "destination-addr", "1"),
        ("fc", "function-code", "1"),
    ] {
        let line =
            format!("--{option}: given twice (--{alias} is the same option); once is allowed");
        for (first, second) in [
            (option, option),
            (option, alias),
            (alias, option),
            (alias, alias),
        ] {
            refuses(&format!("--{first} {value} --{second} {value}"), &line);
            refuses(&format!("! --{first} {value} --{second} {value}"), &line);
        }
    }
    for (option, value) in [("status", "valid"), ("dir", "master"), ("frames", "any")] {
        refuses(
            &format!("--{option} {value} --{option} {value}"),
            &format!("--{option}: given twice; once is allowed"),
        );
    }

    for (option, values) in [
        ("saddr", "ADDRS"),
        ("daddr", "ADDRS"),
        ("fc", "FUNCTIONS"),
        ("status", "STATUSES"),
        ("dir", "master|outstation"),
    ] {
        let line = format!("--{option}: '!' goes before the option: ! --{option} {values}");
        refuses(&format!("--{option} ! 1"), &line);
        refuses(&format!("--{option} !1"), &line);
        refuses(&format!("! --{option} !1"), &line);
    }
    refuses(
        "--frames ! any",
        "--frames: '!' is not allowed here (only or any)",
    );
    refuses(
        "! --frames any",
        "--frames: '!' is not allowed here (--frames only|any)",
    );

    refuses(
        "--fc",
        "--fc: needs a value (0..255, a name, a group, link or cont)",
    );
    refuses(
        "--fc=",
        "--fc: the value is empty (0..255, a name, a group, link or cont)",
    );
    let dangling = "'!' goes before an option, once: ! --fc FUNCTIONS";
    refuses("!", dangling);
    refuses("--fc 1 !", dangling);
    refuses("! ! --fc 1", dangling);
    let offered = "(--frames, --saddr, --daddr, --fc, --status, --dir, --track)";
    refuses(
        "--function 1",
        &format!("unknown option '--function': did you mean '--fc'? {offered}"),
    );
    refuses(
        "--sadr 1",
        &format!("unknown option '--sadr': did you mean '--saddr'? {offered}"),
    );
    refuses(
        "-fc 1",
        &format!("unknown option '-fc': did you mean '--fc'? {offered}"),
    );
    refuses(
        "--port 20000",
        &format!("unknown option '--port' {offered}"),
    );
    refuses(
        "--trac",
        &format!("unknown option '--trac': did you mean '--track'? {offered}"),
    );
    refuses("--fc 1 2", &format!("unknown option '2' {offered}"));
}

#[test]
fn protocols() {
    let parse = |protocol| parse(["--fc", "1"], protocol);
    assert!(parse(protocol::TCP).is_ok());
    assert!(parse(protocol::UDP).is_ok());
    for other in [0, 1, 58, 132, 136, 255] {
        assert_eq!(parse(other), Err(Error::Protocol));
    }
    assert_eq!(
        Builder::new().finish(protocol::TCP, true),
        Err(Error::Protocol)
    );
    assert_eq!(
        Error::Protocol.to_string(),
        "needs -p tcp or -p udp (not inverted) in the same rule"
    );
}

#[test]
fn rules_that_can_never_match() {
    let never = |options: &str, reason: &str| {
        refuses(options, &format!("the rule can never match: {reason}"));
    };
    let everything =
        |option, left| format!("! --{option} with a list of everything leaves no {left}");
    never("! --saddr 0:65535", &everything("saddr", "address"));
    never(
        "--frames any ! --saddr :40000,40001:",
        &everything("saddr", "address"),
    );
    never(
        "! --daddr 0:65531,self,broadcast",
        &everything("daddr", "address"),
    );
    never(
        "! --fc 0:255,link,cont",
        &everything("fc", "function, link or cont"),
    );
    never(
        "! --status none,valid,partial,malformed",
        &everything("status", "status"),
    );
    never(
        "! --status none,valid,partial,malformed,ahead --track",
        &everything("status", "status"),
    );
    assert!(tcp("! --status none,valid,partial,malformed --track").is_ok());

    let shared = "! --daddr leaves only self and broadcast, which reach stations inside the list \
                  too, and so satisfy it under --frames any alone";
    never("! --daddr 0:65531", shared);
    never("! --daddr 0:65533", shared);
    assert!(tcp("! --daddr 0:65531 --frames any").is_ok());
    assert!(tcp("! --daddr 0:65530").is_ok());
    assert!(tcp("! --daddr 1:65531").is_ok());
    assert!(tcp("! --saddr 0:65531").is_ok());
    assert!(tcp("! --fc 0:255,link").is_ok());
    assert!(tcp("! --fc 0:254,link,cont").is_ok());
    assert!(tcp("--saddr 0:65535 --fc 0:255,link,cont").is_ok());

    let only = "--status allows no valid packet, and --frames only (the default), \
                which --saddr, --daddr, --fc and --dir ask under, matches no other";
    for test in [
        "--saddr 1",
        "! --daddr 1",
        "--fc 1",
        "--dir master",
        "--frames only",
    ] {
        for status in [
            "--status none",
            "--status partial,malformed",
            "--status none,partial,malformed",
            "! --status valid",
            "! --status none,valid",
        ] {
            never(&format!("{test} {status}"), only);
        }
        assert!(tcp(&format!("{test} --status valid")).is_ok());
        assert!(tcp(&format!("{test} --status none,valid")).is_ok());
        assert!(tcp(&format!("{test} ! --status none,partial,malformed")).is_ok());
    }
    for status in [
        "none",
        "valid",
        "partial",
        "malformed",
        "none,partial,malformed",
    ] {
        assert!(
            tcp(&format!("--status {status}")).is_ok(),
            "no frame test: {status}"
        );
    }

    // A stream is followed in pieces: one that ends inside a frame can be surely right so far.
    let only = "--status allows no valid or partial packet, and --frames only (the default), \
                which --saddr, --daddr, --fc and --dir ask under, matches no other";
    for test in ["--saddr 1", "! --fc 1", "--dir master", "--frames only"] {
        for status in [
            "--status none",
            "--status ahead",
            "--status none,malformed,ahead",
            "! --status valid,partial",
        ] {
            never(&format!("{test} {status} --track"), only);
            never(&format!("--track {test} {status}"), only);
        }
        for status in ["valid", "partial", "none,partial,ahead"] {
            assert!(tcp(&format!("{test} --status {status} --track")).is_ok());
        }
    }

    let any = "--status allows none alone, a packet without payload, \
               in which --frames any finds no frame";
    never("--frames any --status none", any);
    never(
        "--frames any --fc 1 ! --status valid,partial,malformed",
        any,
    );
    never("--frames any --status none --track", any);
    never(
        "--track --frames any ! --status valid,partial,malformed,ahead",
        any,
    );
    assert!(tcp("--frames any --status none,partial").is_ok());
    assert!(tcp("--frames any --fc 1 --status malformed").is_ok());
    assert!(tcp("--frames any --fc 1 --status ahead --track").is_ok());
    assert!(tcp("--frames any ! --status valid,partial,malformed --track").is_ok());
}

#[test]
fn udp_is_never_partial() {
    let udp = |options: &str| {
        let words: Vec<&str> = options.split_whitespace().collect();
        parse(words, protocol::UDP).map_err(|error| error.to_string())
    };
    let line = "the rule can never match: a UDP datagram is never partial, \
                and --status allows it no other";
    for options in [
        "--status partial",
        "! --status none,valid,malformed",
        "--frames any --fc 1 --status partial",
        "--frames any --status none,partial",
    ] {
        assert_eq!(udp(options), Err(line.to_string()), "{options}");
        assert!(tcp(options).is_ok(), "{options}");
    }
    assert!(udp("--status none,partial").is_ok());
    assert!(udp("--frames any --status partial,malformed").is_ok());
}

/// The first thing that is wrong, from left to right, is the one that is said; what is wrong with
/// the rule as a whole comes last.
#[test]
fn one_error_at_a_time() {
    refuses(
        "--fc 256 --saddr 70000",
        "--fc: '256' is not a function code \
        (0..255, a name, a group, link or cont)",
    );
    refuses("--fc 1,01,256", "--fc: '01' has leading zeros; write 1");
    let words = ["!", "--saddr", "0:65535"];
    assert_eq!(parse(words, 0), Err(Error::Protocol));
}

/// Whatever the value holds, an error is one short line.
#[test]
fn errors_are_one_line() {
    let long = "9".repeat(100_000);
    let many = "1,".repeat(50_000) + "x";
    for value in [
        "a\nb",
        "\u{1b}[2J",
        "a\r\nb",
        "\u{202e}x",
        "\0",
        &long,
        &many,
        "'",
    ] {
        for opt in Opt::ALL {
            let Err(error) = Builder::new().option(opt, false, Some(value)) else {
                panic!("--{} takes {value:?}", opt.name());
            };
            let line = error.to_string();
            assert!(line.len() < 400, "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
            assert!(line.starts_with(&format!("--{}: ", opt.name())), "{line}");
        }
    }
}

#[test]
fn a_refused_option_changes_nothing() {
    let mut builder = Builder::new();
    assert!(builder.option(Opt::Source, true, Some("1:9")).is_ok());
    let before = builder;
    assert!(builder
        .option(Opt::Function, true, Some("1,2,256"))
        .is_err());
    assert!(builder.option(Opt::Source, false, Some("3")).is_err());
    assert!(builder
        .option(Opt::Status, false, Some("valid,ahea"))
        .is_err());
    assert!(builder.option(Opt::Track, true, None).is_err());
    assert_eq!(builder, before);
}

#[test]
fn a_builder_goes_on_from_a_rule() {
    let mut builder = Builder::resume(rule("! --saddr 1:9 --fc 2"));
    assert!(builder
        .option(Opt::Direction, false, Some("master"))
        .is_ok());
    assert_eq!(*builder.rule(), rule("! --saddr 1:9 --fc 2 --dir master"));
}

#[test]
fn listed() {
    for (options, numeric, names) in [
        ("", "dnp3", "dnp3"),
        (
            "--frames any --saddr 1,10:20 ! --fc restart --status valid --dir master",
            "dnp3 frames any saddr 1,10:20 ! fc 13:14 status valid dir master",
            "dnp3 frames any saddr 1,10:20 ! fc cold_restart,warm_restart status valid dir master",
        ),
        (
            "! --daddr broadcast --fc 0:2,link,cont",
            "dnp3 ! daddr 65533:65535 fc 0:2,link,cont",
            "dnp3 ! daddr broadcast fc confirm,read,write,link,cont",
        ),
        (
            "--daddr 7,65532: --fc 33:40,128:132,200,255",
            "dnp3 daddr 7,65532:65535 fc 33:40,128:132,200,255",
            "dnp3 daddr 7,self,broadcast fc authenticate_req_nr,34:40,128,response,\
             unsolicited_response,authenticate_resp,132,200,255",
        ),
        (
            "--track --fc read --status valid,ahead",
            "dnp3 fc 1 status valid,ahead track",
            "dnp3 fc read status valid,ahead track",
        ),
        (
            "--saddr self --daddr 65532:65534",
            "dnp3 saddr 65532 daddr 65532:65534",
            "dnp3 saddr self daddr 65532:65534",
        ),
        (
            "--saddr 65531: --daddr 65534:",
            "dnp3 saddr 65531:65535 daddr 65534:65535",
            "dnp3 saddr 65531:65535 daddr 65534:65535",
        ),
    ] {
        assert_eq!(list(&rule(options), true).to_string(), numeric);
        assert_eq!(list(&rule(options), false).to_string(), names);
    }
}

/// Whatever octets the rule holds, printing it ends, and well.
#[test]
fn any_octets_are_printed() {
    let everything = Rule {
        set: u16::MAX,
        invert: u16::MAX,
        frames: 0xFF,
        dir: 0xFF,
        status: 0xFF,
        classes: 0xFF,
        saddr_count: 0xFF,
        daddr_count: 0xFF,
        reserved: [0xFF; 6],
        saddr: [Range {
            min: 0xFFFF,
            max: 0,
        }; 8],
        daddr: [Range {
            min: 0xFFFF,
            max: 0xFFFF,
        }; 8],
        fc: [u32::MAX; 8],
    };
    assert!(save(&everything)
        .to_string()
        .contains("! --fc 0:255,link,cont"));
    assert!(list(&everything, false)
        .to_string()
        .contains("! frames 255"));
}

#[test]
fn help_names_everything() {
    let help = help().to_string();
    for opt in Opt::ALL {
        assert!(help.contains(&format!("--{}", opt.name())));
        if let Some(alias) = opt.alias() {
            assert!(help.contains(&format!(", --{alias} ")));
        }
        let not = help.contains(&format!("[!] --{}", opt.name()));
        assert_eq!(not, opt.is_invertible());
    }
    for named in &names::FUNCTIONS {
        assert!(
            help.contains(&format!(" {} {}", named.value, named.name)),
            "{}",
            named.name
        );
    }
    for word in ["link", "cont", "self (65532)", "broadcast (65533:65535)"] {
        assert!(help.contains(word), "{word}");
    }
    let groups = help
        .split_once("groups of FUNCTIONS:\n")
        .map(|(_, groups)| groups);
    let groups: Vec<&str> = groups
        .map(|groups| groups.lines().collect())
        .unwrap_or_default();
    assert_eq!(groups.len(), names::GROUPS.len());
    for (line, group) in groups.iter().zip(&names::GROUPS) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[0], group.name);
        // The members, by number and by name, are what the group's name means.
        let meant = rule(&format!("--fc {}", group.name));
        assert_eq!(rule(&format!("--fc {}", words[1])), meant);
        match words[2..] {
            [members] => {
                assert_eq!(rule(&format!("--fc {members}")), meant);
                // More would not fit on a line.
                assert!(members.split(',').count() <= 8, "{line}");
            }
            [first, "to", last] => {
                let code = |name| names::FUNCTIONS.iter().find(|named| named.name == name);
                let range = (code(first).map(|n| n.value), code(last).map(|n| n.value));
                assert_eq!(range, (Some(group.ranges[0].0), Some(group.ranges[0].1)));
            }
            _ => panic!("{line}"),
        }
    }
    // What it says of names and numbers holds.
    assert!(help.contains("any case, with - for _. Numbers are decimal, or 0x and hexadecimal.\n"));
    saves(
        "--saddr SELF,0xA --fc Cold-Restart,CONT --status Valid --dir MASTER --frames Any",
        "--frames any --saddr 10,65532 --fc 13,cont --status valid --dir master",
    );
    for line in help.lines() {
        assert_eq!(line.trim_end(), line);
    }
}
