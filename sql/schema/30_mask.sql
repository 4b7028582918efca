-- Masking: mask functions, policies, and the views that show masked tables.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

-- regclass, not oid: a dump then carries names, which are right in the cluster it is restored into
CREATE TABLE mask.policy (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    relation regclass NOT NULL,
    attnum smallint NOT NULL CHECK (attnum > 0),
    numbered_in oid NOT NULL,
    column_name text NOT NULL,
    masking text NOT NULL CHECK (masking <> ''),
    reveal_to text[] NOT NULL CHECK (array_position(reveal_to, NULL) IS NULL),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_by text,
    created_by_role text NOT NULL DEFAULT session_user,
    -- at the end of a statement, which may number several columns anew
    UNIQUE (relation, attnum) DEFERRABLE INITIALLY IMMEDIATE
);
REVOKE ALL ON mask.policy FROM PUBLIC;
COMMENT ON TABLE mask.policy IS 'How columns are masked and to whom they are revealed; written by mask.protect, shown by mask.policies';
COMMENT ON COLUMN mask.policy.id IS 'Number of the policy, by which masked views name it; a column keeps its number when its policy changes';
COMMENT ON COLUMN mask.policy.relation IS 'The table';
COMMENT ON COLUMN mask.policy.attnum IS 'The column''s number in the table';
COMMENT ON COLUMN mask.policy.numbered_in IS 'The table''s OID when the column was numbered: if it is another one, a dump was restored, which keeps names and numbers columns anew';
COMMENT ON COLUMN mask.policy.column_name IS 'The column''s name when the policy or the view was last written';
COMMENT ON COLUMN mask.policy.masking IS 'email, hash, null_value or partial(prefix, ''padding'', suffix)';
COMMENT ON COLUMN mask.policy.reveal_to IS 'Groups whose members see the column in the clear';
COMMENT ON COLUMN mask.policy.created_at IS 'When the policy was last written';
COMMENT ON COLUMN mask.policy.created_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN mask.policy.created_by_role IS 'The role of the session that did so';

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

-- The key is made here, of three random UUIDs: 366 bits of the server's own randomness in 256. It is
-- in no dump, so that whoever holds a dump cannot try values; a restored database hashes anew.
CREATE TABLE mask.secret_key (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    key text NOT NULL CHECK (key ~ '^[0-9a-f]{64}$')
);
REVOKE ALL ON mask.secret_key FROM PUBLIC;
COMMENT ON TABLE mask.secret_key IS 'The key of the keyed mask functions; read by the extension alone, contained in no dump';
COMMENT ON COLUMN mask.secret_key.only_one IS 'There is one key';
COMMENT ON COLUMN mask.secret_key.key IS '32 random bytes in hexadecimal digits';
INSERT INTO mask.secret_key (key)
SELECT pg_catalog.encode(pg_catalog.sha256(
           pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
           || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
           || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())), 'hex');

SELECT pg_catalog.pg_extension_config_dump('mask.policy', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('mask.policy', 'id')::pg_catalog.regclass, '');
SELECT pg_catalog.pg_extension_config_dump('mask.generated_view', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.policy
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.policy ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.policy IS 'Every session reads the policies anew once a change is committed, whoever made it';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.generated_view
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.generated_view ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.generated_view IS 'Every session learns of a new view once it is committed';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.secret_key
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.secret_key ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.secret_key IS 'No session goes on with a former key';

-- ---------------------------------------------------------------------------------------------
-- Mask functions: value in, mask out, NULL in NULL out, total
-- ---------------------------------------------------------------------------------------------

-- an SQL function, so that the planner puts the NULL itself in its place
CREATE FUNCTION mask.null_value(value anyelement) RETURNS anyelement
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT CASE WHEN false THEN value END';
REVOKE ALL ON FUNCTION mask.null_value(anyelement) FROM PUBLIC;
COMMENT ON FUNCTION mask.null_value(anyelement) IS 'NULL, whatever the value; for columns of every type';

CREATE FUNCTION mask.email(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_email_wrapper';
REVOKE ALL ON FUNCTION mask.email(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.email(text) IS 'john.doe@example.com becomes john.d***@example.com, jdoe@example.com becomes j***@example.com, what is no address becomes ***';

CREATE FUNCTION mask.partial(value text, prefix integer, padding text, suffix integer) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_partial_wrapper';
REVOKE ALL ON FUNCTION mask.partial(text, integer, text, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.partial(text, integer, text, integer) IS 'The first and the last characters around a padding; only the padding if nothing would be hidden between them';

-- STABLE: the key can change between statements
CREATE FUNCTION mask.hash(value text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_wrapper';
REVOKE ALL ON FUNCTION mask.hash(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.hash(text) IS 'HMAC-SHA-256 of the value under this database''s key in hexadecimal digits: same value, same mask; people on enrolled roles cannot call it themselves';

-- The person is in the backend's memory, where parallel workers do not see it: PARALLEL RESTRICTED.
CREATE FUNCTION mask.reveals(policy bigint) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'mask_reveals_wrapper';
REVOKE ALL ON FUNCTION mask.reveals(bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.reveals(bigint) IS 'Whether the person of this session sees the policy''s column in the clear now; false without a person; fails unless the library is preloaded';

-- ---------------------------------------------------------------------------------------------
-- Policies and views
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION mask.protect(relation regclass, column_name name, masking text, reveal_to text[] DEFAULT '{}') RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'protect_wrapper';
REVOKE ALL ON FUNCTION mask.protect(regclass, name, text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.protect(regclass, name, text, text[]) IS 'Masks a column by email, hash, null_value or partial(prefix, ''padding'', suffix) for everybody but the groups it is revealed to, in place of its former policy; renews the masked view; returns the number of the policy';

CREATE FUNCTION mask.unprotect(relation regclass, column_name name) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unprotect_wrapper';
REVOKE ALL ON FUNCTION mask.unprotect(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION mask.unprotect(regclass, name) IS 'Ends the masking of a column and renews the masked view';

CREATE FUNCTION mask.generate_view(relation regclass) RETURNS regclass
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'generate_view_wrapper';
REVOKE ALL ON FUNCTION mask.generate_view(regclass) FROM PUBLIC;
COMMENT ON FUNCTION mask.generate_view(regclass) IS 'Makes or renews masked.<table>; give roles access by GRANT SELECT ON masked.<table> TO role, and none to the table';

CREATE VIEW mask.policies WITH (security_barrier) AS
SELECT p.id,
       p.relation,
       coalesce(a.attname::text, p.column_name) AS column_name,
       p.masking,
       p.reveal_to,
       v.oid::pg_catalog.regclass AS masked_view,
       p.created_at,
       coalesce(p.created_by, p.created_by_role) AS created_by
FROM mask.policy AS p
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = p.relation AND p.numbered_in = p.relation AND a.attnum = p.attnum AND NOT a.attisdropped
LEFT JOIN mask.generated_view AS g ON g.relation = p.relation
LEFT JOIN pg_catalog.pg_class AS v ON v.oid = g.view;
REVOKE ALL ON mask.policies FROM PUBLIC;
COMMENT ON VIEW mask.policies IS 'How columns are masked and to whom they are revealed';
COMMENT ON COLUMN mask.policies.id IS 'Number of the policy';
COMMENT ON COLUMN mask.policies.relation IS 'The table';
COMMENT ON COLUMN mask.policies.column_name IS 'The column';
COMMENT ON COLUMN mask.policies.masking IS 'How it is masked';
COMMENT ON COLUMN mask.policies.reveal_to IS 'Groups whose members see it in the clear';
COMMENT ON COLUMN mask.policies.masked_view IS 'The view that shows the table masked; NULL: mask.generate_view was not called';
COMMENT ON COLUMN mask.policies.created_at IS 'When the policy was last written';
COMMENT ON COLUMN mask.policies.created_by IS 'The person who did so, or else the role of the session';

