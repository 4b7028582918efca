//! Segment files: their names, their headers, how they come and go.

use super::JournalError;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Bytes of one segment.
pub const SIZE: u64 = 16 << 20;
/// Bytes of the header; the first frame follows.
pub const HEADER: u64 = 64;
const MAGIC: [u8; 8] = *b"PGCJRNL4";
/// Why a segment is no good that is shorter than it should be.
pub(super) const TRUNCATED: &str = "segment was truncated";

/// What every segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Number of the segment, also its name.
    pub number: u64,
    /// Random name of this journal: a position means nothing in another one.
    pub journal: [u8; 16],
    /// Counts the starts of shared memory: frames of an earlier epoch get no further company.
    pub epoch: u64,
    /// Secret of the epoch that the checksums start from.
    pub key: u64,
    /// Whether the epoch began on a standby.
    pub on_standby: bool,
}

impl Header {
    fn to_bytes(self) -> [u8; HEADER as usize] {
        let mut out = [0; HEADER as usize];
        out[..8].copy_from_slice(&MAGIC);
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..32].copy_from_slice(&self.journal);
        out[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        out[40..48].copy_from_slice(&self.key.to_le_bytes());
        out[48] = self.on_standby.into();
        let sum = crc32c::crc32c(&out[..52]);
        out[52..56].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn from_bytes(bytes: &[u8; HEADER as usize]) -> Result<Self, &'static str> {
        let word = |at: usize| {
            let mut w = [0; 8];
            w.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(w)
        };
        if bytes[..8] != MAGIC {
            return Err("wrong magic number");
        }
        if bytes[52..56] != crc32c::crc32c(&bytes[..52]).to_le_bytes() {
            return Err("header checksum mismatch");
        }
        let mut journal = [0; 16];
        journal.copy_from_slice(&bytes[16..32]);
        Ok(Self { number: word(8), journal, epoch: word(32), key: word(40), on_standby: bytes[48] != 0 })
    }
}

/// The file of segment `number`.
pub fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:016x}.seg"))
}

/// Numbers of the segments present, ascending.
pub fn list(directory: &Path) -> Result<Vec<u64>, JournalError> {
    let entries = fs::read_dir(directory).map_err(|e| JournalError::io("list", directory, e))?;
    let mut numbers = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| JournalError::io("list", directory, e))?;
        let name = entry.file_name();
        let number =
            name.to_str().and_then(|n| n.strip_suffix(".seg")).map(|hex| u64::from_str_radix(hex, 16));
        if let Some(Ok(number)) = number {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the segment that `header` describes, all its blocks allocated.
///
/// The blocks are reserved, not written: a store through the map must never meet a full disk
/// (SIGBUS), and unwritten blocks sync faster than zeroed ones. The file appears under its name
/// only when it is whole.
pub fn create(directory: &Path, header: Header) -> Result<(), JournalError> {
    let temporary = directory.join(format!("{:016x}.tmp", header.number));
    let made = write_new(&temporary, header)
        .and_then(|()| fs::rename(&temporary, path(directory, header.number)))
        .and_then(|()| File::open(directory)?.sync_all());
    made.map_err(|e| {
        // The error to report is the first one; a leftover is overwritten by the next attempt.
        let _ = fs::remove_file(&temporary);
        JournalError::io("create", path(directory, header.number), e)
    })
}

fn write_new(temporary: &Path, header: Header) -> io::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
    super::map::allocate(&file, SIZE)?;
    file.write_all_at(&header.to_bytes(), 0)?;
    file.sync_all()
}

/// Puts on disk that `file` is in its directory.
pub(super) fn sync_directory_of(file: &Path) -> io::Result<()> {
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Reads and checks the header of segment `number`, which must be whole.
pub fn read_header(directory: &Path, number: u64) -> Result<Header, JournalError> {
    match inspect(directory, number)? {
        (header, SIZE) => Ok(header),
        _ => Err(JournalError::Corrupt { path: path(directory, number), reason: TRUNCATED }),
    }
}

/// Reads and checks the header of segment `number`, and says how long the file is.
pub(super) fn inspect(directory: &Path, number: u64) -> Result<(Header, u64), JournalError> {
    let path = path(directory, number);
    let file = File::open(&path).map_err(|e| JournalError::io("open", &path, e))?;
    let mut bytes = [0; HEADER as usize];
    file.read_exact_at(&mut bytes, 0).map_err(|e| JournalError::io("read", &path, e))?;
    let header =
        Header::from_bytes(&bytes).map_err(|reason| JournalError::Corrupt { path: path.clone(), reason })?;
    if header.number != number {
        return Err(JournalError::Corrupt { path, reason: "segment was renamed" });
    }
    let length = file.metadata().map_err(|e| JournalError::io("stat", &path, e))?.len();
    Ok((header, length))
}

/// The oldest segment of the journal with this name.
pub fn first_of(directory: &Path, journal: [u8; 16]) -> Result<Option<u64>, JournalError> {
    let is_ours =
        |number: &u64| inspect(directory, *number).is_ok_and(|(header, _)| header.journal == journal);
    Ok(list(directory)?.into_iter().find(is_ours))
}

/// Removes the segments below `needed`, but for the newest: numbers must not run backwards.
pub fn remove_below(directory: &Path, shared: &super::Shared, needed: u64) -> Result<(), JournalError> {
    let end = (needed / SIZE).min(shared.reserved() / SIZE);
    shared.release(end);
    list(directory)?.into_iter().take_while(|number| *number < end).try_for_each(|n| remove(directory, n))
}

/// Removes segment `number`.
///
/// Truncated first: an idle process that still maps the file would otherwise keep its blocks.
/// Only segments below every reader's and writer's position may go.
pub(super) fn remove(directory: &Path, number: u64) -> Result<(), JournalError> {
    let path = path(directory, number);
    let gone = OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|f| f.set_len(0))
        .and_then(|()| fs::remove_file(&path));
    match gone {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(JournalError::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The lock under which segments are made.
pub(super) const CREATION: &str = "lock";

/// Opens the file of a lock in `directory`.
pub(super) fn open_lock(directory: &Path, name: &str) -> Result<File, JournalError> {
    let path = directory.join(name);
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.map_err(|e| JournalError::io("open", &path, e))
}

/// Holds a lock; the kernel frees it if its holder dies.
pub(super) struct FileLock(File);

impl FileLock {
    /// Waits for the lock `name` of `directory`.
    pub(super) fn take(directory: &Path, name: &str) -> Result<Self, JournalError> {
        let file = open_lock(directory, name)?;
        super::map::lock(file.as_raw_fd()).map_err(|e| JournalError::io("lock", directory.join(name), e))?;
        Ok(Self(file))
    }
}

impl FileLock {
    /// Takes the lock on `file` if nobody else has it.
    pub(super) fn try_take(file: &File) -> io::Result<Option<Self>> {
        let file = file.try_clone()?;
        Ok(super::map::try_lock(file.as_raw_fd())?.then_some(Self(file)))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing the file frees the lock too; doing it here says when.
        let _ = super::map::unlock(self.0.as_raw_fd());
    }
}
