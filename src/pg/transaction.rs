//! What happens at the end of transactions and subtransactions.

use super::local::process_local;
use pgrx::pg_sys::{self, SubXactEvent, XactEvent};
use std::cell::Cell;

process_local! {
    static ANNOUNCE: Cell<bool> = const { Cell::new(false) };
    static WAKE_LAUNCHER: Cell<bool> = const { Cell::new(false) };
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

pub(super) fn on_commit_announce() {
    register();
    ANNOUNCE.set(true);
}

/// Wakes the launcher once the running transaction has committed or aborted.
pub fn wake_launcher_at_end() {
    register();
    WAKE_LAUNCHER.set(true);
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Committed,
    /// By PREPARE TRANSACTION: whether it commits is decided later.
    Prepared,
    Aborted,
}

/// Registers the callbacks in this backend, once.
pub fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: the callbacks live as long as the library, which is never unloaded.
        unsafe {
            pg_sys::RegisterXactCallback(Some(transaction), std::ptr::null_mut());
            pg_sys::RegisterSubXactCallback(Some(subtransaction), std::ptr::null_mut());
        }
    }
}

/// PostgreSQL calls it after the commit is in the log and visible (xact.c: CommitTransaction), or
/// after the abort. There it must not raise; before the commit it may.
unsafe extern "C-unwind" fn transaction(event: XactEvent::Type, _argument: *mut std::ffi::c_void) {
    let ending = match event {
        XactEvent::XACT_EVENT_PRE_COMMIT => {
            return super::connection::transaction_commits();
        }
        XactEvent::XACT_EVENT_COMMIT => Ending::Committed,
        XactEvent::XACT_EVENT_PREPARE => Ending::Prepared,
        XactEvent::XACT_EVENT_ABORT => Ending::Aborted,
        _ => return,
    };
    super::hooks::quietly(|| {
        // A prepared transaction's changes show at COMMIT PREPARED; announcing twice costs nothing.
        if ANNOUNCE.replace(false) {
            super::shared::changed_here();
            if ending != Ending::Aborted {
                super::shared::next_generation();
            }
        }
        if let Some(handlers) = super::hooks::handlers() {
            if ending == Ending::Aborted {
                super::failure::transaction_aborts();
            }
            (handlers.transaction_ended)(ending);
        }
        if WAKE_LAUNCHER.replace(false)
            && let Some(shared) = super::shared::get()
        {
            shared.look_again();
        }
    });
}

unsafe extern "C-unwind" fn subtransaction(
    event: SubXactEvent::Type,
    subtransaction: pg_sys::SubTransactionId,
    _parent: pg_sys::SubTransactionId,
    _argument: *mut std::ffi::c_void,
) {
    if event == SubXactEvent::SUBXACT_EVENT_ABORT_SUB {
        super::hooks::quietly(|| {
            if ANNOUNCE.get() {
                super::shared::changed_here();
            }
            if let Some(handlers) = super::hooks::handlers() {
                (handlers.subtransaction_aborted)(subtransaction);
            }
        });
    }
}
