//! The SQL functions of schema `custodian`; declared in sql/schema/10_identity.sql.

use super::person::Person;
use super::secret::Secret;
use super::{changes, enrolled, identify, registry, revocation, session};
use crate::error::report;
use crate::pg::session as backend;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::{ErrorReport, ErrorReportable};
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, JsonB, PgSqlErrorCode};
use std::rc::Rc;

/// A row of type `custodian.person`. Signatures spell it out: pgrx reads them by their letters.
type PersonRow = PgHeapTuple<'static, AllocatedByRust>;

/// `custodian.set_identity`
#[pg_extern(sql = false)]
fn set_identity(
    token: Option<String>,
    for_transaction: Option<bool>,
) -> Result<pgrx::composite_type!('static, "custodian.person"), ErrorReport> {
    let token = token.map(Secret::new);
    let for_transaction = registry::present(for_transaction, "for_transaction").map_err(report)?;
    row(&*identify::identify(token, for_transaction).map_err(report)?)
}

/// `custodian.clear_identity`
#[pg_extern(sql = false)]
fn clear_identity() -> Result<(), ErrorReport> {
    identify::clear().map_err(report)
}

/// `custodian.whoami`. pgrx knows no composite type in an Option in a Result.
#[pg_extern(sql = false)]
fn whoami() -> Option<pgrx::composite_type!('static, "custodian.person")> {
    person().map(|person| row(&person).unwrap_or_report())
}

/// `custodian.user_id`
#[pg_extern(sql = false)]
fn person_user_id() -> Option<String> {
    person().map(|person| person.user_id.clone())
}

/// `custodian.email`
#[pg_extern(sql = false)]
fn person_email() -> Option<String> {
    person().and_then(|person| person.email.clone())
}

/// `custodian.groups`
#[pg_extern(sql = false)]
fn person_groups() -> Vec<String> {
    person().map(|person| person.groups.clone()).unwrap_or_default()
}

/// `custodian.has_group`
#[pg_extern(sql = false)]
fn person_has_group(group_name: Option<String>) -> bool {
    group_name.is_some_and(|group| person().is_some_and(|person| person.is_in(&group)))
}

/// `custodian.claims`
#[pg_extern(sql = false)]
fn person_claims() -> Result<Option<JsonB>, ErrorReport> {
    let Some(person) = person() else { return Ok(None) };
    serde_json::from_str(&person.claims).map(|claims| Some(JsonB(claims))).map_err(internal)
}

/// `custodian.trust_issuer`
#[pg_extern(sql = false)]
fn trust_issuer(
    issuer: Option<String>,
    jwks: Option<JsonB>,
    audience: Option<Vec<Option<String>>>,
    algorithms: Option<Vec<Option<String>>>,
    user_claim: Option<String>,
    email_claim: Option<String>,
    groups_claim: Option<String>,
    leeway: Option<Interval>,
    max_lifetime: Option<Interval>,
    single_use: Option<bool>,
) -> Result<(), ErrorReport> {
    let asked = registry::Asked {
        issuer,
        jwks: jwks.map(|jwks| jwks.0),
        audience,
        algorithms,
        user_claim,
        email_claim,
        groups_claim,
        leeway: leeway.map(micros),
        max_lifetime: max_lifetime.map(micros),
        single_use,
    };
    tell(registry::trust(asked).map_err(report)?);
    Ok(())
}

/// `custodian.rotate_keys`
#[pg_extern(sql = false)]
fn rotate_keys(issuer: Option<String>, jwks: Option<JsonB>) -> Result<(), ErrorReport> {
    tell(registry::rotate(issuer, jwks.map(|jwks| jwks.0)).map_err(report)?);
    Ok(())
}

/// `custodian.distrust_issuer`
#[pg_extern(sql = false)]
fn distrust_issuer(issuer: Option<String>) -> Result<(), ErrorReport> {
    registry::distrust(issuer).map_err(report)
}

/// `custodian.revoke_person`
#[pg_extern(sql = false)]
fn revoke_person(
    user_id: Option<String>,
    reason: Option<String>,
    issuer: Option<String>,
) -> Result<(), ErrorReport> {
    let asked = revocation::Asked { user_id, reason, issuer };
    if let Some(told) = revocation::revoke(asked).map_err(report)? {
        pgrx::notice!("{told}");
    }
    Ok(())
}

/// `custodian.reinstate_person`
#[pg_extern(sql = false)]
fn reinstate_person(
    user_id: Option<String>,
    reason: Option<String>,
    issuer: Option<String>,
) -> Result<(), ErrorReport> {
    revocation::reinstate(revocation::Asked { user_id, reason, issuer }).map_err(report)
}

/// `custodian.revoke_token`
#[pg_extern(sql = false)]
fn revoke_token(
    issuer: Option<String>,
    token_id: Option<String>,
    reason: Option<String>,
) -> Result<(), ErrorReport> {
    revocation::revoke_token(issuer, token_id, reason).map_err(report)
}

/// `custodian.enroll`
#[pg_extern(sql = false)]
fn enroll(
    role: Option<Oid>,
    mode: Option<String>,
    row_limit: Option<i64>,
    rows_per_hour: Option<i64>,
    ad_hoc: Option<bool>,
) -> Result<(), ErrorReport> {
    enrolled::enroll(enrolled::Asked { role, mode, row_limit, rows_per_hour, ad_hoc }).map_err(report)
}

/// `custodian.unenroll`
#[pg_extern(sql = false)]
fn unenroll(role: Option<Oid>) -> Result<(), ErrorReport> {
    enrolled::unenroll(role).map_err(report)
}

/// `custodian.announce_change`: the trigger on the tables of this part, so that a row that is
/// restored or edited by hand acts like one written by the functions. When policies change, all sessions
/// make their plans anew: one from before a table was protected shows what it holds. So they do when roles change: what
/// was planned for ad-hoc statements is judged anew.
#[pg_trigger(sql = false)]
fn announce_change<'a>(
    trigger: &'a PgTrigger<'a>,
) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
    changes::announce();
    let is_policy = trigger.table_schema().is_ok_and(|schema| schema == "mask");
    if is_policy || trigger.table_name().is_ok_and(|table| table == "enrolled_role") {
        backend::forget_plans_everywhere();
    }
    Ok(None)
}

/// The person who is here now. Raises an ERROR where nobody can tell.
fn person() -> Option<Rc<Person>> {
    backend::in_leader().map_err(report).unwrap_or_report();
    session::live()
}

fn row(person: &Person) -> Result<PersonRow, ErrorReport> {
    let mut row = PgHeapTuple::new_composite_type("custodian.person").map_err(internal)?;
    let expires_at = TimestampWithTimeZone::try_from(person.expires_at).map_err(internal)?;
    row.set_by_name("issuer", person.issuer.clone()).map_err(internal)?;
    row.set_by_name("user_id", person.user_id.clone()).map_err(internal)?;
    row.set_by_name("email", person.email.clone()).map_err(internal)?;
    row.set_by_name("name", person.name.clone()).map_err(internal)?;
    row.set_by_name("groups", person.groups.clone()).map_err(internal)?;
    row.set_by_name("token_id", person.token_id.clone()).map_err(internal)?;
    row.set_by_name("expires_at", expires_at).map_err(internal)?;
    Ok(row)
}

fn micros(interval: Interval) -> i64 {
    i64::try_from(interval.as_micros()).unwrap_or(i64::MAX)
}

fn tell(set_aside: Vec<String>) {
    for key in set_aside {
        pgrx::notice!("{key} and was set aside");
    }
}

#[track_caller]
fn internal(error: impl std::fmt::Display) -> ErrorReport {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, error.to_string(), "pg_custodian")
}
