//! The mask functions inside the server: what they are declared as, what they give, and that they fit any column.

#[pgrx::pg_schema]
mod tests {
    use super::super::access::is_true;
    use crate::masking::Masking;
    use pgrx::prelude::*;

    fn text(question: &str) -> String {
        Spi::get_one::<String>(question).unwrap().unwrap_or_else(|| "NULL".into())
    }

    /// Volatility, parallel safety and strictness of every function of schema mask that everybody may call.
    /// Not STRICT are those that the planner inlines, and so sees that NULL gives NULL.
    const DECLARED: &str = "\
card(text) i s strict
card(text[]) i s strict
constant(anyelement, anyelement) i s strict
email(text) i s strict
email(text[]) i s strict
hash(bytea) s s strict
hash(text) s s strict
hash(text[]) s s strict
iban(text) i s strict
iban(text[]) i s strict
ip(cidr) i s
ip(inet) i s
ip(text) i s strict
ip(text[]) i s strict
jsonb_paths(json, text[]) i s
jsonb_paths(jsonb, text[]) i s
masked_json(text, text[]) i s strict
month(date) i s strict
month(timestamp with time zone) i s strict
month(timestamp without time zone) i s strict
name(text) i s strict
name(text[]) i s strict
noise(bigint, bigint) s s strict
noise(date, integer) s s strict
noise(double precision, double precision) s s strict
noise(integer, bigint) s s strict
noise(numeric, numeric) s s strict
noise(numeric, numeric, numeric) s s strict
noise(real, double precision) s s strict
noise(smallint, bigint) s s strict
noise(timestamp with time zone, integer) s s strict
noise(timestamp without time zone, integer) s s strict
null_value(anyelement) i s strict
partial(text, integer, text, integer) i s strict
partial(text[], integer, text, integer) i s strict
phone(text) i s strict
phone(text[]) i s strict
range(bigint, bigint) i s strict
range(date, integer) i s strict
range(double precision, double precision) i s strict
range(integer, bigint) i s strict
range(numeric, numeric) i s strict
range(numeric, numeric, numeric) i s strict
range(real, double precision) i s strict
range(smallint, bigint) i s strict
range(timestamp with time zone, integer) i s strict
range(timestamp without time zone, integer) i s strict
redact(json) i s
redact(jsonb) i s
redact(text) i s strict
redact(text[]) i s strict
redacted_json(text) i s strict
token(bigint) s s strict
token(integer) s s strict
token(text) s s strict
token(text[]) s s strict
token(uuid) s s strict
year(date) i s strict
year(timestamp with time zone) i s strict
year(timestamp without time zone) i s strict";

    #[pg_test]
    fn functions_are_declared_as_what_they_are() {
        let declared = text(
            "SELECT string_agg(format('%s(%s) %s %s%s', proname, oidvectortypes(proargtypes), provolatile, proparallel,
                        CASE WHEN proisstrict THEN ' strict' ELSE '' END), E'\\n'
                        ORDER BY proname::text COLLATE \"C\", oidvectortypes(proargtypes) COLLATE \"C\")
             FROM pg_proc WHERE pronamespace = 'mask'::regnamespace AND has_function_privilege('pg_monitor', oid, 'EXECUTE')
                 AND proname NOT IN ('reveals', 'applies', 'shows_statistics', 'shows_extended_statistics')",
        );
        assert_eq!(declared, DECLARED);
        assert!(is_true(
            "SELECT count(*) = 0 FROM pg_proc p WHERE pronamespace = 'mask'::regnamespace
                 AND (obj_description(oid, 'pg_proc') IS NULL OR proleakproof OR prosecdef)"
        ));
    }

    #[pg_test]
    fn each_function_masks_as_its_page_says() {
        for (call, expected) in [
            ("mask.constant('Ada'::text, 'x')", "x"),
            ("mask.constant(NULL::int, 5)", "NULL"),
            ("mask.phone('+49 171 1234567')", "+49 *** *****67"),
            ("mask.card('4111 1111 1111 1111')", "0000 0000 0004 1111"),
            ("mask.iban('DE89 3704 0044 0532 0130 00')", "DE31 0000 0000 0000 0030 00"),
            ("mask.name('John Doe')", "J*** D***"),
            ("mask.ip('203.0.113.42'::text)", "203.0.113.0"),
            ("mask.ip('203.0.113.42'::inet)", "203.0.113.0/32"),
            ("mask.ip('10.1.2.3/8'::inet)", "10.0.0.0/8"),
            ("mask.ip('10.1.2.3/0'::inet)", "0.0.0.0/0"),
            ("mask.ip('203.0.113.128/25'::cidr)", "203.0.113.0/25"),
            ("mask.ip('2001:db8:1:2::3/64'::inet)", "2001:db8:1::/64"),
            ("mask.ip(NULL::inet)", "NULL"),
            ("mask.ip(NULL::cidr)", "NULL"),
            ("mask.year('2024-02-29'::date)", "2024-01-01"),
            ("mask.month('2024-02-29'::date)", "2024-02-01"),
            ("mask.month('2024-02-29 23:59:59.999'::timestamp)", "2024-02-01 00:00:00"),
            ("mask.month('2024-02-29 23:59+00'::timestamptz) AT TIME ZONE 'UTC'", "2024-02-01 00:00:00"),
            ("mask.year('4714-11-25 BC'::date)", "4714-11-24 BC"),
            ("mask.year('infinity'::timestamptz)", "infinity"),
            ("mask.range(12345, 1000)", "12000"),
            ("mask.range(-12345.678, 0.5)", "-12346.0"),
            ("mask.range('NaN'::numeric, 5)", "NaN"),
            ("mask.range(5, 0)", "NULL"),
            ("mask.range('2024-02-29'::date, 7)", "2024-02-26"),
            ("mask.range((-2147483648)::int, 1000)", "-2147483648"),
            ("mask.redact('mail a.b@example.com, card 4111111111111111')", "mail [email], card [card]"),
            (
                "mask.redact('{\"note\": \"+49 171 1234567\", \"n\": 1.10}'::jsonb)",
                "{\"n\": 1.10, \"note\": \"[phone]\"}",
            ),
            (
                "mask.jsonb_paths('{\"items\": [{\"iban\": \"x\", \"n\": 1e30}], \"b\": 2}'::jsonb, ARRAY['{items,iban}', '{b}'])",
                "{\"b\": null, \"items\": [{\"n\": 1000000000000000000000000000000, \"iban\": \"***\"}]}",
            ),
            ("mask.jsonb_paths('{\"a\": 1}'::json, ARRAY['{a}', 'none'])", "null"),
            ("mask.jsonb_paths(NULL::jsonb, ARRAY['{a}'])", "NULL"),
            (
                "mask.email(ARRAY[['a.b@example.com', NULL], ['', 'x']])",
                "{{a***@example.com,NULL},{***,***}}",
            ),
            ("mask.name('{}'::text[])", "{}"),
            ("mask.name('[2:3]={John Doe,x}'::text[])", "[2:3]={\"J*** D***\",***}"),
            ("mask.noise(NULL::int, 5)", "NULL"),
            ("mask.noise('infinity'::date, 5)", "infinity"),
            ("mask.noise(5, 0)", "NULL"),
        ] {
            assert_eq!(text(&format!("SELECT ({call})::text")), expected, "{call}");
        }
    }

    #[pg_test]
    fn keyed_masks_agree_where_values_do() {
        for question in [
            "mask.token('a') ~ '^tok_[0-9a-f]{32}$' AND mask.token('a') = mask.token('a'::varchar)",
            "mask.token('a') <> mask.token('b') AND (mask.token(ARRAY['a']))[1] = mask.token('a')",
            "mask.token(4711) = mask.token(4711::bigint) AND mask.token(4711) <> 4711",
            "(SELECT count(DISTINCT mask.token(n)) = 20000 FROM generate_series(1, 20000) n)",
            "mask.token('5b2f1a3e-0000-4000-8000-000000000000'::uuid)::text ~ '^.{14}8.{4}[89ab]'",
            "mask.hash('a'::bytea) = decode(mask.hash('a'), 'hex')",
            "mask.noise(1000, 10) = mask.noise(1000::bigint, 10) AND mask.noise(1.0, 10) = mask.noise(1.00, 10)",
            "(SELECT bool_and(abs(mask.noise(n, 10) - n) <= 10) AND count(DISTINCT mask.noise(n, 10) - n) = 21
              FROM generate_series(1, 5000) n)",
            "(SELECT bool_and(abs(mask.noise(n / 7.0, 10) - n / 7.0) <= 10.01) FROM generate_series(1, 5000) n)",
            "(SELECT abs(avg(mask.noise(n, 1000) - n)) < 50 FROM generate_series(1, 5000) n)",
            "(SELECT count(DISTINCT mask.noise(7, 1000)) = 1 FROM generate_series(1, 500))",
            "mask.noise('2000-01-01'::date, 30) BETWEEN '1999-12-02' AND '2000-01-31'",
        ] {
            assert!(is_true(&format!("SELECT {question}")), "{question}");
        }
    }

    #[pg_test]
    fn the_zone_of_the_session_does_not_move_months() {
        let month = "SELECT extract(epoch FROM mask.month('2024-02-29 12:00+00'::timestamptz))::text";
        let before = text(month);
        Spi::run("SET timezone = '<far>-100:00'").unwrap();
        assert_eq!(text(month), before);
        Spi::run("RESET timezone").unwrap();
    }

    /// Types, what fits them, and values at their ends.
    const COLUMNS: &[(&str, &[&str], &str)] = &[
        (
            "text",
            &[
                "partial(1, 'é', 1)",
                "email",
                "phone",
                "card",
                "iban",
                "name",
                "ip",
                "hash",
                "token",
                "redact",
            ],
            TEXTS,
        ),
        (
            "varchar(5)",
            &[
                "partial(3, '*****', 2)",
                "email",
                "phone",
                "card",
                "iban",
                "name",
                "ip",
                "hash",
                "redact",
                "constant('much too long')",
            ],
            "'', 'abcde', '12345', 'a@b.c'",
        ),
        ("char(4)", &["email", "hash", "name", "redact", "constant('too long')"], "'', 'ab', '1234'"),
        ("name", &["email", "hash", "token", "constant('x')"], "'', 'x', 'john.doe@example.com'"),
        ("varchar(36)", &["token"], "'', 'x'"),
        ("pg_temp.short", &["email", "constant('not allowed')", "null_value"], "'abc'"),
        (
            "text[]",
            &["email", "token", "partial(1, '*', 1)", "redact"],
            "'{}', '{NULL}', '{{a,b},{c@d.ee,\"\"}}', '[5:6]={x,y}'",
        ),
        ("varchar(5)[]", &["hash", "name", "ip", "card", "iban", "phone"], "'{abc,NULL}'"),
        ("smallint", &["range(1000)", "noise(30000)", "constant('7')"], "-32768, 0, 32767"),
        ("integer", &["range(1000)", "noise(999999999999999)", "token"], "-2147483648, 0, 2147483647"),
        (
            "bigint",
            &["range(999999999999999)", "noise(5)", "token"],
            "-9223372036854775808, 0, 9223372036854775807",
        ),
        (
            "numeric",
            &["range(0.001)", "noise(0.5)"],
            "'NaN', 'Infinity', '-Infinity', 0, 1e-300, 1e300, -0.001, 12345678901234567890123456789012345678901234567890",
        ),
        (
            "numeric(5,2)",
            &["range(1000)", "noise(1000)", "noise(0.001)", "constant('999.994')"],
            "-999.99, 999.99, 'NaN', 0",
        ),
        ("numeric(3,0)", &["range(7)", "noise(0.5)"], "-999, 999"),
        ("real", &["range(0.1)", "noise(100)"], "'NaN', 'Infinity', '-Infinity', 3.4e38, -3.4e38, 1e-45"),
        (
            "double precision",
            &["range(0.1)", "noise(100)"],
            "'NaN', 'Infinity', 1.7976931348623157e308, -1.7976931348623157e308, 5e-324",
        ),
        (
            "date",
            &["year", "month", "range(30)", "range(36525000)", "noise(36525000)"],
            "'4714-11-24 BC', '5874897-12-31', 'infinity', '-infinity', '2000-02-29'",
        ),
        (
            "timestamp(0)",
            &["year", "month", "range(7)", "noise(36525000)"],
            "'4714-11-24 00:00:00 BC', '294276-12-31 23:59:59', 'infinity', '-infinity'",
        ),
        (
            "timestamptz",
            &["year", "month", "range(7)", "noise(1)"],
            "'4714-11-24 00:00:00+00 BC', '294276-12-31 23:59:59+00', 'infinity', '-infinity'",
        ),
        (
            "uuid",
            &["token", "constant('5b2f1a3e-0000-4000-8000-000000000000')"],
            "'00000000-0000-0000-0000-000000000000'",
        ),
        (
            "jsonb",
            &["redact", "jsonb_paths('{a}', '{*,b}')"],
            "'{}', '[]', '\"x\"', 'null', '{\"a\": {\"b\": [1, \"a@b.cc\"]}}'",
        ),
        ("json", &["redact", "jsonb_paths('{a}')"], "' {\"a\" : 1, \"a\": 2} ', '\"\\ud800\"'"),
        ("inet", &["ip"], "'0.0.0.0', '255.255.255.255/0', '::', 'ffff::1/3'"),
        ("cidr", &["ip"], "'0.0.0.0/0', '10.0.0.1', '::/0', '2001:db8::1'"),
        ("bytea", &["hash"], "'', '\\x00ff'"),
        ("interval", &["null_value", "constant('1 day')"], "'5 days'"),
        ("int[]", &["null_value", "constant('{1,2}')"], "'{5}'"),
        ("pg_temp.mood", &["null_value", "constant('sad')"], "'glad'"),
        ("bit(3)", &["null_value", "constant('101')"], "'111'"),
    ];

    const TEXTS: &str = "'', ' ', 'x', '***', 'john.doe@example.com', '4111111111111111', 'DE89370400440532013000',
        '+49 171 1234567', '1.2.3.4', 'größe 日本 😀', E'a\\nb', repeat('4', 1000000), repeat('a@', 100000), repeat('é ', 100000)";

    #[pg_test]
    fn masks_fit_their_columns_and_no_value_raises() {
        Spi::run(
            "CREATE DOMAIN pg_temp.short AS varchar(3) NOT NULL CHECK (value ~ '^[a-z]+$');
             CREATE TYPE pg_temp.mood AS ENUM ('sad', 'glad'); CREATE SCHEMA trial;
             CREATE FUNCTION mask_test_plan(query text) RETURNS text LANGUAGE plpgsql AS
             $$DECLARE line text; plan text := ''; BEGIN
                 FOR line IN EXECUTE 'EXPLAIN ' || query LOOP plan := plan || line; END LOOP; RETURN plan;
             END$$",
        )
        .unwrap();
        let mut tried = 0;
        for (column_type, maskings, values) in COLUMNS {
            // a policy is for tables that last; their types must, too
            let lasting = column_type.replace("pg_temp.", "trial.");
            Spi::run(
                "DROP SCHEMA trial CASCADE; CREATE SCHEMA trial;
                      CREATE DOMAIN trial.short AS varchar(3) CHECK (value ~ '^[a-z]+$');
                      CREATE TYPE trial.mood AS ENUM ('sad', 'glad')",
            )
            .unwrap();
            Spi::run(&format!("CREATE TABLE trial.t (id int GENERATED ALWAYS AS IDENTITY, c {lasting})"))
                .unwrap();
            Spi::run(&format!(
                "INSERT INTO trial.t (c) SELECT unnest(ARRAY[{}]::text[])::{lasting}",
                quoted(values)
            ))
            .unwrap();
            Spi::run("INSERT INTO trial.t (c) VALUES (NULL)").unwrap();
            for masking in *maskings {
                Spi::run_with_args("SELECT mask.protect('trial.t', 'c', $1)", &[(*masking).into()]).unwrap();
                Spi::run("SELECT mask.generate_view('trial.t')").unwrap();
                Spi::run("CREATE TEMP TABLE shown AS SELECT * FROM masked.t").unwrap();
                assert!(
                    is_true(
                        "SELECT bool_and(s.c IS NULL) FROM pg_temp.shown s JOIN trial.t USING (id) WHERE t.c IS NULL"
                    ),
                    "{column_type} {masking}: NULL"
                );
                let rows = "SELECT count(*) FROM pg_temp.shown s JOIN trial.t USING (id)";
                let kept = text(&format!("SELECT ({rows} WHERE s.c IS NULL AND t.c IS NOT NULL)::text"));
                let hidden = *masking == "null_value" || column_type == &"numeric";
                assert!(hidden || kept == "0", "{column_type} {masking}: {kept} values have no mask");
                assert!(
                    is_true(
                        "SELECT format_type(s.atttypid, s.atttypmod) = format_type(
                                CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,
                                CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END)
                         FROM pg_attribute s, pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                         WHERE s.attrelid = 'masked.t'::regclass AND s.attname = 'c'
                             AND a.attrelid = 'trial.t'::regclass AND a.attname = 'c'"
                    ),
                    "{column_type} {masking}: type"
                );
                Spi::run("DROP TABLE pg_temp.shown").unwrap();
                assert!(
                    is_strict(masking),
                    "{column_type} {masking}: the planner does not see that NULL stays NULL"
                );
                tried += 1;
            }
            Spi::run("DROP VIEW masked.t").unwrap();
        }
        assert!(tried > 90, "{tried}");
    }

    /// Whether the planner makes an inner join of an outer one for the mask of `trial.t.c`, as it does for the column.
    fn is_strict(masking: &str) -> bool {
        let base = text(
            "SELECT format_type(CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END,
                    CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END)
             FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
             WHERE a.attrelid = 'trial.t'::regclass AND a.attname = 'c'",
        );
        let mask = Masking::parse(masking).unwrap().expression("t.c", &base);
        let plan = |condition: &str| {
            text(&format!(
                "SELECT mask_test_plan($q$SELECT FROM pg_am a LEFT JOIN trial.t ON t.id = a.oid WHERE {condition}$q$)"
            ))
        };
        let is_outer = |plan: String| ["Left", "Right"].iter().any(|side| plan.contains(side));
        assert!(is_outer(plan(&format!("coalesce(({mask})::text, 'x') <> 'y'"))), "the plan tells nothing");
        !is_outer(plan(&format!("({mask}) IS NOT NULL")))
    }

    /// Elements of an array of texts: numbers in quotes, too.
    fn quoted(values: &str) -> String {
        let plain = |value: &str| {
            let value = value.trim();
            value.starts_with(|c: char| c.is_ascii_digit() || c == '-')
        };
        // commas within quotes separate nothing
        let mut parts: Vec<String> = vec![String::new()];
        let (mut inside, mut depth) = (false, 0);
        for c in values.chars() {
            match c {
                '\'' => inside = !inside,
                '(' if !inside => depth += 1,
                ')' if !inside => depth -= 1,
                ',' if !inside && depth == 0 => {
                    parts.push(String::new());
                    continue;
                }
                _ => {}
            }
            if let Some(last) = parts.last_mut() {
                last.push(c);
            }
        }
        parts
            .iter()
            .map(|p| if plain(p) { format!("'{}'", p.trim()) } else { p.clone() })
            .collect::<Vec<_>>()
            .join(", ")
    }
}
