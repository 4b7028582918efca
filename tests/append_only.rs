//! Attacks on the ledger by whoever can do everything that SQL can do, as far as each needs a stage of its own;
//! single statements are in `guards.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::{Cluster, custodian, refusal, wait_for};
use postgres::Client;

struct Ledger {
    cluster: Cluster,
}

impl Ledger {
    fn new() -> Ledger {
        let cluster = custodian().start();
        cluster.create_database("shop");
        let mut admin = cluster.superuser("shop");
        admin
            .batch_execute("create table public.orders (id int); select count(*) from public.orders")
            .unwrap();
        sync(&mut admin);
        assert!(count(&mut admin) > 0, "the ledger is empty: there is nothing to attack");
        Ledger { cluster }
    }
}

fn count(admin: &mut Client) -> i64 {
    admin.query_one("select count(*) from audit.ledger", &[]).unwrap().get(0)
}

/// What became of a statement each time.
fn outcomes(admin: &mut Client, statement: &str) -> Vec<String> {
    let query = "select outcome from audit.statements where statement = $1 order by seq";
    admin.query(query, &[&statement]).unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
fn copy_from_the_client_into_the_ledger_is_refused() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    let before = count(&mut admin);
    let error = refusal(ledger.cluster.superuser("shop").copy_in("copy audit.ledger from stdin"));
    assert_eq!(error.code().code(), "42501", "{error:?}");
    sync(&mut admin);
    assert!(count(&mut admin) >= before && verified(&mut admin));
}

#[test]
fn the_database_that_holds_a_ledger_cannot_be_dropped() {
    let ledger = Ledger::new();
    let mut outside = ledger.cluster.superuser("postgres");
    for statement in ["drop database shop", "drop database shop with (force)"] {
        let error = refusal(outside.simple_query(statement));
        assert_eq!(error.code().code(), "42501", "{statement}: {error:?}");
    }
    let mut admin = ledger.cluster.superuser("shop");
    sync(&mut admin);
    assert!(verified(&mut admin));
}

#[test]
fn maintenance_cannot_be_switched_on_through_sql() {
    let ledger = Ledger::new();
    for statement in [
        "set pg_custodian.maintenance = on",
        "set local pg_custodian.maintenance = on",
        "select set_config('pg_custodian.maintenance', 'on', false)",
        "alter system set pg_custodian.maintenance = on",
        "alter database shop set pg_custodian.maintenance = on",
        "alter role postgres set pg_custodian.maintenance = on",
        "create function public.sly() returns int language sql set pg_custodian.maintenance = on as 'select 1'",
    ] {
        let mut admin = ledger.cluster.superuser("shop");
        let refused = admin.simple_query(statement).is_err();
        admin.simple_query("select pg_reload_conf()").unwrap();
        // A new session, and after the reload: what counts is whether the guards stand.
        let error =
            refusal(ledger.cluster.superuser("shop").simple_query("drop extension pg_custodian cascade"));
        assert_eq!(error.code().code(), "42501", "after {statement}: {error:?}");
        assert!(refused, "not refused: {statement}");
    }
    ledger.cluster.restart();
    let error = refusal(ledger.cluster.superuser("shop").simple_query("truncate audit.ledger"));
    assert_eq!(error.code().code(), "42501", "{error:?}");
}

#[test]
fn the_configuration_file_permits_maintenance() {
    let ledger = Ledger::new();
    ledger.cluster.add_conf("pg_custodian.maintenance = on");
    ledger.cluster.restart();
    let mut admin = ledger.cluster.superuser("shop");
    admin.batch_execute("drop extension pg_custodian cascade").unwrap();
    let left: i64 = admin
        .query_one("select count(*) from pg_namespace where nspname in ('audit', 'custodian', 'mask')", &[])
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
}

#[test]
fn what_maintenance_permits_is_on_record() {
    let ledger = Ledger::new();
    ledger.cluster.add_conf("pg_custodian.maintenance = on");
    ledger.cluster.restart();
    let mut admin = ledger.cluster.superuser("shop");
    let permitted = [
        "alter table audit.chain set (autovacuum_enabled = off)",
        "alter table audit.ledger disable trigger append_only",
        "revoke select on audit.statements from custodian_auditor",
        "update pg_catalog.pg_trigger set tgenabled = 'A' where tgname = 'append_only'",
        "create function audit.mine() returns integer language sql as 'select 1'",
    ];
    for statement in permitted {
        admin.batch_execute(statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    sync(&mut admin);
    for statement in permitted {
        assert_eq!(outcomes(&mut admin, statement), ["ok"], "{statement}");
    }
}

#[test]
fn a_refusal_that_is_caught_is_on_record() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    for statement in
        ["truncate audit.ledger", "create table audit.mine ()", "grant delete on audit.ledger to public"]
    {
        admin
            .batch_execute(&format!("do $$ begin {statement}; exception when others then null; end $$"))
            .unwrap();
        sync(&mut admin);
        assert_eq!(outcomes(&mut admin, statement), ["denied"], "{statement}");
    }
}

#[test]
fn the_owner_of_the_extension_keeps_it() {
    let ledger = Ledger::new();
    let cluster = &ledger.cluster;
    let mut admin = cluster.superuser("postgres");
    admin.batch_execute("create role boss superuser login").unwrap();
    admin.batch_execute("create database other").unwrap();
    // PostgreSQL protects what belongs to the first superuser of all by itself.
    let mut admin = cluster.superuser("other");
    admin.batch_execute("set session authorization boss").unwrap();
    admin.batch_execute("create extension pg_custodian").unwrap();
    admin.batch_execute("select 1").unwrap();
    sync(&mut admin);
    assert!(count(&mut admin) > 0);
    drop(admin);
    for statement in [
        "drop owned by boss",
        "drop owned by boss cascade",
        "reassign owned by boss to postgres",
        "reassign owned by boss to custodian_admin",
        "alter extension pg_custodian drop table audit.ledger",
    ] {
        let error = refusal(cluster.superuser("other").simple_query(statement));
        assert_eq!(error.code().code(), "42501", "{statement}: {error:?}");
    }
    let error = refusal(cluster.superuser("other").simple_query("drop role boss"));
    assert_eq!(error.code().code(), "2BP01", "{error:?}");
    assert!(verified(&mut cluster.superuser("other")));
}

#[test]
fn upkeep_of_the_tables_leaves_the_ledger_as_it_was() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    let table: String = admin
        .query_one(
            "select coalesce((select inhrelid::regclass::text from pg_inherits
                              where inhparent = 'audit.ledger'::regclass order by 1 desc limit 1), 'audit.ledger')",
            &[],
        )
        .unwrap()
        .get(0);
    for statement in [
        "vacuum {table}",
        "vacuum (full, analyze) {table}",
        "vacuum full audit.chain",
        "reindex table {table}",
        "reindex table concurrently {table}",
        "reindex schema audit",
    ] {
        let before = count(&mut admin);
        let statement = statement.replace("{table}", &table);
        admin.batch_execute(&statement).unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        sync(&mut admin);
        assert!(count(&mut admin) > before && verified(&mut admin), "after {statement}");
    }
}

#[test]
fn replication_cannot_write_into_the_ledger() {
    let forger = custodian().conf("wal_level = logical").start();
    forger.superuser("postgres").batch_execute("create database shop").unwrap();
    let mut source = forger.superuser("shop");
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    // The forger's ledger is a table of his, of the same shape and without guards.
    let columns: String = admin
        .query_one(
            "select string_agg(format('%I %s', attname, format_type(atttypid, atttypmod)), ', ' order by attnum)
             from pg_attribute where attrelid = 'audit.ledger'::regclass and attnum > 0",
            &[],
        )
        .unwrap()
        .get(0);
    source
        .batch_execute(&format!(
            "create schema audit; create table audit.ledger ({columns});
             create publication forged for table audit.ledger"
        ))
        .unwrap();
    let connection =
        format!("host={} port={} user=postgres dbname=shop", forger.socket().display(), forger.port());
    let insert = "insert into audit.ledger
                      (seq, at, stored, event, session, pid, session_role, role, application, outcome, hash)
                  values (1000000, now(), now(), 'forged', '0.0', 1, 'x', 'x', 'x', 'ok', '')";
    // Rows as they come, and the rows that are there already.
    for (name, copy) in [("live", "false"), ("initial", "true")] {
        admin
            .batch_execute(&format!(
                "create subscription {name} connection '{connection}' publication forged
                     with (copy_data = {copy})"
            ))
            .unwrap();
        let refusals = || ledger.cluster.log().matches("audit ledger is append-only: INSERT on").count();
        let before = refusals();
        source.batch_execute(insert).unwrap();
        wait_for("the refusal of what is replicated", || refusals() > before);
        admin.batch_execute(&format!("alter subscription {name} disable")).unwrap();
        admin.batch_execute(&format!("alter subscription {name} set (slot_name = none)")).unwrap();
        admin.batch_execute(&format!("drop subscription {name}")).unwrap();
        let forged: i64 =
            admin.query_one("select count(*) from audit.ledger where event = 'forged'", &[]).unwrap().get(0);
        assert_eq!(forged, 0, "{name}");
    }
    sync(&mut admin);
    assert!(verified(&mut admin));
}

#[test]
fn neither_event_triggers_nor_locks_lose_a_row() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    admin
        .batch_execute(
            "create view public.window as select * from audit.ledger;
             create function public.meddle() returns event_trigger language plpgsql as
                 $$ begin raise exception 'not while I am here'; end $$;
             create event trigger meddle on ddl_command_end execute function public.meddle()",
        )
        .unwrap();
    assert!(admin.simple_query("create table public.more ()").is_err());
    sync(&mut admin);
    // Through a view of one's own the table can be locked all the same; the journal keeps what comes.
    let mut locker = ledger.cluster.superuser("shop");
    locker.batch_execute("begin; lock table public.window in access exclusive mode").unwrap();
    admin.batch_execute("select 'meanwhile'").unwrap();
    let error = refusal(admin.simple_query("select audit.sync('1 s')"));
    assert_eq!(error.code().code(), "55000", "{error:?}");
    locker.batch_execute("commit").unwrap();
    sync(&mut admin);
    assert_eq!(outcomes(&mut admin, "select 'meanwhile'"), ["ok"]);
    assert!(verified(&mut admin));
}

#[test]
fn a_row_that_is_killed_below_sql_is_exposed() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    admin.batch_execute("create extension pg_surgery").unwrap();
    admin.batch_execute("select 'evidence'").unwrap();
    sync(&mut admin);
    let row = admin
        .query_one(
            "select seq, tableoid::regclass::text, ctid::text from audit.ledger where query = $1",
            &[&"select 'evidence'"],
        )
        .unwrap();
    let (seq, table, place): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
    admin
        .batch_execute(&format!("select heap_force_kill('{table}'::regclass, array['{place}'::tid])"))
        .unwrap();
    let report = admin.query_one("select ok, first_bad from audit.verify()", &[]).unwrap();
    assert!(!report.get::<_, bool>("ok"));
    assert_eq!(report.get::<_, i64>("first_bad"), seq);
}

#[test]
fn an_edit_below_sql_is_exposed() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    admin.batch_execute("select 'somebody was here' as evidence").unwrap();
    sync(&mut admin);
    assert!(verified(&mut admin));
    let files: Vec<String> = admin
        .query("select pg_relation_filepath(inhrelid) from pg_inherits where inhparent = 'audit.ledger'::regclass", &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    admin.batch_execute("checkpoint").unwrap();
    drop(admin);
    ledger.cluster.stop();
    let edited = files
        .iter()
        .filter(|path| {
            replace_in_file(&ledger.cluster.file(path), b"somebody was here", b"nobody was there!")
        })
        .count();
    assert_eq!(edited, 1, "the record is in none of {files:?}");
    ledger.cluster.start();
    let mut admin = ledger.cluster.superuser("shop");
    let report = admin.query_one("select ok, first_bad, problem from audit.verify()", &[]).unwrap();
    assert!(!report.get::<_, bool>("ok"));
    let bad: i64 = report.get("first_bad");
    let named: String =
        admin.query_one("select statement from audit.statements where seq = $1", &[&bad]).unwrap().get(0);
    assert!(named.contains("nobody was there!"), "verify names row {bad}: {named}");
    assert!(report.get::<_, Option<String>>("problem").is_some_and(|problem| !problem.is_empty()));
}

/// Overwrites the first occurrence; both have the same length, so that the page stays well-formed.
fn replace_in_file(path: &std::path::Path, what: &[u8], by: &[u8]) -> bool {
    assert_eq!(what.len(), by.len());
    let mut bytes = std::fs::read(path).unwrap();
    let Some(at) = bytes.windows(what.len()).position(|window| window == what) else { return false };
    bytes[at..at + by.len()].copy_from_slice(by);
    std::fs::write(path, bytes).unwrap();
    true
}
