-- What left its tables, or was to.

CREATE VIEW audit.exports AS
SELECT e.seq, e.at, e.object AS means, e.outcome = 'ok' AS allowed, e.issuer, e.user_id, e.user_email, e.token_id,
       e.session, e.session_role, e.client_addr, e.application, (e.detail::jsonb ->> 'statement')::bigint AS number,
       s.command, s.objects, audit.field_policies(s.masked, s.revealed) AS fields, s.query AS statement, s.grants,
       s.rows, s.bytes, s.outcome, s.sqlstate,
       substring(e.session FROM '@(.*)') AS server
FROM audit.ledger AS e
LEFT JOIN audit.ledger AS s
    ON s.event = 'statement' AND s.session = e.session AND s.statement = (e.detail::jsonb ->> 'statement')::bigint
WHERE e.event = 'export';
REVOKE ALL ON audit.exports FROM PUBLIC;
COMMENT ON VIEW audit.exports IS 'Exports, allowed or refused: COPY, new tables, foreign tables, large objects, files, replication, other servers';
COMMENT ON COLUMN audit.exports.means IS 'copy_to_client, copy_to_file, copy_to_program, copy_from_program, new_table, foreign_table, large_object, server_file, replication or other_server';
COMMENT ON COLUMN audit.exports.allowed IS 'Whether it was let begin; what became of it is the outcome';
COMMENT ON COLUMN audit.exports.number IS 'Number of the statement in its session';
COMMENT ON COLUMN audit.exports.outcome IS 'Outcome of the statement; NULL while it goes on';
