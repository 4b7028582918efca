//! Tables and their parents: inheritance and partitions, and the columns that go by name from one to the other.

use super::catalog::{self, ColumnType, INHERITS_CATALOG, in_own_memory};
use pgrx::FromDatum;
use pgrx::pg_sys::{self, Oid};
use std::ffi::CStr;

// pg_inherits.h: its indexes, and its columns.
const CHILD_INDEX: u32 = 2680;
const PARENT_INDEX: u32 = 2187;
const COLUMNS: usize = 4;
const CHILD: usize = 0;
const PARENT: usize = 1;

/// A column that is not dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub number: i16,
    pub name: String,
    /// Its type below all domains, as `format_type` writes it.
    pub base_type: String,
}

/// The columns of a relation, in order.
pub fn columns(relid: Oid) -> Vec<Column> {
    in_own_memory("pg_custodian columns", || {
        let column = |(name, column): (String, ColumnType)| Column {
            number: column.number,
            name,
            base_type: base_type(column),
        };
        catalog::columns(relid).into_iter().map(column).collect()
    })
}

/// A type below all domains, as `format_type` writes it with a search path of pg_catalog, whatever the session's is.
pub fn base_type(column: ColumnType) -> String {
    let mut modifier = column.modifier;
    // SAFETY: system cache lookups of a type that a column has; the name is palloc'd.
    unsafe {
        let base = pg_sys::getBaseTypeAndTypmod(column.type_id, &raw mut modifier);
        let how = pg_sys::FORMAT_TYPE_TYPEMOD_GIVEN | pg_sys::FORMAT_TYPE_FORCE_QUALIFY;
        let name = CStr::from_ptr(pg_sys::format_type_extended(base, modifier, how as u16)).to_string_lossy();
        name.strip_prefix("pg_catalog.").unwrap_or(&name).into()
    }
}

/// Whether others inherit from a relation, or have done so.
#[allow(ffi_unwind_calls)] // under the guard
pub fn has_heirs(relation: Oid) -> bool {
    // SAFETY: looks a relation up in the system cache; an ERROR that it is gone is raised when no frame of C is left.
    relation.to_u32() >= pg_sys::FirstNormalObjectId
        && unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| super::raw::has_subclass(relation)) }
}

/// The column of `relation` that has the name of this column of `heir`.
pub fn same_column(relation: Oid, heir: Oid, column: i16) -> Option<i16> {
    // SAFETY: system cache lookups; with missing_ok NULL, and 0, for what does not exist.
    unsafe {
        let name = pg_sys::get_attname(heir, column, true);
        let number = if name.is_null() { 0 } else { pg_sys::get_attnum(relation, name) };
        (number > 0).then_some(number)
    }
}

/// The parents of a relation, or the table that it is a partition of.
pub fn parents(relid: Oid) -> Vec<Oid> {
    pairs(CHILD_INDEX, CHILD, relid, PARENT)
}

/// The children of a relation, or its partitions.
pub fn children(relid: Oid) -> Vec<Oid> {
    pairs(PARENT_INDEX, PARENT, relid, CHILD)
}

/// The relation, its parents, theirs, and so on: nearest first, each once.
pub fn ancestry(relid: Oid) -> Vec<Oid> {
    walk(relid, parents)
}

/// The relation, its children, theirs, and so on, each once.
pub fn descendants(relid: Oid) -> Vec<Oid> {
    walk(relid, children)
}

fn walk(relid: Oid, next: fn(Oid) -> Vec<Oid>) -> Vec<Oid> {
    let mut found = vec![relid];
    let mut at = 0;
    while let Some(relid) = found.get(at).copied() {
        for other in next(relid) {
            if !found.contains(&other) {
                found.push(other);
            }
        }
        at += 1;
    }
    found
}

fn pairs(index: u32, key_column: usize, value: Oid, wanted: usize) -> Vec<Oid> {
    in_own_memory("pg_custodian lineage", || {
        let mut found = Vec::new();
        // SAFETY: the scan protocol of genam.h over pg_inherits, by an index whose first column is the key's.
        unsafe {
            let mut key: pg_sys::ScanKeyData = std::mem::zeroed();
            let equal = pg_sys::BTEqualStrategyNumber as u16;
            let column = key_column as i16 + 1;
            pg_sys::ScanKeyInit(&raw mut key, column, equal, pg_sys::F_OIDEQ.into(), value.into());
            let relation = pg_sys::table_open(INHERITS_CATALOG, pg_sys::AccessShareLock as i32);
            let scan = pg_sys::systable_beginscan(
                relation,
                Oid::from_u32(index),
                true,
                std::ptr::null_mut(),
                1,
                &raw mut key,
            );
            loop {
                let tuple = pg_sys::systable_getnext(scan);
                if tuple.is_null() {
                    break;
                }
                let (mut values, mut nulls) = ([pg_sys::Datum::null(); COLUMNS], [true; COLUMNS]);
                pg_sys::heap_deform_tuple(tuple, (*relation).rd_att, values.as_mut_ptr(), nulls.as_mut_ptr());
                found.extend(Oid::from_datum(values[wanted], nulls[wanted]));
            }
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, pg_sys::AccessShareLock as i32);
        }
        found
    })
}
