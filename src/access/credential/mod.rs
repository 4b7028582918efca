//! Dynamic credentials: a login role for one person and one grant, which dies with the grant.
//!
//! Promises: its password is in no statement, log, record or table, only in the answer to whoever asked. Its role has
//! the SQL privileges of the grant, and none that the role on which it was asked for has not; it is a member of
//! nothing. Its sessions belong to the person, by that one grant and no other, from the login on and until the end
//! of the grant; they can be nobody else's. Where the grant has ended the login is refused and every statement, at
//! once; the steward ends the sessions and removes the role, and what it owned belongs to `custodian_heir`, which may do
//! nothing. Roles that nobody accounts for are found by their mark and removed.
//!
//! Does not promise that a role that was made here has gone where the library is not loaded: there it is a role like
//! others, until its VALID UNTIL.

mod admit;
mod end;
mod error;
mod issue;
mod privileges_store;
mod sql;
mod store;

use crate::event::{Note, Outcome};
use crate::trail;
use serde_json::Value;

pub use admit::{admit, ended, forbids};
pub use end::{tidy, withdraw};

/// Records what becomes of the credential whose role is called `role`.
fn note(
    outcome: Outcome,
    sqlstate: Option<[u8; 5]>,
    role: String,
    detail: &Value,
) -> Result<(), trail::TrailError> {
    let detail = Some(detail.to_string());
    trail::note(&Note { event: "credential", outcome, sqlstate, object: Some(role), detail })
}

/// The text of `token_id` in the records of a credential's sessions.
fn token_id(id: i64) -> String {
    format!("credential:{id}")
}

/// How the setting `pg_custodian.credential` marks a role: where it was issued, and its name. By both the steward
/// knows a role that was made here from one that somebody has marked.
fn mark(numbering: &str, role: &str) -> String {
    format!("{numbering}/{role}")
}
