//! Ending them: for the steward, and for DROP EXTENSION.
//!
//! Each step is a transaction of its own: that a credential has ended is committed before anything is done about it, so
//! that who comes meanwhile is refused; then its sessions are ended; when none is left, its role is removed.

use super::error::CredentialError;
use super::store::{self, Waiting};
use super::{note, token_id};
use crate::event::Outcome;
use crate::identity::revocation::{self, Ended};
use crate::pg::contain::contained;
use crate::pg::{session, spi, worker};
use pgrx::pg_sys::Oid;
use serde_json::{Value, json};

/// How soon it is looked whether the sessions that were told to end have done so, in microseconds.
const SOON: i64 = 100_000;
/// How soon it is tried again to write an end down, while somebody holds the row.
const HELD: i64 = 1_000_000;
/// How soon a removal is tried again that failed: somebody holds a lock, or the role owns something elsewhere.
const AGAIN: i64 = 10_000_000;

/// What is still to be done about a role.
struct Left {
    credential: Option<i64>,
    role: Option<(Oid, String)>,
    /// Where a role was issued that nobody accounts for.
    issued_in: Option<String>,
    /// Whether it was known before that it must go.
    is_known: bool,
}

impl Left {
    fn of(credential: Waiting) -> Self {
        Self { credential: Some(credential.id), role: credential.role, issued_in: None, is_known: false }
    }
}

/// What a look found.
#[derive(Default)]
struct Found {
    /// Credentials that have ended, and why: to be written down.
    ended: Vec<(Waiting, String)>,
    left: Vec<Left>,
    /// When the next credential ends by itself.
    next: Option<i64>,
}

/// Does what is due about credentials; returns when it wants to be called again, if ever. Outside of any transaction.
pub fn tidy(now: i64) -> Result<Option<i64>, CredentialError> {
    let Found { ended, mut left, mut next } = worker::transaction(|| look(now))?;
    let mut wait = |micros: i64| next = sooner(next, session::now().saturating_add(micros));
    for (credential, why) in ended {
        // Somebody may hold the row: his sessions do not wait for that.
        match worker::transaction(|| contained(|| end(&credential, &why, now))) {
            Ok(done) => done?,
            Err(_) => {
                let held = Left { is_known: true, ..Left::of(credential) };
                worker::transaction(|| part(&held))?;
                wait(HELD);
                continue;
            }
        }
        left.push(Left::of(credential));
    }
    for left in left {
        if worker::transaction(|| part(&left))? > 0 {
            wait(SOON);
            continue;
        }
        match worker::transaction(|| contained(|| remove(&left, true))) {
            Ok(done) => done?,
            Err(why) => {
                worker::transaction(|| note_failure(&left, &why))?;
                wait(AGAIN);
            }
        }
    }
    Ok(next)
}

fn sooner(one: Option<i64>, other: i64) -> Option<i64> {
    Some(one.map_or(other, |one| one.min(other)))
}

/// Finds what has ended, changing nothing.
fn look(now: i64) -> Result<Found, CredentialError> {
    let (waiting, orphans) = spi::as_owner(|client| {
        Ok::<_, CredentialError>((store::waiting(client, now)?, store::orphans(client)?))
    })?;
    let mut found = Found::default();
    for credential in waiting {
        if credential.has_ended {
            found.left.push(Left { is_known: true, ..Left::of(credential) });
        } else if let Some(why) = why(&credential)? {
            found.ended.push((credential, why));
        } else {
            found.next = sooner(found.next, credential.until);
        }
    }
    for (role, name, place) in orphans {
        let role = Some((role, name));
        found.left.push(Left { credential: None, role, issued_in: Some(place), is_known: false });
    }
    Ok(found)
}

/// Writes down that a credential has ended.
fn end(credential: &Waiting, why: &str, now: i64) -> Result<(), CredentialError> {
    spi::as_owner(|client| {
        store::do_not_wait(client)?;
        store::end(client, credential.id, why, now)
    })?;
    done(
        &credential.filed_name,
        &json!({
            "action": "end", "credential": credential.id, "grant": credential.grant, "reason": why,
            "user_id": credential.user_id, "issuer": credential.issuer,
        }),
    )
}

/// Why a credential has ended, if it has.
fn why(credential: &Waiting) -> Result<Option<String>, CredentialError> {
    if credential.why.is_some() {
        return Ok(credential.why.clone());
    }
    let token = token_id(credential.id);
    let Waiting { issuer, user_id, issued_at, .. } = credential;
    let standing = revocation::standing(issuer, user_id, Some(&token), Some(*issued_at))?;
    Ok(standing.map(|ended| {
        match ended {
            Ended::Distrusted => "issuer",
            Ended::TokenRevoked => "credential revoked",
            Ended::PersonRevoked | Ended::IssuedBefore => "person",
        }
        .to_owned()
    }))
}

/// Ends the sessions of a role; returns how many there were. What takes a while to end is told to again, and on record
/// once.
fn part(left: &Left) -> Result<i64, CredentialError> {
    let Some((role, name)) = &left.role else { return Ok(0) };
    let count = spi::as_owner(|client| store::terminate(client, *role))?;
    if count > 0 && !left.is_known {
        done(name, &json!({"action": "terminate", "credential": left.credential, "sessions": count}))?;
    }
    Ok(count)
}

/// Removes the role; what it owned is on record.
fn remove(left: &Left, hastily: bool) -> Result<(), CredentialError> {
    let now = session::now();
    let owned = spi::as_owner(|client| {
        if hastily {
            store::do_not_wait(client)?;
        }
        store::serialize(client)?;
        let owned = match &left.role {
            Some((role, name)) => Some(store::remove(client, *role, name)?),
            None => None,
        };
        if let Some(id) = left.credential {
            store::removed(client, id, now)?;
        }
        Ok::<_, CredentialError>(owned)
    })?;
    if let (Some((_, name)), Some(owned)) = (&left.role, owned) {
        let heir = (!owned.is_empty()).then_some("custodian_heir");
        done(
            name,
            &json!({
                "action": "remove", "credential": left.credential, "issued_in": left.issued_in, "reassigned": owned,
                "to": heir,
            }),
        )?;
    }
    Ok(())
}

fn note_failure(left: &Left, why: &str) -> Result<(), CredentialError> {
    let name = left.role.as_ref().map_or("", |(_, name)| name.as_str());
    pgrx::warning!(
        "pg_custodian: role \"{name}\" of a credential that has ended could not be removed: {why}"
    );
    let detail = json!({"action": "remove", "credential": left.credential, "message": why});
    Ok(note(Outcome::Error, None, name.to_owned(), &detail)?)
}

/// Removes all credentials of this database, in the running transaction: DROP EXTENSION takes the table that
/// accounts for them. Their sessions are ended at once.
pub fn withdraw() -> Result<(), CredentialError> {
    let now = session::now();
    let waiting = spi::as_owner(|client| store::waiting(client, now))?;
    for credential in waiting.into_iter().filter(|credential| credential.role.is_some()) {
        spi::as_owner(|client| store::end(client, credential.id, "extension dropped", now))?;
        let left = Left::of(credential);
        part(&left)?;
        remove(&left, false)?;
    }
    Ok(())
}

fn done(role: &str, detail: &Value) -> Result<(), CredentialError> {
    Ok(note(Outcome::Ok, None, role.to_owned(), detail)?)
}
