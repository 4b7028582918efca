//! Protecting columns.

use crate::event::{Note, Outcome};
use crate::masking::spec::Masking;
use crate::masking::store::{self, NewPolicy};
use crate::masking::{MaskError, view};
use crate::pg::{shared, spi};
use crate::trail;
use pgrx::pg_sys::Oid;

/// Protects a column, or changes how it is protected, and returns the policy's id.
pub fn protect(
    relation: Option<Oid>,
    column: Option<&str>,
    masking: Option<&str>,
    reveal_to: Option<Vec<Option<String>>>,
) -> Result<i64, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let column = column.ok_or(MaskError::NullArgument("column_name"))?;
    let text = masking.ok_or(MaskError::NullArgument("masking"))?;
    let masking = Masking::parse(text).ok_or_else(|| MaskError::UnknownMasking(text.to_owned()))?;
    let reveal_to = groups(reveal_to.unwrap_or_default())?;
    let (id, object) = spi::as_owner(|client| {
        store::lock(client)?;
        let table = store::table(client, relation)?;
        let found = store::column(client, &table, column)?;
        if masking.makes_text() && !found.holds_text {
            return Err(MaskError::WrongType {
                masking: masking.to_string(),
                column: column.to_owned(),
                type_name: found.type_name,
            });
        }
        let policy =
            NewPolicy { relation, attnum: found.attnum, column, masking: &masking, reveal_to: &reveal_to };
        let id = store::put_policy(client, &policy)?;
        view::refresh(client, &table)?;
        Ok((id, table.column_name(column)))
    })?;
    let detail = serde_json::json!({
        "action": "protect", "policy": id, "masking": masking.to_string(), "reveal_to": reveal_to,
    });
    record(object, &detail)?;
    Ok(id)
}

/// Ends the protection of a column.
pub fn unprotect(relation: Option<Oid>, column: Option<&str>) -> Result<(), MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let column = column.ok_or(MaskError::NullArgument("column_name"))?;
    let (id, object) = spi::as_owner(|client| {
        store::lock(client)?;
        let table = store::table(client, relation)?;
        let found = store::column(client, &table, column)?;
        let id = store::delete_policy(client, relation, found.attnum)?
            .ok_or_else(|| MaskError::NotProtected { relation: table.name(), column: column.to_owned() })?;
        view::refresh(client, &table)?;
        Ok::<_, MaskError>((id, table.column_name(column)))
    })?;
    record(object, &serde_json::json!({ "action": "unprotect", "policy": id }))?;
    Ok(())
}

/// Puts a change of policy on record.
pub fn record(object: String, detail: &serde_json::Value) -> Result<(), MaskError> {
    let detail = Some(detail.to_string());
    let note = Note { event: "policy", outcome: Outcome::Ok, sqlstate: None, object: Some(object), detail };
    Ok(trail::note(&note)?)
}

/// The groups, each once, in the order given.
fn groups(given: Vec<Option<String>>) -> Result<Vec<String>, MaskError> {
    let mut groups = Vec::with_capacity(given.len());
    for group in given {
        match group {
            Some(group) if group.trim().is_empty() => return Err(MaskError::NamelessGroup),
            Some(group) if groups.contains(&group) => {}
            Some(group) => groups.push(group),
            None => return Err(MaskError::NamelessGroup),
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_named_and_counted_once() {
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(groups(vec![some("b"), some("a"), some("b")]).unwrap(), ["b", "a"]);
        assert!(matches!(groups(vec![some("a"), None]), Err(MaskError::NamelessGroup)));
        assert!(matches!(groups(vec![some(" ")]), Err(MaskError::NamelessGroup)));
    }
}
