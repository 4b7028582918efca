//! What a verified token says, and whether it is good here and now (RFC 7519 section 4.1).
//!
//! Promises: `iss` exact, `aud` and `exp` required, `nbf` and `iat` honoured; only `nbf` and `iat`
//! get the issuer's leeway, because nobody outlives the `exp` of his token. A claim that is there but of the
//! wrong type is refused, not ignored: groups that cannot be read must not become "no groups".

use super::instant;
use super::issuer::Terms;
use super::person::Person;
use super::refusal::Refusal;
use serde_json::{Map, Value};

type Claims = Map<String, Value>;

/// Longest name of a person, a token or a group, in bytes.
const MAX_LABEL: usize = 1024;

/// Checks the claims of a token whose signature has been verified, and makes the person of them.
///
/// `now`: microseconds since 1970-01-01 UTC.
pub fn person(claims: &Claims, terms: &Terms, now: i64) -> Result<Person, Refusal> {
    if text(claims, "iss")?.ok_or_else(|| missing("iss"))? != terms.issuer {
        return Err(Refusal::Issuer);
    }
    check_audience(claims, &terms.audience)?;
    let (issued, expires) = check_times(claims, terms, now)?;
    let user_id = path(claims, &terms.user_claim).ok_or_else(|| missing(&terms.user_claim))?;
    Ok(Person {
        issuer: terms.issuer.clone(),
        user_id: label(user_id, &terms.user_claim)?,
        email: email(claims, terms)?,
        name: optional_label(claims, Some("name"))?,
        groups: groups(claims, terms.groups_claim.as_deref())?,
        token_id: optional_label(claims, Some("jti"))?,
        issued_at: issued.map(instant::to_pg),
        expires_at: instant::to_pg(expires),
        claims: Value::Object(claims.clone()).to_string(),
        only_grant: None,
    })
}

/// `aud` is text or an array of text (RFC 7519 section 4.1.3); one match is enough.
fn check_audience(claims: &Claims, ours: &[String]) -> Result<(), Refusal> {
    let wrong = || Refusal::ClaimType { claim: "aud".into(), wanted: "text or an array of text" };
    let meant = |value: &Value| value.as_str().map(|a| ours.iter().any(|o| o == a)).ok_or_else(wrong);
    let matched = match claims.get("aud") {
        None => return Err(missing("aud")),
        Some(Value::Array(values)) => {
            let mut matched = false;
            for value in values {
                matched |= meant(value)?;
            }
            matched
        }
        Some(value) => meant(value)?,
    };
    if matched { Ok(()) } else { Err(Refusal::Audience) }
}

/// Gives `iat` and `exp`, microseconds since 1970.
fn check_times(claims: &Claims, terms: &Terms, now: i64) -> Result<(Option<i64>, i64), Refusal> {
    let expires = date(claims, "exp")?.ok_or_else(|| missing("exp"))?;
    if now >= expires {
        return Err(Refusal::Expired);
    }
    let latest = now.saturating_add(terms.leeway);
    if date(claims, "nbf")?.is_some_and(|begins| begins > latest) {
        return Err(Refusal::NotYetValid);
    }
    let issued = date(claims, "iat")?;
    if issued.is_some_and(|issued| issued > latest) {
        return Err(Refusal::IssuedLater);
    }
    if expires.saturating_sub(issued.unwrap_or(now)) > terms.max_lifetime {
        return Err(Refusal::Lifetime);
    }
    Ok((issued, expires))
}

/// An address the issuer itself calls unverified (OpenID Connect Core section 5.1) is left out:
/// a record would name somebody by an address that is not his.
fn email(claims: &Claims, terms: &Terms) -> Result<Option<String>, Refusal> {
    let address = optional_label(claims, terms.email_claim.as_deref())?;
    // some providers write the boolean as text
    let verified = |claim: &Value| claim == &Value::Bool(true) || claim == "true";
    let unverified = terms.email_claim.as_deref() == Some("email")
        && claims.get("email_verified").is_some_and(|claim| !verified(claim));
    Ok(if unverified { None } else { address })
}

/// An array of text, or one group as text.
fn groups(claims: &Claims, claim: Option<&str>) -> Result<Vec<String>, Refusal> {
    let Some(claim) = claim else { return Ok(Vec::new()) };
    match path(claims, claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(|v| label(v, claim)).collect(),
        Some(value) => Ok(vec![label(value, claim)?]),
    }
}

/// Finds a claim by its whole name, or else by a dotted path such as `realm_access.roles`. The
/// whole name first: claims named by a URL have dots in them.
pub fn path<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.');
    let mut value = claims.get(steps.next()?)?;
    for step in steps {
        value = value.as_object()?.get(step)?;
    }
    Some(value)
}

fn optional_label(claims: &Claims, claim: Option<&str>) -> Result<Option<String>, Refusal> {
    let Some(claim) = claim else { return Ok(None) };
    match path(claims, claim) {
        None | Some(Value::Null) => Ok(None),
        // how some providers write "none"
        Some(Value::String(empty)) if empty.is_empty() => Ok(None),
        Some(value) => label(value, claim).map(Some),
    }
}

/// Text that names somebody or something: not empty, not longer than what others can be shown of a session
/// (`pg::sessions`), and without control characters, which could forge a line in a log.
fn label(value: &Value, claim: &str) -> Result<String, Refusal> {
    value
        .as_str()
        .filter(|text| (1..=MAX_LABEL).contains(&text.len()) && !text.contains(char::is_control))
        .map(str::to_owned)
        .ok_or_else(|| Refusal::ClaimType {
            claim: claim.to_owned(),
            wanted: "text of 1 to 1024 bytes without control characters",
        })
}

fn text<'a>(claims: &'a Claims, claim: &'static str) -> Result<Option<&'a str>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refusal::ClaimType { claim: claim.into(), wanted: "text" }),
    }
}

fn date(claims: &Claims, claim: &'static str) -> Result<Option<i64>, Refusal> {
    match claims.get(claim) {
        None => Ok(None),
        Some(value) => instant::numeric_date(value).map(Some).ok_or_else(|| Refusal::ClaimType {
            claim: claim.into(),
            wanted: "a time in seconds since 1970",
        }),
    }
}

fn missing(claim: &str) -> Refusal {
    Refusal::ClaimMissing(claim.to_owned())
}
