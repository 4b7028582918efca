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
//! `PGC_ROUNDS` (5) and `PGC_SECONDS` (4) set rounds and seconds per measurement. The extension measured is
//! the release build that scripts/install.sh has installed; how this program is compiled does not matter.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::{Cluster, Wanted, bare, custodian};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// What pgbench is told, and how many of a transaction's statements read or write a table.
struct Workload {
    name: &'static str,
    arguments: &'static [&'static str],
    clients: u32,
    statements: i64,
}

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

struct Server {
    name: &'static str,
    cluster: Cluster,
    records: bool,
}

struct Measured {
    /// CPU time per transaction, in microseconds.
    cost: f64,
    transactions: i64,
    /// Rows the ledger grew by, where there is one.
    recorded: i64,
}

fn main() {
    let number = |name: &str, default: u64| {
        std::env::var(name)
            .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let (rounds, seconds) = (number("PGC_ROUNDS", 5), number("PGC_SECONDS", 4));

    let mut servers = vec![
        Server { name: "bare", cluster: alike(bare()).start(), records: false },
        Server { name: "bare again", cluster: alike(bare()).start(), records: false },
        Server { name: "pg_custodian", cluster: alike(custodian()).start(), records: true },
    ];
    if has_pgaudit(&servers[0].cluster) {
        servers.push(Server { name: "pgaudit", cluster: pgaudit().start(), records: false });
    }
    for server in &servers {
        fill(server);
    }
    let mut results = vec![vec![Vec::new(); servers.len()]; WORKLOADS.len()];
    let mut ledger = vec![(0_i64, 0_i64); WORKLOADS.len()];
    for round in 0..usize::try_from(rounds).unwrap() {
        for (row, workload) in WORKLOADS.iter().enumerate() {
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
    print_table(&servers, &results, &ledger, rounds, seconds);
    check_ledgers(&servers, &ledger);
}

/// Settings that keep out of the measurement what the extensions are not responsible for.
fn alike(wanted: Wanted) -> Wanted {
    wanted
        .conf("shared_buffers = '256MB'")
        .conf("max_wal_size = '8GB'")
        .conf("checkpoint_timeout = '1h'")
        // A server in use recycles its log; filling new segments with zeros first would be charged to
        // whoever writes the most.
        .conf("wal_init_zero = off")
        .conf("autovacuum = off")
        .conf("synchronous_commit = off")
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

fn has_pgaudit(cluster: &Cluster) -> bool {
    let query = "select exists (select from pg_available_extensions where name = 'pgaudit')";
    cluster.superuser("postgres").query_one(query, &[]).unwrap().get(0)
}

fn fill(server: &Server) {
    let mut client = server.cluster.superuser("postgres");
    client.batch_execute("create database bench").unwrap();
    if server.records {
        server.cluster.superuser("bench").batch_execute("create extension pg_custodian").unwrap();
    }
    server
        .cluster
        .program(&server.cluster.path_of("pgbench"))
        .args(["-i", "-q", "-s", "10", "bench"])
        .succeed();
    // Hint bits and the visibility map are set here, not in the first round.
    server.cluster.superuser("bench").batch_execute("vacuum (analyze)").unwrap();
    server.cluster.superuser("bench").batch_execute("checkpoint").unwrap();
}

fn measure(server: &Server, workload: &Workload, seconds: u64) -> Measured {
    let rows_before = settle(server);
    let before = cpu_seconds(&server.cluster);
    let clients = workload.clients.to_string();
    let printed = server
        .cluster
        .program(&server.cluster.path_of("pgbench"))
        .args(workload.arguments)
        .args(["-n", "-c", &clients, "-j", &clients, "-T", &seconds.to_string(), "bench"])
        .succeed()
        .stdout;
    let rows_after = settle(server);
    let cpu = cpu_seconds(&server.cluster) - before;
    let transactions = transactions(&printed);
    Measured { cost: cpu * 1e6 / transactions as f64, transactions, recorded: rows_after - rows_before }
}

/// Waits until the server has done all that the load gave it to do. Tells how long its ledger is.
fn settle(server: &Server) -> i64 {
    let mut rows = 0;
    if server.records {
        let mut client = server.cluster.superuser("bench");
        harness::shop::sync(&mut client);
        rows = client.query_one("select coalesce(max(seq), 0) from audit.ledger", &[]).unwrap().get(0);
    }
    // pgbench's sessions end, pgaudit's log reaches its file.
    sleep(Duration::from_millis(300));
    rows
}

/// "number of transactions actually processed: 12345"
fn transactions(printed: &str) -> i64 {
    let line =
        printed.lines().find(|line| line.starts_with("number of transactions actually processed")).unwrap();
    let number: String = line.chars().filter(char::is_ascii_digit).collect();
    number.parse().unwrap()
}

/// CPU time of the postmaster, of its living children and of those it has waited for.
fn cpu_seconds(cluster: &Cluster) -> f64 {
    let postmaster = cluster.postmaster().unwrap();
    let mut ticks = 0;
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The second field, a name in parentheses, may hold blanks: count from behind it (proc(5)).
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        if pid == postmaster || fields[1] == postmaster.to_string() {
            ticks += fields[11..15].iter().map(|field| field.parse::<u64>().unwrap()).sum::<u64>();
        }
    }
    // Linux counts in hundredths of a second here (USER_HZ), on every architecture in use.
    ticks as f64 / 100.0
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Ratios to the bare server of the same round.
fn ratios(row: &[Vec<f64>], which: usize) -> Vec<f64> {
    row[which].iter().zip(&row[0]).map(|(cost, bare)| cost / bare).collect()
}

fn print_table(
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
    for (row, workload) in WORKLOADS.iter().enumerate() {
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
    for (row, workload) in WORKLOADS.iter().enumerate() {
        let ours = median(&ratios(&results[row], custodian));
        let theirs = audit.map(|which| median(&ratios(&results[row], which)));
        if ours > 1.25 || theirs.is_some_and(|theirs| ours >= theirs) {
            println!("goal missed in {}: at most 1.25 of the bare server and below pgaudit", workload.name);
        }
    }
}

/// A fast recorder that loses statements would win every table.
fn check_ledgers(servers: &[Server], ledger: &[(i64, i64)]) {
    for (workload, (transactions, rows)) in WORKLOADS.iter().zip(ledger) {
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
