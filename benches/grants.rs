//! What a check of grants costs with few and with many grants on file, half of them the person's own.
//!
//! As benches/cost.rs, which says how it is measured: servers in turns, alike but for the grants, each row the median over
//! rounds of the ratio to the first of the same round, which checks nothing; the third is as the second, and shows the noise. Then how
//! long a session takes to read its grants after one anywhere has changed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use harness::custodian;
use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims_but, now, random_text};
use load::{Server, Workload, alike, fill, measure, median, number};
use serde_json::json;
use std::time::Instant;

const WORKLOADS: [Workload; 2] = [
    Workload { name: "-S prepared", arguments: &["-S", "-M", "prepared"], clients: 1, statements: 1 },
    Workload { name: "-S simple", arguments: &["-S", "-M", "simple"], clients: 1, statements: 1 },
];

/// A name, how many grants are on file, and the mode of the role: in the first nothing is checked.
const ROWS: [(&str, i32, &str); 4] = [
    ("identify, no check", 10, "identify"),
    ("10 grants", 10, "govern"),
    ("10 grants again", 10, "govern"),
    ("10,000 grants", 10_000, "govern"),
];

fn main() {
    let (rounds, seconds) = (number("PGC_ROUNDS", 5), number("PGC_SECONDS", 4));
    let issuer = Signer::new(Algorithm::ES256);
    let servers = ROWS.map(|(name, grants, mode)| server(name, grants, mode, &issuer));
    let mut costs = vec![[Vec::new(), Vec::new()]; servers.len()];
    for round in 0..usize::try_from(rounds).unwrap() {
        for (column, workload) in WORKLOADS.iter().enumerate() {
            for turn in 0..servers.len() {
                let which = (round + turn) % servers.len();
                costs[which][column].push(measure(&servers[which], workload, seconds).cost);
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "\n{rounds} rounds of {seconds} s, 1 client. CPU time of the whole cluster per transaction: microseconds, and"
    );
    println!("median ratio to the first server (lowest to highest).\n");
    println!("{:<20}{:>32}{:>32}", "", WORKLOADS[0].name, WORKLOADS[1].name);
    for (which, server) in servers.iter().enumerate() {
        print!("{:<20}", server.name);
        for (mine, first) in costs[which].iter().zip(&costs[0]) {
            let ratios: Vec<f64> = mine.iter().zip(first).map(|(cost, first)| cost / first).collect();
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            let micros = median(mine);
            print!("{:>32}", format!("{micros:.1}  {:.2} ({lowest:.2}-{highest:.2})", median(&ratios)));
        }
        println!();
    }
    println!("\nFirst statement after a change of grants, milliseconds:");
    for server in &servers {
        println!("{:<20}{:>10.2}", server.name, reading(server));
    }
}

/// Median time of a statement that reads the grants anew, less one that does not.
fn reading(server: &Server) -> f64 {
    let of = |wanted| &server.environment.iter().find(|(name, _)| *name == wanted).unwrap().1;
    let mut person = server.cluster.try_login("worker", of("PGPASSWORD"), "bench", of("PGOPTIONS")).unwrap();
    let mut admin = server.cluster.superuser("bench");
    let mut timed = || {
        let start = Instant::now();
        person.simple_query("select 1 from pgbench_accounts where aid = 1").unwrap();
        start.elapsed().as_secs_f64() * 1000.0
    };
    let mut taken = Vec::new();
    for _ in 0..21 {
        admin
            .batch_execute(
                "select access.grant_access('somebody', '{select}', 'DATABASE', '1 hour', 'bench')",
            )
            .unwrap();
        let anew = timed();
        timed();
        taken.push(anew - timed());
    }
    median(&taken)
}

/// A server with data, so many grants, and a person on a role in this mode to run pgbench.
fn server(name: &'static str, grants: i32, mode: &str, issuer: &Signer) -> Server {
    let mut server = Server::new(name, alike(custodian()).start(), true);
    fill(&server);
    let mut admin = server.cluster.superuser("bench");
    let password = random_text(16);
    admin.batch_execute(&format!("create role worker login password '{password}'")).unwrap();
    admin
        .batch_execute(
            "grant select on all tables in schema public to worker;
             do 'begin for n in 0..99 loop execute format(''create table public.t%s (a int, b int)'', n); end loop; end'",
        )
        .unwrap();
    admin
        .execute("select custodian.trust_issuer($1, $2, array[$3])", &[&ISSUER, &issuer.jwks(), &AUDIENCE])
        .unwrap();
    admin.execute("select custodian.enroll('worker', $1)", &[&mode]).unwrap();
    let needed = "access.grant_access('alice', '{select}', 'SCHEMA public', '1 day', 'bench')";
    let others = "access.grant_access(case n % 2 when 0 then 'alice' else 'p' || n end, '{select}',
        case n % 3 when 0 then 'TABLE public.t' || n % 100 else 'COLUMN public.t' || n % 100 || '.a' end, '1 day', 'bench')";
    admin.batch_execute(&format!("select {needed}")).unwrap();
    admin.execute(&format!("select count({others}) from generate_series(2, $1::int) n"), &[&grants]).unwrap();
    let token = issuer.sign(&claims_but("alice", &[], json!({ "exp": now() + 3600 * 6 })));
    server.environment.push(("PGUSER", "worker".into()));
    server.environment.push(("PGPASSWORD", password));
    server.environment.push(("PGOPTIONS", format!("-c pg_custodian.token={token}")));
    server
}
