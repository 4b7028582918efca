//! What functions and DDL do to objects, and functions that are called.

use super::asker::{self, Asker, refuse};
use super::surroundings::installed;
use super::{exports, queries};
use crate::access::reliance;
use crate::capture::build::{self, Fields};
use crate::capture::statement as capture;
use crate::error::report;
use crate::event::{Class, Origin};
use crate::gate::{self, export::Means};
use crate::identity::enrolled::{self, Mode};
use crate::ledger::guard;
use crate::masking;
use crate::pg::builtin::{self, Reach};
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::query::Command;
use crate::pg::{catalog, scope, session};
use pgrx::pg_sys::panic::ErrorReport;

pub(super) fn object_access(access: &ObjectAccess) -> Result<(), ErrorReport> {
    if !session::in_transaction() || installed().is_none() {
        return Ok(());
    }
    match access.access {
        Access::Called => return check_call(access),
        Access::Executed => {
            let means = Means::of_function(access.object);
            match means {
                None => check_function(access)?,
                Some(means) => {
                    check_function(access).map_err(|error| exports::refused(means, error))?;
                    exports::called(means)?;
                }
            }
            // Those of the server are no objects of the record.
            if builtin::reach(access.object) != Reach::Nowhere {
                return Ok(());
            }
        }
        // The statement that does it is on record already, and ends as denied.
        _ => {
            guard::check_object(access).map_err(report)?;
            masking::upkeep::touched(access, capture::depth()).map_err(report)?;
        }
    }
    capture::touched(access);
    Ok(())
}

/// A function called without a statement escapes capture and gate: not on enrolled roles.
fn check_call(access: &ObjectAccess) -> Result<(), ErrorReport> {
    asker::arrive().map_err(report)?;
    let (asker, _) = Asker::find().map_err(report)?;
    if !asker.needs_person() {
        return Ok(());
    }
    let command = format!("function call message for {}", catalog::describe(access.class, access.object, 0));
    let shape = || build::planned(Command::Other, Class::Function, Origin::default(), &[], Fields::default());
    Err(refuse(&asker, gate::GateError::FunctionCall, command.as_bytes(), shape))
}

/// A function that did not come with the server needs a grant in govern mode, unless it is called in the right of
/// somebody who is not governed, by a SECURITY DEFINER function of his.
fn check_function(access: &ObjectAccess) -> Result<(), ErrorReport> {
    let Some((_, terms)) = enrolled::of_session().map_err(report)? else { return Ok(()) };
    let is_bound = terms.mode >= Mode::Identify && !terms.ad_hoc;
    if terms.mode != Mode::Govern && !is_bound {
        return Ok(());
    }
    let user = session::current_user();
    if !is_bound && user != session::outer_user() && enrolled::mode_of(user).map_err(report)?.is_none() {
        return Ok(());
    }
    if scope::is_directly_referential() || queries::inside().is_some() {
        return Ok(());
    }
    let (asker, ended) = Asker::find().map_err(report)?;
    let Some(governed) = asker.governed() else { return Ok(()) };
    let shape = || build::planned(Command::Other, Class::Function, Origin::default(), &[], Fields::default());
    let text = || format!("call of {}", catalog::describe(access.class, access.object, 0));
    if let Some(error) = ended {
        return Err(refuse(&asker, error, text().as_bytes(), shape));
    }
    reliance::judging();
    gate::check_function(&governed, access.object)
        .map_err(|error| refuse(&asker, error, text().as_bytes(), shape))?;
    reliance::called();
    Ok(())
}
