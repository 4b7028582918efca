//! The life of a ledger writer: read the journal, append to the ledger, sleep.
//!
//! One process per database that has the extension, started by the launcher (`workers.rs`). It
//! exempts itself from recording, or it would feed itself for ever. Its commits need no flush:
//! rows and position are stored together, so what a crash takes back is read again. A part of the
//! journal is removed only when no ledger needs it, not even after losing unflushed commits.

use super::drain::{self, Drain};
use super::forwarded::Origins;
use super::merge::Merger;
use super::partition::Current;
use super::table::{self, Progress, Tables};
use super::{LedgerError, forwarder, indexer, keeper};
use crate::error::ServerError;
use crate::event::{Note, Outcome};
use crate::journal::{self, Position, segment};
use crate::pg::append::Place;
use crate::pg::scope::Internal;
use crate::pg::shared::{self, DatabaseSlot, Shared};
use crate::pg::worker::End;
use crate::pg::{remote, session, worker};
use crate::trail;
use pgrx::pg_sys::Oid;
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Between two warnings of the same.
const WARNINGS: Duration = Duration::from_secs(60);

/// The writer of slot number `index`, from its first to its last breath.
pub fn run(index: usize) {
    worker::serve(
        index,
        |slot| &slot.writer,
        |memory, slot| {
            worker::commit_lazily();
            let _internal = Internal::enter();
            match Writer::start(index, memory, slot).and_then(|writer| writer.map_or_else(Ok, Writer::work)) {
                Ok(end) => end,
                Err(error) => {
                    pgrx::warning!(
                        "pg_custodian: ledger writer of database {}: {error}",
                        session::database()
                    );
                    End::Failed
                }
            }
        },
    );
}

struct Writer {
    /// Number of the slot.
    index: usize,
    memory: &'static Shared,
    journal: &'static journal::Shared,
    slot: &'static DatabaseSlot,
    directory: PathBuf,
    ledger: Oid,
    drain: Drain,
    progress: Progress,
    /// The partition at hand, and where its next row goes.
    partition: Option<Current>,
    place: Place,
    /// What may be removed once the log is on disk up to the second number.
    released: Option<(Position, u64)>,
    warned_at: Option<Instant>,
}

impl Writer {
    /// Finds out where to go on, or why there is nothing to do.
    fn start(
        index: usize,
        memory: &'static Shared,
        slot: &'static DatabaseSlot,
    ) -> Result<Result<Self, End>, LedgerError> {
        let Some(tables) = worker::transaction(Tables::find) else { return Ok(Err(End::NotInstalled)) };
        // The launcher gives it a steward now.
        slot.set_installed(true);
        memory.wake_launcher();
        let journal = require_journal()?;
        // A standby's ledger is the primary's: it goes there, and here once this server is promoted.
        if let Some(end) = forwarder::until_promoted(memory, slot, journal)? {
            return Ok(Err(end));
        }
        let directory = trail::directory();
        let mut progress = worker::transaction(|| Progress::load(&tables))?;
        let origins = worker::transaction(Origins::load)?;
        let (mut moved, mut skip, old) = (None, 0, progress.position);
        if progress.journal != journal.journal() {
            moved = Some("another journal");
            progress.journal = journal.journal();
            (progress.position, progress.needed_from) = match origins.of(&progress.journal) {
                // Promoted: this ledger has what was forwarded to the primary and has come back from there.
                Some(origin) => {
                    skip = origin.place.rows;
                    (origin.place.position, origin.place.needed_from)
                }
                // Restored elsewhere, or upgraded: the old journal is not to be had any more.
                None => {
                    let first = segment::first_of(&directory, progress.journal)?;
                    let first = first.map_or(journal.epoch_start(), |n| n * segment::SIZE);
                    (first, first)
                }
            };
        } else if progress.position > journal.reserved() {
            // What this epoch brought is surely new; of older parts nobody knows what the ledger has of them.
            moved = Some("a part of the journal that is gone");
            (progress.position, progress.needed_from) = (journal.epoch_start(), journal.epoch_start());
        }
        let mut merger = Merger::new(session::database().to_u32(), progress.position, progress.needed_from);
        merger.origins = origins;
        if let Some(place) = moved {
            let (now, reason) = (progress.position, format!("the ledger was at {old} of {place}"));
            pgrx::warning!("pg_custodian: the ledger goes on at {now} of the audit journal: {reason}");
            merger.gap(now, now, &reason);
            merger.skip(skip);
        }
        let drain = Drain::new(&directory, merger);
        slot.position.store(progress.position, Ordering::Release);
        slot.needed_from.store(progress.needed_from, Ordering::Release);
        slot.rows.store(progress.head.seq as u64, Ordering::Release);
        slot.writer.set_running();
        let ledger = tables.ledger;
        Ok(Ok(Self {
            index,
            memory,
            journal,
            slot,
            directory,
            ledger,
            drain,
            progress,
            partition: None,
            place: Place::default(),
            released: None,
            warned_at: None,
        }))
    }

    fn work(mut self) -> Result<End, LedgerError> {
        let mut idle = 0;
        while !worker::shall_end() {
            self.keep_room();
            let before = self.drain.merger.done();
            let full = self.drain.read(self.journal)?;
            if !self.store()? {
                // It may have been dropped and made anew: then another writer begins with the new one.
                let anew = worker::transaction(Tables::find).is_some();
                return Ok(if anew { End::Told } else { End::NotInstalled });
            }
            self.release()?;
            if full {
                continue;
            }
            idle = if self.drain.merger.done() == before { idle + 1 } else { 0 };
            self.drain.rest(self.slot, self.journal, idle, self.released.is_some(), None);
        }
        Ok(End::Told)
    }

    fn keep_room(&mut self) {
        if let Err(error) = drain::keep_room(&self.directory, self.journal)
            && self.warned_at.is_none_or(|at| at.elapsed() > WARNINGS)
        {
            // Draining what is there is what makes room.
            self.warned_at = Some(Instant::now());
            pgrx::warning!("pg_custodian: could not make room in the audit journal: {error}");
        }
    }

    /// Stores rows and position in one transaction. Returns false if the ledger is gone, or another one.
    fn store(&mut self) -> Result<bool, LedgerError> {
        let rows = self.drain.merger.take();
        let progress = Progress {
            position: self.drain.merger.done(),
            needed_from: self.drain.merger.needed_from(),
            ..self.progress
        };
        // Positions alone are worth a transaction only now and then.
        let far = progress.needed_from / segment::SIZE > self.progress.needed_from / segment::SIZE;
        if rows.is_empty() && !far && !self.drain.merger.origins.has_changed() {
            self.slot.position.store(progress.position, Ordering::Release);
            return Ok(true);
        }
        // The partitions hold runs of numbers only if time does not run backwards.
        let progress = Progress { stored: session::now().max(progress.stored), ..progress };
        if !self.partition.as_ref().is_some_and(|partition| partition.holds(progress.stored)) {
            self.partition = Current::at(progress.stored)?;
            if let Some(partition) = &self.partition {
                indexer::start(self.index, partition.month)?;
            }
        }
        let Some(partition) = &self.partition else { return Ok(false) };
        let (place, origins, ledger) = (&mut self.place, &mut self.drain.merger.origins, self.ledger);
        let stored = worker::transaction(|| {
            let Some(tables) = Tables::find().filter(|tables| tables.ledger == ledger) else {
                return Ok(None);
            };
            let head = table::append(partition, place, progress.head, &rows, progress.stored)?;
            let progress = Progress { head, ..progress };
            progress.store(&tables)?;
            origins.store()?;
            Ok::<_, LedgerError>(Some(progress))
        })?;
        self.drain.merger.give_back(rows);
        let Some(stored) = stored else { return Ok(false) };
        self.progress = stored;
        self.released = Some((stored.needed_from, worker::last_commit()));
        self.slot.rows.store(stored.head.seq as u64, Ordering::Release);
        // The steward makes a checkpoint of them by then.
        self.slot.look_before(session::now() + keeper::EVERY);
        self.slot.position.store(stored.position, Ordering::Release);
        Ok(true)
    }

    /// Removes segments that no ledger needs any more.
    fn release(&mut self) -> Result<(), LedgerError> {
        let Some((position, commit)) = self.released else { return Ok(()) };
        if !worker::is_flushed(commit) {
            return Ok(());
        }
        self.released = None;
        drain::release(self.memory, self.slot, &self.directory, self.journal, position)
    }
}

/// Waits until the ledger has what is in the journal now, for at most `timeout` microseconds.
pub fn sync(timeout: i128) -> Result<(), LedgerError> {
    let memory = shared::require()?;
    Tables::require()?;
    if session::in_recovery() && remote::address().is_none() {
        return Err(LedgerError::OnStandby);
    }
    let timeout = u64::try_from(timeout)
        .map(Duration::from_micros)
        .map_err(|_| LedgerError::BadArgument("timeout must not be negative".into()))?;
    match await_ledger(memory, require_journal()?.reserved(), timeout) {
        true => Ok(()),
        false => Err(LedgerError::NotCaughtUp(format!("{} s", timeout.as_secs_f64()))),
    }
}

/// Waits until this database's ledger has everything below `target`, for so long at most. Returns whether it has.
pub fn await_ledger(memory: &Shared, target: Position, patience: Duration) -> bool {
    let (start, database) = (Instant::now(), session::database().to_u32());
    loop {
        match memory.database(database) {
            Some(slot) if slot.position.load(Ordering::Acquire) >= target => return true,
            Some(slot) => slot.writer.wake(),
            None => memory.wake_launcher(),
        }
        if start.elapsed() >= patience {
            return false;
        }
        worker::sleep(Some(Duration::from_millis(5)));
    }
}

/// The journal, running.
fn require_journal() -> Result<&'static journal::Shared, LedgerError> {
    shared::preloaded()?;
    let journal = trail::journal().ok_or(ServerError::NotPreloaded)?;
    journal.started()?;
    Ok(journal)
}

/// The journal's random name.
pub fn journal_name() -> Result<[u8; 16], LedgerError> {
    Ok(require_journal()?.journal())
}

/// Where the journal ends.
pub fn journal_position() -> Result<i64, LedgerError> {
    Ok(require_journal()?.reserved() as i64)
}

/// Asks for a writer for this database, to be started when the transaction has ended.
///
/// The slot is taken at once, so that nobody removes the part of the journal that it will need.
pub fn want() -> Result<(), LedgerError> {
    let memory = shared::require()?;
    let slot = memory.take_database(session::database().to_u32(), require_journal()?.reserved());
    // A writer that starts finds out by itself; one that was left by DROP EXTENSION does not look again.
    if let Some(slot) = slot.filter(|slot| slot.writer.is_running()) {
        slot.set_installed(true);
    }
    crate::pg::transaction::wake_launcher_at_end();
    shared::config_changed();
    begin_chain()
}

/// A new chain says so, in its first event: also where a dump was restored, which brings no ledger along.
fn begin_chain() -> Result<(), LedgerError> {
    let progress = Progress::load(&Tables::require()?)?;
    if progress.head.seq > 0 {
        return Ok(());
    }
    let detail = json!({
        "action": "begin",
        "journal": hex::encode(progress.journal),
        "version": env!("CARGO_PKG_VERSION"),
    });
    Ok(trail::note(&Note {
        event: "chain",
        outcome: Outcome::Ok,
        sqlstate: None,
        object: Some(String::from_utf8_lossy(&session::database_name()).into_owned()),
        detail: Some(detail.to_string()),
    })?)
}
