//! Who somebody is, for the separation of duties: two accounts of one human are one.
//!
//! Promises: accounts are taken for one human's if they have the user_id in common, or the email address (in
//! any case), or the claim that `pg_custodian.subject_claim` names. The issuer does not tell them apart: rather
//! two people too few than one too many.
//!
//! Does not promise to find out what no token says: two accounts with different names and addresses
//! are two people, unless that claim is set.

use crate::access::request::RequestError;
use crate::identity::{IdentityError, Person, claims, json, session};
use crate::pg::session as backend;
use crate::settings;
use serde_json::Value;
use std::rc::Rc;

/// A human, as far as tokens tell.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    pub issuer: String,
    pub user_id: String,
    pub email: Option<String>,
    /// The value of the claim in `pg_custodian.subject_claim`.
    pub claim: Option<String>,
}

impl Subject {
    /// Whether both may be the same human.
    pub fn is_same(&self, other: &Self) -> bool {
        let common = |one: &Option<String>, two: &Option<String>, fold: fn(&str) -> String| matches!((one, two), (Some(one), Some(two)) if fold(one) == fold(two));
        self.user_id == other.user_id
            || common(&self.email, &other.email, str::to_lowercase)
            || common(&self.claim, &other.claim, str::to_owned)
    }

    /// Whether it is this very account.
    pub fn is_account(&self, other: &Self) -> bool {
        self.user_id == other.user_id && self.issuer == other.issuer
    }
}

/// The person of this session, alive now: neither expired nor revoked.
pub fn person() -> Result<(Rc<Person>, Subject), RequestError> {
    backend::in_leader()?;
    if session::is_bound() {
        // Who asks and who decides is shown by a token, not by a password.
        return Err(ended(IdentityError::NeedsToken));
    }
    let person = session::check(backend::now()).map_err(ended)?.ok_or(RequestError::NoPerson)?;
    let subject = of(&person, settings::subject_claim().as_deref())?;
    Ok((person, subject))
}

fn ended(error: IdentityError) -> RequestError {
    RequestError::Identity(error)
}

fn of(person: &Person, claim: Option<&str>) -> Result<Subject, RequestError> {
    let value = match claim {
        None => None,
        Some(claim) => {
            let claims = json::parse_object(person.claims.as_bytes()).ok().map(Value::Object);
            let value = claims.as_ref().and_then(|claims| path(claims, claim));
            // Without it nobody can tell whether it is somebody else.
            Some(value.ok_or_else(|| RequestError::NoSubject(claim.to_owned()))?)
        }
    };
    Ok(Subject {
        issuer: person.issuer.clone(),
        user_id: person.user_id.clone(),
        email: person.email.clone(),
        claim: value,
    })
}

/// A claim, as text.
fn path(claims: &Value, name: &str) -> Option<String> {
    match claims::path(claims.as_object()?, name)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(issuer: &str, user_id: &str, email: Option<&str>, claim: Option<&str>) -> Subject {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Subject { issuer: issuer.into(), user_id: user_id.into(), email: owned(email), claim: owned(claim) }
    }

    #[test]
    fn accounts_that_share_a_name_an_address_or_a_claim_are_one_human() {
        let alice = subject("a", "alice", Some("Alice@shop.example"), Some("4711"));
        for (other, same) in [
            (subject("a", "alice", None, None), true),
            (subject("b", "alice", Some("other@shop.example"), None), true),
            (subject("b", "x", Some("alice@SHOP.example"), None), true),
            (subject("b", "x", Some("x@shop.example"), Some("4711")), true),
            (subject("a", "bob", Some("bob@shop.example"), Some("4712")), false),
            (subject("a", "bob", None, None), false),
        ] {
            assert_eq!(alice.is_same(&other), same, "{other:?}");
            assert_eq!(other.is_same(&alice), same, "{other:?}");
        }
        let nobody = subject("a", "x", None, None);
        assert!(!nobody.is_same(&subject("a", "y", None, None)), "nothing in common is not the same nothing");
    }

    #[test]
    fn a_claim_is_found_by_name_or_path_and_must_be_text_or_a_number() {
        let claims: Value = serde_json::from_str(
            r#"{"employee": 4711, "a.b": "whole", "a": {"b": "path", "c": {"d": "deep"}}, "e": "", "f": []}"#,
        )
        .unwrap();
        assert_eq!(path(&claims, "employee").as_deref(), Some("4711"));
        assert_eq!(path(&claims, "a.b").as_deref(), Some("whole"));
        assert_eq!(path(&claims, "a.c.d").as_deref(), Some("deep"));
        for missing in ["e", "f", "a", "a.c", "a.x", ""] {
            assert_eq!(path(&claims, missing), None, "{missing}");
        }
    }
}
