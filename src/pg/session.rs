//! Facts about this backend and its client.

use super::local::process_local;
use super::raw;
use crate::error::ServerError;
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::time::Instant;

/// The time in microseconds since 2000-01-01 UTC (TimestampTz), read from the clock.
pub fn now() -> i64 {
    raw::GetCurrentTimestamp()
}

/// The time in seconds since 1970-01-01 UTC.
#[cfg(any(test, feature = "pg_test"))]
pub fn unix_now() -> i64 {
    now().div_euclid(1_000_000) + 946_684_800
}

/// The role the session belongs to (SESSION_USER).
pub fn session_user() -> Oid {
    raw::GetSessionUserId()
}

/// The role that logged in, whatever SET SESSION AUTHORIZATION made of it.
pub fn login_user() -> Oid {
    raw::GetAuthenticatedUserId()
}

/// The role whose rights count right now, also inside a SECURITY DEFINER function (CURRENT_USER).
pub fn current_user() -> Oid {
    raw::GetUserId()
}

/// The role set by SET ROLE, or the session's; not changed by SECURITY DEFINER functions.
pub fn outer_user() -> Oid {
    raw::GetOuterUserId()
}

process_local! {
    /// The role last asked for, and whether it is a superuser.
    static SUPERUSER: Cell<Option<(Oid, bool)>> = const { Cell::new(None) };
    /// No role has changed since.
    static STANDS: Cell<bool> = const { Cell::new(false) };
}

/// Whether `role` is a superuser. The last answer is remembered until a role changes: every
/// statement asks, mostly for the same role. Where nothing can be looked up, in a failed transaction and
/// outside of any, the last answer stands.
pub fn is_superuser(role: Oid) -> bool {
    let known = SUPERUSER.get().filter(|(known, _)| *known == role).map(|(_, superuser)| superuser);
    if let Some(superuser) = known.filter(|_| STANDS.get()) {
        return superuser;
    }
    if !in_transaction() {
        return known.unwrap_or(false);
    }
    // SAFETY: takes any OID; looks it up in the system cache.
    let superuser = unsafe { pg_sys::superuser_arg(role) };
    SUPERUSER.set(Some((role, superuser)));
    STANDS.set(super::catalog::watches_names());
    superuser
}

/// Whether the session may change the catalogs' own definitions (allow_system_table_mods).
pub fn allows_changes_of_catalogs() -> bool {
    // SAFETY: a plain variable of the server's settings.
    unsafe { pg_sys::allowSystemTableMods }
}

/// Some role has changed.
pub(super) fn forget_superuser() {
    STANDS.set(false);
}

/// Name of `role`, or its number if it is gone.
pub fn role_name(role: Oid) -> Vec<u8> {
    // SAFETY: with noerr the function returns NULL for an unknown role, else a palloc'd string.
    let name = unsafe { pg_sys::GetUserNameFromId(role, true) };
    if name.is_null() {
        return role.to_u32().to_string().into_bytes();
    }
    // SAFETY: a NUL-terminated string as returned above.
    unsafe { CStr::from_ptr(name) }.to_bytes().to_vec()
}

/// Names of the session's role and of the one set by SET ROLE, as the settings have them: without a look
/// into catalogs.
pub fn role_names() -> (Vec<u8>, Vec<u8>) {
    let session = setting("session_authorization").unwrap_or_default();
    let role = setting("role").filter(|role| role != "none").unwrap_or_else(|| session.clone());
    (session.into_bytes(), role.into_bytes())
}

/// The value of a setting, as text; `None` if it has none, or does not exist.
pub fn setting(name: &str) -> Option<String> {
    let name = CString::new(name).ok()?;
    // SAFETY: returns NULL for an unknown name, else the setting's string or a buffer of the function's own.
    let value = unsafe { pg_sys::GetConfigOption(name.as_ptr(), true, false) };
    // SAFETY: as above.
    (!value.is_null()).then(|| unsafe { CStr::from_ptr(value) }.to_string_lossy().into_owned())
}

/// When the client sent what is being worked on: microseconds since 2000.
#[inline]
pub fn statement_sent_at() -> i64 {
    raw::GetCurrentStatementStartTimestamp()
}

/// Whether the client's connection is encrypted.
pub fn uses_tls() -> bool {
    // SAFETY: NULL, or this backend's own entry of pg_stat_activity.
    unsafe { pg_sys::MyBEEntry.as_ref().is_some_and(|entry| entry.st_ssl) }
}

/// Name of the connected database. Needs a transaction.
pub fn database_name() -> Vec<u8> {
    // SAFETY: NULL, or a NUL-terminated copy.
    unsafe {
        let name = pg_sys::get_database_name(pg_sys::MyDatabaseId);
        if name.is_null() { Vec::new() } else { CStr::from_ptr(name).to_bytes().to_vec() }
    }
}

/// OID of the connected database; invalid in a process without one.
pub fn database() -> Oid {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::MyDatabaseId }
}

/// Process number.
pub fn pid() -> u32 {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::MyProcPid as u32 }
}

/// Number of the session: its start in seconds since 1970 and its process, as log_line_prefix's %c.
pub fn session_id() -> u64 {
    // SAFETY: a plain variable of the backend.
    let started = unsafe { pg_sys::MyStartTime } as u64;
    started << 32 | u64::from(pid())
}

/// The client's host or address, `[local]` for a Unix socket, `None` without a client.
pub fn client_address() -> Option<Vec<u8>> {
    // SAFETY: NULL, or the connection's Port for the backend's whole life.
    if unsafe { pg_sys::MyProcPort.is_null() } {
        return None;
    }
    // SAFETY: the SQL functions inet_client_addr() and host(), which take no argument and an inet.
    let address = unsafe {
        let address = pgrx::direct_function_call_as_datum(pg_sys::inet_client_addr, &[]);
        address
            .and_then(|address| pgrx::direct_function_call::<String>(pg_sys::network_host, &[Some(address)]))
    };
    Some(address.map_or_else(|| b"[local]".to_vec(), String::into_bytes))
}

/// Runs `look` on the setting application_name.
pub fn with_application_name<R>(look: impl FnOnce(&[u8]) -> R) -> R {
    // SAFETY: a setting's string, not changed while `look` runs.
    let name = unsafe { pg_sys::application_name };
    if name.is_null() {
        return look(b"");
    }
    // SAFETY: settings are NUL-terminated.
    look(unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// Whether this process is a worker of somebody else's parallel query.
pub fn is_parallel_worker() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::ParallelWorkerNumber >= 0 }
}

/// Whether the session has a person for which this process works in parallel.
pub fn leader_has_person() -> bool {
    // SAFETY: this process is in shared memory, and so is the one that it works for, which waits for it.
    let leader = unsafe {
        match pg_sys::MyProc.as_ref().and_then(|own| own.lockGroupLeader.as_ref()) {
            Some(leader) => leader.pid,
            None => return false,
        }
    };
    let mut sessions = super::sessions::of_database(database().to_u32()).into_iter();
    sessions.any(|session| i64::from(session.pid) == i64::from(leader) && session.holder.is_some())
}

/// Errs in a parallel worker: what a session knows is in its leader's memory, and a worker that was
/// asked would answer as nobody's. Only a function that is wrongly declared PARALLEL SAFE gets there.
pub fn in_leader() -> Result<(), ServerError> {
    if is_parallel_worker() { Err(ServerError::InWorker) } else { Ok(()) }
}

/// Whether a transaction is running in which catalogs may be read.
pub fn in_transaction() -> bool {
    raw::IsTransactionState() && !super::scope::is_blind()
}

/// Whether the transaction goes on after this statement: BEGIN has begun it, or more follows in the string.
pub fn in_transaction_block() -> bool {
    raw::IsTransactionBlock()
}

/// Number of the transaction; 0 until it changes something.
pub fn transaction_number() -> u64 {
    raw::GetTopFullTransactionIdIfAny().value
}

/// Whether this is a statement that the server makes to check a foreign key.
pub fn in_referential_check() -> bool {
    raw::InNoForceRLSOperation()
}

/// Whether a trigger runs.
pub fn in_trigger() -> bool {
    // SAFETY: pg_trigger_depth() looks at no argument and returns an integer.
    unsafe { raw::pg_trigger_depth(std::ptr::null_mut()) }.value() as i32 > 0
}

/// Whether the script of an extension runs.
pub fn in_extension_script() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::creating_extension }
}

/// Whether the backend is on its way out.
pub fn is_exiting() -> bool {
    // SAFETY: a plain variable of the backend.
    unsafe { pg_sys::proc_exit_inprogress }
}

process_local! {
    static LAST_WORDS: Cell<Option<[u8; 5]>> = const { Cell::new(None) };
}

/// Notes what the server said of this session that ends it: a FATAL error, or that its client is gone.
pub(super) fn note_last_words(sqlstate: [u8; 5]) {
    LAST_WORDS.set(Some(sqlstate));
}

/// Why this session ends, now that it does. Of a client that left in order the server says nothing.
pub fn last_words() -> [u8; 5] {
    LAST_WORDS.get().unwrap_or(*b"08003")
}

/// The rows that a COPY that is running has sent or written; 0 if none is, or if the server does not track
/// activities. Its own count is in reach of nobody until it ends well.
pub fn copied_out() -> u64 {
    // SAFETY: this backend's own entry, which nobody else writes.
    unsafe {
        match pg_sys::MyBEEntry.as_ref() {
            Some(entry)
                if entry.st_progress_command == pg_sys::ProgressCommandType::PROGRESS_COMMAND_COPY
                    && entry.st_progress_param[pg_sys::PROGRESS_COPY_COMMAND as usize]
                        == i64::from(pg_sys::PROGRESS_COPY_COMMAND_TO) =>
            {
                entry.st_progress_param[pg_sys::PROGRESS_COPY_TUPLES_PROCESSED as usize] as u64
            }
            _ => 0,
        }
    }
}

/// Whether bytes are a text in the database's encoding.
pub fn is_text(bytes: &[u8]) -> bool {
    // SAFETY: reads as many bytes as there are; with noerr it raises nothing.
    unsafe {
        pg_sys::pg_verify_mbstr(
            pg_sys::GetDatabaseEncoding(),
            bytes.as_ptr().cast::<std::ffi::c_char>(),
            bytes.len() as i32,
            true,
        )
    }
}

/// Whether the server replays somebody else's log and can write nothing.
pub fn in_recovery() -> bool {
    // SAFETY: reads shared memory.
    unsafe { pg_sys::RecoveryInProgress() }
}

/// Closes all cursors of the session but the one whose statement is running.
pub fn close_cursors() {
    // SAFETY: what DISCARD ALL and CLOSE ALL do (portalcmds.c); active portals are skipped.
    unsafe { pg_sys::PortalHashTableDeleteAll() }
}

/// Whether the session has a cursor of this name.
pub fn has_cursor(name: &[u8]) -> bool {
    // SAFETY: looks a name up in the session's own table of cursors.
    CString::new(name).is_ok_and(|name| unsafe { !pg_sys::GetPortalByName(name.as_ptr()).is_null() })
}

/// Sleeps until `until`, holding nothing; a request to cancel or to terminate is an ERROR here, as
/// in pg_sleep.
pub fn sleep_until(until: Instant) {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        // a millisecond more rather than a busy loop at the end
        let milliseconds = i64::try_from(left.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        let events = pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
        // SAFETY: the process's own latch, in a statement of its own.
        unsafe {
            pg_sys::WaitLatch(pg_sys::MyLatch, events as i32, milliseconds as _, pg_sys::PG_WAIT_EXTENSION);
            pg_sys::ResetLatch(pg_sys::MyLatch);
            pg_sys::check_for_interrupts!();
        }
    }
}

/// Removes what a session's user leaves behind for the next one: temporary objects, LISTEN,
/// advisory locks and the state of sequences. What DISCARD ALL does (discard.c), but for settings and
/// prepared statements, which belong to the driver rather than to its user. Raises an ERROR if a temporary
/// object is in use. The first two come back if the transaction aborts.
pub fn discard_leftovers() {
    // advisory locks (lock.h: USER_LOCKMETHOD)
    const USER_LOCKS: pg_sys::LOCKMETHODID = 2;
    // SAFETY: called from a function that a statement of the client runs, in a transaction with a snapshot.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // guarded by the line above
            raw::Async_UnlistenAll()
        });
        pg_sys::LockReleaseSession(USER_LOCKS);
        pg_sys::ResetTempTableNamespace();
        pg_sys::CommandCounterIncrement();
    }
    raw::ResetSequenceCaches();
}

/// Has every prepared statement planned anew, and judged anew, before it runs again. Raises nothing.
pub fn forget_plans() {
    raw::ResetPlanCache();
}

/// Has all sessions make their plans anew, once the transaction commits.
pub fn forget_plans_everywhere() {
    // SAFETY: a message to all backends, sent at the commit.
    unsafe { pg_sys::CacheInvalidateRelcacheAll() };
}

/// Cuts `text` to at most `limit` bytes without cutting a character in two.
pub fn cut(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    // SAFETY: reads at most `text.len()` bytes of the slice.
    let end = unsafe { pg_sys::pg_mbcliplen(text.as_ptr().cast(), text.len() as i32, limit as i32) };
    &text[..(end.max(0) as usize).min(limit)]
}

/// Number of the running subtransaction.
pub fn subtransaction() -> u32 {
    raw::GetCurrentSubTransactionId()
}

/// Whether pg_upgrade runs the server: it takes superusers only, and is given to nobody else.
pub fn is_upgrading() -> bool {
    // SAFETY: a plain variable of the server, set before any library is loaded.
    unsafe { pg_sys::IsBinaryUpgrade }
}

/// Whether the library is being loaded by shared_preload_libraries.
pub fn is_preloading() -> bool {
    // SAFETY: a plain variable of the server.
    unsafe { pg_sys::process_shared_preload_libraries_in_progress }
}
