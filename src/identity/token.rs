//! A signed token, taken apart and its signature verified (RFC 7515 compact serialization,
//! RFC 7519, with the precautions of RFC 8725).
//!
//! Promises: nothing is parsed that is longer than [`MAX_BYTES`]; only the three-part form with
//! canonical base64url is read, so that two different texts never count as the same token; the
//! algorithm is one the issuer is registered for *and* the one the key is made for; headers that
//! bring a key along (`jwk`, `jku`, `x5c`, `x5u`) are ignored, keys come from the registration only.
//! What the claims say is none of this module's business: see [`super::claims`].

use super::algorithm::Algorithm;
use super::json::parse_object;
use super::jwks::KeySet;
use super::refusal::{Refusal, Segment};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longest token accepted, in bytes. Real ones are 0.5 to 4 KiB.
pub const MAX_BYTES: usize = 16 * 1024;
/// Values of `typ` that a token which names a person may have, if it has one: RFC 7519 section 5.1,
/// RFC 9068 section 2.1, and the general one of RFC 7515. What is made for something else (a logout
/// token, a proof of possession, an event) is signed by the same key and often for the same audience.
pub const TYPES: [&str; 3] = ["JWT", "at+jwt", "JOSE"];

/// A token that is well formed. Nothing in it may be believed before [`Token::verify`].
pub struct Token<'a> {
    header: Map<String, Value>,
    payload: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

/// What verification established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub algorithm: Algorithm,
    pub key_id: Option<String>,
}

impl<'a> Token<'a> {
    /// Takes `text` apart: syntax only, no trust.
    pub fn parse(text: &'a str) -> Result<Self, Refusal> {
        if text.len() > MAX_BYTES {
            return Err(Refusal::TooLong { bytes: text.len() });
        }
        if text.is_empty() {
            return Err(Refusal::Empty);
        }
        let (header, payload, signature) = three_parts(text)?;
        let signed = &text[..header.len() + 1 + payload.len()];
        let header = object(header, Segment::Header)?;
        let payload = object(payload, Segment::Payload)?;
        decode(signature, Segment::Signature)?;
        Ok(Self { header, payload, signed, signature })
    }

    /// The claims. Whoever reads them before `verify` must treat them as a stranger's words.
    pub fn payload(&self) -> &Map<String, Value> {
        &self.payload
    }

    /// What the signature is over: header and claims as they were sent.
    pub fn signed(&self) -> &'a str {
        self.signed
    }

    /// `kid` of the header, unverified.
    pub fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// `iss`, unverified: needed to find the keys to verify with.
    pub fn claimed_issuer(&self) -> Result<&str, Refusal> {
        match self.payload.get("iss") {
            None => Err(Refusal::ClaimMissing("iss".into())),
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(Refusal::ClaimType { claim: "iss".into(), wanted: "text" }),
        }
    }

    /// Checks the header and the signature against the issuer's keys.
    pub fn verify(&self, keys: &KeySet, allowed: &[Algorithm]) -> Result<Verified, Refusal> {
        // RFC 7515 section 4.1.11: what is critical and not understood must be refused; nothing is
        if self.header.contains_key("crit") {
            return Err(Refusal::Critical);
        }
        for name in ["typ", "cty", "kid"] {
            if self.header.get(name).is_some_and(|v| !v.is_string()) {
                return Err(Refusal::HeaderType(name));
            }
        }
        if self.header.get("typ").and_then(Value::as_str).is_some_and(|typ| !is_for_people(typ)) {
            return Err(Refusal::Type);
        }
        let algorithm = self.algorithm()?;
        if !allowed.contains(&algorithm) {
            return Err(Refusal::AlgorithmNotAllowed(algorithm));
        }
        let key = keys.choose(self.key_id(), algorithm)?;
        if !key.verifies(algorithm, self.signed.as_bytes(), self.signature) {
            return Err(Refusal::Signature);
        }
        Ok(Verified { algorithm, key_id: key.id().map(str::to_owned) })
    }

    fn algorithm(&self) -> Result<Algorithm, Refusal> {
        match self.header.get("alg") {
            None => Err(Refusal::AlgorithmMissing),
            Some(Value::String(name)) if name.eq_ignore_ascii_case("none") => Err(Refusal::Unsigned),
            Some(Value::String(name)) => Algorithm::parse(name).ok_or(Refusal::AlgorithmUnknown),
            Some(_) => Err(Refusal::HeaderType("alg")),
        }
    }
}

/// RFC 7515 section 4.1.9: a media type, in any case, of which "application/" may be left out.
fn is_for_people(typ: &str) -> bool {
    let short = match typ.split_at_checked("application/".len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
        _ => typ,
    };
    TYPES.iter().any(|known| known.eq_ignore_ascii_case(short))
}

fn three_parts(text: &str) -> Result<(&str, &str, &str), Refusal> {
    let mut parts = text.split('.');
    match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(payload), Some(signature), None, _, _) => Ok((header, payload, signature)),
        // RFC 7516 section 7.1: five parts are an encrypted token
        (Some(_), Some(_), Some(_), Some(_), Some(_), None) => Err(Refusal::Encrypted),
        _ => Err(Refusal::Shape),
    }
}

fn object(part: &str, segment: Segment) -> Result<Map<String, Value>, Refusal> {
    parse_object(&decode(part, segment)?).map_err(|fault| Refusal::Json(segment, fault))
}

/// base64url as RFC 7515 section 2 has it: no padding, no white space. The engine also refuses
/// trailing bits that are not zero, or the last character of a token could be changed freely.
fn decode(part: &str, segment: Segment) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Refusal::Base64(segment))
}
