-- What convinces somebody who does not trust this database: docs/ledger-format.md.

-- Written below SQL by the steward only.
CREATE TABLE audit.checkpoints (
    seq      bigint      NOT NULL,
    hash     bytea       NOT NULL,
    rows     bigint      NOT NULL,
    root     bytea       NOT NULL,
    at       timestamptz NOT NULL,
    previous bytea       NOT NULL,
    link     bytea       NOT NULL
);
REVOKE ALL ON audit.checkpoints FROM PUBLIC;
COMMENT ON TABLE audit.checkpoints IS 'The end of the ledger''s chain at each minute of activity, append-only, each checkpoint linked to the one before; written by the steward only';
COMMENT ON COLUMN audit.checkpoints.seq IS 'Number of the last row';
COMMENT ON COLUMN audit.checkpoints.hash IS 'Hash of the last row';
COMMENT ON COLUMN audit.checkpoints.rows IS 'Rows since the checkpoint before';
COMMENT ON COLUMN audit.checkpoints.root IS 'Root of the Merkle tree over the hashes of these rows';
COMMENT ON COLUMN audit.checkpoints.at IS 'When it was made';
COMMENT ON COLUMN audit.checkpoints.previous IS 'Link of the checkpoint before; zero bytes in the first one';
COMMENT ON COLUMN audit.checkpoints.link IS 'SHA-256 over all of these';

SELECT audit.guard_table('audit.checkpoints');

-- Its workers cannot be had where a parallel query has called it.
CREATE FUNCTION audit.verify(
    from_seq bigint DEFAULT NULL, to_seq bigint DEFAULT NULL, against jsonb DEFAULT NULL, workers integer DEFAULT 0,
    OUT ok boolean, OUT rows bigint, OUT from_seq bigint, OUT to_seq bigint,
    OUT first_bad bigint, OUT problem text, OUT head_hash bytea)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    AS 'MODULE_PATHNAME', 'ledger_verify_wrapper';
REVOKE ALL ON FUNCTION audit.verify(bigint, bigint, jsonb, integer) FROM PUBLIC;
COMMENT ON FUNCTION audit.verify(bigint, bigint, jsonb, integer) IS 'Compares the ledger''s rows with their hashes, its end with what the writer stored, and all with the checkpoints and with one kept elsewhere; names the first bad row';

CREATE FUNCTION audit.checkpoint() RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'ledger_checkpoint_wrapper';
REVOKE ALL ON FUNCTION audit.checkpoint() FROM PUBLIC;
COMMENT ON FUNCTION audit.checkpoint() IS 'Makes a checkpoint now, to be kept elsewhere and given to audit.verify(against => ...) later';

CREATE FUNCTION audit.prove(seq bigint) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
    AS 'MODULE_PATHNAME', 'ledger_prove_wrapper';
REVOKE ALL ON FUNCTION audit.prove(bigint) FROM PUBLIC;
COMMENT ON FUNCTION audit.prove(bigint) IS 'One row with a proof that it was in the ledger when a checkpoint was made, for the offline verifier';

CREATE FUNCTION audit.export(from_seq bigint DEFAULT NULL, to_seq bigint DEFAULT NULL) RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (to_jsonb(l) || jsonb_build_object(
                'at', (extract(epoch FROM l.at) * 1000000)::bigint - 946684800000000,
                'stored', (extract(epoch FROM l.stored) * 1000000)::bigint - 946684800000000,
                'hash', encode(l.hash, 'hex')))::text
    FROM audit.ledger AS l
    WHERE l.seq >= coalesce(from_seq, 1) AND l.seq <= coalesce(to_seq, 9223372036854775807)
    ORDER BY l.seq
$$;
REVOKE ALL ON FUNCTION audit.export(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION audit.export(bigint, bigint) IS 'Rows of the ledger as JSON lines, for the offline verifier';

CREATE FUNCTION audit.export_checkpoints() RETURNS SETOF text
    LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$
    SELECT jsonb_build_object(
        'seq', c.seq, 'hash', encode(c.hash, 'hex'), 'rows', c.rows, 'root', encode(c.root, 'hex'),
        'at', (extract(epoch FROM c.at) * 1000000)::bigint - 946684800000000,
        'previous', encode(c.previous, 'hex'), 'link', encode(c.link, 'hex'))::text
    FROM audit.checkpoints AS c
    ORDER BY c.seq
$$;
REVOKE ALL ON FUNCTION audit.export_checkpoints() FROM PUBLIC;
COMMENT ON FUNCTION audit.export_checkpoints() IS 'All checkpoints as JSON lines, for the offline verifier';
