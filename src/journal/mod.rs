//! The journal: bytes on disk that survive the death of every process.
//!
//! Promises: a frame that [`Appender::append`] accepted is in the kernel's page cache, so it
//! survives ROLLBACK and kill -9 of a backend or of the postmaster; frames come back once each, in
//! the order of their positions; bytes inside a frame can never be taken for a frame. It does not
//! promise to survive a power cut before [`sync::sync`] has returned, and it knows neither what a frame
//! says nor PostgreSQL.
//!
//! Layout: `docs/journal-format.md`. Life: a process that creates the shared memory calls
//! [`recovery::begin_epoch`]; every process appends through an [`Appender`]; readers walk with a
//! [`Cursor`].

pub mod cursor;
pub mod error;
pub mod frame;
pub mod io;
pub mod map;
mod newest;
pub mod recovery;
pub mod segment;
pub mod shared;
pub mod sync;
#[cfg(test)]
mod tests;
pub mod writer;

pub use cursor::{Cursor, Next};
pub use error::JournalError;
pub use io::Io;
pub use shared::Shared;
pub use writer::{Appender, Placed};

/// A byte position in the journal: segment number times [`segment::SIZE`] plus the offset in it.
pub type Position = u64;
