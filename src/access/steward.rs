//! The steward: what runs ends with the identity that it runs under, and with the grants that it relies on.
//!
//! One process per database that has the extension. Promises: where a role needs a person, a
//! statement whose person has ended is cancelled, and everywhere one that relies on a grant which has ended: from a moment after the cause on and again and
//! again until it stops, and its session is ended if it does not stop; why is in the ledger and in
//! the message that the client gets. Statements that begin later are refused by their own backend.
//! It sleeps until somebody changes the configuration or until the first identity, or grant that something relies
//! on, will expire.
//!
//! Does not promise to stop what does not look for interrupts, and leaves alone the statements of
//! roles that need no person: there an identity that has ended is just gone.

use super::error::{AccessError, MY_GRANTS};
use super::reliance::{self, Shown};
use super::store::{self, OnFile};
use crate::error::ServerError;
use crate::event::{Note, Outcome, session_name};
use crate::identity::enrolled::{self, Mode};
use crate::identity::live::LivePerson;
use crate::identity::revocation::{self, Ended};
use crate::identity::session as own;
use crate::pg::hooks::Explanation;
use crate::pg::scope::Internal;
use crate::pg::sessions::{self, Standing, Stop, View};
use crate::pg::shared::{self, DatabaseSlot};
use crate::pg::worker::End;
use crate::pg::{catalog, session, worker};
use crate::trail;
use pgrx::PgSqlErrorCode;
use pgrx::pg_sys::Oid;
use serde_json::json;
use std::collections::{HashMap, HashSet};
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
    /// A grant that it relies on has expired or was revoked.
    Grant = 7,
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
    const ALL: [Self; 7] = [
        Self::Expired,
        Self::Distrusted,
        Self::NoPerson,
        Self::PersonRevoked,
        Self::TokenRevoked,
        Self::IssuedBefore,
        Self::Grant,
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
            Self::Grant => "grant",
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
            Self::Grant => MY_GRANTS,
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

/// What the client of this backend is told, if the steward stopped its statement, or
/// its `session`. Looks nothing up.
pub fn explanation(session: bool) -> Option<Explanation> {
    let (reason, said) = sessions::stopped_for()?;
    let reason = Reason::from_u8(reason)?;
    let said = String::from_utf8_lossy(&said);
    let (because, hint) = match (reason, said.split_once('\n'), own::current()) {
        (Reason::Grant, Some((because, hint)), _) => (because.to_owned(), hint),
        (Reason::Grant, None, _) => ("a grant has ended".to_owned(), reason.hint()),
        (Reason::NoPerson, _, _) => ("its role requires an identified person".to_owned(), reason.hint()),
        (_, _, Some(person)) => (format!("the identity of \"{}\" has ended", person.user_id), reason.hint()),
        (_, _, None) => ("its identity has ended".to_owned(), reason.hint()),
    };
    let (what, code) = match session {
        true => ("terminating connection", PgSqlErrorCode::ERRCODE_ADMIN_SHUTDOWN),
        // As the next statement is refused.
        false if reason == Reason::Grant => {
            ("canceling statement", PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE)
        }
        false => ("canceling statement", PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION),
    };
    Some(Explanation { code, message: format!("{what} because {because}"), hint: hint.to_owned() })
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
    /// When the first identity or grant was to expire, as of the last look.
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

/// A statement that must not go on, and why.
struct Offence {
    view: View,
    person: Option<LivePerson>,
    reason: Reason,
    /// The grant that has ended, what became of it, and what to do about it.
    grant: Option<(i64, String, String)>,
}

/// What a look at the sessions found.
struct Found {
    /// When the next identity expires, or grant that something relies on.
    next: i64,
    /// Statements that must not go on.
    offending: Vec<Offence>,
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
            if changed != Some(false) && !session::in_recovery() {
                worker::transaction(store::follow_names)?;
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
        let ends = views.iter().filter_map(|view| match Shown::read(&view.relied) {
            Shown::Needs(until, _) | Shown::TooMany(until) => Some(until),
            Shown::Nothing => None,
        });
        let next = expiries.chain(ends).filter(|at| *at > now).min().unwrap_or(i64::MAX);
        let running: Vec<View> = views.into_iter().filter(|view| view.running_since.is_some()).collect();
        let (mut offending, mut unjudged) = (Vec::new(), false);
        if !running.is_empty() {
            worker::transaction(|| {
                let grants = Grants::of(&running, now)?;
                for view in running {
                    let mode = mode_of(&view)?;
                    let needs_person = mode.is_some_and(|mode| mode >= Mode::Identify);
                    unjudged |= needs_person && view.standing == Standing::Unjudged;
                    let person = LivePerson::of(&view);
                    let reason = match &person {
                        _ if !needs_person || view.standing != Standing::Bound => None,
                        Some(person) => ended(person, now)?,
                        None => Some(Reason::NoPerson),
                    };
                    if let Some(reason) = reason {
                        offending.push(Offence { view, person, reason, grant: None });
                    } else if let Some(grant) = grants.missed_by(&view, person.as_ref(), mode) {
                        offending.push(Offence { view, person, reason: Reason::Grant, grant: Some(grant) });
                    }
                }
                Ok::<_, ServerError>(())
            })?;
        }
        Ok(Found { next, offending, unjudged })
    }

    fn stop(&mut self, now: i64, offending: &[Offence]) {
        let mut told = HashMap::new();
        for offence in offending {
            let view = &offence.view;
            if !view.still_runs() {
                continue;
            }
            let before = self.told.get(&view.index()).filter(|told| told.statement == view.statement);
            let patience = if offence.reason == Reason::NoPerson { SOON } else { 0 };
            let mut this =
                before.copied().unwrap_or(Told { statement: view.statement, times: 0, due: now + patience });
            if now >= this.due {
                let how = if this.times < CANCELS { Stop::Cancel } else { Stop::Terminate };
                if this.times == 0 || this.times == CANCELS {
                    // In a transaction, for the names of roles.
                    worker::transaction(|| record(offence, how));
                }
                let why = offence.grant.as_ref().map(|(_, what, hint)| format!("{what}\n{hint}"));
                view.stop(how, offence.reason as u8, why.unwrap_or_default().as_bytes());
                this.times += 1;
                this.due = now + AGAIN;
            }
            told.insert(view.index(), this);
        }
        self.told = told;
    }
}

/// The grants that statements which run rely on, as they are on file now.
struct Grants {
    named: HashMap<i64, OnFile>,
    /// Those that have ended since the first statement began that relies on more than it can show.
    ended: Vec<OnFile>,
    now: i64,
}

impl Grants {
    fn of(running: &[View], now: i64) -> Result<Self, ServerError> {
        let mut all = Self { named: HashMap::new(), ended: Vec::new(), now };
        let shown = || running.iter().map(|view| Shown::read(&view.relied));
        let named: HashSet<i64> = shown().flat_map(|shown| shown.grants().collect::<Vec<_>>()).collect();
        let too_many = |view: &&View| matches!(Shown::read(&view.relied), Shown::TooMany(_));
        let since = running.iter().filter(too_many).filter_map(|view| view.running_since).min();
        if named.is_empty() && since.is_none() {
            return Ok(all);
        }
        let has_ended = |end: i64| since.is_some_and(|since| since <= end && end <= now);
        store::on_file(
            |id, end| named.contains(&id) || has_ended(end),
            |grant| {
                if has_ended(grant.ended_at) {
                    all.ended.push(grant.clone());
                }
                all.named.insert(grant.id, grant);
            },
        )?;
        Ok(all)
    }

    /// A grant that the statement relies on and that has ended, what became of it, and what to do about it.
    fn missed_by(
        &self,
        view: &View,
        person: Option<&LivePerson>,
        mode: Option<Mode>,
    ) -> Option<(i64, String, String)> {
        let (id, (what, hint)) = match Shown::read(&view.relied) {
            Shown::Nothing => return None,
            shown @ Shown::Needs(until, _) => {
                // A new one was given in the transaction that relies on it: nobody else can take it back.
                let is_live = |id, is_new| match self.named.get(&id) {
                    Some(grant) => !grant.is_revoked && self.now < grant.ended_at,
                    None => is_new && self.now < until,
                };
                let id = shown.unmet(mode == Some(Mode::Govern), is_live)?;
                (id, self.named.get(&id).map_or_else(|| reliance::gone(id), OnFile::obituary))
            }
            // Rather a statement too many than one that goes on.
            Shown::TooMany(_) => {
                let might_be_theirs = |grant: &&OnFile| {
                    grant.ended_at >= view.running_since.unwrap_or(i64::MAX)
                        && grant.user_id.as_ref().is_none_or(|user| person.is_none_or(|p| p.user_id == *user))
                };
                let grant = self.ended.iter().find(might_be_theirs)?;
                (grant.id, grant.obituary())
            }
        };
        Some((id, what, hint))
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

/// The stricter mode of the session's role and of the one it has set.
fn mode_of(view: &View) -> Result<Option<Mode>, ServerError> {
    let [one, other] = [view.session_role, view.role].map(|role| enrolled::mode_of(Oid::from(role)));
    Ok(one?.max(other?))
}

/// What was done to whom, for the ledger. It is done even if that cannot be recorded.
fn record(offence: &Offence, how: Stop) {
    let Offence { view, person, reason, grant } = offence;
    let person = person.as_ref();
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
        "grant": grant.as_ref().map(|(id, ..)| id),
        "because": grant.as_ref().map(|(_, what, _)| what),
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
