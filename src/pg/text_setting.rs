//! Settings that are texts, and are checked when they are set.
//!
//! They stand in postgresql.conf itself: none can be set by SQL, not by a superuser's ALTER SYSTEM either, whose
//! statements they may be about. A number tells that one of them has changed, so that nobody reads a text at every statement to find that it is the same.

use super::local::process_local;
use pgrx::pg_sys::{self, GucSource};
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

/// A setting to be defined.
pub struct TextSetting {
    pub name: &'static CStr,
    pub short: &'static CStr,
    pub long: &'static CStr,
    pub default: &'static CStr,
    /// What is wrong with a value.
    pub check: fn(&str) -> Result<(), String>,
}

/// As many as [`define`] takes.
pub const COUNT: usize = 4;

static SETTINGS: OnceLock<&'static [TextSetting; COUNT]> = OnceLock::new();
static mut VALUES: [*mut c_char; COUNT] = [std::ptr::null_mut(); COUNT];

process_local! {
    static CHANGES: Cell<u64> = const { Cell::new(1) };
}

/// Defines them; once, in `_PG_init`.
pub fn define(settings: &'static [TextSetting; COUNT]) {
    if SETTINGS.set(settings).is_err() {
        return;
    }
    let checks: [pg_sys::GucStringCheckHook; COUNT] =
        [Some(check::<0>), Some(check::<1>), Some(check::<2>), Some(check::<3>)];
    for (number, (setting, check)) in settings.iter().zip(checks).enumerate() {
        // SAFETY: in _PG_init, single-threaded; names are constants, and the variable lives as long as the process.
        unsafe {
            pg_sys::DefineCustomStringVariable(
                setting.name.as_ptr(),
                setting.short.as_ptr(),
                setting.long.as_ptr(),
                (&raw mut VALUES).cast::<*mut c_char>().add(number),
                setting.default.as_ptr(),
                pg_sys::GucContext::PGC_SIGHUP,
                pg_sys::GUC_DISALLOW_IN_AUTO_FILE as c_int,
                check,
                Some(assign),
                None,
            );
        }
    }
}

/// A number that is another one whenever a value may be.
#[inline]
pub fn changes() -> u64 {
    CHANGES.get()
}

/// The value of the setting with this place among those defined.
pub fn value(number: usize) -> String {
    // SAFETY: NULL, or the setting's NUL-terminated value, which changes between statements only.
    unsafe {
        let values: [*mut c_char; COUNT] = VALUES;
        match values.get(number).filter(|value| !value.is_null()) {
            Some(value) => CStr::from_ptr(*value).to_string_lossy().into_owned(),
            None => String::new(),
        }
    }
}

unsafe extern "C-unwind" fn check<const NUMBER: usize>(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes its own copy of the value, or NULL.
    let text = unsafe {
        match value.as_ref().filter(|value| !value.is_null()) {
            Some(value) => CStr::from_ptr(*value).to_string_lossy(),
            None => return true,
        }
    };
    let Some(setting) = SETTINGS.get().and_then(|settings| settings.get(NUMBER)) else { return false };
    let Err(problem) = (setting.check)(&text) else { return true };
    // SAFETY: the message is copied into memory that lives until it is reported.
    unsafe {
        pg_sys::GUC_check_errcode(pgrx::PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as c_int);
        let problem = CString::new(problem).unwrap_or_default();
        pg_sys::GUC_check_errdetail_string = pg_sys::pstrdup(problem.as_ptr());
    }
    false
}

unsafe extern "C-unwind" fn assign(_value: *const c_char, _extra: *mut c_void) {
    CHANGES.set(CHANGES.get() + 1);
}
