// SPDX-License-Identifier: GPL-2.0

//! What the tests of xt_dnp3 share: frames and vectors made without the help of `core`.

pub mod frames;
pub mod vectors;
