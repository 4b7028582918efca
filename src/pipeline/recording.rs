//! Start, stop and change of the recording itself: events of the server, in the ledger of each database.
//!
//! A `recording` event begins each epoch of the journal, with the settings that are in force; one ends it if the
//! server stops in order. So a start without a stop before it was a crash, and a setting that
//! was changed while the server was down shows by comparison. What changes while it runs is a
//! `setting` event with the old and the new value, written once for the server, by the launcher.

use crate::event::{Note, Outcome};
use crate::pg::{session, shared};
use crate::{settings, trail};
use serde_json::{Map, Value, json};

/// What is in force in this process, by the name of the setting.
fn in_force() -> Map<String, Value> {
    let value = |name: &str| session::setting(name).map_or(Value::Null, Value::String);
    settings::NAMES.iter().map(|name| ((*name).to_string(), value(name))).collect()
}

/// The journal has begun an epoch; in the postmaster.
pub(super) fn started() {
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
