//! How masking says no.

use crate::error::{Report, ServerError};
use crate::masking::spec::FORMS;
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum MaskError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error("argument \"{0}\" must not be null")]
    NullArgument(&'static str),
    #[error("a group in \"reveal_to\" must have a name")]
    NamelessGroup,
    #[error("relation with OID {0} does not exist")]
    UnknownRelation(pgrx::pg_sys::Oid),
    #[error("\"{0}\" is not a table")]
    NotATable(String),
    #[error("cannot mask temporary table \"{0}\"")]
    TemporaryTable(String),
    #[error("cannot mask system table \"{0}\"")]
    SystemTable(String),
    #[error("column \"{column}\" of relation \"{relation}\" does not exist")]
    UnknownColumn { relation: String, column: String },
    #[error("cannot mask system column \"{0}\"")]
    SystemColumn(String),
    #[error("unrecognized masking \"{0}\"")]
    UnknownMasking(String),
    #[error("masking {masking} needs a text column, but column \"{column}\" is of type {type_name}")]
    WrongType { masking: String, column: String, type_name: String },
    #[error("column \"{column}\" of relation \"{relation}\" is not protected")]
    NotProtected { relation: String, column: String },
    #[error("relation \"masked.{name}\" already exists")]
    NameTaken { name: String, table: Option<String> },
    #[error("a masked view of table \"{0}\", which has row-level security, is not supported yet")]
    RowSecurity(String),
    #[error("masking function {0} is not available to a role that people share")]
    Oracle(&'static str),
    #[error("the key of the masking functions is missing")]
    NoKey,
}

impl From<pgrx::spi::Error> for MaskError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl MaskError {
    /// For a statement that calls a keyed mask function on values of its author's choosing.
    pub fn oracle() -> Self {
        Self::Oracle("mask.hash")
    }
}

impl Report for MaskError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::NullArgument(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NamelessGroup | Self::UnknownMasking(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnknownRelation(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::NotATable(_) | Self::TemporaryTable(_) | Self::SystemTable(_) => {
                PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE
            }
            Self::UnknownColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::SystemColumn(_) => PgSqlErrorCode::ERRCODE_INVALID_COLUMN_REFERENCE,
            Self::WrongType { .. } => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
            Self::NotProtected { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NameTaken { .. } => PgSqlErrorCode::ERRCODE_DUPLICATE_OBJECT,
            Self::RowSecurity(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::Oracle(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoKey => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            Self::NameTaken { table: Some(table), .. } => Some(format!("It is the masked view of {table}.")),
            Self::RowSecurity(_) => Some("The view would show every row to everybody.".into()),
            Self::Oracle(_) => Some("Hashes of chosen values would give away what masked values are.".into()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Trail(error) => error.hint(),
            Self::UnknownMasking(_) => Some(format!("Write {FORMS}.")),
            Self::NotATable(_) => Some("Protect the columns of the tables behind it.".into()),
            Self::WrongType { .. } => Some("Use null_value, which masks columns of every type.".into()),
            Self::SystemColumn(_) => Some("Protect the columns that hold data.".into()),
            Self::UnknownColumn { .. } => {
                Some("Names in quotes are taken as they stand: unquoted ones are in lower case.".into())
            }
            Self::NotProtected { .. } => Some("SELECT * FROM mask.policies; shows what is protected.".into()),
            Self::NameTaken { name, table: Some(_) } => Some(format!(
                "Drop view masked.{name} first; tables of the same name in two schemas cannot both have one."
            )),
            Self::NameTaken { .. } => Some("Schema masked is for generated views: move the relation.".into()),
            Self::NoKey => Some("Recreate the extension: the key is made by CREATE EXTENSION.".into()),
            Self::Oracle(_) => Some("Read hashed columns through the masked view.".into()),
            Self::NullArgument(_)
            | Self::NamelessGroup
            | Self::UnknownRelation(_)
            | Self::TemporaryTable(_)
            | Self::SystemTable(_)
            | Self::RowSecurity(_) => None,
        }
    }
}
