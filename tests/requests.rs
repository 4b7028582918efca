//! Access that is asked for: rules, requests, approvals, and those who try to get around them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::token::{AUDIENCE, Algorithm, Signer, claims_but, now, wait_beyond};
use harness::{assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};
use std::thread;
use std::time::Duration;

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_NOW: SqlState = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

const ORDERS: &str = "select count(*)::text from public.orders";

fn rule(shop: &Shop, arguments: &str) {
    shop.admin().batch_execute(&format!("select access.set_rule({arguments})")).unwrap();
}

/// Asks for the orders for an hour; returns the number of the request.
fn ask(client: &mut Client) -> Result<i64, postgres::Error> {
    let row = client.query_one(
        "select id from access.request_access(array['select'], 'TABLE public.orders', '1 hour', 'ticket 17')",
        &[],
    )?;
    Ok(row.get(0))
}

fn approve(client: &mut Client, request: i64) -> Result<String, postgres::Error> {
    client.query_one("select state from access.approve($1, 'fine')", &[&request]).map(|row| row.get(0))
}

fn state(shop: &Shop, request: i64) -> String {
    let mut admin = shop.admin();
    admin.query_one("select state from access.requests where id = $1", &[&request]).unwrap().get(0)
}

fn grants(shop: &Shop) -> i64 {
    shop.admin().query_one("select count(*) from access.grants", &[]).unwrap().get(0)
}

/// The details of the events `request` that did this, oldest first.
fn events(shop: &Shop, action: &str) -> Vec<Value> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let rows = admin.query(
        "select detail, user_id, token_id from audit.events
         where event = 'request' and detail ->> 'action' = $1 order by seq",
        &[&action],
    );
    rows.unwrap().iter().map(|row| row.get(0)).collect()
}

const ONE: &str = "'reads', 'one approver', privileges => array['select'], approver_groups => array['dba']";
const TWO: &str =
    "'dual', 'two approvers', privileges => array['select'], approver_groups => array['peers', 'managers']";

#[test]
fn the_hint_of_a_denial_is_a_call_that_works() {
    let shop = shop::open("govern");
    rule(&shop, "'reads', 'automatic', asker_group => 'analytics', sensitivity => 'unprotected'");
    let mut bob = shop.person("bob", &["analytics"]);
    let error = assert_refused(bob.simple_query(ORDERS), &DENIED);
    let call = error.hint().unwrap().strip_prefix("Ask for: ").unwrap();
    bob.simple_query(call).unwrap();
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
    // Neither for others, nor for what is protected.
    let mut alice = shop.person("alice", &["support"]);
    let error = assert_refused(ask(&mut alice), &DENIED);
    assert!(error.detail().is_some_and(|why| why.contains("members of another group")), "{error:?}");
    let customers = "select access.request_access(array['select'], 'TABLE masked.customers', '1 hour', 'x')";
    let error = assert_refused(bob.simple_query(customers), &DENIED);
    assert!(error.detail().is_some_and(|why| why.contains("mask policies")), "{error:?}");
    let database = "select access.request_access(array['select'], 'DATABASE', '1 hour', 'x')";
    assert_refused(bob.simple_query(database), &DENIED);
}

#[test]
fn without_a_rule_nothing_is_granted() {
    let shop = shop::open("govern");
    assert_refused(ask(&mut shop.person("bob", &["dba"])), &DENIED);
    assert_eq!(grants(&shop), 0);
}

#[test]
fn one_approver_of_the_group_grants_and_the_chain_links_it() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["staff"]);
    let request = ask(&mut bob).unwrap();
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    assert_refused(approve(&mut shop.person("eve", &["staff"]), request), &DENIED);
    let mut dba = shop.person("dora", &["dba"]);
    let waiting = "select string_agg(user_id, ',') from access.pending_approvals";
    assert_eq!(text(&mut dba, waiting).as_deref(), Some("bob"));
    assert_eq!(text(&mut bob, waiting), None);
    assert_eq!(approve(&mut dba, request).unwrap(), "granted");
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
    assert_eq!(text(&mut bob, "select state from access.my_requests").as_deref(), Some("granted"));
    assert_eq!(text(&mut dba, waiting), None);

    let grant = events(&shop, "grant").remove(0);
    assert_eq!((&grant["request"], &grant["user_id"]), (&json!(request), &json!("bob")));
    assert_eq!(grant["approvals"][0]["user_id"], json!("dora"));
    assert!(grant["approvals"][0]["token_id"].is_string() && grant["token_id"].is_string(), "{grant}");
    let mut admin = shop.admin();
    let on_file: Option<i64> =
        admin.query_one("select grant_id from access.requests where id = $1", &[&request]).unwrap().get(0);
    assert_eq!(grant["grant"], json!(on_file));
}

#[test]
fn the_time_begins_with_the_approval() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    let mut admin = shop.admin();
    admin
        .execute("update access.filed_request set asked_at = asked_at - interval '50 minutes'", &[])
        .unwrap();
    approve(&mut shop.person("dora", &["dba"]), request).unwrap();
    let left = "select (ends_at - clock_timestamp() > interval '59 minutes')::text from access.grants";
    assert_eq!(text(&mut admin, left).as_deref(), Some("true"));
}

#[test]
fn two_approvers_are_two_people_of_the_two_groups() {
    let shop = shop::open("govern");
    rule(&shop, TWO);
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    let mut both = shop.person("carl", &["peers", "managers"]);
    assert_eq!(approve(&mut both, request).unwrap(), "pending");
    assert_refused(approve(&mut both, request), &DENIED);
    assert_refused(approve(&mut shop.person("carl", &["managers"]), request), &DENIED);
    assert_eq!(approve(&mut shop.person("dora", &["managers"]), request).unwrap(), "granted");
    assert_eq!(events(&shop, "grant")[0]["approvals"].as_array().unwrap().len(), 2);
    assert_eq!(grants(&shop), 1);
}

#[test]
fn nobody_approves_his_own_request() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["dba"]);
    let request = ask(&mut bob).unwrap();
    let error = assert_refused(approve(&mut bob, request), &DENIED);
    assert!(error.message().contains("is your own"), "{error:?}");
    // Another session, another token, other groups: the same person.
    assert_refused(approve(&mut shop.person("bob", &["dba", "managers"]), request), &DENIED);
    assert_eq!((state(&shop, request).as_str(), grants(&shop)), ("pending", 0));
}

#[test]
fn a_rejection_ends_it_and_says_why() {
    let shop = shop::open("govern");
    rule(&shop, TWO);
    let mut bob = shop.person("bob", &["peers"]);
    let request = ask(&mut bob).unwrap();
    let reject = "select access.reject($1, 'ask the owner first')";
    assert_refused(bob.query(reject, &[&request]), &DENIED);
    assert_refused(shop.person("eve", &["staff"]).query(reject, &[&request]), &DENIED);
    let mut carl = shop.person("carl", &["peers"]);
    assert_eq!(approve(&mut carl, request).unwrap(), "pending");
    // Who has approved may think again.
    carl.query(reject, &[&request]).unwrap();
    assert_refused(approve(&mut shop.person("dora", &["managers"]), request), &NOT_NOW);
    let told = "select state || ' by ' || rejected_by || ': ' || comment from access.my_requests";
    assert_eq!(text(&mut bob, told).as_deref(), Some("rejected by carl: ask the owner first"));
    assert_eq!(events(&shop, "reject").len(), 1);
}

/// Somebody whom a second issuer vouches for.
fn stranger(shop: &Shop, signer: &Signer, user: &str, changes: Value) -> Client {
    let mut all = json!({"iss": "https://id.other.example"});
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let mut client = shop.readonly();
    identify(&mut client, &signer.sign(&claims_but(user, &["dba"], all))).unwrap();
    client
}

fn second_issuer(shop: &Shop) -> Signer {
    let signer = Signer::new(Algorithm::ES256);
    let mut admin = shop.admin();
    let trust = "select custodian.trust_issuer('https://id.other.example', $1, array[$2])";
    admin.execute(trust, &[&signer.jwks(), &AUDIENCE]).unwrap();
    signer
}

#[test]
fn nobody_approves_by_a_second_account() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let other = second_issuer(&shop);
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    for (user, changes) in [
        ("bob", json!({"email": "robert@other.example"})),
        ("admin-bob", json!({"email": "BOB@shop.example"})),
    ] {
        let error = assert_refused(approve(&mut stranger(&shop, &other, user, changes), request), &DENIED);
        assert!(error.message().contains("another account of yours"), "{error:?}");
    }
    assert_eq!(approve(&mut stranger(&shop, &other, "dora", json!({})), request).unwrap(), "granted");
}

#[test]
fn a_configured_claim_tells_accounts_of_one_human() {
    let shop = shop::open_on(custodian().conf("pg_custodian.subject_claim = 'hr.number'"), "govern");
    rule(&shop, ONE);
    let other = second_issuer(&shop);
    let mut bob = shop.readonly();
    // Without the claim nobody can tell who it is.
    identify(&mut bob, &shop.issuer.person("bob", &["staff"])).unwrap();
    assert_refused(ask(&mut bob), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let token = shop.issuer.sign(&claims_but("bob", &["staff"], json!({"hr": {"number": 17}})));
    identify(&mut bob, &token).unwrap();
    let request = ask(&mut bob).unwrap();
    let mut again = stranger(&shop, &other, "x", json!({"hr": {"number": "17"}}));
    assert_refused(approve(&mut again, request), &DENIED);
    let mut unknown = stranger(&shop, &other, "y", json!({}));
    assert_refused(approve(&mut unknown, request), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let mut dora = stranger(&shop, &other, "dora", json!({"hr": {"number": 18}}));
    assert_eq!(approve(&mut dora, request).unwrap(), "granted");
}

#[test]
fn an_approval_needs_a_person_whose_token_is_alive() {
    // On a role that needs no person, too, where statements go on as nobody's.
    let shop = shop::open("govern");
    rule(&shop, ONE);
    shop.admin()
        .execute(
            "select custodian.trust_issuer($1, $2, array[$3], leeway => '0 s')",
            &[&harness::token::ISSUER, &shop.issuer.jwks(), &AUDIENCE],
        )
        .unwrap();
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    let mut admin = shop.admin();
    assert_refused(approve(&mut admin, request), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let mut dora = shop.readonly();
    let end = now() + 4;
    let token = shop.issuer.sign(&claims_but("dora", &["dba"], json!({"exp": end})));
    for client in [&mut admin, &mut dora] {
        identify(client, &token).unwrap();
    }
    wait_beyond(end);
    for client in [&mut admin, &mut dora] {
        let error = refusal(approve(client, request));
        assert_eq!(error.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION, "{error:?}");
    }
    // It ends while the statement runs, which nobody stops on this role.
    identify(&mut admin, &shop.issuer.sign(&claims_but("dora", &["dba"], json!({"exp": now() + 3}))))
        .unwrap();
    let late = "with slept as materialized (select pg_sleep(4)) select access.approve($1) from slept";
    assert_refused(admin.query(late, &[&request]), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let mut dora = shop.person("dora", &["dba"]);
    shop.admin().execute("select custodian.revoke_person('dora', 'left')", &[]).unwrap();
    assert_refused(approve(&mut dora, request), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert_eq!((state(&shop, request).as_str(), grants(&shop)), ("pending", 0));
}

#[test]
fn an_approval_cannot_be_used_again() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["staff"]);
    let request = ask(&mut bob).unwrap();
    let mut dora = shop.person("dora", &["dba"]);
    approve(&mut dora, request).unwrap();
    shop.admin().execute("select access.revoke_access(max(id), 'enough') from access.grants", &[]).unwrap();
    for client in [&mut dora, &mut shop.person("eve", &["dba"])] {
        assert_refused(approve(client, request), &NOT_NOW);
    }
    assert_refused(bob.query("select access.cancel($1)", &[&request]), &NOT_NOW);
    assert_refused(dora.query("select access.reject($1, 'no')", &[&request]), &NOT_NOW);
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    assert_eq!(grants(&shop), 1);
}

#[test]
fn nobody_writes_the_tables_or_becomes_another_role() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["dba"]);
    let request = ask(&mut bob).unwrap();
    for statement in [
        "insert into access.request_rule (name) values ('mine')",
        "update access.filed_request set state = 'granted'",
        "insert into access.request_vote select 1, 'i', 'dora', null, null, array['dba'], null, 'x', true, '', now()",
        "insert into access.emergency (grant_id) values (1)",
        "update access.reported_incident set closed_at = null",
        "select * from access.filed_request",
        "select * from access.requests",
        "select * from access.rules",
        "select access.set_rule('mine', 'automatic')",
        "select access.drop_rule('reads')",
        "select access.open_incident('I', array['bob'])",
        "select access.close_incident('I')",
        "select access.review(1, 'fine')",
        "set role custodian_admin",
        "set session authorization postgres",
        "do $$ begin perform access.set_rule('mine', 'automatic'); end $$",
    ] {
        let error = refusal(bob.simple_query(statement));
        assert_eq!(error.code(), &DENIED, "{statement}: {error:?}");
    }
    for view in ["my_requests", "pending_approvals"] {
        let error = refusal(bob.simple_query(&format!("delete from access.{view}")));
        assert!([&DENIED, &NOT_NOW].contains(&error.code()), "{view}: {error:?}");
    }
    // A role does not change who asks: a member of another one is the same person.
    shop.admin().batch_execute("create role helper; grant helper to readonly").unwrap();
    bob.batch_execute("set role helper").unwrap();
    assert_refused(approve(&mut bob, request), &DENIED);
}

#[test]
fn an_approval_under_other_rules_than_the_requests_is_refused() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let requests: Vec<i64> = (0..5).map(|_| ask(&mut shop.person("bob", &["staff"])).unwrap()).collect();
    let mut dora = shop.person("dora", &["dba", "peers"]);
    // Set again as it was, or otherwise.
    rule(&shop, ONE);
    let error = assert_refused(approve(&mut dora, requests[0]), &NOT_NOW);
    assert!(error.message().contains("the rules have changed"), "{error:?}");
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    // Another one that comes first.
    rule(&shop, "'stricter', 'two approvers', approver_groups => array['peers', 'managers'], priority => 1");
    assert_refused(approve(&mut dora, request), &NOT_NOW);
    // One that is behind it changes nothing; nor does the clock.
    shop.admin().batch_execute("select access.drop_rule('stricter')").unwrap();
    rule(&shop, "'later', 'automatic', priority => 200");
    assert_eq!(approve(&mut dora, request).unwrap(), "granted");
    shop.admin().batch_execute("select access.drop_rule('reads')").unwrap();
    assert_refused(approve(&mut dora, requests[1]), &NOT_NOW);
    // What has become sensitive meanwhile is not for a rule about what is not.
    shop.admin().batch_execute("select access.drop_rule('later')").unwrap();
    rule(&shop, &format!("{ONE}, sensitivity => 'unprotected'"));
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    shop.admin().batch_execute("select mask.protect('public.orders', 'amount', 'null_value')").unwrap();
    assert_refused(approve(&mut dora, request), &NOT_NOW);
    assert_eq!(grants(&shop), 1);
}

#[test]
fn an_approval_does_not_pass_to_another_object_of_the_name() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut admin = shop.admin();
    admin.batch_execute("create schema s; create table s.t (a int); create table s.u (a int)").unwrap();
    let mut bob = shop.person("bob", &["staff"]);
    let mut wish = |object: &str| -> i64 {
        let ask = "select id from access.request_access(array['select'], $1, '1 hour', 'x')";
        bob.query_one(ask, &[&object]).unwrap().get(0)
    };
    let (table, other, schema) = (wish("TABLE s.t"), wish("TABLE s.u"), wish("SCHEMA s"));
    admin.batch_execute("drop table s.t; create table s.t (a int)").unwrap();
    let mut dora = shop.person("dora", &["dba"]);
    let error = assert_refused(approve(&mut dora, table), &NOT_NOW);
    assert!(error.message().contains("not there any more"), "{error:?}");
    // A new name changes nothing: the grant is on what was asked for.
    admin.batch_execute("alter table s.u rename to v; create table s.u (a int)").unwrap();
    assert_eq!(approve(&mut dora, other).unwrap(), "granted");
    assert_eq!(text(&mut admin, "select object from access.grants").as_deref(), Some("TABLE s.v"));
    admin.batch_execute("drop schema s cascade; create schema s").unwrap();
    assert_refused(approve(&mut dora, schema), &NOT_NOW);
    assert_eq!(grants(&shop), 1);
}

/// Waits until somebody waits for somebody else's row.
fn wait_until_one_waits(shop: &Shop) {
    let waiting = "select exists (select from pg_stat_activity
                       where wait_event_type = 'Lock' and backend_type = 'client backend' and usename = 'readonly')";
    let mut admin = shop.admin();
    wait_for("somebody to wait", || admin.query_one(waiting, &[]).unwrap().get(0));
}

#[test]
fn of_two_who_decide_at_once_one_is_too_late() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    for isolation in ["read committed", "repeatable read", "serializable"] {
        let mut bob = shop.person("bob", &["staff"]);
        let request = ask(&mut bob).unwrap();
        let before = grants(&shop);
        let mut dora = shop.person("dora", &["dba"]);
        let mut eve = shop.person("eve", &["dba"]);
        dora.batch_execute(&format!("begin isolation level {isolation}")).unwrap();
        eve.batch_execute(&format!("begin isolation level {isolation}; select 1")).unwrap();
        assert_eq!(approve(&mut dora, request).unwrap(), "granted");
        let second = thread::spawn(move || {
            let told = approve(&mut eve, request);
            let _ = eve.batch_execute("commit");
            told
        });
        wait_until_one_waits(&shop);
        assert!(!second.is_finished(), "the second one waits for the first");
        dora.batch_execute("commit").unwrap();
        let error = refusal(second.join().unwrap());
        let codes = [&NOT_NOW, &SqlState::T_R_SERIALIZATION_FAILURE];
        assert!(codes.contains(&error.code()), "{isolation}: {error:?}");
        assert_eq!(grants(&shop), before + 1, "{isolation}");
    }
}

#[test]
fn of_two_approvals_at_once_both_count() {
    let shop = shop::open("govern");
    rule(&shop, TWO);
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    let mut peer = shop.person("carl", &["peers"]);
    let mut manager = shop.person("dora", &["managers"]);
    peer.batch_execute("begin").unwrap();
    assert_eq!(approve(&mut peer, request).unwrap(), "pending");
    let second = thread::spawn(move || approve(&mut manager, request));
    wait_until_one_waits(&shop);
    peer.batch_execute("commit").unwrap();
    assert_eq!(second.join().unwrap().unwrap(), "granted");
    assert_eq!(grants(&shop), 1);
}

#[test]
fn of_a_cancellation_and_an_approval_at_once_one_counts() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["staff"]);
    let request = ask(&mut bob).unwrap();
    bob.batch_execute("begin").unwrap();
    bob.query("select access.cancel($1)", &[&request]).unwrap();
    let mut dora = shop.person("dora", &["dba"]);
    let second = thread::spawn(move || approve(&mut dora, request));
    wait_until_one_waits(&shop);
    bob.batch_execute("commit").unwrap();
    assert_eq!(refusal(second.join().unwrap()).code(), &NOT_NOW);
    // The other way round, and a cancellation that is rolled back.
    let request = ask(&mut bob).unwrap();
    let mut dora = shop.person("dora", &["dba"]);
    dora.batch_execute("begin").unwrap();
    approve(&mut dora, request).unwrap();
    let second = thread::spawn(move || bob.query("select access.cancel($1)", &[&request]));
    wait_until_one_waits(&shop);
    dora.batch_execute("commit").unwrap();
    assert_eq!(refusal(second.join().unwrap()).code(), &NOT_NOW);
    assert_eq!(grants(&shop), 1);
}

#[test]
fn what_a_person_gives_himself_permits_nothing_before_it_is_committed() {
    let shop = shop::open("govern");
    rule(&shop, "'reads', 'automatic'");
    let mut bob = shop.person("bob", &["staff"]);
    bob.batch_execute("begin").unwrap();
    ask(&mut bob).unwrap();
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    bob.batch_execute("rollback").unwrap();
    let at_once = "do $$ begin
        perform access.request_access(array['select'], 'TABLE public.orders', '1 hour', 'x');
        perform count(*) from public.orders;
    end $$";
    assert_refused(bob.simple_query(at_once), &DENIED);
    assert_eq!((grants(&shop), events(&shop, "ask").len()), (0, 2), "the attempts are on record");
    ask(&mut bob).unwrap();
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
}

#[test]
fn requests_expire_by_themselves_also_while_the_server_was_down() {
    let shop = shop::open("govern");
    rule(&shop, &format!("{ONE}, request_lifetime => '2 seconds'"));
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    let on_file = "select state from access.filed_request where id = $1";
    let marked = |request: i64| -> String { shop.admin().query_one(on_file, &[&request]).unwrap().get(0) };
    thread::sleep(Duration::from_secs(2));
    assert_refused(approve(&mut shop.person("dora", &["dba"]), request), &NOT_NOW);
    wait_for("the steward to mark it", || marked(request) == "expired");
    assert_eq!(events(&shop, "expire")[0]["request"], json!(request));
    rule(&shop, ONE);
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    shop.admin()
        .batch_execute(
            "update access.filed_request set expires_at = now() + interval '1 s' where state = 'pending'",
        )
        .unwrap();
    shop.cluster.stop();
    thread::sleep(Duration::from_secs(1));
    shop.cluster.start();
    wait_for("the steward to mark it", || marked(request) == "expired");
    assert_eq!(events(&shop, "expire").len(), 2);
}

#[test]
fn bridges_hear_of_requests_and_read_no_reasons() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bridge = shop.admin();
    bridge.batch_execute("listen pg_custodian_access").unwrap();
    let request = ask(&mut shop.person("bob", &["staff"])).unwrap();
    approve(&mut shop.person("dora", &["dba"]), request).unwrap();
    let mut heard = Vec::new();
    while heard.len() < 2 {
        let mut notifications = bridge.notifications();
        let next = notifications.timeout_iter(Duration::from_secs(20)).next().unwrap();
        heard.push(next.expect("a notification").payload().to_owned());
    }
    let told: Vec<Value> = heard.iter().map(|payload| serde_json::from_str(payload).unwrap()).collect();
    assert_eq!((&told[0]["event"], &told[1]["event"]), (&json!("requested"), &json!("granted")));
    assert_eq!((&told[0]["user_id"], &told[0]["approver_groups"]), (&json!("bob"), &json!(["dba"])));
    assert!(!heard.concat().contains("ticket 17") && !heard.concat().contains("fine"), "{heard:?}");
}

#[test]
fn bad_input_is_refused_with_its_code() {
    let shop = shop::open("govern");
    rule(&shop, "'all', 'automatic', privileges => array['select', 'ddl']");
    let mut bob = shop.person("bob", &["staff"]);
    for (arguments, code) in [
        ("array['select'], 'TABLE public.orders', '0', 'x'", "22023"),
        ("array['select'], 'TABLE public.orders', '-1 h', 'x'", "22023"),
        ("array['select'], 'TABLE public.orders', '31 days', 'x'", "22023"),
        ("array['select'], 'TABLE public.orders', '178000000 years', 'x'", "22023"),
        ("array['select'], 'TABLE public.orders', null, 'x'", "22004"),
        ("array['select'], 'TABLE public.orders', '1 h', null", "22004"),
        ("array['select'], 'TABLE public.orders', '1 h', ' '", "22023"),
        ("array['select'], null, '1 h', 'x'", "22004"),
        ("null, 'DATABASE', '1 h', 'x'", "22004"),
        ("array[]::text[], 'DATABASE', '1 h', 'x'", "22023"),
        ("array[null], 'DATABASE', '1 h', 'x'", "22004"),
        ("array['all'], 'DATABASE', '1 h', 'x'", "22023"),
        ("array['select'], 'TABLE orders', '1 h', 'x'", "22023"),
        ("array['select'], 'orders; drop', '1 h', 'x'", "22023"),
        ("array['select'], 'TABLE public.nothing', '1 h', 'x'", "42P01"),
        ("array['select'], 'SCHEMA nothing', '1 h', 'x'", "3F000"),
        ("array['select'], 'DATABASE', '8 hours 1 second', 'x'", "42501"),
        ("array['select', 'insert'], 'DATABASE', '1 h', 'x'", "42501"),
    ] {
        let error = refusal(bob.simple_query(&format!("select access.request_access({arguments})")));
        assert_eq!(error.code().code(), code, "{arguments}: {error:?}");
    }
    for call in
        ["approve(null)", "approve(-1)", "reject(1, null)", "reject(1, '')", "cancel(null)", "cancel(77)"]
    {
        let error = refusal(bob.simple_query(&format!("select access.{call}")));
        assert!(["22004", "22023", "42704"].contains(&error.code().code()), "{call}: {error:?}");
    }
    let mut admin = shop.admin();
    for (arguments, code) in [
        ("'r', 'automatic', time_zone => 'Mars/Olympus'", "22023"),
        ("'r', 'automatic', from_time => '18:00', until_time => '8:00'", "22023"),
        ("'r', 'automatic', from_time => '18:00'", "22023"),
        ("'r', 'one approver'", "22023"),
        ("'r', 'two approvers', approver_groups => array['a', 'b', 'c']", "22023"),
        ("'r', 'automatic', approver_groups => array['a']", "22023"),
        ("'r', 'maybe'", "22023"),
        ("null, 'automatic'", "22004"),
    ] {
        let error =
            assert_refused_if_hint(admin.simple_query(&format!("select access.set_rule({arguments})")));
        assert_eq!(error.code().code(), code, "{arguments}: {error:?}");
    }
    let error = refusal(admin.simple_query("select access.drop_rule('nothing')"));
    assert_eq!(error.code(), &SqlState::UNDEFINED_OBJECT);
    // Midnight is an end.
    rule(
        &shop,
        "'day', 'automatic', from_time => '00:00', until_time => '24:00', time_zone => 'Europe/Berlin'",
    );
    assert_eq!(
        text(&mut admin, "select until_time::text from access.rules where name = 'day'").as_deref(),
        Some("24:00:00")
    );
    assert_eq!(grants(&shop), 0);
}

fn assert_refused_if_hint<T>(result: Result<T, postgres::Error>) -> postgres::error::DbError {
    let error = refusal(result);
    assert!(error.hint().is_some() || error.code().code() == "22004", "{error:?}");
    error
}

#[test]
fn a_script_that_asks_in_a_loop_is_stopped() {
    let shop = shop::open("govern");
    rule(&shop, ONE);
    let mut bob = shop.person("bob", &["staff"]);
    for _ in 0..50 {
        ask(&mut bob).unwrap();
    }
    assert_refused(ask(&mut bob), &SqlState::PROGRAM_LIMIT_EXCEEDED);
    ask(&mut shop.person("carl", &["staff"])).unwrap();
}

/// A request as the model sees it: who approved in which groups, and how it ended.
struct Model {
    asker: usize,
    two: bool,
    said: Vec<(usize, Vec<&'static str>)>,
    state: &'static str,
}

#[test]
fn random_sequences_end_as_in_the_model() {
    const PEOPLE: [(&str, &[&str]); 5] = [
        ("alice", &["peers"]),
        ("bob", &["managers"]),
        ("carl", &["peers", "managers"]),
        ("dora", &["peers", "staff"]),
        ("eve", &["staff"]),
    ];
    let shop = shop::open("govern");
    rule(
        &shop,
        "'two', 'two approvers', privileges => array['insert'], approver_groups => array['peers', 'managers']",
    );
    rule(
        &shop,
        "'one', 'one approver', privileges => array['select'], approver_groups => array['peers', 'managers']",
    );
    let mut people: Vec<Client> = PEOPLE.iter().map(|(user, groups)| shop.person(user, groups)).collect();
    let mut admin = shop.admin();
    let seed = now() as u64;
    println!("seed {seed}");
    let mut dice = seed | 1;
    let mut roll = |sides: u64| {
        dice ^= dice >> 12;
        dice ^= dice << 25;
        dice ^= dice >> 27;
        (dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    };
    let mut models: Vec<(i64, Model)> = Vec::new();
    for step in 0..400 {
        let who = roll(5) as usize;
        if models.is_empty() || roll(6) == 0 {
            let two = roll(2) == 0;
            let privilege = if two { "insert" } else { "select" };
            let ask = "select id from access.request_access(array[$1], 'TABLE public.orders', '1 hour', 'x')";
            let id = people[who].query_one(ask, &[&privilege]).unwrap().get(0);
            models.push((id, Model { asker: who, two, said: vec![], state: "pending" }));
            continue;
        }
        // Mostly of the last few, so that they get anywhere.
        let at = models.len() - 1 - roll(models.len().min(4) as u64) as usize;
        let (id, model) = &mut models[at];
        let open = model.state == "pending";
        let groups: Vec<&'static str> =
            PEOPLE[who].1.iter().copied().filter(|group| *group != "staff").collect();
        let decides = open && who != model.asker && !groups.is_empty();
        let (call, expected) = match roll(12) {
            0 => ("select access.cancel($1)", open && who == model.asker),
            1 => ("select access.reject($1, 'no')", decides),
            2 => {
                let expire =
                    "update access.filed_request set expires_at = now() where id = $1 and state = 'pending'";
                admin.execute(expire, &[&*id]).unwrap();
                if open {
                    model.state = "expired";
                }
                continue;
            }
            _ => ("select access.approve($1)", decides && model.said.iter().all(|(human, _)| *human != who)),
        };
        let told = people[who].execute(call, &[&*id]);
        assert_eq!(told.is_ok(), expected, "seed {seed}, step {step}: {call} by {who}: {told:?}");
        if !expected {
            continue;
        }
        model.state = match call {
            "select access.cancel($1)" => "cancelled",
            "select access.reject($1, 'no')" => "rejected",
            _ => {
                model.said.push((who, groups));
                let pair = |a: &(usize, Vec<&str>), b: &(usize, Vec<&str>)| {
                    a.0 != b.0 && a.1.contains(&"peers") && b.1.contains(&"managers")
                };
                let enough = model.said.iter().any(|a| model.said.iter().any(|b| pair(a, b)));
                if !model.two || enough { "granted" } else { "pending" }
            }
        };
    }
    for (id, model) in &models {
        assert_eq!(state(&shop, *id), model.state, "seed {seed}, request {id}");
    }
    let granted = models.iter().filter(|(_, model)| model.state == "granted").count();
    assert!(granted > 5, "they hardly ever get granted: {granted}");
    assert_eq!(grants(&shop), granted as i64);
    let linked = "select count(*) from access.requests q join access.grants g on g.id = q.grant_id
                  and g.user_id = q.user_id and g.privileges = q.privileges";
    assert_eq!(admin.query_one(linked, &[]).unwrap().get::<_, i64>(0), granted as i64);
    assert_eq!(events(&shop, "grant").len(), granted);
    assert!(shop::verified(&mut admin));
}
