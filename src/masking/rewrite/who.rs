//! Whose statements are masked.

use crate::error::ServerError;
use crate::identity::enrolled::{self, Mode};
use crate::identity::session as person;
use crate::pg::session;

/// Whether the session shows masks: it has a person, or its role, or that of SET ROLE, needs one.
///
/// A person whose time is over counts until the session forgets him: rather a mask too many.
pub fn is_masked() -> Result<bool, ServerError> {
    if person::current().is_some() {
        return Ok(true);
    }
    let (login, outer) = (session::session_user(), session::outer_user());
    let needs_person = |role| Ok::<_, ServerError>(enrolled::mode_of(role)? >= Some(Mode::Identify));
    Ok(needs_person(login)? || outer != login && needs_person(outer)?)
}

/// The same in a parallel worker, for its leader's session.
pub fn is_masked_in_worker() -> Result<bool, ServerError> {
    Ok(session::leader_has_person() || is_masked()?)
}
