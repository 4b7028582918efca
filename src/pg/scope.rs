//! Whether the backend is at work for itself: then our own hooks look away.

use super::local::process_local;
use std::cell::Cell;

process_local! {
    /// The innermost statement that runs is one of referential integrity.
    static REFERENTIAL: Cell<bool> = const { Cell::new(false) };
    static INTERNAL: Cell<u32> = const { Cell::new(0) };
    static BLIND: Cell<bool> = const { Cell::new(false) };
}

/// While it lives, statements are our own: not recorded, not judged.
///
/// An ERROR inside reaches Rust as a panic (pgrx guards the calls made under it), so that `Drop` runs.
pub struct Internal(());

impl Internal {
    /// Enters; scopes nest.
    pub fn enter() -> Self {
        INTERNAL.set(INTERNAL.get() + 1);
        Self(())
    }
}

impl Drop for Internal {
    fn drop(&mut self) {
        INTERNAL.set(INTERNAL.get().saturating_sub(1));
    }
}

/// While it lives, nothing is looked up: an error is on its way.
pub struct Blind(());

impl Blind {
    /// Enters.
    pub fn enter() -> Self {
        BLIND.set(true);
        Self(())
    }
}

impl Drop for Blind {
    fn drop(&mut self) {
        BLIND.set(false);
    }
}

/// Whether a [`Blind`] scope is open.
pub fn is_blind() -> bool {
    BLIND.get()
}

/// Whether an [`Internal`] scope is open.
pub fn is_internal() -> bool {
    INTERNAL.get() != 0
}

/// A statement begins to run; returns what to give to [`leave_run`].
pub(super) fn enter_run() -> bool {
    REFERENTIAL.replace(super::session::in_referential_check())
}

/// It has stopped running.
pub(super) fn leave_run(before: bool) {
    REFERENTIAL.set(before);
}

/// Whether what is planned or started now is a statement that the server itself makes for a foreign key, and not one
/// of a trigger or function that runs within such a statement and has inherited its rights.
pub fn is_directly_referential() -> bool {
    super::session::in_referential_check() && !REFERENTIAL.get()
}
