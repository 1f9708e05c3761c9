// SPDX-License-Identifier: GPL-2.0

//! CRC-16/DNP: polynomial 0x3D65, reflected, complemented; low octet first on the wire.
//!
//! Check value of "123456789": 0xEA82.

/// The polynomial 0x3D65 with its bits in reflected order.
const POLYNOMIAL: u16 = 0xA6BC;

/// The CRC of each octet, made by the compiler.
static TABLE: [u16; 256] = {
    let mut table = [0u16; 256];
    let mut octet = 0usize;
    while octet < 256 {
        let mut crc = octet as u16;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ POLYNOMIAL
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[octet] = crc;
        octet += 1;
    }
    table
};

/// A CRC under way, so that a block may arrive in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Crc(u16);

impl Crc {
    /// The CRC of nothing.
    pub const fn new() -> Crc {
        Crc(0)
    }

    /// The CRC with `octets` behind what was there.
    #[must_use]
    pub fn over(self, octets: &[u8]) -> Crc {
        let mut crc = self.0;
        for octet in octets {
            // The mask keeps the index inside the table, which the compiler sees.
            crc = (crc >> 8) ^ TABLE[usize::from((crc ^ u16::from(*octet)) & 0xFF)];
        }
        Crc(crc)
    }

    /// The two octets that stand on the wire behind the block.
    pub const fn octets(self) -> [u8; 2] {
        (!self.0).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value() {
        assert_eq!(Crc::new().over(b"123456789").octets(), [0x82, 0xEA]);
    }

    #[test]
    fn pieces_make_the_whole() {
        let whole = Crc::new().over(b"123456789");
        for cut in 0..=9 {
            let (a, b) = b"123456789".split_at(cut);
            assert_eq!(Crc::new().over(a).over(b), whole);
        }
    }
}
