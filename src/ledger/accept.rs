//! The door for what standbys send: `audit.accept_forwarded`.
//!
//! What comes in goes into the journal, as everything does, and from there into the ledger. Whoever
//! sends can add rows under a server's name that he gives, and nothing else: he cannot pass for this server, nor
//! go on where another role has begun.

use super::forwarded::{self, Journal, Origin, Origins};
use super::table::Tables;
use super::{LedgerError, writer};
use crate::event::{Forwarded, Place};
use crate::pg::{session, shared};
use crate::trail;
use std::time::Duration;

/// How long to wait for the ledger.
const PATIENCE: Duration = Duration::from_secs(5);
/// As long as a name may be: cluster_name holds more, and sessions bear it.
const LONGEST_NAME: usize = 63;

fn bad(problem: &str) -> LedgerError {
    LedgerError::BadArgument(problem.into())
}

/// Takes `records` of the journal `journal` of the standby `server`, if there are any, and returns how far
/// the ledger is with that journal then.
pub fn accept(
    server: &str,
    journal: &[u8],
    from: Place,
    to: Place,
    records: Option<&[u8]>,
) -> Result<Option<Place>, LedgerError> {
    let memory = shared::require()?;
    Tables::require()?;
    if session::in_recovery() {
        return Err(LedgerError::OnStandby);
    }
    if server.is_empty() || server.len() > LONGEST_NAME || server.chars().any(char::is_control) {
        return Err(bad("the name of a server has 1 to 63 bytes, none of them a control character"));
    }
    let journal: Journal = journal.try_into().map_err(|_| bad("the name of a journal has 16 bytes"))?;
    if journal == writer::journal_name()? {
        return Err(bad("the journal is this server's own"));
    }
    let role = session::role_name(session::session_user());
    let known = origin(&journal)?;
    if let Some(known) = known.as_ref().filter(|known| known.role != role) {
        return Err(LedgerError::NotTheSender {
            server: String::from_utf8_lossy(&known.server).into_owned(),
            role: String::from_utf8_lossy(&known.role).into_owned(),
        });
    }
    let place = known.map(|known| known.place);
    let Some(records) = records else { return Ok(place) };
    if (to.position, to.rows) <= (from.position, from.rows) {
        return Err(bad("the records lead nowhere"));
    }
    if place.is_some_and(|at| (at.position, at.rows) != (from.position, from.rows)) {
        // It would not be taken.
        return Ok(place);
    }
    let rows = forwarded::decode(records, server.as_bytes()).map_err(LedgerError::Unacceptable)?;
    forwarded::check(&rows, session::is_text).map_err(LedgerError::Unacceptable)?;
    let batch = Forwarded {
        database: session::database().to_u32(),
        role,
        server: server.as_bytes().to_vec(),
        journal,
        from,
        to,
        records: records.to_vec(),
    };
    let end = trail::forwarded(&batch).map_err(|error| LedgerError::NotAccepted(error.to_string()))?;
    // If that takes longer, the sender asks again.
    writer::await_ledger(memory, end, PATIENCE);
    Ok(origin(&journal)?.map(|known| known.place))
}

fn origin(journal: &Journal) -> Result<Option<Origin>, LedgerError> {
    Ok(Origins::load()?.of(journal).cloned())
}
