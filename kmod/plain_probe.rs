// SPDX-License-Identifier: GPL-2.0

//! Something of everything that compiler flags change, never linked: the plain entry compiles it with
//! the flags of its objects and looks what came out. An object that is right shows nothing, for it may
//! have nothing of the kind; this one has.

#![no_std]
#![allow(missing_docs)]

use core::hint::black_box;

/// Overflow checks: calls a panic where they are on.
#[no_mangle]
pub fn xt_dnp3_probe_overflow(a: u32, b: u32) -> u32 {
    a + b
}

/// Soft float: a call of a helper, and no register.
#[no_mangle]
pub fn xt_dnp3_probe_float(a: f64, b: f64) -> f64 {
    a + b
}

/// No vectors: where there are any, this is copied by them.
#[no_mangle]
pub fn xt_dnp3_probe_vector(from: &[u64; 4], to: &mut [u64; 4]) {
    *to = *from;
}

/// Red zone: a leaf with something on the stack.
#[no_mangle]
pub fn xt_dnp3_probe_leaf(a: u64) -> u64 {
    black_box(a)
}

/// Retpolines: an indirect call and an indirect jump. Frame pointers: a call.
#[no_mangle]
pub fn xt_dnp3_probe_indirect(first: fn(u32) -> u32, then: &dyn Fn(u32) -> u32) -> u32 {
    then(first(1))
}

fn local(a: u32) -> u32 {
    a ^ 0x55
}

/// IBT: a local function that is called by its address. Relocations in data.
#[no_mangle]
pub static XT_DNP3_PROBE_TABLE: [fn(u32) -> u32; 1] = [local];

/// Code model and relocations: the address of something, in code.
#[no_mangle]
pub fn xt_dnp3_probe_address() -> *const [fn(u32) -> u32; 1] {
    &raw const XT_DNP3_PROBE_TABLE
}

extern "C" {
    static xt_dnp3_probe_elsewhere: u32;
    fn xt_dnp3_probe_one();
    fn xt_dnp3_probe_two();
    fn xt_dnp3_probe_three();
    fn xt_dnp3_probe_four();
    fn xt_dnp3_probe_five();
    fn xt_dnp3_probe_six();
}

/// Position independence: the address of something of another object.
#[no_mangle]
pub fn xt_dnp3_probe_foreign() -> *const u32 {
    &raw const xt_dnp3_probe_elsewhere
}

/// Jump tables: enough branches for one.
///
/// # Safety
///
/// Never called.
#[no_mangle]
pub unsafe fn xt_dnp3_probe_branches(a: u32) {
    // SAFETY: Never called.
    unsafe {
        match a {
            0 => xt_dnp3_probe_one(),
            1 => xt_dnp3_probe_two(),
            2 => xt_dnp3_probe_three(),
            3 => xt_dnp3_probe_four(),
            4 => xt_dnp3_probe_five(),
            5 => xt_dnp3_probe_six(),
            _ => {}
        }
    }
}
