//! Shared memory: asked for in the postmaster, attached in every process.
//!
//! After the predecessors. Whoever makes the memory runs [`super::Handlers::started`] once.

use crate::pg::{sessions, shared, version};
use pgrx::pg_sys::{self, shmem_startup_hook_type};

static mut NEXT_REQUEST: Option<unsafe extern "C-unwind" fn()> = None;
static mut NEXT_STARTUP: shmem_startup_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT_REQUEST = version::shmem_request_predecessor();
        version::install_shmem_request(request);
        NEXT_STARTUP = pg_sys::shmem_startup_hook;
        pg_sys::shmem_startup_hook = Some(startup);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn request() {
    // SAFETY: called by the postmaster when it takes requests; statics written once before.
    unsafe {
        if let Some(next) = NEXT_REQUEST {
            next();
        }
        pg_sys::RequestAddinShmemSpace(shared::size() + sessions::size());
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn startup() {
    // SAFETY: called by the postmaster when shared memory is set up; statics written once before.
    unsafe {
        if let Some(next) = NEXT_STARTUP {
            next();
        }
    }
    super::guarded(|| {
        if shared::attach()
            && let Some(handlers) = super::handlers()
        {
            (handlers.started)();
            // SAFETY: in the postmaster, whose children forget such callbacks; also after each crash.
            unsafe { pg_sys::on_shmem_exit(Some(stopping), pg_sys::Datum::null()) }
        }
        Ok(())
    });
}

/// The postmaster gives the shared memory up: the server stops, or, with another code, has crashed.
unsafe extern "C-unwind" fn stopping(code: i32, _argument: pg_sys::Datum) {
    if code == 0
        && let Some(handlers) = super::handlers()
    {
        super::quietly(handlers.stopping);
    }
}
