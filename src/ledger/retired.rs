//! What was exported and taken out of the ledger: its digests are what the rest follows.

use super::LedgerError;
use super::chain::{Hash, Head};
use crate::pg::catalog;

/// The rows of a partition that is gone.
#[derive(Debug, Clone, Copy)]
struct Retired {
    first_seq: i64,
    last_seq: i64,
    previous: Hash,
    last: Hash,
}

/// What stands before the first row that is still there: nothing, or the last one that was taken out.
pub fn base() -> Result<Head, LedgerError> {
    let (mut found, mut broken) = (Vec::new(), false);
    catalog::rows("audit", "retired", &["first_seq", "last_seq", "hash_before", "last_hash"], |row| {
        let hash = |column: usize| Hash::try_from(row.bytes(column)?).ok();
        let one = (|| {
            let (first_seq, last_seq) = (row.bigint(0)?, row.bigint(1)?);
            Some(Retired { first_seq, last_seq, previous: hash(2)?, last: hash(3)? })
        })();
        broken |= one.is_none();
        found.extend(one);
    })?;
    found.sort_by_key(|one| one.first_seq);
    match behind(&found) {
        Some(head) if !broken => Ok(head),
        _ => Err(LedgerError::RetiredBroken),
    }
}

/// The end of partitions that follow each other without a gap from the first row on.
fn behind(retired: &[Retired]) -> Option<Head> {
    retired.iter().try_fold(Head::EMPTY, |head, one| {
        let follows = one.first_seq == head.seq + 1 && one.previous == head.hash;
        (follows && one.last_seq >= one.first_seq).then_some(Head { seq: one.last_seq, hash: one.last })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_retired_must_follow_from_the_first_row_on() {
        let first = Retired { first_seq: 1, last_seq: 10, previous: [0; 32], last: [1; 32] };
        let second = Retired { first_seq: 11, last_seq: 20, previous: [1; 32], last: [2; 32] };
        assert_eq!(behind(&[]), Some(Head::EMPTY));
        assert_eq!(behind(&[first, second]), Some(Head { seq: 20, hash: [2; 32] }));
        assert_eq!(behind(&[second]), None, "one is missing");
        assert_eq!(behind(&[first, Retired { previous: [9; 32], ..second }]), None);
        assert_eq!(behind(&[first, Retired { first_seq: 12, ..second }]), None);
        assert_eq!(behind(&[first, Retired { last_seq: 10, ..second }]), None);
    }
}
