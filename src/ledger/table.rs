//! The ledger's tables, written below SQL.

use super::chain::{Hash, Head};
use super::partition::Current;
use super::row::{Arrays, PreparedContext, PreparedShape, Row, Statement};
use super::{LedgerError, row};
use crate::error::ServerError;
use crate::event::Text;
use crate::journal::Position;
use crate::pg::append::{self, Place};
use crate::pg::catalog;
use crate::pg::form::Former;
use crate::pg::heap::{self, Value};
use pgrx::pg_sys::Oid;

/// Columns of audit.ledger; `sql/schema/50_ledger.sql` has them in this order.
pub const COLUMNS: usize = 40;

/// Their names.
pub const NAMES: [&str; COLUMNS] = [
    "seq",
    "at",
    "stored",
    "event",
    "session",
    "statement",
    "parent",
    "depth",
    "pid",
    "issuer",
    "user_id",
    "user_email",
    "token_id",
    "session_role",
    "role",
    "client_addr",
    "application",
    "class",
    "command",
    "origin",
    "objects",
    "object_types",
    "changes",
    "columns_read",
    "columns_written",
    "masked",
    "revealed",
    "query",
    "parameters",
    "grants",
    "rows",
    "duration",
    "bytes",
    "transaction",
    "committed",
    "outcome",
    "sqlstate",
    "object",
    "detail",
    "hash",
];

/// The tables of this database.
#[derive(Debug, Clone, Copy)]
pub struct Tables {
    pub ledger: Oid,
    pub chain: Oid,
    pub checkpoints: Oid,
}

/// A part of the ledger: the rows that were stored in one month, numbered without gaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    pub relid: Oid,
    pub name: String,
}

impl Tables {
    /// Finds them; `None` if the extension is not installed here.
    pub fn find() -> Option<Self> {
        Some(Self {
            ledger: catalog::relation("audit", "ledger")?,
            chain: catalog::relation("audit", "chain")?,
            checkpoints: catalog::relation("audit", "checkpoints")?,
        })
    }

    /// As [`Tables::find`], or the error that says what is missing.
    pub fn require() -> Result<Self, LedgerError> {
        Ok(Self::find().ok_or(ServerError::NotInstalled)?)
    }

    /// The ledger's partitions, the oldest first: their names say the month.
    pub fn partitions(&self) -> Result<Vec<Partition>, LedgerError> {
        let mut partitions: Vec<Partition> = catalog::heirs(self.ledger)?
            .into_iter()
            .filter_map(|relid| Some(Partition { relid, name: catalog::relation_name(relid)?.1 }))
            .collect();
        partitions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(partitions)
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
    /// When the last rows were stored: what comes later is never given an earlier time.
    pub stored: i64,
}

impl Progress {
    /// Reads it, as committed now.
    pub fn load(tables: &Tables) -> Result<Self, LedgerError> {
        let mut found = None;
        let columns = ["journal", "journal_position", "needed_from", "seq", "hash", "updated_at"];
        catalog::scan(tables.chain, &columns, |row| {
            found = (|| {
                Some(Self {
                    journal: row.bytes(0)?.try_into().ok()?,
                    position: row.bigint(1)? as Position,
                    needed_from: row.bigint(2)? as Position,
                    head: Head { seq: row.bigint(3)?, hash: Hash::try_from(row.bytes(4)?).ok()? },
                    stored: row.bigint(5)?,
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
            (6, Value::Integer(self.stored)),
        ];
        Ok(heap::update_only_row(tables.chain, &changes)?)
    }
}

fn list(values: &[Text]) -> Option<Vec<u8>> {
    (!values.is_empty()).then(|| heap::text_array(values.iter().map(|value| Some(value.as_slice()))))
}

fn objects(column: Option<Vec<Option<&[u8]>>>) -> Option<Vec<u8>> {
    column.map(|values| heap::text_array(values.into_iter()))
}

fn arrays(shape: &PreparedShape) -> &Arrays {
    shape.arrays.get_or_init(|| {
        let value = &shape.value;
        [
            objects(row::names(&value.objects)),
            objects(row::kinds(&value.objects)),
            objects(row::changes(&value.objects)),
            list(&value.columns_read),
            list(&value.columns_written),
            list(&value.masked),
            list(&value.revealed),
        ]
    })
}

/// The columns `pid` to `application`.
fn put_context(former: &mut Former, context: &PreparedContext) {
    let value = &context.value;
    former.integer(i64::from(value.pid));
    match &value.person {
        Some(person) => {
            former.text(person.issuer.as_bytes());
            former.text(person.user_id.as_bytes());
            former.maybe_text(person.email.as_deref().map(str::as_bytes));
            former.maybe_text(person.token_id.as_deref().map(str::as_bytes));
        }
        None => former.nulls(4),
    }
    former.text(&value.session_role);
    former.text(&value.role);
    former.maybe_text(value.client_address.as_deref());
    former.text(&value.application);
}

/// The columns `class` to `committed` of a statement that began at this time.
fn put_statement(former: &mut Former, statement: &Statement, began: i64) {
    let shape = &statement.shape.value;
    former.text(shape.class.as_str().as_bytes());
    former.text(&shape.command);
    former.maybe_text(shape.origin.as_str().map(str::as_bytes));
    for array in arrays(&statement.shape) {
        former.maybe_image(array.as_deref());
    }
    former.text(&statement.text);
    if statement.parameters.is_empty() {
        former.null();
    } else {
        former.image(&heap::text_array(statement.parameters.iter().map(Option::as_deref)));
    }
    if statement.grants.is_empty() {
        former.null();
    } else {
        former.image(&heap::bigint_array(&statement.grants));
    }
    for figure in statement.figures(began) {
        former.maybe_integer(figure);
    }
}

/// Number of the columns from `class` to `committed`.
const OF_STATEMENTS: usize = 18;

/// Inserts `rows` behind `head` into a partition, as stored at this time, in the running transaction, and returns the new head.
pub fn append(
    partition: &Current,
    place: &mut Place,
    head: Head,
    rows: &[Row],
    stored: i64,
) -> Result<Head, LedgerError> {
    let (mut head, mut scratch) = (head, Vec::with_capacity(1024));
    append::append(partition.relid, &partition.sparse, place, rows.len(), |n, former| {
        let row = &rows[n];
        head = head.after_row(row, stored, &mut scratch);
        former.integer(head.seq);
        former.integer(row.at);
        former.integer(stored);
        former.text(&row.event);
        former.text(&row.context.session);
        match &row.statement {
            Some(statement) => {
                former.integer(i64::from(statement.number));
                former.maybe_integer((statement.parent != 0).then_some(i64::from(statement.parent)));
                former.integer(i64::from(statement.depth));
                put_context(former, &row.context);
                put_statement(former, statement, row.at);
            }
            None => {
                former.nulls(3);
                put_context(former, &row.context);
                former.nulls(OF_STATEMENTS);
            }
        }
        former.text(row.outcome.as_str().as_bytes());
        former.maybe_text(row.sqlstate.as_ref().map(|code| &code[..]));
        former.maybe_text(row.object.as_deref());
        former.maybe_text(row.detail.as_deref());
        former.text(&head.hash);
        // What the conditions of ledger_people and ledger_transactions admit.
        row.statement
            .as_ref()
            .is_none_or(|statement| statement.end.is_some_and(|end| end.committed.is_some()))
    })?;
    Ok(head)
}
