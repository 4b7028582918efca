//! The token that came with the connection, verified before the session's first statement.
//!
//! Not when the session starts: whoever never runs a statement costs nothing and leaves no record.

use super::error::IdentityError;
use super::identify;
use super::secret::Secret;
use crate::pg::local::process_local;
use crate::pg::start_option;
use std::cell::RefCell;

process_local! {
    /// Why the token was not accepted, until somebody has been told.
    static FAILURE: RefCell<Option<IdentityError>> = const { RefCell::new(None) };
}

/// Whether there is a token to verify. Cheap: asked before every statement.
#[inline]
pub fn is_due() -> bool {
    start_option::is_pending()
}

/// Verifies the token, as `set_identity` would. Call it where tables can be read.
pub fn arrive() {
    let Some(token) = start_option::take() else { return };
    let token = Secret::from_bytes(token);
    if let Err(error) = identify::identify(Some(token), false) {
        FAILURE.replace(Some(error));
    }
}

/// Why the token was not accepted; once.
pub fn failure() -> Option<IdentityError> {
    FAILURE.take()
}

/// The session is handed on: what it started with does not count any more.
pub fn forget() {
    start_option::forget();
    FAILURE.take();
}
