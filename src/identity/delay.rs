//! Slows down whoever fails to identify again and again.
//!
//! A failed attempt is answered when [`after`] has passed since it began, whichever check refused
//! it and however long that took. Whoever has the wait interrupted (by a statement_timeout of his
//! own choice, say) owes the rest: his next attempt begins with it. Counted per session: opening a
//! new one costs more than it saves.

use crate::pg::local::process_local;
use crate::pg::session;
use crate::settings;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(5);

process_local! {
    static FAILURES: Cell<u32> = const { Cell::new(0) };
    static OWED_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long a failed attempt takes after so many failed ones before it: `base`, doubled with
/// each, but at most five seconds.
pub fn after(failures: u32, base: Duration) -> Duration {
    let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(LONGEST)
}

/// An attempt begins; gives when it began.
pub fn begin() -> Instant {
    pay();
    Instant::now()
}

/// The attempt that began then succeeded.
pub fn succeeded() {
    FAILURES.set(0);
}

/// The attempt that began then failed: waits. Call it when everything else is done.
pub fn failed(began: Instant) {
    let before = FAILURES.get();
    FAILURES.set(before.saturating_add(1));
    OWED_UNTIL.set(Some(began + after(before, settings::failure_delay())));
    pay();
}

fn pay() {
    if let Some(until) = OWED_UNTIL.get() {
        // what leaves from here, a cancelled statement, leaves the debt
        session::sleep_until(until);
        OWED_UNTIL.set(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_five_seconds() {
        let base = Duration::from_millis(250);
        let delays: Vec<_> = (0..7).map(|failures| after(failures, base).as_millis()).collect();
        assert_eq!(delays, [250, 500, 1000, 2000, 4000, 5000, 5000]);
        assert_eq!(after(u32::MAX, base), LONGEST);
        assert_eq!(after(31, Duration::from_millis(5000)), LONGEST);
        assert_eq!(after(40, Duration::ZERO), Duration::ZERO);
    }
}
