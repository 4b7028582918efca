//! Telling calls of functions that we have put into a query from calls that somebody wrote.
//!
//! A sealed call has a form (`funcformat`) that the grammar gives to functions of pg_catalog alone, so that nobody
//! can write one. It is only about how a call is printed, and only functions that the server knows are
//! printed by it; it is kept by copies, by the planner, by cached plans and on the way to parallel workers.

use super::query::Analysed;
use super::version;
use pgrx::pg_sys::{self, CoercionForm, FunctionCallInfo, Node, NodeTag, Oid, Query, RTEKind};
use std::ffi::c_void;

const SEAL: CoercionForm::Type = CoercionForm::COERCE_SQL_SYNTAX;

/// Seals all calls of `functions` in an expression or query of our own making.
///
/// `node` is a whole tree that may be changed, or NULL.
#[allow(dead_code)] // for masks in queries of the tables themselves
pub fn seal(node: *mut Node, functions: &[Oid]) {
    let mut context = functions;
    // SAFETY: the walker changes one field of nodes of the tree and nothing of its structure.
    unsafe {
        version::walk(node, seal_walker, (&raw mut context).cast());
    }
}

#[allow(ffi_unwind_calls)] // see version::Walker
unsafe extern "C-unwind" fn seal_walker(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context that `seal` gave.
    unsafe {
        let Some(head) = node.as_ref() else { return false };
        match head.type_ {
            NodeTag::T_Query => return version::walk_query(node.cast(), seal_walker, context),
            // walked by query_tree_walker itself
            NodeTag::T_RangeTblEntry => return false,
            NodeTag::T_FuncExpr => {
                let call = &mut *node.cast::<pg_sys::FuncExpr>();
                if (*context.cast::<&[Oid]>()).contains(&call.funcid) {
                    call.funcformat = SEAL;
                }
            }
            _ => {}
        }
        version::walk_expression(node, seal_walker, context)
    }
}

struct Views<'a> {
    functions: &'a [Oid],
    is_ours: &'a dyn Fn(Oid) -> bool,
}

/// Seals the calls of `functions` in what has come into a rewritten query from views that `is_ours`
/// knows. Again is as well as once.
pub fn seal_views(query: &Analysed<'_>, functions: &[Oid], is_ours: &dyn Fn(Oid) -> bool) {
    if functions.is_empty() {
        return;
    }
    let mut views = Views { functions, is_ours };
    // SAFETY: as in `seal`; the planner may change its query.
    unsafe {
        version::walk(query.node(), views_walker, (&raw mut views).cast());
    }
}

#[allow(ffi_unwind_calls)] // see version::Walker
unsafe extern "C-unwind" fn views_walker(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context that `seal_views` gave.
    unsafe {
        let Some(head) = node.as_ref() else { return false };
        match head.type_ {
            NodeTag::T_Query => version::walk_query(node.cast(), views_walker, context),
            NodeTag::T_RangeTblEntry => {
                let entry = &*node.cast::<pg_sys::RangeTblEntry>();
                let views = &*context.cast::<Views<'_>>();
                if entry.rtekind == RTEKind::RTE_SUBQUERY
                    && view_behind(entry).is_some_and(|view| (views.is_ours)(view))
                {
                    let mut functions = views.functions;
                    seal_walker(entry.subquery.cast(), (&raw mut functions).cast());
                }
                // its parts are walked by query_tree_walker itself
                false
            }
            _ => version::walk_expression(node, views_walker, context),
        }
    }
}

/// The view that a subquery was before it was rewritten. The entry keeps its OID; before minor releases of 2023 it
/// did not, but the subquery begins with an entry of the view itself, which no subquery that somebody
/// wrote has after rewriting.
///
/// # Safety
/// An entry of a rewritten query.
unsafe fn view_behind(entry: &pg_sys::RangeTblEntry) -> Option<Oid> {
    if entry.relid != pg_sys::InvalidOid {
        return Some(entry.relid);
    }
    // SAFETY: a subquery's entry has a query, and its range table, if any, has entries.
    unsafe {
        let query: &Query = entry.subquery.as_ref()?;
        let list = query.rtable.as_ref().filter(|list| list.length > 0)?;
        let first = (*list.elements).ptr_value.cast::<pg_sys::RangeTblEntry>();
        let first = first.as_ref()?;
        let is_view = first.rtekind == RTEKind::RTE_RELATION && first.relkind == pg_sys::RELKIND_VIEW as i8;
        is_view.then_some(first.relid)
    }
}

/// Whether the call that is running was sealed.
///
/// `call` is what the function that asks was called with.
pub fn is_sealed(call: FunctionCallInfo) -> bool {
    // SAFETY: as is said above; without an expression it is called by other means than a statement.
    unsafe {
        let Some(function) = (*call).flinfo.as_ref() else { return false };
        let Some(expression) = function.fn_expr.as_ref() else { return false };
        expression.type_ == NodeTag::T_FuncExpr
            && (*function.fn_expr.cast::<pg_sys::FuncExpr>()).funcformat == SEAL
    }
}
