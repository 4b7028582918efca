//! What becomes of objects while statements run: made, altered, dropped, called.
//!
//! The server tells by object_access, when an object is not yet, or not any more, what it will be. Names
//! are taken at both times: before it is altered or dropped, and when its statement has gone well. A statement that fails
//! has made, altered and dropped nothing, and its record names what it was to be done to.

use crate::event::{Change, Object};
use crate::pg::hooks::object_access::{Access, ObjectAccess};
use crate::pg::local::process_local;
use crate::pg::{catalog, objects, session};
use pgrx::pg_sys::Oid;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Objects that are named of one statement; that there are more is said.
const MOST: usize = 1000;
/// What is noted at a time, with what turns out to have no name. Nothing is searched beyond.
const MOST_NOTED: usize = 2 * MOST;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Address {
    class: Oid,
    object: Oid,
    column: i32,
}

enum Fate {
    Made,
    /// By PostgreSQL for itself: nobody asks for it, nor for its end.
    MadeInternally,
    /// With the name from before, if it had one.
    Altered(Option<Object>),
    /// Dropped or emptied.
    Gone(Object),
    Called(Rc<Object>),
}

struct Touched {
    statement: u32,
    address: Address,
    fate: Fate,
}

#[derive(Default)]
struct Known {
    names: u64,
    functions: HashMap<Oid, Option<Rc<Object>>>,
}

process_local! {
    static TOUCHED: RefCell<Vec<Touched>> = const { RefCell::new(Vec::new()) };
    /// Statements that touched more than could be noted.
    static MORE: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

thread_local! {
    static KNOWN: RefCell<Known> = RefCell::new(Known::default());
}

fn identify(address: Address, change: Change) -> Option<Object> {
    let (kind, name) = objects::identify(address.class, address.object, address.column)?;
    Some(Object { kind, name, change })
}

/// Notes what `statement` does to an object.
pub fn touched(statement: u32, access: &ObjectAccess) {
    let address = Address { class: access.class, object: access.object, column: access.column };
    if TOUCHED.with_borrow(Vec::len) >= MOST_NOTED {
        return MORE.with_borrow_mut(|more| {
            if !more.contains(&statement) {
                more.push(statement);
            }
        });
    }
    if access.access == Access::Executed {
        return called(statement, address);
    }
    let known = TOUCHED.with_borrow(|list| {
        list.iter().rposition(|known| known.statement == statement && known.address == address)
    });
    let fate = match (access.access, known) {
        (Access::Created, None) if access.internal => Fate::MadeInternally,
        // CREATE OR REPLACE counts as creation each time.
        (Access::Created, _) => Fate::Made,
        // A new object is altered until it is what the statement wants; an altered one as well.
        (Access::Altered, Some(_)) => return,
        (Access::Altered, None) => Fate::Altered(identify(address, Change::Altered)),
        (Access::Dropped, known) => {
            let was_made = known.is_some_and(|place| {
                TOUCHED.with_borrow(|list| {
                    list.get(place)
                        .is_some_and(|known| matches!(known.fate, Fate::Made | Fate::MadeInternally))
                })
            });
            if let Some(place) = known {
                TOUCHED.with_borrow_mut(|list| list.remove(place));
            }
            match identify(address, Change::Dropped) {
                Some(object) if !was_made && !access.internal => Fate::Gone(object),
                _ => return,
            }
        }
        (Access::Truncated, None) => match identify(address, Change::Truncated) {
            Some(object) => Fate::Gone(object),
            None => return,
        },
        _ => return,
    };
    TOUCHED.with_borrow_mut(|list| list.push(Touched { statement, address, fate }));
}

/// A function is called; its name was looked up when it was called first.
fn called(statement: u32, address: Address) {
    let names = catalog::functions_generation();
    let known = KNOWN.with_borrow(|known| {
        if known.names == names { known.functions.get(&address.object).cloned() } else { None }
    });
    let object = known.unwrap_or_else(|| {
        let object = identify(address, Change::Called).map(Rc::new);
        KNOWN.with_borrow_mut(|known| {
            if known.names != names || known.functions.len() >= MOST {
                known.functions.clear();
                known.names = names;
            }
            known.functions.insert(address.object, object.clone());
        });
        object
    });
    let Some(object) = object else { return };
    TOUCHED.with_borrow_mut(|list| {
        let is_known = |known: &Touched| known.statement == statement && known.address == address;
        if !list.iter().rev().any(is_known) {
            list.push(Touched { statement, address, fate: Fate::Called(object) });
        }
    });
}

/// Whether anything is known of any statement: mostly not.
pub fn any() -> bool {
    TOUCHED.with_borrow(|list| !list.is_empty())
}

/// What became of objects in `statement`, which ended; `well` if so.
pub fn take(statement: u32, well: bool) -> Vec<Object> {
    let taken: Vec<Touched> = TOUCHED
        .with_borrow_mut(|list| list.extract_if(.., |touched| touched.statement == statement).collect());
    let mut more = MORE.with_borrow_mut(|more| {
        let place = more.iter().position(|number| *number == statement);
        place.map(|place| more.swap_remove(place)).is_some()
    });
    let named = well && session::in_transaction();
    if named && taken.iter().any(|touched| matches!(touched.fate, Fate::Made | Fate::Altered(_))) {
        objects::see_own_changes();
    }
    let mut found = Vec::new();
    for touched in taken {
        if found.len() >= MOST {
            more = true;
            break;
        }
        match touched.fate {
            Fate::Called(object) => found.push(Object::clone(&object)),
            _ if !named => {}
            Fate::Made => found.extend(identify(touched.address, Change::Created)),
            Fate::MadeInternally => {}
            Fate::Gone(object) => found.push(object),
            Fate::Altered(before) => {
                let after = identify(touched.address, Change::Altered);
                match (before, after) {
                    (Some(before), Some(after)) if before.name != after.name => {
                        found.push(Object { change: Change::OldName, ..before });
                        found.push(Object { change: Change::NewName, ..after });
                    }
                    (before, after) => found.extend(after.or(before)),
                }
            }
        }
    }
    if more && named {
        found.push(Object { kind: b"objects".to_vec(), name: b"and more".to_vec(), change: Change::Used });
    }
    found
}

/// Forgets everything: nothing runs any more.
pub fn clear() {
    TOUCHED.with_borrow_mut(Vec::clear);
    MORE.with_borrow_mut(Vec::clear);
}
