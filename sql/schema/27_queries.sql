-- Named queries: functions that people call instead of writing SQL.

CREATE SCHEMA queries;
COMMENT ON SCHEMA queries IS 'pg_custodian: named queries, made by custodian.define_query';

-- The function by number and name, as in access.issued_grant. Names of roles, not numbers: they are history.
CREATE TABLE custodian.named_query (
    name text PRIMARY KEY CHECK (name <> ''),
    function_id oid NOT NULL,
    numbered_in text NOT NULL DEFAULT access.numbering(),
    parameters text NOT NULL,
    query text NOT NULL CHECK (query <> ''),
    description text,
    writes boolean NOT NULL,
    defined_at timestamptz NOT NULL DEFAULT now(),
    defined_by text,
    defined_by_issuer text,
    defined_by_role text NOT NULL DEFAULT session_user
);
REVOKE ALL ON custodian.named_query FROM PUBLIC;
COMMENT ON TABLE custodian.named_query IS 'Functions in schema queries that were defined by custodian.define_query; shown by custodian.queries';
COMMENT ON COLUMN custodian.named_query.name IS 'Name of the query, and of its function when it was defined';
COMMENT ON COLUMN custodian.named_query.function_id IS 'The function';
COMMENT ON COLUMN custodian.named_query.numbered_in IS 'Where function_id holds (access.numbering()); elsewhere the name does';
COMMENT ON COLUMN custodian.named_query.parameters IS 'Its parameters, as they were given';
COMMENT ON COLUMN custodian.named_query.query IS 'The statement, as it was given';
COMMENT ON COLUMN custodian.named_query.description IS 'What it is for';
COMMENT ON COLUMN custodian.named_query.writes IS 'Whether it changes data';
COMMENT ON COLUMN custodian.named_query.defined_at IS 'When it was last defined';
COMMENT ON COLUMN custodian.named_query.defined_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN custodian.named_query.defined_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN custodian.named_query.defined_by_role IS 'The role of the session that did so';

SELECT pg_catalog.pg_extension_config_dump('custodian.named_query', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON custodian.named_query
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE custodian.named_query ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON custodian.named_query IS 'A row restored or edited by hand acts like one written by the functions';

CREATE FUNCTION custodian.define_query(name text, parameters text, query text, description text DEFAULT NULL)
    RETURNS regprocedure
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'define_query_wrapper';
REVOKE ALL ON FUNCTION custodian.define_query(text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.define_query(text, text, text, text) IS 'Makes a typed function in schema queries of one statement, or replaces it; it runs with the rights of the role that calls this';

CREATE FUNCTION custodian.drop_query(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'drop_query_wrapper';
REVOKE ALL ON FUNCTION custodian.drop_query(text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.drop_query(text) IS 'Drops a named query; its grants permit nothing any more';

CREATE VIEW custodian.queries WITH (security_barrier) AS
SELECT p.proname::text AS name,
       pg_catalog.pg_get_function_arguments(p.oid) AS parameters,
       pg_catalog.pg_get_function_result(p.oid) AS result,
       q.description,
       q.writes,
       pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AS may_execute,
       q.query,
       pg_catalog.pg_get_userbyid(p.proowner)::text AS definer,
       q.defined_at,
       coalesce(q.defined_by, q.defined_by_role) AS defined_by,
       p.oid::pg_catalog.regprocedure AS function
FROM custodian.named_query AS q
JOIN pg_catalog.pg_namespace AS n ON n.nspname = 'queries'
JOIN pg_catalog.pg_proc AS p ON p.pronamespace = n.oid
    AND CASE WHEN q.numbered_in = access.numbering() THEN p.oid = q.function_id
        ELSE p.proname = q.name END;
REVOKE ALL ON custodian.queries FROM PUBLIC;
COMMENT ON VIEW custodian.queries IS 'Named queries; called as SELECT * FROM queries.name(...)';
COMMENT ON COLUMN custodian.queries.name IS 'Name of the query, in schema queries';
COMMENT ON COLUMN custodian.queries.parameters IS 'Names and types of its parameters';
COMMENT ON COLUMN custodian.queries.result IS 'Names and types of the columns that it returns';
COMMENT ON COLUMN custodian.queries.description IS 'What it is for';
COMMENT ON COLUMN custodian.queries.writes IS 'Whether it changes data';
COMMENT ON COLUMN custodian.queries.may_execute IS 'Whether the role that asks has the privilege EXECUTE on it';
COMMENT ON COLUMN custodian.queries.query IS 'The statement, as it was given';
COMMENT ON COLUMN custodian.queries.definer IS 'The role with whose rights it runs';
COMMENT ON COLUMN custodian.queries.defined_at IS 'When it was last defined';
COMMENT ON COLUMN custodian.queries.defined_by IS 'The person who did so, or else the role of the session';
COMMENT ON COLUMN custodian.queries.function IS 'Its function';
