//! The SQL function of credentials, declared in sql/schema/26_credentials.sql.

use super::issue;
use crate::error::report;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `access.issue_credential`
#[allow(clippy::type_complexity)] // the columns, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn issue_credential(
    grant_id: Option<i64>,
) -> Result<
    TableIterator<
        'static,
        (name!(role, String), name!(password, String), name!(valid_until, Option<TimestampWithTimeZone>)),
    >,
    ErrorReport,
> {
    let issued = issue::issue(grant_id).map_err(report)?;
    let until = TimestampWithTimeZone::try_from(issued.valid_until).ok();
    Ok(TableIterator::once((issued.role, issued.password.expose().to_owned(), until)))
}
