//! Statements that fail before any of our hooks sees them: recorded from what is known without looking.

use super::asker;
use super::surroundings::installed;
use crate::capture::failure;
use crate::capture::statement::{self as capture, Facts};
use crate::pg::failure::Erring;
use crate::pg::scope::Blind;
use crate::{settings, trail};

/// A message is being reported that may be an error. A statement of a function that the parser refuses is recorded
/// at once, because nobody tells us of it again if its error is caught.
pub(super) fn erring(erring: &Erring<'_>) {
    failure::erring(erring);
    if settings::nested_statements()
        && let Some(failure) = failure::nested(erring)
    {
        let _blind = Blind::enter();
        store(&failure);
    }
}

/// An error ended what the client asked for. Called while its transaction is aborted, and when the error
/// has been dealt with: who acts is known from before, and no catalog is read.
pub(super) fn failed_at_top(sqlstate: Option<[u8; 5]>) {
    if let Some(failure) = failure::take(sqlstate) {
        record(&failure);
    }
}

/// Records a failure, if the session is one of those that are.
pub(super) fn record(failure: &failure::Failure) {
    if installed().is_none() || !asker::leaves_trace() {
        return;
    }
    store(failure);
}

fn store(failure: &failure::Failure) {
    let key = [b"unparsed".as_slice(), failure.command.as_bytes()].concat();
    let facts = Facts {
        at: failure.sent_at,
        text: &failure.text,
        grants: &[],
        parameters: &[],
        parameter_count: 0,
        key: &key,
    };
    if let Err(lost) = capture::stopped(&facts, failure.sqlstate, || failure.shape()) {
        trail::warn(&lost);
    }
}
