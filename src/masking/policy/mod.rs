//! Protecting columns, and defaults for the columns of a schema.

pub mod store;

use crate::event::{Note, Outcome};
use crate::masking::known;
use crate::masking::policy::store::{For, NewPolicy};
use crate::masking::spec::Masking;
use crate::masking::store as tables;
use crate::masking::{MaskError, pattern, view};
use crate::pg::{catalog, lineage, shared, spi};
use crate::trail;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// What a policy says, as it came.
pub struct Asked<'a> {
    pub masking: Option<&'a str>,
    pub reveal_to: Option<Vec<Option<String>>>,
    /// `None` is everybody else.
    pub for_groups: Option<Vec<Option<String>>>,
}

struct Said {
    masking: Masking,
    reveal_to: Vec<String>,
    for_groups: Vec<String>,
}

impl Asked<'_> {
    fn checked(self) -> Result<Said, MaskError> {
        let text = self.masking.ok_or(MaskError::NullArgument("masking"))?;
        let masking = Masking::parse(text).ok_or_else(|| MaskError::UnknownMasking(text.to_owned()))?;
        let reveal_to = groups("reveal_to", self.reveal_to.unwrap_or_default())?;
        let for_groups = match self.for_groups {
            None => Vec::new(),
            Some(given) => {
                let mut named = groups("for_groups", given)?;
                if named.is_empty() {
                    return Err(MaskError::NoGroups);
                }
                named.sort();
                named
            }
        };
        Ok(Said { masking, reveal_to, for_groups })
    }
}

impl Said {
    fn detail(&self, action: &str, id: i64) -> serde_json::Value {
        let mut detail = serde_json::json!({
            "action": action, "policy": id, "masking": self.masking.to_string(), "reveal_to": self.reveal_to,
        });
        if !self.for_groups.is_empty() {
            detail["for_groups"] = serde_json::json!(self.for_groups);
        }
        detail
    }
}

/// Protects a column, or changes how it is protected, and returns the policy's number.
pub fn protect(relation: Option<Oid>, column: Option<&str>, asked: Asked<'_>) -> Result<i64, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let column = column.ok_or(MaskError::NullArgument("column_name"))?;
    let said = asked.checked()?;
    let (id, object) = spi::as_owner(|client| {
        tables::lock(client)?;
        let table = tables::table(client, relation)?;
        let found = tables::column(client, &table, column)?;
        if !said.masking.fits(&found.base_type_name) {
            return Err(MaskError::wrong_type(
                &said.masking,
                column,
                &found.type_name,
                &found.base_type_name,
            ));
        }
        tables::try_mask(client, &said.masking, &found.base_type_name)?;
        let on = For::Column { relation, attnum: found.attnum, name: column };
        let id = put(client, on, &said)?;
        refresh(client, &lineage::descendants(relation))?;
        Ok((id, table.column_name(column)))
    })?;
    record(object, &said.detail("protect", id))?;
    Ok(id)
}

fn put(client: &mut SpiClient<'_>, on: For<'_>, said: &Said) -> Result<i64, MaskError> {
    let (masking, reveal_to, for_groups) = (&said.masking, &said.reveal_to, &said.for_groups);
    store::put_policy(client, &NewPolicy { on, masking, reveal_to, for_groups })
}

/// Ends the policies of a column.
pub fn unprotect(relation: Option<Oid>, column: Option<&str>) -> Result<(), MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let column = column.ok_or(MaskError::NullArgument("column_name"))?;
    let (ids, still, object) = spi::as_owner(|client| {
        tables::lock(client)?;
        let table = tables::table(client, relation)?;
        let found = tables::column(client, &table, column)?;
        let ids = store::delete_policies(client, relation, found.attnum)?;
        let still: Vec<i64> = known::current()?
            .columns_of(relation)
            .iter()
            .filter(|protected| protected.attnum == found.attnum)
            .flat_map(|protected| protected.policies.clone())
            .collect();
        if ids.is_empty() {
            let (relation, column) = (table.name(), column.to_owned());
            return Err(MaskError::NotProtected { relation, column, by: still });
        }
        refresh(client, &lineage::descendants(relation))?;
        Ok::<_, MaskError>((ids, still, table.column_name(column)))
    })?;
    if let Some(id) = still.first() {
        pgrx::notice!("{object} is still protected by policy {id}");
    }
    record(object, &serde_json::json!({ "action": "unprotect", "policies": ids, "still": still }))?;
    Ok(())
}

/// Protects all columns of such names in a schema, and returns the policy's number.
pub fn protect_matching(
    schema: Option<&str>,
    pattern: Option<&str>,
    asked: Asked<'_>,
) -> Result<i64, MaskError> {
    shared::preloaded()?;
    let schema = schema.ok_or(MaskError::NullArgument("schema_name"))?;
    let pattern = pattern.ok_or(MaskError::NullArgument("pattern"))?;
    if !pattern::is_pattern(pattern) {
        return Err(MaskError::BadPattern(pattern.to_owned()));
    }
    let said = asked.checked()?;
    let id = spi::as_owner(|client| {
        tables::lock(client)?;
        tables::check_schema(client, schema)?;
        let id = put(client, For::Matching { schema, pattern }, &said)?;
        refresh_schema(client, schema)?;
        Ok::<_, MaskError>(id)
    })?;
    let mut detail = said.detail("protect_matching", id);
    detail["pattern"] = pattern.into();
    record(crate::access::object::identifier(schema), &detail)?;
    Ok(id)
}

/// Ends one policy.
pub fn drop_policy(id: Option<i64>) -> Result<(), MaskError> {
    shared::preloaded()?;
    let id = id.ok_or(MaskError::NullArgument("policy"))?;
    let object = change(id, |client| store::delete_policy(client, id))?;
    record(object, &serde_json::json!({ "action": "drop_policy", "policy": id }))
}

/// Moves a policy among those of its column or schema.
pub fn order_policy(id: Option<i64>, place: Option<i32>) -> Result<(), MaskError> {
    shared::preloaded()?;
    let id = id.ok_or(MaskError::NullArgument("policy"))?;
    let place = place.ok_or(MaskError::NullArgument("place"))?;
    if place < 1 {
        return Err(MaskError::NotPositive("place"));
    }
    let object = change(id, |client| store::order(client, id, place))?;
    record(object, &serde_json::json!({ "action": "order_policy", "policy": id, "place": place }))
}

/// Changes a policy that exists, and the views of what it is on; returns its name.
fn change(
    id: i64,
    work: impl FnOnce(&mut SpiClient<'_>) -> Result<(), MaskError>,
) -> Result<String, MaskError> {
    spi::as_owner(|client| {
        tables::lock(client)?;
        let place = store::place_of(client, id)?;
        work(client)?;
        match (place.relation, &place.schema) {
            (Some(relation), _) => refresh(client, &lineage::descendants(relation))?,
            (None, Some(schema)) => refresh_schema(client, schema)?,
            (None, None) => {}
        }
        Ok(place.name)
    })
}

/// Renews the masked views of these tables, as far as they have some.
pub fn refresh(client: &mut SpiClient<'_>, relations: &[Oid]) -> Result<(), MaskError> {
    for relation in relations {
        view::refresh(client, *relation)?;
    }
    Ok(())
}

fn refresh_schema(client: &mut SpiClient<'_>, schema: &str) -> Result<(), MaskError> {
    let shown: Vec<Oid> = known::current()?.shown().filter(|relation| is_under(*relation, schema)).collect();
    refresh(client, &shown)
}

/// Whether a table is in the schema, or descends from one that is.
fn is_under(relation: Oid, schema: &str) -> bool {
    lineage::ancestry(relation)
        .into_iter()
        .any(|ancestor| catalog::relation_name(ancestor).is_some_and(|(inside, _)| inside == schema))
}

/// Puts a change of policy on record.
pub fn record(object: String, detail: &serde_json::Value) -> Result<(), MaskError> {
    let detail = Some(detail.to_string());
    let note = Note { event: "policy", outcome: Outcome::Ok, sqlstate: None, object: Some(object), detail };
    Ok(trail::note(&note)?)
}

/// The groups, each once, in the order given.
fn groups(argument: &'static str, given: Vec<Option<String>>) -> Result<Vec<String>, MaskError> {
    let mut groups = Vec::with_capacity(given.len());
    for group in given {
        match group {
            Some(group) if group.trim().is_empty() => return Err(MaskError::NamelessGroup(argument)),
            Some(group) if groups.contains(&group) => {}
            Some(group) => groups.push(group),
            None => return Err(MaskError::NamelessGroup(argument)),
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some(name: &str) -> Option<String> {
        Some(name.to_owned())
    }

    #[test]
    fn groups_are_named_and_counted_once() {
        let groups = |given| groups("reveal_to", given);
        assert_eq!(groups(vec![some("b"), some("a"), some("b")]).unwrap(), ["b", "a"]);
        assert!(matches!(groups(vec![some("a"), None]), Err(MaskError::NamelessGroup("reveal_to"))));
        assert!(matches!(groups(vec![some(" ")]), Err(MaskError::NamelessGroup("reveal_to"))));
    }

    #[test]
    fn a_policy_for_groups_names_one_and_their_order_is_nothing() {
        let asked = |for_groups| Asked { masking: Some("email"), reveal_to: None, for_groups }.checked();
        assert!(asked(None).unwrap().for_groups.is_empty());
        assert!(matches!(asked(Some(vec![])), Err(MaskError::NoGroups)));
        assert_eq!(asked(Some(vec![some("b"), some("a"), some("a")])).unwrap().for_groups, ["a", "b"]);
    }
}
