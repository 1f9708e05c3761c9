// SPDX-License-Identifier: GPL-2.0

//! The module's build: that an object which is not compiled as the kernel wants it, or which can
//! panic, does not come through, that a kernel or a compiler which cannot be served gets one clear
//! line, and that what is built has no warning and keeps to its stack.
//!
//! A flag is tested by taking it away: the probe (`kmod/plain_probe.rs`) is compiled with the flags
//! of a configuration and with one that undoes one of them, and `kmod/check-codegen.sh` has to find
//! it. No kernel is needed for that, but the source of rustc's own libcore.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::OnceLock;

use dnp3_tests::commands::{build_changed, empty, script, succeed, text};
use dnp3_tests::vm::project;
use libtest_mimic::{Arguments, Failed, Trial};

/// Most stack that the judgement of a packet may take, in octets.
const STACK: &str = "640";
/// And most that the hook may take which commits it behind all rules, where its connection is followed.
const COMMIT: &str = "1024";

/// A configuration like that of Debian's 6.12 and 7.x.
const GUARDED: &[&str] = &[
    "X86_64=y",
    "MITIGATION_RETPOLINE=y",
    "MITIGATION_RETHUNK=y",
    "MITIGATION_SLS=y",
    "X86_KERNEL_IBT=y",
    "CALL_PADDING=y",
    "FUNCTION_PADDING_BYTES=16",
];

/// The same by the names of 6.1 and before.
const GUARDED_OF_OLD: &[&str] = &["X86_64=y", "RETPOLINE=y", "RETHUNK=y", "SLS=y"];

/// One in which returns, indirect branches and frame pointers are to be seen.
const BARE: &[&str] = &["X86_64=y", "SLS=y", "X86_KERNEL_IBT=y", "FRAME_POINTER=y"];

/// One that wants nothing.
const PLAIN: &[&str] = &["X86_64=y"];

/// Flags that are taken away: a name, the configuration, what undoes them (or the flag itself behind a
/// `!`), and what has to be said.
const TAKEN: &[(&str, &[&str], &str, &str)] = &[
    ("red_zone", PLAIN, "-Cno-redzone=n", "red zone in "),
    (
        "code_model",
        PLAIN,
        "-Ccode-model=small",
        "relocation R_X86_64_32 ",
    ),
    (
        "large_code_model",
        PLAIN,
        "-Ccode-model=large",
        "relocation R_X86_64_64 ",
    ),
    (
        "static_relocations",
        PLAIN,
        "-Crelocation-model=pic",
        "relocation R_X86_64_GOTPCREL",
    ),
    (
        "calls_past_the_got",
        PLAIN,
        "-Zplt=n",
        "relocation R_X86_64_GOTPCREL",
    ),
    (
        "soft_float",
        PLAIN,
        "-Ctarget-feature=-soft-float,+sse,+sse2",
        "floating-point or vector registers in ",
    ),
    (
        "overflow_checks",
        PLAIN,
        "-Coverflow-checks=n",
        "overflow checks are off",
    ),
    ("jump_tables", PLAIN, "-Cjump-tables=y", "a jump table"),
    (
        "return_thunks",
        GUARDED,
        "-Zfunction-return=keep",
        "which CONFIG_MITIGATION_RETHUNK forbids",
    ),
    (
        "return_thunks_of_old",
        GUARDED_OF_OLD,
        "-Zfunction-return=keep",
        "which CONFIG_RETHUNK forbids",
    ),
    (
        "retpolines",
        GUARDED,
        "-Ctarget-feature=-retpoline-indirect-branches,-retpoline-indirect-calls,\
         -retpoline-external-thunk",
        "which CONFIG_MITIGATION_RETPOLINE forbids",
    ),
    (
        "retpolines_of_old",
        GUARDED_OF_OLD,
        "-Ctarget-feature=-retpoline-indirect-branches,-retpoline-indirect-calls,\
         -retpoline-external-thunk",
        "which CONFIG_RETPOLINE forbids",
    ),
    (
        "ibt",
        GUARDED,
        "-Zcf-protection=none",
        "no endbr64, which CONFIG_X86_KERNEL_IBT wants",
    ),
    (
        "call_padding",
        GUARDED,
        "-Zpatchable-function-entry=0,0",
        "0 octets of padding before it",
    ),
    (
        "all_of_the_call_padding",
        GUARDED,
        "-Zpatchable-function-entry=8,8",
        "8 octets of padding before it, and CONFIG_CALL_PADDING wants 16",
    ),
    (
        "straight_line_speculation_behind_returns",
        BARE,
        "-Ctarget-feature=-harden-sls-ret",
        "no int3 behind ret",
    ),
    (
        "straight_line_speculation_behind_jumps",
        BARE,
        "-Ctarget-feature=-harden-sls-ijmp",
        "no int3 behind jmp",
    ),
    (
        "frame_pointers",
        BARE,
        "!-Cforce-frame-pointers=y",
        "which CONFIG_FRAME_POINTER wants",
    ),
];

/// Ways to panic that a line of Rust may have without saying so: a name, the line, and one that does
/// the same without. `a` and `b` are slices, `i` is a number, all of them from outside.
const PANICS: &[(&str, &str, &str)] = &[
    ("index", "a[i]", "a.get(i).copied().unwrap_or(0)"),
    (
        "range",
        "a[i..].len() as u8",
        "a.get(i..).map_or(0, |a| a.len() as u8)",
    ),
    (
        "unwrap",
        "*a.get(i).unwrap()",
        "a.get(i).copied().unwrap_or(0)",
    ),
    (
        "expect",
        "*a.first().expect(\"one\")",
        "a.first().copied().unwrap_or(0)",
    ),
    (
        "addition",
        "(i + a.len()) as u8",
        "i.wrapping_add(a.len()) as u8",
    ),
    (
        "division",
        "(a.len() / i) as u8",
        "a.len().checked_div(i).unwrap_or(0) as u8",
    ),
    (
        "shift",
        "(a.len() << i) as u8",
        "a.len().wrapping_shl(i as u32) as u8",
    ),
    (
        "split",
        "a.split_at(i).0.len() as u8",
        "a.split_at_checked(i).map_or(0, |a| a.0.len() as u8)",
    ),
    (
        "copy",
        "{ b.copy_from_slice(a); 0 }",
        "{ b.iter_mut().zip(a).for_each(|(b, a)| *b = *a); 0 }",
    ),
    (
        "unreachable",
        "match a { [] => 0, [one] => *one, _ => unreachable!() }",
        "match a { [] => 0, [one] => *one, _ => 1 }",
    ),
];

/// A fault in the sources that has to stop the build.
struct Fault {
    name: &'static str,
    entry: &'static str,
    file: &'static str,
    /// What stands there.
    from: &'static str,
    /// What stands there instead.
    to: &'static str,
    /// What the log has to say.
    said: &'static [&'static str],
}

const STOPPED: &[Fault] = &[
    Fault {
        name: "a_flag_that_is_missing",
        entry: "plain",
        file: "kmod/plain-flags.sh",
        from: "-Cno-redzone=y",
        to: "-Cno-redzone=n",
        said: &["red zone in xt_dnp3_probe_leaf"],
    },
    Fault {
        name: "a_panic_in_the_plain_entry",
        entry: "plain",
        file: "kmod/xt_dnp3_plain.rs",
        from: "len as usize) }",
        to: "[1, 2, 3][len as usize]) }",
        said: &["xt_dnp3_plain.o refers to ", WAY_TO_PANIC],
    },
    Fault {
        name: "a_panic_in_the_match_of_the_rust_entry",
        entry: "rust",
        file: "kmod/dnp3.rs",
        from: "        let packet = skb.reader();\n",
        to: "        let packet = skb.reader();\n        \
         if par.info().saddr[usize::from(par.info().saddr_count)].min == 1 {\n            \
         return Answer::NoMatch;\n        }\n",
        said: &["xt_dnp3_main.o refers to ", WAY_TO_PANIC],
    },
    Fault {
        name: "a_panic_in_core_by_the_plain_entry",
        entry: "plain",
        file: "core/src/frame.rs",
        from: INDEXED.0,
        to: INDEXED.1,
        said: &["dnp3_core.o refers to ", WAY_TO_PANIC],
    },
    Fault {
        name: "a_panic_in_core_by_the_rust_entry",
        entry: "rust",
        file: "core/src/frame.rs",
        from: INDEXED.0,
        to: INDEXED.1,
        said: &["dnp3_core.o refers to ", WAY_TO_PANIC],
    },
];

const WAY_TO_PANIC: &str = "error: that is a way to panic";

/// A line of `core`, and what a hurried hand makes of it.
const INDEXED: (&str, &str) = (
    "octets.get(offset::CONTROL).copied().map(Control)",
    "Some(Control(octets[offset::CONTROL]))",
);

/// Modules in C of which the stack is known, or cannot be: a name, the source, and what
/// scripts/stack has to say with 512 as the most, whatever the module's is.
const STACKS: &[(&str, &str, Result<(), &str>)] = &[
    (
        "little",
        "int leaf(char *); int dnp3_mt(int i) { char a[200]; a[0] = i; return leaf(a) + 1; }",
        Ok(()),
    ),
    (
        "too_much",
        "int leaf(char *); int dnp3_mt(int i) { char a[600]; a[0] = i; return leaf(a) + 1; }",
        Err("octets of stack to judge a packet, and 512 is the most"),
    ),
    (
        "too_much_together",
        "int leaf(char *);
         static __attribute__((noinline)) int two(int i) { char a[280]; a[0] = i; return leaf(a) + 1; }
         int dnp3_mt(int i) { char a[280]; a[0] = i; return leaf(a) + two(i); }",
        Err("octets of stack to judge a packet, and 512 is the most"),
    ),
    (
        "too_much_behind_the_rules",
        "int leaf(char *); int dnp3_mt(int i) { return i; }
         int dnp3_commit(int i) { char a[1600]; a[0] = i; return leaf(a) + 1; }",
        Err("octets of stack to commit a packet, and 1024 is the most"),
    ),
    (
        "with_nothing_behind_the_rules",
        "int dnp3_mt(int i) { return i; }",
        Err("it has no hook that commits"),
    ),
    (
        "that_calls_itself",
        "int leaf(char *); int dnp3_mt(int i) { char a[8]; a[0] = i; leaf(a); return i ? dnp3_mt(i - 1) + 1 : 0; }",
        Err("dnp3_mt calls itself"),
    ),
    (
        "that_calls_each_other",
        "int leaf(char *); int dnp3_mt(int);
         static __attribute__((noinline)) int two(int i) { char a[8]; a[0] = i; return leaf(a) + dnp3_mt(i); }
         int dnp3_mt(int i) { return i ? two(i - 1) + 1 : 0; }",
        Err("dnp3_mt calls itself"),
    ),
    (
        "that_ends_in_a_call",
        "void never(void) __attribute__((noreturn));
         __attribute__((noinline)) void two(void) { never(); }
         int dnp3_mt(int i) { if (i) two(); return i; }",
        Ok(()),
    ),
    (
        "of_no_fixed_size",
        "int leaf(char *); int dnp3_mt(int i) { char a[i]; a[0] = i; return leaf(a) + 1; }",
        Err("dnp3_mt takes stack of no fixed size"),
    ),
];

/// Configurations that the plain entry does not serve, and what the line has to name.
const REFUSED: &[(&str, &[&str], &str)] = &[
    ("another_architecture", &["ARM64=y"], "CONFIG_X86_64"),
    ("x86_of_32_bits", &["X86=y", "X86_32=y"], "CONFIG_X86_64"),
    ("lto", &["X86_64=y", "LTO_CLANG=y"], "CONFIG_LTO_CLANG"),
    ("kcfi", &["X86_64=y", "CFI_CLANG=y"], "CONFIG_CFI_CLANG"),
    ("kcfi_since_6_18", &["X86_64=y", "CFI=y"], "CONFIG_CFI"),
    ("kasan", &["X86_64=y", "KASAN=y"], "CONFIG_KASAN"),
    ("kcsan", &["X86_64=y", "KCSAN=y"], "CONFIG_KCSAN"),
    ("kmsan", &["X86_64=y", "KMSAN=y"], "CONFIG_KMSAN"),
];

/// What [`entry`] is asked: the configuration, whether there is Rust metadata, the wish, and the
/// answer's beginning.
const ENTRIES: &[(&str, &[&str], bool, &str, &str)] = &[
    ("rust", &["RUST=y"], true, "", "rust the kernel has"),
    (
        "no_rust",
        &["X86_64=y"],
        false,
        "",
        "plain the kernel has no CONFIG_RUST",
    ),
    (
        "no_metadata",
        &["RUST=y"],
        false,
        "",
        "plain the kernel has CONFIG_RUST, but",
    ),
    (
        "plain_at_will",
        &["RUST=y"],
        true,
        "plain",
        "plain ENTRY=plain",
    ),
    ("rust_at_will", &["RUST=y"], true, "rust", "rust ENTRY=rust"),
    (
        "rust_in_vain",
        &["X86_64=y"],
        true,
        "rust",
        "error: xt_dnp3: ENTRY=rust cannot be",
    ),
    (
        "no_such_entry",
        &["RUST=y"],
        true,
        "go",
        "error: xt_dnp3: ENTRY=go: there are rust and plain",
    ),
];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    let rustc = rustc();
    if let Err(why) = &rustc {
        eprintln!("tests of the plain entry's code are skipped: {why}");
    }
    for &(name, configuration, undone, said) in TAKEN {
        let rustc = rustc.clone();
        let ignored = rustc.is_err();
        trials.push(
            Trial::test(format!("without::{name}"), move || {
                without(&rustc?, name, configuration, undone, said)
            })
            .with_ignored_flag(ignored),
        );
    }
    for &(name, panics, does_not) in PANICS {
        let rustc = rustc.clone();
        let ignored = rustc.is_err();
        trials.push(
            Trial::test(format!("panic::{name}"), move || {
                panic_is_found(&rustc?, name, panics, does_not)
            })
            .with_ignored_flag(ignored),
        );
    }
    for &(name, source, said) in STACKS {
        trials.push(Trial::test(format!("stack::{name}"), move || {
            stack(name, source, said)
        }));
    }
    for &(name, configuration, named) in REFUSED {
        trials.push(Trial::test(format!("refused::{name}"), move || {
            let directory = directory(&format!("refused-{name}"))?;
            let rustc = fake_rustc(&directory, "rustc 1.99.0 (fake)")?;
            one_line(&flags(&directory, configuration, &rustc)?, named)
        }));
    }
    trials.push(Trial::test("refused::old_rustc", || {
        let directory = directory("refused-old-rustc")?;
        let rustc = fake_rustc(&directory, "rustc 1.63.0 (fake)")?;
        one_line(
            &flags(&directory, PLAIN, &rustc)?,
            "1.63.0, and 1.85.0 is the oldest",
        )
    }));
    trials.push(Trial::test("refused::no_rustc", || {
        let directory = directory("refused-no-rustc")?;
        let rustc = directory.join("nothing");
        one_line(&flags(&directory, PLAIN, &rustc)?, "nothing does not run")
    }));
    trials.push(Trial::test("refused::no_source_of_libcore", || {
        let directory = directory("refused-no-source")?;
        let rustc = fake_rustc(&directory, "rustc 1.99.0 (fake)")?;
        fs::write(directory.join("flags"), "--target=target.json\n")?;
        let script = Command::new(kmod("plain-core.sh"))
            .arg(&rustc)
            .arg(directory.join("flags"))
            .arg(&directory)
            .output()?;
        one_line(&script, "rustc 1.99.0 has no source of its library in ")
    }));
    for &(name, configuration, metadata, wish, answer) in ENTRIES {
        trials.push(Trial::test(format!("entry::{name}"), move || {
            entry(name, configuration, metadata, wish, answer)
        }));
    }
    match entries() {
        Ok((kernel, entries)) => {
            for entry in entries {
                let kernel = kernel.clone();
                trials.push(Trial::test(
                    format!("built::{kernel}::{entry}"),
                    move || built(&kernel, &entry),
                ));
            }
        }
        Err(why) => trials.push(Trial::test("built", move || Err(why.into()))),
    }
    for fault in STOPPED {
        trials.push(
            Trial::test(format!("stopped::{}::{}", fault.entry, fault.name), || {
                stopped(fault)
            })
            .with_ignored_flag(fault.entry == "plain" && rustc.is_err()),
        );
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Compiles the probe as a configuration wants it, then with a flag undone.
fn without(
    rustc: &Path,
    name: &str,
    configuration: &[&str],
    undone: &str,
    said: &str,
) -> Result<(), Failed> {
    let directory = directory(&format!("without-{name}"))?;
    let said_of = |extra: &[&str]| -> Result<String, Failed> {
        let object = directory.join("plain_probe.o");
        compile(
            rustc,
            &directory,
            configuration,
            &kmod("plain_probe.rs"),
            &object,
            extra,
        )?;
        let check = Command::new(kmod("check-codegen.sh"))
            .args([&directory.join("auto.conf"), Path::new("objdump"), &object])
            .arg("probe")
            .output()?;
        let errors = text(&check.stderr);
        if check.status.success() != errors.is_empty() {
            return Err(format!("{}, but it says {errors:?}", check.status).into());
        }
        Ok(errors)
    };
    let errors = said_of(&[])?;
    if !errors.is_empty() {
        return Err(format!("with all flags: {errors}").into());
    }
    let errors = said_of(&[undone])?;
    if !errors.contains(said) {
        return Err(format!("no {said:?} with {undone}, but: {errors}").into());
    }
    Ok(())
}

/// What can panic has an undefined symbol that is not on core's list.
fn panic_is_found(rustc: &Path, name: &str, panics: &str, does_not: &str) -> Result<(), Failed> {
    let directory = directory(&format!("panic-{name}"))?;
    let source = directory.join("dnp3_core.rs");
    let object = directory.join("dnp3_core.o");
    let check = |body: &str| -> Result<Output, Failed> {
        fs::write(
            &source,
            format!(
                "#![no_std]\n#[no_mangle]\n\
                 pub fn at(a: &[u8], b: &mut [u8], i: usize) -> u8 {{ b.reverse(); {body} }}\n"
            ),
        )?;
        compile(rustc, &directory, PLAIN, &source, &object, &[])?;
        Ok(Command::new(kmod("check-undefined.sh"))
            .args([Path::new("nm"), &object, &kmod("dnp3_core.undefined")])
            .output()?)
    };
    let output = check(does_not)?;
    if !output.status.success() {
        return Err(format!("{does_not}: {}", text(&output.stderr)).into());
    }
    let output = check(panics)?;
    let errors = text(&output.stderr);
    if output.status.success()
        || !errors.starts_with("error: dnp3_core.o refers to ")
        || !errors.contains(WAY_TO_PANIC)
    {
        return Err(format!("{panics}: {}, {errors}", output.status).into());
    }
    Ok(())
}

/// Asks scripts/stack about an object in C.
fn stack(name: &str, source: &str, said: Result<(), &str>) -> Result<(), Failed> {
    let directory = directory(&format!("stack-{name}"))?;
    let (c, object) = (directory.join("module.c"), directory.join("module.o"));
    fs::write(&c, format!("{source}\n"))?;
    succeed(
        Command::new("gcc")
            .args(["-O1", "-fno-stack-protector", "-c", "-o"])
            .args([&object, &c]),
    )?;
    let commit = name.ends_with("behind_the_rules").then_some(COMMIT);
    let output = script("stack")
        .arg(&object)
        .arg("512")
        .args(commit)
        .output()?;
    let (errors, ends_well) = (text(&output.stderr), output.status.success());
    match said {
        Ok(()) if ends_well && errors.is_empty() => Ok(()),
        Err(said) if !ends_well && errors.contains(said) && errors.lines().count() == 1 => Ok(()),
        _ => Err(format!("{}: {}{errors}", output.status, text(&output.stdout)).into()),
    }
}

/// Asks entry.sh about a build tree.
fn entry(
    name: &str,
    configuration: &[&str],
    metadata: bool,
    wish: &str,
    answer: &str,
) -> Result<(), Failed> {
    let directory = directory(&format!("entry-{name}"))?;
    fs::create_dir_all(directory.join("include/config"))?;
    configure(&directory.join("include/config/auto.conf"), configuration)?;
    if metadata {
        fs::create_dir_all(directory.join("rust"))?;
        fs::write(directory.join("rust/libkernel.rmeta"), "")?;
    }
    let output = Command::new(kmod("entry.sh"))
        .arg(&directory)
        .arg(wish)
        .output()?;
    let said = text(&output.stdout) + &text(&output.stderr);
    let refused = answer.starts_with("error");
    if !said.starts_with(answer) || said.lines().count() != 1 || output.status.success() == refused
    {
        return Err(format!("{}: {said:?}", output.status).into());
    }
    Ok(())
}

/// Builds the module as scripts/vm does, where a warning is an error, and measures its stack.
fn built(kernel: &str, entry: &str) -> Result<(), Failed> {
    succeed(script("vm").args(["--kernel", kernel, "--entry", entry, "--prepare"]))?;
    let built = project().join(format!("target/kmod/{kernel}-{entry}"));
    let log = fs::read_to_string(built.join("build.log"))?;
    let said = format!("\nxt_dnp3: {entry} entry: ");
    if log.matches(&said).count() != 1 {
        return Err(format!("the log does not say once {said:?}").into());
    }
    let module = built.join("kmod/xt_dnp3.ko");
    let stack = succeed(script("stack").arg(&module).args([STACK, COMMIT]))?;
    println!("{kernel} {entry}: {stack}");
    for most in [["100", COMMIT], [STACK, "100"]] {
        let output = script("stack").arg(&module).args(most).output()?;
        if output.status.success() {
            return Err(format!("so much stack is no more than {most:?} octets").into());
        }
    }
    Ok(())
}

/// Builds a copy of the sources with a fault in it, for the kernel that is always there.
fn stopped(fault: &Fault) -> Result<(), Failed> {
    let Fault {
        name,
        entry,
        file,
        from,
        to,
        said,
    } = fault;
    let directory = directory(&format!("stopped-{name}"))?;
    let output = build_changed(&directory, "rust", entry, file, &[(*from, *to)])?;
    let log = fs::read_to_string(directory.join("out/build.log"))?;
    if output.status.success() || directory.join("out/kmod/xt_dnp3.ko").exists() {
        return Err("there is a module".into());
    }
    match said.iter().find(|said| !log.contains(**said)) {
        Some(said) => Err(format!("{}, and no {said:?} in: {log}", output.status).into()),
        None => Ok(()),
    }
}

/// Compiles a crate as the plain entry does.
fn compile(
    rustc: &Path,
    directory: &Path,
    configuration: &[&str],
    source: &Path,
    object: &Path,
    extra: &[&str],
) -> Result<(), Failed> {
    let output = flags(directory, configuration, rustc)?;
    if !output.status.success() {
        return Err(text(&output.stderr).into());
    }
    let flags = directory.join("flags");
    let undone = extra.iter().filter_map(|flag| flag.strip_prefix('!'));
    let undone: Vec<_> = undone.collect();
    let all = text(&output.stdout);
    let kept = all.lines().filter(|flag| !undone.contains(flag));
    fs::write(
        &flags,
        kept.map(|flag| format!("{flag}\n")).collect::<String>(),
    )?;
    let libcore = succeed(
        Command::new(kmod("plain-core.sh"))
            .arg(rustc)
            .args([&flags, directory]),
    )?;
    let name = object.file_stem().unwrap_or_default();
    succeed(
        Command::new(rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .arg(format!("@{}", flags.display()))
            .args(libcore.lines())
            .args([
                "--edition=2021",
                "--sysroot=/nonexistent",
                "--crate-type=rlib",
            ])
            .arg("--crate-name")
            .arg(name)
            .args(extra.iter().filter(|flag| !flag.starts_with('!')))
            .arg("--out-dir")
            .arg(directory)
            .arg(format!("--emit=obj={}", object.display()))
            .arg(source),
    )?;
    Ok(())
}

/// What plain-flags.sh says to a configuration.
fn flags(directory: &Path, configuration: &[&str], rustc: &Path) -> Result<Output, Failed> {
    let file = directory.join("auto.conf");
    configure(&file, configuration)?;
    Ok(Command::new(kmod("plain-flags.sh"))
        .args([&file, rustc, &directory.join("plain.target.json")])
        .output()?)
}

fn configure(file: &Path, configuration: &[&str]) -> Result<(), Failed> {
    let lines: String = configuration
        .iter()
        .map(|line| format!("CONFIG_{line}\n"))
        .collect();
    Ok(fs::write(file, lines)?)
}

/// A failure with one line, which names what is in the way.
fn one_line(output: &Output, named: &str) -> Result<(), Failed> {
    let errors = text(&output.stderr);
    if output.status.success() || errors.lines().count() != 1 || !errors.contains(named) {
        return Err(format!(
            "{}, not one line with {named:?} but: {errors}",
            output.status
        )
        .into());
    }
    Ok(())
}

/// A rustc that knows its name and nothing else.
fn fake_rustc(directory: &Path, version: &str) -> Result<PathBuf, Failed> {
    let file = directory.join("rustc");
    fs::write(
        &file,
        format!(
            "#!/bin/sh\ncase $1 in\n--version) echo '{version}' ;;\n--print) echo '{}' ;;\n*) exit 1 ;;\nesac\n",
            directory.display()
        ),
    )?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}

/// The rustc that scripts/kmod would take for the plain entry.
fn rustc() -> Result<PathBuf, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| {
            let found = succeed(
                Command::new("bash")
                    .args([
                        "-c",
                        "set -euo pipefail; . scripts/lib.sh; . scripts/toolchain.sh; plain_rustc",
                    ])
                    .current_dir(project()),
            )?;
            Ok(PathBuf::from(found.trim()))
        })
        .clone()
}

/// The kernel to build for, XT_DNP3_KERNEL as for scripts/vm, and its entries.
fn entries() -> Result<(String, Vec<String>), String> {
    let kernel = env::var("XT_DNP3_KERNEL").unwrap_or_else(|_| "rust".to_owned());
    let entries = succeed(script("kernel").args(["--entries", &kernel]))?;
    Ok((
        kernel,
        entries.split_whitespace().map(str::to_owned).collect(),
    ))
}

/// An empty directory of a test's own.
fn directory(name: &str) -> Result<PathBuf, String> {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kmod-build");
    empty(tests.join(name))
}

fn kmod(file: &str) -> PathBuf {
    project().join("kmod").join(file)
}
