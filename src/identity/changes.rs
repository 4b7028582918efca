//! Changes of issuers and enrolled roles that this backend makes.
//!
//! What a backend remembers of its configuration is right for a generation. Between changing a
//! row and the end of the transaction no generation describes what this backend sees, so that it
//! remembers nothing meanwhile: neither may the old state be used any more, nor may the new one
//! outlive a ROLLBACK.

use crate::pg::local::process_local;
use crate::pg::shared;
use std::cell::Cell;

process_local! {
    static PENDING: Cell<bool> = const { Cell::new(false) };
}

/// A row of the configuration was changed in the running transaction.
pub fn announce() {
    PENDING.set(true);
    shared::config_changed();
}

/// Whether the running transaction changed the configuration.
pub fn pending() -> bool {
    PENDING.get()
}

/// The transaction is over; returns whether it had changes.
pub fn settle() -> bool {
    PENDING.replace(false)
}
