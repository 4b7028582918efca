-- Dynamic credentials: a login role for one person and one grant, which dies with the grant.

-- oid and not regrole: the role goes, the row stays, as the history of who could come in by what. The number holds where
-- numbered_in is access.numbering(): in a restored dump, in a copied database and after pg_upgrade no row is in force.
CREATE TABLE access.issued_credential (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    role_id oid NOT NULL,
    role_name text NOT NULL,
    numbered_in text NOT NULL DEFAULT access.numbering(),
    verifier_digest text NOT NULL,
    grant_id bigint NOT NULL,
    issuer text NOT NULL CHECK (issuer <> ''),
    user_id text NOT NULL CHECK (user_id <> ''),
    email text,
    groups text[] NOT NULL CHECK (array_position(groups, NULL) IS NULL),
    valid_until timestamptz NOT NULL CHECK (isfinite(valid_until)),
    row_limit bigint CHECK (row_limit > 0),
    rows_per_hour bigint CHECK (rows_per_hour > 0),
    ad_hoc boolean NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    issued_by text,
    issued_by_issuer text,
    issued_by_token text,
    issued_by_role text NOT NULL,
    ended_at timestamptz,
    end_reason text,
    removed_at timestamptz,
    CONSTRAINT a_reasoned_end CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
    CONSTRAINT ended_before_removed CHECK (removed_at IS NULL OR ended_at IS NOT NULL)
);
CREATE UNIQUE INDEX issued_credential_role ON access.issued_credential (role_id, numbered_in) WHERE removed_at IS NULL;
REVOKE ALL ON access.issued_credential FROM PUBLIC;
COMMENT ON TABLE access.issued_credential IS 'Credentials that were issued, also those that ended; holds no password; written by access.issue_credential and the steward, shown by access.credentials';
COMMENT ON COLUMN access.issued_credential.id IS 'Number of the credential: records of its sessions have "credential:" and this as token_id';
COMMENT ON COLUMN access.issued_credential.role_id IS 'The login role';
COMMENT ON COLUMN access.issued_credential.role_name IS 'Its name';
COMMENT ON COLUMN access.issued_credential.numbered_in IS 'Where the role''s number holds (access.numbering()); elsewhere the credential is none';
COMMENT ON COLUMN access.issued_credential.verifier_digest IS 'SHA-256 of the role''s SCRAM verifier: tells whether somebody has given the role another password';
COMMENT ON COLUMN access.issued_credential.grant_id IS 'The grant whose privileges it has';
COMMENT ON COLUMN access.issued_credential.issuer IS 'Who vouched for the person';
COMMENT ON COLUMN access.issued_credential.user_id IS 'The person whom its sessions belong to';
COMMENT ON COLUMN access.issued_credential.email IS 'The person''s email address as of the token it was asked for with';
COMMENT ON COLUMN access.issued_credential.groups IS 'The person''s groups as of that token; empty if an administrator asked';
COMMENT ON COLUMN access.issued_credential.valid_until IS 'First moment at which it lets nobody in any more: the end of the grant when it was issued';
COMMENT ON COLUMN access.issued_credential.row_limit IS 'Rows one statement may return, as on the role on which it was asked for';
COMMENT ON COLUMN access.issued_credential.rows_per_hour IS 'Rows the person may read in an hour, as on that role';
COMMENT ON COLUMN access.issued_credential.ad_hoc IS 'Whether statements other than named queries are allowed, as on that role';
COMMENT ON COLUMN access.issued_credential.issued_at IS 'When it was issued';
COMMENT ON COLUMN access.issued_credential.issued_by IS 'The person who asked for it; NULL: nobody had identified';
COMMENT ON COLUMN access.issued_credential.issued_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN access.issued_credential.issued_by_token IS 'The token under which it was asked for';
COMMENT ON COLUMN access.issued_credential.issued_by_role IS 'The role on which it was asked for, whose privileges it does not exceed';
COMMENT ON COLUMN access.issued_credential.ended_at IS 'When it was seen to have ended';
COMMENT ON COLUMN access.issued_credential.end_reason IS 'Why: expired, revoked, person, replaced, altered, role dropped, grant gone, elsewhere, extension dropped';
COMMENT ON COLUMN access.issued_credential.removed_at IS 'When its role was gone';
COMMENT ON CONSTRAINT a_reasoned_end ON access.issued_credential IS 'An end says why';
COMMENT ON CONSTRAINT ended_before_removed ON access.issued_credential IS 'A role is removed because its credential has ended';

SELECT pg_catalog.pg_extension_config_dump('access.issued_credential', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('access.issued_credential', 'id')::pg_catalog.regclass, '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON access.issued_credential
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE access.issued_credential ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON access.issued_credential IS 'Sessions of a credential and the steward learn of its beginning and end';

CREATE VIEW access.credentials WITH (security_barrier) AS
SELECT c.id,
       c.role_name AS role,
       c.grant_id,
       c.issuer,
       c.user_id,
       c.email,
       c.groups,
       c.issued_at,
       coalesce(c.issued_by, c.issued_by_role) AS issued_by,
       c.issued_by_role,
       c.valid_until,
       c.ended_at,
       c.end_reason,
       c.removed_at,
       c.ended_at IS NULL
           AND c.numbered_in = access.numbering()
           AND c.valid_until > pg_catalog.clock_timestamp()
           AND EXISTS (
               SELECT FROM access.issued_grant AS g
               WHERE g.id = c.grant_id AND g.revoked_at IS NULL AND g.ends_at > pg_catalog.clock_timestamp()
           ) AS live
FROM access.issued_credential AS c;
REVOKE ALL ON access.credentials FROM PUBLIC;
COMMENT ON VIEW access.credentials IS 'All credentials, also those that ended; without anything secret';
COMMENT ON COLUMN access.credentials.id IS 'Number of the credential: records of its sessions have "credential:" and this as token_id';
COMMENT ON COLUMN access.credentials.role IS 'The login role';
COMMENT ON COLUMN access.credentials.grant_id IS 'The grant whose privileges it has';
COMMENT ON COLUMN access.credentials.issuer IS 'Who vouched for the person';
COMMENT ON COLUMN access.credentials.user_id IS 'The person whom its sessions belong to';
COMMENT ON COLUMN access.credentials.email IS 'The person''s email address when it was issued';
COMMENT ON COLUMN access.credentials.groups IS 'The person''s groups when it was issued';
COMMENT ON COLUMN access.credentials.issued_at IS 'When it was issued';
COMMENT ON COLUMN access.credentials.issued_by IS 'The person who asked for it, or else the role of the session';
COMMENT ON COLUMN access.credentials.issued_by_role IS 'The role on which it was asked for';
COMMENT ON COLUMN access.credentials.valid_until IS 'First moment at which it lets nobody in any more';
COMMENT ON COLUMN access.credentials.ended_at IS 'When it was seen to have ended';
COMMENT ON COLUMN access.credentials.end_reason IS 'Why it ended';
COMMENT ON COLUMN access.credentials.removed_at IS 'When its role was gone';
COMMENT ON COLUMN access.credentials.live IS 'Whether it lets its person in now';

CREATE FUNCTION access.issue_credential(grant_id bigint)
    RETURNS TABLE (role text, password text, valid_until timestamptz)
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1 AS 'MODULE_PATHNAME', 'issue_credential_wrapper';
REVOKE ALL ON FUNCTION access.issue_credential(bigint) FROM PUBLIC;
COMMENT ON FUNCTION access.issue_credential(bigint) IS 'Makes a login role for the person who holds a grant, with the privileges of that grant and until its end; the password is shown this once';
