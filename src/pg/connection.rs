//! Beginning and end of a session, as its backend lives through them.
//!
//! It begins with the authentication, in a transaction that the server makes for finding role and
//! database (postinit.c: InitPostgres); when that commits, catalogs can be read and all is known.
//! It ends when its process leaves shared memory, after its transaction.

use super::hooks::{guarded, handlers, quietly};
use super::local::process_local;
use super::version::port;
use super::{catalog, failure, raw, session};
use pgrx::pg_sys;
use std::cell::{Cell, RefCell};

/// What a client asked for when it connected.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wish {
    pub database: Vec<u8>,
    pub role: Vec<u8>,
    /// The role's number; 0 if there is no such role.
    pub role_oid: u32,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Departure {
    /// Whether an error ended it, rather than its client.
    pub by_error: bool,
    /// How long it lasted, in microseconds.
    pub lasted: i64,
}

process_local! {
    static WISH: RefCell<Option<Wish>> = const { RefCell::new(None) };
    static PRESENT: Cell<bool> = const { Cell::new(false) };
}

process_local! {
    static KNOWS_PASSWORD: Cell<bool> = const { Cell::new(false) };
}

/// Whether the client has shown, when it connected, that it knows the password of its role.
pub fn knows_password() -> bool {
    KNOWS_PASSWORD.get()
}

/// A client has been asked who it is, and has answered, right or wrong.
///
/// # Safety
/// `port` is its connection.
pub(super) unsafe fn authenticated(port: *const pg_sys::Port) {
    failure::watch();
    // SAFETY: as the caller promises.
    let [database, role] = unsafe { port::wished_names(port) };
    // SAFETY: as the caller promises.
    KNOWS_PASSWORD.set(unsafe { port::knows_password(port) });
    // In the transaction in which the password was looked up.
    let role_oid = if session::in_transaction() { catalog::role(&role) } else { None };
    let role_oid = role_oid.map_or(0, |role| role.to_u32());
    WISH.replace(Some(Wish { database, role, role_oid }));
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::on_shmem_exit(Some(leaving), pg_sys::Datum::null()) }
}

/// A transaction is about to commit; the first one of a session is the server's own. An ERROR here is FATAL then,
/// for nobody is there yet to take it.
#[inline]
pub(super) fn transaction_commits() {
    if !PRESENT.get() {
        begin();
    }
}

#[cold]
fn begin() {
    if WISH.take().is_some() {
        PRESENT.set(true);
        // The replication protocol can do without a database.
        if session::database() != pg_sys::InvalidOid
            && let Some(handlers) = handlers()
        {
            guarded(handlers.admitting);
            quietly(handlers.connected);
        }
    }
}

/// PostgreSQL calls it when the process gives its shared memory up (ipc.c: shmem_exit). It raises nothing.
unsafe extern "C-unwind" fn leaving(code: i32, _argument: pg_sys::Datum) {
    quietly(|| {
        let Some(handlers) = handlers() else { return };
        if let Some(wish) = WISH.take() {
            return (handlers.turned_away)(&wish);
        }
        if session::database() != pg_sys::InvalidOid {
            // SAFETY: a plain variable of the backend.
            let lasted = raw::GetCurrentTimestamp() - unsafe { pg_sys::MyStartTimestamp };
            (handlers.disconnected)(Departure { by_error: code != 0, lasted });
        }
    });
}
