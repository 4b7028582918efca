//! `pg_custodian.durability`: what the record of a statement has survived when the statement runs.
//!
//! Whoever holds the lock of syncs keeps all others from syncing: so the test sees who waits for the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, Shop, identify};
use harness::{assert_refused, custodian, refusal, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use std::fs::{self, File};
use std::thread;
use std::time::Duration;

const QUICK: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Syncs {
    asked: u64,
    done: u64,
    failed: u64,
}

fn syncs(admin: &mut Client) -> Syncs {
    let detail =
        text(admin, "select detail from custodian.status() where \"check\" = 'journal syncs'").unwrap();
    let numbers: Vec<u64> = detail.split(' ').filter_map(|word| word.parse().ok()).collect();
    Syncs { asked: numbers[0], done: numbers[1], failed: numbers[2] }
}

/// A shop whose shared role wants its records on disk, and whose administrator does not.
fn open() -> Shop {
    let shop = shop::open("identify");
    shop.admin().batch_execute("alter role readonly set pg_custodian.durability = 'power_loss'").unwrap();
    shop
}

/// Keeps everybody from syncing while it is held.
fn hold_syncs(shop: &Shop) -> File {
    let path = shop.cluster.file("pg_custodian/lock.sync");
    if !path.exists() {
        // Whoever comes first makes it, as the server's user.
        shop.person("somebody", &[]).simple_query("select 1 from public.orders").unwrap();
    }
    let file = File::options().write(true).open(path).unwrap();
    file.lock().unwrap();
    file
}

#[test]
fn a_row_comes_when_the_record_of_its_statement_is_on_disk() {
    let shop = open();
    let mut admin = shop.admin();
    let mut alice = shop.person("alice", &[]);
    let lock = hold_syncs(&shop);
    let before = syncs(&mut admin);
    thread::scope(|scope| {
        let select =
            scope.spawn(|| alice.query("select 'first row' from public.orders limit 1", &[]).unwrap().len());
        wait_for("the statement to ask", || syncs(&mut admin).asked > before.asked);
        thread::sleep(QUICK);
        assert!(!select.is_finished(), "a row came before the sync");
        let begun = "select count(*)::text from custodian.sessions where user_id = 'alice'";
        assert_eq!(text(&mut admin, begun).as_deref(), Some("1"));
        assert_eq!(syncs(&mut admin).done, before.done);
        lock.unlock().unwrap();
        assert_eq!(select.join().unwrap(), 1);
    });
    let after = syncs(&mut admin);
    assert_eq!((after.asked, after.done, after.failed), (before.asked + 1, before.done + 1, 0));
    // One statement, one sync, when nobody else is there; ends and transaction control wait for none.
    for statement in ["select count(*) from public.orders", "show work_mem", "select 1"] {
        let before = syncs(&mut admin);
        alice.simple_query(statement).unwrap();
        assert_eq!(syncs(&mut admin).done, before.done + 1, "{statement}");
    }
    let before = syncs(&mut admin);
    alice.batch_execute("begin; rollback; begin; commit").unwrap();
    assert_eq!(syncs(&mut admin), before);
}

#[test]
fn who_is_refused_and_who_identifies_hears_of_it_when_that_is_on_disk() {
    let shop = open();
    let mut admin = shop.admin();
    let token = shop.issuer.person("bob", &[]);
    shop.person("somebody", &[]).simple_query("select 1 from public.orders").unwrap();
    let (mut unknown, mut bob, mut carol) = (shop.readonly(), shop.readonly(), shop.person("carol", &[]));
    let acts: [(&str, Box<dyn FnOnce() + Send>); 3] = [
        ("an identification", Box::new(move || assert_eq!(identify(&mut bob, &token).unwrap(), 1))),
        (
            "a refusal for want of a person",
            Box::new(move || {
                let refused = unknown.simple_query("select * from public.orders");
                assert_refused(refused, &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            }),
        ),
        (
            "a failure of PostgreSQL's",
            Box::new(move || drop(refusal(carol.simple_query("select * from nowhere")))),
        ),
    ];
    for (what, act) in acts {
        let lock = hold_syncs(&shop);
        let before = syncs(&mut admin);
        let waiting = thread::spawn(act);
        wait_for(what, || syncs(&mut admin).asked > before.asked);
        thread::sleep(QUICK);
        assert!(!waiting.is_finished(), "{what} was answered before it was on disk");
        lock.unlock().unwrap();
        waiting.join().unwrap();
    }
}

#[test]
fn sessions_that_wait_at_the_same_time_share_a_sync() {
    const SESSIONS: u64 = 12;
    let shop = open();
    let mut admin = shop.admin();
    let clients: Vec<Client> = (0..SESSIONS).map(|n| shop.person(&format!("person {n}"), &[])).collect();
    let lock = hold_syncs(&shop);
    let before = syncs(&mut admin);
    thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || client.simple_query("select count(*) from public.orders").unwrap());
        }
        wait_for("all to ask", || syncs(&mut admin).asked == before.asked + SESSIONS);
        lock.unlock().unwrap();
    });
    let after = syncs(&mut admin);
    assert_eq!(after.done, before.done + 1, "one sync that began after all of them had written");
}

#[test]
fn it_is_set_for_roles_and_databases_and_not_by_those_whom_it_governs() {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    let grew = |admin: &mut Client, client: &mut Client| {
        let before = syncs(admin);
        client.simple_query("select count(*) from public.orders").unwrap();
        syncs(admin).done - before.done
    };
    let mut alice = shop.person("alice", &[]);
    assert_eq!(grew(&mut admin, &mut alice), 0, "server_crash is the default");
    for (set, reset) in [
        ("alter role readonly set", "alter role readonly reset"),
        ("alter database shop set", "alter database shop reset"),
        ("alter role readonly in database shop set", "alter role readonly in database shop reset"),
    ] {
        admin.batch_execute(&format!("{set} pg_custodian.durability = 'power_loss'")).unwrap();
        assert_eq!(grew(&mut admin, &mut shop.person("alice", &[])), 1, "{set}");
        admin.batch_execute(&format!("{reset} pg_custodian.durability")).unwrap();
        assert_eq!(grew(&mut admin, &mut shop.person("alice", &[])), 0, "{reset}");
    }
    admin.batch_execute("alter role readonly set pg_custodian.durability = 'power_loss'").unwrap();
    let mut alice = shop.person("alice", &[]);
    for attempt in [
        "set pg_custodian.durability = 'server_crash'",
        "set local pg_custodian.durability to default",
        "alter role readonly set pg_custodian.durability = 'server_crash'",
        "alter role readonly reset pg_custodian.durability",
        "alter role readonly reset all",
        "select set_config('pg_custodian.durability', 'server_crash', false)",
        "create function pg_temp.f() returns int language sql set pg_custodian.durability = 'server_crash' as 'select 1'",
    ] {
        let _ = alice.simple_query(attempt);
        assert_eq!(
            text(&mut alice, "show pg_custodian.durability").as_deref(),
            Some("power_loss"),
            "{attempt}"
        );
        assert_eq!(grew(&mut admin, &mut shop.person("alice", &[])), 1, "{attempt}");
    }
    let own_option = shop.try_readonly("-c pg_custodian.durability=server_crash");
    assert!(own_option.is_err(), "it was taken from the start-up packet");
    alice.batch_execute("reset all").unwrap();
    identify(&mut alice, &shop.issuer.person("alice", &[])).unwrap();
    assert_eq!(grew(&mut admin, &mut alice), 1);
    // A superuser sets it for himself as he likes.
    admin.batch_execute("set pg_custodian.durability = 'power_loss'").unwrap();
    admin.batch_execute("set pg_custodian.durability = 'server_crash'").unwrap();
}

#[test]
fn a_sync_that_fails_refuses_people_and_is_told() {
    for io in ["mmap", "pwrite"] {
        let shop = shop::open_on(custodian().conf(&format!("pg_custodian.journal_io = {io}")), "identify");
        let mut admin = shop.admin();
        admin.batch_execute("alter role readonly set pg_custodian.durability = 'power_loss'").unwrap();
        let mut alice = shop.person("alice", &[]);
        alice.simple_query("select 'goes well' from public.orders").unwrap();
        admin.batch_execute("set pg_custodian.durability = 'power_loss'; select audit.sync()").unwrap();
        // A file that is not where it should be cannot be synced, as little as one on a dead disk.
        for entry in fs::read_dir(shop.cluster.file("pg_custodian")).unwrap().map(Result::unwrap) {
            if entry.path().extension().is_some_and(|extension| extension == "seg") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        let error =
            assert_refused(alice.simple_query("select 'refused' from public.orders"), &SqlState::IO_ERROR);
        assert!(error.message().contains("to disk"), "{error:?}");
        assert_eq!(syncs(&mut admin).failed, 1);
        // He is warned of in the log, and goes on.
        admin.simple_query("select 'goes on'").unwrap();
        // By itself: in the next segment.
        alice.simple_query("select 'again' from public.orders").unwrap();
        let refused = shop.the_record("'refused'");
        assert_eq!((refused.outcome(), refused.sqlstate.as_deref()), ("error", Some("58030")), "{io}");
        assert_eq!(shop.the_record("'again'").outcome(), "ok", "{io}");
        assert_eq!(shop.the_record("'goes on'").outcome(), "ok", "{io}");
        let gaps = "select count(*)::text from audit.events where event = 'gap'";
        assert_ne!(text(&mut admin, gaps).as_deref(), Some("0"), "{io}: what was removed is not missed");
        let status = "select ok::text from custodian.status() where \"check\" = 'journal syncs'";
        assert_eq!(text(&mut admin, status).as_deref(), Some("false"));
    }
}
