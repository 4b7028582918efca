//! Key sets that must not be taken, and what is said about them.

use super::super::algorithm::{Algorithm, KeyKind};
use super::super::jwks::{JwksFault, KeySet};
use super::super::key::KeyFault;
use super::super::mint::{Signer, b64};
use serde_json::{Value, json};

fn parse(jwks: &Value) -> Result<KeySet, JwksFault> {
    KeySet::parse(jwks, &Algorithm::by_default())
}

/// What is wrong with the only key of a set.
fn fault(jwk: Value) -> KeyFault {
    match parse(&json!({"keys": [jwk]})) {
        Err(JwksFault::Key { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

/// A good key with one member set to something else.
fn changed(algorithm: Algorithm, member: &str, value: Value) -> Value {
    let mut jwk = Signer::new(algorithm, Some("k1")).jwk();
    jwk[member] = value;
    jwk
}

fn without(algorithm: Algorithm, member: &str) -> Value {
    let mut jwk = Signer::new(algorithm, Some("k1")).jwk();
    jwk.as_object_mut().unwrap().remove(member);
    jwk
}

#[test]
fn what_is_no_key_set_is_refused() {
    for wrong in
        [json!(null), json!([]), json!("x"), json!({}), json!({"keys": {}}), json!({"keys": "x"}), json!(7)]
    {
        assert_eq!(parse(&wrong).unwrap_err(), JwksFault::NotASet, "{wrong}");
    }
    assert_eq!(parse(&json!({"keys": []})).unwrap_err(), JwksFault::Empty);
    let many = vec![Signer::new(Algorithm::EdDsa, None).jwk(); 65];
    assert_eq!(parse(&json!({"keys": many})).unwrap_err(), JwksFault::TooMany(65));
}

#[test]
fn the_broken_key_is_named() {
    let good = Signer::new(Algorithm::Es256, Some("good")).jwk();
    let bad = json!({"kty": "EC", "crv": "P-256", "kid": "bad", "x": "AA"});
    let refused = parse(&json!({"keys": [good, bad]})).unwrap_err();
    assert_eq!(refused.to_string(), "key 2 (kid \"bad\") of the JWKS has no \"y\"");
    let refused = parse(&json!({"keys": [7]})).unwrap_err();
    assert_eq!(refused.to_string(), "key 1 of the JWKS is not an object");
}

#[test]
fn missing_and_malformed_members_are_refused() {
    assert_eq!(fault(json!({})), KeyFault::Missing("kty"));
    assert_eq!(fault(json!({"kty": 1})), KeyFault::Type("kty", "text"));
    assert_eq!(fault(without(Algorithm::Rs256, "n")), KeyFault::Missing("n"));
    assert_eq!(fault(without(Algorithm::Rs256, "e")), KeyFault::Missing("e"));
    assert_eq!(fault(without(Algorithm::Es256, "crv")), KeyFault::Missing("crv"));
    assert_eq!(fault(without(Algorithm::Es384, "x")), KeyFault::Missing("x"));
    assert_eq!(fault(without(Algorithm::EdDsa, "x")), KeyFault::Missing("x"));
    assert_eq!(fault(changed(Algorithm::Es256, "x", json!(7))), KeyFault::Type("x", "text"));
    assert_eq!(fault(changed(Algorithm::Es256, "x", json!("not base64!"))), KeyFault::Base64("x"));
    assert_eq!(fault(changed(Algorithm::EdDsa, "x", json!(b64([1; 31])))), KeyFault::Length("x"));
    assert_eq!(fault(changed(Algorithm::Es384, "y", json!(b64([1; 32])))), KeyFault::Length("y"));
    assert_eq!(fault(changed(Algorithm::Rs256, "n", json!(""))), KeyFault::Length("n"));
    assert_eq!(fault(changed(Algorithm::Es256, "kid", json!(7))), KeyFault::Type("kid", "text"));
    assert_eq!(fault(changed(Algorithm::Es256, "kid", json!(""))), KeyFault::Type("kid", "a name"));
    assert_eq!(fault(changed(Algorithm::Es256, "use", json!(7))), KeyFault::Type("use", "text"));
    assert_eq!(
        fault(changed(Algorithm::Es256, "key_ops", json!("verify"))),
        KeyFault::Type("key_ops", "an array of text")
    );
}

#[test]
fn a_point_off_its_curve_is_refused() {
    for algorithm in [Algorithm::Es256, Algorithm::Es384] {
        let other = Signer::new(algorithm, None).jwk()["y"].clone();
        assert_eq!(fault(changed(algorithm, "y", other)), KeyFault::Point);
    }
    let mut swapped = Signer::new(Algorithm::Es384, None).jwk();
    swapped["crv"] = json!("P-256");
    assert_eq!(fault(swapped), KeyFault::Length("x"));
}

#[test]
fn a_weak_or_broken_rsa_key_is_refused() {
    assert_eq!(fault(changed(Algorithm::Rs256, "n", json!(b64([0xff; 128])))), KeyFault::Weak(1024));
    assert_eq!(fault(changed(Algorithm::Rs256, "n", json!(b64([0x7f; 256])))), KeyFault::Weak(2047));
    // zeros in front do not make it longer
    let padded = [vec![0; 128], vec![0xff; 128]].concat();
    assert_eq!(fault(changed(Algorithm::Rs256, "n", json!(b64(padded)))), KeyFault::Weak(1024));
    assert_eq!(fault(changed(Algorithm::Rs256, "n", json!(b64([0xff; 1025])))), KeyFault::Huge(8200));
    for e in [vec![1], vec![0], vec![2], vec![1, 0, 0], vec![0xff; 9]] {
        assert_eq!(fault(changed(Algorithm::Rs256, "e", json!(b64(e)))), KeyFault::Exponent);
    }
}

#[test]
fn a_modulus_with_a_zero_in_front_still_verifies() {
    let signer = Signer::new(Algorithm::Rs256, Some("k1"));
    let n = super::super::mint::b64([vec![0], base64_decode(signer.jwk()["n"].as_str().unwrap())].concat());
    let mut jwk = signer.jwk();
    jwk["n"] = json!(n);
    let issuer = super::terms().with_keys(&json!({"keys": [jwk]})).unwrap();
    assert!(super::verify(&signer.token(&super::claims()), &issuer).is_ok());
}

fn base64_decode(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn a_private_key_is_refused_and_called_compromised() {
    for (algorithm, member) in [
        (Algorithm::Rs256, "d"),
        (Algorithm::Rs256, "p"),
        (Algorithm::Rs256, "qi"),
        (Algorithm::Rs256, "oth"),
        (Algorithm::Es256, "d"),
        (Algorithm::EdDsa, "d"),
    ] {
        let found = fault(changed(algorithm, member, json!("AQAB")));
        assert!(matches!(found, KeyFault::Private(name) if name == member));
        assert!(found.hint().contains("compromised"));
    }
    // also when the key would have been passed over
    let mut encryption = changed(Algorithm::Rs256, "d", json!("AQAB"));
    encryption["use"] = json!("enc");
    assert!(matches!(fault(encryption), KeyFault::Private("d")));
}

#[test]
fn a_shared_secret_needs_hs256_by_name_and_length() {
    let shared = Signer::new(Algorithm::Hs256, Some("s"));
    assert_eq!(fault(shared.jwk()), KeyFault::SharedSecret);
    let set = KeySet::parse(&shared.jwks(), &[Algorithm::Hs256]).unwrap();
    assert_eq!(set.choose(None, Algorithm::Hs256).unwrap().kind(), KeyKind::Shared);
    let short = json!({"keys": [{"kty": "oct", "k": b64([7; 31])}]});
    assert!(matches!(
        KeySet::parse(&short, &[Algorithm::Hs256]),
        Err(JwksFault::Key { fault: KeyFault::ShortSecret(31), .. })
    ));
}

#[test]
fn two_keys_of_one_name_are_refused() {
    let (one, two) = (Signer::new(Algorithm::Es256, Some("k1")), Signer::new(Algorithm::EdDsa, Some("k1")));
    let refused = parse(&json!({"keys": [one.jwk(), two.jwk()]})).unwrap_err();
    assert_eq!(refused, JwksFault::DuplicateId("k1".into()));
}

#[test]
fn a_key_that_contradicts_itself_is_refused() {
    let found = fault(changed(Algorithm::Es256, "alg", json!("RS256")));
    assert_eq!(found, KeyFault::AlgorithmUnfit(Algorithm::Rs256));
}

/// Providers publish encryption keys and new kinds of keys beside the ones that sign.
#[test]
fn keys_that_are_not_for_us_verify_nothing_and_do_no_harm() {
    let good = Signer::new(Algorithm::Es256, Some("good"));
    let others = [
        changed(Algorithm::Rs256, "use", json!("enc")),
        changed(Algorithm::Rs256, "alg", json!("RSA-OAEP")),
        changed(Algorithm::Rs256, "key_ops", json!(["encrypt", "wrapKey"])),
        changed(Algorithm::EdDsa, "crv", json!("X25519")),
        changed(Algorithm::Es256, "crv", json!("P-521")),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "kid": "k1"}),
    ];
    for other in others {
        let set = parse(&json!({"keys": [good.jwk(), other.clone()]})).unwrap();
        assert_eq!((set.count(), set.set_aside().len()), (1, 1), "{other}");
        assert_eq!(set.ids().collect::<Vec<_>>(), ["good"]);
        // and a set with nothing else is refused, saying why
        let refused = parse(&json!({"keys": [other]})).unwrap_err();
        assert!(matches!(refused, JwksFault::NothingUsable(_)));
        assert!(refused.detail().unwrap().contains("key 1 (kid \"k1\") "));
    }
}

#[test]
fn a_key_for_none_of_the_allowed_algorithms_is_set_aside() {
    let (ec, rsa) = (Signer::new(Algorithm::Es256, Some("ec")), Signer::new(Algorithm::Rs256, Some("rsa")));
    let both = json!({"keys": [ec.jwk(), rsa.jwk()]});
    let set = KeySet::parse(&both, &[Algorithm::Es256]).unwrap();
    assert_eq!(set.count(), 1);
    assert_eq!(set.choose(None, Algorithm::Es256).unwrap().kind(), KeyKind::P256);
}
