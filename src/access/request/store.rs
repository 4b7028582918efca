//! The SQL of requests: `access.request_rule`, `access.filed_request`, `access.request_vote`.

use super::RequestError;
use super::machine::{Decision, Request, State, Vote};
use super::rule::{Pattern, Rule, Sensitivity};
use super::rules::Wanted;
use crate::access::grant::Actor;
use crate::access::object::ObjectName;
use crate::access::privilege::{Privilege, Privileges};
use crate::access::store::moment;
use crate::access::subject::Subject;
use crate::error::ServerError;
use crate::identity::Person;
use pgrx::datum::{Interval, TimestampWithTimeZone};
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

fn length(micros: i64) -> Option<Interval> {
    Interval::new(0, 0, micros).ok()
}

fn words(privileges: Privileges) -> Vec<String> {
    privileges.words().into_iter().map(str::to_owned).collect()
}

fn missing(column: &'static str) -> RequestError {
    ServerError::UnexpectedNull(column).into()
}

/// Whether the server knows a time zone of that name.
pub fn has_time_zone(client: &SpiClient<'_>, name: &str) -> Result<bool, RequestError> {
    let found = client.select(
        "SELECT 1 FROM pg_catalog.pg_timezone_names AS z WHERE pg_catalog.lower(z.name) = pg_catalog.lower($1)",
        Some(1),
        &[name.into()],
    )?;
    Ok(!found.is_empty())
}

/// Sets a rule; returns its revision, and whether there was one of its name.
pub fn set_rule(client: &mut SpiClient<'_>, rule: &Wanted, by: &Actor) -> Result<(i64, bool), RequestError> {
    // Requests that are being decided on come before or after it.
    client.update("LOCK TABLE access.request_rule IN SHARE ROW EXCLUSIVE MODE", None, &[])?;
    let replaced = drop_rule(client, &rule.name)?;
    let (from, until) = rule.hours.map_or((None, None), |(from, until)| (length(from), length(until)));
    // A time of the day comes as an interval: 24:00 is one, and no time of Rust's.
    let row = client.update(
        "INSERT INTO access.request_rule (name, priority, on_object, privileges, asker_group, sensitivity, days, \
             from_time, until_time, time_zone, longest, decision, approver_groups, request_lifetime, \
             set_by, set_by_issuer, set_by_role) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, ($8::interval)::text::time, ($9::interval)::text::time, $10, $11, $12, $13, \
             $14, $15, $16, session_user) RETURNING revision",
        None,
        &[
            rule.name.as_str().into(),
            rule.priority.into(),
            rule.pattern.to_string().into(),
            words(rule.privileges).into(),
            rule.asker_group.clone().into(),
            rule.sensitivity.word().into(),
            rule.days.clone().into(),
            from.into(),
            until.into(),
            rule.time_zone.as_str().into(),
            length(rule.longest).into(),
            rule.decision.word().into(),
            rule.groups.clone().into(),
            length(rule.lifetime).into(),
            by.user_id.clone().into(),
            by.issuer.clone().into(),
        ],
    )?;
    let revision = row.first().get_one::<i64>()?.ok_or_else(|| missing("request_rule.revision"))?;
    Ok((revision, replaced))
}

/// Drops a rule; false if there is none.
pub fn drop_rule(client: &mut SpiClient<'_>, name: &str) -> Result<bool, RequestError> {
    let dropped = client.update(
        "DELETE FROM access.request_rule WHERE name = $1 RETURNING true",
        None,
        &[name.into()],
    )?;
    Ok(!dropped.is_empty())
}

/// All rules in their order, with what their clocks show `at` a time.
pub fn rules(client: &mut SpiClient<'_>, at: i64) -> Result<Vec<Rule>, RequestError> {
    client.update("LOCK TABLE access.request_rule IN SHARE MODE", None, &[])?;
    let rows = client.update(
        "SELECT r.name, r.revision, r.on_object, r.privileges, r.asker_group, r.sensitivity, r.days, \
             (extract(epoch FROM r.from_time) * 1000000)::bigint, (extract(epoch FROM r.until_time) * 1000000)::bigint, \
             extract(isodow FROM ($1 AT TIME ZONE r.time_zone))::integer, \
             (extract(epoch FROM ($1 AT TIME ZONE r.time_zone)::time) * 1000000)::bigint, \
             (extract(epoch FROM r.longest) * 1000000)::bigint, r.decision, r.approver_groups, \
             (extract(epoch FROM r.request_lifetime) * 1000000)::bigint \
         FROM access.request_rule AS r ORDER BY r.priority, r.name COLLATE \"C\"",
        None,
        &[moment(at).into()],
    )?;
    let mut rules = Vec::new();
    for row in rows {
        let text = |column: usize, name| row.get::<String>(column)?.ok_or_else(|| missing(name));
        let number = |column: usize, name| row.get::<i64>(column)?.ok_or_else(|| missing(name));
        let (pattern, decision) = (text(3, "on_object")?, text(13, "decision")?);
        let sensitivity = text(6, "sensitivity")?;
        // What cannot be understood in full was edited by hand: it is not skipped, lest the next rule decide.
        rules.push(Rule {
            name: text(1, "name")?,
            revision: number(2, "revision")?,
            pattern: Pattern::parse(&pattern).map_err(|_| RequestError::NotAPattern(pattern))?,
            privileges: privileges(row.get::<Vec<String>>(4)?),
            asker_group: row.get(5)?,
            sensitivity: Sensitivity::parse(&sensitivity)
                .ok_or(RequestError::UnknownSensitivity(sensitivity))?,
            days: row.get(7)?,
            hours: row.get::<i64>(8)?.zip(row.get::<i64>(9)?),
            local: (row.get::<i32>(10)?.ok_or_else(|| missing("day"))?, number(11, "time")?),
            longest: number(12, "longest")?,
            decision: Decision::parse(&decision).ok_or(RequestError::UnknownDecision(decision))?,
            groups: row.get(14)?.ok_or_else(|| missing("approver_groups"))?,
            lifetime: number(15, "request_lifetime")?,
        });
    }
    Ok(rules)
}

fn privileges(words: Option<Vec<String>>) -> Privileges {
    words.unwrap_or_default().iter().filter_map(|word| Privilege::parse(word)).collect()
}

/// The identity of what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub schema: Option<Oid>,
    pub relation: Option<Oid>,
    pub column: Option<i16>,
    pub function: Option<Oid>,
}

/// Whether something that is asked for has columns with a mask policy: itself, what it is made of and what is
/// made of it, as views and their tables and as parts and wholes.
pub fn is_protected(client: &mut SpiClient<'_>, object: Identity) -> Result<bool, RequestError> {
    if object.function.is_some() {
        // What a query reads is in its body.
        return Ok(true);
    }
    let found = client.update(
        "WITH RECURSIVE reached (relation) AS ( \
             SELECT c.oid FROM pg_catalog.pg_class AS c \
             WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm') \
               AND CASE WHEN $2::oid IS NOT NULL THEN c.oid = $2 \
                        WHEN $1::oid IS NOT NULL THEN c.relnamespace = $1 ELSE true END \
             UNION \
             SELECT CASE e.way WHEN 1 THEN d.refobjid WHEN 2 THEN up.inhparent ELSE down.inhrelid END \
             FROM reached AS r CROSS JOIN (VALUES (1), (2), (3)) AS e(way) \
             LEFT JOIN pg_catalog.pg_rewrite AS w ON e.way = 1 AND w.ev_class = r.relation \
             LEFT JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
                 AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
             LEFT JOIN pg_catalog.pg_inherits AS up ON e.way = 2 AND up.inhrelid = r.relation \
             LEFT JOIN pg_catalog.pg_inherits AS down ON e.way = 3 AND down.inhparent = r.relation \
             WHERE coalesce(d.refobjid, up.inhparent, down.inhrelid) IS NOT NULL) \
         SELECT 1 FROM reached AS r JOIN mask.policy AS p ON p.relation::oid = r.relation \
         UNION ALL \
         SELECT 1 FROM reached AS r \
             JOIN pg_catalog.pg_class AS c ON c.oid = r.relation JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
             JOIN mask.policy AS d ON d.schema_name = n.nspname AND d.pattern IS NOT NULL \
             JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
                 AND a.attname::text ILIKE d.pattern \
         LIMIT 1",
        None,
        &[object.schema.into(), object.relation.into()],
    )?;
    Ok(!found.is_empty())
}

/// A request that is being filed.
pub struct Filing<'a> {
    pub person: &'a Person,
    pub subject: &'a Subject,
    pub privileges: Privileges,
    pub object: &'a ObjectName,
    pub identity: Identity,
    pub duration: i64,
    pub rows: Option<&'a str>,
    pub reason: &'a str,
    pub ticket: Option<&'a str>,
    pub now: i64,
    pub rule: &'a Rule,
}

/// How many requests of an account are waiting.
pub fn waiting(client: &SpiClient<'_>, subject: &Subject, now: i64) -> Result<i64, RequestError> {
    let found = client.select(
        "SELECT count(*) FROM access.filed_request AS q \
         WHERE q.state = 'pending' AND q.expires_at > $3 AND q.issuer = $1 AND q.user_id = $2",
        Some(1),
        &[subject.issuer.as_str().into(), subject.user_id.as_str().into(), moment(now).into()],
    )?;
    found.first().get_one::<i64>()?.ok_or_else(|| missing("count"))
}

/// Files a request and returns its number.
pub fn file(client: &mut SpiClient<'_>, filing: &Filing<'_>) -> Result<i64, RequestError> {
    let Filing { person, subject, rule, .. } = filing;
    let row = client.update(
        "INSERT INTO access.filed_request (issuer, user_id, email, subject, groups, token_id, asked_by_role, \
             privileges, object_type, object_name, schema_id, relation_id, duration, row_filter, reason, ticket, \
             asked_at, expires_at, rule, rule_revision, decision, approver_groups, column_number, function_id) \
         VALUES ($1, $2, $3, $4, $5, $6, session_user, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
             $20, $21, $22, $23) RETURNING id",
        None,
        &[
            person.issuer.as_str().into(),
            person.user_id.as_str().into(),
            person.email.clone().into(),
            subject.claim.clone().into(),
            person.groups.clone().into(),
            person.token_id.clone().into(),
            words(filing.privileges).into(),
            filing.object.kind().into(),
            filing.object.to_string().into(),
            filing.identity.schema.into(),
            filing.identity.relation.into(),
            length(filing.duration).into(),
            filing.rows.into(),
            filing.reason.into(),
            filing.ticket.into(),
            moment(filing.now).into(),
            moment(filing.now.saturating_add(rule.lifetime)).into(),
            rule.name.as_str().into(),
            rule.revision.into(),
            rule.decision.word().into(),
            rule.groups.clone().into(),
            filing.identity.column.into(),
            filing.identity.function.into(),
        ],
    )?;
    row.first().get_one::<i64>()?.ok_or_else(|| missing("filed_request.id"))
}

/// What is on file of a request.
pub struct Filed {
    pub id: i64,
    pub request: Request,
    pub asker_groups: Vec<String>,
    pub asker_token: Option<String>,
    pub privileges: Privileges,
    pub object_name: String,
    pub identity: Identity,
    /// The object by its present name; `None`: it is not there any more.
    pub present: Option<ObjectName>,
    pub duration: i64,
    pub rows: Option<String>,
    pub reason: String,
    pub ticket: Option<String>,
    pub asked_at: i64,
    pub rule: String,
    pub revision: i64,
}

/// Reads a request, and keeps others from deciding on it until the transaction ends.
pub fn lock(client: &mut SpiClient<'_>, id: i64) -> Result<Filed, RequestError> {
    // The lock first: the statements after it see what those have decided who had it before.
    let found =
        client.update("SELECT 1 FROM access.filed_request WHERE id = $1 FOR UPDATE", None, &[id.into()])?;
    if found.is_empty() {
        return Err(RequestError::UnknownRequest(id));
    }
    let rows = client.update(
        "SELECT q.issuer, q.user_id, q.email, q.subject, q.groups, q.token_id, q.privileges, q.object_type, \
             q.object_name, q.schema_id, q.relation_id::oid, (extract(epoch FROM q.duration) * 1000000)::bigint, \
             q.row_filter, q.reason, q.ticket, q.asked_at, q.expires_at, q.rule, q.rule_revision, q.decision, \
             q.approver_groups, q.state, coalesce(n.nspname, s.nspname)::text, c.relname::text, \
             coalesce(a.attname, p.proname)::text, q.column_number, q.function_id \
         FROM access.filed_request AS q \
         LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = q.schema_id \
         LEFT JOIN pg_catalog.pg_class AS c ON c.oid = q.relation_id \
         LEFT JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_attribute AS a \
             ON a.attrelid = c.oid AND a.attnum = q.column_number AND NOT a.attisdropped \
         LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = q.function_id \
         WHERE q.id = $1",
        None,
        &[id.into()],
    )?;
    let mut rows = rows.into_iter();
    let row = rows.next().ok_or(RequestError::UnknownRequest(id))?;
    let text = |column: usize, name| row.get::<String>(column)?.ok_or_else(|| missing(name));
    let time = |column: usize, name| {
        row.get::<TimestampWithTimeZone>(column)?.map(i64::from).ok_or_else(|| missing(name))
    };
    let (decision, state) = (text(20, "decision")?, text(22, "state")?);
    let object_type = text(8, "object_type")?;
    let names = (row.get::<String>(23)?, row.get::<String>(24)?, row.get::<String>(25)?);
    let present = match (object_type.as_str(), names) {
        ("database", _) => Some(ObjectName::Database),
        ("schema", (Some(schema), None, _)) => Some(ObjectName::Schema { schema }),
        ("table", (Some(schema), Some(table), _)) => Some(ObjectName::Table { schema, table }),
        ("column", (Some(schema), Some(table), Some(column))) => {
            Some(ObjectName::Column { schema, table, column })
        }
        ("query", (_, _, Some(name))) => Some(ObjectName::Query { name }),
        _ => None,
    };
    let filed = Filed {
        id,
        asker_groups: row.get(5)?.ok_or_else(|| missing("groups"))?,
        asker_token: row.get(6)?,
        privileges: privileges(row.get::<Vec<String>>(7)?),
        object_name: text(9, "object_name")?,
        identity: Identity {
            schema: row.get(10)?,
            relation: row.get(11)?,
            column: row.get(26)?,
            function: row.get(27)?,
        },
        present,
        duration: row.get(12)?.ok_or_else(|| missing("duration"))?,
        rows: row.get(13)?,
        reason: text(14, "reason")?,
        ticket: row.get(15)?,
        asked_at: time(16, "asked_at")?,
        rule: text(18, "rule")?,
        revision: row.get(19)?.ok_or_else(|| missing("rule_revision"))?,
        request: Request {
            asker: Subject {
                issuer: text(1, "issuer")?,
                user_id: text(2, "user_id")?,
                email: row.get(3)?,
                claim: row.get(4)?,
            },
            decision: Decision::parse(&decision).ok_or(RequestError::UnknownDecision(decision))?,
            groups: row.get(21)?.ok_or_else(|| missing("approver_groups"))?,
            expires_at: time(17, "expires_at")?,
            state: State::parse(&state).ok_or_else(|| missing("state"))?,
            approvals: approvals(client, id)?.into_iter().map(|approval| approval.vote).collect(),
        },
    };
    Ok(filed)
}

/// An approval that is on file.
pub struct Approval {
    pub vote: Vote,
    pub token_id: Option<String>,
    /// Microseconds since 2000.
    pub at: i64,
}

/// The approvals of a request, oldest first.
pub fn approvals(client: &mut SpiClient<'_>, id: i64) -> Result<Vec<Approval>, RequestError> {
    let rows = client.update(
        "SELECT v.issuer, v.user_id, v.email, v.subject, v.groups, v.token_id, v.at FROM access.request_vote AS v \
         WHERE v.request_id = $1 AND v.approves ORDER BY v.at",
        None,
        &[id.into()],
    )?;
    let mut approvals = Vec::new();
    for row in rows {
        let who = Subject {
            issuer: row.get(1)?.ok_or_else(|| missing("issuer"))?,
            user_id: row.get(2)?.ok_or_else(|| missing("user_id"))?,
            email: row.get(3)?,
            claim: row.get(4)?,
        };
        let at = row.get::<TimestampWithTimeZone>(7)?.map(i64::from).ok_or_else(|| missing("at"))?;
        let groups = row.get(5)?.ok_or_else(|| missing("groups"))?;
        approvals.push(Approval { vote: Vote { who, groups }, token_id: row.get(6)?, at });
    }
    Ok(approvals)
}

/// What somebody says to a request.
pub struct Saying<'a> {
    pub person: &'a Person,
    pub subject: &'a Subject,
    pub groups: Vec<String>,
    pub approves: bool,
    pub comment: Option<&'a str>,
    pub now: i64,
}

/// Puts on file what somebody says to a request. The request's row changes, too: in a transaction that does not
/// see what came after its beginning, whoever decides at the same time fails instead of missing it.
pub fn vote(client: &mut SpiClient<'_>, id: i64, saying: &Saying<'_>) -> Result<(), RequestError> {
    client.update(
        "INSERT INTO access.request_vote AS v (request_id, issuer, user_id, email, subject, groups, token_id, by_role, \
             approves, comment, at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, session_user, $8, $9, $10) \
         ON CONFLICT (request_id, issuer, user_id) DO UPDATE \
         SET approves = excluded.approves, comment = excluded.comment, at = excluded.at, token_id = excluded.token_id \
         WHERE v.approves AND NOT excluded.approves",
        None,
        &[
            id.into(),
            saying.subject.issuer.as_str().into(),
            saying.subject.user_id.as_str().into(),
            saying.subject.email.clone().into(),
            saying.subject.claim.clone().into(),
            saying.groups.clone().into(),
            saying.person.token_id.clone().into(),
            saying.approves.into(),
            saying.comment.into(),
            moment(saying.now).into(),
        ],
    )?;
    client.update(
        "UPDATE access.filed_request SET approvals = \
             (SELECT count(*) FROM access.request_vote AS v WHERE v.request_id = $1 AND v.approves) WHERE id = $1",
        None,
        &[id.into()],
    )?;
    Ok(())
}

/// Ends a pending request.
pub fn decide(
    client: &mut SpiClient<'_>,
    id: i64,
    state: State,
    grant: Option<i64>,
    now: i64,
) -> Result<(), RequestError> {
    client.update(
        "UPDATE access.filed_request SET state = $2, grant_id = $3, decided_at = $4 \
         WHERE id = $1 AND state = 'pending'",
        None,
        &[id.into(), state.word().into(), grant.into(), moment(now).into()],
    )?;
    Ok(())
}

/// Whether a grant is on the very object that was asked for.
pub fn grant_is_on(client: &mut SpiClient<'_>, grant: i64, object: Identity) -> Result<bool, RequestError> {
    let found = client.update(
        "SELECT 1 FROM access.issued_grant AS g \
         WHERE g.id = $1 AND g.relation_id::oid IS NOT DISTINCT FROM $2::oid \
           AND g.schema_id IS NOT DISTINCT FROM $3::oid AND g.column_number IS NOT DISTINCT FROM $4::smallint \
           AND g.function_id IS NOT DISTINCT FROM $5::oid",
        None,
        &[
            grant.into(),
            object.relation.into(),
            object.schema.into(),
            object.column.into(),
            object.function.into(),
        ],
    )?;
    Ok(!found.is_empty())
}

/// A request that has expired.
pub struct Expired {
    pub id: i64,
    pub user_id: String,
    pub issuer: String,
    pub object_name: String,
}

/// What has expired by `now` and was not marked, and when the next one expires.
pub fn expired(client: &mut SpiClient<'_>, now: i64) -> Result<(Vec<Expired>, Option<i64>), RequestError> {
    let rows = client.update(
        "SELECT q.id, q.user_id, q.issuer, q.object_name FROM access.filed_request AS q \
         WHERE q.state = 'pending' AND q.expires_at <= $1 ORDER BY q.id FOR UPDATE",
        None,
        &[moment(now).into()],
    )?;
    let mut expired = Vec::new();
    for row in rows {
        expired.push(Expired {
            id: row.get(1)?.ok_or_else(|| missing("id"))?,
            user_id: row.get(2)?.ok_or_else(|| missing("user_id"))?,
            issuer: row.get(3)?.ok_or_else(|| missing("issuer"))?,
            object_name: row.get(4)?.ok_or_else(|| missing("object_name"))?,
        });
    }
    let next = client.update(
        "SELECT pg_catalog.min(q.expires_at) FROM access.filed_request AS q \
         WHERE q.state = 'pending' AND q.expires_at > $1",
        None,
        &[moment(now).into()],
    )?;
    Ok((expired, next.first().get_one::<TimestampWithTimeZone>()?.map(i64::from)))
}

/// A request as `access.requests` shows it.
pub struct Shown {
    pub id: i64,
    pub issuer: String,
    pub user_id: String,
    pub email: Option<String>,
    pub privileges: Vec<String>,
    pub object: String,
    pub duration: Interval,
    pub rows: Option<String>,
    pub reason: String,
    pub ticket: Option<String>,
    pub asked_at: TimestampWithTimeZone,
    pub expires_at: TimestampWithTimeZone,
    pub rule: String,
    pub decision: String,
    pub approver_groups: Vec<String>,
    pub approved_by: Vec<String>,
    pub rejected_by: Option<String>,
    pub state: String,
    pub decided_at: Option<TimestampWithTimeZone>,
    pub comment: Option<String>,
    pub grant_id: Option<i64>,
}

/// A request as it is now.
pub fn shown(client: &mut SpiClient<'_>, id: i64) -> Result<Shown, RequestError> {
    let rows = client.update(
        "SELECT q.id, q.issuer, q.user_id, q.email, q.privileges, q.object, q.duration, q.rows, q.reason, q.ticket, \
             q.asked_at, q.expires_at, q.rule, q.decision, q.approver_groups, q.approved_by, q.rejected_by, q.state, \
             q.decided_at, q.comment, q.grant_id FROM access.requests AS q WHERE q.id = $1",
        None,
        &[id.into()],
    )?;
    let mut rows = rows.into_iter();
    let row = rows.next().ok_or(RequestError::UnknownRequest(id))?;
    let text = |column: usize, name| row.get::<String>(column)?.ok_or_else(|| missing(name));
    let texts = |column: usize, name| row.get::<Vec<String>>(column)?.ok_or_else(|| missing(name));
    let time = |column: usize, name| row.get::<TimestampWithTimeZone>(column)?.ok_or_else(|| missing(name));
    Ok(Shown {
        id,
        issuer: text(2, "issuer")?,
        user_id: text(3, "user_id")?,
        email: row.get(4)?,
        privileges: texts(5, "privileges")?,
        object: text(6, "object")?,
        duration: row.get(7)?.ok_or_else(|| missing("duration"))?,
        rows: row.get(8)?,
        reason: text(9, "reason")?,
        ticket: row.get(10)?,
        asked_at: time(11, "asked_at")?,
        expires_at: time(12, "expires_at")?,
        rule: text(13, "rule")?,
        decision: text(14, "decision")?,
        approver_groups: texts(15, "approver_groups")?,
        approved_by: texts(16, "approved_by")?,
        rejected_by: row.get(17)?,
        state: text(18, "state")?,
        decided_at: row.get(19)?,
        comment: row.get(20)?,
        grant_id: row.get(21)?,
    })
}
