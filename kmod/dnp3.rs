// SPDX-License-Identifier: GPL-2.0

//! The match: what x_tables asks, put to `dnp3_core`.

#![forbid(unsafe_code)]

use crate::xt::{track, ActionParam, Answer, CheckParam, DestroyParam, Match, SkBuff};
use dnp3_core::{rule::protocol, Headers, Rule, Verdict};
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
        // Last, so that no error has to take it back.
        par.enable(par.info().tracks())
    }

    fn judge(skb: &SkBuff, par: &ActionParam<Self>) -> Answer {
        let packet = skb.reader();
        let mut headers = Headers::default();
        if !par.find_headers(skb, &mut headers) {
            return Answer::NoMatch;
        }
        let tracked = match headers.protocol {
            protocol::TCP => track::judge(par.info(), skb, &packet, &headers),
            _ => None,
        };
        let verdict = match tracked {
            Some(verdict) => verdict,
            None => dnp3_core::judge(par.info(), &packet, &headers),
        };
        match verdict {
            Verdict::NoMatch => Answer::NoMatch,
            Verdict::Match => {
                if tracked.is_none() {
                    track::matched(par.info(), skb, &headers);
                }
                Answer::Match
            }
            Verdict::HotDrop => Answer::HotDrop,
        }
    }

    fn destroy(par: &DestroyParam<Self>) {
        par.disable(par.info().tracks());
    }
}
