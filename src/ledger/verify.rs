//! Does the ledger still say what was written into it?

use super::chain::{Hash, Head};
use super::table::{Progress, Tables, canonical};
use super::{LedgerError, chain, retention};
use crate::pg::heap;
use pgrx::PgTryBuilder;
use pgrx::pg_sys::panic::CaughtError;
use std::cell::RefCell;

/// A head that somebody kept elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    pub seq: i64,
    pub hash: Hash,
}

impl Checkpoint {
    /// Reads what `audit.checkpoint()` returned: `{"seq": ..., "hash": "..."}`.
    pub fn from_json(value: &serde_json::Value) -> Result<Self, LedgerError> {
        let bad = || {
            LedgerError::BadArgument("a checkpoint is {\"seq\": number, \"hash\": \"64 hex digits\"}".into())
        };
        let seq = value.get("seq").and_then(serde_json::Value::as_i64).ok_or_else(bad)?;
        let hex = value.get("hash").and_then(serde_json::Value::as_str).ok_or_else(bad)?;
        let hash = hex::decode(hex).ok().and_then(|bytes| Hash::try_from(bytes).ok()).ok_or_else(bad)?;
        Ok(Self { seq, hash })
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub rows: i64,
    pub from_seq: i64,
    pub to_seq: i64,
    pub first_bad: Option<i64>,
    pub problem: Option<String>,
    pub head: Hash,
}

struct Walk {
    head: Head,
    rows: i64,
    bad: Option<(i64, String)>,
    scratch: Vec<u8>,
    known: Option<Checkpoint>,
    /// The stored hash of the row before the first one is taken on trust, unless it is the first of all.
    anchored: bool,
}

impl Walk {
    fn fail(&mut self, seq: i64, problem: impl Into<String>) -> bool {
        self.bad = Some((seq, problem.into()));
        false
    }

    fn row(&mut self, values: &[heap::Read<'_>], from: i64, to: Option<i64>) -> bool {
        let Some(heap::Read::Integer(seq)) = values.first() else {
            return self.fail(self.head.seq + 1, "the row has no number");
        };
        if to.is_some_and(|to| *seq > to) {
            return false;
        }
        self.scratch.clear();
        let mut scratch = std::mem::take(&mut self.scratch);
        let stored = canonical(values, &mut scratch).map(<[u8]>::to_vec);
        let expected = self.head.seq + 1;
        let next = self.head.after(&scratch);
        self.scratch = scratch;
        let stored = match stored {
            Ok(stored) => stored,
            Err(problem) => return self.fail(*seq, problem),
        };
        if !self.anchored {
            // The row before the range: its hash starts the walk.
            self.anchored = true;
            let Ok(hash) = Hash::try_from(stored) else {
                return self.fail(*seq, "the row's hash is not a hash");
            };
            if *seq != from - 1 {
                return self.fail(from - 1, "the row is missing");
            }
            self.head = Head { seq: *seq, hash };
            return true;
        }
        if *seq > expected {
            return self.fail(expected, "the row is missing");
        }
        if *seq < expected {
            return self.fail(*seq, "the row is there twice");
        }
        if stored != next.hash {
            return self.fail(*seq, "the row, or its hash, was altered");
        }
        self.head = next;
        self.rows += 1;
        if let Some(known) = self.known
            && known.seq == *seq
            && known.hash != next.hash
        {
            return self.fail(*seq, "the chain differs from the checkpoint: it was sealed anew");
        }
        true
    }
}

/// Walks the rows `from` to `to` (all by default) and compares each with its hash; then the end of
/// the chain with what the writer stored, and with `against`, a checkpoint kept elsewhere.
pub fn verify(
    from: Option<i64>,
    to: Option<i64>,
    against: Option<Checkpoint>,
) -> Result<Report, LedgerError> {
    let start = retention::anchor()?;
    let from = from.unwrap_or(start.seq + 1);
    if from <= start.seq && from >= 1 {
        let problem = format!("the rows up to {} were retired: see audit.retired", start.seq);
        return Err(LedgerError::BadArgument(problem));
    }
    if from < 1 || to.is_some_and(|to| to < from) {
        return Err(LedgerError::BadArgument("from_seq must be at least 1 and not above to_seq".into()));
    }
    if let Some(known) = against
        && known.seq != 0
        && (known.seq < from || to.is_some_and(|to| known.seq > to))
    {
        let problem = format!("the checkpoint at row {} lies outside of the rows to verify", known.seq);
        return Err(LedgerError::BadArgument(problem));
    }
    let tables = Tables::require()?;
    let progress = Progress::load(&tables)?;
    // Rows that the writer adds while we walk are beyond the head that we compare with.
    let last = to.map_or(progress.head.seq, |to| to.min(progress.head.seq));
    let anchored = from == start.seq + 1;
    let start = if anchored { start } else { Head { seq: from - 2, hash: chain::GENESIS } };
    let walk = RefCell::new(Walk {
        head: start,
        rows: 0,
        bad: None,
        scratch: Vec::with_capacity(1024),
        known: against,
        anchored,
    });
    read(&tables, if anchored { from } else { from - 1 }, |values| {
        walk.borrow_mut().row(values, from, Some(last.max(from - 1)))
    })
    .unwrap_or_else(|problem| {
        let mut walk = walk.borrow_mut();
        let seq = walk.head.seq + 1;
        walk.fail(seq, format!("the row cannot be read: {problem}"));
    });
    let mut walk = walk.into_inner();
    if walk.bad.is_none() {
        conclude(&mut walk, &progress, last, to.is_none_or(|to| to >= progress.head.seq));
    }
    Ok(Report {
        rows: walk.rows,
        from_seq: from,
        to_seq: walk.head.seq,
        first_bad: walk.bad.as_ref().map(|(seq, _)| *seq),
        problem: walk.bad.map(|(_, problem)| problem),
        head: walk.head.hash,
    })
}

/// Nothing between the rows was wrong: is anything missing behind them?
fn conclude(walk: &mut Walk, progress: &Progress, last: i64, whole: bool) {
    if walk.head.seq < last {
        walk.fail(walk.head.seq + 1, "the row is missing: the end of the ledger was cut off");
    } else if whole && walk.head.seq == progress.head.seq && walk.head.hash != progress.head.hash {
        walk.fail(walk.head.seq, "the chain does not end with the hash that the ledger writer stored");
    } else if let Some(known) = walk.known
        && whole
        && known.seq > walk.head.seq
    {
        walk.fail(walk.head.seq + 1, format!("the ledger ends before the checkpoint at row {}", known.seq));
    }
}

/// Reads the rows; an ERROR of the storage (a page or a compressed value that cannot be read) is a
/// finding, not the end of the verification.
fn read(tables: &Tables, from: i64, each: impl FnMut(&[heap::Read<'_>]) -> bool) -> Result<(), String> {
    let each = RefCell::new(each);
    let partitions = tables.partitions().map_err(|error| error.to_string())?;
    let reading = std::panic::AssertUnwindSafe(|| {
        for partition in &partitions {
            if !heap::read_in_place(partition.relid, from, |values| (each.borrow_mut())(values)) {
                break;
            }
        }
        Ok(())
    });
    PgTryBuilder::new(reading)
        .catch_others(|error| match error {
            CaughtError::PostgresError(report)
                if report.sql_error_code() != pgrx::PgSqlErrorCode::ERRCODE_QUERY_CANCELED =>
            {
                Err(report.message().to_owned())
            }
            other => other.rethrow(),
        })
        .execute()
}
