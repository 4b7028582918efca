-- What a person sees of a table with masked columns, and what becomes of attempts to see more.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA masked_tables;
SET search_path = masked_tables, public;

-- Tokens: HMAC-SHA-256 of a key that is made here.
CREATE TABLE signer AS SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')) AS key;
CREATE FUNCTION b64(b bytea) RETURNS text LANGUAGE sql IMMUTABLE
    AS $$ SELECT rtrim(translate(encode(b, 'base64'), E'+/\n', '-_'), '=') $$;
CREATE FUNCTION pad(key bytea, by int) RETURNS bytea LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE padded bytea := key || decode(repeat('00', 64 - length(key)), 'hex');
BEGIN
    FOR at IN 0 .. 63 LOOP padded := set_byte(padded, at, get_byte(padded, at) # by); END LOOP;
    RETURN padded;
END $$;
CREATE FUNCTION token(person text, groups text[] DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
    WITH said AS (
        SELECT b64(convert_to('{"alg":"HS256","kid":"a"}', 'UTF8')) || '.' || b64(convert_to(jsonb_build_object(
            'iss', 'https://masked-tables.test/', 'aud', 'here', 'sub', person, 'groups', groups,
            'exp', extract(epoch FROM now())::bigint + 600)::text, 'UTF8')) AS content)
    SELECT content || '.' || b64(sha256(pad(key, 92) || sha256(pad(key, 54) || convert_to(content, 'UTF8'))))
    FROM said, signer $$;
SELECT custodian.trust_issuer('https://masked-tables.test/',
    jsonb_build_object('keys', jsonb_build_array(jsonb_build_object('kty', 'oct', 'kid', 'a', 'alg', 'HS256', 'k', b64(key)))),
    ARRAY['here'], ARRAY['HS256']) IS NULL AS trusted FROM signer;

CREATE TABLE people (
    id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, iban text, born date, note text,
    country text GENERATED ALWAYS AS (left(iban, 2)) STORED);
INSERT INTO people VALUES (1, 'Ada', 'ada.winter@example.com', 'DE89370400440532013000', '1984-03-11'),
    (2, 'Bruno', 'bruno.costa@example.com', 'PT50000201231234567890154', '1990-07-02'), (3, 'Chi', NULL, NULL, NULL);
ANALYZE people;
SELECT mask.protect('people', 'email', 'email', ARRAY['support']) > 0 AS protected;
SELECT mask.protect('people', 'iban', 'partial(4, ''****'', 4)', ARRAY['support']) > 0 AS protected;
SELECT mask.protect('people', 'born', 'null_value') > 0 AS protected;

-- Nobody: data.
SELECT * FROM people ORDER BY id;

-- A person: masks; NULL stays NULL; what is computed from a masked column is not shown.
SELECT token('eve') AS eve, token('sam', ARRAY['support']) AS sam \gset
SELECT user_id FROM custodian.set_identity(:'eve');
SELECT * FROM people ORDER BY id;
SELECT people FROM people WHERE id = 1;
SELECT iban, count(*) FROM people GROUP BY ROLLUP (iban) ORDER BY 1, 2;
SELECT a.id, b.iban FROM people a LEFT JOIN people b ON b.id = a.id + 1 ORDER BY 1;

-- How it is done: other columns keep their indexes, masked ones are not searched by their values.
EXPLAIN (COSTS OFF, VERBOSE) SELECT iban FROM people WHERE email = 'ada.winter@example.com';
SELECT count(*) FROM people WHERE email = 'ada.winter@example.com';
SELECT count(*) FROM people WHERE email = 'ada.w***@example.com';

-- Operators and casts of one's own see masks.
CREATE FUNCTION spy(text, text) RETURNS boolean LANGUAGE plpgsql COST 0.0001
    AS $$ BEGIN RAISE WARNING 'seen: %', $1; RETURN false; END $$;
CREATE OPERATOR === (LEFTARG = text, RIGHTARG = text, FUNCTION = spy);
SELECT id FROM people WHERE iban === 'x' AND id = 1;
CREATE DOMAIN probe AS text CHECK (VALUE NOT LIKE 'DE8937%');
SELECT iban::probe FROM people WHERE id = 1;
SELECT 1 / (iban NOT LIKE 'DE8937%')::int AS no_division_by_zero FROM people WHERE id = 1;

-- Functions that the planner would put into the query, or run.
CREATE FUNCTION inlined() RETURNS SETOF people LANGUAGE sql STABLE AS 'SELECT * FROM masked_tables.people';
SELECT iban FROM inlined() ORDER BY id;
CREATE FUNCTION folded() RETURNS text LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN RETURN (SELECT iban FROM masked_tables.people WHERE id = 1); END $$;
PREPARE folds AS SELECT folded();
EXECUTE folds;

-- COPY, cursors, XML.
COPY people TO STDOUT;
COPY people (iban, country) TO STDOUT;
BEGIN;
DECLARE c CURSOR FOR SELECT iban FROM people ORDER BY id;
FETCH 1 FROM c;
COMMIT;

-- Masks are not written over data, nor kept as data.
UPDATE people SET note = iban;
UPDATE people SET note = s.x FROM (SELECT max(email) AS x FROM people) s;
INSERT INTO people (id, name, email) SELECT id + 10, name, email FROM people;
CREATE TABLE stored AS SELECT iban FROM people;
CREATE MATERIALIZED VIEW stored AS SELECT id FROM people WHERE iban LIKE 'DE%';
CREATE TEMP TABLE kept AS SELECT iban FROM people;
SELECT iban FROM kept ORDER BY iban;
UPDATE people SET note = 'seen' WHERE iban = 'DE89****3000' RETURNING id, iban, note, people;
UPDATE people SET note = 'seen' WHERE iban = 'DE89370400440532013000';

-- Errors name the constraint, and show neither row nor key.
\set VERBOSITY default
UPDATE people SET name = NULL WHERE id = 1;
UPDATE people SET id = 2 WHERE id = 1;
\set VERBOSITY terse

-- Statistics, and definitions that look at values.
SELECT attname FROM pg_stats WHERE tablename = 'people' ORDER BY 1;
CREATE INDEX ON people (iban);
ALTER TABLE people ADD CHECK (iban NOT LIKE 'DE8937%');
CREATE TABLE guess (email text REFERENCES people (email));
CREATE TRIGGER spy BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE VIEW checked AS SELECT id, note FROM people WHERE iban LIKE 'DE8937%' WITH CHECK OPTION;
UPDATE checked SET note = 'found';

-- Somebody else in the same session, with the same prepared statements.
SELECT user_id FROM custodian.set_identity(:'sam');
EXECUTE folds;
SELECT * FROM people ORDER BY id;
UPDATE people SET note = iban WHERE id = 1;
SELECT user_id FROM custodian.set_identity(:'eve');
EXECUTE folds;

SELECT custodian.clear_identity();
EXECUTE folds;
SET client_min_messages = error;
DROP SCHEMA masked_tables CASCADE;
SELECT custodian.distrust_issuer('https://masked-tables.test/');
