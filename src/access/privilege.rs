//! The privileges a grant can carry, and sets of them. Knows nothing of PostgreSQL.

use std::fmt;

/// What a grant permits. The first seven are the database's own words; the last two are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub enum Privilege {
    Select = 1,
    Insert = 1 << 1,
    Update = 1 << 2,
    Delete = 1 << 3,
    Truncate = 1 << 4,
    Execute = 1 << 5,
    Ddl = 1 << 6,
    /// To see masked columns in the clear.
    Reveal = 1 << 7,
    /// To take data out of the database by COPY and its kin.
    Export = 1 << 8,
}

impl Privilege {
    /// Every privilege, in the order in which they are written out.
    pub const ALL: [Self; 9] = [
        Self::Select,
        Self::Insert,
        Self::Update,
        Self::Delete,
        Self::Truncate,
        Self::Execute,
        Self::Ddl,
        Self::Reveal,
        Self::Export,
    ];

    /// The word people write.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Select => "select",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::Truncate => "truncate",
            Self::Execute => "execute",
            Self::Ddl => "ddl",
            Self::Reveal => "reveal",
            Self::Export => "export",
        }
    }

    /// The privilege of that name, in any case; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|privilege| privilege.word().eq_ignore_ascii_case(word))
    }

    /// All words, for hints.
    pub fn words() -> String {
        Self::ALL.map(Self::word).join(", ")
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A set of privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges(u16);

impl Privileges {
    pub const NONE: Self = Self(0);

    pub fn with(self, privilege: Privilege) -> Self {
        Self(self.0 | privilege as u16)
    }

    /// Adds `privilege` if `needed`.
    pub fn when(self, needed: bool, privilege: Privilege) -> Self {
        if needed { self.with(privilege) } else { self }
    }

    pub fn has(self, privilege: Privilege) -> bool {
        self.0 & privilege as u16 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Privilege> {
        Privilege::ALL.into_iter().filter(move |privilege| self.has(*privilege))
    }

    /// The words of the set, in canonical order.
    pub fn words(self) -> Vec<&'static str> {
        self.iter().map(Privilege::word).collect()
    }

    /// As an SQL array, `ARRAY['select', 'reveal']`, for hints that can be pasted.
    pub fn as_sql_array(self) -> String {
        format!("ARRAY['{}']", self.words().join("', '"))
    }
}

impl FromIterator<Privilege> for Privileges {
    fn from_iter<I: IntoIterator<Item = Privilege>>(all: I) -> Self {
        all.into_iter().fold(Self::NONE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_privilege_parses_from_its_own_word_in_any_case() {
        for privilege in Privilege::ALL {
            assert_eq!(Privilege::parse(privilege.word()), Some(privilege));
            assert_eq!(Privilege::parse(&privilege.word().to_uppercase()), Some(privilege));
        }
        for word in ["", "all", "selec", "select ", "sélect", "usage"] {
            assert_eq!(Privilege::parse(word), None, "{word}");
        }
    }

    #[test]
    fn a_set_holds_each_privilege_once_and_writes_them_in_one_order() {
        let set: Privileges = [Privilege::Reveal, Privilege::Select, Privilege::Reveal].into_iter().collect();
        assert_eq!(set.words(), ["select", "reveal"]);
        assert_eq!(set.as_sql_array(), "ARRAY['select', 'reveal']");
        assert!(!set.has(Privilege::Export));
        assert!(Privileges::NONE.is_empty());
    }
}
