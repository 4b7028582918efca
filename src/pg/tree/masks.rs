//! What a walk puts in the place of columns, prepared before it.

use super::expression::Expression;
use pgrx::pg_sys::{self, Oid};
use std::collections::{HashMap, HashSet};
use std::ffi::CString;
use std::rc::Rc;

/// How a table's columns look to somebody.
pub struct TableMasks {
    /// Masked columns by their numbers, in order.
    masked: Vec<MaskedColumn>,
    /// All columns, for whole rows.
    pub(super) row: Vec<RowColumn>,
}

/// A masked column.
pub struct MaskedColumn {
    pub number: i16,
    pub mask: Rc<Expression>,
    /// It is computed from what is masked, and no policy's own: views that mask by themselves do not mask it.
    pub computed: bool,
}

/// A column of a row.
pub(super) struct RowColumn {
    pub(super) name: CString,
    pub(super) kind: Oid,
    pub(super) typmod: i32,
    pub(super) collation: Oid,
    pub(super) dropped: bool,
}

impl TableMasks {
    /// Needs a lock on the table, as its query has. `masked` is in the order of columns and not empty.
    pub fn new(relation: Oid, masked: Vec<MaskedColumn>) -> Self {
        let mut row = Vec::new();
        // SAFETY: opens a locked relation and closes it; its descriptor lives meanwhile.
        unsafe {
            let table = pg_sys::relation_open(relation, pg_sys::NoLock as i32);
            let desc = (*table).rd_att;
            for column in 0..usize::try_from((*desc).natts).unwrap_or(0) {
                row.push(crate::pg::version::row_column(desc, column));
            }
            pg_sys::relation_close(table, pg_sys::NoLock as i32);
        }
        let row = row
            .into_iter()
            .map(|(name, kind, typmod, collation, dropped)| RowColumn {
                name,
                kind,
                typmod,
                collation,
                dropped,
            })
            .collect();
        Self { masked, row }
    }

    pub(super) fn of(&self, column: i16) -> Option<&MaskedColumn> {
        let at = self.masked.binary_search_by_key(&column, |masked| masked.number).ok()?;
        Some(&self.masked[at])
    }

    /// The first masked column.
    pub(super) fn first(&self) -> i16 {
        self.masked.first().map_or(0, |masked| masked.number)
    }
}

/// Everything that a walk needs to know.
#[derive(Default)]
pub struct Masks {
    /// Tables with masked columns.
    pub tables: HashMap<u32, Rc<TableMasks>>,
    /// Views that mask by themselves: what is behind them stays as it is.
    pub views: HashSet<u32>,
    /// Tables that may keep masks.
    pub keepers: HashSet<u32>,
    /// The functions that tell which rows of pg_statistic and pg_statistic_ext_data are shown, of (relation,
    /// column) and of (object).
    pub statistics: Option<(Oid, Oid)>,
}
