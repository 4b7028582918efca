//! Why a token was not accepted.
//!
//! No variant carries text of the token: what is refused is not trusted to be printed either.

use super::algorithm::{Algorithm, names_of_all};
use super::json::JsonFault;
use super::token::{MAX_BYTES, TYPES};

/// A part of a compact JWS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Segment {
    Header,
    Payload,
    Signature,
}

impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Payload => "payload",
            Self::Signature => "signature",
        })
    }
}

/// The reason, as one of a fixed set. `Display` is the message a client sees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("token is {bytes} bytes long, the limit is {MAX_BYTES}")]
    TooLong { bytes: usize },
    #[error("token is empty")]
    Empty,
    #[error("token does not consist of three parts separated by dots")]
    Shape,
    #[error("token is encrypted, only signed tokens are accepted")]
    Encrypted,
    #[error("{0} of the token is not base64url")]
    Base64(Segment),
    #[error("{0} of the token is {1}")]
    Json(Segment, JsonFault),
    #[error("header of the token names no algorithm")]
    AlgorithmMissing,
    #[error("token is not signed")]
    Unsigned,
    #[error("token is signed with an unknown algorithm")]
    AlgorithmUnknown,
    #[error("token is signed with {0}, which its issuer is not registered for")]
    AlgorithmNotAllowed(Algorithm),
    #[error("token demands a header extension (\"crit\") that is not supported")]
    Critical,
    #[error("\"{0}\" in the header of the token is not text")]
    HeaderType(&'static str),
    #[error("token is made for something else than to say who somebody is (\"typ\")")]
    Type,
    #[error("token is signed with a key its issuer is not registered with")]
    UnknownKey,
    #[error("key that the token names cannot verify {0}")]
    KeyUnfit(Algorithm),
    #[error("issuer has no key for {0}")]
    NoKey(Algorithm),
    #[error("token names no key, and {count} keys of its issuer fit {algorithm}")]
    Ambiguous { algorithm: Algorithm, count: usize },
    #[error("signature of the token is wrong")]
    Signature,
    #[error("token has no claim \"{0}\"")]
    ClaimMissing(String),
    #[error("claim \"{claim}\" of the token is not {wanted}")]
    ClaimType { claim: String, wanted: &'static str },
    #[error("token comes from another issuer than the one whose key signed it")]
    Issuer,
    #[error("token is meant for another audience")]
    Audience,
    #[error("token has expired")]
    Expired,
    #[error("token is not valid yet")]
    NotYetValid,
    #[error("token was issued in the future")]
    IssuedLater,
    #[error("token lives longer than its issuer is allowed to make them")]
    Lifetime,
}

impl Refusal {
    /// A short fixed word for the trail, to count and search by.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "too_long",
            Self::Empty | Self::Shape | Self::Base64(_) | Self::Json(..) => "malformed",
            Self::Encrypted => "encrypted",
            Self::AlgorithmMissing | Self::Unsigned => "unsigned",
            Self::AlgorithmUnknown | Self::AlgorithmNotAllowed(_) => "algorithm",
            Self::Critical | Self::HeaderType(_) | Self::Type => "header",
            Self::UnknownKey | Self::KeyUnfit(_) | Self::NoKey(_) | Self::Ambiguous { .. } => "key",
            Self::Signature => "signature",
            Self::ClaimMissing(_) | Self::ClaimType { .. } => "claim",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::NotYetValid | Self::IssuedLater => "not_yet_valid",
            Self::Lifetime => "lifetime",
        }
    }

    /// What helps, a full sentence for whoever presented the token.
    pub fn hint(&self) -> String {
        match self {
            Self::TooLong { .. } => "Ask the issuer for a token with fewer claims.".into(),
            Self::Empty | Self::Shape | Self::Base64(_) | Self::Json(..) => {
                "Pass the whole token as the issuer gave it: header.payload.signature, without spaces or line breaks."
                    .into()
            }
            Self::Encrypted => "Ask the issuer for a signed token (JWS) instead of an encrypted one (JWE).".into(),
            Self::AlgorithmMissing | Self::Unsigned | Self::AlgorithmUnknown => {
                format!("Signatures accepted are {}.", names_of_all())
            }
            Self::AlgorithmNotAllowed(_) => {
                "The algorithms of each issuer are in custodian.issuers; custodian.trust_issuer changes them.".into()
            }
            Self::Critical | Self::HeaderType(_) => {
                "Ask the issuer for a token without extensions in its header.".into()
            }
            Self::Type => {
                format!("Ask the issuer for an ID token or an access token; types accepted are {}.", TYPES.join(", "))
            }
            Self::UnknownKey | Self::NoKey(_) => {
                "If the issuer has changed its keys, an administrator registers them with custodian.rotate_keys(issuer, jwks)."
                    .into()
            }
            Self::KeyUnfit(_) => {
                "Check \"kty\", \"crv\" and \"alg\" of the key in the issuer's JWKS against what it signs with.".into()
            }
            Self::Ambiguous { .. } => "Have the issuer put \"kid\" into the header of its tokens.".into(),
            Self::Signature => {
                "The token was altered, or signed with another key than the one registered under its name.".into()
            }
            Self::ClaimMissing(_) | Self::ClaimType { .. } => {
                "Which claims are read is set per issuer by custodian.trust_issuer; see custodian.issuers.".into()
            }
            Self::Issuer | Self::Audience => {
                "Ask the issuer for a token for this database; the audiences accepted are in custodian.issuers.".into()
            }
            Self::Expired => "Get a new token and call custodian.set_identity(token).".into(),
            Self::NotYetValid | Self::IssuedLater => {
                "Compare the clocks of the issuer and of this server; a difference up to the issuer's leeway is tolerated."
                    .into()
            }
            Self::Lifetime => {
                "Ask for a token that lives shorter; max_lifetime of each issuer is in custodian.issuers.".into()
            }
        }
    }
}
