//! What background workers need of the server.

use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
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
}

/// Whether the worker shall end. Reads the configuration again if that was asked for.
pub fn shall_end() -> bool {
    if BackgroundWorker::sighup_received() {
        // SAFETY: what every process does on SIGHUP, between transactions.
        unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) }
    }
    BackgroundWorker::sigterm_received()
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

/// The process needs no flush at its commits: what it writes can be written again.
pub fn commit_lazily() {
    // SAFETY: a setting of this process, changed between transactions.
    unsafe {
        pg_sys::SetConfigOption(
            c"synchronous_commit".as_ptr(),
            c"off".as_ptr(),
            pg_sys::GucContext::PGC_SUSET,
            pg_sys::GucSource::PGC_S_OVERRIDE,
        );
    }
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

thread_local! {
    static AT_EXIT: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Runs `work` when this process exits, in whichever way it can still run code.
pub fn at_exit(work: fn()) {
    AT_EXIT.set(Some(work));
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::before_shmem_exit(Some(exiting), pg_sys::Datum::null()) }
}

unsafe extern "C-unwind" fn exiting(_code: i32, _argument: pg_sys::Datum) {
    if let Some(work) = AT_EXIT.take() {
        super::hooks::quietly(work);
    }
}

/// Ends this process in the way after which the postmaster starts it again.
pub fn end_to_be_restarted() {
    // SAFETY: runs the exit callbacks and does not return.
    unsafe { pg_sys::proc_exit(1) }
}
