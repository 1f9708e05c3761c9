// SPDX-License-Identifier: GPL-2.0

//! Names of IEEE 1815 that only people need: link functions, internal indications. The names of
//! application functions are in `dnp3_core`, those of objects beside their sizes in
//! [`objects`](crate::objects).

use dnp3_core::link::Control;

/// The name of a valid frame's link function.
pub(crate) fn link_function(control: Control) -> &'static str {
    /// From the primary station.
    const PRM: u8 = 0x40;
    match (control.0 & PRM != 0, control.function()) {
        (true, 0) => "reset_link_states",
        (true, 2) => "test_link_states",
        (true, 3) => "confirmed_user_data",
        (true, 4) => "unconfirmed_user_data",
        (true, 9) => "request_link_status",
        (false, 0) => "ack",
        (false, 1) => "nack",
        (false, 11) => "link_status",
        (false, 15) => "not_supported",
        _ => "undefined",
    }
}

/// Internal indications, in the order of the bits, the first octet's first.
pub(crate) const INDICATIONS: [&str; 16] = [
    "broadcast",
    "class_1_events",
    "class_2_events",
    "class_3_events",
    "need_time",
    "local_control",
    "device_trouble",
    "device_restart",
    "no_func_code_support",
    "object_unknown",
    "parameter_error",
    "event_buffer_overflow",
    "already_executing",
    "config_corrupt",
    "reserved_2_6",
    "reserved_2_7",
];

/// The names of the bits that are set.
pub(crate) fn indications(octets: [u8; 2]) -> impl Iterator<Item = &'static str> {
    let bits = u16::from_le_bytes(octets);
    INDICATIONS
        .into_iter()
        .enumerate()
        .filter(move |(bit, _)| bits >> bit & 1 != 0)
        .map(|(_, name)| name)
}

/// What a file or an address is of the application control octet.
pub(crate) mod application {
    pub(crate) const FIR: u8 = 0x80;
    pub(crate) const FIN: u8 = 0x40;
    pub(crate) const CON: u8 = 0x20;
    pub(crate) const UNS: u8 = 0x10;
    pub(crate) const SEQUENCE: u8 = 0x0F;
}
