//! Reading tables below SQL, page by page in the order in which they lie there: no index, no plan, no
//! privileges; for the verifier.

use super::catalog::{self, in_own_memory};
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
    let mut children = Vec::new();
    catalog::scan(catalog::INHERITS_CATALOG, &["inhparent", "inhrelid"], |row| {
        if row.oid(0) == Some(relid) {
            children.extend(row.oid(1));
        }
        true
    })?;
    let mut found = Vec::new();
    for child in children {
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

/// A column's value.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    Null,
    /// boolean, smallint, integer, bigint, timestamptz
    Integer(i64),
    Boolean(bool),
    Text(&'a [u8]),
    Texts(Array<'a>),
    Integers(Array<'a>),
    Bytes(&'a [u8]),
    /// Of a type that is none of these, or an array that is not one-dimensional from 1 on.
    Other,
}

/// What is to be known of a column to find its value in a tuple (pg_attribute).
#[derive(Debug, Clone, Copy)]
struct Column {
    kind: Oid,
    /// Bytes; below 0 for what says itself how long it is.
    length: i16,
    /// A power of two.
    alignment: usize,
}

/// A column that is NULL, among the places of values.
const NULL: u32 = u32::MAX;
/// A column whose value does not lie in the tuple: the page is damaged.
const LOST: u32 = u32::MAX - 1;

/// A row, for as long as it is looked at.
pub struct Row<'a> {
    /// The tuple behind its header.
    data: &'a [u8],
    /// Where in it the values begin.
    places: &'a [u32],
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
        let (Some(place), Some(column)) = (self.places.get(column), self.columns.get(column)) else {
            return Value::Other;
        };
        if *place == NULL {
            return Value::Null;
        }
        let bytes = self.data.get(*place as usize..).unwrap_or_default();
        self.read(bytes, column.kind).unwrap_or(Value::Other)
    }

    #[inline]
    fn read(&self, bytes: &'a [u8], kind: Oid) -> Option<Value<'a>> {
        Some(match kind {
            pg_sys::INT8OID | pg_sys::TIMESTAMPTZOID => Value::Integer(i64::from_ne_bytes(first(bytes)?)),
            pg_sys::INT4OID => Value::Integer(i32::from_ne_bytes(first(bytes)?).into()),
            pg_sys::INT2OID => Value::Integer(i16::from_ne_bytes(first(bytes)?).into()),
            pg_sys::BOOLOID => Value::Boolean(*bytes.first()? != 0),
            pg_sys::TEXTOID => Value::Text(self.flat(bytes)?),
            pg_sys::BYTEAOID => Value::Bytes(self.flat(bytes)?),
            pg_sys::TEXTARRAYOID => Value::Texts(Array::of(self.flat(bytes)?, pg_sys::TEXTOID)?),
            pg_sys::INT8ARRAYOID => Value::Integers(Array::of(self.flat(bytes)?, pg_sys::INT8OID)?),
            _ => return None,
        })
    }

    /// The bytes behind a varlena's header.
    #[inline]
    fn flat(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (form, length) = form(bytes)?;
        match form {
            Form::Short => bytes.get(1..length),
            Form::Plain => bytes.get(HEADER..length),
            Form::Elsewhere => {
                let whole = bytes.get(..length)?;
                // SAFETY: a compressed or outsourced value, whole, in the page that is pinned while the row is looked at.
                Some(unsafe { self.memory.fetch(whole) })
            }
        }
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

#[inline]
fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.first_chunk().copied()
}

/// How a varlena is stored.
enum Form {
    /// With a header of one byte.
    Short,
    /// With a header of four.
    Plain,
    /// Compressed, or in another table.
    Elsewhere,
}

/// How a varlena is stored, and its length with all headers (varatt.h).
#[inline]
fn form(bytes: &[u8]) -> Option<(Form, usize)> {
    /// Length of a pointer into the table of outsourced values.
    const POINTER: usize = 18;
    let tag = *bytes.first()?;
    #[cfg(target_endian = "little")]
    let (short, pointer, plain, length) = (tag & 1 == 1, tag == 1, tag & 3 == 0, tag >> 1);
    #[cfg(target_endian = "big")]
    let (short, pointer, plain, length) = (tag & 0x80 != 0, tag == 0x80, tag & 0xc0 == 0, tag & 0x7f);
    if pointer {
        return (usize::from(*bytes.get(1)?) == POINTER).then_some((Form::Elsewhere, POINTER));
    }
    if short {
        return Some((Form::Short, length.into()));
    }
    let word = u32::from_ne_bytes(first(bytes)?);
    #[cfg(target_endian = "little")]
    let length = word as usize >> 2;
    #[cfg(target_endian = "big")]
    let length = (word & 0x3fff_ffff) as usize;
    (length >= HEADER).then_some((if plain { Form::Plain } else { Form::Elsewhere }, length))
}

/// Finds where the values of a tuple begin (heaptuple.c: heap_deform_tuple), without leaving it: a page may be
/// damaged.
#[inline]
fn find(places: &mut [u32], columns: &[Column], data: &[u8], stored: usize, present: Option<&[u8]>) {
    let mut at = 0;
    for (n, (place, column)) in places.iter_mut().zip(columns).enumerate() {
        let there = n < stored
            && present.is_none_or(|bits| bits.get(n / 8).is_some_and(|bits| bits >> (n % 8) & 1 == 1));
        if !there {
            *place = NULL;
            continue;
        }
        // A byte of padding is 0, which the first byte of no short header is.
        let packed = column.length == -1 && data.get(at).is_some_and(|byte| *byte != 0);
        if !packed {
            at = (at + column.alignment - 1) & !(column.alignment - 1);
        }
        let length = match usize::try_from(column.length) {
            Ok(length) => Some(length),
            Err(_) if column.length == -1 => data.get(at..).and_then(form).map(|(_, length)| length),
            Err(_) => None,
        };
        match length.filter(|length| at + length <= data.len()) {
            Some(length) => {
                *place = at as u32;
                at += length;
            }
            None => {
                *place = LOST;
                at = data.len();
            }
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

/// A one-dimensional array that starts at 1, as it lies in the page (array.h).
#[derive(Debug, Clone, Copy)]
pub struct Array<'a> {
    count: usize,
    /// One bit for each element that is there; empty if all are.
    present: &'a [u8],
    data: &'a [u8],
}

/// Bytes of a varlena's header; an array counts its offsets from there.
const HEADER: usize = 4;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

impl<'a> Array<'a> {
    fn of(body: &'a [u8], kind: Oid) -> Option<Self> {
        let (dimensions, offset) = (word(body, 0)?, word(body, 4)? as usize);
        if word(body, 8)? != kind.to_u32() {
            return None;
        }
        if dimensions == 0 {
            return Some(Self { count: 0, present: &[], data: &[] });
        }
        let count = word(body, 12)? as usize;
        if dimensions != 1 || word(body, 16)? != 1 {
            return None;
        }
        let fixed = 20;
        let (present, data) = match offset {
            0 => (&[][..], body.get((HEADER + fixed).next_multiple_of(8) - HEADER..)?),
            _ => (body.get(fixed..fixed + count.div_ceil(8))?, body.get(offset.checked_sub(HEADER)?..)?),
        };
        // An element that is there takes its header at least: a damaged count promises no more than that.
        (!present.is_empty() || count <= data.len() / HEADER).then_some(Self { count, present, data })
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.count
    }

    fn is_present(&self, n: usize) -> bool {
        self.present.is_empty() || self.present.get(n / 8).is_some_and(|bits| bits >> (n % 8) & 1 == 1)
    }

    /// Calls `each` with every element of a text[]; false if the array is damaged.
    #[inline]
    pub fn texts(&self, mut each: impl FnMut(Option<&'a [u8]>)) -> bool {
        let mut at = 0;
        for n in 0..self.count {
            if !self.is_present(n) {
                each(None);
                continue;
            }
            // The data begin at a multiple of eight, so places in them are aligned as in the whole.
            at = (at + 3) & !3;
            let Some(length) = word(self.data, at).and_then(whole_length) else { return false };
            let Some(text) = self.data.get(at + HEADER..at + length) else { return false };
            each(Some(text));
            at += length;
        }
        true
    }

    /// Calls `each` with every element of a bigint[] without NULLs; false if the array is another one.
    #[inline]
    pub fn integers(&self, mut each: impl FnMut(i64)) -> bool {
        if !self.present.is_empty() {
            return false;
        }
        let Some(data) = self.data.get(..self.count * 8) else { return false };
        for value in data.as_chunks::<8>().0 {
            each(i64::from_ne_bytes(*value));
        }
        true
    }
}

/// Length of an uncompressed element, its header included (varatt.h: VARSIZE_4B).
fn whole_length(header: u32) -> Option<usize> {
    #[cfg(target_endian = "little")]
    let (plain, length) = (header & 3 == 0, header >> 2);
    #[cfg(target_endian = "big")]
    let (plain, length) = (header & 0xc000_0000 == 0, header);
    (plain && length as usize >= HEADER).then_some(length as usize)
}

/// # Safety
/// `desc` has more than `column` columns.
unsafe fn describe(desc: pg_sys::TupleDesc, column: usize) -> Column {
    // SAFETY: as the caller promises.
    let (kind, length, alignment) = unsafe { version::attribute_form(desc, column) };
    // pg_type.h: TYPALIGN_CHAR, _SHORT, _INT, _DOUBLE
    let alignment = match alignment {
        b'c' => 1,
        b's' => 2,
        b'i' => 4,
        _ => 8,
    };
    Column { kind, length, alignment }
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

/// By what the rows of a page are ordered: their first column, if it is a bigint.
fn key(tuple: Tuple<'_>, columns: &[Column]) -> i64 {
    let (data, _, present) = tuple.parts();
    let is_number = columns.first().is_some_and(|column| column.kind == pg_sys::INT8OID)
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

thread_local! {
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
            let mut places = vec![NULL; columns.len()];
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
                    find(&mut places, &columns, data, stored, present);
                    let row = Row { data, places: &places, columns: &columns, memory: &memory };
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

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column { kind: pg_sys::INT2OID, length: 2, alignment: 2 },
        Column { kind: pg_sys::TEXTOID, length: -1, alignment: 4 },
        Column { kind: pg_sys::INT8OID, length: 8, alignment: 8 },
        Column { kind: pg_sys::BOOLOID, length: 1, alignment: 1 },
    ];

    fn found(data: &[u8], stored: usize, present: Option<&[u8]>) -> [u32; 4] {
        let mut places = [0; 4];
        find(&mut places, &COLUMNS, data, stored, present);
        places
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn values_are_found_where_they_begin() {
        // 7, 'ab' with a short header, -1, true
        let mut data = vec![7, 0, 3 << 1 | 1, b'a', b'b', 0, 0, 0];
        data.extend([0xff; 8]);
        data.push(1);
        assert_eq!(found(&data, 4, None), [0, 2, 8, 16]);
        // without the text
        assert_eq!(found(&data, 4, Some(&[0b1101])), [0, NULL, 8, 16]);
        // a column that was added later
        assert_eq!(found(&data, 3, None), [0, 2, 8, NULL]);
        // with a header of four bytes, which is aligned
        let mut long = vec![7, 0, 0, 0];
        long.extend((6_u32 << 2).to_le_bytes());
        long.extend(*b"ab");
        long.extend([0; 6]);
        long.extend([0xff; 9]);
        assert_eq!(found(&long, 4, None), [0, 4, 16, 24]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_a_damaged_tuple_points_to_is_not_followed() {
        assert_eq!(found(&[7, 0, 0xff], 4, None), [0, LOST, LOST, LOST], "a text beyond the end");
        assert_eq!(found(&[], 4, None), [LOST; 4]);
        let body: Vec<u8> = [1_u32, 0, 25, 1000, 1].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(Array::of(&body, pg_sys::TEXTOID).is_none(), "an array without its elements");
        let mut with = body.clone();
        with.extend([0xff; 64]);
        assert!(!Array::of(&with, pg_sys::TEXTOID).is_some_and(|array| array.texts(|_| ())));
        assert!(Array::of(&with, pg_sys::INT8OID).is_none(), "of another type");
        let two: Vec<u8> = [2_u32, 0, 25, 1, 1, 1, 1].iter().flat_map(|word| word.to_ne_bytes()).collect();
        assert!(Array::of(&two, pg_sys::TEXTOID).is_none(), "of two dimensions");
    }
}
