//! What evidence of pg_custodian's is made of, and whether it holds. Knows no database.
//!
//! `docs/ledger-format.md` is the specification. The extension makes trees and checkpoints by
//! [`merkle`] and [`checkpoint`]; canonical bytes of rows are made here from exported rows, and there,
//! independently, from the table.

pub mod checkpoint;
pub mod ledger;
pub mod merkle;
pub mod proof;
pub mod row;

/// A SHA-256 hash.
pub type Hash = [u8; 32];

/// What stands before the first row and before the first checkpoint.
pub const GENESIS: Hash = [0; 32];

/// Why something is not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It does not hold: the number of the first bad row, or of the checkpoint's, and what is wrong.
    Bad { seq: i64, problem: String },
    /// It is no such evidence: what about it cannot be read.
    Unreadable(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bad { seq, problem } => write!(f, "bad: row {seq}: {problem}"),
            Self::Unreadable(what) => write!(f, "unreadable: {what}"),
        }
    }
}

/// The refusal of a row.
pub(crate) fn bad<T>(seq: i64, problem: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad { seq, problem: problem.into() })
}

pub(crate) fn unreadable<T>(what: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unreadable(what.into()))
}

/// A hash as 64 hexadecimal digits.
#[must_use]
pub fn hash_from(value: Option<&serde_json::Value>) -> Option<Hash> {
    Hash::try_from(hex::decode(value?.as_str()?).ok()?).ok()
}
