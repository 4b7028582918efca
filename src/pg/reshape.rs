//! Utility statements that change tables; above all those that PostgreSQL refuses while a view shows
//! the table: they drop it, or drop or retype columns of it.

use super::query::list;
use super::utility::{Kind, Utility};
use pgrx::pg_sys::{self, AlterTableType, NodeTag, Oid};

/// What a statement is about to do to tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reshape {
    Nothing,
    /// Something of it is altered or renamed: not all of that is told by object_access.
    Something(Oid),
    /// Columns go or change their types.
    Columns(Oid),
    /// Tables go, and what depends on them would be in the way.
    Tables(Vec<Oid>),
}

impl Utility<'_> {
    pub fn reshapes(&self) -> Reshape {
        // SAFETY: the tag says which struct the node is; its fields are nodes and lists of the statement.
        unsafe {
            match self.tag() {
                NodeTag::T_AlterTableStmt => {
                    let alter = &*self.node().cast::<pg_sys::AlterTableStmt>();
                    let reshapes = |command: &pg_sys::AlterTableCmd| {
                        [AlterTableType::AT_DropColumn, AlterTableType::AT_AlterColumnType]
                            .contains(&command.subtype)
                    };
                    match self.kind() {
                        Kind::Alters(Some(relid)) => {
                            match list::<pg_sys::AlterTableCmd>(alter.cmds).any(reshapes) {
                                true => Reshape::Columns(relid),
                                false => Reshape::Something(relid),
                            }
                        }
                        _ => Reshape::Nothing,
                    }
                }
                NodeTag::T_DropStmt => {
                    let drop = &*self.node().cast::<pg_sys::DropStmt>();
                    match self.kind() {
                        Kind::Drops(relids) if drop.behavior == pg_sys::DropBehavior::DROP_RESTRICT => {
                            Reshape::Tables(relids)
                        }
                        _ => Reshape::Nothing,
                    }
                }
                _ => Reshape::Nothing,
            }
        }
    }
}
