// SPDX-License-Identifier: GPL-2.0

//! Gateways that boot, by systemd in the VM: that one whose rules cannot be loaded forwards nothing from
//! the first moment on, whatever it is that they lack. tests/guest/boot.py is the guest's part.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use dnp3_tests::frames::{control, frame};
use dnp3_tests::vm::{hex, project};

/// What forwards, and what brings the network up as a network manager does.
const SYSCTL: &str = "net.ipv4.ip_forward=1\nnet.ipv6.conf.all.forwarding=1\n";
const NETWORK: &str = "\
[Unit]
DefaultDependencies=no
After=local-fs.target network-pre.target
Wants=network.target
Before=network.target multi-user.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/python3 /root/guest/boot.py network
EnvironmentFile=/etc/frames
[Install]
WantedBy=multi-user.target
";
const SERVICE: &str = "dnp3-firewall.service";
const PERSISTENT: &str = "netfilter-persistent.service";

/// A gateway's /etc, and what else scripts/vm is told.
struct Gateway {
    scenario: &'static str,
    tree: PathBuf,
    options: Vec<String>,
}

/// The README's policy in the form of iptables-save.
fn rules(six: bool) -> String {
    let readme = fs::read_to_string(project().join("README.md")).expect("README.md");
    let block = readme
        .split_once("<!-- the demo runs")
        .and_then(|(_, rest)| rest.split_once("```sh\n"))
        .and_then(|(_, rest)| rest.split_once("```"))
        .expect("README.md has the policy")
        .0;
    let (master, rtu, icmp) = if six {
        ("2001:db8:1::10", "2001:db8:2::20", "-p ipv6-icmp")
    } else {
        ("192.0.2.10", "198.51.100.20", "-p icmp")
    };
    let (mut chains, mut appended) = (String::new(), String::new());
    for line in block.lines() {
        let Some(line) = line.strip_prefix("iptables ") else {
            continue;
        };
        if let Some(policy) = line.strip_prefix("-P ") {
            chains += &format!(":{policy} [0:0]\n");
        } else if let Some(chain) = line.strip_prefix("-N ") {
            chains += &format!(":{chain} - [0:0]\n");
        } else {
            appended += line;
            appended += "\n";
        }
    }
    let appended = appended
        .replace("$MASTER", master)
        .replace("$RTU", rtu)
        .replace("-p icmp", icmp);
    assert!(chains.contains(":FORWARD DROP") && appended.contains("-m dnp3"));
    format!("*filter\n{chains}{appended}COMMIT\n")
}

impl Gateway {
    fn new(name: &str, scenario: &'static str, options: &[&str]) -> Gateway {
        let tree = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("boot-{name}"));
        if tree.exists() {
            fs::remove_dir_all(&tree).expect("the tree of the last time goes");
        }
        let gateway = Gateway {
            scenario,
            tree,
            options: options.iter().map(ToString::to_string).collect(),
        };
        for place in ["dnp3-firewall", "iptables"] {
            gateway.file(&format!("{place}/rules.v4"), &rules(false));
            gateway.file(&format!("{place}/rules.v6"), &rules(true));
        }
        gateway.file("sysctl.d/50-gateway.conf", SYSCTL);
        gateway.file("systemd/system/gateway-network.service", NETWORK);
        gateway.enable("gateway-network.service", "multi-user.target", "/etc");
        gateway
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.tree.join(path);
        fs::create_dir_all(path.parent().expect("it is below the tree")).expect("a directory");
        fs::write(path, text).expect("a file in the target directory");
    }

    /// As `systemctl enable` does it.
    fn enable(&self, unit: &str, target: &str, place: &str) {
        let wants = self.tree.join(format!("systemd/system/{target}.wants"));
        fs::create_dir_all(&wants).expect("a directory");
        symlink(format!("{place}/systemd/system/{unit}"), wants.join(unit)).expect("a link");
    }

    /// Our unit, enabled as its `[Install]` says.
    fn firewall(self) -> Gateway {
        let unit = fs::read_to_string(boot(SERVICE)).expect("the unit");
        let target = unit.lines().find_map(|line| line.strip_prefix("WantedBy="));
        self.enable(SERVICE, target.expect("WantedBy="), "/lib");
        self
    }

    /// Debian's unit, enabled as that package does it.
    fn persistent(self) -> Gateway {
        self.enable(PERSISTENT, "multi-user.target", "/lib");
        self
    }

    /// The drop-in for it, as the manual page says.
    fn guarded(self) -> Gateway {
        let text = fs::read_to_string(boot("netfilter-persistent.conf")).expect("the drop-in");
        self.file(
            "systemd/system/netfilter-persistent.service.d/dnp3-firewall.conf",
            &text,
        );
        self
    }

    /// As `update-alternatives` does it; Debian begins with nft.
    fn legacy(self) -> Gateway {
        let place = self.tree.join("alternatives");
        fs::create_dir_all(&place).expect("a directory");
        for name in ["iptables", "ip6tables"] {
            for end in ["", "-save", "-restore"] {
                let target = format!("/usr/sbin/{name}-legacy{end}");
                symlink(target, place.join(format!("{name}{end}"))).expect("a link");
            }
        }
        self
    }

    /// Boots it; each of the checks must be there, and ok. What was on the console.
    fn boots(self, checks: usize) -> String {
        let add = |host: PathBuf, guest: &str| format!("{}:{guest}", host.display());
        let console = self.tree.with_extension("console");
        let read = frame(control::MASTER_DATA, 10, 1, &[0xC0, 0xC0, 1, 0x3C, 2, 6]);
        let restart = frame(control::MASTER_DATA, 10, 1, &[0xC1, 0xC1, 13]);
        let (read, restart) = (hex(&read), hex(&restart));
        self.file("frames", &format!("READ={read}\nRESTART={restart}\n"));
        let output = Command::new(project().join("scripts/vm"))
            .args(["--systemd", "--no-module", "--timeout", "240"])
            .args(&self.options)
            .arg("--keep-log")
            .arg(&console)
            .args(["--add", &add(self.tree.clone(), "/etc")])
            .args(["--add", &add(project().join("tests/guest"), "guest")])
            .args([
                "--add",
                &add(boot("dnp3-firewall"), "/usr/sbin/dnp3-firewall"),
            ])
            .args([
                "--add",
                &add(boot(SERVICE), &format!("/lib/systemd/system/{SERVICE}")),
            ])
            .arg("--")
            .arg(format!(
                "READ={read} RESTART={restart} python3 guest/boot.py {}",
                self.scenario
            ))
            .output()
            .expect("scripts/vm runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let console = fs::read_to_string(&console).unwrap_or_default();
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{text}{errors}");
        assert!(output.status.success(), "scripts/vm: {}", output.status);
        let done: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("check "))
            .filter_map(|line| line.split_once(' '))
            .collect();
        let bad: Vec<_> = done.iter().filter(|(_, result)| *result != "ok").collect();
        assert!(bad.is_empty(), "{bad:#?}");
        assert_eq!(done.len(), checks, "checks");
        console
    }
}

fn boot(file: &str) -> PathBuf {
    project().join("xtables-ext/boot").join(file)
}

const LOUD: &str = "NOTHING IS FORWARDED: the module xt_dnp3 cannot be loaded on kernel";

/// The rules load, and what can go wrong with a gateway that has run does it no harm.
#[test]
fn a_gateway_with_all_it_needs_nft() {
    let console = Gateway::new("whole-nft", "whole", &[])
        .firewall()
        .guarded()
        .boots(25);
    // The checks make it fail, too; none of that is for lack of the module.
    assert!(!console.contains(LOUD), "{console}");
}

#[test]
fn a_gateway_with_all_it_needs_legacy() {
    Gateway::new("whole-legacy", "variant", &[])
        .firewall()
        .guarded()
        .legacy()
        .boots(7);
}

#[test]
fn without_the_module_nft() {
    let gateway = Gateway::new("module-nft", "no-module", &["--without", "module"]);
    let console = gateway.firewall().boots(1);
    assert!(console.contains(LOUD), "the console says it: {console}");
}

#[test]
fn without_the_module_legacy() {
    let gateway = Gateway::new("module-legacy", "no-module", &["--without", "module"]);
    let console = gateway.firewall().legacy().boots(1);
    assert!(console.contains(LOUD), "the console says it: {console}");
}

#[test]
fn without_the_extension() {
    let gateway = Gateway::new("extension", "no-extension", &["--without", "extension"]);
    gateway.firewall().boots(1);
}

/// The control: without our unit the packets do pass, and the same checks see them.
#[test]
fn netfilter_persistent_alone_is_open_without_the_module() {
    let gateway = Gateway::new("persistent", "persistent", &["--without", "module"]);
    gateway.persistent().boots(1);
}

#[test]
fn netfilter_persistent_with_the_drop_in_is_closed_without_the_module() {
    let gateway = Gateway::new("guarded", "guarded", &["--without", "module"]);
    gateway.persistent().guarded().legacy().boots(1);
}

/// The manual page shows the drop-in that we ship.
#[test]
fn the_manual_page_has_the_drop_in() {
    let page = fs::read_to_string(boot("dnp3-firewall.8")).expect("the manual page");
    let page = page.replace("\\-", "-");
    let shipped = fs::read_to_string(boot("netfilter-persistent.conf")).expect("the drop-in");
    let lines = |text: &str, comment: &str| -> String {
        let kept = text.lines().filter(|line| !line.starts_with(comment));
        kept.map(|line| format!("{line}\n")).collect()
    };
    let shipped = lines(&shipped, "#");
    assert!(shipped.contains("ExecStartPre="));
    assert!(lines(&page, ".\\\"").contains(shipped.trim()), "{shipped}");
}

/// What it says to people: nothing is done upon wrong usage.
#[test]
fn usage() {
    let run = |arguments: &[&str]| {
        let output = Command::new(boot("dnp3-firewall"))
            .args(arguments)
            .output()
            .expect("the script runs");
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).expect("it speaks UTF-8");
        (output.status.code(), text)
    };
    for (arguments, words) in [
        (&[][..], "no command"),
        (&["frob"], "no command \"frob\""),
        (&["--frob", "status"], "no option \"--frob\""),
        (&["start", "stop"], "one command"),
        (&["--rules"], "--rules needs a directory"),
    ] {
        let (status, text) = run(arguments);
        assert_eq!(status, Some(2), "{arguments:?}: {text}");
        assert!(text.contains(words) && text.lines().count() == 1, "{text}");
    }
    let (status, text) = run(&["--help"]);
    assert_eq!(status, Some(0));
    for command in ["start", "reload", "stop", "close", "check", "status"] {
        assert!(text.contains(&format!("\n  {command} ")), "{text}");
    }
}
