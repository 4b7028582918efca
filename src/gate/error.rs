//! How the gate says no. Each refusal names the call that helps.

use super::volume::CountFault;
use crate::access::object::{ObjectName, identifier, literal};
use crate::access::{Privilege, Privileges, reliance, request_call};
use crate::error::{Report, ServerError};
use crate::identity::enrolled::Terms;
use crate::pg::{catalog, session};
use crate::settings::{self, IdentityScope};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;

#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Server(#[from] ServerError),
    #[error("role \"{role}\" requires an identified person")]
    NoPerson { role: String, scope: IdentityScope },
    #[error("access to {what} requires a live grant")]
    NoGrant {
        /// `table "public.customers"`
        what: String,
        lacking: Privileges,
        /// The call that gives it.
        call: String,
    },
    #[error("access to {what} is granted for some of its rows only")]
    RowsOnly { what: String, lacking: Privileges, call: String },
    #[error("the statement cannot go on because {what}")]
    Ended {
        /// `grant 7 on TABLE public.customers has expired`
        what: String,
        hint: String,
    },
    #[error("the grants have changed since this statement was planned")]
    Outdated,
    #[error("the rows of a grant cannot be told any more: {0}")]
    UnreadableRows(String),
    #[error("function call messages are not available to an enrolled role")]
    FunctionCall,
    #[error("role \"{0}\" runs named queries only")]
    AdHoc(String),
    #[error("the relation that the statement names does not exist")]
    UnknownRelation,
    #[error("statement exceeds the limit of {limit} rows of role \"{role}\"")]
    RowLimit { role: String, limit: i64, call: String },
    #[error("person \"{user_id}\" exceeds the limit of {limit} rows an hour of role \"{role}\"")]
    RowsPerHour { user_id: String, role: String, limit: i64, room_at: String, call: String },
    #[error(transparent)]
    Count(#[from] CountFault),
}

impl GateError {
    /// Nobody was identified on the enrolled `role`.
    pub fn no_person(role: Oid) -> Self {
        let role = role_name(role);
        Self::NoPerson { role, scope: settings::identity_scope() }
    }

    /// `role` may run nothing but named queries.
    pub(super) fn ad_hoc(role: Oid) -> Self {
        Self::AdHoc(String::from_utf8_lossy(&session::role_name(role)).into_owned())
    }

    /// `privileges` on `relation` are not granted; without a relation, on the
    /// database. The grant to ask for is one on `asked_at`.
    pub(super) fn no_grant(relation: Option<Oid>, asked_at: Option<Oid>, lacking: Privileges) -> Self {
        let what = match relation {
            Some(relation) => described(relation),
            None => "this database".to_owned(),
        };
        // Nor is a grant on a temporary table or a catalog worth asking for.
        let of_all = lacking.has(Privilege::Ddl) || lacking.has(Privilege::Export);
        let nowhere = of_all && relation.is_some_and(|relation| !is_ordinary(relation));
        let asked_at = if nowhere { None } else { asked_at };
        Self::NoGrant { what, lacking, call: call(lacking, &object(asked_at)) }
    }

    /// The grant that a statement relies on is not live any more, which has begun already.
    pub fn ended(grant: i64) -> Self {
        match reliance::obituary(grant) {
            Ok((what, hint)) => Self::Ended { what, hint },
            Err(error) => Self::Server(error),
        }
    }

    /// Only some rows of `relation` are granted, and the statement is not limited to them.
    pub(super) fn rows_only(relation: Oid, asked_at: Oid, lacking: Privileges) -> Self {
        let call = call(lacking, &object(Some(asked_at)));
        Self::RowsOnly { what: described(relation), lacking, call }
    }

    /// A statement returns more rows than it may under these terms.
    pub fn row_limit(role: Oid, terms: &Terms) -> Self {
        let limit = terms.row_limit.unwrap_or_default();
        let more = Terms { row_limit: Some(limit.saturating_mul(10)), ..*terms };
        let role = role_name(role);
        Self::RowLimit { call: enroll(&role, &more), role, limit }
    }

    /// A person was given as many rows within an hour as he may be under these terms.
    pub fn rows_per_hour(role: Oid, terms: &Terms, user_id: &str, room_at: String) -> Self {
        let limit = terms.rows_per_hour.unwrap_or_default();
        let more = Terms { rows_per_hour: Some(limit.saturating_mul(10)), ..*terms };
        let role = role_name(role);
        Self::RowsPerHour { user_id: user_id.to_owned(), call: enroll(&role, &more), role, limit, room_at }
    }

    /// Nothing may be made in `schema`.
    pub(super) fn no_schema(schema: Oid, privilege: Privilege) -> Self {
        let lacking = Privileges::NONE.with(privilege);
        let (what, object) = match catalog::namespace_name(schema) {
            Some(schema) => (format!("schema \"{}\"", identifier(&schema)), ObjectName::Schema { schema }),
            None => ("this database".to_owned(), ObjectName::Database),
        };
        Self::NoGrant { what, lacking, call: call(lacking, &object) }
    }

    /// `function`, which is in `schema`, may not be called.
    pub(super) fn no_function(function: Oid, schema: Oid) -> Self {
        let lacking = Privileges::NONE.with(Privilege::Execute);
        let name = catalog::function_name(function).unwrap_or_else(|| function.to_string());
        let schema = catalog::namespace_name(schema).unwrap_or_default();
        let what = format!("function \"{}.{}\"", identifier(&schema), identifier(&name));
        let object = match schema.as_str() {
            "queries" => ObjectName::Query { name },
            _ => ObjectName::Schema { schema },
        };
        Self::NoGrant { what, lacking, call: call(lacking, &object) }
    }
}

fn object(relation: Option<Oid>) -> ObjectName {
    match relation.and_then(catalog::relation_name) {
        Some((schema, table)) => ObjectName::Table { schema, table },
        None => ObjectName::Database,
    }
}

fn is_ordinary(relation: Oid) -> bool {
    catalog::namespace_of(relation)
        .is_some_and(|schema| super::exempt::kind_of(schema) == super::exempt::Kind::Ordinary)
}

/// What kind of thing a relation is and what it is called: `table "public.customers"`.
fn described(relation: Oid) -> String {
    let kind = match catalog::relation_kind(relation) {
        Some(b'v') => "view",
        Some(b'm') => "materialized view",
        Some(b'f') => "foreign table",
        Some(b'S') => "sequence",
        _ => "table",
    };
    match catalog::relation_name(relation) {
        Some((schema, name)) => format!("{kind} \"{}.{}\"", identifier(&schema), identifier(&name)),
        None => format!("{kind} with OID {relation}"),
    }
}

fn role_name(role: Oid) -> String {
    String::from_utf8_lossy(&session::role_name(role)).into_owned()
}

/// The call that enrols a role on these terms, and can be pasted.
fn enroll(role: &str, terms: &Terms) -> String {
    let mut arguments = vec![literal(&identifier(role)), literal(terms.mode.name())];
    let limits = [("row_limit", terms.row_limit), ("rows_per_hour", terms.rows_per_hour)];
    arguments.extend(limits.iter().filter_map(|(name, limit)| Some(format!("{name} => {}", (*limit)?))));
    if !terms.ad_hoc {
        arguments.push("ad_hoc => false".to_owned());
    }
    format!("SELECT custodian.enroll({});", arguments.join(", "))
}

fn call(lacking: Privileges, object: &ObjectName) -> String {
    request_call(lacking, &object.to_string())
}

impl Report for GateError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::NoPerson { .. } => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NoGrant { .. }
            | Self::RowsOnly { .. }
            | Self::Ended { .. }
            | Self::UnreadableRows(_)
            | Self::FunctionCall
            | Self::AdHoc(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            // As for whatever goes well when it is tried again.
            Self::Outdated => PgSqlErrorCode::ERRCODE_T_R_SERIALIZATION_FAILURE,
            Self::UnknownRelation => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::RowLimit { .. } | Self::RowsPerHour { .. } | Self::Count(CountFault::NoRoom) => {
                PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED
            }
            Self::Count(CountFault::Io(_)) => PgSqlErrorCode::ERRCODE_IO_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::NoGrant { lacking, .. } | Self::RowsOnly { lacking, .. } => {
                Some(format!("Missing: {}.", lacking.words().join(", ")))
            }
            Self::RowsPerHour { room_at, .. } => {
                Some(format!("The first of them are forgotten at {room_at}."))
            }
            Self::NoPerson { .. }
            | Self::Ended { .. }
            | Self::Outdated
            | Self::UnreadableRows(_)
            | Self::FunctionCall
            | Self::AdHoc(_)
            | Self::RowLimit { .. }
            | Self::Count(_)
            | Self::UnknownRelation => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.hint(),
            Self::NoPerson { scope: IdentityScope::Session, .. } => {
                Some("Identify first: SELECT custodian.set_identity('<token>');".to_owned())
            }
            Self::NoPerson { scope: IdentityScope::Transaction, .. } => Some(
                "Identify in each transaction: BEGIN; SELECT custodian.set_identity('<token>');".to_owned(),
            ),
            Self::NoGrant { call, .. } => Some(format!("Ask for: {call}")),
            Self::RowsOnly { call, .. } => Some(format!(
                "Run a statement that was prepared before the grant again. COPY of a table, LOCK, TRUNCATE, MERGE and \
                 functions in FROM need all rows; ask for: {call}"
            )),
            Self::Ended { hint, .. } => Some(hint.clone()),
            Self::Outdated => Some("Run the statement again.".to_owned()),
            Self::UnreadableRows(_) => Some("Ask for a new grant.".to_owned()),
            Self::AdHoc(_) => Some(
                "See SELECT * FROM custodian.queries; call one as SELECT * FROM queries.name(...), with constants or \
                 parameters and nothing else."
                    .to_owned(),
            ),
            Self::FunctionCall => Some("Call the function by a statement: SELECT function(...).".to_owned()),
            Self::UnknownRelation => None,
            Self::RowLimit { call, .. } => {
                Some(format!("Ask for fewer rows, or an administrator for another limit: {call}"))
            }
            Self::RowsPerHour { call, .. } => {
                Some(format!("Wait, or ask an administrator for another limit: {call}"))
            }
            Self::Count(CountFault::NoRoom) => Some("Try again later.".to_owned()),
            Self::Count(CountFault::Io(_)) => Some(
                "See the file \"row_counts\" in the directory \"pg_custodian\" of the data directory. If it is damaged, \
                 stop the server and remove it."
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_for_another_limit_keeps_all_other_terms() {
        let terms = Terms {
            mode: crate::identity::enrolled::Mode::Govern,
            row_limit: Some(100),
            rows_per_hour: Some(2000),
            ad_hoc: false,
        };
        assert_eq!(
            enroll("o'Hara", &terms),
            "SELECT custodian.enroll('\"o''Hara\"', 'govern', row_limit => 100, rows_per_hour => 2000, ad_hoc => false);"
        );
    }

    #[test]
    fn the_call_in_a_hint_survives_hostile_names() {
        let object = ObjectName::Table { schema: "public".into(), table: "o'Hara \"x\"".into() };
        let lacking = Privileges::NONE.with(Privilege::Select).with(Privilege::Export);
        assert_eq!(
            call(lacking, &object),
            "SELECT * FROM access.request_access(ARRAY['select', 'export'], \
             'TABLE public.\"o''Hara \"\"x\"\"\"', '1 hour', 'reason');"
        );
    }
}
