//! Whether the session's person may see a protected column now.

use crate::access::grant::Place;
use crate::access::{Privilege, live_for};
use crate::error::ServerError;
use crate::identity::session as person;
use crate::masking::known::{self, Policy};
use crate::pg::{catalog, session, shared};
use std::cell::RefCell;

/// What holds for one policy until a moment comes or somebody changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    policy: i64,
    /// Revealed before this moment, masked from it on; `i64::MIN` is masked at all times.
    revealed_until: i64,
}

struct Decided {
    generation: u64,
    serial: u64,
    decisions: Vec<Decision>,
}

thread_local! {
    static DECIDED: RefCell<Decided> =
        const { RefCell::new(Decided { generation: 0, serial: 0, decisions: Vec::new() }) };
}

/// Whether the person sees the column of policy `id` in the clear. Called for every row: it
/// remembers until when the answer holds, and reads the clock only while the answer is yes. An
/// unknown policy reveals nothing; without the preloaded library there is no answer.
pub fn reveals(id: i64) -> Result<bool, ServerError> {
    shared::preloaded()?;
    session::in_leader()?;
    let (generation, serial) = (shared::generation(), person::serial());
    let remembered = DECIDED.with_borrow(|decided| {
        let valid = decided.generation == generation && decided.serial == serial;
        decided.decisions.iter().find(|decision| valid && decision.policy == id).copied()
    });
    if let Some(decision) = remembered {
        if decision.revealed_until == i64::MIN {
            return Ok(false);
        }
        if session::now() < decision.revealed_until {
            return Ok(true);
        }
    }
    let now = session::now();
    // only what exists is remembered: there is no end to the numbers that somebody may ask for
    let known = known::current()?;
    let Some(policy) = known.policy(id) else { return Ok(false) };
    let revealed_until = revealed_until(policy, now)?;
    DECIDED.with_borrow_mut(|decided| {
        if decided.generation != generation || decided.serial != serial {
            *decided = Decided { generation, serial, decisions: Vec::new() };
        }
        decided.decisions.retain(|decision| decision.policy != id);
        decided.decisions.push(Decision { policy: id, revealed_until });
    });
    Ok(now < revealed_until)
}

/// The first moment at which the person no longer sees the column; `i64::MIN` if not even now.
fn revealed_until(policy: &Policy, now: i64) -> Result<i64, ServerError> {
    let Some(person) = person::current().filter(|person| now < person.expires_at) else {
        return Ok(i64::MIN);
    };
    if policy.reveal_to.iter().any(|group| person.is_in(group)) {
        return Ok(person.expires_at);
    }
    let live = live_for(&person)?;
    let known = known::current()?;
    let on = std::iter::once(policy.relation).chain(known.views_of(policy.relation).map(|view| view.view));
    let grant = on
        .filter_map(|relation| Some(Place::Relation { relation, schema: catalog::namespace_of(relation)? }))
        .filter_map(|place| live.covering(place, Privilege::Reveal, now))
        .max_by_key(|grant| grant.ends_at);
    Ok(grant.map_or(i64::MIN, |grant| grant.ends_at.min(person.expires_at)))
}
