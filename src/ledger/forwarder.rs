//! The life of a ledger's worker on a standby: read the own journal, send its rows to the primary.
//!
//! It remembers nothing that a restart could take away. Where to go on the primary says, each time; what
//! may be removed here the replicated row of audit.origins says: what it covers is in the ledger
//! and has arrived, so it is there whoever is promoted. When this server is promoted, that same row
//! says which rows its own ledger has already.

use super::drain::{self, BATCH, Drain};
use super::forwarded::{self, Journal, Origins};
use super::merge::Merger;
use super::row::Row;
use super::table::Tables;
use super::{LedgerError, forward_store};
use crate::event::Place;
use crate::journal::{self, segment};
use crate::pg::remote::{self, Remote, RemoteError};
use crate::pg::session;
use crate::pg::shared::{DatabaseSlot, ProcessState, Shared};
use crate::pg::worker::{self, End};
use crate::trail;
use std::ffi::{CStr, CString};
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often to look for what comes by itself: promotion, another setting, what was replicated.
const GLANCE: Duration = Duration::from_secs(1);
/// How long to wait after a failure, doubled each time.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);
/// invalid_binary_representation: what the primary says of rows that its ledger cannot hold.
const UNACCEPTABLE: &str = "22P03";
/// Between two warnings of the same.
const WARNINGS: Duration = Duration::from_secs(60);

/// The name by which this server's rows are known in the primary's ledger.
fn server_name(journal: &Journal) -> String {
    let name = session::setting("cluster_name").filter(|name| !name.is_empty());
    // 63 bytes, printable: see guc.c and accept.rs.
    let name = name.unwrap_or_else(|| hex::encode(&journal[..8]));
    name.chars().filter(|c| !c.is_control()).take(63).collect()
}

/// Forwards until this server is promoted, or the worker has to end.
pub fn until_promoted(
    memory: &'static Shared,
    slot: &'static DatabaseSlot,
    journal: &'static journal::Shared,
) -> Result<Option<End>, LedgerError> {
    let forwarder =
        Forwarder { memory, slot, journal, name: journal.journal(), directory: trail::directory() };
    let (mut retry, mut said) = (FIRST_RETRY, None::<(String, Instant)>);
    while session::in_recovery() {
        if worker::shall_end() {
            return Ok(Some(End::Told));
        }
        if worker::transaction(Tables::find).is_none() {
            return Ok(Some(End::NotInstalled));
        }
        forwarder.release()?;
        let Some(address) = remote::address() else {
            worker::sleep(Some(GLANCE));
            continue;
        };
        let mut reached = false;
        let ended = forwarder.converse(&address, &mut reached);
        slot.writer.change(ProcessState::Running, ProcessState::Starting);
        if reached {
            retry = FIRST_RETRY;
        }
        let problem = match ended {
            Ok(()) => continue,
            // Promotion and the end of the server break off what goes on.
            Err(_) if worker::shall_end() || !session::in_recovery() => continue,
            Err(LedgerError::Forwarding(problem)) => problem.to_string(),
            Err(other) => return Err(other),
        };
        let again = said.as_ref().is_some_and(|(before, at)| *before == problem && at.elapsed() < WARNINGS);
        if !again {
            pgrx::warning!("pg_custodian: could not forward to the primary's ledger: {problem}");
            said = Some((problem, Instant::now()));
        }
        let until = Instant::now() + retry;
        while Instant::now() < until && session::in_recovery() && !worker::shall_end() {
            worker::sleep(Some(until.saturating_duration_since(Instant::now()).min(GLANCE)));
        }
        retry = (retry * 2).min(LAST_RETRY);
    }
    Ok(None)
}

struct Forwarder {
    memory: &'static Shared,
    slot: &'static DatabaseSlot,
    journal: &'static journal::Shared,
    name: Journal,
    directory: PathBuf,
}

/// Reads the journal from a place on.
struct Reader {
    drain: Drain,
    rows: Vec<Row>,
    /// Where `rows` begin.
    at: Place,
    /// How many of them to send at once.
    most: usize,
}

impl Forwarder {
    fn first(&self) -> Result<Place, LedgerError> {
        let first = segment::first_of(&self.directory, self.name)?;
        let position = first.map_or(self.journal.epoch_start(), |number| number * segment::SIZE);
        Ok(Place { position, rows: 0, needed_from: position })
    }

    fn reader(&self, at: Option<Place>) -> Result<Reader, LedgerError> {
        let at = match at {
            Some(at) => at,
            None => self.first()?,
        };
        if at.position > self.journal.reserved() {
            let reason = format!(
                "the primary's ledger is at {}, the journal ends at {}",
                at.position,
                self.journal.reserved()
            );
            return Err(LedgerError::Misplaced { reason });
        }
        let mut merger = Merger::new(session::database().to_u32(), at.position, at.needed_from);
        merger.skip(at.rows);
        Ok(Reader { drain: Drain::new(&self.directory, merger), rows: Vec::new(), at, most: BATCH })
    }

    /// One connection, for as long as it is good for something.
    fn converse(&self, address: &CStr, reached: &mut bool) -> Result<(), LedgerError> {
        let server = server_name(&self.name);
        let database = worker::transaction(session::database_name);
        let database = CString::new(database).unwrap_or_default();
        let mut remote = Remote::connect(address, &database)?;
        let mut stored = forward_store::send(&mut remote, &server, &self.name, None)?;
        let mut reader = self.reader(stored)?;
        *reached = true;
        self.slot.writer.change(ProcessState::Starting, ProcessState::Running);
        let (mut idle, mut glanced) = (0, Instant::now());
        while session::in_recovery() && !worker::shall_end() {
            if glanced.elapsed() > GLANCE {
                glanced = Instant::now();
                self.release()?;
                if remote::address().as_deref() != Some(address) {
                    return Ok(());
                }
            }
            drain::keep_room(&self.directory, self.journal)?;
            reader.read(self.journal)?;
            let Some((to, records, count)) = reader.batch() else {
                self.slot.position.store(reader.drain.merger.done(), Ordering::Release);
                idle += 1;
                reader.drain.rest(self.slot, self.journal, idle, false, Some(GLANCE));
                continue;
            };
            idle = 0;
            let batch = Some((reader.at, to, records.as_slice()));
            stored = match forward_store::send(&mut remote, &server, &self.name, batch) {
                Err(LedgerError::Forwarding(RemoteError::Refused { code, message }))
                    if code == UNACCEPTABLE && count > 0 =>
                {
                    reader.refused(count, &message);
                    continue;
                }
                answer => answer?,
            };
            if stored == Some(to) {
                reader.advance(to, count);
                if to.rows == 0 {
                    self.slot.position.store(to.position, Ordering::Release);
                }
                continue;
            }
            // The primary's ledger is elsewhere: it is slow, or somebody else has sent the same.
            worker::sleep(Some(FIRST_RETRY));
            stored = forward_store::send(&mut remote, &server, &self.name, None)?;
            reader = self.reader(stored)?;
        }
        Ok(())
    }

    /// Removes what is in the ledger and has come back by replication.
    fn release(&self) -> Result<(), LedgerError> {
        let replicated = worker::transaction(|| Origins::load().map(|all| all.of(&self.name).cloned()))?;
        let needed = match replicated {
            Some(origin) => origin.place.needed_from,
            None => self.first()?.position,
        };
        drain::release(self.memory, self.slot, &self.directory, self.journal, needed)
    }
}

impl Reader {
    /// Merges until there is enough to send, or the journal has no more.
    fn read(&mut self, journal: &journal::Shared) -> Result<(), LedgerError> {
        // A place is known only where all rows before it are sent.
        if self.rows.is_empty() {
            self.drain.read(journal)?;
            self.rows = self.drain.merger.take();
        }
        Ok(())
    }

    /// What to send next: the place to which it leads, its records, and how many rows they are.
    fn batch(&self) -> Option<(Place, Vec<u8>, usize)> {
        let merger = &self.drain.merger;
        let done = Place { position: merger.done(), rows: 0, needed_from: merger.needed_from() };
        if self.rows.is_empty() {
            // Places alone are worth a message only now and then.
            let far = done.needed_from / segment::SIZE > self.at.needed_from / segment::SIZE;
            return far.then(|| (done, Vec::new(), 0));
        }
        let (records, count) = forwarded::encode(&self.rows[..self.rows.len().min(self.most)]);
        let to = match count == self.rows.len() {
            true => done,
            false => Place { rows: self.at.rows + count as u32, ..self.at },
        };
        Some((to, records, count))
    }

    fn advance(&mut self, to: Place, count: usize) {
        self.rows.drain(..count);
        self.at = to;
        self.most = BATCH;
    }

    /// The primary does not take a batch of `count` rows: finds out which row it is, and leaves that out.
    fn refused(&mut self, count: usize, reason: &str) {
        self.most = count / 2;
        if let (0, Some(row)) = (self.most, self.rows.first_mut()) {
            pgrx::warning!("pg_custodian: the primary refused a row: {reason}");
            *row = forwarded::refused(row, reason);
            self.most = 1;
        }
    }
}

impl From<RemoteError> for LedgerError {
    fn from(error: RemoteError) -> Self {
        Self::Forwarding(error)
    }
}
