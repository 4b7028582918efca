//! The token in the start-up packet: `-c pg_custodian.token=...`.
//!
//! It is a setting only on its way in. The value goes into this backend's memory when it is checked,
//! and what is left of it as a setting is empty, so that nothing shows it: no SHOW, no view, no
//! worker of a parallel query. No other source may give it: a token that is stored is anybody's.

use crate::pg::local::process_local;
use pgrx::pg_sys::{self, GucSource};
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_char, c_int, c_void};

static mut VALUE: *mut c_char = std::ptr::null_mut();

process_local! {
    static PENDING: Cell<bool> = const { Cell::new(false) };
    static PRESENTED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Defines the setting; once, in `_PG_init`.
pub fn define() {
    // Not shown by SHOW ALL and pg_settings, in no file; only at the start of a session.
    let flags = pg_sys::GUC_NO_SHOW_ALL
        | pg_sys::GUC_NO_RESET_ALL
        | pg_sys::GUC_NOT_IN_SAMPLE
        | pg_sys::GUC_DISALLOW_IN_FILE
        | pg_sys::GUC_SUPERUSER_ONLY;
    // SAFETY: in _PG_init, single-threaded; names are constants, and the variable lives as long as the process.
    unsafe {
        pg_sys::DefineCustomStringVariable(
            c"pg_custodian.token".as_ptr(),
            c"Presents a token at the start of a session.".as_ptr(),
            c"Can be given in the start-up packet only, and always reads as empty.".as_ptr(),
            &raw mut VALUE,
            c"".as_ptr(),
            pg_sys::GucContext::PGC_BACKEND,
            flags as c_int,
            Some(check),
            None,
            None,
        );
    }
}

/// Whether there is a token that nobody has taken yet.
#[inline]
pub fn is_pending() -> bool {
    PENDING.get()
}

/// The token that came with the connection, once.
pub fn take() -> Option<Vec<u8>> {
    PENDING.replace(false).then(|| PRESENTED.take())
}

/// Drops a token that nobody has taken.
pub fn forget() {
    if PENDING.replace(false) {
        PRESENTED.take().fill(0);
    }
}

/// PostgreSQL calls it with its own copy of each value that is about to be set.
unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    source: GucSource::Type,
) -> bool {
    // SAFETY: a NUL-terminated copy that belongs to the setting, or NULL.
    let bytes = unsafe {
        match (*value).is_null() {
            true => return true,
            false => {
                let length = CStr::from_ptr(*value).count_bytes();
                std::slice::from_raw_parts_mut((*value).cast::<u8>(), length)
            }
        }
    };
    if bytes.is_empty() {
        return true;
    }
    if source == GucSource::PGC_S_CLIENT {
        PRESENTED.replace(bytes.to_vec()).fill(0);
        PENDING.set(true);
        bytes.fill(0);
        return true;
    }
    bytes.fill(0);
    // SAFETY: constants, which the message is copied from; without one PostgreSQL would quote the value.
    unsafe {
        pg_sys::GUC_check_errcode(pgrx::PgSqlErrorCode::ERRCODE_CANT_CHANGE_RUNTIME_PARAM as c_int);
        pg_sys::GUC_check_errmsg_string =
            c"parameter \"pg_custodian.token\" can only be given when a session starts".as_ptr().cast_mut();
        pg_sys::GUC_check_errhint_string =
            c"Connect with the option -c pg_custodian.token=<token>, or call custodian.set_identity(<token>)."
                .as_ptr()
                .cast_mut();
    }
    false
}
