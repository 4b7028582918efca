//! Who may read a masked view, carried over when the view is made anew.

use crate::error::ServerError;
use crate::masking::MaskError;
use crate::masking::view::{Shown, quoted};
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;

/// A right on a view that must outlive the view's making anew.
pub struct Right {
    privilege: String,
    /// NULL stands for PUBLIC.
    grantee: Option<String>,
    column: Option<String>,
    grantable: bool,
}

/// The rights others have on a view and its columns.
pub fn rights_on(client: &SpiClient<'_>, view: Oid) -> Result<Vec<Right>, MaskError> {
    let found = client.select(
        "SELECT x.privilege_type, r.rolname::text, o.attname, x.is_grantable FROM ( \
             SELECT c.oid, c.relowner, NULL::text AS attname, c.relacl AS acl FROM pg_catalog.pg_class c \
             UNION ALL \
             SELECT c.oid, c.relowner, a.attname::text, a.attacl FROM pg_catalog.pg_class c \
                 JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid) o \
             CROSS JOIN LATERAL pg_catalog.aclexplode(o.acl) x \
             LEFT JOIN pg_catalog.pg_roles r ON r.oid = x.grantee \
         WHERE o.oid = $1 AND x.grantee <> o.relowner AND (x.grantee = 0 OR r.oid IS NOT NULL)",
        None,
        &[view.into()],
    )?;
    let mut rights = Vec::with_capacity(found.len());
    for row in found {
        let privilege = row.get(1)?.ok_or(ServerError::UnexpectedNull("aclexplode"))?;
        let (grantee, column, grantable) = (row.get(2)?, row.get(3)?, row.get(4)? == Some(true));
        rights.push(Right { privilege, grantee, column, grantable });
    }
    Ok(rights)
}

/// Gives rights back on a view that was made anew; those on columns that are gone end with them.
pub fn give_rights(
    client: &mut SpiClient<'_>,
    view: &str,
    rights: &[Right],
    columns: &[Shown<'_>],
) -> Result<(), MaskError> {
    for right in rights {
        let on = match &right.column {
            Some(column) if columns.iter().any(|shown| shown.name == column) => {
                format!(" ({})", quoted(column))
            }
            Some(_) => continue,
            None => String::new(),
        };
        client.update(
            &format!(
                "GRANT {}{on} ON masked.{} TO {}{}",
                right.privilege,
                quoted(view),
                right.grantee.as_deref().map_or("PUBLIC".to_owned(), quoted),
                if right.grantable { " WITH GRANT OPTION" } else { "" }
            ),
            None,
            &[],
        )?;
    }
    Ok(())
}
