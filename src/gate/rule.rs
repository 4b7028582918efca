//! The rule of `govern` mode, over facts: what is used, where it stands, what is granted.
//! Reads nothing and remembers nothing.

use crate::access::grant::Place;
use crate::access::{Privilege, Privileges};
use pgrx::pg_sys::Oid;

/// What a relation is to the person who uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Used in the person's own right: needs grants.
    Own,
    /// A catalog, or a table or view of ours: the database's privileges rule what is read there.
    System,
    /// A temporary table: holds only what this session put into it.
    Temporary,
    /// Reached through a view by the rights of the view's owner, whom nobody governs: the grant
    /// on the view covers it.
    ThroughOwner,
}

/// One use of one relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub relation: Oid,
    /// The relation to ask a grant for: the table behind a generated view, else the relation.
    pub asked_at: Oid,
    /// Where grants may be that cover the use.
    pub places: Vec<Place>,
    pub needs: Privileges,
    pub standing: Standing,
}

impl Claim {
    /// What of it grants must cover. Reading is free where the database's privileges rule; to
    /// change the catalogs or our tables by hand is to change the database.
    fn judged(&self) -> Option<(Privileges, &[Place])> {
        match self.standing {
            Standing::Own => Some((self.needs, &self.places)),
            Standing::Temporary | Standing::ThroughOwner => None,
            Standing::System => {
                let writes =
                    self.needs.iter().any(|need| !matches!(need, Privilege::Select | Privilege::Export));
                writes.then_some((Privileges::NONE.with(Privilege::Ddl), [Place::Database].as_slice()))
            }
        }
    }

    /// Whether any grant is needed at all.
    pub fn is_judged(&self) -> bool {
        self.judged().is_some_and(|(needs, _)| !needs.is_empty())
    }
}

/// What no grant covers, for the first relation that lacks something.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    pub relation: Oid,
    pub asked_at: Oid,
    pub privileges: Privileges,
}

/// The grants that cover all claims, each once, or what is missing.
/// `cover` answers which grant permits something at a place now.
pub fn judge(claims: &[Claim], cover: impl Fn(Place, Privilege) -> Option<i64>) -> Result<Vec<i64>, Missing> {
    let mut grants = Vec::new();
    for claim in claims {
        let Some((needs, places)) = claim.judged() else { continue };
        let mut lacking = Privileges::NONE;
        for need in needs.iter() {
            match places.iter().find_map(|place| cover(*place, need)) {
                Some(grant) if grants.contains(&grant) => {}
                Some(grant) => grants.push(grant),
                None => lacking = lacking.with(need),
            }
        }
        if !lacking.is_empty() {
            return Err(Missing { relation: claim.relation, asked_at: claim.asked_at, privileges: lacking });
        }
    }
    Ok(grants)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Privilege::{Ddl, Delete, Export, Insert, Select, Update};

    fn oid(value: u32) -> Oid {
        Oid::from(value)
    }

    fn place(relation: u32) -> Place {
        Place::Relation { relation: oid(relation), schema: oid(1) }
    }

    fn claim(relation: u32, needs: &[Privilege], standing: Standing) -> Claim {
        Claim {
            relation: oid(relation),
            asked_at: oid(relation),
            places: vec![place(relation)],
            needs: needs.iter().copied().collect(),
            standing,
        }
    }

    fn missing(relation: u32, privileges: &[Privilege]) -> Result<Vec<i64>, Missing> {
        let privileges = privileges.iter().copied().collect();
        Err(Missing { relation: oid(relation), asked_at: oid(relation), privileges })
    }

    fn nothing(_: Place, _: Privilege) -> Option<i64> {
        None
    }

    #[test]
    fn without_grants_every_use_of_a_table_is_refused() {
        for need in Privilege::ALL {
            assert_eq!(judge(&[claim(7, &[need], Standing::Own)], nothing), missing(7, &[need]));
        }
    }

    #[test]
    fn a_statement_on_no_table_needs_no_grant() {
        assert_eq!(judge(&[], nothing), Ok(vec![]));
        assert_eq!(judge(&[claim(7, &[], Standing::Own)], nothing), Ok(vec![]));
    }

    #[test]
    fn each_privilege_and_each_table_must_be_covered() {
        let cover = |at: Place, privilege| (at == place(7) && privilege == Select).then_some(1);
        assert_eq!(judge(&[claim(7, &[Select], Standing::Own)], cover), Ok(vec![1]));
        assert_eq!(
            judge(&[claim(7, &[Select, Update, Export], Standing::Own)], cover),
            missing(7, &[Update, Export])
        );
        let both = [claim(7, &[Select], Standing::Own), claim(8, &[Select], Standing::Own)];
        assert_eq!(judge(&both, cover), missing(8, &[Select]));
    }

    #[test]
    fn several_grants_can_cover_one_statement_and_each_is_named_once() {
        let cover = |_: Place, privilege| match privilege {
            Select => Some(1),
            Insert => Some(2),
            _ => None,
        };
        let claims = [claim(7, &[Select, Insert], Standing::Own), claim(8, &[Select], Standing::Own)];
        assert_eq!(judge(&claims, cover), Ok(vec![1, 2]));
    }

    #[test]
    fn a_grant_on_the_table_covers_its_masked_view_but_not_the_other_way_round() {
        let view = Claim {
            places: vec![place(70), place(7)],
            asked_at: oid(7),
            ..claim(70, &[Select], Standing::Own)
        };
        let on = |table: u32| move |at: Place, _: Privilege| (at == place(table)).then_some(i64::from(table));
        assert_eq!(judge(std::slice::from_ref(&view), on(7)), Ok(vec![7]));
        assert_eq!(judge(&[view], on(70)), Ok(vec![70]));
        assert_eq!(judge(&[claim(7, &[Select], Standing::Own)], on(70)), missing(7, &[Select]));
    }

    #[test]
    fn catalogs_are_read_freely_and_written_only_with_ddl_on_the_database() {
        assert_eq!(judge(&[claim(9, &[Select], Standing::System)], nothing), Ok(vec![]));
        assert_eq!(judge(&[claim(9, &[Select, Delete], Standing::System)], nothing), missing(9, &[Ddl]));
        let on_database = |at: Place, privilege| (at == Place::Database && privilege == Ddl).then_some(3);
        assert_eq!(judge(&[claim(9, &[Update], Standing::System)], on_database), Ok(vec![3]));
    }

    #[test]
    fn temporary_tables_and_what_an_ungoverned_view_owner_reads_need_nothing() {
        for standing in [Standing::Temporary, Standing::ThroughOwner] {
            assert_eq!(judge(&[claim(9, &[Select, Insert], standing)], nothing), Ok(vec![]));
            assert!(!claim(9, &[Select], standing).is_judged());
        }
    }
}
