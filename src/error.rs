//! How every part says no.
//!
//! A part has one `thiserror` enum. Its messages are the enum's `Display`, in PostgreSQL's style
//! (lower case, no full stop); [`Report`] adds what a client needs beside the words: the SQLSTATE,
//! a detail, and a hint that names the call that helps. [`report`] is the only bridge to
//! PostgreSQL: a function returns `Result<T, ErrorReport>`, because that is the only type of
//! which pgrx keeps code and hint.

use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;

/// An error that knows its SQLSTATE and what to do about it.
pub trait Report: std::error::Error {
    /// The SQLSTATE that clients see. Match exhaustively, so that a new variant must choose.
    fn code(&self) -> PgSqlErrorCode;

    /// The same as it is recorded.
    fn sqlstate(&self) -> [u8; 5] {
        sqlstate(self.code() as i32)
    }

    /// Facts beside the message, a full sentence.
    fn detail(&self) -> Option<String> {
        None
    }

    /// The call or setting that helps, a full sentence.
    fn hint(&self) -> Option<String> {
        None
    }
}

/// The five characters of PostgreSQL's packed error code (elog.h: MAKE_SQLSTATE).
pub fn sqlstate(packed: i32) -> [u8; 5] {
    std::array::from_fn(|i| ((packed >> (6 * i)) & 0x3f) as u8 + b'0')
}

/// Turns a part's error into PostgreSQL's, to be returned from a `#[pg_extern]` or raised by a hook.
#[track_caller]
pub fn report(error: impl Report) -> ErrorReport {
    let mut out = ErrorReport::new(error.code(), error.to_string(), "pg_custodian");
    if let Some(detail) = error.detail() {
        out = out.set_detail(detail);
    }
    if let Some(hint) = error.hint() {
        out = out.set_hint(hint);
    }
    out
}

/// Errors that belong to no part: PostgreSQL's interface itself failed.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("pg_custodian must be loaded via \"shared_preload_libraries\"")]
    NotPreloaded,
    #[error("pg_custodian could not read or write its own tables: {0}")]
    Spi(#[from] pgrx::spi::Error),
    #[error("pg_custodian found a NULL where its own tables cannot hold one: {0}")]
    UnexpectedNull(&'static str),
    #[error("extension \"pg_custodian\" is not installed in this database")]
    NotInstalled,
    #[error("the person of a session cannot be asked for in a parallel worker")]
    InWorker,
}

impl Report for ServerError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::NotPreloaded | Self::NotInstalled => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            // as PostgreSQL says of what is forbidden during a parallel operation
            Self::InWorker => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
            Self::Spi(_) | Self::UnexpectedNull(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotPreloaded => Some(
                "Add pg_custodian to \"shared_preload_libraries\" in postgresql.conf and restart the server."
                    .into(),
            ),
            Self::NotInstalled => Some("Run CREATE EXTENSION pg_custodian.".into()),
            Self::InWorker => {
                Some("Declare the function that asks for it PARALLEL RESTRICTED: ALTER FUNCTION ... PARALLEL RESTRICTED.".into())
            }
            Self::Spi(_) | Self::UnexpectedNull(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sqlstate;

    #[test]
    fn packed_codes_unpack() {
        let pack =
            |s: &[u8; 5]| s.iter().enumerate().map(|(i, c)| ((*c as i32 - 0x30) & 0x3f) << (6 * i)).sum();
        for code in [b"00000", b"42501", b"23505", b"57P01", b"XX000"] {
            assert_eq!(&sqlstate(pack(code)), code);
        }
    }
}
