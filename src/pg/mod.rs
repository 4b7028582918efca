//! The only Rust that touches PostgreSQL's internals, so that no other part needs `unsafe`.
//!
//! What leaves this module is owned Rust data, plain numbers, or a view borrowed for the length
//! of a hook. Nothing here knows what pg_custodian is for.
#![allow(unsafe_code)]

pub mod acl;
pub mod append;
pub mod attempt;
pub mod carried;
pub mod catalog;
pub mod conceal;
pub mod connection;
pub mod contain;
pub mod demand;
pub mod failure;
pub mod form;
pub mod fresh;
pub mod harmless;
pub mod heap;
pub mod hooks;
mod named;
pub mod objects;
pub mod parallel;
pub mod parameters;
pub mod query;
mod ranges;
pub mod raw;
pub mod remote;
pub mod rows;
pub mod scope;
pub mod sent;
pub mod session;
pub mod sessions;
pub mod shared;
pub mod spi;
pub mod start_option;
pub mod text_setting;
pub mod transaction;
pub mod utility;
pub mod version;
pub mod worker;
