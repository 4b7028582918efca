//! Load on a server of which something dies meanwhile: what clients sent, and what was acknowledged to them.

use super::{Cluster, command, wait_for};
use postgres::Client;
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Numbers of statements, each used once in the whole run.
#[derive(Default)]
pub struct List {
    pub sent: HashSet<u64>,
    /// In their order.
    pub acknowledged: Vec<u64>,
}

/// xorshift64*: what is killed when must not depend on a library, and its seed is printed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % sides
    }
}

pub fn seed() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 | 1
}

/// How long the load runs: `PGC_CRASH_SECONDS`, or so many.
pub fn seconds(otherwise: u64) -> u64 {
    std::env::var("PGC_CRASH_SECONDS")
        .map_or(otherwise, |seconds| seconds.parse().expect("PGC_CRASH_SECONDS is a number"))
}

pub fn mark(number: u64) -> String {
    format!("crash_{number}_hsarc")
}

/// The number in a text that holds a mark.
pub fn marked(text: &str) -> Option<u64> {
    let (_, rest) = text.split_once("crash_")?;
    rest.split_once("_hsarc")?.0.parse().ok()
}

/// A statement that fails. Ok if the server answered it by that error.
pub fn divide_by_zero(client: &mut Client, mark: &str) -> Result<(), postgres::Error> {
    match client.simple_query(&format!("select 1/0 as {mark}")) {
        Err(error) if error.code().is_some_and(|code| code.code() == "22012") => Ok(()),
        other => other.map(drop),
    }
}

/// Has `clients` clients send statements for as long as `meanwhile` runs. `connect` gets the client's number and
/// gives a connection, if there is one to be had; `send` is Ok if the server answered.
pub fn during<R>(
    clients: u64,
    connect: impl Fn(u64, &mut Dice) -> Option<Client> + Sync,
    send: fn(&mut Client, u64) -> Result<(), postgres::Error>,
    seed: u64,
    meanwhile: impl FnOnce() -> R,
) -> (Vec<List>, R) {
    /// Also if `meanwhile` panics: the clients are waited for.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let stop = AtomicBool::new(false);
    let one = |client: u64| {
        let (mut list, mut dice) = (List::default(), Dice(seed ^ client << 32));
        let mut number = client * 1_000_000_000;
        while !stop.load(Ordering::Relaxed) {
            let Some(mut connection) = connect(client, &mut dice) else {
                thread::sleep(Duration::from_millis(20));
                continue;
            };
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                list.sent.insert(number);
                if send(&mut connection, number).is_err() {
                    break;
                }
                list.acknowledged.push(number);
            }
        }
        list
    };
    thread::scope(|scope| {
        let one = &one;
        let threads: Vec<_> = (1..=clients).map(|client| scope.spawn(move || one(client))).collect();
        let end = Stop(&stop);
        let result = meanwhile();
        drop(end);
        (threads.into_iter().map(|thread| thread.join().unwrap()).collect(), result)
    })
}

/// A session of the superuser, once the ledger has everything. The server may not have noticed the last kill when it
/// lets him in, and end his session then.
pub fn synced(cluster: &Cluster, database: &str) -> Client {
    let mut found = None;
    wait_for("the ledger", || {
        found = cluster.try_superuser(database).ok();
        found.as_mut().is_some_and(|client| client.simple_query("select audit.sync('180 s')").is_ok())
    });
    found.unwrap()
}

/// kill -9 of a process of the server that the condition selects.
pub fn kill_one(cluster: &Cluster, dice: &mut Dice, condition: &str) -> bool {
    let found = cluster.try_superuser("postgres").and_then(|mut client| {
        client.query(&format!("select pid from pg_stat_activity where {condition} order by pid"), &[])
    });
    let Ok(rows) = found else { return false };
    if rows.is_empty() {
        return false;
    }
    let chosen = usize::try_from(dice.roll(rows.len() as u64)).unwrap();
    let pid = u32::try_from(rows[chosen].get::<_, i32>(0)).unwrap();
    command::kill_hard(pid);
    wait_for("the death of a server process", || !command::is_alive(pid));
    true
}
