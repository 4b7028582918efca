//! The ledger's rows in the order of their numbers, without an index.
//!
//! The writer appends, so rows lie in the order of their numbers, in one table or in partitions; that is how
//! they are read. Where they do not (space that was given back was used again, or somebody was
//! at work), the places of all runs of consecutive numbers are listed first, and read in order.

use super::chain::Hash;
use super::row;
use super::table::COLUMNS;
use super::{LedgerError, chain::Head};
use crate::pg::rows::{self, Place, Row, Value};
use pgrx::pg_sys::Oid;
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

/// More runs than this are no order at all: their list would fill the memory.
const MOST_RUNS: usize = 1 << 23;

/// A table with rows of the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub relid: Oid,
    pub blocks: u32,
    /// Number of its first row.
    pub first: i64,
}

/// Consecutive rows that lie one behind the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    pub first: i64,
    pub rows: i64,
    part: usize,
    place: Place,
}

impl Run {
    /// Number of its last row.
    pub fn last(&self) -> i64 {
        self.first.saturating_add(self.rows - 1)
    }
}

/// The tables of the ledger, by their first rows.
#[derive(Debug)]
pub struct Reader {
    pub parts: Vec<Part>,
}

/// Number of a row; what has none is before all.
pub fn number(row: &Row<'_>) -> i64 {
    row.integer(0).unwrap_or(i64::MIN)
}

/// The hash that is stored with a row.
pub fn stored(row: &Row<'_>) -> Option<Hash> {
    row.bytes(row.columns().checked_sub(1)?)?.try_into().ok()
}

/// Appends the canonical bytes of a row: its columns, the hash excepted, by type alone. Says what is
/// wrong with a row that has none.
pub fn put_canonical(out: &mut Vec<u8>, row: &Row<'_>) -> Result<(), &'static str> {
    const TYPE: &str = "a column has another type than the ledger's";
    if row.columns() != COLUMNS {
        return Err("the table does not have the ledger's columns");
    }
    out.push(row::VERSION);
    for column in 0..COLUMNS - 1 {
        let whole = match row.cell(column) {
            Value::Null => {
                row::put_null(out);
                true
            }
            Value::Integer(value) => {
                row::put_integer(out, value);
                true
            }
            Value::Boolean(value) => {
                row::put_integer(out, value.into());
                true
            }
            Value::Text(value) => {
                row::put_text(out, value);
                true
            }
            Value::Texts(values) => {
                row::put_texts_header(out, values.len());
                values.texts(|value| match value {
                    Some(value) => row::put_text(out, value),
                    None => row::put_null(out),
                })
            }
            Value::Integers(values) => {
                row::put_integers_header(out, values.len());
                values.integers(|value| out.extend_from_slice(&value.to_le_bytes()))
            }
            Value::Bytes(_) | Value::Other => false,
        };
        if !whole {
            return Err(TYPE);
        }
    }
    Ok(())
}

/// A row as it is exported; `None` if a text is not UTF-8, of which JSON is made.
pub fn to_json(names: &[impl AsRef<str>], row: &Row<'_>) -> Option<Json> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map(Json::from).ok();
    let mut object = Map::new();
    for (column, name) in names.iter().enumerate() {
        let value = match row.cell(column) {
            Value::Null => Json::Null,
            Value::Integer(value) => value.into(),
            Value::Boolean(value) => value.into(),
            Value::Text(value) => text(value)?,
            Value::Bytes(value) => hex::encode(value).into(),
            Value::Texts(values) => {
                let mut list = Vec::with_capacity(values.len());
                let whole = values.texts(|value| list.push(value.map_or(Some(Json::Null), text)));
                Json::Array(whole.then_some(list)?.into_iter().collect::<Option<Vec<_>>>()?)
            }
            Value::Integers(values) => {
                let mut list = Vec::with_capacity(values.len());
                values.integers(|value| list.push(Json::from(value))).then_some(Json::Array(list))?
            }
            Value::Other => return None,
        };
        object.insert(name.as_ref().to_owned(), value);
    }
    Some(Json::Object(object))
}

impl Head {
    /// The head after a row as it was read; `scratch` is reused.
    pub fn after_read(self, row: &Row<'_>, scratch: &mut Vec<u8>) -> Result<Self, &'static str> {
        scratch.clear();
        scratch.extend_from_slice(&self.hash);
        put_canonical(scratch, row)?;
        Ok(Self { seq: self.seq + 1, hash: Sha256::digest(scratch).into() })
    }
}

impl Reader {
    /// Finds the tables, under the active snapshot.
    pub fn open(ledger: Oid) -> Result<Self, LedgerError> {
        let mut parts = Vec::new();
        for relid in rows::leaves(ledger)? {
            let blocks = rows::blocks(relid);
            if let Some(first) = first_number(relid, 0, blocks) {
                parts.push(Part { relid, blocks, first });
            }
        }
        parts.sort_by_key(|part| part.first);
        Ok(Self { parts })
    }

    /// The page and the part from which on rows from number `from` lie, if rows lie in order.
    pub fn seek(&self, from: i64) -> (usize, u32) {
        let index = self.parts.partition_point(|part| part.first <= from).saturating_sub(1);
        let Some(part) = self.parts.get(index) else { return (0, 0) };
        if part.first >= from {
            return (index, 0);
        }
        // In the page `low` or behind it, and before the page `high`.
        let (mut low, mut high) = (0, part.blocks);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            match first_number(part.relid, middle, part.blocks) {
                Some(first) if first <= from => low = middle,
                _ => high = middle,
            }
        }
        (index, low)
    }

    /// Reads the rows as they lie, from the page where number `from` should be; `each` returns whether to go on.
    pub fn as_they_lie(&self, from: i64, mut each: impl FnMut(&Row<'_>) -> bool) {
        let (index, block) = self.seek(from);
        for (n, part) in self.parts.iter().enumerate().skip(index) {
            let start = if n == index { block } else { 0 };
            if !rows::scan(part.relid, start..part.blocks, |_, row| each(row)) {
                return;
            }
        }
    }

    /// All runs, in the order of their numbers; `None` if there are too many.
    pub fn runs(&self) -> Option<Vec<Run>> {
        let mut runs: Vec<Run> = Vec::new();
        for (n, part) in self.parts.iter().enumerate() {
            let few = rows::scan(part.relid, 0..part.blocks, |place, row| {
                let seq = number(row);
                match runs.last_mut().filter(|run| run.part == n && run.last().checked_add(1) == Some(seq)) {
                    Some(run) => run.rows += 1,
                    None => runs.push(Run { first: seq, rows: 1, part: n, place }),
                }
                runs.len() < MOST_RUNS
            });
            if !few {
                return None;
            }
        }
        runs.sort_unstable();
        Some(runs)
    }

    /// Reads the rows of a run from number `from` on; `each` returns whether to go on, and so does this.
    pub fn run(&self, run: &Run, from: i64, mut each: impl FnMut(&Row<'_>) -> bool) -> bool {
        let Some(part) = self.parts.get(run.part) else { return true };
        let (mut seen, mut go_on) = (0, true);
        rows::scan(part.relid, run.place.block..part.blocks, |place, row| {
            if place < run.place {
                return true;
            }
            seen += 1;
            if number(row) >= from {
                go_on = each(row);
            }
            go_on && seen < run.rows
        });
        go_on
    }

    /// Reads the rows `from` to `to`, each once and in order. Returns the number of the first that is missing.
    pub fn read(&self, from: i64, to: i64, mut each: impl FnMut(&Row<'_>)) -> Result<(), i64> {
        let mut next = from;
        self.as_they_lie(from, |row| {
            let seq = number(row);
            if seq == next && next <= to {
                each(row);
                next += 1;
            }
            seq < next && next <= to
        });
        if next > to {
            return Ok(());
        }
        for run in self.runs().unwrap_or_default() {
            if run.last() < next || run.first > next {
                continue;
            }
            self.run(&run, next, |row| {
                each(row);
                next += 1;
                next <= to
            });
            if next > to {
                return Ok(());
            }
        }
        Err(next)
    }

    /// Number and stored hash of the last row before a page.
    pub fn last_before(&self, index: usize, block: u32) -> Option<Head> {
        let mut end = block;
        let part = self.parts.get(index)?;
        loop {
            if end == 0 {
                let before = index.checked_sub(1)?;
                return self.last_before(before, self.parts.get(before)?.blocks);
            }
            let mut last = None;
            rows::scan(part.relid, end - 1..end, |_, row| {
                last = stored(row).map(|hash| Head { seq: number(row), hash });
                true
            });
            if last.is_some() {
                return last;
            }
            end -= 1;
        }
    }
}

/// Number of the first row from a page on.
fn first_number(relid: Oid, block: u32, blocks: u32) -> Option<i64> {
    let mut first = None;
    rows::scan(relid, block..blocks, |_, row| {
        first = Some(number(row));
        false
    });
    first
}
