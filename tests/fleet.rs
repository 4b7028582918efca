//! The ledgers of two servers in one audit database, as docs/fleet.md says: its own statements are run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{sync, verified};
use harness::{Cluster, bare, command, custodian, refusal, text, wait_for};
use postgres::Client;
use std::path::Path;

fn doc(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The block of this language in a page that begins like this.
fn block(page: &str, language: &str, beginning: &str) -> String {
    let page = doc(page);
    let mut blocks = page.split("\n```").filter_map(|part| part.strip_prefix(&format!("{language}\n")));
    blocks.find(|block| block.starts_with(beginning)).expect(beginning).to_string()
}

fn sql(beginning: &str) -> String {
    block("fleet.md", "sql", beginning)
}

/// A server with a ledger that is published.
fn server(name: &str) -> Cluster {
    let cluster = custodian().conf("wal_level = logical").start();
    cluster.create_database("shop");
    let mut admin = cluster.superuser("shop");
    admin.batch_execute(&format!("create table {name} (id bigint); insert into {name} values (1)")).unwrap();
    admin.batch_execute(&sql("-- on each server")).unwrap();
    cluster
}

fn subscribe(audit: &mut Client, name: &str, cluster: &Cluster) {
    let example = sql("-- in the audit database, for each server");
    let address =
        format!("host={} port={} dbname=shop user=collector", cluster.socket().display(), cluster.port());
    let statement =
        example.replace("shop1", name).replace(&format!("host={name} dbname=shop user=collector"), &address);
    assert!(statement.contains(&address), "{statement}");
    audit.batch_execute(&statement).unwrap();
}

fn head(admin: &mut Client) -> (i64, String) {
    sync(admin);
    let row = admin
        .query_one("select (c ->> 'seq')::bigint, c ->> 'hash' from audit.checkpoint() as c", &[])
        .unwrap();
    (row.get(0), row.get(1))
}

/// What the documented procedure says of the rows of one server in the audit database.
fn check(audit: &Cluster, server: &str, tools: &Path) -> command::Finished {
    let verifier = format!("python3 {}", tools.join("verify.py").display());
    let query = block("fleet.md", "", "psql -XAtq -d audit").replace("pg_custodian_verifier", &verifier);
    let query = query.replace("kept.jsonl", &tools.join(server).display().to_string());
    let psql = audit.path_of("psql").display().to_string();
    let query = query.replace("shop1", server).replacen("psql", &psql, 1);
    let shell = format!("set -o pipefail; {query}");
    audit.program(Path::new("bash")).args(["-c", &shell]).run()
}

#[test]
fn the_ledgers_of_two_servers_are_collected_and_verified_in_one_database() {
    let (one, two) = (server("one"), server("two"));
    let audit_server = bare().conf("wal_retrieve_retry_interval = '200ms'").start();
    audit_server.superuser("postgres").batch_execute("create database audit").unwrap();
    let mut audit = audit_server.superuser("audit");
    let mut admins = [one.superuser("shop"), two.superuser("shop")];
    audit.batch_execute(&sql("-- in the audit database, before")).unwrap();
    let table = text(&mut admins[0], &sql("-- on one server")).unwrap();
    audit.batch_execute(&table).unwrap();
    audit.batch_execute(&sql("-- in the audit database, after")).unwrap();
    subscribe(&mut audit, "one", &one);
    subscribe(&mut audit, "two", &two);

    // What the server's user can read: the verifier, and what each server said of its end.
    let tools = command::make_directory("pg_custodian-verify");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/second_opinion/verify.py");
    std::fs::copy(source, tools.join("verify.py")).unwrap();
    // What was there before is copied, what comes is streamed; in the second round one of them was down.
    for round in 0..2 {
        for (admin, name) in admins.iter_mut().zip(["one", "two"]) {
            for n in 0..50 {
                admin.simple_query(&format!("select {n}, {round} as collected from {name}")).unwrap();
            }
        }
        for (admin, name) in admins.iter_mut().zip(["one", "two"]) {
            let (seq, hash) = head(admin);
            wait_for("the collected rows", || {
                let query = "select coalesce(max(seq), 0) from audit.ledger where server = $1";
                audit.query_one(query, &[&name]).unwrap().get::<_, i64>(0) >= seq
            });
            std::fs::write(tools.join(name), format!("{{\"seq\": {seq}, \"hash\": \"{hash}\"}}\n")).unwrap();
            let checked = check(&audit_server, name, &tools);
            assert!(checked.success, "{}{}", checked.stdout, checked.stderr);
            assert!(checked.stdout.starts_with("ok: "), "{}", checked.stdout);
            let stored = "select encode(hash, 'hex') from audit.ledger where server = $1 and seq = $2";
            assert_eq!(audit.query_one(stored, &[&name, &seq]).unwrap().get::<_, String>(0), hash);
            let rows =
                "select count(*) from audit.ledger where server = $1 and query like '%as collected from%'
                        and objects = array['public.' || $1]";
            assert_eq!(audit.query_one(rows, &[&name]).unwrap().get::<_, i64>(0), 50 * (round + 1));
            assert!(verified(admin));
        }
        if round == 0 {
            drop(admins);
            one.restart();
            admins = [one.superuser("shop"), two.superuser("shop")];
        }
    }

    let by_hand = "insert into audit.ledger select * from audit.ledger limit 1";
    assert_eq!(refusal(audit.execute(by_hand, &[])).code().code(), "P0002");
    audit
        .execute("update audit.ledger set user_id = 'mallory' where server = 'one' and seq = 3", &[])
        .unwrap();
    let checked = check(&audit_server, "one", &tools);
    assert!(
        !checked.success && checked.stdout.contains("bad: row 3"),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
    assert!(check(&audit_server, "two", &tools).success);
    // Nothing is left for the servers to wait for when they stop.
    audit.batch_execute("drop subscription one").unwrap();
    audit.batch_execute("drop subscription two").unwrap();
    let _ = std::fs::remove_dir_all(&tools);
}
