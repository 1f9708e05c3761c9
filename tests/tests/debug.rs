// SPDX-License-Identifier: GPL-2.0

//! The debug kernel, and that it is worth its name: each kind of fault, planted in the module, is
//! reported and fails the run. `make test-debug` runs this, and the VM's cases on that kernel.
//!
//! All faults are planted at once in a copy of the sources; a parameter of the module says which of
//! them is to happen. One more, of which the kernel cannot know, is planted in `core`: octets of a page
//! that are fetched twice.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::sync::OnceLock;

use dnp3_tests::commands::{build_changed, empty, script, succeed, text};
use dnp3_tests::vm::{self, project};
use libtest_mimic::{Arguments, Failed, Trial};

const KERNEL: &str = "debug";
const SECONDS: &str = "580";

/// What a function of `kmod/helpers.c` does beside its work, when `planted` names it.
const FAULTS: &str = r#"
#include <linux/moduleparam.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

static char *planted = "nothing";
module_param(planted, charp, 0400);
static DEFINE_SPINLOCK(planted_lock);
static void __rcu *planted_pointer;
static volatile int planted_number = 40;

static bool is_planted(const char *name)
{
	return !strcmp(planted, name);
}

/* By hand, since KASAN would see what the compiler does. */
static void planted_overrun(void)
{
	struct kmem_cache *cache = kmem_cache_create("planted", 100, 0, 0, NULL);
	char *octets = kmem_cache_alloc(cache, GFP_KERNEL);

	asm volatile("movb $0, 100(%0)" : : "r"(octets) : "memory");
	kmem_cache_free(cache, octets);
	kmem_cache_destroy(cache);
}

static void planted_timer(struct timer_list *timer)
{
}

/* Softirq. */
static void planted_in_packet(void)
{
	if (is_planted("sleep"))
		might_sleep();
	if (is_planted("lock")) {
		spin_lock(&planted_lock);
		spin_unlock(&planted_lock);
	}
	if (is_planted("shift"))
		planted_number = 1 << planted_number;
	if (is_planted("warning"))
		WARN_ON_ONCE(planted_number == 40);
}

/* A process. */
static void planted_in_rule(void)
{
	struct timer_list *timer;

	if (is_planted("lock")) {
		spin_lock(&planted_lock);
		spin_unlock(&planted_lock);
	}
	if (is_planted("rcu") && rcu_dereference(planted_pointer))
		planted_number++;
	if (is_planted("leak") && !kmalloc(100, GFP_KERNEL))
		planted_number++;
	if (is_planted("slab"))
		planted_overrun();
	if (is_planted("object")) {
		timer = kmalloc(sizeof(*timer), GFP_KERNEL);
		timer_setup(timer, planted_timer, 0);
		mod_timer(timer, jiffies + HZ * 1000);
		kfree(timer);
	}
}
"#;

/// Where they are planted: a line of `kmod/helpers.c`, and what takes its place.
const PLACES: &[(&str, &str)] = &[
    ("u32 xt_dnp3_skb_len(", ""),
    (
        "\t*len = skb_headlen(skb);\n",
        "\t*len = is_planted(\"read\") ? skb->len : skb_headlen(skb);\n",
    ),
    (
        "\t*headers = (struct xt_dnp3_headers){};\n",
        "\t*headers = (struct xt_dnp3_headers){};\n\tplanted_in_packet();\n",
    ),
    (
        "\tint err = defrag_enable(net, family);\n\n",
        "\tint err = defrag_enable(net, family);\n\n\tplanted_in_rule();\n",
    ),
];

/// What is planted, and how the kernel reports it.
const REPORTS: &[(&str, &str)] = &[
    // The slice that core is given goes on behind the linear part, and core reads it.
    ("read", "BUG: KASAN: "),
    (
        "sleep",
        "BUG: sleeping function called from invalid context",
    ),
    ("lock", "WARNING: inconsistent lock state"),
    ("shift", "UBSAN: shift-out-of-bounds"),
    ("rcu", "WARNING: suspicious RCU usage"),
    ("object", "ODEBUG: free active"),
    ("slab", "BUG planted "),
    // And is the kernel's end.
    ("warning", "panic_on_warn set"),
];

/// The judge, made to look at the two addresses in two evaluations of the same packet.
const JUDGED_ONCE: &str = "    judge_payloads(rule, packet, payload)\n}\n";
const JUDGED_TWICE: &str = "    let mut half = *rule;
    half.set &= !crate::rule::option::SADDR;
    match judge_payloads(&half, packet, payload) {
        Verdict::Match => {
            half.set = rule.set & !crate::rule::option::DADDR;
            judge_payloads(&half, packet, payload)
        }
        verdict => verdict,
    }
}
";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = vec![
        Trial::test("core_is_instrumented", core_is_instrumented),
        Trial::test("rules_and_packets_leave_nothing", || {
            nothing_is_reported(None)
        }),
        Trial::test("planted::nothing", || {
            nothing_is_reported(Some(("nothing", faulty()?)))
        }),
        Trial::test("planted::twice", fetched_twice),
        Trial::test("planted::leak", leak_is_found),
    ];
    for &(fault, report) in REPORTS {
        trials.push(Trial::test(format!("planted::{fault}"), move || {
            is_reported(fault, report)
        }));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// KASAN sees what instrumented code reads, and no other: that is so for all of the module's Rust.
fn core_is_instrumented() -> Result<(), Failed> {
    succeed(script("vm").args(["--kernel", KERNEL, "--prepare"]))?;
    for (kernel, instrumented) in [(KERNEL, true), ("rust", false)] {
        let built = project().join(format!("target/kmod/{kernel}-rust/kmod"));
        for object in ["dnp3_core.o", "xt_dnp3_main.o", "helpers.o"] {
            let object = built.join(object);
            if !object.exists() && kernel != KERNEL {
                continue;
            }
            let symbols = succeed(Command::new("nm").arg("-u").arg(&object))?;
            if symbols.contains("__asan_report_load") != instrumented {
                return Err(format!("{}: {symbols}", object.display()).into());
            }
        }
    }
    Ok(())
}

/// All that tests/guest/debug.py does, with the module as it is or another one, and nothing comes of it.
fn nothing_is_reported(planted: Option<(&str, &Path)>) -> Result<(), Failed> {
    let output = guest(planted, "python3 guest/debug.py")?;
    let said = text(&output.stdout);
    let ends_well = |line: &str| line.starts_with("check ") && line.ends_with(" ok");
    if !output.status.success() || said.lines().count() != 4 || !said.lines().all(ends_well) {
        return Err(format!("{}: {said}{}", output.status, text(&output.stderr)).into());
    }
    Ok(())
}

/// A fault's report is in the log, and that fails the run whatever else there was.
fn is_reported(fault: &str, report: &str) -> Result<(), Failed> {
    let output = guest(Some((fault, faulty()?)), "python3 guest/debug.py")?;
    let errors = text(&output.stderr);
    if output.status.code() != Some(125) || !errors.contains(report) {
        let said = text(&output.stdout);
        return Err(format!("{}, no {report:?}: {said}{errors}", output.status).into());
    }
    Ok(())
}

/// Memory that each rule leaves behind is seen in the slabs, and by kmemleak, which says where it was taken.
fn leak_is_found() -> Result<(), Failed> {
    let output = guest(Some(("leak", faulty()?)), "python3 guest/debug.py")?;
    let said = text(&output.stdout);
    let has = |check: &str, what: &str| {
        let line = said.lines().find_map(|line| line.strip_prefix(check));
        line.is_some_and(|line| line.contains(what))
    };
    if !has("check slabs-iptables-legacy", "'kmalloc-")
        || !has("check slabs-ip6tables-nft", "'kmalloc-")
        || !has("check no-leaks", " xt_dnp3_rule_enable+")
    {
        return Err(format!("{}: {said}{}", output.status, text(&output.stderr)).into());
    }
    Ok(())
}

/// Octets that are fetched twice: a page changes in between, and a rule matches what never was.
fn fetched_twice() -> Result<(), Failed> {
    let module = build("twice", "core/src/judge.rs", &[(JUDGED_ONCE, JUDGED_TWICE)])?;
    let plan = directory("twice-plan")?;
    vm::write_plan(&plan, &[], &[])?;
    let command = format!("insmod xt_dnp3.ko && python3 guest/changing.py {}", "plan");
    let output = vm(&[(&module, "xt_dnp3.ko"), (&plan, "plan")], &command)?;
    let said = text(&output.stdout);
    let found = said.lines().filter(|line| {
        line.starts_with("check contents-change-udp-") && line.contains(" packets match ")
    });
    if found.count() != 2 {
        return Err(format!("{}: {said}{}", output.status, text(&output.stderr)).into());
    }
    Ok(())
}

/// Runs a command in the debug kernel, with tests/guest, and the module that has faults if one is to happen.
fn guest(planted: Option<(&str, &Path)>, command: &str) -> Result<Output, Failed> {
    match planted {
        None => vm(&[], command),
        Some((fault, module)) => vm(
            &[(module, "xt_dnp3.ko")],
            &format!("insmod xt_dnp3.ko planted={fault} && {command}"),
        ),
    }
}

fn vm(adds: &[(&Path, &str)], command: &str) -> Result<Output, Failed> {
    let mut vm = script("vm");
    vm.args(["--kernel", KERNEL, "--cpus", "2", "--timeout", SECONDS]);
    if !adds.is_empty() {
        vm.args(["--without", "module"]);
    }
    let tests = project().join("tests/guest");
    for (host, guest) in adds.iter().copied().chain([(tests.as_path(), "guest")]) {
        vm.arg("--add").arg(format!("{}:{guest}", host.display()));
    }
    Ok(vm.args(["--", command]).output()?)
}

/// The module with [`FAULTS`], built once.
fn faulty() -> Result<&'static Path, Failed> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let mut changes: Vec<(&str, String)> = PLACES
            .iter()
            .map(|&(from, to)| (from, to.to_owned()))
            .collect();
        changes[0].1 = format!("{FAULTS}\n{}", changes[0].0);
        let changes: Vec<_> = changes
            .iter()
            .map(|(from, to)| (*from, to.as_str()))
            .collect();
        build("faults", "kmod/helpers.c", &changes)
    });
    Ok(built.as_deref().map_err(String::clone)?)
}

/// Builds a copy of the sources, with changes to a file, for the debug kernel.
fn build(name: &str, file: &str, changes: &[(&str, &str)]) -> Result<PathBuf, String> {
    let directory = directory(name)?;
    let output = build_changed(&directory, KERNEL, "rust", file, changes)?;
    if !output.status.success() {
        let errors = text(&output.stderr);
        return Err(format!("scripts/kmod: {}\n{errors}", output.status));
    }
    Ok(directory.join("out/kmod/xt_dnp3.ko"))
}

/// An empty directory of a test's own.
fn directory(name: &str) -> Result<PathBuf, String> {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("debug");
    empty(tests.join(name))
}
