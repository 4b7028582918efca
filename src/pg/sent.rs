//! How much the client was sent.
//!
//! PostgreSQL hands every message for the client to one of a table of functions (libpq.h: PQcommMethods). A
//! copy of the table with a count in front of one of them stands in its place, from the postmaster on;
//! putmessage_noblock calls that one (pqcomm.c). A parallel worker brings a table of its own, for messages to its leader.

use super::local::process_local;
use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::sync::OnceLock;

/// libpq.h: PQcommMethods
#[repr(C)]
#[derive(Clone, Copy)]
struct Methods {
    comm_reset: unsafe extern "C-unwind" fn(),
    flush: unsafe extern "C-unwind" fn() -> c_int,
    flush_if_writable: unsafe extern "C-unwind" fn() -> c_int,
    is_send_pending: unsafe extern "C-unwind" fn() -> bool,
    putmessage: unsafe extern "C-unwind" fn(kind: c_char, body: *const c_char, length: usize) -> c_int,
    putmessage_noblock: unsafe extern "C-unwind" fn(kind: c_char, body: *const c_char, length: usize),
}

unsafe extern "C" {
    // pqcomm.c
    static mut PqCommMethods: *const Methods;
}

static NEXT: OnceLock<&'static Methods> = OnceLock::new();
static COUNTING: OnceLock<Methods> = OnceLock::new();

process_local! {
    static SENT: Cell<u64> = const { Cell::new(0) };
}

/// Bytes sent to the client since the session began, headers of messages included.
#[inline]
pub fn bytes() -> u64 {
    SENT.get()
}

/// Counts from now on; once, in the postmaster.
pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init; the server's table is a constant.
    unsafe {
        let next = NEXT.get_or_init(|| &*PqCommMethods);
        PqCommMethods = COUNTING.get_or_init(|| Methods { putmessage, ..**next });
    }
}

#[allow(ffi_unwind_calls)] // a frame that owns nothing: see raw.rs
unsafe extern "C-unwind" fn putmessage(kind: c_char, body: *const c_char, length: usize) -> c_int {
    // One byte says which message it is, four how long.
    SENT.set(SENT.get() + length as u64 + 5);
    // SAFETY: the arguments are the caller's; `install` has set NEXT.
    NEXT.get().map_or(0, |next| unsafe { (next.putmessage)(kind, body, length) })
}
