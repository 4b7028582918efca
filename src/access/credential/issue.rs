//! Making one.

use super::error::CredentialError;
use super::{note, privileges_store, store};
use crate::access::error::AccessError;
use crate::event::Outcome;
use crate::identity::enrolled::{self, Mode};
use crate::identity::secret::Secret;
use crate::identity::{IdentityError, Person, instant, revocation, session as identity};
use crate::pg::{roles, session, shared, spi};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use pgrx::pg_sys::Oid;
use serde_json::json;
use std::rc::Rc;

/// What whoever asked is told, once.
pub struct Issued {
    pub role: String,
    pub password: Secret,
    /// Microseconds since 2000.
    pub valid_until: i64,
}

/// Whom a credential is for.
pub struct Holder {
    pub issuer: String,
    pub user_id: String,
    pub email: Option<String>,
    pub groups: Vec<String>,
}

/// Who asked for it, on which role.
pub struct Asker {
    pub person: Option<Rc<Person>>,
    /// The role whose privileges it does not exceed.
    pub role: Oid,
    /// The enrolled role whose limits it takes over.
    pub enrolled: Option<Oid>,
}

/// Makes a role for the holder of grant `id`. In the transaction of whoever asks: without its commit there is none.
pub fn issue(id: Option<i64>) -> Result<Issued, CredentialError> {
    shared::preloaded()?;
    let id = id.ok_or(AccessError::NullArgument("grant_id"))?;
    session::in_leader()?;
    if identity::is_bound() {
        return Err(IdentityError::NeedsToken.into());
    }
    roles::needs_to_write(c"access.issue_credential()");
    let now = session::now();
    let asker =
        Asker { person: identity::check(now)?, role: session::current_user(), enrolled: enrolled_role()? };
    // Asked before we act in somebody else's right.
    let is_admin = roles::has_rights_of(c"custodian_admin");
    let password = random(32)?;
    let (holder, role, valid_until, credential) = spi::as_owner(|client| {
        store::serialize(client)?;
        let grant = store::grant(client, id)?;
        let holder = holder(id, &asker, is_admin, grant.as_ref())?;
        let Some(grant) = grant else { return Err(AccessError::UnknownGrant(id).into()) };
        if grant.is_revoked || grant.ends_at <= now {
            return Err(AccessError::AlreadyEnded(id).into());
        }
        if grant.starts_at > now {
            return Err(CredentialError::NotBegun(id));
        }
        if let Some(ended) = revocation::standing(&holder.issuer, &holder.user_id, None, Some(now))?
            .filter(|ended| *ended != revocation::Ended::IssuedBefore)
        {
            return Err(ended.of(&holder.issuer, &holder.user_id).into());
        }
        // There is one at a time: whoever has lost the password gets another role, and the first one goes.
        store::replace(client, id, &holder, now)?;
        let name = name(&holder.user_id)?;
        let verifier = roles::verifier(password.expose()).ok_or(CredentialError::NoPassword)?;
        let until = store::spelled(client, grant.ends_at)?;
        let role = roles::create_login(&name, &verifier, &until).ok_or(CredentialError::NoPassword)?;
        store::mark(client, &name, &holder.user_id, id)?;
        let given = privileges_store::give(client, id, &name, asker.role)?;
        if given == 0 {
            let role = String::from_utf8_lossy(&session::role_name(asker.role)).into_owned();
            return Err(CredentialError::Nothing { id, role });
        }
        let credential = store::file(client, id, &holder, (role, &name), grant.ends_at, &asker, now)?;
        Ok((holder, name, grant.ends_at, credential))
    })?;
    let detail = json!({
        "action": "issue", "credential": credential, "grant": id, "user_id": holder.user_id, "issuer": holder.issuer,
        "valid_until": instant::display(instant::from_pg(valid_until)),
    });
    note(Outcome::Ok, None, role.clone(), &detail)?;
    Ok(Issued { role, password, valid_until })
}

/// Whom a credential of the grant is for, if whoever asks may have it.
fn holder(
    id: i64,
    asker: &Asker,
    is_admin: bool,
    grant: Option<&store::Grant>,
) -> Result<Holder, CredentialError> {
    if let (Some(person), Some(grant)) = (&asker.person, grant)
        && grant.is_of(person)
    {
        return Ok(Holder {
            issuer: person.issuer.clone(),
            user_id: person.user_id.clone(),
            email: person.email.clone(),
            groups: person.groups.clone(),
        });
    }
    if !is_admin {
        // Whether there is such a grant is nobody else's business.
        return Err(match asker.person {
            Some(_) => CredentialError::NotYours(id),
            None => CredentialError::NoPerson,
        });
    }
    let grant = grant.ok_or(AccessError::UnknownGrant(id))?;
    // Of whoever is not here nobody knows the groups.
    let Some(user_id) = grant.user_id.clone() else { return Err(CredentialError::OfGroup(id)) };
    let issuer = match &grant.issuer {
        Some(issuer) => issuer.clone(),
        None => store::only_issuer()?.ok_or(CredentialError::NoIssuer(id))?,
    };
    Ok(Holder { issuer, user_id, email: None, groups: Vec::new() })
}

/// The enrolled role that asks, the stricter one if there are two.
fn enrolled_role() -> Result<Option<Oid>, CredentialError> {
    let mut found: Option<(Oid, Mode)> = None;
    for role in [session::session_user(), session::outer_user()] {
        if let Some(mode) = enrolled::mode_of(role)?
            && found.is_none_or(|(_, known)| mode > known)
        {
            found = Some((role, mode));
        }
    }
    Ok(found.map(|(role, _)| role))
}

/// So many random bytes, as text.
fn random(count: usize) -> Result<Secret, CredentialError> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).map_err(|_| CredentialError::NoPassword)?;
    let text = URL_SAFE_NO_PAD.encode(&bytes);
    bytes.fill(0);
    Ok(Secret::new(text))
}

/// A name for the role: whose it is, as far as a name can say, and what no other has.
fn name(user_id: &str) -> Result<String, CredentialError> {
    let mut unique = [0; 6];
    getrandom::fill(&mut unique).map_err(|_| CredentialError::NoPassword)?;
    Ok(format!("custodian_{}_{}", plain(user_id), hex::encode(unique)))
}

/// The beginning of a name in letters that need no quotes: roles' names have 63 bytes.
fn plain(user_id: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    user_id.chars().take(40).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_needs_no_quotes_and_says_whose_it_is() {
        let named = name("Ada.Winter@shop.example").unwrap();
        assert!(named.starts_with("custodian_ada_winter_shop_example_"), "{named}");
        let long = name(&"ä\"';".repeat(50)).unwrap();
        assert!(long.len() <= 63 && long.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{long}");
        assert_ne!(name("a").unwrap(), name("a").unwrap());
    }

    #[test]
    fn a_password_has_256_bits_and_is_never_shown() {
        let (one, other) = (random(32).unwrap(), random(32).unwrap());
        assert_eq!(one.expose().len(), 43);
        assert_ne!(one.expose(), other.expose());
        assert_eq!(format!("{one}{one:?}"), "");
    }
}
