//! An ERROR that ends a part of the work and not the transaction.

use pgrx::pg_sys::panic::CaughtError;
use pgrx::pg_sys::{self};
use pgrx::{PgSqlErrorCode, PgTryBuilder};

/// Runs `work` in a subtransaction of its own, so that an ERROR in it gives back all that it held (buffers,
/// locks, unfinished I/O) and is told to the caller. A request to cancel or to end is none of these and goes on up.
///
/// `work` owns nothing of the server's that must outlive it, and changes nothing.
pub fn contained<R>(work: impl FnOnce() -> R) -> Result<R, String> {
    // SAFETY: plain variables of the backend, put back below as plpgsql does (pl_exec.c: exec_stmt_block).
    let (memory, owner) = unsafe { (pg_sys::CurrentMemoryContext, pg_sys::CurrentResourceOwner) };
    // SAFETY: inside a transaction that is not in parallel mode.
    unsafe {
        pg_sys::BeginInternalSubTransaction(std::ptr::null());
        pg_sys::CurrentMemoryContext = memory;
    }
    let result = PgTryBuilder::new(std::panic::AssertUnwindSafe(|| {
        let result = work();
        // SAFETY: ends what was begun above.
        unsafe { pg_sys::ReleaseCurrentSubTransaction() };
        Ok(result)
    }))
    .catch_others(|error| match error {
        CaughtError::PostgresError(report)
            if !matches!(
                report.sql_error_code(),
                PgSqlErrorCode::ERRCODE_QUERY_CANCELED | PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN
            ) =>
        {
            // SAFETY: the subtransaction that the ERROR has left.
            unsafe { pg_sys::RollbackAndReleaseCurrentSubTransaction() };
            Err(report.message().to_owned())
        }
        other => other.rethrow(),
    })
    .execute();
    // SAFETY: both outlive the subtransaction.
    unsafe {
        pg_sys::CurrentMemoryContext = memory;
        pg_sys::CurrentResourceOwner = owner;
    }
    result
}
