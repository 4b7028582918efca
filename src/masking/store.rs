//! The SQL of tables and columns, and the lock that changes of policies take.

use crate::access::object::identifier;
use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::spec::Masking;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

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

/// Of the server and of ours.
const SYSTEM: &str = "IN ('pg_catalog', 'information_schema', 'pg_toast', 'custodian', 'access', 'mask', \
     'masked', 'audit')";

/// Finds the table, if it is one whose columns can be masked.
pub fn table(client: &SpiClient<'_>, relation: Oid) -> Result<Table, MaskError> {
    let found = client.select(
        &format!(
            "SELECT n.nspname::text, c.relname::text, c.relkind IN ('r', 'p', 'f'), c.relpersistence = 't', \
             n.nspname {SYSTEM}, \
             c.relrowsecurity \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1"
        ),
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
    /// Its type below all domains.
    pub base_type_name: String,
}

/// Columns with the types below their domains.
const COLUMNS: &str = "WITH RECURSIVE peeled AS ( \
         SELECT a.attnum, a.attname, a.attcollation, a.atttypid, a.atttypmod, a.atttypid AS base, a.atttypmod AS basemod \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND NOT a.attisdropped \
       UNION ALL \
         SELECT p.attnum, p.attname, p.attcollation, p.atttypid, p.atttypmod, t.typbasetype, \
             CASE WHEN p.basemod = -1 THEN t.typtypmod ELSE p.basemod END \
         FROM peeled p JOIN pg_catalog.pg_type t ON t.oid = p.base WHERE t.typtype = 'd') \
     SELECT p.attnum, p.attname::text AS name, pg_catalog.format_type(p.atttypid, p.atttypmod) AS type, \
         pg_catalog.format_type(p.base, p.basemod) AS base_type, \
         t.typcategory = 'N' AND p.base <> ALL (ARRAY['oid', 'money']::pg_catalog.regtype[]) AS is_number, p.attcollation \
     FROM peeled p JOIN pg_catalog.pg_type t ON t.oid = p.base AND t.typtype <> 'd' ";

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
    let (type_name, base_type_name) = (row.get(3)?.ok_or_else(needed)?, row.get(4)?.ok_or_else(needed)?);
    Ok(Column { attnum, type_name, base_type_name })
}

/// A column, as [`super::view`] needs it.
pub struct ViewColumn {
    pub attnum: i16,
    pub name: String,
    pub type_name: String,
    /// Below its domains.
    pub base_type_name: String,
    pub collation: Oid,
    pub is_number: bool,
}

/// All columns of a table, in order.
pub fn columns(client: &SpiClient<'_>, relation: Oid) -> Result<Vec<ViewColumn>, MaskError> {
    let found = client.select(
        &format!("{COLUMNS} WHERE p.attnum > 0 ORDER BY p.attnum"),
        None,
        &[relation.into()],
    )?;
    let mut columns = Vec::with_capacity(found.len());
    for row in found {
        let (Some(attnum), Some(name), Some(type_name), Some(base_type_name)) =
            (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)
        else {
            return Err(ServerError::UnexpectedNull("pg_attribute").into());
        };
        let (is_number, collation) = (row.get(5)? == Some(true), row.get(6)?.unwrap_or(Oid::INVALID));
        columns.push(ViewColumn { attnum, name, type_name, base_type_name, collation, is_number });
    }
    Ok(columns)
}

/// Masks nothing, to see that a constant is a value of the type: whoever protects a column shall be told,
/// not whoever reads it.
pub fn try_mask(client: &SpiClient<'_>, masking: &Masking, type_name: &str) -> Result<(), MaskError> {
    let mask = masking.expression("t.value", type_name);
    client.select(&format!("SELECT {mask} FROM (SELECT NULL::{type_name} AS value) AS t"), Some(1), &[])?;
    Ok(())
}

/// The tables of a schema that a masked view can be made of: not partitions, their table shows them.
pub fn tables_in(client: &SpiClient<'_>, schema: &str) -> Result<Vec<Oid>, MaskError> {
    let found = client.select(
        "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1::pg_catalog.name AND c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition \
             AND c.relpersistence <> 't' ORDER BY c.relname",
        None,
        &[schema.into()],
    )?;
    found.map(|row| Ok(row.get(1)?.ok_or(ServerError::UnexpectedNull("pg_class.oid"))?)).collect()
}

/// Whether there is a schema whose tables can be masked.
pub fn check_schema(client: &SpiClient<'_>, schema: &str) -> Result<(), MaskError> {
    let found = client.select(
        &format!(
            "SELECT nspname {SYSTEM} OR nspname LIKE 'pg\\_%' FROM pg_catalog.pg_namespace \
             WHERE nspname = $1::pg_catalog.name"
        ),
        Some(1),
        &[schema.into()],
    )?;
    if found.is_empty() {
        return Err(MaskError::UnknownSchema(schema.to_owned()));
    }
    match found.first().get_one::<bool>()? {
        Some(false) => Ok(()),
        _ => Err(MaskError::SystemSchema(schema.to_owned())),
    }
}

/// Whether a role may do to a table what its owner may, or drop it with its schema.
pub fn commands(client: &SpiClient<'_>, role: Oid, relation: Oid) -> Result<bool, MaskError> {
    let found = client.select(
        "SELECT pg_catalog.pg_has_role($1, c.relowner, 'USAGE') OR pg_catalog.pg_has_role($1, n.nspowner, 'USAGE') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $2",
        Some(1),
        &[role.into(), relation.into()],
    )?;
    Ok(!found.is_empty() && found.first().get_one::<bool>()? == Some(true))
}

/// Whether a role may read all of a table.
pub fn may_read(client: &SpiClient<'_>, role: Oid, relation: Oid) -> Result<bool, MaskError> {
    let found = client.select(
        "SELECT pg_catalog.has_table_privilege($1, $2, 'SELECT')",
        Some(1),
        &[role.into(), relation.into()],
    )?;
    Ok(found.first().get_one::<bool>()? == Some(true))
}
