//! PG_TRY and PG_RE_THROW, without rebuilding the error in between.

use super::raw;
use crate::error;
use cee_scape::call_with_sigsetjmp;
use pgrx::pg_sys::{PG_exception_stack, error_context_stack, sigjmp_buf};

/// Runs `work`; on an ERROR, runs `failed` with the SQLSTATE and raises the same error again.
///
/// The error's data stays in PostgreSQL's error stack throughout, so that whoever handles it sees
/// every field (elog.h: PG_TRY, PG_RE_THROW).
///
/// # Safety
/// Neither `work` nor the caller's frame may own anything with a destructor: an ERROR jumps over
/// them. `failed` must not raise.
#[inline]
#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
pub unsafe fn attempt<R: Copy>(work: impl FnOnce() -> R, failed: impl FnOnce([u8; 5])) -> R {
    let mut result = std::mem::MaybeUninit::<R>::uninit();
    let slot = &raw mut result;
    // SAFETY: reading and, below, restoring the backend's own exception stack, as PG_TRY does.
    let (exceptions, contexts) = unsafe { (PG_exception_stack, error_context_stack) };
    let jumped = call_with_sigsetjmp(false, |buffer| {
        // SAFETY: the buffer lives in the frame that `call_with_sigsetjmp` keeps until we are done;
        // SigJmpBufFields is the platform's sigjmp_buf under another name.
        unsafe {
            PG_exception_stack = std::ptr::from_ref(buffer).cast_mut().cast::<sigjmp_buf>();
            (*slot).write(work());
        }
        0
    });
    // SAFETY: restores what was read above; both pointers are still alive, their owners are our callers.
    unsafe {
        PG_exception_stack = exceptions;
        error_context_stack = contexts;
    }
    if jumped != 0 {
        failed(error::sqlstate(raw::geterrcode()));
        // SAFETY: we are in the state in which PG_CATCH leaves its block by PG_RE_THROW.
        unsafe { raw::pg_re_throw() }
    }
    // SAFETY: no jump happened, so `work` returned and its result was written.
    unsafe { result.assume_init() }
}
