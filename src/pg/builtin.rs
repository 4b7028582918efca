//! What functions are for that statements do not name: those of the server that reach far, and those behind operators and casts.

use super::local::process_local;
use super::{catalog, version};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;

// pg_operator.h, pg_cast.h
const OPERATOR_CATALOG: Oid = Oid::from_u32(2617);
const CAST_CATALOG: Oid = Oid::from_u32(2605);

/// What a function of the server gets at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing that other sessions or other means would not show.
    Nowhere,
    /// What large objects hold.
    ReadsLargeObjects,
    WritesLargeObjects,
    /// Puts a large object into a file of the server.
    WritesFiles,
    ReadsFiles,
    /// The next number of a sequence, whichever that is.
    SetsSequences,
    /// Other sessions.
    Notifies,
    /// What others changed, in whichever table.
    ReadsChanges,
    /// Whoever reads what is changed.
    TellsReplicas,
}

/// pg_proc.dat, in order.
const FUNCTIONS: [(u32, Reach); 37] = [
    (715, Reach::WritesLargeObjects),  // lo_create
    (764, Reach::WritesLargeObjects),  // lo_import
    (765, Reach::WritesFiles),         // lo_export
    (767, Reach::WritesLargeObjects),  // lo_import
    (952, Reach::ReadsLargeObjects),   // lo_open
    (954, Reach::ReadsLargeObjects),   // loread
    (955, Reach::WritesLargeObjects),  // lowrite
    (957, Reach::WritesLargeObjects),  // lo_creat
    (964, Reach::WritesLargeObjects),  // lo_unlink
    (1004, Reach::WritesLargeObjects), // lo_truncate
    (1576, Reach::SetsSequences),      // setval; nextval stands in defaults
    (1765, Reach::SetsSequences),
    (2623, Reach::ReadsFiles), // pg_stat_file
    (2624, Reach::ReadsFiles), // pg_read_file
    (2625, Reach::ReadsFiles), // pg_ls_dir
    (3036, Reach::Notifies),
    (3172, Reach::WritesLargeObjects), // lo_truncate64
    (3293, Reach::ReadsFiles),         // pg_read_file
    (3295, Reach::ReadsFiles),         // pg_read_binary_file
    (3297, Reach::ReadsFiles),         // pg_ls_dir
    (3307, Reach::ReadsFiles),         // pg_stat_file
    (3457, Reach::WritesLargeObjects), // lo_from_bytea
    (3458, Reach::ReadsLargeObjects),  // lo_get
    (3459, Reach::ReadsLargeObjects),
    (3460, Reach::WritesLargeObjects), // lo_put
    (3577, Reach::TellsReplicas),      // pg_logical_emit_message
    (3578, Reach::TellsReplicas),
    (3782, Reach::ReadsChanges), // pg_logical_slot_get_changes and its kin
    (3783, Reach::ReadsChanges),
    (3784, Reach::ReadsChanges),
    (3785, Reach::ReadsChanges),
    (3826, Reach::ReadsFiles), // pg_read_file
    (3827, Reach::ReadsFiles), // pg_read_binary_file
    (3828, Reach::ReadsFiles),
    (4100, if version::READS_FILES_AS_OF_OLD { Reach::ReadsFiles } else { Reach::Nowhere }), // pg_read_file_old
    (6208, Reach::ReadsFiles), // from 16 on; nothing before
    (6209, Reach::ReadsFiles),
];

/// What `function` gets at, if it is one of the server's.
pub fn reach(function: Oid) -> Reach {
    let number = function.to_u32();
    // Most that are called come before and in between; what is not the server's comes behind.
    if !(FUNCTIONS[0].0..=FUNCTIONS[FUNCTIONS.len() - 1].0).contains(&number) {
        return Reach::Nowhere;
    }
    match FUNCTIONS.binary_search_by_key(&number, |(function, _)| *function) {
        Ok(at) => FUNCTIONS[at].1,
        Err(_) => Reach::Nowhere,
    }
}

process_local! {
    static SIGNS: RefCell<(u64, Vec<(Oid, bool)>)> = const { RefCell::new((0, Vec::new())) };
}

/// Whether a function is what an operator or a cast stands for. Remembered as long as no function changes.
pub fn is_behind_a_sign(function: Oid) -> bool {
    let generation = catalog::functions_generation();
    let known = SIGNS.with_borrow(|(of, known)| {
        known.iter().find(|(oid, _)| *of == generation && *oid == function).map(|(_, is)| *is)
    });
    if let Some(is) = known {
        return is;
    }
    let is = [(OPERATOR_CATALOG, "oprcode"), (CAST_CATALOG, "castfunc")].iter().any(|(table, column)| {
        let mut found = false;
        let scanned = catalog::scan(*table, &[column], |row| {
            found = row.oid(0) == Some(function);
            !found
        });
        found && scanned.is_ok()
    });
    SIGNS.with_borrow_mut(|(of, known)| {
        if *of != generation {
            (*of, *known) = (generation, Vec::new());
        }
        known.push((function, is));
    });
    is
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_is_found() {
        assert!(FUNCTIONS.is_sorted_by(|one, next| one.0 < next.0));
        for (number, reach_of_it) in FUNCTIONS {
            assert_eq!(reach(Oid::from(number)), reach_of_it);
        }
        assert_eq!(reach(Oid::from(766)), Reach::Nowhere);
        assert_eq!(reach(Oid::from(16384)), Reach::Nowhere);
    }
}
