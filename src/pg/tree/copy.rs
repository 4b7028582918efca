//! COPY of a table out of the database, which no planner sees, as COPY of a query.

use crate::pg::version;
use pgrx::pg_sys::{self, Node, NodeTag, Oid, PlannedStmt};

/// The statement with the query in the place of the table. Its columns are those that COPY would take: all but
/// generated ones, or those named.
///
/// # Safety
/// A COPY of this table out of the database.
pub(in crate::pg) unsafe fn of_query(statement: *mut PlannedStmt, table: Oid) -> *mut PlannedStmt {
    // SAFETY: as the caller promises; the query is made of the nodes that the grammar makes.
    unsafe {
        let changed = pg_sys::copyObjectImpl(statement.cast_const().cast()).cast::<PlannedStmt>();
        let copy = (*changed).utilityStmt.cast::<pg_sys::CopyStmt>();
        let relation = pg_sys::relation_open(table, pg_sys::AccessShareLock as i32);
        let all = version::copied_columns((*relation).rd_att);
        pg_sys::relation_close(relation, pg_sys::NoLock as i32);
        let mut names = (*copy).attlist;
        if names.is_null() {
            names = all;
        } else {
            // PostgreSQL refuses the others in its own words, before it reads anything.
            let text = |name: *mut Node| crate::pg::query::string(&*name);
            let is_copied = |name| super::node::each::<Node>(all).any(|column| text(column) == text(name));
            if !super::node::each::<Node>(names).all(is_copied) {
                return statement;
            }
        }
        let mut targets = std::ptr::null_mut();
        for name in super::node::each::<Node>(names) {
            let column = new::<pg_sys::ColumnRef>(NodeTag::T_ColumnRef);
            (*column).fields = pg_sys::lappend(std::ptr::null_mut(), name.cast());
            (*column).location = -1;
            let target = new::<pg_sys::ResTarget>(NodeTag::T_ResTarget);
            (*target).val = column.cast();
            (*target).location = -1;
            targets = pg_sys::lappend(targets, target.cast());
        }
        (*(*copy).relation).inh = false;
        let select = new::<pg_sys::SelectStmt>(NodeTag::T_SelectStmt);
        (*select).targetList = targets;
        (*select).fromClause = pg_sys::lappend(std::ptr::null_mut(), (*copy).relation.cast());
        (*copy).relation = std::ptr::null_mut();
        (*copy).attlist = std::ptr::null_mut();
        (*copy).query = select.cast();
        changed
    }
}

/// # Safety
/// `T` is the struct of `tag`, for which all zeroes are a value.
unsafe fn new<T>(tag: NodeTag) -> *mut T {
    // SAFETY: as the caller promises.
    unsafe {
        let node = pg_sys::palloc0(size_of::<T>()).cast::<T>();
        (*node.cast::<Node>()).type_ = tag;
        node
    }
}
