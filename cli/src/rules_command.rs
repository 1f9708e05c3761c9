// SPDX-License-Identifier: GPL-2.0

//! `dnp3fw rules`, the program's part: which files are read and written, and what is said of them.

use crate::args::{self, Log};
use crate::{refuse, written};
use dnp3fw::baseline::{self, Baseline};
use dnp3fw::exit;
use dnp3fw::rules::{self, make};
use dnp3fw::ruleset::Family;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) fn run(asked: &args::Rules) -> u8 {
    match make_and_write(asked) {
        Ok(status) => status,
        Err(line) => refuse(&line),
    }
}

fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Whether two names are those of one file, there or not. What is no file, such as a terminal, can be given twice.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| match path.canonicalize() {
        Ok(place) => Some(place).filter(|place| place.is_file()),
        Err(_) => {
            let folder = match path.parent() {
                Some(folder) if folder != Path::new("") => folder,
                _ => Path::new("."),
            };
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        }
    };
    !is_standard(one) && place(one).is_some_and(|its| Some(its) == place(other))
}

fn read(path: &Path) -> Result<(String, Baseline), String> {
    if is_standard(path) {
        let name = "standard input".to_string();
        let (baseline, notes) = baseline::read_noting(&name, io::stdin().lock())?;
        say(&name, &notes);
        return Ok((name, baseline));
    }
    let name = path.display().to_string();
    let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
    let (baseline, notes) = baseline::read_noting(&name, file)?;
    say(&name, &notes);
    Ok((name, baseline))
}

fn say(name: &str, notes: &[String]) {
    for note in notes {
        eprintln!("dnp3fw: {name}: note: {note}");
    }
}

fn options(asked: &args::Rules) -> rules::Options {
    let (prefix, limit) = (asked.log_prefix.clone(), asked.log_limit.clone());
    rules::Options {
        entry: asked.chain.clone(),
        keep_policy: asked.keep_policy,
        track: !asked.no_track,
        log: match asked.log {
            Log::None => rules::Log::None,
            Log::Kernel => rules::Log::Kernel { prefix, limit },
            Log::Nflog => rules::Log::Nflog {
                group: asked.nflog_group,
                prefix,
                limit,
            },
        },
        udp_reject: asked.udp_reject,
    }
}

/// Which family goes where.
fn wanted(
    asked: &args::Rules,
    name: &str,
    has_v4: bool,
    has_v6: bool,
) -> Result<Vec<(Family, PathBuf)>, String> {
    let standard_output = PathBuf::from("-");
    match (&asked.ipv4, &asked.ipv6) {
        (None, None) if has_v4 && has_v6 => Err(format!(
            "{name}: has IPv4 and IPv6, and a file of rules is for one of them: --ipv4 FILE, --ipv6 FILE or both \
             are wanted"
        )),
        (None, None) if has_v6 => Ok(vec![(Family::V6, standard_output)]),
        (None, None) => Ok(vec![(Family::V4, standard_output)]),
        (Some(one), Some(other)) if one == other => Err(format!(
            "--ipv4 and --ipv6 are both {}; a file of rules is for one of them",
            one.display()
        )),
        (one, other) => Ok([(Family::V4, one), (Family::V6, other)]
            .into_iter()
            .filter_map(|(family, path)| Some((family, path.clone()?)))
            .collect()),
    }
}

/// Makes all that is asked for before the first file is touched.
fn make_and_write(asked: &args::Rules) -> Result<u8, String> {
    let (name, baseline) = read(&asked.baseline)?;
    let options = options(asked);
    let has = |family| {
        let mut communications = baseline.communications.iter();
        communications.any(|one| Family::of(one.outstation_ip) == family)
    };
    let wanted = wanted(asked, &name, has(Family::V4), has(Family::V6))?;
    // What takes the place of a file must not be the baseline itself, nor the other file by another name.
    let mut taken = vec![asked.baseline.as_path()];
    for path in wanted.iter().map(|(_, path)| path.as_path()) {
        if is_standard(path) {
            continue;
        }
        if let Some(other) = taken.iter().find(|other| is_same_file(other, path)) {
            return Err(format!(
                "{}: is the same file as {}; another is wanted",
                path.display(),
                other.display()
            ));
        }
        taken.push(path);
        baseline::can_replace(path)?;
    }
    let mut made = Vec::new();
    for (family, path) in &wanted {
        made.push((*family, path, make(&baseline, &name, *family, &options)?));
    }
    for family in [Family::V4, Family::V6] {
        if has(family) && wanted.iter().all(|(wanted, _)| *wanted != family) {
            eprintln!("dnp3fw: note: the {family} of the baseline is in no file");
        }
    }
    for (family, path, rules) in made {
        let name = match is_standard(path) {
            true => "standard output".to_string(),
            false => path.display().to_string(),
        };
        if is_standard(path) {
            let status = written(io::stdout().lock().write_all(rules.text.as_bytes()));
            if status != exit::OK {
                return Ok(status);
            }
        } else {
            baseline::replace(path, |output| output.write_all(rules.text.as_bytes()))?;
        }
        match has(family) {
            true => eprintln!(
                "dnp3fw: {name}: {} rules in {} chains; a packet of the baseline meets {} of them at most, no packet \
                 more than {}",
                rules.rules, rules.chains, rules.met, rules.most
            ),
            false if options.is_closed() => {
                eprintln!("dnp3fw: {name}: the baseline has no {family}, and no {family} passes");
            }
            false => eprintln!(
                "dnp3fw: {name}: the baseline has no {family}, and no {family} passes from or to its ports"
            ),
        }
        say(&name, &rules.notes);
    }
    Ok(exit::OK)
}
