-- Identity: who is trusted to name people, who the person of a session is, which roles are shared.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

CREATE TABLE custodian.issuer (
    issuer text PRIMARY KEY CHECK (issuer <> ''),
    jwks jsonb NOT NULL CHECK (jsonb_typeof(jwks -> 'keys') IS NOT DISTINCT FROM 'array'),
    audience text[] NOT NULL CHECK (cardinality(audience) > 0 AND array_position(audience, NULL) IS NULL),
    algorithms text[] NOT NULL CHECK (
        cardinality(algorithms) > 0
        AND algorithms <@ ARRAY['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'EdDSA', 'HS256']
    ),
    user_claim text NOT NULL CHECK (user_claim <> ''),
    email_claim text CHECK (email_claim <> ''),
    groups_claim text CHECK (groups_claim <> ''),
    leeway interval NOT NULL CHECK (leeway >= interval '0' AND leeway <= interval '60 seconds'),
    max_lifetime interval NOT NULL CHECK (max_lifetime > interval '0'),
    single_use boolean NOT NULL,
    trusted_at timestamptz NOT NULL DEFAULT now(),
    trusted_by text NOT NULL DEFAULT session_user,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL DEFAULT session_user
);
REVOKE ALL ON custodian.issuer FROM PUBLIC;
COMMENT ON TABLE custodian.issuer IS 'Trusted issuers of tokens; written by custodian.trust_issuer, shown without secrets by custodian.issuers';
COMMENT ON COLUMN custodian.issuer.issuer IS 'The "iss" of its tokens, compared byte by byte';
COMMENT ON COLUMN custodian.issuer.jwks IS 'Its keys as a JWK Set; holds a secret if HS256 is among the algorithms';
COMMENT ON COLUMN custodian.issuer.audience IS 'A token''s "aud" must name at least one of these';
COMMENT ON COLUMN custodian.issuer.algorithms IS 'Signature algorithms its tokens may use';
COMMENT ON COLUMN custodian.issuer.user_claim IS 'The claim that tells people apart: its whole name or a dotted path';
COMMENT ON COLUMN custodian.issuer.email_claim IS 'The claim with the email address; NULL: not taken';
COMMENT ON COLUMN custodian.issuer.groups_claim IS 'The claim with the groups; NULL: not taken';
COMMENT ON COLUMN custodian.issuer.leeway IS 'Tolerated difference of clocks for "nbf" and "iat"; "exp" gets none';
COMMENT ON COLUMN custodian.issuer.max_lifetime IS 'Longest time from "iat" (or from now, without one) to "exp"';
COMMENT ON COLUMN custodian.issuer.single_use IS 'Whether each token identifies only once';
COMMENT ON COLUMN custodian.issuer.trusted_at IS 'When it was registered first';
COMMENT ON COLUMN custodian.issuer.trusted_by IS 'The session''s role that registered it first';
COMMENT ON COLUMN custodian.issuer.changed_at IS 'When its keys or terms were last written';
COMMENT ON COLUMN custodian.issuer.changed_by IS 'The session''s role that last wrote them';

-- regrole, not oid: a dump then carries names, which are right in the cluster it is restored into
CREATE TABLE custodian.enrolled_role (
    role regrole PRIMARY KEY,
    mode text NOT NULL CHECK (mode IN ('observe', 'identify', 'govern')),
    row_limit bigint CHECK (row_limit > 0),
    rows_per_hour bigint CHECK (rows_per_hour > 0),
    ad_hoc boolean NOT NULL DEFAULT true,
    enrolled_at timestamptz NOT NULL DEFAULT now(),
    enrolled_by text NOT NULL DEFAULT session_user
);
REVOKE ALL ON custodian.enrolled_role FROM PUBLIC;
COMMENT ON TABLE custodian.enrolled_role IS 'Database roles that people share; written by custodian.enroll';
COMMENT ON COLUMN custodian.enrolled_role.role IS 'The shared role';
COMMENT ON COLUMN custodian.enrolled_role.mode IS 'observe: record; identify: no statement without a person; govern: a person and a live grant';
COMMENT ON COLUMN custodian.enrolled_role.row_limit IS 'Rows one statement may return; NULL: no limit';
COMMENT ON COLUMN custodian.enrolled_role.rows_per_hour IS 'Rows one person may be given in an hour; NULL: no limit';
COMMENT ON COLUMN custodian.enrolled_role.ad_hoc IS 'Whether statements other than calls of named queries are allowed, in the modes identify and govern';
COMMENT ON COLUMN custodian.enrolled_role.enrolled_at IS 'When it was enrolled, or its terms last changed';
COMMENT ON COLUMN custodian.enrolled_role.enrolled_by IS 'The session''s role that did so';

-- No reference to custodian.issuer: who is revoked stays so when an issuer is distrusted and trusted again.
CREATE TABLE custodian.revocation (
    issuer text CHECK (issuer <> ''),
    user_id text CHECK (user_id <> ''),
    token_id text CHECK (token_id <> ''),
    reason text,
    revoked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_by text NOT NULL DEFAULT session_user,
    reinstated_at timestamptz,
    reinstated_by text,
    reinstated_for text,
    CHECK (num_nonnulls(user_id, token_id) = 1),
    CHECK (token_id IS NULL OR (issuer IS NOT NULL AND reinstated_at IS NULL)),
    CHECK (token_id IS NOT NULL OR reason IS NOT NULL)
);
CREATE UNIQUE INDEX revocation_person ON custodian.revocation ((coalesce(issuer, '')), user_id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX revocation_token ON custodian.revocation (issuer, token_id) WHERE token_id IS NOT NULL;
REVOKE ALL ON custodian.revocation FROM PUBLIC;
COMMENT ON TABLE custodian.revocation IS 'People and tokens whose trust was taken back; written by custodian.revoke_person, reinstate_person, revoke_token, shown by custodian.revocations';
COMMENT ON COLUMN custodian.revocation.issuer IS 'Who vouches for the person or token; NULL: whoever does';
COMMENT ON COLUMN custodian.revocation.user_id IS 'The revoked person';
COMMENT ON COLUMN custodian.revocation.token_id IS 'The "jti" of the revoked token';
COMMENT ON COLUMN custodian.revocation.reason IS 'Why; not shown to the person';
COMMENT ON COLUMN custodian.revocation.revoked_at IS 'When it was last revoked: tokens issued until then are never good again';
COMMENT ON COLUMN custodian.revocation.revoked_by IS 'The session''s role that did so';
COMMENT ON COLUMN custodian.revocation.reinstated_at IS 'Since when the person may come again with new tokens; NULL: not at all';
COMMENT ON COLUMN custodian.revocation.reinstated_by IS 'The session''s role that did so';
COMMENT ON COLUMN custodian.revocation.reinstated_for IS 'Why';

SELECT pg_catalog.pg_extension_config_dump('custodian.issuer', '');
SELECT pg_catalog.pg_extension_config_dump('custodian.enrolled_role', '');
SELECT pg_catalog.pg_extension_config_dump('custodian.revocation', '');

CREATE FUNCTION custodian.announce_change() RETURNS trigger
    LANGUAGE c AS 'MODULE_PATHNAME', 'announce_change_wrapper';
REVOKE ALL ON FUNCTION custodian.announce_change() FROM PUBLIC;
COMMENT ON FUNCTION custodian.announce_change() IS 'Makes every session read its configuration anew once the change is committed';

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON custodian.issuer
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE custodian.issuer ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON custodian.issuer IS 'A row restored or edited by hand acts like one written by the functions';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON custodian.enrolled_role
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE custodian.enrolled_role ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON custodian.enrolled_role IS 'A row restored or edited by hand acts like one written by the functions';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON custodian.revocation
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE custodian.revocation ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON custodian.revocation IS 'A row restored or edited by hand acts like one written by the functions';

-- ---------------------------------------------------------------------------------------------
-- The person of a session
-- ---------------------------------------------------------------------------------------------

CREATE TYPE custodian.person AS (
    issuer text,
    user_id text,
    email text,
    name text,
    groups text[],
    token_id text,
    expires_at timestamptz
);
COMMENT ON TYPE custodian.person IS 'A human or bot known by (issuer, user_id), from a verified token';
COMMENT ON COLUMN custodian.person.issuer IS 'Who vouched for the person';
COMMENT ON COLUMN custodian.person.user_id IS 'The issuer''s name for the person';
COMMENT ON COLUMN custodian.person.email IS 'Email address, unless the issuer calls it unverified';
COMMENT ON COLUMN custodian.person.name IS 'Name for display';
COMMENT ON COLUMN custodian.person.groups IS 'Groups the issuer puts the person in';
COMMENT ON COLUMN custodian.person.token_id IS 'The "jti" of the token';
COMMENT ON COLUMN custodian.person.expires_at IS 'The "exp" of the token: from then on the session is nobody''s';

CREATE FUNCTION custodian.set_identity(token text, for_transaction boolean DEFAULT false) RETURNS custodian.person
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'set_identity_wrapper';
REVOKE ALL ON FUNCTION custodian.set_identity(text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION custodian.set_identity(text, boolean) IS 'Verifies a signed token and makes its person the one of this session, or of this transaction; pass the token as a parameter';

CREATE FUNCTION custodian.clear_identity() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'clear_identity_wrapper';
REVOKE ALL ON FUNCTION custodian.clear_identity() FROM PUBLIC;
COMMENT ON FUNCTION custodian.clear_identity() IS 'Makes this nobody''s session';

-- The person is in the backend's memory, where parallel workers do not see it: PARALLEL RESTRICTED.
CREATE FUNCTION custodian.whoami() RETURNS custodian.person
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'whoami_wrapper';
REVOKE ALL ON FUNCTION custodian.whoami() FROM PUBLIC;
COMMENT ON FUNCTION custodian.whoami() IS 'The person of this session, or NULL';

CREATE FUNCTION custodian.user_id() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'person_user_id_wrapper';
REVOKE ALL ON FUNCTION custodian.user_id() FROM PUBLIC;
COMMENT ON FUNCTION custodian.user_id() IS 'user_id of the person of this session, or NULL; for policies and column defaults';

CREATE FUNCTION custodian.email() RETURNS text
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'person_email_wrapper';
REVOKE ALL ON FUNCTION custodian.email() FROM PUBLIC;
COMMENT ON FUNCTION custodian.email() IS 'Email address of the person of this session, or NULL';

CREATE FUNCTION custodian.groups() RETURNS text[]
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'person_groups_wrapper';
REVOKE ALL ON FUNCTION custodian.groups() FROM PUBLIC;
COMMENT ON FUNCTION custodian.groups() IS 'Groups of the person of this session; empty without one';

CREATE FUNCTION custodian.has_group(group_name text) RETURNS boolean
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'person_has_group_wrapper';
REVOKE ALL ON FUNCTION custodian.has_group(text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.has_group(text) IS 'Whether the person of this session is in the group; false without a person';

CREATE FUNCTION custodian.claims() RETURNS jsonb
    LANGUAGE c STABLE PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'person_claims_wrapper';
REVOKE ALL ON FUNCTION custodian.claims() FROM PUBLIC;
COMMENT ON FUNCTION custodian.claims() IS 'All claims of the token of this session''s person, or NULL';

-- ---------------------------------------------------------------------------------------------
-- Administration
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION custodian.trust_issuer(
    issuer text,
    jwks jsonb,
    audience text[],
    algorithms text[] DEFAULT NULL,
    user_claim text DEFAULT 'sub',
    email_claim text DEFAULT 'email',
    groups_claim text DEFAULT 'groups',
    leeway interval DEFAULT '30 seconds',
    max_lifetime interval DEFAULT '12 hours',
    single_use boolean DEFAULT false
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'trust_issuer_wrapper';
REVOKE ALL ON FUNCTION custodian.trust_issuer(text, jsonb, text[], text[], text, text, text, interval, interval, boolean) FROM PUBLIC;
COMMENT ON FUNCTION custodian.trust_issuer(text, jsonb, text[], text[], text, text, text, interval, interval, boolean) IS 'Trusts an issuer of tokens; for a known issuer, replaces its keys and terms';

CREATE FUNCTION custodian.rotate_keys(issuer text, jwks jsonb) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotate_keys_wrapper';
REVOKE ALL ON FUNCTION custodian.rotate_keys(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION custodian.rotate_keys(text, jsonb) IS 'Replaces the keys of a trusted issuer';

CREATE FUNCTION custodian.distrust_issuer(issuer text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'distrust_issuer_wrapper';
REVOKE ALL ON FUNCTION custodian.distrust_issuer(text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.distrust_issuer(text) IS 'Ends the trust in an issuer, and the identity of everybody it vouched for';

CREATE FUNCTION custodian.revoke_person(user_id text, reason text, issuer text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'revoke_person_wrapper';
REVOKE ALL ON FUNCTION custodian.revoke_person(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.revoke_person(text, text, text) IS 'Refuses a person from the next statement on, whatever tokens say; without an issuer, for all of them';

CREATE FUNCTION custodian.reinstate_person(user_id text, reason text, issuer text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'reinstate_person_wrapper';
REVOKE ALL ON FUNCTION custodian.reinstate_person(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.reinstate_person(text, text, text) IS 'Lets a revoked person in again, with tokens issued since the revocation';

CREATE FUNCTION custodian.revoke_token(issuer text, token_id text, reason text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'revoke_token_wrapper';
REVOKE ALL ON FUNCTION custodian.revoke_token(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION custodian.revoke_token(text, text, text) IS 'Refuses the token with this "jti" from the next statement on, for good';

CREATE FUNCTION custodian.enroll(
    role regrole,
    mode text,
    row_limit bigint DEFAULT NULL,
    rows_per_hour bigint DEFAULT NULL,
    ad_hoc boolean DEFAULT true
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'enroll_wrapper';
REVOKE ALL ON FUNCTION custodian.enroll(regrole, text, bigint, bigint, boolean) FROM PUBLIC;
COMMENT ON FUNCTION custodian.enroll(regrole, text, bigint, bigint, boolean) IS 'Enrols a shared role in mode observe, identify or govern, or changes its terms: limits that are not given again are gone';

CREATE FUNCTION custodian.unenroll(role regrole) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'unenroll_wrapper';
REVOKE ALL ON FUNCTION custodian.unenroll(regrole) FROM PUBLIC;
COMMENT ON FUNCTION custodian.unenroll(regrole) IS 'Lets an enrolled role go';

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

-- of the keys only what is public: names, kinds and uses, never "k" of a shared secret
CREATE VIEW custodian.issuers WITH (security_barrier) AS
SELECT i.issuer,
       i.audience,
       i.algorithms,
       (SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object(
                   'kid', k.key -> 'kid', 'kty', k.key -> 'kty', 'crv', k.key -> 'crv',
                   'alg', k.key -> 'alg', 'use', k.key -> 'use')) ORDER BY k.place)
        FROM pg_catalog.jsonb_array_elements(i.jwks -> 'keys') WITH ORDINALITY AS k (key, place)) AS keys,
       -- of a shared secret not even this: it could be guessed by
       CASE WHEN NOT pg_catalog.jsonb_path_exists(i.jwks, '$.keys[*].k')
            THEN pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(i.jwks::text, 'UTF8')), 'hex') END AS jwks_sha256,
       i.user_claim,
       i.email_claim,
       i.groups_claim,
       i.leeway,
       i.max_lifetime,
       i.single_use,
       i.trusted_at,
       i.trusted_by,
       i.changed_at,
       i.changed_by
FROM custodian.issuer AS i;
REVOKE ALL ON custodian.issuers FROM PUBLIC;
COMMENT ON VIEW custodian.issuers IS 'Trusted issuers and their terms; keys by name and kind only';
COMMENT ON COLUMN custodian.issuers.jwks_sha256 IS 'SHA-256 of the registered JWK Set as jsonb prints it, to see whether the published one differs; NULL with a shared secret';

CREATE VIEW custodian.revocations WITH (security_barrier) AS
SELECT r.issuer,
       r.user_id,
       r.token_id,
       r.reinstated_at IS NULL AS in_force,
       r.reason,
       r.revoked_at,
       r.revoked_by,
       r.reinstated_at,
       r.reinstated_by,
       r.reinstated_for
FROM custodian.revocation AS r;
REVOKE ALL ON custodian.revocations FROM PUBLIC;
COMMENT ON VIEW custodian.revocations IS 'Revoked people and tokens, also those who were reinstated; an issuer of NULL stands for all of them';

CREATE VIEW custodian.enrolled_roles WITH (security_barrier) AS
SELECT e.role::oid AS role_oid,
       r.rolname AS role,
       e.mode,
       e.row_limit,
       e.rows_per_hour,
       e.ad_hoc,
       e.enrolled_at,
       e.enrolled_by,
       r.oid IS NULL AS dropped
FROM custodian.enrolled_role AS e
LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = e.role;
REVOKE ALL ON custodian.enrolled_roles FROM PUBLIC;
COMMENT ON VIEW custodian.enrolled_roles IS 'Enrolled roles and their modes; a dropped role is shown by its OID';

