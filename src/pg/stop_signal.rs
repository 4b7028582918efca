//! Signals that stop a statement, told apart by the statement they were meant for.
//!
//! A signal meets a process, not a statement: between the last look of whoever sends it and its arrival the
//! statement can end, and another one begin, perhaps another person's. The sender has said before in the session's
//! slot which statement he means ([`super::sessions`]), and the receiver knows better than anybody what it runs. So the
//! handlers of SIGINT and SIGTERM ask first; signals of anybody else go through to PostgreSQL's as they came.

use super::local::process_local;
use super::sessions;
use libc::{c_int, c_void, siginfo_t};
use pgrx::pg_sys;
use std::cell::Cell;

process_local! {
    /// PostgreSQL's handlers of SIGINT and SIGTERM.
    static BEHIND: Cell<[Option<extern "C" fn(c_int)>; 2]> = const { Cell::new([None; 2]) };
}

/// Puts the question before the handlers that this backend has. Once, when it takes its slot.
pub(super) fn ask_before() {
    for (place, signal) in [libc::SIGINT, libc::SIGTERM].into_iter().enumerate() {
        // SAFETY: reads and replaces the handler of this process; ours calls the one that was there, with its mask.
        unsafe {
            let mut handler: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, std::ptr::null(), &raw mut handler) != 0
                || [libc::SIG_DFL, libc::SIG_IGN].contains(&handler.sa_sigaction)
                || handler.sa_flags & libc::SA_SIGINFO != 0
            {
                continue;
            }
            let mut behind = BEHIND.get();
            behind[place] = Some(std::mem::transmute::<usize, extern "C" fn(c_int)>(handler.sa_sigaction));
            BEHIND.set(behind);
            let ours: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = arrived;
            handler.sa_sigaction = ours as usize;
            handler.sa_flags |= libc::SA_SIGINFO;
            libc::sigaction(signal, &raw const handler, std::ptr::null_mut());
        }
    }
}

/// Touches nothing but this process's own memory and its slot.
extern "C" fn arrived(signal: c_int, info: *mut siginfo_t, _context: *mut c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO its siginfo.
    let sender = unsafe { info.as_ref().map_or(0, |info| info.si_pid()) };
    if sessions::is_too_late(sender) {
        return;
    }
    let [interrupt, terminate] = BEHIND.get();
    if let Some(behind) = if signal == libc::SIGINT { interrupt } else { terminate } {
        behind(signal);
    }
}

/// A request to cancel is waiting that was meant for a statement that has just ended: nobody else is to get it.
pub(super) fn forget_cancel() {
    // SAFETY: a flag of this backend, which its own signal handler sets.
    unsafe { (&raw mut pg_sys::QueryCancelPending).write_volatile(0) };
}
