//! How access says no.

use crate::access::object::FORMS;
use crate::access::privilege::Privilege;
use crate::error::{Report, ServerError};
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error("argument \"{0}\" must not be null")]
    NullArgument(&'static str),
    #[error("argument \"{0}\" must not be empty")]
    EmptyArgument(&'static str),
    #[error("unrecognized privilege \"{0}\"")]
    UnknownPrivilege(String),
    #[error("a grant needs at least one privilege")]
    NoPrivileges,
    #[error("a grant is for a person or for a group, not for both")]
    PersonAndGroup,
    #[error("a grant needs a person or a group")]
    NeitherPersonNorGroup,
    #[error("cannot grant access to \"{0}\"")]
    NotAnObject(String),
    #[error("table name \"{0}\" does not say its schema")]
    TableWithoutSchema(String),
    #[error("grants on {0} are not supported yet")]
    NotYet(&'static str),
    #[error("schema \"{schema}\" does not exist")]
    UnknownSchema { schema: String },
    #[error("relation \"{schema}.{table}\" does not exist")]
    UnknownTable { schema: String, table: String },
    #[error("\"{schema}.{table}\" is not a table or view")]
    NotATable { schema: String, table: String },
    #[error("the duration of a grant must be positive")]
    DurationNotPositive,
    #[error("the duration of a grant must not exceed {0} days")]
    DurationTooLong(i64),
    #[error("grant {0} does not exist")]
    UnknownGrant(i64),
    #[error("grant {0} has already ended")]
    AlreadyEnded(i64),
}

impl From<pgrx::spi::Error> for AccessError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl Report for AccessError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::NullArgument(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::EmptyArgument(_)
            | Self::UnknownPrivilege(_)
            | Self::NoPrivileges
            | Self::PersonAndGroup
            | Self::NeitherPersonNorGroup
            | Self::NotAnObject(_)
            | Self::TableWithoutSchema(_)
            | Self::DurationNotPositive
            | Self::DurationTooLong(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NotYet(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::UnknownSchema { .. } => PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
            Self::UnknownTable { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::NotATable { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::UnknownGrant(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::AlreadyEnded(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Trail(error) => error.hint(),
            Self::UnknownPrivilege(_) | Self::NoPrivileges => {
                Some(format!("The privileges are {}.", Privilege::words()))
            }
            Self::PersonAndGroup | Self::NeitherPersonNorGroup => Some(
                "Pass a user_id for one person, or NULL as user_id and group_name => '...' for a group.".into(),
            ),
            Self::NotAnObject(_) | Self::NotYet("COLUMN" | "QUERY") => Some(format!("Write {FORMS}.")),
            Self::NotYet(_) => Some("Leave the argument \"rows\" out to grant access to the whole object.".into()),
            Self::TableWithoutSchema(_) => Some("Write 'TABLE schema.table'.".into()),
            Self::UnknownSchema { .. } | Self::UnknownTable { .. } => Some(
                "Unquoted names are folded to lower case; write names with capitals in double quotes.".into(),
            ),
            Self::NotATable { .. } => {
                Some("A grant is on a table, partitioned table, foreign table, view, materialized view or sequence.".into())
            }
            Self::DurationNotPositive | Self::DurationTooLong(_) => {
                Some("Pass an interval such as '1 hour'; access that is needed for longer is granted again.".into())
            }
            Self::UnknownGrant(_) | Self::AlreadyEnded(_) => {
                Some("SELECT * FROM access.grants WHERE live; shows the grants in force.".into())
            }
            Self::EmptyArgument("reason") => Some("Say in a few words what the access is for.".into()),
            Self::EmptyArgument("user_id") => {
                Some("Pass the person's user_id as custodian.whoami() shows it to him.".into())
            }
            Self::NullArgument(_) | Self::EmptyArgument(_) => None,
        }
    }
}
