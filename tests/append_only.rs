//! Attacks on the ledger by whoever can do everything that SQL can do. Each is refused, leaves the ledger
//! as it was, and is itself in the ledger.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::{Cluster, custodian, refusal};
use postgres::Client;

/// One way to rewrite history. `{partition}` stands for a partition of the ledger.
const ATTACKS: &[&str] = &[
    // The rows.
    "update audit.ledger set seq = seq",
    "update audit.ledger set seq = seq where false",
    "delete from audit.ledger",
    "delete from audit.ledger where false",
    "truncate audit.ledger",
    "truncate audit.ledger cascade",
    "insert into audit.ledger select * from audit.ledger limit 1",
    "insert into audit.ledger default values",
    "update {partition} set seq = seq",
    "delete from {partition}",
    "delete from only {partition}",
    "truncate {partition}",
    "insert into {partition} select * from audit.ledger limit 1",
    "with gone as (delete from audit.ledger returning 1) select * from gone",
    "explain analyze delete from audit.ledger",
    "do $$ begin delete from audit.ledger; end $$",
    "copy audit.ledger from program 'true'",
    "copy {partition} from program 'true'",
    // The guards.
    "alter table audit.ledger disable trigger all",
    "alter table audit.ledger disable trigger user",
    "alter table {partition} disable trigger all",
    "alter table audit.ledger enable replica trigger {trigger}",
    "drop trigger {trigger} on audit.ledger",
    "alter trigger {trigger} on audit.ledger rename to harmless",
    "create or replace function {guard} returns trigger language plpgsql as 'begin return null; end'",
    "drop function {guard} cascade",
    "alter function {guard} rename to harmless",
    "create trigger mine before insert on audit.ledger for each row execute function {guard}",
    "create rule mine as on insert to audit.ledger do instead nothing",
    // The table.
    "drop table audit.ledger",
    "drop table audit.ledger cascade",
    "drop table {partition}",
    "drop index audit.ledger_seq",
    "alter index audit.ledger_seq rename to harmless",
    "create index on audit.ledger (user_id)",
    "alter table audit.ledger rename to history",
    "alter table audit.ledger rename column seq to number",
    "alter table audit.ledger drop column seq cascade",
    "alter table audit.ledger add column note text",
    "alter table audit.ledger alter column seq type numeric",
    "alter table audit.ledger owner to pg_monitor",
    "alter table audit.ledger set schema public",
    "alter table audit.ledger set (fillfactor = 50)",
    "alter table {partition} set unlogged",
    "alter table audit.ledger detach partition {partition}",
    "alter table audit.ledger attach partition public.forged for values from ('1990-01-01') to ('1990-02-01')",
    "create table audit.forged partition of audit.ledger for values from ('1990-01-01') to ('1990-02-01')",
    "alter table audit.ledger enable row level security",
    // What holds the table.
    "drop schema audit cascade",
    "alter schema audit rename to history",
    "drop extension pg_custodian",
    "drop extension pg_custodian cascade",
    "alter extension pg_custodian drop table audit.ledger",
    "drop owned by postgres cascade",
    // The catalogs.
    "update pg_catalog.pg_trigger set tgenabled = 'D'",
    "delete from pg_catalog.pg_trigger",
    "update pg_catalog.pg_class set relhastriggers = false where relname = 'ledger'",
    "update pg_catalog.pg_class set relname = 'history' where relname = 'ledger'",
    "delete from pg_catalog.pg_depend where deptype = 'e'",
    "delete from pg_catalog.pg_extension",
    "update pg_catalog.pg_proc set prosrc = 'begin return null; end' where pronamespace = 'audit'::regnamespace",
    "delete from pg_catalog.pg_inherits",
];

/// PostgreSQL's own refusals, before ours: what an extension or the system needs (2BP01), or what a table
/// that is not partitioned cannot do (42P17).
const POSTGRESQLS_OWN: &[&str] = &["2BP01", "42P17"];

struct Ledger {
    cluster: Cluster,
    partition: String,
    trigger: String,
    guard: String,
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
        let one = |query: &str, admin: &mut Client| -> String { admin.query_one(query, &[]).unwrap().get(0) };
        let partition = one(
            "select coalesce((select inhrelid::regclass::text from pg_inherits
                              where inhparent = 'audit.ledger'::regclass order by 1 desc limit 1), 'audit.ledger')",
            &mut admin,
        );
        let trigger = one(
            "select tgname::text from pg_trigger where tgrelid = 'audit.ledger'::regclass and not tgisinternal
             order by tgname limit 1",
            &mut admin,
        );
        let guard = one(
            "select tgfoid::regprocedure::text from pg_trigger
             where tgrelid = 'audit.ledger'::regclass and not tgisinternal order by tgname limit 1",
            &mut admin,
        );
        Ledger { cluster, partition, trigger, guard }
    }

    fn statement(&self, attack: &str) -> String {
        attack
            .replace("{partition}", &self.partition)
            .replace("{trigger}", &self.trigger)
            .replace("{guard}", &self.guard)
    }
}

fn count(admin: &mut Client) -> i64 {
    admin.query_one("select count(*) from audit.ledger", &[]).unwrap().get(0)
}

/// Runs all attacks after `preparation` and tells which of them were not refused, changed the ledger, or
/// are not on record as denied.
fn attacks_that_succeed(ledger: &Ledger, preparation: &str) -> Vec<String> {
    let mut bad = Vec::new();
    for (number, attack) in ATTACKS.iter().enumerate() {
        let statement = ledger.statement(attack);
        // A session and a transaction each: one attack must not hide behind the leftovers of another.
        let mut attacker = ledger.cluster.superuser("shop");
        attacker.batch_execute(preparation).unwrap();
        attacker.batch_execute("begin").unwrap();
        let marked = format!("{statement} /* attack {number}. */");
        match attacker.simple_query(&marked) {
            Ok(_) => bad.push(format!("went through: {statement}")),
            Err(error) => match error.as_db_error() {
                None => bad.push(format!("broke the connection: {statement}: {error:?}")),
                Some(error) if POSTGRESQLS_OWN.contains(&error.code().code()) => (),
                Some(error) if error.code().code() != "42501" => {
                    bad.push(format!("{}: {}: {statement}", error.code().code(), error.message()));
                }
                Some(error) if error.hint().is_none() => bad.push(format!("no hint: {statement}")),
                Some(_) => (),
            },
        }
        let _ = attacker.simple_query("rollback");
    }
    let mut admin = ledger.cluster.superuser("shop");
    sync(&mut admin);
    for (number, attack) in ATTACKS.iter().enumerate() {
        let mark = format!("%/* attack {number}. */%");
        let recorded: bool = admin
            .query_one(
                "select exists (select from audit.statements where statement like $1
                     and (outcome = 'denied' or outcome = 'error' and sqlstate = any($2)))",
                &[&mark, &POSTGRESQLS_OWN],
            )
            .unwrap()
            .get(0);
        if !recorded {
            bad.push(format!("not on record as refused: {attack}"));
        }
    }
    bad
}

fn assert_none_succeeds(preparation: &str) {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    admin
        .batch_execute(
            "create table public.forged (like audit.ledger including defaults including constraints)",
        )
        .unwrap();
    sync(&mut admin);
    let before = count(&mut admin);
    let bad = attacks_that_succeed(&ledger, preparation);
    assert!(bad.is_empty(), "{} attacks:\n{}", bad.len(), bad.join("\n"));
    assert!(count(&mut admin) > before, "the ledger does not grow");
    assert!(verified(&mut admin), "the chain broke");
}

#[test]
fn the_superuser_cannot_rewrite_history() {
    assert_none_succeeds("select 1");
}

#[test]
fn session_replication_role_does_not_switch_the_guards_off() {
    assert_none_succeeds("set session_replication_role = replica; set row_security = off");
}

#[test]
fn allow_system_table_mods_does_not_open_the_catalogs() {
    assert_none_succeeds("set allow_system_table_mods = on");
}

#[test]
fn merge_into_the_ledger_is_refused() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    let version: i32 =
        admin.query_one("select current_setting('server_version_num')::int", &[]).unwrap().get(0);
    if version < 150_000 {
        // PostgreSQL 14 has no MERGE: the word is an error there.
        assert_eq!(
            refusal(admin.simple_query("merge into audit.ledger using x on true")).code().code(),
            "42601"
        );
        return;
    }
    for action in ["matched then delete", "not matched then insert default values"] {
        let merge = format!(
            "merge into audit.ledger l using (select 1 as n) s on l.seq = s.n when {action} /* merge */"
        );
        let error = refusal(admin.simple_query(&merge));
        assert_eq!(error.code().code(), "42501", "{error:?}");
    }
    sync(&mut admin);
    let denied: i64 = admin
        .query_one(
            "select count(*) from audit.statements where statement like 'merge into%' and outcome = 'denied'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(denied, 2);
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
fn an_edit_below_sql_is_exposed() {
    let ledger = Ledger::new();
    let mut admin = ledger.cluster.superuser("shop");
    admin.batch_execute("select 'somebody was here' as evidence").unwrap();
    sync(&mut admin);
    assert!(verified(&mut admin));
    let files: Vec<String> = admin
        .query("select pg_relation_filepath('audit.ledger')", &[])
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
