//! What needs the key: hashes, tokens and noise. Same value, same mask, so that masked columns still join;
//! without the key nobody can try values.

use hmac::digest::generic_array::GenericArray;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

// These keep the masks of one function apart from those of another under the same key.
const DOMAIN_HASH: &[u8] = b"pg_custodian mask.hash 1\0";
const DOMAIN_TOKEN: &[u8] = b"pg_custodian mask.token 1\0";
const DOMAIN_UUID: &[u8] = b"pg_custodian mask.token uuid 1\0";
const DOMAIN_NUMBER: &[u8] = b"pg_custodian mask.token number 1\0";
const DOMAIN_NOISE: &[u8] = b"pg_custodian mask.noise 1\0";

/// Bytes of a key.
pub const KEY_LENGTH: usize = 32;

/// Of a token's 256 bits these many bytes are shown: 2^64 values before two of them are likely to meet.
const TOKEN_BYTES: usize = 16;

/// Rounds of the permutation of numbers, as in FF1 (NIST SP 800-38G).
const ROUNDS: u8 = 10;

/// A key, ready for use. Prints nothing.
#[derive(Clone)]
pub struct Key {
    hash: Hmac<Sha256>,
    token: Hmac<Sha256>,
    uuid: Hmac<Sha256>,
    noise: Hmac<Sha256>,
    /// A key of its own as the first block of SHA-256, for inputs of one length.
    number: Sha256,
}

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
        let mac = |domain: &[u8]| {
            let mut mac = <Hmac<Sha256> as hmac::digest::KeyInit>::new(GenericArray::from_slice(&block));
            mac.update(domain);
            mac
        };
        let mut first = [0_u8; 64];
        first[..32].copy_from_slice(&mac(DOMAIN_NUMBER).finalize().into_bytes());
        let number = Sha256::new_with_prefix(first);
        Self {
            hash: mac(DOMAIN_HASH),
            token: mac(DOMAIN_TOKEN),
            uuid: mac(DOMAIN_UUID),
            noise: mac(DOMAIN_NOISE),
            number,
        }
    }

    /// The key as it is stored, 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0_u8; KEY_LENGTH];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        Some(Self::new(&bytes))
    }

    /// HMAC-SHA-256 of the value.
    pub fn digest(&self, value: &[u8]) -> [u8; 32] {
        of(&self.hash, value)
    }

    /// HMAC-SHA-256 of the value in hexadecimal digits.
    pub fn hash(&self, value: &[u8]) -> Vec<u8> {
        hex::encode(self.digest(value)).into_bytes()
    }

    /// `tok_` and 32 hexadecimal digits.
    pub fn token(&self, value: &[u8]) -> Vec<u8> {
        let mut out = [0_u8; 4 + 2 * TOKEN_BYTES];
        out[..4].copy_from_slice(b"tok_");
        // the length fits: never an error
        let _ = hex::encode_to_slice(&of(&self.token, value)[..TOKEN_BYTES], &mut out[4..]);
        out.to_vec()
    }

    /// A UUID in place of another one, of version 8 (RFC 9562).
    pub fn token_of_uuid(&self, value: &[u8; 16]) -> [u8; 16] {
        let mut out = [0_u8; 16];
        out.copy_from_slice(&of(&self.uuid, value)[..16]);
        out[6] = out[6] & 0x0f | 0x80;
        out[8] = out[8] & 0x3f | 0x80;
        out
    }

    /// A number in place of another one: no two have the same, and one that fits an integer has one that
    /// fits it, so that integer and bigint columns join. The sign remains.
    pub fn token_of_number(&self, value: i64) -> i64 {
        let magnitude = if value < 0 { !value } else { value } as u64;
        let (bits, low) = if magnitude < 1 << 31 { (16, 0) } else { (32, 1 << 31) };
        let high = if bits == 16 { 1_u64 << 31 } else { 1 << 63 };
        let mut token = magnitude;
        // around the cycle until it is back in the range: every second step, and it began there
        loop {
            token = self.permuted(token, bits, value < 0);
            if (low..high).contains(&token) {
                break;
            }
        }
        if value < 0 { !(token as i64) } else { token as i64 }
    }

    /// A Feistel network over two halves of so many bits.
    fn permuted(&self, value: u64, bits: u32, negative: bool) -> u64 {
        let half = (1_u64 << bits) - 1;
        let (mut left, mut right) = (value >> bits, value & half);
        for round in 0..ROUNDS {
            let mut input = [round, bits as u8, negative.into(), 0, 0, 0, 0, 0, 0, 0, 0, 0];
            input[4..].copy_from_slice(&right.to_le_bytes());
            let hashed = self.number.clone().chain_update(input).finalize();
            let mut first = [0_u8; 8];
            first.copy_from_slice(&hashed[..8]);
            (left, right) = (right, (left ^ u64::from_le_bytes(first)) & half);
        }
        (left << bits) | right
    }

    /// What the noise of a value is made of: random, and the same for the same kind, amount and value. Other
    /// amounts draw anew: of two noises in proportion the value could be computed.
    pub fn draw(&self, kind: u8, amount: &[u8], value: &[u8]) -> u64 {
        let mut mac = self.noise.clone();
        mac.update(&[kind]);
        mac.update(&(amount.len() as u64).to_le_bytes());
        mac.update(amount);
        mac.update(value);
        let mut first = [0_u8; 8];
        first.copy_from_slice(&mac.finalize().into_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

fn of(mac: &Hmac<Sha256>, value: &[u8]) -> [u8; 32] {
    let mut mac = mac.clone();
    mac.update(value);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::function::samples::Samples;
    use std::collections::HashSet;

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
    fn the_token_is_the_beginning_of_another_hmac() {
        let mut reference = <Hmac<Sha256> as Mac>::new_from_slice(&[7; 32]).unwrap();
        reference.update(b"pg_custodian mask.token 1\0");
        reference.update(b"4711");
        let expected = format!("tok_{}", &hex::encode(reference.finalize().into_bytes())[..32]);
        assert_eq!(Key::new(&[7; 32]).token(b"4711"), expected.as_bytes());
    }

    #[test]
    fn values_and_keys_tell_hashes_apart() {
        let (key, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        assert_eq!(key.hash(b"a"), key.hash(b"a"));
        assert_ne!(key.hash(b"a"), key.hash(b"b"));
        assert_ne!(key.hash(b"a"), other.hash(b"a"));
        assert_eq!(key.hash(b"").len(), 64);
        assert_ne!(key.token(b"a"), other.token(b"a"));
        assert_ne!(key.token_of_uuid(&[3; 16]), other.token_of_uuid(&[3; 16]));
        assert_ne!(key.token_of_number(4711), other.token_of_number(4711));
        assert_ne!(key.draw(b'i', b"1", b"5"), other.draw(b'i', b"1", b"5"));
        assert_ne!(key.draw(b'i', b"1", b"5"), key.draw(b'i', b"2", b"5"));
        assert_ne!(key.draw(b'i', b"1", b"23"), key.draw(b'i', b"12", b"3"));
    }

    #[test]
    fn tokens_of_numbers_are_numbers_of_the_same_range_and_never_meet() {
        let key = Key::new(&[9; 32]);
        let mut seen = HashSet::new();
        for value in -3_000..3_000_i64 {
            for value in [value, value + (1 << 31), value.wrapping_shl(40), i64::MAX - value.abs()] {
                let token = key.token_of_number(value);
                assert_eq!(i32::try_from(token).is_ok(), i32::try_from(value).is_ok(), "{value} {token}");
                assert_eq!(token < 0, value < 0, "{value} {token}");
                seen.insert((value, token));
            }
        }
        let values: HashSet<i64> = seen.iter().map(|(value, _)| *value).collect();
        let tokens: HashSet<i64> = seen.iter().map(|(_, token)| *token).collect();
        assert_eq!(values.len(), tokens.len());
        for edge in [0, -1, i64::MAX, i64::MIN, i64::from(i32::MAX), i64::from(i32::MIN)] {
            let token = key.token_of_number(edge);
            assert_eq!(i32::try_from(token).is_ok(), i32::try_from(edge).is_ok(), "{edge} {token}");
        }
    }

    #[test]
    fn tokens_of_uuids_are_uuids() {
        let (key, mut samples) = (Key::new(&[9; 32]), Samples::new());
        for _ in 0..1_000 {
            let mut value = [0; 16];
            value[..8].copy_from_slice(&samples.number().to_le_bytes());
            let token = key.token_of_uuid(&value);
            assert_eq!((token[6] >> 4, token[8] >> 6), (8, 2));
            assert_eq!(token, key.token_of_uuid(&value));
        }
    }

    #[test]
    fn a_key_shows_itself_to_nobody_and_must_be_whole() {
        assert_eq!(format!("{:?}", Key::new(&[65; 32])), "Key");
        for broken in ["", "00", &"0".repeat(63), &"g".repeat(64), &"0".repeat(66)] {
            assert!(Key::from_hex(broken).is_none(), "{broken}");
        }
    }
}
