//! From a token to a person, and the record of every attempt.

use super::claims;
use super::error::IdentityError;
use super::person::Person;
use super::secret::Secret;
use super::token::{Token, Verified};
use super::{delay, instant, revocation, session, store, used_tokens};
use crate::error::Report;
use crate::event::{Note, Outcome};
use crate::pg::{session as backend, shared};
use crate::settings::{self, IdentityScope};
use crate::trail;
use pgrx::PgTryBuilder;
use serde_json::{Map, Value, json};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Longest claim of a refused token that is recorded, in characters.
const SHOWN: usize = 200;
/// Between two tries to lock the file of used tokens, which takes a write to disk to come free.
const BETWEEN_TRIES: Duration = Duration::from_millis(1);

/// Verifies `token` and makes its person the one of this session; with `for_transaction`, until
/// the end of the transaction. Where `pg_custodian.identity_scope` is `transaction`, all are.
///
/// Whoever tries to identify ceases to be who he was, also if the attempt fails: the next user
/// of a pooled connection must not go on as the last one. Each attempt is an `identity` event, written before
/// this returns; if it cannot be written, the session has no person. A failed attempt is answered late
/// (see [`delay`]), and is recorded before that.
pub fn identify(token: Option<Secret>, for_transaction: bool) -> Result<Rc<Person>, IdentityError> {
    shared::preloaded()?;
    if session::is_bound() {
        // He stays who he is: nobody else can have come by this session.
        record_failure(&IdentityError::Bound, token.as_ref(), None)?;
        return Err(IdentityError::Bound);
    }
    let for_transaction = for_transaction || settings::identity_scope() == IdentityScope::Transaction;
    let before = session::current();
    session::end();
    let began = delay::begin();
    match admit(token.as_ref()) {
        Ok((person, verified)) => {
            delay::succeeded();
            let person = Rc::new(person);
            PgTryBuilder::new(AssertUnwindSafe(|| session::make_room(&person)))
                .catch_others(|cause| {
                    // it is on record even then; the server's own error says what is in the way
                    let _ = record_failure(&IdentityError::Leftovers, token.as_ref(), before.as_deref());
                    cause.rethrow()
                })
                .execute();
            session::begin(person.clone(), for_transaction);
            record_success(&person, &verified, for_transaction, before.as_deref())
                .inspect_err(|_| session::end())?;
            Ok(person)
        }
        Err(error) => {
            record_failure(&error, token.as_ref(), before.as_deref())?;
            session::close_cursors();
            delay::failed(began);
            Err(error)
        }
    }
}

/// Makes this nobody's session and records it. The person is gone even if that cannot be recorded.
pub fn clear() -> Result<(), IdentityError> {
    let Some(person) = session::current() else { return Ok(()) };
    if session::is_bound() {
        return Err(IdentityError::Bound);
    }
    let detail = json!({"action": "clear"});
    let noted = note(Outcome::Ok, None, Some(person.issuer.clone()), &detail);
    session::end();
    session::close_cursors();
    noted
}

fn admit(token: Option<&Secret>) -> Result<(Person, Verified), IdentityError> {
    let secret = token.ok_or(IdentityError::NullArgument("token"))?;
    let token = Token::parse(secret.expose())?;
    let issuer = store::issuer(token.claimed_issuer()?)?.ok_or(IdentityError::UntrustedIssuer)?;
    let verified = token.verify(&issuer.keys, &issuer.terms.algorithms)?;
    let person = claims::person(token.payload(), &issuer.terms, instant::from_pg(backend::now()))?;
    let Person { issuer: name, user_id, token_id, issued_at, .. } = &person;
    if let Some(ended) = revocation::standing(name, user_id, token_id.as_deref(), *issued_at)? {
        return Err(ended.of(name, user_id));
    }
    // the last check: a token that another one refuses is not used up by it
    if issuer.terms.single_use && !claim(&token, &person)? {
        return Err(IdentityError::TokenUsed { user_id: person.user_id });
    }
    Ok((person, verified))
}

/// Uses up a token that identifies once; false if it was used already.
fn claim(token: &Token<'_>, person: &Person) -> Result<bool, IdentityError> {
    let key = used_tokens::key(&person.issuer, token.signed());
    let (expires, now) = (instant::from_pg(person.expires_at), instant::from_pg(backend::now()));
    let pause = || backend::sleep_until(Instant::now() + BETWEEN_TRIES);
    Ok(used_tokens::claim(&trail::directory(), &key, expires, now, pause)?)
}

fn record_success(
    person: &Person,
    verified: &Verified,
    for_transaction: bool,
    before: Option<&Person>,
) -> Result<(), IdentityError> {
    let mut detail = json!({
        "action": "set",
        "algorithm": verified.algorithm.name(),
        "key": verified.key_id,
        "groups": person.groups,
        "expires_at": instant::display(instant::from_pg(person.expires_at)),
        "for_transaction": for_transaction,
    });
    add_before(&mut detail, before);
    note(Outcome::Ok, None, Some(person.issuer.clone()), &detail)
}

/// Records an attempt that failed. Of the token it takes, if it could be parsed at all, the
/// claims that help to find whose it was, cut short and marked as what they are: unverified.
fn record_failure(
    error: &IdentityError,
    token: Option<&Secret>,
    before: Option<&Person>,
) -> Result<(), IdentityError> {
    let mut detail = json!({"action": "set", "reason": error.reason(), "message": error.to_string()});
    if let Some(Ok(token)) = token.map(|secret| Token::parse(secret.expose())) {
        let mut claimed: Map<String, Value> = ["iss", "sub", "jti"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), shown(token.payload().get(name)?.as_str()?))))
            .collect();
        if let Some(id) = token.key_id() {
            claimed.insert("kid".into(), shown(id));
        }
        detail["unverified"] = Value::Object(claimed);
    }
    add_before(&mut detail, before);
    note(Outcome::Denied, Some(error.sqlstate()), None, &detail)
}

fn add_before(detail: &mut Value, before: Option<&Person>) {
    if let Some(person) = before {
        detail["before"] = json!({"issuer": person.issuer, "user_id": person.user_id});
    }
}

fn shown(text: &str) -> Value {
    text.chars().filter(|c| !c.is_control()).take(SHOWN).collect::<String>().into()
}

fn note(
    outcome: Outcome,
    sqlstate: Option<[u8; 5]>,
    object: Option<String>,
    detail: &Value,
) -> Result<(), IdentityError> {
    let detail = Some(detail.to_string());
    Ok(trail::note(&Note { event: "identity", outcome, sqlstate, object, detail })?)
}
