// SPDX-License-Identifier: GPL-2.0

//! Installing, without a system to install in: `make install` and `make uninstall` below a DESTDIR, and
//! what the Debian packages hold. `make test-packages` installs these (packages_installed.rs).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dnp3_tests::commands::{empty, read, script, succeed};
use dnp3_tests::packages::{Packages, VERSION};
use dnp3_tests::vm::project;

type Outcome = Result<(), String>;

fn scratch(name: &str) -> Result<PathBuf, String> {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    empty(tests.join(name))
}

/// The packages, built once.
fn packages() -> Result<&'static Packages, String> {
    static BUILT: OnceLock<Result<Packages, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| Packages::build(&scratch("deb")?, None));
    built.as_ref().map_err(Clone::clone)
}

/// What a package would put where, below a directory.
fn unpacked(package: &Path, name: &str) -> Result<PathBuf, String> {
    let directory = scratch(name)?;
    succeed(
        Command::new("dpkg-deb")
            .arg("-R")
            .args([package, &directory]),
    )?;
    Ok(directory)
}

/// All files and links below a directory, by their path in it.
fn files(directory: &Path) -> Result<BTreeSet<String>, String> {
    let found = succeed(
        Command::new("find")
            .arg(directory)
            .args(["!", "-type", "d", "-printf", "%P\\n"]),
    )?;
    Ok(found.lines().map(str::to_owned).collect())
}

/// The kernel that the tests always have, and the module for it.
fn kernel() -> Result<(String, PathBuf), String> {
    succeed(script("vm").arg("--prepare"))?;
    let tree = succeed(script("kernel").arg("rust"))?;
    let entries = succeed(script("kernel").args(["--entries", "rust"]))?;
    let first = entries
        .split_whitespace()
        .next()
        .ok_or("no entry for the kernel")?;
    let module = project().join(format!("target/kmod/rust-{first}/kmod/xt_dnp3.ko"));
    Ok((tree.trim().to_owned(), module))
}

/// `make` in the project, without a network: what is built may be installed.
fn make() -> Command {
    let mut command = Command::new("bwrap");
    command
        .args(["--dev-bind", "/", "/", "--unshare-net", "--die-with-parent"])
        .args(["make", "-s", "-C"])
        .arg(project());
    // This test may run in a make, whose ways are not for that one.
    for variable in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL"] {
        command.env_remove(variable);
    }
    command
}

#[test]
fn the_version_is_the_same_everywhere() -> Outcome {
    let top = project();
    for (file, before, after) in [
        ("kmod/helpers.c", "\nMODULE_VERSION(\"", "\");"),
        ("debian/changelog", "xt-dnp3 (", ")"),
        ("Cargo.toml", "[workspace.package]\nversion = \"", "\""),
    ] {
        let text = read(top.join(file))?;
        let version = text
            .split_once(before)
            .and_then(|(_, rest)| rest.split_once(after))
            .map(|(version, _)| version);
        assert_eq!(version, Some(VERSION), "{file}");
    }
    // The newest that is no "Unreleased".
    let changelog = read(top.join("CHANGELOG.md"))?;
    let newest = changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## ["))
        .find(|line| !line.starts_with("Unreleased]"));
    let newest = newest.and_then(|line| line.split_once("] - "));
    let (version, date) = newest.ok_or("CHANGELOG.md has no \"## [VERSION] - DATE\"")?;
    assert_eq!(version, VERSION, "CHANGELOG.md");
    assert!(date.len() == 10 && date.split('-').count() == 3, "{date}");
    Ok(())
}

#[test]
fn make_install_and_uninstall() -> Outcome {
    let (kdir, module) = kernel()?;
    let release = read(Path::new(&kdir).join("include/config/kernel.release"))?;
    let release = release.trim();
    let xtlibdir = succeed(Command::new("pkg-config").args(["--variable=xtlibdir", "xtables"]))?;
    let xtlibdir = xtlibdir.trim().trim_start_matches('/');
    for prefix in ["/usr/local", "/usr", "/opt/dnp3-gateway"] {
        let destination = scratch(&format!("install{}", prefix.replace('/', "-")))?;
        let run = |target: &str| {
            let mut command = make();
            command
                .arg(target)
                .arg(format!("DESTDIR={}", destination.display()))
                .arg(format!("KDIR={kdir}"))
                .arg(format!("MODULE={}", module.display()));
            if prefix != "/usr/local" {
                command.arg(format!("PREFIX={prefix}"));
            }
            succeed(&mut command)
        };
        run("install")?;

        let below = prefix.trim_start_matches('/');
        let mut expected: BTreeSet<String> = [
            format!("lib/modules/{release}/updates/xt_dnp3.ko"),
            format!("{xtlibdir}/libxt_dnp3.so"),
        ]
        .into();
        for file in [
            "include/linux/netfilter/xt_dnp3.h",
            "lib/systemd/system/dnp3-firewall.service",
            "sbin/dnp3-firewall",
            "share/doc/xt_dnp3/boot/config",
            "share/doc/xt_dnp3/boot/netfilter-persistent.conf",
            "share/man/man7/xt_dnp3.7",
            "share/man/man8/dnp3-firewall.8",
            "share/man/man8/libxt_dnp3.8",
            "share/ynl/specs/xt_dnp3.yaml",
        ] {
            expected.insert(format!("{below}/{file}"));
        }
        for recipe in files(&project().join("xtables-ext/recipes"))? {
            expected.insert(format!("{below}/share/doc/xt_dnp3/recipes/{recipe}"));
        }
        assert_eq!(files(&destination)?, expected, "PREFIX={prefix}");

        // Each file is the project's own; those that name the script's place name the right one.
        let script = format!("={prefix}/sbin/dnp3-firewall ");
        for (file, calls) in [
            ("lib/systemd/system/dnp3-firewall.service", 3),
            ("share/doc/xt_dnp3/boot/netfilter-persistent.conf", 3),
            ("share/man/man8/dnp3-firewall.8", 3),
        ] {
            // The page writes \- for each hyphen.
            let text = read(destination.join(below).join(file))?.replace("\\-", "-");
            let ours = |line: &&str| line.starts_with("Exec") && line.contains("/dnp3-firewall ");
            assert_eq!(text.lines().filter(ours).count(), calls, "{file}");
            assert_eq!(text.matches(&script).count(), calls, "{file}: {script}");
        }
        for (file, source) in [
            (
                "include/linux/netfilter/xt_dnp3.h",
                "include/linux/netfilter/xt_dnp3.h",
            ),
            (
                "share/ynl/specs/xt_dnp3.yaml",
                "include/netlink/xt_dnp3.yaml",
            ),
        ] {
            let installed = read(destination.join(below).join(file))?;
            assert_eq!(installed, read(project().join(source))?, "{file}");
        }
        let mode = |file: &str| {
            fs::metadata(destination.join(file))
                .map(|metadata| metadata.permissions().mode() & 0o777)
                .map_err(|error| format!("{file}: {error}"))
        };
        for file in &expected {
            let wanted = if file.ends_with("/sbin/dnp3-firewall") {
                0o755
            } else {
                0o644
            };
            assert_eq!(mode(file)?, wanted, "{file}");
        }

        // What others put beside it stays.
        let others: BTreeSet<String> = [
            format!("{below}/share/man/man8/other.8"),
            format!("{below}/share/doc/xt_dnp3/recipes/my-own.sh"),
        ]
        .into();
        for other in &others {
            fs::write(destination.join(other), "").map_err(|error| error.to_string())?;
        }
        run("uninstall")?;
        assert_eq!(files(&destination)?, others, "PREFIX={prefix}");
        // A second time there is nothing to remove, which is no error.
        run("uninstall")?;
    }
    Ok(())
}

#[test]
fn make_install_says_what_is_missing() -> Outcome {
    let (kdir, module) = kernel()?;
    let other = scratch("other-kernel")?;
    let release = other.join("include/config/kernel.release");
    fs::create_dir_all(release.parent().unwrap_or(&other)).map_err(|error| error.to_string())?;
    fs::write(&release, "1.2.3-other\n").map_err(|error| error.to_string())?;
    let destination = scratch("missing")?;
    let module = format!("MODULE={}", module.display());
    let of = |directory: &Path| format!("KDIR={}", directory.display());
    for (target, variables, said) in [
        (
            "install-module",
            vec!["MODULE=none/xt_dnp3.ko".to_owned(), of(kdir.as_ref())],
            "there is no none/xt_dnp3.ko: make kmod builds it",
        ),
        (
            "install-module",
            vec![module.clone(), of(&destination)],
            "is no kernel build tree",
        ),
        (
            "install-module",
            vec![module, of(&other)],
            "and that is not the kernel 1.2.3-other",
        ),
        (
            "install-extension",
            vec!["EXTENSION=none/libxt_dnp3.so".to_owned()],
            "there is no none/libxt_dnp3.so: make ext builds it",
        ),
        (
            "install-extension",
            vec!["XTLIBDIR=".to_owned()],
            "pkg-config does not know xtables: install libxtables-dev",
        ),
    ] {
        let output = make()
            .arg("--no-print-directory")
            .arg(target)
            .arg(format!("DESTDIR={}", destination.display()))
            .args(&variables)
            .output()
            .map_err(|error| error.to_string())?;
        let errors = String::from_utf8_lossy(&output.stderr);
        let first = errors.lines().next().unwrap_or_default();
        // The second line is make's own.
        assert!(
            !output.status.success() && first.contains(said) && errors.lines().count() == 2,
            "{target} {variables:?}: {errors}"
        );
    }
    assert_eq!(files(&destination)?, BTreeSet::new());
    Ok(())
}

#[test]
fn make_install_dkms() -> Outcome {
    let destination = scratch("dkms")?;
    let run = |target: &str| {
        succeed(
            make()
                .arg(target)
                .arg(format!("DESTDIR={}", destination.display())),
        )
    };
    run("install-dkms")?;
    let source = format!("usr/src/xt_dnp3-{VERSION}");
    let configuration = read(destination.join(&source).join("dkms.conf"))?;
    assert!(configuration.contains(&format!("PACKAGE_VERSION=\"{VERSION}\"\n")));

    // All that is a source of the module, and nothing that a build has left there.
    let mut expected: BTreeSet<String> = [format!("{source}/dkms.conf")].into();
    let known = succeed(
        Command::new("git")
            .arg("-C")
            .arg(project())
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .args(["LICENSE", "include/linux", "kmod", "core/src"]),
    )?;
    let known = known.lines().filter(|&file| file != "kmod/dkms.conf");
    expected.extend(known.map(|file| format!("{source}/{file}")));
    assert_eq!(files(&destination)?, expected);

    run("uninstall-dkms")?;
    assert!(!destination.join(&source).exists());
    Ok(())
}

#[test]
fn the_packages_hold_what_they_should() -> Outcome {
    let packages = packages()?;
    let field = |package: &Path, field: &str| {
        succeed(Command::new("dpkg-deb").arg("-f").arg(package).arg(field))
            .map(|text| text.trim().to_owned())
    };
    for package in packages.all() {
        assert_eq!(field(package, "Version")?, VERSION);
    }

    // The extension.
    let depends = field(&packages.extension, "Depends")?;
    let depends: BTreeSet<_> = depends
        .split(", ")
        .filter_map(|one| one.split(' ').next())
        .collect();
    // libgcc-s1, which libc6 depends on itself, is what the standard library of Rust unwinds by.
    assert_eq!(
        depends,
        ["iptables", "libc6", "libgcc-s1", "libxtables12"].into()
    );
    let root = unpacked(&packages.extension, "iptables-dnp3")?;
    let held = files(&root)?;
    let extension = held
        .iter()
        .find(|file| file.ends_with("/xtables/libxt_dnp3.so"))
        .ok_or("no libxt_dnp3.so in iptables-dnp3")?;
    let needed = succeed(
        Command::new("readelf")
            .arg("-d")
            .arg(root.join(extension))
            .env("LC_ALL", "C"),
    )?;
    let needed: BTreeSet<_> = needed
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split(['[', ']']).nth(1))
        .filter(|library| !library.starts_with("ld-linux"))
        .collect();
    assert_eq!(
        needed,
        ["libc.so.6", "libgcc_s.so.1", "libxtables.so.12"].into()
    );
    for file in [
        "lib/systemd/system/dnp3-firewall.service",
        "usr/include/linux/netfilter/xt_dnp3.h",
        "usr/sbin/dnp3-firewall",
        "usr/share/man/man7/xt_dnp3.7.gz",
        "usr/share/man/man8/dnp3-firewall.8.gz",
        "usr/share/man/man8/libxt_dnp3.8.gz",
        "usr/share/ynl/specs/xt_dnp3.yaml",
        "usr/share/doc/iptables-dnp3/README.Debian",
        "usr/share/doc/iptables-dnp3/examples/boot/netfilter-persistent.conf",
    ] {
        assert!(held.contains(file), "no {file} in iptables-dnp3");
    }
    let recipes = files(&project().join("xtables-ext/recipes"))?;
    assert!(!recipes.is_empty());
    for recipe in recipes {
        let file = format!("usr/share/doc/iptables-dnp3/examples/recipes/{recipe}");
        // debhelper packs what is large and no script.
        assert!(
            held.contains(&file) || held.contains(&format!("{file}.gz")),
            "no {file} in iptables-dnp3"
        );
    }
    let unit = read(root.join("lib/systemd/system/dnp3-firewall.service"))?;
    assert!(unit.contains("\nExecStart=/usr/sbin/dnp3-firewall start\n"));

    // The module's sources; the scripts of its build can be run.
    let root = unpacked(&packages.module, "xt-dnp3-dkms")?;
    let source = root.join(format!("usr/src/xt_dnp3-{VERSION}"));
    let configuration = read(source.join("dkms.conf"))?;
    assert!(configuration.contains(&format!("PACKAGE_VERSION=\"{VERSION}\"\n")));
    assert!(source.join("kmod/Kbuild.plain").exists());
    assert!(source.join("core/src/lib.rs").exists());

    // The tool: all that `make install-cli` has, where Debian looks for it, and it runs.
    let root = unpacked(&packages.tool, "dnp3fw")?;
    let held = files(&root)?;
    for file in [
        "usr/bin/dnp3fw",
        "usr/share/man/man8/dnp3fw.8.gz",
        "usr/share/man/man8/dnp3fw-decode.8.gz",
        "usr/share/man/man8/dnp3fw-check.8.gz",
        "usr/share/dnp3fw/baseline.schema.json",
        "usr/share/bash-completion/completions/dnp3fw",
        "usr/share/zsh/vendor-completions/_dnp3fw",
        "usr/share/fish/vendor_completions.d/dnp3fw.fish",
        "usr/share/doc/dnp3fw/copyright",
    ] {
        assert!(held.contains(file), "no {file} in dnp3fw");
    }
    let said = succeed(Command::new(root.join("usr/bin/dnp3fw")).arg("--version"))?;
    assert_eq!(said, format!("dnp3fw {VERSION}\n"));

    // The checkout is as it was: it is a copy that is built.
    for left in [
        "files",
        ".debhelper",
        "iptables-dnp3",
        "xt-dnp3-dkms",
        "dnp3fw",
    ] {
        assert!(
            !project().join("debian").join(left).exists(),
            "debian/{left}"
        );
    }
    Ok(())
}
