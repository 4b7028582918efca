//! The SQL of revocations: `custodian.revocation`.

use super::error::IdentityError;
use super::issuer::MAX_LEEWAY;
use crate::error::ServerError;
use crate::pg::catalog;
use pgrx::spi::SpiClient;

/// A row of `custodian.revocation`.
pub struct Revoked<'a> {
    /// `None`: of every issuer.
    pub issuer: Option<&'a str>,
    pub user_id: Option<&'a str>,
    pub token_id: Option<&'a str>,
    /// Microseconds since 2000.
    pub at: i64,
    pub reinstated: bool,
}

/// The leeway of a trusted issuer in microseconds; `None` if it is not trusted. Reads the table
/// without SQL, so that hooks can ask.
pub fn leeway_of(issuer: &str) -> Result<Option<i64>, ServerError> {
    let mut leeway = None;
    catalog::rows("custodian", "issuer", &["issuer", "leeway"], |row| {
        if row.text(0).is_some_and(|name| name == issuer) {
            leeway = Some(row.interval(1).unwrap_or(MAX_LEEWAY));
        }
    })?;
    Ok(leeway)
}

/// Looks at all revocations, without SQL. Errs where the table is missing: an empty one says that
/// nobody is revoked, a missing one says nothing.
pub fn each(mut look: impl FnMut(&Revoked<'_>)) -> Result<(), ServerError> {
    let columns = ["issuer", "user_id", "token_id", "revoked_at", "reinstated_at"];
    let there = catalog::rows("custodian", "revocation", &columns, |row| {
        let (issuer, user_id, token_id) = (row.text(0), row.text(1), row.text(2));
        look(&Revoked {
            issuer: issuer.as_deref(),
            user_id: user_id.as_deref(),
            token_id: token_id.as_deref(),
            at: row.bigint(3).unwrap_or(i64::MAX),
            reinstated: row.bigint(4).is_some(),
        });
    })?;
    if there { Ok(()) } else { Err(ServerError::NotInstalled) }
}

/// Revokes a person for one issuer or, with `None`, for all, from now on.
pub fn revoke_person(
    client: &mut SpiClient<'_>,
    issuer: Option<&str>,
    user_id: &str,
    reason: &str,
) -> Result<(), IdentityError> {
    // the later of two moments: a clock that was set back must not make old tokens good
    client.update(
        "INSERT INTO custodian.revocation AS r (issuer, user_id, reason) VALUES ($1, $2, $3) \
         ON CONFLICT ((coalesce(issuer, '')), user_id) WHERE user_id IS NOT NULL DO UPDATE \
         SET reason = excluded.reason, revoked_at = greatest(r.revoked_at, excluded.revoked_at), \
             revoked_by = session_user, reinstated_at = NULL, reinstated_by = NULL, reinstated_for = NULL",
        None,
        &[issuer.into(), user_id.into(), reason.into()],
    )?;
    Ok(())
}

/// Whether a person is revoked for all issuers.
pub fn is_revoked_everywhere(client: &SpiClient<'_>, user_id: &str) -> Result<bool, IdentityError> {
    let found = client.select(
        "SELECT 1 FROM custodian.revocation AS r \
         WHERE r.issuer IS NULL AND r.user_id = $1 AND r.reinstated_at IS NULL",
        Some(1),
        &[user_id.into()],
    )?;
    Ok(!found.is_empty())
}

/// Ends the revocations of a person, for one issuer or, with `None`, all; false if there was none.
pub fn reinstate_person(
    client: &mut SpiClient<'_>,
    issuer: Option<&str>,
    user_id: &str,
    reason: &str,
) -> Result<bool, IdentityError> {
    let changed = client.update(
        "UPDATE custodian.revocation AS r \
         SET reinstated_at = clock_timestamp(), reinstated_by = session_user, reinstated_for = $3 \
         WHERE r.user_id = $2 AND r.reinstated_at IS NULL AND ($1::text IS NULL OR r.issuer = $1) RETURNING true",
        None,
        &[issuer.into(), user_id.into(), reason.into()],
    )?;
    Ok(!changed.is_empty())
}

/// Revokes a token.
pub fn revoke_token(
    client: &mut SpiClient<'_>,
    issuer: &str,
    token_id: &str,
    reason: Option<&str>,
) -> Result<(), IdentityError> {
    client.update(
        "INSERT INTO custodian.revocation AS r (issuer, token_id, reason) VALUES ($1, $2, $3) \
         ON CONFLICT (issuer, token_id) WHERE token_id IS NOT NULL DO UPDATE \
         SET reason = coalesce(excluded.reason, r.reason)",
        None,
        &[issuer.into(), token_id.into(), reason.into()],
    )?;
    Ok(())
}
