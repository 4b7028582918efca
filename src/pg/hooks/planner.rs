//! The planner: functions it folds run before the executor starts, so the first judgement falls here.
//!
//! Then the query may be changed: nothing of it has run yet, and its views and rules are expanded. What it
//! was made for the plan carries along ([`stamp`]). In a parallel worker only statements of functions are planned.
//!
//! Around the predecessor. Nested calls plan the statements of functions. An ERROR of the planner
//! is recorded, for the statement never reaches the executor, and passes on.

use super::{Handlers, active, explained, guarded, handlers, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Analysed;
use crate::pg::tree::draft::{Draft, Prepared};
use crate::pg::tree::{frames, stamp};
use crate::pg::{raw, scope, session, sessions};
use pgrx::pg_sys::panic::ErrorReport;
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
        let Some(handlers) = active() else {
            if session::is_parallel_worker() && !scope::is_internal() {
                in_worker(parse, options, parameters);
            }
            return next(parse, source, options, parameters);
        };
        let (recorded, outermost) =
            guarded(|| sessions::entering(|| (handlers.planning)(&Analysed::new(parse, source))));
        let (depth, manner) = (frames::depth(), frames::manner());
        let plan = attempt(
            || {
                let prepared = guarded(|| prepare(handlers, parse, source, options, parameters));
                let plan = next(parse, source, prepared.options, parameters);
                frames::plan_by(manner);
                guarded(|| finish(handlers, plan, prepared, depth));
                plan
            },
            |sqlstate| {
                frames::close(depth);
                frames::plan_by(manner);
                let sqlstate = explained(outermost, sqlstate);
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

/// Has the query changed before it is planned. What is kept for [`finish`] is in frames of plannings and in plain
/// pointers: the call in between jumps over everything on an ERROR.
unsafe fn prepare(
    handlers: &Handlers,
    parse: *mut Query,
    source: *const c_char,
    options: c_int,
    parameters: ParamListInfo,
) -> Result<Prepared, ErrorReport> {
    frames::open();
    // SAFETY: the arguments are the hook's.
    let (mut draft, query) =
        unsafe { (Draft::new(parse, options, parameters), Analysed::new(parse, source)) };
    frames::plan_by(frames::Manner::default());
    let manner = (handlers.rewriting)(&mut draft, &query)?;
    frames::plan_by(manner);
    Ok(draft.prepared())
}

/// Has the plan carry what it was made for.
unsafe fn finish(
    handlers: &Handlers,
    plan: *mut PlannedStmt,
    prepared: Prepared,
    depth: usize,
) -> Result<(), ErrorReport> {
    let relations = frames::close(depth);
    if prepared.is_kept() {
        // SAFETY: the plan was made from what was prepared.
        unsafe {
            stamp::depend(plan, prepared);
            if !relations.is_empty() {
                let looks = (handlers.looks)(&relations)?;
                stamp::put(plan, prepared, &looks, prepared.reads_more_than(&relations));
            }
        }
    }
    Ok(())
}

/// A statement of a function, in a parallel worker.
unsafe fn in_worker(parse: *mut Query, options: c_int, parameters: ParamListInfo) {
    if let Some(handlers) = handlers() {
        // SAFETY: the arguments are the hook's.
        guarded(|| unsafe { (handlers.rewriting_in_worker)(&mut Draft::new(parse, options, parameters)) });
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
