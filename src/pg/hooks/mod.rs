//! The hooks, one file each, all of one pattern.
//!
//! A file holds the saved predecessor, `install`, and the trampoline. The trampoline hands a
//! borrowed view to one safe function of [`Handlers`], inside [`guarded`], which ends *before* the
//! next hook is called. The next hook is then called exactly once, unguarded, from a frame that
//! owns nothing: an ERROR of somebody else's jumps over us and keeps all its fields. Where the
//! end of a statement must be noted on errors too, the call stands in [`super::attempt`].
//!
//! In a parallel worker every hook goes straight to its successor: the leader's statement is
//! recorded and judged once, in the leader.

pub mod client_authentication;
pub mod emit_log;
pub mod estimates;
pub mod executor_end;
pub mod executor_finish;
pub mod executor_run;
pub mod executor_start;
pub mod function_call;
pub mod inlining;
pub mod object_access;
pub mod planner;
pub mod post_parse_analyze;
pub mod process_utility;
pub mod shmem;

use super::conceal::Secrets;
use super::connection::{Departure, Wish};
use super::failure::Erring;
use super::query::{Analysed, Planned};
use super::receiver::Exit;
use super::transaction::Ending;
use super::tree::draft::Draft;
use super::tree::frames::Manner;
use super::tree::stamp::{Destination, Stamp};
use super::utility::Utility;
use object_access::ObjectAccess;
use pgrx::pg_sys::Oid;
use pgrx::pg_sys::panic::{ErrorReport, pgrx_extern_c_guard};
use pgrx::{PgLogLevel, PgSqlErrorCode};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

/// Where a statement stands among those that run it, to be given back when it stops running.
pub type Depth = usize;

/// What a utility statement's beginning hands to its end.
#[derive(Debug, Clone, Copy)]
pub struct Ticket {
    /// 0 if it is not recorded.
    pub statement: u32,
    pub depth: Depth,
    /// Whether the statement names what can be looked up when it has gone well. Others may be gone by then:
    /// ROLLBACK frees itself.
    pub names: bool,
    /// Whether the transaction ends with it.
    pub closes: bool,
    /// Bytes sent to the client before it.
    pub sent: u64,
}

/// What is said of a statement, or a session, that was stopped from outside.
pub struct Explanation {
    pub code: PgSqlErrorCode,
    pub message: String,
    pub hint: String,
}

/// What the hooks call; `Err` is raised to the client.
///
/// `ran`, `failed`, `ended` and the transaction callbacks must not fail: the work is done.
pub struct Handlers {
    /// The shared memory was made.
    pub started: fn(),
    /// The server stops in order; nobody but this process is there any more.
    pub stopping: fn(),
    pub analysed: fn(&Analysed<'_>) -> Result<(), ErrorReport>,
    /// Returns whether the statement is recorded if its planning fails.
    pub planning: fn(&Analysed<'_>) -> Result<bool, ErrorReport>,
    pub planning_failed: fn(&Analysed<'_>, sqlstate: [u8; 5]),
    /// May change a query that was judged. Returns how it is to be planned.
    pub rewriting: fn(&mut Draft<'_>, &Analysed<'_>) -> Result<Manner, ErrorReport>,
    /// The same in a parallel worker, where there is no person: it may only refuse.
    pub rewriting_in_worker: fn(&mut Draft<'_>) -> Result<(), ErrorReport>,
    /// How relations look to whoever asks, for a plan to carry.
    pub looks: fn(&[u32]) -> Result<Vec<i32>, ErrorReport>,
    /// The relations that a plan depends on, and whether it still stands.
    pub depends_on: fn(&Stamp) -> Vec<u32>,
    pub stands: fn(&Stamp) -> Result<bool, ErrorReport>,
    /// A plan without a stamp is about to be executed.
    pub unstamped: fn(&Planned<'_>) -> Result<(), ErrorReport>,
    /// Whether statistics of a column (of any column, for 0) are kept from who plans now.
    pub hides: fn(Oid, i16) -> Result<bool, ErrorReport>,
    /// The table that COPY must read by a query.
    pub copied: fn(&Utility<'_>) -> Result<Option<Oid>, ErrorReport>,
    /// Whether the client is not told the details of an error. It must not fail, and look nothing up.
    pub conceals: fn([u8; 5]) -> bool,
    /// `explain` for EXPLAIN without ANALYZE, which starts the executor and never runs it.
    pub starting: fn(&Planned<'_>, explain: bool) -> Result<(), ErrorReport>,
    pub running: fn(key: usize, Destination, Exit) -> Result<Depth, ErrorReport>,
    /// A row of the execution that is watched is about to leave.
    pub row_leaves: fn() -> Result<(), ErrorReport>,
    /// Its rows are out; what runs now was judged when it began.
    pub finishing: fn(key: usize) -> Depth,
    pub ran: fn(key: usize, Depth, processed: u64),
    pub failed: fn(key: usize, Depth, processed: u64, sqlstate: [u8; 5]),
    pub ended: fn(key: usize),
    pub utility_starting: fn(&Utility<'_>) -> Result<Ticket, ErrorReport>,
    /// It has done its work, and can still fail.
    pub utility_closing: fn(Ticket) -> Result<(), ErrorReport>,
    pub utility_ended: fn(&Utility<'_>, Ticket, processed: u64),
    pub utility_failed: fn(Ticket, processed: u64, sqlstate: [u8; 5]),
    /// Where a text holds what must not be shown.
    pub secrets: Secrets,
    /// A text without what must not be shown, if it holds such.
    pub redacted: fn(&[u8]) -> Option<Vec<u8>>,
    /// What the client is told instead of PostgreSQL's message and hint about a statement, or a session,
    /// that was stopped from outside; `None` leaves them as they are.
    pub stopped: fn(session: bool) -> Option<Explanation>,
    pub object_access: fn(&ObjectAccess) -> Result<(), ErrorReport>,
    /// A function that runs in somebody else's right, or with settings of its own, begins.
    pub function_entered: fn(Oid) -> Result<(), ErrorReport>,
    /// It has ended, well or badly. It must not fail, and look nothing up.
    pub function_left: fn(Oid),
    /// A message is being reported that may be an error. It must not fail, and look nothing up.
    pub erring: fn(&Erring<'_>),
    /// An error ended what the client asked for; its SQLSTATE, unless it is that of the last `erring`.
    /// Called twice where a transaction is aborted. It must not fail, and look nothing up.
    pub failed_at_top: fn(Option<[u8; 5]>),
    /// The session has a role and a database: whether it may have them.
    pub admitting: fn() -> Result<(), ErrorReport>,
    /// The session has a role and a database; catalogs can be read, and nothing is run yet.
    pub connected: fn(),
    /// The client was not let in. It must not fail, and look nothing up.
    pub turned_away: fn(&Wish),
    /// The session ends. It must not fail, and look nothing up.
    pub disconnected: fn(Departure),
    pub transaction_ended: fn(Ending),
    pub subtransaction_aborted: fn(u32),
    /// The session ends; `processed` tells the rows of an execution that runs, and of no other.
    pub session_ending: fn(processed: fn(usize) -> u64),
    /// Statements now on their way in the executor.
    pub depth: fn() -> Depth,
}

static HANDLERS: OnceLock<Handlers> = OnceLock::new();

/// Installs all hooks; once, in the postmaster.
pub fn install(handlers: Handlers) {
    if HANDLERS.set(handlers).is_err() {
        return;
    }
    // A session's first statement may fail in the parser: see `transaction`.
    super::transaction::register();
    super::sent::install();
    shmem::install();
    client_authentication::install();
    post_parse_analyze::install();
    planner::install();
    inlining::install();
    function_call::install();
    estimates::install();
    executor_start::install();
    executor_run::install();
    executor_finish::install();
    executor_end::install();
    process_utility::install();
    object_access::install();
    emit_log::install();
}

#[inline]
pub(super) fn handlers() -> Option<&'static Handlers> {
    HANDLERS.get()
}

/// The handlers, where the hooks have work: not in a parallel worker, not at work for ourselves.
#[inline]
fn active() -> Option<&'static Handlers> {
    if super::session::is_parallel_worker() || super::scope::is_internal() {
        return None;
    }
    handlers()
}

/// Tells that the session ends, while what it runs is still there: ShutdownPostgres takes it away.
pub(super) fn session_ending() {
    if let Some(handlers) = handlers() {
        quietly(|| (handlers.session_ending)(executor_run::processed));
    }
}

/// Runs one handler; its error, or an ERROR under it, is raised when all its Rust values are gone.
#[inline]
pub(super) fn guarded<T: Copy>(work: impl FnOnce() -> Result<T, ErrorReport>) -> T {
    // pgrx's guard only for what goes wrong: it costs more than most handlers do.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => value,
        Ok(Err(report)) => raise(|| report.report(PgLogLevel::ERROR)),
        Err(panic) => raise(|| resume_unwind(panic)),
    }
}

/// Raises what `work` raises, which it does.
#[cold]
fn raise(work: impl FnOnce()) -> ! {
    // SAFETY: called from hooks, on the backend's only thread, where PostgreSQL can take an ERROR; whoever calls owns
    // nothing any more.
    unsafe {
        pgrx_extern_c_guard(|| {
            work();
            unreachable!("an ERROR does not return")
        })
    }
}

/// An ERROR with this code leaves what the client has sent, if `outermost`. If that was stopped from outside, the
/// ERROR says why from now on: code, message and hint. Returns its code.
///
/// Not earlier: functions that catch errors must take it for the cancellation that it is, for WHEN OTHERS catches
/// everything else. And not in emit_log only, which is called for what is logged.
fn explained(outermost: bool, sqlstate: [u8; 5]) -> [u8; 5] {
    if !outermost || &sqlstate != b"57014" {
        return sqlstate;
    }
    let mut code = sqlstate;
    quietly(|| {
        if let Some(handlers) = handlers()
            && let Some(said) = (handlers.stopped)(false)
        {
            code = crate::error::sqlstate(said.code as i32);
            super::failure::say(&said);
        }
    });
    code
}

/// Runs a handler where nothing may be raised. A panic under it is a fault of ours: it goes to the
/// server log and no further.
pub(super) fn quietly(work: impl FnOnce()) {
    let work = std::panic::AssertUnwindSafe(work);
    if std::panic::catch_unwind(work).is_err() {
        // Plain standard error, which the log collector reads: the error stack may be in use.
        eprintln!("pg_custodian: internal error while an event was recorded");
    }
}
