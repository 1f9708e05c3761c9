// SPDX-License-Identifier: GPL-2.0

//! What the tests of xt_dnp3 share: frames, vectors and a second, naive judge, all made without
//! the help of `core`, so that `core` can be held to them.

pub mod blobs;
pub mod captures;
pub mod cases;
pub mod changing;
pub mod commands;
pub mod frames;
pub mod generate;
pub mod naive;
pub mod odd;
pub mod packages;
pub mod receivers;
pub mod replay;
pub mod sequences;
pub mod track;
pub mod track_attack;
pub mod track_exchanges;
pub mod track_gateway;
pub mod track_honest;
pub mod track_tcp;
pub mod vectors;
pub mod vm;
