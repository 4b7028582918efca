//! Policies and views when tables change: in the same statement, or the statement fails.
//!
//! Promises: what masks a column is ended by `mask.unprotect` and `mask.drop_policy` and by nothing else. A
//! column that would lose a default or its parents' policies, because it is renamed, moved or
//! detached, gets them as its own. Policies end with their column or table, so that what takes the number later
//! has none of them. Views follow their tables, and go with them.
//!
//! The server tells by object_access what is touched, while the catalogs still show it as it was; what
//! was noted then is compared when the statement has gone well.

use crate::access::object::identifier;
use crate::masking::known::{self, Protected, Source};
use crate::masking::policy::{record, refresh, store as policies};
use crate::masking::{MaskError, store, view, view_store};
use crate::pg::hooks::Depth;
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::local::process_local;
use crate::pg::reshape::Reshape;
use crate::pg::{catalog, lineage, objects, session, spi};
use crate::trail;
use pgrx::pg_sys::{self, Oid};
use pgrx::spi::SpiClient;
use std::cell::RefCell;
use std::rc::Rc;

/// What was touched, and how it was.
enum Touched {
    Table { relation: Oid, before: Rc<[Protected]> },
    Dropped { relation: Oid },
    Schema { schema: Oid, name: String },
}

impl Touched {
    fn is_of(&self, relation: Oid) -> bool {
        matches!(self, Self::Table { relation: of, .. } if *of == relation)
    }
}

process_local! {
    static TOUCHED: RefCell<Vec<(Depth, Touched)>> = const { RefCell::new(Vec::new()) };
}

/// A utility statement begins: what PostgreSQL would refuse because our views show the table.
pub fn beginning(reshape: &Reshape, depth: Depth) -> Result<(), MaskError> {
    // In an aborted transaction nothing else can be asked.
    if *reshape == Reshape::Nothing {
        return Ok(());
    }
    let known = known::current()?;
    if known.is_empty() {
        return Ok(());
    }
    let has_view = |relation: &Oid| known.shown().any(|of| of == *relation);
    // Whoever may not do it must not lock our views either: PostgreSQL tells him.
    let role = session::current_user();
    match reshape {
        Reshape::Nothing => Ok(()),
        Reshape::Something(relation) => note(*relation, depth),
        Reshape::Columns(relation) => {
            let shown: Vec<Oid> = lineage::descendants(*relation).into_iter().filter(has_view).collect();
            if shown.is_empty() {
                return Ok(());
            }
            spi::as_owner(|client| {
                if store::commands(client, role, *relation)? {
                    for relation in &shown {
                        view::let_go(client, *relation)?;
                        note(*relation, depth)?;
                    }
                }
                Ok::<_, MaskError>(())
            })
        }
        Reshape::Tables(relations) => {
            for relation in relations {
                let shown: Vec<Oid> = lineage::descendants(*relation).into_iter().filter(has_view).collect();
                if shown.is_empty() || !catalog::holds_rows(*relation) {
                    continue;
                }
                spi::as_owner(|client| {
                    if store::commands(client, role, *relation)? {
                        for relation in &shown {
                            view::go_with(client, *relation)?;
                        }
                        view_store::forget_dropped_views(client)?;
                    }
                    Ok::<_, MaskError>(())
                })?;
            }
            Ok(())
        }
    }
}

/// Something is made, altered or dropped; `depth` tells by which statement.
pub fn touched(access: &ObjectAccess, depth: Depth) -> Result<(), MaskError> {
    if access.internal {
        return Ok(());
    }
    let known = match (access.access, access.class) {
        (
            Access::Created | Access::Altered | Access::Dropped,
            pg_sys::RelationRelationId | catalog::INHERITS_CATALOG,
        )
        | (Access::Altered, pg_sys::NamespaceRelationId) => known::current()?,
        _ => return Ok(()),
    };
    if known.is_empty() {
        return Ok(());
    }
    if access.class == pg_sys::NamespaceRelationId {
        if let Some(name) = catalog::namespace_name(access.object).filter(|name| known.has_defaults(name)) {
            push(depth, Touched::Schema { schema: access.object, name });
        }
        return Ok(());
    }
    let relation = access.object;
    let is_view = known.view(relation).is_some() || known.aggregated(relation).is_some();
    if access.access == Access::Dropped && access.column == 0 && access.class == pg_sys::RelationRelationId {
        if is_view || known.names(relation) || known.shown().any(|of| of == relation) {
            push(depth, Touched::Dropped { relation });
        }
        return Ok(());
    }
    if !catalog::holds_rows(relation) {
        return Ok(());
    }
    // Children of a column that goes may keep it, and lose what the parent said of it.
    for relation in lineage::descendants(relation) {
        note(relation, depth)?;
    }
    Ok(())
}

/// Notes how a table is protected before it changes, if anything depends on it.
fn note(relation: Oid, depth: Depth) -> Result<(), MaskError> {
    if TOUCHED.with_borrow(|list| list.iter().any(|(_, touched)| touched.is_of(relation))) {
        return Ok(());
    }
    let known = known::current()?;
    let before = known.columns_of(relation);
    if !before.is_empty() || known.shown().any(|of| of == relation) {
        push(depth, Touched::Table { relation, before });
    }
    Ok(())
}

fn push(depth: Depth, touched: Touched) {
    TOUCHED.with_borrow_mut(|list| list.push((depth, touched)));
}

/// A statement at this depth has failed, or the transaction was undone: what it touched is as it was.
pub fn forget(depth: Depth) {
    TOUCHED.with_borrow_mut(|list| list.retain(|(at, _)| *at < depth));
}

/// A utility statement has gone well: policies and views follow.
pub fn settle(depth: Depth) -> Result<(), MaskError> {
    if TOUCHED.with_borrow(Vec::is_empty) || !session::in_transaction() {
        return Ok(());
    }
    let touched: Vec<Touched> = TOUCHED.with_borrow_mut(|list| {
        list.extract_if(.., |(at, _)| *at >= depth).map(|(_, touched)| touched).collect()
    });
    if touched.is_empty() {
        return Ok(());
    }
    objects::see_own_changes();
    // The extension goes, and all views with it.
    if catalog::relation("mask", "policy").is_none() {
        return Ok(());
    }
    let notes = spi::as_owner(|client| {
        store::lock(client)?;
        follow(client, touched)
    })?;
    for (object, detail) in notes {
        match record(object, &detail) {
            // The statement itself is on record; the application must not stop for this.
            Err(MaskError::Trail(lost)) => trail::warn(&lost),
            other => other?,
        }
    }
    Ok(())
}

/// Object and detail of an event.
type Notes = Vec<(String, serde_json::Value)>;

fn follow(client: &mut SpiClient<'_>, touched: Vec<Touched>) -> Result<Notes, MaskError> {
    let mut notes = Vec::new();
    let mut tables = Vec::new();
    for change in touched {
        match change {
            Touched::Schema { schema, name } => {
                if let Some(now) = catalog::namespace_name(schema).filter(|now| *now != name) {
                    policies::rename_schema(client, &name, &now)?;
                    let detail = serde_json::json!({ "action": "schema_renamed", "from": name });
                    notes.push((identifier(&now), detail));
                }
            }
            Touched::Dropped { relation } => {
                let ended = policies::forget_dropped(client, relation)?;
                view_store::forget_dropped_views(client)?;
                if ended > 0 {
                    let detail = serde_json::json!({ "action": "table_dropped", "policies": ended });
                    notes.push((relation.to_u32().to_string(), detail));
                }
            }
            Touched::Table { relation, before } if catalog::holds_rows(relation) => {
                tables.push((lineage::ancestry(relation).len(), relation, before));
            }
            Touched::Table { .. } => {}
        }
    }
    // Parents first: what they keep their children have of them.
    tables.sort_by_key(|(generation, ..)| *generation);
    let mut kept = Vec::new();
    for (_, relation, before) in &tables {
        keep(client, *relation, before, &mut kept, &mut notes)?;
    }
    for (_, relation, _) in &tables {
        policies::forget_dropped(client, *relation)?;
        policies::rename_columns(client, *relation)?;
        refresh(client, &[*relation])?;
    }
    Ok(notes)
}

/// Gives columns as their own what they would lose.
fn keep(
    client: &mut SpiClient<'_>,
    relation: Oid,
    before: &[Protected],
    kept: &mut Vec<Oid>,
    notes: &mut Notes,
) -> Result<(), MaskError> {
    if before.is_empty() {
        return Ok(());
    }
    let table = store::table(client, relation)?;
    let columns = lineage::columns(relation);
    let known = known::current()?;
    let after = known.columns_of(relation);
    for was in before {
        let Some(column) = columns.iter().find(|column| column.number == was.attnum) else { continue };
        let is = after.iter().find(|column| column.attnum == was.attnum);
        let holds = |is: &Protected| {
            is.policies == was.policies
                || is.source == Source::Own
                || matches!(is.source, Source::Inherited(parent) if kept.contains(&parent))
        };
        if !is.is_some_and(holds) {
            for policy in was.policies.iter().filter_map(|id| known.policy(*id)) {
                policies::keep_policy(client, relation, column.number, &column.name, policy)?;
            }
            kept.push(relation);
            let detail = serde_json::json!({ "action": "kept", "policies": was.policies, "was": was.name });
            notes.push((table.column_name(&column.name), detail));
        }
        let shows = |base_type: &str| {
            let maskings = was.policies.iter().filter_map(|id| known.policy(*id)?.masking.as_ref());
            maskings.into_iter().all(|masking| masking.fits(base_type))
        };
        if shows(&was.base_type) && !shows(&column.base_type) {
            let detail = serde_json::json!({ "action": "shows_nothing", "policies": was.policies,
                "reason": "the column's new type cannot hold the mask" });
            notes.push((table.column_name(&column.name), detail));
        }
    }
    Ok(())
}
