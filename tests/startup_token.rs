//! The token as a start-up option, for tools that cannot run SQL first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::token::{Algorithm, Signer, claims_but, now};
use harness::{assert_refused, refusal, text};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;

const NO_PERSON: SqlState = SqlState::INVALID_AUTHORIZATION_SPECIFICATION;

fn with_token(shop: &Shop, token: &str) -> Client {
    shop.try_readonly(&format!("-c pg_custodian.token={token}")).unwrap()
}

fn user(client: &mut Client) -> Option<String> {
    text(client, "select custodian.user_id()")
}

/// Attempts to identify that the ledger knows, by outcome.
fn attempts(shop: &Shop, outcome: &str) -> i64 {
    let mut admin = shop.admin();
    shop::sync(&mut admin);
    let counted = "select count(*) from audit.events where event = 'identity' and outcome = $1";
    admin.query_one(counted, &[&outcome]).unwrap().get(0)
}

#[test]
fn the_option_identifies_before_the_first_statement() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &["support"]);
    let mut simple = with_token(&shop, &token);
    let rows = simple.simple_query("select amount as by_option from public.orders").unwrap();
    assert!(rows.len() > 2, "{rows:?}");
    assert_eq!(shop.the_record("by_option").user(), "alice");
    let mut extended = with_token(&shop, &token);
    assert_eq!(
        extended.query("select iban from masked.customers where id = $1", &[&1_i64]).unwrap().len(),
        1
    );
    let mut utility = with_token(&shop, &token);
    utility.batch_execute("copy (select 1) to stdout").unwrap_or_else(|error| {
        // This client does not take what COPY sends; the server has run it.
        assert!(error.as_db_error().is_none(), "{error:?}");
    });
    assert_eq!(attempts(&shop, "ok"), 3);
}

#[test]
fn nothing_gives_the_token_back() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &["support"]);
    let mut alice = with_token(&shop, &token);
    assert_eq!(user(&mut alice).as_deref(), Some("alice"));
    // Hidden from all but those who may see every setting, and empty for them.
    assert_eq!(
        refusal(alice.query("show pg_custodian.token", &[])).code(),
        &SqlState::INSUFFICIENT_PRIVILEGE
    );
    for query in [
        "select count(*)::text from pg_settings where name = 'pg_custodian.token'",
        "select count(*)::text from pg_settings where setting ~ 'ey[J]' or reset_val ~ 'ey[J]'",
        "select count(*)::text from pg_stat_activity where query ~ 'ey[J]'",
    ] {
        assert_eq!(text(&mut alice, query).as_deref(), Some("0"), "{query}");
    }
    shop.admin().batch_execute("grant pg_read_all_settings to readonly").unwrap();
    assert_eq!(text(&mut alice, "show pg_custodian.token").as_deref(), Some(""));
    assert_eq!(text(&mut alice, "select current_setting('pg_custodian.token')").as_deref(), Some(""));
}

#[test]
fn whoever_runs_no_statement_leaves_no_trace_and_does_not_identify() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &[]);
    let mut client = with_token(&shop, &token);
    // These need nobody, and an early snapshot would spoil the third.
    client.batch_execute("set application_name = 'tool'").unwrap();
    client.batch_execute("show server_version").unwrap();
    client.batch_execute("begin").unwrap();
    client.batch_execute("set transaction isolation level serializable").unwrap();
    assert_eq!(attempts(&shop, "ok"), 0);
    assert_eq!(user(&mut client).as_deref(), Some("alice"));
    assert_eq!(text(&mut client, "show transaction_isolation").as_deref(), Some("serializable"));
    // No ROLLBACK makes it undone, and none brings it back.
    client.batch_execute("rollback").unwrap();
    assert_eq!(user(&mut client).as_deref(), Some("alice"));
    client.batch_execute("begin; select custodian.clear_identity(); rollback").unwrap();
    assert_refused(client.simple_query("select now()"), &NO_PERSON);
}

#[test]
fn a_token_that_is_not_accepted_is_told_once_and_opens_nothing() {
    let shop = shop::open("identify");
    let expired =
        shop.issuer.sign(&claims_but("alice", &[], json!({"iat": now() - 900, "exp": now() - 600})));
    let stranger = Signer::new(Algorithm::ES256).person("alice", &[]);
    for (token, says) in [(expired, "expired"), (stranger, "key"), ("no-token".to_string(), "token")] {
        let mut client = with_token(&shop, &token);
        let error = assert_refused(client.simple_query("select amount from public.orders"), &NO_PERSON);
        assert!(error.message().contains(says), "{error:?}");
        let error = assert_refused(client.simple_query("select amount from public.orders"), &NO_PERSON);
        assert!(error.message().contains("requires an identified person"), "{error:?}");
        identify(&mut client, &shop.issuer.person("bob", &[])).unwrap();
        assert_eq!(user(&mut client).as_deref(), Some("bob"));
    }
    assert_eq!(attempts(&shop, "denied"), 3);
    // Identifying by a call is possible at once, and what was wrong before is not told any more.
    let mut client = with_token(&shop, "no-token");
    identify(&mut client, &shop.issuer.person("bob", &[])).unwrap();
    client.batch_execute("select custodian.clear_identity()").unwrap();
    let error = assert_refused(client.simple_query("select now()"), &NO_PERSON);
    assert!(error.message().contains("requires an identified person"), "{error:?}");
}

#[test]
fn where_no_person_is_needed_a_bad_token_stops_nothing() {
    let shop = shop::open("observe");
    let mut client = with_token(&shop, "no-token");
    client.simple_query("select amount from public.orders").unwrap();
    assert_eq!(attempts(&shop, "denied"), 1);
}

#[test]
fn resets_of_the_session_do_not_bring_the_person_back() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &[]);
    for reset in ["discard all", "reset all", "select custodian.clear_identity()"] {
        let mut used = with_token(&shop, &token);
        assert_eq!(user(&mut used).as_deref(), Some("alice"));
        used.batch_execute(reset).unwrap();
        assert_refused(used.simple_query("select now()"), &NO_PERSON);
    }
    for reset in ["discard all", "reset all"] {
        let mut unused = with_token(&shop, &token);
        unused.batch_execute(reset).unwrap();
        assert_refused(unused.simple_query("select now()"), &NO_PERSON);
    }
    let mut used = with_token(&shop, &token);
    assert_eq!(user(&mut used).as_deref(), Some("alice"));
    assert!(used.batch_execute("reset pg_custodian.token").is_err());
    assert_eq!(user(&mut used).as_deref(), Some("alice"));
}

#[test]
fn no_other_source_than_the_start_of_a_session_is_accepted() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &[]);
    let mut admin = shop.admin();
    for statement in [
        format!("set pg_custodian.token = '{token}'"),
        format!("set local pg_custodian.token = '{token}'"),
        format!("set session pg_custodian.token to '{token}'"),
        format!("select set_config('pg_custodian.token', '{token}', false)"),
        format!("alter role readonly set pg_custodian.token = '{token}'"),
        format!("alter role all in database shop set pg_custodian.token = '{token}'"),
        format!("alter database shop set pg_custodian.token = '{token}'"),
        format!("alter system set pg_custodian.token = '{token}'"),
        format!(
            "create function f() returns int language sql set pg_custodian.token = '{token}' as 'select 1'"
        ),
        // A misspelt one would stay in the session for everybody to read.
        format!("set pg_custodian.tokn = '{token}'"),
    ] {
        let error = refusal(admin.simple_query(&statement));
        assert!(!format!("{error:?}").contains(&token), "{error:?}");
    }
    let misspelt = shop.try_readonly(&format!("-c pg_custodian.tokn={token}")).err().unwrap();
    assert!(!format!("{misspelt:?}").contains(&token), "{misspelt:?}");
    // Set before there was a server to ask: ignored, with a word in the log.
    shop.cluster.add_conf(&format!("pg_custodian.token = '{token}'"));
    shop.cluster.restart();
    assert_refused(shop.readonly().simple_query("select now()"), &NO_PERSON);
    let log = shop.cluster.log();
    assert!(log.contains("can only be given when a session starts"), "{log}");
    assert!(!log.contains(&token), "the log holds the token");
}

#[test]
fn the_last_of_several_tokens_counts() {
    let shop = shop::open("identify");
    let (alice, bob) = (shop.issuer.person("alice", &[]), shop.issuer.person("bob", &[]));
    let mut client =
        shop.try_readonly(&format!("-c pg_custodian.token={alice} -c pg_custodian.token={bob}")).unwrap();
    assert_eq!(user(&mut client).as_deref(), Some("bob"));
    assert_eq!(attempts(&shop, "ok"), 1);
}
