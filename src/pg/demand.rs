//! What a utility statement asks for where no other hook sees it: rights, locks, labels, dependencies.

use super::objects;
use super::query::{list, string};
use super::utility::{Utility, relid, relids};
use pgrx::pg_sys::{self, Node, NodeTag, ObjectAddress, ObjectType, Oid};
use std::ffi::{CStr, c_char};

/// An object by its catalog and its OID there.
pub type Address = (Oid, Oid);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand {
    /// GRANT of these privileges, in lower case; none named means all.
    Grant { on: Vec<Address>, privileges: Vec<String> },
    /// REVOKE from these roles.
    Revoke { on: Vec<Address>, roles: Vec<String> },
    /// DROP OWNED, which also revokes what these roles were granted.
    DropOwned { roles: Vec<String> },
    /// LOCK TABLE in this mode.
    Lock { on: Vec<Oid>, mode: i32 },
    /// SECURITY LABEL.
    Label { on: Option<Address> },
    /// ALTER ... DEPENDS ON EXTENSION.
    Depends { on: Option<Address> },
    /// ALTER EXTENSION ... SET SCHEMA.
    MoveExtension(String),
}

impl Demand {
    /// Whether the lock keeps others from writing.
    pub fn keeps_writers_out(mode: i32) -> bool {
        mode >= pg_sys::ShareLock as i32
    }
}

impl Utility<'_> {
    /// What it asks for. Looks names up in the catalogs, so call it only in a transaction that can.
    pub fn demand(&self) -> Option<Demand> {
        let node = self.node();
        // SAFETY: the tag says which struct the node is; its fields are what parsenodes.h says.
        unsafe {
            Some(match self.tag() {
                NodeTag::T_GrantStmt => {
                    let grant = &*node.cast::<pg_sys::GrantStmt>();
                    let on = granted(grant);
                    if grant.is_grant {
                        let privileges = list::<pg_sys::AccessPriv>(grant.privileges)
                            .map(|privilege| text(privilege.priv_name).to_ascii_lowercase())
                            .collect();
                        Demand::Grant { on, privileges }
                    } else {
                        Demand::Revoke { on, roles: roles(grant.grantees) }
                    }
                }
                NodeTag::T_DropOwnedStmt => {
                    Demand::DropOwned { roles: roles((*node.cast::<pg_sys::DropOwnedStmt>()).roles) }
                }
                NodeTag::T_LockStmt => {
                    let lock = &*node.cast::<pg_sys::LockStmt>();
                    Demand::Lock { on: relids(lock.relations), mode: lock.mode }
                }
                NodeTag::T_SecLabelStmt => {
                    let label = &*node.cast::<pg_sys::SecLabelStmt>();
                    Demand::Label { on: address(label.objtype, label.object) }
                }
                NodeTag::T_AlterObjectDependsStmt => {
                    let depends = &*node.cast::<pg_sys::AlterObjectDependsStmt>();
                    // A trigger is named by its table and its own name; the table is enough.
                    let on = match depends.relation.is_null() {
                        true => address(depends.objectType, depends.object),
                        false => relid(depends.relation).map(|relid| (pg_sys::RelationRelationId, relid)),
                    };
                    Demand::Depends { on }
                }
                NodeTag::T_AlterObjectSchemaStmt => {
                    let moves = &*node.cast::<pg_sys::AlterObjectSchemaStmt>();
                    if moves.objectType != ObjectType::OBJECT_EXTENSION {
                        return None;
                    }
                    Demand::MoveExtension(string(moves.object.as_ref()?)?.to_string_lossy().into_owned())
                }
                _ => return None,
            })
        }
    }
}

/// What GRANT or REVOKE names. Of all objects in a schema, the schema.
fn granted(grant: &pg_sys::GrantStmt) -> Vec<Address> {
    let kind = match grant.targtype {
        pg_sys::GrantTargetType::ACL_TARGET_OBJECT => grant.objtype,
        pg_sys::GrantTargetType::ACL_TARGET_ALL_IN_SCHEMA => ObjectType::OBJECT_SCHEMA,
        _ => return Vec::new(),
    };
    // SAFETY: relations are RangeVars; the others are what get_object_address takes, but for the names of types.
    unsafe {
        match kind {
            ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE => {
                relids(grant.objects).into_iter().map(|relid| (pg_sys::RelationRelationId, relid)).collect()
            }
            ObjectType::OBJECT_TYPE | ObjectType::OBJECT_DOMAIN => Vec::new(),
            _ => list::<Node>(grant.objects)
                .filter_map(|object| address(kind, std::ptr::from_ref(object).cast_mut()))
                .collect(),
        }
    }
}

fn address(kind: ObjectType::Type, object: *mut Node) -> Option<Address> {
    objects::address(kind, object).map(|ObjectAddress { classId, objectId, .. }| (classId, objectId))
}

fn roles(specifications: *mut pg_sys::List) -> Vec<String> {
    // SAFETY: a list of RoleSpecs, whose names are NULL or NUL-terminated.
    unsafe { list::<pg_sys::RoleSpec>(specifications).map(|role| text(role.rolename)).collect() }
}

/// # Safety
/// NULL or NUL-terminated.
unsafe fn text(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}
