// SPDX-License-Identifier: GPL-2.0

//! The target that reads files of rules, and judges captures by them as `dnp3fw check` does.
//!
//! ```text
//! a file of rules | 00 | a capture
//! ```

use dnp3fw::check::{Checker, Options};
use dnp3fw::ruleset::{Family, Ruleset};
use dnp3fw::Progress;

/// Where the rules are none, the capture is judged by these.
pub const RULES: &str = "\
*filter
:FORWARD DROP [0:0]
:C - [0:0]
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -p tcp -m multiport --ports 20000 -j C
-A FORWARD -m conntrack --ctstate NEW,RELATED,UNTRACKED -g C
-A FORWARD -p udp -m dnp3 --frames any --fc restart -j REJECT
-A C -p tcp -m dnp3 --status none --track -j ACCEPT
-A C -p tcp -m conntrack --ctstate ESTABLISHED -m dnp3 --fc read,responses,link --track -j ACCEPT
-A C -p tcp -m dnp3 --status ahead,malformed --track -j REJECT --reject-with tcp-reset
-A C -p tcp -m limit --limit 1/s -j LOG
-A C ! -p tcp -j ACCEPT
COMMIT
";

/// A file that is refused has a line that says why; by any other every packet comes to one end.
pub fn check(octets: &[u8]) {
    let end = octets.iter().position(|octet| *octet == 0);
    let (rules, capture) = octets.split_at(end.unwrap_or(octets.len()));
    for family in [Family::V4, Family::V6] {
        let read = Ruleset::read(rules, Some(family)).or_else(|error| {
            assert!(
                error.line > 0 && !error.what.contains(['\n', '\r']),
                "{error}"
            );
            Ruleset::parse(RULES, Some(family))
        });
        let rules = read.expect("the rules above are right");
        let mut checker = Checker::new(Options::default(), Vec::new());
        for line in checker
            .rules("rules", rules.clone())
            .expect("there is a chain FORWARD")
        {
            assert!(!line.contains('\n'), "{line}");
        }
        let (_, lines) = checker.capture(
            "capture",
            capture.get(1..).unwrap_or_default(),
            &Progress::none(),
        );
        assert!(lines.iter().all(|line| !line.contains('\n')), "{lines:?}");
        let counts = *checker.counts();
        let told = counts.accepted + counts.dropped + counts.rejected + counts.uncertain;
        assert_eq!(told, counts.packets);
        let (counters, policy) = checker.counters(family).expect("rules were given");
        assert_eq!(counters.len(), rules.rules.len());
        // A chain may be gone through twice; its end is come to once.
        assert!(policy.sure.packets <= counts.packets);
        checker.finish().expect("a vector takes everything");
    }
}
