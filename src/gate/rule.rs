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
    /// Where grants may be that cover the use: at the relation, and at the table behind it.
    pub places: [Option<Place>; 2],
    pub needs: Privileges,
    pub standing: Standing,
    /// Columns read and written.
    pub columns: [Vec<i16>; 2],
    /// For which limits of its rows the use was planned; 0 for none.
    pub limits: u64,
}

impl Claim {
    /// What of it grants must cover. Reading is free where the database's privileges rule; to
    /// change the catalogs or our tables by hand is to change the database. What is in them, and what a session has put
    /// aside, is taken out by a grant on the database.
    pub(super) fn judged(&self) -> Option<(Privileges, [Option<Place>; 2])> {
        let exports = Privileges::NONE.when(self.needs.has(Privilege::Export), Privilege::Export);
        let on_database =
            |needs: Privileges| (!needs.is_empty()).then_some((needs, [Some(Place::Database), None]));
        match self.standing {
            Standing::Own => Some((self.needs, self.places)),
            Standing::ThroughOwner => None,
            Standing::Temporary => on_database(exports),
            Standing::System => {
                let writes =
                    self.needs.iter().any(|need| !matches!(need, Privilege::Select | Privilege::Export));
                on_database(exports.when(writes, Privilege::Ddl))
            }
        }
    }

    /// Whether a grant to export it is needed.
    pub fn is_exported(&self) -> bool {
        self.judged().is_some_and(|(needs, _)| needs.has(Privilege::Export))
    }

    /// Whether any grant is needed at all.
    pub fn is_judged(&self) -> bool {
        self.judged().is_some_and(|(needs, _)| !needs.is_empty())
    }
}

/// What covers a privilege on a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover {
    Nothing,
    /// One grant, on all of it.
    Whole(i64),
    /// Several, on the columns that are used.
    Columns(Vec<i64>),
    /// Several, each on some of its rows.
    Rows(Vec<i64>),
}

impl Cover {
    pub fn grants(&self) -> &[i64] {
        match self {
            Self::Nothing => &[],
            Self::Whole(grant) => std::slice::from_ref(grant),
            Self::Columns(grants) | Self::Rows(grants) => grants,
        }
    }
}

/// To which rows a use is limited: for each privilege the grants of which one must let the row through.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limited(pub Vec<(Privilege, Vec<i64>)>);

impl Limited {
    /// Equal limits have equal stamps, and none is 0. Nobody can choose it: it is compared with one that we wrote.
    pub fn stamp(&self) -> u64 {
        // FNV-1a
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut add = |number: u64| {
            for byte in number.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        for (privilege, grants) in &self.0 {
            add(*privilege as u64);
            add(grants.len() as u64);
            grants.iter().for_each(|grant| add(grant.unsigned_abs()));
        }
        if self.0.is_empty() { 0 } else { hash.max(1) }
    }
}

/// Why a statement is refused, for the first relation that is not covered.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub relation: Oid,
    pub asked_at: Oid,
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// No grant covers these.
    Missing(Privileges),
    /// These are covered for some rows only, and nothing limits the statement to them.
    Unlimited(Privileges),
    /// It was planned for other rows than are granted now.
    Outdated,
}

/// The rows that a claim is limited to. `covers` answers what permits something at a place now; `met` is told what
/// is found to cover each privilege.
pub fn cover(
    claim: &Claim,
    covers: impl Fn(&Claim, Place, Privilege) -> Cover,
    mut met: impl FnMut(Privilege, Cover),
) -> Result<Limited, Refusal> {
    let Some((needs, places)) = claim.judged() else { return Ok(Limited::default()) };
    let mut lacking = Privileges::NONE;
    let mut limited = Limited::default();
    for need in needs.iter() {
        let found = places.iter().flatten().map(|place| covers(claim, *place, need));
        let found = found.reduce(better).unwrap_or(Cover::Nothing);
        match &found {
            Cover::Whole(_) | Cover::Columns(_) => {}
            Cover::Rows(rows) => limited.0.push((need, rows.clone())),
            Cover::Nothing => lacking = lacking.with(need),
        }
        met(need, found);
    }
    let (relation, asked_at) = (claim.relation, claim.asked_at);
    if lacking.is_empty() {
        Ok(limited)
    } else {
        Err(Refusal { relation, asked_at, why: Why::Missing(lacking) })
    }
}

/// Adds what is not among them yet.
pub fn add(grants: &mut Vec<i64>, more: &[i64]) {
    for grant in more {
        if !grants.contains(grant) {
            grants.push(*grant);
        }
    }
}

/// Of two covers the one that limits less.
fn better(one: Cover, other: Cover) -> Cover {
    match (&one, &other) {
        (Cover::Whole(_) | Cover::Columns(_), _) | (Cover::Rows(_), Cover::Nothing | Cover::Rows(_)) => one,
        _ => other,
    }
}

/// Whether all claims are covered, or what is missing; with the arguments of [`cover`]. A claim that is limited to
/// some rows must have been planned for just these.
pub fn judge<'a>(
    claims: &'a [Claim],
    covers: impl Fn(&Claim, Place, Privilege) -> Cover,
    mut met: impl FnMut(&'a Claim, Privilege, Cover),
) -> Result<(), Refusal> {
    for claim in claims {
        let limited = cover(claim, &covers, |need, found| met(claim, need, found))?;
        let refused = |why| Err(Refusal { relation: claim.relation, asked_at: claim.asked_at, why });
        match (limited.stamp(), claim.limits) {
            (now, then) if now == then => {}
            (_, 0) => {
                return refused(Why::Unlimited(limited.0.iter().map(|(privilege, _)| *privilege).collect()));
            }
            _ => return refused(Why::Outdated),
        }
    }
    Ok(())
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
            places: [Some(place(relation)), None],
            needs: needs.iter().copied().collect(),
            standing,
            columns: [Vec::new(), Vec::new()],
            limits: 0,
        }
    }

    fn refused(relation: u32, why: Why) -> Result<Vec<i64>, Refusal> {
        Err(Refusal { relation: oid(relation), asked_at: oid(relation), why })
    }

    fn missing(relation: u32, privileges: &[Privilege]) -> Result<Vec<i64>, Refusal> {
        refused(relation, Why::Missing(privileges.iter().copied().collect()))
    }

    fn nothing(_: Place, _: Privilege) -> Option<i64> {
        None
    }

    /// The grants met, each once.
    fn judge_by(
        claims: &[Claim],
        covers: impl Fn(&Claim, Place, Privilege) -> Cover,
    ) -> Result<Vec<i64>, Refusal> {
        let mut grants = Vec::new();
        super::judge(claims, covers, |_, _, cover| add(&mut grants, cover.grants())).map(|()| grants)
    }

    fn judge(claims: &[Claim], whole: impl Fn(Place, Privilege) -> Option<i64>) -> Result<Vec<i64>, Refusal> {
        judge_by(claims, |_, place, need| whole(place, need).map_or(Cover::Nothing, Cover::Whole))
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
            places: [Some(place(70)), Some(place(7))],
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

    #[test]
    fn what_no_grant_on_a_table_covers_is_taken_out_by_one_on_the_database() {
        let on_database = |at: Place, privilege| (at == Place::Database && privilege == Export).then_some(3);
        for standing in [Standing::Temporary, Standing::System] {
            let claim = claim(9, &[Select, Export], standing);
            assert!(claim.is_exported());
            assert_eq!(judge(std::slice::from_ref(&claim), nothing), missing(9, &[Export]));
            assert_eq!(judge(&[claim], on_database), Ok(vec![3]));
        }
        assert!(!claim(9, &[Select, Export], Standing::ThroughOwner).is_exported());
    }

    #[test]
    fn rows_cover_only_what_was_planned_for_just_these() {
        let some = |rows: &'static [i64]| {
            move |_: &Claim, _: Place, need| match need {
                Select => Cover::Rows(rows.to_vec()),
                Update => Cover::Whole(9),
                _ => Cover::Nothing,
            }
        };
        let using = |limits| Claim { limits, ..claim(7, &[Select, Update], Standing::Own) };
        let stamp = |rows: &[i64]| Limited(vec![(Select, rows.to_vec())]).stamp();
        let select: Privileges = [Select].into_iter().collect();
        let judged = |limits, rows| judge_by(&[using(limits)], some(rows));
        assert_eq!(judged(0, &[1, 2]), refused(7, Why::Unlimited(select)));
        assert_eq!(judged(stamp(&[1, 2]), &[1, 2]), Ok(vec![1, 2, 9]));
        for other in
            [stamp(&[1]), stamp(&[1, 2, 3]), stamp(&[12]), Limited(vec![(Update, vec![1, 2])]).stamp()]
        {
            assert_eq!(judged(other, &[1, 2]), refused(7, Why::Outdated));
        }
        // Whoever has the whole table by now is not to see less.
        assert_eq!(judge_by(&[using(stamp(&[1]))], |_, _, _| Cover::Whole(3)), refused(7, Why::Outdated));
        assert_eq!(Limited::default().stamp(), 0);
    }

    #[test]
    fn the_cover_that_limits_less_counts() {
        let view = Claim { places: [Some(place(70)), Some(place(7))], ..claim(70, &[Select], Standing::Own) };
        let at = |first: Cover, second: Cover| {
            let pick =
                move |_: &Claim, at: Place, _| if at == place(70) { first.clone() } else { second.clone() };
            super::cover(&view, pick, |_, _| {}).map(|limited| limited.0.len())
        };
        let rows = || Cover::Rows(vec![1]);
        assert_eq!(at(rows(), Cover::Whole(2)), Ok(0));
        assert_eq!(at(Cover::Whole(2), rows()), Ok(0));
        assert_eq!(at(Cover::Columns(vec![3]), rows()), Ok(0));
        assert_eq!(at(Cover::Nothing, rows()), Ok(1));
        assert_eq!(at(rows(), Cover::Nothing), Ok(1));
    }
}
