//! A table as it looks to somebody to whom nothing is revealed.

use crate::masking::policy::record;
use crate::masking::{MaskError, store, view, view_store};
use crate::pg::{session, shared, spi};

use pgrx::pg_sys::Oid;

/// More is no preview.
const MOST: i32 = 1000;

/// Some rows of the table, as JSON. Who asks must be able to read it: what no policy protects is shown as it is.
pub fn preview(relation: Option<Oid>, rows: Option<i32>) -> Result<Vec<String>, MaskError> {
    shared::preloaded()?;
    let relation = relation.ok_or(MaskError::NullArgument("relation"))?;
    let rows = rows.ok_or(MaskError::NullArgument("rows"))?;
    if rows < 1 {
        return Err(MaskError::NotPositive("rows"));
    }
    let role = session::current_user();
    let (found, name) = spi::as_owner(|client| {
        let table = store::table(client, relation)?;
        if table.row_security {
            return Err(MaskError::RowSecurity(table.name()));
        }
        if !store::may_read(client, role, relation)? {
            return Err(MaskError::NotReadable(table.name()));
        }
        let columns = store::columns(client, relation)?;
        let shown = view::shown(&table, &columns)?;
        Ok((view_store::preview(client, &table, &shown, rows.min(MOST))?, table.name()))
    })?;
    record(name, &serde_json::json!({ "action": "preview", "rows": found.len() }))?;
    Ok(found)
}
