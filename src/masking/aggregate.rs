//! Views that show groups of a table's rows: counts and averages, and no group that is too small.
//!
//! Groups below the minimum are shown together as one row, `others`. If there is only one of them, or they are
//! too few rows together, the smallest group that is large enough joins them: otherwise whoever knows the total
//! finds the hidden group by subtraction. If that does not help, none is shown. An average needs as many
//! values as a group needs rows. One such view for a table, for two could be subtracted from each other.

use crate::masking::aggregate_store::{self, Definition, Made, Measure};
use crate::masking::policy::record;
use crate::masking::store::{self, ViewColumn};
use crate::masking::{MaskError, known, view_store};
use crate::pg::{shared, spi};
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// The longest name (NAMEDATALEN less its end).
const LONGEST_NAME: usize = 63;
const SUFFIX: &str = "_groups";

/// Makes or replaces the aggregate view of a table and returns the view.
pub fn generate(
    relation: Option<Oid>,
    dimensions: Option<Vec<Option<String>>>,
    measures: Option<Vec<Option<String>>>,
    minimum: Option<i32>,
) -> Result<Oid, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let dimensions = dimensions.ok_or(MaskError::NullArgument("dimensions"))?;
    let measures = measures.ok_or(MaskError::NullArgument("measures"))?;
    let minimum = minimum.ok_or(MaskError::NullArgument("minimum_group"))?;
    if minimum < 2 {
        return Err(MaskError::MinimumTooSmall);
    }
    let dimensions: Vec<String> =
        dimensions.into_iter().collect::<Option<_>>().ok_or(MaskError::NullArgument("dimensions"))?;
    if dimensions.is_empty()
        || dimensions.iter().enumerate().any(|(at, name)| dimensions[..at].contains(name))
    {
        return Err(MaskError::BadDimensions);
    }
    let measures: Vec<String> =
        measures.into_iter().collect::<Option<_>>().ok_or(MaskError::NullArgument("measures"))?;
    let wanted: Vec<Wanted> = measures
        .iter()
        .map(|text| Wanted::parse(text).ok_or_else(|| MaskError::UnknownMeasure(text.clone())))
        .collect::<Result<_, _>>()?;
    let (view, name) = spi::as_owner(|client| {
        store::lock(client)?;
        let table = store::table(client, relation)?;
        if table.row_security {
            return Err(MaskError::RowSecurity(table.name()));
        }
        let columns = store::columns(client, relation)?;
        let find = |name: &str| {
            columns
                .iter()
                .find(|column| column.name == name)
                .ok_or_else(|| MaskError::UnknownColumn { relation: table.name(), column: name.to_owned() })
        };
        let known = known::current()?;
        let protected = known.columns_of(relation);
        let (mut groups, mut numbers) = (Vec::new(), Vec::new());
        for name in &dimensions {
            let column = find(name)?;
            if protected.iter().any(|protected| protected.attnum == column.attnum) {
                return Err(MaskError::ProtectedDimension(name.clone()));
            }
            groups.push((name.as_str(), column.type_name.as_str()));
            numbers.push(column.attnum);
        }
        let measures = wanted.iter().map(|wanted| wanted.of(&find)).collect::<Result<Vec<_>, _>>()?;
        view_store::forget_dropped_views(client)?;
        let name = view_name(&table.table);
        let former = aggregate_store::view_of(client, relation)?;
        if let Some(existing) = view_store::relation_in_masked(client, &name)?
            && former != Some(existing.oid)
        {
            return Err(MaskError::NameTaken { name, table: existing.shows_name });
        }
        let rights = match former {
            Some(view) => {
                let rights = view_store::rights_on(client, view)?;
                view_store::drop_view(client, view)?;
                rights
            }
            None => Vec::new(),
        };
        let definition =
            Definition { name: &name, table: &table, groups: &groups, measures: &measures, minimum };
        let view = aggregate_store::create(client, &definition)?;
        view_store::give_rights(client, &name, &rights, &[])?;
        let measures = measure_texts(&wanted);
        let made =
            Made { view, relation, dimensions: &dimensions, numbers: &numbers, measures: &measures, minimum };
        aggregate_store::put(client, &made)?;
        Ok((view, table.name()))
    })?;
    let detail = serde_json::json!({ "action": "generate_aggregate_view", "dimensions": dimensions,
        "measures": measure_texts(&wanted), "minimum_group": minimum });
    record(name, &detail)?;
    Ok(view)
}

fn measure_texts(wanted: &[Wanted]) -> Vec<String> {
    wanted.iter().map(Wanted::to_string).collect()
}

fn view_name(table: &str) -> String {
    let mut end = table.len().min(LONGEST_NAME - SUFFIX.len());
    while !table.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{SUFFIX}", &table[..end])
}

/// Whether what makes the groups of a table's view is still open: groups of a protected column would show it.
pub fn check(client: &mut SpiClient<'_>, relation: Oid) -> Result<(), MaskError> {
    let known = known::current()?;
    if !known.is_aggregated(relation) {
        return Ok(());
    }
    let Some((view, dimensions)) = aggregate_store::dimensions_of(client, relation)? else { return Ok(()) };
    let protected = known.columns_of(relation);
    match protected.iter().find(|protected| dimensions.contains(&protected.attnum)) {
        Some(protected) => Err(MaskError::IsDimension { column: protected.name.clone(), view }),
        None => Ok(()),
    }
}

/// A measure as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Count,
    Average(String),
}

impl Wanted {
    /// `count` or `avg(column)`: the name in double quotes, or folded to lower case.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (function, rest) = text.split_at(text.find('(').unwrap_or(text.len()));
        match (function.trim().to_ascii_lowercase().as_str(), rest) {
            ("count", "" | "()" | "(*)") => Some(Self::Count),
            ("avg", rest) => {
                let name = rest.strip_prefix('(')?.strip_suffix(')')?.trim();
                let name = match name.strip_prefix('"') {
                    Some(quoted) => {
                        let inner = quoted.strip_suffix('"')?;
                        (!inner.replace("\"\"", "").contains('"')).then(|| inner.replace("\"\"", "\""))?
                    }
                    None => {
                        let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                        name.chars().all(plain).then(|| name.to_lowercase())?
                    }
                };
                (!name.is_empty()).then_some(Self::Average(name))
            }
            _ => None,
        }
    }

    fn of<'a>(
        &self,
        find: &impl Fn(&str) -> Result<&'a ViewColumn, MaskError>,
    ) -> Result<Measure<'a>, MaskError> {
        match self {
            Self::Count => Ok(Measure::Count),
            Self::Average(name) => {
                let column = find(name)?;
                if column.is_number {
                    Ok(Measure::Average(&column.name))
                } else {
                    let (column, type_name) = (name.clone(), column.type_name.clone());
                    Err(MaskError::NoAverage { column, type_name })
                }
            }
        }
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Count => f.write_str("count"),
            Self::Average(column) => write!(f, "avg({})", crate::access::object::identifier(column)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_are_counts_and_averages_and_no_sql() {
        let average = |name: &str| Some(Wanted::Average(name.into()));
        for (text, expected) in [
            ("count", Some(Wanted::Count)),
            (" COUNT(*) ", Some(Wanted::Count)),
            ("avg(salary)", average("salary")),
            ("AVG( Salary )", average("salary")),
            ("avg(\"Sa\"\"lary\")", average("Sa\"lary")),
            ("avg(\"a\") , (select \"b\")", None),
            ("avg(\"a\" || \"b\")", None),
            ("avg(salary) filter (where id = 1)", None),
            ("avg(salary + 1)", None),
            ("avg()", None),
            ("max(salary)", None),
            ("sum(salary)", None),
            ("count(salary)", None),
            ("", None),
        ] {
            assert_eq!(Wanted::parse(text), expected, "{text}");
        }
        assert_eq!(Wanted::Average("Sa lary".into()).to_string(), "avg(\"Sa lary\")");
    }

    #[test]
    fn the_name_of_the_view_fits_whatever_the_table_is_called() {
        assert_eq!(view_name("people"), "people_groups");
        assert_eq!(view_name(&"ä".repeat(31)), format!("{}_groups", "ä".repeat(28)));
    }
}
