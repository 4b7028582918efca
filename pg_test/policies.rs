//! Policies inside the server: for groups, as defaults of a schema, and when tables change.

#[pgrx::pg_schema]
mod tests {
    use super::super::access::{granted, identify_as, is_true, raised, state_of};
    use crate::masking::{Masking, SAFE_DEFAULT, Seen, is_generated, masking_of, protects, seen};
    use pgrx::pg_sys::Oid;
    use pgrx::prelude::*;

    fn oid(name: &str) -> Oid {
        Spi::get_one(&format!("SELECT '{name}'::regclass::oid")).unwrap().unwrap()
    }

    fn text(question: &str) -> Option<String> {
        Spi::get_one(question).unwrap()
    }

    fn run(statements: &str) {
        Spi::run(statements).unwrap();
    }

    fn id(call: &str) -> i64 {
        Spi::get_one(&format!("SELECT {call}")).unwrap().unwrap()
    }

    /// As a role; the function that tries is the role's own.
    fn state_as(role: &str, statement: &str) -> String {
        let forget = "DROP FUNCTION IF EXISTS pg_temp.attempt(text)";
        run(&format!("{forget}; SET ROLE {role}"));
        let state = state_of(statement);
        run(&format!("{forget}; RESET ROLE"));
        state
    }

    fn nobody() {
        run("SELECT custodian.clear_identity()");
    }

    fn people() {
        run("CREATE ROLE clerk;
             CREATE SCHEMA hr; CREATE TABLE hr.people (id int, name text, iban text, salary numeric, born date);
             INSERT INTO hr.people VALUES (1, 'Ada Winter', 'DE89370400440532013000', 100, '1980-02-29')");
    }

    fn shown(column: &str) -> Option<String> {
        text(&format!("SELECT {column}::text FROM masked.people WHERE id = 1"))
    }

    #[pg_test]
    fn the_first_policy_that_is_for_a_group_of_the_person_counts() {
        people();
        let others = id("mask.protect('hr.people', 'iban', 'partial(0, ''****'', 4)', ARRAY['finance'])");
        let partners = id("mask.protect('hr.people', 'iban', 'null_value', '{}', ARRAY['partner'])");
        let auditors =
            id("mask.protect('hr.people', 'iban', 'hash', ARRAY['chief'], ARRAY['audit', 'revision'])");
        run("SELECT mask.generate_view('hr.people')");
        let table = oid("hr.people");
        for (groups, expected, sees) in [
            (&["sales"][..], Some("****3000"), Seen::Masked(others)),
            (&["finance"], Some("DE89370400440532013000"), Seen::Revealed),
            (&["partner"], None, Seen::Masked(partners)),
            (&["partner", "finance"], None, Seen::Masked(partners)),
            (&["revision", "chief"], Some("DE89370400440532013000"), Seen::Revealed),
            (&["revision", "partner", "chief"], None, Seen::Masked(partners)),
        ] {
            identify_as("eve", groups);
            assert_eq!(shown("iban").as_deref(), expected, "{groups:?}");
            assert_eq!(seen(table, 3).unwrap(), sees, "{groups:?}");
        }
        identify_as("rev", &["revision"]);
        assert_eq!(shown("iban").unwrap().len(), 64);
        assert_eq!(seen(table, 3).unwrap(), Seen::Masked(auditors));
        nobody();
        assert_eq!(shown("iban").unwrap(), "****3000");
        assert_eq!(seen(table, 3).unwrap(), Seen::Masked(others));
        // The order is a number, and can be changed.
        assert!(is_true("SELECT array_agg(place ORDER BY id) = '{1,2,3}' FROM mask.policies"));
        run(&format!("SELECT mask.order_policy({auditors}, 1)"));
        assert!(is_true("SELECT array_agg(place ORDER BY id) = '{2,3,1}' FROM mask.policies"));
        identify_as("both", &["revision", "partner"]);
        assert_eq!(shown("iban").unwrap().len(), 64);
        run(&format!("SELECT mask.order_policy({auditors}, 99)"));
        assert_eq!(shown("iban"), None);
        // The same groups again are the same policy, in whatever order they are named.
        let again =
            id("mask.protect('hr.people', 'iban', 'null_value', '{}', ARRAY['revision', 'audit', 'audit'])");
        assert_eq!(again, auditors);
        run(&format!("SELECT mask.drop_policy({partners})"));
        identify_as("p", &["partner"]);
        assert_eq!(shown("iban").unwrap(), "****3000");
        assert_eq!(masking_of(others).unwrap().to_string(), "partial(0, '****', 4)");
        assert_eq!(masking_of(partners).unwrap(), Masking::NullValue);
    }

    #[pg_test]
    fn a_column_whose_policies_are_for_others_shows_nothing() {
        people();
        run("SELECT mask.protect('hr.people', 'iban', 'email', ARRAY['x'], ARRAY['partner']);
             SELECT mask.generate_view('hr.people')");
        let table = oid("hr.people");
        assert_eq!((shown("iban"), seen(table, 3).unwrap()), (None, Seen::Masked(SAFE_DEFAULT)));
        identify_as("eve", &["x"]);
        assert_eq!((shown("iban"), seen(table, 3).unwrap()), (None, Seen::Masked(SAFE_DEFAULT)));
        granted("'eve', ARRAY['reveal'], 'TABLE hr.people', '1 hour', 'x'");
        assert_eq!((shown("iban").unwrap().len(), seen(table, 3).unwrap()), (22, Seen::Revealed));
        assert_eq!(seen(table, 2).unwrap(), Seen::Unprotected);
        assert_eq!(seen(oid("pg_class"), 2).unwrap(), Seen::Unprotected);
    }

    #[pg_test]
    fn a_default_of_a_schema_masks_what_is_there_and_what_comes() {
        people();
        run("SELECT mask.generate_view('hr.people')");
        let any = id("mask.protect_matching('hr', '%IBAN%', 'partial(0, ''****'', 4)', ARRAY['finance'])");
        let table = oid("hr.people");
        assert_eq!((shown("iban").unwrap(), seen(table, 3).unwrap()), ("****3000".into(), Seen::Masked(any)));
        // New columns, new tables, columns that get such a name.
        run(
            "ALTER TABLE hr.people ADD other_iban text DEFAULT 'DE000111222'; ALTER TABLE hr.people RENAME name TO not_iban",
        );
        assert_eq!(
            (shown("other_iban").unwrap(), shown("not_iban").unwrap()),
            ("****1222".into(), "****nter".into())
        );
        run("CREATE TABLE hr.later (iban text, ibans int); CREATE TABLE public.later (iban text)");
        assert_eq!(seen(oid("hr.later"), 1).unwrap(), Seen::Masked(any));
        assert_eq!(seen(oid("public.later"), 1).unwrap(), Seen::Unprotected);
        assert_eq!(
            seen(oid("hr.later"), 2).unwrap(),
            Seen::Masked(SAFE_DEFAULT),
            "an integer holds no such mask"
        );
        // Its own policy wins; a reveal of one table is none of the other.
        let own = id("mask.protect('hr.people', 'iban', 'null_value')");
        assert_eq!((shown("iban"), seen(table, 3).unwrap()), (None, Seen::Masked(own)));
        identify_as("eve", &[]);
        granted("'eve', ARRAY['reveal'], 'TABLE hr.people', '1 hour', 'x'");
        assert_eq!(seen(oid("hr.later"), 1).unwrap(), Seen::Masked(any));
        assert_eq!(
            (shown("other_iban").unwrap(), seen(table, 3).unwrap()),
            ("DE000111222".into(), Seen::Revealed)
        );
        assert!(is_true(&format!(
            "SELECT NOT mask.reveals({any}, 'hr.later') AND mask.reveals({any}, 'hr.people')"
        )));
        nobody();
        run("SELECT mask.unprotect('hr.people', 'iban')");
        assert_eq!(shown("iban").unwrap(), "****3000");
        assert_eq!(state_of("SELECT mask.unprotect('hr.people', 'iban')"), "42704");
        run(&format!("SELECT mask.drop_policy({any})"));
        assert_eq!(shown("iban").unwrap(), "DE89370400440532013000");
    }

    #[pg_test]
    fn no_change_of_a_table_takes_its_masks_away() {
        people();
        run("CREATE SCHEMA elsewhere; SELECT mask.generate_view('hr.people')");
        let any = id("mask.protect_matching('hr', 'iban', 'null_value')");
        let table = oid("hr.people");
        assert_eq!(seen(table, 3).unwrap(), Seen::Masked(any));
        run("ALTER TABLE hr.people RENAME iban TO harmless");
        assert!(matches!(seen(table, 3).unwrap(), Seen::Masked(id) if id != any && id != SAFE_DEFAULT));
        assert_eq!(shown("harmless"), None);
        run("CREATE TABLE hr.second (iban text); ALTER TABLE hr.second SET SCHEMA elsewhere");
        assert!(matches!(seen(oid("elsewhere.second"), 1).unwrap(), Seen::Masked(id) if id != any));
        run("CREATE TABLE hr.third (iban text); ALTER SCHEMA hr RENAME TO staff");
        assert_eq!(seen(oid("staff.third"), 1).unwrap(), Seen::Masked(any));
        run("CREATE TABLE staff.fourth (iban text)");
        assert_eq!(seen(oid("staff.fourth"), 1).unwrap(), Seen::Masked(any));
        // What fails changes nothing.
        assert_eq!(
            state_of("DO 'BEGIN ALTER TABLE staff.third RENAME iban TO x; RAISE division_by_zero; END'"),
            "22012"
        );
        assert_eq!(seen(oid("staff.third"), 1).unwrap(), Seen::Masked(any));
        assert!(is_true("SELECT count(*) = 3 FROM mask.policies"));
    }

    #[pg_test]
    fn children_take_their_policies_from_their_parents_and_keep_them() {
        run("CREATE SCHEMA hr;
             CREATE TABLE hr.log (id int, iban text, at date) PARTITION BY RANGE (at);
             CREATE TABLE hr.log_1 PARTITION OF hr.log FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
             CREATE TABLE hr.log_2 (at date, junk int, iban text, id int);
             ALTER TABLE hr.log_2 DROP junk");
        let policy = id("mask.protect('hr.log', 'iban', 'null_value')");
        assert_eq!(seen(oid("hr.log_1"), 2).unwrap(), Seen::Masked(policy));
        assert!(!protects(oid("hr.log_2")).unwrap());
        run("ALTER TABLE hr.log ATTACH PARTITION hr.log_2 FOR VALUES FROM ('2021-01-01') TO ('2022-01-01')");
        assert_eq!(seen(oid("hr.log_2"), 3).unwrap(), Seen::Masked(policy));
        run("ALTER TABLE hr.log RENAME iban TO account");
        assert_eq!(seen(oid("hr.log_2"), 3).unwrap(), Seen::Masked(policy));
        run("ALTER TABLE hr.log DETACH PARTITION hr.log_2");
        assert!(matches!(seen(oid("hr.log_2"), 3).unwrap(), Seen::Masked(id) if id != policy && id != 0));
        // Inheritance, two generations; a column that the parent loses and the child keeps.
        run(
            "CREATE TABLE hr.a (iban text, x int); CREATE TABLE hr.b () INHERITS (hr.a); CREATE TABLE hr.c () INHERITS (hr.b)",
        );
        let top = id("mask.protect('hr.a', 'iban', 'null_value')");
        assert_eq!(seen(oid("hr.c"), 1).unwrap(), Seen::Masked(top));
        let nearer = id("mask.protect('hr.b', 'iban', 'hash')");
        assert_eq!(seen(oid("hr.c"), 1).unwrap(), Seen::Masked(nearer));
        run("SELECT mask.unprotect('hr.b', 'iban'); ALTER TABLE ONLY hr.a DROP COLUMN iban");
        assert!(matches!(seen(oid("hr.b"), 1).unwrap(), Seen::Masked(id) if id != top && id != 0));
        assert!(matches!(seen(oid("hr.c"), 1).unwrap(), Seen::Masked(id) if id != top && id != 0));
        run("ALTER TABLE hr.c NO INHERIT hr.b");
        assert!(matches!(seen(oid("hr.c"), 1).unwrap(), Seen::Masked(id) if id != 0));
    }

    #[pg_test]
    fn policies_end_with_their_column_and_table() {
        people();
        run("SELECT mask.protect('hr.people', 'iban', 'null_value'); SELECT mask.protect('hr.people', 'name', 'hash');
             SELECT mask.generate_view('hr.people'); GRANT SELECT ON masked.people TO clerk;
             ALTER TABLE hr.people DROP COLUMN iban");
        assert!(is_true("SELECT array_agg(column_name) = '{name}' FROM mask.policies"));
        assert_eq!(shown("name").unwrap().len(), 64);
        assert!(is_true("SELECT has_table_privilege('clerk', 'masked.people', 'SELECT')"));
        // The view is no hindrance, and goes with its table.
        run("DROP TABLE hr.people");
        assert!(is_true(
            "SELECT to_regclass('masked.people') IS NULL AND NOT EXISTS (SELECT FROM mask.policy)
            AND NOT EXISTS (SELECT FROM mask.generated_view)"
        ));
        people_again();
        run(
            "SELECT mask.protect('hr.people', 'iban', 'null_value'); SELECT mask.generate_view('hr.people'); DROP SCHEMA hr CASCADE",
        );
        assert!(is_true(
            "SELECT to_regclass('masked.people') IS NULL AND NOT EXISTS (SELECT FROM mask.policy)"
        ));
    }

    fn people_again() {
        run("CREATE TABLE hr.people (id int, name text, iban text)");
    }

    #[pg_test]
    fn a_view_follows_its_table_within_the_statement() {
        people();
        run("SELECT mask.protect('hr.people', 'iban', 'partial(0, ''****'', 4)'); SELECT mask.generate_view('hr.people');
             GRANT SELECT ON masked.people TO clerk; GRANT USAGE ON SCHEMA hr TO clerk; GRANT SELECT (id) ON masked.people TO PUBLIC");
        let view = oid("masked.people");
        run("ALTER TABLE hr.people ADD note text; ALTER TABLE hr.people RENAME TO staff");
        assert_eq!(oid("masked.staff"), view, "a view that others may have built on stays the same");
        run("ALTER TABLE hr.staff RENAME TO people; ALTER TABLE hr.people ALTER name TYPE varchar(4) USING left(name, 4), DROP note;
             ALTER TABLE hr.people RENAME iban TO account");
        assert!(is_true(
            "SELECT array_agg(attname::text || ' ' || format_type(atttypid, atttypmod) ORDER BY attnum)
            = '{id integer,name character varying(4),account text,salary numeric,born date}'
            FROM pg_attribute WHERE attrelid = 'masked.people'::regclass AND attnum > 0"
        ));
        assert_eq!((shown("name").unwrap(), shown("account").unwrap()), ("Ada ".into(), "****3000".into()));
        assert!(is_true(
            "SELECT has_table_privilege('clerk', 'masked.people', 'SELECT')
            AND has_column_privilege('public', 'masked.people', 'id', 'SELECT')"
        ));
        // Nothing comes of a change that is none, and one that fails.
        run("ALTER TABLE hr.people DROP COLUMN IF EXISTS nosuch");
        assert_eq!(shown("account").unwrap(), "****3000");
        assert_eq!(state_of("ALTER TABLE hr.people ALTER name TYPE int USING name::int"), "22P02");
        assert_eq!(shown("account").unwrap(), "****3000");
        assert_eq!(state_as("clerk", "ALTER TABLE hr.people DROP COLUMN account"), "42501");
        assert_eq!(state_as("clerk", "DROP TABLE hr.people"), "42501");
        // What others built on it is told, not broken.
        run("CREATE VIEW hr.names AS SELECT name FROM masked.people; ALTER TABLE hr.people ADD more int");
        assert_eq!(state_of("ALTER TABLE hr.people DROP COLUMN account"), "2BP01");
        assert_eq!(state_of("DROP TABLE hr.people"), "2BP01");
        assert_eq!(shown("account").unwrap(), "****3000");
        run("DROP TABLE hr.people CASCADE");
        assert!(is_true(
            "SELECT to_regclass('hr.names') IS NULL AND NOT EXISTS (SELECT FROM mask.generated_view)"
        ));
    }

    #[pg_test]
    fn a_type_that_cannot_hold_the_mask_shows_nothing() {
        people();
        run("SELECT mask.protect('hr.people', 'iban', 'partial(0, ''****'', 4)', ARRAY['finance']); SELECT mask.generate_view('hr.people');
             ALTER TABLE hr.people ALTER iban TYPE numeric USING 4711");
        assert_eq!((shown("iban"), seen(oid("hr.people"), 3).unwrap()), (None, Seen::Masked(SAFE_DEFAULT)));
        identify_as("fay", &["finance"]);
        assert_eq!(
            (shown("iban").unwrap(), seen(oid("hr.people"), 3).unwrap()),
            ("4711".into(), Seen::Revealed)
        );
        assert!(is_true(
            "SELECT reason LIKE '%does not fit%' AND masking = 'null_value' FROM mask.explain('hr.people', 'x') WHERE column_name = 'iban'"
        ));
        run("ALTER TABLE hr.people ALTER iban TYPE text");
        nobody();
        assert_eq!(shown("iban").unwrap(), "****");
    }

    #[pg_test]
    fn row_security_and_a_masked_view_exclude_each_other() {
        people();
        run("SELECT mask.generate_view('hr.people')");
        assert_eq!(state_of("ALTER TABLE hr.people ENABLE ROW LEVEL SECURITY"), "0A000");
        run("DROP VIEW masked.people; ALTER TABLE hr.people ENABLE ROW LEVEL SECURITY");
    }

    #[pg_test]
    fn views_of_a_whole_schema() {
        people();
        run("CREATE TABLE hr.secure (id int); ALTER TABLE hr.secure ENABLE ROW LEVEL SECURITY;
             CREATE TABLE hr.parts (id int, iban text) PARTITION BY LIST (id); CREATE TABLE hr.part PARTITION OF hr.parts DEFAULT;
             SELECT mask.protect_matching('hr', 'iban', 'null_value')");
        assert!(is_true(
            "SELECT array_agg(v::text ORDER BY v::text) = '{masked.parts,masked.people}' FROM mask.generate_views('hr') v"
        ));
        assert_eq!(shown("iban"), None);
        assert_eq!(state_of("SELECT mask.generate_views('nosuch')"), "3F000");
        assert_eq!(state_of("SELECT mask.generate_views('pg_catalog')"), "42809");
        assert!(is_generated(oid("masked.people")).unwrap() && !is_generated(oid("hr.people")).unwrap());
    }

    #[pg_test]
    fn a_preview_is_what_somebody_without_any_right_sees_even_for_those_who_have_them() {
        people();
        run("SELECT mask.protect('hr.people', 'iban', 'partial(0, ''****'', 4)', ARRAY['finance']);
             SELECT mask.protect('hr.people', 'salary', 'null_value', '{}', ARRAY['partner']);
             GRANT custodian_admin TO clerk; GRANT USAGE ON SCHEMA hr TO clerk");
        identify_as("fay", &["finance"]);
        assert_eq!(
            text("SELECT p::text FROM mask.preview('hr.people') AS p").unwrap(),
            "{\"id\":1,\"name\":\"Ada Winter\",\"iban\":\"****3000\",\"salary\":null,\"born\":\"1980-02-29\"}"
        );
        assert_eq!(state_of("SELECT mask.preview('hr.people', 0)"), "22023");
        assert_eq!(state_as("clerk", "SELECT mask.preview('hr.people')"), "42501");
        run("GRANT SELECT ON hr.people TO clerk; SET ROLE clerk");
        assert!(is_true("SELECT count(*) = 1 FROM mask.preview('hr.people', 3)"));
        run("RESET ROLE");
    }

    #[pg_test]
    fn explain_says_who_sees_what_and_why() {
        people();
        let others = id("mask.protect('hr.people', 'iban', 'hash', ARRAY['finance'])");
        let partner = id("mask.protect('hr.people', 'iban', 'null_value', '{}', ARRAY['partner'])");
        run("SELECT mask.protect_matching('hr', 'sal%', 'null_value')");
        let told = |person: &str, column: &str| {
            text(&format!(
                "SELECT concat_ws('|', sees, masking, policy, place, origin, reason, until IS NOT NULL)
                 FROM mask.explain('hr.people', {person}) WHERE column_name = '{column}'"
            ))
            .unwrap()
        };
        assert_eq!(
            told("'eve'", "iban"),
            format!("masked|hash|{others}|1|the table|the policy is for everybody else|f")
        );
        assert_eq!(
            told("'eve', groups => '{partner,finance}'", "iban"),
            format!("masked|null_value|{partner}|2|the table|the policy is for group \"partner\"|f")
        );
        assert_eq!(
            told("'eve', groups => '{finance}'", "iban"),
            format!(
                "clear|{others}|1|the table|the policy is for everybody else, and reveals to \"finance\"|f"
            )
        );
        assert_eq!(told("'eve'", "name"), "unprotected|no policy names it|f");
        assert!(told("'eve'", "salary").contains("a default of the schema"));
        let grant = granted(
            "'eve', ARRAY['reveal'], 'TABLE hr.people', '1 hour', 'x', issuer => 'https://tests.example/'",
        );
        assert!(told("'eve'", "iban").starts_with("masked"), "a grant for one issuer");
        let with = granted("'eve', ARRAY['reveal'], 'TABLE hr.people', '1 hour', 'x'");
        assert_ne!(grant, with);
        assert_eq!(told("'eve'", "iban"), format!("clear|{others}|1|the table|grant {with} reveals it|t"));
        assert!(told("'mallory'", "iban").starts_with("masked"));
    }

    #[pg_test]
    fn groups_below_the_minimum_are_shown_together_or_not_at_all() {
        run("CREATE SCHEMA hr; CREATE TABLE hr.staff (city text, salary numeric, bonus numeric, name text);
             INSERT INTO hr.staff SELECT 'Rome', 100, NULL FROM generate_series(1, 10);
             INSERT INTO hr.staff SELECT 'Oslo', 200, 7 FROM generate_series(1, 6);
             INSERT INTO hr.staff VALUES ('Bonn', 900), ('Kiel', 300), ('Kiel', 500);
             SELECT mask.protect('hr.staff', 'salary', 'null_value');
             SELECT mask.generate_aggregate_view('hr.staff', '{city}', '{count,avg(salary),avg(bonus)}', 5)");
        let rows = || {
            text(
                "SELECT string_agg(format('%s %s %s %s %s', city, others, count, round(avg_salary), round(avg_bonus)), ', ' ORDER BY others, city) FROM masked.staff_groups",
            )
        };
        // Three rows in two groups are too few: the smallest of the others joins them.
        assert_eq!(rows().unwrap(), "Rome f 10 100 ,  t 9 322 7");
        run("INSERT INTO hr.staff VALUES ('Bonn', 900), ('Kiel', 300)");
        assert_eq!(rows().unwrap(), "Oslo f 6 200 7, Rome f 10 100 ,  t 5 580 ");
        // One hidden group alone would be the difference.
        run("DELETE FROM hr.staff WHERE city = 'Kiel'");
        assert_eq!(rows().unwrap(), "Rome f 10 100 ,  t 8 375 7");
        run("DELETE FROM hr.staff WHERE city = 'Oslo'");
        assert_eq!(rows().unwrap(), " t 12 233 ");
        run("DELETE FROM hr.staff WHERE city = 'Rome'");
        assert_eq!(rows(), None);
        run("DELETE FROM hr.staff");
        assert_eq!(rows(), None);
    }

    #[pg_test]
    fn aggregate_views_take_open_columns_and_one_set_of_groups() {
        people();
        run(
            "SELECT mask.protect('hr.people', 'salary', 'null_value'); SELECT mask.protect('hr.people', 'iban', 'null_value')",
        );
        for (arguments, state) in [
            ("'hr.people', '{iban}', '{count}'", "55000"),
            ("'hr.people', '{}', '{count}'", "22023"),
            ("'hr.people', '{born,born}', '{count}'", "22023"),
            ("'hr.people', '{nosuch}', '{count}'", "42703"),
            ("'hr.people', '{born}', '{avg(name)}'", "42804"),
            ("'hr.people', '{born}', '{avg(nosuch)}'", "42703"),
            ("'hr.people', '{born}', '{max(salary)}'", "22023"),
            ("'hr.people', '{born}', '{count}', 1", "22023"),
            ("'hr.people', NULL, '{count}'", "22004"),
        ] {
            let call = format!("SELECT mask.generate_aggregate_view({arguments})");
            assert_eq!(state_of(&call), state, "{arguments}");
        }
        run("SELECT mask.generate_aggregate_view('hr.people', '{born}', '{count,avg(salary)}');
             GRANT SELECT ON masked.people_groups TO clerk;
             SELECT mask.generate_aggregate_view('hr.people', '{name}', '{count}', 3)");
        assert!(is_true(
            "SELECT count(*) = 1 AND bool_and(has_table_privilege('clerk', view, 'SELECT')) FROM mask.aggregate_view"
        ));
        // Protecting what makes the groups, or giving it such a name, is refused while the view is there.
        let [state, _, hint] = raised("SELECT mask.protect('hr.people', 'name', 'hash')").unwrap();
        assert_eq!((state.as_str(), hint.as_str()), ("55000", "DROP VIEW masked.people_groups; first."));
        run("ALTER TABLE hr.people RENAME name TO called");
        assert_eq!(state_of("SELECT mask.protect('hr.people', 'called', 'hash')"), "55000");
        assert_eq!(state_of("SELECT mask.protect_matching('hr', 'call%', 'hash')"), "55000");
        run("DROP TABLE hr.people");
        assert!(is_true(
            "SELECT to_regclass('masked.people_groups') IS NULL AND NOT EXISTS (SELECT FROM mask.aggregate_view)"
        ));
    }

    #[pg_test]
    fn candidates_are_found_by_name_and_content_and_no_value_is_shown() {
        people();
        run("CREATE TABLE hr.notes (a text, b text, company text, dob date, amount bigint);
             INSERT INTO hr.notes SELECT 'person' || g || '@example.com', 'note ' || g, 'x', now(), 4111111111111111
                 FROM generate_series(1, 1000) g;
             SELECT mask.protect('hr.people', 'iban', 'null_value')");
        let found = |relation: &str| {
            text(&format!(
                "SELECT string_agg(column_name || ':' || kind || ':' || found_by, ',' ORDER BY column_name)
                 FROM mask.unprotected_candidates WHERE relation = '{relation}'::regclass"
            ))
        };
        assert_eq!(found("hr.notes").unwrap(), "a:email:content,amount:card:content,dob:birth:name");
        assert_eq!(found("hr.people").unwrap(), "born:birth:name");
        assert!(is_true(
            "SELECT bool_and(sampled = 200 AND matching = 200) AND NOT bool_or(c::text ~ 'person|4111')
            FROM mask.unprotected_candidates c WHERE found_by = 'content'"
        ));
        let call = text("SELECT call FROM mask.unprotected_candidates WHERE column_name = 'a'").unwrap();
        assert_eq!(call, "SELECT mask.protect('hr.notes', 'a', 'email');");
        run(&call);
        assert_eq!(found("hr.notes").unwrap(), "amount:card:content,dob:birth:name");
        assert_eq!(state_as("clerk", "SELECT * FROM mask.unprotected_candidates"), "42501");
        assert_eq!(state_as("clerk", "SELECT * FROM mask.find_candidates()"), "42501");
    }

    #[pg_test]
    fn what_makes_no_sense_is_refused_by_its_sqlstate_here_too() {
        people();
        let policy = id("mask.protect('hr.people', 'iban', 'null_value')");
        for (call, state) in [
            ("mask.protect('hr.people', 'iban', 'hash', '{}', '{}')".to_owned(), "22023"),
            ("mask.protect('hr.people', 'iban', 'hash', '{}', ARRAY[NULL]::text[])".into(), "22023"),
            ("mask.protect_matching('nosuch', '%', 'hash')".into(), "3F000"),
            ("mask.protect_matching('pg_catalog', '%', 'hash')".into(), "42809"),
            ("mask.protect_matching('audit', '%', 'hash')".into(), "42809"),
            ("mask.protect_matching('hr', '', 'hash')".into(), "22023"),
            ("mask.protect_matching('hr', 'x\\', 'hash')".into(), "22023"),
            ("mask.protect_matching('hr', '%', 'blur')".into(), "22023"),
            ("mask.protect_matching(NULL, '%', 'hash')".into(), "22004"),
            ("mask.drop_policy(99999)".into(), "42704"),
            ("mask.drop_policy(NULL)".into(), "22004"),
            ("mask.order_policy(99999, 1)".into(), "42704"),
            (format!("mask.order_policy({policy}, 0)"), "22023"),
        ] {
            assert_eq!(state_of(&format!("SELECT {call}")), state, "{call}");
        }
        run("GRANT USAGE ON SCHEMA hr TO clerk");
        for call in [
            format!("mask.drop_policy({policy})"),
            format!("mask.order_policy({policy}, 1)"),
            "mask.protect_matching('hr', '%', 'hash')".into(),
            "mask.generate_views('hr')".into(),
            "mask.generate_aggregate_view('hr.people', '{id}', '{count}')".into(),
            "mask.preview('hr.people')".into(),
            "mask.explain('hr.people', 'x')".into(),
        ] {
            assert_eq!(state_as("clerk", &format!("SELECT {call}")), "42501", "{call}");
        }
    }
}
