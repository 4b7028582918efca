//! Asking, approving, rejecting, withdrawing, expiring.

use super::RequestError;
use super::machine::{Decision, Progress, State};
use super::notice::tell;
use super::rule::{self, Rule, Wish};
use super::rules::text;
use super::store::{self, Filed, Filing, Saying, Shown};
use crate::access::error::AccessError;
use crate::access::grant;
use crate::access::subject::{self, Subject};
use crate::access::unsettled;
use crate::event::{Note, Outcome};
use crate::identity::instant;
use crate::pg::{session, shared, spi};
use crate::trail;
use serde_json::{Value, json};

/// Requests of one account that may wait at a time: more are a loop in somebody's script.
const MOST: i64 = 50;
/// Rules of which whoever is refused is told why they do not fit.
const TOLD: usize = 5;

/// The arguments of `access.request_access`, as they came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub privileges: Option<Vec<Option<String>>>,
    pub on_object: Option<String>,
    /// Microseconds.
    pub duration: Option<i128>,
    pub reason: Option<String>,
    pub ticket: Option<String>,
    pub rows: Option<String>,
}

/// Files a request of the person of this session; grants it at once if a rule says so.
pub fn ask(asked: Asked) -> Result<Shown, RequestError> {
    shared::preloaded()?;
    let (person, subject) = subject::person()?;
    let now = session::now();
    let rows = asked.rows.clone();
    let wanted = grant::Asked {
        user_id: Some(person.user_id.clone()),
        issuer: Some(person.issuer.clone()),
        privileges: asked.privileges,
        on_object: asked.on_object,
        duration: asked.duration,
        reason: asked.reason,
        ticket: asked.ticket,
        rows: asked.rows,
        ..grant::Asked::default()
    }
    .checked()?;
    let (id, decision) = spi::as_owner(|client| {
        let identity = crate::access::store::resolve(client, &wanted)?.identity();
        let protected = store::is_protected(client, identity)?;
        let rules = store::rules(client, now)?;
        let wish = Wish {
            object: &wanted.object,
            privileges: wanted.privileges,
            groups: &person.groups,
            protected,
            duration: wanted.duration,
        };
        let rule = rule::first(&rules, &wish).ok_or_else(|| no_rule(&rules, &wish))?;
        let waiting = store::waiting(client, &subject, now)?;
        if waiting >= MOST {
            return Err(RequestError::TooMany(waiting));
        }
        let filing = Filing {
            person: &person,
            subject: &subject,
            privileges: wanted.privileges,
            object: &wanted.object,
            identity,
            duration: wanted.duration,
            rows: rows.as_deref(),
            reason: &wanted.reason,
            ticket: wanted.ticket.as_deref(),
            now,
            rule,
        };
        Ok::<_, RequestError>((store::file(client, &filing)?, rule.decision))
    })?;
    let filed = spi::as_owner(|client| store::lock(client, id))?;
    record(
        "ask",
        &filed,
        json!({
            "privileges": filed.privileges.words(), "seconds": filed.duration / 1_000_000,
            "reason": filed.reason, "ticket": filed.ticket, "rows": filed.rows, "rule": filed.rule,
            "decision": decision.word(), "approver_groups": filed.request.groups,
            "expires_at": time(filed.request.expires_at),
        }),
    )?;
    if decision == Decision::Automatic {
        fulfil(&filed, now)?;
    } else {
        announce("requested", &filed, None);
    }
    spi::as_owner(|client| store::shown(client, id))
}

fn no_rule(rules: &[Rule], wish: &Wish<'_>) -> RequestError {
    let reasons: Vec<String> = rules
        .iter()
        .filter_map(|rule| Some(format!("Rule \"{}\": {}.", rule.name, rule.unfit(wish)?)))
        .take(TOLD)
        .collect();
    RequestError::NoRule { why: reasons.join(" ") }
}

/// Approves a request; the approval that completes it grants it.
pub fn approve(id: Option<i64>, comment: Option<String>) -> Result<Shown, RequestError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("request_id"))?;
    let (person, subject) = subject::person()?;
    let now = session::now();
    let (filed, progress) = spi::as_owner(|client| {
        let mut filed = store::lock(client, id)?;
        let progress = filed
            .request
            .approve(&subject, &person.groups, now)
            .map_err(|refusal| RequestError::Refused { id, refusal })?;
        let present = filed.present.as_ref().ok_or(RequestError::ObjectGone(id))?;
        let rules = store::rules(client, filed.asked_at)?;
        let wish = Wish {
            object: present,
            privileges: filed.privileges,
            groups: &filed.asker_groups,
            protected: store::is_protected(client, filed.identity)?,
            duration: filed.duration,
        };
        let same = |rule: &Rule| rule.name == filed.rule && rule.revision == filed.revision;
        if !rule::first(&rules, &wish).is_some_and(same) {
            return Err(RequestError::RulesChanged(id));
        }
        let saying = Saying {
            person: &person,
            subject: &subject,
            groups: filed.request.standing(&person.groups),
            approves: true,
            comment: comment.as_deref(),
            now,
        };
        store::vote(client, id, &saying)?;
        Ok((filed, progress))
    })?;
    record(
        "approve",
        &filed,
        json!({"comment": comment, "as": filed.request.standing(&person.groups), "rule": filed.rule,
               "approver_token_id": person.token_id}),
    )?;
    match progress {
        Progress::Granted => fulfil(&filed, now)?,
        Progress::Waiting => announce("approved", &filed, Some(&subject)),
    }
    spi::as_owner(|client| store::shown(client, id))
}

/// Turns a request down.
pub fn reject(id: Option<i64>, comment: Option<String>) -> Result<Shown, RequestError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("request_id"))?;
    let comment = text(comment, "comment")?;
    let (person, subject) = subject::person()?;
    let now = session::now();
    let filed = spi::as_owner(|client| {
        let mut filed = store::lock(client, id)?;
        filed
            .request
            .reject(&subject, &person.groups, now)
            .map_err(|refusal| RequestError::Refused { id, refusal })?;
        let groups = filed.request.standing(&person.groups);
        let (person, subject, comment) = (&*person, &subject, Some(comment.as_str()));
        store::vote(client, id, &Saying { person, subject, groups, approves: false, comment, now })?;
        store::decide(client, id, State::Rejected, None, now)?;
        Ok::<_, RequestError>(filed)
    })?;
    record("reject", &filed, json!({"comment": comment, "approver_token_id": person.token_id}))?;
    announce("rejected", &filed, Some(&subject));
    spi::as_owner(|client| store::shown(client, id))
}

/// Withdraws a request of one's own.
pub fn cancel(id: Option<i64>) -> Result<Shown, RequestError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("request_id"))?;
    let (_, subject) = subject::person()?;
    let now = session::now();
    let filed = spi::as_owner(|client| {
        let mut filed = store::lock(client, id)?;
        filed.request.cancel(&subject, now).map_err(|refusal| RequestError::Refused { id, refusal })?;
        store::decide(client, id, State::Cancelled, None, now)?;
        Ok::<_, RequestError>(filed)
    })?;
    record("cancel", &filed, json!({}))?;
    announce("cancelled", &filed, None);
    spi::as_owner(|client| store::shown(client, id))
}

/// Makes a grant of an approved request. Its time begins now.
fn fulfil(filed: &Filed, now: i64) -> Result<(), RequestError> {
    let id = filed.id;
    let object = filed.present.as_ref().ok_or(RequestError::ObjectGone(id))?;
    let grant = grant::give(grant::Asked {
        user_id: Some(filed.request.asker.user_id.clone()),
        issuer: Some(filed.request.asker.issuer.clone()),
        privileges: Some(filed.privileges.words().into_iter().map(|word| Some(word.to_owned())).collect()),
        on_object: Some(object.to_string()),
        duration: Some(filed.duration.into()),
        reason: Some(filed.reason.clone()),
        ticket: filed.ticket.clone(),
        rows: filed.rows.clone(),
        ..grant::Asked::default()
    })?;
    unsettled::add(grant);
    let approvals = spi::as_owner(|client| {
        // The name may have gone to another object since it was looked up.
        if !store::grant_is_on(client, grant, filed.identity)? {
            return Err(RequestError::ObjectGone(id));
        }
        store::decide(client, id, State::Granted, Some(grant), now)?;
        store::approvals(client, id)
    })?;
    let approvals: Vec<Value> = approvals
        .into_iter()
        .map(|approval| {
            json!({"user_id": approval.vote.who.user_id, "issuer": approval.vote.who.issuer,
                   "token_id": approval.token_id, "as": approval.vote.groups, "at": time(approval.at)})
        })
        .collect();
    record(
        "grant",
        filed,
        json!({"grant": grant, "rule": filed.rule, "decision": filed.request.decision.word(),
               "token_id": filed.asker_token, "approvals": approvals}),
    )?;
    let mut notice = notice("granted", filed);
    notice["grant"] = grant.into();
    tell(&notice);
    Ok(())
}

/// Marks requests that nobody decided on in time; returns when the next one expires. For the steward.
pub fn expire(now: i64) -> Result<Option<i64>, RequestError> {
    let (expired, next) = spi::as_owner(|client| store::expired(client, now))?;
    for request in expired {
        // The event first: the steward's transaction commits in any case.
        let detail = json!({
            "action": "expire", "request": request.id, "user_id": request.user_id, "issuer": request.issuer,
        });
        note(request.object_name.clone(), &detail)?;
        spi::as_owner(|client| store::decide(client, request.id, State::Expired, None, now))?;
        tell(&json!({"event": "expired", "request": request.id, "user_id": request.user_id,
                     "object": request.object_name}));
    }
    Ok(next)
}

fn time(micros: i64) -> String {
    instant::display(instant::from_pg(micros))
}

/// The event, whose chain links request, approvals and grant by their numbers.
fn record(action: &str, filed: &Filed, more: Value) -> Result<(), RequestError> {
    let mut detail = json!({
        "action": action, "request": filed.id,
        "user_id": filed.request.asker.user_id, "issuer": filed.request.asker.issuer,
    });
    if let (Some(all), Value::Object(more)) = (detail.as_object_mut(), more) {
        all.extend(more);
    }
    note(filed.object_name.clone(), &detail)
}

fn note(object: String, detail: &Value) -> Result<(), RequestError> {
    let (object, detail) = (Some(object), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "request", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}

fn notice(event: &str, filed: &Filed) -> Value {
    json!({
        "event": event, "request": filed.id, "user_id": filed.request.asker.user_id,
        "privileges": filed.privileges.words(), "object": filed.object_name,
        "seconds": filed.duration / 1_000_000, "rule": filed.rule, "approver_groups": filed.request.groups,
    })
}

fn announce(event: &str, filed: &Filed, by: Option<&Subject>) {
    let mut notice = notice(event, filed);
    if let Some(by) = by {
        notice["by"] = by.user_id.clone().into();
    }
    tell(&notice);
}
