//! Queries of which a look is enough: of tables alone, in expressions of nothing but the server's own functions.
//!
//! An allow-list, for the many statements that have nothing to do with masking: what is not known to be plain is
//! surveyed in full. Calls nothing of the server's, so that it needs no guard.

use super::node::{is_table, tag};
use pgrx::pg_sys::{self, CmdType, List, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry};

/// Expressions are not followed deeper.
const DEEPEST: u32 = 12;

/// Whether the query is plain, and `is_free` is said of all its tables.
///
/// # Safety
/// A whole query.
pub(super) unsafe fn is_plain(query: *mut Query, is_free: &mut dyn FnMut(Oid) -> bool) -> bool {
    // SAFETY: as the caller promises; what hangs on a query is what parsenodes.h says.
    unsafe {
        let query = &*query;
        let commands = [CmdType::CMD_SELECT, CmdType::CMD_INSERT, CmdType::CMD_UPDATE, CmdType::CMD_DELETE];
        commands.contains(&query.commandType)
            && !query.hasSubLinks
            && query.cteList.is_null()
            && query.setOperations.is_null()
            && query.onConflict.is_null()
            && query.withCheckOptions.is_null()
            && query.windowClause.is_null()
            && every::<RangeTblEntry>(query.rtable, |entry| is_plain_entry(&*entry, is_free))
            && all_known(query.targetList, DEEPEST)
            && all_known(query.returningList, DEEPEST)
            && is_known(query.jointree.cast(), DEEPEST)
            && is_known(query.havingQual, DEEPEST)
            && is_known(query.limitOffset, DEEPEST)
            && is_known(query.limitCount, DEEPEST)
    }
}

unsafe fn is_plain_entry(entry: &RangeTblEntry, is_free: &mut dyn FnMut(Oid) -> bool) -> bool {
    // SAFETY: an entry of a range table.
    unsafe {
        match entry.rtekind {
            RTEKind::RTE_RELATION => {
                is_table(entry)
                    && entry.tablesample.is_null()
                    && entry.securityQuals.is_null()
                    && is_free(entry.relid)
            }
            RTEKind::RTE_JOIN => all_known(entry.joinaliasvars, DEEPEST),
            kind => kind == RTEKind::RTE_RESULT,
        }
    }
}

unsafe fn all_known(list: *mut List, deepest: u32) -> bool {
    // SAFETY: a list of nodes or NULL.
    unsafe { every::<Node>(list, |node| is_known(node, deepest)) }
}

/// Whether something is true of every element. Every plan comes here: a plain loop takes half the instructions of
/// iterators that are not inlined.
///
/// # Safety
/// A list of nodes of this type, or NULL.
#[inline]
unsafe fn every<T>(list: *mut List, mut is_true: impl FnMut(*mut T) -> bool) -> bool {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(list) = list.as_ref() else { return true };
        let (mut cell, end) = (list.elements, list.elements.offset(list.length as isize));
        while cell < end {
            if !is_true((*cell).ptr_value.cast()) {
                return false;
            }
            cell = cell.add(1);
        }
        true
    }
}

/// Whether nothing in an expression, or in a join tree, leads to functions of somebody's.
unsafe fn is_known(node: *mut Node, deepest: u32) -> bool {
    if node.is_null() {
        return true;
    }
    let Some(deepest) = deepest.checked_sub(1) else { return false };
    let is_builtin = |object: Oid| object.to_u32() < pg_sys::FirstNormalObjectId;
    // SAFETY: the tag says which struct the node is.
    unsafe {
        match tag(node) {
            NodeTag::T_Var | NodeTag::T_Const | NodeTag::T_Param | NodeTag::T_RangeTblRef => true,
            NodeTag::T_TargetEntry => is_known((*node.cast::<pg_sys::TargetEntry>()).expr.cast(), deepest),
            NodeTag::T_OpExpr => {
                let call = &*node.cast::<pg_sys::OpExpr>();
                is_builtin(call.opno) && all_known(call.args, deepest)
            }
            NodeTag::T_FuncExpr => {
                let call = &*node.cast::<pg_sys::FuncExpr>();
                is_builtin(call.funcid) && all_known(call.args, deepest)
            }
            NodeTag::T_Aggref => {
                let call = &*node.cast::<pg_sys::Aggref>();
                is_builtin(call.aggfnoid)
                    && call.aggfilter.is_null()
                    && call.aggdirectargs.is_null()
                    && all_known(call.args, deepest)
            }
            NodeTag::T_ScalarArrayOpExpr => {
                let call = &*node.cast::<pg_sys::ScalarArrayOpExpr>();
                is_builtin(call.opno) && all_known(call.args, deepest)
            }
            NodeTag::T_ArrayExpr => all_known((*node.cast::<pg_sys::ArrayExpr>()).elements, deepest),
            NodeTag::T_BoolExpr => all_known((*node.cast::<pg_sys::BoolExpr>()).args, deepest),
            NodeTag::T_NullTest => is_known((*node.cast::<pg_sys::NullTest>()).arg.cast(), deepest),
            NodeTag::T_RelabelType => is_known((*node.cast::<pg_sys::RelabelType>()).arg.cast(), deepest),
            NodeTag::T_FromExpr => {
                let from = &*node.cast::<pg_sys::FromExpr>();
                all_known(from.fromlist, deepest) && is_known(from.quals, deepest)
            }
            NodeTag::T_JoinExpr => {
                let join = &*node.cast::<pg_sys::JoinExpr>();
                is_known(join.larg, deepest) && is_known(join.rarg, deepest) && is_known(join.quals, deepest)
            }
            _ => false,
        }
    }
}
