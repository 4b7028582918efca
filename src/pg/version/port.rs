//! A client's connection, of which pgrx does not know the struct.
//!
//! From 16 on the server tells what is asked here in other ways; before, the struct is read as libpq-be.h and hba.h of
//! 14 and 15 lay it out, as far as it is needed.

use pgrx::pg_sys;
#[cfg(any(feature = "pg14", feature = "pg15"))]
use std::ffi::CStr;
use std::ffi::{c_char, c_int};

/// hba.h: UserAuth. Methods by which the client proves that it knows the role's password: "password", "md5" (which is
/// SCRAM where the role has a SCRAM verifier) and "scram-sha-256".
const BY_PASSWORD: [c_int; 3] = [4, 5, 6];

#[cfg(any(feature = "pg14", feature = "pg15"))]
#[repr(C)]
struct SockAddr {
    address: libc::sockaddr_storage,
    length: libc::socklen_t,
}

#[cfg(any(feature = "pg14", feature = "pg15"))]
#[repr(C)]
struct Port {
    sock: c_int,
    noblock: bool,
    proto: u32,
    laddr: SockAddr,
    raddr: SockAddr,
    remote_host: *mut c_char,
    remote_hostname: *mut c_char,
    remote_hostname_resolv: c_int,
    remote_hostname_errcode: c_int,
    remote_port: *mut c_char,
    can_accept_connections: c_int,
    database_name: *mut c_char,
    user_name: *mut c_char,
    cmdline_options: *mut c_char,
    guc_options: *mut pg_sys::List,
    application_name: *mut c_char,
    hba: *const HbaLine,
    authn_id: *const c_char,
}

#[cfg(any(feature = "pg14", feature = "pg15"))]
#[repr(C)]
struct HbaLine {
    linenumber: c_int,
    rawline: *mut c_char,
    conntype: c_int,
    databases: *mut pg_sys::List,
    roles: *mut pg_sys::List,
    addr: libc::sockaddr_storage,
    addrlen: c_int,
    mask: libc::sockaddr_storage,
    masklen: c_int,
    ip_cmp_method: c_int,
    hostname: *mut c_char,
    auth_method: c_int,
}

/// Database and role that a client asked for when it connected.
///
/// # Safety
/// `port` is this backend's connection.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub unsafe fn wished_names(port: *const pg_sys::Port) -> [Vec<u8>; 2] {
    let text = |name: *mut c_char| match name.is_null() {
        true => Vec::new(),
        // SAFETY: a name of the start-up packet, NUL-terminated.
        false => unsafe { CStr::from_ptr(name) }.to_bytes().to_vec(),
    };
    // SAFETY: as the caller promises.
    unsafe {
        let port = &*port.cast::<Port>();
        [text(port.database_name), text(port.user_name)]
    }
}

/// See above. The log's own formatting tells (elog.c: log_line_prefix).
///
/// # Safety
/// As above.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub unsafe fn wished_names(_port: *const pg_sys::Port) -> [Vec<u8>; 2] {
    [c"%d", c"%u"].map(|format| {
        // SAFETY: these two formats look at the connection only, not at a message.
        unsafe {
            let buffer = pg_sys::makeStringInfo();
            pg_sys::log_status_format(buffer, format.as_ptr(), std::ptr::null_mut());
            let length = usize::try_from((*buffer).len).unwrap_or(0);
            std::slice::from_raw_parts((*buffer).data.cast::<u8>(), length).to_vec()
        }
    })
}

/// Whether the client that has just been let in has shown that it knows the password of its role.
///
/// # Safety
/// `port` is this backend's connection, being authenticated.
#[cfg(any(feature = "pg14", feature = "pg15"))]
pub unsafe fn knows_password(port: *const pg_sys::Port) -> bool {
    // SAFETY: as the caller promises; the line of pg_hba.conf is there until the session has begun.
    unsafe {
        let port = &*port.cast::<Port>();
        !port.authn_id.is_null()
            && port.hba.as_ref().is_some_and(|hba| BY_PASSWORD.contains(&hba.auth_method))
    }
}

/// See above.
///
/// # Safety
/// As above.
#[cfg(not(any(feature = "pg14", feature = "pg15")))]
pub unsafe fn knows_password(_port: *const pg_sys::Port) -> bool {
    /// libpq-be.h
    #[repr(C)]
    struct ClientConnectionInfo {
        authn_id: *const c_char,
        auth_method: c_int,
    }
    unsafe extern "C" {
        static MyClientConnectionInfo: ClientConnectionInfo;
    }
    // SAFETY: a plain variable of the backend.
    unsafe {
        !MyClientConnectionInfo.authn_id.is_null()
            && BY_PASSWORD.contains(&MyClientConnectionInfo.auth_method)
    }
}
