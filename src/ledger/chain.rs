//! The chain: each row's hash is SHA-256 over the hash before it and the row's canonical bytes.

use super::row::Row;
use sha2::{Digest, Sha256};

/// A hash of the chain.
pub type Hash = [u8; 32];

/// What the first row's hash starts from.
pub const GENESIS: Hash = [0; 32];

/// Where the chain ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Number of the last row; 0 before the first.
    pub seq: i64,
    pub hash: Hash,
}

impl Head {
    /// The head of an empty ledger.
    pub const EMPTY: Self = Self { seq: 0, hash: GENESIS };

    /// The head after a row with these canonical bytes.
    #[must_use]
    pub fn after(self, canonical: &[u8]) -> Self {
        let mut digest = Sha256::new();
        digest.update(self.hash);
        digest.update(canonical);
        Self { seq: self.seq + 1, hash: digest.finalize().into() }
    }

    /// The head after `row`, which is stored at this time; `scratch` is reused.
    #[must_use]
    pub fn after_row(self, row: &Row, stored: i64, scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        row.put_canonical(scratch, self.seq + 1, stored);
        self.after(scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_depends_on_every_byte_and_on_the_order() {
        let ab = Head::EMPTY.after(b"a").after(b"b");
        assert_eq!(ab.seq, 2);
        assert_ne!(ab, Head::EMPTY.after(b"b").after(b"a"));
        assert_ne!(ab.hash, Head::EMPTY.after(b"ab").hash);
        assert_ne!(ab, Head::EMPTY.after(b"a").after(b"c"));
    }

    #[test]
    fn the_first_link_is_plain_sha256_after_32_zero_bytes() {
        // (head -c 32 /dev/zero; printf abc) | sha256sum
        let expected = "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370";
        assert_eq!(hex::encode(Head::EMPTY.after(b"abc").hash), expected);
    }
}
