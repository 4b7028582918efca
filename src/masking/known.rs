//! What this backend knows of the policies: read once, and again after every change anywhere.

use crate::error::ServerError;
use crate::masking::function::keyed::Key;
use crate::masking::spec::Masking;
use crate::masking::{MaskError, oracle, pattern};
use crate::pg::lineage::{self, Column};
use crate::pg::local::process_local;
use crate::pg::{catalog, session, shared};
use pgrx::pg_sys::Oid;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::rc::Rc;

/// One policy, as far as it matters when somebody reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub id: i64,
    pub on: Target,
    pub place: i32,
    /// Whose members it is for; empty: everybody else.
    pub for_groups: Vec<String>,
    /// `None` if it cannot be understood: then nothing is shown.
    pub masking: Option<Masking>,
    pub reveal_to: Vec<String>,
}

/// What a policy is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Column {
        relation: Oid,
        attnum: i16,
    },
    /// All columns of such names in a schema.
    Matching {
        schema: String,
        pattern: String,
    },
}

/// Where the policies of a column come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Own,
    /// A table that it inherits from, or is a partition of.
    Inherited(Oid),
    /// Defaults of its schema, or of an ancestor's.
    Default,
}

/// A protected column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protected {
    pub attnum: i16,
    pub name: String,
    /// Below its domains, as `format_type` writes it.
    pub base_type: String,
    pub source: Source,
    /// The first that is for a person counts; those for everybody else come last.
    pub policies: Vec<i64>,
}

/// A generated view and which of its columns show protected ones: (number in the view, in the table).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedView {
    pub view: Oid,
    pub relation: Oid,
    pub columns: Vec<(i16, i16)>,
}

/// The protected columns of the relations that were asked for, while names stay as they are.
#[derive(Debug, Default)]
struct Resolved {
    names: u64,
    relations: FxHashMap<Oid, Rc<[Protected]>>,
}

/// Everything at one generation.
#[derive(Debug, Default)]
pub struct Known {
    generation: u64,
    policies: FxHashMap<i64, Policy>,
    by_column: FxHashMap<Oid, Vec<(i16, i64)>>,
    by_schema: FxHashMap<String, Vec<i64>>,
    resolved: RefCell<Resolved>,
    nothing: Rc<[Protected]>,
    views: FxHashMap<Oid, GeneratedView>,
    aggregates: FxHashMap<Oid, Oid>,
    oracles: Rc<[Oid]>,
}

impl Known {
    pub fn new(policies: Vec<Policy>, aggregates: FxHashMap<Oid, Oid>, oracles: Rc<[Oid]>) -> Self {
        let mut by_column: FxHashMap<Oid, Vec<(i16, i64)>> = FxHashMap::default();
        let mut by_schema: FxHashMap<String, Vec<i64>> = FxHashMap::default();
        for policy in &policies {
            match &policy.on {
                Target::Column { relation, attnum } => {
                    by_column.entry(*relation).or_default().push((*attnum, policy.id));
                }
                Target::Matching { schema, .. } => {
                    by_schema.entry(schema.clone()).or_default().push(policy.id);
                }
            }
        }
        Self {
            generation: 0,
            policies: policies.into_iter().map(|policy| (policy.id, policy)).collect(),
            by_column,
            by_schema,
            resolved: RefCell::default(),
            nothing: Rc::new([]),
            views: FxHashMap::default(),
            aggregates,
            oracles,
        }
    }

    /// Whether nothing is protected in this database and no view was generated.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.views.is_empty() && self.aggregates.is_empty()
    }

    pub fn policy(&self, id: i64) -> Option<&Policy> {
        self.policies.get(&id)
    }

    /// Whether the schema has defaults.
    pub fn has_defaults(&self, schema: &str) -> bool {
        self.by_schema.contains_key(schema)
    }

    /// Whether the table has policies of its own.
    pub fn names(&self, relation: Oid) -> bool {
        self.by_column.contains_key(&relation)
    }

    /// The protected columns of a table, in order: by its own policies, or by those of its nearest
    /// ancestors for a column of the name, or by the defaults of its schema, or of theirs.
    pub fn columns_of(&self, relation: Oid) -> Rc<[Protected]> {
        if self.policies.is_empty() {
            return Rc::clone(&self.nothing);
        }
        let names = catalog::names_generation();
        let found = {
            let resolved = self.resolved.borrow();
            resolved.relations.get(&relation).filter(|_| resolved.names == names).map(Rc::clone)
        };
        if let Some(found) = found {
            return found;
        }
        let columns = self.resolve(relation);
        let columns = if columns.is_empty() { Rc::clone(&self.nothing) } else { columns.into() };
        let mut resolved = self.resolved.borrow_mut();
        if resolved.names != names {
            *resolved = Resolved { names, relations: FxHashMap::default() };
        }
        resolved.relations.insert(relation, Rc::clone(&columns));
        columns
    }

    fn resolve(&self, relation: Oid) -> Vec<Protected> {
        // Catalogs are read while catalogs are looked up, and nothing protects them.
        if relation.to_u32() < pgrx::pg_sys::FirstNormalObjectId || !catalog::holds_rows(relation) {
            return Vec::new();
        }
        let ancestry = lineage::ancestry(relation);
        let defaults: Vec<&Vec<i64>> = ancestry
            .iter()
            .filter_map(|relation| self.by_schema.get(&catalog::relation_name(*relation)?.0))
            .collect();
        if defaults.is_empty() && !ancestry.iter().any(|relation| self.names(*relation)) {
            return Vec::new();
        }
        let of_column = |column: &Column| {
            let explicit = ancestry.iter().find_map(|ancestor| {
                let numbered = self.by_column.get(ancestor)?;
                let number = if *ancestor == relation {
                    column.number
                } else {
                    *numbered.iter().map(|(number, _)| number).find(|number| {
                        catalog::attribute_name(*ancestor, **number).as_ref() == Some(&column.name)
                    })?
                };
                let ids: Vec<i64> =
                    numbered.iter().filter(|(of, _)| *of == number).map(|(_, id)| *id).collect();
                let source = if *ancestor == relation { Source::Own } else { Source::Inherited(*ancestor) };
                (!ids.is_empty()).then_some((source, ids))
            });
            explicit.or_else(|| {
                defaults.iter().find_map(|ids| {
                    let ids: Vec<i64> =
                        ids.iter().copied().filter(|id| self.matches(*id, &column.name)).collect();
                    (!ids.is_empty()).then_some((Source::Default, ids))
                })
            })
        };
        lineage::columns(relation)
            .into_iter()
            .filter_map(|column| {
                let (source, mut policies) = of_column(&column)?;
                self.sort(&mut policies);
                let (attnum, name, base_type) = (column.number, column.name, column.base_type);
                Some(Protected { attnum, name, base_type, source, policies })
            })
            .collect()
    }

    fn matches(&self, id: i64, name: &str) -> bool {
        matches!(self.policies.get(&id).map(|policy| &policy.on),
            Some(Target::Matching { pattern, .. }) if pattern::fits(pattern, name))
    }

    /// In the order in which they are asked: those for groups first, each kind by its place.
    fn sort(&self, ids: &mut [i64]) {
        ids.sort_by_key(|id| {
            self.policies.get(id).map(|policy| (policy.for_groups.is_empty(), policy.place, policy.id))
        });
    }

    /// How a policy shows a column: nothing of it, if its masking does not fit the column's type any more.
    pub fn masking(&self, id: i64, base_type: &str) -> Masking {
        self.policies
            .get(&id)
            .and_then(|policy| policy.masking.clone())
            .filter(|masking| masking.fits(base_type))
            .unwrap_or(Masking::NullValue)
    }

    pub fn view(&self, view: Oid) -> Option<&GeneratedView> {
        self.views.get(&view)
    }

    /// The views generated of a table.
    pub fn views_of(&self, relation: Oid) -> impl Iterator<Item = &GeneratedView> {
        self.views.values().filter(move |view| view.relation == relation)
    }

    /// The tables that have a view of ours.
    pub fn shown(&self) -> impl Iterator<Item = Oid> {
        self.views.values().map(|view| view.relation).chain(self.aggregates.values().copied())
    }

    /// The table whose groups an aggregate view shows.
    pub fn aggregated(&self, view: Oid) -> Option<Oid> {
        self.aggregates.get(&view).copied()
    }

    /// Whether an aggregate view shows groups of the table.
    pub fn is_aggregated(&self, relation: Oid) -> bool {
        self.aggregates.values().any(|of| *of == relation)
    }

    pub fn protects(&self, relation: Oid) -> bool {
        !self.columns_of(relation).is_empty()
    }
}

process_local! {
    static KNOWN: RefCell<Option<Rc<Known>>> = const { RefCell::new(None) };
    static KEY: RefCell<Option<(u64, Key)>> = const { RefCell::new(None) };
}

/// What holds now.
pub fn current() -> Result<Rc<Known>, ServerError> {
    // the number comes first: a change that commits while the tables are read is then read again
    let generation = shared::generation();
    let known =
        KNOWN.with_borrow(|known| known.as_ref().filter(|k| k.generation == generation).map(Rc::clone));
    match known {
        Some(known) => Ok(known),
        None if session::in_transaction() => look_again(generation),
        // A failed transaction reads nothing, and the catalogs cannot be read in it.
        None => Ok(KNOWN.with_borrow(Clone::clone).unwrap_or_default()),
    }
}

#[cold]
fn look_again(generation: u64) -> Result<Rc<Known>, ServerError> {
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

/// Whether we made the view: what is behind it is masked by it, or told in groups.
pub fn is_generated(view: Oid) -> Result<bool, ServerError> {
    let known = current()?;
    Ok(known.view(view).is_some() || known.aggregated(view).is_some())
}

const COLUMNS: [&str; 10] = [
    "id",
    "relation",
    "attnum",
    "column_name",
    "numbered_in",
    "schema_name",
    "pattern",
    "place",
    "for_groups",
    "reveal_to",
];

/// Reads all policies and generated views, from wherever we are.
fn load() -> Result<Known, ServerError> {
    let mut policies = Vec::new();
    let columns = [COLUMNS.as_slice(), &["masking"]].concat();
    catalog::rows("mask", "policy", &columns, |row| {
        let Some(id) = row.bigint(0) else { return };
        let on = match (row.oid(1), row.smallint(2), row.text(5), row.text(6)) {
            (Some(relation), Some(attnum), ..) => {
                let restored = row.oid(4) != Some(relation);
                let name = row.text(3).filter(|_| restored);
                (Target::Column { relation, attnum }, name)
            }
            (None, None, Some(schema), Some(pattern)) => (Target::Matching { schema, pattern }, None),
            _ => return,
        };
        // What cannot be read reveals nothing to anybody.
        let place = row.integer(7).unwrap_or(i32::MAX);
        let reveal_to = row.texts(9).unwrap_or_default();
        let for_groups = row.texts(8).unwrap_or_default();
        let masking = row.text(10).as_deref().and_then(Masking::parse);
        policies.push((Policy { id, on: on.0, place, for_groups, masking, reveal_to }, on.1));
    })?;
    let policies: Vec<Policy> = policies.into_iter().map(|(policy, name)| numbered(policy, name)).collect();
    let mut pairs = Vec::new();
    catalog::rows("mask", "generated_view", &["view", "relation"], |row| {
        pairs.extend(row.oid(0).zip(row.oid(1)));
    })?;
    let mut aggregates = FxHashMap::default();
    catalog::rows("mask", "aggregate_view", &["view", "relation"], |row| {
        aggregates.extend(row.oid(0).zip(row.oid(1)));
    })?;
    let mut oracles = catalog::functions("mask", &oracle::KEYED);
    oracles.sort_unstable_by_key(|function| function.to_u32());
    let mut known = Known::new(policies, aggregates, oracles.into());
    let views: Vec<_> = pairs.into_iter().map(|(view, relation)| generated(view, relation, &known)).collect();
    known.views = views.into_iter().map(|view| (view.view, view)).collect();
    Ok(known)
}

/// A dump that was restored numbers columns anew and keeps their names; otherwise the number says
/// which column it is, whatever it is called by now.
fn numbered(mut policy: Policy, name: Option<String>) -> Policy {
    if let (Target::Column { relation, attnum }, Some(name)) = (&mut policy.on, name)
        && let Some(number) = catalog::column_named(*relation, &name)
    {
        *attnum = number;
    }
    policy
}

fn generated(view: Oid, relation: Oid, known: &Known) -> GeneratedView {
    let shown = lineage::columns(view);
    let number = |name: &str| shown.iter().find(|column| column.name == name).map(|column| column.number);
    let columns = known
        .columns_of(relation)
        .iter()
        .filter_map(|column| Some((number(&column.name)?, column.attnum)))
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
