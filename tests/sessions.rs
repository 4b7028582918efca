//! The shared login in the hands of people: who can run what, what they see, and what is written down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, identify};
use harness::token::{Algorithm, Signer, claims_but, now, wait_beyond};
use harness::{assert_refused, refusal, text, wait_for};
use postgres::SimpleQueryMessage;
use postgres::error::SqlState;
use serde_json::json;
use std::thread::sleep;
use std::time::Duration;

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;
const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;

const IBAN: &str = "select iban from masked.customers where id = 1";
const IBAN_IN_CLEAR: &str = "DE89370400440532013000";
const IBAN_MASKED: &str = "DE89**************3000";

#[test]
fn a_leaked_password_is_worthless() {
    let shop = shop::open("identify");
    let mut thief = shop.readonly();
    for statement in [
        "select now()",
        "select * from public.orders",
        "select * from masked.customers",
        "create temp table loot (a int)",
        "do $$ begin perform 1; end $$",
        "copy public.orders to stdout",
        "explain select 1",
        "declare c cursor for select 1",
        "prepare p as select 1",
        "listen news",
        "notify news, 'x'",
        "select pg_catalog.pg_stat_get_activity(null)",
        "select pg_catalog.pg_backend_pid() from public.orders",
        "select reltuples from pg_catalog.pg_class",
        "select 1 from public.orders",
        "select pg_catalog.pg_sleep(0) from pg_catalog.pg_type",
    ] {
        assert_refused(thief.simple_query(statement), &NO_PERSON);
        let _ = thief.simple_query("rollback");
    }
    assert_refused(thief.query("select count(*) from public.orders", &[]), &NO_PERSON);
}

#[test]
fn function_call_messages_are_no_way_around() {
    // psql's large object commands call functions by the protocol's own message, without a statement.
    let shop = shop::open("identify");
    let said = shop.psql("alice", &["support"], "\\lo_unlink 4711");
    assert!(said.contains("function call messages are not available"), "{said}");
    assert_eq!(shop.the_record("function call message").outcome(), "denied");
}

#[test]
fn a_refused_statement_without_a_person_is_recorded() {
    let shop = shop::open("identify");
    refusal(shop.readonly().simple_query("select now() as without_a_person"));
    let record = shop.the_record("without_a_person");
    assert_eq!((record.outcome(), record.sqlstate.as_deref()), ("denied", Some("28000")));
    assert_eq!((record.user_id.as_deref(), record.session_role.as_deref()), (None, Some("readonly")));
}

#[test]
fn two_people_on_one_role_see_different_things() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let mut bob = shop.person("bob", &["analytics"]);
    assert_eq!(text(&mut alice, IBAN).as_deref(), Some(IBAN_IN_CLEAR));
    assert_eq!(text(&mut bob, IBAN).as_deref(), Some(IBAN_MASKED));
    // Once more, now that either has a plan.
    assert_eq!(text(&mut alice, IBAN).as_deref(), Some(IBAN_IN_CLEAR));
    assert_eq!(text(&mut bob, IBAN).as_deref(), Some(IBAN_MASKED));
    assert_eq!(text(&mut bob, "select ssn from masked.customers where id = 1"), None);
    assert_eq!(text(&mut alice, "select ssn from masked.customers where id = 1"), None);
}

#[test]
fn the_table_itself_stays_out_of_reach() {
    let shop = shop::open("identify");
    let error = refusal(shop.person("alice", &["support"]).query("select iban from public.customers", &[]));
    assert_eq!(error.code(), &DENIED);
}

#[test]
fn the_record_names_the_person_and_the_fields() {
    let shop = shop::open("identify");
    let query = "select id, iban, ssn, email as fields_of_the_record from masked.customers";
    shop.person("bob", &["analytics"]).query(query, &[]).unwrap();
    let record = shop.the_record("fields_of_the_record");
    assert_eq!((record.user(), record.user_email.as_deref()), ("bob", Some("bob@shop.example")));
    assert_eq!((record.outcome(), record.command.as_deref(), record.rows), ("ok", Some("SELECT"), Some(4)));
    assert_eq!((record.field("iban"), record.field("ssn")), ("masked", "masked"));
    let objects = record.objects.unwrap();
    assert!(objects.iter().any(|object| object.ends_with("public.customers")), "{objects:?}");

    let query = "select iban as revealed_to_alice from masked.customers";
    shop.person("alice", &["support"]).query(query, &[]).unwrap();
    assert_eq!(shop.the_record("revealed_to_alice").field("iban"), "revealed");
}

#[test]
fn a_token_that_expires_stops_the_next_statement() {
    let shop = shop::open("identify");
    let mut alice = shop.readonly();
    // No leeway would be flaky, the default leeway of 30 s slow.
    shop.admin()
        .execute(
            "select custodian.trust_issuer($1, $2, array[$3], leeway => '0 s')",
            &[&harness::token::ISSUER, &shop.issuer.jwks(), &harness::token::AUDIENCE],
        )
        .unwrap();
    let end = now() + 5;
    let token = shop.issuer.sign(&claims_but("alice", &["support"], json!({"exp": end})));
    identify(&mut alice, &token).unwrap();
    assert_eq!(text(&mut alice, "select custodian.user_id()").as_deref(), Some("alice"));
    wait_beyond(end);
    assert_refused(alice.query("select now()", &[]), &NO_PERSON);
    // A prepared statement of hers is no way around.
    identify(&mut alice, &shop.issuer.person("alice", &["support"])).unwrap();
    assert_eq!(text(&mut alice, "select custodian.user_id()").as_deref(), Some("alice"));
}

#[test]
fn discard_all_and_reset_all_clear_the_person() {
    let shop = shop::open("identify");
    for statement in ["discard all", "reset all", "select custodian.clear_identity()"] {
        let mut client = shop.person("alice", &["support"]);
        client.simple_query(statement).unwrap();
        assert_refused(client.simple_query("select now()"), &NO_PERSON);
        identify(&mut client, &shop.issuer.person("bob", &[])).unwrap();
        assert_eq!(
            text(&mut client, "select custodian.user_id()").as_deref(),
            Some("bob"),
            "after {statement}"
        );
    }
}

#[test]
fn a_person_set_in_a_rolled_back_transaction_does_not_come_back() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &["support"]);
    client.simple_query("begin").unwrap();
    client.simple_query("select custodian.clear_identity()").unwrap();
    let _ = client.simple_query("rollback");
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
}

#[test]
fn an_identity_for_one_transaction_ends_with_it() {
    let shop = shop::open("identify");
    for end in ["commit", "rollback"] {
        let mut client = shop.readonly();
        let token = shop.issuer.person("alice", &["support"]);
        let messages = client
            .simple_query(&format!(
                "select custodian.set_identity('{token}', for_transaction => true); select custodian.user_id()"
            ))
            .unwrap();
        let said = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        assert_eq!(said.last(), Some("alice"));
        let _ = client.simple_query(end);
        assert_refused(client.simple_query("select now()"), &NO_PERSON);
    }
}

#[test]
fn rollback_does_not_lose_the_record() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let mut transaction = alice.transaction().unwrap();
    transaction.query("select iban as rolled_back from masked.customers", &[]).unwrap();
    transaction.rollback().unwrap();
    let record = shop.the_record("rolled_back");
    assert_eq!((record.user(), record.outcome(), record.field("iban")), ("alice", "ok", "revealed"));
}

#[test]
fn a_read_only_transaction_is_recorded() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let mut transaction = alice.build_transaction().read_only(true).start().unwrap();
    transaction.query("select email as read_only from masked.customers", &[]).unwrap();
    transaction.commit().unwrap();
    assert_eq!(shop.the_record("read_only").outcome(), "ok");
}

#[test]
fn statements_that_fail_are_recorded_with_their_sqlstate() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    for (statement, part, sqlstate) in [
        ("select 1/0 as folded_away", "folded_away", "22012"),
        ("select 1/(id - id) as at_run_time from public.orders", "at_run_time", "22012"),
        ("select iban as not_allowed from public.customers", "not_allowed", "42501"),
    ] {
        refusal(alice.simple_query(statement));
        let record = shop.the_record(part);
        assert_eq!((record.user(), record.sqlstate.as_deref()), ("alice", Some(sqlstate)), "{statement}");
        assert_ne!(record.outcome(), "ok", "{statement}");
    }
}

#[test]
fn a_prepared_statement_is_recorded_with_its_parameters() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let statement = alice
        .prepare("select amount as with_parameters from public.orders where id = $1 and $2 <> 'x'")
        .unwrap();
    for id in [7_i64, 8] {
        assert_eq!(alice.query(&statement, &[&id, &"it's, \"so\""]).unwrap().len(), 1);
    }
    let records = shop.recorded("with_parameters");
    assert_eq!(records.len(), 2, "{records:#?}");
    for (record, id) in records.iter().zip(["7", "8"]) {
        let parameters = record.parameters.clone().unwrap();
        assert_eq!(parameters, [Some(id.to_string()), Some("it's, \"so\"".to_string())]);
        assert_eq!(record.rows, Some(1));
    }
}

#[test]
fn a_plan_made_for_one_person_is_not_run_for_another() {
    let shop = shop::open("identify");
    let mut client = shop.person("alice", &["support"]);
    let statement = client.prepare(IBAN).unwrap();
    for (user, groups, expected) in [
        ("alice", &["support"], IBAN_IN_CLEAR),
        ("bob", &["analytics"], IBAN_MASKED),
        ("alice", &["support"], IBAN_IN_CLEAR),
    ] {
        identify(&mut client, &shop.issuer.person(user, groups)).unwrap();
        // Often enough for a generic plan.
        for _ in 0..8 {
            let iban: String = client.query_one(&statement, &[]).unwrap().get(0);
            assert_eq!(iban, expected, "for {user}");
        }
    }
}

#[test]
fn keys_of_every_kind_are_accepted() {
    let shop = shop::open("identify");
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA] {
        let issuer = Signer::new(algorithm);
        shop.trust(&mut shop.admin(), &issuer);
        let mut client = shop.readonly();
        identify(&mut client, &issuer.person("carol", &[])).unwrap();
        assert_eq!(
            text(&mut client, "select custodian.user_id()").as_deref(),
            Some("carol"),
            "{algorithm:?}"
        );
    }
}

#[test]
fn whoami_tells_a_person_what_the_database_knows_of_him() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support", "night"]);
    let row = alice
        .query_one(
            "select issuer, user_id, email, groups, expires_at > now() as live from custodian.whoami()",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, &str>("issuer"), harness::token::ISSUER);
    assert_eq!((row.get::<_, &str>("user_id"), row.get::<_, &str>("email")), ("alice", "alice@shop.example"));
    assert_eq!(row.get::<_, Vec<String>>("groups"), ["support", "night"]);
    assert!(row.get::<_, bool>("live"));
}

#[test]
fn govern_mode_refuses_a_table_without_a_grant_and_says_how_to_ask() {
    let shop = shop::open("govern");
    let mut bob = shop.person("bob", &["analytics"]);
    for statement in
        ["select count(*) as no_grant from public.orders", "select iban as no_grant from masked.customers"]
    {
        let error = assert_refused(bob.query(statement, &[]), &DENIED);
        let hint = error.hint().unwrap();
        assert!(hint.contains("access.request_access("), "{hint}");
        assert!(hint.contains("public.orders") || hint.contains("customers"), "{hint}");
    }
    let records = shop.recorded("no_grant");
    assert_eq!(records.len(), 2, "{records:#?}");
    assert!(
        records.iter().all(|record| record.outcome() == "denied" && record.user() == "bob"),
        "{records:#?}"
    );
}

#[test]
fn a_grant_reveals_and_ends_by_itself() {
    let shop = shop::open("govern");
    let mut bob = shop.person("bob", &["analytics"]);
    let mut admin = shop.admin();
    let grant: i64 = admin
        .query_one(
            "select access.grant_access('bob', array['select', 'reveal'], 'TABLE public.customers', '5 s', 'ticket 42')",
            &[],
        )
        .unwrap()
        .get(0);
    assert!(grant > 0);
    assert_eq!(text(&mut bob, &format!("{IBAN} /* under_a_grant */")).as_deref(), Some(IBAN_IN_CLEAR));
    let record = shop.the_record("under_a_grant");
    assert_eq!((record.field("iban"), record.grants), ("revealed", 1));
    sleep(Duration::from_millis(5100));
    assert_refused(bob.query(IBAN, &[]), &DENIED);
}

#[test]
fn an_expired_grant_does_not_unmask() {
    let shop = shop::open("govern");
    let mut bob = shop.person("bob", &["analytics"]);
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "select access.grant_access('bob', array['select'], 'TABLE public.customers', '1 hour', 'routine');
             select access.grant_access('bob', array['reveal'], 'TABLE public.customers', '5 s', 'ticket 42');",
        )
        .unwrap();
    let statement = bob.prepare(IBAN).unwrap();
    let iban: String = bob.query_one(&statement, &[]).unwrap().get(0);
    assert_eq!(iban, IBAN_IN_CLEAR);
    sleep(Duration::from_millis(5100));
    let iban: String = bob.query_one(&statement, &[]).unwrap().get(0);
    assert_eq!(iban, IBAN_MASKED);
}

#[test]
fn revoking_a_grant_bites_at_the_next_statement_of_an_open_transaction() {
    let shop = shop::open("govern");
    let mut bob = shop.person("bob", &[]);
    let mut admin = shop.admin();
    let grant: i64 = admin
        .query_one(
            "select access.grant_access('bob', array['select'], 'TABLE public.orders', '1 hour', 'report')",
            &[],
        )
        .unwrap()
        .get(0);
    let mut transaction = bob.transaction().unwrap();
    transaction.query("select count(*) from public.orders", &[]).unwrap();
    admin.execute("select access.revoke_access($1, 'mistake')", &[&grant]).unwrap();
    assert_refused(transaction.query("select count(*) from public.orders", &[]), &DENIED);
}

#[test]
fn a_grant_covers_its_object_and_its_privilege_and_no_other() {
    let shop = shop::open("govern");
    shop.admin()
        .batch_execute(
            "grant insert, delete on public.orders to readonly;
             select access.grant_access('bob', array['select'], 'TABLE public.orders', '1 hour', 'report');",
        )
        .unwrap();
    let mut bob = shop.person("bob", &[]);
    bob.query("select count(*) from public.orders", &[]).unwrap();
    for statement in ["delete from public.orders", "insert into public.orders values (99, 1, 1)", IBAN] {
        assert_refused(bob.query(statement, &[]), &DENIED);
    }
    // Nor does it cover somebody else on the same login.
    assert_refused(shop.person("carol", &[]).query("select count(*) from public.orders", &[]), &DENIED);
}

#[test]
fn observe_mode_records_and_refuses_nothing() {
    let shop = shop::open("observe");
    let mut nobody = shop.readonly();
    nobody.query("select count(*) as only_observed from public.orders", &[]).unwrap();
    let record = shop.the_record("only_observed");
    assert_eq!((record.outcome(), record.user_id.as_deref()), ("ok", None));
    assert_eq!(text(&mut nobody, IBAN).as_deref(), Some(IBAN_MASKED));
}

#[test]
fn unenrolling_takes_effect_for_sessions_that_are_open() {
    let shop = shop::open("identify");
    let mut client = shop.readonly();
    assert_refused(client.query("select now()", &[]), &NO_PERSON);
    shop.admin().batch_execute("select custodian.unenroll('readonly')").unwrap();
    wait_for("the change of mode", || client.query("select now()", &[]).is_ok());
    shop.admin().batch_execute("select custodian.enroll('readonly', 'identify')").unwrap();
    assert_refused(client.query("select now()", &[]), &NO_PERSON);
}

#[test]
fn a_token_does_not_reach_the_ledger_or_the_server_log() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &["support"]);
    let signature = token.rsplit('.').next().unwrap().to_string();
    let mut client = shop.readonly();
    client.simple_query(&format!("select custodian.set_identity('{token}')")).unwrap();
    identify(&mut client, &token).unwrap();
    refusal(client.simple_query(&format!("select custodian.set_identity('x{token}')")));
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let found: i64 = admin
        .query_one(
            "select count(*) from audit.statements s where position($1 in s::text) > 0",
            &[&&signature[..signature.len() / 2]],
        )
        .unwrap()
        .get(0);
    // The question itself has a piece of the signature for a parameter, and may come once.
    assert!(found <= 1, "{found} records hold the token");
    assert!(!shop.cluster.log().contains(&signature), "the server log holds the token");
}
