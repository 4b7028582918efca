//! Where query trees differ between versions.

use super::raw;
use pgrx::pg_sys::{CmdType, List, Node, Oid, Query, RTEKind, RangeTblEntry};
use std::ffi::c_void;

/// A function that returns a node, or another one in its place, and goes on to the children by
/// [`mutate_expression`]. What is said of [`super::Walker`] holds for it, too.
pub(in crate::pg) type Mutator = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> *mut Node;

/// A copy of an expression node with its children mutated, from a mutator.
///
/// # Safety
/// `node` is a node or NULL, `context` what `mutator` expects.
#[allow(ffi_unwind_calls)] // see Mutator
pub(in crate::pg) unsafe fn mutate_expression(
    node: *mut Node,
    mutator: Mutator,
    context: *mut c_void,
) -> *mut Node {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::expression_tree_mutator(node, mutator, context)
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::expression_tree_mutator_impl(node, mutator, context)
    }
}

/// Calls `each` with what MERGE does: the command, its condition and its target list. 14 has no MERGE.
pub(in crate::pg) fn each_action(
    query: &Query,
    mut each: impl FnMut(CmdType::Type, &mut *mut Node, &mut *mut List),
) {
    #[cfg(feature = "pg14")]
    let _ = (query, &mut each);
    #[cfg(not(feature = "pg14"))]
    for at in 0..crate::pg::query::list::<Node>(query.mergeActionList).count() {
        // SAFETY: below the list's length; a list of MergeActions, which belong to the query at hand.
        unsafe {
            let cell = (*query.mergeActionList).elements.add(at);
            let action = &mut *(*cell).ptr_value.cast::<pgrx::pg_sys::MergeAction>();
            each(action.commandType, &mut action.qual, &mut action.targetList);
        }
    }
}

/// Whether the query is a MERGE.
pub(in crate::pg) fn merges(query: &Query) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = query;
        false
    }
    #[cfg(not(feature = "pg14"))]
    {
        query.commandType == CmdType::CMD_MERGE
    }
}

/// The condition by which MERGE joins, which stands beside the join tree from 17 on.
pub(in crate::pg) fn merge_condition(query: &mut Query) -> Option<&mut *mut Node> {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    {
        let _ = query;
        None
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    Some(&mut query.mergeJoinCondition)
}

/// The keys of GROUP BY, if the entry only stands for them, as from 18 on.
pub(in crate::pg) fn grouping(entry: &mut RangeTblEntry) -> Option<&mut *mut List> {
    #[cfg(feature = "pg18")]
    return (entry.rtekind == pgrx::pg_sys::RTEKind::RTE_GROUP).then_some(&mut entry.groupexprs);
    #[cfg(not(feature = "pg18"))]
    {
        let _ = entry;
        None
    }
}

/// The view that an entry was before it was expanded; InvalidOid if it was none. Up to 15 only the view's own query
/// knows, whose first entry stands for the view: nowhere else is a view left in a rewritten query that only reads.
pub(in crate::pg) fn view_of(entry: &RangeTblEntry) -> Oid {
    if entry.rtekind != RTEKind::RTE_SUBQUERY {
        return Oid::INVALID;
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    return entry.relid;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: an entry of this kind has its query.
    unsafe { entry.subquery.as_ref() }
        .and_then(|query| crate::pg::query::list::<RangeTblEntry>(query.rtable).next())
        .filter(|first| {
            first.rtekind == RTEKind::RTE_RELATION && first.relkind as u8 == pgrx::pg_sys::RELKIND_VIEW
        })
        .map_or(Oid::INVALID, |first| first.relid)
}
