//! The walk that puts masks in the place of columns.
//!
//! It goes through a query by hand, part by part, because not all parts are alike: what identifies rows to
//! PostgreSQL itself stays as it is, and what is assigned is judged before.
//!
//! Left alone: quals of row security and its checks, which its author wrote for true values; the arbiters of
//! ON CONFLICT, which name an index; EXCLUDED, which is what the statement itself brings along.
#![allow(ffi_unwind_calls)] // see version::Walker

use super::masks::{Masks, TableMasks};
use super::node::{Level, append, cells, copied, each, entry, is_table, make, null, tag};
use super::taint;
use crate::pg::{raw, version};
use pgrx::pg_sys::{
    self, AttrNumber, CmdType, Index, List, Node, NodeTag, Oid, Query, RTEKind, RangeTblEntry, TargetEntry,
    Var,
};
use std::ffi::{CStr, c_void};

/// A column that would take what is masked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Denied {
    pub source: (Oid, i16),
    pub target: (Oid, i16),
}

pub(super) struct Mutation<'a> {
    masks: &'a Masks,
    level: *const Level,
    /// Within a view that masks by itself.
    within_view: bool,
    pub(super) denied: Option<Denied>,
    /// Something in the tree that nobody has thought of.
    pub(super) unknown: bool,
}

impl<'a> Mutation<'a> {
    pub(super) fn new(masks: &'a Masks) -> Self {
        Self { masks, level: std::ptr::null(), within_view: false, denied: None, unknown: false }
    }

    /// Masks a whole query where it stands.
    ///
    /// # Safety
    /// In a walk; a whole query that may be changed.
    pub(super) unsafe fn query(&mut self, query: *mut Query) {
        let level = Level { query, outer: self.level };
        let before = std::mem::replace(&mut self.level, &raw const level);
        // SAFETY: as the caller promises; what hangs on a query is what parsenodes.h says.
        unsafe {
            let within = self.within_view;
            self.within_view |= self.is_generated_view(query);
            self.parts(query);
            self.within_view = within;
        }
        self.level = before;
    }

    /// Whether the query is what a view stands for that masks by itself. Up to 15 the view is the first entry of
    /// its own query, from which no Var comes; from 16 on its entry is [`Mutation::entry`]'s to see.
    unsafe fn is_generated_view(&self, query: *mut Query) -> bool {
        // SAFETY: a whole query.
        unsafe {
            (*query).commandType == CmdType::CMD_SELECT
                && (*query).resultRelation == 0
                && entry(query, 1).is_some_and(|first| {
                    (*first).rtekind == RTEKind::RTE_RELATION
                        && (*first).relkind as u8 == pg_sys::RELKIND_VIEW
                        && self.masks.views.contains(&(*first).relid.to_u32())
                })
        }
    }

    unsafe fn parts(&mut self, query: *mut Query) {
        // SAFETY: a whole query, at the level.
        unsafe {
            for (at, cell) in cells((*query).rtable).enumerate() {
                self.entry(query, (*cell).cast(), at + 1);
            }
            for cte in each::<pg_sys::CommonTableExpr>((*query).cteList) {
                if tag((*cte).ctequery) == NodeTag::T_Query {
                    self.query((*cte).ctequery.cast());
                } else {
                    self.unknown = true;
                }
            }
            let target = Index::try_from((*query).resultRelation).unwrap_or(0);
            let written = entry(query, target);
            let target = written.map_or(pg_sys::InvalidOid, |target| (*target).relid);
            let updates = (*query).commandType == CmdType::CMD_UPDATE || version::tree::merges(&*query);
            if updates && written.is_some_and(|view| (*view).relkind as u8 == pg_sys::RELKIND_VIEW) {
                self.view_row(query, target);
            }
            match (*query).commandType {
                CmdType::CMD_UPDATE => self.assignments((*query).targetList, target),
                CmdType::CMD_INSERT => self.insertion((*query).targetList, target),
                _ => {}
            }
            self.put(&raw mut (*query).targetList);
            self.put(&raw mut (*query).returningList);
            self.joins((*query).jointree.cast());
            for check in each::<pg_sys::WithCheckOption>((*query).withCheckOptions) {
                // What a view shows is what its reader sees; or the check would tell what he does not.
                if (*check).kind == pg_sys::WCOKind::WCO_VIEW_CHECK {
                    self.put(&raw mut (*check).qual);
                }
            }
            if let Some(conflict) = (*query).onConflict.as_mut() {
                self.assignments(conflict.onConflictSet, target);
                self.put(&raw mut conflict.onConflictSet);
                self.put(&raw mut conflict.onConflictWhere);
            }
            self.merge(query, target);
            self.put(&raw mut (*query).havingQual);
            for window in each::<pg_sys::WindowClause>((*query).windowClause) {
                self.put(&raw mut (*window).startOffset);
                self.put(&raw mut (*window).endOffset);
            }
            self.put(&raw mut (*query).limitOffset);
            self.put(&raw mut (*query).limitCount);
        }
    }

    unsafe fn merge(&mut self, query: *mut Query, target: Oid) {
        // SAFETY: a whole query, at the level.
        unsafe {
            version::tree::each_action(&*query, |command, qual, targets| {
                match command {
                    CmdType::CMD_UPDATE => self.assignments(*targets, target),
                    CmdType::CMD_INSERT => self.insertion(*targets, target),
                    _ => {}
                }
                self.put(qual);
                self.put(targets);
            });
            if let Some(condition) = version::tree::merge_condition(&mut *query) {
                self.put(condition);
            }
        }
    }

    /// Masks an expression, or a list of them, and puts the result in its place.
    unsafe fn put<T>(&mut self, place: *mut *mut T) {
        // SAFETY: a place in a query at the level that holds an expression or NULL.
        unsafe { *place = Self::mutate((*place).cast(), (&raw mut *self).cast()).cast() };
    }

    unsafe fn joins(&mut self, node: *mut Node) {
        if node.is_null() {
            return;
        }
        // SAFETY: a node of the join tree of the query at the level; the tag says which struct it is.
        unsafe {
            match tag(node) {
                NodeTag::T_FromExpr => {
                    let from = &mut *node.cast::<pg_sys::FromExpr>();
                    for item in each::<Node>(from.fromlist) {
                        self.joins(item);
                    }
                    self.put(&raw mut from.quals);
                }
                NodeTag::T_JoinExpr => {
                    let join = &mut *node.cast::<pg_sys::JoinExpr>();
                    self.joins(join.larg);
                    self.joins(join.rarg);
                    self.put(&raw mut join.quals);
                }
                NodeTag::T_RangeTblRef => {}
                _ => self.unknown = true,
            }
        }
    }

    unsafe fn entry(&mut self, query: *mut Query, entry: *mut RangeTblEntry, number: usize) {
        // SAFETY: an entry of the range table of the query, which is at the level.
        unsafe {
            if let Some(keys) = version::tree::grouping(&mut *entry) {
                return self.put(keys);
            }
            match (*entry).rtekind {
                RTEKind::RTE_RELATION => {
                    self.put(&raw mut (*entry).tablesample);
                    self.security(query, entry, number);
                    self.statistics(entry, number);
                }
                RTEKind::RTE_SUBQUERY => {
                    let within = self.within_view;
                    self.within_view |= self.masks.views.contains(&(*entry).relid.to_u32());
                    self.query((*entry).subquery);
                    self.within_view = within;
                }
                RTEKind::RTE_JOIN => self.put(&raw mut (*entry).joinaliasvars),
                RTEKind::RTE_FUNCTION => self.put(&raw mut (*entry).functions),
                RTEKind::RTE_TABLEFUNC => self.put(&raw mut (*entry).tablefunc),
                RTEKind::RTE_VALUES => self.put(&raw mut (*entry).values_lists),
                RTEKind::RTE_CTE | RTEKind::RTE_NAMEDTUPLESTORE | RTEKind::RTE_RESULT => {}
                _ => self.unknown = true,
            }
        }
    }

    /// Quals of row security come first and see true values; behind them are those of views that are barriers
    /// and are written through, which see what their reader sees.
    unsafe fn security(&mut self, query: *mut Query, entry: *mut RangeTblEntry, number: usize) {
        // SAFETY: an entry of the query's range table, with its number.
        unsafe {
            if (*entry).securityQuals.is_null() || is_ours(entry) {
                return;
            }
            let (mut quals, mut checks) = (std::ptr::null_mut(), std::ptr::null_mut());
            let (mut has_security, mut has_sublinks) = (false, false);
            raw::get_row_security_policies(
                query,
                entry,
                number as i32,
                &raw mut quals,
                &raw mut checks,
                &raw mut has_security,
                &raw mut has_sublinks,
            );
            for cell in cells((*entry).securityQuals).skip(each::<Node>(quals).count()) {
                self.put(cell);
            }
        }
    }

    /// Rows of statistics that tell of masked columns are not there.
    unsafe fn statistics(&mut self, entry: *mut RangeTblEntry, number: usize) {
        let Some((shown, shown_extended)) = self.masks.statistics else { return };
        // SAFETY: an entry of the query's range table, with its number; columns are those of pg_statistic.h and
        // pg_statistic_ext_data.h.
        unsafe {
            let (function, columns): (Oid, &[(AttrNumber, Oid)]) = match (*entry).relid.to_u32() {
                STATISTIC => (shown, &[(1, pg_sys::OIDOID), (2, pg_sys::INT2OID)]),
                STATISTIC_EXT_DATA => (shown_extended, &[(1, pg_sys::OIDOID)]),
                _ => return,
            };
            let mut arguments = std::ptr::null_mut();
            for (column, kind) in columns {
                let var = make::<Var>(NodeTag::T_Var);
                (*var).varno = number as _;
                (*var).varattno = *column;
                (*var).vartype = *kind;
                (*var).vartypmod = -1;
                (*var).varnosyn = number as _;
                (*var).varattnosyn = *column;
                (*var).location = -1;
                arguments = append(arguments, var);
            }
            let call = make::<pg_sys::FuncExpr>(NodeTag::T_FuncExpr);
            (*call).funcid = function;
            (*call).funcresulttype = pg_sys::BOOLOID;
            (*call).funcformat = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
            (*call).args = arguments;
            (*call).location = -1;
            (*entry).securityQuals = append((*entry).securityQuals, call);
        }
    }

    /// What is assigned to columns of rows that are there must not be made from what is masked.
    unsafe fn assignments(&mut self, targets: *mut List, table: Oid) {
        // SAFETY: a target list of the query at the level.
        unsafe {
            for target in each::<TargetEntry>(targets) {
                if self.denied.is_some() {
                    return;
                }
                if !(*target).resjunk
                    && let Some(source) =
                        taint::source_of(self.masks, self.level, (*target).expr.cast(), targets)
                {
                    self.denied = Some(Denied { source, target: (table, (*target).resno) });
                }
            }
        }
    }

    /// The trigger that updates a view in its own way is given whole rows, as its reader sees them, to be written.
    unsafe fn view_row(&mut self, query: *mut Query, view: Oid) {
        // SAFETY: a whole query, at the level.
        unsafe {
            for from in each::<RangeTblEntry>((*query).rtable) {
                if (*from).rtekind == RTEKind::RTE_SUBQUERY
                    && self.denied.is_none()
                    && let Some(source) = taint::source_of_output(self.masks, (*from).subquery)
                {
                    self.denied = Some(Denied { source, target: (view, 0) });
                }
            }
        }
    }

    /// Nor is it put into new rows, unless the table may keep masks.
    unsafe fn insertion(&mut self, targets: *mut List, table: Oid) {
        if !self.masks.keepers.contains(&table.to_u32()) {
            // SAFETY: a target list of the query at the level.
            unsafe { self.assignments(targets, table) };
        }
    }

    unsafe extern "C-unwind" fn mutate(node: *mut Node, context: *mut c_void) -> *mut Node {
        // SAFETY: PostgreSQL's mutators pass nodes or NULL, and the context we gave them.
        unsafe {
            if node.is_null() {
                return node;
            }
            let mutation = &mut *context.cast::<Mutation<'_>>();
            match tag(node) {
                NodeTag::T_Var => mutation.column(node.cast()),
                NodeTag::T_Const | NodeTag::T_Param => node,
                NodeTag::T_Query => {
                    mutation.query(node.cast());
                    node
                }
                _ => version::tree::mutate_expression(node, Self::mutate, context),
            }
        }
    }

    unsafe fn column(&mut self, column: *mut Var) -> *mut Node {
        // SAFETY: a Var of the query at the level; levels live as long as the walk.
        unsafe {
            if (*column).varattno < 0 {
                return column.cast();
            }
            let from = Level::up(self.level, (*column).varlevelsup)
                .and_then(|level| entry((*level).query, Index::try_from((*column).varno).ok()?));
            let Some(from) = from.filter(|from| is_table(&**from)) else { return column.cast() };
            let Some(masks) = self.masks.tables.get(&(*from).relid.to_u32()) else { return column.cast() };
            match (*column).varattno {
                0 => whole_row(column, masks),
                number => match masks.of(number) {
                    Some(masked) if masked.computed || !self.within_view => masked.mask.over(column),
                    _ => column.cast(),
                },
            }
        }
    }
}

/// pg_statistic and pg_statistic_ext_data.
const STATISTIC: u32 = 2619;
const STATISTIC_EXT_DATA: u32 = 3429;

/// Whether the quals are row filters of ours: written for true values.
unsafe fn is_ours(entry: *mut RangeTblEntry) -> bool {
    // SAFETY: an entry of a range table; the name is NULL or NUL-terminated. Only CTEs have one otherwise.
    unsafe {
        let name = (*entry).ctename;
        !name.is_null() && CStr::from_ptr(name).to_bytes().starts_with(b"pgc")
    }
}

/// `CASE WHEN row IS NULL THEN row ELSE ROW(columns, masked or not) END`
unsafe fn whole_row(row: *mut Var, masks: &TableMasks) -> *mut Node {
    // SAFETY: in a walk; a whole-row Var of the table; a copy of it with another number is one of its columns.
    unsafe {
        let (mut values, mut names) = (std::ptr::null_mut(), std::ptr::null_mut());
        for (at, described) in masks.row.iter().enumerate() {
            let name = raw::pstrdup(described.name.as_ptr());
            names = append(names, make_string(name));
            if described.dropped {
                // As the parser has it for a column that is gone (parse_relation.c: expandTupleDesc).
                values = append(values, null(pg_sys::INT4OID, -1, pg_sys::InvalidOid, 4, true));
                continue;
            }
            let column = copied(row);
            (*column).varattno = (at + 1) as AttrNumber;
            (*column).vartype = described.kind;
            (*column).vartypmod = described.typmod;
            (*column).varcollid = described.collation;
            (*column).varnosyn = 0;
            (*column).varattnosyn = 0;
            let value =
                masks.of((at + 1) as AttrNumber).map_or(column.cast(), |masked| masked.mask.over(column));
            values = append(values, value);
        }
        let masked = make::<pg_sys::RowExpr>(NodeTag::T_RowExpr);
        (*masked).args = values;
        (*masked).row_typeid = (*row).vartype;
        (*masked).row_format = pg_sys::CoercionForm::COERCE_IMPLICIT_CAST;
        (*masked).colnames = names;
        (*masked).location = -1;
        let when = make::<pg_sys::CaseWhen>(NodeTag::T_CaseWhen);
        (*when).expr = is_null(row.cast()).cast();
        (*when).result = copied(row).cast();
        (*when).location = -1;
        let case = make::<pg_sys::CaseExpr>(NodeTag::T_CaseExpr);
        (*case).casetype = (*row).vartype;
        (*case).args = append(std::ptr::null_mut(), when);
        (*case).defresult = masked.cast();
        (*case).location = -1;
        case.cast()
    }
}

/// `node IS NULL`, of the value itself: a row of NULLs is a row.
///
/// # Safety
/// In a walk; an expression, which is copied.
unsafe fn is_null(node: *mut Node) -> *mut Node {
    // SAFETY: as the caller promises.
    unsafe {
        let test = make::<pg_sys::NullTest>(NodeTag::T_NullTest);
        (*test).arg = copied(node).cast();
        (*test).nulltesttype = pg_sys::NullTestType::IS_NULL;
        (*test).argisrow = false;
        (*test).location = -1;
        test.cast()
    }
}

/// # Safety
/// In a walk; NUL-terminated.
unsafe fn make_string(text: *mut std::ffi::c_char) -> *mut Node {
    // SAFETY: as the caller promises.
    unsafe { raw::makeString(text) }
}
