//! What every session shows to all others: one slot of shared memory per backend.
//!
//! A slot is written by its own backend only, and nobody ever waits: beginning and end of a
//! statement are plain stores, and what is said of the session's holder carries a version, so that
//! readers see all of it or look again. Only what says that a statement was stopped is written by others, by
//! one process per database. A slot is given back when its process exits; after kill -9 the server makes new
//! shared memory.

use super::local::process_local;
use super::words::Words;
use super::{raw, session, stop_signal, version};
use pgrx::pg_sys;
use std::cell::Cell;
use std::sync::atomic::{AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Texts about the holder of a session.
pub const LABELS: usize = 4;
/// Words for the labels of a slot: 3 KiB. What does not fit is cut, the last label first.
const WORDS: usize = 384;
/// Numbers in which a session says on what its statement relies.
pub const RELIED: usize = 120;
/// Words for the text that says why a statement was stopped: some 750 bytes.
const WHY: usize = 96;
/// Length that stands for a label that is not there.
const ABSENT: u16 = u16::MAX;

/// Whom a session belongs to at the moment, in words that the caller chooses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Microseconds since 2000, as all times here.
    pub since: i64,
    pub issued_at: Option<i64>,
    pub expires_at: i64,
    pub labels: [Option<Vec<u8>>; LABELS],
}

#[repr(C, align(64))]
struct Slot {
    /// 0: the slot is free.
    pid: AtomicI32,
    database: AtomicU32,
    session_role: AtomicU32,
    role: AtomicU32,
    /// When the statement began that runs now; 0 if none does.
    running_since: AtomicI64,
    /// Number of that statement, or of the last one.
    statement: AtomicU64,
    /// What the judgement of that statement said: see [`Standing`].
    standing: AtomicU32,
    login_role: AtomicU32,
    /// A statement that somebody stopped, and why: number * 256 + reason.
    stopped: AtomicU64,
    /// The process that has sent a signal for it, which has not come yet.
    stopper: AtomicI32,
    /// Odd while what follows is being written.
    version: AtomicU64,
    session: AtomicU64,
    since: AtomicI64,
    /// `i64::MIN`: not known.
    issued_at: AtomicI64,
    /// `i64::MIN`: nobody holds the session.
    expires_at: AtomicI64,
    /// Of the labels, 16 bits each.
    lengths: AtomicU64,
    words: [AtomicU64; WORDS],
    /// On what a statement relies, by its number.
    relied: Words<RELIED>,
    /// Why a statement was stopped, by its number.
    why: Words<WHY>,
}

/// A session as it was at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    index: usize,
    pub pid: i32,
    /// See [`session::session_id`].
    pub session: u64,
    pub database: u32,
    /// The role that logged in, the session's, and that of SET ROLE.
    pub login_role: u32,
    pub session_role: u32,
    pub role: u32,
    pub holder: Option<Holder>,
    /// Number of the statement that runs, or of the last one.
    pub statement: u64,
    pub running_since: Option<i64>,
    pub standing: Standing,
    /// On what that statement relies: see [`rely`].
    pub relied: Vec<i64>,
}

/// What a statement's own backend has found about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Standing {
    /// Nothing yet: it is marked as running, and being judged.
    Unjudged = 0,
    /// It may run as long as its holder is one.
    Bound = 1,
    /// It may run, whoever the holder is and whether there is one.
    Excused = 2,
}

impl Standing {
    fn from_u32(number: u32) -> Self {
        match number {
            1 => Self::Bound,
            2 => Self::Excused,
            _ => Self::Unjudged,
        }
    }
}

/// How a statement is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// As by pg_cancel_backend.
    Cancel,
    /// As by pg_terminate_backend.
    Terminate,
}

static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(std::ptr::null_mut());

process_local! {
    static OWN: Cell<Option<&'static Slot>> = const { Cell::new(None) };
}

/// Bytes to ask the postmaster for.
pub(super) fn size() -> usize {
    version::backends() * size_of::<Slot>() + align_of::<Slot>()
}

/// Finds or makes the slots; where [`super::shared::attach`] does, which holds the lock.
pub(super) fn attach() {
    let mut found = false;
    // SAFETY: called where ipci.c allows it, under AddinShmemInitLock; the size is the one requested; zero bytes are
    // valid slots (atomics only).
    unsafe {
        let base =
            pg_sys::ShmemInitStruct(c"pg_custodian sessions".as_ptr(), size(), &mut found).cast::<u8>();
        let base = base.add(base.align_offset(align_of::<Slot>())).cast::<Slot>();
        if !found {
            std::ptr::write_bytes(base, 0, version::backends());
        }
        SLOTS.store(base, Ordering::Release);
    }
}

fn slots() -> &'static [Slot] {
    let base = SLOTS.load(Ordering::Acquire);
    if base.is_null() {
        return &[];
    }
    // SAFETY: set once by `attach` to so many slots, in memory that lives as long as the process.
    unsafe { std::slice::from_raw_parts(base, version::backends()) }
}

/// The slot of this backend, taken now if that was not done yet.
fn own() -> Option<&'static Slot> {
    OWN.get().or_else(claim)
}

#[cold]
fn claim() -> Option<&'static Slot> {
    let slot = slots().get(version::backend_index()?)?;
    slot.write(|slot| {
        slot.session.store(session::session_id(), Ordering::Relaxed);
        slot.expires_at.store(i64::MIN, Ordering::Relaxed);
    });
    slot.database.store(session::database().to_u32(), Ordering::Relaxed);
    slot.login_role.store(session::login_user().to_u32(), Ordering::Relaxed);
    slot.session_role.store(session::session_user().to_u32(), Ordering::Relaxed);
    slot.role.store(session::outer_user().to_u32(), Ordering::Relaxed);
    slot.running_since.store(0, Ordering::Relaxed);
    slot.standing.store(Standing::Bound as u32, Ordering::Relaxed);
    slot.pid.store(session::pid() as i32, Ordering::Release);
    OWN.set(Some(slot));
    stop_signal::ask_before();
    // SAFETY: the callback lives as long as the library, which is never unloaded.
    unsafe { pg_sys::before_shmem_exit(Some(exiting), pg_sys::Datum::null()) }
    Some(slot)
}

/// Called before the last transaction is aborted: before_shmem_exit calls the latest first.
unsafe extern "C-unwind" fn exiting(_code: i32, _argument: pg_sys::Datum) {
    super::hooks::session_ending();
    if let Some(slot) = OWN.take() {
        slot.pid.store(0, Ordering::Release);
        slot.running_since.store(0, Ordering::Release);
        slot.hold(None);
    }
}

/// Runs `judge` for a part of a statement that is about to run, with the session marked as
/// running. So whoever looks either sees the statement, or came before it was judged. Returns, beside
/// what `judge` said, whether this is the outermost part: [`leave`] wants to know.
///
/// A part that `judge` does not call [`judged`] for stands as the one before it.
pub(super) fn entering<T, E>(judge: impl FnOnce() -> Result<T, E>) -> Result<(T, bool), E> {
    struct Undo(Option<u32>);
    impl Undo {
        fn stand_as_before(&self) {
            if let Some(before) = self.0
                && let Some(slot) = OWN.get()
                && slot.standing.load(Ordering::Relaxed) == Standing::Unjudged as u32
            {
                slot.standing.store(before, Ordering::Release);
            }
        }
    }
    impl Drop for Undo {
        fn drop(&mut self) {
            leave(self.0.is_some());
            self.stand_as_before();
        }
    }
    let undo = Undo(begin());
    let verdict = judge()?;
    undo.stand_as_before();
    let outermost = undo.0.is_some();
    std::mem::forget(undo);
    Ok((verdict, outermost))
}

/// Marks the session as running; returns the standing until now if it did not run before.
fn begin() -> Option<u32> {
    let slot = own()?;
    slot.session_role.store(session::session_user().to_u32(), Ordering::Relaxed);
    slot.role.store(session::outer_user().to_u32(), Ordering::Relaxed);
    if slot.running_since.load(Ordering::Relaxed) != 0 {
        return None;
    }
    let before = slot.standing.load(Ordering::Relaxed);
    slot.standing.store(Standing::Unjudged as u32, Ordering::Relaxed);
    slot.statement.store(slot.statement.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    slot.running_since.store(raw::GetCurrentStatementStartTimestamp().max(1), Ordering::Release);
    Some(before)
}

/// What [`entering`] announced has stopped running. Never fails.
#[inline]
pub(super) fn leave(outermost: bool) {
    if outermost && let Some(slot) = OWN.get() {
        slot.running_since.store(0, Ordering::Release);
        if slot.stopped.load(Ordering::Relaxed) >> 8 == slot.statement.load(Ordering::Relaxed) {
            stop_signal::forget_cancel();
        }
    }
}

/// Whether the signal that has come from this process was meant for a statement that does not run any more. Signal
/// handlers ask, once per signal.
pub(super) fn is_too_late(sender: i32) -> bool {
    // Who is out of sight (in another container, or the kernel) has the number 0.
    let is_his = |slot: &&Slot| sender != 0 && slot.stopper.load(Ordering::Acquire) == sender;
    let Some(slot) = OWN.get().filter(is_his) else { return false };
    // Whoever gets the number of that process later is somebody else.
    slot.stopper.store(0, Ordering::Relaxed);
    slot.running_since.load(Ordering::Relaxed) == 0
        || slot.stopped.load(Ordering::Relaxed) >> 8 != slot.statement.load(Ordering::Relaxed)
}

/// Number of the statement that this backend runs, or ran last; 0 if it has run none.
pub fn statement() -> u64 {
    own().map_or(0, |slot| slot.statement.load(Ordering::Relaxed))
}

/// Says on what the statement relies that this backend runs, in at most [`RELIED`] numbers that the caller chooses.
/// Whoever has changed what it relies on, and looks at the sessions after that, sees it; or this backend sees the
/// change after this call.
pub fn rely(on: &[i64]) {
    if let Some(slot) = own() {
        slot.relied.say(slot.statement.load(Ordering::Relaxed), on.iter().map(|number| *number as u64));
    }
    fence(Ordering::SeqCst);
}

/// Says how the statement stands that is being judged, or runs. For what the client sent, not for
/// what it runs in its turn.
pub fn judged(standing: Standing) {
    if let Some(slot) = OWN.get() {
        slot.standing.store(standing as u32, Ordering::Release);
    }
}

/// Says whom this session belongs to from now on.
pub fn hold(holder: Option<&Holder>) {
    if let Some(slot) = own() {
        slot.hold(holder);
    }
    // The caller looks next whether somebody must be woken, who looks at the slots after having said so.
    fence(Ordering::SeqCst);
}

/// Why somebody stopped the statement that this backend runs, or ran last: by number, and in his words.
pub fn stopped_for() -> Option<(u8, Vec<u8>)> {
    let slot = OWN.get()?;
    let stopped = slot.stopped.load(Ordering::Acquire);
    let statement = slot.statement.load(Ordering::Relaxed);
    (stopped >> 8 == statement).then(|| (stopped as u8, slot.why.text_of(statement)))
}

/// The sessions of a database that have run anything yet.
pub fn of_database(database: u32) -> Vec<View> {
    fence(Ordering::SeqCst);
    let taken = slots().iter().enumerate().filter(|(_, slot)| {
        slot.pid.load(Ordering::Acquire) != 0 && slot.database.load(Ordering::Relaxed) == database
    });
    taken.filter_map(|(index, slot)| slot.view(index)).filter(|view| view.database == database).collect()
}

impl View {
    /// Where the slot is: no other session has the number at the same time.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the session still runs the statement that it ran when it was looked at.
    pub fn still_runs(&self) -> bool {
        slots().get(self.index).is_some_and(|slot| self.still_runs_in(slot))
    }

    fn still_runs_in(&self, slot: &Slot) -> bool {
        slot.pid.load(Ordering::Acquire) == self.pid
            && slot.session.load(Ordering::Acquire) == self.session
            && slot.running_since.load(Ordering::Acquire) != 0
            && slot.statement.load(Ordering::Acquire) == self.statement
    }

    /// Stops the statement, if it still runs, for a reason that [`stopped_for`] gives to its backend.
    /// The first reason stands.
    pub fn stop(&self, how: Stop, reason: u8, why: &[u8]) {
        let Some(slot) = slots().get(self.index) else { return };
        if slot.stopped.load(Ordering::Acquire) >> 8 != self.statement {
            slot.why.say_text(self.statement, why);
            slot.stopped.store(self.statement << 8 | u64::from(reason), Ordering::Release);
        }
        let signal = match how {
            Stop::Cancel => libc::SIGINT,
            Stop::Terminate => libc::SIGTERM,
        };
        if self.still_runs_in(slot) {
            slot.stopper.store(session::pid() as i32, Ordering::Release);
            // SAFETY: sends a signal to a backend and what it has started, as signalfuncs.c does.
            unsafe { libc::kill(-self.pid, signal) };
        }
    }
}

impl Slot {
    /// Runs `store`, which writes what the version guards.
    fn write(&self, store: impl FnOnce(&Self)) {
        let odd = self.version.load(Ordering::Relaxed) | 1;
        self.version.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        store(self);
        self.version.store(odd + 1, Ordering::Release);
    }

    fn hold(&self, holder: Option<&Holder>) {
        let Some(holder) = holder else {
            return self.write(|slot| slot.expires_at.store(i64::MIN, Ordering::Relaxed));
        };
        self.write(|slot| {
            slot.since.store(holder.since, Ordering::Relaxed);
            slot.issued_at.store(holder.issued_at.unwrap_or(i64::MIN), Ordering::Relaxed);
            slot.expires_at.store(holder.expires_at, Ordering::Relaxed);
            let (mut lengths, mut word, mut used) = (0, 0, 0);
            for (place, label) in holder.labels.iter().enumerate() {
                let length = match label {
                    None => ABSENT,
                    Some(label) => {
                        let kept = label.len().min(WORDS * 8 - used);
                        for byte in &label[..kept] {
                            word |= u64::from(*byte) << (used % 8 * 8);
                            used += 1;
                            if used % 8 == 0 {
                                slot.words[used / 8 - 1].store(std::mem::take(&mut word), Ordering::Relaxed);
                            }
                        }
                        kept as u16
                    }
                };
                lengths |= u64::from(length) << (place * 16);
            }
            if let Some(last) = slot.words.get(used / 8) {
                last.store(word, Ordering::Relaxed);
            }
            slot.lengths.store(lengths, Ordering::Relaxed);
        });
    }

    /// What the slot says, whole; `None` if it is free.
    fn view(&self, index: usize) -> Option<View> {
        loop {
            let version = self.version.load(Ordering::Acquire);
            let pid = self.pid.load(Ordering::Acquire);
            if pid == 0 {
                return None;
            }
            let running_since = self.running_since.load(Ordering::Acquire);
            let statement = self.statement.load(Ordering::Acquire);
            let view = View {
                index,
                pid,
                session: self.session.load(Ordering::Relaxed),
                database: self.database.load(Ordering::Relaxed),
                login_role: self.login_role.load(Ordering::Relaxed),
                session_role: self.session_role.load(Ordering::Relaxed),
                role: self.role.load(Ordering::Relaxed),
                holder: (version & 1 == 0).then(|| self.holder()).flatten(),
                statement,
                running_since: (running_since != 0).then_some(running_since),
                standing: Standing::from_u32(self.standing.load(Ordering::Acquire)),
                relied: self.relied.of(statement).into_iter().map(|word| word as i64).collect(),
            };
            fence(Ordering::Acquire);
            if version & 1 == 0 && self.version.load(Ordering::Relaxed) == version {
                return Some(view);
            }
            // Its backend is between two stores, unless it lost the processor there.
            std::thread::yield_now();
        }
    }

    fn holder(&self) -> Option<Holder> {
        let expires_at = self.expires_at.load(Ordering::Relaxed);
        if expires_at == i64::MIN {
            return None;
        }
        let issued_at = self.issued_at.load(Ordering::Relaxed);
        let lengths = self.lengths.load(Ordering::Relaxed);
        let mut at = 0;
        let labels = std::array::from_fn(|place| {
            let length = (lengths >> (place * 16)) as u16;
            (length != ABSENT).then(|| {
                // Lengths that do not belong to these words are thrown away with them.
                let end = (at + usize::from(length)).min(WORDS * 8);
                let bytes =
                    (at..end).map(|n| (self.words[n / 8].load(Ordering::Relaxed) >> (n % 8 * 8)) as u8);
                let label = bytes.collect();
                at = end;
                label
            })
        });
        Some(Holder {
            since: self.since.load(Ordering::Relaxed),
            issued_at: (issued_at != i64::MIN).then_some(issued_at),
            expires_at,
            labels,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn slot() -> Box<Slot> {
        // SAFETY: zero bytes are a valid slot (atomics only).
        let slot = unsafe { Box::<Slot>::new_zeroed().assume_init() };
        slot.pid.store(1, Ordering::Release);
        slot.hold(None);
        slot
    }

    fn holder(seed: u8) -> Holder {
        let text = |length: usize| Some(vec![seed; length]);
        Holder {
            since: seed.into(),
            issued_at: Some(seed.into()),
            expires_at: seed.into(),
            labels: [text(usize::from(seed)), None, text(0), text(usize::from(seed) * 3)],
        }
    }

    #[test]
    fn a_holder_comes_back_as_it_was_said() {
        let slot = slot();
        for seed in 1..=255 {
            slot.hold(Some(&holder(seed)));
            assert_eq!(slot.view(0).unwrap().holder, Some(holder(seed)));
        }
        slot.hold(None);
        assert_eq!(slot.view(0).unwrap().holder, None);
    }

    #[test]
    fn labels_that_are_too_long_are_cut_from_the_last() {
        let slot = slot();
        let long = Holder {
            since: 1,
            issued_at: None,
            expires_at: 2,
            labels: [Some(vec![1; 1024]), Some(vec![2; 2000]), Some(vec![3; 70_000]), Some(vec![4; 5])],
        };
        slot.hold(Some(&long));
        let read = slot.view(0).unwrap().holder.unwrap();
        let lengths = read.labels.each_ref().map(|label| label.as_ref().map(Vec::len));
        assert_eq!(lengths, [Some(1024), Some(2000), Some(48), Some(0)]);
        assert_eq!(read.issued_at, None);
        assert!(read.labels[2].as_ref().unwrap().iter().all(|byte| *byte == 3));
    }

    #[test]
    fn readers_never_see_two_holders_mixed() {
        let slot = slot();
        let (done, changes) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut before = 0;
                while !done.load(Ordering::Relaxed) {
                    if let Some(read) = slot.view(0).unwrap().holder {
                        assert_eq!(read, holder(read.expires_at as u8));
                        if read.expires_at != before {
                            before = read.expires_at;
                            changes.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            });
            // On a busy machine the reader may not get a processor for a while: until it has seen enough.
            let mut round = 0_u32;
            while !reader.is_finished() && (round < 200_000 || changes.load(Ordering::Relaxed) < 100) {
                slot.hold((!round.is_multiple_of(5)).then(|| holder((round % 200) as u8 + 1)).as_ref());
                round += 1;
                if round >= 200_000 {
                    // Nothing changes for a while: what is read then is whole.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                } else if round.is_multiple_of(64) {
                    std::thread::yield_now();
                }
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
