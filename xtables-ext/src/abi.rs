// SPDX-License-Identifier: GPL-2.0

//! The rule has one layout, that of the UAPI header, whoever compiles it.
//!
//! `ffi` holds core's struct against bindgen's view of the header whenever this crate is built.
//! Here the header itself is compiled, for every kind of machine, against core's numbers.

use std::fmt::Write;
use std::mem::{align_of, offset_of, size_of};
use std::path::Path;
use std::process::Command;

use dnp3_core::rule::Range;
use dnp3_core::Rule;

/// C that compiles if and only if the header has this layout.
fn assertions() -> String {
    let mut c = String::from("#include <stddef.h>\n#include <linux/netfilter/xt_dnp3.h>\n");
    let mut claim = |what: String, value: usize| {
        let _ = writeln!(c, "_Static_assert({what} == {value}, \"{what}\");");
    };
    macro_rules! layout {
        ($type:ty, $name:literal, $($member:ident: $like:ty),+) => {
            claim(concat!("sizeof(struct ", $name, ")").into(), size_of::<$type>());
            claim(concat!("_Alignof(struct ", $name, ")").into(), align_of::<$type>());
            $(
                let member = stringify!($member);
                claim(format!("offsetof(struct {}, {member})", $name), offset_of!($type, $member));
                // The type given here must be the member's.
                let _ = |whole: $type| -> $like { whole.$member };
                claim(format!("sizeof(((struct {} *)0)->{member})", $name), size_of::<$like>());
            )+
        };
    }
    layout!(Range, "xt_dnp3_range", min: u16, max: u16);
    layout!(
        Rule, "xt_dnp3_mtinfo",
        set: u16, invert: u16, frames: u8, dir: u8, status: u8, classes: u8,
        saddr_count: u8, daddr_count: u8, reserved: [u8; 6],
        saddr: [Range; 8], daddr: [Range; 8], fc: [u32; 8]
    );
    c
}

fn compiles(c: &str, name: &str, compiler: &str, arguments: &[&str]) -> bool {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include");
    let file = std::env::temp_dir().join(format!("xt_dnp3-abi-{}-{name}.c", std::process::id()));
    std::fs::write(&file, c).expect("a temporary file");
    let output = Command::new(compiler)
        .args(["-Wall", "-Werror", "-fsyntax-only", "-I"])
        .arg(include)
        .args(arguments)
        .arg(&file)
        .output();
    let _ = std::fs::remove_file(&file);
    let output = output.unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let log = String::from_utf8_lossy(&output.stderr);
    // What is wrong may only be what is asserted.
    assert!(
        output.status.success() || log.contains("static assertion failed"),
        "{compiler} {arguments:?}: {log}"
    );
    output.status.success()
}

/// A 32-bit iptables and a 64-bit kernel must agree too, and nothing translates between them.
const MACHINES: [&str; 8] = [
    "x86_64-linux-gnu",
    "i386-linux-gnu",
    "aarch64-linux-gnu",
    "arm-linux-gnueabihf",
    "powerpc-linux-gnu",
    "mips64el-linux-gnuabi64",
    "riscv64-linux-gnu",
    "s390x-linux-gnu",
];

#[test]
fn the_header_has_core_s_layout() {
    let c = assertions();
    assert!(compiles(&c, "cc", "cc", &[]), "{c}");
    for machine in MACHINES {
        // The kernel's headers of this machine do for all: of them only <linux/types.h> is used.
        let target = format!("--target={machine}");
        let multiarch = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
        let arguments = [target.as_str(), multiarch.as_str()];
        assert!(
            compiles(&c, machine, "clang-19", &arguments),
            "{machine}: {c}"
        );
    }
}

/// The test above can fail.
#[test]
fn another_layout_is_noticed() {
    let c = assertions();
    for (from, to) in [
        (", set) == 0", ", set) == 2"),
        (", fc) == 80", ", fc) == 84"),
        ("mtinfo) == 112", "mtinfo) == 120"),
        ("->daddr) == 32", "->daddr) == 64"),
    ] {
        let other = c.replacen(from, to, 1);
        assert_ne!(c, other, "{from} is claimed");
        assert!(!compiles(&other, "other", "cc", &[]), "{to}");
    }
}
