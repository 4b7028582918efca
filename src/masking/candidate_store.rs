//! The SQL that looks for unprotected columns: catalogs, and samples of tables.

use crate::access::object::literal;
use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::view::quoted;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// Pages that are read of a table at most, about.
const PAGES: i64 = 100;
/// Values that are looked at.
const VALUES: i64 = 200;
/// Of a value so many characters.
const CHARACTERS: i64 = 64;

/// A table that may hold something.
pub struct Table {
    pub oid: Oid,
    /// As people write it.
    pub name: String,
    schema: String,
    table: String,
    /// Of its pages that are to be read, in percent; `None`: it cannot be sampled.
    percent: Option<f64>,
}

/// All tables but partitions, whose table stands for them, and the server's and ours.
pub fn tables(client: &SpiClient<'_>) -> Result<Vec<Table>, MaskError> {
    let found = client.select(
        "SELECT c.oid, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), \
             n.nspname::text, c.relname::text, \
             CASE WHEN c.relkind = 'r' THEN least(100, 100.0 * $1 / greatest(1, \
                 pg_catalog.pg_relation_size(c.oid) / 8192))::pg_catalog.float8 END \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND c.relpersistence <> 't' \
             AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', 'custodian', 'access', 'mask', \
                                   'masked', 'audit') \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' \
                 AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid) \
         ORDER BY 2",
        None,
        &[PAGES.into()],
    )?;
    let needed = || ServerError::UnexpectedNull("pg_class");
    found
        .map(|row| {
            Ok(Table {
                oid: row.get(1)?.ok_or_else(needed)?,
                name: row.get(2)?.ok_or_else(needed)?,
                schema: row.get(3)?.ok_or_else(needed)?,
                table: row.get(4)?.ok_or_else(needed)?,
                percent: row.get(5)?,
            })
        })
        .collect()
}

/// A column that is looked at.
pub struct Looked {
    pub attnum: i16,
    pub name: String,
    pub type_name: String,
    /// Whether its values are: of types whose output is the server's own.
    pub is_sampled: bool,
    pub is_date: bool,
}

pub fn columns(client: &SpiClient<'_>, relation: Oid) -> Result<Vec<Looked>, MaskError> {
    let found = client.select(
        "SELECT a.attnum, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), \
             a.atttypid IN ('text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype, 'bpchar'::pg_catalog.regtype, \
                 'name'::pg_catalog.regtype, 'int8'::pg_catalog.regtype, 'numeric'::pg_catalog.regtype, \
                 'inet'::pg_catalog.regtype), \
             a.atttypid IN ('date'::pg_catalog.regtype, 'timestamp'::pg_catalog.regtype, \
                 'timestamptz'::pg_catalog.regtype, 'text'::pg_catalog.regtype, 'varchar'::pg_catalog.regtype) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY a.attnum",
        None,
        &[relation.into()],
    )?;
    let needed = || ServerError::UnexpectedNull("pg_attribute");
    found
        .map(|row| {
            Ok(Looked {
                attnum: row.get(1)?.ok_or_else(needed)?,
                name: row.get(2)?.ok_or_else(needed)?,
                type_name: row.get(3)?.ok_or_else(needed)?,
                is_sampled: row.get(4)? == Some(true),
                is_date: row.get(5)? == Some(true),
            })
        })
        .collect()
}

/// The call that would protect a column.
pub fn call(table: &Table, column: &str, masking: &str) -> String {
    format!("SELECT mask.protect({}, {}, {});", literal(&table.name), literal(column), literal(masking))
}

/// Some values of each column.
pub fn sample(
    client: &SpiClient<'_>,
    table: &Table,
    columns: &[&Looked],
) -> Result<Vec<Vec<String>>, MaskError> {
    let mut values = vec![Vec::new(); columns.len()];
    let sampled: Vec<usize> = (0..columns.len()).filter(|at| columns[*at].is_sampled).collect();
    let Some(percent) = table.percent.filter(|_| !sampled.is_empty()) else { return Ok(values) };
    let list: Vec<String> = sampled
        .iter()
        .map(|at| format!("pg_catalog.left(t.{}::pg_catalog.text, {CHARACTERS})", quoted(&columns[*at].name)))
        .collect();
    let query = format!(
        "SELECT {} FROM ONLY {}.{} AS t TABLESAMPLE SYSTEM ($1) LIMIT {VALUES}",
        list.join(", "),
        quoted(&table.schema),
        quoted(&table.table)
    );
    for row in client.select(&query, None, &[percent.into()])? {
        for (place, at) in sampled.iter().enumerate() {
            values[*at].extend(row.get::<String>(place + 1)?);
        }
    }
    Ok(values)
}
