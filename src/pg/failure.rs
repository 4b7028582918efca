//! Errors on their way to the client, whatever is logged: also those of the parser and of analysis,
//! which no hook is called for, and of messages that no statement belongs to.
//!
//! Every message that is reported calls the error context callbacks (elog.c: errfinish), so one of ours
//! lies at the bottom of their stack for as long as the session lives. An error may still be caught. It has
//! reached the top when PostgresMain handles it, which begins with an empty stack of callbacks; it
//! then aborts the transaction, if one can be aborted, and flushes the memory of errors. Both moments
//! come to us: the first while it is still known who acted, the second in any case.
//!
//! Nothing is done for a statement that does not fail. emit_log is no way: it is called for what is
//! logged only, and while catalogs look as if they could be read.

use super::hooks::{Explanation, handlers, quietly};
use super::local::process_local;
use super::raw;
use crate::error;
use pgrx::pg_sys::{self, ErrorContextCallback, MemoryContextCallback};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_void};

/// A message that says of itself that it is an error. It may be caught, or be a warning.
pub struct Erring<'a> {
    pub sqlstate: [u8; 5],
    /// What the client has sent, if it belongs to a statement: perhaps several in one string.
    pub text: Option<&'a [u8]>,
    /// When it was sent: microseconds since 2000.
    pub sent_at: i64,
    /// Whether the parser is done with the whole text.
    pub is_parsed: bool,
    /// A statement of a function or DO block in which the error has a place: the parser or analysis refuses it.
    pub nested: Option<&'a [u8]>,
}

static mut BOTTOM: ErrorContextCallback = ErrorContextCallback {
    previous: std::ptr::null_mut(),
    callback: Some(reported),
    arg: std::ptr::null_mut(),
};
static mut FLUSH: MemoryContextCallback =
    MemoryContextCallback { func: Some(flushed), arg: std::ptr::null_mut(), next: std::ptr::null_mut() };

process_local! {
    static WATCHING: Cell<bool> = const { Cell::new(false) };
    static AWAITS_FLUSH: Cell<bool> = const { Cell::new(false) };
}

/// Watches the errors of this backend from now on. Call it where no callback is on the stack.
pub fn watch() {
    if !WATCHING.replace(true) {
        lie_at_the_bottom();
    }
}

fn lie_at_the_bottom() {
    // SAFETY: this backend's own stack, which is empty; the callback lives as long as the process.
    unsafe {
        if pg_sys::error_context_stack.is_null() {
            pg_sys::error_context_stack = &raw mut BOTTOM;
        }
    }
}

/// Whether PostgresMain handles an error right now: only it empties the stack of callbacks, and the
/// exit of the process, where the error is not kept any more.
fn at_top() -> bool {
    // SAFETY: a plain variable of the backend.
    WATCHING.get() && unsafe { pg_sys::error_context_stack.is_null() } && !super::session::is_exiting()
}

/// Whether nobody but us has put a callback on the stack: nothing that would say where it is runs.
pub(super) fn is_alone() -> bool {
    // SAFETY: a plain variable of the backend.
    let top = unsafe { pg_sys::error_context_stack };
    top.is_null() || std::ptr::eq(top, &raw const BOTTOM)
}

fn await_flush() {
    if !AWAITS_FLUSH.replace(true) {
        // SAFETY: the struct lives as long as the process and is in no list now.
        unsafe { pg_sys::MemoryContextRegisterResetCallback(pg_sys::ErrorContext, &raw mut FLUSH) };
    }
}

/// errfinish calls it for every message, in the memory of errors. It raises nothing.
unsafe extern "C-unwind" fn reported(_argument: *mut c_void) {
    let sqlstate = error::sqlstate(raw::geterrcode());
    // Successes, notices and warnings.
    if matches!(&sqlstate[..2], b"00" | b"01" | b"02") || super::session::is_parallel_worker() {
        return;
    }
    await_flush();
    quietly(|| {
        if let Some(handlers) = handlers() {
            // What fails in the parser would show until the next statement; the client is told after this.
            super::conceal::from_activity(handlers.secrets);
            // SAFETY: NULL, or the text of the message that is being worked on.
            let text = unsafe {
                let text = pg_sys::debug_query_string;
                (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes())
            };
            // Analysis runs under a snapshot, the parser without; in a failed transaction nothing is
            // analysed, and the refusal says that the parser was content (postgres.c: exec_simple_query).
            let is_parsed = &sqlstate == b"25P02" || raw::ActiveSnapshotSet();
            let sent_at = raw::GetCurrentStatementStartTimestamp();
            let nested = nested(&sqlstate);
            if (handlers.conceals)(sqlstate) && has_detail() {
                // SAFETY: an error is being reported; the text is a constant without anything to fill in.
                unsafe {
                    raw::errdetail_internal(
                        c"The row and its keys are not shown, for columns are masked.".as_ptr(),
                    )
                };
            }
            (handlers.erring)(&Erring { sqlstate, text, sent_at, is_parsed, nested: nested.as_deref() });
        }
    });
}

/// The text in which the error that is being reported has its place, unless that is the client's: SPI's own
/// callback, which came before ours, has put it there (spi.c: _SPI_error_callback).
fn nested(sqlstate: &[u8; 5]) -> Option<Vec<u8>> {
    // Errors in names, types, values and rights; not those after which memory is not to be trusted.
    const PLACED: [&[u8]; 7] = [b"42", b"22", b"3F", b"3D", b"0A", b"34", b"26"];
    if raw::getinternalerrposition() <= 0 || !PLACED.contains(&&sqlstate[..2]) {
        return None;
    }
    super::catalog::in_own_memory("pg_custodian failure", || {
        // SAFETY: an error is being reported, and this is not its memory; the text is NULL or NUL-terminated.
        unsafe {
            let data = pg_sys::CopyErrorData();
            let text = (*data).internalquery;
            (!text.is_null()).then(|| CStr::from_ptr(text).to_bytes().to_vec())
        }
    })
}

/// Changes the ERROR that was caught and will be raised again: its code, message and hint.
pub(super) fn say(said: &Explanation) {
    let text = |text: &str| CString::new(text.replace('\0', "")).unwrap_or_default();
    let (message, hint) = (text(&said.message), text(&said.hint));
    // SAFETY: between PG_CATCH and PG_RE_THROW the error lies on top of elog.c's stack; the texts are copied into its memory.
    unsafe {
        raw::errcode(said.code as i32);
        raw::errmsg_internal(c"%s".as_ptr(), message.as_ptr());
        raw::errhint(c"%s".as_ptr(), hint.as_ptr());
    }
}

/// Whether the message that is being reported has a detail.
fn has_detail() -> bool {
    super::catalog::in_own_memory("pg_custodian failure", || {
        // SAFETY: a message is being reported, and this is not its memory.
        unsafe { !(*pg_sys::CopyErrorData()).detail.is_null() }
    })
}

/// The transaction is being aborted; call it before anything of it is forgotten.
pub(super) fn transaction_aborts() {
    if at_top() {
        // An error that was raised again, after it had been caught, may have come without a callback.
        await_flush();
        tell(Some(error::sqlstate(raw::geterrcode())));
    }
}

/// FlushErrorState calls it: an error was handled, by whomever. It raises nothing.
unsafe extern "C-unwind" fn flushed(_argument: *mut c_void) {
    AWAITS_FLUSH.set(false);
    if at_top() {
        tell(None);
        lie_at_the_bottom();
    }
}

fn tell(sqlstate: Option<[u8; 5]>) {
    quietly(|| {
        if let Some(handlers) = handlers() {
            (handlers.failed_at_top)(sqlstate);
        }
    });
}
