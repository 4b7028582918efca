//! The one SQL statement that a standby sends.

use super::LedgerError;
use crate::event::Place;
use crate::pg::remote::Remote;
use pgrx::pg_sys;
use std::ffi::CStr;
use std::time::Duration;

const ACCEPT: &CStr =
    c"SELECT stored_position, stored_rows, stored_needed_from FROM audit.accept_forwarded($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// Longer than the other side waits for its ledger.
const PATIENCE: Duration = Duration::from_secs(20);

/// Sends rows, with the place from which to which they lead, or only asks. Returns where the ledger is
/// with the journal; `None` if it does not know it.
pub fn send(
    remote: &mut Remote,
    server: &str,
    journal: &[u8; 16],
    batch: Option<(Place, Place, &[u8])>,
) -> Result<Option<Place>, LedgerError> {
    let (from, to) = batch.map_or_else(Default::default, |(from, to, _)| (from, to));
    let numbers = [from.position, from.needed_from, to.position, to.needed_from].map(u64::to_be_bytes);
    let rows = [from.rows, to.rows].map(u32::to_be_bytes);
    let bigint = |n: usize| (pg_sys::INT8OID, Some(&numbers[n][..]));
    let integer = |n: usize| (pg_sys::INT4OID, Some(&rows[n][..]));
    let parameters = [
        (pg_sys::TEXTOID, Some(server.as_bytes())),
        (pg_sys::BYTEAOID, Some(&journal[..])),
        bigint(0),
        integer(0),
        bigint(1),
        bigint(2),
        integer(1),
        bigint(3),
        (pg_sys::BYTEAOID, batch.map(|(_, _, records)| records)),
    ];
    let answer = remote.call(ACCEPT, &parameters, PATIENCE)?;
    let number = |column: usize| -> Option<u64> {
        match answer.get(column)?.as_deref()? {
            bytes @ [_, _, _, _] => Some(u32::from_be_bytes(bytes.try_into().ok()?).into()),
            bytes => Some(u64::from_be_bytes(bytes.try_into().ok()?)),
        }
    };
    Ok((|| Some(Place { position: number(0)?, rows: number(1)? as u32, needed_from: number(2)? }))())
}
