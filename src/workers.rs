//! The background workers and their exported symbols.
//!
//! The launcher lives as long as the server, asleep but for databases that appear: it gives each
//! database that may have the extension a ledger writer, which finds out, each that has it a
//! steward, and each of these that failed a successor.
#![allow(unsafe_code)]

use crate::pg::shared::{self, DatabaseSlot, Process, ProcessState, Shared};
use crate::pg::{catalog, parallel, session, transaction, worker};
use crate::pipeline::recording;
use crate::{access, ledger};
use pgrx::pg_sys::{self, Oid};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long a failed worker's successor waits.
const RETRY: Duration = Duration::from_secs(1);
/// How long a worker may take to start before it is taken for lost, in microseconds.
const OVERDUE: i64 = 10_000_000;

/// Registers the launcher; in the postmaster.
pub fn register() {
    worker::register("pg_custodian launcher", "pg_custodian_launcher");
}

/// Entry of the launcher.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_custodian_launcher(_argument: pg_sys::Datum) {
    worker::connect(None);
    let Some(memory) = shared::get() else { return };
    memory.register_launcher();
    let (mut without, mut wanted) = (HashSet::new(), memory.wanted());
    while !worker::shall_end() {
        let journal_runs = recording::start_journal();
        recording::notice_changes();
        let now_wanted = memory.wanted();
        if std::mem::replace(&mut wanted, now_wanted) != now_wanted {
            // The writer that was there, if any, may have left between CREATE EXTENSION and its commit.
            without.clear();
        }
        let again = survey(memory, &mut without);
        memory.set_surveyed();
        worker::sleep((again || !journal_runs).then_some(RETRY));
    }
    // The postmaster starts a worker again unless it ends with 0.
    worker::end_to_be_restarted();
}

/// Entry of a ledger writer; the argument is the number of its slot.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_custodian_ledger_writer(argument: pg_sys::Datum) {
    ledger::writer::run(argument.value());
}

/// Entry of an indexer; the argument is the number of its slot.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_custodian_indexer(argument: pg_sys::Datum) {
    ledger::indexer::run(argument.value());
}

/// Entry of a steward; the argument is the number of its slot.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_custodian_steward(argument: pg_sys::Datum) {
    let (mut keeper, mut duty) = (ledger::keeper::Keeper::default(), access::duty::Duty::default());
    access::steward::run(argument.value(), |slot, now| keeper.attend(slot, now).min(duty.attend(now)));
}

/// Entry of a parallel worker that helps to verify the ledger.
#[pgrx::pg_guard]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_custodian_verify_worker(
    _segment: *mut pg_sys::dsm_segment,
    contents: *mut pg_sys::shm_toc,
) {
    // SAFETY: PostgreSQL calls it with what the leader has laid down.
    ledger::shares::help(unsafe { parallel::words(contents) });
}

/// All databases, and whether they take connections.
fn databases() -> Vec<(Oid, bool)> {
    let mut found = Vec::new();
    let scanned = worker::transaction(|| {
        catalog::scan(pg_sys::DatabaseRelationId, &["oid", "datallowconn"], |row| {
            found.extend(row.oid(0).zip(row.boolean(1)));
            true
        })
    });
    if let Err(error) = scanned {
        pgrx::warning!("pg_custodian: could not list the databases: {error}");
    }
    found
}

/// Gives every database a slot and every slot its workers. `without` are those known not to have
/// the extension. Returns whether something is left to do later.
fn survey(memory: &Shared, without: &mut HashSet<Oid>) -> bool {
    let present = databases();
    let mut later = false;
    let exists = |database: u32| present.iter().any(|(oid, _)| oid.to_u32() == database);
    let connects =
        |database: u32| present.iter().any(|(oid, connects)| oid.to_u32() == database && *connects);
    without.retain(|database| exists(database.to_u32()));
    for (database, _) in present.iter().filter(|(_, connects)| *connects) {
        if !without.contains(database) {
            // Not seen before. Its place in the journal is not known before its writer has looked: until
            // then everything is kept.
            match memory.take_database(database.to_u32(), 0) {
                Some(_) => _ = without.insert(*database),
                None => later = true,
            }
        }
    }
    for (index, slot) in memory.databases.iter().enumerate() {
        let database = slot.database.load(Ordering::Acquire);
        if database == 0 || database == u32::MAX {
            continue;
        }
        if connects(database) {
            later |= attend(&slot.writer, "pg_custodian ledger writer", "pg_custodian_ledger_writer", index);
            if slot.installed() {
                later |= attend(&slot.steward, "pg_custodian steward", "pg_custodian_steward", index);
            }
        } else if !exists(database) && has_left(&slot.writer) && has_left(&slot.steward) {
            slot.free();
        }
        // The ledger of one that takes no connections is not forgotten: whoever permits them wakes us.
    }
    later
}

fn has_left(process: &Process) -> bool {
    process.pid.load(Ordering::Acquire) == 0
        && !matches!(process.state(), ProcessState::Running | ProcessState::Paused)
}

/// Starts a worker if there is none and one is wanted. Returns whether something is left to do later.
fn attend(process: &Process, name: &str, function: &str, index: usize) -> bool {
    if process.pid.load(Ordering::Acquire) != 0 {
        return false;
    }
    match process.state() {
        ProcessState::Running | ProcessState::Paused => false,
        ProcessState::Starting => {
            // What the postmaster could not start never comes, and nobody says so; what comes after all
            // finds its place taken.
            if session::now() - process.started_at() > OVERDUE {
                process.change(ProcessState::Starting, ProcessState::Failed);
            }
            true
        }
        // Its successor waits a little, lest a lasting fault keep the server busy.
        ProcessState::Failed => {
            process.change(ProcessState::Failed, ProcessState::Wanted);
            true
        }
        ProcessState::Wanted => {
            let started = !process.begin_start() || worker::start(name, function, index);
            if !started {
                process.change(ProcessState::Starting, ProcessState::Wanted);
            }
            !started
        }
    }
}

fn slot_of(database: u32) -> Option<&'static DatabaseSlot> {
    shared::get()?.database(database)
}

/// Makes the workers leave a database that is to be dropped, copied or renamed.
pub fn pause(database: u32) {
    let Some(slot) = slot_of(database) else { return };
    let start = Instant::now();
    while slot.writer.pause() | slot.steward.pause() && start.elapsed() < Duration::from_secs(5) {
        worker::sleep(Some(Duration::from_millis(5)));
    }
}

/// The database whose workers were paused is there again, or gone: the launcher finds out.
pub fn resume(database: u32) {
    if let Some(slot) = slot_of(database) {
        for process in [&slot.writer, &slot.steward] {
            if process.state() == ProcessState::Paused {
                process.set_state(ProcessState::Wanted);
            }
        }
    }
    if let Some(memory) = shared::get() {
        memory.wake_launcher();
    }
    // That the database takes connections again shows to the launcher after the commit only.
    transaction::wake_launcher_at_end();
}
