//! The SQL of identity: `custodian.issuer` and `custodian.enrolled_role`.

use super::algorithm::Algorithm;
use super::enrolled::{self, Mode};
use super::error::IdentityError;
use super::issuer::{Issuer, Terms};
use super::json;
use crate::error::ServerError;
use crate::pg::{catalog, spi};
use pgrx::JsonB;
use pgrx::pg_sys::Oid;
use pgrx::spi::SpiClient;
use rustc_hash::FxHashMap;
use serde_json::Value;

/// Reads an issuer with its keys, or `None` if it is not trusted.
pub fn issuer(name: &str) -> Result<Option<Issuer>, IdentityError> {
    let Some((terms, jwks)) = read(name)? else { return Ok(None) };
    // the row was checked when it was written, but a table can be restored or edited by hand
    let broken = |reason: String| IdentityError::BrokenIssuer(reason);
    terms.check().map_err(|fault| broken(fault.to_string()))?;
    let jwks = json::parse_object(jwks.as_bytes()).map_err(|fault| broken(fault.to_string()))?;
    terms.with_keys(&Value::Object(jwks)).map(Some).map_err(|fault| broken(fault.to_string()))
}

/// Reads the terms of an issuer, or `None` if it is not trusted.
pub fn terms(name: &str) -> Result<Option<Terms>, IdentityError> {
    Ok(read(name)?.map(|(terms, _)| terms))
}

fn read(name: &str) -> Result<Option<(Terms, String)>, IdentityError> {
    spi::as_owner(|client| {
        let found = client.select(
            "SELECT i.jwks::text, i.audience, i.algorithms, i.user_claim, i.email_claim, i.groups_claim, \
                    (extract(epoch FROM i.leeway) * 1000000)::bigint, \
                    (extract(epoch FROM i.max_lifetime) * 1000000)::bigint, i.single_use \
             FROM custodian.issuer AS i WHERE i.issuer = $1",
            Some(1),
            &[name.into()],
        )?;
        let Some(row) = found.into_iter().next() else { return Ok(None) };
        let algorithms: Vec<String> = required(row.get(3)?, "issuer.algorithms")?;
        let algorithms: Option<Vec<_>> = algorithms.iter().map(|name| Algorithm::parse(name)).collect();
        let algorithms =
            algorithms.ok_or_else(|| IdentityError::BrokenIssuer("an algorithm is not supported".into()))?;
        let terms = Terms {
            issuer: name.to_owned(),
            audience: required(row.get(2)?, "issuer.audience")?,
            algorithms,
            user_claim: required(row.get(4)?, "issuer.user_claim")?,
            email_claim: row.get(5)?,
            groups_claim: row.get(6)?,
            leeway: required(row.get(7)?, "issuer.leeway")?,
            max_lifetime: required(row.get(8)?, "issuer.max_lifetime")?,
            single_use: required(row.get(9)?, "issuer.single_use")?,
        };
        Ok(Some((terms, required(row.get(1)?, "issuer.jwks")?)))
    })
}

/// The names of all trusted issuers.
pub fn issuers() -> Result<Vec<String>, ServerError> {
    let mut names = Vec::new();
    catalog::rows("custodian", "issuer", &["issuer"], |row| names.extend(row.text(0)))?;
    names.sort();
    Ok(names)
}

/// Writes an issuer, over the one of that name if there is one.
pub fn save(client: &mut SpiClient<'_>, terms: &Terms, jwks: &Value) -> Result<(), IdentityError> {
    let algorithms: Vec<String> = terms.algorithms.iter().map(|a| a.name().to_owned()).collect();
    client.update(
        "INSERT INTO custodian.issuer AS i (issuer, jwks, audience, algorithms, user_claim, email_claim, \
                groups_claim, leeway, max_lifetime, single_use) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, make_interval(secs => $8::float8 / 1000000), \
                make_interval(secs => $9::float8 / 1000000), $10) \
         ON CONFLICT (issuer) DO UPDATE SET jwks = excluded.jwks, audience = excluded.audience, \
                algorithms = excluded.algorithms, user_claim = excluded.user_claim, \
                email_claim = excluded.email_claim, groups_claim = excluded.groups_claim, \
                leeway = excluded.leeway, max_lifetime = excluded.max_lifetime, \
                single_use = excluded.single_use, changed_at = now(), changed_by = session_user",
        None,
        &[
            terms.issuer.as_str().into(),
            JsonB(jwks.clone()).into(),
            terms.audience.clone().into(),
            algorithms.into(),
            terms.user_claim.as_str().into(),
            terms.email_claim.clone().into(),
            terms.groups_claim.clone().into(),
            terms.leeway.into(),
            terms.max_lifetime.into(),
            terms.single_use.into(),
        ],
    )?;
    Ok(())
}

/// Replaces the keys; false if the issuer is not there.
pub fn replace_keys(client: &mut SpiClient<'_>, issuer: &str, jwks: &Value) -> Result<bool, IdentityError> {
    let changed = client.update(
        "UPDATE custodian.issuer SET jwks = $2, changed_at = now(), changed_by = session_user \
         WHERE issuer = $1 RETURNING true",
        None,
        &[issuer.into(), JsonB(jwks.clone()).into()],
    )?;
    Ok(!changed.is_empty())
}

/// Removes an issuer; false if it was not there.
pub fn remove(client: &mut SpiClient<'_>, issuer: &str) -> Result<bool, IdentityError> {
    let removed = client.update(
        "DELETE FROM custodian.issuer WHERE issuer = $1 RETURNING true",
        None,
        &[issuer.into()],
    )?;
    Ok(!removed.is_empty())
}

/// All enrolled roles, and those of credentials, which nobody can let go. Reads the tables without SQL, so that hooks can
/// ask; empty where the extension is not installed.
pub fn terms_of_roles() -> Result<FxHashMap<Oid, enrolled::Terms>, ServerError> {
    let mut roles = FxHashMap::default();
    let columns = ["role", "mode", "row_limit", "rows_per_hour", "ad_hoc"];
    catalog::rows("custodian", "enrolled_role", &columns, |row| {
        if let Some(role) = row.oid(0) {
            // a word that is not known here, from a later version perhaps, is taken for the strictest
            let mode = row.text(1).as_deref().and_then(Mode::parse).unwrap_or(Mode::Govern);
            let (row_limit, rows_per_hour) = (row.bigint(2), row.bigint(3));
            let ad_hoc = row.boolean(4).unwrap_or(false);
            roles.insert(role, enrolled::Terms { mode, row_limit, rows_per_hour, ad_hoc });
        }
    })?;
    let here = catalog::numbering();
    let columns = ["role_id", "numbered_in", "removed_at", "row_limit", "rows_per_hour", "ad_hoc"];
    catalog::rows("access", "issued_credential", &columns, |row| {
        let is_there = row.bigint(2).is_none() && row.text(1).is_some() && row.text(1) == here;
        if let Some(role) = row.oid(0).filter(|_| is_there) {
            let (row_limit, rows_per_hour) = (row.bigint(3), row.bigint(4));
            let ad_hoc = row.boolean(5).unwrap_or(false);
            roles.insert(role, enrolled::Terms { mode: Mode::Govern, row_limit, rows_per_hour, ad_hoc });
        }
    })?;
    Ok(roles)
}

/// Name of a role, or `None` if it does not exist.
pub fn role_name(client: &SpiClient<'_>, role: Oid) -> Result<Option<String>, IdentityError> {
    let found = client.select(
        "SELECT r.rolname::text FROM pg_catalog.pg_roles AS r WHERE r.oid = $1",
        Some(1),
        &[role.into()],
    )?;
    Ok(match found.into_iter().next() {
        Some(row) => row.get(1)?,
        None => None,
    })
}

/// Enrols a role, or changes its terms.
pub fn enroll(client: &mut SpiClient<'_>, role: Oid, terms: &enrolled::Terms) -> Result<(), IdentityError> {
    client.update(
        "INSERT INTO custodian.enrolled_role AS e (role, mode, row_limit, rows_per_hour, ad_hoc) \
         VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (role) DO UPDATE SET mode = excluded.mode, row_limit = excluded.row_limit, \
                rows_per_hour = excluded.rows_per_hour, ad_hoc = excluded.ad_hoc, enrolled_at = now(), \
                enrolled_by = session_user",
        None,
        &[
            role.into(),
            terms.mode.name().into(),
            terms.row_limit.into(),
            terms.rows_per_hour.into(),
            terms.ad_hoc.into(),
        ],
    )?;
    Ok(())
}

/// Removes a role; false if it was not enrolled.
pub fn unenroll(client: &mut SpiClient<'_>, role: Oid) -> Result<bool, IdentityError> {
    let removed = client.update(
        "DELETE FROM custodian.enrolled_role WHERE role = $1 RETURNING true",
        None,
        &[role.into()],
    )?;
    Ok(!removed.is_empty())
}

fn required<T>(value: Option<T>, what: &'static str) -> Result<T, IdentityError> {
    Ok(value.ok_or(ServerError::UnexpectedNull(what))?)
}
