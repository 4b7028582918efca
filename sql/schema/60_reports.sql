-- What administrators and auditors look at: sessions, people, settings, health.

CREATE FUNCTION custodian.live_sessions(
    OUT pid integer, OUT session text, OUT session_role oid, OUT role oid,
    OUT issuer text, OUT user_id text, OUT email text, OUT token_id text,
    OUT identified_at timestamptz, OUT issued_at timestamptz, OUT expires_at timestamptz,
    OUT running_since timestamptz)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'live_sessions_wrapper';
REVOKE ALL ON FUNCTION custodian.live_sessions() FROM PUBLIC;
COMMENT ON FUNCTION custodian.live_sessions() IS 'What the sessions of this database show of themselves, once they have run anything';

-- With the owner's rights: pg_stat_activity shows addresses only to those who may see all sessions.
CREATE FUNCTION custodian.list_sessions(
    OUT pid integer, OUT session text, OUT database name, OUT login_role name, OUT role name, OUT mode text,
    OUT issuer text, OUT user_id text, OUT email text, OUT token_id text,
    OUT identified_at timestamptz, OUT issued_at timestamptz, OUT expires_at timestamptz,
    OUT running_since timestamptz, OUT client_addr text, OUT application_name text)
    RETURNS SETOF record
    LANGUAGE sql VOLATILE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.pid,
           coalesce(s.session, to_hex(trunc(extract(epoch FROM a.backend_start))::bigint) || '.' || to_hex(a.pid)),
           a.datname, a.usename, r.rolname, e.mode,
           s.issuer, s.user_id, s.email, s.token_id, s.identified_at, s.issued_at, s.expires_at, s.running_since,
           coalesce(host(a.client_addr), '[local]'), a.application_name
    FROM pg_stat_activity AS a
    LEFT JOIN custodian.live_sessions() AS s ON s.pid = a.pid
    LEFT JOIN pg_roles AS r ON r.oid = coalesce(s.role, a.usesysid)
    -- The stricter mode counts, of the session's role and that of SET ROLE.
    LEFT JOIN LATERAL (
        SELECT er.mode FROM custodian.enrolled_role AS er
        WHERE er.role::oid IN (coalesce(s.session_role, a.usesysid), coalesce(s.role, a.usesysid))
        ORDER BY array_position(ARRAY['govern', 'identify', 'observe'], er.mode) LIMIT 1) AS e ON true
    WHERE a.datname = current_database() AND a.backend_type = 'client backend'
      AND (s.user_id IS NOT NULL OR e.mode IS NOT NULL)
$$;
REVOKE ALL ON FUNCTION custodian.list_sessions() FROM PUBLIC;
COMMENT ON FUNCTION custodian.list_sessions() IS 'Behind custodian.sessions';

CREATE VIEW custodian.sessions AS
SELECT pid, session, database, login_role, role, mode, issuer, user_id, email, token_id, identified_at,
       issued_at, expires_at, running_since, client_addr, application_name
FROM custodian.list_sessions();
REVOKE ALL ON custodian.sessions FROM PUBLIC;
COMMENT ON VIEW custodian.sessions IS 'Sessions of this database in the hands of a person, and those of enrolled roles also without one';
COMMENT ON COLUMN custodian.sessions.session IS 'The session, as in audit.ledger';
COMMENT ON COLUMN custodian.sessions.login_role IS 'Role that logged in';
COMMENT ON COLUMN custodian.sessions.role IS 'Role whose rights counted at the last statement';
COMMENT ON COLUMN custodian.sessions.mode IS 'Mode of the enrolled role; NULL: not enrolled';
COMMENT ON COLUMN custodian.sessions.user_id IS 'The person; NULL if nobody has identified';
COMMENT ON COLUMN custodian.sessions.identified_at IS 'When the person was set';
COMMENT ON COLUMN custodian.sessions.issued_at IS 'The "iat" of the token';
COMMENT ON COLUMN custodian.sessions.expires_at IS 'The "exp" of the token; once it has passed, the next statement ends the identity';
COMMENT ON COLUMN custodian.sessions.running_since IS 'When the statement began that runs now; NULL if none does';
COMMENT ON COLUMN custodian.sessions.client_addr IS 'Address of the client; [local] for a Unix socket';

-- Identifications only, which are few: this is the index that finds people.
CREATE INDEX ledger_people ON audit.ledger (issuer, user_id, at) WHERE event = 'identity' AND outcome = 'ok';

-- Hops from person to person through the index instead of reading all identifications.
CREATE VIEW custodian.people WITH (security_barrier) AS
WITH RECURSIVE recorded AS (
    (SELECT l.issuer, l.user_id
     FROM audit.ledger AS l
     WHERE l.event = 'identity' AND l.outcome = 'ok' AND l.issuer IS NOT NULL
     ORDER BY l.issuer, l.user_id LIMIT 1)
    UNION ALL
    SELECT n.issuer, n.user_id
    FROM recorded AS r,
         LATERAL (SELECT l.issuer, l.user_id
                  FROM audit.ledger AS l
                  WHERE l.event = 'identity' AND l.outcome = 'ok' AND (l.issuer, l.user_id) > (r.issuer, r.user_id)
                  ORDER BY l.issuer, l.user_id LIMIT 1) AS n
), live AS MATERIALIZED (
    SELECT s.issuer, s.user_id, s.email, s.identified_at, s.expires_at
    FROM custodian.list_sessions() AS s
    WHERE s.user_id IS NOT NULL
), known AS (
    SELECT r.issuer, r.user_id FROM recorded AS r
    UNION
    SELECT s.issuer, s.user_id FROM live AS s
)
SELECT k.issuer,
       k.user_id,
       coalesce(newest.email, present.email) AS email,
       coalesce(present.sessions, 0) AS live_sessions,
       least(oldest.at, present.first_at) AS first_seen,
       greatest(newest.at, present.last_at) AS last_seen
FROM known AS k
LEFT JOIN LATERAL (
    SELECT l.at FROM audit.ledger AS l
    WHERE l.event = 'identity' AND l.outcome = 'ok' AND l.issuer = k.issuer AND l.user_id = k.user_id
    ORDER BY l.at LIMIT 1) AS oldest ON true
LEFT JOIN LATERAL (
    SELECT l.at, l.user_email AS email FROM audit.ledger AS l
    WHERE l.event = 'identity' AND l.outcome = 'ok' AND l.issuer = k.issuer AND l.user_id = k.user_id
    ORDER BY l.at DESC LIMIT 1) AS newest ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE s.expires_at > clock_timestamp()) AS sessions, max(s.email) AS email,
           min(s.identified_at) AS first_at, max(s.identified_at) AS last_at
    FROM live AS s
    WHERE s.issuer = k.issuer AND s.user_id = k.user_id) AS present ON true;
REVOKE ALL ON custodian.people FROM PUBLIC;
COMMENT ON VIEW custodian.people IS 'Everybody who has ever identified in this database';
COMMENT ON COLUMN custodian.people.email IS 'As of the latest identification';
COMMENT ON COLUMN custodian.people.live_sessions IS 'Sessions that are theirs now';
COMMENT ON COLUMN custodian.people.first_seen IS 'First identification on record';
COMMENT ON COLUMN custodian.people.last_seen IS 'Last identification, or end of one at their own wish';

CREATE VIEW custodian.settings_in_force AS
SELECT name, setting AS value, source, context, boot_val AS default_value, pending_restart,
       concat_ws(' ', short_desc, extra_desc) AS meaning
FROM pg_catalog.pg_settings
WHERE name LIKE 'pg\_custodian.%';
REVOKE ALL ON custodian.settings_in_force FROM PUBLIC;
COMMENT ON VIEW custodian.settings_in_force IS 'The settings of pg_custodian, where their values come from, and what they mean';
COMMENT ON COLUMN custodian.settings_in_force.source IS 'Where the value comes from; default: nobody has set it';
COMMENT ON COLUMN custodian.settings_in_force.context IS 'sighup: the configuration file and a reload';
COMMENT ON COLUMN custodian.settings_in_force.pending_restart IS 'Whether the file holds another value, which needs a restart';

CREATE FUNCTION custodian.status(OUT "check" text, OUT ok boolean, OUT detail text, OUT hint text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 13
    AS 'MODULE_PATHNAME', 'status_wrapper';
REVOKE ALL ON FUNCTION custodian.status() FROM PUBLIC;
COMMENT ON FUNCTION custodian.status() IS 'Whether everything that the promises rest on is in place: one row per check';

-- All of its tables are there now.
SELECT custodian.start_ledger_writer();
