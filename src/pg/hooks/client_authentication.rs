//! ClientAuthentication: the first moment of a session, well or badly authenticated.
//!
//! After the predecessor. In the transaction of the server's own in which it finds role and database;
//! shared catalogs can be read, the database is not known yet. Not called for parallel workers and
//! background workers, nor for whom pg_hba.conf has turned away. Nothing here raises an error of its own.

use super::quietly;
use crate::pg::{connection, raw};
use pgrx::pg_sys::Port;
use std::ffi::c_int;

/// The client has gone, as psql does to ask for a password (libpq.h: STATUS_EOF).
const GONE: c_int = -2;

static mut NEXT: Option<unsafe extern "C-unwind" fn(*mut Port, c_int)> = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = raw::ClientAuthentication_hook;
        raw::ClientAuthentication_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(port: *mut Port, status: c_int) {
    // SAFETY: passes on what auth.c gave us; NEXT is written once, before any backend exists; the port is
    // the connection's.
    unsafe {
        if let Some(next) = NEXT {
            next(port, status);
        }
        if status != GONE {
            quietly(|| connection::authenticated(port));
        }
    }
}
