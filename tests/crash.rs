//! kill -9 of backends, of the ledger writer and of the postmaster at random moments under load, and a list of
//! what clients sent and what was acknowledged to them, compared with the ledger: none missing, none doubled,
//! none invented. Sessions choose their durability at random, starts of the server the way to the journal.
//!
//! `PGC_CRASH_SECONDS` sets how long the load runs: 30 by default, which is a minute for the two versions that
//! are tested; `make crash SECONDS=300` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::load::{self, Dice, divide_by_zero, kill_one, mark, marked};
use harness::shop::verified;
use harness::{Cluster, custodian};
use postgres::Client;
use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: u64 = 4;
const DATABASE: &str = "crash";

/// One statement of a kind that depends on its number. Ok if the server answered it, be it by the error
/// that was asked for.
fn send(client: &mut Client, number: u64) -> Result<(), postgres::Error> {
    let mark = mark(number);
    match number % 6 {
        0 | 1 => client.simple_query(&format!("select {number} as {mark}")).map(drop),
        2 => client.query("select $1::text as parameter", &[&mark]).map(drop),
        3 => client.simple_query(&format!("insert into load values ({number}, '{mark}')")).map(drop),
        4 => {
            let mut transaction = client.transaction()?;
            transaction.simple_query(&format!("insert into load values (-{number}, '{mark}')"))?;
            // What is acknowledged is the statement, whatever becomes of the transaction.
            let _ = transaction.rollback();
            Ok(())
        }
        _ => divide_by_zero(client, &mark),
    }
}

/// A connection with a durability chosen at random.
fn connect(cluster: &Cluster, dice: &mut Dice) -> Option<Client> {
    let mut client = cluster.try_superuser(DATABASE).ok()?;
    let durability = ["server_crash", "power_loss"][usize::try_from(dice.roll(2)).unwrap()];
    client.batch_execute(&format!("set pg_custodian.durability = '{durability}'")).ok()?;
    Some(client)
}

#[derive(Default)]
struct Kills {
    backends: u32,
    writers: u32,
    workers: u32,
    postmasters: u32,
    /// Ended in order: nobody else notices.
    terminated: u32,
    /// Starts with a mapped journal, and by pwrite.
    ways: [u32; 2],
}

impl Kills {
    /// Of the whole server, and of a part of it.
    fn of_both_kinds(&self) -> bool {
        self.postmasters > 0 && self.backends + self.writers + self.workers > 0
    }
}

const LEDGER_WRITER: &str = "backend_type = 'pg_custodian ledger writer' and datname = 'crash'";
const OTHER_WORKERS: &str = "backend_type in ('pg_custodian launcher', 'pg_custodian steward')";
const CLIENT: &str = "datname = 'crash' and backend_type = 'client backend' and pid <> pg_backend_pid()";

fn kill_at_random(cluster: &Cluster, dice: &mut Dice, until: Instant) -> Kills {
    let mut kills = Kills::default();
    // On a slow machine there may be time for a few kills only, and all of the same kind.
    while Instant::now() < until || !kills.of_both_kinds() {
        thread::sleep(Duration::from_millis(300 + dice.roll(1500)));
        match dice.roll(12) {
            0..=3 => {
                cluster.kill_postmaster();
                kills.postmasters += 1;
                let way = usize::try_from(dice.roll(2)).unwrap();
                kills.ways[way] += 1;
                cluster.add_conf(&format!("pg_custodian.journal_io = {}", ["mmap", "pwrite"][way]));
                cluster.start();
            }
            4..=5 => kills.writers += u32::from(kill_one(cluster, dice, LEDGER_WRITER)),
            6 => kills.workers += u32::from(kill_one(cluster, dice, OTHER_WORKERS)),
            7 => kills.terminated += u32::from(terminate_one(cluster)),
            _ => kills.backends += u32::from(kill_one(cluster, dice, CLIENT)),
        }
        cluster.wait_until_up();
    }
    kills
}

fn terminate_one(cluster: &Cluster) -> bool {
    let one = format!("select pg_terminate_backend(pid) from pg_stat_activity where {CLIENT} limit 1");
    cluster
        .try_superuser("postgres")
        .is_ok_and(|mut client| client.query_opt(&one, &[]).is_ok_and(|row| row.is_some()))
}

/// How often each number is in the ledger.
fn recorded(admin: &mut Client) -> HashMap<u64, u32> {
    let rows = admin
        .query(
            "select statement, array_to_string(parameters, ' ') as parameters from audit.statements
             where depth = (select min(depth) from audit.statements) and statement not like '%audit.%'",
            &[],
        )
        .unwrap();
    let mut found = HashMap::new();
    for row in rows {
        let statement: Option<String> = row.get("statement");
        let parameters: Option<String> = row.get("parameters");
        let number = statement.as_deref().and_then(marked).or_else(|| parameters.as_deref().and_then(marked));
        if let Some(number) = number {
            *found.entry(number).or_insert(0) += 1;
        }
    }
    found
}

#[test]
fn no_statement_is_lost_or_doubled_by_kill_9() {
    let (seconds, seed) = (load::seconds(30), load::seed());
    let cluster = custodian().start();
    cluster.create_database(DATABASE);
    cluster.superuser(DATABASE).batch_execute("create table load (n bigint, mark text)").unwrap();

    let until = Instant::now() + Duration::from_secs(seconds);
    let (lists, kills) = load::during(
        CLIENTS,
        |_, dice| connect(&cluster, dice),
        send,
        seed,
        || kill_at_random(&cluster, &mut Dice(seed), until),
    );
    let sent: HashSet<u64> = lists.iter().flat_map(|list| list.sent.iter().copied()).collect();
    let acknowledged: HashSet<u64> =
        lists.iter().flat_map(|list| list.acknowledged.iter().copied()).collect();

    let mut admin = load::synced(&cluster, DATABASE);
    let found = recorded(&mut admin);
    let missing = acknowledged.iter().filter(|number| !found.contains_key(number)).count();
    let doubled = found.values().filter(|times| **times > 1).count();
    let invented = found.keys().filter(|number| !sent.contains(number)).count();
    let unanswered = sent.len() - acknowledged.len();
    let unanswered_recorded = found.keys().filter(|number| !acknowledged.contains(number)).count();
    let chain = verified(&mut admin);
    // Not a loss of statements: whoever died there had not been let run his.
    let gaps: i64 =
        admin.query_one("select count(*) from audit.events where event = 'gap'", &[]).unwrap().get(0);
    println!(
        "crash run: {seconds} s, seed {seed}: killed {} backends, {} ledger writers, {} other workers, \
         {} postmasters; {} backends terminated; {} starts mapped, {} by pwrite; \
         {} statements sent, {} acknowledged, {} recorded; {missing} missing, {doubled} doubled, {invented} invented; \
         {unanswered_recorded} of {unanswered} unanswered recorded; {gaps} unfinished records; chain {}",
        kills.backends,
        kills.writers,
        kills.workers,
        kills.postmasters,
        kills.terminated,
        kills.ways[0] + 1,
        kills.ways[1],
        sent.len(),
        acknowledged.len(),
        found.len(),
        if chain { "holds" } else { "is broken" },
    );
    assert!(kills.of_both_kinds(), "nothing was killed");
    assert!(acknowledged.len() > 100, "there was no load");
    assert_eq!((missing, doubled, invented), (0, 0, 0));
    assert!(chain, "the chain is broken");
}
