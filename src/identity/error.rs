//! How identity says no.

use super::enrolled::Mode;
use super::instant;
use super::issuer::TermsFault;
use super::jwks::JwksFault;
use super::refusal::Refusal;
use super::used_tokens::UsedTokensFault;
use crate::error::{Report, ServerError};
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    /// A token was presented and not accepted.
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("token comes from an issuer that is not trusted")]
    UntrustedIssuer,
    #[error("the keys or terms of the token's issuer are not usable: {0}")]
    BrokenIssuer(String),
    /// `at`: microseconds since 2000.
    #[error("identity of \"{user_id}\" expired at {}", instant::display(instant::from_pg(*at)))]
    Expired { user_id: String, at: i64 },
    #[error("identity of \"{user_id}\" ended, its issuer \"{issuer}\" is no longer trusted")]
    Distrusted { user_id: String, issuer: String },
    #[error("person \"{user_id}\" has been revoked")]
    PersonRevoked { user_id: String },
    #[error("token of \"{user_id}\" was issued before the person was revoked, and may not be used any more")]
    IssuedBeforeRevocation { user_id: String },
    #[error("token of \"{user_id}\" has been revoked")]
    TokenRevoked { user_id: String },
    #[error("token of \"{user_id}\" has been used already")]
    TokenUsed { user_id: String },
    /// Whether a token was used before cannot be told or not be written down.
    #[error("could not tell whether the token was used already: {0}")]
    UsedTokens(#[from] UsedTokensFault),
    #[error("this session belongs to the person of its credential, and to nobody else")]
    Bound,
    #[error("the credential of this session has ended")]
    CredentialEnded,
    #[error("this needs a token, and the session belongs to a credential")]
    NeedsToken,
    #[error("cursor was opened by another person, or by nobody")]
    PersonChanged,
    #[error("temporary objects of another person are in use")]
    Leftovers,
    #[error("argument \"{0}\" must not be null")]
    NullArgument(&'static str),
    #[error("argument \"{0}\" must not be empty")]
    EmptyArgument(&'static str),
    #[error("{0} must not contain null")]
    NullElement(&'static str),
    #[error(transparent)]
    Terms(#[from] TermsFault),
    #[error(transparent)]
    Jwks(#[from] JwksFault),
    #[error("issuer \"{0}\" is not trusted")]
    UnknownIssuer(String),
    /// The same, where another way is to name no issuer.
    #[error("issuer \"{0}\" is not trusted")]
    RevokedOfUnknown(String),
    #[error("person \"{0}\" is not revoked")]
    NotRevoked(String),
    #[error("person \"{0}\" is revoked for all issuers")]
    RevokedEverywhere(String),
    #[error("unrecognized mode \"{0}\"")]
    UnknownMode(String),
    #[error("role with OID {0} does not exist")]
    UnknownRole(u32),
    #[error("superuser \"{0}\" cannot be enrolled")]
    Superuser(String),
    #[error("role \"{0}\" is not enrolled")]
    NotEnrolled(String),
    #[error("{0} must be greater than zero")]
    NotPositive(&'static str),
}

impl From<pgrx::spi::Error> for IdentityError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl Report for IdentityError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::Refused(_)
            | Self::UntrustedIssuer
            | Self::Expired { .. }
            | Self::Distrusted { .. }
            | Self::PersonRevoked { .. }
            | Self::IssuedBeforeRevocation { .. }
            | Self::TokenRevoked { .. }
            | Self::TokenUsed { .. }
            | Self::CredentialEnded
            | Self::PersonChanged => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::UsedTokens(UsedTokensFault::Busy(_)) => PgSqlErrorCode::ERRCODE_LOCK_NOT_AVAILABLE,
            Self::UsedTokens(fault) if fault.is_full() => PgSqlErrorCode::ERRCODE_DISK_FULL,
            Self::UsedTokens(_) => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::Bound | Self::NeedsToken => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Leftovers => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::BrokenIssuer(_) | Self::RevokedEverywhere(_) => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::NullArgument(_) | Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Terms(_)
            | Self::Jwks(_)
            | Self::EmptyArgument(_)
            | Self::UnknownMode(_)
            | Self::NotPositive(_)
            | Self::Superuser(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnknownIssuer(_)
            | Self::RevokedOfUnknown(_)
            | Self::NotRevoked(_)
            | Self::UnknownRole(_)
            | Self::NotEnrolled(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            Self::Jwks(fault) => fault.detail(),
            Self::Superuser(_) => {
                Some("Superusers bypass privileges, so that nothing could be enforced on such a role.".into())
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Server(error) => return error.hint(),
            Self::Trail(error) => return error.hint(),
            Self::Refused(refusal) => refusal.hint(),
            Self::UntrustedIssuer => {
                "Issuers are in custodian.issuers; an administrator adds one with custodian.trust_issuer(issuer, jwks, audience)."
                    .into()
            }
            Self::BrokenIssuer(_) => "An administrator registers the issuer anew with custodian.trust_issuer.".into(),
            Self::Expired { .. } => "Get a new token and call custodian.set_identity(token).".into(),
            Self::Distrusted { .. } => {
                "Get a token from a trusted issuer and call custodian.set_identity(token).".into()
            }
            Self::PersonRevoked { .. } => {
                "Ask a member of the role custodian_admin, who can call custodian.reinstate_person(user_id, reason).".into()
            }
            Self::IssuedBeforeRevocation { .. } => {
                "Get a new token and call custodian.set_identity(token); one issued within the first minute after the revocation may still count as an old one."
                    .into()
            }
            Self::TokenRevoked { .. } => {
                "Get a new token and call custodian.set_identity(token); if in doubt why, ask a member of the role custodian_admin.".into()
            }
            Self::TokenUsed { .. } => {
                "Tokens of this issuer identify once: get a new one for each call of custodian.set_identity(token). If you have not used it, somebody else has: tell a member of the role custodian_admin."
                    .into()
            }
            Self::UsedTokens(UsedTokensFault::Busy(_)) => "Try again.".into(),
            Self::UsedTokens(UsedTokensFault::Damaged(_)) => {
                "Only tokens of single-use issuers are refused. Remove the file when all of their tokens that were issued so far have expired."
                    .into()
            }
            Self::UsedTokens(fault) if fault.is_full() => {
                "Free space on the file system that holds the directory \"pg_custodian\" of the data directory.".into()
            }
            Self::UsedTokens(_) => "See the directory \"pg_custodian\" of the data directory.".into(),
            Self::Bound | Self::NeedsToken => {
                "Connect with a shared role and call custodian.set_identity(token) there.".into()
            }
            Self::CredentialEnded => {
                "Ask for access again, and call access.issue_credential(grant_id) with the number of the new grant.".into()
            }
            Self::Leftovers => "Run DISCARD ALL and call custodian.set_identity(token) again.".into(),
            Self::PersonChanged => "Run the statement again.".into(),
            Self::NullArgument("token") => {
                "Call custodian.set_identity(token) with a signed token, or custodian.clear_identity() to be nobody."
                    .into()
            }
            Self::EmptyArgument("reason") => "Say in a few words why.".into(),
            Self::EmptyArgument("user_id") => {
                "Pass the person's user_id as custodian.whoami() and audit.statements show it.".into()
            }
            Self::NullArgument(_) | Self::EmptyArgument(_) | Self::NullElement(_) => return None,
            Self::Terms(fault) => fault.hint(),
            Self::Jwks(fault) => fault.hint(),
            Self::UnknownIssuer(_) => "Trusted issuers are in custodian.issuers.".into(),
            Self::RevokedOfUnknown(_) => {
                "Trusted issuers are in custodian.issuers. Without an issuer the person is revoked for all of them, and for those trusted later."
                    .into()
            }
            Self::NotRevoked(_) => "Revocations are in custodian.revocations.".into(),
            Self::RevokedEverywhere(_) => {
                "Leave the issuer out to end the revocation: custodian.reinstate_person(user_id, reason).".into()
            }
            Self::UnknownMode(_) => format!("Modes are {}.", Mode::ALL.map(Mode::name).join(", ")),
            Self::UnknownRole(_) => return None,
            Self::Superuser(_) => "Enrol the role that people share, without the attribute SUPERUSER.".into(),
            Self::NotEnrolled(_) => "Enrolled roles are in custodian.enrolled_roles.".into(),
            Self::NotPositive(_) => "Leave the argument out for no limit.".into(),
        })
    }
}

impl IdentityError {
    /// A short fixed word for the trail.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::UntrustedIssuer | Self::BrokenIssuer(_) | Self::Distrusted { .. } => "issuer",
            Self::Expired { .. } | Self::CredentialEnded => "expired",
            Self::Bound | Self::NeedsToken => "credential",
            Self::PersonRevoked { .. } | Self::IssuedBeforeRevocation { .. } | Self::TokenRevoked { .. } => {
                "revoked"
            }
            Self::TokenUsed { .. } => "used",
            Self::Leftovers => "in use",
            Self::NullArgument(_) => "missing",
            _ => "failed",
        }
    }
}
