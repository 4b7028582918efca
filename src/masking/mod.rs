//! What a column shows to whom.
//!
//! Promises: a masked column shows its mask to everybody but the people of the groups it is
//! revealed to and the holders of a live grant to reveal; the superuser and the application see
//! masks too when they read the masked view. Without the preloaded library the views fail.
//!
//! On the tables themselves people are masked in every statement: see [`rewrite`]. The views also mask whoever
//! is no person, and fail without the library.

mod aggregate;
mod aggregate_store;
mod candidate;
mod candidate_store;
mod clearance;
mod column_type;
mod error;
mod explain;
mod fields;
mod function;
mod function_sql;
mod key;
mod key_store;
mod known;
mod oracle;
mod pattern;
mod policy;
mod preview;
pub mod rewrite;
mod spec;
mod sql;
mod store;
pub mod upkeep;
mod view;
mod view_store;

pub use error::MaskError;
pub use fields::{FieldPolicy, fields_for, relevant};
pub use known::{oracle_functions, table_behind};
pub use oracle::seal_views;
#[cfg(any(test, feature = "pg_test"))]
pub use {
    clearance::{SAFE_DEFAULT, Seen, masking_of, protects, seen},
    known::is_generated,
    spec::Masking,
};
