//! Where PostgreSQL's versions differ. Nothing else in the crate asks for the version.

use super::query::RawRelation;
use super::raw;
use pgrx::pg_sys::{self, Node, PlannedStmt, Query, QueryDesc, ScanDirection};
use std::ffi::{c_int, c_void};

pub(super) mod port;
pub(super) mod tree;

/// Index of AddinShmemInitLock among the main locks (lwlocknames.txt, lwlocklist.h).
pub const ADDIN_SHMEM_INIT_LOCK: usize = 21;

/// Asks for shared memory: 15 and later want it asked for in a hook of its own.
pub fn install_shmem_request(request: unsafe extern "C-unwind" fn()) {
    #[cfg(feature = "pg14")]
    // SAFETY: in _PG_init under shared_preload_libraries, where 14 takes such requests.
    unsafe {
        request()
    };
    #[cfg(not(feature = "pg14"))]
    // SAFETY: in _PG_init under shared_preload_libraries; single-threaded.
    unsafe {
        pg_sys::shmem_request_hook = Some(request)
    };
}

/// The predecessor of our shmem_request_hook.
pub fn shmem_request_predecessor() -> Option<unsafe extern "C-unwind" fn()> {
    #[cfg(feature = "pg14")]
    return None;
    #[cfg(not(feature = "pg14"))]
    // SAFETY: in _PG_init; single-threaded.
    unsafe {
        pg_sys::shmem_request_hook
    }
}

/// Calls `each` with every relation of the statement whose privileges the executor checks.
///
/// Up to 15 they stand in the range table, from 16 in a list of their own (RTEPermissionInfo).
pub(super) fn each_relation(
    rtable: *mut pg_sys::List,
    permissions: *mut pg_sys::List,
    mut each: impl FnMut(RawRelation),
) {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        let _ = permissions;
        for entry in super::query::list::<pg_sys::RangeTblEntry>(rtable) {
            if entry.rtekind == pg_sys::RTEKind::RTE_RELATION && entry.requiredPerms != 0 {
                each(RawRelation {
                    relid: entry.relid,
                    permissions: entry.requiredPerms.into(),
                    check_as: entry.checkAsUser,
                    selected: entry.selectedCols,
                    inserted: entry.insertedCols,
                    updated: entry.updatedCols,
                    // SAFETY: NULL or a string of the statement.
                    limits: unsafe { super::predicate::stamp(entry.ctename) },
                });
            }
        }
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        // An entry of another kind has the name of its CTE there.
        let limits = |number: usize| {
            super::query::list::<pg_sys::RangeTblEntry>(rtable)
                .find(|entry| {
                    entry.rtekind == pg_sys::RTEKind::RTE_RELATION && entry.perminfoindex as usize == number
                })
                // SAFETY: NULL or a string of the statement.
                .map_or(0, |entry| unsafe { super::predicate::stamp(entry.ctename) })
        };
        for (index, info) in super::query::list::<pg_sys::RTEPermissionInfo>(permissions).enumerate() {
            if info.requiredPerms != 0 {
                each(RawRelation {
                    relid: info.relid,
                    permissions: info.requiredPerms,
                    check_as: info.checkAsUser,
                    selected: info.selectedCols,
                    inserted: info.insertedCols,
                    updated: info.updatedCols,
                    limits: limits(index + 1),
                });
            }
        }
    }
}

/// What is checked of an entry of the query's range table, if that is of a relation.
pub(super) fn permissions_of(query: &Query, entry: *mut pg_sys::RangeTblEntry) -> Option<RawRelation> {
    // SAFETY: an entry of the query.
    let entry = unsafe { entry.as_ref() }?;
    if entry.rtekind != pg_sys::RTEKind::RTE_RELATION {
        return None;
    }
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        let _ = query;
        (entry.requiredPerms != 0).then_some(RawRelation {
            relid: entry.relid,
            permissions: entry.requiredPerms.into(),
            check_as: entry.checkAsUser,
            selected: entry.selectedCols,
            inserted: entry.insertedCols,
            updated: entry.updatedCols,
            limits: 0,
        })
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    {
        let index = (entry.perminfoindex as usize).checked_sub(1)?;
        let info = super::query::list::<pg_sys::RTEPermissionInfo>(query.rteperminfos).nth(index)?;
        (info.requiredPerms != 0).then_some(RawRelation {
            relid: info.relid,
            permissions: info.requiredPerms,
            check_as: info.checkAsUser,
            selected: info.selectedCols,
            inserted: info.insertedCols,
            updated: info.updatedCols,
            limits: 0,
        })
    }
}

/// Whether it is MERGE, which 14 does not know.
pub(super) fn is_merge(command: pg_sys::CmdType::Type) -> bool {
    #[cfg(feature = "pg14")]
    {
        let _ = command;
        false
    }
    #[cfg(not(feature = "pg14"))]
    {
        command == pg_sys::CmdType::CMD_MERGE
    }
}

/// The list that [`each_relation`] reads from 16 on.
pub(super) fn planned_permissions(statement: &PlannedStmt) -> *mut pg_sys::List {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        let _ = statement;
        std::ptr::null_mut()
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    statement.permInfos
}

/// The list that [`each_relation`] reads from 16 on.
pub(super) fn query_permissions(query: &Query) -> *mut pg_sys::List {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    {
        let _ = query;
        std::ptr::null_mut()
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    query.rteperminfos
}

/// ExecutorRun lost its last argument in 18.
#[cfg(not(feature = "pg18"))]
pub(super) unsafe extern "C-unwind" fn executor_run(
    desc: *mut QueryDesc,
    direction: ScanDirection::Type,
    count: u64,
    once: bool,
) {
    // SAFETY: passes on what the executor gave us.
    unsafe { super::hooks::executor_run::trampoline(desc, direction, count, once) }
}

/// ExecutorRun lost its last argument in 18.
#[cfg(feature = "pg18")]
pub(super) unsafe extern "C-unwind" fn executor_run(
    desc: *mut QueryDesc,
    direction: ScanDirection::Type,
    count: u64,
) {
    // SAFETY: passes on what the executor gave us.
    unsafe { super::hooks::executor_run::trampoline(desc, direction, count, true) }
}

/// Calls the next ExecutorRun.
///
/// # Safety
/// The arguments are those of the hook; the frame owns nothing.
#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
pub(super) unsafe fn next_executor_run(
    next: pg_sys::ExecutorRun_hook_type,
    desc: *mut QueryDesc,
    direction: ScanDirection::Type,
    count: u64,
    once: bool,
) {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as for the hook itself.
    unsafe {
        match next {
            Some(next) => next(desc, direction, count, once),
            None => raw::standard_ExecutorRun(desc, direction, count, once),
        }
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as for the hook itself.
    unsafe {
        let _ = once;
        match next {
            Some(next) => next(desc, direction, count),
            None => raw::standard_ExecutorRun(desc, direction, count),
        }
    }
}

/// A function that looks at a node, and goes on to its children by [`walk_expression`] or [`walk_query`].
///
/// It calls nothing of pgrx's that is guarded: a guard in the middle of a walk turns an ERROR into a panic
/// that cannot pass the frames of C above it, and ends the server. So it owns nothing while it
/// calls on, either: an ERROR jumps over it, to [`walk`].
pub(super) type Walker = unsafe extern "C-unwind" fn(*mut Node, *mut c_void) -> bool;

/// A whole walk, with the one guard around it: trees that are nested too deeply raise an ERROR under it.
///
/// # Safety
/// `node` is a node or NULL, `context` what `walker` expects.
#[allow(ffi_unwind_calls)] // our own function, under the guard
pub(super) unsafe fn walk(node: *mut Node, walker: Walker, context: *mut c_void) -> bool {
    // SAFETY: as the caller promises; walkers own nothing.
    unsafe { pg_sys::ffi::pg_guard_ffi_boundary(|| walker(node, context)) }
}

/// Visits the children of an expression node, from a walker.
///
/// # Safety
/// `node` is a node or NULL, `context` what `walker` expects.
#[allow(ffi_unwind_calls)] // see Walker
pub(super) unsafe fn walk_expression(node: *mut Node, walker: Walker, context: *mut c_void) -> bool {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::expression_tree_walker(node, walker, context)
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::expression_tree_walker_impl(node, walker, context)
    }
}

/// Visits the parts of a query, its range table's entries first, from a walker.
///
/// # Safety
/// `query` is a whole query, `context` what `walker` expects.
#[allow(ffi_unwind_calls)] // see Walker
pub(super) unsafe fn walk_query(query: *mut Query, walker: Walker, context: *mut c_void) -> bool {
    let flags = pg_sys::QTW_EXAMINE_RTES_BEFORE as c_int;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::query_tree_walker(query, walker, context, flags)
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller promises.
    unsafe {
        raw::query_tree_walker_impl(query, walker, context, flags)
    }
}

/// The characters of a String node: `str` up to 14, `sval` from 15.
///
/// # Safety
/// `node` is a String.
pub(super) unsafe fn string_value(node: *const Node) -> *const std::ffi::c_char {
    #[cfg(feature = "pg14")]
    // SAFETY: as the caller promises.
    unsafe {
        (*node.cast::<pg_sys::Value>()).val.str_
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller promises.
    unsafe {
        (*node.cast::<pg_sys::String>()).sval
    }
}

/// Enters a stored tuple into the indexes of its table.
///
/// # Safety
/// `result` has its indexes open, `slot` holds the tuple just stored.
pub(super) unsafe fn insert_index_tuples(
    result: *mut pg_sys::ResultRelInfo,
    slot: *mut pg_sys::TupleTableSlot,
    state: *mut pg_sys::EState,
) {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    // SAFETY: as the caller promises.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
    }
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    // SAFETY: as the caller promises.
    unsafe {
        pg_sys::ExecInsertIndexTuples(
            result,
            slot,
            state,
            false,
            false,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            false,
        );
    }
}

/// The memory that index expressions use per tuple (executor.h: GetPerTupleMemoryContext).
///
/// # Safety
/// `state` is a live EState.
pub(super) unsafe fn per_tuple_memory(state: *mut pg_sys::EState) -> pg_sys::MemoryContext {
    // SAFETY: as the caller promises.
    unsafe {
        let mut context = (*state).es_per_tuple_exprcontext;
        if context.is_null() {
            context = pg_sys::MakePerTupleExprContext(state);
        }
        (*context).ecxt_per_tuple_memory
    }
}

/// A column's attribute, counted from 0. The attributes lie elsewhere from 18 on.
///
/// # Safety
/// `desc` is a tuple descriptor with more than `column` attributes.
unsafe fn attribute(desc: pg_sys::TupleDesc, column: usize) -> *const pg_sys::FormData_pg_attribute {
    #[cfg(not(feature = "pg18"))]
    // SAFETY: as the caller promises.
    unsafe {
        (*desc).attrs.as_ptr().add(column)
    }
    #[cfg(feature = "pg18")]
    // SAFETY: as the caller promises.
    unsafe {
        pg_sys::TupleDescAttr(desc, column as i32)
    }
}

/// Type, length and alignment of a table's column, counted from 0.
///
/// # Safety
/// As for [`attribute`].
pub(super) unsafe fn attribute_form(desc: pg_sys::TupleDesc, column: usize) -> (pg_sys::Oid, i16, u8) {
    // SAFETY: as the caller promises.
    unsafe {
        let attribute = &*attribute(desc, column);
        (attribute.atttypid, attribute.attlen, attribute.attalign as u8)
    }
}

/// Width (0 for variable length) and alignment in bytes of a table's column, counted from 0.
///
/// # Safety
/// As for [`attribute`].
pub(super) unsafe fn attribute_layout(desc: pg_sys::TupleDesc, column: usize) -> (u8, u8) {
    // SAFETY: as the caller promises.
    let (_, length, align) = unsafe { attribute_form(desc, column) };
    // pg_type.h: TYPALIGN_*
    let align = match align {
        b'd' => 8,
        b'i' => 4,
        b's' => 2,
        _ => 1,
    };
    (u8::try_from(length).unwrap_or(0), align)
}

/// Name of a table's column, counted from 0.
///
/// # Safety
/// As for [`attribute`]; the descriptor outlives the name.
pub(super) unsafe fn attribute_name<'a>(desc: pg_sys::TupleDesc, column: usize) -> &'a std::ffi::CStr {
    // SAFETY: as the caller promises; names are NUL-terminated.
    unsafe { std::ffi::CStr::from_ptr((*attribute(desc, column)).attname.data.as_ptr()) }
}

/// Name, type, type modifier and collation of a table's column, counted from 0, and whether it was dropped.
///
/// # Safety
/// As for [`attribute`].
pub(super) unsafe fn row_column(
    desc: pg_sys::TupleDesc,
    column: usize,
) -> (std::ffi::CString, pg_sys::Oid, i32, pg_sys::Oid, bool) {
    // SAFETY: as the caller promises.
    let (name, attribute) = unsafe { (attribute_name(desc, column).to_owned(), &*attribute(desc, column)) };
    (name, attribute.atttypid, attribute.atttypmod, attribute.attcollation, attribute.attisdropped)
}

/// Whether a table's column, counted from 0, is generated.
///
/// # Safety
/// As for [`attribute`].
pub(super) unsafe fn is_generated(desc: pg_sys::TupleDesc, column: usize) -> bool {
    // SAFETY: as the caller promises.
    unsafe { (*attribute(desc, column)).attgenerated != 0 }
}

/// The names of the columns that COPY takes if none are named, as a list of String nodes.
///
/// # Safety
/// The descriptor of an open relation.
pub(super) unsafe fn copied_columns(desc: pg_sys::TupleDesc) -> *mut pg_sys::List {
    let mut names = std::ptr::null_mut();
    // SAFETY: as the caller promises; the names are copied.
    unsafe {
        for column in 0..usize::try_from((*desc).natts).unwrap_or(0) {
            let attribute = &*attribute(desc, column);
            if !attribute.attisdropped && attribute.attgenerated == 0 {
                let name = pg_sys::makeString(pg_sys::pstrdup(attribute.attname.data.as_ptr()));
                names = pg_sys::lappend(names, name.cast());
            }
        }
    }
    names
}

/// An object's kind and name.
///
/// # Safety
/// `address` names an object, which need not exist.
pub(super) unsafe fn object_description(address: *const pg_sys::ObjectAddress) -> *const std::ffi::c_char {
    // SAFETY: as the caller promises.
    unsafe { pg_sys::getObjectDescription(address, true) }
}

/// Up to where the write-ahead log is on disk.
///
/// # Safety
/// Shared memory is attached, and the server is not in recovery.
pub(super) unsafe fn flushed_log() -> u64 {
    #[cfg(feature = "pg14")]
    // SAFETY: as the caller promises.
    unsafe {
        pg_sys::GetFlushRecPtr()
    }
    #[cfg(not(feature = "pg14"))]
    // SAFETY: as the caller promises; the timeline is not asked for.
    unsafe {
        pg_sys::GetFlushRecPtr(std::ptr::null_mut())
    }
}

/// How many backends there can be at a time.
pub(super) fn backends() -> usize {
    #[cfg(feature = "pg14")]
    // 14 takes requests for shared memory before it has counted (postinit.c: InitializeMaxBackends).
    // SAFETY: settings that do not change after the server's start.
    let backends = unsafe {
        unsafe extern "C" {
            static autovacuum_max_workers: c_int;
        }
        pg_sys::MaxConnections
            + autovacuum_max_workers
            + 1
            + pg_sys::max_worker_processes
            + pg_sys::max_wal_senders
    };
    #[cfg(not(feature = "pg14"))]
    // SAFETY: a variable that does not change after the server's start.
    let backends = unsafe { pg_sys::MaxBackends };
    usize::try_from(backends).unwrap_or(0)
}

/// Number of this backend among [`backends`], from 0; `None` for processes that are not counted.
pub(super) fn backend_index() -> Option<usize> {
    #[cfg(any(feature = "pg14", feature = "pg15", feature = "pg16"))]
    // SAFETY: a plain variable of the backend; counts from 1, and is -1 before it is known.
    let number = unsafe { pg_sys::MyBackendId } - 1;
    #[cfg(not(any(feature = "pg14", feature = "pg15", feature = "pg16")))]
    // SAFETY: a plain variable of the backend; auxiliary processes have the numbers behind the backends'.
    let number = unsafe { pg_sys::MyProcNumber };
    usize::try_from(number).ok().filter(|number| *number < backends())
}

/// Takes `pg_custodian.` for our settings: a misspelt one is an error and not a new setting, which
/// everybody could read.
pub fn reserve_settings() {
    // SAFETY: in _PG_init, after our settings were defined.
    unsafe {
        #[cfg(feature = "pg14")]
        pg_sys::EmitWarningsOnPlaceholders(c"pg_custodian".as_ptr());
        #[cfg(not(feature = "pg14"))]
        pg_sys::MarkGUCPrefixReserved(c"pg_custodian".as_ptr());
    }
}

/// Whether an entry of the range table only stands for the keys of GROUP BY, as from 18 on.
pub(super) fn is_grouping(kind: pg_sys::RTEKind::Type) -> bool {
    #[cfg(feature = "pg18")]
    return kind == pg_sys::RTEKind::RTE_GROUP;
    #[cfg(not(feature = "pg18"))]
    {
        let _ = kind;
        false
    }
}

/// The privileges that an entry of an access control list gives: 32 bits of a word before 16, all of it since.
pub(super) fn privileges(item: &pg_sys::AclItem) -> u64 {
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    return u64::from(item.ai_privs);
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    return item.ai_privs;
}

/// Whether function 4100 is pg_read_file_old: 17 has no such function, and 18 gives the number to another one.
pub(super) const READS_FILES_AS_OF_OLD: bool =
    cfg!(any(feature = "pg14", feature = "pg15", feature = "pg16"));
