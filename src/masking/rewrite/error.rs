//! How masked statements are refused.

use crate::error::{Report, ServerError};
use crate::pg::catalog;
use crate::pg::tree::draft::Denied;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum RewriteError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(
        "cannot write masked column \"{column}\" of relation \"{relation}\" into column \"{target}\" of relation \"{target_relation}\""
    )]
    Written { column: String, relation: String, target: String, target_relation: String },
    #[error("cannot store masked columns in a new table")]
    Kept,
    #[error("a materialized view of masked data cannot be made or refreshed")]
    Materialized,
    #[error("masking was changed while the statement was being prepared")]
    Stale,
    #[error("columns that were revealed when the statement began no longer are")]
    Ended,
    #[error("a statement of this kind cannot be masked")]
    Unknown,
    #[error("the definition of relation \"{0}\", of which columns are masked, cannot be changed in this way")]
    Definition(String),
    #[error("constraints of domains cannot be checked by who sees columns masked")]
    Domain,
    #[error("relation \"{0}\", of which columns are masked, cannot be read in a parallel worker")]
    InWorker(String),
}

impl RewriteError {
    pub fn written(denied: Denied) -> Self {
        let relation = |oid| catalog::relation_name(oid).map_or_else(|| "?".into(), |(_, name)| name);
        let column = |(oid, attnum)| match attnum {
            0 => "*".into(),
            attnum => catalog::attribute_name(oid, attnum).unwrap_or_else(|| "?".into()),
        };
        Self::Written {
            column: column(denied.source),
            relation: relation(denied.source.0),
            target: column(denied.target),
            target_relation: relation(denied.target.0),
        }
    }
}

impl Report for RewriteError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Written { .. }
            | Self::Kept
            | Self::Materialized
            | Self::Definition(_)
            | Self::Domain
            | Self::Ended => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Stale => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::Unknown => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::InWorker(_) => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Written { .. } => Some("Masks would be stored in the place of data.".into()),
            Self::Kept => Some("Masks would be taken for data by whoever reads it.".into()),
            Self::Materialized => Some("It would hold this person's masks for everybody.".into()),
            Self::Definition(_) | Self::Domain => {
                Some("What it is checked for, or built from, are the values behind the masks.".into())
            }
            Self::Stale | Self::Ended | Self::Unknown | Self::InWorker(_) => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Written { .. } => Some(
                "Ask for a grant to reveal the column: access.grant_access(..., ARRAY['reveal'], ...). Masks may be inserted into temporary tables and those in mask.keeper."
                    .into(),
            ),
            Self::Kept => Some("Make it a temporary table, or leave the masked columns out.".into()),
            Self::Materialized => {
                Some("Have it made by its owner, or read the tables behind it.".into())
            }
            Self::Stale | Self::Ended => Some("Run the statement again.".into()),
            Self::Unknown => Some("Read the table in another way, and report this.".into()),
            Self::Definition(_) | Self::Domain => Some("Have the table's owner do it, or ask for a grant to reveal its columns.".into()),
            Self::InWorker(_) => Some(
                "Declare the function that reads it PARALLEL RESTRICTED: ALTER FUNCTION ... PARALLEL RESTRICTED.".into(),
            ),
        }
    }
}
