//! Whether the extension is installed in this database, and what is where in it.

use super::harmless;
use crate::ledger::guard;
use crate::pg::harmless::Catalog;
use crate::pg::query::Planned;
use crate::pg::{catalog, session, shared, transaction};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::rc::Rc;

/// What the backend knows of its database, good for one generation of the configuration.
#[derive(Default)]
pub(super) struct Surroundings {
    generation: u64,
    installed: bool,
    /// Functions that a session without a person may call, and nothing else.
    pub(super) identifying: Vec<Oid>,
    /// Catalogs that a session without a person may read.
    pub(super) readable: Vec<Catalog>,
    /// Functions that are given a token.
    pub(super) presenting: Vec<Oid>,
    /// Functions that may be given another secret: the key of an issuer that signs with HS256.
    pub(super) confiding: Vec<Oid>,
    /// Schema of the ledger.
    pub(super) ledger: Option<Oid>,
    /// All relations of the extension, sorted.
    members: Vec<u32>,
}

impl Surroundings {
    fn look(generation: u64) -> Self {
        if catalog::relation("audit", "ledger").is_none() || catalog::extension(guard::EXTENSION).is_none() {
            return Self { generation, ..Self::default() };
        }
        let ours = |names: &[&str]| catalog::functions("custodian", names);
        let mut identifying =
            ours(&["set_identity", "clear_identity", "whoami", "user_id", "email", "groups"]);
        identifying.extend(harmless::functions());
        Self {
            generation,
            installed: true,
            identifying,
            readable: harmless::catalogs(),
            presenting: ours(&["set_identity"]),
            confiding: ours(&["trust_issuer", "rotate_keys"]),
            ledger: guard::schema(),
            members: catalog::members(guard::EXTENSION),
        }
    }

    /// Whether a relation is one of ours: whoever reads what is recorded, or how, leaves a record of it.
    pub(super) fn keeps(&self, relid: Oid) -> bool {
        let relid = relid.to_u32();
        // They were made one after the other, so most others lie outside.
        match (self.members.first(), self.members.last()) {
            (Some(first), Some(last)) if (*first..=*last).contains(&relid) => {
                self.members.binary_search(&relid).is_ok()
            }
            _ => false,
        }
    }

    /// Whether the statement uses one of our relations.
    pub(super) fn keeps_any_of(&self, planned: &Planned<'_>) -> bool {
        let mut any = false;
        planned.each_relid(|relid| any |= self.keeps(relid));
        any
    }
}

thread_local! {
    static SURROUNDINGS: RefCell<Option<Rc<Surroundings>>> = const { RefCell::new(None) };
}

/// The surroundings, if the extension is installed here. While its own script installs or updates
/// it, it is not yet.
pub(super) fn installed() -> Option<Rc<Surroundings>> {
    if catalog::in_script_of(guard::EXTENSION) {
        return None;
    }
    let generation = shared::generation();
    let known = SURROUNDINGS.with_borrow(Clone::clone);
    let known = match known {
        Some(known) if known.generation == generation || !session::in_transaction() => known,
        _ if !session::in_transaction() => return None,
        _ => {
            catalog::watch_names();
            transaction::register();
            let fresh = Rc::new(Surroundings::look(generation));
            SURROUNDINGS.replace(Some(fresh.clone()));
            fresh
        }
    };
    known.installed.then_some(known)
}
