//! Checkpoints when they are due, and on their way elsewhere.
//!
//! The steward of a database calls [`Keeper::attend`] whenever it is awake. A minute after the first row that no
//! checkpoint covers, or at once if somebody asks, the keeper makes one, in a transaction of its own that also
//! notifies; tells it to the server log; and hands it to `pg_custodian.checkpoint_command`, which runs beside it.
//! What the command did not take is offered again, together with what has come since.

use super::LedgerError;
use super::checkpoint;
use super::table::Tables;
use crate::pg::shared::{self, DatabaseSlot};
use crate::pg::{rows, session, worker};
use crate::settings;
use pg_custodian_verifier::checkpoint::Checkpoint;
use std::collections::VecDeque;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long rows wait for a checkpoint at most, in microseconds.
pub const EVERY: i64 = 60_000_000;
/// How often a command that runs is looked after, in microseconds.
const POLL: i64 = 200_000;
/// How long a command may run.
const PATIENCE: i64 = 300_000_000;
/// After how long a command that failed is run again.
const AGAIN: i64 = 15_000_000;
/// Checkpoints that one command is given at most: they fit into a pipe that nobody reads.
const BATCH: usize = 100;
/// Where sessions listen.
const CHANNEL: &std::ffi::CStr = c"pg_custodian_checkpoint";

#[derive(Debug)]
struct Running {
    child: Child,
    since: i64,
    lines: usize,
}

/// What the keeper of a database remembers.
#[derive(Debug, Default)]
pub struct Keeper {
    /// Name of the database, and its last checkpoint, once they are read.
    known: Option<(String, Option<Checkpoint>)>,
    due: Option<i64>,
    /// Checkpoints for the command.
    waiting: VecDeque<String>,
    running: Option<Running>,
    again: i64,
}

impl Keeper {
    /// Does what is due; returns when it wants to be called again.
    pub fn attend(&mut self, slot: &DatabaseSlot, now: i64) -> i64 {
        if session::in_recovery() {
            return i64::MAX;
        }
        if let Err(error) = self.make_due(slot, now) {
            pgrx::warning!("pg_custodian: no checkpoint was made: {error}");
            // Nor is it asked for any more.
            slot.checkpoint_wanted.store(0, Ordering::Release);
            self.due = Some(now + EVERY);
        }
        let command = self.hand_over(now);
        self.due.unwrap_or(i64::MAX).min(command)
    }

    fn make_due(&mut self, slot: &DatabaseSlot, now: i64) -> Result<(), LedgerError> {
        if self.known.is_none() && self.due.is_some_and(|due| now < due) {
            // They could not be read a moment ago.
            return Ok(());
        }
        if self.known.is_none() {
            let read = worker::transaction(|| {
                let Some(tables) = Tables::find() else { return Ok(None) };
                let name = String::from_utf8_lossy(&session::database_name()).into_owned();
                Ok::<_, LedgerError>(Some((name, checkpoint::last(&tables)?)))
            })?;
            let Some((name, last)) = read else { return Ok(()) };
            // Whether the command took the last one is not known.
            self.waiting.extend(last.as_ref().map(|last| publish(&name, last)));
            slot.checkpointed.store(last.as_ref().map_or(0, |last| last.seq), Ordering::Release);
            self.known = Some((name, last));
        }
        let Some((name, last)) = &mut self.known else { return Ok(()) };
        let covered = last.as_ref().map_or(0, |last| last.seq);
        let rows = slot.rows.load(Ordering::Acquire) as i64;
        if rows <= covered {
            self.due = None;
            return Ok(());
        }
        let due = *self.due.get_or_insert(now + EVERY);
        let wanted = slot.checkpoint_wanted.load(Ordering::Acquire) > covered;
        if now < due && !wanted {
            return Ok(());
        }
        let made = worker::transaction(|| {
            let Some(tables) = Tables::find() else { return Ok(None) };
            let made = checkpoint::make(&tables, last.as_ref(), rows, now)?;
            if let Some(made) = &made {
                worker::notify(CHANNEL, &publish(name, made));
            }
            Ok::<_, LedgerError>(made)
        })?;
        let Some(made) = made else { return Ok(()) };
        let line = publish(name, &made);
        pgrx::log!("pg_custodian: checkpoint {line}");
        // More than one takes is made in steps, between which the steward looks after people.
        self.due = (made.seq < rows).then_some(now);
        slot.checkpointed.store(made.seq, Ordering::Release);
        *last = Some(made);
        self.waiting.push_back(line);
        Ok(())
    }

    /// Runs the command, or looks after the one that runs.
    fn hand_over(&mut self, now: i64) -> i64 {
        let command = settings::checkpoint_command();
        if let Some(running) = &mut self.running {
            let ended = match running.child.try_wait() {
                Ok(None) if now - running.since < PATIENCE => return now + POLL,
                Ok(None) => {
                    let _ = running.child.kill();
                    let _ = running.child.wait();
                    Err("it ran for too long".to_owned())
                }
                Ok(Some(status)) if status.success() => Ok(()),
                Ok(Some(status)) => Err(status.to_string()),
                Err(error) => Err(error.to_string()),
            };
            let lines = running.lines;
            self.running = None;
            match ended {
                Ok(()) => drop(self.waiting.drain(..lines.min(self.waiting.len()))),
                Err(problem) => self.failed(now, &problem),
            }
        }
        let Some(command) = command else {
            // Nobody wants them: they are in the table.
            self.waiting.clear();
            return i64::MAX;
        };
        if self.waiting.is_empty() {
            return i64::MAX;
        }
        if now < self.again {
            return self.again;
        }
        let lines: Vec<String> = self.waiting.iter().take(BATCH).cloned().collect();
        match start(&command, &lines) {
            Ok(child) => self.running = Some(Running { child, since: now, lines: lines.len() }),
            Err(error) => self.failed(now, &error.to_string()),
        }
        now + POLL
    }

    fn failed(&mut self, now: i64, problem: &str) {
        pgrx::warning!("pg_custodian: \"pg_custodian.checkpoint_command\" failed: {problem}");
        self.again = now + AGAIN;
    }
}

/// A checkpoint as it is told to others: one line of JSON.
fn publish(database: &str, made: &Checkpoint) -> String {
    let mut json = made.to_json();
    json["database"] = database.into();
    json.to_string()
}

fn start(command: &str, lines: &[String]) -> std::io::Result<Child> {
    let mut child = Command::new("/bin/sh").arg("-c").arg(command).stdin(Stdio::piped()).spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not want to read does not have to.
        let _ = input.write_all(format!("{}\n", lines.join("\n")).as_bytes());
    }
    Ok(child)
}

/// Asks for a checkpoint of all rows that are there now, and waits for it.
pub fn checkpoint_now() -> Result<serde_json::Value, LedgerError> {
    let tables = Tables::require()?;
    let end = rows::with_newest_state(|| super::verify::end(&tables))?;
    // A standby makes none, and before the first row there is none: then there is the end of the chain.
    let plain = serde_json::json!({ "seq": end.seq, "hash": hex::encode(end.hash) });
    if session::in_recovery() || end.seq == 0 {
        return Ok(plain);
    }
    let memory = shared::require()?;
    let (start, mut asked) = (Instant::now(), false);
    loop {
        if let Some(slot) = memory.database(session::database().to_u32()) {
            if slot.checkpointed.load(Ordering::Acquire) >= end.seq {
                break;
            }
            // Once: what cannot be made is not tried again and again.
            if !std::mem::replace(&mut asked, true) {
                slot.checkpoint_wanted.fetch_max(end.seq, Ordering::AcqRel);
            }
            slot.steward.wake();
        } else {
            memory.wake_launcher();
        }
        if start.elapsed() >= Duration::from_secs(30) {
            return Err(LedgerError::NoCheckpoint);
        }
        worker::sleep(Some(Duration::from_millis(5)));
    }
    let last = rows::with_newest_state(|| checkpoint::last(&tables))?;
    Ok(last.map_or(plain, |last| last.to_json()))
}
