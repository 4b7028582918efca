//! Which grants are in force for a person now.

use crate::access::privilege::{Privilege, Privileges};
use crate::access::store;
use crate::error::ServerError;
use crate::identity::Person;
use crate::pg::local::process_local;
use crate::pg::predicate::Predicate;
use crate::pg::{session, shared};
use pgrx::pg_sys::Oid;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

type Key = (u8, u32, i16);

/// What a grant is on, by identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Database,
    Schema(Oid),
    Relation(Oid),
    Column(Oid, i16),
    /// Some rows of a relation.
    Rows(Oid),
    Function(Oid),
}

impl Scope {
    /// An order in which the columns of a relation stand together.
    fn key(self) -> Key {
        match self {
            Self::Database => (0, 0, 0),
            Self::Schema(schema) => (1, schema.to_u32(), 0),
            Self::Relation(relation) => (2, relation.to_u32(), 0),
            Self::Column(relation, column) => (3, relation.to_u32(), column),
            Self::Rows(relation) => (4, relation.to_u32(), 0),
            Self::Function(function) => (5, function.to_u32(), 0),
        }
    }
}

/// Where something is that a grant may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Database,
    Schema(Oid),
    Relation { relation: Oid, schema: Oid },
    Function { function: Oid, schema: Oid },
}

impl Place {
    /// The scopes that hold it, the widest first.
    fn scopes(self) -> impl Iterator<Item = Scope> {
        let (schema, itself) = match self {
            Self::Database => (None, None),
            Self::Schema(schema) => (Some(schema), None),
            Self::Relation { relation, schema } => (Some(schema), Some(Scope::Relation(relation))),
            Self::Function { function, schema } => (Some(schema), Some(Scope::Function(function))),
        };
        [Some(Scope::Database), schema.map(Scope::Schema), itself].into_iter().flatten()
    }
}

/// One grant, as far as it matters to whoever holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveGrant {
    pub id: i64,
    pub privileges: Privileges,
    pub scope: Scope,
    pub starts_at: i64,
    pub ends_at: i64,
}

impl LiveGrant {
    fn permits(&self, privilege: Privilege, now: i64) -> bool {
        self.privileges.has(privilege) && self.starts_at <= now && now < self.ends_at
    }
}

/// The grants a person holds, each with its end. Holding the list is no access: every question
/// asked of it names the time.
#[derive(Debug, Default)]
pub struct LiveGrants {
    /// By scope, and of one scope by end, the last first.
    grants: Vec<LiveGrant>,
    /// Where in that order those of a scope are: whoever holds thousands is not to pay for a search with each
    /// statement, which fetches a dozen places of the list from memory.
    scopes: FxHashMap<Key, Range<usize>>,
    /// Where in that order a grant is.
    places: HashMap<i64, usize>,
    predicates: HashMap<i64, Predicate>,
}

/// As many grants on one object are named as keeping a statement going; whoever has more has enough of them.
const ALTERNATIVES: usize = 4;

impl LiveGrants {
    pub fn new(mut grants: Vec<LiveGrant>, predicates: HashMap<i64, Predicate>) -> Self {
        grants.sort_unstable_by_key(|grant| (grant.scope.key(), Reverse(grant.ends_at), grant.id));
        let places = grants.iter().enumerate().map(|(place, grant)| (grant.id, place)).collect();
        let mut scopes: FxHashMap<Key, Range<usize>> = FxHashMap::default();
        for (place, grant) in grants.iter().enumerate() {
            scopes.entry(grant.scope.key()).or_insert(place..place).end = place + 1;
        }
        Self { grants, scopes, places, predicates }
    }

    /// A grant that has neither ended nor been revoked. It may not have begun.
    pub fn get(&self, id: i64) -> Option<&LiveGrant> {
        self.grants.get(*self.places.get(&id)?)
    }

    /// The grants of which each permits `privilege` at all of `place`; of many on one object those that last longest.
    pub fn permitting(
        &self,
        place: Place,
        privilege: Privilege,
        now: i64,
    ) -> impl Iterator<Item = LiveGrant> {
        place.scopes().flat_map(move |scope| self.permitting_on(scope, privilege, now))
    }

    /// As [`Self::permitting`], of one column.
    pub fn permitting_column(
        &self,
        (relation, column): (Oid, i16),
        privilege: Privilege,
        now: i64,
    ) -> impl Iterator<Item = LiveGrant> {
        self.permitting_on(Scope::Column(relation, column), privilege, now)
    }

    fn permitting_on(&self, scope: Scope, privilege: Privilege, now: i64) -> impl Iterator<Item = LiveGrant> {
        self.on(scope).iter().filter(move |grant| grant.permits(privilege, now)).take(ALTERNATIVES).copied()
    }

    /// The grants that do what grant `id` does, on just the same object: itself among them.
    pub fn like(&self, id: i64, privilege: Privilege, now: i64) -> impl Iterator<Item = LiveGrant> {
        self.get(id).into_iter().flat_map(move |grant| self.permitting_on(grant.scope, privilege, now))
    }

    fn on(&self, scope: Scope) -> &[LiveGrant] {
        let there = self.scopes.get(&scope.key()).cloned();
        there.and_then(|there| self.grants.get(there)).unwrap_or_default()
    }

    /// The grant that permits `privilege` at all of `place` at the time `now`: of several the one that
    /// lasts longest.
    pub fn covering(&self, place: Place, privilege: Privilege, now: i64) -> Option<LiveGrant> {
        let longest = |scope| self.on(scope).iter().find(|grant| grant.permits(privilege, now));
        place.scopes().filter_map(longest).max_by_key(|grant| grant.ends_at).copied()
    }

    /// As [`Self::covering`], for one column of a relation.
    pub fn covering_column(
        &self,
        place: Place,
        (relation, column): (Oid, i16),
        privilege: Privilege,
        now: i64,
    ) -> Option<LiveGrant> {
        let column = self.on(Scope::Column(relation, column));
        let column = column.iter().find(|grant| grant.permits(privilege, now)).copied();
        self.covering(place, privilege, now).into_iter().chain(column).max_by_key(|grant| grant.ends_at)
    }

    /// The grants on columns that together permit `privilege` on these columns of a relation; on any one of its
    /// columns if there are none to be used. `None` if one is not covered.
    pub fn covering_columns(
        &self,
        relation: Oid,
        columns: &[i16],
        privilege: Privilege,
        now: i64,
    ) -> Option<Vec<i64>> {
        let lowest = Scope::Column(relation, i16::MIN).key();
        let first = self.grants.partition_point(|grant| grant.scope.key() < lowest);
        let any = self.grants.get(first..)?.iter();
        let mut any = any
            .take_while(|grant| matches!(grant.scope, Scope::Column(of, _) if of == relation))
            .filter(|grant| grant.permits(privilege, now))
            .peekable();
        any.peek()?;
        if columns.is_empty() {
            return any.next().map(|grant| vec![grant.id]);
        }
        columns
            .iter()
            .map(|column| {
                let grants = self.on(Scope::Column(relation, *column));
                Some(grants.iter().find(|grant| grant.permits(privilege, now))?.id)
            })
            .collect()
    }

    /// The grants that permit `privilege` on some rows of a relation, by number.
    pub fn covering_rows(&self, relation: Oid, privilege: Privilege, now: i64) -> Vec<i64> {
        let grants = self.on(Scope::Rows(relation)).iter();
        let mut found: Vec<i64> =
            grants.filter(|grant| grant.permits(privilege, now)).map(|grant| grant.id).collect();
        found.sort_unstable();
        found
    }

    /// Whether any grant is on some rows only.
    pub fn has_rows(&self) -> bool {
        !self.predicates.is_empty()
    }

    /// The condition of a grant on rows.
    pub fn predicate(&self, id: i64) -> Option<&Predicate> {
        self.predicates.get(&id)
    }
}

struct Cached {
    generation: u64,
    serial: u64,
    issuer: String,
    user_id: String,
    grants: Rc<LiveGrants>,
}

impl Cached {
    fn is_of(&self, generation: u64, serial: u64, person: &Person) -> bool {
        self.generation == generation
            && self.serial == serial
            && self.user_id == person.user_id
            && self.issuer == person.issuer
    }
}

process_local! {
    static CACHED: RefCell<Option<Cached>> = const { RefCell::new(None) };
}

/// The grants of `person`, whom the session has now. Read from the table when a grant anywhere
/// or the person of the session has changed, otherwise remembered.
pub fn live_for(person: &Person) -> Result<Rc<LiveGrants>, ServerError> {
    // the numbers come first: a change that commits while the table is read is then read again
    let (generation, serial) = (shared::generation(), crate::identity::session::serial());
    let known = CACHED.with_borrow(|cached| {
        cached.as_ref().filter(|c| c.is_of(generation, serial, person)).map(|c| Rc::clone(&c.grants))
    });
    if let Some(grants) = known {
        return Ok(grants);
    }
    if !session::in_transaction() {
        // A failed transaction does nothing that would need a grant, and the tables cannot be read in it.
        return Ok(Rc::default());
    }
    let grants = Rc::new(store::live(person, session::now())?);
    let (issuer, user_id) = (person.issuer.clone(), person.user_id.clone());
    CACHED.replace(Some(Cached { generation, serial, issuer, user_id, grants: Rc::clone(&grants) }));
    Ok(grants)
}

/// The grants of somebody who need not be here.
pub fn live_of(person: &Person, now: i64) -> Result<LiveGrants, ServerError> {
    store::live(person, now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oid(value: u32) -> Oid {
        Oid::from(value)
    }

    fn grant(id: i64, privilege: Privilege, scope: Scope, starts_at: i64, ends_at: i64) -> LiveGrant {
        LiveGrant { id, privileges: Privileges::NONE.with(privilege), scope, starts_at, ends_at }
    }

    fn table(relation: u32, schema: u32) -> Place {
        Place::Relation { relation: oid(relation), schema: oid(schema) }
    }

    #[test]
    fn a_grant_covers_its_scope_its_privileges_and_its_time_and_nothing_else() {
        let grants = LiveGrants::new(
            vec![
                grant(1, Privilege::Select, Scope::Relation(oid(10)), 100, 200),
                grant(2, Privilege::Select, Scope::Schema(oid(5)), 150, 300),
                grant(3, Privilege::Reveal, Scope::Database, 100, 200),
                grant(4, Privilege::Execute, Scope::Function(oid(10)), 100, 200),
            ],
            HashMap::new(),
        );
        let id = |place, privilege, now| grants.covering(place, privilege, now).map(|grant| grant.id);
        assert_eq!(id(table(10, 5), Privilege::Select, 100), Some(1));
        assert_eq!(id(table(10, 5), Privilege::Select, 150), Some(2), "the one that lasts longest");
        assert_eq!(id(table(10, 6), Privilege::Select, 199), Some(1));
        assert_eq!(
            id(table(10, 6), Privilege::Select, 200),
            None,
            "the end is the first moment without access"
        );
        assert_eq!(id(table(10, 6), Privilege::Select, 99), None);
        assert_eq!(id(table(11, 6), Privilege::Select, 150), None);
        assert_eq!(id(table(5, 6), Privilege::Select, 250), None, "a schema's number is not a table's");
        assert_eq!(id(table(11, 5), Privilege::Insert, 150), None);
        assert_eq!(
            id(Place::Database, Privilege::Select, 150),
            None,
            "a table's grant is not the database's"
        );
        assert_eq!(id(table(99, 99), Privilege::Reveal, 150), Some(3));
        assert_eq!(id(table(10, 6), Privilege::Execute, 150), None, "a function's number is not a table's");
        let function = Place::Function { function: oid(10), schema: oid(6) };
        assert_eq!(id(function, Privilege::Execute, 150), Some(4));
        assert_eq!(id(function, Privilege::Select, 150), None);
    }

    #[test]
    fn columns_add_up_and_count_for_no_other_column_privilege_or_time() {
        let column = |id, number, privilege| grant(id, privilege, Scope::Column(oid(10), number), 100, 200);
        let grants = LiveGrants::new(
            vec![
                column(1, 1, Privilege::Select),
                column(2, 3, Privilege::Select),
                column(3, 2, Privilege::Update),
                grant(4, Privilege::Select, Scope::Column(oid(11), 2), 100, 200),
            ],
            HashMap::new(),
        );
        let of = |columns: &[i16], privilege, now| grants.covering_columns(oid(10), columns, privilege, now);
        assert_eq!(of(&[1], Privilege::Select, 100), Some(vec![1]));
        assert_eq!(of(&[1, 3], Privilege::Select, 100), Some(vec![1, 2]));
        assert_eq!(of(&[1, 2], Privilege::Select, 100), None);
        assert_eq!(of(&[0], Privilege::Select, 100), None, "the whole row is more than one column");
        assert_eq!(of(&[-6], Privilege::Select, 100), None, "system columns are none that was granted");
        assert_eq!(of(&[], Privilege::Select, 100), Some(vec![1]), "count(*)");
        assert_eq!(of(&[], Privilege::Insert, 100), None);
        assert_eq!(of(&[1], Privilege::Select, 200), None);
        assert_eq!(of(&[2], Privilege::Update, 150), Some(vec![3]));
        assert_eq!(grants.covering(table(10, 5), Privilege::Select, 150), None);
        let revealed = |column, privilege| {
            grants.covering_column(table(10, 5), (oid(10), column), privilege, 150).map(|grant| grant.id)
        };
        assert_eq!((revealed(1, Privilege::Select), revealed(2, Privilege::Select)), (Some(1), None));
    }

    #[test]
    fn rows_cover_no_whole_table() {
        let rows = |id, starts_at| grant(id, Privilege::Select, Scope::Rows(oid(10)), starts_at, 200);
        let grants = LiveGrants::new(vec![rows(7, 100), rows(5, 100), rows(6, 150)], HashMap::new());
        assert_eq!(grants.covering_rows(oid(10), Privilege::Select, 100), [5, 7]);
        assert_eq!(grants.covering_rows(oid(10), Privilege::Select, 150), [5, 6, 7]);
        assert!(grants.covering_rows(oid(10), Privilege::Select, 200).is_empty());
        assert!(grants.covering_rows(oid(10), Privilege::Update, 150).is_empty());
        assert!(grants.covering_rows(oid(11), Privilege::Select, 150).is_empty());
        assert_eq!(grants.covering(table(10, 5), Privilege::Select, 150), None);
    }

    /// The part of a check that grows with the number of grants; without optimisation it may take five times as long.
    #[test]
    fn ten_thousand_grants_are_looked_through_in_less_than_a_microsecond() {
        let many = (0..10_000_u32).map(|number| {
            let scope = match number % 4 {
                0 => Scope::Relation(oid(number)),
                1 => Scope::Column(oid(number), 1),
                2 => Scope::Rows(oid(number)),
                _ => Scope::Schema(oid(number)),
            };
            grant(i64::from(number), Privilege::Select, scope, 100, 200)
        });
        let grants = LiveGrants::new(many.collect(), HashMap::new());
        let numbers: Vec<u32> = (0..10_000).collect();
        let look = |some: &[u32]| {
            let start = std::time::Instant::now();
            for number in some {
                std::hint::black_box(grants.covering(table(*number, 1), Privilege::Select, 150));
            }
            start.elapsed()
        };
        // Of each hundred the fastest of many rounds: so short a time is seldom interrupted, on a busy machine either.
        let mut fastest = vec![std::time::Duration::MAX; numbers.len() / 100];
        for _ in 0..40 {
            for (fastest, some) in fastest.iter_mut().zip(numbers.chunks(100)) {
                *fastest = look(some).min(*fastest);
            }
        }
        let each = fastest.iter().sum::<std::time::Duration>() / 10_000;
        assert!(each.as_nanos() < 1000 * if cfg!(debug_assertions) { 5 } else { 1 }, "{each:?}");
    }
}
