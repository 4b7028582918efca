//! pg_upgrade: the ledger comes along and goes on. To the same version always, and from another one where
//! `scripts/client.sh` names it because more than one is tested.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::as_server;
use harness::shop::{self, Shop, identify, sync, verified};
use harness::{assert_refused, custodian};
use postgres::error::SqlState;
use serde_json::Value;
use std::path::Path;

const LOGS: &str = "tail -n 60 \"$1\"/pg_upgrade_output.d/*/log/*";

#[test]
fn the_chain_goes_on_after_pg_upgrade() {
    let own = std::env::var("PGC_PG_CONFIG").unwrap();
    upgrade(&own);
}

#[test]
fn the_chain_goes_on_after_pg_upgrade_to_another_version() {
    match std::env::var("PGC_OLD_PG_CONFIG") {
        Ok(old) => upgrade(&old),
        Err(_) => {
            eprintln!("only one version of PostgreSQL is tested: upgraded to itself, see the other test")
        }
    }
}

/// Some builds of 15 mark each column with an option that no other version knows: pg_upgrade fails for any table
/// then, with us or without. Here the mark is taken off, so that the rest can be tested; it is no advice.
fn take_marks_off(shop: &Shop) {
    let mut admin = shop.admin();
    let marked = "select count(*) from pg_attribute where attoptions::text like '%pg_attver%'";
    if admin.query_one(marked, &[]).unwrap().get::<_, i64>(0) == 0 {
        return;
    }
    eprintln!("this build marks columns with \"pg_attver\", which pg_upgrade cannot carry over: taken off");
    drop(admin);
    shop.cluster.add_conf("pg_custodian.maintenance = on");
    shop.cluster.restart();
    for database in ["shop", "postgres", "template1"] {
        let mut admin = shop.cluster.superuser(database);
        admin
            .batch_execute(
                "update pg_attribute set attoptions = null where attoptions::text like '%pg_attver%'",
            )
            .unwrap();
    }
}

/// From the PostgreSQL of this pg_config to the one that is tested.
fn upgrade(old: &str) {
    let shop = shop::open_on(custodian().of(old), "identify");
    take_marks_off(&shop);
    let mut home = shop.admin();
    home.batch_execute(
        "select access.grant_access('alice', '{select}', 'SCHEMA masked', '1 hour', 'x');
         select access.grant_access('alice', '{select}', 'COLUMN public.orders.amount', '1 hour', 'x');
         select access.grant_access('alice', '{select}', 'TABLE public.orders', '1 hour', 'x', rows => 'id = 1')",
    )
    .unwrap();
    home.batch_execute("select 'before the upgrade'").unwrap();
    sync(&mut home);
    let checkpoint: Value = home.query_one("select audit.checkpoint()", &[]).unwrap().get(0);
    let last = checkpoint["seq"].as_i64().unwrap();
    let version: String = home.query_one("show server_version_num", &[]).unwrap().get(0);
    drop(home);
    shop.cluster.stop();

    let new = custodian().make();
    let programs = new.path_of("pg_upgrade");
    let upgraded = as_server(Path::new("sh"))
        .args(["-c", "cd \"$1\" && shift && exec \"$@\"", "sh"])
        .arg(new.socket())
        .arg(&programs)
        .arg("-b")
        .arg(shop.cluster.path_of(""))
        .arg("-B")
        .arg(new.path_of(""))
        .arg("-d")
        .arg(shop.cluster.data())
        .arg("-D")
        .arg(new.data())
        .args(["-U", "postgres"])
        .run();
    // Its own words are short; the reason is in its logs.
    let logs = || as_server(Path::new("sh")).args(["-c", LOGS, "sh"]).arg(new.data()).run().stdout;
    assert!(upgraded.success, "{}{}\n{}", upgraded.stdout, upgraded.stderr, logs());
    new.start();

    let mut admin = new.superuser("shop");
    let now: String = admin.query_one("show server_version_num", &[]).unwrap().get(0);
    assert!(now.parse::<u32>().unwrap() >= version.parse::<u32>().unwrap(), "{version} -> {now}");
    admin.batch_execute("select 'after the upgrade'").unwrap();
    sync(&mut admin);
    let report = admin
        .query_one("select ok, problem, to_seq from audit.verify(against => $1)", &[&checkpoint])
        .unwrap();
    assert!(report.get::<_, bool>(0), "{:?}", report.get::<_, Option<String>>(1));
    assert!(report.get::<_, i64>(2) > last);
    let said = "select count(*) from audit.statements where statement = any($1) and outcome = 'ok'";
    let both = vec!["select 'before the upgrade'", "select 'after the upgrade'"];
    assert_eq!(admin.query_one(said, &[&both]).unwrap().get::<_, i64>(0), 2);
    // The journal is another one, and the ledger says so.
    let gaps = "select count(*) from audit.events where event = 'gap' and seq > $1";
    assert_eq!(admin.query_one(gaps, &[&last]).unwrap().get::<_, i64>(0), 1);

    // The guards stand, and who is enrolled is.
    for statement in [
        "delete from audit.ledger",
        "alter table audit.ledger disable trigger all",
        "create table audit.mine ()",
    ] {
        assert_refused(admin.simple_query(statement), &SqlState::INSUFFICIENT_PRIVILEGE);
    }
    let guards = "select ok from custodian.status() where \"check\" = 'ledger guards'";
    assert!(admin.query_one(guards, &[]).unwrap().get::<_, bool>(0));
    let mut person = shop.readonly_on(&new);
    assert_refused(
        person.simple_query("select count(*) from public.orders"),
        &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
    );
    identify(&mut person, &shop.issuer.person("alice", &[])).unwrap();
    let iban: String =
        person.query_one("select iban from masked.customers where id = 1", &[]).unwrap().get(0);
    assert_ne!(iban, "DE89370400440532013000");
    assert!(verified(&mut admin));

    // Schemas are numbered anew; grants are on what they were on.
    admin.batch_execute("select custodian.enroll('readonly', 'govern')").unwrap();
    let count = |person: &mut postgres::Client, what: &str| {
        let query = format!("select count({what}) from public.orders where true");
        person.query_one(&query, &[]).unwrap().get::<_, i64>(0)
    };
    assert_eq!(count(&mut person, "amount"), 40);
    assert_eq!(count(&mut person, "customer_id"), 1);
    person.query("select id from masked.customers", &[]).unwrap();
    let live = "select count(*) from access.grants where live and object = any($1)";
    let objects = vec!["SCHEMA masked", "COLUMN public.orders.amount", "TABLE public.orders"];
    assert_eq!(admin.query_one(live, &[&objects]).unwrap().get::<_, i64>(0), 3);
}
