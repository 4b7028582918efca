//! A connection to another server, by PostgreSQL's own client library.
//!
//! That is libpq, which the server brings along for its walreceiver: it is loaded when it is
//! needed and not before, and knows TLS, password files and several hosts. The walreceiver's own
//! functions would not do: up to version 16 they speak the replication protocol only, and a role that may
//! speak that may read everything. Nothing here blocks: waiting ends with the process's latch,
//! with its interrupts, and after a time.

use super::worker;
use pgrx::pg_sys;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::cell::OnceCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::time::{Duration, Instant};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(20);

// Nothing is sent anywhere unless somebody says where to.
static ADDRESS: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Defines the setting that says where to; once, in `_PG_init`.
pub fn define() {
    // SAFETY: in _PG_init, single-threaded; the hook has the signature of guc.h and reads its argument only.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"pg_custodian.forward_to",
            c"Names the primary to whose ledger a standby forwards what it records.",
            c"A connection string without a password and without a database. Empty: it is kept and forwarded later.",
            &ADDRESS,
            GucContext::Sighup,
            // As primary_conninfo, which says the same.
            GucFlags::SUPERUSER_ONLY,
            Some(check),
            None,
            None,
        );
    }
}

/// Where to forward to; `None` if nowhere.
pub fn address() -> Option<CString> {
    ADDRESS.get().filter(|address| !address.is_empty())
}

/// Whether a connection string holds a password, as a word or in the place that it has in a URI.
fn holds_password(text: &str) -> bool {
    let in_uri = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
    text.to_ascii_lowercase().contains("password")
        || in_uri.and_then(|rest| rest.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
}

unsafe extern "C-unwind" fn check(
    value: *mut *mut c_char,
    _extra: *mut *mut c_void,
    _source: pg_sys::GucSource::Type,
) -> bool {
    // SAFETY: PostgreSQL passes its own copy of the value, or NULL.
    let text = unsafe {
        match value.as_ref().filter(|value| !value.is_null()) {
            Some(value) => CStr::from_ptr(*value).to_string_lossy(),
            None => return true,
        }
    };
    if !holds_password(&text) {
        return true;
    }
    // SAFETY: the message is copied into memory that lives until it is reported.
    unsafe {
        pg_sys::GUC_check_errcode(pgrx::PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE as c_int);
        pg_sys::GUC_check_errdetail_string =
            pg_sys::pstrdup(c"A password does not belong here: name a file with \"passfile\".".as_ptr());
    }
    false
}

/// Why the other server could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error("libpq has no function {0}")]
    Library(String),
    #[error("could not connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Answer(String),
    /// By the other server, with this SQLSTATE.
    #[error("{message}")]
    Refused { code: String, message: String },
    #[error("no answer within {0} s")]
    Silent(u64),
}

#[repr(C)]
struct Connection {
    _private: [u8; 0],
}

#[repr(C)]
struct Answer {
    _private: [u8; 0],
}

// libpq-fe.h
const STATUS_BAD: c_int = 1;
const POLLING_FAILED: c_int = 0;
const POLLING_READING: c_int = 1;
const POLLING_OK: c_int = 3;
const TUPLES_OK: c_int = 2;
// PG_DIAG_SQLSTATE of postgres_ext.h
const SQLSTATE: c_int = b'C' as c_int;

/// The functions of libpq that are used.
struct Library {
    start: unsafe extern "C" fn(*const *const c_char, *const *const c_char, c_int) -> *mut Connection,
    poll: unsafe extern "C" fn(*mut Connection) -> c_int,
    status: unsafe extern "C" fn(*const Connection) -> c_int,
    socket: unsafe extern "C" fn(*const Connection) -> c_int,
    error: unsafe extern "C" fn(*const Connection) -> *const c_char,
    set_nonblocking: unsafe extern "C" fn(*mut Connection, c_int) -> c_int,
    send: unsafe extern "C" fn(
        *mut Connection,
        *const c_char,
        c_int,
        *const pg_sys::Oid,
        *const *const c_char,
        *const c_int,
        *const c_int,
        c_int,
    ) -> c_int,
    flush: unsafe extern "C" fn(*mut Connection) -> c_int,
    consume: unsafe extern "C" fn(*mut Connection) -> c_int,
    is_busy: unsafe extern "C" fn(*mut Connection) -> c_int,
    answer: unsafe extern "C" fn(*mut Connection) -> *mut Answer,
    finish: unsafe extern "C" fn(*mut Connection),
    answer_status: unsafe extern "C" fn(*const Answer) -> c_int,
    answer_error: unsafe extern "C" fn(*const Answer) -> *const c_char,
    field: unsafe extern "C" fn(*const Answer, c_int) -> *const c_char,
    rows: unsafe extern "C" fn(*const Answer) -> c_int,
    columns: unsafe extern "C" fn(*const Answer) -> c_int,
    is_null: unsafe extern "C" fn(*const Answer, c_int, c_int) -> c_int,
    value: unsafe extern "C" fn(*const Answer, c_int, c_int) -> *const c_char,
    length: unsafe extern "C" fn(*const Answer, c_int, c_int) -> c_int,
    clear: unsafe extern "C" fn(*mut Answer),
}

/// Finds a function of a library that is loaded.
///
/// # Safety
/// `F` is the type of a pointer to the function of that name.
unsafe fn find<F: Copy>(name: &CStr) -> Result<F, RemoteError> {
    // SAFETY: looks in what the process has loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if found.is_null() {
        return Err(RemoteError::Library(name.to_string_lossy().into_owned()));
    }
    // SAFETY: as the caller promises; both are pointers.
    Ok(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&found) })
}

impl Library {
    fn load() -> Result<Self, RemoteError> {
        // SAFETY: as walreceiver.c does; loading it again does nothing. It is linked against libpq and
        // loaded for all to see. The types are those of libpq-fe.h, unchanged since version 9.
        unsafe {
            pg_sys::load_file(c"libpqwalreceiver".as_ptr(), false);
            Ok(Self {
                start: find(c"PQconnectStartParams")?,
                poll: find(c"PQconnectPoll")?,
                status: find(c"PQstatus")?,
                socket: find(c"PQsocket")?,
                error: find(c"PQerrorMessage")?,
                set_nonblocking: find(c"PQsetnonblocking")?,
                send: find(c"PQsendQueryParams")?,
                flush: find(c"PQflush")?,
                consume: find(c"PQconsumeInput")?,
                is_busy: find(c"PQisBusy")?,
                answer: find(c"PQgetResult")?,
                finish: find(c"PQfinish")?,
                answer_status: find(c"PQresultStatus")?,
                answer_error: find(c"PQresultErrorMessage")?,
                field: find(c"PQresultErrorField")?,
                rows: find(c"PQntuples")?,
                columns: find(c"PQnfields")?,
                is_null: find(c"PQgetisnull")?,
                value: find(c"PQgetvalue")?,
                length: find(c"PQgetlength")?,
                clear: find(c"PQclear")?,
            })
        }
    }
}

thread_local! {
    static LIBRARY: OnceCell<&'static Library> = const { OnceCell::new() };
}

fn library() -> Result<&'static Library, RemoteError> {
    LIBRARY.with(|known| match known.get() {
        Some(library) => Ok(*library),
        None => {
            let library: &'static Library = Box::leak(Box::new(Library::load()?));
            Ok(*known.get_or_init(|| library))
        }
    })
}

/// # Safety
/// `text` is NULL or ends with a zero.
unsafe fn message(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

/// One connection.
pub struct Remote {
    library: &'static Library,
    connection: *mut Connection,
}

/// A parameter of a call, in its binary form; `None` is NULL.
pub type Parameter<'a> = (pg_sys::Oid, Option<&'a [u8]>);

/// The columns of the first row of an answer, in their binary form.
pub type Row = Vec<Option<Vec<u8>>>;

impl Remote {
    /// Connects to `database` at `address`, a connection string.
    pub fn connect(address: &CStr, database: &CStr) -> Result<Self, RemoteError> {
        let library = library()?;
        let names = [c"dbname", c"dbname", c"fallback_application_name"].map(CStr::as_ptr);
        let names = [names[0], names[1], names[2], std::ptr::null()];
        // The first one is taken apart, because it stands for the whole string; what follows counts more.
        let values =
            [address.as_ptr(), database.as_ptr(), c"pg_custodian forwarder".as_ptr(), std::ptr::null()];
        // SAFETY: both lists end with NULL and outlive the call, which copies them.
        let connection = unsafe { (library.start)(names.as_ptr(), values.as_ptr(), 1) };
        if connection.is_null() {
            return Err(RemoteError::Connect("out of memory".into()));
        }
        let remote = Self { library, connection };
        let deadline = Instant::now() + CONNECT;
        // SAFETY: a connection that is there until `remote` is dropped.
        unsafe {
            let failed = || RemoteError::Connect(message((library.error)(connection)));
            if (library.status)(connection) == STATUS_BAD {
                return Err(failed());
            }
            let mut wanted = pg_sys::WL_SOCKET_WRITEABLE;
            loop {
                remote.wait(wanted, deadline).map_err(|_| RemoteError::Silent(CONNECT.as_secs()))?;
                match (library.poll)(connection) {
                    POLLING_OK => break,
                    POLLING_FAILED => return Err(failed()),
                    POLLING_READING => wanted = pg_sys::WL_SOCKET_READABLE,
                    _ => wanted = pg_sys::WL_SOCKET_WRITEABLE,
                }
            }
            if (library.set_nonblocking)(connection, 1) != 0 {
                return Err(failed());
            }
        }
        Ok(remote)
    }

    /// Runs `command` with these parameters, and returns the first row of its answer.
    pub fn call(
        &mut self,
        command: &CStr,
        parameters: &[Parameter<'_>],
        patience: Duration,
    ) -> Result<Row, RemoteError> {
        let deadline = Instant::now() + patience;
        let types: Vec<pg_sys::Oid> = parameters.iter().map(|(kind, _)| *kind).collect();
        // No value must look like NULL because it is empty.
        let pointer = |value: Option<&[u8]>| match value {
            Some([]) => c"".as_ptr(),
            Some(bytes) => bytes.as_ptr().cast::<c_char>(),
            None => std::ptr::null(),
        };
        let values: Vec<*const c_char> = parameters.iter().map(|(_, value)| pointer(*value)).collect();
        let lengths: Vec<c_int> =
            parameters.iter().map(|(_, value)| value.map_or(0, <[u8]>::len) as c_int).collect();
        let formats = vec![1; parameters.len()];
        let library = self.library;
        // SAFETY: the connection is there as long as self; the lists have as many elements as is said.
        unsafe {
            let sent = (library.send)(
                self.connection,
                command.as_ptr(),
                parameters.len() as c_int,
                types.as_ptr(),
                values.as_ptr(),
                lengths.as_ptr(),
                formats.as_ptr(),
                1,
            );
            if sent == 0 {
                return Err(self.failure());
            }
            loop {
                match (library.flush)(self.connection) {
                    0 => break,
                    1 => self.wait(pg_sys::WL_SOCKET_READABLE | pg_sys::WL_SOCKET_WRITEABLE, deadline)?,
                    _ => return Err(self.failure()),
                }
                if (library.consume)(self.connection) == 0 {
                    return Err(self.failure());
                }
            }
            let mut row = Err(RemoteError::Answer("no answer".into()));
            loop {
                while (library.is_busy)(self.connection) != 0 {
                    self.wait(pg_sys::WL_SOCKET_READABLE, deadline)?;
                    if (library.consume)(self.connection) == 0 {
                        return Err(self.failure());
                    }
                }
                let answer = (library.answer)(self.connection);
                if answer.is_null() {
                    return row;
                }
                row = self.first_row(answer);
                (library.clear)(answer);
            }
        }
    }

    /// # Safety
    /// `answer` is one of this connection's, not cleared yet.
    unsafe fn first_row(&self, answer: *const Answer) -> Result<Row, RemoteError> {
        let library = self.library;
        // SAFETY: as the caller promises; columns are below their number, and values as long as they say.
        unsafe {
            if (library.answer_status)(answer) != TUPLES_OK || (library.rows)(answer) < 1 {
                let text = message((library.answer_error)(answer));
                let code = message((library.field)(answer, SQLSTATE));
                return Err(match code.is_empty() {
                    true => RemoteError::Answer(text),
                    false => RemoteError::Refused { code, message: text },
                });
            }
            let column = |number| {
                ((library.is_null)(answer, 0, number) == 0).then(|| {
                    let length = (library.length)(answer, 0, number) as usize;
                    std::slice::from_raw_parts((library.value)(answer, 0, number).cast::<u8>(), length)
                        .to_vec()
                })
            };
            Ok((0..(library.columns)(answer)).map(column).collect())
        }
    }

    fn failure(&self) -> RemoteError {
        // SAFETY: the connection is there as long as self.
        RemoteError::Answer(unsafe { message((self.library.error)(self.connection)) })
    }

    /// Waits until the socket is ready, or until `deadline`.
    fn wait(&self, wanted: u32, deadline: Instant) -> Result<(), RemoteError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || worker::shall_end() {
                return Err(RemoteError::Silent(0));
            }
            let events = wanted | pg_sys::WL_LATCH_SET | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
            // SAFETY: the process's own latch, and a socket that is open as long as self.
            unsafe {
                let happened = pg_sys::WaitLatchOrSocket(
                    pg_sys::MyLatch,
                    events as i32,
                    (self.library.socket)(self.connection),
                    left.as_millis().min(1000) as std::ffi::c_long,
                    pg_sys::PG_WAIT_EXTENSION,
                ) as u32;
                if happened & pg_sys::WL_LATCH_SET != 0 {
                    pg_sys::ResetLatch(pg_sys::MyLatch);
                }
                pg_sys::check_for_interrupts!();
                if happened & wanted != 0 {
                    return Ok(());
                }
            }
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // SAFETY: nobody else has the connection.
        unsafe { (self.library.finish)(self.connection) }
    }
}

#[cfg(test)]
mod tests {
    use super::holds_password;

    #[test]
    fn a_password_is_found_in_both_kinds_of_connection_strings() {
        for with in [
            "host=a password=x",
            "host=a PASSWORD = 'x'",
            "postgresql://u:p@a/",
            "postgres://u:p@a,b:5432/db?x=y",
            "postgresql://a/?password=x",
            "host=a sslpassword=x",
        ] {
            assert!(holds_password(with), "{with}");
        }
        for without in [
            "",
            "host=a user=b passfile=/c",
            "postgresql://u@a:5432/",
            "postgresql://a:5432,b:5432/db?target_session_attrs=read-write&options=a@b:c",
        ] {
            assert!(!holds_password(without), "{without}");
        }
    }
}
