//! Statements that see and write only some rows of a table.
//!
//! What PostgreSQL does for row-level security (rowsecurity.c: get_row_security_policies) on the rewritten query: rows
//! that are read pass a security qual, before anything of the statement's own sees them; rows that are written
//! pass a check option. Each entry that is so limited carries a stamp into the plan, by which the executor's start
//! knows for which limits the plan was made: an entry without one, of a function that the planner put in later, is not limited.

use super::predicate::{self, Flaw, Predicate};
use super::query::{self, Analysed, RelationUse};
use super::version;
use pgrx::pg_sys::{self, CmdType, Node, NodeTag, Query, RangeTblEntry, WCOKind};
use std::ffi::{CString, c_void};

/// What limits the rows of one use of a relation. Of several conditions for a privilege one must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    pub stamp: u64,
    /// For rows that are read.
    pub select: Vec<Vec<Predicate>>,
    pub insert: Vec<Predicate>,
    pub update: Vec<Predicate>,
    pub delete: Vec<Predicate>,
}

/// One use of a relation, in a query or in a part of it.
pub struct Target {
    pub used: RelationUse,
    /// It is the target of MERGE, for which there are no limits.
    pub merges: bool,
}

struct Collected(Vec<*mut Query>);

#[allow(ffi_unwind_calls)] // see version::Walker
unsafe extern "C-unwind" fn collect(node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
    unsafe {
        let Some(head) = node.as_ref() else { return false };
        match head.type_ {
            NodeTag::T_Query => {
                (*context.cast::<Collected>()).0.push(node.cast());
                version::walk_query(node.cast(), collect, context)
            }
            NodeTag::T_RangeTblEntry => false,
            _ => version::walk_expression(node, collect, context),
        }
    }
}

impl Analysed<'_> {
    /// Limits what the query, and every query in it, reads and writes, as `decide` says of each relation.
    ///
    /// Only for a query that is about to be planned: it is the planner's to alter.
    pub fn limit<E>(
        &self,
        mut decide: impl FnMut(&Target) -> Result<Option<Limits>, E>,
    ) -> Result<Result<(), Flaw>, E> {
        let mut all = Collected(Vec::new());
        // SAFETY: a whole query; the walker only looks.
        unsafe { version::walk(self.node(), collect, (&raw mut all).cast()) };
        for query in all.0 {
            // SAFETY: a part of the query that is being planned; nobody else looks at it.
            let query = unsafe { &mut *query };
            let entries: Vec<*mut RangeTblEntry> = query::list::<RangeTblEntry>(query.rtable)
                .map(|entry| std::ptr::from_ref(entry).cast_mut())
                .collect();
            for (index, entry) in entries.into_iter().enumerate() {
                let Some(used) = version::permissions_of(query, entry) else { continue };
                let number = index as i32 + 1;
                let is_target = query.resultRelation == number;
                let merges = is_target && version::is_merge(query.commandType);
                let Some(limits) = decide(&Target { used: used.into(), merges })? else { continue };
                // SAFETY: the entry is the query's.
                if let Err(flaw) = unsafe { apply(query, &mut *entry, number, is_target, &limits) } {
                    return Ok(Err(flaw));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// # Safety
/// `entry` is number `number` of the query's range table.
unsafe fn apply(
    query: &mut Query,
    entry: &mut RangeTblEntry,
    number: i32,
    is_target: bool,
    limits: &Limits,
) -> Result<(), Flaw> {
    let any = |conditions: &[Predicate]| any(entry.relid, conditions, number);
    let mut reads = Vec::new();
    for conditions in &limits.select {
        reads.extend(any(conditions)?);
    }
    let (insert, update, delete) = (any(&limits.insert)?, any(&limits.update)?, any(&limits.delete)?);
    let inserts = is_target && query.commandType == CmdType::CMD_INSERT;
    let table = super::catalog::relation_name(entry.relid).map_or_else(String::new, |(_, name)| name);
    let table = CString::new(table).unwrap_or_default();
    // SAFETY: makes nodes of PostgreSQL's own in the memory of the statement.
    unsafe {
        let mut checks: Vec<(WCOKind::Type, *mut Node)> = Vec::new();
        let mut check = |kind, conditions: &[*mut Node]| {
            checks.extend(conditions.iter().map(|condition| (kind, *condition)));
        };
        if inserts {
            check(WCOKind::WCO_RLS_INSERT_CHECK, &[insert.as_slice(), &reads].concat());
            let conflict = query.onConflict.as_ref();
            if conflict.is_some_and(|it| it.action == pg_sys::OnConflictAction::ONCONFLICT_UPDATE) {
                let both = [update.as_slice(), &reads].concat();
                check(WCOKind::WCO_RLS_CONFLICT_CHECK, &both);
                check(WCOKind::WCO_RLS_UPDATE_CHECK, &both);
            }
        } else {
            let all = [update.as_slice(), &delete, &reads].concat();
            for condition in all.iter().rev() {
                entry.securityQuals =
                    pg_sys::lcons(pg_sys::copyObjectImpl(condition.cast()), entry.securityQuals);
            }
            if is_target && query.commandType == CmdType::CMD_UPDATE {
                check(WCOKind::WCO_RLS_UPDATE_CHECK, &[update.as_slice(), &reads].concat());
            }
        }
        for (kind, condition) in checks.into_iter().rev() {
            let option =
                pg_sys::palloc0(size_of::<pg_sys::WithCheckOption>()).cast::<pg_sys::WithCheckOption>();
            (*option).type_ = NodeTag::T_WithCheckOption;
            (*option).kind = kind;
            (*option).relname = pg_sys::pstrdup(table.as_ptr());
            (*option).polname = pg_sys::pstrdup(c"rows of a grant".as_ptr());
            (*option).qual = pg_sys::copyObjectImpl(condition.cast()).cast();
            query.withCheckOptions = pg_sys::lcons(option.cast(), query.withCheckOptions);
        }
    }
    entry.ctename = predicate::stamped(limits.stamp);
    Ok(())
}

/// That one of the conditions holds; none if there are no conditions.
fn any(relation: pg_sys::Oid, conditions: &[Predicate], number: i32) -> Result<Vec<*mut Node>, Flaw> {
    let nodes: Vec<*mut Node> = conditions
        .iter()
        .map(|condition| predicate::condition(relation, condition, number))
        .collect::<Result<_, _>>()?;
    if nodes.len() < 2 {
        return Ok(nodes);
    }
    // SAFETY: a list of expressions in the memory of the statement.
    Ok(vec![unsafe {
        let list = nodes.iter().fold(std::ptr::null_mut(), |list, node| pg_sys::lappend(list, node.cast()));
        pg_sys::makeBoolExpr(pg_sys::BoolExprType::OR_EXPR, list, -1).cast()
    }])
}
