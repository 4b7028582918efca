//! The one entrance to the audit trail: events go from here into the journal, and nowhere else.
//!
//! Promises: when [`begin`] or [`note`] returned, the event survives everything but a power cut.
//! A frame explains every name it uses within its segment (who acts, what the statement is), so
//! that readers can start at any segment. What to do when the journal cannot be written is for
//! the caller, who knows whom it serves; [`end`] never fails, it warns.

use crate::error::Report;
use crate::event::codec::{self, BeginHead};
use crate::event::{Context, End, Note, Object, Outcome, PersonTag, Shape};
use crate::journal::{Appender, JournalError, Placed, Shared, segment};
use crate::pg::{session, shared};
use pgrx::PgSqlErrorCode;
use std::cell::RefCell;
use std::path::PathBuf;

/// Shapes remembered per session; more are sent again, which costs space and nothing else.
const SHAPES: usize = 512;
/// Longer keys are not remembered.
const LONGEST_KEY: usize = 8192;

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
            Self::Journal(JournalError::Full { .. }) => PgSqlErrorCode::ERRCODE_DISK_FULL,
            Self::Journal(JournalError::Io { .. } | JournalError::Corrupt { .. }) => {
                PgSqlErrorCode::ERRCODE_IO_ERROR
            }
            Self::Journal(JournalError::TooLarge { .. }) => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            Self::Journal(JournalError::NotStarted) | Self::NotPreloaded => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Journal(JournalError::Full { .. }) => {
                "Free space on the file system that holds the directory \"pg_custodian\" of the data directory.".into()
            }
            Self::Journal(JournalError::NotStarted) => {
                "The server log says why the journal could not be started; restart the server after mending it.".into()
            }
            Self::Journal(_) => "See the server log and the directory \"pg_custodian\" of the data directory.".into(),
            Self::NotPreloaded => {
                "Add pg_custodian to \"shared_preload_libraries\" in postgresql.conf and restart the server.".into()
            }
        })
    }
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

struct Known {
    key: Vec<u8>,
    number: u32,
    encoded: Vec<u8>,
    segment: u64,
}

struct Trail {
    appender: Appender,
    context: Context,
    encoded_context: Vec<u8>,
    context_segment: u64,
    roles: (u32, u32),
    person: Option<PersonTag>,
    person_changed: bool,
    next_statement: u32,
    next_shape: u32,
    shapes: Vec<Option<Known>>,
    unnamed: Option<Known>,
    buffer: Vec<u8>,
    warned_at: i64,
}

thread_local! {
    static TRAIL: RefCell<Option<Box<Trail>>> = const { RefCell::new(None) };
}

fn with<R>(work: impl FnOnce(&mut Trail) -> R) -> R {
    TRAIL.with_borrow_mut(|trail| work(trail.get_or_insert_with(|| Box::new(Trail::new()))))
}

/// Names the person whom the events of this session belong to from now on.
pub fn set_person(person: Option<PersonTag>) {
    with(|trail| {
        trail.person = person;
        trail.person_changed = true;
    });
}

/// Records that a statement begins, and returns its number in the session.
///
/// `shape` is built only if `key` is new. It may read catalogs, and must not run statements.
pub fn begin(beginning: &Beginning<'_>, shape: impl FnOnce() -> Shape) -> Result<u32, TrailError> {
    with(|trail| trail.begin(beginning, shape))
}

/// Records that the statement `number` ended, and what became of `objects` meanwhile.
pub fn end(number: u32, rows: u64, outcome: Outcome, sqlstate: [u8; 5], objects: &[Object]) {
    with(|trail| {
        let end = End {
            session: trail.context.session,
            statement: number,
            at: session::now(),
            rows,
            outcome,
            sqlstate,
        };
        trail.buffer.clear();
        if !objects.is_empty() {
            codec::put_objects(&mut trail.buffer, end.session, number, objects);
        }
        codec::put_end(&mut trail.buffer, &end);
        if let Err(error) = trail.append() {
            trail.warn(&error);
        }
    });
}

/// Records an event that is not a statement.
pub fn note(note: &Note) -> Result<(), TrailError> {
    with(|trail| {
        trail.refresh_context();
        let (session, context, at) = (trail.context.session, trail.context.number, session::now());
        trail.append_explained(None, |out| codec::put_note(out, session, context, at, note))
    })
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

/// How many statements of this session were recorded; `None` if nothing was.
pub fn statements() -> Option<u32> {
    TRAIL.with_borrow(|trail| trail.as_ref().map(|trail| trail.next_statement - 1))
}

/// Says in the server log, at most once a minute and session, that events are being lost.
pub fn warn(error: &TrailError) {
    with(|trail| trail.warn(error));
}

impl Trail {
    fn new() -> Self {
        Self {
            appender: Appender::new(directory()),
            context: Context {
                session: session::session_id(),
                database: session::database().to_u32(),
                pid: session::pid(),
                client_address: session::client_address(),
                ..Context::default()
            },
            encoded_context: Vec::new(),
            context_segment: 0,
            roles: (0, 0),
            person: None,
            person_changed: false,
            next_statement: 1,
            next_shape: 1,
            shapes: std::iter::repeat_with(|| None).take(SHAPES).collect(),
            unnamed: None,
            buffer: Vec::with_capacity(4096),
            warned_at: i64::MIN,
        }
    }

    fn begin(&mut self, beginning: &Beginning<'_>, shape: impl FnOnce() -> Shape) -> Result<u32, TrailError> {
        self.refresh_context();
        let place = self.shape_place(beginning.key, shape);
        let statement = self.next_statement;
        // The ledger's column is a signed integer.
        self.next_statement = if statement < i32::MAX as u32 { statement + 1 } else { 1 };
        let head = BeginHead {
            session: self.context.session,
            statement,
            parent: beginning.parent,
            depth: beginning.depth,
            context: self.context.number,
            shape: self.shape(place).map_or(0, |known| known.number),
            at: beginning.at,
            text: beginning.text,
            grants: beginning.grants,
        };
        self.append_explained(Some(place), |out| {
            codec::put_begin(out, head, beginning.parameter_count, beginning.parameters);
        })?;
        Ok(statement)
    }

    /// Appends one frame of a record and, where the segment does not have them yet, what it refers to.
    fn append_explained(
        &mut self,
        shape: Option<Option<usize>>,
        record: impl Fn(&mut Vec<u8>),
    ) -> Result<(), TrailError> {
        let journal = journal().ok_or(TrailError::NotPreloaded)?;
        let mut segment = journal.reserved() / segment::SIZE;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            if self.context_segment != segment {
                buffer.extend_from_slice(&self.encoded_context);
            }
            if let Some(place) = shape
                && let Some(known) = self.shape(place)
                && known.segment != segment
            {
                buffer.extend_from_slice(&known.encoded);
            }
            record(&mut buffer);
            let placed = self.appender.append_in(journal, &buffer, segment);
            self.buffer = buffer;
            match placed? {
                Placed::Elsewhere(other) => segment = other,
                Placed::Before(_) => {
                    self.context_segment = segment;
                    if let Some(place) = shape
                        && let Some(known) = self.shape_mut(place)
                    {
                        known.segment = segment;
                    }
                    self.wake_writer();
                    return Ok(());
                }
            }
        }
    }

    fn append(&mut self) -> Result<(), TrailError> {
        let journal = journal().ok_or(TrailError::NotPreloaded)?;
        self.appender.append(journal, &self.buffer)?;
        self.wake_writer();
        Ok(())
    }

    /// Records an event for another database than this process's, or with `database` 0 for all. This is
    /// for a trail that is thrown away afterwards: a context's number has one meaning.
    fn note_as(mut self, database: u32, role: &[u8], note: &Note) -> Result<(), TrailError> {
        self.context.database = database;
        self.context.session_role = role.to_vec();
        self.context.role = role.to_vec();
        self.context.application = session::with_application_name(<[u8]>::to_vec);
        self.context.number = 1;
        codec::put_context(&mut self.encoded_context, &self.context);
        let (session, at) = (self.context.session, session::now());
        self.append_explained(None, |out| codec::put_note(out, session, 1, at, note))
    }

    fn wake_writer(&self) {
        if self.context.database == 0 {
            if let Some(memory) = shared::get() {
                memory.databases.iter().for_each(|slot| slot.writer.wake_if_sleeping());
            }
            return;
        }
        if let Some(slot) = shared::get().and_then(|memory| memory.database(self.context.database)) {
            slot.writer.wake_if_sleeping();
        }
    }

    /// Looks whether who acts has changed; if so, the next frame says so.
    fn refresh_context(&mut self) {
        // A failed transaction has gone back to the role it began with, but not yet from that of SET ROLE.
        let role = match session::in_transaction() {
            true => session::current_user(),
            false => session::outer_user(),
        };
        let roles = (session::session_user().to_u32(), role.to_u32());
        let same_application = session::with_application_name(|name| name == self.context.application);
        let is_known = same_application && !self.person_changed && !self.encoded_context.is_empty();
        if is_known && roles == self.roles {
            return;
        }
        if roles != self.roles {
            let names = if session::in_transaction() {
                self.roles = roles;
                (session::role_name(session::session_user()), session::role_name(session::current_user()))
            } else {
                // In a failed transaction, and between two, nothing can be looked up: not now.
                self.roles = (0, 0);
                session::role_names()
            };
            if is_known && (&names.0, &names.1) == (&self.context.session_role, &self.context.role) {
                return;
            }
            (self.context.session_role, self.context.role) = names;
        }
        self.context.application = session::with_application_name(<[u8]>::to_vec);
        self.context.person = self.person.clone();
        self.person_changed = false;
        self.context.number += 1;
        self.encoded_context.clear();
        codec::put_context(&mut self.encoded_context, &self.context);
        self.context_segment = 0;
    }

    /// Where the shape with this key is kept; `None` for one that is too large to be remembered.
    fn shape_place(&mut self, key: &[u8], build: impl FnOnce() -> Shape) -> Option<usize> {
        let place = (hash(key) % SHAPES as u64) as usize;
        if let Some(known) = &self.shapes[place]
            && known.key == key
        {
            return Some(place);
        }
        let shape = build();
        let number = self.next_shape;
        self.next_shape = number.checked_add(1).unwrap_or(1);
        let mut encoded = Vec::new();
        codec::put_shape(&mut encoded, self.context.session, number, &shape);
        if key.len() > LONGEST_KEY {
            self.unnamed = Some(Known { key: Vec::new(), number, encoded, segment: 0 });
            return None;
        }
        self.shapes[place] = Some(Known { key: key.to_vec(), number, encoded, segment: 0 });
        Some(place)
    }

    fn shape(&self, place: Option<usize>) -> Option<&Known> {
        place.map_or(self.unnamed.as_ref(), |place| self.shapes[place].as_ref())
    }

    fn shape_mut(&mut self, place: Option<usize>) -> Option<&mut Known> {
        match place {
            Some(place) => self.shapes[place].as_mut(),
            None => self.unnamed.as_mut(),
        }
    }

    fn warn(&mut self, error: &TrailError) {
        const MINUTE: i64 = 60_000_000;
        let now = session::now();
        if now.saturating_sub(self.warned_at) >= MINUTE {
            self.warned_at = now;
            pgrx::log!("pg_custodian: events are not being recorded: {error}");
        }
    }
}

/// FNV-1a over eight bytes at a time: it only picks a place, the key itself is compared in full.
fn hash(bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME);
        state ^= state >> 32;
    }
    for byte in rest {
        state = (state ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    state ^ state >> 29
}
