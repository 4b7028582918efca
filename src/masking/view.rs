//! The masked view of a table: `masked.customers` for `public.customers`.
//!
//! The view belongs to the owner of the cluster and not to the table's, so that nobody below can
//! take its barrier or its masks away. It has the table's columns under their names; the protected ones
//! are shown or masked row by row, by whoever reads. It is made anew when a policy changes.

use crate::masking::policy::record;
use crate::masking::store::{self, Table, ViewColumn};
use crate::masking::view_store;
use crate::masking::{MaskError, spec::Masking};
use crate::pg::{shared, spi};
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// Makes or renews the masked view of `relation` and returns the view.
pub fn generate(relation: Option<Oid>) -> Result<Oid, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let (view, name) = spi::as_owner(|client| {
        store::lock(client)?;
        let table = store::table(client, relation)?;
        Ok::<_, MaskError>((build(client, &table)?, table.name()))
    })?;
    record(name, &serde_json::json!({ "action": "generate_view" }))?;
    Ok(view)
}

/// Renews the masked view if the table has one.
pub fn refresh(client: &mut SpiClient<'_>, table: &Table) -> Result<(), MaskError> {
    if view_store::view_of(client, table.oid)?.is_some() {
        build(client, table)?;
    }
    Ok(())
}

fn build(client: &mut SpiClient<'_>, table: &Table) -> Result<Oid, MaskError> {
    if table.row_security {
        return Err(MaskError::RowSecurity(table.name()));
    }
    view_store::forget_dropped_views(client)?;
    let columns = store::columns(client, table.oid)?;
    let shown: Vec<Shown<'_>> = columns.iter().map(Shown::of).collect::<Result<_, _>>()?;
    let existing = view_store::relation_in_masked(client, &table.table)?;
    if let Some(existing) = &existing {
        match &existing.shows {
            Some(of) if *of == table.oid => {}
            Some(_) => {
                let table_name = existing.shows_name.clone();
                return Err(MaskError::NameTaken { name: table.table.clone(), table: table_name });
            }
            None => return Err(MaskError::NameTaken { name: table.table.clone(), table: None }),
        }
    }
    // a table that was renamed takes its view along under the new name
    let previous = view_store::view_of(client, table.oid)?;
    let replaceable = match (&existing, previous) {
        (Some(existing), Some(view)) if existing.oid == view => {
            existing.columns.len() <= shown.len()
                && existing.columns.iter().zip(&shown).all(|(old, new)| new.is(old))
        }
        _ => false,
    };
    let rights = match previous {
        Some(view) if !replaceable => {
            let rights = view_store::rights_on(client, view)?;
            view_store::drop_view(client, view)?;
            rights
        }
        _ => Vec::new(),
    };
    let view = view_store::create_view(client, table, &shown)?;
    view_store::give_rights(client, &table.table, &rights, &shown)?;
    view_store::put_view(client, view, table.oid)?;
    Ok(view)
}

/// A column of the view.
pub struct Shown<'a> {
    pub name: &'a str,
    /// The type it has in the view: the column's, or below a protected domain the domain's base,
    /// whose constraints a mask need not meet.
    pub type_name: &'a str,
    /// Policy and masking of a protected column.
    pub masked: Option<(i64, Masking)>,
}

impl<'a> Shown<'a> {
    fn of(column: &'a ViewColumn) -> Result<Self, MaskError> {
        let masked = match (&column.policy, &column.masking) {
            (Some(id), Some(text)) => {
                let masking = Masking::parse(text).ok_or_else(|| MaskError::UnknownMasking(text.clone()))?;
                // the type may have changed since the column was protected
                if masking.makes_text() && !column.holds_text {
                    return Err(MaskError::WrongType {
                        masking: masking.to_string(),
                        column: column.name.clone(),
                        type_name: column.type_name.clone(),
                    });
                }
                Some((*id, masking))
            }
            _ => None,
        };
        let type_name = if masked.is_some() { &column.base_type_name } else { &column.type_name };
        Ok(Self { name: &column.name, type_name, masked })
    }

    /// Whether the column is the one that an existing view has, given as name and type.
    fn is(&self, existing: &(String, String)) -> bool {
        self.name == existing.0 && self.type_name == existing.1
    }

    /// The column's expression over the table called `t`.
    pub fn expression(&self) -> String {
        let column = format!("t.{}", quoted(self.name));
        match &self.masked {
            None => column,
            Some((policy, masking)) => {
                let operand =
                    if masking.makes_text() { format!("{column}::pg_catalog.text") } else { column.clone() };
                let (kind, mask) = (self.type_name, masking.call(&operand));
                format!("CASE WHEN mask.reveals({policy}) THEN {column}::{kind} ELSE {mask}::{kind} END")
            }
        }
    }
}

/// An identifier that means itself in SQL, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_without_policy_is_shown_as_it_is() {
        let shown = Shown { name: "Id\"x", type_name: "integer", masked: None };
        assert_eq!(shown.expression(), "t.\"Id\"\"x\"");
    }

    #[test]
    fn a_protected_column_is_masked_unless_the_policy_reveals_it() {
        let masked = Some((7, Masking::parse("partial(2, '**', 4)").unwrap()));
        let shown = Shown { name: "iban", type_name: "character varying(34)", masked };
        assert_eq!(
            shown.expression(),
            "CASE WHEN mask.reveals(7) THEN t.\"iban\"::character varying(34) \
             ELSE mask.partial(t.\"iban\"::pg_catalog.text, 2, '**', 4)::character varying(34) END"
        );
        let shown = Shown { name: "born", type_name: "date", masked: Some((8, Masking::NullValue)) };
        assert_eq!(
            shown.expression(),
            "CASE WHEN mask.reveals(8) THEN t.\"born\"::date ELSE mask.null_value(t.\"born\")::date END"
        );
    }
}
