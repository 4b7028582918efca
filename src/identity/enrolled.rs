//! The roles that people share, and how strictly they are governed.

use super::error::IdentityError;
use super::registry::present;
use super::{changes, store};
use crate::error::ServerError;
use crate::event::{Note, Outcome};
use crate::pg::local::process_local;
use crate::pg::{session, shared, spi};
use crate::trail;
use pgrx::pg_sys::Oid;
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};

/// What is asked of whoever uses an enrolled role. Ordered: each asks more than the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Statements are recorded.
    Observe,
    /// No statement without a person.
    Identify,
    /// No statement without a person and a live grant.
    Govern,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Observe, Self::Identify, Self::Govern];

    pub fn name(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Identify => "identify",
            Self::Govern => "govern",
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// On which terms a role is enrolled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    pub mode: Mode,
    /// Rows that one statement may return.
    pub row_limit: Option<i64>,
    /// Rows that one person may be given in an hour.
    pub rows_per_hour: Option<i64>,
    /// Whether statements other than named queries are allowed.
    pub ad_hoc: bool,
}

impl Terms {
    /// Those of a role that is not enrolled, so far as it has any.
    pub const NONE: Self = Self { mode: Mode::Observe, row_limit: None, rows_per_hour: None, ad_hoc: true };

    /// What holds for whoever is under both.
    pub fn and(self, other: Self) -> Self {
        let lower = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        Self {
            mode: self.mode.max(other.mode),
            row_limit: lower(self.row_limit, other.row_limit),
            rows_per_hour: lower(self.rows_per_hour, other.rows_per_hour),
            ad_hoc: self.ad_hoc && other.ad_hoc,
        }
    }

    /// Whether a number of rows is too many under them. Nothing is refused in observe mode.
    pub fn limits_rows(&self) -> bool {
        self.mode > Mode::Observe && (self.row_limit.is_some() || self.rows_per_hour.is_some())
    }
}

struct Known {
    generation: u64,
    terms: FxHashMap<Oid, Terms>,
}

process_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
    static ANY_LIMITS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the rows of any role were limited when the table was read last.
#[inline]
pub fn any_limits() -> bool {
    ANY_LIMITS.get()
}

/// The mode of `role`, or `None` if it is not enrolled; costs what [`terms_of`] does.
pub fn mode_of(role: Oid) -> Result<Option<Mode>, ServerError> {
    Ok(terms_of(role)?.map(|terms| terms.mode))
}

/// On which terms `role` is enrolled, or `None` if it is not.
///
/// Costs the read of a shared counter and a hash lookup; the table is read when the counter has
/// moved. In a failed transaction, where nothing can be read and no data touched, the last known
/// ones are given.
pub fn terms_of(role: Oid) -> Result<Option<Terms>, ServerError> {
    // the number comes first: a change that commits while the table is read is then read again
    let generation = shared::generation();
    let readable = session::in_transaction();
    let known = KNOWN.with_borrow(|known| {
        let known = known.as_ref().filter(|k| k.generation == generation || !readable);
        known.map(|k| k.terms.get(&role).copied())
    });
    match known {
        Some(terms) if !changes::pending() => Ok(terms),
        terms if !readable => Ok(terms.flatten()),
        _ => look_again(role, generation),
    }
}

#[cold]
fn look_again(role: Oid, generation: u64) -> Result<Option<Terms>, ServerError> {
    let all = store::terms_of_roles()?;
    let terms = all.get(&role).copied();
    ANY_LIMITS.set(all.values().any(Terms::limits_rows));
    if !changes::pending() {
        KNOWN.replace(Some(Known { generation, terms: all }));
    }
    Ok(terms)
}

/// The enrolled role that the session acts for, and the stricter terms of the two that it may have: its login's, and
/// those of the role it has SET.
pub fn of_session() -> Result<Option<(Oid, Terms)>, ServerError> {
    let (login, outer) = (session::session_user(), session::outer_user());
    let first = terms_of(login)?.map(|terms| (login, terms));
    if outer == login {
        return Ok(first);
    }
    let second = terms_of(outer)?.map(|terms| (outer, terms));
    Ok(match (first, second) {
        (Some(a), Some(b)) => Some((if b.1.mode > a.1.mode { b.0 } else { a.0 }, a.1.and(b.1))),
        (a, b) => a.or(b),
    })
}

/// All enrolled roles, in order.
pub fn roles() -> Result<Vec<u32>, ServerError> {
    let mut roles: Vec<u32> = store::terms_of_roles()?.into_keys().map(Oid::to_u32).collect();
    roles.sort_unstable();
    Ok(roles)
}

/// Forgets what [`mode_of`] remembers.
pub(super) fn forget() {
    KNOWN.replace(None);
}

/// What `enroll` was called with. `None` is SQL's NULL.
pub struct Asked {
    pub role: Option<Oid>,
    pub mode: Option<String>,
    pub row_limit: Option<i64>,
    pub rows_per_hour: Option<i64>,
    pub ad_hoc: Option<bool>,
}

/// Enrols a role, or changes the terms of one that is enrolled: what is not said does not hold any more. Acts at
/// the next statement of every session of the role.
pub fn enroll(asked: Asked) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let role = present(asked.role, "role")?;
    let mode = present(asked.mode, "mode")?;
    let mode = Mode::parse(&mode).ok_or(IdentityError::UnknownMode(mode))?;
    for (limit, name) in [(asked.row_limit, "row_limit"), (asked.rows_per_hour, "rows_per_hour")] {
        if limit.is_some_and(|limit| limit < 1) {
            return Err(IdentityError::NotPositive(name));
        }
    }
    let (row_limit, rows_per_hour) = (asked.row_limit, asked.rows_per_hour);
    let terms = Terms { mode, row_limit, rows_per_hour, ad_hoc: present(asked.ad_hoc, "ad_hoc")? };
    let name = spi::as_owner(|client| {
        let name = store::role_name(client, role)?.ok_or(IdentityError::UnknownRole(role.to_u32()))?;
        if session::is_superuser(role) {
            return Err(IdentityError::Superuser(name));
        }
        store::enroll(client, role, &terms)?;
        Ok::<_, IdentityError>(name)
    })?;
    changes::announce();
    let mut detail = json!({"action": "enroll", "mode": mode.name()});
    if let Some(limit) = row_limit {
        detail["row_limit"] = limit.into();
    }
    if let Some(limit) = rows_per_hour {
        detail["rows_per_hour"] = limit.into();
    }
    if !terms.ad_hoc {
        detail["ad_hoc"] = false.into();
    }
    note(name, &detail)
}

/// Lets a role go: from the next statement on it is a role like any other.
pub fn unenroll(role: Option<Oid>) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let role = present(role, "role")?;
    let name = spi::as_owner(|client| {
        // a role that was dropped can still be let go
        let name = store::role_name(client, role)?.unwrap_or_else(|| role.to_u32().to_string());
        if store::unenroll(client, role)? { Ok(name) } else { Err(IdentityError::NotEnrolled(name)) }
    })?;
    changes::announce();
    note(name, &json!({"action": "unenroll"}))
}

fn note(role: String, detail: &Value) -> Result<(), IdentityError> {
    let (object, detail) = (Some(role), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "enrollment", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}
