//! A dump restored into another server: what was configured is in force there, and the ledger there is its own.
//! What the old one said can be taken along as a table like any other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::make_directory;
use harness::shop::{self, Shop, identify, sync, verified};
use harness::{Cluster, assert_refused, custodian};
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
             select custodian.revoke_person('mallory', 'left the company')",
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
        "select p::text from (select relation, column_name, masking, reveal_to from mask.policies) p order by 1",
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
