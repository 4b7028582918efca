//! How the definition of a query says no.

use crate::error::{Report, ServerError};
use crate::pg::body::{BadParameters, BadStatement, Fault};
use crate::trail::TrailError;
use pgrx::PgSqlErrorCode;

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error(transparent)]
    Trail(#[from] TrailError),
    #[error("argument \"{0}\" must not be null")]
    NullArgument(&'static str),
    #[error("\"{0}\" cannot be the name of a query")]
    ReservedName(String),
    #[error("name of a query must have at most 63 bytes")]
    LongName,
    #[error("\"{0}\" cannot be the name of a parameter")]
    ReservedParameter(String),
    #[error("invalid parameters of a query: {}", parameters(.0))]
    Parameters(BadParameters),
    #[error("invalid query: {}", statement(.0))]
    Statement(BadStatement),
    #[error("invalid query: {}", .0.message)]
    Refused(Fault),
    #[error("query cannot be dropped: {}", .0.message)]
    Needed(Fault),
    #[error("a query must return columns")]
    NoColumns,
    #[error("column {0} of the query has no name")]
    NamelessColumn(usize),
    #[error("column \"{0}\" is returned twice by the query")]
    ColumnTwice(String),
    #[error("column \"{0}\" of the query has the name of a parameter")]
    ColumnIsParameter(String),
    #[error("column \"{0}\" of the query has no type of its own")]
    UntypedColumn(String),
    #[error("parameter \"{0}\" is not used by the query")]
    UnusedParameter(String),
    #[error("function \"{name}\" may not be called by a query, it {why}")]
    Function { name: String, why: &'static str },
    #[error("a query may not use {0}, which is of this session only")]
    Temporary(String),
    #[error("role \"{role}\" has no right to use {what}")]
    NoRight { role: String, what: String },
    #[error("a query may not call {0}, which somebody else could replace")]
    OfOthers(String),
    #[error("function \"queries.{0}\" exists, and was not made by custodian.define_query")]
    Taken(String),
    #[error("query \"{0}\" exists with other parameters")]
    OtherParameters(String),
    #[error("query \"{0}\" does not exist")]
    Unknown(String),
}

fn parameters(bad: &BadParameters) -> String {
    match bad {
        BadParameters::Fault(fault) => fault.message.clone(),
        BadParameters::NotAList => "this is no list of parameters".to_owned(),
        BadParameters::Nameless => "a parameter has no name".to_owned(),
        BadParameters::NotInput(name) => format!("\"{name}\" is not an input parameter"),
        BadParameters::HasDefault(name) => format!("\"{name}\" has a default"),
        BadParameters::Untyped(name) => format!("\"{name}\" has no type of its own"),
    }
}

fn statement(bad: &BadStatement) -> String {
    match bad {
        BadStatement::Fault(fault) => fault.message.clone(),
        BadStatement::NotOne(0) => "there is no statement".to_owned(),
        BadStatement::NotOne(count) => format!("there are {count} statements"),
        BadStatement::WrongKind => "it is neither a query nor INSERT, UPDATE or DELETE".to_owned(),
    }
}

impl From<pgrx::spi::Error> for QueryError {
    fn from(error: pgrx::spi::Error) -> Self {
        Self::Server(ServerError::Spi(error))
    }
}

impl QueryError {
    fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Refused(fault)
            | Self::Needed(fault)
            | Self::Parameters(BadParameters::Fault(fault))
            | Self::Statement(BadStatement::Fault(fault)) => Some(fault),
            _ => None,
        }
    }
}

impl Report for QueryError {
    fn code(&self) -> PgSqlErrorCode {
        use PgSqlErrorCode::*;
        match self {
            Self::Server(error) => error.code(),
            Self::Trail(error) => error.code(),
            Self::Parameters(BadParameters::Fault(fault))
            | Self::Statement(BadStatement::Fault(fault))
            | Self::Refused(fault)
            | Self::Needed(fault) => fault.code,
            Self::NullArgument(_) => ERRCODE_NULL_VALUE_NOT_ALLOWED,
            Self::ReservedName(_) | Self::ReservedParameter(_) => ERRCODE_RESERVED_NAME,
            Self::LongName => ERRCODE_NAME_TOO_LONG,
            Self::Parameters(BadParameters::NotAList) => ERRCODE_SYNTAX_ERROR,
            Self::Parameters(_)
            | Self::NoColumns
            | Self::NamelessColumn(_)
            | Self::ColumnIsParameter(_)
            | Self::UntypedColumn(_)
            | Self::UnusedParameter(_) => ERRCODE_INVALID_FUNCTION_DEFINITION,
            Self::Statement(BadStatement::NotOne(_)) => ERRCODE_SYNTAX_ERROR,
            Self::Statement(BadStatement::WrongKind) => ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::ColumnTwice(_) => ERRCODE_DUPLICATE_COLUMN,
            Self::Function { .. } | Self::Temporary(_) | Self::OfOthers(_) => ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoRight { .. } => ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::Taken(_) | Self::OtherParameters(_) => ERRCODE_DUPLICATE_FUNCTION,
            Self::Unknown(_) => ERRCODE_UNDEFINED_FUNCTION,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::Trail(error) => error.detail(),
            other => other.fault().and_then(|fault| fault.detail.clone()),
        }
    }

    fn hint(&self) -> Option<String> {
        use PgSqlErrorCode::*;
        Some(match self {
            Self::Server(error) => return error.hint(),
            Self::Trail(error) => return error.hint(),
            Self::Refused(fault)
            | Self::Parameters(BadParameters::Fault(fault))
            | Self::Statement(BadStatement::Fault(fault)) => match fault.code {
                ERRCODE_UNDEFINED_TABLE | ERRCODE_UNDEFINED_FUNCTION | ERRCODE_UNDEFINED_OBJECT => {
                    "Name tables, functions and types with their schemas: the search path is not used.".into()
                }
                ERRCODE_INVALID_FUNCTION_DEFINITION => {
                    "Other columns are another query: custodian.drop_query(name), and grant it anew.".into()
                }
                _ => return fault.hint.clone(),
            },
            Self::Needed(_) => "Drop first what uses it.".into(),
            Self::NullArgument("parameters") => "Pass '' for a query without parameters.".into(),
            Self::NullArgument(_) => return None,
            Self::ReservedName(_) | Self::ReservedParameter(_) => {
                "Use a name that needs no quotes: lower-case letters, digits and underscores, and no key word.".into()
            }
            Self::LongName => return None,
            Self::Parameters(_) => {
                "Write names and types, such as 'order_id text, since date'; whoever calls passes all of them.".into()
            }
            Self::Statement(_) => "Pass one SELECT, or one INSERT, UPDATE or DELETE with RETURNING.".into(),
            Self::NoColumns => "Use SELECT with columns, or RETURNING.".into(),
            Self::NamelessColumn(_) | Self::ColumnTwice(_) | Self::ColumnIsParameter(_) => {
                "Name it with AS, and not like a parameter.".into()
            }
            Self::UntypedColumn(_) => "Cast it, or name its fields one by one.".into(),
            Self::UnusedParameter(_) => {
                "Where a column has its name the column is meant: use another name, or name_of_the_query.parameter.".into()
            }
            Self::Function { .. } => {
                "Queries call functions that are not volatile; of the server's own, those that are parallel safe."
                    .into()
            }
            Self::Temporary(_) => return None,
            Self::NoRight { .. } => "Queries run with the rights of the role that defines them.".into(),
            Self::OfOthers(_) => {
                "It would run with the definer's rights: give it to the definer or to a superuser.".into()
            }
            Self::Taken(_) => "Drop it, or take another name.".into(),
            Self::OtherParameters(_) => {
                "Other parameters are another query: custodian.drop_query(name), and grant it anew.".into()
            }
            Self::Unknown(_) => "Named queries are in custodian.queries.".into(),
        })
    }
}
