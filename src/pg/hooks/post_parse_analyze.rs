//! post_parse_analyze: the statement as its author wrote it, before views are expanded.
//!
//! Secrets leave the text before the predecessor, which may keep it. The judgement comes after it, so
//! that its changes to the query are seen. The parser's own errors never come here.

use super::{active, guarded, quietly};
use crate::pg::conceal;
use crate::pg::query::Analysed;
use pgrx::pg_sys::{self, JumbleState, ParseState, Query, post_parse_analyze_hook_type};

static mut NEXT: post_parse_analyze_hook_type = None;

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::post_parse_analyze_hook;
        pg_sys::post_parse_analyze_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(state: *mut ParseState, query: *mut Query, jumble: *mut JumbleState) {
    if let Some(handlers) = active() {
        // SAFETY: the arguments are ours; nothing here raises an error.
        quietly(|| unsafe { conceal::from_statement(handlers.secrets, query, (*state).p_sourcetext) });
    }
    // SAFETY: passes on what the parser gave us; NEXT is written once, before any backend exists.
    unsafe {
        if let Some(next) = NEXT {
            next(state, query, jumble);
        }
    }
    if let Some(handlers) = active() {
        // SAFETY: the view ends with the guard; the parse state outlives the hook.
        guarded(|| (handlers.analysed)(&unsafe { Analysed::new(query, (*state).p_sourcetext) }));
    }
}
