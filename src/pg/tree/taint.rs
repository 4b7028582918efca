//! Which masked column an expression is made from, through whatever stands between.
//!
//! Columns of subqueries, CTEs, joins, set operations, VALUES and functions are followed to where they come from.
//! What only decides which rows there are (WHERE, EXISTS) is not followed: it is no data.
#![allow(ffi_unwind_calls)] // see version::Walker

use super::masks::Masks;
use super::node::{Level, each, entry, is_table, tag};
use crate::pg::version;
use pgrx::pg_sys::{
    self, AttrNumber, CommonTableExpr, List, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, TargetEntry,
    Var,
};
use std::ffi::{CStr, c_void};

/// A masked column: table and number.
pub(super) type Source = (Oid, AttrNumber);

/// How deep columns are followed. A recursive CTE leads back to itself; what lies deeper counts as masked.
const DEEPEST: u32 = 64;

pub(super) struct Taint<'a> {
    masks: &'a Masks,
    level: *const Level,
    /// The list in which the results of `SET (a, b) = (SELECT ...)` stand.
    assignments: *mut List,
    depth: u32,
    found: Option<Source>,
}

/// The first masked column that `expression`, in the query at `level`, is made from. `assignments` is the list
/// that it stands in.
///
/// # Safety
/// In a walk; an expression or NULL.
pub(super) unsafe fn source_of(
    masks: &Masks,
    level: *const Level,
    expression: *mut Node,
    assignments: *mut List,
) -> Option<Source> {
    let mut taint = Taint { masks, level, assignments, depth: 0, found: None };
    // SAFETY: as the caller promises.
    unsafe { taint.follow(expression) };
    taint.found
}

/// The first masked column in what a query puts out.
///
/// # Safety
/// In a walk; a whole query.
pub(super) unsafe fn source_of_output(masks: &Masks, query: *mut Query) -> Option<Source> {
    let mut taint =
        Taint { masks, level: std::ptr::null(), assignments: std::ptr::null_mut(), depth: 0, found: None };
    // SAFETY: as the caller promises.
    unsafe { taint.follow_output(query, 0, std::ptr::null()) };
    taint.found
}

impl Taint<'_> {
    unsafe extern "C-unwind" fn walker(node: *mut Node, context: *mut c_void) -> bool {
        // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
        unsafe {
            let taint = &mut *context.cast::<Taint<'_>>();
            taint.follow(node);
            taint.found.is_some()
        }
    }

    unsafe fn follow_children(&mut self, node: *mut Node) {
        // SAFETY: in a walk; a node or NULL.
        unsafe { version::walk_expression(node, Self::walker, (&raw mut *self).cast()) };
    }

    unsafe fn follow(&mut self, node: *mut Node) {
        if node.is_null() || self.found.is_some() {
            return;
        }
        self.depth += 1;
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match tag(node) {
                NodeTag::T_Var => self.follow_column(node.cast()),
                NodeTag::T_SubLink => {
                    let link = &*node.cast::<pg_sys::SubLink>();
                    self.follow(link.testexpr);
                    if link.subLinkType != pg_sys::SubLinkType::EXISTS_SUBLINK {
                        self.follow_output(link.subselect.cast(), 0, self.level);
                    }
                }
                NodeTag::T_Param
                    if (*node.cast::<pg_sys::Param>()).paramkind == pg_sys::ParamKind::PARAM_MULTIEXPR =>
                {
                    // Which of the subqueries it is does not matter: one of masked columns is enough.
                    for target in each::<TargetEntry>(self.assignments) {
                        if (*target).resjunk && tag((*target).expr) == NodeTag::T_SubLink {
                            self.follow((*target).expr.cast());
                        }
                    }
                }
                NodeTag::T_Query => {}
                _ => self.follow_children(node),
            }
        }
        self.depth -= 1;
    }

    unsafe fn follow_column(&mut self, column: *mut Var) {
        // SAFETY: a Var of the query at the level; levels live as long as the walk.
        unsafe {
            let (steps, number) = ((*column).varlevelsup, (*column).varattno);
            if number < 0 {
                return;
            }
            let Some(level) = Level::up(self.level, steps) else { return };
            let varno = pg_sys::Index::try_from((*column).varno).unwrap_or(0);
            let Some(from) = entry((*level).query, varno) else { return };
            if self.depth > DEEPEST {
                self.found = self.any_masked();
                return;
            }
            let before = std::mem::replace(&mut self.level, level);
            self.follow_entry(from, number);
            self.level = before;
        }
    }

    fn any_masked(&self) -> Option<Source> {
        self.masks
            .tables
            .iter()
            .min_by_key(|(table, _)| **table)
            .map(|(table, masks)| (Oid::from(*table), masks.first()))
    }

    unsafe fn follow_entry(&mut self, from: *mut RangeTblEntry, number: AttrNumber) {
        // SAFETY: an entry of the range table of the query at the level.
        unsafe {
            if let Some(keys) = version::tree::grouping(&mut *from) {
                return self.follow_nth(*keys, number);
            }
            match (*from).rtekind {
                RTEKind::RTE_RELATION if is_table(&*from) => {
                    let table = self.masks.tables.get(&(*from).relid.to_u32());
                    self.found = match table {
                        Some(masks) if number == 0 => Some(((*from).relid, masks.first())),
                        Some(masks) => masks.of(number).map(|_| ((*from).relid, number)),
                        None => None,
                    };
                }
                RTEKind::RTE_JOIN => self.follow_nth((*from).joinaliasvars, number),
                RTEKind::RTE_SUBQUERY => self.follow_output((*from).subquery, number, self.level),
                RTEKind::RTE_CTE => self.follow_cte(from, number),
                RTEKind::RTE_FUNCTION => self.follow_children((*from).functions.cast()),
                RTEKind::RTE_VALUES => self.follow_children((*from).values_lists.cast()),
                RTEKind::RTE_TABLEFUNC => self.follow_children((*from).tablefunc.cast()),
                _ => {}
            }
        }
    }

    /// One expression of a list, counted from 1; all for 0.
    unsafe fn follow_nth(&mut self, list: *mut List, number: AttrNumber) {
        for (at, expression) in each::<Node>(list).enumerate() {
            if number == 0 || usize::try_from(number).is_ok_and(|number| number == at + 1) {
                // SAFETY: a list of expressions of the query at the level.
                unsafe { self.follow(expression) };
            }
        }
    }

    unsafe fn follow_cte(&mut self, from: *mut RangeTblEntry, number: AttrNumber) {
        // SAFETY: an entry of the query at the level; names are NUL-terminated.
        unsafe {
            let Some(level) = Level::up(self.level, (*from).ctelevelsup) else { return };
            for cte in each::<CommonTableExpr>((*(*level).query).cteList) {
                if CStr::from_ptr((*cte).ctename) == CStr::from_ptr((*from).ctename) {
                    self.follow_output((*cte).ctequery.cast(), number, level);
                }
            }
        }
    }

    /// One column of what a query puts out, or all of them for 0.
    unsafe fn follow_output(&mut self, query: *mut Query, number: AttrNumber, outer: *const Level) {
        let level = Level { query, outer };
        let before = std::mem::replace(&mut self.level, &raw const level);
        // SAFETY: a whole query, below the one at the level.
        unsafe {
            for list in [(*query).targetList, (*query).returningList] {
                for target in each::<TargetEntry>(list) {
                    if number == 0 && !(*target).resjunk || (*target).resno == number {
                        self.follow((*target).expr.cast());
                    }
                }
            }
            if !(*query).setOperations.is_null() {
                for from in each::<RangeTblEntry>((*query).rtable) {
                    if (*from).rtekind == RTEKind::RTE_SUBQUERY {
                        self.follow_output((*from).subquery, number, &raw const level);
                    }
                }
            }
        }
        self.level = before;
    }
}
