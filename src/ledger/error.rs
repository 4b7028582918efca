//! What can go wrong with the ledger.

use crate::error::{Report, ServerError, report};
use crate::journal::JournalError;
use crate::pg::remote::RemoteError;
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::panic::ErrorReport;
use std::path::PathBuf;

/// Why the ledger refused or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error("could not read the audit journal: {0}")]
    Journal(#[from] JournalError),
    #[error("audit ledger is append-only: {operation} on \"{object}\" is not allowed")]
    AppendOnly { operation: String, object: String },
    #[error("{what} would remove the guards or the content of the audit ledger")]
    Guarded { what: String },
    #[error("{what} could hide what the audit ledger says")]
    Hides { what: String },
    #[error("{what} could stop the ledger writer")]
    Stops { what: String },
    #[error("the ledger's place in the journal is lost: {reason}")]
    Misplaced { reason: String },
    #[error("audit ledger did not catch up within {0}")]
    NotCaughtUp(String),
    #[error("partition \"{0}\" of the audit ledger cannot be made")]
    NoPartition(String),
    #[error("pg_custodian.export_directory is not set")]
    NoExportDirectory,
    #[error("could not write \"{}\": {source}", path.display())]
    Export { path: PathBuf, source: std::io::Error },
    #[error("row {seq} of the audit ledger holds what an export cannot say: text that is not UTF-8")]
    NotExportable { seq: i64 },
    #[error("row {seq} of the audit ledger is missing, or was altered")]
    Altered { seq: i64 },
    #[error("row {seq} of the audit ledger is missing")]
    RowMissing { seq: i64 },
    #[error("the audit ledger's rows up to {last_seq} were exported and taken out")]
    Retired { last_seq: i64 },
    #[error("table \"audit.retired\" does not hold the ends of all that was taken out of the audit ledger")]
    RetiredBroken,
    #[error("table \"audit.checkpoints\" is damaged: {problem}")]
    Checkpoints { problem: String },
    #[error("row {seq} of the audit ledger is under no checkpoint yet")]
    NotYetChecked { seq: i64 },
    #[error("row {seq} of the audit ledger cannot be exported as JSON, because a text in it is not UTF-8")]
    NotUtf8 { seq: i64 },
    #[error("the row cannot be proved: {reason}")]
    NotProvable { reason: String },
    #[error("no checkpoint was made within 30 s")]
    NoCheckpoint,
    #[error("invalid argument: {0}")]
    BadArgument(String),
    #[error("a standby writes no ledger")]
    OnStandby,
    #[error("the journal of server \"{server}\" is forwarded by role \"{role}\"")]
    NotTheSender { server: String, role: String },
    #[error("could not take what was forwarded: {0}")]
    Unacceptable(&'static str),
    #[error("could not accept what was forwarded: {0}")]
    NotAccepted(String),
    #[error("{0}")]
    Forwarding(RemoteError),
}

impl Report for LedgerError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::Journal(_) => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::AppendOnly { .. } | Self::Guarded { .. } | Self::Hides { .. } | Self::Stops { .. } => {
                PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE
            }
            Self::NoPartition(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoExportDirectory => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Export { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                PgSqlErrorCode::ERRCODE_DUPLICATE_FILE
            }
            Self::Export { .. } => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::NotExportable { .. } => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::Altered { .. } => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            Self::Misplaced { .. }
            | Self::RowMissing { .. }
            | Self::RetiredBroken
            | Self::Checkpoints { .. }
            | Self::NotProvable { .. } => PgSqlErrorCode::ERRCODE_DATA_CORRUPTED,
            Self::NotUtf8 { .. } => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::NotCaughtUp(_) | Self::Retired { .. } | Self::NotYetChecked { .. } | Self::NoCheckpoint => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::BadArgument(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::OnStandby => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::NotTheSender { .. } => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Unacceptable(_) => PgSqlErrorCode::ERRCODE_INVALID_BINARY_REPRESENTATION,
            Self::NotAccepted(_) => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::Forwarding(_) => PgSqlErrorCode::ERRCODE_CONNECTION_FAILURE,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Server(error) => return error.hint(),
            Self::Trail(error) => return error.hint(),
            Self::Journal(_) => {
                "See the server log and the directory \"pg_custodian\" of the data directory.".into()
            }
            Self::AppendOnly { .. } => "Query it through the views of schema \"audit\".".into(),
            Self::Guarded { .. } | Self::Hides { .. } | Self::Stops { .. } => {
                "Maintenance needs \"pg_custodian.maintenance = on\" in postgresql.conf itself and a reload.".into()
            }
            Self::Misplaced { .. } => {
                "The data directory and its journal do not belong together; restore both from the same backup.".into()
            }
            Self::NotCaughtUp(_) => "The server log says what the ledger writer of this database is doing.".into(),
            Self::BadArgument(_) | Self::Unacceptable(_) => return None,
            Self::OnStandby => {
                "Name all servers in \"pg_custodian.forward_to\", with target_session_attrs=read-write.".into()
            }
            Self::NotTheSender { .. } => {
                "Let each standby forward as a role of its own, and always as the same.".into()
            }
            Self::NotAccepted(_) => {
                "See the server log and the directory \"pg_custodian\" of the data directory.".into()
            }
            Self::Forwarding(_) => "See \"pg_custodian.forward_to\".".into(),
            Self::NoPartition(_) => {
                "A table of that name is in schema \"audit\" that is no partition of it; drop it.".into()
            }
            Self::NoExportDirectory => {
                "Name a directory of the server in postgresql.conf, which the server can write to, and reload.".into()
            }
            Self::Export { .. } => {
                "The partition stays. Its file must not exist yet; the server must be able to write to the directory.".into()
            }
            Self::NotExportable { .. } => "Only ledgers of databases in UTF8 can be exported.".into(),
            Self::Altered { .. } => "Nothing was removed. SELECT * FROM audit.verify() says what is wrong.".into(),
            Self::RowMissing { .. } | Self::NotProvable { .. } => {
                "SELECT * FROM audit.verify() says what else is wrong.".into()
            }
            Self::Retired { .. } | Self::NotUtf8 { .. } => {
                "See docs/ledger-format.md for how to check an export without the database.".into()
            }
            Self::RetiredBroken | Self::Checkpoints { .. } => {
                "Compare it with what was kept elsewhere: docs/ledger-format.md.".into()
            }
            Self::NotYetChecked { .. } => "SELECT audit.checkpoint() makes one now.".into(),
            Self::NoCheckpoint => "The server log says what the steward of this database is doing.".into(),
        })
    }
}

impl From<pgrx::spi::SpiError> for LedgerError {
    fn from(error: pgrx::spi::SpiError) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl From<LedgerError> for ErrorReport {
    fn from(error: LedgerError) -> Self {
        report(error)
    }
}
