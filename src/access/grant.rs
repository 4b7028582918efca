//! Grants: giving one, ending one. Which are in force is [`super::live`]'s.

use crate::access::error::AccessError;
use crate::access::object::{NotAnObject, ObjectName};
use crate::access::privilege::{Privilege, Privileges};
use crate::access::{store, unsettled};
use crate::event::{Note, Outcome};
use crate::pg::{catalog, session, shared, spi};
use crate::trail;

pub use crate::access::live::Place;

/// The longest grant. A month covers an on-call rotation; whoever needs more asks again, so
/// that somebody looks again.
pub const LONGEST_DAYS: i64 = 30;

const DAY: i128 = 86_400_000_000;

/// How far ahead a grant may begin. Who needs it later still does not know yet that he does.
const LONGEST_AHEAD: i64 = 365 * 86_400_000_000;

/// How late a grant may come: `now()` is the beginning of the transaction that gives it.
const LATE: i64 = 60_000_000;

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
    /// Microseconds since 2000; now, if it is not said.
    pub starts_at: Option<i64>,
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
    pub rows: Option<String>,
    pub starts_at: Option<i64>,
}

impl Wanted {
    /// First moment, and first moment no more.
    fn span(&self, now: i64) -> Result<(i64, i64), AccessError> {
        let starts_at = match self.starts_at {
            None => now,
            Some(at) if at < now.saturating_sub(LATE) => return Err(AccessError::StartsInThePast),
            Some(at) if at > now.saturating_add(LONGEST_AHEAD) => return Err(AccessError::StartsTooLate),
            Some(at) => at.max(now),
        };
        Ok((starts_at, starts_at.saturating_add(self.duration)))
    }
}

impl Asked {
    /// Checks everything that can be checked without the database.
    pub fn checked(self) -> Result<Wanted, AccessError> {
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
        if self.rows.as_deref().is_some_and(|rows| rows.trim().is_empty()) {
            return Err(AccessError::EmptyArgument("rows"));
        }
        if self.rows.is_some() && !matches!(object, ObjectName::Table { .. }) {
            return Err(AccessError::RowsOfNoTable);
        }
        if let Some(privilege) = privileges.iter().find(|it| !fits(*it, &object, self.rows.is_some())) {
            let what = if self.rows.is_some() { "some rows of a table" } else { object.kind() };
            return Err(AccessError::UnfitPrivilege { privilege, what });
        }
        let (user_id, issuer, group_name, ticket) = (self.user_id, self.issuer, self.group_name, self.ticket);
        let (rows, starts_at) = (self.rows, self.starts_at);
        Ok(Wanted {
            user_id,
            issuer,
            group_name,
            privileges,
            object,
            duration,
            reason,
            ticket,
            rows,
            starts_at,
        })
    }
}

/// Whether there is such a thing: nobody truncates a column.
pub fn fits(privilege: Privilege, object: &ObjectName, rows: bool) -> bool {
    use Privilege::{Delete, Execute, Export, Insert, Reveal, Select, Update};
    match object {
        ObjectName::Database | ObjectName::Schema { .. } => true,
        // Masks are of columns: what is revealed of one is so in all rows.
        ObjectName::Table { .. } if rows => matches!(privilege, Select | Insert | Update | Delete | Export),
        ObjectName::Table { .. } => privilege != Execute,
        ObjectName::Column { .. } => matches!(privilege, Select | Insert | Update | Reveal | Export),
        ObjectName::Query { .. } => privilege == Execute,
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
    let (starts_at, ends_at) = wanted.span(session::now())?;
    let (id, relation) = spi::as_owner(|client| {
        store::renumber(client)?;
        let object = store::resolve(client, &wanted)?;
        let id = store::insert(client, &wanted, &object, starts_at, ends_at, &actor())?;
        unsettled::given(id);
        Ok::<_, AccessError>((id, object.relation()))
    })?;
    // Statements that were prepared for other rows and columns of it are planned anew.
    relation.into_iter().for_each(catalog::replan);
    let detail = serde_json::json!({
        "grant": id, "user_id": wanted.user_id, "issuer": wanted.issuer, "group": wanted.group_name,
        "privileges": wanted.privileges.words(), "seconds": wanted.duration / 1_000_000,
        "reason": wanted.reason, "ticket": wanted.ticket, "rows": wanted.rows,
        "starts_at": wanted.starts_at.map(|_| starts_at),
    });
    record("grant", wanted.object.to_string(), &detail)?;
    Ok(id)
}

/// Ends a grant before its time.
pub fn revoke(id: Option<i64>, why: Option<String>) -> Result<(), AccessError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("grant_id"))?;
    let reason = reason(why)?;
    let ended = spi::as_owner(|client| {
        store::renumber(client)?;
        store::revoke(client, id, &reason, session::now(), &actor())
    })?;
    ended.relation.into_iter().for_each(catalog::replan);
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
    fn a_privilege_that_the_object_does_not_have_is_refused() {
        let on = |object: &str, privilege: &str, rows: Option<&str>| {
            Asked {
                on_object: Some(object.into()),
                privileges: Some(vec![Some(privilege.into())]),
                rows: rows.map(Into::into),
                ..asked()
            }
            .checked()
        };
        let all = ["select", "insert", "update", "delete", "truncate", "execute", "ddl", "reveal", "export"];
        for (object, rows, fit) in [
            ("DATABASE", None, &all[..]),
            ("SCHEMA a", None, &all),
            (
                "TABLE a.b",
                None,
                &["select", "insert", "update", "delete", "truncate", "ddl", "reveal", "export"],
            ),
            ("TABLE a.b", Some("c = 1"), &["select", "insert", "update", "delete", "export"]),
            ("COLUMN a.b.c", None, &["select", "insert", "update", "reveal", "export"]),
            ("QUERY q", None, &["execute"]),
        ] {
            for privilege in all {
                let refused = matches!(on(object, privilege, rows), Err(AccessError::UnfitPrivilege { .. }));
                assert_eq!(refused, !fit.contains(&privilege), "{privilege} on {object}");
            }
        }
        for object in ["DATABASE", "SCHEMA a", "COLUMN a.b.c", "QUERY q"] {
            assert!(
                matches!(on(object, "execute", Some("c = 1")), Err(AccessError::RowsOfNoTable)),
                "{object}"
            );
        }
        assert!(matches!(on("TABLE a.b", "select", Some(" ")), Err(AccessError::EmptyArgument("rows"))));
    }

    #[test]
    fn a_grant_begins_now_or_within_a_year() {
        let now = 1_000_000_000_000_000;
        let span = |starts_at| Asked { starts_at, ..asked() }.checked().unwrap().span(now);
        let hour = 3_600_000_000;
        assert_eq!(span(None).unwrap(), (now, now + hour));
        assert_eq!(span(Some(now - 1_000_000)).unwrap(), (now, now + hour), "the transaction's now()");
        assert_eq!(span(Some(now + hour)).unwrap(), (now + hour, now + 2 * hour));
        for past in [now - LATE - 1, 0, i64::MIN] {
            assert!(matches!(span(Some(past)), Err(AccessError::StartsInThePast)), "{past}");
        }
        for late in [now + LONGEST_AHEAD + 1, i64::MAX - 1, i64::MAX] {
            assert!(matches!(span(Some(late)), Err(AccessError::StartsTooLate)), "{late}");
        }
    }
}
