//! The SQL of the ledger.

use super::LedgerError;
use crate::pg::spi;

/// Makes the partition of the month that begins on this day.
pub fn make_partition(first_day: &str) -> Result<(), LedgerError> {
    spi::as_owner(|client| {
        client.update("SELECT audit.make_partition($1::pg_catalog.date)", None, &[first_day.into()])?;
        Ok(())
    })
}

/// Builds the indexes of a partition that gets no more rows.
pub fn index_partition(name: &str) -> Result<(), LedgerError> {
    spi::as_owner(|client| {
        client.update("SELECT audit.index_partition($1)", None, &[name.into()])?;
        Ok(())
    })
}

/// Waits for whoever writes to a partition or builds its indexes, and lets nobody in. Its name is one of a [`super::partition::Month`].
pub fn lock_partition(name: &str) -> Result<(), LedgerError> {
    spi::as_owner(|client| {
        client.update(&format!("LOCK TABLE audit.{name} IN SHARE ROW EXCLUSIVE MODE"), None, &[])?;
        Ok(())
    })
}

/// Takes a partition out of the extension and drops it, past the guards.
pub fn drop_partition(name: &str) -> Result<(), LedgerError> {
    spi::as_owner(|client| {
        client.update(&format!("ALTER EXTENSION pg_custodian DROP TABLE audit.{name}"), None, &[])?;
        client.update(&format!("DROP TABLE audit.{name}"), None, &[])?;
        Ok(())
    })
}
