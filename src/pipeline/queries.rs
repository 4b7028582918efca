//! Named queries that run, and what roles may run that are bound to them.

use super::harmless::needs_nobody;
use super::surroundings::{Surroundings, installed};
use crate::access::query::{Named, known};
use crate::capture::statement as capture;
use crate::error::{ServerError, report};
use crate::pg::hooks::Depth;
use crate::pg::local::process_local;
use crate::pg::query::{Analysed, Planned};
use crate::pg::session;
use crate::pg::utility::{Kind, Utility};
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::ErrorReport;
use std::cell::RefCell;
use std::rc::Rc;

struct Frame {
    query: Rc<Named>,
    /// Statements that ran when it was called.
    depth: Depth,
}

process_local! {
    /// The innermost last.
    static FRAMES: RefCell<Vec<Frame>> = const { RefCell::new(Vec::new()) };
}

/// A function begins that may be a named query.
pub(super) fn entered(function: Oid) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    if let Some(query) = known::find(function).map_err(report)? {
        let frame = Frame { query, depth: capture::depth() };
        FRAMES.with_borrow_mut(|frames| frames.push(frame));
    }
    Ok(())
}

/// A function has ended, well or badly.
pub(super) fn left(function: Oid) {
    FRAMES.with_borrow_mut(|frames| {
        if frames.last().is_some_and(|frame| frame.query.function == function) {
            frames.pop();
        }
    });
}

/// The transaction is over.
pub(super) fn forget() {
    FRAMES.with_borrow_mut(Vec::clear);
}

/// Named queries that are running.
pub(super) struct Running {
    /// The one that a statement of the person's calls: what it uses is approved with it.
    pub(super) called: Rc<Named>,
    /// The innermost.
    pub(super) query: Rc<Named>,
    /// Whether what starts now is its own statement, and not one that this runs.
    pub(super) own: bool,
}

/// The named queries in which a statement starts, or a function is called.
pub(super) fn inside() -> Option<Running> {
    FRAMES.with_borrow(|frames| {
        let (first, last) = (frames.first()?, frames.last()?);
        let depth = capture::depth();
        (depth >= last.depth).then(|| Running {
            called: first.query.clone(),
            query: last.query.clone(),
            own: depth == last.depth,
        })
    })
}

/// Functions that may be called beside named queries, and these.
fn callable(known: &Surroundings) -> Result<Vec<Oid>, ServerError> {
    let mut functions = known::functions()?;
    functions.extend(&known.identifying);
    functions.extend(&known.serving);
    Ok(functions)
}

/// Whether a role that is bound to named queries may send this: a call, or a look at what it may call.
pub(super) fn permits(known: &Surroundings, query: &Analysed<'_>) -> Result<bool, ServerError> {
    Ok(query.is_call(&callable(known)?)
        || query.only_looks_at(&known.identifying, &known.readable, &known.telling))
}

/// The same of a plan, which may be older than the binding.
pub(super) fn permits_plan(known: &Surroundings, planned: &Planned<'_>) -> Result<bool, ServerError> {
    Ok(planned.is_call(&callable(known)?) || planned.only_looks_at(&known.readable, &known.telling))
}

/// The same of a utility statement. What PREPARE, EXECUTE and DECLARE run is judged when it is planned. EXPLAIN can
/// make tables.
pub(super) fn permits_utility(utility: &Utility<'_>, kind: &Kind) -> bool {
    match kind {
        Kind::Wrapper => utility.command() != b"EXPLAIN",
        Kind::Fetch => true,
        kind => needs_nobody(utility, kind),
    }
}
