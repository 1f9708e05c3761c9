// SPDX-License-Identifier: GPL-2.0

//! See `dnp3_fuzz::check::check`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| dnp3_fuzz::check::check(octets));
