//! The tree over the rows of a checkpoint: RFC 6962, section 2.1, with the rows' hashes as data.

use crate::Hash;
use sha2::{Digest, Sha256};

/// The leaf of a row with this hash.
#[must_use]
pub fn leaf(row: &Hash) -> Hash {
    Sha256::new().chain_update([0]).chain_update(row).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// A complete subtree.
#[derive(Debug, Clone)]
struct Peak {
    level: u32,
    hash: Hash,
    watched: bool,
}

/// A tree that is built row by row, in memory of the logarithm of their number.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    peaks: Vec<Peak>,
    rows: u64,
    watched: Option<u64>,
    path: Vec<Hash>,
}

impl Tree {
    /// A tree that notes the way from the row with this index, from 0, to the root.
    #[must_use]
    pub fn watching(index: u64) -> Self {
        Self { watched: Some(index), ..Self::default() }
    }

    /// Adds the next row, by its hash.
    pub fn push(&mut self, row: &Hash) {
        let watched = self.watched == Some(self.rows);
        self.rows += 1;
        let mut top = Peak { level: 0, hash: leaf(row), watched };
        while self.peaks.last().is_some_and(|peak| peak.level == top.level) {
            if let Some(left) = self.peaks.pop() {
                top = join(left, top, &mut self.path);
            }
        }
        self.peaks.push(top);
    }

    /// Number of rows so far.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The root, and the siblings on the way to it from the row that was watched, lowest first. A tree of no rows
    /// has none.
    #[must_use]
    pub fn finish(mut self) -> Option<(Hash, Vec<Hash>)> {
        let mut top = self.peaks.pop()?;
        while let Some(left) = self.peaks.pop() {
            top = join(left, top, &mut self.path);
        }
        Some((top.hash, self.path))
    }
}

fn join(left: Peak, right: Peak, path: &mut Vec<Hash>) -> Peak {
    if left.watched {
        path.push(right.hash);
    }
    if right.watched {
        path.push(left.hash);
    }
    Peak {
        level: left.level + 1,
        hash: node(&left.hash, &right.hash),
        watched: left.watched || right.watched,
    }
}

/// The root of a tree of `size` rows in which the row numbered `index`, from 0, has this hash and these siblings
/// (RFC 9162, section 2.1.3.2); `None` if there is no such place or the path is not as long as it must be.
#[must_use]
pub fn climb(row: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    let (mut place, mut last) = (index, size.checked_sub(1)?);
    if place > last {
        return None;
    }
    let mut hash = leaf(row);
    for sibling in path {
        if last == 0 {
            return None;
        }
        if place & 1 == 1 || place == last {
            hash = node(sibling, &hash);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn rows(count: u8) -> Vec<Hash> {
        (0..count).map(|n| [n; 32]).collect()
    }

    /// The definition of RFC 6962, word for word.
    fn by_definition(rows: &[Hash]) -> Hash {
        match rows {
            [row] => leaf(row),
            _ => {
                let split = rows.len().next_power_of_two() / 2;
                node(&by_definition(&rows[..split]), &by_definition(&rows[split..]))
            }
        }
    }

    #[test]
    fn the_root_is_that_of_the_definition_and_every_row_climbs_to_it() {
        for count in 1..70 {
            let rows = rows(count);
            let root = by_definition(&rows);
            for index in 0..u64::from(count) {
                let mut tree = Tree::watching(index);
                rows.iter().for_each(|row| tree.push(row));
                let (found, path) = tree.finish().unwrap();
                assert_eq!(found, root);
                let row = rows[index as usize];
                assert_eq!(climb(&row, index, u64::from(count), &path), Some(root), "{index} of {count}");
                // Nothing else does: another place, another size, another row, a longer or a shorter path.
                for other in (0..u64::from(count)).filter(|other| *other != index) {
                    assert_ne!(climb(&row, other, u64::from(count), &path), Some(root));
                }
                assert_ne!(climb(&[0xff; 32], index, u64::from(count), &path), Some(root));
                let longer: Vec<Hash> = path.iter().copied().chain([[7; 32]]).collect();
                assert_eq!(climb(&row, index, u64::from(count), &longer), None);
                if let Some((_, shorter)) = path.split_last() {
                    assert_eq!(climb(&row, index, u64::from(count), shorter), None);
                }
            }
            assert_eq!(climb(&rows[0], u64::from(count), u64::from(count), &[]), None);
        }
        assert!(Tree::default().finish().is_none());
        assert_eq!(climb(&[0; 32], 0, 0, &[]), None);
    }

    #[test]
    fn a_node_is_no_leaf() {
        let (a, b) = ([1; 32], [2; 32]);
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&leaf(&a));
        pair[32..].copy_from_slice(&leaf(&b));
        let without_domain: Hash = Sha256::digest(pair).into();
        assert_ne!(node(&leaf(&a), &leaf(&b)), without_domain);
    }
}
