//! ExecutorFinish: AFTER triggers run here, nested in their statement.
//!
//! Around the predecessor; an ERROR closes the record and passes on. What the statement itself
//! processed was counted by ExecutorRun.

use super::{active, explained, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Planned;
use crate::pg::{raw, sessions};
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::pg_sys::{self, ExecutorFinish_hook_type, QueryDesc};

static mut NEXT: ExecutorFinish_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::ExecutorFinish_hook;
        pg_sys::ExecutorFinish_hook = Some(trampoline);
    }
}

unsafe extern "C-unwind" fn trampoline(desc: *mut QueryDesc) {
    // SAFETY: the argument is the hook's. What only reads has no triggers to fire and nothing left to write.
    let handlers = active().filter(|_| unsafe { Planned::new(desc) }.writes());
    let Some(handlers) = handlers else {
        // SAFETY: passes on what the executor gave us.
        return unsafe { next(desc) };
    };
    let key = desc as usize;
    let (depth, outermost) =
        guarded(|| sessions::entering(|| Ok::<_, ErrorReport>((handlers.finishing)(key))));
    // SAFETY: `next` and its frame own nothing.
    unsafe {
        attempt(
            || next(desc),
            |sqlstate| {
                let sqlstate = explained(outermost, sqlstate);
                sessions::leave(outermost);
                quietly(|| (handlers.failed)(key, depth, 0, sqlstate));
            },
        );
    }
    sessions::leave(outermost);
    quietly(|| (handlers.ran)(key, depth, 0));
}

/// # Safety
/// The argument is the hook's.
#[inline]
#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe fn next(desc: *mut QueryDesc) {
    // SAFETY: as the caller promises; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => next(desc),
            None => raw::standard_ExecutorFinish(desc),
        }
    }
}
