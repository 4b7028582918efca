//! Capture: which statement runs, what it is, how it ends.
//!
//! Promises: a statement's event is in the journal before the statement does anything; every
//! recorded beginning gets its end, be it by success, ERROR, the end of its transaction, or (from
//! the ledger writer) the death of its process. It does not judge, and it does not know who is
//! recorded: the pipeline does. `choice` tells what the settings say of a statement.

pub mod build;
pub mod choice;
pub mod failure;
pub mod objects;
pub mod statement;
