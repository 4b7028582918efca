//! How reports say no.

use crate::error::{Report, ServerError};
use crate::identity::IdentityError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum ReportsError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl From<pgrx::spi::Error> for ReportsError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl Report for ReportsError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Identity(error) => error.code(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
}
