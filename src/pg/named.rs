//! What a utility statement names, for its record; and what kind it is of as far as only the record asks.

use super::catalog;
use super::query::{list, string};
use super::utility::{Utility, relid, relids};
use pgrx::pg_sys::{self, Node, NodeTag, Oid};
use std::ffi::CStr;

impl Utility<'_> {
    /// Whether it only carries a statement of the client's own, which has a record of its own.
    pub fn carries(&self) -> bool {
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match self.tag() {
                NodeTag::T_ExecuteStmt
                | NodeTag::T_ExplainStmt
                | NodeTag::T_DeclareCursorStmt
                | NodeTag::T_FetchStmt
                | NodeTag::T_CreateTableAsStmt
                | NodeTag::T_RefreshMatViewStmt => true,
                NodeTag::T_CopyStmt => (*self.node().cast::<pg_sys::CopyStmt>()).relation.is_null(),
                _ => false,
            }
        }
    }

    /// Whether it hands a query over to be read from: DECLARE and PREPARE, as PostgreSQL sorts that query.
    pub fn offers(&self) -> bool {
        matches!(self.tag(), NodeTag::T_DeclareCursorStmt | NodeTag::T_PrepareStmt)
    }

    /// Whether it is EXECUTE: what it runs is recorded by itself.
    pub fn executes(&self) -> bool {
        self.tag() == NodeTag::T_ExecuteStmt
    }

    /// Whether it names objects, and does something to them of which the server tells nobody.
    pub fn names_silently(&self) -> bool {
        matches!(
            self.tag(),
            NodeTag::T_CommentStmt
                | NodeTag::T_SecLabelStmt
                | NodeTag::T_GrantStmt
                | NodeTag::T_GrantRoleStmt
                | NodeTag::T_ReassignOwnedStmt
                | NodeTag::T_DropOwnedStmt
                | NodeTag::T_AlterRoleSetStmt
                | NodeTag::T_AlterDatabaseSetStmt
                | NodeTag::T_AlterTableStmt
        )
    }

    /// Whether it is ALTER of a relation: what it does to it is mostly told, but not always.
    pub fn alters_relation(&self) -> bool {
        self.tag() == NodeTag::T_AlterTableStmt
    }

    /// The relations that it names and that exist, for the record, beside those of its kind.
    pub fn relations(&self) -> Vec<Oid> {
        let node = self.node();
        // SAFETY: the tag says which struct the node is; its fields are RangeVars, or lists of what is said here.
        unsafe {
            match self.tag() {
                NodeTag::T_RefreshMatViewStmt => {
                    relid((*node.cast::<pg_sys::RefreshMatViewStmt>()).relation).into_iter().collect()
                }
                NodeTag::T_ClusterStmt => {
                    relid((*node.cast::<pg_sys::ClusterStmt>()).relation).into_iter().collect()
                }
                NodeTag::T_ReindexStmt => {
                    relid((*node.cast::<pg_sys::ReindexStmt>()).relation).into_iter().collect()
                }
                NodeTag::T_AlterSeqStmt => {
                    relid((*node.cast::<pg_sys::AlterSeqStmt>()).sequence).into_iter().collect()
                }
                NodeTag::T_AlterObjectSchemaStmt => {
                    relid((*node.cast::<pg_sys::AlterObjectSchemaStmt>()).relation).into_iter().collect()
                }
                NodeTag::T_AlterPolicyStmt => {
                    relid((*node.cast::<pg_sys::AlterPolicyStmt>()).table).into_iter().collect()
                }
                // ATTACH and DETACH PARTITION, INHERIT and NO INHERIT.
                NodeTag::T_AlterTableStmt => {
                    list::<pg_sys::AlterTableCmd>((*node.cast::<pg_sys::AlterTableStmt>()).cmds)
                        .filter_map(|command| {
                            let part = command.def.as_ref()?;
                            match part.type_ {
                                NodeTag::T_RangeVar => relid(command.def.cast()),
                                NodeTag::T_PartitionCmd => {
                                    relid((*command.def.cast::<pg_sys::PartitionCmd>()).name)
                                }
                                _ => None,
                            }
                        })
                        .collect()
                }
                NodeTag::T_VacuumStmt => {
                    list::<pg_sys::VacuumRelation>((*node.cast::<pg_sys::VacuumStmt>()).rels)
                        .filter_map(|named| relid(named.relation))
                        .collect()
                }
                NodeTag::T_GrantStmt => {
                    let grant = &*node.cast::<pg_sys::GrantStmt>();
                    let relations = [pg_sys::ObjectType::OBJECT_TABLE, pg_sys::ObjectType::OBJECT_SEQUENCE];
                    match grant.targtype == pg_sys::GrantTargetType::ACL_TARGET_OBJECT
                        && relations.contains(&grant.objtype)
                    {
                        true => relids(grant.objects),
                        false => Vec::new(),
                    }
                }
                // Policies, rules and triggers: the name of the table, then their own.
                NodeTag::T_DropStmt => {
                    let drop = &*node.cast::<pg_sys::DropStmt>();
                    let hangs_on = [
                        pg_sys::ObjectType::OBJECT_POLICY,
                        pg_sys::ObjectType::OBJECT_RULE,
                        pg_sys::ObjectType::OBJECT_TRIGGER,
                    ];
                    if !hangs_on.contains(&drop.removeType) {
                        return Vec::new();
                    }
                    list::<pg_sys::List>(drop.objects)
                        .filter_map(|name| {
                            let parts: Vec<&Node> =
                                list::<Node>(std::ptr::from_ref(name).cast_mut()).collect();
                            let (_, table) = parts.split_last()?;
                            let (table, schema) = table.split_last()?;
                            let schema = schema.last().and_then(|schema| string(schema));
                            catalog::visible_relation(schema, string(table)?)
                        })
                        .collect()
                }
                _ => Vec::new(),
            }
        }
    }

    /// The columns that COPY of a table names, in the database's encoding; none for all of them.
    pub fn copied_columns(&self) -> Vec<&[u8]> {
        match self.tag() {
            // SAFETY: the tag says which struct the node is; the list holds Strings.
            NodeTag::T_CopyStmt => unsafe {
                list::<Node>((*self.node().cast::<pg_sys::CopyStmt>()).attlist)
                    .filter_map(|column| string(column).map(CStr::to_bytes))
                    .collect()
            },
            _ => Vec::new(),
        }
    }
}
