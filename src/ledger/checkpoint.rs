//! Checkpoints of the ledger: what is kept elsewhere, and the table of all.

use super::LedgerError;
use super::chain::{GENESIS, Hash, Head};
use super::reader::{Reader, number, stored};
use super::table::Tables;
use crate::pg::append::{self, Place};
use crate::pg::rows;
use pg_custodian_verifier::checkpoint::{Checkpoint, Kept};
use pg_custodian_verifier::merkle::Tree;

/// Rows of one checkpoint at most: a proof reads them all, and the steward has people to look after.
pub const MOST_ROWS: i64 = 1 << 17;

/// Reads what somebody kept: what `audit.checkpoint()` returned, or `{"seq": ..., "hash": "..."}` only.
pub fn kept(value: &serde_json::Value) -> Result<Kept, LedgerError> {
    let bad =
        "a checkpoint is what audit.checkpoint() returned, or {\"seq\": number, \"hash\": \"64 hex digits\"}";
    Kept::from_json(value).ok_or_else(|| LedgerError::BadArgument(bad.into()))
}

/// All checkpoints of the table, as the active snapshot sees them, by their rows; what cannot be read as one is
/// told by the number of the checkpoint before it.
pub fn all(tables: &Tables) -> Result<Vec<Checkpoint>, i64> {
    let (mut found, mut broken) = (Vec::new(), false);
    rows::scan(tables.checkpoints, 0..rows::blocks(tables.checkpoints), |_, row| {
        let hash = |column: usize| Hash::try_from(row.bytes(column)?).ok();
        let one = (|| {
            Some(Checkpoint {
                seq: row.integer(0)?,
                hash: hash(1)?,
                rows: row.integer(2)?,
                root: hash(3)?,
                at: row.integer(4)?,
                previous: hash(5)?,
                link: hash(6)?,
            })
        })();
        broken |= one.is_none();
        found.extend(one);
        true
    });
    found.sort_by_key(|one| one.seq);
    if broken { Err(found.last().map_or(0, |one| one.seq)) } else { Ok(found) }
}

/// All checkpoints of the table, or an error if one cannot be read.
pub fn require(tables: &Tables) -> Result<Vec<Checkpoint>, LedgerError> {
    all(tables).map_err(|_| LedgerError::Checkpoints { problem: "one cannot be read".into() })
}

/// The last checkpoint of the table.
pub fn last(tables: &Tables) -> Result<Option<Checkpoint>, LedgerError> {
    Ok(require(tables)?.into_iter().next_back())
}

/// Makes the checkpoint after `last`, of the rows up to `to` at most, and stores it; in the running transaction,
/// under an active snapshot that sees these rows.
pub fn make(
    tables: &Tables,
    last: Option<&Checkpoint>,
    to: i64,
    at: i64,
) -> Result<Option<Checkpoint>, LedgerError> {
    let (before, previous) = last.map_or((0, GENESIS), |last| (last.seq, last.link));
    let to = to.min(before + MOST_ROWS);
    if to <= before {
        return Ok(None);
    }
    let (mut tree, mut head) = (Tree::default(), Head { seq: before, hash: GENESIS });
    let read = Reader::open(tables.ledger)?.read(before + 1, to, |row| {
        // A row without a hash shows in audit.verify(); here its place must not be empty.
        let hash = stored(row).unwrap_or(GENESIS);
        tree.push(&hash);
        head = Head { seq: number(row), hash };
    });
    read.map_err(|seq| LedgerError::RowMissing { seq })?;
    let Some((root, _)) = tree.finish() else { return Ok(None) };
    let made = Checkpoint::seal(to, head.hash, to - before, root, at, previous);
    store(tables, &made)?;
    Ok(Some(made))
}

fn store(tables: &Tables, made: &Checkpoint) -> Result<(), LedgerError> {
    append::append(tables.checkpoints, &[], &mut Place::default(), 1, |_, former| {
        former.integer(made.seq);
        former.text(&made.hash);
        former.integer(made.rows);
        former.text(&made.root);
        former.integer(made.at);
        former.text(&made.previous);
        former.text(&made.link);
        true
    })?;
    Ok(())
}
