//! The person of this session.
//!
//! Promises: what is here was put here by [`super::identify`] and is gone at the token's `exp`,
//! when it is revoked or its issuer distrusted, at [`clear`] and, if it was for one transaction, at
//! that one's end. In a session that a credential opened it is that credential's person, and never another.
//! Nothing here is transactional: ROLLBACK brings nobody back.

use super::error::IdentityError;
use super::person::Person;
use super::{arrival, changes, live as shown, revocation};
use crate::event::PersonTag;
use crate::pg::local::process_local;
use crate::pg::{session as backend, shared};
use crate::trail;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

struct State {
    person: Option<Rc<Person>>,
    for_transaction: bool,
    serial: u64,
    /// The generation of the configuration under which nothing was found to have ended the identity.
    checked_in: Option<u64>,
    /// Cursors may be open that were opened for this person.
    cursors_of: Option<Rc<Person>>,
    /// The subtransaction in which the session passed from one person to another.
    passed_in: Option<u32>,
    /// What was taken from an earlier person came back by a rollback.
    haunted: bool,
}

process_local! {
    static STATE: RefCell<State> = const {
        RefCell::new(State {
            person: None,
            for_transaction: false,
            serial: 0,
            checked_in: None,
            cursors_of: None,
            passed_in: None,
            haunted: false,
        })
    };
}

process_local! {
    static BOUND: Cell<bool> = const { Cell::new(false) };
}

/// Makes `person`, to whom the credential was issued that has just logged in, the one of this session for as long as it
/// lives: nobody can be identified in it any more.
pub fn bind(person: Rc<Person>) {
    BOUND.set(true);
    take(person, false);
}

/// Whether the session belongs to a credential.
#[inline]
pub fn is_bound() -> bool {
    BOUND.get()
}

/// Hands the session on to the next client, as DISCARD ALL does: it is nobody's, unless a credential has opened it.
pub fn hand_on() {
    if !is_bound() {
        end();
    }
}

/// The person, or `None`. Does not look at the clock; see [`check`] and [`live`].
pub fn current() -> Option<Rc<Person>> {
    STATE.with_borrow(|state| state.person.clone())
}

/// The person, unless the token's `exp` has passed. For functions that show or compare the
/// person; statements are judged by [`check`].
pub fn live() -> Option<Rc<Person>> {
    current().filter(|person| backend::now() < person.expires_at)
}

/// A number that is another one after each change of the person.
pub fn serial() -> u64 {
    STATE.with_borrow(|state| state.serial)
}

/// The person for a statement that begins at `now` (microseconds since 2000).
///
/// Costs a comparison and the read of a shared counter; only when that moved, a look at issuers
/// and revocations. Errs, with the person gone, if the identity has ended: the statement that would have
/// run under it must not run as nobody's. A statement that does nothing but identify may go on.
pub fn check(now: i64) -> Result<Option<Rc<Person>>, IdentityError> {
    let Some(person) = current() else { return Ok(None) };
    if now >= person.expires_at {
        end();
        return Err(IdentityError::Expired { user_id: person.user_id.clone(), at: person.expires_at });
    }
    let generation = shared::generation();
    let checked = STATE.with_borrow(|state| state.checked_in == Some(generation));
    // without a transaction (ROLLBACK of a failed one) nothing can be looked up, and no data either
    if (checked && !changes::pending()) || !backend::in_transaction() {
        return Ok(Some(person));
    }
    let Person { issuer, user_id, token_id, issued_at, .. } = &*person;
    if let Some(ended) = revocation::standing(issuer, user_id, token_id.as_deref(), *issued_at)? {
        end();
        return Err(ended.of(issuer, user_id));
    }
    STATE.with_borrow_mut(|state| state.checked_in = (!changes::pending()).then_some(generation));
    Ok(Some(person))
}

/// If the session was somebody else's, leaves nothing of his to `person`: see
/// [`backend::discard_leftovers`], which raises an ERROR if something of it is in use. Call it
/// before [`begin`], and while a portal runs, as [`close_cursors`].
pub(super) fn make_room(person: &Person) {
    let strangers = STATE.with_borrow(|state| {
        state.haunted || state.cursors_of.as_ref().is_some_and(|before| !before.same_clearance(person))
    });
    if strangers {
        backend::close_cursors();
        backend::discard_leftovers();
        STATE.with_borrow_mut(|state| {
            state.passed_in = Some(backend::subtransaction());
            state.haunted = false;
        });
    }
}

/// Makes `person` the one of this session.
pub(super) fn begin(person: Rc<Person>, for_transaction: bool) {
    // how the session started does not matter any more
    arrival::forget();
    take(person, for_transaction);
}

fn take(person: Rc<Person>, for_transaction: bool) {
    backend::forget_plans();
    STATE.with_borrow_mut(|state| {
        state.cursors_of = Some(person.clone());
        state.person = Some(person.clone());
        state.for_transaction = for_transaction;
        state.serial += 1;
        state.checked_in = None;
    });
    shown::show(&person);
    trail::set_person(Some(PersonTag {
        issuer: person.issuer.clone(),
        user_id: person.user_id.clone(),
        email: person.email.clone(),
        token_id: person.token_id.clone(),
    }));
}

/// Makes this nobody's session. Never fails, and may be called anywhere; cursors of the person
/// that was are left to [`close_cursors`].
pub fn end() {
    let had = STATE.with_borrow_mut(|state| {
        let had = state.person.take().is_some();
        if had {
            state.for_transaction = false;
            state.serial += 1;
            state.checked_in = None;
        }
        had
    });
    if had {
        shown::hide();
        trail::set_person(None);
        // nobody may go on with what was planned, and judged, for the person
        backend::forget_plans();
    }
}

/// Closes what a person who is no longer there has left open, so that the next one cannot FETCH
/// from it. A no-op when there is nothing to close.
///
/// Call it only while the session's portal runs (from ProcessUtility or ExecutorRun, or from a
/// function): PostgreSQL spares only portals that run, and while a statement is being planned or
/// started its own does not yet.
pub fn close_cursors() {
    let stale = STATE.with_borrow_mut(|state| {
        let stays = match (&state.cursors_of, &state.person) {
            (Some(before), Some(now)) => before.same_clearance(now),
            (before, None) => before.is_none(),
            (None, Some(_)) => true,
        };
        if !stays {
            state.cursors_of = state.person.clone();
        }
        !stays
    });
    if stale {
        backend::close_cursors();
    }
}

/// What [`make_room`] took from somebody is there again: nobody must find it.
fn give_back() {
    end();
    STATE.with_borrow_mut(|state| state.haunted = true);
}

/// A subtransaction is rolled back. Never fails.
pub fn subtransaction_aborted(number: u32) {
    // numbers grow: what began within it has one that is not lower
    if STATE.with_borrow(|state| state.passed_in.is_some_and(|passed| passed >= number)) {
        give_back();
    }
}

/// The transaction committed or was prepared, or it aborted. Never fails.
///
/// If the session passed from one person to another in a transaction that is rolled back, what the
/// first one left is there again, and the second one must not find it: it is nobody's session then.
pub fn end_of_transaction(committed: bool) {
    let passed = STATE.with_borrow_mut(|state| state.passed_in.take().is_some());
    if STATE.with_borrow(|state| state.for_transaction) {
        end();
    }
    if passed && !committed {
        give_back();
    }
    if changes::settle() {
        STATE.with_borrow_mut(|state| state.checked_in = None);
        super::enrolled::forget();
    }
}
