//! The SQL of access: `access.issued_grant`, and the catalog for what a grant is on.

use crate::access::error::AccessError;
use crate::access::grant::{Actor, LiveGrant, LiveGrants, Scope, Wanted};
use crate::access::object::ObjectName;
use crate::access::privilege::{Privilege, Privileges};
use crate::error::ServerError;
use crate::identity::Person;
use crate::pg::catalog::{self, Row};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// The identity behind an [`ObjectName`].
pub struct Resolved {
    schema: Option<Oid>,
    relation: Option<Oid>,
}

/// Finds what a grant is asked for.
pub fn resolve(client: &SpiClient<'_>, name: &ObjectName) -> Result<Resolved, AccessError> {
    match name {
        ObjectName::Database => Ok(Resolved { schema: None, relation: None }),
        ObjectName::Schema { schema } => {
            Ok(Resolved { schema: Some(schema_named(client, schema)?), relation: None })
        }
        ObjectName::Table { schema, table } => {
            let inside = schema_named(client, schema)?;
            let found = client.select(
                "SELECT oid, relkind IN ('r', 'p', 'f', 'v', 'm', 'S') FROM pg_catalog.pg_class \
                 WHERE relnamespace = $1 AND relname = $2::pg_catalog.name",
                Some(1),
                &[inside.into(), table.as_str().into()],
            )?;
            let (schema, table) = (schema.clone(), table.clone());
            let mut found = found.into_iter();
            let Some(row) = found.next() else { return Err(AccessError::UnknownTable { schema, table }) };
            if row.get::<bool>(2)? != Some(true) {
                return Err(AccessError::NotATable { schema, table });
            }
            Ok(Resolved { schema: None, relation: row.get(1)? })
        }
    }
}

fn schema_named(client: &SpiClient<'_>, schema: &str) -> Result<Oid, AccessError> {
    let found = client.select(
        "SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = $1::pg_catalog.name",
        Some(1),
        &[schema.into()],
    )?;
    let mut found = found.into_iter();
    match found.next() {
        Some(row) => row.get(1)?.ok_or(AccessError::Server(ServerError::UnexpectedNull("pg_namespace.oid"))),
        None => Err(AccessError::UnknownSchema { schema: schema.to_owned() }),
    }
}

// Statements that write run without a row limit: the executor stops at the limit, and what a statement
// does at its end, such as firing its triggers, would be left out.

/// Files a grant; times in microseconds since 2000.
pub fn insert(
    client: &mut SpiClient<'_>,
    wanted: &Wanted,
    object: &Resolved,
    starts_at: i64,
    ends_at: i64,
    by: &Actor,
) -> Result<i64, AccessError> {
    let privileges: Vec<String> = wanted.privileges.words().into_iter().map(str::to_owned).collect();
    let row = client.update(
        "INSERT INTO access.issued_grant (user_id, issuer, group_name, privileges, object_type, object_name, \
             schema_name, relation_id, starts_at, ends_at, reason, ticket, granted_by, granted_by_issuer, \
             granted_by_role) \
         VALUES ($1, $2, $3, $4, $5, $6, \
             (SELECT n.nspname FROM pg_catalog.pg_namespace AS n WHERE n.oid = $7), \
             $8, $9, $10, $11, $12, $13, $14, session_user) RETURNING id",
        None,
        &[
            wanted.user_id.clone().into(),
            wanted.issuer.clone().into(),
            wanted.group_name.clone().into(),
            privileges.into(),
            wanted.object.kind().into(),
            wanted.object.to_string().into(),
            object.schema.into(),
            object.relation.into(),
            moment(starts_at).into(),
            moment(ends_at).into(),
            wanted.reason.as_str().into(),
            wanted.ticket.clone().into(),
            by.user_id.clone().into(),
            by.issuer.clone().into(),
        ],
    )?;
    row.first().get_one::<i64>()?.ok_or(AccessError::Server(ServerError::UnexpectedNull("issued_grant.id")))
}

/// What the trail says of a grant that was ended.
pub struct Ended {
    pub user_id: Option<String>,
    pub group_name: Option<String>,
    pub object_name: String,
}

/// Marks a live grant as ended at `now`.
pub fn revoke(
    client: &mut SpiClient<'_>,
    id: i64,
    reason: &str,
    now: i64,
    by: &Actor,
) -> Result<Ended, AccessError> {
    // locked first, so that of two revocations at once the second says that there is nothing left
    let found = client.update(
        "SELECT revoked_at IS NULL AND ends_at > $2 FROM access.issued_grant WHERE id = $1 FOR UPDATE",
        None,
        &[id.into(), moment(now).into()],
    )?;
    if found.is_empty() {
        return Err(AccessError::UnknownGrant(id));
    }
    if found.first().get_one::<bool>()? != Some(true) {
        return Err(AccessError::AlreadyEnded(id));
    }
    let ended = client
        .update(
            "UPDATE access.issued_grant SET revoked_at = $2, revoke_reason = $3, revoked_by = $4, \
                 revoked_by_issuer = $5, revoked_by_role = session_user \
             WHERE id = $1 RETURNING user_id, group_name, object_name",
            None,
            &[
                id.into(),
                moment(now).into(),
                reason.into(),
                by.user_id.clone().into(),
                by.issuer.clone().into(),
            ],
        )?
        .first();
    Ok(Ended {
        user_id: ended.get(1)?,
        group_name: ended.get(2)?,
        object_name: ended.get(3)?.ok_or(ServerError::UnexpectedNull("issued_grant.object_name"))?,
    })
}

fn moment(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros).ok()
}

const COLUMNS: &[&str] = &[
    "id",
    "user_id",
    "issuer",
    "group_name",
    "privileges",
    "object_type",
    "schema_name",
    "relation_id",
    "starts_at",
    "ends_at",
    "revoked_at",
];

/// The grants of `person` that have neither ended by `now` nor been revoked. A row that cannot be
/// understood in full is no grant.
pub fn live(person: &Person, now: i64) -> Result<LiveGrants, ServerError> {
    let mut grants = Vec::new();
    catalog::rows("access", "issued_grant", COLUMNS, |row| {
        if let Some(grant) = grant_in(row, person).filter(|grant| grant.ends_at > now) {
            grants.push(grant);
        }
    })?;
    Ok(LiveGrants::new(grants))
}

fn grant_in(row: &Row, person: &Person) -> Option<LiveGrant> {
    if row.bigint(10).is_some() || row.text(2).is_some_and(|issuer| issuer != person.issuer) {
        return None;
    }
    let theirs = match (row.text(1), row.text(3)) {
        (Some(user_id), None) => user_id == person.user_id,
        (None, Some(group)) => person.is_in(&group),
        _ => false,
    };
    if !theirs {
        return None;
    }
    let scope = match row.text(5)?.as_str() {
        "database" => Scope::Database,
        "schema" => Scope::Schema(catalog::namespace(&row.text(6)?)?),
        "table" => Scope::Relation(row.oid(7)?),
        _ => return None,
    };
    let privileges: Privileges = row.texts(4)?.iter().filter_map(|word| Privilege::parse(word)).collect();
    Some(LiveGrant {
        id: row.bigint(0)?,
        privileges,
        scope,
        starts_at: row.bigint(8)?,
        ends_at: row.bigint(9)?,
    })
}
