//! The SQL of the key: `mask.secret_key`.

use crate::masking::MaskError;
use pgrx::spi::SpiClient;

/// Puts a key, in hexadecimal digits, in place of the one there is, or of none.
pub fn replace(client: &mut SpiClient<'_>, key: &str) -> Result<(), MaskError> {
    client.update(
        "INSERT INTO mask.secret_key (key) VALUES ($1) ON CONFLICT (only_one) DO UPDATE SET key = excluded.key",
        None,
        &[key.into()],
    )?;
    Ok(())
}
