//! How the gate says no. Each refusal names the call that helps.

use crate::access::object::{ObjectName, identifier, literal};
use crate::access::{Privilege, Privileges};
use crate::error::{Report, ServerError};
use crate::identity::Person;
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
    #[error("function call messages are not available to an enrolled role")]
    FunctionCall,
    #[error("the relation that the statement names does not exist")]
    UnknownRelation,
}

impl GateError {
    /// Nobody was identified on the enrolled `role`.
    pub fn no_person(role: Oid) -> Self {
        let role = String::from_utf8_lossy(&session::role_name(role)).into_owned();
        Self::NoPerson { role, scope: settings::identity_scope() }
    }

    /// `privileges` on `relation` are not granted to `person`; without a relation, on the
    /// database. The grant to ask for is one on `asked_at`.
    pub(super) fn no_grant(
        person: &Person,
        relation: Option<Oid>,
        asked_at: Option<Oid>,
        lacking: Privileges,
    ) -> Self {
        let what = match relation {
            Some(relation) => described(relation),
            None => "this database".to_owned(),
        };
        let asked_at =
            if lacking.has(Privilege::Ddl) && relation.is_some_and(is_catalog) { None } else { asked_at };
        let object = match asked_at.and_then(catalog::relation_name) {
            Some((schema, table)) => ObjectName::Table { schema, table },
            None => ObjectName::Database,
        };
        Self::NoGrant { what, lacking, call: call(&person.user_id, lacking, &object) }
    }
}

fn is_catalog(relation: Oid) -> bool {
    catalog::namespace_of(relation)
        .is_some_and(|schema| super::exempt::kind_of(relation, schema) == super::exempt::Kind::System)
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

/// A call that can be pasted.
fn call(user_id: &str, lacking: Privileges, object: &ObjectName) -> String {
    format!(
        "SELECT access.grant_access({}, {}, {}, '1 hour', 'reason');",
        literal(user_id),
        lacking.as_sql_array(),
        literal(&object.to_string())
    )
}

impl Report for GateError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Server(error) => error.code(),
            Self::NoPerson { .. } => PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            Self::NoGrant { .. } | Self::FunctionCall => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::UnknownRelation => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Server(error) => error.detail(),
            Self::NoGrant { lacking, .. } => Some(format!("Missing: {}.", lacking.words().join(", "))),
            Self::NoPerson { .. } | Self::FunctionCall | Self::UnknownRelation => None,
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
            Self::FunctionCall => Some("Call the function by a statement: SELECT function(...).".to_owned()),
            Self::UnknownRelation => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_call_in_a_hint_survives_hostile_names() {
        let object = ObjectName::Table { schema: "public".into(), table: "o'Hara \"x\"".into() };
        let lacking = Privileges::NONE.with(Privilege::Select).with(Privilege::Export);
        assert_eq!(
            call("a'b", lacking, &object),
            "SELECT access.grant_access('a''b', ARRAY['select', 'export'], \
             'TABLE public.\"o''Hara \"\"x\"\"\"', '1 hour', 'reason');"
        );
    }
}
