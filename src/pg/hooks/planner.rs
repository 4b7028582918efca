//! The planner: functions it folds run before the executor starts, so the first judgement falls here.
//!
//! Before the predecessor. Nested calls plan the statements of functions. An ERROR of the planner
//! passes through; nothing of ours is open then.

use super::{active, guarded};
use crate::pg::query::Analysed;
use crate::pg::raw;
use pgrx::pg_sys::{self, ParamListInfo, PlannedStmt, Query, planner_hook_type};
use std::ffi::{c_char, c_int};

static mut NEXT: planner_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::planner_hook;
        pg_sys::planner_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(
    parse: *mut Query,
    source: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> *mut PlannedStmt {
    if let Some(handlers) = active() {
        // SAFETY: the view ends with the guard.
        guarded(|| (handlers.planning)(&unsafe { Analysed::new(parse, source) }));
    }
    // SAFETY: passes on what the caller gave us; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => next(parse, source, options, parameters),
            None => raw::standard_planner(parse, source, options, parameters),
        }
    }
}
