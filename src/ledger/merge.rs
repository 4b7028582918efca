//! From the journal's frames to the ledger's rows: each statement once, when it has ended.
//!
//! A segment of the journal explains every name that it uses, so names are forgotten at its end.
//! Statements that have begun stay open across segments, each with the position of its beginning:
//! reading must start again no later than at the oldest of them. After a restart everything below
//! the position that the ledger has stored is read for its names and open statements only.

use super::forwarded::Origins;
use super::row::{PreparedContext, PreparedShape, Row, Statement, prepare_context, prepare_shape};
use crate::event::codec::{self, Record};
use crate::event::{Begin, Context, End, Forwarded, Noted, Object, Outcome, object};
use crate::journal::{Position, segment};
use rustc_hash::{FxHashMap, FxHashSet};
use std::borrow::Cow;
use std::rc::Rc;

struct Open {
    begun: Position,
    begin: Begin,
    text: Rc<[u8]>,
    context: Rc<PreparedContext>,
    shape: Rc<PreparedShape>,
}

/// Merges frames of one database into rows.
pub struct Merger {
    database: u32,
    /// Rows for what lies below were stored by an earlier run.
    stored: Position,
    /// Beginnings below were ended by then.
    resumed: Position,
    done: Position,
    segment: u64,
    /// Time of the latest record, for events that have none of their own.
    clock: i64,
    foreign: FxHashSet<u64>,
    contexts: FxHashMap<(u64, u32), Rc<PreparedContext>>,
    shapes: FxHashMap<(u64, u32), Rc<PreparedShape>>,
    /// The text that a session has sent last with each shape.
    texts: FxHashMap<(u64, u32), Rc<[u8]>>,
    open: FxHashMap<(u64, u32), Open>,
    rows: Vec<Row>,
    /// How far the ledger is with what standbys send.
    pub origins: Origins,
    /// How many of the next rows were stored by somebody else.
    skip: u32,
}

impl Merger {
    /// A merger for `database` that goes on where another one had stored everything below
    /// `stored`, with no statement open that began below `resumed`.
    pub fn new(database: u32, stored: Position, resumed: Position) -> Self {
        Self {
            database,
            stored,
            resumed,
            done: stored,
            segment: 0,
            clock: 0,
            foreign: FxHashSet::default(),
            contexts: FxHashMap::default(),
            shapes: FxHashMap::default(),
            texts: FxHashMap::default(),
            open: FxHashMap::default(),
            rows: Vec::new(),
            origins: Origins::default(),
            skip: 0,
        }
    }

    /// Leaves out the next `count` rows that the journal yields.
    pub fn skip(&mut self, count: u32) {
        self.skip = count;
    }

    fn push(&mut self, row: Row) {
        match self.skip.checked_sub(1) {
            Some(left) => self.skip = left,
            None => self.rows.push(row),
        }
    }

    /// Where reading must begin: at the segment that explains the oldest open statement.
    pub fn read_from(&self) -> Position {
        self.resumed / segment::SIZE * segment::SIZE
    }

    /// Everything below is merged.
    pub fn done(&self) -> Position {
        self.done
    }

    /// Everything below is of no more use, even after a restart.
    pub fn needed_from(&self) -> Position {
        self.open.values().map(|open| open.begun).min().unwrap_or(self.done).min(self.done)
    }

    /// Rows that wait to be taken.
    pub fn pending(&self) -> usize {
        self.rows.len()
    }

    /// Takes the rows merged so far.
    pub fn take(&mut self) -> Vec<Row> {
        std::mem::take(&mut self.rows)
    }

    /// Takes the list back, so that the next rows need no other memory.
    pub fn give_back(&mut self, mut rows: Vec<Row>) {
        rows.clear();
        if self.rows.is_empty() {
            self.rows = rows;
        }
    }

    /// Reads the frame at `at`, which ends before `end`.
    pub fn frame(&mut self, at: Position, end: Position, payload: &[u8]) {
        if at / segment::SIZE != self.segment {
            self.segment = at / segment::SIZE;
            self.foreign.clear();
            self.contexts.clear();
            self.shapes.clear();
            self.texts.clear();
        }
        for record in codec::records(payload) {
            match record {
                Ok(Record::Context(context)) => self.context(context),
                Ok(Record::Shape { session, number, shape }) => {
                    if !self.foreign.contains(&session) {
                        self.shapes.insert((session, number), Rc::new(prepare_shape(shape)));
                    }
                }
                Ok(Record::Begin(begin)) => self.begin(at, begin),
                Ok(Record::End(ending)) => self.end(at, &ending),
                Ok(Record::Note(note)) => self.note(at, note),
                Ok(Record::Objects { session, statement, objects }) => {
                    self.objects(session, statement, objects);
                }
                Ok(Record::Forwarded(batch)) => self.forwarded(at, batch),
                Err(malformed) => self.damage(at, &malformed.to_string()),
            }
        }
        self.done = self.done.max(end);
    }

    /// A new epoch begins in the segment at `at`: no process of the one before is alive.
    pub fn epoch(&mut self, at: Position, end: Position) {
        let mut dead: Vec<_> = self.open.drain().map(|(_, open)| open).collect();
        dead.sort_by_key(|open| open.begun);
        for open in dead {
            if at >= self.stored {
                self.push(row_of(open, None, Outcome::Interrupted, Some(*b"57P02")));
            }
        }
        self.done = self.done.max(end);
    }

    /// The journal from `from` to `to` is gone.
    pub fn gap(&mut self, from: Position, to: Position, reason: &str) {
        // What was read and is gone since matters for what began there and has not ended.
        let whole = from / segment::SIZE < to / segment::SIZE && to > self.resumed;
        if to > self.stored || from == to || whole {
            self.system_row("gap", from, &format!("journal positions {from} to {to} are lost: {reason}"));
        }
        self.done = self.done.max(to);
    }

    fn damage(&mut self, at: Position, reason: &str) {
        if at >= self.stored {
            self.system_row("damage", at, &format!("journal position {at}: {reason}"));
        }
    }

    fn system_row(&mut self, event: &'static str, at: Position, detail: &str) {
        let detail = serde_json::json!({ "problem": detail, "position": at }).to_string();
        self.push(Row {
            at: self.clock,
            event: Cow::Borrowed(event.as_bytes()),
            context: Rc::new(prepare_context(Context { database: self.database, ..Context::default() })),
            statement: None,
            outcome: Outcome::Error,
            sqlstate: None,
            object: None,
            detail: Some(detail.into_bytes()),
        });
    }

    fn context(&mut self, context: Context) {
        // An event of the server itself is in every ledger.
        if context.database == self.database || context.database == 0 {
            self.contexts.insert((context.session, context.number), Rc::new(prepare_context(context)));
        } else {
            self.foreign.insert(context.session);
        }
    }

    fn forwarded(&mut self, at: Position, batch: Forwarded) {
        if at < self.stored || batch.database != self.database {
            return;
        }
        match self.origins.take(batch) {
            Ok(rows) => rows.into_iter().for_each(|row| self.push(row)),
            Err(problem) => self.damage(at, &problem),
        }
    }

    fn begin(&mut self, at: Position, mut begin: Begin) {
        self.clock = self.clock.max(begin.at);
        if self.foreign.contains(&begin.session) {
            return;
        }
        let text = match begin.text.take() {
            Some(text) => {
                let text = Rc::from(text);
                self.texts.insert((begin.session, begin.shape), Rc::clone(&text));
                Some(text)
            }
            None => self.texts.get(&(begin.session, begin.shape)).cloned(),
        };
        if at < self.resumed {
            return;
        }
        let context = self.contexts.get(&(begin.session, begin.context)).cloned();
        let shape = self.shapes.get(&(begin.session, begin.shape)).cloned();
        match (context, shape, text) {
            (Some(context), Some(shape), Some(text)) => {
                let key = (begin.session, begin.statement);
                self.open.insert(key, Open { begun: at, begin, text, context, shape });
            }
            _ => self.damage(at, "a statement refers to what the segment does not explain"),
        }
    }

    /// What became of objects belongs to this one execution, not to the shape that others share.
    fn objects(&mut self, session: u64, statement: u32, objects: Vec<Object>) {
        if let Some(open) = self.open.get_mut(&(session, statement)) {
            let mut shape = open.shape.value.clone();
            object::merge(&mut shape.objects, objects);
            open.shape = Rc::new(prepare_shape(shape));
        }
    }

    fn end(&mut self, at: Position, end: &End) {
        self.clock = self.clock.max(end.at);
        // An end without a beginning is another database's, or was stored before.
        let Some(open) = self.open.remove(&(end.session, end.statement)) else { return };
        if at >= self.stored {
            let sqlstate = (end.sqlstate != *b"00000").then_some(end.sqlstate);
            self.push(row_of(open, Some(*end), end.outcome, sqlstate));
        }
    }

    fn note(&mut self, at: Position, note: Noted) {
        self.clock = self.clock.max(note.at);
        if at < self.stored || self.foreign.contains(&note.session) {
            return;
        }
        match self.contexts.get(&(note.session, note.context)).cloned() {
            Some(context) => self.push(Row {
                at: note.at,
                event: Cow::Owned(note.event),
                context,
                statement: None,
                outcome: note.outcome,
                sqlstate: note.sqlstate,
                object: note.object,
                detail: note.detail,
            }),
            None => self.damage(at, "an event refers to what the segment does not explain"),
        }
    }
}

fn row_of(open: Open, end: Option<End>, outcome: Outcome, sqlstate: Option<[u8; 5]>) -> Row {
    Row {
        at: open.begin.at,
        event: Cow::Borrowed(b"statement"),
        context: open.context,
        statement: Some(Statement {
            number: open.begin.statement,
            parent: open.begin.parent,
            depth: open.begin.depth,
            shape: open.shape,
            text: open.text,
            parameters: open.begin.parameters,
            grants: open.begin.grants,
            end,
        }),
        outcome,
        sqlstate,
        object: None,
        detail: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Change, Class, Shape, codec::BeginHead};

    const DATABASE: u32 = 5;

    /// A journal in memory: frames with their positions.
    #[derive(Default)]
    struct Tape(Vec<(Position, Vec<u8>)>);

    impl Tape {
        fn put(&mut self, at: Position, write: impl FnOnce(&mut Vec<u8>)) {
            let mut payload = Vec::new();
            write(&mut payload);
            self.0.push((at, payload));
        }

        fn begin(&mut self, at: Position, database: u32, session: u64, statement: u32) {
            self.put(at, |out| {
                codec::put_context(out, &Context { session, number: 1, database, ..Context::default() });
                codec::put_shape(out, session, 1, &shape());
                let text = format!("select {session}/{statement}");
                let head = BeginHead {
                    session,
                    statement,
                    parent: 0,
                    depth: 0,
                    context: 1,
                    shape: 1,
                    at: at as i64,
                    text: Some(text.as_bytes()),
                    grants: &[],
                };
                codec::put_begin(out, head, 0, &[]);
            });
        }

        fn end(&mut self, at: Position, session: u64, statement: u32) {
            let end = End { at: at as i64, ..ending(session, statement) };
            self.put(at, |out| codec::put_end(out, &end));
        }

        /// Reads frames from `from` up to `to` into `merger`.
        fn play(&self, merger: &mut Merger, to: Position) -> Vec<String> {
            let from = merger.read_from();
            for (at, payload) in self.0.iter().filter(|(at, _)| *at >= from && *at < to) {
                merger.frame(*at, at + 1, payload);
            }
            texts(merger)
        }
    }

    fn ending(session: u64, statement: u32) -> End {
        End {
            session,
            statement,
            at: 0,
            rows: 1,
            bytes: 0,
            transaction: 0,
            committed: None,
            outcome: Outcome::Ok,
            sqlstate: *b"00000",
        }
    }

    fn shape() -> Shape {
        Shape::of(Class::Read, b"SELECT")
    }

    fn texts(merger: &mut Merger) -> Vec<String> {
        let text = |row: &Row| match &row.statement {
            Some(statement) => {
                format!("{} {}", String::from_utf8_lossy(&statement.text), row.outcome.as_str())
            }
            None => String::from_utf8_lossy(&row.event).into_owned(),
        };
        merger.take().iter().map(text).collect()
    }

    fn interleaved() -> Tape {
        let mut tape = Tape::default();
        tape.begin(100, DATABASE, 1, 1);
        tape.begin(110, DATABASE, 2, 1);
        tape.begin(120, 99, 3, 1);
        tape.end(130, 2, 1);
        tape.end(140, 3, 1);
        tape.begin(150, DATABASE, 2, 2);
        tape.end(160, 1, 1);
        tape.end(170, 2, 2);
        tape
    }

    #[test]
    fn statements_become_rows_when_they_end_and_other_databases_are_left_out() {
        let mut merger = Merger::new(DATABASE, 0, 0);
        assert_eq!(
            interleaved().play(&mut merger, 1000),
            ["select 2/1 ok", "select 1/1 ok", "select 2/2 ok"]
        );
        assert_eq!((merger.done(), merger.needed_from()), (171, 171));
    }

    #[test]
    fn wherever_the_writer_stops_the_next_one_neither_loses_nor_doubles_a_row() {
        let tape = interleaved();
        for stop in 100..=175 {
            let mut first = Merger::new(DATABASE, 0, 0);
            let mut got = tape.play(&mut first, stop);
            let mut second = Merger::new(DATABASE, first.done(), first.needed_from());
            got.extend(tape.play(&mut second, 1000));
            assert_eq!(got, ["select 2/1 ok", "select 1/1 ok", "select 2/2 ok"], "stopped at {stop}");
        }
    }

    #[test]
    fn an_open_statement_keeps_its_part_of_the_journal_needed() {
        let mut merger = Merger::new(DATABASE, 0, 0);
        interleaved().play(&mut merger, 155);
        assert_eq!((merger.done(), merger.needed_from()), (151, 100));
    }

    #[test]
    fn the_end_of_an_epoch_interrupts_what_was_open_once() {
        let tape = interleaved();
        let mut first = Merger::new(DATABASE, 0, 0);
        tape.play(&mut first, 155);
        let next = segment::SIZE;
        first.epoch(next, next + segment::HEADER);
        assert_eq!(texts(&mut first), ["select 1/1 interrupted", "select 2/2 interrupted"]);
        // The next writer reads over the same boundary and must not report it again.
        let mut second = Merger::new(DATABASE, first.done(), 100);
        tape.play(&mut second, 155);
        second.epoch(next, next + segment::HEADER);
        assert_eq!(texts(&mut second), Vec::<String>::new());
    }

    #[test]
    fn a_text_that_was_sent_before_is_found_wherever_reading_begins() {
        let mut tape = Tape::default();
        tape.begin(100, DATABASE, 1, 1);
        let again = |at: Position, statement: u32, tape: &mut Tape| {
            let head = BeginHead {
                session: 1,
                statement,
                parent: 0,
                depth: 0,
                context: 1,
                shape: 1,
                at: at as i64,
                text: None,
                grants: &[],
            };
            tape.put(at, |out| codec::put_begin(out, head, 0, &[]));
            tape.end(at + 1, 1, statement);
        };
        tape.end(101, 1, 1);
        again(102, 2, &mut tape);
        tape.begin(110, DATABASE, 1, 3);
        tape.end(111, 1, 3);
        again(112, 4, &mut tape);
        let expected = ["select 1/1 ok", "select 1/1 ok", "select 1/3 ok", "select 1/3 ok"];
        for stop in 100..=115 {
            let mut first = Merger::new(DATABASE, 0, 0);
            let mut got = tape.play(&mut first, stop);
            let mut second = Merger::new(DATABASE, first.done(), first.needed_from());
            got.extend(tape.play(&mut second, 1000));
            assert_eq!(got, expected, "stopped at {stop}");
        }
        // The next segment has to say it anew.
        again(segment::SIZE + 100, 5, &mut tape);
        let mut merger = Merger::new(DATABASE, 0, 0);
        assert_eq!(tape.play(&mut merger, u64::MAX)[4..], ["damage"]);
    }

    #[test]
    fn what_became_of_objects_belongs_to_its_statement_alone() {
        let mut tape = Tape::default();
        tape.begin(100, DATABASE, 1, 1);
        tape.begin(110, DATABASE, 1, 2);
        let dropped = Object { kind: b"table".to_vec(), name: b"public.t".to_vec(), change: Change::Dropped };
        tape.put(120, |out| {
            codec::put_objects(out, 1, 1, std::slice::from_ref(&dropped));
            codec::put_end(out, &ending(1, 1));
        });
        tape.end(130, 1, 2);
        let mut merger = Merger::new(DATABASE, 0, 0);
        for (at, payload) in &tape.0 {
            merger.frame(*at, at + 1, payload);
        }
        let objects: Vec<Vec<Object>> =
            merger.take().into_iter().map(|row| row.statement.unwrap().shape.value.objects.clone()).collect();
        assert_eq!(objects, [vec![dropped], vec![]]);
    }

    #[test]
    fn an_event_of_the_server_is_in_every_ledger() {
        use crate::event::Note;
        let mut tape = Tape::default();
        tape.put(100, |out| {
            codec::put_context(out, &Context { session: 9, number: 1, database: 0, ..Context::default() });
            let note =
                Note { event: "recording", outcome: Outcome::Ok, sqlstate: None, object: None, detail: None };
            codec::put_note(out, 9, 1, 5, &note);
        });
        for database in [DATABASE, 99] {
            assert_eq!(tape.play(&mut Merger::new(database, 0, 0), 1000), ["recording"]);
        }
    }

    #[test]
    fn a_gap_in_what_was_read_counts_for_statements_that_began_in_it() {
        let at = |segment: u64, offset: u64| segment * segment::SIZE + offset;
        let told = |from, to| {
            let mut merger = Merger::new(DATABASE, at(5, 100), at(2, 64));
            merger.gap(from, to, "missing");
            texts(&mut merger).len()
        };
        assert_eq!(told(at(2, 64), at(4, 0)), 1, "a statement that is open began there");
        assert_eq!(told(at(5, 64), at(6, 0)), 1, "not all of it was read");
        assert_eq!(told(at(5, 200), at(5, 300)), 1, "not read");
        assert_eq!(told(at(3, 64), at(3, 300)), 0, "told before");
        assert_eq!(told(at(1, 64), at(2, 0)), 0, "nobody needs it");
    }

    #[test]
    fn what_is_lost_or_damaged_becomes_an_event() {
        let mut merger = Merger::new(DATABASE, 0, 0);
        merger.frame(64, 72, &[250]);
        merger.gap(72, 900, "missing");
        let mut tape = Tape::default();
        tape.put(1000, |out| {
            let head = BeginHead {
                session: 1,
                statement: 1,
                parent: 0,
                depth: 0,
                context: 7,
                shape: 7,
                at: 0,
                text: Some(b""),
                grants: &[],
            };
            codec::put_begin(out, head, 0, &[]);
        });
        for (at, payload) in &tape.0 {
            merger.frame(*at, at + 1, payload);
        }
        assert_eq!(texts(&mut merger), ["damage", "gap", "damage"]);
    }
}
