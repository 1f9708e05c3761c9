// SPDX-License-Identifier: GPL-2.0

//! The lives of the packages in a clean Debian: installed, upgraded, a kernel added and removed, purged.
//! What DKMS builds is looked at, and booted. No network, and several minutes: `make test-packages`.
//!
//! ```text
//! upgraded    Debian 12        0.0.1 ─ today's ─ purge: nothing is left behind ─ the module is booted
//! rebuilt     Debian 12, 13    today's ─ another kernel comes ─ it goes ─ purge
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use dnp3_tests::commands::{empty, script, succeed};
use dnp3_tests::packages::{Packages, VERSION};
use dnp3_tests::vm::project;

type Outcome<T = ()> = Result<T, String>;

/// A version that any other is an upgrade of.
const OLD: &str = "0.0.1";

/// What a signed module ends with: the signature, this much of a description of it, and the mark.
const MARK: &[u8] = b"~Module signature appended~\n";
const DESCRIPTION: usize = 12;

/// Places that are no part of what packages leave: the packager's own books, caches and logs.
const BOOKS: [&str; 4] = ["/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log"];

/// A clean Debian, thrown away at the end.
struct Clean {
    root: PathBuf,
    state: PathBuf,
}

impl Drop for Clean {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.state);
    }
}

impl Clean {
    fn new(name: &str, suite: &str, packages: &Packages) -> Outcome<Clean> {
        let script = project().join("tests/clean-debian");
        let mut make = Command::new(script);
        make.args(["--make", suite]).args(packages.all());
        let root = PathBuf::from(succeed(&mut make)?.trim());
        let state = directory(name)?;
        Ok(Clean { root, state })
    }

    /// Runs a command of the shell in it.
    fn run(&self, command: &str) -> Outcome<String> {
        succeed(
            Command::new(project().join("tests/clean-debian"))
                .args([&self.root, &self.state])
                .args(["sh", "-euc", command]),
        )
    }

    /// What it and the test see both: here, and at /mnt in it.
    fn share(&self) -> PathBuf {
        self.state.join("share")
    }

    /// Installs packages as an admin does who has the files. INITRD: an initial RAM disk for a kernel
    /// that nobody boots takes a minute.
    fn install(&self, packages: &Packages) -> Outcome<String> {
        let mut files = String::new();
        for package in packages.all() {
            let name = package.file_name().unwrap_or_default();
            let to = self.share().join(name);
            fs::create_dir_all(self.share())
                .and_then(|()| fs::copy(package, &to).map(drop))
                .map_err(|error| format!("{to:?}: {error}"))?;
            files += &format!(" /mnt/{}", name.to_string_lossy());
        }
        self.apt(&format!("install{files}"))
    }

    fn apt(&self, command: &str) -> Outcome<String> {
        self.run(&format!(
            "INITRD=No apt-get -qq -y --no-install-recommends {command} 2>&1"
        ))
    }

    /// All that is in it: kind, mode, owner, path, and where links point.
    fn list(&self) -> Outcome<BTreeSet<String>> {
        let books = BOOKS.map(|path| format!("-path {path}")).join(" -o ");
        let list = self.run(&format!(
            "find / -xdev \\( -path /mnt -o {books} \\) -prune -o -printf '%y %m %u:%g %p %l\\n'"
        ))?;
        Ok(list.lines().map(str::to_owned).collect())
    }

    /// Kernel, version and state of each module that DKMS has.
    fn built(&self) -> Outcome<BTreeSet<(String, String, String)>> {
        // xt_dnp3/0.1.0, 6.1.0-56-amd64, x86_64: installed
        let status = self.run("dkms status 2>/dev/null")?;
        status
            .lines()
            .map(|line| {
                let (rest, state) = line.split_once(": ")?;
                let mut parts = rest.split(", ");
                let version = parts.next()?.strip_prefix("xt_dnp3/")?;
                Some((
                    parts.next()?.to_owned(),
                    version.to_owned(),
                    state.to_owned(),
                ))
            })
            .map(|line| line.ok_or_else(|| format!("dkms status: {status}")))
            .collect()
    }

    /// Looks at the module that DKMS has installed for a kernel.
    fn check_module(&self, kernel: &str, version: &str) -> Outcome {
        // DKMS packs it where the kernel's own modules are packed.
        let file = self.run(&format!(
            "ls /lib/modules/{kernel}/updates/dkms/xt_dnp3.ko*"
        ))?;
        let file = file.trim();
        self.run(&format!(
            "rm -f /mnt/xt_dnp3.ko*; cp {file} /mnt; cd /mnt; case {file} in *.xz) xz -d xt_dnp3.ko.xz ;; esac"
        ))?;
        let info = |field: &str| {
            self.run(&format!("modinfo -F {field} {file}"))
                .map(|text| text.trim().to_owned())
        };
        let vermagic = info("vermagic")?;
        assert_eq!(vermagic.split(' ').next(), Some(kernel), "vermagic");
        assert_eq!(info("version")?, version);
        // modprobe finds it by the name that iptables asks for.
        let found = self.run(&format!("modprobe -S {kernel} -R ipt_dnp3"))?;
        assert_eq!(found.trim(), "xt_dnp3");
        let shown = self.run(&format!("modinfo -k {kernel} -F filename xt_dnp3"))?;
        assert_eq!(shown.trim(), file);
        let log = self.run(&format!(
            "cat /var/lib/dkms/xt_dnp3/{version}/{kernel}/x86_64/log/make.log"
        ))?;
        assert!(log.contains("xt_dnp3: plain entry: "), "{log}");
        assert!(!log.to_lowercase().contains("warning"), "{log}");
        self.check_signature()
            .map_err(|why| format!("the signature of the module for {kernel}: {why}"))
    }

    /// Holds the signature of share/xt_dnp3.ko to DKMS's certificate; and sees that a changed octet would
    /// be found.
    fn check_signature(&self) -> Outcome {
        let share = self.share();
        let module = fs::read(share.join("xt_dnp3.ko")).map_err(|error| error.to_string())?;
        let rest = module.strip_suffix(MARK).ok_or("there is none")?;
        let (rest, description) = rest
            .split_at_checked(rest.len().wrapping_sub(DESCRIPTION))
            .ok_or("no description")?;
        // struct module_signature: its last member is the length, in network order.
        let length: [u8; 4] = description[8..].try_into().map_err(|_| "no length")?;
        let length = u32::from_be_bytes(length) as usize;
        let (signed, signature) = rest
            .split_at_checked(rest.len().wrapping_sub(length))
            .ok_or("a length past the file")?;
        let write = |name: &str, octets: &[u8]| {
            fs::write(share.join(name), octets).map_err(|error| format!("{name}: {error}"))
        };
        write("signature", signature)?;
        write("signed", signed)?;
        let mut changed = signed.to_vec();
        changed[signed.len() / 2] ^= 1;
        write("changed", &changed)?;
        self.run("openssl x509 -inform DER -in /var/lib/dkms/mok.pub -out /mnt/mok.pem")?;
        let verify = |what: &str| {
            self.run(&format!(
                "openssl cms -verify -binary -inform DER -in /mnt/signature -content /mnt/{what} \
                 -certfile /mnt/mok.pem -nointern -noverify -out /dev/null"
            ))
        };
        verify("signed")?;
        match verify("changed") {
            Ok(_) => Err("it is right for a changed module too".to_owned()),
            Err(_) => Ok(()),
        }
    }
}

fn directory(name: &str) -> Outcome<PathBuf> {
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages-installed");
    empty(tests.join(name))
}

/// What is on one side only.
fn difference(before: &BTreeSet<String>, after: &BTreeSet<String>) -> Vec<String> {
    let gone = before.difference(after).map(|line| format!("gone: {line}"));
    let new = after.difference(before).map(|line| format!("new: {line}"));
    gone.chain(new).collect()
}

/// The path in a line of a list.
fn path(line: &str) -> &str {
    line.split(' ').nth(3).unwrap_or_default()
}

fn step(what: &str) {
    println!("packages: {what}");
}

/// Today's packages, built once.
fn today() -> Outcome<&'static Packages> {
    static BUILT: OnceLock<Outcome<Packages>> = OnceLock::new();
    let built = BUILT.get_or_init(|| Packages::build(&directory("deb")?, None));
    built.as_ref().map_err(Clone::clone)
}

/// As Clean::built has it.
fn installed(version: &str, kernel: &str) -> (String, String, String) {
    (
        kernel.to_owned(),
        version.to_owned(),
        "installed".to_owned(),
    )
}

/// The kernels that have a directory for modules.
fn kernels(clean: &Clean) -> Outcome<Vec<String>> {
    let kernels = clean.run("ls /lib/modules")?;
    Ok(kernels.lines().map(str::to_owned).collect())
}

#[test]
fn upgraded_in_debian_12() -> Outcome {
    let old = Packages::build(&directory("deb-old")?, Some(OLD))?;
    let new = today()?;
    let clean = Clean::new("upgraded", "bookworm", new)?;
    let kernels = kernels(&clean)?;
    let [kernel] = kernels.as_slice() else {
        return Err(format!("not one kernel, but {kernels:?}"));
    };
    // As on a machine that has booted this kernel.
    clean.run(&format!("depmod {kernel}"))?;
    let before = clean.list()?;

    step("installing");
    clean.install(&old)?;
    assert_eq!(clean.built()?, [installed(OLD, kernel)].into());
    clean.check_module(kernel, OLD)?;
    check_what_is_new(&clean, &before)?;
    // The extension is where this iptables looks.
    let help = clean.run("iptables -m dnp3 --help")?;
    assert!(help.contains("--saddr"), "{help}");

    step("upgrading");
    clean.install(new)?;
    assert_eq!(clean.built()?, [installed(VERSION, kernel)].into());
    clean.check_module(kernel, VERSION)?;
    check_what_is_new(&clean, &before)?;
    let module = directory("module")?.join("xt_dnp3.ko");
    fs::copy(clean.share().join("xt_dnp3.ko"), &module).map_err(|error| error.to_string())?;

    step("removing");
    clean.apt("remove iptables-dnp3 xt-dnp3-dkms dnp3fw")?;
    assert_eq!(clean.built()?, BTreeSet::new());
    clean.apt("purge iptables-dnp3 xt-dnp3-dkms dnp3fw")?;
    let mut after = clean.list()?;
    // The machine's key is DKMS's own; it serves the modules of other packages too.
    after.retain(|line| !path(line).starts_with("/var/lib/dkms/mok."));
    let left = difference(&before, &after);
    assert!(left.is_empty(), "after purge: {left:#?}");

    step("booting what DKMS built");
    boot(&module, new)
}

#[test]
fn rebuilt_for_another_kernel_in_debian_12() -> Outcome {
    rebuilt("bookworm")
}

#[test]
fn rebuilt_for_another_kernel_in_debian_13() -> Outcome {
    rebuilt("trixie")
}

fn rebuilt(suite: &str) -> Outcome {
    let new = today()?;
    let clean = Clean::new(&format!("rebuilt-{suite}"), suite, new)?;
    let before = kernels(&clean)?;
    let [first] = before.as_slice() else {
        return Err(format!("not one kernel, but {before:?}"));
    };
    step(&format!("{suite}: installing"));
    clean.install(new)?;
    assert_eq!(clean.built()?, [installed(VERSION, first)].into());
    clean.check_module(first, VERSION)?;

    step(&format!("{suite}: adding a kernel"));
    clean.apt("install /srv/headers/*.deb")?;
    let both = kernels(&clean)?;
    let second = both
        .iter()
        .find(|&name| name != first)
        .ok_or_else(|| format!("no second kernel, but {both:?}"))?;
    assert_eq!(
        clean.built()?,
        [installed(VERSION, first), installed(VERSION, second)].into()
    );
    clean.check_module(second, VERSION)?;

    step(&format!("{suite}: removing the kernel"));
    // With the package that depends on the newest one's headers.
    clean.apt(&format!(
        "purge linux-image-{second} linux-headers-{second}"
    ))?;
    assert_eq!(clean.built()?, [installed(VERSION, first)].into());

    step(&format!("{suite}: removing"));
    clean.apt("purge iptables-dnp3 xt-dnp3-dkms dnp3fw")?;
    let left = clean.run("find / -xdev -name '*dnp3*' ! -path '/mnt/*' ! -path '/var/cache/*'")?;
    assert_eq!(left, "", "after purge");
    Ok(())
}

/// All that has come is a package's own, or where DKMS and depmod keep what they make: neither the build
/// nor the maintainers' scripts leave anything elsewhere, and no unit is enabled.
fn check_what_is_new(clean: &Clean, before: &BTreeSet<String>) -> Outcome {
    let owned = clean.run("dpkg -L iptables-dnp3 xt-dnp3-dkms dnp3fw | xargs realpath -s --")?;
    let owned: BTreeSet<&str> = owned.lines().collect();
    let after = clean.list()?;
    let mut strange = Vec::new();
    for line in after.difference(before) {
        let path = path(line);
        // /lib is a link to /usr/lib.
        let short = path.strip_prefix("/usr").unwrap_or(path);
        let makes = [
            "/lib/modules/",
            "/var/lib/dkms/",
            // That the package has a unit, for its removal.
            "/var/lib/systemd/deb-systemd-helper-enabled/dnp3-firewall.service.dsh-also",
        ];
        if !(owned.contains(path)
            || owned.contains(short)
            || makes.iter().any(|made| short.starts_with(made)))
        {
            strange.push(line);
        }
    }
    assert!(
        strange.is_empty(),
        "neither packages' nor DKMS's: {strange:#?}"
    );
    Ok(())
}

/// Loads the module into the kernel that it was built for, beside the package's extension.
fn boot(module: &Path, packages: &Packages) -> Outcome {
    let root = directory("extension")?;
    succeed(
        Command::new("dpkg-deb")
            .arg("-x")
            .args([&packages.extension, &root]),
    )?;
    let extension = "usr/lib/x86_64-linux-gnu/xtables/libxt_dnp3.so";
    let add = |host: &Path, guest: &str| format!("{}:{guest}", host.display());
    let said = succeed(
        script("vm")
            .args(["--kernel", "debian-6.1", "--no-module"])
            .args(["--add", &add(module, "/root/xt_dnp3.ko")])
            .args([
                "--add",
                &add(&root.join(extension), &format!("/{extension}")),
            ])
            .args(["--", BOOTED]),
    )?;
    let expected = format!("{VERSION}\n-A INPUT -p tcp -m dnp3 --saddr 1 --fc 1 -j DROP\n");
    assert_eq!(said, expected);
    Ok(())
}

const BOOTED: &str = "set -e
modprobe -a x_tables nf_defrag_ipv4 nf_defrag_ipv6
insmod xt_dnp3.ko
cat /sys/module/xt_dnp3/version
iptables -A INPUT -p tcp -m dnp3 --saddr 1 --fc read -j DROP
iptables -S INPUT | grep dnp3
";
