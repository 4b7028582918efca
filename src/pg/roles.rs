//! Login roles that are made without a statement, so that nothing of their password is in any text.

use super::{raw, session};
use pgrx::pg_sys::{self, NodeTag, Oid};
use std::ffi::{CStr, CString};

/// What PostgreSQL keeps of `password`: its SCRAM verifier, with a salt of its own.
pub fn verifier(password: &str) -> Option<String> {
    let password = CString::new(password).ok()?;
    // SAFETY: a NUL-terminated text, of which a palloc'd one is made.
    unsafe {
        let made = pg_sys::ffi::pg_guard_ffi_boundary(|| {
            #[allow(ffi_unwind_calls)] // guarded by the line above
            raw::pg_be_scram_build_secret(password.as_ptr())
        });
        let bytes = password.into_bytes();
        wipe(bytes);
        (!made.is_null()).then(|| CStr::from_ptr(made).to_string_lossy().into_owned())
    }
}

fn wipe(mut bytes: Vec<u8>) {
    bytes.fill(0);
    // the compiler may not conclude that nobody looks at the zeros
    std::hint::black_box(&bytes);
}

/// Makes a role that may log in with the password behind `verifier` until `valid_until`, a time as PostgreSQL reads
/// it, and may do nothing else. Raises an ERROR if there is one of the name.
///
/// By CREATE ROLE's own function: a statement with the verifier in it would be in the memory of whoever collects statements.
pub fn create_login(name: &str, verifier: &str, valid_until: &str) -> Option<Oid> {
    let [name, verifier, valid_until] = [name, verifier, valid_until].map(CString::new);
    let (name, verifier, valid_until) = (name.ok()?, verifier.ok()?, valid_until.ok()?);
    // SAFETY: the nodes that the grammar makes for CREATE USER name PASSWORD '...' VALID UNTIL '...', in the memory of
    // the statement that runs; CreateRole copies what it keeps.
    let role = unsafe {
        let option = |name: &CStr, value: &CStr| {
            let value = pg_sys::makeString(pg_sys::pstrdup(value.as_ptr()));
            pg_sys::makeDefElem(pg_sys::pstrdup(name.as_ptr()), value.cast(), -1)
        };
        let options = pg_sys::lappend(std::ptr::null_mut(), option(c"password", &verifier).cast());
        let options = pg_sys::lappend(options, option(c"validUntil", &valid_until).cast());
        let statement = pg_sys::palloc0(size_of::<pg_sys::CreateRoleStmt>()).cast::<pg_sys::CreateRoleStmt>();
        (*statement).type_ = NodeTag::T_CreateRoleStmt;
        (*statement).stmt_type = pg_sys::RoleStmtType::ROLESTMT_USER;
        (*statement).role = pg_sys::pstrdup(name.as_ptr());
        (*statement).options = options;
        pg_sys::CreateRole(pg_sys::make_parsestate(std::ptr::null_mut()), statement)
    };
    Some(role)
}

/// Refuses, as the server does for a statement that writes, what a transaction must not do that only reads.
pub fn needs_to_write(command: &CStr) {
    // SAFETY: a constant text, which a message is made of.
    unsafe { pg_sys::PreventCommandIfReadOnly(command.as_ptr()) }
}

/// Whether the role whose rights count right now has those of `role`, as a superuser has anybody's.
pub fn has_rights_of(role: &CStr) -> bool {
    // SAFETY: with missing_ok the look-up returns 0 for an unknown name.
    unsafe {
        let role = pg_sys::get_role_oid(role.as_ptr(), true);
        role != pg_sys::InvalidOid && pg_sys::has_privs_of_role(session::current_user(), role)
    }
}
