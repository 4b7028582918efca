//! The keys of an issuer: a JWK Set (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).
//!
//! Promises: a set is taken whole or refused with the name of the key and the reason. Mistakes
//! are refused (malformed members, points off the curve, RSA below 2048 bits, a private key, a
//! shared secret where none was asked for, the same `kid` twice). Keys that are right but not for
//! verifying tokens here (`use: enc`, other algorithms or curves, as identity providers publish
//! them side by side) are set aside as RFC 7517 section 5 advises: they never verify anything, and
//! a set with nothing else in it is refused.

use super::algorithm::Algorithm;
use super::key::{Key, KeyFault, Reading, read};
use super::refusal::Refusal;
use serde_json::Value;

/// More keys than this in one set are a mistake. Providers publish two to six.
const MAX_KEYS: usize = 64;

/// The keys of one issuer that may verify its tokens.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    set_aside: Vec<SetAside>,
}

/// A key of the set that will not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Which key: its place in the set and its `kid`.
    pub key: String,
    pub why: String,
}

/// Why a JWK Set was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JwksFault {
    #[error("JWKS is not an object with an array \"keys\"")]
    NotASet,
    #[error("JWKS holds no key")]
    Empty,
    #[error("JWKS holds {0} keys, the limit is {MAX_KEYS}")]
    TooMany(usize),
    #[error("{key} of the JWKS {fault}")]
    Key { key: String, fault: KeyFault },
    #[error("JWKS has more than one key with the kid \"{0}\"")]
    DuplicateId(String),
    #[error("no key of the JWKS can verify tokens")]
    NothingUsable(Vec<SetAside>),
}

impl KeySet {
    /// Reads `jwks` for an issuer that may use the algorithms `allowed`.
    pub fn parse(jwks: &Value, allowed: &[Algorithm]) -> Result<Self, JwksFault> {
        let members = jwks.get("keys").and_then(Value::as_array).ok_or(JwksFault::NotASet)?;
        if members.is_empty() {
            return Err(JwksFault::Empty);
        }
        if members.len() > MAX_KEYS {
            return Err(JwksFault::TooMany(members.len()));
        }
        refuse_duplicate_ids(members)?;
        let mut set = Self { keys: Vec::new(), set_aside: Vec::new() };
        for (place, member) in members.iter().enumerate() {
            let label = label(place, member);
            match read(member, allowed) {
                Ok(Reading::Key(key)) => set.keys.push(key),
                Ok(Reading::NotForUs(why)) => set.set_aside.push(SetAside { key: label, why }),
                Err(fault) => return Err(JwksFault::Key { key: label, fault }),
            }
        }
        if set.keys.is_empty() {
            return Err(JwksFault::NothingUsable(set.set_aside));
        }
        Ok(set)
    }

    /// The key to verify a token with.
    ///
    /// A token that names a key (`kid`) is verified with that key or not at all. One that names
    /// none is verified if exactly one key of the issuer fits its algorithm; trying several in
    /// turn would make "which key signed this" a guess.
    pub fn choose(&self, id: Option<&str>, algorithm: Algorithm) -> Result<&Key, Refusal> {
        if let Some(id) = id {
            let key = self.keys.iter().find(|k| k.id() == Some(id)).ok_or(Refusal::UnknownKey)?;
            return if key.fits(algorithm) { Ok(key) } else { Err(Refusal::KeyUnfit(algorithm)) };
        }
        let mut fitting = self.keys.iter().filter(|k| k.fits(algorithm));
        match (fitting.next(), fitting.count()) {
            (Some(key), 0) => Ok(key),
            (Some(_), more) => Err(Refusal::Ambiguous { algorithm, count: more + 1 }),
            (None, _) => Err(Refusal::NoKey(algorithm)),
        }
    }

    /// `kid` of every usable key that has one, for the trail.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().filter_map(Key::id)
    }

    /// How many keys can verify.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    pub fn set_aside(&self) -> &[SetAside] {
        &self.set_aside
    }
}

/// Two keys under one name would make the name useless. RFC 7517 section 4.5 says SHOULD.
fn refuse_duplicate_ids(members: &[Value]) -> Result<(), JwksFault> {
    let mut seen = std::collections::HashSet::new();
    for id in members.iter().filter_map(|m| m.get("kid").and_then(Value::as_str)) {
        if !seen.insert(id) {
            return Err(JwksFault::DuplicateId(shown(id)));
        }
    }
    Ok(())
}

fn label(place: usize, member: &Value) -> String {
    match member.get("kid").and_then(Value::as_str) {
        Some(id) => format!("key {} (kid \"{}\")", place + 1, shown(id)),
        None => format!("key {}", place + 1),
    }
}

fn shown(id: &str) -> String {
    id.chars().filter(|c| !c.is_control()).take(100).collect()
}

impl JwksFault {
    /// Which key was not taken and why, where several were looked at.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::NothingUsable(keys) => {
                let reasons: Vec<_> = keys.iter().map(|k| format!("{} {}", k.key, k.why)).collect();
                Some(format!("Set aside: {}.", reasons.join("; ")))
            }
            Self::NotASet | Self::Empty | Self::TooMany(_) | Self::Key { .. } | Self::DuplicateId(_) => None,
        }
    }

    /// What helps.
    pub fn hint(&self) -> String {
        match self {
            Self::Key { fault, .. } => fault.hint(),
            Self::NotASet | Self::Empty => {
                "Pass what the issuer publishes under its \"jwks_uri\": {\"keys\": [...]}.".into()
            }
            Self::TooMany(_) => "Leave out the keys that no longer sign.".into(),
            Self::DuplicateId(_) => "Leave one of them out, or give them different names.".into(),
            Self::NothingUsable(_) => {
                "Pass public keys for signatures: RSA of at least 2048 bits, EC on P-256 or P-384, or OKP on Ed25519."
                    .into()
            }
        }
    }
}
