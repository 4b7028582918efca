//! The planner: functions it folds run before the executor starts, so the first judgement falls here.
//!
//! Around the predecessor. Nested calls plan the statements of functions. An ERROR of the planner
//! is recorded, for the statement never reaches the executor, and passes on.

use super::{active, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Analysed;
use crate::pg::{raw, sessions};
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

unsafe extern "C-unwind" fn trampoline(
    parse: *mut Query,
    source: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> *mut PlannedStmt {
    // SAFETY: views end with their guards; `next` and its frame own nothing; the query outlives a failed
    // planning, which may have altered it but not where it stands in its text.
    unsafe {
        let Some(handlers) = active() else { return next(parse, source, options, parameters) };
        let (recorded, outermost) =
            guarded(|| sessions::entering(|| (handlers.planning)(&Analysed::new(parse, source))));
        let plan = attempt(
            || next(parse, source, options, parameters),
            |sqlstate| {
                sessions::leave(outermost);
                if recorded {
                    quietly(|| (handlers.planning_failed)(&Analysed::new(parse, source), sqlstate));
                }
            },
        );
        sessions::leave(outermost);
        plan
    }
}

/// # Safety
/// The arguments are the hook's.
#[inline]
#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe fn next(
    parse: *mut Query,
    source: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> *mut PlannedStmt {
    // SAFETY: as the caller promises; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => next(parse, source, options, parameters),
            None => raw::standard_planner(parse, source, options, parameters),
        }
    }
}
