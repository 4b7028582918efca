//! Access that is asked for, and decided by rules and by the right people.
//!
//! Promises: the rule decides who decides. Whoever decides is a person with a live token, who is in the group that
//! the rule names and is not who asked; see [`machine`]. An approval counts under the rules of now: if another
//! rule would decide on the request than when it was made, or the same one was set again, it is refused.
//! A grant is on the very object that was asked for, or there is none. Whatever
//! happens to a request is an event `request`, which names persons and tokens; of two who decide at once one comes first.
//!
//! Does not promise that who shares no name, address or claim with somebody is somebody else; see `subject`.

mod decide;
mod error;
pub mod machine;
mod notice;
pub mod rule;
mod rules;
mod sql;
mod store;

pub use decide::expire;
pub use error::RequestError;
pub use notice::tell;
pub use rules::{actor, text};
pub use store::Identity;
