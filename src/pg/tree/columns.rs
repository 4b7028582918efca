//! What the catalogs say of a table's columns: which are generated, and from what; how wide they may be.

use pgrx::pg_sys::{self, Bitmapset, Oid};

/// The number of a table's columns, and its generated ones with the columns that they are computed from; 0 stands
/// for the whole row. Needs a lock on the table.
pub fn generated(relation: Oid) -> (i16, Vec<(i16, Vec<i16>)>) {
    // SAFETY: opens a locked relation and closes it; its descriptor lives meanwhile. Defaults are expressions in
    // which the table is number 1.
    unsafe {
        let table = pg_sys::relation_open(relation, pg_sys::AccessShareLock as i32);
        let desc = (*table).rd_att;
        let count = i16::try_from((*desc).natts).unwrap_or(i16::MAX);
        let mut generated = Vec::new();
        if let Some(constraints) = (*desc).constr.as_ref()
            && constraints.num_defval > 0
        {
            for at in 0..usize::from(constraints.num_defval) {
                let default = &*constraints.defval.add(at);
                let column = usize::try_from(default.adnum - 1).unwrap_or(0);
                if crate::pg::version::is_generated(desc, column) {
                    let expression = pg_sys::stringToNode(default.adbin).cast();
                    let mut from: *mut Bitmapset = std::ptr::null_mut();
                    pg_sys::pull_varattnos(expression, 1, &mut from);
                    generated.push((default.adnum, crate::pg::query::columns(from)));
                }
            }
        }
        pg_sys::relation_close(table, pg_sys::NoLock as i32);
        (count, generated)
    }
}

/// How wide values of a column are if nothing is known of them.
pub(in crate::pg) fn assumed_width(relation: Oid, column: i16) -> i32 {
    let (mut kind, mut typmod, mut collation) = (pg_sys::InvalidOid, -1, pg_sys::InvalidOid);
    // SAFETY: looks up an existing column and its type.
    unsafe {
        pg_sys::get_atttypetypmodcoll(relation, column, &mut kind, &mut typmod, &mut collation);
        pg_sys::get_typavgwidth(kind, typmod)
    }
}
