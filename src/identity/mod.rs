//! Who is at the other end of the session: people, from tokens that trusted issuers signed.
//!
//! Promises: a session has a person only after a token passed every check of [`token`] and
//! [`claims`], and only until that token's `exp` or a [`revocation`]. The person lives in this backend's memory and
//! nowhere a statement could write: it is no setting, and no ROLLBACK brings it back. Every attempt is
//! recorded before its outcome is known to the client. The text of a token is in no message and no event.
//!
//! Does not promise that PostgreSQL shows nobody the text of a statement with a token in it while it
//! parses it (what is kept of it is cleaned by `pg::conceal`); pass tokens as parameters.

pub mod algorithm;
pub mod arrival;
mod changes;
pub mod claims;
mod delay;
pub mod enrolled;
mod error;
pub mod identify;
pub mod instant;
pub mod issuer;
pub mod json;
pub mod jwks;
pub mod key;
pub mod live;
#[cfg(any(test, feature = "pg_test"))]
pub mod mint;
mod person;
pub mod refusal;
mod registry;
pub mod revocation;
mod revocation_store;
pub mod secret;
pub mod session;
mod sql;
mod store;
pub mod token;
mod used_tokens;

#[cfg(test)]
mod tests;

pub use error::IdentityError;
pub use person::Person;
pub use registry::issuers;
