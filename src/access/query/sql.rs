//! The SQL functions of named queries, declared in sql/schema/27_queries.sql.

use super::define::{self, Asked};
use crate::error::report;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

/// `custodian.define_query`
#[pg_extern(sql = false)]
fn define_query(
    name: Option<String>,
    parameters: Option<String>,
    query: Option<String>,
    description: Option<String>,
) -> Result<Oid, ErrorReport> {
    define::define(Asked { name, parameters, query, description }).map_err(report)
}

/// `custodian.drop_query`
#[pg_extern(sql = false)]
fn drop_query(name: Option<String>) -> Result<(), ErrorReport> {
    define::drop(name).map_err(report)
}
