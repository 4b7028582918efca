//! What a row of the ledger costs its writer, and how many bytes it takes.
//!
//! The writer is stopped while pgbench fills the journal, and goes on alone: its CPU time over the rows is
//! what a statement costs from the journal into the ledger, chain and indexes included.
//!
//! `PGC_ROUNDS` (5) sets the rounds. The extension measured is the release build that scripts/install.sh has
//! installed; how this program is compiled does not matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use harness::custodian;
use load::{Server, alike, fill, median, number, ticks};
use postgres::Client;

/// Transactions of a round.
const TRANSACTIONS: i64 = 400_000;

const WORKLOADS: &[(&str, &[&str], i64)] = &[
    ("-S prepared", &["-S", "-M", "prepared"], 1),
    ("-S simple", &["-S", "-M", "simple"], 1),
    ("TPC-B prepared", &["-M", "prepared"], 7),
];

#[derive(Clone, Copy)]
struct Sizes {
    rows: i64,
    table: i64,
    indexes: i64,
    log: i64,
}

fn sizes(admin: &mut Client) -> Sizes {
    let row = admin
        .query_one(
            "select (select seq from audit.chain),
                    sum(pg_relation_size(p.inhrelid))::bigint, sum(pg_indexes_size(p.inhrelid))::bigint,
                    (pg_current_wal_insert_lsn() - '0/0')::bigint
             from pg_inherits as p where p.inhparent = 'audit.ledger'::regclass",
            &[],
        )
        .unwrap();
    Sizes { rows: row.get(0), table: row.get(1), indexes: row.get(2), log: row.get(3) }
}

fn signal(name: &str, pid: i32) {
    harness::command::plain(std::path::Path::new("kill")).args([name, &pid.to_string()]).succeed();
}

fn main() {
    let rounds = number("PGC_ROUNDS", 5);
    let server = Server::new("pg_custodian", alike(custodian()).start(), true);
    fill(&server);
    let mut admin = server.cluster.superuser("bench");
    let writer = "select pid from pg_stat_activity where backend_type = 'pg_custodian ledger writer' and datname = 'bench'";
    let pid: i32 = admin.query_one(writer, &[]).unwrap().get(0);
    println!(
        "{:<16}{:>12}{:>20}{:>14}{:>9}{:>9}{:>9}",
        "", "rows/round", "us/row", "rows/CPU s", "table", "indexes", "WAL"
    );
    for (name, arguments, statements) in WORKLOADS {
        let mut costs = Vec::new();
        let (mut first, mut last) = (None, None);
        for _ in 0..rounds {
            harness::shop::sync(&mut admin);
            // Its pages are written by others, before the clock is read and not while it runs.
            admin.batch_execute("checkpoint").unwrap();
            signal("-STOP", pid);
            let before = sizes(&mut admin);
            server
                .cluster
                .program(&server.cluster.path_of("pgbench"))
                .args(*arguments)
                .args(["-n", "-c", "4", "-t", &(TRANSACTIONS / 4 / statements).to_string(), "bench"])
                .succeed();
            let waiting = sizes(&mut admin);
            let started = ticks(pid.unsigned_abs());
            signal("-CONT", pid);
            admin.execute("select audit.sync('5 min')", &[]).unwrap();
            let after = sizes(&mut admin);
            let cpu = (ticks(pid.unsigned_abs()) - started) as f64 / 100.0;
            costs.push(cpu * 1e6 / (after.rows - before.rows) as f64);
            first = first.or(Some((waiting, after)));
            last = Some(after.rows - before.rows);
        }
        let (before, after) = first.unwrap();
        let rows = after.rows - before.rows;
        let cost = median(&costs);
        println!(
            "{name:<16}{:>12}{:>20}{:>14.0}{:>9}{:>9}{:>9}",
            last.unwrap(),
            format!(
                "{cost:.2} ({:.2}-{:.2})",
                costs.iter().copied().fold(f64::INFINITY, f64::min),
                costs.iter().copied().fold(0.0, f64::max)
            ),
            1e6 / cost,
            (after.table - before.table) / rows,
            (after.indexes - before.indexes) / rows,
            (after.log - before.log) / rows,
        );
    }
    println!("\nBytes are per row. Goal: at least 250,000 rows per CPU second.");
    let row = admin.query_one("select ok, rows from audit.verify()", &[]).unwrap();
    assert!(row.get::<_, bool>(0), "the chain is broken");
    println!("audit.verify(): the chain of {} rows holds", row.get::<_, i64>(1));
}
