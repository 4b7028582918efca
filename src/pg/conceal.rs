//! Takes secrets out of the texts of statements that PostgreSQL keeps and shows.
//!
//! PostgreSQL puts the text of a statement into pg_stat_activity before it parses it, and keeps
//! copies: for messages about the statement, with prepared statements, in other modules. The first moment
//! at which anybody else is asked is after the parse, when the text is no longer needed but to be
//! shown; so the secret is overwritten right there, in the same number of bytes, because the parser's
//! positions count into the text. What was parsed keeps its values.

use super::raw;
use pgrx::pg_sys::{self, MemoryContext, Query};
use std::ffi::{CStr, CString, c_char};
use std::ops::Range;

/// Where a text holds secrets.
pub type Secrets = fn(&[u8]) -> Vec<Range<usize>>;

const FILLER: u8 = b'*';
/// The memory of a prepared statement is named so, and carries its text as identifier (plancache.c).
const PREPARED: &CStr = c"CachedPlanSource";

/// Takes secrets out of every copy of the text `source`, whose `query` has just been analysed.
///
/// # Safety
/// The arguments are those of post_parse_analyze.
pub(super) unsafe fn from_statement(secrets: Secrets, query: *mut Query, source: *const c_char) {
    // SAFETY: as the caller promises; NULL, or NUL-terminated.
    if source.is_null() || secrets(unsafe { CStr::from_ptr(source) }.to_bytes()).is_empty() {
        return;
    }
    // SAFETY: the query is whole. Without a number pg_stat_statements and its like leave it alone; the
    // text of a client is a buffer of this backend's, and that of a prepared statement its own copy.
    unsafe {
        (*query).queryId = Default::default();
        from_activity(secrets);
        // A text that C code runs may stand in memory that cannot be written; a client's cannot.
        if std::ptr::eq(source, pg_sys::debug_query_string) && !pg_sys::MyProcPort.is_null() {
            overwrite(secrets, source.cast_mut());
        }
        from_prepared(secrets, pg_sys::TopMemoryContext);
    }
}

/// Takes secrets out of what pg_stat_activity shows of this session. Raises nothing.
pub(super) fn from_activity(secrets: Secrets) {
    // SAFETY: this backend's own entry, which only it writes; the text in it is NUL-terminated.
    let (state, shown) = unsafe {
        match pg_sys::MyBEEntry.as_ref() {
            Some(entry) if !entry.st_activity_raw.is_null() => {
                (entry.st_state, CStr::from_ptr(entry.st_activity_raw).to_bytes())
            }
            _ => return,
        }
    };
    let parts = secrets(shown);
    if parts.is_empty() {
        return;
    }
    if let Ok(clean) = CString::new(crate::event::redact::without(shown, &parts)) {
        // SAFETY: copies the text into shared memory; touches nothing that could fail.
        unsafe { raw::pgstat_report_activity(state, clean.as_ptr()) };
    }
}

/// # Safety
/// A memory context of this backend. The identifiers of those that are called [`PREPARED`] point
/// to a copy in their own memory.
unsafe fn from_prepared(secrets: Secrets, context: MemoryContext) {
    // SAFETY: as the caller promises; children are linked until they are deleted.
    unsafe {
        let ours = &*context;
        if !ours.ident.is_null() && !ours.name.is_null() && CStr::from_ptr(ours.name) == PREPARED {
            overwrite(secrets, ours.ident.cast_mut());
        }
        let mut child = ours.firstchild;
        while let Some(next) = child.as_ref() {
            from_prepared(secrets, child);
            child = next.nextchild;
        }
    }
}

/// # Safety
/// NUL-terminated, and may be written.
unsafe fn overwrite(secrets: Secrets, text: *mut c_char) {
    // SAFETY: as the caller promises; parts lie within the text.
    unsafe {
        let parts = secrets(CStr::from_ptr(text).to_bytes());
        for part in parts {
            std::slice::from_raw_parts_mut(text.cast::<u8>().add(part.start), part.len()).fill(FILLER);
        }
    }
}
