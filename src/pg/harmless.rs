//! Which queries touch no data: a list of node types, of functions and of columns, all else is refused.

use super::query::columns;
use super::{raw, version};
use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RTEKind};
use std::ffi::c_void;

/// A catalog that may be read without a person, and which of its columns.
#[derive(Debug, Clone)]
pub struct Catalog {
    pub relid: Oid,
    pub columns: Vec<i16>,
}

/// Whether every node is of a harmless kind.
pub(super) struct Harmless<'a> {
    functions: &'a [Oid],
    /// Empty where no relation may be read, and nothing but functions be called.
    catalogs: &'a [Catalog],
    /// Views whose own queries are nobody's to judge.
    views: &'a [Oid],
    /// These queries.
    shown: Vec<*mut Query>,
}

impl Harmless<'_> {
    /// Whether an expression has only constants, parameters and calls of `functions`.
    ///
    /// # Safety
    /// `node` is a node, a list of nodes, or NULL.
    pub(super) unsafe fn calls_only(node: *mut Node, functions: &[Oid]) -> bool {
        let mut harmless = Harmless { functions, catalogs: &[], views: &[], shown: Vec::new() };
        // SAFETY: as the caller promises.
        unsafe { !version::walk(node, Self::objects, (&raw mut harmless).cast()) }
    }

    /// Whether a query, with the queries in it, only calls `functions` and the server's own operators,
    /// and reads nothing but those columns of `catalogs` and what `views` show.
    ///
    /// # Safety
    /// The query is whole.
    pub(super) unsafe fn only_looks_up(
        query: *mut Query,
        functions: &[Oid],
        catalogs: &[Catalog],
        views: &[Oid],
    ) -> bool {
        let mut harmless = Harmless { functions, catalogs, views, shown: Vec::new() };
        // SAFETY: as the caller promises.
        unsafe { !version::walk(query.cast(), Self::objects, (&raw mut harmless).cast()) }
    }

    /// The walker: true where something is not on the list, which ends the walk.
    unsafe extern "C-unwind" fn objects(node: *mut Node, context: *mut c_void) -> bool {
        // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
        unsafe {
            let Some(head) = node.as_ref() else { return false };
            let harmless = &mut *context.cast::<Harmless<'_>>();
            if head.type_ == NodeTag::T_Query && harmless.shown.contains(&node.cast()) {
                return false;
            }
            if head.type_ == NodeTag::T_RangeTblEntry {
                let entry = &*node.cast::<pg_sys::RangeTblEntry>();
                if harmless.views.contains(&version::tree::view_of(entry)) {
                    harmless.shown.push(entry.subquery);
                }
            }
            if !harmless.permits(node) {
                return true;
            }
            match head.type_ {
                NodeTag::T_Query => version::walk_query(node.cast(), Self::objects, context),
                // Walked by query_tree_walker itself, which also visits what hangs on it.
                NodeTag::T_RangeTblEntry | NodeTag::T_RangeTblRef => false,
                _ => version::walk_expression(node, Self::objects, context),
            }
        }
    }

    /// # Safety
    /// A node.
    #[allow(ffi_unwind_calls)] // see version::Walker
    unsafe fn permits(&self, node: *mut Node) -> bool {
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match (*node).type_ {
                NodeTag::T_Const
                | NodeTag::T_Param
                | NodeTag::T_Var
                | NodeTag::T_List
                | NodeTag::T_TargetEntry
                | NodeTag::T_FieldSelect
                | NodeTag::T_NamedArgExpr
                | NodeTag::T_RelabelType
                | NodeTag::T_SQLValueFunction
                | NodeTag::T_RangeTblRef
                | NodeTag::T_RangeTblFunction => true,
                NodeTag::T_FuncExpr => self.functions.contains(&(*node.cast::<pg_sys::FuncExpr>()).funcid),
                _ if self.catalogs.is_empty() => false,
                NodeTag::T_Aggref => self.functions.contains(&(*node.cast::<pg_sys::Aggref>()).aggfnoid),
                NodeTag::T_Query => self.permits_query(&*node.cast::<Query>()),
                NodeTag::T_RangeTblEntry => {
                    let entry = &*node.cast::<pg_sys::RangeTblEntry>();
                    match entry.rtekind {
                        RTEKind::RTE_RESULT
                        | RTEKind::RTE_FUNCTION
                        | RTEKind::RTE_JOIN
                        | RTEKind::RTE_SUBQUERY
                        | RTEKind::RTE_VALUES => true,
                        RTEKind::RTE_RELATION => self.catalog(entry.relid).is_some(),
                        kind => version::is_grouping(kind),
                    }
                }
                NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                    is_built_in((*node.cast::<pg_sys::OpExpr>()).opno)
                }
                NodeTag::T_ScalarArrayOpExpr => is_built_in((*node.cast::<pg_sys::ScalarArrayOpExpr>()).opno),
                // Both ends of the server's own types: the functions that convert are its own, too.
                NodeTag::T_CoerceViaIO => {
                    let coercion = node.cast::<pg_sys::CoerceViaIO>();
                    is_built_in((*coercion).resulttype) && is_built_in(raw::exprType((*coercion).arg.cast()))
                }
                NodeTag::T_FromExpr
                | NodeTag::T_JoinExpr
                | NodeTag::T_SubLink
                | NodeTag::T_BoolExpr
                | NodeTag::T_NullTest
                | NodeTag::T_BooleanTest
                | NodeTag::T_CaseExpr
                | NodeTag::T_CaseWhen
                | NodeTag::T_CaseTestExpr
                | NodeTag::T_CoalesceExpr
                | NodeTag::T_ArrayExpr
                | NodeTag::T_SortGroupClause => true,
                _ => false,
            }
        }
    }

    fn permits_query(&self, query: &Query) -> bool {
        let mut reads_only = true;
        version::each_relation(query.rtable, version::query_permissions(query), |relation| {
            let listed = self.catalog(relation.relid);
            let read = columns(relation.selected);
            let listed =
                listed.is_some_and(|catalog| read.iter().all(|column| catalog.columns.contains(column)));
            reads_only &= relation.permissions == u64::from(pg_sys::ACL_SELECT)
                && (listed || self.views.contains(&relation.relid));
        });
        reads_only
            && query.commandType == CmdType::CMD_SELECT
            && !query.hasModifyingCTE
            && query.cteList.is_null()
            && query.rowMarks.is_null()
    }

    fn catalog(&self, relid: Oid) -> Option<&Catalog> {
        self.catalogs.iter().find(|catalog| catalog.relid == relid)
    }
}

fn is_built_in(object: Oid) -> bool {
    object.to_u32() < pg_sys::FirstNormalObjectId
}
