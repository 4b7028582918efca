//! Which functions are named queries.

use super::store;
use crate::error::ServerError;
use crate::pg::local::process_local;
use crate::pg::{session, shared};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// A named query, as far as whoever runs it must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    pub function: Oid,
    pub schema: Oid,
    /// `queries.name(parameter type, ...)`, for the record.
    pub call: String,
    pub text: String,
}

/// Good for one generation of the configuration.
struct Known {
    generation: u64,
    queries: HashMap<Oid, Rc<Named>>,
}

process_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

fn with_known<T>(look: impl FnOnce(&HashMap<Oid, Rc<Named>>) -> T) -> Result<Option<T>, ServerError> {
    if !session::in_transaction() {
        return Ok(None);
    }
    let generation = shared::generation();
    let is_current = KNOWN.with_borrow(|known| known.as_ref().is_some_and(|k| k.generation == generation));
    if !is_current {
        let queries = store::named()?.into_iter().map(|query| (query.function, Rc::new(query))).collect();
        KNOWN.replace(Some(Known { generation, queries }));
    }
    Ok(KNOWN.with_borrow(|known| known.as_ref().map(|known| look(&known.queries))))
}

/// The named query that a function is, if it is one.
///
/// Costs the comparison of a number and a hash lookup; the table is read when the number has moved.
pub fn find(function: Oid) -> Result<Option<Rc<Named>>, ServerError> {
    Ok(with_known(|queries| queries.get(&function).cloned())?.flatten())
}

/// The functions of all named queries.
pub fn functions() -> Result<Vec<Oid>, ServerError> {
    Ok(with_known(|queries| queries.keys().copied().collect())?.unwrap_or_default())
}
