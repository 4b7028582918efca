//! Privileges that were granted to a role by name, on relations and on columns.
//!
//! Not the question whether the role may: ownership, superusers and PUBLIC do not count.

use super::{catalog, version};
use pgrx::pg_sys::{self, AclItem, ArrayType, Datum, Oid, SysCacheIdentifier};

/// What was granted on a relation, as bits ACL_*.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Granted {
    pub relation: u64,
    /// Columns with privileges of their own.
    pub columns: Vec<(i16, u64)>,
}

/// What was granted on a relation to `role`, or to a role that it is a member of.
pub fn granted(relid: Oid, role: Oid) -> Granted {
    catalog::in_own_memory("pg_custodian privileges", || {
        let relation = SysCacheIdentifier::RELOID;
        // SAFETY: the numbers are those of pg_class.relacl and pg_attribute.attacl; keys have the caches' types.
        unsafe {
            Granted {
                relation: read(relation, &[relid.into()], pg_sys::Anum_pg_class_relacl, role),
                columns: (1..=columns(relid))
                    .filter_map(|number| {
                        let keys = [relid.into(), Datum::from(number)];
                        let cache = SysCacheIdentifier::ATTNUM;
                        match read(cache, &keys, pg_sys::Anum_pg_attribute_attacl, role) {
                            0 => None,
                            privileges => Some((number, privileges)),
                        }
                    })
                    .collect(),
            }
        }
    })
}

/// How many columns a relation has had.
fn columns(relid: Oid) -> i16 {
    // SAFETY: pg_class.relnatts is a smallint that is never NULL.
    unsafe {
        let cache = SysCacheIdentifier::RELOID as i32;
        let tuple = pg_sys::SearchSysCache1(cache, relid.into());
        if tuple.is_null() {
            return 0;
        }
        let mut is_null = true;
        let count =
            pg_sys::SysCacheGetAttr(cache, tuple, pg_sys::Anum_pg_class_relnatts as i16, &raw mut is_null);
        pg_sys::ReleaseSysCache(tuple);
        count.value() as i16
    }
}

/// # Safety
/// `cache` has `keys`, one or two, and its rows an aclitem[] as `column`.
unsafe fn read(cache: SysCacheIdentifier::Type, keys: &[Datum], column: u32, role: Oid) -> u64 {
    // SAFETY: as the caller promises; the tuple is released before the list that was copied out of it is read.
    unsafe {
        let tuple = match keys {
            [one] => pg_sys::SearchSysCache1(cache as i32, *one),
            [one, two] => pg_sys::SearchSysCache2(cache as i32, *one, *two),
            _ => return 0,
        };
        if tuple.is_null() {
            return 0;
        }
        let mut is_null = true;
        let list = pg_sys::SysCacheGetAttr(cache as i32, tuple, column as i16, &raw mut is_null);
        let list = match is_null {
            true => std::ptr::null_mut(),
            false => pg_sys::pg_detoast_datum_copy(list.cast_mut_ptr()).cast::<ArrayType>(),
        };
        pg_sys::ReleaseSysCache(tuple);
        items(list.as_ref())
            .iter()
            .filter(|item| counts(item.ai_grantee, role))
            .fold(0, |bits, item| bits | version::privileges(item))
    }
}

/// Whether privileges of `grantee` are those of `role`; not what everybody has.
fn counts(grantee: Oid, role: Oid) -> bool {
    // SAFETY: takes any OIDs. A superuser would have everybody's privileges: only memberships count.
    grantee == role
        || grantee != pg_sys::InvalidOid && unsafe { pg_sys::is_member_of_role_nosuper(role, grantee) }
}

/// # Safety
/// An aclitem[] as acl.h makes them: one dimension, no NULLs.
unsafe fn items(list: Option<&ArrayType>) -> &[AclItem] {
    let Some(list) = list.filter(|list| list.ndim == 1) else { return &[] };
    // SAFETY: as the caller promises: a header, the number of elements, the lower bound, and from the next multiple
    // of eight on the elements (array.h: ARR_OVERHEAD_NONULLS).
    unsafe {
        let start = std::ptr::from_ref(list).cast::<u8>();
        let header = size_of::<ArrayType>();
        let count = *start.add(header).cast::<i32>();
        let first = start.add((header + 8).next_multiple_of(8)).cast::<AclItem>();
        std::slice::from_raw_parts(first, usize::try_from(count).unwrap_or(0))
    }
}
