//! The SQL functions of schema `access`; declared in sql/schema/20_access.sql.

use crate::access::grant::{self, Asked};
use crate::error::report;
use pgrx::datum::Interval;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `access.grant_access`
#[pg_extern(sql = false)]
fn grant_access(
    user_id: Option<String>,
    privileges: Option<Vec<Option<String>>>,
    on_object: Option<String>,
    duration: Option<Interval>,
    reason: Option<String>,
    ticket: Option<String>,
    rows: Option<String>,
    group_name: Option<String>,
    issuer: Option<String>,
) -> Result<i64, ErrorReport> {
    let duration = duration.map(|interval| interval.as_micros());
    grant::give(Asked { user_id, issuer, group_name, privileges, on_object, duration, reason, ticket, rows })
        .map_err(report)
}

/// `access.revoke_access`
#[pg_extern(sql = false)]
fn revoke_access(grant_id: Option<i64>, reason: Option<String>) -> Result<(), ErrorReport> {
    grant::revoke(grant_id, reason).map_err(report)
}
