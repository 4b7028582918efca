//! What all processes of the server share.

use super::local::process_local;
use super::raw;
use crate::error::ServerError;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Databases that can have background workers at a time.
pub const DATABASES: usize = 64;

/// What is up with a background worker of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ProcessState {
    /// The database may need it; the launcher shall start it.
    Wanted = 0,
    Starting = 1,
    Running = 2,
    /// It ended by an error.
    Failed = 3,
    /// It left so that the database can be dropped or copied.
    Paused = 4,
}

/// What a background worker of a database tells the others.
#[repr(C)]
#[derive(Debug)]
pub struct Process {
    state: AtomicU32,
    pub pid: AtomicI32,
    sleeping: AtomicU32,
    /// When the launcher asked for it.
    started_at: AtomicI64,
    latch: AtomicPtr<pg_sys::Latch>,
}

/// The background workers of a database, and what they tell the others. `database` 0 means the
/// slot is free.
#[repr(C)]
#[derive(Debug)]
pub struct DatabaseSlot {
    pub database: AtomicU32,
    /// Whether the extension was found there, which the ledger writer looks for.
    installed: AtomicU32,
    pub writer: Process,
    pub steward: Process,
    /// Everything below is in the ledger.
    pub position: AtomicU64,
    /// Segments below are not needed any more, not even after a restart.
    pub needed_from: AtomicU64,
    /// Rows in the ledger.
    pub rows: AtomicU64,
    /// The number of rows that somebody wants a checkpoint of.
    pub checkpoint_wanted: AtomicI64,
    /// The number of rows that the last checkpoint covers.
    pub checkpointed: AtomicI64,
    /// When the steward looks again if nobody wakes it, in microseconds since 2000.
    deadline: AtomicI64,
    /// Of the database's name, for those who do not know its number yet; 0: not known.
    name: AtomicU64,
    /// Roles that are enrolled there, the others 0.
    enrolled: [AtomicU32; ENROLLED],
}

/// Enrolled roles of a database that are known outside of it.
const ENROLLED: usize = 64;

/// Words for a part that needs some of its own.
pub const WORDS: usize = 32;

/// Lives in shared memory, zeroed at its creation.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Shared {
    /// The journal's; see `crate::trail`.
    pub words: [AtomicU64; WORDS],
    generation: AtomicU64,
    launcher: AtomicPtr<pg_sys::Latch>,
    /// Moves when a database that was known not to have the extension may have it now.
    wanted: AtomicU32,
    /// Whether every database has got its slot: before that no part of the journal may go.
    surveyed: AtomicU32,
    /// The settings that were recorded last.
    pub settings: Memo,
    pub databases: [DatabaseSlot; DATABASES],
}

const MEMO: usize = 1024;

/// Some bytes that one process leaves for those who come after it: 8 KiB at most, or none.
#[repr(C)]
#[derive(Debug)]
pub struct Memo {
    length: AtomicU64,
    words: [AtomicU64; MEMO],
}

impl Memo {
    /// Keeps `bytes` in the place of what was kept.
    pub fn remember(&self, bytes: &[u8]) {
        self.length.store(0, Ordering::Release);
        if bytes.len() <= MEMO * 8 {
            for (word, chunk) in self.words.iter().zip(bytes.chunks(8)) {
                let mut whole = [0; 8];
                whole[..chunk.len()].copy_from_slice(chunk);
                word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
            }
            self.length.store(bytes.len() as u64, Ordering::Release);
        }
    }

    /// What is kept.
    pub fn recall(&self) -> Vec<u8> {
        let length = (self.length.load(Ordering::Acquire) as usize).min(MEMO * 8);
        let words = self.words.iter().take(length.div_ceil(8));
        let mut bytes: Vec<u8> = words.flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes()).collect();
        bytes.truncate(length);
        bytes
    }
}

static SHARED: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// Bytes to ask the postmaster for.
pub const fn size() -> usize {
    size_of::<Shared>() + align_of::<Shared>()
}

/// Finds or makes the shared memory; called from shmem_startup_hook in every process.
/// Returns whether it is new.
pub(super) fn attach() -> bool {
    let mut found = false;
    // SAFETY: called where ipci.c allows it, under AddinShmemInitLock; the size is the one requested; zero bytes
    // are a valid Shared (atomics only).
    unsafe {
        let lock = &raw mut (*pg_sys::MainLWLockArray.add(super::version::ADDIN_SHMEM_INIT_LOCK)).lock;
        pg_sys::LWLockAcquire(lock, pg_sys::LWLockMode::LW_EXCLUSIVE);
        let base = pg_sys::ShmemInitStruct(c"pg_custodian".as_ptr(), size(), &mut found).cast::<u8>();
        let base = base.add(base.align_offset(align_of::<Shared>())).cast::<Shared>();
        if !found {
            std::ptr::write_bytes(base, 0, 1);
        }
        SHARED.store(base, Ordering::Release);
        super::sessions::attach();
        pg_sys::LWLockRelease(lock);
    }
    !found
}

/// The shared memory, if the library was preloaded.
pub fn get() -> Option<&'static Shared> {
    // SAFETY: set once by `attach` to memory that lives as long as the process.
    unsafe { SHARED.load(Ordering::Acquire).as_ref() }
}

/// The shared memory, or the error that says what to configure.
pub fn require() -> Result<&'static Shared, ServerError> {
    get().ok_or(ServerError::NotPreloaded)
}

/// Errs unless the library was loaded by shared_preload_libraries.
pub fn preloaded() -> Result<(), ServerError> {
    require().map(|_| ())
}

/// Number of the configuration: changes with every committed change of roles, issuers, grants or policies.
///
/// In the backend that makes a change it moves at once and again at the end of the transaction, so
/// that nothing remembered before the change, or before its ROLLBACK, is taken for what holds.
pub fn generation() -> u64 {
    let shared = get().map_or(0, |shared| shared.generation.load(Ordering::Acquire));
    shared.wrapping_add(CHANGES.get() << 40)
}

process_local! {
    static CHANGES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// A change of configuration was made in this backend, or undone.
pub(super) fn changed_here() {
    CHANGES.set(CHANGES.get() + 1);
}

/// Announces a change of configuration at the commit of the running transaction.
pub fn config_changed() {
    changed_here();
    super::transaction::on_commit_announce();
}

/// Makes every backend read its configuration anew at its next statement, and the stewards look at
/// the statements that run.
pub(super) fn next_generation() {
    if let Some(shared) = get() {
        shared.generation.fetch_add(1, Ordering::SeqCst);
        shared.databases.iter().for_each(|slot| slot.steward.wake());
    }
}

fn wake(latch: &AtomicPtr<pg_sys::Latch>) {
    let latch = latch.load(Ordering::Acquire);
    if !latch.is_null() {
        // SAFETY: the latch of a process slot in shared memory: it outlives its process.
        unsafe { raw::SetLatch(latch) }
    }
}

impl Shared {
    /// The slot of `database`.
    pub fn database(&self, database: u32) -> Option<&DatabaseSlot> {
        self.databases.iter().find(|slot| slot.database.load(Ordering::Acquire) == database)
    }

    /// The slot of `database`, taken now if there is none; `None` if all are taken.
    pub fn take_database(&self, database: u32, needed_from: u64) -> Option<&DatabaseSlot> {
        if let Some(slot) = self.database(database) {
            return Some(slot);
        }
        self.databases.iter().find(|slot| {
            let taken =
                slot.database.compare_exchange(0, u32::MAX, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if taken {
                slot.rows.store(0, Ordering::Relaxed);
                slot.position.store(needed_from, Ordering::Relaxed);
                slot.needed_from.store(needed_from, Ordering::Relaxed);
                slot.installed.store(0, Ordering::Relaxed);
                slot.name.store(0, Ordering::Relaxed);
                slot.checkpoint_wanted.store(0, Ordering::Relaxed);
                slot.checkpointed.store(0, Ordering::Relaxed);
                slot.writer.set_state(ProcessState::Wanted);
                slot.steward.set_state(ProcessState::Wanted);
                slot.database.store(database, Ordering::Release);
            }
            taken
        })
    }

    /// The slot of the database with this name, if its steward has told it.
    pub fn database_called(&self, name: &[u8]) -> Option<&DatabaseSlot> {
        let name = name_hash(name);
        self.databases.iter().find(|slot| slot.installed() && slot.name.load(Ordering::Acquire) == name)
    }

    /// Every database that may need workers has its slot from now on.
    pub fn set_surveyed(&self) {
        self.surveyed.store(1, Ordering::Release);
    }

    /// Where the part of the journal begins that some ledger still needs; `None` if that is not known yet.
    pub fn journal_needed_from(&self) -> Option<u64> {
        if self.surveyed.load(Ordering::Acquire) == 0 {
            return None;
        }
        let taken = self.databases.iter().filter(|slot| slot.database.load(Ordering::Acquire) != 0);
        taken.map(|slot| slot.needed_from.load(Ordering::Acquire)).min()
    }

    /// Makes the launcher look which databases need workers.
    pub fn wake_launcher(&self) {
        wake(&self.launcher);
    }

    /// The extension may have come to a database: the launcher looks at all of them again.
    pub fn look_again(&self) {
        self.wanted.fetch_add(1, Ordering::AcqRel);
        self.wake_launcher();
    }

    /// A number that moves with each [`Self::look_again`].
    pub fn wanted(&self) -> u32 {
        self.wanted.load(Ordering::Acquire)
    }

    /// This process is the launcher from now on.
    pub fn register_launcher(&self) {
        // SAFETY: a plain variable of the backend.
        self.launcher.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }
}

/// FNV-1a, never 0: names of databases are told apart by it where a collision would only put an event into the
/// wrong ledger.
fn name_hash(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

impl DatabaseSlot {
    /// OID of the database.
    pub fn number(&self) -> u32 {
        self.database.load(Ordering::Acquire)
    }

    /// Tells all processes what the database is called and who is enrolled in it; its steward does.
    pub fn introduce(&self, name: &[u8], enrolled: &[u32]) {
        let roles = enrolled.iter().copied().chain(std::iter::repeat(0));
        for (place, role) in self.enrolled.iter().zip(roles) {
            place.store(role, Ordering::Relaxed);
        }
        self.name.store(name_hash(name), Ordering::Release);
    }

    /// Whether a role is enrolled in the database, as far as its steward has told.
    pub fn has_enrolled(&self, role: u32) -> bool {
        role != 0 && self.enrolled.iter().any(|place| place.load(Ordering::Relaxed) == role)
    }

    /// Whether the extension is in the database.
    pub fn installed(&self) -> bool {
        self.installed.load(Ordering::Acquire) != 0
    }

    /// The extension was found in the database, or is not there any more.
    pub fn set_installed(&self, installed: bool) {
        self.installed.store(installed.into(), Ordering::Release);
    }

    /// The database needs no workers: the slot is free again. A steward that is there finds out.
    pub fn free(&self) {
        self.installed.store(0, Ordering::Release);
        self.database.store(0, Ordering::Release);
        self.steward.wake();
    }

    /// Says when the steward looks again. With `i64::MAX` before it looks at the sessions, so that
    /// whoever changes one meanwhile wakes it.
    pub fn set_deadline(&self, at: i64) {
        self.deadline.store(at, Ordering::SeqCst);
    }

    /// A session was changed that the steward must look at before `at`: wakes it if it would not.
    /// Call after the change is in shared memory.
    pub fn look_before(&self, at: i64) {
        if at < self.deadline.load(Ordering::SeqCst) {
            self.steward.wake();
        }
    }
}

impl Process {
    pub fn state(&self) -> ProcessState {
        match self.state.load(Ordering::Acquire) {
            1 => ProcessState::Starting,
            2 => ProcessState::Running,
            3 => ProcessState::Failed,
            4 => ProcessState::Paused,
            _ => ProcessState::Wanted,
        }
    }

    pub fn set_state(&self, state: ProcessState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// Goes from one state to another, unless somebody has paused it meanwhile, say.
    pub fn change(&self, from: ProcessState, to: ProcessState) -> bool {
        self.state.compare_exchange(from as u32, to as u32, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// This process does its work from now on.
    pub fn set_running(&self) {
        self.change(ProcessState::Starting, ProcessState::Running);
    }

    /// Whether there is a process, and it does its work.
    pub fn is_running(&self) -> bool {
        self.pid.load(Ordering::Acquire) != 0 && self.state() == ProcessState::Running
    }

    /// Wakes the process if it went to sleep; nearly free if not.
    ///
    /// The caller has appended before: its compare-and-swap on the journal's end is the barrier
    /// that makes either this see `sleeping`, or the writer's second look see the frame.
    pub fn wake_if_sleeping(&self) {
        if self.sleeping.load(Ordering::SeqCst) != 0 && self.sleeping.swap(0, Ordering::AcqRel) != 0 {
            wake(&self.latch);
        }
    }

    /// Wakes the process in any case.
    pub fn wake(&self) {
        wake(&self.latch);
    }

    /// Announces that this process is about to sleep; look for work once more after it.
    pub fn about_to_sleep(&self) {
        self.sleeping.store(1, Ordering::SeqCst);
    }

    /// This process is awake.
    pub fn awake(&self) {
        self.sleeping.store(0, Ordering::SeqCst);
    }

    /// Takes the place for this process, which was started for it; false if it is not wanted there any
    /// more: somebody else came first, or the database was paused meanwhile.
    ///
    /// The order is that of two who must not miss each other: whoever pauses says so and looks for a
    /// process then; this says that there is one, and looks then whether it is wanted.
    pub(super) fn claim(&self) -> bool {
        let pid = super::session::pid() as i32;
        if self.pid.compare_exchange(0, pid, Ordering::SeqCst, Ordering::Relaxed).is_err() {
            return false;
        }
        if self.state.load(Ordering::SeqCst) != ProcessState::Starting as u32 {
            self.pid.store(0, Ordering::Release);
            return false;
        }
        // SAFETY: a plain variable of the backend.
        self.latch.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
        true
    }

    /// Sends the process away, if there is one, and has none come until the state changes. Returns
    /// whether one is still there: ask again.
    pub fn pause(&self) -> bool {
        self.state.store(ProcessState::Paused as u32, Ordering::SeqCst);
        let pid = self.pid.load(Ordering::SeqCst);
        if pid != 0 {
            super::worker::terminate(pid);
        }
        pid != 0
    }

    /// The launcher starts the process now; false if somebody has changed the state meanwhile.
    pub fn begin_start(&self) -> bool {
        self.started_at.store(super::session::now(), Ordering::Relaxed);
        self.change(ProcessState::Wanted, ProcessState::Starting)
    }

    /// Since when it has been starting, in microseconds since 2000.
    pub fn started_at(&self) -> i64 {
        self.started_at.load(Ordering::Relaxed)
    }

    /// There is no process any more; the launcher finds `state`, unless somebody paused it.
    pub(super) fn unregister(&self, state: ProcessState) {
        self.latch.store(std::ptr::null_mut(), Ordering::Release);
        self.awake();
        let paused = ProcessState::Paused as u32;
        let _ = self
            .state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| (now != paused).then_some(state as u32));
        self.pid.store(0, Ordering::Release);
    }
}
