//! Checkpoints: the head of the ledger at a moment, with the root of the rows since the one before, each
//! linked to the one before. Whoever keeps one elsewhere has a witness of everything before it.

use crate::{GENESIS, Hash, Refusal, bad, hash_from, unreadable};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Number of the last row.
    pub seq: i64,
    /// Hash of that row.
    pub hash: Hash,
    /// Rows since the checkpoint before.
    pub rows: i64,
    /// Root of the tree over these.
    pub root: Hash,
    /// When it was made: microseconds since 2000-01-01 UTC.
    pub at: i64,
    /// Link of the checkpoint before; zero bytes for the first one.
    pub previous: Hash,
    /// What the next checkpoint names as its previous one.
    pub link: Hash,
}

impl Checkpoint {
    /// A checkpoint with the link that belongs to it.
    #[must_use]
    pub fn seal(seq: i64, hash: Hash, rows: i64, root: Hash, at: i64, previous: Hash) -> Self {
        let mut made = Self { seq, hash, rows, root, at, previous, link: GENESIS };
        made.link = made.computed();
        made
    }

    fn computed(&self) -> Hash {
        let digest = Sha256::new()
            .chain_update([2])
            .chain_update(self.previous)
            .chain_update(self.seq.to_le_bytes())
            .chain_update(self.hash)
            .chain_update(self.rows.to_le_bytes())
            .chain_update(self.root)
            .chain_update(self.at.to_le_bytes());
        digest.finalize().into()
    }

    /// Whether the link belongs to the rest.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.link == self.computed()
    }

    /// Number of its first row.
    #[must_use]
    pub fn first_seq(&self) -> i64 {
        self.seq.saturating_sub(self.rows).saturating_add(1)
    }

    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "seq": self.seq,
            "hash": hex::encode(self.hash),
            "rows": self.rows,
            "root": hex::encode(self.root),
            "at": self.at,
            "previous": hex::encode(self.previous),
            "link": hex::encode(self.link),
        })
    }

    /// Reads what [`Self::to_json`] wrote; other members are left alone.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |name: &str| value.get(name).and_then(Value::as_i64);
        let hash = |name: &str| hash_from(value.get(name));
        Some(Self {
            seq: number("seq")?,
            hash: hash("hash")?,
            rows: number("rows")?,
            root: hash("root")?,
            at: number("at")?,
            previous: hash("previous")?,
            link: hash("link")?,
        })
    }
}

/// What somebody kept elsewhere: a whole checkpoint, or number and hash of a row only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub seq: i64,
    pub hash: Hash,
    /// The rest, if it was kept, and its link belongs to it.
    pub whole: Option<Checkpoint>,
}

impl Kept {
    /// Reads one; `None` if it is none, or if it is whole and its link does not belong to it.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let (seq, hash) = (value.get("seq")?.as_i64()?, hash_from(value.get("hash"))?);
        let whole = match value.get("link") {
            None => None,
            Some(_) => Some(Checkpoint::from_json(value).filter(Checkpoint::is_sealed)?),
        };
        Some(Self { seq, hash, whole })
    }

    /// Compares a checkpoint with what was kept of the same row.
    pub fn compare(&self, other: &Checkpoint) -> Result<(), Refusal> {
        let same = self.hash == other.hash && self.whole.as_ref().is_none_or(|whole| whole == other);
        if self.seq == other.seq && !same {
            return bad(self.seq, "the checkpoint is not the one that was kept");
        }
        Ok(())
    }
}

/// A list of checkpoints, from the oldest on.
#[derive(Debug, Default)]
pub struct List {
    last: Option<Checkpoint>,
    count: u64,
    from_first: bool,
}

impl List {
    /// Takes the next one.
    pub fn push(&mut self, next: Checkpoint, kept: &[Kept]) -> Result<(), Refusal> {
        if !next.is_sealed() || next.rows < 1 || next.rows > next.seq {
            return bad(next.seq, "the checkpoint was altered");
        }
        match &self.last {
            Some(last) if next.previous != last.link || next.first_seq() != last.seq + 1 => {
                return bad(next.seq, "the checkpoint does not follow the one before it");
            }
            Some(_) => (),
            None => {
                self.from_first = next.previous == GENESIS;
                if self.from_first != (next.rows == next.seq) {
                    return bad(next.seq, "the checkpoint was altered");
                }
            }
        }
        kept.iter().try_for_each(|kept| kept.compare(&next))?;
        self.last = Some(next);
        self.count += 1;
        Ok(())
    }

    /// The last one, how many there were, and whether they began with the first of all.
    pub fn finish(self, kept: &[Kept]) -> Result<(Checkpoint, u64, bool), Refusal> {
        let Some(last) = self.last else { return unreadable("there is no checkpoint") };
        if let Some(beyond) = kept.iter().find(|kept| kept.seq > last.seq) {
            return bad(last.seq, format!("the list ends before the checkpoint at row {}", beyond.seq));
        }
        Ok((last, self.count, self.from_first))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn three() -> Vec<Checkpoint> {
        let mut previous = GENESIS;
        (1..=3)
            .map(|n| {
                let made = Checkpoint::seal(n * 10, [n as u8; 32], 10, [7; 32], n, previous);
                previous = made.link;
                made
            })
            .collect()
    }

    fn check(list: &[Checkpoint], kept: &[Kept]) -> Result<(Checkpoint, u64, bool), Refusal> {
        let mut found = List::default();
        list.iter().try_for_each(|one| found.push(one.clone(), kept))?;
        found.finish(kept)
    }

    #[test]
    fn a_list_holds_and_every_change_of_it_shows() {
        let list = three();
        assert_eq!(check(&list, &[]).unwrap(), (list[2].clone(), 3, true));
        assert_eq!(check(&list[1..], &[]).unwrap(), (list[2].clone(), 2, false));
        for change in [
            |c: &mut Checkpoint| c.seq += 1,
            |c: &mut Checkpoint| c.hash[0] ^= 1,
            |c: &mut Checkpoint| c.rows += 1,
            |c: &mut Checkpoint| c.root[31] ^= 1,
            |c: &mut Checkpoint| c.at += 1,
            |c: &mut Checkpoint| c.previous[0] ^= 1,
            |c: &mut Checkpoint| c.link[0] ^= 1,
        ] {
            let mut altered = list.clone();
            change(&mut altered[1]);
            assert!(matches!(check(&altered, &[]), Err(Refusal::Bad { .. })));
        }
        assert!(check(&[list[0].clone(), list[2].clone()], &[]).is_err(), "one is missing");
        assert!(check(&[], &[]).is_err());
    }

    #[test]
    fn what_was_sealed_anew_differs_from_what_was_kept() {
        let list = three();
        let kept = Kept::from_json(&list[2].to_json()).unwrap();
        assert!(check(&list, std::slice::from_ref(&kept)).is_ok());
        // The first root is another one, and all links after it fit again.
        let mut forged = list.clone();
        forged[0] = Checkpoint::seal(10, list[0].hash, 10, [8; 32], 1, GENESIS);
        for n in 1..3 {
            let old = &list[n];
            forged[n] = Checkpoint::seal(old.seq, old.hash, old.rows, old.root, old.at, forged[n - 1].link);
        }
        assert!(check(&forged, &[]).is_ok());
        assert!(check(&forged, std::slice::from_ref(&kept)).is_err());
        assert!(check(&list[..2], &[kept]).is_err(), "the end was cut off");
    }

    #[test]
    fn a_kept_checkpoint_that_was_altered_is_none() {
        let mut json = three()[1].to_json();
        assert!(Kept::from_json(&json).is_some());
        json["rows"] = 3.into();
        assert!(Kept::from_json(&json).is_none());
        assert!(Kept::from_json(&serde_json::json!({ "seq": 1, "hash": "00".repeat(32) })).is_some());
        assert!(Kept::from_json(&serde_json::json!({ "seq": 1, "hash": "00" })).is_none());
    }
}
