//! kill -9 of backends, of the ledger writer and of the postmaster at random moments under load, and a list of
//! what clients sent and what was acknowledged to them, compared with the ledger: none missing, none doubled,
//! none invented. Sessions choose their durability at random, starts of the server the way to the journal.
//!
//! `PGC_CRASH_SECONDS` sets how long the load runs: 30 by default, which is a minute for the two versions that
//! are tested; `make crash SECONDS=300` is the long run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod harness;

use harness::shop::{self, verified};
use harness::{Cluster, command, custodian, wait_for};
use postgres::Client;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CLIENTS: u64 = 4;
const DATABASE: &str = "crash";

/// Numbers of statements, each used once in the whole run.
#[derive(Default)]
struct List {
    sent: HashSet<u64>,
    acknowledged: HashSet<u64>,
}

/// xorshift64*: what is killed when must not depend on a library, and its seed is printed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

fn mark(number: u64) -> String {
    format!("crash_{number}_hsarc")
}

/// The number in a text that holds a mark.
fn marked(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("crash_")?;
    rest.split_once("_hsarc")?.0.parse().ok()
}

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
        _ => match client.simple_query(&format!("select 1/0 as {mark}")) {
            Err(error) if error.code().is_some_and(|code| code.code() == "22012") => Ok(()),
            other => other.map(drop),
        },
    }
}

fn load(cluster: &Cluster, client_number: u64, mut dice: Dice, stop: &AtomicBool) -> List {
    let mut list = List::default();
    let mut number = client_number * 1_000_000_000;
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut client) = cluster.try_superuser(DATABASE) else {
            thread::sleep(Duration::from_millis(20));
            continue;
        };
        let durability = ["server_crash", "power_loss"][usize::try_from(dice.roll(2)).unwrap()];
        if client.batch_execute(&format!("set pg_custodian.durability = '{durability}'")).is_err() {
            continue;
        }
        while !stop.load(Ordering::Relaxed) {
            number += 1;
            list.sent.insert(number);
            if send(&mut client, number).is_err() {
                break;
            }
            list.acknowledged.insert(number);
        }
    }
    list
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

const LEDGER_WRITER: &str = "backend_type = 'pg_custodian ledger writer' and datname = 'crash'";
const OTHER_WORKERS: &str = "backend_type in ('pg_custodian launcher', 'pg_custodian steward')";
const CLIENT: &str = "datname = 'crash' and backend_type = 'client backend' and pid <> pg_backend_pid()";

fn kill_at_random(cluster: &Cluster, dice: &mut Dice, until: Instant) -> Kills {
    let mut kills = Kills::default();
    while Instant::now() < until {
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

/// kill -9 of a process of the server that the condition selects.
fn kill_one(cluster: &Cluster, dice: &mut Dice, condition: &str) -> bool {
    let found = cluster.try_superuser("postgres").and_then(|mut client| {
        client.query(&format!("select pid from pg_stat_activity where {condition} order by pid"), &[])
    });
    let Ok(rows) = found else { return false };
    if rows.is_empty() {
        return false;
    }
    let chosen = usize::try_from(dice.roll(rows.len() as u64)).unwrap();
    let pid: i32 = rows[chosen].get(0);
    command::kill_hard(u32::try_from(pid).unwrap());
    wait_for("the death of a server process", || !command::is_alive(u32::try_from(pid).unwrap()));
    true
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
    let seconds = std::env::var("PGC_CRASH_SECONDS")
        .map_or(30, |seconds| seconds.parse().expect("PGC_CRASH_SECONDS is a number"));
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1;
    let cluster = custodian().start();
    cluster.create_database(DATABASE);
    cluster.superuser(DATABASE).batch_execute("create table load (n bigint, mark text)").unwrap();

    let stop = AtomicBool::new(false);
    let (lists, kills) = thread::scope(|scope| {
        let threads: Vec<_> = (1..=CLIENTS)
            .map(|client| {
                scope.spawn({
                    let (cluster, stop) = (&cluster, &stop);
                    move || load(cluster, client, Dice(seed ^ client << 32), stop)
                })
            })
            .collect();
        let until = Instant::now() + Duration::from_secs(seconds);
        let kills = kill_at_random(&cluster, &mut Dice(seed), until);
        stop.store(true, Ordering::Relaxed);
        let lists: Vec<List> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (lists, kills)
    });
    let sent: HashSet<u64> = lists.iter().flat_map(|list| list.sent.iter().copied()).collect();
    let acknowledged: HashSet<u64> =
        lists.iter().flat_map(|list| list.acknowledged.iter().copied()).collect();

    let mut admin = cluster.superuser(DATABASE);
    shop::sync(&mut admin);
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
    assert!(
        kills.backends + kills.writers + kills.workers > 0 && kills.postmasters > 0 || seconds < 15,
        "nothing was killed"
    );
    assert!(acknowledged.len() > 100, "there was no load");
    assert_eq!((missing, doubled, invented), (0, 0, 0));
    assert!(chain, "the chain is broken");
}
