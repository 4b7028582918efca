//! The roles that people share, and how strictly they are governed.

use super::error::IdentityError;
use super::registry::present;
use super::{changes, store};
use crate::error::ServerError;
use crate::event::{Note, Outcome};
use crate::pg::{session, shared, spi};
use crate::trail;
use pgrx::pg_sys::Oid;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::HashMap;

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

struct Known {
    generation: u64,
    modes: HashMap<Oid, Mode>,
}

thread_local! {
    static KNOWN: RefCell<Option<Known>> = const { RefCell::new(None) };
}

/// The mode of `role`, or `None` if it is not enrolled.
///
/// Costs the read of a shared counter and a hash lookup; the table is read when the counter has
/// moved. In a failed transaction, where nothing can be read and no data touched, the last known
/// mode is given.
pub fn mode_of(role: Oid) -> Result<Option<Mode>, ServerError> {
    // the number comes first: a change that commits while the table is read is then read again
    let generation = shared::generation();
    let readable = session::in_transaction();
    let known = KNOWN.with_borrow(|known| {
        let known = known.as_ref().filter(|k| k.generation == generation || !readable);
        known.map(|k| k.modes.get(&role).copied())
    });
    match known {
        Some(mode) if !changes::pending() => return Ok(mode),
        mode if !readable => return Ok(mode.flatten()),
        _ => {}
    }
    let modes = store::modes()?;
    let mode = modes.get(&role).copied();
    if !changes::pending() {
        KNOWN.replace(Some(Known { generation, modes }));
    }
    Ok(mode)
}

/// All enrolled roles, in order.
pub fn roles() -> Result<Vec<u32>, ServerError> {
    let mut roles: Vec<u32> = store::modes()?.into_keys().map(Oid::to_u32).collect();
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

/// Enrols a role, or changes the mode of one that is enrolled. Acts at the next statement of
/// every session of the role.
pub fn enroll(asked: Asked) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let role = present(asked.role, "role")?;
    let mode = present(asked.mode, "mode")?;
    let mode = Mode::parse(&mode).ok_or(IdentityError::UnknownMode(mode))?;
    if asked.row_limit.is_some() {
        return Err(IdentityError::NotYet("row_limit"));
    }
    if asked.rows_per_hour.is_some() {
        return Err(IdentityError::NotYet("rows_per_hour"));
    }
    if !present(asked.ad_hoc, "ad_hoc")? {
        return Err(IdentityError::NotYet("ad_hoc => false"));
    }
    let name = spi::as_owner(|client| {
        let name = store::role_name(client, role)?.ok_or(IdentityError::UnknownRole(role.to_u32()))?;
        if session::is_superuser(role) {
            return Err(IdentityError::Superuser(name));
        }
        store::enroll(client, role, mode)?;
        Ok::<_, IdentityError>(name)
    })?;
    changes::announce();
    note(name, &json!({"action": "enroll", "mode": mode.name()}))
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
