//! How many rows leave, by statement and by person.
//!
//! Promises: on a role with limits, in identify and govern mode, each row that a statement of the client's returns,
//! however it is fetched, and each row that COPY takes out, is counted before it leaves; the one that is too many is
//! refused, and its statement with it. Rows that functions pass on within a statement do not count.

use super::asker::Asker;
use super::utility::{self, Scope};
use crate::capture::statement as capture;
use crate::error::{Report, report};
use crate::event::{Note, Outcome};
use crate::gate::GateError;
use crate::gate::volume::{self, CountFault};
use crate::identity::enrolled::{self, Terms};
use crate::identity::{Person, instant, session as identity};
use crate::pg::local::process_local;
use crate::pg::receiver::{self, Exit};
use crate::pg::session;
use crate::trail;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use serde_json::json;
use std::cell::RefCell;

/// An execution whose rows are the client's, and those that have left. A cursor's come in pieces.
struct Counted {
    key: usize,
    /// It identifies, or is of constants only.
    free: bool,
    rows: i64,
}

/// An execution that runs.
struct Running {
    key: usize,
    role: Oid,
    terms: Terms,
    /// Those that leave now, and those before.
    rows: i64,
    /// By what the person is known to the counts.
    person: u64,
}

struct Volume {
    counted: Vec<Counted>,
    /// Those that run, the innermost last.
    running: Vec<Running>,
    /// The serial number of a person, and by what he is known.
    known: (u64, u64),
}

process_local! {
    static VOLUME: RefCell<Volume> =
        const { RefCell::new(Volume { counted: Vec::new(), running: Vec::new(), known: (u64::MAX, 0) }) };
}

/// Whether statements of who asks are limited.
pub(super) fn limits(asker: &Asker) -> bool {
    asker.is_limited() && asker.person.is_some()
}

/// An execution starts. What a function declares as a cursor can be the client's to fetch, also when that is over.
pub(super) fn starting(key: usize, free: bool) {
    VOLUME.with_borrow_mut(|volume| {
        volume.counted.retain(|counted| counted.key != key);
        if !capture::is_nested() || utility::is_directly_in(Scope::Declares) {
            volume.counted.push(Counted { key, free, rows: 0 });
        }
    });
}

/// An execution runs, for the first time or on.
pub(super) fn running(key: usize, exit: Exit) -> Result<(), ErrorReport> {
    // An error may have come between the last time and its run.
    receiver::watch(false);
    if exit == Exit::Inside {
        return Ok(());
    }
    let Some(person) = identity::current() else { return Ok(()) };
    let Some((role, terms)) = enrolled::of_session().map_err(report)? else { return Ok(()) };
    if !terms.limits_rows() {
        return Ok(());
    }
    let nested = capture::is_nested();
    VOLUME.with_borrow_mut(|volume| {
        let before = volume.counted.iter().find(|counted| counted.key == key);
        if before.is_some_and(|before| before.free) || before.is_none() && nested && exit == Exit::Client {
            return;
        }
        let rows = before.map_or(0, |before| before.rows);
        let serial = identity::serial();
        if volume.known.0 != serial {
            volume.known = (serial, volume::key(&person));
        }
        let person = volume.known.1;
        volume.running.push(Running { key, role, terms, rows, person });
        receiver::watch(true);
    });
    Ok(())
}

/// A row is about to leave.
pub(super) fn row_leaves() -> Result<(), ErrorReport> {
    let counted: Result<_, CountFault> = VOLUME.with_borrow_mut(|volume| {
        let Some(running) = volume.running.last_mut() else { return Ok(Ok(())) };
        if running.terms.row_limit.is_some_and(|limit| running.rows >= limit) {
            return Ok(Err((running.role, running.terms, None)));
        }
        if let Some(limit) = running.terms.rows_per_hour {
            let now = session::now();
            if let Err(exhausted) = volume::count(running.person, limit, now)? {
                return Ok(Err((running.role, running.terms, Some(exhausted))));
            }
        }
        running.rows += 1;
        Ok(Ok(()))
    });
    match counted {
        Ok(Ok(())) => Ok(()),
        Ok(Err((role, terms, exhausted))) => Err(refused(role, &terms, exhausted)),
        Err(fault) => Err(report(GateError::from(fault))),
    }
}

/// An execution has run, or failed.
pub(super) fn ran(key: usize) {
    VOLUME.with_borrow_mut(|volume| {
        let Some(running) = volume.running.pop_if(|running| running.key == key) else { return };
        match volume.counted.iter_mut().find(|counted| counted.key == key) {
            Some(counted) => counted.rows = running.rows,
            // A function's cursor that the client fetches from.
            None => volume.counted.push(Counted { key, free: false, rows: running.rows }),
        }
    });
}

/// An execution is over.
pub(super) fn ended(key: usize) {
    VOLUME.with_borrow_mut(|volume| volume.counted.retain(|counted| counted.key != key));
}

/// What is held beyond the transaction has been read to its end.
pub(super) fn transaction_ended() {
    VOLUME.with_borrow_mut(|volume| {
        volume.counted.clear();
        volume.running.clear();
    });
}

fn refused(role: Oid, terms: &Terms, exhausted: Option<volume::Exhausted>) -> ErrorReport {
    let user_id =
        identity::current().map(|person: std::rc::Rc<Person>| person.user_id.clone()).unwrap_or_default();
    let (event, limit, error) = match exhausted {
        None => ("row_limit", terms.row_limit, GateError::row_limit(role, terms)),
        Some(exhausted) => {
            let room_at = instant::display(instant::from_pg(exhausted.room_at));
            ("rows_per_hour", terms.rows_per_hour, GateError::rows_per_hour(role, terms, &user_id, room_at))
        }
    };
    let detail = json!({"limit": limit, "statement": capture::current()});
    let note = Note {
        event,
        outcome: Outcome::Denied,
        sqlstate: Some(error.sqlstate()),
        object: Some(String::from_utf8_lossy(&session::role_name(role)).into_owned()),
        detail: Some(detail.to_string()),
    };
    if let Err(lost) = trail::note(&note) {
        trail::warn(&lost);
    }
    report(error)
}
