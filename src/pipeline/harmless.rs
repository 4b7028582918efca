//! What a session may do on a role that needs a person while it has none.
//!
//! Promises: what drivers, tools and poolers do when they connect or hand a session on, and no more.
//! Nothing here reads a table of anybody's, the text of a function or view, a default, a statistic, or a setting
//! that may hold a secret; nothing runs code of anybody's.

use crate::pg::catalog::{self, listed};
use crate::pg::harmless::Catalog;
use crate::pg::utility::{Kind, Utility};
use pgrx::pg_sys::Oid;

/// Functions of the server; none of them reads a table of anybody's.
const FUNCTIONS: [&str; 9] = [
    "array_agg",
    "version",
    "current_database",
    "current_schema",
    "current_schemas",
    "pg_backend_pid",
    "pg_is_in_recovery",
    "format_type",
    "to_regtype",
];

/// Catalogs that drivers read to learn the types of what they get, and the columns that hold names and
/// shapes. Not listed are defaults (pg_attribute.attmissingval holds data), texts of functions, rights.
const CATALOGS: [(&str, &[&str]); 7] = [
    (
        "pg_type",
        &[
            "oid",
            "typname",
            "typnamespace",
            "typowner",
            "typlen",
            "typbyval",
            "typtype",
            "typcategory",
            "typispreferred",
            "typisdefined",
            "typdelim",
            "typrelid",
            "typsubscript",
            "typelem",
            "typarray",
            "typinput",
            "typoutput",
            "typreceive",
            "typsend",
            "typmodin",
            "typmodout",
            "typalign",
            "typstorage",
            "typnotnull",
            "typbasetype",
            "typtypmod",
            "typndims",
            "typcollation",
        ],
    ),
    ("pg_range", &["rngtypid", "rngsubtype", "rngmultitypid", "rngcollation", "rngsubopc"]),
    ("pg_namespace", &["oid", "nspname"]),
    (
        "pg_attribute",
        &[
            "attrelid",
            "attname",
            "atttypid",
            "attlen",
            "attnum",
            "attndims",
            "atttypmod",
            "attnotnull",
            "atthasdef",
            "attidentity",
            "attgenerated",
            "attisdropped",
            "attcollation",
        ],
    ),
    ("pg_enum", &["oid", "enumtypid", "enumsortorder", "enumlabel"]),
    // Npgsql asks which row types are of their own, and which types are arrays.
    ("pg_class", &["oid", "relname", "relnamespace", "reltype", "relkind"]),
    ("pg_proc", &["oid", "proname", "pronamespace"]),
];

/// Settings that concern the session's own manners.
const SET: [&str; 25] = [
    "application_name",
    "bytea_output",
    "client_encoding",
    "client_min_messages",
    "datestyle",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "intervalstyle",
    "lock_timeout",
    "search_path",
    "session characteristics",
    "standard_conforming_strings",
    "statement_timeout",
    "tcp_keepalives_idle",
    "timezone",
    "transaction",
    "transaction_deferrable",
    "transaction_isolation",
    "transaction_read_only",
    "xmlbinary",
    "xmloption",
];

/// Beside [`SET`], what tells the server's version and the session's state.
const SHOW: [&str; 11] = [
    "in_hot_standby",
    "integer_datetimes",
    "is_superuser",
    "lc_collate",
    "lc_ctype",
    "max_identifier_length",
    // Whether to identify in each transaction.
    "pg_custodian.identity_scope",
    "server_encoding",
    "server_version",
    "server_version_num",
    "session_authorization",
];

/// What poolers put back.
const RESET: [&str; 3] = ["", "role", "session_authorization"];

/// The functions of [`FUNCTIONS`].
pub(super) fn functions() -> Vec<Oid> {
    catalog::functions("pg_catalog", &FUNCTIONS)
}

/// The catalogs of [`CATALOGS`].
pub(super) fn catalogs() -> Vec<Catalog> {
    CATALOGS.iter().filter_map(|(name, columns)| listed(name, columns)).collect()
}

/// Whether a utility statement needs no person even where others do.
pub(super) fn needs_nobody(utility: &Utility<'_>, kind: &Kind) -> bool {
    match kind {
        Kind::Transaction => !utility.is_two_phase(),
        // DISCARD, DEALLOCATE, UNLISTEN, CLOSE
        Kind::Session => true,
        Kind::Set => utility.setting().is_some_and(|(name, resets)| {
            SET.contains(&name.as_str()) || resets && RESET.contains(&name.as_str())
        }),
        Kind::Show => utility
            .setting()
            .is_some_and(|(name, _)| SET.contains(&name.as_str()) || SHOW.contains(&name.as_str())),
        _ => false,
    }
}
