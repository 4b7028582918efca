//! The SQL functions of policies and of the key; declared in sql/schema/30_mask_functions.sql and 32_mask.sql.

use crate::error::report;
use crate::masking::policy::{self, Asked};
use crate::masking::{aggregate, candidate, clearance, key, view};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::ffi::CStr;

/// `mask.rotate_key`
#[pg_extern(sql = false)]
fn mask_rotate_key() -> Result<(), ErrorReport> {
    key::rotate().map_err(report)
}

/// `mask.reveals`
#[pg_extern(sql = false)]
fn mask_reveals(policy: i64, relation: Oid) -> Result<bool, ErrorReport> {
    clearance::reveals(policy, relation).map_err(report)
}

/// `mask.applies`
#[pg_extern(sql = false)]
fn mask_applies(policy: i64) -> Result<bool, ErrorReport> {
    clearance::applies(policy).map_err(report)
}

/// `mask.protect`
#[pg_extern(sql = false)]
fn protect(
    relation: Option<Oid>,
    column_name: Option<&CStr>,
    masking: Option<&str>,
    reveal_to: Option<Vec<Option<String>>>,
    for_groups: Option<Vec<Option<String>>>,
) -> Result<i64, ErrorReport> {
    let column = column_name.map(CStr::to_string_lossy);
    policy::protect(relation, column.as_deref(), Asked { masking, reveal_to, for_groups }).map_err(report)
}

/// `mask.unprotect`
#[pg_extern(sql = false)]
fn unprotect(relation: Option<Oid>, column_name: Option<&CStr>) -> Result<(), ErrorReport> {
    let column = column_name.map(CStr::to_string_lossy);
    policy::unprotect(relation, column.as_deref()).map_err(report)
}

/// `mask.protect_matching`
#[pg_extern(sql = false)]
fn protect_matching(
    schema_name: Option<&CStr>,
    pattern: Option<&str>,
    masking: Option<&str>,
    reveal_to: Option<Vec<Option<String>>>,
    for_groups: Option<Vec<Option<String>>>,
) -> Result<i64, ErrorReport> {
    let schema = schema_name.map(CStr::to_string_lossy);
    let asked = Asked { masking, reveal_to, for_groups };
    policy::protect_matching(schema.as_deref(), pattern, asked).map_err(report)
}

/// `mask.drop_policy`
#[pg_extern(sql = false)]
fn drop_policy(policy: Option<i64>) -> Result<(), ErrorReport> {
    policy::drop_policy(policy).map_err(report)
}

/// `mask.order_policy`
#[pg_extern(sql = false)]
fn order_policy(policy: Option<i64>, place: Option<i32>) -> Result<(), ErrorReport> {
    policy::order_policy(policy, place).map_err(report)
}

/// `mask.generate_view`
#[pg_extern(sql = false)]
fn generate_view(relation: Option<Oid>) -> Result<Oid, ErrorReport> {
    view::generate(relation).map_err(report)
}

/// `mask.generate_views`
#[pg_extern(sql = false)]
fn generate_views(schema_name: Option<&CStr>) -> Result<SetOfIterator<'static, Oid>, ErrorReport> {
    let schema = schema_name.map(CStr::to_string_lossy);
    Ok(SetOfIterator::new(view::generate_all(schema.as_deref()).map_err(report)?))
}

/// `mask.generate_aggregate_view`
#[pg_extern(sql = false)]
fn generate_aggregate_view(
    relation: Option<Oid>,
    dimensions: Option<Array<'_, &CStr>>,
    measures: Option<Vec<Option<String>>>,
    minimum_group: Option<i32>,
) -> Result<Oid, ErrorReport> {
    let dimensions = dimensions
        .map(|names| names.iter().map(|name| name.map(|name| name.to_string_lossy().into_owned())).collect());
    aggregate::generate(relation, dimensions, measures, minimum_group).map_err(report)
}

/// `mask.preview`: a json is a text, as it lies there.
#[pg_extern(sql = false)]
fn preview(relation: Option<Oid>, rows: Option<i32>) -> Result<SetOfIterator<'static, String>, ErrorReport> {
    Ok(SetOfIterator::new(super::preview::preview(relation, rows).map_err(report)?))
}

/// `mask.explain`
#[allow(clippy::type_complexity)] // the columns, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn explain(
    relation: Option<Oid>,
    user_id: Option<String>,
    issuer: Option<String>,
    groups: Option<Vec<Option<String>>>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(column_name, String),
            name!(sees, String),
            name!(masking, Option<String>),
            name!(policy, Option<i64>),
            name!(place, Option<i32>),
            name!(origin, Option<String>),
            name!(reason, String),
            name!(until, Option<TimestampWithTimeZone>),
        ),
    >,
    ErrorReport,
> {
    let found = super::explain::explain(relation, user_id, issuer, groups).map_err(report)?;
    Ok(TableIterator::new(found.into_iter().map(|one| {
        let until = one.until.and_then(|until| TimestampWithTimeZone::try_from(until).ok());
        let sees = one.sees.to_owned();
        (one.column, sees, one.masking, one.policy, one.place, one.origin, one.reason, until)
    })))
}

/// `mask.find_candidates`
#[allow(clippy::type_complexity)] // the columns, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn find_candidates() -> Result<
    TableIterator<
        'static,
        (
            name!(relation, Oid),
            name!(column_name, String),
            name!(data_type, String),
            name!(kind, String),
            name!(found_by, String),
            name!(sampled, i32),
            name!(matching, i32),
            name!(masking, String),
            name!(call, String),
        ),
    >,
    ErrorReport,
> {
    let found = candidate::find().map_err(report)?;
    Ok(TableIterator::new(found.into_iter().map(|one| {
        let (kind, by) = (one.kind.word().to_owned(), one.found_by.to_owned());
        let (sampled, matching) = (one.sampled, one.matching);
        (one.relation, one.column, one.data_type, kind, by, sampled, matching, one.masking, one.call)
    })))
}
