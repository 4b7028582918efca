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
