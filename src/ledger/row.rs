//! A row of the ledger, and its canonical bytes.
//!
//! The canonical bytes are what the chain hashes. They are defined over the table's columns in
//! their order, the hash excepted, by type alone; see `docs/ledger-format.md`. The encoding is
//! version 3 and frozen: a new one gets a new number, and old rows keep theirs.

use crate::event::{Context, End, Object, Outcome, Shape, Text, session_name};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::rc::Rc;

/// First byte of every row's canonical bytes.
pub const VERSION: u8 = 3;

const NULL: u8 = 0;
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const TEXT_ARRAY: u8 = 3;
const INTEGER_ARRAY: u8 = 4;

/// Appends the canonical form of a NULL.
pub fn put_null(out: &mut Vec<u8>) {
    out.push(NULL);
}

/// Appends the canonical form of a smallint, integer, bigint or timestamptz.
pub fn put_integer(out: &mut Vec<u8>, value: i64) {
    out.push(INTEGER);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends the canonical form of a text.
pub fn put_text(out: &mut Vec<u8>, value: &[u8]) {
    out.push(TEXT);
    out.extend_from_slice(&(value.len() as u32).to_le_bytes());
    out.extend_from_slice(value);
}

/// Appends how the canonical form of a text[] of so many elements begins.
pub fn put_texts_header(out: &mut Vec<u8>, count: usize) {
    out.push(TEXT_ARRAY);
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Appends how the canonical form of a bigint[] of so many elements begins.
pub fn put_integers_header(out: &mut Vec<u8>, count: usize) {
    out.push(INTEGER_ARRAY);
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// Appends the canonical form of a text[].
pub fn put_texts<'a>(out: &mut Vec<u8>, values: impl ExactSizeIterator<Item = Option<&'a [u8]>>) {
    put_texts_header(out, values.len());
    for value in values {
        match value {
            Some(value) => put_text(out, value),
            None => put_null(out),
        }
    }
}

/// Appends the canonical form of a bigint[].
pub fn put_integers(out: &mut Vec<u8>, values: &[i64]) {
    put_integers_header(out, values.len());
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn put_optional(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        Some(value) => put_text(out, value),
        None => put_null(out),
    }
}

/// An empty list is NULL in the table.
fn put_list(out: &mut Vec<u8>, values: &[Text]) {
    if values.is_empty() {
        put_null(out);
    } else {
        put_texts(out, values.iter().map(|value| Some(value.as_slice())));
    }
}

/// A context with what its rows share of the canonical bytes, made once.
#[derive(Debug)]
pub struct PreparedContext {
    pub value: Context,
    /// The column `session`: of what was on a standby it names that, too.
    pub session: Text,
    /// The columns `pid` to `application`.
    canonical: Vec<u8>,
}

/// The columns `objects` to `revealed` as datums.
pub type Arrays = [Option<Vec<u8>>; 7];

/// A shape with what its rows share, made once.
#[derive(Debug)]
pub struct PreparedShape {
    pub value: Shape,
    /// Made by whoever stores its first row.
    pub arrays: OnceCell<Arrays>,
    /// The columns `class` to `revealed`.
    canonical: Vec<u8>,
}

/// Makes what the rows of a context share.
pub fn prepare_context(value: Context) -> PreparedContext {
    let mut canonical = Vec::with_capacity(128);
    let person = value.person.as_ref();
    put_integer(&mut canonical, i64::from(value.pid));
    put_optional(&mut canonical, person.map(|p| p.issuer.as_bytes()));
    put_optional(&mut canonical, person.map(|p| p.user_id.as_bytes()));
    put_optional(&mut canonical, person.and_then(|p| p.email.as_deref()).map(str::as_bytes));
    put_optional(&mut canonical, person.and_then(|p| p.token_id.as_deref()).map(str::as_bytes));
    put_text(&mut canonical, &value.session_role);
    put_text(&mut canonical, &value.role);
    put_optional(&mut canonical, value.client_address.as_deref());
    put_text(&mut canonical, &value.application);
    let mut session = session_name(value.session).into_bytes();
    if !value.server.is_empty() {
        session.push(b'@');
        session.extend_from_slice(&value.server);
    }
    PreparedContext { session, value, canonical }
}

/// Makes what the rows of a shape share.
pub fn prepare_shape(value: Shape) -> PreparedShape {
    let mut canonical = Vec::with_capacity(256);
    put_text(&mut canonical, value.class.as_str().as_bytes());
    put_text(&mut canonical, &value.command);
    put_optional(&mut canonical, value.origin.as_str().map(str::as_bytes));
    for column in [names, kinds, changes] {
        match column(&value.objects) {
            Some(list) => put_texts(&mut canonical, list.into_iter()),
            None => put_null(&mut canonical),
        }
    }
    for list in [&value.columns_read, &value.columns_written, &value.masked, &value.revealed] {
        put_list(&mut canonical, list);
    }
    PreparedShape { value, arrays: OnceCell::new(), canonical }
}

/// An element of the columns `objects`, `object_types` and `changes` for each object.
type ObjectColumn<'a> = Option<Vec<Option<&'a [u8]>>>;

/// The column `objects`.
pub fn names(objects: &[Object]) -> ObjectColumn<'_> {
    (!objects.is_empty()).then(|| objects.iter().map(|object| Some(object.name.as_slice())).collect())
}

/// The column `object_types`.
pub fn kinds(objects: &[Object]) -> ObjectColumn<'_> {
    (!objects.is_empty()).then(|| objects.iter().map(|object| Some(object.kind.as_slice())).collect())
}

/// The column `changes`: NULL where nothing was changed.
pub fn changes(objects: &[Object]) -> ObjectColumn<'_> {
    let words: Vec<_> = objects.iter().map(|object| object.change.as_str().map(str::as_bytes)).collect();
    words.iter().any(Option::is_some).then_some(words)
}

/// What a row without a statement has in the columns `class` to `query`.
const NO_SHAPE: [u8; 11] = [NULL; 11];

/// The part of a row that only statements have.
#[derive(Debug, Clone)]
pub struct Statement {
    pub number: u32,
    pub parent: u32,
    pub depth: u16,
    pub shape: Rc<PreparedShape>,
    pub text: Rc<[u8]>,
    pub parameters: Vec<Option<Text>>,
    pub grants: Vec<i64>,
    /// Absent if it was not seen.
    pub end: Option<End>,
}

impl Statement {
    /// The columns `rows` to `committed` of a statement that began at this time.
    pub fn figures(&self, began: i64) -> [Option<i64>; 5] {
        let unless_none = |number: u64| (number != 0).then_some(number as i64);
        match &self.end {
            Some(end) => [
                Some(end.rows as i64),
                Some(end.at - began),
                unless_none(end.bytes),
                unless_none(end.transaction),
                end.committed.map(i64::from),
            ],
            None => [None; 5],
        }
    }
}

/// One row, but for its number and hash.
#[derive(Debug, Clone)]
pub struct Row {
    pub at: i64,
    pub event: Cow<'static, [u8]>,
    pub context: Rc<PreparedContext>,
    pub statement: Option<Statement>,
    pub outcome: Outcome,
    pub sqlstate: Option<[u8; 5]>,
    pub object: Option<Text>,
    pub detail: Option<Text>,
}

impl Row {
    /// Appends the canonical bytes of the row numbered `seq` that is stored at this time.
    pub fn put_canonical(&self, out: &mut Vec<u8>, seq: i64, stored: i64) {
        out.push(VERSION);
        put_integer(out, seq);
        put_integer(out, self.at);
        put_integer(out, stored);
        put_text(out, &self.event);
        put_text(out, &self.context.session);
        match &self.statement {
            Some(statement) => {
                put_integer(out, i64::from(statement.number));
                if statement.parent == 0 {
                    put_null(out)
                } else {
                    put_integer(out, i64::from(statement.parent))
                }
                put_integer(out, i64::from(statement.depth));
            }
            None => out.extend_from_slice(&[NULL; 3]),
        }
        out.extend_from_slice(&self.context.canonical);
        match &self.statement {
            Some(statement) => {
                out.extend_from_slice(&statement.shape.canonical);
                put_text(out, &statement.text);
                if statement.parameters.is_empty() {
                    put_null(out);
                } else {
                    put_texts(out, statement.parameters.iter().map(Option::as_deref));
                }
                if statement.grants.is_empty() {
                    put_null(out)
                } else {
                    put_integers(out, &statement.grants)
                }
                for figure in statement.figures(self.at) {
                    match figure {
                        Some(figure) => put_integer(out, figure),
                        None => put_null(out),
                    }
                }
            }
            None => {
                out.extend_from_slice(&NO_SHAPE);
                out.extend_from_slice(&[NULL; 7]);
            }
        }
        put_text(out, self.outcome.as_str().as_bytes());
        put_optional(out, self.sqlstate.as_ref().map(|code| &code[..]));
        put_optional(out, self.object.as_deref());
        put_optional(out, self.detail.as_deref());
    }
}
