//! What can go wrong with files.

use std::io;
use std::path::PathBuf;

/// Why the journal could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("no space left for audit journal segment \"{}\"", path.display())]
    Full { path: PathBuf },
    #[error("could not {action} audit journal file \"{}\": {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("audit journal file \"{}\" is not a valid segment: {reason}", path.display())]
    Corrupt { path: PathBuf, reason: &'static str },
    #[error("audit record of {size} bytes is larger than the limit of {limit} bytes")]
    TooLarge { size: usize, limit: usize },
    #[error("audit journal was not started")]
    NotStarted,
}

impl JournalError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }
}
