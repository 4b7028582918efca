//! What a plan carries: how the relations that it depends on looked when it was made, and the query that it was
//! made from.
//!
//! Plans are copied (plancache.c), and the only place in a PlannedStmt for nodes that nobody looks at before
//! the executor starts is its list of subplans. So a CustomScan of nothing lies at its end, which is taken off in
//! every ExecutorStart.

use super::draft::Prepared;
use pgrx::pg_sys::{self, CustomScan, CustomScanMethods, List, NodeTag, PlannedStmt, Query, QueryDesc};
use std::ffi::c_int;

/// What a started statement's rows go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A client, a function, a file: whoever asks.
    Asker,
    /// A new table.
    Table { temporary: bool },
    /// A materialized view, made or made anew.
    Materialized,
}

/// What a plan carries.
pub struct Stamp {
    /// [`super::draft::PUTS_OUT_MASKS`] and what else is known of the statement.
    pub flags: i32,
    /// How the relations looked.
    pub looks: Vec<i32>,
    pub destination: Destination,
    /// Names the execution until its end.
    pub key: usize,
}

struct Methods(CustomScanMethods);

// SAFETY: never written to; the name is a constant.
unsafe impl Sync for Methods {}

static METHODS: Methods =
    Methods(CustomScanMethods { CustomName: c"pg_custodian stamp".as_ptr(), CreateCustomScanState: None });

/// Stamps a plan.
///
/// # Safety
/// A plan that was just made, from what `prepared` tells of.
pub(in crate::pg) unsafe fn put(plan: *mut PlannedStmt, prepared: Prepared, looks: &[i32], folded: bool) {
    // SAFETY: as the caller promises; nodes are made as makefuncs.c makes them.
    unsafe {
        let mut numbers = pg_sys::lappend_int(std::ptr::null_mut(), prepared.flags);
        for number in looks {
            numbers = pg_sys::lappend_int(numbers, *number);
        }
        let stamp = pg_sys::palloc0(size_of::<CustomScan>()).cast::<CustomScan>();
        (*stamp.cast::<pg_sys::Node>()).type_ = NodeTag::T_CustomScan;
        (*stamp).methods = &raw const METHODS.0;
        let content = pg_sys::lappend(std::ptr::null_mut(), numbers.cast());
        (*stamp).custom_private = pg_sys::lappend(content, prepared.kept.cast());
        (*plan).subplans = pg_sys::lappend((*plan).subplans, stamp.cast());
        // What a function found that was run meanwhile is no longer looked up: not for long.
        (*plan).transientPlan |= folded;
    }
}

/// What inlining made part of the plan makes it invalid when it changes.
///
/// # Safety
/// As for [`put`].
pub(in crate::pg) unsafe fn depend(plan: *mut PlannedStmt, prepared: Prepared) {
    // SAFETY: as the caller promises.
    unsafe {
        if !prepared.inlined.is_null() {
            (*plan).invalItems = pg_sys::list_concat((*plan).invalItems, prepared.inlined);
        }
        (*plan).dependsOnRole |= prepared.depends_on_role;
    }
}

/// The stamp of a plan.
unsafe fn of(plan: *const PlannedStmt) -> Option<*mut CustomScan> {
    // SAFETY: a plan; its subplans are nodes or NULL.
    unsafe {
        let subplans = (*plan).subplans.as_ref()?;
        let last = (*subplans.elements.add(usize::try_from(subplans.length).ok()?.checked_sub(1)?)).ptr_value;
        let last = last.cast::<CustomScan>();
        let is_stamp = !last.is_null()
            && (*last.cast::<pg_sys::Node>()).type_ == NodeTag::T_CustomScan
            && std::ptr::eq((*last).methods, &raw const METHODS.0);
        is_stamp.then_some(last)
    }
}

/// Whether the plan about to be executed carries a stamp.
///
/// # Safety
/// The argument of the executor's hook.
pub(in crate::pg) unsafe fn is_on(desc: *const QueryDesc) -> bool {
    // SAFETY: as the caller promises.
    unsafe { of((*desc).plannedstmt).is_some() }
}

/// Reads the stamp.
///
/// # Safety
/// As for [`is_on`].
pub(in crate::pg) unsafe fn read(desc: *const QueryDesc) -> Option<Stamp> {
    // SAFETY: as the caller promises; the stamp is what `put` made, or a copy of it.
    unsafe {
        let stamp = of((*desc).plannedstmt)?;
        let numbers = (*(*(*stamp).custom_private).elements).ptr_value.cast::<List>();
        let length = usize::try_from((*numbers).length).unwrap_or(0);
        let number = |at| (*(*numbers).elements.add(at)).int_value;
        let looks = (1..length).map(number).collect();
        let (destination, key) = (destination(desc), desc as usize);
        Some(Stamp { flags: number(0), looks, destination, key })
    }
}

/// Takes the stamp off. The plan may belong to a cache, so a copy of its first node is changed.
///
/// # Safety
/// As for [`is_on`].
pub(in crate::pg) unsafe fn take_off(desc: *mut QueryDesc) {
    // SAFETY: as the caller promises; the copy lives as long as the QueryDesc.
    unsafe {
        let plan = (*desc).plannedstmt;
        if of(plan).is_none() {
            return;
        }
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::GetMemoryChunkContext(desc.cast()));
        let copy = pg_sys::palloc(size_of::<PlannedStmt>()).cast::<PlannedStmt>();
        std::ptr::copy_nonoverlapping(plan, copy, 1);
        let subplans = pg_sys::list_copy((*plan).subplans);
        (*copy).subplans = pg_sys::list_truncate(subplans, (*subplans).length - 1);
        (*desc).plannedstmt = copy;
        pg_sys::MemoryContextSwitchTo(before);
    }
}

/// Plans anew from the query that the stamp carries, in the place of the plan.
///
/// # Safety
/// As for [`is_on`]; there is a stamp.
pub(in crate::pg) unsafe fn plan_again(desc: *mut QueryDesc, eflags: c_int) {
    // SAFETY: as the caller promises; its relations are locked, since those of the plan are.
    unsafe {
        let old = (*desc).plannedstmt;
        let Some(stamp) = of(old) else { return };
        let kept = (*(*(*stamp).custom_private).elements.add(1)).ptr_value.cast::<Query>();
        let mut options = 0;
        if eflags & pg_sys::EXEC_FLAG_BACKWARD as c_int != 0 {
            options |= pg_sys::CURSOR_OPT_SCROLL as c_int;
        }
        if (*old).parallelModeNeeded {
            options |= pg_sys::CURSOR_OPT_PARALLEL_OK as c_int;
        }
        let before = pg_sys::MemoryContextSwitchTo(pg_sys::GetMemoryChunkContext(desc.cast()));
        let query = pg_sys::copyObjectImpl(kept.cast_const().cast()).cast();
        let plan = pg_sys::planner(query, (*desc).sourceText, options, (*desc).params);
        (*plan).queryId = (*old).queryId;
        (*plan).stmt_location = (*old).stmt_location;
        (*plan).stmt_len = (*old).stmt_len;
        (*desc).plannedstmt = plan;
        pg_sys::MemoryContextSwitchTo(before);
    }
}

/// createas.c: DR_intorel, as far as what it is made for.
#[repr(C)]
struct IntoReceiver {
    receiver: pg_sys::DestReceiver,
    into: *mut pg_sys::IntoClause,
}

/// Where the rows of an execution go. It may not be known before it runs.
///
/// # Safety
/// As for [`is_on`].
pub(in crate::pg) unsafe fn destination(desc: *const QueryDesc) -> Destination {
    // SAFETY: a QueryDesc has a receiver, whose kind says which struct it is.
    unsafe {
        let Some(receiver) = (*desc).dest.as_ref() else { return Destination::Asker };
        match receiver.mydest {
            pg_sys::CommandDest::DestIntoRel => {
                let into = (*(*desc).dest.cast::<IntoReceiver>()).into;
                let Some(into) = into.as_ref() else { return Destination::Table { temporary: false } };
                if !into.viewQuery.is_null() {
                    return Destination::Materialized;
                }
                let persistence = into.rel.as_ref().map(|table| table.relpersistence as u8);
                let schema = into.rel.as_ref().map(|table| table.schemaname).filter(|name| !name.is_null());
                let in_temporary = schema
                    .is_some_and(|name| std::ffi::CStr::from_ptr(name).to_bytes() == b"pg_temp".as_slice());
                let temporary = persistence == Some(pg_sys::RELPERSISTENCE_TEMP) || in_temporary;
                Destination::Table { temporary }
            }
            pg_sys::CommandDest::DestTransientRel => Destination::Materialized,
            _ => Destination::Asker,
        }
    }
}
