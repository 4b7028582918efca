//! Appending rows to a table of our own, below SQL: no triggers, no rules, no privileges.
//!
//! Promises: rows lie in the file in the order in which they came, page after page (within a page
//! the order may be another, where vacuum has freed the places of an aborted batch); every
//! index of the table knows them. So a reader who wants them in order needs no index.
//!
//! It does what COPY does, with what COPY cannot know: rows are formed here in one pass, pages are made for a
//! whole run of rows at once and are not filled with zeros first, and a BRIN index of minima and maxima
//! hears of the lowest and the highest value in each range of pages, which to it is the same as to
//! hear of each row.

use super::catalog::{self, in_own_memory};
use super::form::{Column, Former, KEYS};
use super::ranges::Ranges;
use super::version;
use crate::error::ServerError;
use pgrx::pg_sys::{self, Oid};
use std::os::fd::AsRawFd;

/// Rows that are formed before pages are made for them.
const RUN: usize = 1024;
/// Rows that are put on a page by one call, at most: more do not fit where they are as wide as ours.
const CALL: usize = 64;
/// What a row takes of a page, at most, once the toaster has seen it (TOAST_TUPLE_TARGET and a line pointer).
const TOASTED: usize = 2048 + 8;
/// Rows longer than this are toasted (TOAST_TUPLE_THRESHOLD).
const LONG: usize = 2032;
/// heapam.h: leaves the free space map alone, which would send rows back to earlier pages.
const SKIP_FREE_SPACE_MAP: i32 = 2;
/// A row that waits for its page.
struct Formed {
    tuple: pg_sys::HeapTuple,
    /// Bytes that it takes of a page.
    room: usize,
    long: bool,
    /// Whether indexes other than those of minima and maxima shall hear of it.
    listed: bool,
    keys: [i64; KEYS],
}

/// Where the next row goes; kept from batch to batch, by the only process that appends.
#[derive(Debug, Default, Clone, Copy)]
pub struct Place {
    /// The table, and its pages.
    table: Option<Oid>,
    blocks: u32,
    /// The first page that was never written to; what is free on the one before it.
    next: u32,
    free: usize,
}

impl Place {
    /// Finds the last page that was written to. Behind it may lie pages that a crash has left empty.
    ///
    /// # Safety
    /// `relation` is open.
    unsafe fn find(relation: pg_sys::Relation, blocks: u32) -> Self {
        // SAFETY: as the caller promises; each page is pinned and locked while it is looked at.
        unsafe {
            let mut place = Self { table: Some((*relation).rd_id), blocks, next: blocks, free: 0 };
            while place.next > 0 {
                let free = free_space(relation, place.next - 1);
                if let Some(free) = free {
                    place.free = free;
                    break;
                }
                place.next -= 1;
            }
            place
        }
    }
}

/// What is free on a page, line pointers included; `None` if it was never written to.
///
/// # Safety
/// `relation` is open and has this page.
unsafe fn free_space(relation: pg_sys::Relation, block: u32) -> Option<usize> {
    // SAFETY: as the caller promises.
    unsafe {
        let buffer = pg_sys::ReadBuffer(relation, block);
        pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
        let page = pg_sys::BufferGetPage(buffer);
        let free = (!pg_sys::PageIsNew(page)).then(|| pg_sys::PageGetHeapFreeSpace(page) + 4);
        pg_sys::UnlockReleaseBuffer(buffer);
        free
    }
}

/// Makes the table longer by up to `more` pages, of zeros, and returns how many it has then.
///
/// # Safety
/// `relation` is open.
unsafe fn extend(relation: pg_sys::Relation, more: u32) -> u32 {
    // SAFETY: as the caller promises; the lock is the one under which relations grow.
    unsafe {
        // First: nothing may be looked up under that lock, which nobody looks for in a deadlock.
        let path = catalog::file_of((*relation).rd_id);
        pg_sys::LockRelationForExtension(relation, pg_sys::ExclusiveLock as i32);
        let blocks = count_blocks(relation);
        let within = blocks % pg_sys::RELSEG_SIZE;
        let more = more.min(pg_sys::RELSEG_SIZE - within);
        // The first page of a file makes the file, which is PostgreSQL's to do; so is to say what is wrong.
        if within == 0 || !path.is_some_and(|path| allocate(&path, blocks, more)) {
            let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
            let mode = pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK;
            let none = std::ptr::null_mut();
            let buffer = pg_sys::ReadBufferExtended(relation, fork, pg_sys::InvalidBlockNumber, mode, none);
            pg_sys::UnlockReleaseBuffer(buffer);
        }
        let blocks = count_blocks(relation);
        pg_sys::UnlockRelationForExtension(relation, pg_sys::ExclusiveLock as i32);
        blocks
    }
}

/// # Safety
/// `relation` is open.
unsafe fn count_blocks(relation: pg_sys::Relation) -> u32 {
    // SAFETY: as the caller promises.
    unsafe { pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM) }
}

/// Reserves space for `more` pages behind the `blocks` that the file has, as PostgreSQL itself does from
/// 16 on: a file that is filled with zeros page by page is written twice. `path` is that of its first file; the
/// relation's extension lock is held.
fn allocate(path: &str, blocks: u32, more: u32) -> bool {
    let page = pg_sys::BLCKSZ as libc::off_t;
    let (file, within) = (blocks / pg_sys::RELSEG_SIZE, blocks % pg_sys::RELSEG_SIZE);
    let path = if file > 0 { format!("{path}.{file}") } else { path.to_string() };
    let Ok(file) = std::fs::OpenOptions::new().write(true).open(path) else { return false };
    let (start, length) = (libc::off_t::from(within) * page, libc::off_t::from(more) * page);
    // SAFETY: the file is open; the call touches nothing but its length and its space.
    unsafe { libc::posix_fallocate(file.as_raw_fd(), start, length) == 0 }
}

/// Whether each row must be told to the executor's index code: not if every index is one of `ranges`
/// or `sparse`.
///
/// # Safety
/// The indexes are open.
unsafe fn has_others(result: *mut pg_sys::ResultRelInfo, ranges: &[Ranges], sparse: &[Oid]) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        (0..(*result).ri_NumIndices as usize).any(|number| {
            let id = (**(*result).ri_IndexRelationDescs.add(number)).rd_id;
            !sparse.contains(&id) && ranges.iter().all(|ranges| ranges.index() != number)
        })
    }
}

/// Appends `rows` rows to the table `relid`, in one transaction's command.
///
/// `fill` forms row `n` and returns whether the indexes `sparse` may have to know it: they are not told of
/// others. Needs an open transaction.
pub fn append(
    relid: Oid,
    sparse: &[Oid],
    place: &mut Place,
    rows: usize,
    mut fill: impl FnMut(usize, &mut Former) -> bool,
) -> Result<(), ServerError> {
    in_own_memory("pg_custodian append", || {
        // SAFETY: the sequence of COPY's multi-insert (copyfrom.c) inside a transaction; all that is opened
        // is closed here, or by the abort that an ERROR causes.
        unsafe {
            let relation = pg_sys::table_open(relid, pg_sys::RowExclusiveLock as i32);
            let desc = (*relation).rd_att;
            let mut columns: Vec<Column> = (0..(*desc).natts as usize)
                .map(|number| {
                    let (width, align) = version::attribute_layout(desc, number);
                    Column::new(width, align)
                })
                .collect();
            let state = pg_sys::CreateExecutorState();
            let result = pg_sys::palloc0(size_of::<pg_sys::ResultRelInfo>()).cast::<pg_sys::ResultRelInfo>();
            pg_sys::InitResultRelInfo(result, relation, 0, std::ptr::null_mut(), 0);
            pg_sys::ExecOpenIndices(result, false);
            let mut indexes = Indexes { result, state, ranges: Ranges::of(result, &mut columns), all: false };
            indexes.all = has_others(result, &indexes.ranges, sparse);
            let mut former = Former::new(columns);
            let callbacks = &raw const pg_sys::TTSOpsHeapTuple;
            // The descriptor of now. Opening the indexes may have had the table's made anew; the old one is then freed
            // at the end of the transaction (relcache.c, RememberToFreeTupleDescAtEOX), and by slots once more.
            let desc = (*relation).rd_att;
            let slots: Vec<*mut pg_sys::TupleTableSlot> =
                (0..rows.min(CALL)).map(|_| pg_sys::MakeSingleTupleTableSlot(desc, callbacks)).collect();
            let command = pg_sys::GetCurrentCommandId(true);
            let blocks = count_blocks(relation);
            if place.table != Some(relid) || place.blocks != blocks {
                *place = Place::find(relation, blocks);
            }
            let mut run = Vec::with_capacity(rows.min(RUN));
            let mut first = 0;
            while first < rows {
                run.clear();
                for n in first..rows.min(first + RUN) {
                    former.begin();
                    let listed = fill(n, &mut former);
                    let tuple = former.tuple();
                    let length = (*tuple).t_len as usize;
                    let long = length > LONG;
                    let room = if long { TOASTED } else { length.next_multiple_of(8) + 4 };
                    run.push(Formed { tuple, room, long, listed, keys: former.keys() });
                }
                make_room(relation, place, &run);
                put(relation, place, &run, &slots, command, &mut indexes);
                first += run.len();
            }
            indexes.finish();
            for slot in slots {
                pg_sys::ExecDropSingleTupleTableSlot(slot);
            }
            pg_sys::ExecCloseIndices(result);
            pg_sys::FreeExecutorState(state);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
    });
    Ok(())
}

/// The indexes of the table at hand.
struct Indexes {
    result: *mut pg_sys::ResultRelInfo,
    state: *mut pg_sys::EState,
    ranges: Vec<Ranges>,
    /// Whether there is one that must hear of every row.
    all: bool,
}

impl Indexes {
    /// # Safety
    /// As for [`append`]; the slot holds the row, which lies on a page now.
    unsafe fn note(&mut self, slot: *mut pg_sys::TupleTableSlot, block: u32, row: &Formed) {
        // SAFETY: as the caller promises.
        unsafe {
            for ranges in &mut self.ranges {
                ranges.note(self.result, block, (*slot).tts_tid, &row.keys);
            }
            if self.all || row.listed {
                version::insert_index_tuples(self.result, slot, self.state);
                pg_sys::MemoryContextReset(version::per_tuple_memory(self.state));
            }
        }
    }

    /// # Safety
    /// As for [`append`].
    unsafe fn finish(&mut self) {
        for ranges in &mut self.ranges {
            // SAFETY: as the caller promises.
            unsafe { ranges.tell(self.result) }
        }
    }
}

const EMPTY_PAGE: usize = pg_sys::BLCKSZ as usize - 24;

/// Makes the pages that the run will need, and no more: somebody who inserts by SQL uses the last one.
///
/// # Safety
/// `relation` is open.
unsafe fn make_room(relation: pg_sys::Relation, place: &mut Place, run: &[Formed]) {
    let (mut free, mut end) = (place.free, place.next);
    for row in run {
        if row.room > free {
            (free, end) = (EMPTY_PAGE, end + 1);
        }
        free -= row.room;
    }
    while place.blocks < end {
        // SAFETY: as the caller promises.
        place.blocks = unsafe { extend(relation, end - place.blocks) };
    }
}

/// Puts the run on its pages and tells the indexes.
///
/// # Safety
/// As for [`append`]; the pages from `place.next` on were never written to.
unsafe fn put(
    relation: pg_sys::Relation,
    place: &mut Place,
    run: &[Formed],
    slots: &[*mut pg_sys::TupleTableSlot],
    command: pg_sys::CommandId,
    indexes: &mut Indexes,
) {
    let mut first = 0;
    // SAFETY: as the caller promises.
    unsafe {
        while first < run.len() {
            if run[first].room > place.free {
                if place.next >= place.blocks {
                    place.blocks = extend(relation, 1);
                }
                // Nothing is read: the page is zeros. heap_multi_insert() makes a page of them.
                let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
                let mode = pg_sys::ReadBufferMode::RBM_ZERO_AND_LOCK;
                let buffer =
                    pg_sys::ReadBufferExtended(relation, fork, place.next, mode, std::ptr::null_mut());
                pg_sys::UnlockReleaseBuffer(buffer);
                place.next += 1;
                place.free = EMPTY_PAGE;
            }
            let block = place.next - 1;
            let mut count = 0;
            while count < slots.len() && first + count < run.len() && run[first + count].room <= place.free {
                let row = &run[first + count];
                pg_sys::ExecStoreHeapTuple(row.tuple, slots[count], true);
                place.free -= row.room;
                count += 1;
                if row.long {
                    break;
                }
            }
            (*pg_sys::RelationGetSmgr(relation)).smgr_targblock = block;
            let chunk = slots.as_ptr().cast_mut();
            pg_sys::heap_multi_insert(
                relation,
                chunk,
                count as i32,
                command,
                SKIP_FREE_SPACE_MAP,
                std::ptr::null_mut(),
            );
            let mut last = block;
            for (slot, row) in slots.iter().zip(&run[first..first + count]) {
                let at = (**slot).tts_tid.ip_blkid;
                last = u32::from(at.bi_hi) << 16 | u32::from(at.bi_lo);
                indexes.note(*slot, last, row);
            }
            // How long a toasted row is shows on its page only. Had a row found no room where it was sent, it
            // would lie on a new page at the end, and nothing may be put before it any more.
            if last != block || run[first + count - 1].long {
                place.next = last + 1;
                place.blocks = count_blocks(relation);
                place.free = free_space(relation, last).unwrap_or(0);
            }
            first += count;
        }
    }
}
