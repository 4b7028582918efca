//! Plannings that are going on, one within the other: planning runs functions that it folds, and what
//! those read is part of the plan.

use crate::pg::local::process_local;
use std::cell::{Cell, RefCell};

process_local! {
    /// The relations on which the plans that are being made depend, beside those they name.
    static FRAMES: RefCell<Vec<Vec<u32>>> = const { RefCell::new(Vec::new()) };
    static MANNER: Cell<Manner> = const { Cell::new(Manner { keeps_functions: false, hides_statistics: false }) };
}

/// How the innermost planning is done.
#[derive(Clone, Copy, Default)]
pub struct Manner {
    /// Set-returning functions stay calls.
    pub keeps_functions: bool,
    /// What is known of the values in masked columns is not used, or estimates would tell of them.
    pub hides_statistics: bool,
}

/// How many plannings are going on.
pub(in crate::pg) fn depth() -> usize {
    FRAMES.with_borrow(Vec::len)
}

/// A planning begins.
pub(in crate::pg) fn open() {
    FRAMES.with_borrow_mut(|frames| frames.push(Vec::new()));
}

/// The planning that began at `depth` has ended, well or badly; what was read within it.
pub(in crate::pg) fn close(depth: usize) -> Vec<u32> {
    FRAMES.with_borrow_mut(|frames| {
        let mut ended = frames.drain(depth.min(frames.len())..);
        ended.next().unwrap_or_default()
    })
}

/// A statement that depends on these relations runs: within a planning, if one is going on.
pub(in crate::pg) fn note(relations: impl Iterator<Item = u32>) {
    FRAMES.with_borrow_mut(|frames| {
        if let Some(innermost) = frames.last_mut() {
            innermost.extend(relations);
        }
    });
}

/// Plans in this manner from now on; returns how it was before.
pub(in crate::pg) fn plan_by(manner: Manner) -> Manner {
    MANNER.replace(manner)
}

/// How the innermost planning is done.
pub(in crate::pg) fn manner() -> Manner {
    MANNER.get()
}
