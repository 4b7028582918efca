//! What happens when shared memory is new: the journal goes on in a new epoch.

use super::{JournalError, Shared, segment};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Opens `directory` (made with mode 0700 if missing) and starts a new epoch in a new segment.
///
/// The new segment's number follows the newest present one, which therefore is never removed:
/// numbers that ran backwards would make readers skip what is new. Called once per life of the
/// shared memory, before anybody appends. On error the journal stays as it was in `shared`: not
/// started, so that every append fails with [`JournalError::NotStarted`].
pub fn begin_epoch(directory: &Path, shared: &Shared) -> Result<(), JournalError> {
    if !directory.is_dir() {
        DirBuilder::new()
            .mode(0o700)
            .create(directory)
            .map_err(|e| JournalError::io("create", directory, e))?;
    }
    let newest = segment::list(directory)?.last().copied();
    let header = match newest {
        // A newest segment that cannot be read must not silently start another journal.
        Some(number) => {
            let previous = segment::read_header(directory, number)?;
            segment::Header { number: number + 1, epoch: previous.epoch + 1, key: random_u64()?, ..previous }
        }
        None => segment::Header { number: 1, journal: random()?, epoch: 1, key: random_u64()? },
    };
    segment::create(directory, header)?;
    let start = header.number * segment::SIZE;
    shared.start(start, header, start + segment::SIZE);
    Ok(())
}

fn random<const N: usize>() -> Result<[u8; N], JournalError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|e| JournalError::io("read", "/dev/urandom", io::Error::other(e.to_string())))?;
    Ok(bytes)
}

fn random_u64() -> Result<u64, JournalError> {
    Ok(u64::from_le_bytes(random()?))
}
