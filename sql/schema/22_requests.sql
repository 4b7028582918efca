-- Access that is asked for: rules, requests, and who approved them.

-- ---------------------------------------------------------------------------------------------
-- Rules
-- ---------------------------------------------------------------------------------------------

-- A rule that is set again gets another revision: requests know under which one they were made.
CREATE TABLE access.request_rule (
    name text PRIMARY KEY CHECK (name <> ''),
    revision bigint GENERATED ALWAYS AS IDENTITY,
    priority integer NOT NULL,
    on_object text NOT NULL CHECK (on_object <> ''),
    privileges text[] NOT NULL CHECK (
        cardinality(privileges) > 0
        AND privileges <@ ARRAY['select', 'insert', 'update', 'delete', 'truncate', 'execute', 'ddl', 'reveal', 'export']
    ),
    asker_group text CHECK (asker_group <> ''),
    sensitivity text NOT NULL CHECK (sensitivity IN ('any', 'protected', 'unprotected')),
    days integer[] CHECK (cardinality(days) > 0 AND days <@ ARRAY[1, 2, 3, 4, 5, 6, 7]),
    from_time time,
    until_time time,
    time_zone text NOT NULL,
    longest interval NOT NULL CHECK (longest > interval '0'),
    decision text NOT NULL CHECK (decision IN ('automatic', 'one approver', 'two approvers')),
    approver_groups text[] NOT NULL CHECK (array_position(approver_groups, NULL) IS NULL AND array_position(approver_groups, '') IS NULL),
    request_lifetime interval NOT NULL CHECK (request_lifetime > interval '0'),
    set_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    set_by text,
    set_by_issuer text,
    set_by_role text NOT NULL DEFAULT session_user,
    CONSTRAINT hours_of_one_day CHECK (
        (from_time IS NULL) = (until_time IS NULL) AND (from_time IS NULL OR from_time < until_time)
    ),
    CONSTRAINT who_decides CHECK (
        CASE decision
            WHEN 'automatic' THEN cardinality(approver_groups) = 0
            WHEN 'one approver' THEN cardinality(approver_groups) > 0
            ELSE cardinality(approver_groups) = 2
        END
    )
);
REVOKE ALL ON access.request_rule FROM PUBLIC;
COMMENT ON TABLE access.request_rule IS 'Who decides on which requests; written by access.set_rule and access.drop_rule, shown by access.rules';
COMMENT ON COLUMN access.request_rule.name IS 'Name of the rule';
COMMENT ON COLUMN access.request_rule.revision IS 'Another one each time the rule is set';
COMMENT ON COLUMN access.request_rule.priority IS 'The lower, the earlier the rule is looked at; among equals by name';
COMMENT ON COLUMN access.request_rule.on_object IS 'ANY, DATABASE, SCHEMA *, SCHEMA s (with what is in it), TABLE * or TABLE s.t; names, not identities';
COMMENT ON COLUMN access.request_rule.privileges IS 'It is for requests of these privileges or fewer';
COMMENT ON COLUMN access.request_rule.asker_group IS 'It is for members of this group; NULL: for everybody';
COMMENT ON COLUMN access.request_rule.sensitivity IS 'Whether what is asked for has columns with a mask policy: protected, unprotected or any';
COMMENT ON COLUMN access.request_rule.days IS 'On these days of the week, 1 is Monday; NULL: on all';
COMMENT ON COLUMN access.request_rule.from_time IS 'From this time of the day on; NULL: all day';
COMMENT ON COLUMN access.request_rule.until_time IS 'Until just before this time of the day';
COMMENT ON COLUMN access.request_rule.time_zone IS 'Whose days and hours are meant';
COMMENT ON COLUMN access.request_rule.longest IS 'It is for requests of access for this long or less';
COMMENT ON COLUMN access.request_rule.decision IS 'automatic, one approver, or two approvers';
COMMENT ON COLUMN access.request_rule.approver_groups IS 'One approver: a member of any of them. Two: a member of each, who are two people';
COMMENT ON COLUMN access.request_rule.request_lifetime IS 'How long a request under it waits';
COMMENT ON COLUMN access.request_rule.set_at IS 'When it was last set';
COMMENT ON COLUMN access.request_rule.set_by IS 'The person who did so; NULL: nobody had identified';
COMMENT ON COLUMN access.request_rule.set_by_issuer IS 'Who vouched for that person';
COMMENT ON COLUMN access.request_rule.set_by_role IS 'The role of the session that did so';
COMMENT ON CONSTRAINT hours_of_one_day ON access.request_rule IS 'Hours that go past midnight are two rules';
COMMENT ON CONSTRAINT who_decides ON access.request_rule IS 'As many groups as the decision needs';

-- ---------------------------------------------------------------------------------------------
-- Requests
-- ---------------------------------------------------------------------------------------------

CREATE TABLE access.filed_request (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    issuer text NOT NULL,
    user_id text NOT NULL,
    email text,
    subject text,
    groups text[] NOT NULL,
    token_id text,
    asked_by_role text NOT NULL DEFAULT session_user,
    privileges text[] NOT NULL CHECK (cardinality(privileges) > 0),
    object_type text NOT NULL,
    object_name text NOT NULL,
    schema_id oid,
    relation_id regclass,
    column_number smallint,
    function_id oid,
    duration interval NOT NULL CHECK (duration > interval '0'),
    row_filter text,
    reason text NOT NULL CHECK (reason <> ''),
    ticket text,
    asked_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    rule text NOT NULL,
    rule_revision bigint NOT NULL,
    decision text NOT NULL CHECK (decision IN ('automatic', 'one approver', 'two approvers')),
    approver_groups text[] NOT NULL,
    approvals integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'granted', 'rejected', 'cancelled', 'expired')),
    decided_at timestamptz,
    grant_id bigint UNIQUE REFERENCES access.issued_grant,
    CONSTRAINT decided_once CHECK ((state = 'pending') = (decided_at IS NULL)),
    CONSTRAINT granted_by_a_grant CHECK ((state = 'granted') = (grant_id IS NOT NULL))
);
CREATE INDEX filed_request_pending ON access.filed_request (expires_at) WHERE state = 'pending';
REVOKE ALL ON access.filed_request FROM PUBLIC;
COMMENT ON TABLE access.filed_request IS 'Requests for access, also decided ones; written by access.request_access and the functions that decide, shown by access.requests';
COMMENT ON COLUMN access.filed_request.id IS 'Number of the request';
COMMENT ON COLUMN access.filed_request.issuer IS 'Who vouched for the person who asked';
COMMENT ON COLUMN access.filed_request.user_id IS 'The person who asked';
COMMENT ON COLUMN access.filed_request.email IS 'The person''s email address as of the token';
COMMENT ON COLUMN access.filed_request.subject IS 'What tells the human apart, as of the claim in pg_custodian.subject_claim';
COMMENT ON COLUMN access.filed_request.groups IS 'The person''s groups as of the token';
COMMENT ON COLUMN access.filed_request.token_id IS 'The token under which the person asked';
COMMENT ON COLUMN access.filed_request.asked_by_role IS 'The role of that session';
COMMENT ON COLUMN access.filed_request.privileges IS 'What is asked for';
COMMENT ON COLUMN access.filed_request.object_type IS 'database, schema, table, column or query';
COMMENT ON COLUMN access.filed_request.object_name IS 'The object as it was called then';
COMMENT ON COLUMN access.filed_request.schema_id IS 'The schema, for object_type schema; of this very cluster';
COMMENT ON COLUMN access.filed_request.relation_id IS 'The table or view, for object_type table and column';
COMMENT ON COLUMN access.filed_request.column_number IS 'The column''s number, for object_type column';
COMMENT ON COLUMN access.filed_request.function_id IS 'The named query''s function, for object_type query; of this very cluster';
COMMENT ON COLUMN access.filed_request.duration IS 'For how long, counted from the approval';
COMMENT ON COLUMN access.filed_request.row_filter IS 'Which rows only';
COMMENT ON COLUMN access.filed_request.reason IS 'What the access is for';
COMMENT ON COLUMN access.filed_request.ticket IS 'Where the need is written down';
COMMENT ON COLUMN access.filed_request.asked_at IS 'When';
COMMENT ON COLUMN access.filed_request.expires_at IS 'First moment at which nobody can decide on it any more';
COMMENT ON COLUMN access.filed_request.rule IS 'The rule that decided who decides';
COMMENT ON COLUMN access.filed_request.rule_revision IS 'Its revision then';
COMMENT ON COLUMN access.filed_request.decision IS 'What that rule said';
COMMENT ON COLUMN access.filed_request.approver_groups IS 'Of which groups the approvers must be';
COMMENT ON COLUMN access.filed_request.approvals IS 'How many have approved it: a change of the row, so that two who decide at once see each other';
COMMENT ON COLUMN access.filed_request.state IS 'pending, granted, rejected, cancelled or expired';
COMMENT ON COLUMN access.filed_request.decided_at IS 'When it ceased to be pending';
COMMENT ON COLUMN access.filed_request.grant_id IS 'The grant that came of it';
COMMENT ON CONSTRAINT decided_once ON access.filed_request IS 'Whatever is not pending was decided at some time';
COMMENT ON CONSTRAINT granted_by_a_grant ON access.filed_request IS 'A request is granted by one grant, a grant grants one request';

CREATE TABLE access.request_vote (
    request_id bigint NOT NULL REFERENCES access.filed_request,
    issuer text NOT NULL,
    user_id text NOT NULL,
    email text,
    subject text,
    groups text[] NOT NULL CHECK (cardinality(groups) > 0),
    token_id text,
    by_role text NOT NULL DEFAULT session_user,
    approves boolean NOT NULL,
    comment text,
    at timestamptz NOT NULL,
    PRIMARY KEY (request_id, issuer, user_id)
);
REVOKE ALL ON access.request_vote FROM PUBLIC;
COMMENT ON TABLE access.request_vote IS 'Who approved or rejected which request; written by access.approve and access.reject';
COMMENT ON COLUMN access.request_vote.request_id IS 'The request';
COMMENT ON COLUMN access.request_vote.issuer IS 'Who vouched for the approver';
COMMENT ON COLUMN access.request_vote.user_id IS 'The approver';
COMMENT ON COLUMN access.request_vote.email IS 'The approver''s email address as of the token';
COMMENT ON COLUMN access.request_vote.subject IS 'What tells the human apart, as of the claim in pg_custodian.subject_claim';
COMMENT ON COLUMN access.request_vote.groups IS 'Those of the required groups that the approver was in';
COMMENT ON COLUMN access.request_vote.token_id IS 'The token under which the approver decided';
COMMENT ON COLUMN access.request_vote.by_role IS 'The role of that session';
COMMENT ON COLUMN access.request_vote.approves IS 'Approved, or rejected';
COMMENT ON COLUMN access.request_vote.comment IS 'What the approver said to it';
COMMENT ON COLUMN access.request_vote.at IS 'When';

SELECT pg_catalog.pg_extension_config_dump('access.request_rule', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('access.request_rule', 'revision')::pg_catalog.regclass, '');
SELECT pg_catalog.pg_extension_config_dump('access.filed_request', '');
SELECT pg_catalog.pg_extension_config_dump(pg_catalog.pg_get_serial_sequence('access.filed_request', 'id')::pg_catalog.regclass, '');
SELECT pg_catalog.pg_extension_config_dump('access.request_vote', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON access.filed_request
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE access.filed_request ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON access.filed_request IS 'The steward looks again which request expires first';

-- ---------------------------------------------------------------------------------------------
-- Views
-- ---------------------------------------------------------------------------------------------

CREATE VIEW access.rules WITH (security_barrier) AS
SELECT r.name, r.priority, r.on_object, r.privileges, r.asker_group, r.sensitivity, r.days, r.from_time, r.until_time,
       r.time_zone, r.longest, r.decision, r.approver_groups, r.request_lifetime, r.set_at,
       coalesce(r.set_by, r.set_by_role) AS set_by
FROM access.request_rule AS r
ORDER BY r.priority, r.name COLLATE "C";
REVOKE ALL ON access.rules FROM PUBLIC;
COMMENT ON VIEW access.rules IS 'Who decides on which requests: of the rules that fit, the first one in this order';
COMMENT ON COLUMN access.rules.set_by IS 'The person who last set it, or else the role of the session';

CREATE VIEW access.requests WITH (security_barrier) AS
SELECT q.id,
       q.issuer,
       q.user_id,
       q.email,
       q.privileges,
       CASE
           WHEN q.object_type = 'database' THEN 'DATABASE'
           WHEN n.oid IS NOT NULL THEN 'SCHEMA ' || pg_catalog.quote_ident(n.nspname)
           WHEN q.object_type = 'table' AND c.oid IS NOT NULL THEN
               'TABLE ' || pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(c.relname)
           WHEN q.object_type = 'column' AND a.attname IS NOT NULL THEN
               'COLUMN ' || pg_catalog.quote_ident(s.nspname) || '.' || pg_catalog.quote_ident(c.relname)
               || '.' || pg_catalog.quote_ident(a.attname)
           WHEN p.oid IS NOT NULL THEN 'QUERY ' || pg_catalog.quote_ident(p.proname)
           ELSE q.object_name || ' (dropped)'
       END AS object,
       q.duration,
       q.row_filter AS rows,
       q.reason,
       q.ticket,
       q.asked_at,
       q.expires_at,
       q.rule,
       q.decision,
       q.approver_groups,
       ARRAY(SELECT v.user_id FROM access.request_vote AS v
             WHERE v.request_id = q.id AND v.approves ORDER BY v.at) AS approved_by,
       (SELECT v.user_id FROM access.request_vote AS v
        WHERE v.request_id = q.id AND NOT v.approves LIMIT 1) AS rejected_by,
       CASE WHEN q.state = 'pending' AND q.expires_at <= pg_catalog.clock_timestamp() THEN 'expired' ELSE q.state END AS state,
       q.decided_at,
       (SELECT v.comment FROM access.request_vote AS v
        WHERE v.request_id = q.id AND v.comment IS NOT NULL ORDER BY v.at DESC LIMIT 1) AS comment,
       q.grant_id
FROM access.filed_request AS q
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = q.schema_id
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = q.relation_id
LEFT JOIN pg_catalog.pg_namespace AS s ON s.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_attribute AS a
    ON a.attrelid = q.relation_id AND a.attnum = q.column_number AND NOT a.attisdropped
LEFT JOIN pg_catalog.pg_proc AS p ON p.oid = q.function_id;
REVOKE ALL ON access.requests FROM PUBLIC;
COMMENT ON VIEW access.requests IS 'All requests, also decided ones, with the present names of their objects';
COMMENT ON COLUMN access.requests.id IS 'Number of the request, for access.approve, reject and cancel';
COMMENT ON COLUMN access.requests.duration IS 'For how long, counted from the approval';
COMMENT ON COLUMN access.requests.rule IS 'The rule that decided who decides';
COMMENT ON COLUMN access.requests.approver_groups IS 'One approver: a member of any of them. Two: a member of each, who are two people';
COMMENT ON COLUMN access.requests.state IS 'pending, granted, rejected, cancelled or expired';
COMMENT ON COLUMN access.requests.comment IS 'What the last one who decided said to it';
COMMENT ON COLUMN access.requests.grant_id IS 'The grant that came of it: access.grants has it';

CREATE VIEW access.my_requests WITH (security_barrier) AS
SELECT q.*
FROM access.requests AS q,
     (SELECT p.issuer, p.user_id FROM custodian.whoami() AS p) AS me
WHERE q.user_id = me.user_id AND q.issuer = me.issuer;
REVOKE ALL ON access.my_requests FROM PUBLIC;
COMMENT ON VIEW access.my_requests IS 'The requests of the person of this session; empty without a person';

CREATE VIEW access.pending_approvals WITH (security_barrier) AS
SELECT q.id, q.user_id, q.email, q.privileges, q.object, q.duration, q.rows, q.reason, q.ticket, q.asked_at, q.expires_at,
       q.rule, q.decision, q.approver_groups, q.approved_by
FROM access.requests AS q,
     (SELECT p.issuer, p.user_id, p.email, p.groups FROM custodian.whoami() AS p) AS me
WHERE q.state = 'pending'
  AND q.approver_groups && me.groups
  AND q.user_id <> me.user_id
  AND lower(q.email) IS DISTINCT FROM lower(coalesce(me.email, ''))
  AND NOT EXISTS (SELECT FROM access.request_vote AS v
                  WHERE v.request_id = q.id
                    AND (v.user_id = me.user_id OR lower(v.email) = lower(me.email)));
REVOKE ALL ON access.pending_approvals FROM PUBLIC;
COMMENT ON VIEW access.pending_approvals IS 'The requests that wait for the person of this session; empty without a person';

-- ---------------------------------------------------------------------------------------------
-- Functions
-- ---------------------------------------------------------------------------------------------

CREATE FUNCTION access.set_rule(
    name text,
    decision text,
    on_object text DEFAULT 'ANY',
    privileges text[] DEFAULT ARRAY['select'],
    asker_group text DEFAULT NULL,
    sensitivity text DEFAULT 'any',
    days integer[] DEFAULT NULL,
    from_time time DEFAULT NULL,
    until_time time DEFAULT NULL,
    time_zone text DEFAULT 'UTC',
    longest interval DEFAULT '8 hours',
    approver_groups text[] DEFAULT '{}',
    priority integer DEFAULT 100,
    request_lifetime interval DEFAULT '24 hours'
) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'set_rule_wrapper';
REVOKE ALL ON FUNCTION access.set_rule(text, text, text, text[], text, text, integer[], time, time, text, interval, text[], integer, interval) FROM PUBLIC;
COMMENT ON FUNCTION access.set_rule(text, text, text, text[], text, text, integer[], time, time, text, interval, text[], integer, interval) IS 'Sets who decides on which requests: automatic, one approver or two approvers';

CREATE FUNCTION access.drop_rule(name text) RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'drop_rule_wrapper';
REVOKE ALL ON FUNCTION access.drop_rule(text) FROM PUBLIC;
COMMENT ON FUNCTION access.drop_rule(text) IS 'Removes a rule; what waits for approval under it cannot be approved any more';

CREATE FUNCTION access.request_access(
    privileges text[],
    on_object text,
    duration interval,
    reason text,
    ticket text DEFAULT NULL,
    rows text DEFAULT NULL
) RETURNS access.requests
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'request_access_wrapper';
REVOKE ALL ON FUNCTION access.request_access(text[], text, interval, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION access.request_access(text[], text, interval, text, text, text) IS 'Asks for access for the person of this session; granted at once where a rule says so';

CREATE FUNCTION access.approve(request_id bigint, comment text DEFAULT NULL) RETURNS access.requests
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'approve_request_wrapper';
REVOKE ALL ON FUNCTION access.approve(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION access.approve(bigint, text) IS 'Approves a request of somebody else''s; the last approval that it needs grants it';

CREATE FUNCTION access.reject(request_id bigint, comment text) RETURNS access.requests
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'reject_request_wrapper';
REVOKE ALL ON FUNCTION access.reject(bigint, text) FROM PUBLIC;
COMMENT ON FUNCTION access.reject(bigint, text) IS 'Rejects a request of somebody else''s, and says why';

CREATE FUNCTION access.cancel(request_id bigint) RETURNS access.requests
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'cancel_request_wrapper';
REVOKE ALL ON FUNCTION access.cancel(bigint) FROM PUBLIC;
COMMENT ON FUNCTION access.cancel(bigint) IS 'Withdraws a request of one''s own';
