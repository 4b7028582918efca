//! The one entrance to the audit trail: events go from here into the journal, and nowhere else.
//!
//! Promises: when [`begin`] or [`note`] returned, the event survives everything but a power cut; that too
//! when [`secure`] has returned, or [`note`], where `pg_custodian.durability` is `power_loss`.
//! A frame explains every name it uses within its segment (who acts, what the statement is), so
//! that readers can start at any segment. What to do when the journal cannot be written is for
//! the caller, who knows whom it serves; [`end`] never fails, it warns.

mod session;

use crate::error::Report;
use crate::event::{Forwarded, Note, Object, Outcome, PersonTag, Shape, codec};
use crate::journal::{Appender, JournalError, Shared};
use crate::pg::local::process_local;
use crate::pg::shared;
use pgrx::PgSqlErrorCode;
use session::Trail;
use std::cell::RefCell;
use std::path::PathBuf;

/// Directory of the journal below the data directory, which is every process's working directory.
const DIRECTORY: &str = "pg_custodian";

/// The journal's directory.
pub fn directory() -> PathBuf {
    PathBuf::from(DIRECTORY)
}

/// What the server's processes share of the journal, if the library was preloaded.
pub fn journal() -> Option<&'static Shared> {
    shared::get().map(|memory| Shared::over(&memory.words))
}

/// Why an event could not be recorded.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    #[error("could not record the event: {0}")]
    Journal(#[from] JournalError),
    #[error("pg_custodian must be loaded via \"shared_preload_libraries\"")]
    NotPreloaded,
}

impl Report for TrailError {
    fn code(&self) -> PgSqlErrorCode {
        match self {
            Self::Journal(JournalError::Full { .. } | JournalError::NotStarted { full: true }) => {
                PgSqlErrorCode::ERRCODE_DISK_FULL
            }
            Self::Journal(
                JournalError::Io { .. }
                | JournalError::Corrupt { .. }
                | JournalError::Sync { .. }
                | JournalError::NotSynced,
            ) => PgSqlErrorCode::ERRCODE_IO_ERROR,
            Self::Journal(JournalError::TooLarge { .. }) => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::Journal(JournalError::NotStarted { full: false }) | Self::NotPreloaded => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Journal(JournalError::Full { .. } | JournalError::NotStarted { full: true }) => {
                "Free space on the file system that holds the directory \"pg_custodian\" of the data directory.".into()
            }
            Self::Journal(JournalError::NotStarted { full: false }) => {
                "The server log says why the journal could not be started; it starts by itself when that is mended.".into()
            }
            Self::Journal(JournalError::Sync { .. } | JournalError::NotSynced) => {
                "Repeat the statement; if it fails again, see the server log and the disk that holds the directory \"pg_custodian\".".into()
            }
            Self::Journal(_) => "See the server log and the directory \"pg_custodian\" of the data directory.".into(),
            Self::NotPreloaded => {
                "Add pg_custodian to \"shared_preload_libraries\" in postgresql.conf and restart the server.".into()
            }
        })
    }
}

/// A statement's end as [`end`] wants it.
#[derive(Debug, Default)]
pub struct Ending {
    pub number: u32,
    pub rows: u64,
    /// Bytes sent to the client.
    pub bytes: u64,
    pub outcome: Outcome,
    /// `00000` if it went well.
    pub sqlstate: [u8; 5],
    /// What became of objects meanwhile.
    pub objects: Vec<Object>,
    /// Whether the transaction ends with it.
    pub closes: bool,
}

/// A statement as [`begin`] wants it.
pub struct Beginning<'a> {
    /// The statement that runs this one; 0 if the client does.
    pub parent: u32,
    pub depth: u16,
    pub at: i64,
    pub text: &'a [u8],
    pub grants: &'a [i64],
    /// Written by [`codec::put_parameter`].
    pub parameters: &'a [u8],
    pub parameter_count: u16,
    /// Equal keys have equal shapes, in this session.
    pub key: &'a [u8],
}

process_local! {
    static TRAIL: RefCell<Option<Box<Trail>>> = const { RefCell::new(None) };
}

fn with<R>(work: impl FnOnce(&mut Trail) -> R) -> R {
    TRAIL.with_borrow_mut(|trail| work(trail.get_or_insert_with(|| Box::new(Trail::new()))))
}

/// Names the person whom the events of this session belong to from now on.
pub fn set_person(person: Option<PersonTag>) {
    with(|trail| trail.set_person(person));
}

/// Records that a statement begins, and returns its number in the session.
///
/// `shape` is built only if `key` is new. It may read catalogs, and must not run statements.
pub fn begin(beginning: &Beginning<'_>, shape: impl FnOnce() -> Shape) -> Result<u32, TrailError> {
    with(|trail| trail.begin(beginning, shape))
}

/// Whether this text is what was recorded last under this key: then it holds nothing that must not be recorded.
pub fn has_sent(key: &[u8], text: &[u8]) -> bool {
    TRAIL.with_borrow(|trail| trail.as_ref().is_some_and(|trail| trail.has_sent(key, text)))
}

/// Records that a statement ended.
///
/// If the transaction ends with it and has changed something, the record waits for that, to tell whether
/// it committed: for no longer than until the session's next statement.
pub fn end(ending: Ending) {
    with(|trail| trail.end(ending));
}

/// The transaction ended, and committed or not; neither is known of one that was prepared.
pub fn transaction_ended(committed: Option<bool>) {
    TRAIL.with_borrow_mut(|trail| {
        if let Some(trail) = trail {
            trail.transaction_ended(committed);
        }
    });
}

/// Waits, with `pg_custodian.durability = power_loss`, until what this session has recorded is on disk.
pub fn secure() -> Result<(), TrailError> {
    with(Trail::secure)
}

/// Records an event that is not a statement, and [secures](secure) it.
pub fn note(note: &Note) -> Result<(), TrailError> {
    note_in_passing(note)?;
    secure()
}

/// [`note`] of what nothing depends on: it is on disk with what follows.
pub fn note_in_passing(note: &Note) -> Result<(), TrailError> {
    with(|trail| trail.note(note))
}

/// Records an event of the server itself, which belongs into the ledger of every database.
pub fn note_of_server(note: &Note) -> Result<(), TrailError> {
    Trail::new().note_as(0, b"", note)
}

/// Records an event in a database to which this process has not got: somebody was turned away who
/// wanted to be `role` there.
pub fn note_of_stranger(database: u32, role: &[u8], note: &Note) -> Result<(), TrailError> {
    Trail::new().note_as(database, role, note)
}

/// Records what a standby has sent, and returns where the journal ends behind it.
pub fn forwarded(batch: &Forwarded) -> Result<u64, TrailError> {
    let journal = journal().ok_or(TrailError::NotPreloaded)?;
    let mut payload = Vec::with_capacity(batch.records.len() + 256);
    codec::put_forwarded(&mut payload, batch);
    Ok(Appender::new(directory()).append(journal, &payload)?)
}

/// How many statements of this session were recorded; `None` if nothing was.
pub fn statements() -> Option<u32> {
    TRAIL.with_borrow(|trail| trail.as_ref().map(|trail| trail.statements()))
}

/// Says in the server log, at most once a minute and session, that events are being lost.
#[cold]
pub fn warn(error: &TrailError) {
    with(|trail| trail.warn(error));
}
