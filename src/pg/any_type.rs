//! Mask functions of values of every type, which they do not look at: declared in sql/schema/30_mask_functions.sql.
//!
//! In C's own calling convention: they call nothing that needs pgrx's guard, and cost what a call costs.

use pgrx::pg_sys::{Datum, FunctionCallInfo, Pg_finfo_record};

static VERSION_1: Pg_finfo_record = Pg_finfo_record { api_version: 1 };

#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_mask_null_value() -> &'static Pg_finfo_record {
    &VERSION_1
}

/// `mask.null_value`: STRICT, so that the planner sees of the mask what it sees of a column that is NULL.
///
/// # Safety
/// Called by PostgreSQL as its declaration says.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mask_null_value(call: FunctionCallInfo) -> Datum {
    // SAFETY: as the caller promises.
    unsafe { (*call).isnull = true };
    Datum::null()
}

#[unsafe(no_mangle)]
#[doc(hidden)]
pub extern "C" fn pg_finfo_mask_constant() -> &'static Pg_finfo_record {
    &VERSION_1
}

/// `mask.constant`: its second argument.
///
/// # Safety
/// Called by PostgreSQL as its declaration says: STRICT, with two arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn mask_constant(call: FunctionCallInfo) -> Datum {
    // SAFETY: as the caller promises.
    unsafe { (*(*call).args.as_ptr().add(1)).value }
}
