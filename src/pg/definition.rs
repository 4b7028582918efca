//! Which columns' values a change of a definition looks at: to check them, to index them, to convert them, or to
//! hand them to somebody's code.
//!
//! An allow-list: of a kind of change that is not known here, every column counts.

use super::query::{list, string};
use super::utility::{Utility, relid};
use pgrx::pg_sys::{self, AlterTableType, ConstrType, Node, NodeTag, Oid, RangeVar};
use std::ffi::{CStr, c_char};

/// The columns of a table that are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Concern {
    Columns(Vec<String>),
    Anything,
}

/// What a statement looks at.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Definition {
    pub tables: Vec<(Oid, Concern)>,
    /// It looks at tables that it does not name.
    pub others: bool,
}

impl Definition {
    /// # Safety
    /// NULL or a RangeVar.
    unsafe fn add(&mut self, table: *mut RangeVar, concern: Concern) {
        // SAFETY: as the caller promises.
        if let Some(table) = unsafe { relid(table) } {
            self.tables.push((table, concern));
        }
    }
}

impl Utility<'_> {
    /// What it looks at, if it changes definitions. Looks names up in the catalogs, so call it only in a transaction
    /// that can.
    pub fn definition(&self) -> Definition {
        let mut seen = Definition::default();
        let node = self.node();
        // SAFETY: the tag says which struct the node is; its fields are what parsenodes.h says.
        unsafe {
            match self.tag() {
                NodeTag::T_IndexStmt => {
                    let index = &*node.cast::<pg_sys::IndexStmt>();
                    let elements = list::<pg_sys::IndexElem>(index.indexParams)
                        .chain(list(index.indexIncludingParams))
                        .map(|element| (element.name, element.expr.is_null()));
                    let concern = match index.whereClause.is_null() {
                        true => plain(elements),
                        false => Concern::Anything,
                    };
                    seen.add(index.relation, concern);
                }
                NodeTag::T_CreateStatsStmt => {
                    let statistics = &*node.cast::<pg_sys::CreateStatsStmt>();
                    for table in list::<Node>(statistics.relations) {
                        if table.type_ == NodeTag::T_RangeVar {
                            let elements = list::<pg_sys::StatsElem>(statistics.exprs)
                                .map(|element| (element.name, element.expr.is_null()));
                            seen.add(std::ptr::from_ref(table).cast_mut().cast(), plain(elements));
                        }
                    }
                }
                NodeTag::T_CreateTrigStmt => {
                    seen.add((*node.cast::<pg_sys::CreateTrigStmt>()).relation, Concern::Anything);
                }
                NodeTag::T_RuleStmt => {
                    seen.add((*node.cast::<pg_sys::RuleStmt>()).relation, Concern::Anything);
                }
                NodeTag::T_CreatePolicyStmt => {
                    seen.add((*node.cast::<pg_sys::CreatePolicyStmt>()).table, Concern::Anything);
                }
                NodeTag::T_AlterPolicyStmt => {
                    seen.add((*node.cast::<pg_sys::AlterPolicyStmt>()).table, Concern::Anything);
                }
                NodeTag::T_AlterDomainStmt => {
                    let checks = [b'C', b'V'];
                    seen.others = checks.contains(&((*node.cast::<pg_sys::AlterDomainStmt>()).subtype as u8));
                }
                NodeTag::T_AlterTableStmt => {
                    let alter = &*node.cast::<pg_sys::AlterTableStmt>();
                    for command in list::<pg_sys::AlterTableCmd>(alter.cmds) {
                        alters(&mut seen, alter.relation, command);
                    }
                }
                NodeTag::T_CreateStmt => {
                    let create = &*node.cast::<pg_sys::CreateStmt>();
                    if !create.partbound.is_null() {
                        for parent in list::<RangeVar>(create.inhRelations) {
                            seen.add(std::ptr::from_ref(parent).cast_mut(), Concern::Anything);
                        }
                    }
                    for element in list::<Node>(create.tableElts).chain(list(create.constraints)) {
                        match element.type_ {
                            NodeTag::T_ColumnDef => {
                                let column = &*std::ptr::from_ref(element).cast::<pg_sys::ColumnDef>();
                                for constraint in list::<pg_sys::Constraint>(column.constraints) {
                                    references(&mut seen, constraint);
                                }
                            }
                            NodeTag::T_Constraint => {
                                references(&mut seen, &*std::ptr::from_ref(element).cast());
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        seen
    }
}

/// Named columns, if there is nothing but those.
fn plain(elements: impl Iterator<Item = (*mut c_char, bool)>) -> Concern {
    let mut names = Vec::new();
    for (name, is_plain) in elements {
        if name.is_null() || !is_plain {
            return Concern::Anything;
        }
        // SAFETY: names in parse trees are NUL-terminated.
        names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned());
    }
    Concern::Columns(names)
}

/// Columns by a list of String nodes.
fn named(names: *mut pg_sys::List) -> Concern {
    let names = list::<Node>(names).filter_map(string);
    Concern::Columns(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// A foreign key tells whether a value is there.
///
/// # Safety
/// A constraint of a parse tree.
unsafe fn references(seen: &mut Definition, constraint: &pg_sys::Constraint) {
    if constraint.contype != ConstrType::CONSTR_FOREIGN {
        return;
    }
    // The primary key, if none are named: it could be looked up, and a name is soon written.
    let concern = match constraint.pk_attrs.is_null() {
        true => Concern::Anything,
        false => named(constraint.pk_attrs),
    };
    // SAFETY: as the caller promises.
    unsafe { seen.add(constraint.pktable, concern) };
}

/// Commands of ALTER TABLE that look at no values.
const BLIND: [AlterTableType::Type; 42] = {
    use AlterTableType::*;
    [
        AT_ColumnDefault,
        AT_DropNotNull,
        AT_SetNotNull,
        AT_DropExpression,
        AT_SetStatistics,
        AT_SetOptions,
        AT_ResetOptions,
        AT_SetStorage,
        AT_SetCompression,
        AT_DropColumn,
        AT_DropConstraint,
        AT_ChangeOwner,
        AT_ClusterOn,
        AT_DropCluster,
        AT_SetLogged,
        AT_SetUnLogged,
        AT_DropOids,
        AT_SetTableSpace,
        AT_SetRelOptions,
        AT_ResetRelOptions,
        AT_ReplaceRelOptions,
        AT_EnableTrig,
        AT_EnableAlwaysTrig,
        AT_EnableReplicaTrig,
        AT_DisableTrig,
        AT_EnableTrigAll,
        AT_DisableTrigAll,
        AT_EnableTrigUser,
        AT_DisableTrigUser,
        AT_EnableRule,
        AT_DisableRule,
        AT_DropInherit,
        AT_ReplicaIdentity,
        AT_EnableRowSecurity,
        AT_DisableRowSecurity,
        AT_ForceRowSecurity,
        AT_NoForceRowSecurity,
        AT_DetachPartition,
        AT_DetachPartitionFinalize,
        AT_AddIdentity,
        AT_SetIdentity,
        AT_DropIdentity,
    ]
};

/// # Safety
/// A command of ALTER TABLE, and the table it names.
unsafe fn alters(seen: &mut Definition, table: *mut RangeVar, command: &pg_sys::AlterTableCmd) {
    if BLIND.contains(&command.subtype) {
        return;
    }
    // SAFETY: the subtype says what the definition is: a ColumnDef, a Constraint or a PartitionCmd.
    let concern = unsafe {
        if command.subtype == AlterTableType::AT_AddColumn {
            let constraints = (*command.def.cast::<pg_sys::ColumnDef>()).constraints;
            let mut computed = false;
            for constraint in list::<pg_sys::Constraint>(constraints) {
                computed |=
                    [ConstrType::CONSTR_GENERATED, ConstrType::CONSTR_CHECK].contains(&constraint.contype);
                references(seen, constraint);
            }
            if !computed {
                return;
            }
            Concern::Anything
        } else if command.subtype == AlterTableType::AT_AddConstraint {
            let constraint = &*command.def.cast::<pg_sys::Constraint>();
            references(seen, constraint);
            match constraint.contype {
                ConstrType::CONSTR_FOREIGN => named(constraint.fk_attrs),
                ConstrType::CONSTR_UNIQUE | ConstrType::CONSTR_PRIMARY => named(constraint.keys),
                // Whether there are NULLs is no secret.
                ConstrType::CONSTR_NOTNULL => return,
                _ => Concern::Anything,
            }
        } else if command.subtype == AlterTableType::AT_AlterColumnType {
            match (*command.def.cast::<pg_sys::ColumnDef>()).raw_default.is_null() {
                true => plain(std::iter::once((command.name, true))),
                false => Concern::Anything,
            }
        } else {
            if command.subtype == AlterTableType::AT_AttachPartition {
                seen.add((*command.def.cast::<pg_sys::PartitionCmd>()).name, Concern::Anything);
            }
            Concern::Anything
        }
    };
    // SAFETY: as the caller promises.
    unsafe { seen.add(table, concern) };
}
