//! What a statement is about: objects, and what became of them.

use super::Text;

/// What a statement did to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    /// It read it, wrote to it or named it.
    Used = 0,
    Created = 1,
    Altered = 2,
    /// Altered, and under another name from then on: the next object is the same one.
    OldName = 3,
    NewName = 4,
    Dropped = 5,
    /// A function that it called.
    Called = 6,
    /// Emptied by TRUNCATE, be it by its CASCADE.
    Truncated = 7,
}

impl Change {
    /// The word in the ledger; none where an object was only used.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Used => None,
            Self::Created => Some("created"),
            Self::Altered => Some("altered"),
            Self::OldName => Some("old name"),
            Self::NewName => Some("new name"),
            Self::Dropped => Some("dropped"),
            Self::Called => Some("called"),
            Self::Truncated => Some("truncated"),
        }
    }

    pub(super) fn from_u8(value: u8) -> Option<Self> {
        [
            Self::Used,
            Self::Created,
            Self::Altered,
            Self::OldName,
            Self::NewName,
            Self::Dropped,
            Self::Called,
            Self::Truncated,
        ]
        .into_iter()
        .find(|change| *change as u8 == value)
    }
}

/// An object as an event names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `table`, `view`, `function`, ..., as pg_identify_object() has it.
    pub kind: Text,
    /// Schema-qualified where there are schemas.
    pub name: Text,
    pub change: Change,
}

/// Adds to `objects` what `more` says of the same ones, and of others.
pub fn merge(objects: &mut Vec<Object>, more: Vec<Object>) {
    for object in more {
        let same = objects.iter_mut().find(|known| known.name == object.name && known.kind == object.kind);
        match same {
            Some(known) if known.change == Change::Used => known.change = object.change,
            // Dropped and made again, under the same name.
            Some(known) if known.change != object.change && object.change != Change::Used => {
                objects.push(object);
            }
            Some(_) => {}
            None => objects.push(object),
        }
    }
}

/// What had a statement run that no client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Origin {
    /// A client, or a function that one called.
    #[default]
    Client = 0,
    Trigger = 1,
    /// A foreign key, for ON DELETE and ON UPDATE.
    ForeignKey = 2,
    /// The script of an extension.
    Extension = 3,
}

impl Origin {
    /// The word in the ledger; none for clients.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Client => None,
            Self::Trigger => Some("trigger"),
            Self::ForeignKey => Some("foreign key"),
            Self::Extension => Some("extension"),
        }
    }

    pub(super) fn from_u8(value: u8) -> Option<Self> {
        [Self::Client, Self::Trigger, Self::ForeignKey, Self::Extension]
            .into_iter()
            .find(|origin| *origin as u8 == value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, name: &str, change: Change) -> Object {
        Object { kind: kind.into(), name: name.into(), change }
    }

    #[test]
    fn every_word_comes_back_from_its_number() {
        // As many numbers as there are words: the journal would be damaged by one that is not known.
        let changes: Vec<Change> = (0..=u8::MAX).filter_map(Change::from_u8).collect();
        assert_eq!(changes.last(), Some(&Change::Truncated));
        assert!(changes.iter().enumerate().all(|(number, change)| *change as usize == number));
        let origins: Vec<Origin> = (0..=u8::MAX).filter_map(Origin::from_u8).collect();
        assert_eq!(origins.last(), Some(&Origin::Extension));
        assert!(origins.iter().enumerate().all(|(number, origin)| *origin as usize == number));
    }

    #[test]
    fn what_became_of_a_named_object_is_said_where_it_was_named() {
        let mut objects = vec![object("table", "a", Change::Used), object("table", "b", Change::Used)];
        merge(
            &mut objects,
            vec![
                object("table", "b", Change::OldName),
                object("table", "c", Change::NewName),
                object("index", "a", Change::Dropped),
                object("table", "c", Change::Used),
            ],
        );
        assert_eq!(
            objects,
            [
                object("table", "a", Change::Used),
                object("table", "b", Change::OldName),
                object("table", "c", Change::NewName),
                object("index", "a", Change::Dropped),
            ]
        );
        merge(&mut objects, vec![object("index", "a", Change::Created)]);
        assert_eq!(objects.len(), 5);
    }
}
