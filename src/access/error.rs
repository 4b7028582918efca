//! How access says no.

use crate::access::object::{FORMS, literal};
use crate::access::privilege::{Privilege, Privileges};
use crate::error::{Report, ServerError};
use crate::pg::predicate::Flaw;
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

/// Where a person sees what he may do.
pub const MY_GRANTS: &str = "SELECT * FROM access.my_grants; shows your grants.";

/// The call that asks for access to an object, to be pasted.
pub fn request_call(privileges: Privileges, object: &str) -> String {
    format!(
        "SELECT * FROM access.request_access({}, {}, '1 hour', 'reason');",
        privileges.as_sql_array(),
        literal(object)
    )
}

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
    #[error("argument \"rows\" is for a table only")]
    RowsOfNoTable,
    #[error("privilege \"{privilege}\" cannot be granted on {what}")]
    UnfitPrivilege { privilege: Privilege, what: &'static str },
    #[error("column \"{column}\" of relation \"{schema}.{table}\" does not exist")]
    UnknownColumn { schema: String, table: String, column: String },
    #[error("\"{schema}.{table}\" is a view, whose rows cannot be granted")]
    RowsOfAView { schema: String, table: String },
    #[error("query \"{0}\" does not exist")]
    UnknownQuery(String),
    #[error("there are several queries \"{0}\"")]
    ManyQueries(String),
    #[error("argument \"rows\" is not a condition on the rows of the table: {0}")]
    Rows(Flaw),
    #[error("a grant must not start in the past")]
    StartsInThePast,
    #[error("a grant must not start later than in a year")]
    StartsTooLate,
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
            Self::Rows(Flaw::Refused { syntax: true, .. }) => PgSqlErrorCode::ERRCODE_SYNTAX_ERROR,
            Self::RowsOfNoTable
            | Self::UnfitPrivilege { .. }
            | Self::Rows(_)
            | Self::StartsInThePast
            | Self::StartsTooLate => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnknownColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::RowsOfAView { .. } => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::UnknownQuery(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_FUNCTION,
            Self::ManyQueries(_) => PgSqlErrorCode::ERRCODE_AMBIGUOUS_FUNCTION,
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
            Self::NotAnObject(_) => Some(format!("Write {FORMS}.")),
            Self::RowsOfNoTable => {
                Some("Write 'TABLE schema.table', or leave the argument \"rows\" out.".into())
            }
            Self::UnfitPrivilege { .. } => Some(
                "A table has all privileges but execute; some of its rows have select, insert, update, delete and \
                 export; a column select, insert, update, reveal and export; a query execute."
                    .into(),
            ),
            Self::RowsOfAView { .. } => Some("Grant rows of the tables that the view reads.".into()),
            Self::UnknownQuery(_) => Some("A query is a function in schema \"queries\".".into()),
            Self::ManyQueries(_) => Some("A query that can be granted is the only one of its name.".into()),
            Self::Rows(_) | Self::EmptyArgument("rows") => Some(
                "Write one condition on columns of the table, such as 'customer_id = 4711', with built-in functions \
                 that are not volatile; no subquery, parameter, aggregate or system column."
                    .into(),
            ),
            Self::StartsInThePast | Self::StartsTooLate => {
                Some("Pass a time within the year that begins now, or NULL to start at once.".into())
            }
            Self::TableWithoutSchema(_) => Some("Write 'TABLE schema.table', or 'COLUMN schema.table.column'.".into()),
            Self::UnknownSchema { .. } | Self::UnknownTable { .. } | Self::UnknownColumn { .. } => Some(
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
