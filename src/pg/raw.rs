//! PostgreSQL's functions without pgrx's guard around each call.
//!
//! pgrx wraps every call in a `sigsetjmp` and rebuilds passing errors, which drops their
//! SCHEMA, TABLE, COLUMN, CONSTRAINT and cursor position. Two kinds of functions are therefore
//! declared again: those that cannot raise an error (plain "C"), because they are called for
//! every statement; and those ("C-unwind") on the call chain of a hook, because an error of
//! somebody else's must pass through us untouched, or of a walk, because a guard cannot stand inside
//! another call's frames. The latter are called only from [`super::hooks`] and from walkers
//! ([`super::version::walk`]), in frames that own nothing.
#![allow(clashing_extern_declarations)]

use super::version::Walker;
use super::version::tree::Mutator;
use pgrx::pg_sys::{
    AttrNumber, BackendState, Const, Datum, FullTransactionId, FunctionCallInfo, Index, Latch, List, Node,
    Oid, ParamListInfo, PlannedStmt, ProcessUtilityContext, Query, QueryCompletion, QueryDesc,
    QueryEnvironment, RangeTblEntry, ScanDirection, SubTransactionId, TimestampTz, Var,
};
use std::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    // miscinit.c
    pub safe fn GetUserId() -> Oid;
    pub safe fn GetOuterUserId() -> Oid;
    pub safe fn GetSessionUserId() -> Oid;
    pub safe fn GetAuthenticatedUserId() -> Oid;
    pub safe fn InNoForceRLSOperation() -> bool;
    // timestamp.c
    pub safe fn GetCurrentTimestamp() -> TimestampTz;
    // xact.c
    pub safe fn GetCurrentStatementStartTimestamp() -> TimestampTz;
    pub safe fn GetCurrentSubTransactionId() -> SubTransactionId;
    pub safe fn IsTransactionState() -> bool;
    pub safe fn IsTransactionBlock() -> bool;
    pub safe fn IsInParallelMode() -> bool;
    pub safe fn GetTopFullTransactionIdIfAny() -> FullTransactionId;
    // snapmgr.c
    pub safe fn ActiveSnapshotSet() -> bool;
    // latch.c
    pub fn SetLatch(latch: *mut Latch);
    // elog.c
    pub safe fn geterrcode() -> c_int;
    pub safe fn getinternalerrposition() -> c_int;
    pub fn errcode(sqlstate: c_int) -> c_int;
    pub fn errmsg_internal(format: *const c_char, ...) -> c_int;
    pub fn errdetail_internal(format: *const c_char, ...) -> c_int;
    pub fn errhint(format: *const c_char, ...) -> c_int;
    // backend_status.c
    pub fn pgstat_report_activity(state: BackendState::Type, text: *const c_char);
    // sequence.c
    pub safe fn ResetSequenceCaches();
    // trigger.c; takes no argument
    pub fn pg_trigger_depth(call: FunctionCallInfo) -> Datum;
    // plancache.c
    pub safe fn ResetPlanCache();
}

unsafe extern "C-unwind" {
    // auth.c; pgrx does not know it
    pub static mut ClientAuthentication_hook:
        Option<unsafe extern "C-unwind" fn(*mut pgrx::pg_sys::Port, c_int)>;
    // elog.c
    pub fn pg_re_throw() -> !;
    // async.c
    pub fn Async_UnlistenAll();
    pub fn Async_Notify(channel: *const c_char, payload: *const c_char);
    // auth-scram.c
    pub fn pg_be_scram_build_secret(password: *const c_char) -> *mut c_char;
    // planner.c
    pub fn standard_planner(
        parse: *mut Query,
        query_string: *const c_char,
        cursor_options: c_int,
        bound_params: ParamListInfo,
    ) -> *mut PlannedStmt;
    // execMain.c
    pub fn standard_ExecutorStart(query_desc: *mut QueryDesc, eflags: c_int);
    #[cfg(not(feature = "pg18"))]
    pub fn standard_ExecutorRun(
        query_desc: *mut QueryDesc,
        direction: ScanDirection::Type,
        count: u64,
        execute_once: bool,
    );
    #[cfg(feature = "pg18")]
    pub fn standard_ExecutorRun(query_desc: *mut QueryDesc, direction: ScanDirection::Type, count: u64);
    pub fn standard_ExecutorFinish(query_desc: *mut QueryDesc);
    pub fn standard_ExecutorEnd(query_desc: *mut QueryDesc);
    // nodeFuncs.c
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    pub fn expression_tree_walker(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    pub fn expression_tree_walker_impl(node: *mut Node, walker: Walker, context: *mut c_void) -> bool;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    pub fn query_tree_walker(query: *mut Query, walker: Walker, context: *mut c_void, flags: c_int) -> bool;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    pub fn query_tree_walker_impl(
        query: *mut Query,
        walker: Walker,
        context: *mut c_void,
        flags: c_int,
    ) -> bool;
    #[cfg(any(feature = "pg14", feature = "pg15"))]
    pub fn expression_tree_mutator(node: *mut Node, mutator: Mutator, context: *mut c_void) -> *mut Node;
    #[cfg(not(any(feature = "pg14", feature = "pg15")))]
    pub fn expression_tree_mutator_impl(node: *mut Node, mutator: Mutator, context: *mut c_void)
    -> *mut Node;
    pub fn exprType(expression: *const Node) -> Oid;
    pub fn check_functions_in_node(
        node: *mut Node,
        checker: unsafe extern "C-unwind" fn(Oid, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
    // makefuncs.c
    pub fn makeVar(
        varno: c_int,
        varattno: AttrNumber,
        vartype: Oid,
        vartypmod: i32,
        varcollid: Oid,
        varlevelsup: Index,
    ) -> *mut Var;
    pub fn exprTypmod(expression: *const Node) -> i32;
    // what new nodes are made with, within a walk: copyfuncs.c, makefuncs.c, mcxt.c, list.c, value.c
    pub fn copyObjectImpl(from: *const c_void) -> *mut c_void;
    pub fn makeConst(
        kind: Oid,
        typmod: i32,
        collation: Oid,
        length: c_int,
        value: Datum,
        is_null: bool,
        by_value: bool,
    ) -> *mut Const;
    pub fn palloc0(size: usize) -> *mut c_void;
    pub fn pstrdup(text: *const c_char) -> *mut c_char;
    pub fn makeString(text: *mut c_char) -> *mut Node;
    pub fn lappend(list: *mut List, datum: *mut c_void) -> *mut List;
    // rowsecurity.c
    pub fn get_row_security_policies(
        root: *mut Query,
        entry: *mut RangeTblEntry,
        index: c_int,
        quals: *mut *mut List,
        checks: *mut *mut List,
        has_row_security: *mut bool,
        has_sublinks: *mut bool,
    );
    // pg_inherits.c
    pub fn has_subclass(relation: Oid) -> bool;
    // lsyscache.c
    pub fn func_volatile(function: Oid) -> c_char;
    pub fn func_parallel(function: Oid) -> c_char;
    pub fn get_func_retset(function: Oid) -> bool;
    // lsyscache.c
    pub fn get_opcode(operator: Oid) -> Oid;
    // utility.c
    pub fn standard_ProcessUtility(
        pstmt: *mut PlannedStmt,
        query_string: *const c_char,
        read_only_tree: bool,
        context: ProcessUtilityContext::Type,
        params: ParamListInfo,
        query_env: *mut QueryEnvironment,
        dest: *mut pgrx::pg_sys::DestReceiver,
        qc: *mut QueryCompletion,
    );
}
