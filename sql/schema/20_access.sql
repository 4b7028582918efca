-- Access that ends by itself: grants on file, and who holds which now.

-- ---------------------------------------------------------------------------------------------
-- Grants
-- ---------------------------------------------------------------------------------------------

-- Of which server, database and installation numbers of objects are: a dump that was restored and a server that was
-- upgraded have numbered schemas, columns and functions anew.
CREATE FUNCTION access.numbering() RETURNS text
    LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'access_numbering_wrapper';
REVOKE ALL ON FUNCTION access.numbering() FROM PUBLIC;
COMMENT ON FUNCTION access.numbering() IS 'Names the server, the database and the installation of pg_custodian in which numbers of objects hold';

-- regclass and not oid: a dump then carries names, which are right in the cluster it is restored into. Schemas, columns
-- and functions by number and name: the number is the object, as long as numbered_in is access.numbering(); the name,
-- which follows the object, finds it in a dump that was restored. (pg_upgrade refuses regnamespace and
-- regprocedure.) Ended grants stay: they are the history of who was allowed what.
CREATE TABLE access.issued_grant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text CHECK (user_id <> ''),
    issuer text CHECK (issuer <> ''),
    group_name text CHECK (group_name <> ''),
    privileges text[] NOT NULL CHECK (
        cardinality(privileges) > 0
        AND privileges <@ ARRAY['select', 'insert', 'update', 'delete', 'truncate', 'execute', 'ddl', 'reveal', 'export']
    ),
    object_type text NOT NULL CHECK (object_type IN ('database', 'schema', 'table', 'column', 'query')),
    object_name text NOT NULL,
    numbered_in text NOT NULL DEFAULT access.numbering(),
    schema_id oid,
    schema_name text,
    relation_id regclass,
    column_number smallint CHECK (column_number > 0),
    column_name text,
    function_id oid,
    function_name text,
    row_filter text CHECK (row_filter <> ''),
    row_predicate text,
    row_columns smallint[],
    row_column_names text[],
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    ticket text,
    granted_by text,
    granted_by_issuer text,
    granted_by_role text NOT NULL DEFAULT session_user,
    revoked_at timestamptz,
    revoked_by text,
    revoked_by_issuer text,
    revoked_by_role text,
    revoke_reason text CHECK (revoke_reason <> ''),
    CONSTRAINT a_person_or_a_group CHECK ((user_id IS NULL) <> (group_name IS NULL)),
    CONSTRAINT one_object CHECK (
        (object_type = 'schema') = (schema_name IS NOT NULL)
        AND (object_type IN ('table', 'column')) = (relation_id IS NOT NULL)
        AND (object_type = 'column') = (column_name IS NOT NULL)
        AND (object_type = 'query') = (function_name IS NOT NULL)
    ),
    CONSTRAINT rows_of_a_table CHECK (
        (row_filter IS NULL) = (row_predicate IS NULL)
        AND (row_filter IS NULL) = (row_column_names IS NULL)
        AND (row_filter IS NULL OR object_type = 'table')
    ),
    CONSTRAINT an_end CHECK (isfinite(starts_at) AND isfinite(ends_at) AND ends_at > starts_at),
    CONSTRAINT a_reasoned_revocation CHECK (
        (revoked_at IS NULL) = (revoke_reason IS NULL) AND (revoked_at IS NULL) = (revoked_by_role IS NULL)
    )
);
REVOKE ALL ON access.issued_grant FROM PUBLIC;
COMMENT ON TABLE access.issued_grant IS 'Grants on file, also those that ended; written by access.grant_access and access.revoke_access, shown by access.grants';
COMMENT ON COLUMN access.issued_grant.id IS 'Number of the grant, by which events name it';
COMMENT ON COLUMN access.issued_grant.user_id IS 'The person who holds it; NULL: a group does';
COMMENT ON COLUMN access.issued_grant.issuer IS 'Only if this issuer vouches for the person or the group; NULL: whichever trusted issuer does';
COMMENT ON COLUMN access.issued_grant.group_name IS 'The group whose members hold it; NULL: a person does';
COMMENT ON COLUMN access.issued_grant.privileges IS 'What it permits: select, insert, update, delete, truncate, execute, ddl, reveal, export';
COMMENT ON COLUMN access.issued_grant.object_type IS 'database, schema, table, column or query';
COMMENT ON COLUMN access.issued_grant.object_name IS 'The object as it was called when access was granted';
COMMENT ON COLUMN access.issued_grant.numbered_in IS 'Where the numbers below hold (access.numbering()); elsewhere the names do';
COMMENT ON COLUMN access.issued_grant.schema_id IS 'The schema, for object_type schema';
COMMENT ON COLUMN access.issued_grant.schema_name IS 'Its name, which follows it';
COMMENT ON COLUMN access.issued_grant.relation_id IS 'The table or view, for object_type table and column';
COMMENT ON COLUMN access.issued_grant.column_number IS 'The column, for object_type column';
COMMENT ON COLUMN access.issued_grant.column_name IS 'Its name, which follows it';
COMMENT ON COLUMN access.issued_grant.function_id IS 'The function in schema queries, for object_type query';
COMMENT ON COLUMN access.issued_grant.function_name IS 'Its name, which follows it';
COMMENT ON COLUMN access.issued_grant.row_filter IS 'The rows of the table that are meant, as they were asked for; NULL: all';
COMMENT ON COLUMN access.issued_grant.row_predicate IS 'The same with $1, $2, ... for columns';
COMMENT ON COLUMN access.issued_grant.row_columns IS 'The numbers of these columns';
COMMENT ON COLUMN access.issued_grant.row_column_names IS 'Their names, which follow them';
COMMENT ON COLUMN access.issued_grant.starts_at IS 'First moment at which it permits anything';
COMMENT ON COLUMN access.issued_grant.ends_at IS 'First moment at which it permits nothing any more';
COMMENT ON COLUMN access.issued_grant.reason IS 'What the access is for';
COMMENT ON COLUMN access.issued_grant.ticket IS 'Where the need is written down';
COMMENT ON COLUMN access.issued_grant.granted_by IS 'The person who granted it; NULL: nobody had identified';
COMMENT ON COLUMN access.issued_grant.granted_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN access.issued_grant.granted_by_role IS 'The role of the session that granted it';
COMMENT ON COLUMN access.issued_grant.revoked_at IS 'When it was ended before its time';
COMMENT ON COLUMN access.issued_grant.revoked_by IS 'The person who ended it; NULL: nobody had identified';
COMMENT ON COLUMN access.issued_grant.revoked_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN access.issued_grant.revoked_by_role IS 'The role of the session that ended it';
COMMENT ON COLUMN access.issued_grant.revoke_reason IS 'Why it was ended';
COMMENT ON CONSTRAINT a_person_or_a_group ON access.issued_grant IS 'Somebody holds it, and it is clear who';
COMMENT ON CONSTRAINT one_object ON access.issued_grant IS 'The identity of the object fits its type';
COMMENT ON CONSTRAINT rows_of_a_table ON access.issued_grant IS 'Rows are those of one table';
COMMENT ON CONSTRAINT an_end ON access.issued_grant IS 'No access without an end';
COMMENT ON CONSTRAINT a_reasoned_revocation ON access.issued_grant IS 'A revocation says when, by whom and why';

SELECT pg_catalog.pg_extension_config_dump('access.issued_grant', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('access.issued_grant', 'id')::pg_catalog.regclass, '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON access.issued_grant
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE access.issued_grant ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON access.issued_grant IS 'Every session reads its grants anew once a change is committed, whoever made it';

-- ---------------------------------------------------------------------------------------------
-- Functions
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION access.grant_access(
    user_id text,
    privileges text[],
    on_object text,
    duration interval,
    reason text,
    ticket text DEFAULT NULL,
    rows text DEFAULT NULL,
    group_name text DEFAULT NULL,
    issuer text DEFAULT NULL,
    starts_at timestamptz DEFAULT NULL
) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'grant_access_wrapper';
REVOKE ALL ON FUNCTION access.grant_access(text, text[], text, interval, text, text, text, text, text, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION access.grant_access(text, text[], text, interval, text, text, text, text, text, timestamptz) IS 'Grants a person (or, with NULL as user_id, a group) access to DATABASE, SCHEMA s, TABLE s.t (all or some rows), COLUMN s.t.c or QUERY q from now or starts_at on, for at most 30 days; returns the number of the grant';

CREATE FUNCTION access.revoke_access(grant_id bigint, reason text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'revoke_access_wrapper';
REVOKE ALL ON FUNCTION access.revoke_access(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION access.revoke_access(bigint, text) IS 'Ends a grant before its time: from the next statement on it permits nothing';

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

CREATE VIEW access.grants WITH (security_barrier) AS
SELECT g.id,
       g.user_id,
       g.issuer,
       g.group_name,
       g.privileges,
       g.object_type,
       coalesce(o.name, g.object_name || ' (dropped)') AS object,
       g.row_filter AS rows,
       g.starts_at,
       g.ends_at,
       g.reason,
       g.ticket,
       coalesce(g.granted_by, g.granted_by_role) AS granted_by,
       g.revoked_at,
       coalesce(g.revoked_by, g.revoked_by_role) AS revoked_by,
       g.revoke_reason,
       g.revoked_at IS NULL
           AND g.starts_at <= pg_catalog.clock_timestamp()
           AND g.ends_at > pg_catalog.clock_timestamp()
           AND o.name IS NOT NULL
           AND (g.row_filter IS NULL OR pg_catalog.cardinality(g.row_column_names) = (
               SELECT pg_catalog.count(*)
               FROM pg_catalog.pg_attribute AS a
               WHERE a.attrelid = g.relation_id AND a.attnum > 0 AND NOT a.attisdropped
                   AND CASE WHEN g.numbered_in = access.numbering() THEN a.attnum = ANY (g.row_columns)
                       ELSE a.attname::text = ANY (g.row_column_names) END
           )) AS live
FROM access.issued_grant AS g
LEFT JOIN LATERAL (
    SELECT CASE g.object_type
        WHEN 'database' THEN 'DATABASE'
        WHEN 'schema' THEN (
            SELECT 'SCHEMA ' || pg_catalog.quote_ident(n.nspname)
            FROM pg_catalog.pg_namespace AS n
            WHERE CASE WHEN g.numbered_in = access.numbering() THEN n.oid = g.schema_id
                ELSE n.nspname = g.schema_name END
        )
        WHEN 'query' THEN (
            SELECT 'QUERY ' || pg_catalog.quote_ident(min(p.proname::text))
            FROM pg_catalog.pg_proc AS p
            JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
            WHERE n.nspname = 'queries' AND CASE WHEN g.numbered_in = access.numbering() THEN p.oid = g.function_id
                ELSE p.proname = g.function_name END
            HAVING pg_catalog.count(*) = 1
        )
        ELSE (
            SELECT pg_catalog.upper(g.object_type) || ' ' || pg_catalog.quote_ident(s.nspname) || '.'
                || pg_catalog.quote_ident(c.relname) || coalesce('.' || pg_catalog.quote_ident(a.attname), '')
            FROM pg_catalog.pg_class AS c
            JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
            LEFT JOIN pg_catalog.pg_attribute AS a ON g.object_type = 'column' AND a.attrelid = c.oid
                AND a.attnum > 0 AND NOT a.attisdropped
                AND CASE WHEN g.numbered_in = access.numbering() THEN a.attnum = g.column_number
                    ELSE a.attname = g.column_name END
            WHERE c.oid = g.relation_id AND (g.object_type = 'table' OR a.attnum IS NOT NULL)
        )
    END AS name
) AS o ON true;
REVOKE ALL ON access.grants FROM PUBLIC;
COMMENT ON VIEW access.grants IS 'All grants, also those that ended, with the present names of their objects';
COMMENT ON COLUMN access.grants.id IS 'Number of the grant, for access.revoke_access';
COMMENT ON COLUMN access.grants.user_id IS 'The person who holds it; NULL: a group does';
COMMENT ON COLUMN access.grants.issuer IS 'Only if this issuer vouches for the holder; NULL: whichever trusted issuer does';
COMMENT ON COLUMN access.grants.group_name IS 'The group whose members hold it; NULL: a person does';
COMMENT ON COLUMN access.grants.privileges IS 'What it permits';
COMMENT ON COLUMN access.grants.object_type IS 'database, schema or table';
COMMENT ON COLUMN access.grants.object IS 'What it is on, as access.grant_access takes it';
COMMENT ON COLUMN access.grants.rows IS 'Which rows of the table, as it was asked for; NULL: all. A column that is renamed later is still the one that is meant';
COMMENT ON COLUMN access.grants.starts_at IS 'First moment at which it permits anything';
COMMENT ON COLUMN access.grants.ends_at IS 'First moment at which it permits nothing any more';
COMMENT ON COLUMN access.grants.reason IS 'What the access is for';
COMMENT ON COLUMN access.grants.ticket IS 'Where the need is written down';
COMMENT ON COLUMN access.grants.granted_by IS 'The person who granted it, or else the role of the session';
COMMENT ON COLUMN access.grants.revoked_at IS 'When it was ended before its time';
COMMENT ON COLUMN access.grants.revoked_by IS 'The person who ended it, or else the role of the session';
COMMENT ON COLUMN access.grants.revoke_reason IS 'Why it was ended';
COMMENT ON COLUMN access.grants.live IS 'Whether it permits anything now';

CREATE VIEW access.my_grants WITH (security_barrier) AS
SELECT g.id,
       g.group_name,
       g.privileges,
       g.object_type,
       g.object,
       g.rows,
       g.starts_at,
       g.ends_at,
       g.reason,
       g.ticket,
       g.granted_by,
       g.revoked_at,
       g.revoke_reason,
       g.live
FROM access.grants AS g,
     (SELECT p.issuer, p.user_id, p.groups FROM custodian.whoami() AS p) AS me
WHERE (g.user_id = me.user_id OR g.group_name = ANY (me.groups))
  AND (g.issuer IS NULL OR g.issuer = me.issuer);
REVOKE ALL ON access.my_grants FROM PUBLIC;
COMMENT ON VIEW access.my_grants IS 'The grants of the person of this session, by name or by group; empty without a person';
COMMENT ON COLUMN access.my_grants.id IS 'Number of the grant';
COMMENT ON COLUMN access.my_grants.group_name IS 'The group through which the person holds it; NULL: by name';
COMMENT ON COLUMN access.my_grants.privileges IS 'What it permits';
COMMENT ON COLUMN access.my_grants.object_type IS 'database, schema or table';
COMMENT ON COLUMN access.my_grants.object IS 'What it is on';
COMMENT ON COLUMN access.my_grants.rows IS 'Which rows of the table; NULL: all';
COMMENT ON COLUMN access.my_grants.starts_at IS 'First moment at which it permits anything';
COMMENT ON COLUMN access.my_grants.ends_at IS 'First moment at which it permits nothing any more';
COMMENT ON COLUMN access.my_grants.reason IS 'What the access is for';
COMMENT ON COLUMN access.my_grants.ticket IS 'Where the need is written down';
COMMENT ON COLUMN access.my_grants.granted_by IS 'Who granted it';
COMMENT ON COLUMN access.my_grants.revoked_at IS 'When it was ended before its time';
COMMENT ON COLUMN access.my_grants.revoke_reason IS 'Why it was ended';
COMMENT ON COLUMN access.my_grants.live IS 'Whether it permits anything now';

