//! Does the ledger still say what was written into it?

use super::chain::{GENESIS, Hash, Head};
use super::checkpoint;
use super::reader::{Reader, number, stored};
use super::table::Tables;
use super::{LedgerError, retired, shares};
use crate::pg::contain::contained;
use crate::pg::rows::{self, Row};
use pg_custodian_verifier::checkpoint::{Checkpoint, Kept, List};
use std::cell::RefCell;

/// What is asked.
#[derive(Debug)]
pub struct Question {
    pub from: Option<i64>,
    pub to: Option<i64>,
    pub against: Option<Kept>,
    /// Processes that help.
    pub workers: i32,
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

/// A hash that some row must have, and what it means if it has another.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    pub seq: i64,
    pub hash: Hash,
    pub kept: bool,
}

impl Mark {
    fn problem(&self) -> &'static str {
        match self.kept {
            true => "the chain differs from the checkpoint: it was sealed anew",
            false => "the chain differs from the checkpoint stored in audit.checkpoints",
        }
    }
}

/// All hashes that are known from elsewhere than the rows, by their rows.
pub fn marks(stored: &[Checkpoint], kept: Option<&Kept>) -> Vec<Mark> {
    let mut marks: Vec<Mark> =
        stored.iter().map(|one| Mark { seq: one.seq, hash: one.hash, kept: false }).collect();
    marks.extend(kept.map(|kept| Mark { seq: kept.seq, hash: kept.hash, kept: true }));
    marks.sort_by_key(|mark| (mark.seq, !mark.kept));
    marks
}

/// Compares rows with their hashes, one after the other.
pub struct Walk<'a> {
    pub head: Head,
    pub rows: i64,
    pub bad: Option<(i64, String)>,
    scratch: Vec<u8>,
    marks: &'a [Mark],
    /// The stored hash of the row before the first one starts the walk.
    anchor: bool,
}

impl<'a> Walk<'a> {
    /// A walk that goes on behind `head`. With `anchor`, the row of the head is read first, for its stored hash.
    pub fn after(head: Head, anchor: bool, marks: &'a [Mark]) -> Self {
        let known = marks.partition_point(|mark| mark.seq < head.seq + i64::from(!anchor));
        let marks = marks.get(known..).unwrap_or_default();
        Self { head, rows: 0, bad: None, scratch: Vec::with_capacity(1024), marks, anchor }
    }

    /// Number of the row to read next.
    pub fn wanted(&self) -> i64 {
        self.head.seq + i64::from(!self.anchor)
    }

    fn fail(&mut self, seq: i64, problem: impl Into<String>) -> bool {
        self.bad = Some((seq, problem.into()));
        false
    }

    /// Takes the row that is wanted. Returns whether all is well.
    pub fn row(&mut self, row: &Row<'_>) -> bool {
        let seq = self.wanted();
        let Some(stored) = stored(row) else { return self.fail(seq, "the row's hash is not a hash") };
        if std::mem::take(&mut self.anchor) {
            self.head.hash = stored;
        } else {
            let mut scratch = std::mem::take(&mut self.scratch);
            let next = self.head.after_read(row, &mut scratch);
            self.scratch = scratch;
            match next {
                Err(problem) => return self.fail(seq, problem),
                Ok(next) if next.hash != stored => {
                    return self.fail(seq, "the row, or its hash, was altered");
                }
                Ok(next) => self.head = next,
            }
            self.rows += 1;
        }
        while let Some((mark, rest)) = self.marks.split_first().filter(|(mark, _)| mark.seq <= seq) {
            self.marks = rest;
            if mark.seq == seq && mark.hash != stored {
                return self.fail(seq, mark.problem());
            }
        }
        true
    }
}

/// The rows to walk.
struct Range {
    from: i64,
    /// The last one; the end of the ledger if `whole`.
    last: i64,
    whole: bool,
    /// What stands before the first of all rows that are there.
    base: Head,
    end: Head,
}

/// Walks the rows asked for (all by default) and compares each with its hash; the end of the chain with what
/// the writer stored; all with the checkpoints of the table, and with one that was kept elsewhere.
pub fn verify(question: &Question) -> Result<Report, LedgerError> {
    let tables = Tables::require()?;
    // Rows, their end and their checkpoints of one moment: what lies behind the end does not belong there.
    rows::with_newest_state(|| {
        let base = retired::base()?;
        let end = end(&tables)?;
        let from = question.from.unwrap_or(base.seq + 1);
        if from < 1 || question.to.is_some_and(|to| to < from) {
            return Err(LedgerError::BadArgument("from_seq must be at least 1 and not above to_seq".into()));
        }
        if from <= base.seq {
            return Err(LedgerError::Retired { last_seq: base.seq });
        }
        let last = question.to.map_or(end.seq, |to| to.min(end.seq));
        let whole = question.to.is_none_or(|to| to >= end.seq);
        if let Some(known) = &question.against
            && known.seq != base.seq
            && (known.seq < from - 1 || question.to.is_some_and(|to| known.seq > to))
        {
            let problem = format!("the checkpoint at row {} lies outside of the rows to verify", known.seq);
            return Err(LedgerError::BadArgument(problem));
        }
        run(&tables, question, &Range { from, last: last.max(from - 1), whole, base, end })
    })
}

fn run(tables: &Tables, question: &Question, range: &Range) -> Result<Report, LedgerError> {
    let (from, against) = (range.from, question.against.as_ref());
    let stored = checkpoint::all(tables);
    let marks = marks(stored.as_deref().unwrap_or_default(), against);
    let start = if from == range.base.seq + 1 {
        (range.base, false)
    } else {
        (Head { seq: from - 1, hash: GENESIS }, true)
    };
    let walk = RefCell::new(Walk::after(start.0, start.1, &marks));
    if let Some(known) = against
        && known.seq == start.0.seq
        && !start.1
        && known.hash != start.0.hash
    {
        walk.borrow_mut().fail(known.seq, "the chain differs from the checkpoint: it was sealed anew");
    } else if range.last >= from {
        let helped = match range.whole && question.workers > 0 {
            true => contained(|| shares::verify(tables, start, against, &marks, question.workers))
                .unwrap_or_default(),
            false => None,
        };
        // Its last row is read once more, for its place.
        let ((head, anchor), rows) = helped.map_or((start, 0), |(head, rows)| ((head, true), rows));
        let walked_in_order = || {
            *walk.borrow_mut() = Walk { rows, ..Walk::after(head, anchor, &marks) };
            contained(|| in_order(tables, &walk, range))
        };
        // After an error once more, to name the row.
        let walked = walked_in_order().or_else(|_| rows::singly(walked_in_order));
        let in_order = match walked {
            Ok(in_order) => in_order?,
            // An ERROR of the storage (a page or a compressed value that cannot be read) is a finding.
            Err(problem) => {
                let seq = walk.borrow().wanted();
                !walk.borrow_mut().fail(seq, format!("the row cannot be read: {problem}"))
            }
        };
        if !in_order && walk.borrow().bad.is_none() {
            let reached = walk.borrow().wanted();
            *walk.borrow_mut() = Walk::after(start.0, start.1, &marks);
            match contained(|| by_runs(tables, &walk, range)) {
                Ok(done) => done?,
                Err(problem) => {
                    walk.borrow_mut().fail(reached, format!("the row cannot be read: {problem}"));
                }
            }
        }
    }
    let mut walk = walk.into_inner();
    if walk.bad.is_none() {
        conclude(&mut walk, range, against, stored);
    }
    Ok(Report {
        rows: walk.rows,
        from_seq: from,
        to_seq: walk.head.seq.max(from - 1),
        first_bad: walk.bad.as_ref().map(|(seq, _)| *seq),
        problem: walk.bad.map(|(_, problem)| problem),
        head: walk.head.hash,
    })
}

/// What the writer stored as the end, under the active snapshot.
pub fn end(tables: &Tables) -> Result<Head, LedgerError> {
    let mut end = None;
    rows::scan(tables.chain, 0..rows::blocks(tables.chain), |_, row| {
        end = (|| Some(Head { seq: row.integer(3)?, hash: row.bytes(4)?.try_into().ok()? }))();
        false
    });
    end.ok_or(LedgerError::Misplaced { reason: "table audit.chain holds no valid row".into() })
}

/// Walks the rows as they lie. Returns whether they lay in order: if not, nothing is known of them yet.
fn in_order(tables: &Tables, walk: &RefCell<Walk<'_>>, range: &Range) -> Result<bool, LedgerError> {
    let reader = Reader::open(tables.ledger)?;
    let (first, mut in_order, mut begun) = (walk.borrow().wanted(), true, false);
    // Of what is before the first row of all, nothing may lie in front of it.
    let skips = first > range.base.seq + 1;
    reader.as_they_lie(first, |row| {
        let seq = number(row);
        let mut walk = walk.borrow_mut();
        if !begun && skips && seq < first {
            return true;
        }
        begun = true;
        if seq != walk.wanted() || seq > range.last {
            in_order = false;
            return false;
        }
        walk.row(row) && (range.whole || walk.head.seq < range.last)
    });
    let complete = walk.borrow().head.seq >= range.last;
    Ok(in_order && (complete || walk.borrow().bad.is_some()))
}

/// Walks the runs in the order of their numbers: what is wrong now is wrong.
fn by_runs(tables: &Tables, walk: &RefCell<Walk<'_>>, range: &Range) -> Result<(), LedgerError> {
    let reader = Reader::open(tables.ledger)?;
    let Some(runs) = reader.runs() else {
        let seq = walk.borrow().wanted();
        walk.borrow_mut().fail(seq, "the rows lie in no order at all");
        return Ok(());
    };
    let first = walk.borrow().wanted();
    for run in &runs {
        let wanted = walk.borrow().wanted();
        if run.last() < first && first > range.base.seq + 1 {
            continue;
        }
        if !range.whole && wanted > range.last {
            break;
        }
        if run.first > range.last {
            if range.whole && wanted > range.last {
                walk.borrow_mut().fail(run.first, "the row lies behind the end of the ledger");
            }
            break;
        }
        if run.first > wanted {
            walk.borrow_mut().fail(wanted, "the row is missing");
            break;
        }
        // Of what is before the first row of all, there is nothing.
        if run.first <= range.base.seq && first == range.base.seq + 1 {
            walk.borrow_mut().fail(run.first, "the row does not belong to the ledger");
            break;
        }
        if run.first.max(first) < wanted {
            walk.borrow_mut().fail(run.first.max(first), "the row is there twice");
            break;
        }
        let go_on = reader.run(run, wanted, |row| {
            let mut walk = walk.borrow_mut();
            walk.wanted() <= range.last && walk.row(row)
        });
        if !go_on && walk.borrow().bad.is_some() {
            break;
        }
        if range.whole && run.last() > range.last {
            walk.borrow_mut().fail(range.last + 1, "the row lies behind the end of the ledger");
            break;
        }
    }
    Ok(())
}

/// Nothing between the rows was wrong: is anything missing behind them, and are the checkpoints in order?
fn conclude(
    walk: &mut Walk<'_>,
    range: &Range,
    against: Option<&Kept>,
    stored: Result<Vec<Checkpoint>, i64>,
) {
    let end = range.end;
    if walk.head.seq < range.last {
        walk.fail(walk.head.seq + 1, "the row is missing: the end of the ledger was cut off");
        return;
    }
    if range.whole && walk.head.seq == end.seq && walk.head.hash != end.hash {
        walk.fail(walk.head.seq, "the chain does not end with the hash that the ledger writer stored");
        return;
    }
    if let Some(known) = against.filter(|known| range.whole && known.seq > end.seq) {
        walk.fail(end.seq + 1, format!("the ledger ends before the checkpoint at row {}", known.seq));
        return;
    }
    if let Err((seq, problem)) = checkpoints(stored, against, end) {
        walk.fail(seq, problem);
    }
}

/// The table of checkpoints: each linked to the one before, none beyond the end, and with what was kept.
fn checkpoints(
    stored: Result<Vec<Checkpoint>, i64>,
    against: Option<&Kept>,
    end: Head,
) -> Result<(), (i64, String)> {
    let say = |refusal| match refusal {
        pg_custodian_verifier::Refusal::Bad { seq, problem } => {
            (seq, format!("in audit.checkpoints: {problem}"))
        }
        other => (0, other.to_string()),
    };
    let stored = stored.map_err(|seq| (seq, "audit.checkpoints holds what is no checkpoint".to_owned()))?;
    let mut list = List::default();
    for one in &stored {
        let kept = against.map_or(&[][..], std::slice::from_ref);
        list.push(one.clone(), kept).map_err(say)?;
    }
    if let Some(first) = stored.first().filter(|first| first.previous != GENESIS) {
        return Err((first.seq, "the first checkpoints are missing in audit.checkpoints".into()));
    }
    if let Some(beyond) = stored.last().filter(|last| last.seq > end.seq) {
        return Err((end.seq + 1, format!("the ledger ends before the checkpoint at row {}", beyond.seq)));
    }
    if let Some(whole) = against.and_then(|known| known.whole.as_ref())
        && !stored.iter().any(|one| one.seq == whole.seq)
    {
        return Err((whole.seq, "the checkpoint that was kept is missing in audit.checkpoints".into()));
    }
    Ok(())
}
