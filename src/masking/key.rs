//! Changing the key of the keyed mask functions.

use crate::masking::function::keyed::KEY_LENGTH;
use crate::masking::{MaskError, key_store, policy};
use crate::pg::{shared, spi};

/// Puts a new random key in place of the one there is. All hashes, tokens and noise are others from then on.
pub fn rotate() -> Result<(), MaskError> {
    shared::preloaded()?;
    let mut key = [0_u8; KEY_LENGTH];
    getrandom::fill(&mut key).map_err(|_| MaskError::NoRandomness)?;
    spi::as_owner(|client| key_store::replace(client, &hex::encode(key)))?;
    policy::record("mask.secret_key".into(), &serde_json::json!({ "action": "rotate_key" }))
}
