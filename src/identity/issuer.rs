//! Who may vouch for people, and on which terms.

use super::algorithm::{Algorithm, names_of_all};
use super::jwks::{JwksFault, KeySet};
use serde_json::Value;

/// Longest difference between two clocks that is forgiven, in microseconds: 60 s.
pub const MAX_LEEWAY: i64 = 60_000_000;
/// Longest name of an issuer or a claim, in bytes.
const MAX_NAME: usize = 1024;

/// A trusted issuer, ready to verify with.
#[derive(Debug)]
pub struct Issuer {
    pub terms: Terms,
    pub keys: KeySet,
}

/// Everything about an issuer but its keys: what `trust_issuer` takes and `custodian.issuer` holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// `iss` of its tokens, compared byte by byte (RFC 8725 section 3.8).
    pub issuer: String,
    /// `aud` must name at least one of these (RFC 8725 section 3.9).
    pub audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// The claim that tells people apart. A claim's whole name or a dotted path.
    pub user_claim: String,
    /// `None`: not taken.
    pub email_claim: Option<String>,
    pub groups_claim: Option<String>,
    /// Tolerance for `nbf` and `iat`, microseconds, 0 to 60 s. Never applied to `exp`.
    pub leeway: i64,
    /// Longest time from `iat` (or from now, without one) to `exp`, microseconds.
    pub max_lifetime: i64,
    pub single_use: bool,
}

/// What is wrong with the terms given for an issuer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TermsFault {
    #[error(
        "issuer must not be empty, longer than {MAX_NAME} bytes, or have control characters or white space at its ends"
    )]
    Name,
    #[error("audience must name at least one recipient, and none of them may be empty")]
    Audience,
    #[error("algorithms must name at least one algorithm")]
    NoAlgorithm,
    #[error("algorithm \"{0}\" cannot be allowed")]
    Algorithm(String),
    #[error("{0} must be the name of a claim or a dotted path to one")]
    Claim(&'static str),
    #[error("leeway must be between 0 and 60 seconds")]
    Leeway,
    #[error("max_lifetime must be greater than zero")]
    Lifetime,
}

impl TermsFault {
    pub fn hint(&self) -> String {
        match self {
            Self::Name => {
                "Pass the \"iss\" of the issuer's tokens, for instance https://login.example.com/.".into()
            }
            Self::Audience => {
                "Pass what the issuer puts into \"aud\" for this database, for instance ARRAY['payments-db']."
                    .into()
            }
            Self::NoAlgorithm | Self::Algorithm(_) => {
                format!("Algorithms are {}. NULL allows all of them but HS256.", names_of_all())
            }
            Self::Claim(_) => "Examples are sub, email and realm_access.roles.".into(),
            Self::Leeway => "The default is 30 seconds.".into(),
            Self::Lifetime => "The default is 12 hours.".into(),
        }
    }
}

impl Terms {
    /// Checks everything that does not depend on the keys.
    pub fn check(&self) -> Result<(), TermsFault> {
        if !is_name(&self.issuer) {
            return Err(TermsFault::Name);
        }
        if self.audience.is_empty() || !self.audience.iter().all(|a| is_name(a)) {
            return Err(TermsFault::Audience);
        }
        if self.algorithms.is_empty() {
            return Err(TermsFault::NoAlgorithm);
        }
        let claims = [
            ("user_claim", Some(&self.user_claim)),
            ("email_claim", self.email_claim.as_ref()),
            ("groups_claim", self.groups_claim.as_ref()),
        ];
        for (argument, claim) in claims {
            if claim.is_some_and(|c| !is_name(c)) {
                return Err(TermsFault::Claim(argument));
            }
        }
        if !(0..=MAX_LEEWAY).contains(&self.leeway) {
            return Err(TermsFault::Leeway);
        }
        if self.max_lifetime <= 0 {
            return Err(TermsFault::Lifetime);
        }
        Ok(())
    }

    /// Reads the names of algorithms; `None` stands for the default.
    pub fn algorithms(names: Option<&[String]>) -> Result<Vec<Algorithm>, TermsFault> {
        let Some(names) = names else { return Ok(Algorithm::by_default()) };
        let mut out = Vec::with_capacity(names.len());
        for name in names {
            let algorithm = Algorithm::parse(name)
                .ok_or_else(|| TermsFault::Algorithm(name.chars().take(40).collect()))?;
            if !out.contains(&algorithm) {
                out.push(algorithm);
            }
        }
        if out.is_empty() { Err(TermsFault::NoAlgorithm) } else { Ok(out) }
    }

    /// Joins the terms with the keys they allow.
    pub fn with_keys(self, jwks: &Value) -> Result<Issuer, JwksFault> {
        let keys = KeySet::parse(jwks, &self.algorithms)?;
        Ok(Issuer { terms: self, keys })
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && text.trim() == text && !text.contains(char::is_control)
}
