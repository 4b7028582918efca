//! needs_fmgr: whether the planner may put the body of a function in the place of its call.
//!
//! Asked by the planner for each function that it would inline, and whenever a function is looked up to be called.
//! While a statement is planned that may be masked, set-returning functions stay calls, so that what they read
//! comes through the planner's hook; those that could be inlined were, before. After the predecessor, whose yes
//! stands. Nothing is raised: the functions exist.

use crate::pg::raw;
use crate::pg::tree::frames;
use pgrx::pg_sys::{self, Oid, needs_fmgr_hook_type};

static mut NEXT: needs_fmgr_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::needs_fmgr_hook;
        pg_sys::needs_fmgr_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(function: Oid) -> bool {
    // SAFETY: passes on what we were given; the lookup is of a function that exists; the frame owns nothing.
    unsafe {
        NEXT.is_some_and(|next| next(function))
            || frames::manner().keeps_functions
                && function.to_u32() >= pg_sys::FirstNormalObjectId
                && raw::get_func_retset(function)
    }
}
