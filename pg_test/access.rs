//! Grants inside the server: on file, in force, at an end.

use crate::identity::algorithm::Algorithm;
use crate::identity::mint::Signer;
use pgrx::prelude::*;
use pgrx::{JsonB, Spi};
use serde_json::json;

const ISSUER: &str = "https://people.example.com/";

/// Makes a person the one of this session, by a token signed on the spot.
pub fn identify_as(user_id: &str, groups: &[&str]) {
    let signer = Signer::new(Algorithm::Es256, Some("k1"));
    let now = crate::pg::session::unix_now();
    let claims = json!({"iss": ISSUER, "aud": "tests", "sub": user_id, "groups": groups, "exp": now + 3600});
    Spi::run_with_args(
        "SELECT custodian.trust_issuer($1, $2, ARRAY['tests'])",
        &[ISSUER.into(), JsonB(signer.jwks()).into()],
    )
    .unwrap();
    Spi::run_with_args("SELECT custodian.set_identity($1)", &[signer.token(&claims).into()]).unwrap();
}

/// Runs `statement` and gives what it raised: SQLSTATE, message, hint.
pub fn raised(statement: &str) -> Option<[String; 3]> {
    Spi::run(
        "CREATE OR REPLACE FUNCTION pg_temp.attempt(statement text) RETURNS text[] LANGUAGE plpgsql AS $f$
         DECLARE state text; message text; hint text;
         BEGIN
             EXECUTE statement;
             RETURN NULL;
         EXCEPTION WHEN OTHERS THEN
             GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
             RETURN ARRAY[state, message, hint];
         END $f$",
    )
    .unwrap();
    let raised: Option<Vec<String>> =
        Spi::get_one_with_args("SELECT pg_temp.attempt($1)", &[statement.into()]).unwrap();
    raised.map(|parts| parts.try_into().unwrap())
}

/// The SQLSTATE that `statement` raised, or `00000`.
pub fn state_of(statement: &str) -> String {
    raised(statement).map_or("00000".into(), |[state, ..]| state)
}

pub fn is_true(question: &str) -> bool {
    Spi::get_one::<bool>(question).unwrap() == Some(true)
}

/// Grants, and returns the grant's number.
pub fn granted(arguments: &str) -> i64 {
    Spi::get_one(&format!("SELECT access.grant_access({arguments})")).unwrap().unwrap()
}

#[pgrx::pg_schema]
mod tests {
    use super::*;
    use crate::access::grant::Place;
    use crate::access::{Privilege, live_for};
    use crate::identity::session as person;
    use crate::pg::session;
    use pgrx::pg_sys::Oid;

    fn tables() {
        Spi::run(
            "CREATE SCHEMA shop; CREATE TABLE shop.customers (id int); CREATE TABLE shop.orders (id int);",
        )
        .unwrap();
    }

    fn place(table: &str) -> Place {
        let oid = |what: &str| Spi::get_one::<Oid>(what).unwrap().unwrap();
        let relation = oid(&format!("SELECT '{table}'::regclass::oid"));
        let schema = oid(&format!("SELECT relnamespace FROM pg_class WHERE oid = '{table}'::regclass"));
        Place::Relation { relation, schema }
    }

    fn holds(table: &str, privilege: Privilege) -> Option<i64> {
        let person = person::current().unwrap();
        live_for(&person).unwrap().covering(place(table), privilege, session::now()).map(|grant| grant.id)
    }

    #[pg_test]
    fn a_grant_is_on_file_with_holder_object_end_and_reason() {
        tables();
        let id = granted(
            "'alice', ARRAY['select', 'REVEAL'], 'TABLE shop.Customers', '2 hours', 'call 17', 'T-17'",
        );
        assert!(is_true(&format!(
            "SELECT user_id = 'alice' AND group_name IS NULL AND privileges = '{{select,reveal}}'
                 AND object_type = 'table' AND object = 'TABLE shop.customers' AND ends_at - starts_at = '2 hours'
                 AND reason = 'call 17' AND ticket = 'T-17' AND granted_by = session_user AND revoked_at IS NULL
                 AND revoked_by IS NULL AND live
             FROM access.grants WHERE id = {id}"
        )));
    }

    #[pg_test]
    fn a_grant_names_the_person_who_gave_it() {
        identify_as("boss", &[]);
        let id = granted("'alice', ARRAY['select'], 'DATABASE', '1 hour', 'x'");
        Spi::run(&format!("SELECT access.revoke_access({id}, 'done')")).unwrap();
        assert!(is_true(&format!(
            "SELECT granted_by = 'boss' AND revoked_by = 'boss' FROM access.grants WHERE id = {id}"
        )));
    }

    #[pg_test]
    fn malformed_grants_are_refused_by_their_sqlstate_and_leave_nothing() {
        tables();
        for (arguments, state) in [
            ("NULL, ARRAY['select'], 'DATABASE', '1 hour', 'x'", "22023"),
            ("'', ARRAY['select'], 'DATABASE', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '1 hour', 'x', group_name => 'g'", "22023"),
            ("'a', NULL, 'DATABASE', '1 hour', 'x'", "22004"),
            ("'a', ARRAY[]::text[], 'DATABASE', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select', NULL], 'DATABASE', '1 hour', 'x'", "22004"),
            ("'a', ARRAY['everything'], 'DATABASE', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], NULL, '1 hour', 'x'", "22004"),
            ("'a', ARRAY['select'], 'shop.customers', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], 'TABLE customers', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], 'TABLE shop.nosuch', '1 hour', 'x'", "42P01"),
            ("'a', ARRAY['select'], 'TABLE shop.\"Customers\"', '1 hour', 'x'", "42P01"),
            ("'a', ARRAY['select'], 'TABLE nosuch.customers', '1 hour', 'x'", "3F000"),
            ("'a', ARRAY['select'], 'SCHEMA nosuch', '1 hour', 'x'", "3F000"),
            ("'a', ARRAY['select'], 'TABLE pg_catalog.pg_class_oid_index', '1 hour', 'x'", "42809"),
            ("'a', ARRAY['select'], 'COLUMN shop.customers.nosuch', '1 hour', 'x'", "42703"),
            ("'a', ARRAY['select'], 'COLUMN shop.customers.ctid', '1 hour', 'x'", "42703"),
            ("'a', ARRAY['delete'], 'COLUMN shop.customers.id', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['execute'], 'QUERY q', '1 hour', 'x'", "42883"),
            ("'a', ARRAY['select'], 'QUERY q', '1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x', rows => 'id ='", "42601"),
            (
                "'a', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x', starts_at => '-infinity'",
                "22023",
            ),
            ("'a', ARRAY['select'], 'DATABASE', NULL, 'x'", "22004"),
            ("'a', ARRAY['select'], 'DATABASE', '0', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '-1 hour', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '1 month -40 days', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '31 days', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '178000000 years', 'x'", "22023"),
            ("'a', ARRAY['select'], 'DATABASE', '1 hour', NULL", "22004"),
            ("'a', ARRAY['select'], 'DATABASE', '1 hour', ' '", "22023"),
        ] {
            assert_eq!(state_of(&format!("SELECT access.grant_access({arguments})")), state, "{arguments}");
        }
        assert!(is_true("SELECT count(*) = 0 FROM access.grants"));
        let [_, message, hint] =
            raised("SELECT access.grant_access('a', ARRAY['all'], 'DATABASE', '1 hour', 'x')").unwrap();
        assert_eq!(message, "unrecognized privilege \"all\"");
        assert!(hint.contains("select, insert") && hint.contains("export"), "{hint}");
    }

    #[pg_test]
    fn a_grant_holds_for_its_person_and_ends_at_its_revocation() {
        tables();
        let id = granted("'alice', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x'");
        identify_as("alice", &["support"]);
        assert_eq!(holds("shop.customers", Privilege::Select), Some(id));
        assert_eq!(holds("shop.customers", Privilege::Update), None);
        assert_eq!(holds("shop.orders", Privilege::Select), None);
        Spi::run(&format!("SELECT access.revoke_access({id}, 'no longer on call')")).unwrap();
        assert_eq!(holds("shop.customers", Privilege::Select), None);
        assert!(is_true(&format!(
            "SELECT NOT live AND revoke_reason = 'no longer on call' AND revoked_at IS NOT NULL
             FROM access.grants WHERE id = {id}"
        )));
    }

    #[pg_test]
    fn a_grant_does_not_hold_for_anybody_else() {
        tables();
        granted("'alice', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x'");
        granted(
            "'bob', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x', issuer => 'https://elsewhere/'",
        );
        granted("NULL, ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x', group_name => 'billing'");
        identify_as("bob", &["support", "alice"]);
        assert_eq!(holds("shop.customers", Privilege::Select), None);
    }

    #[pg_test]
    fn a_change_of_person_changes_the_grants() {
        tables();
        let id = granted("'carol', ARRAY['select'], 'TABLE shop.customers', '1 hour', 'x'");
        identify_as("dave", &[]);
        assert_eq!(holds("shop.customers", Privilege::Select), None);
        identify_as("carol", &[]);
        assert_eq!(holds("shop.customers", Privilege::Select), Some(id));
        identify_as("dave", &[]);
        assert_eq!(holds("shop.customers", Privilege::Select), None);
    }

    #[pg_test]
    fn schema_and_database_grants_and_group_grants_cover_tables() {
        tables();
        identify_as("bob", &["support"]);
        let schema = granted(
            "NULL, ARRAY['select'], 'SCHEMA shop', '1 hour', 'x', group_name => 'support', issuer => 'https://people.example.com/'",
        );
        let database = granted("'bob', ARRAY['insert'], 'DATABASE', '1 hour', 'x'");
        assert_eq!(holds("shop.orders", Privilege::Select), Some(schema));
        assert_eq!(holds("shop.orders", Privilege::Insert), Some(database));
        assert_eq!(holds("access.issued_grant", Privilege::Select), None);
    }

    #[pg_test]
    fn the_end_of_a_grant_needs_nobody_to_notice_it() {
        tables();
        identify_as("bob", &[]);
        let id = granted("'bob', ARRAY['select'], 'TABLE shop.orders', '1 hour', 'x'");
        let person = person::current().unwrap();
        let held = |at: i64| {
            let live = live_for(&person).unwrap();
            live.covering(place("shop.orders"), Privilege::Select, at).map(|grant| grant.id)
        };
        let end = live_for(&person).unwrap().get(id).unwrap().ends_at;
        assert_eq!((held(end - 1), held(end)), (Some(id), None));
        // By the clock: whether this one is still seen to hold is a matter of how busy the machine is.
        let short = granted("'bob', ARRAY['update'], 'TABLE shop.orders', '100 milliseconds', 'x'");
        let _ = holds("shop.orders", Privilege::Update);
        Spi::run("SELECT pg_sleep(0.12)").unwrap();
        assert_eq!(holds("shop.orders", Privilege::Update), None);
        assert!(is_true(&format!("SELECT NOT live FROM access.grants WHERE id = {short}")));
        assert_eq!(state_of(&format!("SELECT access.revoke_access({short}, 'late')")), "55000");
        assert_eq!(holds("shop.orders", Privilege::Select), Some(id));
    }

    #[pg_test]
    fn only_a_live_grant_can_be_revoked_and_only_with_a_reason() {
        let id = granted("'bob', ARRAY['select'], 'DATABASE', '1 hour', 'x'");
        for (arguments, state) in [("NULL, 'x'", "22004"), ("0, 'x'", "42704"), ("-7, 'x'", "42704")]
            .map(|(a, s)| (a.to_owned(), s))
        {
            assert_eq!(state_of(&format!("SELECT access.revoke_access({arguments})")), state, "{arguments}");
        }
        assert_eq!(state_of(&format!("SELECT access.revoke_access({id}, '')")), "22023");
        assert_eq!(state_of(&format!("SELECT access.revoke_access({id}, NULL)")), "22004");
        assert_eq!(state_of(&format!("SELECT access.revoke_access({id}, 'x')")), "00000");
        assert_eq!(state_of(&format!("SELECT access.revoke_access({id}, 'x')")), "55000");
    }

    #[pg_test]
    fn a_renamed_table_keeps_its_grant_and_a_new_one_of_its_name_has_none() {
        tables();
        identify_as("bob", &[]);
        let id = granted("'bob', ARRAY['select'], 'TABLE shop.orders', '1 hour', 'x'");
        Spi::run("ALTER TABLE shop.orders RENAME TO \"Old Orders\"; CREATE TABLE shop.orders (id int)")
            .unwrap();
        assert_eq!(holds("shop.\"Old Orders\"", Privilege::Select), Some(id));
        assert_eq!(holds("shop.orders", Privilege::Select), None);
        let shown = format!(
            "SELECT object = 'TABLE shop.\"Old Orders\"' AND live FROM access.grants WHERE id = {id}"
        );
        assert!(is_true(&shown));
        Spi::run("DROP TABLE shop.\"Old Orders\"").unwrap();
        assert!(is_true(&format!(
            "SELECT object = 'TABLE shop.orders (dropped)' AND NOT live FROM access.grants WHERE id = {id}"
        )));
    }

    #[pg_test]
    fn a_query_is_granted_by_identity_and_only_if_there_is_one_of_its_name() {
        Spi::run(
            "CREATE SCHEMA IF NOT EXISTS queries;
             CREATE FUNCTION queries.orders_of(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
        )
        .unwrap();
        identify_as("bob", &[]);
        let id = granted("'bob', ARRAY['execute'], 'QUERY orders_of', '1 hour', 'x'");
        let held = |signature: &str| {
            let oid = |what: String| Spi::get_one::<Oid>(&what).unwrap().unwrap();
            let function = oid(format!("SELECT 'queries.{signature}'::regprocedure::oid"));
            let schema = oid("SELECT oid FROM pg_namespace WHERE nspname = 'queries'".into());
            let place = Place::Function { function, schema };
            let person = person::current().unwrap();
            let live = live_for(&person).unwrap();
            live.covering(place, Privilege::Execute, session::now()).map(|grant| grant.id)
        };
        assert_eq!(held("orders_of(int)"), Some(id));
        Spi::run(
            "ALTER FUNCTION queries.orders_of(int) RENAME TO sales_of;
             CREATE FUNCTION queries.orders_of(int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        )
        .unwrap();
        assert_eq!((held("sales_of(int)"), held("orders_of(int)")), (Some(id), None));
        assert!(is_true("SELECT object = 'QUERY sales_of' AND live FROM access.grants"));
        Spi::run("CREATE FUNCTION queries.orders_of(text) RETURNS int LANGUAGE sql AS 'SELECT 3'").unwrap();
        let twice = "SELECT access.grant_access('bob', ARRAY['execute'], 'QUERY orders_of', '1 hour', 'x')";
        assert_eq!(state_of(twice), "42725");
        Spi::run("DROP FUNCTION queries.sales_of(int)").unwrap();
        assert!(is_true("SELECT object = 'QUERY orders_of (dropped)' AND NOT live FROM access.grants"));
    }

    #[pg_test]
    fn reveal_on_a_column_is_for_that_column() {
        tables();
        identify_as("bob", &[]);
        let id = granted("'bob', ARRAY['reveal'], 'COLUMN shop.customers.id', '1 hour', 'x'");
        let relation = Spi::get_one::<Oid>("SELECT 'shop.customers'::regclass::oid").unwrap().unwrap();
        let person = person::current().unwrap();
        let live = live_for(&person).unwrap();
        let revealed = |column| {
            let of = (relation, column);
            live.covering_column(place("shop.customers"), of, Privilege::Reveal, session::now())
                .map(|it| it.id)
        };
        assert_eq!((revealed(1), revealed(2)), (Some(id), None));
        assert_eq!(holds("shop.customers", Privilege::Reveal), None);
    }

    #[pg_test]
    fn a_grant_that_is_rolled_back_was_never_in_force() {
        tables();
        identify_as("bob", &[]);
        let attempt = "DO $$ BEGIN
            PERFORM access.grant_access('bob', ARRAY['select'], 'TABLE shop.orders', '1 hour', 'x');
            RAISE EXCEPTION 'undo';
        END $$";
        assert_eq!(state_of(attempt), "P0001");
        assert_eq!(holds("shop.orders", Privilege::Select), None);
    }

    #[pg_test]
    fn people_see_their_own_grants_and_no_others() {
        Spi::run("CREATE ROLE clerk").unwrap();
        granted("'bob', ARRAY['select'], 'DATABASE', '1 hour', 'mine'");
        granted("'alice', ARRAY['select'], 'DATABASE', '1 hour', 'hers'");
        granted("NULL, ARRAY['select'], 'DATABASE', '1 hour', 'ours', group_name => 'support'");
        granted(
            "'bob', ARRAY['select'], 'DATABASE', '1 hour', 'another bob', issuer => 'https://elsewhere/'",
        );
        assert!(is_true("SELECT count(*) = 0 FROM access.my_grants"));
        identify_as("bob", &["support"]);
        Spi::run("GRANT SELECT ON access.my_grants TO clerk; GRANT USAGE ON SCHEMA access TO clerk; SET ROLE clerk")
            .unwrap();
        assert!(is_true("SELECT array_agg(reason ORDER BY reason) = '{mine,ours}' FROM access.my_grants"));
        Spi::run("RESET ROLE").unwrap();
    }

    #[pg_test]
    fn grants_are_not_for_everybody_to_read_or_give() {
        Spi::run("CREATE ROLE nobody_in_particular; GRANT USAGE ON SCHEMA access TO nobody_in_particular")
            .unwrap();
        Spi::run("SET ROLE nobody_in_particular").unwrap();
        for statement in [
            "SELECT * FROM access.issued_grant",
            "SELECT * FROM access.grants",
            "SELECT access.grant_access('me', ARRAY['select'], 'DATABASE', '1 hour', 'x')",
            "SELECT access.revoke_access(1, 'x')",
            "INSERT INTO access.issued_grant (user_id) VALUES ('me')",
        ] {
            assert_eq!(state_of(statement), "42501", "{statement}");
        }
        Spi::run("RESET ROLE").unwrap();
    }
}
