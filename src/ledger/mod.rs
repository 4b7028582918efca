//! The ledger: what the journal says, in a table that auditors query and nobody can alter unnoticed.
//!
//! Promises: each event is in it exactly once, in the order of completion; each row's hash covers
//! the row and all before it; SQL cannot change, remove or add rows, nor remove the guards,
//! whoever asks. Whoever goes below SQL is exposed by [`verify`], given a head kept elsewhere.
//!
//! [`merge`] turns frames into rows and [`chain`] into links of the chain, both without a server;
//! [`forwarded`] is what standbys send, [`forwarder`] the life of the worker there, [`accept`] the door here.
//! [`writer`] is the life of the background worker, [`table`] its tables, [`guard`] the locks on
//! the door. [`reader`] reads the rows back in order, for [`verify`] (by several processes: [`shares`]),
//! for a [`checkpoint`], which the [`keeper`] makes and publishes, and for a proof ([`prove`]).

pub mod accept;
pub mod chain;
pub mod checkpoint;
mod drain;
pub mod error;
mod forward_store;
pub mod forwarded;
pub mod forwarder;
pub mod guard;
pub mod indexer;
pub mod keeper;
pub mod merge;
pub mod partition;
pub mod prove;
pub mod reader;
pub mod retention;
pub mod retired;
pub mod row;
pub mod shares;
pub mod sql;
mod store;
pub mod table;
pub mod verify;
pub mod writer;

pub use error::LedgerError;
