//! PG_TRY and PG_RE_THROW, without rebuilding the error in between.

use super::raw;
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
        failed(sqlstate(raw::geterrcode()));
        // SAFETY: we are in the state in which PG_CATCH leaves its block by PG_RE_THROW.
        unsafe { raw::pg_re_throw() }
    }
    // SAFETY: no jump happened, so `work` returned and its result was written.
    unsafe { result.assume_init() }
}

/// The five characters of PostgreSQL's packed error code (elog.h: MAKE_SQLSTATE).
pub fn sqlstate(packed: i32) -> [u8; 5] {
    std::array::from_fn(|i| ((packed >> (6 * i)) & 0x3f) as u8 + b'0')
}

#[cfg(test)]
mod tests {
    use super::sqlstate;

    #[test]
    fn packed_codes_unpack() {
        let pack =
            |s: &[u8; 5]| s.iter().enumerate().map(|(i, c)| ((*c as i32 - 0x30) & 0x3f) << (6 * i)).sum();
        for code in [b"00000", b"42501", b"23505", b"57P01", b"XX000"] {
            assert_eq!(&sqlstate(pack(code)), code);
        }
    }
}
