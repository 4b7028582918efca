//! How masking says no.

use crate::error::{Report, ServerError};
use crate::masking::column_type::ColumnType;
use crate::masking::spec::{FORMS, Masking};
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
    #[error("a group in \"{0}\" must have a name")]
    NamelessGroup(&'static str),
    #[error("argument \"for_groups\" must name a group")]
    NoGroups,
    #[error("schema \"{0}\" does not exist")]
    UnknownSchema(String),
    #[error("cannot mask system schema \"{0}\"")]
    SystemSchema(String),
    #[error("invalid pattern \"{0}\"")]
    BadPattern(String),
    #[error("policy {0} does not exist")]
    UnknownPolicy(i64),
    #[error("argument \"{0}\" must be greater than zero")]
    NotPositive(&'static str),
    #[error("permission denied for table {0}")]
    NotReadable(String),
    #[error("argument \"minimum_group\" must be at least 2")]
    MinimumTooSmall,
    #[error("column \"{0}\" is protected and cannot make groups")]
    ProtectedDimension(String),
    #[error("column \"{column}\" makes the groups of aggregate view {view}")]
    IsDimension { column: String, view: String },
    #[error("argument \"dimensions\" must name each column once, and at least one")]
    BadDimensions,
    #[error("unrecognized measure \"{0}\"")]
    UnknownMeasure(String),
    #[error("column \"{column}\" is of type {type_name}, which has no average")]
    NoAverage { column: String, type_name: String },
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
    #[error("masking {masking} does not fit column \"{column}\", which is of type {type_name}")]
    WrongType { masking: String, column: String, type_name: String, fitting: &'static str },
    #[error("column \"{column}\" of relation \"{relation}\" is not protected")]
    NotProtected { relation: String, column: String, by: Vec<i64> },
    #[error("relation \"masked.{name}\" already exists")]
    NameTaken { name: String, table: Option<String> },
    #[error("a masked view of table \"{0}\", which has row-level security, is not supported yet")]
    RowSecurity(String),
    #[error("masking functions that use the key are not available to a role that people share")]
    Oracle,
    #[error("the operating system gave no random numbers")]
    NoRandomness,
    #[error("the key of the masking functions is missing")]
    NoKey,
}

impl From<pgrx::spi::Error> for MaskError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl MaskError {
    /// For a masking that does not fit a column; `base` is the type below the column's domains.
    pub fn wrong_type(masking: &Masking, column: &str, type_name: &str, base: &str) -> Self {
        Self::WrongType {
            masking: masking.to_string(),
            column: column.to_owned(),
            type_name: type_name.to_owned(),
            fitting: ColumnType::of(base).forms(),
        }
    }

    /// For a statement that calls a keyed mask function on values of its author's choosing.
    pub fn oracle() -> Self {
        Self::Oracle
    }
}

impl Report for MaskError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::NullArgument(_) => PgSqlErrorCode::ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::NamelessGroup(_)
            | Self::NoGroups
            | Self::UnknownMasking(_)
            | Self::BadPattern(_)
            | Self::NotPositive(_)
            | Self::MinimumTooSmall
            | Self::BadDimensions
            | Self::UnknownMeasure(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::UnknownSchema(_) => PgSqlErrorCode::ERRCODE_INVALID_SCHEMA_NAME,
            Self::SystemSchema(_) => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::UnknownPolicy(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT,
            Self::NotReadable(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::ProtectedDimension(_) | Self::IsDimension { .. } => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
            Self::NoAverage { .. } => PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
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
            Self::Oracle => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoRandomness => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::NoKey => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            Self::NameTaken { table: Some(table), .. } => Some(format!("It is the masked view of {table}.")),
            Self::RowSecurity(_) => Some("The view would show every row to everybody.".into()),
            Self::Oracle => Some("Masks of chosen values would give away what masked values are.".into()),
            Self::ProtectedDimension(_) | Self::IsDimension { .. } => {
                Some("Its values would stand in the view as they are.".into())
            }
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::Trail(error) => error.hint(),
            Self::UnknownMasking(_) => Some(format!("Write {FORMS}.")),
            Self::NotATable(_) => Some("Protect the columns of the tables behind it.".into()),
            Self::WrongType { fitting, .. } => Some(format!("Columns of this type take {fitting}.")),
            Self::SystemColumn(_) => Some("Protect the columns that hold data.".into()),
            Self::UnknownColumn { .. } => {
                Some("Names in quotes are taken as they stand: unquoted ones are in lower case.".into())
            }
            Self::NotProtected { by, .. } => Some(match by.first() {
                Some(id) => format!(
                    "Policy {id}, by which it is masked, is a default or a parent's: see mask.drop_policy."
                ),
                None => "SELECT * FROM mask.policies; shows what is protected.".into(),
            }),
            Self::NameTaken { name, table: Some(_) } => Some(format!(
                "Drop view masked.{name} first; tables of the same name in two schemas cannot both have one."
            )),
            Self::NameTaken { .. } => Some("Schema masked is for generated views: move the relation.".into()),
            Self::NoKey => Some("SELECT mask.rotate_key(); makes a new one.".into()),
            Self::Oracle => Some("Read the masked columns: these functions mask what they hold.".into()),
            Self::RowSecurity(_) => {
                Some("Drop its masked view first, or give the table itself to those who may read it.".into())
            }
            Self::NoGroups => Some("Leave it NULL for a policy for everybody else.".into()),
            Self::UnknownPolicy(_) => Some("SELECT * FROM mask.policies; shows the numbers.".into()),
            Self::BadPattern(_) => Some("Write it as for ILIKE, such as '%iban%'.".into()),
            Self::NotReadable(_) => Some("A preview shows columns without policy as they are.".into()),
            Self::IsDimension { view, .. } => Some(format!("DROP VIEW {view}; first.")),
            Self::ProtectedDimension(_) => Some("Choose columns that are not protected.".into()),
            Self::UnknownMeasure(_) => Some("Write count or avg(column).".into()),
            Self::NullArgument(_)
            | Self::NamelessGroup(_)
            | Self::UnknownRelation(_)
            | Self::NoRandomness
            | Self::TemporaryTable(_)
            | Self::SystemTable(_)
            | Self::UnknownSchema(_)
            | Self::SystemSchema(_)
            | Self::NotPositive(_)
            | Self::MinimumTooSmall
            | Self::BadDimensions
            | Self::NoAverage { .. } => None,
        }
    }
}
