// SPDX-License-Identifier: GPL-2.0

//! See `dnp3_fuzz::packets::judges_agree`.
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| dnp3_fuzz::packets::judges_agree(octets));

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    dnp3_fuzz::mutate::packet(data, size, max_size, seed, libfuzzer_sys::fuzzer_mutate)
});
