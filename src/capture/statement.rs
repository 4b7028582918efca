//! Statements in flight.

use crate::event::{Outcome, Shape};
use crate::pg::transaction::Ending;
use crate::pg::{hooks::Depth, session, shared};
use crate::trail::{self, Beginning, TrailError};
use std::cell::RefCell;

/// A recorded statement between its beginning and its end.
struct Open {
    key: usize,
    number: u32,
    subtransaction: u32,
    rows: u64,
    opened: Opened,
}

/// Under what an execution began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Serial number of the person.
    pub person: u64,
    /// Of the configuration.
    pub generation: u64,
    /// Whether it has run since: then it is a cursor that goes on.
    pub has_run: bool,
}

#[derive(Default)]
struct Flight {
    open: Vec<Open>,
    /// Numbers of the statements that run right now, the innermost last; 0 for one not recorded.
    running: Vec<u32>,
}

thread_local! {
    static FLIGHT: RefCell<Flight> = RefCell::new(Flight::default());
}

/// What the pipeline found out about a statement.
pub struct Facts<'a> {
    pub at: i64,
    /// Without secrets.
    pub text: &'a [u8],
    pub grants: &'a [i64],
    pub parameters: &'a [u8],
    pub parameter_count: u16,
    /// Tells shapes apart: see [`Beginning::key`].
    pub key: &'a [u8],
}

fn begin(facts: &Facts<'_>, shape: impl FnOnce() -> Shape) -> Result<u32, TrailError> {
    let (parent, depth) = FLIGHT.with_borrow(|flight| {
        let parent = flight.running.iter().rev().find(|number| **number != 0);
        (parent.copied().unwrap_or(0), flight.running.len())
    });
    let beginning = Beginning {
        parent,
        depth: depth.min(usize::from(u16::MAX)) as u16,
        at: facts.at,
        text: facts.text,
        grants: facts.grants,
        parameters: facts.parameters,
        parameter_count: facts.parameter_count,
        key: facts.key,
    };
    trail::begin(&beginning, shape)
}

/// Records that the execution `key` begins, by the person with this serial number.
pub fn start(
    key: usize,
    person: u64,
    facts: &Facts<'_>,
    shape: impl FnOnce() -> Shape,
) -> Result<(), TrailError> {
    let number = begin(facts, shape)?;
    let subtransaction = session::subtransaction();
    let opened = Opened { person, generation: shared::generation(), has_run: false };
    FLIGHT.with_borrow_mut(|flight| flight.open.push(Open { key, number, subtransaction, rows: 0, opened }));
    Ok(())
}

/// Records a statement that was stopped with this SQLSTATE before it could begin.
pub fn stopped(
    facts: &Facts<'_>,
    sqlstate: [u8; 5],
    shape: impl FnOnce() -> Shape,
) -> Result<(), TrailError> {
    let number = begin(facts, shape)?;
    trail::end(number, 0, Outcome::of_sqlstate(sqlstate), sqlstate);
    Ok(())
}

/// Under what the execution `key` began, if it is recorded.
pub fn opened(key: usize) -> Option<Opened> {
    FLIGHT.with_borrow(|flight| flight.open.iter().rfind(|open| open.key == key).map(|open| open.opened))
}

/// How many statements run right now, one inside the other.
pub fn depth() -> Depth {
    FLIGHT.with_borrow(|flight| flight.running.len())
}

/// The execution `key` runs from now on; returns the depth to go back to.
pub fn running(key: usize) -> Depth {
    FLIGHT.with_borrow_mut(|flight| {
        let depth = flight.running.len();
        let number = flight.open.iter_mut().rfind(|open| open.key == key).map_or(0, |open| {
            open.opened.has_run = true;
            open.number
        });
        flight.running.push(number);
        depth
    })
}

/// The execution stopped running, for good or until its next FETCH.
pub fn ran(key: usize, depth: Depth, processed: u64) {
    FLIGHT.with_borrow_mut(|flight| {
        flight.running.truncate(depth);
        if let Some(open) = flight.open.iter_mut().rfind(|open| open.key == key) {
            open.rows += processed;
        }
    });
}

/// The execution ended.
pub fn ended(key: usize) {
    if let Some(open) = take(key) {
        trail::end(open.number, open.rows, Outcome::Ok, *b"00000");
    }
}

/// The execution ended with an ERROR.
pub fn failed(key: usize, depth: Depth, processed: u64, sqlstate: [u8; 5]) {
    FLIGHT.with_borrow_mut(|flight| flight.running.truncate(depth));
    if let Some(open) = take(key) {
        trail::end(open.number, open.rows + processed, Outcome::of_sqlstate(sqlstate), sqlstate);
    }
}

fn take(key: usize) -> Option<Open> {
    FLIGHT.with_borrow_mut(|flight| {
        let place = flight.open.iter().rposition(|open| open.key == key)?;
        Some(flight.open.remove(place))
    })
}

/// Records that a utility statement begins; returns its number.
pub fn start_utility(facts: &Facts<'_>, shape: impl FnOnce() -> Shape) -> Result<u32, TrailError> {
    begin(facts, shape)
}

/// The utility statement `number` (0 if it is not recorded) runs from now on.
pub fn utility_running(number: u32) -> Depth {
    FLIGHT.with_borrow_mut(|flight| {
        flight.running.push(number);
        flight.running.len() - 1
    })
}

/// The utility statement ended.
pub fn utility_ended(number: u32, depth: Depth, rows: u64, outcome: Outcome, sqlstate: [u8; 5]) {
    FLIGHT.with_borrow_mut(|flight| flight.running.truncate(depth));
    if number != 0 {
        trail::end(number, rows, outcome, sqlstate);
    }
}

/// Closes what the end of the transaction leaves without an end of its own: cursors that a
/// ROLLBACK closed, and everything of a session that was terminated.
pub fn transaction_ended(ending: Ending) {
    // Most transactions leave nothing: then the list keeps its room for the next one.
    let open = FLIGHT.with_borrow_mut(|flight| match flight.open.is_empty() {
        true => Vec::new(),
        false => std::mem::take(&mut flight.open),
    });
    let (outcome, sqlstate) = match ending {
        Ending::Aborted if session::is_exiting() => (Outcome::Interrupted, *b"57P01"),
        _ => (Outcome::Ok, *b"00000"),
    };
    for open in open {
        trail::end(open.number, open.rows, outcome, sqlstate);
    }
}

/// Closes the cursors that were opened in a subtransaction which is rolled back.
pub fn subtransaction_aborted(subtransaction: u32) {
    let closed: Vec<Open> = FLIGHT.with_borrow_mut(|flight| {
        flight.open.extract_if(.., |open| open.subtransaction >= subtransaction).collect()
    });
    for open in closed {
        trail::end(open.number, open.rows, Outcome::Ok, *b"00000");
    }
}
