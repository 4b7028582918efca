//! The SQL functions of the gate; declared in sql/schema/28_volume.sql.

use super::GateError;
use crate::error::report;
use crate::identity::{enrolled, session as identity};
use crate::pg::session;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `custodian.my_limits`
#[pg_extern(sql = false)]
#[allow(clippy::type_complexity)] // pgrx reads the type by its letters
fn my_limits() -> Result<
    TableIterator<
        'static,
        (
            name!(row_limit, Option<i64>),
            name!(rows_per_hour, Option<i64>),
            name!(rows_in_last_hour, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    let enrolled = enrolled::of_session().map_err(report)?;
    let terms = enrolled.map_or(enrolled::Terms::NONE, |(_, terms)| terms);
    let rows = match identity::live().filter(|_| terms.rows_per_hour.is_some()) {
        Some(person) => {
            let rows =
                super::volume::counted(&person, session::now()).map_err(GateError::from).map_err(report)?;
            Some(i64::try_from(rows).unwrap_or(i64::MAX))
        }
        None => None,
    };
    Ok(TableIterator::once((terms.row_limit, terms.rows_per_hour, rows)))
}
