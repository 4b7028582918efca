//! What lies in a tuple: where its values are, and what they are. Without leaving its bytes: a page may be damaged.

use pgrx::pg_sys::{self, Oid};

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

/// The types whose values are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int8,
    Int4,
    Int2,
    Boolean,
    Text,
    Bytes,
    Texts,
    Integers,
    Other,
}

impl Kind {
    pub(super) fn of(type_id: Oid) -> Self {
        match type_id {
            pg_sys::INT8OID | pg_sys::TIMESTAMPTZOID => Self::Int8,
            pg_sys::INT4OID => Self::Int4,
            pg_sys::INT2OID => Self::Int2,
            pg_sys::BOOLOID => Self::Boolean,
            pg_sys::TEXTOID => Self::Text,
            pg_sys::BYTEAOID => Self::Bytes,
            pg_sys::TEXTARRAYOID => Self::Texts,
            pg_sys::INT8ARRAYOID => Self::Integers,
            _ => Self::Other,
        }
    }
}

/// What is to be known of a column to find its value in a tuple (pg_attribute).
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub(super) kind: Kind,
    /// Bytes; below 0 for what says itself how long it is.
    pub(super) length: i16,
    /// A power of two.
    pub(super) alignment: usize,
}

/// Where in a tuple a value lies: a varlena's behind its header, unless it lies elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Null,
    /// Not in the tuple: the page is damaged.
    Lost,
    Here(u16, u16),
    /// A compressed or outsourced value, with its header.
    Elsewhere(u16, u16),
}

#[inline]
pub(super) fn read(bytes: &[u8], kind: Kind) -> Option<Value<'_>> {
    Some(match kind {
        Kind::Int8 => Value::Integer(i64::from_ne_bytes(first(bytes)?)),
        Kind::Int4 => Value::Integer(i32::from_ne_bytes(first(bytes)?).into()),
        Kind::Int2 => Value::Integer(i16::from_ne_bytes(first(bytes)?).into()),
        Kind::Boolean => Value::Boolean(*bytes.first()? != 0),
        Kind::Text => Value::Text(bytes),
        Kind::Bytes => Value::Bytes(bytes),
        Kind::Texts => Value::Texts(Array::of(bytes, pg_sys::TEXTOID)?),
        Kind::Integers => Value::Integers(Array::of(bytes, pg_sys::INT8OID)?),
        Kind::Other => return None,
    })
}

#[inline]
pub(super) fn first<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
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

/// Finds where the values of a tuple lie (heaptuple.c: heap_deform_tuple), without leaving it: a page may be
/// damaged. Most columns of most rows are NULL: only those are gone through that are not.
#[inline]
pub(super) fn find(
    found: &mut [Found],
    columns: &[Column],
    data: &[u8],
    stored: usize,
    present: Option<&[u8]>,
) {
    found.fill(Found::Null);
    let stored = stored.min(columns.len());
    let mut at = 0;
    for base in (0..stored).step_by(64) {
        let mut bits = present.map_or(u64::MAX, |present| word_of_bits(present, base / 8));
        if let Some(beyond @ 1..) = (base + 64).checked_sub(stored) {
            bits &= u64::MAX >> beyond;
        }
        while bits != 0 {
            let n = base + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            let (Some(found), Some(column)) = (found.get_mut(n), columns.get(n)) else { return };
            match locate(column, data, at) {
                Some((value, end)) => (*found, at) = (value, end),
                None => (*found, at) = (Found::Lost, data.len()),
            }
        }
    }
}

/// Eight bytes of a map of bits, the first bit lowest; those behind its end are 0.
#[inline]
fn word_of_bits(bits: &[u8], from: usize) -> u64 {
    let bits = bits.get(from..).unwrap_or_default();
    match bits.first_chunk() {
        Some(whole) => u64::from_le_bytes(*whole),
        None => bits.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    }
}

/// The value of a column that begins at `at` or behind the padding there, and where it ends.
#[inline]
fn locate(column: &Column, data: &[u8], at: usize) -> Option<(Found, usize)> {
    let aligned = (at + column.alignment - 1) & !(column.alignment - 1);
    if let Ok(length) = u16::try_from(column.length) {
        let end = aligned + usize::from(length);
        return (end <= data.len()).then_some((Found::Here(u16::try_from(aligned).ok()?, length), end));
    }
    if column.length != -1 {
        return None;
    }
    // A byte of padding is 0, which the first byte of no short header is.
    let start = if *data.get(at)? != 0 { at } else { aligned };
    let (form, length) = form(data.get(start..)?)?;
    let end = start + length;
    let within = u16::try_from(start).ok().zip(u16::try_from(length).ok()).filter(|_| end <= data.len());
    let (start, length) = within?;
    let value = match form {
        Form::Short => Found::Here(start + 1, length.checked_sub(1)?),
        Form::Plain => Found::Here(start + HEADER as u16, length - HEADER as u16),
        Form::Elsewhere => Found::Elsewhere(start, length),
    };
    Some((value, end))
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

#[cfg(test)]
mod tests {
    use super::*;

    use Found::{Here, Lost, Null};

    const COLUMNS: [Column; 4] = [
        Column { kind: Kind::Int2, length: 2, alignment: 2 },
        Column { kind: Kind::Text, length: -1, alignment: 4 },
        Column { kind: Kind::Int8, length: 8, alignment: 8 },
        Column { kind: Kind::Boolean, length: 1, alignment: 1 },
    ];

    fn found(data: &[u8], stored: usize, present: Option<&[u8]>) -> [Found; 4] {
        let mut found = [Found::Lost; 4];
        find(&mut found, &COLUMNS, data, stored, present);
        found
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn values_are_found_where_they_begin() {
        // 7, 'ab' with a short header, -1, true
        let mut data = vec![7, 0, 3 << 1 | 1, b'a', b'b', 0, 0, 0];
        data.extend([0xff; 8]);
        data.push(1);
        assert_eq!(found(&data, 4, None), [Here(0, 2), Here(3, 2), Here(8, 8), Here(16, 1)]);
        // without the text
        assert_eq!(found(&data, 4, Some(&[0b1101])), [Here(0, 2), Null, Here(8, 8), Here(16, 1)]);
        // a column that was added later
        assert_eq!(found(&data, 3, None), [Here(0, 2), Here(3, 2), Here(8, 8), Null]);
        // with a header of four bytes, which is aligned
        let mut long = vec![7, 0, 0, 0];
        long.extend((6_u32 << 2).to_le_bytes());
        long.extend(*b"ab");
        long.extend([0; 6]);
        long.extend([0xff; 9]);
        assert_eq!(found(&long, 4, None), [Here(0, 2), Here(8, 2), Here(16, 8), Here(24, 1)]);
    }

    #[cfg(target_endian = "little")]
    #[test]
    fn what_a_damaged_tuple_points_to_is_not_followed() {
        assert_eq!(found(&[7, 0, 0xff], 4, None), [Here(0, 2), Lost, Lost, Lost], "a text beyond the end");
        assert_eq!(found(&[], 4, None), [Lost; 4]);
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
