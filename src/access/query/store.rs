//! The SQL of named queries.

use super::error::QueryError;
use super::known::Named;
use crate::access::object::{identifier, literal};
use crate::error::ServerError;
use crate::pg::body::{self, Parameter};
use crate::pg::{catalog, session};
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// The schema of named queries.
pub const SCHEMA: &str = "queries";

/// A name that no query can have.
const TRIAL: &str = " trial";

/// All named queries whose functions are there. Reads tables without SQL, so that hooks can ask; empty where the
/// extension is not installed.
pub fn named() -> Result<Vec<Named>, ServerError> {
    let mut found = Vec::new();
    let columns = ["name", "function_id", "numbered_in", "query", "parameters"];
    catalog::rows("custodian", "named_query", &columns, |row| {
        if let (Some(name), Some(function), Some(text), Some(parameters)) =
            (row.text(0), row.oid(1), row.text(3), row.text(4))
        {
            let call = format!("{SCHEMA}.{name}({parameters})");
            found.push((name, function, row.text(2), call, text));
        }
    })?;
    let Some(schema) = catalog::namespace(SCHEMA).filter(|_| !found.is_empty()) else {
        return Ok(Vec::new());
    };
    let numbering = catalog::numbering();
    let mut queries = Vec::new();
    for (name, function, numbered_in, call, text) in found {
        let function = match numbering.is_some() && numbered_in == numbering {
            true => Some(function),
            false => match catalog::functions(SCHEMA, &[&name]).as_slice() {
                [function] => Some(*function),
                _ => None,
            },
        };
        // Whoever moves it elsewhere has made something else of it.
        let function = function.filter(|function| catalog::namespace_of_function(*function) == Some(schema));
        if let Some(function) = function {
            queries.push(Named { function, schema, call, text });
        }
    }
    Ok(queries)
}

/// What is there under a name.
pub struct Present {
    pub function: Oid,
    /// It was made by us.
    pub is_query: bool,
    /// Types of its parameters.
    pub types: Vec<Oid>,
}

/// Keeps others from defining meanwhile.
pub fn lock(client: &mut SpiClient<'_>) -> Result<(), QueryError> {
    client.update("LOCK TABLE custodian.named_query IN SHARE ROW EXCLUSIVE MODE", None, &[])?;
    Ok(())
}

/// The functions of a name.
pub fn present(client: &SpiClient<'_>, name: &str) -> Result<Vec<Present>, QueryError> {
    let found = client.select(
        "SELECT p.oid, q.name IS NOT NULL, p.proargtypes::pg_catalog.oid[] \
         FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace \
         LEFT JOIN custodian.named_query AS q \
             ON CASE WHEN q.numbered_in = access.numbering() THEN q.function_id = p.oid ELSE q.name = p.proname END \
         WHERE n.nspname = 'queries' AND p.proname = $1::pg_catalog.name",
        None,
        &[name.into()],
    )?;
    found
        .map(|row| {
            Ok(Present {
                function: row.get(1)?.ok_or(ServerError::UnexpectedNull("pg_proc.oid"))?,
                is_query: row.get(2)?.unwrap_or(false),
                types: row.get(3)?.unwrap_or_default(),
            })
        })
        .collect()
}

/// Names and types, as in CREATE FUNCTION.
pub fn declared(parameters: &[Parameter]) -> String {
    let one = |p: &Parameter| format!("{} {}", identifier(&p.name), body::type_name(p.type_id));
    parameters.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Has PostgreSQL read a statement as the body of a function that returns nothing; returns that function.
pub fn make_trial(
    client: &mut SpiClient<'_>,
    parameters: &[Parameter],
    statement: &str,
) -> Result<Oid, QueryError> {
    let make = format!(
        "CREATE FUNCTION {SCHEMA}.{}({}) RETURNS pg_catalog.void LANGUAGE sql BEGIN ATOMIC\n{statement}\n; END",
        identifier(TRIAL),
        declared(parameters)
    );
    body::caught(|| client.update(&make, None, &[]).map(|_| ())).map_err(QueryError::Refused)??;
    match catalog::functions(SCHEMA, &[TRIAL]).as_slice() {
        [function] => Ok(*function),
        _ => Err(ServerError::UnexpectedNull("pg_proc.oid").into()),
    }
}

/// The tree of a function's body.
pub fn tree(client: &SpiClient<'_>, function: Oid) -> Result<String, QueryError> {
    let found = client.select(
        "SELECT prosqlbody::pg_catalog.text FROM pg_catalog.pg_proc WHERE oid = $1",
        Some(1),
        &[function.into()],
    )?;
    Ok(found.first().get_one()?.ok_or(ServerError::UnexpectedNull("pg_proc.prosqlbody"))?)
}

/// What a function uses that `definer` has no right to, with what he lacks.
pub fn lacking(client: &SpiClient<'_>, function: Oid, definer: Oid) -> Result<Option<String>, QueryError> {
    first(
        client,
        "SELECT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0) FROM pg_catalog.pg_depend AS d \
         WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = $1 \
             AND CASE d.refclassid \
                 WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN \
                     NOT pg_catalog.has_schema_privilege($2, \
                         (SELECT c.relnamespace FROM pg_catalog.pg_class AS c WHERE c.oid = d.refobjid), 'USAGE') \
                     OR NOT pg_catalog.has_table_privilege($2, d.refobjid, 'SELECT, INSERT, UPDATE, DELETE') \
                     AND NOT pg_catalog.has_any_column_privilege($2, d.refobjid, 'SELECT, INSERT, UPDATE') \
                 WHEN 'pg_catalog.pg_proc'::pg_catalog.regclass THEN \
                     NOT pg_catalog.has_function_privilege($2, d.refobjid, 'EXECUTE') \
                 ELSE false END \
         ORDER BY d.refobjid LIMIT 1",
        function,
        definer,
    )
}

/// What a function uses that somebody else than `definer` and the owners of the server could replace.
pub fn of_others(client: &SpiClient<'_>, function: Oid, definer: Oid) -> Result<Option<String>, QueryError> {
    first(
        client,
        "SELECT pg_catalog.pg_describe_object('pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, 0) \
         FROM pg_catalog.pg_depend AS d \
         LEFT JOIN pg_catalog.pg_operator AS o \
             ON d.refclassid = 'pg_catalog.pg_operator'::pg_catalog.regclass AND o.oid = d.refobjid \
         JOIN pg_catalog.pg_proc AS p ON p.oid = o.oprcode::pg_catalog.oid \
             OR d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid = d.refobjid \
         JOIN pg_catalog.pg_roles AS r ON r.oid = p.proowner \
         WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = $1 \
             AND p.proowner <> $2 AND NOT r.rolsuper \
         ORDER BY p.oid LIMIT 1",
        function,
        definer,
    )
}

/// What a function uses that is of this session only.
pub fn temporary(client: &SpiClient<'_>, function: Oid) -> Result<Option<String>, QueryError> {
    first(
        client,
        "SELECT pg_catalog.pg_describe_object(d.refclassid, d.refobjid, 0) \
         FROM pg_catalog.pg_depend AS d, \
             LATERAL pg_catalog.pg_identify_object(d.refclassid, d.refobjid, 0) AS i \
         WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = $1 AND $2 IS NOT NULL \
             AND (i.schema LIKE 'pg\\_temp%' OR EXISTS ( \
                 SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = d.refobjid AND c.relpersistence = 't' \
                     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass)) \
         ORDER BY d.refobjid LIMIT 1",
        function,
        function,
    )
}

fn first(
    client: &SpiClient<'_>,
    statement: &str,
    function: Oid,
    definer: Oid,
) -> Result<Option<String>, QueryError> {
    let found = client.select(statement, Some(1), &[function.into(), definer.into()])?;
    if found.is_empty() { Ok(None) } else { Ok(found.first().get_one()?) }
}

/// Drops a function that nothing depends on.
pub fn drop_function(client: &mut SpiClient<'_>, function: Oid) -> Result<(), QueryError> {
    let named = client.select(
        "SELECT pg_catalog.format('DROP FUNCTION %s', $1::pg_catalog.oid::pg_catalog.regprocedure)",
        Some(1),
        &[function.into()],
    )?;
    let statement: String = named.first().get_one()?.ok_or(ServerError::UnexpectedNull("regprocedure"))?;
    body::caught(|| client.update(&statement, None, &[]).map(|_| ())).map_err(QueryError::Needed)??;
    Ok(())
}

/// How a query is made.
pub struct Definition<'a> {
    pub name: &'a str,
    pub parameters: &'a [Parameter],
    /// Names and types.
    pub columns: &'a [(String, Oid)],
    pub statement: &'a str,
    pub volatile: bool,
    pub definer: Oid,
    pub description: Option<&'a str>,
}

/// Makes the function, or replaces the one that is there, and gives it to its definer.
pub fn make(client: &mut SpiClient<'_>, wanted: &Definition<'_>) -> Result<Oid, QueryError> {
    let column = |(name, type_id): &(String, Oid)| format!("{} {}", quoted(name), body::type_name(*type_id));
    let columns: Vec<String> = wanted.columns.iter().map(column).collect();
    let types: Vec<String> = wanted.parameters.iter().map(|p| body::type_name(p.type_id)).collect();
    let function = format!("{SCHEMA}.{}({})", identifier(wanted.name), types.join(", "));
    let make = format!(
        "CREATE OR REPLACE FUNCTION {SCHEMA}.{}({}) RETURNS TABLE ({}) LANGUAGE sql {} SECURITY DEFINER \
         SET search_path = pg_catalog, pg_temp BEGIN ATOMIC\n{}\n; END",
        identifier(wanted.name),
        declared(wanted.parameters),
        columns.join(", "),
        if wanted.volatile { "VOLATILE" } else { "STABLE" },
        wanted.statement
    );
    body::caught(|| client.update(&make, None, &[]).map(|_| ())).map_err(QueryError::Refused)??;
    // Whoever replaces a query does so with his own rights, not with those of the one before.
    let owner = String::from_utf8_lossy(&session::role_name(wanted.definer)).into_owned();
    client.update(&format!("ALTER FUNCTION {function} OWNER TO {}", quoted(&owner)), None, &[])?;
    client.update(&format!("REVOKE ALL ON FUNCTION {function} FROM PUBLIC"), None, &[])?;
    let comment = wanted.description.map_or_else(|| "NULL".to_owned(), literal);
    client.update(&format!("COMMENT ON FUNCTION {function} IS {comment}"), None, &[])?;
    match catalog::functions(SCHEMA, &[wanted.name]).as_slice() {
        [function] => Ok(*function),
        _ => Err(ServerError::UnexpectedNull("pg_proc.oid").into()),
    }
}

/// An identifier, quoted whatever it is.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes down what was defined.
pub fn put(
    client: &mut SpiClient<'_>,
    wanted: &Definition<'_>,
    function: Oid,
    writes: bool,
    person: Option<(&str, &str)>,
) -> Result<(), QueryError> {
    client.update(
        "INSERT INTO custodian.named_query AS q (name, function_id, parameters, query, description, writes, \
                defined_by, defined_by_issuer) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
         ON CONFLICT (name) DO UPDATE SET function_id = excluded.function_id, numbered_in = access.numbering(), \
                parameters = excluded.parameters, query = excluded.query, description = excluded.description, \
                writes = excluded.writes, defined_at = now(), defined_by = excluded.defined_by, \
                defined_by_issuer = excluded.defined_by_issuer, defined_by_role = session_user",
        None,
        &[
            wanted.name.into(),
            function.into(),
            declared(wanted.parameters).into(),
            wanted.statement.into(),
            wanted.description.into(),
            writes.into(),
            person.map(|(_, user_id)| user_id).into(),
            person.map(|(issuer, _)| issuer).into(),
        ],
    )?;
    Ok(())
}

/// Forgets a query; false if there was none of that name.
pub fn remove(client: &mut SpiClient<'_>, name: &str) -> Result<bool, QueryError> {
    let removed = client.update(
        "DELETE FROM custodian.named_query WHERE name = $1 RETURNING true",
        None,
        &[name.into()],
    )?;
    Ok(!removed.is_empty())
}
