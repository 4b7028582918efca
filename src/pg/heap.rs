//! Tables below SQL: datums, the only row of a table; [`super::append`] adds rows and [`super::rows`] reads them.

use super::catalog::in_own_memory;
use crate::error::ServerError;
use pgrx::pg_sys::{self, Datum, Oid};

/// A column's value on its way into a table.
#[derive(Debug, Clone, Copy)]
pub enum Value<'a> {
    /// boolean, smallint, integer, bigint, timestamptz
    Integer(i64),
    /// The whole variable-length datum, as [`varlena`], [`text_array`] and [`bigint_array`] make it.
    Varlena(&'a [u8]),
}

/// A text or bytea as a datum: a four-byte header, then the bytes (c.h, postgres.h).
pub fn varlena(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + bytes.len());
    put_varlena(&mut out, bytes);
    out
}

/// Appends a text or bytea as a datum.
pub fn put_varlena(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&header(4 + bytes.len()));
    out.extend_from_slice(bytes);
}

/// The header of an uncompressed datum of `length` bytes in all.
pub(super) fn header(length: usize) -> [u8; 4] {
    #[cfg(target_endian = "little")]
    return ((length as u32) << 2).to_ne_bytes();
    #[cfg(target_endian = "big")]
    return (length as u32).to_ne_bytes();
}

/// The header of a one-dimensional array that starts at 1 (array.h), NULLs marked in a bitmap.
fn array_header(kind: Oid, count: usize, nulls: Option<&[bool]>) -> Vec<u8> {
    let fixed = 4 * 6;
    let offset = nulls.map_or(0, |nulls| (fixed + nulls.len().div_ceil(8)).next_multiple_of(8));
    let mut out = Vec::with_capacity(offset.max(fixed) + 16 * count);
    for word in [0, 1, offset as u32, kind.to_u32(), count as u32, 1] {
        out.extend_from_slice(&word.to_ne_bytes());
    }
    if let Some(nulls) = nulls {
        for eight in nulls.chunks(8) {
            // A set bit means that the element is there.
            out.push(eight.iter().enumerate().fold(0, |bits, (i, null)| bits | u8::from(!null) << i));
        }
        out.resize(offset, 0);
    }
    out
}

fn close_array(mut out: Vec<u8>) -> Vec<u8> {
    let length = header(out.len());
    out[..4].copy_from_slice(&length);
    out
}

/// A text[] as a datum.
pub fn text_array<'a>(values: impl ExactSizeIterator<Item = Option<&'a [u8]>> + Clone) -> Vec<u8> {
    let nulls: Vec<bool> = values.clone().map(|value| value.is_none()).collect();
    let bitmap = nulls.contains(&true).then_some(nulls.as_slice());
    let mut out = array_header(pg_sys::TEXTOID, values.len(), bitmap);
    for value in values.flatten() {
        out.resize(out.len().next_multiple_of(4), 0);
        put_varlena(&mut out, value);
    }
    close_array(out)
}

/// A bigint[] as a datum.
pub fn bigint_array(values: &[i64]) -> Vec<u8> {
    let mut out = array_header(pg_sys::INT8OID, values.len(), None);
    for value in values {
        out.extend_from_slice(&value.to_ne_bytes());
    }
    close_array(out)
}

/// Replaces columns of the only row of the table `relid`: pairs of a column's number, from 1, and its value.
pub fn update_only_row(relid: Oid, changes: &[(i16, Value<'_>)]) -> Result<(), ServerError> {
    in_own_memory("pg_custodian update", || {
        // SAFETY: a catalog-style update (indexing.c) inside a transaction, under the lock taken here.
        unsafe {
            let relation = pg_sys::table_open(relid, pg_sys::RowExclusiveLock as i32);
            let desc = (*relation).rd_att;
            let columns = (*desc).natts as usize;
            let mut datums = vec![Datum::null(); columns];
            let mut nulls = vec![false; columns];
            let mut replace = vec![false; columns];
            for (number, value) in changes {
                let column = (*number - 1) as usize;
                replace[column] = true;
                match value {
                    Value::Integer(value) => datums[column] = Datum::from(*value),
                    Value::Varlena(bytes) => datums[column] = Datum::from(bytes.as_ptr() as usize),
                }
            }
            let scan = pg_sys::systable_beginscan(
                relation,
                pg_sys::InvalidOid,
                false,
                std::ptr::null_mut(),
                0,
                std::ptr::null_mut(),
            );
            let old = pg_sys::systable_getnext(scan);
            if old.is_null() {
                return Err(ServerError::UnexpectedNull("the only row of a table"));
            }
            let new = pg_sys::heap_modify_tuple(
                old,
                desc,
                datums.as_mut_ptr(),
                nulls.as_mut_ptr(),
                replace.as_mut_ptr(),
            );
            pg_sys::CatalogTupleUpdate(relation, &raw mut (*old).t_self, new);
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
        Ok(())
    })
}

/// Puts a row into the table `relid` in the place of the one whose first column, a bytea, is `key`, or
/// beside the others if there is none. `values` has one value per column.
pub fn put_row(relid: Oid, key: &[u8], values: &[Value<'_>]) -> Result<(), ServerError> {
    in_own_memory("pg_custodian put", || {
        // SAFETY: a catalog-style update or insert (indexing.c) inside a transaction, under the lock taken here.
        unsafe {
            let relation = pg_sys::table_open(relid, pg_sys::RowExclusiveLock as i32);
            let desc = (*relation).rd_att;
            let columns = (*desc).natts as usize;
            let mut datums = vec![Datum::null(); columns];
            let mut nulls = vec![true; columns];
            for (column, value) in values.iter().enumerate().take(columns) {
                nulls[column] = false;
                datums[column] = match value {
                    Value::Integer(value) => Datum::from(*value),
                    Value::Varlena(bytes) => Datum::from(bytes.as_ptr() as usize),
                };
            }
            let new = pg_sys::heap_form_tuple(desc, datums.as_mut_ptr(), nulls.as_mut_ptr());
            let scan = pg_sys::systable_beginscan(
                relation,
                pg_sys::InvalidOid,
                false,
                std::ptr::null_mut(),
                0,
                std::ptr::null_mut(),
            );
            let mut old_datums = vec![Datum::null(); columns];
            let mut old_nulls = vec![true; columns];
            loop {
                let old = pg_sys::systable_getnext(scan);
                if old.is_null() {
                    pg_sys::CatalogTupleInsert(relation, new);
                    break;
                }
                pg_sys::heap_deform_tuple(old, desc, old_datums.as_mut_ptr(), old_nulls.as_mut_ptr());
                if !old_nulls[0] && flat(old_datums[0]) == key {
                    pg_sys::CatalogTupleUpdate(relation, &raw mut (*old).t_self, new);
                    break;
                }
            }
            pg_sys::systable_endscan(scan);
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
        }
        Ok(())
    })
}

/// # Safety
/// A varlena datum whose detoasted form outlives `'a`.
unsafe fn flat<'a>(datum: Datum) -> &'a [u8] {
    // SAFETY: as the caller promises; detoasting allocates in the current memory context.
    unsafe { pgrx::varlena::varlena_to_byte_slice(pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr())) }
}
