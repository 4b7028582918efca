//! Where data can leave the tables by: COPY, new tables, tables of other servers.

use super::local::process_local;
use super::utility::Utility;
use super::{catalog, lineage};
use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use std::cell::RefCell;

/// A utility statement by which data leaves its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlet {
    CopyToClient,
    CopyToFile,
    CopyToProgram,
    /// COPY FROM PROGRAM: what the program is told leaves.
    CopyFromProgram,
    /// CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW.
    NewTable,
}

impl Utility<'_> {
    /// By which way data leaves, if the statement is such a one. A temporary table is the session's own.
    pub fn outlet(&self) -> Option<Outlet> {
        if self.creation().is_some() {
            return (self.ddl() != super::ddl::Ddl::Temporary).then_some(Outlet::NewTable);
        }
        if !self.copies() {
            return None;
        }
        // SAFETY: the tag says which struct the node is.
        let copy = unsafe { &*self.node().cast::<pg_sys::CopyStmt>() };
        match (copy.is_from, copy.is_program) {
            (true, true) => Some(Outlet::CopyFromProgram),
            (true, false) => None,
            (false, true) => Some(Outlet::CopyToProgram),
            (false, false) if copy.filename.is_null() => Some(Outlet::CopyToClient),
            (false, false) => Some(Outlet::CopyToFile),
        }
    }

    /// CREATE TABLE AS and its kin, by itself or within EXPLAIN, which carries it out as well.
    pub(super) fn creation(&self) -> Option<&pg_sys::CreateTableAsStmt> {
        // SAFETY: the tags say which structs the nodes are; what EXPLAIN explains has been analysed.
        unsafe {
            let mut node = self.node();
            if self.tag() == NodeTag::T_ExplainStmt {
                let query = (*node.cast::<pg_sys::ExplainStmt>()).query.cast::<pg_sys::Query>();
                let query = query.as_ref().filter(|query| query.type_ == NodeTag::T_Query)?;
                node = query.utilityStmt;
            }
            let found: &Node = node.as_ref()?;
            (found.type_ == NodeTag::T_CreateTableAsStmt).then(|| &*node.cast::<pg_sys::CreateTableAsStmt>())
        }
    }

    /// Whether it is EXPLAIN of a statement that makes a table.
    pub fn explains_creation(&self) -> bool {
        self.tag() == NodeTag::T_ExplainStmt && self.creation().is_some()
    }

    /// Whether it is DECLARE CURSOR.
    pub fn declares_cursor(&self) -> bool {
        self.tag() == NodeTag::T_DeclareCursorStmt
    }
}

// pg_foreign_table.h
const FOREIGN_TABLE_CATALOG: Oid = Oid::from_u32(3118);

struct Known {
    generation: u64,
    /// There are foreign tables.
    any: bool,
    relations: Vec<(Oid, bool)>,
}

process_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { generation: 0, any: false, relations: Vec::new() }) };
}

/// Whether rows that are written to a relation may go to another server: a foreign table, or a table of which
/// one is a part or heir. Remembered as long as no relation changes.
pub fn leads_elsewhere(relation: Oid) -> bool {
    let generation = catalog::names_generation();
    let known = KNOWN.with_borrow(|known| {
        if generation == 0 || known.generation != generation {
            return None;
        }
        if !known.any {
            return Some(false);
        }
        known.relations.iter().find(|(oid, _)| *oid == relation).map(|(_, leads)| *leads)
    });
    if let Some(leads) = known {
        return leads;
    }
    let mut any = false;
    let scanned = catalog::scan(FOREIGN_TABLE_CATALOG, &["ftrelid"], |_| {
        any = true;
        false
    });
    // What cannot be looked up is not taken for harmless.
    any |= scanned.is_err();
    let is_foreign = |relation: Oid| catalog::relation_kind(relation) == Some(b'f');
    let leads = any
        && (is_foreign(relation)
            || lineage::has_heirs(relation) && lineage::descendants(relation).into_iter().any(is_foreign));
    KNOWN.with_borrow_mut(|known| {
        if known.generation != generation {
            *known = Known { generation, any, relations: Vec::new() };
        }
        known.relations.push((relation, leads));
    });
    leads
}
