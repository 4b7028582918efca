//! An exported ledger, line by line.

use crate::checkpoint::Kept;
use crate::merkle::Tree;
use crate::row::Row;
use crate::{GENESIS, Hash, Refusal, bad, hash_from, unreadable};
use serde_json::Value;

/// First line of a file that audit.retain() has made.
#[derive(Debug, Clone)]
struct Header {
    first_seq: i64,
    last_seq: i64,
    previous: Hash,
    last_hash: Hash,
}

/// What was found to hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub from_seq: i64,
    pub to_seq: i64,
    pub hash: Hash,
    /// The hash before the first row came from the file itself.
    pub on_trust: bool,
    /// How many of the checkpoints that were kept lay in the range.
    pub compared: usize,
}

/// Walks the rows of an export.
#[derive(Debug)]
pub struct Walk<'a> {
    kept: &'a [Kept],
    header: Option<Header>,
    /// Number and hash of the row before the next one, once that is known.
    at: Option<(i64, Hash)>,
    first: Option<i64>,
    on_trust: bool,
    lines: u64,
    compared: usize,
    /// For each whole checkpoint that was kept, the tree of its rows.
    trees: Vec<Tree>,
}

impl<'a> Walk<'a> {
    /// A walk that compares with what was `kept` elsewhere.
    #[must_use]
    pub fn new(kept: &'a [Kept]) -> Self {
        let trees = vec![Tree::default(); kept.len()];
        let (header, at, first) = (None, None, None);
        Self { kept, header, at, first, on_trust: false, lines: 0, compared: 0, trees }
    }

    /// Takes the next line.
    pub fn line(&mut self, line: &str) -> Result<(), Refusal> {
        self.lines += 1;
        let value: Value = match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => return unreadable(format!("line {}: {error}", self.lines)),
        };
        if self.lines == 1 && value.get("first_seq").is_some() {
            return self.header(&value);
        }
        self.row(&Row::from_json(&value)?)
    }

    fn header(&mut self, value: &Value) -> Result<(), Refusal> {
        let number = |name: &str| value.get(name).and_then(Value::as_i64);
        let hash = |name: &str| hash_from(value.get(name));
        let header = (|| {
            Some(Header {
                first_seq: number("first_seq")?,
                last_seq: number("last_seq")?,
                previous: hash("previous_hash")?,
                last_hash: hash("last_hash")?,
            })
        })();
        let Some(header) = header else {
            return unreadable(
                "a header has \"first_seq\", \"last_seq\", \"previous_hash\" and \"last_hash\"",
            );
        };
        if header.first_seq == 1 && header.previous != GENESIS {
            return bad(1, "nothing stands before the first row");
        }
        self.on_trust = header.first_seq != 1;
        self.at = Some((header.first_seq.saturating_sub(1), header.previous));
        self.header = Some(header);
        Ok(())
    }

    fn row(&mut self, row: &Row) -> Result<(), Refusal> {
        let Some((before, previous)) = self.at.or_else(|| self.anchor(row.seq)) else {
            // The first row of a part: whether it follows what stood before it cannot be known.
            self.on_trust = true;
            self.first = Some(row.seq);
            self.at = Some((row.seq, row.hash));
            return self.compare(row.seq, row.hash);
        };
        if self.first.is_none() {
            self.witness(before, previous)?;
        }
        let expected = before.saturating_add(1);
        if row.seq > expected {
            return bad(expected, "the row is missing");
        }
        if row.seq < expected {
            return bad(row.seq, "the row is there twice");
        }
        let hash = row.hash_after(&previous);
        if hash != row.hash {
            return bad(row.seq, "the row, or its hash, was altered");
        }
        self.first.get_or_insert(row.seq);
        self.at = Some((row.seq, hash));
        self.compare(row.seq, hash)
    }

    /// What stands before the first line: nothing, or a checkpoint.
    fn anchor(&self, seq: i64) -> Option<(i64, Hash)> {
        // A ledger begins with row 1; so does one whose first rows were taken away, unless a checkpoint says what stood there.
        let kept = self.kept.iter().find(|kept| Some(kept.seq) == seq.checked_sub(1));
        match kept {
            Some(kept) => Some((kept.seq, kept.hash)),
            None if seq <= 1 => Some((0, GENESIS)),
            None => None,
        }
    }

    /// A checkpoint of the row before the first one.
    fn witness(&mut self, before: i64, previous: Hash) -> Result<(), Refusal> {
        for kept in self.kept.iter().filter(|kept| kept.seq == before) {
            if kept.hash != previous {
                return bad(before, "the chain differs from the checkpoint: it was sealed anew");
            }
            self.on_trust = false;
            self.compared += 1;
        }
        Ok(())
    }

    fn compare(&mut self, seq: i64, hash: Hash) -> Result<(), Refusal> {
        for (kept, tree) in self.kept.iter().zip(&mut self.trees) {
            let whole = kept.whole.as_ref().filter(|whole| (whole.first_seq()..=whole.seq).contains(&seq));
            if whole.is_some() {
                tree.push(&hash);
            }
            if kept.seq != seq {
                continue;
            }
            if kept.hash != hash {
                return bad(seq, "the chain differs from the checkpoint: it was sealed anew");
            }
            if let Some(whole) = whole
                && i64::try_from(tree.rows()) == Ok(whole.rows)
                && std::mem::take(tree).finish().map(|(root, _)| root) != Some(whole.root)
            {
                return bad(seq, "the rows are not those under the checkpoint's root");
            }
            self.compared += 1;
        }
        Ok(())
    }

    /// What holds, now that there is no more.
    pub fn finish(self) -> Result<Held, Refusal> {
        let (Some((to_seq, hash)), Some(from_seq)) = (self.at, self.first) else {
            return match &self.header {
                Some(header) => bad(header.first_seq, "the row is missing: the end was cut off"),
                None => unreadable("there is no row"),
            };
        };
        if let Some(header) = &self.header {
            if to_seq < header.last_seq {
                return bad(to_seq + 1, "the row is missing: the end was cut off");
            }
            if to_seq != header.last_seq || hash != header.last_hash {
                return bad(to_seq, "the file does not end as its first line says");
            }
        } else if let Some(beyond) = self.kept.iter().map(|kept| kept.seq).filter(|seq| *seq > to_seq).min() {
            return bad(to_seq + 1, format!("the ledger ends before the checkpoint at row {beyond}"));
        }
        Ok(Held { from_seq, to_seq, hash, on_trust: self.on_trust, compared: self.compared })
    }
}
