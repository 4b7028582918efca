//! The ways by which data leaves its tables: what needs `export`, and is an event.
//!
//! One table of them: [`Means`], and what each is told by. Rows that a statement returns are no export; their number is
//! limited by [`volume`](super::volume). INSERT ... SELECT is none either: its table is there, with grants and masks
//! of its own.

use crate::access::Privilege;
use crate::pg::builtin::{self, Reach};
use crate::pg::catalog;
use crate::pg::local::process_local;
use crate::pg::outlet::{self, Outlet};
use crate::pg::query::RelationUse;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;

/// By what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Means {
    CopyToClient,
    CopyToFile,
    CopyToProgram,
    CopyFromProgram,
    /// A table or materialized view that is made of a query: no policy and no grant is on it.
    NewTable,
    /// Rows written to a foreign table.
    ForeignTable,
    LargeObject,
    /// Files of the server, and what extensions read of its pages.
    ServerFile,
    /// Logical decoding, and messages for whoever decodes.
    Replication,
    /// Another server, by a function of an extension.
    OtherServer,
}

/// Extensions whose functions reach outside.
const EXTENSIONS: [(&str, Means); 7] = [
    ("dblink", Means::OtherServer),
    ("plproxy", Means::OtherServer),
    ("http", Means::OtherServer),
    ("pg_net", Means::OtherServer),
    ("adminpack", Means::ServerFile),
    ("pageinspect", Means::ServerFile),
    ("pg_walinspect", Means::ServerFile),
];

impl Means {
    /// The word in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Self::CopyToClient => "copy_to_client",
            Self::CopyToFile => "copy_to_file",
            Self::CopyToProgram => "copy_to_program",
            Self::CopyFromProgram => "copy_from_program",
            Self::NewTable => "new_table",
            Self::ForeignTable => "foreign_table",
            Self::LargeObject => "large_object",
            Self::ServerFile => "server_file",
            Self::Replication => "replication",
            Self::OtherServer => "other_server",
        }
    }

    /// Whether data leaves the database: then it needs a grant even if it is of no table.
    pub fn leaves(self) -> bool {
        self != Self::NewTable
    }

    pub fn of_outlet(outlet: Outlet) -> Self {
        match outlet {
            Outlet::CopyToClient => Self::CopyToClient,
            Outlet::CopyToFile => Self::CopyToFile,
            Outlet::CopyToProgram => Self::CopyToProgram,
            Outlet::CopyFromProgram => Self::CopyFromProgram,
            Outlet::NewTable => Self::NewTable,
        }
    }

    /// What a statement that uses these relations does by itself.
    pub fn of_uses(uses: &[RelationUse]) -> Option<Self> {
        uses.iter().any(sends).then_some(Self::ForeignTable)
    }

    /// What a call of the function is.
    pub fn of_function(function: Oid) -> Option<Self> {
        match builtin::reach(function) {
            Reach::ReadsLargeObjects => Some(Self::LargeObject),
            Reach::ReadsFiles | Reach::WritesFiles => Some(Self::ServerFile),
            Reach::ReadsChanges | Reach::TellsReplicas => Some(Self::Replication),
            Reach::Nowhere => of_extension(function),
            Reach::WritesLargeObjects | Reach::SetsSequences | Reach::Notifies => None,
        }
    }
}

/// What a function of the server needs on the database.
pub(super) fn needed_for(reach: Reach) -> Option<Privilege> {
    match reach {
        Reach::Nowhere => None,
        Reach::ReadsLargeObjects
        | Reach::ReadsFiles
        | Reach::WritesFiles
        | Reach::ReadsChanges
        | Reach::TellsReplicas => Some(Privilege::Export),
        Reach::WritesLargeObjects | Reach::SetsSequences => Some(Privilege::Update),
        Reach::Notifies => Some(Privilege::Execute),
    }
}

/// Whether what is written by a use goes to another server. What DELETE looks for does, too.
pub(super) fn sends(used: &RelationUse) -> bool {
    (used.insert || used.update || used.delete) && outlet::leads_elsewhere(used.relid)
}

struct Known {
    generation: u64,
    /// Those of [`EXTENSIONS`] that are installed.
    extensions: Vec<(Oid, Means)>,
    functions: Vec<(Oid, Option<Means>)>,
}

process_local! {
    static KNOWN: RefCell<Known> =
        const { RefCell::new(Known { generation: 0, extensions: Vec::new(), functions: Vec::new() }) };
}

/// Remembered as long as no function changes.
fn of_extension(function: Oid) -> Option<Means> {
    if function.to_u32() < pg_sys::FirstNormalObjectId {
        return None;
    }
    let generation = catalog::functions_generation();
    let known = KNOWN.with_borrow(|known| {
        if known.generation != generation || generation == 0 {
            return None;
        }
        if known.extensions.is_empty() {
            return Some(None);
        }
        known.functions.iter().find(|(oid, _)| *oid == function).map(|(_, means)| *means)
    });
    if let Some(means) = known {
        return means;
    }
    let installed = EXTENSIONS.iter().filter_map(|(name, means)| Some((catalog::extension(name)?, *means)));
    let extensions: Vec<(Oid, Means)> = installed.collect();
    let means = match extensions.is_empty() {
        true => None,
        false => catalog::extension_of(pg_sys::ProcedureRelationId, function)
            .and_then(|of| extensions.iter().find(|(extension, _)| *extension == of))
            .map(|(_, means)| *means),
    };
    KNOWN.with_borrow_mut(|known| {
        if known.generation != generation {
            *known = Known { generation, extensions, functions: Vec::new() };
        }
        known.functions.push((function, means));
    });
    means
}
