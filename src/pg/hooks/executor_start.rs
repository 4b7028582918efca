//! ExecutorStart: see that the plan is right for who runs it, judge the statement and record that it begins.
//!
//! Before the predecessor: permission errors are raised inside standard_ExecutorStart, and the
//! attempt must be on record by then. Not called in an aborted transaction. Nested calls are
//! statements of functions. An ERROR further down the chain closes the record with its SQLSTATE.

use super::{Handlers, active, explained, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Planned;
use crate::pg::tree::{frames, stamp};
use crate::pg::{raw, sessions};
use pgrx::pg_sys::panic::ErrorReport;
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
        // SAFETY: passes on what the executor gave us; a plan may have been made while we looked.
        return unsafe {
            if stamp::is_on(desc) {
                guarded(|| {
                    stamp::take_off(desc);
                    Ok::<_, ErrorReport>(())
                });
            }
            next(desc, eflags)
        };
    };
    let explain = eflags & pg_sys::EXEC_FLAG_EXPLAIN_ONLY as c_int != 0;
    // SAFETY: the view ends with the guard; `next` and its frame own nothing.
    unsafe {
        let ((), outermost) = guarded(|| sessions::entering(|| start(handlers, desc, eflags, explain)));
        attempt(
            || next(desc, eflags),
            |sqlstate| {
                let sqlstate = explained(outermost, sqlstate);
                sessions::leave(outermost);
                quietly(|| (handlers.failed)(desc as usize, (handlers.depth)(), 0, sqlstate));
            },
        );
        sessions::leave(outermost);
    }
}

/// Sees that the plan is right for whoever runs it, and has the statement judged and recorded.
unsafe fn start(
    handlers: &Handlers,
    desc: *mut QueryDesc,
    eflags: c_int,
    explain: bool,
) -> Result<(), ErrorReport> {
    // SAFETY: the arguments are the hook's.
    unsafe {
        let mut attempts = 0;
        while let Some(stamp) = stamp::read(desc) {
            if (handlers.stands)(&stamp)? {
                frames::note((handlers.depends_on)(&stamp).into_iter());
                stamp::take_off(desc);
                return (handlers.starting)(&Planned::new(desc), explain);
            }
            // Who runs it does not change between two plannings; a moment may pass at which a grant ends.
            attempts += 1;
            if attempts > 3 {
                break;
            }
            stamp::plan_again(desc, eflags);
        }
        stamp::take_off(desc);
        let planned = Planned::new(desc);
        (handlers.unstamped)(&planned)?;
        (handlers.starting)(&planned, explain)
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
