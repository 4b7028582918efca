//! The SQL functions of schema `mask`; declared in sql/schema/30_mask.sql.
//!
//! Texts go in and out of the mask functions as bytes: whatever the encoding of the database,
//! nothing is raised over a value.

use crate::error::report;
use crate::masking::function;
use crate::masking::{clearance, known, policy, view};
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use std::ffi::CStr;

/// `mask.email`
#[pg_extern(sql = false)]
fn mask_email(value: &[u8]) -> Vec<u8> {
    function::email::email(value)
}

/// `mask.partial`
#[pg_extern(sql = false)]
fn mask_partial(value: &[u8], prefix: i32, padding: &[u8], suffix: i32) -> Vec<u8> {
    function::partial::partial(value, prefix, padding, suffix)
}

/// `mask.hash`
#[pg_extern(sql = false)]
fn mask_hash(value: &[u8]) -> Result<Vec<u8>, ErrorReport> {
    known::with_key(|key| key.hash(value)).map_err(report)
}

/// `mask.reveals`
#[pg_extern(sql = false)]
fn mask_reveals(policy: i64) -> Result<bool, ErrorReport> {
    clearance::reveals(policy).map_err(report)
}

/// `mask.protect`
#[pg_extern(sql = false)]
fn protect(
    relation: Option<Oid>,
    column_name: Option<&CStr>,
    masking: Option<&str>,
    reveal_to: Option<Vec<Option<String>>>,
) -> Result<i64, ErrorReport> {
    let column = column_name.map(CStr::to_string_lossy);
    policy::protect(relation, column.as_deref(), masking, reveal_to).map_err(report)
}

/// `mask.unprotect`
#[pg_extern(sql = false)]
fn unprotect(relation: Option<Oid>, column_name: Option<&CStr>) -> Result<(), ErrorReport> {
    let column = column_name.map(CStr::to_string_lossy);
    policy::unprotect(relation, column.as_deref()).map_err(report)
}

/// `mask.generate_view`
#[pg_extern(sql = false)]
fn generate_view(relation: Option<Oid>) -> Result<Oid, ErrorReport> {
    view::generate(relation).map_err(report)
}
