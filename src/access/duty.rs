//! What the steward does beside ending what runs: requests that expire, reviews that are overdue, credentials that
//! have ended.

use crate::access::request::{self, RequestError};
use crate::access::{credential, incident};
use crate::pg::{session, shared, worker};

/// How long a fault keeps it from trying again, in microseconds.
const AGAIN: i64 = 30_000_000;
/// How long it trusts a time that it has waited for, in microseconds: clocks are set.
const LONGEST: i64 = 60_000_000;

/// What the duty of a database remembers. Nothing of it matters: after a restart it looks at once.
#[derive(Debug, Default)]
pub struct Duty {
    generation: Option<u64>,
    next: i64,
}

/// The next time of two, as far as clocks can be trusted.
fn sooner(now: i64, times: [Option<i64>; 2]) -> i64 {
    let next = times.into_iter().flatten().min();
    next.map_or(i64::MAX, |next| next.clamp(now, now.saturating_add(LONGEST)))
}

impl Duty {
    /// Does what is due; returns when it wants to be called again.
    pub fn attend(&mut self, now: i64) -> i64 {
        if session::in_recovery() {
            return i64::MAX;
        }
        let generation = shared::generation();
        if self.generation == Some(generation) && now < self.next {
            return self.next;
        }
        let look = worker::transaction(|| look(now)).unwrap_or_else(|error| {
            pgrx::warning!("pg_custodian: requests and reviews were not looked after: {error}");
            Some(now.saturating_add(AGAIN))
        });
        let tidy = credential::tidy(now).unwrap_or_else(|error| {
            pgrx::warning!("pg_custodian: credentials were not looked after: {error}");
            Some(now.saturating_add(AGAIN))
        });
        self.next = sooner(now, [look, tidy]);
        self.generation = Some(generation);
        self.next
    }
}

/// The next time at which something is due.
fn look(now: i64) -> Result<Option<i64>, RequestError> {
    let request = request::expire(now)?;
    let review = incident::remind(now)?;
    Ok(request.into_iter().chain(review).min())
}
