//! Sessions as events: who connects, who is turned away, who leaves.
//!
//! Recorded are the sessions whose statements are: of enrolled roles, of superusers, everybody's with
//! `audit_roles = all`. Whoever has left any record (a person who identified on another role, an auditor who has read)
//! is also recorded as leaving. Nobody is refused because his coming could not be recorded: his
//! statements are judged by themselves, and an administrator needs a way in.

use super::surroundings::installed;
use super::{asker, failures};
use crate::access::credential;
use crate::capture::failure;
use crate::error::report;
use crate::event::{Note, Outcome};
use crate::pg::connection::{Departure, Wish};
use crate::pg::{session, shared, start_option};
use crate::trail;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::json;

/// Whether whoever logs in may. Only of credentials is anything asked here.
pub(super) fn admitting() -> Result<(), ErrorReport> {
    credential::admit(installed().is_some()).map_err(report)
}

/// A session begins. The configuration is read now, for the statements that fail where it cannot be.
pub(super) fn connected() {
    if installed().is_none() || !asker::leaves_trace() {
        return;
    }
    let detail = json!({"tls": session::uses_tls(), "brings_token": start_option::is_pending()});
    note("connect", Outcome::Ok, None, detail.to_string());
}

/// A session ends, and its last statement with it.
pub(super) fn disconnected(departure: Departure) {
    let (sqlstate, failure) = failure::take_last();
    let sqlstate = departure.by_error.then_some(sqlstate);
    if departure.by_error
        && let Some(failure) = failure
    {
        failures::record(&failure);
    }
    if let Some(statements) = trail::statements() {
        let detail = json!({"duration": departure.lasted, "statements": statements});
        note("disconnect", sqlstate.map_or(Outcome::Ok, Outcome::of_sqlstate), sqlstate, detail.to_string());
    }
}

/// Somebody was not let in. Known are his address and the names that he gave; it is recorded where the
/// role that he asked for is enrolled.
pub(super) fn turned_away(wish: &Wish) {
    let Some(memory) = shared::get() else { return };
    let Some(slot) = memory.database_called(&wish.database) else { return };
    if !slot.has_enrolled(wish.role_oid) {
        return;
    }
    let (sqlstate, _) = failure::take_last();
    let note = Note {
        event: "connect",
        outcome: Outcome::of_sqlstate(sqlstate),
        sqlstate: Some(sqlstate),
        object: None,
        detail: None,
    };
    if let Err(lost) = trail::note_of_stranger(slot.number(), &wish.role, &note) {
        trail::warn(&lost);
    }
}

fn note(event: &'static str, outcome: Outcome, sqlstate: Option<[u8; 5]>, detail: String) {
    let note = Note { event, outcome, sqlstate, object: None, detail: Some(detail) };
    if let Err(lost) = trail::note_in_passing(&note) {
        trail::warn(&lost);
    }
}
