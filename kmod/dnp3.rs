// SPDX-License-Identifier: GPL-2.0

//! The match: what x_tables asks, put to `dnp3_core`.

#![forbid(unsafe_code)]

use crate::xt::{ActionParam, Answer, CheckParam, DestroyParam, Match, SkBuff};
use dnp3_core::{Headers, Rule, Verdict};
use kernel::prelude::*;

/// `-m dnp3`, revision 0.
pub(crate) struct Dnp3;

impl Match for Dnp3 {
    const NAME: &'static str = "dnp3";
    const REVISION: u8 = 0;

    type Info = Rule;

    fn check(par: &CheckParam<Self>) -> Result {
        let (protocol, inverted) = par.protocol();
        if let Err(invalid) = par.info().check(protocol, inverted) {
            return Err(par.refuse(invalid.reason()));
        }
        // Fragments hide the transport header. Last, so that no error has to take it back.
        par.enable_defrag()
    }

    fn judge(skb: &SkBuff, par: &ActionParam<Self>) -> Answer {
        let packet = skb.reader();
        let mut headers = Headers::default();
        if !par.find_headers(skb, &mut headers) {
            return Answer::NoMatch;
        }
        match dnp3_core::judge(par.info(), &packet, &headers) {
            Verdict::NoMatch => Answer::NoMatch,
            Verdict::Match => Answer::Match,
            Verdict::HotDrop => Answer::HotDrop,
        }
    }

    fn destroy(par: &DestroyParam<Self>) {
        par.disable_defrag();
    }
}
