-- Break-glass: access at once while something burns, the incidents that justify it, and the review that is due.

-- ---------------------------------------------------------------------------------------------
-- Tables
-- ---------------------------------------------------------------------------------------------

CREATE TABLE access.reported_incident (
    incident text PRIMARY KEY CHECK (incident <> ''),
    title text,
    assignees text[] NOT NULL CHECK (array_position(assignees, NULL) IS NULL AND array_position(assignees, '') IS NULL),
    opened_at timestamptz NOT NULL,
    opened_by text,
    opened_by_role text NOT NULL DEFAULT session_user,
    closed_at timestamptz,
    closed_by text,
    closed_by_role text,
    CONSTRAINT closed_by_somebody CHECK ((closed_at IS NULL) = (closed_by_role IS NULL))
);
REVOKE ALL ON access.reported_incident FROM PUBLIC;
COMMENT ON TABLE access.reported_incident IS 'Incidents as the on-call system tells of them; written by access.open_incident and access.close_incident, shown by access.incidents';
COMMENT ON COLUMN access.reported_incident.incident IS 'Its name in the on-call system';
COMMENT ON COLUMN access.reported_incident.title IS 'What burns';
COMMENT ON COLUMN access.reported_incident.assignees IS 'Who is on it: user_id or email address';
COMMENT ON COLUMN access.reported_incident.opened_at IS 'When it was opened here';
COMMENT ON COLUMN access.reported_incident.opened_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN access.reported_incident.opened_by_role IS 'The role of the session that did so';
COMMENT ON COLUMN access.reported_incident.closed_at IS 'When it was closed; NULL: it is open';
COMMENT ON COLUMN access.reported_incident.closed_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN access.reported_incident.closed_by_role IS 'The role of the session that did so';
COMMENT ON CONSTRAINT closed_by_somebody ON access.reported_incident IS 'A closure says by whom';

CREATE TABLE access.emergency (
    grant_id bigint PRIMARY KEY REFERENCES access.issued_grant,
    incident text NOT NULL CHECK (incident <> ''),
    issuer text NOT NULL,
    user_id text NOT NULL,
    email text,
    subject text,
    groups text[] NOT NULL,
    token_id text,
    reason text NOT NULL CHECK (reason <> ''),
    at timestamptz NOT NULL,
    renewals integer NOT NULL DEFAULT 0,
    alerted_at timestamptz,
    reviewed_at timestamptz,
    reviewed_by text,
    reviewed_by_issuer text,
    reviewed_by_token text,
    findings text CHECK (findings <> ''),
    CONSTRAINT a_whole_review CHECK (
        (reviewed_at IS NULL) = (reviewed_by IS NULL) AND (reviewed_at IS NULL) = (findings IS NULL)
    )
);
REVOKE ALL ON access.emergency FROM PUBLIC;
COMMENT ON TABLE access.emergency IS 'Each use of break-glass and its review; written by access.break_glass, renew and review';
COMMENT ON COLUMN access.emergency.grant_id IS 'The grant that it gave';
COMMENT ON COLUMN access.emergency.incident IS 'The incident that was named';
COMMENT ON COLUMN access.emergency.issuer IS 'Who vouched for the person';
COMMENT ON COLUMN access.emergency.user_id IS 'The person who used it';
COMMENT ON COLUMN access.emergency.email IS 'The person''s email address as of the token';
COMMENT ON COLUMN access.emergency.subject IS 'What tells the human apart, as of the claim in pg_custodian.subject_claim';
COMMENT ON COLUMN access.emergency.groups IS 'The person''s groups as of the token';
COMMENT ON COLUMN access.emergency.token_id IS 'The token under which it was used';
COMMENT ON COLUMN access.emergency.reason IS 'What for';
COMMENT ON COLUMN access.emergency.at IS 'When';
COMMENT ON COLUMN access.emergency.renewals IS 'How often it was renewed';
COMMENT ON COLUMN access.emergency.alerted_at IS 'When the steward said that its review was overdue';
COMMENT ON COLUMN access.emergency.reviewed_at IS 'When it was reviewed; NULL: it was not';
COMMENT ON COLUMN access.emergency.reviewed_by IS 'The person who reviewed it';
COMMENT ON COLUMN access.emergency.reviewed_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN access.emergency.reviewed_by_token IS 'The token under which it was reviewed';
COMMENT ON COLUMN access.emergency.findings IS 'What the review found';
COMMENT ON CONSTRAINT a_whole_review ON access.emergency IS 'A review says when, by whom and what';

SELECT pg_catalog.pg_extension_config_dump('access.reported_incident', '');
SELECT pg_catalog.pg_extension_config_dump('access.emergency', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON access.reported_incident
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE access.reported_incident ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON access.reported_incident IS 'The steward looks again which review is overdue first';
CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON access.emergency
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE access.emergency ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON access.emergency IS 'Sessions learn that everything is to be recorded, and the steward when the review is due';

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

CREATE VIEW access.incidents WITH (security_barrier) AS
SELECT i.incident, i.title, i.assignees, i.opened_at, coalesce(i.opened_by, i.opened_by_role) AS opened_by,
       i.closed_at, coalesce(i.closed_by, i.closed_by_role) AS closed_by, i.closed_at IS NULL AS open
FROM access.reported_incident AS i;
REVOKE ALL ON access.incidents FROM PUBLIC;
COMMENT ON VIEW access.incidents IS 'Incidents that the on-call system told of, also closed ones';

CREATE VIEW access.break_glass_uses WITH (security_barrier) AS
SELECT e.grant_id, e.incident, e.issuer, e.user_id, e.email, e.groups, e.reason, e.at, g.object_name AS object, e.renewals,
       coalesce(g.revoked_at, g.ends_at) AS ends_at,
       -- From the end that counts: of the incident, if one is on file, else of the access.
       CASE WHEN i.incident IS NOT NULL THEN i.closed_at ELSE coalesce(g.revoked_at, g.ends_at) END
           + interval '48 hours' AS review_due,
       e.reviewed_at, e.reviewed_by, e.findings
FROM access.emergency AS e
JOIN access.issued_grant AS g ON g.id = e.grant_id
LEFT JOIN access.reported_incident AS i ON i.incident = e.incident;
REVOKE ALL ON access.break_glass_uses FROM PUBLIC;
COMMENT ON VIEW access.break_glass_uses IS 'Each use of break-glass, with its review';
COMMENT ON COLUMN access.break_glass_uses.ends_at IS 'When its access ends or ended';
COMMENT ON COLUMN access.break_glass_uses.review_due IS '48 hours after the incident was closed or, where none is on file, after the access ended; NULL: the incident is open';

CREATE VIEW access.reviews_due WITH (security_barrier) AS
SELECT u.grant_id, u.incident, u.issuer, u.user_id, u.email, u.reason, u.at, u.object, u.ends_at, u.review_due,
       coalesce(u.review_due <= pg_catalog.clock_timestamp(), false) AS overdue
FROM access.break_glass_uses AS u
WHERE u.reviewed_at IS NULL;
REVOKE ALL ON access.reviews_due FROM PUBLIC;
COMMENT ON VIEW access.reviews_due IS 'Uses of break-glass that nobody has reviewed yet';
COMMENT ON COLUMN access.reviews_due.overdue IS 'Whether the review should have been there by now';

CREATE VIEW access.break_glass_frequency WITH (security_barrier) AS
SELECT w.month, w.kind, w.name, count(*) AS uses, count(*) > 3 AS standing_rules_too_strict
FROM (SELECT date_trunc('month', e.at AT TIME ZONE 'UTC')::date AS month, 'person' AS kind, e.user_id AS name
      FROM access.emergency AS e
      UNION ALL
      SELECT date_trunc('month', e.at AT TIME ZONE 'UTC')::date, 'group', g.name
      FROM access.emergency AS e, unnest(e.groups) AS g(name)) AS w
GROUP BY w.month, w.kind, w.name;
REVOKE ALL ON access.break_glass_frequency FROM PUBLIC;
COMMENT ON VIEW access.break_glass_frequency IS 'How often break-glass was used, by person and by group, per month (UTC)';
COMMENT ON COLUMN access.break_glass_frequency.standing_rules_too_strict IS 'More than three uses in a month: what is needed that often should be asked for by a rule';

-- ---------------------------------------------------------------------------------------------
-- Functions
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION access.break_glass(incident text, reason text, on_object text DEFAULT 'DATABASE') RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'break_glass_wrapper';
REVOKE ALL ON FUNCTION access.break_glass(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION access.break_glass(text, text, text) IS 'Gives the person of this session access for 30 minutes at once, raises an alert, and makes a review due; returns the number of the grant';

CREATE FUNCTION access.renew(grant_id bigint) RETURNS timestamptz
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'renew_grant_wrapper';
REVOKE ALL ON FUNCTION access.renew(bigint) FROM PUBLIC;
COMMENT ON FUNCTION access.renew(bigint) IS 'Lets break-glass access go on for 30 minutes from now while its incident is open; returns its new end';

CREATE FUNCTION access.review(grant_id bigint, findings text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'review_grant_wrapper';
REVOKE ALL ON FUNCTION access.review(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION access.review(bigint, text) IS 'Closes the review of somebody else''s use of break-glass with what it found';

CREATE FUNCTION access.open_incident(incident text, assignees text[], title text DEFAULT NULL) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'open_incident_wrapper';
REVOKE ALL ON FUNCTION access.open_incident(text, text[], text) FROM PUBLIC;
COMMENT ON FUNCTION access.open_incident(text, text[], text) IS 'Tells of an incident and who is on it (user_id or email address); again: of who is on it now';

CREATE FUNCTION access.close_incident(incident text) RETURNS integer
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'close_incident_wrapper';
REVOKE ALL ON FUNCTION access.close_incident(text) FROM PUBLIC;
COMMENT ON FUNCTION access.close_incident(text) IS 'Closes an incident and ends the break-glass access that named it; returns how many grants that were';
