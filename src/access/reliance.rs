//! On which grants a statement relies while it runs.
//!
//! Promises: what the gate and the masks have found to cover a statement stays with it. It is shown to the steward for
//! as long as the statement, or anything that it runs, is running; and a cursor that goes on is asked again. A
//! statement relies on a list of needs; each is met as long as one of the grants is live that met it when it was
//! judged. A grant that is given later does not keep it.
//!
//! What a statement of a function has relied on counts until the client's own statement ends: what it has read is in
//! that one's hands.

use super::error::{MY_GRANTS, request_call};
use super::live::{LiveGrant, LiveGrants};
use super::store::{self, OnFile};
use super::unsettled;
use crate::error::ServerError;
use crate::pg::local::process_local;
use crate::pg::{session, sessions, shared};
use std::cell::{Cell, RefCell};

/// What a need is for. Its number begins the need in a list of numbers, the grants follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i64)]
pub enum Need {
    /// To be let run, which in modes other than `govern` needs no grant.
    Govern = 0,
    /// To see a column in the clear.
    Reveal = -1,
}

/// Stands in the place of all needs: there are more than a session can show.
const TOO_MANY: i64 = -2;

/// Added to the number of a grant that nobody else can see yet: it is not on file, and not gone for that.
const NEW: i64 = 1 << 62;

/// The number of the grant itself.
fn id_of(number: i64) -> i64 {
    number & !NEW
}

/// What must stay as it is for a statement to go on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reliance {
    needs: Vec<i64>,
    /// The first moment at which one of the needs may not be met any more; microseconds since 2000.
    until: i64,
    /// The configuration under which they were met.
    generation: u64,
}

impl Reliance {
    const NONE: Self = Self { needs: Vec::new(), until: i64::MAX, generation: 0 };

    fn is_empty(&self) -> bool {
        self.needs.is_empty()
    }

    fn add(&mut self, need: Need, grants: impl Iterator<Item = LiveGrant>) {
        let (start, mut until) = (self.needs.len(), i64::MIN);
        self.needs.push(need as i64);
        for grant in grants {
            self.needs.push(if unsettled::is_new(grant.id) { grant.id | NEW } else { grant.id });
            until = until.max(grant.ends_at);
        }
        let added = self.needs.len() - start;
        let (before, new) = self.needs.split_at(start);
        if added == 1 || needs_in(before).any(|known| known == new) {
            self.needs.truncate(start);
        } else {
            self.until = self.until.min(until);
        }
    }

    fn merge(&mut self, other: &Self) {
        for need in needs_in(&other.needs) {
            if !needs_in(&self.needs).any(|known| known == need) {
                self.needs.extend_from_slice(need);
            }
        }
        self.until = self.until.min(other.until);
        self.generation = other.generation;
    }

    /// The first grant of a need that no grant meets at the time `now`, or until when all are met.
    fn met_until(&self, live: &LiveGrants, governed: bool, now: i64) -> Result<i64, i64> {
        let mut until = i64::MAX;
        for need in needs_in(&self.needs).filter(|need| counts(need, governed)) {
            let ends =
                need[1..].iter().filter_map(|number| live.get(id_of(*number))).map(|grant| grant.ends_at);
            match ends.max().filter(|end| now < *end) {
                Some(end) => until = until.min(end),
                None => return Err(id_of(need[1])),
            }
        }
        Ok(until)
    }
}

/// The needs in a list of numbers, each with what it is for and at least one grant.
fn needs_in(numbers: &[i64]) -> impl Iterator<Item = &[i64]> {
    numbers.chunk_by(|_, next| *next > 0).filter(|need| need.len() > 1)
}

/// Whether a need is one, where the role is `governed` or not.
fn counts(need: &[i64], governed: bool) -> bool {
    governed || need[0] == Need::Reveal as i64
}

/// What a session shows that its statement relies on.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown<'a> {
    Nothing,
    /// The first moment at which a need may not be met any more, and the needs.
    Needs(i64, &'a [i64]),
    /// More than it can show.
    TooMany(i64),
}

impl<'a> Shown<'a> {
    /// Reads what [`sessions::rely`] was given.
    pub fn read(numbers: &'a [i64]) -> Self {
        match numbers {
            [] => Self::Nothing,
            [until, TOO_MANY] => Self::TooMany(*until),
            [until, needs @ ..] => Self::Needs(*until, needs),
        }
    }

    /// All grants that are named.
    pub fn grants(&self) -> impl Iterator<Item = i64> {
        let needs = if let Self::Needs(_, needs) = self { *needs } else { &[] };
        needs.iter().copied().filter(|number| *number > 0).map(id_of)
    }

    /// The first grant of a need that is not met; `governed` if the session's role is. `is_live` is asked of a grant, and
    /// whether nobody could see it when it was judged.
    pub fn unmet(&self, governed: bool, is_live: impl Fn(i64, bool) -> bool) -> Option<i64> {
        let needs = if let Self::Needs(_, needs) = self { *needs } else { &[] };
        needs_in(needs)
            .filter(|need| counts(need, governed))
            .find(|need| !need[1..].iter().any(|number| is_live(id_of(*number), number & NEW != 0)))
            .map(|need| id_of(need[1]))
    }
}

process_local! {
    /// What the judgement that goes on has found.
    static JUDGED: RefCell<Reliance> = const { RefCell::new(Reliance::NONE) };
    /// Executions that were started.
    static OPEN: RefCell<Vec<(usize, Reliance)>> = const { RefCell::new(Vec::new()) };
    /// Cursors that outlive their transaction, by name: their rows are put aside at its end.
    static HELD: RefCell<Vec<(Vec<u8>, Reliance)>> = const { RefCell::new(Vec::new()) };
    /// The execution that was started last: functions that it calls are judged while it starts.
    static LATEST: Cell<usize> = const { Cell::new(0) };
    /// What everything in this transaction has relied on.
    static TRANSACTION: RefCell<Reliance> = const { RefCell::new(Reliance::NONE) };
    /// What the statement shows that runs, and its number.
    static SHOWN: RefCell<(u64, Reliance)> = const { RefCell::new((0, Reliance::NONE)) };
}

/// A judgement begins.
pub fn judging() {
    JUDGED.with_borrow_mut(|judged| {
        judged.needs.clear();
        judged.until = i64::MAX;
        judged.generation = shared::generation();
    });
}

/// One of these grants is needed, for what is judged.
pub fn needs(need: Need, grants: impl Iterator<Item = LiveGrant>) {
    JUDGED.with_borrow_mut(|judged| judged.add(need, grants));
}

fn take() -> Option<Reliance> {
    JUDGED.with_borrow_mut(|judged| (!judged.is_empty()).then(|| std::mem::replace(judged, Reliance::NONE)))
}

/// The execution `key` starts; what it relies on was judged. `judged` if it was asked at all.
pub fn started(key: usize, judged: bool) {
    if OPEN.with_borrow(|open| !open.is_empty()) {
        ended(key);
    }
    LATEST.set(key);
    if judged && let Some(reliance) = take() {
        show(&reliance);
        OPEN.with_borrow_mut(|open| open.push((key, reliance)));
    }
}

/// What is judged is run at the commit by a trigger that was put off until then, for all that the transaction has done:
/// what that relied on counts, unless it has ended before.
pub fn judging_at_commit(live: &LiveGrants, now: i64) {
    let all = TRANSACTION.with_borrow(Clone::clone);
    JUDGED.with_borrow_mut(|judged| {
        for need in needs_in(&all.needs) {
            let one = Reliance { needs: need.to_vec(), ..Reliance::NONE };
            if let Ok(until) = one.met_until(live, true, now) {
                judged.merge(&Reliance { until, generation: judged.generation, ..one });
            }
        }
    });
}

/// A utility statement was judged, which runs now.
pub fn runs() {
    if let Some(reliance) = take() {
        show(&reliance);
    }
}

/// A call of a function was judged: what calls it may be starting, and runs later.
pub fn called() {
    let Some(reliance) = take() else { return };
    show(&reliance);
    let key = LATEST.get();
    if key != 0 {
        OPEN.with_borrow_mut(|open| match open.iter_mut().rfind(|(known, _)| *known == key) {
            Some((_, known)) => known.merge(&reliance),
            None => open.push((key, reliance)),
        });
    }
}

/// Has the steward see it, for as long as the statement runs that the client sent.
fn show(reliance: &Reliance) {
    let statement = sessions::statement();
    SHOWN.with_borrow_mut(|(of, shown)| {
        if *of != statement {
            (*of, *shown) = (statement, Reliance::NONE);
        }
        let before = (shown.needs.len(), shown.until);
        shown.merge(reliance);
        if before == (shown.needs.len(), shown.until) {
            return;
        }
        let mut said = Vec::with_capacity(shown.needs.len() + 1);
        said.push(shown.until);
        said.extend_from_slice(&shown.needs);
        if said.len() > sessions::RELIED {
            said.truncate(1);
            said.push(TOO_MANY);
        }
        sessions::rely(&said);
        TRANSACTION.with_borrow_mut(|all| all.merge(reliance));
        let slot = shared::get().and_then(|memory| memory.database(session::database().to_u32()));
        if let Some(slot) = slot {
            slot.look_before(shown.until);
        }
    });
}

/// The execution `key` ends.
#[inline]
pub fn ended(key: usize) {
    if LATEST.get() == key {
        LATEST.set(0);
    }
    OPEN.with_borrow_mut(|open| {
        if !open.is_empty() {
            open.retain(|(known, _)| *known != key);
        }
    });
}

/// The transaction is over, and everything that was started in it.
pub fn transaction_ended() {
    OPEN.with_borrow_mut(Vec::clear);
    TRANSACTION.with_borrow_mut(|all| all.needs.clear());
    LATEST.set(0);
}

/// The execution `key` does the rest of its work.
pub fn finishing(key: usize) {
    OPEN.with_borrow(|open| {
        if let Some((_, reliance)) = open.iter().find(|(known, _)| *known == key) {
            show(reliance);
        }
    });
}

/// Whether anything is known of what the execution `key` relies on.
#[inline]
pub fn is_known(key: usize) -> bool {
    OPEN.with_borrow(|open| !open.is_empty() && open.iter().any(|(known, _)| *known == key))
}

/// The execution `key` runs, perhaps not for the first time, where the role is `governed` or not: whether all that it
/// relies on still is. `Some` is the grant that has ended. `live` is asked if anything may have changed.
pub fn goes_on<E>(
    key: usize,
    (governed, now): (bool, i64),
    live: impl FnOnce() -> Result<std::rc::Rc<LiveGrants>, E>,
) -> Result<Option<i64>, E> {
    OPEN.with_borrow_mut(|open| match open.iter_mut().find(|(known, _)| *known == key) {
        Some((_, reliance)) => {
            // Shown first: who takes a grant back after this finds it, and what was taken back before is found here.
            show(reliance);
            ask(reliance, (governed, now), live)
        }
        None => Ok(None),
    })
}

fn ask<E>(
    reliance: &mut Reliance,
    (governed, now): (bool, i64),
    live: impl FnOnce() -> Result<std::rc::Rc<LiveGrants>, E>,
) -> Result<Option<i64>, E> {
    let generation = shared::generation();
    if reliance.generation == generation && now < reliance.until {
        return Ok(None);
    }
    Ok(match reliance.met_until(live()?.as_ref(), governed, now) {
        Ok(until) => {
            (reliance.until, reliance.generation) = (until, generation);
            None
        }
        Err(grant) => Some(grant),
    })
}

/// The cursor `name`, whose execution is `key`, will outlive its transaction.
pub fn hold(name: &[u8], key: usize, is_there: impl Fn(&[u8]) -> bool) {
    let reliance =
        OPEN.with_borrow(|open| open.iter().find(|(known, _)| *known == key).map(|(_, known)| known.clone()));
    if reliance.is_none() && HELD.with_borrow(Vec::is_empty) {
        return;
    }
    HELD.with_borrow_mut(|held| {
        held.retain(|(known, _)| known != name && is_there(known));
        held.extend(reliance.map(|reliance| (name.to_vec(), reliance)));
    });
}

/// Whether any cursor is held that relies on something.
pub fn holds_any() -> bool {
    HELD.with_borrow(|held| !held.is_empty())
}

/// As [`goes_on`], of a cursor whose rows were put aside.
pub fn held_goes_on<E>(
    name: &[u8],
    (governed, now): (bool, i64),
    live: impl FnOnce() -> Result<std::rc::Rc<LiveGrants>, E>,
) -> Result<Option<i64>, E> {
    HELD.with_borrow_mut(|held| match held.iter_mut().find(|(known, _)| known == name) {
        Some((_, reliance)) => {
            show(reliance);
            ask(reliance, (governed, now), live)
        }
        None => Ok(None),
    })
}

/// What became of a grant, and what to do about it.
pub fn obituary(id: i64) -> Result<(String, String), ServerError> {
    let mut found = None;
    store::on_file(|known, _| known == id, |grant| found = Some(grant.obituary()))?;
    Ok(found.unwrap_or_else(|| gone(id)))
}

/// Of one that is not on file.
pub fn gone(id: i64) -> (String, String) {
    (format!("grant {id} is gone"), MY_GRANTS.to_owned())
}

impl OnFile {
    /// What became of it, and what to do about it.
    pub fn obituary(&self) -> (String, String) {
        let end = if self.is_revoked { "was revoked" } else { "has expired" };
        let call = request_call(self.privileges, &self.object);
        (format!("grant {} on {} {end}", self.id, self.object), format!("Ask for: {call}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::live::Scope;
    use crate::access::privilege::{Privilege, Privileges};
    use std::collections::HashMap;

    fn grant(id: i64, ends_at: i64) -> LiveGrant {
        let privileges = Privileges::NONE.with(Privilege::Select);
        LiveGrant { id, privileges, scope: Scope::Database, starts_at: 0, ends_at }
    }

    fn relying(needs: &[(Need, &[i64])]) -> Reliance {
        let mut reliance = Reliance::NONE;
        for (need, grants) in needs {
            reliance.add(*need, grants.iter().map(|id| grant(*id, *id * 100)));
        }
        reliance
    }

    fn live(ids: &[i64]) -> LiveGrants {
        LiveGrants::new(ids.iter().map(|id| grant(*id, id * 100)).collect(), HashMap::new())
    }

    #[test]
    fn each_need_is_met_by_any_of_its_grants() {
        let both = relying(&[(Need::Govern, &[1, 3]), (Need::Reveal, &[2])]);
        assert_eq!(both.until, 200);
        assert_eq!(both.met_until(&live(&[1, 2, 3]), true, 50), Ok(200));
        assert_eq!(both.met_until(&live(&[2, 3]), true, 150), Ok(200));
        assert_eq!(both.met_until(&live(&[1, 2]), true, 50), Ok(100));
        assert_eq!(
            both.met_until(&live(&[1, 2]), true, 100),
            Err(1),
            "the end is the first moment without access"
        );
        assert_eq!(both.met_until(&live(&[1, 3]), true, 50), Err(2));
        assert_eq!(both.met_until(&live(&[]), true, 50), Err(1));
        assert_eq!(both.met_until(&live(&[2]), false, 50), Ok(200), "elsewhere than in govern mode");
        // Renewed: it ends later than when it was judged.
        let renewed = LiveGrants::new(vec![grant(1, 900), grant(2, 900)], HashMap::new());
        assert_eq!(both.met_until(&renewed, true, 500), Ok(900));
    }

    #[test]
    fn needs_are_named_once_and_none_without_a_grant() {
        let once = relying(&[(Need::Govern, &[1, 3]), (Need::Govern, &[1, 3]), (Need::Reveal, &[])]);
        assert_eq!(once.needs, [0, 1, 3]);
        let mut merged = relying(&[(Need::Govern, &[1])]);
        merged.merge(&once);
        merged.merge(&once);
        assert_eq!((merged.needs.as_slice(), merged.until), (&[0, 1, 0, 1, 3][..], 100));
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let numbers = [200, 0, 1, 3, -1, 2];
        let shown = Shown::read(&numbers);
        assert_eq!(shown.grants().collect::<Vec<_>>(), [1, 3, 2]);
        let unmet = |governed, live: &[i64]| shown.unmet(governed, |id, _| live.contains(&id));
        assert_eq!(unmet(true, &[1, 2]), None);
        assert_eq!(unmet(true, &[3, 2]), None);
        assert_eq!(unmet(true, &[2]), Some(1));
        assert_eq!(unmet(false, &[2]), None, "elsewhere than in govern mode nobody needs it");
        assert_eq!((unmet(true, &[1]), unmet(false, &[1])), (Some(2), Some(2)));
        assert_eq!(Shown::read(&[]), Shown::Nothing);
        assert_eq!(Shown::read(&[7, TOO_MANY]), Shown::TooMany(7));
    }
}
