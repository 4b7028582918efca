//! Exports as events: allowed or refused, by whichever means.

use super::asker::Asker;
use crate::capture::statement as capture;
use crate::error::report;
use crate::event::{Note, Outcome};
use crate::gate::export::Means;
use crate::pg::local::process_local;
use crate::trail::{self, TrailError};
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::json;
use std::cell::Cell;

process_local! {
    /// The statement that was told of last, and by which means: one that calls a function twice is one export.
    static TOLD: Cell<Option<(u32, Means)>> = const { Cell::new(None) };
}

/// A recorded statement that runs exports. Whoever is accountable is refused if that cannot be recorded.
pub(super) fn allowed(asker: &Asker, means: Means, statement: u32) -> Result<(), ErrorReport> {
    if TOLD.replace(Some((statement, means))) == Some((statement, means)) {
        return Ok(());
    }
    match tell(means, Outcome::Ok, statement) {
        Err(error) if asker.is_accountable() => Err(report(error)),
        Err(error) => {
            trail::warn(&error);
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// A function that exports is about to be called by what runs.
pub(super) fn called(means: Means) -> Result<(), ErrorReport> {
    match capture::current() {
        Some(statement) => allowed(&Asker::find().map_err(report)?.0, means, statement),
        None => Ok(()),
    }
}

/// An export was refused, which is on record as the session's last statement.
pub(super) fn refused(means: Means, error: ErrorReport) -> ErrorReport {
    let statement = trail::statements().unwrap_or_default();
    if let Err(lost) = tell(means, Outcome::Denied, statement) {
        trail::warn(&lost);
    }
    error
}

fn tell(means: Means, outcome: Outcome, statement: u32) -> Result<(), TrailError> {
    let detail = Some(json!({"statement": statement}).to_string());
    trail::note(&Note {
        event: "export",
        outcome,
        sqlstate: None,
        object: Some(means.name().to_owned()),
        detail,
    })
}
