//! The few words that all processes share.

use super::{Io, JournalError, Position, map, segment::Header};
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

/// How many words of shared memory the journal needs.
pub const WORDS: usize = 32;

// Words that are written often stand in cache lines of their own, eight words long.
const RESERVED: usize = 0;
const ALLOCATED: usize = 8;
const EPOCH_START: usize = 16;
const EPOCH: usize = 17;
const KEY: usize = 18;
const JOURNAL: [usize; 2] = [19, 20];
const IO: usize = 21;
const FULL: usize = 22;
const STANDBY: usize = 23;
// Of syncs: see sync.rs.
const SYNC_STARTED: usize = 24;
const SYNC_DONE: usize = 25;
const SYNC_FROM: usize = 26;
const SYNC_FAILURES: usize = 27;
const SYNC_ASKED: usize = 28;
const RELEASED: usize = 29;
const BELL: usize = 30;
const COPIED: usize = 31;

/// Lies over words of shared memory, which begin as zero: that means "not started".
#[repr(transparent)]
#[derive(Debug, Default)]
pub struct Shared([AtomicU64; WORDS]);

impl Shared {
    /// Where the next frame will go: everything below is spoken for.
    pub fn reserved(&self) -> Position {
        self.0[RESERVED].load(Ordering::Acquire)
    }

    /// Segments up to here exist on disk.
    pub fn allocated(&self) -> Position {
        self.0[ALLOCATED].load(Ordering::Acquire)
    }

    /// Where the frames of the live epoch begin.
    pub fn epoch_start(&self) -> Position {
        self.0[EPOCH_START].load(Ordering::Acquire)
    }

    /// The live epoch's number; 0 if the journal was not started.
    pub fn epoch(&self) -> u64 {
        self.0[EPOCH].load(Ordering::Acquire)
    }

    /// The live epoch's secret.
    pub fn key(&self) -> u64 {
        self.0[KEY].load(Ordering::Relaxed)
    }

    /// The journal's random name.
    pub fn journal(&self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.0[JOURNAL[0]].load(Ordering::Relaxed).to_le_bytes());
        out[8..].copy_from_slice(&self.0[JOURNAL[1]].load(Ordering::Relaxed).to_le_bytes());
        out
    }

    /// The header that segment `number` of the live epoch bears.
    pub fn header(&self, number: u64) -> Header {
        let on_standby = self.0[STANDBY].load(Ordering::Relaxed) != 0;
        Header { number, journal: self.journal(), epoch: self.epoch(), key: self.key(), on_standby }
    }

    /// How all processes read and write the journal.
    pub fn io(&self) -> Io {
        if self.0[IO].load(Ordering::Relaxed) == 0 { Io::Mmap } else { Io::Pwrite }
    }

    /// Errs until [`super::recovery::begin_epoch`] has run.
    pub fn started(&self) -> Result<(), JournalError> {
        match self.epoch() {
            0 => Err(JournalError::NotStarted { full: self.0[FULL].load(Ordering::Relaxed) != 0 }),
            _ => Ok(()),
        }
    }

    /// Whether the directory is a copy: what showed that may be gone when the start is tried again.
    pub(super) fn is_copied(&self, copied: bool) -> bool {
        self.0[COPIED].fetch_or(copied.into(), Ordering::Relaxed) != 0 || copied
    }

    /// Says why the journal could not be started.
    pub(super) fn set_full(&self, full: bool) {
        self.0[FULL].store(full.into(), Ordering::Relaxed);
    }

    pub(super) fn start(&self, first: Position, header: Header, allocated: Position, io: Io) {
        let half = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&header.journal[at..at + 8]);
            u64::from_le_bytes(w)
        };
        self.0[JOURNAL[0]].store(half(0), Ordering::Relaxed);
        self.0[JOURNAL[1]].store(half(8), Ordering::Relaxed);
        self.0[KEY].store(header.key, Ordering::Relaxed);
        self.0[IO].store((io == Io::Pwrite).into(), Ordering::Relaxed);
        self.0[STANDBY].store(header.on_standby.into(), Ordering::Relaxed);
        self.0[RESERVED].store(first, Ordering::Relaxed);
        self.0[ALLOCATED].store(allocated, Ordering::Relaxed);
        self.0[EPOCH_START].store(first, Ordering::Relaxed);
        self.0[EPOCH].store(header.epoch, Ordering::Release);
    }

    /// Moves the reservation from `from` to `to`, unless somebody else was faster.
    pub(super) fn reserve(&self, from: Position, to: Position) -> bool {
        self.0[RESERVED].compare_exchange_weak(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    /// Moves the end of the journal to `to`; for who keeps all others from it.
    pub(super) fn advance(&self, to: Position) {
        // The barrier of a compare-and-swap, for who looks then whether somebody sleeps.
        self.0[RESERVED].swap(to, Ordering::SeqCst);
    }

    /// How often it was rung.
    pub(super) fn bell(&self) -> u32 {
        map::half(&self.0[BELL]).load(Ordering::SeqCst)
    }

    /// Sleeps until the bell rings, if it has not since it was at `rung`.
    pub(super) fn listen(&self, rung: u32, patience: Duration) {
        map::sleep_while(map::half(&self.0[BELL]), rung, patience);
    }

    /// Wakes all who listen.
    pub(super) fn ring(&self) {
        map::half(&self.0[BELL]).fetch_add(1, Ordering::SeqCst);
        map::wake_all(map::half(&self.0[BELL]));
    }

    /// Nobody needs the segments below `number` any more: they are about to be removed.
    pub(super) fn release(&self, number: u64) {
        self.0[RELEASED].fetch_max(number, Ordering::SeqCst);
    }

    pub(super) fn is_released(&self, number: u64) -> bool {
        number < self.0[RELEASED].load(Ordering::SeqCst)
    }

    /// How many syncs have failed so far. A record that was under way meanwhile is not safe.
    pub fn sync_failures(&self) -> u64 {
        self.0[SYNC_FAILURES].load(Ordering::SeqCst)
    }

    /// How often somebody has asked for a sync, and how many there were.
    pub fn sync_figures(&self) -> (u64, u64) {
        (self.0[SYNC_ASKED].load(Ordering::Relaxed), self.0[SYNC_STARTED].load(Ordering::Relaxed))
    }

    /// The number of the next sync that starts.
    pub(super) fn take_ticket(&self) -> u64 {
        self.0[SYNC_ASKED].fetch_add(1, Ordering::Relaxed);
        // The frame must be there for everybody before this looks who has started.
        fence(Ordering::SeqCst);
        self.0[SYNC_STARTED].load(Ordering::SeqCst) + 1
    }

    /// A sync starts; the others follow under the same lock.
    pub(super) fn begin_sync(&self) -> u64 {
        self.0[SYNC_STARTED].fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn end_sync(&self, number: u64, from: u64) {
        self.0[SYNC_FROM].store(from, Ordering::SeqCst);
        self.0[SYNC_DONE].store(number, Ordering::SeqCst);
    }

    pub(super) fn fail_sync(&self) {
        self.0[SYNC_FAILURES].fetch_add(1, Ordering::SeqCst);
    }

    /// Whether the latest sync is the one with this ticket or a later one, and has covered the segment.
    pub(super) fn has_synced(&self, ticket: u64, segment: u64) -> bool {
        self.0[SYNC_DONE].load(Ordering::SeqCst) >= ticket
            && self.0[SYNC_FROM].load(Ordering::SeqCst) <= segment
    }

    pub(super) fn set_allocated(&self, to: Position) {
        self.0[ALLOCATED].store(to, Ordering::Release);
    }
}
