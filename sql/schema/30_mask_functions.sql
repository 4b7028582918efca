-- What masks are made of: mask functions and their key.

-- ---------------------------------------------------------------------------------------------
-- Key
-- ---------------------------------------------------------------------------------------------

-- The key is made here, of three random UUIDs: 366 bits of the server's own randomness in 256. It is
-- in no dump, so that whoever holds a dump cannot try values; a restored database hashes anew.
CREATE TABLE mask.secret_key (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    key text NOT NULL CHECK (key ~ '^[0-9a-f]{64}$')
);
REVOKE ALL ON mask.secret_key FROM PUBLIC;
COMMENT ON TABLE mask.secret_key IS 'The key of the keyed mask functions; read by the extension alone, contained in no dump';
COMMENT ON COLUMN mask.secret_key.only_one IS 'There is one key';
COMMENT ON COLUMN mask.secret_key.key IS '32 random bytes in hexadecimal digits';
INSERT INTO mask.secret_key (key)
SELECT pg_catalog.encode(pg_catalog.sha256(
           pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
           || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
           || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())), 'hex');

CREATE TRIGGER announce_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON mask.secret_key
    FOR EACH STATEMENT EXECUTE FUNCTION custodian.announce_change();
ALTER TABLE mask.secret_key ENABLE ALWAYS TRIGGER announce_change;
COMMENT ON TRIGGER announce_change ON mask.secret_key IS 'No session goes on with a former key';

CREATE FUNCTION mask.rotate_key() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'mask_rotate_key_wrapper';
REVOKE ALL ON FUNCTION mask.rotate_key() FROM PUBLIC;
COMMENT ON FUNCTION mask.rotate_key() IS 'Puts a new random key in place of the one there is: hashes, tokens and noise from before no longer agree with those from after';

-- ---------------------------------------------------------------------------------------------
-- Mask functions: value in, mask out, NULL in NULL out, total. docs/masking.md says what each shows.
-- ---------------------------------------------------------------------------------------------

-- STRICT where the planner cannot see for itself that NULL gives NULL: it makes inner joins of outer ones by that.
CREATE FUNCTION mask.null_value(value anyelement) RETURNS anyelement
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_null_value';
REVOKE ALL ON FUNCTION mask.null_value(anyelement) FROM PUBLIC;
COMMENT ON FUNCTION mask.null_value(anyelement) IS 'NULL, whatever the value; for columns of every type';

CREATE FUNCTION mask.constant(value anyelement, constant anyelement) RETURNS anyelement
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_constant';
REVOKE ALL ON FUNCTION mask.constant(anyelement, anyelement) FROM PUBLIC;
COMMENT ON FUNCTION mask.constant(anyelement, anyelement) IS 'The constant for every value; for columns of every type';

CREATE FUNCTION mask.email(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_email_wrapper';
REVOKE ALL ON FUNCTION mask.email(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.email(text) IS 'john.doe@example.com becomes john.d***@example.com, jdoe@example.com becomes j***@example.com, what is no address becomes ***';

CREATE FUNCTION mask.email(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_email_array_wrapper';
REVOKE ALL ON FUNCTION mask.email(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.email(text[]) IS 'mask.email of each element';

CREATE FUNCTION mask.phone(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_phone_wrapper';
REVOKE ALL ON FUNCTION mask.phone(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.phone(text) IS '+49 171 1234567 becomes +49 *** *****67, what is no telephone number becomes ***';

CREATE FUNCTION mask.phone(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_phone_array_wrapper';
REVOKE ALL ON FUNCTION mask.phone(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.phone(text[]) IS 'mask.phone of each element';

CREATE FUNCTION mask.card(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_card_wrapper';
REVOKE ALL ON FUNCTION mask.card(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.card(text) IS '4111 1111 1111 1111 becomes 0000 0000 0004 1111, which passes the check of card numbers; what is no card becomes ***';

CREATE FUNCTION mask.card(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_card_array_wrapper';
REVOKE ALL ON FUNCTION mask.card(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.card(text[]) IS 'mask.card of each element';

CREATE FUNCTION mask.iban(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_iban_wrapper';
REVOKE ALL ON FUNCTION mask.iban(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.iban(text) IS 'DE89 3704 0044 0532 0130 00 becomes DE31 0000 0000 0000 0030 00, which is valid; what is no IBAN becomes ***';

CREATE FUNCTION mask.iban(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_iban_array_wrapper';
REVOKE ALL ON FUNCTION mask.iban(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.iban(text[]) IS 'mask.iban of each element';

CREATE FUNCTION mask.name(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_name_wrapper';
REVOKE ALL ON FUNCTION mask.name(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.name(text) IS 'John Doe becomes J*** D***';

CREATE FUNCTION mask.name(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_name_array_wrapper';
REVOKE ALL ON FUNCTION mask.name(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.name(text[]) IS 'mask.name of each element';

CREATE FUNCTION mask.ip(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_ip_wrapper';
REVOKE ALL ON FUNCTION mask.ip(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.ip(text) IS '203.0.113.42 becomes 203.0.113.0, 2001:db8:1:2::3 becomes 2001:db8:1::, what is no address becomes ***';

CREATE FUNCTION mask.ip(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_ip_array_wrapper';
REVOKE ALL ON FUNCTION mask.ip(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.ip(text[]) IS 'mask.ip of each element';

CREATE FUNCTION mask.redact(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_redact_wrapper';
REVOKE ALL ON FUNCTION mask.redact(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.redact(text) IS 'Free text without e-mail addresses, IBANs, card, telephone, social security and other long numbers and internet addresses: [email], [iban], [card], [phone], [ssn], [number], [ip] stand for them';

CREATE FUNCTION mask.redact(value text[]) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_redact_array_wrapper';
REVOKE ALL ON FUNCTION mask.redact(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.redact(text[]) IS 'mask.redact of each element';

CREATE FUNCTION mask.partial(value text, prefix integer, padding text, suffix integer) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_partial_wrapper';
REVOKE ALL ON FUNCTION mask.partial(text, integer, text, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.partial(text, integer, text, integer) IS 'The first and the last characters around a padding; only the padding if nothing would be hidden between them';

CREATE FUNCTION mask.partial(value text[], prefix integer, padding text, suffix integer) RETURNS text[]
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_partial_array_wrapper';
REVOKE ALL ON FUNCTION mask.partial(text[], integer, text, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.partial(text[], integer, text, integer) IS 'mask.partial of each element';

-- Internet addresses and JSON: SQL functions that are not STRICT, so that the planner puts what they say in their place
CREATE FUNCTION mask.ip(value inet) RETURNS inet LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.set_masklen(pg_catalog.network(pg_catalog.set_masklen(value, LEAST(pg_catalog.masklen(value), CASE pg_catalog.family(value) WHEN 4 THEN 24 ELSE 48 END)))::pg_catalog.inet, pg_catalog.masklen(value));
REVOKE ALL ON FUNCTION mask.ip(inet) FROM PUBLIC;
COMMENT ON FUNCTION mask.ip(inet) IS 'The network of the address: at most 24 bits of IPv4 and 48 of IPv6, with the netmask as it was';

CREATE FUNCTION mask.ip(value cidr) RETURNS cidr LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.set_masklen(pg_catalog.set_masklen(value, LEAST(pg_catalog.masklen(value), CASE pg_catalog.family(value) WHEN 4 THEN 24 ELSE 48 END)), pg_catalog.masklen(value));
REVOKE ALL ON FUNCTION mask.ip(cidr) FROM PUBLIC;
COMMENT ON FUNCTION mask.ip(cidr) IS 'At most 24 bits of an IPv4 network and 48 of an IPv6 one, with the netmask as it was';

CREATE FUNCTION mask.masked_json(value text, paths text[]) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_json_paths_wrapper';
REVOKE ALL ON FUNCTION mask.masked_json(text, text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.masked_json(text, text[]) IS 'mask.jsonb_paths of JSON that is given as text';

CREATE FUNCTION mask.redacted_json(value text) RETURNS text
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_json_redact_wrapper';
REVOKE ALL ON FUNCTION mask.redacted_json(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.redacted_json(text) IS 'mask.redact of JSON that is given as text';

CREATE FUNCTION mask.jsonb_paths(value jsonb, paths text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask.masked_json(value::pg_catalog.text, paths)::pg_catalog.jsonb;
REVOKE ALL ON FUNCTION mask.jsonb_paths(jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.jsonb_paths(jsonb, text[]) IS 'Masks the values at paths such as {customer,iban} or {items,*,price}, in every element of arrays: texts become ***, anything else null';

CREATE FUNCTION mask.jsonb_paths(value json, paths text[]) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask.masked_json(value::pg_catalog.text, paths)::pg_catalog.json;
REVOKE ALL ON FUNCTION mask.jsonb_paths(json, text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.jsonb_paths(json, text[]) IS 'Masks the values at paths such as {customer,iban} or {items,*,price}, in every element of arrays: texts become ***, anything else null';

CREATE FUNCTION mask.redact(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask.redacted_json(value::pg_catalog.text)::pg_catalog.jsonb;
REVOKE ALL ON FUNCTION mask.redact(jsonb) FROM PUBLIC;
COMMENT ON FUNCTION mask.redact(jsonb) IS 'mask.redact of every text, keys included; a number that it would hide becomes null';

CREATE FUNCTION mask.redact(value json) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN mask.redacted_json(value::pg_catalog.text)::pg_catalog.json;
REVOKE ALL ON FUNCTION mask.redact(json) FROM PUBLIC;
COMMENT ON FUNCTION mask.redact(json) IS 'mask.redact of every text, keys included; a number that it would hide becomes null';

-- Times with a time zone are cut in UTC: IMMUTABLE, and nobody moves the borders by SET timezone

CREATE FUNCTION mask.year(value date) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_year_of_date_wrapper';
REVOKE ALL ON FUNCTION mask.year(date) FROM PUBLIC;
COMMENT ON FUNCTION mask.year(date) IS 'The first day of the year';

CREATE FUNCTION mask.year(value timestamp without time zone) RETURNS timestamp without time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_year_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.year(timestamp without time zone) FROM PUBLIC;
COMMENT ON FUNCTION mask.year(timestamp without time zone) IS 'The first day of the year';

CREATE FUNCTION mask.year(value timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_year_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.year(timestamp with time zone) FROM PUBLIC;
COMMENT ON FUNCTION mask.year(timestamp with time zone) IS 'The first day of the year, in UTC';

CREATE FUNCTION mask.month(value date) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_month_of_date_wrapper';
REVOKE ALL ON FUNCTION mask.month(date) FROM PUBLIC;
COMMENT ON FUNCTION mask.month(date) IS 'The first day of the month';

CREATE FUNCTION mask.month(value timestamp without time zone) RETURNS timestamp without time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_month_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.month(timestamp without time zone) FROM PUBLIC;
COMMENT ON FUNCTION mask.month(timestamp without time zone) IS 'The first day of the month';

CREATE FUNCTION mask.month(value timestamp with time zone) RETURNS timestamp with time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_month_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.month(timestamp with time zone) FROM PUBLIC;
COMMENT ON FUNCTION mask.month(timestamp with time zone) IS 'The first day of the month, in UTC';

CREATE FUNCTION mask.range(value date, step integer) RETURNS date
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_date_wrapper';
REVOKE ALL ON FUNCTION mask.range(date, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(date, integer) IS 'The first day of so many, counted from a Monday';

CREATE FUNCTION mask.range(value timestamp without time zone, step integer) RETURNS timestamp without time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.range(timestamp without time zone, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(timestamp without time zone, integer) IS 'The first day of so many, counted from a Monday';

CREATE FUNCTION mask.range(value timestamp with time zone, step integer) RETURNS timestamp with time zone
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.range(timestamp with time zone, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(timestamp with time zone, integer) IS 'The first day of so many, counted from a Monday, in UTC';

CREATE FUNCTION mask.range(value smallint, step bigint) RETURNS smallint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_smallint_wrapper';
REVOKE ALL ON FUNCTION mask.range(smallint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(smallint, bigint) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value integer, step bigint) RETURNS integer
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_integer_wrapper';
REVOKE ALL ON FUNCTION mask.range(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(integer, bigint) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value bigint, step bigint) RETURNS bigint
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_bigint_wrapper';
REVOKE ALL ON FUNCTION mask.range(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(bigint, bigint) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value real, step double precision) RETURNS real
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_real_wrapper';
REVOKE ALL ON FUNCTION mask.range(real, double precision) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(real, double precision) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value double precision, step double precision) RETURNS double precision
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_double_wrapper';
REVOKE ALL ON FUNCTION mask.range(double precision, double precision) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(double precision, double precision) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value numeric, step numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_numeric_wrapper';
REVOKE ALL ON FUNCTION mask.range(numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(numeric, numeric) IS 'The lower end of the range that the value lies in: the largest multiple of the step that is not above it';

CREATE FUNCTION mask.range(value numeric, step numeric, largest numeric) RETURNS numeric
    LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_range_of_bounded_wrapper';
REVOKE ALL ON FUNCTION mask.range(numeric, numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION mask.range(numeric, numeric, numeric) IS 'mask.range, not further from zero than the largest number of a column';

-- Keyed. STABLE: the key can change between statements. On roles that people share they run only where the extension
-- has put them: docs/masking.md, The key.

CREATE FUNCTION mask.hash(value text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_wrapper';
REVOKE ALL ON FUNCTION mask.hash(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.hash(text) IS 'HMAC-SHA-256 of the value under this database''s key in hexadecimal digits: same value, same mask; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.hash(value text[]) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_array_wrapper';
REVOKE ALL ON FUNCTION mask.hash(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.hash(text[]) IS 'mask.hash of each element';

CREATE FUNCTION mask.hash(value bytea) RETURNS bytea
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_hash_of_bytes_wrapper';
REVOKE ALL ON FUNCTION mask.hash(bytea) FROM PUBLIC;
COMMENT ON FUNCTION mask.hash(bytea) IS 'HMAC-SHA-256 of the value under this database''s key';

CREATE FUNCTION mask.token(value text) RETURNS text
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_token_wrapper';
REVOKE ALL ON FUNCTION mask.token(text) FROM PUBLIC;
COMMENT ON FUNCTION mask.token(text) IS 'tok_ and 32 hexadecimal digits of a keyed HMAC-SHA-256: same value, same token, in every table; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.token(value text[]) RETURNS text[]
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_token_array_wrapper';
REVOKE ALL ON FUNCTION mask.token(text[]) FROM PUBLIC;
COMMENT ON FUNCTION mask.token(text[]) IS 'mask.token of each element';

CREATE FUNCTION mask.token(value uuid) RETURNS uuid
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_token_of_uuid_wrapper';
REVOKE ALL ON FUNCTION mask.token(uuid) FROM PUBLIC;
COMMENT ON FUNCTION mask.token(uuid) IS 'A UUID for each UUID, by a keyed HMAC-SHA-256';

CREATE FUNCTION mask.token(value integer) RETURNS integer
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_token_of_integer_wrapper';
REVOKE ALL ON FUNCTION mask.token(integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.token(integer) IS 'A number for each number, none twice, by the key; the same as for a bigint';

CREATE FUNCTION mask.token(value bigint) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_token_of_bigint_wrapper';
REVOKE ALL ON FUNCTION mask.token(bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.token(bigint) IS 'A number for each number, none twice, by the key; one that fits an integer has one that fits it';

CREATE FUNCTION mask.noise(value smallint, amount bigint) RETURNS smallint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_smallint_wrapper';
REVOKE ALL ON FUNCTION mask.noise(smallint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(smallint, bigint) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value integer, amount bigint) RETURNS integer
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_integer_wrapper';
REVOKE ALL ON FUNCTION mask.noise(integer, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(integer, bigint) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value bigint, amount bigint) RETURNS bigint
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_bigint_wrapper';
REVOKE ALL ON FUNCTION mask.noise(bigint, bigint) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(bigint, bigint) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value real, amount double precision) RETURNS real
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_real_wrapper';
REVOKE ALL ON FUNCTION mask.noise(real, double precision) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(real, double precision) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value double precision, amount double precision) RETURNS double precision
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_double_wrapper';
REVOKE ALL ON FUNCTION mask.noise(double precision, double precision) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(double precision, double precision) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value numeric, amount numeric) RETURNS numeric
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_numeric_wrapper';
REVOKE ALL ON FUNCTION mask.noise(numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(numeric, numeric) IS 'The value moved by up to the amount up or down: always alike for the same value, amount and key; people on enrolled roles cannot call it themselves';

CREATE FUNCTION mask.noise(value numeric, amount numeric, largest numeric) RETURNS numeric
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_bounded_wrapper';
REVOKE ALL ON FUNCTION mask.noise(numeric, numeric, numeric) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(numeric, numeric, numeric) IS 'mask.noise, not further from zero than the largest number of a column';

CREATE FUNCTION mask.noise(value date, days integer) RETURNS date
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_date_wrapper';
REVOKE ALL ON FUNCTION mask.noise(date, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(date, integer) IS 'The value moved by up to so many days either way: always alike for the same value, amount and key';

CREATE FUNCTION mask.noise(value timestamp without time zone, days integer) RETURNS timestamp without time zone
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.noise(timestamp without time zone, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(timestamp without time zone, integer) IS 'The value moved by up to so many days either way: always alike for the same value, amount and key';

CREATE FUNCTION mask.noise(value timestamp with time zone, days integer) RETURNS timestamp with time zone
    LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'mask_noise_of_time_wrapper';
REVOKE ALL ON FUNCTION mask.noise(timestamp with time zone, integer) FROM PUBLIC;
COMMENT ON FUNCTION mask.noise(timestamp with time zone, integer) IS 'The value moved by up to so many days either way: always alike for the same value, amount and key';
