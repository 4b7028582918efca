//! The background workers and their exported symbols.
//!
//! The launcher lives as long as the server, asleep but for databases that appear: it gives each
//! database that may have the extension a ledger writer, and each writer that failed a successor.
#![allow(unsafe_code)]

use crate::pg::shared::{self, Shared, WriterState};
use crate::pg::{catalog, session, worker};
use crate::{ledger, trail};
use pgrx::pg_sys::{self, Oid};
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a failed writer's successor waits.
const RETRY: Duration = Duration::from_secs(1);

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
    let mut without = HashSet::new();
    while !worker::shall_end() {
        let again = survey(memory, &mut without);
        memory.set_surveyed();
        worker::sleep(again.then_some(RETRY));
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

/// Gives every database a slot and every slot a writer. `without` are those known not to have the
/// extension. Returns whether something is left to do later.
fn survey(memory: &Shared, without: &mut HashSet<Oid>) -> bool {
    let present = databases();
    let from = trail::journal().map_or(0, |journal| journal.reserved());
    let mut later = false;
    let exists = |database: u32| present.iter().any(|(oid, _)| oid.to_u32() == database);
    let connects =
        |database: u32| present.iter().any(|(oid, connects)| oid.to_u32() == database && *connects);
    without.retain(|database| exists(database.to_u32()));
    for (database, _) in present.iter().filter(|(_, connects)| *connects) {
        if !without.contains(database) {
            // Not seen before. On a restart its place in the journal is not known before its writer
            // has looked: until then everything is kept.
            let needed = if session::in_recovery() { from } else { 0 };
            match memory.take_writer_slot(database.to_u32(), needed) {
                Some(_) => _ = without.insert(*database),
                None => later = true,
            }
        }
    }
    for (index, slot) in memory.writers.iter().enumerate() {
        let database = slot.database.load(Ordering::Acquire);
        if database == 0 || database == u32::MAX || slot.pid.load(Ordering::Acquire) != 0 {
            continue;
        }
        match slot.state() {
            WriterState::Running | WriterState::Paused => {}
            _ if !exists(database) => slot.free(),
            // Its ledger is not forgotten: whoever permits connections again wakes us.
            _ if !connects(database) => {}
            WriterState::Starting => later = true,
            // Its successor waits a little, lest a lasting fault keep the server busy.
            WriterState::Failed => {
                slot.set_state(WriterState::Wanted);
                later = true;
            }
            WriterState::Wanted => {
                slot.set_state(WriterState::Starting);
                if !worker::start("pg_custodian ledger writer", "pg_custodian_ledger_writer", index) {
                    slot.set_state(WriterState::Wanted);
                    later = true;
                }
            }
        }
    }
    later
}
