//! Schemas in which the database's own privileges rule.

use crate::pg::local::process_local;
use crate::pg::{catalog, shared};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;

/// What a session cannot work without, and what is ours. Their names are taken for as long as the
/// extension is installed, so nobody else can put a table under one of them.
const SYSTEM: [&str; 6] = ["pg_catalog", "information_schema", "custodian", "access", "mask", "audit"];

/// What a schema is to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The server's or ours: reading in it needs no grant.
    System,
    /// Of temporary tables; PostgreSQL lets a session use only its own.
    Temporary,
    Ordinary,
}

struct Known {
    generation: u64,
    kinds: Vec<(Oid, Kind)>,
}

process_local! {
    static KNOWN: RefCell<Known> = const { RefCell::new(Known { generation: 0, kinds: Vec::new() }) };
}

/// The kind of `schema`. Remembered: a schema cannot become one of ours
/// by being renamed, nor a temporary one, whose names PostgreSQL reserves.
pub fn kind_of(schema: Oid) -> Kind {
    let generation = shared::generation();
    let known = KNOWN.with_borrow(|known| {
        let kinds = if known.generation == generation { known.kinds.as_slice() } else { &[] };
        kinds.iter().find(|(oid, _)| *oid == schema).map(|(_, kind)| *kind)
    });
    if let Some(kind) = known {
        return kind;
    }
    let kind = match catalog::namespace_name(schema) {
        Some(name) if SYSTEM.contains(&name.as_str()) => Kind::System,
        Some(name) if name.starts_with("pg_temp_") => Kind::Temporary,
        _ => Kind::Ordinary,
    };
    KNOWN.with_borrow_mut(|known| {
        if known.generation != generation {
            *known = Known { generation, kinds: Vec::new() };
        }
        known.kinds.push((schema, kind));
    });
    kind
}
