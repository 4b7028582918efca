//! A proof that one row was in the ledger when a checkpoint was made.

use super::chain::GENESIS;
use super::reader::{Reader, number, stored, to_json};
use super::table::Tables;
use super::{LedgerError, checkpoint, retired, verify};
use crate::pg::rows;
use pg_custodian_verifier::checkpoint::Checkpoint;
use pg_custodian_verifier::merkle::Tree;
use pg_custodian_verifier::proof;
use serde_json::{Value as Json, json};

/// Proves the row numbered `seq`, under the first checkpoint that covers it.
pub fn prove(seq: i64) -> Result<Json, LedgerError> {
    let tables = Tables::require()?;
    rows::with_newest_state(|| {
        let (base, end) = (retired::base()?, verify::end(&tables)?);
        if seq < 1 || seq > end.seq {
            return Err(LedgerError::BadArgument(format!("the ledger has no row {seq}")));
        }
        let Some(over) = checkpoint::require(&tables)?.into_iter().find(|one| one.seq >= seq) else {
            return Err(LedgerError::NotYetChecked { seq });
        };
        if over.first_seq() <= base.seq {
            return Err(LedgerError::Retired { last_seq: base.seq });
        }
        under(&tables, seq, &over, base)
    })
}

fn under(
    tables: &Tables,
    seq: i64,
    over: &Checkpoint,
    base: super::chain::Head,
) -> Result<Json, LedgerError> {
    let names = rows::column_names(tables.ledger);
    let first = over.first_seq();
    let index = u64::try_from(seq - first).unwrap_or_default();
    let (mut tree, mut before) = (Tree::watching(index), base.hash);
    let (mut previous, mut object) = (base.hash, None);
    // From the row before on, whose hash the first one goes on from.
    let from = if first - 1 > base.seq { first - 1 } else { first };
    let read = Reader::open(tables.ledger)?.read(from, over.seq, |row| {
        let hash = stored(row).unwrap_or(GENESIS);
        if number(row) == seq {
            (previous, object) = (before, Some(to_json(&names, row)));
        }
        if number(row) >= first {
            tree.push(&hash);
        }
        before = hash;
    });
    read.map_err(|seq| LedgerError::RowMissing { seq })?;
    let row = object.ok_or(LedgerError::RowMissing { seq })?.ok_or(LedgerError::NotUtf8 { seq })?;
    let path = tree.finish().map(|(_, path)| path).unwrap_or_default();
    let proof = json!({
        "row": row,
        "previous_hash": hex::encode(previous),
        "index": index,
        "path": path.iter().map(hex::encode).collect::<Vec<_>>(),
        "checkpoint": over.to_json(),
    });
    match proof::check(&proof, &[]) {
        Ok(_) => Ok(proof),
        Err(refusal) => Err(LedgerError::NotProvable { reason: refusal.to_string() }),
    }
}
