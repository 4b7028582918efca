//! A table of ours, read whole by whatever transaction has to know what it says.
//!
//! Promise: nothing of it shows there. PostgreSQL's own scans take predicate locks in SERIALIZABLE transactions
//! (heapam.c: heap_beginscan), and statements of an application that knows nothing of us would fail when the
//! configuration changes beside them.

use pgrx::pg_sys;

/// Calls `each` with the rows that are there for the snapshot of catalogs, until it returns false.
///
/// # Safety
/// `relation` is an open table, not very large. The rows are copies in the memory context at hand.
pub(super) unsafe fn scan(relation: pg_sys::Relation, mut each: impl FnMut(pg_sys::HeapTuple) -> bool) {
    // SAFETY: as the caller promises; a page is pinned and locked while it is looked at, as heapam.c does (heapgetpage).
    unsafe {
        let snapshot = pg_sys::RegisterSnapshot(pg_sys::GetCatalogSnapshot((*relation).rd_id));
        let fork = pg_sys::ForkNumber::MAIN_FORKNUM;
        'pages: for block in 0..pg_sys::RelationGetNumberOfBlocksInFork(relation, fork) {
            let buffer = pg_sys::ReadBuffer(relation, block);
            pg_sys::heap_page_prune_opt(relation, buffer);
            pg_sys::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let rows = visible(relation, block, buffer, snapshot);
            pg_sys::UnlockReleaseBuffer(buffer);
            for row in rows {
                if !each(row) {
                    break 'pages;
                }
            }
        }
        pg_sys::UnregisterSnapshot(snapshot);
    }
}

/// Copies of the rows of a page that the snapshot sees.
///
/// # Safety
/// The buffer holds this page of the relation, and is locked.
unsafe fn visible(
    relation: pg_sys::Relation,
    block: pg_sys::BlockNumber,
    buffer: pg_sys::Buffer,
    snapshot: pg_sys::Snapshot,
) -> Vec<pg_sys::HeapTuple> {
    let mut rows = Vec::new();
    // SAFETY: as the caller promises; items up to the page's last are there, and normal ones are tuples (bufpage.h).
    unsafe {
        let page = pg_sys::BufferGetPage(buffer);
        for offset in 1..=pg_sys::PageGetMaxOffsetNumber(page) {
            let item = pg_sys::PageGetItemId(page, offset);
            if (*item).lp_flags() != pg_sys::LP_NORMAL {
                continue;
            }
            let mut tuple = pg_sys::HeapTupleData {
                t_len: (*item).lp_len(),
                t_self: pg_sys::ItemPointerData {
                    ip_blkid: pg_sys::BlockIdData { bi_hi: (block >> 16) as u16, bi_lo: block as u16 },
                    ip_posid: offset,
                },
                t_tableOid: (*relation).rd_id,
                t_data: pg_sys::PageGetItem(page, item).cast(),
            };
            if pg_sys::HeapTupleSatisfiesVisibility(&raw mut tuple, snapshot, buffer) {
                rows.push(pg_sys::heap_copytuple(&raw mut tuple));
            }
        }
    }
    rows
}
