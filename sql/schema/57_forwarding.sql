-- What standbys send to the primary's ledger.

-- One row for each journal of a standby, written by the ledger writer together with the rows it describes.
CREATE TABLE audit.origins (
    journal          bytea       NOT NULL,
    server           text        NOT NULL,
    role             text        NOT NULL,
    journal_position bigint      NOT NULL,
    journal_rows     integer     NOT NULL,
    needed_from      bigint      NOT NULL,
    updated_at       timestamptz NOT NULL
);
REVOKE ALL ON audit.origins FROM PUBLIC;
COMMENT ON TABLE audit.origins IS 'How far the ledger is with what standbys have recorded: one row for each of their journals';
COMMENT ON COLUMN audit.origins.journal IS 'Name of the standby''s journal';
COMMENT ON COLUMN audit.origins.server IS 'Name of the standby: its cluster_name, or the beginning of its journal''s name';
COMMENT ON COLUMN audit.origins.role IS 'Role by which it is forwarded; no other one is accepted';
COMMENT ON COLUMN audit.origins.journal_position IS 'Everything below is in this ledger';
COMMENT ON COLUMN audit.origins.journal_rows IS 'How many rows of what follows are, too';
COMMENT ON COLUMN audit.origins.needed_from IS 'The standby''s journal below is of no more use';
COMMENT ON COLUMN audit.origins.updated_at IS 'When the writer stored it';

SELECT audit.guard_table('audit.origins');

CREATE FUNCTION audit.accept_forwarded(
    server text, journal bytea, from_position bigint, from_rows integer, from_needed bigint,
    to_position bigint, to_rows integer, to_needed bigint, records bytea,
    OUT stored_position bigint, OUT stored_rows integer, OUT stored_needed_from bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 1
    AS 'MODULE_PATHNAME', 'ledger_accept_forwarded_wrapper';
REVOKE ALL ON FUNCTION audit.accept_forwarded(text, bytea, bigint, integer, bigint, bigint, integer, bigint, bytea) FROM PUBLIC;
COMMENT ON FUNCTION audit.accept_forwarded(text, bytea, bigint, integer, bigint, bigint, integer, bigint, bytea) IS 'Called by a standby: takes what it has recorded, and says how far the ledger is with its journal';
