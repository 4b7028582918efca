//! Who may call the functions that use the key.
//!
//! Whoever could call them on values of his choice could find out, by comparing, what masked values are. On
//! roles that need a person they therefore run only where we have put the call: in the views that we generate and
//! in queries over masked tables. Everything else is refused when it is about to run, whatever way it came:
//! defaults, checks, domains, casts, operators, aggregates, functions that the planner takes apart, utility
//! statements, the fast path. What a client writes outright is refused when it is analysed, and is on record
//! as a denial.

use crate::error::ServerError;
use crate::identity::enrolled::{self, Mode};
use crate::masking::{MaskError, known};
use crate::pg::query::Analysed;
use crate::pg::{seal, session};
use pgrx::pg_sys::FunctionCallInfo;

/// The functions of schema mask that use the key, in all their overloads.
pub const KEYED: [&str; 3] = ["hash", "noise", "token"];

/// Refuses a call that was not put there by us, where people share the role. `call` is the caller's own.
pub fn may_run(call: FunctionCallInfo) -> Result<(), MaskError> {
    if seal::is_sealed(call) {
        return Ok(());
    }
    let (login, outer) = (session::session_user(), session::outer_user());
    let shared = enrolled::mode_of(login)?.max(enrolled::mode_of(outer)?);
    if shared.is_some_and(|mode| mode >= Mode::Identify) { Err(MaskError::Oracle) } else { Ok(()) }
}

/// Lets the calls in our views run, in a query that has been rewritten and is about to be planned.
pub fn seal_views(query: &Analysed<'_>) -> Result<(), ServerError> {
    let known = known::current()?;
    if !known.is_empty() {
        seal::seal_views(query, &known::oracle_functions()?, &|view| known.view(view).is_some());
    }
    Ok(())
}
