//! The ledger and its workers as an administrator sees them: what ends them, and what exposes a rewritten end.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::command::kill_hard;
use harness::shop::{freeze_writer, sync, verified};
use harness::{Cluster, custodian, refusal, wait_for};
use postgres::Client;
use serde_json::Value;

fn with_rows() -> Cluster {
    let cluster = custodian().start();
    cluster.create_database("kept");
    let mut admin = cluster.superuser("kept");
    for n in 0..20 {
        admin.simple_query(&format!("select {n} as kept")).unwrap();
    }
    sync(&mut admin);
    cluster
}

fn pid_of(admin: &mut Client, worker: &str) -> Option<i32> {
    let query = "select min(pid) from pg_stat_activity where backend_type = $1 and (datname = 'kept' or datname is null)";
    admin.query_one(query, &[&worker]).unwrap().get(0)
}

/// Ends the worker as an administrator does and waits for another one.
fn end_and_wait(admin: &mut Client, worker: &str) {
    let before = pid_of(admin, worker).expect("the worker runs");
    admin.execute("select pg_terminate_backend($1)", &[&before]).unwrap();
    wait_for("a successor", || pid_of(admin, worker).is_some_and(|pid| pid != before));
}

#[test]
fn workers_that_are_ended_come_back() {
    let cluster = with_rows();
    let mut admin = cluster.superuser("kept");
    for worker in ["pg_custodian ledger writer", "pg_custodian launcher", "pg_custodian ledger writer"] {
        end_and_wait(&mut admin, worker);
        admin.simple_query(&format!("select 1 as after_the_end /* {worker} */")).unwrap();
        sync(&mut admin);
    }
    let query = "select count(*) from audit.statements where statement like 'select 1 as after\\_the\\_end%'";
    assert_eq!(admin.query_one(query, &[]).unwrap().get::<_, i64>(0), 3);
    assert!(verified(&mut admin));
}

#[test]
fn a_database_whose_connections_are_forbidden_keeps_its_guard() {
    let cluster = with_rows();
    let mut outside = cluster.superuser("postgres");
    outside.simple_query("alter database kept allow_connections false").unwrap();
    let error = refusal(outside.simple_query("drop database kept with (force)"));
    assert_eq!(error.code().code(), "42501", "{error:?}");
    outside.simple_query("alter database kept allow_connections true").unwrap();
    let mut admin = cluster.superuser("kept");
    sync(&mut admin);
    assert!(verified(&mut admin));
}

fn verify(admin: &mut Client, against: Option<&Value>) -> (bool, Option<String>) {
    let row = admin.query_one("select ok, problem from audit.verify(against => $1)", &[&against]).unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn a_checkpoint_kept_elsewhere_exposes_a_cut_off_end() {
    let cluster = with_rows();
    let mut admin = cluster.superuser("kept");
    let kept: Value = admin.query_one("select audit.checkpoint()", &[]).unwrap().get(0);
    assert_eq!(verify(&mut admin, Some(&kept)), (true, None));

    // Whoever has the server's files opens the door, takes the last rows away and seals the end anew.
    cluster.add_conf("pg_custodian.maintenance = on");
    cluster.restart();
    let mut attacker = cluster.superuser("kept");
    sync(&mut attacker);
    // It would go on from the end that it knows; after kill -9 its successor knows only what the table says.
    let writer = freeze_writer(&mut attacker);
    attacker
        .batch_execute(
            "alter table audit.ledger disable trigger all; alter table audit.chain disable trigger all;
             alter table audit.checkpoints disable trigger all;
             delete from audit.ledger where seq > 10;
             delete from audit.checkpoints;
             update audit.chain set seq = 10, hash = (select hash from audit.ledger where seq = 10);
             alter table audit.ledger enable always trigger append_only;
             alter table audit.chain enable always trigger append_only;
             alter table audit.checkpoints enable always trigger append_only;",
        )
        .unwrap();
    drop(attacker);
    cluster.kill_postmaster();
    kill_hard(writer);
    cluster.start();
    let mut admin = cluster.superuser("kept");
    sync(&mut admin);
    assert_eq!(verify(&mut admin, None), (true, None), "without the checkpoint nothing can be seen");
    let (ok, problem) = verify(&mut admin, Some(&kept));
    assert!(!ok, "{problem:?}");
}

#[test]
fn a_checkpoint_that_cannot_be_compared_is_refused() {
    let cluster = with_rows();
    let mut admin = cluster.superuser("kept");
    let kept: Value = admin.query_one("select audit.checkpoint()", &[]).unwrap().get(0);
    let error = refusal(admin.query("select * from audit.verify(1, 5, $1)", &[&kept]));
    assert_eq!(error.code().code(), "22023", "{error:?}");
    for wrong in ["{}", "{\"seq\": 1}", "{\"seq\": 1, \"hash\": \"ab\"}", "[]"] {
        let wrong: Value = serde_json::from_str(wrong).unwrap();
        let error = refusal(admin.query("select * from audit.verify(against => $1)", &[&wrong]));
        assert_eq!(error.code().code(), "22023", "{wrong}: {error:?}");
    }
}
