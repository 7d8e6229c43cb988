//! The checksum at the end of an RDB file: CRC-64 with the Jones polynomial, reflected, start 0.

/// The polynomial 0xad93d23594c935a9 with its bits reversed.
const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

/// Continues the checksum `crc` over `bytes`, eight at a time.
pub fn crc64(mut crc: u64, bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let word = crc ^ u64::from_le_bytes(*chunk);
        crc = TABLES[7][(word & 0xff) as usize]
            ^ TABLES[6][(word >> 8 & 0xff) as usize]
            ^ TABLES[5][(word >> 16 & 0xff) as usize]
            ^ TABLES[4][(word >> 24 & 0xff) as usize]
            ^ TABLES[3][(word >> 32 & 0xff) as usize]
            ^ TABLES[2][(word >> 40 & 0xff) as usize]
            ^ TABLES[1][(word >> 48 & 0xff) as usize]
            ^ TABLES[0][(word >> 56) as usize];
    }
    for &byte in rest {
        crc = TABLES[0][((crc ^ u64::from(byte)) & 0xff) as usize] ^ (crc >> 8);
    }
    crc
}

/// `TABLES[n][b]`: the checksum of byte `b` followed by `n` zero bytes.
static TABLES: [[u64; 256]; 8] = tables();

const fn tables() -> [[u64; 256]; 8] {
    let mut tables = [[0u64; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut n = 1;
    while n < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[n - 1][byte];
            tables[n][byte] = tables[0][(before & 0xff) as usize] ^ (before >> 8);
            byte += 1;
        }
        n += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        assert_eq!(crc64(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    proptest! {
        #[test]
        fn agrees_with_the_reference(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            cut in 0usize..100,
        ) {
            let reference = crc::Crc::<u64>::new(&crc::CRC_64_REDIS).checksum(&bytes);
            let (head, tail) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(crc64(crc64(0, head), tail), reference);
        }
    }
}
