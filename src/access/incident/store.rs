//! The SQL of break-glass: `access.emergency` and `access.reported_incident`.

use crate::access::grant::Actor;
use crate::access::request::RequestError;
use crate::access::store::moment;
use crate::access::subject::Subject;
use crate::error::ServerError;
use crate::identity::Person;
use crate::pg::catalog;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::spi::SpiClient;

fn missing(column: &'static str) -> RequestError {
    ServerError::UnexpectedNull(column).into()
}

/// An incident on file.
pub struct Incident {
    pub is_closed: bool,
    pub assignees: Vec<String>,
}

impl Incident {
    pub fn is_assigned_to(&self, who: &Subject) -> bool {
        let email = who.email.as_ref().map(|email| email.to_lowercase());
        self.assignees.iter().any(|name| *name == who.user_id || email.as_ref() == Some(&name.to_lowercase()))
    }
}

/// The incident of that name, if it is on file. It is not closed before the transaction ends.
pub fn incident(client: &mut SpiClient<'_>, name: &str) -> Result<Option<Incident>, RequestError> {
    let rows = client.update(
        "SELECT i.closed_at IS NOT NULL, i.assignees FROM access.reported_incident AS i WHERE i.incident = $1 FOR SHARE",
        None,
        &[name.into()],
    )?;
    let mut rows = rows.into_iter();
    let Some(row) = rows.next() else { return Ok(None) };
    Ok(Some(Incident {
        is_closed: row.get(1)?.ok_or_else(|| missing("closed_at"))?,
        assignees: row.get(2)?.ok_or_else(|| missing("assignees"))?,
    }))
}

/// Opens an incident, or changes who is on one that is open; false if it was closed.
pub fn open(
    client: &mut SpiClient<'_>,
    name: &str,
    assignees: &[String],
    title: Option<&str>,
    now: i64,
    by: &Actor,
) -> Result<bool, RequestError> {
    let opened = client.update(
        "INSERT INTO access.reported_incident AS i (incident, assignees, title, opened_at, opened_by, opened_by_role) \
         VALUES ($1, $2, $3, $4, $5, session_user) ON CONFLICT (incident) DO UPDATE \
         SET assignees = excluded.assignees, title = coalesce(excluded.title, i.title) WHERE i.closed_at IS NULL \
         RETURNING true",
        None,
        &[name.into(), assignees.to_vec().into(), title.into(), moment(now).into(), by.user_id.clone().into()],
    )?;
    Ok(!opened.is_empty())
}

/// Closes an incident; false if none of that name is open.
pub fn close(client: &mut SpiClient<'_>, name: &str, now: i64, by: &Actor) -> Result<bool, RequestError> {
    let closed = client.update(
        "UPDATE access.reported_incident SET closed_at = $2, closed_by = $3, closed_by_role = session_user \
         WHERE incident = $1 AND closed_at IS NULL RETURNING true",
        None,
        &[name.into(), moment(now).into(), by.user_id.clone().into()],
    )?;
    Ok(!closed.is_empty())
}

/// The grants of an incident that are in force.
pub fn live_grants(client: &mut SpiClient<'_>, name: &str, now: i64) -> Result<Vec<i64>, RequestError> {
    let rows = client.update(
        "SELECT g.id FROM access.emergency AS e JOIN access.issued_grant AS g ON g.id = e.grant_id \
         WHERE e.incident = $1 AND g.revoked_at IS NULL AND g.ends_at > $2 ORDER BY g.id FOR UPDATE OF g",
        None,
        &[name.into(), moment(now).into()],
    )?;
    let mut grants = Vec::new();
    for row in rows {
        grants.extend(row.get::<i64>(1)?);
    }
    Ok(grants)
}

/// Files a use; returns what its grant is on.
pub fn file(
    client: &mut SpiClient<'_>,
    grant: i64,
    incident: &str,
    person: &Person,
    who: &Subject,
    reason: &str,
    now: i64,
) -> Result<String, RequestError> {
    let rows = client.update(
        "INSERT INTO access.emergency (grant_id, incident, issuer, user_id, email, subject, groups, token_id, reason, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         RETURNING (SELECT g.object_name FROM access.issued_grant AS g WHERE g.id = grant_id)",
        None,
        &[
            grant.into(),
            incident.into(),
            person.issuer.as_str().into(),
            person.user_id.as_str().into(),
            person.email.clone().into(),
            who.claim.clone().into(),
            person.groups.clone().into(),
            person.token_id.clone().into(),
            reason.into(),
            moment(now).into(),
        ],
    )?;
    rows.first().get_one::<String>()?.ok_or_else(|| missing("issued_grant.object_name"))
}

/// A use of break-glass.
pub struct Emergency {
    pub grant: i64,
    pub incident: String,
    pub who: Subject,
    pub is_reviewed: bool,
    is_revoked: bool,
    ends_at: i64,
}

impl Emergency {
    /// Whether its access has ended by `now`.
    pub fn is_over(&self, now: i64) -> bool {
        self.is_revoked || self.ends_at <= now
    }
}

/// The use that gave a grant, which nobody else changes before the transaction ends.
pub fn emergency(client: &mut SpiClient<'_>, grant: i64) -> Result<Emergency, RequestError> {
    let rows = client.update(
        "SELECT e.grant_id, e.incident, e.issuer, e.user_id, e.email, e.subject, e.reviewed_at IS NOT NULL, \
             g.revoked_at IS NOT NULL, g.ends_at \
         FROM access.emergency AS e JOIN access.issued_grant AS g ON g.id = e.grant_id \
         WHERE e.grant_id = $1 FOR UPDATE",
        None,
        &[grant.into()],
    )?;
    let mut rows = rows.into_iter();
    let row = rows.next().ok_or(RequestError::NotBreakGlass(grant))?;
    let text = |column: usize, name| row.get::<String>(column)?.ok_or_else(|| missing(name));
    let ends_at = row.get::<TimestampWithTimeZone>(9)?.map(i64::from);
    Ok(Emergency {
        grant,
        incident: text(2, "incident")?,
        who: Subject {
            issuer: text(3, "issuer")?,
            user_id: text(4, "user_id")?,
            email: row.get(5)?,
            claim: row.get(6)?,
        },
        is_reviewed: row.get(7)?.ok_or_else(|| missing("reviewed_at"))?,
        is_revoked: row.get(8)?.ok_or_else(|| missing("revoked_at"))?,
        ends_at: ends_at.ok_or_else(|| missing("ends_at"))?,
    })
}

/// Moves the end of a grant.
pub fn renew(client: &mut SpiClient<'_>, grant: i64, ends_at: i64) -> Result<(), RequestError> {
    client.update(
        "UPDATE access.issued_grant SET ends_at = $2 WHERE id = $1 AND revoked_at IS NULL",
        None,
        &[grant.into(), moment(ends_at).into()],
    )?;
    client.update(
        "UPDATE access.emergency SET renewals = renewals + 1 WHERE grant_id = $1",
        None,
        &[grant.into()],
    )?;
    Ok(())
}

/// Puts a review on file.
pub fn review(
    client: &mut SpiClient<'_>,
    grant: i64,
    by: &Person,
    findings: &str,
    now: i64,
) -> Result<(), RequestError> {
    client.update(
        "UPDATE access.emergency SET reviewed_at = $2, reviewed_by = $3, reviewed_by_issuer = $4, \
             reviewed_by_token = $5, findings = $6 WHERE grant_id = $1",
        None,
        &[
            grant.into(),
            moment(now).into(),
            by.user_id.as_str().into(),
            by.issuer.as_str().into(),
            by.token_id.clone().into(),
            findings.into(),
        ],
    )?;
    Ok(())
}

/// The reviews that are overdue and were not told of, and when the next one will be.
pub fn overdue(client: &mut SpiClient<'_>, now: i64) -> Result<(Vec<Emergency>, Option<i64>), RequestError> {
    let rows = client.update(
        "SELECT e.grant_id, d.review_due FROM access.emergency AS e \
         JOIN access.reviews_due AS d ON d.grant_id = e.grant_id \
         WHERE e.alerted_at IS NULL AND d.review_due IS NOT NULL ORDER BY d.review_due",
        None,
        &[],
    )?;
    let (mut overdue, mut next) = (Vec::new(), None);
    for row in rows {
        let due = row.get::<TimestampWithTimeZone>(2)?.map(i64::from).ok_or_else(|| missing("review_due"))?;
        if due > now {
            next = Some(due);
            break;
        }
        overdue.push(row.get::<i64>(1)?.ok_or_else(|| missing("grant_id"))?);
    }
    let overdue = overdue.into_iter().map(|grant| emergency(client, grant)).collect::<Result<Vec<_>, _>>()?;
    Ok((overdue, next))
}

/// An overdue review was told of.
pub fn told(client: &mut SpiClient<'_>, grant: i64, now: i64) -> Result<(), RequestError> {
    client.update(
        "UPDATE access.emergency SET alerted_at = $2 WHERE grant_id = $1",
        None,
        &[grant.into(), moment(now).into()],
    )?;
    Ok(())
}

/// The break-glass grants of a person that were not revoked, and their ends. Reads without SQL, so that hooks can ask.
pub fn ends_of(person: &Person) -> Result<Vec<(i64, i64)>, ServerError> {
    let mut used = Vec::new();
    catalog::rows("access", "emergency", &["grant_id", "issuer", "user_id"], |row| {
        if row.text(1).as_ref() == Some(&person.issuer) && row.text(2).as_ref() == Some(&person.user_id) {
            used.extend(row.bigint(0));
        }
    })?;
    let mut ends = Vec::new();
    if !used.is_empty() {
        catalog::rows("access", "issued_grant", &["id", "ends_at", "revoked_at"], |row| {
            if let (Some(id), Some(end), None) = (row.bigint(0), row.bigint(1), row.bigint(2))
                && used.contains(&id)
            {
                ends.push((id, end));
            }
        })?;
    }
    Ok(ends)
}
