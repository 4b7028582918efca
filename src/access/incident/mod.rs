//! Break-glass: access at once while something burns, for whoever may, and never unseen.
//!
//! Promises: its access ends by itself after 30 minutes, at once when its incident is closed, and goes on
//! only while that is open. Each use is an alert (in the ledger, in the server log, by NOTIFY) and leaves a review
//! that somebody else has to do; the steward says so when it is overdue. While it lasts every statement of that person
//! is recorded, nested ones too, whatever the settings leave out.
//!
//! Does not promise that an incident is one: the on-call system's word is taken for it.

mod alert;
mod glass;
mod lives;
mod sql;
mod store;

pub use glass::remind;
pub use lives::in_emergency;
