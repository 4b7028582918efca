//! Rows as PostgreSQL stores them (htup_details.h), formed in one pass.

use pgrx::pg_sys;

/// Columns at most whose values are kept beside the row, for indexes of minima and maxima.
pub(super) const KEYS: usize = 2;
/// htup_details.h
const HEADER: usize = 23;
const HAS_NULL: u16 = 1;
const HAS_VARIABLE_WIDTH: u16 = 2;

#[derive(Clone, Copy)]
pub(super) struct Column {
    /// 0 for variable length.
    pub(super) width: u8,
    align: u8,
    /// Its place among the keys, if it has one.
    pub(super) key: Option<u8>,
}

impl Column {
    pub(super) fn new(width: u8, align: u8) -> Self {
        Self { width, align, key: None }
    }
}

/// Forms a row, column by column in the table's order, as heap_form_tuple() would (heaptuple.c).
pub struct Former {
    columns: Vec<Column>,
    bytes: Vec<u8>,
    data: usize,
    next: usize,
    keys: [i64; KEYS],
}

impl Former {
    pub(super) fn new(columns: Vec<Column>) -> Self {
        let data = (HEADER + columns.len().div_ceil(8)).next_multiple_of(8);
        Self { columns, bytes: Vec::with_capacity(2048), data, next: 0, keys: [0; KEYS] }
    }

    /// Begins a row.
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.bytes.resize(self.data, 0);
        self.next = 0;
    }

    /// The column at hand, marked as there.
    fn column(&mut self) -> Column {
        let number = self.next;
        self.next += 1;
        self.bytes[HEADER + number / 8] |= 1 << (number % 8);
        self.columns[number]
    }

    /// The data begin at a multiple of eight, so that offsets in the row are aligned as those in the data.
    fn align(&mut self, to: u8) {
        self.bytes.resize(self.bytes.len().next_multiple_of(usize::from(to)), 0);
    }

    /// The next column is NULL.
    pub fn null(&mut self) {
        self.next += 1;
    }

    /// The next `count` columns are NULL.
    pub fn nulls(&mut self, count: usize) {
        self.next += count;
    }

    /// boolean, smallint, integer, bigint or timestamptz.
    pub fn integer(&mut self, value: i64) {
        let column = self.column();
        self.align(column.align);
        match column.width {
            8 => self.bytes.extend_from_slice(&value.to_ne_bytes()),
            4 => self.bytes.extend_from_slice(&(value as i32).to_ne_bytes()),
            2 => self.bytes.extend_from_slice(&(value as i16).to_ne_bytes()),
            _ => self.bytes.push(value as u8),
        }
        if let Some(key) = column.key {
            self.keys[usize::from(key)] = value;
        }
    }

    /// text or bytea.
    pub fn text(&mut self, value: &[u8]) {
        let column = self.column();
        self.variable(column, value);
    }

    /// A whole datum with its header of four bytes, as those who make arrays make it.
    pub fn image(&mut self, image: &[u8]) {
        let column = self.column();
        self.variable(column, &image[4..]);
    }

    fn variable(&mut self, column: Column, value: &[u8]) {
        // A header of one byte, unaligned, where that can say the length (VARATT_CAN_MAKE_SHORT).
        if value.len() < 127 {
            let length = value.len() as u8 + 1;
            #[cfg(target_endian = "little")]
            self.bytes.push(length << 1 | 1);
            #[cfg(target_endian = "big")]
            self.bytes.push(length | 0x80);
        } else {
            self.align(column.align);
            self.bytes.extend_from_slice(&super::heap::header(4 + value.len()));
        }
        self.bytes.extend_from_slice(value);
    }

    /// Optional text.
    pub fn maybe_text(&mut self, value: Option<&[u8]>) {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    /// Optional datum.
    pub fn maybe_image(&mut self, image: Option<&[u8]>) {
        match image {
            Some(image) => self.image(image),
            None => self.null(),
        }
    }

    /// Optional number.
    pub fn maybe_integer(&mut self, value: Option<i64>) {
        match value {
            Some(value) => self.integer(value),
            None => self.null(),
        }
    }

    /// What the row has in the columns that are keys.
    pub(super) fn keys(&self) -> [i64; KEYS] {
        self.keys
    }

    /// The row as a tuple in the current memory context.
    ///
    /// # Safety
    /// Inside a transaction; the row was filled to its last column.
    pub(super) unsafe fn tuple(&mut self) -> pg_sys::HeapTuple {
        let (count, bytes) = (self.columns.len() as u16, &mut self.bytes);
        // t_ctid is invalid until the row lies on a page.
        bytes[12..16].fill(0xff);
        bytes[18..20].copy_from_slice(&count.to_ne_bytes());
        bytes[20..22].copy_from_slice(&(HAS_NULL | HAS_VARIABLE_WIDTH).to_ne_bytes());
        bytes[22] = self.data as u8;
        // SAFETY: one allocation as heap_form_tuple makes it: the description, then the row, both aligned.
        unsafe {
            let room = size_of::<pg_sys::HeapTupleData>().next_multiple_of(8);
            let tuple = pg_sys::palloc(room + bytes.len()).cast::<pg_sys::HeapTupleData>();
            let data = tuple.cast::<u8>().add(room);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), data, bytes.len());
            tuple.write(std::mem::zeroed());
            (*tuple).t_len = bytes.len() as u32;
            (*tuple).t_self.ip_blkid.bi_hi = u16::MAX;
            (*tuple).t_self.ip_blkid.bi_lo = u16::MAX;
            (*tuple).t_data = data.cast();
            tuple
        }
    }
}
