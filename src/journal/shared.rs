//! The few words that all processes share.

use super::{JournalError, Position, segment::Header};
use std::sync::atomic::{AtomicU64, Ordering};

/// How many words of shared memory the journal needs.
pub const WORDS: usize = 32;

// Words that are written often stand in cache lines of their own, eight words long.
const RESERVED: usize = 0;
const ALLOCATED: usize = 8;
const EPOCH_START: usize = 16;
const EPOCH: usize = 17;
const KEY: usize = 18;
const JOURNAL: [usize; 2] = [19, 20];

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
        Header { number, journal: self.journal(), epoch: self.epoch(), key: self.key() }
    }

    /// Errs until [`super::recovery::begin_epoch`] has run.
    pub fn started(&self) -> Result<(), JournalError> {
        if self.epoch() == 0 { Err(JournalError::NotStarted) } else { Ok(()) }
    }

    pub(super) fn start(&self, first: Position, header: Header, allocated: Position) {
        let half = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&header.journal[at..at + 8]);
            u64::from_le_bytes(w)
        };
        self.0[JOURNAL[0]].store(half(0), Ordering::Relaxed);
        self.0[JOURNAL[1]].store(half(8), Ordering::Relaxed);
        self.0[KEY].store(header.key, Ordering::Relaxed);
        self.0[RESERVED].store(first, Ordering::Relaxed);
        self.0[ALLOCATED].store(allocated, Ordering::Relaxed);
        self.0[EPOCH_START].store(first, Ordering::Relaxed);
        self.0[EPOCH].store(header.epoch, Ordering::Release);
    }

    /// Moves the reservation from `from` to `to`, unless somebody else was faster.
    pub(super) fn reserve(&self, from: Position, to: Position) -> bool {
        self.0[RESERVED].compare_exchange_weak(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    pub(super) fn set_allocated(&self, to: Position) {
        self.0[ALLOCATED].store(to, Ordering::Release);
    }
}
