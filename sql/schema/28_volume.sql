-- How many rows may leave: what a person can know of it.

CREATE FUNCTION custodian.my_limits(
    OUT row_limit bigint, OUT rows_per_hour bigint, OUT rows_in_last_hour bigint)
    RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED ROWS 1
    AS 'MODULE_PATHNAME', 'my_limits_wrapper';
REVOKE ALL ON FUNCTION custodian.my_limits() FROM PUBLIC;
COMMENT ON FUNCTION custodian.my_limits() IS 'Rows that a statement may return on this role, and a person in an hour, and how many the person of this session was given; NULL: no limit';
