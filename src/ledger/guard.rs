//! The locks on the ledger's door: what no statement may do, whoever sends it.
//!
//! Triggers refuse to change rows (`sql/schema/50_ledger.sql`); here stand the ways around them:
//! to alter, replace or drop the triggers, their function, the tables, the views, the schema or
//! the extension, to write the catalogs that hold all these, to take them out of the extension, to
//! drop the database; to hang a rule, a child, a policy, a foreign key on a table; to make a function of
//! the same name that is found first; to take the auditors' rights; to lock the writer out. All are allowed
//! while `pg_custodian.maintenance` is on, which only the configuration file can say. All attempts are
//! recorded by whoever calls us.
//!
//! Nothing is known by its name but the schema `audit` and the roles of the extension: what lies in a schema of
//! the extension, or belongs to it, is guarded, partitions and indexes too. `tests/guards/attacks.txt` has them all.

use super::LedgerError;
use crate::error::ServerError;
use crate::pg::demand::{Address, Demand};
use crate::pg::fresh::{self, Place};
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::local::process_local;
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

/// Catalogs that may be written by hand: what is in them guards nothing, and mends what is wrong with plans and
/// comments. pg_statistic, pg_statistic_ext_data, pg_description, pg_shdescription, pg_largeobject and its metadata.
const OPEN_CATALOGS: [u32; 6] = [2619, 3429, 2609, 2396, 2613, 2995];

/// Roles of the extension, which the rights of auditors and administrators hang on.
const ROLES: [&str; 2] = ["custodian_admin", "custodian_auditor"];

process_local! {
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

/// Whether a relation belongs to the ledger: it lies in our schema audit. Indexes and partitions do too,
/// which are no members of the extension.
fn is_guarded_relation(relid: Oid) -> bool {
    schema().is_some_and(|audit| catalog::namespace_of(relid) == Some(audit))
}

/// The schema of the ledger in this database: there may be somebody else's of that name.
pub fn schema() -> Option<Oid> {
    catalog::namespace("audit").filter(|audit| is_ours(pg_sys::NamespaceRelationId, *audit))
}

/// Whether a relation's shape is guarded: it belongs to the ledger, or to the extension.
fn has_guarded_shape(relid: Oid) -> bool {
    is_guarded_relation(relid) || is_ours(pg_sys::RelationRelationId, relid)
}

/// Schemas of ours in which users have things made, and restored dumps make them.
const OPEN_SCHEMAS: [&str; 2] = ["masked", "queries"];

/// Whether nobody but the extension makes objects in this schema.
fn is_closed_schema(schema: Oid) -> bool {
    is_ours(pg_sys::NamespaceRelationId, schema)
        && !OPEN_SCHEMAS.iter().any(|open| catalog::namespace(open) == Some(schema))
}

/// Whether a relation is a catalog of the server that must not be written by hand.
fn is_closed_catalog(relid: Oid) -> bool {
    relid.to_u32() < pg_sys::FirstNormalObjectId
        && !OPEN_CATALOGS.contains(&relid.to_u32())
        && catalog::relation_kind(relid) == Some(pg_sys::RELKIND_RELATION)
        && catalog::namespace_of(relid).is_some_and(|schema| schema.to_u32() == pg_sys::PG_CATALOG_NAMESPACE)
}

fn is_ours(class: Oid, object: Oid) -> bool {
    let ours = catalog::extension(EXTENSION);
    ours.is_some()
        && (class == pg_sys::ExtensionRelationId && ours == Some(object)
            || catalog::extension_of(class, object) == ours)
}

/// Whether there is anything in the ledger that could be lost: by what its writer stored.
fn holds_rows() -> Result<bool, ServerError> {
    let mut any = false;
    if let Some(chain) = catalog::relation("audit", "chain") {
        catalog::scan(chain, &["seq"], |row| {
            any |= row.bigint(0).is_none_or(|last| last > 0);
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

/// Whether a statement that writes to this relation, or locks its rows, must come to [`check_writes`]:
/// `schema` is that of the ledger.
pub fn concerns(relid: Oid, schema: Option<Oid>) -> bool {
    relid.to_u32() < pg_sys::FirstNormalObjectId || schema.is_some() && catalog::namespace_of(relid) == schema
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
        // Nobody else may write to a catalog; PostgreSQL says so in its own words. Locked rows are not written.
        let role = used.through.unwrap_or_else(session::current_user);
        let writes = used.insert || used.delete || !used.written.is_empty();
        if writes && is_closed_catalog(used.relid) && session::is_superuser(role) {
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
        Kind::Attaches(Some(relid)) | Kind::Alters(Some(relid))
            if has_guarded_shape(*relid) || opens_catalog(*relid) =>
        {
            refused(format!("altering \"{}\"", name(*relid)))
        }
        Kind::Truncate(relids) => match relids.iter().find(|relid| is_guarded_relation(**relid)) {
            Some(relid) => Err(append_only("TRUNCATE", *relid)),
            None => match relids.iter().find(|relid| opens_catalog(**relid)) {
                Some(relid) => refused(format!("truncating \"{}\"", name(*relid))),
                None => Ok(()),
            },
        },
        Kind::CopyIn(Some(relid)) if is_guarded_relation(*relid) => Err(append_only("COPY", *relid)),
        Kind::CopyIn(Some(relid)) if is_closed_catalog(*relid) && am_superuser() => {
            refused(format!("writing to catalog \"{}\"", name(*relid)))
        }
        Kind::Drops(relids) => {
            match relids.iter().find(|relid| has_guarded_shape(**relid) || opens_catalog(**relid)) {
                Some(relid) => refused(format!("dropping \"{}\"", name(*relid))),
                None => Ok(()),
            }
        }
        Kind::DropSchema(names) if names.iter().any(|name| name == "audit") && holds_rows()? => {
            refused("dropping schema \"audit\"".into())
        }
        _ => Ok(()),
    }
}

fn am_superuser() -> bool {
    session::is_superuser(session::current_user())
}

/// Whether a catalog's own definition can be changed now: else PostgreSQL says that it cannot.
fn opens_catalog(relid: Oid) -> bool {
    session::allows_changes_of_catalogs() && is_closed_catalog(relid) && am_superuser()
}

/// Judges what a utility statement asks for beside its kind.
pub fn check_demand(demand: &Demand) -> Result<(), LedgerError> {
    if settings::maintenance() {
        return Ok(());
    }
    let guarded = |what: String| Err(LedgerError::Guarded { what });
    let described = |on: &Address| catalog::describe(on.0, on.1, 0);
    match demand {
        Demand::Grant { on, privileges } => match on.iter().find(|on| !may_be_granted(on, privileges)) {
            Some(on) => guarded(format!("granting more than to read {}", described(on))),
            None => Ok(()),
        },
        Demand::Revoke { on, roles } if roles.iter().any(|role| ROLES.contains(&role.as_str())) => {
            match on.iter().find(|on| is_of_ledger(on)) {
                Some(on) => Err(LedgerError::Hides { what: format!("revoking rights on {}", described(on)) }),
                None => Ok(()),
            }
        }
        Demand::DropOwned { roles } => match roles.iter().find(|role| ROLES.contains(&role.as_str())) {
            Some(role) => Err(LedgerError::Hides { what: format!("revoking the rights of \"{role}\"") }),
            None => Ok(()),
        },
        Demand::Lock { on, mode } if Demand::keeps_writers_out(*mode) => {
            match on.iter().find(|relid| is_guarded_relation(**relid)) {
                Some(relid) => Err(LedgerError::Stops { what: format!("locking \"{}\"", name(*relid)) }),
                None => Ok(()),
            }
        }
        Demand::Label { on: Some(on) } if is_of_ledger(on) => {
            Err(LedgerError::Hides { what: format!("a security label on {}", described(on)) })
        }
        Demand::Depends { on: Some(on) } if is_of_ledger(on) || is_ours(on.0, on.1) => {
            guarded(format!("making another extension the owner of {}", described(on)))
        }
        Demand::MoveExtension(extension) if extension == EXTENSION => {
            guarded("moving extension \"pg_custodian\"".into())
        }
        _ => Ok(()),
    }
}

/// Whether an object is of the ledger: its schema, or something in it.
fn is_of_ledger((class, object): &Address) -> bool {
    let Some(audit) = schema() else { return false };
    match *class {
        pg_sys::NamespaceRelationId => *object == audit,
        pg_sys::RelationRelationId => is_guarded_relation(*object),
        _ => fresh::place(*class, *object) == Some(Place::Schema(audit)),
    }
}

/// Whether these privileges let nobody do more to an object of the ledger than to read it.
fn may_be_granted(on: &Address, privileges: &[String]) -> bool {
    let harmless: &[&str] = match on.0 {
        // GRANT ON ALL TABLES, FUNCTIONS and so on name the schema.
        pg_sys::NamespaceRelationId => &["usage", "select", "execute"],
        pg_sys::ProcedureRelationId => return true,
        _ => &["select"],
    };
    !is_of_ledger(on)
        || !privileges.is_empty() && privileges.iter().all(|privilege| harmless.contains(&privilege.as_str()))
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
        Access::Created => return check_creation(access),
        Access::Truncated => is_guarded_relation(access.object),
        Access::Called | Access::Executed => false,
        Access::Altered | Access::Dropped => match access.class {
            pg_sys::TriggerRelationId
            | catalog::REWRITE_CATALOG
            | catalog::CONSTRAINT_CATALOG
            | catalog::POLICY_CATALOG => {
                matches!(fresh::place(access.class, access.object), Some(Place::Relation(relid)) if has_guarded_shape(relid))
            }
            catalog::INHERITS_CATALOG => {
                has_guarded_shape(access.object) || access.parent.is_some_and(has_guarded_shape)
            }
            pg_sys::RelationRelationId if access.access == Access::Dropped && is_transient(access) => false,
            pg_sys::RelationRelationId => has_guarded_shape(access.object) || moves_in(access),
            // The script's own ALTER EXTENSION UPDATE is announced on the extension before it runs.
            pg_sys::ExtensionRelationId => {
                access.access == Access::Dropped && access.object == ours && holds_rows()?
            }
            class => is_ours(class, access.object) || moves_in(access),
        },
    };
    if guarded {
        let verb = match access.access {
            Access::Altered => "altering",
            Access::Dropped => "dropping",
            Access::Truncated => "truncating",
            Access::Created | Access::Called | Access::Executed => "touching",
        };
        let what = match access.class {
            catalog::INHERITS_CATALOG => format!("a child or parent of \"{}\"", name(access.object)),
            class => catalog::describe(class, access.object, access.column),
        };
        return Err(LedgerError::Guarded { what: format!("{verb} {what}") });
    }
    Ok(())
}

/// Judges what was made: not one of ours anew, nothing on a relation of ours, nothing in a schema of ours.
fn check_creation(access: &ObjectAccess) -> Result<(), LedgerError> {
    let what = || catalog::describe(access.class, access.object, access.column);
    // CREATE OR REPLACE FUNCTION counts as creation.
    if access.class == pg_sys::ProcedureRelationId && is_ours(access.class, access.object) {
        return Err(LedgerError::Guarded { what: format!("replacing {}", what()) });
    }
    match fresh::place(access.class, access.object) {
        Some(Place::Relation(relid)) if has_guarded_shape(relid) => {
            Err(LedgerError::Guarded { what: format!("defining something on \"{}\"", name(relid)) })
        }
        // What PostgreSQL makes for itself replaces a table or an index that it rewrites.
        Some(Place::Schema(schema)) if !access.internal && is_closed_schema(schema) => {
            let what = catalog::describe(pg_sys::NamespaceRelationId, schema, 0);
            Err(LedgerError::Hides { what: format!("an object of somebody else's in {what}") })
        }
        _ => Ok(()),
    }
}

/// Whether what was altered came into a schema of ours by it.
fn moves_in(access: &ObjectAccess) -> bool {
    access.access == Access::Altered
        && matches!(fresh::place(access.class, access.object), Some(Place::Schema(schema)) if is_closed_schema(schema))
}

/// Whether PostgreSQL drops what it made itself to rewrite a table, or what the table had before.
fn is_transient(access: &ObjectAccess) -> bool {
    let is_index = || {
        [Some(pg_sys::RELKIND_INDEX), Some(pg_sys::RELKIND_PARTITIONED_INDEX)]
            .contains(&catalog::relation_kind(access.object))
    };
    let is_named_so =
        || catalog::relation_name(access.object).is_some_and(|(_, name)| name.starts_with("pg_temp_"));
    access.internal && (is_index() || is_named_so() && !is_ours(access.class, access.object))
}
