//! A dump restored into another server: what was configured is in force there, and the ledger there is its own.
//! What the old one said can be taken along as a table like any other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::make_directory;
use harness::shop::{self, Shop, identify, sync, verified};
use harness::{Cluster, assert_refused, custodian, wait_for};
use postgres::Client;
use postgres::error::SqlState;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A shop with something in each table of the configuration.
fn configured() -> Shop {
    let shop = shop::open("identify");
    let mut admin = shop.admin();
    admin
        .batch_execute(
            "select access.grant_access('alice', array['select'], 'TABLE public.orders', '1 hour', 'a ticket');
             select access.grant_access('bob', array['select'], 'SCHEMA masked', '1 hour', 'another one');
             select custodian.revoke_person('mallory', 'left the company');
             alter table public.orders add column junk int, add column note text;
             alter table public.orders drop column junk;
             select mask.protect_matching('public', '%note%', 'null_value', array['support']);
             select mask.protect('public.customers', 'ssn', 'partial(0, ''*'', 4)', for_groups => array['partner']);
             select mask.generate_view('public.orders');
             select mask.generate_aggregate_view('public.orders', '{customer_id}', '{count,avg(amount)}');
             select custodian.define_query('customer_by_id', 'wanted bigint',
                 'SELECT id, iban FROM public.customers WHERE id = wanted', 'One customer');
             grant execute on function queries.customer_by_id to readonly",
        )
        .unwrap();
    shop
}

fn run(cluster: &Cluster, program: &str, arguments: &[&str]) -> String {
    cluster.program(&cluster.path_of(program)).args(arguments).succeed().stdout
}

/// Has psql run a script; any error ends it.
fn psql(cluster: &Cluster, database: &str, script: &Path) {
    run(
        cluster,
        "psql",
        &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, "-f", &script.display().to_string()],
    );
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A server that has seen other things, so that nothing has the number there that it had at home.
fn another() -> Cluster {
    let cluster = custodian().start();
    cluster
        .superuser("postgres")
        .batch_execute("create role somebody; create role else_; create table t (); create table u ()")
        .unwrap();
    cluster
}

/// Dumps the shop and restores it elsewhere.
fn moved(shop: &Shop, custom: bool) -> Cluster {
    let directory = make_directory("pg_custodian-dump");
    let roles = run(&shop.cluster, "pg_dumpall", &["--roles-only"]);
    let there = another();
    // The superuser is there already.
    let roles: String = roles
        .lines()
        .filter(|line| !line.contains("ROLE postgres"))
        .fold(String::new(), |all, line| all + line + "\n");
    psql(&there, "postgres", &write(&directory, "roles.sql", &roles));
    there.superuser("postgres").batch_execute("create database shop").unwrap();
    let file = directory.join("shop.dump").display().to_string();
    if custom {
        // pg_dump writes as whoever runs the test.
        run(&shop.cluster, "pg_dump", &["-Fc", "-d", "shop", "-f", &file]);
        run(&there, "pg_restore", &["--exit-on-error", "-d", "shop", &file]);
    } else {
        run(&shop.cluster, "pg_dump", &["-d", "shop", "-f", &file]);
        psql(&there, "shop", Path::new(&file));
    }
    std::fs::remove_dir_all(directory).unwrap();
    there
}

/// The configuration as people see it, without numbers of this server.
fn configuration(admin: &mut Client) -> Vec<String> {
    [
        "select row(issuer, audience, algorithms)::text from custodian.issuers order by 1",
        "select row(role, mode)::text from custodian.enrolled_roles order by 1",
        "select row(user_id, reason, revoked_at)::text from custodian.revocations order by 1",
        "select row(id, user_id, privileges, object, ends_at)::text from access.grants order by id",
        "select p::text from (select id, relation, column_name, masking, reveal_to, for_groups, place, schema_name, pattern from mask.policies) p order by 1",
        "select row(v.relation, v.view, v.dimensions, v.measures)::text from mask.aggregate_view v order by 1",
        "select row(name, parameters, result, query, description, definer, defined_at)::text from custodian.queries",
        "select row(x.column_name, x.sees, x.policy)::text from mask.explain('public.orders', 'eve') x order by 1",
    ]
    .iter()
    .flat_map(|query| {
        admin.query(*query, &[]).unwrap_or_else(|error| panic!("{query}: {error:?}")).into_iter().map(|row| row.get(0)).collect::<Vec<String>>()
    })
    .collect()
}

fn assert_moved(custom: bool) {
    let shop = configured();
    let mut home = shop.admin();
    sync(&mut home);
    let checkpoint: Value = home.query_one("select audit.checkpoint()", &[]).unwrap().get(0);
    let before = configuration(&mut home);
    assert!(before.len() >= 8, "{before:#?}");
    let there = moved(&shop, custom);
    let mut admin = there.superuser("shop");
    assert_eq!(configuration(&mut admin), before);

    // It works, and not only looks so.
    let login = || shop.readonly_on(&there);
    assert_refused(
        login().simple_query("select 1 from public.orders"),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    assert_refused(
        identify(&mut login(), &shop.issuer.person("mallory", &[])),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    for (who, groups, shown) in [("alice", &[][..], false), ("bob", &["support"][..], true)] {
        let mut person = login();
        identify(&mut person, &shop.issuer.person(who, groups)).unwrap();
        let iban: String =
            person.query_one("select iban from masked.customers where id = 1", &[]).unwrap().get(0);
        assert_eq!(iban == "DE89370400440532013000", shown, "{who} sees {iban}");
    }
    // A query is one there, too, for who may run nothing else.
    admin.batch_execute("select custodian.enroll('readonly', 'identify', ad_hoc => false)").unwrap();
    let mut bound = login();
    identify(&mut bound, &shop.issuer.person("alice", &[])).unwrap();
    let row = bound.query_one("select iban from queries.customer_by_id(1)", &[]).unwrap();
    assert_eq!(row.get::<_, &str>(0), "DE89**************3000");
    assert_refused(bound.simple_query("select 1 from public.orders"), &SqlState::INSUFFICIENT_PRIVILEGE);
    let next: i64 = admin
        .query_one("select access.grant_access('eve', array['select'], 'DATABASE', '1 hour', 'new')", &[])
        .unwrap()
        .get(0);
    assert_eq!(next, 3, "numbers go on where they were");
    let guards = "select ok from custodian.status() where \"check\" = 'ledger guards'";
    assert!(admin.query_one(guards, &[]).unwrap().get::<_, bool>(0));

    // A ledger of its own, which says so, and does not pass for the old one.
    sync(&mut admin);
    let first = admin
        .query_one("select event, object, detail::jsonb ->> 'action' from audit.ledger where seq = 1", &[])
        .unwrap();
    assert_eq!(
        (first.get::<_, &str>(0), first.get::<_, &str>(1), first.get::<_, &str>(2)),
        ("chain", "shop", "begin")
    );
    assert!(verified(&mut admin));
    let query = "select count(*) from audit.statements where statement like '%mask.protect%' and application <> 'pg_restore'";
    assert_eq!(admin.query_one(query, &[]).unwrap().get::<_, i64>(0), 0, "the old ledger came along");
    let report = admin.query_one("select ok from audit.verify(against => $1)", &[&checkpoint]).unwrap();
    assert!(!report.get::<_, bool>(0), "the new chain passes for the old one");
}

#[test]
fn a_plain_dump_restores_the_configuration_and_begins_a_new_chain() {
    assert_moved(false);
}

#[test]
fn a_custom_dump_restores_the_configuration_and_begins_a_new_chain() {
    assert_moved(true);
}

#[test]
fn grants_are_on_the_same_objects_in_a_restored_dump_whatever_those_are_called() {
    let shop = shop::open("govern");
    let mut home = shop.admin();
    home.batch_execute(
        "create schema first; create schema second;
         create table first.t (gone int, a int, b int, c int); alter table first.t drop column gone;
         insert into first.t values (1, 1, 1), (2, 2, 2);
         grant usage on schema first, second to readonly; grant select on first.t to readonly;
         select access.grant_access('alice', '{select}', 'SCHEMA first', '1 hour', 'schema');
         select access.grant_access('alice', '{insert}', 'SCHEMA second', '1 hour', 'dropped schema');
         select access.grant_access('bob', '{select}', 'COLUMN first.t.b', '1 hour', 'column');
         select access.grant_access('bob', '{insert}', 'COLUMN first.t.c', '1 hour', 'dropped column');
         select access.grant_access('carol', '{select}', 'TABLE first.t', '1 hour', 'rows', rows => 'a = 1');
         alter table first.t rename column a to was_a; alter table first.t rename column b to a;
         alter table first.t rename column was_a to b;
         alter table first.t drop column c; alter table first.t add column c int;
         drop schema second; alter schema first rename to second; create schema first",
    )
    .unwrap();
    let shown = "select row(reason, object, live)::text from access.grants order by id";
    let before: Vec<String> = home.query(shown, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(before.iter().filter(|row| row.ends_with(",t)")).count(), 3, "{before:#?}");
    // The steward writes down what is called what.
    let followed = "select count(*) from access.issued_grant where schema_name in ('second', '')
                        or column_name in ('a', '') or row_column_names = '{b}'";
    wait_for("the names", || home.query_one(followed, &[]).unwrap().get::<_, i64>(0) == 5);
    let there = moved(&shop, false);
    let mut admin = there.superuser("shop");
    let after: Vec<String> = admin.query(shown, &[]).unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(after, before);
    let allowed = |who: &str, statement: &str| {
        let mut person = shop.readonly_on(&there);
        identify(&mut person, &shop.issuer.person(who, &[])).unwrap();
        person.query_one(statement, &[]).ok().map(|row| row.get::<_, i64>(0))
    };
    for (who, statement, expected) in [
        ("alice", "select count(*) from second.t", Some(2)),
        ("bob", "select count(a) from second.t", Some(2)),
        ("bob", "select count(b) from second.t", None),
        ("carol", "select count(*) from second.t", Some(1)),
        ("carol", "select sum(b) from second.t", Some(1)),
    ] {
        assert_eq!(allowed(who, statement), expected, "{who}: {statement}");
    }
}

/// Rows and content of a copy of the ledger.
fn digest_of(client: &mut Client, table: &str) -> (i64, String) {
    let query = format!("select count(*), md5(string_agg(l::text, '|' order by seq)) from {table} l");
    let row = client.query_one(&query, &[]).unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn the_old_ledger_is_archived_without_opening_a_guard() {
    let shop = configured();
    let mut home = shop.admin();
    sync(&mut home);
    home.batch_execute("create schema archive").unwrap();
    home.batch_execute("create table archive.ledger as select * from audit.ledger").unwrap();
    let (rows, digest) = digest_of(&mut home, "archive.ledger");
    let directory = make_directory("pg_custodian-dump");
    let file = directory.join("archive.sql").display().to_string();
    run(&shop.cluster, "pg_dump", &["-d", "shop", "-n", "archive", "-f", &file]);
    let there = another();
    there.create_database("kept");
    psql(&there, "kept", Path::new(&file));
    let mut admin = there.superuser("kept");
    assert_eq!(digest_of(&mut admin, "archive.ledger"), (rows, digest));

    // The same by export, which needs nothing but to read.
    let export = directory.join("ledger.copy").display().to_string();
    let out = format!("\\copy (select * from audit.ledger where seq <= {rows} order by seq) to '{export}'");
    run(&shop.cluster, "psql", &["-X", "-q", "-d", "shop", "-c", &out]);
    admin.batch_execute("create table archive.again (like audit.ledger)").unwrap();
    let back = format!("\\copy archive.again from '{export}'");
    run(&there, "psql", &["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", "kept", "-c", &back]);
    assert_eq!(digest_of(&mut admin, "archive.again"), digest_of(&mut admin, "archive.ledger"));
    // Into the ledger itself it does not come.
    let refused = there
        .program(&there.path_of("psql"))
        .args(["-X", "-d", "kept", "-c", &format!("\\copy audit.ledger from '{export}'")])
        .run();
    assert!(!refused.success && refused.stderr.contains("append-only"), "{}", refused.stderr);
    std::fs::remove_dir_all(directory).unwrap();
    sync(&mut admin);
    assert!(verified(&mut admin) && verified(&mut home));
}
