//! Masking inside the server: functions, policies, views, and what the record says of them.

#[pgrx::pg_schema]
mod tests {
    use super::super::access::{granted, identify_as, is_true, raised, state_of};
    use crate::masking::{FieldPolicy, fields_for, oracle_functions, relevant, table_behind};
    use crate::pg::query::RelationUse;
    use pgrx::pg_sys::Oid;
    use pgrx::prelude::*;

    fn oid(name: &str) -> Oid {
        Spi::get_one(&format!("SELECT '{name}'::regclass::oid")).unwrap().unwrap()
    }

    fn text(question: &str) -> Option<String> {
        Spi::get_one(question).unwrap()
    }

    /// A table of people, its view, and a role that may read the view only.
    fn customers() {
        Spi::run(
            "CREATE ROLE reader; CREATE SCHEMA shop;
             CREATE TABLE shop.customers (id int PRIMARY KEY, name text, email varchar(40), iban text, born date);
             INSERT INTO shop.customers VALUES (1, 'John Doe', 'john.doe@example.com', 'DE89370400440532013000',
                 '1980-02-29'), (2, 'Nobody', NULL, NULL, NULL);
             SELECT mask.protect('shop.customers', 'email', 'email', ARRAY['support']);
             SELECT mask.protect('shop.customers', 'iban', 'partial(2, ''****'', 4)', ARRAY['billing']);
             SELECT mask.protect('shop.customers', 'born', 'null_value');
             SELECT mask.generate_view('shop.customers');
             GRANT SELECT ON masked.customers TO reader;",
        )
        .unwrap();
    }

    fn row(id: i32) -> String {
        text(&format!("SELECT (c.*)::text FROM masked.customers AS c WHERE id = {id}")).unwrap()
    }

    const MASKED: &str = "(1,\"John Doe\",john.d***@example.com,DE****3000,)";

    #[pg_test]
    fn mask_functions_give_masks_and_null_for_null() {
        assert_eq!(text("SELECT mask.email('john.doe@example.com')").unwrap(), "john.d***@example.com");
        assert_eq!(text("SELECT mask.email('garbage')").unwrap(), "***");
        assert_eq!(
            text("SELECT mask.partial('4111111111111111', 0, '************', 4)").unwrap(),
            "************1111"
        );
        assert_eq!(text("SELECT mask.partial('abc', 5, 'x', 5)").unwrap(), "x");
        assert_eq!(text("SELECT mask.partial(repeat('ab', 100000), 1, '-', 1)").unwrap(), "a-b");
        assert!(is_true(
            "SELECT mask.hash('4711') ~ '^[0-9a-f]{64}$' AND mask.hash('4711') = mask.hash('4711')"
        ));
        assert!(is_true("SELECT mask.hash('4711') <> mask.hash('4712')"));
        assert!(is_true("SELECT mask.hash('4711') <> encode(sha256('4711'), 'hex')"));
        assert!(is_true(
            "SELECT mask.email(NULL) IS NULL AND mask.hash(NULL) IS NULL AND mask.partial(NULL, 1, '*', 1) IS NULL
                AND mask.partial('abc', NULL, '*', 1) IS NULL AND mask.partial('abc', 1, NULL, 1) IS NULL"
        ));
        assert!(is_true(
            "SELECT mask.null_value(1) IS NULL AND mask.null_value('x'::text) IS NULL
                AND mask.null_value(now()) IS NULL AND mask.null_value(ARRAY[1]) IS NULL
                AND pg_typeof(mask.null_value(1.5)) = 'numeric'::regtype"
        ));
    }

    #[pg_test]
    fn the_key_of_the_hash_is_for_the_extension_alone() {
        Spi::run("CREATE ROLE curious; GRANT USAGE ON SCHEMA mask TO curious; SET ROLE curious").unwrap();
        for statement in
            ["SELECT * FROM mask.secret_key", "SELECT * FROM mask.policy", "SELECT * FROM mask.policies"]
        {
            assert_eq!(state_of(statement), "42501", "{statement}");
        }
        Spi::run("RESET ROLE").unwrap();
        assert!(is_true(
            "SELECT count(*) = 0 FROM pg_settings WHERE setting IN (SELECT key FROM mask.secret_key)"
        ));
        let dumped =
            "SELECT count(*) = 0 FROM pg_extension WHERE 'mask.secret_key'::regclass = ANY (extconfig)";
        assert!(is_true(dumped));
    }

    #[pg_test]
    fn another_key_gives_other_hashes() {
        let before = text("SELECT mask.hash('4711')");
        Spi::run("UPDATE mask.secret_key SET key = encode(sha256('another'), 'hex')").unwrap();
        assert_ne!(text("SELECT mask.hash('4711')"), before);
        Spi::run("DELETE FROM mask.secret_key").unwrap();
        assert_eq!(state_of("SELECT mask.hash('4711')"), "55000");
    }

    #[pg_test]
    fn the_view_masks_for_everybody_without_a_person_even_for_the_superuser() {
        customers();
        assert_eq!(row(1), MASKED);
        assert_eq!(row(2), "(2,Nobody,,,)", "NULL stays NULL");
        Spi::run("SET ROLE reader").unwrap();
        assert_eq!(row(1), MASKED);
        assert_eq!(state_of("SELECT * FROM shop.customers"), "42501");
        Spi::run("RESET ROLE").unwrap();
    }

    #[pg_test]
    fn a_column_is_revealed_to_people_of_its_groups_only() {
        customers();
        identify_as("sam", &["support"]);
        assert_eq!(row(1), "(1,\"John Doe\",john.doe@example.com,DE****3000,)");
        identify_as("bill", &["billing", "support"]);
        assert_eq!(row(1), "(1,\"John Doe\",john.doe@example.com,DE89370400440532013000,)");
        identify_as("eve", &["Support", "sales"]);
        assert_eq!(row(1), MASKED);
        Spi::run("SELECT custodian.clear_identity()").unwrap();
        assert_eq!(row(1), MASKED);
    }

    #[pg_test]
    fn a_grant_to_reveal_reveals_until_it_is_revoked() {
        customers();
        identify_as("eve", &[]);
        assert_eq!(row(1), MASKED);
        granted("'eve', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'to read is not to reveal'");
        assert_eq!(row(1), MASKED);
        let clear = "(1,\"John Doe\",john.doe@example.com,DE89370400440532013000,1980-02-29)";
        let id = granted("'eve', ARRAY['reveal'], 'TABLE shop.customers', '1 hour', 'x'");
        assert_eq!(row(1), clear);
        Spi::run(&format!("SELECT access.revoke_access({id}, 'x')")).unwrap();
        assert_eq!(row(1), MASKED);
        granted("'eve', ARRAY['reveal'], 'SCHEMA shop', '1 hour', 'x'");
        assert_eq!(row(1), clear);
    }

    #[pg_test]
    fn a_prepared_plan_shows_each_person_what_is_theirs() {
        customers();
        Spi::run("PREPARE p AS SELECT email FROM masked.customers WHERE id = 1; SET plan_cache_mode = force_generic_plan")
            .unwrap();
        let email = || text("EXECUTE p").unwrap();
        assert_eq!(email(), "john.d***@example.com");
        identify_as("sam", &["support"]);
        assert_eq!(email(), "john.doe@example.com");
        identify_as("eve", &[]);
        assert_eq!(email(), "john.d***@example.com");
    }

    #[pg_test]
    fn predicates_and_leaky_functions_see_the_mask() {
        customers();
        assert!(is_true("SELECT count(*) = 0 FROM masked.customers WHERE iban = 'DE89370400440532013000'"));
        assert!(is_true("SELECT count(*) = 1 FROM masked.customers WHERE iban = 'DE****3000'"));
        assert!(is_true("SELECT count(*) = 0 FROM masked.customers WHERE iban LIKE '%0532%'"));
        Spi::run(
            "CREATE TABLE shop.seen (value text);
             CREATE FUNCTION shop.leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
                 'BEGIN INSERT INTO shop.seen VALUES ($1); RETURN true; END';",
        )
        .unwrap();
        Spi::run("SELECT count(*) FROM masked.customers WHERE shop.leak(iban) AND shop.leak(email)").unwrap();
        assert!(is_true(
            "SELECT count(*) > 0 AND bool_and(value IS NULL OR value LIKE '%***%') FROM shop.seen"
        ));
    }

    #[pg_test]
    fn the_view_has_the_names_and_types_of_the_table_whatever_they_are() {
        Spi::run(
            "CREATE DOMAIN iban_type AS varchar(34) NOT NULL CHECK (VALUE ~ '^[A-Z]{2}[0-9]+$');
             CREATE TYPE mood AS ENUM ('sad', 'glad');
             CREATE TABLE \"Odd \"\"Table\" (\"Id\" bigint, c char(6), v varchar(4), n name, d iban_type, m mood,
                 a text[], t text COLLATE \"C\", gone int, \"select\" text);
             ALTER TABLE \"Odd \"\"Table\" DROP COLUMN gone;
             INSERT INTO \"Odd \"\"Table\" VALUES (1, 'abcdef', 'abcd', 'postgres', 'DE12345', 'glad', '{x}', 'text', 'sel');
             SELECT mask.protect('\"Odd \"\"Table\"', c, masking) FROM (VALUES ('c', 'partial(1, ''*****'', 1)'),
                 ('v', 'hash'), ('n', 'hash'), ('d', 'partial(2, ''*'', 0)'), ('m', 'null_value'), ('a', 'null_value'),
                 ('t', 'email'), ('select', 'partial(0, ''\\'', 1)')) AS x (c, masking);
             SELECT mask.generate_view('\"Odd \"\"Table\"');",
        )
        .unwrap();
        let types = |relation: &str| {
            text(&format!(
                "SELECT string_agg(attname || ' ' || format_type(CASE WHEN typtype = 'd' THEN typbasetype ELSE t.oid END,
                     CASE WHEN typtype = 'd' THEN typtypmod ELSE atttypmod END) || attcollation, ',' ORDER BY attnum)
                 FROM pg_attribute JOIN pg_type t ON t.oid = atttypid
                 WHERE attrelid = '{relation}'::regclass AND attnum > 0 AND NOT attisdropped"
            ))
        };
        assert_eq!(types("masked.\"Odd \"\"Table\""), types("\"Odd \"\"Table\""));
        let shown = text("SELECT (x.*)::text FROM masked.\"Odd \"\"Table\" AS x").unwrap();
        assert!(shown.starts_with("(1,a*****,"), "{shown}");
        assert!(shown.ends_with(",DE*,,,***,\\\\l)") || shown.ends_with(",DE*,,,***,\"\\\\l\")"), "{shown}");
    }

    #[pg_test]
    fn what_cannot_be_protected_is_refused_by_its_sqlstate() {
        customers();
        Spi::run("CREATE VIEW shop.v AS SELECT 1 AS one; CREATE TEMP TABLE scratch (t text)").unwrap();
        for (arguments, state) in [
            ("'shop.nosuch', 'email', 'email'", "42P01"),
            ("4294967290, 'email', 'email'", "42P01"),
            ("NULL, 'email', 'email'", "22004"),
            ("'shop.customers', NULL, 'email'", "22004"),
            ("'shop.customers', 'email', NULL", "22004"),
            ("'shop.customers', 'nosuch', 'email'", "42703"),
            ("'shop.customers', 'ctid', 'null_value'", "42P10"),
            ("'shop.customers', 'email', 'blur'", "22023"),
            ("'shop.customers', 'email', 'email(); DROP TABLE shop.customers'", "22023"),
            ("'shop.customers', 'email', 'partial(2, ''x'')'", "22023"),
            ("'shop.customers', 'id', 'hash'", "42804"),
            ("'shop.customers', 'born', 'partial(1, ''*'', 1)'", "42804"),
            ("'shop.customers', 'born', 'range(0.5)'", "42804"),
            ("'shop.customers', 'email', 'noise(5)'", "42804"),
            ("'shop.customers', 'born', 'constant(''soon'')'", "22007"),
            ("'shop.customers', 'id', 'constant(''x'')'", "22P02"),
            ("'shop.customers', 'email', 'jsonb_paths(''a'')'", "22023"),
            ("'shop.customers', 'email', 'email', ARRAY[NULL]::text[]", "22023"),
            ("'shop.customers', 'email', 'email', ARRAY['']", "22023"),
            ("'shop.v', 'one', 'null_value'", "42809"),
            ("'masked.customers', 'email', 'email'", "42809"),
            ("'pg_class', 'relname', 'null_value'", "42809"),
            ("'access.issued_grant', 'reason', 'email'", "42809"),
            ("'scratch', 't', 'email'", "42809"),
        ] {
            assert_eq!(state_of(&format!("SELECT mask.protect({arguments})")), state, "{arguments}");
        }
        let [_, message, hint] = raised("SELECT mask.protect('shop.customers', 'email', 'blur')").unwrap();
        assert_eq!(message, "unrecognized masking \"blur\"");
        assert!(
            hint.starts_with("Write null_value, constant('text'), partial(prefix, 'padding', suffix), "),
            "{hint}"
        );
        let [_, message, hint] = raised("SELECT mask.protect('shop.customers', 'born', 'email')").unwrap();
        assert_eq!(message, "masking email does not fit column \"born\", which is of type date");
        assert!(hint.starts_with("Columns of this type take null_value, constant, year, month, "), "{hint}");
        assert_eq!(state_of("SELECT mask.unprotect('shop.customers', 'name')"), "42704");
        assert_eq!(state_of("SELECT mask.unprotect('shop.customers', 'nosuch')"), "42703");
        assert_eq!(state_of("SELECT mask.generate_view(NULL)"), "22004");
        assert_eq!(state_of("SELECT mask.generate_view('shop.v')"), "42809");
        assert!(is_true("SELECT count(*) = 3 FROM mask.policies"));
    }

    #[pg_test]
    fn a_change_of_policy_renews_the_view_and_keeps_who_may_read_it() {
        customers();
        let id = "SELECT id::text FROM mask.policies WHERE column_name = 'iban'";
        let before = text(id);
        Spi::run("SELECT mask.protect('shop.customers', 'iban', 'null_value')").unwrap();
        assert_eq!(text(id), before, "the column's policy keeps its number");
        assert_eq!(row(1), "(1,\"John Doe\",john.d***@example.com,,)");
        Spi::run("SELECT mask.protect('shop.customers', 'name', 'partial(1, ''.'', 0)')").unwrap();
        assert_eq!(row(1), "(1,J.,john.d***@example.com,,)");
        Spi::run("SELECT mask.unprotect('shop.customers', 'email')").unwrap();
        assert_eq!(row(1), "(1,J.,john.doe@example.com,,)");
        Spi::run("SET ROLE reader").unwrap();
        assert_eq!(row(1), "(1,J.,john.doe@example.com,,)");
        Spi::run("RESET ROLE").unwrap();
    }

    #[pg_test]
    fn a_change_of_the_table_is_followed_by_the_next_generate_view() {
        customers();
        Spi::run("GRANT SELECT (id), UPDATE (name) ON masked.customers TO reader WITH GRANT OPTION").unwrap();
        Spi::run("GRANT SELECT ON masked.customers TO PUBLIC").unwrap();
        Spi::run("ALTER TABLE shop.customers ADD note text; SELECT mask.generate_view('shop.customers')")
            .unwrap();
        let view = oid("masked.customers");
        Spi::run("SELECT mask.generate_view('shop.customers')").unwrap();
        assert_eq!(oid("masked.customers"), view, "nothing changed, nothing was made anew");
        assert_eq!(row(1), "(1,\"John Doe\",john.d***@example.com,DE****3000,,)");
        Spi::run("ALTER TABLE shop.customers RENAME email TO mail").unwrap();
        Spi::run("SELECT mask.generate_view('shop.customers')").unwrap();
        assert_eq!(text("SELECT mail FROM masked.customers WHERE id = 1").unwrap(), "john.d***@example.com");
        assert!(is_true(
            "SELECT has_table_privilege('reader', 'masked.customers', 'SELECT')
                 AND has_column_privilege('reader', 'masked.customers', 'id', 'SELECT WITH GRANT OPTION')
                 AND has_column_privilege('reader', 'masked.customers', 'name', 'UPDATE WITH GRANT OPTION')
                 AND EXISTS (SELECT FROM pg_class, aclexplode(relacl) a WHERE oid = 'masked.customers'::regclass
                             AND a.grantee = 0 AND a.privilege_type = 'SELECT')"
        ));
        assert!(is_true("SELECT 'mail' IN (SELECT column_name FROM mask.policies)"));
        assert_eq!(table_behind(oid("masked.customers")).unwrap(), Some(oid("shop.customers")));
    }

    #[pg_test]
    fn two_tables_of_one_name_cannot_both_have_the_view() {
        customers();
        Spi::run("CREATE TABLE public.customers (id int); CREATE TABLE masked.orders (id int); CREATE TABLE orders (id int)")
            .unwrap();
        let [state, message, hint] = raised("SELECT mask.generate_view('public.customers')").unwrap();
        assert_eq!(
            (state.as_str(), message.as_str()),
            ("42710", "relation \"masked.customers\" already exists")
        );
        assert!(hint.contains("Drop view masked.customers"), "{hint}");
        assert_eq!(state_of("SELECT mask.generate_view('public.orders')"), "42710");
        Spi::run("DROP VIEW masked.customers; SELECT mask.generate_view('public.customers')").unwrap();
        assert_eq!(table_behind(oid("masked.customers")).unwrap(), Some(oid("public.customers")));
    }

    #[pg_test]
    fn a_table_with_row_security_gets_no_view_that_would_pass_it_by() {
        customers();
        Spi::run("DROP VIEW masked.customers; ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY").unwrap();
        assert_eq!(state_of("SELECT mask.generate_view('shop.customers')"), "0A000");
    }

    #[pg_test]
    fn an_unknown_policy_reveals_nothing() {
        identify_as("sam", &["support"]);
        assert!(is_true(
            "SELECT NOT mask.reveals(0, 'pg_class') AND NOT mask.reveals(-1, 'pg_class')
                AND mask.reveals(NULL, 'pg_class') IS NULL AND NOT mask.applies(0)"
        ));
    }

    #[pg_test]
    fn policies_are_only_for_administrators_to_change() {
        customers();
        Spi::run("GRANT USAGE ON SCHEMA mask TO reader; SET ROLE reader").unwrap();
        for statement in [
            "SELECT mask.protect('shop.customers', 'email', 'email')",
            "SELECT mask.unprotect('masked.customers', 'email')",
            "SELECT mask.generate_view('masked.customers')",
            "UPDATE mask.policy SET reveal_to = '{support}'",
            "CREATE VIEW masked.mine AS SELECT 1",
            "CREATE OR REPLACE VIEW masked.customers AS SELECT 1",
            "DROP VIEW masked.customers",
            "UPDATE masked.customers SET name = 'x'",
        ] {
            assert_eq!(state_of(statement), "42501", "{statement}");
        }
        Spi::run("RESET ROLE").unwrap();
    }

    fn reading(name: &str, selected: &[i16]) -> RelationUse {
        RelationUse {
            relid: oid(name),
            select: true,
            insert: false,
            update: false,
            delete: false,
            truncate: false,
            through: None,
            selected: selected.to_vec(),
            written: Vec::new(),
            limits: 0,
        }
    }

    fn fields(uses: &[RelationUse]) -> Vec<(String, FieldPolicy)> {
        let mut fields = fields_for(uses).unwrap();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    }

    #[pg_test]
    fn the_record_says_which_fields_were_masked_and_which_revealed() {
        customers();
        use FieldPolicy::{Masked, Revealed};
        let field = |name: &str, seen| (name.to_owned(), seen);
        let all =
            [reading("masked.customers", &[1, 2, 3, 4, 5]), reading("shop.customers", &[1, 2, 3, 4, 5])];
        assert_eq!(fields(&all), [field("born", Masked), field("email", Masked), field("iban", Masked)]);
        identify_as("sam", &["support"]);
        assert_eq!(fields(&all), [field("born", Masked), field("email", Revealed), field("iban", Masked)]);
        let harmless = [reading("masked.customers", &[1, 2]), reading("shop.customers", &[1, 2, 3, 4, 5])];
        assert_eq!(fields(&harmless), []);
        assert_eq!(fields(&[reading("shop.customers", &[4])]), [field("iban", Masked)]);
        assert_eq!(fields(&[reading("shop.customers", &[3])]), [field("email", Revealed)]);
        Spi::run("SELECT custodian.clear_identity()").unwrap();
        assert_eq!(
            fields(&[reading("shop.customers", &[4])]),
            [field("iban", Revealed)],
            "nobody is not masked"
        );
        assert_eq!(fields(&[reading("pg_class", &[1])]), []);
        assert!(relevant(oid("shop.customers")).unwrap() && relevant(oid("masked.customers")).unwrap());
        assert!(!relevant(oid("pg_class")).unwrap());
    }

    #[pg_test]
    fn columns_are_known_by_name_after_a_dump_was_restored() {
        customers();
        // what a restore does: same names, another table, columns numbered anew
        Spi::run("UPDATE mask.policy SET attnum = attnum + 1, numbered_in = 0").unwrap();
        assert_eq!(fields(&[reading("shop.customers", &[4])]), [("iban".to_owned(), FieldPolicy::Revealed)]);
        assert_eq!(fields(&[reading("shop.customers", &[2])]), []);
        Spi::run("SELECT mask.protect('shop.customers', 'name', 'hash')").unwrap();
        assert!(is_true(
            "SELECT count(*) = 4 AND bool_and(numbered_in = relation) FROM mask.policy y
                 JOIN pg_attribute a ON a.attrelid = y.relation AND a.attnum = y.attnum AND a.attname::text = column_name"
        ));
        assert!(row(1).ends_with(",john.d***@example.com,DE****3000,)"), "{}", row(1));
    }

    #[pg_test]
    fn columns_that_swap_their_names_keep_their_policies() {
        customers();
        Spi::run(
            "ALTER TABLE shop.customers RENAME iban TO x; ALTER TABLE shop.customers RENAME name TO iban;
             ALTER TABLE shop.customers RENAME x TO name; SELECT mask.generate_view('shop.customers')",
        )
        .unwrap();
        assert_eq!(text("SELECT name FROM masked.customers WHERE id = 1").unwrap(), "DE****3000");
        assert_eq!(text("SELECT iban FROM masked.customers WHERE id = 1").unwrap(), "John Doe");
        assert_eq!(fields(&[reading("shop.customers", &[4])]), [("name".to_owned(), FieldPolicy::Revealed)]);
    }

    /// Seconds of the processor that this backend has used: what else the machine has to do is not in it.
    fn processor_time() -> f64 {
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        // proc(5): utime and stime are fields 14 and 15, and the second, in parentheses, may have spaces.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks: u32 = fields.skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        f64::from(ticks) / 100.0
    }

    #[pg_test]
    fn asking_for_policies_that_do_not_exist_costs_nothing_that_stays() {
        customers();
        let before = processor_time();
        assert!(is_true(
            "SELECT count(*) = 0 FROM generate_series(1000, 101000) AS n WHERE mask.reveals(n, 'pg_class')"
        ));
        let used = processor_time() - before;
        assert!(used < 10.0, "{used}");
    }

    #[pg_test]
    fn keyed_functions_are_known_as_oracles_and_others_are_not() {
        let known = oracle_functions().unwrap();
        let kept: Vec<Option<Oid>> = Spi::get_one(
            "SELECT array_agg(oid ORDER BY oid) FROM pg_proc WHERE pronamespace = 'mask'::regnamespace
                 AND proname IN ('hash', 'token', 'noise')",
        )
        .unwrap()
        .unwrap();
        assert_eq!(known.iter().copied().map(Some).collect::<Vec<_>>(), kept);
        assert_eq!(kept.len(), 18);
    }

    #[pg_test]
    fn a_parallel_plan_over_the_view_masks_too() {
        customers();
        Spi::run(
            "INSERT INTO shop.customers SELECT g, 'n', 'john.doe@example.com' FROM generate_series(3, 20000) g;
             ANALYZE shop.customers; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
             SET min_parallel_table_scan_size = 0",
        )
        .unwrap();
        identify_as("sam", &[]);
        assert!(is_true(
            "SELECT bool_and(email IS NULL OR email = 'john.d***@example.com') FROM masked.customers"
        ));
        assert!(is_true("SELECT count(DISTINCT mask.hash(email)) = 1 FROM shop.customers"));
    }
}
