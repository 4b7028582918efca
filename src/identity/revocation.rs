//! Whose trust has been taken back: people and single tokens, beside issuers.
//!
//! Promises: a revocation acts at the next statement of every session, because it moves the
//! generation that [`super::session::check`] compares. [`standing`] answers for any identity,
//! whosever session it is, without SQL. After [`reinstate`] only tokens issued later are good.

use super::error::IdentityError;
use super::registry::present;
use super::{changes, revocation_store as store};
use crate::error::ServerError;
use crate::event::{Note, Outcome};
use crate::pg::{shared, spi};
use crate::trail;
use serde_json::{Value, json};

/// Why an identity does not hold any more. In the order of what counts more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// The person was reinstated, but this token is from before that person's revocation.
    IssuedBefore,
    TokenRevoked,
    PersonRevoked,
    /// The issuer is not trusted any more.
    Distrusted,
}

impl Ended {
    /// The error to refuse the person with.
    pub fn of(self, issuer: &str, user_id: &str) -> IdentityError {
        let user_id = user_id.to_owned();
        match self {
            Self::IssuedBefore => IdentityError::IssuedBeforeRevocation { user_id },
            Self::TokenRevoked => IdentityError::TokenRevoked { user_id },
            Self::PersonRevoked => IdentityError::PersonRevoked { user_id },
            Self::Distrusted => IdentityError::Distrusted { user_id, issuer: issuer.to_owned() },
        }
    }
}

/// Whether an identity holds, as far as issuers and revocations are concerned; `exp` is for the
/// caller. `issued_at`: the token's `iat`, microseconds since 2000.
///
/// Reads the tables without SQL and needs a running transaction in the database.
pub fn standing(
    issuer: &str,
    user_id: &str,
    token_id: Option<&str>,
    issued_at: Option<i64>,
) -> Result<Option<Ended>, ServerError> {
    let Some(leeway) = store::leeway_of(issuer)? else { return Ok(Some(Ended::Distrusted)) };
    let mut ended = None;
    store::each(|revoked| {
        if revoked.issuer.is_some_and(|of| of != issuer) {
            return;
        }
        let found = if revoked.token_id.is_some() {
            (revoked.token_id == token_id).then_some(Ended::TokenRevoked)
        } else if revoked.user_id != Some(user_id) {
            None
        } else if !revoked.reinstated {
            Some(Ended::PersonRevoked)
        } else {
            is_from_before(issued_at, revoked.at, leeway).then_some(Ended::IssuedBefore)
        };
        ended = ended.max(found);
    })?;
    Ok(ended)
}

/// Whether a token may have been issued before the person was revoked. All in microseconds, the
/// moments since 2000.
///
/// `iat` is in seconds, which some issuers round up, and on a clock that may be ahead of ours by
/// the issuer's leeway: only a token whose `iat` is later than that is surely from afterwards. A token
/// without `iat` says nothing, and is taken for one from before.
fn is_from_before(issued_at: Option<i64>, revoked_at: i64, leeway: i64) -> bool {
    const SECOND: i64 = 1_000_000;
    let full_second = revoked_at.saturating_add((SECOND - revoked_at.rem_euclid(SECOND)) % SECOND);
    issued_at.is_none_or(|issued| issued <= full_second.saturating_add(leeway))
}

/// What `revoke_person` and `reinstate_person` were called with. `None` is SQL's NULL.
pub struct Asked {
    pub user_id: Option<String>,
    pub reason: Option<String>,
    pub issuer: Option<String>,
}

/// Revokes a person; one who is revoked already, anew from now. Without an issuer it holds for
/// all of them, also for those trusted later. Gives what to tell the administrator, if anything.
pub fn revoke(asked: Asked) -> Result<Option<String>, IdentityError> {
    shared::preloaded()?;
    let (user_id, reason, issuer) = asked.checked()?;
    let issuers = super::store::issuers()?;
    if let Some(issuer) = issuer.as_ref().filter(|issuer| !issuers.contains(issuer)) {
        return Err(IdentityError::RevokedOfUnknown(issuer.clone()));
    }
    spi::as_owner(|client| store::revoke_person(client, issuer.as_deref(), &user_id, &reason))?;
    changes::announce();
    note(&user_id, &json!({"action": "revoke_person", "issuer": issuer, "reason": reason}))?;
    let issuers = issuers.len();
    let everywhere = issuer.is_none() && issuers != 1;
    Ok(everywhere.then(|| {
        format!("\"{user_id}\" is revoked for all {issuers} trusted issuers, and for those trusted later")
    }))
}

/// Lets a revoked person in again, with tokens issued since. Without an issuer, whatever issuers
/// the person was revoked for.
pub fn reinstate(asked: Asked) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let (user_id, reason, issuer) = asked.checked()?;
    spi::as_owner(|client| {
        if issuer.is_some() && store::is_revoked_everywhere(client, &user_id)? {
            return Err(IdentityError::RevokedEverywhere(user_id.clone()));
        }
        if store::reinstate_person(client, issuer.as_deref(), &user_id, &reason)? {
            Ok(())
        } else {
            Err(IdentityError::NotRevoked(user_id.clone()))
        }
    })?;
    changes::announce();
    note(&user_id, &json!({"action": "reinstate_person", "issuer": issuer, "reason": reason}))
}

/// Revokes the token with this `jti`, for good.
pub fn revoke_token(
    issuer: Option<String>,
    token_id: Option<String>,
    reason: Option<String>,
) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let (issuer, token_id) = (filled(issuer, "issuer")?, filled(token_id, "token_id")?);
    if !super::store::issuers()?.contains(&issuer) {
        return Err(IdentityError::UnknownIssuer(issuer));
    }
    spi::as_owner(|client| store::revoke_token(client, &issuer, &token_id, reason.as_deref()))?;
    changes::announce();
    note(&token_id, &json!({"action": "revoke_token", "issuer": issuer, "reason": reason}))
}

impl Asked {
    fn checked(self) -> Result<(String, String, Option<String>), IdentityError> {
        let user_id = filled(self.user_id, "user_id")?;
        let reason = filled(self.reason, "reason")?;
        let issuer = self.issuer.map(|issuer| filled(Some(issuer), "issuer")).transpose()?;
        Ok((user_id, reason, issuer))
    }
}

fn filled(argument: Option<String>, name: &'static str) -> Result<String, IdentityError> {
    let text = present(argument, name)?;
    if text.trim().is_empty() { Err(IdentityError::EmptyArgument(name)) } else { Ok(text) }
}

fn note(object: &str, detail: &Value) -> Result<(), IdentityError> {
    let (object, detail) = (Some(object.to_owned()), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "revocation", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}

#[cfg(test)]
mod tests {
    use super::is_from_before;

    const REVOKED: i64 = 820_000_000_400_000;

    #[test]
    fn a_token_is_from_afterwards_only_if_no_clock_can_make_it_older() {
        let second = |seconds: i64| Some(820_000_000_000_000 + seconds * 1_000_000);
        for (issued, leeway, before) in [
            (second(-3600), 0, true),
            (second(0), 0, true),
            // rounded up by its issuer
            (second(1), 0, true),
            (second(2), 0, false),
            // by a clock ahead of ours
            (second(30), 30_000_000, true),
            (second(31), 30_000_000, true),
            (second(32), 30_000_000, false),
            (Some(i64::MAX), i64::MAX, true),
            (None, 0, true),
        ] {
            assert_eq!(is_from_before(issued, REVOKED, leeway), before, "{issued:?}, {leeway}");
        }
        // in the very second
        assert!(is_from_before(Some(REVOKED), REVOKED, 0));
        assert!(is_from_before(second(0), 820_000_000_000_000, 0));
        assert!(!is_from_before(second(1), 820_000_000_000_000, 0));
    }

    #[test]
    fn a_moment_before_the_year_2000_or_at_the_end_of_time_does_no_harm() {
        assert!(!is_from_before(Some(0), -5_400_000, 0));
        assert!(is_from_before(Some(-5_000_000), -5_400_000, 0));
        assert!(is_from_before(Some(i64::MAX), i64::MAX, 0));
    }
}
