//! Rows on their way out of the executor, stopped one by one.
//!
//! Around one run of an execution, a receiver of ours stands before the one that the rows go to. It is put there only if
//! [`watch`] has said so for this run. A watched run within another one is rare (a function that does COPY TO a
//! file): the outer one's state is put back when it is over.

use super::hooks::{guarded, handlers};
use super::local::process_local;
use pgrx::pg_sys::{CommandDest, DestReceiver, QueryDesc, TupleDesc, TupleTableSlot};
use std::cell::Cell;
use std::ptr::null_mut;

/// Where the rows of a run go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// To the client, or where the client's next message takes them from.
    Client,
    /// COPY: to the client, a file or a program.
    Copy,
    /// To a function or a table, or nowhere.
    Inside,
}

impl Exit {
    /// Of the run that begins.
    ///
    /// # Safety
    /// The argument of ExecutorRun's hook.
    pub(super) unsafe fn of(desc: *const QueryDesc) -> Self {
        // SAFETY: as the caller promises.
        let Some(receiver) = (unsafe { (*desc).dest.as_ref() }) else { return Self::Inside };
        match receiver.mydest {
            CommandDest::DestCopyOut => Self::Copy,
            // What comes in a store is sent from there: FETCH, EXECUTE, RETURNING, cursors that are held.
            CommandDest::DestRemote
            | CommandDest::DestRemoteExecute
            | CommandDest::DestRemoteSimple
            | CommandDest::DestTuplestore => Self::Client,
            _ => Self::Inside,
        }
    }
}

/// dest.h: a DestReceiver comes first in every receiver.
#[repr(C)]
struct Counter {
    receiver: DestReceiver,
    /// Where the rows of the innermost run that is watched go.
    inner: *mut DestReceiver,
}

static mut COUNTER: Counter = Counter {
    receiver: DestReceiver {
        receiveSlot: Some(receive),
        rStartup: Some(startup),
        rShutdown: Some(shutdown),
        rDestroy: Some(destroy),
        mydest: CommandDest::DestNone,
    },
    inner: null_mut(),
};

process_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
}

/// Whether the run that begins is to be watched: then `row_leaves` is asked before its rows pass.
pub fn watch(is_watched: bool) {
    WATCHED.set(is_watched);
}

/// Puts the counter before the receiver if the run is to be watched. Returns what [`take_off`] wants: what there
/// was before.
///
/// # Safety
/// The argument of ExecutorRun's hook.
#[inline]
pub(super) unsafe fn put_on(desc: *mut QueryDesc) -> Option<*mut DestReceiver> {
    if !WATCHED.get() {
        return None;
    }
    WATCHED.set(false);
    // SAFETY: as the caller promises; the counter is touched by this process's one thread only.
    unsafe {
        let before = COUNTER.inner;
        COUNTER.inner = (*desc).dest;
        COUNTER.receiver.mydest = (*COUNTER.inner).mydest;
        (*desc).dest = (&raw mut COUNTER).cast();
        Some(before)
    }
}

/// Puts back what stood there before.
///
/// # Safety
/// As for [`put_on`], with what that returned. While it runs, and when it has failed, its QueryDesc is alive.
#[inline]
pub(super) unsafe fn take_off(desc: *mut QueryDesc, before: Option<*mut DestReceiver>) {
    if let Some(before) = before {
        // SAFETY: as the caller promises.
        unsafe {
            (*desc).dest = COUNTER.inner;
            COUNTER.inner = before;
        }
    }
}

#[allow(ffi_unwind_calls)] // a frame that owns nothing: see raw.rs
unsafe extern "C-unwind" fn receive(slot: *mut TupleTableSlot, this: *mut DestReceiver) -> bool {
    // SAFETY: `this` is the counter, put before a receiver that is there.
    unsafe {
        if let Some(handlers) = handlers() {
            guarded(handlers.row_leaves);
        }
        let inner = (*this.cast::<Counter>()).inner;
        (*inner).receiveSlot.is_none_or(|receive| receive(slot, inner))
    }
}

#[allow(ffi_unwind_calls)]
unsafe extern "C-unwind" fn startup(this: *mut DestReceiver, operation: i32, shape: TupleDesc) {
    // SAFETY: as in `receive`.
    unsafe {
        let inner = (*this.cast::<Counter>()).inner;
        if let Some(startup) = (*inner).rStartup {
            startup(inner, operation, shape);
        }
    }
}

#[allow(ffi_unwind_calls)]
unsafe extern "C-unwind" fn shutdown(this: *mut DestReceiver) {
    // SAFETY: as in `receive`.
    unsafe {
        let inner = (*this.cast::<Counter>()).inner;
        if let Some(shutdown) = (*inner).rShutdown {
            shutdown(inner);
        }
    }
}

#[allow(ffi_unwind_calls)]
unsafe extern "C-unwind" fn destroy(this: *mut DestReceiver) {
    // SAFETY: as in `receive`.
    unsafe {
        let inner = (*this.cast::<Counter>()).inner;
        if let Some(destroy) = (*inner).rDestroy {
            destroy(inner);
        }
    }
}
