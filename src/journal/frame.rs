//! A frame: one eight-byte word, then the payload, padded to eight bytes.
//!
//! The word is written last, with release order, and is what makes the frame exist. Its lower half
//! is the length of the whole frame in bytes, its upper half a CRC-32C that starts from a secret
//! of the epoch and from the frame's position. So neither text that somebody puts into a query nor
//! an old frame copied elsewhere passes for a frame.

use super::Position;

/// Bytes of the word in front of the payload.
pub const WORD: usize = 8;
/// Frames begin at multiples of this.
pub const ALIGN: usize = 8;
/// Largest payload; longer texts are cut before they come here.
pub const MAX_PAYLOAD: usize = 4 << 20;

/// Set in the length of a frame that only fills the rest of a segment.
const PADDING: u32 = 0x8000_0000;

/// What a word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// Nothing was committed here (yet).
    Empty,
    /// A frame of so many bytes, with this checksum over its payload.
    Frame { length: usize, checksum: u32 },
    /// The rest of the segment, so many bytes, is unused.
    Padding { length: usize, checksum: u32 },
}

/// Bytes that a payload takes in the journal.
pub const fn footprint(payload: usize) -> usize {
    (WORD + payload).next_multiple_of(ALIGN)
}

/// The checksum of `payload` at `position` under the epoch's secret `key`: the CRC goes on from a seed that each bit
/// of key, position and length changes (the finalizer of splitmix64), in one pass over the payload.
pub fn checksum(key: u64, position: Position, length: u32, payload: &[u8]) -> u32 {
    let mut seed = key ^ position ^ (u64::from(length) << 32 | u64::from(length));
    seed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ seed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^= seed >> 31;
    crc32c::crc32c_append(seed as u32, payload)
}

/// The word that commits `payload` at `position`.
pub fn seal(key: u64, position: Position, payload: &[u8]) -> u64 {
    // The stored length is the payload's, so that padding bytes need no cleaning.
    let length = (WORD + payload.len()) as u32;
    u64::from(length) | u64::from(checksum(key, position, length, payload)) << 32
}

/// The word that declares `length` bytes from `position` unused.
pub fn seal_padding(key: u64, position: Position, length: usize) -> u64 {
    let length = length as u32 | PADDING;
    u64::from(length) | u64::from(checksum(key, position, length, &[])) << 32
}

/// Splits a word into its parts, without believing them.
pub fn open(word: u64) -> Word {
    let (low, checksum) = (word as u32, (word >> 32) as u32);
    if word == 0 {
        Word::Empty
    } else if low & PADDING != 0 {
        Word::Padding { length: (low & !PADDING) as usize, checksum }
    } else {
        Word::Frame { length: low as usize, checksum }
    }
}

/// Whether the padding of `length` bytes at `position` was sealed with `key`.
pub fn is_padding(key: u64, position: Position, length: usize, sum: u32) -> bool {
    checksum(key, position, length as u32 | PADDING, &[]) == sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_payload_opens_again_and_only_at_its_place_with_its_key() {
        let payload = b"select 1";
        let word = seal(7, 4096, payload);
        let Word::Frame { length, checksum: sum } = open(word) else { panic!("not a frame") };
        assert_eq!(length, WORD + payload.len());
        assert_eq!(checksum(7, 4096, length as u32, payload), sum);
        assert_ne!(checksum(8, 4096, length as u32, payload), sum);
        assert_ne!(checksum(7 | 1 << 40, 4096, length as u32, payload), sum);
        assert_ne!(checksum(7, 4104, length as u32, payload), sum);
        assert_ne!(checksum(7, 4096, length as u32, b"select 2"), sum);
    }

    #[test]
    fn padding_is_bound_to_key_place_and_length() {
        let Word::Padding { length, checksum: sum } = open(seal_padding(3, 64, 128)) else {
            panic!("not padding")
        };
        assert_eq!(length, 128);
        assert!(is_padding(3, 64, 128, sum));
        assert!(!is_padding(4, 64, 128, sum) && !is_padding(3, 72, 128, sum) && !is_padding(3, 64, 136, sum));
    }

    #[test]
    fn footprints_are_aligned() {
        assert_eq!((footprint(0), footprint(1), footprint(8), footprint(9)), (8, 16, 16, 24));
    }
}
