//! How credentials say no.

use crate::access::error::AccessError;
use crate::error::{Report, ServerError};
use crate::identity::IdentityError;
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error(transparent)]
    Access(#[from] AccessError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    // asking for one
    #[error("a credential needs an identified person")]
    NoPerson,
    #[error("grant {0} is not yours")]
    NotYours(i64),
    #[error("grant {0} is a group's, and a credential one person's")]
    OfGroup(i64),
    #[error("grant {0} does not say who vouches for its person")]
    NoIssuer(i64),
    #[error("grant {0} has not begun yet")]
    NotBegun(i64),
    #[error("role \"{role}\" has none of the privileges of grant {id}")]
    Nothing { id: i64, role: String },
    #[error("could not make a password")]
    NoPassword,
    // coming by one
    #[error("role \"{0}\" is no credential of this database")]
    Elsewhere(String),
    #[error("credential \"{0}\" has ended")]
    Ended(String),
    #[error("credential \"{0}\" is used with its password only")]
    NotByPassword(String),
    #[error("credential \"{0}\" was altered after it was issued")]
    Altered(String),
    // using one
    #[error("a credential does not run {0}")]
    Forbidden(String),
}

impl From<pgrx::spi::Error> for CredentialError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

const AGAIN: &str = "Call access.issue_credential(grant_id) with the number of a grant in force.";

impl Report for CredentialError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::Access(error) => error.code(),
            Self::Identity(error) => error.code(),
            Self::NoPerson
            | Self::Elsewhere(_)
            | Self::Ended(_)
            | Self::NotByPassword(_)
            | Self::Altered(_) => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NotYours(_) | Self::Nothing { .. } | Self::Forbidden(_) => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::OfGroup(_) | Self::NoIssuer(_) | Self::NotBegun(_) => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::NoPassword => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            Self::Access(error) => error.detail(),
            Self::Identity(error) => error.detail(),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Server(error) => return error.hint(),
            Self::Trail(error) => return error.hint(),
            Self::Access(error) => return error.hint(),
            Self::Identity(error) => return error.hint(),
            Self::NoPerson => "Call custodian.set_identity(token) first.".into(),
            Self::NotYours(_) => "access.my_grants shows the grants that a credential can be had for.".into(),
            Self::OfGroup(_) => "A member of the group asks for it, with a token that says so.".into(),
            Self::NoIssuer(_) => {
                "Let the person ask for it, or grant anew with issuer => '...', for several issuers are trusted.".into()
            }
            Self::NotBegun(_) => "Ask when the grant has begun.".into(),
            Self::Nothing { .. } => {
                "A credential never has more than the role on which it is asked for: ask on one that has the privileges."
                    .into()
            }
            Self::NoPassword => return None,
            Self::Elsewhere(_) => "A credential is for the database in which it was issued.".into(),
            Self::Ended(_) => AGAIN.into(),
            Self::NotByPassword(_) => {
                "An administrator lets it in by the method scram-sha-256 in pg_hba.conf.".into()
            }
            Self::Altered(_) => AGAIN.into(),
            Self::Forbidden(_) => "Ask on a shared role, or have an administrator do it.".into(),
        })
    }
}
