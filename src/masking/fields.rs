//! Which protected columns a statement touches, and how its person sees them: for the record.

use crate::error::ServerError;
use crate::masking::clearance;
use crate::masking::known::{self, Known, Policy};
use crate::pg::query::RelationUse;
use pgrx::pg_sys::Oid;

/// What the person saw of a protected column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldPolicy {
    Masked,
    Revealed,
}

/// Whether the table has protected columns, or the relation is a generated view.
pub fn relevant(relation: Oid) -> Result<bool, ServerError> {
    let known = known::current()?;
    Ok(!known.is_empty() && (known.protects(relation) || known.view(relation).is_some()))
}

/// The protected columns that the statement reads, by name, each once; a column that is read both
/// ways counts as revealed. `uses` holds one entry per range table entry, not merged: a table that is read by a
/// generated view and also otherwise is then told apart.
pub fn fields_for(uses: &[RelationUse]) -> Result<Vec<(String, FieldPolicy)>, ServerError> {
    let known = known::current()?;
    if known.is_empty() {
        return Ok(Vec::new());
    }
    let mut fields = Vec::new();
    collect(&known, uses, clearance::reveals, |policy, seen| {
        match fields.iter_mut().find(|(column, _): &&mut (String, FieldPolicy)| *column == policy.column) {
            Some((_, known)) if seen == FieldPolicy::Revealed => *known = seen,
            Some(_) => {}
            None => fields.push((policy.column.clone(), seen)),
        }
    })?;
    Ok(fields)
}

fn collect<E>(
    known: &Known,
    uses: &[RelationUse],
    reveals: impl Fn(i64) -> Result<bool, E>,
    mut found: impl FnMut(&Policy, FieldPolicy),
) -> Result<(), E> {
    for (index, used) in uses.iter().enumerate().filter(|(_, used)| used.select) {
        if let Some(view) = known.view(used.relid) {
            for (attnum, id) in &view.columns {
                if reads(used, *attnum)
                    && let Some(policy) = known.policy(*id)
                {
                    let seen = if reveals(*id)? { FieldPolicy::Revealed } else { FieldPolicy::Masked };
                    found(policy, seen);
                }
            }
        } else if known.protects(used.relid) && !is_behind_a_view(known, uses, index) {
            for policy in known.policies_of(used.relid).filter(|policy| reads(used, policy.attnum)) {
                found(policy, FieldPolicy::Revealed);
            }
        }
    }
    Ok(())
}

/// Whether the use of a table is the one that a generated view makes of it. Each use of the view
/// comes with one use of the table, which reads all columns: of the table's uses those that read
/// the most are the views'; whatever else reads the table is counted.
fn is_behind_a_view(known: &Known, uses: &[RelationUse], index: usize) -> bool {
    let table = uses[index].relid;
    let views =
        uses.iter().filter(|u| known.view(u.relid).is_some_and(|view| view.relation == table)).count();
    if views == 0 {
        return false;
    }
    let width = |u: &RelationUse| if u.selected.contains(&0) { usize::MAX } else { u.selected.len() };
    let mine = width(&uses[index]);
    let wider = uses
        .iter()
        .enumerate()
        .filter(|(other, u)| {
            u.relid == table && u.select && (width(u) > mine || width(u) == mine && *other < index)
        })
        .count();
    wider < views
}

fn reads(used: &RelationUse, attnum: i16) -> bool {
    used.selected.contains(&attnum) || used.selected.contains(&0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::masking::known::GeneratedView;
    use std::convert::Infallible;

    const TABLE: u32 = 10;
    const VIEW: u32 = 20;

    fn known() -> Known {
        let policy = |id: i64, attnum: i16, column: &str| Policy {
            id,
            relation: Oid::from(TABLE),
            attnum,
            column: column.into(),
            reveal_to: Vec::new(),
        };
        let view = GeneratedView {
            view: Oid::from(VIEW),
            relation: Oid::from(TABLE),
            columns: vec![(2, 1), (3, 2)],
        };
        Known::new(vec![policy(1, 3, "iban"), policy(2, 4, "ssn")], vec![view], [].into())
    }

    fn reading(relid: u32, selected: &[i16]) -> RelationUse {
        RelationUse {
            relid: Oid::from(relid),
            select: true,
            insert: false,
            update: false,
            delete: false,
            truncate: false,
            through: None,
            selected: selected.to_vec(),
            written: Vec::new(),
        }
    }

    fn seen(uses: &[RelationUse], revealed: &[i64]) -> Vec<(String, FieldPolicy)> {
        let mut fields = Vec::new();
        let reveals = |id| Ok::<_, Infallible>(revealed.contains(&id));
        collect(&known(), uses, reveals, |policy, seen| fields.push((policy.column.clone(), seen))).unwrap();
        fields
    }

    fn field(column: &str, seen: FieldPolicy) -> (String, FieldPolicy) {
        (column.into(), seen)
    }

    use FieldPolicy::{Masked, Revealed};

    #[test]
    fn only_protected_columns_that_are_read_are_told() {
        assert_eq!(seen(&[reading(TABLE, &[1, 2])], &[]), []);
        assert_eq!(seen(&[reading(99, &[3])], &[]), []);
        assert_eq!(seen(&[reading(TABLE, &[3])], &[]), [field("iban", Revealed)]);
        assert_eq!(seen(&[reading(TABLE, &[0])], &[]), [field("iban", Revealed), field("ssn", Revealed)]);
        assert_eq!(seen(&[RelationUse { select: false, ..reading(TABLE, &[3]) }], &[]), []);
    }

    #[test]
    fn through_the_view_a_column_is_masked_unless_it_is_revealed_to_the_person() {
        let uses = [reading(VIEW, &[2, 3]), reading(TABLE, &[1, 3, 4])];
        assert_eq!(seen(&uses, &[]), [field("iban", Masked), field("ssn", Masked)]);
        assert_eq!(seen(&uses, &[2]), [field("iban", Masked), field("ssn", Revealed)]);
        assert_eq!(seen(&[reading(VIEW, &[1]), reading(TABLE, &[1, 3, 4])], &[]), []);
    }

    #[test]
    fn what_is_read_beside_the_view_is_not_hidden_behind_it() {
        let view = || reading(VIEW, &[2]);
        let behind = || reading(TABLE, &[1, 3, 4]);
        let expected = [field("iban", Masked), field("ssn", Revealed)];
        assert_eq!(seen(&[view(), behind(), reading(TABLE, &[4])], &[]), expected);
        let expected = [field("ssn", Revealed), field("iban", Masked)];
        assert_eq!(seen(&[reading(TABLE, &[4]), view(), behind()], &[]), expected);
        let twice = [view(), behind(), view(), behind()];
        assert_eq!(seen(&twice, &[]), [field("iban", Masked), field("iban", Masked)]);
        let whole_row = [view(), behind(), reading(TABLE, &[0])];
        assert!(seen(&whole_row, &[]).contains(&field("iban", Revealed)));
    }
}
