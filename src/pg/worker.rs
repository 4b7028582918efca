//! What background workers need of the server.

use super::local::process_local;
use super::shared::{self, DatabaseSlot, Process, ProcessState, Shared};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::ffi::CStr;
use std::sync::atomic::Ordering;
use std::time::Duration;

const LIBRARY: &str = "pg_custodian";

/// Registers a worker that the postmaster starts with the server and again whenever it ends.
pub fn register(name: &str, function: &str) {
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library(LIBRARY)
        .set_function(function)
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(Duration::from_secs(1)))
        .load();
}

/// Starts a worker now, for one life. Returns whether there was room for it.
pub fn start(name: &str, function: &str, argument: usize) -> bool {
    BackgroundWorkerBuilder::new(name)
        .set_type(name)
        .set_library(LIBRARY)
        .set_function(function)
        .set_argument(Some(pg_sys::Datum::from(argument)))
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(None)
        .load_dynamic()
        .is_ok()
}

/// Takes signals and connects; without a database only shared catalogs can be read.
pub fn connect(database: Option<Oid>) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    BackgroundWorker::connect_worker_to_spi_by_oid(database, None);
    // Whoever looks for a deadlock first gives way: we, who begin again, and not somebody who drops or vacuums.
    set(c"deadlock_timeout", c"100ms");
}

/// Sets something for this process.
fn set(name: &CStr, value: &CStr) {
    // SAFETY: two constant texts, between transactions.
    unsafe {
        pg_sys::SetConfigOption(
            name.as_ptr(),
            value.as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
}

/// Whether the worker shall end. Reads the configuration again if that was asked for.
pub fn shall_end() -> bool {
    if BackgroundWorker::sighup_received() {
        // SAFETY: what every process does on SIGHUP, between transactions.
        unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) }
    }
    // That forgets the signal when it is asked; whoever asks next must hear of it, too.
    if BackgroundWorker::sigterm_received() {
        TOLD.set(true);
    }
    TOLD.get()
}

/// Sleeps until woken, or for `timeout`; ends the process if the postmaster died.
pub fn sleep(timeout: Option<Duration>) {
    let mut events = pg_sys::WL_LATCH_SET | pg_sys::WL_EXIT_ON_PM_DEATH;
    let milliseconds = timeout.map_or(-1, |timeout| {
        events |= pg_sys::WL_TIMEOUT;
        timeout.as_millis() as i64
    });
    // SAFETY: the process's own latch.
    unsafe {
        let woken =
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds, pg_sys::PG_WAIT_EXTENSION);
        if woken & pg_sys::WL_LATCH_SET as i32 != 0 {
            pg_sys::ResetLatch(pg_sys::MyLatch);
        }
        pg_sys::check_for_interrupts!();
    }
}

/// Runs `work` in a transaction of its own, that commits unless an ERROR leaves it.
pub fn transaction<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: a background worker between transactions (worker_spi.c has the same sequence).
    unsafe {
        pg_sys::SetCurrentStatementStartTimestamp();
        pg_sys::StartTransactionCommand();
        pg_sys::PushActiveSnapshot(pg_sys::GetTransactionSnapshot());
    }
    let result = work();
    // SAFETY: as above.
    unsafe {
        pg_sys::PopActiveSnapshot();
        pg_sys::CommitTransactionCommand();
    }
    result
}

/// NOTIFY, at the commit of the running transaction.
pub fn notify(channel: &std::ffi::CStr, payload: &str) {
    let payload = std::ffi::CString::new(payload).unwrap_or_default();
    // SAFETY: inside a transaction; both texts are copied.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // guarded by the line above
            super::raw::Async_Notify(channel.as_ptr(), payload.as_ptr())
        });
    }
}

/// The process needs no flush at its commits: what it writes can be written again.
pub fn commit_lazily() {
    set(c"synchronous_commit", c"off");
}

/// Where the log ended at this process's last commit.
pub fn last_commit() -> u64 {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::XactLastCommitEnd }
}

/// Whether the log up to `position` is on disk.
pub fn is_flushed(position: u64) -> bool {
    // SAFETY: reads shared memory.
    unsafe { super::version::flushed_log() >= position }
}

/// Asks process `pid` to end.
pub fn terminate(pid: i32) {
    if pid > 0 {
        // SAFETY: sends a signal; to a process of ours, or to none.
        unsafe { libc::kill(pid, libc::SIGTERM) };
    }
}

/// How the work of a database's worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was asked to end: the server stops, or another one shall follow.
    Told,
    /// The extension is not in this database, or not any more.
    NotInstalled,
    /// By a fault, which is in the server log.
    Failed,
}

process_local! {
    static TOLD: Cell<bool> = const { Cell::new(false) };
    static PLACE: Cell<Option<&'static Process>> = const { Cell::new(None) };
}

/// The life of a background worker of a database, whose slot has the number `index`: takes its
/// place, connects, runs `work`, and leaves word for the launcher.
pub fn serve(
    index: usize,
    place: fn(&'static DatabaseSlot) -> &'static Process,
    work: impl FnOnce(&'static Shared, &'static DatabaseSlot) -> End,
) {
    let Some(memory) = shared::get() else { return };
    let Some(slot) = memory.databases.get(index) else { return };
    let process = place(slot);
    if !process.claim() {
        // The launcher may have seen us in a place that is not ours.
        return memory.wake_launcher();
    }
    PLACE.set(Some(process));
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::before_shmem_exit(Some(exiting), pg_sys::Datum::null()) }
    let database = slot.database.load(Ordering::Acquire);
    if matches!(database, 0 | u32::MAX) {
        // Its database went while it started.
        PLACE.set(None);
        return process.unregister(ProcessState::Wanted);
    }
    connect(Some(database.into()));
    let end = work(memory, slot);
    // Whoever ends by an ERROR does not come here, and is found in his place at the exit.
    match end {
        End::Told | End::NotInstalled => {
            PLACE.set(None);
            process.unregister(ProcessState::Wanted);
        }
        End::Failed => {}
    }
    if end == End::NotInstalled
        && slot.database.load(Ordering::Acquire) == super::session::database().to_u32()
    {
        slot.free();
    }
}

unsafe extern "C-unwind" fn exiting(_code: i32, _argument: pg_sys::Datum) {
    super::hooks::quietly(|| {
        if let Some(process) = PLACE.take() {
            process.unregister(ProcessState::Failed);
        }
        if let Some(memory) = shared::get() {
            memory.wake_launcher();
        }
    });
}

/// Ends this process in the way after which the postmaster starts it again.
pub fn end_to_be_restarted() {
    // SAFETY: runs the exit callbacks and does not return.
    unsafe { pg_sys::proc_exit(1) }
}
