// SPDX-License-Identifier: GPL-2.0

//! The command `dnp3fw`: its arguments, files and exit status. What it does is in the library.

#![forbid(unsafe_code)]

mod args;
mod check_command;
mod rules_command;

use args::{Arguments, Command, Decode, Learn, Octets};
use clap::{CommandFactory, Parser};
use dnp3fw::decode::{Form, Shower};
use dnp3fw::learn::{first_time, Learner};
use dnp3fw::{baseline, exit, functions, Counts, Event, Input, Options, Progress};
use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    // clap ends with status 2 where the arguments are wrong, and with 0 for --help.
    let arguments = Arguments::parse();
    let status = match arguments.command {
        Command::Functions { json } => {
            let mut output = io::stdout().lock();
            written(match json {
                true => functions::json(&mut output),
                false => functions::text(&mut output),
            })
        }
        Command::Decode(decode) => run_decode(&decode),
        Command::Learn(learn) => run_learn(&learn),
        Command::Rules(rules) => rules_command::run(&rules),
        Command::Check(check) => check_command::run(&check),
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "dnp3fw", &mut text);
            written(io::stdout().write_all(&text))
        }
        Command::Man { folder } => match man(&folder) {
            Ok(()) => exit::OK,
            Err(error) => refuse(&format!("{}: {error}", folder.display())),
        },
    };
    ExitCode::from(status)
}

/// Says in a line why nothing is done.
fn refuse(line: &str) -> u8 {
    eprintln!("dnp3fw: {line}");
    exit::USAGE
}

/// The status after writing. That nobody reads on is no error.
fn written(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => exit::OK,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => exit::OK,
        Err(error) => refuse(&format!("standard output: {error}")),
    }
}

/// An input that is open.
enum Source {
    Octets(Vec<u8>),
    Capture(File, u64),
    Raw(File, u64),
    StandardInput { raw: bool },
}

/// Opens all inputs before the first is read, so that a wrong name is said at once.
fn open(
    files: &[PathBuf],
    raw: &[PathBuf],
    hex: &[Octets],
) -> Result<Vec<(String, Source)>, String> {
    let mut sources = Vec::new();
    let mut standard_input = 0;
    for (path, raw) in files
        .iter()
        .map(|path| (path, false))
        .chain(raw.iter().map(|path| (path, true)))
    {
        if path.as_os_str() == "-" {
            standard_input += 1;
            sources.push(("standard input".into(), Source::StandardInput { raw }));
            continue;
        }
        let name = path.display().to_string();
        let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
        let about = file
            .metadata()
            .map_err(|error| format!("{name}: {error}"))?;
        if about.is_dir() {
            return Err(format!("{name}: is a directory; a file is wanted"));
        }
        let length = about.len();
        sources.push((
            name,
            match raw {
                true => Source::Raw(file, length),
                false => Source::Capture(file, length),
            },
        ));
    }
    if standard_input > 1 {
        return Err("- is given more than once, and standard input can be read but once".into());
    }
    for octets in hex {
        sources.push(("--hex".into(), Source::Octets(octets.0.clone())));
    }
    Ok(sources)
}

/// Reads an input to its end, with a bar that says how far; `is_output_idle` where nothing is written
/// to standard output meanwhile. What is said of damage goes to standard error; `tell` has all events.
fn read(
    input: &mut Input,
    name: &str,
    source: Source,
    is_output_idle: bool,
    tell: &mut dyn FnMut(&Event<'_>) -> bool,
) -> Counts {
    let progress = match &source {
        Source::Capture(_, length) | Source::Raw(_, length) => {
            let length = Some(*length).filter(|length| *length != 0);
            Progress::new(name, length, is_output_idle)
        }
        Source::StandardInput { .. } => Progress::new(name, None, is_output_idle),
        Source::Octets(_) => Progress::none(),
    };
    let mut tell = |event: &Event<'_>| {
        if let Event::Damage(line) | Event::Note(line) = event {
            progress.aside(|| eprintln!("dnp3fw: {line}"));
        }
        tell(event)
    };
    match source {
        Source::Octets(octets) => input.octets(name, &octets, &mut tell),
        Source::Capture(file, _) => input.capture(name, file, &progress, &mut tell),
        Source::Raw(file, _) => input.raw(name, file, &progress, &mut tell),
        Source::StandardInput { raw: false } => {
            input.capture(name, io::stdin().lock(), &progress, &mut tell)
        }
        Source::StandardInput { raw: true } => {
            input.raw(name, io::stdin().lock(), &progress, &mut tell)
        }
    }
}

fn run_decode(decode: &Decode) -> u8 {
    let sources = match open(&decode.files, &decode.raw, &decode.hex) {
        Ok(sources) => sources,
        Err(line) => return refuse(&line),
    };
    let mut input = Input::new(Options {
        ports: decode.ports.clone(),
    });
    let form = if decode.json { Form::Json } else { Form::Text };
    let output = io::stdout();
    let is_live = output.is_terminal();
    let mut shower = Shower::new(output.lock(), form, is_live);
    let mut is_damaged = false;
    for (name, source) in sources {
        shower.next_file();
        let counts = read(&mut input, &name, source, false, &mut |event| {
            shower.show(event)
        });
        is_damaged |= counts.damaged;
        if counts.stopped {
            break;
        }
    }
    let has_found = shower.has_found();
    match written(shower.finish()) {
        exit::OK if is_damaged => exit::DAMAGED,
        exit::OK if has_found => exit::FOUND,
        status => status,
    }
}

fn run_learn(learn: &Learn) -> u8 {
    let is_file = learn.output.as_os_str() != "-";
    let sources = match open(&learn.files, &[], &[]) {
        Ok(sources) => sources,
        Err(line) => return refuse(&line),
    };
    if is_file {
        if let Err(line) = not_an_input(&learn.output, &sources)
            .and_then(|()| baseline::can_replace(&learn.output))
        {
            return refuse(&line);
        }
    }
    let sources = match in_order_of_time(sources) {
        Ok(sources) => sources,
        Err(line) => return refuse(&line),
    };
    let mut input = Input::new(Options {
        ports: learn.ports.clone(),
    });
    let mut learner = Learner::new(&learn.ports);
    let mut is_damaged = false;
    let say = |lines: Vec<String>| {
        for line in lines {
            eprintln!("dnp3fw: {line}");
        }
    };
    for (name, source) in sources {
        learner.begin(&name);
        let counts = read(&mut input, &name, source, true, &mut |event| {
            learner.event(event)
        });
        is_damaged |= counts.damaged;
        say(learner.end());
    }
    let has_found = learner.has_found();
    let (learned, lines) = learner.finish();
    say(lines);
    let is_nothing = learned.communications.is_empty();
    let is_kept = is_file && is_nothing && learn.output.metadata().is_ok_and(|it| it.is_file());
    let status = if is_kept {
        let path = learn.output.display();
        eprintln!("dnp3fw: {path}: stays as it was, since nothing was learned");
        exit::OK
    } else if is_file {
        baseline::replace(&learn.output, |output| baseline::write(&learned, output))
            .map_or_else(|line| refuse(&line), |()| exit::OK)
    } else {
        let mut output = io::BufWriter::new(io::stdout().lock());
        written(baseline::write(&learned, &mut output).and_then(|()| output.flush()))
    };
    match status {
        exit::OK if is_damaged => exit::DAMAGED,
        exit::OK if has_found || is_nothing => exit::FOUND,
        status => status,
    }
}

/// Writing must not take away what is read.
fn not_an_input(path: &Path, sources: &[(String, Source)]) -> Result<(), String> {
    let Ok(output) = path.metadata() else {
        return Ok(());
    };
    for (name, source) in sources {
        let (Source::Capture(file, _) | Source::Raw(file, _)) = source else {
            continue;
        };
        let is_it =
            |input: fs::Metadata| (input.dev(), input.ino()) == (output.dev(), output.ino());
        if output.is_file() && file.metadata().is_ok_and(is_it) {
            let path = path.display();
            return Err(format!(
                "{path}: is the input {name}; another file is wanted"
            ));
        }
    }
    Ok(())
}

/// The same inputs, those first whose first packet is the oldest; last those that do not say so, or
/// can be read but once.
fn in_order_of_time(sources: Vec<(String, Source)>) -> Result<Vec<(String, Source)>, String> {
    let mut timed = Vec::new();
    for (name, source) in sources {
        let mut time = None;
        if let Source::Capture(mut file, length) = source {
            if file.metadata().is_ok_and(|about| about.is_file()) {
                time = first_time(&file);
                file.rewind().map_err(|error| format!("{name}: {error}"))?;
            }
            timed.push((time.is_none(), time, name, Source::Capture(file, length)));
        } else {
            timed.push((true, time, name, source));
        }
    }
    timed.sort_by(|a, b| (a.0, a.1, &a.2).cmp(&(b.0, b.1, &b.2)));
    let sources = timed.into_iter();
    Ok(sources.map(|(_, _, name, source)| (name, source)).collect())
}

/// Writes the manual pages, one for the program and one for each command.
fn man(folder: &Path) -> io::Result<()> {
    let mut command = Arguments::command();
    command.build();
    let mut commands = vec![command.clone()];
    commands.extend(
        command
            .get_subcommands()
            .filter(|command| !command.is_hide_set() && command.get_name() != "help")
            .cloned(),
    );
    for command in commands {
        let name = command.get_display_name().unwrap_or("dnp3fw").to_owned();
        let has_options = command
            .get_arguments()
            .any(|argument| !argument.is_hide_set());
        let has_commands = command.has_subcommands();
        let after = command.get_after_help().map(|text| text.to_string());
        let page = clap_mangen::Man::new(command)
            .title(name.as_str())
            .section("8")
            .date(" ")
            .source(concat!("dnp3fw ", env!("CARGO_PKG_VERSION")))
            .manual("xt_dnp3");
        let mut text = Vec::new();
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        if has_options {
            page.render_options_section(&mut text)?;
        }
        if has_commands {
            page.render_subcommands_section(&mut text)?;
        }
        sections(&after.unwrap_or_default(), &mut text)?;
        fs::write(folder.join(format!("{name}.8")), text)?;
    }
    Ok(())
}

/// What stands behind the help, as sections of a page: each begins with its name and a colon.
fn sections(help: &str, page: &mut Vec<u8>) -> io::Result<()> {
    for section in help.split("\n\n").filter(|section| !section.is_empty()) {
        let (title, lines) = section.split_once(":\n").unwrap_or(("Notes", section));
        writeln!(page, ".SH \"{}\"\n.nf", title.to_uppercase())?;
        for line in lines.lines() {
            let line = line.trim_start().replace('\\', "\\e").replace('-', "\\-");
            // A line that begins so would be a request.
            writeln!(page, "\\&{}", line.replace('\'', "\\(aq"))?;
        }
        writeln!(page, ".fi")?;
    }
    Ok(())
}
