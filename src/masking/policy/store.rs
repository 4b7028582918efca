//! The SQL of policies: `mask.policy`.

use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::known::Policy;
use crate::masking::spec::Masking;
use pgrx::pg_sys::Oid;
use pgrx::spi::{SpiClient, SpiTupleTable};

/// What a policy is filed for.
#[derive(Debug, Clone, Copy)]
pub enum For<'a> {
    Column { relation: Oid, attnum: i16, name: &'a str },
    Matching { schema: &'a str, pattern: &'a str },
}

/// A policy to be filed.
pub struct NewPolicy<'a> {
    pub on: For<'a>,
    pub masking: &'a Masking,
    pub reveal_to: &'a [String],
    /// Sorted.
    pub for_groups: &'a [String],
}

/// Files a policy in place of the former one for the same groups, whose number and place it keeps.
pub fn put_policy(client: &mut SpiClient<'_>, policy: &NewPolicy<'_>) -> Result<i64, MaskError> {
    let by = crate::identity::session::current().map(|person| person.user_id.clone());
    let (relation, attnum, name, schema, pattern) = match policy.on {
        For::Column { relation, attnum, name } => (Some(relation), Some(attnum), Some(name), None, None),
        For::Matching { schema, pattern } => (None, None, None, Some(schema), Some(pattern)),
    };
    let values = [
        relation.into(),
        attnum.into(),
        name.into(),
        schema.into(),
        pattern.into(),
        policy.for_groups.to_vec().into(),
        policy.masking.to_string().into(),
        policy.reveal_to.to_vec().into(),
        by.into(),
    ];
    let changed = client.update(
        "UPDATE mask.policy SET column_name = $3, masking = $7, reveal_to = $8, \
             created_at = pg_catalog.clock_timestamp(), created_by = $9, created_by_role = session_user \
         WHERE for_groups = $6 AND (relation = $1 AND attnum = $2 AND numbered_in = $1 \
             OR schema_name = $4 AND pattern = $5) RETURNING id",
        None,
        &values,
    )?;
    if !changed.is_empty() {
        return id_in(changed);
    }
    let added = client.update(
        "INSERT INTO mask.policy (relation, attnum, numbered_in, column_name, schema_name, pattern, for_groups, \
             masking, reveal_to, created_by, place) \
         SELECT $1, $2, $1, $3, $4, $5, $6, $7, $8, $9, 1 + coalesce(max(y.place), 0) FROM mask.policy y \
         WHERE y.relation = $1 AND y.attnum = $2 OR y.schema_name = $4 RETURNING id",
        None,
        &values,
    )?;
    id_in(added)
}

fn id_in(returned: SpiTupleTable<'_>) -> Result<i64, MaskError> {
    returned.first().get_one()?.ok_or(MaskError::Server(ServerError::UnexpectedNull("policy.id")))
}

/// Gives a column a policy that it had from elsewhere.
pub fn keep_policy(
    client: &mut SpiClient<'_>,
    relation: Oid,
    attnum: i16,
    name: &str,
    policy: &Policy,
) -> Result<(), MaskError> {
    client.update(
        "INSERT INTO mask.policy (relation, attnum, numbered_in, column_name, for_groups, masking, reveal_to, \
             created_by, place) \
         SELECT $1, $2, $1, $3, $4, $5, $6, $7, 1 + coalesce(max(y.place), 0) FROM mask.policy y \
         WHERE y.relation = $1 AND y.attnum = $2 \
             HAVING pg_catalog.count(*) FILTER (WHERE y.for_groups = $4) = 0",
        None,
        &[
            relation.into(),
            attnum.into(),
            name.into(),
            policy.for_groups.clone().into(),
            policy.masking.clone().unwrap_or(Masking::NullValue).to_string().into(),
            policy.reveal_to.clone().into(),
            crate::identity::session::current().map(|person| person.user_id.clone()).into(),
        ],
    )?;
    Ok(())
}

/// Removes the policies of a column and returns their numbers.
pub fn delete_policies(
    client: &mut SpiClient<'_>,
    relation: Oid,
    attnum: i16,
) -> Result<Vec<i64>, MaskError> {
    let rows = client.update(
        "DELETE FROM mask.policy WHERE relation = $1 AND attnum = $2 AND numbered_in = $1 RETURNING id",
        None,
        &[relation.into(), attnum.into()],
    )?;
    rows.map(|row| Ok(row.get(1)?.ok_or(ServerError::UnexpectedNull("policy.id"))?)).collect()
}

/// Removes a policy.
pub fn delete_policy(client: &mut SpiClient<'_>, id: i64) -> Result<(), MaskError> {
    client.update("DELETE FROM mask.policy WHERE id = $1", None, &[id.into()])?;
    Ok(())
}

/// What a policy is on: table and column's number, or schema; and how it is called.
pub struct Place {
    pub relation: Option<Oid>,
    pub schema: Option<String>,
    pub name: String,
}

pub fn place_of(client: &SpiClient<'_>, id: i64) -> Result<Place, MaskError> {
    let found = client.select(
        "SELECT relation::pg_catalog.oid, schema_name, coalesce(relation::text || '.' || \
             pg_catalog.quote_ident(column_name), pg_catalog.quote_ident(schema_name) || ' ' || pattern) \
         FROM mask.policy WHERE id = $1",
        Some(1),
        &[id.into()],
    )?;
    let mut found = found.into_iter();
    let row = found.next().ok_or(MaskError::UnknownPolicy(id))?;
    let name = row.get(3)?.ok_or(ServerError::UnexpectedNull("policy.column_name"))?;
    Ok(Place { relation: row.get(1)?, schema: row.get(2)?, name })
}

/// Moves a policy among those of its column or schema, which are numbered anew from 1 on.
pub fn order(client: &mut SpiClient<'_>, id: i64, place: i32) -> Result<(), MaskError> {
    client.update(
        "WITH these AS ( \
             SELECT o.id, o.id = $1 AS moves, o.place FROM mask.policy o, mask.policy y \
             WHERE y.id = $1 AND (o.relation = y.relation AND o.attnum = y.attnum OR o.schema_name = y.schema_name)), \
         others AS (SELECT id, pg_catalog.row_number() OVER (ORDER BY place, id) AS n FROM these WHERE NOT moves), \
         placed AS (SELECT id, CASE WHEN n >= $2 THEN n + 1 ELSE n END AS n FROM others \
             UNION ALL SELECT $1, least($2, 1 + (SELECT pg_catalog.count(*) FROM others))) \
         UPDATE mask.policy p SET place = placed.n FROM placed WHERE placed.id = p.id AND p.place <> placed.n",
        None,
        &[id.into(), place.into()],
    )?;
    Ok(())
}

/// Forgets the policies of columns, and of tables, that are gone.
pub fn forget_dropped(client: &mut SpiClient<'_>, relation: Oid) -> Result<usize, MaskError> {
    let gone = client.update(
        "DELETE FROM mask.policy y WHERE y.relation = $1 \
             AND (NOT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = $1) \
                  OR y.numbered_in = $1 AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute a \
                      WHERE a.attrelid = $1 AND a.attnum = y.attnum AND NOT a.attisdropped)) RETURNING id",
        None,
        &[relation.into()],
    )?;
    Ok(gone.len())
}

/// Brings the names of a table's columns up to date.
pub fn rename_columns(client: &mut SpiClient<'_>, relation: Oid) -> Result<(), MaskError> {
    client.update(
        "UPDATE mask.policy y SET column_name = a.attname::text FROM pg_catalog.pg_attribute a \
         WHERE y.relation = $1 AND y.numbered_in = $1 AND a.attrelid = $1 AND a.attnum = y.attnum \
             AND NOT a.attisdropped AND y.column_name <> a.attname::text",
        None,
        &[relation.into()],
    )?;
    Ok(())
}

/// A schema's defaults go with it under its new name. What was there for that name was of a schema that is gone.
pub fn rename_schema(client: &mut SpiClient<'_>, from: &str, to: &str) -> Result<(), MaskError> {
    client.update("DELETE FROM mask.policy WHERE schema_name = $1", None, &[to.into()])?;
    let names = [from.into(), to.into()];
    client.update("UPDATE mask.policy SET schema_name = $2 WHERE schema_name = $1", None, &names)?;
    Ok(())
}
