//! Statements that are nothing but a call of a function with constants and parameters.
//!
//! `SELECT f(...)` and `SELECT * FROM f(...)`, with columns of the result in the place of the star: no other clause,
//! no second item in FROM, no subquery, no function but those that are allowed and the server's own casts. A list of
//! what is known, as in [`super::harmless`]: what is not on it is refused.

use super::query::{self, Analysed, Planned};
use super::{raw, version};
use pgrx::pg_sys::{self, CmdType, CoercionForm, Node, NodeTag, Oid, Param, Query, RTEKind, RangeTblEntry};
use std::ffi::c_void;

struct Calls<'a> {
    allowed: &'a [Oid],
    /// Whether columns may be used here: not in arguments.
    columns: bool,
}

impl Calls<'_> {
    /// Whether nothing else stands in an expression.
    ///
    /// # Safety
    /// A node, a list of nodes, or NULL.
    unsafe fn only(node: *mut Node, allowed: &[Oid]) -> bool {
        let mut calls = Calls { allowed, columns: true };
        // SAFETY: as the caller promises.
        unsafe { !version::walk(node, Self::objects, (&raw mut calls).cast()) }
    }

    /// The walker: true where something is not on the list, which ends the walk.
    #[allow(ffi_unwind_calls)] // see version::Walker
    unsafe extern "C-unwind" fn objects(node: *mut Node, context: *mut c_void) -> bool {
        // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them; the tag says which struct it is.
        unsafe {
            let Some(head) = node.as_ref() else { return false };
            let calls = &mut *context.cast::<Calls<'_>>();
            let permitted = match head.type_ {
                NodeTag::T_Var => calls.columns && (*node.cast::<pg_sys::Var>()).varlevelsup == 0,
                NodeTag::T_Param => (*node.cast::<Param>()).paramkind == pg_sys::ParamKind::PARAM_EXTERN,
                NodeTag::T_FuncExpr => {
                    let call = &*node.cast::<pg_sys::FuncExpr>();
                    if !is_cast(call) {
                        // No call within a call's arguments.
                        if !calls.columns || !calls.allowed.contains(&call.funcid) {
                            return true;
                        }
                        calls.columns = false;
                        let refused = version::walk_expression(node, Self::objects, context);
                        (*context.cast::<Calls<'_>>()).columns = true;
                        return refused;
                    }
                    true
                }
                NodeTag::T_CoerceViaIO => {
                    let coercion = &*node.cast::<pg_sys::CoerceViaIO>();
                    is_built_in(coercion.resulttype) && is_built_in(raw::exprType(coercion.arg.cast()))
                }
                // The type of a parameter of the function.
                NodeTag::T_CoerceToDomain => {
                    (*node.cast::<pg_sys::CoerceToDomain>()).coercionformat
                        == CoercionForm::COERCE_IMPLICIT_CAST
                }
                NodeTag::T_Const
                | NodeTag::T_List
                | NodeTag::T_TargetEntry
                | NodeTag::T_FieldSelect
                | NodeTag::T_NamedArgExpr
                | NodeTag::T_RelabelType
                | NodeTag::T_ArrayExpr
                | NodeTag::T_ArrayCoerceExpr
                | NodeTag::T_CaseTestExpr
                | NodeTag::T_SQLValueFunction
                | NodeTag::T_RangeTblFunction => true,
                _ => false,
            };
            !permitted || version::walk_expression(node, Self::objects, context)
        }
    }
}

/// Whether the server's own cast was written, or put there by the parser.
fn is_cast(call: &pg_sys::FuncExpr) -> bool {
    is_built_in(call.funcid)
        && [CoercionForm::COERCE_IMPLICIT_CAST, CoercionForm::COERCE_EXPLICIT_CAST].contains(&call.funcformat)
}

fn is_built_in(object: Oid) -> bool {
    object.to_u32() < pg_sys::FirstNormalObjectId
}

impl Analysed<'_> {
    /// Whether it is nothing but a call of functions among `allowed`.
    pub fn is_call(&self, allowed: &[Oid]) -> bool {
        // SAFETY: the query is whole.
        unsafe {
            let query = &*self.node().cast::<Query>();
            is_bare(query)
                && query::list::<RangeTblEntry>(query.rtable).all(|entry| match entry.rtekind {
                    RTEKind::RTE_FUNCTION => Calls::only(entry.functions.cast(), allowed),
                    RTEKind::RTE_RESULT => true,
                    _ => false,
                })
                && Calls::only(query.targetList.cast(), allowed)
        }
    }
}

/// Whether a query has nothing but what it selects, and at most one item in FROM.
fn is_bare(query: &Query) -> bool {
    let lists = [
        query.cteList,
        query.groupClause,
        query.groupingSets,
        query.windowClause,
        query.distinctClause,
        query.sortClause,
        query.rowMarks,
        query.returningList,
    ];
    let nodes = [query.havingQual, query.limitOffset, query.limitCount, query.setOperations];
    // SAFETY: a SELECT has its FROM, if an empty one.
    let from = unsafe { query.jointree.as_ref() };
    query.commandType == CmdType::CMD_SELECT
        && lists.iter().all(|list| list.is_null())
        && nodes.iter().all(|node| node.is_null())
        && !(query.hasSubLinks || query.hasAggs || query.hasWindowFuncs || query.hasModifyingCTE)
        && query::list::<RangeTblEntry>(query.rtable).count() <= 1
        && from.is_some_and(|from| {
            from.quals.is_null()
                && query::list::<Node>(from.fromlist).all(|item| item.type_ == NodeTag::T_RangeTblRef)
        })
}

impl Planned<'_> {
    /// Whether it is nothing but a call of functions among `allowed`, by its plan.
    pub fn is_call(&self, allowed: &[Oid]) -> bool {
        let plan = self.plan();
        let alone = plan.commandType == CmdType::CMD_SELECT
            && !plan.hasModifyingCTE
            && plan.rowMarks.is_null()
            && plan.subplans.is_null()
            && !self.names_relations();
        let mut tree = plan.planTree;
        // SAFETY: a planned statement has a plan tree; the tag says which struct a node is.
        unsafe {
            while alone && let Some(node) = tree.as_ref() {
                let (functions, condition) = match node.type_ {
                    NodeTag::T_Result => {
                        (std::ptr::null_mut(), (*tree.cast::<pg_sys::Result>()).resconstantqual)
                    }
                    NodeTag::T_ProjectSet => (std::ptr::null_mut(), std::ptr::null_mut()),
                    NodeTag::T_FunctionScan => {
                        ((*tree.cast::<pg_sys::FunctionScan>()).functions, std::ptr::null_mut())
                    }
                    _ => return false,
                };
                let bare = condition.is_null()
                    && node.qual.is_null()
                    && node.initPlan.is_null()
                    && node.righttree.is_null()
                    && Calls::only(functions.cast(), allowed)
                    && Calls::only(node.targetlist.cast(), allowed);
                if !bare {
                    return false;
                }
                tree = node.lefttree;
            }
        }
        alone
    }
}
