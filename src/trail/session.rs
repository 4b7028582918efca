//! What one session has explained in the journal's segments, and how it appends.

use super::{Beginning, Ending, TrailError, directory, journal};
use crate::event::codec::{self, BeginHead};
use crate::event::{Context, End, Note, Object, Outcome, PersonTag, Shape};
use crate::journal::{Appender, Placed, Shared, segment, sync};
use crate::pg::{session, shared};
use crate::settings::{self, Durability};

/// Shapes remembered per session; more are sent again, which costs space and nothing else.
const SHAPES: usize = 512;
/// Longer keys are not remembered.
const LONGEST_KEY: usize = 8192;
/// Nor are longer texts, which a session sends again with each statement.
const LONGEST_TEXT: usize = 4096;

struct Known {
    key: Vec<u8>,
    number: u32,
    encoded: Vec<u8>,
    segment: u64,
    /// The text that was sent last with it, and in which segment.
    text: Vec<u8>,
    text_segment: u64,
}

impl Known {
    fn new(key: &[u8], number: u32, encoded: Vec<u8>) -> Self {
        Self { key: key.to_vec(), number, encoded, segment: 0, text: Vec::new(), text_segment: 0 }
    }

    /// Remembers the text that the segment has now.
    fn keep_text(&mut self, text: &[u8], segment: u64) {
        self.text.clear();
        self.text_segment = 0;
        if text.len() <= LONGEST_TEXT {
            self.text.extend_from_slice(text);
            self.text_segment = segment;
        }
    }
}

/// One session's way into the journal.
pub(super) struct Trail {
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
    /// Ends that could not be recorded yet.
    owed: Vec<Vec<u8>>,
    /// The first segment with something of this session that is perhaps not on disk.
    unsynced: Option<u64>,
    /// How many syncs had failed before that was appended.
    failures: u64,
    /// An end that is recorded when its transaction has ended.
    waiting: Option<(End, Vec<Object>)>,
    /// The transaction that recorded statements have changed something in, else 0.
    undecided: u64,
    warned_at: i64,
}

impl Trail {
    pub(super) fn new() -> Self {
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
            owed: Vec::new(),
            unsynced: None,
            failures: 0,
            waiting: None,
            undecided: 0,
            warned_at: i64::MIN,
        }
    }

    pub(super) fn set_person(&mut self, person: Option<PersonTag>) {
        self.person = person;
        self.person_changed = true;
    }

    pub(super) fn statements(&self) -> u32 {
        self.next_statement - 1
    }

    pub(super) fn note(&mut self, note: &Note) -> Result<(), TrailError> {
        self.refresh_context();
        self.put_note(note)
    }

    pub(super) fn begin(
        &mut self,
        beginning: &Beginning<'_>,
        shape: impl FnOnce() -> Shape,
    ) -> Result<u32, TrailError> {
        self.settle(None);
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
            text: Some(beginning.text),
            grants: beginning.grants,
        };
        self.append_explained(Some((place, beginning.text)), |out, has_text| {
            let text = head.text.filter(|_| !has_text);
            codec::put_begin(
                out,
                BeginHead { text, ..head },
                beginning.parameter_count,
                beginning.parameters,
            );
        })?;
        Ok(statement)
    }

    /// Whether this text was recorded last under this key.
    pub(super) fn has_sent(&self, key: &[u8], text: &[u8]) -> bool {
        let known = self.shapes[place_of(key)].as_ref();
        known.is_some_and(|known| known.text_segment != 0 && known.text == text && known.key == key)
    }

    pub(super) fn end(&mut self, ending: Ending) {
        let transaction = session::transaction_number();
        let mut end = End {
            session: self.context.session,
            statement: ending.number,
            at: session::now(),
            rows: ending.rows,
            bytes: ending.bytes,
            transaction,
            committed: None,
            outcome: ending.outcome,
            sqlstate: ending.sqlstate,
        };
        if transaction != 0 {
            self.undecided = transaction;
            if ending.closes && ending.outcome == Outcome::Ok {
                self.settle(None);
                self.waiting = Some((end, ending.objects));
                return;
            }
            if ending.closes {
                // The client has the error before the transaction is aborted: there is no time to wait.
                end.committed = Some(false);
                self.undecided = 0;
            }
        }
        self.put_end(&end, &ending.objects);
    }

    pub(super) fn transaction_ended(&mut self, committed: Option<bool>) {
        let undecided = std::mem::take(&mut self.undecided);
        if !self.settle(committed)
            && undecided != 0
            && let Some(committed) = committed
        {
            self.note_transaction(undecided, committed);
        }
    }

    /// Records the end that waits for its transaction, if one does.
    fn settle(&mut self, committed: Option<bool>) -> bool {
        let Some((mut end, objects)) = self.waiting.take() else { return false };
        end.committed = committed;
        self.put_end(&end, &objects);
        true
    }

    fn put_end(&mut self, end: &End, objects: &[Object]) {
        self.buffer.clear();
        if !objects.is_empty() {
            codec::put_objects(&mut self.buffer, end.session, end.statement, objects);
        }
        codec::put_end(&mut self.buffer, end);
        if let Err(error) = self.append() {
            self.owe(&error);
        }
    }

    /// Without its end a statement stays open, and the journal with it.
    #[cold]
    fn owe(&mut self, error: &TrailError) {
        self.warn(error);
        self.owed.push(self.buffer.clone());
    }

    /// Records how a transaction ended that no statement of the client's ended: a procedure did, or the
    /// session was lost.
    fn note_transaction(&mut self, number: u64, committed: bool) {
        let note = Note {
            event: "transaction",
            outcome: Outcome::Ok,
            sqlstate: None,
            object: Some(number.to_string()),
            detail: Some(format!("{{\"committed\":{committed}}}")),
        };
        if let Err(error) = self.put_note(&note) {
            self.warn(&error);
        }
    }

    fn put_note(&mut self, note: &Note) -> Result<(), TrailError> {
        let (session, context, at) = (self.context.session, self.context.number, session::now());
        self.append_explained(None, |out, _| codec::put_note(out, session, context, at, note))
    }

    /// Appends one frame of a record and, where the segment does not have them yet, what it refers to: its shape,
    /// and its text. `record` is told whether the segment has the text already.
    fn append_explained(
        &mut self,
        shape: Option<(Option<usize>, &[u8])>,
        record: impl Fn(&mut Vec<u8>, bool),
    ) -> Result<(), TrailError> {
        let journal = journal().ok_or(TrailError::NotPreloaded)?;
        self.forget_lost(journal);
        self.pay(journal)?;
        let mut segment = journal.reserved() / segment::SIZE;
        loop {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            if self.context_segment != segment {
                buffer.extend_from_slice(&self.encoded_context);
            }
            let mut has_text = false;
            if let Some((place, text)) = shape
                && let Some(known) = self.shape(place)
            {
                if known.segment != segment {
                    buffer.extend_from_slice(&known.encoded);
                }
                has_text = known.text_segment == segment && known.text == text;
            }
            record(&mut buffer, has_text);
            let placed = self.appender.append_in(journal, &buffer, segment);
            self.buffer = buffer;
            match placed? {
                Placed::Elsewhere(other) => segment = other,
                Placed::Before(_) => {
                    self.context_segment = segment;
                    if let Some((place, text)) = shape
                        && let Some(known) = self.shape_mut(place)
                    {
                        known.segment = segment;
                        if !has_text {
                            known.keep_text(text, segment);
                        }
                    }
                    self.unsynced.get_or_insert(segment);
                    self.wake_writer();
                    return Ok(());
                }
            }
        }
    }

    fn append(&mut self) -> Result<(), TrailError> {
        let journal = journal().ok_or(TrailError::NotPreloaded)?;
        self.pay(journal)?;
        self.appender.append(journal, &self.buffer)?;
        self.wake_writer();
        Ok(())
    }

    /// Records what is owed, in its order.
    fn pay(&mut self, journal: &Shared) -> Result<(), TrailError> {
        while let Some(end) = self.owed.first() {
            self.appender.append(journal, end)?;
            self.owed.remove(0);
        }
        Ok(())
    }

    /// What explains names may have been lost when a sync failed: then it is sent again.
    fn forget_lost(&mut self, journal: &Shared) {
        let failures = journal.sync_failures();
        if failures != self.failures {
            self.forget_explained();
        }
        // From before the last wait: nobody will wait for that any more, and its segment may be gone.
        self.unsynced = None;
        self.failures = failures;
    }

    #[cold]
    fn forget_explained(&mut self) {
        self.context_segment = 0;
        for known in self.shapes.iter_mut().flatten() {
            (known.segment, known.text_segment) = (0, 0);
        }
    }

    pub(super) fn secure(&mut self) -> Result<(), TrailError> {
        let Some(segment) = self.unsynced.take() else { return Ok(()) };
        if settings::durability() == Durability::ServerCrash {
            return Ok(());
        }
        let journal = journal().ok_or(TrailError::NotPreloaded)?;
        sync::sync(&directory(), journal, segment, self.failures).map_err(|error| {
            // If the file is gone that we have open, the next record shall notice.
            self.appender = Appender::new(directory());
            error.into()
        })
    }

    /// Records an event for another database than this process's, or with `database` 0 for all. This is
    /// for a trail that is thrown away afterwards: a context's number has one meaning.
    pub(super) fn note_as(mut self, database: u32, role: &[u8], note: &Note) -> Result<(), TrailError> {
        self.context.database = database;
        self.context.session_role = role.to_vec();
        self.context.role = role.to_vec();
        self.context.application = session::with_application_name(<[u8]>::to_vec);
        self.context.number = 1;
        codec::put_context(&mut self.encoded_context, &self.context);
        let (session, at) = (self.context.session, session::now());
        self.append_explained(None, |out, _| codec::put_note(out, session, 1, at, note))?;
        self.secure()
    }

    fn wake_writer(&self) {
        if self.context.database == 0 {
            if let Some(memory) = shared::get() {
                memory.databases.iter().for_each(|slot| slot.writer.wake_if_sleeping());
            }
            return;
        }
        if let Some(memory) = shared::get() {
            match memory.database(self.context.database) {
                Some(slot) => slot.writer.wake_if_sleeping(),
                // The extension has come by replication, which tells nobody.
                None if session::in_recovery() => memory.look_again(),
                None => {}
            }
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
        if !is_known || roles != self.roles {
            self.describe_context(is_known, roles);
        }
    }

    #[cold]
    fn describe_context(&mut self, is_known: bool, roles: (u32, u32)) {
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
        let place = place_of(key);
        if let Some(known) = &self.shapes[place]
            && known.key == key
        {
            return Some(place);
        }
        self.describe_shape(place, key, build())
    }

    #[cold]
    fn describe_shape(&mut self, place: usize, key: &[u8], shape: Shape) -> Option<usize> {
        let number = self.next_shape;
        self.next_shape = number.checked_add(1).unwrap_or(1);
        let mut encoded = Vec::new();
        codec::put_shape(&mut encoded, self.context.session, number, &shape);
        if key.len() > LONGEST_KEY {
            self.unnamed = Some(Known::new(b"", number, encoded));
            return None;
        }
        self.shapes[place] = Some(Known::new(key, number, encoded));
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

    #[cold]
    pub(super) fn warn(&mut self, error: &TrailError) {
        const MINUTE: i64 = 60_000_000;
        let now = session::now();
        if now.saturating_sub(self.warned_at) >= MINUTE {
            self.warned_at = now;
            pgrx::log!("pg_custodian: events are not being recorded: {error}");
        }
    }
}

/// Where a shape with this key is kept, if it is.
fn place_of(key: &[u8]) -> usize {
    (hash(key) % SHAPES as u64) as usize
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
