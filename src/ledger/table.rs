//! The ledger's tables, written below SQL.

use super::chain::{Hash, Head};
use super::row::{Prepared, Row};
use super::{LedgerError, row};
use crate::error::ServerError;
use crate::event::{Context, Shape, Text};
use crate::journal::Position;
use crate::pg::heap::{self, Value};
use crate::pg::{catalog, session};
use pgrx::pg_sys::Oid;
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Columns of audit.ledger; `sql/schema/50_ledger.sql` has them in this order.
pub const COLUMNS: usize = 39;

/// The tables of this database.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    pub ledger: Oid,
    pub by_seq: Oid,
    pub chain: Oid,
}

impl Tables {
    /// Finds them; `None` if the extension is not installed here.
    pub fn find() -> Option<Self> {
        Some(Self {
            ledger: catalog::relation("audit", "ledger")?,
            by_seq: catalog::relation("audit", "ledger_seq")?,
            chain: catalog::relation("audit", "chain")?,
        })
    }

    /// As [`Tables::find`], or the error that says what is missing.
    pub fn require() -> Result<Self, LedgerError> {
        Ok(Self::find().ok_or(ServerError::NotInstalled)?)
    }
}

/// What audit.chain holds: how far the ledger is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub journal: [u8; 16],
    /// Everything below is in the ledger.
    pub position: Position,
    /// Reading must begin no later.
    pub needed_from: Position,
    pub head: Head,
}

impl Progress {
    /// Reads it, as committed now.
    pub fn load(tables: &Tables) -> Result<Self, LedgerError> {
        let mut found = None;
        catalog::scan(tables.chain, &["journal", "journal_position", "needed_from", "seq", "hash"], |row| {
            found = (|| {
                Some(Self {
                    journal: row.bytes(0)?.try_into().ok()?,
                    position: row.bigint(1)? as Position,
                    needed_from: row.bigint(2)? as Position,
                    head: Head { seq: row.bigint(3)?, hash: Hash::try_from(row.bytes(4)?).ok()? },
                })
            })();
            false
        })?;
        found.ok_or(LedgerError::Misplaced { reason: "table audit.chain holds no valid row".into() })
    }

    /// Stores it, in the running transaction.
    pub fn store(&self, tables: &Tables) -> Result<(), LedgerError> {
        let (journal, hash) = (heap::varlena(&self.journal), heap::varlena(&self.head.hash));
        let changes = [
            (1, Value::Varlena(&journal)),
            (2, Value::Integer(self.position as i64)),
            (3, Value::Integer(self.needed_from as i64)),
            (4, Value::Integer(self.head.seq)),
            (5, Value::Varlena(&hash)),
            (6, Value::Integer(session::now())),
        ];
        Ok(heap::update_only_row(tables.chain, &changes)?)
    }
}

/// Datums by the address of what they were made of, which is kept so that the address stays its own.
type Known<T, const N: usize> = HashMap<*const Prepared<T>, (Rc<Prepared<T>>, [Option<Vec<u8>>; N])>;

/// Datums of what many rows share, made once.
#[derive(Default)]
pub struct Images {
    contexts: Known<Context, 8>,
    shapes: Known<Shape, 10>,
    /// Datums of the row at hand.
    arena: Vec<u8>,
}

fn list(values: &[Text]) -> Option<Vec<u8>> {
    (!values.is_empty()).then(|| heap::text_array(values.iter().map(|value| Some(value.as_slice()))))
}

fn objects(column: Option<Vec<Option<&[u8]>>>) -> Option<Vec<u8>> {
    column.map(|values| heap::text_array(values.into_iter()))
}

/// Datums of the columns `issuer` to `application`.
fn context_images<'a>(
    known: &'a mut Known<Context, 8>,
    context: &Rc<Prepared<Context>>,
) -> &'a [Option<Vec<u8>>; 8] {
    let (_, images) = known.entry(Rc::as_ptr(context)).or_insert_with(|| {
        let value = &context.value;
        let person = value.person.as_ref();
        let text = |text: Option<&[u8]>| text.map(heap::varlena);
        let images = [
            text(person.map(|p| p.issuer.as_bytes())),
            text(person.map(|p| p.user_id.as_bytes())),
            text(person.and_then(|p| p.email.as_deref()).map(str::as_bytes)),
            text(person.and_then(|p| p.token_id.as_deref()).map(str::as_bytes)),
            text(Some(&value.session_role)),
            text(Some(&value.role)),
            text(value.client_address.as_deref()),
            text(Some(&value.application)),
        ];
        (context.clone(), images)
    });
    images
}

/// Datums of the columns `class` to `revealed`.
fn shape_images<'a>(
    known: &'a mut Known<Shape, 10>,
    shape: &Rc<Prepared<Shape>>,
) -> &'a [Option<Vec<u8>>; 10] {
    let (_, images) = known.entry(Rc::as_ptr(shape)).or_insert_with(|| {
        let value = &shape.value;
        let images = [
            Some(heap::varlena(value.class.as_str().as_bytes())),
            Some(heap::varlena(&value.command)),
            value.origin.as_str().map(|origin| heap::varlena(origin.as_bytes())),
            objects(row::names(&value.objects)),
            objects(row::kinds(&value.objects)),
            objects(row::changes(&value.objects)),
            list(&value.columns_read),
            list(&value.columns_written),
            list(&value.masked),
            list(&value.revealed),
        ];
        (shape.clone(), images)
    });
    images
}

impl Images {
    /// Forgets what was made if it has become much.
    fn limit(&mut self) {
        const MOST: usize = 4096;
        if self.contexts.len() > MOST {
            self.contexts.clear();
        }
        if self.shapes.len() > MOST {
            self.shapes.clear();
        }
    }
}

fn optional(image: &Option<Vec<u8>>) -> Value<'_> {
    image.as_deref().map_or(Value::Null, Value::Varlena)
}

/// Appends a text or bytea to the row's datums and says where it lies.
fn put(arena: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    // Datums of this kind are aligned as integers are.
    arena.resize(arena.len().next_multiple_of(4), 0);
    let start = arena.len();
    heap::put_varlena(arena, bytes);
    start..arena.len()
}

/// Inserts `rows` behind `head`, in the running transaction, and returns the new head.
pub fn append(tables: &Tables, head: Head, rows: &[Row], images: &mut Images) -> Result<Head, LedgerError> {
    let (mut head, mut scratch) = (head, Vec::with_capacity(1024));
    images.limit();
    heap::insert(tables.ledger, rows.len(), |n, emit| {
        let row = &rows[n];
        head = head.after_row(row, &mut scratch);
        let arena = &mut images.arena;
        arena.clear();
        let event = put(arena, &row.event);
        let session = put(arena, &row.session_name());
        let outcome = put(arena, row.outcome.as_str().as_bytes());
        let hash = put(arena, &head.hash);
        let sqlstate = row.sqlstate.map(|code| put(arena, &code));
        let object = row.object.as_deref().map(|text| put(arena, text));
        let detail = row.detail.as_deref().map(|text| put(arena, text));
        let text = row.statement.as_ref().map(|statement| put(arena, &statement.text));
        let at = |place: &Range<usize>| Value::Varlena(&images.arena[place.clone()]);
        let maybe = |place: &Option<Range<usize>>| place.as_ref().map_or(Value::Null, at);
        let mut values = [Value::Null; COLUMNS];
        values[0] = Value::Integer(head.seq);
        values[1] = Value::Integer(row.at);
        values[2] = at(&event);
        values[3] = at(&session);
        values[7] = Value::Integer(i64::from(row.context.value.pid));
        for (value, image) in values[8..16].iter_mut().zip(context_images(&mut images.contexts, &row.context))
        {
            *value = optional(image);
        }
        let (mut parameters, mut grants) = (None, None);
        if let Some(statement) = &row.statement {
            values[4] = Value::Integer(i64::from(statement.number));
            if statement.parent != 0 {
                values[5] = Value::Integer(i64::from(statement.parent));
            }
            values[6] = Value::Integer(i64::from(statement.depth));
            for (value, image) in
                values[16..26].iter_mut().zip(shape_images(&mut images.shapes, &statement.shape))
            {
                *value = optional(image);
            }
            if !statement.parameters.is_empty() {
                parameters = Some(heap::text_array(statement.parameters.iter().map(Option::as_deref)));
            }
            if !statement.grants.is_empty() {
                grants = Some(heap::bigint_array(&statement.grants));
            }
            for (value, figure) in values[29..34].iter_mut().zip(statement.figures(row.at)) {
                *value = figure.map_or(Value::Null, Value::Integer);
            }
        }
        values[26] = maybe(&text);
        values[27] = optional(&parameters);
        values[28] = optional(&grants);
        values[34] = at(&outcome);
        values[35] = maybe(&sqlstate);
        values[36] = maybe(&object);
        values[37] = maybe(&detail);
        values[38] = at(&hash);
        emit(&values);
    })?;
    Ok(head)
}

/// Appends the canonical bytes of a row as read from the table, the hash excepted.
///
/// Returns the stored hash, or what is wrong with the row's form.
pub fn canonical<'a>(values: &'a [heap::Read<'_>], out: &mut Vec<u8>) -> Result<&'a [u8], &'static str> {
    let Some((heap::Read::Bytes(hash), columns)) = values.split_last() else {
        return Err("the row has no hash");
    };
    if values.len() != COLUMNS {
        return Err("the table does not have the ledger's columns");
    }
    out.push(row::VERSION);
    for value in columns {
        match value {
            heap::Read::Null => row::put_null(out),
            heap::Read::Integer(value) => row::put_integer(out, *value),
            heap::Read::Text(value) => row::put_text(out, value),
            heap::Read::Texts(values) => row::put_texts(out, values.iter().copied()),
            heap::Read::Integers(values) => row::put_integers(out, values),
            heap::Read::Bytes(_) | heap::Read::Other => {
                return Err("a column has another type than the ledger's");
            }
        }
    }
    Ok(hash)
}
