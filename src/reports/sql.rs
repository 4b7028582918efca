//! The reports' functions, as SQL sees them; declared in sql/schema/60_reports.sql.

use super::health;
use crate::error::report;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `custodian.status`
#[allow(clippy::type_complexity)] // the columns, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn status() -> Result<
    TableIterator<
        'static,
        (name!(check, String), name!(ok, bool), name!(detail, String), name!(hint, Option<String>)),
    >,
    ErrorReport,
> {
    let checks = health::checks().map_err(report)?;
    Ok(TableIterator::new(
        checks.into_iter().map(|check| (check.name.to_owned(), check.ok, check.detail, check.hint)),
    ))
}
