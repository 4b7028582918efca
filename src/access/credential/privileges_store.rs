//! The SQL privileges of a credential: those of its grant, as far as the role on which it was asked for has them.

use super::error::CredentialError;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// What the grant is on: its relations (a table's masked view too), schemas and functions. Of a database all schemas but
/// the server's and ours, whose own rights rule there.
const SCOPE: &str = "WITH wanted AS (
    SELECT g.object_type, g.privileges, g.relation_id::pg_catalog.oid AS relation, g.column_number, g.function_id,
           CASE g.object_type
               WHEN 'schema' THEN ARRAY[g.schema_id]
               WHEN 'database' THEN ARRAY(SELECT n.oid FROM pg_catalog.pg_namespace AS n
                   WHERE n.nspname <> ALL (ARRAY['information_schema', 'custodian', 'access', 'mask', 'audit'])
                       AND NOT pg_catalog.starts_with(n.nspname::text, 'pg_'))
           END AS schemas
    FROM access.issued_grant AS g WHERE g.id = $1
), named AS (
    SELECT c.oid, w.column_number AS only_column FROM wanted AS w JOIN pg_catalog.pg_class AS c
        ON c.oid = w.relation OR c.relnamespace = ANY (w.schemas)
    WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
), relations AS (
    SELECT c.oid, c.relkind, c.relnamespace, n.nspname, c.relname, a.attnum AS only_column
    FROM (SELECT named.oid, named.only_column, NULL::pg_catalog.oid AS shows FROM named
          UNION
          SELECT v.view::pg_catalog.oid, named.only_column, named.oid FROM named
              JOIN mask.generated_view AS v ON v.relation = named.oid) AS u
        JOIN pg_catalog.pg_class AS c ON c.oid = u.oid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        -- a view's columns have their own numbers
        LEFT JOIN pg_catalog.pg_attribute AS t ON t.attrelid = coalesce(u.shows, u.oid) AND t.attnum = u.only_column
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = u.oid AND a.attname = t.attname AND NOT a.attisdropped
    WHERE u.only_column IS NULL OR a.attnum IS NOT NULL
), functions AS (
    SELECT p.oid, p.pronamespace FROM wanted AS w JOIN pg_catalog.pg_proc AS p
        ON p.oid = w.function_id OR p.pronamespace = ANY (w.schemas)
    WHERE 'execute' = ANY (w.privileges) AND pg_catalog.has_function_privilege($2, p.oid, 'EXECUTE')
), privileges AS (
    SELECT pg_catalog.upper(p.name) AS name FROM wanted AS w, pg_catalog.unnest(w.privileges) AS p (name)
), ";

/// What is to be granted, a statement each; the first column says whether it is of any use by itself. CASE because what is
/// no sequence must not be asked about as one, in whichever order conditions are looked at.
const STATEMENTS: &str = "given AS (
    SELECT true AS useful, pg_catalog.format('GRANT %s ON TABLE %I.%I TO %I',
               pg_catalog.string_agg(p.name, ', '), r.nspname, r.relname, $3) AS statement, r.relnamespace
    FROM relations AS r, privileges AS p
    WHERE r.relkind <> 'S' AND r.only_column IS NULL AND p.name IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
        AND pg_catalog.has_table_privilege($2, r.oid, p.name)
    GROUP BY r.nspname, r.relname, r.relnamespace
    UNION ALL
    SELECT true, pg_catalog.format('GRANT %s (%s) ON TABLE %I.%I TO %I', p.name,
               pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', '), r.nspname, r.relname, $3), r.relnamespace
    FROM relations AS r
        JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped,
        privileges AS p
    WHERE r.relkind <> 'S' AND p.name IN ('SELECT', 'INSERT', 'UPDATE') AND a.attnum = coalesce(r.only_column, a.attnum)
        AND (r.only_column IS NOT NULL OR NOT pg_catalog.has_table_privilege($2, r.oid, p.name))
        AND pg_catalog.has_column_privilege($2, r.oid, a.attnum, p.name)
    GROUP BY p.name, r.nspname, r.relname, r.relnamespace
    UNION ALL
    SELECT true, pg_catalog.format('GRANT %s ON SEQUENCE %I.%I TO %I', s.name, r.nspname, r.relname, $3), r.relnamespace
    FROM relations AS r, privileges AS p,
        (VALUES ('SELECT', 'SELECT'), ('UPDATE', 'UPDATE'), ('INSERT', 'USAGE')) AS s (needs, name)
    WHERE p.name = s.needs
        AND CASE r.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege($2, r.oid, s.name) END
    UNION ALL
    -- of a column's default
    SELECT DISTINCT false, pg_catalog.format('GRANT USAGE ON SEQUENCE %I.%I TO %I', n.nspname, s.relname, $3), s.relnamespace
    FROM relations AS r
        JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid
            AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'a'
        JOIN pg_catalog.pg_class AS s ON s.oid = d.objid
        JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace
    WHERE EXISTS (SELECT FROM privileges AS p WHERE p.name = 'INSERT')
        AND CASE s.relkind WHEN 'S' THEN pg_catalog.has_sequence_privilege($2, s.oid, 'USAGE') END
    UNION ALL
    -- what everybody may call needs no statement
    SELECT true, CASE WHEN NOT pg_catalog.has_function_privilege('public', f.oid, 'EXECUTE') THEN
               pg_catalog.format('GRANT EXECUTE ON ROUTINE %s TO %I', f.oid::pg_catalog.regprocedure, $3) END, f.pronamespace
    FROM functions AS f
    UNION ALL
    SELECT true, pg_catalog.format('GRANT CREATE ON SCHEMA %I TO %I', n.nspname, $3), n.oid
    FROM wanted AS w JOIN pg_catalog.pg_namespace AS n ON n.oid = ANY (w.schemas)
    WHERE 'ddl' = ANY (w.privileges) AND pg_catalog.has_schema_privilege($2, n.oid, 'CREATE')
    UNION ALL
    SELECT true, pg_catalog.format('GRANT CREATE ON DATABASE %I TO %I', pg_catalog.current_database(), $3), NULL
    FROM wanted AS w WHERE w.object_type = 'database' AND 'ddl' = ANY (w.privileges)
        AND pg_catalog.has_database_privilege($2, pg_catalog.current_database(), 'CREATE')
)
SELECT useful, statement FROM given
UNION ALL
SELECT DISTINCT false, pg_catalog.format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $3)
FROM given JOIN pg_catalog.pg_namespace AS n ON n.oid = given.relnamespace
WHERE pg_catalog.has_schema_privilege($2, n.oid, 'USAGE')
UNION ALL
SELECT false, pg_catalog.format('GRANT CONNECT ON DATABASE %I TO %I', pg_catalog.current_database(), $3)";

/// Gives `role` what grant `grant` permits and `ceiling` has; returns how many things that are.
pub fn give(
    client: &mut SpiClient<'_>,
    grant: i64,
    role: &str,
    ceiling: Oid,
) -> Result<usize, CredentialError> {
    crate::access::store::renumber(client)?;
    let query = [SCOPE, STATEMENTS].concat();
    let (mut useful, mut statements) = (0, Vec::new());
    for row in client.select(&query, None, &[grant.into(), ceiling.into(), role.into()])? {
        useful += usize::from(row.get::<bool>(1)?.unwrap_or(false));
        statements.extend(row.get::<String>(2)?);
    }
    for statement in statements {
        client.update(&statement, None, &[])?;
    }
    Ok(useful)
}
