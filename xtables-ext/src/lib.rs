// SPDX-License-Identifier: GPL-2.0

//! `libxt_dnp3.so`, which iptables loads for `-m dnp3`.
//!
//! The language is [`dnp3_core::text`]; this crate is the glue between it and libxtables. All that
//! is unsafe is in `ffi`, the rest is the test that C and Rust agree on the rule.

#[cfg(test)]
mod abi;
mod ffi;
