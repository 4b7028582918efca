//! What happens when shared memory is new: the journal goes on in a new epoch.

use super::newest::Newest;
use super::segment::{self, FileLock, Header, SIZE};
use super::{Io, JournalError, Shared};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// How an epoch begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start {
    pub io: Io,
    /// The server is a standby: the ledger, and with it the place in the journal, is somebody else's.
    pub on_standby: bool,
    /// The directory was copied from another server, which goes on in a journal of this name.
    pub copied: bool,
}

/// Opens `directory` (made with mode 0700 if missing; it may be a symbolic link) and starts a new epoch in
/// a new segment.
///
/// The new segment's number follows the newest that is present or ever was: numbers that ran
/// backwards would make readers skip what is new. The journal gets a new name where positions in the one
/// before would mean something else: in a copy, where a server becomes a standby, and where
/// what is there cannot be read or is not what was left there.
///
/// Called once per life of the shared memory, before anybody appends, and again for as long as it fails: then the
/// journal stays not started, and every append fails with [`JournalError::NotStarted`].
pub fn begin_epoch(directory: &Path, shared: &Shared, start: Start) -> Result<(), JournalError> {
    let start = Start { copied: shared.is_copied(start.copied), ..start };
    let begun = try_begin(directory, shared, start);
    shared.set_full(matches!(begun, Err(JournalError::Full { .. })));
    begun
}

fn try_begin(directory: &Path, shared: &Shared, start: Start) -> Result<(), JournalError> {
    if !directory.is_dir() {
        let made = DirBuilder::new().mode(0o700).create(directory);
        made.and_then(|()| segment::sync_directory_of(directory))
            .map_err(|e| JournalError::io("create", directory, e))?;
    }
    let _lock = FileLock::take(directory, segment::CREATION)?;
    if shared.epoch() != 0 {
        return Ok(());
    }
    let known = Newest::read(directory)?;
    let last = segment::list(directory)?.last().copied();
    let found = match last.map(|number| segment::inspect(directory, number)) {
        Some(Ok((header, _))) => Some(header),
        Some(Err(error)) if !error.is_loss() => return Err(error),
        _ => None,
    };
    let number = last.max(known.map(|newest| newest.number)).unwrap_or(0) + 1;
    let epoch = found.map(|header| header.epoch).max(known.map(|newest| newest.epoch)).unwrap_or(0) + 1;
    let journal = match (found, known) {
        _ if start.copied => None,
        (Some(header), _) if start.on_standby && !header.on_standby => None,
        (Some(header), Some(newest)) if header.journal != newest.journal => None,
        (Some(header), _) => Some(header.journal),
        // The directory was there and is empty: its name goes with what was in it. A damaged segment keeps it.
        (None, Some(newest)) if last.is_some() => Some(newest.journal),
        (None, _) => None,
    };
    let header = Header {
        number,
        journal: journal.map_or_else(random, Ok)?,
        epoch,
        key: u64::from_le_bytes(random()?),
        on_standby: start.on_standby,
    };
    make(directory, header)?;
    let first = number * SIZE;
    shared.start(first, header, first + SIZE, start.io);
    Ok(())
}

/// Makes the segment that `header` describes, and remembers that it was made. The caller holds the lock.
fn make(directory: &Path, header: Header) -> Result<(), JournalError> {
    segment::create(directory, header)?;
    Newest { number: header.number, epoch: header.epoch, journal: header.journal }.write(directory)
}

/// Makes segments until the journal reaches `end`. Anybody may call it, ahead of need.
pub fn ensure_allocated(directory: &Path, shared: &Shared, end: u64) -> Result<(), JournalError> {
    let _lock = FileLock::take(directory, segment::CREATION)?;
    while shared.allocated() < end {
        let next = shared.allocated();
        make(directory, shared.header(next / SIZE))?;
        shared.set_allocated(next + SIZE);
    }
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| JournalError::io("read", "/dev/urandom", io::Error::other(e.to_string())))?;
    Ok(bytes)
}
