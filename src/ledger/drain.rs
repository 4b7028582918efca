//! What both lives of a ledger's worker have in common, on a primary and on a standby: from the journal's
//! frames to rows, room ahead, room given back, and rest.

use super::LedgerError;
use super::merge::Merger;
use crate::journal::recovery::ensure_allocated;
use crate::journal::{self, Cursor, JournalError, Next, Position, segment};
use crate::pg::shared::{DatabaseSlot, Shared};
use crate::pg::worker;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Rows that are stored or sent together.
pub const BATCH: usize = 4096;
/// How long to collect before the next batch: a compromise between lag and cost.
const PAUSE: Duration = Duration::from_millis(100);
/// Rounds without work before going to sleep for good.
const IDLE_ROUNDS: u32 = 10;

/// Reads the journal into rows.
pub struct Drain {
    cursor: Cursor,
    pub merger: Merger,
}

impl Drain {
    /// Goes on where `merger` says.
    pub fn new(directory: &Path, merger: Merger) -> Self {
        Self { cursor: Cursor::new(directory, merger.read_from(), 0), merger }
    }

    /// Merges until a batch is full, which it returns, or the journal has no more.
    pub fn read(&mut self, journal: &journal::Shared) -> Result<bool, LedgerError> {
        while self.merger.pending() < BATCH {
            match self.cursor.next(journal)? {
                Next::Frame { at, end, payload } => self.merger.frame(at, end, payload),
                Next::Epoch { at } => self.merger.epoch(at, at + segment::HEADER),
                Next::Gap { from, to, reason } => {
                    pgrx::warning!("pg_custodian: audit journal from {from} to {to} is lost: {reason}");
                    self.merger.gap(from, to, &reason);
                }
                Next::Wait => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Rests after so many rounds without work, for no longer than `at_most`; `restless` if something else
    /// is left to do.
    pub fn rest(
        &self,
        slot: &DatabaseSlot,
        journal: &journal::Shared,
        idle: u32,
        restless: bool,
        at_most: Option<Duration>,
    ) {
        if idle < IDLE_ROUNDS || restless {
            return worker::sleep(Some(PAUSE));
        }
        // Whoever appends from here on wakes us; what was appended before, the second look sees.
        slot.writer.about_to_sleep();
        if self.cursor.position() >= journal.reserved() {
            worker::sleep(at_most);
        }
        slot.writer.awake();
    }
}

/// One segment more than needed now, so that backends do not have to make it.
pub fn keep_room(directory: &Path, journal: &journal::Shared) -> Result<(), JournalError> {
    let ahead = journal.reserved() + segment::SIZE;
    // Nobody makes segments ahead of a journal that nobody writes to.
    match journal.reserved() > journal.epoch_start() && journal.allocated() < ahead {
        true => ensure_allocated(directory, journal, ahead),
        false => Ok(()),
    }
}

/// This database needs nothing below `position` any more: removes the segments that nobody needs.
pub fn release(
    memory: &Shared,
    slot: &DatabaseSlot,
    directory: &Path,
    journal: &journal::Shared,
    position: Position,
) -> Result<(), LedgerError> {
    slot.needed_from.store(position, Ordering::Release);
    let Some(needed) = memory.journal_needed_from() else { return Ok(()) };
    Ok(segment::remove_below(directory, journal, needed)?)
}
