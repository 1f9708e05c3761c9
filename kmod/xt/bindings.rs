// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of `bindings.h` for the kernel that is built against.

#![allow(
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]

use kernel::ffi;

include!("bindings_generated.rs");
