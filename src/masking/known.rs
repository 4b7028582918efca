//! What this backend knows of the policies: read once, and again after every change anywhere.

use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::function::keyed::Key;
use crate::pg::{catalog, shared};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// How one column is protected, as far as it matters when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: i64,
    pub relation: Oid,
    pub attnum: i16,
    pub column: String,
    pub reveal_to: Vec<String>,
}

/// A generated view and which of its columns show protected ones: (number in the view, policy).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedView {
    pub view: Oid,
    pub relation: Oid,
    pub columns: Vec<(i16, i64)>,
}

/// Everything at one generation.
#[derive(Debug)]
pub struct Known {
    generation: u64,
    policies: HashMap<i64, Policy>,
    by_relation: HashMap<Oid, Vec<i64>>,
    views: HashMap<Oid, GeneratedView>,
    oracles: Rc<[Oid]>,
}

impl Known {
    pub fn new(policies: Vec<Policy>, views: Vec<GeneratedView>, oracles: Rc<[Oid]>) -> Self {
        let mut by_relation: HashMap<Oid, Vec<i64>> = HashMap::new();
        for policy in &policies {
            by_relation.entry(policy.relation).or_default().push(policy.id);
        }
        Self {
            generation: 0,
            policies: policies.into_iter().map(|policy| (policy.id, policy)).collect(),
            by_relation,
            views: views.into_iter().map(|view| (view.view, view)).collect(),
            oracles,
        }
    }

    /// Whether nothing is protected in this database and no view was generated.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.views.is_empty()
    }

    pub fn policy(&self, id: i64) -> Option<&Policy> {
        self.policies.get(&id)
    }

    /// The policies on the columns of a table.
    pub fn policies_of(&self, relation: Oid) -> impl Iterator<Item = &Policy> {
        self.by_relation.get(&relation).into_iter().flatten().filter_map(|id| self.policies.get(id))
    }

    pub fn view(&self, view: Oid) -> Option<&GeneratedView> {
        self.views.get(&view)
    }

    /// The views generated of a table.
    pub fn views_of(&self, relation: Oid) -> impl Iterator<Item = &GeneratedView> {
        self.views.values().filter(move |view| view.relation == relation)
    }

    pub fn protects(&self, relation: Oid) -> bool {
        self.by_relation.contains_key(&relation)
    }
}

thread_local! {
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
    static KEY: RefCell<Option<(u64, Key)>> = const { RefCell::new(None) };
}

/// What holds now.
pub fn current() -> Result<Rc<Known>, ServerError> {
    // the number comes first: a change that commits while the tables are read is then read again
    let generation = shared::generation();
    let known =
        KNOWN.with_borrow(|known| known.as_ref().filter(|k| k.generation == generation).map(Rc::clone));
    if let Some(known) = known {
        return Ok(known);
    }
    let known = Rc::new(Known { generation, ..load()? });
    KNOWN.replace(Some(Rc::clone(&known)));
    Ok(known)
}

/// Runs `work` with the key of the masking functions.
pub fn with_key<R>(work: impl FnOnce(&Key) -> R) -> Result<R, MaskError> {
    let generation = shared::generation();
    if !KEY.with_borrow(|key| key.as_ref().is_some_and(|(of, _)| *of == generation)) {
        let key = key()?.ok_or(MaskError::NoKey)?;
        KEY.replace(Some((generation, key)));
    }
    KEY.with_borrow(|key| key.as_ref().map(|(_, key)| work(key))).ok_or(MaskError::NoKey)
}

/// The table that a generated view shows; `None` for every other relation.
pub fn table_behind(view: Oid) -> Result<Option<Oid>, ServerError> {
    Ok(current()?.view(view).map(|view| view.relation))
}

/// The functions that would tell the mask of a chosen value, sorted: people on enrolled roles must
/// not call them themselves.
pub fn oracle_functions() -> Result<Rc<[Oid]>, ServerError> {
    Ok(Rc::clone(&current()?.oracles))
}

/// Reads all policies and generated views, from wherever we are.
fn load() -> Result<Known, ServerError> {
    let mut policies = Vec::new();
    let columns = ["id", "relation", "attnum", "column_name", "reveal_to", "numbered_in"];
    catalog::rows("mask", "policy", &columns, |row| {
        if let (Some(id), Some(relation), Some(attnum), Some(column)) =
            (row.bigint(0), row.oid(1), row.smallint(2), row.text(3))
        {
            // a policy whose groups cannot be read is revealed to none
            let reveal_to = row.texts(4).unwrap_or_default();
            let restored = row.oid(5) != Some(relation);
            policies.push((Policy { id, relation, attnum, column, reveal_to }, restored));
        }
    })?;
    let policies: Vec<Policy> =
        policies.into_iter().map(|(policy, restored)| numbered(policy, restored)).collect();
    let mut pairs = Vec::new();
    catalog::rows("mask", "generated_view", &["view", "relation"], |row| {
        pairs.extend(row.oid(0).zip(row.oid(1)));
    })?;
    let views = pairs.into_iter().map(|(view, relation)| generated(view, relation, &policies)).collect();
    let mut oracles = catalog::functions("mask", &["hash"]);
    oracles.sort_unstable_by_key(|function| function.to_u32());
    Ok(Known::new(policies, views, oracles.into()))
}

/// A dump that was restored numbers columns anew and keeps their names; otherwise the number says
/// which column it is, whatever it is called by now.
fn numbered(policy: Policy, restored: bool) -> Policy {
    let attnum = if restored { named(policy.relation, &policy.column) } else { None };
    Policy { attnum: attnum.unwrap_or(policy.attnum), ..policy }
}

fn named(relation: Oid, column: &str) -> Option<i16> {
    (1..=LAST_COLUMN)
        .map_while(|number| Some((number, catalog::attribute_name(relation, number)?)))
        .find_map(|(number, name)| (name == column).then_some(number))
}

/// MaxHeapAttributeNumber (htup_details.h)
const LAST_COLUMN: i16 = 1600;

fn generated(view: Oid, relation: Oid, policies: &[Policy]) -> GeneratedView {
    let columns = policies
        .iter()
        .filter(|policy| policy.relation == relation)
        .filter_map(|policy| Some((named(view, &policy.column)?, policy.id)))
        .collect();
    GeneratedView { view, relation, columns }
}

/// The key of the masking functions.
fn key() -> Result<Option<Key>, ServerError> {
    let mut key = None;
    catalog::rows("mask", "secret_key", &["key"], |row| {
        key = row.text(0).and_then(|text| Key::from_hex(&text));
    })?;
    Ok(key)
}
