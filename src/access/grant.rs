//! Grants: giving one, ending one, and which are in force for a person now.

use crate::access::error::AccessError;
use crate::access::object::{NotAnObject, ObjectName};
use crate::access::privilege::{Privilege, Privileges};
use crate::access::store;
use crate::error::ServerError;
use crate::event::{Note, Outcome};
use crate::identity::Person;
use crate::pg::{session, shared, spi};
use crate::trail;
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::rc::Rc;

/// The longest grant. A month covers an on-call rotation; whoever needs more asks again, so
/// that somebody looks again.
pub const LONGEST_DAYS: i64 = 30;

const DAY: i128 = 86_400_000_000;

/// The arguments of `access.grant_access`, as they came.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    pub user_id: Option<String>,
    pub issuer: Option<String>,
    pub group_name: Option<String>,
    pub privileges: Option<Vec<Option<String>>>,
    pub on_object: Option<String>,
    /// Microseconds; a day is 24 hours and a month 30 days.
    pub duration: Option<i128>,
    pub reason: Option<String>,
    pub ticket: Option<String>,
    pub rows: Option<String>,
}

/// A grant that makes sense by itself; whether its object exists is for the catalog to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub user_id: Option<String>,
    pub issuer: Option<String>,
    pub group_name: Option<String>,
    pub privileges: Privileges,
    pub object: ObjectName,
    /// Microseconds, positive.
    pub duration: i64,
    pub reason: String,
    pub ticket: Option<String>,
}

impl Asked {
    /// Checks everything that can be checked without the database.
    pub fn checked(self) -> Result<Wanted, AccessError> {
        if self.rows.is_some() {
            return Err(AccessError::NotYet("some rows of a table"));
        }
        match (&self.user_id, &self.group_name) {
            (Some(_), Some(_)) => return Err(AccessError::PersonAndGroup),
            (None, None) => return Err(AccessError::NeitherPersonNorGroup),
            (Some(name), None) if name.trim().is_empty() => {
                return Err(AccessError::EmptyArgument("user_id"));
            }
            (None, Some(name)) if name.trim().is_empty() => {
                return Err(AccessError::EmptyArgument("group_name"));
            }
            _ => {}
        }
        if self.issuer.as_deref().is_some_and(|issuer| issuer.trim().is_empty()) {
            return Err(AccessError::EmptyArgument("issuer"));
        }
        let privileges = privileges(self.privileges.ok_or(AccessError::NullArgument("privileges"))?)?;
        let object = object(&self.on_object.ok_or(AccessError::NullArgument("on_object"))?)?;
        let duration = duration(self.duration.ok_or(AccessError::NullArgument("duration"))?)?;
        let reason = reason(self.reason)?;
        let (user_id, issuer, group_name, ticket) = (self.user_id, self.issuer, self.group_name, self.ticket);
        Ok(Wanted { user_id, issuer, group_name, privileges, object, duration, reason, ticket })
    }
}

fn privileges(words: Vec<Option<String>>) -> Result<Privileges, AccessError> {
    let mut set = Privileges::NONE;
    for word in words {
        let word = word.ok_or(AccessError::NullArgument("privileges"))?;
        set = set.with(Privilege::parse(&word).ok_or(AccessError::UnknownPrivilege(word))?);
    }
    if set.is_empty() { Err(AccessError::NoPrivileges) } else { Ok(set) }
}

fn object(text: &str) -> Result<ObjectName, AccessError> {
    ObjectName::parse(text).map_err(|why| match why {
        NotAnObject::Malformed => AccessError::NotAnObject(text.to_owned()),
        NotAnObject::NoSchema => AccessError::TableWithoutSchema(text.to_owned()),
        NotAnObject::NotYet(what) => AccessError::NotYet(what),
    })
}

fn duration(micros: i128) -> Result<i64, AccessError> {
    if micros <= 0 {
        return Err(AccessError::DurationNotPositive);
    }
    match i64::try_from(micros) {
        Ok(fits) if micros <= i128::from(LONGEST_DAYS) * DAY => Ok(fits),
        _ => Err(AccessError::DurationTooLong(LONGEST_DAYS)),
    }
}

fn reason(reason: Option<String>) -> Result<String, AccessError> {
    let reason = reason.ok_or(AccessError::NullArgument("reason"))?;
    if reason.trim().is_empty() { Err(AccessError::EmptyArgument("reason")) } else { Ok(reason) }
}

/// Puts a grant in force from now on and returns its id.
pub fn give(asked: Asked) -> Result<i64, AccessError> {
    shared::preloaded()?;
    let wanted = asked.checked()?;
    let starts_at = session::now();
    let ends_at = starts_at.saturating_add(wanted.duration);
    let id = spi::as_owner(|client| {
        let object = store::resolve(client, &wanted.object)?;
        store::insert(client, &wanted, &object, starts_at, ends_at, &actor())
    })?;
    let detail = serde_json::json!({
        "grant": id, "user_id": wanted.user_id, "issuer": wanted.issuer, "group": wanted.group_name,
        "privileges": wanted.privileges.words(), "seconds": wanted.duration / 1_000_000,
        "reason": wanted.reason, "ticket": wanted.ticket,
    });
    record("grant", wanted.object.to_string(), &detail)?;
    Ok(id)
}

/// Ends a grant before its time.
pub fn revoke(id: Option<i64>, why: Option<String>) -> Result<(), AccessError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("grant_id"))?;
    let reason = reason(why)?;
    let ended = spi::as_owner(|client| store::revoke(client, id, &reason, session::now(), &actor()))?;
    let detail = serde_json::json!({
        "grant": id, "user_id": ended.user_id, "group": ended.group_name, "reason": reason,
    });
    record("revoke", ended.object_name, &detail)?;
    Ok(())
}

/// The person on whose behalf this session acts, as it is stored beside the role.
pub struct Actor {
    pub user_id: Option<String>,
    pub issuer: Option<String>,
}

fn actor() -> Actor {
    match crate::identity::session::current() {
        Some(person) => Actor { user_id: Some(person.user_id.clone()), issuer: Some(person.issuer.clone()) },
        None => Actor { user_id: None, issuer: None },
    }
}

fn record(event: &'static str, object: String, detail: &serde_json::Value) -> Result<(), AccessError> {
    let detail = Some(detail.to_string());
    Ok(trail::note(&Note { event, outcome: Outcome::Ok, sqlstate: None, object: Some(object), detail })?)
}

/// What a grant is on, by identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Database,
    Schema(Oid),
    Relation(Oid),
}

/// Where something is that a grant may be on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Database,
    Relation { relation: Oid, schema: Oid },
}

impl Scope {
    fn holds(self, place: Place) -> bool {
        match (self, place) {
            (Self::Database, _) => true,
            (Self::Schema(of), Place::Relation { schema, .. }) => of == schema,
            (Self::Relation(of), Place::Relation { relation, .. }) => of == relation,
            _ => false,
        }
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

/// The grants a person holds, each with its end. Holding the list is no access: every question
/// asked of it names the time.
#[derive(Debug, Default)]
pub struct LiveGrants(Vec<LiveGrant>);

impl LiveGrants {
    pub fn new(grants: Vec<LiveGrant>) -> Self {
        Self(grants)
    }

    /// The grant that permits `privilege` at `place` at the time `now`: of several the one that
    /// lasts longest.
    pub fn covering(&self, place: Place, privilege: Privilege, now: i64) -> Option<LiveGrant> {
        self.0
            .iter()
            .filter(|grant| grant.privileges.has(privilege) && grant.scope.holds(place))
            .filter(|grant| grant.starts_at <= now && now < grant.ends_at)
            .max_by_key(|grant| grant.ends_at)
            .copied()
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

thread_local! {
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
    let grants = Rc::new(store::live(person, session::now())?);
    let (issuer, user_id) = (person.issuer.clone(), person.user_id.clone());
    CACHED.replace(Some(Cached { generation, serial, issuer, user_id, grants: Rc::clone(&grants) }));
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked {
            user_id: Some("alice".into()),
            privileges: Some(vec![Some("select".into()), Some("REVEAL".into())]),
            on_object: Some("TABLE public.customers".into()),
            duration: Some(3_600_000_000),
            reason: Some("ticket 17".into()),
            ..Asked::default()
        }
    }

    fn oid(value: u32) -> Oid {
        Oid::from(value)
    }

    #[test]
    fn a_sensible_request_is_taken_as_it_was_meant() {
        let wanted = asked().checked().unwrap();
        assert_eq!(wanted.privileges.words(), ["select", "reveal"]);
        assert_eq!(wanted.object.to_string(), "TABLE public.customers");
        assert_eq!(wanted.duration, 3_600_000_000);
    }

    #[test]
    fn durations_outside_a_month_are_refused_whatever_they_are() {
        let with = |duration| Asked { duration: Some(duration), ..asked() }.checked();
        for duration in [0, -1, i128::MIN, -i128::from(i64::MAX)] {
            assert!(matches!(with(duration), Err(AccessError::DurationNotPositive)), "{duration}");
        }
        for duration in [30 * DAY + 1, i128::from(i64::MAX), i128::from(i64::MAX) + 1, i128::MAX] {
            assert!(matches!(with(duration), Err(AccessError::DurationTooLong(30))), "{duration}");
        }
        assert!(with(30 * DAY).is_ok() && with(1).is_ok());
    }

    #[test]
    fn a_grant_without_person_privilege_or_reason_is_refused() {
        let blank = || Some("  ".to_owned());
        let refused = |asked: Asked| asked.checked().unwrap_err().to_string();
        assert_eq!(refused(Asked { user_id: None, ..asked() }), "a grant needs a person or a group");
        assert_eq!(refused(Asked { user_id: blank(), ..asked() }), "argument \"user_id\" must not be empty");
        assert_eq!(
            refused(Asked { group_name: Some("g".into()), ..asked() }),
            "a grant is for a person or for a group, not for both"
        );
        assert_eq!(refused(Asked { reason: blank(), ..asked() }), "argument \"reason\" must not be empty");
        assert_eq!(refused(Asked { reason: None, ..asked() }), "argument \"reason\" must not be null");
        assert_eq!(
            refused(Asked { privileges: Some(vec![]), ..asked() }),
            "a grant needs at least one privilege"
        );
        assert_eq!(
            refused(Asked { privileges: Some(vec![Some("all".into())]), ..asked() }),
            "unrecognized privilege \"all\""
        );
        assert_eq!(
            refused(Asked { privileges: Some(vec![None]), ..asked() }),
            "argument \"privileges\" must not be null"
        );
        assert!(Asked { user_id: None, group_name: Some("support".into()), ..asked() }.checked().is_ok());
    }

    #[test]
    fn what_is_promised_and_not_built_is_said_to_be_so() {
        let rows = Asked { rows: Some("id = 1".into()), ..asked() }.checked();
        let column = Asked { on_object: Some("COLUMN a.b.c".into()), ..asked() }.checked();
        assert!(matches!(rows, Err(AccessError::NotYet(_))));
        assert!(matches!(column, Err(AccessError::NotYet("COLUMN"))));
    }

    #[test]
    fn a_grant_covers_its_scope_its_privileges_and_its_time_and_nothing_else() {
        let grant = |id, privilege, scope, starts_at, ends_at| LiveGrant {
            id,
            privileges: Privileges::NONE.with(privilege),
            scope,
            starts_at,
            ends_at,
        };
        let grants = LiveGrants::new(vec![
            grant(1, Privilege::Select, Scope::Relation(oid(10)), 100, 200),
            grant(2, Privilege::Select, Scope::Schema(oid(5)), 150, 300),
            grant(3, Privilege::Reveal, Scope::Database, 100, 200),
        ]);
        let table = |relation, schema| Place::Relation { relation: oid(relation), schema: oid(schema) };
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
    }
}
