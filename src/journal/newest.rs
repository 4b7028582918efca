//! Which segment was made last, kept beside the journal and not in it.
//!
//! Whoever loses the newest segments, or puts an older copy of the directory in its place, must not
//! make numbers run backwards: readers would skip what is new. So the highest number is also in
//! a file of its own, which stays with the data directory when the journal lies elsewhere.

use super::JournalError;
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MAGIC: [u8; 8] = *b"PGCNEWST";
const BYTES: usize = 44;

/// The newest segment that ever was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    pub number: u64,
    pub epoch: u64,
    pub journal: [u8; 16],
}

fn path(directory: &Path) -> PathBuf {
    directory.with_extension("newest")
}

impl Newest {
    /// What the file says; `None` if there is none, or none that makes sense.
    pub fn read(directory: &Path) -> Result<Option<Self>, JournalError> {
        let path = path(directory);
        let mut bytes = [0; BYTES];
        let read = std::fs::File::open(&path).and_then(|file| file.read_exact_at(&mut bytes, 0));
        match read {
            Ok(()) => Ok(Self::from_bytes(&bytes)),
            Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
            Err(e) => Err(JournalError::io("read", path, e)),
        }
    }

    /// Puts it on disk. In place, so that it needs no room after the first time.
    pub fn write(self, directory: &Path) -> Result<(), JournalError> {
        let path = path(directory);
        let mut bytes = [0; BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[24..40].copy_from_slice(&self.journal);
        let sum = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&sum.to_le_bytes());
        let write = || {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            let is_new = file.metadata()?.len() == 0;
            file.write_all_at(&bytes, 0)?;
            file.sync_data()?;
            if is_new { super::segment::sync_directory_of(&path) } else { Ok(()) }
        };
        write().map_err(|e| JournalError::io("write", &path, e))
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Option<Self> {
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let sound = bytes[..8] == MAGIC && bytes[40..] == crc32c::crc32c(&bytes[..40]).to_le_bytes();
        sound.then_some(())?;
        Some(Self { number: word(8)?, epoch: word(16)?, journal: bytes[24..40].try_into().ok()? })
    }
}
