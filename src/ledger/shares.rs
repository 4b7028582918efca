//! A verification by several processes.
//!
//! A row's hash needs only the stored hash of the row before. So the ledger is cut into shares, each with
//! the stored hash of the row before its first page; whoever takes one walks it from there. That a share ends with the very
//! hash with which the next one began is compared at the end: then it is the walk that one process would have made.
//! Whatever does not fit is left to that walk, which names the row.

use super::chain::{Hash, Head};
use super::checkpoint;
use super::reader::{Reader, number};
use super::table::Tables;
use super::verify::{Mark, Walk, marks};
use crate::pg::{parallel, rows};
use pg_custodian_verifier::checkpoint::Kept;
use pgrx::pg_sys::Oid;
use std::sync::atomic::{AtomicI64, Ordering};

/// Pages of a share: long enough to be worth taking, short enough to be divided evenly.
const PAGES: u32 = 2048;
/// The worker's entry, in `workers.rs`.
const FUNCTION: &std::ffi::CStr = c"pg_custodian_verify_worker";

/// Words before the shares: the next share to take, and what was kept elsewhere (number, hash, whether there is such).
const HEAD: usize = 7;
/// Words of a share.
const SHARE: usize = 15;
/// In a share: where the result begins, after table, first page, last page, number and hash of the row before, and whether
/// rows up to that one are passed over.
const RESULT: usize = 9;

fn put_hash(words: &mut Vec<i64>, hash: &Hash) {
    words.extend(hash.as_chunks::<8>().0.iter().map(|eight| i64::from_le_bytes(*eight)));
}

fn hash_at(words: &[AtomicI64], at: usize) -> Hash {
    let mut hash = [0; 32];
    for (eight, word) in hash.as_chunks_mut::<8>().0.iter_mut().zip(words.iter().skip(at)) {
        *eight = word.load(Ordering::Relaxed).to_le_bytes();
    }
    hash
}

fn load(words: &[AtomicI64], at: usize) -> i64 {
    words.get(at).map_or(0, |word| word.load(Ordering::Acquire))
}

/// Verifies the ledger from behind `start` to its end with `workers` other processes. Returns how far all is well,
/// as a row to go on from, and how many rows were verified; `None` if that is nowhere.
pub fn verify(
    tables: &Tables,
    start: (Head, bool),
    against: Option<&Kept>,
    marks: &[Mark],
    workers: i32,
) -> Option<(Head, i64)> {
    if parallel::is_parallel() {
        return None;
    }
    let reader = Reader::open(tables.ledger).ok()?;
    let cut = cut(&reader, start)?;
    // A share compares what is behind the row that it begins with, not that row itself.
    let first = cut.first()?.before;
    if marks.iter().any(|mark| mark.seq == first.seq && mark.hash != first.hash) {
        return None;
    }
    let mut words = vec![0];
    let (seq, hash) = against.map_or((0, [0; 32]), |kept| (kept.seq, kept.hash));
    words.push(seq);
    put_hash(&mut words, &hash);
    words.push(against.is_some().into());
    for share in &cut {
        let numbers = [share.relid.to_u32().into(), share.from.into(), share.to.into(), share.before.seq];
        words.extend(numbers);
        put_hash(&mut words, &share.before.hash);
        words.push(share.skips.into());
        words.extend([0; SHARE - RESULT]);
    }
    let words = parallel::run(FUNCTION, workers, &words, help);
    let words: Vec<AtomicI64> = words.into_iter().map(AtomicI64::new).collect();
    let (mut reached, mut rows) = (None, 0);
    for (share, result) in cut.iter().zip(words.get(HEAD..)?.chunks_exact(SHARE)) {
        let before = reached.unwrap_or(share.before);
        if before != share.before || load(result, RESULT) != 1 {
            break;
        }
        let end = Head { seq: load(result, RESULT + 1), hash: hash_at(result, RESULT + 2) };
        rows += end.seq - before.seq;
        reached = Some(end);
    }
    Some((reached?, rows))
}

#[derive(Debug)]
struct Share {
    relid: Oid,
    from: u32,
    to: u32,
    before: Head,
    skips: bool,
}

/// Cuts what lies behind `start`.
fn cut(reader: &Reader, start: (Head, bool)) -> Option<Vec<Share>> {
    let (head, anchor) = start;
    let (index, first) = reader.seek(head.seq + i64::from(!anchor));
    let before = if anchor { stored_at(reader, head.seq)? } else { head };
    let mut shares = Vec::new();
    for (n, part) in reader.parts.iter().enumerate().skip(index) {
        let mut from = if n == index { first } else { 0 };
        while from < part.blocks {
            let to = from.saturating_add(PAGES).min(part.blocks);
            let first = shares.is_empty();
            let before = if first { before } else { reader.last_before(n, from)? };
            shares.push(Share { relid: part.relid, from, to, before, skips: first && anchor });
            from = to;
        }
    }
    Some(shares)
}

/// The stored hash of a row.
fn stored_at(reader: &Reader, seq: i64) -> Option<Head> {
    let mut found = None;
    reader.read(seq, seq, |row| found = super::reader::stored(row)).ok()?;
    Some(Head { seq, hash: found? })
}

/// Takes shares until there are none; in every process that helps.
pub fn help(words: &[AtomicI64]) {
    let Some((head, shares)) = words.split_at_checked(HEAD) else { return };
    let Some(tables) = Tables::find() else { return };
    let kept = (load(head, 6) != 0).then(|| Kept { seq: load(head, 1), hash: hash_at(head, 2), whole: None });
    let marks = marks(&checkpoint::all(&tables).unwrap_or_default(), kept.as_ref());
    loop {
        let next = head.first().map_or(i64::MAX, |next| next.fetch_add(1, Ordering::Relaxed));
        let Some(share) = usize::try_from(next).ok().and_then(|next| shares.chunks_exact(SHARE).nth(next))
        else {
            return;
        };
        if let Some(end) = walk(share, &marks) {
            let mut result = vec![end.seq];
            put_hash(&mut result, &end.hash);
            for (word, value) in share.iter().skip(RESULT + 1).zip(result) {
                word.store(value, Ordering::Relaxed);
            }
            if let Some(done) = share.get(RESULT) {
                done.store(1, Ordering::Release);
            }
        }
    }
}

/// Walks a share; `None` if anything is wrong with it, or not as expected.
fn walk(share: &[AtomicI64], marks: &[Mark]) -> Option<Head> {
    let number_at = |at: usize| u32::try_from(load(share, at)).ok();
    let (relid, pages) = (Oid::from(number_at(0)?), number_at(1)?..number_at(2)?);
    let before = Head { seq: load(share, 3), hash: hash_at(share, 4) };
    let skips = load(share, 8) != 0;
    let (mut walk, mut begun) = (Walk::after(before, false, marks), false);
    let whole = rows::scan(relid, pages, |_, row| {
        let seq = number(row);
        if skips && !begun && seq <= before.seq {
            return true;
        }
        begun = true;
        seq == walk.wanted() && walk.row(row)
    });
    whole.then_some(walk.head)
}
