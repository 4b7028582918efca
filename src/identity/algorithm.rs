//! The signature algorithms a token may use, and which key each of them needs.
//!
//! An allow-list: whatever is not named here does not exist for this part, `none` included
//! (RFC 8725 section 3.2). Every algorithm needs exactly one kind of key, so that a token cannot
//! have an RSA public key used as an HMAC secret (RFC 8725 section 2.1).

use std::fmt;

/// A JWS algorithm (RFC 7518 section 3.1, RFC 8037 section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
    Hs256,
}

/// What a key is made of. Curves are kinds of their own: ES256 means P-256 and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
    /// A secret that both sides know (`kty` `oct`), for HS256 only.
    Shared,
}

impl Algorithm {
    /// Everything that can be allowed to an issuer.
    pub const ALL: [Self; 10] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
        Self::Hs256,
    ];

    /// What an issuer gets that was registered without a list: public-key algorithms only.
    /// Whoever can verify HS256 can also sign it, so that one has to be asked for by name.
    pub fn by_default() -> Vec<Self> {
        Self::ALL.into_iter().filter(|a| a.key_kind() != KeyKind::Shared).collect()
    }

    /// Reads the name used in `alg` (case-sensitive, as RFC 7515 section 4.1.1 has it).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|a| a.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Hs256 => "HS256",
        }
    }

    /// The one kind of key that verifies this algorithm.
    pub fn key_kind(self) -> KeyKind {
        match self {
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => KeyKind::Rsa,
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::EdDsa => KeyKind::Ed25519,
            Self::Hs256 => KeyKind::Shared,
        }
    }

    /// The same algorithm in the words of the library that does the arithmetic.
    pub(super) fn in_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The names of [`Algorithm::ALL`] for hints, separated by commas.
pub fn names_of_all() -> String {
    Algorithm::ALL.map(Algorithm::name).join(", ")
}
