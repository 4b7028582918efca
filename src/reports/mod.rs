//! What administrators and auditors read out of the whole.
//!
//! [`health`] looks whether everything that the promises rest on is in place. It changes nothing, but
//! for making room in the journal ahead of need.

pub mod error;
pub mod health;
mod sql;
mod store;

pub use error::ReportsError;
