-- Masking of the tables themselves: what it needs in SQL.

-- regclass, not oid: see mask.policy
CREATE TABLE mask.keeper (
    relation regclass PRIMARY KEY,
    permitted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    permitted_by_role text NOT NULL DEFAULT session_user
);
REVOKE ALL ON mask.keeper FROM PUBLIC;
COMMENT ON TABLE mask.keeper IS 'Tables into which people may insert masks, beside temporary ones; administrators insert and delete rows';
COMMENT ON COLUMN mask.keeper.relation IS 'The table';
COMMENT ON COLUMN mask.keeper.permitted_at IS 'Since when';
COMMENT ON COLUMN mask.keeper.permitted_by_role IS 'The role of the session that permitted it';
SELECT pg_catalog.pg_extension_config_dump('mask.keeper', '');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.keeper
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.keeper ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.keeper IS 'Every session learns what is permitted once it is committed';

-- The planner's hook adds these to queries of people on the catalogs of statistics. What they ask for is in the
-- backend's memory, where parallel workers do not see it: PARALLEL RESTRICTED.
CREATE FUNCTION mask.shows_statistics(relation oid, attnum smallint) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'shows_statistics_wrapper';
REVOKE ALL ON FUNCTION mask.shows_statistics(oid, smallint) FROM PUBLIC;
COMMENT ON FUNCTION mask.shows_statistics(oid, smallint) IS 'Whether the session may see the row of pg_statistic about this column: not if it sees the column masked';

CREATE FUNCTION mask.shows_extended_statistics(object oid) RETURNS boolean
    LANGUAGE c STABLE STRICT PARALLEL RESTRICTED AS 'MODULE_PATHNAME', 'shows_extended_statistics_wrapper';
REVOKE ALL ON FUNCTION mask.shows_extended_statistics(oid) FROM PUBLIC;
COMMENT ON FUNCTION mask.shows_extended_statistics(oid) IS 'Whether the session may see the row of pg_statistic_ext_data of this object: not if it sees columns of its table masked';
