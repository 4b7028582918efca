//! ExecutorEnd: the statement ended well.
//!
//! Before the predecessor, which frees what we name the statement by. Not called after an ERROR.

use super::{active, quietly};
use crate::pg::raw;
use pgrx::pg_sys::{self, ExecutorEnd_hook_type, QueryDesc};

static mut NEXT: ExecutorEnd_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::ExecutorEnd_hook;
        pg_sys::ExecutorEnd_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(desc: *mut QueryDesc) {
    if let Some(handlers) = active() {
        quietly(|| (handlers.ended)(desc as usize));
    }
    // SAFETY: passes on what the executor gave us; NEXT is written once, before any backend exists.
    unsafe {
        match NEXT {
            Some(next) => next(desc),
            None => raw::standard_ExecutorEnd(desc),
        }
    }
}
