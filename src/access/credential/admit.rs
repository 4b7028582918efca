//! Coming by one, and what its sessions may do.

use super::error::CredentialError;
use super::store::{self, Kept};
use super::{note, token_id};
use crate::error::{Report, ServerError};
use crate::event::{Note, Outcome};
use crate::identity::enrolled::{self, Mode};
use crate::identity::{IdentityError, Person, instant, revocation, session as identity};
use crate::pg::local::process_local;
use crate::pg::utility::Utility;
use crate::pg::{connection, session, shared};
use crate::{settings, trail};
use serde_json::json;
use std::cell::Cell;
use std::rc::Rc;

process_local! {
    /// The generation of the configuration under which the credential of this session was found to hold.
    static CHECKED_IN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Whether the role that has just logged in may have its session. That of a credential belongs to its person from now
/// on; for others this is a comparison or two. `installed`: whether the extension is in this database.
pub fn admit(installed: bool) -> Result<(), CredentialError> {
    let role = session::login_user();
    let marked = settings::credential().is_some();
    let known = match installed && (marked || enrolled::mode_of(role)? == Some(Mode::Govern)) {
        true => store::kept(role)?,
        false => None,
    };
    let name = || String::from_utf8_lossy(&session::role_name(role)).into_owned();
    let Some(kept) = known else {
        return if marked { Err(refused(None, CredentialError::Elsewhere(name()))) } else { Ok(()) };
    };
    match judge(&kept, name) {
        Ok(person) => {
            let person = Rc::new(person);
            identity::bind(person.clone());
            let detail = json!({
                "action": "credential", "credential": kept.id, "grant": kept.grant, "groups": person.groups,
                "expires_at": instant::display(instant::from_pg(person.expires_at)),
            });
            let object = Some(person.issuer.clone());
            let detail = Some(detail.to_string());
            // Nobody is here unrecorded: without the event there is no session.
            trail::note(&Note { event: "identity", outcome: Outcome::Ok, sqlstate: None, object, detail })?;
            Ok(())
        }
        Err(error) => Err(refused(Some(kept.id), error)),
    }
}

fn judge(kept: &Kept, name: impl Fn() -> String) -> Result<Person, CredentialError> {
    let ends_at = store::end_of(kept)?.ok_or_else(|| CredentialError::Ended(name()))?;
    if session::now() >= ends_at {
        return Err(CredentialError::Ended(name()));
    }
    // Where pg_hba.conf trusts an address or another method, whoever comes has shown nothing of the person's.
    if !connection::knows_password() {
        return Err(CredentialError::NotByPassword(name()));
    }
    if store::is_altered(kept.role)? {
        return Err(CredentialError::Altered(name()));
    }
    let token = token_id(kept.id);
    if let Some(ended) =
        revocation::standing(&kept.issuer, &kept.user_id, Some(&token), Some(kept.issued_at))?
    {
        return Err(ended.of(&kept.issuer, &kept.user_id).into());
    }
    let claims = json!({
        "iss": kept.issuer, "sub": kept.user_id, "credential": kept.id, "grant": kept.grant,
    });
    Ok(Person {
        issuer: kept.issuer.clone(),
        user_id: kept.user_id.clone(),
        email: kept.email.clone(),
        name: None,
        groups: kept.groups.clone(),
        token_id: Some(token),
        issued_at: Some(kept.issued_at),
        expires_at: ends_at,
        claims: claims.to_string(),
        only_grant: Some(kept.grant),
    })
}

/// Records that a login was refused, and gives the error back.
fn refused(credential: Option<i64>, error: CredentialError) -> CredentialError {
    let role = String::from_utf8_lossy(&session::role_name(session::login_user())).into_owned();
    let detail = json!({"action": "refuse", "credential": credential, "message": error.to_string()});
    if let Err(lost) = note(Outcome::Denied, Some(error.sqlstate()), role, &detail) {
        trail::warn(&lost);
    }
    error
}

/// Why the credential of this session does not hold any more, if it does not, or if the session has none. Costs a look
/// at a static in sessions of nobody's credential; in the others the tables are read when something has changed.
#[inline]
pub fn ended(now: i64) -> Result<Option<IdentityError>, ServerError> {
    if !identity::is_bound() { Ok(None) } else { look(now) }
}

fn look(now: i64) -> Result<Option<IdentityError>, ServerError> {
    let over = Ok(Some(IdentityError::CredentialEnded));
    let Some(person) = identity::current().filter(|person| now < person.expires_at) else { return over };
    let generation = shared::generation();
    if CHECKED_IN.get() == Some(generation) || !session::in_transaction() {
        return Ok(None);
    }
    let kept = store::kept(session::login_user())?;
    let ends_at = match &kept {
        Some(kept) if person.only_grant == Some(kept.grant) => store::end_of(kept)?,
        _ => None,
    };
    if ends_at.is_none_or(|end| end <= now) {
        return over;
    }
    CHECKED_IN.set(Some(generation));
    Ok(None)
}

/// The error to refuse a utility statement with that outlives a credential or changes who may do what: it cannot give
/// itself another password or end, nor others what it has.
pub fn forbids(utility: &Utility<'_>) -> Option<CredentialError> {
    if !identity::is_bound() || !(utility.concerns_roles() || utility.is_two_phase()) {
        return None;
    }
    Some(CredentialError::Forbidden(String::from_utf8_lossy(utility.command()).into_owned()))
}
