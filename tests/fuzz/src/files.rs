// SPDX-License-Identifier: GPL-2.0

//! The targets that read files as `dnp3fw` does: captures, octets of a serial line, and baselines.

use dnp3fw::baseline::{self, Baseline};
use dnp3fw::decode::{Form, Shower};
use dnp3fw::learn::Learner;
use dnp3fw::{Event, Input, Options, Progress};

/// Whatever a capture is, it is read to its end or to its damage, shown and learned; and of the same
/// octets on a serial line, each is in exactly one frame or is said to be in none.
pub fn captures(octets: &[u8]) {
    let options = Options::default();
    let mut learner = Learner::new(&options.ports);
    let mut showers = [Form::Text, Form::Json].map(|form| Shower::new(Vec::new(), form, false));
    let mut input = Input::new(options);
    let mut packets = 0;
    learner.begin("fuzz");
    let counts = input.capture("fuzz", octets, &Progress::none(), &mut |event| {
        match event {
            Event::Packet(_) => packets += 1,
            Event::Frame(frame) => assert!((10..=292).contains(&frame.octets.len())),
            Event::Bad(bad) => assert!(bad.length >= bad.octets.len() as u64),
            Event::Damage(line) | Event::Note(line) => one_line(line),
            Event::Unfinished(_) | Event::Gap(_) => {}
        }
        learner.event(event) && showers.iter_mut().all(|shower| shower.show(event))
    });
    assert_eq!(packets, counts.taken);
    assert!(counts.taken <= counts.packets && counts.octets <= octets.len() as u64);
    learner.end().iter().for_each(|line| one_line(line));
    let (learned, lines) = learner.finish();
    lines.iter().for_each(|line| one_line(line));
    assert_eq!(read_back(&learned), learned);
    for shower in showers {
        shower.finish().expect("a vector takes all");
    }

    let mut next = 0;
    input.octets("fuzz", octets, &mut |event| {
        let (offset, length) = match event {
            Event::Frame(frame) => (frame.offset, frame.octets.len() as u64),
            Event::Bad(bad) => (bad.offset, bad.length),
            Event::Unfinished(part) => (part.offset, part.octets.len() as u64),
            Event::Packet(_) | Event::Gap(_) | Event::Damage(_) | Event::Note(_) => return true,
        };
        assert_eq!(offset, next);
        next += length;
        true
    });
    assert_eq!(next, octets.len() as u64);
}

/// A baseline is refused in one line, or is the same after it was written.
pub fn baselines(octets: &[u8]) {
    match baseline::read("fuzz", octets) {
        Ok(baseline) => assert_eq!(read_back(&baseline), baseline),
        Err(line) => one_line(&line),
    }
}

fn read_back(baseline: &Baseline) -> Baseline {
    let mut text = Vec::new();
    baseline::write(baseline, &mut text).expect("a vector takes all");
    match baseline::read("fuzz", text.as_slice()) {
        Ok(baseline) => baseline,
        Err(line) => panic!("{line}: {}", String::from_utf8_lossy(&text)),
    }
}

fn one_line(line: &str) {
    assert!(!line.is_empty() && line.len() < 2000, "{line:?}");
    assert!(!line.contains(char::is_control), "{line:?}");
}
