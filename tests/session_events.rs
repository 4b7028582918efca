//! What is on record beside statements: sessions that come and go, start and stop of the recording, changes of its
//! settings, and every look at the record itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, sync};
use harness::token::random_text;
use harness::{refusal, text, wait_for};
use postgres::Client;
use serde_json::Value;

/// An event that is no statement.
#[derive(Debug)]
struct Event {
    session: String,
    role: String,
    user: Option<String>,
    outcome: String,
    sqlstate: Option<String>,
    object: Option<String>,
    detail: Value,
}

/// The events of this kind, oldest first.
fn events(shop: &Shop, kind: &str) -> Vec<Event> {
    events_of(&mut shop.admin(), kind)
}

fn events_of(admin: &mut Client, kind: &str) -> Vec<Event> {
    sync(admin);
    let query = "select session, session_role, user_id, outcome, sqlstate, object, detail
                 from audit.events where event = $1 order by seq";
    let rows = admin.query(query, &[&kind]).unwrap();
    rows.iter()
        .map(|row| Event {
            session: row.get(0),
            role: row.get(1),
            user: row.get(2),
            outcome: row.get(3),
            sqlstate: row.get(4),
            object: row.get(5),
            detail: row.get::<_, Option<Value>>(6).unwrap_or_default(),
        })
        .collect()
}

fn session_of(client: &mut Client) -> String {
    text(client, "select to_hex(trunc(extract(epoch from backend_start))::int) || '.' || to_hex(pid) from pg_stat_activity where pid = pg_backend_pid()").unwrap()
}

/// The events of a session; it takes a moment until a client's process has gone.
fn gone(shop: &Shop, session: &str) -> Event {
    let mut found = None;
    wait_for("the session's end", || {
        let mut all: Vec<Event> =
            events(shop, "disconnect").into_iter().filter(|event| event.session == session).collect();
        assert!(all.len() < 2, "{all:?}");
        found = all.pop();
        found.is_some()
    });
    found.unwrap()
}

fn came(shop: &Shop, session: &str) -> Vec<Event> {
    events(shop, "connect").into_iter().filter(|event| event.session == session).collect()
}

fn application(shop: &Shop) -> String {
    let password = random_text(16);
    shop.admin()
        .batch_execute(&format!(
            "create role application login password '{password}';
             grant select on public.orders to application; grant custodian_auditor to application;"
        ))
        .unwrap();
    password
}

#[test]
fn sessions_of_enrolled_roles_come_and_go() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let session = session_of(&mut alice);
    for _ in 0..3 {
        alice.simple_query("select 1 from public.orders").unwrap();
    }
    let coming = came(&shop, &session);
    assert_eq!(coming.len(), 1, "{coming:?}");
    assert_eq!((coming[0].role.as_str(), coming[0].user.as_deref()), ("readonly", None));
    assert_eq!(coming[0].detail["brings_token"], false);
    let query = "select count(*) from audit.ledger where event = 'statement' and session = $1";
    sync(&mut shop.admin());
    let statements: i64 = shop.admin().query_one(query, &[&session]).unwrap().get(0);
    drop(alice);
    let going = gone(&shop, &session);
    assert_eq!((going.outcome.as_str(), going.sqlstate.as_deref()), ("ok", None));
    assert_eq!(going.user.as_deref(), Some("alice"));
    assert_eq!(going.detail["statements"], statements);
    assert!(statements > 3 && going.detail["duration"].as_i64().unwrap() > 0, "{going:?}");
}

#[test]
fn a_token_that_comes_with_the_connection_is_told_of() {
    let shop = shop::open("identify");
    let token = shop.issuer.person("alice", &["support"]);
    let mut alice = shop.try_readonly(&format!("-c pg_custodian.token={token}")).unwrap();
    let session = session_of(&mut alice);
    let coming = came(&shop, &session);
    assert_eq!(coming.len(), 1);
    assert_eq!(coming[0].detail["brings_token"], true);
    assert!(!format!("{coming:?}").contains(&token[..40]));
}

#[test]
fn the_application_comes_and_goes_unseen_unless_it_leaves_a_record() {
    let shop = shop::open("identify");
    let password = application(&shop);
    let mut unseen = shop.cluster.login("application", &password, "shop");
    let session = session_of(&mut unseen);
    unseen.simple_query("select 1 from public.orders").unwrap();
    drop(unseen);
    let mut seen = shop.cluster.login("application", &password, "shop");
    let reader = session_of(&mut seen);
    seen.simple_query("select count(*) from audit.events").unwrap();
    drop(seen);
    assert_eq!(gone(&shop, &reader).detail["statements"], 1);
    assert!(came(&shop, &session).is_empty() && came(&shop, &reader).is_empty());
    assert!(events(&shop, "disconnect").iter().all(|event| event.session != session));
}

#[test]
fn how_a_session_was_ended_is_recorded() {
    let shop = shop::open("identify");
    let mut alice = shop.person("alice", &["support"]);
    let session = session_of(&mut alice);
    let pid: i32 = alice.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let running = std::thread::spawn(move || alice.batch_execute("do $$ begin perform pg_sleep(60); end $$"));
    wait_for("the statement", || {
        let query = "select count(*) = 1 from pg_stat_activity where pid = $1 and wait_event = 'PgSleep'";
        shop.admin().query_one(query, &[&pid]).unwrap().get(0)
    });
    shop.admin().execute("select pg_terminate_backend($1)", &[&pid]).unwrap();
    running.join().unwrap().unwrap_err();
    let going = gone(&shop, &session);
    assert_eq!((going.outcome.as_str(), going.sqlstate.as_deref()), ("cancelled", Some("57P01")));
    // Its statements have ended before, the utility statement too.
    let query = "select outcome, command from audit.ledger
                 where session = $1 and event = 'statement' and outcome <> 'ok' order by seq";
    let rows = shop.admin().query(query, &[&session]).unwrap();
    let rows: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    // The inner one first.
    let expected = [("interrupted".to_string(), "SELECT".to_string()), ("interrupted".into(), "DO".into())];
    assert_eq!(rows, expected);
    let query = "select l.event from audit.ledger as l where l.session = $1 order by seq desc limit 1";
    assert_eq!(shop.admin().query_one(query, &[&session]).unwrap().get::<_, String>(0), "disconnect");
}

#[test]
fn whoever_is_turned_away_from_an_enrolled_role_is_recorded() {
    let shop = shop::open("identify");
    let before = events(&shop, "connect").len();
    let wrong = random_text(12);
    wait_for("the steward's word", || {
        // Nobody is known to be enrolled before the steward has said so.
        refusal(shop.cluster.try_login("readonly", &wrong, "shop", ""));
        events(&shop, "connect").iter().any(|event| event.outcome == "denied")
    });
    let denied: Vec<Event> =
        events(&shop, "connect").into_iter().filter(|event| event.outcome == "denied").collect();
    assert_eq!((denied[0].role.as_str(), denied[0].sqlstate.as_deref()), ("readonly", Some("28P01")));
    // A right password that does not help, and a wrong one of somebody who is not enrolled, or does not exist.
    application(&shop);
    for role in ["application", "nobody_at_all"] {
        refusal(shop.cluster.try_login(role, &wrong, "shop", ""));
    }
    shop.admin().batch_execute("alter role readonly connection limit 0").unwrap();
    assert_eq!(refusal(shop.try_readonly("")).code().code(), "53300");
    // It is told before it is recorded.
    wait_for("the record of it", || {
        let all = events(&shop, "connect");
        let last = all.iter().rfind(|event| event.role == "readonly").unwrap();
        (last.outcome.as_str(), last.sqlstate.as_deref()) == ("error", Some("53300"))
    });
    let strangers = events(&shop, "connect");
    assert!(strangers.len() > before);
    assert!(
        strangers.iter().all(|event| ["readonly", "postgres"].contains(&event.role.as_str())),
        "{strangers:?}"
    );
}

#[test]
fn start_and_stop_of_the_recording_are_in_every_ledger() {
    let shop = shop::open("observe");
    shop.cluster.create_database("other");
    shop.cluster.restart();
    shop.cluster.kill_postmaster();
    shop.cluster.start();
    for database in ["shop", "other"] {
        let mut admin = shop.cluster.superuser(database);
        let found = events_of(&mut admin, "recording");
        let actions: Vec<&str> = found.iter().map(|event| event.detail["action"].as_str().unwrap()).collect();
        // After a crash there is no stop.
        assert_eq!(actions, ["stop", "start", "start"], "{database}");
        let epoch = |at: usize| found[at].detail["epoch"].as_i64().unwrap();
        assert_eq!(epoch(2), epoch(1) + 1);
    }
}

#[test]
fn the_start_tells_every_setting_of_ours() {
    let shop = shop::open("observe");
    shop.cluster.restart();
    let told = events(&shop, "recording").pop().unwrap();
    let told = told.detail["settings"].as_object().unwrap();
    let query = "select name, current_setting(name) from pg_settings
                 where name like 'pg\\_custodian.%' and name <> 'pg_custodian.token'";
    let rows = shop.admin().query(query, &[]).unwrap();
    assert!(rows.len() > 3);
    for row in &rows {
        let name: String = row.get(0);
        assert!(told.contains_key(&name), "settings::NAMES lacks {name}");
    }
    assert_eq!(told.len(), rows.len(), "{told:?}");
    assert_eq!(told["pg_custodian.audit_roles"], "default");
}

#[test]
fn a_change_of_a_setting_is_recorded_once_with_both_values() {
    let shop = shop::open("observe");
    let change = |what: &str| {
        shop.admin().batch_execute(what).unwrap();
        shop.admin().batch_execute("select pg_reload_conf()").unwrap();
    };
    change("alter system set pg_custodian.nested_statements = off");
    wait_for("the event", || events(&shop, "setting").len() == 1);
    let found = events(&shop, "setting").pop().unwrap();
    assert_eq!(found.object.as_deref(), Some("pg_custodian.nested_statements"));
    assert_eq!((found.detail["old"].as_str(), found.detail["new"].as_str()), (Some("on"), Some("off")));
    // What is not ours, or stays as it was, is no event; nor is it one for a launcher that comes anew.
    change("alter system set work_mem = '5MB'");
    let launcher = "select pid from pg_stat_activity where backend_type = 'pg_custodian launcher'";
    let before: i32 = shop.admin().query_one(launcher, &[]).unwrap().get(0);
    shop.admin().execute("select pg_terminate_backend($1)", &[&before]).unwrap();
    wait_for("another launcher", || {
        shop.admin().query_opt(launcher, &[]).unwrap().is_some_and(|row| row.get::<_, i32>(0) != before)
    });
    change("alter system reset pg_custodian.nested_statements");
    wait_for("the event", || events(&shop, "setting").len() > 1);
    let all = events(&shop, "setting");
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!((all[1].detail["old"].as_str(), all[1].detail["new"].as_str()), (Some("off"), Some("on")));
}

#[test]
fn every_look_at_the_record_is_on_record_whoever_looks() {
    let shop = shop::open("observe");
    let password = application(&shop);
    let mut auditor = shop.cluster.login("application", &password, "shop");
    for (statement, object) in [
        ("select count(*) as looks_at_the_ledger from audit.ledger", "audit.ledger"),
        ("select 1 as looks_at_a_view from audit.denials", "audit.ledger"),
        ("copy (select * from audit.ledger) to stdout /* looks_by_copy */", "audit.ledger"),
        ("declare c cursor with hold for select 2 as looks_by_cursor from audit.access_log", "audit.ledger"),
        ("select count(*) as looks_at_policies from mask.policies", "mask.policies"),
        ("select count(*) as looks_at_grants from access.grants", "access.grants"),
        ("select count(*) as looks_at_people from custodian.enrolled_roles", "custodian.enrolled_roles"),
    ] {
        if statement.starts_with("copy") {
            std::io::Read::read_to_end(&mut auditor.copy_out(statement).unwrap(), &mut Vec::new()).unwrap();
        } else {
            auditor.batch_execute(statement).unwrap();
        }
        let mark = statement.split_whitespace().find(|word| word.starts_with("looks_")).unwrap();
        let found = shop.recorded(mark);
        assert!(!found.is_empty(), "{statement} is not on record");
        assert_eq!(found[0].session_role.as_deref(), Some("application"));
        let objects: Vec<String> =
            found.iter().flat_map(|record| record.objects.clone().unwrap_or_default()).collect();
        assert!(objects.iter().any(|name| name == object), "{statement}: {objects:?}");
    }
    // Who may not look, and tries; and what is no look.
    shop.admin().batch_execute("revoke custodian_auditor from application").unwrap();
    refusal(auditor.simple_query("select count(*) as looks_in_vain from audit.ledger"));
    auditor.simple_query("select count(*) as looks_elsewhere from public.orders").unwrap();
    assert!(shop.recorded("looks_elsewhere").is_empty());
}

#[test]
fn the_ledger_writer_does_not_record_its_own_work() {
    let shop = shop::open("observe");
    let mut admin = shop.admin();
    sync(&mut admin);
    let query =
        "select count(*) from audit.ledger where application like 'pg\\_custodian%' and event = 'statement'";
    assert_eq!(admin.query_one(query, &[]).unwrap().get::<_, i64>(0), 0);
}
