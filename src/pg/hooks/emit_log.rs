//! emit_log: what PostgreSQL writes into its log, and to the client, without secrets.
//!
//! Before the predecessor, so that log collectors and other modules see the clean text. Called for
//! every message that is to be logged, also while an ERROR is being reported and without a
//! transaction: so it allocates in the error context, looks nothing up and raises nothing. Texts of
//! statements cannot be changed here; a statement that holds a secret is left out of its message.
//! Not called for messages below log_min_messages: then a stopped statement keeps PostgreSQL's words.

use super::{Handlers, handlers, quietly};
use crate::error;
use crate::pg::{conceal, session};
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::{self, ErrorData, emit_log_hook_type};
use std::ffi::{CStr, c_char, c_int};

static mut NEXT: emit_log_hook_type = None;

/// query_canceled and admin_shutdown (errcodes.h).
const CANCELED: u32 = PgSqlErrorCode::ERRCODE_QUERY_CANCELED as u32;
const SHUT_DOWN: u32 = PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN as u32;

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
        quietly(|| unsafe {
            remember(&*data);
            explain(handlers, &mut *data);
            clean(handlers, &mut *data);
        });
        // Before the statement is analysed (log_statement) its text still stands in pg_stat_activity, and writing a
        // message takes its time.
        quietly(|| conceal::from_activity(handlers.secrets));
    }
    // SAFETY: passes on what elog.c gave us; NEXT is written once, before any backend exists.
    unsafe {
        if let Some(next) = NEXT {
            next(data);
        }
    }
}

/// Remembers what ends the session, for what it leaves open: nothing else tells why, when its last
/// transaction is aborted. A client that is gone shows by messages that only the log gets.
fn remember(data: &ErrorData) {
    let sqlstate = error::sqlstate(data.sqlerrcode);
    let ends = data.elevel == pg_sys::FATAL as c_int
        || data.elevel == pg_sys::COMMERROR as c_int && sqlstate.starts_with(b"08");
    if ends {
        session::note_last_words(sqlstate);
    }
}

/// Puts the reason into the message about a statement, or session, that was stopped from outside: where no
/// other hook saw it on its way up (`explained`), as at a commit.
///
/// elog.c sends the message to the client after this hook (EmitErrorReport).
fn explain(handlers: &Handlers, data: &mut ErrorData) {
    let session = match data.sqlerrcode as u32 {
        CANCELED => false,
        SHUT_DOWN => true,
        _ => return,
    };
    if let Some(said) = (handlers.stopped)(session) {
        data.sqlerrcode = said.code as c_int;
        // SAFETY: the texts get copies of their own, as elog.c expects.
        unsafe {
            data.message = copied(data, said.message.as_bytes());
            data.hint = copied(data, said.hint.as_bytes());
        }
    }
}

/// A copy in the memory that elog.c frees the message with.
///
/// # Safety
/// `data` is a message that is being reported.
unsafe fn copied(data: &ErrorData, text: &[u8]) -> *mut c_char {
    // SAFETY: as the caller promises; zeroed, so that the copy ends with NUL.
    unsafe {
        let copy = pg_sys::MemoryContextAllocZero(data.assoc_context, text.len() + 1).cast::<u8>();
        std::ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
        copy.cast()
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
