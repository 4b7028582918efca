//! The two ways to the bytes of a segment: mapped, or by pread and pwrite.
//!
//! Mapped is cheaper, and right wherever preallocated blocks are there to stay. Where they are not
//! (copy-on-write, some network file systems), a store into a map can meet a full disk or a dead one,
//! which is SIGBUS and the end of the whole server; a pwrite that fails is an error like any other.

use super::map::Map;
use super::{JournalError, frame, segment};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How the journal is read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Io {
    #[default]
    Mmap,
    Pwrite,
}

/// A segment that is written to.
pub(super) enum Writing {
    Mapped(Map),
    File { number: u64, file: File },
}

impl Writing {
    pub(super) fn open(directory: &Path, number: u64, io: Io) -> Result<Self, JournalError> {
        if io == Io::Mmap {
            return Ok(Self::Mapped(Map::open(directory, number, true)?));
        }
        let path = segment::path(directory, number);
        let file = OpenOptions::new().write(true).open(&path);
        let file = file.map_err(|e| JournalError::io("open", &path, e))?;
        let length = file.metadata().map_err(|e| JournalError::io("stat", &path, e))?.len();
        if length != segment::SIZE {
            return Err(JournalError::Corrupt { path, reason: segment::TRUNCATED });
        }
        Ok(Self::File { number, file })
    }

    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.number(),
            Self::File { number, .. } => *number,
        }
    }
}

/// Bytes that are read at once; frames are mostly far smaller.
const WINDOW: usize = 256 << 10;

/// A segment that is read.
pub(super) enum Reading {
    Mapped(Map),
    Window(Window),
}

/// A part of a segment, read by pread. What was committed is never written again, so a copy stays true.
pub(super) struct Window {
    number: u64,
    path: std::path::PathBuf,
    file: File,
    length: usize,
    from: usize,
    bytes: Vec<u8>,
}

impl Reading {
    /// Opens segment `number`, of which `length` bytes are there: a map must not reach beyond them.
    pub(super) fn open(directory: &Path, number: u64, length: u64, io: Io) -> Result<Self, JournalError> {
        if io == Io::Mmap && length == segment::SIZE {
            return Ok(Self::Mapped(Map::open(directory, number, false)?));
        }
        let path = segment::path(directory, number);
        let file = File::open(&path).map_err(|e| JournalError::io("open", &path, e))?;
        let length = length.min(segment::SIZE) as usize;
        Ok(Self::Window(Window { number, path, file, length, from: 0, bytes: Vec::new() }))
    }

    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Mapped(map) => map.number(),
            Self::Window(window) => window.number,
        }
    }

    /// Bytes of the segment that are there.
    pub(super) fn length(&self) -> usize {
        match self {
            Self::Mapped(_) => segment::SIZE as usize,
            Self::Window(window) => window.length,
        }
    }

    /// The commit word at `offset`. What lies before `limit` may be remembered.
    pub(super) fn load(&mut self, offset: usize, limit: usize) -> Result<u64, JournalError> {
        match self {
            Self::Mapped(map) => Ok(map.load(offset)),
            Self::Window(window) => {
                let bytes = window.read(offset, offset + frame::WORD, limit)?;
                Ok(u64::from_le_bytes(bytes.try_into().unwrap_or_default()))
            }
        }
    }

    /// The bytes from `offset` to `end`, of a frame whose word [`Reading::load`] has shown.
    pub(super) fn bytes(&mut self, offset: usize, end: usize, limit: usize) -> Result<&[u8], JournalError> {
        match self {
            Self::Mapped(map) => Ok(map.bytes(offset, end)),
            Self::Window(window) => window.read(offset, end, limit),
        }
    }

    /// The same once more, after [`Reading::bytes`] went well.
    pub(super) fn again(&self, offset: usize, end: usize) -> &[u8] {
        match self {
            Self::Mapped(map) => map.bytes(offset, end),
            Self::Window(window) => window.held(offset, end).unwrap_or_default(),
        }
    }

    /// Forgets what was read: the next look is at the file.
    pub(super) fn look_again(&mut self) {
        if let Self::Window(window) = self {
            window.bytes.clear();
        }
    }
}

impl Window {
    fn held(&self, offset: usize, end: usize) -> Option<&[u8]> {
        self.bytes.get(offset.checked_sub(self.from)?..end.checked_sub(self.from)?)
    }

    fn read(&mut self, offset: usize, end: usize, limit: usize) -> Result<&[u8], JournalError> {
        if self.held(offset, end).is_none() {
            let until = end.max((offset + WINDOW).min(limit)).min(self.length.max(end));
            self.bytes.clear();
            self.bytes.resize(until - offset, 0);
            self.from = offset;
            if let Err(error) = self.file.read_exact_at(&mut self.bytes, offset as u64) {
                self.bytes.clear();
                return Err(JournalError::io("read", &self.path, error));
            }
        }
        Ok(self.held(offset, end).unwrap_or_default())
    }
}
