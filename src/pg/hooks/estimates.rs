//! What the planner knows of the values in columns: statistics, widths, extended statistics.
//!
//! Kept from plans in which columns are masked: EXPLAIN shows estimates, and would tell of the values behind the masks.
//! The planner then assumes what it assumes of a table that was never analysed. Before the predecessors, who are
//! asked for everything else. Called within a planning only, in whatever process plans; an error is the statement's.

use super::{active, guarded};
use crate::pg::tree::frames;
use pgrx::pg_sys::{
    self, AttrNumber, Oid, PlannerInfo, RangeTblEntry, RelOptInfo, VariableStatData,
    get_attavgwidth_hook_type, get_index_stats_hook_type, get_relation_info_hook_type,
    get_relation_stats_hook_type,
};

static mut NEXT_RELATION: get_relation_stats_hook_type = None;
static mut NEXT_INDEX: get_index_stats_hook_type = None;
static mut NEXT_WIDTH: get_attavgwidth_hook_type = None;
static mut NEXT_INFO: get_relation_info_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT_RELATION = pg_sys::get_relation_stats_hook;
        pg_sys::get_relation_stats_hook = Some(relation);
        NEXT_INDEX = pg_sys::get_index_stats_hook;
        pg_sys::get_index_stats_hook = Some(index);
        NEXT_WIDTH = pg_sys::get_attavgwidth_hook;
        pg_sys::get_attavgwidth_hook = Some(width);
        NEXT_INFO = pg_sys::get_relation_info_hook;
        pg_sys::get_relation_info_hook = Some(info);
    }
}

/// Whether statistics of a column, or of any column of the relation for 0, are hidden.
fn hides(relation: Oid, column: AttrNumber) -> bool {
    frames::manner().hides_statistics
        && active().is_some_and(|handlers| guarded(|| (handlers.hides)(relation, column)))
}

/// An index tells of its whole table.
fn hides_index(index: Oid) -> bool {
    if !frames::manner().hides_statistics {
        return false;
    }
    let table = guarded(|| Ok(crate::pg::objects::table_of_index(index)));
    table.is_some_and(|table| hides(table, 0))
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn relation(
    root: *mut PlannerInfo,
    entry: *mut RangeTblEntry,
    column: AttrNumber,
    known: *mut VariableStatData,
) -> bool {
    // SAFETY: passes on what the planner gave us; without a tuple there is nothing to free.
    unsafe {
        if hides((*entry).relid, column) {
            (*known).statsTuple = std::ptr::null_mut();
            return true;
        }
        NEXT_RELATION.is_some_and(|next| next(root, entry, column, known))
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn index(
    root: *mut PlannerInfo,
    index: Oid,
    column: AttrNumber,
    known: *mut VariableStatData,
) -> bool {
    // SAFETY: as in `relation`.
    unsafe {
        if hides_index(index) {
            (*known).statsTuple = std::ptr::null_mut();
            return true;
        }
        NEXT_INDEX.is_some_and(|next| next(root, index, column, known))
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn width(relation: Oid, column: AttrNumber) -> i32 {
    // SAFETY: looks up a column that exists; passes on what the planner gave us.
    unsafe {
        if hides(relation, column) {
            return guarded(|| Ok(crate::pg::tree::columns::assumed_width(relation, column)));
        }
        NEXT_WIDTH.map_or(0, |next| next(relation, column))
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn info(
    root: *mut PlannerInfo,
    relation: Oid,
    is_parent: bool,
    about: *mut RelOptInfo,
) {
    // SAFETY: passes on what the planner gave us.
    unsafe {
        if hides(relation, 0) {
            (*about).statlist = std::ptr::null_mut();
        }
        if let Some(next) = NEXT_INFO {
            next(root, relation, is_parent, about);
        }
    }
}
