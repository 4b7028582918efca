//! An issuer of signed tokens, with keys made on the spot: nothing secret is kept in the repository.
//!
//! Signs what it is told, right or wrong; the wrong ones are what `bad_input` is made of.

use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Who issues, and for whom, in these tests.
pub const ISSUER: &str = "https://id.shop.example";
pub const AUDIENCE: &str = "pg_custodian";

#[derive(Clone, Copy, Debug)]
pub enum Algorithm {
    RS256,
    ES256,
    EdDSA,
}

enum Key {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

pub struct Signer {
    key: Key,
    pub kid: String,
}

impl Signer {
    pub fn new(algorithm: Algorithm) -> Signer {
        let key = match algorithm {
            Algorithm::RS256 => Key::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
            Algorithm::ES256 => Key::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            Algorithm::EdDSA => Key::Ed25519(Ed25519KeyPair::generate().unwrap()),
        };
        Signer { key, kid: format!("key-{}", random_text(6)) }
    }

    pub fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Rsa(_) => "RS256",
            Key::Ecdsa(_) => "ES256",
            Key::Ed25519(_) => "EdDSA",
        }
    }

    /// The public half, as an issuer publishes it (RFC 7517, RFC 8037).
    pub fn jwk(&self) -> Value {
        let common =
            |kind: &str| json!({"kty": kind, "kid": self.kid, "use": "sig", "alg": self.algorithm()});
        let mut jwk;
        match &self.key {
            Key::Rsa(pair) => {
                let (modulus, exponent) = rsa_numbers(pair.public_key().as_ref());
                jwk = common("RSA");
                jwk["n"] = json!(encode(modulus));
                jwk["e"] = json!(encode(exponent));
            }
            Key::Ecdsa(pair) => {
                // An uncompressed point: 4, x, y.
                let point = pair.public_key().as_ref();
                jwk = common("EC");
                jwk["crv"] = json!("P-256");
                jwk["x"] = json!(encode(&point[1..33]));
                jwk["y"] = json!(encode(&point[33..65]));
            }
            Key::Ed25519(pair) => {
                jwk = common("OKP");
                jwk["crv"] = json!("Ed25519");
                jwk["x"] = json!(encode(pair.public_key().as_ref()));
            }
        }
        jwk
    }

    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    fn sign_bytes(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).unwrap();
                signature
            }
            Key::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Key::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims and the ordinary header.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid}), claims)
    }

    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Header and claims as they stand, valid JSON or not.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()));
        let signature = self.sign_bytes(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    /// A good token for a person.
    pub fn person(&self, user: &str, groups: &[&str]) -> String {
        self.sign(&claims(user, groups))
    }
}

/// What a good token says: valid from now for a quarter of an hour.
pub fn claims(user: &str, groups: &[&str]) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": user,
        "email": format!("{user}@shop.example"),
        "name": user,
        "groups": groups,
        "iat": now(),
        "exp": now() + 900,
        "jti": random_text(12),
    })
}

/// The same with some claims replaced; null takes a claim away.
pub fn claims_but(user: &str, groups: &[&str], changes: Value) -> Value {
    let mut claims = claims(user, groups);
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// Seconds since 1970, as tokens count.
pub fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

/// Waits until this second is over: what expires in it has expired, whoever was slow on the way.
pub fn wait_beyond(time: i64) {
    while now() <= time {
        sleep(Duration::from_millis(50));
    }
}

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Random letters and digits, for passwords and names.
pub fn random_text(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    rand::fill(&mut buffer).unwrap();
    buffer.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The two numbers of an RSAPublicKey (RFC 8017, A.1.1): SEQUENCE { INTEGER n, INTEGER e }.
fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    let (sequence, _) = der_value(der);
    let (modulus, rest) = der_value(sequence);
    let (exponent, _) = der_value(rest);
    // DER puts a zero byte before a number whose first bit is set; JWK does not.
    (modulus.strip_prefix(&[0]).unwrap_or(modulus), exponent)
}

/// The contents of the first DER value, and what comes after it.
fn der_value(der: &[u8]) -> (&[u8], &[u8]) {
    let short = usize::from(der[1]);
    let (start, length) = if short < 0x80 {
        (2, short)
    } else {
        let octets = short & 0x7f;
        let length = der[2..2 + octets].iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte));
        (2 + octets, length)
    };
    (&der[start..start + length], &der[start + length..])
}
