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
    #[error("audit journal was not started{}", if *full { ": no space left" } else { "" })]
    NotStarted { full: bool },
    #[error("could not write audit journal segment \"{}\" to disk: {source}", path.display())]
    Sync { path: PathBuf, source: io::Error },
    #[error("could not write the audit journal to disk while this record was in it")]
    NotSynced,
}

impl JournalError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::Full { path },
            _ => Self::Io { action, path, source },
        }
    }

    /// Whether what should be there is not, or is something else. That does not pass by waiting, unlike a
    /// shortage of memory or descriptors.
    pub fn is_loss(&self) -> bool {
        match self {
            Self::Corrupt { .. } => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
            }
            _ => false,
        }
    }
}
