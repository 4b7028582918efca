//! The SQL functions of break-glass and incidents, declared in sql/schema/24_incidents.sql.

use super::glass;
use crate::error::report;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `access.break_glass`
#[pg_extern(sql = false)]
fn break_glass(
    incident: Option<String>,
    reason: Option<String>,
    on_object: Option<String>,
) -> Result<i64, ErrorReport> {
    glass::shatter(incident, reason, on_object).map_err(report)
}

/// `access.renew`
#[pg_extern(sql = false)]
fn renew_grant(grant_id: Option<i64>) -> Result<Option<TimestampWithTimeZone>, ErrorReport> {
    glass::renew(grant_id).map(|end| TimestampWithTimeZone::try_from(end).ok()).map_err(report)
}

/// `access.review`
#[pg_extern(sql = false)]
fn review_grant(grant_id: Option<i64>, findings: Option<String>) -> Result<(), ErrorReport> {
    glass::review(grant_id, findings).map_err(report)
}

/// `access.open_incident`
#[pg_extern(sql = false)]
fn open_incident(
    incident: Option<String>,
    assignees: Option<Vec<Option<String>>>,
    title: Option<String>,
) -> Result<(), ErrorReport> {
    glass::open(incident, assignees, title).map_err(report)
}

/// `access.close_incident`
#[pg_extern(sql = false)]
fn close_incident(incident: Option<String>) -> Result<i32, ErrorReport> {
    glass::close(incident).map_err(report)
}
