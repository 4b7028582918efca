//! The SQL of access: `access.issued_grant`, and the catalog for what a grant is on.

use crate::access::error::AccessError;
use crate::access::grant::{Actor, Wanted};
use crate::access::live::{LiveGrant, LiveGrants, Scope};
use crate::access::object::ObjectName;
use crate::access::privilege::{Privilege, Privileges};
use crate::access::request::Identity;
use crate::access::unsettled;
use crate::error::ServerError;
use crate::identity::Person;
use crate::pg::catalog::{self, Row};
use crate::pg::predicate::{self, Predicate};
use crate::pg::spi;
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;
use std::collections::HashMap;

/// The identity behind what is wanted.
#[derive(Default)]
pub struct Resolved {
    schema: Option<(Oid, String)>,
    relation: Option<Oid>,
    column: Option<(i16, String)>,
    function: Option<(Oid, String)>,
    rows: Option<(Predicate, Vec<String>)>,
}

impl Resolved {
    /// The relation, if it is one, or a part of one.
    pub fn relation(&self) -> Option<Oid> {
        self.relation
    }

    /// The identity alone, for requests.
    pub fn identity(&self) -> Identity {
        Identity {
            schema: self.schema.as_ref().map(|(schema, _)| *schema),
            relation: self.relation,
            column: self.column.as_ref().map(|(column, _)| *column),
            function: self.function.as_ref().map(|(function, _)| *function),
        }
    }
}

/// Finds what a grant is asked for.
pub fn resolve(client: &SpiClient<'_>, wanted: &Wanted) -> Result<Resolved, AccessError> {
    match &wanted.object {
        ObjectName::Database => Ok(Resolved::default()),
        ObjectName::Schema { schema } => Ok(Resolved {
            schema: Some((schema_named(client, schema)?, schema.clone())),
            ..Resolved::default()
        }),
        ObjectName::Table { schema, table } => {
            let relation = table_named(client, schema, table)?;
            let rows =
                wanted.rows.as_deref().map(|rows| rows_of(relation, (schema, table), rows)).transpose()?;
            Ok(Resolved { relation: Some(relation), rows, ..Resolved::default() })
        }
        ObjectName::Column { schema, table, column } => {
            let relation = table_named(client, schema, table)?;
            let Some(number) = catalog::column_named(relation, column) else {
                let (schema, table, column) = (schema.clone(), table.clone(), column.clone());
                return Err(AccessError::UnknownColumn { schema, table, column });
            };
            let column = Some((number, column.clone()));
            Ok(Resolved { relation: Some(relation), column, ..Resolved::default() })
        }
        ObjectName::Query { name } => match catalog::functions(QUERIES, &[name]).as_slice() {
            [] => Err(AccessError::UnknownQuery(name.clone())),
            [function] => Ok(Resolved { function: Some((*function, name.clone())), ..Resolved::default() }),
            _ => Err(AccessError::ManyQueries(name.clone())),
        },
    }
}

/// The schema of named queries.
const QUERIES: &str = "queries";

fn table_named(client: &SpiClient<'_>, schema: &str, table: &str) -> Result<Oid, AccessError> {
    let inside = schema_named(client, schema)?;
    let found = client.select(
        "SELECT oid, relkind IN ('r', 'p', 'f', 'v', 'm', 'S') FROM pg_catalog.pg_class \
         WHERE relnamespace = $1 AND relname = $2::pg_catalog.name",
        Some(1),
        &[inside.into(), table.into()],
    )?;
    let (schema, table) = (schema.to_owned(), table.to_owned());
    let mut found = found.into_iter();
    let Some(row) = found.next() else { return Err(AccessError::UnknownTable { schema, table }) };
    if row.get::<bool>(2)? != Some(true) {
        return Err(AccessError::NotATable { schema, table });
    }
    row.get(1)?.ok_or(AccessError::Server(ServerError::UnexpectedNull("pg_class.oid")))
}

/// Reads the condition, and names the columns it uses.
fn rows_of(
    relation: Oid,
    (schema, table): (&str, &str),
    rows: &str,
) -> Result<(Predicate, Vec<String>), AccessError> {
    // Not those of a view: it is not there any more when rows are limited. Nor those of a sequence.
    if !matches!(catalog::relation_kind(relation), Some(b'r' | b'p' | b'f' | b'm')) {
        return Err(AccessError::RowsOfAView { schema: schema.to_owned(), table: table.to_owned() });
    }
    let predicate = predicate::read(relation, rows).map_err(AccessError::Rows)?;
    let name = |column: &i16| catalog::attribute_name(relation, *column);
    let names: Option<Vec<String>> = predicate.columns.iter().map(name).collect();
    Ok((predicate, names.ok_or(ServerError::UnexpectedNull("pg_attribute.attname"))?))
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
             schema_id, relation_id, starts_at, ends_at, reason, ticket, granted_by, granted_by_issuer, \
             granted_by_role, schema_name, column_number, column_name, function_id, function_name, row_filter, \
             row_predicate, row_columns, row_column_names) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, session_user, $15, $16, $17, $18, \
             $19, $20, $21, $22, $23) RETURNING id",
        None,
        &[
            wanted.user_id.clone().into(),
            wanted.issuer.clone().into(),
            wanted.group_name.clone().into(),
            privileges.into(),
            wanted.object.kind().into(),
            wanted.object.to_string().into(),
            object.schema.as_ref().map(|(id, _)| *id).into(),
            object.relation.into(),
            moment(starts_at).into(),
            moment(ends_at).into(),
            wanted.reason.as_str().into(),
            wanted.ticket.clone().into(),
            by.user_id.clone().into(),
            by.issuer.clone().into(),
            object.schema.as_ref().map(|(_, name)| name.clone()).into(),
            object.column.as_ref().map(|(number, _)| *number).into(),
            object.column.as_ref().map(|(_, name)| name.clone()).into(),
            object.function.as_ref().map(|(id, _)| *id).into(),
            object.function.as_ref().map(|(_, name)| name.clone()).into(),
            wanted.rows.clone().into(),
            object.rows.as_ref().map(|(predicate, _)| predicate.text.clone()).into(),
            object.rows.as_ref().map(|(predicate, _)| predicate.columns.clone()).into(),
            object.rows.as_ref().map(|(_, names)| names.clone()).into(),
        ],
    )?;
    row.first().get_one::<i64>()?.ok_or(AccessError::Server(ServerError::UnexpectedNull("issued_grant.id")))
}

/// What the trail says of a grant that was ended.
pub struct Ended {
    pub user_id: Option<String>,
    pub group_name: Option<String>,
    pub object_name: String,
    pub relation: Option<Oid>,
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
             WHERE id = $1 RETURNING user_id, group_name, object_name, relation_id::pg_catalog.oid",
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
        relation: ended.get(4)?,
    })
}

/// Microseconds since 2000 for SQL.
pub fn moment(micros: i64) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(micros).ok()
}

/// After a dump was restored or the server upgraded, finds objects by their names and gives them their new numbers.
pub fn renumber(client: &mut SpiClient<'_>) -> Result<(), AccessError> {
    // Asked first: a statement that changes nothing has everybody read the grants anew, too.
    let old = "SELECT 1 FROM access.issued_grant WHERE numbered_in <> access.numbering() LIMIT 1";
    if client.select(old, Some(1), &[])?.is_empty() {
        return Ok(());
    }
    client.update(
        "UPDATE access.issued_grant AS g SET numbered_in = access.numbering(), \
             schema_id = (SELECT n.oid FROM pg_catalog.pg_namespace AS n WHERE n.nspname = g.schema_name), \
             column_number = (SELECT a.attnum FROM pg_catalog.pg_attribute AS a \
                 WHERE a.attrelid = g.relation_id AND a.attname = g.column_name AND NOT a.attisdropped), \
             function_id = (SELECT pg_catalog.min(p.oid::text)::pg_catalog.oid FROM pg_catalog.pg_proc AS p \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace \
                 WHERE n.nspname = 'queries' AND p.proname = g.function_name HAVING pg_catalog.count(*) = 1), \
             row_columns = CASE WHEN g.row_column_names IS NOT NULL THEN \
                 (SELECT pg_catalog.array_agg(coalesce(a.attnum, 0::pg_catalog.int2) ORDER BY u.place) \
                  FROM pg_catalog.unnest(g.row_column_names) WITH ORDINALITY AS u (name, place) \
                  LEFT JOIN pg_catalog.pg_attribute AS a \
                      ON a.attrelid = g.relation_id AND a.attname = u.name AND NOT a.attisdropped) END \
         WHERE g.numbered_in <> access.numbering()",
        None,
        &[],
    )?;
    Ok(())
}

/// Grants with the present names of their objects: none for what is not there any more, so that a dump does not
/// give them to what has taken the name.
const NAMED: &str = "SELECT g.id, coalesce(t.oid, 0)::pg_catalog.regclass AS relation_id, \
         coalesce(n.nspname::text, '') AS schema_name, coalesce(c.attname::text, '') AS column_name, \
         coalesce(p.proname::text, '') AS function_name, \
         (SELECT pg_catalog.array_agg(coalesce(a.attname::text, '') ORDER BY u.place) \
          FROM pg_catalog.unnest(g.row_columns) WITH ORDINALITY AS u (number, place) \
          LEFT JOIN pg_catalog.pg_attribute AS a \
              ON a.attrelid = g.relation_id AND a.attnum = u.number AND NOT a.attisdropped) AS row_column_names \
     FROM access.issued_grant AS g \
         LEFT JOIN pg_catalog.pg_class AS t ON t.oid = g.relation_id \
         LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = g.schema_id \
         LEFT JOIN pg_catalog.pg_attribute AS c \
             ON c.attrelid = g.relation_id AND c.attnum = g.column_number AND NOT c.attisdropped \
         LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = g.function_id \
     WHERE g.numbered_in = access.numbering() AND g.object_type <> 'database' \
         AND g.revoked_at IS NULL AND g.ends_at > pg_catalog.clock_timestamp()";

const OTHERWISE: &str = "r.relation_id <> g.relation_id OR r.schema_name <> g.schema_name \
     OR r.column_name <> g.column_name OR r.function_name <> g.function_name \
     OR r.row_column_names <> g.row_column_names";

/// Writes down what objects are called now, by which a restored dump will find them.
pub fn follow_names() -> Result<(), AccessError> {
    spi::as_owner(|client| {
        renumber(client)?;
        let changed = format!(
            "SELECT 1 FROM ({NAMED}) AS r JOIN access.issued_grant AS g USING (id) WHERE {OTHERWISE} LIMIT 1"
        );
        if client.select(&changed, Some(1), &[])?.is_empty() {
            return Ok(());
        }
        // What a grant is not on is NULL there, and stays so.
        let follow = format!(
            "UPDATE access.issued_grant AS g SET \
                 relation_id = CASE WHEN g.relation_id IS NOT NULL THEN r.relation_id END, \
                 schema_name = CASE WHEN g.schema_name IS NOT NULL THEN r.schema_name END, \
                 column_name = CASE WHEN g.column_name IS NOT NULL THEN r.column_name END, \
                 function_name = CASE WHEN g.function_name IS NOT NULL THEN r.function_name END, \
                 row_column_names = CASE WHEN g.row_column_names IS NOT NULL THEN r.row_column_names END \
             FROM ({NAMED}) AS r WHERE r.id = g.id AND ({OTHERWISE})"
        );
        client.update(&follow, None, &[])?;
        Ok(())
    })
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
    "numbered_in",
    "schema_id",
    "column_number",
    "column_name",
    "function_id",
    "function_name",
    "row_predicate",
    "row_columns",
    "row_column_names",
];

/// The grants of `person` that have neither ended by `now` nor been revoked. A row that cannot be
/// understood in full is no grant.
pub fn live(person: &Person, now: i64) -> Result<LiveGrants, ServerError> {
    let mut found = Vec::new();
    catalog::rows("access", "issued_grant", COLUMNS, |row| found.extend(grant_in(row, person, now)))?;
    let numbering = catalog::numbering();
    let (mut grants, mut predicates) = (Vec::new(), HashMap::new());
    for (kept, mut grant) in found.into_iter().filter(|(_, grant)| !unsettled::has(grant.id)) {
        let current = numbering.is_some() && kept.numbered_in == numbering;
        let Some(scope) = kept.scope(current) else { continue };
        if let Scope::Rows(relation) = scope {
            let Some(predicate) = kept.predicate(relation, current) else { continue };
            predicates.insert(grant.id, predicate);
        }
        grant.scope = scope;
        grants.push(grant);
    }
    Ok(LiveGrants::new(grants, predicates))
}

/// A grant, live or not, as far as it matters to whoever relied on it.
#[derive(Debug, Clone)]
pub struct OnFile {
    pub id: i64,
    pub is_revoked: bool,
    /// When it ended or will end, by expiry or by revocation.
    pub ended_at: i64,
    pub user_id: Option<String>,
    pub privileges: Privileges,
    /// As it was called when it was granted.
    pub object: String,
}

const ENDS: &[&str] = &["id", "ends_at", "revoked_at", "user_id", "privileges", "object_name"];

/// Tells of grants, live or not: those that are wanted, by number and end.
pub fn on_file(wanted: impl Fn(i64, i64) -> bool, mut each: impl FnMut(OnFile)) -> Result<(), ServerError> {
    catalog::rows("access", "issued_grant", ENDS, |row| {
        let (Some(id), Some(ends_at)) = (row.bigint(0), row.bigint(1)) else { return };
        let revoked_at = row.bigint(2);
        let ended_at = revoked_at.map_or(ends_at, |at| at.min(ends_at));
        if !wanted(id, ended_at) {
            return;
        }
        let words = row.texts(4).unwrap_or_default();
        each(OnFile {
            id,
            is_revoked: revoked_at.is_some(),
            ended_at,
            user_id: row.text(3),
            privileges: words.iter().filter_map(|word| Privilege::parse(word)).collect(),
            object: row.text(5).unwrap_or_default(),
        });
    })?;
    Ok(())
}

/// What a row says of the object, by number and by name.
struct Kept {
    object_type: String,
    numbered_in: Option<String>,
    schema: (Option<Oid>, Option<String>),
    relation: Option<Oid>,
    column: (Option<i16>, Option<String>),
    function: (Option<Oid>, Option<String>),
    predicate: Option<String>,
    columns: (Option<Vec<i16>>, Option<Vec<String>>),
}

impl Kept {
    /// The object, if it is there; `current` if the numbers hold.
    fn scope(&self, current: bool) -> Option<Scope> {
        match self.object_type.as_str() {
            "database" => Some(Scope::Database),
            "schema" if current => Some(Scope::Schema(self.schema.0?)),
            "schema" => Some(Scope::Schema(catalog::namespace(self.schema.1.as_deref()?)?)),
            "table" if self.predicate.is_some() => Some(Scope::Rows(self.relation?)),
            "table" => Some(Scope::Relation(self.relation?)),
            "column" => {
                let relation = self.relation?;
                let number = if current {
                    self.column.0?
                } else {
                    catalog::column_named(relation, self.column.1.as_deref()?)?
                };
                Some(Scope::Column(relation, number))
            }
            "query" if current => Some(Scope::Function(self.function.0?)),
            "query" => match catalog::functions(QUERIES, &[self.function.1.as_deref()?]).as_slice() {
                [function] => Some(Scope::Function(*function)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The condition, if all its columns are there.
    fn predicate(&self, relation: Oid, current: bool) -> Option<Predicate> {
        let columns = match current {
            true => self.columns.0.clone()?,
            false => self
                .columns
                .1
                .as_ref()?
                .iter()
                .map(|name| catalog::column_named(relation, name))
                .collect::<Option<_>>()?,
        };
        let all = columns.iter().all(|column| catalog::column_type(relation, *column).is_some());
        all.then(|| Some(Predicate { text: self.predicate.clone()?, columns }))?
    }
}

/// What a row says, if it is a grant of `person`'s that may be in force at `now` or later. Looks nothing up: the
/// table is being read.
fn grant_in(row: &Row, person: &Person, now: i64) -> Option<(Kept, LiveGrant)> {
    let ends_at = row.bigint(9)?;
    if row.bigint(10).is_some() || ends_at <= now {
        return None;
    }
    if row.text(2).is_some_and(|issuer| issuer != person.issuer) {
        return None;
    }
    // Whoever comes by a credential of one grant has this one only.
    if person.only_grant.is_some_and(|only| row.bigint(0) != Some(only)) {
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
    let privileges: Privileges = row.texts(4)?.iter().filter_map(|word| Privilege::parse(word)).collect();
    let kept = Kept {
        object_type: row.text(5)?,
        numbered_in: row.text(11),
        schema: (row.oid(12), row.text(6)),
        relation: row.oid(7),
        column: (row.smallint(13), row.text(14)),
        function: (row.oid(15), row.text(16)),
        predicate: row.text(17),
        columns: (row.smallints(18), row.texts(19)),
    };
    let (id, starts_at) = (row.bigint(0)?, row.bigint(8)?);
    Some((kept, LiveGrant { id, privileges, scope: Scope::Database, starts_at, ends_at }))
}
