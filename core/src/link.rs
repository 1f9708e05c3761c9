// SPDX-License-Identifier: GPL-2.0

//! The link layer: the header's octets, the control octet, and what goes with it.
//!
//! ```text
//!   0    1    2     3     4..5         6..7    8..9   10..
//! +----+----+-----+------+-------------+--------+-----+------------------------------+
//! | 05 | 64 | LEN | CTRL | destination | source | CRC | blocks: 1..16 octets and CRC |
//! +----+----+-----+------+-------------+--------+-----+------------------------------+
//! ```
//! Numbers of two octets are low octet first. LEN counts from CTRL to the end of the user data,
//! without CRCs: 5 for a frame without user data, at most 255.

/// The octets that every frame begins with.
pub const START: [u8; 2] = [0x05, 0x64];
/// The least LEN: CTRL and the two addresses.
pub const LEN_MIN: u8 = 5;
/// The least LEN with user data: the transport octet and one octet more.
pub const LEN_MIN_USER: u8 = LEN_MIN + 2;
/// The least LEN of a segment with FIR=1: transport octet, application control, function code.
pub const LEN_MIN_FIRST: u8 = LEN_MIN + 3;
/// Octets in the header, its CRC included.
pub const HEADER: usize = 10;
/// Octets in the header before its CRC.
pub const HEADER_FIELDS: usize = 8;
/// Octets of user data in a block, but for the last, which may be shorter.
pub const BLOCK: u8 = 16;
/// FIR in the transport octet: the first segment of a fragment.
pub const TRANSPORT_FIR: u8 = 0x40;
/// FIN in the transport octet: the last segment of a fragment.
pub const TRANSPORT_FIN: u8 = 0x80;
/// The sequence number in the transport octet, modulo 64.
pub const TRANSPORT_SEQUENCE: u8 = 0x3F;

/// Where the fields stand in a header.
pub mod offset {
    /// LEN
    pub const LEN: usize = 2;
    /// CTRL
    pub const CONTROL: usize = 3;
    /// Destination address
    pub const DESTINATION: usize = 4;
    /// Source address
    pub const SOURCE: usize = 6;
    /// Behind the header: the transport octet, where there is user data
    pub const TRANSPORT: usize = 10;
    /// The function code, where the transport octet has FIR
    pub const FUNCTION: usize = 12;
}

/// The control octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control(pub u8);

impl Control {
    const DIR: u8 = 0x80;
    const PRM: u8 = 0x40;
    const FCB: u8 = 0x20;
    const FCV: u8 = 0x10;
    const FUNCTION: u8 = 0x0F;

    const CONFIRMED_USER_DATA: u8 = 3;
    const UNCONFIRMED_USER_DATA: u8 = 4;

    /// DIR=1.
    pub fn from_master(self) -> bool {
        self.0 & Control::DIR != 0
    }

    fn primary(self) -> bool {
        self.0 & Control::PRM != 0
    }

    /// The link function code, 0..15.
    pub fn function(self) -> u8 {
        self.0 & Control::FUNCTION
    }

    /// Whether the standard defines this octet, with FCV as its function demands.
    pub fn is_defined(self) -> bool {
        let fcv = self.0 & Control::FCV != 0;
        match (self.primary(), self.function()) {
            (true, 2 | Control::CONFIRMED_USER_DATA) => fcv,
            (true, 0 | Control::UNCONFIRMED_USER_DATA | 9) => !fcv,
            // What stands in FCV's place is DFC here, free to be either; FCB is reserved.
            (false, 0 | 1 | 11 | 15) => self.0 & Control::FCB == 0,
            _ => false,
        }
    }

    /// Whether this is the control octet of a frame with user data.
    pub fn is_user_data(self) -> bool {
        self.primary()
            && matches!(
                self.function(),
                Control::CONFIRMED_USER_DATA | Control::UNCONFIRMED_USER_DATA
            )
            && self.is_defined()
    }
}

/// Whether a frame of this LEN can be valid with some control octet.
pub fn len_is_possible(len: u8) -> bool {
    len == LEN_MIN || len >= LEN_MIN_USER
}

/// Whether a frame has user data if and only if its control octet is that of user data.
pub fn agree(len: u8, control: Control) -> bool {
    control.is_defined() && control.is_user_data() == (len >= LEN_MIN_USER)
}
