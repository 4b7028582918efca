//! What a query uses, seen in one walk.
#![allow(ffi_unwind_calls)] // see version::Walker

use super::node::{entry, tag};
use crate::pg::{raw, version};
use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};
use std::ffi::{c_char, c_void};

/// What a query uses, with all queries in it.
#[derive(Debug, Default)]
pub struct Survey {
    /// Tables, views and what else has a number, each once.
    pub relations: Vec<Oid>,
    /// What rows are put into.
    pub filled: Vec<Oid>,
    /// Functions that did not come with the server and may be called in parallel workers; InvalidOid for those that
    /// only a type leads to.
    pub in_workers: Vec<Oid>,
    /// Whether one of them may be run by the planner.
    pub folds: bool,
    /// Queries with functions in their FROM.
    pub(super) with_functions: Vec<*mut Query>,
}

impl Survey {
    /// Looks at a whole query.
    ///
    /// # Safety
    /// A whole query.
    pub(super) unsafe fn add(&mut self, query: *mut Query) {
        // SAFETY: as the caller promises; the walker only looks.
        unsafe { version::walk(query.cast(), Self::walker, (&raw mut *self).cast()) };
    }

    unsafe extern "C-unwind" fn walker(node: *mut Node, context: *mut c_void) -> bool {
        // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
        unsafe {
            let Some(head) = node.as_ref() else { return false };
            let survey = &mut *context.cast::<Survey>();
            match head.type_ {
                NodeTag::T_Query => {
                    survey.look_at(node.cast());
                    version::walk_query(node.cast(), Self::walker, context)
                }
                NodeTag::T_RangeTblEntry => {
                    let entry = &*node.cast::<RangeTblEntry>();
                    if entry.relid != pg_sys::InvalidOid && !survey.relations.contains(&entry.relid) {
                        survey.relations.push(entry.relid);
                    }
                    false
                }
                NodeTag::T_Var | NodeTag::T_Const | NodeTag::T_Param => false,
                _ => {
                    survey.note_call(node);
                    version::walk_expression(node, Self::walker, context)
                }
            }
        }
    }

    /// # Safety
    /// A whole query.
    unsafe fn look_at(&mut self, query: *mut Query) {
        // SAFETY: as the caller promises.
        unsafe {
            let calls = |entry: *mut RangeTblEntry| (*entry).rtekind == RTEKind::RTE_FUNCTION;
            if super::node::each::<RangeTblEntry>((*query).rtable).any(calls) {
                self.with_functions.push(query);
            }
            if (*query).commandType == CmdType::CMD_INSERT || version::tree::merges(&*query) {
                let number = pg_sys::Index::try_from((*query).resultRelation).unwrap_or(0);
                self.filled.extend(entry(query, number).map(|entry| (*entry).relid));
            }
        }
    }

    /// # Safety
    /// An expression node.
    unsafe fn note_call(&mut self, node: *mut Node) {
        // SAFETY: the tag says which struct the node is.
        unsafe {
            let called = match tag(node) {
                NodeTag::T_FuncExpr => (*node.cast::<pg_sys::FuncExpr>()).funcid,
                NodeTag::T_Aggref => (*node.cast::<pg_sys::Aggref>()).aggfnoid,
                NodeTag::T_WindowFunc => (*node.cast::<pg_sys::WindowFunc>()).winfnoid,
                NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                    operator((*node.cast::<pg_sys::OpExpr>()).opno)
                }
                NodeTag::T_ScalarArrayOpExpr => operator((*node.cast::<pg_sys::ScalarArrayOpExpr>()).opno),
                // Sorting, grouping, comparing rows and converting go by operators and functions of the types.
                NodeTag::T_CoerceViaIO => (*node.cast::<pg_sys::CoerceViaIO>()).resulttype,
                NodeTag::T_CoerceToDomain => (*node.cast::<pg_sys::CoerceToDomain>()).resulttype,
                NodeTag::T_RowCompareExpr | NodeTag::T_MinMaxExpr => raw::exprType(node),
                _ => return,
            };
            if called.to_u32() < pg_sys::FirstNormalObjectId {
                return;
            }
            let by_type = matches!(
                tag(node),
                NodeTag::T_CoerceViaIO
                    | NodeTag::T_CoerceToDomain
                    | NodeTag::T_RowCompareExpr
                    | NodeTag::T_MinMaxExpr
            );
            if by_type {
                self.in_workers.push(pg_sys::InvalidOid);
            } else if raw::func_parallel(called) == pg_sys::PROPARALLEL_SAFE as c_char {
                self.in_workers.push(called);
            }
            // Aggregates and window functions are called for rows only.
            let for_rows = matches!(tag(node), NodeTag::T_Aggref | NodeTag::T_WindowFunc);
            self.folds |=
                by_type || !for_rows && raw::func_volatile(called) == pg_sys::PROVOLATILE_IMMUTABLE as c_char;
        }
    }
}

/// # Safety
/// An operator's OID.
unsafe fn operator(operator: Oid) -> Oid {
    if operator.to_u32() < pg_sys::FirstNormalObjectId {
        return operator;
    }
    // SAFETY: as the caller promises.
    unsafe { raw::get_opcode(operator) }
}
