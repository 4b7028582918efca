//! The only Rust that touches PostgreSQL's internals, so that no other part needs `unsafe`.
//!
//! What leaves this module is owned Rust data, plain numbers, or a view borrowed for the length
//! of a hook. Nothing here knows what pg_custodian is for.
#![allow(unsafe_code)]

pub mod acl;
pub mod any_type;
pub mod append;
pub mod attempt;
pub mod body;
pub mod builtin;
mod call;
pub mod carried;
pub mod catalog;
pub mod conceal;
pub mod connection;
pub mod contain;
pub mod ddl;
pub mod definition;
pub mod demand;
pub mod failure;
pub mod form;
pub mod fresh;
pub mod harmless;
pub mod heap;
pub mod hooks;
pub mod lineage;
pub mod local;
pub mod mapped;
mod named;
pub mod objects;
pub mod outlet;
mod own_table;
pub mod parallel;
pub mod parameters;
pub mod predicate;
pub mod query;
mod ranges;
pub mod raw;
pub mod receiver;
pub mod remote;
pub mod reshape;
pub mod roles;
pub mod row_filter;
pub mod rows;
pub mod scope;
pub mod seal;
pub mod sent;
pub mod session;
pub mod sessions;
pub mod shared;
pub mod spi;
pub mod start_option;
mod stop_signal;
pub mod text_array;
pub mod text_setting;
pub mod transaction;
pub mod tree;
mod tuple;
pub mod utility;
pub mod version;
mod words;
pub mod worker;
