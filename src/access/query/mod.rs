//! Named queries: statements that an administrator has approved, under a name, with typed parameters.
//!
//! Promises: what is defined is one statement that returns typed columns, read when it is defined and bound to its
//! tables by identity; nothing of the name, the parameters or the text becomes anything else. It runs with the rights
//! of the role that defined it, whoever calls it, and shows the person who calls it no more than masks let through.
//! Functions that somebody makes in schema `queries` by hand are no named queries.
//!
//! Does not promise that it is called: who may is a matter of EXECUTE and of grants, which the gate looks at.

mod define;
mod error;
pub mod known;
mod sql;
mod store;

pub use known::Named;
