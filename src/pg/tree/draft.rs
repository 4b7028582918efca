//! A query that is about to be planned, and may be changed before.

use super::frames;
use super::masks::Masks;
pub use super::mutate::Denied;
use super::mutate::Mutation;
use super::node::each;
use super::plain;
pub use super::survey::Survey;
use super::taint;
use crate::pg::version;
use pgrx::pg_sys::{self, CmdType, List, Node, NodeTag, ParamListInfo, Query, RTEKind, RangeTblEntry};
use std::ffi::{c_int, c_void};
use std::marker::PhantomData;

/// What the planner hook takes from before the planning to after it.
#[derive(Clone, Copy)]
pub(in crate::pg) struct Prepared {
    /// The query as it was, to plan from again; NULL if that is not needed.
    pub(super) kept: *mut Query,
    pub(in crate::pg) options: c_int,
    /// Relations on which the plan depends, without what is read while it is made.
    pub(super) own: usize,
    /// What became part of the query by inlining makes the plan invalid when it changes.
    pub(super) inlined: *mut List,
    pub(super) depends_on_role: bool,
    pub(super) flags: i32,
}

impl Prepared {
    /// Whether there is anything to do once the plan is made.
    pub(in crate::pg) fn is_kept(&self) -> bool {
        !self.kept.is_null()
    }

    /// Whether functions that ran while the plan was made have read some of these relations.
    pub(in crate::pg) fn reads_more_than(&self, relations: &[u32]) -> bool {
        relations.len() > self.own
    }
}

/// The statement puts out what is masked: its result must not be kept.
pub const PUTS_OUT_MASKS: i32 = 1;

/// What was found while a query was masked.
pub enum Masking {
    Done,
    /// Masked data would be written over real ones.
    Denied(Denied),
    /// There is something in the query that nobody has thought of.
    Unknown,
}

/// See above.
pub struct Draft<'a> {
    query: *mut Query,
    parameters: ParamListInfo,
    prepared: Prepared,
    lifetime: PhantomData<&'a mut Query>,
}

impl<'a> Draft<'a> {
    /// # Safety
    /// The arguments are those of the planner's hook, used only before the planner is called.
    pub(in crate::pg) unsafe fn new(query: *mut Query, options: c_int, parameters: ParamListInfo) -> Self {
        let prepared = Prepared {
            kept: std::ptr::null_mut(),
            options,
            own: 0,
            inlined: std::ptr::null_mut(),
            depends_on_role: false,
            flags: 0,
        };
        Self { query, parameters, prepared, lifetime: PhantomData }
    }

    pub(in crate::pg) fn prepared(&self) -> Prepared {
        self.prepared
    }

    pub fn is_utility(&self) -> bool {
        // SAFETY: as promised to `new`.
        unsafe { (*self.query).commandType == CmdType::CMD_UTILITY }
    }

    /// Whether a look is enough to see that it uses only tables of which `is_free` is said, and no functions of
    /// somebody's.
    pub fn is_plain(&self, is_free: &mut dyn FnMut(pg_sys::Oid) -> bool) -> bool {
        // SAFETY: a whole query.
        unsafe { plain::is_plain(self.query, is_free) }
    }

    /// What it uses.
    pub fn survey(&self) -> Survey {
        let mut survey = Survey::default();
        // SAFETY: a whole query.
        unsafe { survey.add(self.query) };
        survey
    }

    /// Keeps a copy of the query as it is, to plan from again. Call it before anything is changed.
    pub fn keep(&mut self) {
        if self.prepared.kept.is_null() {
            // SAFETY: a whole query.
            unsafe {
                self.prepared.kept = pg_sys::copyObjectImpl(self.query.cast_const().cast()).cast();
            }
        }
    }

    /// Set-returning functions in FROM that the planner would put into the query, after we have seen it, are put
    /// there now; `survey` then tells of what they use, too. The others stay calls.
    pub fn inline(&mut self, survey: &mut Survey) {
        let mut waiting = std::mem::take(&mut survey.with_functions);
        if waiting.is_empty() {
            return;
        }
        self.keep();
        let manner = frames::plan_by(frames::Manner { keeps_functions: false, ..frames::manner() });
        // SAFETY: queries within the one at hand, and the planner's own steps (prepjointree.c:
        // preprocess_function_rtes), with a state made of what they look at.
        unsafe {
            let root: *mut pg_sys::PlannerInfo = new(NodeTag::T_PlannerInfo);
            (*root).glob = new(NodeTag::T_PlannerGlobal);
            (*(*root).glob).boundParams = self.parameters;
            (*root).query_level = 1;
            while let Some(query) = waiting.pop() {
                (*root).parse = query;
                for entry in each::<RangeTblEntry>((*query).rtable) {
                    if (*entry).rtekind != RTEKind::RTE_FUNCTION {
                        continue;
                    }
                    (*entry).functions =
                        pg_sys::eval_const_expressions(root, (*entry).functions.cast()).cast();
                    let body = pg_sys::inline_set_returning_function(root, entry);
                    if !body.is_null() {
                        (*entry).rtekind = RTEKind::RTE_SUBQUERY;
                        (*entry).subquery = body;
                        (*entry).security_barrier = false;
                        // The planner still asks the function's type of whole rows.
                        (*entry).funcordinality = false;
                        survey.add(body);
                        waiting.append(&mut survey.with_functions);
                    }
                }
            }
            self.prepared.inlined = (*(*root).glob).invalItems;
            self.prepared.depends_on_role = (*(*root).glob).dependsOnRole;
        }
        frames::plan_by(manner);
    }

    /// The plan depends on how these relations look to whoever asks.
    pub fn depends_on(&mut self, relations: &[pg_sys::Oid]) {
        self.keep();
        self.prepared.own = relations.len();
        frames::note(relations.iter().map(|relation| relation.to_u32()));
    }

    /// The statement runs in one process.
    pub fn stay_serial(&mut self) {
        self.prepared.options &= !(pg_sys::CURSOR_OPT_PARALLEL_OK as c_int);
    }

    /// Puts masks in the place of columns.
    pub fn mask(&mut self, masks: &Masks) -> Masking {
        let mut mutation = Mutation::new(masks);
        // SAFETY: a whole query; the walk has the one guard, and `mutation` outlives it.
        unsafe {
            let mut state = (self.query, &raw mut mutation, masks, false);
            version::walk(self.query.cast(), mask_all, (&raw mut state).cast());
            if state.3 {
                self.prepared.flags |= PUTS_OUT_MASKS;
            }
        }
        match mutation.denied {
            Some(denied) => Masking::Denied(denied),
            None if mutation.unknown => Masking::Unknown,
            None => Masking::Done,
        }
    }
}

type Walk<'m> = (*mut Query, *mut Mutation<'m>, &'m Masks, bool);

/// All of it under one guard: what is put out is looked at first.
unsafe extern "C-unwind" fn mask_all(_node: *mut Node, context: *mut c_void) -> bool {
    // SAFETY: what `Draft::mask` gave.
    unsafe {
        let state = &mut *context.cast::<Walk<'_>>();
        state.3 = taint::source_of_output(state.2, state.0).is_some();
        (*state.1).query(state.0);
    }
    false
}

/// # Safety
/// `T` is the struct of `tag`, for which all zeroes are a value.
unsafe fn new<T>(tag: NodeTag) -> *mut T {
    // SAFETY: as the caller promises.
    unsafe {
        let node = pg_sys::palloc0(size_of::<T>()).cast::<T>();
        (*node.cast::<Node>()).type_ = tag;
        node
    }
}
