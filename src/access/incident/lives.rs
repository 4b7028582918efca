//! Whether a person is in the middle of an emergency.

use super::store;
use crate::access::unsettled;
use crate::error::ServerError;
use crate::identity::{Person, session as identity};
use crate::pg::local::process_local;
use crate::pg::shared;
use std::cell::RefCell;

/// The ends of a person's break-glass access, as of a generation of the configuration.
struct Known {
    generation: u64,
    serial: u64,
    ends: Vec<(i64, i64)>,
}

process_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// Whether break-glass access of `person`, whom the session has now, is in force.
pub fn in_emergency(person: &Person, now: i64) -> Result<bool, ServerError> {
    // The numbers first: a change that commits while the tables are read is then read again.
    let (generation, serial) = (shared::generation(), identity::serial());
    let live = |ends: &[(i64, i64)]| ends.iter().any(|(id, end)| now < *end && !unsettled::has(*id));
    let known = KNOWN.with_borrow(|known| {
        let known = known.as_ref().filter(|known| (known.generation, known.serial) == (generation, serial));
        known.map(|known| live(&known.ends))
    });
    if let Some(answer) = known {
        return Ok(answer);
    }
    let ends = store::ends_of(person)?;
    let answer = live(&ends);
    KNOWN.replace(Some(Known { generation, serial, ends }));
    Ok(answer)
}
