//! The masked view of a table: `masked.customers` for `public.customers`.
//!
//! The view belongs to the owner of the cluster and not to the table's, so that nobody below can
//! take its barrier or its masks away. It has the table's columns under their names; the protected ones
//! are shown or masked row by row, by whoever reads. It is made anew when a policy or the table changes.

use crate::access::object::literal;
use crate::masking::known::{self, Known, Protected};
use crate::masking::policy::record;
use crate::masking::store::{self, Table, ViewColumn};
use crate::masking::view_store;
use crate::masking::{MaskError, aggregate, spec::Masking};
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

/// Makes or renews the masked views of all tables of a schema, and returns them.
pub fn generate_all(schema: Option<&str>) -> Result<Vec<Oid>, MaskError> {
    shared::preloaded()?;
    let schema = schema.ok_or(MaskError::NullArgument("schema_name"))?;
    let (made, left) = spi::as_owner(|client| {
        store::lock(client)?;
        store::check_schema(client, schema)?;
        let (mut made, mut left) = (Vec::new(), Vec::new());
        for relation in store::tables_in(client, schema)? {
            let table = store::table(client, relation)?;
            if table.row_security {
                left.push(table.name());
            } else {
                made.push(build(client, &table)?);
            }
        }
        Ok::<_, MaskError>((made, left))
    })?;
    for table in &left {
        pgrx::warning!("no masked view of {table}, which has row-level security");
    }
    let detail = serde_json::json!({ "action": "generate_views", "views": made.len(), "left_out": left });
    record(crate::access::object::identifier(schema), &detail)?;
    Ok(made)
}

/// Renews the masked view if the table has one; what groups it makes must be open.
pub fn refresh(client: &mut SpiClient<'_>, relation: Oid) -> Result<(), MaskError> {
    aggregate::check(client, relation)?;
    if view_store::view_of(client, relation)?.is_some() {
        let table = store::table(client, relation)?;
        build(client, &table)?;
    }
    Ok(())
}

/// Makes the view of a table empty, so that nothing depends on the table while it is changed.
pub fn let_go(client: &mut SpiClient<'_>, relation: Oid) -> Result<(), MaskError> {
    match view_store::view_of(client, relation)? {
        Some(view) => view_store::hollow(client, view),
        None => Ok(()),
    }
}

/// Drops our views of a table that is dropped.
pub fn go_with(client: &mut SpiClient<'_>, relation: Oid) -> Result<(), MaskError> {
    for view in view_store::views_of(client, relation)? {
        view_store::drop_view(client, view)?;
    }
    Ok(())
}

fn build(client: &mut SpiClient<'_>, table: &Table) -> Result<Oid, MaskError> {
    if table.row_security {
        return Err(MaskError::RowSecurity(table.name()));
    }
    view_store::forget_dropped_views(client)?;
    let columns = store::columns(client, table.oid)?;
    let shown = shown(table, &columns)?;
    let previous = view_store::view_of(client, table.oid)?;
    let mut existing = view_store::relation_in_masked(client, &table.table)?;
    if let Some(existing) = &existing {
        match &existing.shows {
            Some(of) if *of == table.oid => {}
            Some(_) => {
                let table_name = existing.shows_name.clone();
                return Err(MaskError::NameTaken { name: table.table.clone(), table: table_name });
            }
            None => return Err(MaskError::NameTaken { name: table.table.clone(), table: None }),
        }
    } else if let Some(previous) = previous {
        // a table that was renamed takes its view along under the new name
        view_store::rename_view(client, previous, &table.table)?;
        existing = view_store::relation_in_masked(client, &table.table)?;
    }
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

/// The columns of a table as its view shows them.
pub fn shown<'a>(table: &Table, columns: &'a [ViewColumn]) -> Result<Vec<Shown<'a>>, MaskError> {
    let known = known::current()?;
    let protected = known.columns_of(table.oid);
    let masked = |column: &ViewColumn| {
        let protected = protected.iter().find(|protected| protected.attnum == column.attnum)?;
        Some(Masked::of(&known, protected, table))
    };
    Ok(columns.iter().map(|column| Shown::of(column, masked(column))).collect())
}

/// How a protected column is shown to whom.
pub struct Masked {
    /// The table, as SQL of type regclass.
    table: String,
    /// Policies for groups, in order.
    groups: Vec<(i64, Masking)>,
    /// The one for everybody else.
    others: Option<(i64, Masking)>,
}

impl Masked {
    fn of(known: &Known, column: &Protected, table: &Table) -> Self {
        let name = format!("{}.{}", quoted(&table.schema), quoted(&table.table));
        let table = format!("{}::pg_catalog.regclass", literal(&name));
        let masking = |id: &i64| (*id, known.masking(*id, &column.base_type));
        let is_for_groups =
            |id: &&i64| known.policy(**id).is_some_and(|policy| !policy.for_groups.is_empty());
        let groups = column.policies.iter().filter(is_for_groups).map(masking).collect();
        let others = column.policies.iter().find(|id| !is_for_groups(id)).map(masking);
        Self { table, groups, others }
    }
}

/// A column of the view.
pub struct Shown<'a> {
    pub name: &'a str,
    /// The type it has in the view: the column's, or below a protected domain the domain's base,
    /// whose constraints a mask need not meet.
    pub type_name: &'a str,
    pub collation: Oid,
    pub masked: Option<Masked>,
}

impl<'a> Shown<'a> {
    fn of(column: &'a ViewColumn, masked: Option<Masked>) -> Self {
        let type_name = if masked.is_some() { &column.base_type_name } else { &column.type_name };
        Self { name: &column.name, type_name, collation: column.collation, masked }
    }

    /// Whether the column is the one that an existing view has.
    fn is(&self, existing: &view_store::ShownBefore) -> bool {
        self.name == existing.name
            && self.type_name == existing.type_name
            && self.collation == existing.collation
    }

    /// The column's expression over the table called `t`.
    pub fn expression(&self) -> String {
        let Some(masked) = &self.masked else { return self.column() };
        let mut arms = String::new();
        let clear = format!("{}::{}", self.column(), self.type_name);
        for (policy, masking) in &masked.groups {
            let mask = self.mask(masking);
            arms += &format!(
                "WHEN mask.reveals({policy}, {}) THEN {clear} WHEN mask.applies({policy}) THEN {mask} ",
                masked.table
            );
        }
        if let Some((policy, _)) = &masked.others {
            arms += &format!("WHEN mask.reveals({policy}, {}) THEN {clear} ", masked.table);
        }
        format!("CASE {arms}ELSE {} END", self.for_others())
    }

    /// What somebody sees of it to whom nothing is revealed.
    pub fn for_others(&self) -> String {
        match &self.masked {
            None => self.column(),
            Some(masked) => match &masked.others {
                Some((_, masking)) => self.mask(masking),
                None => self.mask(&Masking::NullValue),
            },
        }
    }

    fn column(&self) -> String {
        format!("t.{}", quoted(self.name))
    }

    fn mask(&self, masking: &Masking) -> String {
        masking.expression(&self.column(), self.type_name)
    }
}

/// An identifier that means itself in SQL, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown<'a>(name: &'a str, type_name: &'a str, masked: Option<Masked>) -> Shown<'a> {
        Shown { name, type_name, collation: Oid::INVALID, masked }
    }

    fn masked(groups: &[(i64, &str)], others: Option<(i64, &str)>) -> Option<Masked> {
        let masking = |(id, text): (i64, &str)| (id, Masking::parse(text).unwrap());
        Some(Masked {
            table: "T".into(),
            groups: groups.iter().map(|group| masking(*group)).collect(),
            others: others.map(masking),
        })
    }

    #[test]
    fn a_column_without_policy_is_shown_as_it_is() {
        let shown = shown("Id\"x", "integer", None);
        assert_eq!(shown.expression(), "t.\"Id\"\"x\"");
        assert_eq!(shown.for_others(), "t.\"Id\"\"x\"");
    }

    #[test]
    fn a_protected_column_is_masked_unless_the_policy_reveals_it() {
        let iban = shown("iban", "character varying(34)", masked(&[], Some((7, "partial(2, '**', 4)"))));
        assert_eq!(
            iban.expression(),
            "CASE WHEN mask.reveals(7, T) THEN t.\"iban\"::character varying(34) \
             ELSE mask.partial(t.\"iban\"::pg_catalog.text, 2, '**', 4)::character varying(34) END"
        );
        let born = shown("born", "date", masked(&[], Some((8, "null_value"))));
        assert_eq!(
            born.expression(),
            "CASE WHEN mask.reveals(8, T) THEN t.\"born\"::date ELSE mask.null_value(t.\"born\"::date)::date END"
        );
    }

    #[test]
    fn policies_for_groups_are_asked_in_order_and_nobody_else_sees_anything_without_one_for_all() {
        let both = shown("a", "text", masked(&[(3, "hash"), (2, "email")], Some((1, "null_value"))));
        assert_eq!(
            both.expression(),
            "CASE WHEN mask.reveals(3, T) THEN t.\"a\"::text WHEN mask.applies(3) THEN mask.hash(t.\"a\"::pg_catalog.text)::text \
             WHEN mask.reveals(2, T) THEN t.\"a\"::text WHEN mask.applies(2) THEN mask.email(t.\"a\"::pg_catalog.text)::text \
             WHEN mask.reveals(1, T) THEN t.\"a\"::text ELSE mask.null_value(t.\"a\"::text)::text END"
        );
        let groups = shown("a", "text", masked(&[(3, "hash")], None));
        assert!(groups.expression().ends_with("ELSE mask.null_value(t.\"a\"::text)::text END"));
        assert_eq!(groups.for_others(), "mask.null_value(t.\"a\"::text)::text");
    }
}
