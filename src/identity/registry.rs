//! Registering issuers: trust, rotate, distrust.

use super::changes;
use super::error::IdentityError;
use super::issuer::{Issuer, Terms};
use super::jwks::KeySet;
use super::store;
use crate::event::{Note, Outcome};
use crate::pg::{shared, spi};
use crate::trail;
use serde_json::{Value, json};

/// What `trust_issuer` was called with. `None` is SQL's NULL, lengths of time are microseconds.
pub struct Asked {
    pub issuer: Option<String>,
    pub jwks: Option<Value>,
    pub audience: Option<Vec<Option<String>>>,
    pub algorithms: Option<Vec<Option<String>>>,
    pub user_claim: Option<String>,
    pub email_claim: Option<String>,
    pub groups_claim: Option<String>,
    pub leeway: Option<i64>,
    pub max_lifetime: Option<i64>,
    pub single_use: Option<bool>,
}

/// Trusts an issuer from now on. For one that is known already, terms and keys are replaced.
/// Returns the reasons for keys that were set aside, for a notice.
pub fn trust(asked: Asked) -> Result<Vec<String>, IdentityError> {
    shared::preloaded()?;
    let jwks = present(asked.jwks.clone(), "jwks")?;
    let terms = asked.terms()?;
    terms.check()?;
    let issuer = terms.with_keys(&jwks)?;
    spi::as_owner(|client| store::save(client, &issuer.terms, &jwks))?;
    changes::announce();
    record(&issuer.terms.issuer, "trust", &issuer.keys)?;
    Ok(reasons(&issuer.keys))
}

/// Replaces the keys of a trusted issuer. People who identified with a key that is gone stay until
/// their tokens expire. Returns as [`trust`].
pub fn rotate(issuer: Option<String>, jwks: Option<Value>) -> Result<Vec<String>, IdentityError> {
    shared::preloaded()?;
    let (name, jwks) = (present(issuer, "issuer")?, present(jwks, "jwks")?);
    let known = store::terms(&name)?.ok_or_else(|| IdentityError::UnknownIssuer(name.clone()))?;
    let Issuer { keys, .. } = known.with_keys(&jwks)?;
    if !spi::as_owner(|client| store::replace_keys(client, &name, &jwks))? {
        return Err(IdentityError::UnknownIssuer(name));
    }
    changes::announce();
    record(&name, "rotate", &keys)?;
    Ok(reasons(&keys))
}

/// Ends the trust in an issuer. Whoever identified with its tokens is refused at the next statement.
pub fn distrust(issuer: Option<String>) -> Result<(), IdentityError> {
    shared::preloaded()?;
    let name = present(issuer, "issuer")?;
    if !spi::as_owner(|client| store::remove(client, &name))? {
        return Err(IdentityError::UnknownIssuer(name));
    }
    changes::announce();
    note(&name, &json!({"action": "distrust"}))
}

/// The trusted issuers and, of each whose keys or terms can vouch for nobody, why.
pub fn issuers() -> Result<Vec<(String, Option<String>)>, IdentityError> {
    let names = store::issuers()?;
    Ok(names
        .into_iter()
        .map(|name| {
            let fault = store::issuer(&name).err().map(|error| error.to_string());
            (name, fault)
        })
        .collect())
}

impl Asked {
    fn terms(self) -> Result<Terms, IdentityError> {
        let algorithms = self.algorithms.map(|names| without_nulls(names, "algorithms")).transpose()?;
        Ok(Terms {
            issuer: present(self.issuer, "issuer")?,
            audience: without_nulls(present(self.audience, "audience")?, "audience")?,
            algorithms: Terms::algorithms(algorithms.as_deref())?,
            user_claim: present(self.user_claim, "user_claim")?,
            email_claim: self.email_claim,
            groups_claim: self.groups_claim,
            leeway: present(self.leeway, "leeway")?,
            max_lifetime: present(self.max_lifetime, "max_lifetime")?,
            single_use: present(self.single_use, "single_use")?,
        })
    }
}

pub(super) fn present<T>(argument: Option<T>, name: &'static str) -> Result<T, IdentityError> {
    argument.ok_or(IdentityError::NullArgument(name))
}

fn without_nulls(values: Vec<Option<String>>, name: &'static str) -> Result<Vec<String>, IdentityError> {
    values.into_iter().map(|value| value.ok_or(IdentityError::NullElement(name))).collect()
}

fn reasons(keys: &KeySet) -> Vec<String> {
    keys.set_aside().iter().map(|aside| format!("{} {}", aside.key, aside.why)).collect()
}

fn record(issuer: &str, action: &str, keys: &KeySet) -> Result<(), IdentityError> {
    let ids: Vec<_> = keys.ids().collect();
    note(issuer, &json!({"action": action, "keys": keys.count(), "key_ids": ids}))
}

fn note(issuer: &str, detail: &Value) -> Result<(), IdentityError> {
    let (object, detail) = (Some(issuer.to_owned()), Some(detail.to_string()));
    Ok(trail::note(&Note { event: "issuer", outcome: Outcome::Ok, sqlstate: None, object, detail })?)
}
