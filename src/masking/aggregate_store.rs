//! The SQL of aggregate views: `mask.aggregate_view`, and what the views say.

use crate::access::object::literal;
use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::store::Table;
use crate::masking::view::quoted;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// What is told of a group.
pub enum Measure<'a> {
    Count,
    Average(&'a str),
}

pub struct Definition<'a> {
    pub name: &'a str,
    pub table: &'a Table,
    /// Names and types of the columns that make the groups.
    pub groups: &'a [(&'a str, &'a str)],
    pub measures: &'a [Measure<'a>],
    pub minimum: i32,
}

impl Definition<'_> {
    fn sql(&self) -> String {
        let k = self.minimum;
        let names: Vec<String> = self.groups.iter().map(|(name, _)| quoted(name)).collect();
        let inner: Vec<String> = (1..=names.len()).map(|n| format!("d{n}")).collect();
        let grouped: Vec<String> =
            names.iter().zip(&inner).map(|(name, d)| format!("t.{name} AS {d}")).collect();
        let mut sums = String::new();
        let (mut shown, mut together) = (Vec::new(), Vec::new());
        for (n, measure) in self.measures.iter().enumerate() {
            match measure {
                Measure::Count => {
                    shown.push("n AS \"count\"".to_owned());
                    together.push("sum(n)::bigint".to_owned());
                }
                Measure::Average(column) => {
                    let name = quoted(column);
                    sums += &format!(
                        ", pg_catalog.count(t.{name}) AS c{n}, pg_catalog.sum(t.{name}::pg_catalog.numeric) AS s{n}"
                    );
                    let label = quoted(&format!("avg_{column}"));
                    shown.push(format!("CASE WHEN c{n} >= {k} THEN s{n} / c{n} END AS {label}"));
                    together.push(format!(
                        "CASE WHEN pg_catalog.sum(c{n}) >= {k} THEN pg_catalog.sum(s{n}) / pg_catalog.sum(c{n}) END"
                    ));
                }
            }
        }
        let (inner, columns) = (inner.join(", "), grouped.join(", "));
        let named: Vec<String> =
            names.iter().enumerate().map(|(n, name)| format!("d{} AS {name}", n + 1)).collect();
        let nulls: Vec<String> =
            self.groups.iter().map(|(_, type_name)| format!("NULL::{type_name}")).collect();
        let list = |parts: &[String], others: &str, more: &[String]| {
            [parts, &[others.to_owned()], more].concat().join(", ")
        };
        format!(
            "CREATE VIEW masked.{view} WITH (security_barrier = true) AS \
             WITH g AS (SELECT {columns}, pg_catalog.count(*) AS n{sums} FROM {schema}.{table} AS t GROUP BY {inner_t}), \
             h AS (SELECT g.*, pg_catalog.row_number() OVER (ORDER BY n, {inner}) AS r, \
                 pg_catalog.count(*) FILTER (WHERE n < {k}) OVER () AS small, \
                 coalesce(pg_catalog.sum(n) FILTER (WHERE n < {k}) OVER (), 0) AS rows_in_small FROM g), \
             m AS (SELECT h.*, n < {k} OR small > 0 AND (small < 2 OR rows_in_small < {k}) AND r = small + 1 AS merged FROM h) \
             SELECT {one} FROM m WHERE NOT merged UNION ALL \
             SELECT {other} FROM m WHERE merged HAVING pg_catalog.count(*) >= 2 AND pg_catalog.sum(n) >= {k}",
            view = quoted(self.name),
            schema = quoted(&self.table.schema),
            table = quoted(&self.table.table),
            inner_t = names.iter().map(|name| format!("t.{name}")).collect::<Vec<_>>().join(", "),
            one = list(&named, "false AS others", &shown),
            other = list(&nulls, "true", &together),
        )
    }
}

/// Makes the view and returns its OID.
pub fn create(client: &mut SpiClient<'_>, definition: &Definition<'_>) -> Result<Oid, MaskError> {
    client.update(&definition.sql(), None, &[])?;
    let name = quoted(definition.name);
    let comment = format!(
        "Groups of at least {} rows of {}; others: smaller ones together.",
        definition.minimum,
        definition.table.name()
    );
    client.update(&format!("COMMENT ON VIEW masked.{name} IS {}", literal(&comment)), None, &[])?;
    let found = client.select(
        "SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'masked' AND c.relname = $1::pg_catalog.name",
        Some(1),
        &[definition.name.into()],
    )?;
    found.first().get_one()?.ok_or(MaskError::Server(ServerError::UnexpectedNull("pg_class.oid")))
}

/// The aggregate view of a table.
pub fn view_of(client: &SpiClient<'_>, relation: Oid) -> Result<Option<Oid>, MaskError> {
    let found = client.select(
        "SELECT a.view::pg_catalog.oid FROM mask.aggregate_view a \
             JOIN pg_catalog.pg_class c ON c.oid = a.view WHERE a.relation = $1",
        Some(1),
        &[relation.into()],
    )?;
    if found.is_empty() { Ok(None) } else { Ok(found.first().get_one()?) }
}

/// What a view was made of.
pub struct Made<'a> {
    pub view: Oid,
    pub relation: Oid,
    pub dimensions: &'a [String],
    pub numbers: &'a [i16],
    pub measures: &'a [String],
    pub minimum: i32,
}

/// Remembers it.
pub fn put(client: &mut SpiClient<'_>, made: &Made<'_>) -> Result<(), MaskError> {
    client.update("DELETE FROM mask.aggregate_view WHERE relation = $1", None, &[made.relation.into()])?;
    client.update(
        "INSERT INTO mask.aggregate_view (view, relation, dimensions, numbers, numbered_in, measures, minimum_group) \
         VALUES ($1, $2, $3, $4, $2, $5, $6)",
        None,
        &[
            made.view.into(),
            made.relation.into(),
            made.dimensions.to_vec().into(),
            made.numbers.to_vec().into(),
            made.measures.to_vec().into(),
            made.minimum.into(),
        ],
    )?;
    Ok(())
}

/// The name of a table's aggregate view, and the numbers of the columns that make its groups. Their names are
/// brought up to date on the way; after a dump was restored, their numbers.
pub fn dimensions_of(
    client: &mut SpiClient<'_>,
    relation: Oid,
) -> Result<Option<(String, Vec<i16>)>, MaskError> {
    client.update(
        "UPDATE mask.aggregate_view v SET numbered_in = v.relation, numbers = ARRAY( \
             SELECT a.attnum FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = v.relation AND a.attname::text = ANY (v.dimensions) AND a.attnum > 0) \
         WHERE v.relation = $1 AND v.numbered_in <> v.relation",
        None,
        &[relation.into()],
    )?;
    client.update(
        "UPDATE mask.aggregate_view v SET dimensions = now.names FROM ( \
             SELECT w.view, ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(w.numbers) WITH ORDINALITY AS n (number, place) \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = w.relation AND a.attnum = n.number ORDER BY n.place) AS names \
             FROM mask.aggregate_view w WHERE w.relation = $1) AS now \
         WHERE v.view = now.view AND v.dimensions <> now.names",
        None,
        &[relation.into()],
    )?;
    let found = client.select(
        "SELECT view::text, numbers FROM mask.aggregate_view WHERE relation = $1",
        Some(1),
        &[relation.into()],
    )?;
    let mut found = found.into_iter();
    let Some(row) = found.next() else { return Ok(None) };
    let view = row.get(1)?.ok_or(ServerError::UnexpectedNull("aggregate_view.view"))?;
    Ok(Some((view, row.get(2)?.unwrap_or_default())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_names() {
        let table =
            Table { oid: Oid::INVALID, schema: "a b".into(), table: "x\"; --".into(), row_security: false };
        let groups = [("c\"", "text")];
        let measures = [Measure::Count, Measure::Average("s\"")];
        let sql =
            Definition { name: "v\"", table: &table, groups: &groups, measures: &measures, minimum: 5 }.sql();
        for part in [
            "CREATE VIEW masked.\"v\"\"\" WITH (security_barrier = true)",
            "FROM \"a b\".\"x\"\"; --\" AS t GROUP BY t.\"c\"\"\"",
            "d1 AS \"c\"\"\", false AS others, n AS \"count\", CASE WHEN c1 >= 5 THEN s1 / c1 END AS \"avg_s\"\"\"",
            "SELECT NULL::text, true, sum(n)::bigint",
        ] {
            assert!(sql.contains(part), "{part}\n{sql}");
        }
    }
}
