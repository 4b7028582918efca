//! Servers under load, and the CPU time that a transaction takes on them.

// Each bench uses its own part of this.
#![allow(dead_code)]

use super::harness::{self, Cluster, Wanted};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// What pgbench is told, and how many of a transaction's statements read or write a table.
pub struct Workload {
    pub name: &'static str,
    pub arguments: &'static [&'static str],
    pub clients: u32,
    pub statements: i64,
}

pub struct Server {
    pub name: &'static str,
    pub cluster: Cluster,
    pub records: bool,
    /// What pgbench's environment holds on it beside the address: who it is.
    pub environment: Vec<(&'static str, String)>,
}

pub struct Measured {
    /// CPU time per transaction, in microseconds.
    pub cost: f64,
    pub transactions: i64,
    /// Rows the ledger grew by, where there is one.
    pub recorded: i64,
}

impl Server {
    /// One on which pgbench runs as superuser.
    pub fn new(name: &'static str, cluster: Cluster, records: bool) -> Self {
        Self { name, cluster, records, environment: Vec::new() }
    }
}

/// A number from the environment.
pub fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Settings that keep out of the measurement what the extensions are not responsible for.
pub fn alike(wanted: Wanted) -> Wanted {
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

pub fn fill(server: &Server) {
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
    let mut client = server.cluster.superuser("bench");
    // Hint bits and the visibility map are set here, not in the first round.
    client.batch_execute("vacuum (analyze)").unwrap();
    // The shared memory of a server in use has been touched; the kernel's zeroing it would be charged to whoever adds
    // pages. By an index, because scans of whole tables keep to a few buffers.
    client
        .batch_execute(
            "create table filler as select number, repeat('x', 900) as text from generate_series(1, 100000) number;
             create index on filler (number);
             set enable_seqscan = off;
             set enable_bitmapscan = off;
             set max_parallel_workers_per_gather = 0;
             select sum(length(text)) from filler where number > 0;
             select sum(abalance) from pgbench_accounts where aid > 0;",
        )
        .unwrap();
    client.batch_execute("checkpoint").unwrap();
}

pub fn measure(server: &Server, workload: &Workload, seconds: u64) -> Measured {
    let rows_before = settle(server);
    let before = cpu_seconds(&server.cluster);
    let clients = workload.clients.to_string();
    let mut pgbench = server.cluster.program(&server.cluster.path_of("pgbench"));
    for (name, value) in &server.environment {
        pgbench.env(name, value);
    }
    let printed = pgbench
        .args(workload.arguments)
        .args(["-n", "-c", &clients, "-j", &clients, "-T", &seconds.to_string(), "bench"])
        .succeed()
        .stdout;
    let rows_after = settle(server);
    let cpu = cpu_seconds(&server.cluster) - before;
    let transactions = transactions(&printed);
    Measured { cost: cpu * 1e6 / transactions as f64, transactions, recorded: rows_after - rows_before }
}

/// Waits until the server has done all that the load gave it to do. Tells how long its ledger is, by the head of
/// the chain: to count the rows would be charged to the load. Every server pays for the connection.
fn settle(server: &Server) -> i64 {
    let mut client = server.cluster.superuser("bench");
    let mut rows = 0;
    if server.records {
        harness::shop::sync(&mut client);
        rows = client.query_one("select seq from audit.chain", &[]).unwrap().get(0);
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

/// CPU time of one process, in hundredths of a second.
pub fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split_ascii_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}
