//! The examples printed in the RFCs. They prove that what verifies here is what the world signs.

use super::super::algorithm::Algorithm;
use super::super::jwks::KeySet;
use super::super::mint::b64;
use super::super::refusal::Refusal;
use super::super::token::Token;
use serde_json::{Value, json};

/// RFC 7515 appendix A.1 to A.5 sign these bytes: `{"iss":"joe",\r\n "exp":1300819380, ...}`.
const PAYLOAD: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

fn set(jwk: Value, algorithm: Algorithm) -> KeySet {
    KeySet::parse(&json!({"keys": [jwk]}), &[algorithm]).unwrap()
}

fn check(header: &str, signature: &str, jwk: Value, algorithm: Algorithm) {
    let text = format!("{header}.{PAYLOAD}.{signature}");
    let verified = Token::parse(&text).unwrap().verify(&set(jwk, algorithm), &[algorithm]).unwrap();
    assert_eq!(verified.algorithm, algorithm);
}

#[test]
fn rfc_7515_a_1_hs256_verifies() {
    let jwk = json!({"kty": "oct",
        "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"});
    // the example's header has a line break in it: {"typ":"JWT",\r\n "alg":"HS256"}
    check(
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        jwk,
        Algorithm::Hs256,
    );
}

#[test]
fn rfc_7515_a_2_rs256_verifies() {
    let jwk = json!({"kty": "RSA", "e": "AQAB", "n": concat!(
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SF",
        "d2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo",
        "7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkM",
        "Ls91kzk2PAcDTW9gb54h4FRWyuXpoQ")});
    let signature = concat!(
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdb",
        "F9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383",
        "LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWy",
        "wlVmtVrBp0igcN_IoypGlUPQGe77Rw"
    );
    check("eyJhbGciOiJSUzI1NiJ9", signature, jwk, Algorithm::Rs256);
}

#[test]
fn rfc_7515_a_3_es256_verifies() {
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    check("eyJhbGciOiJFUzI1NiJ9", signature, jwk, Algorithm::Es256);
}

/// A right signature, but P-521 is not among the curves allowed.
#[test]
fn rfc_7515_a_4_es512_is_refused() {
    let text = format!("eyJhbGciOiJFUzUxMiJ9.{PAYLOAD}.{}", b64([1; 132]));
    let keys = set(json!({"kty": "oct", "k": b64([7; 32])}), Algorithm::Hs256);
    assert_eq!(Token::parse(&text).unwrap().verify(&keys, &Algorithm::ALL), Err(Refusal::AlgorithmUnknown));
}

#[test]
fn rfc_7515_a_5_unsecured_is_refused() {
    let text = format!("eyJhbGciOiJub25lIn0.{PAYLOAD}.");
    let keys = set(json!({"kty": "oct", "k": b64([7; 32])}), Algorithm::Hs256);
    assert_eq!(Token::parse(&text).unwrap().verify(&keys, &Algorithm::ALL), Err(Refusal::Unsigned));
}

/// The signed text of this example is no JSON, so it is checked below the level of tokens.
#[test]
fn rfc_8037_a_5_ed25519_verifies() {
    let keys = set(
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}),
        Algorithm::EdDsa,
    );
    let key = keys.choose(None, Algorithm::EdDsa).unwrap();
    let signed = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    let signature = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    assert!(key.verifies(Algorithm::EdDsa, signed, signature));
    assert!(!key.verifies(Algorithm::EdDsa, &signed[1..], signature));
}

#[test]
fn rfc_7520_4_2_ps384_verifies() {
    let keys = set(
        json!({"kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB", "n": concat!(
            "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKr",
            "Kb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5l",
            "FHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__",
            "kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw")}),
        Algorithm::Ps384,
    );
    let signed = concat!(
        "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNz",
        "LCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIg",
        "ZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4"
    );
    let signature = concat!(
        "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OL",
        "PpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shn",
        "r2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6",
        "oD4ifKo8DYM-X72Eaw"
    );
    let key = keys.choose(Some("bilbo.baggins@hobbiton.example"), Algorithm::Ps384).unwrap();
    assert!(key.verifies(Algorithm::Ps384, signed.as_bytes(), signature));
}

const HOBBITON: &str = concat!(
    "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwg",
    "YW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9m",
    "ZiB0by4"
);

/// The payload of RFC 7520 section 4 is a sentence, so these are checked below the level of tokens.
fn check_hobbiton(header: &str, signature: &str, jwk: Value, algorithm: Algorithm) {
    let keys = set(jwk.clone(), algorithm);
    let key = keys.choose(jwk["kid"].as_str(), algorithm).unwrap();
    let signed = format!("{header}.{HOBBITON}");
    assert!(key.verifies(algorithm, signed.as_bytes(), signature));
    assert!(!key.verifies(algorithm, &signed.as_bytes()[1..], signature));
}

#[test]
fn rfc_7520_4_1_rs256_verifies() {
    let jwk = json!({"kty": "RSA", "kid": "bilbo.baggins@hobbiton.example", "use": "sig", "e": "AQAB", "n": concat!(
        "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKr",
        "Kb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5l",
        "FHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__",
        "kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw")});
    let signature = concat!(
        "MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB",
        "-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxn",
        "t8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcI",
        "e8u9ipH84ogoree7vjbU5y18kDquDg"
    );
    let header = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9";
    check_hobbiton(header, signature, jwk, Algorithm::Rs256);
}

#[test]
fn rfc_7520_4_4_hs256_verifies() {
    let jwk = json!({"kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig", "alg": "HS256",
        "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"});
    let header = "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9";
    check_hobbiton(header, "s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0", jwk, Algorithm::Hs256);
}

/// The other serialization of a JWS (RFC 7515 section 7.2) is none of a token: RFC 7519 section 1.
#[test]
fn rfc_7515_a_7_json_serialization_is_refused() {
    let text = format!(
        r#"{{"payload":"{PAYLOAD}","protected":"eyJhbGciOiJFUzI1NiJ9","header":{{"kid":"e9bc097a-ce51-4036-9562-d2ade882db0d"}},"signature":"DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"}}"#
    );
    assert_eq!(Token::parse(&text).err(), Some(Refusal::Shape));
}

/// Its critical extension must not be understood, and it is not signed either.
#[test]
fn rfc_7515_appendix_e_is_refused() {
    let header = "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0";
    let keys = set(json!({"kty": "oct", "k": b64([7; 32])}), Algorithm::Hs256);
    // the example's payload is the word FAIL
    assert!(matches!(Token::parse(&format!("{header}.RkFJTA.")).err(), Some(Refusal::Json(..))));
    let with_claims = format!("{header}.{PAYLOAD}.");
    assert_eq!(Token::parse(&with_claims).unwrap().verify(&keys, &Algorithm::ALL), Err(Refusal::Critical));
}

/// RFC 7517 appendix A.1: a key for encryption beside one for signatures.
#[test]
fn rfc_7517_a_1_the_key_for_signatures_is_taken() {
    let jwks = json!({"keys": [
        {"kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
         "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "enc", "kid": "1"},
        {"kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29", "n": concat!(
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiF",
            "V4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9",
            "c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1",
            "jF44-csFCur-kEgU8awapJzKnqDKgw")}]});
    let set = KeySet::parse(&jwks, &Algorithm::by_default()).unwrap();
    assert_eq!((set.ids().collect::<Vec<_>>(), set.set_aside().len()), (vec!["2011-04-29"], 1));
    // and its "alg" holds it to that
    assert!(set.choose(Some("2011-04-29"), Algorithm::Rs256).is_ok());
    assert_eq!(
        set.choose(Some("2011-04-29"), Algorithm::Ps256).err(),
        Some(Refusal::KeyUnfit(Algorithm::Ps256))
    );
}

/// RFC 8037 appendix A.1 is a private key, A.2 its public half.
#[test]
fn rfc_8037_a_1_a_private_key_is_refused_and_a_2_its_public_half_taken() {
    let mut jwk = json!({"kty": "OKP", "crv": "Ed25519", "d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
        "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let parse = |jwk: &Value| KeySet::parse(&json!({"keys": [jwk]}), &[Algorithm::EdDsa]);
    assert!(parse(&jwk).unwrap_err().to_string().contains("private key"));
    jwk.as_object_mut().unwrap().remove("d");
    assert_eq!(parse(&jwk).unwrap().count(), 1);
}

/// RFC 8037 appendix A.6 agrees on keys, which is not what tokens are signed with.
#[test]
fn rfc_8037_a_6_x25519_is_set_aside() {
    let jwk = json!({"kty": "OKP", "crv": "X25519", "kid": "Bob", "x": "3p7bfXt9wbTTW2HC7OQ1Nz-DQ8hbeGdNrfx-FG-IK08"});
    assert!(KeySet::parse(&json!({"keys": [jwk]}), &Algorithm::by_default()).is_err());
}
