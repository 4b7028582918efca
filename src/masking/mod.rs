//! What a column shows to whom.
//!
//! Promises: a masked column shows its mask to everybody but the people of the groups it is
//! revealed to and the holders of a live grant to reveal; the superuser and the application see
//! masks too when they read the masked view. Without the preloaded library the views fail.
//!
//! Does not promise anything for whoever may read the table itself: until masking works on
//! tables, a role is masked by having the privilege on `masked.<table>` and none on the table.

mod clearance;
mod error;
mod fields;
mod function;
mod known;
mod policy;
mod spec;
mod sql;
mod store;
mod view;
mod view_store;

pub use error::MaskError;
pub use fields::{FieldPolicy, fields_for, relevant};
pub use known::{oracle_functions, table_behind};
