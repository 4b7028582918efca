//! The steward: what runs ends with the identity that it runs under.
//!
//! One process per database that has the extension. Promises: where a role needs a person, a
//! statement whose person has ended is cancelled, from a moment after the cause on and again and
//! again until it stops, and its session is ended if it does not stop; why is in the ledger and in
//! the message that the client gets. Statements that begin later are refused by their own backend.
//! It sleeps until somebody changes the configuration or until the first identity will expire.
//!
//! Does not promise to stop what does not look for interrupts, and leaves alone the statements of
//! roles that need no person: there an identity that has ended is just gone.

use super::error::AccessError;
use crate::error::ServerError;
use crate::event::{Note, Outcome, session_name};
use crate::identity::enrolled::{self, Mode};
use crate::identity::live::LivePerson;
use crate::identity::revocation::{self, Ended};
use crate::identity::session as own;
use crate::pg::scope::Internal;
use crate::pg::sessions::{self, Standing, Stop, View};
use crate::pg::shared::{self, DatabaseSlot};
use crate::pg::worker::End;
use crate::pg::{catalog, session, worker};
use crate::trail;
use pgrx::pg_sys::Oid;
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a statement has to stop before it is told again, and how soon the steward looks once
/// more after a cause, in microseconds: for a statement that was judged before the cause and is only now to be seen.
const AGAIN: i64 = 250_000;
/// How soon it looks again where it is not sure: a statement was just being judged, or a session had
/// no person, which is so for a moment while a function identifies.
const SOON: i64 = 50_000;
/// How often a statement is cancelled before its session is ended. What catches query_canceled in a
/// loop would not end otherwise; so it does within a second.
const CANCELS: u32 = 3;
/// Longest sleep while there are people, in microseconds: clocks are set, and machines suspended.
const LONGEST: i64 = 30_000_000;

/// Why a running statement is stopped; as a number in the session's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Reason {
    Expired = 1,
    Distrusted = 2,
    /// The role needs a person, and the session has none or none any more.
    NoPerson = 3,
    PersonRevoked = 4,
    TokenRevoked = 5,
    /// The person was revoked and reinstated; this token is from before.
    IssuedBefore = 6,
}

impl From<Ended> for Reason {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Distrusted => Self::Distrusted,
            Ended::PersonRevoked => Self::PersonRevoked,
            Ended::TokenRevoked => Self::TokenRevoked,
            Ended::IssuedBefore => Self::IssuedBefore,
        }
    }
}

impl Reason {
    const ALL: [Self; 6] = [
        Self::Expired,
        Self::Distrusted,
        Self::NoPerson,
        Self::PersonRevoked,
        Self::TokenRevoked,
        Self::IssuedBefore,
    ];

    fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u8 == number)
    }

    /// The word in the ledger.
    fn name(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Distrusted => "issuer",
            Self::NoPerson => "no_person",
            Self::PersonRevoked => "person",
            Self::TokenRevoked => "token",
            Self::IssuedBefore => "issued_before",
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Self::Expired | Self::TokenRevoked | Self::IssuedBefore => {
                "Get a new token and call custodian.set_identity(token)."
            }
            Self::PersonRevoked => {
                "Ask a member of the role custodian_admin, who can call custodian.reinstate_person(user_id, reason)."
            }
            Self::Distrusted => "Get a token from a trusted issuer and call custodian.set_identity(token).",
            Self::NoPerson => "Call custodian.set_identity(token) with a valid token.",
        }
    }
}

/// Why the person is nobody any more, if so: the one place that asks.
fn ended(person: &LivePerson, now: i64) -> Result<Option<Reason>, ServerError> {
    if now >= person.expires_at {
        return Ok(Some(Reason::Expired));
    }
    let LivePerson { issuer, user_id, token_id, issued_at, .. } = person;
    Ok(revocation::standing(issuer, user_id, token_id.as_deref(), *issued_at)?.map(Reason::from))
}

/// Message and hint for the client of this backend, if the steward stopped its statement, or
/// its `session`. Looks nothing up.
pub fn explanation(session: bool) -> Option<(String, String)> {
    let reason = Reason::from_u8(sessions::stopped_for()?)?;
    let what = if session { "terminating connection" } else { "canceling statement" };
    let because = match (reason, own::current()) {
        (Reason::NoPerson, _) => "its role requires an identified person".to_owned(),
        (_, Some(person)) => format!("the identity of \"{}\" has ended", person.user_id),
        (_, None) => "its identity has ended".to_owned(),
    };
    Some((format!("{what} because {because}"), reason.hint().to_owned()))
}

/// The steward of slot number `index`, from its first to its last breath. `chores` is what else is to be done in a
/// database now and then: it is told the time, and says when it wants to be called again.
pub fn run(index: usize, chores: impl FnMut(&'static DatabaseSlot, i64) -> i64) {
    worker::serve(
        index,
        |slot| &slot.steward,
        |_, slot| {
            let _internal = Internal::enter();
            slot.steward.set_running();
            match Steward::new(slot).work(chores) {
                Ok(end) => end,
                Err(error) => {
                    pgrx::warning!("pg_custodian: steward of database {}: {error}", session::database());
                    End::Failed
                }
            }
        },
    );
}

struct Steward {
    slot: &'static DatabaseSlot,
    database: u32,
    /// Of the configuration, when it was looked at last.
    generation: Option<u64>,
    /// When the first identity was to expire, as of the last look.
    awaited: i64,
    /// Whether the last look found a statement that was just being judged.
    unsure: bool,
    /// By session: what was told to stop, or will be.
    told: HashMap<usize, Told>,
}

/// A statement that must not go on.
#[derive(Debug, Clone, Copy)]
struct Told {
    statement: u64,
    /// Signals it was sent.
    times: u32,
    /// When it gets the next one, however often the steward is woken meanwhile.
    due: i64,
}

/// What a look at the sessions found.
struct Found {
    /// When the next identity expires.
    next: i64,
    /// Statements that must not go on.
    offending: Vec<(View, Option<LivePerson>, Reason)>,
    /// Whether a statement was just being judged.
    unjudged: bool,
}

impl Steward {
    fn new(slot: &'static DatabaseSlot) -> Self {
        let database = session::database().to_u32();
        Self { slot, database, generation: None, awaited: i64::MAX, unsure: false, told: HashMap::new() }
    }

    /// Tells those who have not got into the database whom it has enrolled: see `DatabaseSlot::introduce`.
    fn introduce(&self) -> Result<(), ServerError> {
        self.slot.introduce(&session::database_name(), &enrolled::roles()?);
        Ok(())
    }

    fn work(mut self, mut chores: impl FnMut(&'static DatabaseSlot, i64) -> i64) -> Result<End, AccessError> {
        while !worker::shall_end() {
            if self.slot.database.load(Ordering::Acquire) != self.database {
                // The ledger writer found that the extension is gone.
                return Ok(End::Told);
            }
            self.slot.set_deadline(i64::MAX);
            let generation = shared::generation();
            let changed = self.generation.replace(generation);
            let changed = changed.map(|before| before != generation);
            if changed != Some(false) {
                worker::transaction(|| self.introduce())?;
            }
            if changed == Some(true) && !worker::transaction(is_installed) {
                self.slot.set_installed(false);
                return Ok(End::Told);
            }
            let now = session::now();
            let cause = changed != Some(false) || now >= self.awaited || self.unsure;
            let found = self.look(now)?;
            self.stop(now, &found.offending);
            self.unsure = found.unjudged;
            let again = match self.unsure {
                true => Some(now + SOON),
                false => cause.then_some(now + AGAIN),
            };
            self.awaited = found.next;
            let next = found.next.min(chores(self.slot, now));
            self.slot.set_deadline(next);
            let due = self.told.values().map(|told| told.due).min();
            worker::sleep(rest(now, next, again.into_iter().chain(due).min()));
        }
        Ok(End::Told)
    }

    fn look(&self, now: i64) -> Result<Found, AccessError> {
        let views = sessions::of_database(self.database);
        let expiries = views.iter().filter_map(|view| Some(view.holder.as_ref()?.expires_at));
        let next = expiries.filter(|at| *at > now).min().unwrap_or(i64::MAX);
        let running: Vec<View> = views.into_iter().filter(|view| view.running_since.is_some()).collect();
        let (mut offending, mut unjudged) = (Vec::new(), false);
        if !running.is_empty() {
            worker::transaction(|| {
                for view in running {
                    if !needs_person(&view)? {
                        continue;
                    }
                    unjudged |= view.standing == Standing::Unjudged;
                    if view.standing != Standing::Bound {
                        continue;
                    }
                    let person = LivePerson::of(&view);
                    let reason = match &person {
                        Some(person) => ended(person, now)?,
                        None => Some(Reason::NoPerson),
                    };
                    offending.extend(reason.map(|reason| (view, person, reason)));
                }
                Ok::<_, ServerError>(())
            })?;
        }
        Ok(Found { next, offending, unjudged })
    }

    fn stop(&mut self, now: i64, offending: &[(View, Option<LivePerson>, Reason)]) {
        let mut told = HashMap::new();
        for (view, person, reason) in offending {
            if !view.still_runs() {
                continue;
            }
            let before = self.told.get(&view.index()).filter(|told| told.statement == view.statement);
            let patience = if *reason == Reason::NoPerson { SOON } else { 0 };
            let mut this =
                before.copied().unwrap_or(Told { statement: view.statement, times: 0, due: now + patience });
            if now >= this.due {
                let how = if this.times < CANCELS { Stop::Cancel } else { Stop::Terminate };
                if this.times == 0 || this.times == CANCELS {
                    // In a transaction, for the names of roles.
                    worker::transaction(|| record(view, person.as_ref(), *reason, how));
                }
                view.stop(how, *reason as u8);
                this.times += 1;
                this.due = now + AGAIN;
            }
            told.insert(view.index(), this);
        }
        self.told = told;
    }
}

/// How long to sleep: until the `next` identity expires, or until `again` comes; `None` until woken.
fn rest(now: i64, next: i64, again: Option<i64>) -> Option<Duration> {
    let next = (next != i64::MAX).then(|| next.min(now.saturating_add(LONGEST)));
    let until = next.into_iter().chain(again).min()?;
    // Not before it has come: timeouts are in milliseconds.
    Some(Duration::from_millis(until.saturating_sub(now).max(0).unsigned_abs().div_ceil(1000)))
}

fn is_installed() -> bool {
    catalog::relation("custodian", "enrolled_role").is_some()
}

/// Whether the session's role, or the one it has set, may run nothing without a person.
fn needs_person(view: &View) -> Result<bool, ServerError> {
    for role in [view.session_role, view.role] {
        if enrolled::mode_of(Oid::from(role))?.is_some_and(|mode| mode >= Mode::Identify) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What was done to whom, for the ledger. It is done even if that cannot be recorded.
fn record(view: &View, person: Option<&LivePerson>, reason: Reason, how: Stop) {
    let action = match how {
        Stop::Cancel => "cancel",
        Stop::Terminate => "terminate",
    };
    let role = session::role_name(Oid::from(view.session_role));
    let role = String::from_utf8_lossy(&role).into_owned();
    let detail = json!({
        "action": action,
        "reason": reason.name(),
        "pid": view.pid,
        "session": session_name(view.session),
        "session_role": role,
        "issuer": person.map(|person| &person.issuer),
        "user_id": person.map(|person| &person.user_id),
        "token_id": person.and_then(|person| person.token_id.as_ref()),
    });
    let note = Note {
        event: "steward",
        outcome: Outcome::Ok,
        sqlstate: None,
        object: Some(person.map_or(role, |person| person.user_id.clone())),
        detail: Some(detail.to_string()),
    };
    if let Err(error) = trail::note(&note) {
        trail::warn(&error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_sleeps_until_woken_when_nothing_can_expire() {
        assert_eq!(rest(0, i64::MAX, None), None);
        assert_eq!(rest(1_000, i64::MAX, Some(251_000)), Some(Duration::from_millis(250)));
    }

    #[test]
    fn it_wakes_when_the_first_identity_has_expired_and_not_before() {
        assert_eq!(rest(1_000, 3_001, None), Some(Duration::from_millis(3)));
        assert_eq!(rest(0, 400_000, Some(AGAIN)), Some(Duration::from_millis(250)));
        assert_eq!(rest(0, 100_000, Some(AGAIN)), Some(Duration::from_millis(100)));
        assert_eq!(rest(0, 3_600_000_000, None), Some(Duration::from_secs(30)));
        assert_eq!(rest(5_000, 6_000, Some(1_000)), Some(Duration::ZERO));
    }

    #[test]
    fn reasons_survive_as_numbers() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_u8(reason as u8), Some(reason));
        }
        assert_eq!(Reason::from_u8(0), None);
    }
}
