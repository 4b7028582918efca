//! Break-glass: access at once while something burns, and what it leaves behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify, sync};
use harness::token::{claims_but, now, wait_beyond};
use harness::{Wanted, assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use postgres::fallible_iterator::FallibleIterator;
use serde_json::{Value, json};
use std::time::Duration;

const DENIED: SqlState = SqlState::INSUFFICIENT_PRIVILEGE;
const NOT_NOW: SqlState = SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE;

const ORDERS: &str = "select count(*)::text from public.orders";

fn server() -> Wanted {
    custodian().conf("pg_custodian.break_glass_groups = 'oncall, sre'")
}

fn shatter(client: &mut Client, incident: &str) -> Result<i64, postgres::Error> {
    client.query_one("select access.break_glass($1, 'orders are stuck')", &[&incident]).map(|row| row.get(0))
}

fn alerts(shop: &Shop, kind: &str) -> Vec<Value> {
    let mut admin = shop.admin();
    sync(&mut admin);
    let rows =
        admin.query("select detail from audit.alerts where alert = $1 order by seq", &[&kind]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Lets the access of a grant have ended so long ago.
fn end_long_ago(shop: &Shop, grant: i64, ago: &str) {
    let end = format!(
        "update access.issued_grant set starts_at = now() - interval '{ago}' - interval '1 h',
             ends_at = now() - interval '{ago}' where id = {grant}"
    );
    shop.admin().batch_execute(&end).unwrap();
}

#[test]
fn whoever_may_gets_in_at_once_and_everybody_hears_of_it() {
    let shop = shop::open_on(server(), "govern");
    let mut bridge = shop.admin();
    bridge.batch_execute("listen pg_custodian_access").unwrap();
    let mut bob = shop.person("bob", &["sre"]);
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    let grant = shatter(&mut bob, "INC-7").unwrap();
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
    let left = "select (ends_at - clock_timestamp() between interval '29 min' and interval '30 min')::text
                from access.my_grants where live";
    assert_eq!(text(&mut bob, left).as_deref(), Some("true"));

    let alert = alerts(&shop, "break_glass").remove(0);
    assert_eq!((&alert["grant"], &alert["user_id"]), (&json!(grant), &json!("bob")));
    assert_eq!((&alert["incident"], &alert["reason"]), (&json!("INC-7"), &json!("orders are stuck")));
    assert!(alert["token_id"].is_string(), "{alert}");
    assert!(shop.cluster.log().contains("WARNING:  pg_custodian alert: \"bob\" broke the glass"));
    let heard = bridge.notifications().timeout_iter(Duration::from_secs(20)).next().unwrap().unwrap();
    let told: Value = serde_json::from_str(heard.payload()).unwrap();
    assert_eq!((&told["event"], &told["grant"]), (&json!("break_glass"), &json!(grant)));
    assert!(told.get("reason").is_none(), "{told}");
    let mut admin = shop.admin();
    let due = "select (review_due - ends_at = interval '48 h' and not overdue)::text from access.reviews_due";
    assert_eq!(text(&mut admin, due).as_deref(), Some("true"));
}

#[test]
fn the_level_of_alerts_is_configurable() {
    let shop = shop::open_on(server().conf("pg_custodian.alert_level = 'log'"), "govern");
    shatter(&mut shop.person("bob", &["sre"]), "INC-7").unwrap();
    assert!(shop.cluster.log().contains("LOG:  pg_custodian alert: \"bob\" broke the glass"));
}

#[test]
fn nobody_else_may_break_the_glass() {
    let shop = shop::open_on(server(), "govern");
    assert_refused(shatter(&mut shop.person("bob", &["support"]), "INC-7"), &DENIED);
    assert_refused(shatter(&mut shop.admin(), "INC-7"), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let mut bob = shop.person("bob", &["sre"]);
    for (arguments, code) in [
        ("null, 'x'", "22004"),
        ("'', 'x'", "22023"),
        ("'I', null", "22004"),
        ("'I', ' '", "22023"),
        ("'I', 'x', null", "22004"),
        ("'I', 'x', 'TABLE nowhere.t'", "3F000"),
    ] {
        let error = refusal(bob.simple_query(&format!("select access.break_glass({arguments})")));
        assert_eq!(error.code().code(), code, "{arguments}: {error:?}");
    }
    // Unless somebody with the server's files has said who may, nobody may.
    let closed = shop::open("govern");
    assert_refused(shatter(&mut closed.person("bob", &["sre"]), "INC-7"), &DENIED);
    assert!(alerts(&shop, "break_glass").is_empty() && alerts(&closed, "break_glass").is_empty());
    assert_eq!(shop.the_record("break_glass('I', 'x', 'TABLE nowhere.t')").outcome(), "error");
}

#[test]
fn it_permits_nothing_before_it_is_committed() {
    let shop = shop::open_on(server(), "govern");
    let mut bob = shop.person("bob", &["sre"]);
    bob.batch_execute("begin").unwrap();
    shatter(&mut bob, "INC-7").unwrap();
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    bob.batch_execute("rollback").unwrap();
    let grab = "do $$ declare loot bigint; begin
        perform access.break_glass('INC-7', 'x');
        select count(*) into loot from public.orders;
        raise exception 'got %', loot;
    end $$";
    assert_refused(bob.simple_query(grab), &DENIED);
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    // What was tried is told all the same.
    assert_eq!(alerts(&shop, "break_glass").len(), 2);
}

#[test]
fn it_does_not_permit_to_define_objects_or_to_take_data_away() {
    let shop = shop::open_on(server(), "govern");
    let mut bob = shop.person("bob", &["sre"]);
    shatter(&mut bob, "INC-7").unwrap();
    assert_refused(bob.batch_execute("copy public.orders to stdout"), &DENIED);
    assert_refused(bob.simple_query("create index on public.orders (amount)"), &DENIED);
}

#[test]
fn it_can_be_for_one_table() {
    let shop = shop::open_on(server(), "govern");
    let mut bob = shop.person("bob", &["sre"]);
    bob.simple_query("select access.break_glass('INC-7', 'wrong totals', 'TABLE public.orders')").unwrap();
    bob.simple_query("select count(*) from public.orders").unwrap();
    assert_refused(bob.simple_query("select count(*) from public.customers"), &DENIED);
}

#[test]
fn where_an_incident_is_required_it_must_be_open_and_assigned() {
    let shop = shop::open_on(server().conf("pg_custodian.break_glass_incident = on"), "govern");
    let mut admin = shop.admin();
    let mut bob = shop.person("bob", &["sre"]);
    assert_refused(shatter(&mut bob, "INC-7"), &NOT_NOW);
    admin.batch_execute("select access.open_incident('INC-7', array['alice'], 'orders stuck')").unwrap();
    assert_refused(shatter(&mut bob, "INC-7"), &DENIED);
    // Somebody else takes over.
    admin.batch_execute("select access.open_incident('INC-7', array['alice', 'BOB@shop.example'])").unwrap();
    shatter(&mut bob, "INC-7").unwrap();
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
    admin.batch_execute("select access.close_incident('INC-7')").unwrap();
    assert_refused(shatter(&mut bob, "INC-7"), &NOT_NOW);
    assert_refused(admin.simple_query("select access.open_incident('INC-7', array['bob'])"), &NOT_NOW);
    assert_refused(admin.simple_query("select access.close_incident('INC-7')"), &NOT_NOW);
    assert_eq!(
        text(&mut admin, "select title from access.incidents where not open").as_deref(),
        Some("orders stuck")
    );
}

#[test]
fn the_closure_of_an_incident_ends_its_access_at_once() {
    let shop = shop::open_on(server(), "govern");
    let mut admin = shop.admin();
    admin.batch_execute("select access.open_incident('INC-7', array['bob'])").unwrap();
    let mut bob = shop.person("bob", &["sre"]);
    let mut eve = shop.person("eve", &["oncall"]);
    shatter(&mut bob, "INC-7").unwrap();
    shatter(&mut eve, "INC-8").unwrap();
    bob.batch_execute("begin").unwrap();
    assert_eq!(text(&mut bob, ORDERS).as_deref(), Some("40"));
    let ended: i32 = admin.query_one("select access.close_incident('INC-7')", &[]).unwrap().get(0);
    assert_eq!(ended, 1);
    assert_refused(bob.simple_query(ORDERS), &DENIED);
    assert_eq!(text(&mut eve, ORDERS).as_deref(), Some("40"), "another incident's");
    let due = "select justify_hours(u.review_due - i.closed_at)::text from access.break_glass_uses u
               join access.incidents i using (incident)";
    assert_eq!(text(&mut admin, due).as_deref(), Some("2 days"));
}

#[test]
fn a_closure_and_a_use_at_once_leave_no_access() {
    let shop = shop::open_on(server(), "govern");
    let mut admin = shop.admin();
    admin.batch_execute("select access.open_incident('INC-7', array['bob'])").unwrap();
    let mut bob = shop.person("bob", &["sre"]);
    admin.batch_execute("begin; select access.close_incident('INC-7')").unwrap();
    let late = std::thread::spawn(move || (shatter(&mut bob, "INC-7"), bob));
    std::thread::sleep(Duration::from_millis(300));
    admin.batch_execute("commit").unwrap();
    let (told, mut bob) = late.join().unwrap();
    assert_eq!(refusal(told).code(), &NOT_NOW);
    // The other way round.
    admin.batch_execute("select access.open_incident('INC-8', array['bob'])").unwrap();
    bob.batch_execute("begin").unwrap();
    shatter(&mut bob, "INC-8").unwrap();
    let closing = std::thread::spawn(move || admin.batch_execute("select access.close_incident('INC-8')"));
    std::thread::sleep(Duration::from_millis(300));
    bob.batch_execute("commit").unwrap();
    closing.join().unwrap().unwrap();
    assert_refused(bob.simple_query(ORDERS), &DENIED);
}

#[test]
fn it_is_renewed_while_the_incident_is_open_and_by_its_holder() {
    let shop = shop::open_on(server(), "govern");
    let mut admin = shop.admin();
    let mut bob = shop.person("bob", &["sre"]);
    let renew = "select access.renew($1)";
    let grant = shatter(&mut bob, "INC-7").unwrap();
    // The on-call system knows nothing of it.
    assert_refused(bob.query(renew, &[&grant]), &NOT_NOW);
    admin.batch_execute("select access.open_incident('INC-7', array['bob'])").unwrap();
    admin.execute("update access.issued_grant set ends_at = now() + interval '1 min'", &[]).unwrap();
    bob.query(renew, &[&grant]).unwrap();
    let end = "select (ends_at - clock_timestamp() > interval '29 min')::text from access.grants";
    assert_eq!(text(&mut admin, end).as_deref(), Some("true"));
    assert_eq!(alerts(&shop, "break_glass_renewed").len(), 1);
    assert_refused(shop.person("eve", &["sre"]).query(renew, &[&grant]), &DENIED);
    assert_refused(bob.query(renew, &[&(grant + 1)]), &SqlState::UNDEFINED_OBJECT);
    let other: i64 = admin
        .query_one("select access.grant_access('bob', array['select'], 'DATABASE', '1 h', 'x')", &[])
        .unwrap()
        .get(0);
    assert_refused(bob.query(renew, &[&other]), &SqlState::UNDEFINED_OBJECT);
    end_long_ago(&shop, grant, "1 min");
    assert_refused(bob.query(renew, &[&grant]), &NOT_NOW);
    let grant = shatter(&mut bob, "INC-7").unwrap();
    admin.batch_execute("select access.close_incident('INC-7')").unwrap();
    assert_refused(bob.query(renew, &[&grant]), &NOT_NOW);
}

#[test]
fn somebody_else_reviews_it() {
    let shop = shop::open_on(server(), "govern");
    shop.admin().batch_execute("grant custodian_auditor to readonly").unwrap();
    let mut bob = shop.person("bob", &["sre"]);
    let grant = shatter(&mut bob, "INC-7").unwrap();
    let review = "select access.review($1, 'nothing odd')";
    let mut eve = shop.person("eve", &["security"]);
    assert_refused(eve.query(review, &[&grant]), &NOT_NOW);
    end_long_ago(&shop, grant, "1 min");
    assert_refused(bob.query(review, &[&grant]), &DENIED);
    // A second account of his.
    let mut twin = shop.readonly();
    let token =
        shop.issuer.sign(&claims_but("admin-bob", &["security"], json!({"email": "Bob@shop.example"})));
    identify(&mut twin, &token).unwrap();
    assert_refused(twin.query(review, &[&grant]), &DENIED);
    assert_refused(shop.admin().query(review, &[&grant]), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    let error = refusal(eve.query("select access.review($1, '')", &[&grant]));
    assert_eq!(error.code(), &SqlState::INVALID_PARAMETER_VALUE);
    eve.query(review, &[&grant]).unwrap();
    assert_refused(eve.query(review, &[&grant]), &NOT_NOW);
    let mut admin = shop.admin();
    assert_eq!(text(&mut admin, "select reviewed_by from access.break_glass_uses").as_deref(), Some("eve"));
    assert_eq!(text(&mut admin, "select count(*)::text from access.reviews_due").as_deref(), Some("0"));
    sync(&mut admin);
    let event = "select user_id || ' ' || (detail ->> 'findings') from audit.events where event = 'review'";
    assert_eq!(text(&mut admin, event).as_deref(), Some("eve nothing odd"));
}

#[test]
fn an_overdue_review_is_told_once_also_if_the_server_was_down() {
    let shop = shop::open_on(server(), "govern");
    let mut bob = shop.person("bob", &["sre"]);
    let (first, second) = (shatter(&mut bob, "INC-7").unwrap(), shatter(&mut bob, "INC-8").unwrap());
    end_long_ago(&shop, first, "47 hours 59 minutes 58 seconds");
    wait_for("the alert", || alerts(&shop, "review_overdue").len() == 1);
    assert_eq!(alerts(&shop, "review_overdue")[0]["grant"], json!(first));
    end_long_ago(&shop, second, "47 hours 59 minutes 58 seconds");
    shop.cluster.stop();
    std::thread::sleep(Duration::from_secs(2));
    shop.cluster.start();
    wait_for("the alert", || alerts(&shop, "review_overdue").len() == 2);
    assert_eq!(alerts(&shop, "review_overdue")[1]["grant"], json!(second));
    let mut admin = shop.admin();
    assert_eq!(
        text(&mut admin, "select bool_and(overdue)::text from access.reviews_due").as_deref(),
        Some("true")
    );
    // Not again.
    admin.batch_execute("select custodian.enroll('readonly', 'govern')").unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(alerts(&shop, "review_overdue").len(), 2);
    assert!(shop.cluster.log().contains("WARNING:  pg_custodian alert: the review of grant"));
}

#[test]
fn everything_is_recorded_whatever_the_settings_leave_out() {
    let shop = shop::open_on(server().conf("pg_custodian.nested_statements = off"), "govern");
    shop.admin().batch_execute("grant temp on database shop to readonly").unwrap();
    let mut bob = shop.person("bob", &["sre"]);
    let nested =
        |mark: &str| format!("do $$ begin perform count(*) from public.orders where '{mark}' <> ''; end $$");
    shop.admin()
        .execute("select access.grant_access('bob', array['select'], 'DATABASE', '1 h', 'routine')", &[])
        .unwrap();
    bob.batch_execute(&nested("routine_work")).unwrap();
    let grant = shatter(&mut bob, "INC-7").unwrap();
    bob.batch_execute(&nested("put_it_out")).unwrap();
    end_long_ago(&shop, grant, "1 s");
    bob.batch_execute(&nested("routine_again")).unwrap();
    let records = |mark: &str| shop.recorded(mark).len();
    assert_eq!((records("routine_work"), records("put_it_out"), records("routine_again")), (1, 2, 1));
}

#[test]
fn frequent_use_shows_by_person_and_by_group() {
    let shop = shop::open_on(server(), "govern");
    let mut bob = shop.person("bob", &["sre", "shop-team"]);
    let mut eve = shop.person("eve", &["oncall", "shop-team"]);
    for incident in ["1", "2", "3"] {
        shatter(&mut bob, incident).unwrap();
    }
    shatter(&mut eve, "4").unwrap();
    let strict = "select string_agg(kind || ' ' || name || ' ' || uses, ', ' order by kind, name)
                  from access.break_glass_frequency where standing_rules_too_strict";
    assert_eq!(text(&mut shop.admin(), strict).as_deref(), Some("group shop-team 4"));
    shatter(&mut bob, "5").unwrap();
    let strict = text(&mut shop.admin(), strict);
    assert_eq!(strict.as_deref(), Some("group shop-team 5, group sre 4, person bob 4"));
}

#[test]
fn an_expired_token_breaks_nothing() {
    let shop = shop::open_on(server(), "govern");
    let mut admin = shop.admin();
    let end = now() + 4;
    let token = shop.issuer.sign(&claims_but("bob", &["sre"], json!({"exp": end})));
    identify(&mut admin, &token).unwrap();
    wait_beyond(end);
    let error = refusal(shatter(&mut admin, "INC-7"));
    assert_eq!(error.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    assert!(alerts(&shop, "break_glass").is_empty());
}
