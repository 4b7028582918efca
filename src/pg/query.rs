//! Views of statements, borrowed for the length of a hook.

use super::harmless::{Catalog, Harmless};
use super::{raw, version};
use pgrx::pg_sys::{self, Bitmapset, CmdType, List, Node, NodeTag, Oid, PlannedStmt, Query, QueryDesc};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::marker::PhantomData;

/// The elements of a PostgreSQL list of nodes.
pub(super) fn list<'a, T: 'a>(list: *mut List) -> impl Iterator<Item = &'a T> {
    // SAFETY: a List that belongs to the statement we look at; elements are nodes of the type the caller knows.
    let elements = unsafe {
        match list.as_ref() {
            Some(list) => std::slice::from_raw_parts(list.elements, list.length as usize),
            None => &[],
        }
    };
    // SAFETY: as above.
    elements.iter().map(|cell| unsafe { &*cell.ptr_value.cast::<T>() })
}

/// The characters of a String node; `None` if it is another one.
pub(super) fn string(node: &Node) -> Option<&CStr> {
    // SAFETY: the tag says that the node is a String, whose characters live as long as it does.
    (node.type_ == NodeTag::T_String)
        .then(|| unsafe { CStr::from_ptr(version::string_value(std::ptr::from_ref(node))) })
}

/// A relation as the executor will check it.
#[derive(Debug, Clone, Copy)]
pub(super) struct RawRelation {
    pub relid: Oid,
    /// ACL bits; 32 of them up to 15, 64 from 16 on.
    pub permissions: u64,
    pub check_as: Oid,
    pub selected: *mut Bitmapset,
    pub inserted: *mut Bitmapset,
    pub updated: *mut Bitmapset,
    pub limits: u64,
}

/// What a statement does with a relation, and with which of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationUse {
    pub relid: Oid,
    pub select: bool,
    pub insert: bool,
    pub update: bool,
    pub delete: bool,
    pub truncate: bool,
    /// The owner of the view whose rights are used, when it is not the current user.
    pub through: Option<Oid>,
    /// Columns read; 0 stands for the whole row.
    pub selected: Vec<i16>,
    /// Columns inserted or updated; 0 stands for the whole row.
    pub written: Vec<i16>,
    /// For which limits of its rows it was planned (see [`super::row_filter`]); 0 for none.
    pub limits: u64,
}

impl From<RawRelation> for RelationUse {
    fn from(raw: RawRelation) -> Self {
        let wants = |privilege: u32| raw.permissions & u64::from(privilege) != 0;
        let foreign = raw.check_as != pg_sys::InvalidOid && raw.check_as != super::session::current_user();
        let mut written = columns(raw.inserted);
        written.extend(columns(raw.updated));
        written.sort_unstable();
        written.dedup();
        Self {
            relid: raw.relid,
            select: wants(pg_sys::ACL_SELECT),
            insert: wants(pg_sys::ACL_INSERT),
            update: wants(pg_sys::ACL_UPDATE),
            delete: wants(pg_sys::ACL_DELETE),
            truncate: wants(pg_sys::ACL_TRUNCATE),
            through: foreign.then_some(raw.check_as),
            selected: columns(raw.selected),
            written,
            limits: raw.limits,
        }
    }
}

fn words<'a>(set: *mut Bitmapset) -> &'a [pg_sys::bitmapword] {
    // SAFETY: NULL or a Bitmapset of nwords words, part of the statement we look at.
    unsafe {
        match set.as_ref() {
            Some(set) => std::slice::from_raw_parts(set.words.as_ptr(), set.nwords as usize),
            None => &[],
        }
    }
}

/// Members of a set of columns; it counts from FirstLowInvalidHeapAttributeNumber.
pub(super) fn columns(set: *mut Bitmapset) -> Vec<i16> {
    let mut out = Vec::new();
    for (index, word) in words(set).iter().enumerate() {
        let mut rest = *word;
        while rest != 0 {
            let bit = index as i32 * pg_sys::bitmapword::BITS as i32 + rest.trailing_zeros() as i32;
            out.push((bit + pg_sys::FirstLowInvalidHeapAttributeNumber) as i16);
            rest &= rest - 1;
        }
    }
    out
}

/// What kind of statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    Other,
}

impl Command {
    fn of(command: CmdType::Type) -> Self {
        match command {
            CmdType::CMD_SELECT => Self::Select,
            CmdType::CMD_INSERT => Self::Insert,
            CmdType::CMD_UPDATE => Self::Update,
            CmdType::CMD_DELETE => Self::Delete,
            #[cfg(not(feature = "pg14"))]
            CmdType::CMD_MERGE => Self::Merge,
            _ => Self::Other,
        }
    }

    /// The command's tag.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Merge => "MERGE",
            Self::Other => "UNKNOWN",
        }
    }
}

/// Where a utility statement stands in its source text, while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) source: *const c_char,
    pub(super) location: c_int,
    pub(super) length: c_int,
}

/// The part of a source text that is this statement: a string may hold several.
pub(super) fn statement_text<'a>(source: *const c_char, location: c_int, length: c_int) -> &'a [u8] {
    if source.is_null() {
        return b"";
    }
    // SAFETY: the source text of a statement is NUL-terminated and lives as long as the statement.
    let text = unsafe { CStr::from_ptr(source) }.to_bytes();
    let text = text.get(usize::try_from(location).unwrap_or(0)..).unwrap_or(text);
    let text = match usize::try_from(length) {
        Ok(length) if length > 0 => text.get(..length).unwrap_or(text),
        _ => text,
    };
    text.trim_ascii()
}

/// Where a statement ends in its source text; `usize::MAX` for the end of that.
pub(super) fn end_of(statement: &PlannedStmt) -> usize {
    let start = usize::try_from(statement.stmt_location).unwrap_or(0);
    match usize::try_from(statement.stmt_len) {
        Ok(length) if length > 0 => start + length,
        _ => usize::MAX,
    }
}

/// A statement whose plan is about to be executed.
pub struct Planned<'a> {
    desc: *mut QueryDesc,
    plan: &'a PlannedStmt,
}

impl<'a> Planned<'a> {
    /// # Safety
    /// `desc` is the argument of an executor hook, used only while the hook runs.
    pub(super) unsafe fn new(desc: *mut QueryDesc) -> Self {
        // SAFETY: a QueryDesc always has its PlannedStmt.
        Self { desc, plan: unsafe { &*(*desc).plannedstmt } }
    }

    /// The plan itself.
    pub(super) fn plan(&self) -> &'a PlannedStmt {
        self.plan
    }

    /// Names this execution until its end.
    pub fn key(&self) -> usize {
        self.desc as usize
    }

    /// Its text, or that of the utility statement it is a part of, which stands at `within`: such a part does not
    /// know its place among the statements of a string.
    pub fn text(&self, within: Option<Place>) -> &'a [u8] {
        // SAFETY: `desc` is valid while the hook runs.
        let source = unsafe { (*self.desc).sourceText };
        let (location, length) = (self.plan.stmt_location, self.plan.stmt_len);
        // SAFETY: the utility statement runs, so its text is there; a cursor has a copy of it.
        let is_part = |place: &Place| unsafe {
            location <= 0
                && length == 0
                && !place.source.is_null()
                && !source.is_null()
                && (place.source == source || CStr::from_ptr(place.source) == CStr::from_ptr(source))
        };
        match within.filter(is_part) {
            Some(place) => statement_text(source, place.location, place.length),
            None => statement_text(source, location, length),
        }
    }

    /// The place in its source text right behind it.
    pub fn end(&self) -> usize {
        end_of(self.plan)
    }

    pub fn command(&self) -> Command {
        Command::of(self.plan.commandType)
    }

    /// Whether it changes data, be it in a CTE.
    pub fn writes(&self) -> bool {
        self.plan.hasModifyingCTE || self.plan.commandType != CmdType::CMD_SELECT
    }

    /// The relations whose privileges count.
    pub fn relations(&self) -> Vec<RelationUse> {
        let mut out = Vec::new();
        self.each_raw(|raw| out.push(raw.into()));
        out
    }

    /// Calls `each` with the OID of every such relation, in order.
    pub fn each_relid(&self, mut each: impl FnMut(Oid)) {
        self.each_raw(|raw| each(raw.relid));
    }

    fn each_raw(&self, each: impl FnMut(RawRelation)) {
        version::each_relation(self.plan.rtable, version::planned_permissions(self.plan), each);
    }

    /// Whether it names any relation whose privileges count.
    pub fn names_relations(&self) -> bool {
        let mut any = false;
        self.each_raw(|_| any = true);
        any
    }

    /// Whether it reads relations among `catalogs`, no other, and writes nothing.
    pub fn only_reads(&self, catalogs: &[Catalog]) -> bool {
        let (mut any, mut other) = (false, self.writes());
        self.each_raw(|raw| {
            any = true;
            other |= !catalogs.iter().any(|catalog| catalog.relid == raw.relid);
        });
        any && !other
    }

    /// Whether it only reads relations among `catalogs` and `views`, and what those views read.
    pub fn only_looks_at(&self, catalogs: &[Catalog], views: &[Oid]) -> bool {
        let (mut any, mut other) = (false, self.writes());
        self.each_raw(|raw| {
            any = true;
            let listed = views.contains(&raw.relid)
                || catalogs.iter().any(|catalog| catalog.relid == raw.relid)
                // In a view owner's right, and all views are listed.
                || raw.check_as != Oid::INVALID;
            other |= !listed || raw.permissions != u64::from(pg_sys::ACL_SELECT);
        });
        any && !other
    }

    /// Calls `each` with every relation that it inserts into, updates or deletes from.
    ///
    /// Rows that are locked count as written: their marks are.
    pub fn each_written(&self, mut each: impl FnMut(Oid)) {
        const WRITES: u64 = (pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE | pg_sys::ACL_DELETE) as u64;
        if self.writes() || !self.plan.rowMarks.is_null() {
            self.each_raw(|raw| {
                if raw.permissions & WRITES != 0 {
                    each(raw.relid);
                }
            });
        }
    }

    /// As [`Planned::calls_any`], for functions that did not come with the server. The planner lists
    /// those, so that a change of one makes the plan invalid (setrefs.c: record_plan_function_dependency);
    /// most plans have no such list, and nothing is searched.
    pub fn calls_any_added(&self, functions: &[Oid]) -> bool {
        !self.plan.invalItems.is_null() && self.calls_any(functions)
    }

    /// Whether it only calls functions that did not come with the server: it names no relation.
    pub fn calls_added(&self) -> bool {
        !self.plan.invalItems.is_null()
            && !self.writes()
            && !self.names_relations()
            && self.search(Search { functions: &[], added: true, found: false })
    }

    /// Whether what it returns is computed by one of `functions`, at the top of its plan.
    pub fn calls_any(&self, functions: &[Oid]) -> bool {
        self.search(Search { functions, added: false, found: false })
    }

    fn search(&self, mut search: Search<'_>) -> bool {
        let context = (&raw mut search).cast::<c_void>();
        // SAFETY: a planned statement has a plan tree; its nodes belong to it; the walker only looks.
        unsafe {
            let Some(tree) = self.plan.planTree.as_ref() else { return false };
            version::walk(tree.targetlist.cast(), Search::walker, context);
            if tree.type_ == NodeTag::T_FunctionScan {
                let scan = self.plan.planTree.cast::<pg_sys::FunctionScan>();
                version::walk((*scan).functions.cast(), Search::walker, context);
            }
        }
        search.found
    }

    /// Appends bytes that tell apart statements that use relations or columns differently.
    pub fn fingerprint(&self, out: &mut Vec<u8>) {
        self.each_raw(|raw| {
            out.extend_from_slice(&raw.relid.to_u32().to_le_bytes());
            out.extend_from_slice(&raw.permissions.to_le_bytes());
            for set in [raw.selected, raw.inserted, raw.updated] {
                let words = words(set);
                out.push(words.len() as u8);
                for word in words {
                    out.extend_from_slice(&word.to_le_bytes());
                }
            }
        });
    }

    /// Rows processed since the executor was last run.
    pub fn processed(&self) -> u64 {
        // SAFETY: `desc` is valid while the hook runs; without an EState nothing was processed.
        unsafe { (*self.desc).estate.as_ref().map_or(0, |state| state.es_processed) }
    }

    /// The values of its parameters.
    pub fn parameters(&self) -> super::parameters::Parameters<'a> {
        // SAFETY: `desc` is valid while the hook runs.
        super::parameters::Parameters::new(unsafe { (*self.desc).params })
    }

    /// Whether it only calls functions among `allowed`, with constants and parameters.
    pub fn only_calls(&self, allowed: &[Oid]) -> bool {
        let plan = self.plan;
        // SAFETY: a planned statement has a plan tree; its nodes belong to it.
        unsafe {
            let Some(tree) = plan.planTree.as_ref() else { return false };
            let quals = match tree.type_ {
                NodeTag::T_Result => (*plan.planTree.cast::<pg_sys::Result>()).resconstantqual,
                NodeTag::T_FunctionScan => {
                    let scan = &*plan.planTree.cast::<pg_sys::FunctionScan>();
                    if !Harmless::calls_only(scan.functions.cast(), allowed) {
                        return false;
                    }
                    std::ptr::null_mut()
                }
                _ => return false,
            };
            quals.is_null()
                && tree.lefttree.is_null()
                && tree.righttree.is_null()
                && tree.initPlan.is_null()
                && tree.qual.is_null()
                && plan.subplans.is_null()
                && !plan.hasModifyingCTE
                && plan.commandType == CmdType::CMD_SELECT
                && plan.rowMarks.is_null()
                && Harmless::calls_only(tree.targetlist.cast(), allowed)
        }
    }
}

/// A statement that was analysed or rewritten, and not yet planned.
pub struct Analysed<'a> {
    query: *mut Query,
    source: *const c_char,
    lifetime: PhantomData<&'a Query>,
}

impl<'a> Analysed<'a> {
    /// # Safety
    /// `query` and `source` are the arguments of a hook, used only while the hook runs.
    pub(super) unsafe fn new(query: *mut Query, source: *const c_char) -> Self {
        Self { query, source, lifetime: PhantomData }
    }

    /// The query itself, for who alters it.
    pub(super) fn node(&self) -> *mut Node {
        self.query.cast()
    }

    fn get(&self) -> &'a Query {
        // SAFETY: valid while the hook runs.
        unsafe { &*self.query }
    }

    pub fn text(&self) -> &'a [u8] {
        statement_text(self.source, self.get().stmt_location, self.get().stmt_len)
    }

    pub fn command(&self) -> Command {
        Command::of(self.get().commandType)
    }

    pub fn writes(&self) -> bool {
        self.get().hasModifyingCTE || self.get().commandType != CmdType::CMD_SELECT
    }

    pub fn is_utility(&self) -> bool {
        self.get().commandType == CmdType::CMD_UTILITY
    }

    /// The relations it names itself, not those in its subqueries.
    pub fn relations(&self) -> Vec<RelationUse> {
        let mut out = Vec::new();
        version::each_relation(self.get().rtable, version::query_permissions(self.get()), |raw| {
            out.push(raw.into())
        });
        out
    }

    /// Whether it only calls functions among `allowed`, with constants and parameters, and reads
    /// nothing but columns of `catalogs`, by operators of the server itself.
    pub fn only_calls(&self, allowed: &[Oid], catalogs: &[Catalog]) -> bool {
        self.only_looks_at(allowed, catalogs, &[])
    }

    /// The same, with whatever `views` show.
    pub fn only_looks_at(&self, allowed: &[Oid], catalogs: &[Catalog], views: &[Oid]) -> bool {
        // SAFETY: the query is whole.
        unsafe { Harmless::only_looks_up(self.query, allowed, catalogs, views) }
    }

    /// Whether it calls one of `functions` anywhere.
    pub fn calls_any(&self, functions: &[Oid]) -> bool {
        if functions.is_empty() {
            return false;
        }
        let mut search = Search { functions, added: false, found: false };
        // SAFETY: the walker below only looks; the query is whole.
        unsafe {
            version::walk(self.query.cast(), Search::walker, (&raw mut search).cast());
        }
        search.found
    }
}

struct Search<'a> {
    functions: &'a [Oid],
    /// Look for any function that did not come with the server, too.
    added: bool,
    found: bool,
}

impl Search<'_> {
    #[allow(ffi_unwind_calls)] // see version::Walker
    unsafe extern "C-unwind" fn walker(node: *mut Node, context: *mut c_void) -> bool {
        // SAFETY: PostgreSQL's walkers pass nodes or NULL, and the context we gave them.
        unsafe {
            let Some(head) = node.as_ref() else { return false };
            let search = &mut *context.cast::<Search<'_>>();
            let called = match head.type_ {
                NodeTag::T_FuncExpr => (*node.cast::<pg_sys::FuncExpr>()).funcid,
                NodeTag::T_Aggref => (*node.cast::<pg_sys::Aggref>()).aggfnoid,
                NodeTag::T_WindowFunc => (*node.cast::<pg_sys::WindowFunc>()).winfnoid,
                NodeTag::T_OpExpr | NodeTag::T_DistinctExpr | NodeTag::T_NullIfExpr => {
                    raw::get_opcode((*node.cast::<pg_sys::OpExpr>()).opno)
                }
                _ => pg_sys::InvalidOid,
            };
            let is_added = search.added && called.to_u32() >= pg_sys::FirstNormalObjectId;
            if is_added || search.functions.contains(&called) {
                search.found = true;
                return true;
            }
            match head.type_ {
                NodeTag::T_Query => version::walk_query(node.cast(), Self::walker, context),
                NodeTag::T_RangeTblEntry => false,
                _ => version::walk_expression(node, Self::walker, context),
            }
        }
    }
}
