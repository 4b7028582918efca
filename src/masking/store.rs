//! The SQL of policies: `mask.policy`, and the catalogs for the tables and columns it is about.

use crate::access::object::identifier;
use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::spec::Masking;
use pgrx::pg_sys::Oid;
use pgrx::spi::{SpiClient, SpiTupleTable};

/// One change of policies at a time: views are made of what was read. After a dump was restored,
/// gives the columns of the policies their new numbers, by name.
pub fn lock(client: &mut SpiClient<'_>) -> Result<(), MaskError> {
    client.update("LOCK TABLE mask.policy IN SHARE ROW EXCLUSIVE MODE", None, &[])?;
    client.update(
        "UPDATE mask.policy y SET attnum = a.attnum, numbered_in = y.relation FROM pg_catalog.pg_attribute a \
         WHERE y.numbered_in <> y.relation AND a.attrelid = y.relation AND a.attname::text = y.column_name \
             AND a.attnum > 0 AND NOT a.attisdropped",
        None,
        &[],
    )?;
    Ok(())
}

/// A table that can be masked.
pub struct Table {
    pub oid: Oid,
    pub schema: String,
    pub table: String,
    pub row_security: bool,
}

impl Table {
    /// `schema.table`, as people write it.
    pub fn name(&self) -> String {
        format!("{}.{}", identifier(&self.schema), identifier(&self.table))
    }

    /// `schema.table.column`
    pub fn column_name(&self, column: &str) -> String {
        format!("{}.{}", self.name(), identifier(column))
    }
}

/// Finds the table, if it is one whose columns can be masked.
pub fn table(client: &SpiClient<'_>, relation: Oid) -> Result<Table, MaskError> {
    let found = client.select(
        "SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'p', 'f'), c.relpersistence = 't', \
             n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast', 'custodian', 'access', 'mask', \
                           'masked', 'audit'), \
             c.relrowsecurity \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        Some(1),
        &[relation.into()],
    )?;
    let mut found = found.into_iter();
    let row = found.next().ok_or(MaskError::UnknownRelation(relation))?;
    let needed = ServerError::UnexpectedNull("pg_class");
    let (Some(schema), Some(table)) = (row.get(1)?, row.get(2)?) else { return Err(needed.into()) };
    let is = |column: usize| row.get::<bool>(column).map(|value| value == Some(true));
    let table = Table { oid: relation, schema, table, row_security: is(6)? };
    if is(5)? {
        Err(MaskError::SystemTable(table.name()))
    } else if !is(3)? {
        Err(MaskError::NotATable(table.name()))
    } else if is(4)? {
        Err(MaskError::TemporaryTable(table.name()))
    } else {
        Ok(table)
    }
}

/// A column, as [`super::policy`] needs it.
pub struct Column {
    pub attnum: i16,
    pub type_name: String,
    /// Whether every text is a value of its type, shortened perhaps.
    pub holds_text: bool,
}

/// Columns with the types below their domains. citext is an extension's: it is known by name, in
/// whichever schema, and its values are texts.
const COLUMNS: &str = "WITH RECURSIVE peeled AS ( \
         SELECT a.attnum, a.attname, a.atttypid, a.atttypmod, a.atttypid AS base, a.atttypmod AS basemod \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND NOT a.attisdropped \
       UNION ALL \
         SELECT p.attnum, p.attname, p.atttypid, p.atttypmod, t.typbasetype, \
             CASE WHEN p.basemod = -1 THEN t.typtypmod ELSE p.basemod END \
         FROM peeled p JOIN pg_catalog.pg_type t ON t.oid = p.base WHERE t.typtype = 'd') \
     SELECT p.attnum, p.attname::text AS name, pg_catalog.format_type(p.atttypid, p.atttypmod) AS type, \
         pg_catalog.format_type(p.base, p.basemod) AS base_type, \
         p.base IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype, 'bpchar'::pg_catalog.regtype, \
                    'name'::pg_catalog.regtype) OR t.typname = 'citext' AND t.typtype = 'b' AS holds_text, \
         y.id AS policy, y.masking \
     FROM peeled p JOIN pg_catalog.pg_type t ON t.oid = p.base AND t.typtype <> 'd' \
         LEFT JOIN mask.policy y ON y.relation = $1 AND y.numbered_in = $1 AND y.attnum = p.attnum ";

/// Finds a column of a table by its name.
pub fn column(client: &SpiClient<'_>, table: &Table, name: &str) -> Result<Column, MaskError> {
    let found = client.select(
        &format!("{COLUMNS} WHERE p.attname = $2::pg_catalog.name"),
        Some(1),
        &[table.oid.into(), name.into()],
    )?;
    let mut found = found.into_iter();
    let Some(row) = found.next() else {
        return Err(MaskError::UnknownColumn { relation: table.name(), column: name.to_owned() });
    };
    let needed = || ServerError::UnexpectedNull("pg_attribute");
    let attnum = row.get::<i16>(1)?.ok_or_else(needed)?;
    if attnum < 1 {
        return Err(MaskError::SystemColumn(name.to_owned()));
    }
    let type_name = row.get(3)?.ok_or_else(needed)?;
    Ok(Column { attnum, type_name, holds_text: row.get(5)? == Some(true) })
}

/// A column, as [`super::view`] needs it.
pub struct ViewColumn {
    pub name: String,
    pub type_name: String,
    pub base_type_name: String,
    pub holds_text: bool,
    pub policy: Option<i64>,
    pub masking: Option<String>,
}

/// All columns of a table with their policies, in order. The policies' column names are brought up
/// to date on the way.
pub fn columns(client: &mut SpiClient<'_>, relation: Oid) -> Result<Vec<ViewColumn>, MaskError> {
    client.update(
        "UPDATE mask.policy y SET column_name = a.attname::text FROM pg_catalog.pg_attribute a \
         WHERE y.relation = $1 AND y.numbered_in = $1 AND a.attrelid = $1 AND a.attnum = y.attnum \
             AND NOT a.attisdropped AND y.column_name <> a.attname::text",
        None,
        &[relation.into()],
    )?;
    let found = client.select(
        &format!("{COLUMNS} WHERE p.attnum > 0 ORDER BY p.attnum"),
        None,
        &[relation.into()],
    )?;
    let mut columns = Vec::with_capacity(found.len());
    for row in found {
        let (Some(name), Some(type_name), Some(base_type_name)) = (row.get(2)?, row.get(3)?, row.get(4)?)
        else {
            return Err(ServerError::UnexpectedNull("pg_attribute").into());
        };
        let (holds_text, policy, masking) = (row.get(5)? == Some(true), row.get(6)?, row.get(7)?);
        columns.push(ViewColumn { name, type_name, base_type_name, holds_text, policy, masking });
    }
    Ok(columns)
}

/// A policy to be filed.
pub struct NewPolicy<'a> {
    pub relation: Oid,
    pub attnum: i16,
    pub column: &'a str,
    pub masking: &'a Masking,
    pub reveal_to: &'a [String],
}

/// Files a policy in place of the column's former one, under whose id it stays.
pub fn put_policy(client: &mut SpiClient<'_>, policy: &NewPolicy<'_>) -> Result<i64, MaskError> {
    let by = crate::identity::session::current().map(|person| person.user_id.clone());
    let values = [
        policy.relation.into(),
        policy.attnum.into(),
        policy.column.into(),
        policy.masking.to_string().into(),
        policy.reveal_to.to_vec().into(),
        by.into(),
    ];
    let changed = client.update(
        "UPDATE mask.policy SET column_name = $3, masking = $4, reveal_to = $5, \
             created_at = pg_catalog.clock_timestamp(), created_by = $6, created_by_role = session_user \
         WHERE relation = $1 AND attnum = $2 AND numbered_in = $1 RETURNING id",
        None,
        &values,
    )?;
    if !changed.is_empty() {
        return id_in(changed);
    }
    let added = client.update(
        "INSERT INTO mask.policy (relation, attnum, numbered_in, column_name, masking, reveal_to, created_by) \
         VALUES ($1, $2, $1, $3, $4, $5, $6) RETURNING id",
        None,
        &values,
    )?;
    id_in(added)
}

fn id_in(returned: SpiTupleTable<'_>) -> Result<i64, MaskError> {
    returned.first().get_one()?.ok_or(MaskError::Server(ServerError::UnexpectedNull("policy.id")))
}

/// Removes the policy of a column and returns its id, if it had one.
pub fn delete_policy(
    client: &mut SpiClient<'_>,
    relation: Oid,
    attnum: i16,
) -> Result<Option<i64>, MaskError> {
    let row = client.update(
        "DELETE FROM mask.policy WHERE relation = $1 AND attnum = $2 AND numbered_in = $1 RETURNING id",
        None,
        &[relation.into(), attnum.into()],
    )?;
    if row.is_empty() { Ok(None) } else { Ok(row.first().get_one()?) }
}
