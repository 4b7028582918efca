//! What a statement that defines or maintains something works on.

use super::utility::{Utility, relid};
use super::{catalog, query};
use pgrx::pg_sys::{self, List, Node, NodeTag, Oid, RangeVar};
use std::ffi::CStr;

/// Where something is defined or maintained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ddl {
    /// Makes nothing but what this session alone sees, of nothing that runs code: a plain temporary table, a
    /// temporary view or sequence, an index of columns.
    Temporary,
    /// Makes something in a schema.
    In(Oid),
    /// Works on relations that are there, and on nothing else.
    On(Vec<Oid>),
    /// On the database, or on what is not told here.
    Database,
}

impl Utility<'_> {
    /// What it works on. Looks names up, as [`Utility::kind`] does.
    pub fn ddl(&self) -> Ddl {
        let node = self.node();
        // SAFETY: the tag says which struct the node is; its fields are nodes, lists or strings of the statement.
        unsafe {
            match self.tag() {
                NodeTag::T_CreateStmt => {
                    let create = &*node.cast::<pg_sys::CreateStmt>();
                    let alone = create.inhRelations.is_null()
                        && create.partbound.is_null()
                        && create.ofTypename.is_null();
                    match made(create.relation) {
                        Ddl::Temporary if !(alone && is_plain(create)) => Ddl::Database,
                        Ddl::In(_) if !alone => Ddl::Database,
                        at => at,
                    }
                }
                NodeTag::T_CreateTableAsStmt | NodeTag::T_ExplainStmt => {
                    match self.creation().and_then(|creation| creation.into.as_ref()) {
                        Some(into) => made(into.rel),
                        None => Ddl::Database,
                    }
                }
                NodeTag::T_ViewStmt => {
                    let view = (*node.cast::<pg_sys::ViewStmt>()).view;
                    match relid(view) {
                        // It may be replaced.
                        Some(relid) => Ddl::On(vec![relid]),
                        None => made(view),
                    }
                }
                NodeTag::T_CreateSeqStmt => {
                    let create = &*node.cast::<pg_sys::CreateSeqStmt>();
                    made(create.sequence)
                }
                NodeTag::T_CompositeTypeStmt => made((*node.cast::<pg_sys::CompositeTypeStmt>()).typevar),
                NodeTag::T_CreateFunctionStmt => named((*node.cast::<pg_sys::CreateFunctionStmt>()).funcname),
                NodeTag::T_CreateEnumStmt => named((*node.cast::<pg_sys::CreateEnumStmt>()).typeName),
                NodeTag::T_CreateRangeStmt => named((*node.cast::<pg_sys::CreateRangeStmt>()).typeName),
                NodeTag::T_CreateDomainStmt => named((*node.cast::<pg_sys::CreateDomainStmt>()).domainname),
                NodeTag::T_IndexStmt => {
                    let index = &*node.cast::<pg_sys::IndexStmt>();
                    let plain = index.whereClause.is_null()
                        && query::list::<pg_sys::IndexElem>(index.indexParams).all(|of| of.expr.is_null());
                    match relid(index.relation) {
                        Some(relid) if plain || !is_temporary(relid) => on(vec![relid], 1),
                        _ => Ddl::Database,
                    }
                }
                NodeTag::T_DropStmt => {
                    let drop = &*node.cast::<pg_sys::DropStmt>();
                    use pg_sys::ObjectType::*;
                    let relations = [
                        OBJECT_TABLE,
                        OBJECT_VIEW,
                        OBJECT_INDEX,
                        OBJECT_MATVIEW,
                        OBJECT_FOREIGN_TABLE,
                        OBJECT_SEQUENCE,
                    ];
                    // What goes with them may be anywhere.
                    if drop.behavior == pg_sys::DropBehavior::DROP_CASCADE
                        || !relations.contains(&drop.removeType)
                    {
                        return Ddl::Database;
                    }
                    let names: Vec<&List> = query::list::<List>(drop.objects).collect();
                    let found = names.iter().filter_map(|name| {
                        relid(pg_sys::makeRangeVarFromNameList(std::ptr::from_ref(*name).cast_mut()))
                    });
                    on(found.collect(), names.len())
                }
                NodeTag::T_VacuumStmt => {
                    let vacuum = &*node.cast::<pg_sys::VacuumStmt>();
                    let named: Vec<*mut RangeVar> =
                        query::list::<pg_sys::VacuumRelation>(vacuum.rels).map(|of| of.relation).collect();
                    on(named.iter().filter_map(|name| relid(*name)).collect(), named.len())
                }
                NodeTag::T_ClusterStmt => one((*node.cast::<pg_sys::ClusterStmt>()).relation),
                NodeTag::T_ReindexStmt => one((*node.cast::<pg_sys::ReindexStmt>()).relation),
                NodeTag::T_RefreshMatViewStmt => one((*node.cast::<pg_sys::RefreshMatViewStmt>()).relation),
                _ => Ddl::Database,
            }
        }
    }

    /// Whether it is NOTIFY.
    pub fn notifies(&self) -> bool {
        self.tag() == NodeTag::T_NotifyStmt
    }

    /// Whether objects may be called otherwise after it, or be gone.
    pub fn moves_names(&self) -> bool {
        matches!(
            self.tag(),
            NodeTag::T_RenameStmt
                | NodeTag::T_DropStmt
                | NodeTag::T_DropOwnedStmt
                | NodeTag::T_AlterTableStmt
                | NodeTag::T_AlterObjectSchemaStmt
        )
    }
}

/// Whether a relation is of a session's own.
fn is_temporary(relid: Oid) -> bool {
    // SAFETY: a system cache lookup.
    unsafe { pg_sys::get_rel_persistence(relid) as u8 == pg_sys::RELPERSISTENCE_TEMP }
}

/// On relations, if as many were found as were named. An index counts as its table.
fn on(found: Vec<Oid>, named: usize) -> Ddl {
    if found.is_empty() || found.len() != named {
        return Ddl::Database;
    }
    if found.iter().all(|relid| is_temporary(*relid)) {
        return Ddl::Temporary;
    }
    let table = |relid: Oid| match catalog::relation_kind(relid) {
        // SAFETY: a system cache lookup; InvalidOid for what is no index.
        Some(b'i' | b'I') => unsafe { pg_sys::IndexGetRelation(relid, true) },
        _ => relid,
    };
    Ddl::On(found.into_iter().map(table).collect())
}

/// # Safety
/// NULL or a RangeVar.
unsafe fn one(name: *mut RangeVar) -> Ddl {
    if name.is_null() {
        return Ddl::Database;
    }
    // SAFETY: as the caller promises.
    on(unsafe { relid(name) }.into_iter().collect(), 1)
}

/// Where a new relation goes.
///
/// # Safety
/// NULL or a RangeVar.
unsafe fn made(name: *mut RangeVar) -> Ddl {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(name) = name.as_ref() else { return Ddl::Database };
        if name.relpersistence as u8 == pg_sys::RELPERSISTENCE_TEMP {
            return Ddl::Temporary;
        }
        match name.schemaname.is_null() {
            true => first(),
            false => schema(CStr::from_ptr(name.schemaname)),
        }
    }
}

/// Where something new of a dotted name goes.
fn named(name: *mut List) -> Ddl {
    let parts: Vec<&CStr> = query::list::<Node>(name).filter_map(query::string).collect();
    match parts.as_slice() {
        [_] => first(),
        [of, _] => schema(of),
        _ => Ddl::Database,
    }
}

fn schema(name: &CStr) -> Ddl {
    match name.to_str().ok().and_then(catalog::namespace) {
        Some(_) if name == c"pg_temp" => Ddl::Database,
        Some(schema) => Ddl::In(schema),
        None => Ddl::Database,
    }
}

/// The schema in which what names none is made.
fn first() -> Ddl {
    // SAFETY: the search path as the backend has it, a list of OIDs.
    unsafe {
        let path = pg_sys::fetch_search_path(false);
        match path.is_null() || (*path).length < 1 {
            true => Ddl::Database,
            false => Ddl::In((*(*path).elements).oid_value),
        }
    }
}

/// Whether a table has columns and nothing that computes.
unsafe fn is_plain(create: &pg_sys::CreateStmt) -> bool {
    // SAFETY: the columns of a CREATE TABLE, each with its constraints.
    unsafe {
        query::list::<Node>(create.tableElts).all(|element| match element.type_ {
            NodeTag::T_ColumnDef => {
                let column = &*std::ptr::from_ref(element).cast::<pg_sys::ColumnDef>();
                column.raw_default.is_null()
                    && query::list::<pg_sys::Constraint>(column.constraints).all(computes_nothing)
            }
            NodeTag::T_Constraint => {
                computes_nothing(&*std::ptr::from_ref(element).cast::<pg_sys::Constraint>())
            }
            // LIKE with its options brings along what others have.
            NodeTag::T_TableLikeClause => {
                (*std::ptr::from_ref(element).cast::<pg_sys::TableLikeClause>()).options == 0
            }
            _ => false,
        })
    }
}

fn computes_nothing(constraint: &pg_sys::Constraint) -> bool {
    use pg_sys::ConstrType::*;
    [CONSTR_NULL, CONSTR_NOTNULL, CONSTR_PRIMARY, CONSTR_UNIQUE, CONSTR_IDENTITY]
        .contains(&constraint.contype)
        && constraint.raw_expr.is_null()
}
