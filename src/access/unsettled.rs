//! Grants that people have given themselves in the transaction that is running.
//!
//! Promises: such a grant permits nothing before it is committed. Otherwise somebody could ask, use what he was
//! granted and roll back, and neither request nor review would be on file.

use crate::pg::local::process_local;
use std::cell::RefCell;

process_local! {
    static GRANTS: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
    /// Those that were given to whomever.
    static GIVEN: RefCell<Vec<i64>> = const { RefCell::new(Vec::new()) };
}

/// Grant `id` was given by whom it is for, or by who approved it.
pub fn add(id: i64) {
    GRANTS.with_borrow_mut(|grants| grants.push(id));
}

/// Whether grant `id` waits for the commit.
pub fn has(id: i64) -> bool {
    GRANTS.with_borrow(|grants| grants.contains(&id))
}

/// Grant `id` was given by an administrator, for whom it permits things at once.
pub fn given(id: i64) {
    GIVEN.with_borrow_mut(|given| given.push(id));
}

/// Whether nobody else can see grant `id` yet.
pub fn is_new(id: i64) -> bool {
    GIVEN.with_borrow(|given| given.contains(&id))
}

/// The transaction is over.
pub fn settle() {
    GRANTS.with_borrow_mut(Vec::clear);
    GIVEN.with_borrow_mut(Vec::clear);
}
