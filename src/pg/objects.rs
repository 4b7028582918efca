//! The names of objects of every kind, as pg_identify_object() has them.
//!
//! Promises: never raises; what has no name for people, or goes without saying, has none here. A new
//! object has one only after [`see_own_changes`], and an altered one its old one until then.

use super::catalog::{in_own_memory, relation_kind, scan, valid};
use super::utility::Utility;
use pgrx::PgTryBuilder;
use pgrx::pg_sys::{self, Node, NodeTag, ObjectAddress, ObjectType, Oid};
use std::ffi::{CStr, c_char};

/// Type and name of an object.
pub type Identity = (Vec<u8>, Vec<u8>);

/// Catalogs whose rows are objects that have names, in all versions (getObjectIdentityParts); it raises
/// an ERROR for others. Defaults of columns go without saying. In the order of the OIDs.
const CATALOGS: [u32; 39] = [
    826, 1213, 1247, 1255, 1259, 1260, 1262, 1417, 1418, 2328, 2601, 2602, 2603, 2605, 2606, 2607, 2612,
    2613, 2615, 2616, 2617, 2618, 2620, 2753, 3079, 3256, 3381, 3456, 3466, 3576, 3600, 3601, 3602, 3764,
    6100, 6104, 6106, 6237, 6243,
];

/// What PostgreSQL makes by itself for something that is named: the rule that makes a view, triggers of foreign
/// keys. Somebody may give such a name himself: then the object that it hangs on is named.
const IMPLIED: [&[u8]; 2] = [b"\"_RETURN\" on ", b"\"RI_ConstraintTrigger_"];

/// Type and name of an object; `None` if it has none, or only together with another one.
pub fn identify(class: Oid, object: Oid, column: i32) -> Option<Identity> {
    if !CATALOGS.contains(&class.to_u32()) {
        return None;
    }
    total(|| in_own_memory("pg_custodian object name", || name_of(class, object, column)))
}

fn name_of(class: Oid, object: Oid, column: i32) -> Option<Identity> {
    if is_implied(class, object) {
        return None;
    }
    let address = ObjectAddress { classId: class, objectId: object, objectSubId: column };
    // SAFETY: the address is of a catalog that these functions know; with missing_ok they return NULL or a
    // palloc'd string.
    let (kind, name) = unsafe {
        let name = bytes(pg_sys::getObjectIdentity(&raw const address, true))?;
        (bytes(pg_sys::getObjectTypeDescription(&raw const address, true))?, name)
    };
    (!IMPLIED.iter().any(|start| name.starts_with(start))).then_some((kind, name))
}

/// Row types, array types, TOAST tables and what is on them come and go with their tables.
fn is_implied(class: Oid, object: Oid) -> bool {
    // SAFETY: system cache lookups that take any OID.
    unsafe {
        match class {
            pg_sys::TypeRelationId => {
                let row_of = pg_sys::get_typ_typrelid(object);
                pg_sys::get_element_type(object) != pg_sys::InvalidOid
                    || row_of != pg_sys::InvalidOid
                        && pg_sys::get_rel_relkind(row_of) as u8 != pg_sys::RELKIND_COMPOSITE_TYPE
            }
            pg_sys::RelationRelationId => {
                let schema = pg_sys::get_rel_namespace(object);
                pg_sys::get_rel_relkind(object) as u8 == pg_sys::RELKIND_COMPOSITE_TYPE
                    || schema.to_u32() == pg_sys::PG_TOAST_NAMESPACE
                    || pg_sys::isTempToastNamespace(schema)
            }
            // Schemas of temporary tables are made when one is needed.
            pg_sys::NamespaceRelationId => pg_sys::isAnyTempNamespace(object),
            _ => false,
        }
    }
}

/// Shows the running statement's own changes of the catalogs to what comes after in its transaction.
pub fn see_own_changes() {
    total(|| {
        // SAFETY: called at the end of a utility statement, where every caller of ProcessUtility does it next.
        unsafe { pg_sys::CommandCounterIncrement() };
        Some(())
    });
}

/// The objects that a utility statement named and did nothing to that shows: GRANT, COMMENT and their
/// like. To be asked after the statement has gone well, when all of them exist.
pub fn named(statement: &Utility<'_>) -> Vec<Identity> {
    let node = statement.node();
    let mut found = Vec::new();
    let mut add = |kind: ObjectType::Type, object: *mut Node| found.extend(find(kind, object));
    // SAFETY: the tag says which struct the node is; its lists hold what parsenodes.h says.
    unsafe {
        match (*node).type_ {
            NodeTag::T_CommentStmt => {
                let comment = &*node.cast::<pg_sys::CommentStmt>();
                add(comment.objtype, comment.object);
            }
            NodeTag::T_SecLabelStmt => {
                let label = &*node.cast::<pg_sys::SecLabelStmt>();
                add(label.objtype, label.object);
            }
            NodeTag::T_GrantStmt => {
                let grant = &*node.cast::<pg_sys::GrantStmt>();
                let kind = match grant.targtype {
                    pg_sys::GrantTargetType::ACL_TARGET_OBJECT => grant.objtype,
                    pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => ObjectType::OBJECT_SCHEMA,
                    _ => return found,
                };
                for object in super::query::list::<Node>(grant.objects) {
                    let object = std::ptr::from_ref(object).cast_mut();
                    match kind {
                        // Relations are RangeVars, and are named when the statement begins.
                        ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE => {}
                        ObjectType::OBJECT_TYPE | ObjectType::OBJECT_DOMAIN => {
                            add(kind, pg_sys::makeTypeNameFromNameList(object.cast()).cast());
                        }
                        _ => add(kind, object),
                    }
                }
            }
            NodeTag::T_GrantRoleStmt => {
                let grant = &*node.cast::<pg_sys::GrantRoleStmt>();
                for role in super::query::list::<pg_sys::AccessPriv>(grant.granted_roles) {
                    found.extend(named_role(role.priv_name));
                }
                for role in super::query::list::<pg_sys::RoleSpec>(grant.grantee_roles) {
                    found.extend(named_role(role.rolename));
                }
            }
            NodeTag::T_ReassignOwnedStmt => {
                let reassign = &*node.cast::<pg_sys::ReassignOwnedStmt>();
                for role in
                    super::query::list::<pg_sys::RoleSpec>(reassign.roles).chain(reassign.newrole.as_ref())
                {
                    found.extend(named_role(role.rolename));
                }
            }
            NodeTag::T_DropOwnedStmt => {
                let drop = &*node.cast::<pg_sys::DropOwnedStmt>();
                for role in super::query::list::<pg_sys::RoleSpec>(drop.roles) {
                    found.extend(named_role(role.rolename));
                }
            }
            NodeTag::T_AlterRoleSetStmt => {
                if let Some(role) = (*node.cast::<pg_sys::AlterRoleSetStmt>()).role.as_ref() {
                    found.extend(named_role(role.rolename));
                }
            }
            NodeTag::T_AlterDatabaseSetStmt => {
                let name = (*node.cast::<pg_sys::AlterDatabaseSetStmt>()).dbname;
                found.extend(quoted(name).map(|name| (b"database".to_vec(), name)));
            }
            _ => {}
        }
    }
    found
}

fn find(kind: ObjectType::Type, object: *mut Node) -> Option<Identity> {
    let address = address(kind, object)?;
    identify(address.classId, address.objectId, address.objectSubId)
}

/// The object that a statement's node names, if it can be found.
pub(super) fn address(kind: ObjectType::Type, object: *mut Node) -> Option<ObjectAddress> {
    total(|| {
        let mut relation = std::ptr::null_mut();
        let lock = pg_sys::AccessShareLock as i32;
        // SAFETY: the node is the one that the statement itself is resolved from; a relation that comes back open
        // is closed.
        unsafe {
            let address = pg_sys::get_object_address(kind, object, &raw mut relation, lock, true);
            if !relation.is_null() {
                pg_sys::relation_close(relation, pg_sys::NoLock as i32);
            }
            (address.objectId != pg_sys::InvalidOid).then_some(address)
        }
    })
}

/// # Safety
/// NULL or NUL-terminated.
unsafe fn named_role(name: *const c_char) -> Option<Identity> {
    // SAFETY: as the caller promises.
    unsafe { quoted(name) }.map(|name| (b"role".to_vec(), name))
}

/// # Safety
/// NULL or NUL-terminated.
unsafe fn quoted(name: *const c_char) -> Option<Vec<u8>> {
    // SAFETY: as the caller promises; quote_identifier returns its argument or a copy.
    unsafe { (!name.is_null()).then(|| CStr::from_ptr(pg_sys::quote_identifier(name)).to_bytes().to_vec()) }
}

/// # Safety
/// NULL or a palloc'd, NUL-terminated string.
unsafe fn bytes(text: *mut c_char) -> Option<Vec<u8>> {
    if text.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    unsafe {
        let copy = CStr::from_ptr(text).to_bytes().to_vec();
        pg_sys::pfree(text.cast());
        Some(copy)
    }
}

/// The result of `work`, or none if it raises an ERROR: a name is not worth a statement that has gone well.
fn total<R>(work: impl FnOnce() -> Option<R> + std::panic::UnwindSafe) -> Option<R> {
    PgTryBuilder::new(work).catch_others(|_| None).execute()
}

/// pg_statistic_ext (pg_statistic_ext.h)
const STATISTICS_CATALOG: Oid = Oid::from_u32(3381);

/// The table that an index belongs to; `None` for what is no index.
pub fn table_of_index(relid: Oid) -> Option<Oid> {
    match relation_kind(relid)? {
        pg_sys::RELKIND_INDEX | pg_sys::RELKIND_PARTITIONED_INDEX => {
            // SAFETY: a system cache lookup; with missing_ok InvalidOid for what does not exist.
            valid(unsafe { pg_sys::IndexGetRelation(relid, true) })
        }
        _ => None,
    }
}

/// The table that an object of extended statistics is about.
pub fn table_of_statistics(object: Oid) -> Option<Oid> {
    let mut table = None;
    let found = scan(STATISTICS_CATALOG, &["oid", "stxrelid"], |row| {
        if row.oid(0) == Some(object) {
            table = row.oid(1);
        }
        table.is_none()
    });
    found.ok().and(table)
}
