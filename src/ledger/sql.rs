//! The ledger's functions, as SQL sees them.

use super::verify::{self, Question};
use super::{accept, checkpoint, keeper, prove, retention, writer};
use crate::event::Place;
use pgrx::JsonB;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

type ReportRow = (bool, i64, i64, i64, Option<i64>, Option<String>, Vec<u8>);

#[allow(clippy::type_complexity)] // the columns of the report, which pgrx reads off the signature
#[pg_extern(sql = false)]
fn ledger_verify(
    from_seq: Option<i64>,
    to_seq: Option<i64>,
    against: Option<JsonB>,
    workers: Option<i32>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(ok, bool),
            name!(rows, i64),
            name!(from_seq, i64),
            name!(to_seq, i64),
            name!(first_bad, Option<i64>),
            name!(problem, Option<String>),
            name!(head_hash, Vec<u8>),
        ),
    >,
    ErrorReport,
> {
    let against = against.map(|json| checkpoint::kept(&json.0)).transpose()?;
    let question =
        Question { from: from_seq, to: to_seq, against, workers: workers.unwrap_or(0).clamp(0, 1024) };
    let found = verify::verify(&question)?;
    let row: ReportRow = (
        found.problem.is_none(),
        found.rows,
        found.from_seq,
        found.to_seq,
        found.first_bad,
        found.problem,
        found.head.to_vec(),
    );
    Ok(TableIterator::once(row))
}

#[pg_extern(sql = false)]
fn ledger_sync(timeout: pgrx::datum::Interval) -> Result<(), ErrorReport> {
    Ok(writer::sync(timeout.as_micros())?)
}

#[pg_extern(sql = false)]
fn ledger_checkpoint() -> Result<JsonB, ErrorReport> {
    Ok(JsonB(keeper::checkpoint_now()?))
}

#[pg_extern(sql = false)]
fn ledger_prove(seq: i64) -> Result<JsonB, ErrorReport> {
    Ok(JsonB(prove::prove(seq)?))
}

#[allow(clippy::type_complexity)] // as above
#[pg_extern(sql = false)]
fn ledger_accept_forwarded(
    server: &str,
    journal: &[u8],
    from_position: i64,
    from_rows: i32,
    from_needed: i64,
    to_position: i64,
    to_rows: i32,
    to_needed: i64,
    records: Option<&[u8]>,
) -> Result<
    TableIterator<
        'static,
        (
            name!(stored_position, Option<i64>),
            name!(stored_rows, Option<i32>),
            name!(stored_needed_from, Option<i64>),
        ),
    >,
    ErrorReport,
> {
    let place = |position: i64, rows: i32, needed_from: i64| Place {
        position: position.max(0) as u64,
        rows: rows.max(0) as u32,
        needed_from: needed_from.max(0) as u64,
    };
    let from = place(from_position, from_rows, from_needed);
    let to = place(to_position, to_rows, to_needed);
    let stored = accept::accept(server, journal, from, to, records)?;
    Ok(TableIterator::once((
        stored.map(|place| place.position as i64),
        stored.map(|place| place.rows as i32),
        stored.map(|place| place.needed_from as i64),
    )))
}

/// Name of this journal, for the first row of audit.chain.
#[pg_extern(sql = false)]
fn journal_name() -> Result<Vec<u8>, ErrorReport> {
    Ok(writer::journal_name()?.to_vec())
}

/// End of the journal, for the first row of audit.chain.
#[pg_extern(sql = false)]
fn journal_position() -> Result<i64, ErrorReport> {
    Ok(writer::journal_position()?)
}

/// Gives this database a ledger writer when the transaction has committed.
#[pg_extern(sql = false)]
fn start_ledger_writer() -> Result<(), ErrorReport> {
    Ok(writer::want()?)
}

/// Exports and removes the partitions of months that ended so long ago.
#[allow(clippy::type_complexity)] // as above
#[pg_extern(sql = false)]
fn ledger_retain(
    keep: pgrx::datum::Interval,
) -> Result<
    TableIterator<
        'static,
        (
            name!(partition, String),
            name!(first_seq, i64),
            name!(last_seq, i64),
            name!(rows, i64),
            name!(exported_to, String),
            name!(sha256, String),
        ),
    >,
    ErrorReport,
> {
    let gone = retention::retain(keep.as_micros())?;
    Ok(TableIterator::new(gone.into_iter().map(|gone| {
        (gone.name, gone.first_seq, gone.last.seq, gone.rows, gone.file, hex::encode(gone.digest))
    })))
}
