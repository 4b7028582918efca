//! Nodes made within a walk: everything here is called under the one guard around it, and owns nothing.
#![allow(ffi_unwind_calls)] // see version::Walker

use crate::pg::raw;
use pgrx::pg_sys::{self, Const, Datum, Index, List, Node, NodeTag, Oid, Query, RangeTblEntry};

/// The elements of a list as pointers that may be changed.
pub(super) fn cells(list: *mut List) -> impl Iterator<Item = *mut *mut Node> {
    // SAFETY: NULL or a list of nodes that belongs to the tree at hand.
    let (first, length) = unsafe {
        match list.as_ref() {
            Some(list) => (list.elements.cast::<*mut Node>(), usize::try_from(list.length).unwrap_or(0)),
            None => (std::ptr::null_mut(), 0),
        }
    };
    // SAFETY: below the list's length.
    (0..length).map(move |at| unsafe { first.add(at) })
}

/// The elements of a list of nodes of one type.
pub(super) fn each<T>(list: *mut List) -> impl Iterator<Item = *mut T> {
    // SAFETY: a cell holds a node; the caller knows its type.
    cells(list).map(|cell| unsafe { *cell }.cast::<T>())
}

/// # Safety
/// A node.
pub(super) unsafe fn tag<T>(node: *mut T) -> NodeTag {
    // SAFETY: as the caller promises: every node begins with its tag.
    unsafe { (*node.cast::<Node>()).type_ }
}

/// An empty node.
///
/// # Safety
/// `T` is the struct of `tag`, for which all zeroes are a value.
pub(super) unsafe fn make<T>(tag: NodeTag) -> *mut T {
    // SAFETY: as the caller promises.
    unsafe {
        let node = raw::palloc0(size_of::<T>()).cast::<T>();
        (*node.cast::<Node>()).type_ = tag;
        node
    }
}

/// # Safety
/// A node or NULL.
pub(super) unsafe fn copied<T>(node: *mut T) -> *mut T {
    // SAFETY: as the caller promises.
    unsafe { raw::copyObjectImpl(node.cast_const().cast()).cast() }
}

/// # Safety
/// A list of nodes or NULL, and a node.
pub(super) unsafe fn append<T>(list: *mut List, node: *mut T) -> *mut List {
    // SAFETY: as the caller promises.
    unsafe { raw::lappend(list, node.cast()) }
}

/// NULL of a type.
///
/// # Safety
/// The type has this length, and is passed by value or not.
pub(super) unsafe fn null(kind: Oid, typmod: i32, collation: Oid, length: i16, by_value: bool) -> *mut Const {
    // SAFETY: as the caller promises.
    unsafe { raw::makeConst(kind, typmod, collation, length.into(), Datum::null(), true, by_value) }
}

/// An entry of a query's range table, which counts from 1.
///
/// # Safety
/// A whole query.
pub(super) unsafe fn entry(query: *mut Query, number: Index) -> Option<*mut RangeTblEntry> {
    // SAFETY: as the caller promises.
    let table = unsafe { (*query).rtable };
    each::<RangeTblEntry>(table).nth(usize::try_from(number).ok()?.checked_sub(1)?)
}

/// Whether an entry is a table, of which columns can be masked. What ON CONFLICT calls EXCLUDED is none:
/// it has the relation's number and another kind.
pub(super) fn is_table(entry: &RangeTblEntry) -> bool {
    entry.rtekind == pg_sys::RTEKind::RTE_RELATION
        && [
            pg_sys::RELKIND_RELATION,
            pg_sys::RELKIND_PARTITIONED_TABLE,
            pg_sys::RELKIND_MATVIEW,
            pg_sys::RELKIND_FOREIGN_TABLE,
        ]
        .contains(&(entry.relkind as u8))
}

/// A query and the queries it stands in, for columns that belong to an outer one.
pub(super) struct Level {
    pub(super) query: *mut Query,
    pub(super) outer: *const Level,
}

impl Level {
    /// The level so many steps further out.
    pub(super) fn up(from: *const Level, steps: Index) -> Option<*const Level> {
        let mut level = from;
        for _ in 0..steps {
            // SAFETY: levels live in the frames of the walk that is going on.
            level = unsafe { level.as_ref()?.outer };
        }
        (!level.is_null()).then_some(level)
    }
}
