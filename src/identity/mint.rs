//! An issuer for tests: keys made on the spot, and whatever tokens a test asks of them, right or
//! wrong. Compiled into test builds only.
#![cfg_attr(not(test), allow(dead_code, reason = "the tests inside the server use a part of it"))]
#![allow(clippy::expect_used, reason = "test builds only: a key that cannot be made ends the test")]

use super::algorithm::{Algorithm, KeyKind};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512,
    RsaKeyPair, RsaPublicKeyComponents,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};

/// A key pair with the algorithm it signs with and the name it goes by.
pub struct Signer {
    algorithm: Algorithm,
    id: Option<String>,
    pair: Pair,
}

enum Pair {
    Rsa(Arc<RsaKeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Shared(Vec<u8>),
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Signer {
    /// A signer with a new key; RSA signers share one key per process, which takes long to make.
    pub fn new(algorithm: Algorithm, id: Option<&str>) -> Self {
        static RSA: OnceLock<Arc<RsaKeyPair>> = OnceLock::new();
        let pair = match algorithm.key_kind() {
            KeyKind::Rsa => Pair::Rsa(RSA.get_or_init(|| Arc::new(new_rsa())).clone()),
            KeyKind::P256 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key"))
            }
            KeyKind::P384 => {
                Pair::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("a P-384 key"))
            }
            KeyKind::Ed25519 => Pair::Ed(Ed25519KeyPair::generate().expect("an Ed25519 key")),
            KeyKind::Shared => {
                let mut secret = vec![0; 32];
                rand::fill(&mut secret).expect("random bytes");
                Pair::Shared(secret)
            }
        };
        Self { algorithm, id: id.map(str::to_owned), pair }
    }

    /// An RSA signer that does not share its key.
    pub fn another_rsa(algorithm: Algorithm, id: Option<&str>) -> Self {
        Self { algorithm, id: id.map(str::to_owned), pair: Pair::Rsa(Arc::new(new_rsa())) }
    }

    /// The same key used with another algorithm of the same kind.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The bytes an attacker would take for an HMAC secret: the public key.
    pub fn public_bytes(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Shared(secret) => secret.clone(),
        }
    }

    /// The public key as a JWK (of a shared secret: the secret).
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.pair {
            Pair::Rsa(pair) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                json!({"kty": "RSA", "n": b64(public.n), "e": b64(public.e)})
            }
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(pair) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())}),
            Pair::Shared(secret) => json!({"kty": "oct", "k": b64(secret)}),
        };
        if let Some(id) = &self.id {
            jwk["kid"] = json!(id);
        }
        jwk
    }

    pub fn jwks(&self) -> Value {
        json!({"keys": [self.jwk()]})
    }

    /// A token with these claims and the usual header.
    pub fn token(&self, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm.name(), "typ": "JWT"});
        if let Some(id) = &self.id {
            header["kid"] = json!(id);
        }
        self.token_of(&header.to_string(), &claims.to_string())
    }

    /// A token of any two texts, signed with this key whatever the header says.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign(signed.as_bytes());
        format!("{signed}.{}", b64(signature))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                match self.algorithm {
                    Algorithm::Rs384 => pair.sign(&RSA_PKCS1_SHA384, &random, message, &mut signature),
                    Algorithm::Rs512 => pair.sign(&RSA_PKCS1_SHA512, &random, message, &mut signature),
                    Algorithm::Ps256 => pair.sign(&RSA_PSS_SHA256, &random, message, &mut signature),
                    Algorithm::Ps384 => pair.sign(&RSA_PSS_SHA384, &random, message, &mut signature),
                    Algorithm::Ps512 => pair.sign(&RSA_PSS_SHA512, &random, message, &mut signature),
                    _ => pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature),
                }
                .expect("an RSA signature");
                signature
            }
            Pair::Ec(pair) => pair.sign(&random, message).expect("an ECDSA signature").as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Shared(secret) => hmac_sha256(secret, message),
        }
    }
}

pub fn hmac_sha256(secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec()
}

fn new_rsa() -> RsaKeyPair {
    RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key")
}
