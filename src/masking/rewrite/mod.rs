//! Masking of the tables themselves: before a statement is planned, what the person may not see is replaced.
//!
//! Promises: decided when the statement is planned, compared when it starts, and planned again if anything is
//! different by then. Columns that the person sees stay as they are and keep their indexes.
//!
//! Masked are the people: a session that has a person, whoever it belongs to, and every session on a role that needs
//! one. Not masked is what has neither: the application, owners, superusers, and roles in observe mode, which are
//! recorded and nothing else. Statements of foreign keys and of our own are left alone.

mod decision;
mod error;
mod sql;
mod who;

use decision::{Decision, fingerprint};
pub use error::RewriteError;

use crate::error::ServerError;
use crate::masking::known;
use crate::pg::definition::{Concern, Definition};
use crate::pg::local::process_local;
use crate::pg::query::Planned;
use crate::pg::tree::draft::{Draft, Masking, PUTS_OUT_MASKS, Survey};
use crate::pg::tree::frames::Manner;
use crate::pg::tree::masks::Masks;
use crate::pg::tree::stamp::{Destination, Stamp};
use crate::pg::{catalog, lineage, objects, scope, session};
use pgrx::pg_sys::Oid;
use std::cell::{Cell, RefCell};

/// An execution of somebody's that was started, and how what it reads looked then.
struct Open {
    key: usize,
    flags: i32,
    looks: Vec<i32>,
}

process_local! {
    /// The transaction has touched a table of which something is masked.
    static CONCEALS: Cell<bool> = const { Cell::new(false) };
    /// A handful: one within the other, and cursors.
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// Whether nothing is ever masked here, so that nothing need be looked at.
pub fn is_idle() -> Result<bool, ServerError> {
    Ok(known::current()?.is_empty())
}

/// Whether a look is enough to see that nothing in the query has to do with masking.
pub fn is_untouched(draft: &Draft<'_>) -> Result<bool, ServerError> {
    if is_idle()? {
        return Ok(true);
    }
    let mut failed = Ok(());
    let plain = draft.is_plain(&mut |relation| {
        decision::leaves_alone(relation).unwrap_or_else(|error| {
            failed = Err(error);
            false
        })
    });
    failed.map(|()| plain)
}

/// Changes a query before it is planned, and says how.
pub fn rewrite(draft: &mut Draft<'_>) -> Result<Manner, RewriteError> {
    if draft.is_utility() || scope::is_directly_referential() {
        return Ok(Manner::default());
    }
    let mut manner = Manner { keeps_functions: true, hides_statistics: false };
    let mut survey = draft.survey();
    draft.inline(&mut survey);
    let (mut touched, mut statistics) = (Vec::new(), false);
    for relation in &survey.relations {
        if !decision::leaves_alone(*relation)? {
            statistics |= decision::is_statistics(*relation);
            touched.push(*relation);
        }
    }
    if touched.is_empty() && !survey.folds && survey.in_workers.is_empty() {
        return Ok(manner);
    }
    let masked = who::is_masked()?;
    if masked && survey.in_workers.iter().any(|function| !catalog::is_in_schema(*function, "mask")) {
        // A function may read what it likes, and a parallel worker has no person. Masks read nothing.
        draft.stay_serial();
    }
    if touched.is_empty() {
        if survey.folds {
            draft.keep();
        }
        return Ok(manner);
    }
    draft.depends_on(&touched);
    if !masked {
        return Ok(manner);
    }
    let masks = masks(&survey, &touched, statistics)?;
    if masks.tables.is_empty() && masks.statistics.is_none() {
        return Ok(manner);
    }
    manner.hides_statistics = true;
    match draft.mask(&masks) {
        Masking::Done => Ok(manner),
        Masking::Denied(denied) => Err(RewriteError::written(denied)),
        Masking::Unknown => Err(RewriteError::Unknown),
    }
}

/// What a walk through the query needs to know.
fn masks(survey: &Survey, touched: &[Oid], statistics: bool) -> Result<Masks, RewriteError> {
    let mut masks = Masks::default();
    for relation in touched {
        if let Some(table) = Decision::now(*relation, true)?.masks()? {
            masks.tables.insert(relation.to_u32(), table);
        }
    }
    for relation in &survey.relations {
        if known::is_generated(*relation)? {
            masks.views.insert(relation.to_u32());
        }
    }
    for table in &survey.filled {
        if decision::keeps_masks(*table)? {
            masks.keepers.insert(table.to_u32());
        }
    }
    if statistics {
        masks.statistics = Some(statistics_functions().ok_or(ServerError::NotInstalled)?);
    }
    Ok(masks)
}

/// A statement of a function, in a parallel worker, which has no person.
pub fn in_worker(draft: &Draft<'_>) -> Result<(), RewriteError> {
    if is_idle()? || draft.is_utility() || scope::is_directly_referential() || !who::is_masked_in_worker()? {
        return Ok(());
    }
    for relation in draft.survey().relations {
        if decision::protects(relation)? {
            let name = catalog::relation_name(relation).map_or_else(String::new, |(_, name)| name);
            return Err(RewriteError::InWorker(name));
        }
    }
    Ok(())
}

fn statistics_functions() -> Option<(Oid, Oid)> {
    let one = |name| catalog::functions("mask", &[name]).first().copied();
    one("shows_statistics").zip(one("shows_extended_statistics"))
}

/// How relations look to whoever asks, for a plan to carry.
pub fn looks(relations: &[u32]) -> Result<Vec<i32>, ServerError> {
    let masked = who::is_masked()?;
    let mut sorted = relations.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut looks = Vec::with_capacity(sorted.len() * 2);
    for relation in sorted {
        let decision = Decision::now(Oid::from(relation), masked)?;
        looks.push(relation as i32);
        looks.push(decision.columns.len() as i32);
        for (attnum, policy) in &decision.columns {
            let fingerprint = fingerprint(*policy)?;
            looks.push(i32::from(*attnum));
            looks.push((fingerprint >> 32) as i32);
            looks.push(fingerprint as i32);
        }
    }
    Ok(looks)
}

/// The relations that a plan depends on, and whether any of their columns is masked in it.
fn relations_in(looks: &[i32]) -> Vec<(u32, usize)> {
    let mut relations = Vec::new();
    let mut rest = looks;
    while let [relation, count, after @ ..] = rest {
        let count = usize::try_from(*count).unwrap_or(0);
        relations.push((*relation as u32, count));
        rest = after.get(count * 3..).unwrap_or(&[]);
    }
    relations
}

/// The relations that a plan depends on.
pub fn depends_on(stamp: &Stamp) -> Vec<u32> {
    relations_in(&stamp.looks).into_iter().map(|(relation, _)| relation).collect()
}

/// Whether a plan that is about to run is right for whoever runs it now; errs if its result must not be
/// kept where it goes.
pub fn stands(stamp: &Stamp) -> Result<bool, RewriteError> {
    if looks(&depends_on(stamp))? != stamp.looks {
        return Ok(false);
    }
    forget(stamp.key);
    if who::is_masked()? {
        may_be_kept(stamp.flags, &stamp.looks, stamp.destination)?;
        let open = Open { key: stamp.key, flags: stamp.flags, looks: stamp.looks.clone() };
        OPEN.with_borrow_mut(|all| all.push(open));
    }
    Ok(true)
}

/// Errs if what a statement puts out must not be kept where it goes.
fn may_be_kept(flags: i32, looks: &[i32], destination: Destination) -> Result<(), RewriteError> {
    if relations_in(looks).iter().all(|(_, masked)| *masked == 0) {
        return Ok(());
    }
    CONCEALS.set(true);
    match destination {
        Destination::Materialized => Err(RewriteError::Materialized),
        Destination::Table { temporary: false } if flags & PUTS_OUT_MASKS != 0 => Err(RewriteError::Kept),
        Destination::Table { .. } | Destination::Asker => Ok(()),
    }
}

/// An execution runs, perhaps not for the first time: what was revealed when it started must be so still. Where its
/// rows go is not always known before.
pub fn goes_on(key: usize, destination: Destination) -> Result<(), RewriteError> {
    let found = OPEN.with_borrow(|all| {
        all.iter().find(|open| open.key == key).map(|open| (open.flags, open.looks.clone()))
    });
    let Some((flags, looked)) = found else { return Ok(()) };
    may_be_kept(flags, &looked, destination)?;
    let relations: Vec<u32> = relations_in(&looked).into_iter().map(|(relation, _)| relation).collect();
    match looks(&relations)? == looked {
        true => Ok(()),
        false => Err(RewriteError::Ended),
    }
}

/// An execution has ended, or another one begins in its place.
pub fn forget(key: usize) {
    OPEN.with_borrow_mut(|all| all.retain(|open| open.key != key));
}

/// A plan without a stamp is about to run: it must not be one that was made before its tables were protected.
pub fn unstamped(planned: &Planned<'_>) -> Result<(), RewriteError> {
    if is_idle()? {
        return Ok(());
    }
    // Most statements have nothing to do with masking, which takes less to see than whose they are.
    let mut touched = Ok(false);
    planned.each_relid(|relation| {
        if let Ok(false) = touched {
            touched = decision::leaves_alone(relation).map(|alone| !alone);
        }
    });
    if !touched? || scope::is_directly_referential() || !who::is_masked()? {
        return Ok(());
    }
    let mut stale = Ok(false);
    planned.each_relid(|relation| {
        if let Ok(false) = stale {
            stale = Decision::now(relation, true).map(|decision| !decision.columns.is_empty());
        }
    });
    if stale? {
        session::forget_plans();
        return Err(RewriteError::Stale);
    }
    Ok(())
}

/// Whether what is known of the values in a column, or in any for 0, is kept from who plans now.
pub fn hides(relation: Oid, attnum: i16) -> Result<bool, ServerError> {
    let masked = Decision::now(relation, true)?.columns;
    Ok(masked.iter().any(|(column, _)| attnum == 0 || *column == attnum))
}

/// Whether COPY of a table must be COPY of a query.
pub fn masks_any(relation: Oid) -> Result<bool, ServerError> {
    Ok(!is_idle()? && who::is_masked()? && !Decision::now(relation, true)?.columns.is_empty())
}

/// Whether the session's person sees columns of tables masked, unless they are revealed.
pub fn is_masked() -> Result<bool, ServerError> {
    who::is_masked()
}

/// Whether details of errors are kept from the client: they show whole rows, or keys of them.
pub fn conceals(sqlstate: [u8; 5]) -> bool {
    CONCEALS.get() && matches!(&sqlstate[..2], b"23" | b"44")
}

/// A utility statement begins that names these relations and looks at the values of these columns.
pub fn utility(relations: &[Oid], definition: &Definition) -> Result<(), RewriteError> {
    if is_idle()? || !who::is_masked()? {
        return Ok(());
    }
    for relation in relations {
        if masks_any(*relation)? {
            CONCEALS.set(true);
        }
    }
    if definition.others {
        return Err(RewriteError::Domain);
    }
    for (table, concern) in &definition.tables {
        // Parts and heirs are looked at with their parents.
        for relation in lineage::descendants(*table) {
            let masked = Decision::now(relation, true)?.columns;
            let is_seen = |(attnum, _): &(i16, i64)| match concern {
                Concern::Anything => true,
                Concern::Columns(names) => {
                    catalog::attribute_name(relation, *attnum).is_none_or(|name| names.contains(&name))
                }
            };
            if masked.iter().any(is_seen) {
                let name = catalog::relation_name(*table).map_or_else(String::new, |(_, name)| name);
                return Err(RewriteError::Definition(name));
            }
        }
    }
    Ok(())
}

/// The transaction is over.
pub fn transaction_ended() {
    CONCEALS.set(false);
    OPEN.with_borrow_mut(Vec::clear);
}

/// Whether the person sees the statistics of a column, given as in pg_statistic; an index tells of its table.
pub fn shows_statistics(relation: Oid, attnum: i16) -> Result<bool, ServerError> {
    if !who::is_masked()? {
        return Ok(true);
    }
    match objects::table_of_index(relation) {
        Some(table) => Ok(Decision::now(table, true)?.columns.is_empty()),
        None => Ok(!Decision::now(relation, true)?.columns.iter().any(|(masked, _)| *masked == attnum)),
    }
}

/// Whether the person sees what an object of extended statistics holds.
pub fn shows_extended_statistics(object: Oid) -> Result<bool, ServerError> {
    if !who::is_masked()? {
        return Ok(true);
    }
    match objects::table_of_statistics(object) {
        Some(table) => Ok(Decision::now(table, true)?.columns.is_empty()),
        None => Ok(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plan_carries_is_read_back() {
        assert_eq!(relations_in(&[]), []);
        let looks = [10, 0, -2, 2, 1, 11, 12, 3, 31, 32, 20, 1, 5, 51, 52];
        assert_eq!(relations_in(&looks), [(10, 0), (u32::MAX - 1, 2), (20, 1)]);
        assert_eq!(relations_in(&[10, 3, 1, 2]), [(10, 3)], "what is cut off is no relation of its own");
    }

    #[test]
    fn details_are_withheld_once_a_masked_table_was_touched() {
        assert!(!conceals(*b"23505"));
        CONCEALS.set(true);
        assert!(conceals(*b"23505") && conceals(*b"44000") && !conceals(*b"22012") && !conceals(*b"42501"));
        transaction_ended();
        assert!(!conceals(*b"23505"));
    }
}
