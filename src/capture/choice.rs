//! The choice of what is recorded of those who are not accountable: superusers, and the application.
//!
//! Promises: nothing here leaves out a statement of a person or of an enrolled role, one that touches what
//! is protected, or a refusal. Nothing here looks at a catalog before one of its settings is used.

use crate::event::Class;
use crate::pg::acl::{self, Granted};
use crate::pg::local::process_local;
use crate::pg::query::RelationUse;
use crate::pg::text_setting::{self, COUNT, TextSetting};
use crate::pg::{catalog, utility};
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// The settings, in the order in which [`Choice::read`] reads them.
pub static SETTINGS: [TextSetting; COUNT] = [
    TextSetting {
        name: c"pg_custodian.audit_classes",
        short: c"Chooses the classes of statements that are recorded.",
        long: c"A list of read, write, function, role, ddl, misc, misc_set, all and none; one after a minus sign is taken away. People and enrolled roles are recorded whatever it says.",
        // What is left out by default is missed when it is looked for.
        default: c"all",
        check: |text| classes(text).map(|_| ()),
    },
    TextSetting {
        name: c"pg_custodian.audit_object_role",
        short: c"Names a role: what it has privileges on is recorded, whoever uses it.",
        long: c"A statement is recorded if it uses a privilege that was granted to the role, or to one that it is a member of. Empty: none.",
        default: c"",
        check: |_| Ok(()),
    },
    TextSetting {
        name: c"pg_custodian.exclude_relations",
        short: c"Lists relations: statements that use no others are not recorded.",
        long: c"A list of schema.relation and schema.*. People and enrolled roles are recorded whatever it says.",
        default: c"",
        check: |text| relations(text).map(|_| ()),
    },
    TextSetting {
        name: c"pg_custodian.exclude_statements",
        short: c"Lists statements that are not recorded, such as health checks.",
        long: c"Texts between semicolons, compared as they stand. People and enrolled roles are recorded whatever it says.",
        default: c"",
        check: |_| Ok(()),
    },
];

const ALL_CLASSES: u8 = (1 << Class::ALL.len()) - 1;

/// A list of classes as bits.
fn classes(text: &str) -> Result<u8, String> {
    let mut bits = 0;
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let lower = word.to_ascii_lowercase();
        let (takes, name) = match lower.strip_prefix('-') {
            Some(name) => (true, name.trim_start()),
            None => (false, lower.as_str()),
        };
        let named = match name {
            "all" => ALL_CLASSES,
            "none" => 0,
            name => match Class::ALL.into_iter().find(|class| class.as_str().eq_ignore_ascii_case(name)) {
                Some(class) => 1 << class as u8,
                None => {
                    return Err(format!(
                        "\"{word}\" is none of read, write, function, role, ddl, misc, misc_set, all, none."
                    ));
                }
            },
        };
        bits = if takes { bits & !named } else { bits | named };
    }
    Ok(bits)
}

/// A list of relations: schema, and name or `*`, as the server prints them.
fn relations(text: &str) -> Result<Vec<String>, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    words
        .map(|word| match word.split_once('.') {
            Some((schema, name)) if !schema.is_empty() && !name.is_empty() => Ok(word.to_string()),
            _ => Err(format!("\"{word}\" is not of the form schema.relation or schema.*.")),
        })
        .collect()
}

struct Choice {
    changes: u64,
    is_default: bool,
    classes: u8,
    role: String,
    relations: Vec<String>,
    statements: Vec<String>,
    /// What was looked up, and for which states of names and roles.
    names: (u64, u64),
    excluded: BTreeMap<u32, bool>,
    granted: BTreeMap<u32, Rc<Granted>>,
}

process_local! {
    static CHOICE: RefCell<Choice> = const { RefCell::new(Choice::NONE) };
}

impl Choice {
    const NONE: Self = Self {
        changes: 0,
        is_default: false,
        classes: 0,
        role: String::new(),
        relations: Vec::new(),
        statements: Vec::new(),
        names: (0, 0),
        excluded: BTreeMap::new(),
        granted: BTreeMap::new(),
    };

    fn read(changes: u64) -> Self {
        let [classes_text, role, relations_text, statements] = [0, 1, 2, 3].map(text_setting::value);
        let mut choice = Self {
            changes,
            // A value that is not valid has not been set.
            classes: classes(&classes_text).unwrap_or(ALL_CLASSES),
            role: role.trim().to_string(),
            relations: relations(&relations_text).unwrap_or_default(),
            statements: statements
                .split(';')
                .map(|text| text.trim().to_string())
                .filter(|text| !text.is_empty())
                .collect(),
            ..Self::NONE
        };
        choice.is_default = choice.classes == ALL_CLASSES
            && choice.role.is_empty()
            && choice.relations.is_empty()
            && choice.statements.is_empty();
        choice
    }

    /// Forgets what was looked up in catalogs that have changed since.
    fn refresh(&mut self) {
        let names = (catalog::names_generation(), catalog::roles_generation());
        if self.names != names {
            self.names = names;
            self.excluded.clear();
            self.granted.clear();
        }
    }

    fn excludes(&mut self, relid: Oid) -> bool {
        if let Some(known) = self.excluded.get(&relid.to_u32()) {
            return *known;
        }
        let name = catalog::qualified_name(relid).unwrap_or_default();
        let name = String::from_utf8_lossy(&name);
        let schema = catalog::schema_name(relid).unwrap_or_default();
        let excluded =
            self.relations.iter().any(|listed| *listed == name || *listed == format!("{schema}.*"));
        self.excluded.insert(relid.to_u32(), excluded);
        excluded
    }

    fn granted(&mut self, relid: Oid, role: Oid) -> Rc<Granted> {
        let known = self.granted.entry(relid.to_u32());
        known.or_insert_with(|| Rc::new(acl::granted(relid, role))).clone()
    }

    fn is_audited(&mut self, used: &RelationUse, role: Oid) -> bool {
        const SELECT: u64 = pg_sys::ACL_SELECT as u64;
        const WRITES: u64 = (pg_sys::ACL_INSERT | pg_sys::ACL_UPDATE) as u64;
        let bits = [
            (used.select, pg_sys::ACL_SELECT),
            (used.insert, pg_sys::ACL_INSERT),
            (used.update, pg_sys::ACL_UPDATE),
            (used.delete, pg_sys::ACL_DELETE),
            (used.truncate, pg_sys::ACL_TRUNCATE),
        ];
        let wanted = bits.iter().filter(|(wanted, _)| *wanted).fold(0, |all, (_, bit)| all | u64::from(*bit));
        let granted = self.granted(used.relid, role);
        granted.relation & wanted != 0
            || granted.columns.iter().any(|(number, privileges)| {
                // No column, as in count(*), or the whole row: any of them.
                let names = |list: &[i16]| list.contains(number) || list.contains(&0);
                let reads = used.selected.is_empty() || names(&used.selected);
                privileges & wanted & SELECT != 0 && reads
                    || privileges & wanted & WRITES != 0 && names(&used.written)
            })
    }
}

/// A statement as far as the choice looks at it.
pub struct Statement<'a> {
    pub class: Class,
    pub text: &'a [u8],
    /// Whether a client sent it.
    pub sent: bool,
}

/// Whether the settings leave a statement out, or take one in, at all.
#[inline]
pub fn is_made() -> bool {
    let changes = text_setting::changes();
    CHOICE.with_borrow_mut(|choice| {
        if choice.changes != changes {
            *choice = Choice::read(changes);
        }
        !choice.is_default
    })
}

/// Whether a statement that would be recorded is left out. To be asked if [`is_made`].
pub fn leaves_out(statement: &Statement<'_>, relations: impl FnOnce() -> Vec<Oid>) -> bool {
    CHOICE.with_borrow_mut(|choice| {
        if choice.classes & 1 << statement.class as u8 == 0 {
            return true;
        }
        if statement.sent && choice.statements.iter().any(|text| text.as_bytes() == statement.text) {
            return true;
        }
        if choice.relations.is_empty() || !matches!(statement.class, Class::Read | Class::Write) {
            return false;
        }
        choice.refresh();
        let relations = relations();
        !relations.is_empty() && relations.into_iter().all(|relid| choice.excludes(relid))
    })
}

/// Whether a statement is recorded because of what it uses. To be asked if [`is_made`].
pub fn takes_in(uses: impl FnOnce() -> Vec<RelationUse>) -> bool {
    CHOICE.with_borrow_mut(|choice| {
        if choice.role.is_empty() {
            return false;
        }
        choice.refresh();
        let Some(role) = catalog::role(choice.role.as_bytes()) else { return false };
        uses().iter().any(|used| choice.is_audited(used, role))
    })
}

/// What a utility statement that moves rows does with its tables.
pub fn uses_of(kind: &utility::Kind) -> Vec<RelationUse> {
    let used = |relid: &Oid| RelationUse {
        relid: *relid,
        select: matches!(kind, utility::Kind::CopyOut(_)),
        insert: matches!(kind, utility::Kind::CopyIn(_)),
        update: false,
        delete: false,
        truncate: matches!(kind, utility::Kind::Truncate(_)),
        through: None,
        selected: vec![0],
        written: vec![0],
        limits: 0,
    };
    match kind {
        utility::Kind::CopyOut(relid) | utility::Kind::CopyIn(relid) => relid.iter().map(used).collect(),
        utility::Kind::Truncate(relids) => relids.iter().map(used).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_added_and_taken_away_in_their_order() {
        assert_eq!(classes("all"), Ok(ALL_CLASSES));
        assert_eq!(classes(""), Ok(0));
        assert_eq!(classes("none"), Ok(0));
        assert_eq!(classes("READ, Write"), Ok(0b11));
        assert_eq!(classes("all, -misc,-misc_set"), Ok(0b001_1111));
        assert_eq!(classes("-read, read"), Ok(1));
        assert!(classes("reed").unwrap_err().contains("\"reed\""));
        assert!(classes("all; read").is_err());
    }

    #[test]
    fn relations_have_a_schema() {
        assert_eq!(relations(" pg_catalog.*, public.t "), Ok(vec!["pg_catalog.*".into(), "public.t".into()]));
        assert!(relations("t").is_err() && relations("*").is_err() && relations("public.").is_err());
    }
}
