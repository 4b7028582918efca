//! Start, stop and change of the recording itself: events of the server, in the ledger of each database.
//!
//! A `recording` event begins each epoch of the journal, with the settings that are in force; one ends it if the
//! server stops in order. So a start without a stop before it was a crash, and a setting that
//! was changed while the server was down shows by comparison. What changes while it runs is a
//! `setting` event with the old and the new value, written once for the server, by the launcher.

use crate::event::{Note, Outcome};
use crate::journal::Io;
use crate::journal::recovery::{Start, begin_epoch};
use crate::pg::local::process_local;
use crate::pg::{session, shared};
use crate::settings::JournalIo;
use crate::{settings, trail};
use serde_json::{Map, Value, json};
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

/// What is in force in this process, by the name of the setting.
fn in_force() -> Map<String, Value> {
    let value = |name: &str| session::setting(name).map_or(Value::Null, Value::String);
    settings::NAMES.iter().map(|name| ((*name).to_string(), value(name))).collect()
}

/// The journal goes on in a new epoch, because shared memory is new; in the postmaster. If it cannot, every statement
/// of people and enrolled roles is refused, everybody else works, and the launcher tries again for as long as that lasts.
/// Returns whether the journal runs.
pub fn start_journal() -> bool {
    let Some(journal) = trail::journal() else { return true };
    if journal.started().is_ok() {
        return true;
    }
    let there = |file: &str| Path::new(file).exists();
    let start = Start {
        io: match settings::journal_io() {
            JournalIo::Mmap => Io::Mmap,
            JournalIo::Pwrite => Io::Pwrite,
        },
        on_standby: there("standby.signal"),
        // The first start from a base backup: recovery renames the file.
        copied: there("backup_label"),
    };
    match begin_epoch(&trail::directory(), journal, start) {
        Ok(()) => started(),
        Err(error) => {
            // The launcher tries every second.
            if WARNED.get().is_none_or(|at| at.elapsed() > WARNINGS) {
                WARNED.set(Some(Instant::now()));
                pgrx::warning!("pg_custodian: could not start the audit journal: {error}");
            }
            return false;
        }
    }
    true
}

/// Between two warnings of the same.
const WARNINGS: Duration = Duration::from_secs(60);

process_local! {
    static WARNED: Cell<Option<Instant>> = const { Cell::new(None) };
}

fn started() {
    let settings = in_force();
    let epoch = trail::journal().map_or(0, |journal| journal.epoch());
    let version = env!("CARGO_PKG_VERSION");
    note(
        "recording",
        None,
        &json!({"action": "start", "epoch": epoch, "version": version, "settings": settings}),
    );
    remember(settings);
}

/// The server stops in order, and nobody else is left; in the postmaster.
pub(super) fn stopping() {
    note("recording", None, &json!({"action": "stop"}));
}

/// Records what has changed since the last look; in the launcher, after it has read the configuration. What was in
/// force is in shared memory, so that a launcher that comes after another one misses nothing.
pub fn notice_changes() {
    let Some(memory) = shared::get() else { return };
    let Ok(Value::Object(before)) = serde_json::from_slice(&memory.settings.recall()) else { return };
    let now = in_force();
    if before == now {
        return;
    }
    for (name, new) in &now {
        let old = before.get(name).unwrap_or(&Value::Null);
        if old != new {
            note("setting", Some(name.clone()), &json!({"old": old, "new": new}));
        }
    }
    remember(now);
}

fn remember(settings: Map<String, Value>) {
    if let Some(memory) = shared::get() {
        memory.settings.remember(Value::Object(settings).to_string().as_bytes());
    }
}

fn note(event: &'static str, object: Option<String>, detail: &Value) {
    let detail = Some(detail.to_string());
    let note = Note { event, outcome: Outcome::Ok, sqlstate: None, object, detail };
    if let Err(lost) = trail::note_of_server(&note) {
        pgrx::warning!("pg_custodian: {lost}");
    }
}
