//! Indexes for the months that are over: what auditors ask for, at no cost to those who are recorded.
//!
//! One process that the writer starts when it finds a month without them; it builds them, a partition
//! at a time, and ends. While it is at work, and if it fails, questions are answered without them.

use super::partition::Month;
use super::table::{Partition, Tables};
use super::{LedgerError, store};
use crate::pg::scope::Internal;
use crate::pg::{catalog, session, shared, worker};
use std::sync::atomic::Ordering;

/// Partitions of months before `current` that lack their indexes.
fn waiting(current: Month) -> Result<Vec<Partition>, LedgerError> {
    let Some(tables) = Tables::find() else { return Ok(Vec::new()) };
    let lacks = |partition: &Partition| {
        Month::named(&partition.name).is_some_and(|month| month < current)
            && catalog::relation("audit", &format!("{}_objects", partition.name)).is_none()
    };
    Ok(tables.partitions()?.into_iter().filter(lacks).collect())
}

/// Starts an indexer for the database of slot number `index` if there is anything to do for it. Between transactions.
pub fn start(index: usize, current: Month) -> Result<(), LedgerError> {
    if !worker::transaction(|| waiting(current))?.is_empty()
        && !worker::start("pg_custodian indexer", "pg_custodian_indexer", index)
    {
        pgrx::warning!("pg_custodian: no indexer for the ledger: max_worker_processes is too low");
    }
    Ok(())
}

/// The indexer for the database of slot number `index`.
pub fn run(index: usize) {
    let database = shared::get()
        .and_then(|memory| memory.databases.get(index))
        .map_or(0, |slot| slot.database.load(Ordering::Acquire));
    if matches!(database, 0 | u32::MAX) {
        return;
    }
    worker::connect(Some(database.into()));
    let _internal = Internal::enter();
    let current = Month::of(session::now());
    let built = worker::transaction(|| waiting(current)).and_then(|partitions| {
        partitions
            .iter()
            .try_for_each(|partition| worker::transaction(|| store::index_partition(&partition.name)))
    });
    if let Err(error) = built {
        pgrx::warning!("pg_custodian: indexer of database {}: {error}", session::database());
    }
}
