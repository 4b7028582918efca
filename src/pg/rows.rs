//! Reading tables below SQL, page by page in the order in which they lie there: no index, no plan, no
//! privileges; for the verifier.

use super::catalog::{self, in_own_memory};
use super::local::process_local;
pub use super::tuple::Value;
use super::tuple::{Column, Found, Kind, find, first, read};
use super::version;
use crate::error::ServerError;
use pgrx::memcxt::PgMemoryContexts;
use pgrx::pg_sys::{self, Oid};
use pgrx::varlena;
use std::cell::Cell;
use std::ops::Range;

/// Runs `work` on the newest committed state: all that is read in it below is of one moment.
pub fn with_newest_state<R>(work: impl FnOnce() -> R) -> R {
    // SAFETY: inside a transaction; after an ERROR its abort pops the snapshot.
    unsafe { pg_sys::PushActiveSnapshot(pg_sys::GetLatestSnapshot()) };
    let result = work();
    // SAFETY: the snapshot pushed above.
    unsafe { pg_sys::PopActiveSnapshot() };
    result
}

/// The tables that hold the rows of `relid`: itself, or its partitions.
pub fn leaves(relid: Oid) -> Result<Vec<Oid>, ServerError> {
    match catalog::relation_kind(relid) {
        Some(pg_sys::RELKIND_RELATION) => return Ok(vec![relid]),
        Some(pg_sys::RELKIND_PARTITIONED_TABLE) => (),
        _ => return Ok(Vec::new()),
    }
    let mut found = Vec::new();
    for child in catalog::heirs(relid)? {
        found.extend(leaves(child)?);
    }
    Ok(found)
}

/// Number of pages of a table.
pub fn blocks(relid: Oid) -> u32 {
    // SAFETY: opened and closed here, or by the abort that an ERROR causes.
    unsafe {
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let blocks = pg_sys::RelationGetNumberOfBlocksInFork(relation, pg_sys::ForkNumber::MAIN_FORKNUM);
        // The lock stays until the end of the transaction: the table does while we look at it.
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        blocks
    }
}

/// Names of a table's columns.
pub fn column_names(relid: Oid) -> Vec<String> {
    // SAFETY: opened and closed here, or by the abort that an ERROR causes.
    unsafe {
        let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
        let desc = (*relation).rd_att;
        let name =
            |column: i32| version::attribute_name(desc, column as usize).to_string_lossy().into_owned();
        let names = (0..(*desc).natts).map(name).collect();
        pg_sys::table_close(relation, pg_sys::NoLock as i32);
        names
    }
}

/// Where a row lies: page, and place among those that are read of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub block: u32,
    pub offset: u16,
}

/// A row, for as long as it is looked at.
pub struct Row<'a> {
    /// The tuple behind its header.
    data: &'a [u8],
    found: &'a [Found],
    columns: &'a [Column],
    memory: &'a Memory,
}

impl<'a> Row<'a> {
    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The value of a column, counted from 0.
    #[inline]
    pub fn cell(&self, column: usize) -> Value<'a> {
        let (Some(found), Some(column)) = (self.found.get(column), self.columns.get(column)) else {
            return Value::Other;
        };
        let bytes = match *found {
            Found::Null => return Value::Null,
            Found::Lost => return Value::Other,
            Found::Here(at, length) => self.bytes_at(at, length),
            Found::Elsewhere(at, length) => self.bytes_at(at, length).map(|whole| {
                // SAFETY: a compressed or outsourced value, whole, in the page that is pinned while the row is looked at.
                unsafe { self.memory.fetch(whole) }
            }),
        };
        bytes.and_then(|bytes| read(bytes, column.kind)).unwrap_or(Value::Other)
    }

    #[inline]
    fn bytes_at(&self, at: u16, length: u16) -> Option<&'a [u8]> {
        self.data.get(usize::from(at)..usize::from(at) + usize::from(length))
    }

    /// The value of a bigint column.
    #[inline]
    pub fn integer(&self, column: usize) -> Option<i64> {
        match self.cell(column) {
            Value::Integer(value) => Some(value),
            _ => None,
        }
    }

    /// The value of a bytea column.
    #[inline]
    pub fn bytes(&self, column: usize) -> Option<&'a [u8]> {
        match self.cell(column) {
            Value::Bytes(value) => Some(value),
            _ => None,
        }
    }
}

/// Memory for values that are not read as they lie in the page.
struct Memory {
    context: PgMemoryContexts,
    used: Cell<bool>,
}

impl Memory {
    /// # Safety
    /// `value` is a whole varlena, compressed or outsourced; the result is not looked at after [`Memory::reset`].
    // Out of the way, so that what reads every value stays small enough to be inlined.
    #[cold]
    #[inline(never)]
    unsafe fn fetch<'a>(&self, value: &[u8]) -> &'a [u8] {
        self.used.set(true);
        // SAFETY: as the caller promises; the copy lies in our memory.
        unsafe {
            let before = pg_sys::CurrentMemoryContext;
            pg_sys::CurrentMemoryContext = self.context.value();
            let whole = pg_sys::pg_detoast_datum(value.as_ptr().cast_mut().cast());
            pg_sys::CurrentMemoryContext = before;
            varlena::varlena_to_byte_slice(whole)
        }
    }

    fn reset(&mut self) {
        if self.used.replace(false) {
            // SAFETY: nobody looks at the row any more.
            unsafe { self.context.reset() }
        }
    }
}

/// # Safety
/// `desc` has more than `column` columns.
unsafe fn describe(desc: pg_sys::TupleDesc, column: usize) -> Column {
    // SAFETY: as the caller promises.
    let (type_id, length, alignment) = unsafe { version::attribute_form(desc, column) };
    // pg_type.h: TYPALIGN_CHAR, _SHORT, _INT, _DOUBLE
    let alignment = match alignment {
        b'c' => 1,
        b's' => 2,
        b'i' => 4,
        _ => 8,
    };
    Column { kind: Kind::of(type_id), length, alignment }
}

/// A tuple in a page, with its header.
#[derive(Clone, Copy)]
struct Tuple<'a>(&'a [u8]);

/// The tuple with this number in a page (bufpage.h, itemid.h), if it lies in the page.
///
/// # Safety
/// The page is one of PostgreSQL's.
unsafe fn tuple_at(page: &[u8], number: u16) -> Option<Tuple<'_>> {
    let item = std::mem::offset_of!(pg_sys::PageHeaderData, pd_linp)
        + size_of::<pg_sys::ItemIdData>() * usize::from(number).checked_sub(1)?;
    let item = page.get(item..item + size_of::<pg_sys::ItemIdData>())?;
    // SAFETY: four bytes, of which each combination is an item.
    let item = unsafe { item.as_ptr().cast::<pg_sys::ItemIdData>().read_unaligned() };
    let start = item.lp_off() as usize;
    let tuple = page.get(start..start + item.lp_len() as usize)?;
    (tuple.len() >= std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits)).then_some(Tuple(tuple))
}

impl<'a> Tuple<'a> {
    /// Its values, how many there are, and which are not NULL (htup_details.h).
    #[inline]
    fn parts(&self) -> (&'a [u8], usize, Option<&'a [u8]>) {
        let half = |at: usize| self.0.get(at..).and_then(first).map_or(0, u16::from_ne_bytes);
        let start = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_hoff);
        let start = self.0.get(start).copied().map_or(usize::MAX, usize::from);
        let flags = u32::from(half(std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_infomask)));
        let stored = u32::from(half(std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_infomask2)));
        let bits = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
        let present = if flags & pg_sys::HEAP_HASNULL != 0 {
            Some(self.0.get(bits..start).unwrap_or_default())
        } else {
            None
        };
        (self.0.get(start..).unwrap_or_default(), (stored & pg_sys::HEAP_NATTS_MASK) as usize, present)
    }
}

/// Looks at each line of a page once: what is not in the processor's caches comes at once, and not value by value,
/// each waiting for the length of the one before (that took a third of the time of a scan).
fn fetch(page: &[u8]) {
    const CACHE_LINE: usize = 64;
    std::hint::black_box(page.iter().step_by(CACHE_LINE).fold(0, |all, byte| all ^ byte));
}

/// By what the rows of a page are ordered: their first column, if it is a bigint.
fn key(tuple: Tuple<'_>, columns: &[Column]) -> i64 {
    let (data, _, present) = tuple.parts();
    let is_number = columns.first().is_some_and(|column| column.kind == Kind::Int8)
        && present.is_none_or(|bits| bits.first().is_some_and(|bits| bits & 1 == 1));
    if is_number { first(data).map_or(i64::MIN, i64::from_ne_bytes) } else { i64::MIN }
}

/// Reads the rows in these pages of a table that the active snapshot sees, page after page and within a page by
/// their first column, if that is a bigint. `each` returns
/// whether to go on; so does this.
pub fn scan(relid: Oid, pages: Range<u32>, mut each: impl FnMut(Place, &Row<'_>) -> bool) -> bool {
    match SINGLY.get() {
        true => pages.into_iter().all(|page| scan_together(relid, page..page + 1, &mut each)),
        false => scan_together(relid, pages, &mut each),
    }
}

process_local! {
    static SINGLY: Cell<bool> = const { Cell::new(false) };
}

/// Has `work` read each page by itself: later versions read ahead (read_stream.c), and an ERROR of one page is then
/// raised before those in front of it are seen.
pub fn singly<R>(work: impl FnOnce() -> R) -> R {
    SINGLY.set(true);
    let result = work();
    SINGLY.set(false);
    result
}

fn scan_together(relid: Oid, pages: Range<u32>, each: &mut dyn FnMut(Place, &Row<'_>) -> bool) -> bool {
    if pages.is_empty() {
        return true;
    }
    in_own_memory("pg_custodian scan", || {
        // SAFETY: a sequential scan (heapam.c) on the active snapshot; closed here or by the abort that an ERROR causes.
        // Values live in the page, pinned until the next tuple is asked for, or in memory that is reset then.
        unsafe {
            let relation = pg_sys::table_open(relid, pg_sys::AccessShareLock as i32);
            let desc = (*relation).rd_att;
            let columns = (*desc).natts as usize;
            let columns: Vec<Column> = (0..columns).map(|column| describe(desc, column)).collect();
            let scan = pg_sys::heap_beginscan(
                relation,
                pg_sys::GetActiveSnapshot(),
                0,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                pg_sys::ScanOptions::SO_TYPE_SEQSCAN
                    | pg_sys::ScanOptions::SO_ALLOW_STRAT
                    | pg_sys::ScanOptions::SO_ALLOW_PAGEMODE,
            );
            pg_sys::heap_setscanlimits(scan, pages.start, pages.end - pages.start);
            let mut found = vec![Found::Null; columns.len()];
            let mut memory =
                Memory { context: PgMemoryContexts::new("pg_custodian row"), used: Cell::new(false) };
            let (mut go_on, mut order) = (true, Vec::new());
            while go_on {
                let tuple = pg_sys::heap_getnext(scan, pg_sys::ScanDirection::ForwardScanDirection);
                if tuple.is_null() {
                    break;
                }
                let at = (*tuple).t_self.ip_blkid;
                let block = u32::from(at.bi_hi) << 16 | u32::from(at.bi_lo);
                // The first tuple of a page: all that are visible there are known now (heapam.c: heapgetpage), and are
                // taken at once, by their first column, from the page that stays pinned.
                let state = scan.cast::<pg_sys::HeapScanDescData>();
                let page = pg_sys::BufferGetPage((*state).rs_cbuf).cast::<u8>();
                let page = std::slice::from_raw_parts(page, pg_sys::BLCKSZ as usize);
                let count = (*state).rs_ntuples;
                fetch(page);
                order.clear();
                for offset in (*state).rs_vistuples.iter().take(count as usize) {
                    let Some(tuple) = tuple_at(page, *offset) else { continue };
                    order.push((key(tuple, &columns), tuple));
                }
                if !order.is_sorted_by_key(|(key, _)| *key) {
                    order.sort_by_key(|(key, _)| *key);
                }
                for (offset, (_, tuple)) in (0..).zip(&order) {
                    let (data, stored, present) = tuple.parts();
                    find(&mut found, &columns, data, stored, present);
                    let row = Row { data, found: &found, columns: &columns, memory: &memory };
                    go_on = each(Place { block, offset }, &row);
                    memory.reset();
                    if !go_on {
                        break;
                    }
                }
                // On with the next page.
                (*state).rs_cindex = count - 1;
                pg_sys::check_for_interrupts!();
            }
            pg_sys::heap_endscan(scan);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            go_on
        }
    })
}
