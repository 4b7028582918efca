//! Valid tokens with something changed: every change must be refused.

use super::super::algorithm::Algorithm;
use super::super::mint::Signer;
use super::{claims, issuer_of, verify};

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn every_algorithm_verifies_its_own_token() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, Some("k1"));
        let person = verify(&signer.token(&claims()), &issuer_of(&signer)).unwrap();
        assert_eq!((person.user_id.as_str(), person.groups.len()), ("u-17", 2), "{algorithm}");
    }
}

/// Each character replaced by each other one of the alphabet, and by characters outside it. The
/// last characters of the parts are where sloppy base64 lets changes through.
#[test]
fn any_changed_character_is_refused() {
    let mut tried = 0_u32;
    for algorithm in [Algorithm::EdDsa, Algorithm::Hs256] {
        let signer = Signer::new(algorithm, Some("k1"));
        let issuer = issuer_of(&signer);
        let token = signer.token(&claims()).into_bytes();
        for place in 0..token.len() {
            for replacement in BASE64URL.iter().chain(b".=+/ \n\x7f") {
                if token[place] == *replacement {
                    continue;
                }
                let mut changed = token.clone();
                changed[place] = *replacement;
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&changed, &issuer).is_err(), "{algorithm}, byte {place} -> {replacement}");
                tried += 1;
            }
        }
    }
    assert!(tried > 40_000, "{tried}");
}

/// For the slower algorithms: every bit of the character that counts, at every place.
#[test]
fn any_flipped_bit_is_refused_by_every_algorithm() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, None);
        let issuer = issuer_of(&signer);
        let token = signer.token(&claims()).into_bytes();
        for place in 0..token.len() {
            let Some(value) = BASE64URL.iter().position(|c| *c == token[place]) else { continue };
            for bit in 0..6 {
                let mut changed = token.clone();
                changed[place] = BASE64URL[value ^ (1 << bit)];
                let changed = String::from_utf8(changed).unwrap();
                assert!(verify(&changed, &issuer).is_err(), "{algorithm}, byte {place}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_truncated_or_extended_token_is_refused() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, Some("k1"));
        let issuer = issuer_of(&signer);
        let token = signer.token(&claims());
        for length in 0..token.len() {
            assert!(verify(&token[..length], &issuer).is_err(), "{algorithm}, {length} bytes");
            assert!(verify(&token[length + 1..], &issuer).is_err(), "{algorithm}, without {length} bytes");
        }
        for extra in ["A", "=", ".", " ", "\n", "AA", "AAAA", ".AAAA", "\0"] {
            assert!(verify(&format!("{token}{extra}"), &issuer).is_err(), "{algorithm}, {extra:?} behind");
            assert!(verify(&format!("{extra}{token}"), &issuer).is_err(), "{algorithm}, {extra:?} before");
        }
    }
}

#[test]
fn parts_of_two_valid_tokens_do_not_make_a_third() {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let issuer = issuer_of(&signer);
    let (one, two) = (signer.token(&claims()), signer.token(&super::claims_with("sub", "root".into())));
    let (one, two): (Vec<_>, Vec<_>) = (one.split('.').collect(), two.split('.').collect());
    assert!(verify(&[one[0], two[1], one[2]].join("."), &issuer).is_err());
    assert!(verify(&[one[0], one[1], two[2]].join("."), &issuer).is_err());
}
