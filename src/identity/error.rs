//! How identity says no.

use super::enrolled::Mode;
use super::instant;
use super::issuer::TermsFault;
use super::jwks::JwksFault;
use super::refusal::Refusal;
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
    #[error("cursor was opened by another person, or by nobody")]
    PersonChanged,
    #[error("argument \"{0}\" must not be null")]
    NullArgument(&'static str),
    #[error("{0} must not contain null")]
    NullElement(&'static str),
    #[error(transparent)]
    Terms(#[from] TermsFault),
    #[error(transparent)]
    Jwks(#[from] JwksFault),
    #[error("issuer \"{0}\" is not trusted")]
    UnknownIssuer(String),
    #[error("unrecognized mode \"{0}\"")]
    UnknownMode(String),
    #[error("role with OID {0} does not exist")]
    UnknownRole(u32),
    #[error("superuser \"{0}\" cannot be enrolled")]
    Superuser(String),
    #[error("role \"{0}\" is not enrolled")]
    NotEnrolled(String),
    #[error("{0} is not supported yet")]
    NotYet(&'static str),
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
            | Self::PersonChanged => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::BrokenIssuer(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NullArgument(_) | Self::NullElement(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::Terms(_) | Self::Jwks(_) | Self::UnknownMode(_) | Self::Superuser(_) => {
                PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE
            }
            Self::UnknownIssuer(_) | Self::UnknownRole(_) | Self::NotEnrolled(_) => {
                PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT
            }
            Self::NotYet(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
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
            Self::PersonChanged => "Run the statement again.".into(),
            Self::NullArgument("token") => {
                "Call custodian.set_identity(token) with a signed token, or custodian.clear_identity() to be nobody."
                    .into()
            }
            Self::NullArgument(_) | Self::NullElement(_) => return None,
            Self::Terms(fault) => fault.hint(),
            Self::Jwks(fault) => fault.hint(),
            Self::UnknownIssuer(_) => "Trusted issuers are in custodian.issuers.".into(),
            Self::UnknownMode(_) => format!("Modes are {}.", Mode::ALL.map(Mode::name).join(", ")),
            Self::UnknownRole(_) => return None,
            Self::Superuser(_) => "Enrol the role that people share, without the attribute SUPERUSER.".into(),
            Self::NotEnrolled(_) => "Enrolled roles are in custodian.enrolled_roles.".into(),
            Self::NotYet(_) => "Leave the argument out.".into(),
        })
    }
}

impl IdentityError {
    /// The SQLSTATE as five characters (elog.h: five characters of six bits, counted from '0').
    pub fn sqlstate(&self) -> [u8; 5] {
        let code = self.code() as u32;
        std::array::from_fn(|place| ((code >> (6 * place)) & 0x3f) as u8 + b'0')
    }

    /// A short fixed word for the trail.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.reason(),
            Self::UntrustedIssuer | Self::BrokenIssuer(_) | Self::Distrusted { .. } => "issuer",
            Self::Expired { .. } => "expired",
            Self::NullArgument(_) => "missing",
            _ => "failed",
        }
    }
}
