//! Valid tokens with something changed: every change must be refused. What was tried is counted
//! and printed.

use super::super::algorithm::{Algorithm, KeyKind};
use super::super::issuer::Issuer;
use super::super::mint::{Signer, b64};
use super::super::used_tokens;
use super::{ISSUER, claims, issuer_of, terms, verify};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::thread;

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Presents changed tokens and counts them.
struct Tried<'a> {
    issuer: &'a Issuer,
    valid: &'a str,
    count: u64,
}

impl Tried<'_> {
    #[track_caller]
    fn refused(&mut self, changed: &str, what: impl FnOnce() -> String) {
        assert_ne!(changed, self.valid, "nothing was changed");
        assert!(verify(changed, self.issuer).is_err(), "{}", what());
        self.count += 1;
    }
}

/// Runs `change` for a token of each algorithm, two at a time; gives how many tokens it tried.
fn for_every_algorithm(change: impl Fn(&mut Tried<'_>, Algorithm) + Sync) -> u64 {
    let (change, algorithms) = (&change, Algorithm::ALL);
    let run = move |algorithm| {
        let signer = Signer::new(algorithm, Some("k1"));
        let (issuer, valid) = (issuer_of(&signer), signer.token(&claims()));
        verify(&valid, &issuer).unwrap();
        let mut tried = Tried { issuer: &issuer, valid: &valid, count: 0 };
        change(&mut tried, algorithm);
        tried.count
    };
    thread::scope(|scope| {
        let halves: Vec<_> = algorithms
            .chunks(algorithms.len().div_ceil(2))
            .map(|half| scope.spawn(move || half.iter().map(|algorithm| run(*algorithm)).sum::<u64>()))
            .collect();
        halves.into_iter().map(|half| half.join().unwrap()).sum()
    })
}

#[test]
fn every_algorithm_verifies_its_own_token() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, Some("k1"));
        let person = verify(&signer.token(&claims()), &issuer_of(&signer)).unwrap();
        assert_eq!((person.user_id.as_str(), person.groups.len()), ("u-17", 2), "{algorithm}");
    }
}

/// Each byte of a token of each algorithm: every one of its bits that counts, and characters from
/// outside the alphabet. The last characters of the parts are where sloppy base64 lets changes through.
#[test]
fn any_changed_byte_is_refused_for_every_algorithm() {
    let tried = for_every_algorithm(|tried, algorithm| {
        let valid = tried.valid.as_bytes().to_vec();
        for place in 0..valid.len() {
            let value = BASE64URL.iter().position(|c| *c == valid[place]);
            let flipped =
                value.into_iter().flat_map(|value| (0..6).map(move |bit| BASE64URL[value ^ 1 << bit]));
            let strange =
                [b'.', b'=', b'+', b'/', b' ', b'\n', 0, 0x7f, valid[place] ^ 0x20, valid[place] ^ 1];
            for replacement in flipped.chain(strange) {
                if replacement != valid[place] {
                    let mut changed = valid.clone();
                    changed[place] = replacement;
                    let changed = String::from_utf8(changed).unwrap();
                    tried.refused(&changed, || format!("{algorithm}, byte {place} -> {replacement}"));
                }
            }
            let longer = format!("{}é{}", &tried.valid[..place], &tried.valid[place + 1..]);
            tried.refused(&longer, || format!("{algorithm}, byte {place} -> é"));
        }
    });
    println!("changed bytes: {tried} tokens tried, all refused");
    assert!(tried > 60_000, "{tried}");
}

/// Each byte replaced by every other character of the alphabet, for the two quick algorithms.
#[test]
fn any_other_character_is_refused() {
    let mut count = 0;
    for algorithm in [Algorithm::EdDsa, Algorithm::Hs256] {
        let signer = Signer::new(algorithm, Some("k1"));
        let (issuer, valid) = (issuer_of(&signer), signer.token(&claims()));
        let mut tried = Tried { issuer: &issuer, valid: &valid, count: 0 };
        for place in 0..valid.len() {
            for replacement in BASE64URL {
                if valid.as_bytes()[place] != *replacement {
                    let mut changed = valid.clone().into_bytes();
                    changed[place] = *replacement;
                    let changed = String::from_utf8(changed).unwrap();
                    tried.refused(&changed, || format!("{algorithm}, byte {place} -> {replacement}"));
                }
            }
        }
        count += tried.count;
    }
    println!("other characters: {count} tokens tried, all refused");
    assert!(count > 40_000, "{count}");
}

#[test]
fn truncated_extended_and_rearranged_tokens_are_refused_for_every_algorithm() {
    let tried = for_every_algorithm(|tried, algorithm| {
        let valid = tried.valid.to_owned();
        for place in 0..valid.len() {
            let (before, after) = valid.split_at(place);
            tried.refused(before, || format!("{algorithm}, cut at {place}"));
            tried.refused(&after[1..], || format!("{algorithm}, without {place} and all before"));
            tried.refused(&format!("{before}{}", &after[1..]), || format!("{algorithm}, without {place}"));
            for inserted in ["A", "_", ".", " ", "=", "AAAA", &after[..1]] {
                let changed = format!("{before}{inserted}{after}");
                tried.refused(&changed, || format!("{algorithm}, {inserted:?} at {place}"));
            }
            let mut swapped = valid.clone().into_bytes();
            swapped.swap(place, (place + 1) % valid.len());
            let swapped = String::from_utf8(swapped).unwrap();
            if swapped != valid {
                tried.refused(&swapped, || format!("{algorithm}, {place} and the next exchanged"));
            }
        }
        for extra in ["A", "=", ".", " ", "\n", "AA", "AAAA", ".AAAA", "\0"] {
            tried.refused(&format!("{valid}{extra}"), || format!("{algorithm}, {extra:?} behind"));
        }
        let parts: Vec<_> = valid.split('.').collect();
        for one in 0..3 {
            for two in 0..3 {
                for three in 0..3 {
                    if (one, two, three) != (0, 1, 2) {
                        let changed = [parts[one], parts[two], parts[three]].join(".");
                        tried.refused(&changed, || format!("{algorithm}, parts {one} {two} {three}"));
                    }
                }
            }
        }
    });
    println!("cut, longer and rearranged: {tried} tokens tried, all refused");
    assert!(tried > 40_000, "{tried}");
}

#[test]
fn parts_of_two_valid_tokens_do_not_make_a_third() {
    for algorithm in Algorithm::ALL {
        let signer = Signer::new(algorithm, Some("k1"));
        let issuer = issuer_of(&signer);
        let (one, two) = (signer.token(&claims()), signer.token(&super::claims_with("sub", "root".into())));
        let (one, two): (Vec<_>, Vec<_>) = (one.split('.').collect(), two.split('.').collect());
        for (payload, signature) in [(one[1], two[2]), (two[1], one[2])] {
            assert!(verify(&[one[0], payload, signature].join("."), &issuer).is_err(), "{algorithm}");
        }
    }
}

/// Of an ECDSA signature (r, s) everybody can make a second one, (r, n - s). It is over the same
/// words, so it names the same person; and what is used once must not be used again under it.
#[test]
fn the_twin_of_an_es256_signature_is_the_same_token() {
    // order of P-256 (SP 800-186 section 3.2.1.3)
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order = hex::decode(order).unwrap();
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    assert_eq!(signer.algorithm().key_kind(), KeyKind::P256);
    let issuer = terms().with_keys(&signer.jwks()).unwrap();
    let token = signer.token(&claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (place, of_order) in (32..64).zip(order).rev() {
        let difference = i16::from(of_order) - i16::from(signature[place]) - borrow;
        borrow = i16::from(difference < 0);
        signature[place] = difference.rem_euclid(256) as u8;
    }
    let twin = format!("{signed}.{}", b64(&signature));
    assert_ne!(twin, token);
    assert_eq!(verify(&twin, &issuer), verify(&token, &issuer));
    let key =
        |text: &str| used_tokens::key(ISSUER, super::super::token::Token::parse(text).unwrap().signed());
    assert_eq!(key(&twin), key(&token));
}
