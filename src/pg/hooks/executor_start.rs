//! ExecutorStart: judge the statement and record that it begins.
//!
//! Before the predecessor: permission errors are raised inside standard_ExecutorStart, and the
//! attempt must be on record by then. Not called in an aborted transaction. Nested calls are
//! statements of functions. An ERROR further down the chain closes the record with its SQLSTATE.

use super::{active, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Planned;
use crate::pg::{raw, sessions};
use pgrx::pg_sys::{self, ExecutorStart_hook_type, QueryDesc};
use std::ffi::c_int;

static mut NEXT: ExecutorStart_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::ExecutorStart_hook;
        pg_sys::ExecutorStart_hook = Some(trampoline);
    }
}

unsafe extern "C-unwind" fn trampoline(desc: *mut QueryDesc, eflags: c_int) {
    let Some(handlers) = active() else {
        // SAFETY: passes on what the executor gave us.
        return unsafe { next(desc, eflags) };
    };
    let explain = eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0;
    // SAFETY: the view ends with the guard; `next` and its frame own nothing.
    unsafe {
        let ((), outermost) =
            guarded(|| sessions::entering(|| (handlers.starting)(&Planned::new(desc), explain)));
        attempt(
            || next(desc, eflags),
            |sqlstate| {
                sessions::leave(outermost);
                quietly(|| (handlers.failed)(desc as usize, (handlers.depth)(), 0, sqlstate));
            },
        );
        sessions::leave(outermost);
    }
}

/// # Safety
/// The arguments are the hook's.
#[inline]
#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe fn next(desc: *mut QueryDesc, eflags: c_int) {
    // SAFETY: as the caller promises; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => next(desc, eflags),
            None => raw::standard_ExecutorStart(desc, eflags),
        }
    }
}
