// SPDX-License-Identifier: GPL-2.0

//! Builds DNP3 link frames (IEEE 1815) octet by octet, without `core`, so that `core` can be
//! held to them.
//!
//! ```text
//! 05 64 LEN CTRL DST(le16) SRC(le16) CRC(le16) { at most 16 octets, CRC(le16) }...
//! ```

use crc::{Crc, CRC_16_DNP};

/// Control octets that the standard defines, in a frame from the master where PRM=1.
pub mod control {
    /// DIR: the frame comes from a master.
    pub const DIR: u8 = 0x80;
    /// PRM: the frame comes from the primary station.
    pub const PRM: u8 = 0x40;
    /// Frame count bit.
    pub const FCB: u8 = 0x20;
    /// Frame count valid (PRM=1), data flow control (PRM=0).
    pub const FCV: u8 = 0x10;

    /// UNCONFIRMED_USER_DATA from the master: what nearly every request has.
    pub const MASTER_DATA: u8 = DIR | PRM | 4;
    /// UNCONFIRMED_USER_DATA from the outstation: what nearly every response has.
    pub const OUTSTATION_DATA: u8 = PRM | 4;
}

/// Octets of a link header with its CRC.
pub const HEADER: usize = 10;
/// User data octets in a full data block.
pub const BLOCK: usize = 16;
/// Most user data octets in a frame.
pub const MAX_USER_DATA: usize = 250;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_DNP);

/// CRC-16/DNP of some octets.
pub fn crc(octets: &[u8]) -> u16 {
    CRC.checksum(octets)
}

/// Some octets with their CRC behind them, low octet first.
pub fn with_crc(octets: &[u8]) -> Vec<u8> {
    let mut whole = octets.to_vec();
    whole.extend(crc(octets).to_le_bytes());
    whole
}

/// A link header of any LEN, with the right CRC.
pub fn header(len: u8, control: u8, destination: u16, source: u16) -> Vec<u8> {
    let [d0, d1] = destination.to_le_bytes();
    let [s0, s1] = source.to_le_bytes();
    with_crc(&[0x05, 0x64, len, control, d0, d1, s0, s1])
}

/// The data blocks of some user data, each with its CRC.
pub fn blocks(user_data: &[u8]) -> Vec<u8> {
    user_data.chunks(BLOCK).flat_map(with_crc).collect()
}

/// A frame with all its CRCs.
///
/// # Panics
///
/// When there are more than 250 octets of user data, for then LEN cannot hold it.
pub fn frame(control: u8, destination: u16, source: u16, user_data: &[u8]) -> Vec<u8> {
    let len = u8::try_from(user_data.len() + 5).expect("at most 250 octets of user data");
    let mut whole = header(len, control, destination, source);
    whole.extend(blocks(user_data));
    whole
}

/// A frame from station 1024 (the vectors' master) to station 1, as the vectors have it.
pub fn request(user_data: &[u8]) -> Vec<u8> {
    frame(control::MASTER_DATA, 1, 1024, user_data)
}

/// Octets that a frame of this LEN has on the wire; LEN 5..=255.
pub fn wire_len(len: u8) -> usize {
    let user_data = usize::from(len).saturating_sub(5);
    HEADER + user_data + 2 * user_data.div_ceil(BLOCK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vectors;

    #[test]
    fn check_value_of_the_crc() {
        assert_eq!(crc(b"123456789"), 0xEA82);
    }

    #[test]
    fn vectors_are_rebuilt_octet_by_octet() {
        assert_eq!(frame(0xC0, 1, 1024, &[]), vectors::RESET_LINK);
        assert_eq!(frame(0x00, 1024, 1, &[]), vectors::ACK);
        assert_eq!(frame(0xC9, 1, 1024, &[]), vectors::REQUEST_LINK_STATUS);
        assert_eq!(frame(0x0B, 1024, 1, &[]), vectors::LINK_STATUS);
        assert_eq!(request(&[0xC0, 0xC0, 0x0D]), vectors::COLD_RESTART);
        assert_eq!(request(&[0x80, 0xC0, 0x0D]), vectors::CONT_RESTART);
        assert_eq!(request(&[0x40, 0xC0]), vectors::SHORT_FIR_1);
        assert_eq!(request(&[0x81, 0x0D]), vectors::SHORT_FIR_2);
    }

    #[test]
    fn every_vector_has_the_length_that_its_len_says_and_right_crcs() {
        for (name, octets) in vectors::ALL {
            assert_eq!(octets.len(), wire_len(octets[2]), "{name}");
            let user_data: Vec<u8> = octets[HEADER..]
                .chunks(BLOCK + 2)
                .flat_map(|block| &block[..block.len() - 2])
                .copied()
                .collect();
            let address = |at: usize| u16::from_le_bytes([octets[at], octets[at + 1]]);
            let again = frame(octets[3], address(4), address(6), &user_data);
            assert_eq!(again, *octets, "{name}");
        }
    }

    #[test]
    fn the_longest_frame_has_292_octets() {
        assert_eq!(request(&[0; MAX_USER_DATA]).len(), 292);
        assert_eq!(wire_len(255), 292);
    }
}
