//! Whether the extension is installed in this database, and what is where in it.

use super::harmless;
use crate::ledger::guard;
use crate::pg::harmless::Catalog;
use crate::pg::local::process_local;
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
    /// Functions that people are served with, whatever they may call.
    pub(super) serving: Vec<Oid>,
    /// Views of ours that tell people what they may do.
    pub(super) telling: Vec<Oid>,
    /// Functions that are given a token.
    pub(super) presenting: Vec<Oid>,
    /// Functions that may be given another secret: the key of an issuer that signs with HS256.
    pub(super) confiding: Vec<Oid>,
    /// Schema of the ledger.
    pub(super) ledger: Option<Oid>,
    /// All relations of the extension, sorted.
    members: Vec<u32>,
}

const SERVING: [(&str, &[&str]); 2] = [
    ("custodian", &["has_group", "claims"]),
    ("access", &["request_access", "approve", "reject", "cancel", "break_glass", "renew"]),
];

const TELLING: [(&str, &str); 4] = [
    ("custodian", "queries"),
    ("access", "my_grants"),
    ("access", "my_requests"),
    ("access", "pending_approvals"),
];

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
            serving: SERVING.iter().flat_map(|(schema, names)| catalog::functions(schema, names)).collect(),
            telling: TELLING.iter().filter_map(|(schema, name)| catalog::relation(schema, name)).collect(),
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
}

process_local! {
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
        _ => look_again(generation),
    };
    known.installed.then_some(known)
}

#[cold]
fn look_again(generation: u64) -> Rc<Surroundings> {
    catalog::watch_names();
    transaction::register();
    let fresh = Rc::new(Surroundings::look(generation));
    SURROUNDINGS.replace(Some(fresh.clone()));
    fresh
}
