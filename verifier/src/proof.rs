//! A proof that one row was in the ledger when a checkpoint was made.

use crate::checkpoint::{Checkpoint, Kept};
use crate::row::Row;
use crate::{Hash, Refusal, bad, hash_from, merkle, unreadable};
use serde_json::Value;

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proved {
    pub seq: i64,
    pub checkpoint: Checkpoint,
    /// Whether its checkpoint was compared with one that was kept elsewhere. Without it a proof shows only
    /// that it agrees with itself.
    pub compared: bool,
}

/// Checks what `audit.prove(seq)` returned.
pub fn check(proof: &Value, kept: &[Kept]) -> Result<Proved, Refusal> {
    let Some(row) = proof.get("row") else { return unreadable("a proof has a \"row\"") };
    let row = Row::from_json(row)?;
    let previous = hash_from(proof.get("previous_hash"));
    let index = proof.get("index").and_then(Value::as_u64);
    let path: Option<Vec<Hash>> = proof
        .get("path")
        .and_then(Value::as_array)
        .and_then(|path| path.iter().map(|hash| hash_from(Some(hash))).collect());
    let checkpoint = proof.get("checkpoint").and_then(Checkpoint::from_json);
    let (Some(previous), Some(index), Some(path), Some(checkpoint)) = (previous, index, path, checkpoint)
    else {
        return unreadable("a proof has \"previous_hash\", \"index\", \"path\" and \"checkpoint\"");
    };
    let hash = row.hash_after(&previous);
    if hash != row.hash {
        return bad(row.seq, "the row, or its hash, was altered");
    }
    if !checkpoint.is_sealed() {
        return bad(row.seq, "the checkpoint was altered");
    }
    let place = i64::try_from(index).ok().and_then(|index| checkpoint.first_seq().checked_add(index));
    if place != Some(row.seq) {
        return bad(row.seq, "the row is not at this place of the checkpoint");
    }
    let size = u64::try_from(checkpoint.rows).unwrap_or(0);
    if merkle::climb(&hash, index, size, &path) != Some(checkpoint.root) {
        return bad(row.seq, "the row is not under the checkpoint's root");
    }
    if row.seq == checkpoint.seq && hash != checkpoint.hash {
        return bad(row.seq, "the chain differs from the checkpoint: it was sealed anew");
    }
    let same: Vec<&Kept> = kept.iter().filter(|kept| kept.seq == checkpoint.seq).collect();
    if !kept.is_empty() && same.is_empty() {
        return bad(row.seq, format!("the checkpoint at row {} was not kept", checkpoint.seq));
    }
    same.iter().try_for_each(|kept| kept.compare(&checkpoint))?;
    // Number and hash alone say nothing of the root.
    let compared = same.iter().any(|kept| kept.whole.is_some());
    Ok(Proved { seq: row.seq, checkpoint, compared })
}
