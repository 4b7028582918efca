//! What standbys send: rows on their way, and how far the ledger is with each of their journals.
//!
//! A standby makes rows of its own journal and sends them in batches, each with the place from which and to
//! which it takes the ledger. The primary puts a batch into its journal as it is, and its ledger
//! writer takes it only if it goes on where the one before ended. The place is stored with the rows, in
//! one transaction. So it does not matter how often a batch is sent, by whom, or what is lost
//! on the way: each row is in the ledger once, and in order.

use super::LedgerError;
use super::row::{PreparedContext, PreparedShape, Row, Statement, prepare_context, prepare_shape};
use crate::event::codec::{self, BeginHead, Record};
use crate::event::{Begin, Context, Forwarded, Noted, Outcome, Place, Shape, Text, session_name};
use crate::journal::frame;
use crate::pg::heap::{self, Value};
use crate::pg::{catalog, session};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Bytes of rows that a batch has room for; a larger row travels alone.
pub const ROOM: usize = 1 << 20;
/// Far from the end of what a timestamp holds, so that differences are numbers, too.
const LATEST: i64 = (1 << 60) - 1;
/// The rest of a batch's frame, names included.
const HEAD: usize = 1024;

/// What stands in the place of a row that the primary refuses, so that those behind it get there.
pub fn refused(row: &Row, reason: &str) -> Row {
    let problem =
        format!("a row of session {} was not forwarded: {reason}", session_name(row.context.value.session));
    Row {
        // A time that is not refused.
        at: row.at.clamp(0, LATEST),
        event: Cow::Borrowed(b"damage"),
        context: Rc::new(prepare_context(Context::default())),
        statement: None,
        outcome: Outcome::Error,
        sqlstate: None,
        object: None,
        detail: Some(serde_json::json!({ "problem": problem }).to_string().into_bytes()),
    }
}

/// Encodes as many of `rows` as there is room for, at least one. Returns how many.
pub fn encode(rows: &[Row]) -> (Vec<u8>, usize) {
    let mut batch = Encoder::default();
    let mut count = 0;
    for row in rows {
        let before = batch.out.len();
        batch.put(row);
        if batch.out.len() > ROOM && count > 0 {
            batch.out.truncate(before);
            break;
        }
        count += 1;
    }
    if batch.out.len() > frame::MAX_PAYLOAD - HEAD
        && let Some(row) = rows.first()
    {
        // With the objects of its end a statement can outgrow a frame that it filled at its beginning.
        batch = Encoder::default();
        batch.put(&without_texts(row));
    }
    (batch.out, count)
}

fn without_texts(row: &Row) -> Row {
    let mut row = row.clone();
    if let Some(statement) = &mut row.statement {
        let note = format!("({} bytes, too many to forward)", statement.text.len());
        statement.text = Rc::from(note.into_bytes());
        statement.parameters.clear();
    }
    row
}

/// Numbers by the address of what they stand for, which the rows keep in its place.
#[derive(Default)]
struct Encoder {
    out: Vec<u8>,
    contexts: HashMap<*const PreparedContext, u32>,
    shapes: HashMap<*const PreparedShape, u32>,
}

impl Encoder {
    fn put(&mut self, row: &Row) {
        let next = self.contexts.len() as u32 + 1;
        let context = *self.contexts.entry(Rc::as_ptr(&row.context)).or_insert_with(|| {
            codec::put_context(&mut self.out, &Context { number: next, ..row.context.value.clone() });
            next
        });
        let Some(statement) = &row.statement else {
            let noted = Noted {
                session: row.context.value.session,
                context,
                at: row.at,
                event: row.event.to_vec(),
                outcome: row.outcome,
                sqlstate: row.sqlstate,
                object: row.object.clone(),
                detail: row.detail.clone(),
            };
            return codec::put_noted(&mut self.out, &noted);
        };
        let next = self.shapes.len() as u32 + 1;
        let shape = *self.shapes.entry(Rc::as_ptr(&statement.shape)).or_insert_with(|| {
            codec::put_shape(&mut self.out, 0, next, &statement.shape.value);
            next
        });
        let head = BeginHead {
            session: row.context.value.session,
            statement: statement.number,
            parent: statement.parent,
            depth: statement.depth,
            context,
            shape,
            at: row.at,
            text: Some(&statement.text),
            grants: &statement.grants,
        };
        let mut parameters = Vec::new();
        for parameter in &statement.parameters {
            codec::put_parameter(&mut parameters, parameter.as_deref());
        }
        codec::put_begin(&mut self.out, head, statement.parameters.len() as u16, &parameters);
        if let Some(end) = &statement.end {
            codec::put_end(&mut self.out, end);
        }
    }
}

const MALFORMED: &str = "the records are malformed";

/// The rows that [`encode`] made `records` of, as those of the standby `server`.
pub fn decode(records: &[u8], server: &[u8]) -> Result<Vec<Row>, &'static str> {
    let mut contexts: HashMap<u32, Rc<PreparedContext>> = HashMap::new();
    let mut shapes: HashMap<u32, Rc<PreparedShape>> = HashMap::new();
    let mut rows: Vec<Row> = Vec::new();
    for record in codec::records(records) {
        match record.map_err(|_| MALFORMED)? {
            Record::Context(context) => {
                let context = Context { server: server.to_vec(), ..context };
                contexts.insert(context.number, Rc::new(prepare_context(context)));
            }
            Record::Shape { number, shape, .. } => {
                shapes.insert(number, Rc::new(prepare_shape(shape)));
            }
            Record::Begin(begin) => {
                let context = of_session(&contexts, begin.context, begin.session)?;
                let shape = shapes.get(&begin.shape).cloned().ok_or(MALFORMED)?;
                let text = Rc::from(begin.text.as_deref().ok_or(MALFORMED)?);
                rows.push(statement_row(begin, text, context, shape));
            }
            Record::End(end) => {
                let row = rows
                    .last_mut()
                    .filter(|row| row.context.value.session == end.session)
                    .ok_or(MALFORMED)?;
                let statement = row.statement.as_mut().ok_or(MALFORMED)?;
                if statement.number != end.statement || statement.end.is_some() {
                    return Err(MALFORMED);
                }
                statement.end = Some(end);
                row.outcome = end.outcome;
                row.sqlstate = (end.sqlstate != *b"00000").then_some(end.sqlstate);
            }
            Record::Note(note) => {
                let context = of_session(&contexts, note.context, note.session)?;
                rows.push(Row {
                    at: note.at,
                    event: Cow::Owned(note.event),
                    context,
                    statement: None,
                    outcome: note.outcome,
                    sqlstate: note.sqlstate,
                    object: note.object,
                    detail: note.detail,
                });
            }
            Record::Objects { .. } | Record::Forwarded(_) => return Err(MALFORMED),
        }
    }
    Ok(rows)
}

/// The context with this number, which must be of this session.
fn of_session(
    contexts: &HashMap<u32, Rc<PreparedContext>>,
    number: u32,
    session: u64,
) -> Result<Rc<PreparedContext>, &'static str> {
    contexts.get(&number).filter(|context| context.value.session == session).cloned().ok_or(MALFORMED)
}

/// Of a statement whose end was not seen, unless one follows.
fn statement_row(
    begin: Begin,
    text: Rc<[u8]>,
    context: Rc<PreparedContext>,
    shape: Rc<PreparedShape>,
) -> Row {
    Row {
        at: begin.at,
        event: Cow::Borrowed(b"statement"),
        context,
        statement: Some(Statement {
            number: begin.statement,
            parent: begin.parent,
            depth: begin.depth,
            shape,
            text,
            parameters: begin.parameters,
            grants: begin.grants,
            end: None,
        }),
        outcome: Outcome::Interrupted,
        sqlstate: Some(*b"57P02"),
        object: None,
        detail: None,
    }
}

/// What is wrong with rows that somebody has sent: the ledger takes what its columns and views can
/// hold, whoever made it. `is_text` tells whether bytes are a text of this database.
pub fn check(rows: &[Row], is_text: impl Fn(&[u8]) -> bool) -> Result<(), &'static str> {
    let mut seen = HashSet::new();
    let number = |number: u32| i32::try_from(number).is_ok();
    let time = |at: i64| (0..=LATEST).contains(&at);
    for row in rows {
        let context = &row.context.value;
        let first = seen.insert(Rc::as_ptr(&row.context).cast::<()>());
        if first && !(number(context.pid) && texts_of_context(context).all(&is_text)) {
            return Err("the records name a context that no server makes");
        }
        let plain = row.object.iter().chain(&row.detail).all(|text| is_text(text));
        let code = row.sqlstate.is_none_or(|code| code.iter().all(u8::is_ascii_alphanumeric));
        if !(time(row.at) && is_text(&row.event) && plain && code) {
            return Err("the records hold an event that no server makes");
        }
        match &row.statement {
            Some(statement) => {
                let shape = &statement.shape.value;
                let first = seen.insert(Rc::as_ptr(&statement.shape).cast::<()>());
                let good = number(statement.number)
                    && number(statement.parent)
                    && i16::try_from(statement.depth).is_ok()
                    && statement.end.is_none_or(|end| time(end.at))
                    && is_text(&statement.text)
                    && statement.parameters.iter().flatten().all(|text| is_text(text))
                    && (!first || texts_of_shape(shape).all(&is_text));
                if !good {
                    return Err("the records hold a statement that no server makes");
                }
            }
            None if *row.event == *b"statement" => return Err(MALFORMED),
            None => check_detail(row)?,
        }
    }
    Ok(())
}

fn texts_of_context(context: &Context) -> impl Iterator<Item = &[u8]> {
    let person = context.person.iter().flat_map(|person| {
        let always = [&person.issuer, &person.user_id];
        always.into_iter().chain(&person.email).chain(&person.token_id).map(String::as_bytes)
    });
    [&context.session_role, &context.role, &context.application]
        .into_iter()
        .chain(&context.client_address)
        .map(Vec::as_slice)
        .chain(person)
}

fn texts_of_shape(shape: &Shape) -> impl Iterator<Item = &[u8]> {
    let objects = shape.objects.iter().flat_map(|object| [&object.kind, &object.name]);
    let columns = [&shape.columns_read, &shape.columns_written, &shape.masked, &shape.revealed];
    std::iter::once(&shape.command).chain(objects).chain(columns.into_iter().flatten()).map(Vec::as_slice)
}

/// The views read details as JSON, and of transactions more than that.
fn check_detail(row: &Row) -> Result<(), &'static str> {
    const WRONG: &str = "the records hold an event with a detail that no server makes";
    let Some(detail) = &row.detail else {
        return if *row.event == *b"transaction" { Err(WRONG) } else { Ok(()) };
    };
    let detail: serde_json::Value = serde_json::from_slice(detail).map_err(|_| WRONG)?;
    let is_number = |text: &Text| str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok());
    let fits = *row.event != *b"transaction"
        || detail["committed"].is_boolean() && row.object.as_ref().is_some_and(is_number);
    if fits && !holds_zero(&detail) { Ok(()) } else { Err(WRONG) }
}

/// PostgreSQL takes no text with a zero, not in JSON either.
fn holds_zero(value: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Object, String};
    match value {
        String(text) => text.contains('\0'),
        Array(values) => values.iter().any(holds_zero),
        Object(members) => members.iter().any(|(name, value)| name.contains('\0') || holds_zero(value)),
        _ => false,
    }
}

/// How far the ledger is with the journal of one standby.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    pub server: Text,
    /// Nobody else sends what this journal says.
    pub role: Text,
    pub place: Place,
}

/// Name of a journal.
pub type Journal = [u8; 16];

/// The table audit.origins: how far the ledger is with the journals of standbys.
#[derive(Debug, Default)]
pub struct Origins {
    known: HashMap<Journal, Origin>,
    changed: HashSet<Journal>,
}

impl Origins {
    /// Reads it, as committed now.
    pub fn load() -> Result<Self, LedgerError> {
        let mut known = HashMap::new();
        let columns = ["journal", "server", "role", "journal_position", "journal_rows", "needed_from"];
        if let Some(table) = catalog::relation("audit", "origins") {
            catalog::scan(table, &columns, |row| {
                let origin = (|| {
                    let place = Place {
                        position: row.bigint(3)? as u64,
                        rows: row.bigint(4)? as u32,
                        needed_from: row.bigint(5)? as u64,
                    };
                    let journal: Journal = row.bytes(0)?.try_into().ok()?;
                    Some((
                        journal,
                        Origin { server: row.text(1)?.into_bytes(), role: row.text(2)?.into_bytes(), place },
                    ))
                })();
                known.extend(origin);
                true
            })?;
        }
        Ok(Self { known, changed: HashSet::new() })
    }

    /// What is known of this journal.
    pub fn of(&self, journal: &Journal) -> Option<&Origin> {
        self.known.get(journal)
    }

    /// Whether there is something to store.
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The rows of a batch, if it goes on where the one before ended, else none: it is there already, or
    /// something before it is not. In both cases its sender is told, and goes on where the ledger is.
    pub fn take(&mut self, batch: Forwarded) -> Result<Vec<Row>, String> {
        if let Some(origin) = self.known.get(&batch.journal) {
            if origin.role != batch.role {
                return Err(format!(
                    "role \"{}\" has sent what is for \"{}\" to send",
                    String::from_utf8_lossy(&batch.role),
                    String::from_utf8_lossy(&origin.role)
                ));
            }
            let (at, from) = (origin.place, batch.from);
            if (at.position, at.rows) != (from.position, from.rows) {
                return Ok(Vec::new());
            }
        }
        let rows = decode(&batch.records, &batch.server)?;
        let origin = Origin { server: batch.server, role: batch.role, place: batch.to };
        self.known.insert(batch.journal, origin);
        self.changed.insert(batch.journal);
        Ok(rows)
    }

    /// Stores what has changed, in the running transaction.
    pub fn store(&mut self) -> Result<(), LedgerError> {
        let Some(table) = catalog::relation("audit", "origins") else { return Ok(()) };
        for journal in std::mem::take(&mut self.changed) {
            let Some(origin) = self.known.get(&journal) else { continue };
            let (name, server, role) =
                (heap::varlena(&journal), heap::varlena(&origin.server), heap::varlena(&origin.role));
            let values = [
                Value::Varlena(&name),
                Value::Varlena(&server),
                Value::Varlena(&role),
                Value::Integer(origin.place.position as i64),
                Value::Integer(i64::from(origin.place.rows)),
                Value::Integer(origin.place.needed_from as i64),
                Value::Integer(session::now()),
            ];
            heap::put_row(table, &journal, &values)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "forwarded_tests.rs"]
mod tests;
