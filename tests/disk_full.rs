//! No space left: for the journal, at its start and later, and for the ledger. Who is accountable is
//! refused, everybody else goes on, and all resumes by itself when there is space.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::disk::Disk;
use harness::shop::{self, Shop, identify, sync, verified};
use harness::{assert_refused, custodian, text, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use std::collections::HashSet;
use std::fs;
use std::time::Duration;

/// One segment fits, a second one does not.
const TIGHT: u32 = 24;
const AMPLE: u32 = 120;

/// Has her run statements until not even a short one is let run. Returns how many went well.
fn fill(alice: &mut Client) -> usize {
    let mut number = 0;
    for size in [900_000, 90_000, 9_000, 900, 90, 0] {
        let ballast = "x".repeat(size);
        loop {
            let statement = format!("select {number} as n, length('{ballast}') from public.orders limit 1");
            if let Err(error) = alice.simple_query(&statement) {
                assert_full(Err::<(), _>(error));
                break;
            }
            number += 1;
            assert!(number < 500, "the disk never was full");
        }
    }
    number
}

#[track_caller]
fn assert_full<T>(result: Result<T, postgres::Error>) {
    let error = assert_refused(result, &SqlState::DISK_FULL);
    assert!(error.hint().unwrap().contains("Free space"), "{error:?}");
}

/// Of the statements with a number, each is in the ledger once.
fn assert_recorded(admin: &mut Client, numbers: usize) {
    sync(admin);
    let rows = admin
        .query("select (regexp_match(statement, '^select (\\d+) as n,'))[1]::bigint, outcome from audit.statements
                where statement ~ '^select \\d+ as n,' and user_id = 'alice' and outcome = 'ok'", &[])
        .unwrap();
    let found: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let different: HashSet<i64> = found.iter().copied().collect();
    assert_eq!((found.len(), different.len()), (numbers, numbers), "lost or doubled");
    assert!(verified(admin));
}

fn journal_check(admin: &mut Client) -> bool {
    let status = "select ok::text from custodian.status() where \"check\" = 'journal'";
    text(admin, status).as_deref() == Some("true")
}

fn shop_on(disk: &Disk, io: &str) -> Shop {
    let server = custodian().conf(&format!("pg_custodian.journal_io = {io}")).make();
    server.move_journal(disk.path());
    server.start();
    let shop = shop::open_in(server, "identify");
    shop.admin()
        .batch_execute("create role application login; grant select on public.orders to application")
        .unwrap();
    shop
}

/// While there is no room: who is refused and who is not.
fn assert_only_people_are_refused(shop: &Shop, alice: &mut Client) {
    assert_full(alice.simple_query("select count(*) from public.orders"));
    let mut next = shop.readonly();
    assert_full(identify(&mut next, &shop.issuer.person("bob", &[])));
    let mut application = shop.cluster.local("application", "shop");
    application.simple_query("select count(*) from public.orders").unwrap();
    let mut admin = shop.admin();
    admin
        .batch_execute("create table by_the_administrator (n int); drop table by_the_administrator")
        .unwrap();
    assert!(!journal_check(&mut admin));
    assert!(shop.cluster.log().contains("events are not being recorded"));
}

#[test]
fn a_full_disk_of_the_journal_refuses_people_and_nobody_else_and_passes() {
    for io in ["mmap", "pwrite"] {
        let disk = Disk::new(TIGHT);
        let shop = shop_on(&disk, io);
        let mut alice = shop.person("alice", &[]);
        let mut in_transaction = shop.person("alice", &[]);
        in_transaction.batch_execute("begin").unwrap();
        let went_well = fill(&mut alice);
        assert!(went_well > 5, "{io}: {went_well}");
        assert_only_people_are_refused(&shop, &mut alice);
        assert_full(in_transaction.simple_query("select count(*) from public.orders"));
        in_transaction.batch_execute("rollback").unwrap();
        // The ledger goes on with what is there.
        sync(&mut shop.admin());

        disk.resize(AMPLE);
        alice.simple_query(&format!("select {went_well} as n, 1 from public.orders limit 1")).unwrap();
        identify(&mut shop.readonly(), &shop.issuer.person("bob", &[])).unwrap();
        let mut admin = shop.admin();
        assert!(journal_check(&mut admin));
        assert_recorded(&mut admin, went_well + 1);
    }
}

#[test]
fn a_server_that_starts_with_a_full_disk_of_the_journal_lets_the_administrator_in_and_people_later() {
    for io in ["mmap", "pwrite"] {
        let disk = Disk::new(TIGHT);
        let shop = shop_on(&disk, io);
        let mut alice = shop.person("alice", &[]);
        alice.simple_query("select 0 as n, 1 from public.orders limit 1").unwrap();
        drop(alice);
        // A new epoch needs a new segment.
        shop.cluster.restart();
        let mut nobody = shop.readonly();
        assert_full(identify(&mut nobody, &shop.issuer.person("alice", &[])));
        assert!(nobody.simple_query("select count(*) from public.orders").is_err());
        let mut application = shop.cluster.local("application", "shop");
        application.simple_query("select count(*) from public.orders").unwrap();
        let mut admin = shop.admin();
        assert!(!journal_check(&mut admin));

        disk.resize(AMPLE);
        let mut alice = shop.readonly();
        wait_for("the journal", || identify(&mut alice, &shop.issuer.person("alice", &[])).is_ok());
        alice.simple_query("select 1 as n, 1 from public.orders limit 1").unwrap();
        assert_recorded(&mut admin, 2);
        let starts = "select count(*)::text from audit.events where event = 'recording' and detail->>'action' = 'start'";
        assert_eq!(text(&mut admin, starts).as_deref(), Some("1"), "{io}: the second start is on record");
    }
}

#[test]
fn the_disk_of_the_journal_may_go_away_and_come_back() {
    let disk = Disk::new(AMPLE);
    let shop = shop_on(&disk, "mmap");
    let mut alice = shop.person("alice", &[]);
    alice.simple_query("select 0 as n, 1 from public.orders limit 1").unwrap();
    drop(alice);
    sync(&mut shop.admin());
    shop.cluster.stop();
    let link = shop.cluster.file("pg_custodian");
    fs::remove_file(&link).unwrap();
    shop.cluster.move_journal(&disk.path().join("not mounted"));
    shop.cluster.start();
    let mut nobody = shop.readonly();
    let error = assert_refused(
        identify(&mut nobody, &shop.issuer.person("alice", &[])),
        &SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    );
    assert!(error.message().contains("journal was not started"), "{error:?}");
    shop.admin().simple_query("select 1").unwrap();
    fs::remove_file(&link).unwrap();
    shop.cluster.move_journal(disk.path());
    wait_for("the journal", || identify(&mut nobody, &shop.issuer.person("alice", &[])).is_ok());
    nobody.simple_query("select 1 as n, 1 from public.orders limit 1").unwrap();
    assert_recorded(&mut shop.admin(), 2);
    let gaps = "select count(*)::text from audit.events where event = 'gap'";
    assert_eq!(text(&mut shop.admin(), gaps).as_deref(), Some("0"), "nothing was lost");
}

#[test]
fn a_full_disk_of_the_ledger_delays_it_and_loses_nothing() {
    const STATEMENTS: usize = 3000;
    let disk = Disk::new(48);
    let cluster = custodian().start();
    let mut first = cluster.superuser("postgres");
    first.batch_execute(&format!("create tablespace small location '{}'", disk.path().display())).unwrap();
    first.batch_execute("create database small tablespace small").unwrap();
    let mut admin = cluster.superuser("small");
    admin.batch_execute("create extension pg_custodian").unwrap();
    sync(&mut admin);
    let ballast = disk.path().join("ballast");
    let mut size = 48 << 20;
    // All that is left, to the page.
    while size >= 4096 {
        let more = fs::metadata(&ballast).map_or(0, |file| file.len()) + size;
        if !harness::command::plain(std::path::Path::new("fallocate"))
            .args(["-l", &more.to_string()])
            .arg(&ballast)
            .run()
            .success
        {
            size /= 2;
        }
    }
    // Texts that do not compress well: the ledger needs pages for them.
    for number in 0..STATEMENTS {
        let noise: String =
            (0..40).map(|n| format!("{:x}", number.wrapping_mul(7919 + n * 104_729))).collect();
        admin.simple_query(&format!("select 'number {number}', '{noise}'")).unwrap();
    }
    wait_for("the ledger to fail", || cluster.log().contains("No space left on device"));
    std::thread::sleep(Duration::from_secs(2));
    let status = "select ok::text from custodian.status() where \"check\" = 'ledger writer'";
    let mut seen_down = false;
    wait_for("status to say so", || {
        seen_down |= text(&mut admin, status).as_deref() == Some("false");
        seen_down
    });
    fs::remove_file(&ballast).unwrap();
    sync(&mut admin);
    let found: i64 = admin
        .query_one("select count(distinct statement) from audit.statements where statement ~ '^select ''number \\d+'", &[])
        .unwrap()
        .get(0);
    let rows: i64 = admin
        .query_one("select count(*) from audit.statements where statement ~ '^select ''number \\d+'", &[])
        .unwrap()
        .get(0);
    assert_eq!((found, rows), (STATEMENTS as i64, STATEMENTS as i64), "lost or doubled");
    assert!(verified(&mut admin));
}
