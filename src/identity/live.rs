//! The people of all sessions, as every process of the server sees them.
//!
//! Each backend shows its person in its slot of shared memory. That is for those who look from
//! outside; what a statement may do is judged by what the backend itself holds ([`super::session`]).

use super::person::Person;
use crate::pg::sessions::{self, Holder, View};
use crate::pg::{session as backend, shared};

/// The person of some session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LivePerson {
    pub issuer: String,
    pub user_id: String,
    pub token_id: Option<String>,
    pub email: Option<String>,
    /// When the session identified. Microseconds since 2000, as the others.
    pub since: i64,
    /// `iat` of the token.
    pub issued_at: Option<i64>,
    pub expires_at: i64,
}

impl LivePerson {
    /// The person of a session that was looked at. Issuer, user_id and token_id are whole ([`super::claims`] limits
    /// them), a long address may be cut.
    pub fn of(view: &View) -> Option<Self> {
        let holder = view.holder.as_ref()?;
        let [issuer, user_id, token_id, email] = holder
            .labels
            .each_ref()
            .map(|label| label.as_ref().map(|bytes| String::from_utf8_lossy(bytes).into_owned()));
        Some(Self {
            issuer: issuer?,
            user_id: user_id?,
            token_id,
            email,
            since: holder.since,
            issued_at: holder.issued_at,
            expires_at: holder.expires_at,
        })
    }
}

/// Shows the person of this session, and has the steward look in time.
pub(super) fn show(person: &Person) {
    let label = |text: &str| Some(text.as_bytes().to_vec());
    sessions::hold(Some(&Holder {
        since: backend::now(),
        issued_at: person.issued_at,
        expires_at: person.expires_at,
        labels: [
            label(&person.issuer),
            label(&person.user_id),
            person.token_id.as_deref().and_then(label),
            person.email.as_deref().and_then(label),
        ],
    }));
    let slot = shared::get().and_then(|memory| memory.database(backend::database().to_u32()));
    if let Some(slot) = slot {
        slot.look_before(person.expires_at);
    }
}

/// This session is nobody's.
pub(super) fn hide() {
    sessions::hold(None);
}
