-- The ledger, its guards, and the views that auditors query.

-- Columns are in the order in which the chain hashes them: see docs/ledger-format.md. Each month has
-- its partition; "stored" rises with "seq", so that each holds a run of numbers.
CREATE TABLE audit.ledger (
    seq             bigint      NOT NULL,
    at              timestamptz NOT NULL,
    stored          timestamptz NOT NULL,
    event           text        NOT NULL,
    session         text        NOT NULL,
    statement       integer,
    parent          integer,
    depth           smallint,
    pid             integer     NOT NULL,
    issuer          text,
    user_id         text,
    user_email      text,
    token_id        text,
    session_role    text        NOT NULL,
    role            text        NOT NULL,
    client_addr     text,
    application     text        NOT NULL,
    class           text,
    command         text,
    origin          text,
    objects         text[],
    object_types    text[],
    changes         text[],
    columns_read    text[],
    columns_written text[],
    masked          text[],
    revealed        text[],
    query           text,
    parameters      text[],
    grants          bigint[],
    rows            bigint,
    duration        bigint,
    bytes           bigint,
    transaction     bigint,
    committed       boolean,
    outcome         text        NOT NULL,
    sqlstate        text,
    object          text,
    detail          text,
    hash            bytea       NOT NULL
) PARTITION BY RANGE (stored);
REVOKE ALL ON audit.ledger FROM PUBLIC;
-- Rows lie in the file in the order of their numbers, and nearly in that of their times: the lowest and the
-- highest in each 32 pages say where to look, and cost the writer next to nothing. That no number is there twice
-- is what the chain proves.
CREATE INDEX ledger_place ON audit.ledger USING brin (seq, at) WITH (pages_per_range = 32, autosummarize = on);
-- Few rows say how a transaction ended that changed something; audit.statements asks for each statement.
CREATE INDEX ledger_transactions ON audit.ledger
    (session, (CASE WHEN event = 'transaction' THEN object::bigint ELSE transaction END))
    WHERE committed IS NOT NULL OR event = 'transaction';
COMMENT ON TABLE audit.ledger IS 'Everything that was recorded, append-only, each row chained to the one before by its hash; written by the ledger writer only';
COMMENT ON COLUMN audit.ledger.seq IS 'Number of the row, from 1, without gaps';
COMMENT ON COLUMN audit.ledger.at IS 'When the statement began or the event happened';
COMMENT ON COLUMN audit.ledger.stored IS 'When the ledger writer took it up; never earlier than in the row before';
COMMENT ON COLUMN audit.ledger.event IS 'statement, identity, grant, revoke, policy, enrollment, issuer, revocation, gap, ...';
COMMENT ON COLUMN audit.ledger.session IS 'The session, as log_line_prefix shows it for %c; then @ and the name of the standby, if it was on one';
COMMENT ON COLUMN audit.ledger.statement IS 'Number of the statement in its session';
COMMENT ON COLUMN audit.ledger.parent IS 'Number of the statement that ran this one; NULL if the client sent it';
COMMENT ON COLUMN audit.ledger.depth IS 'How many statements this one is nested in';
COMMENT ON COLUMN audit.ledger.pid IS 'Process of the session';
COMMENT ON COLUMN audit.ledger.issuer IS 'Issuer of the person''s token';
COMMENT ON COLUMN audit.ledger.user_id IS 'The person; NULL if there was none';
COMMENT ON COLUMN audit.ledger.user_email IS 'The person''s e-mail address, as the issuer stated it';
COMMENT ON COLUMN audit.ledger.token_id IS 'Identifier of the token (jti)';
COMMENT ON COLUMN audit.ledger.session_role IS 'Role that logged in';
COMMENT ON COLUMN audit.ledger.role IS 'Role whose rights counted';
COMMENT ON COLUMN audit.ledger.client_addr IS 'Address of the client; [local] for a Unix socket';
COMMENT ON COLUMN audit.ledger.application IS 'application_name';
COMMENT ON COLUMN audit.ledger.class IS 'READ, WRITE, FUNCTION, ROLE, DDL, MISC or MISC_SET';
COMMENT ON COLUMN audit.ledger.command IS 'Command tag';
COMMENT ON COLUMN audit.ledger.origin IS 'trigger, foreign key or extension, for a statement that one of these ran';
COMMENT ON COLUMN audit.ledger.objects IS 'Relations used, also through views, and what was created, altered, dropped or called; schema-qualified';
COMMENT ON COLUMN audit.ledger.object_types IS 'Type of each of the objects: table, view, function, ...';
COMMENT ON COLUMN audit.ledger.changes IS 'What became of each of the objects: created, altered, old name, new name, dropped, truncated, called; NULL for one that was used';
COMMENT ON COLUMN audit.ledger.columns_read IS 'Columns read, as schema.table.column';
COMMENT ON COLUMN audit.ledger.columns_written IS 'Columns inserted or updated, as schema.table.column';
COMMENT ON COLUMN audit.ledger.masked IS 'Protected columns that were shown masked';
COMMENT ON COLUMN audit.ledger.revealed IS 'Protected columns that were shown in clear';
COMMENT ON COLUMN audit.ledger.query IS 'Text of the statement, without secrets';
COMMENT ON COLUMN audit.ledger.parameters IS 'Values of its parameters';
COMMENT ON COLUMN audit.ledger.grants IS 'Grants that it relied on';
COMMENT ON COLUMN audit.ledger.rows IS 'Rows returned or changed';
COMMENT ON COLUMN audit.ledger.duration IS 'Microseconds from beginning to end; NULL if the end was not seen';
COMMENT ON COLUMN audit.ledger.bytes IS 'Bytes sent to the client while it ran; NULL for none';
COMMENT ON COLUMN audit.ledger.transaction IS 'Number of the transaction, as pg_current_xact_id() has it, if that had changed something by then';
COMMENT ON COLUMN audit.ledger.committed IS 'Whether the transaction was committed, on the row of the statement that ended it';
COMMENT ON COLUMN audit.ledger.outcome IS 'ok, error, denied, cancelled or interrupted';
COMMENT ON COLUMN audit.ledger.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN audit.ledger.object IS 'What an event that is no statement was done to';
COMMENT ON COLUMN audit.ledger.detail IS 'Facts of an event that is no statement, as JSON';
COMMENT ON COLUMN audit.ledger.hash IS 'SHA-256 over the hash before and this row''s canonical bytes';

CREATE FUNCTION custodian.journal_name() RETURNS bytea
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'journal_name_wrapper';
REVOKE ALL ON FUNCTION custodian.journal_name() FROM PUBLIC;
COMMENT ON FUNCTION custodian.journal_name() IS 'Random name of the server''s audit journal';

CREATE FUNCTION custodian.journal_position() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'journal_position_wrapper';
REVOKE ALL ON FUNCTION custodian.journal_position() FROM PUBLIC;
COMMENT ON FUNCTION custodian.journal_position() IS 'End of the server''s audit journal, in bytes';

CREATE FUNCTION custodian.start_ledger_writer() RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'start_ledger_writer_wrapper';
REVOKE ALL ON FUNCTION custodian.start_ledger_writer() FROM PUBLIC;
COMMENT ON FUNCTION custodian.start_ledger_writer() IS 'Gives this database a ledger writer, should it lack one';

-- Only one row: how far the ledger is.
CREATE TABLE audit.chain (
    journal          bytea       NOT NULL,
    journal_position bigint      NOT NULL,
    needed_from      bigint      NOT NULL,
    seq              bigint      NOT NULL,
    hash             bytea       NOT NULL,
    updated_at       timestamptz NOT NULL
);
REVOKE ALL ON audit.chain FROM PUBLIC;
COMMENT ON TABLE audit.chain IS 'How far the ledger is: one row, written by the ledger writer together with the rows it describes';
COMMENT ON COLUMN audit.chain.journal IS 'Name of the journal that the positions belong to';
COMMENT ON COLUMN audit.chain.journal_position IS 'Everything below is in the ledger';
COMMENT ON COLUMN audit.chain.needed_from IS 'The journal below is of no more use';
COMMENT ON COLUMN audit.chain.seq IS 'Number of the last row';
COMMENT ON COLUMN audit.chain.hash IS 'Hash of the last row';
COMMENT ON COLUMN audit.chain.updated_at IS 'When the writer stored it';

INSERT INTO audit.chain
SELECT custodian.journal_name(), p.position, p.position, 0, decode(repeat('00', 32), 'hex'), now()
FROM (SELECT custodian.journal_position()) AS p(position);

CREATE FUNCTION audit.refuse_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RAISE EXCEPTION 'audit ledger is append-only: % on "%.%" is not allowed', TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Query it through the views of schema "audit".';
END
$$;
REVOKE ALL ON FUNCTION audit.refuse_change() FROM PUBLIC;
COMMENT ON FUNCTION audit.refuse_change() IS 'Guard of the ledger: refuses whatever it is called for';

-- For each statement, so that one which would touch no row is refused as well, and for each row, because a
-- replication worker applies rows without a statement; ALWAYS, so that session_replication_role makes no
-- difference. The ledger writer works below SQL.
CREATE FUNCTION audit.guard_table(guarded regclass) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    guard record;
BEGIN
    FOR guard IN
        SELECT * FROM (VALUES
            ('append_only', 'INSERT OR UPDATE OR DELETE', 'STATEMENT', 'Guard: no INSERT, UPDATE, DELETE or MERGE'),
            ('append_only_row', 'INSERT OR UPDATE OR DELETE', 'ROW', 'Guard: no row by replication'),
            ('no_truncate', 'TRUNCATE', 'STATEMENT', 'Guard: no TRUNCATE')) AS g (name, events, level, purpose)
        -- A partition has the guards for each row of its table already.
        WHERE NOT EXISTS (SELECT FROM pg_trigger AS t WHERE t.tgrelid = guarded AND t.tgname = g.name)
    LOOP
        EXECUTE format('CREATE TRIGGER %I BEFORE %s ON %s FOR EACH %s EXECUTE FUNCTION audit.refuse_change()',
            guard.name, guard.events, guarded, guard.level);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', guarded, guard.name);
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', guard.name, guarded, guard.purpose);
    END LOOP;
END
$$;
REVOKE ALL ON FUNCTION audit.guard_table(regclass) FROM PUBLIC;
COMMENT ON FUNCTION audit.guard_table(regclass) IS 'Puts the guards on a table of the ledger; for the extension itself';
SELECT audit.guard_table('audit.ledger'), audit.guard_table('audit.chain');

-- A partition is attached, not created as one: auditors who read the ledger meanwhile do not keep the writer
-- waiting, nor the writer them. Guards for a statement are not inherited.
CREATE FUNCTION audit.make_partition(month date) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    name text := to_char(month, '"ledger_"YYYY_MM');
    owner text;
BEGIN
    SELECT quote_ident(r.rolname) INTO owner FROM pg_class AS c JOIN pg_roles AS r ON r.oid = c.relowner
    WHERE c.oid = 'audit.ledger'::regclass;
    -- Vacuum gives no pages back that the writer is about to fill, and comes often enough to summarize them.
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.ledger) '
                   'WITH (vacuum_truncate = off, autovacuum_vacuum_insert_scale_factor = 0.02)', name);
    EXECUTE format('REVOKE ALL ON audit.%I FROM PUBLIC', name);
    EXECUTE format('ALTER TABLE audit.%I OWNER TO %s', name, owner);
    EXECUTE format('COMMENT ON TABLE audit.%I IS %L', name,
                   'The rows of audit.ledger that were stored in ' || to_char(month, 'YYYY-MM'));
    EXECUTE format('ALTER TABLE audit.ledger ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)',
                   name, date_trunc('month', month::timestamptz), date_trunc('month', month::timestamptz) + interval '1 month');
    PERFORM audit.guard_table(format('audit.%I', name)::regclass);
    IF NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass
                   AND objid = format('audit.%I', name)::regclass AND deptype = 'e') THEN
        EXECUTE format('ALTER EXTENSION pg_custodian ADD TABLE audit.%I', name);
    END IF;
END
$$;
REVOKE ALL ON FUNCTION audit.make_partition(date) FROM PUBLIC;
COMMENT ON FUNCTION audit.make_partition(date) IS 'Makes the partition of a month; called by the ledger writer';

-- Questions are about a person, an object, a class or a command, and a time. While a month goes on, its rows
-- are found by time.
CREATE FUNCTION audit.index_partition(partition text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    kind text;
    keys text;
BEGIN
    -- The last one says that all are there.
    FOR kind, keys IN VALUES ('person', 'btree (user_id, at)'), ('class', 'btree (class, at)'),
                             ('command', 'btree (command, at)'), ('objects', 'gin (objects)') LOOP
        EXECUTE format('CREATE INDEX %I ON audit.%I USING %s', partition || '_' || kind, partition, keys);
    END LOOP;
    PERFORM brin_summarize_new_values(i.indexrelid)
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
    WHERE i.indrelid = format('audit.%I', partition)::regclass AND a.amname = 'brin';
    EXECUTE format('ANALYZE audit.%I', partition);
END
$$;
REVOKE ALL ON FUNCTION audit.index_partition(text) FROM PUBLIC;
COMMENT ON FUNCTION audit.index_partition(text) IS 'Builds the indexes of a month that is over; called for the ledger writer';

SELECT audit.make_partition(d.month::date)
FROM (VALUES (now() AT TIME ZONE 'UTC'), (now() AT TIME ZONE 'UTC' + interval '1 month')) AS d(month);

-- What is left of partitions that audit.retain() has removed; the ledger begins behind the last of them.
CREATE TABLE audit.retired (
    partition   text        NOT NULL,
    first_seq   bigint      NOT NULL,
    last_seq    bigint      NOT NULL,
    rows        bigint      NOT NULL,
    hash_before bytea       NOT NULL,
    last_hash   bytea       NOT NULL,
    exported_to text        NOT NULL,
    sha256      bytea       NOT NULL,
    retired_at  timestamptz NOT NULL
);
REVOKE ALL ON audit.retired FROM PUBLIC;
COMMENT ON TABLE audit.retired IS 'Partitions of the ledger that were exported and removed; written by audit.retain() only';
COMMENT ON COLUMN audit.retired.partition IS 'Name of the partition: its month';
COMMENT ON COLUMN audit.retired.hash_before IS 'Hash of the row before its first, where its part of the chain begins';
COMMENT ON COLUMN audit.retired.last_hash IS 'Hash of its last row, where the rest of the ledger goes on';
COMMENT ON COLUMN audit.retired.exported_to IS 'The file, on the server, as it was called then';
COMMENT ON COLUMN audit.retired.sha256 IS 'SHA-256 over the file';
SELECT audit.guard_table('audit.retired');

CREATE FUNCTION audit.field_policies(masked text[], revealed text[]) RETURNS jsonb
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Not as text, which would be looked up at each call: whoever makes a function that fits better would be called.
RETURN (
    SELECT pg_catalog.jsonb_object_agg(f.name, f.policy)
    FROM (SELECT m.name, 'masked' AS policy FROM pg_catalog.unnest(masked) AS m(name)
          UNION ALL
          SELECT r.name, 'revealed' FROM pg_catalog.unnest(revealed) AS r(name)) AS f
);
REVOKE ALL ON FUNCTION audit.field_policies(text[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION audit.field_policies(text[], text[]) IS 'Protected columns of a statement as one object, such as {"iban": "masked"}';

CREATE VIEW audit.transactions AS
SELECT seq, session, CASE WHEN event = 'transaction' THEN object::bigint ELSE transaction END AS transaction,
       CASE WHEN event = 'transaction' THEN (detail::jsonb -> 'committed')::boolean ELSE committed END AS committed,
       at, issuer, user_id, user_email, session_role
FROM audit.ledger
WHERE committed IS NOT NULL OR event = 'transaction';
REVOKE ALL ON audit.transactions FROM PUBLIC;
COMMENT ON VIEW audit.transactions IS 'How transactions ended that changed something: one row each, as of the statement or event that ended it';
COMMENT ON COLUMN audit.transactions.transaction IS 'Its number, as pg_current_xact_id() has it';
COMMENT ON COLUMN audit.transactions.committed IS 'Whether it committed, or was rolled back';

CREATE VIEW audit.statements AS
SELECT seq, at, issuer, user_id, user_email, token_id, session, statement AS number, parent, depth, pid,
       session_role, role, client_addr, application, class, command, origin, objects, object_types, changes,
       columns_read, columns_written, audit.field_policies(masked, revealed) AS fields, query AS statement,
       parameters, grants, rows, duration * interval '1 microsecond' AS duration, bytes, transaction,
       CASE WHEN EXISTS (SELECT FROM audit.transactions AS t
                         WHERE t.session = l.session AND t.transaction = l.transaction AND t.committed) THEN true
            WHEN EXISTS (SELECT FROM audit.transactions AS t
                         WHERE t.session = l.session AND t.transaction = l.transaction AND NOT t.committed) THEN false
       END AS committed,
       outcome, sqlstate, substring(session FROM '@(.*)') AS server
FROM audit.ledger AS l
WHERE event = 'statement';
REVOKE ALL ON audit.statements FROM PUBLIC;
COMMENT ON VIEW audit.statements IS 'Every recorded statement: who, when, what, on which objects and fields, with which outcome';
COMMENT ON COLUMN audit.statements.origin IS 'trigger, foreign key or extension, for a statement that one of these ran';
COMMENT ON COLUMN audit.statements.object_types IS 'Type of each of the objects';
COMMENT ON COLUMN audit.statements.changes IS 'What became of each of the objects; NULL for one that was used';
COMMENT ON COLUMN audit.statements.fields IS 'Protected columns, masked or revealed';
COMMENT ON COLUMN audit.statements.statement IS 'Text of the statement, without secrets';
COMMENT ON COLUMN audit.statements.bytes IS 'Bytes sent to the client while it ran';
COMMENT ON COLUMN audit.statements.transaction IS 'Number of its transaction, if that had changed something by then';
COMMENT ON COLUMN audit.statements.committed IS 'Whether that transaction committed; NULL while it goes on, and if the server died in it';
COMMENT ON COLUMN audit.statements.server IS 'The standby that it ran on; NULL: this server';
COMMENT ON COLUMN audit.statements.number IS 'Number of the statement in its session';

CREATE VIEW audit.objects AS
SELECT l.seq, l.at, l.user_id, l.user_email, l.session_role, l.class, l.command, l.outcome,
       o.name, o.type, o.change
FROM audit.ledger AS l, unnest(l.objects, l.object_types, l.changes) AS o(name, type, change)
WHERE l.event = 'statement';
REVOKE ALL ON audit.objects FROM PUBLIC;
COMMENT ON VIEW audit.objects IS 'The objects of the recorded statements, a row for each, with what became of them';

CREATE VIEW audit.events AS
SELECT seq, at, event, issuer, user_id, user_email, token_id, session, pid, session_role, role, client_addr,
       application, outcome, sqlstate, object, detail::jsonb AS detail, substring(session FROM '@(.*)') AS server
FROM audit.ledger
WHERE event <> 'statement';
REVOKE ALL ON audit.events FROM PUBLIC;
COMMENT ON VIEW audit.events IS 'Everything recorded that is not a statement: identification, grants, policies, lost parts of the journal';
COMMENT ON COLUMN audit.events.server IS 'The standby that it happened on; NULL: this server';

CREATE VIEW audit.denials AS
SELECT seq, at, user_id, user_email, session_role, client_addr, event,
       coalesce(query, object) AS what, objects, sqlstate, detail::jsonb AS detail,
       substring(session FROM '@(.*)') AS server
FROM audit.ledger
-- A refused export is its statement's refusal.
WHERE outcome = 'denied' AND event <> 'export';
REVOKE ALL ON audit.denials FROM PUBLIC;
COMMENT ON VIEW audit.denials IS 'What was refused';
COMMENT ON COLUMN audit.denials.server IS 'The standby that it happened on; NULL: this server';

-- The statement inside a named query names it as an object of the type "query": name and typed parameters.
CREATE VIEW audit.access_log AS
SELECT user_id, user_email,
       coalesce(substring(q.call FROM '^queries\.([^(]*)'), command) AS function_name,
       CASE WHEN q.call IS NULL THEN parameters
            ELSE ARRAY(SELECT concat(t.name, ' = ', coalesce(v.value, 'NULL'))
                       FROM unnest(string_to_array(substring(q.call FROM '\((.+)\)$'), ', '))
                           WITH ORDINALITY AS t(name, place)
                       LEFT JOIN unnest(parameters) WITH ORDINALITY AS v(value, place) USING (place)
                       ORDER BY place)
       END AS parameters,
       rows AS rows_returned, audit.field_policies(masked, revealed) AS field_policies_applied, at AS called_at
FROM audit.ledger
LEFT JOIN LATERAL (SELECT objects[array_position(object_types, 'query')] AS call) AS q ON true
WHERE event = 'statement';
REVOKE ALL ON audit.access_log FROM PUBLIC;
COMMENT ON VIEW audit.access_log IS 'Statements in the shape that auditors know; calls of named queries by name, with typed parameters';
COMMENT ON COLUMN audit.access_log.function_name IS 'The named query; else the command';
COMMENT ON COLUMN audit.access_log.parameters IS 'Of a named query with names and types: "order_id text = 4711"';

CREATE FUNCTION audit.sync(timeout interval DEFAULT '30 s') RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'ledger_sync_wrapper';
REVOKE ALL ON FUNCTION audit.sync(interval) FROM PUBLIC;
COMMENT ON FUNCTION audit.sync(interval) IS 'Waits until the ledger has what was recorded before the call';

CREATE FUNCTION audit.retain(
    keep interval,
    OUT partition text, OUT first_seq bigint, OUT last_seq bigint, OUT rows bigint, OUT exported_to text, OUT sha256 text)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
    AS 'MODULE_PATHNAME', 'ledger_retain_wrapper';
REVOKE ALL ON FUNCTION audit.retain(interval) FROM PUBLIC;
COMMENT ON FUNCTION audit.retain(interval) IS 'Verifies, exports and removes the partitions of months that ended so long ago; leaves their hashes in audit.retired';
