//! emit_log: what PostgreSQL writes into its log, and to the client, without secrets.
//!
//! Before the predecessor, so that log collectors and other modules see the clean text. Called for
//! every message that is to be logged, also while an ERROR is being reported and without a
//! transaction: so it allocates in the error context, looks nothing up and raises nothing. Texts of
//! statements cannot be changed here; a statement that holds a secret is left out of its message.

use super::{Handlers, handlers, quietly};
use pgrx::pg_sys::{self, ErrorData, emit_log_hook_type};
use std::ffi::{CStr, c_char};

static mut NEXT: emit_log_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::emit_log_hook;
        pg_sys::emit_log_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(data: *mut ErrorData) {
    if let Some(handlers) = handlers() {
        // SAFETY: elog.c passes the message that it is about to write.
        quietly(|| unsafe { clean(handlers, &mut *data) });
    }
    // SAFETY: passes on what elog.c gave us; NEXT is written once, before any backend exists.
    unsafe {
        if let Some(next) = NEXT {
            next(data);
        }
    }
}

/// # Safety
/// The texts of `data` are NULL or NUL-terminated.
unsafe fn clean(handlers: &Handlers, data: &mut ErrorData) {
    let texts = [
        &mut data.message,
        &mut data.detail,
        &mut data.detail_log,
        &mut data.hint,
        &mut data.context,
        &mut data.internalquery,
    ];
    for text in texts {
        // SAFETY: as the caller promises; the copy lives in the context that elog.c frees the message with.
        unsafe {
            if let Some(clean) = cleaned(handlers, *text) {
                let size = clean.len() + 1;
                let copy = pg_sys::MemoryContextAllocZero(data.assoc_context, size).cast::<u8>();
                std::ptr::copy_nonoverlapping(clean.as_ptr(), copy, clean.len());
                *text = copy.cast();
            }
        }
    }
    // SAFETY: the statement that the client sent, or NULL.
    unsafe {
        if cleaned(handlers, pg_sys::debug_query_string).is_some() {
            data.hide_stmt = true;
        }
    }
}

/// # Safety
/// NULL or NUL-terminated.
unsafe fn cleaned(handlers: &Handlers, text: *const c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    (handlers.redacted)(unsafe { CStr::from_ptr(text) }.to_bytes())
}
