//! Which protected columns a statement touches, and how its person sees them: for the record.

use crate::error::ServerError;
use crate::masking::clearance::{self, Seen};
use crate::masking::known::{self, GeneratedView, Protected};
use crate::masking::rewrite;
use crate::pg::query::RelationUse;
use pgrx::pg_sys::Oid;
use std::rc::Rc;

/// What the person saw of a protected column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldPolicy {
    Masked,
    Revealed,
}

/// Whether the table has protected columns, or the relation is a view of ours.
pub fn relevant(relation: Oid) -> Result<bool, ServerError> {
    let known = known::current()?;
    Ok(!known.is_empty()
        && (known.protects(relation)
            || known.view(relation).is_some()
            || known.aggregated(relation).is_some()))
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
    let behind = Behind {
        view: |relation| known.view(relation),
        columns: |relation| known.columns_of(relation),
        // What an aggregate view tells of a column it tells of groups, to everybody alike.
        hidden: |relation| {
            known.is_aggregated(relation)
                && uses.iter().any(|used| known.aggregated(used.relid) == Some(relation))
        },
    };
    // What has no person, and needs none, reads tables as they are.
    let masked = rewrite::is_masked()?;
    let seen = |relation, attnum| {
        let seen = clearance::seen(relation, attnum)?;
        if seen == Seen::Revealed {
            clearance::rely(relation, attnum)?;
        }
        Ok::<_, ServerError>(seen)
    };
    collect(&behind, uses, masked, seen, |column, seen| {
        match fields.iter_mut().find(|(name, _): &&mut (String, FieldPolicy)| name == column) {
            Some((_, known)) if seen == FieldPolicy::Revealed => *known = seen,
            Some(_) => {}
            None => fields.push((column.to_owned(), seen)),
        }
    })?;
    Ok(fields)
}

/// What is known of relations.
struct Behind<V, C, H> {
    view: V,
    columns: C,
    hidden: H,
}

fn collect<'a, E>(
    behind: &Behind<
        impl Fn(Oid) -> Option<&'a GeneratedView>,
        impl Fn(Oid) -> Rc<[Protected]>,
        impl Fn(Oid) -> bool,
    >,
    uses: &[RelationUse],
    masked: bool,
    seen: impl Fn(Oid, i16) -> Result<Seen, E>,
    mut found: impl FnMut(&str, FieldPolicy),
) -> Result<(), E> {
    for (index, used) in uses.iter().enumerate().filter(|(_, used)| used.select) {
        if let Some(view) = (behind.view)(used.relid) {
            let columns = (behind.columns)(view.relation);
            for (attnum, of) in &view.columns {
                if reads(used, *attnum)
                    && let Some(column) = columns.iter().find(|column| column.attnum == *of)
                {
                    let seen = match seen(view.relation, *of)? {
                        Seen::Revealed => FieldPolicy::Revealed,
                        Seen::Masked(_) | Seen::Unprotected => FieldPolicy::Masked,
                    };
                    found(&column.name, seen);
                }
            }
        } else {
            let columns = (behind.columns)(used.relid);
            if columns.is_empty() || is_behind_a_view(&behind.view, &behind.hidden, uses, index) {
                continue;
            }
            for column in columns.iter().filter(|column| reads(used, column.attnum)) {
                let seen = if masked { seen(used.relid, column.attnum)? } else { Seen::Revealed };
                let policy =
                    if matches!(seen, Seen::Masked(_)) { FieldPolicy::Masked } else { FieldPolicy::Revealed };
                found(&column.name, policy);
            }
        }
    }
    Ok(())
}

/// Whether the use of a table is the one that a generated view makes of it. Each use of the view
/// comes with one use of the table, which reads all columns: of the table's uses those that read
/// the most are the views'; whatever else reads the table is counted.
fn is_behind_a_view<'a>(
    view: &impl Fn(Oid) -> Option<&'a GeneratedView>,
    hidden: &impl Fn(Oid) -> bool,
    uses: &[RelationUse],
    index: usize,
) -> bool {
    let table = uses[index].relid;
    let views = uses.iter().filter(|u| view(u.relid).is_some_and(|view| view.relation == table)).count()
        + usize::from(hidden(table));
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
    use crate::masking::known::Source;
    use std::convert::Infallible;

    const TABLE: u32 = 10;
    const VIEW: u32 = 20;

    fn columns(relation: Oid) -> Rc<[Protected]> {
        let column = |attnum: i16, name: &str| Protected {
            attnum,
            name: name.into(),
            base_type: "text".into(),
            source: Source::Own,
            policies: vec![attnum.into()],
        };
        if relation == Oid::from(TABLE) { [column(3, "iban"), column(4, "ssn")].into() } else { [].into() }
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
            limits: 0,
        }
    }

    fn seen(uses: &[RelationUse], revealed: &[i16]) -> Vec<(String, FieldPolicy)> {
        let view = GeneratedView {
            view: Oid::from(VIEW),
            relation: Oid::from(TABLE),
            columns: vec![(2, 3), (3, 4)],
        };
        let behind = Behind {
            view: |relation| Some(&view).filter(|view| view.view == relation),
            columns,
            hidden: |_| false,
        };
        let mut fields = Vec::new();
        let how = |_, attnum| {
            let revealed = revealed.contains(&attnum);
            Ok::<_, Infallible>(if revealed { Seen::Revealed } else { Seen::Masked(1) })
        };
        collect(&behind, uses, false, how, |column, seen| fields.push((column.to_owned(), seen))).unwrap();
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
        assert_eq!(seen(&uses, &[4]), [field("iban", Masked), field("ssn", Revealed)]);
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
