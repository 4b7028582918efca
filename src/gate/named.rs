//! Named queries, and roles that may run nothing else.
//!
//! A query is the approved way to what it uses: whoever calls it needs a grant on the query and none on its tables.
//! That grant is looked for when the function is called, and again when its statement starts.

use super::exempt::{self, Kind};
use super::{Asker, GateError, Verdict, covering, person_of};
use crate::access::Privilege;
use crate::access::live::Place;
use crate::access::query::{Named, known};
use crate::identity::enrolled::Mode;
use crate::pg::builtin::{self, Reach};
use crate::pg::catalog;
use pgrx::pg_sys::Oid;

/// Judges what a named query runs.
pub fn check_query(asker: &Asker<'_>, query: &Named) -> Verdict {
    if asker.mode == Mode::Observe {
        return Verdict::FREE;
    }
    Verdict::of(person_of(asker).and_then(|person| {
        if asker.mode != Mode::Govern {
            return Ok(Vec::new());
        }
        let place = Place::Function { function: query.function, schema: query.schema };
        match covering(asker, person, place, Privilege::Execute)? {
            Some(grant) => Ok(vec![grant]),
            None => Err(GateError::no_function(query.function, query.schema)),
        }
    }))
}

/// Judges a statement that no named query runs; `permitted` if it is among those that every role may run.
pub fn check_ad_hoc(asker: &Asker<'_>, permitted: impl FnOnce() -> bool) -> Result<(), GateError> {
    if is_bound(asker) && !permitted() { Err(GateError::ad_hoc(asker.role)) } else { Ok(()) }
}

/// Whether the role may run nothing but named queries. In observe mode nothing is refused.
fn is_bound(asker: &Asker<'_>) -> bool {
    !asker.ad_hoc && asker.mode != Mode::Observe
}

/// Judges the call of a function by anything but a named query. What statements name was judged already; what their
/// plans, operators and defaults bring along was not.
pub(super) fn check_function(asker: &Asker<'_>, function: Oid) -> Result<(), GateError> {
    if !is_bound(asker) {
        return Ok(());
    }
    let schema = catalog::namespace_of_function(function).unwrap_or(Oid::INVALID);
    let ours = exempt::kind_of(schema) == Kind::System && builtin::reach(function) == Reach::Nowhere;
    if ours || builtin::is_behind_a_sign(function) || known::find(function)?.is_some() {
        return Ok(());
    }
    Err(GateError::ad_hoc(asker.role))
}
