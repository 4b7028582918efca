//! How many rows a person was given within an hour: the memory behind `rows_per_hour`.
//!
//! Promises: in no hour is a person given more rows than the limit, in however many sessions, and what was
//! counted stays counted, whatever becomes of the statement, the session or the server; a power cut loses what
//! the kernel had not written yet. Rows are counted before they leave. A row is forgotten 60 to 61 minutes
//! after: rows are counted by the minute.
//!
//! The file: one [`SLOT`] of numbers for each person and database, found by a hash. The first number of a slot
//! is the hash, the others are [`BUCKETS`], each a minute and how many rows. A clock that is set back forgets
//! nothing: what was counted in minutes to come counts until they have passed.

use crate::identity::Person;
use crate::pg::local::process_local;
use crate::pg::mapped::Mapped;
use crate::pg::session;
use crate::trail;
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

const MAGIC: &[u8; 16] = b"pgc row counts\x00\x01";
const FILE: &str = "row_counts";
/// People who can be counted within an hour: 2 MiB.
const SLOTS: usize = 4096;
/// Numbers of a slot; what is over is not used.
const SLOT: usize = 64;
/// The running minute, and the 60 before it.
const BUCKETS: usize = 61;
const MINUTE: i64 = 60_000_000;

/// Why rows cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum CountFault {
    #[error("could not count rows: {0}")]
    Io(#[from] io::Error),
    #[error("rows of no more than {SLOTS} people can be counted within an hour")]
    NoRoom,
}

/// By what a person is known in the file. Two who share a hash would share a limit.
pub fn key(person: &Person) -> u64 {
    let mut hash = Sha256::new();
    hash.update(session::database().to_u32().to_le_bytes());
    hash.update((person.issuer.len() as u64).to_le_bytes());
    hash.update(&person.issuer);
    hash.update(&person.user_id);
    let hash: [u8; 32] = hash.finalize().into();
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_le_bytes(first).max(1)
}

/// The limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exhausted {
    /// When the first rows are forgotten, in microseconds since 2000.
    pub room_at: i64,
}

/// The file, as a process has it.
pub struct Counts(Mapped);

impl Counts {
    pub fn open(directory: &Path) -> io::Result<Self> {
        Mapped::open(&directory.join(FILE), MAGIC, SLOTS * SLOT).map(Self)
    }

    /// Counts one row of the person more, unless there would be more than `limit` then. `now` in microseconds since 2000.
    pub fn count(&self, key: u64, limit: i64, now: i64) -> Result<Result<(), Exhausted>, CountFault> {
        let minute = minute_of(now);
        loop {
            let slot = self.slot(key, minute)?;
            let bucket = &slot[1 + minute as usize % BUCKETS];
            let into = add(bucket, minute);
            let sum = sum(slot, minute);
            // It was given to somebody else meanwhile, for this person had been away for an hour.
            if slot[0].load(Ordering::Acquire) != key {
                take_back(bucket, into);
                continue;
            }
            if i64::try_from(sum).is_ok_and(|sum| sum <= limit) {
                return Ok(Ok(()));
            }
            take_back(bucket, into);
            return Ok(Err(Exhausted { room_at: room_at(slot, minute) }));
        }
    }

    /// Rows of the person that count now.
    pub fn counted(&self, key: u64, now: i64) -> u64 {
        let minute = minute_of(now);
        self.find(key).map_or(0, |slot| sum(slot, minute))
    }

    fn find(&self, key: u64) -> Option<&'static [AtomicU64]> {
        for at in 0..SLOTS {
            let slot = self.at(key, at);
            match slot[0].load(Ordering::Acquire) {
                0 => return None,
                found if found == key => return Some(slot),
                _ => {}
            }
        }
        None
    }

    /// The `at`th place to look for somebody.
    fn at(&self, key: u64, at: usize) -> &'static [AtomicU64] {
        let place = (key as usize).wrapping_add(at) % SLOTS * SLOT;
        &self.0.words[place..place + SLOT]
    }

    fn slot(&self, key: u64, minute: u32) -> Result<&'static [AtomicU64], CountFault> {
        if let Some(slot) = self.find(key) {
            return Ok(slot);
        }
        self.0.alone(|| {
            if let Some(slot) = self.find(key) {
                return Ok(slot);
            }
            // A place that was taken is never free again, or those behind it would not be found.
            let all = || (0..SLOTS).map(|at| self.at(key, at));
            let free = all().find(|slot| slot[0].load(Ordering::Acquire) == 0);
            let slot =
                free.or_else(|| all().find(|slot| sum(slot, minute) == 0)).ok_or(CountFault::NoRoom)?;
            slot[0].store(key, Ordering::Release);
            Ok(slot)
        })?
    }
}

process_local! {
    static COUNTS: RefCell<Option<Counts>> = const { RefCell::new(None) };
}

fn with<T>(work: impl FnOnce(&Counts) -> Result<T, CountFault>) -> Result<T, CountFault> {
    COUNTS.with_borrow_mut(|counts| match counts {
        Some(counts) => work(counts),
        None => work(counts.insert(Counts::open(&trail::directory())?)),
    })
}

/// Counts one row more of who is known by `key`: see [`Counts::count`].
pub fn count(key: u64, limit: i64, now: i64) -> Result<Result<(), Exhausted>, CountFault> {
    with(|counts| counts.count(key, limit, now))
}

/// Rows that the person was given within the last hour, where they are counted.
pub fn counted(person: &Person, now: i64) -> Result<u64, CountFault> {
    with(|counts| Ok(counts.counted(key(person), now)))
}

fn minute_of(now: i64) -> u32 {
    u32::try_from(now / MINUTE).unwrap_or(0)
}

fn unpack(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

fn pack(minute: u32, rows: u32) -> u64 {
    u64::from(minute) << 32 | u64::from(rows)
}

/// Counts one row; returns the minute in which. What is there for a later minute came with another clock.
fn add(bucket: &AtomicU64, minute: u32) -> u32 {
    let mut into = minute;
    let add = |word| {
        let (of, rows) = unpack(word);
        into = of.max(minute);
        Some(if of < minute { pack(minute, 1) } else { pack(of, rows.saturating_add(1)) })
    };
    let _ = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    into
}

fn take_back(bucket: &AtomicU64, from: u32) {
    let _ = bucket.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
        let (of, rows) = unpack(word);
        (of == from).then(|| pack(of, rows.saturating_sub(1)))
    });
}

/// Minutes and rows that count in `minute`.
fn counting(slot: &[AtomicU64], minute: u32) -> impl Iterator<Item = (u32, u32)> {
    let words = slot[1..=BUCKETS].iter().map(|bucket| unpack(bucket.load(Ordering::Acquire)));
    words.filter(move |(of, rows)| u64::from(*of) + BUCKETS as u64 > u64::from(minute) && *rows > 0)
}

fn sum(slot: &[AtomicU64], minute: u32) -> u64 {
    counting(slot, minute).map(|(_, rows)| u64::from(rows)).sum()
}

fn room_at(slot: &[AtomicU64], minute: u32) -> i64 {
    let first = counting(slot, minute).map(|(of, _)| of).min().unwrap_or(minute);
    (i64::from(first) + BUCKETS as i64) * MINUTE
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("pgc-volume-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn counts(&self) -> Counts {
            Counts::open(&self.0).unwrap()
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn at(minutes: i64) -> i64 {
        1_000_000 * MINUTE + minutes * MINUTE
    }

    fn fill(counts: &Counts, key: u64, limit: i64, now: i64) -> u64 {
        let mut given = 0;
        while counts.count(key, limit, now).unwrap().is_ok() {
            given += 1;
        }
        given
    }

    #[test]
    fn so_many_rows_and_no_more_are_given_within_an_hour() {
        let directory = Directory::new("hour");
        let counts = directory.counts();
        assert_eq!(fill(&counts, 7, 10, at(0)), 10);
        assert_eq!(fill(&counts, 8, 3, at(0)), 3, "somebody else");
        assert_eq!(fill(&counts, 7, 10, at(59) + MINUTE - 1), 0);
        // The last moment of minute 0 and the first of minute 60 are less than an hour apart.
        assert_eq!(fill(&counts, 7, 10, at(60)), 0);
        assert_eq!(counts.count(7, 10, at(60)).unwrap(), Err(Exhausted { room_at: at(61) }));
        assert_eq!(fill(&counts, 7, 10, at(61)), 10);
        // A refusal counts nothing.
        assert_eq!(counts.counted(7, at(61)), 10);
    }

    #[test]
    fn it_is_remembered_by_whoever_opens_the_file_next() {
        let directory = Directory::new("next");
        assert_eq!(fill(&directory.counts(), 7, 10, at(0)), 10);
        assert_eq!(directory.counts().counted(7, at(1)), 10);
        assert_eq!(fill(&directory.counts(), 7, 12, at(1)), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_forgets_nothing() {
        let directory = Directory::new("clock");
        let counts = directory.counts();
        assert_eq!(fill(&counts, 7, 10, at(100)), 10);
        assert_eq!(fill(&counts, 7, 10, at(0)), 0);
        // The bucket of minute 100 is also that of minute 39.
        assert_eq!(fill(&counts, 7, 12, at(39)), 2);
        assert_eq!(counts.counted(7, at(100)), 12);
        assert_eq!(counts.counted(7, at(161)), 0);
    }

    /// Against a list of all rows: no more than the limit in any hour, and everything again after 61 minutes.
    #[test]
    fn any_sequence_gives_what_a_list_of_all_rows_allows() {
        let directory = Directory::new("model");
        let counts = directory.counts();
        let mut given: Vec<i64> = Vec::new();
        let (mut now, mut seed) = (at(0), 0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            now += (seed % 30_000_000) as i64 * i64::from(seed.is_multiple_of(5));
            let within = |micros: i64| given.iter().rev().take_while(|at| **at > now - micros).count();
            let allowed = counts.count(7, 50, now).unwrap().is_ok();
            if within(61 * MINUTE) < 50 {
                assert!(allowed, "a row was kept back");
            }
            if allowed {
                assert!(within(60 * MINUTE) < 50, "a row too many");
                given.push(now);
            }
        }
        assert!(given.len() > 500);
    }

    #[test]
    fn many_at_once_are_given_no_more() {
        let directory = Directory::new("many");
        let total: u64 = std::thread::scope(|scope| {
            let one = || scope.spawn(|| fill(&directory.counts(), 7, 5000, at(0)));
            [one(), one(), one(), one()].into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(total <= 5000 && total > 4990, "{total}");
        assert_eq!(fill(&directory.counts(), 7, 5000, at(0)), 5000 - total);
    }

    #[test]
    fn a_full_file_takes_whom_it_has_not_counted_for_an_hour_and_nobody_else() {
        let directory = Directory::new("full");
        let counts = directory.counts();
        for key in 1..=SLOTS as u64 {
            assert!(counts.count(key, 10, at(i64::from(key == 9))).unwrap().is_ok());
        }
        let another = SLOTS as u64 + 1;
        assert!(matches!(counts.count(another, 10, at(60)), Err(CountFault::NoRoom)));
        assert!(counts.count(another, 10, at(61)).unwrap().is_ok());
        assert_eq!(counts.counted(another, at(61)), 1);
        assert_eq!(counts.counted(9, at(61)), 1, "who was counted later keeps his place");
    }

    #[test]
    fn a_file_that_is_something_else_is_refused() {
        let directory = Directory::new("damaged");
        std::fs::write(directory.0.join(FILE), b"something else, and of another length").unwrap();
        let Err(error) = Counts::open(&directory.0) else { panic!("it was taken") };
        assert!(error.to_string().contains("damaged"), "{error}");
    }
}
