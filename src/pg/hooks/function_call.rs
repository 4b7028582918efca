//! fmgr: functions that PostgreSQL calls in somebody else's right, or with settings of their own, begin and end.
//!
//! After the predecessor at the beginning, so that nothing is left begun if it fails; before it at the end. The end is
//! told on ERROR, too. In a parallel worker and at work for ourselves: nothing. A function that returns rows one by one
//! begins and ends for each of them; what it runs is started within the first.

use super::{active, quietly};
use pgrx::pg_sys::{self, Datum, FmgrHookEventType, FmgrInfo, fmgr_hook_type};

static mut NEXT: fmgr_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::fmgr_hook;
        pg_sys::fmgr_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(
    event: FmgrHookEventType::Type,
    function: *mut FmgrInfo,
    argument: *mut Datum,
) {
    let begins = event == FmgrHookEventType::FHET_START;
    // SAFETY: passes on what the caller gave us; the function is described for as long as it runs.
    unsafe {
        let called = (*function).fn_oid;
        if !begins && let Some(handlers) = active() {
            quietly(|| (handlers.function_left)(called));
        }
        if let Some(next) = NEXT {
            next(event, function, argument);
        }
        if begins && let Some(handlers) = active() {
            super::guarded(|| (handlers.function_entered)(called));
        }
    }
}
