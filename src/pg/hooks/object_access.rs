//! object_access: objects are about to be dropped, or were altered or made.
//!
//! Before the predecessor: a refusal needs no second opinion. Called for every function that a statement
//! is about to call, too; those of the server go straight on. The catalogs may be read; what was just made
//! is not in them yet, and what was altered stands there as it was.

use super::{active, guarded};
use crate::pg::builtin::{self, Reach};
use crate::pg::failure;
use pgrx::pg_sys::{self, ObjectAccessType, Oid, object_access_hook_type};
use std::ffi::{c_int, c_void};

static mut NEXT: object_access_hook_type = None;

/// What happens to the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Created,
    Altered,
    Dropped,
    Truncated,
    /// A function is called by the protocol's function call message, without any statement.
    Called,
    /// A statement calls a function that did not come with the server.
    Executed,
}

/// An object that is touched: its catalog, its OID there, its column (0 for the whole).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectAccess {
    pub access: Access,
    pub class: Oid,
    pub object: Oid,
    pub column: i32,
    /// Done by PostgreSQL for its own purposes: TOAST tables, tables being rewritten.
    pub internal: bool,
    /// Where an object gets or loses a parent (pg_inherits): that.
    pub parent: Option<Oid>,
}

pub(super) fn install() {
    // SAFETY: single-threaded, in _PG_init.
    unsafe {
        NEXT = pg_sys::object_access_hook;
        pg_sys::object_access_hook = Some(trampoline);
    }
}

#[allow(ffi_unwind_calls)] // the call chain of a hook: see raw.rs
unsafe extern "C-unwind" fn trampoline(
    access: ObjectAccessType::Type,
    class: Oid,
    object: Oid,
    column: c_int,
    argument: *mut c_void,
) {
    // SAFETY: the argument's type follows from `access` (objectaccess.h).
    let internal = unsafe {
        match access {
            ObjectAccessType::OAT_POST_CREATE => argument
                .cast::<pg_sys::ObjectAccessPostCreate>()
                .as_ref()
                .is_some_and(|argument| argument.is_internal),
            ObjectAccessType::OAT_DROP => argument
                .cast::<pg_sys::ObjectAccessDrop>()
                .as_ref()
                .is_some_and(|argument| argument.dropflags as u32 & pg_sys::PERFORM_DELETION_INTERNAL != 0),
            _ => false,
        }
    };
    // SAFETY: as above.
    let what = unsafe {
        match access {
            ObjectAccessType::OAT_POST_CREATE => Some(Access::Created),
            ObjectAccessType::OAT_DROP => Some(Access::Dropped),
            ObjectAccessType::OAT_TRUNCATE => Some(Access::Truncated),
            // fastpath.c: no parser, planner or executor sees such a call. It is known by the absence of a
            // statement, which every other message of the protocol brings along but Sync; and what runs at
            // Sync, the deferred triggers, tells errors where it is.
            ObjectAccessType::OAT_FUNCTION_EXECUTE
                if pg_sys::debug_query_string.is_null() && failure::is_alone() =>
            {
                Some(Access::Called)
            }
            ObjectAccessType::OAT_FUNCTION_EXECUTE
                if object.to_u32() >= pg_sys::FirstNormalObjectId
                    || builtin::reach(object) != Reach::Nowhere =>
            {
                Some(Access::Executed)
            }
            // VACUUM FULL, CLUSTER and their like alter internally and keep the content.
            ObjectAccessType::OAT_POST_ALTER => argument
                .cast::<pg_sys::ObjectAccessPostAlter>()
                .as_ref()
                .is_none_or(|argument| !argument.is_internal)
                .then_some(Access::Altered),
            _ => None,
        }
    };
    // SAFETY: as above.
    let parent = unsafe {
        match access {
            ObjectAccessType::OAT_POST_ALTER => argument
                .cast::<pg_sys::ObjectAccessPostAlter>()
                .as_ref()
                .map(|argument| argument.auxiliary_id)
                .filter(|_| class == crate::pg::catalog::INHERITS_CATALOG),
            _ => None,
        }
    };
    if let Some(access) = what
        && let Some(handlers) = active()
    {
        guarded(|| {
            (handlers.object_access)(&ObjectAccess { access, class, object, column, internal, parent })
        });
    }
    // SAFETY: passes on what the caller gave us; NEXT is written once, before any backend exists.
    unsafe {
        if let Some(next) = NEXT {
            next(access, class, object, column, argument);
        }
    }
}
