//! What pg_custodian costs, beside a server with no extension and beside pgaudit.
//!
//! pgbench runs against servers that differ in nothing else. What is compared is the CPU time of the whole
//! cluster per transaction, background workers and processes that have ended included: with the ledger
//! writer at work on another core, throughput would hide half of the price. The servers take turns
//! within a round, so that a machine that slows down slows them all, and a row is the median over rounds of
//! the ratio to the bare server of the same round. A second bare server shows how much of it is noise.
//!
//! Before the clock is read, pg_custodian's ledger has everything (audit.sync()): work that is only put
//! off does not look cheap.
//!
//! `PGC_ROUNDS` (5) and `PGC_SECONDS` (4) set rounds and seconds per measurement, `PGC_ONLY` a part of the names of
//! the rows to measure (all). The extension measured is
//! the release build that scripts/install.sh has installed; how this program is compiled does not matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use harness::{Wanted, bare, custodian, has_library};
use load::{Server, Workload, alike, fill, measure, median, number};

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "-S prepared, 1 client",
        arguments: &["-S", "-M", "prepared"],
        clients: 1,
        statements: 1,
    },
    Workload {
        name: "-S prepared, 4 clients",
        arguments: &["-S", "-M", "prepared"],
        clients: 4,
        statements: 1,
    },
    Workload { name: "-S simple, 1 client", arguments: &["-S", "-M", "simple"], clients: 1, statements: 1 },
    Workload { name: "-S simple, 4 clients", arguments: &["-S", "-M", "simple"], clients: 4, statements: 1 },
    Workload { name: "TPC-B prepared, 4 clients", arguments: &["-M", "prepared"], clients: 4, statements: 5 },
];

fn main() {
    let (rounds, seconds) = (number("PGC_ROUNDS", 5), number("PGC_SECONDS", 4));
    let only = std::env::var("PGC_ONLY").unwrap_or_default();
    let workloads: Vec<&Workload> =
        WORKLOADS.iter().filter(|workload| workload.name.contains(&only)).collect();

    let mut servers = vec![
        Server::new("bare", alike(bare()).start(), false),
        Server::new("bare again", alike(bare()).start(), false),
        Server::new("pg_custodian", alike(custodian()).start(), true),
    ];
    if has_library("pgaudit") {
        servers.push(Server::new("pgaudit", pgaudit().start(), false));
    }
    for server in &servers {
        fill(server);
    }
    let mut results = vec![vec![Vec::new(); servers.len()]; workloads.len()];
    let mut ledger = vec![(0_i64, 0_i64); workloads.len()];
    for round in 0..usize::try_from(rounds).unwrap() {
        for (row, workload) in workloads.iter().enumerate() {
            // Another one begins each time, so that none always runs on a warm or a tired machine.
            for turn in 0..servers.len() {
                let which = (round + turn) % servers.len();
                let measured = measure(&servers[which], workload, seconds);
                results[row][which].push(measured.cost);
                if servers[which].records {
                    ledger[row].0 += measured.transactions;
                    ledger[row].1 += measured.recorded;
                }
            }
            eprintln!("round {} of {rounds}: {}", round + 1, workload.name);
        }
    }
    print_table(&workloads, &servers, &results, &ledger, rounds, seconds);
    check_ledgers(&workloads, &servers, &ledger);
}

/// pgaudit with everything switched on that pg_custodian delivers too: all classes, relations, parameters,
/// rows; into a file, as its documentation advises.
fn pgaudit() -> Wanted {
    alike(bare())
        .preload(&["pgaudit"])
        .conf("pgaudit.log = 'all'")
        .conf("pgaudit.log_relation = on")
        .conf("pgaudit.log_parameter = on")
        .conf("pgaudit.log_rows = on")
        .conf("logging_collector = on")
        .conf("log_rotation_size = 0")
}

/// Ratios to the bare server of the same round.
fn ratios(row: &[Vec<f64>], which: usize) -> Vec<f64> {
    row[which].iter().zip(&row[0]).map(|(cost, bare)| cost / bare).collect()
}

fn print_table(
    workloads: &[&Workload],
    servers: &[Server],
    results: &[Vec<Vec<f64>>],
    ledger: &[(i64, i64)],
    rounds: u64,
    seconds: u64,
) {
    let mut client = servers[0].cluster.superuser("postgres");
    let version: String = client.query_one("show server_version", &[]).unwrap().get(0);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\nPostgreSQL {version}, {cores} cores, {rounds} rounds of {seconds} s.");
    println!(
        "CPU time of the whole cluster per transaction: median ratio to the bare server (lowest to highest).\n"
    );
    print!("{:<27}{:>12}", "", "bare, us");
    for server in &servers[1..] {
        print!("{:>22}", server.name);
    }
    println!("{:>14}", "ledger rows");
    for (row, workload) in workloads.iter().enumerate() {
        print!("{:<27}{:>12.1}", workload.name, median(&results[row][0]));
        for which in 1..servers.len() {
            let ratios = ratios(&results[row], which);
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            print!("{:>22}", format!("{:.2} ({lowest:.2}-{highest:.2})", median(&ratios)));
        }
        println!("{:>14}", format!("{:.2}/tx", ledger[row].1 as f64 / ledger[row].0 as f64));
    }
    println!();
    let custodian = servers.iter().position(|server| server.records).unwrap();
    let audit = servers.iter().position(|server| server.name == "pgaudit");
    for (row, workload) in workloads.iter().enumerate() {
        let ours = median(&ratios(&results[row], custodian));
        let theirs = audit.map(|which| median(&ratios(&results[row], which)));
        if ours > 1.25 || theirs.is_some_and(|theirs| ours >= theirs) {
            println!("goal missed in {}: at most 1.25 of the bare server and below pgaudit", workload.name);
        }
    }
}

/// A fast recorder that loses statements would win every table.
fn check_ledgers(workloads: &[&Workload], servers: &[Server], ledger: &[(i64, i64)]) {
    for (workload, (transactions, rows)) in workloads.iter().zip(ledger) {
        let least = transactions * workload.statements;
        assert!(*rows >= least, "{}: {rows} rows in the ledger for {least} statements", workload.name);
    }
    for server in servers.iter().filter(|server| server.records) {
        let mut client = server.cluster.superuser("bench");
        let row = client.query_one("select ok, rows from audit.verify()", &[]).unwrap();
        assert!(row.get::<_, bool>("ok"), "the chain is broken");
        println!("audit.verify(): the chain of {} rows holds", row.get::<_, i64>("rows"));
    }
}
