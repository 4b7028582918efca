//! ExecutorRun: know which statement runs, and what it processed.
//!
//! Around the predecessor: statements started meanwhile are nested in this one. A cursor is run
//! once per FETCH, so counts add up. An ERROR closes the record and passes on.

use super::{active, explained, guarded, quietly};
use crate::pg::attempt::attempt;
use crate::pg::query::Planned;
use crate::pg::receiver::{self, Exit};
use crate::pg::tree::stamp;
use crate::pg::{scope, sessions, version};
use pgrx::pg_sys::{self, ExecutorRun_hook_type, QueryDesc, ScanDirection};

static mut NEXT: ExecutorRun_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::ExecutorRun_hook;
        pg_sys::ExecutorRun_hook = Some(version::executor_run);
    }
}

/// The hook's body; `version` gives it the signature of the day.
pub(in crate::pg) unsafe extern "C-unwind" fn trampoline(
    desc: *mut QueryDesc,
    direction: ScanDirection::Type,
    count: u64,
    once: bool,
) {
    // SAFETY: passes on what the executor gave us; `processed` reads a valid QueryDesc.
    unsafe {
        let Some(handlers) = active() else {
            return version::next_executor_run(NEXT, desc, direction, count, once);
        };
        let key = desc as usize;
        let (depth, outermost) = guarded(|| {
            sessions::entering(|| (handlers.running)(key, stamp::destination(desc), Exit::of(desc)))
        });
        let behind = receiver::put_on(desc);
        let referential = scope::enter_run();
        attempt(
            || version::next_executor_run(NEXT, desc, direction, count, once),
            |sqlstate| {
                receiver::take_off(desc, behind);
                scope::leave_run(referential);
                let sqlstate = explained(outermost, sqlstate);
                sessions::leave(outermost);
                quietly(|| (handlers.failed)(key, depth, Planned::new(desc).processed(), sqlstate));
            },
        );
        receiver::take_off(desc, behind);
        scope::leave_run(referential);
        sessions::leave(outermost);
        quietly(|| (handlers.ran)(key, depth, Planned::new(desc).processed()));
    }
}

/// What an execution has processed since it was last run. `key` names one that runs right now.
pub(super) fn processed(key: usize) -> u64 {
    // SAFETY: while it runs, its QueryDesc is alive.
    unsafe { Planned::new(key as *mut QueryDesc).processed() }
}
