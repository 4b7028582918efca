//! Access that ends by itself.
//!
//! Promises: a grant names a person or a group, says what it permits on which object and why, and
//! has an end. Its end and its revocation hold at the next use: time is compared whenever a grant
//! is relied on, never remembered as a verdict. Objects are kept by identity, so a rename keeps
//! a grant and a table that is dropped and made again has none.
//!
//! Does not promise that anything is refused: that is the gate's. Privileges of the database stay
//! the ceiling; no grant gives what the role does not have.

pub mod credential;
pub mod duty;
mod error;
pub mod grant;
pub mod incident;
pub mod live;
pub mod object;
pub mod privilege;
pub mod query;
pub mod reliance;
pub mod request;
mod sql;
pub mod steward;
mod store;
mod subject;
pub mod unsettled;

pub use error::request_call;
pub use live::{live_for, live_of};
pub use privilege::{Privilege, Privileges};
