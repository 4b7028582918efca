//! Breaking the glass, renewing, reviewing; incidents that open and close.

use super::alert;
use super::store::{self, Emergency};
use crate::access::error::AccessError;
use crate::access::grant;
use crate::access::object::ObjectName;
use crate::access::privilege::Privilege;
use crate::access::request::{RequestError, actor, text};
use crate::access::subject::{self, Subject};
use crate::access::unsettled;
use crate::event::{Note, Outcome};
use crate::identity::instant;
use crate::pg::{session, shared, spi};
use crate::settings;
use crate::trail;
use serde_json::{Value, json};

/// How long it lasts at a time, in microseconds.
const LASTS: i64 = 30 * 60 * 1_000_000;
/// All of the data, to read and to write. To define objects and to take data away has never put a fire out
/// that a call to somebody would not: both are asked for.
const PRIVILEGES: [&str; 7] = ["select", "insert", "update", "delete", "truncate", "execute", "reveal"];

/// Those of [`PRIVILEGES`] that can be had on the object.
fn privileges(on_object: Option<&str>) -> Vec<Option<String>> {
    let object = on_object.and_then(|text| ObjectName::parse(text).ok());
    let fits = |word: &&str| match (&object, Privilege::parse(word)) {
        (Some(object), Some(privilege)) => grant::fits(privilege, object, false),
        // What names no object is refused for that.
        _ => true,
    };
    PRIVILEGES.iter().copied().filter(fits).map(|word| Some(word.to_owned())).collect()
}

/// Gives the person of this session access at once; returns the number of the grant.
pub fn shatter(
    incident: Option<String>,
    reason: Option<String>,
    on_object: Option<String>,
) -> Result<i64, RequestError> {
    shared::preloaded()?;
    let (incident, reason) = (text(incident, "incident")?, text(reason, "reason")?);
    let (person, subject) = subject::person()?;
    if !settings::break_glass_groups().iter().any(|group| person.is_in(group)) {
        return Err(RequestError::NotForYou);
    }
    spi::as_owner(|client| {
        let known = store::incident(client, &incident)?;
        check_open(&incident, known.as_ref(), &subject, settings::break_glass_incident())
    })?;
    let id = grant::give(grant::Asked {
        user_id: Some(person.user_id.clone()),
        issuer: Some(person.issuer.clone()),
        privileges: Some(privileges(on_object.as_deref())),
        on_object,
        duration: Some(LASTS.into()),
        reason: Some(reason.clone()),
        ticket: Some(incident.clone()),
        ..grant::Asked::default()
    })?;
    unsettled::add(id);
    let object = spi::as_owner(|client| {
        store::file(client, id, &incident, &person, &subject, &reason, session::now())
    })?;
    let line = format!(
        "\"{}\" broke the glass for 30 minutes on {object}, incident \"{incident}\", grant {id}",
        person.user_id
    );
    alert::raise(
        "break_glass",
        &line,
        &json!({
            "grant": id, "incident": incident, "user_id": person.user_id, "issuer": person.issuer,
            "token_id": person.token_id, "object": object, "reason": reason, "seconds": LASTS / 1_000_000,
        }),
    )?;
    Ok(id)
}

/// Whether `who` may act on an incident. One that is not on file will do unless one is `required`.
fn check_open(
    name: &str,
    known: Option<&store::Incident>,
    who: &Subject,
    required: bool,
) -> Result<(), RequestError> {
    match known {
        None if required => Err(RequestError::NotOpen(name.to_owned())),
        None => Ok(()),
        Some(incident) if incident.is_closed => Err(RequestError::WasClosed(name.to_owned())),
        Some(incident) if required && !incident.is_assigned_to(who) => {
            Err(RequestError::NotAssigned(name.to_owned()))
        }
        Some(_) => Ok(()),
    }
}

/// Lets break-glass access go on while its incident is open; returns its new end.
pub fn renew(id: Option<i64>) -> Result<i64, RequestError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("grant_id"))?;
    let (person, subject) = subject::person()?;
    let now = session::now();
    let ends_at = now.saturating_add(LASTS);
    let emergency = spi::as_owner(|client| {
        let emergency = store::emergency(client, id)?;
        if !emergency.who.is_account(&subject) {
            return Err(RequestError::NotYours(id));
        }
        if emergency.is_over(now) {
            return Err(AccessError::AlreadyEnded(id).into());
        }
        let incident = store::incident(client, &emergency.incident)?;
        // Without an incident on file nobody could say that it is still open.
        let known = incident.as_ref().ok_or_else(|| RequestError::NotOpen(emergency.incident.clone()))?;
        check_open(&emergency.incident, Some(known), &subject, settings::break_glass_incident())?;
        store::renew(client, id, ends_at)?;
        Ok(emergency)
    })?;
    let until = instant::display(instant::from_pg(ends_at));
    let line = format!(
        "\"{}\" renewed grant {id} until {until}, incident \"{}\"",
        person.user_id, emergency.incident
    );
    alert::raise(
        "break_glass_renewed",
        &line,
        &json!({
            "grant": id, "incident": emergency.incident, "user_id": person.user_id, "issuer": person.issuer,
            "token_id": person.token_id, "ends_at": until,
        }),
    )?;
    Ok(ends_at)
}

/// Puts on file what the review of somebody else's emergency found.
pub fn review(id: Option<i64>, findings: Option<String>) -> Result<(), RequestError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("grant_id"))?;
    let findings = text(findings, "findings")?;
    let (person, subject) = subject::person()?;
    let now = session::now();
    let emergency = spi::as_owner(|client| {
        let emergency = store::emergency(client, id)?;
        if emergency.who.is_same(&subject) {
            return Err(RequestError::OwnReview);
        }
        if emergency.is_reviewed {
            return Err(RequestError::Reviewed(id));
        }
        if !emergency.is_over(now) {
            return Err(RequestError::NotOver(id));
        }
        store::review(client, id, &person, &findings, now)?;
        Ok(emergency)
    })?;
    note(
        "review",
        emergency.incident.clone(),
        &json!({
            "grant": id, "incident": emergency.incident, "user_id": emergency.who.user_id,
            "issuer": emergency.who.issuer, "reviewer_token_id": person.token_id, "findings": findings,
        }),
    )
}

/// The on-call system tells of an incident, or of other people who are on it now.
pub fn open(
    incident: Option<String>,
    assignees: Option<Vec<Option<String>>>,
    title: Option<String>,
) -> Result<(), RequestError> {
    shared::preloaded()?;
    let incident = text(incident, "incident")?;
    let assignees = assignees
        .ok_or(AccessError::NullArgument("assignees"))?
        .into_iter()
        .map(|assignee| text(assignee, "assignees"))
        .collect::<Result<Vec<_>, _>>()?;
    let opened = spi::as_owner(|client| {
        store::open(client, &incident, &assignees, title.as_deref(), session::now(), &actor())
    })?;
    if !opened {
        return Err(RequestError::WasClosed(incident));
    }
    note("incident", incident, &json!({"action": "open", "assignees": assignees, "title": title}))
}

/// Closes an incident and ends what access it gave; returns how many grants that were.
pub fn close(incident: Option<String>) -> Result<i32, RequestError> {
    shared::preloaded()?;
    let incident = text(incident, "incident")?;
    let now = session::now();
    let (closed, grants) = spi::as_owner(|client| {
        let closed = store::close(client, &incident, now, &actor())?;
        Ok::<_, RequestError>((closed, store::live_grants(client, &incident, now)?))
    })?;
    if !closed {
        return Err(RequestError::NotOpen(incident));
    }
    for grant in &grants {
        grant::revoke(Some(*grant), Some(format!("incident {incident} was closed")))?;
    }
    note("incident", incident, &json!({"action": "close", "ended_grants": grants}))?;
    Ok(i32::try_from(grants.len()).unwrap_or(i32::MAX))
}

/// Alerts about reviews that are overdue; returns when the next one will be. For the steward.
pub fn remind(now: i64) -> Result<Option<i64>, RequestError> {
    let (overdue, next) = spi::as_owner(|client| store::overdue(client, now))?;
    for Emergency { grant, incident, who, is_reviewed, .. } in overdue {
        if is_reviewed {
            continue; // a moment ago
        }
        let line = format!(
            "the review of grant {grant} of \"{}\", incident \"{incident}\", is overdue",
            who.user_id
        );
        alert::raise(
            "review_overdue",
            &line,
            &json!({"grant": grant, "incident": incident, "user_id": who.user_id, "issuer": who.issuer}),
        )?;
        spi::as_owner(|client| store::told(client, grant, now))?;
    }
    Ok(next)
}

fn note(event: &'static str, object: String, detail: &Value) -> Result<(), RequestError> {
    let (object, detail) = (Some(object), Some(detail.to_string()));
    Ok(trail::note(&Note { event, outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who() -> Subject {
        Subject { user_id: "alice".into(), email: Some("Alice@x".into()), ..Subject::default() }
    }

    #[test]
    fn an_incident_must_be_open_and_assigned_where_that_is_required() {
        let incident =
            |is_closed, assignee: &str| store::Incident { is_closed, assignees: vec![assignee.into()] };
        let may = |known: Option<store::Incident>, required| {
            check_open("I", known.as_ref(), &who(), required).is_ok()
        };
        assert!(may(None, false) && !may(None, true));
        assert!(!may(Some(incident(true, "alice")), false), "closed is closed");
        assert!(may(Some(incident(false, "bob")), false) && !may(Some(incident(false, "bob")), true));
        assert!(may(Some(incident(false, "alice")), true) && may(Some(incident(false, "alice@X")), true));
        assert!(!may(Some(incident(false, "ALICE")), true), "a user_id is compared as it is");
        assert!(!may(Some(incident(true, "alice")), true));
    }
}
