//! What it costs to be whom, and what the choice of what is recorded saves.
//!
//! As benches/cost.rs, which says how it is measured: one server for each row of the table, in turns, each row
//! the median over rounds of the ratio to the bare server of the same round.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use harness::token::{AUDIENCE, Algorithm, ISSUER, Signer, claims_but, now};
use harness::{bare, custodian};
use load::{Server, Workload, alike, fill, measure, median, number};
use serde_json::json;

const WORKLOADS: [Workload; 2] = [
    Workload { name: "-S prepared", arguments: &["-S", "-M", "prepared"], clients: 4, statements: 1 },
    Workload { name: "-S simple", arguments: &["-S", "-M", "simple"], clients: 4, statements: 1 },
];

/// Who runs pgbench.
#[derive(Clone, Copy)]
enum Who {
    Superuser,
    Application,
    /// On an enrolled role in this mode; the token comes with the connection.
    Person(&'static str),
}

/// A row of the table: what it is, who it is, a setting, and whether the statements are recorded.
const ROWS: [(&str, Who, Option<&str>, bool); 8] = [
    ("the application, not recorded", Who::Application, None, false),
    ("the application, audit_roles = all", Who::Application, Some("audit_roles = all"), true),
    (
        "the application, audit_object_role on its table",
        Who::Application,
        Some("audit_object_role = auditor"),
        true,
    ),
    ("a superuser", Who::Superuser, None, true),
    ("a superuser, audit_classes = 'write'", Who::Superuser, Some("audit_classes = 'write'"), false),
    (
        "a superuser, exclude_relations with its table",
        Who::Superuser,
        Some("exclude_relations = 'public.pgbench_accounts'"),
        false,
    ),
    ("a person, mode identify", Who::Person("identify"), None, true),
    ("a person, mode govern, by a grant", Who::Person("govern"), None, true),
];

fn main() {
    let (rounds, seconds) = (number("PGC_ROUNDS", 5), number("PGC_SECONDS", 4));
    let issuer = Signer::new(Algorithm::ES256);
    let mut servers = vec![Server::new("bare", alike(bare()).start(), false)];
    servers.extend(ROWS.map(|(name, who, setting, _)| server(name, who, setting, &issuer)));
    fill(&servers[0]);
    let mut costs = vec![[Vec::new(), Vec::new()]; servers.len()];
    let mut records = vec![[(0, 0); 2]; servers.len()];
    for round in 0..usize::try_from(rounds).unwrap() {
        for (column, workload) in WORKLOADS.iter().enumerate() {
            for turn in 0..servers.len() {
                let which = (round + turn) % servers.len();
                let measured = measure(&servers[which], workload, seconds);
                costs[which][column].push(measured.cost);
                records[which][column].0 += measured.recorded;
                records[which][column].1 += measured.transactions;
            }
        }
        eprintln!("round {} of {rounds}", round + 1);
    }
    println!(
        "\n{rounds} rounds of {seconds} s, 4 clients. CPU time of the whole cluster per transaction: median ratio to the"
    );
    println!("bare server (lowest to highest), and rows of the ledger per transaction.\n");
    println!("{:<50}{:>32}{:>32}", "", WORKLOADS[0].name, WORKLOADS[1].name);
    for which in 1..servers.len() {
        print!("{:<50}", servers[which].name);
        for column in 0..WORKLOADS.len() {
            let ratios: Vec<f64> =
                costs[which][column].iter().zip(&costs[0][column]).map(|(cost, bare)| cost / bare).collect();
            let lowest = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            let (rows, transactions) = records[which][column];
            let rows = rows as f64 / transactions as f64;
            print!("{:>32}", format!("{:.2} ({lowest:.2}-{highest:.2}) {rows:.2}/tx", median(&ratios)));
        }
        println!();
    }
    for ((name, _, _, recorded), records) in ROWS.iter().zip(&records[1..]) {
        for (workload, (rows, transactions)) in WORKLOADS.iter().zip(records) {
            // pgbench itself asks a few things before it begins.
            let right = match recorded {
                true => *rows >= transactions * workload.statements,
                false => *rows < transactions / 100,
            };
            assert!(right, "{name}, {}: {rows} rows for {transactions} transactions", workload.name);
        }
    }
}

/// A server with data, and somebody to run pgbench on it.
fn server(name: &'static str, who: Who, setting: Option<&str>, issuer: &Signer) -> Server {
    let mut wanted = alike(custodian());
    if let Some(setting) = setting {
        wanted = wanted.conf(&format!("pg_custodian.{setting}"));
    }
    let mut server = Server::new(name, wanted.start(), true);
    fill(&server);
    let mut admin = server.cluster.superuser("bench");
    admin
        .batch_execute(
            "create role auditor; grant select on pgbench_accounts to auditor;
             create role worker login; grant select on all tables in schema public to worker",
        )
        .unwrap();
    match who {
        Who::Superuser => {}
        Who::Application => server.environment.push(("PGUSER", "worker".into())),
        Who::Person(mode) => {
            admin
                .execute(
                    "select custodian.trust_issuer($1, $2, array[$3])",
                    &[&ISSUER, &issuer.jwks(), &AUDIENCE],
                )
                .unwrap();
            admin.execute("select custodian.enroll('worker', $1)", &[&mode]).unwrap();
            let grant =
                "select access.grant_access('alice', array['select'], 'SCHEMA public', '1 day', 'bench')";
            admin.execute(grant, &[]).unwrap();
            let token = issuer.sign(&claims_but("alice", &[], json!({ "exp": now() + 3600 * 6 })));
            server.environment.push(("PGUSER", "worker".into()));
            server.environment.push(("PGOPTIONS", format!("-c pg_custodian.token={token}")));
        }
    }
    server
}
