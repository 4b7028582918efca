//! The SQL of masked views: schema `masked`, `mask.generated_view`, and who may read what is in it.

use crate::access::object::{identifier, literal};
use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::store::Table;
use crate::masking::view::{Shown, quoted};
use crate::pg::catalog;

use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// What has the name in schema `masked` already.
pub struct Existing {
    pub oid: Oid,
    /// The table it is the generated view of, and that table's name.
    pub shows: Option<Oid>,
    pub shows_name: Option<String>,
    pub columns: Vec<ShownBefore>,
}

/// A column that a view has.
pub struct ShownBefore {
    pub name: String,
    pub type_name: String,
    pub collation: Oid,
}

pub fn relation_in_masked(client: &SpiClient<'_>, name: &str) -> Result<Option<Existing>, MaskError> {
    let found = client.select(
        "SELECT c.oid, g.relation::pg_catalog.oid, g.relation::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN mask.generated_view g ON g.view = c.oid \
         WHERE n.nspname = 'masked' AND c.relname = $1::pg_catalog.name",
        Some(1),
        &[name.into()],
    )?;
    let mut found = found.into_iter();
    let Some(row) = found.next() else { return Ok(None) };
    let oid: Oid = row.get(1)?.ok_or(ServerError::UnexpectedNull("pg_class.oid"))?;
    let (shows, shows_name) = (row.get(2)?, row.get(3)?);
    let mut columns = Vec::new();
    for row in client.select(
        "SELECT attname::text, pg_catalog.format_type(atttypid, atttypmod), attcollation FROM pg_catalog.pg_attribute \
         WHERE attrelid = $1 AND attnum > 0 ORDER BY attnum",
        None,
        &[oid.into()],
    )? {
        if let (Some(name), Some(type_name), Some(collation)) = (row.get(1)?, row.get(2)?, row.get(3)?) {
            columns.push(ShownBefore { name, type_name, collation });
        }
    }
    Ok(Some(Existing { oid, shows, shows_name, columns }))
}

/// The generated view of a table.
pub fn view_of(client: &SpiClient<'_>, relation: Oid) -> Result<Option<Oid>, MaskError> {
    let found = client.select(
        "SELECT g.view::pg_catalog.oid FROM mask.generated_view g \
             JOIN pg_catalog.pg_class c ON c.oid = g.view WHERE g.relation = $1",
        Some(1),
        &[relation.into()],
    )?;
    if found.is_empty() { Ok(None) } else { Ok(found.first().get_one()?) }
}

/// All our views of a table.
pub fn views_of(client: &SpiClient<'_>, relation: Oid) -> Result<Vec<Oid>, MaskError> {
    let found = client.select(
        "SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid IN ( \
             SELECT g.view FROM mask.generated_view g WHERE g.relation = $1 \
             UNION ALL SELECT a.view FROM mask.aggregate_view a WHERE a.relation = $1)",
        None,
        &[relation.into()],
    )?;
    found.map(|row| Ok(row.get(1)?.ok_or(ServerError::UnexpectedNull("pg_class.oid"))?)).collect()
}

/// Renames a generated view, under which others that were built on it stay as they are.
pub fn rename_view(client: &mut SpiClient<'_>, view: Oid, name: &str) -> Result<(), MaskError> {
    if let Some((schema, old)) = catalog::relation_name(view) {
        let rename = format!("ALTER VIEW {}.{} RENAME TO {}", quoted(&schema), quoted(&old), quoted(name));
        client.update(&rename, None, &[])?;
    }
    Ok(())
}

/// Leaves of a generated view its columns only, without a value and without the table.
pub fn hollow(client: &mut SpiClient<'_>, view: Oid) -> Result<(), MaskError> {
    let found = client.select(
        "SELECT pg_catalog.format('CREATE OR REPLACE VIEW %I.%I WITH (security_barrier = true) AS SELECT %s', \
             n.nspname, c.relname, (SELECT pg_catalog.string_agg(pg_catalog.format('NULL::%s%s AS %I', \
                 pg_catalog.format_type(a.atttypid, a.atttypmod), \
                 ' COLLATE ' || pg_catalog.quote_ident(o.nspname) || '.' || pg_catalog.quote_ident(l.collname), \
                 a.attname), ', ' ORDER BY a.attnum) \
             FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation \
                 LEFT JOIN pg_catalog.pg_namespace o ON o.oid = l.collnamespace \
             WHERE a.attrelid = c.oid AND a.attnum > 0)) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1",
        Some(1),
        &[view.into()],
    )?;
    if let Some(definition) = found.first().get_one::<String>()? {
        client.update(&definition, None, &[])?;
    }
    Ok(())
}

/// Forgets views that somebody dropped.
pub fn forget_dropped_views(client: &mut SpiClient<'_>) -> Result<(), MaskError> {
    for table in ["generated_view", "aggregate_view"] {
        client.update(
            &format!(
                "DELETE FROM mask.{table} g WHERE NOT EXISTS ( \
                     SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                     WHERE c.oid = g.view AND c.relkind = 'v' AND n.nspname = 'masked')"
            ),
            None,
            &[],
        )?;
    }
    Ok(())
}

/// Remembers that `view` shows `relation`.
pub fn put_view(client: &mut SpiClient<'_>, view: Oid, relation: Oid) -> Result<(), MaskError> {
    client.update("DELETE FROM mask.generated_view WHERE relation = $1", None, &[relation.into()])?;
    client.update(
        "INSERT INTO mask.generated_view (view, relation) VALUES ($1, $2)",
        None,
        &[view.into(), relation.into()],
    )?;
    Ok(())
}

/// A right on a view that must outlive the view's making anew.
pub struct Right {
    privilege: String,
    /// NULL stands for PUBLIC.
    grantee: Option<String>,
    column: Option<String>,
    grantable: bool,
}

/// The rights others have on a view and its columns.
pub fn rights_on(client: &SpiClient<'_>, view: Oid) -> Result<Vec<Right>, MaskError> {
    let found = client.select(
        "SELECT x.privilege_type, r.rolname::text, o.attname, x.is_grantable FROM ( \
             SELECT c.oid, c.relowner, NULL::text AS attname, c.relacl AS acl FROM pg_catalog.pg_class c \
             UNION ALL \
             SELECT c.oid, c.relowner, a.attname::text, a.attacl FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid) o \
             CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) x \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee \
         WHERE o.oid = $1 AND x.grantee <> o.relowner AND (x.grantee = 0 OR r.oid IS NOT NULL)",
        None,
        &[view.into()],
    )?;
    let mut rights = Vec::with_capacity(found.len());
    for row in found {
        let privilege = row.get(1)?.ok_or(ServerError::UnexpectedNull("aclexplode"))?;
        let (grantee, column, grantable) = (row.get(2)?, row.get(3)?, row.get(4)? == Some(true));
        rights.push(Right { privilege, grantee, column, grantable });
    }
    Ok(rights)
}

/// Gives rights back on a view that was made anew; those on columns that are gone end with them.
pub fn give_rights(
    client: &mut SpiClient<'_>,
    view: &str,
    rights: &[Right],
    columns: &[Shown<'_>],
) -> Result<(), MaskError> {
    for right in rights {
        let on = match &right.column {
            Some(column) if columns.iter().any(|shown| shown.name == column) => {
                format!(" ({})", quoted(column))
            }
            Some(_) => continue,
            None => String::new(),
        };
        client.update(
            &format!(
                "GRANT {}{on} ON masked.{} TO {}{}",
                right.privilege,
                quoted(view),
                right.grantee.as_deref().map_or("PUBLIC".to_owned(), quoted),
                if right.grantable { " WITH GRANT OPTION" } else { "" }
            ),
            None,
            &[],
        )?;
    }
    Ok(())
}

/// Drops a generated view; what others built on it keeps it, with PostgreSQL's own error.
pub fn drop_view(client: &mut SpiClient<'_>, view: Oid) -> Result<(), MaskError> {
    if let Some((schema, name)) = catalog::relation_name(view) {
        client.update(&format!("DROP VIEW {}.{}", quoted(&schema), quoted(&name)), None, &[])?;
    }
    Ok(())
}

/// Makes or replaces the view and returns its OID.
pub fn create_view(
    client: &mut SpiClient<'_>,
    table: &Table,
    columns: &[Shown<'_>],
) -> Result<Oid, MaskError> {
    client.update(&definition(table, columns), None, &[])?;
    let view = quoted(&table.table);
    let comment = format!(
        "{} as people may see it: protected columns are masked for everybody to whom they are not revealed. \
         Give a role access by GRANT SELECT ON masked.{} TO role, and none to the table.",
        table.name(),
        identifier(&table.table)
    );
    client.update(&format!("COMMENT ON VIEW masked.{view} IS {}", literal(&comment)), None, &[])?;
    let found = client.select(
        "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'masked' AND c.relname = $1::pg_catalog.name",
        Some(1),
        &[table.table.as_str().into()],
    )?;
    found.first().get_one()?.ok_or(MaskError::Server(ServerError::UnexpectedNull("pg_class.oid")))
}

/// Some rows of the table as nobody sees it.
pub fn preview(
    client: &SpiClient<'_>,
    table: &Table,
    columns: &[Shown<'_>],
    rows: i32,
) -> Result<Vec<String>, MaskError> {
    let list: Vec<String> =
        columns.iter().map(|column| format!("{} AS {}", column.for_others(), quoted(column.name))).collect();
    let query = format!(
        "SELECT pg_catalog.row_to_json(r)::text FROM (SELECT {} FROM {}.{} AS t LIMIT $1) AS r",
        list.join(", "),
        quoted(&table.schema),
        quoted(&table.table)
    );
    let found = client.select(&query, None, &[rows.into()])?;
    found.map(|row| Ok(row.get(1)?.ok_or(ServerError::UnexpectedNull("row_to_json"))?)).collect()
}

fn definition(table: &Table, columns: &[Shown<'_>]) -> String {
    let list: Vec<String> =
        columns.iter().map(|column| format!("{} AS {}", column.expression(), quoted(column.name))).collect();
    format!(
        "CREATE OR REPLACE VIEW masked.{} WITH (security_barrier = true) AS SELECT {} FROM {}.{} AS t",
        quoted(&table.table),
        list.join(", "),
        quoted(&table.schema),
        quoted(&table.table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_view_is_a_barrier_and_hostile_names_stay_names() {
        let table =
            Table { oid: Oid::INVALID, schema: "a b".into(), table: "x\"; DROP".into(), row_security: false };
        let collation = Oid::INVALID;
        let columns = [
            Shown { name: "id", type_name: "bigint", collation, masked: None },
            Shown { name: "e", type_name: "text", collation, masked: None },
        ];
        assert_eq!(
            definition(&table, &columns),
            "CREATE OR REPLACE VIEW masked.\"x\"\"; DROP\" WITH (security_barrier = true) AS SELECT t.\"id\" AS \"id\", \
             t.\"e\" AS \"e\" \
             FROM \"a b\".\"x\"\"; DROP\" AS t"
        );
        assert_eq!(table.column_name("Email"), "\"a b\".\"x\"\"; DROP\".\"Email\"");
    }
}
