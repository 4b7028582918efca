//! What administrators and auditors see of sessions, people, settings and health.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, identify, sync};
use harness::token::{ISSUER, claims_but, now, random_text};
use harness::{Cluster, custodian, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::json;
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// Check by check: whether it is well, what was found, what to do.
fn status(client: &mut Client) -> BTreeMap<String, (bool, String, Option<String>)> {
    let rows = client.query("select \"check\", ok, detail, hint from custodian.status()", &[]).unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect()
}

fn failing(client: &mut Client) -> Vec<String> {
    let status = status(client);
    assert!(status.values().all(|(ok, _, hint)| *ok == hint.is_none()), "{status:#?}");
    status.into_iter().filter(|(_, (ok, ..))| !ok).map(|(check, _)| check).collect()
}

#[track_caller]
fn assert_failing(client: &mut Client, expected: &[&str]) {
    let found = failing(client);
    assert_eq!(found, expected, "{:#?}", status(client));
}

fn sound() -> harness::Wanted {
    custodian().conf("fsync = on")
}

fn ready(client: &mut Client) {
    wait_for("the workers", || {
        !failing(client).iter().any(|check| check == "steward" || check.starts_with("ledger"))
    });
}

/// Somebody who is in this role and nothing else.
fn member(cluster: &Cluster, role: &str) -> Client {
    let password = random_text(12);
    let name = format!("one_{role}");
    cluster
        .superuser("shop")
        .batch_execute(&format!("create role {name} login password '{password}'; grant {role} to {name}"))
        .unwrap();
    cluster.login(&name, &password, "shop")
}

#[test]
fn each_check_fails_when_there_is_reason_to() {
    let shop = shop::open_on(sound(), "identify");
    let mut admin = shop.admin();
    ready(&mut admin);
    assert_failing(&mut admin, &[]);
    let cases: [(&str, &str, &str, &str); 7] = [
        ("superusers", "readonly", "alter role readonly superuser", "alter role readonly nosuperuser"),
        (
            "ways around",
            "readonly (BYPASSRLS)",
            "alter role readonly bypassrls",
            "alter role readonly nobypassrls",
        ),
        (
            "ways around",
            "readonly (member of pg_read_server_files)",
            "grant pg_read_server_files to readonly",
            "revoke pg_read_server_files from readonly",
        ),
        (
            "protected tables",
            "readonly on public.customers.ssn",
            "grant select (id, ssn) on public.customers to readonly",
            "revoke select (id, ssn) on public.customers from readonly",
        ),
        (
            "enrolled roles",
            "",
            "create role temp; select custodian.enroll('temp', 'observe'); create temp table t as
                 select 'temp'::regrole as role; drop role temp",
            "select custodian.unenroll(role) from t",
        ),
        (
            "issuers",
            ISSUER,
            "create temp table kept as select * from custodian.issuer;
             update custodian.issuer set jwks = '{\"keys\": []}'",
            "update custodian.issuer as i set jwks = k.jwks from kept as k",
        ),
        (
            "issuers",
            "no issuer is trusted",
            "delete from custodian.issuer",
            "insert into custodian.issuer select * from kept",
        ),
    ];
    for (check, detail, spoil, mend) in cases {
        admin.batch_execute(spoil).unwrap();
        assert_failing(&mut admin, &[check]);
        let found = status(&mut admin)[check].1.clone();
        assert!(found.contains(detail), "{check}: {found}");
        admin.batch_execute(mend).unwrap();
        assert_failing(&mut admin, &[]);
    }
}

#[test]
fn open_guards_and_a_careless_configuration_show() {
    let shop = shop::open_on(sound().conf("pg_custodian.maintenance = on"), "identify");
    let mut admin = shop.admin();
    ready(&mut admin);
    assert_failing(&mut admin, &["maintenance"]);
    for (disable, enable) in [
        ("alter table audit.ledger disable trigger append_only", "enable always trigger append_only"),
        ("alter table audit.ledger enable trigger no_truncate", "enable always trigger no_truncate"),
        ("alter table audit.chain enable replica trigger append_only", "enable always trigger append_only"),
    ] {
        admin.batch_execute(disable).unwrap();
        assert_failing(&mut admin, &["ledger guards", "maintenance"]);
        let table = if disable.contains("chain") { "chain" } else { "ledger" };
        assert!(status(&mut admin)["ledger guards"].1.contains(table));
        admin.batch_execute(&format!("alter table audit.{table} {enable}")).unwrap();
    }
    admin.batch_execute("drop trigger no_truncate on audit.chain").unwrap();
    assert_failing(&mut admin, &["ledger guards", "maintenance"]);
    drop(admin);
    shop.cluster.add_conf("fsync = off");
    shop.cluster.restart();
    let mut admin = shop.admin();
    ready_but_guards(&mut admin);
    assert_failing(&mut admin, &["fsync", "ledger guards", "maintenance"]);
}

fn ready_but_guards(client: &mut Client) {
    wait_for("the workers", || {
        !failing(client)
            .iter()
            .any(|check| ["steward", "ledger writer", "ledger lag"].contains(&check.as_str()))
    });
}

#[test]
fn workers_that_cannot_start_show() {
    // One for PostgreSQL's own launcher, one for ours, one for the ledger writer, none for the steward.
    let cluster = sound().conf("max_worker_processes = 3").start();
    cluster.create_database("shop");
    let mut admin = cluster.superuser("shop");
    wait_for("the ledger writer", || status(&mut admin)["ledger writer"].0);
    thread::sleep(Duration::from_millis(1500));
    assert_failing(&mut admin, &["steward"]);
    drop(admin);
    cluster.add_conf("max_worker_processes = 2");
    cluster.restart();
    let mut admin = cluster.superuser("shop");
    thread::sleep(Duration::from_millis(1500));
    assert_failing(&mut admin, &["ledger writer", "steward"]);
    // Nobody takes it out of the journal: some segments later, that shows too.
    let large = "x".repeat(1_000_000);
    for _ in 0..50 {
        admin.query("select length($1)", &[&large]).unwrap();
    }
    assert_failing(&mut admin, &["ledger lag", "ledger writer", "steward"]);
}

#[test]
fn a_journal_that_does_not_work_and_a_library_that_is_not_loaded_show() {
    let cluster = sound().start();
    cluster.create_database("shop");
    cluster.stop();
    let journal = cluster.file("pg_custodian");
    std::fs::rename(&journal, cluster.file("kept")).unwrap();
    std::fs::write(&journal, "no directory").unwrap();
    cluster.start();
    let mut admin = cluster.superuser("shop");
    assert!(failing(&mut admin).iter().any(|check| check == "journal"), "{:#?}", status(&mut admin));
    drop(admin);
    cluster.stop();
    std::fs::remove_file(&journal).unwrap();
    std::fs::rename(cluster.file("kept"), &journal).unwrap();
    cluster.add_conf("shared_preload_libraries = ''");
    cluster.start();
    let mut admin = cluster.superuser("shop");
    assert_failing(
        &mut admin,
        &["journal", "journal syncs", "ledger lag", "ledger writer", "library", "steward"],
    );
}

#[test]
fn sessions_show_who_is_there() {
    let shop = shop::open("govern");
    let mut auditor = member(&shop.cluster, "custodian_auditor");
    let mut nobody = shop.readonly();
    let mut alice = shop.readonly();
    let expires = now() + 600;
    let claims = claims_but("alice", &[], json!({"exp": expires, "iat": now() - 5, "jti": "t-1"}));
    identify(&mut alice, &shop.issuer.sign(&claims)).unwrap();
    let rows = auditor
        .query(
            "select pid, session, database::text, login_role::text, role::text, mode, issuer, user_id, email, token_id,
                    extract(epoch from expires_at)::bigint, extract(epoch from expires_at - issued_at)::bigint,
                    identified_at between now() - interval '1 minute' and clock_timestamp(),
                    running_since is null, client_addr, application_name
             from custodian.sessions order by user_id nulls last",
            &[],
        )
        .unwrap();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let shown = |row: usize, column: usize| rows[row].get::<_, Option<String>>(column);
    let shown: Vec<Vec<Option<String>>> =
        (0..2).map(|row| (2..10).map(|column| shown(row, column)).collect()).collect();
    let some = |text: &str| Some(text.to_string());
    let common = [some("shop"), some("readonly"), some("readonly"), some("govern")];
    let hers = [some(ISSUER), some("alice"), some("alice@shop.example"), some("t-1")];
    assert_eq!(shown[0], [common.clone(), hers].concat());
    // A connection that has not said anything yet is there, too.
    assert_eq!(shown[1], [common, [const { None }; 4]].concat());
    assert_eq!(rows[0].get::<_, i64>(10), expires);
    assert!((600..610).contains(&rows[0].get::<_, i64>(11)));
    assert_eq!((rows[0].get(12), rows[0].get(13), rows[0].get(14)), (Some(true), true, some("127.0.0.1")));

    // The names of sessions are those of the ledger.
    let mut admin = shop.admin();
    sync(&mut admin);
    let query = "select session from audit.events where event = 'identity' and user_id = 'alice'";
    assert_eq!(text(&mut admin, query), rows[0].get(1));
    drop(alice);
    drop(nobody.simple_query("select now()"));
    let count = "select count(*)::text from custodian.sessions where user_id is not null";
    wait_for("her leave", || text(&mut auditor, count).as_deref() == Some("0"));
}

#[test]
fn a_running_statement_shows_since_when() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    let mut alice = shop.person("alice", &[]);
    let pid: i32 = alice.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let running = thread::spawn(move || {
        let ended = alice.simple_query("select pg_sleep(60)");
        (alice, ended)
    });
    let since = "select clock_timestamp() - running_since < interval '1 minute' from custodian.sessions
                 where user_id = 'alice' and running_since is not null";
    wait_for("the statement", || admin.query(since, &[]).unwrap().iter().any(|row| row.get(0)));
    // Once it can be cancelled for sure.
    shop::wait_until_under_way(&mut admin, "user_id = 'alice'", 1);
    admin.execute("select pg_cancel_backend($1)", &[&pid]).unwrap();
    let (mut alice, ended) = running.join().unwrap();
    assert_eq!(harness::refusal(ended).code(), &SqlState::QUERY_CANCELED);
    assert!(admin.query(since, &[]).unwrap().is_empty());
    // Errors end statements as well: at once, in planning, in a block that goes on.
    for statement in [
        "select 1/0",
        "select 1/(id - id) from public.orders",
        "begin; savepoint s; select 1/0",
        "rollback to s",
    ] {
        let _ = alice.simple_query(statement);
        assert!(admin.query(since, &[]).unwrap().is_empty(), "{statement}");
    }
    alice.simple_query("rollback; set role readonly").unwrap();
    let mut portal = alice.transaction().unwrap();
    let statement = portal.prepare("select generate_series(1, 100)").unwrap();
    let bound = portal.bind(&statement, &[]).unwrap();
    assert_eq!(portal.query_portal(&bound, 10).unwrap().len(), 10);
    assert!(admin.query(since, &[]).unwrap().is_empty(), "a portal between two fetches does not run");
}

#[test]
fn people_are_remembered() {
    let shop = shop::open("identify");
    let mut auditor = member(&shop.cluster, "custodian_auditor");
    let (mut alice, _) = (shop.person("alice", &[]), shop.person("bob", &[]));
    let _again = shop.person("alice", &[]);
    identify(&mut alice, "nonsense").unwrap_err();
    sync(&mut shop.admin());
    let query = "select issuer, user_id, email, live_sessions, first_seen < last_seen from custodian.people order by user_id";
    let bobs_leave = "select live_sessions::text from custodian.people where user_id = 'bob'";
    wait_for("his leave", || text(&mut auditor, bobs_leave).as_deref() == Some("0"));
    let people: Vec<(String, String, Option<String>, i64)> = auditor
        .query(query, &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3)))
        .collect();
    let person = |user: &str, live: i64| {
        (ISSUER.to_string(), user.to_string(), Some(format!("{user}@shop.example")), live)
    };
    assert_eq!(people, [person("alice", 1), person("bob", 0)]);

    // Many identifications cost nothing: people are found by hops through an index.
    let mut admin = shop.admin();
    admin.batch_execute("set enable_seqscan = off").unwrap();
    let plan: String = admin
        .query("explain select * from custodian.people", &[])
        .unwrap()
        .iter()
        .map(|row| row.get::<_, String>(0) + "\n")
        .collect();
    let index = "_issuer_user_id_at_idx on ledger_";
    assert!(plan.matches(index).count() >= 4 && !plan.contains("Seq Scan on ledger"), "{plan}");
}

#[test]
fn only_administrators_and_auditors_may_look() {
    let shop = shop::open("observe");
    let views = ["sessions", "people", "settings_in_force", "status()"];
    let mut anybody = shop.readonly();
    for view in views {
        let query = format!("select count(*) from custodian.{view}");
        let error = harness::refusal(anybody.query(&query, &[]));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE, "{view}: {error:?}");
    }
    for role in ["custodian_admin", "custodian_auditor"] {
        let mut client = member(&shop.cluster, role);
        for view in views {
            client.query(&format!("select count(*) from custodian.{view}"), &[]).unwrap();
        }
        let error = harness::refusal(client.query("select * from custodian.live_sessions()", &[]));
        assert_eq!(error.code(), &SqlState::INSUFFICIENT_PRIVILEGE);
    }
}

#[test]
fn settings_say_where_they_come_from() {
    let cluster = custodian().conf("pg_custodian.nested_statements = off").start();
    cluster.create_database("shop");
    let mut auditor = member(&cluster, "custodian_auditor");
    let query = "select value, source, meaning from custodian.settings_in_force where name = $1";
    let row = auditor.query_one(query, &[&"pg_custodian.nested_statements"]).unwrap();
    assert_eq!((row.get(0), row.get(1)), ("off", "configuration file"));
    assert!(row.get::<_, &str>(2).contains("functions and other statements"));
    let row = auditor.query_one(query, &[&"pg_custodian.maintenance"]).unwrap();
    assert_eq!((row.get(0), row.get(1)), ("off", "default"));
}
