//! What all processes of the server share.

use super::raw;
use crate::error::ServerError;
use pgrx::pg_sys;
use std::sync::atomic::{AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering};

/// Databases that can have a ledger writer at a time.
pub const WRITERS: usize = 64;

/// What is up with the writer of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum WriterState {
    /// The database may need a writer; the launcher shall start one.
    Wanted = 0,
    Starting = 1,
    Running = 2,
    /// It ended by an error.
    Failed = 3,
    /// It left so that the database can be dropped or copied.
    Paused = 4,
}

/// What a ledger writer tells the others. `database` 0 means the slot is free.
#[repr(C)]
#[derive(Debug)]
pub struct WriterSlot {
    pub database: AtomicU32,
    state: AtomicU32,
    pub pid: AtomicI32,
    /// Everything below is in the ledger.
    pub position: AtomicU64,
    /// Segments below are not needed any more, not even after a restart.
    pub needed_from: AtomicU64,
    /// Rows in the ledger.
    pub rows: AtomicU64,
    sleeping: AtomicU32,
    latch: AtomicPtr<pg_sys::Latch>,
}

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
    /// Whether every database has got its slot: before that no part of the journal may go.
    surveyed: AtomicU32,
    pub writers: [WriterSlot; WRITERS],
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

thread_local! {
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

/// Makes every backend read its configuration anew at its next statement.
pub(super) fn next_generation() {
    if let Some(shared) = get() {
        shared.generation.fetch_add(1, Ordering::AcqRel);
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
    /// The slot of the writer of `database`.
    pub fn writer_of(&self, database: u32) -> Option<&WriterSlot> {
        self.writers.iter().find(|slot| slot.database.load(Ordering::Acquire) == database)
    }

    /// The slot of the writer of `database`, taken now if there is none; `None` if all are taken.
    pub fn take_writer_slot(&self, database: u32, needed_from: u64) -> Option<&WriterSlot> {
        if let Some(slot) = self.writer_of(database) {
            return Some(slot);
        }
        self.writers.iter().find(|slot| {
            let taken =
                slot.database.compare_exchange(0, u32::MAX, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if taken {
                slot.rows.store(0, Ordering::Relaxed);
                slot.position.store(needed_from, Ordering::Relaxed);
                slot.needed_from.store(needed_from, Ordering::Relaxed);
                slot.set_state(WriterState::Wanted);
                slot.database.store(database, Ordering::Release);
            }
            taken
        })
    }

    /// Every database that may need a writer has its slot from now on.
    pub fn set_surveyed(&self) {
        self.surveyed.store(1, Ordering::Release);
    }

    /// Where the part of the journal begins that some ledger still needs; `None` if that is not known yet.
    pub fn journal_needed_from(&self) -> Option<u64> {
        if self.surveyed.load(Ordering::Acquire) == 0 {
            return None;
        }
        let taken = self.writers.iter().filter(|slot| slot.database.load(Ordering::Acquire) != 0);
        taken.map(|slot| slot.needed_from.load(Ordering::Acquire)).min()
    }

    /// Makes the launcher look which databases need a writer.
    pub fn wake_launcher(&self) {
        wake(&self.launcher);
    }

    /// This process is the launcher from now on.
    pub fn register_launcher(&self) {
        // SAFETY: a plain variable of the backend.
        self.launcher.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }
}

impl WriterSlot {
    pub fn state(&self) -> WriterState {
        match self.state.load(Ordering::Acquire) {
            1 => WriterState::Starting,
            2 => WriterState::Running,
            3 => WriterState::Failed,
            4 => WriterState::Paused,
            _ => WriterState::Wanted,
        }
    }

    pub fn set_state(&self, state: WriterState) {
        self.state.store(state as u32, Ordering::Release);
    }

    /// The database needs no writer: the slot is free again.
    pub fn free(&self) {
        self.unregister();
        self.database.store(0, Ordering::Release);
    }

    /// Wakes the writer if it went to sleep; nearly free if not.
    ///
    /// The caller has appended before: its compare-and-swap on the journal's end is the barrier
    /// that makes either this see `sleeping`, or the writer's second look see the frame.
    pub fn wake_if_sleeping(&self) {
        if self.sleeping.load(Ordering::SeqCst) != 0 && self.sleeping.swap(0, Ordering::AcqRel) != 0 {
            wake(&self.latch);
        }
    }

    /// Wakes the writer in any case.
    pub fn wake(&self) {
        wake(&self.latch);
    }

    /// Announces that this process, the slot's writer, is about to sleep; look for work once more after it.
    pub fn about_to_sleep(&self) {
        self.sleeping.store(1, Ordering::SeqCst);
    }

    /// This process, the slot's writer, is awake.
    pub fn awake(&self) {
        self.sleeping.store(0, Ordering::SeqCst);
    }

    /// This process is the slot's writer from now on.
    pub fn register(&self) {
        self.pid.store(super::session::pid() as i32, Ordering::Release);
        // SAFETY: a plain variable of the backend.
        self.latch.store(unsafe { pg_sys::MyLatch }, Ordering::Release);
    }

    /// The slot has no process any more.
    pub fn unregister(&self) {
        self.latch.store(std::ptr::null_mut(), Ordering::Release);
        self.pid.store(0, Ordering::Release);
        self.awake();
    }
}
