//! One key of a JWK Set, and the one place where a signature is verified.

use super::algorithm::{Algorithm, KeyKind};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

/// RFC 7518 sections 3.3 and 3.5.
const MIN_RSA_BITS: usize = 2048;
/// What the library verifies; a longer modulus only costs time.
const MAX_RSA_BITS: usize = 8192;
/// RFC 7518 section 3.2: a secret at least as long as the hash.
const MIN_SECRET_BYTES: usize = 32;

/// A key that may verify tokens.
pub struct Key {
    id: Option<String>,
    kind: KeyKind,
    /// `alg` of the key: it verifies this algorithm only.
    only: Option<Algorithm>,
    material: DecodingKey,
}

/// Prints no key material: a shared secret is a key too.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What became of a key that was read without a mistake in it.
pub enum Reading {
    Key(Key),
    /// Right, but not to verify tokens with here; the reason completes "key 1 ...".
    NotForUs(String),
}

/// What is wrong with a key; completes "key 1 of the JWKS ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("is not an object")]
    NotAnObject,
    #[error("has no \"{0}\"")]
    Missing(&'static str),
    #[error("has a \"{0}\" that is not {1}")]
    Type(&'static str, &'static str),
    #[error("has a \"{0}\" that is not base64url")]
    Base64(&'static str),
    #[error("has a \"{0}\" of the wrong length")]
    Length(&'static str),
    #[error("is not a point on its curve")]
    Point,
    #[error("is an RSA key of {0} bits, at least {MIN_RSA_BITS} are needed")]
    Weak(usize),
    #[error("is an RSA key of {0} bits, at most {MAX_RSA_BITS} are supported")]
    Huge(usize),
    #[error("has an RSA exponent that is even, below 3 or above 64 bits")]
    Exponent,
    #[error("contains a private key (\"{0}\")")]
    Private(&'static str),
    #[error("is a shared secret, but its issuer is not registered for HS256")]
    SharedSecret,
    #[error("is a shared secret of {0} bytes, at least {MIN_SECRET_BYTES} are needed")]
    ShortSecret(usize),
    #[error("is for {0}, which its \"kty\" or \"crv\" cannot be used with")]
    AlgorithmUnfit(Algorithm),
}

impl KeyFault {
    pub fn hint(&self) -> String {
        match self {
            Self::Private(_) => {
                "Register the public part only. Treat this key as compromised: it has been in an SQL statement.".into()
            }
            Self::SharedSecret => {
                "Public-key algorithms are better. If the issuer can do no other, call trust_issuer with algorithms => '{HS256}'."
                    .into()
            }
            Self::Weak(_) | Self::ShortSecret(_) => "Have the issuer make a longer key.".into(),
            Self::Huge(_) => "Have the issuer make a key of 2048 to 4096 bits.".into(),
            Self::NotAnObject
            | Self::Missing(_)
            | Self::Type(..)
            | Self::Base64(_)
            | Self::Length(_)
            | Self::Point
            | Self::Exponent
            | Self::AlgorithmUnfit(_) => "Pass the key unchanged, as the issuer publishes it.".into(),
        }
    }
}

impl Key {
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    #[cfg(test)]
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// Whether the key is made for `algorithm` and not restricted to another one.
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether `signature` (base64url) is this key's over `signed`. Anything that goes wrong on
    /// the way is a no.
    pub fn verifies(&self, algorithm: Algorithm, signed: &[u8], signature: &str) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, signed, &self.material, algorithm.in_library())
                .unwrap_or(false)
    }
}

/// Reads one member of `keys`.
pub fn read(jwk: &Value, allowed: &[Algorithm]) -> Result<Reading, KeyFault> {
    let jwk = Jwk(jwk.as_object().ok_or(KeyFault::NotAnObject)?);
    let kty = jwk.text("kty")?.ok_or(KeyFault::Missing("kty"))?;
    let id = jwk.text("kid")?;
    if id.is_some_and(str::is_empty) {
        return Err(KeyFault::Type("kid", "a name"));
    }
    // before anything else: a private key must not be passed over because it is "only for encryption"
    if kty != "oct" {
        jwk.refuse_private_parts()?;
    }
    if let Some(why) = jwk.not_for_verifying()? {
        return Ok(Reading::NotForUs(why));
    }
    let kind = match (kty, jwk.text("crv")?) {
        ("RSA", _) => KeyKind::Rsa,
        ("EC", Some("P-256")) => KeyKind::P256,
        ("EC", Some("P-384")) => KeyKind::P384,
        ("OKP", Some("Ed25519")) => KeyKind::Ed25519,
        ("EC" | "OKP", None) => return Err(KeyFault::Missing("crv")),
        ("oct", _) => KeyKind::Shared,
        _ => return Ok(Reading::NotForUs("is of a kind or on a curve that is not supported".into())),
    };
    let only = match jwk.text("alg")? {
        None => None,
        Some(name) => match Algorithm::parse(name) {
            Some(algorithm) if algorithm.key_kind() == kind => Some(algorithm),
            Some(algorithm) => return Err(KeyFault::AlgorithmUnfit(algorithm)),
            None => return Ok(Reading::NotForUs("is for an algorithm that is not supported".into())),
        },
    };
    if kind == KeyKind::Shared && !allowed.contains(&Algorithm::Hs256) {
        return Err(KeyFault::SharedSecret);
    }
    let material = match kind {
        KeyKind::Rsa => jwk.rsa()?,
        KeyKind::P256 => jwk.ec(32)?,
        KeyKind::P384 => jwk.ec(48)?,
        KeyKind::Ed25519 => jwk.ed25519()?,
        KeyKind::Shared => jwk.shared()?,
    };
    let key = Key { id: id.map(str::to_owned), kind, only, material };
    if allowed.iter().any(|algorithm| key.fits(*algorithm)) {
        Ok(Reading::Key(key))
    } else {
        Ok(Reading::NotForUs("fits none of the algorithms its issuer is registered for".into()))
    }
}

struct Jwk<'a>(&'a Map<String, Value>);

impl<'a> Jwk<'a> {
    fn text(&self, name: &'static str) -> Result<Option<&'a str>, KeyFault> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(KeyFault::Type(name, "text")),
        }
    }

    fn bytes(&self, name: &'static str) -> Result<Vec<u8>, KeyFault> {
        let text = self.text(name)?.ok_or(KeyFault::Missing(name))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFault::Base64(name))?;
        if bytes.is_empty() { Err(KeyFault::Length(name)) } else { Ok(bytes) }
    }

    /// RFC 7518 sections 6.2.2 and 6.3.2, RFC 8037 section 2.
    fn refuse_private_parts(&self) -> Result<(), KeyFault> {
        match ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"]
            .into_iter()
            .find(|n| self.0.contains_key(*n))
        {
            Some(name) => Err(KeyFault::Private(name)),
            None => Ok(()),
        }
    }

    /// `use` and `key_ops` (RFC 7517 sections 4.2 and 4.3): why they forbid verifying, if they do.
    fn not_for_verifying(&self) -> Result<Option<String>, KeyFault> {
        if self.text("use")?.is_some_and(|u| u != "sig") {
            return Ok(Some("is not for signatures (\"use\")".into()));
        }
        match self.0.get("key_ops") {
            None => Ok(None),
            Some(Value::Array(operations)) => {
                if operations.iter().any(|o| !o.is_string()) {
                    return Err(KeyFault::Type("key_ops", "an array of text"));
                }
                let verifies = operations.iter().any(|o| o == "verify");
                Ok((!verifies).then(|| "is not for verifying (\"key_ops\")".into()))
            }
            Some(_) => Err(KeyFault::Type("key_ops", "an array of text")),
        }
    }

    fn rsa(&self) -> Result<DecodingKey, KeyFault> {
        // RFC 7518 section 6.3.1.1: some writers put a zero byte in front of the modulus
        let (n, e) = (self.bytes("n")?, self.bytes("e")?);
        let (n, e) = (without_zeros(&n), without_zeros(&e));
        let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
        if bits < MIN_RSA_BITS {
            return Err(KeyFault::Weak(bits));
        }
        if bits > MAX_RSA_BITS {
            return Err(KeyFault::Huge(bits));
        }
        // with e = 1 every message is its own signature
        let exponent = e.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        if e.len() > 8 || exponent < 3 || exponent.is_multiple_of(2) {
            return Err(KeyFault::Exponent);
        }
        Ok(DecodingKey::from_rsa_raw_components(n, e))
    }

    fn ec(&self, length: usize) -> Result<DecodingKey, KeyFault> {
        let (x, y) = (self.bytes("x")?, self.bytes("y")?);
        if x.len() != length {
            return Err(KeyFault::Length("x"));
        }
        if y.len() != length {
            return Err(KeyFault::Length("y"));
        }
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let curve = if length == 32 { &ECDSA_P256_SHA256_FIXED } else { &ECDSA_P384_SHA384_FIXED };
        ParsedPublicKey::new(curve, &point).map_err(|_| KeyFault::Point)?;
        Ok(DecodingKey::from_ec_der(&point))
    }

    fn ed25519(&self) -> Result<DecodingKey, KeyFault> {
        let x = self.bytes("x")?;
        if x.len() != 32 {
            return Err(KeyFault::Length("x"));
        }
        ParsedPublicKey::new(&ED25519, &x).map_err(|_| KeyFault::Point)?;
        Ok(DecodingKey::from_ed_der(&x))
    }

    fn shared(&self) -> Result<DecodingKey, KeyFault> {
        let secret = self.bytes("k")?;
        if secret.len() < MIN_SECRET_BYTES {
            return Err(KeyFault::ShortSecret(secret.len()));
        }
        Ok(DecodingKey::from_secret(&secret))
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros..]
}
