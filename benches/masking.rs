//! What masking costs: rows per second, and time to plan.
//!
//! One server without any extension and one with pg_custodian hold the same table. In each round every session reads it
//! once, in turns, so that a machine that slows down slows them all; a row of the table is the median over rounds of the
//! ratio to the bare server of the same round. A second bare session shows how much of it is noise.
//! Time to plan is what EXPLAIN says, which includes the planner hook, as the mean over many plans of a point query.
//! What policies cost a table without any is a difference within one session of the application, in whose database
//! other tables are protected in every second turn: two databases differ by more than that, and what EXPLAIN says has
//! whole microseconds only. So it is the time of planning and running the query, again and again within a DO block.
//!
//! `PGC_ROUNDS` (9), `PGC_ROWS` (300000) and `PGC_PLANS` (2000) set rounds, size and plans per round. The extension
//! measured is the release build that scripts/install.sh has installed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use harness::shop::identify;
use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims_but, now};
use harness::{Cluster, bare, custodian};
use load::{alike, median, number};
use postgres::{Client, SimpleQueryMessage};
use serde_json::json;
use std::time::Instant;

/// Columns of people, and how they are masked.
const MASKED: &[(&str, &str)] =
    &[("email", "email"), ("iban", "partial(4, '****', 4)"), ("member", "hash"), ("ssn", "null_value")];

/// What is read: a title and an expression.
const READS: &[(&str, &str)] = &[
    ("a column without policy", "count(name), max(length(name))"),
    ("email", "count(email), max(length(email))"),
    ("partial", "count(iban), max(length(iban))"),
    ("hash", "count(member), max(length(member))"),
    ("null_value", "count(ssn), max(length(ssn))"),
];

const PLANS: &[(&str, &str)] = &[
    ("table without policies", "select name from cities where id = 17"),
    ("no protected column", "select name from people where id = 17"),
    ("one protected column", "select email from people where id = 17"),
    ("all columns", "select * from people where id = 17"),
    (
        "join on a protected column",
        "select c.id from people as p join cities as c on c.name = p.iban where p.id = 17",
    ),
];

struct Reader {
    name: &'static str,
    client: Client,
}

fn fill(cluster: &Cluster, database: &str, rows: u64) -> Client {
    cluster.superuser("postgres").batch_execute(&format!("create database {database}")).unwrap();
    let mut admin = cluster.superuser(database);
    admin
        .batch_execute(&format!(
            "create table people (id int primary key, name text, email text, iban text, member text, ssn text);
             insert into people select n, 'name ' || n, 'first.last' || n || '@example.com',
                 'DE8937040044' || n, 'member-' || n, '078-05-' || n from generate_series(1, {rows}) as n;
             create table cities (id int primary key, name text);
             insert into cities select n, 'city ' || n from generate_series(1, 1000) as n;
             grant select on people, cities to reader, worker;"
        ))
        .unwrap();
    admin.batch_execute("vacuum (analyze)").unwrap();
    admin
}

fn reader(cluster: &Cluster, name: &'static str, token: Option<&str>) -> Reader {
    let mut client = cluster.local("reader", "bench");
    if let Some(token) = token {
        identify(&mut client, token).unwrap();
    }
    client.batch_execute("set max_parallel_workers_per_gather = 0; set jit = off").unwrap();
    Reader { name, client }
}

fn main() {
    let (rounds, rows, plans) =
        (number("PGC_ROUNDS", 9), number("PGC_ROWS", 300_000), number("PGC_PLANS", 2_000));
    let issuer = Signer::new(Algorithm::ES256);
    let (without, with) = (alike(bare()).start(), alike(custodian()).start());
    for cluster in [&without, &with] {
        cluster
            .superuser("postgres")
            .batch_execute("create role reader login; create role worker login")
            .unwrap();
    }
    fill(&without, "bench", rows);
    let mut admin = fill(&with, "bench", rows);
    let mut unmasked = fill(&with, "unmasked", rows);
    for admin in [&mut admin, &mut unmasked] {
        admin.batch_execute("create extension pg_custodian").unwrap();
    }
    admin
        .execute("select custodian.trust_issuer($1, $2, array[$3])", &[&ISSUER, &issuer.jwks(), &AUDIENCE])
        .unwrap();
    protect(&mut admin);
    // Nobody is enrolled yet: this session stays outside.
    admin.execute("select custodian.enroll('reader', 'identify')", &[]).unwrap();
    let token =
        |groups: &[&str]| issuer.sign(&claims_but("alice", groups, json!({ "exp": now() + 6 * 3600 })));
    let application = |name, database| {
        let mut client = with.local("worker", database);
        client.batch_execute("set max_parallel_workers_per_gather = 0; set jit = off").unwrap();
        Reader { name, client }
    };
    let mut readers = vec![
        reader(&without, "bare", None),
        reader(&without, "bare again", None),
        application("nothing protected", "unmasked"),
        application("application", "bench"),
        reader(&with, "revealed", Some(&token(&["support"]))),
        reader(&with, "masked", Some(&token(&[]))),
    ];
    check(&mut readers);
    let mut scans = vec![vec![Vec::new(); readers.len()]; READS.len()];
    let mut planned = vec![vec![Vec::new(); readers.len()]; PLANS.len()];
    for round in 0..usize::try_from(rounds).unwrap() {
        for turn in 0..readers.len() {
            let which = (round + turn) % readers.len();
            for (row, (_, expression)) in READS.iter().enumerate() {
                scans[row][which].push(scan(&mut readers[which].client, expression));
            }
            for (row, (_, query)) in PLANS.iter().enumerate() {
                planned[row][which].push(plan(&mut readers[which].client, query, plans));
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!("\n{rounds} rounds; median (lowest to highest ratio to the bare server of the same round).");
    println!("\nMillions of rows per second, {rows} rows\n");
    print(&readers, READS, &scans, |seconds| rows as f64 / seconds / 1e6);
    println!("\nMicroseconds to plan, mean of {plans}\n");
    print(&readers, PLANS, &planned, |micros| micros);
    policies_of_others(&mut unmasked, &mut readers[2].client, rounds, plans);
}

fn protect(admin: &mut Client) {
    for (column, masking) in MASKED {
        let protect = "select mask.protect('people', $1::text::name, $2, array['support'])";
        admin.execute(protect, &[column, masking]).unwrap();
    }
}

fn unprotect(admin: &mut Client) {
    for (column, _) in MASKED {
        admin.execute("select mask.unprotect('people', $1::text::name)", &[column]).unwrap();
    }
}

/// Microseconds to plan and run a query.
fn run(client: &mut Client, query: &str, times: u64) -> f64 {
    let again = format!("do $$ begin for n in 1..{times} loop execute '{query}'; end loop; end $$");
    let start = Instant::now();
    client.batch_execute(&again).unwrap();
    start.elapsed().as_secs_f64() * 1e6 / times as f64
}

/// What policies on other tables add to planning and running the first of the queries, where the session stays the same.
fn policies_of_others(admin: &mut Client, application: &mut Client, rounds: u64, plans: u64) {
    let (mut added, mut noise) = (Vec::new(), Vec::new());
    for _ in 0..rounds * 3 {
        let mut measure = |change: &dyn Fn(&mut Client)| {
            change(admin);
            // Reads anew what holds.
            run(application, PLANS[0].1, 10);
            run(application, PLANS[0].1, plans * 10)
        };
        // The second of two that are alike tells what a change of nothing would have added.
        let without = [(); 3].map(|()| measure(&|_| ()));
        let with = measure(&protect);
        let after = measure(&unprotect);
        noise.push(without[1] - f64::midpoint(without[0], without[2]));
        added.push(with - f64::midpoint(without[2], after));
    }
    println!("\nMicroseconds that policies on other tables add to planning and running {}\n", PLANS[0].1);
    for (title, differences) in [("with them", &mut added), ("with none, again", &mut noise)] {
        differences.sort_by(f64::total_cmp);
        let quarter = |quarters: usize| differences[(differences.len() - 1) * quarters / 4];
        println!(
            "{title:<28}{:.2} (half of {} between {:.2} and {:.2})",
            quarter(2),
            differences.len(),
            quarter(1),
            quarter(3)
        );
    }
}

/// A fast reader who sees the wrong thing would win the table.
fn check(readers: &mut [Reader]) {
    for reader in readers {
        let row =
            reader.client.query_one("select email, iban, ssn from people where id = 4711", &[]).unwrap();
        let seen: (String, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let masked = seen == ("first.l***@example.com".into(), "DE89****4711".into(), None);
        let clear =
            seen.0 == "first.last4711@example.com" && seen.1 == "DE89370400444711" && seen.2.is_some();
        assert!(if reader.name == "masked" { masked } else { clear }, "{} sees {seen:?}", reader.name);
    }
}

/// Seconds for one read of the table.
fn scan(client: &mut Client, expression: &str) -> f64 {
    let start = Instant::now();
    client.simple_query(&format!("select {expression} from people")).unwrap();
    start.elapsed().as_secs_f64()
}

/// Microseconds to plan a query, as EXPLAIN measures them: the mean without the slowest tenth, where others were
/// on the machine.
fn plan(client: &mut Client, query: &str, times: u64) -> f64 {
    let mut micros: Vec<f64> = (0..times)
        .map(|_| {
            let said = client.simple_query(&format!("explain (summary, costs off) {query}")).unwrap();
            let lines = said.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            let time = lines.filter_map(|line| line.strip_prefix("Planning Time: ")).next().unwrap();
            time.trim_end_matches(" ms").parse::<f64>().unwrap() * 1000.0
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    micros.truncate(micros.len() - micros.len() / 10);
    micros.iter().sum::<f64>() / micros.len() as f64
}

fn print(readers: &[Reader], rows: &[(&str, &str)], measured: &[Vec<Vec<f64>>], unit: impl Fn(f64) -> f64) {
    print!("{:<28}", "");
    for reader in readers {
        print!("{:>26}", reader.name);
    }
    println!();
    for ((title, _), measured) in rows.iter().zip(measured) {
        print!("{title:<28}");
        for which in 0..readers.len() {
            let values: Vec<f64> = measured[which].iter().map(|value| unit(*value)).collect();
            let ratios: Vec<f64> = measured[which]
                .iter()
                .zip(&measured[0])
                .map(|(value, bare)| unit(*value) / unit(*bare))
                .collect();
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            let cell = match which {
                0 => format!("{:.2}", median(&values)),
                _ => format!("{:.2} {:.2} ({lowest:.2}-{highest:.2})", median(&values), median(&ratios)),
            };
            print!("{cell:>26}");
        }
        println!();
    }
}
