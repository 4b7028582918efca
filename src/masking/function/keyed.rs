//! A keyed hash: same value, same mask, so that masked columns still join; without the key nobody
//! can try values.

use hmac::digest::generic_array::GenericArray;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// Keeps the masks of one function apart from those of another under the same key.
const DOMAIN_HASH: &[u8] = b"pg_custodian mask.hash 1\0";

/// Bytes of a key.
pub const KEY_LENGTH: usize = 32;

/// A key, ready for use. Prints nothing.
#[derive(Clone)]
pub struct Key(Hmac<Sha256>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Key {
    pub fn new(bytes: &[u8; KEY_LENGTH]) -> Self {
        // HMAC fills a key up to the block with zeros (RFC 2104): done here, where the length is known
        let mut block = [0_u8; 64];
        block[..KEY_LENGTH].copy_from_slice(bytes);
        let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(GenericArray::from_slice(&block));
        mac.update(DOMAIN_HASH);
        Self(mac)
    }

    /// The key as it is stored, 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; KEY_LENGTH];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self::new(&bytes))
    }

    /// HMAC-SHA-256 of the value in hexadecimal digits.
    pub fn hash(&self, value: &[u8]) -> Vec<u8> {
        let mut mac = self.0.clone();
        mac.update(value);
        hex::encode(mac.finalize().into_bytes()).into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_hmac_over_domain_and_value() {
        let mut reference = <Hmac<Sha256> as Mac>::new_from_slice(&[7; 32]).unwrap();
        reference.update(b"pg_custodian mask.hash 1\0");
        reference.update(b"4711");
        let expected = hex::encode(reference.finalize().into_bytes());
        assert_eq!(Key::new(&[7; 32]).hash(b"4711"), expected.as_bytes());
        assert_eq!(Key::from_hex(&"07".repeat(32)).unwrap().hash(b"4711"), expected.as_bytes());
    }

    #[test]
    fn values_and_keys_tell_hashes_apart() {
        let key = Key::new(&[1; 32]);
        assert_eq!(key.hash(b"a"), key.hash(b"a"));
        assert_ne!(key.hash(b"a"), key.hash(b"b"));
        assert_ne!(key.hash(b"a"), Key::new(&[2; 32]).hash(b"a"));
        assert_eq!(key.hash(b"").len(), 64);
    }

    #[test]
    fn a_key_shows_itself_to_nobody_and_must_be_whole() {
        assert_eq!(format!("{:?}", Key::new(&[65; 32])), "Key");
        for broken in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(Key::from_hex(broken).is_none(), "{broken}");
        }
    }
}
