//! The locks on the ledger's door: what no statement may do, whoever sends it.
//!
//! Triggers refuse to change rows (`sql/schema/50_ledger.sql`); here stand the ways around them:
//! to alter, replace or drop the triggers, their function, the tables, the views, the schema or
//! the extension, to write the catalogs that hold all these, to take them out of the extension, to
//! drop the database. All are allowed while `pg_custodian.maintenance` is on, which only the
//! configuration file can say. All attempts are recorded by whoever calls us.

use super::LedgerError;
use crate::error::ServerError;
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::query::RelationUse;
use crate::pg::shared::ProcessState;
use crate::pg::utility::Kind;
use crate::pg::{catalog, session, shared};
use crate::settings;
use pgrx::pg_sys::{self, Oid};
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// Name of the extension.
pub const EXTENSION: &str = "pg_custodian";

/// Catalogs through whose rows the guards could be undone: pg_class, pg_attribute, pg_proc,
/// pg_namespace, pg_trigger, pg_rewrite, pg_depend, pg_extension, pg_index, pg_constraint, pg_policy,
/// pg_inherits.
const CATALOGS: [u32; 12] = [1259, 1249, 1255, 2615, 2620, 2618, 2608, 3079, 2610, 2606, 3256, 2611];

thread_local! {
    static DROPPING: Cell<bool> = const { Cell::new(false) };
}

/// Notes that DROP EXTENSION pg_custodian begins or ends: what belongs to the extension may go with it.
pub fn set_dropping(dropping: bool) {
    DROPPING.set(dropping);
}

/// Whether `kind` is a DROP EXTENSION of ours.
pub fn drops_extension(kind: &Kind) -> bool {
    matches!(kind, Kind::DropExtension(names) if names.iter().any(|name| name == EXTENSION))
}

/// Whether a relation belongs to the ledger: it lies in our schema audit. Indexes do too, which are
/// no members of the extension.
fn is_guarded_relation(relid: Oid) -> bool {
    catalog::namespace("audit").is_some_and(|audit| {
        catalog::namespace_of(relid) == Some(audit) && is_ours(pg_sys::NamespaceRelationId, audit)
    })
}

fn is_ours(class: Oid, object: Oid) -> bool {
    let ours = catalog::extension(EXTENSION);
    ours.is_some()
        && (class == pg_sys::ExtensionRelationId && ours == Some(object)
            || catalog::extension_of(class, object) == ours)
}

/// Whether there is anything in the ledger that could be lost.
fn holds_rows() -> Result<bool, ServerError> {
    let mut any = false;
    if let Some(chain) = catalog::relation("audit", "chain") {
        catalog::scan(chain, &["seq"], |row| {
            any |= row.bigint(0) != Some(0);
            true
        })?;
    }
    Ok(any)
}

fn name(relid: Oid) -> String {
    catalog::relation_name(relid)
        .map_or_else(|| relid.to_u32().to_string(), |(schema, name)| format!("{schema}.{name}"))
}

fn append_only(operation: &str, relid: Oid) -> LedgerError {
    LedgerError::AppendOnly { operation: operation.into(), object: name(relid) }
}

/// Whether a statement that writes to this relation must come to [`check_writes`].
/// `tables` are those of the ledger: see [`tables`].
pub fn concerns(relid: Oid, tables: &[Oid]) -> bool {
    tables.contains(&relid) || CATALOGS.contains(&relid.to_u32())
}

/// The tables of the ledger in this database.
pub fn tables() -> Vec<Oid> {
    ["ledger", "chain", "origins"].into_iter().filter_map(|name| catalog::relation("audit", name)).collect()
}

/// Judges a statement that writes: not to the ledger, not to the catalogs that hold its guards.
pub fn check_writes(uses: &[RelationUse]) -> Result<(), LedgerError> {
    if settings::maintenance() {
        return Ok(());
    }
    for used in uses.iter().filter(|used| used.insert || used.update || used.delete) {
        if is_guarded_relation(used.relid) {
            return Err(append_only("writing", used.relid));
        }
        // Nobody else may write to a catalog; PostgreSQL says so in its own words.
        let role = used.through.unwrap_or_else(session::current_user);
        if CATALOGS.contains(&used.relid.to_u32()) && session::is_superuser(role) {
            return Err(LedgerError::Guarded {
                what: format!("writing to catalog \"{}\"", name(used.relid)),
            });
        }
    }
    Ok(())
}

/// Judges a utility statement by its kind.
pub fn check_utility(kind: &Kind) -> Result<(), LedgerError> {
    if settings::maintenance() {
        return Ok(());
    }
    let refused = |what: String| Err(LedgerError::Guarded { what });
    match kind {
        Kind::AlterExtensionContents(extension) if extension == EXTENSION => {
            refused("changing the contents of extension \"pg_custodian\"".into())
        }
        Kind::DropExtension(_) if drops_extension(kind) && holds_rows()? => {
            refused("dropping extension \"pg_custodian\"".into())
        }
        Kind::Database { name, drops: true } if database_holds_rows(name) => {
            refused(format!("dropping database \"{name}\""))
        }
        Kind::Attaches(Some(relid)) | Kind::Alters(Some(relid)) if is_guarded_relation(*relid) => {
            refused(format!("altering \"{}\"", name(*relid)))
        }
        Kind::Truncate(relids) => match relids.iter().find(|relid| is_guarded_relation(**relid)) {
            Some(relid) => Err(append_only("TRUNCATE", *relid)),
            None => Ok(()),
        },
        Kind::CopyIn(Some(relid)) if is_guarded_relation(*relid) => Err(append_only("COPY", *relid)),
        Kind::Drops(relids) => match relids.iter().find(|relid| is_guarded_relation(**relid)) {
            Some(relid) => refused(format!("dropping \"{}\"", name(*relid))),
            None => Ok(()),
        },
        Kind::DropSchema(names) if names.iter().any(|name| name == "audit") && holds_rows()? => {
            refused("dropping schema \"audit\"".into())
        }
        _ => Ok(()),
    }
}

/// Whether the ledger of another database has rows: its writer says so.
fn database_holds_rows(name: &str) -> bool {
    let Some(database) = catalog::database(name) else { return false };
    shared::get()
        .and_then(|memory| memory.database(database.to_u32()))
        // Before its writer has looked, it may hold any.
        .is_some_and(|slot| {
            slot.rows.load(Ordering::Acquire) > 0 || slot.writer.state() != ProcessState::Running
        })
}

/// Judges what is done to an object, by whichever statement.
pub fn check_object(access: &ObjectAccess) -> Result<(), LedgerError> {
    if settings::maintenance() || DROPPING.get() {
        return Ok(());
    }
    let Some(ours) = catalog::extension(EXTENSION) else { return Ok(()) };
    let guarded = match access.access {
        // CREATE OR REPLACE FUNCTION counts as creation.
        Access::Created => {
            access.class == pg_sys::ProcedureRelationId && is_ours(access.class, access.object)
        }
        Access::Truncated => is_guarded_relation(access.object),
        Access::Called | Access::Executed => false,
        Access::Altered | Access::Dropped => match access.class {
            pg_sys::TriggerRelationId
            | catalog::REWRITE_CATALOG
            | catalog::CONSTRAINT_CATALOG
            | catalog::POLICY_CATALOG => {
                catalog::relation_of(access.class, access.object).is_some_and(is_guarded_relation)
            }
            pg_sys::RelationRelationId => is_guarded_relation(access.object),
            // The script's own ALTER EXTENSION UPDATE is announced on the extension before it runs.
            pg_sys::ExtensionRelationId => {
                access.access == Access::Dropped && access.object == ours && holds_rows()?
            }
            class => is_ours(class, access.object),
        },
    };
    if guarded {
        let verb = match access.access {
            Access::Created => "replacing",
            Access::Altered => "altering",
            Access::Dropped => "dropping",
            Access::Truncated => "truncating",
            Access::Called | Access::Executed => "calling",
        };
        let what = catalog::describe(access.class, access.object, access.column);
        return Err(LedgerError::Guarded { what: format!("{verb} {what}") });
    }
    Ok(())
}
