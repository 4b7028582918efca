//! SQL of our own, safe from whoever the session belongs to.

use super::scope::Internal;
use crate::error::ServerError;
use pgrx::pg_sys;
use pgrx::spi::{Spi, SpiClient};

/// A search path that nobody can plant anything in. Puts the old one back; after an ERROR the transaction's abort does.
pub(super) struct PinnedPath(i32);

impl PinnedPath {
    pub(super) fn pin() -> Self {
        // SAFETY: inside a transaction; undone when dropped.
        unsafe {
            let level = pg_sys::NewGUCNestLevel();
            pg_sys::set_config_option(
                c"search_path".as_ptr(),
                c"pg_catalog, pg_temp".as_ptr(),
                pg_sys::GucContext::PGC_USERSET,
                pg_sys::GucSource::PGC_S_SESSION,
                pg_sys::GucAction::GUC_ACTION_SAVE,
                true,
                0,
                false,
            );
            Self(level)
        }
    }
}

impl Drop for PinnedPath {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: the level that `pin` opened.
            unsafe { pg_sys::AtEOXact_GUC(false, self.0) }
        }
    }
}

/// Puts back user and settings, on errors too.
struct Disguise {
    user: pg_sys::Oid,
    context: i32,
    path: Option<PinnedPath>,
    snapshot: bool,
}

impl Disguise {
    fn put_on() -> Self {
        let mut disguise = Self { user: pg_sys::InvalidOid, context: 0, path: None, snapshot: false };
        // SAFETY: the sequence that PostgreSQL's own SECURITY DEFINER calls use (fmgr.c), inside a transaction.
        unsafe {
            pg_sys::GetUserIdAndSecContext(&mut disguise.user, &mut disguise.context);
            let context = disguise.context | pg_sys::SECURITY_LOCAL_USERID_CHANGE as i32;
            pg_sys::SetUserIdAndSecContext(pg_sys::Oid::from(pg_sys::BOOTSTRAP_SUPERUSERID), context);
            disguise.path = Some(PinnedPath::pin());
            // The newest committed state counts, whatever snapshot the client's transaction holds.
            pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot());
            disguise.snapshot = true;
        }
        disguise
    }
}

impl Drop for Disguise {
    fn drop(&mut self) {
        // After an ERROR the transaction's abort restores settings, user and snapshots itself.
        if std::thread::panicking() {
            return;
        }
        // SAFETY: undoes `put_on`, innermost first.
        unsafe {
            if self.snapshot {
                pg_sys::PopActiveSnapshot();
            }
            drop(self.path.take());
            pg_sys::SetUserIdAndSecContext(self.user, self.context);
        }
    }
}

/// Runs `work` with SPI as the owner of the cluster, with a search path nobody can plant
/// functions or operators in, on the newest snapshot. Our hooks look away meanwhile.
///
/// Use it for statements on our own tables whose text is constant; values go in as parameters.
pub fn as_owner<T, E>(work: impl FnOnce(&mut SpiClient<'_>) -> Result<T, E>) -> Result<T, E>
where
    E: From<ServerError>,
{
    disguised(|| Spi::connect_mut(|client| work(client)))
}

/// Runs `work` as the owner of the cluster, with a search path nobody can plant functions or operators
/// in, on the newest snapshot. Our hooks look away meanwhile.
pub(super) fn disguised<T>(work: impl FnOnce() -> T) -> T {
    let _internal = Internal::enter();
    let _disguise = Disguise::put_on();
    work()
}
