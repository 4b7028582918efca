//! The SQL functions of requests and rules, declared in sql/schema/22_requests.sql.

use super::rules::{self, Asked as AskedRule};
use super::store::Shown;
use super::{decide, decide::Asked};
use crate::error::report;
use pgrx::datum::Interval;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, PgSqlErrorCode};

type RequestRow = PgHeapTuple<'static, AllocatedByRust>;

/// `access.set_rule`
#[pg_extern(sql = false)]
fn set_rule(
    name: Option<String>,
    decision: Option<String>,
    on_object: Option<String>,
    privileges: Option<Vec<Option<String>>>,
    asker_group: Option<String>,
    sensitivity: Option<String>,
    days: Option<Vec<Option<i32>>>,
    // A time of the day is a bigint of microseconds by value; pgrx's own type takes 24:00 for 00:00.
    from_time: Option<i64>,
    until_time: Option<i64>,
    time_zone: Option<String>,
    longest: Option<Interval>,
    approver_groups: Option<Vec<Option<String>>>,
    priority: Option<i32>,
    request_lifetime: Option<Interval>,
) -> Result<(), ErrorReport> {
    rules::set(AskedRule {
        name,
        decision,
        on_object,
        privileges,
        asker_group,
        sensitivity,
        days,
        from_time,
        until_time,
        time_zone,
        longest: longest.map(|interval| interval.as_micros()),
        approver_groups,
        priority,
        lifetime: request_lifetime.map(|interval| interval.as_micros()),
    })
    .map_err(report)
}

/// `access.drop_rule`
#[pg_extern(sql = false)]
fn drop_rule(name: Option<String>) -> Result<(), ErrorReport> {
    rules::drop(name).map_err(report)
}

/// `access.request_access`
#[pg_extern(sql = false)]
fn request_access(
    privileges: Option<Vec<Option<String>>>,
    on_object: Option<String>,
    duration: Option<Interval>,
    reason: Option<String>,
    ticket: Option<String>,
    rows: Option<String>,
) -> Result<pgrx::composite_type!('static, "access.requests"), ErrorReport> {
    let duration = duration.map(|interval| interval.as_micros());
    row(decide::ask(Asked { privileges, on_object, duration, reason, ticket, rows }).map_err(report)?)
}

/// `access.approve`
#[pg_extern(sql = false)]
fn approve_request(
    request_id: Option<i64>,
    comment: Option<String>,
) -> Result<pgrx::composite_type!('static, "access.requests"), ErrorReport> {
    row(decide::approve(request_id, comment).map_err(report)?)
}

/// `access.reject`
#[pg_extern(sql = false)]
fn reject_request(
    request_id: Option<i64>,
    comment: Option<String>,
) -> Result<pgrx::composite_type!('static, "access.requests"), ErrorReport> {
    row(decide::reject(request_id, comment).map_err(report)?)
}

/// `access.cancel`
#[pg_extern(sql = false)]
fn cancel_request(
    request_id: Option<i64>,
) -> Result<pgrx::composite_type!('static, "access.requests"), ErrorReport> {
    row(decide::cancel(request_id).map_err(report)?)
}

fn row(shown: Shown) -> Result<RequestRow, ErrorReport> {
    let mut row = PgHeapTuple::new_composite_type("access.requests").map_err(internal)?;
    row.set_by_name("id", shown.id).map_err(internal)?;
    row.set_by_name("issuer", shown.issuer).map_err(internal)?;
    row.set_by_name("user_id", shown.user_id).map_err(internal)?;
    row.set_by_name("email", shown.email).map_err(internal)?;
    row.set_by_name("privileges", shown.privileges).map_err(internal)?;
    row.set_by_name("object", shown.object).map_err(internal)?;
    row.set_by_name("duration", shown.duration).map_err(internal)?;
    row.set_by_name("rows", shown.rows).map_err(internal)?;
    row.set_by_name("reason", shown.reason).map_err(internal)?;
    row.set_by_name("ticket", shown.ticket).map_err(internal)?;
    row.set_by_name("asked_at", shown.asked_at).map_err(internal)?;
    row.set_by_name("expires_at", shown.expires_at).map_err(internal)?;
    row.set_by_name("rule", shown.rule).map_err(internal)?;
    row.set_by_name("decision", shown.decision).map_err(internal)?;
    row.set_by_name("approver_groups", shown.approver_groups).map_err(internal)?;
    row.set_by_name("approved_by", shown.approved_by).map_err(internal)?;
    row.set_by_name("rejected_by", shown.rejected_by).map_err(internal)?;
    row.set_by_name("state", shown.state).map_err(internal)?;
    row.set_by_name("decided_at", shown.decided_at).map_err(internal)?;
    row.set_by_name("comment", shown.comment).map_err(internal)?;
    row.set_by_name("grant_id", shown.grant_id).map_err(internal)?;
    Ok(row)
}

#[track_caller]
fn internal(error: impl std::fmt::Display) -> ErrorReport {
    ErrorReport::new(PgSqlErrorCode::ERRCODE_INTERNAL_ERROR, error.to_string(), "pg_custodian")
}
