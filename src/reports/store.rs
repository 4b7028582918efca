//! The SQL of reports.

use super::ReportsError;
use pgrx::spi::SpiClient;

fn texts(client: &SpiClient<'_>, query: &str) -> Result<Vec<String>, ReportsError> {
    let mut found = Vec::new();
    for row in client.select(query, None, &[])? {
        found.extend(row.get::<String>(1)?);
    }
    Ok(found)
}

/// Guards of the ledger that are missing, or do not fire always. They are told by what they fire for (pg_trigger.h:
/// BEFORE is 2, ROW 1, INSERT 4, DELETE 8, UPDATE 16, TRUNCATE 32).
pub fn guards_down(client: &SpiClient<'_>) -> Result<Vec<String>, ReportsError> {
    texts(
        client,
        "SELECT pg_catalog.format('%s on audit.%s', g.guard, c.relname) \
         FROM pg_catalog.pg_class AS c \
         CROSS JOIN (VALUES ('append_only', 30), ('append_only_row', 31), ('no_truncate', 34)) AS g (guard, fires) \
         WHERE c.relnamespace = pg_catalog.to_regnamespace('audit') AND c.relkind IN ('r', 'p') \
           AND NOT EXISTS ( \
             SELECT FROM pg_catalog.pg_trigger AS t \
             WHERE t.tgrelid = c.oid AND t.tgtype = g.fires AND t.tgenabled = 'A' AND t.tgqual IS NULL \
               AND t.tgattr = '' AND t.tgfoid = pg_catalog.to_regprocedure('audit.refuse_change()')) \
         ORDER BY 1",
    )
}

/// Enrolled roles that are superusers.
pub fn superusers(client: &SpiClient<'_>) -> Result<Vec<String>, ReportsError> {
    texts(
        client,
        "SELECT r.rolname::text FROM custodian.enrolled_role AS e \
         JOIN pg_catalog.pg_roles AS r ON r.oid = e.role WHERE r.rolsuper ORDER BY 1",
    )
}

/// Enrolled roles that do not exist any more.
pub fn dropped(client: &SpiClient<'_>) -> Result<Vec<String>, ReportsError> {
    texts(
        client,
        "SELECT e.role::oid::text FROM custodian.enrolled_role AS e \
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = e.role) ORDER BY 1",
    )
}

/// Enrolled roles with a way around masks or grants, each with what it has.
pub fn bypassing(client: &SpiClient<'_>) -> Result<Vec<String>, ReportsError> {
    texts(
        client,
        "SELECT pg_catalog.format('%s (%s)', r.rolname, pg_catalog.string_agg(w.way, ', ' ORDER BY w.way)) \
         FROM custodian.enrolled_role AS e \
         JOIN pg_catalog.pg_roles AS r ON r.oid = e.role \
         JOIN LATERAL ( \
             SELECT 'BYPASSRLS' AS way WHERE r.rolbypassrls \
             UNION ALL SELECT 'CREATEROLE' WHERE r.rolcreaterole \
             UNION ALL SELECT 'REPLICATION' WHERE r.rolreplication \
             UNION ALL \
             SELECT 'member of ' || m.rolname FROM pg_catalog.pg_roles AS m \
             WHERE m.rolname IN ('pg_read_all_data', 'pg_write_all_data', 'pg_read_server_files', \
                                 'pg_write_server_files', 'pg_execute_server_program', 'custodian_admin') \
               AND pg_catalog.pg_has_role(r.oid, m.oid, 'MEMBER')) AS w ON true \
         WHERE NOT r.rolsuper GROUP BY r.rolname ORDER BY 1",
    )
}

/// Enrolled roles that may read a protected column beside its masked view.
pub fn unmasked(client: &SpiClient<'_>) -> Result<Vec<String>, ReportsError> {
    texts(
        client,
        "SELECT pg_catalog.format('%s on %s.%s', r.rolname, p.relation, a.attname) \
         FROM custodian.enrolled_role AS e \
         JOIN pg_catalog.pg_roles AS r ON r.oid = e.role \
         CROSS JOIN mask.policy AS p \
         JOIN pg_catalog.pg_attribute AS a \
           ON a.attrelid = p.relation AND a.attnum = p.attnum AND NOT a.attisdropped \
         WHERE NOT r.rolsuper AND pg_catalog.has_column_privilege(r.oid, p.relation, p.attnum, 'SELECT') \
         ORDER BY 1",
    )
}

/// Whether a role is enrolled that needs a person.
pub fn anybody_needed(client: &SpiClient<'_>) -> Result<bool, ReportsError> {
    let found =
        texts(client, "SELECT e.mode FROM custodian.enrolled_role AS e WHERE e.mode <> 'observe' LIMIT 1")?;
    Ok(!found.is_empty())
}

/// Whether commits reach the disk.
pub fn fsync(client: &SpiClient<'_>) -> Result<bool, ReportsError> {
    Ok(texts(client, "SELECT pg_catalog.current_setting('fsync')")? == ["on"])
}
