//! Tests of the part of identity that knows no server: tokens, keys, claims.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod attacks;
mod claims;
mod jwks;
mod mutations;
mod used_tokens;
mod vectors;

use super::algorithm::Algorithm;
use super::issuer::{Issuer, Terms};
use super::mint::Signer;
use super::person::Person;
use super::refusal::Refusal;
use super::token::Token;
use serde_json::{Value, json};

const ISSUER: &str = "https://login.example.com/";
const AUDIENCE: &str = "payments-db";
/// Seconds since 1970, 2026-03-02 09:00 UTC.
const NOW: i64 = 1_772_442_000;

fn terms() -> Terms {
    Terms {
        issuer: ISSUER.into(),
        audience: vec![AUDIENCE.into()],
        algorithms: Algorithm::by_default(),
        user_claim: "sub".into(),
        email_claim: Some("email".into()),
        groups_claim: Some("groups".into()),
        leeway: 30_000_000,
        max_lifetime: 12 * 3_600_000_000,
        single_use: false,
    }
}

/// An issuer registered with exactly this signer's key.
fn issuer_of(signer: &Signer) -> Issuer {
    let mut terms = terms();
    if signer.algorithm() == Algorithm::Hs256 {
        terms.algorithms = vec![Algorithm::Hs256];
    }
    terms.with_keys(&signer.jwks()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "u-17", "email": "ada@example.com", "name": "Ada Okafor",
        "groups": ["support", "oncall"], "jti": "t-1", "iat": NOW - 60, "exp": NOW + 3600
    })
}

/// The claims with one of them set to something else.
fn claims_with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn claims_without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

/// What the server does with a token, without the server.
fn verify(token: &str, issuer: &Issuer) -> Result<Person, Refusal> {
    let token = Token::parse(token)?;
    token.verify(&issuer.keys, &issuer.terms.algorithms)?;
    super::claims::person(token.payload(), &issuer.terms, NOW * 1_000_000)
}
