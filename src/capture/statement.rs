//! Statements in flight.

use super::{build, failure, objects};
use crate::event::{Object, Origin, Outcome, Shape, object};
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::hooks::{Depth, Ticket};
use crate::pg::local::process_local;
use crate::pg::query::Place;
use crate::pg::{scope, sent, session, shared};
use crate::settings;
use crate::trail::{self, Beginning, Ending, TrailError};
use std::cell::RefCell;

/// A recorded statement between its beginning and its end.
struct Open {
    key: usize,
    number: u32,
    subtransaction: u32,
    rows: u64,
    /// Bytes sent to the client by its runs, and before the one that goes on.
    bytes: u64,
    sent_before: u64,
    /// Whether it runs right now, so that some of its rows are not counted yet.
    runs: bool,
    opened: Opened,
}

impl Open {
    /// It runs no more, for good or until its next FETCH.
    fn stop(&mut self, processed: u64) {
        self.rows += processed;
        // ExecutorFinish comes after a run, and sends nothing.
        if std::mem::take(&mut self.runs) {
            self.bytes += sent::bytes() - self.sent_before;
        }
    }

    fn ending(&self, outcome: Outcome, sqlstate: [u8; 5]) -> Ending {
        Ending {
            number: self.number,
            rows: self.rows,
            bytes: self.bytes,
            outcome,
            sqlstate,
            ..Ending::default()
        }
    }
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

/// A statement that runs right now.
#[derive(Debug, Clone, Copy)]
struct Running {
    /// 0 if it is not recorded.
    number: u32,
    nature: Nature,
    /// Of a utility statement.
    place: Option<Place>,
}

/// What kind of statement runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    Planned,
    Utility,
    /// A utility statement that only carries another statement of the client's.
    Carrier,
}

/// Stands for the number of a statement that is not recorded, between its start and its run.
const UNRECORDED: u32 = u32::MAX;

#[derive(Default)]
struct Flight {
    open: Vec<Open>,
    /// The innermost last.
    running: Vec<Running>,
    /// The statement that was started or continued last: the executor calls its functions from now on.
    current: u32,
}

impl Flight {
    fn parent(&self) -> u32 {
        self.running.iter().rev().find(|running| running.number != 0).map_or(0, |running| running.number)
    }

    fn back_to(&mut self, depth: Depth) {
        self.running.truncate(depth);
        self.current = self.running.last().map_or(0, |running| running.number);
    }
}

process_local! {
    static FLIGHT: RefCell<Flight> =
        const { RefCell::new(Flight { open: Vec::new(), running: Vec::new(), current: 0 }) };
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
    let (parent, depth) = FLIGHT.with_borrow(|flight| (flight.parent(), flight.running.len()));
    let (mut text, mut parameters, mut parameter_count) =
        (facts.text, facts.parameters, facts.parameter_count);
    let normal;
    if settings::normalize_statements() {
        normal = build::normal(facts);
        if let Some(normal) = &normal {
            (text, parameters, parameter_count) = (&normal.text, &normal.parameters, normal.count);
        }
    }
    let beginning = Beginning {
        parent,
        depth: depth.min(usize::from(u16::MAX)) as u16,
        at: facts.at,
        text,
        grants: facts.grants,
        parameters,
        parameter_count,
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
) -> Result<u32, TrailError> {
    let number = begin(facts, shape)?;
    let subtransaction = session::subtransaction();
    let opened = Opened { person, generation: shared::generation(), has_run: false };
    FLIGHT.with_borrow_mut(|flight| {
        let open =
            Open { key, number, subtransaction, rows: 0, bytes: 0, sent_before: 0, runs: false, opened };
        flight.open.push(open);
        flight.current = number;
    });
    Ok(number)
}

/// Records that the statement `number`, which has begun on the record, is not let run after all.
pub fn withdrawn(number: u32, sqlstate: [u8; 5]) {
    FLIGHT.with_borrow_mut(|flight| {
        flight.open.retain(|open| open.number != number);
        flight.back_to(flight.running.len());
    });
    let outcome = Outcome::of_sqlstate(sqlstate);
    end(Ending { number, outcome, sqlstate, ..Ending::default() }, Vec::new());
}

/// Records a statement that was stopped with this SQLSTATE before it could begin.
pub fn stopped(
    facts: &Facts<'_>,
    sqlstate: [u8; 5],
    shape: impl FnOnce() -> Shape,
) -> Result<(), TrailError> {
    let number = begin(facts, shape)?;
    let outcome = Outcome::of_sqlstate(sqlstate);
    trail::end(Ending { number, outcome, sqlstate, ..Ending::default() });
    trail::secure()
}

/// Under what the execution `key` began, if it is recorded.
pub fn opened(key: usize) -> Option<Opened> {
    FLIGHT.with_borrow(|flight| flight.open.iter().rfind(|open| open.key == key).map(|open| open.opened))
}

/// How many statements run right now, one inside the other.
pub fn depth() -> Depth {
    FLIGHT.with_borrow(|flight| flight.running.len())
}

/// Whether a recorded statement runs: then it has a record of the errors under it.
pub fn runs_recorded() -> bool {
    FLIGHT.with_borrow(|flight| flight.running.iter().any(|running| running.number != 0))
}

/// The execution `key` runs from now on; returns the depth to go back to.
pub fn running(key: usize) -> Depth {
    enter(key, |open| {
        open.opened.has_run = true;
        open.runs = true;
        open.sent_before = sent::bytes();
    })
}

/// The execution `key` has run, and ends what is left to do; returns the depth to go back to.
pub fn finishing(key: usize) -> Depth {
    enter(key, |_| ())
}

fn enter(key: usize, mark: impl FnOnce(&mut Open)) -> Depth {
    FLIGHT.with_borrow_mut(|flight| {
        let depth = flight.running.len();
        let number = flight.open.iter_mut().rfind(|open| open.key == key).map_or(0, |open| {
            mark(open);
            open.number
        });
        flight.running.push(Running { number, nature: Nature::Planned, place: None });
        flight.current = number;
        depth
    })
}

/// The execution stopped running, for good or until its next FETCH.
pub fn ran(key: usize, depth: Depth, processed: u64) {
    FLIGHT.with_borrow_mut(|flight| {
        flight.back_to(depth);
        if let Some(open) = flight.open.iter_mut().rfind(|open| open.key == key) {
            open.stop(processed);
        }
    });
}

/// The execution ended.
pub fn ended(key: usize) {
    if let Some(open) = take(key) {
        end(open.ending(Outcome::Ok, *b"00000"), Vec::new());
    }
}

/// The execution ended with an ERROR.
pub fn failed(key: usize, depth: Depth, processed: u64, sqlstate: [u8; 5]) {
    FLIGHT.with_borrow_mut(|flight| flight.back_to(depth));
    if let Some(mut open) = take(key) {
        if depth == 0 {
            failure::recorded();
        }
        open.stop(processed);
        end(open.ending(Outcome::of_sqlstate(sqlstate), sqlstate), Vec::new());
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
pub fn utility_running(number: u32, nature: Nature, place: Place) -> Depth {
    FLIGHT.with_borrow_mut(|flight| {
        flight.running.push(Running { number, nature, place: Some(place) });
        flight.current = number;
        flight.running.len() - 1
    })
}

/// The utility statement ended; `named` are objects that it named and did something to that nobody tells.
pub fn utility_ended(ticket: Ticket, rows: u64, outcome: Outcome, sqlstate: [u8; 5], named: Vec<Object>) {
    FLIGHT.with_borrow_mut(|flight| flight.back_to(ticket.depth));
    if ticket.statement != 0 {
        if ticket.depth == 0 && outcome != Outcome::Ok {
            failure::recorded();
        }
        let bytes = sent::bytes() - ticket.sent;
        let closes = ticket.closes;
        end(
            Ending { number: ticket.statement, rows, bytes, outcome, sqlstate, closes, ..Ending::default() },
            named,
        );
    }
}

/// Records the end of a statement, and what became of objects.
fn end(mut ending: Ending, named: Vec<Object>) {
    ending.objects = named;
    if objects::any() {
        object::merge(&mut ending.objects, objects::take(ending.number, ending.outcome == Outcome::Ok));
    }
    // Nothing encloses it, and nothing goes on after it: the transaction ends with it.
    ending.closes |= depth() == 0 && !session::in_transaction_block();
    trail::end(ending);
}

/// The recorded statement whose functions are called now. What the planner runs at the top comes before its statement
/// has a number: it is nobody's.
fn calling(flight: &Flight) -> Option<u32> {
    match flight.current {
        0 | UNRECORDED => Some(flight.parent()).filter(|number| *number != 0),
        number => Some(number),
    }
}

/// The recorded statement that calls functions now.
pub fn current() -> Option<u32> {
    FLIGHT.with_borrow(calling)
}

/// Notes what is done to an object: by the utility statement that runs, or the statement that does it without one.
/// CREATE TABLE AS makes its table while its query runs.
pub fn touched(access: &ObjectAccess) {
    let statement = FLIGHT.with_borrow(|flight| {
        if access.access == Access::Executed {
            return calling(flight);
        }
        let is_utility = |running: &&Running| running.number != 0 && running.nature != Nature::Planned;
        let utility = flight.running.iter().rev().find(is_utility).map(|running| running.number);
        utility.or(Some(flight.parent()).filter(|number| *number != 0))
    });
    if let Some(statement) = statement {
        objects::touched(statement, access);
    }
}

/// Notes that a statement starts that is not recorded.
pub fn passed() {
    FLIGHT.with_borrow_mut(|flight| flight.current = UNRECORDED);
}

/// Whether what starts now was not sent by a client, but run by a statement that was.
pub fn is_nested() -> bool {
    FLIGHT.with_borrow(|flight| flight.running.iter().any(|running| running.nature != Nature::Carrier))
}

/// Where the utility statement stands that runs right now, if it is the innermost.
pub fn enclosing() -> Option<Place> {
    FLIGHT.with_borrow(|flight| flight.running.last().and_then(|running| running.place))
}

/// What has a statement run that starts now.
pub fn origin() -> Origin {
    if scope::is_directly_referential() {
        Origin::ForeignKey
    } else if session::in_trigger() {
        Origin::Trigger
    } else if session::in_extension_script() {
        Origin::Extension
    } else {
        Origin::Client
    }
}

/// Closes what the end of the transaction leaves without an end of its own: cursors that a ROLLBACK closed.
pub fn transaction_ended() {
    // Most transactions leave nothing: then the list keeps its room for the next one.
    let open = FLIGHT.with_borrow_mut(|flight| match flight.open.is_empty() {
        true => Vec::new(),
        false => std::mem::take(&mut flight.open),
    });
    for open in open {
        close(open, Outcome::Ok, *b"00000");
    }
    // A CALL that ended its transaction goes on.
    let idle = FLIGHT.with_borrow_mut(|flight| {
        let idle = flight.running.is_empty();
        if idle {
            flight.current = 0;
        }
        idle
    });
    if idle && objects::any() {
        objects::clear();
    }
}

/// Closes everything of a session that ends, for this reason. A FATAL error passes no hook on its way
/// out: what runs has not told its rows yet. `processed` knows those of an execution that runs, `copied`
/// is what a COPY that runs has sent.
pub fn session_ended(reason: [u8; 5], processed: impl Fn(usize) -> u64, copied: u64) {
    let mut flight = FLIGHT.with_borrow_mut(std::mem::take);
    for open in flight.open.iter_mut().filter(|open| open.runs) {
        open.stop(processed(open.key));
    }
    // Utility statements are among those that run only. If one copies, it is the innermost.
    let is_utility = |number: &u32| *number != 0 && !flight.open.iter().any(|open| open.number == *number);
    let running: Vec<u32> =
        flight.running.iter().rev().map(|running| running.number).filter(is_utility).collect();
    for open in flight.open {
        close(open, Outcome::Interrupted, reason);
    }
    for (place, number) in running.into_iter().enumerate() {
        let rows = if place == 0 { copied } else { 0 };
        let objects = touched_by(number);
        let outcome = Outcome::Interrupted;
        trail::end(Ending { number, rows, outcome, sqlstate: reason, objects, ..Ending::default() });
    }
}

/// Closes the cursors that were opened in a subtransaction which is rolled back.
pub fn subtransaction_aborted(subtransaction: u32) {
    let closed: Vec<Open> = FLIGHT.with_borrow_mut(|flight| {
        flight.open.extract_if(.., |open| open.subtransaction >= subtransaction).collect()
    });
    for open in closed {
        close(open, Outcome::Ok, *b"00000");
    }
}

/// Records the end of a statement where no catalog can be read.
fn close(open: Open, outcome: Outcome, sqlstate: [u8; 5]) {
    let objects = touched_by(open.number);
    trail::end(Ending { objects, ..open.ending(outcome, sqlstate) });
}

/// What became of objects by a statement that did not end by itself.
fn touched_by(number: u32) -> Vec<Object> {
    if objects::any() { objects::take(number, false) } else { Vec::new() }
}
