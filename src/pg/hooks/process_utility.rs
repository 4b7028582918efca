//! ProcessUtility: everything that is no SELECT, INSERT, UPDATE, DELETE or MERGE.
//!
//! Around the predecessor. Called in an aborted transaction for ROLLBACK and its kin, where no
//! catalog may be read. A CALL can end transactions in its middle, so the statement's place among
//! the others is kept in this frame and not undone by callbacks. An ERROR closes the record. COPY of a table that
//! is masked becomes COPY of a query first, for judgement and record, too.

use super::{active, explained, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::tree::copy;
use crate::pg::utility::Utility;
use crate::pg::{raw, sessions};
use pgrx::pg_sys::{
    self, DestReceiver, ParamListInfo, PlannedStmt, ProcessUtility_hook_type, ProcessUtilityContext,
    QueryCompletion, QueryEnvironment,
};
use std::ffi::c_char;

static mut NEXT: ProcessUtility_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::ProcessUtility_hook;
        pg_sys::ProcessUtility_hook = Some(trampoline);
    }
}

#[allow(clippy::too_many_arguments)]
unsafe extern "C-unwind" fn trampoline(
    statement: *mut PlannedStmt,
    source: *const c_char,
    read_only: bool,
    context: ProcessUtilityContext::Type,
    parameters: ParamListInfo,
    environment: *mut QueryEnvironment,
    receiver: *mut DestReceiver,
    completion: *mut QueryCompletion,
) {
    // SAFETY: passes on what the caller gave us; the view ends with the guard; frames own nothing.
    unsafe {
        let next = |statement| {
            next(statement, source, read_only, context, parameters, environment, receiver, completion)
        };
        let Some(handlers) = active() else { return next(statement) };
        let copies = || (handlers.copied)(&Utility::new(statement, source, context, parameters));
        let statement = guarded(|| Ok(copies()?.map_or(statement, |table| copy::of_query(statement, table))));
        let utility = || Utility::new(statement, source, context, parameters);
        let judge = || (handlers.utility_starting)(&utility());
        let (ticket, outermost) = guarded(|| sessions::entering(judge));
        let work = || {
            next(statement);
            guarded(|| (handlers.utility_closing)(ticket));
        };
        attempt(work, |sqlstate| {
            let sqlstate = explained(outermost, sqlstate);
            sessions::leave(outermost);
            quietly(|| {
                let processed = Utility::new(statement, source, context, parameters).copied_out();
                (handlers.utility_failed)(ticket, processed, sqlstate);
            });
        });
        sessions::leave(outermost);
        let processed = completion.as_ref().map_or(0, |completion| completion.nprocessed);
        quietly(|| (handlers.utility_ended)(&utility(), ticket, processed));
    }
}

/// # Safety
/// The arguments are the hook's.
#[inline]
#[allow(ffi_unwind_calls, clippy::too_many_arguments)] // the call chain of a hook: see raw.rs
unsafe fn next(
    statement: *mut PlannedStmt,
    source: *const c_char,
    read_only: bool,
    context: ProcessUtilityContext::Type,
    parameters: ParamListInfo,
    environment: *mut QueryEnvironment,
    receiver: *mut DestReceiver,
    completion: *mut QueryCompletion,
) {
    // SAFETY: as the caller promises; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => {
                next(statement, source, read_only, context, parameters, environment, receiver, completion)
            }
            None => raw::standard_ProcessUtility(
                statement,
                source,
                read_only,
                context,
                parameters,
                environment,
                receiver,
                completion,
            ),
        }
    }
}
