//! The SQL functions that the planner's hook puts into queries; declared in sql/schema/34_masked_tables.sql.

use crate::error::report;
use crate::pg::session;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `mask.shows_statistics`
#[pg_extern(sql = false)]
fn shows_statistics(relation: Oid, attnum: i16) -> Result<bool, ErrorReport> {
    session::in_leader().map_err(report)?;
    super::shows_statistics(relation, attnum).map_err(report)
}

/// `mask.shows_extended_statistics`
#[pg_extern(sql = false)]
fn shows_extended_statistics(object: Oid) -> Result<bool, ErrorReport> {
    session::in_leader().map_err(report)?;
    super::shows_extended_statistics(object).map_err(report)
}
