//! How the session's person sees a protected column now.
//!
//! One rule for views and tables: a live grant to reveal reveals; otherwise the first policy of the
//! column counts that is for the person, and reveals to its groups or masks. Where none is for them,
//! nothing is shown.

use crate::access::live::{LiveGrants, Place};
use crate::access::reliance::{self, Need};
use crate::access::{Privilege, live_for};
use crate::error::ServerError;
use crate::identity::{Person, session as person};
use crate::masking::known::{self, Known, Policy, Protected};
use crate::masking::spec::Masking;
use crate::pg::local::process_local;
use crate::pg::{catalog, session, shared};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;

/// How the session's person sees a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    Unprotected,
    Revealed,
    /// By the masking of this policy, see [`masking_of`]; [`SAFE_DEFAULT`] if none fits.
    Masked(i64),
}

/// Stands for no policy: nothing is shown.
pub const SAFE_DEFAULT: i64 = 0;

/// What an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    Policy(i64, Oid),
    Column(Oid, i16),
}

/// What holds until a moment comes or somebody changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Decision {
    on: Question,
    /// Revealed before this moment, `otherwise` from it on; `i64::MIN` is not revealed at any time.
    revealed_until: i64,
    otherwise: Seen,
}

struct Decided {
    generation: u64,
    serial: u64,
    names: u64,
    decisions: Vec<Decision>,
}

process_local! {
    static DECIDED: RefCell<Decided> =
        const { RefCell::new(Decided { generation: 0, serial: 0, names: 0, decisions: Vec::new() }) };
}

/// More are asked again: nobody's statement has so many.
const REMEMBERED: usize = 4096;

impl Decision {
    fn at(self, now: impl FnOnce() -> i64) -> Option<Seen> {
        if self.revealed_until == i64::MIN {
            return Some(self.otherwise);
        }
        (now() < self.revealed_until).then_some(Seen::Revealed)
    }
}

/// What was decided, or is decided now. Called for every row: it remembers until when the answer
/// holds, and reads the clock only while that is yes.
fn answer(
    on: Question,
    decide: impl FnOnce(&Known, i64) -> Result<Option<Decision>, ServerError>,
) -> Result<Seen, ServerError> {
    shared::preloaded()?;
    session::in_leader()?;
    let state = (shared::generation(), person::serial(), catalog::names_generation());
    let remembered = DECIDED.with_borrow(|decided| {
        let valid = (decided.generation, decided.serial, decided.names) == state;
        decided.decisions.iter().find(|decision| valid && decision.on == on).copied()
    });
    if let Some(seen) = remembered.and_then(|decision| decision.at(session::now)) {
        return Ok(seen);
    }
    let now = session::now();
    let known = known::current()?;
    // only what exists is remembered: there is no end to the numbers that somebody may ask for
    let Some(decision) = decide(&known, now)? else { return Ok(Seen::Unprotected) };
    DECIDED.with_borrow_mut(|decided| {
        let (generation, serial, names) = state;
        if (decided.generation, decided.serial, decided.names) != state
            || decided.decisions.len() >= REMEMBERED
        {
            *decided = Decided { generation, serial, names, decisions: Vec::new() };
        }
        decided.decisions.retain(|decision| decision.on != on);
        decided.decisions.push(decision);
    });
    Ok(if now < decision.revealed_until { Seen::Revealed } else { decision.otherwise })
}

/// Whether the person sees the column of policy `id` in this table in the clear: by a grant, or because the
/// policy is for them and reveals to a group of theirs. An unknown policy reveals nothing; without the
/// preloaded library there is no answer.
pub fn reveals(id: i64, relation: Oid) -> Result<bool, ServerError> {
    let on = Question::Policy(id, relation);
    let seen = answer(on, |known, now| {
        let Some(policy) = known.policy(id) else { return Ok(None) };
        let revealed_until = match person(now) {
            Some(person) if opens(policy, &person) => person.expires_at,
            Some(person) => grant_until(known, id, relation, &person, live_for(&person)?.as_ref(), now),
            None => i64::MIN,
        };
        Ok(Some(Decision { on, revealed_until, otherwise: Seen::Masked(id) }))
    })?;
    Ok(seen == Seen::Revealed)
}

/// Whether the policy is for the session's person: an unknown one is for nobody.
pub fn applies(id: i64) -> Result<bool, ServerError> {
    shared::preloaded()?;
    session::in_leader()?;
    let known = known::current()?;
    Ok(known.policy(id).is_some_and(|policy| is_for(policy, person(session::now()).as_deref())))
}

/// Whether anything in the relation is masked for anybody.
pub fn protects(relation: Oid) -> Result<bool, ServerError> {
    Ok(known::current()?.protects(relation))
}

/// How the session's person sees the column now, whatever view is before it.
pub fn seen(relation: Oid, attnum: i16) -> Result<Seen, ServerError> {
    if !protects(relation)? {
        return Ok(Seen::Unprotected);
    }
    let on = Question::Column(relation, attnum);
    answer(on, |known, now| {
        let columns = known.columns_of(relation);
        let Some(column) = columns.iter().find(|column| column.attnum == attnum) else { return Ok(None) };
        let person = person(now);
        let verdict = match &person {
            Some(person) => judge(known, column, relation, Some(person), live_for(person)?.as_ref(), now),
            None => judge(known, column, relation, None, &LiveGrants::default(), now),
        };
        let otherwise = match verdict.policy {
            Some(id) if is_effective(known, id, column) => Seen::Masked(id),
            _ => Seen::Masked(SAFE_DEFAULT),
        };
        Ok(Some(Decision { on, revealed_until: verdict.revealed_until, otherwise }))
    })
}

/// Notes on which grants it relies that the session's person sees the column in the clear, if it does.
pub fn rely(relation: Oid, attnum: i16) -> Result<(), ServerError> {
    let (known, now) = (known::current()?, session::now());
    let Some(person) = person(now) else { return Ok(()) };
    let columns = known.columns_of(relation);
    let Some(column) = columns.iter().find(|column| column.attnum == attnum) else { return Ok(()) };
    let live = live_for(&person)?;
    if judge(&known, column, relation, Some(&person), &live, now).grant.is_some() {
        let of_places =
            places(&known, relation).flat_map(|place| live.permitting(place, Privilege::Reveal, now));
        let of_column = live.permitting_column((relation, attnum), Privilege::Reveal, now);
        reliance::needs(Need::Reveal, of_places.chain(of_column));
    }
    Ok(())
}

/// The masking behind [`Seen::Masked`]: one that shows nothing for unknown policies.
pub fn masking_of(policy: i64) -> Result<Masking, ServerError> {
    Ok(known::current()?
        .policy(policy)
        .and_then(|policy| policy.masking.clone())
        .unwrap_or(Masking::NullValue))
}

/// Whether the policy's own masking can be shown in the column.
fn is_effective(known: &Known, id: i64, column: &Protected) -> bool {
    known
        .policy(id)
        .and_then(|policy| policy.masking.as_ref())
        .is_some_and(|masking| masking.fits(&column.base_type))
}

/// How somebody sees a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The first moment at which it is no longer in the clear; `i64::MIN` if not even now.
    pub revealed_until: i64,
    /// The policy that is for them.
    pub policy: Option<i64>,
    /// The grant that reveals the column.
    pub grant: Option<i64>,
}

/// The rule, for whomever.
pub fn judge(
    known: &Known,
    column: &Protected,
    relation: Oid,
    person: Option<&Person>,
    live: &LiveGrants,
    now: i64,
) -> Verdict {
    let policy = column.policies.iter().filter_map(|id| known.policy(*id)).find(|p| is_for(p, person));
    let mut verdict =
        Verdict { revealed_until: i64::MIN, policy: policy.map(|policy| policy.id), grant: None };
    let Some(person) = person else { return verdict };
    if policy.is_some_and(|policy| opens(policy, person)) {
        verdict.revealed_until = person.expires_at;
    } else if let Some((grant, until)) = grant_on(known, relation, column.attnum, live, now) {
        verdict.revealed_until = until.min(person.expires_at);
        verdict.grant = Some(grant);
    }
    verdict
}

/// Whether a policy is for somebody: for a group of theirs, or for everybody else.
fn is_for(policy: &Policy, person: Option<&Person>) -> bool {
    policy.for_groups.is_empty()
        || person.is_some_and(|person| policy.for_groups.iter().any(|group| person.is_in(group)))
}

fn opens(policy: &Policy, person: &Person) -> bool {
    is_for(policy, Some(person)) && policy.reveal_to.iter().any(|group| person.is_in(group))
}

fn person(now: i64) -> Option<std::rc::Rc<Person>> {
    person::current().filter(|person| now < person.expires_at)
}

/// Until when grants reveal all columns of the table that the policy is on.
fn grant_until(
    known: &Known,
    policy: i64,
    relation: Oid,
    person: &Person,
    live: &LiveGrants,
    now: i64,
) -> i64 {
    let columns = known.columns_of(relation);
    let until = columns.iter().filter(|column| column.policies.contains(&policy)).map(|column| {
        grant_on(known, relation, column.attnum, live, now).map_or(i64::MIN, |(_, until)| until)
    });
    until.min().map_or(i64::MIN, |until| until.min(person.expires_at))
}

/// The grant that reveals the column, its table, or a view of ours that shows it, for longest.
fn grant_on(known: &Known, table: Oid, attnum: i16, live: &LiveGrants, now: i64) -> Option<(i64, i64)> {
    places(known, table)
        .filter_map(|place| live.covering_column(place, (table, attnum), Privilege::Reveal, now))
        .max_by_key(|grant| grant.ends_at)
        .map(|grant| (grant.id, grant.ends_at))
}

/// Where grants may be that reveal a table's columns: at the table, and at views of ours that show it.
fn places(known: &Known, table: Oid) -> impl Iterator<Item = Place> {
    std::iter::once(table)
        .chain(known.views_of(table).map(|view| view.view))
        .filter_map(|relation| Some(Place::Relation { relation, schema: catalog::namespace_of(relation)? }))
}
