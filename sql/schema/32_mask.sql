-- Masking: policies, and the views that show masked tables.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

-- regclass, not oid: a dump then carries names, which are right in the cluster it is restored into. Schemas by name,
-- because pg_upgrade numbers them anew; a schema that is renamed takes its policies along.
CREATE TABLE mask.policy (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation regclass,
    attnum smallint CHECK (attnum > 0),
    numbered_in oid,
    column_name text,
    schema_name text CHECK (schema_name <> ''),
    pattern text CHECK (pattern <> ''),
    place integer NOT NULL CHECK (place > 0),
    for_groups text[] NOT NULL DEFAULT '{}' CHECK (array_position(for_groups, NULL) IS NULL),
    masking text NOT NULL CHECK (masking <> ''),
    reveal_to text[] NOT NULL CHECK (array_position(reveal_to, NULL) IS NULL),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text,
    created_by_role text NOT NULL DEFAULT session_user,
    CONSTRAINT a_column_or_a_pattern CHECK (
        (relation IS NULL) = (schema_name IS NOT NULL)
        AND (relation IS NULL) = (pattern IS NOT NULL)
        AND (relation IS NULL) = (attnum IS NULL)
        AND (relation IS NULL) = (numbered_in IS NULL)
        AND (relation IS NULL) = (column_name IS NULL)
    ),
    -- at the end of a statement, which may number several columns anew
    UNIQUE (relation, attnum, for_groups) DEFERRABLE INITIALLY IMMEDIATE,
    UNIQUE (schema_name, pattern, for_groups)
);
REVOKE ALL ON mask.policy FROM PUBLIC;
COMMENT ON TABLE mask.policy IS 'How columns are masked and to whom they are revealed; written by mask.protect and mask.protect_matching, shown by mask.policies';
COMMENT ON COLUMN mask.policy.id IS 'Number of the policy, by which masked views name it; it keeps its number when it is changed';
COMMENT ON COLUMN mask.policy.relation IS 'The table; NULL: the policy is a default for a schema';
COMMENT ON COLUMN mask.policy.attnum IS 'The column''s number in the table';
COMMENT ON COLUMN mask.policy.numbered_in IS 'The table''s OID when the column was numbered: if it is another one, a dump was restored, which keeps names and numbers columns anew';
COMMENT ON COLUMN mask.policy.column_name IS 'The column''s name when the policy or the view was last written';
COMMENT ON COLUMN mask.policy.schema_name IS 'The schema, of a default: all its tables, those to come too';
COMMENT ON COLUMN mask.policy.pattern IS 'The names of columns that a default is for, as ILIKE has them';
COMMENT ON COLUMN mask.policy.place IS 'Of several policies for groups the one with the lowest place counts; so do defaults for everybody else';
COMMENT ON COLUMN mask.policy.for_groups IS 'Groups whose members it is for, in order; empty: everybody else';
COMMENT ON COLUMN mask.policy.masking IS 'What mask.protect takes as masking';
COMMENT ON COLUMN mask.policy.reveal_to IS 'Groups whose members see the column in the clear, if the policy is for them';
COMMENT ON COLUMN mask.policy.created_at IS 'When the policy was last written';
COMMENT ON COLUMN mask.policy.created_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN mask.policy.created_by_role IS 'The role of the session that did so';
COMMENT ON CONSTRAINT a_column_or_a_pattern ON mask.policy IS 'A policy is for a column of a table, or a default for names in a schema';

CREATE TABLE mask.generated_view (
    view regclass PRIMARY KEY,
    relation regclass NOT NULL UNIQUE,
    generated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generated_by_role text NOT NULL DEFAULT session_user
);
REVOKE ALL ON mask.generated_view FROM PUBLIC;
COMMENT ON TABLE mask.generated_view IS 'Views in schema masked and the tables they show; written by mask.generate_view';
COMMENT ON COLUMN mask.generated_view.view IS 'The view';
COMMENT ON COLUMN mask.generated_view.relation IS 'The table it shows';
COMMENT ON COLUMN mask.generated_view.generated_at IS 'When the view was last made';
COMMENT ON COLUMN mask.generated_view.generated_by_role IS 'The role of the session that made it';

CREATE TABLE mask.aggregate_view (
    view regclass PRIMARY KEY,
    relation regclass NOT NULL UNIQUE,
    dimensions text[] NOT NULL,
    numbers smallint[] NOT NULL,
    numbered_in oid NOT NULL,
    measures text[] NOT NULL,
    minimum_group integer NOT NULL CHECK (minimum_group > 1),
    generated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generated_by_role text NOT NULL DEFAULT session_user
);
REVOKE ALL ON mask.aggregate_view FROM PUBLIC;
COMMENT ON TABLE mask.aggregate_view IS 'Views in schema masked that show groups of a table''s rows, one for a table: two could be subtracted from each other';
COMMENT ON COLUMN mask.aggregate_view.view IS 'The view';
COMMENT ON COLUMN mask.aggregate_view.relation IS 'The table whose rows it counts';
COMMENT ON COLUMN mask.aggregate_view.dimensions IS 'The columns that make the groups, as they were called';
COMMENT ON COLUMN mask.aggregate_view.numbers IS 'Their numbers in the table';
COMMENT ON COLUMN mask.aggregate_view.numbered_in IS 'The table''s OID when they were numbered, as in mask.policy';
COMMENT ON COLUMN mask.aggregate_view.measures IS 'What it tells of each group';
COMMENT ON COLUMN mask.aggregate_view.minimum_group IS 'No group of fewer rows is shown';
COMMENT ON COLUMN mask.aggregate_view.generated_at IS 'When the view was made';
COMMENT ON COLUMN mask.aggregate_view.generated_by_role IS 'The role of the session that made it';

SELECT pg_catalog.pg_extension_config_dump('mask.policy', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('mask.policy', 'id')::pg_catalog.regclass, '');
SELECT pg_catalog.pg_extension_config_dump('mask.generated_view', '');
SELECT pg_catalog.pg_extension_config_dump('mask.aggregate_view', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.policy
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.policy ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.policy IS 'Every session reads the policies anew once a change is committed, whoever made it';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.generated_view
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.generated_view ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.generated_view IS 'Every session learns of a new view once it is committed';

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.aggregate_view
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.aggregate_view ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.aggregate_view IS 'Every session learns of a new view once it is committed';

-- The person is in the backend's memory, where parallel workers do not see it: PARALLEL RESTRICTED.
CREATE FUNCTION mask.reveals(policy bigint, relation regclass) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mask_reveals_wrapper';
REVOKE ALL ON FUNCTION mask.reveals(bigint, regclass) FROM PUBLIC;
COMMENT ON FUNCTION mask.reveals(bigint, regclass) IS 'Whether the person of this session sees the policy''s column of this table in the clear now, by the policy or by a grant; false without a person; fails unless the library is preloaded';

CREATE FUNCTION mask.applies(policy bigint) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mask_applies_wrapper';
REVOKE ALL ON FUNCTION mask.applies(bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.applies(bigint) IS 'Whether the policy is for the person of this session: for a group of theirs, or for everybody else';

-- ---------------------------------------------------------------------------------------------
-- Policies
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION mask.protect(relation regclass, column_name name, masking text, reveal_to text[] DEFAULT '{}', for_groups text[] DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'protect_wrapper';
REVOKE ALL ON FUNCTION mask.protect(regclass, name, text, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.protect(regclass, name, text, text[], text[]) IS 'Masks a column for members of for_groups (NULL: everybody else), but not for those in a group of reveal_to, in place of its former policy for the same groups; renews the masked view; returns the number of the policy';

CREATE FUNCTION mask.unprotect(relation regclass, column_name name) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unprotect_wrapper';
REVOKE ALL ON FUNCTION mask.unprotect(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION mask.unprotect(regclass, name) IS 'Ends the policies of a column and renews the masked view; what its parents or a default of its schema say of it holds again';

CREATE FUNCTION mask.protect_matching(schema_name name, pattern text, masking text, reveal_to text[] DEFAULT '{}', for_groups text[] DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'protect_matching_wrapper';
REVOKE ALL ON FUNCTION mask.protect_matching(name, text, text, text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.protect_matching(name, text, text, text[], text[]) IS 'Masks every column whose name is ILIKE pattern in every table of the schema, present and future, unless it has policies of its own; returns the number of the policy';

CREATE FUNCTION mask.drop_policy(policy bigint) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'drop_policy_wrapper';
REVOKE ALL ON FUNCTION mask.drop_policy(bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.drop_policy(bigint) IS 'Ends one policy by its number, of a column or of a schema, and renews the masked views';

CREATE FUNCTION mask.order_policy(policy bigint, place integer) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'order_policy_wrapper';
REVOKE ALL ON FUNCTION mask.order_policy(bigint, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.order_policy(bigint, integer) IS 'Moves a policy to a place among those of its column or schema: of those for groups of a person, the first counts; those for everybody else come last whatever their place';

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION mask.generate_view(relation regclass) RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'generate_view_wrapper';
REVOKE ALL ON FUNCTION mask.generate_view(regclass) FROM PUBLIC;
COMMENT ON FUNCTION mask.generate_view(regclass) IS 'Makes or renews masked.<table>, which follows the table from then on; give roles access by GRANT SELECT ON masked.<table> TO role, and none to the table';

CREATE FUNCTION mask.generate_views(schema_name name) RETURNS SETOF regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'generate_views_wrapper';
REVOKE ALL ON FUNCTION mask.generate_views(name) FROM PUBLIC;
COMMENT ON FUNCTION mask.generate_views(name) IS 'Makes or renews the masked views of all tables of a schema but partitions and, with a warning, tables with row-level security';

CREATE FUNCTION mask.generate_aggregate_view(relation regclass, dimensions name[], measures text[], minimum_group integer DEFAULT 5) RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'generate_aggregate_view_wrapper';
REVOKE ALL ON FUNCTION mask.generate_aggregate_view(regclass, name[], text[], integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.generate_aggregate_view(regclass, name[], text[], integer) IS 'Makes or replaces masked.<table>_groups: counts (measure count) and averages (measure avg(column)) for groups of at least minimum_group rows; smaller ones are shown together, or not at all';

-- ---------------------------------------------------------------------------------------------
-- Looking
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION mask.preview(relation regclass, rows integer DEFAULT 5) RETURNS SETOF json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'preview_wrapper';
REVOKE ALL ON FUNCTION mask.preview(regclass, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.preview(regclass, integer) IS 'Some rows of a table as they look to somebody to whom nothing is revealed; for who may read the table';

CREATE FUNCTION mask.explain(relation regclass, user_id text, issuer text DEFAULT NULL, groups text[] DEFAULT NULL)
    RETURNS TABLE (column_name text, sees text, masking text, policy bigint, place integer, origin text, reason text, until timestamptz)
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'explain_wrapper';
REVOKE ALL ON FUNCTION mask.explain(regclass, text, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.explain(regclass, text, text, text[]) IS 'What a person with these groups sees of each column now, by which policy, and why; grants for one issuer only count if it is named';

CREATE FUNCTION mask.find_candidates()
    RETURNS TABLE (relation regclass, column_name text, data_type text, kind text, found_by text, sampled integer, matching integer, masking text, call text)
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'find_candidates_wrapper';
REVOKE ALL ON FUNCTION mask.find_candidates() FROM PUBLIC;
COMMENT ON FUNCTION mask.find_candidates() IS 'The rows of mask.unprotected_candidates';

CREATE VIEW mask.unprotected_candidates WITH (security_barrier) AS SELECT * FROM mask.find_candidates();
REVOKE ALL ON mask.unprotected_candidates FROM PUBLIC;
COMMENT ON VIEW mask.unprotected_candidates IS 'Columns that no policy protects and that look personal, by name or by up to 200 values of a sample; values are not shown';
COMMENT ON COLUMN mask.unprotected_candidates.relation IS 'The table';
COMMENT ON COLUMN mask.unprotected_candidates.column_name IS 'The column';
COMMENT ON COLUMN mask.unprotected_candidates.data_type IS 'Its type';
COMMENT ON COLUMN mask.unprotected_candidates.kind IS 'What it seems to hold: iban, card, email, phone, ssn, birth, name, ip, address, secret';
COMMENT ON COLUMN mask.unprotected_candidates.found_by IS 'name, content, or both';
COMMENT ON COLUMN mask.unprotected_candidates.sampled IS 'Values that were looked at';
COMMENT ON COLUMN mask.unprotected_candidates.matching IS 'Those of them that look so';
COMMENT ON COLUMN mask.unprotected_candidates.masking IS 'A masking that fits';
COMMENT ON COLUMN mask.unprotected_candidates.call IS 'The call that would protect it';

CREATE VIEW mask.policies WITH (security_barrier) AS
SELECT p.id,
       p.relation,
       coalesce(a.attname::text, p.column_name) AS column_name,
       p.masking,
       p.reveal_to,
       v.oid::pg_catalog.regclass AS masked_view,
       p.created_at,
       coalesce(p.created_by, p.created_by_role) AS created_by,
       nullif(p.for_groups, '{}') AS for_groups,
       p.place,
       p.schema_name,
       p.pattern
FROM mask.policy AS p
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = p.relation AND p.numbered_in = p.relation AND a.attnum = p.attnum AND NOT a.attisdropped
LEFT JOIN mask.generated_view AS g ON g.relation = p.relation
LEFT JOIN pg_catalog.pg_class AS v ON v.oid = g.view;
REVOKE ALL ON mask.policies FROM PUBLIC;
COMMENT ON VIEW mask.policies IS 'How columns are masked and to whom they are revealed';
COMMENT ON COLUMN mask.policies.id IS 'Number of the policy';
COMMENT ON COLUMN mask.policies.relation IS 'The table; NULL: a default for a schema';
COMMENT ON COLUMN mask.policies.column_name IS 'The column';
COMMENT ON COLUMN mask.policies.masking IS 'How it is masked';
COMMENT ON COLUMN mask.policies.reveal_to IS 'Groups whose members see it in the clear, if the policy is for them';
COMMENT ON COLUMN mask.policies.masked_view IS 'The view that shows the table masked; NULL: mask.generate_view was not called';
COMMENT ON COLUMN mask.policies.created_at IS 'When the policy was last written';
COMMENT ON COLUMN mask.policies.created_by IS 'The person who did so, or else the role of the session';
COMMENT ON COLUMN mask.policies.for_groups IS 'Groups whose members it is for; NULL: everybody else';
COMMENT ON COLUMN mask.policies.place IS 'Among the policies of the column or schema: of those for a person''s groups the lowest counts, those for everybody else come last';
COMMENT ON COLUMN mask.policies.schema_name IS 'Of a default: the schema';
COMMENT ON COLUMN mask.policies.pattern IS 'Of a default: the names of columns, as ILIKE has them';
