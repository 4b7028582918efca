//! Which columns of a relation are masked for whoever asks, and by what: all that is known of policies here.

use crate::error::ServerError;
use crate::masking::clearance::{self, SAFE_DEFAULT, Seen};
use crate::masking::spec::Masking;
use crate::pg::local::process_local;
use crate::pg::tree::columns;
use crate::pg::tree::expression::Expression;
use crate::pg::tree::masks::{MaskedColumn, TableMasks};
use crate::pg::{catalog, lineage, shared};
use pgrx::pg_sys::Oid;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::RefCell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// Masked columns, in order, each with its policy.
type Columns = Vec<(i16, i64)>;

/// What is masked of a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    relation: Oid,
    pub columns: Columns,
}

/// A table's shape: the number of its columns, and the generated ones with what they are computed from.
type Shape = Rc<(i16, Vec<(i16, Vec<i16>)>)>;

/// Good for one generation of the configuration and one state of all names.
#[derive(Default)]
struct Remembered {
    generation: (u64, u64),
    keepers: Option<FxHashSet<u32>>,
    shapes: FxHashMap<u32, Shape>,
    families: FxHashMap<u32, Rc<Vec<Oid>>>,
    maskings: FxHashMap<i64, (Masking, u64)>,
    expressions: FxHashMap<(u32, i16, i64), Rc<Expression>>,
    tables: FxHashMap<u32, (Columns, Rc<TableMasks>)>,
}

/// pg_statistic and pg_statistic_ext_data.
const STATISTICS: [u32; 2] = [2619, 3429];

/// Relations that have nothing to do with masking, each in the place of its number: the answer for most statements,
/// in a comparison.
struct Free {
    generation: (u64, u64),
    relations: [u32; 64],
}

process_local! {
    static FREE: RefCell<Free> = const { RefCell::new(Free { generation: (0, 0), relations: [0; 64] }) };
}

thread_local! {
    static REMEMBERED: RefCell<Remembered> = RefCell::default();
}

/// Runs `look` on what is remembered, as far as it holds. It must not look anything up.
fn remembered<T>(look: impl FnOnce(&mut Remembered) -> T) -> T {
    let now = (shared::generation(), catalog::names_generation());
    REMEMBERED.with_borrow_mut(|remembered| {
        if remembered.generation != now {
            *remembered = Remembered { generation: now, ..Remembered::default() };
        }
        look(remembered)
    })
}

impl Decision {
    /// What is masked now. `masked` is whether the session shows masks at all.
    pub fn now(relation: Oid, masked: bool) -> Result<Self, ServerError> {
        let mut columns = Vec::new();
        if masked && protects(relation)? {
            let shape = shape_of(relation);
            for attnum in 1..=shape.0 {
                if let Seen::Masked(policy) = clearance::seen(relation, attnum)? {
                    columns.push((attnum, policy));
                }
            }
            for heir in family(relation)?.iter() {
                for attnum in 1..=shape_of(*heir).0 {
                    if let Seen::Masked(policy) = clearance::seen(*heir, attnum)?
                        && let Some(own) = lineage::same_column(relation, *heir, attnum)
                        && !columns.iter().any(|(column, _)| *column == own)
                    {
                        columns.push((own, policy));
                    }
                }
            }
            let hides =
                |from: &i16| *from == 0 && !columns.is_empty() || columns.iter().any(|(c, _)| c == from);
            // Computed from what is masked: neither shown nor computed anew.
            let computed: Vec<(i16, i64)> = shape
                .1
                .iter()
                .filter(|(attnum, from)| !columns.iter().any(|(c, _)| c == attnum) && from.iter().any(hides))
                .map(|(attnum, _)| (*attnum, SAFE_DEFAULT))
                .collect();
            columns.extend(computed);
            columns.sort_unstable();
        }
        Ok(Self { relation, columns })
    }

    /// What stands in the place of the columns; `None` if nothing is masked.
    pub fn masks(&self) -> Result<Option<Rc<TableMasks>>, ServerError> {
        if self.columns.is_empty() {
            return Ok(None);
        }
        let key = self.relation.to_u32();
        let known = remembered(|known| {
            known.tables.get(&key).filter(|(columns, _)| *columns == self.columns).map(|(_, t)| Rc::clone(t))
        });
        if known.is_some() {
            return Ok(known);
        }
        let mut masked = Vec::with_capacity(self.columns.len());
        for (attnum, policy) in &self.columns {
            let mask = self.expression(*attnum, *policy)?;
            let computed = !matches!(clearance::seen(self.relation, *attnum)?, Seen::Masked(_));
            masked.push(MaskedColumn { number: *attnum, mask, computed });
        }
        let table = Rc::new(TableMasks::new(self.relation, masked));
        remembered(|known| known.tables.insert(key, (self.columns.clone(), Rc::clone(&table))));
        Ok(Some(table))
    }

    fn expression(&self, attnum: i16, policy: i64) -> Result<Rc<Expression>, ServerError> {
        let key = (self.relation.to_u32(), attnum, policy);
        if let Some(known) = remembered(|known| known.expressions.get(&key).map(Rc::clone)) {
            return Ok(known);
        }
        let base_type = catalog::column_type(self.relation, attnum).map(lineage::base_type);
        let text = masking(policy)?.0.expression("$1", &base_type.unwrap_or_default());
        let expression = Rc::new(Expression::parse(&text, self.relation, attnum));
        remembered(|known| known.expressions.insert(key, Rc::clone(&expression)));
        Ok(expression)
    }
}

/// Whether columns of the relation are protected, be it only in some of the tables that inherit from it, which are
/// read with it.
pub fn protects(relation: Oid) -> Result<bool, ServerError> {
    Ok(clearance::protects(relation)? || !family(relation)?.is_empty())
}

/// Whether the relation holds statistics of values in others.
pub fn is_statistics(relation: Oid) -> bool {
    STATISTICS.contains(&relation.to_u32())
}

/// Whether nothing in the relation is masked for anybody, and it holds no statistics of what is.
pub fn leaves_alone(relation: Oid) -> Result<bool, ServerError> {
    let number = relation.to_u32();
    let generation = (shared::generation(), catalog::names_generation());
    let is_free = FREE.with_borrow(|free| {
        free.generation == generation && free.relations[number as usize % free.relations.len()] == number
    });
    if is_free {
        return Ok(true);
    }
    if is_statistics(relation) || protects(relation)? {
        return Ok(false);
    }
    FREE.with_borrow_mut(|free| {
        if free.generation != generation {
            *free = Free { generation, relations: [0; 64] };
        }
        free.relations[number as usize % free.relations.len()] = number;
    });
    Ok(true)
}

/// Whether masks may be put into a table: it is a temporary one, or somebody permitted it.
pub fn keeps_masks(table: Oid) -> Result<bool, ServerError> {
    if catalog::is_temporary(table) {
        return Ok(true);
    }
    let key = table.to_u32();
    if let Some(keeps) = remembered(|known| known.keepers.as_ref().map(|keepers| keepers.contains(&key))) {
        return Ok(keeps);
    }
    let mut keepers = FxHashSet::default();
    catalog::rows("mask", "keeper", &["relation"], |row| {
        keepers.extend(row.oid(0).map(Oid::to_u32));
    })?;
    let keeps = keepers.contains(&key);
    remembered(|known| known.keepers = Some(keepers));
    Ok(keeps)
}

/// The protected tables that inherit from a relation, and its protected parts.
fn family(relation: Oid) -> Result<Rc<Vec<Oid>>, ServerError> {
    let key = relation.to_u32();
    if let Some(family) = remembered(|known| known.families.get(&key).map(Rc::clone)) {
        return Ok(family);
    }
    let mut family = Vec::new();
    if lineage::has_heirs(relation) {
        for heir in lineage::descendants(relation).into_iter().skip(1) {
            if clearance::protects(heir)? {
                family.push(heir);
            }
        }
    }
    let family = Rc::new(family);
    remembered(|known| known.families.insert(key, Rc::clone(&family)));
    Ok(family)
}

fn shape_of(relation: Oid) -> Shape {
    let key = relation.to_u32();
    if let Some(shape) = remembered(|known| known.shapes.get(&key).map(Rc::clone)) {
        return shape;
    }
    let shape: Shape = Rc::new(columns::generated(relation));
    remembered(|known| known.shapes.insert(key, Rc::clone(&shape)));
    shape
}

fn masking(policy: i64) -> Result<(Masking, u64), ServerError> {
    if let Some(known) = remembered(|known| known.maskings.get(&policy).cloned()) {
        return Ok(known);
    }
    let masking = match policy {
        SAFE_DEFAULT => Masking::NullValue,
        policy => clearance::masking_of(policy)?,
    };
    let mut hasher = DefaultHasher::new();
    masking.to_string().hash(&mut hasher);
    let known = (masking, hasher.finish());
    remembered(|remembered| remembered.maskings.insert(policy, known.clone()));
    Ok(known)
}

/// What tells the masking of a policy from all others.
pub fn fingerprint(policy: i64) -> Result<u64, ServerError> {
    Ok(masking(policy)?.1)
}
