//! What it takes to verify the ledger, and how large a proof is.
//!
//! Rows are statements of a person's on a table of the shop, made by a function, as many as `PGC_ROWS` (1,000,000).
//! A figure is the median of `PGC_ROUNDS` (5) calls of audit.verify() in one session, with the ledger in memory: rows per
//! second of the processor's time that the session took (without workers: what one core does), and of time that passed,
//! with no worker, one and two. The extension called is the release build that scripts/install.sh has installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;

use harness::shop::sync;
use harness::{custodian, shop};
use postgres::Client;
use std::time::Instant;

/// Rows per second that one core shall verify.
const GOAL: f64 = 1e6;

fn number(name: &str, default: i64) -> i64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

fn main() {
    let (rows, rounds) = (number("PGC_ROWS", 1_000_000), number("PGC_ROUNDS", 5));
    let shop = shop::open_on(custodian().conf("shared_buffers = 2GB").conf("max_wal_size = 8GB"), "identify");
    let mut admin = shop.admin();
    let mut alice = shop.person("alice", &["support"]);
    for _ in 0..(rows / 100_000).max(1) {
        alice
            .batch_execute(
                "do $$ begin for n in 1..100000 loop perform count(*) from public.orders where id = n; end loop; end $$",
            )
            .unwrap();
    }
    admin.execute("select audit.sync('10 min')", &[]).unwrap();
    sync(&mut admin);
    let size: i64 = admin.query_one("select (pg_relation_size('audit.ledger') + coalesce(sum(pg_relation_size(relid)), 0))::bigint from pg_partition_tree('audit.ledger') where isleaf", &[]).unwrap().get(0);
    let found: i64 = admin.query_one("select seq from audit.chain", &[]).unwrap().get(0);
    println!(
        "\n{found} rows of {} bytes each in the table; median of {rounds} calls (lowest to highest)\n",
        size / found
    );
    for workers in 0..=2 {
        let rates: Vec<(f64, f64)> = (0..rounds).map(|_| verify(&mut admin, workers)).collect();
        if workers == 0 {
            let median = show("of the processor, one core", rates.iter().map(|rate| rate.0).collect());
            if median < GOAL {
                println!("goal missed: at least {} million rows/s", GOAL / 1e6);
            }
        }
        show(&format!("of time, workers => {workers}"), rates.iter().map(|rate| rate.1).collect());
    }
    let began = Instant::now();
    admin.query("select audit.checkpoint()", &[]).unwrap();
    println!("audit.checkpoint(): {:.2} s for what no checkpoint covered yet", began.elapsed().as_secs_f64());
    for of in ["min(rows)", "max(rows)"] {
        let row = admin
            .query_one(
                &format!(
                    "select seq, rows from audit.checkpoints where rows = (select {of} from audit.checkpoints) limit 1"
                ),
                &[],
            )
            .unwrap();
        let (seq, rows): (i64, i64) = (row.get(0), row.get(1));
        let began = Instant::now();
        let row = admin
            .query_one(
                "select octet_length(p::text), octet_length((p -> 'row')::text) from audit.prove($1) as p",
                &[&(seq - rows / 2)],
            )
            .unwrap();
        let (whole, its_row): (i32, i32) = (row.get(0), row.get(1));
        println!(
            "a proof under a checkpoint of {rows} rows: {whole} bytes, {its_row} of them the row; made in {:.3} s",
            began.elapsed().as_secs_f64()
        );
    }
}

/// Prints millions per second and returns the median.
fn show(what: &str, mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    let [low, median, high] = [0, rates.len() / 2, rates.len() - 1].map(|n| rates[n]);
    println!("million rows per second {what}: {:.2} ({:.2}-{:.2})", median / 1e6, low / 1e6, high / 1e6);
    median
}

/// Seconds of the processor that a process has used, from /proc.
fn used(pid: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // utime and stime, in hundredths
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Rows per second of the session's processor, and of time.
fn verify(admin: &mut Client, workers: i32) -> (f64, f64) {
    let pid: i32 = admin.query_one("select pg_backend_pid()", &[]).unwrap().get(0);
    let (began, before) = (Instant::now(), used(pid));
    let row =
        admin.query_one("select ok, rows, problem from audit.verify(workers => $1)", &[&workers]).unwrap();
    let (elapsed, cpu) = (began.elapsed().as_secs_f64(), used(pid) - before);
    assert!(row.get::<_, bool>(0), "{:?}", row.get::<_, Option<String>>(2));
    let rows = row.get::<_, i64>(1) as f64;
    (rows / cpu, rows / elapsed)
}
