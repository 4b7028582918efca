//! A view of a utility statement, borrowed for the length of a hook.

use super::query::Place;
use pgrx::pg_sys::{
    self, LogStmtLevel, Node, NodeTag, Oid, ParamListInfo, PlannedStmt, ProcessUtilityContext,
};
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

/// What a utility statement is, as far as anybody here must tell it from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and the like.
    Transaction,
    /// SET and RESET.
    Set,
    /// SHOW.
    Show,
    /// DISCARD, DEALLOCATE, UNLISTEN, CLOSE.
    Session,
    /// LISTEN and NOTIFY: payloads may say anything.
    Messages,
    /// PREPARE, EXECUTE, DECLARE, EXPLAIN: what they run is judged when it runs.
    Wrapper,
    /// FETCH and MOVE.
    Fetch,
    /// DO and CALL.
    Code,
    /// COPY out of a table (`Some`) or a query.
    CopyOut(Option<Oid>),
    /// COPY into a table.
    CopyIn(Option<Oid>),
    Truncate(Vec<Oid>),
    /// LOCK TABLE.
    Lock(Vec<Oid>),
    /// CREATE TABLE AS, CREATE MATERIALIZED VIEW, SELECT INTO.
    CreateAs,
    /// DROP of relations.
    Drops(Vec<Oid>),
    /// DROP SCHEMA, by names.
    DropSchema(Vec<String>),
    /// DROP EXTENSION, by names.
    DropExtension(Vec<String>),
    /// CREATE EXTENSION.
    CreateExtension(String),
    /// ALTER EXTENSION ... ADD or DROP.
    AlterExtensionContents(String),
    /// DROP DATABASE and what else needs a database without connections, by name.
    Database {
        name: String,
        drops: bool,
    },
    /// A definition that hangs something on an existing relation: trigger, rule, policy, view.
    Attaches(Option<Oid>),
    /// ALTER TABLE and its kin.
    Alters(Option<Oid>),
    Other,
}

/// A utility statement about to run.
pub struct Utility<'a> {
    statement: *mut PlannedStmt,
    source: *const c_char,
    context: ProcessUtilityContext::Type,
    parameters: ParamListInfo,
    lifetime: PhantomData<&'a PlannedStmt>,
}

impl<'a> Utility<'a> {
    /// # Safety
    /// The arguments are those of ProcessUtility, used only while the hook runs.
    pub(super) unsafe fn new(
        statement: *mut PlannedStmt,
        source: *const c_char,
        context: ProcessUtilityContext::Type,
        parameters: ParamListInfo,
    ) -> Self {
        Self { statement, source, context, parameters, lifetime: PhantomData }
    }

    pub(super) fn node(&self) -> *mut Node {
        // SAFETY: valid while the hook runs.
        unsafe { (*self.statement).utilityStmt }
    }

    pub(super) fn tag(&self) -> NodeTag {
        // SAFETY: a utility statement has its node.
        unsafe { (*self.node()).type_ }
    }

    pub fn text(&self) -> &'a [u8] {
        let place = self.place();
        super::query::statement_text(self.source, place.location, place.length)
    }

    /// Where it stands in its source text.
    pub fn place(&self) -> Place {
        // SAFETY: valid while the hook runs.
        let (location, length) = unsafe { ((*self.statement).stmt_location, (*self.statement).stmt_len) };
        Place { source: self.source, location, length }
    }

    /// The place in its source text right behind it.
    pub fn end(&self) -> usize {
        // SAFETY: valid while the hook runs.
        super::query::end_of(unsafe { &*self.statement })
    }

    /// The command tag, such as `CREATE TABLE`.
    pub fn command(&self) -> &'static [u8] {
        // SAFETY: the tag's name is a constant of the server.
        unsafe { CStr::from_ptr(pg_sys::GetCommandTagName(pg_sys::CreateCommandTag(self.node()))) }.to_bytes()
    }

    /// Whether the transaction ends with it, if it goes well.
    pub fn closes_transaction(&self) -> bool {
        use pg_sys::TransactionStmtKind::*;
        self.tag() == NodeTag::T_TransactionStmt && {
            // SAFETY: the tag says which struct the node is.
            let kind = unsafe { (*self.node().cast::<pg_sys::TransactionStmt>()).kind };
            [TRANS_STMT_COMMIT, TRANS_STMT_ROLLBACK, TRANS_STMT_PREPARE].contains(&kind)
        }
    }

    /// Whether it is a part of another utility statement: a sub-command of CREATE SCHEMA, a sequence of a table.
    pub fn is_subcommand(&self) -> bool {
        self.context == ProcessUtilityContext::PROCESS_UTILITY_SUBCOMMAND
    }

    pub fn parameters(&self) -> super::parameters::Parameters<'a> {
        super::parameters::Parameters::new(self.parameters)
    }

    /// The cursor that FETCH or MOVE names.
    pub fn cursor(&self) -> Option<&'a [u8]> {
        if self.tag() != NodeTag::T_FetchStmt {
            return None;
        }
        // SAFETY: the tag says which struct the node is; the grammar names a cursor.
        let name = unsafe { CStr::from_ptr((*self.node().cast::<pg_sys::FetchStmt>()).portalname) };
        Some(name.to_bytes())
    }

    /// The cursor that a DECLARE has made to outlive its transaction, and its execution.
    pub fn held_cursor(&self) -> Option<(&'a [u8], usize)> {
        if self.tag() != NodeTag::T_DeclareCursorStmt {
            return None;
        }
        // SAFETY: the tag says which struct the node is; the grammar names a cursor, which is there if the statement
        // has gone well.
        unsafe {
            let declare = self.node().cast::<pg_sys::DeclareCursorStmt>();
            if (*declare).options & pg_sys::CURSOR_OPT_HOLD as i32 == 0 {
                return None;
            }
            let portal = pg_sys::GetPortalByName((*declare).portalname);
            let key = portal.as_ref()?.queryDesc as usize;
            Some((CStr::from_ptr((*declare).portalname).to_bytes(), key))
        }
    }

    /// Whether it is a COPY.
    pub fn copies(&self) -> bool {
        self.tag() == NodeTag::T_CopyStmt
    }

    /// The rows that it has sent so far, if it is a COPY that runs.
    pub(super) fn copied_out(&self) -> u64 {
        // SAFETY: the tag says which struct the node is.
        let copies = unsafe {
            self.tag() == NodeTag::T_CopyStmt && !(*self.node().cast::<pg_sys::CopyStmt>()).is_from
        };
        if copies { super::session::copied_out() } else { 0 }
    }

    /// Whether PostgreSQL counts it among those that change data (log_statement = mod).
    pub fn modifies(&self) -> bool {
        self.level() == LogStmtLevel::LOGSTMT_MOD
    }

    /// Whether PostgreSQL counts it among those that define things (log_statement = ddl).
    pub fn defines(&self) -> bool {
        self.level() == LogStmtLevel::LOGSTMT_DDL
    }

    fn level(&self) -> LogStmtLevel::Type {
        // SAFETY: looks at the statement's node only.
        unsafe { pg_sys::GetCommandLogLevel(self.node()) }
    }

    /// Whether it is about roles and privileges.
    pub fn concerns_roles(&self) -> bool {
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match self.tag() {
                NodeTag::T_GrantStmt
                | NodeTag::T_GrantRoleStmt
                | NodeTag::T_CreateRoleStmt
                | NodeTag::T_AlterRoleStmt
                | NodeTag::T_AlterRoleSetStmt
                | NodeTag::T_DropRoleStmt
                | NodeTag::T_AlterDefaultPrivilegesStmt
                | NodeTag::T_ReassignOwnedStmt
                | NodeTag::T_DropOwnedStmt
                // Who may be whom elsewhere.
                | NodeTag::T_CreateUserMappingStmt
                | NodeTag::T_AlterUserMappingStmt
                | NodeTag::T_DropUserMappingStmt => true,
                NodeTag::T_RenameStmt => {
                    (*self.node().cast::<pg_sys::RenameStmt>()).renameType == pg_sys::ObjectType::OBJECT_ROLE
                }
                _ => false,
            }
        }
    }

    /// Whether it is DISCARD ALL or RESET ALL, by which poolers hand a session on.
    pub fn discards_all(&self) -> bool {
        // SAFETY: the tag says which struct the node is.
        unsafe {
            match self.tag() {
                NodeTag::T_DiscardStmt => {
                    (*self.node().cast::<pg_sys::DiscardStmt>()).target == pg_sys::DiscardMode::DISCARD_ALL
                }
                NodeTag::T_VariableSetStmt => {
                    (*self.node().cast::<pg_sys::VariableSetStmt>()).kind
                        == pg_sys::VariableSetKind::VAR_RESET_ALL
                }
                _ => false,
            }
        }
    }

    /// Whether it prepares a transaction for later, or ends such a one.
    pub fn is_two_phase(&self) -> bool {
        matches!(self.command(), b"PREPARE TRANSACTION" | b"COMMIT PREPARED" | b"ROLLBACK PREPARED")
    }

    /// The setting that SET, RESET or SHOW names, in lower case; and whether it is only put back to
    /// what it was when the session began. RESET ALL names nothing; SET CONSTRAINTS is none of them.
    pub fn setting(&self) -> Option<(String, bool)> {
        // SAFETY: the tag says which struct the node is.
        let (name, resets) = unsafe {
            match self.tag() {
                NodeTag::T_VariableSetStmt => {
                    let set = &*self.node().cast::<pg_sys::VariableSetStmt>();
                    let resets = matches!(
                        set.kind,
                        pg_sys::VariableSetKind::VAR_RESET
                            | pg_sys::VariableSetKind::VAR_RESET_ALL
                            | pg_sys::VariableSetKind::VAR_SET_DEFAULT
                    );
                    (text(set.name), resets)
                }
                NodeTag::T_VariableShowStmt => {
                    (text((*self.node().cast::<pg_sys::VariableShowStmt>()).name), false)
                }
                _ => return None,
            }
        };
        Some((name.to_ascii_lowercase(), resets))
    }

    /// What it is. Looks names up in the catalogs, so call it only in a transaction that can.
    pub fn kind(&self) -> Kind {
        let node = self.node();
        // SAFETY: the tag says which struct the node is; its fields are nodes, lists or strings of the statement.
        unsafe {
            match self.tag() {
                NodeTag::T_TransactionStmt => Kind::Transaction,
                NodeTag::T_VariableSetStmt | NodeTag::T_ConstraintsSetStmt => Kind::Set,
                NodeTag::T_VariableShowStmt => Kind::Show,
                NodeTag::T_DiscardStmt
                | NodeTag::T_DeallocateStmt
                | NodeTag::T_UnlistenStmt
                | NodeTag::T_ClosePortalStmt => Kind::Session,
                NodeTag::T_ListenStmt | NodeTag::T_NotifyStmt => Kind::Messages,
                NodeTag::T_PrepareStmt
                | NodeTag::T_ExecuteStmt
                | NodeTag::T_DeclareCursorStmt
                | NodeTag::T_ExplainStmt => Kind::Wrapper,
                NodeTag::T_FetchStmt => Kind::Fetch,
                NodeTag::T_DoStmt | NodeTag::T_CallStmt => Kind::Code,
                NodeTag::T_CopyStmt => {
                    let copy = &*node.cast::<pg_sys::CopyStmt>();
                    if copy.is_from {
                        Kind::CopyIn(relid(copy.relation))
                    } else {
                        Kind::CopyOut(relid(copy.relation))
                    }
                }
                NodeTag::T_TruncateStmt => {
                    Kind::Truncate(relids((*node.cast::<pg_sys::TruncateStmt>()).relations))
                }
                NodeTag::T_LockStmt => Kind::Lock(relids((*node.cast::<pg_sys::LockStmt>()).relations)),
                NodeTag::T_CreateTableAsStmt => Kind::CreateAs,
                NodeTag::T_DropStmt => {
                    let drop = &*node.cast::<pg_sys::DropStmt>();
                    match drop.removeType {
                        pg_sys::ObjectType::OBJECT_EXTENSION => Kind::DropExtension(strings(drop.objects)),
                        pg_sys::ObjectType::OBJECT_SCHEMA => Kind::DropSchema(strings(drop.objects)),
                        pg_sys::ObjectType::OBJECT_TABLE
                        | pg_sys::ObjectType::OBJECT_VIEW
                        | pg_sys::ObjectType::OBJECT_INDEX
                        | pg_sys::ObjectType::OBJECT_MATVIEW
                        | pg_sys::ObjectType::OBJECT_FOREIGN_TABLE
                        | pg_sys::ObjectType::OBJECT_SEQUENCE => Kind::Drops(
                            super::query::list::<pg_sys::List>(drop.objects)
                                .filter_map(|name| {
                                    relid(pg_sys::makeRangeVarFromNameList(
                                        std::ptr::from_ref(name).cast_mut(),
                                    ))
                                })
                                .collect(),
                        ),
                        _ => Kind::Other,
                    }
                }
                NodeTag::T_CreateExtensionStmt => {
                    Kind::CreateExtension(text((*node.cast::<pg_sys::CreateExtensionStmt>()).extname))
                }
                NodeTag::T_AlterExtensionContentsStmt => Kind::AlterExtensionContents(text(
                    (*node.cast::<pg_sys::AlterExtensionContentsStmt>()).extname,
                )),
                NodeTag::T_DropdbStmt => {
                    Kind::Database { name: text((*node.cast::<pg_sys::DropdbStmt>()).dbname), drops: true }
                }
                NodeTag::T_AlterDatabaseStmt => Kind::Database {
                    name: text((*node.cast::<pg_sys::AlterDatabaseStmt>()).dbname),
                    drops: false,
                },
                NodeTag::T_CreatedbStmt => {
                    // The template, which must be idle, may be named by an option; template1 is the default.
                    let create = &*node.cast::<pg_sys::CreatedbStmt>();
                    let template = super::query::list::<pg_sys::DefElem>(create.options)
                        .find(|option| text(option.defname) == "template")
                        .and_then(|option| super::query::string(option.arg.as_ref()?))
                        .map_or_else(|| "template1".into(), |name| name.to_string_lossy().into_owned());
                    Kind::Database { name: template, drops: false }
                }
                NodeTag::T_RenameStmt => {
                    let rename = &*node.cast::<pg_sys::RenameStmt>();
                    match rename.renameType {
                        pg_sys::ObjectType::OBJECT_DATABASE => {
                            Kind::Database { name: text(rename.subname), drops: false }
                        }
                        _ => Kind::Alters(relid(rename.relation)),
                    }
                }
                NodeTag::T_CreateTrigStmt => {
                    Kind::Attaches(relid((*node.cast::<pg_sys::CreateTrigStmt>()).relation))
                }
                NodeTag::T_RuleStmt => Kind::Attaches(relid((*node.cast::<pg_sys::RuleStmt>()).relation)),
                NodeTag::T_CreatePolicyStmt => {
                    Kind::Attaches(relid((*node.cast::<pg_sys::CreatePolicyStmt>()).table))
                }
                NodeTag::T_ViewStmt => Kind::Attaches(relid((*node.cast::<pg_sys::ViewStmt>()).view)),
                NodeTag::T_AlterTableStmt => {
                    Kind::Alters(relid((*node.cast::<pg_sys::AlterTableStmt>()).relation))
                }
                NodeTag::T_IndexStmt => Kind::Alters(relid((*node.cast::<pg_sys::IndexStmt>()).relation)),
                _ => Kind::Other,
            }
        }
    }
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

/// The texts of a list of String nodes.
fn strings(nodes: *mut pg_sys::List) -> Vec<String> {
    let strings = super::query::list::<Node>(nodes).filter_map(super::query::string);
    strings.map(|text| text.to_string_lossy().into_owned()).collect()
}

/// The relation of this name, if there is one. It judges nothing, neither rights nor whether the name makes
/// sense: whoever carries the statement out says so in his own words, and after looking at other things first.
///
/// # Safety
/// NULL or a RangeVar.
pub(super) unsafe fn relid(name: *mut pg_sys::RangeVar) -> Option<Oid> {
    // SAFETY: as the caller promises.
    unsafe {
        let name = name.as_ref()?;
        let here = || text(pg_sys::get_database_name(pg_sys::MyDatabaseId));
        if !name.catalogname.is_null() && text(name.catalogname) != here() {
            return None;
        }
        let temporary = name.relpersistence == pg_sys::RELPERSISTENCE_TEMP as c_char;
        let schema = match name.schemaname.is_null() {
            true => temporary.then_some(c"pg_temp"),
            false => Some(CStr::from_ptr(name.schemaname)),
        };
        super::catalog::visible_relation(schema, CStr::from_ptr(name.relname))
    }
}

/// # Safety
/// A list of RangeVars.
pub(super) unsafe fn relids(names: *mut pg_sys::List) -> Vec<Oid> {
    // SAFETY: as the caller promises.
    super::query::list::<pg_sys::RangeVar>(names)
        .filter_map(|name| unsafe { relid(std::ptr::from_ref(name).cast_mut()) })
        .collect()
}
